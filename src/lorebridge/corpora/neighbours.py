"""Neighbours: the pages whose words are most like those of a page that is asked about.

The pages of one language are weighted as scikit-learn's ``TfidfVectorizer`` does with ``sublinear_tf`` (a word that
comes n times counts 1 + log n, times log((1 + pages) / (1 + pages that have it)) + 1, each page of length 1), or by
BM25 (Robertson and Zaragoza, Foundations and Trends in Information Retrieval 3(4), 2009) as Lucene computes it. A query
is a page: all its words, or the heaviest few.

Text is read once, a shard of pages at a time, for how many pages have each word; the counts are kept on disk (8 bytes a
distinct word of a page) and read again for the scores. A shard's scores are summed word by word from its postings, and
each query keeps its best so far. So memory grows with the queries and with the distinct words, not with the pages.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse
from tqdm import tqdm

from lorebridge import tables
from lorebridge.corpora.pieces import check_numbering, numbered_by, numbering
from lorebridge.errors import InputError
from lorebridge.kernels import compiled

log = logging.getLogger("lorebridge.corpora")

METHODS = TFIDF, BM25 = "tfidf", "bm25"

WORD = r"[^\p{L}\p{M}\p{N}]+"
"""What stands between words: anything but letters, their marks (vowel signs, too) and digits."""

K1, B = 0.9, 0.4
"""BM25's saturation of counts, and its normalisation by length: those of Anserini and of :mod:`lorebridge.trace`."""

SHARD = 1 << 14
"""Pages whose words are in memory at a time: so few that their scores stay in a processor's cache."""

KEPT = ("hashes", "begins", "word", "n")
"""What is kept of the counts of a shard."""

AHEAD = 1 << 22
"""Counts of words that wait, at least, before they are added up."""

DIGITS = 9
"""Decimals of a score. What differs by less is a tie: sums of the same weights in another order are no other score."""

TIES = 10**DIGITS

Ints = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float64]


def neighbours(
    *,
    lang: str,
    method: str,
    query_terms: int | None,
    top: int,
    documents: Sequence[Path],
    pages: Path,
    qa: Path,
    out: Path,
) -> dict[str, Any]:
    """Find the pages nearest to each page that has a question of split ``test`` or ``train``; write "neighbours".

    ``score`` is the cosine of the two pages, or of the page with the query's heaviest words (of BM25 the score). Scores
    are rounded to nine decimals; of equal ones the page comes first that does in table "pages". A page that shares no
    word of the query is no neighbour, nor is the page itself.

    Args:
        lang: the language whose text is compared.
        method: one of :data:`METHODS`.
        query_terms: how many words of a page are its query, the heaviest by TF-IDF, of equal ones the first by code
            point; None for all.
        top: how many neighbours a page gets at most.
        documents: tables "documents" of `lang`, whose rows are the pieces that `pages` numbers.
        pages: table "pages".
        qa: table "qa".
        out: where to write, sorted by the queries' place among the pages, then rank.

    Returns:
        Notes: ``n_pages, n_queries, n_words`` (distinct), ``n_rows``, and ``sizes``: of each language the tokens of all
        its pages, of those that each level removes, and of those that could replace them
        (:func:`lorebridge.tokens.levels.check_room`).

    Raises:
        InputError: an unknown method; `query_terms` or `top` less than 1; no page of `lang`; `pages` of other
            documents; no question that has a page.
    """
    if method not in METHODS:
        raise InputError("neighbours.method", f"{method!r} is unknown", f"It is one of {', '.join(METHODS)}.")
    for key, value in (("query_terms", query_terms), ("top", top)):
        if value is not None and value < 1:
            raise InputError(f"neighbours.{key}", f"{value} is less than 1", "Give 1 or more.")
    found = tables.read(pages, ["page_id", "lang", "piece", "n_tokens"])
    own = found[found["lang"] == lang].sort_values("piece")
    if own.empty:
        raise InputError(pages, f"has no page of {lang}", f"It has {', '.join(sorted(found['lang'].unique()))}.")
    numbered = json.loads(numbered_by(pages) or "{}").get(lang)
    check_numbering(pages, numbered, numbering(documents))
    questions = tables.read(qa, ["split", "page_id"]).drop_duplicates()
    wanted = own["page_id"].isin(questions.loc[questions["split"].isin(("test", "train")), "page_id"]).to_numpy()
    if not wanted.any():
        raise InputError(qa, f"no question of split test or train has a page of {lang}", "Check how pages are named.")
    queries = np.flatnonzero(wanted)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".counts-", dir=out.parent) as folder:
        corpus = Corpus(documents, own["piece"].to_numpy(), Path(folder))
        index = Index.of(corpus, method)
        rows, columns, scores = nearest(corpus, index, queries, query_terms=query_terms, top=top)
    names = own["page_id"].to_numpy()
    n_hits = np.bincount(rows, minlength=len(queries))
    ranks = np.arange(len(rows)) - np.repeat(n_hits.cumsum() - n_hits, n_hits) + 1
    frame = pd.DataFrame(
        {"page_id": names[queries[rows]], "rank": ranks.astype(np.int32), "neighbour": names[columns], "score": scores}
    )
    tables.write("neighbours", frame, out)
    notes = {
        "n_pages": len(own),
        "n_queries": len(queries),
        "n_words": len(index.words),
        "n_rows": len(frame),
        "sizes": _sizes(found, questions, frame),
    }
    log.info("%s: %s", lang, notes)
    return notes


def _sizes(pages: pd.DataFrame, questions: pd.DataFrame, near: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Return tokens by language: ``total``, what ``f1`` to ``f4`` remove, and ``available`` to replace it."""
    asked = {split: set(rows["page_id"].dropna()) for split, rows in questions.groupby("split")}
    kept = asked.get("both", set())
    gone: set[str] = set()
    levels: dict[str, set[str]] = {}
    for number, split in ((1, "test"), (3, "train")):
        of_split = asked.get(split, set())
        gone = gone | of_split
        levels[f"f{number}"] = gone
        gone = gone | (set(near.loc[near["page_id"].isin(of_split), "neighbour"]) - kept)
        levels[f"f{number + 1}"] = gone
    sizes = {}
    for lang, rows in pages.groupby("lang"):
        tokens = rows["n_tokens"]
        sizes[str(lang)] = {
            "total": int(tokens.sum()),
            **{name: int(tokens[rows["page_id"].isin(some)].sum()) for name, some in levels.items()},
            "available": int(tokens[~rows["page_id"].isin(gone | kept)].sum()),
        }
    return sizes


@dataclasses.dataclass(frozen=True)
class Corpus:
    """The text of some documents, read in shards.

    Attributes:
        paths: tables "documents".
        pieces: the rows that are read, ascending: those of the pages.
        kept: a folder of this process, where the counts of all shards are kept when they have been read once.
        shard: how many of them are read at a time.
    """

    paths: Sequence[Path]
    pieces: Ints
    kept: Path
    shard: int = SHARD

    def __len__(self) -> int:
        """Return how many pages it has."""
        return len(self.pieces)

    def count(self, what: str) -> Iterator[Counts]:
        """Yield the counts of the words of each shard, and keep them."""
        begins = []
        for begin, counts in self.shards(what):
            for name in KEPT:
                np.save(self.kept / f"{begin}-{name}.npy", getattr(counts, name))
            begins.append(begin)
            yield counts
        np.save(self.kept / "begins.npy", np.array(begins, np.int64))

    def again(self, what: str) -> Iterator[tuple[int, Counts]]:
        """Yield the counts that :meth:`count` has kept, without the words, and the place of each shard's first page."""
        for begin in tqdm(np.load(self.kept / "begins.npy").tolist(), desc=what, unit="shard", mininterval=1):
            arrays = {name: np.load(self.kept / f"{begin}-{name}.npy") for name in KEPT}
            yield begin, Counts(np.zeros(0, object), **arrays)

    def shards(self, what: str, only: Ints | None = None) -> Iterator[tuple[int, Counts]]:
        """Yield the counts of the words of each shard, and the place of its first page among those read.

        Args:
            what: what is done, for the progress bar.
            only: places of the pages that are read, ascending; None for all.
        """
        pieces = self.pieces if only is None else self.pieces[only]
        held: list[pa.Array] = []
        begin = row = n_held = 0
        with tqdm(total=len(pieces), desc=what, unit="page", mininterval=1) as bar:
            for path in self.paths:
                for batch in tables.record_batches(path, ["text"]):
                    low, high = np.searchsorted(pieces, [row, row + len(batch)])
                    held.append(batch.column(0).take(pa.array(pieces[low:high] - row)))
                    row, n_held = row + len(batch), n_held + int(high - low)
                    if n_held >= self.shard:
                        yield begin, Counts.of(held)
                        bar.update(n_held)
                        begin, n_held, held = begin + n_held, 0, []
            if n_held:
                yield begin, Counts.of(held)
                bar.update(n_held)


@dataclasses.dataclass(frozen=True)
class Counts:
    """How often each page of a shard has each word.

    Attributes:
        words: the distinct words.
        hashes: uint64 of each; two words of a corpus share one as rarely as never.
        begins: int64 [pages + 1], where the words of each page begin.
        word: int32, a place in `words`.
        n: int32, how often it comes.
    """

    words: npt.NDArray[Any]
    hashes: npt.NDArray[np.uint64]
    begins: Ints
    word: Ints
    n: Ints

    @classmethod
    def of(cls, texts: Sequence[pa.Array]) -> Counts:
        """Count the words of some texts, in lower case."""
        dictionary, codes, ends = _coded(texts)
        nothing = np.flatnonzero(dictionary == "")  # before the first separator of a text, and behind its last
        begins, word, n = _counted(codes, ends, len(dictionary), nothing[0] if len(nothing) else -1)
        hashes = pd.util.hash_array(dictionary, categorize=False)
        return cls(dictionary, hashes, begins, word, n)

    @property
    def lengths(self) -> Ints:
        """Words of each page, repeats included."""
        return _sums(self.n, self.begins)


def _coded(texts: Sequence[pa.Array]) -> tuple[npt.NDArray[Any], Ints, Ints]:
    """Return the distinct words of some texts, the words as places among them, and where each text's words end."""
    ends, parts = [np.zeros(0, np.int64)], []
    n = 0
    for some in texts:
        split = pc.split_pattern_regex(pc.utf8_lower(some.cast(pa.large_string())), pattern=WORD)
        ends.append(n + split.offsets.to_numpy()[1:].astype(np.int64) - split.offsets[0].as_py())
        n = int(ends[-1][-1]) if len(split) else n
        parts.append(split.flatten().dictionary_encode())
    encoded = pa.chunked_array(parts).unify_dictionaries() if parts else pa.chunked_array([], pa.large_string())
    if not parts:
        return np.zeros(0, object), np.zeros(0, np.int32), np.concatenate(ends)
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks])
    return encoded.chunk(0).dictionary.to_numpy(zero_copy_only=False), codes, np.concatenate(ends)


@compiled
def _counted(codes, ends, n_words, nothing):
    """Count each word of each text; return where those of a text begin, the words, and how often each comes."""
    times = np.zeros(n_words, np.int32)
    begins = np.zeros(len(ends) + 1, np.int64)
    word = np.empty(len(codes), np.int32)
    n = np.empty(len(codes), np.int32)
    at = 0
    begin = 0
    for text in range(len(ends)):
        first = at
        for i in range(begin, ends[text]):
            if codes[i] == nothing:
                continue
            if not times[codes[i]]:
                word[at] = codes[i]
                at += 1
            times[codes[i]] += 1
        for i in range(first, at):
            n[i] = times[word[i]]
            times[word[i]] = 0
        begins[text + 1] = at
        begin = ends[text]
    return begins, word[:at].copy(), n[:at].copy()


@dataclasses.dataclass(frozen=True)
class Index:
    """How rare each word of a corpus is.

    Attributes:
        method: how pages are scored.
        words: uint64, the hashes of the distinct words, ascending.
        n_with: how many pages have each.
        n_pages: of the corpus.
        mean_length: words of a page.
    """

    method: str
    words: npt.NDArray[np.uint64]
    n_with: Ints
    n_pages: int
    mean_length: float

    @classmethod
    def of(cls, corpus: Corpus, method: str) -> Index:
        """Count in how many pages each word is."""
        words = np.zeros(0, np.uint64)
        n_with: Ints = np.zeros(0, np.int64)
        waiting: list[tuple[npt.NDArray[np.uint64], Ints]] = []
        n_words = n_waiting = 0
        for counts in corpus.count("count words"):
            n_words += int(counts.n.sum())
            more = np.bincount(counts.word, minlength=len(counts.hashes))
            waiting.append((counts.hashes[more > 0], more[more > 0]))
            n_waiting += len(waiting[-1][0])
            if n_waiting > max(AHEAD, len(words)):  # so that each word is sorted a few times, not once a shard
                words, n_with = _added(words, n_with, waiting)
                waiting, n_waiting = [], 0
        words, n_with = _added(words, n_with, waiting)
        return cls(method, words, n_with, len(corpus), n_words / max(1, len(corpus)))

    def rarity(self, hashes: npt.NDArray[np.uint64]) -> Floats:
        """Return the smoothed inverse document frequency of some words."""
        return np.log((1 + self.n_pages) / (1 + self._with(hashes))) + 1

    def weights(self, counts: Counts) -> Floats:
        """Return the weight of each word of each page, by which it is found."""
        if self.method == TFIDF:
            return _tfidf(counts, self.rarity(counts.hashes))
        n = self._with(counts.hashes)
        rarity = np.log(1 + (self.n_pages - n + 0.5) / (n + 0.5))
        saturation = K1 * (1 - B + B * counts.lengths / self.mean_length)
        return rarity[counts.word] * counts.n / (counts.n + np.repeat(saturation, np.diff(counts.begins)))

    def _with(self, hashes: npt.NDArray[np.uint64]) -> Floats:
        if not len(self.words):
            return np.zeros(len(hashes))
        at = np.searchsorted(self.words, hashes).clip(max=len(self.words) - 1)
        return np.where(self.words[at] == hashes, self.n_with[at], 0).astype(np.float64)


def _added(
    words: npt.NDArray[np.uint64], n: Ints, more: Sequence[tuple[npt.NDArray[np.uint64], Ints]]
) -> tuple[npt.NDArray[np.uint64], Ints]:
    """Add up counts of words; `words` are ascending, and so are those returned."""
    both = np.concatenate([words, *(of for of, _ in more)])
    order = np.argsort(both, kind="stable")
    both = both[order]
    if not len(both):
        return words, n
    first = np.flatnonzero(np.append(True, both[1:] != both[:-1]))
    return both[first], np.add.reduceat(np.concatenate([n, *(of for _, of in more)])[order], first)


def _tfidf(counts: Counts, rarity: Floats) -> Floats:
    """Return the TF-IDF weights of the words of each page, each page of length 1."""
    weights = (1 + np.log(counts.n)) * rarity[counts.word]
    squares = _sums(weights**2, counts.begins)
    return weights / np.repeat(np.sqrt(np.where(squares > 0, squares, 1)), np.diff(counts.begins))


def _sums(values: npt.NDArray[Any], begins: Ints) -> npt.NDArray[Any]:
    """Return the sum of each stretch of some values, 0 of an empty one."""
    return np.add.reduceat(np.append(values, 0), begins[:-1]) * (np.diff(begins) > 0)


def nearest(
    corpus: Corpus, index: Index, queries: Ints, *, query_terms: int | None, top: int
) -> tuple[Ints, Ints, Floats]:
    """Find the pages that score highest for some of them.

    Args:
        corpus: the pages.
        index: of the corpus.
        queries: places of the pages that are asked for, ascending.
        query_terms: words of a query; None for all of its page.
        top: how many pages a query gets at most.

    Returns:
        The query (its place in `queries`), page (its place in the corpus) and score of each hit, by query, then rank.
    """
    words, begins, term, weight = _queries(corpus, index, queries, query_terms)
    found = _Best.room(len(queries), top)
    if not len(words):
        return _ranked(*found, top)
    for first, counts in corpus.again("score pages"):
        # The postings of the words that are asked for, in the order of the pages.
        at = np.searchsorted(words, counts.hashes).clip(max=len(words) - 1)
        asked = words[at] == counts.hashes
        known = asked[counts.word]
        begins_of = np.concatenate([[0], known.cumsum()])[counts.begins]
        shape = (len(counts.begins) - 1, len(counts.hashes))
        posted = sparse.csr_array((index.weights(counts)[known], counts.word[known], begins_of), shape=shape).tocsc()
        local = np.full(len(words), -1, np.int32)
        local[at[asked]] = np.flatnonzero(asked)
        scores = np.zeros(shape[0])
        ends = posted.indptr.astype(np.int64)
        pages = posted.indices.astype(np.int32, copy=False)
        _score(begins, local[term], weight, queries, ends, pages, posted.data, first, scores, *found)
    return _ranked(*found, top)


def _queries(
    corpus: Corpus, index: Index, queries: Ints, query_terms: int | None
) -> tuple[npt.NDArray[np.uint64], Ints, Ints, Floats]:
    """Return the hashes of all words asked for, ascending; where each query begins, its words among them, weights."""
    hashes, weights, sizes = [np.zeros(0, np.uint64)], [np.zeros(0)], [np.zeros(0, np.int64)]
    for _, counts in corpus.shards("read queries", queries):
        heavy = _tfidf(counts, index.rarity(counts.hashes))
        page = np.repeat(np.arange(len(counts.begins) - 1), np.diff(counts.begins))
        by_word = np.empty(len(counts.words), np.int64)
        by_word[np.argsort(counts.words, kind="stable")] = np.arange(len(counts.words))
        # Equal weights differ in their last digits where they were divided by another length.
        order = np.lexsort((by_word[counts.word], -heavy.round(12), page))
        place = np.arange(len(order)) - np.repeat(counts.begins[:-1], np.diff(counts.begins))
        kept = np.sort(order[place < (query_terms or len(order) + 1)])
        weight = heavy[kept] if index.method == TFIDF else counts.n[kept].astype(np.float64)
        size = np.bincount(page[kept], minlength=len(counts.begins) - 1)
        if index.method == TFIDF:
            squares = _sums(weight**2, np.append(0, size.cumsum()))
            weight = weight / np.repeat(np.sqrt(np.where(squares > 0, squares, 1)), size)
        hashes.append(counts.hashes[counts.word[kept]])
        weights.append(weight)
        sizes.append(size)
    words, term = np.unique(np.concatenate(hashes), return_inverse=True)
    begins = np.append(0, np.concatenate(sizes).cumsum())
    weight = np.concatenate(weights)
    order = np.lexsort((term, np.repeat(np.arange(len(begins) - 1), np.diff(begins))))
    return words, begins, term[order], weight[order]


class _Best(NamedTuple):
    """The best pages of each query so far, with room for as many more before they are sorted out.

    Attributes:
        key: int64 [queries, 2 top], scores as whole numbers of 10 ** -DIGITS.
        page: int32 [queries, 2 top].
        n: int64 [queries], how many there are.
        least: int64 [queries], what a page must exceed.
    """

    key: Ints
    page: Ints
    n: Ints
    least: Ints

    @classmethod
    def room(cls, n_queries: int, top: int) -> _Best:
        shape = (n_queries, 2 * top)
        # Not touched before it is used: few queries may have many hits.
        return cls(
            np.empty(shape, np.int64),
            np.empty(shape, np.int32),
            np.zeros(n_queries, np.int64),
            np.zeros(n_queries, np.int64),
        )


@compiled
def _score(begins, term, weight, queries, ends, page_of, weight_of, first, scores, key, page, n, least):
    """Score the pages of a shard for every query, and keep those that are among its best so far.

    Pages come in their order, so of equal scores the first is kept.

    Args:
        begins: where each query begins.
        term: its words: columns of the postings, -1 where the shard has none.
        weight: of each.
        queries: the place of each query among the pages: it is no neighbour of itself.
        ends: where the postings of each column begin and end.
        page_of: the page of each posting, counted from the shard's first.
        weight_of: its weight.
        first: the shard's first page.
        scores: of the shard's pages, all 0, and so when it returns.
        key: of the best pages of each query, changed in place like those below.
        page: the best pages.
        n: how many there are.
        least: what a page must exceed to be one.
    """
    room = key.shape[1]
    for query in range(len(queries)):
        for i in range(begins[query], begins[query + 1]):
            if term[i] >= 0:
                for at in range(ends[term[i]], ends[term[i] + 1]):
                    scores[page_of[at]] += weight_of[at] * weight[i]
        bar = (least[query] - 1) / TIES
        for place in range(len(scores)):
            score = scores[place]
            scores[place] = 0.0
            if score > bar:
                found = np.int64(np.rint(score * TIES))
                if found > least[query] and place + first != queries[query]:
                    key[query, n[query]] = found
                    page[query, n[query]] = place + first
                    n[query] += 1
                    if n[query] == room:
                        order = np.argsort(-key[query], kind="mergesort")[: room // 2]
                        key[query, : room // 2] = key[query][order]
                        page[query, : room // 2] = page[query][order]
                        n[query] = room // 2
                        least[query] = key[query, room // 2 - 1]
                        bar = (least[query] - 1) / TIES


def _ranked(key: Ints, page: Ints, n: Ints, least: Ints, top: int) -> tuple[Ints, Ints, Floats]:
    """Return the query, page and score of each hit that is kept, by query, then rank."""
    rows, columns, scores = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)], [np.zeros(0)]
    for query in range(len(n)):
        order = np.argsort(-key[query, : n[query]], kind="stable")[:top]
        rows.append(np.full(len(order), query))
        columns.append(page[query, order])
        scores.append(key[query, order] / TIES)
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(scores)
