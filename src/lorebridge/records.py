"""Identity of artifacts: recipes, tasks and the ``record.json`` beside every artifact.

A *task* is one piece of work: everything that makes its result what it is (its *literals*) and the recipes of the
artifacts that it reads. Its *recipe* is a chained fingerprint: stage, stage version, literals, and the recipes of its
inputs. Paths, hardware and times never enter it. A command checks the recipes of its
inputs on disk before it works, and writes its own record after, so that a result can never be made from stale
inputs unnoticed, even where Snakemake's own memory is lost.

A recipe says how a file was to be made. What was then written, its record says too: size and sha256 of every file. A
command compares the files that it reads with them, so that nothing is made from a file that was damaged or edited.
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
import shlex
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lorebridge import declared, publish
from lorebridge.errors import TRACEBACK, ChangedFile, StaleInput, told

RECORD = "record.json"
FORMAT = 2
"""Of records. Those of format 1 (which said none) had recipes in which the roles of inputs did not count."""

log = logging.getLogger("lorebridge")


_PLAIN = frozenset((str, int, bool, type(None)))
_LISTS = {list}


def _plain(value: Any) -> Any:
    """Return `value` as JSON types with one spelling for each content; refuse what has no stable spelling.

    Raises:
        TypeError: says where in `value`, what it is, and why not.
    """
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f": {value!r} cannot enter a recipe (not finite)")
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f": key {key!r} cannot enter a recipe (keys are strings)")
        made = {}
        for key in sorted(value):
            try:
                made[key] = _plain(value[key])
            except TypeError as error:
                raise TypeError(f".{key}{error}") from None
        return made
    if isinstance(value, list | tuple):
        # Most are one of these two: what inputs are made of, thousands in a large study.
        kinds = set(map(type, value))
        if kinds <= _PLAIN or (kinds == _LISTS and all(_PLAIN.issuperset(map(type, item)) for item in value)):
            return value
        items = []
        for i, item in enumerate(value):
            try:
                items.append(_plain(item))
            except TypeError as error:
                raise TypeError(f"[{i}]{error}") from None
        return items
    raise TypeError(f": {type(value).__name__} cannot enter a recipe (only JSON types can)")


def fingerprint(value: Any) -> str:
    """Return 16 hexadecimal digits that identify a JSON-like `value`.

    Key order, tuples against lists, and 1.0 against 1 do not matter; anything that is not JSON is an error, because
    a recipe that silently drops a value would call two different artifacts the same.

    Raises:
        TypeError: `value` holds something that is not a JSON type, or a float that is not finite.
    """
    try:
        plain = _plain(value)
    except TypeError as error:
        raise TypeError(f"value{error}") from None
    text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path | str) -> str:
    """Return the sha256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class DigestCache:
    """The sha256 of files, each computed once and again only when the file's status has changed.

    What is remembered counts while path, size, inode, and the times of the last change of content and of status are the
    same. A disk that returns other bytes than were written is therefore not seen here (:func:`file_digest` reads them).

    Args:
        folder: keeps a small file for each of the large ones; made when needed, harmless to delete. Processes on
            several machines may share it.
    """

    SMALLEST = 1 << 20
    """Bytes. A smaller file is read as fast as what is remembered of it."""

    SETTLED = 2.0
    """Seconds. A file that changed less than this ago may change again within the resolution of its times."""

    READ = 1e9
    """Bytes a second that one thread hashes, about."""

    def __init__(self, folder: Path | str) -> None:
        """Remember nothing yet."""
        self.folder = Path(folder)

    def __call__(self, path: Path | str) -> str:
        """Return the sha256 of the bytes of the file at `path`."""
        path = Path(path)
        status = path.stat()
        if status.st_size < self.SMALLEST:
            return file_digest(path)
        place = self.folder / f"{fingerprint(str(path.resolve()))}.json"
        known = read_record(place) or {}
        if known.get("status") == _status(status) and "sha256" in known:
            return str(known["sha256"])
        digest = file_digest(path)
        if _status(path.stat()) == _status(status):
            self._remember(path, status, digest)
        return digest

    def _remember(self, path: Path, status: os.stat_result, digest: str) -> None:
        if time.time() - max(status.st_mtime, status.st_ctime) > self.SETTLED:
            with contextlib.suppress(OSError):  # a full disk must not stop who reads
                place = self.folder / f"{fingerprint(str(path.resolve()))}.json"
                _replace(place, {"path": str(path.resolve()), "status": _status(status), "sha256": digest})

    def remember(self, digests: Mapping[str, str]) -> None:
        """Remember files that were compared with their sha256 just now, so that who reads them first need not.

        Files that changed less than :attr:`SETTLED` ago are waited for, where to read them again would take longer.

        Args:
            digests: path -> sha256.
        """
        large = {Path(path): path.stat() for path in map(Path, digests) if path.stat().st_size >= self.SMALLEST}
        if sum(status.st_size for status in large.values()) > self.SETTLED * self.READ:
            newest = max(max(status.st_mtime, status.st_ctime) for status in large.values())
            time.sleep(max(0.0, min(newest + self.SETTLED - time.time(), self.SETTLED) + 0.1))
        for path, status in large.items():
            self._remember(path, status, digests[str(path)])


def _status(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


Digest = Callable[[Path], str]

# Snakemake puts it into every folder that a rule makes.
_MARK = ".snakemake_timestamp"


def describe(
    outputs: Mapping[str, Path | str | Sequence[Path | str]], folder: Path | str, digest: Digest = file_digest
) -> dict[str, dict[str, Any]]:
    """Return what a record says of the files of its artifact.

    Args:
        outputs: name -> file or folder, or several of them, as the plan gives them.
        folder: of the record.
        digest: gives the sha256 of a file; called in parallel threads, once for each file.

    Returns:
        name -> ``path`` (relative to `folder`), ``bytes`` and ``sha256``; where several have a name, the last part of
        the path follows it (``checkpoints/step20``). Of a folder they are the total of its files and the sha256 of
        their list (:func:`_tree_digest`), and ``files`` holds for each of them, by its path in the folder, ``bytes``
        and ``sha256``.

    Raises:
        FileNotFoundError: an output is not there.
    """
    places: dict[str, Path] = {}
    for name, paths in outputs.items():
        if isinstance(paths, Path | str):
            places[name] = Path(paths)
        else:
            places |= {f"{name}/{Path(path).name}": Path(path) for path in paths}
    trees = {name: _tree(path) if path.is_dir() else {"": path} for name, path in places.items()}
    leaves = [path for tree in trees.values() for path in tree.values()]
    digests = dict(zip(leaves, _in_threads(digest, leaves), strict=True))
    found: dict[str, dict[str, Any]] = {}
    for name, tree in trees.items():
        files: dict[str, dict[str, Any]] = {
            inner: {"bytes": path.stat().st_size, "sha256": digests[path]} for inner, path in tree.items()
        }
        found[name] = {"path": Path(os.path.relpath(places[name], folder)).as_posix()}
        if "" in files:
            found[name] |= files[""]
        else:
            n_bytes = sum(file["bytes"] for file in files.values())
            found[name] |= {"bytes": n_bytes, "sha256": _tree_digest(files), "files": files}
    return found


def _tree(folder: Path) -> dict[str, Path]:
    """Return the files below a folder by their paths in it, sorted."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != _MARK)
    return dict(sorted((path.relative_to(folder).as_posix(), path) for path in files))


def _tree_digest(files: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the sha256 of the lines ``SHA256 BYTES PATH`` of the files of a folder, sorted by path."""
    lines = [f"{file['sha256']} {file['bytes']} {path}\n" for path, file in sorted(files.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _in_threads(digest: Digest, paths: Sequence[Path]) -> list[str]:
    """Return the digest of each file; sha256 lets other threads run."""
    with ThreadPoolExecutor(max_workers=min(8, len(os.sched_getaffinity(0)))) as threads:
        return list(threads.map(digest, paths))


@dataclasses.dataclass(frozen=True)
class Change:
    """A file that is not what its record describes.

    Attributes:
        path: the file.
        output: the file or folder that the workflow makes, which it is or lies in.
        rule: the rule that makes it.
        then: the sha256 in the record; empty if the record does not know the file.
        now: the sha256 of the file; empty if it is gone.
    """

    path: Path
    output: Path
    rule: str
    then: str
    now: str

    def __str__(self) -> str:
        """Return what is wrong with it."""
        if not self.now:
            return f"{self.path}: gone since {self.rule} made it with sha256 {self.then}"
        if not self.then:
            return f"{self.path}: put there since {self.rule} made {self.output}; its record knows no such file"
        return f"{self.path}: changed since {self.rule} made it: its sha256 was {self.then} and is now {self.now}"

    @property
    def mend(self) -> str:
        """What a person does about it."""
        return _mend([self])


def _mend(found: Sequence[Change]) -> str:
    """Say what a person does about some files that are not what their records describe."""
    it = "it" if len(found) == 1 else "them"
    first = f"Delete {it}" if not any(change.then for change in found) else f"Restore {it} from a backup"
    outputs = " ".join(dict.fromkeys(shlex.quote(str(change.output)) for change in found))
    return f"{first}, or make {it} again: snakemake --forcerun {outputs}"


def outputs_of(place: Path | str, record: Mapping[str, Any]) -> dict[Path, dict[str, Any]]:
    """Return what a record says of each file and folder that it describes, by path.

    Args:
        place: where the record lies.
        record: what it holds.
    """
    folder = Path(place).parent
    return {Path(os.path.normpath(folder / said["path"])): said for said in (record.get("files") or {}).values()}


def changes(
    wanted: Mapping[Path, Mapping[str, Any]], rule: Callable[[Path], str], digest: Digest = file_digest
) -> list[Change]:
    """Return what of some files and folders is not as their records say.

    Args:
        wanted: path -> what its record says of it.
        rule: gives the rule that makes a path.
        digest: gives the sha256 of a file; called in parallel threads.
    """
    said: dict[Path, tuple[Path, str]] = {}
    for output, entry in wanted.items():
        inner = entry.get("files")
        for path, file in ({"": entry} if inner is None else inner).items():
            said[output / path] = (output, file["sha256"])
        if inner is not None:
            said |= {path: (output, "") for path in _tree(output).values() if path not in said}
    there = [path for path in said if path.is_file()]
    now = dict(zip(there, _in_threads(digest, there), strict=True))
    return [
        Change(path, output, rule(output), then, now.get(path, ""))
        for path, (output, then) in said.items()
        if now.get(path, "") != then
    ]


def whole(place: Path | str, record: Mapping[str, Any], paths: Sequence[str]) -> bool:
    """Return whether files and folders are there, with the sizes that the record beside them says.

    Cheap, because a dry run asks it of every artifact of a study; who reads a file compares its sha256.

    Args:
        place: path of the record.
        record: what it holds.
        paths: of the artifact, as the plan gives them.
    """
    folder = Path(place).parent
    said = {os.path.normpath(f"{folder}/{said['path']}"): said for said in (record.get("files") or {}).values()}
    try:
        return all(
            os.stat(f"{path}/{inner}" if inner else path).st_size == file["bytes"]  # noqa: PTH116 (Path: four times)
            for path in paths
            for inner, file in said[os.path.normpath(path)].get("files", {"": said[os.path.normpath(path)]}).items()
        )
    except (OSError, KeyError):
        return False


def resized(place: Path | str, record: Mapping[str, Any], paths: Sequence[str]) -> list[str]:
    """Say of every file of an artifact that has another size than its record says what is wrong with it, in a line.

    Args:
        place: path of the record.
        record: what it holds.
        paths: of the artifact, as the plan gives them.
    """
    described, rule = outputs_of(place, record), record.get("rule")
    found = []
    for path in map(Path, paths):
        said = described.get(Path(os.path.normpath(path)), {})
        for inner, file in said.get("files", {"": said} if said else {}).items():
            with contextlib.suppress(OSError):  # what is gone is told by who misses it
                if (n_bytes := (path / inner).stat().st_size) != file["bytes"]:
                    sizes = f"it had {file['bytes']:,} bytes and has {n_bytes:,}"
                    found.append(f"{path / inner}: changed since {rule} made it: {sizes}")
    return found


def read_record(path: Path | str) -> dict[str, Any] | None:
    """Return the record at `path`, or None where there is none, or none that is whole: it is torn, or was edited."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and _is_whole(record) else None


_OF_ALL = {
    "recipe": str,
    "stage": str,
    "rule": str,
    "version": int,
    "literals": dict,
    "inputs": dict,
    "files": dict,
    "notes": dict,
}
"""What every record of this format has."""

_OF_MOST = {
    "read": dict,
    "wall_seconds": int | float,
    "finished": str,
    "packages": dict,
    "git": dict | None,
    "source": str,
}
"""What those have, too, that were not adopted."""


def _is_whole(record: Mapping[str, Any]) -> bool:
    """Return whether what a record has is of the right kind; and nothing is missing, if it says its format."""
    kinds = {**_OF_ALL, **_OF_MOST}
    missing = "format" in record and not record.keys() >= _OF_ALL.keys()
    if missing or not all(isinstance(record[key], kind) for key, kind in kinds.items() if key in record):
        return False
    files = list((record.get("files") or {}).values())
    if not all(_is_described(said) and isinstance(said.get("path"), str) for said in files):
        return False
    inner = [said["files"] for said in files if "files" in said]
    return all(isinstance(tree, dict) and all(map(_is_described, tree.values())) for tree in inner)


def _is_described(said: Any) -> bool:
    """Return whether it is said of a file how large it is, and its sha256."""
    return isinstance(said, dict) and isinstance(said.get("bytes"), int) and isinstance(said.get("sha256"), str)


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

    def files(self, argument: str, named: Sequence[Path | str]) -> Sequence[Path | str]:
        """Return the files that an argument of the stage's function is made of.

        Args:
            argument: its name.
            named: the files that the rule names, which may be the first of each artifact alone.
        """
        return self.call["inputs"].get(argument, {}).get("paths", named)

    def check_inputs(self, reads: Mapping[str, Sequence[Path | str]] | None = None) -> dict[str, str]:
        """Refuse to work from inputs that another recipe made, or that have changed since they were made.

        Args:
            reads: argument of the stage's function -> the files that it reads, as the rule has them.

        Returns:
            path -> sha256 of every file and folder that is read.

        Raises:
            StaleInput: names the record, both recipes and the mend.
            ChangedFile: names the file, both digests and the mend.
        """
        records = {path: read_record(path) or {} for path in self.expects}
        for place, recipe in self.expects.items():
            if (found := records[place].get("recipe")) != recipe:
                raise StaleInput(
                    f"{place}: the {self.stage} stage expects recipe {recipe}, but the artifact on disk "
                    + (f"has {found}" if found else "has no readable record")
                    + f". Remake it: snakemake --forcerun {records[place].get('rule', Path(place).parent)}"
                )
        described = {place: outputs_of(place, record) for place, record in records.items()}
        wanted: dict[Path, dict[str, Any]] = {}
        rules: dict[Path, str] = {}
        for argument, paths in (reads or {}).items():
            folders = self.call["inputs"].get(argument, {}).get("folder", [])
            for path, folder in zip(map(Path, self.files(argument, paths)), folders, strict=False):
                beside = next((place for place, said in described.items() if path in said), None)
                if beside is None:
                    raise ChangedFile(
                        f"{path}: no record says what was written there. Make it again: snakemake --forcerun {path}"
                    )
                taken = [p for p in described[beside] if p == path or (folder and p.parent == path.parent)]
                wanted |= {p: described[beside][p] for p in taken}
                rules |= dict.fromkeys(taken, str(records[beside]["rule"]))
        if reads is not None:
            place_of = {path: place for place, said in described.items() for path in said}
            for path in map(Path, self._check_sources()):
                if path not in place_of:
                    raise ChangedFile(
                        f"{path}: no record says what was written there. Make it again: snakemake --forcerun {path}"
                    )
                wanted[path] = described[place_of[path]][path]
                rules[path] = str(records[place_of[path]]["rule"])
        found = changes(wanted, rules.__getitem__, self._digest)
        refuse_changed([*found, *_behind(found, records, self._digest)])
        return {str(path): said["sha256"] for path, said in wanted.items()}

    def _check_sources(self) -> list[str]:
        """Refuse to read a file from outside that is another by now than the plan knows, as it may be after hours.

        Returns:
            the other sources: those that the study makes itself.

        Raises:
            ChangedFile: names the file, both digests and the mend.
        """
        digest = DigestCache(self.call["planned"]) if "planned" in self.call else self._digest
        sources: Mapping[str, str | None] = self.call.get("sources", {})
        for path, planned in sources.items():
            now = planned if planned is None else digest(Path(path)) if Path(path).is_file() else "gone"
            if now != planned:
                raise ChangedFile(
                    f"{path}: changed since this run was planned: its sha256 was {planned} and is now {now}. Run the "
                    "same command again: it plans anew, by what the file holds then"
                )
        return [path for path, planned in sources.items() if planned is None]

    @property
    def _digest(self) -> Digest:
        """What gives the sha256 of a file: a cache where the plan says which."""
        return DigestCache(self.call["digests"]) if "digests" in self.call else file_digest

    @contextlib.contextmanager
    def making(
        self,
        record: Path | str | None,
        rule: str | None = None,
        logfile: Path | str | None = None,
        *,
        reads: Mapping[str, Sequence[Path | str]] | None = None,
        writes: Mapping[str, Path | str | Sequence[Path | str]] | None = None,
        known: Mapping[str, str] | None = None,
    ) -> Iterator[dict]:
        """Check the inputs, run the body, write the record.

        Yields a dictionary; what the body puts there is added to the record under ``notes``. An error that the user
        can mend is printed without a traceback and exits 1; everything goes to `logfile` as well.

        Args:
            record: where the record is written when the body is done; None in the helpers of another process, which do
                not compare files either.
            rule: the Snakemake rule that makes this artifact, for messages.
            logfile: a file that receives all log messages and tracebacks.
            reads: argument -> files, as the rule has them; those that the task's function does not take are left out.
            writes: name -> files that the body writes, the record left out.
            known: sha256, by path, of files that the body has hashed when it had written them, which is the last that
                it did; it may fill this.
        """
        notes: dict[str, Any] = {}
        started = time.time()
        with logging_to(logfile):
            try:
                taken = {name: paths for name, paths in (reads or {}).items() if name in self.call["inputs"]}
                read = self.check_inputs(taken if record is not None else None)
                if record is not None and "declared" in self.call:
                    declared.begin(**self.call["declared"])
                yield notes
                files = {}
                if record is not None and writes:
                    digest = self._digest
                    files = describe(
                        {name: paths for name, paths in writes.items() if name != "record"},
                        Path(record).parent,
                        lambda path: (known or {}).get(str(path)) or digest(path),
                    )
                    if known and isinstance(digest, DigestCache):
                        # A hard link to what the body has compared; a copy, on another disk, nobody has read yet.
                        digest.remember({path: said for path, said in known.items() if Path(path).stat().st_nlink > 1})
                if record is not None:
                    seconds = time.time() - started
                    write_record(
                        record, self, notes=notes, rule=rule or self.stage, wall_seconds=seconds, files=files, read=read
                    )
            except Exception as error:
                line = told(error)
                if line is None or os.environ.get(TRACEBACK):
                    log.error("%s", traceback.format_exc())
                if line is None:
                    raise
                log.error("error: %s", line)
                sys.exit(1)


def _behind(found: Sequence[Change], places: Mapping[str, Mapping[str, Any]], digest: Digest) -> list[Change]:
    """Return what has changed of the files that changed files are made again from, and so on.

    To make the first ones again would stop at these; told at once, all are made again at once.

    Args:
        found: the changed files.
        places: path of a record -> what it holds, of the artifacts that they are of.
        digest: gives the sha256 of a file.
    """
    behind: dict[Path, Change] = {}
    seen: set[str] = set()
    new = list(found)
    records = dict(places)
    while new:
        changed = {change.output for change in new}
        again = [place for place, held in records.items() if changed & outputs_of(place, held).keys()]
        seen |= set(again)
        new = []
        above: dict[str, Mapping[str, Any]] = {}
        for place in again:
            read = records[place].get("read") or {}
            inputs = {path: read_record(path) or {} for path in records[place].get("inputs") or {} if path not in seen}
            above |= inputs
            rules = {path: str(held.get("rule")) for at, held in inputs.items() for path in outputs_of(at, held)}
            wanted = {path: said for at, held in inputs.items() for path, said in outputs_of(at, held).items()}
            taken = {path: said for path, said in wanted.items() if str(path) in read and path not in changed}
            new += [one for one in changes(taken, rules.__getitem__, digest) if one.path not in behind]
            behind |= {one.path: one for one in new}
        records = above
    return list(behind.values())


def refuse_changed(found: Sequence[Change]) -> None:
    """Stop where a file is not what its record describes.

    Raises:
        ChangedFile: names the first, both digests and the mend of all, and says how many more there are.
    """
    if found:
        more = f" ({len(found) - 1} more are not what was made either)" if found[1:] else ""
        raise ChangedFile(f"{found[0]}{more}. {_mend(found)}")


def write_record(
    path: Path | str,
    task: Task,
    *,
    notes: Mapping[str, Any],
    rule: str,
    wall_seconds: float,
    files: Mapping[str, Any] | None = None,
    read: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write and return the record of a task that is done. The write is atomic.

    Args:
        path: of the record.
        task: what was done.
        notes: what its function says of the result.
        rule: the Snakemake rule.
        wall_seconds: that it took.
        files: what was written (:func:`describe`).
        read: path -> sha256 of what it was made from.
    """
    record = {
        "format": FORMAT,
        "recipe": task.recipe,
        "stage": task.stage,
        "rule": rule,
        "version": task.version,
        "literals": task.literals,
        "inputs": task.expects,
        "read": dict(read or {}),
        "files": dict(files or {}),
        "notes": notes,
        **({"declared": task.call["declared"]["said"]} if "declared" in task.call else {}),
        "wall_seconds": round(wall_seconds, 3),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "argv": sys.argv,
        **environment(),
    }
    _replace(Path(path), record)
    return record


def _replace(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON whole or not at all, also where another process writes the same file."""
    with publish.whole(path, by=f"{platform.node()}-{os.getpid()}-{threading.get_ident()}") as partial:
        partial.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


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


class _LogFile(logging.FileHandler):
    """A log that goes on without what a full disk does not take: the terminal has it, too."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Pass over what the system refuses."""
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)

    def close(self) -> None:
        """Close the file; what is still to be written may be lost."""
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def logging_to(logfile: Path | str | None) -> Iterator[None]:
    """Send log messages to the terminal and, where given, to `logfile`."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if logfile:
        Path(logfile).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(_LogFile(logfile, mode="w", encoding="utf-8"))
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
