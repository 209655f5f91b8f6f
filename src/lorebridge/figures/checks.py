"""The table of alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lorebridge.figures.effects import direction_label
from lorebridge.figures.write import two_digits, write_table
from lorebridge.probes.prefixes import prefix_phrase
from lorebridge.transfer import alarms as alarms_


def alarms(
    *,
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    accuracies: Path,
    leaks: Path,
    occurrences: Path,
    item_effects: Path,
    perplexity: Sequence[Path],
    base: str,
    names: Mapping[str, str],
    subset: str,
    rule: str,
    last: int,
    out: Path,
    prefix: str,
    carrying: Sequence[str] = (),
) -> None:
    """Write the alarms of a study with their verdicts and numbers.

    Args:
        scores: tables "scores", one a run.
        questions: culture -> table "questions".
        accuracies: table "accuracies".
        leaks: table "leaks".
        occurrences: table "occurrences".
        item_effects: table "item_effects".
        perplexity: tables "perplexity", one a run.
        base: code of the base language.
        names: language code -> English name.
        subset: which questions count.
        rule: how options are compared.
        last: number of final checkpoints pooled.
        out: path without suffix; .csv, .md and .tex are written.
        prefix: what questions were asked, and held-out text was read, behind.
        carrying: languages of a planted world in which a bridge is to carry.
    """
    table = alarms_.alarms(
        scores=scores,
        questions=questions,
        accuracies=accuracies,
        leaks=leaks,
        occurrences=occurrences,
        item_effects=item_effects,
        perplexity=perplexity,
        base=base,
        subset=subset,
        rule=rule,
        last=last,
        prefix=prefix,
        carrying=carrying,
    )
    table["lang"] = [", ".join(names.get(lang, lang) for lang in langs.split(", ")) for langs in table["lang"]]
    table["direction"] = [direction_label(direction, names[base]) for direction in table["direction"]]
    write_table(
        table.rename(columns={"lang": "language"}),
        out,
        f"Alarms, {(table['verdict'] == alarms_.RINGS).sum()} of {len(table)} of which ring: signs that the study went "
        "wrong. 'cannot tell' is no good sign: the alarm could not have rung. Differences of accuracy are shares of "
        "1. Intervals: 95 %, over questions, given these seeds (perplexity: over seeds), simultaneous over the rows of "
        f"an alarm. Questions {prefix_phrase(prefix)}.",
        dict.fromkeys(("estimate", "lo", "hi"), two_digits),
    )
