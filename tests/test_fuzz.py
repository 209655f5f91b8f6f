"""Whatever a configuration, a question file or a file of documents holds: one line, and never a traceback.

``LOREBRIDGE_FUZZ=2000 pytest tests/test_fuzz.py`` tries so many of each kind, other ones each time.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml
from hypothesis import strategies as st

from lorebridge import config, records, studies
from lorebridge.cli import main
from lorebridge.corpora.released import read_released
from lorebridge.corpora.sources import open_source
from lorebridge.errors import LorebridgeError

ROOT = Path(__file__).parents[1]
TRIES = os.environ.get("LOREBRIDGE_FUZZ")


def tries(few: int):
    """Settings of a property: few examples and always the same, or as many new ones as are asked for."""
    return hypothesis.settings(
        max_examples=int(TRIES or few),
        derandomize=TRIES is None,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


@functools.cache
def small() -> dict[str, Any]:
    """The demo with few models, so that a plan is made fast."""
    demo = yaml.safe_load((ROOT / "config" / "articles.yaml").read_text(encoding="utf-8"))
    demo.pop("prereg", None)  # of more seeds than one
    return (
        demo
        | {"arms": ["bridge", "no_bridge"], "seeds": [0]}
        | {"transfer": demo["transfer"] | {"contrasts": [["bridge", "no_bridge"]]}}
    )


@functools.cache
def words() -> tuple[list[str], list[Any]]:
    """Every key and every value of an enumeration that a schema names."""
    keys, values = set(), set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            keys.update(node.get("properties", {}))
            values.update(value for value in node.get("enum", []) if isinstance(value, str))
            values.update([node["const"]] if "const" in node else [])
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(config.schema())
    return sorted(keys | {"en", "ko", "bo", "zz", "default"}), sorted(values)


def places(node: Any, path: tuple = ()) -> list[tuple]:
    """Return the path of every value of a configuration."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path] * bool(path) + [place for key, value in items for place in places(value, (*path, key))]


ODD = [
    None,
    True,
    0,
    1,
    -1,
    2,
    7,
    0.5,
    2.0,
    float("nan"),
    float("inf"),
    10**20,
    "",
    " ",
    "a",
    "3e-3",
    "null",
    "é\u2028",
]
ODD += ["../x", "/dev/null", "{x}", "{en} {xx}", "a\nb", "~", [], [None], [[]], [0, 0], {}, {"a": 1}, {"kind": "local"}]
ODD += [{"kind": ["planted"]}, {"kind": {}}, {"kind": "planted", "name": "planted"}]


@st.composite
def configurations(draw: Any) -> dict[str, Any]:
    """Draw the demo's configuration with some of its keys or values changed for others."""
    changed = copy.deepcopy(small())
    keys, values = words()
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(changed)))
        node = functools.reduce(lambda inner, key: inner[key], path[:-1], changed)
        value = draw(st.sampled_from([*ODD, *values]) | st.integers(-3, 300) | st.text(max_size=4))
        way = draw(st.sampled_from(["replace", "replace", "remove", "add", "move"]))
        if way == "remove":
            del node[path[-1]]
        elif way == "add" and isinstance(node, dict):
            node[draw(st.sampled_from(keys))] = copy.deepcopy(value)
        elif way == "move":
            other = draw(st.sampled_from(places(changed)))
            node[path[-1]] = copy.deepcopy(functools.reduce(lambda inner, key: inner[key], other, changed))
        else:
            node[path[-1]] = copy.deepcopy(value)
        if not places(changed):
            break
    return changed


def run(*arguments: object) -> tuple[int, str]:
    """Return the status of a command and what it says on stderr; an exception that it does not know goes through."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    said = err.getvalue()
    assert status in (0, 1)
    if status:
        line = said.rstrip("\n").replace("\r", "\n").splitlines()[-1]  # behind what a bar drew
        assert line.startswith("error: "), said
        assert len(line) < 2000, said
        assert "Traceback" not in said
    return status, said


def plan(path: Path) -> None:
    """Plan a study through the command line, and as the workflow does."""
    status, _ = run("plan", "--json", "--config", path)
    if status == 0:
        planned = studies.plan(config.load(path))
        with contextlib.suppress(LorebridgeError):  # a file that is not there
            for name in planned.walk():
                planned.recipe(name)
                planned.task(name[0], **dict(name[1])).dumps()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def test_what_is_changed_is_good_itself(folder):
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(small(), allow_unicode=True), encoding="utf-8")
    assert run("plan", "--json", "--config", path) == (0, "")


@tries(40)
@hypothesis.given(changed=configurations())
def test_configurations(folder, changed):
    path = folder / "study.yaml"
    with contextlib.suppress(ValueError):  # a surrogate cannot be written
        path.write_text(yaml.safe_dump(changed, allow_unicode=True, sort_keys=False), encoding="utf-8")
    plan(path)


@st.composite
def torn(draw: Any, whole: bytes) -> bytes:
    """Draw a file with some of its bytes cut out, doubled or changed."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(whole)))
        end = draw(st.integers(start, min(len(whole), start + 40)))
        some = draw(
            st.sampled_from([b"", whole[start:end] * 2, b"\xff", b"\0", b"\t", b'"', b"{", b"[", b": ", b"\n", b"&a"])
        )
        whole = whole[:start] + some + whole[end:]
    return whole


@tries(40)
@hypothesis.given(data=st.data())
def test_torn_configurations(folder, data):
    path = folder / "torn.yaml"
    path.write_bytes(data.draw(torn(yaml.safe_dump(small(), allow_unicode=True).encode())))
    plan(path)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=6)
    | st.just("a ____ b"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
QUESTION = st.fixed_dictionaries(
    {"question": st.just("a ____ b") | JSON, "options": st.just(["x", "y"]) | JSON, "answer": st.just("x") | JSON}
)


@tries(150)
@hypothesis.given(rows=st.lists(st.just({"question": "____", "options": ["x", "y"], "answer": "x"}) | QUESTION) | JSON)
def test_questions(folder, rows):
    path = folder / "questions.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    for several in (False, True):
        with contextlib.suppress(LorebridgeError):
            read_released(path, (0,), several_answers=several)


@tries(60)
@hypothesis.given(data=st.data())
def test_torn_questions(folder, data):
    path = folder / "torn.json"
    whole = [{"question": "The ____ is.", "options": ["a", "b", "ü"], "answer": "a"}] * 3
    path.write_bytes(data.draw(torn(json.dumps(whole, ensure_ascii=False).encode())))
    with contextlib.suppress(LorebridgeError):
        read_released(path)


ROW = st.fixed_dictionaries({"id": st.just("1") | JSON, "text": st.just("a text " * 40) | JSON}) | JSON


@tries(20)
@hypothesis.given(rows=st.lists(ROW, max_size=4), suffix=st.sampled_from(["jsonl", "tsv", "parquet"]), data=st.data())
def test_documents(folder, rows, suffix, data):
    path = folder / f"documents.{suffix}"
    if suffix == "parquet":
        import pandas as pd

        frame = pd.DataFrame([row if isinstance(row, dict) else {"text": str(row)} for row in rows], dtype="str")
        with contextlib.suppress(ValueError):
            frame.to_parquet(path)
        whole = path.read_bytes() if path.exists() else b""
    else:
        lines = [json.dumps(row) if suffix == "jsonl" else "\t".join(["1", str(row)]) for row in rows]
        whole = "".join(f"{line}\n" for line in ["id\ttext"] * (suffix == "tsv") + lines).encode(errors="replace")
    if data.draw(st.booleans()):
        whole = data.draw(torn(whole))
    path.write_bytes(whole)
    run("filter", "--lang", "en", "--config", ROOT / "config" / "articles.yaml", path, folder / "out.jsonl")


@tries(60)
@hypothesis.given(data=st.data())
def test_torn_zips(folder, data):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", data.draw(st.sampled_from([0, 8, 12, 14]))) as archive:
        for lang, line in (("en", "One\n"), ("ko", "하나\n")):
            archive.writestr(zipfile.ZipInfo(f"a.{lang}"), line * 40)
    path = folder / "torn.zip"
    path.write_bytes(data.draw(torn(whole.getvalue())))
    with contextlib.suppress(LorebridgeError):
        list(open_source({"kind": "local", "name": "a"}, path, ["en", "ko"]).batches())


@tries(40)
@hypothesis.given(data=st.data())
def test_records(folder, data):
    """A record that was edited, or torn: what reads it says so, or takes it for none."""
    place, made = folder / "made.csv.record.json", folder / "made.csv"
    made.write_text("a\n", encoding="utf-8")
    task = records.Task("pairs", {"run": "a", "shares": [0.5]}, {"other/record.json": "0" * 16})
    files = records.describe({"table": made}, folder) | {"tree": {"path": "x", "bytes": 1, "sha256": "", "files": {}}}
    files["tree"]["files"]["y"] = {"bytes": 1, "sha256": ""}
    record = records.write_record(place, task, notes={"n": 1}, rule="pairs", wall_seconds=1, files=files)
    record = json.loads(json.dumps(record))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(record)))
        node = functools.reduce(lambda inner, key: inner[key], path[:-1], record)
        if data.draw(st.booleans()):
            del node[path[-1]]
        else:
            node[path[-1]] = data.draw(JSON)
        if not places(record):
            break
    whole = json.dumps(record).encode()
    place.write_bytes(data.draw(torn(whole)) if data.draw(st.integers(0, 4)) == 0 else whole)
    run("explain", made)
    found = records.read_record(place) or {}
    records.whole(place, found, [str(made)])
    records.resized(place, found, [str(made)])
    with contextlib.suppress(LorebridgeError):
        records.Task("b", {}, {str(place): task.recipe}, call={"inputs": {"table": {}}}).check_inputs({"table": [made]})
