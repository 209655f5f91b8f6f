"""Dense retrieval with a sentence encoder (paper 000, Appendix C, for English, Chinese and Korean).

The encoders read 512 tokens, a chunk of 5,000 characters holds two to ten times as many. The paper does not say what
it did; read plainly, it encoded the first window alone. By default every window of a chunk is encoded, and a chunk
scores as its best window does (MaxP of Dai and Callan, SIGIR 2019).
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from tqdm import tqdm

from lorebridge.errors import InputError
from lorebridge.trace.hits import open_chunks, read_queries, write_hits

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# Chunks encoded at a time.
_BATCH = 256


def load_encoder(model: str) -> SentenceTransformer:
    """Load a sentence encoder on the GPU, where there is one.

    Raises:
        InputError: there is no such model, or it cannot be fetched.
    """
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(model)
    except (OSError, ValueError) as error:
        raise InputError(
            model,
            f"cannot be loaded as a sentence encoder ({str(error).splitlines()[0]})",
            "Give a folder, or the id of a model on the Hugging Face Hub that this machine can reach.",
        ) from error


def windows(text: str, encoder: SentenceTransformer, truncate: bool) -> list[str]:
    """Cut `text` into consecutive pieces that the encoder reads whole.

    Args:
        text: a chunk.
        encoder: its tokenizer and its longest input decide where to cut.
        truncate: keep the first piece alone.
    """
    tokenizer = encoder.tokenizer
    size = encoder.max_seq_length - tokenizer.num_special_tokens_to_add()
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    starts = [offsets[i][0] for i in range(0, len(offsets), size)] or [0]
    pieces = [text[start:end] for start, end in itertools.pairwise([*starts, len(text)])]
    return pieces[:1] if truncate else pieces


def retrieve(
    *,
    chunks: Path,
    questions: Path,
    lang: str,
    script: str,
    top_k: int,
    model: str,
    out: Path,
    method: str,
    threads: int,
    query_prefix: str = "",
    truncate: bool = False,
) -> dict[str, int]:
    """Find the chunks whose embeddings are closest to each question's, and write table "hits".

    The search is exact (cosine similarity of every window with every question) and streams the corpus, so memory
    stays flat. Equal scores are ordered as the chunks are.

    Args:
        chunks: table "chunks" of the corpus.
        questions: table "questions" of a culture; a query is the cloze with the gold filled in.
        lang: the language of the corpus, in which the questions are asked.
        script: its Unicode script.
        top_k: how many chunks a question gets at most.
        model: a sentence encoder: a folder or an id on the Hugging Face Hub.
        out: where to write.
        method: the name that the hits carry ("dense").
        threads: CPU threads of torch.
        query_prefix: what the encoder wants before a query.
        truncate: encode the first window of a chunk alone, as the paper seems to have done.

    Returns:
        Notes for the record: the number of questions, of hits, and of questions without a hit.

    Raises:
        InputError: the table cannot be read or is empty, no question in that language, or no such encoder.
    """
    import torch

    queries = read_queries(questions, lang, script)
    source = open_chunks(chunks)
    torch.set_num_threads(threads)
    encoder = load_encoder(model)

    def encode(texts: list[str]) -> np.ndarray:
        return encoder.encode(texts, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False)

    asked = encode([query_prefix + query for query in queries])
    scores = np.empty((len(queries), 0), dtype=np.float32)
    places = np.empty((len(queries), 0), dtype=np.int64)
    chunk_ids: list[str] = []
    with tqdm(total=source.metadata.num_rows, desc=f"encode {chunks.stem}", unit="chunk") as bar:
        for batch in source.iter_batches(_BATCH, columns=["chunk_id", "text"]):
            pieces = [windows(text, encoder, truncate) for text in batch["text"].to_pylist()]
            similarity = asked @ encode(list(itertools.chain.from_iterable(pieces))).T
            firsts = np.cumsum([0, *map(len, pieces[:-1])])
            found = np.maximum.reduceat(similarity, firsts, axis=1)
            here = np.arange(len(chunk_ids), len(chunk_ids) + len(pieces))
            chunk_ids += batch["chunk_id"].to_pylist()
            scores = np.concatenate([scores, found], axis=1)
            places = np.concatenate([places, np.broadcast_to(here, found.shape)], axis=1)
            best = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
            scores, places = np.take_along_axis(scores, best, axis=1), np.take_along_axis(places, best, axis=1)
            bar.update(len(pieces))
    hits = pd.DataFrame(
        {
            "question_id": np.repeat(queries.index.to_numpy(), places.shape[1]),
            "chunk_id": [chunk_ids[place] for place in places.ravel()],
            "score": scores.ravel(),
        }
    )
    return write_hits(hits, queries=queries, method=method, out=out)
