"""The figure and the table of a toy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib import pyplot as plt

from lorebridge import tables
from lorebridge.figures import style
from lorebridge.figures.write import write_table


def right(*, counts: Path, names: Mapping[str, str], out: Path) -> None:
    """Draw the right answers by checkpoint."""
    table = tables.read(counts)
    with style.styled():
        fig, ax = plt.subplots(layout="constrained", figsize=(4, 3))
        for (run, lang), rows in table.groupby(["run", "lang"]):
            label = f"{run}, asked in {names[lang]}"
            if rows["step"].isna().all():
                ax.axhline(rows["right"].iloc[0], linestyle="dashed", label=label)
            else:
                ax.plot(rows["step"], rows["right"], marker="o", label=label)
        ax.set_xlabel("step")
        ax.set_ylabel("right answers")
        ax.legend()
        style.save(fig, out)


def table(*, counts: Path, names: Mapping[str, str], out: Path) -> None:
    """Write the right answers."""
    rows = tables.read(counts)
    write_table(rows.assign(lang=rows["lang"].map(names)), out, "Right answers by model and checkpoint.")
