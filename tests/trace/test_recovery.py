import json

import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.trace.bm25 import build_index
from lorebridge.trace.judges import judge
from lorebridge.trace.recovery import recover
from lorebridge.trace.retrieval import retrieve
from lorebridge.world import generate

SCRIPTS = {"en": "Latin", "ko": "Hangul", "zh": "Han", "bo": "Tibetan", "mn": "Mongolian"}


@pytest.fixture
def cell(tmp_path):
    def write(found: dict[tuple[str, str], str]) -> dict:
        hits = [
            {"question_id": q, "chunk_id": c, "doc_id": c[:-2], "rank": 1, "score": 1.0, "method": "bm25"}
            for q, c in found
        ]
        judgments = [
            {"question_id": q, "chunk_id": c, "entails": verdict, "judge": "cooccurrence", "probability": None,
             "distractor_entails": None}
            for (q, c), verdict in found.items()
        ]  # fmt: skip
        tables.write("hits", hits, tmp_path / "hits.parquet")
        tables.write("judgments", judgments, tmp_path / "judgments.parquet")
        return {
            "corpus": "en", "culture": "ko",
            "hits": tmp_path / "hits.parquet", "judgments": tmp_path / "judgments.parquet",
        }  # fmt: skip

    return write


@pytest.fixture
def truth(tmp_path):
    columns = dict.fromkeys(tables.SCHEMAS["truth"].names)
    rows = [
        columns | {"question_id": question, "culture": "ko", "corpus": "en", "doc_ids": documents}
        for question, documents in {"ko-0000": ["s/a", "s/b"], "ko-0001": [], "ko-0002": ["s/c"]}.items()
    ]
    tables.write("truth", rows, tmp_path / "truth.parquet")
    return tmp_path / "truth.parquet"


def test_documents_are_compared_with_the_truth_at_both_stages(cell, truth, tmp_path):
    entry = cell(
        {
            # One of two documents found, in two chunks; a wrong one found and called stated; one found and refused.
            ("ko-0000", "s/a#0"): "yes",
            ("ko-0000", "s/a#1"): "no",
            ("ko-0000", "s/x#0"): "yes",
            ("ko-0001", "s/a#0"): "no",
            # Left out at both stages.
            ("ko-0002", "s/c#0"): "indeterminate",
        }
    )
    recover(truth=truth, corpora=[entry], out=tmp_path / "recovery.parquet")
    rows = tables.read(tmp_path / "recovery.parquet").set_index("stage")
    assert rows["n_questions"].to_dict() == {"retrieval": 2, "judged": 2}
    assert rows["true_documents"].to_dict() == {"retrieval": 2, "judged": 2}
    assert rows["recovered"].to_dict() == {"retrieval": 3, "judged": 2}
    assert rows["recovered_true"].to_dict() == {"retrieval": 1, "judged": 1}
    assert rows["recall"].to_dict() == {"retrieval": 0.5, "judged": 0.5}
    assert rows["precision"].to_dict() == pytest.approx({"retrieval": 1 / 3, "judged": 0.5})


def test_a_corpus_that_was_not_planted_is_refused(cell, truth, tmp_path):
    entry = cell({}) | {"corpus": "bo"}
    with pytest.raises(InputError, match="nothing of culture 'ko' in corpus 'bo'"):
        recover(truth=truth, corpora=[entry], out=tmp_path / "recovery.parquet")


@pytest.mark.slow
def test_a_planted_world_is_recovered_in_every_script(tmp_path, write_chunks, write_questions, passages, released):
    """Every planted document is retrieved and judged stated, and little else is."""
    generate(
        out=tmp_path, base="en", languages={lang: {"script": script} for lang, script in SCRIPTS.items()},
        questions=40, doses=(1, 4, 12), articles=60, pairs=600, co_mentions=0.3,
    )  # fmt: skip
    corpora = []
    for corpus, script in SCRIPTS.items():
        texts = passages(tmp_path / "corpora" / f"{corpus}.jsonl.gz")
        chunks = write_chunks(tmp_path / f"chunks-{corpus}.parquet", texts)
        index = tmp_path / f"index-{corpus}"
        build_index(chunks=chunks, script=script, index=index, threads=1)
        for culture in [lang for lang in SCRIPTS if lang != "en"] if corpus == "en" else [corpus]:
            asked = {lang: released(tmp_path / "questions", culture, lang) for lang in ("en", culture)}
            questions = write_questions(tmp_path / f"questions-{culture}.parquet", culture, asked)
            hits, judgments = (tmp_path / f"{table}-{corpus}-{culture}.parquet" for table in ("hits", "judgments"))
            asking = {"questions": questions, "lang": corpus, "script": script}
            retrieve(method="bm25", corpus=index, top_k=50, k1=1.2, b=0.75, threads=1, out=hits, **asking)
            judge(kind="cooccurrence", hits=hits, chunks=chunks, out=judgments, **asking)
            corpora.append({"corpus": corpus, "culture": culture, "hits": hits, "judgments": judgments})
    recover(truth=tmp_path / "truth.parquet", corpora=corpora, out=tmp_path / "recovery.parquet")
    rows = tables.read(tmp_path / "recovery.parquet")
    assert (rows["recall"] > 0.97).all(), json.dumps(rows.to_dict("records"), indent=1)
    judged = rows[rows["stage"] == "judged"]
    assert len(judged) == 8
    # The planted Chinese names share few characters, which stay single words: one of them is not the whole name.
    floor = judged["corpus"].map(lambda corpus: 0.7 if corpus == "zh" else 0.9)
    assert (judged["precision"] > floor).all(), json.dumps(judged.to_dict("records"), indent=1)
    assert (judged["n_questions"] >= 36).all()
