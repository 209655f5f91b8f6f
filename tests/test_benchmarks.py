"""Benchmarks run: on inputs so small that their numbers say nothing, so that none breaks unseen."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"

# DATA is a folder with a few rows of each file.
RUNS = {
    "dag": "--languages 2 --seeds 2",
    "filter": "--data DATA --repeat 1",
    "integrity": "--gigabytes 0.01 --files 1",
    "mentions": "--data DATA --megabytes 0.01",
    "neighbours": "--data DATA --pages 60 --queries 5 --top 10",
    "neurons": "--facts 200 --neurons 500 --blocks 1",
    "orders": "--pairs 20000 --steps 2",
    "overhead": "--gpus 8 --interval 40",
    "prefixes": "--data DATA --share 0.01 --shape tiny",
    "probe": "--data DATA --shape tiny --questions 4 --threads 1",
    "retrieval": "--data DATA --megabytes 0.1 --vectors 1000",
    "sources": "--data DATA --repeat 1",
    "subjects": "--data DATA",
    "text": "--data DATA --megabytes 0.1 --large 0.2",
    "train": "--shape tiny --steps 1",
}
# Run elsewhere, in parts that decide: what they measure and what they compare.
ELSEWHERE = {
    "asking": "probes/test_asking.py",
    "calibration": "transfer/test_calibration.py",
    "gpu": "test_gpu_report.py",
    "masking": "train/test_masked.py",
    "recovery": "trace/test_recovery.py",
}
# These read a study that has run; `distance` trains models for minutes. They are imported alone.
IMPORTED = {"carrying", "covered", "distance", "map", "placements"}
PARTS = {"peers", "shapes", "stand_ins"}


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}


def test_every_benchmark_is_imported_from_its_own_folder():
    """As when it is started, with its folder first: none may have the name of a module that a library looks for."""
    names = sorted(path.stem for path in BENCHMARKS.glob("*.py"))
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)",
            *names,
        ],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(BENCHMARKS), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr


def test_every_benchmark_is_run_by_a_test():
    names = {path.stem for path in BENCHMARKS.glob("*.py")}
    assert names == {*RUNS, *ELSEWHERE, *IMPORTED, *PARTS}
    for name, path in ELSEWHERE.items():
        assert f"{name}" in (ROOT / "tests" / path).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def few(data, tmp_path_factory):
    """A folder of data with the first rows of each corpus and each file of questions."""
    folder = tmp_path_factory.mktemp("few")
    (folder / "corpora").mkdir()
    (folder / "probes").mkdir()
    for path in (data / "corpora").glob("*.jsonl.gz"):
        with gzip.open(path, "rb") as rows, gzip.open(folder / "corpora" / path.name, "wb") as out:
            out.writelines(itertools.islice(rows, 40))
    for path in (data / "probes").glob("*.json"):
        rows = json.loads(path.read_text(encoding="utf-8"))[:4]
        (folder / "probes" / path.name).write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    for name in ("parallel", "tokenizer"):
        (folder / name).symlink_to(data / name)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_benchmark_runs(name, request):
    if name in ("retrieval", "train") and not (ROOT / "build" / "peers" / ".complete").exists():
        pytest.skip("what it compares with is not there: make peers")
    words = RUNS[name].split()
    if "DATA" in words:
        words[words.index("DATA")] = str(request.getfixturevalue("few"))
    told = subprocess.run(
        [sys.executable, BENCHMARKS / f"{name}.py", *words],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert f"benchmarks/{name}.py" in told.stdout  # the command that its numbers come from
    assert "NO |" not in told.stdout  # what the peer finds is equal
