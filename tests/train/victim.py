"""Runs of `train` in processes of their own, which something befalls.

The processes come from a fork server that has torch and DeepSpeed loaded, so that one costs no seconds of imports.
"""

import dataclasses
import hashlib
import itertools
import multiprocessing
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np

from lorebridge.errors import LorebridgeError

# Audit events of CPython (library/audit_events): all that changes or opens a file comes by here.
FILE_OPERATIONS = {"open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir"}
SMALL = 20_000  # bytes: less than the weights of the tests' model, more than its metrics


@dataclasses.dataclass(frozen=True)
class Fate:
    """What befalls a process, and when.

    Attributes:
        what: a signal's name, ``budget`` (the wall clock runs out) or ``full disk`` (files can grow no more).
        step: when so many updates are done; or None.
        operation: at this file operation in the run's folder (only SIGKILL); or None.
        rank: which process it befalls.
    """

    what: str
    step: int | None = None
    operation: int | None = None
    rank: int = 0


def at_file_operation(folder, number, act):
    """Call `act` at file operation `number` (from 1) inside `folder`; return a function that tells how many were."""
    seen = itertools.count(1)
    last = 0

    def hook(event, arguments):
        nonlocal last
        if event in FILE_OPERATIONS and str(arguments[0]).startswith(str(folder)):
            last = next(seen)
            if last == number:
                act()

    sys.addaudithook(hook)
    return lambda: last


def _befall(fate, trainer):
    if fate.what == "budget":
        time.monotonic = lambda: float("inf")
    elif fate.what == "full disk":
        resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, SMALL))
    else:
        os.kill(os.getpid(), signal.Signals[fate.what])


def _train(arguments, environment, fate):
    from lorebridge.tokens.reader import OrderReader
    from lorebridge.train import loop

    os.environ.update(environment)
    folder = arguments["out"].parent
    os.dup2(os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    rank = int(environment.get("RANK", "0"))
    mine = fate if fate and fate.rank == rank else None
    operations = at_file_operation(
        folder, mine and mine.operation, lambda: os.kill(os.getpid(), signal.Signals[mine.what])
    )
    update, batch = loop.Trainer.update, OrderReader.batch

    def updated(trainer):
        result = update(trainer)
        if mine and trainer.done == mine.step:
            _befall(mine, trainer)
        return result

    def noted(reader, step, rows=None):
        result = batch(reader, step, rows)
        wanted = range(reader.rows_per_step)[rows or slice(None)]
        with (folder / f"batches-{rank}").open("a") as file:
            for i, row in enumerate(wanted):
                held = np.stack([result.input_ids[i], result.targets[i], result.positions[i], result.documents[i]])
                file.write(f"{step} {row} {hashlib.sha256(held.astype(np.int64).tobytes()).hexdigest()}\n")
        return result

    loop.Trainer.update, OrderReader.batch = updated, noted
    try:
        loop.train(**arguments)
    except LorebridgeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    (folder / "operations").write_text(str(operations()))


def launch(study, folder, fate=None, processes=1, **changes):
    """Train in `processes` processes; return their exit statuses (minus the signal where one killed it)."""
    folder.mkdir(parents=True, exist_ok=True)
    arguments = {**study, "out": folder / "out", "work": folder / "work", **changes}
    if fate and fate.what == "budget":
        arguments["budget_seconds"] = 3600.0
    environment = {}
    if processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    os.environ["DS_ACCELERATOR"] = "cpu"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["deepspeed", "lorebridge.train.loop"])
    family = []
    for rank in range(processes):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}
        family.append(context.Process(target=_train, args=(arguments, environment | own, fate)))
        family[-1].start()
    while all(process.exitcode is None for process in family):
        time.sleep(0.02)
    for process in family:
        process.join(10)
        if process.exitcode is None:  # as torchrun does when one has died
            process.kill()
            process.join()
    return [process.exitcode for process in family]


def batches(folder):
    """Return {(step, row): digest} of what the processes read; the same row twice must have been the same."""
    read = {}
    for path in sorted(Path(folder).glob("batches-*")):
        for line in path.read_text().splitlines():
            step, row, digest = line.split()
            assert read.setdefault((int(step), int(row)), digest) == digest
    return read
