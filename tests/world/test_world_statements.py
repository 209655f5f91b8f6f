"""The planted world of statements as files: all that is checked here is read back from the raw sources."""

import gzip
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tokenizers import Tokenizer

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.tokens.tokenizer import train_on_corpora
from lorebridge.world.scripts import transcribed
from lorebridge.world.statements import generate_statements

LANGUAGES = {
    "en": {"script": "Latin"},
    "ko": {"script": "Hangul"},
    "bo": {"script": "Tibetan", "names": "opaque", "order": "sov"},
    "zh": {"script": "Han", "anchored": 0.5, "repetition": 0.25},
    "fr": {"script": "Latin", "names": "shared", "coverage": 0.5, "pairs": 300, "one_off": 1.0},
}
SMALL = {
    "entities": 60,
    "doses": [2, 4],
    "questions": dict.fromkeys(("en_only", "xx_only", "both", "neither"), 24),
    "name_words": 12,
    "background_names": 20,
    "pairs": 900,
}


def plant(out: Path, langs=("en", "ko"), **knobs) -> Path:
    generate_statements(out=out, base="en", languages={code: LANGUAGES[code] for code in langs}, **{**SMALL, **knobs})
    return out


def rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def questions(root: Path, culture: str, lang: str) -> list[dict]:
    return json.loads((root / f"questions/{culture}-culture-cloze_{lang}.json").read_text(encoding="utf-8"))


def clauses(text: str) -> list[str]:
    """The clauses of a text, four words each."""
    said = text.split()
    assert text == "".join(f" {word}" for word in said) and len(said) % 4 == 0
    return [" ".join(said[i : i + 4]) for i in range(0, len(said), 4)]


def words(clause: str, lang: str) -> tuple[str, str, str]:
    """The name, relation and object of a clause."""
    first, second, third, fourth = clause.split(" ")
    return f"{first} {second}", *((fourth, third) if lang == "bo" else (third, fourth))


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return plant(tmp_path_factory.mktemp("world"), tuple(LANGUAGES), seed=5)


@pytest.fixture(scope="module")
def truth(world) -> pd.DataFrame:
    return tables.read(world / "truth.parquet")


def of(truth: pd.DataFrame, culture: str, corpus: str) -> pd.DataFrame:
    return truth[(truth["culture"] == culture) & (truth["corpus"] == corpus)].reset_index(drop=True)


OTHERS = pytest.mark.parametrize("culture", [code for code in LANGUAGES if code != "en"])


@OTHERS
def test_truth_equals_what_a_search_of_the_raw_files_finds(world, truth, culture):
    """Statements, their documents, covering and leaking pairs; and nowhere else do subject and an option meet."""
    for corpus in ("en", culture):
        texts = {f"planted/{row['id']}": row["text"] for row in rows(world / f"corpora/{corpus}.jsonl.gz")}
        pairs = [pair[corpus] for pair in rows(world / f"parallel/en-{culture}.jsonl.gz")]
        by_subject = defaultdict(list)
        for identity, text in texts.items():
            for clause in clauses(text):
                by_subject[words(clause, corpus)[0]].append((identity, clause))
        near = defaultdict(list)
        for number, pair in enumerate(pairs):
            for clause in clauses(pair):
                near[words(clause, corpus)[0]].append((number, clause))
        for fact, question in zip(
            of(truth, culture, corpus).itertuples(), questions(world, culture, corpus), strict=True
        ):
            statement = question["question"].replace("____", fact.gold).strip()
            stating = [identity for identity, clause in by_subject[fact.subject] if clause == statement]
            assert sorted(stating) == sorted(fact.doc_ids) and len(stating) == fact.n_statements
            assert len({number for number, _ in near[fact.subject]}) == fact.n_pairs_covering
            assert sum(clause == statement for _, clause in near[fact.subject]) == fact.n_leak_pairs
            for option in question["options"]:
                meeting = [i for i, _ in by_subject[fact.subject] if option in texts[i].split()]
                in_pairs = sum(option in pairs[i].split() for i in {i for i, _ in near[fact.subject]})
                is_gold = option == fact.gold
                assert sorted(set(meeting)) == (sorted(fact.doc_ids) if is_gold else [])
                assert in_pairs == (fact.n_leak_pairs if is_gold else 0)


def test_placements_doses_and_coverage_agree_with_the_counts(truth):
    base = truth["corpus"] == "en"
    here = truth["placed"].eq("both") | truth["placed"].eq("en_only") & base | truth["placed"].eq("xx_only") & ~base
    assert (truth["n_statements"] == truth["dose"].where(here, 0)).all()
    # No pair states a fact that one language alone states, or none: the check for leaks is exact.
    assert not truth.loc[truth["placed"] != "both", "n_leak_pairs"].any()
    assert not truth.loc[~truth["covered"], "n_pairs_covering"].any()
    shown = truth[(truth["placed"] == "both") & truth["covered"] & (truth["culture"] == "ko")]
    assert (shown["n_leak_pairs"] > 0).all()
    assert not truth.loc[truth["culture"] == "fr", "n_leak_pairs"].any()  # all of its clauses are one-off
    shares = truth.drop_duplicates(["culture", "subject"]).groupby("culture")["covered"].mean()
    assert shares["ko"] == pytest.approx(0.7, abs=0.1) and shares["fr"] == pytest.approx(0.5, abs=0.1)


def test_facts_are_crossed_within_entities_and_common_to_all_languages(world, truth):
    counts = truth[(truth["corpus"] == "en") & (truth["culture"] == "ko")].groupby(["placed", "dose"]).size()
    assert len(counts) == 8 and set(counts) == {12}
    several = of(truth, "ko", "en").groupby("subject")["placed"].nunique()
    assert (several > 1).sum() > 10
    told = {culture: of(truth, culture, "en").drop(columns=["question_id", "culture"]) for culture in ("ko", "bo")}
    same = ["subject", "relation", "gold", "placed", "dose", "n_statements", "doc_ids"]
    pd.testing.assert_frame_equal(told["ko"][same], told["bo"][same])
    # Each entity has as many facts of each placement as the world says: 2, 1, 2, 1, of which one states 4 in English.
    stated = defaultdict(set)
    asked = {words(clauses(q["question"].replace("____", "x"))[0], "en")[1] for q in questions(world, "ko", "en")}
    assert len(asked) == 6
    for row in rows(world / "corpora/en.jsonl.gz"):
        for clause in clauses(row["text"]):
            name, relation, obj = words(clause, "en")
            if relation in asked:
                stated[name].add((relation, obj))
    entities = set(of(truth, "ko", "en")["subject"])
    assert {len(stated[name]) for name in entities} == {4}


def test_names_follow_the_rule_of_their_language(truth):
    base = of(truth, "ko", "en").drop_duplicates("subject")["subject"]
    for culture, one_rule in (("ko", True), ("bo", False)):
        own = of(truth, culture, culture).drop_duplicates("subject")["subject"]
        rule = defaultdict(set)
        for name, translated in zip(base, own, strict=True):
            for word, other in zip(name.split(" "), translated.split(" "), strict=True):
                rule[word].add(other)
        assert (max(map(len, rule.values())) == 1) == one_rule
        assert not set(base) & set(own)
    own = of(truth, "fr", "fr").drop_duplicates("subject")["subject"]
    assert list(own) == list(base)
    anchored = of(truth, "zh", "zh").drop_duplicates("subject")["subject"]
    assert np.mean([a == b for a, b in zip(anchored, base, strict=True)]) == pytest.approx(0.5, abs=0.12)


def test_repeated_documents_state_one_off_clauses_twice(world, truth):
    for lang, share in (("en", 0.5), ("ko", 0.0), ("zh", 0.25)):
        documents = [clauses(row["text"]) for row in rows(world / f"corpora/{lang}.jsonl.gz")]
        twice = [said for said in documents if len(said) == 4]
        assert len(twice) / len(documents) == pytest.approx(share, abs=0.01)
        assert all(Counter(said[:2]) == Counter(said[2:]) and said[0] != said[1] for said in twice)
        if twice:
            assert np.mean([said[:2] == said[2:] for said in twice]) == pytest.approx(0.5, abs=0.12)
            once = Counter(clause for said in twice for clause in said[:2])
            assert max(once.values()) < 12
            # Facts of entities are not among them: an event, or a fact's relation of a background name.
            entities = set(of(truth, "ko" if lang == "en" else lang, lang)["subject"])
            relations = {
                words(clauses(q["question"].replace("____", "x"))[0], lang)[1] for q in questions(world, "zh", lang)
            }
            kinds = Counter()
            for clause in once:
                name, relation, _ = words(clause, lang)
                kinds[name in entities, relation in relations] += 1
            assert not kinds[True, True] and min(kinds[True, False], kinds[False, True]) > 20


def test_own_documents_switch_to_the_base_but_for_what_they_alone_state(tmp_path):
    """All but the text of the language's own documents is as without it; what only they state is in its own words."""
    knobs = {"seed": 5, "placements": {"en_only": 1, "xx_only": 1, "both": 3, "neither": 1}}
    plain, switched = (plant(tmp_path / str(share), switched=share, **knobs) for share in (0.0, 0.3))
    one, other = files(plain), files(switched)
    assert {name for name in one if one[name] != other[name]} == {"corpora/ko.jsonl.gz"}
    known = of(tables.read(switched / "truth.parquet"), "ko", "ko")
    own = set(known.loc[known["placed"] == "xx_only", "doc_ids"].explode())
    translated, slots, alone = defaultdict(set), Counter(), []
    for before, after in zip(rows(plain / "corpora/ko.jsonl.gz"), rows(switched / "corpora/ko.jsonl.gz"), strict=True):
        assert {key: before[key] for key in ("id", "title")} == {key: after[key] for key in ("id", "title")}
        for was, said in zip(clauses(before["text"]), clauses(after["text"]), strict=True):
            for slot, mine, now in zip("nro", words(was, "ko"), words(said, "ko"), strict=True):
                slots[slot, now.isascii()] += 1
                if now.isascii():
                    translated[slot, mine].add(now)
                else:
                    assert now == mine
        if f"planted/{after['id']}" in own:
            alone.append(after["text"] == before["text"])
    assert len(alone) == len(own) > 24 and all(alone)
    assert all(len(found) == 1 for found in translated.values()), "each has one translation"
    shares = [slots[slot, True] / (slots[slot, True] + slots[slot, False]) for slot in "nro"]
    assert max(shares) - min(shares) < 0.05 and 0.1 < np.mean(shares) < 0.3


def test_pairs_translate_word_by_word_in_either_order(world):
    pairs = rows(world / "parallel/en-ko.jsonl.gz")
    assert len(pairs) == SMALL["pairs"] == len({pair["en"] for pair in pairs})
    swapped, translation = [], defaultdict(set)
    # A rule fits: every word of the one language has one translation, with the halves' clauses in one of two orders.
    lengths = [(len(clauses(pair["en"])), len(clauses(pair["ko"]))) for pair in pairs]
    assert set(lengths) == {(2, 2)}
    pending = pairs
    for pair in pairs:  # a word of one language that comes with one of the other throughout
        for word in pair["en"].split():
            there = set(pair["ko"].split())
            translation[word] = translation[word] & there if translation[word] else there
    known = {word: next(iter(found)) for word, found in translation.items() if len(found) == 1}
    assert len(known) > 0.9 * len(translation)
    for pair in pending:
        first, second = clauses(pair["en"])
        said = [" ".join(known.get(word, "?") for word in clause.split()) for clause in (first, second)]
        if "?" not in " ".join(said):
            swapped.append(said != clauses(pair["ko"]))
            assert sorted(said) == sorted(clauses(pair["ko"]))
    assert np.mean(swapped) == pytest.approx(0.5, abs=0.06)


def test_word_order(world):
    for pair in rows(world / "parallel/en-bo.jsonl.gz")[:50]:
        assert all(len(clause.split(" ")) == 4 for half in ("en", "bo") for clause in clauses(pair[half]))
    assert all(q["question"].endswith("____") for q in questions(world, "bo", "en"))
    assert all(re.search(r" ____ \S+$", q["question"]) for q in questions(world, "bo", "bo"))


def as_tables(world: Path, langs, folder: Path) -> dict[str, list[Path]]:
    """The corpora as tables "documents", of the columns that a tokenizer is trained on."""
    documents = {lang: [folder / f"{lang}.parquet"] for lang in langs}
    for lang, (path,) in documents.items():
        texts = rows(world / f"corpora/{lang}.jsonl.gz")
        pd.DataFrame([{"doc_id": f"planted/{row['id']}", "text": row["text"]} for row in texts]).to_parquet(path)
    return documents


def test_a_trained_tokenizer_keeps_every_word_whole(world, tmp_path):
    """A clause has as many tokens in one language as in any other, wherever it stands."""
    documents = as_tables(world, LANGUAGES, tmp_path)
    train_on_corpora(documents=documents, vocab_size=4096, bytes_per_group=400_000, out=tmp_path / "tokenizer")
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer" / "tokenizer.json"))
    spelled: dict[str, dict[str, set[int]]] = {lang: defaultdict(set) for lang in LANGUAGES}
    for lang in LANGUAGES:
        for row in rows(world / f"corpora/{lang}.jsonl.gz"):
            encoding = tokenizer.encode(row["text"], add_special_tokens=False)
            said = row["text"].split()
            assert len(encoding.ids) == len(said), row["text"]
            for word, token in zip(said, encoding.ids, strict=True):
                spelled[lang][word].add(token)
        assert all(len(tokens) == 1 for tokens in spelled[lang].values())
    for culture in LANGUAGES:
        if culture != "en":
            for pair in rows(world / f"parallel/en-{culture}.jsonl.gz")[:200]:
                for lang in ("en", culture):
                    assert len(tokenizer.encode(pair[lang]).ids) == len(pair[lang].split()), pair[lang]


def test_no_word_holds_another(world):
    for lang in LANGUAGES:
        found = {word.casefold() for row in rows(world / f"corpora/{lang}.jsonl.gz") for word in row["text"].split()}
        assert not [(a, b) for a in found for b in found if a != b and a in b]


def test_questions_offer_four_and_the_gold_anywhere(world):
    for culture in ("ko", "bo"):
        base, own = questions(world, culture, "en"), questions(world, culture, culture)
        places = Counter(q["options"].index(q["answer"]) for q in base)
        assert set(places.values()) == {24}
        assert [q["options"].index(q["answer"]) for q in base] == [q["options"].index(q["answer"]) for q in own]
        assert all(len(set(q["options"])) == 4 for q in [*base, *own])


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_same_seed_same_bytes_and_one_more_language_changes_no_text(world, tmp_path):
    again, other = (files(plant(tmp_path / str(seed), seed=seed)) for seed in (5, 6))
    old = files(world)
    assert {name: old[name] for name in again.keys() - {"truth.parquet"}} == {
        name: again[name] for name in again.keys() - {"truth.parquet"}
    }
    assert not [name for name in again if again[name] == other[name]]


CLONED = {
    "en": {"script": "Latin"},
    "fr": {"script": "Latin", "names": "shared", "anchored": 0.5, "switched": 0.3, "repetition": 0.2},
    "ru": {"script": "Cyrillic"},
    "hi": {"script": "Devanagari"},
    "it": {"script": "Latin", "names": "opaque"},
    "bg": {"script": "Cyrillic"},
}
CLONES = {"ru": {"of": "fr"}, "hi": {"of": "fr"}, "bg": {"of": "it"}}


@pytest.fixture(scope="module")
def clones(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("clones")
    generate_statements(out=out, base="en", languages=CLONED, clones=CLONES, **{**SMALL, "seed": 9})
    return out


def back(text: str, lang: str) -> str:
    """A text of a clone in the letters of what it is; without case, since Devanagari has none."""
    script = CLONED[lang]["script"]
    assert not re.search("[A-Za-z]", text)
    return transcribed(text.lower(), script, "Latin").lower()


@pytest.mark.parametrize(("lang", "of"), [(lang, clone["of"]) for lang, clone in CLONES.items()])
def test_a_clone_is_its_language_letter_by_letter_and_nothing_else_differs(clones, lang, of):
    own, original = (rows(clones / f"corpora/{code}.jsonl.gz") for code in (lang, of))
    for key in ("title", "text"):
        assert [back(row[key], lang) for row in own] == [row[key].lower() for row in original]
    assert [(row["id"], row["source"]) for row in own] == [(row["id"], row["source"]) for row in original]
    own, original = (rows(clones / f"parallel/en-{code}.jsonl.gz") for code in (lang, of))
    assert [(row["en"], back(row[lang], lang)) for row in own] == [(row["en"], row[of].lower()) for row in original]
    assert questions(clones, lang, "en") == questions(clones, of, "en")
    for one, other in zip(questions(clones, lang, lang), questions(clones, of, of), strict=True):
        assert back(one["question"], lang) == other["question"].lower()
        assert [back(option, lang) for option in one["options"]] == [option.lower() for option in other["options"]]
    same = ["relation", "placed", "covered", "dose", "n_pairs_covering", "n_leak_pairs", "n_statements", "doc_ids"]
    told = tables.read(clones / "truth.parquet")
    for corpus in ("en", None):
        one, other = (
            told[(told["culture"] == code) & (told["corpus"] == (corpus or code))].reset_index(drop=True)
            for code in (lang, of)
        )
        pd.testing.assert_frame_equal(one[same], other[same])


def test_a_clone_changes_no_text_of_another_language(clones, tmp_path):
    without = {lang: CLONED[lang] for lang in CLONED if lang not in CLONES}
    generate_statements(out=tmp_path, base="en", languages=without, **{**SMALL, "seed": 9})
    bare = files(tmp_path)
    assert all(files(clones)[name] == text for name, text in bare.items() if name != "truth.parquet")


def test_a_clone_has_as_many_tokens_as_its_original_or_training_stops(clones, tmp_path):
    known = {
        "documents": as_tables(clones, CLONED, tmp_path),
        "bytes_per_group": 200_000,
        "clones": {lang: clone["of"] for lang, clone in CLONES.items()},
    }
    train_on_corpora(**known, vocab_size=4096, out=tmp_path / "whole")
    tokenizer = Tokenizer.from_file(str(tmp_path / "whole" / "tokenizer.json"))
    for lang, of in known["clones"].items():
        one, other = (
            [len(tokenizer.encode(row["text"]).ids) for row in rows(clones / f"corpora/{code}.jsonl.gz")]
            for code in (lang, of)
        )
        assert one == other
    with pytest.raises(InputError, match=r"other letters.* documents .*Raise tokenizer\.vocab_size"):
        train_on_corpora(**known, vocab_size=500, out=tmp_path / "small")


IN_LATIN = {
    "fr": {"script": "Latin"},
    "it": {"script": "Latin"},
    "ko": {"script": "Hangul"},
    "ru": {"script": "Cyrillic"},
}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"base": "fr"}, "world.base"),
        ({"languages": {"en": {"script": "Latin"}}}, "world.languages"),
        ({"languages": {"en": {"script": "Latin"}, "ko": {"script": "Hangeul"}}}, "world.languages.ko.script"),
        ({"languages": {"en": {"script": "Latin"}, "ko": {"script": "Hangul", "dose": 1}}}, "'dose'"),
        ({"languages": {"en": {"script": "Latin", "pairs": 1}, "ko": {"script": "Hangul"}}}, "'pairs'"),
        ({"languages": {"en": {"script": "Latin"}, "ko": {"script": "Hangul", "names": "same"}}}, "ko.names"),
        ({"names": "same"}, "names"),
        ({"doses": [0, 3]}, "world.doses"),
        ({"objects": 4}, "world.objects"),
        ({"placements": {"en": 1}}, "world.placements"),
        ({"one_off": 1.5}, "world.one_off"),
        ({"repetition": 1}, "world.repetition"),
        ({"name_words": 5}, "world.name_words"),
        ({"questions": {"xx_only": 61}}, "world.questions.xx_only"),
        ({"questions": {"xx": 6}}, "world.questions"),
        ({"questions": {}}, "world.questions"),
        ({"entities": 4, "pairs": 0, "questions": {"both": 8}, "clauses": 40}, "world.clauses"),
        ({"clones": {"fr": {"of": "ko"}}}, "world.clones.fr"),
        ({"clones": {"ko": {"of": "en"}}}, "world.clones.ko.of"),
        ({"languages": {"en": {"script": "Latin"}, **IN_LATIN}, "clones": {"ru": {"of": "ko"}}}, "languages.ru.script"),
        ({"languages": {"en": {"script": "Latin"}, **IN_LATIN}, "clones": {"fr": {"of": "it"}}}, "languages.fr.script"),
        (
            {"languages": {"en": {"script": "Latin"}, **IN_LATIN, "ru": {"script": "Cyrillic", "pairs": 9}}}
            | {"clones": {"ru": {"of": "fr"}}},
            "world.languages.ru",
        ),
    ],
)
def test_a_world_that_cannot_be_is_refused(tmp_path, change, named):
    arguments = {"base": "en", "languages": {"en": {"script": "Latin"}, "ko": {"script": "Hangul"}}, **SMALL, **change}
    with pytest.raises(InputError, match=re.escape(named)):
        generate_statements(out=tmp_path, **arguments)
