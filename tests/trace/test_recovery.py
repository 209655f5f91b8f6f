import importlib.util
import json

import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.trace.recovery import recover
from lorebridge.world.planting import generate


@pytest.fixture
def cell(tmp_path):
    def write(found: dict[tuple[str, str], str]) -> dict:
        hits = [
            {"question_id": q, "chunk_id": c, "doc_id": c[:-2], "rank": 1, "score": 1.0, "method": "bm25"}
            for q, c in found
        ]
        judgments = [
            {
                "question_id": q,
                "chunk_id": c,
                "entails": verdict,
                "judge": "cooccurrence",
                "probability": None,
                "distractor_entails": None,
            }
            for (q, c), verdict in found.items()
        ]
        tables.write("hits", hits, tmp_path / "hits.parquet")
        tables.write("judgments", judgments, tmp_path / "judgments.parquet")
        documents = [dict.fromkeys(tables.SCHEMAS["documents"].names, "") | {"doc_id": d, "n_chars": 0} for d in "abcx"]
        for row in documents:
            row["doc_id"] = f"s/{row['doc_id']}"
        for shard, rows in enumerate((documents[:2], documents[2:])):
            tables.write("documents", rows, tmp_path / f"documents-{shard}.parquet")
        # The exact search meets s/a and s/x for the first question, and s/c for the third, as a distractor does.
        mentions = [
            {
                "question_id": f"ko-000{q}",
                "piece": piece,
                "subject": True,
                "object": True,
                "n_statements": n,
                "n_chunks": n,
                "distractor_documents": 1.0 if q else None,
                "distractor_chunks": None,
            }
            for q, piece, n in [(0, 0, 1), (0, 1, 0), (0, 3, 2), (2, 2, 1)]
        ]
        tables.write("mentions", mentions, tmp_path / "mentions.parquet")
        subjects = [
            {
                "question_id": f"ko-000{q}",
                "culture": "ko",
                "lang": "en",
                "subject_rule": "terms",
                "terms": ["a", "b"],
                "n_chunks": [1, 1],
                "aliases": [],
                "gold": gold,
                "distractors": [],
            }
            for q, gold in enumerate(["x", None, "y"])
        ]
        tables.write("subjects", subjects, tmp_path / "subjects.parquet")
        return {
            "corpus": "en",
            "culture": "ko",
            "mentions": tmp_path / "mentions.parquet",
            "subjects": tmp_path / "subjects.parquet",
            "documents": [tmp_path / f"documents-{shard}.parquet" for shard in (0, 1)],
            "hits": tmp_path / "hits.parquet",
            "judgments": tmp_path / "judgments.parquet",
        }

    return write


@pytest.fixture
def truth(tmp_path):
    columns = dict.fromkeys(tables.SCHEMAS["truth"].names)
    rows = [
        columns
        | {
            "question_id": question,
            "culture": "ko",
            "corpus": "en",
            "doc_ids": documents,
            "dose": 1 + (question == "ko-0000"),
        }
        for question, documents in {"ko-0000": ["s/a", "s/b"], "ko-0001": [], "ko-0002": ["s/c"]}.items()
    ]
    # What other cultures ask of the same documents, and what other corpora say, is not compared.
    rows += [rows[0] | {"question_id": f"{culture}-0000", "culture": culture} for culture in ("bo", "mn")]
    rows += [rows[0] | {"question_id": "ko-0001", "corpus": corpus} for corpus in ("bo", "ko")]
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
    recover(truth=truth, heldout={"en": 0.0}, corpora=[entry], out=tmp_path / "recovery.parquet")
    table = tables.read(tmp_path / "recovery.parquet")
    rows = table[table["dose"].isna()].set_index("stage")
    assert rows["n_questions"].to_dict() == {"retrieval": 2, "judged": 2, "exact": 2, "told apart": 2}
    assert rows["true_documents"].to_dict() == {"retrieval": 2, "judged": 2, "exact": 3, "told apart": 3}
    assert rows["recovered"].to_dict() == {"retrieval": 3, "judged": 2, "exact": 3, "told apart": 2}
    assert rows["recovered_true"].to_dict() == {"retrieval": 1, "judged": 1, "exact": 2, "told apart": 1}
    assert rows["recall"].to_dict() == pytest.approx(
        {"retrieval": 0.5, "judged": 0.5, "exact": 2 / 3, "told apart": 1 / 3}
    )
    assert rows["precision"].to_dict() == pytest.approx(
        {"retrieval": 1 / 3, "judged": 0.5, "exact": 2 / 3, "told apart": 1 / 2}
    )
    assert rows["method"].to_dict() == {"retrieval": "bm25", "judged": "bm25", "exact": "exact", "told apart": "exact"}
    doses = table.dropna(subset="dose").set_index(["stage", "dose"])
    assert doses["n_questions"].to_dict() == {
        ("retrieval", 1): 1,
        ("retrieval", 2): 1,
        ("judged", 1): 1,
        ("judged", 2): 1,
        ("exact", 1): 1,
        ("exact", 2): 1,
        ("told apart", 1): 1,
        ("told apart", 2): 1,
    }
    assert doses.loc[("exact", 1), "recall"] == 1.0
    assert doses.loc[("exact", 2), ["true_documents", "recovered_true"]].tolist() == [2, 1]
    # Nothing of dose 1 could be found among the judged questions: no document states it.
    assert doses.loc[("judged", 1), ["true_documents", "recovered"]].tolist() == [0, 0]


def test_what_is_held_out_is_not_missed(cell, truth, tmp_path):
    entry = cell({("ko-0000", "s/a#0"): "yes"})
    recover(truth=truth, heldout={"en": 1.0}, corpora=[entry], out=tmp_path / "recovery.parquet")
    table = tables.read(tmp_path / "recovery.parquet")
    assert (table["true_documents"] == 0).all()
    assert table["recall"].isna().all()


def test_a_corpus_that_was_not_planted_is_refused(cell, truth, tmp_path):
    entry = cell({}) | {"corpus": "mn"}
    with pytest.raises(InputError, match="nothing of culture 'ko' in corpus 'mn'"):
        recover(truth=truth, heldout={"en": 0.0}, corpora=[entry], out=tmp_path / "recovery.parquet")


@pytest.mark.slow
def test_a_planted_world_is_recovered_in_every_script(root, tmp_path):
    """Every planted document is retrieved, judged stated and counted, and little else is."""
    spec = importlib.util.spec_from_file_location("recovery", root / "benchmarks" / "recovery.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    generate(
        out=tmp_path,
        base="en",
        languages={lang: {"script": script} for lang, script in benchmark.SCRIPTS.items()},
        questions=40,
        doses=(1, 4, 12),
        articles=60,
        pairs=600,
    )
    corpora = list(benchmark.cells(tmp_path, dense=()))
    recover(
        truth=tmp_path / "truth.parquet",
        heldout=dict.fromkeys(benchmark.SCRIPTS, 0.0),
        corpora=corpora,
        out=tmp_path / "recovery.parquet",
    )
    table = tables.read(tmp_path / "recovery.parquet")
    assert (table["recall"].dropna() == 1.0).all(), json.dumps(table.to_dict("records"), indent=1)
    stated = table[(table["stage"] != "retrieval") & table["dose"].isna()]
    assert len(stated) == 24
    assert (stated["n_questions"] >= 36).all()
    # The wording is unchanged, so what is called stated is stated.
    assert (stated["precision"] == 1.0).all(), json.dumps(stated.to_dict("records"), indent=1)
