"""Documents cut into the chunks that retrieval searches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import regex
from tqdm import tqdm

from lorebridge import tables
from lorebridge.errors import InputError

_PARAGRAPH_END = regex.compile(r"[\r\n]+")
# Marks that end a sentence with a space after them (3.14 does not), marks that need none, and Tibetan shad with the
# spaces between a pair of them. Closing quotes and brackets stay with the sentence. No mark that joins to the letter
# before it may follow: a cut parts no grapheme.
_SENTENCE_END = regex.compile(
    r"""(?:
    [.!?…]+ [\p{Pe}\p{Pf}"']* [ \t\u00a0]+
    | [\p{STerm}--[.!?]]+ [\p{Pe}\p{Pf}"']* [ \t]*
    | [།-༔] [།-༔\ ]*
    )
    (?!\p{Grapheme_Cluster_Break=Extend} | \p{Grapheme_Cluster_Break=SpacingMark} | \u200d)
    | [\r\n]+
    """,
    regex.VERSION1 | regex.VERBOSE,
)
_GRAPHEME = regex.compile(r"\X")


def cut(text: str, max_chars: int) -> Iterator[str]:
    """Yield pieces of `text` of at most `max_chars` characters that together are `text`.

    A piece ends at the last end of a paragraph in the second half of what fits; where there is none, at the last end
    of a sentence that fits; else between two graphemes (a grapheme that is longer than a piece is cut as well).

    Args:
        text: any text.
        max_chars: the most characters of a piece, at least 1.
    """
    start = 0
    while len(text) - start > max_chars:
        limit = start + max_chars
        end = _last_end(_PARAGRAPH_END, text, start + max_chars // 2, limit) or sentence_end(text, start, limit)
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _last_end(pattern: regex.Pattern[str], text: str, start: int, limit: int) -> int | None:
    """Return the largest end of a match that begins at or after `start` and ends at or before `limit`."""
    # One character more than fits is looked at, because what follows an end decides whether it is one.
    ends = [match.end() for match in pattern.finditer(text, start, limit + 1) if match.end() <= limit]
    return ends[-1] if ends else None


def sentence_end(text: str, start: int, limit: int) -> int:
    """Return where to cut `text` after `start`, at or before `limit`: at the last end of a sentence.

    Where no sentence ends, it is the last place between two graphemes, and `limit` where there is none either.

    Args:
        text: any text.
        start: where the piece begins.
        limit: the farthest place, after `start` and before the end of `text`.
    """
    return _last_end(_SENTENCE_END, text, start, limit) or _last_grapheme(text, start, limit)


def _last_grapheme(text: str, start: int, limit: int) -> int:
    """Return the last place at or before `limit` where a grapheme begins, or `limit` if it is inside the first."""
    *_, last = _GRAPHEME.finditer(text, start, limit + 1)
    return last.start() if last.start() > start else limit


def chunk_documents(*, documents: Sequence[Path], max_chars: int = 5000, chunks: Path) -> None:
    """Cut the documents of a corpus into a table ``chunks``.

    The paper retrieves chunks of at most 5,000 characters (Zhang et al. 2025). Chunks do not overlap;
    those of a document, in order, join to its text. The chunks of a document are named ``doc_id#0``, ``doc_id#1``, ...

    Args:
        documents: tables ``documents``, the shards of one corpus.
        max_chars: the most characters of a chunk, see :func:`cut`.
        chunks: the table to write.

    Raises:
        InputError: a table cannot be read, or `max_chars` is less than 1.
    """
    if max_chars < 1:
        raise InputError("max_chars", f"{max_chars} leaves no room for text", "Give at least 1.")
    with tables.writer("chunks", chunks) as write, tqdm(desc="chunks", unit=" documents", mininterval=1) as bar:
        for path in documents:
            for batch in tables.batches(path, ["doc_id", "text"]):
                write([chunk for row in batch for chunk in _chunks(row["doc_id"], row["text"], max_chars)])
                bar.update(len(batch))


def _chunks(doc_id: str, text: str, max_chars: int) -> Iterator[dict[str, str | int]]:
    """Yield the rows of a document."""
    for i, piece in enumerate(cut(text, max_chars)):
        yield {"chunk_id": f"{doc_id}#{i}", "doc_id": doc_id, "text": piece, "n_chars": len(piece)}
