"""Density and direction, culture by culture: does knowledge cross from where it is denser?

Zhang et al. (ACL 2025, section 5) explain the asymmetry by density: a culture's facts cross from the language whose
text states them more often. That is a statement about cultures, of which there are four. The table says so.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import scipy

from lorebridge import tables
from lorebridge.probes.prefixes import behind
from lorebridge.trace.density import EXACT
from lorebridge.transfer.asymmetry import DIFFERENCE
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY

EXACT_ENUMERATION = 8  # cultures up to which all orders are tried


def cultures(*, asymmetry: Path, density: Path, base: str, prefix: str) -> pd.DataFrame:
    """Return each culture's log density ratio beside the difference of its directional gaps.

    Densities are those of the monolingual corpora, counted in every text, per token, and among judged hits, per
    document as in the paper; the ratio is that of the culture's own corpus to the base language's.

    Args:
        asymmetry: table "asymmetry".
        density: table "density".
        base: code of the base language.
        prefix: what the questions were asked behind.

    Returns:
        columns contrast, scale, counted ("every text" or "judged hits"), unit, culture, log2_ratio (missing where a
        corpus states none of the facts), difference (gap xx->en - gap en->xx), lo, hi, interval (with seeds where there
        are two), n_cultures (that have both numbers), rank_correlation (Spearman's, over these; missing for fewer than
        three) and p (two-sided, over all orders of the cultures: with four it cannot be below 2/24).
    """
    dense = tables.read(density)
    dense = dense[~dense["includes_parallel"]]
    of_texts = dense["method"] == EXACT
    ways = {
        ("every text", "token"): dense[of_texts & (dense["unit"] == "token")],
        ("judged hits", "document"): dense[~of_texts & (dense["unit"] == "document")],
    }
    differences = behind(tables.read(asymmetry), prefix, asymmetry)
    single = differences["langs"].map(len) == 1
    differences = differences[(differences["direction"] == DIFFERENCE) & ~differences["unleaked"] & single]
    differences = differences[differences["group"] == differences["langs"].str[0]]
    known = QUESTIONS_AND_SEEDS if (differences["interval"] == QUESTIONS_AND_SEEDS).any() else QUESTIONS_ONLY
    differences = differences[differences["interval"] == known]
    frames = []
    for (counted, unit), rows in ways.items():
        pivot = rows.assign(own=rows["corpus"] != base).pivot(index="culture", columns="own", values="density")
        if pivot.empty:
            continue
        ratio = (pivot[True] / pivot[False]).where((pivot[True] > 0) & (pivot[False] > 0)).map(np.log2)
        for _, of_contrast in differences.groupby(["contrast", "scale"], sort=False):
            table = of_contrast.assign(
                counted=counted,
                unit=unit,
                culture=of_contrast["group"],
                difference=of_contrast["estimate"],
                log2_ratio=of_contrast["group"].map(ratio),
            )
            both = table.dropna(subset=["log2_ratio", "difference"])
            correlation, p = rank_correlation(both["log2_ratio"].to_numpy(), both["difference"].to_numpy())
            frames.append(table.assign(n_cultures=len(both), rank_correlation=correlation, p=p))
    columns = [
        "contrast",
        "scale",
        "counted",
        "unit",
        "culture",
        "log2_ratio",
        "difference",
        "lo",
        "hi",
        "interval",
        "n_cultures",
        "rank_correlation",
        "p",
    ]
    return pd.concat(frames, ignore_index=True)[columns]


def rank_correlation(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return Spearman's correlation and its two-sided permutation p-value; NaN for fewer than three, or constants.

    Exact, over all orders, up to :data:`EXACT_ENUMERATION` values; above, over 9,999 random ones.

    >>> rank_correlation(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.1, 0.2, 0.5, 0.9]))[1]  # 2 of 24 orders
    0.08333333333333333
    """
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan, np.nan
    resamples = np.inf if len(x) <= EXACT_ENUMERATION else 9999
    found = scipy.stats.permutation_test(
        (x,),
        lambda order: scipy.stats.spearmanr(order, y).statistic,
        permutation_type="pairings",
        n_resamples=resamples,
        rng=np.random.default_rng(0),
    )
    return float(found.statistic), float(found.pvalue)
