"""Dense retrieval with a sentence encoder (paper 000, Appendix C, for English, Chinese and Korean).

The encoders read 512 tokens, a chunk of 5,000 characters holds two to ten times as many. The paper does not say what
it did; read plainly, it encoded the first window alone. By default every window of a chunk is encoded, and a chunk
scores as its best window does (MaxP of Dai and Callan, SIGIR 2019; their windows overlap by half, ours end where
sentences end).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from lorebridge.errors import InputError, said
from lorebridge.trace.hits import open_chunks, read_queries, write_hits
from lorebridge.trace.windows import windows
from lorebridge.work import link_or_copy, locked, read_json, replacing, write_json

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

log = logging.getLogger("lorebridge.trace")

# Chunks that are encoded, kept and searched together.
_BLOCK = 1024

_ABOUT = "embeddings.json"


def load_encoder(model: str, revision: str | None = None) -> SentenceTransformer:
    """Load a sentence encoder on the GPU, where there is one. Code that comes with a model is never run.

    Args:
        model: a folder or an id on the Hugging Face Hub.
        revision: the commit of a model on the Hub; its newest without.

    Raises:
        InputError: there is no such model, or it cannot be fetched.
    """
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(model, revision=revision)
    except Exception as error:  # what the library and its tokenizers make of files that are not theirs
        raise InputError(
            model,
            f"cannot be loaded as a sentence encoder ({said(error)})",
            "Give a folder, or the id of a model on the Hugging Face Hub that this machine can reach.",
        ) from error


def _encode(encoder: SentenceTransformer, texts: list[str]) -> np.ndarray:
    """Return unit vectors in float32, shape (texts, dimension). The encoder sorts texts by length."""
    return encoder.encode(
        texts,
        batch_size=256 if encoder.device.type == "cuda" else 32,
        normalize_embeddings=True,
        convert_to_numpy=True,
        show_progress_bar=False,
    ).astype(np.float32, copy=False)


def build_index(
    *,
    chunks: Path,
    model: str,
    index: Path,
    work: Path,
    threads: int,
    revision: str | None = None,
    truncate: bool = False,
) -> dict[str, int]:
    """Encode every window of every chunk.

    The folder holds ``embeddings.json`` (model, revision, truncate, and the numbers of blocks, chunks and windows) and
    a ``block-*.npz`` for each 1,024 chunks: ``chunk_ids``, ``n_windows`` of each chunk, and ``vectors`` (float32,
    windows by dimension, of length one). English Wikipedia needs about 18 GB with 384 dimensions.

    Args:
        chunks: table "chunks" of a corpus.
        model: a sentence encoder: a folder or an id on the Hugging Face Hub.
        index: the folder to write; an older one is replaced once the new one is complete.
        work: a folder that keeps finished blocks: a killed job loses the block in flight. A block is taken from there
            if it was made from the same chunks in the same way. Not deleted.
        threads: CPU threads of torch.
        revision: the commit of a model on the Hub.
        truncate: encode what the encoder reads of a chunk at once alone, as the paper seems to have done.

    Returns:
        Notes for the record: the number of blocks, of chunks and of windows.

    Raises:
        InputError: the table cannot be read or is empty, or no such encoder.
        Busy: another process encodes in `work`.
    """
    import torch

    source = open_chunks(chunks)
    torch.set_num_threads(threads)
    how = {"model": model, "revision": revision, "truncate": truncate}
    encoder: SentenceTransformer | None = None
    n_windows = 0
    names = []
    with locked(work), tqdm(total=source.metadata.num_rows, desc="encode", unit="chunk") as bar:
        for batch in source.iter_batches(_BLOCK, columns=["chunk_id", "text"]):
            chunk_ids, texts = batch["chunk_id"].to_pylist(), batch["text"].to_pylist()
            digest = hashlib.sha256(json.dumps([how, chunk_ids, texts]).encode()).hexdigest()
            block = Path(work) / f"block-{digest}.npz"
            if not block.exists():
                encoder = encoder or load_encoder(model, revision)
                size = encoder.max_seq_length - encoder.tokenizer.num_special_tokens_to_add()
                pieces = [[text] if truncate else windows(text, encoder.tokenizer, size) for text in texts]
                _save(
                    block,
                    chunk_ids=np.array(chunk_ids),
                    n_windows=np.array([len(of_chunk) for of_chunk in pieces], dtype=np.int32),
                    vectors=_encode(encoder, list(itertools.chain.from_iterable(pieces))),
                )
            with np.load(block) as kept:
                n_windows += int(kept["n_windows"].sum())
            names.append(block.name)
            bar.update(len(batch))
        partial = index.with_name(index.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for i, name in enumerate(names):
            link_or_copy(Path(work) / name, partial / f"block-{i:06d}.npz")
    counts = {"n_blocks": len(names), "n_chunks": source.metadata.num_rows, "n_windows": n_windows}
    write_json(partial / _ABOUT, how | counts)
    shutil.rmtree(index, ignore_errors=True)
    partial.rename(index)
    log.info("encoded %d chunks in %d windows of %s", counts["n_chunks"], n_windows, chunks)
    return counts


def _save(path: Path, **arrays: np.ndarray) -> None:
    """Write arrays so that a crash leaves the whole file or none."""
    with replacing(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def retrieve(
    *,
    index: Path,
    questions: Path,
    lang: str,
    script: str,
    top_k: int,
    out: Path,
    method: str,
    threads: int,
    query_prefix: str = "",
) -> dict[str, int]:
    """Find the chunks whose embeddings are closest to each question's, and write table "hits".

    The search is exact (cosine similarity of every window with every question in float32) and streams the index, so
    memory stays flat. Equal scores are ordered as the chunks are.

    Args:
        index: a folder made by :func:`build_index`; questions are encoded by the model that it names.
        questions: table "questions" of a culture; a query is the cloze with the gold filled in.
        lang: the language of the corpus, in which the questions are asked.
        script: its Unicode script.
        top_k: how many chunks a question gets at most.
        out: where to write.
        method: the name that the hits carry ("dense").
        threads: CPU threads of torch.
        query_prefix: what the encoder wants before a query.

    Returns:
        Notes for the record: the number of questions, of hits, and of questions without a hit.

    Raises:
        InputError: no index there, no question in that language, or no such encoder.
    """
    import torch

    about = read_json(index / _ABOUT)
    if about is None:
        raise InputError(index, "holds no embeddings", "Remake it with its rule.")
    queries = read_queries(questions, lang, script)
    torch.set_num_threads(threads)
    asked = _encode(load_encoder(about["model"], about["revision"]), [query_prefix + query for query in queries])
    best = Best(len(queries), top_k)
    chunk_ids: list[str] = []
    for block in tqdm(_blocks(index, about["n_blocks"]), total=about["n_blocks"], desc="search", unit="block"):
        similarity = (torch.from_numpy(asked) @ torch.from_numpy(block["vectors"]).T).numpy()
        firsts = np.cumsum(block["n_windows"]) - block["n_windows"]
        best.add(np.maximum.reduceat(similarity, firsts, axis=1), len(chunk_ids))
        chunk_ids += block["chunk_ids"].tolist()
    hits = pd.DataFrame(
        {
            "question_id": np.repeat(queries.index.to_numpy(), best.places.shape[1]),
            "chunk_id": [chunk_ids[place] for place in best.places.ravel()],
            "score": best.scores.ravel(),
        }
    )
    return write_hits(hits, queries=queries, method=method, out=out)


def _blocks(index: Path, n_blocks: int) -> Iterator[dict[str, Any]]:
    for i in range(n_blocks):
        with np.load(index / f"block-{i:06d}.npz") as block:
            yield dict(block)


class Best:
    """The best places of several queries, found in blocks. Of equal scores the first place is the better.

    Attributes:
        scores: shape (queries, found so far, but at most `top_k`), the best first.
        places: of the same shape.
    """

    def __init__(self, n_queries: int, top_k: int) -> None:
        """Begin with nothing."""
        self._top_k = top_k
        self.scores = np.empty((n_queries, 0), dtype=np.float32)
        self.places = np.empty((n_queries, 0), dtype=np.int64)

    def add(self, scores: np.ndarray, first: int) -> None:
        """Take in the scores of a block, shape (queries, places), whose first place is `first`."""
        places = np.broadcast_to(np.arange(first, first + scores.shape[1]), scores.shape)
        if self.scores.shape[1] < self._top_k:
            self.scores, self.places = self._merge(
                np.concatenate([self.scores, scores], axis=1), np.concatenate([self.places, places], axis=1)
            )
            return
        # Sooner or later almost no block holds anything better, so only what is better is sorted.
        rows, columns = np.nonzero(scores > self.scores[:, -1:])
        if not len(rows):
            return
        touched, firsts, counts = np.unique(rows, return_index=True, return_counts=True)
        at = np.repeat(np.arange(len(touched)), counts), np.arange(len(rows)) - np.repeat(firsts, counts)
        better = np.full((len(touched), counts.max()), -np.inf, dtype=np.float32)
        better_places = np.zeros(better.shape, dtype=np.int64)
        better[at], better_places[at] = scores[rows, columns], places[rows, columns]
        self.scores[touched], self.places[touched] = self._merge(
            np.concatenate([self.scores[touched], better], axis=1),
            np.concatenate([self.places[touched], better_places], axis=1),
        )

    def _merge(self, scores: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(-scores, axis=1, kind="stable")[:, : self._top_k]
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(places, order, axis=1)
