"""What all retrievers and judges share: the chunks, the query of a question, and the table of hits."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.trace.analysis import script_of

log = logging.getLogger("lorebridge.trace")


def open_chunks(path: Path) -> pq.ParquetFile:
    """Open table "chunks" to be read in batches.

    Raises:
        InputError: it is missing, is not Parquet, or holds no chunk.
    """
    try:
        chunks = pq.ParquetFile(path, page_checksum_verification=True)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(path, f"cannot be read as a Parquet table ({error})", "Remake it with its rule.") from error
    if not chunks.metadata.num_rows:
        raise InputError(path, "holds no chunk", "Check that the corpus kept documents after its filter.")
    return chunks


def read_queries(questions: Path, lang: str, script: str) -> pd.Series:
    """Return the cloze sentences of a culture in `lang` with the gold filled in.

    Args:
        questions: table "questions".
        lang: the language asked in.
        script: its Unicode script.

    Returns:
        Texts by question_id, in the table's order. Where the gold is missing from the options, the blank stays empty.

    Raises:
        InputError: no question in that language.
    """
    rows = tables.read(questions, ["question_id", "lang", "text", "option", "is_gold"])
    rows = rows[rows["lang"] == lang]
    if rows.empty:
        raise InputError(questions, f"no question in language {lang!r}", "Check the language of the question set.")
    texts = rows.drop_duplicates("question_id").set_index("question_id")["text"]
    gold = rows[rows["is_gold"]].set_index("question_id")["option"].to_dict()
    reading = script_of(script)
    filled = [reading.fill(text, gold[i]) if i in gold else reading.without_blank(text) for i, text in texts.items()]
    return pd.Series(filled, index=texts.index, name="query", dtype=object)


def write_hits(found: pd.DataFrame, *, queries: pd.Series, method: str, out: Path) -> dict[str, int]:
    """Write table "hits" (rank 1 is the best).

    Args:
        found: question_id, chunk_id, score; the best first within a question.
        queries: what was asked, by question_id.
        method: the retriever's name.
        out: where to write.

    Returns:
        Notes for the record: the number of questions, of hits, and of questions without a hit.
    """
    hits = found.assign(
        doc_id=[chunk_id.rpartition("#")[0] for chunk_id in found["chunk_id"]],
        rank=found.groupby("question_id").cumcount() + 1,
        method=method,
    )
    tables.write("hits", hits, out)
    without = len(queries) - hits["question_id"].nunique()
    if without:
        log.warning("%s: %d of %d questions have no hit", out, without, len(queries))
    return {"n_questions": len(queries), "n_hits": len(hits), "n_questions_without_hit": without}
