"""The tests behind the gaps: the asymmetry, density by culture, crossing by frequency, the planted world's estimand."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lorebridge import tables
from lorebridge.figures import style
from lorebridge.figures.effects import direction_label
from lorebridge.figures.write import final_checkpoints, two_digits, write_table
from lorebridge.probes.prefixes import behind, prefix_phrase
from lorebridge.transfer import cultures as cultures_
from lorebridge.transfer import planted as planted_
from lorebridge.transfer.asymmetry import DIFFERENCE, DIRECTIONS, HIGH, INTERACTION, LOW
from lorebridge.transfer.contrasts import ALL, BEYOND
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY
from lorebridge.transfer.item_model import RELATIVE
from lorebridge.transfer.verdicts import ABOVE, BELOW, EQUIVALENT

# As many digits as some thousands of draws bear.
_P = {"p": ".3f", "p_holm": ".3f"}
_LINES = [
    *((direction, level) for level in (HIGH, LOW) for direction in DIRECTIONS),
    *((DIFFERENCE, group) for group in (HIGH, LOW, INTERACTION)),
]


def asymmetry(
    *, asymmetry: Path, names: Mapping[str, str], base: str, last: int, remark: str, out: Path, prefix: str
) -> None:
    """Draw the four readings of Figure 3, the difference of the directions at each level, and the interaction.

    Args:
        asymmetry: the table "asymmetry".
        names: language code -> English name.
        base: code of the base language.
        last: number of final checkpoints pooled.
        remark: a caveat to print.
        out: path without suffix; .pdf, .svg and .png are written.
        prefix: what the questions were asked behind.
    """
    table = behind(tables.read(asymmetry), prefix, asymmetry)
    table = table[~table["unleaked"]]
    contrasts = list(dict.fromkeys(table["contrast"]))
    colour = style.contrast_colours(contrasts)
    with style.styled():
        fig, axes = plt.subplots(
            1, 2, layout="constrained", sharey=True, figsize=(7.2, 1.5 + len(_LINES) * (0.2 + 0.13 * len(contrasts)))
        )
        for ax, scale in zip(axes, (ALL, BEYOND), strict=True):
            ax.axvline(0, color="0.3", linewidth=0.8)
            rows = table[table["scale"] == scale]
            for y, (direction, group) in enumerate(_LINES):
                for i, contrast in enumerate(contrasts):
                    at = y + 0.6 * ((i + 0.5) / len(contrasts) - 0.5)
                    for interval, width in ((QUESTIONS_AND_SEEDS, 0.8), (QUESTIONS_ONLY, 2.4)):
                        found = rows[
                            (rows["contrast"] == contrast)
                            & (rows["direction"] == direction)
                            & (rows["group"] == group)
                            & (rows["interval"] == interval)
                        ]
                        for row in found.to_dict("records"):
                            ax.hlines(at, 100 * row["lo"], 100 * row["hi"], color=colour[contrast], linewidth=width)
                            ax.scatter(
                                100 * row["estimate"],
                                at,
                                s=20,
                                color=colour[contrast],
                                edgecolors="white",
                                linewidths=0.6,
                                zorder=5,
                            )
            ax.axhline(3.5, color="0.85", linewidth=0.8)
            ax.set_title(scale)
            ax.set_xlabel("gap, or difference of gaps (points)" if scale == ALL else "% of what is at risk")
            ax.tick_params(axis="y", length=0)
            ax.xaxis.set_major_locator(MaxNLocator(6))
        labels = [f"{group}: {direction_label(direction, names[base])}" for direction, group in _LINES[:4]]
        labels += [f"{group}: difference" for _, group in _LINES[4:6]] + ["interaction (low − high)"]
        axes[0].set_yticks(range(len(_LINES)), labels)
        axes[0].set_ylim(len(_LINES) - 0.5, -0.5)
        levels = table[table["direction"] == DIRECTIONS[0]].drop_duplicates("group").set_index("group")["langs"]
        members = "; ".join(f"{level}: {', '.join(names[lang] for lang in levels[level])}" for level in levels.index)
        style.legend(
            fig,
            [Line2D([], [], color=colour[c], marker="o", markersize=5, linewidth=1.8, label=c) for c in contrasts],
            columns=3,
            note="Risk set: of the questions known in the source and not answered by the second arm, what the first "
            "answers more, less what wrong options show when each is scored as the answer. "
            f"Resource level: {members}; the test is conditional on these. Difference: "
            f"{direction_label(DIFFERENCE, names[base])}, on the same questions. Mean of {final_checkpoints(last)}. "
            "Thick: 95 % interval over questions, given these seeds; thin: over questions and seeds. "
            f"Questions {prefix_phrase(prefix)}. {remark}",
        )
        style.save(fig, out)


def asymmetry_table(*, asymmetry: Path, names: Mapping[str, str], base: str, last: int, out: Path) -> None:
    """Write the four readings and the tests of the asymmetry, in percentage points.

    Args:
        asymmetry: the table "asymmetry".
        names: language code -> English name.
        base: code of the base language.
        last: number of final checkpoints pooled.
        out: path without suffix; .csv, .md and .tex are written.
    """
    table = tables.read(asymmetry)
    table["direction"] = [direction_label(direction, names[base]) for direction in table["direction"]]
    table["unleaked"] = table["unleaked"].map({True: "left out", False: "kept"})
    table["group"] = table["group"].replace({**names, INTERACTION: "low − high (interaction)"})
    table["langs"] = [", ".join(names[lang] for lang in langs) for langs in table["langs"]]
    percent = ["estimate", "se", "lo", "hi"]
    table[percent] *= 100
    write_table(
        table.rename(columns={"unleaked": "leaked_questions", "langs": "languages", "group": "resource"}),
        out,
        "The asymmetry (percentage points; on the scales 'risk set' % of what is at risk: known in the source and not "
        f"answered by the second arm), mean of {final_checkpoints(last)}: the four "
        "readings of the paper's Figure 3 (mean gap of a level's languages in a "
        "direction), the difference of the directions taken question by question, and the interaction of direction and "
        "resource level, behind each prefix of the questions. All is conditional on these languages. Intervals: 95 %; "
        "over questions Student's t (Satterthwaite), over questions and seeds by Behrens and Fisher, from the spread "
        "of the sums of single seeds over these languages, df being those of the seeds; the note says what so few can "
        "tell. p: 'questions only' by flipping the signs of clusters, of the interaction by dealing clusters out to "
        "languages anew, both for these very models; with seeds by Behrens and Fisher. p holm: adjusted over the four "
        "readings.",
        dict.fromkeys(percent, ".1f") | _P | {"df": ".1f"},
    )


def matched_gaps(*, matched_gaps: Path, names: Mapping[str, str], base: str, last: int, out: Path) -> None:
    """Write the gaps where arms predict held-out text equally well, beside those at the same checkpoints.

    Args:
        matched_gaps: the table "matched_gaps".
        names: language code -> English name.
        base: code of the base language.
        last: number of final checkpoints pooled.
        out: path without suffix; .csv, .md and .tex are written.
    """
    table = tables.read(matched_gaps)
    table["direction"] = [direction_label(direction, names[base]) for direction in table["direction"]]
    percent = ["accuracy", "accuracy_reference", "gap", "lo", "hi"]
    table[percent] *= 100
    write_table(
        table.replace({"lang": dict(names)}),
        out,
        "Gaps (percentage points, all questions) of arms at the same checkpoints (matched on step: "
        f"{final_checkpoints(last)}), and where they predict held-out text equally well, in the language learned "
        f"(loss_xx) or in {names[base]} (loss_en), behind the same prefix as the questions: one arm stays at "
        f"{final_checkpoints(last)}, the other is read where its loss was the same, between checkpoints by linear "
        "interpolation; "
        "step, step reference: where that is on average. loss end, loss end reference: bits per byte over the last "
        "checkpoints; loss: at which they are compared. Missing, with the reason, where neither arm ever had the loss "
        "at which the other ends: nothing is extrapolated. Intervals: 95 %, by Student's t over questions, and over "
        "questions and seeds by Behrens and Fisher; the matched steps are taken as given. p holm: adjusted over "
        "languages and directions.",
        dict.fromkeys(percent, ".1f")
        | dict.fromkeys(("loss_end", "loss_end_reference", "loss"), ".3f")
        | dict.fromkeys(("step", "step_reference"), ".1f")
        | _P,
    )


def declared(*, verdicts: Path, names: Mapping[str, str], base: str, last: int, out: Path) -> None:
    """Draw the declared tests in their order: estimate, interval, the margin around 0, and the verdict.

    Args:
        verdicts: the table "verdicts".
        names: language code -> English name.
        base: code of the base language.
        last: number of final checkpoints pooled.
        out: path without suffix; .pdf, .svg and .png are written.
    """
    table = tables.read(verdicts)
    table["label"] = [
        f"{row['name']}\n({row['contrast']}, {direction_label(row['direction'], names[base])}: "
        f"{', '.join(names[lang] for lang in row['langs'])}"
        + (f" less {', '.join(names[lang] for lang in row['minus'])}" if len(row["minus"]) else "")
        + f"; {row['among']})"
        for row in table.to_dict("records")
    ]
    with style.styled():
        fig = forest(
            table,
            note=f"Mean of {final_checkpoints(last)}. Line: {100 * (1 - table['alpha'].iloc[0]):g} % interval of the "
            "test alone; grey: within the margin of 0, the smallest effect declared to be of interest. The verdicts "
            "are of one family, so that an interval beside 0 may be undecided.",
        )
        style.save(fig, out)


def forest(rows: pd.DataFrame, *, note: str) -> Figure:
    """Return a figure of tests, one below the other.

    Args:
        rows: label, estimate, lo, hi, margin (all shares) and verdict of each; a line without an estimate
            stays empty but for its verdict.
        note: how to read it.
    """
    colour = dict(zip((ABOVE, BELOW, EQUIVALENT), (style.palette()[i] for i in (0, 1, 2)), strict=True))
    labels = ["\n".join(textwrap.fill(part, 62) for part in label.split("\n")) for label in rows["label"]]
    lines = [label.count("\n") + 1 for label in labels]
    at = np.cumsum([0.0, *((a + b) / 2 + 0.9 for a, b in itertools.pairwise(lines))])
    fig, ax = plt.subplots(layout="constrained", figsize=(style.PRINTED + 1.2, 1.1 + 0.145 * (at[-1] + lines[-1] + 1)))
    ax.axvline(0, color="0.3", linewidth=0.8)
    for y, n, row in zip(at, lines, rows.to_dict("records"), strict=True):
        look = {"color": colour.get(row["verdict"], "0.45")}
        if not np.isnan(row["margin"]):
            ax.barh(y, 200 * row["margin"], height=0.6 * n + 0.4, left=-100 * row["margin"], color="0.92", zorder=0)
        if not np.isnan(row["estimate"]):
            ax.hlines(y, 100 * row["lo"], 100 * row["hi"], linewidth=1.6, **look)
            ax.scatter(100 * row["estimate"], y, s=26, zorder=5, edgecolors="white", linewidths=0.6, **look)
        ax.annotate(
            row["verdict"],
            (1.02, y),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            annotation_clip=False,
            **look,
        )
    ax.set_yticks(at, labels)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(at[-1] + lines[-1] / 2 + 0.5, -lines[0] / 2 - 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(7))
    ax.set_xlabel("points; of what is at risk on the scales 'risk set'")
    style.legend(fig, [], note=note)
    return fig


def verdicts(*, verdicts: Path, names: Mapping[str, str], base: str, last: int, out: Path) -> None:
    """Write the verdicts on the declared tests, in percentage points.

    Args:
        verdicts: the table "verdicts".
        names: language code -> English name.
        base: code of the base language.
        last: number of final checkpoints pooled.
        out: path without suffix; .csv, .md and .tex are written.
    """
    table = tables.read(verdicts).drop(columns=["se", "df", "rule"])
    table["direction"] = [direction_label(direction, names[base]) for direction in table["direction"]]
    for column in ("langs", "minus"):
        table[column] = [", ".join(names[lang] for lang in langs) for langs in table[column]]
    percent = ["margin", "estimate", "lo", "hi"]
    table[percent] *= 100
    alpha = table["alpha"].iloc[0]
    write_table(
        table.rename(columns={"langs": "languages"}),
        out,
        f"Verdicts on the declared tests, mean of {final_checkpoints(last)} (percentage points; of what is at risk "
        "on the scales 'risk set'). They are one family (Holm, with Shaffer's restriction: a quantity is not both 0 "
        "and as large as its margin): that any verdict is wrong has a probability of at most "
        f"{100 * alpha:g} %. above, below: not 0 (p family); equivalent: within the margin, the smallest effect "
        "declared to be of interest, by two one-sided tests (p equivalent family), also where it is told from 0; "
        "undecided: neither. languages: their mean, less "
        f"that of those under minus. lo, hi: {100 * (1 - alpha):g} % interval of the test alone. declared: how the "
        "declaration stands to the runs.",
        dict.fromkeys(percent, ".1f")
        | dict.fromkeys([name for name in table.columns if name.startswith("p_")], ".3f")
        | _P,
    )


def cultures(*, asymmetry: Path, density: Path, names: Mapping[str, str], base: str, out: Path, prefix: str) -> None:
    """Write each culture's log density ratio beside the difference of its directional gaps.

    Args:
        asymmetry: the table "asymmetry".
        density: the table "density".
        names: language code -> English name.
        base: code of the base language.
        out: path without suffix; .csv, .md and .tex are written.
        prefix: what the questions were asked behind.
    """
    table = cultures_.cultures(asymmetry=asymmetry, density=density, base=base, prefix=prefix)
    table = table.replace({"culture": dict(names)})
    percent = ["difference", "lo", "hi"]
    table[percent] *= 100
    n = table["n_cultures"].max()
    write_table(
        table,
        out,
        f"Density and direction, n = {n} cultures: log2 of the density of a culture's facts in its own language's "
        f"corpus over that in {names[base]}'s, beside the difference of its gaps, "
        f"{direction_label(DIFFERENCE, names[base])} (percentage points, 95 % interval). rank correlation: Spearman's "
        "over the cultures; p: over all orders of them, so that n cultures cannot give less than 2 / n!. Questions "
        f"{prefix_phrase(prefix)}.",
        dict.fromkeys(percent, ".1f") | {"log2_ratio": ".2f", "rank_correlation": ".2f", **_P},
    )


def item_effects(*, item_effects: Path, names: Mapping[str, str], base: str, out: Path) -> None:
    """Write what crosses of what is known, guesses taken off, and how it goes with how often a fact was read.

    Args:
        item_effects: the table "item_effects".
        names: language code -> English name.
        base: code of the base language.
        out: path without suffix; .csv, .md and .tex are written.
    """
    table = tables.read(item_effects).drop(columns=["se", "df"])
    table["direction"] = [direction_label(direction, names[base]) for direction in table["direction"]]
    table["unleaked"] = table["unleaked"].map({True: "left out", False: "kept"})
    table["langs"] = [", ".join(names[lang] for lang in langs) for langs in table["langs"]]
    ends = ["estimate", "lo", "hi"]
    table.loc[table["quantity"] != RELATIVE, ends] *= 100
    write_table(
        table.rename(columns={"unleaked": "leaked_questions", "langs": "languages"}),
        out,
        "Known: share of questions known in the source language, guesses taken off (%). Known, never read: the same "
        "among facts that were never read there; away from 0 where counts miss statements or the answer is told by its "
        "looks, and the slope is then in doubt. Crossed of the known: what the "
        "bridge adds, of what is known and not answered without it (%). Gained of the unknown: the same among the "
        "others, which is no crossing (%). Guesses repeated: share of guesses in the source that the bridge repeats in "
        "the target, told by wrong options (%); they are taken off. Slope: points that each doubling of 1 + count adds "
        "to what crosses, an intercept for each language, both sides at once; 0 where frequency has no effect, "
        "whatever it does for knowledge. Slope / crossed: the same as a share of what crosses, by Fieller. "
        f"occurrences: judged passages of the corpus; presentations: texts consumed that state the fact. Into "
        f"{names[base]}: of what its base model had wrong there, so that what is kept is not taken for crossing. 95 % "
        "intervals. Missing where knowledge in the source is not told from guessing, or counts do not vary.",
        {**dict.fromkeys(ends, two_digits), **_P},
    )


def placements(
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
    out: Path,
    prefix: str,
) -> None:
    """Write the gaps of a planted world by where the fact was planted, and the estimand: source only - neither.

    Args:
        scores: tables "scores", one a run.
        questions: culture -> table "questions".
        truth: table "truth".
        names: language code -> English name.
        base: code of the base language.
        contrasts: pairs of arms.
        subset: which questions count.
        rule: how options are compared.
        last: number of final checkpoints pooled.
        out: path without suffix; .csv, .md and .tex are written.
        prefix: what the questions were asked behind.
    """
    table = planted_.placement_gaps(
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
    table["direction"] = [direction_label(direction, names[base]) for direction in table["direction"]]
    percent = ["gap", "lo", "hi"]
    table[percent] = 100 * table[percent].astype(np.float64)
    write_table(
        table.replace({"lang": dict(names)}),
        out,
        f"Gaps (percentage points, mean of {final_checkpoints(last)}) by where the planted world states the fact, "
        "and by whether parallel text mentions its entity (covered). What crosses is 'source only - neither': a fact "
        "that is stated nowhere cannot cross, so a gap there is proficiency or luck. scale 'risk set': of "
        "what is known in the source and not answered by the second arm, less what wrong options show when each is "
        "scored as the answer (%). 95 % intervals and p over questions alone, and over questions and seeds. Questions "
        f"{prefix_phrase(prefix)}.",
        {**dict.fromkeys(percent, ".1f"), **_P},
    )


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
    out: Path,
    prefix: str,
) -> None:
    """Write accuracies and gaps of a planted world by how often the source language alone states the fact.

    Args:
        scores: tables "scores", one a run.
        questions: culture -> table "questions".
        truth: table "truth".
        names: language code -> English name.
        base: code of the base language.
        contrasts: pairs of arms.
        subset: which questions count.
        rule: how options are compared.
        last: number of final checkpoints pooled.
        out: path without suffix; .csv, .md and .tex are written.
        prefix: what the questions were asked behind.
    """
    table = planted_.dose_response(
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
    table["direction"] = [direction_label(direction, names[base]) for direction in table["direction"]]
    table["covered"] = table["covered"].map({True: "yes", False: "no"})
    percent = ["value", "lo", "hi"]
    table[percent] = 100 * table[percent].astype(np.float64)
    write_table(
        table,
        out,
        f"Accuracy of each arm (%) and gaps (points) over {final_checkpoints(last)}, by dose: how many documents of "
        "the source language state the fact, which the other language's corpus never does. Covered: parallel text "
        "mentions the entity. Languages weigh the same. 95 % intervals and p over questions alone, and over "
        f"questions and seeds. Questions {prefix_phrase(prefix)}.",
        {**dict.fromkeys(percent, ".1f"), "p": _P["p"]},
    )
