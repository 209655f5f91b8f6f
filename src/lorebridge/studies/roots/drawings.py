"""The figures and the tables of a study of roots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator

from lorebridge import tables
from lorebridge.figures import style
from lorebridge.figures.write import write_table
from lorebridge.studies.roots.measures import FACTS, MEASURES, ONE_OBJECTS, ONE_P1, P1
from lorebridge.studies.roots.published import CLASS_SHARES
from lorebridge.trace.origins import TOKENS, WINDOW
from lorebridge.transfer.absent import CLASSES, HOUSE, PAPER
from lorebridge.transfer.neurons import ABOVE, COMPARED
from lorebridge.transfer.overlap import WITHIN
from lorebridge.transfer.precision import LANGUAGES, ROWS, RULES
from lorebridge.transfer.stated import ELSEWHERE, HERE, NOWHERE, TRANSFER

_MARKERS = "osD^vP*X"
_CASES = 4  # languages in which a fact's neurons are drawn
_PLACES = {HERE: "stated in the language", ELSEWHERE: "in another alone", NOWHERE: "nowhere"}


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
        fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
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


def volumes(*, language_measures: Path, languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Draw precision by the size of a language, a panel a measure of size; what the paper prints is hollow.

    Args:
        language_measures: the table.
        languages: code -> ``name, script, family``.
        out: path without suffix.
    """
    table = tables.read(language_measures)
    sizes = table[table["run"].isna()].pivot(index="lang", columns="measure", values="value")
    known = _last(table[table["run"].notna() & (table["measure"] == P1)])
    series = list(dict.fromkeys(zip(known["run"], known["printed"], strict=True)))
    with style.styled():
        fig, axes = plt.subplots(
            1, max(sizes.shape[1], 1), layout="constrained", squeeze=False, sharey=True, figsize=(style.PRINTED, 3.4)
        )
        for ax, name in zip(axes[0], sizes, strict=False):
            size = sizes[name].where(sizes[name] > 0).dropna()
            for index, (run, printed) in enumerate(series):
                rows = known[(known["run"] == run) & (known["printed"] == printed)].set_index("lang")["value"]
                rows = 100 * rows.reindex(size.index).dropna()
                ax.plot(
                    size[rows.index],
                    rows,
                    _MARKERS[index % len(_MARKERS)],
                    color="0.5" if printed else None,
                    fillstyle="none" if printed else "full",
                    markersize=3.5,
                    label=f"{run}, as printed" if printed else run,
                )
                if not index:
                    for lang, value in rows.items():
                        ax.annotate(str(lang), (size[lang], value), (2, 2), textcoords="offset points", fontsize=4.5)
            ax.set_xscale("log")
            ax.set_xlabel(name)
        axes[0, 0].set_ylabel("P@1, %")
        fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        style.save(fig, out)
        plt.close(fig)


def _models(table: pd.DataFrame) -> pd.Series:
    """Return how the models of language measures are called, those of the paper apart."""
    return table["run"].where(~table["printed"].astype(bool), table["run"] + ", as printed")


def one_token_table(*, language_measures: Path, languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Write precision on facts whose object is one piece, the paper's Table 1, in every language."""
    table = tables.read(language_measures)
    table = _last(table[table["run"].notna()])
    table = table.assign(model=_models(table), step=table["step"].astype("Int64"))
    key = ["lang", "printed", "model", "step"]
    wide = table.set_index([*key, "measure"])["value"].unstack("measure").reindex(columns=list(MEASURES))
    # Of the paper this is its Table 1, in three languages.
    wide = wide.reset_index()
    wide = wide[wide[ONE_OBJECTS].notna() | ~wide["printed"].astype(bool)]
    place = {lang: index for index, lang in enumerate(languages)}
    wide = wide.sort_values(["lang", "printed"], key=lambda c: c.map(place) if c.name == "lang" else c, kind="stable")
    shown = pd.DataFrame(
        {
            "language": [languages[lang]["name"] for lang in wide["lang"]],
            "model": wide["model"],
            "step": wide["step"],
            "facts": wide[FACTS].astype("Int64"),
            "p1": 100 * wide[P1],
            "one_token_p1": 100 * wide[ONE_P1],
            "one_token_objects": wide[ONE_OBJECTS].astype("Int64"),
        }
    )
    caption = (
        "Precision at one, in percent, on all facts and on those whose object is one piece of the model's tokenizer; "
        "and how many such objects there are. As printed: Table 1 of Zhao et al. (EACL 2024), of all of mLAMA."
    )
    write_table(shown, out, caption, dict.fromkeys(("p1", "one_token_p1"), ".2f"))


def printed_precision_table(*, language_measures: Path, languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Write precision of each language beside the paper's Table 2, and the means of both over these languages."""
    table = tables.read(language_measures)
    table = _last(table[table["run"].notna() & table["measure"].isin([P1, FACTS])])
    table = table.assign(model=_models(table))
    models = list(dict.fromkeys(table["model"]))
    p1, n = (
        table[table["measure"] == measure].pivot(index="lang", columns="model", values="value")[models]
        for measure in (P1, FACTS)
    )
    langs = [lang for lang in languages if lang in p1.index]
    p1, n = 100 * p1.loc[langs], n.loc[langs].where(p1.notna())
    rows = {languages[lang]["name"]: p1.loc[lang] for lang in langs}
    rows["mean over these languages"] = p1.mean()
    rows["mean over their facts"] = (p1 * n).sum() / n.sum()
    shown = pd.DataFrame(rows).T.reset_index(names="language")
    caption = (
        "Precision at one by language, in percent, beside Table 2 of Zhao et al. (EACL 2024), of all of mLAMA. "
        "The means are over the languages shown; that of the paper's numbers over their facts is what it calls macro."
    )
    write_table(shown, out, caption, dict.fromkeys(models, ".2f"))


def overlap_by_family(*, fact_overlap: Path, languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Draw the facts that every two languages share, languages of a family beside each other.

    Args:
        fact_overlap: the table.
        languages: code -> ``name, script, family``.
        out: path without suffix.
    """
    _overlap(tables.read(fact_overlap), languages, ("family", "script"), out)


def overlap_by_script(*, fact_overlap: Path, languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Draw the same, languages of a script beside each other."""
    _overlap(tables.read(fact_overlap), languages, ("script", "family"), out)


def _overlap(table: pd.DataFrame, languages: Mapping[str, Mapping[str, Any]], by: tuple[str, str], out: Path) -> None:
    """Draw a square a model: below the diagonal the Jaccard index, above it what lies above its expectation."""
    table = _last(table)
    plain, strict = (table[table["within"] == within] for within in WITHIN)
    _squares(
        (plain.assign(value=plain["jaccard"]), "shared, % of what either knows"),
        (strict.assign(value=strict["jaccard"] - strict["expected"]), "above independence, points"),
        languages,
        by,
        out,
    )


def _squares(
    lower: tuple[pd.DataFrame, str],
    upper: tuple[pd.DataFrame, str],
    languages: Mapping[str, Mapping[str, Any]],
    by: tuple[str, str],
    out: Path,
) -> None:
    """Draw a square of languages a model, one share of 0..1 below the diagonal, and a difference above it.

    Args:
        lower, upper: ``run, lang_a, lang_b, value``, and what the values are.
        languages: code -> ``name, script, family``.
        by: what languages are ordered by.
        out: path without suffix.
    """
    every = pd.concat([lower[0], upper[0]])
    langs = sorted(
        set(every["lang_a"]) | set(every["lang_b"]), key=lambda lang: (*(languages[lang][what] for what in by), lang)
    )
    place = {lang: index for index, lang in enumerate(langs)}
    groups = [languages[lang][by[0]] for lang in langs]
    edges = [index for index in range(1, len(langs)) if groups[index] != groups[index - 1]]
    runs = list(dict.fromkeys(every["run"]))
    letters = float(np.clip(300 / max(len(langs), 1), 4, 8))
    with style.styled():
        fig, axes = plt.subplots(
            max(len(runs), 1), 1, layout="constrained", squeeze=False, figsize=(style.PRINTED, 0.3 + 5.6 * len(runs))
        )
        for ax, run in zip(axes[:, 0], runs, strict=False):
            for (rows, label), colours, low in ((lower, "viridis", True), (upper, "RdBu_r", False)):
                own = rows[rows["run"] == run]
                first, second = (own[side].map(place).to_numpy() for side in ("lang_a", "lang_b"))
                places = np.maximum(first, second), np.minimum(first, second)
                square = np.full((len(langs), len(langs)), np.nan)
                square[places if low else places[::-1]] = 100 * own["value"]
                reach = max(float(np.nanmax(np.abs(square), initial=0)), 1.0)
                image = ax.imshow(square, cmap=colours, vmin=0 if low else -reach, vmax=reach)
                fig.colorbar(image, ax=ax, label=label, shrink=0.6, location="right" if low else "left")
            names = [f"{languages[lang]['name']}" for lang in langs]
            ax.set_xticks(range(len(langs)), names, rotation=90, fontsize=letters)
            ax.set_yticks(range(len(langs)), names, fontsize=letters)
            for edge in edges:
                ax.axhline(edge - 0.5, color="0.4", linewidth=0.4)
                ax.axvline(edge - 0.5, color="0.4", linewidth=0.4)
            ax.set_title(run)
        if not runs:
            _nothing(axes[0, 0])
        style.save(fig, out)
        plt.close(fig)


def _nothing(ax: Any) -> None:
    """Say in a panel that there is nothing to show."""
    ax.axis("off")
    ax.text(0.5, 0.5, "no fact has neurons in two languages", ha="center", va="center", transform=ax.transAxes)


def overlap_table(*, fact_overlap: Path, languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Write what every two languages share, those that share most above their expectation first."""
    table = tables.read(fact_overlap)
    shown = pd.DataFrame(
        {
            "model": table["run"],
            "step": table["step"].astype("Int64"),
            **{side: table[side].map(lambda lang: languages[lang]["name"]) for side in ("lang_a", "lang_b")},
            "within": table["within"],
            **{name: table[name] for name in ("n_both", "n_a", "n_b", "shared")},
            **{name: 100 * table[name] for name in ("jaccard", "expected")},
            "z": table["z"],
        }
    )
    above = (table["jaccard"] - table["expected"]).rename("above")
    shown = shown.assign(above=100 * above).sort_values(
        ["model", "step", "within", "above"], ascending=[True, True, True, False], kind="stable"
    )
    caption = (
        "Facts that a model has right in both of two languages, in percent of those that it has right in either; "
        "beside what two languages would share that know as many facts of each relation and numbers of masks (and "
        "object) independently of each other."
    )
    write_table(shown, out, caption, dict.fromkeys(("jaccard", "expected", "above", "z"), ".1f"))


def distances_table(*, overlap_distances: Path, out: Path) -> None:
    """Write whether languages that are further apart share fewer facts."""
    table = tables.read(overlap_distances)
    table["step"] = table["step"].astype("Int64")
    caption = (
        "Shared facts of two languages against how far apart these are: Pearson's correlation over pairs, with a "
        "two-sided p-value by permutations of the languages (QAP)."
    )
    write_table(table, out, caption, {"r": ".2f", "p": ".3f"})


def neurons(*, neuron_overlap: Path, languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Draw the neurons that every two languages share of a fact, and what lies above another fact of its relation.

    Args:
        neuron_overlap: the table.
        languages: code -> ``name, script, family``.
        out: path without suffix.
    """
    table = _last(tables.read(neuron_overlap)).rename(columns={"jaccard": "value"})
    _squares(
        (table[table["compared"] == "same_fact"], "shared neurons of a fact, %"),
        (table[table["compared"] == ABOVE], "above another fact of its relation, points"),
        languages,
        ("family", "script"),
        out,
    )


def neuron_kin(*, neuron_kin: Path, out: Path) -> None:
    """Draw what languages share on average by how they are related, a panel a model.

    Args:
        neuron_kin: the table.
        out: path without suffix.
    """
    table = _last(tables.read(neuron_kin))
    runs, kinds = (list(dict.fromkeys(table[name])) for name in ("run", "kin"))
    with style.styled():
        fig, axes = plt.subplots(
            1, max(len(runs), 1), layout="constrained", squeeze=False, sharey=True, figsize=(style.PRINTED, 2.8)
        )
        for ax, run in zip(axes[0], runs, strict=False):
            for index, (name, label) in enumerate(COMPARED.items()):
                rows = table[(table["run"] == run) & (table["compared"] == name)].set_index("kin").reindex(kinds)
                value, lo, hi = (100 * rows[column] for column in ("jaccard", "lo", "hi"))
                ax.errorbar(
                    value,
                    np.arange(len(kinds)) + 0.15 * (index - (len(COMPARED) - 1) / 2),
                    xerr=np.abs(np.stack([value - lo.fillna(value), hi.fillna(value) - value])),
                    fmt=_MARKERS[index],
                    markersize=4,
                    linewidth=0.9,
                    label=label,
                )
            ax.set_yticks(range(len(kinds)), kinds)
            ax.set_xlabel("shared neurons, %")
            ax.set_title(run)
        if runs:
            axes[0, 0].invert_yaxis()
            fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
        else:
            _nothing(axes[0, 0])
        style.save(fig, out)
        plt.close(fig)


def neuron_cases(*, neuron_bins: Sequence[Path], languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Draw the neurons of the fact of each model that is right in most languages, a row a model, a panel a language.

    Args:
        neuron_bins: tables, one a model.
        languages: code -> ``name, script, family``.
        out: path without suffix.
    """
    shown = []
    for path in neuron_bins:
        table = tables.read(path)
        if len(table):
            counts = table.groupby("fact_id", sort=True)["lang"].nunique()
            rows = table[table["fact_id"] == counts.idxmax()]
            shown.append((rows, list(dict.fromkeys(rows["lang"]))[:_CASES]))
    wide = max((len(langs) for _, langs in shown), default=1)
    with style.styled():
        fig, axes = plt.subplots(
            max(len(shown), 1),
            wide,
            layout="constrained",
            squeeze=False,
            figsize=(style.PRINTED, 2.4 * max(len(shown), 1)),
        )
        for line, (rows, langs) in zip(axes, shown, strict=False):
            top = float(rows["max"].max())
            for ax, lang in zip(line, langs, strict=False):
                own = rows[rows["lang"] == lang].pivot(index="layer", columns="bin", values="max")
                image = ax.imshow(own, cmap="magma", vmin=0, vmax=top, aspect="auto", origin="lower")
                ax.set_title(f"{languages[lang]['name']}", fontsize=7)
                ax.set_xlabel("bin")
                for axis in (ax.xaxis, ax.yaxis):
                    axis.set_major_locator(MaxNLocator(6, integer=True))
            for ax in line[len(langs) :]:
                ax.axis("off")
            line[0].set_ylabel(f"{rows['run'].iloc[0]}\n{rows['fact_id'].iloc[0]}\nlayer", fontsize=6)
            fig.colorbar(image, ax=list(line), shrink=0.8)
        if not shown:
            _nothing(axes[0, 0])
        style.save(fig, out)
        plt.close(fig)


def neurons_table(*, neuron_overlap: Path, languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Write the neurons that every two languages share."""
    table = tables.read(neuron_overlap)
    shown = pd.DataFrame(
        {
            "model": table["run"],
            "step": table["step"].astype("Int64"),
            **{side: table[side].map(lambda lang: languages[lang]["name"]) for side in ("lang_a", "lang_b")},
            "compared": _said(table["compared"]),
            **{name: table[name] for name in ("n_facts", "n_clusters")},
            **{name: 100 * table[name] for name in ("jaccard", "lo", "hi")},
        }
    )
    caption = (
        "Neurons that tell a fact from others of its relation (Probeless), shared by two languages, in percent of "
        "those of either: of the fact itself, and of a fact in the one language and others in the other; above is the "
        "fact itself less others of its relation with another object, in points. Intervals of 95 % over clusters of "
        "facts."
    )
    write_table(shown, out, caption, dict.fromkeys(("jaccard", "lo", "hi"), ".1f"))


def kin_table(*, neuron_kin: Path, out: Path) -> None:
    """Write what languages share on average by how they are related."""
    table = tables.read(neuron_kin)
    shown = table.assign(
        step=table["step"].astype("Int64"),
        compared=_said(table["compared"]),
        **{name: 100 * table[name] for name in ("jaccard", "lo", "hi")},
    ).rename(columns={"run": "model"})
    caption = (
        "Neurons that two languages share, in percent, on average over pairs of languages, by family and by script. "
        "Intervals of 95 % over clusters of facts, these languages given; the difference is that of what lies above, "
        "in points, with a two-sided p-value by permutations of the languages (QAP)."
    )
    write_table(shown, out, caption, {**dict.fromkeys(("jaccard", "lo", "hi"), ".1f"), "p": ".3f"})


def ablations_table(*, ablations: Path, languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Write what models lose without some neurons."""
    table = tables.read(ablations)
    shown = pd.DataFrame(
        {
            "model": table["run"],
            "step": table["step"].astype("Int64"),
            **{
                heading: table[side].map(lambda lang: languages[lang]["name"])
                for heading, side in (("neurons_of", "lang_cut"), ("asked_in", "lang_asked"))
            },
            "silenced": table["silenced"],
            **{name: table[name] for name in ("k", "n_facts", "n_clusters")},
            **{name: 100 * table[name] for name in ("drop", "lo", "hi")},
            "size": table["size"],
        }
    )
    caption = (
        "What a model loses, in points of P@1, of facts that it has right in two languages, asked in the one while "
        "neurons of the other are silenced: the fact's own, those of another fact of its relation, and random ones of "
        "the same layers and sizes. Size is their mean activation, taken positive. Intervals of 95 % over clusters of "
        "facts."
    )
    write_table(shown, out, caption, {**dict.fromkeys(("drop", "lo", "hi"), ".1f"), "size": ".2g"})


def _said(compared: pd.Series) -> pd.Series:
    """Return what is compared in words."""
    return compared.map(lambda name: COMPARED.get(name, name))


def transfer(*, fact_transfer: Path, languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Draw precision by where facts are stated, a panel a model.

    Args:
        fact_transfer: the table.
        languages: code -> ``name, script, family``.
        out: path without suffix.
    """
    table = _last(tables.read(fact_transfer))
    table = table[(table["place"] != TRANSFER) & table["lang"].notna()]
    runs, langs = (list(dict.fromkeys(table[name])) for name in ("run", "lang"))
    with style.styled():
        fig, axes = plt.subplots(
            1, len(runs), layout="constrained", squeeze=False, sharey=True, figsize=(style.PRINTED, 2.6)
        )
        for ax, run in zip(axes[0], runs, strict=True):
            for index, (place, label) in enumerate(_PLACES.items()):
                rows = table[(table["run"] == run) & (table["place"] == place)].set_index("lang").reindex(langs)
                p1, lo, hi = (100 * rows[name] for name in ("p1", "lo", "hi"))
                ax.errorbar(
                    np.arange(len(langs)) + 0.2 * (index - 1),
                    p1,
                    yerr=np.abs(np.stack([p1 - lo.fillna(p1), hi.fillna(p1) - p1])),
                    fmt=_MARKERS[index],
                    markersize=4,
                    linewidth=0.9,
                    label=label,
                )
            ax.set_xticks(range(len(langs)), [languages[lang]["name"] for lang in langs])
            ax.set_title(run)
        axes[0, 0].set_ylabel("P@1, %")
        axes[0, 0].legend()
        style.save(fig, out)
        plt.close(fig)


def transfer_table(*, fact_transfer: Path, languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Write precision by where facts are stated, and what crosses."""
    table = tables.read(fact_transfer)
    shown = pd.DataFrame(
        {
            "model": table["run"],
            "step": table["step"].astype("Int64"),
            "language": [languages[lang]["name"] if isinstance(lang, str) else "all" for lang in table["lang"]],
            **{name: table[name] for name in ("place", "n", "n_subjects")},
            **{name: 100 * table[name] for name in ("p1", "lo", "hi")},
        }
    )
    caption = (
        "Precision at one, in percent, on facts of a planted world that the language itself states (here), that only "
        "another one states (elsewhere), and that none does (nowhere); transfer is the difference of the last two "
        "within relations (over all languages, those of each), in points. Intervals of 95 % over subjects, each alone."
    )
    write_table(shown, out, caption, dict.fromkeys(("p1", "lo", "hi"), ".1f"))


def published_table(*, published: Path, out: Path) -> None:
    """Write what the paper prints beside what its data give."""
    table = tables.read(published)
    caption = "What Zhao et al. (EACL 2024) print, and what their data give."
    write_table(table, out, caption)


def absent(*, absent_facts: Path, languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Draw the classes of what is right although absent, a panel a class, beside the class among all facts.

    By our rules, and by windows of sentences.

    Args:
        absent_facts: the table.
        languages: code -> ``name, script, family``.
        out: path without suffix.
    """
    table = _last(tables.read(absent_facts))
    kept = table[(table["rules"] == HOUSE) & (table["unit"] == WINDOW)]
    langs = [None, *(lang for lang in languages if (kept["lang"] == lang).any())]
    names = ["all languages" if lang is None else f"{languages[lang]['name']} ({lang})" for lang in langs]
    runs = list(dict.fromkeys(kept["run"]))
    with style.styled():
        fig, axes = plt.subplots(
            1,
            len(CLASSES),
            layout="constrained",
            sharex=True,
            sharey=True,
            figsize=(style.PRINTED, 1.4 + (0.12 + 0.1 * len(runs)) * len(langs)),
        )
        for ax, name in zip(axes, CLASSES, strict=True):
            for index, run in enumerate(runs):
                of_run = kept[kept["run"] == run].fillna({"lang": ""})
                whole = of_run.groupby("lang")["n_absent_right"].sum().reindex([lang or "" for lang in langs])
                rows = of_run[of_run["class"] == name].set_index("lang").reindex([lang or "" for lang in langs])
                if not index:
                    ax.barh(range(len(langs)), 100 * rows["base_rate"], color="0.85", label="of all facts")
                y = np.arange(len(langs)) + 0.25 * (index - (len(runs) - 1) / 2)
                share, lo, hi = (100 * rows[column] for column in ("share", "lo", "hi"))
                ax.errorbar(
                    share,
                    y,
                    xerr=np.abs(np.stack([share - lo.fillna(share), hi.fillna(share) - share])),
                    fmt=_MARKERS[index % len(_MARKERS)],
                    markersize=3,
                    linewidth=0.8,
                    label=run,
                    clip_on=False,  # markers lie on both ends of the axis
                )
                if rows["planted_absent_right"].notna().any():
                    planted = 100 * rows["planted_absent_right"] / whole.where(whole > 0)
                    label = None if index else "planted"
                    ax.plot(planted, y, "x", color="black", markersize=5, zorder=3, label=label, clip_on=False)
            ax.set_title(name)
            ax.set_xlim(0, 100)
        axes[0].set_yticks(range(len(langs)), names, fontsize=6)
        axes[0].set_ylim(len(langs) - 0.4, -0.6)
        axes[1].set_xlabel("% of the facts that are right although absent")
        fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2 + len(runs))
        style.save(fig, out)
        plt.close(fig)


def _by_the_paper(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of absent facts by the paper's rules and unit, of each model's last checkpoint."""
    return _last(table[(table["rules"] == PAPER) & (table["unit"] == TOKENS)])


def _bars(table: pd.DataFrame, languages: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[str], Any, Any]:
    """Return the languages of a table and its models, and a figure with a panel a model; languages go downwards."""
    langs = [lang for lang in languages if (table["lang"] == lang).any()]
    runs = list(dict.fromkeys(table["run"]))
    fig, axes = plt.subplots(
        1,
        max(len(runs), 1),
        layout="constrained",
        squeeze=False,
        sharey=True,
        figsize=(style.PRINTED, 1.4 + 0.16 * len(langs)),
    )
    names = [f"{languages[lang]['name']} ({lang})" for lang in langs]
    axes[0, 0].set_yticks(range(len(langs)), names, fontsize=6)
    axes[0, 0].set_ylim(len(langs) - 0.4, -0.6)
    for ax, run in zip(axes[0], runs, strict=False):
        ax.set_title(run)
    return langs, runs, fig, axes[0]


def present(*, absent_facts: Path, languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Draw how many facts are right, by whether the text holds them, and which shares are absent: the paper's Figure 6.

    Args:
        absent_facts: the table.
        languages: code -> ``name, script, family``.
        out: path without suffix.
    """
    table = _by_the_paper(tables.read(absent_facts)).dropna(subset=["lang"])
    counts = table.groupby(["run", "lang"], sort=False)[["n", "n_absent", "n_right", "n_absent_right"]].sum()
    with style.styled():
        langs, runs, fig, axes = _bars(table, languages)
        for ax, run in zip(axes, runs, strict=False):
            own = counts.loc[run].reindex(langs)
            held = own["n_right"] - own["n_absent_right"]
            ax.barh(range(len(langs)), held, color=style.palette()[0], label="right, and present")
            absent = own["n_absent_right"]
            ax.barh(range(len(langs)), absent, left=held, color=style.palette()[1], label="right, and absent")
            ax.set_xlabel("facts")
            share = ax.twiny()
            of_all, of_right = own["n_absent"] / own["n"], absent / own["n_right"].where(own["n_right"] > 0)
            share.plot(100 * of_all, range(len(langs)), "|", color="black", label="absent, % of all facts")
            share.plot(100 * of_right, range(len(langs)), "x", color="black", label="absent, % of the right ones")
            share.set_xlim(-2, 102)
            share.set_xlabel("%")
        if runs:
            handles = [one for made in (axes[0], share) for one in zip(*made.get_legend_handles_labels(), strict=True)]
            fig.legend(*zip(*handles, strict=True), loc="outside lower center", ncols=2)
        style.save(fig, out)
        plt.close(fig)


def absent_counts(*, absent_facts: Path, languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Draw how many facts of each class are right although absent, by the paper's rules: its Figure 7.

    Args:
        absent_facts: the table.
        languages: code -> ``name, script, family``.
        out: path without suffix.
    """
    table = _by_the_paper(tables.read(absent_facts)).dropna(subset=["lang"])
    counts = table.set_index(["run", "lang", "class"])["n_absent_right"]
    with style.styled():
        langs, runs, fig, axes = _bars(table, languages)
        for ax, run in zip(axes, runs, strict=False):
            so_far = np.zeros(len(langs))
            for index, name in enumerate(CLASSES):
                own = counts.loc[run].xs(name, level="class").reindex(langs).to_numpy(float)
                ax.barh(range(len(langs)), own, left=so_far, color=style.palette()[index], label=name)
                so_far += own
            ax.set_xlabel("facts")
        if runs:
            fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        style.save(fig, out)
        plt.close(fig)


def printed_classes_table(*, absent_facts: Path, out: Path) -> None:
    """Write the shares of the classes by the paper's rules, beside those that it prints."""
    table = _by_the_paper(tables.read(absent_facts))
    rows = []
    for run, of in table.groupby("run", sort=False):
        for name in CLASSES:
            own = of[of["class"] == name]
            [whole] = own[own["lang"].isna()].to_dict("records")
            rows.append(
                {
                    "model": run,
                    "class": name,
                    "absent_and_right": whole["n_absent_right"],
                    "share": 100 * whole["share"],
                    "lo": 100 * whole["lo"],
                    "hi": 100 * whole["hi"],
                    "mean_over_languages": 100 * own[own["lang"].notna()]["share"].mean(),
                    "base_rate": 100 * whole["base_rate"],
                    "printed": CLASS_SHARES[name],
                }
            )
    caption = (
        "Facts that a model has right although the text of their language does not hold them, by the paper's rules and "
        "unit, in percent: all languages pooled, with intervals of 95 % over subjects; the mean over languages; the "
        "class among all facts; and what Zhao et al. (EACL 2024, section 5) print of mBERT, which they call an average "
        "over languages, and which is pooled."
    )
    numbers = dict.fromkeys(("share", "lo", "hi", "mean_over_languages", "base_rate", "printed"), ".1f")
    write_table(pd.DataFrame(rows), out, caption, numbers)


def _named(table: pd.DataFrame, languages: Mapping[str, Mapping[str, Any]], *columns: str) -> pd.DataFrame:
    """Return a table with its languages by name and its steps whole, in which a run is a model."""
    shown = table.rename(columns={"run": "model"})
    for column in columns:
        shown[column] = [languages[lang]["name"] if isinstance(lang, str) else None for lang in shown[column]]
    return shown.assign(step=shown["step"].astype("Int64")) if "step" in shown else shown


def absent_table(*, absent_facts: Path, languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Write the classes of what is right although absent, by both sets of rules and every unit."""
    shown = _named(_last(tables.read(absent_facts)), languages, "lang").rename(columns={"lang": "language"})
    shown["language"] = shown["language"].fillna("all")
    percent = ["share", "lo", "hi", "base_rate"]
    shown[percent] = 100 * shown[percent]
    caption = (
        "Facts that a model has right in a language although its text does not hold them, by what may tell their "
        "object of the label of the subject: the share of each class in percent, with intervals of 95 % over subjects; "
        "the class among all facts (base_rate); the ratio of the two (enrichment); how many there would be if tracing "
        "alone had missed them (missed), and of a planted world how many its text does state (stated) and how many "
        "names have that form (planted: of all facts; planted_absent_right: of these)."
    )
    numbers = dict.fromkeys((*percent, "missed"), ".1f") | dict.fromkeys(
        ("enrichment", "enrichment_lo", "enrichment_hi", "recall"), ".2f"
    )
    write_table(shown, out, caption, numbers)


def origins_table(
    *, origins: Path, origin_recovery: Path, languages: Mapping[str, Mapping[str, Any]], out: Path
) -> None:
    """Write how many facts the text of each language holds, by each unit, and how far that is what was planted."""
    key = ["lang", "unit", "run"]
    groups = tables.read(origins, [*key, "present"]).groupby(key, sort=False, dropna=False)["present"]
    counted = pd.DataFrame(
        {
            "n": groups.size(),
            "present": groups.apply(lambda told: int(told.fillna(False).astype(bool).sum())),
            "not_looked_for": groups.apply(lambda told: int(told.isna().sum())),
        }
    ).reset_index()
    told = tables.read(origin_recovery)[[*key, "n_stated", "recall", "precision"]]
    shown = counted.merge(told, on=key, how="left") if len(told) else counted
    shown = _named(shown, languages, "lang").rename(columns={"lang": "language"})
    share = 100 * shown["present"] / (shown["n"] - shown["not_looked_for"])
    shown.insert(list(shown).index("present") + 1, "present_share", share)
    caption = (
        "Facts whose subject and object stand together in the text of their language: in a stretch of so many tokens, "
        "in a window of sentences, or in what a run consumed; of a planted world, how many are stated and how well one "
        "tells the other."
    )
    write_table(shown, out, caption, {"present_share": ".1f", "recall": ".2f", "precision": ".2f"})


def alarms_table(*, corpus_alarms: Path, languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Write which corpora are not in their language, and which are alike."""
    shown = _named(tables.read(corpus_alarms), languages, "lang", "other")
    caption = "Corpora that are not in their script or language, and pairs of corpora that are alike."
    write_table(shown, out, caption, {"value": ".2f", "bound": ".2f"})


def rankings_table(*, rank_consistency: Path, languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Write how alike two languages rank the candidates of a fact, above chance."""
    shown = _named(tables.read(rank_consistency), languages, "lang_a", "lang_b")
    caption = (
        "RankC (Qi et al., EMNLP 2023) of a fact in two languages; what unrelated rankings get (chance); and "
        "(RankC - chance) / (1 - chance), with intervals of 95 % over subjects (above). Beside it RankC of a fact and "
        "another of its relation with another object (other_fact), and what the fact's own has more (own)."
    )
    write_table(shown, out, caption, dict.fromkeys(map(str, list(shown)[list(shown).index("candidates") :]), ".2f"))


def patterns_table(*, pattern_shares: Path, languages: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Write how many facts that are right in two languages are independent, shared, transferred."""
    shown = _named(_last(tables.read(pattern_shares)), languages, "lang", "other")
    shown = shown.rename(columns={"lang": "language", "value": "is"})
    shown[["share", "lo", "hi"]] = 100 * shown[["share", "lo", "hi"]]
    caption = (
        "Facts that a model has right in a language and in another, in percent, with intervals of 95 % over subjects: "
        "by where they are traced to, seen from the language, and by pattern (Zhao et al., EACL 2024), which needs a "
        "table of neurons and is left out without one. Of a planted world, where those facts are stated."
    )
    write_table(shown, out, caption, dict.fromkeys(("share", "lo", "hi"), ".1f"))
