"""Token stores: each stream of text tokenized once, in one memory-mapped array with the offsets of its documents."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from lorebridge.errors import InputError
from lorebridge.tables import batches
from lorebridge.tokens.tokenizer import load_tokenizer, tokenizer_fingerprint

log = logging.getLogger("lorebridge.tokens")

TOKEN = np.dtype("<u4")


def build_store(*, tables: list[Path], column: str, tokenizer: Path, out: Path) -> dict[str, Any]:
    """Tokenize one column of some tables, row by row, into a token store.

    Writes ``tokens.bin`` (uint32, little endian, all documents end to end, no special token), ``offsets.npy`` (int64,
    n + 1: document i is ``tokens[offsets[i]:offsets[i + 1]]``) and ``store.json`` (the notes). Text is streamed: memory
    does not grow with the corpus, but for the offsets.

    Args:
        tables: Parquet tables, in the order in which their rows are numbered.
        column: the column of text.
        tokenizer: a tokenizer folder.
        out: the folder to write.

    Returns:
        Notes: ``n_documents, n_tokens, n_bytes`` (UTF-8), ``tokenizer`` (fingerprint), ``digest`` (of the tokens and
        the offsets).

    Raises:
        InputError: a table cannot be read, or there is no text at all.
    """
    encoder = load_tokenizer(tokenizer)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    total = sum(_n_rows(path) for path in tables)
    digest = hashlib.sha256()
    lengths: list[npt.NDArray[np.int64]] = []
    n_bytes = 0
    partial = out / "tokens.bin.partial"
    with partial.open("wb") as file, tqdm(total=total, unit="doc", desc=f"tokenize {out.name}", mininterval=1) as bar:
        for path in tables:
            for rows in batches(path, [column], 512):
                texts = [row[column] for row in rows]
                encodings = encoder.encode_batch_fast(texts, add_special_tokens=False)
                ids = [np.array(encoding.ids, TOKEN) for encoding in encodings]
                block = np.concatenate(ids).tobytes()
                digest.update(block)
                file.write(block)
                lengths.append(np.array([len(document) for document in ids], np.int64))
                n_bytes += sum(len(text.encode()) for text in texts)
                bar.update(len(ids))
    offsets = np.concatenate([np.zeros(1, np.int64), *lengths]).cumsum()
    if not offsets[-1]:
        raise InputError(", ".join(map(str, tables)), "no text to tokenize", "Check the corpus and its filter.")
    np.save(out / "offsets.npy", offsets)
    digest.update(offsets.tobytes())
    partial.replace(out / "tokens.bin")
    notes = {
        "n_documents": len(offsets) - 1,
        "n_tokens": int(offsets[-1]),
        "n_bytes": n_bytes,
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "digest": digest.hexdigest()[:16],
    }
    (out / "store.json").write_text(json.dumps(notes, indent=1) + "\n", encoding="utf-8")
    return notes


def _n_rows(path: Path) -> int:
    try:
        return pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(path, f"cannot be read as a Parquet table ({error})", "Remake it with its rule.") from error


@dataclass(frozen=True)
class Store:
    """A token store, opened for reading.

    Attributes:
        path: its folder.
        tokens: uint32 [n_tokens], memory-mapped.
        offsets: int64 [n_documents + 1].
        notes: what ``store.json`` says.
    """

    path: Path
    tokens: npt.NDArray[np.uint32]
    offsets: npt.NDArray[np.int64]
    notes: dict[str, Any]

    @classmethod
    def open(cls, path: Path | str) -> Store:
        """Open a store.

        Raises:
            InputError: a file is missing, or the tokens are not as many as the offsets say.
        """
        path = Path(path)
        mend = "Remake the store with its rule."
        for name in ("tokens.bin", "offsets.npy", "store.json"):
            if not (path / name).exists():
                raise InputError(path / name, "no such file", mend)
        offsets = np.load(path / "offsets.npy")
        size = (path / "tokens.bin").stat().st_size
        if size != offsets[-1] * TOKEN.itemsize:
            raise InputError(path / "tokens.bin", f"{size} bytes for {offsets[-1]} tokens", mend)
        notes = json.loads((path / "store.json").read_text(encoding="utf-8"))
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
