"""What is checked before a commit is what `make lint` checks, and all that there is."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest
import yaml


@pytest.fixture
def lint(root):
    """The commands of `make lint`."""
    recipe = re.search(r"^lint: .*\n((?:\t.*\n)+)", (root / "Makefile").read_text(), re.M)[1]
    return [line.strip() for line in recipe.splitlines()]


@pytest.fixture
def tracked(root):
    """The files of the project."""
    done = subprocess.run(["git", "-C", root, "ls-files", "-z"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip("this is no clone: git does not say which files are the project's")
    return [root / name for name in done.stdout.split("\0") if name]


def test_git_runs_before_a_commit_what_lint_runs(root, lint):
    (repository,) = yaml.safe_load((root / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"  # nothing is fetched
    entries = [hook["entry"] for hook in repository["hooks"]]
    assert all(entry.startswith(".venv/bin/") for entry in entries)
    assert all(line.startswith(entry.removeprefix(".venv/bin/")) for line, entry in zip(lint, entries, strict=True)), (
        f"{lint} against {entries}"
    )


def test_every_shell_script_is_checked(root, lint, tracked):
    (line,) = (line for line in lint if line.startswith("shellcheck"))
    checked = {path for pattern in shlex.split(line)[1:] for path in root.glob(pattern)}
    scripts = {
        path
        for path in tracked
        if path.is_file() and (path.suffix == ".sh" or re.match(rb"#!.*\b(?:ba)?sh\b", path.read_bytes()[:80]))
    }
    assert checked == scripts
