"""`lorebridge doctor`: what is there and what is missing, each line true and each mend one that works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lorebridge import cli, config, doctor, studies
from lorebridge.errors import ConfigError


@pytest.fixture
def configured(demo, tmp_path, monkeypatch):
    """Writes the demo's configuration with some sections changed, and examines it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))

    def examined(**sections):
        path = tmp_path / "study.yaml"
        changed = {key: {**demo[key], **value} if isinstance(value, dict) else value for key, value in sections.items()}
        path.write_text(yaml.safe_dump(demo | changed, allow_unicode=True))
        return list(doctor.examine(lambda: studies.plan(config.load(path), lambda path: "")))

    return examined


ALONE = str(Path(sys.executable).parent)
"""A PATH without SLURM, whatever the machine has."""


def of(findings, subject):
    return [finding for finding in findings if finding.subject == subject]


def test_the_demo_is_in_place_here(root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", ALONE)
    assert cli.main(["doctor", "--config", str(root / "config" / "demo.yaml")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "all in place"
    assert {line.split()[0] for line in lines[:-2]} == {"ok"}
    assert {line.split()[1] for line in lines[:-2]} == {
        *("python", "packages", "path", "torch", "gpu", "slurm", "disk", "fonts", "data")
    }


def test_it_loads_nothing_heavy(root, tmp_path):
    code = (
        "import sys; from lorebridge import cli; cli.main(sys.argv[1:]); "
        "sys.exit(bool({'torch', 'pandas', 'matplotlib', 'transformers'} & set(sys.modules)))"
    )
    call = [sys.executable, "-c", code, "doctor", "--config", str(root / "config" / "demo.yaml")]
    subprocess.run(call, cwd=tmp_path, check=True, capture_output=True, env=os.environ | {"PATH": ALONE})


def test_missing_files_are_all_named_and_the_exit_status_is_one(root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    study = str(root / "config" / "mini.yaml")
    assert cli.main(["doctor", "--config", study, "--set", "data=/nowhere"]) == 1
    told = capsys.readouterr().out
    for name in ("corpora/en.jsonl.gz", "parallel/en-mn.jsonl.gz", "probes/bo-culture-cloze_bo.json"):
        assert f"there is no file /nowhere/{name}\n" in told
    assert "-> Mend the path, or `data`." in told


def test_sources_to_be_obtained_come_with_how(root):
    plan = studies.plan(config.load(root / "config" / "config.yaml"), lambda path: "")
    told = {finding.said: finding.mend for finding in doctor.data(plan)}
    assert "CSTR" in told["data/nbsdc/en-bo.jsonl is not in place"]


def test_a_configuration_that_cannot_be_planned_is_a_line():
    def load():
        raise ConfigError("study.yaml", "is not YAML", "Mend the file.")

    last = list(doctor.examine(load))[-1]
    assert (last.subject, last.mend) == ("study", "study.yaml: is not YAML. Mend the file.")


def test_packages_of_other_versions_than_the_lock_are_named(tmp_path, root):
    lock = tmp_path / "cpu.lock"
    pins = (root / "envs" / "cpu.lock").read_text()
    lock.write_text(pins.replace("\npyyaml==", "\npyyaml==0.") + "no-such-package==1.0 --hash=sha256:0\n")
    found = doctor.packages(lock)
    assert "2 of " in found.said
    assert "pyyaml 6" in found.said and "no-such-package none (lock: 1.0)" in found.said
    assert found.mend
    assert not doctor.packages(root / "envs" / "cpu.lock").mend


def test_the_lock_is_the_one_that_setup_noted(tmp_path):
    assert doctor.lock_of(tmp_path) == "envs/cpu.lock"
    (tmp_path / ".complete").write_text("envs/gpu.lock\n")
    assert doctor.lock_of(tmp_path) == "envs/gpu.lock"


def test_gpus_that_a_study_wants_and_nothing_gives(configured):
    findings = configured(compute={"gpus": 8})
    assert of(findings, "gpu")[0].mend
    assert not of(configured(), "gpu")[0].mend


@pytest.mark.parametrize(
    ("programs", "said", "missing"),
    [
        ({}, "none here: jobs run on this machine", False),
        ({"sbatch": "echo slurm 1"}, "squeue, sacct, scancel, sinfo, scontrol not on PATH", True),
        ({name: "echo slurm 1" for name in doctor.SLURM}, "slurm 1; accounting answers", False),
        (dict.fromkeys(doctor.SLURM, "echo slurm 1") | {"sacct": "exit 1"}, "slurm 1; sacct fails", True),
        (dict.fromkeys(doctor.SLURM, "exit 1"), "its programs are here, of no cluster (sbatch --version fails)", True),
    ],
    ids=["none", "some", "all", "accounting is down", "no cluster"],
)
def test_slurm(programs, said, missing, tmp_path, monkeypatch):
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!{shutil.which('sh')}\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = doctor.cluster()
    assert said in found.said
    assert bool(found.mend) == missing


def test_a_disk_too_small(configured):
    for finding in of(configured(model={"hidden_size": 960000}), "disk"):
        assert finding.mend.startswith("Make room")


def test_scripts_without_a_font(tmp_path, monkeypatch):
    languages = {lang: {"script": script} for lang, script in {"bo": "Tibetan", "ru": "Cyrillic"}.items()}
    monkeypatch.setattr(doctor, "FONTS", tmp_path)
    tibetan, cyrillic = doctor.fonts(languages)
    assert tibetan.mend and not cyrillic.mend
    shutil.copy(Path(doctor.__file__).parent / "figures" / "fonts" / "NotoSerifTibetan-Regular.ttf", tmp_path)
    assert not next(doctor.fonts(languages)).mend


def test_a_script_that_is_several_has_a_font():
    """Japanese is written in three scripts of Unicode, and none of that name."""
    [japanese] = doctor.fonts({"ja": {"script": "Japanese"}})
    assert japanese.said.startswith("Japanese: ")


def test_another_lorebridge_on_the_path(tmp_path, monkeypatch):
    assert not doctor.command().mend
    monkeypatch.setenv("PATH", str(tmp_path))
    mend = doctor.command().mend
    monkeypatch.setenv("PATH", mend.removeprefix('export PATH="').removesuffix(':$PATH"'))
    assert not doctor.command().mend
