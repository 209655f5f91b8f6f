"""One look for all figures: fonts for five scripts, colours, and files whose bytes depend on the data alone."""

from __future__ import annotations

import contextlib
import functools
import itertools
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib import pyplot as plt
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from lorebridge import publish
from lorebridge.tokens.arms import ARMS, ENGLISH_MATCHED, LEAK_FREE, LEAK_ONLY, REPLAY

FONTS = Path(__file__).parent / "fonts"
LATIN = "DejaVu Sans"
# Inches: the width of a page's text in print (ACL, NeurIPS and A4 have 5.5 to 6.3), so that letters keep their size.
PRINTED = 6.3


def palette() -> list[Any]:
    """Return ten colours that people tell apart who do not see all of them."""
    import seaborn  # half of what it costs to start, and most that import this module draw tables

    return list(seaborn.color_palette("colorblind"))


# Places in the palette.
_COLOURS = dict(bridge=0, no_bridge=1, placebo=2, labels_only=4, glued=5, xx_first=6, untagged=7)
_COLOURS |= dict(no_bridge_exchanged=8, no_bridge_reseeded=9)
_MARKERS = {
    "bridge": "o",
    "no_bridge": "s",
    "placebo": "^",
    "labels_only": "D",
    "glued": "v",
    "base": "o",
    "xx_first": ">",
    "untagged": "<",
    "no_bridge_exchanged": "h",
    "no_bridge_reseeded": "H",
}
# A variant has the colour of its arrangement, lighter or darker, and a marker of its own.
_VARIANTS = {LEAK_FREE: ("X", 0.45), LEAK_ONLY: ("*", -0.6), ENGLISH_MATCHED: ("d", 0.65), REPLAY: ("p", -0.3)}


DASHES: tuple[Any, ...] = ("-", (0, (4, 3)), (0, (2, 3)), (0, (6, 2, 1, 2)))
"""Of lines that may lie on each other, in the order of the legend: the first is seen between the others' dashes."""


def arm_style(arm: str) -> dict[str, Any]:
    """Return colour and marker of an arm; an arm without its own gets grey, so that a new one needs no edit here."""
    if arm in ARMS and ARMS[arm].variant:
        marker, shade = _VARIANTS[ARMS[arm].variant]
        towards = np.full(3, float(shade > 0))
        shaded = (1 - abs(shade)) * np.array(palette()[_COLOURS[ARMS[arm].arrangement]]) + abs(shade) * towards
        return {"color": tuple(shaded.tolist()), "marker": marker}
    colour = palette()[_COLOURS[arm]] if arm in _COLOURS else "0.35" if arm == "base" else "0.5"
    return {"color": colour, "marker": _MARKERS.get(arm, "P")}


def contrast_colours(contrasts: Sequence[str]) -> dict[str, Any]:
    """Return a colour for each contrast of two arms; from the eleventh on they come again."""
    colours = palette()
    return dict(zip(contrasts, itertools.cycle(colours[i] for i in (0, 2, 1, 4, 5, 6, 7, 8, 9, 3)), strict=False))


@functools.cache
def families() -> tuple[str, ...]:
    """Register the fonts that come with the package and return the names of all families, Latin first."""
    names = []
    for path in sorted(FONTS.glob("*.ttf")):
        font_manager.fontManager.addfont(path)
        names.append(font_manager.FontProperties(fname=path).get_name())
    return (LATIN, *names)


@functools.cache
def _characters(family: str) -> frozenset[int]:
    """Return the code points that a family has glyphs for."""
    families()
    path = font_manager.findfont(font_manager.FontProperties(family=family), fallback_to_default=False)
    return frozenset(font_manager.get_font(path).get_charmap())


def fonts_for(text: str) -> list[str]:
    """Return the font families for `text`, the one that has most of its letters first.

    Letters of one word must come from one font, or marks are not stacked (Tibetan) and letters not joined
    (Mongolian); and DejaVu Sans has the narrow no-break space, which would cut a Mongolian word from its suffix.
    """
    letters = [ord(c) for c in text if c.isalpha()]
    return sorted(families(), key=lambda family: -sum(c in _characters(family) for c in letters))


def missing_glyphs(text: str) -> set[str]:
    """Return the characters of `text` that no font of the figures can draw."""
    known = frozenset().union(*(_characters(family) for family in families()))
    return {c for c in text if ord(c) not in known}


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Draw in the common style; figures are closed at the end."""
    import seaborn

    settings = {
        **seaborn.axes_style("ticks"),
        "font.family": list(families()),
        "font.size": 8.5,
        "axes.titlesize": 9,
        "axes.labelsize": 8.5,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.7,
        "xtick.major.width": 0.7,
        "ytick.major.width": 0.7,
        "pdf.fonttype": 42,  # TrueType: text stays text, and publishers take it
        "svg.fonttype": "path",  # a browser need not have the fonts
        "svg.hashsalt": "lorebridge",
        "savefig.dpi": 200,
    }
    with mpl.rc_context(settings):
        try:
            yield
        finally:
            plt.close("all")


def percent(axis: Axis) -> None:
    """Label an axis of shares in percent, with as many digits as its ticks need: rounded ones would come twice."""
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.6g}".replace("-", "−")))


def save(fig: Figure, out: Path) -> None:
    """Write `fig` as OUT.pdf, OUT.svg and OUT.png, without dates."""
    for suffix, undated in (("pdf", {"CreationDate": None}), ("svg", {"Date": None}), ("png", {})):
        with publish.whole(out.with_name(f"{out.name}.{suffix}")) as partial:
            fig.savefig(partial, format=suffix, metadata=undated, bbox_inches="tight", pad_inches=0.04)


def smoothed(values: Sequence[float] | np.ndarray, weight: float) -> np.ndarray:
    """Return the exponential moving average s_t = w s_(t-1) + (1 - w) x_t with s_0 = x_0, shape (t,).

    >>> smoothed([0.0, 1.0, 1.0], 0.8).round(3).tolist()
    [0.0, 0.2, 0.36]
    """
    average = np.empty(len(values))
    for t, value in enumerate(values):
        average[t] = value if t == 0 else weight * average[t - 1] + (1 - weight) * value
    return average


def legend(fig: Figure, handles: Sequence[Any], *, note: str, columns: int = 4) -> None:
    """Put the legend below the panels, and under it a note that says how to read what is drawn."""
    width = int(fig.get_figwidth() * 17)
    fig.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(columns, len(handles)),
        columnspacing=1.4,
        title="\n".join(textwrap.wrap(note, width)),
        title_fontsize=7.5,
        alignment="center",
    )


def arm_handles(arms: Sequence[str]) -> list[Line2D]:
    """Return legend entries for arms."""
    return [Line2D([], [], label=arm, linewidth=1.8, markersize=4, **arm_style(arm)) for arm in arms]


def seeds_phrase(seeds: int) -> str:
    """Return how many seeds, in words.

    >>> seeds_phrase(1), seeds_phrase(2)
    ('one seed', '2 seeds')
    """
    return "one seed" if seeds == 1 else f"{seeds} seeds"
