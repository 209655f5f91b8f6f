"""Language, alignment and copying over training: what a model can read, beside what it knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator

from lorebridge import tables
from lorebridge.figures import style
from lorebridge.figures.write import write_table
from lorebridge.probes import copying as copying_
from lorebridge.probes.copying import COPIES
from lorebridge.probes.prefixes import behind, prefix_phrase
from lorebridge.transfer.planted import memorised

MEMORISED = 0.95
"""Accuracy on the facts that a model's text states from which on it is said to know them: what is not known in the
source cannot cross, so that a base model that knows fewer makes a null of bridging weaker than it looks."""
NULL = "a null of bridging cannot be read"


def learning(
    *,
    perplexity: Sequence[Path],
    alignment: Sequence[Path],
    names: Mapping[str, str],
    base: str,
    arms: Sequence[str],
    out: Path,
    prefix: str,
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


def table(
    *,
    copying: Sequence[Path],
    names: Mapping[str, str],
    subset: str,
    rule: str,
    resamples: int,
    seed: int,
    out: Path,
    prefix: str,
    scores: Sequence[Path] = (),
    questions: Mapping[str, Path] | None = None,
    truth: Path | None = None,
) -> None:
    """Write what the models that others start from have learned: whether they copy, and know what their text states.

    Args:
        copying: tables "copying" of models that start from nothing, and of given ones.
        names: language code -> English name.
        subset: which questions count.
        rule: how options are compared.
        resamples: bootstrap resamples.
        seed: of the bootstrap.
        out: path without suffix; .csv, .md and .tex are written.
        prefix: what questions were asked behind.
        scores: tables "scores" of the same models; in a planted world, as what follows.
        questions: culture -> table "questions".
        truth: table "truth".
    """
    copied = pd.concat([tables.read(path) for path in copying], ignore_index=True)
    last = copied["step"].isna() | (copied["step"] == copied.groupby("run")["step"].transform("max"))
    rows = []
    for (run, lang), of_model in copied[last].groupby(["run", "lang"], sort=False):
        decides = next(text for text in copying_.DECIDES if (of_model["text"] == text).any())
        rows += [
            {
                "model": run,
                "language": names[str(lang)],
                "quantity": f"copies what was said: {row['text']}",
                "n": row["n_sequences"],
                "value": row["copied"],
                "lo": row["lo"],
                "hi": row["hi"],
                "threshold": COPIES if row["text"] == decides else float("nan"),
                "verdict": _told(copying_.verdict(row["lo"], row["hi"]), copying_.COPYING)
                if row["text"] == decides
                else "",
            }
            for row in of_model.to_dict("records")
        ]
    if truth is not None:
        known = memorised(
            scores=scores,
            questions=questions or {},
            truth=truth,
            subset=subset,
            rule=rule,
            resamples=resamples,
            seed=seed,
            prefix=prefix,
        )
        rows += [
            {
                "model": row["run"],
                "language": names[row["lang"]],
                "quantity": "answers facts that its text states" if row["stated"] else "answers facts stated nowhere",
                "n": row["n_questions"],
                "value": row["accuracy"],
                "lo": row["lo"],
                "hi": row["hi"],
                "threshold": MEMORISED if row["stated"] else float("nan"),
                "verdict": _told("knows" if row["accuracy"] >= MEMORISED else "does not know", "knows")
                if row["stated"]
                else "",
            }
            for row in known[known["lang"].isin(copied["lang"])].to_dict("records")
        ]
    write_table(
        pd.DataFrame(rows),
        out,
        "What the models that others start from have learned, at their last checkpoint. Copying: of the tokens that a "
        "document repeats, the share that is predicted, beyond what is predicted of the same tokens said once, as a "
        "share of the rest (0: no copying, 1: all), with a 95 % interval over sequences; a model copies where it lies "
        "above the threshold. A base model that does not copy has no use for the other half of a pair: that nothing "
        "crosses then says nothing of bridges."
        + (
            f" Facts: accuracy on the questions whose fact the language's text states, {prefix_phrase(prefix)}, with a "
            "95 % interval over clusters of questions; known where it reaches the threshold."
            if truth is not None
            else ""
        ),
        dict.fromkeys(("value", "lo", "hi", "threshold"), ".3f"),
    )


def _told(found: str, wanted: str) -> str:
    """Return a verdict, with what follows where it is not the one that is wanted."""
    return found if found == wanted else f"{found}: {NULL}"


def _curve(ax: plt.Axes, rows: pd.DataFrame, column: str, arm: str, line: object) -> None:
    """Draw one arm: each seed faint, their mean strong."""
    look = style.arm_style(arm)
    if rows["seed"].nunique() > 1:
        for _, one in rows.groupby("seed"):
            ax.plot(one["step"], one[column], linewidth=0.6, alpha=0.4, color=look["color"], linestyle=line)
    mean = rows.groupby("step")[column].mean()
    ax.plot(mean.index, mean, linewidth=1.5, linestyle=line, markersize=3, **look)
