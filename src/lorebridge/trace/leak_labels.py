"""How good the leak report is: a sheet of question and pair for a person to label, flagged and unflagged ones.

Leaks and exposure rest on a rule: a fact is stated where one window of sentences holds its subject and its answer
(:mod:`lorebridge.trace.mentions`). What the rule misses stands among the pairs that it does not flag. These are
hundreds of millions of questions and pairs, nearly all of which have nothing to do with each other, so they are drawn
by what the rule saw of them (:data:`STRATA`), as many of each as of the others where they can be, and weighted back as
those of :mod:`lorebridge.trace.labels` are. Pairs that name neither are a stratum of their own, and are not weighted
back: a single one of a hundred million would outweigh all that is known. Their share is given beside recall, which is
that among pairs that name the subject or the answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.sheets import write_rows
from lorebridge.trace.analysis import script_of
from lorebridge.trace.asked import read_asked, read_questions
from lorebridge.trace.judges import NO, YES, state
from lorebridge.trace.labels import (
    COLUMNS,
    MORE,
    PAIRS,
    UNSURE,
    check_new,
    compared,
    in_turn,
    labelled,
    one_drawing,
    share,
)
from lorebridge.trace.mentions import read_mentions

FLAGGED, NAMED, ANSWERED, NEITHER = STRATA = ("flagged", "subject named", "answer alone", "neither named")
"""What the rule saw in a pair, in either half: one window with both; the subject, but the answer not beside it; the
answer without the subject; nothing."""
MISSED = "stated, neither named"
"""Measure: how many of the pairs that name neither state the fact all the same."""


def write_leak_sheet(
    *,
    culture: str,
    base: str,
    scripts: Mapping[str, str],
    halves: Sequence[Mapping[str, Any]],
    pairs: Path,
    questions: Path,
    recipe: str,
    n: int,
    out: Path,
) -> dict[str, Any]:
    """Write `n` of a culture's questions, each with a pair of its parallel text, as a sheet to be labelled.

    The columns are those of :func:`lorebridge.trace.labels.write_sheet`; "chunk" is the half in the language learned,
    "chunk_translated" the one in the base language, and ``translation_ok`` asks whether they say the same. Whether the
    pair was flagged is not in the sheet, and its rows are in random order.

    Args:
        culture: whose questions.
        base: code of the base language.
        scripts: language -> its Unicode script.
        halves: for each half of the parallel text: lang, and the paths of subjects and mentions.
        pairs: table "pairs".
        questions: table "questions" of the culture.
        recipe: that of the leak report; the same sheet comes again.
        n: rows of the sheet.
        out: a CSV file.

    Returns:
        number of rows by stratum, and of questions and pairs by stratum.

    Raises:
        InputError: there are fewer than `n` to draw from, or `out` exists (it may hold labels) or cannot be written.
    """
    check_new(out)
    names = tables.read(pairs, ["pair_id"])["pair_id"]
    sample, sizes = _draw(culture, halves, len(names), recipe, n, pairs)
    texts = tables.read(pairs, ["en", "xx"]).iloc[sample["piece"]]
    statements = {lang: state(read_questions(questions, lang), script_of(scripts[lang])) for lang in (culture, base)}
    rows = [
        {
            "sheet": f"{culture}-{PAIRS}-{n}-{recipe}",
            "id": name,
            "statement": statements[culture].get(question, ""),
            "statement_translated": statements[base].get(question, ""),
            "chunk": xx,
            "chunk_translated": en,
            **dict.fromkeys(("label", *MORE, "note"), ""),
        }
        for name, question, en, xx in zip(sample["id"], sample["question_id"], texts["en"], texts["xx"], strict=True)
    ]
    write_rows(out, sorted(rows, key=lambda row: row["id"]), COLUMNS)
    return {"rows": sample["stratum"].value_counts().reindex(STRATA, fill_value=0).to_dict(), "sizes": sizes}


def read_leak_sheets(
    *,
    sheets: Sequence[Path],
    halves: Sequence[Mapping[str, Any]],
    pairs: Path,
    recipe: str,
    formerly: str | None = None,
) -> pd.DataFrame:
    """Return how well the leak report agrees with one or two people, and they with each other.

    As :func:`lorebridge.trace.labels.read_sheets`, of questions with pairs that name the subject or the answer; and
    :data:`MISSED`, the share of those that name neither of which a person says that they state the fact.

    Args:
        sheets: one or two labelled sheets of one drawing.
        halves: as of :func:`write_leak_sheet`.
        pairs: table "pairs".
        recipe: that of the leak report.
        formerly: the one that it had before it was adopted, if it was.

    Returns:
        columns measure, between, n (labels), unsure (rows left out), estimate, lo, hi.

    Raises:
        InputError: as :func:`lorebridge.trace.labels.read_sheets`.
    """
    drawn = one_drawing(sheets, recipe, formerly, pairs)
    n_pairs = len(tables.read(pairs, ["pair_id"]))
    sample, sizes = _draw(drawn.lang, halves, n_pairs, drawn.recipe, drawn.n, pairs)
    sample = sample.set_index("id")
    people = labelled(sheets, sample.index)
    near = sample["stratum"] != NEITHER
    told = sample[near]
    weight = told["stratum"].map(pd.Series(sizes) / told["stratum"].value_counts())
    judged = (told["stratum"] == FLAGGED).map({True: YES, False: NO})
    rows = compared(sheets, [person[near] for person in people], judged, weight, "rule")
    for sheet, person in zip(sheets, people, strict=True):
        far = person[~near]
        sure = far != UNSURE
        estimate, lo, hi = share((far[sure] == YES).to_numpy(), np.ones(int(sure.sum())))
        shared = {"between": sheet.name, "n": int(sure.sum()), "unsure": int((~sure).sum())}
        rows.append({"measure": MISSED, **shared, "estimate": estimate, "lo": lo, "hi": hi})
    return pd.DataFrame(rows)


def _draw(
    culture: str, halves: Sequence[Mapping[str, Any]], n_pairs: int, recipe: str, n: int, pairs: Path
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the sample (question_id, piece, stratum, id), and how many questions and pairs each stratum has.

    Questions that neither half can look for are in no stratum.
    """
    found, questions = [], set()
    for half in halves:
        told = {
            one.question_id for one in read_asked(half["subjects"], [culture]) if one.terms and one.gold is not None
        }
        mentions = read_mentions(half["mentions"], ["subject", "object", "n_chunks"])
        found.append(mentions[mentions["question_id"].isin(told)].astype({"question_id": object}))
        questions |= told
    asked = sorted(questions)
    rows = pd.concat(found).groupby(["question_id", "piece"], as_index=False).max()  # sorted by both
    seen = np.select([rows["n_chunks"] > 0, rows["subject"], rows["object"]], STRATA[:3], NEITHER)
    rng = np.random.default_rng(int(recipe, 16))
    queues = []
    for stratum in STRATA[:3]:
        of_stratum = rows.loc[seen == stratum, ["question_id", "piece"]]
        queues.append(of_stratum.iloc[rng.permutation(len(of_stratum))[:n]].assign(stratum=stratum))
    sizes = {stratum: int((seen == stratum).sum()) for stratum in STRATA[:3]}
    sizes[NEITHER] = len(asked) * n_pairs - sum(sizes.values())
    if sum(sizes.values()) < n:
        raise InputError(
            pairs, f"has {sum(sizes.values())} questions and pairs, fewer than the {n} asked for", "Ask for fewer."
        )
    near = set(zip(rows["question_id"], rows["piece"], strict=True))
    far: dict[tuple[str, int], None] = {}
    while len(far) < min(n, sizes[NEITHER]):
        drawn = asked[int(rng.integers(len(asked)))], int(rng.integers(n_pairs))
        if drawn not in near:
            far[drawn] = None
    queues.append(pd.DataFrame(list(far), columns=["question_id", "piece"]).assign(stratum=NEITHER))
    every = pd.concat(queues, ignore_index=True)
    sample = every.loc[in_turn([list(part.index) for _, part in every.groupby("stratum", sort=False)])[:n]]
    keys = sample["question_id"] + "\0" + sample["piece"].astype(str)
    ids = [hashlib.blake2b(f"{recipe}\0{key}".encode(), digest_size=6).hexdigest() for key in keys]
    return sample.assign(id=ids), sizes
