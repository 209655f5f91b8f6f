"""What goes wrong on a cluster, made to go wrong on a real one: nothing is lost, and nothing is mended by hand.

Each test trains one run that takes a while, does something to it, and compares what comes out with a run that nothing
happened to, byte for byte.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

pytestmark = pytest.mark.slow

RUN = "results/tiny/models/ko/bridge/s0"
STEPS = 400


@pytest.fixture(scope="module")
def long(cluster, finished, tmp_path_factory):
    """The finished study with a longer continual phase, not trained yet; its bridge arm takes half a minute."""
    study = finished.copy(tmp_path_factory.mktemp("long") / "study")
    study.config["training"]["continual"] |= {"steps": STEPS, "checkpoints": {"every": 100, "early": []}}
    study.config["compute"] |= {"resume_interval": 20}
    study.write()
    study.run("results/tiny/order/ko-bridge-s0.parquet")
    return study


@pytest.fixture(scope="module")
def undisturbed(long, tmp_path_factory):
    """The bytes of every checkpoint of the run that nothing happens to."""
    study = long.copy(tmp_path_factory.mktemp("undisturbed") / "study")
    study.run(f"{RUN}/record.json")
    return checkpoints(study)


def checkpoints(study):
    found = {
        path.relative_to(study.folder): path.read_bytes() for path in (study.folder / RUN).rglob("model.safetensors")
    }
    assert len(found) == STEPS // 100 + 1
    return found


@pytest.fixture
def study(long, tmp_path):
    return long.copy(tmp_path / "study")


@pytest.fixture
def started(study, cluster):
    """Starts Snakemake on the cluster and waits until the trainer has saved its state once."""

    def start(**compute):
        study.config["compute"] |= compute
        study.write()
        arguments = cluster.arguments(f"{RUN}/record.json")
        process = subprocess.Popen(
            study.command(*arguments), env=study.environment(), stdout=(study.folder / "out.log").open("w"),
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        processes.append(process)
        job = cluster.running("train")
        return process, job

    processes: list[subprocess.Popen] = []
    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    subprocess.run(["scancel", "--full", "--user", "root"], check=True)


def state_of(study):
    """Wait until the run has saved a resume state."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if list((study.folder / "work").glob("tiny/ko-bridge-s0/*/state-*/state.json")):
            return
        time.sleep(0.2)
    raise AssertionError("the trainer saved no state in 120 s")


def succeeded(process, study, seconds=600):
    process.wait(timeout=seconds)
    output = (study.folder / "out.log").read_text()
    assert process.returncode == 0, output[-4000:]
    return output


def resumed(study):
    """Whether the last try went on from a saved state."""
    return "going on after step" in (study.folder / "results/tiny/logs/train/ko-bridge-s0.log").read_text()


def test_a_killed_trainer_is_submitted_again_and_goes_on(study, started, undisturbed):
    process, _ = started()
    state_of(study)
    subprocess.run(["pkill", "--signal", "KILL", "--full", "lorebridge.cli train"], check=True)
    succeeded(process, study)
    assert resumed(study)
    assert checkpoints(study) == undisturbed


def test_a_requeued_job_goes_on(study, started, cluster, undisturbed):
    """What preemption does: SIGTERM, and the job back in the queue."""
    process, job = started()
    state_of(study)
    subprocess.run(["scontrol", "requeue", job], check=True)
    succeeded(process, study)
    assert resumed(study)
    assert checkpoints(study) == undisturbed


def test_a_time_limit_stops_cleanly_and_the_next_try_goes_on(study, started, cluster, undisturbed):
    process, _ = started(train_minutes=1)
    succeeded(process, study)
    states = cluster.jobs("train")
    assert "TIMEOUT" not in list(states.values())[-2:], "the trainer should have stopped itself before its limit"
    assert checkpoints(study) == undisturbed


def test_out_of_memory_is_submitted_again_with_more(study, started, cluster, undisturbed):
    """500 MB are too few to import torch and train; twice as many will do."""
    process, first = started(memory_mb=500)
    succeeded(process, study)
    jobs = list(cluster.jobs("train"))
    tried = jobs[jobs.index(first) :]
    asked = subprocess.run(
        ["sacct", "--jobs", ",".join(tried), "--allocations", "--noheader", "--parsable2", "--format", "ReqMem"],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert len(asked) > 1
    assert asked[:2] == ["500M", "1000M"]
    assert checkpoints(study) == undisturbed


def test_a_node_that_goes_down_and_comes_back(study, started, cluster, undisturbed):
    process, _ = started()
    state_of(study)
    cluster("node-down")
    time.sleep(20)  # longer than SlurmdTimeout: the controller gives the node up
    cluster("node-up")
    succeeded(process, study)
    assert checkpoints(study) == undisturbed


def test_the_controller_restarts_while_a_job_runs(study, started, cluster, undisturbed):
    process, _ = started()
    state_of(study)
    cluster("controller-down")
    time.sleep(5)
    cluster("controller-up")
    succeeded(process, study)
    assert checkpoints(study) == undisturbed


def test_snakemake_is_killed_and_started_again_while_its_job_runs(study, started, cluster, undisturbed):
    """The new Snakemake knows nothing of the job and submits another: the lock keeps two from training at once."""
    process, first = started()
    state_of(study)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    study.snakemake("--unlock")
    again, _ = started()
    succeeded(again, study)
    jobs = cluster.jobs("train")
    assert jobs[first] == "COMPLETED"
    assert checkpoints(study) == undisturbed
    assert study.planned(*cluster.arguments(f"{RUN}/record.json")) == {}


def test_two_invocations_at_once(study, started, undisturbed):
    """The second stops at Snakemake's own lock and says so; the first is not disturbed."""
    process, _ = started()
    output = study.snakemake("--cores", "1", f"{RUN}/record.json", check=False)
    assert "lock" in output.lower()
    succeeded(process, study)
    assert checkpoints(study) == undisturbed


def test_a_disk_that_fills_while_checkpoints_are_written(study, started, undisturbed):
    """Work and results on a small disk; room is made, and the next try goes on."""
    disk = study.folder / "work"
    disk.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "lorebridge-test", disk], check=True)
    try:
        process, _ = started()
        time.sleep(1)
        log = study.folder / "results/tiny/logs/train/ko-bridge-s0.log"
        deadline = time.monotonic() + 120
        while "cannot be written" not in (log.read_text() if log.exists() else "") and time.monotonic() < deadline:
            time.sleep(0.3)
        assert "Make room and run again" in log.read_text()
        subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
        succeeded(process, study)
        assert checkpoints(study) == undisturbed
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
