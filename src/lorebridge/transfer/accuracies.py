"""Accuracies of every model at every checkpoint, with intervals: one table, which all that shows an accuracy reads."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes import decisions
from lorebridge.probes.prefixes import behind, in_order
from lorebridge.probes.questions import SUBSETS, in_subset
from lorebridge.transfer.clusters import ClusterBootstrap, question_clusters
from lorebridge.transfer.credits import LAST, Credits, directions, learned_in_an_arm, paired, read_scores
from lorebridge.transfer.inference import QUESTIONS_ONLY

CREDITS = (0.0, 1.0)
"""Between which credits lie."""
EVERY = "all"
"""The seed that stands for the mean of an arm's seeds."""


def accuracies(
    *, scores: Sequence[Path], questions: Mapping[str, Path], base: str, last: int, resamples: int, seed: int, out: Path
) -> dict[str, Any]:
    """Write the table "accuracies": the mean credit of every model by step, culture, language, subset, rule and prefix.

    All subsets that have questions (:data:`lorebridge.probes.questions.SUBSETS`), all rules
    (:data:`lorebridge.probes.decisions.RULES`) and all prefixes that models were asked behind are in it; ties share the
    credit. Models that learned the culture's
    language in an arm are paired: they must have been scored at the same steps, 0 first, on the same questions, and
    each arm has rows of the mean of its seeds (:data:`EVERY`), which no one model answers for. Other models (base
    models, models of several languages, models that are given) stand for themselves.

    Besides every step there is the mean of the last `last` ones (:data:`~lorebridge.transfer.credits.LAST`); a model
    of no arm that has fewer lacks it.

    Intervals, 95 %: percentiles of a bootstrap over clusters of questions, given these models and seeds. All that is
    measured on the same questions has the same draws. Beside the interval of each checkpoint alone stands a band that
    holds the whole curve of a model, or of an arm's mean, with the same probability
    (:meth:`lorebridge.transfer.clusters.ClusterBootstrap.band`): of the checkpoints one by one, the pooled ones are no
    part of it.

    Args:
        scores: tables "scores", one a model.
        questions: culture -> table "questions".
        base: code of the base language.
        last: number of final checkpoints pooled.
        resamples: bootstrap resamples.
        seed: of the bootstrap.
        out: where to write; cultures stand in the order of `questions`.

    Returns:
        notes: number of questions by culture and subset.

    Raises:
        InputError: no model was scored on a culture's questions; or as :func:`lorebridge.transfer.credits.load`.
    """
    scored = read_scores(scores)
    frames: list[pd.DataFrame] = []
    notes: dict[str, dict[str, int]] = {}
    for culture, path in questions.items():
        asked = tables.read(path)
        rows = scored[scored["question_id"].isin(asked["question_id"].unique())]
        # A subset's credits are those of its questions, so that all subsets are decided at once.
        credits = decisions.credits_by_rule(rows, asked, subset=SUBSETS[0], rules=decisions.RULES)
        if credits.empty:
            raise InputError(path, f"no model was scored on the questions of {culture}", "Score one on them.")
        names = sorted(credits["question_id"].unique())
        clusters = question_clusters(asked).reindex(names)
        measures = {}
        for subset in SUBSETS:
            kept = clusters.index.isin(in_subset(asked, subset)["question_id"])
            if kept.any():
                measures[subset] = _Measure(
                    kept,
                    ClusterBootstrap(clusters[kept].to_numpy(), resamples=resamples, seed=seed, stream=culture),
                    decisions.baselines(asked, subset=subset).set_index(["baseline", "lang"])["accuracy"]["chance"],
                )
        notes[culture] = {subset: int(measure.kept.sum()) for subset, measure in measures.items()}
        directed = {lang: direction for direction, lang in directions(base, culture).items()}
        for prefix, rule in itertools.product(in_order(credits["prefix"].unique()), decisions.RULES):
            here = credits[credits["prefix"] == prefix]
            own = learned_in_an_arm(here, culture)
            curves: list[_Curve] = []
            if own.any():
                pairs = paired(here[own], rule, culture=culture, base=base, clusters=clusters, last=last, path=path)
                named = here[own].drop_duplicates("run")
                runs = {(a, int(s)): run for a, s, run in zip(named["arm"], named["seed"], named["run"], strict=True)}
                curves += [curve for of_lang in pairs for curve in _of_arms(of_lang, runs, last)]
            curves += _of_others(here[~own], rule, last)
            for curve in curves:
                direction = directed.get(curve.said["lang"]) if curve.said["learned"] == culture else None
                shared = {"culture": culture, "direction": direction, "rule": rule, "prefix": prefix}
                frames += [measure.rows(curve, subset=name, **shared) for name, measure in measures.items()]
    tables.write("accuracies", pd.concat(frames, ignore_index=True), out)
    return notes


@dataclasses.dataclass(frozen=True)
class _Curve:
    """What is said of a model, or of the mean of an arm's seeds, in one language.

    Attributes:
        said: the columns that say which it is.
        steps: its checkpoints; None for a model that is asked once.
        values: credit of every question, shape (steps, n).
    """

    said: Mapping[str, Any]
    steps: Sequence[int | None]
    values: np.ndarray

    def pooled(self, last: int) -> _Curve:
        """Return the curve with the mean of the last checkpoints behind it."""
        end = self.values[-last:].mean(axis=0)
        return _Curve(self.said, [*self.steps, LAST], np.vstack([self.values, end]))


@dataclasses.dataclass(frozen=True)
class _Measure:
    """What a subset of a culture's questions measures.

    Attributes:
        kept: which questions are in it, shape (n,).
        bootstrap: resamples these.
        chance: language -> accuracy of an option picked at random.
    """

    kept: np.ndarray
    bootstrap: ClusterBootstrap
    chance: pd.Series

    def rows(self, curve: _Curve, **said: Any) -> pd.DataFrame:
        """Return the rows of a curve."""
        values = np.ascontiguousarray(curve.values[:, self.kept])
        pooled = int(LAST in curve.steps)
        (lo, hi), of_curve = self.bootstrap.band(values[: len(values) - pooled], CREDITS)
        ends = self.bootstrap.interval(values[len(values) - pooled :], bounds=CREDITS)
        lo, hi = (np.concatenate(parts) for parts in zip((lo, hi), ends, strict=True))
        band_lo, band_hi = (np.concatenate([end, np.full(pooled, np.nan)]) for end in of_curve)
        return pd.DataFrame(
            {
                **curve.said,
                **said,
                "step": pd.array(curve.steps, dtype="Int32"),
                "n_questions": values.shape[1],
                "n_clusters": self.bootstrap.n_clusters,
                "accuracy": values.mean(axis=1),
                "lo": lo,
                "hi": hi,
                "band_lo": band_lo,
                "band_hi": band_hi,
                "interval": QUESTIONS_ONLY,
                "chance": self.chance[curve.said["lang"]],
            }
        )


def _of_arms(credits: Credits, runs: Mapping[tuple[str, int], str], last: int) -> Iterator[_Curve]:
    """Yield the curves of each arm: of every seed, whose model `runs` names, and of their mean."""
    for arm, seeds in credits.arms.items():
        said = {"learned": credits.culture, "arm": arm, "lang": credits.lang}
        for seed, values in seeds.items():
            name = {**said, "model": runs[arm, seed], "seed": str(seed)}
            yield _Curve(name, credits.steps, values).pooled(last)
        mean = np.mean(list(seeds.values()), axis=0)
        yield _Curve({**said, "model": None, "seed": EVERY}, credits.steps, mean).pooled(last)


def _of_others(credits: pd.DataFrame, rule: str, last: int) -> Iterator[_Curve]:
    """Yield the curve of each model and language, from sorted credits in which no question is missing."""
    for (model, lang), rows in credits.groupby(["run", "lang"], sort=False):
        steps = [None if pd.isna(step) else int(step) for step in rows["step"].unique()]
        first = rows.iloc[0]
        said = {
            "model": model,
            "learned": None if pd.isna(first["learned"]) else first["learned"],
            "arm": None if pd.isna(first["arm"]) else first["arm"],
            "seed": None if pd.isna(first["seed"]) else str(int(first["seed"])),
            "lang": lang,
        }
        curve = _Curve(said, steps, rows[rule].to_numpy(np.float64).reshape(len(steps), -1))
        yield curve if None in steps or len(steps) < last else curve.pooled(last)


def of_arms(path: Path, *, subset: str, rule: str, prefix: str) -> pd.DataFrame:
    """Return what the table "accuracies" says of arms: its rows of one subset, rule and prefix that have a direction.

    Args:
        path: the table.
        subset: which questions count.
        rule: how options are compared.
        prefix: what the questions were asked behind.

    Returns:
        the table's columns; `step` is a whole number, :data:`~lorebridge.transfer.credits.LAST` for the last
        checkpoints pooled, and `seed` is :data:`EVERY` for the mean of the seeds.

    Raises:
        InputError: an older version made the table; some culture has no question in the subset, or no run that
            learned its language in an arm; or nothing was asked behind the prefix.
        ValueError: there is no rule, subset or prefix of that name.
    """
    for name, known in ((subset, SUBSETS), (rule, decisions.RULES)):
        if name not in known:
            raise ValueError(f"nothing is called {name!r}; there are {', '.join(known)}")
    found = tables.read(path)
    if lacking := [name for name in tables.SCHEMAS["accuracies"].names if name not in found]:
        raise InputError(
            path,
            f"lacks the columns {', '.join(lacking)}: an older version of lorebridge made it",
            "Run the study again, which makes it anew in minutes, and of a bundle get or make another.",
        )
    table = behind(found, prefix, path)
    chosen = table[(table["subset"] == subset) & (table["rule"] == rule)]
    rows = chosen[chosen["direction"].notna() & chosen[["arm", "seed", "step"]].notna().all(axis=1)]
    for culture in table["culture"].unique():
        if not (chosen["culture"] == culture).any():
            raise InputError(path, f"no question of {culture} is in the subset {subset!r}", "Choose another subset.")
        if not (rows["culture"] == culture).any():
            raise InputError(
                path, f"no run that learned {culture} was scored on its questions", f"Score the runs of {culture}."
            )
    return rows.astype({"step": int})
