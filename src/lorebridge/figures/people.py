"""The tables on people of the Anglosphere: gaps beside those on culture, and who is named where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from lorebridge import tables
from lorebridge.figures.effects import published
from lorebridge.figures.write import final_checkpoints, write_table
from lorebridge.transfer.people import DIFFERENCE, EVERY, PEOPLE


def people(*, people_gaps: Path, names: Mapping[str, str], base: str, last: int, planted: bool, out: Path) -> None:
    """Write the gaps on people and on culture over the last checkpoints, in points and relative, in percent.

    Args:
        people_gaps: the table "people_gaps".
        names: language code -> English name.
        base: code of the base language.
        last: number of final checkpoints pooled.
        planted: whether the people are of a planted world, with which no published value compares.
        out: path without suffix; .csv, .md and .tex are written.
    """
    table = tables.read(people_gaps).drop(columns=["langs", "n_seeds"])
    table["lang"] = table["lang"].map({**names, EVERY: "mean of all"})
    table["attribute"] = table["attribute"].str.replace("_", " ")
    percent = ["accuracy", "accuracy_reference", "gap", "lo", "hi", "relative", "relative_lo", "relative_hi"]
    table[percent] *= 100
    beside = ""
    if not planted:
        told = table["questions"].isin([PEOPLE, DIFFERENCE]) & (table["attribute"] == EVERY)
        gain = published("people", planted)["gain"]
        table["published"] = told.map({True: float(gain), False: float("nan")})
        beside = (
            f" published: Zhang et al. (ACL 2025), appendix D, say {gain} % higher, and not than what: "
            "it stands beside every reading."
        )
    write_table(
        table.rename(columns={"lang": "language"}),
        out,
        f"Questions on people of whom only {names[base]} text tells, asked in the language that is learned, beside the "
        f"questions on culture: mean of {final_checkpoints(last)}. gap: first arm − second arm (percentage points). "
        "relative: the gap over the accuracy of the second arm; of 'people - culture' the gap on people over that on "
        "culture, less one (%). 95 % intervals by Student's t, of ratios by Fieller's method, missing where the "
        "denominator is not told from 0. A person is a cluster of questions. The mean of all languages weighs them "
        f"equally.{beside}",
        dict.fromkeys(percent, ".1f") | {"published": ".0f"},
    )


def isolation(
    *,
    people_mentions: Sequence[Path],
    people_questions: Mapping[str, Path],
    names: Mapping[str, str],
    base: str,
    out: Path,
) -> None:
    """Write for every text how many of the people it names, and what is asked in each language.

    Args:
        people_mentions: tables "people_mentions", one a stream.
        people_questions: language learned -> table "questions".
        names: language code -> English name.
        base: code of the base language.
        out: path without suffix; .csv, .md and .tex are written.
    """
    counts = pd.concat([tables.read(path) for path in people_mentions], ignore_index=True)
    rows = []
    for _, of_stream in counts.groupby("stream", sort=False):
        lang, pairs = of_stream["lang"].iloc[0], of_stream["pairs"].iloc[0]
        row = {
            "text": names[lang] if pd.isna(pairs) else f"{names[base]}–{names[pairs]} pairs",
            "language": names[lang],
            "people": len(of_stream),
            "named": int((of_stream["n_documents"] > 0).sum()),
            "median_documents": float(of_stream["n_documents"].median()),
            "documents": int(of_stream["n_documents"].sum()),
        }
        asked = tables.read(people_questions[lang]).drop_duplicates("question_id") if lang != base else None
        row["questions"] = float("nan") if asked is None else len(asked)
        row["left_out"] = float("nan") if asked is None else sum("clean" not in subset for subset in asked["subset"])
        rows.append(row)
    write_table(
        pd.DataFrame(rows),
        out,
        "How many of the people who are asked about each text names, as whole words in the spelling of the base "
        "language: documents (or pairs) that name anybody, summed over people, and the median over people. left out: "
        "questions on people whom some text in the language that is learned names.",
    )
