"""Results of the first form of records are taken over as they lie, or left as they lie with the reason.

``tests/data/old-study.tar.xz`` is what lorebridge made of its ``study.yaml`` at commit d04b480, the last one that wrote
records without a format: all of ``results/old`` but figures, page and logs; of the records, the command line and the
name of the machine are left out.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lorebridge import adopt, cli, config, contents, studies, tables
from lorebridge.errors import Busy, InputError
from lorebridge.plan import Plan, artifact
from lorebridge.records import file_digest, fingerprint, read_record, write_record
from lorebridge.train.work import WorkDirectory
from lorebridge.work import locked, write_json

ROOT = Path(__file__).parents[1]
MODELS = {"base-s0": "base/s0"} | {
    f"ko-{arm}-s0": f"ko/{arm}/s0" for arm in ("bridge", "no_bridge", "bridge_leak_free")
}
SAME_TEXT = {run: folder for run, folder in MODELS.items() if "leak" not in run}
"""Those that read what they would read today: what is no leak, is told by the subjects of questions."""
BRIDGE = artifact("train_continual", run="ko-bridge-s0")


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(ROOT / "tests" / "data" / "old-study.tar.xz") as archive:
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return folder


class Old:
    """A study that an earlier lorebridge made, in the folder that is worked in."""

    def __init__(self, study) -> None:
        self.study = study
        self.config, self.folder, self.results = study.config, study.folder, study.results

    def plan(self) -> Plan:
        return studies.plan(config.check(config.load(self.folder / "study.yaml")))

    def adopt(self, **how: bool) -> tuple[set, dict]:
        """Return the artifacts that are adopted, and why others are left that are not traced anew."""
        found, told = list(adopt.adopt(self.plan(), **how)), traced_anew(self.plan())
        assert told.isdisjoint(o.name for o in found if not o.left)
        return {o.name for o in found if not o.left}, {o.name: str(o) for o in found if o.left and o.name not in told}

    def record(self, path: str) -> dict:
        return json.loads((self.results / path).read_text(encoding="utf-8"))

    def rewrite(self, path: str, change: Callable[[dict], object], *, sound: bool = True) -> None:
        """Change a record; a sound one gives its own recipe again, and what was made from it names that."""
        record = self.record(path)
        old = record["recipe"]
        change(record)
        if sound:
            record["recipe"] = own(record)
        (self.results / path).write_text(json.dumps(record), encoding="utf-8")
        if not sound or record["recipe"] == old:
            return
        for other in self.results.rglob("*record.json"):
            name = other.relative_to(self.results).as_posix()
            if old in self.record(name).get("inputs", {}).values():
                self.rewrite(name, lambda r: r.update(inputs=replaced(r["inputs"], old, record["recipe"])))


def own(record: dict) -> str:
    """The recipe of an old record."""
    said = {key: record[key] for key in ("stage", "version", "literals")}
    return fingerprint({**said, "inputs": sorted(record["inputs"].values())})


def replaced(inputs: dict, old: str, new: str) -> dict:
    return {path: new if recipe == old else recipe for path, recipe in inputs.items()}


@pytest.fixture
def as_it_was(unpacked, new_study, tmp_path, monkeypatch) -> Old:
    study = new_study(tmp_path / "study")
    shutil.copytree(unpacked, study.folder, dirs_exist_ok=True)
    study.config = yaml.safe_load((study.folder / "study.yaml").read_text(encoding="utf-8"))
    study.config["training"]["pair_supply"] = None
    study.config["probing"]["prefixes"] = ["bare"]
    study.write()
    monkeypatch.chdir(study.folder)
    return Old(study)


@pytest.fixture
def old(as_it_was, monkeypatch) -> Old:
    """The same where no stage has got another version since, but for columns that are added."""
    stages = as_it_was.plan().study.stages
    for path in as_it_was.results.rglob("*record.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        for name in {name for name in stages if adopt.before(name).stage == record["stage"]}:
            version = adopt.before(name).alike.get(record["version"], record["version"])
            monkeypatch.setitem(stages, name, dataclasses.replace(stages[name], version=version))
    return as_it_was


def contained(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def traced_anew(plan: Plan) -> set:
    """What rests on the subjects of questions, which are found by another rule than then."""
    found: set = set()
    for name in plan.walk():
        if name[0] in ("subjects", "judge") or found & set(plan.inputs(name[0], **dict(name[1]))):
            found.add(name)
    return found


def remade(plan: Plan) -> set:
    """What is made again whatever lies there, since it takes minutes, and what there was none of then."""
    return {name for name in plan.walk() if name[0] in {*adopt.DRAWN, "accuracies", "copying", "mechanism"}}


def adoptable(plan: Plan) -> set:
    return set(plan.walk()) - remade(plan) - traced_anew(plan)


# ---------------------------------------------------------------- what is adopted


def test_the_old_recipes_follow_from_the_plan(old):
    """So that an input that is gone is known by what made it."""
    records = {p.relative_to(old.results).as_posix() for p in old.results.rglob("*record.json")}
    known = {path: old.record(path)["recipe"] for path in records}
    plan = old.plan()
    where = {name: [path.removeprefix(f"{plan.root}/") for path in adopt.places(plan, name)] for name in plan.walk()}
    expected = {name: known[path] for name in adoptable(plan) for path in where[name] if path in known}
    assert set(expected) == adoptable(plan)
    shutil.rmtree(old.results)
    walk = adopt._Walk(plan, False, True)
    assert not list(walk.outcomes())
    assert {name: walk.recipes[name] for name in expected} == expected


def test_an_old_study_is_adopted_whole_and_once(old):
    before = contained(old.results)
    base, start = (old.results / f"models/{path}" for path in ("base/s0/step2", "ko/bridge/s0/step0"))
    (start / "model.safetensors").unlink()
    (start / "model.safetensors").hardlink_to(base / "model.safetensors")
    plan = old.plan()
    waiting = adopt.waiting(plan)
    assert len(waiting) == len((adoptable(plan) | traced_anew(plan)) - remade(plan))
    assert old.adopt(dry=True) == (adoptable(plan), {})
    assert contained(old.results) == before
    assert old.adopt() == (adoptable(plan), {})
    assert not adopt.waiting(plan)
    assert set(read_record(old.results / adopt.LEFT)["left"]).isdisjoint(plan.record(*name) for name in adoptable(plan))

    # Files are the same bytes, but for records and for tables that have further columns, of which the rest is the same.
    after = contained(old.results)
    where = {}
    for run, folder in SAME_TEXT.items():
        phase = "base" if run.startswith("base") else "continual"
        where |= {p: p.replace(f"models/{folder}/", f"models/{phase}/{run}/") for p in before if f"/{folder}/" in p}
    assert {where.get(path, path) for path in before} == set(after) - {adopt.LEFT}
    widened = set()
    for path, content in before.items():
        there = where.get(path, path)
        if not path.endswith("record.json") and after[there] != content:
            widened.add(there)
            (old.folder / "before.parquet").write_bytes(content)
            then, now = tables.read(old.folder / "before.parquet"), tables.read(old.results / there)
            assert now[list(then)].equals(then)
            if there.startswith("people/mentions/"):
                text = plan.study.text(Path(there).stem)
                assert now["lang"].unique().tolist() == [text.lang]
                assert set(now["pairs"].dropna()) == ({text.pairs} if text.pairs else set())
                continue
            run = now["run"].unique().tolist()
            model = plan.study.model(run[0])
            assert run == [Path(there).stem if "models" not in there else Path(there).parent.name]
            for column, value in (("learned", model.lang), ("arm", model.arm), ("seed", model.seed)):
                assert now[column].unique().tolist() == [value]
    assert widened == {
        p.relative_to(old.results).as_posix()
        for wanted in ("models/*/{}/metrics.parquet", "people/scores/{}.parquet")
        for run in SAME_TEXT
        for p in old.results.glob(wanted.format(run))
    } | {p.relative_to(old.results).as_posix() for p in old.results.glob("people/mentions/*.parquet")}
    (moved_base, moved) = (plan.outputs(f"train_{p}", run=r)["checkpoints"] for p, r in PAIR)
    assert Path(moved_base[-1], "model.safetensors").samefile(Path(moved[0], "model.safetensors"))
    assert sorted(p.name for p in (old.results / "models").iterdir()) == ["base", "continual", "ko"]

    # Records hold what the plan asks for, and what was known of the making of each.
    for name in adoptable(plan):
        record = read_record(plan.record(*name))
        task = plan.task(name[0], **dict(name[1]))
        assert (record["format"], record["recipe"], record["stage"]) == (2, task.recipe, name[0])
        assert record["literals"] == json.loads(task.dumps())["literals"]
        assert record["inputs"] == task.expects
        then = json.loads(before[next(p for p in before if p.endswith("record.json") and made(before[p], record))])
        kept = ("packages", "git", "source", "finished", "wall_seconds", "python")
        assert {key: record[key] for key in kept} == {key: then[key] for key in kept}
        assert record["adopted"]["stage"] == then["stage"]
        assert "version" not in record["adopted"]

    times = {path: path.stat().st_mtime_ns for path in old.results.rglob("*") if path.name != adopt.LEFT}
    assert old.adopt() == (set(), {})
    assert {path: path.stat().st_mtime_ns for path in times} == times


PAIR = (("base", "base-s0"), ("continual", "ko-bridge-s0"))


def made(content: bytes, record: dict) -> bool:
    return json.loads(content)["recipe"] == record["adopted"]["recipe"]


def test_what_is_adopted_verifies(old, capsys):
    old.adopt()
    for run in SAME_TEXT:
        assert cli.main(["verify", run, "--config", "study.yaml"]) == 0, capsys.readouterr().out
    assert cli.main(["explain", "results/old/models/base/base-s0/metrics.parquet"]) == 0
    assert re.search(r"adopted .* from recipe [0-9a-f]{16} \(stage base_model\)", capsys.readouterr().out)


@pytest.mark.slow
def test_a_dry_run_stops_with_a_command_that_helps(as_it_was):
    """Then it plans what is traced anew, what needs that, and what is drawn; what is trained stays."""
    study, remark = as_it_was.study, ("--config", "remark=a remark")
    output = study.snakemake("--dry-run", *remark, check=False)
    [line] = [line for line in output.splitlines() if "lorebridge adopt" in line]
    assert str(study.results) in line
    command = line[line.index("cd ") :]

    def adopted(command: str) -> subprocess.CompletedProcess:
        return subprocess.run(command, shell=True, env=study.environment(), capture_output=True, text=True, cwd=ROOT)

    done = adopted(command)
    if "--older-versions adopts that" in done.stdout:  # stages have other versions since
        done = adopted(f"{command} --older-versions")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "the next run makes what is left again" in done.stdout + done.stderr
    plan = as_it_was.plan()
    rules = [
        f"draw_{dict(w)['figure']}" if stage == "figure" else stage for stage, w in traced_anew(plan) | remade(plan)
    ]
    assert study.planned(*remark) == dict(collections.Counter(rules))
    before = contained(study.results / "models")
    study.run(plan.record("order", {"run": "ko-bridge_leak_free-s0"}).removesuffix(".record.json"), *remark)
    assert contained(study.results / "models") == before


def test_wherever_it_is_killed_the_next_try_goes_on(as_it_was):
    def timeless(folder: Path) -> dict:
        return {
            path: re.sub(rb'"on": "[^"]+"', b"", content) if path.endswith("record.json") else content
            for path, content in contained(folder).items()
        }

    study = as_it_was.study
    undisturbed = study.copy(study.folder.with_name("undisturbed"))
    run = [sys.executable, str(ROOT / "tests" / "killed.py"), "study.yaml"]
    done = subprocess.run(run, cwd=study.folder, capture_output=True, text=True, env=study.environment(), timeout=600)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10
    os.chdir(undisturbed.folder)
    assert as_it_was.adopt(older=True)[1] == {}
    assert timeless(study.results) == timeless(undisturbed.results)
    folders = [{p.relative_to(s.results) for p in s.results.rglob("*/")} for s in (study, undisturbed)]
    assert folders[0] == folders[1]


# ---------------------------------------------------------------- what is left


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def other_rows(old: Old) -> None:
    shutil.copy(
        old.results / "people/scores/ko-no_bridge-s0.parquet", old.results / "people/scores/ko-bridge-s0.parquet"
    )


def fewer_steps(old: Old) -> None:
    path = old.results / "people/scores/ko-bridge-s0.parquet"
    rows = contents.pq.read_table(path)
    contents.pq.write_table(rows.filter(contents.pc.equal(rows["step"], 0)), path)


def no_rows(old: Old) -> None:
    path = old.results / "probes/questions/ko.parquet"
    contents.pq.write_table(contents.pq.read_table(path).slice(0, 0), path)


def swapped(old: Old) -> None:
    """Two checkpoints change places, and their record with them: only their files tell."""
    folder = old.results / "models/ko/bridge/s0"
    (folder / "step0").rename(folder / "x")
    (folder / "step2").rename(folder / "step0")
    (folder / "x").rename(folder / "step2")


def another_shape(old: Old) -> None:
    """A checkpoint whose record notes no checksums."""
    folder = old.results / "models/ko/bridge/s0"
    said = json.loads((folder / "step2/config.json").read_text())
    (folder / "step2/config.json").write_text(json.dumps(said | {"vocab_size": said["vocab_size"] + 1}))
    old.rewrite("models/ko/bridge/s0/record.json", lambda r: r["notes"].pop("files"))


def in_the_way(old: Old) -> None:
    path = old.results / "models/continual/ko-bridge-s0/step0"
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")


M, S = "models/ko/bridge/s0/", "people/scores/ko-bridge-s0.parquet"
STORE = artifact("token_store", stream="mono-ko")
SCORE = artifact("people_score", run="ko-bridge-s0")
QUESTIONS = artifact("questions", culture="ko")
DAMAGE = {
    "a record was changed": (
        lambda old: old.rewrite(f"{M}record.json", lambda r: r["literals"].update(seed=1), sound=False),
        BRIDGE,
        "changed",
    ),
    "a record is half": (
        lambda old: old.rewrite(f"{M}record.json", lambda r: r.pop("inputs"), sound=False),
        BRIDGE,
        "changed",
    ),
    "another setting": (
        lambda old: old.rewrite(f"{M}record.json", lambda r: r["literals"]["schedule"].update(lr=0.5)),
        BRIDGE,
        "was made with schedule .*0.5.* and the configuration says .*0.003",
    ),
    "a setting that is gone": (
        lambda old: old.rewrite(f"{S}.record.json", lambda r: r["literals"].update(steps=[0, 1])),
        SCORE,
        r"was made with steps \[0, 1\]",
    ),
    "a setting that nobody knows": (
        lambda old: old.rewrite(f"{M}record.json", lambda r: r["literals"].update(trick=True)),
        BRIDGE,
        "setting trick",
    ),
    "a setting that was not there": (
        lambda old: old.rewrite(f"{M}record.json", lambda r: r["literals"].pop("zero_stage")),
        BRIDGE,
        "without the setting zero_stage",
    ),
    "another stage": (
        lambda old: old.rewrite(f"{M}record.json", lambda r: r.update(stage="base_model")),
        BRIDGE,
        "is of the stage 'base_model'",
    ),
    "an older version": (
        lambda old: old.rewrite(f"{M}record.json", lambda r: r.update(version=1)),
        BRIDGE,
        "version 1 of train_continual made it, .* version 3; --older-versions adopts it",
    ),
    "a later version": (
        lambda old: old.rewrite(f"{M}record.json", lambda r: r.update(version=9)),
        BRIDGE,
        "version 9 of train_continual made it, and the study asks for version 3$",
    ),
    "another input": (
        lambda old: old.rewrite(
            f"{M}record.json",
            lambda r: r["inputs"].update({"results/old/order/ko-bridge-s0.parquet.record.json": "0" * 16}),
        ),
        BRIDGE,
        "other inputs .*order/ko-bridge-s0",
    ),
    "inputs that changed places": (
        lambda old: old.rewrite(
            f"{S}.record.json",
            lambda r: r.update(inputs=dict(zip(r["inputs"], reversed(r["inputs"].values()), strict=True))),
        ),
        SCORE,
        "other inputs .*people/questions/ko",
    ),
    "a byte of a checkpoint": (lambda old: flip(old.results / M / "step2/model.safetensors"), BRIDGE, "step2/model"),
    "a byte of a table": (lambda old: flip(old.results / S), SCORE, "cannot be read"),
    "a byte of a store": (lambda old: flip(old.results / "tokens/mono-ko/tokens.bin"), STORE, "sha256"),
    "a store that is cut": (
        lambda old: os.truncate(old.results / "tokens/mono-ko/tokens.bin", 400),
        STORE,
        "400 bytes for",
    ),
    "a byte of an order": (
        lambda old: flip(old.results / "order/ko-bridge-s0.parquet"),
        artifact("order", run="ko-bridge-s0"),
        "cannot be read|says another|is not the order",
    ),
    "the rows of another run": (other_rows, SCORE, "its `run` is"),
    "fewer steps": (fewer_steps, SCORE, "has 1 steps, and 2 belong there"),
    "no rows": (no_rows, QUESTIONS, "has no rows"),
    "checkpoints in each other's place": (swapped, BRIDGE, "not what training wrote"),
    "weights of another shape": (another_shape, BRIDGE, "config.json speaks of"),
    "something in the way": (in_the_way, BRIDGE, "is where it would go"),
    "a JSON file that is cut": (
        lambda old: os.truncate(old.results / "probes/files/ko-en.json", 40),
        artifact("question_file", culture="ko", lang="en"),
        "cannot be read",
    ),
    "a gzip file that is cut": (
        lambda old: os.truncate(old.results / "world/corpora/ko.jsonl.gz", 400),
        artifact("world"),
        "cannot be read",
    ),
    "a tokenizer": (
        lambda old: (old.results / "tokenizer/tokenizer.json").write_text("{}"),
        artifact("tokenizer"),
        "tokenizer.json",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_cannot_be_relied_on_stays_untouched_and_is_told(old, kind):
    damage, name, said = DAMAGE[kind]
    damage(old)
    plan = old.plan()
    place, _ = adopt._found(plan, name)
    files = adopt._Walk(plan, False, True)._files(name, place)
    own_files = [Path(place), *(path for paths in files.values() for path in paths)]
    before = {p: p.read_bytes() for path in own_files for p in ([path] if path.is_file() else path.glob("*"))}
    adopted, left = old.adopt()
    assert re.search(said, re.sub(r"\. Training it again .*|(?<=\w)\.$", "", left[name])), left[name]
    assert ("GPU-hours" in left[name]) == (name == BRIDGE)
    assert {path: path.read_bytes() for path in before} == before
    # What is made from it is left, too; what is not is adopted.
    below = {name}
    for other in plan.walk():
        if below & set(plan.inputs(other[0], **dict(other[1]))):
            below.add(other)
    assert set(left) == below & adoptable(plan)
    assert adopted == adoptable(plan) - below
    assert all("which is not adopted" in why for other, why in left.items() if other != name)
    # Having been told, one may go on.
    assert not adopt.waiting(plan)
    old.rewrite(Path(place).relative_to(plan.root).as_posix(), lambda r: r.update(recipe="0" * 16), sound=False)
    assert adopt.waiting(plan) == [place]


def test_a_changed_configuration_is_not_hidden_by_adoption(old):
    old.config["training"]["continual"]["lr"] = 0.001
    old.study.write()
    adopted, left = old.adopt()
    assert {name[0] for name in left} >= {"train_continual", "people_score"}
    assert "was made with schedule" in left[BRIDGE] and "0.001" in left[BRIDGE]
    assert artifact("train_base", run="base-s0") in adopted
    assert artifact("order", run="ko-bridge-s0") in adopted


def test_what_an_older_version_made_is_adopted_on_demand(old, monkeypatch):
    """A stage whose code has changed: its result is kept where a person says so, and says so itself."""
    stages = old.plan().study.stages
    for name in ("filter_corpus", "train_base"):
        monkeypatch.setitem(stages, name, dataclasses.replace(stages[name], version=stages[name].version + 1))
    adopted, left = old.adopt(dry=True)
    shard = artifact("filter_corpus", lang="ko", shard="00000-of-00001")
    assert "version 2 of filter_corpus made it, and the study asks for version 3; --older-versions" in left[shard]
    assert "which is not adopted" in left[BRIDGE]
    assert artifact("world") in adopted
    assert old.adopt(older=True) == (adoptable(old.plan()), {})
    record = read_record(old.plan().record(*shard))
    assert (record["version"], record["adopted"]["version"]) == (3, 2)
    assert record["recipe"] == old.plan().recipe(shard)
    assert "version" not in read_record(old.plan().record(*STORE))["adopted"]
    assert read_record(old.plan().record("train_base", {"run": "base-s0"}))["adopted"]["version"] == 2


def test_a_setting_that_came_since_stands_for_what_was_done_without_it(old):
    """Orders were drawn from all pairs: that is what a configuration must say that adopts them."""
    old.config["training"]["pair_supply"] = 1.25
    old.study.write()
    _, left = old.adopt(dry=True)
    order = artifact("order", run="ko-bridge-s0")
    assert "was made as with pair_supply null, and the configuration says 1.25" in left[order]
    assert artifact("order", run="base-s0") not in left


def test_what_is_gone_is_made_again_and_what_was_made_from_it_stays(old):
    """Token stores may be deleted once all is trained: they come again by the same recipe."""
    shutil.rmtree(old.results / "tokens")
    (old.results / "corpora/ko/documents-00000-of-00001.parquet").unlink()
    plan = old.plan()
    adopted, left = old.adopt()
    [(name, why)] = left.items()
    assert name == artifact("filter_corpus", lang="ko", shard="00000-of-00001")
    assert "documents-00000-of-00001.parquet is not there" in why
    assert adopted == adoptable(plan) - {name} - {a for a in plan.walk() if a[0] == "token_store"}
    assert not adopt.waiting(plan)


def test_a_model_that_was_made_anew_is_no_input_of_an_old_one(old):
    plan = old.plan()
    new = Path(plan.record("train_base", {"run": "base-s0"}))
    new.parent.mkdir(parents=True)
    task = plan.task("train_base", run="base-s0")
    write_record(new, task, notes={}, rule="train_base", wall_seconds=0)
    _, left = old.adopt()
    assert "models/base/base-s0/record.json, which is not adopted" in left[BRIDGE]
    assert (old.results / "models/base/s0/record.json").exists()


def test_the_command_says_what_it_did_and_fails_where_something_is_left(old, capsys):
    flip(old.results / M / "step2/model.safetensors")
    assert cli.main(["adopt", "--config", "study.yaml", "--dry-run"]) == 1
    assert adopt.waiting(old.plan())
    assert cli.main(["adopt", "--config", "study.yaml"]) == 1
    output = capsys.readouterr().out
    assert re.search(r"^left +train_continual ko-bridge-s0: .*GPU-hours\.$", output, re.M)
    assert re.search(
        r"^\d+ adopted, \d+ left as they are; gaps, .*, figure, table, page, bundle are made again$", output, re.M
    )
    assert re.search("^the next run makes what is left again, of which training is reckoned at", output, re.M)


def test_a_disk_that_refuses_is_one_error_and_the_next_try_goes_on(old, monkeypatch, capsys):
    def full(name, path, model, texts, out):
        out.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(contents, "completed", full)
        assert cli.main(["adopt", "--config", "study.yaml"]) == 1
    assert re.search("^error: .*No space left on device.*run again", capsys.readouterr().err, re.M)
    plan = old.plan()
    assert old.adopt()[1] == {}
    assert all(read_record(plan.record(*name))["format"] == 2 for name in adoptable(plan))


def test_nobody_adopts_while_others_work_there(old):
    Path(".snakemake/locks").mkdir(parents=True)
    Path(".snakemake/locks/0.input.lock").touch()
    with pytest.raises(InputError, match="snakemake --unlock"):
        list(adopt.adopt(old.plan()))
    shutil.rmtree(".snakemake")
    with locked(Path(old.plan().work) / "adopt"), pytest.raises(Busy):
        list(adopt.adopt(old.plan()))
    assert old.adopt()[1] == {}


# ---------------------------------------------------------------- runs that are not done


def unfinished(old: Old) -> tuple[Path, dict]:
    """Leave of a run what it leaves when it is killed after its first step: a state, and nothing published."""
    record = old.record(f"{M}record.json")
    work = WorkDirectory(Path(old.plan().work) / "ko-bridge-s0" / record["recipe"])
    slot = work.begin_state()
    metrics = tables.read(old.results / M / "metrics.parquet").head(1)
    contents.pq.write_table(
        contents.pq.read_table(old.results / M / "metrics.parquet").slice(0, 1), slot / "metrics.parquet"
    )
    (slot / "weights").write_bytes(b"w")
    files = {name: file_digest(slot / name) for name in ("metrics.parquet", "weights")}
    identity = {"recipe": record["recipe"], "order": record["notes"]["order_sha256"]}
    write_json(slot / "state.json", {"step": 1, "identity": identity, "world": 1, "seconds": 2.0, "files": files})
    shutil.rmtree(old.results / M)
    return work.path, identity | {"loss": metrics["loss"].iloc[0]}


def test_a_run_that_is_not_done_goes_on(old):
    path, said = unfinished(old)
    adopted, left = old.adopt()
    assert BRIDGE in adopted
    assert all("which is not adopted" not in why for why in left.values())
    assert not path.exists()
    recipe = old.plan().recipe(BRIDGE)
    slot = WorkDirectory(path.with_name(recipe)).newest_state({"recipe": recipe, "order": said["order"]})
    assert slot is not None and slot.step == 1
    assert slot.metrics[0]["loss"] == said["loss"]
    assert {key: slot.metrics[0][key] for key in ("run", "learned", "arm", "seed")} == {
        "run": "ko-bridge-s0",
        "learned": "ko",
        "arm": "bridge",
        "seed": 0,
    }


def test_a_run_that_trains_at_this_moment_is_left_alone(old):
    path, _ = unfinished(old)
    with locked(path):
        _, left = old.adopt()
    assert "in use by" in left[BRIDGE]
    assert (path / "state-a" / "state.json").exists()
    assert BRIDGE in old.adopt()[0]
