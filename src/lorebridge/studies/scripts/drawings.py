"""The figures and the tables of a study of scripts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from lorebridge import tables
from lorebridge.figures import style
from lorebridge.figures.write import write_table
from lorebridge.transfer.cells import SOURCE_RIGHT
from lorebridge.transfer.methods import LINEAR, ROWS
from lorebridge.transfer.tuning import PARTS

SCRIPT, FAMILY = "same script", "same family"
LABELS = {LINEAR: "headline: labels dealt out", ROWS: "rows: what not to do"}
"""Method -> how a figure calls it; the others by their names."""


def effects(*, script_effects: Path, out: Path) -> None:
    """Draw the effects of one script and one family by method, and the headline by model.

    Args:
        script_effects: the table.
        out: path without suffix.
    """
    table = tables.read(script_effects)
    sets = list(dict.fromkeys(table["dataset"]))
    lines = {name: _lines(table[table["dataset"] == name]) for name in sets}
    longest = max(map(len, lines.values()))
    colours = style.palette()
    with style.styled():
        fig, axes = plt.subplots(
            1, len(sets), layout="constrained", squeeze=False, figsize=(style.PRINTED, 1.3 + 0.24 * longest)
        )
        for ax, name in zip(axes[0], sets, strict=True):
            for place, (_, rows) in enumerate(lines[name]):
                for row in rows.to_dict("records"):
                    y = place + (0.14 if row["term"] == FAMILY else -0.14 if len(rows) > 1 else 0)
                    headline = row["method"] == LINEAR and row["given"] == SOURCE_RIGHT
                    ax.errorbar(
                        100 * row["estimate"],
                        y,
                        xerr=_reach(row),
                        fmt="s" if row["term"] == FAMILY else "o",
                        color=colours[1 if row["term"] == FAMILY else 0],
                        markerfacecolor=None if headline else "white",
                        markersize=4,
                        linewidth=1,
                    )
            ax.axvline(0, color="0.6", linewidth=0.7, zorder=0)
            ax.set_yticks(range(len(lines[name])), [label for label, _ in lines[name]])
            ax.set_ylim(len(lines[name]) - 0.5, -0.5)
            ax.set_xlabel("effect, points")
            ax.set_title(name)
        handles = [
            plt.Line2D([], [], marker=marker, linestyle="", color=colours[colour], label=label)
            for marker, colour, label in (("o", 0, SCRIPT), ("s", 1, FAMILY))
        ]
        fig.legend(handles=handles, loc="outside lower center", ncols=2)
        style.save(fig, out)
        plt.close(fig)


def _lines(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the lines of a panel: the headline, it without the condition, by model, and then the other methods."""
    told = table.dropna(subset=["estimate"])
    pooled = told[told["model"].isna()]
    right = pooled[pooled["given"] == SOURCE_RIGHT]
    found = [(LABELS[LINEAR], right[right["method"] == LINEAR])]
    found += [(str(model), rows) for model, rows in told[told["model"].notna()].groupby("model", sort=True)]
    found.append(("all answers", pooled[pooled["given"] != SOURCE_RIGHT]))
    others = sorted(dict.fromkeys(right["method"]), key=lambda method: method == ROWS)
    found += [(LABELS.get(m, m), right[right["method"] == m]) for m in others if m != LINEAR]
    return [(label, rows) for label, rows in found if len(rows)]


def _reach(row: Mapping[Any, Any]) -> np.ndarray:
    """Return how far an interval reaches to either side, in points; 0 where it has no end."""
    ends = [row["estimate"] - row["lo"], row["hi"] - row["estimate"]]
    return 100 * np.array([[0.0 if pd.isna(end) else max(end, 0.0)] for end in ends])


def influence(*, script_influence: Path, languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Draw how much of the information on one script stands with each language, and the effect without it.

    Args:
        script_influence: the table.
        languages: code -> ``name, script, family``.
        out: path without suffix.
    """
    table = tables.read(script_influence)
    table = table[table["term"] == SCRIPT]
    sets = list(dict.fromkeys(table["dataset"]))
    heights = [0.9 + 0.14 * int((table["dataset"] == name).sum()) for name in sets]
    colour = style.palette()[0]
    with style.styled():
        fig, axes = plt.subplots(
            len(sets),
            2,
            layout="constrained",
            squeeze=False,
            sharey="row",
            figsize=(style.PRINTED, sum(heights)),
            height_ratios=heights,
        )
        for (left, right), name in zip(axes, sets, strict=True):
            rows = table[table["dataset"] == name].sort_values("information", kind="stable").reset_index(drop=True)
            left.barh(rows.index, rows["information"], color="0.75")
            style.percent(left.xaxis)
            left.set_yticks(rows.index, [f"{languages[lang]['name']} ({lang})" for lang in rows["lang"]], fontsize=7)
            left.set_ylim(-0.7, len(rows) - 0.3)
            left.set_xlabel("information, %")
            left.set_title(name)
            for place, row in rows.dropna(subset=["estimate"]).iterrows():
                right.errorbar(
                    100 * row["estimate"], place, xerr=_reach(row), fmt="o", color=colour, markersize=3, linewidth=0.9
                )
            right.axvline(0, color="0.6", linewidth=0.7, zorder=0)
            right.set_xlabel("effect without it, points")
        style.save(fig, out)
        plt.close(fig)


def effects_table(*, script_effects: Path, out: Path) -> None:
    """Write all effects, in points."""
    table = tables.read(script_effects)
    points = ["estimate", "lo", "hi", "pair_sd"]
    table[points] = 100 * table[points].astype(float)
    shown = table.drop(columns=["n_pairs", "n_languages"]).rename(columns={"given": "answers"})
    caption = (
        "Average marginal effects of one script and of one family on whether an answer in another language is right, "
        "in points, with intervals of 95 %. The method permutation is the headline: its p is exact over all ways to "
        "deal out labels to the languages, and its interval holds the effects that this test does not reject. Rows "
        "with a model are of it alone. The method rows is what not to do. pair_sd is how much pairs of languages "
        "differ beyond script and family."
    )
    numbers = dict.fromkeys(points, ".1f") | {"p": ".3f", "vif": ".1f"}
    write_table(shown, out, caption, numbers)


def influence_table(*, script_influence: Path, languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Write the effects without each language, in points."""
    table = tables.read(script_influence)
    points = ["information", "estimate", "lo", "hi"]
    table[points] = 100 * table[points].astype(float)
    table.insert(1, "language", [languages[lang]["name"] for lang in table["lang"]])
    caption = (
        "What the effects rest on: the share of the information on a term that stands in pairs with a language, in "
        "percent, and the effect without it, in points."
    )
    write_table(table.drop(columns="lang"), out, caption, dict.fromkeys(points, ".1f") | {"p": ".3f"})


def predictors_table(*, script_predictors: Path, out: Path) -> None:
    """Write what each predictor explains of how pairs of languages differ."""
    table = tables.read(script_predictors)
    shares = ["r2_alone", "r2_last", "r2_shapley"]
    table[shares] = 100 * table[shares]
    caption = (
        "What explains how pairs of languages differ, effects of questions and languages taken out, in percent: alone, "
        "beside all others, and on average over the orders in which predictors may enter (Shapley). vif is how many "
        "times larger the variance of a predictor's effect is because of the others and of the effects."
    )
    write_table(table, out, caption, dict.fromkeys(shares, ".1f") | {"vif": ".1f"})


def power_table(*, script_power: Path, out: Path) -> None:
    """Write what effect of one script sets of questions can show, in points."""
    table = tables.read(script_power)
    table[["effect", "pair_sd"]] = 100 * table[["effect", "pair_sd"]].astype(float)
    caption = (
        "The smallest effect of one script that is found in 80 % (two-sided, 5 %), in points, before any model is "
        "asked: with so many models, right in a share known of the questions in their own language and in a share "
        "right of these in another, where pairs of languages differ by pair_sd points."
    )
    write_table(table, out, caption, {"effect": ".1f", "pair_sd": ".1f", "known": ".2f", "right": ".2f"})


def tuning_table(*, tuning_effects: Path, out: Path) -> None:
    """Write by how much tuning narrows the gap between scripts, in points."""
    table = tables.read(tuning_effects)
    points = [*PARTS, "estimate", "lo", "hi"]
    table[points] = 100 * table[points].astype(float)
    caption = (
        "By how much tuning narrows the gap between answers in a question's own script (same) and in another (cross), "
        "in points: (same - cross) before - (same - cross) after, with intervals of 95 % over clusters of questions, "
        "and over seeds where there are several. Rows with minus say how much more a set does than that control. A gap "
        "may also narrow because answers in the same script become worse: see the accuracies."
    )
    write_table(table, out, caption, dict.fromkeys(points, ".1f") | {"p": ".3f"})


def tuning_rows_table(*, audit: Path, out: Path) -> None:
    """Write what became of the rows that were made of spellings."""
    caption = (
        "Rows of tuning made of pairs of spellings, and questions held out; and what was left out: rows whose most "
        "attested candidate ends in another answer (wrong end), and those that no candidate is ahead in (undecided)."
    )
    write_table(tables.read(audit), out, caption)


def hints_table(*, hint_effects: Path, out: Path) -> None:
    """Write by how much hints help, and how much more in another script, in points."""
    table = tables.read(hint_effects)
    shares = ["same", "other", "estimate", "lo", "hi"]
    table[shares] = 100 * table[shares].astype(float)
    caption = (
        "How much more often an answer is right with a hint than without it, in the question's own script (same) and "
        "in others (other), in points, of models that are right in the question's own language; and by how much more "
        "it helps in another script (estimate), effects of questions, target languages and family taken out, with the "
        "interval and p of labels dealt out over languages."
    )
    write_table(table, out, caption, dict.fromkeys(shares, ".1f") | {"p": ".3f"})
