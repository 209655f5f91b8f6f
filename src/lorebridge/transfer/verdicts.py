"""Verdicts on the tests that a study declared: above, below, equivalent or undecided, in one family.

A declared test is one quantity: the gap of two arms on one scale, among some questions, behind one prefix, in one
direction or between the two, the mean over some languages, perhaps less that over others. Two things may be found of
it, and they cannot both be false: that it is not 0, and that it lies within its margin of 0, the smallest effect that
was declared to be of interest. The first is the house's test (:func:`lorebridge.transfer.inference.infer`), the second
two one-sided tests (:func:`lorebridge.transfer.inference.equivalence`); both of all tests are one family
(:func:`lorebridge.transfer.inference.holm_exclusive`). What is within the margin is called equivalent also where it is
told from 0: then it is there, and smaller than what was declared to matter.

Only declared tests get a verdict. Everything else in a study's tables is exploration.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorebridge import declared, tables
from lorebridge.errors import InputError
from lorebridge.trace.leaks import leaked
from lorebridge.transfer import credits as credits_
from lorebridge.transfer import planted
from lorebridge.transfer.asymmetry import DIFFERENCE, DIRECTIONS
from lorebridge.transfer.contrasts import Contrast, by_culture, form
from lorebridge.transfer.inference import (
    QUESTIONS_AND_SEEDS,
    QUESTIONS_ONLY,
    Parts,
    Sample,
    common_seeds,
    equivalence,
    few_clusters,
    holm_exclusive,
    infer,
    notes,
    of_same_questions,
    of_seeds,
)

ABOVE, BELOW, EQUIVALENT, UNDECIDED = "above", "below", "equivalent", "undecided"
EVERY, UNLEAKED = "all", "unleaked"
PLACED = ("source only", "neither", planted.ESTIMAND)
"""Beside :data:`EVERY` and :data:`UNLEAKED`, which questions a declared test may be of, in a planted world."""

Formed = Mapping[tuple[str, str], Contrast]
"""(language, direction) -> a contrast of two arms."""


def verdicts(
    *,
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    leaks: Path,
    base: str,
    rule: str,
    last: int,
    tests: Sequence[Mapping[str, Any]],
    alpha: float,
    first: str,
    out: Path,
    truth: Path | None = None,
    same_facts: bool = False,
) -> dict[str, Any]:
    """Write the table "verdicts": a row a declared test.

    Args:
        scores: tables "scores", one a run.
        questions: culture (= language learned) -> table "questions".
        leaks: table "leaks".
        base: code of the base language.
        rule: how options are compared.
        last: number of final checkpoints pooled.
        tests: what is declared, as ``prereg.tests`` of the configuration.
        alpha: of the family.
        first: what says what was declared when the runs began (:mod:`lorebridge.declared`).
        out: where to write.
        truth: table "truth" of a planted world, where a test asks where a fact stands.
        same_facts: whether all languages are asked the same facts in the same order, as in a world of statements: then
            languages of a test are compared, or averaged, question by question.

    Returns:
        notes: how the declaration stands to the runs, and when they began.

    Raises:
        InputError: as :func:`lorebridge.transfer.credits.load`; a test's arms have no seed in common, or not two where
            it asks for other seeds; or the truth lacks a question.
    """
    told = leaked(tables.read(leaks))
    placed = None
    if truth is not None:
        placed = tables.read(truth, columns=["question_id", "placed"]).drop_duplicates("question_id")
        placed = placed.set_index("question_id")
    formed: dict[tuple[str, str], dict[str, dict[tuple[str, str], Contrast]]] = {}
    for subset, prefix in dict.fromkeys((test["subset"], test["prefix"]) for test in tests):
        loaded = credits_.load(
            scores=scores, questions=questions, base=base, subset=subset, rule=rule, last=last, prefix=prefix
        )
        pairs = [test["contrast"] for test in tests if (test["subset"], test["prefix"]) == (subset, prefix)]
        pairs = [list(pair) for pair in dict.fromkeys(map(tuple, pairs))]
        of_pairs = formed.setdefault((subset, prefix), {})
        for contrast in form(by_culture(loaded), base=base, contrasts=pairs, last=last):
            if contrast.known is not None:
                if placed is not None and (lost := set(contrast.questions) - set(placed.index)):
                    raise InputError(truth or "", f"lacks {len(lost)} questions ({min(lost)})", "Remake the world.")
                of_pairs.setdefault(contrast.name, {})[contrast.culture, contrast.direction] = contrast
    state, when = declared.status(first, {"tests": tests, "alpha": alpha, "rule": rule, "last": last})
    table = verdict_table(tests, formed, alpha=alpha, told=told, placed=placed, same_facts=same_facts)
    tables.write("verdicts", table.assign(rule=rule, declared=state), out)
    return {"declared": state, "runs_began": when}


def verdict_table(
    tests: Sequence[Mapping[str, Any]],
    formed: Mapping[tuple[str, str], Mapping[str, Formed]],
    *,
    alpha: float,
    told: Collection[str] = (),
    placed: pd.DataFrame | None = None,
    same_facts: bool = False,
) -> pd.DataFrame:
    """Return the rows of table "verdicts", without rule and what was declared when.

    Args:
        tests: what is declared.
        formed: (subset, prefix) -> name of a contrast -> (language, direction) -> the contrast.
        alpha: of the family.
        told: questions whose fact the parallel text states.
        placed: question_id -> ``placed`` of table "truth".
        same_facts: as of :func:`verdicts`.

    Raises:
        InputError: a test's arms have no seed in common, or not two where it asks for other seeds; or languages that
            are to be asked the same facts are not.
    """
    table = pd.DataFrame([_tested(test, formed, told, placed, alpha, same_facts) for test in tests])
    table["p_family"], table["p_equivalent_family"] = holm_exclusive(table["p"], table["p_equivalent"])
    different, within = table["p_family"] <= alpha, table["p_equivalent_family"] <= alpha
    side = np.where(table["estimate"] > 0, ABOVE, BELOW)
    table["verdict"] = np.where(within, EQUIVALENT, np.where(different, side, UNDECIDED))
    there = [f"{where} 0, by less than the margin" for where in side]
    there = np.where(within & different, there, "").tolist()
    table["note"] = [notes(*said) for said in zip(there, table["note"], strict=True)]
    return table


def _tested(
    test: Mapping[str, Any],
    formed: Mapping[tuple[str, str], Mapping[str, Formed]],
    told: Collection[str],
    placed: pd.DataFrame | None,
    alpha: float,
    same_facts: bool,
) -> dict[str, Any]:
    """Return the row of one test, its p-values not yet those of the family."""
    name = " - ".join(test["contrast"])
    contrasts = formed[test["subset"], test["prefix"]].get(name, {})
    weights = {lang: 1 / len(test["languages"]) for lang in test["languages"]}
    weights |= {lang: -1 / len(test["minus"]) for lang in test["minus"]}
    by_lang: dict[str, Parts] = {}
    asked = 0
    for lang in weights:
        if (lang, DIRECTIONS[0]) not in contrasts:
            raise InputError(
                f"prereg, the test {test['name']!r}",
                f"the arms of {name} have no seed in common in {lang}",
                "Train both from one seed.",
            )
        of_lang, n = _parts(test, {d: contrasts[lang, d] for d in DIRECTIONS}, told, placed)
        by_lang[lang] = of_lang
        asked += n
    unknown = any(np.isnan(sample.estimate) for of_lang in by_lang.values() for sample, _ in of_lang)
    if same_facts and len(weights) > 1 and not unknown:
        _require_same_facts(test, [contrasts[lang, DIRECTIONS[0]] for lang in weights])
        parts = _question_by_question(by_lang, weights)
    else:
        parts = [(sample, weights[lang] * weight) for lang, of_lang in by_lang.items() for sample, weight in of_lang]
    samples, weight = [sample for sample, _ in parts], [part for _, part in parts]
    seeds = len(common_seeds(samples))
    if test["over_seeds"] and seeds < 2:
        raise InputError(
            f"prereg, the test {test['name']!r}",
            f"asks for other seeds, and the arms of {name} have {seeds} in common in all of its languages",
            "Train them from two seeds.",
        )
    over_seeds = test["over_seeds"]
    measured = asked > 0 and not any(np.isnan(sample.estimate) for sample in samples)
    found = infer(samples, weight, over_seeds=over_seeds, level=1 - alpha) if measured else None
    ends = dict.fromkeys(("estimate", "se", "df", "lo", "hi", "p"), np.nan) if found is None else vars(found)
    return {
        "name": test["name"],
        "contrast": name,
        "direction": test["direction"],
        "langs": list(test["languages"]),
        "minus": list(test["minus"]),
        "among": test["among"],
        "scale": test["scale"],
        "subset": test["subset"],
        "prefix": test["prefix"],
        "margin": test["margin"],
        "alpha": alpha,
        "n_questions": asked,
        "n_clusters": sum(sample.n_clusters for sample in samples),
        "n_seeds": seeds,
        **ends,
        "interval": QUESTIONS_AND_SEEDS if over_seeds else QUESTIONS_ONLY,
        "p_equivalent": equivalence(samples, weight, margin=test["margin"], over_seeds=over_seeds)
        if measured
        else np.nan,
        "note": notes(of_seeds(seeds) if over_seeds else "", few_clusters(samples, weight))
        if measured
        else "nothing was asked or at risk",
    }


def _require_same_facts(test: Mapping[str, Any], contrasts: Sequence[Contrast]) -> None:
    """Refuse languages whose questions are not the same but for the culture that their names begin with."""
    asked = {tuple(name.removeprefix(f"{of.culture}-") for name in of.questions) for of in contrasts}
    if len(asked) > 1:
        raise InputError(
            f"prereg, the test {test['name']!r}",
            f"{', '.join(of.culture for of in contrasts)} have other questions in {test['subset']}, though all "
            "languages of a planted world of statements are asked the same facts",
            "Ask for the subset reference.",
        )


def _question_by_question(by_lang: Mapping[str, Parts], weights: Mapping[str, float]) -> list[tuple[Sample, float]]:
    """Return, for each group of questions, the languages' weighted sum, and the group's weight."""
    together = []
    for of_group in zip(*by_lang.values(), strict=True):
        samples, shares = [sample for sample, _ in of_group], list(weights.values())
        together.append((of_same_questions(samples, shares), of_group[0][1]))
    return together


def _parts(
    test: Mapping[str, Any], directions: Mapping[str, Contrast], told: Collection[str], placed: pd.DataFrame | None
) -> tuple[Parts, int]:
    """Return what the questions of one language say of a test's quantity, and how many they are; 0 for none."""
    among, compared = test["among"], test["direction"] == DIFFERENCE
    wanted = DIRECTIONS if compared else (test["direction"],)
    measured = [_among(directions[direction], test, told, placed) for direction in wanted]
    if among in PLACED:
        out, *into = measured
        parts = planted.difference_of_directions(out, into[0], among) if compared else planted.parts_of(out, among)
    elif all(measured):
        first, *second = (by_group[among] for by_group in measured)
        parts = [(second[0].minus(first) if second else first, 1.0)]
    else:
        parts = None
    if parts is None:
        contrast = directions[wanted[0]]
        return [(Sample(np.full(contrast.first[:, 0].shape, np.nan), contrast.clusters, contrast.seeds), 1.0)], 0
    return parts, sum(sample.values.shape[1] for sample, _ in parts)


def _among(
    contrast: Contrast, test: Mapping[str, Any], told: Collection[str], placed: pd.DataFrame | None
) -> dict[str, Sample]:
    """Return the values whose mean is the gap, by group of the questions that a test is of; none for no question."""
    if test["among"] in PLACED:
        assert placed is not None
        return planted.samples(contrast, test["scale"], placed.loc[contrast.questions, "placed"])
    kept = contrast.without(told) if test["among"] == UNLEAKED else contrast
    if kept is None or np.isnan((sample := kept.sample(test["scale"])).values).any():
        return {}
    return {test["among"]: sample}
