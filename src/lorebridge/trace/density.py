"""How densely a corpus states the facts that a culture's questions ask for (paper 000, Table 1)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy import stats

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.trace.judges import INDETERMINATE, YES

log = logging.getLogger("lorebridge.trace")

UNITS = ("document", "chunk", "token")


def positives(questions: Sequence[str], hits: pd.DataFrame, judgments: pd.DataFrame) -> pd.DataFrame:
    """Count, for each question, the retrieved texts that state its fact.

    Args:
        questions: all question ids of the culture.
        hits: rows of table "hits".
        judgments: rows of table "judgments" for the same hits.

    Returns:
        Indexed by question_id: documents, chunks (float; NaN where the judge could tell of no chunk),
        distractor_documents, distractor_chunks (those that would state a distractor, mean over the distractors; NaN
        where none can be judged), n_hits. A question without a hit counts zero: nothing in the corpus shares a word
        with it; but no distractor counts where the judge asked of none (a language model).
        A document counts the shares of its chunks, at most 1: exact where one chunk of it holds distractors, else an
        upper bound, because a share does not tell which distractors they are.
    """
    key = ["question_id", "chunk_id"]
    joined = hits.set_index(key).join(judgments.set_index(key)).reset_index()
    stated = joined[joined["entails"] == YES]
    told = set(joined.loc[joined["entails"] != INDETERMINATE, "question_id"])
    counts = pd.DataFrame(
        {
            "documents": stated.groupby("question_id")["doc_id"].nunique(),
            "chunks": stated.groupby("question_id").size(),
            "n_hits": joined.groupby("question_id").size(),
        },
        index=pd.Index(questions, name="question_id"),
    ).fillna(0.0)
    counts.loc[(counts["n_hits"] > 0) & ~counts.index.isin(told), ["documents", "chunks"]] = np.nan
    by_document = joined.groupby(["question_id", "doc_id"])["distractor_entails"].sum(min_count=1).clip(upper=1)
    shares = {"documents": by_document, "chunks": joined.set_index("question_id")["distractor_entails"]}
    controlled = joined.empty or joined["distractor_entails"].notna().any()
    for unit, share in shares.items():
        distractor = share.groupby("question_id").sum(min_count=1).reindex(counts.index)
        counts[f"distractor_{unit}"] = distractor.where(counts["n_hits"] > 0, 0.0) if controlled else distractor
    return counts


def corpus_size(chunks: Path, tokens: Path) -> dict[str, int]:
    """Return the number of documents, chunks and tokens of a corpus.

    Args:
        chunks: table "chunks" of the corpus.
        tokens: the token store of its monolingual stream (its `offsets.npy` ends with the number of tokens).

    Raises:
        InputError: one of them is missing.
    """
    offsets = tokens / "offsets.npy"
    try:
        documents = pq.read_table(chunks, columns=["doc_id"])["doc_id"]
        n_tokens = int(np.load(offsets, mmap_mode="r")[-1])
    except (OSError, ValueError, pa.ArrowInvalid) as error:
        raise InputError(f"{chunks}, {offsets}", f"cannot be read ({error})", "Remake them.") from error
    return {"document": pc.count_distinct(documents).as_py(), "chunk": len(documents), "token": n_tokens}


def interval(values: np.ndarray, *, resamples: int, seed: int) -> tuple[float, float]:
    """Return the 95 % percentile-bootstrap interval of a mean over questions (NaN for fewer than two questions)."""
    if len(values) < 2:
        return float("nan"), float("nan")
    result = stats.bootstrap(
        (values,), np.mean, n_resamples=resamples, batch=1000, method="percentile", rng=np.random.default_rng(seed)
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def density(
    *, top_k: int, corpora: Sequence[Mapping[str, Any]], out: Path, resamples: int = 2000, seed: int = 0
) -> dict[str, int]:
    """Write table "density": mean occurrences a question, over the size of the corpus.

    A question's occurrences are the distinct documents (unit "document") or the chunks (units "chunk" and "token")
    among its hits that state its fact; the density is their mean over the questions that the judge could tell,
    divided by the number of documents, chunks or tokens of the corpus. The paper does not say which unit its Table 1
    counts (its densities and its mean occurrences do not agree on one), so all three are given. Retrieval returns at
    most `top_k` chunks a question: `capped` says that some question filled them, so that counts may be cut.

    The interval is a percentile bootstrap over questions; it holds for these questions' sampling alone, not for
    errors of retrieval or of the judge.

    Args:
        top_k: the most hits a question can have.
        corpora: for each pair of a corpus and a culture: corpus, culture, and the paths of questions, hits,
            judgments, chunks, and tokens (the store of the corpus's monolingual stream).
        out: where to write.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        Notes for the record: the number of rows.

    Raises:
        InputError: a table is missing, or hits and judgments do not belong together.
    """
    rows = []
    for entry in corpora:
        questions = tables.read(entry["questions"], ["question_id"])["question_id"].drop_duplicates().tolist()
        hits, judgments = tables.read(entry["hits"]), tables.read(entry["judgments"])
        if _pairs(hits) != _pairs(judgments):
            raise InputError(entry["judgments"], "does not judge the chunks of these hits", "Remake the judgments.")
        counts = positives(questions, hits, judgments)
        size = corpus_size(Path(entry["chunks"]), Path(entry["tokens"]))
        judged = counts[counts["chunks"].notna()]
        for unit in UNITS:
            counted = "documents" if unit == "document" else "chunks"
            values = judged[counted].to_numpy()
            low, high = interval(values, resamples=resamples, seed=seed)
            mean = float(values.mean()) if len(values) else float("nan")
            rows.append(
                {
                    "culture": entry["culture"],
                    "corpus": entry["corpus"],
                    "unit": unit,
                    "denominator": size[unit],
                    "capped": bool((judged["n_hits"] >= top_k).any()),
                    "method": _only(hits["method"]),
                    "judge": _only(judgments["judge"]),
                    "includes_parallel": False,
                    "n_questions": len(judged),
                    "indeterminate": len(counts) - len(judged),
                    "occurrences": mean,
                    "density": mean / size[unit],
                    "lo": low / size[unit],
                    "hi": high / size[unit],
                    "distractor_occurrences": float(judged[f"distractor_{counted}"].mean()),
                }
            )
    tables.write("density", rows, out)
    return {"n_rows": len(rows)}


def _pairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the (question_id, chunk_id) of `rows`, sorted."""
    return sorted(zip(rows["question_id"], rows["chunk_id"], strict=True))


def _only(labels: pd.Series) -> str | None:
    """Return the labels that the rows carry (normally one), or None without rows."""
    return "+".join(sorted(labels.unique())) or None
