"""Files of planted worlds: the same rows give the same bytes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lorebridge import publish


def write_jsonl(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Write rows as gzipped lines of JSON."""
    # No file name and no time in the header: the same rows give the same bytes.
    with (
        publish.whole(path) as partial,
        partial.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed,
    ):
        for row in rows:
            packed.write((json.dumps(row, ensure_ascii=False) + "\n").encode())


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON."""
    publish.write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")
