"""The letter filter against the ordinary way, on the same text in the same run.

    python benchmarks/filter.py --data DIR [--repeat N]

Reads every ``corpora/*.jsonl.gz`` under DIR and, for each, runs
- *filter*: texts in memory (an Arrow column, as a Parquet file or a batch of rows gives it) to filtered texts with the
  counts of the audit, against a loop over Python strings with `regex`;
- *read and filter*: the same from an uncompressed JSONL file, against `json.loads` and that loop. Uncompressed, because
  unpacking gzip (about 300 MB/s) would hide what is compared.
The ordinary way does what gives the same result: NFC, deletion with the marks, mended gaps and brackets, and counts of
letters. Every text and count is compared. ``sub`` is a bare ``regex.sub`` of the foreign characters, which gives
another result: what deleting alone costs. The limit is a copy of the same bytes (memcpy).
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
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import regex

from lorebridge.corpora.scripts import LetterFilter
from lorebridge.corpora.sources import open_source

BATCH = 1024  # rows, as sources give them


class OrdinaryWay:
    """The rule with regular expressions, one Python string at a time."""

    GAP = "\ufdd0"
    INNER = rf"[^\p{{Ps}}\p{{Pe}}\p{{Pi}}\p{{Pf}}\p{{L}}\p{{N}}\n{GAP}]*+"
    BRACKET = regex.compile(rf"[\p{{Ps}}\p{{Pi}}]{INNER}(?:{GAP}{INNER})++[\p{{Pe}}\p{{Pf}}]")
    GAPS = regex.compile(rf"(?<![ \t])[ \t]*+(?:{GAP}[ \t]*+)++(\n?)")
    LETTERS = regex.compile(r"\p{L}+")

    def __init__(self, keeps_latin: bool) -> None:
        self.foreign = (
            r"[^\p{Script=Latin}\p{Script=Common}\p{Script=Inherited}]" if keeps_latin else rf"[\p{{Latin}}{self.GAP}]"
        )
        self.search = regex.compile(self.foreign).search
        self.run = regex.compile(rf"(?:{self.foreign}[\p{{M}}\u200c\u200d]*+)++")

    def count(self, text: str) -> int:
        return sum(map(len, self.LETTERS.findall(text)))

    def close(self, gaps: regex.Match[str]) -> str:
        opens = gaps.start() == 0 or gaps.string[gaps.start() - 1] == "\n"
        closes = bool(gaps[1]) or gaps.end() == len(gaps.string)
        if opens or closes:
            return "" if opens and closes else gaps[1]
        return " " if " " in gaps[0] or "\t" in gaps[0] else ""

    def __call__(self, text: str) -> tuple[str, int, int]:
        text = unicodedata.normalize("NFC", text)
        letters = self.count(text)
        if not self.search(text):
            return text, letters, 0
        while self.search(text):
            text, emptied = self.run.sub(self.GAP, text), 1
            while emptied:
                text, emptied = self.BRACKET.subn(self.GAP, text)
            text = unicodedata.normalize("NFC", self.GAPS.sub(self.close, text))
        return text, letters, letters - self.count(text)


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
        f"MB/s of UTF-8 by time of processor, ours the best of {arguments.repeat}\n"
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
    ours, ordinary = LetterFilter({"keep" if keeps_latin else "drop": "Latin"}), OrdinaryWay(keeps_latin)
    source = open_source({"kind": "local", "name": name}, plain)
    texts = [json.loads(line)["text"] for line in plain.open(encoding="utf-8")]
    column = pa.array(texts, pa.string())
    size = sum(len(text.encode()) for text in texts)
    batches = [column.slice(start, BATCH) for start in range(0, len(column), BATCH)]
    ours.clean(batches[0])  # compiles, or loads what was compiled

    seconds, cleaned = timed(lambda: [ours.clean(batch) for batch in batches], repeat)
    seconds_regex, expected = timed(lambda: [ordinary(text) for text in texts], 1)
    check(cleaned, expected)
    read, cleaned = timed(lambda: [ours.clean(batch.columns["text"]) for batch in source.batches(0, 1)], repeat)
    read_regex, expected = timed(
        lambda: [ordinary(json.loads(line)["text"]) for line in plain.open(encoding="utf-8")], 1
    )
    check(cleaned, expected)
    bare, _ = timed(lambda: [regex.sub(ordinary.foreign, "", text) for text in texts], 1)
    data = np.frombuffer(column.buffers()[2], dtype=np.uint8)
    copy, _ = timed(data.copy, 5)
    edited = sum(int(batch.edited.sum()) for batch in cleaned) / len(texts)
    speeds = [size / 1e6 / value for value in (seconds, seconds_regex, read, read_regex, bare, copy)]
    print(
        f"| {name} | {size / 1e6:.1f} | {edited:.0%} | {speeds[0]:.0f} | {speeds[1]:.0f} | "
        f"{seconds_regex / seconds:.1f}x | {speeds[2]:.0f} | {speeds[3]:.0f} | {read_regex / read:.1f}x | "
        f"{speeds[4]:.0f} | {speeds[5]:.0f} |"
    )


def check(cleaned: list[Any], expected: list[tuple[str, int, int]]) -> None:
    """See that texts, and letters before and deleted, are equal."""
    texts = [text for batch in cleaned for text in batch.texts.to_pylist()]
    deleted = np.concatenate([batch.deleted for batch in cleaned])
    assert texts == [text for text, _, _ in expected]
    assert deleted.tolist() == [n for _, _, n in expected]
    left = np.concatenate([batch.letters_left.sum(axis=1) for batch in cleaned])
    assert (left + deleted).tolist() == [n for _, n, _ in expected]


if __name__ == "__main__":
    main()
