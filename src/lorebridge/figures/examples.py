"""One question of each culture as it is asked, which also shows that every script is drawn with its own glyphs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.text import Text

from lorebridge import tables
from lorebridge.figures import style
from lorebridge.probes.questions import in_subset

_LEFT = 0.11  # where texts start, in shares of the figure's width; the language stands left of it


def examples(*, questions: Mapping[str, Path], names: Mapping[str, str], base: str, subset: str, out: Path) -> None:
    """Draw one question of each culture in both languages with its options, the gold in colour and underlined.

    Taken is the first question of the subset whose characters all have glyphs and that fits on one line, or the
    shortest where none fits. Mongolian, written from top to bottom, is laid on its side as in any horizontal line.

    Args:
        questions: culture -> table "questions".
        names: language code -> English name.
        base: code of the base language.
        subset: which questions may be chosen.
        out: path without suffix; .pdf, .svg and .png are written.
    """
    with style.styled():
        # Widths are measured before the figure is drawn, so the axes must not move after.
        fig = plt.figure(figsize=(style.PRINTED, 1.5 * len(questions)))
        ax = fig.add_axes((0, 0, 1, 1))
        ax.set_axis_off()
        ax.set_xlim(0, 1)
        ax.set_ylim(len(questions), 0)
        ax.axhline(0, color="0.6", linewidth=0.7)
        for row, (culture, path) in enumerate(questions.items()):
            asked = in_subset(tables.read(path), subset)
            langs = (culture, base)
            # The whole release has a question whose gold is missing from its options in one language.
            answered = asked.groupby(["question_id", "lang"])["is_gold"].transform("any")
            asked = asked[answered.groupby(asked["question_id"]).transform("all")]
            chosen = _choose(ax, {lang: _lines(asked[asked["lang"] == lang]) for lang in langs})
            ax.axhline(row + 1, color="0.6", linewidth=0.7)
            for line, lang in enumerate(langs):
                y = row + 0.22 + 0.46 * line
                ax.text(0, y, names[lang], fontsize=8, color="0.35", va="baseline")
                text, options, gold = chosen[lang]
                _write(ax, _LEFT, y, text, color="0.1")
                for i, option in enumerate(options):
                    colour = style.arm_style("bridge")["color"] if option == gold else "0.35"
                    _write(
                        ax, _LEFT + i * (1 - _LEFT) / len(options), y + 0.23, option, color=colour, gold=option == gold
                    )
        style.save(fig, out)


_Question = tuple[str, list[str], str]


def _lines(asked: pd.DataFrame) -> dict[str, _Question]:
    """Return question_id -> (text with a blank of one width, options, gold)."""
    return {
        str(question_id): (
            re.sub("_+", "____", rows["text"].iloc[0].strip()),
            rows["option"].str.strip().tolist(),
            rows[rows["is_gold"]]["option"].str.strip().iloc[0],
        )
        for question_id, rows in asked.sort_values(["question_id", "option_index"]).groupby("question_id", sort=True)
    }


def _choose(ax: Axes, by_lang: Mapping[str, Mapping[str, _Question]]) -> dict[str, _Question]:
    """Return the same question in every language, the first that fits among those that miss the fewest glyphs."""
    candidates = [
        {lang: of_lang[question] for lang, of_lang in by_lang.items()} for question in next(iter(by_lang.values()))
    ]
    missing = [
        len(style.missing_glyphs("".join(text + "".join(options) for text, options, _ in one.values())))
        for one in candidates
    ]
    drawable = [one for one, count in zip(candidates, missing, strict=True) if count == min(missing)]
    fitting = (one for one in drawable if all(_fits(ax, text, options) for text, options, _ in one.values()))
    return next(fitting, None) or min(drawable, key=lambda one: sum(len(text) for text, _, _ in one.values()))


def _fits(ax: Axes, text: str, options: list[str]) -> bool:
    """Return whether the text and the options, side by side, fit in the width of the figure."""
    room = 1 - _LEFT
    return _width(ax, text) <= room and all(_width(ax, option) <= room / len(options) - 0.015 for option in options)


def _width(ax: Axes, text: str) -> float:
    """Return the width of a text in shares of the width of `ax`."""
    drawn = _write(ax, 0, 0, text, color="k")
    extent = drawn.get_window_extent().transformed(ax.transData.inverted())
    drawn.remove()
    return extent.width


def _write(ax: Axes, x: float, y: float, text: str, *, color: str | tuple[float, ...], gold: bool = False) -> Text:
    """Draw a text with the font of its script."""
    drawn = ax.text(
        x, y, text, fontsize=8.5, fontfamily=style.fonts_for(text), color=color, va="baseline", parse_math=False
    )
    if gold:
        extent = drawn.get_window_extent().transformed(ax.transData.inverted())
        ax.plot([extent.x0, extent.x1], [y + 0.055, y + 0.055], color=color, linewidth=0.8)
    return drawn
