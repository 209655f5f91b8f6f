"""The work directory of a run: alternating states, checkpoints, publication, and when it is freed."""

import errno
import shutil

import pytest

from lorebridge import cli, tables
from lorebridge.errors import InputError
from lorebridge.records import Task, file_digest, write_record
from lorebridge.train.work import WorkDirectory, free, work_folder
from lorebridge.work import locked

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


def test_work_is_freed_only_when_all_is_published_unchanged(tmp_path, caplog):
    root, out = tmp_path / "work", tmp_path / "out"
    work = work_folder(root, "ko-bridge-s0", "r1")
    checkpoint(WorkDirectory(work), 0)
    out.mkdir()
    assert not free(root, out)  # no record: another invocation has not accepted what was published
    assert f"{out}: no readable record" in caplog.text
    task = Task(stage="model", literals={"run": "ko-bridge-s0"})
    work.rename(work_folder(root, "ko-bridge-s0", task.recipe))
    work = work_folder(root, "ko-bridge-s0", task.recipe)
    write_record(out / "record.json", task, notes={}, rule="train", wall_seconds=1)
    assert not free(root, out)
    assert "its run is not finished" in caplog.text
    finished(work, out)
    moved = out / "step5" / "model.safetensors"
    moved.rename(out / "elsewhere")
    assert not free(root, out) and work.exists()
    assert f"{moved}: not what training published" in caplog.text
    moved.write_text("weights at 6")
    assert not free(root, out) and work.exists()
    (out / "elsewhere").rename(moved)
    with locked(work):
        assert not free(root, out)
    assert "in use by" in caplog.text
    assert free(root, out) and not work.exists()
    assert moved.read_text() == "weights at 5"
    assert free(root, out)  # nothing there


def test_what_a_killed_process_left_of_a_freed_work_directory_is_freed(tmp_path):
    task = Task(stage="model", literals={"run": "base-s0"})
    work, out = work_folder(tmp_path / "work", "base-s0", task.recipe), tmp_path / "out"
    finished(work, out)
    write_record(out / "record.json", task, notes={}, rule="train", wall_seconds=1)
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    assert free(tmp_path / "work", out) and not work.exists()


def test_a_disk_that_refuses_is_no_error(tmp_path, monkeypatch, caplog):
    task = Task(stage="model", literals={"run": "base-s0"})
    work, out = work_folder(tmp_path / "work", "base-s0", task.recipe), tmp_path / "out"
    finished(work, out)
    write_record(out / "record.json", task, notes={}, rule="train", wall_seconds=1)

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", refuse)
        assert not free(tmp_path / "work", out)
    assert "cannot be freed ([Errno 13] Permission denied)" in caplog.text
    assert free(tmp_path / "work", out)


def test_the_command_frees_what_lies_beside_the_checkpoints(tmp_path):
    task = Task(stage="model", literals={"run": "base-s0"})
    work, out = work_folder(tmp_path / "work", "base-s0", task.recipe), tmp_path / "out"
    finished(work, out)
    write_record(out / "record.json", task, notes={}, rule="train", wall_seconds=1)
    checkpoints = [str(out / "step0"), str(out / "step5")]
    assert cli.main(["free", "--work", str(tmp_path / "work"), "--checkpoints", *checkpoints]) in (0, None)
    assert not work.exists() and (out / "step5").is_dir()
