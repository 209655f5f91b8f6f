"""The asymmetry as one test: does the difference between the directions depend on how rich a language's text is?

Zhang et al. (ACL 2025, section 4) read four things off their Figure 3: transfer in both directions with Korean and
Chinese, which are rich in text; from the language to English, but hardly the other way, with Tibetan and Mongolian,
which are poor. One gap clear and another not is no difference between them. Here the four readings stand beside what
they amount to:

    [gap(xx->en) - gap(en->xx)] in languages of low resource - the same in those of high resource

Each language's two directions are measured on the same questions, so their difference is taken question by question;
languages of a level weigh the same. All of it is *conditional on the languages at hand*: with two of a level, nothing
can be said about others like them, nor told apart what else these languages differ in.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lorebridge.transfer.contrasts import Contrast
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
    permuted,
    sign_flip,
)

log = logging.getLogger("lorebridge.transfer")

DIRECTIONS = ("en->xx", "xx->en")
DIFFERENCE = "xx->en - en->xx"
HIGH, LOW = "high", "low"
INTERACTION = f"{LOW} - {HIGH}"
FAMILY = ["contrast", "scale", "interval"]
"""Of the four readings of one contrast, whose p-values Holm's method adjusts."""


def asymmetry_table(
    formed: Sequence[Contrast], resource: Mapping[str, str], *, unleaked: bool, resamples: int, seed: int
) -> pd.DataFrame:
    """Return the rows of table "asymmetry", without subset and rule.

    For each contrast of arms, scale and kind of interval: the four readings (the mean gap of a level's languages in a
    direction), the difference of the directions in each level and in each language alone, and the interaction. Over
    questions alone intervals are Student's with degrees of freedom by Satterthwaite; with seeds, the variance between
    seeds is that of the very quantity, reckoned seed by seed over all languages that are in it
    (:func:`lorebridge.transfer.inference.infer`). p-values: over questions alone by flipping the signs of clusters
    (gaps and differences) and by dealing the clusters out to languages anew (the interaction); with seeds by the
    distribution of Behrens and Fisher.

    Args:
        formed: contrasts of all languages, on the same questions in both directions.
        resource: language -> "high" or "low".
        unleaked: whether leaked questions were left out.
        resamples: sign flips and permutations.
        seed: of these.

    Returns:
        No row of a level that has no language.
    """
    rows: list[dict[str, Any]] = []
    names = dict.fromkeys((c.name, s) for c in formed if c.known is not None for s in c.scales)
    for name, scale in names:
        pairs: dict[str, dict[str, Sample]] = {}
        for contrast in formed:
            if contrast.name == name:
                pairs.setdefault(contrast.culture, {})[contrast.direction] = contrast.sample(scale)
        pairs = {
            culture: pair
            for culture, pair in pairs.items()
            if not any(np.isnan(sample.estimate) for sample in pair.values())
        }
        measured = {
            direction: {culture: pair[direction] for culture, pair in pairs.items()} for direction in DIRECTIONS
        }
        measured[DIFFERENCE] = {culture: pair["xx->en"].minus(pair["en->xx"]) for culture, pair in pairs.items()}
        groups = {level: [c for c in pairs if resource[c] == level] for level in (HIGH, LOW)}
        groups = {level: cultures for level, cultures in groups.items() if cultures}
        if len(groups) < 2:
            log.info("%s, %s: languages of one resource level, no interaction", name, scale)
        for direction, samples in measured.items():
            weighed = {level: dict.fromkeys(cultures, 1 / len(cultures)) for level, cultures in groups.items()}
            if direction == DIFFERENCE:
                weighed |= {culture: {culture: 1.0} for culture in pairs}
                if len(groups) == 2:
                    weighed[INTERACTION] = weighed[LOW] | {c: -weight for c, weight in weighed[HIGH].items()}
            for group, weights in weighed.items():
                chosen = {culture: samples[culture] for culture in weights}
                key = {"contrast": name, "scale": scale, "direction": direction, "group": group}
                rows += [key | row for row in _inferred(chosen, weights, group, resamples=resamples, seed=seed)]
    table = pd.DataFrame(rows).assign(unleaked=unleaked)
    readings = table["direction"].isin(DIRECTIONS)
    table["p_holm"] = adjusted(table[readings], FAMILY).reindex(table.index)
    return table


def _inferred(
    samples: Mapping[str, Sample], weights: Mapping[str, float], group: str, *, resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Return the rows of one quantity in one group: over questions, and over seeds where two are common."""
    chosen, weight = list(samples.values()), list(weights.values())
    rng = np.random.default_rng([seed, *"".join(samples).encode()])
    test = permuted if group == INTERACTION else sign_flip
    shared = {
        "langs": list(samples),
        "n_questions": sum(sample.values.shape[1] for sample in chosen),
        "n_clusters": sum(sample.n_clusters for sample in chosen),
        "n_seeds": len(common_seeds(chosen)),
    }
    p, few = test(chosen, weight, resamples=resamples, rng=rng), few_clusters(chosen, weight)
    given = dataclasses.asdict(infer(chosen, weight)) | {"p": p, "interval": QUESTIONS_ONLY, "note": few}
    if shared["n_seeds"] < 2:
        return [shared | given]
    over = dataclasses.asdict(infer(chosen, weight, over_seeds=True))
    note = notes(of_seeds(shared["n_seeds"]), few)
    return [shared | given, shared | over | {"interval": QUESTIONS_AND_SEEDS, "note": note}]
