"""Runs as a cluster starts them: through torchrun, in two processes, killed and stopped from outside."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from lorebridge import cli
from lorebridge.work import locked

SCRIPT = Path(__file__).with_name("train_once.py")
pytestmark = pytest.mark.slow


def launch(study, folder, *extra):
    """Run the script in two processes; return the exit status and what they said."""
    folder.mkdir(parents=True, exist_ok=True)
    arguments = folder / "arguments.json"
    values = {**study, "out": folder / "out", "work": folder / "work"}
    arguments.write_text(json.dumps(values, default=str))
    torchrun = [
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "--shutdown-timeout=600",
        "--signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1",
    ]
    done = subprocess.run(
        [sys.executable, "-m", *torchrun, str(SCRIPT), str(arguments), *extra],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stderr


def saved_steps(folder):
    return [json.loads(path.read_text())["step"] for path in (folder / "work").glob("state-*/state.json")]


def test_resume_after_sigkill_is_exact(study, of_two, tmp_path, assert_same_bytes):
    status, err = launch(study, tmp_path, "5", "SIGKILL")
    assert status != 0 and not (tmp_path / "out").exists(), err
    assert max(saved_steps(tmp_path)) == 4, err  # the interval is 2
    status, err = launch(study, tmp_path)
    assert status == 0, err
    assert_same_bytes(of_two, tmp_path)


def test_a_signal_to_torchrun_is_passed_on_and_the_state_is_saved(study, tmp_path):
    status, err = launch(study, tmp_path, "3", "SIGUSR1", "launcher")
    assert status != 0 and max(saved_steps(tmp_path)) == 3, err
    assert err.count("stopped at step 3 of 8 by ") == 1


def test_one_clear_error_from_all_processes(study, tmp_path):
    with locked(tmp_path / "work"):
        status, err = launch(study, tmp_path)
    assert status != 0 and not (tmp_path / "out").exists()
    assert "Busy: " in err and err.count(f"in use by host {platform.node()}, process {os.getpid()}") == 2
    assert "RuntimeError" not in err


def test_torchrun_takes_no_option_of_training_for_its_own():
    """Its parser reads on behind the module's name, and completes what begins one of its options."""
    from torch.distributed.run import get_args_parser

    train = cli._parser()._subparsers._group_actions[0].choices["train"]
    ours, theirs = (
        {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
        for parser in (train, get_args_parser())
    )
    assert not [(one, other) for one in ours - {"--help"} for other in theirs if other.startswith(one)]
