"""The planted world's own estimand: what crosses of facts that were read in the source language alone.

A bridge may make a model better at a language in general, and then answers get better whether their facts crossed or
not. In a planted world some facts are stated nowhere: a gap among these is proficiency, or luck. So the estimand is
gap(source only) - gap(neither): questions whose fact was stated in the source language's corpus and not in the
target's, less those whose fact was in no corpus. The same questions by how often the source states their fact are the
dose-response curve, of which "neither" is the dose 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes import decisions
from lorebridge.probes.prefixes import behind
from lorebridge.transfer import credits as credits_
from lorebridge.transfer.accuracies import CREDITS
from lorebridge.transfer.clusters import ClusterBootstrap, question_clusters
from lorebridge.transfer.contrasts import ALL, BEYOND, Contrast, by_culture, form
from lorebridge.transfer.inference import (
    QUESTIONS_AND_SEEDS,
    QUESTIONS_ONLY,
    Inference,
    Parts,
    Sample,
    common_seeds,
    few_clusters,
    infer,
    linearised,
    notes,
    of_seeds,
)

PLACEMENTS = {
    "en->xx": {"en_only": "source only", "xx_only": "target only", "both": "both", "neither": "neither"},
    "xx->en": {"xx_only": "source only", "en_only": "target only", "both": "both", "neither": "neither"},
}
ESTIMAND = "source only - neither"
GROUPS = ("source only", "neither", ESTIMAND, "target only", "both")
PARTS: dict[str, dict[str, float]] = {group: {group: 1.0} for group in GROUPS} | {
    ESTIMAND: {"source only": 1.0, "neither": -1.0}
}
"""What is reported -> the groups of questions that it is a sum over, with their weights."""
COVERED = {"all": (True, False), "covered": (True,), "not covered": (False,)}
"""Whether parallel text mentions the entity that is asked about."""


def placement_gaps(
    *,
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    truth: Path,
    base: str,
    contrasts: Sequence[Sequence[str]],
    subset: str,
    rule: str,
    last: int,
    prefix: str,
) -> pd.DataFrame:
    """Return gaps over the last checkpoints by where the fact was planted and whether its entity is covered by pairs.

    Args:
        scores: tables "scores", one a run.
        questions: culture (= language learned) -> table "questions".
        truth: table "truth".
        base: code of the base language.
        contrasts: pairs of arms.
        subset: which questions count.
        rule: how options are compared.
        last: number of final checkpoints pooled.
        prefix: what the questions were asked behind.

    Returns:
        columns contrast, lang, direction, scale (all questions, and the risk set's
        :data:`~lorebridge.transfer.contrasts.BEYOND`), covered (:data:`COVERED`), placed (:data:`GROUPS`), n_questions,
        gap, lo, hi, p, interval, note: 95 % and two-sided, over questions alone by Student's t, and over the seeds of
        the language (:func:`lorebridge.transfer.inference.infer`). No row where no fact was planted so, nor on
        the risk set where nothing was at risk.

    Raises:
        InputError: as :func:`lorebridge.transfer.credits.load`, or the truth lacks a question.
    """
    planted = tables.read(truth, columns=["question_id", "placed", "covered"]).drop_duplicates("question_id")
    planted = planted.set_index("question_id")
    settings: dict[str, Any] = {"subset": subset, "rule": rule, "last": last, "prefix": prefix}
    loaded = credits_.load(scores=scores, questions=questions, base=base, **settings)
    cells: dict[tuple[str, str, str, str, str], dict[str, Parts]] = {}
    for contrast in _between_arms(loaded, base, contrasts, last, set(planted.index), truth):
        for scale, (covered, flags) in itertools.product((ALL, BEYOND), COVERED.items()):
            here = planted.loc[contrast.questions]
            by_group = samples(contrast, scale, here["placed"].where(here["covered"].isin(flags)))
            for placed in GROUPS:
                if (parts := parts_of(by_group, placed)) is not None:
                    cell = (contrast.name, contrast.direction, scale, covered, placed)
                    cells.setdefault(cell, {})[contrast.culture] = parts
    rows: list[dict[str, Any]] = []
    for (name, direction, scale, covered, placed), by_lang in cells.items():
        for lang, parts in by_lang.items():
            rows += [
                {
                    "contrast": name,
                    "lang": lang,
                    "direction": direction,
                    "scale": scale,
                    "covered": covered,
                    "placed": placed,
                    "n_questions": _n(parts),
                    "gap": found.estimate,
                    "lo": found.lo,
                    "hi": found.hi,
                    "p": found.p,
                    "interval": interval,
                    "note": note,
                }
                for interval, note, found in _inferred([parts])
            ]
    return pd.DataFrame(rows)


def dose_response(
    *,
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    truth: Path,
    base: str,
    contrasts: Sequence[Sequence[str]],
    subset: str,
    rule: str,
    last: int,
    prefix: str,
) -> pd.DataFrame:
    """Return accuracies and gaps over the last checkpoints by how often the source language states the fact.

    Only questions whose fact the target language's corpus never states: what is right there has crossed, or is luck or
    proficiency, which the dose 0 shows. Languages weigh the same.

    Args:
        scores: tables "scores", one a run.
        questions: culture (= language learned) -> table "questions".
        truth: table "truth".
        base: code of the base language.
        contrasts: pairs of arms.
        subset: which questions count.
        rule: how options are compared.
        last: number of final checkpoints pooled.
        prefix: what the questions were asked behind.

    Returns:
        columns quantity (an arm: its mean credit; ``{arm} - {reference}``: the gap), direction, covered (bool: whether
        parallel text mentions the entity), dose (documents of the source corpus that state the fact), n_questions,
        value, lo, hi, p (two-sided, of 0; NaN for an arm), interval: 95 %, over questions alone, and with the variance
        between the seeds' means over languages (:func:`lorebridge.transfer.inference.infer`).

    Raises:
        InputError: as :func:`placement_gaps`.
    """
    planted = tables.read(truth, columns=["question_id", "covered", "corpus", "n_statements"])
    stated = planted.pivot_table(index="question_id", columns="corpus", values="n_statements", fill_value=0)
    covered = planted.drop_duplicates("question_id").set_index("question_id")["covered"]
    settings: dict[str, Any] = {"subset": subset, "rule": rule, "last": last, "prefix": prefix}
    loaded = credits_.load(scores=scores, questions=questions, base=base, **settings)
    cells: dict[tuple[str, str, bool, int], dict[str, Parts]] = {}
    for contrast in _between_arms(loaded, base, contrasts, last, set(stated.index), truth):
        source, target = credits_.source_and_target(contrast.direction, base, contrast.culture)
        here = stated.loc[contrast.questions]
        dose = here[source].where(here[target] == 0).to_numpy()
        is_covered = covered.loc[contrast.questions].to_numpy()
        first, second = contrast.final()
        arm, reference = contrast.name.split(" - ")
        values = {arm: first, reference: second, contrast.name: first - second}
        for count, flag in itertools.product(np.unique(dose[~np.isnan(dose)]).tolist(), (True, False)):
            among = (dose == count) & (is_covered == flag)
            if not among.any():
                continue
            for quantity, value in values.items():
                bounds = (-1.0, 1.0) if quantity == contrast.name else CREDITS
                sample = Sample(value[:, among], contrast.clusters[among], contrast.seeds, bounds)
                cell = (quantity, contrast.direction, flag, int(count))
                cells.setdefault(cell, {})[contrast.culture] = [(sample, 1.0)]
    return pd.DataFrame(
        [
            {
                "quantity": quantity,
                "direction": direction,
                "covered": flag,
                "dose": count,
                "n_questions": sum(map(_n, by_lang.values())),
                "value": found.estimate,
                "lo": found.lo,
                "hi": found.hi,
                "p": found.p if " - " in quantity else np.nan,
                "interval": interval,
                "note": note,
            }
            for (quantity, direction, flag, count), by_lang in cells.items()
            for interval, note, found in _inferred(list(by_lang.values()))
        ]
    )


def memorised(
    *,
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    truth: Path,
    subset: str,
    rule: str,
    resamples: int,
    seed: int,
    prefix: str,
) -> pd.DataFrame:
    """Return how many of the facts that a language's corpus states a model answers in it, at its last checkpoint.

    Args:
        scores: tables "scores", one a model.
        questions: culture -> table "questions".
        truth: table "truth".
        subset: which questions count.
        rule: how options are compared.
        resamples: bootstrap resamples.
        seed: of the bootstrap.
        prefix: what the questions were asked behind.

    Returns:
        columns run, lang, stated (bool: by the language's corpus), n_questions, accuracy, lo, hi: 95 %, percentiles of
        a bootstrap over clusters of questions. No row where no fact is of the kind.

    Raises:
        InputError: nothing was asked behind the prefix.
    """
    asked = pd.concat([tables.read(path) for path in questions.values()], ignore_index=True)
    scored = behind(credits_.read_scores(scores), prefix, "scores")
    credits = decisions.accuracy(scored, asked, subset=subset, rule=rule)
    last = credits["step"].isna() | (credits["step"] == credits.groupby("run")["step"].transform("max"))
    stated = tables.read(truth, ["question_id", "corpus", "n_statements"]).rename(columns={"corpus": "lang"})
    rows = credits[last].merge(stated, on=["question_id", "lang"])
    clusters = pd.concat(
        [f"{culture}/" + question_clusters(part).astype(str) for culture, part in asked.groupby("culture", sort=True)]
    )
    found = []
    for (run, lang, is_stated), part in rows.groupby(["run", "lang", rows["n_statements"] > 0], sort=False):
        drawn = ClusterBootstrap(
            clusters[part["question_id"]].to_numpy(), resamples=resamples, seed=seed, stream=str(lang)
        )
        lo, hi = drawn.interval(part["credit"].to_numpy(np.float64)[None], bounds=CREDITS)
        found.append(
            {
                "run": run,
                "lang": lang,
                "stated": is_stated,
                "n_questions": len(part),
                "accuracy": part["credit"].mean(),
                "lo": float(lo[0]),
                "hi": float(hi[0]),
            }
        )
    return pd.DataFrame(found, columns=["run", "lang", "stated", "n_questions", "accuracy", "lo", "hi"])


def placed_accuracies(
    *,
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    truth: Path,
    base: str,
    subset: str,
    rule: str,
    resamples: int,
    seed: int,
    prefix: str,
) -> pd.DataFrame:
    """Return, of every model that learned a language, accuracy by checkpoint and by where the fact was planted.

    Args:
        scores: tables "scores", one a model.
        questions: culture (= language learned) -> table "questions".
        truth: table "truth".
        base: code of the base language.
        subset: which questions count.
        rule: how options are compared.
        resamples: bootstrap resamples.
        seed: of the bootstrap.
        prefix: what the questions were asked behind.

    Returns:
        columns culture, direction, placed (as the direction sees it, :data:`PLACEMENTS`), arm, seed, step, n_questions,
        accuracy, lo, hi (95 %, percentiles of a bootstrap over clusters of questions, given the model), chance.

    Raises:
        InputError: nothing was asked behind the prefix.
    """
    scored = behind(credits_.read_scores(scores), prefix, "scores")
    placed = tables.read(truth, ["question_id", "placed"]).drop_duplicates("question_id").set_index("question_id")
    found: list[pd.DataFrame] = []
    for culture, path in questions.items():
        asked = tables.read(path)
        credits = decisions.accuracy(scored[scored["learned"] == culture], asked, subset=subset, rule=rule)
        clusters = question_clusters(asked)
        chance = 1 / asked.groupby("question_id")["option_index"].nunique()
        for direction, lang in credits_.directions(base, culture).items():
            here = credits[credits["lang"] == lang]
            of_question = placed["placed"].map(PLACEMENTS[direction])
            for group, rows in here.groupby(here["question_id"].map(of_question), sort=True):
                wide = rows.pivot(index=["arm", "seed", "step"], columns="question_id", values="credit")
                drawn = ClusterBootstrap(
                    clusters[wide.columns].to_numpy(), resamples=resamples, seed=seed, stream=culture
                )
                values = wide.to_numpy(np.float64)
                lo, hi = drawn.interval(values, bounds=CREDITS)
                found.append(
                    wide.index.to_frame(index=False).assign(
                        culture=culture,
                        direction=direction,
                        placed=group,
                        n_questions=values.shape[1],
                        accuracy=values.mean(axis=1),
                        lo=lo,
                        hi=hi,
                        chance=float(chance[wide.columns].mean()),
                    )
                )
    return pd.concat(found, ignore_index=True)


def _between_arms(
    loaded: Iterator[credits_.Credits],
    base: str,
    contrasts: Sequence[Sequence[str]],
    last: int,
    known: set[str],
    truth: Path,
) -> Iterator[Contrast]:
    """Yield the contrasts of two arms, having seen that the truth knows their questions."""
    for contrast in form(by_culture(loaded), base=base, contrasts=contrasts, last=last):
        if contrast.known is None:
            continue
        if lost := set(contrast.questions) - known:
            raise InputError(truth, f"lacks {len(lost)} questions (the first: {min(lost)})", "Remake the world.")
        yield contrast


def _n(parts: Parts) -> int:
    """Return how many questions some samples are of."""
    return sum(sample.values.shape[1] for sample, _ in parts)


def _inferred(languages: Sequence[Parts]) -> Iterator[tuple[str, str, Inference]]:
    """Yield interval, note and the mean over languages: over questions alone and, where two are common, over seeds."""
    samples, weights = zip(
        *((one, weight / len(languages)) for parts in languages for one, weight in parts), strict=True
    )
    few = few_clusters(samples, weights)
    yield QUESTIONS_ONLY, few, infer(samples, weights)
    if (seeds := len(common_seeds(samples))) > 1:
        yield QUESTIONS_AND_SEEDS, notes(of_seeds(seeds), few), infer(samples, weights, over_seeds=True)


def samples(contrast: Contrast, scale: str, placed: pd.Series) -> dict[str, Sample]:
    """Return group (as the direction sees it) -> the values whose mean is the gap of the questions there.

    Each group's sample is of its own questions alone: were the others in it, as many clusters as they have would count
    as if something had been seen of them.

    Args:
        contrast: two arms.
        scale: what the gap is divided by.
        placed: of each question, where the world states its fact (:data:`PLACEMENTS`); missing where it does not count.
    """
    above, below = contrast.parts(scale)
    group = placed.map(PLACEMENTS[contrast.direction]).to_numpy()
    found = {}
    for name in pd.unique(group[pd.notna(group)]):
        among = group == name
        values = linearised(above[:, among], below[:, among])
        if not np.isnan(values).any():
            bounds = (-1.0, 1.0) if scale == ALL else None
            found[str(name)] = Sample(values, contrast.clusters[among], contrast.seeds, bounds)
    return found


def parts_of(by_group: Mapping[str, Sample], placed: str) -> Parts | None:
    """Return the samples that one of :data:`GROUPS` is a sum of; None where a group has no question."""
    if not set(PARTS[placed]) <= set(by_group):
        return None
    return [(by_group[group], weight) for group, weight in PARTS[placed].items()]


def difference_of_directions(out: Mapping[str, Sample], into: Mapping[str, Sample], placed: str) -> Parts | None:
    """Return the samples whose weighted sum is the gap into the base language less the one out of it.

    Question by question for facts that are nowhere or everywhere. The source of one direction is the target of the
    other, so that what the source alone states are other questions in each.

    Args:
        out: of the direction en->xx, group -> values whose mean is the gap (:func:`samples`).
        into: the same of xx->en.
        placed: one of :data:`GROUPS`.

    Returns:
        None where a group has no question.
    """
    if parts_of(out, placed) is None or parts_of(into, placed) is None:
        return None
    parts: list[tuple[Sample, float]] = []
    for group, weight in PARTS[placed].items():
        if group in ("source only", "target only"):
            parts += [(into[group], weight), (out[group], -weight)]
        else:
            parts.append((into[group].minus(out[group]), weight))
    return parts
