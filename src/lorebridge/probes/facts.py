"""The table of facts that models are asked."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorebridge import tables
from lorebridge.corpora.facts import golds, read_facts

log = logging.getLogger("lorebridge.probes")


def build_facts(
    *,
    shape: str,
    langs: Sequence[str],
    folder: Path | str,
    relations: Sequence[str] | None = None,
    repeats: str = "drop",
    files: Sequence[str] = (),
    out: Path,
) -> dict[str, Any]:
    """Write the table ``facts`` of a data set.

    Args:
        shape, langs, relations, repeats: see :func:`lorebridge.corpora.facts.read_facts`.
        folder: of the data set.
        files: its files that the plan knows by their content; not read here.
        out: the table, a row a fact and language.

    Returns:
        Notes for the record: ``facts`` by language, ``prompts`` and ``prompts with several golds``, and what was left
        out by reason.

    Raises:
        InputError: as :func:`lorebridge.corpora.facts.read_facts`.
    """
    found = read_facts(shape, folder, langs, relations=relations, repeats=repeats)
    answers = golds(found.facts)
    tables.write(
        "facts", [{**dataclasses.asdict(fact), "golds": answers[fact.lang, fact.prompt]} for fact in found.facts], out
    )
    notes = {
        "facts": dict(Counter(fact.lang for fact in found.facts)),
        "prompts": len(answers),
        "prompts with several golds": sum(len(objects) > 1 for objects in answers.values()),
        **found.left_out,
    }
    for line in told(notes):
        log.info("%s", line)
    return notes


def told(notes: Mapping[str, Any]) -> list[str]:
    """Return the notes of :func:`build_facts` as lines, one a reason."""
    lines = []
    for what, value in notes.items():
        if isinstance(value, Mapping):
            lines.append(f"{what}: {', '.join(f'{n:,} {name}' for name, n in value.items())}")
        elif isinstance(value, list):
            named = ", ".join(value[:5]) + (", …" if len(value) > 5 else "")
            lines.append(f"{what}: {len(value):,} ({named})")
        else:
            lines.append(f"{what}: {value:,}")
    return lines
