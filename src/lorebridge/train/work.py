"""The work directory of a run: resume state, checkpoints, how they are published, and when it is freed.

A failed job loses its declared outputs, so nothing is declared until all is there: state and checkpoints grow in a
work directory that the workflow does not know, and are linked into the results at the end. A later invocation may
free the work directory once it has verified what was published.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from safetensors import SafetensorError

from lorebridge import tables
from lorebridge.errors import Busy, InputError
from lorebridge.records import RECORD, Digest, file_digest, read_record
from lorebridge.work import link_or_copy, locked, read_json, sync, write_json

log = logging.getLogger("lorebridge.train")

MANIFEST = "manifest.json"
METRICS = "metrics.parquet"
STATE = "state.json"


@dataclasses.dataclass(frozen=True)
class Slot:
    """A complete resume state on disk.

    Attributes:
        folder: where its tensors lie.
        step: updates done.
        world: number of processes that made the last of them.
        seconds: that the updates took.
        metrics: one row per step so far.
    """

    folder: Path
    step: int
    world: int
    seconds: float
    metrics: list[dict[str, Any]]


class WorkDirectory:
    """State and checkpoints of one run while it trains.

    Layout: ``lock``, ``state-a/`` and ``state-b/`` (two alternating resume states: when one is torn by a crash, the
    other still stands), ``step{N}/`` (checkpoints), ``metrics.parquet``, ``manifest.json`` (sha256 of every file to
    publish).
    """

    def __init__(self, path: Path) -> None:
        """Use the directory `path`; it is made."""
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def writing(self, what: str) -> Iterator[None]:
        """Turn a write that fails (a full disk, a quota) into an error that says what stands and how to go on.

        What was begun and is not complete is removed: the next try needs the room.

        Raises:
            InputError: the write failed.
        """
        try:
            yield
        except (OSError, SafetensorError) as error:
            for folder in (*self._slots(), *self.path.glob(".step*.partial")):
                if read_json(folder / STATE) is None:
                    shutil.rmtree(folder, ignore_errors=True)
            step = max((state["step"] for folder in self._slots() if (state := read_json(folder / STATE))), default=0)
            raise InputError(
                self.path,
                f"{what} cannot be written ({error})",
                "Make room and run again: it goes on "
                + (f"from the state of step {step}." if step else "from the beginning."),
            ) from error

    # Resume state ----------------------------------------------------------------------------------------------------

    def _slots(self) -> list[Path]:
        return [self.path / "state-a", self.path / "state-b"]

    def begin_state(self) -> Path:
        """Return the folder of the slot to write next: the torn or the older one. It no longer counts as complete."""
        folder = min(self._slots(), key=lambda folder: (read_json(folder / STATE) or {}).get("step", -1))
        folder.mkdir(exist_ok=True)
        (folder / STATE).unlink(missing_ok=True)
        sync(folder)
        return folder

    def finish_state(
        self,
        folder: Path,
        *,
        step: int,
        identity: Mapping[str, Any],
        world: int,
        seconds: float,
        metrics: list[dict[str, Any]],
        files: Mapping[str, str],
    ) -> None:
        """Declare a slot complete; `files` are the names and sha256 of the tensors that lie in it."""
        tables.write("metrics", metrics, folder / METRICS)
        files = {**files, METRICS: file_digest(folder / METRICS)}
        for path in list(folder.iterdir()):
            if path.name in files:
                sync(path)
            else:
                path.unlink()
        write_json(
            folder / STATE,
            {"step": step, "identity": dict(identity), "world": world, "seconds": seconds, "files": files},
        )

    def newest_state(self, identity: Mapping[str, Any]) -> Slot | None:
        """Return the newest complete resume state, or None. What is torn is passed over, and the log says so.

        Args:
            identity: what the state must have been made with (recipe, order, tokenizer, start); values by name.

        Raises:
            InputError: the state on disk was made with something else.
        """
        found = {folder: read_json(folder / STATE) for folder in self._slots() if folder.is_dir()}
        torn = [f"{folder.name} (not complete)" for folder, state in found.items() if state is None]
        slot = None
        for folder, state in sorted(found.items(), key=lambda item: -(item[1] or {}).get("step", -1)):
            if state is None or slot:
                continue
            for name, value in identity.items():
                if (theirs := state["identity"].get(name)) != value:
                    raise InputError(
                        folder / STATE,
                        f"saved at step {state['step']} with another {name} ({theirs}, now {value})",
                        f"Bring the old {name} back, or delete {self.path} to train from the start.",
                    )
            damaged = [name for name, digest in state["files"].items() if not _has_digest(folder / name, digest)]
            if damaged:
                torn.append(f"{folder.name} (step {state['step']}: {', '.join(damaged)})")
                (folder / STATE).unlink()  # so that the next state is written over this one, not over the good one
                continue
            metrics = pq.read_table(folder / METRICS).to_pylist()
            slot = Slot(folder, state["step"], state["world"], state["seconds"], metrics)
        if torn:
            to = f"step {slot.step}" if slot else "the beginning"
            log.warning("%s: torn state %s: falling back to %s", self.path, " and ".join(torn), to)
        return slot

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def _manifest(self) -> dict[str, Any]:
        return read_json(self.path / MANIFEST) or {"complete": False, "files": {}}

    def begin_checkpoint(self, step: int) -> Path:
        """Return a path where nothing is, to make the checkpoint folder at."""
        partial = self.path / f".step{step}.partial"
        _remove(partial)
        return partial

    def finish_checkpoint(self, partial: Path, step: int) -> None:
        """Move a complete checkpoint folder to its name ``step{step}`` and note the sha256 of its files."""
        final = self.path / f"step{step}"
        files = {path.name: file_digest(path) for path in sorted(partial.iterdir())}
        for name in files:
            sync(partial / name)
        _remove(final)
        partial.rename(final)
        sync(self.path)
        manifest = self._manifest()
        manifest["files"] = {name: d for name, d in manifest["files"].items() if Path(name).parent.name != final.name}
        manifest["files"].update({f"{final.name}/{name}": digest for name, digest in files.items()})
        write_json(self.path / MANIFEST, manifest)

    def require_checkpoints(self, steps: Iterable[int]) -> None:
        """Refuse to go on from a state whose earlier checkpoints are gone.

        Raises:
            InputError: names the checkpoint and the mend.
        """
        files = self._manifest()["files"]
        for step in steps:
            names = [name for name in files if Path(name).parent.name == f"step{step}"]
            if not names or not all((self.path / name).is_file() for name in names):
                raise InputError(
                    self.path / f"step{step}",
                    "gone, but the saved state is past it",
                    f"Delete {self.path} to start over.",
                )

    def publish(self, out: Path, steps: Iterable[int]) -> dict[str, str]:
        """Hard-link (across file systems: copy) the checkpoints and ``metrics.parquet`` into `out`.

        A folder appears under its final name only when it is complete. What another attempt left there is replaced, and
        the checkpoints of another recipe are removed, because the record beside them would speak for them too.

        Returns:
            sha256 of every published file, by its path in `out`.

        Raises:
            InputError: a file in the work directory is not what training wrote.
        """
        names = [f"step{step}" for step in steps]
        files = {name: d for name, d in self._manifest()["files"].items() if Path(name).parent.name in names}
        for name, digest in files.items():
            if not _has_digest(self.path / name, digest):
                raise InputError(
                    self.path / name, "changed since training wrote it", f"Delete {self.path} and train again."
                )
        files[METRICS] = file_digest(self.path / METRICS)
        out.mkdir(parents=True, exist_ok=True)
        for left in out.glob("step*"):
            if left.name not in names:
                _remove(left)
        for name in [*names, METRICS]:
            partial = out / f".{name}.partial"
            _remove(partial)
            if (self.path / name).is_dir():
                shutil.copytree(self.path / name, partial, copy_function=link_or_copy)
            else:
                link_or_copy(self.path / name, partial)
            _remove(out / name)
            partial.rename(out / name)
        sync(out)
        write_json(self.path / MANIFEST, {"complete": True, "files": files})
        return files


def work_folder(root: Path, run: str, recipe: str) -> Path:
    """Return the work directory of a run.

    Args:
        root: of the study's work directories.
        run: name of the run.
        recipe: of the run; another one trains elsewhere.
    """
    return Path(root) / run / recipe


def readdress(old: Path, new: Path, recipe: str, said: Mapping[str, Any]) -> int | None:
    """Make the work directory of an unfinished run that of another recipe, which is known to stand for the same run.

    The new one is whole before the old one goes. Tensors are linked and not copied.

    Args:
        old: the work directory.
        new: where that of the recipe lies; nothing is there.
        recipe: the recipe.
        said: column -> value that every row of metrics has under that recipe.

    Returns:
        The step of the newest complete state; None if there is none.

    Raises:
        Busy: a trainer holds the directory.
    """
    partial = new.with_name(f"{new.name}.partial")
    with locked(old):
        _remove(partial)
        shutil.copytree(old, partial, copy_function=link_or_copy, ignore=shutil.ignore_patterns("lock"))
        steps = []
        for slot in (partial / "state-a", partial / "state-b"):
            state = read_json(slot / STATE)
            if state is None or not _has_digest(slot / METRICS, state["files"].get(METRICS, "")):
                continue  # torn: passed over when training goes on
            rows = pq.read_table(slot / METRICS).to_pylist()
            tables.write("metrics", [{**said, **row} for row in rows], slot / METRICS)
            state["files"][METRICS] = file_digest(slot / METRICS)
            state["identity"]["recipe"] = recipe
            write_json(slot / STATE, state)
            steps.append(state["step"])
        partial.rename(new)
        sync(new.parent)
        shutil.rmtree(old)
    return max(steps, default=None)


def free(root: Path, published: Path, digest: Digest = file_digest) -> bool:
    """Delete the work directory of a run if all that the run published is there unchanged.

    The invocation that publishes must not do this: should it fail afterwards, the workflow removes what it published,
    and the work directory is all there is. Whoever reads a record beside the checkpoints comes later.

    Args:
        root: of the study's work directories.
        published: the folder of the run's checkpoints and its record.
        digest: gives the sha256 of a file; a cache, where who read the checkpoints has hashed them.

    Returns:
        Whether no work directory is left. It is kept, and the log says why, where something published is missing or
        another, where no record says whose it is, while a trainer holds it, and where the disk refuses.
    """
    record = read_record(Path(published) / RECORD)
    if record is None or "run" not in record.get("literals", {}):
        log.warning("%s: no readable record, so that no work directory is freed", published)
        return False
    work = work_folder(root, record["literals"]["run"], record["recipe"])
    if not work.exists():
        return True
    try:
        with locked(work):
            manifest = read_json(work / MANIFEST)
            if not manifest or not manifest["complete"]:
                log.warning("%s: its run is not finished; kept", work)
                return False
            for name, noted in manifest["files"].items():
                if not _has_digest(Path(published) / name, noted, digest):
                    log.warning("%s: not what training published; %s is kept", Path(published) / name, work)
                    return False
            for path in work.iterdir():
                if path.name != MANIFEST:  # goes last, so that one who is killed here leaves what can be freed again
                    _remove(path)
            shutil.rmtree(work)
    except Busy as error:
        log.warning("%s", error)
        return False
    except OSError as error:
        log.warning("%s: cannot be freed (%s)", work, error)
        return False
    return True


def _has_digest(path: Path, noted: str, digest: Digest = file_digest) -> bool:
    return path.is_file() and digest(path) == noted


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
