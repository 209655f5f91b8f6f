"""Does a fact that was read more often cross more easily? Logistic regression of transfer on log exposure."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import stats
from statsmodels.tools.sm_exceptions import PerfectSeparationWarning

RISK_SET, ALL_ITEMS = "risk set", "all"
COUNTS = ("occurrences", "presentations")
SIDES = ("source", "target")
MIN_EVENTS = 10
"""Fewest transferred items, and fewest others, that a regression is run on: five for each slope."""


def exposure_effects(items: pd.DataFrame, *, unleaked: bool) -> pd.DataFrame:
    """Return how the odds of transfer change with each doubling of exposure, by direction.

    Logistic regression over items (questions x seeds): the log odds of being transferred are an intercept for each
    language plus a slope for log2(1 + count) in the source language and one for the same in the target language.
    Errors are robust to clusters of questions, their seeds included (Liang & Zeger 1986; statsmodels); p-values and
    intervals by Student's t with one degree of freedom fewer than clusters.

    The sample decides what a slope means. Inside the risk set it says how exposure goes with crossing, given that a
    fact was known in the source and not answered in the target without the bridge. Among all items it says in part how
    exposure goes with being known, which the selection of items demands (Zhang et al., ACL 2025, appendix C.4); it
    stands beside for that.

    Args:
        items: rows of table "items".
        unleaked: whether leaked questions were left out, for the column of that name.

    Returns:
        Rows of table "exposure_effects": per direction, sample, count and side. Coefficients are missing where there
        are fewer than :data:`MIN_EVENTS` items of either outcome, where a count does not vary, and where the outcome is
        separated, so that no finite slope fits best.
    """
    rows = []
    for direction, of_direction in items.groupby("direction", sort=True):
        for sample in (RISK_SET, ALL_ITEMS):
            members = of_direction[of_direction["in_risk_set"]] if sample == RISK_SET else of_direction
            for count in COUNTS:
                columns = [f"{count}_{side}" for side in SIDES]
                told = members.dropna(subset=columns)
                # A language whose items all had one outcome says nothing of the slopes.
                both = told.groupby("lang")["transferred"].transform("nunique") == 2
                fitted = _fit(told[both], columns)
                for side, column in zip(SIDES, columns, strict=True):
                    rows.append(
                        {
                            "direction": direction,
                            "sample": sample,
                            "unleaked": unleaked,
                            "count": count,
                            "side": side,
                            "langs": sorted(told.loc[both, "lang"].unique()),
                            "n_items": int(both.sum()),
                            "n_transferred": int(told.loc[both, "transferred"].sum()),
                            "n_clusters": int(told.loc[both].groupby("lang")["cluster"].nunique().sum()),
                            "indeterminate": len(members) - len(told),
                            **fitted.get(
                                column, dict.fromkeys(("coefficient", "se", "odds_ratio", "lo", "hi", "p"), np.nan)
                            ),
                        }
                    )
    return pd.DataFrame(rows)


def _fit(rows: pd.DataFrame, columns: list[str]) -> dict[str, dict[str, Any]]:
    """Return the slope of each column with its error, or nothing where there is none to be had."""
    events = int(rows["transferred"].sum())
    if min(events, len(rows) - events) < MIN_EVENTS:
        return {}
    design = pd.get_dummies(rows["lang"], dtype=float).join(rows[columns].add(1).map(np.log2))
    if np.linalg.matrix_rank(design.to_numpy()) < design.shape[1]:
        return {}
    groups = (rows["lang"] + rows["cluster"].astype(str)).factorize()[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error", PerfectSeparationWarning)
        try:
            fit = sm.GLM(rows["transferred"].astype(float), design, family=sm.families.Binomial()).fit(
                cov_type="cluster", cov_kwds={"groups": groups}
            )
        except PerfectSeparationWarning:
            return {}
    # Where some direction in the design separates the outcome, slopes run off until rounding stops them.
    if not fit.converged or np.abs(fit.params).max() > 20:
        return {}
    quantile = stats.t.ppf(0.975, groups.max())
    found = {}
    for column in columns:
        slope, error = float(fit.params[column]), float(fit.bse[column])
        found[column] = {
            "coefficient": slope,
            "se": error,
            "odds_ratio": np.exp(slope),
            "lo": np.exp(slope - quantile * error),
            "hi": np.exp(slope + quantile * error),
            "p": 2 * stats.t.sf(abs(slope) / error, groups.max()),
        }
    return found
