"""How much of what was planted the tracing finds again: a check that only a planted world allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.trace.judges import INDETERMINATE, YES


def recover(*, truth: Path, corpora: Sequence[Mapping[str, Any]], out: Path) -> dict[str, int]:
    """Compare the documents that retrieval and judge found with those that state the fact, and write "recovery".

    Each pair of a corpus and a culture gives two rows: stage "retrieval" (distinct documents among the hits) and
    stage "judged" (those of them that the judge called stated). Recall and precision pool the documents of all
    questions. Questions of which the judge could tell nothing are left out of both stages, so that the two compare.

    Args:
        truth: table "truth" of the planted world.
        corpora: for each pair: corpus, culture, and the paths of hits and judgments.
        out: where to write.

    Returns:
        Notes for the record: the number of rows.

    Raises:
        InputError: the truth holds nothing of a corpus and culture.
    """
    planted = tables.read(truth, ["question_id", "culture", "corpus", "doc_ids"])
    rows = []
    for entry in corpora:
        known = planted[(planted["corpus"] == entry["corpus"]) & (planted["culture"] == entry["culture"])]
        if known.empty:
            raise InputError(
                truth,
                f"says nothing of culture {entry['culture']!r} in corpus {entry['corpus']!r}",
                "Give only corpora and cultures of the planted world.",
            )
        hits, judgments = tables.read(entry["hits"]), tables.read(entry["judgments"])
        found = hits.merge(judgments, on=["question_id", "chunk_id"], validate="1:1")
        judged = set(found.loc[found["entails"] != INDETERMINATE, "question_id"])
        told = set(known["question_id"]) - (set(found["question_id"]) - judged)
        stated = _pairs(known.explode("doc_ids").rename(columns={"doc_ids": "doc_id"}).dropna(subset="doc_id"), told)
        for stage, documents in (
            ("retrieval", _pairs(found, told)),
            ("judged", _pairs(found[found["entails"] == YES], told)),
        ):
            right = len(documents & stated)
            rows.append(
                {
                    "corpus": entry["corpus"],
                    "culture": entry["culture"],
                    "method": next(iter(found["method"]), None),
                    "judge": next(iter(found["judge"]), None),
                    "stage": stage,
                    "n_questions": len(told),
                    "true_documents": len(stated),
                    "recovered": len(documents),
                    "recovered_true": right,
                    "recall": right / len(stated) if stated else None,
                    "precision": right / len(documents) if documents else None,
                }
            )
    tables.write("recovery", rows, out)
    return {"n_rows": len(rows)}


def _pairs(rows: pd.DataFrame, questions: set[str]) -> set[tuple[str, str]]:
    """Return the distinct (question_id, doc_id) of `rows` whose question is among `questions`."""
    kept = rows[rows["question_id"].isin(questions)]
    return set(zip(kept["question_id"], kept["doc_id"], strict=True))
