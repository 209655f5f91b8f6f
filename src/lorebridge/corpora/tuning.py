"""Rows of supervised tuning: what a model is asked, and what it is to answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lorebridge import tables
from lorebridge.corpora.facts import json_rows
from lorebridge.errors import InputError, said

SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")


def tuning_rows(*, file: Path, lang: str, out: Path) -> dict[str, Any]:
    """Write the table ``tuning`` of one language from a file of rows.

    Args:
        file: JSONL or Parquet, a row with the texts ``prompt`` and ``answer``, and ``row_id`` where rows have names
            (else their numbers, from 1); other keys are not read.
        lang: the language, for messages.
        out: the table to write, in the order of the file.

    Returns:
        Notes for the record: ``rows``.

    Raises:
        InputError: it cannot be read or has no row, or a row lacks a text, has an empty one, or a name that another
            has: names the file, the row and the key.
    """
    found = list(_checked(Path(file)))
    if not found:
        raise InputError(file, "has no row", f"Give rows of `prompt` and `answer` in {lang}.")
    tables.write("tuning", found, out)
    return {"rows": len(found)}


def _checked(file: Path) -> Iterator[dict[str, str]]:
    seen: dict[str, int] = {}
    for number, row in _rows(file):
        where = f"{file}, row {number}"
        for key in ("prompt", "answer"):
            value = row.get(key)
            if not isinstance(value, str):
                raise InputError(where, f"has no text `{key}`", "Give every row a `prompt` and an `answer`.")
            if not value.strip():
                raise InputError(f"{where}, key {key}", "is empty", "Fill it in, or drop the row.")
        name = row.get("row_id")
        name = str(number if name is None else name)
        if name in seen:
            raise InputError(f"{where}, key row_id", f"{name!r} is the name of row {seen[name]}, too", "Rename one.")
        seen[name] = number
        yield {"row_id": name, "prompt": row["prompt"], "answer": row["answer"]}


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number of each row of a file, from 1, and the row."""
    if not file.name.endswith(SUFFIXES):
        raise InputError(file, "is neither JSONL nor Parquet", f"Give a file of {', '.join(SUFFIXES)}.")
    if file.suffix != ".parquet":
        yield from json_rows(file)
        return
    try:
        names = [name for name in pq.read_schema(file).names if name in ("row_id", "prompt", "answer")]
        yield from enumerate(pq.read_table(file, columns=names).to_pylist(), 1)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(file, f"cannot be read ({said(error)})", "Give a JSONL or Parquet file.") from error
