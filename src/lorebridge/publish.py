"""What is written appears whole or not at all, and where a command is to write is looked at before it works."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from lorebridge.errors import InputError


@contextlib.contextmanager
def whole(out: Path | str) -> Iterator[Path]:
    """Yield a path to write a file to, which takes the place of `out` once the body is done.

    A body that fails leaves what was there before. What a killed process leaves behind (``OUT.partial``) is written
    over by the next one. A link stays a link: the file that it names is replaced.

    Args:
        out: the file to write; its folder is made.
    """
    out = Path(out)
    if out.is_symlink():
        out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(out)
    try:
        yield partial
        partial.replace(out)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename in (None, str(partial)):
            error.filename = str(out)  # libraries say no name, and nobody knows the other
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


def check_folder(out: Path | str, names: Sequence[str], *, name: str = "--out") -> None:
    """Make sure that files can be written to a folder, before any work is done for them.

    Args:
        out: the folder, which may be missing.
        names: of the files.
        name: what a person calls it.

    Raises:
        InputError: it is a file, cannot be written to, or one of the files cannot.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError(out, "is a file", f"Name a folder for {name}.")
    _check_folder(out, out, name)
    for file in names:
        check_file(out / file, name=name)


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


def _partial(out: Path) -> Path:
    return out.with_name(f"{out.name}.partial")
