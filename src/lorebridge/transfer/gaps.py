"""Gaps between arms: how much better the questions are answered with the bridge than without it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer import credits as credits_
from lorebridge.transfer.clusters import ClusterBootstrap
from lorebridge.transfer.credits import LAST, Credits, directions

log = logging.getLogger("lorebridge.transfer")

QUESTIONS_ONLY = "questions only, given these seeds"
QUESTIONS_AND_SEEDS = "questions and seeds, seed variance pooled over languages"


def gaps(
    *,
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    base: str,
    contrasts: Sequence[Sequence[str]],
    subset: str,
    rule: str,
    last: int,
    resamples: int,
    seed: int,
    out: Path,
) -> dict[str, Any]:
    """Write the table "gaps": mean paired difference of credits, in 0..1, per language, direction, contrast and step.

    The gap of a contrast is the mean over questions of (credit in the first arm - credit in the second), the two
    models asked the same questions after the same steps, seed by seed (Zhang et al., ACL 2025, Figure 3). Rows of one
    seed, and of the mean of all seeds (seed "all"); rows of each step, and of the mean of the last `last`
    checkpoints (step -1). All on raw points: smoothing is for the eye.

    Intervals, 95 %: a bootstrap over clusters of questions (:mod:`lorebridge.transfer.clusters`) says how much the
    choice of questions matters with these very models, and no more: it is labelled :data:`QUESTIONS_ONLY`. Where at
    least one language has two seeds, seed "all" at step -1 has a second row, :data:`QUESTIONS_AND_SEEDS`: the
    variance between seeds is pooled over languages, because two seeds alone say next to nothing, and added to the
    bootstrap's; degrees of freedom by Satterthwaite (1946). What seeds and questions do together is in both parts, so
    that interval errs on the wide side.

    Args:
        scores: tables "scores", one a run.
        questions: culture (= language learned) -> table "questions".
        base: code of the base language.
        contrasts: pairs of arms; one that a language has no common seed for is left out there and logged.
        subset: which questions count.
        rule: how options are compared.
        last: number of final checkpoints pooled.
        resamples: bootstrap resamples.
        seed: of the bootstrap.
        out: the table "gaps".

    Returns:
        notes: number of questions and of clusters per culture.

    Raises:
        InputError: as :func:`lorebridge.transfer.credits.load`, or no contrast can be formed at all.
    """
    rows: list[dict[str, Any]] = []
    notes: dict[str, Any] = {}
    loaded = credits_.load(scores=scores, questions=questions, base=base, subset=subset, rule=rule, last=last)
    for credits in loaded:
        bootstrap = ClusterBootstrap(credits.clusters, resamples=resamples, seed=seed, stream=credits.culture)
        notes[credits.culture] = {"questions": len(credits.questions), "clusters": bootstrap.n_clusters}
        for first, second in contrasts:
            rows += _contrast_rows(credits, base, first, second, last, bootstrap)
    if not rows:
        raise InputError(
            "contrasts",
            f"none of {[list(c) for c in contrasts]} names two arms that were run with a common seed",
            "Name arms of the study.",
        )
    table = pd.DataFrame(rows)
    table = pd.concat([table, _pooled_seed_rows(table)], ignore_index=True)
    table["subset"], table["rule"] = subset, rule
    tables.write("gaps", table.drop(columns=["n_clusters", "variance"]), out)
    return notes


def _contrast_rows(
    credits: Credits, base: str, first: str, second: str, last: int, bootstrap: ClusterBootstrap
) -> list[dict[str, Any]]:
    """Return the rows of one contrast in one language and direction, with bootstrap intervals."""
    seeds = credits.seeds(first, second)
    if not seeds:
        log.info("%s: no common seed of %s and %s, contrast left out", credits.culture, first, second)
        return []
    direction = next(d for d, lang in directions(base, credits.culture).items() if lang == credits.lang)
    rows = []
    for label, chosen in [*((str(s), [s]) for s in seeds), ("all", seeds)]:
        pair = [np.mean([credits.arms[arm][s] for s in chosen], axis=0) for arm in (first, second)]
        with_last = [np.vstack([c, c[-last:].mean(axis=0)]) for c in pair]
        difference = with_last[0] - with_last[1]
        lo, hi = bootstrap.interval(difference)
        variance = bootstrap.variance(difference)
        for i, step in enumerate([*credits.steps, LAST]):
            rows.append(
                {
                    "lang": credits.culture,
                    "direction": direction,
                    "contrast": f"{first} - {second}",
                    "step": step,
                    "seed": label,
                    "n_questions": len(credits.questions),
                    "n_clusters": bootstrap.n_clusters,
                    "accuracy": with_last[0][i].mean(),
                    "accuracy_reference": with_last[1][i].mean(),
                    "gap": difference[i].mean(),
                    "lo": lo[i],
                    "hi": hi[i],
                    "interval": QUESTIONS_ONLY,
                    "variance": variance[i],
                }
            )
    return rows


def _pooled_seed_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of all seeds at the last checkpoints again, with intervals that know the seed variance."""
    pooled = []
    final = table[table["step"] == LAST]
    for _, rows in final.groupby(["direction", "contrast"], sort=True):
        single = rows[rows["seed"] != "all"].groupby("lang")["gap"]
        seeds, squares = single.count(), single.var(ddof=1).fillna(0) * (single.count() - 1)
        freedom = int((seeds - 1).sum())
        if freedom == 0:
            continue
        between = squares.sum() / freedom
        for _, row in rows[rows["seed"] == "all"].iterrows():
            parts = np.array([row["variance"], between / seeds[row["lang"]]])
            lo, hi = satterthwaite_interval(row["gap"], parts, np.array([row["n_clusters"] - 1, freedom]))
            pooled.append({**row, "lo": lo, "hi": hi, "interval": QUESTIONS_AND_SEEDS})
    return pd.DataFrame(pooled, columns=table.columns).astype(table.dtypes)


def satterthwaite_interval(
    estimate: float, variances: np.ndarray, freedom: np.ndarray, level: float = 0.95
) -> tuple[float, float]:
    """Return the t interval of an estimate whose variance is a sum of independent parts (Satterthwaite 1946).

    Args:
        estimate: the estimate.
        variances: the parts of its variance, shape (k,).
        freedom: degrees of freedom of each part, shape (k,).
        level: of confidence.

    >>> lo, hi = satterthwaite_interval(0.0, np.array([0.0, 1.0]), np.array([100, 10]))  # one part: Student's t
    >>> round(lo, 3), round(hi, 3)
    (-2.228, 2.228)
    """
    total = variances.sum()
    if total == 0:
        return estimate, estimate
    df = total**2 / (variances**2 / freedom).sum()
    half = stats.t.ppf(0.5 + level / 2, df) * np.sqrt(total)
    return float(estimate - half), float(estimate + half)
