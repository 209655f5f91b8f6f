"""What is said in one line, and what keeps its traceback."""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lorebridge import cli, publish, records, tables
from lorebridge.errors import TRACEBACK, InputError, told
from lorebridge.tokens.tokenizer import train_tokenizer

LOREBRIDGE = [sys.executable, "-m", "lorebridge.cli"]


def test_a_defect_keeps_its_traceback():
    """What nobody expects is told in no line, or nobody would look for it."""
    defects = [KeyError("a"), ValueError("b"), TypeError("c"), FileNotFoundError(errno.ENOENT, "d"), RuntimeError("e")]
    defects += [ModuleNotFoundError("f", name="lorebridge.nothing"), ImportError("g"), IndexError("h"), OSError("i")]
    assert [told(error) for error in defects] == [None] * len(defects)


def test_what_the_system_refuses_is_told_through_every_library(tmp_path):
    """Files of a bounded size stand for a full disk: each library meets the same refusal of the system."""
    script = """
import resource, signal, sys
from pathlib import Path
import numpy as np, pandas as pd
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models
from lorebridge import publish
from lorebridge.errors import told
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
frame = pd.DataFrame({"a": [str(number) * 9 for number in range(50_000)]})
tokenizer = Tokenizer(models.WordLevel({f"x{i}": i for i in range(10_000)}, "x0"))
ways = {
    "parquet": lambda path: frame.to_parquet(path, compression=None),
    "csv": lambda path: frame.to_csv(path),
    "text": lambda path: path.write_text("x" * 10**6),
    "safetensors": lambda path: save_file({"a": np.zeros(10**5)}, path),
    "tokenizer": lambda path: tokenizer.save(str(path)),
}
for name, write in ways.items():
    try:
        with publish.whole(Path(sys.argv[1]) / name) as partial:
            write(partial)
    except Exception as error:
        print(name, "->", told(error))
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    said = dict(line.split(" -> ") for line in done.stdout.splitlines())
    assert set(said) == {"parquet", "csv", "text", "safetensors", "tokenizer"}
    for name, line in said.items():
        assert line.endswith("File too large. Raise the limit on the size of files (ulimit -f), or write elsewhere."), (
            name
        )
    for name in ("parquet", "csv", "text"):
        assert said[name].startswith(f"{tmp_path / name}: ")
    assert list(tmp_path.iterdir()) == [], "nothing half written is left"


def on_a_full_disk(disk, *command):
    """Run a command with a real disk of half a megabyte at `disk`."""
    disk.mkdir()
    inside = f"mount -t tmpfs -o size=512k full {disk} && exec {shlex.join(map(str, command))}"
    done = subprocess.run(["unshare", "--mount", "bash", "-c", inside], capture_output=True, text=True)
    if "unshare failed" in done.stderr or "permission denied" in done.stderr:
        pytest.skip("a file system can be mounted by root alone")
    return done


def test_a_disk_that_is_full_ends_a_command_in_one_line(root, tmp_path):
    disk = tmp_path / "disk"
    source = tmp_path / "in.jsonl"
    rows = ({"id": str(i), "text": f"{i} " + os.urandom(600).hex()} for i in range(3000))
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [*LOREBRIDGE, "filter", "--lang", "en", "--config", str(root / "config" / "articles.yaml"), str(source)]
    done = on_a_full_disk(disk, *command, disk / "out.parquet")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: {disk / 'out.parquet'}: No space left on device. Make room")
    assert "Traceback" not in done.stderr


def test_what_a_full_disk_does_not_take_is_named_and_leaves_nothing(tmp_path):
    """A token store of many empty documents (its offsets do not fit, its tokens do), a record, what was declared."""
    texts = tmp_path / "texts.parquet"
    rows = [{"doc_id": str(i), "title": "", "text": "x" * (i < 9), "source": "s", "n_chars": 1} for i in range(120_000)]
    tables.write("documents", rows, texts)
    train_tokenizer(tables=[("en", "text", texts)], vocab_size=257, bytes_per_group=9, out=tmp_path / "tokenizer")
    script = """
import sys
from pathlib import Path
from matplotlib.figure import Figure
from lorebridge import declared, records
from lorebridge.errors import told
from lorebridge.figures import style
from lorebridge.tokens.store import build_store
disk, folder = map(Path, sys.argv[1:])
task = records.Task("pairs", {})
long = {"a": "x" * 600_000}
def figure():
    (disk / "all").write_bytes(bytes(508 << 10))
    drawn = Figure()
    drawn.subplots().set_title("a title, with letters of a font")
    style.save(drawn, disk / "figure")
ways = {
    "store": lambda: build_store(
        tables=[folder / "texts.parquet"], column="text", tokenizer=folder / "tokenizer", out=disk / "store"),
    "record.json": lambda: records.write_record(disk / "record.json", task, notes=long, rule="r", wall_seconds=1),
    "declared.json": lambda: declared.begin(disk / "declared.json", long),
    "figure.pdf": figure,
}
for name, way in ways.items():
    try:
        way()
    except Exception as error:
        left = {path.name for path in disk.rglob("*") if path.is_file()} - {"all"}
        print(name, told(error), sorted(left), sep=" -> ")
(disk / "all").write_bytes(bytes(512 << 10))
with task.making(disk / "record.json", logfile=disk / "log"):
    records.write_record(disk / "record.json", task, notes={}, rule="r", wall_seconds=1)
"""
    disk = tmp_path / "disk"
    done = on_a_full_disk(disk, sys.executable, "-c", script, disk, tmp_path)
    full = "No space left on device. Make room on the disk and run again."
    names = ["store", "record.json", "declared.json", "figure.pdf"]
    assert done.stdout.splitlines() == [f"{name} -> {disk / name}: {full} -> []" for name in names]
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].endswith(f"lorebridge: error: {disk / 'record.json'}: {full}")
    assert done.returncode == 1


def test_the_reader_of_the_output_may_end(root):
    """`lorebridge plan | head -1`: nothing is said, and the status is that of a process that SIGPIPE ends."""
    command = [*LOREBRIDGE, "plan", "--config", str(root / "config" / "config.yaml")]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_a_broken_pipe_elsewhere_is_a_defect(monkeypatch, tmp_path):
    """Of a server, say, to which a command speaks: its own output is read all the while."""
    monkeypatch.setattr(cli, "_explain", lambda _: os.write(_without_reader(), b"x"))
    with (tmp_path / "out").open("w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        with pytest.raises(BrokenPipeError):
            cli.main(["explain", "x"])


def _without_reader():
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError("Unable to allocate 9 GiB"), "not enough memory (Unable to allocate 9 GiB)"),
        (PermissionError(errno.EACCES, "x", "a.json"), "a.json: Permission denied. Get the right to it"),
        (ModuleNotFoundError("x", name="pyserini"), "the package pyserini is not installed here"),
        (InputError("a", "b", "c"), "a: b. c"),
        (InputError("a", "b (Invalid data\n)", "c"), "a: b (Invalid data ). c"),
        (InputError("a", "b (a\x1eb\x1b[2J\u2028\x85\ud800)", "c"), r"a: b (a\x1eb\x1b[2J\u2028\x85\ud800). c"),
        (PermissionError(errno.EACCES, "x", "a\x85\udcff.json"), r"a\x85\udcff.json: Permission denied."),
    ],
)
def test_both_entrances_say_the_same_line(monkeypatch, capsys, tmp_path, error, line):
    """The command line, and the jobs of rules; each with its traceback on demand."""

    def fail(*_):
        raise error

    monkeypatch.setattr(cli, "_explain", fail)
    assert cli.main(["explain", "x"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {line}")
    assert said.count("\n") == 1
    log = tmp_path / "log"
    for wanted in ("", "1"):
        monkeypatch.setenv(TRACEBACK, wanted)
        with pytest.raises(SystemExit) as stop, records.Task("chunks", {}).making(tmp_path / "record", logfile=log):
            fail()
        assert stop.value.code == 1
        assert f"error: {line}" in log.read_text()
        assert ("Traceback" in log.read_text()) == bool(wanted)
    assert cli.main(["explain", "x"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_commands_before_anything_is_made_answer_in_a_line(root, tmp_path, monkeypatch, capsys):
    """Also in a kind of study that has not all sections."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.jsonl").write_text('{"text": "One"}\n')
    asked = {
        "roots-mini": [["filter", "in.jsonl", "out.jsonl", "--lang", "en"], ["sample-audit", "--out", "sample"]],
        "demo": [["verify", "ko-bridge-s0"], ["show-batch", "ko-bridge-s0", "--step", "0"], ["power"], ["alarms"]],
    }
    for name, commands in asked.items():
        for command in commands:
            assert cli.main([*command, "--config", str(root / "config" / f"{name}.yaml")]) == 1
            told, printed = capsys.readouterr().err.splitlines(), command[0]
            assert printed == "verify" or (len(told) == 1 and told[0].startswith("error: ")), (command, told)


@pytest.mark.parametrize("command", [["alarms"], ["verify"]])
def test_what_is_not_made_is_made_by_the_command_that_is_said(root, tmp_path, monkeypatch, capsys, command):
    """Also where the command line says something else than the configuration."""
    monkeypatch.chdir(tmp_path)
    config = str(root / "config" / "demo.yaml")
    assert cli.main([*command, "--config", config, "--set", "results=in here", "--set", "seeds=[0, 1, 2]"]) == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: in here/demo")
    advised = shlex.split(said.partition("ake it: ")[2])
    dry = subprocess.run(
        [sys.executable, "-m", *advised, "-n", "--snakefile", str(root / "Snakefile")], capture_output=True, text=True
    )
    assert dry.returncode == 0 and "in here/demo/" in dry.stdout, dry.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "a.yaml", "a.yaml"], "a.yaml: is a configuration, and what is compared are results"),
        (["explain", "results/demo/none.parquet"], "results/demo/none.parquet: is not there"),
        (["explain", "a.yaml"], "a.yaml: has no record"),
        (["power", "--questions", "none.parquet"], "none.parquet: is no table of open questions"),
        (["power", "--questions", "a.yaml"], "a.yaml: is no table of open questions"),
    ],
)
def test_a_file_of_another_kind_is_told_what_is_wanted(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text("study: a\n")
    assert cli.main(arguments) == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_a_command_that_is_interrupted_says_so(monkeypatch, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_explain", interrupt)
    assert cli.main(["explain", "x"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "--gpus", "-3"], "--gpus: '-3' is not a whole number of at least 1"),
        (["power", "--seeds", "0"], "--seeds: '0' is not a whole number of at least 1"),
        (["power", "--seed-sd", "nan"], "--seed-sd: 'nan' is not a number between 0 and 1"),
        (["show-batch", "ko-bridge-s0", "--step", "-1"], "--step: '-1' is not a whole number of at least 0"),
        (["sample-audit", "--out", "x", "--n", "1e3"], "--n: '1e3' is not a whole number of at least 1"),
    ],
)
def test_a_number_out_of_range_is_named(capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_an_error_names_the_file_of_which_the_system_says_no_name(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match=r"out\.csv") as error:
        publish.write_text(tmp_path / "out.csv", "a")
    assert told(error.value) == f"{tmp_path / 'out.csv'}: No space left on device. Make room on the disk and run again."
