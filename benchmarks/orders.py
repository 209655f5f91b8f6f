"""Time and memory of filtering pairs, of a data order, and of reading it, where the parallel text is large.

    python benchmarks/orders.py [--pairs N ...] [--steps N ...] [--folder DIR]

Makes up a parallel text of N pairs (a table of pairs and the two token stores, of about 20 words and 20 tokens a half;
300 bytes a pair on disk, in DIR) and draws the order of ``bridge`` for runs of so many steps of 524,288 positions, each
in a process of its own, with ``pair_supply`` 1.25. Then a process reads a few steps of it. Printed: pairs on disk,
pairs drawn, seconds of processor and wall, and the most memory that was resident; of the reader what is its own,
without the maps of token stores that all processes of a machine share.

The table of pairs is filtered too, as a source (``filter_pairs``): once for each N, in a process of its own,
which reads ahead in a second thread.

What is needed for 71 million pairs on disk and 1,500 steps follows by slope: the last line extrapolates linearly from
the pairs on disk and the steps (least squares, intercept included; needs three different runs that are not on a line).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lorebridge import tables
from lorebridge.corpora.documents import filter_pairs
from lorebridge.tokens.order import draw_order, read_notes
from lorebridge.tokens.reader import OrderReader
from lorebridge.tokens.tokenizer import tokenizer_fingerprint, train_tokenizer

LENGTH, BATCH_TOKENS = 2048, 524_288
SUPPLY = 1.25
BLOCK = 250_000
PAPER = {"pairs": 71_000_000, "steps": 1500}


def words(seed: int, letters: str, n: int) -> pa.Array:
    """Return n different words, the first tenth of them with a capital."""
    chance = np.random.default_rng(seed)
    found = ["".join(chance.choice(list(letters), chance.integers(2, 9))) for i in range(n)]
    return pa.array([word.capitalize() if i < n // 10 else word for i, word in enumerate(found)])


def sentences(vocabulary: pa.Array, n: int, chance: np.random.Generator) -> pa.Array:
    """Return n sentences of 5 to 40 words, the frequent ones first in the vocabulary."""
    counts = np.minimum(5 + chance.geometric(1 / 15, n), 40)
    ranks = (len(vocabulary) * chance.random(counts.sum()) ** 3).astype(np.int32)
    lists = pa.ListArray.from_arrays(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32), vocabulary.take(ranks))
    return pc.binary_join(lists, " ")


def write_store(path: Path, lengths: list[np.ndarray], tokenizer: str, seed: int) -> None:
    """Write a store of random tokens."""
    path.mkdir(parents=True, exist_ok=True)
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    np.save(path / "offsets.npy", offsets)
    chance = np.random.default_rng(seed)
    with (path / "tokens.bin").open("wb") as file:
        for some in lengths:
            file.write(chance.integers(1, 100_000, int(some.sum()), dtype=np.uint32).tobytes())
    (path / "store.json").write_text(json.dumps({"tokenizer": tokenizer, "digest": f"{seed}"}))


def make_text(folder: Path, n_pairs: int) -> None:
    """Write the tables and stores of a parallel text."""
    tokenizer = folder.parent / "tokenizer"
    fingerprint = tokenizer_fingerprint(tokenizer)
    vocabularies = words(0, "abcdefghiklmnoprstuvw", 200_000), words(1, "가나다라마바사아자차", 200_000)
    chance = np.random.default_rng(n_pairs)
    lengths: dict[str, list[np.ndarray]] = {"en": [], "xx": []}
    folder.mkdir(parents=True)
    with tables.writer("pairs", folder / "pairs.parquet") as write:
        for begin in range(0, n_pairs, BLOCK):
            n = min(BLOCK, n_pairs - begin)
            halves = {half: sentences(v, n, chance) for half, v in zip(("en", "xx"), vocabularies, strict=True)}
            for half, texts in halves.items():
                lengths[half].append(np.maximum(pc.binary_length(texts).to_numpy() // 6, 1))
            ids = pc.binary_join_element_wise("p/", pa.array(np.arange(begin, begin + n)).cast(pa.string()), "")
            write(pa.table({"pair_id": ids, **halves, "source": pa.array(["s"] * n)}))
    for seed, half in enumerate(("en", "xx")):
        write_store(folder / f"pairs-zh-{half}", lengths[half], fingerprint, seed)
    write_store(folder / "mono-zh", [chance.integers(50, 2000, 200_000)], fingerprint, 2)


def make_tokenizer(folder: Path) -> None:
    """Write a small tokenizer, for the labels alone."""
    texts = ["English: one two three", "Chinese: four five six"] * 50
    rows = [{"doc_id": f"{i}", "title": "", "text": t, "source": "s", "n_chars": len(t)} for i, t in enumerate(texts)]
    tables.write("documents", rows, folder / "documents.parquet")
    train_tokenizer(
        tables=[("en", "text", folder / "documents.parquet")],
        vocab_size=300,
        bytes_per_group=2000,
        out=folder / "tokenizer",
    )


def stores_of(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in ("mono-zh", "pairs-zh-en", "pairs-zh-xx")}


def draw(folder: Path, steps: int) -> None:
    """Draw an order (in a process of its own)."""
    draw_order(
        run="zh-bridge-s0",
        lang="zh",
        arm="bridge",
        seed=0,
        steps=steps,
        sequence_length=LENGTH,
        batch_tokens=BATCH_TOKENS,
        packing="isolated",
        template="English: {en} Chinese: {xx}",
        label_tokens=24,
        pair_supply=SUPPLY,
        stores=stores_of(folder),
        pairs=folder / "pairs.parquet",
        tokenizer=folder.parent / "tokenizer",
        out=folder / "order.parquet",
    )


def read(folder: Path, steps: int) -> None:
    """Read the first, some middle and the last steps, as a process of a run and its resume do."""
    reader = OrderReader.open(folder / "order.parquet", stores_of(folder))
    for step in (*range(min(8, steps)), *range(steps // 2, min(steps // 2 + 8, steps)), steps - 1):
        reader.batch(step)


def filter_text(folder: Path) -> None:
    """Filter the table of pairs as a source."""
    filter_pairs(
        sources=[{"kind": "local", "name": "made-up", "fields": {"zh": "xx"}}],
        paths=[folder / "pairs.parquet"],
        base="en",
        lang="zh",
        letters_base={"keep": "Latin"},
        letters_xx={"drop": "Latin"},
        max_lost=0.1,
        simplify=False,
        heldout=0.01,
        pairs=folder / "filtered.parquet",
        heldout_pairs=folder / "heldout.parquet",
        audit=folder / "audit.json",
    )
    (folder / "filtered.parquet").unlink()


def measured(task: str, folder: Path, steps: int) -> tuple[float, float, float]:
    """Run a task in a process of its own; return its seconds of processor, of wall, and gigabytes."""
    begin = time.perf_counter()
    command = [sys.executable, __file__, "--task", task, "--folder", str(folder), "--steps", str(steps)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
    return found["processor"], time.perf_counter() - begin, found["gigabytes"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, nargs="+", default=[1_000_000, 3_000_000])
    parser.add_argument("--steps", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--task", choices=["draw", "read", "filter"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        if arguments.task == "filter":
            filter_text(arguments.folder)
        else:
            (draw if arguments.task == "draw" else read)(arguments.folder, arguments.steps[0])
        used = resource.getrusage(resource.RUSAGE_SELF)
        # Not ru_maxrss, which counts the process that started this one. What all readers map is one copy for all.
        status = Path("/proc/self/status").read_text().split()
        kilobytes = int(status[status.index("RssAnon:" if arguments.task == "read" else "VmHWM:") + 1])
        print(json.dumps({"processor": used.ru_utime + used.ru_stime, "gigabytes": kilobytes * 1024 / 1e9}))
        return
    print(f"`python {' '.join(sys.argv)}`, {platform.machine()}, Python {platform.python_version()}, one thread")
    print("   pairs on disk    steps   pairs drawn  order MB  draw: cpu s  wall s     GB   read: cpu s     GB")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as root:
        make_tokenizer(Path(root))
        runs, filtered = [], []
        for n_pairs in arguments.pairs:
            folder = Path(root) / str(n_pairs)
            make_text(folder, n_pairs)
            cpu, wall, gigabytes = measured("filter", folder, 1)
            filtered.append((1, n_pairs, cpu, wall, gigabytes))
            print(
                f"{n_pairs:16,} pairs filtered: {cpu:.1f} s of processor, {wall:.1f} s, {gigabytes:.2f} GB", flush=True
            )
            for steps in arguments.steps:
                cpu, wall, gigabytes = measured("draw", folder, steps)
                reading, _, of_reader = measured("read", folder, steps)
                notes = read_notes(folder / "order.parquet")["pairs"]
                size = (folder / "order.parquet").stat().st_size / 1e6
                print(
                    f"{n_pairs:16,} {steps:8,} {notes['n_pairs']:13,} {size:9.0f} {cpu:12.1f} {wall:7.1f} "
                    f"{gigabytes:6.2f} {reading:13.1f} {of_reader:6.2f}",
                    flush=True,
                )
                runs.append((1, n_pairs, steps, cpu, gigabytes))
    if len(arguments.pairs) > 1:
        sizes = np.array(filtered)
        slopes = np.linalg.lstsq(sizes[:, :2], sizes[:, 2:], rcond=None)[0]
        cpu, wall, gigabytes = np.array([1, PAPER["pairs"]]) @ slopes
        print(
            f"by slope, {PAPER['pairs']:,} pairs filtered: {cpu:.0f} s of processor, {wall:.0f} s, {gigabytes:.1f} GB"
        )
    table = np.array(runs)
    if np.linalg.matrix_rank(table[:, :3]) == 3:
        slopes = np.linalg.lstsq(table[:, :3], table[:, 3:], rcond=None)[0]
        cpu, gigabytes = np.array([1, PAPER["pairs"], PAPER["steps"]]) @ slopes
        print(f"by slope, for {PAPER['pairs']:,} pairs and {PAPER['steps']:,} steps: {cpu:.0f} s, {gigabytes:.1f} GB")


if __name__ == "__main__":
    main()
