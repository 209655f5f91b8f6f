"""Accuracies of every arm at every checkpoint, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lorebridge.transfer import credits as credits_
from lorebridge.transfer.clusters import ClusterBootstrap
from lorebridge.transfer.credits import LAST, directions


def accuracies(
    *,
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    base: str,
    subset: str,
    rule: str,
    last: int,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """Return the mean credit of each arm: of each seed and of all ("all"), at each step and over the last ones (-1).

    Args:
        scores: tables "scores", one a run.
        questions: culture (= language learned) -> table "questions".
        base: code of the base language.
        subset: which questions count.
        rule: how options are compared; ties share the credit.
        last: number of final checkpoints pooled as step -1.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        columns lang, direction, arm, step, seed, n_questions, n_clusters, accuracy, lo, hi (95 %, clusters of
        questions resampled, given these seeds).

    Raises:
        InputError: as :func:`lorebridge.transfer.credits.load`.
    """
    frames = []
    loaded = credits_.load(scores=scores, questions=questions, base=base, subset=subset, rule=rule, last=last)
    for credits in loaded:
        bootstrap = ClusterBootstrap(credits.clusters, resamples=resamples, seed=seed, stream=credits.culture)
        direction = next(d for d, lang in directions(base, credits.culture).items() if lang == credits.lang)
        for arm, seeds in credits.arms.items():
            for label, of_label in [
                *((str(s), c) for s, c in seeds.items()),
                ("all", np.mean(list(seeds.values()), 0)),
            ]:
                values = np.vstack([of_label, of_label[-last:].mean(axis=0)])
                lo, hi = bootstrap.interval(values)
                frames.append(
                    pd.DataFrame(
                        {
                            "lang": credits.culture,
                            "direction": direction,
                            "arm": arm,
                            "step": [*credits.steps, LAST],
                            "seed": label,
                            "n_questions": len(credits.questions),
                            "n_clusters": bootstrap.n_clusters,
                            "accuracy": values.mean(axis=1),
                            "lo": lo,
                            "hi": hi,
                        }
                    )
                )
    return pd.concat(frames, ignore_index=True)
