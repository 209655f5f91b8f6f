"""What it costs that who reads a file compares its sha256, and that a dry run compares sizes.

    python benchmarks/integrity.py [--folder DIR] [--gigabytes N] [--files N]

Writes so many gigabytes to so many files in a folder of that disk, as a token store and checkpoints are, and measures

* hashing, in one thread (CPU seconds, so that other load on the machine counts less) and as readers do it, in several,
  and once more where the cache knows the files;
* from these speeds, as shares of the work itself: 16 training runs of an hour that read one token store of 40 GB, which
  is hashed when it is published and known from then on; the same where the cache was lost; and the scoring of 31
  checkpoints of 1 GB in ten minutes, which are known since training compared them as it published them, and where the
  cache was lost;
* the question of a dry run whether an artifact is fresh, for a finished run of 31 checkpoints, with sizes and without.

The goal is at most 2 % for each reader.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lorebridge.records import RECORD, DigestCache, Task, changes, describe, file_digest, outputs_of, read_record, whole

CHECKPOINTS, RUNS, HOUR, TEN_MINUTES = 31, 16, 3600.0, 600.0


def seconds(call: Callable[[], object], times: int = 1) -> float:
    """Return the wall time of a call, the shortest of some."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return min(found)


def write(folder: Path, n_bytes: int, files: int) -> list[Path]:
    """Write files of random bytes, alike in size."""
    block = os.urandom(1 << 20)
    paths = [folder / f"shard-{i}.bin" for i in range(files)]
    for path in paths:
        with path.open("wb") as file:
            for _ in range(n_bytes // files >> 20):
                file.write(block)
    return paths


def dry_run(folder: Path) -> tuple[float, float, float]:
    """Return the seconds that a finished run's record, its outputs, and their sizes take to be looked at."""
    out = folder / "run"
    for step in range(CHECKPOINTS):
        (out / f"step{step}").mkdir(parents=True)
        for name in ("model.safetensors", "config.json", "generation_config.json", "tokenizer.json"):
            (out / f"step{step}" / name).write_bytes(b"x")
    steps = [out / f"step{step}" for step in range(CHECKPOINTS)]
    with Task("train", {}, call={"inputs": {}}).making(out / RECORD, writes={"checkpoints": steps}):
        pass
    record = read_record(out / RECORD) or {}
    paths = [str(step) for step in steps]
    read = seconds(lambda: read_record(out / RECORD), 50)
    return (
        read,
        seconds(lambda: all(map(os.path.exists, paths)), 50),
        seconds(lambda: whole(out / RECORD, record, paths), 50),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="on the disk to measure (default: that of temporary files)")
    parser.add_argument("--gigabytes", type=float, default=2)
    parser.add_argument("--files", type=int, default=4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        paths = write(folder, int(arguments.gigabytes * 1e9), arguments.files)
        total = sum(path.stat().st_size for path in paths)
        started = time.process_time()
        for path in paths:
            file_digest(path)
        one = total / (time.process_time() - started)
        described = {"shards": paths}
        record = {"files": describe(described, folder)}
        wanted = outputs_of(folder / RECORD, record)
        time.sleep(DigestCache.SETTLED)
        cache = DigestCache(folder / "digests")
        several = total / seconds(lambda: changes(wanted, str, cache))
        again = seconds(lambda: changes(wanted, str, cache), 5) / len(paths)
        read, there, sized = dry_run(folder)
    print("| what | measured |")
    print("|---|---|")
    print(f"| sha256, one thread | {one / 1e9:.2f} GB/s |")
    print(f"| comparing {arguments.files} files for the first time | {several / 1e9:.2f} GB/s |")
    print(f"| comparing a file that is known | {1e3 * again:.2f} ms |")
    print(f"| {RUNS} runs of an hour from 40 GB of tokens | {again / HOUR:.5%} |")
    print(f"| the same, the cache lost | {40e9 / one / (RUNS * HOUR):.2%} |")
    threads = min(8, len(os.sched_getaffinity(0)))
    shared = CHECKPOINTS * 1e9 / (threads * one) / TEN_MINUTES
    print(f"| scoring {CHECKPOINTS} checkpoints of 1 GB in ten minutes | {CHECKPOINTS * again / TEN_MINUTES:.5%} |")
    print(f"| the same, the cache lost, {threads} threads | {shared:.2%} |")
    print(f"| a dry run: reading the record of a run of {CHECKPOINTS} checkpoints | {1e3 * read:.2f} ms |")
    print(f"| whether they are there | {1e3 * there:.2f} ms |")
    print(f"| whether all their files have their sizes | {1e3 * sized:.2f} ms |")
    print(
        f"\n`{' '.join(['python', *sys.argv])}` on {platform.processor() or platform.machine()}, "
        f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"
    )


if __name__ == "__main__":
    main()
