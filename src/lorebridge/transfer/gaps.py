"""Gaps between arms: how much better the questions are answered with the bridge than without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.trace.leaks import leaked
from lorebridge.transfer import credits as credits_
from lorebridge.transfer.asymmetry import asymmetry_table
from lorebridge.transfer.clusters import ClusterBootstrap
from lorebridge.transfer.contrasts import ALL, Contrast, by_culture, form
from lorebridge.transfer.credits import LAST, prefixes_of
from lorebridge.transfer.inference import (
    QUESTIONS_AND_SEEDS,
    QUESTIONS_ONLY,
    Sample,
    adjusted,
    common_seeds,
    few_clusters,
    infer,
    notes,
    of_seeds,
    sign_flip,
)

FAMILY = ["contrast", "scale", "unleaked", "interval"]
"""What the tests of one family have in common: it goes over languages and directions."""


def gaps(
    *,
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    leaks: Path,
    base: str,
    resource: Mapping[str, str],
    contrasts: Sequence[Sequence[str]],
    subset: str,
    rule: str,
    last: int,
    resamples: int,
    seed: int,
    out: Path,
    asymmetry: Path,
) -> dict[str, Any]:
    """Write the table "gaps", mean paired differences of credits, and the table "asymmetry", the directions compared.

    The gap of a contrast is the mean over questions of (credit in the first arm - credit in the second), the two
    models asked the same questions after the same steps, seed by seed (Zhang et al., ACL 2025, Figure 3). Rows of one
    seed, and of the mean of all seeds (seed "all"); rows of each step, and of the mean of the last `last`
    checkpoints (step -1). All on raw points: smoothing is for the eye. Beside the contrasts asked for, every arm is
    compared with its own step 0: what was learned or forgotten.

    At step -1 the gap comes on all scales of :mod:`lorebridge.transfer.contrasts`, and once more without the
    questions whose fact some pair of the parallel text states (``unleaked``).

    Intervals, 95 %: a bootstrap over clusters of questions (:mod:`lorebridge.transfer.clusters`) says how much the
    choice of questions matters with these very models, and no more: it is labelled
    :data:`~lorebridge.transfer.inference.QUESTIONS_ONLY`. Where a language has two seeds, its seed "all" at step -1
    has a second row, :data:`~lorebridge.transfer.inference.QUESTIONS_AND_SEEDS`, with the variance between its own
    seeds (:func:`lorebridge.transfer.inference.infer`) and a `note` that says what so few seeds can tell
    (:func:`lorebridge.transfer.inference.of_seeds`).

    Rows of seed "all" at step -1 have a p-value of no gap, of the same reach as their interval: by flipping signs of
    clusters, or by the distribution of Behrens and Fisher; and the same by Holm over all languages and directions
    (:data:`FAMILY`).

    All of this once for each prefix that the questions were asked behind. The families are those of one prefix: the
    same claims are asked for again in another format, so that one prefix, named beforehand (``probing.prefix``), is
    the headline, and the other says whether it hangs on the format.

    Args:
        scores: tables "scores", one a run.
        questions: culture (= language learned) -> table "questions".
        leaks: table "leaks".
        base: code of the base language.
        resource: language -> "high" or "low".
        contrasts: pairs of arms; one that a language has no common seed for is left out there and logged.
        subset: which questions count.
        rule: how options are compared.
        last: number of final checkpoints pooled.
        resamples: bootstrap resamples, sign flips and permutations.
        seed: of all of these.
        out: the table "gaps".
        asymmetry: the table "asymmetry" (:mod:`lorebridge.transfer.asymmetry`).

    Returns:
        notes: number of questions, of clusters and of leaked questions per culture.

    Raises:
        InputError: as :func:`lorebridge.transfer.credits.load`, or no contrast can be formed at all.
    """
    told = leaked(tables.read(leaks))
    settings: dict[str, Any] = {"resamples": resamples, "seed": seed}
    of_gaps, of_levels = [], []
    for prefix in prefixes_of(scores):
        cultures = by_culture(
            credits_.load(
                scores=scores, questions=questions, base=base, subset=subset, rule=rule, last=last, prefix=prefix
            )
        )
        formed = list(form(cultures, base=base, contrasts=contrasts, last=last))
        if not any(contrast.known is not None for contrast in formed):
            raise InputError(
                "contrasts",
                f"none of {[list(c) for c in contrasts]} names two arms that were run with a common seed",
                "Name arms of the study.",
            )
        kept = [fewer for contrast in formed if (fewer := contrast.without(told)) is not None]
        said = {"subset": subset, "rule": rule, "prefix": prefix}
        for some, unleaked in [(formed, False), *([(kept, True)] if kept else [])]:
            of_gaps.append(gap_table(some, unleaked=unleaked, **settings).assign(**said))
            of_levels.append(asymmetry_table(some, resource, unleaked=unleaked, **settings).assign(**said))
    tables.write("gaps", pd.concat(of_gaps, ignore_index=True), out)
    tables.write("asymmetry", pd.concat(of_levels, ignore_index=True), asymmetry)
    notes = {}
    for culture, by_lang in cultures.items():
        asked = by_lang[base]
        notes[culture] = {
            "questions": len(asked.questions),
            "clusters": len(np.unique(asked.clusters)),
            "leaked": len(told.intersection(asked.questions)),
        }
    return notes


def gap_table(formed: Sequence[Contrast], *, unleaked: bool, resamples: int, seed: int) -> pd.DataFrame:
    """Return the rows of table "gaps" for some contrasts, without subset and rule.

    Args:
        formed: contrasts of all languages.
        unleaked: whether leaked questions are left out; then only the last checkpoints are given.
        resamples: bootstrap resamples and sign flips.
        seed: of both.
    """
    rows: list[dict[str, Any]] = []
    with_seeds: list[dict[str, Any]] = []
    bootstraps = {  # the same draws for all that is measured on the same questions
        culture: ClusterBootstrap(clusters, resamples=resamples, seed=seed, stream=culture)
        for culture, clusters in {contrast.culture: contrast.clusters for contrast in formed}.items()
    }
    for contrast in formed:
        bootstrap = bootstraps[contrast.culture]
        for scale in contrast.scales:
            rows += _rows(contrast, scale, bootstrap, every_step=scale == ALL and not unleaked)
            rng = np.random.default_rng([seed, *contrast.culture.encode()])
            numerator = Sample(contrast.parts(scale)[0], contrast.clusters)
            rows[-1]["p"] = sign_flip([numerator], [1.0], resamples=resamples, rng=rng)
            sample = contrast.sample(scale)
            rows[-1]["note"] = few_clusters([sample], [1.0])
            over_seeds = _over_seeds(sample, rows[-1])
            if over_seeds is not None:
                with_seeds.append(over_seeds)
    table = pd.DataFrame([*rows, *with_seeds]).assign(unleaked=unleaked)
    table["p_holm"] = adjusted(table, FAMILY)
    return table


def _rows(contrast: Contrast, scale: str, bootstrap: ClusterBootstrap, *, every_step: bool) -> list[dict[str, Any]]:
    """Return the rows of one contrast on one scale, with bootstrap intervals; all seeds at the last steps come last."""
    rows = []
    final = [*contrast.final(), *contrast.parts(scale)]
    every = range(len(contrast.seeds))
    for label, chosen in [*((str(s), [i]) for i, s in enumerate(contrast.seeds)), ("all", list(every))]:
        # Shape (steps, n): the last row pools the last checkpoints.
        first, second, numerator, denominator = (part[chosen].mean(axis=0)[None] for part in final)
        if every_step:
            curves = [arm[chosen].mean(axis=0) for arm in (contrast.first, contrast.second)]
            first, second = (np.vstack([curve, end]) for curve, end in zip(curves, (first, second), strict=True))
            numerator, denominator = first - second, np.ones_like(first)
        lo, hi = bootstrap.interval(numerator, denominator, bounds=(-1, 1) if scale == ALL else None)
        above, below = numerator.mean(axis=1), denominator.mean(axis=1)
        gap = np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
        for i, step in enumerate([*contrast.steps, LAST] if every_step else [LAST]):
            rows.append(
                {
                    "lang": contrast.culture,
                    "direction": contrast.direction,
                    "contrast": contrast.name,
                    "scale": scale,
                    "step": step,
                    "seed": label,
                    "n_questions": first.shape[1],
                    "n_clusters": bootstrap.n_clusters,
                    "at_risk": np.nan if scale == ALL else below[i],
                    "accuracy": first[i].mean(),
                    "accuracy_reference": second[i].mean(),
                    "gap": gap[i],
                    "lo": lo[i],
                    "hi": hi[i],
                    "interval": QUESTIONS_ONLY,
                    "note": "",
                    "p": np.nan,
                }
            )
    return rows


def _over_seeds(sample: Sample, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the row of all seeds at the last checkpoints again, with the error over seeds; None with one seed."""
    seeds = len(common_seeds([sample]))
    if seeds < 2 or np.isnan(sample.estimate):
        return None
    found = infer([sample], [1.0], over_seeds=True)
    error = {"lo": found.lo, "hi": found.hi, "interval": QUESTIONS_AND_SEEDS, "p": found.p}
    error["note"] = notes(of_seeds(seeds), row["note"])
    return {**row, **error}
