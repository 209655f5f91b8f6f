"""Identity of artifacts: recipes, tasks and the ``record.json`` beside every artifact.

A *task* is one piece of work: everything that makes its result what it is (its *literals*) and the recipes of the
artifacts that it reads. Its *recipe* is a chained fingerprint: stage, stage version, literals, and the recipes of its
inputs. Paths, hardware and times never enter it. A command checks the recipes of its
inputs on disk before it works, and writes its own record after, so that a result can never be made from stale
inputs unnoticed, even where Snakemake's own memory is lost.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import hashlib
import importlib.metadata
import json
import logging
import math
import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lorebridge.errors import LorebridgeError, StaleInput

RECORD = "record.json"
FORMAT = 2
"""Of records. Those of format 1 (which said none) had recipes in which the roles of inputs did not count."""

log = logging.getLogger("lorebridge")


def _plain(value: Any, where: str) -> Any:
    """Return `value` as JSON types with one spelling for each content; refuse what has no stable spelling."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{where}: {value!r} cannot enter a recipe (not finite)")
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{where}: key {key!r} cannot enter a recipe (keys are strings)")
        return {key: _plain(value[key], f"{where}.{key}") for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise TypeError(f"{where}: {type(value).__name__} cannot enter a recipe (only JSON types can)")


def fingerprint(value: Any) -> str:
    """Return 16 hexadecimal digits that identify a JSON-like `value`.

    Key order, tuples against lists, and 1.0 against 1 do not matter; anything that is not JSON is an error, because
    a recipe that silently drops a value would call two different artifacts the same.

    Raises:
        TypeError: `value` holds something that is not a JSON type, or a float that is not finite.
    """
    text = json.dumps(_plain(value, "value"), ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path | str) -> str:
    """Return the sha256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class DigestCache:
    """The sha256 of files, remembered by path, size and modification time, so that a dry run stays fast.

    Args:
        path: a JSON file that keeps what was computed; made when needed, harmless to delete.
    """

    def __init__(self, path: Path | str) -> None:
        """Read what is remembered."""
        self.path = Path(path)
        self._known = read_record(path) or {}

    def __call__(self, path: str) -> str:
        """Return the sha256 of the bytes of the file at `path`."""
        status = Path(path).stat()
        key = f"{Path(path).resolve()}:{status.st_size}:{status.st_mtime_ns}"
        if key not in self._known:
            self._known[key] = file_digest(path)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial = self.path.with_name(f"{self.path.name}.{os.getpid()}")
            partial.write_text(json.dumps(self._known), encoding="utf-8")
            partial.replace(self.path)
        return self._known[key]


def read_record(path: Path | str) -> dict[str, Any] | None:
    """Return the record at `path`, or None where there is none or it is torn."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


class Records:
    """The records on disk, each read once: while a workflow is planned, the same ones are asked for again and again."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._read: dict[str, dict[str, Any] | None] = {}

    def __call__(self, path: str) -> dict[str, Any] | None:
        """Return the record at `path` as it was when it was first asked for, or None where there was none."""
        if path not in self._read:
            self._read[path] = read_record(path)
        return self._read[path]


@dataclasses.dataclass(frozen=True)
class Task:
    """One piece of work of a plan.

    Attributes:
        stage: the name of the stage, a key of the plan's layout.
        literals: JSON-like values that make the artifact what it is; the stage's function takes them as keyword
            arguments. Nothing else may change the result: paths and hardware come from the rule.
        expects: path of the record of each artifact that is read -> the recipe it must have.
        version: the stage's version.
        roles: argument of the stage's function -> what it is made of: for each file its keys, its name and the recipe
            of its artifact. Two inputs that change places are another recipe.
        call: how a job calls the stage's function (:mod:`lorebridge.call`); no part of the recipe.
    """

    stage: str
    literals: Mapping[str, Any]
    expects: Mapping[str, str] = dataclasses.field(default_factory=dict)
    version: int = 1
    roles: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    call: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def recipe(self) -> str:
        """The chained fingerprint of this task."""
        return fingerprint(
            {"stage": self.stage, "version": self.version, "literals": self.literals, "inputs": self.roles}
        )

    def dumps(self) -> str:
        """Return the task as one line of JSON (for a rule's params)."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return json.dumps(fields, ensure_ascii=False, sort_keys=True)

    @classmethod
    def loads(cls, text: str) -> Task:
        """Read a task back from :meth:`dumps`."""
        return cls(**json.loads(text))

    def check_inputs(self) -> None:
        """Refuse to work from inputs that another recipe made.

        Raises:
            StaleInput: names the record, both recipes and the mend.
        """
        for path, recipe in self.expects.items():
            record = read_record(path)
            found = (record or {}).get("recipe")
            if found != recipe:
                raise StaleInput(
                    f"{path}: the {self.stage} stage expects recipe {recipe}, but the artifact on disk "
                    + (f"has {found}" if found else "has no readable record")
                    + f". Remake it: snakemake --forcerun {(record or {}).get('rule', Path(path).parent)}"
                )

    @contextlib.contextmanager
    def making(
        self, record: Path | str | None, rule: str | None = None, logfile: Path | str | None = None
    ) -> Iterator[dict]:
        """Check the inputs, run the body, write the record.

        Yields a dictionary; what the body puts there is added to the record under ``notes``. An error that the user
        can mend is printed without a traceback and exits 1; everything goes to `logfile` as well.

        Args:
            record: where the record is written when the body is done; None in the helpers of another process.
            rule: the Snakemake rule that makes this artifact, for messages.
            logfile: a file that receives all log messages and tracebacks.
        """
        notes: dict[str, Any] = {}
        started = time.time()
        with logging_to(logfile):
            try:
                self.check_inputs()
                yield notes
            except LorebridgeError as error:
                log.error("error: %s", error)
                sys.exit(1)
            except Exception:
                log.error("%s", traceback.format_exc())
                raise
            if record is not None:
                write_record(record, self, notes=notes, rule=rule or self.stage, wall_seconds=time.time() - started)


def write_record(
    path: Path | str, task: Task, *, notes: Mapping[str, Any], rule: str, wall_seconds: float
) -> dict[str, Any]:
    """Write and return the record of a task that is done. The write is atomic."""
    record = {
        "format": FORMAT,
        "recipe": task.recipe,
        "stage": task.stage,
        "rule": rule,
        "version": task.version,
        "literals": task.literals,
        "inputs": task.expects,
        "notes": notes,
        "wall_seconds": round(wall_seconds, 3),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "argv": sys.argv,
        **environment(),
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
    return record


@functools.lru_cache
def environment() -> dict[str, Any]:
    """Return what a record says of the code and the machine: versions, git commit, source hash, device."""
    packages = {}
    for name in (
        "lorebridge",
        "numpy",
        "pandas",
        "pyarrow",
        "snakemake",
        "tokenizers",
        "torch",
        "transformers",
        "deepspeed",
        "pyserini",
    ):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            packages[name] = importlib.metadata.version(name)
    return {
        "packages": packages,
        "git": git_state(),
        "source": source_digest(),
        "device": {
            "host": platform.node(),
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        },
        "python": platform.python_version(),
    }


def git_state() -> dict[str, Any] | None:
    """Return the commit of the working tree of this package and whether it is dirty, or None outside git."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=20,
        ).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


@functools.lru_cache
def source_digest() -> str:
    """Return a fingerprint of the package's own source files."""
    root = Path(__file__).parent
    return fingerprint({str(p.relative_to(root)): file_digest(p) for p in sorted(root.rglob("*.py"))})


@contextlib.contextmanager
def logging_to(logfile: Path | str | None) -> Iterator[None]:
    """Send log messages to the terminal and, where given, to `logfile`."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if logfile:
        Path(logfile).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(logfile, mode="w", encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
        log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()
