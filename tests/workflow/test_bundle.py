"""Bundles: what a study's tables and figures are drawn from, redrawn elsewhere; and archives that are none."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorebridge import studies, tables
from lorebridge.bundle import MANIFEST, Redrawing, pack, redrawing
from lorebridge.config import load
from lorebridge.errors import ConfigError, InputError
from lorebridge.plan import artifact
from lorebridge.records import Task
from lorebridge.studies.bridge import study as bridge

ROOT = Path(__file__).parents[2]
SCORE = "probes/scores/ko-bridge-s0.parquet"


def members(path: Path) -> dict[str, bytes]:
    """The content of an archive, name by name."""
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive.getmembers()}


def archived(path: Path, contents: dict[str, bytes], *further: tarfile.TarInfo) -> Path:
    """Write an archive of these members, the manifest first, and of further ones."""
    with tarfile.open(path, "w:xz") as archive:
        for name in sorted(contents, key=lambda name: (name != MANIFEST, name)):
            member = tarfile.TarInfo(name)
            member.size = len(contents[name])
            archive.addfile(member, io.BytesIO(contents[name]))
        for member in further:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def listed(contents: dict[str, bytes]) -> dict[str, dict]:
    return {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in contents.items()
    }


@pytest.fixture
def contents(demo) -> dict[str, bytes]:
    """A bundle of the demo that holds one table and its record."""
    record = json.dumps({"recipe": "0123456789abcdef"}).encode()
    files = {SCORE: b"scores", f"{SCORE}.record.json": record}
    stated = {key: value for key, value in demo.items() if key not in ("results", "work", "data")}
    manifest = {"format": 2, "config": stated, "figures": ["figure3"], "tables": [], "files": listed(files)}
    return files | {MANIFEST: json.dumps(manifest).encode()}


def with_manifest(contents: dict[str, bytes], change) -> dict[str, bytes]:
    manifest = json.loads(contents[MANIFEST])
    change(manifest)
    return contents | {MANIFEST: json.dumps(manifest).encode()}


def test_a_bundle_keeps_the_order_of_the_languages(demo, tmp_path):
    """Panels and rows stand in that order, which a task's own literals lose."""
    out = tmp_path / "demo.bundle.tar.xz"
    task = Task.loads(studies.plan(demo).task("bundle").dumps())
    assert list(task.literals["config"]["languages"]) == ["bo", "en", "ko"]
    pack(**task.literals, files={}, records=[], root=tmp_path, out=out)
    assert Redrawing(out, str(tmp_path / "redrawn")).study.langs == studies.plan(demo).study.langs == ["ko", "bo"]


def test_the_bundle_that_comes_with_the_project_is_whole(root, tmp_path):
    """`make figures` draws it before anything is trained; what outdates it asks for another (docs/redraw.md)."""
    path = root / "results" / "demo.bundle.tar.xz"
    assert path.stat().st_size < 3_500_000
    plan_of = Redrawing(path, str(tmp_path))
    figures = studies.plan(load(root / "config" / "demo.yaml")).figures
    assert figures == list(plan_of.figures)
    for stage, wildcards in plan_of.targets():
        plan_of.task(stage, **dict(wildcards))


# ---------------------------------------------------------------- tables


@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "question_id": st.text(max_size=4),
                "rank": st.integers(-(2**15), 2**15 - 1),
                "score": st.floats(width=32, allow_nan=False) | st.none(),
                "method": st.sampled_from(["bm25", "dense"]),
                "chunk_id": st.text(max_size=3),
                "doc_id": st.just("d"),
            }
        ),
        max_size=40,
    )
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_packed_table_has_the_same_rows(tmp_path, rows):
    tables.write("hits", rows, tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(tables.packed(tmp_path / "a.parquet"))
    pd.testing.assert_frame_equal(tables.read(tmp_path / "b.parquet"), tables.read(tmp_path / "a.parquet"))
    assert tables.packed(tmp_path / "b.parquet") == tables.packed(tmp_path / "a.parquet")


def test_a_packed_order_keeps_its_totals_alone(tmp_path):
    row = dict.fromkeys(tables.SCHEMAS["order"].names, 0) | {"stream": "mono-en"}
    tables.write("order", [row] * 9, tmp_path / "a.parquet", metadata={"order": '{"run": "ko"}'})
    (tmp_path / "b.parquet").write_bytes(tables.packed(tmp_path / "a.parquet", rows=False))
    with tables.pq.ParquetFile(tmp_path / "b.parquet") as file:
        assert file.metadata.num_rows == 0
        assert file.schema_arrow.metadata[b"order"] == b'{"run": "ko"}'


# ---------------------------------------------------------------- archives that are no bundles


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def of_size(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    return member


EVIL = {
    "an absolute path": of_size("/tmp/evil", 1),
    "a path upwards": of_size("../../evil", 1),
    "a path upwards inside": of_size("probes/../../evil", 1),
    "a symbolic link": special("probes/link", tarfile.SYMTYPE, "/etc/passwd"),
    "a symbolic link in the place of a table": special(SCORE, tarfile.SYMTYPE, "/etc/passwd"),
    "a hard link": special("hard", tarfile.LNKTYPE, SCORE),
    "a device": special("device", tarfile.CHRTYPE),
    "a pipe": special("pipe", tarfile.FIFOTYPE),
    "a folder": special("probes", tarfile.DIRTYPE),
    "a file that is not listed": of_size("evil", 1),
    "a file twice": of_size(SCORE, 6),
    "a second manifest": of_size(MANIFEST, 2),
}


@pytest.mark.parametrize("kind", EVIL)
def test_an_evil_member_is_refused_and_written_nowhere(tmp_path, contents, kind):
    path = archived(tmp_path / "evil.tar.xz", contents, EVIL[kind])
    with pytest.raises(InputError, match="Do not use it"):
        Redrawing(path, str(tmp_path / "a" / "b" / "redrawn"))
    written = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if not p.is_dir()}
    assert written <= {"evil.tar.xz", f"a/b/redrawn/articles/{SCORE}", f"a/b/redrawn/articles/{SCORE}.record.json"}
    assert not any(p.is_symlink() for p in tmp_path.rglob("*"))


@pytest.mark.parametrize("name", ["/etc/evil", "../evil", "a/../../evil", "a//b", "a\\b", "./a", "a\nb", "", "ключ"])
def test_a_manifest_that_lists_other_places_is_refused(tmp_path, contents, name):
    evil = with_manifest(contents, lambda m: m["files"].update({name: {"bytes": 1, "sha256": "0" * 64}}))
    with pytest.raises(InputError, match=re.escape(repr(name))):
        Redrawing(archived(tmp_path / "evil.tar.xz", evil), str(tmp_path / "redrawn"))
    assert not (tmp_path / "redrawn").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m["files"][SCORE].update(bytes=1 << 40), "more than"),
        (lambda m: m["files"][SCORE].update(bytes=-1), "no size"),
        (lambda m: m["files"].update({SCORE: 3}), "no size"),
        (lambda m: m.update(format=3), "format 2"),
        (lambda m: m.update(format=1), "format 1, .*lorebridge adopt --config CONFIG, then snakemake .*bundle"),
        (lambda m: m.pop("config"), "no configuration"),
        (lambda m: m["config"].update(study="../evil"), "study"),
        (lambda m: m["config"].update(colour="red"), "colour"),
        (lambda m: m.update(figures="figure3"), "no figures"),
    ],
    ids=[
        "huge",
        "negative",
        "no entry",
        "another format",
        "the first format",
        "no configuration",
        "a study elsewhere",
        "an unknown key",
        "no list",
    ],
)
def test_a_manifest_that_is_wrong_is_refused_before_anything_is_written(tmp_path, contents, change, said):
    path = archived(tmp_path / "wrong.tar.xz", with_manifest(contents, change))
    with pytest.raises(InputError, match=said) as error:
        Redrawing(path, str(tmp_path / "redrawn"))
    assert "wrong.tar.xz" in str(error.value)
    assert not (tmp_path / "redrawn").exists()


def test_what_is_no_archive_is_refused(tmp_path, contents):
    (tmp_path / "text").write_text("not an archive")
    (tmp_path / "empty").write_bytes(b"")
    archived(tmp_path / "other", {"a": b"1"})
    archived(tmp_path / "list", {MANIFEST: b"[]"})
    for name in ("text", "empty", "other", "list"):
        with pytest.raises(InputError, match=rf"{name}.* is not a bundle"):
            Redrawing(tmp_path / name, str(tmp_path / "redrawn"))
    with pytest.raises(InputError, match=r"absent.* cannot be read .*--config bundle=PATH"):
        Redrawing(tmp_path / "absent", str(tmp_path / "redrawn"))


def test_the_settings_of_the_second_entry_point(tmp_path):
    with pytest.raises(ConfigError, match="no bundle is named"):
        redrawing({})
    with pytest.raises(ConfigError, match="unknown key 'study'"):
        redrawing({"bundle": "x", "study": "demo"})
    with pytest.raises(ConfigError, match="unknown key 'bundel'"):
        redrawing({"bundel": "x"})


def test_a_later_version_of_a_stage_leaves_a_bundle_good(tmp_path, contents, monkeypatch):
    """What was not made here keeps the recipe of its record; a drawing's own version counts."""
    path = archived(tmp_path / "b.tar.xz", contents)
    score = artifact("score", run="ko-bridge-s0")
    monkeypatch.setitem(bridge.STAGES, "score", dataclasses.replace(bridge.STAGES["score"], version=99))
    there = Redrawing(path, str(tmp_path / "redrawn"))
    assert there.recipe(score) == "0123456789abcdef"
    with pytest.raises(InputError, match=r"figure figure3 is drawn from transfer/accuracies.parquet \(is missing"):
        there.task("figure", figure="figure3")


# ---------------------------------------------------------------- a whole study


class Laptop:
    """A folder with no more than a bundle in reach."""

    def __init__(self, folder: Path, path: Path) -> None:
        self.folder, self.path = folder, path
        self.root = folder / "redrawn" / "tiny"
        folder.mkdir(exist_ok=True)

    def snakemake(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("snakemake")),
                "--snakefile",
                str(ROOT / "workflow" / "figures.smk"),
                "--directory",
                str(self.folder),
                *arguments,
                "--config",
                f"bundle={self.path}",
            ],
            env=dict(os.environ, PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=900,
        )
        return done.returncode, done.stdout + done.stderr

    def planned(self, *arguments: str) -> dict[str, int]:
        code, output = self.snakemake("--dry-run", *arguments)
        assert code == 0, output
        if "Nothing to be done" in output:
            return {}
        found = re.findall(r"^(\w+)\s+(\d+)$", output.split("Job stats:")[-1].split("Reasons:")[0], re.M)
        return {name: int(n) for name, n in found if name not in ("all", "total")}


@pytest.fixture(scope="module")
def bundled(finished, tmp_path_factory):
    """A finished study with its bundle. Do not change it."""
    study = finished.copy(tmp_path_factory.mktemp("bundled") / "study")
    study.run("bundle")
    return study


@pytest.fixture(scope="module")
def archive(bundled) -> Path:
    return bundled.results.with_name("tiny.bundle.tar.xz")


@pytest.fixture(scope="module")
def redrawn(archive, tmp_path_factory) -> Laptop:
    """A machine on which everything was redrawn. Do not change it."""
    laptop = Laptop(tmp_path_factory.mktemp("laptop"), archive)
    code, output = laptop.snakemake("--cores", "2")
    assert code == 0, output
    return laptop


@pytest.mark.slow
def test_a_study_is_packed_to_the_same_bytes_and_is_not_touched(bundled, archive, tmp_path):
    assert bundled.planned() == bundled.planned("bundle") == {}
    again = bundled.copy(tmp_path / "again")
    again.run("bundle", "--forcerun", "bundle")
    assert again.results.with_name(archive.name).read_bytes() == archive.read_bytes()


@pytest.mark.slow
def test_the_study_never_sees_what_is_redrawn_beside_it(bundled, archive, tmp_path):
    study = bundled.copy(tmp_path / "study")
    before = {path: path.stat().st_mtime_ns for path in study.results.rglob("*")}
    laptop = Laptop(study.folder, archive)
    code, output = laptop.snakemake("--cores", "1", "redrawn/tiny/figures/examples.svg")
    assert code == 0, output
    assert study.planned() == {}
    assert {path: path.stat().st_mtime_ns for path in study.results.rglob("*")} == before


@pytest.mark.slow
def test_a_bundle_holds_what_is_drawn_from_and_nothing_of_the_machine(bundled, archive):
    held = members(archive)
    manifest = json.loads(held.pop(MANIFEST))
    study = studies.plan(bundled.config)
    wanted = {path for paths in study.reads("bundle").values() for path in paths} | {
        study.record(*name) for name in study.inputs("bundle")
    }
    assert set(held) == {str(Path(path).relative_to(study.root)) for path in wanted} == set(manifest["files"])
    assert listed(held) == manifest["files"]
    assert manifest["config"]["seeds"] == bundled.config["seeds"] and "data" not in manifest["config"]
    for name, content in held.items():
        assert str(bundled.folder).encode() not in content, name
        if name.endswith(".parquet") and not name.startswith("order/"):
            found = tables.pq.read_table(io.BytesIO(content))
            assert found.equals(tables.pq.read_table(bundled.results / name)), name
        if name.endswith("record.json"):
            record = json.loads(content)
            assert not {"argv", "device"} & set(record) and {"recipe", "git", "packages"} <= set(record)
    with tarfile.open(archive) as opened:
        order = opened.getmembers()
    assert [member.name for member in order] == [MANIFEST, *sorted(held)]
    assert {(member.mtime, member.uid, member.uname) for member in order} == {(0, 0, "")}


@pytest.mark.slow
def test_a_dry_run_elsewhere_lists_drawings_alone(archive, tmp_path, bundled):
    planned = Laptop(tmp_path, archive).planned()
    study = studies.plan(bundled.config)
    assert planned.pop("table") == len(study.tables)
    assert planned == {"page": 1} | {f"draw_{figure}": 1 for figure in study.figures}
    code, output = Laptop(tmp_path, archive).snakemake("--dry-run", "train_continual")
    assert code and "train_continual" in output


@pytest.mark.slow
def test_everything_is_redrawn_to_the_same_bytes_and_once(bundled, redrawn):
    for folder in ("tables", "figures", "report"):
        made = {path.name for path in (bundled.results / folder).iterdir() if not path.name.endswith("record.json")}
        assert made and made <= {path.name for path in (redrawn.root / folder).iterdir()}
        for name in made:
            assert (redrawn.root / folder / name).read_bytes() == (bundled.results / folder / name).read_bytes(), name
    assert redrawn.planned() == {}
    assert redrawn.snakemake("--report", "redrawn/tiny/report.html")[0] == 0
    assert (redrawn.root / "report" / "summary.html").stat().st_size < (redrawn.root / "report.html").stat().st_size
    assert not (redrawn.folder / "results").exists()


@pytest.mark.slow
def test_another_setting_of_a_drawing_redraws_that_alone(bundled, redrawn, archive, tmp_path):
    study = bundled.copy(tmp_path / "study")
    study.config["transfer"]["ema"] = 0.5
    study.write()
    study.run("bundle")
    laptop = Laptop(tmp_path / "laptop", study.results.with_name(archive.name))
    shutil.copytree(redrawn.folder, laptop.folder, dirs_exist_ok=True)
    assert laptop.planned() == {"draw_figure3": 1, "page": 1}


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["a table is left out", "a byte is another", "the end is cut off"])
def test_what_is_missing_or_damaged_is_named_with_the_figure_that_wants_it(archive, tmp_path, damage):
    path, contents = tmp_path / "damaged.tar.xz", members(archive)
    match damage:
        case "a table is left out":
            del contents["transfer/gaps.parquet"]
            manifest = json.loads(contents[MANIFEST])
            del manifest["files"]["transfer/gaps.parquet"]
            archived(path, contents | {MANIFEST: json.dumps(manifest).encode()})
        case "a byte is another":
            content = bytearray(contents["transfer/gaps.parquet"])
            content[len(content) // 2] ^= 1
            archived(path, contents | {"transfer/gaps.parquet": bytes(content)})
        case "the end is cut off":
            path.write_bytes(archive.read_bytes()[: int(0.9 * archive.stat().st_size)])
    laptop = Laptop(tmp_path / "laptop", path)
    code, output = laptop.snakemake("--dry-run", "redrawn/tiny/figures/gaps.svg")
    assert code
    said = "is missing" if damage == "a table is left out" else "is damaged"
    assert re.search(rf"figure gaps is drawn from .*transfer/gaps\.parquet \({said}\)", output), output
    assert "snakemake bundle --configfile" in output
    assert not (laptop.root / "transfer" / "gaps.parquet").exists()
    # what does not need it is drawn
    assert laptop.planned("redrawn/tiny/figures/examples.svg") == {"draw_examples": 1}
