"""Facts that a model has right in two languages, beside what would be shared if the two knew them independently.

Languages that both know the easy relations, and objects of one piece, share facts for that alone. The null is that the
facts which are right in one language are a random set among those of the same relation and the same numbers of masks
(in both languages), of the same size in each such stratum; and, as a second null, of the same object, too, because two
languages that both give the majority answer share it. Under either the number shared is a sum of hypergeometric
variables, so that its distribution is exact, and nothing is drawn.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.transfer.precision import checkpoints

WITHIN = {"relation, masks": ["relation"], "relation, masks, object": ["relation", "object_id"]}
"""Strata within which what is right is exchanged under the null -> their columns, beside the numbers of masks."""


def shared_by_chance(n: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the probabilities of how many facts two independent sets share, (most + 1,).

    Args:
        n: [strata] facts.
        a, b: [strata] facts of either set.
    """
    found = np.ones(1)
    for total, first, second in np.stack([n, a, b], axis=1)[(a > 0) & (b > 0)].tolist():
        found = np.convolve(found, _hypergeometric(total, first, second))
    return found


@functools.cache
def _hypergeometric(total: int, first: int, second: int) -> np.ndarray:
    """Return the probabilities of how many two sets of a stratum share; the same strata come up pair after pair."""
    from scipy import stats  # most that import this module draw, and reckon nothing

    return stats.hypergeom(total, first, second).pmf(np.arange(min(first, second) + 1))


def overlap(right_a: np.ndarray, right_b: np.ndarray, strata: np.ndarray) -> dict[str, Any]:
    """Return what two languages share of the facts that are asked in both.

    Args:
        right_a, right_b: [facts] bool.
        strata: [facts] numbers from 0.

    Returns:
        ``n_both, n_a, n_b, shared, jaccard, expected, z, p``: facts asked in both, right in either, right in both,
        its Jaccard index and what that is on average under the null; how far the number shared lies from its mean in
        standard deviations; and how probable so many or more are. None where nothing is right or nothing can vary.
    """
    n, a, b = (np.bincount(strata, weights=w).astype(int) for w in (np.ones(len(strata)), right_a, right_b))
    shared, either = int((right_a & right_b).sum()), int((right_a | right_b).sum())
    told = {"n_both": len(strata), "n_a": int(a.sum()), "n_b": int(b.sum()), "shared": shared}
    if not either:
        return {**told, "jaccard": None, "expected": None, "z": None, "p": None}
    chances = shared_by_chance(n, a, b)
    numbers = np.arange(len(chances))
    mean = float(chances @ numbers)
    sd = float(np.sqrt(max(0.0, chances @ (numbers - mean) ** 2)))
    return {
        **told,
        "jaccard": shared / either,
        "expected": float(chances @ (numbers / (told["n_a"] + told["n_b"] - numbers))),
        "z": (shared - mean) / sd if sd > 1e-9 else None,
        "p": float(min(1.0, chances[shared:].sum())) if sd > 1e-9 else None,
    }


def overlaps_of(scores: pd.DataFrame, objects: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the overlap of every two languages of one checkpoint, under each null.

    A fact is right where its own object is the model's only answer (credit above a half).

    Args:
        scores: rows of the table "fact_scores" of one checkpoint.
        objects: ``fact_id, lang, object_id`` of the table "facts".
    """
    table = scores.merge(objects, on=["fact_id", "lang"], validate="one_to_one")
    table["right"] = table["exact"] > 0.5
    table["n_masks"] = table["n_masks"].fillna(-1).astype(int)
    by_lang = {lang: rows.set_index("fact_id") for lang, rows in table.groupby("lang", sort=False)}
    for (lang_a, a), (lang_b, b) in itertools.combinations(by_lang.items(), 2):
        both = a.index.intersection(b.index, sort=False)
        if both.empty:
            continue
        one, other = a.loc[both], b.loc[both]
        for within, columns in WITHIN.items():
            strata = (
                one[[*columns, "n_masks"]]
                .assign(other=other["n_masks"])
                .groupby([*columns, "n_masks", "other"], sort=False)
                .ngroup()
            )
            found = overlap(one["right"].to_numpy(), other["right"].to_numpy(), strata.to_numpy())
            yield {"lang_a": lang_a, "lang_b": lang_b, "within": within, **found}


def fact_overlap(*, scores: Sequence[Path], facts: Path, out: Path) -> None:
    """Write the table ``fact_overlap``.

    Args:
        scores: tables "fact_scores", one a model.
        facts: the table "facts".
        out: the table to write.
    """
    objects = tables.read(facts, ["fact_id", "lang", "object_id"])
    rows = [
        {**named, **row}
        for path in scores
        for named, said in checkpoints(tables.read(path))
        for row in overlaps_of(said, objects)
    ]
    tables.write("fact_overlap", rows, out)
