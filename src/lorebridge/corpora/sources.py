"""Where text comes from, behind one interface: batches of columns, in which every row knows its place for messages.

Kinds of sources (`kind` of a specification):

- ``local``: a file of rows: ``.jsonl``, ``.tsv`` (both also ``.gz``) or ``.parquet``; or a ``.zip`` of two line-aligned
  files, named ``*.<language>``, as Moses reads them. The first line of a TSV names its columns, unless `columns` does.
- ``huggingface``: `dataset`, `config`, `data_files`, `split`, `revision` (see :mod:`lorebridge.corpora.hub`).
- ``opus``: `corpus`, `version`, `pair`, `sha256`: a Moses zip of OPUS (Tiedemann 2012). `pair` says how its files end.
- ``nllb``: `pair`, `sha256`: the bitext that AllenAI mined anew for NLLB (NLLB Team 2022; the files that the loader of
  ``allenai/nllb`` fetches): gzipped lines of tab-separated values, the two sentences first. `pair` is as published
  (``bod_Tibt-eng_Latn``), and its two codes are the columns.

`name` labels the rows that carry no label of their own; `fields` renames columns: ``{"text": "body"}`` takes the text
from ``body``, ``{"en": "translation.eng_Latn"}`` from a nested object. The planted world is read as ``local``, like
any other corpus. What is fetched stays in a cache: the hub's own, and LOREBRIDGE_CACHE for the rest.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lorebridge.corpora import readers
from lorebridge.corpora.fetch import fetch_cached
from lorebridge.corpora.readers import Columns, Rows
from lorebridge.corpora.specs import NLLB_COLUMNS, SUFFIXES, ZIP, endings, is_tsv
from lorebridge.errors import InputError

__all__ = ["Batch", "Source", "open_source", "peek"]

log = logging.getLogger("lorebridge.corpora")


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one file of a source, checked: required columns have no nulls, all strings are UTF-8.

    Attributes:
        file: the file, for messages.
        index: the place of the file among those of the source, from 0; with `numbers` it orders rows in a way that
            does not depend on how the source is sharded.
        numbers: int64, the numbers of the rows in the file, from 1, ascending (of a file of lines: the line).
        columns: strings; the required columns, then the optional ones with null where a row lacks them.
        prefix: what the keys of the file's rows begin with.
    """

    file: str
    index: int
    numbers: npt.NDArray[np.int64]
    columns: pa.RecordBatch
    prefix: str = ""

    def place(self, row: int) -> str:
        """Return the file and number of the row at a place of the batch, for messages."""
        return readers.place(self.file, int(self.numbers[row]))

    def keys(self) -> pa.Array:
        """Return what identifies each row within the source, where it carries no `id`; independent of sharding."""
        return pc.binary_join_element_wise(self.prefix, _padded(self.numbers), "")


def _padded(numbers: npt.NDArray[np.int64], width: int = 7) -> pa.Array:
    """Return numbers, ascending and not negative, as strings of at least so many digits.

    As ``pc.utf8_lpad`` does, in a tenth of its time.
    """
    width = max(width, len(str(numbers[-1]))) if len(numbers) else width
    if len(numbers) and 10 ** (width - 1) > numbers[0] and width > 7:  # they grow longer within the batch
        return pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 7, "0")
    digits = numbers[:, None] // 10 ** np.arange(width - 1, -1, -1) % 10 + ord("0")
    ends = np.arange(0, width * (len(numbers) + 1), width, dtype=np.int32)
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(ends), pa.py_buffer(digits.astype(np.uint8)))


@dataclasses.dataclass(frozen=True)
class _File:
    """One file of a source: its label, and what reads a part of it."""

    label: str
    read: Callable[[int, int], Iterator[Rows]]


@dataclasses.dataclass(frozen=True)
class Source:
    """Rows that can be read as often as wanted.

    Attributes:
        name: what tells it from the other sources of a text, and the label of rows that carry none.
        notes: what opening found out, for a record: `revision` of a hub source, `sha256` of a fetched file.
        files: its files, in order.
        many: whether keys name the file.
    """

    name: str
    notes: Mapping[str, str]
    files: Sequence[_File]
    many: bool = False

    def batches(self, shard: int = 0, of: int = 1) -> Iterator[Batch]:
        """Yield the rows of one of `of` shards; every row is in exactly one of them.

        Whole files are dealt out to the shards where there are enough of them, else each file to its own group of
        shards: no shard fetches more files than it needs.

        Raises:
            InputError: a file cannot be read, or a row is malformed.
        """
        n = len(self.files)
        mine = range(shard, n, of) if n >= of else [shard % n]
        for index in mine:
            file = self.files[index]
            part, parts = (0, 1) if n >= of else (shard // n, len(range(index, of, n)))
            prefix = f"{index:04d}-" if self.many else ""
            for numbers, columns in file.read(part, parts):
                yield Batch(file.label, index, numbers, columns, prefix)


def open_source(
    spec: Mapping[str, Any],
    path: Path | str | None = None,
    required: Sequence[str] = ("text",),
    optional: Sequence[str] = ("id", "title", "source"),
) -> Source:
    """Open a source; a hub is asked for the files at once, so that a refusal comes before any work.

    Args:
        spec: its specification (see the module), with `kind` and `name`.
        path: the file of a ``local`` source.
        required: the columns that every row must have; for pairs the two languages.
        optional: the columns that a row may have.

    Raises:
        InputError: the source is not there, is gated, is of an unknown kind, or has no file in a format that is read.
    """
    kind, name = spec["kind"], spec["name"]
    columns = Columns(required, [column for column in optional if column not in required], spec.get("fields") or {})
    if kind == "huggingface":
        return _open_hub(spec, columns)
    if kind in ("opus", "nllb"):
        fetched, digest = fetch_cached(spec)
        if spec.get("sha256") is None:
            log.warning("%s: not pinned; write `sha256: %s` to read the same text again", name, digest)
        if kind == "opus":
            columns = dataclasses.replace(columns, fields=_endings(spec, required))
            return Source(name, {"sha256": digest}, [_File(str(fetched), _reader(fetched, columns, spec))])
        header = [*spec["pair"].split("-"), *NLLB_COLUMNS]
        read = functools.partial(readers.read_tsv, fetched, columns, header, quoted=True)
        return Source(name, {"sha256": digest}, [_File(str(fetched), read)])
    if kind != "local":
        raise InputError(name, f"{kind!r} is no kind of source", "Use local, huggingface, opus or nllb.")
    if path is None or not Path(path).exists():
        raise InputError(
            path or name, "no such file or folder", f"Correct the path of the source {name!r} in the configuration."
        )
    path = Path(path)
    return Source(name, {}, [_File(str(path), _reader(path, columns, spec))])


def peek(spec: Mapping[str, Any], path: Path | str, required: Sequence[str], optional: Sequence[str]) -> None:
    """Read the first rows of a local source, so that a file of another kind than it is called is told at once.

    Args:
        spec: its specification.
        path: the file.
        required: as of :func:`open_source`.
        optional: as of :func:`open_source`.

    Raises:
        InputError: it cannot be read, or one of its first rows is malformed.
    """
    next(open_source(spec, path, required, optional).batches(), None)


def _endings(spec: Mapping[str, Any], required: Sequence[str]) -> dict[str, str]:
    """Return how the files of a zip of OPUS end.

    Raises:
        InputError: neither `pair` nor `fields` says so.
    """
    try:
        return endings(spec, required)
    except ValueError as error:
        raise InputError(
            f"{spec['name']}, pair {spec['pair']}",
            f"does not say how the file in the language {error} ends",
            f"Write `pair` as OPUS spells it, or name the ending: `fields: {{{error}: ENDING}}`.",
        ) from error


def _open_hub(spec: Mapping[str, Any], columns: Columns) -> Source:
    """Open a source of the hub; its files are fetched when they are read."""
    from lorebridge.corpora import hub  # slow to import, and local sources do without it

    found = hub.find_files(spec, SUFFIXES)
    if spec.get("columns") and not any(map(is_tsv, found.paths)):
        raise InputError(spec["name"], "`columns` says nothing of files whose columns have names", "Leave it out.")

    def read(name: str, part: int, parts: int) -> Iterator[Rows]:
        yield from _reader(found.fetch(name), columns, spec)(part, parts)

    files = [_File(found.label(name), functools.partial(read, name)) for name in found.paths]
    return Source(spec["name"], {"revision": found.revision}, files, many=True)


def _reader(path: Path, columns: Columns, spec: Mapping[str, Any]) -> Callable[[int, int], Iterator[Rows]]:
    """Return what reads a file, by its suffix.

    Raises:
        InputError: no reader knows the suffix.
    """
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return functools.partial(readers.read_jsonl, path, columns)
    if path.suffix == ".parquet":
        return functools.partial(readers.read_parquet, path, columns)
    if is_tsv(path.name):
        return functools.partial(readers.read_tsv, path, columns, spec.get("columns"))
    if path.suffix == ZIP and len(columns.required) > 1:
        return functools.partial(readers.read_moses, path, columns)
    known = (*SUFFIXES, ZIP) if len(columns.required) > 1 else SUFFIXES
    raise InputError(path, "not a format that is read", f"Use one of {', '.join(known)}.")
