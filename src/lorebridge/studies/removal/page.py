"""What the page of a study of removal says beside its figures and tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from lorebridge.figures.page import Account
from lorebridge.figures.style import seeds_phrase
from lorebridge.studies.removal.drawings import HEADLINE, TASKS
from lorebridge.tokens.levels import FILTERS, NOTHING, STATED, TEST
from lorebridge.transfer.alarms import CANNOT_TELL, RINGS
from lorebridge.transfer.inference import QUESTIONS_ONLY
from lorebridge.transfer.removal import AGAIN, CROSSES, EVERY, GENERATED, NO_OVERLAP, ORDER, OVER_MODELS, UNTUNED
from lorebridge.transfer.verdicts import ABOVE, BELOW, EQUIVALENT, UNDECIDED

GOES = {
    "f1": "the pages of the test",
    "f2": "also pages near these",
    "f3": "also the pages of what models are tuned on",
    "f4": "also pages near these",
    STATED: "every page that states a fact of the test",
}
"""What is removed at each level, each after the one before; `stated` by itself."""


def _name(config: Mapping[str, Any], lang: str) -> str:
    return str(config["languages"][lang]["name"])


def removed(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say of each level what was removed, and what still states the test's facts."""
    target = _name(config, config["removal"]["target"])
    table = rows["removed"]
    own = table[table["language"] == target]
    found = []
    for row in own[own["level"].isin(GOES)].to_dict("records"):
        said = (
            f"{row['level']} removes {GOES[row['level']]}: {row['removed_share']:.1f} % of the tokens of {target}, "
            f"replaced by as many (difference {int(row['token_difference']):,})."
        )
        if pd.notna(row["residual_facts"]):
            left, n = int(row["residual_facts"]), int(row["n_facts"])
            said += (
                f" Of {n:,} facts of the test {left:,} ({row['stated_share']:.0f} %) are still stated in {target}."
                if left
                else f" None of {n:,} facts of the test is stated in {target} any more."
            )
        found.append(said)
    return found


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return what sentences are of: what models write, over all questions, by the headline's metrics."""
    return table[(table["rule"] == GENERATED) & (table["questions"] == EVERY) & table["metric"].isin(HEADLINE)]


def _sorted(table: pd.DataFrame) -> list[dict[str, Any]]:
    place = table["level"].map(lambda level: ORDER.index(level) if level in ORDER else len(ORDER))
    rows = table.assign(place=place).sort_values("place", kind="stable").to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _groups(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield how each size, tuning and task is called, and its rows."""
    keys = (["size"] if "size" in table else []) + ["tuned", "task"]
    for names, of in table.groupby(keys, sort=False, dropna=False):
        *size, tuned, task = (str(name) for name in names)
        how = "untuned" if tuned == UNTUNED else "tuned" if tuned == task else f"tuned on {tuned}"
        yield f"{', '.join([*size, TASKS.get(task, task)])}, {how}", of


def answers(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say how many of the test's questions models answer at each level, in each language."""
    table = _shown(rows["answers"])
    table = table[(table["split"] == TEST) & table["value"].notna()]
    found = []
    for what, group in _groups(table):
        for lang, of in group.groupby("language", sort=False):
            levels = ", ".join(
                f"{row['level']} {row['value']:.1f} % ({row['lo']:.1f} to {row['hi']:.1f})" for row in _sorted(of)
            )
            found.append(f"{what}, asked in {lang}: {levels} right of {int(of['n_questions'].iloc[0]):,} questions.")
    return found


def _differences(table: pd.DataFrame, split: str) -> pd.DataFrame:
    table = _shown(table)
    table = table[(table["split"] == split) & (table["scope"] == QUESTIONS_ONLY)]
    return table.assign(level=table["contrast"].str.split(" - ").str[0])


_VERDICTS = {ABOVE: "shown to be more", BELOW: "shown to be less", EQUIVALENT: "equivalent", UNDECIDED: "undecided"}


def differences(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say which differences from removing nothing are shown, which are shown to be none, and which are undecided."""
    found = []
    table = _differences(rows["differences"], TEST)
    for what, group in _groups(table[table["level"] != AGAIN]):
        for lang, of in group.groupby("language", sort=False):
            said = [
                f"{name}: {_listed(kept)}"
                for verdict, name in _VERDICTS.items()
                if len(kept := of[of["verdict"] == verdict])
            ]
            found.append(
                f"{what}, asked in {lang}, against {NOTHING}, within a margin of {of['margin'].iloc[0]:.1f} points: "
                f"{'; '.join(said)}.{_without(rows['differences'], of)}"
            )
    return found + controls(rows, config)


def _listed(table: pd.DataFrame) -> str:
    return ", ".join(
        f"{row['level']} {row['estimate']:+.1f} ({row['lo']:+.1f} to {row['hi']:+.1f})"
        if pd.notna(row["lo"])
        else f"{row['level']} (no interval)"
        for row in _sorted(table)
    )


def _without(table: pd.DataFrame, of: pd.DataFrame) -> str:
    """Say what else is found without questions whose answer models are tuned on, if there is anything to say."""
    keys = ["tuned", "task", "rule", "language", "split", "metric", "contrast", "scope"]
    keys += ["size"] if "size" in table else []
    other = table[table["questions"] == NO_OVERLAP]
    both = of.merge(other, on=keys, suffixes=("", "_other"))
    changed = both[both["verdict"] != both["verdict_other"]]
    if both.empty or both["n_questions"].eq(both["n_questions_other"]).all():
        return ""
    n = int(both["n_questions_other"].iloc[0])
    if changed.empty:
        return f" Without answers that models are tuned on ({n:,} questions are left) all verdicts are the same."
    told = ", ".join(f"{row['level']} {_VERDICTS[row['verdict_other']]}" for row in _sorted(changed))
    return f" Without answers that models are tuned on ({n:,} questions are left): {told}."


def controls(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say what removing nothing makes: models of another order and other weights, against those of ``f0``."""
    table = _differences(rows["differences"], TEST)
    own = table[(table["level"] == AGAIN) & table["estimate"].notna()]
    if own.empty:
        return []
    told = int((own["p_family"] <= _alpha(config)).sum())
    largest = float(own["estimate"].abs().max())
    return [
        f"Nothing removed, in another order and from other weights (A/A): {told} of {len(own)} differences on the test "
        f"are told from 0, {int((own['verdict'] == EQUIVALENT).sum())} are within the margin; the largest is "
        f"{largest:.1f} points."
    ]


def _alpha(config: Mapping[str, Any]) -> float:
    return float(config["inference"]["alpha"])


def crosses(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say how many more answers are right than to questions that no text answers, where pages were removed."""
    target = _name(config, config["removal"]["target"])
    table = _differences(rows["differences"], CROSSES)
    found = []
    for what, of in _groups(table[(table["language"] == target) & table["level"].isin([*FILTERS, STATED])]):
        for row in _sorted(of):
            if row["level"] != STATED and len(of) > 1 and STATED in set(of["level"]):
                continue  # where all that states the facts is gone, the rest says less
            found.append(
                f"{what}, asked in {target} at {row['level']}: {row['estimate']:+.1f} points ({row['lo']:+.1f} to "
                f"{row['hi']:+.1f}) more than of questions that no text answers: {_crossed(row)}."
            )
    return found


def _crossed(row: Mapping[str, Any]) -> str:
    return {
        ABOVE: "knowledge crosses from the other language",
        BELOW: "fewer are right, which needs an explanation",
        EQUIVALENT: "nothing that matters crosses",
        UNDECIDED: "neither that something crosses nor that nothing does is shown",
    }[row["verdict"]]


def together(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say how the two languages' answers go together over models."""
    table = rows["correlations"]
    table = table[(table["level"] == OVER_MODELS) & (table["rule"] == GENERATED) & (table["split"] == TEST)]
    table = table[table["metric"].isin(HEADLINE)].dropna(subset=["r", "lo"])
    return [
        f"{what}: over {int(row['n'])} models, being right in the two languages correlates by {row['r']:+.2f} "
        f"({row['lo']:+.2f} to {row['hi']:+.2f})."
        for what, of in _groups(table)
        for row in of.to_dict("records")
    ]


def alarms(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say which alarms ring, with what is to be done, and how many could not have."""
    table = rows["alarms"]
    rings = table[table["verdict"] == RINGS]
    found = []
    for name, of in rings.groupby("name", sort=False):
        said = []
        for row in of.to_dict("records"):
            where = [TASKS.get(row["task"], row["task"]), row["language"]]
            where = [str(part) for part in where if isinstance(part, str) and part]
            where += ["untuned"] if row["tuned"] == UNTUNED else []
            said.append(f"{', '.join(where)}: {row['what']}" if where else str(row["what"]))
        more = f"; and {len(said) - 4} more in the table" if len(said) > 4 else ""
        mend = next((text for text in of["to_do"] if isinstance(text, str) and text), "")
        found.append(f"Alarm, {name}. {'; '.join(said[:4])}{more}. {mend}".rstrip())
    unsure = int((table["verdict"] == CANNOT_TELL).sum())
    if unsure:
        found.append(f"{unsure} of {len(table)} alarms cannot tell: see their table.")
    return found


def account(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> Account:
    """Return what the study asks, was, and found; alarms first."""
    base, target = (_name(config, lang) for lang in (config["base_language"], config["removal"]["target"]))
    margins = config["inference"]["margin"]
    again = f" and {AGAIN} (A/A)" if config["removal"]["again"] else ""
    tasks = config["qa"]["tasks"]
    return Account(
        question="Does joint pretraining carry what only one language states?",
        about=f"Models learn {base} and {target} jointly, from scratch. Pages are taken from the {target} text alone, "
        "more at each level, and others put in their place; then all models are tuned on the same questions and asked "
        f"the same questions in both languages. If knowledge crosses, {target} answers survive the loss of {target} "
        "pages. A difference that is not told from 0 is no proof of none: each has a test of equivalence beside it.",
        found=[text for of in (alarms, removed, differences, crosses, together) for text in of(rows, config)],
        design={
            "Levels": f"{', '.join(config['removal']['levels'])}{again}; {seeds_phrase(len(config['seeds']))}",
            "Asked": "; ".join(TASKS.get(task, task) for task in tasks),
            "Margins": "; ".join(f"{metric} {100 * margin:g} points" for metric, margin in margins.items()),
            "Tests": "Student's t over clusters of questions (those of one page), two one-sided tests (TOST), families "
            f"by Holm at {_alpha(config):g}",
        },
        roles={
            lang: "nothing is removed" if lang == config["base_language"] else "pages are removed"
            for lang in config["languages"]
        },
    )
