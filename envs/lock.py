"""Resolve ``requirements.in`` into ``cpu.lock`` and ``gpu.lock``: every package with its version and its sha256.

    python envs/lock.py cpu     torch from a folder of CPU wheels (PIP_FIND_LINKS); it alone carries no hash
    python envs/lock.py gpu     torch from the index, with its CUDA packages
    python envs/lock.py docs    ``docs.in`` into ``docs.lock``: what the documentation's site is built with

Run it with the Python that `make setup` uses (3.11, x86-64 Linux): a lock holds the files of one platform.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
REQUIREMENTS = {"cpu": "requirements.in", "gpu": "requirements.in", "docs": "docs.in"}


def resolve(flavour: str) -> list[tuple[str, str, str | None]]:
    """Return (name, version, sha256) of every package that the requirements need, resolved by pip."""
    environment = dict(os.environ, DS_BUILD_OPS="0")
    if flavour == "gpu":
        # A folder of CPU wheels, named in the environment or in pip's configuration, would win over the index.
        environment.pop("PIP_FIND_LINKS", None)
        environment["PIP_CONFIG_FILE"] = os.devnull
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--dry-run",
                "--ignore-installed",
                "--report",
                str(report),
                "--requirement",
                str(HERE / REQUIREMENTS[flavour]),
            ],
            check=True,
            env=environment,
        )
        found = json.loads(report.read_text())["install"]
    return sorted(
        (
            item["metadata"]["name"].lower().replace("_", "-"),
            item["metadata"]["version"].split("+")[0],
            item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256"),
        )
        for item in found
    )


def main(flavour: str) -> None:
    """Write the lock of one flavour (cpu, gpu or docs)."""
    made = f"made by `python envs/lock.py {flavour}`"
    lines = [f"# {flavour} lock of {REQUIREMENTS[flavour]} for Python 3.11 on x86-64 Linux; {made}"]
    for name, version, sha256 in resolve(flavour):
        if flavour == "cpu" and name == "torch":
            lines.append(f"# torch=={version} is installed first, without a hash: its CPU build differs by index")
        else:
            lines.append(f"{name}=={version} --hash=sha256:{sha256}")
    (HERE / f"{flavour}.lock").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
