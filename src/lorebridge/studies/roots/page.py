"""What the page of a study of roots says beside its figures and tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from lorebridge.figures.page import Account
from lorebridge.probes.manners import BARES, DECODES, LENGTHS, REFERENCES, SPACES
from lorebridge.studies.roots.published import CLASS_SHARES
from lorebridge.trace.languages import RINGS
from lorebridge.trace.origins import TOKENS, WINDOW
from lorebridge.transfer.absent import CLASSES, HOUSE, OTHER, PAPER
from lorebridge.transfer.neurons import ABOVE, COMPARED
from lorebridge.transfer.stated import HERE, TRANSFER


def above(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say how far each model lies above the majority answer."""
    table = rows["precision"]
    whole = table[(table["language"] == "all, mean over facts") & (table["right"] == "gold")]
    found = []
    for row in whole.drop_duplicates("model", keep="last").to_dict("records"):
        points, lo, hi = row["above"], row["above_lo"], row["above_hi"]
        sure = "" if pd.isna(lo) else f" ({lo:.1f} to {hi:.1f})"
        found.append(
            f"{row['model']} gives the fact's own object in {row['p1']:.1f} % of {row['n']:,} facts: {points:+.1f} "
            f"points from the majority answer of the relation, which needs no model{sure}."
        )
    return found


def shared(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say how much languages share, and how much of it they would share independently."""
    table = rows["overlap"]
    strict = table[table["within"] == "relation, masks, object"].dropna(subset=["jaccard", "expected"])
    found = []
    for model, of in strict[strict["step"].isna() | (strict["step"] == strict["step"].max())].groupby("model"):
        found.append(
            f"{model}: two languages share {of['jaccard'].mean():.1f} % of what either knows, on average over "
            f"{len(of):,} pairs; {of['expected'].mean():.1f} % would be shared by languages that know as many facts of "
            "each relation, object and numbers of masks independently."
        )
    return found


def neurons(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say how much of a fact's neurons languages share, and what the facts lose without them."""
    table = rows["neuron_overlap"]
    found = []
    for model, of in table.groupby("model", sort=False):
        mean = of.groupby("compared")["jaccard"].mean()
        pairs = of[of["compared"] == COMPARED["same_fact"]]
        above = of[of["compared"] == ABOVE]
        said = (
            f"{model}: two languages share {mean[COMPARED['same_fact']]:.1f} % of the neurons of a fact, on average "
            f"over {len(pairs):,} {_pairs(len(pairs))}"
        )
        if len(above):
            clear = int((above["lo"] > 0).sum())
            said += (
                f"; of another fact of its relation {mean[COMPARED['same_relation']]:.1f} %. In {clear:,} of "
                f"{len(above):,} {_pairs(len(above))} the interval of the difference lies above 0"
            )
        found.append(f"{said}.")
    if "ablations" in rows:
        found += _losses(rows["ablations"])
    return found


def _pairs(n: int) -> str:
    return "pair" if n == 1 else "pairs"


def _losses(table: pd.DataFrame) -> Iterator[str]:
    """Yield what the facts of each model lose without their neurons, on average over pairs of languages."""
    for model, of in table.groupby("model", sort=False):
        here = of["neurons_of"] == of["asked_in"]
        for rows, what in ((of[here], "the language's own"), (of[~here], "another language's")):
            mean = rows.groupby("silenced")["drop"].mean()
            if "own" in mean:
                other = (
                    f", {mean['other']:.1f} without those of another fact of the relation" if "other" in mean else ""
                )
                yield (
                    f"{model} loses {mean['own']:.1f} points of the facts that it has right when {what} neurons of "
                    f"them are silenced{other}, {mean['random']:.1f} without random ones of the same layers and sizes."
                )


def crosses(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say what crosses between languages, of each model at its last checkpoint: over all languages, then of each."""
    found = crosses_over_all(rows, config)
    table = _crossed(rows["transfer"])
    for (model, lang), of in table[table["language"] != "all"].groupby(["model", "language"], sort=False):
        row = of.iloc[-1]
        found.append(f"{model} in {lang} alone: {row['p1']:+.1f} points ({row['lo']:+.1f} to {row['hi']:+.1f}).")
    return found


def crosses_over_all(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say what crosses over the facts of all languages, beside what is known where a language states it."""
    whole = rows["transfer"][rows["transfer"]["language"] == "all"]
    found = []
    for model, of in _crossed(whole).groupby("model", sort=False):
        row = of.iloc[-1]
        there = whole[(whole["model"] == model) & (whole["place"] == HERE)].iloc[-1]
        shown = "" if row["lo"] > 0 or row["hi"] < 0 else "; the interval holds 0, so that nothing is shown to cross"
        found.append(
            f"{model} has {there['p1']:.1f} % of the facts right that the language itself states. Of facts that only "
            f"another language states it has {row['p1']:+.1f} points more than of facts that none does "
            f"({row['lo']:+.1f} to {row['hi']:+.1f}{shown})."
        )
    return found


def _crossed(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that say what crosses, and how surely."""
    return table[(table["place"] == TRANSFER) & table["p1"].notna() & table["lo"].notna()]


def absent(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say how many facts are known although text does not hold them, and what may tell them; alarms first."""
    alarms = rows["corpus_alarms"]
    found = []
    for row in alarms[alarms["verdict"] == RINGS].to_dict("records"):
        langs = row["lang"] + (f" and {row['other']}" if isinstance(row["other"], str) else "")
        # Nothing that follows says anything of a language whose corpus is wrong.
        found.append(f"Alarm, {row['alarm']}: {langs}; {row['why']}. {row['to_do']}")
    table = rows["absent"]
    kept = table[(table["language"] == "all") & (table["rules"] == HOUSE) & (table["unit"] == WINDOW)]
    for model, of in kept.groupby("model", sort=False):
        told = of[of["class"] != OTHER]  # what the names may tell
        total, easy = int(of["n_absent_right"].sum()), int(told["n_absent_right"].sum())
        line = (
            f"{model}: {total:,} facts are right in a language whose text does not hold them; the names alone may tell "
            f"{easy:,} of them."
        )
        if of["stated"].notna().any():
            made = int(told["planted_absent_right"].sum())
            line += (
                f" The planted text states {int(of['stated'].sum()):,} of them all the same, and the names of {made:,} "
                "were made to tell."
            )
        found.append(line)
    return found


def classes(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say which shares of the facts that are right although absent are of the paper's classes."""
    table = rows["absent"]
    kept = table[(table["language"] == "all") & (table["rules"] == PAPER) & (table["unit"] == TOKENS)]
    printed = "" if config["world"] is not None else f"; the paper prints {_listed(CLASS_SHARES)} of mBERT"
    found = []
    for model, of in kept.groupby("model", sort=False):
        shares = dict(zip(of["class"], of["share"], strict=True))
        total = int(of["n_absent_right"].sum())
        said = f": {_listed(shares)}{printed}" if total else ""
        found.append(f"{model}: {total:,} facts are right although absent by the paper's rules{said}.")
    return found


def _listed(shares: Mapping[str, float]) -> str:
    """Return the share of each class in words."""
    return ", ".join(f"{name} {shares[name]:.1f} %" for name in CLASSES)


def account(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> Account:
    """Return what the study asks, was, and found."""
    asking = config["asking"]
    said = {"Masks": (DECODES, "decode"), "Lengths": (LENGTHS, "lengths"), "Compared": (SPACES, "space")}
    design = {heading: f"{asking[key]}: {known[asking[key]]}" for heading, (known, key) in said.items()}
    design["Bare spaces"] = BARES[asking["bare"]]
    if config["neurons"]:
        reference = config["neurons"]["reference"]
        design["Neurons"] = (
            f"the best {config['neurons']['top']} by Probeless; told from {reference}: {REFERENCES[reference]}"
        )
    trained = [f"joint-s{seed} (trained here)" for seed in config["seeds"]] if "training" in config else []
    design["Models"] = ", ".join(
        trained
        + [
            f"{name} ({given['hub']} at {given['revision'][:8]})" if "hub" in given else name
            for name, given in config["given"].items()
        ]
    )
    design["Facts"] = f"in the shape of {config['facts']['shape']}, {len(config['languages'])} languages"
    return Account(
        question="Which facts does a multilingual model know in which language?",
        about="Models are asked the same facts in many languages. A fact that a model gets right may be no more "
        "than the answer that most facts of its relation have: what counts is what lies above that.",
        found=above(rows, config) + (crosses_over_all(rows, config) if "transfer" in rows else []),
        design=design,
        roles={lang: language["family"] for lang, language in config["languages"].items()},
        sources={"facts": f"in the shape of {config['facts']['shape']}"},
    )
