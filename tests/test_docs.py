"""The documentation tells what is so."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

from lorebridge import cli, config, studies, tables


def pages(root: Path) -> list[Path]:
    return [*root.glob("*.md"), *(root / "docs").glob("*.md"), *(root / "config").glob("*.md")]


def links(page: Path) -> list[str]:
    """What a page links to and shows, code left out."""
    text = re.sub(r"^```.*?^```$|`[^`\n]+`", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return [a or b for a, b in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text)]


def anchors(page: Path) -> list[str]:
    """The names of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    names: list[str] = []
    for heading in re.findall(r"^#{1,6} +(.+?)\s*$", text, re.M):
        plain = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        before = sum(re.fullmatch(rf"{re.escape(name)}(-\d+)?", other) is not None for other in names)
        names.append(f"{name}-{before}" if name in names else name)
    return names


def test_artifacts_page_has_every_table_and_column(root):
    page = (root / "docs" / "artifacts.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", page, re.M | re.S))
    assert set(sections) == set(tables.SCHEMAS)
    for name, schema in tables.SCHEMAS.items():
        documented = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", sections[name], re.M)
        assert [(column, kind) for column, kind, _ in documented] == [(f.name, str(f.type)) for f in schema], name


def test_reference_pages_follow_from_the_code(root):
    made = runpy.run_path(str(root / "docs" / "reference.py"))["PAGES"]
    for name, page in made.items():
        written = (root / "docs" / name).read_text(encoding="utf-8")
        assert written == page(), f"docs/{name} is of another state: python docs/reference.py"


def test_environment_files_pin_what_the_lock_pins(root):
    lock = dict(re.findall(r"^(?:# )?([a-z0-9.-]+)==(\S+)", (root / "envs" / "cpu.lock").read_text(), re.M))
    rules = "".join(path.read_text() for path in (root / "workflow" / "rules").glob("*.smk"))
    named = set(re.findall(r"envs/(\w+)\.yaml", rules))
    assert named == {path.stem for path in (root / "envs").glob("*.yaml")}
    for name in named:
        environment = yaml.safe_load((root / "envs" / f"{name}.yaml").read_text())
        pins = dict(
            pin.split("==") for pin in next(d for d in environment["dependencies"] if isinstance(d, dict))["pip"]
        )
        pins.pop("vllm", None)  # the judge's own, in no other environment
        assert pins, name
        assert {package: lock.get(package) for package in pins} == pins, name


def test_what_pip_installs_is_what_the_environments_have(root):
    """Of `pip install .` and its extras: each environment's packages, none older than the oldest that a lock has."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = {name: project["optional-dependencies"][name] for name in ("train", "retrieve", "judge")}
    assert project["optional-dependencies"] == {"cpu": ["lorebridge[train,retrieve]"]} | extras
    locks = [
        dict(re.findall(r"^(?:# )?([a-z0-9.-]+)==(\S+)", (root / "envs" / f"{name}.lock").read_text(), re.M))
        for name in ("cpu", "judge-cpu")
    ]
    core = dict(requirement.split(">=") for requirement in project["dependencies"])
    for name, requirements in {"cpu": [], **extras}.items():
        environment = yaml.safe_load((root / "envs" / f"{name}.yaml").read_text())
        pins = dict(
            pin.split("==") for pin in next(d for d in environment["dependencies"] if isinstance(d, dict))["pip"]
        )
        has = core | dict(requirement.split(">=") for requirement in requirements)
        assert pins.keys() <= has.keys(), name
        for package, oldest in has.items():
            locked = [lock[package] for lock in locks if package in lock] or [pins[package]]
            assert oldest == min(locked, key=Version), package
    assert {"snakemake", "snakemake-executor-plugin-slurm", "pygments", "openai"} <= core.keys()


def test_the_locks_agree_but_for_the_gpu(root):
    def pins(flavour):
        return dict(re.findall(r"^(?:# )?([a-z0-9.-]+)==(\S+)", (root / "envs" / f"{flavour}.lock").read_text(), re.M))

    cpu, gpu = pins("cpu"), pins("gpu")
    assert {name: gpu.get(name) for name in cpu} == cpu
    assert all(re.search("nvidia|cuda|triton", name) for name in set(gpu) - set(cpu))


def test_every_requirement_is_locked(root):
    wanted = re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", (root / "envs" / "requirements.in").read_text(), re.M)
    lock = dict(re.findall(r"^(?:# )?([a-z0-9.-]+)==(\S+)", (root / "envs" / "cpu.lock").read_text(), re.M))
    assert {name.lower().replace("_", "-"): version for name, version in wanted}.items() <= lock.items()


def test_every_rule_names_an_environment_and_a_log(root):
    for path in sorted((root / "workflow" / "rules").glob("*.smk")):
        for name, body in re.findall(r"^ *rule (\w+):\n(.*?)(?=^ *rule |\Z)", path.read_text(), re.M | re.S):
            assert "conda:" in body, f"{path.name}: {name}"
            assert "log:" in body, f"{path.name}: {name}"


def test_commands_that_the_documentation_names_exist(root):
    known = cli._parser()._subparsers._group_actions[0].choices
    for page in pages(root):
        text = page.read_text(encoding="utf-8")
        for command in re.findall(r"(?:^|`)lorebridge ([a-z][a-z-]+)", text, re.M):
            assert command in known, f"{page.name}: {command}"


def test_links_in_the_documentation_lead_somewhere(root):
    """To a file or folder of the repository that git knows, and to a heading that is there."""
    found = 0
    for page in pages(root):
        for link in links(page):
            target, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link):
                continue
            path = page.parent / target if target else page
            assert path.exists(), f"{page.name}: {link}"
            assert path.resolve().is_relative_to(root.resolve()), f"{page.name}: {link} leads out of the repository"
            if anchor:
                assert anchor in anchors(path), f"{page.name}: {link}: no such heading"
            found += 1
    assert found > 50


def test_names_of_headings():
    """As GitHub makes them; the site is built with the same."""
    folder = Path(__file__).parents[1] / "docs"
    assert "damaged-and-edited-files" in anchors(folder / "reliability.md")
    assert "add-an-arm" in anchors(folder / "arms.md")


def test_every_page_has_its_place_in_the_site(root):
    said = (root / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"[\w/-]+\.md", said[said.index("\nnav:") :])
    there = {path.relative_to(root).as_posix().removeprefix("docs/") for path in pages(root)} - {"README.md"}
    assert sorted(listed) == sorted({"index.md", *there})


def test_the_language_that_the_docs_add_is_a_valid_study(root):
    """The fragment of docs/add-a-language.md, laid over the paper's configuration."""
    page = (root / "docs" / "add-a-language.md").read_text(encoding="utf-8")
    added = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.S).group(1))
    study = config.load(root / "config" / "config.yaml")
    people = added.pop("people")
    study["people"]["source"] |= people["source"]
    study["people"]["templates"] = people["templates"]
    for section, entries in added.items():
        study[section] |= entries
    runs = list(studies.plan(config.check(study)).study.models)
    assert [run for run in runs if run.startswith("hi-")] == [
        "hi-bridge-s0",
        "hi-bridge-s1",
        "hi-no_bridge-s0",
        "hi-no_bridge-s1",
    ]


@pytest.fixture(scope="module")
def stage_diff(root):
    """The change that CONTRIBUTING.md adds a stage by."""
    return re.search(
        r"^```diff\n(.*?)^```$", (root / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.M | re.S
    ).group(1)


def test_a_stage_is_added_in_three_places_that_there_are(root, stage_diff):
    changed = re.findall(r"^--- (\S+)\n\+\+\+ b/(\S+)$", stage_diff, re.M)
    assert [path for _, path in changed] == [
        "src/lorebridge/corpora/lengths.py",
        "src/lorebridge/corpora/stages.py",
        "workflow/rules/corpora.smk",
    ]
    for before, path in changed:
        assert (root / path).parent.is_dir()
        assert (root / path).is_file() == (before != "/dev/null")


@pytest.mark.slow
def test_the_stage_that_the_docs_add_is_planned(root, stage_diff, tmp_path):
    """The change applies as it stands there, and a dry run then knows the stage; a wrong path in its rule stops it."""
    for name in ("src", "workflow", "config", "envs"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "Snakefile", tmp_path)
    subprocess.run(["git", "apply", "-"], input=stage_diff, text=True, cwd=tmp_path, check=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    def dry_run():
        target = "results/demo/corpora/ko/lengths.json"
        command = ["snakemake", "-n", target, "--configfile", "config/demo.yaml"]
        environment = os.environ | {"PATH": path, "PYTHONPATH": str(tmp_path / "src")}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    planned = dry_run()
    assert re.search(r"^lengths +1$", planned.stdout + planned.stderr, re.M), planned.stdout + planned.stderr
    rules = tmp_path / "workflow" / "rules" / "corpora.smk"
    rules.write_text(
        rules.read_text().replace('lengths="corpora/{lang}/lengths.json"', 'lengths="lengths/{lang}.json"')
    )
    wrong = dry_run()
    assert wrong.returncode and "the rule of stage lengths, makes(lengths=...)" in wrong.stdout + wrong.stderr
