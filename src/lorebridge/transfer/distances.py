"""Whether languages that are alike share more facts: the overlap of languages against their distances.

Pairs of languages are no independent draws, since a language stands in all of its pairs. So the languages of one of the
two matrices change places, all pairs with them: the quadratic assignment procedure (Hubert and Schultz, British Journal
of Mathematical and Statistical Psychology 1976), or Mantel's test (Cancer Research 1967).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer.correlates import read_measures
from lorebridge.transfer.precision import checkpoints

ALIKE = {"another family": "family", "another script": "script"}
"""Distances that need no file, 1 where two languages differ -> what of a language they compare."""
PAIR = ("lang_a", "lang_b")


def assignment(x: np.ndarray, y: np.ndarray, permutations: int, seed: int) -> dict[str, Any]:
    """Return the correlation of two symmetric matrices over their pairs, and how probable one so strong is by chance.

    Args:
        x, y: [n, n], the diagonals unread; no NaN elsewhere.
        permutations: of the places in `x`.
        seed: of these.

    Returns:
        ``r`` (Pearson's, over the n (n - 1) / 2 pairs) and ``p`` (two-sided, that of the sample among the
        permutations counted in); None for fewer than four places, or where one of the two does not vary.
    """
    n = len(x)
    pairs = np.triu_indices(n, 1)
    if n < 4 or np.ptp(x[pairs]) == 0 or np.ptp(y[pairs]) == 0:
        return {"r": None, "p": None}

    def standard(values: np.ndarray) -> np.ndarray:
        return (values - values.mean()) / values.std()

    one, other = standard(x[pairs]), standard(y[pairs])
    r = float(one @ other / len(one))
    # A permutation changes neither mean nor spread.
    matrix = np.zeros((n, n))
    matrix[pairs] = one
    matrix += matrix.T
    rng = np.random.default_rng(seed)
    drawn = np.empty(permutations)
    for index in range(permutations):
        order = rng.permutation(n)
        drawn[index] = matrix[np.ix_(order, order)][pairs] @ other / len(one)
    # What differs by rounding alone is as strong.
    as_strong = int((np.abs(drawn) >= abs(r) - 1e-12).sum())
    return {"r": r, "p": (1 + as_strong) / (1 + permutations)}


def distances_of(
    overlap: pd.DataFrame, distances: Mapping[str, pd.DataFrame], permutations: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield how each distance goes with the overlap of one checkpoint.

    Args:
        overlap: rows of the table "fact_overlap" of one checkpoint.
        distances: name -> [languages, languages], NaN where not known.
        permutations: of the languages.
        seed: of these.

    Yields:
        ``within, x, y, n, r, p``; a language that lacks a number is left out, that with the fewest first.
    """
    for within, rows in overlap.groupby("within", sort=False):
        for y, values in (("jaccard", rows["jaccard"]), ("above", rows["jaccard"] - rows["expected"])):
            shared = _matrix(rows["lang_a"], rows["lang_b"], values)
            for x, distance in distances.items():
                both = shared.index.intersection(distance.index, sort=False)
                far, alike = (table.loc[both, both].to_numpy(np.float64) for table in (distance, shared))
                kept = complete(np.isnan(far) | np.isnan(alike))
                cut = np.ix_(kept, kept)
                found = assignment(far[cut], alike[cut], permutations, seed)
                yield {"within": within, "x": x, "y": y, "n": len(kept), **found}


def _matrix(first: pd.Series, second: pd.Series, values: pd.Series) -> pd.DataFrame:
    """Return a symmetric table of what is known of pairs, its diagonal NaN."""
    langs = list(dict.fromkeys([*first, *second]))
    place = {lang: index for index, lang in enumerate(langs)}
    found = np.full((len(langs), len(langs)), np.nan)
    rows, columns = first.map(place).to_numpy(), second.map(place).to_numpy()
    found[rows, columns] = found[columns, rows] = values.to_numpy(np.float64)
    return pd.DataFrame(found, index=langs, columns=langs)


def complete(lacking: np.ndarray) -> list[int]:
    """Return places of a symmetric matrix between which nothing is lacking."""
    kept = list(range(len(lacking)))
    lacking = lacking & ~np.eye(len(lacking), dtype=bool)
    while kept and (counts := lacking[np.ix_(kept, kept)].sum(axis=0)).any():
        del kept[int(counts.argmax())]
    return kept


def read_distances(path: Path | str, columns: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return distances of languages.

    Args:
        path: a CSV file with ``lang_a``, ``lang_b``, a pair of languages in either order and once.
        columns: of the distances.

    Raises:
        InputError: as :func:`lorebridge.transfer.correlates.read_measures`, or it has a pair twice.
    """
    table = read_measures(path, PAIR, columns)
    pairs = pd.Series([tuple(sorted(pair)) for pair in table[list(PAIR)].astype(str).itertuples(index=False)])
    if pairs.duplicated().any():
        raise InputError(path, f"has {' and '.join(pairs[pairs.duplicated()].iloc[0])} twice", "Keep one of its rows.")
    return {column: _matrix(table["lang_a"], table["lang_b"], table[column]) for column in columns}


def overlap_distances(
    *,
    fact_overlap: Path,
    languages: Mapping[str, Mapping[str, Any]],
    permutations: int,
    seed: int,
    out: Path,
    distances: Path | str | None = None,
    columns: Sequence[str] = (),
) -> None:
    """Write the table ``overlap_distances``: how the facts that languages share go with how far apart they are.

    Args:
        fact_overlap: the table "fact_overlap".
        languages: code -> ``family, script``; an empty one is unknown.
        permutations: of the languages.
        seed: of these.
        out: the table to write.
        distances: a CSV file of distances of pairs (:func:`read_distances`); None for none.
        columns: of that file, the distances that are taken.

    Raises:
        InputError: the file is not as it should be, or there are columns of no file.
    """
    if columns and distances is None:
        raise InputError("columns", "columns are of a file of distances, and there is none", "Give the file.")
    known: dict[str, pd.DataFrame] = {}
    for name, what in ALIKE.items():
        said = {lang: language[what] for lang, language in languages.items() if language[what]}
        own = np.array(list(said.values()), object)
        known[name] = pd.DataFrame((own[:, None] != own).astype(float), index=list(said), columns=list(said))
    if distances is not None:
        known |= read_distances(distances, columns)
    rows = [
        {**named, **row}
        for named, said in checkpoints(tables.read(fact_overlap))
        for row in distances_of(said, known, permutations, seed)
    ]
    tables.write("overlap_distances", rows, out)
