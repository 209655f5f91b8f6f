"""Sheets that people fill in: CSV files, written so that a spreadsheet opens them, and read as it saves them."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lorebridge import publish
from lorebridge.errors import InputError


def write_rows(path: Path, rows: Sequence[Mapping[Any, Any]], columns: Sequence[str]) -> None:
    """Write a sheet as RFC 4180 has it, in UTF-8 with a byte order mark, which tells spreadsheets so.

    The sheet's folder is made.
    """
    table = pd.DataFrame(rows, columns=list(columns))
    with publish.whole(path) as partial:
        # With this line end, cells are quoted that hold either half of it.
        table.to_csv(partial, index=False, encoding="utf-8-sig", lineterminator="\r\n")


def read_rows(path: Path, columns: Collection[str], *, what: str, mend: str) -> list[dict[str, str]]:
    """Return the rows of a sheet, whatever its cells are separated by: some spreadsheets write semicolons or tabs.

    Args:
        path: a CSV file.
        columns: those that it must have.
        what: what such a sheet is called, for the error.
        mend: how to get one, for the error.

    Returns:
        the rows, all cells as text; one that is missing at the end of a row is empty.

    Raises:
        InputError: the file cannot be read, is not UTF-8, is empty, lacks a column or has one twice, or a row has more
            cells than there are columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "Give the path of a sheet.") from error
    except UnicodeDecodeError as error:
        raise InputError(path, f"is not UTF-8 (byte {error.start})", "Save it as CSV in UTF-8.") from error
    header = text.split("\n", 1)[0]
    separator = max(",;\t", key=header.count)
    # Not by `splitlines`: cells may hold other line ends of Unicode, which end no row.
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, restval="")
    rows = list(reader)
    if not rows or not set(columns) <= rows[0].keys():
        raise InputError(path, f"is no {what}", mend)
    refuse_odd_cells(path, reader.fieldnames or (), rows, columns)
    return rows


def refuse_odd_table(path: Path | str, columns: Collection[str]) -> None:
    """Refuse a CSV file of which pandas would take other cells than a person means, without a word.

    A second column of one name gets another name, and a row of one cell too many moves all of them by a column.

    Args:
        path: the file; one that cannot be read is left to who reads it next.
        columns: those that are read.

    Raises:
        InputError: as :func:`refuse_odd_cells`.
    """
    unreadable = contextlib.suppress(OSError, UnicodeDecodeError, csv.Error)
    with unreadable, Path(path).open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        refuse_odd_cells(Path(path), rows.fieldnames or (), rows, columns)


def refuse_odd_cells(
    path: Path, names: Sequence[str], rows: Iterable[Mapping[str | None, Any]], columns: Collection[str]
) -> None:
    """Refuse what a reader of CSV passes over: a column that stands twice, and cells beyond the last column.

    Args:
        path: the file.
        names: its columns.
        rows: its rows, with further cells under None.
        columns: those that are read.

    Raises:
        InputError: names the column, or the row (of cells without line ends, the line).
    """
    for name in columns:
        if list(names).count(name) > 1:
            raise InputError(f"{path}, row 1", f"the column {name!r} stands twice", "Take one of the two out.")
    for number, row in enumerate(rows, 2):
        if None in row:
            raise InputError(
                f"{path}, row {number}",
                f"has more cells than the {len(names)} columns",
                "Quote the cell that holds the separator, or take out what is too many.",
            )
