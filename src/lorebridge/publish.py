"""What is written appears whole or not at all, and where a command is to write is looked at before it works."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from lorebridge.errors import InputError


@contextlib.contextmanager
def named(out: Path | str, partial: Path | str | None = None) -> Iterator[None]:
    """Have what the system refuses while a file is written name that file: libraries say no name of a full disk.

    Args:
        out: the file.
        partial: under which name it is written, which nobody knows.
    """
    try:
        yield
    except OSError as error:
        if error.filename in (None, str(partial)):
            error.filename = str(out)
        raise


@contextlib.contextmanager
def whole(out: Path | str, *, by: str = "") -> Iterator[Path]:
    """Yield a path to write a file to, which takes the place of `out` once the body is done.

    A body that fails leaves what was there before. What a killed process leaves behind (``OUT.partial``) is written
    over by the next one. A link stays a link: the file that it names is replaced.

    Args:
        out: the file to write; its folder is made.
        by: who writes, where others may write the same file meanwhile.
    """
    out = Path(out)
    if out.is_symlink():
        out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(out, by)
    try:
        with named(out, partial):
            yield partial
            partial.replace(out)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(out: Path | str, text: str) -> None:
    """Write a text as UTF-8, whole or not at all; its folder is made."""
    with whole(out) as partial:
        partial.write_text(text, encoding="utf-8")


def _same(one: Path, other: Path) -> bool:
    """Say whether two paths are one file; what is not there, or cannot be, is none."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def check_file(
    out: Path | str, *, suffixes: Sequence[str] = (), inputs: Sequence[Path | str] = (), name: str = "--out"
) -> None:
    """Make sure that a file can be written, before any work is done for it.

    Args:
        out: the file.
        suffixes: how its name may end, one for each format that is written; none where it may end in any way.
        inputs: files, and folders of files, that are read and must not be written over.
        name: what a person calls it.

    Raises:
        InputError: it is a folder or another thing than a file, ends in another way, is an input (perhaps through a
            link, or under the name that it has until it is whole), or its folder cannot be written to.
    """
    out = Path(out)
    try:
        out.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise InputError(out, f"cannot be written ({error.strerror})", f"Give {name} another name.") from error
    if out.is_dir():
        example = out / ("out" + (suffixes[0] if suffixes else ""))
        raise InputError(out, "is a folder", f"Name a file for {name}, such as {example}.")
    if suffixes and not out.name.endswith(tuple(suffixes)):
        raise InputError(
            out,
            "not a format that is written",
            f"Let the name of {name} end in {' or '.join(suffixes)}, such as {out.with_suffix('').name}{suffixes[0]}.",
        )
    if out.exists() and not out.is_file():
        raise InputError(out, "is there and is no file", f"Name a file for {name}.")
    for path in map(Path, inputs):
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for written in (out, _partial(out.resolve())):
            if any(_same(written, file) for file in files):
                raise InputError(out, f"is also what is read ({path})", f"Give {name} another name.")
    target = out.resolve()
    _check_folder(target.parent, out, name)
    try:
        # Whether a name can be used is known only to the file system.
        if target.parent.is_dir() and not _partial(target).exists():
            _partial(target).touch()
            _partial(target).unlink()
    except OSError as error:
        raise InputError(out, f"cannot be written ({error.strerror})", f"Give {name} another name.") from error


def check_folder(
    out: Path | str, names: Sequence[str], *, name: str = "--out", new: bool = False, empty: bool = False
) -> None:
    """Make sure that files can be written to a folder, before any work is done for them.

    Args:
        out: the folder, which may be missing.
        names: of the files.
        name: what a person calls it.
        new: none of the files may be there, as people write into them.
        empty: the folder may hold nothing but hidden files, such as a clone's.

    Raises:
        InputError: it is a file, cannot be written to, or one of the files cannot; or there are files.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(out, "is a file", f"Name a folder for {name}.")
    _check_folder(out, out, name)
    for file in names:
        check_file(out / file, name=name)
        if new and (out / file).exists():
            mend = f"Name a new folder for {name}, or move the file away."
            raise InputError(out / file, "is there already, perhaps written into", mend)
    there = sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) if out.exists() else []
    if empty and there:
        listed = ", ".join(there[:3]) + (f" and {len(there) - 3} more" if len(there) > 3 else "")
        raise InputError(
            out, f"holds files already ({listed})", f"Name a new folder for {name}, such as {_free(out / 'published')}."
        )


def _check_folder(folder: Path, out: Path, name: str) -> None:
    """Refuse a folder that can neither be written to nor be made.

    Raises:
        InputError: says which of its parents is the reason.
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise InputError(out, f"{folder} is no folder", f"Give {name} another place.")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            out, f"{folder} cannot be written to ({error.strerror})", f"Give {name} another place."
        ) from error


def _free(out: Path) -> Path:
    """Return a path that is free: `out`, or with a number."""
    numbered = (out.with_name(f"{out.name}-{n}") for n in itertools.count(2))
    return next(path for path in itertools.chain([out], numbered) if not path.exists())


def _partial(out: Path, by: str = "") -> Path:
    return out.with_name(f"{out.name}{by and '.'}{by}.partial")
