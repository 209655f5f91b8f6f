"""How far a whole study is, and how long it still takes: a line in the log of the run that makes it.

The time that is left is reckoned from the jobs that are done: those of one rule take what its others took, a training
run by its tokens. What has no example yet is taken for the mean of what has, a training run for what
``lorebridge plan`` reckons. Jobs run side by side as they did so far.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping

EVERY = 20.0
"""Seconds between two lines."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A job of a run.

    Attributes:
        rule: what jobs are alike in.
        size: how long it takes against others of its rule; 1 where they are all alike.
        guess: seconds that it may take, where something tells before one is done.
    """

    rule: str
    size: float = 1.0
    guess: float | None = None


class Reckoning:
    """The jobs of a run, which of them are done, and the time that is left."""

    def __init__(self, jobs: Mapping[int, Job]) -> None:
        """Begin with no job started.

        Args:
            jobs: id -> job.
        """
        self.jobs = dict(jobs)
        self._started: dict[int, float] = {}
        self._took: dict[int, float] = {}
        self._begun = 0.0

    def start(self, job: int, now: float) -> None:
        """Note that a job has started at a time in seconds; one that starts again begins anew."""
        if job in self.jobs:
            if not self._started and not self._took:
                self._begun = now
            self._started[job] = now

    def finish(self, job: int, now: float) -> bool:
        """Note that a job is done; return whether it is one of these."""
        if job not in self._started:
            return False
        self._took[job] = now - self._started.pop(job)
        return True

    @property
    def done(self) -> int:
        """How many jobs are done."""
        return len(self._took)

    def expected(self, job: Job) -> float:
        """Return how many seconds a job takes."""
        alike = [(self._took[i], self.jobs[i].size) for i in self._took if self.jobs[i].rule == job.rule]
        if alike and (size := sum(size for _, size in alike)):
            return sum(took for took, _ in alike) / size * job.size
        if job.guess is not None:
            return job.guess
        known = [took for i, took in self._took.items() if self.jobs[i].guess is None]
        return sum(known) / len(known) if known else 0.0

    def left(self, now: float) -> float:
        """Return how many seconds are left until all jobs are done."""
        rest = {
            i: max(0.0, self.expected(job) - (now - self._started[i] if i in self._started else 0.0))
            for i, job in self.jobs.items()
            if i not in self._took
        }
        busy = sum(self._took.values()) + sum(now - began for began in self._started.values())
        side_by_side = max(1.0, busy / (now - self._begun)) if now > self._begun else 1.0
        return max([sum(rest.values()) / side_by_side, *rest.values()], default=0.0)

    def share(self) -> float:
        """Return how much of the work is done, 0 to 1, a job counted by the time that it takes."""
        done = sum(self._took.values())
        rest = sum(self.expected(job) for i, job in self.jobs.items() if i not in self._took)
        return done / (done + rest) if done + rest else 1.0


def duration(seconds: float) -> str:
    """Return a time for people, with no more digits than an estimate bears.

    >>> [duration(s) for s in (20, 95, 3000, 9000, 400000)]
    ['less than a minute', 'about 2 min', 'about 50 min', 'about 2.5 h', 'about 4.6 days']
    """
    if seconds < 60:
        return "less than a minute"
    if seconds < 90 * 60:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"about {seconds / 86400:.1f} days"


class Reporter(logging.Handler):
    """Reads the events of Snakemake's log and writes a line to it now and then."""

    def __init__(
        self, study: str, jobs: Mapping[int, Job], log: logging.Logger, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Follow the jobs of a run.

        Args:
            study: its name.
            jobs: id of a job, as Snakemake has it -> job.
            log: Snakemake's, which is read and written.
            clock: seconds.
        """
        super().__init__()
        self._study, self._log, self._clock = study, log, clock
        self._reckoning = Reckoning(jobs)
        self._shown = clock()

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of a job that starts or ends."""
        event, now = str(getattr(record, "event", "")), self._clock()
        if event == "job_started":
            for job in getattr(record, "jobs", None) or ():
                self._reckoning.start(job, now)
        elif event == "job_finished" and self._reckoning.finish(getattr(record, "job_id", -1), now):
            last = self._reckoning.done == len(self._reckoning.jobs)
            if now - self._shown >= EVERY or last:
                self._shown = now
                self._log.info(self._line(now))

    def _line(self, now: float) -> str:
        reckoning = self._reckoning
        left = "done" if reckoning.done == len(reckoning.jobs) else f"{duration(reckoning.left(now))} left"
        return (
            f"study {self._study}: {100 * reckoning.share():.0f} % of the work, {reckoning.done:,} of "
            f"{len(reckoning.jobs):,} jobs, {left}"
        )
