"""What goes with precision: how much text a language has, into how many pieces its objects are cut, and the like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorebridge import sheets, tables
from lorebridge.errors import InputError
from lorebridge.transfer.precision import checkpoints

LANGUAGES, MASK_COUNTS = "languages", "mask_counts"
"""Units: a language; or a number of masks, as Zhao et al. (EACL 2024) seem to have had for that with subwords."""


def correlation(
    x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray, method: str, level: float = 0.95
) -> dict[str, Any]:
    """Return the correlation of two measures of the same units.

    The interval is by Fisher's z; of ranks with the variance (1 + r²/2) / (n - 3) of Bonett and Wright (2000).

    Args:
        x, y: finite.
        method: ``pearson`` or ``spearman``.
        level: of the interval.

    Returns:
        ``n, r, lo, hi, p``; all but n are None where fewer than four units, or no variation, say nothing; and `lo` and
        `hi` where r is 1 or -1, of which Fisher's z is infinite.
    """
    from scipy import stats  # most that import this module draw, and correlate nothing

    n = len(x)
    if n < 4 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return {"n": n, "r": None, "lo": None, "hi": None, "p": None}
    found = (stats.pearsonr if method == "pearson" else stats.spearmanr)(x, y)
    r = float(found.statistic)
    spread = 1.0 if method == "pearson" else 1 + r**2 / 2
    reach = stats.norm.ppf((1 + level) / 2) * np.sqrt(spread / (n - 3))
    if 1 - abs(r) < 1e-12:  # but for rounding
        return {"n": n, "r": r, "lo": None, "hi": None, "p": float(found.pvalue)}
    lo, hi = np.tanh(np.arctanh(r) + np.array([-reach, reach]))
    return {"n": n, "r": r, "lo": float(lo), "hi": float(hi), "p": float(found.pvalue)}


def correlates_of(
    measures: pd.DataFrame, y: str, base: str = "", *, logarithm: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """Yield how each measure of languages goes with one of them: Pearson and Spearman, with the base and without.

    Args:
        measures: a row a language: ``lang`` and numbers; missing ones leave their language out.
        y: the one that the others are held against.
        base: the language that is left out once; empty for none.
        logarithm: measures that are also taken by their logarithm (of which ranks would say nothing new).
    """
    for name in [column for column in measures if column not in ("lang", y)]:
        for subset in ("all", f"without {base}") if base in set(measures["lang"]) else ("all",):
            kept = measures.dropna(subset=[name, y])
            kept = kept if subset == "all" else kept[kept["lang"] != base]
            x, values = kept[name].to_numpy(np.float64), kept[y].to_numpy(np.float64)
            told = {"y": y, "unit": LANGUAGES, "subset": subset}
            for method in ("pearson", "spearman"):
                yield {"x": name, **told, "method": method, **correlation(x, values, method)}
            if name in logarithm and (x > 0).all():
                yield {"x": f"log {name}", **told, "method": "pearson", **correlation(np.log(x), values, "pearson")}


def by_mask_counts(scores: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield how the number of masks goes with precision, a number of masks being the unit.

    The precision of each number is summed over the languages that have such facts; numbers with none right are left
    out. This is the unit that -.81 and -.74 of Zhao et al. (EACL 2024) seem to have, and hardly says anything: there
    are nine points or fewer.

    Args:
        scores: rows of the table "fact_scores" of one checkpoint, with ``n_masks``.
    """
    asked = scores[scores["n_masks"].fillna(0) > 0]
    if asked.empty:
        return
    summed = asked.groupby(["n_masks", "lang"])["exact"].mean().groupby("n_masks").sum()
    summed = summed[summed > 0]
    for method in ("pearson", "spearman"):
        yield {
            "x": "masks",
            "y": "p1",
            "unit": MASK_COUNTS,
            "subset": "all",
            "method": method,
            **correlation(summed.index.to_numpy(np.float64), summed.to_numpy(np.float64), method),
        }


def correlates(
    *, scores: Sequence[Path], base: str, out: Path, volumes: Path | str | None = None, columns: Sequence[str] = ()
) -> None:
    """Write the table ``correlates``: what goes with the precision of each model over the languages.

    Args:
        scores: tables "fact_scores", one a model.
        base: the language that is left out once.
        out: the table to write.
        volumes: a CSV file with ``lang`` and measures of languages, such as how much text each has; None for none.
        columns: of that file, the measures that are taken, each also by its logarithm.

    Raises:
        InputError: columns of no file; it lacks one, or has a measure that is no number.
    """
    if columns and volumes is None:
        raise InputError("columns", "columns are of a file of volumes, and there is none", "Give the file.")
    sizes = None if volumes is None else read_volumes(volumes, columns)
    rows = []
    for path in scores:
        for named, said in checkpoints(tables.read(path)):
            rows += [{**named, **row} for row in correlates_of(_measures(said, sizes), "p1", base, logarithm=columns)]
            rows += [{**named, **row} for row in by_mask_counts(said)]
    tables.write("correlates", rows, out)


def _measures(scores: pd.DataFrame, sizes: pd.DataFrame | None) -> pd.DataFrame:
    """Return a row a language: precision, how many facts it has, and how many masks its golds take."""
    groups = scores.groupby("lang", sort=False)
    found = pd.DataFrame({"p1": groups["exact"].mean(), "facts": groups.size().astype(float)})
    if scores["n_masks"].notna().any():
        found["mean masks"] = groups["n_masks"].mean().astype(float)
        found["one-token share"] = (scores["n_masks"] == 1).groupby(scores["lang"], sort=False).mean()
    found = found.reset_index()
    return found if sizes is None else found.merge(sizes, on="lang", how="left")


def read_measures(path: Path | str, keys: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """Return a CSV file of measures, of languages or of pairs of these.

    Args:
        path: the file.
        keys: columns that say what a row is of.
        columns: of the measures; empty where one is unknown.

    Raises:
        InputError: it cannot be read, lacks a column or has one twice, a row has more cells than there are columns, or
            a measure is no number.
    """
    sheets.refuse_odd_table(path, [*keys, *columns])
    try:
        table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read ({' '.join(str(error).split())})", "Give a CSV file.") from error
    for column in (*keys, *columns):
        if column not in table:
            raise InputError(path, f"has no column {column!r}", f"It has: {', '.join(table.columns)}.")
    for column in columns:
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise InputError(f"{path}, column {column}", "has what is no number", "Leave unknown ones empty.")
    return table[[*keys, *columns]]


def read_volumes(path: Path | str, columns: Sequence[str]) -> pd.DataFrame:
    """Return measures of languages.

    Args:
        path: a CSV file with ``lang``.
        columns: of the measures.

    Raises:
        InputError: as :func:`read_measures`, or it has a language twice.
    """
    table = read_measures(path, ["lang"], columns)
    if table["lang"].duplicated().any():
        raise InputError(
            path, f"has {table.loc[table['lang'].duplicated(), 'lang'].iloc[0]!r} twice", "Keep one of its rows."
        )
    return table
