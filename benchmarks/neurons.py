"""Memory of ranking the neurons of one large relation: 100,000 facts of 36,864 neurons, 15 GB of activations.

    python benchmarks/neurons.py [--facts N] [--neurons N] [--blocks N]

The file of activations is laid out whole; the blocks that are ranked are drawn and written, the rest of it is a hole.
They are ranked as the job does it (``Spool``, ``probeless``, ``Top``), and the most that the process had in RAM (VmHWM)
is told, Python and numpy included. All blocks are alike, so that some of them say it. What a job has besides is the
model, and the activations of a batch of facts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lorebridge.probes.neurons import Spool, Top, probeless

TOP = 50


def most() -> int:
    """Return the most bytes that this process had in RAM."""
    said = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(next(line.split()[1] for line in said.splitlines() if line.startswith("VmHWM")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facts", type=int, default=100_000)
    parser.add_argument("--neurons", type=int, default=36_864)
    parser.add_argument("--blocks", type=int, default=3)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    began = most()
    with tempfile.TemporaryFile() as file:
        spool = Spool(file, arguments.facts, arguments.neurons)
        file.truncate(4 * arguments.facts * arguments.neurons)
        for _ in range(arguments.blocks):
            file.write(rng.standard_normal(arguments.facts * spool.width, np.float32).tobytes())
        best, started = Top(arguments.facts, TOP), time.process_time()
        for done, (start, values) in enumerate(spool.blocks(), 1):
            best.add(start, probeless(values, np.ones(arguments.facts, bool)))
            if done == arguments.blocks:
                break
    seconds = (time.process_time() - started) / done
    size = 4e-9 * arguments.facts * arguments.neurons
    print(
        f"`python benchmarks/neurons.py {' '.join(sys.argv[1:])}`\n"
        f"{arguments.facts:,} facts of {arguments.neurons:,} neurons: {size:.1f} GB of activations in "
        f"{len(spool.starts)} blocks of {spool.width} neurons.\nAfter {done} of them: {most() / 1e9:.2f} GB at most, "
        f"{began / 1e9:.2f} before; {seconds:.1f} s of processor a block."
    )


if __name__ == "__main__":
    main()
