"""The workflow as a part of a larger one, and by each of its entry points."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

OUTER = """
configfile: "outer.yaml"

module lorebridge:
    snakefile: "{root}/workflow/Snakefile"
    config: config["study"]
    {further}

use rule * from lorebridge as lorebridge_*

rule mine:
    default_target: True
    input: "{results}/tiny/tables/gaps.csv"
    output: "mine.txt"
    shell: "wc -l {{input}} > {{output}}"

onstart:
    lorebridge.onstart()
"""


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    call = [str(Path(sys.executable).with_name("snakemake")), "--cores", "1", *arguments]
    return subprocess.run(call, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True)


def jobs(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    told = done.stdout + done.stderr
    assert not done.returncode, told[-4000:]
    table = told.split("Job stats:")[-1].split("Reasons:")[0]
    return {name: int(n) for name, n in re.findall(r"^(\w+)\s+(\d+)$", table, re.M)}


@pytest.fixture
def outer(root, new_study, tmp_path):
    """A larger workflow, whose configuration holds more than the study's."""
    tiny = new_study(tmp_path / "inner").config

    def written(further="", results="results", study=tiny):
        folder = tmp_path / "outer"
        folder.mkdir(exist_ok=True)
        (folder / "Snakefile").write_text(OUTER.format(root=root, further=further, results=results))
        (folder / "outer.yaml").write_text(yaml.safe_dump({"mine": 1, "study": study}, allow_unicode=True))
        return folder

    return written


@pytest.mark.slow
def test_both_entry_points_plan_the_same_jobs(root, new_study, tmp_path):
    study = new_study(tmp_path / "study")
    there = [
        jobs(snakemake(study.folder, "-n", "-q", "rules", "-s", str(root / path), "--configfile", "study.yaml"))
        for path in ("Snakefile", "workflow/Snakefile")
    ]
    assert there[0] == there[1]
    assert there[0]["train_continual"] == 4


@pytest.mark.slow
def test_a_larger_workflow_has_it_as_a_module(outer):
    """Rules under other names, a study in a folder of its own, scripts and stamp where they belong; then a job runs."""
    folder = outer('prefix: "sub"', "sub/results")
    planned = snakemake(folder, "-n", "-p", "--set-resources", "mine:runtime=3")
    counts = jobs(planned)
    assert (counts["mine"], counts["lorebridge_train_continual"], counts["lorebridge_table"]) == (1, 4, 1)
    told = planned.stdout + planned.stderr
    assert "sub/results/tiny/transfer/gaps.parquet" in told
    assert "sub/sub/" not in told and not re.search(r"[ ,]results/tiny", told)
    world = "sub/results/tiny/world/truth.parquet"
    made = snakemake(folder, world)
    assert not made.returncode, made.stderr[-4000:]
    assert (folder / world).is_file()
    assert {path.name for path in folder.iterdir()} == {".snakemake", "Snakefile", "outer.yaml", "sub"}
    # What is made is known to be made.
    assert "lorebridge_world" not in jobs(snakemake(folder, "-n", "-q", "rules"))


def test_the_configuration_of_a_module_is_checked(outer, new_study, tmp_path):
    study = new_study(tmp_path / "inner").config
    told = snakemake(outer(study=study | {"sedes": [0]}), "-n")
    assert told.returncode
    assert "module lorebridge, config: unknown key 'sedes'. Did you mean 'seeds'?" in told.stdout + told.stderr


def test_paths_that_are_replaced_are_refused_with_the_keys_that_do_it(outer):
    told = snakemake(outer('replace_prefix: {"results": "out"}'), "-n")
    assert told.returncode
    assert "Set its keys `results` and `work` instead." in told.stdout + told.stderr


def test_the_catalog_finds_what_it_looks_for(root):
    said = yaml.safe_load((root / ".snakemake-workflow-catalog.yml").read_text())
    assert said["usage"]["report"] is True
    assert {"desc", "flags"} == set(said["usage"]["mandatory-flags"])
    assert (root / "config" / "README.md").is_file() and (root / "workflow" / "Snakefile").is_file()
    listed = re.findall(r"^\| `([\w.]+)` \|", (root / "config" / "README.md").read_text(), re.M)
    assert sorted(listed) == sorted(path.name for path in (root / "config").glob("*.yaml"))
