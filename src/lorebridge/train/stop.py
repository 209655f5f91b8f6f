"""Why a run ends before its last step: a signal, or the wall clock of its job."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator

EX_TEMPFAIL = 75  # sysexits.h: "temporary failure; the user is invited to try again"

# What a terminal, torchrun and a cluster send: SLURM SIGTERM on preemption and at the time limit, and with
# `sbatch --signal=USR1@600` SIGUSR1 so many seconds before.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

# Until writing has been measured, it is taken for this share of the budget, but not for more than so many seconds.
UNMEASURED_SHARE, UNMEASURED_SECONDS = 0.05, 600.0


@contextlib.contextmanager
def stop_signals() -> Iterator[list[str]]:
    """Collect the names of the signals that ask a run to stop, instead of dying of them.

    The loop looks after each step, so that a state is saved between two steps and never in the middle of one. A signal
    that comes while a checkpoint or a state is being written does not interrupt the writing.
    """
    received: list[str] = []
    before = {
        number: signal.signal(number, lambda number, _: received.append(signal.Signals(number).name))
        for number in SIGNALS
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Budget:
    """The wall clock of a job.

    It is over when what is left would not do for twice the longest step and the longest writing (checkpoint and resume
    state) so far: one more step might be taken, and what it leaves must still be written.
    """

    def __init__(self, seconds: float | None) -> None:
        """Start the clock; None is no limit."""
        self.seconds = seconds
        self._started = time.monotonic()
        self._step = 0.0
        self._writing: float | None = None

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Measure a step."""
        started = time.monotonic()
        yield
        self._step = max(self._step, time.monotonic() - started)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Measure the writing after a step."""
        started = time.monotonic()
        yield
        self._writing = max(self._writing or 0.0, time.monotonic() - started)

    @property
    def reserve(self) -> float:
        """The seconds that are kept back."""
        writing = self._writing
        if writing is None:
            writing = min(UNMEASURED_SHARE * (self.seconds or 0.0), UNMEASURED_SECONDS)
        return 2 * (self._step + writing)

    def over(self) -> bool:
        """Whether it is time to stop."""
        return self.seconds is not None and time.monotonic() - self._started + self.reserve >= self.seconds
