"""Folders that a job works in, and files that a crash leaves whole or not at all.

Whatever takes long keeps what it has done in a work directory that the workflow does not know, because a failed job
loses its declared outputs. One process at a time uses such a folder: it holds its lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import platform
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lorebridge import publish
from lorebridge.errors import Busy, InputError

log = logging.getLogger("lorebridge.work")


@contextlib.contextmanager
def locked(folder: Path, patience: float = 0) -> Iterator[None]:
    """Hold a folder, which is made, against other processes; the operating system lets go when this process ends.

    Another that holds it is waited for, `patience` seconds at most: a requeued job may start before the one that it
    takes over from has saved its state, and a Snakemake that was started again knows nothing of the job that runs.

    The lock is flock(2) on the file ``lock``. Linux carries it over NFS to the server, so that it holds between
    machines too; not so on mounts that keep locks to themselves (NFS ``local_lock=flock``, Lustre ``localflock``),
    where it holds between the processes of one machine only.

    Raises:
        Busy: another process holds it; says which.
        InputError: the file system has no locks (Lustre mounted ``noflock``).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+", encoding="utf-8") as file:
        until = time.monotonic() + patience
        try:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    file.seek(0)
                    holder = file.read().strip() or "another process"
                    if time.monotonic() > until:
                        raise Busy(
                            f"{folder}: in use by {holder}. Wait for it, or end it (it saves its state), and run again."
                        ) from error
                    log.info("%s: in use by %s; waiting for it", folder, holder)
                    time.sleep(min(10.0, patience))
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            raise InputError(
                folder,
                f"its file system keeps no locks ({error.strerror})",
                "Set `work` to one that does, or mount it with them (Lustre: -o flock).",
            ) from error
        file.truncate(0)
        file.write(f"host {platform.node()}, process {os.getpid()}{_slurm_job()}\n")
        file.flush()
        yield


def _slurm_job() -> str:
    """Return which SLURM job this process belongs to, for people."""
    job = os.environ.get("SLURM_JOB_ID")
    return f", SLURM job {job}" if job else ""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file to be written, so that a crash or an error leaves either the old file or the whole new one."""
    with publish.whole(path) as partial, partial.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a crash leaves either the old file or the new one."""
    with replacing(path) as file:
        file.write(json.dumps(value, ensure_ascii=False).encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file, or None where there is none or it is torn."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def sync(path: Path) -> None:
    """Flush a file, or the entries of a directory, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Hard-link a file, or copy it where that is not possible."""
    try:
        Path(target).hardlink_to(source)
    except OSError:  # another file system, or one without hard links
        with publish.whole(target) as partial:
            shutil.copy2(source, partial)
            sync(partial)
