"""What the tables of a study say, in sentences: headlines of the page, and what stands below a figure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from lorebridge import declared
from lorebridge.figures.mechanism import KNOWN, NOWHERE
from lorebridge.figures.write import final_checkpoints
from lorebridge.transfer.alarms import CANNOT_TELL, RINGS
from lorebridge.transfer.contrasts import ALL, BEYOND
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY
from lorebridge.transfer.matched import LOSS_EN, LOSS_XX, STEP
from lorebridge.transfer.planted import ESTIMAND
from lorebridge.transfer.standard import contrasts
from lorebridge.transfer.verdicts import ABOVE, BELOW, EQUIVALENT, UNDECIDED
from lorebridge.world.stages import carrying

LEVEL = 0.05

Findings = Callable[[Mapping[str, pd.DataFrame], Mapping[str, Any]], list[str]]
"""From the study's tables (CSV, by name) and its configuration, what they say, in sentences."""


def _pooled(table: pd.DataFrame, config: Mapping[str, Any], scale: str = ALL) -> pd.DataFrame:
    """Return a scale's rows of the headline prefix, leaked questions kept, with the widest interval that there is."""
    headline = table[table["prefix"] == config["probing"]["prefix"]]
    return _widest(headline[(headline["scale"] == scale) & (headline["leaked_questions"] == "kept")])


_OF = ("lang", "direction", "contrast", "scale", "resource", "placed", "covered", "seed", "matched_on", "prefix")
"""Columns of tables that say what a number is of; rows that differ in none of them differ in their interval."""


def _widest(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row of each number: with its interval over questions and seeds, where its language has two seeds."""
    told = table[table["interval"].isin([QUESTIONS_AND_SEEDS, QUESTIONS_ONLY])]
    told = told.sort_values("interval", key=lambda interval: interval != QUESTIONS_AND_SEEDS, kind="stable")
    return told.drop_duplicates([column for column in _OF if column in told]).sort_index()


def _points(row: pd.Series, value: str, level: float = 95) -> str:
    """Return an estimate in percentage points with its interval.

    >>> _points(pd.Series({"gap": 1.26, "lo": -0.5, "hi": 3.0}), "gap")
    '+1.3 points (95 % interval −0.5 to 3.0)'
    """
    text = f"{row[value]:+.1f} points ({level:g} % interval {row['lo']:.1f} to {row['hi']:.1f})"
    return re.sub(r"-(?=\d)", "−", re.sub(r"[+-](?=0\.0 points)", "", text))


def _range(values: pd.Series, unit: str) -> str:
    """Return the smallest and the largest of some values, or the one that they are.

    >>> _range(pd.Series([25.0, 25.01]), "%"), _range(pd.Series([3.0, 4.0]), "points")
    ('25.0 %', '3.0 to 4.0 points')
    """
    low, high = f"{values.min():.1f}", f"{values.max():.1f}"
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _first_contrast(config: Mapping[str, Any]) -> str:
    return " - ".join(config["transfer"]["contrasts"][0])


STANDING = {
    declared.BEFORE: "This family of tests was declared before the runs and is as it was then.",
    declared.SINCE: "This family of tests was changed since the runs began: it is not what was declared then, and its "
    "verdicts confirm nothing.",
    declared.AFTER: "This family of tests was declared after the runs began, when nothing was: its verdicts confirm "
    "nothing.",
    declared.UNKNOWN: "What was declared when the runs began is not recorded: whether this family of tests was "
    "declared before them cannot be told.",
}
UNDECLARED = (
    "Nothing was declared before the runs: no test on this page confirms anything, and there is no verdict. All that "
    "was found is exploration."
)
_MEANS = {ABOVE: "above 0", BELOW: "below 0", EQUIVALENT: "equivalent to 0", UNDECIDED: "undecided"}


def verdicts(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say whether the declared tests were declared before the runs, and then the verdict on each."""
    if "verdicts" not in rows:
        return [UNDECLARED]
    table = rows["verdicts"]
    first = table.iloc[0]
    found = [
        f"{STANDING[first['declared']]} {len(table)} tests; any wrong verdict has a probability of at most "
        f"{100 * first['alpha']:g} %. Everything else on this page is exploration."
    ]
    for _, row in table.iterrows():
        found.append(
            f"{row['name']}: {_MEANS[row['verdict']]}. {row['contrast']}, {row['direction']}: "
            + (
                f"{_points(row, 'estimate', 100 * (1 - row['alpha']))}, smallest effect of interest "
                f"{row['margin']:.1f}; interval over {row['interval']}{_note(row)}."
                if pd.notna(row["estimate"])
                else f"{row['note']}."
            )
        )
    return found


def gaps(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say which gaps can be told from zero, and how large the largest is."""
    table = _pooled(rows["gaps"], config)
    table = table[table["seed"].astype(str) == "all"]
    found = []
    for contrast in (" - ".join(pair) for pair in contrasts(config)):
        gaps = table[table["contrast"] == contrast]
        largest = gaps.iloc[int(gaps["gap"].abs().argmax())]
        found.append(
            f"{contrast}: {int((gaps['p_holm'] < LEVEL).sum()) or 'none'} of {len(gaps)} gaps (languages × directions) "
            f"can be told from zero at {LEVEL:g} (Holm). The largest is {largest['lang']}, {largest['direction']}: "
            f"{_points(largest, 'gap')}; interval over {largest['interval']}{_note(largest)}."
        )
    return found


def _note(row: pd.Series) -> str:
    """Return what a row's interval comes with, in brackets; nothing where it comes with nothing."""
    return f" ({row['note']})" if isinstance(row["note"], str) and row["note"] else ""


def risk_set(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say what crossed of what was at risk, beyond preferences that became alike."""
    table, first = _pooled(rows["gaps"], config, BEYOND), _first_contrast(config)
    table = table[(table["seed"].astype(str) == "all") & (table["contrast"] == first)].dropna(subset=["gap"])
    if table.empty:
        return []
    largest, told = table.iloc[int(table["gap"].abs().argmax())], int((table["p_holm"] < LEVEL).sum())
    return [
        "On the risk set, which is known in the source and not answered by the second arm, less what wrong options "
        f"show when each is scored as the answer ({first}): {told or 'none'} of {len(table)} gaps can be told from "
        f"zero at {LEVEL:g} (Holm). The largest is {largest['lang']}, {largest['direction']}: "
        f"{_points(largest, 'gap')}; interval over {largest['interval']}{_note(largest)}."
    ]


def matched(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say what is left of the gaps where arms predict held-out text equally well."""
    if "matched_gaps" not in rows:  # a bundle of before
        return []
    table = rows["matched_gaps"]
    table = table[(table["prefix"] == config["probing"]["prefix"]) & (table["contrast"] == _first_contrast(config))]
    base = config["languages"][config["base_language"]]["name"]
    found = []
    for on, where in ((LOSS_XX, "in the language that is learned"), (LOSS_EN, f"in {base}")):
        rows_of = {way: _widest(table[(table["matched_on"] == way) & table["gap"].notna()]) for way in (on, STEP)}
        cells = {way: of_way.set_index(["lang", "direction"])["gap"] for way, of_way in rows_of.items()}
        n, there = len(cells[STEP]), cells[STEP].index.intersection(cells[on].index)
        if there.empty:
            found.append(f"At equal loss of held-out text {where}: in none of {n} gaps was it ever equal.")
            continue
        before, after = (f"{cells[way].loc[there].mean():+.1f}".replace("-", "−") for way in (STEP, on))
        others = "" if len(there) == n else "; the others never had it"
        told = int((rows_of[on]["p_holm"] < LEVEL).sum())
        found.append(
            f"At equal loss of held-out text {where} ({_first_contrast(config)}; {len(there)} of {n} gaps{others}): "
            f"{after} points on average, where the last checkpoints have {before}; {told or 'none'} can be told from "
            f"zero at {LEVEL:g} (Holm)."
        )
    return found


def asymmetry(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say how the two directions differ by resource level, of all questions and of what was at risk."""
    first, found = _first_contrast(config), []
    for scale, where in ((ALL, ""), (BEYOND, ", on the risk set less what wrong options show")):
        table = _pooled(rows["asymmetry"], config, scale)
        tests = table[(table["contrast"] == first) & table["resource"].str.contains("interaction")]
        found += [
            f"How much more the two directions differ in low-resource languages than in high-resource ones{where} "
            f"({first}): {_points(test, 'estimate')}, p = {test['p']:.2g}; interval over {test['interval']}"
            f"{_note(test)}, for these languages only."
            for _, test in tests.iterrows()
        ]
    return found


def placements(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say what crosses in a planted world, beside facts that are stated nowhere."""
    if "placements" not in rows:
        return []
    table, first = _widest(rows["placements"]), _first_contrast(config)
    if carrying(config):
        return _carried(table[table["scale"] == ALL], config)
    found = []
    for scale, what in ((ALL, ""), (BEYOND, ", as a share of what was at risk, less what wrong options show")):
        crossed = table[(table["contrast"] == first) & (table["covered"] == "all") & (table["scale"] == scale)]
        crossed = crossed[crossed["placed"].str.contains(" - ")]
        if crossed.empty:
            continue
        largest, told = crossed.iloc[int(crossed["gap"].abs().argmax())], int((crossed["p"] < LEVEL).sum())
        found.append(
            f"What crosses in the planted world, with facts stated nowhere as the control{what} ({first}): "
            f"{told or 'none'} of {len(crossed)} estimates can be told from zero at {LEVEL:g}, each taken alone. The "
            f"largest is {largest['lang']}, {largest['direction']}: {_points(largest, 'gap')}; interval over "
            f"{largest['interval']}{_note(largest)}."
        )
    return found


def _carried(table: pd.DataFrame, config: Mapping[str, Any]) -> list[str]:
    """Say, in a world in which a bridge is to carry, whether it does, where it must not, and of what nobody states."""
    base, names = config["base_language"], {lang: said["name"] for lang, said in config["languages"].items()}
    there = carrying(config)
    into = table[(table["covered"] == "all") & ~table["direction"].str.endswith(names[base])]
    asked = [" - ".join(pair) for pair in config["transfer"]["contrasts"] if pair[0] == "bridge"]

    def told(lang: str, placed: str) -> str:
        rows = into[(into["lang"] == names[lang]) & (into["placed"] == placed)].set_index("contrast")
        return "; ".join(
            f"{contrast}: {_points(rows.loc[contrast], 'gap')}" for contrast in asked if contrast in rows.index
        )

    others = [lang for lang in names if lang != base and lang not in there]
    found = [
        f"What only {names[base]} states, and a bridge is to carry, asked in {names[lang]} (less what is stated "
        f"nowhere): {told(lang, ESTIMAND)}."
        for lang in there
    ]
    found += [
        f"The same asked in {names[lang]}, whose names follow no rule, so that it must not: {told(lang, ESTIMAND)}."
        for lang in others
    ]
    nowhere = "; ".join(f"{names[lang]}, {told(lang, 'neither')}" for lang in (*there, *others))
    return [*found, f"What is stated nowhere, where nothing can cross: {nowhere}."]


def alarms(rows: Mapping[str, pd.DataFrame], _: Mapping[str, Any]) -> list[str]:
    """Say which alarms ring."""
    table = rows["alarms"]
    ringing = table.loc[table["verdict"] == RINGS, "alarm"].value_counts()
    named = ", ".join(f"{alarm} ({count})" for alarm, count in sorted(ringing.items()))
    return [
        f"Signs that the study itself went wrong: {ringing.sum() or 'none'} of {len(table)} alarms ring"
        f"{': ' + named if named else ''}; {int((table['verdict'] == CANNOT_TELL).sum())} cannot tell."
    ]


HEADLINES: tuple[Findings, ...] = (gaps, risk_set, matched, placements, asymmetry, alarms)
"""What stands at the top of the page."""


def accuracy(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say between which values accuracy lies, beside chance."""
    table = rows["accuracy"]
    found = []
    for own, label in ((True, "the language that is learned"), (False, "the base language")):
        asked = table[(table["culture"] == table["asked_in"]) == own]
        low, high = (asked.loc[asked["accuracy"].agg(end)] for end in ("idxmin", "idxmax"))
        found.append(
            f"In {label}, accuracy at {final_checkpoints(config['transfer']['last'])} goes from "
            f"{low['accuracy']:.1f} % ({low['culture']}, {low['arm']}) to {high['accuracy']:.1f} % ({high['culture']}, "
            f"{high['arm']}); at step 0 it was {_range(asked['before'], '%')}, and chance is "
            f"{_range(asked['chance'], '%')}."
        )
    return found


def power(rows: Mapping[str, pd.DataFrame], _: Mapping[str, Any]) -> list[str]:
    """Say how small a gap the questions can show."""
    table = rows["power"]
    told = {column: table[column].dropna() for column in ("detectable_effect", "detectable_effect_seeds")}
    of_models, of_arms = (_range(values, "points") if len(values) else "none" for values in told.values())
    with_seeds = f"; of two arms, seeds differing as assumed: {of_arms}" if len(told["detectable_effect_seeds"]) else ""
    shown = f"{of_models}{with_seeds} (80 % power)"
    return [f"The smallest gap that a culture's questions can show between two models: {shown}."]


def leaks(rows: Mapping[str, pd.DataFrame], _: Mapping[str, Any]) -> list[str]:
    """Say how many facts the parallel text states outright."""
    both = rows["leaks"][rows["leaks"]["half"] == "either"]
    told, leaked = int(both["told"].sum()), int(both["leaked"].sum())
    return [f"Of {told:,} facts that could be looked for, the parallel text states {leaked:,} outright."]


def recovery(rows: Mapping[str, pd.DataFrame], _: Mapping[str, Any]) -> list[str]:
    """Say how many planted statements are found again."""
    judged = rows["recovery"][rows["recovery"]["stage"] == "judged"]
    right, there, found = (int(judged[column].sum()) for column in ("recovered_true", "true_documents", "recovered"))
    return [
        f"Of {there:,} documents that state a planted fact, retrieval and judge find {right:,}; they name "
        f"{found - right:,} that do not."
    ]


def mechanism(rows: Mapping[str, pd.DataFrame], _: Mapping[str, Any]) -> list[str]:
    """Say of each language and arm whether alignment is half risen before accuracy on what only the source states."""
    table = rows["mechanism"]
    table = table[(table["direction"] != "xx->en") & (table["quantity"] != NOWHERE)]
    found = []
    for (language, arm), part in table.groupby(["language", "arm"], sort=False):
        risen = {str(row["quantity"]): row["half_risen"] for row in part.dropna(subset="half_risen").to_dict("records")}
        at = risen.pop(KNOWN, None)
        if at is None:
            others = ", ".join(risen) or "nothing"
            found.append(
                f"{language}, {arm}: what only the source states does not come to be answered; of the rest there "
                f"rises: {others}."
            )
            continue
        order = {
            "before": [name for name, step in risen.items() if step < at],
            "at the same checkpoint": [name for name, step in risen.items() if step == at],
            "after": [name for name, step in risen.items() if step > at],
        }
        told = "; ".join(f"{when}: {', '.join(named)}" for when, named in order.items() if named)
        found.append(
            f"{language}, {arm}: accuracy on what only the source states is half risen at step {at:,.0f}. "
            + (f"Half risen {told}." if told else "Nothing else rises.")
        )
    return found
