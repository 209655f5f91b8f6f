"""Validation on a planted world: what the tracing finds of what is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from lorebridge import tables
from lorebridge.figures import style

_STAGES = {"retrieval": ("o", "no_bridge", -0.14), "judged": ("D", "bridge", 0.14)}


def recovery(*, recovery: Path, names: Mapping[str, str], out: Path) -> None:
    """Draw recall and precision of the documents that state a planted fact, after retrieval and after judging.

    Args:
        recovery: the table "recovery".
        names: language code -> English name.
        out: path without suffix; .pdf, .svg and .png are written.
    """
    table = tables.read(recovery)
    places = list(dict.fromkeys(zip(table["culture"], table["corpus"], strict=True)))
    with style.styled():
        fig, axes = plt.subplots(
            1,
            2,
            layout=ConstrainedLayoutEngine(wspace=0.06),
            figsize=(7.0, 1.3 + 0.36 * len(places)),
            sharey=True,
            sharex=True,
        )
        for ax, measure in zip(axes, ("recall", "precision"), strict=True):
            for y, (culture, corpus) in enumerate(places):
                ax.axhline(y, color="0.9", linewidth=0.7, zorder=0)
                rows = table[(table["culture"] == culture) & (table["corpus"] == corpus)]
                for _, row in rows.iterrows():
                    marker, arm, shift = _STAGES[row["stage"]]
                    value = row[measure]
                    ax.scatter(
                        value,
                        y + shift,
                        marker=marker,
                        s=30,
                        color=style.arm_style(arm)["color"],
                        linewidths=0,
                        zorder=3,
                    )
                judged = rows[rows["stage"] == "judged"]
                whole = "true_documents" if measure == "recall" else "recovered"
                if len(judged):
                    share = f"{judged['recovered_true'].iloc[0]:,} / {judged[whole].iloc[0]:,}"
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
        style.legend(
            fig,
            [
                Line2D(
                    [], [], marker=marker, markersize=5, linewidth=0, color=style.arm_style(arm)["color"], label=label
                )
                for (marker, arm, _), label in zip(_STAGES.values(), ("retrieved", "retrieved and judged"), strict=True)
            ],
            note="Unit: a document that states the fact of a question, by the world's own record. Right of each panel, "
            "for judged documents: rightly found / all that state it (recall), / all found (precision).",
        )
        style.save(fig, out)
