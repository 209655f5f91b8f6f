"""Install steps look for each program that they are for. In a real file system: `make test-install`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

TOOLS = ("bash", "cat", "chmod", "env", "paste", "sort", "touch")


class Machine:
    """A machine on which only some programs are, and an apt-get that knows some packages."""

    def __init__(self, folder, packages):
        self.folder, self.packages = folder, packages
        (folder / "bin").mkdir()
        for tool in TOOLS:
            (folder / "bin" / tool).symlink_to(shutil.which(tool))
        self.program("id", "echo 0")
        known = "".join(
            f"{name}) touch {' '.join(made)}; chmod +x {' '.join(made)};; " for name, made in packages.items()
        )
        self.program(
            "apt-get",
            f'echo "$@" >>{folder}/asked\n[ "$1" = install ] || exit 0\ncd {folder}/bin\n'
            f"for name; do case $name in {known} esac; done",
        )

    def program(self, name, script="true"):
        path = self.folder / "bin" / name
        path.write_text(f"#!{shutil.which('bash')}\n{script}\n")
        path.chmod(0o755)

    def has(self, *names):
        return [name for name in names if (self.folder / "bin" / name).exists()]

    def run(self, script, *arguments):
        # The script's own additions to PATH would find this machine's programs.
        text = re.sub(r"^PATH=.*\n", "", script.read_text(), flags=re.M)
        copy = self.folder / script.name
        copy.write_text(text)
        return subprocess.run(
            [shutil.which("bash"), copy, *arguments],
            env={"PATH": str(self.folder / "bin")},
            cwd=self.folder,
            capture_output=True,
            text=True,
        )

    def asked(self):
        path = self.folder / "asked"
        return path.read_text() if path.exists() else ""


@pytest.fixture(scope="module")
def cluster_script(root):
    return root / "tests" / "slurm" / "cluster.sh"


@pytest.fixture(scope="module")
def packages(cluster_script):
    """The programs of each package, as the script lists them."""
    return {
        name: programs.split()
        for name, programs in re.findall(r'^  \[([a-z0-9-]+)\]="(.*)"$', cluster_script.read_text(), re.M)
    }


def test_programs_that_the_cluster_calls_are_listed(cluster_script, packages):
    listed = {program for programs in packages.values() for program in programs}
    assert {"slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd", "mariadb", "ip", "pgrep"} <= listed
    called = set(
        re.findall(
            r"\b(s(?:acct|acctmgr|batch|cancel|control|info|queue|run)|set(?:priv|sid)|unshare)\b",
            cluster_script.read_text(),
        )
    )
    tests = "".join(path.read_text() for path in cluster_script.parent.glob("*.py"))
    called |= set(re.findall(r'"(s(?:acct|acctmgr|batch|cancel|control|info|queue|run))"', tests))
    assert called <= listed


def test_a_machine_that_has_only_one_of_the_programs_gets_the_others(cluster_script, packages, tmp_path):
    machine = Machine(tmp_path, packages)
    machine.program("ip")
    assert set(machine.run(cluster_script, "missing").stdout.split()) == set(packages) - {"iproute2"}
    done = machine.run(cluster_script, "install")
    assert done.returncode == 0, done.stderr
    everything = [program for programs in packages.values() for program in programs]
    assert machine.has(*everything) == everything
    assert "iproute2" not in machine.asked()
    done = machine.run(cluster_script, "missing")
    assert (done.returncode, done.stdout) == (0, "")


def test_each_single_program_that_is_missing_is_noticed(cluster_script, packages, tmp_path):
    machine = Machine(tmp_path, packages)
    for programs in packages.values():
        for program in programs:
            machine.program(program)
    assert machine.run(cluster_script, "install").returncode == 0
    assert machine.asked() == ""
    for package, programs in packages.items():
        for program in programs:
            (tmp_path / "bin" / program).unlink()
            done = machine.run(cluster_script, "missing")
            assert (done.returncode, done.stdout.split()) == (1, [package])
            machine.program(program)


def test_a_package_without_its_program_is_an_error(cluster_script, packages, tmp_path):
    machine = Machine(tmp_path, packages | {"munge": ["munge"]})  # munged is not in it
    done = machine.run(cluster_script, "install")
    assert done.returncode == 1
    assert "not there: munge" in done.stderr


def test_the_cluster_is_not_started_without_its_programs(cluster_script, packages, tmp_path):
    done = Machine(tmp_path, packages).run(cluster_script, "run", "true")
    assert done.returncode == 1
    assert "slurmctld" in done.stderr and "cluster.sh install" in done.stderr


def test_no_install_step_takes_one_program_for_several(root):
    for path in [root / "Makefile", root / ".ci" / "run", *root.glob("tests/**/*.sh"), *root.glob("envs/*.sh")]:
        for asked in re.findall(r"command -v ([^>|&;)\n]*)", path.read_text()):
            assert len(asked.split()) == 1, f"{path.name}: {asked}: true where any of them is there"


def test_a_lock_without_what_packages_are_built_with_is_refused(root, tmp_path):
    recipe = re.search(r"^\tfor name in \$\(BUILD_NEEDS\).*$", (root / "Makefile").read_text(), re.M)[0]
    needs = re.search(r"^BUILD_NEEDS := (.*)$", (root / "Makefile").read_text(), re.M)[1]
    (tmp_path / "Makefile").write_text(
        f"SHELL := /bin/bash\nLOCK := lock\nVENV := .\nBUILD_NEEDS := {needs}\nall:\n{recipe}\n"
    )
    for left_out in ("", "hjson"):
        lines = [f"{name}==1\n" for name in needs.split() if name != left_out]
        (tmp_path / "lock").write_text("".join(lines))
        done = subprocess.run(["make", "-C", tmp_path], capture_output=True, text=True, env=os.environ)
        assert (done.returncode != 0) == bool(left_out), done.stderr
        if left_out:
            assert "hjson is not in lock" in done.stderr
        else:
            assert (tmp_path / "build.lock").read_text() == "".join(lines)


def test_an_environment_of_another_lock_is_not_taken_for_this_one(root, tmp_path):
    recipe = re.search(r"^setup: .*\n((?:\t.*\n)+)", (root / "Makefile").read_text(), re.M)[1]
    (tmp_path / "Makefile").write_text(
        f"SHELL := /bin/bash\nLOCK := envs/cpu.lock\nVENV := env\nsetup: $(VENV)/.complete\n{recipe}"
    )
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / ".complete").write_text("envs/gpu.lock\n")
    done = subprocess.run(["make", "-C", tmp_path, "setup"], capture_output=True, text=True)
    assert done.returncode != 0
    assert "env is of envs/gpu.lock, not of envs/cpu.lock: say LOCK=envs/gpu.lock" in done.stderr
    assert subprocess.run(["make", "-C", tmp_path, "setup", "LOCK=envs/gpu.lock"], capture_output=True).returncode == 0


def test_the_container_is_made_by_the_makefile(root):
    """What it installs is `make setup`, and its environment is the one that make exports."""
    lines = (root / "Containerfile").read_text().splitlines()
    makefile = (root / "Makefile").read_text()
    runs = [line.removeprefix("RUN ") for line in lines if line.startswith("RUN ")]
    targets = [target for run in runs for target in re.findall(r"\bmake ([a-z-]+)", run.split("apt-get")[0])]
    assert targets == ["setup"]
    assert re.search(r"^setup:", makefile, re.M)
    assert next(line for line in lines if line.startswith("ARG ")) == "ARG LOCK=" + re.search(
        r"^LOCK := (\S+)", makefile, re.M
    ).group(1)
    exported = dict(re.findall(r"^export (\w+) \??:?= (\S+)$", makefile, re.M))
    said = dict(re.findall(r"^ENV (\w+)=(\S+)$", "\n".join(lines), re.M))
    assert {name: said[name] for name in said if name not in ("DEBIAN_FRONTEND", "PATH")} == {
        name: value for name, value in exported.items() if name != "PATH"
    }
    assert said["PATH"].startswith("/lorebridge/.venv/bin:")


def test_the_container_has_the_debian_of_the_proof(root):
    suite = re.search(r"^SUITE=(\w+)", (root / "tests" / "fresh-root.sh").read_text(), re.M).group(1)
    assert f"FROM docker.io/library/debian:{suite}-slim" in (root / "Containerfile").read_text()


def test_what_git_ignores_stays_out_of_the_container(root):
    def patterns(name):
        lines = (root / name).read_text().splitlines()
        return [line for line in lines if line and not line.startswith("#")]

    # A pattern of git's without a slash inside holds at any depth; docker's does with `**/`.
    wanted = [line if "/" in line.rstrip("/") else f"**/{line.rstrip('/')}" for line in patterns(".gitignore")]
    assert patterns(".dockerignore") == wanted
