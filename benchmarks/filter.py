"""The letter filter against the ordinary way, on the same text in the same run.

    python benchmarks/filter.py --data DIR [--repeat N]

Reads every ``corpora/*.jsonl.gz`` under DIR and, for each, runs
- *filter*: texts in memory (an Arrow column, as a Parquet file or a batch of rows gives it) to filtered texts with the
  counts of the audit, against a loop over Python strings with `regex`;
- *read and filter*: the same from an uncompressed JSONL file, against `json.loads` and that loop. Uncompressed, because
  unpacking gzip (about 300 MB/s) would hide what is compared.
The ordinary way does what gives the same result (``tests/corpora/written_rule.py``): ends of lines, NFC, deletion with
the marks, mended gaps and brackets, and counts of what was edited. Every text and count is compared. ``sub`` is a bare
substitution of the characters of the foreign scripts, which gives another result: what deleting alone costs. The limit
is a copy of the same bytes (memcpy).
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peers
import pyarrow as pa
import regex

sys.path.append(str(Path(__file__).parents[1] / "tests" / "corpora"))
from written_rule import Expected, WrittenRule

from lorebridge.corpora.scripts import LetterFilter
from lorebridge.corpora.sources import open_source

BATCH = 1024  # rows, as sources give them


def timed(function: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    """Return the shortest time of processor in seconds, and the result."""
    best = float("inf")
    for _ in range(repeat):
        start = time.process_time()
        result = function()
        best = min(best, time.process_time() - start)
    return best, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    print(
        f"`{' '.join(['python', *sys.argv])}`, {platform.machine()}, Python {platform.python_version()}, one thread; "
        f"MB/s of UTF-8 by time of processor, each the best of "
        f"{arguments.repeat}; {peers.versions('regex')}\n"
    )
    columns = ["text", "MB", "edited", "filter", "by regex", "ratio", "read and filter", "json + regex", "ratio"]
    columns += ["bare sub", "memcpy"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    with tempfile.TemporaryDirectory() as folder:
        for packed in sorted((arguments.data / "corpora").glob("*.jsonl.gz")):
            row(packed, Path(folder) / packed.name.removesuffix(".gz"), arguments.repeat)


def row(packed: Path, plain: Path, repeat: int) -> None:
    """Measure one corpus."""
    with gzip.open(packed) as source, plain.open("wb") as out:
        shutil.copyfileobj(source, out)
    name = plain.name.split(".")[0]
    keeps_latin = name == "en"
    policy = {"keep" if keeps_latin else "drop": "Latin"}
    ours, ordinary = LetterFilter(policy), WrittenRule(policy)
    foreign = regex.compile(r"[^\p{Latin}\p{Common}\p{Inherited}]" if keeps_latin else r"\p{Latin}")
    source = open_source({"kind": "local", "name": name}, plain)
    texts = [json.loads(line)["text"] for line in plain.open(encoding="utf-8")]
    column = pa.array(texts, pa.string())
    size = sum(len(text.encode()) for text in texts)
    batches = [column.slice(start, BATCH) for start in range(0, len(column), BATCH)]
    ours.clean(batches[0])  # compiles, or loads what was compiled

    seconds, cleaned = timed(lambda: [ours.clean(batch) for batch in batches], repeat)
    seconds_regex, expected = timed(lambda: [ordinary.clean(text) for text in texts], repeat)
    check(cleaned, expected)
    read, cleaned = timed(lambda: [ours.clean(batch.columns["text"]) for batch in source.batches(0, 1)], repeat)
    read_regex, expected = timed(
        lambda: [ordinary.clean(json.loads(line)["text"]) for line in plain.open(encoding="utf-8")], repeat
    )
    check(cleaned, expected)
    bare, _ = timed(lambda: [foreign.sub("", text) for text in texts], repeat)
    data = np.frombuffer(column.buffers()[2], dtype=np.uint8)
    copy, _ = timed(data.copy, 5)
    edited = sum(int(batch.edited.sum()) for batch in cleaned) / len(texts)
    speeds = [size / 1e6 / value for value in (seconds, seconds_regex, read, read_regex, bare, copy)]
    print(
        f"| {name} | {size / 1e6:.1f} | {edited:.0%} | {speeds[0]:.0f} | {speeds[1]:.0f} | "
        f"{seconds_regex / seconds:.1f}x | {speeds[2]:.0f} | {speeds[3]:.0f} | {read_regex / read:.1f}x | "
        f"{speeds[4]:.0f} | {speeds[5]:.0f} |"
    )


def check(cleaned: list[Any], expected: list[Expected]) -> None:
    """See that texts and counts are equal."""
    assert [text for batch in cleaned for text in batch.texts.to_pylist()] == [e.text for e in expected]
    for name in ("deleted", "signs", "line_ends", "torn"):
        found = np.concatenate([getattr(batch, name) for batch in cleaned])
        assert found.tolist() == [getattr(e, name) for e in expected], name
    left = np.concatenate([batch.letters_left.sum(axis=1) for batch in cleaned])
    assert left.tolist() == [e.letters - e.deleted for e in expected]


if __name__ == "__main__":
    main()
