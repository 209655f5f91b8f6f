"""The planted world's own estimand: what crosses of facts that were read in the source language alone.

A bridge may make a model better at a language in general, and then answers get better whether their facts crossed or
not. In a planted world some facts are stated nowhere: a gap among these is proficiency, or luck. So the estimand is
gap(source only) - gap(neither): questions whose fact was stated in the source language's corpus and not in the
target's, less those whose fact was in no corpus.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer import credits as credits_
from lorebridge.transfer.contrasts import Contrast, by_culture, form
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY, Sample, infer, linearised, seed_variance

PLACEMENTS = {
    "en->xx": {"en_only": "source only", "xx_only": "target only", "both": "both", "neither": "neither"},
    "xx->en": {"xx_only": "source only", "en_only": "target only", "both": "both", "neither": "neither"},
}
ESTIMAND = "source only - neither"
GROUPS = ("source only", "neither", ESTIMAND, "target only", "both")
COVERED = {"all": (True, False), "covered": (True,), "not covered": (False,)}
"""Whether parallel text mentions the entity that is asked about."""


def placement_gaps(
    *, scores: Sequence[Path], questions: Mapping[str, Path], truth: Path, base: str,
    contrasts: Sequence[Sequence[str]], subset: str, rule: str, last: int,
) -> pd.DataFrame:  # fmt: skip
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

    Returns:
        columns contrast, lang, direction, covered (:data:`COVERED`), placed (:data:`GROUPS`), n_questions, gap, lo, hi,
        p, interval: 95 % and two-sided by Student's t (:func:`lorebridge.transfer.inference.infer`), over questions
        alone, and with the variance between seeds, which is pooled over languages. No row where no fact was planted so.

    Raises:
        InputError: as :func:`lorebridge.transfer.credits.load`, or the truth lacks a question.
    """
    planted = tables.read(truth, columns=["question_id", "placed", "covered"]).drop_duplicates("question_id")
    planted = planted.set_index("question_id")
    loaded = credits_.load(scores=scores, questions=questions, base=base, subset=subset, rule=rule, last=last)
    formed = [c for c in form(by_culture(loaded), base=base, contrasts=contrasts, last=last) if c.known is not None]
    cells: dict[tuple[str, str, str, str], dict[str, tuple[Sample, int]]] = {}
    for contrast in formed:
        if lost := set(contrast.questions) - set(planted.index):
            raise InputError(truth, f"lacks {len(lost)} questions (the first: {min(lost)})", "Remake the world.")
        for (covered, placed), counted in _samples(contrast, planted.loc[contrast.questions]).items():
            cells.setdefault((contrast.name, contrast.direction, covered, placed), {})[contrast.culture] = counted
    rows: list[dict[str, Any]] = []
    for (name, direction, covered, placed), by_lang in cells.items():
        seeds = seed_variance([sample for sample, _ in by_lang.values()])
        for lang, (sample, n) in by_lang.items():
            for interval, of_seeds in ((QUESTIONS_ONLY, None), (QUESTIONS_AND_SEEDS, seeds)):
                if interval == QUESTIONS_AND_SEEDS and seeds is None:
                    continue
                found = infer([sample], [1.0], of_seeds)
                rows.append(
                    {"contrast": name, "lang": lang, "direction": direction, "covered": covered, "placed": placed,
                     "n_questions": n, "gap": found.estimate, "lo": found.lo, "hi": found.hi, "p": found.p,
                     "interval": interval}
                )  # fmt: skip
    return pd.DataFrame(rows)


def _samples(contrast: Contrast, planted: pd.DataFrame) -> dict[tuple[str, str], tuple[Sample, int]]:
    """Return (covered, placed) -> the values whose mean is the gap there, and how many questions it is over."""
    first, second = contrast.final()
    samples = {}
    for covered, values in COVERED.items():
        group = planted["placed"].map(PLACEMENTS[contrast.direction]).where(planted["covered"].isin(values))
        found: dict[str, tuple[np.ndarray, int]] = {}
        for placed in group.dropna().unique():
            member = np.broadcast_to((group == placed).to_numpy(dtype=float), first.shape)
            found[placed] = (linearised(member * (first - second), member), int((group == placed).sum()))
        if {"source only", "neither"} <= set(found):
            (source, n), (neither, m) = found["source only"], found["neither"]
            found[ESTIMAND] = (source - neither, n + m)
        for placed in GROUPS:
            if placed in found:
                samples[covered, placed] = (Sample(found[placed][0], contrast.clusters), found[placed][1])
    return samples
