"""Neighbours of pages by TF-IDF against scikit-learn, and what 6,000,000 pages x 80,000 queries would take.

    python benchmarks/neighbours.py --data DIR [--pages N] [--queries N] [--terms N] [--top N]

Reads ``corpora/en.jsonl.gz`` under DIR; a page is two of its summaries, which come again with others where `--pages` is
more than they make. Both find the `--top` pages nearest to each of `--queries` pages, by their `--terms` heaviest
words and by all of them:
- *ours*: the text is read in shards, and the scores of a shard are summed from its postings
  (``lorebridge.corpora.neighbours``);
- *scikit-learn*: ``TfidfVectorizer`` (the same words, sublinear, smoothed, L2), the product of two sparse matrices, and
  a sort of each query's scores. The text, the matrix and the scores of all pages are in memory at once.
Every rank is compared, ties included (scores to nine decimals, then the order of the pages).

The rest is arithmetic. Reading is linear in the pages, making queries of pages in the queries, scoring in queries x
pages; and in pages that come in no order, ``top x (1 + ln(pages / top))`` are among a query's best so far when they
are met. So each is measured apart: the last is what keeping `--top` pages costs more than keeping one. Memory is the
best of each query (24,000 bytes of 1,000 pages), the distinct words (16 bytes, three times over while counts are added
up) and one shard.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import itertools
import json
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peers
import pyarrow as pa
import pyarrow.compute as pc
import regex
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from lorebridge import tables
from lorebridge.corpora import neighbours as ours_is
from lorebridge.corpora.neighbours import DIGITS, TFIDF, Corpus, Index, nearest

PAGES, QUERIES = 6_000_000, 80_000
HOURS, GIGABYTES = 2, 8
AT_ONCE = 100  # queries of the peer, whose scores are all in memory
WORDS_AT_SCALE = 30_000_000  # distinct ones of so much text: more than English Wikipedia has of three letters or more
WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")


@dataclasses.dataclass
class Ours:
    """What finding the neighbours took, in seconds of processor.

    Attributes:
        read: the text, twice, with its words.
        asked: making queries of pages.
        score: the pages.
        keep: the best pages.
        pages: what was found for each query.
    """

    read: float
    asked: float
    score: float
    keep: float
    pages: list[list[int]]

    def at_scale(self, n: int, n_queries: int, top: int) -> list[float]:
        """Return the core-hours of each of these four, of all pages and queries."""
        kept = [1 + np.log(max(1, each / top)) for each in (n, PAGES)]
        more = QUERIES / n_queries
        seconds = (
            self.read * PAGES / n,
            self.asked * more,
            self.score * more * PAGES / n,
            self.keep * more * kept[1] / kept[0],
        )
        return [each / 3600 for each in seconds]


class Kernel:
    """The summing of scores, timed.

    Attributes:
        seconds: of processor, since it was last asked.
    """

    def __init__(self) -> None:
        self._score, self._seconds = ours_is._score, 0.0
        ours_is._score = self

    def __call__(self, *arguments: Any) -> None:
        seconds, _ = timed(lambda: self._score(*arguments))
        self._seconds += seconds

    def seconds(self) -> float:
        found, self._seconds = self._seconds, 0.0
        return found


def measured(
    corpus: Corpus, counted: float, index: Index, queries: Any, terms: int | None, top: int, kernel: Kernel
) -> Ours:
    """Find the neighbours, with the seconds of each part."""
    kernel.seconds()
    asked, _ = timed(lambda: ours_is._queries(corpus, index, queries, terms))
    nearest(corpus, index, queries, query_terms=terms, top=1)
    score = kernel.seconds()
    whole, found = timed(lambda: nearest(corpus, index, queries, query_terms=terms, top=top))
    scored = kernel.seconds()
    pages = [found[1][found[0] == row].tolist() for row in range(len(queries))]
    return Ours(counted + whole - scored - asked, asked, score, max(0.0, scored - score), pages)


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds of processor, and the result."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def peak() -> float:
    """Return the most memory that this process has had so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def read_texts(path: Path, n: int) -> list[str]:
    """Return texts of `n` pages, each of two summaries: about as many distinct words as a page of Wikipedia has."""
    with gzip.open(path, "rt", encoding="utf-8") as rows:
        said = [json.loads(row)["text"] for row in itertools.islice(rows, 2 * n)]
    texts = [" ".join(pair) for pair in zip(said[::2], said[1::2], strict=False)][:n]
    rng = np.random.default_rng(0)
    while len(texts) < n:
        texts.append(" ".join(said[i] for i in rng.integers(len(said), size=2)))
    return texts


def by_peer(weights: Any, names: Any, queries: Any, terms: int | None, top: int) -> list[list[int]]:
    """Return the pages nearest to each query, by a sparse product and a sort."""
    if len(queries) > AT_ONCE:
        parts = np.array_split(queries, len(queries) // AT_ONCE + 1)
        return [pages for part in parts for pages in by_peer(weights, names, part, terms, top)]
    asked = weights[queries].tolil()
    if terms is not None:
        for row in range(len(queries)):
            columns, values = np.array(asked.rows[row]), np.array(asked.data[row])
            kept = np.sort(np.lexsort((names[columns], -values.round(12)))[:terms])
            asked.rows[row], asked.data[row] = columns[kept].tolist(), values[kept].tolist()
    asked = asked.tocsr()
    norms = np.sqrt(np.asarray(asked.multiply(asked).sum(axis=1)).ravel())
    scores = (sparse.diags_array(1 / np.where(norms > 0, norms, 1)) @ asked @ weights.T).tocsr()
    found = []
    for row, query in enumerate(queries):
        begin, end = scores.indptr[row : row + 2]
        pages, values = scores.indices[begin:end], scores.data[begin:end].round(DIGITS)
        kept = (pages != query) & (values > 0)
        pages, values = pages[kept], values[kept]
        found.append(pages[np.lexsort((pages, -values))[:top]].tolist())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pages", type=int, default=40_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--terms", type=int, default=64)
    parser.add_argument("--top", type=int, default=1000)
    arguments = parser.parse_args()
    print(
        f"`{' '.join(['python', *sys.argv])}`, {platform.machine()}, Python {platform.python_version()}, one thread; "
        f"peer: {peers.versions('scikit-learn', 'scipy')}\n"
    )
    texts = read_texts(arguments.data / "corpora" / "en.jsonl.gz", arguments.pages)
    n, queries = len(texts), np.sort(np.random.default_rng(1).permutation(len(texts))[: arguments.queries])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "documents.parquet"
        kept = [Path(folder) / name for name in ("all", "few")]
        for each in kept:
            each.mkdir()
        rows = [
            {"doc_id": str(i), "title": "", "text": text, "source": "", "n_chars": len(text)}
            for i, text in enumerate(texts)
        ]
        tables.write("documents", rows, path)
        corpus = Corpus([path], np.arange(n), kept[0])
        few = Corpus([path], np.arange(min(n, 50)), kept[1])
        nearest(few, Index.of(few, TFIDF), np.array([0]), query_terms=None, top=1)  # compiles
        kernel = Kernel()
        counted, index = timed(lambda: Index.of(corpus, TFIDF))
        ours = {
            terms: measured(corpus, counted, index, queries, terms, arguments.top, kernel)
            for terms in (arguments.terms, None)
        }
    memory = peak()
    lowered = pc.utf8_lower(pa.array(texts)).to_pylist()  # Python's own gives some capitals two letters
    vectorizer = TfidfVectorizer(analyzer=WORD.findall, sublinear_tf=True)
    fitted, weights = timed(lambda: vectorizer.fit_transform(lowered).tocsr())
    names = vectorizer.get_feature_names_out()
    print(
        f"{n:,} pages of {weights.nnz / n:.0f} distinct words, {len(index.words):,} in all, {len(queries):,} queries, "
        f"top {arguments.top:,}; seconds:\n"
    )
    print("| words of a query | read | make queries | score | keep the best | scikit-learn: read | score | equal |")
    print("|---|---|---|---|---|---|---|---|")
    for terms, our in ours.items():
        scored, expected = timed(lambda t=terms: by_peer(weights, names, queries, t, arguments.top))
        print(
            f"| {terms or 'all'} | {our.read:.1f} | {our.asked:.2f} | {our.score:.2f} | {our.keep:.2f} | {fitted:.1f} "
            f"| {scored:.2f} | {'yes' if our.pages == expected else 'NO'} |"
        )
    print(f"\n{PAGES:,} pages x {QUERIES:,} queries by arithmetic, in core-hours, of {HOURS}:\n")
    print("| words of a query | read | make queries | score | keep the best | all |\n|---|---|---|---|---|---|")
    for terms, our in ours.items():
        hours = our.at_scale(n, len(queries), arguments.top)
        print(f"| {terms or 'all'} | {' | '.join(f'{each:.2f}' for each in (*hours, sum(hours)))} |")
    best = QUERIES * 2 * arguments.top * 12 / 1e9
    counts = 3 * 16 * WORDS_AT_SCALE / 1e9
    print(
        f"\nmemory: {memory:.1f} GB here (a shard, and the text of the sample); at scale {best:.1f} GB for the best of "
        f"each query, {counts:.1f} GB for {WORDS_AT_SCALE:,} words, and a shard: of {GIGABYTES} GB"
    )


if __name__ == "__main__":
    main()
