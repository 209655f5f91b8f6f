"""Whether tuning narrows what a script keeps in: the gap between answers in one script and another, before and after.

Of a question, answers in languages of its own script are *same*, the others *cross*. The effect of a tuning is

    (accuracy same - accuracy cross) before - (accuracy same - accuracy cross) after,

so that above 0 the gap has become smaller. Both models answer the same questions, and the same ones in either script:
everything is paired by question. The gap may also narrow because answers in the same script become worse; so the four
accuracies stand beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer.inference import (
    QUESTIONS_AND_SEEDS,
    QUESTIONS_ONLY,
    Sample,
    few_clusters,
    infer,
    linearised,
    notes,
    of_seeds,
)

PARTS = [f"{script}_{when}" for when in ("before", "after") for script in ("same", "cross")]
KEY = ["dataset", "question_id", "target_lang"]


def tuning_effects(
    *,
    judged: Path,
    questions: Path | None,
    tuned: Sequence[Mapping[str, Any]],
    scripts: Mapping[str, str],
    controls: Sequence[str],
    own: bool,
    hint: str,
    out: Path,
) -> dict[str, Any]:
    """Write the table ``tuning_effects``: of each model and set of rows, and what a set does beyond its controls.

    Intervals are of 95 %: over clusters of questions given these models, and, with two seeds or more, over seeds too
    (:func:`lorebridge.transfer.inference.infer`).

    Args:
        judged: the table "judged", with the answers of each model before and after it was tuned.
        questions: a table "open_questions" whose ``page`` says which questions go together; None, and for questions
            that it lacks, each is a cluster.
        tuned: rows with ``start`` (the name of the model before), ``arm`` (the set that it was tuned on), ``seed``, and
            ``run`` (its name after).
        scripts: language -> script.
        controls: sets that the others are compared with.
        own: whether answers in the question's own language count as same.
        hint: answers with which hint are taken.
        out: the table to write.

    Returns:
        Notes for the record: ``rows``.

    Raises:
        InputError: answers of a model are missing, or are not those to the questions of the other models; or there is
            none in the same script, or none in another.
    """
    found = _answers(judged, scripts, own, hint)
    clusters = _clusters(found, questions)
    gaps = _gaps(judged, found, tuned)
    rows = []
    for start in dict.fromkeys(row["start"] for row in tuned):
        of_start = {arm: gap for (of, arm), gap in gaps.items() if of == start}
        for arm, gap in of_start.items():
            rows += _rows(gap, clusters, {"start": start, "arm": arm, "minus": None})
        for arm, gap in of_start.items():
            for control in controls:
                if arm not in controls and control in of_start:
                    said = {"start": start, "arm": arm, "minus": control}
                    rows += _rows(gap, clusters, said, of_start[control])
    tables.write("tuning_effects", rows, out)
    return {"rows": len(rows)}


class _Gap:
    """Answers before and after, of one model and one set.

    Attributes:
        seeds: of the tuned models.
        same: whether a target is of the question's script, shape (answers,).
        question: number of each answer's question, shape (answers,).
        before: how often it is right, shape (answers,).
        after: the same of each seed's model, shape (seeds, answers).
    """

    def __init__(self, frame: pd.DataFrame, before: np.ndarray, after: Mapping[int, np.ndarray]) -> None:
        self.seeds = list(after)
        self.same = frame["same"].to_numpy()
        self.question = pd.factorize(pd.MultiIndex.from_frame(frame[KEY[:2]]))[0]
        self.first = frame.drop_duplicates(KEY[:2])[KEY[:2]]
        self.before, self.after = before, np.array(list(after.values()))

    def values(self) -> np.ndarray:
        """Return values of questions whose mean is the effect, shape (seeds, questions)."""
        n = len(self.first)
        parts = []
        for of in (self.same, ~self.same):
            asked = np.bincount(self.question[of], minlength=n).astype(np.float64)
            moved = [np.bincount(self.question[of], (self.before - a)[of], minlength=n) for a in self.after]
            parts.append(linearised(np.array(moved), np.broadcast_to(asked, (len(moved), n))))
        return parts[0] - parts[1]

    def accuracies(self) -> dict[str, float]:
        """Return the four accuracies."""
        after = self.after.mean(axis=0)
        of = {"same": self.same, "cross": ~self.same}
        return {
            f"{script}_{when}": float(values[chosen].mean())
            for when, values in (("before", self.before), ("after", after))
            for script, chosen in of.items()
        }


def _answers(judged: Path, scripts: Mapping[str, str], own: bool, hint: str) -> pd.DataFrame:
    found = tables.read(judged)
    found = found[(found["hint"] == hint) & found["source_lang"].notna()]
    for column in ("source_lang", "target_lang"):
        unknown = sorted(set(found[column]) - set(scripts))
        if unknown:
            mend = "Name it among the languages, or drop its answers."
            raise InputError(f"{judged}, column {column}", f"{unknown[0]!r} is no language of the study", mend)
    if not own:
        found = found[found["source_lang"] != found["target_lang"]]
    same = found["source_lang"].map(scripts) == found["target_lang"].map(scripts)
    for of, what in ((same, "in the question's script"), (~same, "in another script")):
        if not of.any():
            mend = "Ask in more languages" + ("." if own else ", or set tuning.judged.own to true.")
            raise InputError(judged, f"has no answer {what}", mend)
    return found.assign(same=same)


def _clusters(found: pd.DataFrame, questions: Path | None) -> Mapping[tuple[str, str], str]:
    """Return (set, question) -> what it goes together with."""
    pages: dict[str, str] = {}
    if questions is not None:
        table = tables.read(questions, ["question_id", "page"])
        pages = dict(zip(table["question_id"], table["page"], strict=True))
    keys = found[KEY[:2]].drop_duplicates().itertuples(index=False)
    return {(dataset, question): pages.get(question) or f"{dataset}/{question}" for dataset, question in keys}


def _gaps(judged: Path, found: pd.DataFrame, tuned: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], _Gap]:
    """Return (start, set) -> the answers of its models, all to the same questions."""
    right = found.groupby(["model", *KEY])["correct"].mean()
    frame = found.drop_duplicates(KEY)[[*KEY, "same"]].sort_values(KEY, kind="stable")
    asked = pd.MultiIndex.from_frame(frame[KEY])

    def of_model(name: str) -> np.ndarray:
        if name not in right.index.get_level_values(0):
            raise InputError(judged, f"has no answer of {name}", "Ask and judge it as the others.")
        values = right.loc[name].reindex(asked)
        if values.isna().any():
            dataset, question, lang = values.index[values.isna()][0]
            what = f"has no answer of {name} to {question} of {dataset} in {lang}, which others have answered"
            raise InputError(judged, what, "Ask all models the same questions in the same languages.")
        return values.to_numpy(np.float64)

    after: dict[tuple[str, str], dict[int, np.ndarray]] = {}
    for row in tuned:
        after.setdefault((row["start"], row["arm"]), {})[row["seed"]] = of_model(row["run"])
    return {(start, arm): _Gap(frame, of_model(start), of) for (start, arm), of in after.items()}


def _rows(
    gap: _Gap, clusters: Mapping[tuple[str, str], str], said: Mapping[str, Any], control: _Gap | None = None
) -> list[dict[str, Any]]:
    """Return the rows of an effect, or of how much larger it is than a control's: of these models, and over seeds."""
    names = [clusters[dataset, question] for dataset, question in gap.first.itertuples(index=False)]
    codes = pd.factorize(pd.Index(names))[0].astype(np.int64)
    values, seeds = gap.values(), gap.seeds
    if control is not None:
        seeds = [seed for seed in seeds if seed in control.seeds]
        if not seeds:
            return []
        values = values[[gap.seeds.index(s) for s in seeds]] - control.values()[[control.seeds.index(s) for s in seeds]]
    sample = Sample(values, codes, seeds)
    rows = []
    for over in (False, True)[: 1 + (len(seeds) > 1)]:
        result = infer([sample], [1.0], over_seeds=over)
        rows.append(
            {
                **said,
                **(gap.accuracies() if control is None else dict.fromkeys(PARTS)),
                "estimate": result.estimate,
                **{key: getattr(result, key) for key in ("lo", "hi", "p")},
                "scope": QUESTIONS_AND_SEEDS if over else QUESTIONS_ONLY,
                "n_questions": len(names),
                "n_clusters": sample.n_clusters,
                "n_seeds": len(seeds),
                "note": notes(few_clusters([sample], [1.0]), of_seeds(len(seeds)) if over else ""),
            }
        )
    return rows
