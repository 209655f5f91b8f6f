"""What goes wrong on a cluster, made to go wrong on a real one: nothing is lost, and nothing is mended by hand.

Each test trains one run that takes a while, does something to it, and compares what comes out with a run that nothing
happened to, byte for byte. docs/reliability.md tells the outcomes.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from real_cluster import printed, soon
from safetensors.numpy import load

pytestmark = pytest.mark.slow

RUN = "results/tiny/models/continual/ko-bridge-s0"
RECORD = f"{RUN}/record.json"
SCORES = "results/tiny/probes/scores/ko-bridge-s0.parquet"
STEPS, EVERY = 400, 100


@pytest.fixture(scope="module")
def long(local, tmp_path_factory):
    """The finished study with a longer continual phase, not trained yet."""
    study = local.copy(tmp_path_factory.mktemp("long") / "study")
    study.config["training"]["continual"] |= {"steps": STEPS, "checkpoints": {"every": EVERY, "early": []}}
    study.config["compute"] |= {"resume_interval": 20}
    study.write()
    study.run("results/tiny/order/ko-bridge-s0.parquet")
    return study


@pytest.fixture(scope="module")
def undisturbed(long, tmp_path_factory):
    """The bytes of every checkpoint of the run that nothing happens to."""
    study = long.copy(tmp_path_factory.mktemp("undisturbed") / "study")
    study.run(RECORD)
    return published(study)


def published(study):
    """Return the bytes of what a run publishes."""
    folder = study.folder / RUN
    files = [folder / "metrics.parquet", *(folder / f"step{n}/model.safetensors" for n in range(0, STEPS + 1, EVERY))]
    return {path.relative_to(folder): path.read_bytes() for path in files}


@pytest.fixture
def study(long, tmp_path):
    return long.copy(tmp_path / "study")


@pytest.fixture
def started(study, cluster):
    """Starts Snakemake on the cluster and waits until a job trains; gives Snakemake's process and the job."""
    processes: list[subprocess.Popen] = []

    def start(*targets, **compute):
        study.config["compute"] |= compute
        study.write()
        before = tuple(cluster.jobs("train_continual"))
        with (study.folder / "out.log").open("w") as output:
            processes.append(
                subprocess.Popen(
                    study.command(*cluster.arguments(RECORD, *targets)),
                    env=study.environment(),
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    # What runs in the background of a script, as tests may, ignores Ctrl-C, and so do its children.
                    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                )
            )
        return processes[-1], cluster.running("train_continual", but=before)

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    cluster.clear()


def log_of(study):
    path = study.folder / "results/tiny/logs/train/ko-bridge-s0.log"
    return path.read_text() if path.exists() else ""


def trainer(study):
    """Wait until a trainer has saved its state; return its process id, which its lock names."""
    work = study.folder / "work/tiny/ko-bridge-s0"
    soon(lambda: list(work.glob("*/state-*/state.json")), "a saved state")
    (lock,) = work.glob("*/lock")
    return int(re.search(r"process (\d+)", lock.read_text()).group(1))


def succeeded(process, study):
    process.wait(timeout=300)
    output = (study.folder / "out.log").read_text()
    assert process.returncode == 0, output[-4000:]


def goes_on(study):
    """Whether the last try went on from a saved state."""
    return "going on after step" in log_of(study)


def test_a_killed_trainer_is_submitted_again_and_goes_on(study, started, cluster, undisturbed):
    process, first = started()
    os.kill(trainer(study), signal.SIGKILL)
    succeeded(process, study)
    assert cluster.jobs("train_continual")[first] == "FAILED"
    assert goes_on(study)
    assert published(study) == undisturbed


def test_a_preempted_job_goes_on(study, started, cluster, undisturbed):
    """What preemption does: SIGTERM, and the job back in the queue. Snakemake follows it there."""
    process, job = started()
    trainer(study)
    subprocess.run(["scontrol", "requeue", job], check=True)
    succeeded(process, study)
    assert list(cluster.jobs("train_continual"))[-1] == job, "the same job, not another"
    assert goes_on(study)
    assert published(study) == undisturbed


def test_a_job_goes_on_that_a_more_urgent_one_takes_the_place_of(study, started, cluster, undisturbed):
    """Preemption by SLURM itself, for a job of a partition that comes first and needs both nodes."""
    process, job = started()
    trainer(study)
    urgent = ["sbatch", "--wait", "--partition", "urgent", "--exclusive", "--nodes", "2", "--output", "/dev/null"]
    subprocess.run([*urgent, "--wrap", "sleep 1"], check=True, timeout=120)
    succeeded(process, study)
    assert list(cluster.jobs("train_continual"))[-1] == job, "the same job, not another"
    assert "Restarts=1" in "\n".join(printed("scontrol", "show", "job", job))
    assert goes_on(study)
    assert published(study) == undisturbed


def test_ctrl_c_cancels_the_jobs_and_other_gpus_go_on_with_them(study, started, cluster, undisturbed):
    """Two processes begin, one goes on: the same batches, their sums in another order."""
    process, first = started(gpus=2, threads=1)
    trainer(study)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) != 0
    soon(lambda: cluster.jobs("train_continual")[first] == "CANCELLED", "the job is cancelled")
    again, _ = started(gpus=1)
    succeeded(again, study)
    assert goes_on(study)
    theirs = published(study)
    assert theirs.keys() == undisturbed.keys()
    last = f"step{STEPS}/model.safetensors"
    ours, alone = (load(found[Path(last)]) for found in (theirs, undisturbed))
    for name, weights in ours.items():
        np.testing.assert_allclose(weights, alone[name], atol=0.02, err_msg=name)


def test_sigterm_lets_running_jobs_end_and_starts_no_other(study, started, cluster, undisturbed):
    process, job = started(SCORES)
    trainer(study)
    process.terminate()
    assert process.wait(timeout=300) != 0
    assert "Will exit after finishing currently running jobs" in (study.folder / "out.log").read_text()
    assert cluster.jobs("train_continual")[job] == "COMPLETED"
    assert published(study) == undisturbed
    assert study.planned(*cluster.arguments(RECORD, SCORES)) == {"score": 1}


def test_a_time_limit_stops_cleanly_and_the_next_try_goes_on(study, started, cluster, undisturbed):
    """A job of a minute is over before it trains much; the next gets two."""
    process, first = started(train_minutes=1)
    succeeded(process, study)
    jobs = cluster.jobs("train_continual")
    tries = list(jobs)[list(jobs).index(first) :]
    assert [jobs[job] for job in tries] == ["FAILED", "COMPLETED"], "it stops itself, before its limit"
    assert [cluster.asked(job, "TimelimitRaw") for job in tries] == ["1", "2"]
    assert goes_on(study)
    assert published(study) == undisturbed


def test_out_of_memory_is_submitted_again_with_more(study, started, cluster, undisturbed):
    """500 MB are too few to import torch and train."""
    process, first = started(memory_mb=500)
    succeeded(process, study)
    jobs = cluster.jobs("train_continual")
    tries = list(jobs)[list(jobs).index(first) :]
    # Its state is FAILED, because SLURM ends the step and Snakemake, which waits for that, the job.
    (log,) = (study.folder / "logs" / "slurm" / "rule_train_continual").rglob(f"{first}.log")
    assert "exceeded memory limit" in log.read_text()
    assert [cluster.asked(job, "ReqMem") for job in tries] == ["500M", "1000M", "1500M"][: len(tries)]
    assert published(study) == undisturbed


def test_a_node_that_goes_down_and_comes_back(study, started, cluster, undisturbed):
    """As in a power cut. SLURM gives the node up and starts the job on another."""
    process, job = started()
    trainer(study)
    node = cluster.asked(job, "NodeList")
    cluster("node-down", node)
    soon(lambda: "down" in printed("sinfo", "--noheader", "--nodes", node, "--format", "%T")[0], f"{node} given up")
    cluster("node-up", node)
    succeeded(process, study)
    assert goes_on(study)
    assert published(study) == undisturbed


def test_the_controller_restarts_while_a_job_runs(study, started, cluster, undisturbed):
    process, job = started()
    trainer(study)
    cluster("controller-down")
    cluster("controller-up")
    succeeded(process, study)
    assert list(cluster.jobs("train_continual"))[-1] == job, "no other was needed"
    assert published(study) == undisturbed


def test_accounting_that_is_down_for_a_while_is_asked_again(
    study, started, cluster, undisturbed, monkeypatch, tmp_path
):
    """As often as it takes; with the executor's own settings five queries that fail lose the job."""
    down, asked, real = tmp_path / "down", tmp_path / "asked", shutil.which("sacct")
    wrapper = tmp_path / "bin" / "sacct"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\n[ -e {down} ] || exec {real} "$@"\necho >>{asked}\nexit 1\n')
    wrapper.chmod(0o755)
    environment = study.environment()
    monkeypatch.setattr(study, "environment", lambda: environment | {"PATH": f"{wrapper.parent}:{environment['PATH']}"})
    process, job = started()
    trainer(study)
    down.touch()
    soon(lambda: asked.exists() and len(asked.read_text()) > 8, "eight queries that fail")
    down.unlink()
    succeeded(process, study)
    assert list(cluster.jobs("train_continual"))[-1] == job, "no other was needed"
    assert published(study) == undisturbed


def test_snakemake_is_killed_and_started_again_while_its_job_runs(study, started, cluster, undisturbed):
    """The new Snakemake knows nothing of the job and submits another: the lock keeps two from training at once."""
    process, first = started()
    training = trainer(study)
    os.kill(training, signal.SIGSTOP)  # as if it took hours
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    study.snakemake("--unlock")
    again, second = started()
    soon(lambda: f"SLURM job {first}; waiting for it" in log_of(study), "the second waits for the first")
    os.kill(training, signal.SIGCONT)
    succeeded(again, study)
    jobs = cluster.jobs("train_continual")
    assert (jobs[first], jobs[second]) == ("COMPLETED", "COMPLETED")
    assert published(study) == undisturbed
    assert study.planned(*cluster.arguments(RECORD)) == {}


def test_two_invocations_at_once(study, started, cluster, undisturbed):
    """The second stops at Snakemake's own lock and says so; the first is not disturbed."""
    process, job = started()
    output = study.snakemake(*cluster.arguments(RECORD), check=False)
    assert "Directory cannot be locked" in output
    succeeded(process, study)
    assert list(cluster.jobs("train_continual"))[-1] == job
    assert published(study) == undisturbed


def test_a_disk_that_fills_while_checkpoints_are_written(study, started, undisturbed):
    """The state lies on a disk that is full; room is made while the job is tried again, and it goes on."""
    disk = study.folder / "work"
    disk.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=900k", "lorebridge-test", disk], check=True)
    process, _ = started()
    soon(lambda: "Make room and run again" in log_of(study), "a full disk")
    subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
    succeeded(process, study)
    assert published(study) == undisturbed
