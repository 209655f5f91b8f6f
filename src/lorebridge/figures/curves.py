"""Curves over training: accuracy (Figure 3 of the paper) and loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from lorebridge import tables
from lorebridge.figures import style
from lorebridge.figures.effects import direction_label
from lorebridge.figures.write import final_checkpoints
from lorebridge.probes.prefixes import prefix_phrase
from lorebridge.transfer.accuracies import EVERY, of_arms
from lorebridge.transfer.asymmetry import DIRECTIONS
from lorebridge.transfer.credits import LAST, directions

POINTWISE, BAND = 0.16, 0.1
"""How opaque the interval of each checkpoint is, and the band of all of them, which is wider and lies below it."""


def figure3(
    *,
    accuracies: Path,
    base: str,
    names: Mapping[str, str],
    arms: Sequence[str],
    subset: str,
    rule: str,
    ema: float,
    last: int,
    out: Path,
    prefix: str,
    remark: str = "",
) -> None:
    """Draw accuracy over continual pretraining: directions in rows, languages in columns, an arm a colour.

    After Zhang et al. (ACL 2025), Figure 3: the upper row asks in the culture's language, the lower in the base
    language. Points are raw accuracies of each seed, lines their means. The paper draws a moving average, which falls
    slowly where accuracy falls at once; it can be drawn beside them, dashed. Around the means lie the interval of each
    checkpoint alone and the band that holds all of them at once. Right of the last step stands the mean of the last
    checkpoints with its interval.

    Args:
        accuracies: table "accuracies"; its cultures are the columns.
        base: code of the base language.
        names: language code -> English name.
        arms: the arms drawn, in the order of the legend.
        subset: which questions count.
        rule: how options are compared.
        ema: weight of the past in the moving average of the means; the paper's is 0.8, and 0 draws none.
        last: number of final checkpoints pooled.
        out: path without suffix; .pdf, .svg and .png are written.
        prefix: what the questions were asked behind.
        remark: what a reader must know of these data; ends the note under the figure.
    """
    table = of_arms(accuracies, subset=subset, rule=rule, prefix=prefix)
    cultures = list(dict.fromkeys(table["culture"]))
    drawn = [arm for arm in arms if arm in set(table["arm"])]
    with style.styled():
        fig, axes = plt.subplots(
            2,
            len(cultures),
            layout="constrained",
            figsize=(1.2 + 2.1 * len(cultures), 4.6),
            sharex="col",
            sharey=True,
            squeeze=False,
        )
        for column, culture in enumerate(cultures):
            for row, (direction, lang) in enumerate(directions(base, culture).items()):
                ax = axes[row, column]
                here = table[(table["culture"] == culture) & (table["direction"] == direction)]
                ax.axhline(here["chance"].iloc[0], color="0.45", linestyle=(0, (4, 3)), linewidth=0.9)
                final = here["step"].max()
                for i, arm in enumerate(drawn):
                    if arm in set(here["arm"]):  # a language may be trained in fewer
                        _accuracy_curves(ax, here[here["arm"] == arm], arm, ema, final * (1.05 + 0.05 * i))
                seeds = here[here["seed"] != EVERY]["seed"].nunique()
                ax.set_title(
                    f"{names[culture]} questions in {names[lang]}\n"
                    f"n = {here['n_questions'].iloc[0]}, {style.seeds_phrase(seeds)}"
                )
                style.percent(ax.yaxis)
                ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
                ax.set_xlim(-0.02 * final, final * (1.08 + 0.05 * len(drawn)))
                if row == 1:
                    ax.set_xlabel("step of continual pretraining")
            axes[0, column].tick_params(labelbottom=True)
        for row, direction in enumerate(DIRECTIONS):
            axes[row, 0].set_ylabel(f"{direction_label(direction, names[base])}\naccuracy (%)")
        style.legend(
            fig,
            [
                *style.arm_handles(drawn),
                Line2D([], [], color="0.45", linestyle=(0, (4, 3)), linewidth=0.9, label="chance"),
                # The interval lies above the band.
                Patch(color="0.2", alpha=POINTWISE + BAND, linewidth=0, label="interval of each checkpoint"),
                Patch(color="0.2", alpha=BAND, linewidth=0, label="band of all checkpoints"),
            ],
            columns=min(len(drawn) + 1, 5),
            note="Dots: accuracy of each seed at a checkpoint; lines: their mean. Where arms coincide, the last of the "
            "legend lies on top. "
            + (f"Dashed: its moving average (weight {ema:g}), as in the paper. " if ema else "")
            + "Darker: 95 % interval of each checkpoint alone; lighter: 95 % band, which holds all checkpoints of "
            f"a mean at once. At the right edge: mean of {final_checkpoints(last)}, 95 % interval. All are over "
            f"questions, given these seeds. Questions: {subset}, {prefix_phrase(prefix)}; ties share the credit. "
            f"{remark}",
        )
        style.save(fig, out)


def _accuracy_curves(ax: plt.Axes, rows: pd.DataFrame, arm: str, ema: float, at: float) -> None:
    """Draw one arm: points of its seeds, a line through their means, intervals, the last checkpoints at x = `at`."""
    look = style.arm_style(arm)
    curves = rows[rows["step"] != LAST]
    single = curves[curves["seed"] != EVERY]
    ax.scatter(single["step"], single["accuracy"], s=5, alpha=0.35, linewidths=0, zorder=2, **look)
    mean = curves[curves["seed"] == EVERY]
    ax.plot(mean["step"], mean["accuracy"], linewidth=1.4, color=look["color"], zorder=4)
    for lo, hi, alpha in (("lo", "hi", POINTWISE), ("band_lo", "band_hi", BAND)):
        ax.fill_between(mean["step"], mean[lo], mean[hi], color=look["color"], alpha=alpha, linewidth=0, zorder=1)
    if ema:
        average = style.smoothed(mean["accuracy"].to_numpy(), ema)
        ax.plot(mean["step"], average, linewidth=0.9, linestyle=(0, (2, 2)), color=look["color"], zorder=3)
    pooled = rows[(rows["step"] == LAST) & (rows["seed"] == EVERY)].iloc[0]
    ax.vlines(at, pooled["lo"], pooled["hi"], color=look["color"], linewidth=1.0, zorder=4)
    ax.scatter(at, pooled["accuracy"], s=16, linewidths=0, zorder=5, **look)


def losses(*, metrics: Sequence[Path], names: Mapping[str, str], base: str, arms: Sequence[str], out: Path) -> None:
    """Draw the training loss of all runs: a panel a language, an arm a colour, a line a run.

    A run that learned no one language has a panel of its own.

    Args:
        metrics: tables "metrics", one a run.
        names: language code -> English name.
        base: code of the base language.
        arms: the arms drawn, in the order of the legend.
        out: path without suffix; .pdf, .svg and .png are written.
    """
    panels: dict[str, list[pd.DataFrame]] = {}
    for path in metrics:
        curve = tables.read(path, columns=["run", "learned", "arm", "step", "loss"])
        learned = [*curve["learned"].dropna().unique(), *curve["run"].unique()]
        panels.setdefault(learned[0], []).append(curve)
    dashes = {arm: style.DASHES[i % len(style.DASHES)] for i, arm in enumerate(arms)}
    with style.styled():
        fig, axes = plt.subplots(
            1, len(panels), layout="constrained", figsize=(1.2 + 2.1 * len(panels), 2.9), sharey=True, squeeze=False
        )
        for ax, (name, runs) in zip(axes[0], panels.items(), strict=True):
            for curve in runs:
                around = curve["loss"].rolling(max(1, len(curve) // 40), center=True, min_periods=1).mean()
                colour = style.arm_style(curve["arm"].iloc[0])["color"]
                ax.plot(curve["step"], curve["loss"], linewidth=0.4, alpha=0.25, color=colour)
                line = dashes.get(curve["arm"].iloc[0], "-")
                ax.plot(curve["step"], around, linewidth=1.3, color=colour, linestyle=line, zorder=2 + (line != "-"))
            stage = "continual pretraining" if name in names and name != base else "base training"
            ax.set_title(f"{names.get(name, name)}\n{stage}, {len(runs)} run{'s' if len(runs) > 1 else ''}")
            ax.set_xlabel("step")
            ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes[0, 0].set_ylabel("training loss (nats per token)")
        present = {curve["arm"].iloc[0] for runs in panels.values() for curve in runs}
        handles = style.arm_handles([arm for arm in ["base", *arms] if arm in present])
        for handle in handles:
            handle.set_marker("")
            handle.set_linestyle(dashes.get(str(handle.get_label()), "-"))
        style.legend(
            fig,
            handles,
            columns=6,
            note="Faint: loss of each step, over the targets that are not padding. Strong: mean of the steps around it "
            "(a fortieth of the run), dashed so that no arm hides another that reads as easily. Losses of different "
            "languages are not comparable: their tokens carry different numbers of letters. Nor are those of arms with "
            "and without the template's labels, which are easy targets.",
        )
        style.save(fig, out)
