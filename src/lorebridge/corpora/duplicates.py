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
import pandas as pd
import pyarrow as pa
import rensa
from tqdm import tqdm

from lorebridge import tables
from lorebridge.corpora import scripts
from lorebridge.errors import InputError

log = logging.getLogger("lorebridge.corpora")

_UNBROKEN = ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar")
_SEED = 1  # of the permutations; fixed, so that signatures of any two shards can be compared
_RECALL = 0.99  # of texts that are as similar as the threshold

_FNV_START, _FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_ODD, _MIX_1, _MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)
_WORD, _SINGLE = 1, 2


def digests(texts: pa.Array) -> npt.NDArray[np.uint64]:
    """Return the BLAKE2b digests of texts, of 128 bits: [texts, 2]."""
    data, offsets = scripts.bytes_of(texts)
    view, ends = data.data, offsets.tolist()
    found = (
        hashlib.blake2b(view[start:end], digest_size=16).digest()
        for start, end in itertools.pairwise(ends)
    )  # fmt: skip
    return np.frombuffer(b"".join(found), dtype="<u8").reshape(-1, 2)


def first_of_equal(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Return for every row of `keys` ([rows, columns]) the index of the first row that equals it."""
    order = np.lexsort(keys.T)  # stable: equal rows stay in their order
    starts = np.ones(len(keys), dtype=np.bool_)
    starts[1:] = (keys[order[1:]] != keys[order[:-1]]).any(axis=1)
    first = np.empty(len(keys), dtype=np.int64)
    first[order] = order[starts][np.cumsum(starts) - 1]
    return first


@scripts.compiled
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


@scripts.compiled
def _mixed(last, n_units, length):
    """Return the hash of the latest `length` units."""
    value = np.uint64(length)
    for k in range(n_units - length, n_units):
        value = value * _ODD + last[k % len(last)]
    value = (value ^ value >> _S30) * _MIX_1
    value = (value ^ value >> _S27) * _MIX_2
    return value ^ value >> _S31


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
    _ngrams(data, offsets, scripts.unit_kinds(_UNBROKEN), ngram, hashes, ends)
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


def _near(
    paths: Sequence[Path], chosen: npt.NDArray[np.bool_], rank: npt.NDArray[np.int64], deduplicate: Mapping[str, Any]
) -> dict[int, int]:
    """Return the documents that nearly equal an earlier one that stays, with that one, by their place in `paths`.

    In the order of `rank` a document goes if its estimated similarity to one that stays reaches the threshold: so
    that which goes was compared with what it is said to repeat, and no two that stay were found alike.

    Args:
        paths: tables ``signatures``.
        chosen: [documents], which take part.
        rank: [documents], their order.
        deduplicate: the literal.
    """
    n_bands, n_rows = bands(deduplicate["threshold"], deduplicate["permutations"])
    width = deduplicate["permutations"]
    # 32 bits of a band's hash do: a chance agreement makes a candidate too many. 4 bytes a band and document are kept.
    keys = np.zeros((n_bands, len(chosen)), dtype=np.uint32)
    odd = np.random.default_rng(_SEED).integers(0, 2**64, n_rows, dtype=np.uint64) | np.uint64(1)
    for start, signatures in _signatures(paths, width):
        in_bands = signatures[:, : n_bands * n_rows].reshape(len(signatures), n_bands, n_rows)
        hashed = (in_bands * odd).sum(axis=2, dtype=np.uint64) >> np.uint64(32)
        keys[:, start : start + len(signatures)] = hashed.T
    candidate = np.zeros(len(chosen), dtype=np.bool_)
    taking_part = np.flatnonzero(chosen)
    for band in keys:
        order = taking_part[np.argsort(band[taking_part])]
        same = band[order[1:]] == band[order[:-1]]
        candidate[order[1:][same]] = candidate[order[:-1][same]] = True
    documents = np.flatnonzero(candidate)
    documents = documents[np.argsort(rank[documents])]
    log.info("%d of %d documents share a band of their signatures with another", len(documents), len(taking_part))
    row = np.full(len(chosen), -1, dtype=np.int64)
    row[documents] = np.arange(len(documents))
    found = np.empty((len(documents), width), dtype=np.uint32)
    for start, signatures in _signatures(paths, width):
        here = row[start : start + len(signatures)]
        found[here[here >= 0]] = signatures[here >= 0]
    stays: dict[tuple[int, int], list[int]] = collections.defaultdict(list)
    goes = {}
    for this, document in enumerate(tqdm(documents.tolist(), desc="near duplicates", unit=" documents", mininterval=1)):
        buckets = [stays[band, key] for band, key in enumerate(keys[:, document].tolist())]
        others = np.array(sorted({other for bucket in buckets for other in bucket}), dtype=np.int64)
        alike = (
            others[(found[others] == found[this]).mean(axis=1) >= deduplicate["threshold"]] if len(others) else others
        )
        if len(alike):
            goes[document] = int(documents[alike[0]])
        else:
            for bucket in buckets:
                bucket.append(this)
    return goes


def _signatures(paths: Sequence[Path], width: int) -> Iterator[tuple[int, npt.NDArray[np.uint32]]]:
    """Yield (place of the first, signatures [documents, width]) of documents in batches."""
    start = 0
    for path in paths:
        for rows in tables.batches(path, ["minhash"], size=8192):
            yield start, np.frombuffer(b"".join(row["minhash"] for row in rows), dtype="<u4").reshape(-1, width)
            start += len(rows)


def duplicates(*, signatures: Sequence[Path], deduplicate: Mapping[str, Any] | None, duplicates: Path) -> None:
    """Find the documents of a language that repeat an earlier one, in any shard: the table ``duplicates``.

    The first of equals stays, in the order of the sources, of their files and of the rows: which documents stay does
    not depend on the number of shards. Reasons are ``duplicate`` (the texts are equal, by digests of 128 bits) and
    ``near_duplicate``. Memory grows with the number of documents alone: about 200 bytes each, and 4 more a band.

    Args:
        signatures: the tables that :func:`lorebridge.corpora.documents.signatures` wrote, of all shards.
        deduplicate: None for equal texts alone; else ``{"threshold", "permutations", "ngram"}``: the estimated Jaccard
            similarity from which on a document goes, the numbers of a signature and the units of an n-gram.
        duplicates: the table to write: `doc_id`, `duplicate_of` (one that stays), `reason`; in the order of the rows.

    Raises:
        InputError: an identity comes twice.
    """
    paths = [Path(path) for path in signatures]
    columns = ["doc_id", "source", "file_index", "file", "row", "digest"]
    rows = pd.concat([tables.read(path, columns) for path in paths], ignore_index=True)
    order = np.lexsort([rows[key].to_numpy() for key in ("row", "file_index", "source")])
    if len(twice := np.flatnonzero(rows["doc_id"].iloc[order].duplicated())):
        row = rows.iloc[order[twice[0]]]
        raise InputError(
            f"{row['file']}, row {row['row']}",
            f"the identity {row['doc_id']} comes a second time",
            "Give every row of a source its own `id`, and every source its own name.",
        )
    rank = np.empty(len(rows), dtype=np.int64)
    rank[order] = np.arange(len(rows))
    keys = np.frombuffer(b"".join(rows["digest"].iloc[order]), dtype="<u8").reshape(-1, 2)
    first = np.empty(len(rows), dtype=np.int64)
    first[order] = order[first_of_equal(keys)]
    unique = first == np.arange(len(rows))
    near = _near(paths, unique, rank, deduplicate) if deduplicate else {}
    goes = order[[not unique[i] or i in near for i in order.tolist()]] if len(rows) else order
    ids = rows["doc_id"].to_numpy()
    found = [
        {
            "doc_id": ids[i],
            # An exact copy of a near duplicate repeats what stays, too.
            "duplicate_of": ids[near.get(first[i], first[i])],
            "reason": "near_duplicate" if unique[i] else "duplicate",
        }
        for i in goes.tolist()
    ]  # fmt: skip
    log.info("%d of %d documents repeat another, %d of them nearly", len(found), len(rows), len(near))
    tables.write("duplicates", found, duplicates)
