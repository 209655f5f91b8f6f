"""Whether what lies on disk is what was made: every file of a study against the record beside it.

Every byte is read; nothing that was remembered of a file is believed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorebridge.records import changes, outputs_of, read_record


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes:
        what: the thing, with its path.
        problem: what is wrong with it; empty if nothing is.
        rule: the Snakemake rule that makes it, or the files that it makes again.
        n_bytes: bytes that were compared.
    """

    what: str
    problem: str
    rule: str
    n_bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problem

    def __str__(self) -> str:
        """Return the line to print, one also where the problem is a library's message of several."""
        problem = " ".join(self.problem.split())
        return f"ok      {self.what}" if self.ok else f"FAILED  {self.what}: {problem}. Remade by: {self.rule}"


def survey(artifacts: Iterable[tuple[str, Sequence[str]]]) -> Iterator[Check]:
    """Compare every artifact that is made with its record; yield each as soon as it is checked.

    All its files are hashed. What it was made from must have the sha256 now that it had then, by the records of these.
    An artifact of a recipe that the configuration no longer asks for is compared with its record all the same.

    Args:
        artifacts: path of the record and paths of the files of each artifact of a study, inputs before what is made
            from them.
    """
    records: dict[str, dict[str, Any] | None] = {}
    for place, files in artifacts:
        records[place] = record = read_record(place)
        if record is not None:
            yield check_artifact(place, record, records)
        elif any(Path(path).exists() for path in (place, *files)):
            again = f"snakemake --forcerun {files[0]}"
            yield Check(_called(place), "there is no readable record of it", again)


def _called(place: str | Path) -> str:
    """Return what an artifact is called: its file, or the folder that its record lies in."""
    text = str(place)
    return text.removesuffix("/record.json") if text.endswith("/record.json") else text.removesuffix(".record.json")


def check_artifact(
    place: str | Path, record: Mapping[str, Any], others: Mapping[str, Mapping[str, Any] | None] | None = None
) -> Check:
    """Compare the files of an artifact with its record, and what it was made from with the records of that.

    Args:
        place: path of its record.
        record: what that holds.
        others: records of what it was made from, by their paths, where they were read already.
    """
    rule = str(record.get("rule", "the rule that makes it"))
    wanted = outputs_of(place, record)
    if not wanted:
        return Check(_called(place), "its record does not say what was written", rule)  # an earlier lorebridge's
    found = changes(wanted, lambda path: rule)
    problems = [str(change) for change in found] + _made_from_others(record, others or {})
    again = " ".join(dict.fromkeys(str(change.output) for change in found))
    remade = f"snakemake --forcerun {again}" if again else rule
    return Check(_called(place), "; ".join(problems), remade, sum(said["bytes"] for said in wanted.values()))


def _made_from_others(record: Mapping[str, Any], others: Mapping[str, Mapping[str, Any] | None]) -> list[str]:
    """Say what an artifact was made from that has been made again since, to other bytes."""
    read = {Path(path): digest for path, digest in record.get("read", {}).items()}
    now: dict[Path, str] = {}
    for place in record.get("inputs", {}):
        beside = others[place] if place in others else read_record(place)
        now |= {path: said["sha256"] for path, said in outputs_of(place, beside or {}).items()}
    return [
        f"it was made from another {path}: with sha256 {digest}, which is now {now[path]}"
        for path, digest in read.items()
        if now.get(path, digest) != digest
    ]
