"""What Snakemake and SLURM add to the time of a study, by simulation from its plan.

    python benchmarks/overhead.py [--config FILE] [--gpus N ...] [--interval SECONDS ...]

Plays the graph of the plan twice, event by event: once where a job starts as soon as its inputs and GPUs are there, and
once as jobs go through `profiles/slurm`:

* Snakemake submits what is ready, at most `jobs` at a time and so many a timespan as the profile says.
* SLURM starts a job some seconds later, where GPUs are free.
* The job starts Snakemake once more (its time is measured here, on this study), and Python with torch.
* Snakemake notices the end of a job when it asks for the state of its jobs. The executor asks after `interval` seconds,
  then 10 s later each time up to 180 s, and anew from `interval` once a job has ended
  (snakemake-executor-plugin-slurm 2.8.0, `check_active_jobs`).

Training takes what the plan estimates; all other jobs are counted as taking no time at all, so that what is printed is
an upper limit of the share. Physical limit: 0.
"""

from __future__ import annotations

import argparse
import heapq
import math
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from dag import study as many_languages

from lorebridge import config, studies
from lorebridge.plan import Artifact, Plan
from lorebridge.plan.cost import Cost

ROOT = Path(__file__).parents[1]
ON_GPU = {"score", "random_models"}
GROWTH, LONGEST = 10.0, 180.0


class Cluster:
    """What the way through Snakemake and SLURM costs; all 0 where it costs nothing."""

    def __init__(self, interval: float = 0, wait: float = 0, start: float = 0) -> None:
        """Take seconds between questions for states, until SLURM starts a job, and until the job does its work."""
        profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text())
        count, span = profile["max-jobs-per-timespan"].removesuffix("s").split("/")
        self.jobs = profile["jobs"]
        self.spacing = float(span) / int(count) if interval else 0.0
        self.interval, self.wait, self.start = interval, wait, start


def graph(plan: Plan) -> tuple[dict[Artifact, float], dict[Artifact, set[Artifact]], dict[Artifact, int]]:
    """Return the seconds of each job, what it waits for, and its GPUs."""
    seconds, before, gpus = {}, {}, {}
    size = max(1, plan.config["compute"]["gpus"] * plan.config["compute"]["nodes"])
    cost = Cost(plan.study)
    trained = {model.artifact: model for model in plan.study.models.values()}
    for name in plan.walk():
        stage, wildcards = name[0], dict(name[1])
        before[name] = set(plan.inputs(stage, **wildcards))
        gpus[name] = 0
        seconds[name] = 0.0
        if stage in ON_GPU:
            gpus[name] = 1
        if name in trained:
            gpus[name] = size
            seconds[name] = 3600 * cost.hours(trained[name]) / size
    return seconds, before, gpus


def simulate(plan: Plan, n_gpus: int, cluster: Cluster) -> float:
    """Return the seconds until the last job is known to have ended."""
    seconds, before, gpus = graph(plan)
    left = {name: len(inputs) for name, inputs in before.items()}
    after: dict[Artifact, list[Artifact]] = {name: [] for name in before}
    for name, inputs in before.items():
        for one in inputs:
            after[one].append(name)
    ready = [name for name, n in left.items() if n == 0]  # in the order of the plan
    waiting: list[tuple[float, Artifact]] = []  # in SLURM's queue: (when it may start, job), first come first served
    running: list[tuple[float, Artifact]] = []
    ended: list[Artifact] = []  # not yet noticed
    free, now, submitted_at, in_flight, pause = n_gpus, 0.0, 0.0, 0, cluster.interval
    ask = cluster.interval or math.inf
    done = 0
    while done < len(before):
        while ready and in_flight < cluster.jobs:
            submitted_at = max(submitted_at + cluster.spacing, now)
            waiting.append((submitted_at + cluster.wait, ready.pop(0)))
            in_flight += 1
        for entry in list(waiting):
            begin, name = entry
            if begin <= now and gpus[name] <= free:
                waiting.remove(entry)
                free -= gpus[name]
                heapq.heappush(running, (now + cluster.start + seconds[name], name))
            elif begin <= now and gpus[name] > 1:
                break  # a job that needs many GPUs is not overtaken for ever
        times = [running[0][0]] if running else []
        times += [begin for begin, _ in waiting if begin > now]
        times += [ask] if ask < math.inf else []
        now = max(now, min(times))
        while running and running[0][0] <= now:
            _, name = heapq.heappop(running)
            free += gpus[name]
            ended.append(name)
        if ask == math.inf or now >= ask:
            pause = cluster.interval if ended else min(pause + GROWTH, max(LONGEST, cluster.interval))
            ask = now + pause if ask < math.inf else ask
            for name in ended:
                done, in_flight = done + 1, in_flight - 1
                for follower in after[name]:
                    left[follower] -= 1
                    if not left[follower]:
                        ready.append(follower)
            ended = []
    return now


def started(configuration: Path) -> float:
    """Measure the seconds that Snakemake takes to read this study, as every job does, and Python to import torch."""
    began = time.perf_counter()
    environment = dict(os.environ, PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    read = ["snakemake", "-n", "--quiet", "all", "--configfile", str(configuration)]
    subprocess.run(read, cwd=ROOT, env=environment, check=True, capture_output=True)
    subprocess.run([sys.executable, "-c", "import torch, transformers, deepspeed"], check=True, capture_output=True)
    return time.perf_counter() - began


PAPERS = ("model", "training", "compute", "tokenizer", "template")
"""Keys that the large study has as the paper's."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "config" / "config.yaml")
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--interval", type=float, nargs="+", default=[40, 10], help="the executor's own is 40")
    parser.add_argument("--wait", type=float, default=10, help="seconds until SLURM starts a job whose GPUs are free")
    arguments = parser.parse_args()
    paper = config.load(arguments.config)
    large: dict[str, Any] = many_languages(20, 5, 20) | {key: paper[key] for key in PAPERS}
    plans = {
        paper["study"]: studies.plan(paper),
        "20 languages × 5 arms × 5 seeds": studies.plan(config.check(large, name="large")),
    }
    start = started(arguments.config)
    print(
        "| study | GPUs | jobs | training alone | "
        + " | ".join(f"added, asking from {interval:.0f} s" for interval in arguments.interval)
        + " |"
    )
    print("|---|---|---|---|" + "---|" * len(arguments.interval))
    for name, plan in plans.items():
        jobs = sum(1 for _ in plan.walk())
        for n_gpus in arguments.gpus:
            ideal = simulate(plan, n_gpus, Cluster())
            added = [
                simulate(plan, n_gpus, Cluster(interval, arguments.wait, start)) - ideal
                for interval in arguments.interval
            ]
            cells = " | ".join(f"{seconds / 60:.1f} min, {100 * seconds / ideal:.2f} %" for seconds in added)
            print(f"| {name} | {n_gpus} | {jobs:,} | {ideal / 3600:.1f} h | {cells} |")
    print(
        f"\n`{' '.join(['python', *sys.argv])}` on {platform.processor() or platform.machine()}; a job takes "
        f"{arguments.wait:.0f} s to be started and {start:.1f} s (measured here) to begin its work."
    )


if __name__ == "__main__":
    main()
