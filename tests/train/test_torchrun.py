"""Runs as a cluster starts them: through torchrun, in one and two processes, killed and stopped from outside."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.train.loop import train
from lorebridge.train.work import WorkDirectory

SCRIPT = Path(__file__).with_name("train_once.py")
pytestmark = pytest.mark.slow


def launch(study, folder, *extra, processes, **changes):
    """Run the script; return the exit status and what it said. Without `processes` no torchrun is in between."""
    folder.mkdir(parents=True, exist_ok=True)
    arguments = folder / "arguments.json"
    values = {**study, **changes, "out": folder / "out", "work": folder / "work"}
    arguments.write_text(json.dumps(values, default=str))
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes else []
    done = subprocess.run(
        [sys.executable, *torchrun, str(SCRIPT), str(arguments), *extra],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True, timeout=300,
    )  # fmt: skip
    return done.returncode, done.stderr


def saved_steps(folder):
    return [json.loads(path.read_text())["step"] for path in (folder / "work").glob("state-*/state.json")]


@pytest.fixture(scope="session")
def of_two(study, tmp_path_factory):
    """Return the folder of a run of two processes that nothing interrupts."""
    folder = tmp_path_factory.mktemp("of_two")
    status, err = launch(study, folder, processes=2)
    assert status == 0, err
    return folder


@pytest.mark.parametrize("processes", [1, 2])
def test_resume_after_sigkill_is_exact(study, reference, tmp_path, assert_same_run, processes, request):
    whole = reference[0] if processes == 1 else request.getfixturevalue("of_two")
    status, err = launch(study, tmp_path, "5", "SIGKILL", processes=processes)
    assert status != 0 and not (tmp_path / "out").exists(), err
    assert max(saved_steps(tmp_path)) == 4, err  # the interval is 2
    status, err = launch(study, tmp_path, processes=processes)
    assert status == 0, err
    assert_same_run(whole, tmp_path)


def test_two_processes_differ_from_one_in_rounding_only(reference, of_two):
    one, two = reference[2], tables.read(of_two / "out" / "metrics.parquet")
    for column in ("loss", "grad_norm"):
        assert one[column].tolist() == pytest.approx(two[column].tolist(), rel=1e-3)
    assert one[["tokens", "target_tokens", "learning_rate"]].equals(two[["tokens", "target_tokens", "learning_rate"]])


def test_zero_in_two_processes_resumes_exactly_and_in_one_not_at_all(study, tmp_path, assert_same_run):
    launch(study, tmp_path / "whole", processes=2, zero_stage=1)
    launch(study, tmp_path / "parts", "5", "SIGKILL", processes=2, zero_stage=1)
    with pytest.raises(InputError, match="saved by 2 processes"):
        train(**{**study, "zero_stage": 1}, out=tmp_path / "parts" / "out", work=tmp_path / "parts" / "work")
    status, err = launch(study, tmp_path / "parts", processes=2, zero_stage=1)
    assert status == 0, err
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_signal_stops_with_the_state_saved(study, reference, tmp_path, assert_same_run, number):
    status, err = launch(study, tmp_path, "3", number, processes=0)
    assert status == 75, err
    assert f"base-s0: stopped at step 3 of 8 by {number}; run again to resume" in err
    train(**study, out=tmp_path / "out", work=tmp_path / "work")
    assert_same_run(reference[0], tmp_path)


def test_a_signal_to_one_process_stops_all_at_the_same_step(study, tmp_path):
    status, err = launch(study, tmp_path, "3", "SIGTERM", processes=2)
    assert status != 0 and max(saved_steps(tmp_path)) == 3, err
    assert err.count("stopped at step 3 of 8 by SIGTERM") == 1


def test_one_clear_error_from_all_processes(study, tmp_path):
    with WorkDirectory(tmp_path / "work").lock():
        status, err = launch(study, tmp_path, processes=2)
    assert status != 0 and not (tmp_path / "out").exists()
    assert "Busy: " in err and err.count(f"in use by host {platform.node()}, process {os.getpid()}") == 2
    assert "RuntimeError" not in err
