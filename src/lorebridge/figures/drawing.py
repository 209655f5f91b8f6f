"""Draws the figures and writes the tables of a study from its artifacts, as the plan lists them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorebridge.plan import FIGURES, TABLES


def draw(kind: str, *, files: Mapping[str, Sequence[str]], out: Path, **literals: Any) -> None:
    """Draw one figure or write one table.

    Args:
        kind: ``figure`` or ``table``.
        files: name of an output of the plan -> paths of the artifacts that it is drawn from.
        out: path without suffix.
        literals: its name under `kind`, and the settings that it is drawn with.
    """
    name = literals.pop(kind)
    drawing = {"figure": FIGURES, "table": TABLES}[kind][name]
    write = getattr(importlib.import_module(f"lorebridge.figures.{drawing.module}"), drawing.function or name)
    write(**literals, **arguments(drawing.reads, files, literals.get("base", "")), out=out)


def arguments(reads: Sequence[str], files: Mapping[str, Sequence[str]], base: str) -> dict[str, Any]:
    """Return what a drawing function takes as its arguments.

    Args:
        reads: what it is drawn from, as the plan lists it.
        files: name of an output of the plan -> paths.
        base: code of the base language.
    """
    return {what: _argument(what, files, base) for what in reads}


def _argument(what: str, files: Mapping[str, Sequence[str]], base: str) -> Any:
    """Return what a drawing function takes as the argument `what`."""

    def paths(output: str) -> list[Path]:
        return [Path(path) for path in files[output]]

    match what:
        case "scores" | "perplexity" | "alignment" | "people_mentions" | "metrics" | "exposure":
            return paths(what)
        case "questions" | "people_questions":
            return {path.stem: path for path in paths(what)}
        case "tokenizer":
            return paths("tokenizer")[0].parent
        case "orders":
            # Here, because it loads all that makes orders, which would be a third of the time of every other drawing.
            from lorebridge.tokens.order import order_summary

            return [order_summary(path) for path in paths("order")]
        case "audits":
            corpora = {path.parent.name: path for path in paths("audit")}
            return corpora | {f"{base}-{path.name.split('.')[0]}": path for path in paths("pairs_audit")}
        case "items":
            return paths("transferred")[0]
        case _:
            return paths(what)[0]
