"""Files appear whole or not at all, and every command looks at where it is to write before it works."""

import ast
import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import lorebridge
from lorebridge import publish, tables
from lorebridge.corpora.documents import filter_file
from lorebridge.errors import InputError
from lorebridge.probes.scoring import score_file
from lorebridge.trace.labels import write_sheet

TEXT = "This sentence is long enough to stay. "


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.txt"
    with publish.whole(out) as partial:
        partial.write_text("one")
        assert not out.exists()
    assert out.read_text() == "one"
    with pytest.raises(KeyboardInterrupt), publish.whole(out) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert out.read_text() == "one"
    assert names(out.parent) == ["out.txt"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "file")
    publish.write_text(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "file").read_text() == "text"


def test_a_table_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    rows = [{"doc_id": "a", "duplicate_of": "b", "reason": "duplicate"}]
    tables.write("duplicates", rows, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="stop"), tables.writer("duplicates", path) as write:
        write(rows * 5)
        raise ValueError("stop")
    with pytest.raises(ValueError, match="outside its schema"):
        tables.write("duplicates", pd.DataFrame([{"other": 1}]), path)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["table.parquet"]


# --- where commands write ---------------------------------------------------------------------------------------------


def jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run_filter(source: Path, out: Path) -> None:
    filter_file(lang="en", letters={"keep": "Latin"}, source=source, out=out, min_chars=20, max_deleted=0.3)


def run_score(source: Path, out: Path) -> None:
    score_file(model=source.parent, questions=source, out=out)


def run_sheet(source: Path, out: Path) -> None:
    files = dict.fromkeys(("hits", "judgments", "chunks", "questions"), source)
    write_sheet(corpus="ko", base="en", scripts={}, translations=None, recipe="", n=1, out=out, **files)


COMMANDS: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "filter": (run_filter, ".jsonl"),
    "score": (run_score, ".parquet"),
    "label-sheet": (run_sheet, ".csv"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_where_a_file_is_to_be_written_is_looked_at_first(tmp_path: Path, command: str) -> None:
    run, suffix = COMMANDS[command]
    source = jsonl(tmp_path / f"in{suffix}", [{"text": TEXT}])
    before = source.read_bytes()
    folder = tmp_path / f"folder{suffix}"
    folder.mkdir()
    (tmp_path / f"link{suffix}").symlink_to(source)
    (tmp_path / f"hard{suffix}").hardlink_to(source)
    (tmp_path / "file").write_text("")
    refusals = {
        folder: "is a folder",
        tmp_path / "out.xlsx": "not a format that is written",
        tmp_path / "out": "not a format that is written",
        tmp_path / "file" / f"out{suffix}": "file is no folder",
        Path(f"/proc/nowhere/out{suffix}"): "/proc cannot be written to",
        tmp_path / f"{'n' * 250}{suffix}": "cannot be written",
    }
    if command != "label-sheet":  # which never writes over a file
        refusals |= {
            source: "is also what is read",
            tmp_path / f"link{suffix}": "is also what is read",
            tmp_path / f"hard{suffix}": "is also what is read",
            tmp_path / "folder" / ".." / source.name: "is also what is read",
        }
        (tmp_path / "folder").mkdir()
    for out, what in refusals.items():
        with pytest.raises(InputError, match=re.escape(what)):
            run(source, out)
    assert source.read_bytes() == before
    assert not list(tmp_path.rglob("*.partial"))


def test_a_device_is_no_place_for_a_file() -> None:
    with pytest.raises(InputError, match="is there and is no file"):
        publish.check_file("/dev/null")


def test_a_folder_of_files_is_looked_at_first(tmp_path: Path) -> None:
    publish.check_folder(tmp_path / "new" / "folder", ["ko.csv"])
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    (tmp_path / "there" / "ko.csv").mkdir(parents=True)
    for out, what in {
        tmp_path / "file": "is a file",
        tmp_path / "file" / "folder": "file is no folder",
        tmp_path / "there": "is a folder",
        Path("/proc/nowhere"): "/proc cannot be written to",
    }.items():
        with pytest.raises(InputError, match=re.escape(what)):
            publish.check_folder(out, ["ko.csv"])


def test_filtering_a_file_onto_itself_or_to_nothing_leaves_what_was_there(tmp_path: Path) -> None:
    source, out = jsonl(tmp_path / "a.jsonl", [{"text": TEXT}]), tmp_path / "out.jsonl"
    run_filter(source, out)
    made = out.read_bytes()
    foreign = jsonl(tmp_path / "b.jsonl", [{"text": "東京"}])
    with pytest.raises(InputError, match="nothing is left"):
        run_filter(foreign, out)
    assert out.read_bytes() == made
    assert names(tmp_path) == ["a.jsonl", "b.jsonl", "out.jsonl"]


# Modules that write in a folder of their own, which takes its place when it is whole, or resume state.
OWN_WAY = {"train", "records.py", "publish.py", "fetch.py", "store.py"}


def test_no_module_writes_a_file_in_place() -> None:
    """Every call that writes to a path stands in the body of :func:`publish.whole`, on the path that it yields."""
    root = Path(lorebridge.__file__).parent
    found = []
    for path in sorted(root.rglob("*.py")):
        if OWN_WAY & set(path.relative_to(root).parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            name, target = node.func.attr, ast.unparse(node.func.value)
            writes = name in ("write_text", "write_bytes") and target not in ("publish", "partial")
            writes |= name in ("to_csv", "to_parquet", "savefig") and bool(node.args)
            writes &= not (node.args and "partial" in ast.unparse(node.args[0]))
            mode = [ast.unparse(a) for a in (*node.args, *(k.value for k in node.keywords))]
            writes |= (
                name == "open" and target not in ("partial", "tarfile") and any(m in ("'w'", "'wb'") for m in mode)
            )
            writes |= name in ("copyfile", "copy2") and "partial" not in ast.unparse(node.args[1])
            if writes:
                found.append(f"{path.relative_to(root)}:{node.lineno} {ast.unparse(node)[:80]}")
    assert not found, "\n".join(found)


def test_a_file_under_the_name_of_an_unfinished_one_is_not_lost(tmp_path: Path) -> None:
    """What is read may be called OUT.partial; and another's, such as a download, is left alone by the look."""
    partial = tmp_path / "out.json.partial"
    partial.write_text("precious")
    with pytest.raises(InputError, match=r"out\.json: is also what is read"):
        publish.check_file(tmp_path / "out.json", inputs=[partial])
    publish.check_file(tmp_path / "out.json")
    assert partial.read_text() == "precious"
