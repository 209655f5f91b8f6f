"""What each run has read of the facts, and what the parallel text gives away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from lorebridge import tables
from lorebridge.figures import style
from lorebridge.figures.write import write_table
from lorebridge.tokens.arms import ARMS, FAR
from lorebridge.trace.leaks import leak_report

_MEASURES = {"n_presentations": "stating the fact", "n_subject": "naming the subject"}
# Colours of arms, for three kinds of text: no arm is drawn here.
_LINES: dict[str, Any] = {"mono": "-", "pairs-xx": "-", "pairs-en": (0, (3, 3)), "replay": (0, (1, 2))}
"""Dashes, so that a text which is read as often as another does not hide it."""
_TEXTS = {"mono": "no_bridge", "pairs-xx": "placebo", "pairs-en": "bridge", "replay": "labels_only"}


def _labels(base: str, table: pd.DataFrame) -> dict[str, str]:
    """Return how each kind of text is called; the base language's name is `base`."""
    labels = {
        "mono": "own language, monolingual",
        "pairs-xx": "own half of the pairs",
        "pairs-en": f"{base} half of the pairs",
        "replay": f"{base}, replayed",
    }
    return {text: label for text, label in labels.items() if text != "replay" or text in set(table["text"])}


def _whose(arms: Sequence[str], distance: str) -> str:
    """Say whose reading is shown.

    But for variants every arm reads the same pieces: by the end of each two steps, or of the run where the halves of
    pairs are shuffled far apart.
    """
    if any(ARMS[arm].variant for arm in arms):
        return f"Runs of the arm {arms[0]}; others leave text out, or read other text. "
    when = "by the end of the run" if distance == FAR else "after every two steps"
    return f"All arms have read the same texts {when}. "


def _read(exposure: Sequence[Path], arms: Sequence[str], base: str) -> pd.DataFrame:
    """Return the exposure of the first arm's runs, with the kind of text of each row."""
    frames = (table[table["arm"] == arms[0]] for table in map(tables.read, exposure))
    table = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
    in_base, is_half = table["lang"] == base, table["pairs"].notna()
    table["text"] = is_half.map({True: "pairs-xx", False: "mono"})
    table.loc[is_half & in_base, "text"] = "pairs-en"
    table.loc[~is_half & in_base & (table["stage"] == "ct"), "text"] = "replay"
    return table


def exposure(
    *, exposure: Sequence[Path], names: Mapping[str, str], base: str, arms: Sequence[str], distance: str, out: Path
) -> None:
    """Draw how many texts a run has read, up to each step, that state a question's fact or name its subject.

    Args:
        exposure: tables "exposure", one a run, in the order of the rows; runs of the first arm are drawn.
        names: language code -> English name.
        base: code of the base language.
        arms: the study's arms.
        distance: how far apart arms that part them have the halves of a pair (``no_bridge.distance``).
        out: path without suffix; .pdf, .svg and .png are written.
    """
    table = _read(exposure, arms, base)
    langs = list(dict.fromkeys(table["learned"].dropna()))
    with style.styled():
        fig, axes = plt.subplots(
            len(langs),
            2,
            layout="constrained",
            figsize=(style.PRINTED, 0.9 + 1.5 * len(langs)),
            sharex="row",
            squeeze=False,
        )
        for (left, right), lang in zip(axes, langs, strict=True):
            of_lang = table[table["learned"] == lang]
            for ax, measure in ((left, "n_presentations"), (right, "n_subject")):
                told = of_lang.dropna(subset=measure)
                means = told.groupby(["stage", "text", "seed", "step"])[measure].mean()
                before = means.loc["base"] if "base" in means.index.get_level_values("stage") else None
                if before is not None:
                    ax.axhline(before.mean(), color="0.35", linewidth=1.0, linestyle=(0, (4, 2)))
                for (text, _), curve in means.loc["ct"].groupby(["text", "seed"]):
                    colour = style.arm_style(_TEXTS[text])["color"]
                    steps, line = curve.index.get_level_values("step"), _LINES[text]
                    ax.plot(
                        steps, curve.to_numpy(), color=colour, linewidth=1.4, linestyle=line, zorder=2 + (line != "-")
                    )
                ax.set_ylim(bottom=0)
                ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
                ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            n = of_lang.dropna(subset="n_presentations")["question_id"].nunique()
            left.set_ylabel(f"{names[lang]} (n = {n})\ntexts per question")
        for ax, label in zip(axes[0], _MEASURES.values(), strict=True):
            ax.set_title(f"texts {label}")
        for ax in axes[-1]:
            ax.set_xlabel("step")
        handles = [
            Line2D([], [], color=style.arm_style(_TEXTS[text])["color"], linestyle=_LINES[text], label=label)
            for text, label in _labels(names[base], table).items()
        ]
        handles.append(
            Line2D([], [], color="0.35", linewidth=1.0, linestyle=(0, (4, 2)), label=f"{names[base]}, base training")
        )
        style.legend(
            fig,
            handles,
            columns=3,
            note="Mean over the questions that can be told; a line a seed. Counted on the tokens consumed, repeats "
            f"included. {_whose(arms, distance)}"
            "Grey: what the base model had read before.",
        )
        style.save(fig, out)


def consumed(*, exposure: Sequence[Path], names: Mapping[str, str], base: str, arms: Sequence[str], out: Path) -> None:
    """Write what the runs had read of the facts at their last step.

    Args:
        exposure: tables "exposure", one a run; runs of the first arm are shown.
        names: language code -> English name.
        base: code of the base language.
        arms: the study's arms.
        out: path without suffix; .csv, .md and .tex are written.
    """
    table = _read(exposure, arms, base)
    last = table[table["step"] == table.groupby(["learned", "seed", "stage"])["step"].transform("max")]
    labels = _labels(names[base], table) | {"mono": "monolingual"}
    rows = []
    for (lang, stage, text), of_text in last.groupby(["learned", "stage", "text"], sort=False):
        told = of_text.dropna(subset="n_presentations")
        rows.append(
            {
                "culture": names[str(lang)],
                "text": f"{names[base]}, base training" if stage == "base" else labels[str(text)],
                "tokens": of_text.groupby("seed")["n_tokens"].first().mean(),
                "questions": told["question_id"].nunique(),
                "stating": told["n_presentations"].mean(),
                "distinct": told["n_distinct_docs"].mean(),
                "naming_subject": of_text["n_subject"].mean(),
                "never_stated": 100 * (told["n_presentations"] == 0).mean(),
                "per_million_tokens": 1e6 * told["n_presentations"].mean() / of_text["n_tokens"].mean(),
            }
        )
    write_table(
        pd.DataFrame(rows),
        out,
        "What a run had read of the facts at its last step, mean over seeds: tokens consumed; texts read that state a "
        "question's fact (stating; repeats included, and distinct), per question that can be told; texts that name its "
        "subject; share of the questions whose fact it never read (%). The base model's reading comes beside.",
        {"tokens": ",.0f", "never_stated": ".1f", **dict.fromkeys(("stating", "distinct", "naming_subject"), ".2f")},
    )


def leaks(*, leaks: Path, names: Mapping[str, str], out: Path) -> None:
    """Write the leak report: how many facts the parallel text states outright.

    Args:
        leaks: the table "leaks".
        names: language code -> English name.
        out: path without suffix; .csv, .md and .tex are written.
    """
    report = leak_report(tables.read(leaks))
    report["half"] = [names.get(lang, lang) for lang in report.pop("lang")]
    report["culture"] = report["culture"].map(dict(names))
    report["share"] *= 100
    columns = ["culture", "half", "questions", "told", "covered", "leaked", "share", "pairs"]
    write_table(
        report[columns],
        out,
        "Leaks: questions whose fact some pair of the parallel text states, subject and answer in one sentence of one "
        "half. told: questions whose subject and answer can be looked for; covered: whose subject some pair names; "
        "share: leaked / told (%); pairs: stating pairs, summed over questions.",
        {"share": ".1f"},
    )
