"""The report on a GPU node (tests/gpu.sh), where there is no GPU, and where much of the lock is not installed."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

import pytest
import torch

from lorebridge.plan import cost

# What of the lock a machine with a torch and a transformers of its own need not have.
NOT_THERE = (
    *("deepspeed", "fastokens", "jsonschema", "tensorboard", "isal", "rensa", "opencc", "ahocorasick"),
    *("snakemake", "matplotlib", "seaborn", "pyserini", "openai", "datasets", "accelerate"),
    *("liger_kernel", "sentence_transformers", "jinja2", "markdown_it", "fontTools"),
)


def without(folder, packages):
    """Return the environment of a Python for which some packages are not installed."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"""
from importlib.machinery import PathFinder
find = PathFinder.find_spec.__func__
def find_spec(cls, name, path=None, target=None):
    return None if name.split(".")[0] in {packages!r} else find(cls, name, path, target)
PathFinder.find_spec = classmethod(find_spec)
""")
    return os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(folder)}


@pytest.fixture
def bench(root, monkeypatch):
    """The modules of benchmarks/, which are scripts beside each other."""
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    return __import__


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_it_runs_where_there_is_no_gpu_and_little_is_installed(root, tmp_path):
    sections = ["machine", "ours, isolated", "exact resume", "scoring", "Trainer", "dense encoding"]
    done = subprocess.run(
        [root / "tests" / "gpu.sh", "--out", tmp_path / "out", "--sections", *sections],
        env=without(tmp_path / "site", NOT_THERE),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("There is no GPU")
    report = json.loads((tmp_path / "out" / "gpu.json").read_text())
    found = report["sections"]
    assert list(found) == sorted(sections, key=list(found).index)
    assert not [name for name, one in found.items() if "error" in one]
    assert not report["gpu"] and report["tiny"]
    assert found["machine"]["packages"]["torch"] == torch.__version__
    assert found["ours, isolated"]["engine"] == "a stand-in"
    assert found["ours, isolated"]["tokens_per_second"] > 0
    assert found["exact resume"]["losses_equal"] and found["exact resume"]["weights_equal"]
    assert found["scoring"]["differ"] == 0 and found["scoring"]["off"] < 1e-5 and found["scoring"]["trees"]
    assert found["Trainer"]["not_here"] == "accelerate"
    assert found["dense encoding"]["not_here"] == "sentence_transformers"
    page = (tmp_path / "out" / "gpu.md").read_text()
    assert "There is no GPU on this machine" in page
    assert "| exact resume | to the bit, with deterministic kernels" in page
    assert "| Trainer | not here (accelerate) |" in page
    assert "0 of 6 decisions differ" in page


def test_a_python_without_torch_is_refused_in_a_line(root, tmp_path):
    environment = without(tmp_path / "site", ("torch",))
    done = subprocess.run([root / "tests" / "gpu.sh"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {sys.executable} has no torch") and done.stderr.count("\n") == 1


def test_a_section_that_fails_or_takes_too_long_leaves_its_error(bench, monkeypatch):
    gpu = bench("gpu")
    started = time.monotonic()
    assert gpu.child("machine", 0.05, "--tiny") == {"error": "not done in 0 s"}
    assert time.monotonic() - started < 5
    monkeypatch.setattr(gpu.sys, "executable", "/bin/false")
    assert gpu.child("machine", 60)["error"] == "ended with status 1"

    def broken(size, arguments):
        raise RuntimeError("no kernel image is available")

    monkeypatch.setitem(gpu.SECTIONS, "machine", (broken, 60))
    printed = []
    monkeypatch.setattr("builtins.print", lambda text, **_: printed.append(text))
    gpu.inside(argparse.Namespace(section="machine", uncompiled=False, drifting=False, tiny=True))
    found = json.loads(printed[0])["found"]
    assert found["error"] == "RuntimeError: no kernel image is available"
    assert "in broken" in found["traceback"]

    report = {"command": "", "date": "", "seconds": 1.0, "gpu": True, "tiny": False, "notes": {}}
    page = gpu.markdown(report | {"sections": {"ours, isolated": found, "scoring": found}})
    assert page.count("failed: RuntimeError: no kernel image is available") == 2


def test_what_nobody_should_spend_hours_on_is_an_error(bench):
    gpu = bench("gpu")
    good = {
        "exact resume": {"losses_equal": True, "weights_equal": True},
        "scoring": {"differ": 0, "off": 1e-6},
        "dense encoding": {"error": gpu.NO_TIME},
        "Trainer": {"error": "out of memory"},
    }
    assert gpu.found_wrong(good) == []
    assert gpu.found_wrong(good | {"exact resume": {"losses_equal": True, "weights_equal": False}})
    assert gpu.found_wrong(good | {"scoring": {"differ": 1, "off": 1e-6}})
    assert gpu.found_wrong(good | {"scoring": {"differ": 0, "off": 2e-5}})
    assert gpu.found_wrong(good | {"ours, isolated": {"error": "out of memory"}})


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_stand_in_for_deepspeed_gives_the_same_losses_to_the_bit(bench, monkeypatch, precision):
    train, stand_ins = bench("train"), bench("stand_ins")
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)

    def losses():
        return [loss for loss, _ in train.ours(train.SHAPES["tiny"], precision, "isolated", 0, 4)]

    assert stand_ins.stand_in() is False
    theirs = losses()
    monkeypatch.setitem(sys.modules, "deepspeed", stand_ins.deepspeed())
    assert stand_ins.stand_in() is True
    assert losses() == theirs
    assert theirs[0] != theirs[1]


def test_repeated_heads_attend_as_grouped_ones(bench):
    stand_ins = bench("stand_ins")
    from lorebridge.train.attention import attend_by_document

    query, key, value = (torch.randn(24, heads, 8) for heads in (6, 2, 2))
    bounds = torch.tensor([0, 10, 24], dtype=torch.int32)

    def of_equal_heads(query, key, value, bounds, *, scale):
        assert query.shape == key.shape == value.shape
        return attend_by_document(query, key, value, bounds, scale)

    repeated = stand_ins.with_repeated_heads(of_equal_heads)(query, key, value, bounds, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(repeated, attend_by_document(query, key, value, bounds, 0.3))


@pytest.mark.parametrize("tied", [True, False])
def test_flop_are_counted_as_the_plan_counts_them(bench, tied):
    shapes = bench("shapes")
    model = shapes.SMALL | {"tie_word_embeddings": tied}
    assert shapes.flops_per_token(model, 512) == cost.flops_per_token(model, 512, model["vocab_size"])
