"""How good a judge of answers is: a sheet of judged answers that people label without the verdict, and its reading.

As with the judge of passages (:mod:`lorebridge.trace.labels`), the sample is stratified by the verdict, here within
each set of questions, and what is estimated from it is weighted back to all judged answers but the empty ones, which no
judge reads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes.answering import called
from lorebridge.probes.openqa import read_asked
from lorebridge.records import file_digest, fingerprint
from lorebridge.sheets import read_rows, write_rows
from lorebridge.trace.judges import NO, YES
from lorebridge.trace.labels import UNSURE, check_new, compared, in_turn, labelled, share

COLUMNS = ("sheet", "id", "lang", "question", "right", "answer", "label", "note")
KEY = ["dataset", "question_id", "target_lang"]
_ANSWER = [*KEY, "model", "hint", "sample"]


def write_grade_sheet(
    *, judged: Path, answers: Sequence[Path], questions: Sequence[Path], judge: str, n: int, out: Path
) -> dict[str, int]:
    """Write `n` judged answers as a sheet: does the answer say the same as one that is right?

    It shows question, right answers and the answer, and neither verdict nor model; rows stand in random order, which is
    that of digests, so that the same sheet comes again. Empty answers, which no judge reads, are left out.

    Args:
        judged: table ``judged``.
        answers, questions: what it was made from.
        judge: whose verdicts.
        n: rows of the sheet.
        out: a CSV file.

    Returns:
        Rows of the sheet by stratum.

    Raises:
        InputError: fewer answers than `n`, no such judge, `out` exists, or tables that do not belong together.
    """
    check_new(out)
    told = _told(judged, judge, answers)
    asked = pd.concat([read_asked(path) for path in questions], ignore_index=True).rename(columns={"lang": KEY[2]})
    drawn = _drawn(told, n, judged).reset_index()
    shown = drawn.merge(asked[[*KEY, "question", "answers"]], on=KEY, how="left", validate="many_to_one")
    if shown["question"].isna().any():
        raise InputError(judged, "judges what is not among the questions", "Give those that it is made from.")
    rows = [
        {
            "sheet": f"answers-{n}-{_mark(judged, judge)}",
            "id": row["id"],
            "lang": row["target_lang"],
            "question": row["question"],
            "right": "\n".join(row["answers"]),
            "answer": row["answer"],
            "label": "",
            "note": "",
        }
        for row in shown.sort_values("id").to_dict("records")
    ]
    write_rows(out, rows, COLUMNS)
    return {str(stratum): int(size) for stratum, size in drawn["stratum"].value_counts().sort_index().items()}


def read_grade_sheets(*, sheets: Sequence[Path], judged: Path, answers: Sequence[Path], judge: str) -> pd.DataFrame:
    """Return how well a judge agrees with one or two people, and they with each other.

    Args:
        sheets: one or two labelled sheets of one drawing.
        judged, answers: the tables that they were drawn from.
        judge: whose verdicts.

    Returns:
        measure, between, n, unsure, estimate, lo, hi: as :func:`lorebridge.trace.labels.read_sheets`, and
        ``agreement``, the share of all judged answers of which both say the same.

    Raises:
        InputError: a sheet was drawn from other verdicts, lacks rows, or has a label that is none.
    """
    told, mark = _told(judged, judge, answers), _mark(judged, judge)
    drawn = set()
    for sheet in sheets:
        rows = read_rows(
            sheet, {"sheet", "id", "label"}, what="labelling sheet", mend="Write one with `lorebridge grade-sheet`."
        )
        names = {row["sheet"] for row in rows}
        match = re.fullmatch("answers-([0-9]+)-([0-9a-f]{16})", next(iter(names)))
        if len(names) > 1 or match is None:
            mend = "Put back what `lorebridge grade-sheet` wrote there."
            raise InputError(sheet, "its column `sheet` was changed", mend)
        if match[2] != mark:
            mend = "Give the table and the judge that it was drawn from."
            raise InputError(sheet, f"was drawn from other verdicts than those of {judge} in {judged}", mend)
        drawn.add(int(match[1]))
    if len(drawn) > 1:
        raise InputError(sheets[1], f"is another drawing than {sheets[0]}", "Give two people the same sheet.")
    sample = _drawn(told, drawn.pop(), judged).sort_index()
    people = labelled(sheets, sample.index)
    sizes = told["stratum"].value_counts() / sample["stratum"].value_counts()
    weight = sample["stratum"].map(sizes)
    verdicts = sample["correct"].map({True: YES, False: NO})
    agreed = _agreements(sheets, people, verdicts, weight)
    return pd.DataFrame([*agreed, *compared(sheets, people, verdicts, weight, "judge")])


def _agreements(
    sheets: Sequence[Path], people: Sequence[pd.Series], verdicts: pd.Series, weight: pd.Series
) -> list[dict[str, Any]]:
    rows = []
    for sheet, person in zip(sheets, people, strict=True):
        sure = person != UNSURE
        found = share((person[sure] == verdicts[sure]).to_numpy(), weight[sure].to_numpy(float))
        told = {"between": f"judge and {sheet.name}", "n": int(sure.sum()), "unsure": int((~sure).sum())}
        rows.append({"measure": "agreement", **told, **dict(zip(("estimate", "lo", "hi"), found, strict=True))})
    return rows


def _mark(judged: Path, judge: str) -> str:
    """Return what tells the verdicts of a judge from others."""
    return fingerprint([file_digest(judged), judge])


def _told(judged: Path, judge: str, answers: Sequence[Path]) -> pd.DataFrame:
    """Return the verdicts of a judge on answers that say something, by id, with the answers and their strata."""
    table = tables.read(judged)
    own = table[table["judge"] == judge].copy()
    if own.empty:
        has = ", ".join(sorted(table["judge"].unique()))
        raise InputError(f"judge {judge}", f"has no verdict in {judged}", f"Choose one of: {has}.")
    own["id"] = [fingerprint([judge, *map(str, row)])[:12] for row in own[_ANSWER].itertuples(index=False)]
    own["stratum"] = own["dataset"] + ", " + own["correct"].map({True: "right", False: "wrong"})
    said = pd.concat([tables.read(path, [*_ANSWER, "step", "answer"]) for path in answers], ignore_index=True)
    said = said.assign(model=called(said)).drop(columns="step")
    own = own.merge(said, on=_ANSWER, how="left", validate="one_to_one")
    if own["answer"].isna().any():
        raise InputError(judged, "judges what is not among the answers", "Give those that it is made from.")
    return own[own["answer"] != ""].set_index("id")


def _drawn(told: pd.DataFrame, n: int, judged: Path) -> pd.DataFrame:
    if n > len(told):
        raise InputError(judged, f"has {len(told)} verdicts, fewer than the {n} asked for", "Ask for fewer.")
    queues = [sorted(rows.index) for _, rows in told.groupby("stratum", sort=True)]
    return told.loc[in_turn(queues)[:n]]
