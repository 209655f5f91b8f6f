"""Retrieval against its peers, on the same chunks and questions in the same run.

    python benchmarks/retrieval.py --data DIR [--megabytes N]

- *BM25*: the one-pass scan against pyserini (Lucene) and against `bm25s` (its method "lucene", compiled), all from
  table "chunks" to hits, one thread, k = 50. Chunks of ``corpora/{lang}.jsonl.gz`` under DIR, repeated up to N
  megabytes of UTF-8; questions of ``probes/*-culture-cloze_{lang}.json``. pyserini's time includes the start of Java;
  the peers are given words by our analysis in Python: `less analysis` is the ratio when that is taken off their time.
  Compiled code is loaded before the clock starts; `compile` says what that takes in a process (from numba's cache, or
  anew). Of pyserini, question, chunk and rank of every hit are compared, and scores to the four decimals that Anserini
  gives. bm25s does not round lengths as Lucene's norms do: it is compared with the scan without that rounding, by its
  50 scores of each question, within 1e-4. The limit is a copy of the same bytes.
- *Dense*: exact top 50 of `--vectors` vectors in 384 dimensions for 512 questions, block by block as
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
from typing import Any

import numpy as np
import peers

from lorebridge import tables
from lorebridge.corpora.chunks import cut
from lorebridge.trace import bm25, dense, scan
from lorebridge.trace.analysis import analyse
from lorebridge.trace.hits import read_queries

TOP = 50
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


def compiled_peer(texts: list[list[str]], queries: list[list[str]]) -> tuple[np.ndarray, float]:
    """Index words with bm25s and search them.

    Returns:
        [queries, k] scores, descending, 0 where there are fewer; and the seconds that passed.
    """
    import bm25s

    started = time.perf_counter()
    index = bm25s.BM25(method="lucene", k1=1.2, b=0.75, backend="numba")
    index.index(texts, show_progress=False)
    _, scores = index.retrieve(queries, k=min(TOP, len(texts)), sorted=True, show_progress=False, n_threads=1)
    return scores, time.perf_counter() - started


def exact_scores(asked: dict[str, Any], chunks: Path, out: Path, n: int) -> np.ndarray:
    """Return [questions, n] scores of the scan without Lucene's rounding of lengths, descending, 0 where none is."""
    rounded = scan.norm
    scan.norm = lambda lengths: lengths
    try:
        scan.retrieve(chunks=chunks, out=out, method="bm25", **asked)
    finally:
        scan.norm = rounded
    found = tables.read(out)
    ids = read_queries(asked["questions"], asked["lang"], asked["script"]).index
    scores = np.zeros((len(ids), n))
    scores[ids.get_indexer(found["question_id"]), found["rank"] - 1] = found["score"]
    return scores


def lexical(data: Path, lang: str, megabytes: float, folder: Path) -> str:
    """Return a row of the table of BM25."""
    chunks, questions = folder / "chunks.parquet", folder / "questions.parquet"
    size = write_chunks(data, lang, megabytes, chunks)
    n = write_questions(data, lang, questions)
    asked = {"questions": questions, "lang": lang, "script": SCRIPTS[lang], "top_k": TOP, "k1": 1.2, "b": 0.75}
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
    compiled_peer([["a"], ["b"]], [["a"]])
    started = time.perf_counter()
    texts = tables.read(chunks, ["text"])["text"].tolist()
    words = [analyse(text, SCRIPTS[lang]) for text in texts]
    queries = [analyse(query, SCRIPTS[lang]) for query in read_queries(questions, lang, SCRIPTS[lang])]
    analysed = time.perf_counter() - started
    scores, searched = compiled_peer(words, queries)
    exact = exact_scores(asked, chunks, folder / "exact.parquet", scores.shape[1])
    same = float(np.abs(scores - exact).max()) < 1e-4
    joined = np.frombuffer("".join(texts).encode(), np.uint8)
    started = time.perf_counter()
    joined.copy()
    copied = time.perf_counter() - started
    found, expected = tables.read(folder / "ours.parquet"), tables.read(folder / "theirs.parquet")
    keys = ["question_id", "chunk_id", "rank"]
    equal = found[keys].equals(expected[keys]) and float((found["score"] - expected["score"]).abs().max()) < 1e-4
    return (
        f"| {lang} | {size / 1e6:.1f} | {len(texts):,} | {n} | {indexed:.1f} + {theirs - indexed:.1f} s | {ours:.2f} s "
        f"| {size / 1e6 / ours:.0f} | {theirs / ours:.1f}x | {(theirs - analysed) / ours:.1f}x "
        f"| {analysed:.1f} + {searched:.2f} s | {(analysed + searched) / ours:.1f}x | {searched / ours:.1f}x "
        f"| {compiled:.1f} s | {size / 1e9 / copied:.0f} GB/s | {'yes' if equal and same else 'NO'} |"
    )


def semantic(n_vectors: int) -> str:
    """Return a row of the table of dense search."""
    generator = np.random.default_rng(0)

    def unit(n: int) -> np.ndarray:
        vectors = generator.standard_normal((n, 384), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    vectors, asked = unit(n_vectors), unit(512)
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
    parser.add_argument("--vectors", type=int, default=100_000)
    arguments = parser.parse_args()
    peers.need("bm25s")
    rows = []
    for lang in SCRIPTS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(lexical(arguments.data, lang, arguments.megabytes, Path(folder)))
    print(
        f"{platform.processor() or platform.machine()}, one thread: `{' '.join(sys.argv)}`; "
        f"{peers.versions('pyserini', 'bm25s', 'numba', 'numpy')}\n"
    )
    print(
        "| corpus | MB | chunks | questions | pyserini: index + search | scan | scan MB/s | ratio | less analysis "
        "| bm25s: analysis + index and search | ratio | less analysis | compile | limit | equal |"
    )
    print(f"|{'---|' * 15}")
    print("\n".join(rows))
    print("\n| vectors x questions | one by one | blocks | ratio | limit | shared top 50 |\n|---|---|---|---|---|---|")
    print(semantic(arguments.vectors))


if __name__ == "__main__":
    main()
