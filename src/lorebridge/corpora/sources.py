"""Where text comes from, behind one interface: a stream of rows, each of which knows its place for messages.

Kinds of sources (`kind` of a specification):

- ``local``: a file of rows, ``.jsonl``, ``.jsonl.gz`` or ``.parquet``.
- ``huggingface``: ``dataset``, ``config``, ``data_files``, ``split``, ``revision``, read as a stream.
- ``moses``: two line-aligned files, named ``*.<language>``, in a folder or a zip.
- ``opus``: ``corpus``, ``version``, ``pair``: a Moses zip of OPUS (Tiedemann 2012), fetched for the time it is read.

``name`` labels the rows that carry no label of their own; ``fields`` renames columns, ``{"text": "body"}`` takes the
text from ``body``. The planted world is read as ``local``, like any other corpus.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from lorebridge.errors import InputError

log = logging.getLogger("lorebridge.corpora")

GITHUB_RAW = "https://raw.githubusercontent.com"
OPUS = "https://object.pouta.csc.fi"
_ATTEMPTS = 3
_TIMEOUT = 60  # seconds without an answer


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One row of a source.

    Attributes:
        file: the file or data set it comes from.
        number: its number there, from 1 (of a JSONL or Moses file: the line).
        key: identifies it within the source where it carries no `id`; independent of how the source is sharded.
        values: its columns, by their names after the renaming.
    """

    file: str
    number: int
    key: str
    values: Mapping[str, Any]

    @property
    def place(self) -> str:
        """The file and the row, for messages."""
        return f"{self.file}, row {self.number}"

    def string(self, column: str) -> str:
        """Return the string of a column that every row must have.

        Raises:
            InputError: it is missing, is not a string, or is not Unicode text.
        """
        value = self.values.get(column)
        if value is None:
            have = ", ".join(f"`{name}`" for name, value in self.values.items() if value is not None) or "nothing"
            raise InputError(
                self.place,
                f"no `{column}` (the row has {have})",
                f"Give every row a string `{column}`, or name the column that holds it under `fields` of the source.",
            )
        if not isinstance(value, str):
            raise InputError(
                self.place, f"`{column}` is not a string but {type(value).__name__}", "Make it a string in every row."
            )
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                self.place,
                f"`{column}` holds half a surrogate pair at character {error.start}",
                "Write the file as UTF-8 again from its origin.",
            ) from error
        return value

    def label(self, column: str, default: str) -> str:
        """Return a column as a string, or `default` where the row lacks it; a number is spelt out.

        Raises:
            InputError: it is something else than a string or a number.
        """
        value = self.values.get(column)
        if value is None or value == "":
            return default
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return self.string(column)


@dataclasses.dataclass(frozen=True)
class Source:
    """A stream of rows that can be read as often as wanted.

    Attributes:
        name: the label of rows that carry none.
        rows: ``rows(shard, of)`` yields the rows of one of `of` shards; every row is in exactly one of them.
    """

    name: str
    rows: Callable[[int, int], Iterator[Row]]


def open_source(spec: Mapping[str, Any], path: Path | str | None = None, required: Sequence[str] = ("text",)) -> Source:
    """Open a source.

    Args:
        spec: its specification (see the module), with `kind` and `name`.
        path: the file of a ``local`` source, the folder or zip of a ``moses`` source.
        required: the columns that every row must have; for ``moses`` and ``opus`` the two languages.

    Raises:
        InputError: the source is missing, cannot be read, or lacks a required column; also while rows are read.
    """
    fields = dict(spec.get("fields") or {})
    kind, name = spec["kind"], spec["name"]
    if kind == "huggingface":
        return Source(name, lambda shard, of: _hub_rows(spec, fields, required, shard, of))
    if kind == "opus":
        return Source(name, lambda shard, of: _opus_rows(spec, fields, required, shard, of))
    if path is None or not Path(path).exists():
        raise InputError(
            path or name, "no such file or folder", f"Correct the path of the source {name!r} in the configuration."
        )
    path = Path(path)
    if kind == "moses":
        return Source(name, lambda shard, of: _moses_rows(path, fields, required, shard, of))
    if kind != "local":
        raise InputError(name, f"{kind!r} is no kind of source", "Use local, huggingface, moses or opus.")
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return Source(name, lambda shard, of: _jsonl_rows(path, fields, shard, of))
    if path.suffix == ".parquet":
        return Source(name, lambda shard, of: _parquet_rows(path, fields, required, shard, of))
    raise InputError(path, "not a format that is read", "Use .jsonl, .jsonl.gz or .parquet.")


def _rename(values: Mapping[str, Any], fields: Mapping[str, str]) -> Mapping[str, Any]:
    """Return `values` with the columns of `fields` under their own names as well."""
    return {**values, **{name: values.get(column) for name, column in fields.items()}} if fields else values


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a plain or gzip file, split at U+000A alone.

    Raises:
        InputError: the gzip is truncated or damaged.
    """
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for line in cast(IO[bytes], file):
                number += 1
                yield line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            path, f"the gzip is truncated or damaged after row {number} ({error})", "Fetch or write the file again."
        ) from error


def _jsonl_rows(path: Path, fields: Mapping[str, str], shard: int, of: int) -> Iterator[Row]:
    """Yield the rows of a JSONL file; blank lines are no rows."""
    for number, line in enumerate(_lines(path), start=1):
        if number % of != shard or not line.strip():
            continue
        try:
            values = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}, row {number}",
                f"not UTF-8 at byte {error.start} of the row ({error.reason})",
                "Convert the file to UTF-8.",
            ) from error
        except ValueError as error:
            raise InputError(f"{path}, row {number}", f"not JSON ({error})", "Write one JSON object a line.") from error
        if not isinstance(values, dict):
            raise InputError(
                f"{path}, row {number}",
                f"not a JSON object but {type(values).__name__}",
                'Write one JSON object a line, such as {"id": "1", "text": "..."}.',
            )
        yield Row(str(path), number, f"{number:07d}", _rename(values, fields))


def _check_columns(where: object, have: Sequence[str], fields: Mapping[str, str], required: Sequence[str]) -> None:
    """Refuse a table without the columns that are read.

    Raises:
        InputError: names the missing column and those that there are.
    """
    for name in required:
        if fields.get(name, name) not in have:
            raise InputError(
                where,
                f"no column `{fields.get(name, name)}` (the columns are {', '.join(have)})",
                f"Name the column that holds it under `fields` of the source: {{{name}: COLUMN}}.",
            )


def _parquet_rows(path: Path, fields: Mapping[str, str], required: Sequence[str], shard: int, of: int) -> Iterator[Row]:
    """Yield the rows of a Parquet file."""
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow.names, fields, required)
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for values in batch.to_pylist():
                    number += 1
                    if number % of == shard:
                        yield Row(str(path), number, f"{number:07d}", _rename(values, fields))
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(path, f"cannot be read as Parquet ({error})", "Fetch or write the file again.") from error


def _hub_rows(
    spec: Mapping[str, Any], fields: Mapping[str, str], required: Sequence[str], shard: int, of: int
) -> Iterator[Row]:
    """Yield rows of a Hugging Face data set, streamed file by file."""
    import datasets  # heavy, and local sources do without it
    import datasets.exceptions
    import requests
    from huggingface_hub.errors import HfHubHTTPError

    name = spec["dataset"]
    where = name + "".join(f" ({spec[key]})" for key in ("config", "data_files") if spec.get(key))
    number = 0
    try:
        stream = datasets.load_dataset(
            name,
            spec.get("config"),
            data_files=spec.get("data_files"),
            split=spec["split"],
            revision=spec.get("revision"),
            streaming=True,
        )
        files = stream.num_shards
        if stream.column_names:
            _check_columns(where, stream.column_names, fields, required)
        # Whole files are dealt out where there are enough of them, so that a job fetches its own alone; else every
        # job reads all files and takes its rows. Keys hold the file and the row, so they do not depend on it.
        by_file = files >= of
        n_rows = 0
        for file in range(shard if by_file else 0, files, of if by_file else 1):
            place = f"{where}, file {file + 1} of {files}" if files > 1 else where
            for number, values in enumerate(stream.shard(num_shards=files, index=file), start=1):
                n_rows += 1
                if by_file or n_rows % of == shard:
                    yield Row(place, number, f"{file:04d}-{number:07d}", _rename(values, fields))
    except (
        datasets.exceptions.DatasetNotFoundError, FileNotFoundError, HfHubHTTPError, PermissionError, ConnectionError,
        requests.ConnectionError,
    ) as error:  # fmt: skip
        raise InputError(
            where,
            f"cannot be had from the hub ({type(error).__name__}: {' '.join(str(error).split())[:300]})",
            f"Check the name and the network; if the data set is gated, accept its terms at "
            f"https://huggingface.co/datasets/{name} and log in with `hf auth login`.",
        ) from error
    except (pa.ArrowInvalid, datasets.exceptions.DatasetGenerationError, ValueError) as error:
        raise InputError(
            where,
            f"cannot be read after row {number} ({type(error).__name__}: {error})",
            "Check config, split and data_files of the source, and that its files are Parquet or JSONL.",
        ) from error


def _moses_rows(path: Path, fields: Mapping[str, str], languages: Sequence[str], shard: int, of: int) -> Iterator[Row]:
    """Yield the line pairs of two line-aligned files in a folder or a zip."""
    with contextlib.ExitStack() as stack:
        if path.is_dir():
            names = sorted(entry.name for entry in path.iterdir() if entry.is_file())
        else:
            try:
                archive = stack.enter_context(zipfile.ZipFile(path))
            except zipfile.BadZipFile as error:
                raise InputError(path, f"not a zip ({error})", "Fetch the file again.") from error
            names = sorted(archive.namelist())
        halves = []
        for language in languages:
            suffix = fields.get(language, language)
            found = [name for name in names if name.endswith("." + suffix)]
            if len(found) != 1:
                raise InputError(
                    path,
                    f"{len(found)} files end in .{suffix} (there are {', '.join(names) or 'none'})",
                    f"Keep one file a language, or name its ending under `fields` of the source: {{{language}: ...}}.",
                )
            halves.append(
                stack.enter_context((path / found[0]).open("rb") if path.is_dir() else archive.open(found[0]))
            )
        number = 0
        while True:
            number += 1
            try:
                lines = [half.readline() for half in halves]
            except (EOFError, zlib.error, zipfile.BadZipFile) as error:
                raise InputError(path, f"damaged after row {number - 1} ({error})", "Fetch the file again.") from error
            if not all(lines):
                break
            if number % of != shard:
                continue
            try:
                texts = [line.decode("utf-8").rstrip("\r\n") for line in lines]
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}, row {number}", f"not UTF-8 ({error.reason})", "Convert the files to UTF-8."
                ) from error
            yield Row(str(path), number, f"{number:07d}", dict(zip(languages, texts, strict=True)))
        if any(lines):
            raise InputError(
                path,
                f"the {languages[lines.index(b'')]} file ends before row {number}, the other goes on",
                "Fetch both files again: pairs are told by their line numbers.",
            )


def _opus_rows(
    spec: Mapping[str, Any], fields: Mapping[str, str], languages: Sequence[str], shard: int, of: int
) -> Iterator[Row]:
    """Yield the pairs of a corpus of OPUS, from a copy that lasts as long as the reading."""
    with tempfile.TemporaryDirectory(prefix="lorebridge-opus-") as folder:
        archive = Path(folder) / f"{spec['corpus']}-{spec['version']}-{spec['pair']}.zip"
        fetch_file(spec, archive)
        yield from _moses_rows(archive, fields, languages, shard, of)


def _url(spec: Mapping[str, Any]) -> str:
    """Return the address of a single file that a specification names."""
    if spec["kind"] == "github":
        base = os.environ.get("LOREBRIDGE_GITHUB_RAW", GITHUB_RAW)
        return f"{base}/{spec['repo']}/{spec['commit']}/{urllib.parse.quote(spec['path'])}"
    if spec["kind"] == "opus":
        base = os.environ.get("LOREBRIDGE_OPUS", OPUS)
        return f"{base}/OPUS-{spec['corpus']}/{spec['version']}/moses/{spec['pair']}.txt.zip"
    raise InputError(spec["kind"], "not a kind of source that is fetched as one file", "Use github or opus.")


def fetch_file(spec: Mapping[str, Any], out: Path | str) -> None:
    """Fetch one file and check it; `out` appears only when it is whole.

    Args:
        spec: ``{"kind": "github", "repo", "commit", "path", "sha256"}``, or an ``opus`` source; without a `sha256`
            the file is not checked. The environment variables LOREBRIDGE_GITHUB_RAW and LOREBRIDGE_OPUS name mirrors
            (any address that urllib opens, ``file://`` too).
        out: where to write.

    Raises:
        InputError: the file is not there, the network fails three times, or the sha256 differs.
    """
    url, out = _url(spec), Path(out)
    mirror = "LOREBRIDGE_GITHUB_RAW" if spec["kind"] == "github" else "LOREBRIDGE_OPUS"
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial")
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer, partial.open("wb") as file:
                shutil.copyfileobj(answer, file)
                size = answer.headers["Content-Length"]
                if size is not None and file.tell() != int(size):
                    raise ConnectionError(f"{file.tell()} of {size} bytes came")
            break
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            partial.unlink(missing_ok=True)
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if refused or attempt == _ATTEMPTS:
                raise InputError(
                    url,
                    f"cannot be fetched ({error})",
                    f"Check the source in the configuration and the network, or set {mirror} to a mirror.",
                ) from error
            log.warning("%s: %s; trying again", url, error)
            time.sleep(attempt)
    with partial.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if spec.get("sha256") not in (None, digest):
        partial.unlink()
        raise InputError(
            url,
            f"its sha256 is {digest}, not {spec['sha256']}",
            "The file changed or was damaged on the way: fetch it again, or look at it and correct the configuration.",
        )
    partial.replace(out)
