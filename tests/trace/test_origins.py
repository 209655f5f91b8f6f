"""Present and absent: whole words in stretches and sentences, and planted statements that come back."""

import gzip
import json

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lorebridge import tables
from lorebridge.corpora.facts import FACTS
from lorebridge.corpora.heldout import is_heldout
from lorebridge.errors import InputError
from lorebridge.probes.facts import build_facts
from lorebridge.trace.analysis import script_of
from lorebridge.trace.mentions import find_mentions
from lorebridge.trace.origins import TOKENS, WINDOW, count_stretches, fact_subjects, origins
from lorebridge.world.multilingual import generate_multilingual

LANGUAGES = {"en": {"script": "Latin"}, "it": {"script": "Latin", "order": "sov"}, "ko": {"script": "Hangul"}}


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A tokenizer of whole words and marks."""
    folder = tmp_path_factory.mktemp("words")
    found = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    found.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=found, unk_token="[UNK]").save_pretrained(folder)
    return folder


def write_facts(path, rows):
    keys = ("fact_id", "relation", "lang", "subject_id", "subject", "object_id", "object")
    whole = [dict(zip(keys, row, strict=True)) | {"template": "[X] is [Y] .", "golds": [row[-1]]} for row in rows]
    tables.write("facts", whole, path)
    return path


def write_texts(path, texts):
    rows = [{"doc_id": f"d{i}", "title": "", "text": t, "source": "s", "n_chars": len(t)} for i, t in enumerate(texts)]
    tables.write("documents", rows, path)
    return path


def traced(folder, facts, texts, lang, script, tokenizer, tokens=512, window=1):
    """Return the entry of a language for `origins`."""
    entry = {
        "lang": lang,
        **{name: folder / f"{name}-{lang}.parquet" for name in ("subjects", "mentions", "stretches")},
    }
    fact_subjects(facts=facts, lang=lang, script=script, out=entry["subjects"])
    read = {"stream": lang, "script": script, "texts": texts, "column": "text", "subjects": entry["subjects"]}
    find_mentions(**read, window=window, max_chars=5000, cultures=[FACTS], out=entry["mentions"])
    count_stretches(**read, tokens=tokens, tokenizer=tokenizer, out=entry["stretches"])
    return entry


def test_a_stretch_is_wider_than_a_sentence_and_words_are_whole(tmp_path, words):
    facts = write_facts(
        tmp_path / "facts.parquet",
        [
            ("f", "r", "en", "a", "Anna", "o", "art"),
            ("g", "r", "en", "b", "Bert", "o", "art"),
            ("h", "r", "en", "c", "Cid", "p", "7"),
        ],
    )
    texts = ["Anna is here. Now art begins. Bert is an artist.", "Bert left. " + "So it goes on. " * 3 + "Hail art."]
    shards = [write_texts(tmp_path / f"documents-{i}.parquet", [text]) for i, text in enumerate(texts)]
    # Sentences of three to five tokens: stretches of ten hold two, so that there are two and three.
    entry = traced(tmp_path, facts, shards, "en", "Latin", words, tokens=10)
    assert set(tables.read(entry["stretches"])["n_stretches"]) == {5}
    out, recovery = tmp_path / "origins.parquet", tmp_path / "recovery.parquet"
    notes = origins(facts=facts, texts=[entry], out=out, recovery=recovery)
    found = tables.read(out).set_index(["unit", "fact_id"])
    assert found.loc[(TOKENS, "f"), ["n_subject", "n_object", "n_cooccur"]].tolist() == [1, 2, 1]
    assert found.loc[(TOKENS, "g"), ["n_subject", "n_object", "n_cooccur"]].tolist() == [2, 2, 0]
    assert not found.loc[(WINDOW, "f"), "present"] and found.loc[(TOKENS, "f"), "present"]
    # A number stands everywhere: nothing is said of it, and the fact is counted.
    assert found.loc[(TOKENS, "h"), "present"] is None or np.isnan(found.loc[(TOKENS, "h"), "n_cooccur"])
    assert notes == {"rows": 6, "not looked for": 2} and len(tables.read(recovery)) == 0


@pytest.mark.parametrize(
    "script, text, holds, lacks",
    [
        ("Japanese", "東京都はイタリアンの店が多い。", ["東京", "店が"], ["イタリア"]),
        ("Thai", "กรุงเทพมหานครเป็นเมืองหลวง", ["กรุงเทพ", "เมืองหลวง"], ["ลอนดอน"]),
        ("Han", "臺北是首都。", ["台北"], ["北京"]),
    ],
)
def test_scripts_without_spaces_are_searched_by_letters(script, text, holds, lacks):
    reading = script_of(script)
    for phrase, there in [(phrase, True) for phrase in holds] + [(phrase, False) for phrase in lacks]:
        assert bool(reading.phrase(phrase).search(reading.searchable(text))) == there


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    facts = write_facts(tmp_path / "facts.parquet", [("f", "r", "en", "a", "Anna", "o", "art")])
    with pytest.raises(InputError, match="no tokenizer can be loaded"):
        traced(tmp_path, facts, [write_texts(tmp_path / "d.parquet", ["Anna"])], "en", "Latin", tmp_path)
    with pytest.raises(InputError, match="no fact in language 'de'"):
        fact_subjects(facts=facts, lang="de", script="Latin", out=tmp_path / "s.parquet")


@pytest.mark.parametrize("alias_rate, recall", [(0.0, 1.0), (1.0, 0.0)])
def test_planted_statements_come_back(tmp_path, words, alias_rate, recall):
    world, heldout = tmp_path / "world", {lang: 0.2 for lang in LANGUAGES}
    generate_multilingual(
        out=world, base="en", languages=LANGUAGES, subjects=30, relations=2, objects=8, doses=[4], remarks=3,
        alias_rate=alias_rate,
    )  # fmt: skip
    facts = tmp_path / "facts.parquet"
    build_facts(shape="planted", langs=list(LANGUAGES), folder=world / "facts", out=facts)
    entries = []
    for lang, said in LANGUAGES.items():
        with gzip.open(world / "corpora" / f"{lang}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows = [(f"planted/{row['id']}", row["text"]) for row in map(json.loads, file)]
        kept = [text for doc_id, text in rows if not is_heldout(doc_id, heldout[lang])]
        documents = write_texts(tmp_path / f"{lang}.parquet", kept)
        entries.append(traced(tmp_path, facts, [documents], lang, said["script"], words))
    recovery = tmp_path / "recovery.parquet"
    origins(
        facts=facts, texts=entries, heldout=heldout, truth=world / "truth.parquet",
        out=tmp_path / "origins.parquet", recovery=recovery,
    )  # fmt: skip
    found = tables.read(recovery).set_index(["lang", "unit"])
    for lang in LANGUAGES:
        assert found.loc[(lang, WINDOW), "recall"] == pytest.approx(recall, abs=0.01)
        if recall:
            assert found.loc[(lang, WINDOW), "precision"] == 1.0
            # Another clause of the document states another fact: a stretch says more than is so.
            assert found.loc[(lang, TOKENS), "precision"] < 1.0
