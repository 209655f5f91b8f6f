"""Effects: gaps between arms, and how often the facts of transferred items were read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from lorebridge import tables
from lorebridge.figures import style
from lorebridge.figures.write import final_checkpoints
from lorebridge.probes.prefixes import behind, prefix_phrase
from lorebridge.transfer.asymmetry import DIRECTIONS
from lorebridge.transfer.contrasts import ALL, STEP0
from lorebridge.transfer.credits import LAST
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY
from lorebridge.transfer.items import PAPER, RISK, occurrence_means
from lorebridge.transfer.power import detectable_effect


def direction_label(direction: str, base: str) -> str:
    """Return how a direction is called.

    >>> direction_label("en->xx", "English")
    'English → other'
    """
    labels = {"en->xx": f"{base} → other", "xx->en": f"other → {base}"}
    return labels.get(direction, " − ".join(f"({labels[part]})" for part in direction.split(" - ") if part in labels))


def published(what: str, planted: bool) -> dict[str, Any]:
    """Return numbers that Zhang et al. (ACL 2025) print; none where the text is a planted world, of another kind."""
    return {} if planted else json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))[what]


def gaps(
    *,
    gaps: Path,
    questions: Mapping[str, Path],
    names: Mapping[str, str],
    base: str,
    last: int,
    discordance: float,
    out: Path,
    prefix: str,
    remark: str = "",
) -> None:
    """Draw the gaps over the last checkpoints: directions in columns, languages in rows, a contrast a colour.

    Args:
        gaps: the table "gaps".
        questions: culture -> table "questions", in the order drawn.
        names: language code -> English name.
        base: code of the base language.
        last: number of final checkpoints pooled.
        discordance: share of questions that exactly one of two models answers, for the smallest detectable effect.
        out: path without suffix; .pdf, .svg and .png are written.
        prefix: what the questions were asked behind.
        remark: what a reader must know of these data; ends the note under the figure.
    """
    table = behind(tables.read(gaps), prefix, gaps)
    shown = (table["step"] == LAST) & (table["scale"] == ALL) & ~table["unleaked"]
    table = table[shown & ~table["contrast"].str.endswith(STEP0)]
    contrasts = list(dict.fromkeys(table["contrast"]))
    n = table.groupby("lang")["n_questions"].first()
    colour = style.contrast_colours(contrasts)
    with style.styled():
        fig, axes = plt.subplots(
            1,
            2,
            layout="constrained",
            figsize=(7.2, 1.1 + len(questions) * (0.3 + 0.22 * len(contrasts))),
            sharey=True,
            sharex=True,
        )
        for ax, direction in zip(axes, DIRECTIONS, strict=True):
            ax.axvline(0, color="0.3", linewidth=0.8)
            for y, culture in enumerate(questions):
                effect = 100 * detectable_effect(n[culture], discordance=discordance)
                ax.fill_betweenx([y - 0.42, y + 0.42], -effect, effect, color="0.92", linewidth=0, zorder=0)
                for i, contrast in enumerate(contrasts):
                    rows = table[
                        (table["lang"] == culture) & (table["direction"] == direction) & (table["contrast"] == contrast)
                    ]
                    if not rows.empty:
                        _gap(ax, rows, y + 0.66 * ((i + 0.5) / len(contrasts) - 0.5), colour[contrast])
            ax.set_title(direction_label(direction, names[base]))
            ax.set_xlabel("gap (percentage points)")
            ax.tick_params(axis="y", length=0)
            ax.xaxis.set_major_locator(MaxNLocator(6))
        seeds = table[table["seed"] != "all"].groupby("lang")["seed"].nunique()
        axes[0].set_yticks(
            range(len(questions)), [f"{names[c]}\nn = {n[c]}\n{style.seeds_phrase(seeds[c])}" for c in questions]
        )
        axes[0].set_ylim(len(questions) - 0.45, -0.55)
        handles = [Line2D([], [], color=colour[c], marker="o", markersize=5, linewidth=1.8, label=c) for c in contrasts]
        note = f"Mean of {final_checkpoints(last)}. Thick: 95 % interval over questions, given these seeds. "
        if seeds.max() > 1:
            handles.append(Line2D([], [], color="0.3", marker="|", markersize=6, linewidth=0, label="one seed"))
            note += "Thin: over questions and seeds. "
        note += (
            f"Smallest detectable effect: 80 % power at 5 %, {100 * discordance:g} % discordant questions, questions "
            f"independent, one seed. Questions {prefix_phrase(prefix)}. {remark}"
        )
        band = Patch(color="0.92", label="below the smallest detectable effect")
        style.legend(fig, [*handles, band], columns=3, note=note)
        style.save(fig, out)


def _gap(ax: plt.Axes, rows: Any, y: float, colour: Any) -> None:
    """Draw one gap at height y: both intervals, the seeds as ticks, the mean as a dot; in percentage points."""
    over = rows[rows["seed"] == "all"].set_index("interval")
    for interval, width in ((QUESTIONS_AND_SEEDS, 0.8), (QUESTIONS_ONLY, 2.4)):
        if interval in over.index:
            ax.hlines(y, 100 * over.loc[interval, "lo"], 100 * over.loc[interval, "hi"], color=colour, linewidth=width)
    single = rows[rows["seed"] != "all"]
    if len(single) > 1:
        ax.scatter(
            100 * single["gap"], np.full(len(single), y), marker="|", s=45, color="0.3", linewidths=0.9, zorder=4
        )
    ax.scatter(
        100 * over.loc[QUESTIONS_ONLY, "gap"], y, s=24, color=colour, edgecolors="white", linewidths=0.6, zorder=5
    )


def occurrences(
    *, transferred: Path, names: Mapping[str, str], base: str, resamples: int, seed: int, planted: bool, out: Path
) -> None:
    """Draw mean occurrences, in the corpus of the source language, of transferred items and of what to compare with.

    Args:
        transferred: the table "items".
        names: language code -> English name.
        base: code of the base language.
        resamples: bootstrap resamples.
        seed: of the bootstrap.
        planted: whether the text is a planted world, beside which the paper's values would say nothing.
        out: path without suffix; .pdf, .svg and .png are written.
    """
    means = occurrence_means(items=transferred, resamples=resamples, seed=seed)
    means = means[means["corpus"] == "source"]
    printed = published("occurrences", planted)
    shown = {
        "transferred,\nas the paper": (PAPER, "transferred"),
        "transferred,\nrisk set": (RISK, "transferred"),
        "rest of\nrisk set": (RISK, "rest of risk set"),
        "all": (PAPER, "all"),
    }
    seeds = tables.read(transferred, columns=["seed"])["seed"].nunique()
    with style.styled():
        fig, axes = plt.subplots(1, 2, layout="constrained", figsize=(7.2, 2.9), sharey=True)
        for ax, direction in zip(axes, DIRECTIONS, strict=True):
            sizes: dict[str, int] = {}
            here = means[means["direction"] == direction].set_index(["selection", "group"])
            for x, (label, (selection, group)) in enumerate(shown.items()):
                [row] = here.loc[[(selection, group)]].to_dict("records")
                sizes[label] = int(row["n_items"])
                colour = style.arm_style("bridge")["color"] if group == "transferred" else "0.45"
                ax.vlines(x, row["lo"], row["hi"], color=colour, linewidth=1.6)
                ax.scatter(x, row["mean"], s=32, color=colour, zorder=3, linewidths=0)
                if selection == PAPER and group in printed.get(direction, {}):
                    ax.scatter(
                        x + 0.22,
                        printed[direction][group],
                        marker="D",
                        s=22,
                        facecolors="none",
                        edgecolors=style.arm_style("no_bridge")["color"],
                        linewidths=1.1,
                    )
            ax.set_xticks(range(len(shown)), [f"{label}\nn = {size:,}" for label, size in sizes.items()])
            ax.set_xlim(-0.5, len(shown) - 0.4)
            ax.set_title(direction_label(direction, names[base]))
        axes[0].set_ylim(0, 1.08 * axes[0].get_ylim()[1])
        axes[0].set_ylabel("mean occurrences in the\nsource language's corpus")
        handles = [
            Line2D([], [], color=style.arm_style("bridge")["color"], marker="o", linewidth=1.6, label="transferred"),
            Line2D([], [], color="0.45", marker="o", linewidth=1.6, label="compared with"),
        ]
        if printed:
            handles.append(
                Line2D(
                    [],
                    [],
                    color=style.arm_style("no_bridge")["color"],
                    marker="D",
                    markerfacecolor="none",
                    markersize=5,
                    linewidth=0,
                    label="Zhang et al. 2025, other corpora",
                )
            )
        style.legend(
            fig,
            handles,
            columns=3,
            note=f"n: questions × seeds ({style.seeds_phrase(seeds)}), all languages. Bars: 95 % interval over "
            "questions, given these seeds; none where the items are too few. As the paper: appendix C.4 to the letter. "
            "Risk set: known in the source, not answered without the bridge, nor before; being known depends on "
            "frequency, so compare transferred items with the rest of their risk set.",
        )
        style.save(fig, out)
