"""The figure and the tables of a study of roots."""

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
from lorebridge.transfer.precision import LANGUAGES, ROWS, RULES

_MARKERS = "osD^vP*X"


def _last(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of each model's last checkpoint; a given model has one, without a step."""
    last = table.groupby("run")["step"].transform("max")
    return table[(table["step"] == last) | (table["step"].isna() & last.isna())]


def precision(*, p_at_1: Path, languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Draw precision by language, beside the majority answer; languages by their best precision.

    Args:
        p_at_1: the table.
        languages: code -> ``name, script, family``.
        out: path without suffix.
    """
    table = _last(tables.read(p_at_1))
    kept = table[(table["rule"] == RULES[0]) & table["relation"].isna() & (table["mean_over"] == ROWS)]
    kept = kept.dropna(subset=["lang"])
    order = kept.groupby("lang")["p1"].max().sort_values(kind="stable").index
    place = {lang: index for index, lang in enumerate(order)}
    with style.styled():
        fig, ax = plt.subplots(layout="constrained", figsize=(style.PRINTED, 1.2 + 0.16 * len(order)))
        bars = kept.drop_duplicates("lang").set_index("lang").reindex(order)
        ax.barh(range(len(order)), 100 * bars["majority"], color="0.85", label="majority answer")
        runs = list(dict.fromkeys(kept["run"]))
        for index, run in enumerate(runs):
            rows = kept[kept["run"] == run]
            y = rows["lang"].map(place) + 0.25 * (index - (len(runs) - 1) / 2)
            p1, lo, hi = (100 * rows[name] for name in ("p1", "lo", "hi"))
            ax.errorbar(
                p1,
                y,
                xerr=np.abs(np.stack([p1 - lo.fillna(p1), hi.fillna(p1) - p1])),
                fmt=_MARKERS[index % len(_MARKERS)],
                markersize=3,
                linewidth=0.8,
                label=run,
            )
        ax.set_yticks(range(len(order)), [f"{languages[lang]['name']} ({lang})" for lang in order], fontsize=6)
        ax.set_ylim(-0.7, len(order) - 0.3)
        ax.set_xlabel("P@1, %")
        ax.legend(loc="lower right")
        style.save(fig, out)
        plt.close(fig)


def precision_table(*, p_at_1: Path, languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Write precision over all facts, over languages, and by language; the headline lies above the majority."""
    table = tables.read(p_at_1)
    whole = table["lang"].isna() & table["mean_over"].isin([ROWS, LANGUAGES])
    by_lang = table["lang"].notna() & table["relation"].isna() & (table["mean_over"] == ROWS)
    kept = table[whole | by_lang]
    shown = pd.DataFrame(
        {
            "model": kept["run"],
            "step": kept["step"].astype("Int64"),
            "language": [
                languages[lang]["name"] if isinstance(lang, str) else f"all, mean over {over}"
                for lang, over in zip(kept["lang"], kept["mean_over"], strict=True)
            ],
            "right": kept["rule"],
            **{name: kept[name] for name in ("n", "n_clusters")},
            **{
                name: 100 * kept[name]
                for name in ("above", "above_lo", "above_hi", "p1", "lo", "hi", "chance", "majority", "copy", "ceiling")
            },
        }
    )
    numbers = dict.fromkeys(
        ("above", "above_lo", "above_hi", "p1", "lo", "hi", "chance", "majority", "copy", "ceiling"), ".1f"
    )
    caption = (
        "Precision at one on facts, in percent: what lies above the majority answer of each relation (learned from "
        "other facts), and precision itself, with 95 % intervals over clusters of facts that a subject or a prompt "
        "joins; beside what needs no model."
    )
    write_table(shown, out, caption, numbers)


def correlates_table(*, correlates: Path, out: Path) -> None:
    """Write what goes with precision over the languages."""
    table = tables.read(correlates)
    table["step"] = table["step"].astype("Int64")
    caption = (
        "What goes with precision at one over the languages. Intervals of 95 % by Fisher's z; languages are no "
        "independent draws, so that they are too narrow. The unit mask_counts is that of the paper's correlation with "
        "subwords, and has few points."
    )
    write_table(table, out, caption, dict.fromkeys(("r", "lo", "hi", "p"), ".2f"))


def published_table(*, published: Path, out: Path) -> None:
    """Write what the paper prints beside what its data give."""
    table = tables.read(published)
    caption = "What Zhao et al. (EACL 2024) print, and what their data give."
    write_table(table, out, caption)
