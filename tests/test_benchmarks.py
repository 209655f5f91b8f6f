"""The benchmarks can be started."""

import os
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


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
