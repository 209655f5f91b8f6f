"""Alarms of a study of removal: signs that its nulls say nothing.

A level that differs in nothing from ``f0`` may mean that nothing is lost, or that there was nothing to lose (in the
published tables one answer of a hundred is right where nothing was removed), that the facts are still there, or that
differences of this size come from orders and weights alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.tokens.levels import BOTH, FILTERS, NEITHER, NOTHING, STATED, TEST
from lorebridge.transfer.alarms import CANNOT_TELL, RINGS, SILENT
from lorebridge.transfer.inference import QUESTIONS_ONLY
from lorebridge.transfer.removal import AGAIN, EVERY, GENERATED, UNTUNED
from lorebridge.transfer.verdicts import EQUIVALENT

FLOOR = "nothing to lose: the positive control is at the floor"
NOWHERE = "questions that no text answers are answered"
STILL_STATED = "the test's facts are still stated"
APART = "removing nothing makes a difference"
TO_DO = {
    FLOOR: "Train longer or a larger model, or ask an easier task, before reading any null: what is not known cannot "
    "be lost.",
    NOWHERE: "Look for the facts in the text and among what models are tuned on; the baseline may be too low.",
    STILL_STATED: "Read the level 'stated', at which no document states them, beside levels of pages.",
    APART: "Take more seeds, and read differences between levels over seeds alone: order and weights make some as "
    "large.",
}
_KEY = ["size", "tuned", "task", "lang"]


def removal_alarms(
    *,
    accuracy: Path,
    equivalence: Path,
    baselines: Sequence[Path],
    filter_sizes: Path | None,
    target: str,
    margin: Mapping[str, float],
    alpha: float,
    out: Path,
) -> dict[str, Any]:
    """Write the table ``removal_alarms``.

    Each is read from what models write (rule ``generated``), by folded exact match or whether the option is right, of
    tuned models where there are any (untuned ones hardly answer, and are asked for comparison):

    - :data:`FLOOR`: at ``f0`` the questions that text does answer - of the split ``both`` where there is one, and of
      the test - are right no more often than the best baseline and the margin together. Then all that models know could
      go and be called equivalent.
    - :data:`NOWHERE`: questions of the split ``neither`` are right more often than the best baseline, by the margin or
      more.
    - :data:`STILL_STATED`: a level leaves facts of the test in the target language.
    - :data:`APART`: models of ``again``, of which nothing was removed either, are told from those of ``f0``, and not by
      less than the margin.

    Args:
        accuracy: the table ``qa_accuracy``.
        equivalence: the table ``equivalence``.
        baselines: tables ``qa_baselines``.
        filter_sizes: the table ``filter_sizes``; None where it is not known.
        target: the language that pages are removed from.
        margin: metric -> the smallest difference of interest.
        alpha: of a family of tests.
        out: the table to write.

    Returns:
        Notes for the record: ``rings``, how many do.
    """
    shown = tables.read(accuracy)
    shown = shown[(shown["rule"] == GENERATED) & (shown["questions"] == EVERY) & (shown["level"] == NOTHING)]
    shown = _tuned(shown[shown["metric"].isin(["em_folded", "correct"])])
    floors = _floors(baselines)
    rows = [*_floor(shown, floors, margin), *_nowhere(shown, floors, margin)]
    rows += _stated(None if filter_sizes is None else tables.read(filter_sizes), target)
    rows += _apart(tables.read(equivalence), alpha)
    heard = {row["name"] for row in rows}
    lacking = {FLOOR: "no level f0", NOWHERE: "no questions of that split", APART: f"no model of level {AGAIN}"}
    rows += [
        {"name": name, "verdict": CANNOT_TELL, "what": f"the study has {why}"}
        for name, why in lacking.items()
        if name not in heard
    ]
    table = pd.DataFrame(rows, columns=tables.SCHEMAS["removal_alarms"].names)
    rings = table["verdict"] == RINGS
    table["to_do"] = table["name"].map(TO_DO).where(rings & ~table["name"].where(rings).duplicated(), "")
    tables.write("removal_alarms", table, out)
    return {"rings": int(rings.sum())}


def _tuned(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of tuned models, or all where none is."""
    tuned = table["tuned"] != UNTUNED
    return table[tuned] if tuned.any() else table


def _floors(baselines: Sequence[Path]) -> dict[tuple[str, str, str], tuple[float, str]]:
    """Return (task, lang, split) -> the best baseline of exact answers or options, and which it is."""
    found: dict[tuple[str, str, str], tuple[float, str]] = {}
    for path in baselines:
        table = tables.read(path)
        for row in table[table["metric"].isin(["em_folded", "correct"])].dropna(subset=["value"]).to_dict("records"):
            key = (row["task"], row["lang"], row["split"])
            found[key] = max(found.get(key, (0.0, "none")), (float(row["value"]), str(row["baseline"])))
    return found


def _of(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {key: row[key] for key in _KEY}


def _shares(row: Mapping[Any, Any]) -> str:
    return f"{100 * row['value']:.1f} % ({100 * row['lo']:.1f} to {100 * row['hi']:.1f})"


def _floor(
    shown: pd.DataFrame, floors: Mapping[tuple[str, str, str], tuple[float, str]], margin: Mapping[str, float]
) -> Iterator[dict[str, Any]]:
    for row in shown[shown["split"].isin([BOTH, TEST])].dropna(subset=["value"]).to_dict("records"):
        if row["metric"] not in margin:
            continue
        floor, which = floors.get((row["task"], row["lang"], row["split"]), (0.0, "none"))
        least = floor + margin[row["metric"]]
        verdict = RINGS if row["value"] <= least else SILENT if row["lo"] > least else CANNOT_TELL
        yield {
            "name": FLOOR,
            **_of(row),
            "verdict": verdict,
            "what": f"split {row['split']}: {_shares(row)} right where nothing was removed; the best baseline "
            f"({which}) has {100 * floor:.1f} %, and the margin is {100 * margin[row['metric']]:.1f} points",
        }


def _nowhere(
    shown: pd.DataFrame, floors: Mapping[tuple[str, str, str], tuple[float, str]], margin: Mapping[str, float]
) -> Iterator[dict[str, Any]]:
    for row in shown[shown["split"] == NEITHER].dropna(subset=["value"]).to_dict("records"):
        if row["metric"] not in margin:
            continue
        floor, which = floors.get((row["task"], row["lang"], row["split"]), (0.0, "none"))
        most = floor + margin[row["metric"]]
        told = row["lo"] > floor and row["value"] >= most
        verdict = RINGS if told else SILENT if row["hi"] <= most else CANNOT_TELL
        yield {
            "name": NOWHERE,
            **_of(row),
            "verdict": verdict,
            "what": f"{_shares(row)} right; the best baseline ({which}) has {100 * floor:.1f} %",
        }


def _stated(sizes: pd.DataFrame | None, target: str) -> Iterator[dict[str, Any]]:
    told = None if sizes is None else sizes[(sizes["lang"] == target) & sizes["residual_facts"].notna()]
    if told is None or told.empty:
        what = "nothing says which documents state the test's facts"
        yield {"name": STILL_STATED, "lang": target, "verdict": CANNOT_TELL, "what": what}
        return
    for row in told[told["level"].isin([*FILTERS, STATED])].to_dict("records"):
        left, n = int(row["residual_facts"]), int(row["n_facts"])
        yield {
            "name": STILL_STATED,
            "lang": target,
            "verdict": RINGS if left else SILENT if n else CANNOT_TELL,
            "what": f"level {row['level']}: {left:,} of {n:,} facts of the test are stated by what is read",
        }


def _apart(table: pd.DataFrame, alpha: float) -> Iterator[dict[str, Any]]:
    """Yield, of each task and language, whether A/A models are told from each other over all its splits."""
    own = table[(table["contrast"] == f"{AGAIN} - {NOTHING}") & (table["rule"] == GENERATED)]
    own = own[(own["questions"] == EVERY) & own["metric"].isin(["em_folded", "correct"]) & (own["split"] == TEST)]
    own = _tuned(own[own["scope"] == QUESTIONS_ONLY])
    for row in own.dropna(subset=["estimate"]).to_dict("records"):
        told = row["p_family"] <= alpha
        # Below the margin a difference does not matter, be it there or not.
        within = row["verdict"] == EQUIVALENT
        verdict = SILENT if within else RINGS if told else CANNOT_TELL
        how = "within the margin" if within else "told from 0" if told else "neither is shown"
        yield {
            "name": APART,
            **_of(row),
            "verdict": verdict,
            "what": f"{100 * row['estimate']:+.1f} points ({100 * row['lo']:+.1f} to {100 * row['hi']:+.1f}) on the "
            f"test between models of which nothing was removed: {how}, given these models"
            + ("" if np.isnan(row["margin"]) else f"; the margin is {100 * row['margin']:.1f}"),
        }
