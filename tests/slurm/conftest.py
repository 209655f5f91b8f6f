"""A real SLURM on this machine, and studies that run on it as a user's do."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml

SCRIPT = Path(__file__).with_name("cluster.sh")
PARTITIONS = {
    "partitions": {
        "cpu": {"max_runtime": 1440, "max_mem_mb": 256000, "max_cpus_per_task": 8},
        "gpu": {"max_runtime": 2880, "max_mem_mb": 256000, "max_cpus_per_task": 8, "max_gpu": 4},
    }
}


class Cluster:
    """What an administrator, or bad luck, does to a cluster."""

    def __init__(self, partitions: Path) -> None:
        self.partitions = partitions

    def __call__(self, command: str) -> None:
        """Run cluster.sh COMMAND."""
        subprocess.run([SCRIPT, command], check=True, stdout=subprocess.DEVNULL, timeout=600)

    def arguments(self, *more: str) -> list[str]:
        """Return Snakemake's arguments: the profile as shipped, this cluster's partitions, and no patience."""
        return [
            "--profile", str(SCRIPT.parents[2] / "profiles" / "slurm"),
            "--slurm-partition-config", str(self.partitions),
            "--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "20", *more,
        ]  # fmt: skip

    def jobs(self, rule: str) -> dict[str, str]:
        """Return the id and state of every job of a rule that SLURM's accounting knows, in order."""
        output = subprocess.run(
            ["sacct", "--allocations", "--duplicates", "--noheader", "--parsable2", "--format", "JobID,State,Comment"],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        rows = [line.split("|") for line in output.splitlines()]
        return {job: state.split()[0] for job, state, comment in rows if comment.startswith(f"rule_{rule}_")}

    def running(self, rule: str, but: tuple[str, ...] = (), seconds: float = 120) -> str:
        """Wait until a job of a rule runs, none of those in `but`; return its id."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in subprocess.run(
                ["squeue", "--noheader", "--states", "RUNNING", "--format", "%i %k"],
                check=True, capture_output=True, text=True,
            ).stdout.splitlines():  # fmt: skip
                job, comment = line.split(maxsplit=1)
                if comment.startswith(f"rule_{rule}_") and job not in but:
                    return job
            time.sleep(0.3)
        raise AssertionError(f"no job of rule {rule} started in {seconds} s: {self.jobs(rule)}")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A cluster of one node with four GPUs that are not there."""
    if not os.environ.get("LOREBRIDGE_SLURM"):
        pytest.skip("needs a SLURM of its own: make test-slurm")
    partitions = tmp_path_factory.mktemp("cluster") / "partitions.yaml"
    partitions.write_text(yaml.safe_dump(PARTITIONS))
    cluster = Cluster(partitions)
    cluster("install")
    cluster("start")
    yield cluster
    cluster("stop")
