"""Retrieval behind one call: lexical or dense, by the study's configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorebridge.errors import InputError

METHODS = ("bm25", "dense")
SCAN, LUCENE = ENGINES = ("scan", "lucene")


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
        InputError, Busy: no such method, or as the method.
    """
    _known("method", method, METHODS)
    if method == "bm25":
        from lorebridge.trace import bm25

        return bm25.build_index(chunks=chunks, index=index, threads=threads, **literals)
    from lorebridge.trace import dense

    return dense.build_index(chunks=chunks, index=index, work=work, threads=threads, **literals)


def _known(what: str, name: str, known: Sequence[str]) -> None:
    """Refuse a name that is not known.

    Raises:
        InputError: it is not.
    """
    if name not in known:
        raise InputError(f"retrieval, {what}", f"{name!r} is unknown", f"It is one of {', '.join(known)}.")


def retrieve(
    *, method: str, corpus: Path, questions: Path, out: Path, threads: int, engine: str | None = None, **literals: Any
) -> dict[str, Any]:
    """Find the chunks that match each question of a culture best, and write table "hits".

    Args:
        method: ``bm25`` or ``dense`` (:func:`lorebridge.trace.dense.retrieve`).
        corpus: what is searched: table "chunks" for the engine ``scan``, else the folder from :func:`build_index`.
        questions: table "questions" of the culture.
        out: where to write.
        threads: CPU threads.
        engine: of ``bm25``: ``scan`` (:func:`lorebridge.trace.scan.retrieve`) or ``lucene``
            (:func:`lorebridge.trace.bm25.retrieve`), which is the default. Both find the same.
        literals: the retriever's own parameters.

    Returns:
        Notes for the record.

    Raises:
        InputError: no such method or engine, or an engine of another method; or as the retriever.
    """
    if method == "dense" and engine is not None:
        raise InputError("engine", "engine is of bm25, and the method is dense", "Leave it out.")
    _known("method", method, METHODS)
    _known("engine", engine or LUCENE, ENGINES)
    asked = {"method": method, "questions": questions, "out": out, **literals}
    if method == "dense":
        from lorebridge.trace import dense

        return dense.retrieve(index=corpus, threads=threads, **asked)
    if engine == SCAN:
        from lorebridge.trace import scan

        return scan.retrieve(chunks=corpus, **asked)
    from lorebridge.trace import bm25

    return bm25.retrieve(index=corpus, **asked)
