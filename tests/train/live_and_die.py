"""A work directory alone, without a model: fast enough to be killed at every file operation there is.

Usage: python live_and_die.py FOLDER; prints at how many operations it was killed, and how often the next try then
published the same as an undisturbed one.
"""

import hashlib
import os
import signal
import sys
from pathlib import Path

from victim import at_file_operation

from lorebridge import tables
from lorebridge.records import file_digest
from lorebridge.train.work import WorkDirectory
from lorebridge.work import locked

IDENTITY = {"recipe": "r"}
KEPT, LAST = (0, 3, 6), 6


def live(folder):
    """Do with a work directory what a training run does; the weights are a chain of digests."""
    directory = WorkDirectory(folder / "work")
    row = dict.fromkeys(tables.SCHEMAS["metrics"].names, 1) | {"run": "r", "learned": "ko", "arm": "bridge"}

    def checkpoint(step, weights):
        partial = directory.begin_checkpoint(step)
        partial.mkdir()
        (partial / "model.safetensors").write_text(weights)
        directory.finish_checkpoint(partial, step)

    with locked(directory.path):
        slot = directory.newest_state(IDENTITY)
        step, weights = (slot.step, (slot.folder / "weights").read_text()) if slot else (0, "")
        if slot:
            directory.require_checkpoints([kept for kept in KEPT if kept <= step])
        else:
            checkpoint(0, weights)
        while step < LAST:
            step, weights = step + 1, hashlib.sha256(weights.encode()).hexdigest()
            if step in KEPT:
                checkpoint(step, weights)
            if step % 2 == 0:
                state = directory.begin_state()
                (state / "weights").write_text(weights)
                directory.finish_state(
                    state,
                    step=step,
                    identity=IDENTITY,
                    world=1,
                    seconds=1.0,
                    metrics=[row] * step,
                    files={"weights": file_digest(state / "weights")},
                )
        tables.write("metrics", [row] * LAST, directory.path / "metrics.parquet")
        directory.publish(folder / "out", KEPT)


def live_apart(folder, kill_at=None):
    """Live in a child process; return its exit status."""
    folder.mkdir(exist_ok=True)
    child = os.fork()
    if not child:
        os.fsync = lambda _: None  # a killed process loses nothing that it has written, and time is short
        operations = at_file_operation(folder, kill_at, lambda: os.kill(os.getpid(), signal.SIGKILL))
        live(folder)
        (folder / "operations").write_text(str(operations()))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def published(folder):
    """Return the files that a run published and what is in them."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()}


def main(root):
    """Live undisturbed, then be killed at each operation and live again."""
    assert live_apart(root / "whole") == 0
    killed = same = 0
    for number in range(1, int((root / "whole" / "operations").read_text()) + 1):
        folder = root / str(number)
        killed += live_apart(folder, number) == -signal.SIGKILL
        same += live_apart(folder) == 0 and published(folder) == published(root / "whole")
    print(killed, same)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
