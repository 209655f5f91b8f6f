"""Validation on a planted world: what the tracing finds of what is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from lorebridge import tables
from lorebridge.figures import style

_STAGES = {
    "retrieval": ("o", "no_bridge", "retrieved"),
    "judged": ("D", "bridge", "retrieved and judged"),
    "exact": ("^", "placebo", "counted in every document"),
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
                Line2D([], [], marker=marker, markersize=5, linewidth=0, color=style.arm_style(arm)["color"],
                       label=label)
                for marker, arm, label in (_STAGES[stage] for stage in stages)
            ],
            note="Unit: a document that states the fact of a question, by the world's own record. Right of each upper "
            "panel, for judged documents: rightly found / all that state it (recall), / all found (precision). Below: "
            "all corpora together, by the number of documents that mention the subject.",
        )  # fmt: skip
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
                    here.loc[stage, measure], y + shift[stage], marker=marker, s=30, linewidths=0, zorder=3,
                    color=style.arm_style(arm)["color"], clip_on=False,
                )  # fmt: skip
            right, among = (int(here[column]["judged"]) for column in ("recovered_true", whole))
            share = f"{right:,} / {among:,}"
            ax.annotate(share, (1.04, y), xycoords=("axes fraction", "data"), va="center", fontsize=7.5,
                        annotation_clip=False)  # fmt: skip
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
        for stage in stages:
            marker, arm, _ = _STAGES[stage]
            of_stage = counts.xs(stage, level="stage")
            share = 100 * of_stage["recovered_true"] / of_stage[whole].where(of_stage[whole] > 0)
            ax.plot(share.index, share.to_numpy(), marker=marker, markersize=5, markeredgewidth=0, linewidth=1.2,
                    color=style.arm_style(arm)["color"], clip_on=False)  # fmt: skip
        ax.set_xscale("log", base=2)
        ax.set_xticks(doses, [f"{dose:g}" for dose in doses])
        ax.minorticks_off()
        ax.set_ylim(0, 102)
        ax.set_xlabel("documents that mention the subject")
        ax.set_ylabel(f"{measure} (%)")
