"""Samples of filtered text: the same each time, and with the suspicions that were planted."""

import json

import numpy as np
import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.corpora.spotcheck import sample_documents, sample_pairs

N = 60
AUDIT = {
    "rows": 70,
    "kept": 60,
    "heldout": 2,
    "edited": 5,
    "dropped": {"short": 8},
    "edits": {"letters": {"rows": 5, "characters": 77}, "torn": {"rows": 2, "characters": 3}},
    "letters": {"text": {"before": {"Hangul": 9}, "after": {}}},
    "samples": {"edited": [{"id": "a/1", "text before": "<b>KTX</b> 열차", "text after": "열차"}]},
}


def korean(i, n=300):
    """Return a Korean text of syllables that no other has."""
    rng = np.random.default_rng(i)
    return " ".join("".join(map(chr, rng.integers(0xAC00, 0xD7A3, 3))) for _ in range(n // 4)) + "."


@pytest.fixture
def audit(tmp_path):
    (tmp_path / "audit.json").write_text(json.dumps(AUDIT), encoding="utf-8")
    return tmp_path / "audit.json"


@pytest.fixture
def corpus(tmp_path):
    """Two shards of 30 documents; the first five have a fault each, and the next begins as another for a few words."""
    texts = [korean(i) for i in range(N)]
    texts[0] = "짧다."
    texts[1] = korean(1, 200) + "漢字" * 40
    texts[2] = korean(2, 100) + " 1,234" * 90
    texts[3] = korean(3) + " {{틀}}"
    texts[4] = texts[50][:150] + korean(4)
    texts[5] = texts[51][:60] + korean(5)
    for shard in range(2):
        rows = [
            {"doc_id": f"wiki/{i}", "title": f"제목 {i}", "text": texts[i], "source": "wiki", "n_chars": len(texts[i])}
            for i in range(30 * shard, 30 * (shard + 1))
        ]
        tables.write("documents", rows, tmp_path / f"documents-{shard}.parquet")
    return [tmp_path / f"documents-{shard}.parquet" for shard in range(2)]


def sampled(corpus, audit, out, n):
    rates = sample_documents(lang="ko", script="Hangul", shards=corpus, audit=audit, font=None, n=n, out=out)
    return rates.set_index("suspicion"), pd.read_csv(out / "ko.csv", dtype=str, keep_default_na=False)


def test_every_planted_fault_is_suspected(corpus, audit, tmp_path):
    rates, sheet = sampled(corpus, audit, tmp_path / "out", n=1000)
    assert (rates["n"] == N).all()
    assert rates["count"].to_dict() == {
        "short": 1,
        "other script": 1,
        "few letters": 1,
        "markup": 1,
        "opening repeated": 2,
    }
    suspicions = sheet.set_index("doc_id")["suspicions"]
    assert suspicions[suspicions != ""].to_dict() == {
        "wiki/0": "short",
        "wiki/1": "other script",
        "wiki/2": "few letters",
        "wiki/3": "markup",
        "wiki/4": "opening repeated",
        "wiki/50": "opening repeated",
    }
    assert sheet.set_index("doc_id").loc["wiki/1", "letters"] == "Hangul 150, Han 80"
    assert rates.loc["short", "share"] == 1 / N
    assert rates.loc["short", "lo"] < 1 / N < rates.loc["short", "hi"]
    assert (tmp_path / "out" / "ko.csv").read_bytes().startswith(b"\xef\xbb\xbf")


def test_a_sample_depends_on_ids_alone_and_grows(corpus, audit, tmp_path):
    samples = [list(sampled(corpus, audit, tmp_path / str(n), n)[1]["doc_id"]) for n in (5, 20, 40)]
    assert [len(ids) for ids in samples] == [5, 20, 40]
    assert samples[0] == samples[1][:5] == samples[2][:5]
    assert samples[1] == samples[2][:20]
    assert list(sampled(corpus[::-1], audit, tmp_path / "back", 20)[1]["doc_id"]) == samples[1]


def test_an_opening_is_compared_with_the_whole_corpus(corpus, audit, tmp_path):
    """Of a few documents, those whose double was not drawn are known all the same."""
    for n in range(1, N + 1):
        rates, sheet = sampled(corpus, audit, tmp_path / "out", n)
        if ("wiki/4" in set(sheet["doc_id"])) != ("wiki/50" in set(sheet["doc_id"])):
            assert rates.loc["opening repeated", "count"] == 1
            return
    pytest.fail("both were drawn together")


def test_the_page_shows_what_the_filter_removed_and_runs_nothing(corpus, audit, tmp_path):
    sampled(corpus, audit, tmp_path / "out", n=10)
    page = (tmp_path / "out" / "ko.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;KTX&lt;/b&gt; 열차" in page
    assert "<b>" not in page
    assert "10 of 60 documents of ko" in page
    assert "dropped: short" in page
    assert "77 letters deleted (in 5), 3 words of which a piece is left (in 2)" in page


def test_pairs_that_do_not_say_the_same(audit, tmp_path):
    rng = np.random.default_rng(0)
    letters = [chr(code) for code in range(0x0F40, 0x0F60) if code != 0x0F48]
    tibetan = ["་".join("".join(rng.choice(letters, 2)) for _ in range(20)) + "།" for _ in range(40)]
    english = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 60)) for _ in range(40)]
    tibetan[0] = "།།"
    tibetan[1] = tibetan[1] * 5
    tibetan[2] = english[2].upper()
    english[3] = english[30]
    rows = [
        {"pair_id": f"p/{i}", "en": en, "xx": xx, "source": "p"}
        for i, (en, xx) in enumerate(zip(english, tibetan, strict=True))
    ]
    tables.write("pairs", rows, tmp_path / "bo.parquet")
    scripts = {"en": "Latin", "bo": "Tibetan"}
    rates = sample_pairs(
        base="en",
        lang="bo",
        scripts=scripts,
        pairs=tmp_path / "bo.parquet",
        audit=audit,
        font=None,
        n=1000,
        out=tmp_path / "out",
    )
    assert set(rates["corpus"]) == {"en-bo"}
    sheet = pd.read_csv(tmp_path / "out" / "en-bo.csv", dtype=str, keep_default_na=False).set_index("pair_id")
    assert sheet.loc[sheet["suspicions"] != "", "suspicions"].to_dict() == {
        "p/0": "empty half; unlike lengths",
        "p/1": "unlike lengths",
        "p/2": "same text; other script",
        "p/3": "opening repeated",
        "p/30": "opening repeated",
    }
    assert sheet.loc["p/5", "bo"] == tibetan[5]
