"""Which single questions crossed from one language to the other, and how often their facts were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.transfer import credits as credits_
from lorebridge.transfer.clusters import ClusterBootstrap, question_clusters
from lorebridge.transfer.credits import directions

BRIDGE, NO_BRIDGE = "bridge", "no_bridge"
DIFFERENCE = "transferred - rest of risk set"
GROUPS = ("transferred", "rest of risk set", "risk set", "all", DIFFERENCE)
"""Groups of items in the order of tables and figures."""


def items(
    *,
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    judgments: Mapping[str, Mapping[str, Path]],
    base: str,
    subset: str,
    rule: str,
    last: int,
    out: Path,
) -> dict[str, Any]:
    """Write the table "items": one row a question, direction and seed, and whether the question crossed.

    Our reading of Zhang et al. (ACL 2025), appendix C.4, which selects items by what the two models answer at their
    last three checkpoints and by a criterion that the fact is known in the source language. A model *answers* a
    question when it has it right, outright (a tie is not right), at more than half of its last `last` checkpoints.
    Then, seed by seed, an item is

    - *known in the source*: direction en->xx, answered in the base language by the model that both arms start from
      (step 0); direction xx->en, answered in the culture's language, which only continual pretraining teaches, by
      either arm;
    - in the *risk set*: known in the source, and not answered in the target language without the bridge;
    - *transferred*: in the risk set, and answered in the target language with the bridge.

    Known in the source itself depends on how often a fact was read, so transferred items may be compared with the
    rest of the risk set, and with all items only in the knowledge that the selection alone can make a difference.

    Occurrences are counted in the corpora of the source and of the target language: passages judged to state the
    fact; missing where the judge cannot tell.

    Args:
        scores: tables "scores", one a run; arms other than bridge and no_bridge are not used.
        questions: culture (= language learned) -> table "questions".
        judgments: corpus (a language) -> culture -> table "judgments".
        base: code of the base language.
        subset: which questions count.
        rule: how options are compared.
        last: number of final checkpoints.
        out: the table "items".

    Returns:
        notes: size of the risk set and number of transferred items, by language and direction, over all seeds.

    Raises:
        InputError: as :func:`lorebridge.transfer.credits.load`.
    """
    loaded: dict[str, dict[str, credits_.Credits]] = {}
    for one in credits_.load(scores=scores, questions=questions, base=base, subset=subset, rule=rule, last=last):
        loaded.setdefault(one.culture, {})[one.lang] = one
    frames = []
    for culture, by_lang in loaded.items():
        counts = {
            corpus: occurrences(judgments[corpus][culture], by_lang[base].questions) for corpus in (base, culture)
        }
        for direction, target in directions(base, culture).items():
            source = base if target == culture else culture
            for seed in by_lang[target].seeds(BRIDGE, NO_BRIDGE):
                answered = {
                    (lang, arm): (by_lang[lang].arms[arm][seed][-last:] == 1).mean(axis=0) > 0.5
                    for lang in (source, target)
                    for arm in (BRIDGE, NO_BRIDGE)
                }
                if source == base:
                    known = by_lang[base].arms[NO_BRIDGE][seed][0] == 1
                else:
                    known = answered[source, BRIDGE] | answered[source, NO_BRIDGE]
                risk = known & ~answered[target, NO_BRIDGE]
                frames.append(
                    pd.DataFrame(
                        {
                            "lang": culture,
                            "question_id": by_lang[target].questions,
                            "direction": direction,
                            "seed": seed,
                            "in_risk_set": risk,
                            "transferred": risk & answered[target, BRIDGE],
                            "occurrences_source": counts[source],
                            "occurrences_target": counts[target],
                        }
                    )
                )
    table = pd.concat(frames, ignore_index=True)
    tables.write("items", table, out)
    cells = (table["lang"] + " " + table["direction"]).rename("cell")
    sums = table.groupby(cells, sort=False)[["in_risk_set", "transferred"]].sum()
    return {str(cell): counts for cell, counts in sums.to_dict("index").items()}


def occurrences(judgments: Path, questions: Sequence[str]) -> np.ndarray:
    """Return how many passages were judged to state the fact of each question, shape (n,), float.

    0 where nothing was retrieved; NaN where the judge could not tell for any passage.
    """
    judged = tables.read(judgments, columns=["question_id", "entails"])
    judged["yes"], judged["told"] = judged["entails"] == "yes", judged["entails"] != "indeterminate"
    sums = judged.groupby("question_id")[["yes", "told"]].sum()
    counts = sums["yes"].astype(np.float64).where(sums["told"] > 0)
    asked = pd.Index(questions)
    return np.where(asked.isin(counts.index), counts.reindex(asked).to_numpy(), 0.0)


def occurrence_means(*, items: Path, questions: Mapping[str, Path], resamples: int, seed: int) -> pd.DataFrame:
    """Return the mean occurrences of transferred items beside those of the groups to compare them with.

    The paper compares transferred items with all items (en->xx 9.0 against 4.2, xx->en 4.7 against 2.2); the rest of
    the risk set is the comparison that its own selection does not decide (see :func:`items`).

    Args:
        items: the table "items".
        questions: culture -> table "questions", for the clusters that the bootstrap draws.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        columns direction, corpus ("source", "target"), group (:data:`GROUPS`), n_items (items over all seeds),
        indeterminate (left out, because the judge could not tell), mean, lo, hi (95 %, clusters of questions
        resampled with all their seeds, given these seeds; NaN where the items are too few for an interval).
    """
    table = tables.read(items)
    clusters = pd.concat(
        [culture + question_clusters(tables.read(path)).astype(str) for culture, path in questions.items()]
    )
    table["cluster"] = table["question_id"].map(clusters)
    rows = []
    for direction, of_direction in table.groupby("direction", sort=True):
        risk, moved = of_direction["in_risk_set"], of_direction["transferred"]
        members = {
            "transferred": moved,
            "rest of risk set": risk & ~moved,
            "risk set": risk,
            "all": pd.Series(True, index=of_direction.index),
        }
        bootstrap = ClusterBootstrap(
            of_direction["cluster"].to_numpy(), resamples=resamples, seed=seed, stream=str(direction)
        )
        for corpus in ("source", "target"):
            counts = of_direction[f"occurrences_{corpus}"]
            sizes, means, draws = {}, {}, {}
            for group, member in members.items():
                inside = member & counts.notna()
                sizes[group] = (int(inside.sum()), int((member & counts.isna()).sum()))
                means[group] = counts[inside].mean()
                draws[group] = bootstrap.ratio(counts.where(inside, 0).to_numpy(), inside.to_numpy(dtype=float))
            sizes[DIFFERENCE] = sizes["risk set"]
            means[DIFFERENCE] = means["transferred"] - means["rest of risk set"]
            draws[DIFFERENCE] = draws["transferred"] - draws["rest of risk set"]
            for group in GROUPS:
                lo, hi = _interval(draws[group])
                rows.append(
                    {
                        "direction": direction,
                        "corpus": corpus,
                        "group": group,
                        "n_items": sizes[group][0],
                        "indeterminate": sizes[group][1],
                        "mean": means[group],
                        "lo": lo,
                        "hi": hi,
                    }
                )
    return pd.DataFrame(rows)


def _interval(draws: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile interval of draws, or NaN where one in forty or more has no item to count."""
    drawn = draws[~np.isnan(draws)]
    if len(drawn) <= 0.975 * len(draws):
        return np.nan, np.nan
    lo, hi = np.quantile(drawn, [0.025, 0.975])
    return float(lo), float(hi)
