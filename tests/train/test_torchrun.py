"""Runs as a cluster starts them: through torchrun, in one and two processes, killed and stopped from outside."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lorebridge import tables

SCRIPT = Path(__file__).with_name("train_once.py")
TIMES = ["seconds", "tokens_per_second"]
pytestmark = pytest.mark.slow


def start(study, folder, *extra, processes=1, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    arguments = folder / "arguments.json"
    values = {**study, **changes, "out": folder / "out", "work": folder / "work"}
    arguments.write_text(json.dumps(values, default=str))
    launcher = (
        [] if processes == 0 else ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    )
    return subprocess.Popen(
        [sys.executable, *launcher, str(SCRIPT), str(arguments), *extra],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process):
    _, err = process.communicate(timeout=300)
    return process.returncode, err


def result(folder):
    metrics = tables.read(folder / "out" / "metrics.parquet").drop(columns=TIMES)
    return metrics, load_file(folder / "out" / "step8" / "model.safetensors")


def assert_same(one, two):
    assert one[0].equals(two[0])
    assert all(torch.equal(one[1][name], two[1][name]) for name in one[1])


@pytest.mark.parametrize("processes", [1, 2])
def test_resume_after_sigkill_is_exact(study, tmp_path, processes):
    code, err = finish(start(study, tmp_path / "whole", processes=processes))
    assert (tmp_path / "whole" / "out" / "metrics.parquet").exists(), err
    code, err = finish(start(study, tmp_path / "parts", "5", processes=processes))
    assert code != 0 and not (tmp_path / "parts" / "out").exists(), err
    steps = [json.loads(p.read_text())["step"] for p in (tmp_path / "parts" / "work").glob("state-*/state.json")]
    assert max(steps) == 4  # interval 2, killed after 5
    code, err = finish(start(study, tmp_path / "parts", processes=processes))
    assert_same(result(tmp_path / "whole"), result(tmp_path / "parts"))


def test_two_processes_differ_from_one_in_rounding_only(study, tmp_path):
    for processes in (0, 2):
        _, err = finish(start(study, tmp_path / str(processes), processes=processes))
        assert (tmp_path / str(processes) / "out" / "metrics.parquet").exists(), err
    one, two = result(tmp_path / "0"), result(tmp_path / "2")
    for column in ("loss", "grad_norm"):
        assert one[0][column].tolist() == pytest.approx(two[0][column].tolist(), rel=1e-3)
    assert one[0][["target_tokens", "learning_rate"]].equals(two[0][["target_tokens", "learning_rate"]])


def test_zero_in_two_processes_resumes_exactly_and_in_one_not_at_all(study, tmp_path):
    finish(start(study, tmp_path / "whole", processes=2, zero_stage=1))
    finish(start(study, tmp_path / "parts", "5", processes=2, zero_stage=1))
    code, err = finish(start(study, tmp_path / "parts", processes=0, zero_stage=1))
    assert code == 1 and "saved by 2 processes" in err
    finish(start(study, tmp_path / "parts", processes=2, zero_stage=1))
    assert_same(result(tmp_path / "whole"), result(tmp_path / "parts"))


@pytest.mark.parametrize(("processes", "number"), [(0, signal.SIGTERM), (0, signal.SIGINT), (2, signal.SIGTERM)])
def test_a_signal_stops_with_the_state_saved(study, tmp_path, processes, number):
    finish(start(study, tmp_path / "whole", processes=processes))
    process = start(study, tmp_path / "parts", processes=processes, resume_interval=1)
    states = tmp_path / "parts" / "work"
    while not list(states.glob("state-*/state.json")) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(number)
    code, err = finish(process)
    if not (tmp_path / "parts" / "out").exists():  # unless it was faster than the signal
        assert code == 75 or processes, err
        assert f"stopped at step" in err and number.name in err
    finish(start(study, tmp_path / "parts", processes=processes, resume_interval=1))
    assert_same(result(tmp_path / "whole"), result(tmp_path / "parts"))
