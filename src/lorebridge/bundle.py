"""Bundles: one small archive of what a study's tables and figures are drawn from, and its redrawing elsewhere.

A bundle is an xz-compressed tar. Its first member, ``bundle.json``, is the manifest: the resolved configuration, the
figures and tables, and size and sha256 of every other member. These are the files that the drawings read, under the
paths that they have below ``results/<study>/``, and beside each its record without the name of the machine and the
command line, in which size and sha256 are those of the packed file. Members are sorted and carry no times, owners or
modes, so the same artifacts give the same bytes.

A bundle may come from anybody: nothing is written but regular files that the manifest lists, each under a relative
path, with the size and the checksum that the manifest says.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import lzma
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from lorebridge import __version__, config, publish, studies
from lorebridge.errors import ConfigError, InputError
from lorebridge.plan import Artifact, Plan
from lorebridge.records import Task, file_digest, read_record

MANIFEST = "bundle.json"
FORMAT = 2
"""Of bundles. Those of format 1 hold records, and tables, of a form that is no longer drawn from."""

LARGEST = 1 << 32  # bytes that a bundle may unpack to
LARGEST_MANIFEST = 1 << 24
# What a record says of the machine that it was made on.
_OF_THE_MACHINE = ("argv", "device")
_DRAWN_HERE = ("figure", "table", "page")
_NOT_OURS = "Do not use it, and ask where it comes from: `snakemake bundle` writes no such archive."
_OLD = (
    "Adopt the study where it lies, and pack it again: lorebridge adopt --config CONFIG, then snakemake --cores 2 "
    "bundle --configfile CONFIG."
)
_AGAIN = "Get or make the bundle again, where the study is: snakemake bundle --configfile CONFIG."


def pack(
    *,
    files: Mapping[str, Sequence[str]],
    records: Sequence[str],
    root: Path,
    out: Path,
    config: Mapping[str, Any],
    languages: Sequence[str],
    figures: Sequence[str],
    tables: Sequence[str],
) -> dict[str, Any]:
    """Write the bundle of a study; its bytes depend on the arguments and on what the files hold.

    Tables are encoded anew without loss, which makes the floating-point numbers of scores a third smaller. Of a data
    order only its totals are drawn, so its rows are left out.

    Args:
        files: argument of the drawings -> paths of the files that they are drawn from.
        records: paths of the records of the artifacts that they belong to.
        root: folder of the study, which all paths lie below.
        out: the archive.
        config: the study's configuration.
        languages: its languages, in their order.
        figures: names of its figures.
        tables: names of its tables.

    Returns:
        for the record: numbers of files and bytes.
    """
    members: dict[str, bytes] = {}
    for output, paths in files.items():
        for path in paths:
            members[_below(path, root)] = _content(output, Path(path))
    for path in records:
        record = {key: value for key, value in (read_record(path) or {}).items() if key not in _OF_THE_MACHINE}
        members[_below(path, root)] = _json(record | {"files": _packed_files(path, record, root, members)})
    manifest = {
        "format": FORMAT,
        "lorebridge": __version__,
        "stages": {name: stage.version for name, stage in studies.stages().items()},
        "config": {**config, "languages": {lang: config["languages"][lang] for lang in languages}},
        "figures": list(figures),
        "tables": list(tables),
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in sorted(members.items())
        },
    }
    with publish.whole(out) as partial, tarfile.open(partial, "w:xz", format=tarfile.USTAR_FORMAT, preset=9) as archive:
        for name, content in [(MANIFEST, _json(manifest)), *sorted(members.items())]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return {"n_files": len(members), "n_bytes": out.stat().st_size}


def _below(path: str, root: Path) -> str:
    """Return a path relative to the folder of the study, with slashes."""
    return Path(path).relative_to(root).as_posix()


def _packed_files(
    place: str, record: Mapping[str, Any], root: Path, members: Mapping[str, bytes]
) -> dict[str, dict[str, Any]]:
    """Return what a record in the bundle says of its files: of those that are packed, as they are packed."""
    found = {}
    for name, said in record.get("files", {}).items():
        content = members.get(_below(os.path.normpath(Path(place).parent / said["path"]), root))
        if content is not None:
            found[name] = said | {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return found


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()


def _content(output: str, path: Path) -> bytes:
    """Return what a bundle holds of a file that is drawn from."""
    from lorebridge import tables

    return tables.packed(path, rows=output != "orders") if path.suffix == ".parquet" else path.read_bytes()


class Redrawing(Plan):
    """The plan of what a bundle gives: its tables, figures and page. All that they are drawn from is there already.

    The recipe of an input is what its own record in the bundle says, so that a later version of a stage upstream does
    not make a bundle useless; the recipe of a drawing follows from these as in the study.

    Args:
        path: the bundle.
        results: root that the study is unpacked below.
    """

    def __init__(self, path: Path | str, results: str) -> None:
        """Unpack the bundle below `results`, unless it lies there already.

        Raises:
            InputError: not a bundle, or one that tries to write elsewhere.
            ConfigError: its configuration is not one of this version of lorebridge.
        """
        self.path = Path(path)
        with _opened(self.path) as archive:
            manifest = _manifest(archive, self.path)
            folders = {"results": results, "work": f"{results}/.work"}
            checked = config.check(manifest["config"] | folders, name=f"{path}, {MANIFEST}")
            super().__init__(studies.plan(checked).study)
            # What the bundle is for and this version draws.
            for drawings, listed in ((self.study.figures, "figures"), (self.study.tables, "tables")):
                for name in set(drawings) - set(manifest[listed]):
                    del drawings[name]
            self._members = manifest["files"]
            self._whole = _unpack(archive, self.path, self._members, Path(self.root))

    def targets(self) -> list[Artifact]:
        """Return what is drawn."""
        return [*self.drawings(), ("page", ())]

    def inputs(self, stage: str, **wildcards: Any) -> list[Artifact]:
        """Return what a drawing is made from; all else is there, and made from nothing."""
        return super().inputs(stage, **wildcards) if stage in _DRAWN_HERE else []

    def recipe(self, name: Artifact) -> str:
        """Return the recipe of a drawing, or what the record of an input says."""
        if name[0] in _DRAWN_HERE:
            return super().recipe(name)
        return str((read_record(self.record(*name)) or {}).get("recipe"))

    def reads(self, stage: str, **wildcards: Any) -> dict[str, list[str]]:
        """Return what a drawing is made from, as the study's plan does.

        Raises:
            InputError: the bundle lacks some of it, or holds it damaged; names all of that.
        """
        found = super().reads(stage, **wildcards)
        drawn = {path for name in self.drawings() for path in self.outputs(name[0], **dict(name[1])).values()}
        records = [self.record(*name) for name in self.inputs(stage, **wildcards)]
        wanted = dict.fromkeys(path for paths in [*found.values(), records] for path in paths if path not in drawn)
        names = (_below(path, Path(self.root)) for path in wanted)
        if lacking := [name for name in names if name not in self._whole]:
            said = ", ".join(f"{name} ({'is damaged' if name in self._members else 'is missing'})" for name in lacking)
            drawing = " ".join([stage, *map(str, wildcards.values())])
            raise InputError(self.path, f"the {drawing} is drawn from {said}", _AGAIN)
        return found

    def task(self, stage: str, **wildcards: Any) -> Task:
        """Return the task of a drawing.

        Raises:
            InputError: as :meth:`reads`.
        """
        self.reads(stage, **wildcards)
        return super().task(stage, **wildcards)


def redrawing(settings: Mapping[str, Any]) -> Redrawing:
    """Return the plan of a bundle from the values of ``--config``: ``bundle``, and ``results`` where not ``redrawn``.

    Raises:
        ConfigError: no bundle is named, or there are other keys.
        InputError: as :class:`Redrawing`.
    """
    if unknown := sorted(set(settings) - {"bundle", "results"}):
        mend = "It takes bundle and results; everything else is in the bundle."
        raise ConfigError("workflow/figures.smk", f"unknown key {unknown[0]!r}", mend)
    if not settings.get("bundle"):
        raise ConfigError("workflow/figures.smk", "no bundle is named", "Name one: --config bundle=PATH")
    return Redrawing(str(settings["bundle"]), str(settings.get("results", "redrawn")))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    with contextlib.ExitStack() as stack:
        try:
            archive = stack.enter_context(tarfile.open(path, "r|xz"))
        except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
            raise InputError(path, f"is not a bundle ({error})", _AGAIN) from error
        except OSError as error:
            mend = "Name a bundle: --config bundle=PATH."
            raise InputError(path, f"cannot be read ({error.strerror})", mend) from error
        yield archive


def _manifest(archive: tarfile.TarFile, path: Path) -> dict[str, Any]:
    """Return the manifest of a bundle, its shape checked; the configuration in it is still to be checked.

    Raises:
        InputError: there is none, or it is not what :func:`pack` writes.
    """
    try:
        member = archive.next()
        if member is None or member.name != MANIFEST or not member.isreg() or member.size > LARGEST_MANIFEST:
            raise InputError(path, f"is not a bundle (it does not begin with {MANIFEST})", _AGAIN)
        manifest = json.loads(_reader(archive, member).read())
    except (tarfile.TarError, lzma.LZMAError, EOFError, ValueError) as error:
        raise InputError(path, f"is not a bundle, or is damaged ({error})", _AGAIN) from error
    if isinstance(manifest, dict) and manifest.get("format") == 1:
        raise InputError(path, "is a bundle of format 1, which this version of lorebridge does not draw", _OLD)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError(path, f"is not a bundle of format {FORMAT}", _AGAIN)
    files = manifest.get("files")
    if not isinstance(files, dict) or not isinstance(manifest.get("config"), dict):
        raise InputError(f"{path}, {MANIFEST}", "lists no files or no configuration", _AGAIN)
    if not all(isinstance(manifest.get(key), list) for key in ("figures", "tables")):
        raise InputError(f"{path}, {MANIFEST}", "lists no figures or no tables", _AGAIN)
    for name, file in files.items():
        size, digest = (file.get("bytes"), file.get("sha256")) if isinstance(file, dict) else (None, None)
        if not isinstance(size, int) or size < 0 or not isinstance(digest, str):
            raise InputError(f"{path}, {MANIFEST}", f"gives no size or no sha256 of {name!r}", _AGAIN)
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", name, re.ASCII) or {".", ".."} & set(name.split("/")):
            raise InputError(f"{path}, {MANIFEST}", f"lists {name!r}, which is no path below a study", _NOT_OURS)
    if sum(file["bytes"] for file in files.values()) > LARGEST:
        raise InputError(f"{path}, {MANIFEST}", f"lists more than {LARGEST:,} bytes", _NOT_OURS)
    return manifest


def _reader(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
    """Return a file that reads a regular member."""
    reader = archive.extractfile(member)
    assert reader is not None
    return reader


def _unpack(archive: tarfile.TarFile, path: Path, files: Mapping[str, Mapping[str, Any]], root: Path) -> frozenset[str]:
    """Write the members that differ from what lies below `root`; return the names of those that are as listed.

    A member that is damaged, and all behind a place where the archive cannot be read on, are left out.

    Raises:
        InputError: a member that no bundle has.
    """
    whole: set[str] = set()
    try:
        while (member := archive.next()) is not None:
            # Not tarfile's own filter, which Python has from 3.11.4 on and Debian 12 has not.
            where = PurePosixPath(member.name)
            if where.is_absolute() or ".." in where.parts:
                raise InputError(path, f"holds a dangerous member ({member.name!r}, outside of it)", _NOT_OURS)
            if member.name not in files or member.type != tarfile.REGTYPE or member.name in whole:
                raise InputError(path, f"holds {member.name!r}, which is no regular file of its list", _NOT_OURS)
            if _write(_reader(archive, member), member.size, files[member.name], root / member.name):
                whole.add(member.name)
    except (tarfile.TarError, lzma.LZMAError, EOFError):
        pass  # what could not be read is told where it is wanted
    return frozenset(whole)


def _write(reader: Any, size: int, listed: Mapping[str, Any], to: Path) -> bool:
    """Write a member that has the size and the checksum listed, unless it is there; return whether it has."""
    if size != listed["bytes"]:
        return False
    if to.is_file() and not to.is_symlink() and file_digest(to) == listed["sha256"]:
        return True
    to.parent.mkdir(parents=True, exist_ok=True)
    partial = to.with_name(f"{to.name}.{os.getpid()}")
    digest = hashlib.sha256()
    try:
        with publish.named(to, partial), partial.open("wb") as file:
            while block := reader.read(1 << 20):
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != listed["sha256"]:
            return False
        partial.replace(to)
    finally:
        partial.unlink(missing_ok=True)
    return True
