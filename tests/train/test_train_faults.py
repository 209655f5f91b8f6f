"""Whatever befalls a run, and when: the next try gives what an undisturbed run gives, to the bit."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from safetensors.torch import load_file
from victim import Fate, batches, launch

from lorebridge import tables

STOPS = ("SIGTERM", "SIGINT", "SIGUSR1", "budget")


@pytest.fixture(scope="session")
def whole(study, reference, tmp_path_factory, assert_same_bytes):
    """Return the folder of an undisturbed run and how many file operations it makes."""
    folder = tmp_path_factory.mktemp("whole")
    assert launch(study, folder) == [0]
    assert_same_bytes(reference[0], folder)
    return folder, int((folder / "operations").read_text())


fates = st.one_of(
    st.builds(Fate, st.just("SIGKILL"), operation=st.floats(0, 1)),
    st.builds(Fate, st.just("SIGKILL"), step=st.integers(1, 7)),
    st.builds(Fate, st.sampled_from(STOPS), step=st.integers(1, 7)),
)


@settings(max_examples=8, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=st.lists(fates, min_size=1, max_size=3))
def test_any_interruptions_leave_the_run_as_it_is(study, whole, tmp_path_factory, assert_same_bytes, plan):
    folder = tmp_path_factory.mktemp("tries")
    for fate in plan:
        if fate.operation is not None:
            fate = Fate("SIGKILL", operation=1 + int(fate.operation * (whole[1] - 1)))
        start = saved_step(folder)
        (status,) = launch(study, folder, fate)
        expected = -9 if fate.what == "SIGKILL" else 75
        # A try that goes on near the end comes to no later step, and makes fewer file operations.
        passed_by = start >= fate.step if fate.step else start > 0 and status == 0
        assert status == (0 if passed_by else expected), (folder / "stderr").read_text()
        if status == 75:
            assert saved_step(folder) == fate.step
            by = "the wall-clock budget" if fate.what == "budget" else fate.what
            assert f"base-s0: stopped at step {fate.step} of 8 by {by}; run again" in (folder / "stderr").read_text()
    assert launch(study, folder) == [0]
    assert_same_bytes(whole[0], folder)
    assert batches(folder) == batches(whole[0])


def saved_step(folder):
    """Return the step of the newest resume state, or 0."""
    states = (folder / "work").glob("state-*/state.json")
    return max((json.loads(path.read_text())["step"] for path in states), default=0)


def test_two_processes_differ_from_one_in_rounding_only(reference, of_two):
    one, two = reference[2], tables.read(of_two / "out" / "metrics.parquet")
    for column in ("loss", "grad_norm"):
        assert one[column].tolist() == pytest.approx(two[column].tolist(), rel=1e-3)
    assert one[["tokens", "target_tokens", "learning_rate"]].equals(two[["tokens", "target_tokens", "learning_rate"]])


@pytest.mark.slow
@pytest.mark.parametrize(
    "fate",
    [
        Fate("SIGKILL", step=5, rank=1),
        Fate("SIGKILL", operation=60),
        Fate("SIGTERM", step=3, rank=1),
        Fate("budget", step=6, rank=1),
    ],
    ids=str,
)
def test_two_processes_resume_to_the_bit(study, of_two, tmp_path, assert_same_bytes, fate):
    statuses = launch(study, tmp_path, fate, processes=2)
    assert (tmp_path / "stderr").read_text().count("run again to resume") == (fate.what != "SIGKILL")
    assert statuses[fate.rank] == -9 if fate.what == "SIGKILL" else statuses == [75, 75]
    assert not (tmp_path / "out").exists()
    assert launch(study, tmp_path, processes=2) == [0, 0], (tmp_path / "stderr").read_text()
    assert_same_bytes(of_two, tmp_path)


@pytest.mark.slow
def test_two_processes_with_zero_resume_to_the_bit(study, tmp_path, assert_same_bytes):
    assert launch(study, tmp_path / "whole", processes=2, zero_stage=1) == [0, 0]
    assert launch(study, tmp_path / "parts", Fate("SIGKILL", step=5), processes=2, zero_stage=1)[0] == -9
    assert launch(study, tmp_path / "parts", processes=2, zero_stage=1) == [0, 0]
    assert_same_bytes(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [0, 2])
def test_the_number_of_processes_may_change_between_tries(study, reference, whole, tmp_path, zero_stage):
    changes = {"zero_stage": zero_stage}
    assert launch(study, tmp_path, Fate("SIGTERM", step=3), **changes) == [75]
    assert launch(study, tmp_path, Fate("SIGKILL", step=6), processes=2, **changes)[0] == -9
    assert launch(study, tmp_path, **changes) == [0], (tmp_path / "stderr").read_text()
    assert batches(tmp_path) == batches(whole[0])  # every row of every step, and what is in it
    metrics = tables.read(tmp_path / "out" / "metrics.parquet")
    assert metrics["target_tokens"].equals(reference[2]["target_tokens"])
    ours, theirs = final_moments(tmp_path), final_moments(whole[0])
    assert ours.keys() == theirs.keys()
    for name in ours:
        scale = theirs[name].abs().max().item()
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-3 * scale, msg=name)
    for column in ("loss", "grad_norm"):
        assert metrics[column].tolist() == pytest.approx(reference[2][column].tolist(), rel=1e-3)


def test_a_full_disk_stops_the_run_and_the_state_before_stands(study, whole, tmp_path, assert_same_bytes):
    assert launch(study, tmp_path, Fate("full disk", step=5)) == [1]
    said = (tmp_path / "stderr").read_text()
    assert "the state of step 6 cannot be written" in said and "File too large" in said
    assert "Make room and run again: it goes on from the state of step 4." in said
    assert [path.name for path in (tmp_path / "work").glob("state-*")] == ["state-b"]  # the room is given back
    assert launch(study, tmp_path) == [0]
    assert_same_bytes(whole[0], tmp_path)


def final_moments(folder):
    """Return AdamW's moments in the newest resume state."""
    newest = max((folder / "work").glob("state-*/state.json"), key=lambda p: json.loads(p.read_text())["step"])
    return load_file(newest.with_name("moments.safetensors"))


@pytest.fixture
def small_disk():
    """Return a function that mounts a file system of so many bytes, or changes the size of the one it mounted."""
    with tempfile.TemporaryDirectory() as path:
        mounted = []

        def resize(size):
            options = ["-o", f"{'remount,' if mounted else ''}size={size}"]
            done = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", path], capture_output=True)
            if done.returncode:
                pytest.skip("no right to mount a small file system")
            mounted.append(path)
            return Path(path)

        try:
            yield resize
        finally:
            if mounted:
                subprocess.run(["umount", path], check=True)


def test_no_space_left_for_a_checkpoint_or_state(study, whole, tmp_path, small_disk, assert_same_bytes):
    size = 350_000  # a checkpoint has 125 kB, a state 340 kB
    disk = small_disk(size)
    said = ""
    for _ in range(20):
        changes = {"work": disk / "work"}
        (status,) = launch(study, tmp_path, **changes)
        if status == 0:
            break
        assert status == 1
        said = (tmp_path / "stderr").read_text()
        assert "No space left on device" in said.splitlines()[-1]
        size += 150_000
        small_disk(size)
    assert "goes on from the beginning" in said and "goes on from the state of step" in said
    assert_same_bytes(whole[0], tmp_path)
    published = tmp_path / "out" / "step8" / "model.safetensors"
    assert published.stat().st_nlink == 1  # across file systems: copied


def test_without_any_whole_state_the_run_begins_again(study, whole, tmp_path, assert_same_bytes):
    assert launch(study, tmp_path, Fate("SIGKILL", step=5)) == [-9]
    for path in (tmp_path / "work").glob("state-*/weights.safetensors"):
        path.write_bytes(path.read_bytes()[:1000])
    assert launch(study, tmp_path) == [0]
    assert "falling back to the beginning" in (tmp_path / "stderr").read_text()
    assert_same_bytes(whole[0], tmp_path)


def test_killed_at_every_file_operation(tmp_path):
    script = Path(__file__).with_name("live_and_die.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    killed, same = map(int, done.stdout.split())
    assert killed == same > 100
