"""Retrieval against its peers, on the same chunks and questions in the same run.

    python benchmarks/retrieval.py --data DIR [--megabytes N]

- *BM25*: the one-pass scan against pyserini (Lucene), both from table "chunks" to table "hits", one thread, k = 50.
  Chunks of ``corpora/{lang}.jsonl.gz`` under DIR, repeated up to N megabytes of UTF-8; questions of
  ``probes/*-culture-cloze_{lang}.json``. pyserini's time includes the start of Java; both are given words by our
  analysis, in Python for pyserini: `less analysis` is the ratio when that is taken off its time. Compiled code is
  loaded before the clock starts; `compile` says what that takes in a process (from numba's cache, or anew).
  Question, chunk and rank of every hit are compared, and scores to the four decimals that Anserini gives. The limit is
  a copy of the same bytes.
- *Dense*: exact top 50 of 100,000 vectors in 384 dimensions for 512 questions, block by block as
  :mod:`lorebridge.trace.dense` searches, against one question at a time. The limit is the floating-point rate of a
  large matrix product.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lorebridge import tables
from lorebridge.corpora.chunks import cut
from lorebridge.trace import bm25, dense, scan
from lorebridge.trace.analysis import analyse

SCRIPTS = {"en": "Latin", "ko": "Hangul", "zh": "Han", "bo": "Tibetan", "mn": "Mongolian"}


def write_chunks(data: Path, lang: str, megabytes: float, path: Path) -> int:
    """Write chunks of real text, and return their bytes of UTF-8."""
    rows, size = [], 0
    for copy in itertools.count():
        with gzip.open(data / "corpora" / f"{lang}.jsonl.gz", "rt", encoding="utf-8") as file:
            for number, line in enumerate(file):
                for part, text in enumerate(cut(json.loads(line)["text"], 5000)):
                    doc_id = f"{copy}/{number}"
                    rows.append({"chunk_id": f"{doc_id}#{part}", "doc_id": doc_id, "text": text, "n_chars": len(text)})
                    size += len(text.encode())
                if size >= megabytes * 1e6:
                    tables.write("chunks", rows, path)
                    return size
    raise AssertionError


def write_questions(data: Path, lang: str, path: Path) -> int:
    """Write all real questions in a language, and return their number."""
    rows, n = [], 0
    for source in sorted((data / "probes").glob(f"*-culture-cloze_{lang}.json")):
        for item in json.loads(source.read_text(encoding="utf-8")):
            for i, option in enumerate(item["options"]):
                row = {"question_id": f"q-{n:04d}", "culture": "q", "lang": lang, "text": item["question"]}
                row |= {"option_index": i, "option": option, "is_gold": option == item["answer"]}
                rows.append(row | {"subset": ["reference"], "n_blanks": 1})
            n += 1
    tables.write("questions", rows, path)
    return n


def lexical(data: Path, lang: str, megabytes: float, folder: Path) -> str:
    """Return a row of the table of BM25."""
    chunks, questions = folder / "chunks.parquet", folder / "questions.parquet"
    size = write_chunks(data, lang, megabytes, chunks)
    n = write_questions(data, lang, questions)
    asked = {"questions": questions, "lang": lang, "script": SCRIPTS[lang], "top_k": 50, "k1": 1.2, "b": 0.75}
    tables.write("chunks", tables.read(chunks).head(5), folder / "few.parquet")
    started = time.perf_counter()
    scan.retrieve(chunks=folder / "few.parquet", out=folder / "few-hits.parquet", method="bm25", **asked)
    compiled = time.perf_counter() - started
    started = time.perf_counter()
    scan.retrieve(chunks=chunks, out=folder / "ours.parquet", method="bm25", **asked)
    ours = time.perf_counter() - started
    started = time.perf_counter()
    bm25.build_index(chunks=chunks, script=SCRIPTS[lang], index=folder / "index", threads=1)
    indexed = time.perf_counter() - started
    bm25.retrieve(index=folder / "index", out=folder / "theirs.parquet", method="bm25", **asked)
    theirs = time.perf_counter() - started
    texts = tables.read(chunks, ["text"])["text"].tolist()
    started = time.perf_counter()
    for text in texts:
        analyse(text, SCRIPTS[lang])
    analysed = time.perf_counter() - started
    joined = np.frombuffer("".join(texts).encode(), np.uint8)
    started = time.perf_counter()
    joined.copy()
    copied = time.perf_counter() - started
    found, expected = tables.read(folder / "ours.parquet"), tables.read(folder / "theirs.parquet")
    keys = ["question_id", "chunk_id", "rank"]
    equal = found[keys].equals(expected[keys]) and float((found["score"] - expected["score"]).abs().max()) < 1e-4
    return (
        f"| {lang} | {size / 1e6:.1f} | {len(texts):,} | {n} | {indexed:.1f} + {theirs - indexed:.1f} s | {ours:.2f} s "
        f"| {size / 1e6 / ours:.0f} | {theirs / ours:.1f}x | {(theirs - analysed) / ours:.1f}x | {compiled:.1f} s "
        f"| {size / 1e9 / copied:.0f} GB/s | {'yes' if equal else 'NO'} |"
    )


def semantic() -> str:
    """Return a row of the table of dense search."""
    generator = np.random.default_rng(0)

    def unit(n: int) -> np.ndarray:
        vectors = generator.standard_normal((n, 384), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    vectors, asked = unit(100_000), unit(512)
    started = time.perf_counter()
    best = dense.Best(len(asked), 50)
    for start in range(0, len(vectors), 1024):
        best.add(asked @ vectors[start : start + 1024].T, start)
    ours = time.perf_counter() - started
    started = time.perf_counter()
    one_by_one = []
    for query in asked:
        scores = vectors @ query
        candidates = np.argpartition(-scores, 50)[:50]
        one_by_one.append(candidates[np.argsort(-scores[candidates], kind="stable")])
    theirs = time.perf_counter() - started
    shared = np.mean([len({*a} & {*b}) / 50 for a, b in zip(best.places.tolist(), one_by_one, strict=True)])
    square = generator.standard_normal((2048, 2048), dtype=np.float32)
    started = time.perf_counter()
    square @ square
    rate = 2 * 2048**3 / (time.perf_counter() - started)
    limit = 2 * vectors.size * len(asked) / rate
    return (
        f"| {len(vectors):,} x {len(asked)} | {theirs:.2f} s ({len(asked) / theirs:.0f}/s) "
        f"| {ours:.2f} s ({len(asked) / ours:.0f}/s) | {theirs / ours:.1f}x | {limit:.2f} s "
        f"({rate / 1e9:.0f} GFLOP/s) | {shared:.4f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=8.0, help="UTF-8 of each language")
    arguments = parser.parse_args()
    rows = []
    for lang in SCRIPTS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(lexical(arguments.data, lang, arguments.megabytes, Path(folder)))
    print(f"{platform.processor() or platform.machine()}, one thread: `{' '.join(sys.argv)}`\n")
    print(
        "| corpus | MB | chunks | questions | pyserini: index + search | scan | scan MB/s | ratio | less analysis | "
        "compile | limit | equal |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))
    print("\n| vectors x questions | one by one | blocks | ratio | limit | shared top 50 |\n|---|---|---|---|---|---|")
    print(semantic())


if __name__ == "__main__":
    main()
