"""What slow models said, kept on disk as it comes, so that a killed job need not ask again."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Generic, TypeVar

from lorebridge import publish
from lorebridge.work import sync

log = logging.getLogger("lorebridge.work")

Row = TypeVar("Row")


class Journal(Generic[Row]):
    """Answers on disk, one to a line, by what was asked.

    Args:
        path: the file, which need not exist.
        kind: a dataclass of JSON types, what an answer is.
    """

    def __init__(self, path: Path, kind: type[Row]) -> None:
        """Use the file at `path`."""
        self.path = path
        self._kind = kind
        self._names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]

    def read(self) -> dict[str, Row]:
        """Return all answers. What a crash has torn is cut off, so that the next answer begins a line."""
        answers: dict[str, Row] = {}
        whole = 0
        with self.path.open("a+b") as file:
            file.seek(0)
            for line in file:
                try:
                    row = json.loads(line if line.endswith(b"\n") else b"")
                    asked, answer = row["asked"], self._kind(**{name: row[name] for name in self._names})
                except (ValueError, KeyError, TypeError):
                    break
                answers[asked] = answer
                whole += len(line)
            if whole < file.seek(0, os.SEEK_END):
                log.warning("%s: its end is torn and is asked again", self.path)
                file.truncate(whole)
        sync(self.path.parent)
        return answers

    def append(self, answers: Mapping[str, Row]) -> None:
        """Add answers, and return when they are on the disk."""
        with publish.named(self.path), self.path.open("a", encoding="utf-8") as file:
            for asked, answer in answers.items():
                fields = {name: getattr(answer, name) for name in self._names}
                file.write(json.dumps({"asked": asked, **fields}) + "\n")
            file.flush()
            os.fsync(file.fileno())
