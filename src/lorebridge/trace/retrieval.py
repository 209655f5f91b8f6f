"""Retrieval behind one call: lexical or dense, by the study's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lorebridge.trace import bm25


def retrieve(
    *, method: str, corpus: Path, questions: Path, lang: str, out: Path, threads: int, **literals: Any
) -> dict[str, Any]:
    """Find the chunks that match each question of a culture best, and write table "hits".

    Args:
        method: ``bm25`` (:func:`lorebridge.trace.bm25.retrieve`) or ``dense``
            (:func:`lorebridge.trace.dense.retrieve`).
        corpus: what is searched: a Lucene index for ``bm25``, table "chunks" for ``dense``.
        questions: table "questions" of the culture.
        lang: the language of the corpus, in which the questions are asked.
        out: where to write.
        threads: CPU threads.
        literals: the retriever's own parameters.

    Returns:
        Notes for the record.

    Raises:
        InputError: as the retriever.
    """
    if method == "bm25":
        return bm25.retrieve(method=method, index=corpus, questions=questions, lang=lang, out=out, **literals)
    from lorebridge.trace import dense

    return dense.retrieve(
        method=method, chunks=corpus, questions=questions, lang=lang, out=out, threads=threads, **literals
    )
