"""Credits of every question at every checkpoint, as arrays that pair arms, seeds and questions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes import decisions
from lorebridge.transfer.clusters import question_clusters

LAST = -1
"""The step that stands for the last checkpoints pooled."""


def directions(base: str, culture: str) -> dict[str, str]:
    """Return direction -> language in which it is measured.

    Knowledge that crosses from the base language shows in the culture's language, and the other way round (Zhang et
    al., ACL 2025, Figure 3).

    >>> directions("en", "ko")
    {'en->xx': 'ko', 'xx->en': 'en'}
    """
    return {"en->xx": culture, "xx->en": base}


def source_and_target(direction: str, base: str, culture: str) -> tuple[str, str]:
    """Return the language that knowledge comes from in a direction, and the one in which it is asked for.

    >>> source_and_target("xx->en", "en", "ko")
    ('ko', 'en')
    """
    target = directions(base, culture)[direction]
    return base if target == culture else culture, target


@dataclasses.dataclass(frozen=True)
class Credits:
    """Credits of one culture's questions in one language.

    Attributes:
        culture: whose questions.
        lang: in which language they are asked.
        questions: question ids, n of them.
        clusters: cluster of each question, shape (n,).
        steps: checkpoints, ascending.
        arms: arm -> seed -> credits, shape (steps, n), in 0..1.
    """

    culture: str
    lang: str
    questions: list[str]
    clusters: np.ndarray
    steps: list[int]
    arms: dict[str, dict[int, np.ndarray]]

    def seeds(self, *arms: str) -> list[int]:
        """Return the seeds that all of `arms` have."""
        return sorted(set.intersection(*(set(self.arms.get(arm, {})) for arm in arms)))


def load(
    *,
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    base: str,
    subset: str,
    rule: str,
    last: int,
    cluster: Callable[[pd.DataFrame], pd.Series] = question_clusters,
) -> Iterator[Credits]:
    """Yield the credits of every culture in the culture's own language, then in the base language.

    Only the runs that learned the culture's language count (named ``{culture}-{arm}-s{seed}``); ties share the credit.

    Args:
        scores: tables "scores", one a run.
        questions: culture (= language learned) -> table "questions".
        base: code of the base language.
        subset: which questions count ("reference", "clean", "strict").
        rule: how options are compared (:mod:`lorebridge.probes.decisions`).
        last: number of final checkpoints that will be pooled.
        cluster: gives the cluster of each question of a table "questions".

    Raises:
        InputError: no run learned a culture's language; the runs of a culture were scored at different steps, not at
            step 0, or on different questions; fewer checkpoints than `last`; no question in the subset.
    """
    scored = pd.concat([tables.read(path) for path in scores], ignore_index=True)
    for culture, path in questions.items():
        asked = tables.read(path)
        own = scored["run"] == (culture + "-" + scored["arm"] + "-s" + scored["seed"].astype(str))
        rows = scored[own & scored["question_id"].isin(asked["question_id"].unique())]
        if rows.empty:
            raise InputError(
                path, f"no run that learned {culture} was scored on these questions", f"Score the runs of {culture}."
            )
        credits = decisions.accuracy(rows, asked, rule=rule, ties="share", subset=subset)
        if credits.empty:
            raise InputError(path, f"no scored question in the subset {subset!r}", "Choose another subset.")
        clusters = cluster(asked)
        pivoted = [
            _pivot(credits[credits["lang"] == lang], culture, lang, clusters, last, path)
            for lang in directions(base, culture).values()
        ]
        if pivoted[0].questions != pivoted[1].questions:
            raise InputError(path, f"not all questions of {culture} are asked in both languages", "Ask them in both.")
        yield from pivoted


def _pivot(credits: pd.DataFrame, culture: str, lang: str, clusters: pd.Series, last: int, path: Path) -> Credits:
    """Arrange long credits as one array a run, refusing anything that cannot be paired."""
    arms: dict[str, dict[int, np.ndarray]] = {}
    questions, steps = sorted(credits["question_id"].unique()), sorted(int(s) for s in credits["step"].unique())
    for arm, seed in credits[["arm", "seed"]].drop_duplicates().sort_values(["arm", "seed"]).itertuples(index=False):
        rows = credits[(credits["arm"] == arm) & (credits["seed"] == seed)]
        grid = rows.pivot(index="step", columns="question_id", values="credit").reindex(index=steps, columns=questions)
        if grid.isna().to_numpy().any():
            raise InputError(
                path,
                f"{culture}-{arm}-s{seed} lacks steps or {lang} questions that other runs of {culture} were scored on",
                "Score all runs of a language at the same steps on the same questions.",
            )
        arms.setdefault(arm, {})[int(seed)] = grid.to_numpy(dtype=np.float64)
    if not steps or steps[0] != 0:
        raise InputError(
            path,
            f"the runs of {culture} were not scored at step 0 in {lang}, so what they knew before cannot be told",
            "Score the checkpoint of step 0.",
        )
    if len(steps) < last:
        raise InputError(
            path,
            f"the last {last} checkpoints are to be pooled, but the runs of {culture} have {len(steps)} in {lang}",
            "Save more checkpoints or pool fewer.",
        )
    return Credits(culture, lang, questions, clusters.reindex(questions).to_numpy(), steps, arms)
