"""Token stores: each stream of text tokenized once, in one memory-mapped array with the offsets of its documents."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from lorebridge import publish
from lorebridge.corpora.pieces import KEY, numbering
from lorebridge.errors import InputError
from lorebridge.tables import n_rows, record_batches
from lorebridge.tokens.tokenizer import BulkEncoder

log = logging.getLogger("lorebridge.tokens")

TOKEN = np.dtype("<u4")


# Rows that are read and tokenized at a time.
BATCH = 1024

# The first documents are tokenized by the reference too, and then one of so many.
CHECKED_FIRST, CHECKED = 64, 1000


def build_store(*, tables: list[Path], column: str, tokenizer: Path, out: Path, lead: str = "") -> dict[str, Any]:
    """Tokenize one column of some tables, row by row, into a token store.

    Writes ``tokens.bin`` (uint32, little endian, all documents end to end, no special token), ``offsets.npy`` (int64,
    n + 1: document i is ``tokens[offsets[i]:offsets[i + 1]]``) and ``store.json`` (the notes), which comes last: a
    store without it is not complete. Text and offsets are streamed: memory does not grow with the corpus. The ids are
    those of Hugging Face's ``tokenizers``, which is asked for a sample of the documents.

    Args:
        tables: Parquet tables, in the order in which their rows are numbered.
        column: the column of text.
        tokenizer: a tokenizer folder.
        out: the folder to write.
        lead: what is put before every text that is not empty, and belongs to it: a space, where a label comes before.

    Returns:
        Notes: ``n_documents, n_tokens, n_bytes`` (UTF-8), ``tokenizer`` (fingerprint), ``digest`` (of the tokens and
        the offsets), ``pieces`` (:func:`lorebridge.corpora.pieces.numbering`).

    Raises:
        InputError: a table cannot be read, there is no text at all, or the ids are not those of ``tokenizers``.
    """
    encoder = BulkEncoder(tokenizer)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    n_documents = sum(n_rows(path) for path in tables)
    (out / "store.json").unlink(missing_ok=True)
    digest = hashlib.sha256()
    done = n_bytes = n_tokens = 0
    with (
        publish.whole(out / "tokens.bin") as tokens_partial,
        publish.whole(out / "offsets.npy") as offsets_partial,
        publish.named(out),
        tokens_partial.open("wb") as file,
        offsets_partial.open("wb") as offsets,  # not mapped: a full disk ends the process that writes to a map
        tqdm(total=n_documents, unit="doc", desc=f"tokenize {out.name}", mininterval=1) as bar,
    ):
        header = {"descr": "<i8", "fortran_order": False, "shape": (n_documents + 1,)}
        np.lib.format.write_array_header_1_0(offsets, header)
        offsets.write(bytes(8))
        for texts in _texts(tables, column):
            documents = [lead + text if text else text for text in texts.to_pylist()]  # an empty half stays empty
            encoder.check(documents[-done % CHECKED :: CHECKED] if done else documents[:CHECKED_FIRST])
            ids, ends = encoder.encode(documents)
            block = ids.astype(TOKEN, copy=False).tobytes()
            digest.update(block)
            file.write(block)
            offsets.write((n_tokens + ends[1:]).astype("<i8").tobytes())
            n_tokens += int(ends[-1])
            done += len(documents)
            n_bytes += pc.sum(pc.binary_length(texts)).as_py() + len(lead.encode()) * sum(map(bool, documents))
            bar.update(len(documents))
        if not n_tokens:
            raise InputError(", ".join(map(str, tables)), "no text to tokenize", "Check the corpus and its filter.")
    digest.update(np.load(out / "offsets.npy", mmap_mode="r").data)
    notes = {
        "n_documents": n_documents,
        "n_tokens": n_tokens,
        "n_bytes": n_bytes,
        "tokenizer": encoder.fingerprint,
        "digest": digest.hexdigest()[:16],
        KEY: numbering(tables),
        **({"lead": lead} if lead else {}),
    }
    publish.write_text(out / "store.json", json.dumps(notes, indent=1) + "\n")
    return notes


def _texts(paths: list[Path], column: str) -> Iterator[pa.Array]:
    """Yield a column of some tables, some rows at a time."""
    for path in paths:
        for rows in record_batches(path, [column], BATCH):
            yield rows.column(0)


@dataclass(frozen=True)
class Store:
    """A token store, opened for reading.

    Attributes:
        path: its folder.
        tokens: uint32 [n_tokens], memory-mapped.
        offsets: int64 [n_documents + 1], memory-mapped.
        notes: what ``store.json`` says.
    """

    path: Path
    tokens: npt.NDArray[np.uint32]
    offsets: npt.NDArray[np.int64]
    notes: dict[str, Any]

    @classmethod
    def open(cls, path: Path | str, tokenizer: str | None = None) -> Store:
        """Open a store.

        Args:
            path: its folder.
            tokenizer: the fingerprint of the tokenizer that it must have been made with; None where ids do not matter.

        Raises:
            InputError: a file is missing or torn, the tokens are not as many as the offsets say or none at all, or the
                store was made with another tokenizer.
        """
        path = Path(path)
        mend = "Remake the store with its rule."
        for name in ("tokens.bin", "offsets.npy", "store.json"):
            if not (path / name).exists():
                raise InputError(path / name, "no such file", mend)
        try:
            offsets = np.load(path / "offsets.npy", mmap_mode="r")
            notes = json.loads((path / "store.json").read_text(encoding="utf-8"))
        except (ValueError, EOFError) as error:
            raise InputError(path, f"cannot be read ({error})", mend) from error
        size = (path / "tokens.bin").stat().st_size
        if size != offsets[-1] * TOKEN.itemsize:
            raise InputError(path / "tokens.bin", f"{size} bytes for {offsets[-1]} tokens", mend)
        if not size:
            raise InputError(path / "tokens.bin", "no document has a token", "Check the corpus and its filter.")
        if tokenizer is not None and notes["tokenizer"] != tokenizer:
            raise InputError(path, f"was made with the tokenizer {notes['tokenizer']}, not with {tokenizer}", mend)
        return cls(path, np.memmap(path / "tokens.bin", TOKEN, "r"), offsets, notes)

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> npt.NDArray[np.uint32]:
        """Return the tokens of one document, without a copy."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path}: document {index} of {len(self)}")
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each document, int64 [n_documents]."""
        return np.diff(self.offsets)
