"""Whether a model holds a fact by the same neurons in two languages: their overlap beside that of other facts.

Facts of one relation share a prompt and facts of one object an answer, and so they share neurons in one language
already. What two languages share of a fact is told beside what they share of another fact of its relation, which is the
null: only what lies above it is the fact's own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from lorebridge import tables
from lorebridge.transfer.clusters import ClusterBootstrap
from lorebridge.transfer.precision import checkpoints

COMPARED = ("same fact", "same object", "same relation", "unrelated")
"""A fact in the one language, and in the other: itself; another of its relation that has its object; another of its
relation with another object; one of another relation."""
ABOVE = "above"
"""``same fact`` less ``same relation``, of the facts that have both."""
_ROWS = 512  # facts that are compared with all others at a time


def jaccards(tops_a: sparse.csr_array, tops_b: sparse.csr_array) -> np.ndarray:
    """Return the Jaccard index of every two sets, [sets, sets], of indicators [sets, neurons]."""
    shared = (tops_a @ tops_b.T).toarray()
    sizes = tops_a.sum(axis=1)[:, None] + tops_b.sum(axis=1)[None, :]
    return shared / (sizes - shared)


def compared(
    tops_a: sparse.csr_array, tops_b: sparse.csr_array, relation: np.ndarray, answer: np.ndarray
) -> np.ndarray:
    """Return the mean Jaccard index of each fact with what it is compared with, [facts, 4]; NaN where there is none.

    Args:
        tops_a, tops_b: indicators of the neurons of the same facts in two languages, [facts, neurons].
        relation, answer: numbers of each fact's relation and object, [facts].
    """
    n = len(relation)
    found = np.full((n, len(COMPARED)), np.nan)
    for start in range(0, n, _ROWS):
        rows = slice(start, min(start + _ROWS, n))
        values = jaccards(tops_a[rows], tops_b)
        own = np.arange(n)[rows][:, None] == np.arange(n)
        kin = relation[rows][:, None] == relation
        alike = answer[rows][:, None] == answer
        for column, among in enumerate((own, kin & alike & ~own, kin & ~alike, ~kin)):
            count = among.sum(axis=1)
            with np.errstate(invalid="ignore"):
                found[rows, column] = np.where(count, (values * among).sum(axis=1) / np.maximum(count, 1), np.nan)
    return found


def overlaps_of(neurons: pd.DataFrame, facts: pd.DataFrame, resamples: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the overlap of every two languages of one checkpoint, with intervals over subjects.

    Args:
        neurons: rows of the table "neurons" of one checkpoint.
        facts: ``fact_id, lang, subject_id, object_id`` of the table "facts".
        resamples: of the subjects.
        seed: of these.
    """
    unit = pd.factorize(pd.MultiIndex.from_frame(neurons[["layer", "neuron"]]))[0]
    table = neurons.assign(unit=unit)
    about = facts.drop_duplicates("fact_id").set_index("fact_id")
    by_lang = {lang: rows for lang, rows in table.groupby("lang", sort=False)}
    for (lang_a, a), (lang_b, b) in itertools.combinations(by_lang.items(), 2):
        both = [fact for fact in dict.fromkeys(a["fact_id"]) if fact in set(b["fact_id"])]
        if not both:
            continue
        place = {fact: index for index, fact in enumerate(both)}
        tops = [_indicators(rows, place, int(unit.max()) + 1) for rows in (a, b)]
        relations = a.drop_duplicates("fact_id").set_index("fact_id").loc[both, "relation"]
        answers, subjects = about.loc[both, "object_id"], about.loc[both, "subject_id"]
        values = compared(*tops, pd.factorize(relations)[0], pd.factorize(answers)[0])
        columns = np.column_stack([values, values[:, 0] - values[:, COMPARED.index("same relation")]])
        for name, column in zip((*COMPARED, ABOVE), columns.T, strict=True):
            known = ~np.isnan(column)
            if not known.any():
                continue
            draws = ClusterBootstrap(subjects.to_numpy(str)[known], resamples=resamples, seed=seed, stream=name)
            lo, hi = draws.interval(column[known])
            yield {
                "lang_a": lang_a,
                "lang_b": lang_b,
                "compared": name,
                "n_facts": int(known.sum()),
                "n_clusters": draws.n_clusters,
                "jaccard": float(column[known].mean()),
                "lo": None if np.isnan(lo) else float(lo),
                "hi": None if np.isnan(hi) else float(hi),
            }


def _indicators(rows: pd.DataFrame, place: dict[str, int], n_units: int) -> sparse.csr_array:
    kept = rows[rows["fact_id"].isin(place)]
    where = (kept["fact_id"].map(place).to_numpy(), kept["unit"].to_numpy())
    return sparse.csr_array((np.ones(len(kept)), where), shape=(len(place), n_units))


def neuron_overlap(*, neurons: Sequence[Path], facts: Path, resamples: int, seed: int, out: Path) -> None:
    """Write the table ``neuron_overlap``.

    Args:
        neurons: tables "neurons", one a model.
        facts: the table "facts".
        resamples: of the subjects.
        seed: of these.
        out: the table to write.
    """
    about = tables.read(facts, ["fact_id", "lang", "subject_id", "object_id"])
    rows = [
        {**named, **row}
        for path in neurons
        for named, said in checkpoints(tables.read(path))
        for row in overlaps_of(said, about, resamples, seed)
    ]
    tables.write("neuron_overlap", rows, out)
