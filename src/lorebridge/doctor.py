"""Whether a machine, its environment and a study's data are in place, told line by line, each with its mend.

Nothing heavy is imported: what is installed is read from its metadata, and torch is not loaded.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorebridge.errors import LorebridgeError
from lorebridge.plan import Plan
from lorebridge.plan.cost import Cost

ROOT = Path(__file__).parents[2]
FONTS = Path(__file__).parent / "figures" / "fonts"
# What the SLURM executor of Snakemake calls.
SLURM = ("sbatch", "squeue", "sacct", "scancel", "sinfo", "scontrol")
# Of a script that Unicode knows by others.
_LETTERS = {"Japanese": "Hiragana"}
WAIT = 20  # seconds that a program of the system may take to answer


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line.

    Attributes:
        subject: what was looked at.
        said: what was found.
        mend: what to do about it; empty where all is well.
    """

    subject: str
    said: str
    mend: str = ""

    def __str__(self) -> str:
        """Return the line, and the mend below it."""
        line = f"{'missing' if self.mend else 'ok':<8}{self.subject:<11}{self.said}"
        return line + (f"\n{'':19}-> {self.mend}" if self.mend else "")


def examine(load: Callable[[], Plan]) -> Iterator[Finding]:
    """Yield what is in place for a study and what is not.

    Args:
        load: returns its plan, or raises what is wrong with the configuration.
    """
    yield python()
    yield packages(ROOT / lock_of(Path(sys.prefix)))
    yield command()
    try:
        plan = load()
    except LorebridgeError as error:
        yield Finding("study", "its configuration cannot be planned", str(error))
        return
    slurm = cluster()
    yield torch_build(plan.config)
    yield gpus(plan.config, slurm)
    yield slurm
    yield from disk(plan)
    yield from fonts(plan.config["languages"])
    yield from data(plan)


def python() -> Finding:
    """Look at the version of Python, which the locks are for."""
    found = ".".join(map(str, sys.version_info[:3]))
    wrong = sys.version_info[:2] != (3, 11)
    return Finding("python", f"{found}, {sys.executable}", "make setup PYTHON=/path/to/python3.11" if wrong else "")


def lock_of(prefix: Path) -> str:
    """Return the lock that an environment was made from, as `make setup` notes it there; else that of the CPU."""
    noted = prefix / ".complete"
    return noted.read_text(encoding="utf-8").strip() if noted.is_file() else "envs/cpu.lock"


def packages(lock: Path) -> Finding:
    """Compare what is installed with the versions that a lock pins."""
    if not lock.is_file():
        return Finding("packages", f"there is no {lock} to compare with", "Get lorebridge whole: git clone.")
    pins = dict(re.findall(r"^(?:# )?([a-z0-9.-]+)==(\S+)", lock.read_text(encoding="utf-8"), re.M))
    # Where pip installs, and not what some package brings along for itself and puts on the path.
    installed = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    there = {
        re.sub("[-_.]+", "-", str(found.metadata["Name"])).lower(): found.version
        for found in importlib.metadata.distributions(path=installed)
    }
    pins = {re.sub("[-_.]+", "-", name): version for name, version in pins.items()}
    other = [
        f"{name} {there[name].partition('+')[0] if name in there else 'none'} (lock: {version})"
        for name, version in pins.items()
        if name not in there or there[name].partition("+")[0] != version
    ]
    name = os.path.relpath(lock, ROOT)
    if not other:
        return Finding("packages", f"{len(pins)}, as {name} pins them")
    more = f" and {len(other) - 3} more" if other[3:] else ""
    said = f"{len(other)} of {len(pins)} not as {name} pins them: {', '.join(other[:3])}{more}"
    return Finding("packages", said, f"rm -rf .venv; make setup LOCK={name}")


def command() -> Finding:
    """Look whether the `lorebridge` that rules call belongs to this Python."""
    found = shutil.which("lorebridge")
    if found and Path(found).resolve().parent == Path(sys.executable).absolute().parent.resolve():
        return Finding("path", found)
    said = f"lorebridge on PATH is {found or 'missing'}; this is Python from {Path(sys.executable).parent}"
    return Finding("path", said, f'export PATH="{Path(sys.executable).parent}:$PATH"')


def torch_build(config: Mapping[str, Any]) -> Finding:
    """Look whether torch is there, and built for GPUs where the study trains on some."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return Finding("torch", "none", "make setup (on a GPU: make setup LOCK=envs/gpu.lock)")
    built = runpy.run_path(str(Path(spec.origin).with_name("version.py")))
    cuda = built.get("cuda") or built.get("hip")
    said = f"{built['__version__']}, built for {cuda or 'the CPU'}"
    lacking = config["compute"]["gpus"] and not cuda
    return Finding("torch", said, "rm -rf .venv; make setup LOCK=envs/gpu.lock" if lacking else "")


def gpus(config: Mapping[str, Any], slurm: Finding) -> Finding:
    """Look for GPUs where the study trains on some and SLURM gives it none."""
    wanted = config["compute"]["gpus"]
    listed = _says(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"])
    names = [line.strip() for line in (listed or "").splitlines() if line.strip()]
    here = f"{len(names)} here ({names[0]})" if names else "none here"
    if not wanted:
        return Finding("gpu", f"{here}; the study trains on the CPU (compute.gpus: 0)")
    if len(names) >= wanted:
        return Finding("gpu", f"{here}; a run takes {wanted}")
    if slurm_is_there():
        return Finding("gpu", f"{here}; a run asks SLURM for {wanted}")
    return Finding("gpu", f"{here}; a run takes {wanted}", "Run it where they are, through SLURM, or set compute.gpus.")


def slurm_is_there() -> bool:
    """Return whether jobs can be submitted from here."""
    return shutil.which("sbatch") is not None


def cluster() -> Finding:
    """Look for the commands of SLURM, all or none, and whether accounting answers: Snakemake waits for it."""
    lacking = [name for name in SLURM if shutil.which(name) is None]
    if lacking == list(SLURM):
        return Finding("slurm", "none here: jobs run on this machine (snakemake --cores N)")
    if lacking:
        return Finding("slurm", f"{', '.join(lacking)} not on PATH", "Load the cluster's module of SLURM.")
    version = (_says(["sbatch", "--version"]) or "").strip()
    if not version:
        mend = "Have it configured (slurm.conf), or run on this machine without the profile (snakemake --cores N)."
        return Finding("slurm", "its programs are here, of no cluster (sbatch --version fails)", mend)
    if _says(["sacct", "--noheader", "--allocations", "--starttime", "now"]) is None:
        mend = "Ask the cluster's people for accounting: without it Snakemake never learns that a job has ended."
        return Finding("slurm", f"{version}; sacct fails", mend)
    return Finding("slurm", f"{version}; accounting answers")


def disk(plan: Plan) -> Iterator[Finding]:
    """Compare the free space below results and work with what checkpoints and resume states take."""
    totals = Cost(plan.study).totals
    kept = totals["disk_bytes"] - totals["resume_bytes"]
    places = {plan.root: kept, plan.work: totals["resume_bytes"]}
    devices = [_parent(place).stat().st_dev for place in places]
    if len(set(devices)) == 1:
        places = dict.fromkeys(places, sum(places.values()))  # one file system has to hold both
    for place, wanted in places.items():
        parent = _parent(place)
        if not os.access(parent, os.W_OK):
            yield Finding("disk", f"{place}: {parent} cannot be written to", "Set `results` and `work`.")
            continue
        free = shutil.disk_usage(parent).free
        said = f"{place}: {_size(free)} free; checkpoints and resume states take {_size(wanted)}, text comes on top"
        yield Finding("disk", said, "Make room, or set `results` and `work`." if free < wanted else "")


def _parent(place: str) -> Path:
    """Return the folder itself, or the nearest above it that there is."""
    path = Path(place).absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:,.1f} MB"


def fonts(languages: Mapping[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Look for each script of the study in the fonts that figures are drawn with."""
    import regex
    from fontTools.ttLib import TTFont

    spec = importlib.util.find_spec("matplotlib")
    plain = Path(str(spec.origin)).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf" if spec else None
    files = [path for path in (plain, *sorted(FONTS.glob("*.ttf"))) if path and path.is_file()]
    letters = {path.stem: "".join(map(chr, TTFont(path, lazy=True).getBestCmap())) for path in files}
    for script in dict.fromkeys(str(language["script"]) for language in languages.values()):
        having = [
            name
            for name, known in letters.items()
            if regex.search(rf"\p{{Script={_LETTERS.get(script, script)}}}", known)
        ]
        if having:
            yield Finding("fonts", f"{script}: {having[0]}")
        else:
            mend = f"Put a font for {script} into {os.path.relpath(FONTS)}: figures show boxes for its letters."
            yield Finding("fonts", f"{script}: none", mend)


def data(plan: Plan) -> Iterator[Finding]:
    """Look for the files from outside that the study reads."""
    problems: dict[str, None] = {}
    there: set[str] = set()
    for stage, wildcards in plan.walk():
        w = dict(wildcards)
        try:
            plan.literals(stage, **w)
            there.update(plan.sources(stage, **w))
        except LorebridgeError as error:
            problems[str(error)] = None
    # What the study makes itself (a planted world) is none of its sources.
    there = {path for path in there if not Path(path).is_relative_to(plan.root)}
    for path, obtain in plan.study.absent_sources():
        yield Finding("data", f"{path} is not in place", obtain)
    for problem in problems:
        said, _, mend = problem.rpartition(". ")
        yield Finding("data", said, mend)
    for path in sorted(path for path in there if not os.access(path, os.R_OK)):
        yield Finding("data", f"{path} cannot be read", "Give it to yourself: chmod u+r.")
    hubs = sorted(set(_fetched(plan.config)))
    said = f"{len(there)} local files in place" if there else "no local files are read"
    yield Finding("data", said + (f"; fetched when needed: {', '.join(hubs)}" if hubs else ""))


def _fetched(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a study reads of the hub."""
    for section in ("corpora", "parallel"):
        for entry in config.get(section, {}).values():
            yield from (str(source["dataset"]) for source in entry["sources"] if "dataset" in source)


def _says(words: Sequence[str]) -> str | None:
    """Return what a program prints; None where it is missing, fails, or does not answer."""
    try:
        return subprocess.run(words, check=True, capture_output=True, text=True, timeout=WAIT).stdout
    except (OSError, subprocess.SubprocessError):
        return None
