"""What all tests share: the repository, real data where there is some, and a study so small that it runs in a test."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

import browser as browsers
from declaring import declared_test
from lorebridge import config

ROOT = Path(__file__).parents[1]
SNAKEMAKE = str(Path(sys.executable).with_name("snakemake"))


TOGETHER = ("figures", "train")
"""Folders whose tests share what takes long to make."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each worker whole modules, or folders, those first that take longest: at the end nobody waits for them."""
    if not config.pluginmanager.hasplugin("xdist"):  # the judge's environment has none
        return

    def group(item: pytest.Item) -> str:
        folder = item.path.parent.name
        return folder if folder in TOGETHER else item.path.relative_to(ROOT).as_posix()

    slow = {group(item): 0 for item in items}
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
        slow[group(item)] += item.get_closest_marker("slow") is not None
    items.sort(key=lambda item: (-slow[group(item)], group(item)))


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture
def demo() -> dict[str, Any]:
    """The demo's configuration, validated, free to be changed."""
    return copy.deepcopy(config.load(ROOT / "config" / "articles.yaml"))


@pytest.fixture(scope="session")
def data() -> Path:
    """Real text and questions."""
    folder = os.environ.get("LOREBRIDGE_DATA")
    if not folder:
        pytest.skip("LOREBRIDGE_DATA does not name a folder of real text")
    return Path(folder)


class Study:
    """A working directory with a configuration, as a user has one."""

    def __init__(self, folder: Path, configuration: dict, program: Sequence[str] = (SNAKEMAKE,)) -> None:
        self.folder = folder
        self.config = configuration
        self.program = program
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write()

    @property
    def results(self) -> Path:
        return self.folder / "results" / self.config["study"]

    def write(self) -> None:
        (self.folder / "study.yaml").write_text(yaml.safe_dump(self.config, allow_unicode=True), encoding="utf-8")

    def command(self, *arguments: str) -> list[str]:
        return [
            *self.program,
            "--snakefile",
            str(ROOT / "Snakefile"),
            "--directory",
            str(self.folder),
            *arguments,
            "--configfile",
            str(self.folder / "study.yaml"),
        ]

    @staticmethod
    def environment() -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return dict(os.environ, PATH=path, OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")

    def snakemake(self, *arguments: str, check: bool = True) -> str:
        """Run Snakemake on this study; return what it prints."""
        done = subprocess.run(
            self.command(*arguments), env=self.environment(), cwd=ROOT, capture_output=True, text=True, timeout=900
        )
        output = done.stdout + done.stderr
        if check and done.returncode:
            raise AssertionError(output[-6000:])
        if not check:
            assert done.returncode, "Snakemake should have failed"
        return output

    def run(self, *arguments: str) -> str:
        return self.snakemake("--cores", "2", "--rerun-incomplete", *arguments)

    def planned(self, *arguments: str) -> dict[str, int]:
        """Return the job counts by rule of a dry run, `all` left out."""
        return self.counted(self.snakemake("--dry-run", *arguments))

    @staticmethod
    def counted(output: str) -> dict[str, int]:
        """Return the job counts by rule of what a dry run prints, `all` left out."""
        if "Nothing to be done" in output:
            return {}
        table = output.split("Job stats:")[-1].split("Reasons:")[0]
        counts = {name: int(n) for name, n in re.findall(r"^(\w+)\s+(\d+)$", table, re.M)}
        counts.pop("total")
        counts.pop("all", None)
        return counts

    def copy(self, folder: Path) -> Study:
        """Return a copy to change, with Snakemake's memory of it."""
        # Another worker may ask something of the same one at this moment.
        shutil.copytree(self.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("*.partial"))
        return Study(folder, copy.deepcopy(self.config), self.program)


def tiny() -> dict:
    """The demo's configuration, cut down until the workflow's own overhead is all that costs time."""
    c = copy.deepcopy(config.load(ROOT / "config" / "articles.yaml"))
    c |= {"study": "tiny", "seeds": [0], "arms": ["bridge", "no_bridge"]}
    c["world"] = {"kind": "articles", "seed": 1, "questions": 32, "articles": 20}
    c["world"] |= {"pairs": 400, "pairs_per_entity": 3, "doses": [1, 3]}
    for section in ("corpora", "parallel"):
        for lang in c[section]:
            c[section][lang]["heldout"] = 0.1
    c["tokenizer"] |= {"vocab_size": 800, "bytes_per_group": 60000}
    c["model"] |= {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 64,
        "max_position_embeddings": 256,
    }
    c["training"]["label_tokens"] = 18  # a tokenizer this small needs nine tokens for "English: "
    for phase in ("base", "continual"):
        c["training"][phase] |= {"steps": 6, "batch_tokens": 1024, "checkpoints": {"every": 2, "early": []}}
    c["transfer"] |= {"contrasts": [["bridge", "no_bridge"]], "resamples": 200}
    c["prereg"] = {"tests": [declared_test()], "alpha": 0.05}
    return c


@pytest.fixture(scope="session")
def new_study():
    """Makes a tiny study that has not run yet in a folder."""
    return lambda folder: Study(folder, tiny())


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Study:
    """A study that has run to its end. Do not change it: take a copy. Workers of one test run share it."""
    shared = tmp_path_factory.getbasetemp()
    folder = (shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared) / "finished"
    with FileLock(f"{folder}.lock"):
        study = Study(folder / "study", tiny())
        if not (folder / "done").exists():
            study.run()
            (folder / "done").touch()
    return study


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A real browser; see tests/browser.py."""
    if browsers.program() is None:
        pytest.skip("there is no Chromium: `make browser` installs Debian's")
    with browsers.Browser(tmp_path_factory.mktemp("browser") / "profile") as opened:
        yield opened
