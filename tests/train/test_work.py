"""The work directory: lock, alternating states, checkpoints, publication."""

import errno
import os
import subprocess
import sys

import pytest

from lorebridge import tables
from lorebridge.errors import Busy, InputError
from lorebridge.records import file_digest
from lorebridge.train.work import WorkDirectory, clean_work

IDENTITY = {"recipe": "r1", "order": "o1", "tokenizer": "t1"}


def rows(step):
    name = {"run": "ko-bridge-s0", "learned": "ko", "arm": "bridge", "seed": 0}
    numbers = [field for field in tables.SCHEMAS["metrics"].names if field not in name]
    return [{**name, **{field: 0.1 * i if field == "loss" else i for field in numbers}} for i in range(1, step + 1)]


def save(directory, step):
    folder = directory.begin_state()
    (folder / "weights.safetensors").write_text(f"weights at {step}")
    files = {"weights.safetensors": file_digest(folder / "weights.safetensors")}
    directory.finish_state(folder, step=step, identity=IDENTITY, world=1, seconds=0.5, metrics=rows(step), files=files)
    return folder


def checkpoint(directory, step):
    partial = directory.begin_checkpoint(step)
    partial.mkdir()
    (partial / "model.safetensors").write_text(f"weights at {step}")
    (partial / "config.json").write_text("{}")
    directory.finish_checkpoint(partial, step)


def finished(path, out):
    directory = WorkDirectory(path)
    checkpoint(directory, 0)
    checkpoint(directory, 5)
    save(directory, 5)
    (path / "metrics.parquet").write_text("metrics")
    return directory.publish(out, [0, 5])


def test_states_alternate_and_the_newest_is_found(tmp_path):
    directory = WorkDirectory(tmp_path)
    assert directory.newest_state(IDENTITY) is None
    folders = [save(directory, step) for step in (10, 20, 30)]
    assert folders[0] == folders[2] != folders[1]
    slot = directory.newest_state(IDENTITY)
    assert (slot.step, slot.folder, slot.world, slot.metrics) == (30, folders[2], 1, rows(30))


def test_a_torn_state_falls_back_and_the_good_one_is_not_written_over(tmp_path):
    directory = WorkDirectory(tmp_path)
    good, torn = save(directory, 10), save(directory, 20)
    (torn / "weights.safetensors").write_text("weig")
    assert directory.newest_state(IDENTITY).step == 10
    assert directory.begin_state() == torn != good
    assert directory.newest_state(IDENTITY).step == 10


@pytest.mark.parametrize("damage", ["missing json", "torn json", "missing tensors"])
def test_every_kind_of_torn_state_falls_back(tmp_path, damage):
    directory = WorkDirectory(tmp_path)
    save(directory, 10)
    torn = save(directory, 20)
    if damage == "torn json":
        (torn / "state.json").write_text((torn / "state.json").read_text()[:40])
    else:
        (torn / {"missing json": "state.json", "missing tensors": "weights.safetensors"}[damage]).unlink()
    assert directory.newest_state(IDENTITY).step == 10


def test_a_state_being_written_is_not_taken(tmp_path):
    directory = WorkDirectory(tmp_path)
    save(directory, 10)
    (directory.begin_state() / "weights.safetensors").write_text("half")
    assert directory.newest_state(IDENTITY).step == 10


@pytest.mark.parametrize("name", list(IDENTITY))
def test_a_state_of_something_else_is_refused(tmp_path, name):
    save(WorkDirectory(tmp_path), 10)
    with pytest.raises(InputError, match=f"state.json: saved at step 10 with another {name} .*delete"):
        WorkDirectory(tmp_path).newest_state({**IDENTITY, name: "other"})


def test_lock_names_its_holder(tmp_path):
    with WorkDirectory(tmp_path).lock():
        with pytest.raises(Busy, match=f"process {os.getpid()}"), WorkDirectory(tmp_path).lock():
            pass
        with pytest.raises(Busy):
            clean_work(tmp_path, tmp_path / "out")
    with WorkDirectory(tmp_path).lock():
        pass


def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(InputError, match="keeps no locks"), WorkDirectory(tmp_path).lock():
        pass


def test_lock_of_a_killed_process_is_free(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from lorebridge.train.work import WorkDirectory\n"
        "with WorkDirectory(Path(sys.argv[1])).lock(): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -9
    with WorkDirectory(tmp_path).lock():
        assert f"process {os.getpid()}" in (tmp_path / "lock").read_text()


def test_published_files_are_links_and_replace_leftovers(tmp_path):
    out = tmp_path / "out"
    (out / "step5").mkdir(parents=True)
    (out / "step5" / "stale.txt").write_text("of an earlier try")
    (out / "step4").mkdir()  # of a recipe that kept other checkpoints; the new record must not speak for it
    files = finished(tmp_path / "work", out)
    assert sorted(p.name for p in out.iterdir()) == ["metrics.parquet", "step0", "step5"]
    assert sorted(p.name for p in (out / "step5").iterdir()) == ["config.json", "model.safetensors"]
    assert (out / "step5" / "model.safetensors").samefile(tmp_path / "work" / "step5" / "model.safetensors")
    assert files == {name: file_digest(out / name) for name in files} and len(files) == 5


def test_copies_where_links_cannot_be(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("cross-device link")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    finished(tmp_path / "work", tmp_path / "out")
    published = tmp_path / "out" / "step5" / "model.safetensors"
    assert published.read_text() == "weights at 5" and published.stat().st_nlink == 1


def test_a_changed_checkpoint_is_not_published(tmp_path):
    directory = WorkDirectory(tmp_path)
    checkpoint(directory, 0)
    (tmp_path / "metrics.parquet").write_text("metrics")
    (tmp_path / "step0" / "model.safetensors").write_text("something else")
    with pytest.raises(InputError, match="changed since training wrote it"):
        directory.publish(tmp_path / "out", [0])


def test_a_lost_checkpoint_is_noticed(tmp_path):
    directory = WorkDirectory(tmp_path)
    checkpoint(directory, 0)
    directory.require_checkpoints([0])
    with pytest.raises(InputError, match="step5: gone"):
        directory.require_checkpoints([0, 5])
    (tmp_path / "step0" / "config.json").unlink()
    with pytest.raises(InputError, match="step0: gone"):
        directory.require_checkpoints([0])


def test_a_checkpoint_made_again_replaces_the_old(tmp_path):
    directory = WorkDirectory(tmp_path)
    checkpoint(directory, 5)
    (directory.begin_checkpoint(5)).mkdir()  # of a killed process
    checkpoint(directory, 5)
    (tmp_path / "metrics.parquet").write_text("metrics")
    assert len(directory.publish(tmp_path / "out", [5])) == 3


def test_work_is_deleted_only_when_all_is_published_unchanged(tmp_path):
    work, out = tmp_path / "work", tmp_path / "out"
    assert clean_work(work, out)  # nothing there
    directory = WorkDirectory(work)
    checkpoint(directory, 0)
    assert not clean_work(work, out)  # not finished
    finished(work, out)
    moved = out / "step5" / "model.safetensors"
    moved.rename(out / "elsewhere")
    assert not clean_work(work, out) and work.exists()
    (out / "elsewhere").rename(moved)
    assert clean_work(work, out) and not work.exists()
    assert moved.read_text() == "weights at 5"
