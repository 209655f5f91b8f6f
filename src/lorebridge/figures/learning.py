"""Language and alignment over training: what a model can read, beside what it knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator

from lorebridge import tables
from lorebridge.figures import style
from lorebridge.probes.prefixes import BARE, behind, prefix_phrase


def learning(
    *,
    perplexity: Sequence[Path],
    alignment: Sequence[Path],
    names: Mapping[str, str],
    base: str,
    arms: Sequence[str],
    out: Path,
    prefix: str = BARE,
) -> None:
    """Draw bits per byte of held-out text and MEXA over continual pretraining: a language a column, an arm a colour.

    The upper row is held-out text of the language learned (solid) and of the base language (dashed); the lower is MEXA
    of the best layer at each checkpoint (Kargaran et al., ACL Findings 2025, also report the mean over layers).

    Args:
        perplexity: tables "perplexity" of the continual pretraining runs, one a run.
        alignment: tables "alignment" of the same runs.
        names: language code -> English name.
        base: code of the base language.
        arms: the arms drawn, in the order of the legend.
        out: path without suffix; .pdf, .svg and .png are written.
        prefix: what held-out text stood behind.
    """
    text, pairs = (
        pd.concat([tables.read(path) for path in paths], ignore_index=True) for paths in (perplexity, alignment)
    )
    text = behind(text, prefix, "perplexity")
    langs = [lang for lang in dict.fromkeys(text["learned"].dropna()) if lang != base]
    drawn = [arm for arm in arms if arm in set(text["arm"])]
    with style.styled():
        fig, axes = plt.subplots(
            2,
            len(langs),
            layout="constrained",
            figsize=(1.2 + 2.1 * len(langs), 4.6),
            sharex="col",
            sharey="row",
            squeeze=False,
        )
        for column, lang in enumerate(langs):
            upper, lower = axes[:, column]
            of_text, of_pairs = text[text["learned"] == lang], pairs[pairs["learned"] == lang]
            best = of_pairs.groupby(["arm", "seed", "step"], as_index=False)["mexa"].max()
            for arm in drawn:
                for of_lang, line in ((lang, "-"), (base, (0, (3, 2)))):
                    rows = of_text[(of_text["arm"] == arm) & (of_text["lang"] == of_lang)]
                    _curve(upper, rows, "bits_per_byte", arm, line)
                _curve(lower, best[best["arm"] == arm], "mexa", arm, "-")
            seeds = of_text["seed"].nunique()
            upper.set_title(f"{names[lang]}\n{style.seeds_phrase(seeds)}")
            lower.set_title(f"n = {of_pairs['n_pairs'].max()} pairs" if len(of_pairs) else "no held-out pairs")
            lower.set_xlabel("step of continual pretraining")
            lower.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            upper.tick_params(labelbottom=True)
        axes[0, 0].set_ylabel("held-out text (bits per byte)")
        axes[1, 0].set_ylabel("MEXA, best layer (%)")
        style.percent(axes[1, 0].yaxis)
        axes[1, 0].set_ylim(bottom=0)
        style.legend(
            fig,
            style.arm_handles(drawn),
            columns=len(drawn),
            note="Mean of the seeds; faint: each seed. Where arms coincide, the last of the legend lies on top. Above, "
            f"solid: text of the language learned, dashed: {names[base]} text, {prefix_phrase(prefix)}; bytes of "
            "different scripts carry different amounts, so compare arms and not languages. Below: held-out "
            "translations that are each other's nearest neighbours in the layer where most are.",
        )
        style.save(fig, out)


def _curve(ax: plt.Axes, rows: pd.DataFrame, column: str, arm: str, line: object) -> None:
    """Draw one arm: each seed faint, their mean strong."""
    look = style.arm_style(arm)
    if rows["seed"].nunique() > 1:
        for _, one in rows.groupby("seed"):
            ax.plot(one["step"], one[column], linewidth=0.6, alpha=0.4, color=look["color"], linestyle=line)
    mean = rows.groupby("step")[column].mean()
    ax.plot(mean.index, mean, linewidth=1.5, linestyle=line, markersize=3, **look)
