"""Reading rows of text, against the ordinary ways, on the same files in the same run.

    python benchmarks/sources.py --data DIR [--repeat N]

Writes each ``corpora/*.jsonl.gz`` under DIR as JSONL and as Parquet (row groups of 1,000, as data sets on the hub have
them), and reads all three into columns of checked strings. Beside it, from the same files: `json.loads` of every line
(or rows of pyarrow, where it is Parquet), texts in a list, unchecked; and `datasets`, streaming. Texts are compared.
Times are CPU seconds of this process, each the best of N, so that other load on the machine counts less. The limit is
unpacking and splitting into lines alone (reading the column alone, where it is Parquet), by the same libraries.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")

import datasets
import peers
import pyarrow as pa
import pyarrow.parquet as pq
from isal import igzip

from lorebridge.corpora.sources import open_source


def ours(path: Path) -> pa.ChunkedArray:
    source = open_source({"kind": "local", "name": "benchmark"}, path)
    return pa.chunked_array([batch.columns["text"] for batch in source.batches()])


def ordinary(path: Path) -> list[str]:
    if path.suffix == ".parquet":
        return [row["text"] for batch in pq.ParquetFile(path).iter_batches(1024) for row in batch.to_pylist()]
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]


def streaming(path: Path) -> list[str]:
    kind = "parquet" if path.suffix == ".parquet" else "json"
    return [row["text"] for row in datasets.load_dataset(kind, data_files=str(path), split="train", streaming=True)]


def limit(path: Path) -> int:
    if path.suffix == ".parquet":
        return sum(batch.num_rows for batch in pq.ParquetFile(path).iter_batches(1024, columns=["text"]))
    with igzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return sum(1 for _ in file)


def seconds(work: Callable[[Path], Any], path: Path, repeat: int) -> tuple[float, Any]:
    best = float("inf")
    for _ in range(repeat):
        start = time.process_time()
        result = work(path)
        best = min(best, time.process_time() - start)
    return best, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a folder with corpora/*.jsonl.gz")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    print("| file | MB | ours, MB/s | ordinary, MB/s | ratio | datasets, MB/s | ratio | limit, MB/s |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for packed in sorted((arguments.data / "corpora").glob("*.jsonl.gz")):
            plain, table = Path(folder, packed.stem), Path(folder, packed.stem).with_suffix(".parquet")
            plain.write_bytes(gzip.decompress(packed.read_bytes()))
            rows = [json.loads(line) for line in plain.open(encoding="utf-8")]
            pq.write_table(pa.Table.from_pylist(rows), table, row_group_size=1000)
            size = plain.stat().st_size / 1e6
            for path in (plain, packed, table):
                mine, found = seconds(ours, path, arguments.repeat)
                theirs, texts = seconds(ordinary, path, arguments.repeat)
                stream, streamed = seconds(streaming, path, arguments.repeat)
                bound, _ = seconds(limit, path, arguments.repeat)
                assert found.equals(pa.chunked_array([pa.array(texts, pa.string())])), path
                assert streamed == texts, path
                print(
                    f"| {path.name} | {size:.0f} | {size / mine:.0f} | {size / theirs:.0f} | {theirs / mine:.1f} "
                    f"| {size / stream:.0f} | {stream / mine:.1f} | {size / bound:.0f} |",
                    flush=True,
                )
    print(
        f"\n`{' '.join(['python', *sys.argv])}` on {platform.processor() or platform.machine()}, {os.cpu_count()} "
        f"cores, Python {platform.python_version()}, {peers.versions('datasets', 'pyarrow', 'isal')}; MB of JSONL"
    )


if __name__ == "__main__":
    main()
