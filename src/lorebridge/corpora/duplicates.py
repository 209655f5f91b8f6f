"""Duplicates across the shards of a language: texts that are equal, and, where configured, texts that nearly are.

Near duplicates are told by MinHash (Broder 1997, "On the resemblance and containment of documents") with banding
(Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", section 3.4), as training corpora are deduplicated since
Lee et al. (ACL 2022, "Deduplicating Training Data Makes Language Models Better"). The elements of a text's set are
n-grams of units: a unit is a run of letters, marks and digits - a word; in Tibetan, whose syllables a tsheg parts, a
syllable - and in scripts that are written without such breaks a single character. Words of five mean the same in every
language of a study then, which five characters do not; and white space and punctuation do not count.
"""

from __future__ import annotations

import collections
import hashlib
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import rensa
from tqdm import tqdm

from lorebridge import tables
from lorebridge.corpora import scripts
from lorebridge.errors import InputError
from lorebridge.kernels import compiled

log = logging.getLogger("lorebridge.corpora")

_SEED = 1  # of the permutations; fixed, so that signatures of any two shards can be compared
_RECALL = 0.99  # of texts that are as similar as the threshold

_FNV_START, _FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_ODD, _MIX_1, _MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)
_S8, _S16, _S24, _S32, _S40, _S48, _S56 = (np.uint64(8 * k) for k in range(1, 8))
_WORD, _SINGLE = 1, 2


def digests(texts: pa.Array) -> npt.NDArray[np.uint64]:
    """Return the BLAKE2b digests of texts, of 128 bits: [texts, 2]."""
    data, offsets = scripts.bytes_of(texts)
    view, ends = data.data, offsets.tolist()
    found = (hashlib.blake2b(view[start:end], digest_size=16).digest() for start, end in itertools.pairwise(ends))
    return np.frombuffer(b"".join(found), dtype="<u8").reshape(-1, 2)


def hashes(texts: pa.Array) -> npt.NDArray[np.uint64]:
    """Return a number of 64 bits for each text: [texts]. Equal texts have one, others by chance once in 2^64.

    Thirty times as fast as :func:`digests`, for short texts; not safe from who looks for texts that collide.
    """
    return _hashes(*scripts.bytes_of(texts))


@compiled(inline="always")
def _stirred(value):
    """Return the finaliser of SplitMix64 of a number."""
    value = (value ^ value >> _S30) * _MIX_1
    value = (value ^ value >> _S27) * _MIX_2
    return value ^ value >> _S31


@compiled
def _hashes(data, offsets):
    """Mix eight bytes at a time into a number that starts as how many there are."""
    found = np.empty(len(offsets) - 1, dtype=np.uint64)
    for text in range(len(found)):
        i, end = offsets[text], offsets[text + 1]
        value = np.uint64(end - i)
        while i + 8 <= end:
            word = np.uint64(data[i]) | np.uint64(data[i + 1]) << _S8 | np.uint64(data[i + 2]) << _S16
            word |= np.uint64(data[i + 3]) << _S24 | np.uint64(data[i + 4]) << _S32 | np.uint64(data[i + 5]) << _S40
            word |= np.uint64(data[i + 6]) << _S48 | np.uint64(data[i + 7]) << _S56
            value = _stirred((value ^ word) + _ODD)
            i += 8
        if i < end:
            word = np.uint64(0)
            for k in range(i, end):
                word = word << _S8 | np.uint64(data[k])
            value = _stirred((value ^ word) + _ODD)
        found[text] = value
    return found


def first_of_equal(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Return for every row of `keys` ([rows, columns]) the index of the first row that equals it."""
    order = np.lexsort(keys.T)  # stable: equal rows stay in their order
    starts = np.ones(len(keys), dtype=np.bool_)
    starts[1:] = (keys[order[1:]] != keys[order[:-1]]).any(axis=1)
    first = np.empty(len(keys), dtype=np.int64)
    first[order] = order[starts][np.cumsum(starts) - 1]
    return first


@compiled
def _ngrams(data, offsets, kinds, n, hashes, ends):
    """Fill `hashes` with a hash of every n-gram of units of every text, and `ends` with where those of a text end.

    A text of fewer units has one n-gram, of all of them. A unit is hashed by FNV-1a over its code points, an n-gram by
    a polynomial over its units that the finaliser of SplitMix64 mixes: the same numbers on every machine.
    """
    last = np.zeros(n, dtype=np.uint64)
    at = 0
    for text in range(len(offsets) - 1):
        i, end = offsets[text], offsets[text + 1]
        first, n_units = at, 0
        unit = _FNV_START
        inside = False
        while i <= end:
            kind, point, length = 0, np.uint32(0), 1
            if i < end:
                point, length = scripts.decode(data, i)
                kind = kinds[point]
            i += length
            if inside and kind != _WORD:
                last[n_units % n] = unit
                n_units += 1
                inside = False
                if n_units >= n:
                    hashes[at] = _mixed(last, n_units, n)
                    at += 1
            if kind == _WORD:
                unit = ((unit if inside else _FNV_START) ^ np.uint64(point)) * _FNV_PRIME
                inside = True
            elif kind == _SINGLE:
                last[n_units % n] = (_FNV_START ^ np.uint64(point)) * _FNV_PRIME
                n_units += 1
                if n_units >= n:
                    hashes[at] = _mixed(last, n_units, n)
                    at += 1
        if at == first and n_units:
            hashes[at] = _mixed(last, n_units, n_units)
            at += 1
        ends[text + 1] = at


@compiled
def _mixed(last, n_units, length):
    """Return the hash of the latest `length` units."""
    value = np.uint64(length)
    for k in range(n_units - length, n_units):
        value = value * _ODD + last[k % len(last)]
    return _stirred(value)


def minhashes(texts: pa.Array, *, permutations: int, ngram: int) -> npt.NDArray[np.uint32]:
    """Return the MinHash signatures of texts: [texts, permutations].

    The share of places in which two signatures agree estimates the Jaccard similarity of the sets of n-grams.

    Args:
        texts: a column of strings without nulls, each with a letter or digit.
        permutations: numbers in a signature.
        ngram: units in an n-gram.
    """
    data, offsets = scripts.bytes_of(texts)
    hashes = np.empty(max(1, int(offsets[-1]) - int(offsets[0])), dtype=np.uint64)
    ends = np.zeros(len(texts) + 1, dtype=np.uint64)
    _ngrams(data, offsets, scripts.unit_kinds(scripts.UNBROKEN), ngram, hashes, ends)
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(hashes[: int(ends[-1])], ends, permutations, _SEED)
    return np.array(matrix.to_rows(), dtype=np.uint32).reshape(len(texts), permutations)


def bands(threshold: float, permutations: int) -> tuple[int, int]:
    """Return the number of bands and of rows of each, for finding candidates.

    Texts of similarity s share a band with probability 1 - (1 - s^rows)^bands (Leskovec et al., section 3.4.2). The
    most rows are taken, so the fewest candidates, that find 99 % of the texts that are as similar as `threshold`;
    candidates are compared by their whole signatures afterwards.
    """
    for rows in range(permutations, 1, -1):
        n_bands = permutations // rows
        if 1 - (1 - threshold**rows) ** n_bands >= _RECALL:
            return n_bands, rows
    return permutations, 1


def _near(paths: Sequence[Path], documents: npt.NDArray[np.int64], deduplicate: Mapping[str, Any]) -> dict[int, int]:
    """Return the documents that nearly equal an earlier one that stays, with that one.

    In their order a document goes if its estimated similarity to one that stays reaches the threshold: so that which
    goes was compared with what it is said to repeat, and no two that stay were found alike.

    Args:
        paths: tables ``signatures``.
        documents: the places of the documents that take part, in their order.
        deduplicate: the literal.
    """
    width = deduplicate["permutations"]
    keys = _band_keys(paths, documents, deduplicate["threshold"], width)
    candidate = np.zeros(len(documents), dtype=np.bool_)
    for band in keys:
        order = np.argsort(band)
        same = band[order[1:]] == band[order[:-1]]
        candidate[order[1:][same]] = candidate[order[:-1][same]] = True
    keys, documents = keys[:, candidate], documents[candidate]
    log.info("%d of %d documents share a band of their signatures with another", len(documents), len(candidate))
    found = np.empty((len(documents), width), dtype=np.uint32)
    for rows, signatures in _signatures(paths, documents, width):
        found[rows] = signatures
    stays: dict[tuple[int, int], list[int]] = collections.defaultdict(list)
    goes = {}
    for this, document in enumerate(tqdm(documents.tolist(), desc="near duplicates", unit=" documents", mininterval=1)):
        buckets = [stays[band, key] for band, key in enumerate(keys[:, this].tolist())]
        others = np.array(sorted({other for bucket in buckets for other in bucket}), dtype=np.int64)
        alike = others[(found[others] == found[this]).mean(axis=1) >= deduplicate["threshold"]]
        if len(alike):
            goes[document] = int(documents[alike[0]])
        else:
            for bucket in buckets:
                bucket.append(this)
    return goes


def _band_keys(
    paths: Sequence[Path], documents: npt.NDArray[np.int64], threshold: float, width: int
) -> npt.NDArray[np.uint32]:
    """Return a hash of every band of the signatures of documents: [bands, documents].

    Of 32 bits: they are kept for all documents at once, and a chance agreement only makes a candidate too many.
    """
    n_bands, n_rows = bands(threshold, width)
    odd = np.random.default_rng(_SEED).integers(0, 2**64, n_rows, dtype=np.uint64) | np.uint64(1)
    keys = np.empty((n_bands, len(documents)), dtype=np.uint32)
    for rows, signatures in _signatures(paths, documents, width):
        in_bands = signatures[:, : n_bands * n_rows].reshape(-1, n_bands, n_rows)
        keys[:, rows] = ((in_bands * odd).sum(axis=2, dtype=np.uint64) >> np.uint64(32)).T
    return keys


def _signatures(
    paths: Sequence[Path], documents: npt.NDArray[np.int64], width: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]]:
    """Yield (numbers among `documents`, signatures [numbers, width]) in batches.

    Args:
        paths: tables ``signatures``.
        documents: the places of the documents that are wanted.
        width: numbers in a signature.
    """
    by_place = np.argsort(documents)
    places, start = documents[by_place], 0
    for path in paths:
        for rows in tables.batches(path, ["minhash"], size=2048):
            low, high = np.searchsorted(places, [start, start + len(rows)])
            if low < high:
                chosen = b"".join(rows[place - start]["minhash"] for place in places[low:high].tolist())
                yield by_place[low:high], np.frombuffer(chosen, dtype="<u4").reshape(-1, width)
            start += len(rows)


def duplicates(*, signatures: Sequence[Path], deduplicate: Mapping[str, Any] | None, duplicates: Path) -> None:
    """Find the documents of a language that repeat an earlier one, in any shard: the table ``duplicates``.

    The first of equals stays, in the order of the sources, of their files and of the rows: which documents stay does
    not depend on the number of shards. Reasons are ``duplicate`` (the texts are equal, by digests of 128 bits) and
    ``near_duplicate``. Memory grows with the number of documents alone, by about 200 bytes each.

    Args:
        signatures: the tables that :func:`lorebridge.corpora.documents.signatures` wrote, of all shards.
        deduplicate: None for equal texts alone; else ``{"threshold", "permutations", "ngram"}``: the estimated Jaccard
            similarity from which on a document goes, the numbers of a signature and the units of an n-gram.
        duplicates: the table to write: `doc_id`, `duplicate_of` (one that stays), `reason`; in the order of the rows.

    Raises:
        InputError: an identity comes twice.
    """
    paths = [Path(path) for path in signatures]
    order, identities, texts = _ordered(paths)
    if len(twice := np.flatnonzero(first_of_equal(identities) != np.arange(len(order)))):
        (row,) = _rows(paths, order[twice[:1]]).values()
        raise InputError(
            f"{row['file']}, row {row['row']}",
            f"the identity {row['doc_id']} comes a second time",
            "Give every row of a source its own `id`, and every source its own name.",
        )
    del identities
    repeats = order[first_of_equal(texts)]
    del texts
    unique = repeats == order
    near = _near(paths, order[unique], deduplicate) if deduplicate else {}
    going = np.flatnonzero(~unique | np.isin(order, list(near)))
    # An exact copy of a near duplicate repeats what stays, too.
    goes = {
        document: near.get(first, first)
        for document, first in zip(order[going].tolist(), repeats[going].tolist(), strict=True)
    }
    rows = _rows(paths, np.array([*goes, *goes.values()], dtype=np.int64))
    found = [
        {
            "doc_id": rows[document]["doc_id"],
            "duplicate_of": rows[other]["doc_id"],
            "reason": "near_duplicate" if document in near else "duplicate",
        }
        for document, other in goes.items()
    ]
    log.info("%d of %d documents repeat another, %d of them nearly", len(found), len(order), len(near))
    tables.write("duplicates", found, duplicates)


def _ordered(paths: Sequence[Path]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Return the places of documents in the order of sources, files and rows, and digests of identities and texts.

    The place of a document is its number in `paths`; digests are in the order.
    """
    columns: dict[str, list[npt.NDArray[Any]]] = {"source": [], "file_index": [], "row": [], "identity": [], "text": []}
    for path in paths:
        for rows in tables.batches(path, ["doc_id", "source", "file_index", "row", "digest"], size=8192):
            for name, kind in (("source", np.int16), ("file_index", np.int32), ("row", np.int64)):
                columns[name].append(np.array([row[name] for row in rows], dtype=kind))
            columns["identity"].append(digests(pa.array([row["doc_id"] for row in rows], pa.string())))
            columns["text"].append(np.frombuffer(b"".join(row["digest"] for row in rows), "<u8").reshape(-1, 2))
    if not columns["row"]:
        nothing = np.zeros((0, 2), dtype=np.uint64)
        return np.zeros(0, dtype=np.int64), nothing, nothing
    order = np.lexsort([np.concatenate(columns.pop(name)) for name in ("row", "file_index", "source")])
    identities, texts = (np.concatenate(columns.pop(name)) for name in ("identity", "text"))
    return order, identities[order], texts[order]


def _rows(paths: Sequence[Path], wanted: npt.NDArray[np.int64]) -> dict[int, dict[str, Any]]:
    """Return what is known of documents, by their places."""
    found: dict[int, dict[str, Any]] = {}
    start, places = 0, np.unique(wanted)
    for path in paths if len(places) else []:
        for rows in tables.batches(path, ["doc_id", "file", "row"], size=8192):
            low, high = np.searchsorted(places, [start, start + len(rows)])
            found.update((place, rows[place - start]) for place in places[low:high].tolist())
            start += len(rows)
    return found
