"""Tables for people: the same rows as CSV (full precision), Markdown and LaTeX (rounded, booktabs)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lorebridge import publish

_LATEX = str.maketrans(
    {
        **{c: f"\\{c}" for c in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
)


Format = str | Callable[[float], str]
"""How numbers are shown: a format specification, or a function of the number."""


def two_digits(value: float) -> str:
    """Return a number with two significant digits, and no fewer than its whole ones.

    For columns whose rows are of several units, so that no number of decimals fits all.

    >>> [two_digits(value) for value in (0.0457, -3.14159, 44.76, 109.7)]
    ['0.046', '-3.1', '45', '110']
    """
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"


def final_checkpoints(last: int) -> str:
    """Return which checkpoints are pooled, in words.

    >>> final_checkpoints(1), final_checkpoints(3)
    ('the last checkpoint', 'the last 3 checkpoints')
    """
    return "the last checkpoint" if last == 1 else f"the last {last} checkpoints"


def write_table(table: pd.DataFrame, stem: Path, caption: str, formats: Mapping[str, Format] | None = None) -> None:
    """Write `table` as STEM.csv, STEM.md and STEM.tex; the bytes depend on the arguments alone.

    Args:
        table: rows; column names in snake case become headings.
        stem: path without suffix; its name is the LaTeX label.
        caption: plain text: what the table shows and how its numbers were made.
        formats: column -> how its numbers are shown in Markdown and LaTeX; default ``,`` for integers,
            ``.3g`` for other numbers. Missing values are dashes.
    """
    with publish.whole(_with_suffix(stem, "csv")) as partial:
        table.to_csv(partial, index=False, float_format="%.10g", lineterminator="\n")
    formats = formats or {}
    shown = pd.DataFrame(
        {
            str(name).replace("_", " "): [_text(value, formats.get(str(name))) for value in table[name]]
            for name in table.columns
        },
        dtype=str,
    )
    numeric = [pd.api.types.is_numeric_dtype(table[name]) for name in table.columns]
    sides = ["right" if right else "left" for right in numeric]
    markdown = shown.to_markdown(index=False, disable_numparse=True, colalign=sides)
    publish.write_text(_with_suffix(stem, "md"), f"{caption}\n\n{markdown}\n")
    latex = shown.map(_latex).rename(columns=_latex).style.hide(axis="index")
    text = latex.to_latex(
        hrules=True,
        caption=_latex(caption),
        label=f"tab:{stem.name}",
        position="tb",
        position_float="centering",
        column_format="".join(side[0] for side in sides),
    )
    publish.write_text(_with_suffix(stem, "tex"), text)


def _with_suffix(stem: Path, suffix: str) -> Path:
    """Return STEM.suffix; a dot in the stem's name stays."""
    return stem.with_name(f"{stem.name}.{suffix}")


def _text(value: Any, specification: Format | None) -> str:
    """Return a cell as text."""
    if pd.isna(value):
        return "–"
    if isinstance(value, str):
        return value
    if float(value).is_integer() and specification is None:
        return f"{int(value):,}"
    return specification(value) if callable(specification) else format(value, specification or ".3g")


def _latex(text: str) -> str:
    """Return `text` with the characters that LaTeX reads as commands escaped.

    >>> _latex("50 % of no_bridge")
    '50 \\\\% of no\\\\_bridge'
    """
    return text.translate(_LATEX)
