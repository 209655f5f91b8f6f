"""What the way of scoring alone is worth: ties, the order of the options, and answers that need no knowledge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from lorebridge import tables
from lorebridge.figures import style
from lorebridge.figures.write import final_checkpoints, write_table
from lorebridge.probes import decisions
from lorebridge.probes.prefixes import behind, prefix_phrase
from lorebridge.transfer.accuracies import EVERY, of_arms
from lorebridge.transfer.credits import LAST

_LABELS = {
    "reference": "published rule: bfloat16, the first listed wins",
    "reversed": "the same, options listed backwards",
    "shared": "bfloat16, ties share the credit",
    "float32": "float32, ties share the credit",
}
_MARKERS = dict(zip(_LABELS, "o<sD", strict=True))


def figure(*, scorer: Path, names: Mapping[str, str], out: Path) -> None:
    """Draw what random models score: accuracy by rule on the left, the share of tied questions on the right.

    Args:
        scorer: the table "scorer".
        names: language code -> English name.
        out: path without suffix; .pdf, .svg and .png are written.
    """
    table = tables.read(scorer)
    sets = list(dict.fromkeys(zip(table["culture"], table["lang"], strict=True)))
    colours = dict(zip(_LABELS, style.palette(), strict=False))
    with style.styled():
        fig, (left, right) = plt.subplots(
            1, 2, layout="constrained", figsize=(7.2, 1.5 + 0.34 * len(sets)), sharey=True, width_ratios=(3, 1.2)
        )
        for y, (culture, lang) in enumerate(sets):
            rows = table[(table["culture"] == culture) & (table["lang"] == lang)]
            first, chance = rows["gold_first"].iloc[0], 1 / 4
            left.vlines([first], y - 0.4, y + 0.4, color="0.3", linewidth=1.4, zorder=1)
            left.hlines(y, min(chance, rows["accuracy"].min()), first, color="0.88", linewidth=0.8, zorder=0)
            for rule, of_rule in rows.groupby("rule", sort=False):
                values = of_rule["accuracy"].to_numpy()
                shift = 0.24 * (list(_LABELS).index(str(rule)) - 1.5) / 1.5
                left.scatter(
                    values,
                    np.full(len(values), y + shift),
                    s=9,
                    color=colours[rule],
                    alpha=0.35,
                    linewidths=0,
                    marker=_MARKERS[rule],
                    zorder=2,
                )
                left.scatter(
                    values.mean(),
                    y + shift,
                    s=26,
                    color=colours[rule],
                    edgecolors="white",
                    linewidths=0.5,
                    marker=_MARKERS[rule],
                    zorder=3,
                )
            for rule in ("reference", "float32"):
                tied = rows[rows["rule"] == rule]["tied"].mean()
                height = 0.17 if rule == "reference" else -0.17
                right.barh(y - height, tied, height=0.3, color=colours[rule], linewidth=0)
                # A bar of nothing is not seen.
                right.annotate(
                    f"{100 * tied:.0f}",
                    (tied, y - height),
                    xytext=(2, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=7,
                    color=colours[rule],
                    annotation_clip=False,
                )
        n_options = Line2D([], [], color="0.45", linestyle=(0, (4, 3)), linewidth=0.9, label="chance, four options")
        left.axvline(1 / 4, color="0.45", linestyle=(0, (4, 3)), linewidth=0.9, zorder=0)
        shown = [1 / 4, *table["accuracy"], *table["gold_first"]]
        left.set_xlim(max(0.0, min(shown) - 0.02), min(1.0, max(shown) + 0.02))
        right.set_xlim(0, min(1.0, max(0.05, 1.3 * table["tied"].max())))
        for ax, label in ((left, "accuracy of a random model (%)"), (right, "tied questions (%)")):
            ax.set_xlabel(label)
            style.percent(ax.xaxis)
            ax.tick_params(axis="y", length=0)
        sizes = table.groupby(["culture", "lang"])["n_questions"].first()
        left.set_yticks(
            range(len(sets)),
            [f"{names[culture]}, in {names[lang]} (n = {sizes[culture, lang]})" for culture, lang in sets],
        )
        left.set_ylim(len(sets) - 0.5, -0.5)
        handles = [
            Line2D([], [], color=colours[rule], marker=_MARKERS[rule], markersize=5, linewidth=0, label=label)
            for rule, label in _LABELS.items()
        ]
        first_listed = Line2D([], [], color="0.3", linewidth=1.4, label="share of answers listed first")
        style.legend(
            fig,
            [*handles, first_listed, n_options],
            columns=2,
            note=f"Models with random weights, {style.seeds_phrase(table['seed'].nunique())}: faint, each; strong, "
            "their mean. All released questions. Ties: more than one best option, by the loss in bfloat16 and in "
            "float32.",
        )
        style.save(fig, out)


def table(*, scorer: Path, names: Mapping[str, str], out: Path) -> None:
    """Write what random models score by each rule, in percent, the mean of the seeds and their range.

    Args:
        scorer: the table "scorer".
        names: language code -> English name.
        out: path without suffix; .csv, .md and .tex are written.
    """
    found = tables.read(scorer)
    n_seeds = found["seed"].nunique()
    rows = []
    for (culture, lang), part in found.groupby(["culture", "lang"], sort=False):
        accuracies = part.groupby("rule")["accuracy"]
        tied = part.groupby("rule")["tied"].mean()
        rows.append(
            {
                "culture": names[str(culture)],
                "asked_in": names[str(lang)],
                "n": part["n_questions"].iloc[0],
                "answer_listed_first": 100 * part["gold_first"].iloc[0],
                "tied_bfloat16": 100 * tied["reference"],
                "tied_float32": 100 * tied["float32"],
                **{rule: 100 * accuracies.mean()[rule] for rule in _LABELS},
                "reference_min": 100 * accuracies.min()["reference"],
                "reference_max": 100 * accuracies.max()["reference"],
            }
        )
    frame = pd.DataFrame(rows)
    write_table(
        frame,
        out,
        f"Accuracy (%) of models with random weights, mean of {style.seeds_phrase(n_seeds)}. reference: the published "
        "rule (loss in bfloat16, the first listed of tied options wins), and its range over seeds; reversed: the same "
        "with the options listed backwards; shared and float32: ties share the credit, by the loss in bfloat16 and in "
        "float32. tied: questions (%) with more than one best option. All released questions count.",
        {name: ".1f" for name in frame.columns[3:]},
    )


def ties(
    *,
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    accuracies: Path,
    names: Mapping[str, str],
    base: str,
    last: int,
    out: Path,
    prefix: str,
) -> None:
    """Write how much the trained runs of a study would gain from ties, in percent.

    The loss in bfloat16 is imitated by rounding the mean loss to the 8 significant bits that bfloat16 has; the
    published scorer also computes it in bfloat16, which moves it by more.

    Args:
        scores: tables "scores", one a run.
        questions: culture -> table "questions".
        accuracies: table "accuracies", of these runs.
        names: language code -> English name.
        base: code of the base language.
        last: number of final checkpoints that count, pooled so in `accuracies`.
        out: path without suffix; .csv, .md and .tex are written.
        prefix: what the questions were asked behind.
    """
    scored = behind(pd.concat([tables.read(path) for path in scores], ignore_index=True), prefix, "scores")
    ranks = scored[["run", "step"]].drop_duplicates().sort_values("step", ascending=False)
    final = ranks[ranks.groupby("run").cumcount() < last]
    scored = scored.merge(final, on=["run", "step"])
    in_float32 = _mean_of_runs(of_arms(accuracies, subset="reference", rule="mean", prefix=prefix), LAST)
    rounded = scored.assign(sum_logprob=_bfloat16(scored["sum_logprob"] / scored["n_tokens"]), n_tokens=1)
    rows = []
    for culture, path in questions.items():
        asked = tables.read(path)
        for lang in (culture, base):
            of_lang = asked[asked["lang"] == lang]
            gold = of_lang[of_lang["is_gold"]].drop_duplicates("question_id")
            n_questions = of_lang["question_id"].nunique()
            here = [frame[(frame["culture"] == culture) & (frame["lang"] == lang)] for frame in (scored, rounded)]
            rows.append(
                {
                    "culture": names[culture],
                    "asked_in": names[lang],
                    "n": n_questions,
                    "answer_listed_first": 100 * float((gold["option_index"] == 0).sum()) / n_questions,
                    "tied_float32": 100 * _tied(here[0]),
                    "tied_rounded": 100 * _tied(here[1]),
                    "float32": 100 * in_float32[culture, lang],
                    "rounded_shared": _percent(here[1], of_lang, "share"),
                    "rounded_first_wins": _percent(here[1], of_lang, "reference"),
                }
            )
    frame = pd.DataFrame(rows)
    write_table(
        frame,
        out,
        f"Ties of the trained runs, mean of {final_checkpoints(last)} (%): questions with more than one best "
        "option, and accuracy in float32 with ties sharing the credit, with the mean loss rounded to bfloat16 and ties "
        "sharing, and so rounded with the first listed winning. All released questions count; of questions without a "
        f"blank all options tie. Questions {prefix_phrase(prefix)}.",
        {name: ".1f" for name in frame.columns[3:]},
    )


def _bfloat16(values: pd.Series) -> np.ndarray:
    """Return `values` rounded to the nearest number with 8 significant bits."""
    fraction, exponent = np.frexp(values.to_numpy(np.float64))
    return np.ldexp(np.round(fraction * 256) / 256, exponent)


def _mean_of_runs(accuracies: pd.DataFrame, step: int) -> pd.Series:
    """Return (culture, lang) -> mean accuracy of all runs at a step."""
    single = accuracies[(accuracies["step"] == step) & (accuracies["seed"] != EVERY)]
    return single.groupby(["culture", "lang"])["accuracy"].mean()


def _percent(scored: pd.DataFrame, asked: pd.DataFrame, ties: str) -> float:
    return 100 * float(decisions.accuracy(scored, asked, subset="reference", ties=ties)["credit"].mean())


def _tied(scored: pd.DataFrame) -> float:
    """Return the share of questions, over runs and checkpoints, with more than one best option."""
    keys = ["run", "step", "question_id"]
    means = scored.assign(value=decisions.rule_values(scored, "mean"))
    best = means["value"] == means.groupby(keys)["value"].transform("max")
    return float((best.groupby([means[key] for key in keys]).sum() > 1).mean())


def baselines(
    *,
    accuracies: Path,
    questions: Mapping[str, Path],
    names: Mapping[str, str],
    base: str,
    subset: str,
    rule: str,
    out: Path,
    prefix: str,
) -> None:
    """Write what is right without having learned the culture, in percent.

    Args:
        accuracies: table "accuracies"; step 0 of the continual pretraining runs is the base model.
        questions: culture -> table "questions".
        names: language code -> English name.
        base: code of the base language.
        subset: which questions count.
        rule: how options are compared.
        out: path without suffix; .csv, .md and .tex are written.
        prefix: what the questions were asked behind.
    """
    asked = pd.concat([tables.read(path) for path in questions.values()], ignore_index=True)
    without_model = decisions.baselines(asked, subset=subset)
    found = without_model.set_index(["culture", "lang", "baseline"])
    # What a base model finds likeliest without the question, and what it answers.
    by_rule = {"prior": "prior", "base_model": rule}
    before = {
        name: _mean_of_runs(of_arms(accuracies, subset=subset, rule=by, prefix=prefix), step=0)
        for name, by in by_rule.items()
    }
    order = list(dict.fromkeys(without_model["baseline"]))
    rows = [
        {
            "culture": names[culture],
            "asked_in": names[lang],
            "n": found["n_questions"][culture, lang, "chance"],
            **{name: 100 * found["accuracy"][culture, lang, name] for name in order},
            **{name: 100 * mean[culture, lang] for name, mean in before.items()},
        }
        for culture in questions
        for lang in (culture, base)
    ]
    write_table(
        pd.DataFrame(rows),
        out,
        "Accuracy (%) without having learned the culture: chance; always the first or the longest option; an option "
        "that stands in the question; the place where the answer is most often; the option that the base model finds "
        "likeliest as a text of its own (prior), and the one it answers with (base model), mean of the base models. "
        f"Questions: {subset}, {prefix_phrase(prefix)}; options compared by the rule '{rule}'; ties share the credit.",
        dict.fromkeys((*order, *before), ".1f"),
    )
