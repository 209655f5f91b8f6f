"""Recipes, tasks and records."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorebridge.errors import ChangedFile, InputError
from lorebridge.integrity import survey
from lorebridge.records import (
    DigestCache,
    Records,
    Task,
    describe,
    file_digest,
    fingerprint,
    read_record,
    resized,
    whole,
    write_record,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_a_fingerprint_survives_a_trip_through_json(value):
    assert fingerprint(json.loads(json.dumps(value))) == fingerprint(value)


@given(st.dictionaries(st.text(), st.integers(), max_size=6))
def test_key_order_does_not_matter(value):
    assert fingerprint(dict(reversed(value.items()))) == fingerprint(value)


def test_equal_numbers_are_equal_and_others_are_not():
    assert fingerprint({"lr": 1.0}) == fingerprint({"lr": 1})
    assert fingerprint({"lr": 1e-4}) != fingerprint({"lr": 1.0000001e-4})
    assert fingerprint(True) != fingerprint(1)
    assert fingerprint("1") != fingerprint(1)


@pytest.mark.parametrize("value", [object(), {1: 2}, math.nan, math.inf, {"a": {1, 2}}, b"x"])
def test_what_has_no_stable_spelling_is_refused(value):
    with pytest.raises(TypeError):
        fingerprint(value)


def test_inputs_that_change_places_are_another_recipe():
    """Each argument is made of what the other was: nothing else tells the two tasks apart."""
    one, other = "0123456789abcdef", "fedcba9876543210"
    task = Task("gaps", {}, roles={"first": [["scores", one]], "second": [["scores", other]]})
    assert task.recipe != Task("gaps", {}, roles={"first": [["scores", other]], "second": [["scores", one]]}).recipe
    in_order = Task("gaps", {}, roles={"scores": [["scores", one], ["scores", other]]})
    assert in_order.recipe != Task("gaps", {}, roles={"scores": [["scores", other], ["scores", one]]}).recipe


def test_the_recipe_chains():
    inner = Task("tokens", {"column": "text"})
    outer = Task("order", {"seed": 0}, roles={"tokens": [["tokens", inner.recipe]]})
    assert outer.recipe != Task("order", {"seed": 0}, roles={"tokens": [["tokens", "other"]]}).recipe
    assert outer.recipe != Task("order", {"seed": 1}, {"a/record.json": inner.recipe}).recipe
    assert outer.recipe != Task("order", {"seed": 0}, {"a/record.json": inner.recipe}, version=2).recipe


def test_where_an_input_lies_does_not_enter_the_recipe():
    assert Task("order", {}, {"a/record.json": "r"}).recipe == Task("order", {}, {"b/record.json": "r"}).recipe


def test_a_task_survives_the_command_line():
    task = Task("order", {"template": "{en} 'བོད' {xx}", "x": [1, 2.5, None]}, {"a": "r"}, 3)
    again = Task.loads(task.dumps())
    assert again == task
    assert again.recipe == task.recipe


def test_making_writes_a_record_only_when_the_work_is_done(tmp_path):
    task = Task("chunks", {"max_chars": 10})
    record = tmp_path / "x.record.json"
    with pytest.raises(RuntimeError), task.making(record):
        raise RuntimeError
    assert not record.exists()
    with task.making(record, "chunks") as notes:
        notes["n"] = 3
    written = read_record(record)
    assert written["recipe"] == task.recipe
    assert written["notes"] == {"n": 3}
    assert {"git", "source", "packages", "argv", "device", "wall_seconds"} <= set(written)


def test_a_mistake_of_the_user_is_one_line_and_status_1(tmp_path, caplog):
    with pytest.raises(SystemExit) as stop, Task("chunks", {}).making(tmp_path / "r", logfile=tmp_path / "log"):
        raise InputError("ko.jsonl, row 3", "no `text`", "Add it.")
    assert stop.value.code == 1
    text = (tmp_path / "log").read_text()
    assert "ko.jsonl, row 3: no `text`. Add it." in text
    assert "Traceback" not in text


@pytest.mark.parametrize("found", [{"recipe": "old", "rule": "filter_corpus"}, None])
def test_stale_or_lost_inputs_are_refused_with_the_mend(tmp_path, caplog, found):
    record = tmp_path / "in" / "record.json"
    if found:
        record.parent.mkdir()
        record.write_text(json.dumps(found))
    with pytest.raises(SystemExit), Task("tokens", {}, {str(record): "new"}).making(tmp_path / "out.record.json"):
        pytest.fail("worked from a stale input")
    message = caplog.text
    assert str(record) in message
    assert "new" in message
    assert "--forcerun" in message
    if found:
        assert "old" in message
        assert "--forcerun filter_corpus" in message
    assert not (tmp_path / "out.record.json").exists()


@pytest.fixture
def remembering(monkeypatch):
    """A digest cache remembers small and young files, too."""
    monkeypatch.setattr(DigestCache, "SMALLEST", 0)
    monkeypatch.setattr(DigestCache, "SETTLED", -1.0)


@pytest.mark.usefixtures("remembering")
def test_the_digest_cache_reads_a_file_once_and_sees_what_changed_it(tmp_path, monkeypatch):
    source, cache = tmp_path / "a.jsonl", DigestCache(tmp_path / "digests")
    source.write_text("one")
    assert cache(source) == file_digest(source)
    with monkeypatch.context() as broken:
        broken.setattr("lorebridge.records.file_digest", None)  # would fail if it were called
        assert DigestCache(tmp_path / "digests")(str(source)) == file_digest(source)
    source.write_text("three")
    assert cache(source) == file_digest(source)
    status = source.stat()
    time.sleep(0.05)  # longer than the resolution of the file system's times
    source.write_text("eight")
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))  # as one who wants to hide it
    assert cache(source) == file_digest(source)
    for place in (tmp_path / "digests").iterdir():
        place.write_text("{torn")
    assert cache(source) == file_digest(source)


@pytest.mark.parametrize("said", [None, [], {"y": None}, {"y": {"bytes": "1", "sha256": ""}}, {"y": {"bytes": 1}}])
def test_a_record_that_describes_no_files_of_a_folder_is_none(tmp_path, said):
    place = tmp_path / "record.json"
    folder = {"path": "x", "bytes": 1, "sha256": "", "files": {"y": {"bytes": 1, "sha256": ""}}}
    files = describe({"table": Path(__file__)}, tmp_path) | {"tree": folder}
    record = write_record(place, Task("pairs", {}), notes={}, rule="pairs", wall_seconds=1, files=files)
    assert read_record(place)["files"] == record["files"]
    folder["files"] = said
    place.write_text(json.dumps(record))
    assert read_record(place) is None


def test_the_digest_cache_does_not_trust_a_file_that_may_change_within_the_same_tick(tmp_path, monkeypatch):
    monkeypatch.setattr(DigestCache, "SMALLEST", 0)
    (tmp_path / "a").write_text("one")
    assert DigestCache(tmp_path / "digests")(tmp_path / "a") == file_digest(tmp_path / "a")
    assert not (tmp_path / "digests").exists()


@pytest.mark.usefixtures("remembering")
def test_a_digest_cache_that_cannot_be_written_stops_nobody(tmp_path):
    (tmp_path / "digests").write_text("a file in its place")
    (tmp_path / "a").write_text("one")
    assert DigestCache(tmp_path / "digests")(tmp_path / "a") == file_digest(tmp_path / "a")


# ---------------------------------------------------------------- what was written


class Chain:
    """An artifact of every shape, and a task that reads it as a job does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "made"
        self.record = self.folder / "record.json"
        self.outputs = {
            "table": self.folder / "a.parquet",
            "checkpoints": [self.folder / "step2", self.folder / "step4"],
            "tokens": self.folder / "store" / "tokens.bin",
            "offsets": self.folder / "store" / "offsets.npy",
        }
        self.maker = Task("maker", {}, call={"inputs": {}})
        with self.maker.making(self.record, "maker", writes=self.outputs | {"record": self.record}):
            for n, step in enumerate(self.outputs["checkpoints"]):
                (step / "inner").mkdir(parents=True)
                (step / "model.safetensors").write_bytes(b"weights" * (n + 1))
                (step / "inner" / "config.json").write_text("{}")
                (step / ".snakemake_timestamp").touch()
            (self.folder / "store").mkdir()
            for name in ("table", "tokens", "offsets"):
                self.outputs[name].write_bytes(name.encode() * 100)
        shapes = {"table": [False], "start": [False], "stores": [True]}
        self.reader = Task(
            "reader",
            {},
            {str(self.record): self.maker.recipe},
            call={"inputs": {name: {"folder": folder} for name, folder in shapes.items()}},
        )
        self.reads = {
            "table": [self.outputs["table"]],
            "start": [self.outputs["checkpoints"][1]],
            "stores": [self.outputs["tokens"]],
        }

    def read(self) -> dict[str, str]:
        return self.reader.check_inputs(self.reads)


@pytest.fixture
def chain(tmp_path) -> Chain:
    return Chain(tmp_path)


def test_a_record_holds_what_was_written(chain):
    files = read_record(chain.record)["files"]
    assert set(files) == {"table", "checkpoints/step2", "checkpoints/step4", "tokens", "offsets"}
    assert files["table"] == {"path": "a.parquet", "bytes": 500, "sha256": file_digest(chain.outputs["table"])}
    assert files["tokens"]["path"] == "store/tokens.bin"
    step = files["checkpoints/step4"]
    assert step["bytes"] == 16 and set(step["files"]) == {"model.safetensors", "inner/config.json"}
    assert files == describe(chain.outputs, chain.folder)


def test_a_dry_run_compares_sizes(chain):
    record = read_record(chain.record)

    def found() -> bool:
        return whole(chain.record, record, [str(chain.outputs["table"]), str(chain.folder / "step4")])

    assert found()
    one_byte(chain.outputs["table"])
    assert found()  # told by who reads it
    (chain.folder / "step4" / "model.safetensors").write_bytes(b"weights")
    assert not found()
    (chain.folder / "step4" / "model.safetensors").unlink()
    assert not found()
    assert not whole(chain.record, record, [str(chain.folder / "another.parquet")])
    assert not whole(chain.record, {"recipe": "x"}, [str(chain.outputs["table"])])


def test_what_is_known_is_not_read_again(chain):
    known = {str(path): "0" * 64 for path in (chain.outputs["table"], chain.outputs["tokens"])}
    with chain.maker.making(chain.record, writes={"table": chain.outputs["table"]}, known=known):
        pass
    assert read_record(chain.record)["files"]["table"]["sha256"] == "0" * 64


@pytest.mark.usefixtures("remembering")
def test_what_was_compared_as_it_was_published_is_remembered(tmp_path):
    """A checkpoint is a hard link to what training has just compared: who scores it need not read it first."""
    cache, task = DigestCache(tmp_path / "digests"), Task("train", {}, call={"digests": str(tmp_path / "digests")})
    out, kept = tmp_path / "model", tmp_path / "work"
    kept.write_bytes(b"weights")
    out.hardlink_to(kept)
    copied = tmp_path / "copied"
    copied.write_bytes(b"weights")
    known = {str(out): "0" * 64, str(copied): "1" * 64}
    with task.making(tmp_path / "record.json", writes={"a": out, "b": copied}, known=known):
        pass
    assert cache(out) == "0" * 64  # as was told
    assert cache(copied) == file_digest(copied)  # nobody has read it there
    one_byte(out)
    assert cache(out) == file_digest(out)


def test_who_reads_notes_what_it_read_and_nothing_else(chain, tmp_path):
    """Another checkpoint may change: nobody made anything of it here. All of a store is read."""
    (chain.folder / "step2" / "model.safetensors").write_bytes(b"else")
    read = chain.read()
    assert set(read) == {str(chain.outputs[name]) for name in ("table", "tokens", "offsets")} | {
        str(chain.folder / "step4")
    }
    with chain.reader.making(tmp_path / "out.record.json", reads=chain.reads | {"stamp": ["work/stamp"]}):
        pass
    assert read_record(tmp_path / "out.record.json")["read"] == read


def test_a_source_that_is_another_than_was_planned_is_not_read(chain, tmp_path, capsys):
    source = tmp_path / "ko.jsonl"
    source.write_text("as it was planned")
    sources = {str(source): file_digest(source)}
    task = Task("reader", {}, call={"inputs": {}, "sources": sources, "planned": str(tmp_path / "digests")})
    with task.making(tmp_path / "record.json"):
        pass
    assert read_record(tmp_path / "record.json")["read"] == {}  # the recipe says it
    source.write_text("edited while the run went on")
    with pytest.raises(SystemExit), task.making(tmp_path / "record.json"):
        raise AssertionError("it was read")
    [line] = capsys.readouterr().err.splitlines()
    assert f"{source}: changed since this run was planned" in line and "Run the same command again" in line
    source.unlink()
    with pytest.raises(ChangedFile, match="is now gone"):
        task.check_inputs({})


def test_a_source_that_the_study_makes_is_compared_with_its_record(chain, tmp_path):
    source = chain.outputs["table"]
    call = {"inputs": {}, "sources": {str(source): None}}
    task = Task("reader", {}, {str(chain.record): chain.maker.recipe}, call=call)
    assert task.check_inputs({}) == {str(source): file_digest(source)}
    one_byte(source)
    with pytest.raises(ChangedFile, match=rf"a\.parquet: changed since .* snakemake --forcerun {source}"):
        task.check_inputs({})
    with pytest.raises(ChangedFile, match="no record says what was written there"):
        Task("reader", {}, call=call).check_inputs({})


def one_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name", ["a.parquet", "step4/model.safetensors", "step4/inner/config.json", "store/tokens.bin", "store/offsets.npy"]
)
@pytest.mark.parametrize("damage", ["one byte", "cut off", "gone"])
def test_a_changed_file_stops_who_reads_it_in_one_line(chain, tmp_path, capsys, name, damage):
    path = chain.folder / name
    then = file_digest(path)
    match damage:
        case "one byte":
            one_byte(path)
        case "cut off":
            path.write_bytes(path.read_bytes()[:-1])
        case "gone":
            path.unlink()
    now = "" if damage == "gone" else file_digest(path)
    with pytest.raises(SystemExit) as stop, chain.reader.making(tmp_path / "out.record.json", reads=chain.reads):
        pytest.fail("worked from a changed file")
    assert stop.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    output = chain.folder / "step4" if name.startswith("step4") else path
    assert f"{path}: " in line and then in line and now in line
    assert line.endswith(f"Restore it from a backup, or make it again: snakemake --forcerun {output}")
    assert not (tmp_path / "out.record.json").exists()


def test_files_that_the_task_alone_names_are_compared_too(chain, tmp_path):
    """A rule names the first checkpoint of a model, and its job reads all."""
    steps = list(map(str, chain.outputs["checkpoints"]))
    said = {"checkpoints": {"folder": [False, False], "paths": steps}}
    reader = Task("reader", {}, {str(chain.record): chain.maker.recipe}, call={"inputs": said})
    assert list(reader.check_inputs({"checkpoints": steps[:1]})) == steps
    one_byte(chain.folder / "step4" / "model.safetensors")
    with pytest.raises(ChangedFile, match=r"step4/model\.safetensors: changed since maker made it"):
        reader.check_inputs({"checkpoints": steps[:1]})


def test_a_file_too_many_in_a_checkpoint_is_a_change(chain):
    (chain.folder / "step4" / "adapter.json").write_text("{}")
    with pytest.raises(ChangedFile, match=r"adapter\.json: put there since maker made .*step4; .*Delete it, or"):
        chain.read()


def test_of_several_changes_one_is_told_and_the_others_are_counted(chain):
    for name in ("a.parquet", "store/tokens.bin", "store/offsets.npy"):
        one_byte(chain.folder / name)
    with pytest.raises(ChangedFile, match=r"\(2 more are not what was made either\)") as stop:
        chain.read()
    names = ("a.parquet", "store/tokens.bin", "store/offsets.npy")
    assert {f"{chain.folder}/{name}" for name in names} == set(str(stop.value).split("--forcerun ")[1].split(" "))


def test_what_a_changed_file_is_made_from_is_told_at_once(tmp_path):
    """Else who makes the one again is stopped at the other. What lies behind a good file is nobody's business."""
    names = ["a", "b", "c", "d"]
    out = {name: tmp_path / f"{name}.txt" for name in names}
    record = {name: f"{tmp_path}/{name}.txt.record.json" for name in names}
    tasks: dict[str, Task] = {}
    for before, name in zip(["", *names], names, strict=False):
        expects = {record[before]: tasks[before].recipe} if before else {}
        call = {"inputs": {"read": {"folder": [False]}}}
        tasks[name] = Task(name, {}, expects, call=call)
        reads = {"read": [out[before]]} if before else {}
        with tasks[name].making(record[name], name, reads=reads, writes={"out": out[name]}):
            out[name].write_text(f"made by {name}")
    reader = Task("reader", {}, {record["d"]: tasks["d"].recipe}, call=call)
    for changed, told in ((["d"], ["d"]), (["d", "c"], ["d", "c"]), (["d", "c", "a"], ["d", "c"]), ("abcd", "dcba")):
        for name in names:
            out[name].write_text("changed!!" if name in changed else f"made by {name}")
        with pytest.raises(ChangedFile) as stop:
            reader.check_inputs({"read": [out["d"]]})
        assert str(stop.value).endswith(f"snakemake --forcerun {' '.join(str(out[name]) for name in told)}")


def test_a_file_of_another_size_is_said_in_a_line(chain):
    record = read_record(chain.record)
    paths = [str(chain.folder / name) for name in ("a.parquet", "step2", "step4", "store/tokens.bin")]
    assert resized(chain.record, record, paths) == []
    chain.outputs["table"].write_bytes(b"")
    (chain.folder / "step4" / "model.safetensors").unlink()
    (chain.folder / "step2" / "model.safetensors").write_bytes(b"w")
    one, other = resized(chain.record, record, paths)
    assert one == f"{chain.folder}/a.parquet: changed since maker made it: it had 500 bytes and has 0"
    assert other == f"{chain.folder}/step2/model.safetensors: changed since maker made it: it had 7 bytes and has 1"


def test_a_file_that_no_record_tells_of_is_not_read(chain):
    record = read_record(chain.record)
    del record["files"]["table"]
    chain.record.write_text(json.dumps(record))
    with pytest.raises(
        ChangedFile, match=r"a\.parquet: no record says what was written there.*--forcerun .*a\.parquet"
    ):
        chain.read()


def test_helpers_of_another_process_compare_recipes_alone(chain):
    """Of the processes of a training run the first reads 40 GB of tokens, and it is enough."""
    one_byte(chain.outputs["tokens"])
    with chain.reader.making(None, reads=chain.reads):
        pass


# ---------------------------------------------------------------- a study


def surveyed(chain: Chain, *places: Path) -> list[str]:
    files = [str(path) for path in (chain.outputs["table"], chain.outputs["tokens"])]
    return [str(check) for check in survey([(str(chain.record), files), *((str(place), ["x"]) for place in places)])]


def test_a_survey_tells_what_changed(chain, tmp_path):
    place = tmp_path / "out.parquet.record.json"
    out = tmp_path / "out.parquet"
    with chain.reader.making(place, "reader", reads=chain.reads, writes={"out": out}):
        out.write_text("table")
    gone = tmp_path / "never.parquet.record.json"
    assert surveyed(chain, place, gone) == [f"ok      {chain.folder}", f"ok      {out}"]
    one_byte(out)
    one_byte(chain.folder / "step2" / "model.safetensors")
    lines = surveyed(chain, place)
    assert len(lines) == 2 and all(line.startswith("FAILED") for line in lines)
    assert f"{chain.folder}/step2/model.safetensors: changed since maker made it" in lines[0]
    assert lines[0].endswith(f"Remade by: snakemake --forcerun {chain.folder}/step2")
    assert f"{out}: changed since reader made it" in lines[1]


def test_a_survey_tells_what_was_made_from_other_bytes(chain, tmp_path):
    """As where training again gave other weights, and the scores are still those of the first."""
    place, out = tmp_path / "out.parquet.record.json", tmp_path / "out.parquet"
    with chain.reader.making(place, "reader", reads=chain.reads, writes={"out": out}):
        out.write_text("table")
    then = file_digest(chain.outputs["table"])
    with chain.maker.making(chain.record, "maker", writes=chain.outputs):
        one_byte(chain.outputs["table"])
    lines = surveyed(chain, place)
    assert lines[0].startswith("ok")
    assert f"it was made from another {chain.outputs['table']}: with sha256 {then}" in lines[1]


def test_a_survey_tells_what_no_record_tells_of(chain):
    chain.record.write_text("{torn")
    (line,) = surveyed(chain)
    assert "there is no readable record" in line and line.endswith(f"snakemake --forcerun {chain.outputs['table']}")
    chain.record.write_text(json.dumps({"recipe": "x", "rule": "maker"}))
    assert "does not say what was written" in surveyed(chain)[0]


def test_a_record_is_read_once(tmp_path):
    records, path = Records(), tmp_path / "a.record.json"
    assert records(str(path)) is None
    path.write_text('{"recipe": "a"}')
    assert records(str(path)) is None
    assert Records()(str(path)) == {"recipe": "a"}
