"""Pieces: the numbers by which a text's documents, or the halves of its pairs, are known everywhere.

A piece's number is its row, counted through the tables of a text in their order. Token stores, mentions, leaks and data
orders all mean this number, and none can see from the number alone whether another counted the same rows: so each keeps
the *numbering*, a digest of the identities in their order, and who joins two of them compares it first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq

from lorebridge import tables
from lorebridge.errors import InputError

KEY = "pieces"
"""Where notes and the metadata of tables keep a numbering."""

IDENTITIES = ("doc_id", "pair_id")


def numbering(paths: Sequence[Path | str]) -> str:
    """Return 16 hexadecimal digits that stand for the numbers of the rows of some tables.

    They depend on the identities of the rows (columns "doc_id" or "pair_id", or none) and on their order through all
    tables, and not on how the rows are spread over tables.

    Raises:
        InputError: a table cannot be read.
    """
    digest, n_rows = hashlib.sha256(), 0
    for path in paths:
        n_rows += tables.n_rows(path)
        for identity in [name for name in IDENTITIES if name in pq.read_schema(path).names][:1]:
            for batch in tables.record_batches(path, [identity], size=1 << 16):
                digest.update("".join(f"{name}\n" for name in batch.column(0).to_pylist()).encode())
    digest.update(str(n_rows).encode())
    return digest.hexdigest()[:16]


def numbered_by(table: Path | str) -> str | None:
    """Return the numbering of the pieces that a table names, such as "mentions"; None where it keeps none."""
    return ((pq.read_schema(table).metadata or {}).get(KEY.encode()) or b"").decode() or None


def check_numbering(where: Path | str, found: str | None, wanted: str | None) -> None:
    """Refuse to join what was numbered otherwise.

    Args:
        where: what was made of the pieces, for the error.
        found: its numbering; None where what made it kept none.
        wanted: that of what it is joined with; None where there is none.

    Raises:
        InputError: they differ.
    """
    if found is not None and wanted is not None and found != wanted:
        raise InputError(
            where,
            f"numbers other pieces ({found}) than what it is joined with ({wanted}): rows came, went or changed places",
            "Remake it with its rule.",
        )
