"""BM25 retrieval in one pass over the chunks, exact, without an index.

All questions are known before the corpus is read, so only the words of the questions need postings. The rest of a
chunk only counts towards its length. Words are cut out of the UTF-8 bytes by compiled code; what the tokens of a
word are is asked of :mod:`lorebridge.trace.analysis` once for each distinct word, so there is one definition of a
token.

Scores are Lucene's to the last bit (``BM25Similarity`` of Lucene 10): float32 arithmetic in its order, lengths
rounded as its norms are (``SmallFloat.intToByte4``), the terms of a query summed in float64.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import regex
from tqdm import tqdm

from lorebridge.kernels import compiled
from lorebridge.trace.analysis import Han, Script, script_of
from lorebridge.trace.hits import open_chunks, read_queries, write_hits

log = logging.getLogger("lorebridge.trace")

Array = npt.NDArray

# Chunks scored together: their accumulators fit the first-level cache, and a place among them fits 16 bits.
_BLOCK = 2048
# Distinct words that are remembered, 24 bytes each at the least; more, and all are forgotten and learned anew.
_MOST_WORDS = 1 << 24

# Classes of code points, as bits.
_WORD, _HAN, _MARK = 1, 2, 4
# How words make units: each by itself; each Han character and each pair of them; with the suffixes that follow.
_WORDS, _CHARACTERS, _STEMS = 0, 1, 2

_NARROW_SPACE = 0x202F
_OFFSET, _PRIME, _MIX = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3), np.uint64(0x9E3779B97F4A7C15)


@functools.cache
def _alphabet() -> tuple[Array, Array]:
    """Return, by code point, its class, and what it folds to (-1: to several code points, or to one of none)."""
    # No text holds a surrogate; a space keeps the places.
    every = "".join(chr(c) if not 0xD800 <= c < 0xE000 else " " for c in range(0x110000))
    classes = np.zeros(len(every), dtype=np.uint8)
    for bit, pattern in ((_WORD, r"[\p{L}\p{M}\p{N}]+"), (_HAN, r"\p{Han}+"), (_MARK, r"\p{M}+")):
        for match in regex.finditer(pattern, every):
            classes[match.start() : match.end()] |= bit
    folds = np.arange(len(every), dtype=np.int32)
    for c in np.flatnonzero(classes):
        folded = every[c].casefold()
        if folded != every[c]:
            folds[c] = ord(folded) if len(folded) == 1 else -1
    return classes, folds


@compiled(inline="always")
def _step(h, c):
    """FNV-1a over code points."""
    return (h ^ np.uint64(c)) * _PRIME


@compiled(inline="always")
def _finish(h, raw):
    """Spread the bits; the lowest tells whether a word was hashed as it stands (1) or folded (0). Never 0."""
    h = (h ^ (h >> np.uint64(32))) * _MIX
    h ^= h >> np.uint64(29)
    return (h & ~np.uint64(1) | np.uint64(raw)) or np.uint64(2)


@compiled
def _hash(points):
    """Hash a folded word, given as code points."""
    h = _OFFSET
    for c in points:
        h = _step(h, c)
    return _finish(h, 0)


@compiled(inline="always")
def _decode(data, i):
    """Return the code point at byte i of valid UTF-8, and how many bytes it takes."""
    first = np.int32(data[i])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        return (first & 0x1F) << 6 | (data[i + 1] & 0x3F), 2
    if first < 0xF0:
        return (first & 0x0F) << 12 | np.int32(data[i + 1] & 0x3F) << 6 | (data[i + 2] & 0x3F), 3
    return (
        (first & 0x07) << 18
        | np.int32(data[i + 1] & 0x3F) << 12
        | np.int32(data[i + 2] & 0x3F) << 6
        | (data[i + 3] & 0x3F)
    ), 4


@compiled
def _hash_raw(data, start, end):
    """Hash the bytes of a word as they stand."""
    h = _OFFSET
    for i in range(start, end):
        h = _step(h, data[i])
    return _finish(h, 1)


@compiled
def _cut(data, offsets, classes, folds, kind, suffixes, hashes, starts, ends, bounds):
    """Cut texts in NFC into units, and hash each.

    A word that cannot be folded letter by letter without regard to its neighbours (one of its letters folds to
    several; or to another, and a mark may compose with that) is hashed as it stands.

    Args:
        data: the UTF-8 bytes of all texts.
        offsets: where each text begins, and the end of the last.
        classes, folds: see :func:`_alphabet`.
        kind: how words make units.
        suffixes: hashes of the words that are suffixes, sorted.
        hashes, starts, ends: filled with the hash and the bytes of each unit.
        bounds: filled with the number of units before each text, and of all.
    """
    n = 0
    for text in range(len(offsets) - 1):
        bounds[text] = n
        i, stop = offsets[text], offsets[text + 1]
        inside = False  # a word
        start = h = np.uint64(0)
        start = i
        changed = marked = several = False
        han = np.int32(-1)  # the Han character right before
        before = np.int32(-1)  # the character before the word
        last = np.int32(-1)  # the character right before
        stem_start, stem_end, stem = np.int64(-1), np.int64(-1), np.uint64(0)
        word_end = np.int64(-1)
        while i <= stop:
            if i < stop:
                c, width = _decode(data, i)
                kinds = classes[c]
            else:
                c, width, kinds = np.int32(-1), 1, np.uint8(0)
            in_word = kinds & (_WORD | _HAN) != 0 if kind == _CHARACTERS else kinds & _WORD != 0
            if kind == _CHARACTERS and kinds & _HAN:
                in_word = False
            if in_word:
                if not inside:
                    inside, start, h, before = True, i, _OFFSET, last
                    changed = marked = several = False
                folded = folds[c]
                if folded != c:
                    changed = True
                    several |= folded < 0
                marked |= kinds & _MARK != 0
                h = _step(h, folded)
            elif inside:
                inside = False
                found = _hash_raw(data, start, i) if several or (changed and marked) else _finish(h, 0)
                if kind == _STEMS:
                    narrow = before == _NARROW_SPACE
                    place = np.searchsorted(suffixes, found)
                    if narrow or (place < len(suffixes) and suffixes[place] == found):
                        gap = start - word_end
                        near = (narrow and gap == 3) or (before == 32 and gap == 1)
                        if stem_start >= 0 and near:
                            stem = _step(_step(stem, _NARROW_SPACE), found)
                            stem_end = i
                    else:
                        if stem_start >= 0:
                            hashes[n], starts[n], ends[n] = _finish(stem, 0), stem_start, stem_end
                            n += 1
                        stem_start, stem_end, stem = start, i, found
                    word_end = i
                else:
                    hashes[n], starts[n], ends[n] = found, start, i
                    n += 1
            if kind == _CHARACTERS and kinds & _HAN:
                if han >= 0:
                    hashes[n], starts[n], ends[n] = _finish(_step(_step(_OFFSET, han), c), 0), i - width, i + width
                    n += 1
                hashes[n], starts[n], ends[n] = _finish(_step(_OFFSET, c), 0), i, i + width
                n += 1
                han = c
            else:
                han = np.int32(-1)
            last = c
            i += width
        if stem_start >= 0:
            hashes[n], starts[n], ends[n] = _finish(stem, 0), stem_start, stem_end
            n += 1
    bounds[len(offsets) - 1] = n


@compiled(inline="always")
def _find(keys, h):
    """Return the place of a hash in an open-addressing table, or the free place where it belongs."""
    mask = np.uint64(len(keys) - 1)
    place = (h >> np.uint64(1)) & mask
    while keys[place] != 0 and keys[place] != h:
        place = (place + np.uint64(1)) & mask
    return place


@compiled
def _put(keys, values, hashes, new):
    """Put hashes with their values into a table."""
    for i in range(len(hashes)):
        place = _find(keys, hashes[i])
        keys[place], values[place] = hashes[i], new[i]


@compiled
def _unknown(keys, hashes, plain):
    """Return the places of hashes that must be learned, each once; they are put into the table.

    In `plain` scripts a folded word that is not in the table is one token, and no question's.
    """
    places = np.empty(len(hashes), np.int64)
    n = 0
    for i in range(len(hashes)):
        h = hashes[i]
        if plain and h & np.uint64(1) == 0:
            continue
        place = _find(keys, h)
        if keys[place] == 0:
            keys[place] = h
            places[n] = i
            n += 1
    return places[:n]


@compiled
def _count(hashes, bounds, keys, values, entries, entry_terms, entry_tokens, n_terms):
    """Count, for each text, its tokens and the questions' terms.

    Returns:
        The number of tokens of each text; and the postings by term: where each term's begin, texts, frequencies.
    """
    n_texts = len(bounds) - 1
    lengths = np.zeros(n_texts, np.int64)
    frequencies = np.zeros(n_terms, np.int32)
    touched = np.empty(n_terms, np.int32)
    size = 1024
    terms, texts, counts = np.empty(size, np.int32), np.empty(size, np.uint16), np.empty(size, np.uint16)
    firsts = np.zeros(n_terms + 1, np.int64)
    n = 0
    for text in range(n_texts):
        length = 0
        n_touched = 0
        for i in range(bounds[text], bounds[text + 1]):
            place = _find(keys, hashes[i])
            if keys[place] == 0:
                length += 1
                continue
            value = values[place]
            if value <= 0:
                length -= value
                continue
            length += entry_tokens[value]
            for j in range(entries[value], entries[value + 1]):
                term = entry_terms[j]
                if frequencies[term] == 0:
                    touched[n_touched] = term
                    n_touched += 1
                frequencies[term] += 1
        lengths[text] = length
        while n + n_touched > size:
            terms = np.concatenate((terms, np.empty_like(terms)))
            texts = np.concatenate((texts, np.empty_like(texts)))
            counts = np.concatenate((counts, np.empty_like(counts)))
            size *= 2
        for i in range(n_touched):
            term = touched[i]
            terms[n], texts[n], counts[n] = term, text, min(frequencies[term], 65535)
            firsts[term + 1] += 1
            frequencies[term] = 0
            n += 1
    firsts = np.cumsum(firsts)
    free = firsts.copy()
    by_term, by_term_counts = np.empty(n, np.uint16), np.empty(n, np.uint16)
    for i in range(n):
        place = free[terms[i]]
        by_term[place], by_term_counts[place] = texts[i], counts[i]
        free[terms[i]] += 1
    return lengths, firsts, by_term, by_term_counts


@compiled
def _score(first, n_texts, norms, firsts, texts, counts, terms, weights, query_firsts, query_terms, best):
    """Score a block of texts for all queries.

    Args:
        first: the number of texts before this block.
        n_texts: of this block.
        norms: 1 / (k1 * (1 - b + b * length / average length)) of each.
        firsts, texts, counts: the postings of the block, from :func:`_count`.
        terms, weights: the weighted terms of all queries.
        query_firsts, query_terms: where the weighted terms of each query begin, and which they are.
        best: the best scores of each query so far, in no order; updated.

    Returns:
        Query, text and score of all that may be among the best: as good as the worst of `best`, or better.
    """
    # A term weighs the same in almost all queries, so its share in each text's score is computed once.
    share_firsts = np.zeros(len(terms) + 1, np.int64)
    for i in range(len(terms)):
        share_firsts[i + 1] = share_firsts[i] + firsts[terms[i] + 1] - firsts[terms[i]]
    shares = np.empty(share_firsts[-1], np.float32)
    for i in range(len(terms)):
        weight, start = weights[i], firsts[terms[i]]
        for j in range(share_firsts[i + 1] - share_firsts[i]):
            saturation = np.float32(1) + np.float32(counts[start + j]) * norms[texts[start + j]]
            shares[share_firsts[i] + j] = weight - weight / saturation
    sums = np.empty(n_texts, np.float64)
    scores = np.empty(n_texts, np.float32)
    places = np.empty(n_texts, np.int64)
    found_query = np.empty(1024, np.int32)
    found_text = np.empty(1024, np.int64)
    found_score = np.empty(1024, np.float32)
    n = 0
    for query in range(len(query_firsts) - 1):
        sums[:] = 0
        for i in query_terms[query_firsts[query] : query_firsts[query + 1]]:
            start = firsts[terms[i]]
            for j in range(share_firsts[i + 1] - share_firsts[i]):
                sums[texts[start + j]] += shares[share_firsts[i] + j]
        bound = best[query].min()
        n_scores = 0
        for text in range(n_texts):
            score = np.float32(sums[text])
            if score >= bound and score > 0:
                places[n_scores], scores[n_scores] = text, score
                n_scores += 1
        if n_scores == 0:
            continue
        pool = np.concatenate((best[query], scores[:n_scores]))
        best[query] = np.partition(pool, n_scores)[n_scores:]
        bound = best[query].min()
        while n + n_scores > len(found_query):
            found_query = np.concatenate((found_query, np.empty_like(found_query)))
            found_text = np.concatenate((found_text, np.empty_like(found_text)))
            found_score = np.concatenate((found_score, np.empty_like(found_score)))
        for i in range(n_scores):
            if scores[i] >= bound:
                found_query[n], found_text[n], found_score[n] = query, first + places[i], scores[i]
                n += 1
    return found_query[:n], found_text[:n], found_score[:n]


@functools.cache
def _kept_lengths() -> Array:
    """Return the lengths that Lucene's norms can hold, ascending: the 256 values of ``SmallFloat.byte4ToInt``.

    Forty small lengths are kept as they are; above, three bits after the leading one are.
    """
    lengths = list(range(24))
    for code in range(256 - 24):
        bits, shift = code & 7, (code >> 3) - 1
        lengths.append(24 + (bits if shift < 0 else (bits | 8) << shift))
    return np.array(lengths, dtype=np.int64)


def norm(lengths: Array) -> Array:
    """Return lengths as Lucene keeps them: rounded down to one of 256.

    >>> norm(np.array([5, 40, 41, 1000])).tolist()
    [5, 40, 40, 984]
    """
    kept = _kept_lengths()
    return kept[np.searchsorted(kept, lengths, side="right") - 1]


@dataclasses.dataclass(frozen=True)
class _Block:
    """The postings of some chunks: their lengths in tokens, and by term the chunks and frequencies."""

    lengths: Array
    firsts: Array
    chunks: Array
    counts: Array


class _Reader:
    """Counts the terms of questions in chunks.

    Args:
        script: how texts are read.
        terms: the questions' terms.
    """

    def __init__(self, script: Script, terms: list[str]) -> None:
        """Prepare an empty memory of words."""
        self._script = script
        self._numbers = {term: i for i, term in enumerate(terms)}
        # A script that changes neither tokens nor base forms makes one token of each word.
        self._plain = type(script) is Script or isinstance(script, Han)
        self._kind = _CHARACTERS if isinstance(script, Han) else _STEMS if script.suffixes else _WORDS
        self._classes, self._folds = _alphabet()
        self._suffixes = np.sort(np.array([self._hash(suffix) for suffix in script.suffixes], dtype=np.uint64))
        self._forget()

    @staticmethod
    def _hash(word: str) -> np.uint64:
        return _hash(np.array([ord(c) for c in word], dtype=np.int32))

    def _forget(self) -> None:
        # The memory: hash of a word -> minus the number of its tokens, or the number of its entry where there are
        # terms among them. Entry 0 is none.
        self._keys, self._values = np.zeros(1 << 16, np.uint64), np.zeros(1 << 16, np.int32)
        self._n_known = 0
        self._entries, self._entry_tokens = [0, 0], [0]
        self._entry_terms: list[int] = []
        if self._plain:
            hashes = np.array([self._hash(term) for term in self._numbers], dtype=np.uint64)
            self._remember(hashes, [[term] for term in self._numbers])

    def _remember(self, hashes: Array, tokens: list[list[str]]) -> None:
        values = np.empty(len(hashes), np.int32)
        for i, of_word in enumerate(tokens):
            terms = [self._numbers[token] for token in of_word if token in self._numbers]
            values[i] = -len(of_word)
            if terms:
                values[i] = len(self._entry_tokens)
                self._entry_tokens.append(len(of_word))
                self._entry_terms += terms
                self._entries.append(len(self._entry_terms))
        _put(self._keys, self._values, hashes, values)
        self._n_known += len(hashes)

    def _tokens(self, words: list[str]) -> list[list[str]]:
        """Return the tokens of each word, from one call for all where no word is made of several."""
        together = self._script.tokens_by_word("\n".join(words))
        return together if len(together) == len(words) else [self._script.tokens(word) for word in words]

    def _make_room(self, n: int) -> None:
        """Make sure that `n` more words leave the memory half empty."""
        if self._n_known > _MOST_WORDS:
            self._forget()
        size = len(self._keys)
        while size < 2 * (self._n_known + n):
            size *= 2
        if size > len(self._keys):
            known = self._keys != 0
            hashes, values = self._keys[known], self._values[known]
            self._keys, self._values = np.zeros(size, np.uint64), np.zeros(size, np.int32)
            _put(self._keys, self._values, hashes, values)

    def _texts(self, texts: pa.StringArray) -> pa.LargeStringArray:
        """Return texts as the compiled code reads them: as the script prepares them, in NFC."""
        written = texts.to_pylist()
        prepared = [self._script.prepare(text) for text in written]
        # What folding composes can only matter where the text was not composed before.
        prepared = [
            text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text.casefold())
            for text in prepared
        ]
        same = all(a is b for a, b in zip(written, prepared, strict=True))
        return texts.cast(pa.large_string()) if same else pa.array(prepared, type=pa.large_string())

    def read(self, texts: pa.StringArray) -> _Block:
        """Count in up to 65,536 texts."""
        array = self._texts(texts)
        _, offsets_buffer, data_buffer = array.buffers()
        offsets = np.frombuffer(offsets_buffer, np.int64)[array.offset : array.offset + len(array) + 1]
        data = np.frombuffer(data_buffer or b"", np.uint8)
        # No byte begins more than one unit but a Han character of three bytes, which begins two.
        size = int(offsets[-1] - offsets[0]) + 1
        hashes = np.empty(size, np.uint64)
        starts, ends, bounds = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(len(offsets), np.int64)
        _cut(data, offsets, self._classes, self._folds, self._kind, self._suffixes, hashes, starts, ends, bounds)
        hashes = hashes[: bounds[-1]]
        self._make_room(len(hashes))
        new = _unknown(self._keys, hashes, self._plain)
        if len(new):
            text = data.tobytes()
            places = zip(starts[new].tolist(), ends[new].tolist(), strict=True)
            self._remember(hashes[new], self._tokens([text[start:end].decode() for start, end in places]))
        return _Block(
            *_count(
                hashes,
                bounds,
                self._keys,
                self._values,
                np.array(self._entries, np.int64),
                np.array(self._entry_terms, np.int32),
                np.array(self._entry_tokens, np.int32),
                len(self._numbers),
            )
        )


def _best(
    blocks: list[_Block], queries: list[Counter[str]], terms: list[str], *, top_k: int, k1: float, b: float
) -> pd.DataFrame:
    """Score all blocks for all queries.

    Returns:
        query, chunk (both by number), score: of each query the best `top_k` and all that are as good as the last.
    """
    numbers = {term: i for i, term in enumerate(terms)}
    # Lucene counts only texts with a word.
    n_texts = sum(int(np.count_nonzero(block.lengths)) for block in blocks)
    mean = np.float32(sum(int(block.lengths.sum()) for block in blocks) / max(n_texts, 1))
    holding = sum((np.diff(block.firsts) for block in blocks), np.zeros(len(terms), np.int64))
    rarity = np.log(1 + (n_texts - holding + 0.5) / (holding + 0.5)).astype(np.float32)
    # A word that a query has twice weighs twice.
    weighted = sorted({(numbers[term], n) for query in queries for term, n in query.items()})
    places = {pair: i for i, pair in enumerate(weighted)}
    query_terms = [[places[numbers[term], n] for term, n in query.items()] for query in queries]
    weighted_terms = np.array([term for term, _ in weighted], np.int64)
    weights = np.array([n for _, n in weighted], np.float32) * rarity[weighted_terms]
    best = np.full((len(queries), top_k), -np.inf, np.float32)
    found = []
    first = 0
    for block in tqdm(blocks, desc="score", unit="block"):
        length = norm(block.lengths).astype(np.float32)
        with np.errstate(divide="ignore"):  # without saturation (k1 = 0) a term weighs the same wherever it stands
            norms = np.float32(1) / (np.float32(k1) * ((np.float32(1) - np.float32(b)) + np.float32(b) * length / mean))
        scored = _score(
            first,
            len(length),
            norms,
            block.firsts,
            block.chunks,
            block.counts,
            weighted_terms,
            weights,
            np.cumsum([0, *map(len, query_terms)]),
            np.array(list(itertools.chain.from_iterable(query_terms)), np.int64),
            best,
        )
        found.append(pd.DataFrame(dict(zip(("query", "chunk", "score"), scored, strict=True))))
        first += len(length)
    all_found = pd.concat(found, ignore_index=True)
    return all_found[all_found["score"] >= best.min(axis=1)[all_found["query"]]]


def retrieve(
    *, chunks: Path, questions: Path, lang: str, script: str, top_k: int, k1: float, b: float, out: Path, method: str
) -> dict[str, int]:
    """Find the chunks that match each question best, and write table "hits".

    What is found, its scores and its order are those of :func:`lorebridge.trace.bm25.retrieve` (there, Anserini
    rounds the scores that it hands out to four decimals).

    Memory holds four bytes for each chunk and each distinct word of a question in it: about 3 GB for English
    Wikipedia and a culture's questions.

    Args:
        chunks: table "chunks" of a corpus.
        questions: table "questions" of a culture.
        lang: the language of the corpus, in which the questions are asked.
        script: the Unicode script that the corpus is read by.
        top_k: how many chunks a question gets at most.
        k1: BM25's saturation of term frequency.
        b: BM25's normalisation by length.
        out: where to write.
        method: the name that the hits carry ("bm25").

    Returns:
        Notes for the record: the number of questions, of hits, and of questions without a hit.

    Raises:
        InputError: the table is missing or holds no chunk, or no question in that language.
    """
    queries = read_queries(questions, lang, script)
    source = open_chunks(chunks)
    reading = script_of(script)
    asked = [Counter(reading.tokens(query)) for query in queries]
    terms = sorted(set().union(*asked))
    reader = _Reader(reading, terms)
    blocks: list[_Block] = []
    ids: list[pa.Array] = []
    with tqdm(total=source.metadata.num_rows, desc=f"scan {chunks.stem}", unit="chunk") as bar:
        for batch in source.iter_batches(_BLOCK, columns=["chunk_id", "text"]):
            ids.append(batch["chunk_id"])
            blocks.append(reader.read(batch["text"]))
            bar.update(len(batch))
    found = _best(blocks, asked, terms, top_k=top_k, k1=k1, b=b)
    hits = pd.DataFrame(
        {
            "question_id": queries.index.to_numpy()[found["query"]],
            "chunk_id": pa.chunked_array(ids).take(pa.array(found["chunk"])).to_pylist(),
            "score": found["score"],
        }
    )
    # Equal scores are ordered by chunk id.
    order = np.lexsort((hits["chunk_id"], -hits["score"], found["query"]))
    hits = hits.iloc[order].groupby("question_id", sort=False).head(top_k)
    return write_hits(hits.reset_index(drop=True), queries=queries, method=method, out=out)
