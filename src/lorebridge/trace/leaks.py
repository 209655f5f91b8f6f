"""The leak report: which facts that questions ask for the parallel text states outright.

A bridge is to carry over what a model knows in one language. Where the parallel text itself states the fact, a right
answer may have been read there, in either arm: such questions are flagged and results given without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lorebridge import tables
from lorebridge.corpora.pieces import check_numbering, numbered_by, numbering
from lorebridge.errors import InputError
from lorebridge.trace.mentions import read_mentions

LISTED = 20  # pairs that a row names


def leaks(*, halves: Sequence[Mapping[str, Any]], out: Path) -> dict[str, int]:
    """Find the pairs of a culture's parallel text that state a fact in one of their halves, and write table "leaks".

    Args:
        halves: for each culture and each half of its parallel text: culture, lang (the half's language), and the paths
            of subjects and mentions (of the half) and of pairs.
        out: where to write.

    Returns:
        Notes for the record: the number of rows, and of rows with a pair that states the fact.

    Raises:
        InputError: a table is missing, or tables do not belong together.
    """
    rows = []
    for entry in halves:
        asked = tables.read(entry["subjects"], ["question_id", "culture", "terms", "gold"])
        asked = asked[asked["culture"] == entry["culture"]]
        names = tables.read(entry["pairs"], ["pair_id"])["pair_id"]
        found = read_mentions(entry["mentions"], ["subject", "n_chunks"])
        check_numbering(entry["mentions"], numbered_by(entry["mentions"]), numbering([entry["pairs"]]))
        if len(found) and found["piece"].max() >= len(names):
            raise InputError(entry["mentions"], f"names more pairs than {entry['pairs']} has", "Remake the mentions.")
        stated = found[found["n_chunks"] > 0].groupby("question_id", observed=True)["piece"].apply(list).to_dict()
        about = found[found["subject"]].groupby("question_id", observed=True).size().to_dict()
        for row in asked.itertuples():
            named = len(row.terms) > 0
            told = named and isinstance(row.gold, str)
            pieces = sorted(stated.get(row.question_id, []))
            rows.append(
                {
                    "question_id": row.question_id,
                    "culture": entry["culture"],
                    "lang": entry["lang"],
                    "n_pairs": len(pieces) if told else None,
                    "pair_ids": [names.iloc[piece] for piece in pieces[:LISTED]],
                    "n_subject_pairs": about.get(row.question_id, 0) if named else None,
                }
            )
    tables.write("leaks", rows, out)
    return {"n_rows": len(rows), "n_leaked": sum(bool(row["n_pairs"]) for row in rows)}


def leak_report(leaks: pd.DataFrame) -> pd.DataFrame:
    """Sum up table "leaks": one row for each culture and half, and one (lang "either") for the two together.

    Returns:
        culture, lang, questions, told (questions whose subject and answer can be looked for), covered (whose subject
        some pair names), leaked (whose fact some pair states), share (leaked / told), pairs (that state a fact, summed
        over questions). "either" takes a question for told, covered or leaked where one half does.
    """
    rows = leaks.assign(
        told=leaks["n_pairs"].notna(),
        covered=leaks["n_subject_pairs"].fillna(0) > 0,
        leaked=leaks["n_pairs"].fillna(0) > 0,
        pairs=leaks["n_pairs"].fillna(0),
    )
    either = rows.groupby(["culture", "question_id"], as_index=False, sort=False)[
        ["told", "covered", "leaked", "pairs"]
    ].agg({"told": "any", "covered": "any", "leaked": "any", "pairs": "sum"})
    both = pd.concat([rows, either.assign(lang="either")])
    grouped = both.groupby(["culture", "lang"], sort=False)
    report = grouped.agg(
        questions=("question_id", "nunique"),
        told=("told", "sum"),
        covered=("covered", "sum"),
        leaked=("leaked", "sum"),
        pairs=("pairs", "sum"),
    )
    report.insert(4, "share", report["leaked"] / report["told"].where(report["told"] > 0))
    report["pairs"] = report["pairs"].astype(int)
    order = {culture: place for place, culture in enumerate(leaks["culture"].unique())}
    return report.reset_index().sort_values("culture", key=lambda c: c.map(order), kind="stable", ignore_index=True)


def leaked(leaks: pd.DataFrame) -> set[str]:
    """Return the questions whose fact some pair states in either half."""
    return set(leaks.loc[leaks["n_pairs"].fillna(0) > 0, "question_id"])


def coverage_found(leaks: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Return how many of the entities that the parallel text mentions are found there, in a planted world.

    Args:
        leaks: the table "leaks".
        truth: the table "truth" of the same world.

    Returns:
        a row a culture and half: culture, lang, questions, covered (those whose entity the pairs mention), found (those
        whose subject some pair is found to name), both, recall (both / covered), precision (both / found).
    """
    known = truth.drop_duplicates("question_id").set_index("question_id")["covered"].astype(bool)
    rows = leaks.assign(covered=leaks["question_id"].map(known), found=leaks["n_subject_pairs"].fillna(0) > 0)
    rows["both"] = rows["covered"] & rows["found"]
    sums = rows.groupby(["culture", "lang"], sort=False).agg(
        questions=("question_id", "nunique"), covered=("covered", "sum"), found=("found", "sum"), both=("both", "sum")
    )
    sums["recall"], sums["precision"] = sums["both"] / sums["covered"], sums["both"] / sums["found"]
    return sums.reset_index()
