"""What the page of a study of scripts says beside its figures and tables."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from lorebridge.figures.page import Account
from lorebridge.transfer.cells import SOURCE_RIGHT, STAR
from lorebridge.transfer.methods import LINEAR, PEERS, ROWS

TERMS = {"same script": "the two languages have one script", "same family": "they are of one family"}


def effects(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say how much one script and one family help, and what the obvious regression says instead."""
    table = rows["effects"]
    pooled = table[table["model"].isna() & (table["answers"] == SOURCE_RIGHT)]
    found = []
    for dataset, own in pooled.groupby("dataset", sort=False):
        for row in own[own["method"] == LINEAR].to_dict("records"):
            if pd.isna(row["estimate"]):
                found.append(f"{dataset}: the effect of {row['term']} {row['note']}.")
                continue
            found.append(
                f"{dataset}: models that are right in a question's own language are {row['estimate']:+.1f} points more "
                f"often right in another if {TERMS[row['term']]} ({_interval(row)}; p {row['p']:.3f} over "
                f"{int(row['labelings']):,} labelings)."
            )
        for row in own[(own["method"] == ROWS) & (own["term"] == "same script")].to_dict("records"):
            if pd.notna(row["estimate"]):
                found.append(
                    f"{dataset}: a regression of rows would say {row['estimate']:+.1f} points ({_interval(row)}), as "
                    "if each answer had languages of its own."
                )
    return found


def _interval(row: Mapping[Hashable, Any]) -> str:
    lo, hi = ("–" if pd.isna(row[end]) else f"{row[end]:+.1f}" for end in ("lo", "hi"))
    return f"{lo} to {hi}"


def influence(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say which languages an effect of one script rests on."""
    table = rows["influence"]
    found = []
    for dataset, own in table[table["term"] == "same script"].groupby("dataset", sort=False):
        told = own.dropna(subset=["estimate"]).sort_values("information", ascending=False, kind="stable")
        if told.empty:
            continue
        named = " and ".join(
            f"{row['language']} ({row['information']:.0f} %; without it {row['estimate']:+.1f} points, "
            f"p {row['p']:.3f})"
            for row in told.head(2).to_dict("records")
        )
        found.append(f"{dataset}: most of what tells one script from all else stands in pairs with {named}.")
    return found


def tuning(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say by how much each tuning narrows the gap between scripts, and whether more than its controls."""
    if "tuning" not in rows:
        return []
    found = []
    table = rows["tuning"]
    keys = ["start", "arm", "minus"]
    # Of each the widest: over seeds where there are several.
    for row in table.drop_duplicates(keys, keep="last").to_dict("records"):
        what = f"more than {row['minus']}" if pd.notna(row["minus"]) else "after the tuning"
        over = row["estimate"] if pd.notna(row["estimate"]) else 0.0
        decided = pd.notna(row["lo"]) and not row["lo"] <= 0 <= row["hi"]
        verdict = ("narrower" if over > 0 else "wider") if decided else "not shown to be narrower or wider"
        found.append(
            f"{row['start']} tuned on {row['arm']}: the gap between scripts is {verdict} {what} ({over:+.1f} points, "
            f"{_interval(row)}; {row['n_questions']} questions in {row['n_clusters']} clusters, {row['scope']}"
            + (f"; {row['note']}" if pd.notna(row["note"]) and row["note"] else "")
            + ")."
        )
    return found


def account(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> Account:
    """Return what the study asks, was, and found."""
    table = rows["effects"]
    first = table[(table["method"] == LINEAR) & table["model"].isna() & (table["answers"] == SOURCE_RIGHT)]
    first = first.drop_duplicates("dataset")
    sizes = [
        f"{row['dataset']}: {row['n_answers']:,} answers of {row['n_models']} models to {row['n_questions']:,} "
        "questions" + (", which all go through one language" if row["shape"] == STAR else "")
        for row in first.to_dict("records")
    ]
    methods = config["regression"]["methods"]
    return Account(
        question="Does knowledge stay within a script?",
        about="Models are asked questions of one language in others. Of those that are right in the question's own "
        "language, more may be right in another that has its script. Languages are few, and what one script has in "
        "common is more than letters: what counts is what remains when labels are dealt out over the languages anew.",
        found=effects(rows, config) + influence(rows, config) + tuning(rows, config),
        design={
            "Answers that count": f"{'; '.join(sizes)} ({SOURCE_RIGHT}; hint: {config['judged']['hint']})",
            "Headline": "linear model with effects of questions and of target languages, each by model; exact "
            "permutation of labels over languages (of a star, within families)",
            "Beside it": "; ".join(f"{method}: {PEERS[method]}" for method in methods) or "nothing",
        },
        roles={lang: language["family"] for lang, language in config["languages"].items()},
        sources={"judged answers": ", ".join(first["dataset"])},
    )
