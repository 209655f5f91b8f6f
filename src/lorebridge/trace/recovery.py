"""How much of what was planted the tracing finds again: a check that only a planted world allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lorebridge import tables
from lorebridge.corpora.heldout import is_heldout
from lorebridge.errors import InputError
from lorebridge.trace.asked import read_asked
from lorebridge.trace.density import EXACT
from lorebridge.trace.judges import INDETERMINATE, YES, CoOccurrence
from lorebridge.trace.mentions import read_mentions
from lorebridge.trace.occurrences import stands_out


def recover(
    *, truth: Path, heldout: Mapping[str, float], corpora: Sequence[Mapping[str, Any]], out: Path
) -> dict[str, int]:
    """Compare the documents that were found with those that state the fact, and write table "recovery".

    Each pair of a corpus and a culture is compared at four stages: "retrieval" (distinct documents among the hits),
    "judged" (those of them that the judge called stated), "exact" (all documents of the corpus that state the fact
    by the rule of the judge of co-occurrence, without retrieval), and "told apart" (those of them whose question's
    answer stands out from its distractors, :func:`lorebridge.trace.occurrences.stands_out`). Each stage has a row for
    all questions (dose null) and one for each dose, the number of documents that mention the subject. Recall and
    precision pool the documents of the questions. Questions of which the judge could tell nothing are left out of the
    first two stages, so that they compare; those without a subject or an answer to look for, of the others.

    Held-out documents are no part of the corpus, so the truth is taken without them.

    Args:
        truth: table "truth" of the planted world.
        heldout: corpus -> the share of its documents that is held out.
        corpora: for each pair: corpus, culture, and the paths of hits, judgments, mentions, subjects (of the corpus's
            language) and documents (a list: the tables that the mentions were found in, in order).
        out: where to write.

    Returns:
        Notes for the record: the number of rows.

    Raises:
        InputError: the truth holds nothing of a corpus and culture.
    """
    planted = tables.read(truth, ["question_id", "culture", "corpus", "dose", "doc_ids"])
    names: dict[tuple[Path, ...], npt.NDArray[Any]] = {}
    rows = []
    for entry in corpora:
        known = planted[(planted["corpus"] == entry["corpus"]) & (planted["culture"] == entry["culture"])]
        if known.empty:
            raise InputError(
                truth,
                f"says nothing of culture {entry['culture']!r} in corpus {entry['corpus']!r}",
                "Give only corpora and cultures of the planted world.",
            )
        documents = tuple(entry["documents"])
        if documents not in names:
            names[documents] = np.concatenate(
                [tables.read(path, ["doc_id"])["doc_id"].to_numpy(object) for path in documents]
            )
        stated = known.explode("doc_ids").rename(columns={"doc_ids": "doc_id"}).dropna(subset="doc_id")
        share = heldout[entry["corpus"]]
        stated = stated[[not is_heldout(doc_id, share) for doc_id in stated["doc_id"]]]
        hits, judgments = tables.read(entry["hits"]), tables.read(entry["judgments"])
        found = hits.merge(judgments, on=["question_id", "chunk_id"], validate="1:1")
        judged = set(found.loc[found["entails"] != INDETERMINATE, "question_id"])
        told = set(known["question_id"]) - (set(found["question_id"]) - judged)
        exact, apart, looked_for = _exact(entry, names[documents])
        searched = {"method": next(iter(found["method"]), None), "judge": next(iter(found["judge"]), None)}
        counted = {"method": EXACT, "judge": CoOccurrence.name}
        for stage, labels, documents_found, questions in (
            ("retrieval", searched, found, told),
            ("judged", searched, found[found["entails"] == YES], told),
            ("exact", counted, exact, looked_for),
            ("told apart", counted, exact[exact["question_id"].isin(apart)], looked_for),
        ):
            for dose in [None, *sorted(known["dose"].unique())]:
                of_dose = known if dose is None else known[known["dose"] == dose]
                among = questions & set(of_dose["question_id"])
                row = {"corpus": entry["corpus"], "culture": entry["culture"], "stage": stage, "dose": dose, **labels}
                rows.append(row | _compare(_pairs(documents_found, among), _pairs(stated, among), len(among)))
    tables.write("recovery", rows, out)
    return {"n_rows": len(rows)}


def _exact(entry: Mapping[str, Any], doc_ids: npt.NDArray[Any]) -> tuple[pd.DataFrame, set[str], set[str]]:
    """Return the (question_id, doc_id) of all documents that state a fact.

    And the questions whose answer stands out there, and those that are looked for.
    """
    mentions = read_mentions(entry["mentions"], ["n_chunks", "distractor_documents"])
    by_question = mentions.assign(stated=mentions["n_chunks"] > 0).groupby("question_id", observed=True)
    sums = by_question.agg({"stated": "sum", "distractor_documents": "sum"})
    apart = stands_out(sums["stated"], sums["distractor_documents"])
    mentions = mentions[mentions["n_chunks"] > 0]
    exact = pd.DataFrame({"question_id": mentions["question_id"], "doc_id": doc_ids[mentions["piece"]]})
    asked = read_asked(entry["subjects"], [entry["culture"]])
    return exact, set(apart.index[apart]), {one.question_id for one in asked if one.terms and one.gold is not None}


def _compare(found: set[tuple[str, str]], stated: set[tuple[str, str]], n_questions: int) -> dict[str, Any]:
    """Return the counts of a row, with recall and precision."""
    right = len(found & stated)
    return {
        "n_questions": n_questions,
        "true_documents": len(stated),
        "recovered": len(found),
        "recovered_true": right,
        "recall": right / len(stated) if stated else None,
        "precision": right / len(found) if found else None,
    }


def _pairs(rows: pd.DataFrame, questions: set[str]) -> set[tuple[str, str]]:
    """Return the distinct (question_id, doc_id) of `rows` whose question is among `questions`."""
    kept = rows[rows["question_id"].isin(questions)]
    return set(zip(kept["question_id"], kept["doc_id"], strict=True))
