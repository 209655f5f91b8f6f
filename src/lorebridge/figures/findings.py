"""What a finished study has to say, for the terminal: the page's own sentences, the alarms that ring, what to open."""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lorebridge.figures.write import two_digits
from lorebridge.transfer.alarms import CANNOT_TELL, RINGS

if TYPE_CHECKING:
    from lorebridge.figures.page import Account

WIDTH = 110


def findings(
    *, account: str, config: Mapping[str, Any], csv: Mapping[str, Path], page: Path, report: Path
) -> Iterator[str]:
    """Yield what a study found, line by line; all is read from its tables as they lie.

    Args:
        account: ``module:function`` that says what the study asks, was, and found.
        config: its configuration.
        csv: name of a table -> its rows.
        page: the study's page.
        report: where Snakemake's report of it lies, if it was made.
    """
    rows = {name: pd.read_csv(path) for name, path in csv.items()}
    module, _, function = account.partition(":")
    told: Account = getattr(importlib.import_module(module), function)(rows, config)
    yield f"What was found (study {config['study']})"
    for finding in told.found:
        yield _wrapped(finding, "  - ", "    ")
    if config["remark"]:
        yield _wrapped(config["remark"], "  ! ", "    ")
    if "alarms" in rows:
        yield from _alarms(rows["alarms"], csv["alarms"].with_suffix(".md"))
    yield "\nOpen first"
    first = report if report.is_file() else page
    yield f"  {first}: question, design, every figure and table, and where they come from, on one page"
    yield f"  {csv['gaps'].parent if 'gaps' in csv else page.parent}/: the tables as CSV, Markdown and LaTeX"


def _alarms(table: pd.DataFrame, place: Path) -> Iterator[str]:
    """Yield the alarms that ring, each with what it tells and what to do about it, which is said once."""
    ringing = table[table["verdict"] == RINGS]
    silent = int((table["verdict"] == CANNOT_TELL).sum())
    rest = f"; {silent} cannot tell, which is no good sign" if silent else ""
    yield f"\nWhat rings: {len(ringing)} of {len(table)} alarms{rest} ({place})"
    for name, rows in ringing.groupby("alarm", sort=False):
        yield _wrapped(str(name), "  ! ", "    ")
        for (language, direction, why), alike in rows.fillna("").groupby(["language", "direction", "why"], sort=False):
            # Of an arm: "ARM: what is looked at".
            parts = [str(quantity).rpartition(": ") for quantity in alike["quantity"]]
            numbers = [
                " ".join([*([arm] if arm else []), two_digits(estimate)])
                for (arm, _, _), estimate in zip(parts, alike["estimate"], strict=True)
            ]
            where = ", ".join(str(name) for name in (language, direction) if name)
            yield _wrapped(f"{where}: {parts[0][2]}: {', '.join(numbers)}; {why}", "      ", "        ")
        for mend in dict.fromkeys(rows["to_do"].dropna()):
            yield _wrapped(mend, "      -> ", "         ")


def _wrapped(text: str, first: str, following: str) -> str:
    unbroken = " ".join(text.split()).replace(" %", "\u00a0%")
    return textwrap.fill(
        unbroken,
        WIDTH,
        initial_indent=first,
        subsequent_indent=following,
        break_long_words=False,
        break_on_hyphens=False,
    ).replace("\u00a0%", " %")
