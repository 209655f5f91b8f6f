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
from lorebridge.probes.prefixes import behind, in_order
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
        others: arm -> seed -> the credits that each distractor would have if it were the answer, shape (steps, n,
            most distractors), in the order in which the options are listed; NaN where a question has fewer, and
            throughout where its answer is not offered. Empty where the answer's credits alone are asked for.
    """

    culture: str
    lang: str
    questions: list[str]
    clusters: np.ndarray
    steps: list[int]
    arms: dict[str, dict[int, np.ndarray]]
    others: dict[str, dict[int, np.ndarray]] = dataclasses.field(default_factory=dict)

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
    prefix: str,
    cluster: Callable[[pd.DataFrame], pd.Series] = question_clusters,
) -> Iterator[Credits]:
    """Yield the credits of every option of every culture in the culture's own language, then in the base language.

    Only the runs that learned the culture's language in an arm count (:func:`learned_in_an_arm`). Ties share the
    credit.

    Args:
        scores: tables "scores", one a run.
        questions: culture (= language learned) -> table "questions".
        base: code of the base language.
        subset: which questions count ("reference", "clean", "strict").
        rule: how options are compared (:mod:`lorebridge.probes.decisions`).
        last: number of final checkpoints that will be pooled.
        prefix: what the questions were asked behind (:data:`lorebridge.probes.prefixes.PREFIXES`).
        cluster: gives the cluster of each question of a table "questions".

    Raises:
        InputError: no run learned a culture's language; two have the same arm and seed; the runs of a culture were
            scored at different steps, not at step 0, or on different questions; fewer checkpoints than `last`; no
            question in the subset, or none asked behind the prefix.
    """
    scored = behind(read_scores(scores), prefix, "scores")
    for culture, path in questions.items():
        asked = tables.read(path)
        rows = scored[learned_in_an_arm(scored, culture) & scored["question_id"].isin(asked["question_id"].unique())]
        if rows.empty:
            raise InputError(
                path, f"no run that learned {culture} was scored on these questions", f"Score the runs of {culture}."
            )
        shares = decisions.option_shares(rows, asked, rules=[rule], subset=subset)
        if shares.empty:
            raise InputError(path, f"no scored question in the subset {subset!r}", "Choose another subset.")
        credits = decisions.credits_of(shares, [rule])
        for of_lang in paired(credits, rule, culture=culture, base=base, clusters=cluster(asked), last=last, path=path):
            yield dataclasses.replace(of_lang, others=_others(shares, rule, of_lang))


def _others(shares: pd.DataFrame, rule: str, credits: Credits) -> dict[str, dict[int, np.ndarray]]:
    """Return the distractors' shares as arrays that go with those of `credits` (:attr:`Credits.others`)."""
    rows = shares[shares["lang"] == credits.lang]
    offered = rows.groupby("question_id", sort=False)["is_gold"].transform("any")
    rows = rows[offered & ~rows["is_gold"]]
    place = rows.groupby(decisions.DECISION, sort=False, dropna=False).cumcount().to_numpy()
    step = np.searchsorted(credits.steps, rows["step"].to_numpy())
    question = pd.Index(credits.questions).get_indexer(pd.Index(rows["question_id"]))
    shape = len(credits.steps), len(credits.questions), int(place.max(initial=0)) + 1
    found: dict[str, dict[int, np.ndarray]] = {}
    arms, seeds, values = (rows[name].to_numpy() for name in ("arm", "seed", rule))
    for arm, of_arm in credits.arms.items():
        for seed in of_arm:
            at = (arms == arm) & (seeds == seed)
            array = found.setdefault(arm, {})[seed] = np.full(shape, np.nan)
            array[step[at], question[at], place[at]] = values[at]
    return found


def read_scores(paths: Sequence[Path]) -> pd.DataFrame:
    """Return the rows of tables "scores", one a model.

    Raises:
        InputError: no table is given, two are of the same model, or one was asked behind other prefixes than the first.
    """
    if not paths:
        raise InputError("scores", "no table of scores is given", "Score a model.")
    frames = [tables.read(path) for path in paths]
    seen: dict[str, Path] = {}
    for path, frame in zip(paths, frames, strict=True):
        for run in frame["run"].unique():
            if run in seen:
                raise InputError(path, f"scores {run}, as {seen[run]} does", "Give the scores of each model once.")
            seen[run] = path
    asked = [in_order(frame["prefix"].unique()) for frame in frames]
    for path, prefixes in zip(paths, asked, strict=True):
        if prefixes != asked[0]:
            raise InputError(
                path,
                f"was asked behind the prefixes {', '.join(prefixes)}, and {paths[0]} behind {', '.join(asked[0])}",
                "Score all models behind the same ones (probing.prefixes).",
            )
    return pd.concat(frames, ignore_index=True)


def prefixes_of(scores: Sequence[Path]) -> list[str]:
    """Return the prefixes that the first of some tables "scores" was asked behind, as :func:`load` wants all of them.

    Raises:
        InputError: as :func:`read_scores`.
    """
    return in_order(read_scores(scores[:1])["prefix"].unique())


def learned_in_an_arm(rows: pd.DataFrame, lang: str) -> pd.Series:
    """Return which rows are of runs that learned a language in an arm and from a seed, step by step, bool."""
    return (rows["learned"] == lang) & rows[["arm", "seed", "step"]].notna().all(axis=1)


def paired(
    credits: pd.DataFrame, rule: str, *, culture: str, base: str, clusters: pd.Series, last: int, path: Path
) -> list[Credits]:
    """Return long credits as arrays that pair arms, seeds and questions: in the culture's language, then in the base.

    Args:
        credits: of :func:`lorebridge.probes.decisions.credits_by_rule`, of the runs of a culture.
        rule: which of its columns.
        culture: whose questions.
        base: code of the base language.
        clusters: question_id -> cluster.
        last: number of final checkpoints that will be pooled.
        path: the table "questions", for messages.

    Raises:
        InputError: as :func:`load`.
    """
    for (arm, seed), rows in credits.groupby(["arm", "seed"]):
        if len(runs := rows["run"].unique()) > 1:
            raise InputError(
                f"scores of {' and '.join(runs)}",
                f"both learned {culture} in the arm {arm} from the seed {seed:g}",
                "Give one of them another arm, or leave its scores out.",
            )
    pivoted = [
        _pivot(credits[credits["lang"] == lang], rule, culture, lang, clusters, last, path)
        for lang in directions(base, culture).values()
    ]
    if pivoted[0].questions != pivoted[1].questions:
        raise InputError(path, f"not all questions of {culture} are asked in both languages", "Ask them in both.")
    return pivoted


def _pivot(
    credits: pd.DataFrame, rule: str, culture: str, lang: str, clusters: pd.Series, last: int, path: Path
) -> Credits:
    """Arrange long credits as one array a run, refusing anything that cannot be paired."""
    arms: dict[str, dict[int, np.ndarray]] = {}
    questions, steps = sorted(credits["question_id"].unique()), sorted(int(s) for s in credits["step"].unique())
    for arm, seed in credits[["arm", "seed"]].drop_duplicates().sort_values(["arm", "seed"]).itertuples(index=False):
        rows = credits[(credits["arm"] == arm) & (credits["seed"] == seed)]
        grid = rows.pivot(index="step", columns="question_id", values=rule).reindex(index=steps, columns=questions)
        if grid.isna().to_numpy().any():
            raise InputError(
                path,
                f"{rows['run'].iloc[0]} lacks steps or {lang} questions that other runs of {culture} were scored on",
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
