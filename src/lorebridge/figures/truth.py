"""What only a planted world shows: what tracing finds of what is there, and what crosses by how often it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from lorebridge import tables
from lorebridge.figures import style
from lorebridge.figures.effects import direction_label
from lorebridge.figures.write import final_checkpoints
from lorebridge.probes.prefixes import prefix_phrase
from lorebridge.transfer.asymmetry import DIRECTIONS
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS
from lorebridge.transfer.planted import dose_response as measured

_STAGES = {
    "retrieval": ("o", "no_bridge", "retrieved"),
    "judged": ("D", "bridge", "retrieved and judged"),
    "exact": ("^", "placebo", "counted in every document"),
    "told apart": ("s", "labels_only", "counted, where the answer stands out from the distractors"),
}
_SHIFT = 0.24


def recovery(*, recovery: Path, names: Mapping[str, str], out: Path) -> None:
    """Draw recall and precision of the documents that state a planted fact, by corpus and by how often it is stated.

    Args:
        recovery: the table "recovery".
        names: language code -> English name.
        out: path without suffix; .pdf, .svg and .png are written.
    """
    table = tables.read(recovery)
    places = list(dict.fromkeys(zip(table["culture"], table["corpus"], strict=True)))
    stages = [stage for stage in _STAGES if (table["stage"] == stage).any()]
    with style.styled():
        fig = plt.figure(layout=ConstrainedLayoutEngine(wspace=0.06), figsize=(7.0, 3.4 + 0.4 * len(places)))
        upper, lower = fig.subfigures(2, 1, height_ratios=[0.5 + 0.4 * len(places), 1.9], squeeze=False)[:, 0]
        _by_place(upper, table[table["dose"].isna()], places, stages, names)
        _by_dose(lower, table.dropna(subset="dose"), stages)
        style.legend(
            fig,
            [
                Line2D(
                    [], [], marker=marker, markersize=5, linewidth=0, color=style.arm_style(arm)["color"], label=label
                )
                for marker, arm, label in (_STAGES[stage] for stage in stages)
            ],
            columns=2,
            note="Unit: a document that states the fact of a question, by the world's own record. Right of each upper "
            "panel, for judged documents: rightly found / all that state it (recall), / all found (precision). Below: "
            "all corpora together, by the number of documents that mention the subject; what coincides lies in each "
            "other.",
        )
        style.save(fig, out)


def _by_place(
    panel: plt.SubFigure, rows: pd.DataFrame, places: list[tuple[str, str]], stages: list[str], names: Mapping[str, str]
) -> None:
    """Draw recall and precision: a row for each culture and corpus."""
    axes = panel.subplots(1, 2, sharey=True, sharex=True)
    shift = dict(zip(stages, np.linspace(-_SHIFT, _SHIFT, len(stages)), strict=True))
    for ax, measure, whole in zip(axes, ("recall", "precision"), ("true_documents", "recovered"), strict=True):
        for y, (culture, corpus) in enumerate(places):
            ax.axhline(y, color="0.9", linewidth=0.7, zorder=0)
            here = rows[(rows["culture"] == culture) & (rows["corpus"] == corpus)].set_index("stage")
            for stage in stages:
                marker, arm, _ = _STAGES[stage]
                ax.scatter(
                    here.loc[stage, measure],
                    y + shift[stage],
                    marker=marker,
                    s=30,
                    linewidths=0,
                    zorder=3,
                    color=style.arm_style(arm)["color"],
                    clip_on=False,
                )
            right, among = (int(here[column]["judged"]) for column in ("recovered_true", whole))
            share = f"{right:,} / {among:,}"
            ax.annotate(
                share, (1.04, y), xycoords=("axes fraction", "data"), va="center", fontsize=7.5, annotation_clip=False
            )
        ax.set_xlim(-0.02, 1.02)
        ax.set_xticks(np.linspace(0, 1, 5), ["0", "25", "50", "75", "100"])
        ax.set_xlabel(f"{measure} (%)")
        ax.tick_params(axis="y", length=0)
    axes[0].set_yticks(
        range(len(places)), [f"{names[culture]} facts, {names[corpus]} corpus" for culture, corpus in places]
    )
    axes[0].set_ylim(len(places) - 0.5, -0.5)


def _by_dose(panel: plt.SubFigure, rows: pd.DataFrame, stages: list[str]) -> None:
    """Draw recall and precision by dose, the documents of all corpora pooled."""
    axes = panel.subplots(1, 2, sharey=True, sharex=True)
    counts = rows.groupby(["stage", "dose"])[["recovered_true", "true_documents", "recovered"]].sum()
    doses = sorted(rows["dose"].unique())
    for ax, measure, whole in zip(axes, ("recall", "precision"), ("true_documents", "recovered"), strict=True):
        for i, stage in enumerate(stages):
            marker, arm, _ = _STAGES[stage]
            wide = len(stages) - i  # what is drawn first is seen around what lies on it
            of_stage = counts.xs(stage, level="stage")
            share = 100 * of_stage["recovered_true"] / of_stage[whole].where(of_stage[whole] > 0)
            ax.plot(
                share.index,
                share.to_numpy(),
                marker=marker,
                markersize=3 + 1.7 * wide,
                markeredgewidth=0,
                linewidth=1.3 * wide - 0.3,
                color=style.arm_style(arm)["color"],
                clip_on=False,
            )
        ax.set_xscale("log", base=2)
        ax.set_xticks(doses, [f"{dose:g}" for dose in doses])
        ax.minorticks_off()
        ax.set_ylim(0, 102)
        ax.set_xlabel("documents that mention the subject")
        ax.set_ylabel(f"{measure} (%)")


def dose_response(
    *,
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    truth: Path,
    names: Mapping[str, str],
    base: str,
    contrasts: Sequence[Sequence[str]],
    subset: str,
    rule: str,
    last: int,
    remark: str,
    out: Path,
    prefix: str,
) -> None:
    """Draw accuracies and gaps by how often the source language alone states the fact, covered by pairs or not.

    Args:
        scores: tables "scores", one a run.
        questions: culture -> table "questions".
        truth: table "truth".
        names: language code -> English name.
        base: code of the base language.
        contrasts: pairs of arms; the gap of the first is drawn.
        subset: which questions count.
        rule: how options are compared.
        last: number of final checkpoints pooled.
        remark: a caveat to print.
        out: path without suffix; .pdf, .svg and .png are written.
        prefix: what the questions were asked behind.
    """
    table = measured(
        scores=scores,
        questions=questions,
        truth=truth,
        base=base,
        contrasts=contrasts,
        subset=subset,
        rule=rule,
        last=last,
        prefix=prefix,
    )
    interval = QUESTIONS_AND_SEEDS if (table["interval"] == QUESTIONS_AND_SEEDS).any() else table["interval"].iloc[0]
    table = table[table["interval"] == interval]
    over = "questions and seeds" if interval == QUESTIONS_AND_SEEDS else "questions, given these seeds"
    arms = list(dict.fromkeys(arm for contrast in contrasts for arm in contrast))
    gap = " - ".join(contrasts[0])
    doses = sorted(table["dose"].unique())
    with style.styled():
        fig, axes = plt.subplots(3, 2, layout="constrained", sharex=True, sharey="row", figsize=(7.0, 6.4))
        for column, direction in enumerate(DIRECTIONS):
            title = direction_label(direction, names[base])
            rows = table[table["direction"] == direction]
            for ax, covered in zip(axes[:2, column], (True, False), strict=True):
                ax.axhline(25, color="0.7", linewidth=0.8, linestyle=":", zorder=0)
                for arm in arms:
                    here = rows[(rows["quantity"] == arm) & (rows["covered"] == covered)]
                    _with_intervals(ax, here, doses, _offset(arms, arm), **style.arm_style(arm))
                ax.set_title(f"{title}, entity {'' if covered else 'not '}in parallel text")
            ax = axes[2, column]
            ax.axhline(0, color="0.7", linewidth=0.8, zorder=0)
            for covered, face in ((True, "black"), (False, "white")):
                here = rows[(rows["quantity"] == gap) & (rows["covered"] == covered)]
                _with_intervals(
                    ax, here, doses, _offset([True, False], covered), color="black", marker="D", markerfacecolor=face
                )
            ax.set_title(f"{title}, {gap}")
            ax.set_xticks(range(len(doses)), [f"{dose:,}" for dose in doses])
            ax.set_xlabel("dose: documents that state the fact")
        for ax, label in zip(axes[:, 0], ("accuracy (%)", "accuracy (%)", "gap (points)"), strict=True):
            ax.set_ylabel(label)
            low, high = ax.get_ylim()  # an interval from few questions may reach beyond what there is
            ax.set_ylim(max(low, -100.0 if "gap" in label else 0.0), min(high, 100.0))
        style.legend(
            fig,
            [
                *style.arm_handles(arms),
                *(
                    Line2D([], [], color="black", marker="D", markersize=4, markerfacecolor=face, label=label)
                    for face, label in (("black", "gap, entity covered"), ("white", "gap, entity not covered"))
                ),
            ],
            note="Questions whose fact is stated in documents of the other language alone; at dose 0 it is stated "
            f"nowhere, and what is right there is luck or proficiency. Means of {final_checkpoints(last)}, languages "
            f"weighing the same; 95 % intervals over {over}. Dotted: chance. "
            f"Questions {prefix_phrase(prefix)}. {remark}".strip(),
        )
        style.save(fig, out)


def _offset(among: Sequence[object], one: object) -> float:
    """Return how far a line is moved sideways, so that the intervals of several lines can be told apart."""
    return 0.09 * (list(among).index(one) - (len(among) - 1) / 2)


def _with_intervals(ax: plt.Axes, rows: pd.DataFrame, doses: list[int], shift: float, **look: Any) -> None:
    """Draw values in percent over the doses, evenly spaced, with their intervals."""
    rows = rows.sort_values("dose")
    x = np.array([doses.index(dose) for dose in rows["dose"]]) + shift
    value, low, high = (100 * rows[column].to_numpy(dtype=float) for column in ("value", "lo", "hi"))
    ax.errorbar(
        x,
        value,
        yerr=np.clip([value - low, high - value], 0, None),
        linewidth=1.2,
        elinewidth=0.8,
        markersize=4,
        capsize=0,
        **look,
    )
