"""The figures and the tables of a study of removal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lorebridge import tables
from lorebridge.corpora.qa_tasks import CONTEXT, CONTEXT_BASE, MCQ, OPEN
from lorebridge.figures import style
from lorebridge.figures.write import Format, write_table
from lorebridge.studies.removal.published import FITS, LEVELS, PRINTED
from lorebridge.tokens.levels import BOTH, NEITHER, NOTHING, TEST
from lorebridge.transfer.inference import QUESTIONS_ONLY
from lorebridge.transfer.removal import BEYOND, CROSSES, EVERY, GENERATED, ORDER, UNTUNED
from lorebridge.transfer.verdicts import EQUIVALENT, UNDECIDED

HEADLINE = ("em_folded", "correct")
"""What figures and the page's sentences show: folded exact match, and of options whether the right one is chosen."""
TASKS = {OPEN: "open", MCQ: "multiple choice", CONTEXT: "own context", CONTEXT_BASE: "context in the base language"}
_SPLITS = {TEST: ("o", 0), BOTH: ("s", 2), NEITHER: ("^", 7)}
"""Split -> its marker and its place in the palette."""


def _order(names: Mapping[str, str], base: str) -> list[str]:
    return sorted(names, key=lambda lang: lang != base)


def _levels(found: pd.Series) -> list[str]:
    return sorted(found.unique(), key=lambda level: (ORDER.index(level) if level in ORDER else len(ORDER), level))


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return what figures show: what models write, over all questions, by the headline's metrics."""
    return table[(table["rule"] == GENERATED) & (table["questions"] == EVERY) & table["metric"].isin(HEADLINE)]


def _panels(table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Return size, tuning and task of each row of panels, tuned models first; a missing size is empty."""
    found = table.assign(size=table["size"].fillna(""))[["size", "tuned", "task"]].drop_duplicates()
    keys = [(str(size), str(tuned), str(task)) for size, tuned, task in found.itertuples(index=False)]
    return sorted(keys, key=lambda key: (key[1] == UNTUNED, key[0], list(TASKS).index(key[2])))


def _heading(size: str, tuned: str, task: str) -> str:
    """Return what a row of panels is called.

    >>> _heading("", "none", "mcq"), _heading("200M", "mcq", "mcq"), _heading("", "joint", "open")
    ('multiple choice, untuned', '200M, multiple choice', 'open, tuned on joint')
    """
    how = ", untuned" if tuned == UNTUNED else "" if tuned == task else f", tuned on {tuned}"
    return f"{f'{size}, ' if size else ''}{TASKS.get(task, task)}{how}"


def removed(*, filter_sizes: Path, names: Mapping[str, str], base: str, out: Path) -> None:
    """Draw which share of the text goes at each level, and which share of the test's facts is still stated.

    Args:
        filter_sizes: the table.
        names: code -> name of each language.
        base: the base language.
        out: path without suffix.
    """
    table = tables.read(filter_sizes)
    levels, colours = _levels(table["level"]), style.palette()
    langs = [lang for lang in _order(names, base) if lang in set(table["lang"])]
    with style.styled():
        fig, (left, right) = plt.subplots(1, 2, layout="constrained", figsize=(style.PRINTED, 2.4))
        wide = 0.8 / max(len(langs), 1)
        handles = []
        for index, lang in enumerate(langs):
            rows = table[table["lang"] == lang].set_index("level").reindex(levels)
            places = np.arange(len(levels)) + wide * (index - (len(langs) - 1) / 2)
            whole = (rows["n_tokens"] - rows["tokens_reserve"] + rows["tokens_removed"]).replace(0, np.nan)
            facts = rows["residual_facts"].astype(float) / rows["n_facts"].replace(0, np.nan)
            colour = colours[3 if lang == base else 0]
            for ax, shares in ((left, rows["tokens_removed"] / whole), (right, facts)):
                ax.bar(places, 100 * shares.astype(float), wide, color=colour)
                for x, share in zip(places, 100 * shares.astype(float), strict=True):
                    if not np.isnan(share):
                        ax.annotate(f"{share:.0f}", (x, share), (0, 1), textcoords="offset points", ha="center", size=6)
            handles.append(Patch(color=colour, label=names[lang]))
        for ax, label in ((left, "tokens removed, %"), (right, "facts of the test still stated, %")):
            ax.set_xticks(range(len(levels)), levels)
            ax.set_ylim(0, 108)
            ax.set_ylabel(label)
        fig.legend(handles=handles, loc="outside lower center", ncols=len(langs))
        style.save(fig, out)
        plt.close(fig)


def answers(
    *, qa_accuracy: Path, equivalence: Path, qa_baselines: Path, names: Mapping[str, str], base: str, out: Path
) -> None:
    """Draw how many answers are right at each level, beside the band of equivalence and the best baseline.

    Args:
        qa_accuracy: the table.
        equivalence: the table, of which the margins are.
        qa_baselines: the table.
        names: code -> name of each language.
        base: the base language.
        out: path without suffix.
    """
    table = _shown(tables.read(qa_accuracy))
    table = table[table["split"].isin(_SPLITS)].dropna(subset=["value"])
    tested = tables.read(equivalence, ["metric", "margin"]).drop_duplicates("metric")
    margins = dict(zip(tested["metric"], tested["margin"], strict=True))
    floors = _floors(tables.read(qa_baselines))
    keys, levels = _panels(table), _levels(table["level"])
    langs = [lang for lang in _order(names, base) if lang in set(table["lang"])]
    colours, splits = style.palette(), [split for split in _SPLITS if split in set(table["split"])]
    with style.styled():
        fig, axes = plt.subplots(
            max(len(keys), 1),
            max(len(langs), 1),
            layout="constrained",
            squeeze=False,
            sharex=True,
            sharey="row",
            figsize=(style.PRINTED, 0.7 + 1.55 * max(len(keys), 1)),
        )
        for of_row, (size, tuned, task) in zip(axes, keys, strict=False):
            of = table[(table["size"].fillna("") == size) & (table["tuned"] == tuned) & (table["task"] == task)]
            for ax, lang in zip(of_row, langs, strict=True):
                for index, split in enumerate(splits):
                    rows = of[(of["lang"] == lang) & (of["split"] == split)].set_index("level").reindex(levels)
                    marker, colour = _SPLITS[split]
                    if split == TEST:
                        _band(ax, rows, margins)
                    value, lo, hi = (100 * rows[column].astype(float) for column in ("value", "lo", "hi"))
                    ax.errorbar(
                        np.arange(len(levels)) + 0.2 * (index - (len(splits) - 1) / 2),
                        value,
                        yerr=np.abs(np.stack([value - lo.fillna(value), hi.fillna(value) - value])),
                        fmt=marker,
                        color=colours[colour],
                        markersize=4,
                        linewidth=1,
                    )
                floor = floors.get((task, lang, TEST))
                if floor is not None:
                    ax.axhline(100 * floor, color="0.4", linestyle=":", linewidth=0.9)
                ax.set_xticks(range(len(levels)), levels)
                ax.set_xlim(-0.6, len(levels) - 0.4)
            of_row[0].set_ylabel("right, %")
            of_row[0].set_title(f"{_heading(size, tuned, task)}: {names[langs[0]]}")
            for ax, lang in zip(of_row[1:], langs[1:], strict=True):
                ax.set_title(names[lang])
            of_row[0].set_ylim(bottom=0)
        handles: list[Any] = [
            Line2D(
                [], [], marker=_SPLITS[split][0], linestyle="", color=colours[_SPLITS[split][1]], label=_LABELS[split]
            )
            for split in splits
        ]
        handles += [
            Patch(color="0.88", label="f0 ± margin"),
            Line2D([], [], color="0.4", linestyle=":", linewidth=0.9, label="best baseline"),
        ]
        fig.legend(handles=handles, loc="outside lower center", ncols=5, columnspacing=1.0, fontsize=7)
        style.save(fig, out)
        plt.close(fig)


_LABELS = {TEST: "the test", BOTH: "stated in both, always", NEITHER: "stated nowhere"}


def _band(ax: Axes, rows: pd.DataFrame, margins: Mapping[str, float]) -> None:
    """Draw what lies within the margin of level f0."""
    if NOTHING in rows.index and rows["metric"].get(NOTHING) in margins:
        row = rows.loc[NOTHING].to_dict()
        middle, margin = float(row["value"]), float(margins[row["metric"]])
        ax.axhspan(100 * max(middle - margin, 0), 100 * (middle + margin), color="0.88", zorder=0, linewidth=0)


def _floors(table: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    """Return (task, lang, split) -> the best baseline by the headline's metrics."""
    kept = table[table["metric"].isin(HEADLINE)].dropna(subset=["value"])
    best = kept.groupby(["task", "lang", "split"])["value"].max().reset_index().to_dict("records")
    return {(str(row["task"]), str(row["lang"]), str(row["split"])): float(row["value"]) for row in best}


def differences(*, equivalence: Path, names: Mapping[str, str], base: str, out: Path) -> None:
    """Draw what each level differs by from ``f0`` on the test, with the margin.

    Args:
        equivalence: the table.
        names: code -> name of each language.
        base: the base language.
        out: path without suffix.
    """
    table = tables.read(equivalence)
    _forest(table[table["split"] == TEST], names, base, "difference from f0, points", out)


def crossing(*, equivalence: Path, names: Mapping[str, str], base: str, out: Path) -> None:
    """Draw how many more of the test's questions are right at each level than of those that no text answers.

    Args:
        equivalence: the table.
        names: code -> name of each language.
        base: the base language.
        out: path without suffix.
    """
    table = tables.read(equivalence)
    _forest(table[table["split"] == CROSSES], names, base, "test less stated nowhere, points", out)


def _forest(table: pd.DataFrame, names: Mapping[str, str], base: str, label: str, out: Path) -> None:
    """Draw estimates with intervals, a panel a tuning and task, a colour a language, the margin as a band."""
    table = _shown(table)
    table = table[table["scope"] == QUESTIONS_ONLY].dropna(subset=["estimate"])
    table = table.assign(level=table["contrast"].str.split(" - ").str[0])
    keys, levels = _panels(table), _levels(table["level"])
    langs = [lang for lang in _order(names, base) if lang in set(table["lang"])]
    colours = style.palette()
    wide = max(len(keys), 1) if len(keys) < 4 else 2 if len(keys) == 4 else 3
    high = -(-max(len(keys), 1) // wide)
    with style.styled():
        fig, axes = plt.subplots(
            high,
            wide,
            layout="constrained",
            squeeze=False,
            sharey=True,
            figsize=(style.PRINTED, 0.7 + high * (0.7 + 0.24 * len(levels))),
        )
        for ax in axes.ravel()[len(keys) :]:
            ax.axis("off")
        for ax, (size, tuned, task) in zip(axes.ravel(), keys, strict=False):
            of = table[(table["size"].fillna("") == size) & (table["tuned"] == tuned) & (table["task"] == task)]
            for margin in of["margin"].unique():
                ax.axvspan(-100 * margin, 100 * margin, color="0.88", zorder=0, linewidth=0)
            ax.axvline(0, color="0.5", linewidth=0.7, zorder=1)
            for row in of.to_dict("records"):
                index = langs.index(row["lang"])
                colour = colours[3 if row["lang"] == base else 0]
                ax.errorbar(
                    100 * row["estimate"],
                    levels.index(row["level"]) + 0.3 * (index - (len(langs) - 1) / 2),
                    xerr=_reach(row),
                    fmt="s" if row["verdict"] == EQUIVALENT else "o",
                    color=colour,
                    markerfacecolor="white" if row["verdict"] == UNDECIDED else colour,
                    markersize=4,
                    linewidth=1,
                )
            ax.set_yticks(range(len(levels)), levels)
            ax.set_ylim(len(levels) - 0.5, -0.5)
            ax.set_title(_heading(size, tuned, task), fontsize=8)
        # Of panels, and not of the figure, whose label the legend below would cover.
        for ax in axes[-1]:
            ax.set_xlabel(label, fontsize=7.5)
        handles: list[Any] = [
            Line2D([], [], color=colours[3 if lang == base else 0], linewidth=1.6, label=names[lang]) for lang in langs
        ]
        handles += [
            Line2D([], [], marker="o", linestyle="", color="0.3", markersize=4, label="shown to differ"),
            Line2D([], [], marker="s", linestyle="", color="0.3", markersize=4, label="equivalent"),
            Line2D([], [], marker="o", linestyle="", color="0.3", markerfacecolor="w", markersize=4, label="undecided"),
            Patch(color="0.88", label="margin"),
        ]
        fig.legend(handles=handles, loc="outside lower center", ncols=len(handles), columnspacing=1.0, fontsize=7)
        style.save(fig, out)
        plt.close(fig)


def _reach(row: Mapping[Any, Any]) -> np.ndarray:
    """Return how far an interval reaches to either side, in points; 0 where it has no end."""
    ends = [row["estimate"] - row["lo"], row["hi"] - row["estimate"]]
    return 100 * np.array([[0.0 if pd.isna(end) else max(end, 0.0)] for end in ends])


def _named(table: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Return a table with the names of languages, and without the column of sizes where all models have one."""
    said = table["lang"].map(lambda lang: names.get(lang, lang) if isinstance(lang, str) else "")
    table = table.assign(lang=said).rename(columns={"lang": "language"})
    return table.drop(columns="size") if "size" in table and table["size"].isna().all() else table


def removed_table(*, filter_sizes: Path, names: Mapping[str, str], base: str, out: Path) -> None:
    """Write what each level has to read of each language, and what it still states."""
    table = tables.read(filter_sizes)
    place = {lang: index for index, lang in enumerate(_order(names, base))}
    table = table.sort_values("lang", key=lambda lang: lang.map(place), kind="stable")
    whole = (table["n_tokens"] - table["tokens_reserve"] + table["tokens_removed"]).replace(0, np.nan)
    facts = table["residual_facts"].astype(float) / table["n_facts"].replace(0, np.nan).astype(float)
    table = table.assign(removed_share=100 * table["tokens_removed"] / whole, stated_share=100 * facts)
    caption = (
        "What each level has of each language: documents and tokens that are read, tokens removed, tokens of the "
        "reserve in their place, the difference of tokens from f0; and how many of the test's facts are still "
        "stated by what is read. Shares in percent: of the tokens at f0, and of the facts. What is removed is "
        "pages: a fact may stand on others."
    )
    write_table(_named(table, names), out, caption, {"removed_share": ".1f", "stated_share": ".1f"})


def answers_table(*, qa_accuracy: Path, names: Mapping[str, str], base: str, out: Path) -> None:
    """Write how right the models of each level are, in percent."""
    table = tables.read(qa_accuracy)
    shares = ["value", "lo", "hi"]
    table[shares] = 100 * table[shares].astype(float)
    caption = (
        "How right the answers at each level are, in percent, with intervals of 95 % over clusters of questions "
        "(those of one page), given these models: exact match (em) and F1 in two normalisations, and of options "
        "whether the right one is chosen (correct). The rule says how an answer is read; 'no overlap' leaves out "
        "questions whose answer models are tuned on."
    )
    write_table(_named(table, names), out, caption, dict.fromkeys(shares, ".1f"))


def differences_table(*, equivalence: Path, names: Mapping[str, str], base: str, out: Path) -> None:
    """Write all differences with the tests of any and of none, in points."""
    table = tables.read(equivalence)
    points = ["margin", "estimate", "lo", "hi"]
    table[points] = 100 * table[points].astype(float)
    caption = (
        "Differences in points, with intervals of 95 %, given these models or over seeds; the p-value of no "
        "difference, and those of two one-sided tests (TOST), of a difference of the margin or more below 0 (p_lower) "
        "and above it (p_upper), the larger of which is p_equivalent. The verdict is by the p-values of families "
        f"(Holm): the levels and languages of one split and metric. {CROSSES} compares questions of the test with "
        f"such as no text answers; {BEYOND} a difference on the test with that on questions that the text of all "
        "levels answers."
    )
    p = [column for column in map(str, table.columns) if column == "p" or column.startswith("p_")]
    formats: dict[str, Format] = {**dict.fromkeys(points, ".1f"), **dict.fromkeys(p, ".3f")}
    write_table(_named(table, names), out, caption, formats)


def correlations_table(*, qa_correlation: Path, out: Path) -> None:
    """Write how answers in the two languages go together."""
    table = tables.read(qa_correlation)
    if table["size"].isna().all():
        table = table.drop(columns="size")
    caption = (
        "Correlation of being right in the two languages: at a level over questions, within each model and "
        "averaged, with intervals by a bootstrap of clusters of questions; at 'all' over models, with Fisher's. "
        "Questions that are easy in both languages make it positive where nothing crosses."
    )
    write_table(table, out, caption, dict.fromkeys(("r", "lo", "hi"), ".2f"))


def power_table(*, qa_power: Path, names: Mapping[str, str], base: str, out: Path) -> None:
    """Write what questions can show before any model is trained, in points."""
    table = tables.read(qa_power)
    points = ["detectable", "margin"]
    table[points] = 100 * table[points].astype(float)
    caption = (
        "What the questions can show before any model is trained, with 80 % power, in points, where a share of them "
        "(discordance) is right of one of two models and not of the other: the smallest difference that is found, "
        "and the smallest margin within which none can be shown (TOST). One seed: given these models; more: over "
        "seeds. Questions of one page count as if all were answered alike. A dash: no difference is found so often."
    )
    write_table(_named(table, names), out, caption, {"discordance": ".2f", "detectable": ".1f", "margin": ".1f"})


def baselines_table(*, qa_baselines: Path, names: Mapping[str, str], base: str, out: Path) -> None:
    """Write how right answers are that need no model, in percent."""
    table = tables.read(qa_baselines)
    table["value"] = 100 * table["value"].astype(float)
    caption = "How right answers are that need no model, in percent, by task, language and split."
    write_table(_named(table, names), out, caption, {"value": ".1f"})


def overlap_table(*, qa_overlap: Path, names: Mapping[str, str], base: str, out: Path) -> None:
    """Write how many questions have an answer that models are tuned on."""
    table = tables.read(qa_overlap)
    groups = table.groupby(["lang", "split"], sort=False)["overlaps"]
    shown = groups.agg(n_questions="size", n_overlap="sum").reset_index()
    shown["share"] = 100 * shown["n_overlap"] / shown["n_questions"]
    caption = (
        "Questions whose answer, case and marks aside, is that of a question that models are tuned on, in percent."
    )
    write_table(_named(shown, names), out, caption, {"share": ".1f"})


def alarms_table(*, removal_alarms: Path, names: Mapping[str, str], base: str, out: Path) -> None:
    """Write the alarms."""
    caption = (
        "Signs that the study's nulls say nothing. An alarm that could not have rung is not called silent: its "
        "verdict is 'cannot tell'."
    )
    write_table(_named(tables.read(removal_alarms), names), out, caption)


def printed_table(*, qa_accuracy: Path, base: str, target: str, out: Path) -> None:
    """Write what the paper prints beside what was found here, on the test's questions.

    Args:
        qa_accuracy: the table.
        base: the language that stands beside the paper's English.
        target: the language that stands beside its Hindi.
        out: path without suffix.
    """
    table = tables.read(qa_accuracy)
    table = table[(table["split"] == TEST) & (table["rule"] == GENERATED) & (table["questions"] == EVERY)]
    table = table[table["tuned"] != UNTUNED]
    sizes: Sequence[Any] = list(dict.fromkeys(table["size"].fillna("")))
    rows = []
    for (where, task, metric), by_lang in PRINTED.items():
        of = table[(table["task"] == task) & (table["metric"] == metric)]
        # Of several tuning sets the one of the task.
        of = of[of["tuned"] == task] if (of["tuned"] == task).any() else of
        for lang, ours in zip(by_lang, (base, target), strict=True):
            for level, printed in zip(LEVELS, by_lang[lang], strict=True):
                for size in sizes or [""]:
                    found = of[(of["lang"] == ours) & (of["level"] == level) & (of["size"].fillna("") == size)]
                    row = found.iloc[0] if len(found) else None
                    rows.append(
                        {
                            "where": where,
                            "task": TASKS[task],
                            "metric": metric,
                            "level": level,
                            "their_language": lang,
                            "printed": printed,
                            "their_n": FITS.get(where),
                            **({"size": size} if any(sizes) else {}),
                            "language": ours,
                            **{
                                name: np.nan if row is None else 100 * float(row[column])
                                for name, column in (("found", "value"), ("lo", "lo"), ("hi", "hi"))
                            },
                            "n": None if row is None else row["n_questions"],
                        }
                    )
    shown = pd.DataFrame(rows)
    shown[["their_n", "n"]] = shown[["their_n", "n"]].astype("Int64")
    caption = (
        "Tables 2 to 4 of Yang et al. beside what was found here, in percent, with intervals of 95 %. The paper "
        "gives no intervals and no numbers of questions; their_n is how many would give the exact matches that it "
        "prints (of Table 3 none below 4,539 would). Its English, where nothing was removed, has 1.3 % exact "
        "matches in Table 2: what is not known cannot be lost."
    )
    write_table(shown, out, caption, {"printed": ".2f", "found": ".1f", "lo": ".1f", "hi": ".1f"})
