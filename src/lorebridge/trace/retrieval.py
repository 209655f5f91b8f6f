"""Retrieval behind one call: lexical or dense, by the study's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def build_index(*, method: str, chunks: Path, index: Path, work: Path, threads: int, **literals: Any) -> dict[str, Any]:
    """Make what a corpus is searched by: a Lucene index, or the embeddings of its chunks.

    Args:
        method: ``bm25`` (:func:`lorebridge.trace.bm25.build_index`; the engine ``scan`` needs no index) or ``dense``
            (:func:`lorebridge.trace.dense.build_index`).
        chunks: table "chunks" of the corpus.
        index: the folder to write.
        work: a folder that keeps what a killed job of ``dense`` need not do again.
        threads: CPU threads.
        literals: the index's own parameters.

    Returns:
        Notes for the record.

    Raises:
        InputError, Busy: as the method.
    """
    if method == "bm25":
        from lorebridge.trace import bm25

        return bm25.build_index(chunks=chunks, index=index, threads=threads, **literals)
    from lorebridge.trace import dense

    return dense.build_index(chunks=chunks, index=index, work=work, threads=threads, **literals)


def retrieve(
    *, method: str, corpus: Path, questions: Path, out: Path, threads: int, engine: str = "lucene", **literals: Any
) -> dict[str, Any]:
    """Find the chunks that match each question of a culture best, and write table "hits".

    Args:
        method: ``bm25`` or ``dense`` (:func:`lorebridge.trace.dense.retrieve`).
        corpus: what is searched: table "chunks" for the engine ``scan``, else the folder from :func:`build_index`.
        questions: table "questions" of the culture.
        out: where to write.
        threads: CPU threads.
        engine: of ``bm25``: ``scan`` (:func:`lorebridge.trace.scan.retrieve`) or ``lucene``
            (:func:`lorebridge.trace.bm25.retrieve`). Both find the same.
        literals: the retriever's own parameters.

    Returns:
        Notes for the record.

    Raises:
        InputError: as the retriever.
    """
    asked = {"method": method, "questions": questions, "out": out, **literals}
    if method == "dense":
        from lorebridge.trace import dense

        return dense.retrieve(index=corpus, threads=threads, **asked)
    if engine == "scan":
        from lorebridge.trace import scan

        return scan.retrieve(chunks=corpus, **asked)
    from lorebridge.trace import bm25

    return bm25.retrieve(index=corpus, **asked)
