"""Which documents and pairs no model trains on: held-out perplexity and alignment are measured on them."""

from __future__ import annotations

import hashlib


def is_heldout(identity: str, share: float) -> bool:
    """Return whether a document or pair is held out.

    The first eight bytes of the BLAKE2b digest of `identity`, read as a number in [0, 1), are compared with `share`.
    The choice depends on nothing else, so that it is the same on every machine, in any order and number of shards,
    and for every seed; and what a smaller share holds out, a larger one does too.

    Args:
        identity: a `doc_id` or `pair_id`.
        share: the expected share of identities that are held out, from 0 (none) to 1 (all).
    """
    digest = hashlib.blake2b(identity.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64
