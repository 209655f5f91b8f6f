"""Which documents and pairs no model trains on: held-out perplexity and alignment are measured on them."""

from __future__ import annotations

import math
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def is_heldout(identity: str, share: float) -> bool:
    """Return whether a document or pair is held out.

    The first eight bytes of the BLAKE2b digest of `identity`, read as a number in [0, 1), are compared with `share`.
    The choice depends on nothing else, so that it is the same on every machine, in any order and number of shards,
    and for every seed; and what a smaller share holds out, a larger one does too.

    Args:
        identity: a `doc_id` or `pair_id`.
        share: the expected share of identities that are held out, from 0 (none) to 1 (all).
    """
    digest = blake2b(identity.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def numbers_of(identities: pa.Array) -> npt.NDArray[np.uint64]:
    """Return the number of each identity that decides whether it is held out: [identities].

    Args:
        identities: a column of strings without nulls.
    """
    texts = identities.cast(pa.binary()).to_pylist()
    found = b"".join([blake2b(text, digest_size=8).digest() for text in texts])
    return np.frombuffer(found, dtype=">u8").astype(np.uint64)


def are_heldout(numbers: npt.NDArray[np.uint64], share: float) -> npt.NDArray[np.bool_]:
    """Return for each number of :func:`numbers_of` what :func:`is_heldout` says of its identity."""
    limit = math.ceil(share * 2**64)  # exact, where a number of 64 bits as a float is not
    return np.ones(len(numbers), np.bool_) if limit >= 2**64 else numbers < np.uint64(limit)
