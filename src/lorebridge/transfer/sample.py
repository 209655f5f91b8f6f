"""A few questions of known frequency, for a study that is to cost little: which of a culture's questions to ask."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes.questions import in_subset
from lorebridge.transfer.clusters import question_clusters

STRATA = (1, 10)
"""Documents that state a fact from which on it belongs to the next stratum: never, 1 to 9 times, 10 times or more."""


def sample_questions(
    *, questions: Path, occurrences: Path, culture: str, base: str, subset: str, n_questions: int, out: Path
) -> dict[str, Any]:
    """Write the rows of table "questions" of a sample of a culture's questions, spread over frequency.

    A fact's frequency is the number of documents that state it (table "occurrences", every text counted), in the base
    language's corpus and in the culture's own: :data:`STRATA` of the one by those of the other, by whether the parallel
    text states it, make eighteen cells. The cells are taken in turn, rare cells included, until the sample is full;
    within a cell, in the order of the digests of the questions' ids. So a larger sample holds the smaller one. Only one
    question of a cluster is taken, since those of a cluster stand or fall together.

    Args:
        questions: table "questions" of the culture.
        occurrences: table "occurrences".
        culture: the culture.
        base: code of the base language.
        subset: which questions there are to choose from.
        n_questions: size of the sample.
        out: the rows of `questions` that belong to the sample.

    Returns:
        notes: number of questions of known frequency, and of the sample by cell, "documents in the base language's
        corpus / in its own", and "leaked" where the parallel text states the fact.

    Raises:
        InputError: too few questions have a known frequency in both corpora.
    """
    table = tables.read(questions)
    counted = tables.read(occurrences, ["question_id", "culture", "corpus", "text", "n_both"])
    counted = counted[counted["culture"] == culture]
    mono = counted[counted["text"] == "mono"].pivot(index="question_id", columns="corpus", values="n_both")
    known = mono[[base, culture]].dropna()
    known = known[known.index.isin(in_subset(table, subset)["question_id"])]
    leaked = set(counted.loc[(counted["text"] == "pairs") & (counted["n_both"] > 0), "question_id"])
    clusters = question_clusters(table)
    cells: dict[tuple[int, int, bool], list[str]] = {}
    for question in sorted(known.index, key=lambda name: hashlib.blake2b(name.encode()).digest()):
        there, here = np.digitize(known.loc[question], STRATA)
        cells.setdefault((int(there), int(here), question in leaked), []).append(question)
    chosen: dict[str, tuple[int, int, bool]] = {}
    taken: set[int] = set()
    for row in itertools.zip_longest(*(cells[cell] for cell in sorted(cells))):
        for cell, question in zip(sorted(cells), row, strict=True):
            if question is not None and clusters[question] not in taken and len(chosen) < n_questions:
                chosen[question] = cell
                taken.add(clusters[question])
    if len(chosen) < n_questions:
        raise InputError(
            f"questions.{culture}.sample",
            f"asks for {n_questions} questions, but only {len(chosen)} clusters of the subset {subset!r} hold a "
            "question whose fact can be counted in both corpora",
            "Ask for fewer.",
        )
    tables.write("questions", table[table["question_id"].isin(chosen)], out)
    names = ("0", f"{STRATA[0]}-{STRATA[1] - 1}", f"{STRATA[1]}+")
    by_cell = [f"{names[there]} / {names[here]}{', leaked' * told}" for there, here, told in chosen.values()]
    return {"known": len(known), "sample": {cell: by_cell.count(cell) for cell in sorted(set(by_cell))}}
