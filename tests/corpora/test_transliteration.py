"""Rows of transliteration: what they say, what is left out and why, and that nothing crosses to what is held out."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lorebridge import tables
from lorebridge.corpora.transliteration import NEUTRAL, transliteration
from lorebridge.errors import InputError

# Invented: ka spells two words, and of ranu as many wrote each of two.
PAIRS = """का ka 3
का kaa 1
क ka 1
राणु ranu 2
रानू ranu 2
मोती moti 4
मोती motee 1
नील neel 2
सूरत surat 3
सुरत surat 1
दल dal 1
"""


def write(folder, pairs=PAIRS, facts=None):
    (folder / "lexicon.tsv").write_text(pairs.replace(" ", "\t"), encoding="utf-8")
    if facts is not None:
        rows = [dict(zip(("entity", "name", "question", "answer"), fact, strict=True)) for fact in facts]
        (folder / "facts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def make(folder, **changes):
    outs = ("reasoned", "answers", "unrelated", "heldout", "audit")
    notes = transliteration(
        **{
            "lexicon": folder / "lexicon.tsv",
            "facts": folder / "facts.jsonl" if (folder / "facts.jsonl").exists() else None,
            "lang": "hi",
            "asked_in": "en",
            "question": "Which word is {name}?",
            "heldout": 0.3,
            "least": 1,
            "most": 5,
            "spellings": 3,
            "seed": 0,
        }
        | changes,
        **{f"{name}_out": folder / f"{name}.parquet" for name in outs},
    )
    return notes, *(tables.read(folder / f"{name}.parquet") for name in outs)


def test_a_row_reasons_from_candidates_to_the_answer_and_wrong_ends_are_left_out(tmp_path):
    write(tmp_path)
    notes, reasoned, answers, unrelated, heldout, audit = make(tmp_path, heldout=0.2, seed=1)
    counts = {(row["side"], row["what"]): row["n_rows"] for row in audit.to_dict("records")}
    said = dict(
        zip(reasoned["row_id"].str.split("/").str[1] + ">" + answers["answer"], reasoned["answer"], strict=True)
    )
    assert said["ka>Answer: का"] == (
        "Candidates: का, क. Recall: का (ka 3 kaa 1); क (ka 1). Verify: ka is का, 3 of 4. Answer: का"
    )
    assert said["kaa>Answer: का"].startswith("Candidates: का. ")
    # What the rarer word is spelled like ends in the other; where two are alike nothing is decided.
    assert not [key for key in said if key.endswith((": क", ": सुरत")) or key.startswith("ranu")]
    assert counts["tuned", "left out: wrong end"] >= 1 and counts["tuned", "left out: undecided"] == 2
    assert counts["tuned", "made"] == notes["rows"] == len(reasoned) == len(answers) == len(unrelated)
    assert reasoned[["row_id", "prompt"]].equals(answers[["row_id", "prompt"]])
    assert reasoned[["row_id", "prompt"]].equals(unrelated[["row_id", "prompt"]])
    assert set(heldout["lang"]) == {"hi", "en"} and notes["heldout"] == counts["held out", "made"]


def test_the_control_has_as_many_characters_of_each_kind_and_no_candidate(tmp_path):
    write(tmp_path)
    _, reasoned, answers, unrelated, _, _ = make(tmp_path, heldout=0.2, seed=1)
    native = lambda text: sum("ऀ" <= char <= "ॿ" for char in text)  # noqa: E731
    for one, other, answer in zip(reasoned["answer"], unrelated["answer"], answers["answer"], strict=True):
        assert (len(one), native(one), len(one.encode())) == (len(other), native(other), len(other.encode()))
        assert other.endswith(" " + answer) and other.startswith(NEUTRAL[:20])
        candidates = one.split("Candidates: ")[1].split(". Recall")[0].split(", ")
        assert not set(candidates) & set(other.removesuffix(answer).split())


def test_facts_decide_between_candidates_and_entities_stay_together(tmp_path):
    question = "Where was {name} born?"
    facts = [
        ("E1", "क", question, "Pune"),  # the rarer word, but the only one of which something is known
        ("E2", "मोती नील", question, "Agra"),
        ("E3", "सूरत", question, "Delhi"),
        ("E4", "सुरत", question, "Goa"),  # spelled like E3, more rarely
        ("E5", "अज्ञात", question, "Nagpur"),
        ("E6", "दल", question, "Ujjain"),
    ]
    write(tmp_path, facts=facts)
    _, reasoned, _, _, heldout, audit = make(tmp_path, heldout=0.34, seed=2)
    counts = {row["what"]: row["n_rows"] for row in audit.to_dict("records") if row["side"] == "tuned"}
    texts = dict(zip(reasoned["prompt"], reasoned["answer"], strict=True))
    asked = set(heldout["question"])
    told = {**texts, **dict.fromkeys(asked)}
    assert "Where was moti neel born?" in told and "Where was surat born?" in told
    if "Where was ka born?" in texts:
        assert "का (ka 3 kaa 1): nothing known; क (ka 1): Pune" in texts["Where was ka born?"]
    assert sum(audit.loc[audit["what"].str.contains("not in the lexicon"), "n_rows"]) == 1
    if "Where was surat born?" in texts:
        assert texts["Where was surat born?"].endswith("Answer: Delhi") and counts["left out: wrong end"] == 1


@pytest.mark.parametrize("seed", range(4))
def test_no_word_spelling_or_entity_crosses(tmp_path, seed):
    """On invented pairs with many shared spellings; read back from the tables, not from the groups."""
    consonants = [chr(0x915 + i) for i in range(30)]
    words = [a + b for a in consonants[:12] for b in consonants[:6]]
    spelled = {word: [f"s{i % 40}", f"u{i}"] for i, word in enumerate(words)}
    pairs = "".join(f"{w} {s} {1 + (i + j) % 3}\n" for i, w in enumerate(words) for j, s in enumerate(spelled[w]))
    facts = [(f"E{i // 2}", w, f"What is {{name}} of {i % 2}?", f"a{i}") for i, w in enumerate(words)]
    write(tmp_path, pairs, facts)
    _, reasoned, _, unrelated, heldout, _ = make(tmp_path, seed=seed)
    entity = {fact[1]: fact[0] for fact in facts}
    native = heldout[heldout["lang"] == "hi"]
    out_words = {word for text in native["question"] for word in words if word in text.split()}
    tuned_words = {
        word for table in (reasoned, unrelated) for text in table["answer"] for word in words if word in text
    }
    assert out_words and tuned_words and not out_words & tuned_words
    assert not {entity[word] for word in out_words} & {entity[word] for word in tuned_words}
    spellings = lambda of: {s for word in of for s in spelled[word]}  # noqa: E731
    assert not spellings(out_words) & spellings(tuned_words)
    assert len(heldout) == 2 * heldout["question_id"].nunique()


@pytest.mark.parametrize(
    ("pairs", "facts", "said"),
    [
        ("का ka\n", None, "row 1: is not a word, a spelling and a count"),
        ("का ka 0\n", None, "row 1: is not a word"),
        ("का ka 1\nka का 1\n", None, "row 2: 'ka' is to be in letters of its own.*Put the word first"),
        ("का ka 1\nका ka 2\n", None, "row 2: 'का' is 'ka' above"),
        ("", None, "has no row"),
        (PAIRS, [("E", "का", "Where?", "x")], "key question: does not have {name} once"),
        (PAIRS, [("E", "का", "Where is {name}?", " ")], "row 1, key answer: is no text"),
        (PAIRS, [("E", "का", "Of {name}?", "x"), ("E", "क", "Of {name}?", "y")], "row 2: asks of E what row 1 asks"),
    ],
)
def test_malformed_rows_are_named(tmp_path, pairs, facts, said):
    write(tmp_path, pairs, facts)
    with pytest.raises(InputError, match=said):
        make(tmp_path)


def test_dakshina_itself(tmp_path):
    """Its first words, by path: what is made, what is left out, and that all of it is accounted for."""
    found = Path(os.environ.get("LOREBRIDGE_DATA", "")) / "qa/dakshina/hi.translit.sampled.dev.tsv"
    if not found.is_file():
        pytest.skip("needs LOREBRIDGE_DATA")
    notes, reasoned, _, unrelated, _, audit = make(tmp_path, lexicon=found)
    assert notes["rows"] > 3000 and notes["heldout"] > 500
    assert reasoned["answer"].str.len().tolist() == unrelated["answer"].str.len().tolist()
    assert audit["n_rows"].min() > 0
