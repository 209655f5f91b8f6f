"""Gaps at equal held-out loss: would an arm still be ahead of another that predicts the language as well?

An arm that has learned more of a language, or forgotten less of another, answers better whatever crossed. So two arms
are compared once more where they predict held-out text equally well. One of them stays at its last checkpoints; the
other is read where its loss was what the first one's is there, between checkpoints by linear interpolation of loss and
of credits in the step. Nothing is extrapolated: where neither arm ever had the loss at which the other ends, there is
no gap, and the row says why.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes.prefixes import behind
from lorebridge.transfer import credits as credits_
from lorebridge.transfer.contrasts import Contrast, by_culture, form
from lorebridge.transfer.credits import prefixes_of
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
)

STEP, LOSS_XX, LOSS_EN = MATCHES = ("step", "loss_xx", "loss_en")
"""What arms are compared at: the same checkpoints, or equal loss in the language learned, or in the base language."""

FAMILY = ["contrast", "matched_on", "interval"]
"""What the tests of one family have in common: it goes over languages and directions."""

Losses = Mapping[tuple[str, str, int, str], pd.Series]
"""(language learned, arm, seed, language of the text) -> bits per byte by step, ascending."""


def matched_gaps(
    *,
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    perplexity: Sequence[Path],
    base: str,
    contrasts: Sequence[Sequence[str]],
    subset: str,
    rule: str,
    last: int,
    out: Path,
) -> dict[str, Any]:
    """Write the table "matched_gaps": gaps of arms at the same checkpoints, and at equal loss on held-out text.

    On all questions, behind each prefix, with the loss of text behind the same prefix. Each of the arm's `last` final
    checkpoints that stays is matched by itself, so that of arms with the same losses the gap is that over the last
    checkpoints. Where the other arm had that loss at several steps, it is the one nearest to that checkpoint. The arm
    that stays is that of which all of these are matched; if both are, the one from which the other is less far away.
    Seeds are matched one by one, and one that is not leaves the whole gap missing.

    Intervals, 95 %, are Student's t over clusters of questions, and with two seeds those over questions and seeds
    (:func:`lorebridge.transfer.inference.infer`). They take the matched steps as given.

    Args:
        scores: tables "scores", one a run.
        questions: culture (= language learned) -> table "questions".
        perplexity: tables "perplexity", one a run.
        base: code of the base language.
        contrasts: pairs of arms; one that a language has no common seed for is left out there and logged.
        subset: which questions count.
        rule: how options are compared.
        last: number of final checkpoints pooled.
        out: where to write.

    Returns:
        notes: number of gaps, and of those that are missing.

    Raises:
        InputError: as :func:`lorebridge.transfer.credits.load`, or held-out text was not read at all checkpoints.
    """
    held_out = pd.concat([tables.read(path) for path in perplexity], ignore_index=True)
    frames = []
    for prefix in prefixes_of(scores):
        loaded = credits_.load(
            scores=scores, questions=questions, base=base, subset=subset, rule=rule, last=last, prefix=prefix
        )
        formed = [c for c in form(by_culture(loaded), base=base, contrasts=contrasts, last=last) if c.known is not None]
        losses = losses_of(behind(held_out, prefix, "perplexity"))
        frames.append(matched_table(formed, losses, base=base).assign(prefix=prefix))
    table = pd.concat(frames, ignore_index=True).assign(subset=subset, rule=rule)
    tables.write("matched_gaps", table, out)
    return {"gaps": len(table), "missing": int(table["gap"].isna().sum())}


def losses_of(perplexity: pd.DataFrame) -> dict[tuple[str, str, int, str], pd.Series]:
    """Return the held-out loss of each run that learned a language in an arm, by step.

    Args:
        perplexity: rows of tables "perplexity" of one prefix.
    """
    rows = perplexity[perplexity[["learned", "arm", "seed", "step"]].notna().all(axis=1)]
    found = {}
    for _, of_run in rows.groupby(["learned", "arm", "seed", "lang"], sort=True):
        one = of_run.iloc[0]
        key = (str(one["learned"]), str(one["arm"]), int(one["seed"]), str(one["lang"]))
        found[key] = of_run.set_index("step")["bits_per_byte"].sort_index()
    return found


def matched_table(formed: Sequence[Contrast], losses: Losses, *, base: str) -> pd.DataFrame:
    """Return the rows of table "matched_gaps", without subset, rule and prefix.

    Args:
        formed: contrasts of two arms.
        losses: of their runs.
        base: code of the base language.

    Raises:
        InputError: a run lacks the loss of a checkpoint.
    """
    rows = [row for contrast in formed for on in MATCHES for row in _rows(contrast, on, losses, base)]
    table = pd.DataFrame(rows)
    table["p_holm"] = adjusted(table, FAMILY)
    return table


@dataclasses.dataclass(frozen=True)
class Match:
    """Where two runs are compared: weights of their checkpoints, for each of the checkpoints that are pooled.

    Attributes:
        weights: of the first run and of the second, each of shape (pooled, steps); rows sum to 1.
        level: the mean loss at which they are compared.
    """

    weights: tuple[np.ndarray, np.ndarray]
    level: float


def match(first: np.ndarray, second: np.ndarray, steps: np.ndarray, last: int) -> Match | None:
    """Return where two runs have equal losses, one of them at its `last` final checkpoints; None where they never have.

    Args:
        first: losses of a run, shape (steps,).
        second: losses of the other.
        steps: the steps, ascending.
        last: number of final checkpoints.
    """
    found: list[tuple[float, Match]] = []
    stays = np.eye(len(steps))[-last:]
    for number, (one, other) in enumerate(((second, first), (first, second))):
        places = [crossing(other, steps, level, near) for level, near in zip(one[-last:], steps[-last:], strict=True)]
        if any(place is None for place in places):
            continue
        moved = np.stack([place for place in places if place is not None])
        away = float(np.abs(moved @ steps - steps[-last:]).mean())
        weights = (moved, stays) if number == 0 else (stays, moved)
        found.append((away, Match(weights, float(one[-last:].mean()))))
    return min(found, key=lambda pair: pair[0])[1] if found else None


def crossing(losses: np.ndarray, steps: np.ndarray, level: float, near: float) -> np.ndarray | None:
    """Return the weights of the checkpoints between which a run has a loss, nearest to a step; None where it never has.

    Args:
        losses: of the run, shape (steps,).
        steps: the steps, ascending.
        level: the loss.
        near: the step.
    """
    best: tuple[float, np.ndarray] | None = None
    for i in range(len(steps)):
        j = min(i + 1, len(steps) - 1)
        if not min(losses[i], losses[j]) <= level <= max(losses[i], losses[j]):
            continue
        length = float(steps[j] - steps[i])
        if losses[i] != losses[j]:
            share = float((level - losses[i]) / (losses[j] - losses[i]))
        else:  # all of it: the place that is nearest
            share = float(np.clip((near - steps[i]) / length, 0, 1)) if length else 0.0
        weights = np.zeros(len(steps))
        weights[i] += 1 - share
        weights[j] += share
        away = abs(steps[i] + share * length - near)
        if best is None or away < best[0]:
            best = (away, weights)
    return None if best is None else best[1]


def _rows(contrast: Contrast, on: str, losses: Losses, base: str) -> list[dict[str, Any]]:
    """Return the rows of one contrast, matched in one way: over questions, and over seeds where there are two."""
    arms, steps, last = contrast.name.split(" - "), np.array(contrast.steps, dtype=np.float64), contrast.last
    text = base if on == LOSS_EN else contrast.culture
    stays = np.eye(len(steps))[-last:]
    ends: list[tuple[float, float]] = []
    matches: list[Match] = []
    why = ""
    for seed in contrast.seeds:
        curves = [_curve(losses, contrast, arm, seed, text) for arm in arms]
        ends.append((float(curves[0][-last:].mean()), float(curves[1][-last:].mean())))
        found = Match((stays, stays), np.nan) if on == STEP else match(curves[0], curves[1], steps, last)
        if found is None:
            why = why or (
                f"seed {seed}: neither arm ever had the loss at which the other ends "
                f"({ends[-1][0]:.3f} and {ends[-1][1]:.3f} bits per byte)"
            )
        else:
            matches.append(found)
    shared = {
        "lang": contrast.culture,
        "direction": contrast.direction,
        "contrast": contrast.name,
        "matched_on": on,
        "n_questions": len(contrast.questions),
        "n_clusters": len(np.unique(contrast.clusters)),
        "n_seeds": len(contrast.seeds),
        "loss_end": float(np.mean([first for first, _ in ends])),
        "loss_end_reference": float(np.mean([second for _, second in ends])),
    }
    if why:
        missing = ("loss", "step", "step_reference", "accuracy", "accuracy_reference", "gap", "lo", "hi", "p")
        return [{**shared, **dict.fromkeys(missing, np.nan), "interval": QUESTIONS_ONLY, "note": why}]
    # Of each seed, the credits of all questions where the arms are alike, shape (seeds, n).
    credits = [
        np.stack([(found.weights[i] @ of_seed).mean(axis=0) for found, of_seed in zip(matches, arm, strict=True)])
        for i, arm in enumerate((contrast.first, contrast.second))
    ]
    places = [float(np.mean([(found.weights[i] @ steps).mean() for found in matches])) for i in (0, 1)]
    sample = Sample(credits[0] - credits[1], contrast.clusters, contrast.seeds, (-1.0, 1.0))
    shared |= {
        "loss": float(np.mean([found.level for found in matches])),
        "step": places[0],
        "step_reference": places[1],
        "accuracy": float(credits[0].mean()),
        "accuracy_reference": float(credits[1].mean()),
        "gap": sample.estimate,
    }
    rows = []
    for over_seeds in (False, True) if len(common_seeds([sample])) > 1 else (False,):
        inferred = infer([sample], [1.0], over_seeds=over_seeds)
        error = {"lo": inferred.lo, "hi": inferred.hi, "p": inferred.p}
        note = notes(of_seeds(len(contrast.seeds)) if over_seeds else "", few_clusters([sample], [1.0]))
        interval = QUESTIONS_AND_SEEDS if over_seeds else QUESTIONS_ONLY
        rows.append({**shared, **error, "interval": interval, "note": note})
    return rows


def _curve(losses: Losses, contrast: Contrast, arm: str, seed: int, lang: str) -> np.ndarray:
    """Return the loss of a run at the checkpoints of a contrast."""
    found = losses.get((contrast.culture, arm, seed, lang))
    curve = np.full(len(contrast.steps), np.nan) if found is None else found.reindex(contrast.steps).to_numpy(float)
    if np.isnan(curve).any():
        raise InputError(
            "perplexity",
            f"the model of {contrast.culture} in the arm {arm} from the seed {seed} lacks held-out text in {lang} at "
            f"{int(np.isnan(curve).sum())} of its {len(curve)} checkpoints",
            "Measure it at all checkpoints (the rule score).",
        )
    return curve
