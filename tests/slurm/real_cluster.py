"""A real SLURM on this machine, as tests see it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

SCRIPT = Path(__file__).with_name("cluster.sh")
T = TypeVar("T")


def soon(condition: Callable[[], T], what: str, seconds: float = 120) -> T:
    """Wait until a condition is true; return what it gives."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not in {seconds} s"
        time.sleep(0.2)
    return found


def printed(*command: str) -> list[str]:
    """Return the lines that a command of SLURM's prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


class Cluster:
    """What an administrator, or bad luck, does to a cluster."""

    def __init__(self, partitions: Path) -> None:
        self.partitions = partitions

    def __call__(self, *command: str) -> None:
        """Run cluster.sh COMMAND."""
        subprocess.run([SCRIPT, *command], check=True, stdout=subprocess.DEVNULL, timeout=120)

    def arguments(self, *more: str) -> list[str]:
        """Return Snakemake's arguments: the profile as shipped, this cluster's partitions, and no patience."""
        return [
            "--profile",
            str(SCRIPT.parents[2] / "profiles" / "slurm"),
            "--slurm-partition-config",
            str(self.partitions),
            "--slurm-init-seconds-before-status-checks",
            "1",
            "--max-status-checks-per-second",
            "2",
            "--latency-wait",
            "5",
            *more,
        ]

    def jobs(self, rule: str) -> dict[str, str]:
        """Return the id and the last state of every job of a rule that SLURM's accounting knows, in order."""
        lines = printed("sacct", "--allocations", "--noheader", "--parsable2", "--format", "JobID,State,Comment")
        rows = [line.split("|", 2) for line in lines]
        return {job: state.split()[0] for job, state, comment in rows if comment.startswith(f"rule_{rule}_")}

    def asked(self, job: str, field: str) -> str:
        """Return a field of sacct's, of a job."""
        (line,) = printed("sacct", "--jobs", job, "--allocations", "--noheader", "--parsable2", "--format", field)
        return line

    def running(self, rule: str, but: tuple[str, ...] = ()) -> str:
        """Wait until a job of a rule runs, none of those in `but`; return its id."""

        def found() -> str | None:
            for line in printed("squeue", "--noheader", "--states", "RUNNING", "--format", "%i %k"):
                job, comment = line.split(maxsplit=1)
                if comment.startswith(f"rule_{rule}_") and job not in but:
                    return job
            return None

        return soon(found, f"a running job of rule {rule}, none of {but}")

    def clear(self) -> None:
        """Cancel all jobs and wait until they are gone."""
        if jobs := printed("squeue", "--noheader", "--format", "%i"):
            subprocess.run(["scancel", *jobs], check=True)
        soon(lambda: not printed("squeue", "--noheader"), "an empty queue")
