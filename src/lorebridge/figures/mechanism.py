"""Whether representations align before what one language alone states is answered in the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lorebridge import tables
from lorebridge.figures import style
from lorebridge.figures.write import write_table
from lorebridge.probes.mechanism import EMBEDDINGS, GAIN, NEAREST, PARTS, STATES, TOKEN, TRANSLATION
from lorebridge.probes.prefixes import prefix_phrase
from lorebridge.transfer.planted import placed_accuracies

KNOWN, NOWHERE = "answers facts that only the source states", "answers facts stated nowhere"
TRANSLATES = "translates in context"
_STATES = {part: f"states at the {part}" for part in PARTS}
_WORDS = {
    "subject": "embeddings of names",
    TOKEN: "embeddings of tokens of names",
    "relation": "embeddings of relation words",
    "object": "embeddings of answers",
}
QUANTITIES = (KNOWN, NOWHERE, *_STATES.values(), *_WORDS.values(), TRANSLATES)

# The panels of a language, top down: the axis, and what is drawn with which line.
_DASHED, _DOTTED = (0, (3, 2)), (0, (1, 1.5))
_PANELS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("accuracy\n(%)", {KNOWN: "-", NOWHERE: _DOTTED}),
    ("states\naligned (%)", {_STATES["relation"]: "-", _STATES["subject"]: _DASHED}),
    ("embeddings\naligned (%)", {_WORDS["subject"]: "-", _WORDS[TOKEN]: _DASHED, _WORDS["object"]: _DOTTED}),
    ("gain\n(nats a token)", {TRANSLATES: "-"}),
)


def _gathered(
    *,
    mechanism: Sequence[Path],
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    truth: Path,
    base: str,
    **how: Any,
) -> pd.DataFrame:
    """Return every quantity by checkpoint: culture, direction, arm, seed, step, quantity, value, lo, hi, chance.

    Of states it is the layer where most are aligned, at each checkpoint anew, as for MEXA. Directions are those in
    which a fact would cross; what has none is for both.
    """
    accuracy = placed_accuracies(scores=scores, questions=questions, truth=truth, base=base, **how)
    accuracy["quantity"] = accuracy["placed"].map({"source only": KNOWN, "neither": NOWHERE})
    accuracy = accuracy.dropna(subset="quantity").rename(columns={"accuracy": "value"})
    measured = pd.concat([tables.read(path) for path in mechanism], ignore_index=True)
    measured = measured[measured["measure"].isin([NEAREST, GAIN])].rename(columns={"learned": "culture"})
    name = {(STATES, part): label for part, label in _STATES.items()}
    name |= {(EMBEDDINGS, word): label for word, label in _WORDS.items()}
    of = list(zip(measured["of"], measured["position"], strict=True))
    translation = measured["of"] == TRANSLATION
    measured["quantity"] = [TRANSLATES if kind == TRANSLATION else name[kind, where] for kind, where in of]
    measured["direction"] = np.where(
        translation, np.where(measured["position"].str.startswith(f"{base}->"), "en->xx", "xx->en"), ""
    )
    key = ["culture", "direction", "arm", "seed", "step", "quantity"]
    best = measured.sort_values("value", kind="stable").drop_duplicates(key, keep="last")
    columns = [*key, "value", "lo", "hi", "chance"]
    found = pd.concat([accuracy[columns], best[columns]], ignore_index=True)
    return found.sort_values(key, kind="stable", ignore_index=True)


def half_risen(rows: pd.DataFrame) -> float:
    """Return the first checkpoint at which a quantity has made half of its way up; NaN where it does not rise.

    It rises where in every seed the interval at the last checkpoint lies above that at the first. The way is that of
    the mean of the seeds.

    Args:
        rows: of one quantity, arm and direction: seed, step, value, lo, hi.
    """
    first, last = rows["step"].min(), rows["step"].max()
    lo, hi = (rows[rows["step"] == step].set_index("seed") for step in (last, first))
    if first == last or not (lo["lo"] > hi["hi"].reindex(lo.index)).all():
        return float("nan")
    mean = rows.groupby("step")["value"].mean().sort_index()
    half = mean.iloc[0] + (mean.iloc[-1] - mean.iloc[0]) / 2
    return float(mean.index[int(np.argmax(mean.to_numpy() >= half))])


def figure(
    *,
    mechanism: Sequence[Path],
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    truth: Path,
    names: Mapping[str, str],
    base: str,
    arms: Sequence[str],
    subset: str,
    rule: str,
    resamples: int,
    seed: int,
    out: Path,
    prefix: str,
) -> None:
    """Draw accuracy on facts that only the source states above the alignment of what corresponds, by checkpoint.

    A language a column, an arm a colour. A ring is where a curve has made half of its way up: rings of alignment left
    of the ring of accuracy are alignment that rises first.

    Args:
        mechanism: tables "mechanism", one a language.
        scores: tables "scores", one a run.
        questions: culture -> table "questions".
        truth: table "truth".
        names: language code -> English name.
        base: code of the base language.
        arms: the arms drawn, in the order of the legend.
        subset: which questions count.
        rule: how options are compared.
        resamples: bootstrap resamples.
        seed: of the bootstrap.
        out: path without suffix; .pdf, .svg and .png are written.
        prefix: what the questions were asked behind.
    """
    how = {"subset": subset, "rule": rule, "resamples": resamples, "seed": seed, "prefix": prefix}
    table = _gathered(mechanism=mechanism, scores=scores, questions=questions, truth=truth, base=base, **how)
    table = table[table["direction"] != "xx->en"]
    cultures = [culture for culture in questions if culture in set(table["culture"])]
    drawn = [arm for arm in arms if arm in set(table["arm"])]
    with style.styled():
        fig, axes = plt.subplots(
            len(_PANELS),
            len(cultures),
            layout="constrained",
            figsize=(3.6 + 2.2 * len(cultures), 1.45 * len(_PANELS) + 0.4),
            sharex="col",
            sharey="row",
            squeeze=False,
        )
        for column, culture in enumerate(cultures):
            here = table[table["culture"] == culture]
            for ax, (label, lines) in zip(axes[:, column], _PANELS, strict=True):
                shown = here[here["quantity"].isin(lines)]
                for chance in shown["chance"].unique():
                    ax.axhline(chance, color="0.75", linewidth=0.7, zorder=0)
                for quantity, line in lines.items():
                    for arm in drawn:
                        _curve(ax, shown[(shown["quantity"] == quantity) & (shown["arm"] == arm)], arm, line)
                if column == 0:
                    ax.set_ylabel(label)
                if "%" in label:
                    ax.set_ylim(-0.03, 1.03)
                    style.percent(ax.yaxis)
                else:
                    low, high = ax.get_ylim()  # noise is not to fill the panel
                    ax.set_ylim(min(low, -0.1), max(high, 0.4))
                ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes[0, column].set_title(f"{names[culture]}\n{style.seeds_phrase(here['seed'].nunique())}")
            axes[-1, column].set_xlabel("step of continual pretraining")
        for ax, (_, lines) in zip(axes[:, -1], _PANELS, strict=True):
            handles = [
                Line2D([], [], color="0.3", linewidth=1.4, linestyle=line, label=quantity)
                for quantity, line in lines.items()
                if quantity in set(table["quantity"])
            ]
            ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=7.5, handlelength=2.2)
        ring = Line2D([], [], color="0.3", marker="o", markerfacecolor="white", markersize=5, linewidth=0)
        ring.set_label("half of the way up")
        of_arms = style.arm_handles(drawn)
        for handle in of_arms:
            handle.set_marker("")
        style.legend(
            fig,
            [*of_arms, ring],
            columns=len(drawn) + 1,
            note=f"Facts that only {names[base]} states, asked in the language that is learned ({subset}, "
            f"{prefix_phrase(prefix)}). Aligned: pairs of what corresponds that are nearer to each other than to all "
            "others by cosine, their language's mean taken off; of states the layer where most are. Gain: of a clause "
            "that nothing states, behind its translation against behind another's. Mean of the seeds; faint: each "
            "seed; grey: chance. A ring is drawn where in every seed the 95 % interval at the end lies above that at "
            "the start; what comes first there need not be the cause.",
        )
        style.save(fig, out)


def _curve(ax: plt.Axes, rows: pd.DataFrame, arm: str, line: Any) -> None:
    """Draw one quantity of one arm: each seed faint, their mean strong, a ring where it is half risen."""
    if rows.empty:
        return
    colour = style.arm_style(arm)["color"]
    if rows["seed"].nunique() > 1:
        for _, one in rows.groupby("seed"):
            ax.plot(one["step"], one["value"], linewidth=0.5, alpha=0.35, color=colour, linestyle=line)
    mean = rows.groupby("step")["value"].mean()
    ax.plot(mean.index, mean, linewidth=1.4, color=colour, linestyle=line)
    if not np.isnan(step := half_risen(rows)):
        ax.plot(
            [step],
            [mean[step]],
            marker="o",
            markersize=5,
            markerfacecolor="white",
            markeredgewidth=1.1,
            color=colour,
            zorder=5,
            clip_on=False,
        )


def table(
    *,
    mechanism: Sequence[Path],
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    truth: Path,
    names: Mapping[str, str],
    base: str,
    arms: Sequence[str],
    subset: str,
    rule: str,
    resamples: int,
    seed: int,
    out: Path,
    prefix: str,
) -> None:
    """Write where every quantity begins and ends, and when it is half risen; arguments as of :func:`figure`."""
    how = {"subset": subset, "rule": rule, "resamples": resamples, "seed": seed, "prefix": prefix}
    found = _gathered(mechanism=mechanism, scores=scores, questions=questions, truth=truth, base=base, **how)
    rows = []
    for culture in (culture for culture in questions if culture in set(found["culture"])):
        for quantity in QUANTITIES:
            for arm in arms:
                of_arm = found[(found["culture"] == culture) & (found["quantity"] == quantity) & (found["arm"] == arm)]
                for direction, part in of_arm.groupby("direction", sort=True):
                    ends = {end: part[part["step"] == getattr(part["step"], end)()]["value"] for end in ("min", "max")}
                    rows.append(
                        {
                            "language": names[culture],
                            "direction": direction,
                            "quantity": quantity,
                            "arm": arm,
                            "seeds": part["seed"].nunique(),
                            "chance": part["chance"].iloc[0],
                            "at_start": ends["min"].mean(),
                            "at_end": ends["max"].mean(),
                            "lowest_seed": ends["max"].min(),
                            "highest_seed": ends["max"].max(),
                            "half_risen": half_risen(part),
                            "checkpoint_before": _before(part["step"], half_risen(part)),
                        }
                    )
    write_table(
        pd.DataFrame(rows),
        out,
        "What corresponds in two languages of the planted world, and what crosses, over continual pretraining: means "
        "of the seeds at the first and the last checkpoint, the lowest and the highest seed at the last, and the first "
        "checkpoint at which half of the way up is made, with the one before it; missing where some seed's 95 % "
        "interval at the end is not above that at the start. Aligned: share of pairs that are nearest to each other by "
        "cosine, their language's mean taken off; of states the layer where most are. Translation: nats a token. "
        f"Questions {prefix_phrase(prefix)}.",
        dict.fromkeys(("chance", "at_start", "at_end", "lowest_seed", "highest_seed"), ".3f")
        | dict.fromkeys(("half_risen", "checkpoint_before"), ".0f"),
    )


def _before(steps: pd.Series, step: float) -> float:
    """Return the checkpoint before one; NaN where there is none."""
    return float(steps[steps < step].max()) if not np.isnan(step) else float("nan")
