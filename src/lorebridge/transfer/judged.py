"""Judged answers, of any model to any question in any language, as one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.errors import InputError, said
from lorebridge.probes.wording import NO_HINT

NEEDED = ("model", "question_id", "source_lang", "target_lang", "correct")
KEY = ["dataset", "model", "question_id", "target_lang", "hint", "sample", "judge"]
"""What an answer is known by."""
_VERDICTS = {True: True, False: False, "1": True, "0": False, "true": True, "false": False, "1.0": True, "0.0": False}


def read_judged(path: Path | str) -> pd.DataFrame:
    """Return a table of judged answers, checked.

    Args:
        path: CSV or Parquet, an answer a row, with :data:`NEEDED` and, where they tell answers apart, ``dataset`` (else
            the name of the file), ``hint`` (else none), ``sample`` (else 0) and ``judge``; other columns are not read.
            An empty ``source_lang`` is of a question that was written for no language, as those of KLAR: each that it
            is asked in is a source for the others.

    Returns:
        The rows of the table "judged", in the order of the file.

    Raises:
        InputError: it cannot be read, is empty, lacks a column or a value, a verdict is none of 0 and 1, an answer
            stands twice, or a question has two sources: names the file and the row (from 1, below the heading).
    """
    path = Path(path)
    table = _raw(path)
    for column in NEEDED:
        if column not in table:
            raise InputError(path, f"has no column {column!r}", f"It needs {', '.join(NEEDED)}.")
    if table.empty:
        raise InputError(path, "has no row", "Give judged answers, one a row.")
    otherwise = {"dataset": path.stem, "source_lang": None, "hint": NO_HINT, "judge": ""}
    found = pd.DataFrame(
        {
            column: _text(path, table, column, otherwise)
            for column in ("dataset", "model", "question_id", "source_lang", "target_lang", "hint", "judge")
        }
    )
    found["sample"] = _samples(path, table["sample"]) if "sample" in table else np.int32(0)
    found["correct"] = _verdicts(path, table["correct"])
    _refuse_twice(path, found)
    _refuse_two_sources(path, found)
    return found[tables.SCHEMAS["judged"].names]


def _raw(path: Path) -> pd.DataFrame:
    if path.suffix not in (".csv", ".parquet"):
        raise InputError(path, "is neither CSV nor Parquet", "Give a file whose name ends in .csv or .parquet.")
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path).reset_index(drop=True)
        # All of it as text: 010 is another question than 10, and NA may be a model.
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(path, f"is not UTF-8 (byte {error.start})", "Save it as CSV in UTF-8.") from error
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read ({said(error)})", "Give a CSV or Parquet file.") from error


def _first(marked: pd.Series) -> int:
    """Return the number of the first marked row."""
    return int(marked.to_numpy().argmax()) + 1


def _text(path: Path, table: pd.DataFrame, column: str, otherwise: dict[str, str | None]) -> pd.Series:
    """Return a column as text, with what stands for an empty value."""
    if column not in table:
        return pd.Series(otherwise[column], table.index, dtype=object)
    given = table[column]
    empty = given.isna() | (given.astype(str).str.strip() == "")
    if empty.any() and column not in otherwise:
        raise InputError(f"{path}, row {_first(empty)}, column {column}", "is empty", "Fill it in, or drop the row.")
    return given.astype(str).astype(object).where(~empty, otherwise.get(column))


def _samples(path: Path, given: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(given, errors="coerce")
    bad = numbers.isna() | (numbers < 0) | (numbers % 1 != 0)
    if bad.any():
        where = f"{path}, row {_first(bad)}, column sample"
        raise InputError(where, f"{given[bad].iloc[0]!r} is no number of a sample", "Count samples from 0.")
    return numbers.astype("int32")


def _verdicts(path: Path, given: pd.Series) -> pd.Series:
    values = given.map(lambda x: _VERDICTS.get(x.strip().lower() if isinstance(x, str) else x))
    bad = values.isna()
    if bad.any():
        where = f"{path}, row {_first(bad)}, column correct"
        raise InputError(where, f"{given[bad].iloc[0]!r} is no verdict", "Write 1 (right) or 0, or drop the row.")
    return values.astype(bool)


def _refuse_twice(path: Path | str, found: pd.DataFrame) -> None:
    twice = found.duplicated(KEY)
    if twice.any():
        row = found[twice].iloc[0]
        first = (found[KEY] == row[KEY]).all(axis=1)
        raise InputError(
            f"{path}, row {_first(twice)}",
            f"the answer of {row['model']} to {row['question_id']} in {row['target_lang']} is judged in row "
            f"{_first(first)}, too",
            "Drop one of the two, or tell them apart by the columns dataset, hint, sample or judge.",
        )


def _refuse_two_sources(path: Path, found: pd.DataFrame) -> None:
    source = found["source_lang"].fillna("none")
    first = source.groupby([found["dataset"], found["question_id"]]).transform("first")
    other = source != first
    if other.any():
        row = found[other].iloc[0]
        raise InputError(
            f"{path}, row {_first(other)}, column source_lang",
            f"the question {row['question_id']} is of {source[other].iloc[0]} here and of {first[other].iloc[0]} above",
            "Give a question one source, and questions of two languages two ids.",
        )


def joined(files: Sequence[Path | str]) -> pd.DataFrame:
    """Return the rows of several files, each answer once.

    Raises:
        InputError: as :func:`read_judged`, or an answer stands in two of them.
    """
    found = pd.concat([read_judged(path) for path in files], ignore_index=True)
    twice = found.duplicated(KEY)
    if twice.any():
        row = found[twice].iloc[0]
        raise InputError(
            ", ".join(map(str, files)),
            f"the answer of {row['model']} to {row['question_id']} in {row['target_lang']} stands in two of them",
            "Give each file once, or tell them apart by the column dataset.",
        )
    return found


def judged(*, files: Sequence[Path | str], out: Path, grades: Sequence[Path] = (), judge: str = "") -> dict[str, Any]:
    """Write the table ``judged`` from the files that a study is given, and from the answers that it has judged itself.

    Args:
        files: as :func:`read_judged` takes them.
        out: the table to write.
        grades: tables ``judged``, by several judges.
        judge: the one of them whose verdicts are taken.

    Returns:
        Notes for the record: ``answers``, ``questions`` and ``models``.

    Raises:
        InputError: as :func:`joined`.
    """
    own = [table[table["judge"] == judge] for table in map(read_judged, grades)]
    found = pd.concat([*([joined(files)] if files else []), *own], ignore_index=True)
    _refuse_twice(", ".join(map(str, [*files, *grades])), found)
    tables.write("judged", found, out)
    return {
        "answers": len(found),
        "questions": len(found[["dataset", "question_id"]].drop_duplicates()),
        "models": int(found["model"].nunique()),
    }
