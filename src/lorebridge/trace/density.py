"""How densely a corpus states the facts that a culture's questions ask for (paper 000, Table 1)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import scipy

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.trace.judges import INDETERMINATE, YES, CoOccurrence
from lorebridge.trace.occurrences import MONO, PAIRS

log = logging.getLogger("lorebridge.trace")

UNITS = ("document", "chunk", "token")

EXACT = "exact"
"""The method of rows that come from table "occurrences": every text is counted, none is retrieved."""

EDGE = 10  # the last tenth of a list of hits


def positives(questions: Sequence[str], hits: pd.DataFrame, judgments: pd.DataFrame) -> pd.DataFrame:
    """Count, for each question, the retrieved texts that state its fact.

    Args:
        questions: all question ids of the culture.
        hits: rows of table "hits".
        judgments: rows of table "judgments" for the same hits.

    Returns:
        Indexed by question_id: documents, chunks (float; NaN where the judge could tell of no chunk),
        distractor_documents, distractor_chunks (those that would state a distractor, mean over the distractors; NaN
        where none can be judged), n_hits, last (the lowest rank that states the fact; 0 for none).
        A question without a hit counts zero: nothing in the corpus shares a word with it; but no distractor counts
        where the judge asked of none (a language model).
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
            "last": stated.groupby("question_id")["rank"].max(),
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
    try:
        documents = pq.read_table(chunks, columns=["doc_id"], page_checksum_verification=True)["doc_id"]
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(chunks, f"cannot be read as a Parquet table ({error})", "Remake it with its rule.") from error
    n_tokens = int(_offsets(tokens)[-1])
    return {"document": pc.count_distinct(documents).as_py(), "chunk": len(documents), "token": n_tokens}


def _offsets(tokens: Path) -> npt.NDArray[np.int64]:
    """Return the offsets of a token store."""
    path = tokens / "offsets.npy"
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(path, f"cannot be read ({error})", "Remake the store with its rule.") from error


def interval(values: np.ndarray, *, resamples: int, seed: int) -> tuple[float, float]:
    """Return the 95 % percentile-bootstrap interval of a mean over questions.

    NaN for fewer than two questions, and where all are alike: a count has no upper bound, so that nothing is known of
    what none has shown.
    """
    if len(values) < 2 or np.ptp(values) == 0:
        return float("nan"), float("nan")
    result = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=resamples, batch=1000, method="percentile", rng=np.random.default_rng(seed)
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def density(
    *,
    top_k: int,
    corpora: Sequence[Mapping[str, Any]],
    occurrences: Path,
    out: Path,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, int]:
    """Write table "density": mean occurrences a question, over the size of the corpus.

    A question's occurrences are the distinct documents (unit "document") or the chunks (units "chunk" and "token")
    that state its fact; the density is their mean over the questions that could be told, divided by the number of
    documents, chunks or tokens of the text. The paper's unit is the document: it normalizes "the count of knowledge
    appearance by the total number of documents in the corpus" (Zhang et al., ACL 2025, section 4). What it counts it
    does not say, distinct documents or the chunks into which they are split (appendix C.3), and its densities times the
    number of documents do not give its mean occurrences; so chunks and tokens stand beside.

    They are counted in two ways. Among a question's hits, as the paper does: retrieval returns at most `top_k` chunks,
    so a count may be cut short. It may where the list is full and a text in its last tenth still states the fact;
    ``n_capped`` is the number of such questions, ``capped`` whether there are any. And, as method "exact", over every
    text of the corpus by the rule of the judge of co-occurrence, without a cap: in the monolingual corpus, and in it
    and the parallel text together (``includes_parallel``; a half of a pair is one document and one chunk).

    The interval is a percentile bootstrap over questions; it holds for these questions' sampling alone, not for
    errors of retrieval or of the judge.

    Args:
        top_k: the most hits a question can have.
        corpora: for each pair of a corpus and a culture: corpus, culture, and the paths of questions, hits,
            judgments, chunks, tokens (the store of the corpus's monolingual stream) and pair_tokens (the store of the
            halves in the corpus's language of the culture's parallel text).
        occurrences: table "occurrences" with both texts of each of these corpora and cultures.
        out: where to write.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        Notes for the record: the number of rows.

    Raises:
        InputError: a table is missing or lacks a corpus, or hits and judgments do not belong together.
    """
    counted = tables.read(occurrences)
    rows = []
    for entry in corpora:
        questions = tables.read(entry["questions"], ["question_id"])["question_id"].drop_duplicates().tolist()
        hits, judgments = tables.read(entry["hits"]), tables.read(entry["judgments"])
        if _pairs(hits) != _pairs(judgments):
            raise InputError(entry["judgments"], "does not judge the chunks of these hits", "Remake the judgments.")
        exact = _exact(counted, entry["corpus"], entry["culture"], questions, occurrences)
        absent = exact[MONO]["absent"].astype(bool)
        size = corpus_size(Path(entry["chunks"]), Path(entry["tokens"]))
        found = positives(questions, hits, judgments)
        is_capped = (found["n_hits"] >= top_k) & (found["last"] > top_k - max(1, top_k // EDGE))
        common = {"culture": entry["culture"], "corpus": entry["corpus"]}
        labels = {"method": _only(hits["method"]), "judge": _only(judgments["judge"]), "includes_parallel": False}
        rows += _rows(found, size, {**common, **labels}, absent, is_capped, resamples, seed)
        with_pairs = exact[MONO] + exact[PAIRS]
        for counts, n, parallel in (
            (exact[MONO], size, False),
            (with_pairs, _with_pairs(size, Path(entry["pair_tokens"])), True),
        ):
            labels = {"method": EXACT, "judge": CoOccurrence.name, "includes_parallel": parallel}
            rows += _rows(counts, n, {**common, **labels}, absent, absent & False, resamples, seed)
    tables.write("density", rows, out)
    return {"n_rows": len(rows)}


def _exact(
    counted: pd.DataFrame, corpus: str, culture: str, questions: Sequence[str], path: Path
) -> dict[str, pd.DataFrame]:
    """Return the exact counts of a culture in both texts of a corpus, with the columns of :func:`positives`."""
    exact = {}
    for text in (MONO, PAIRS):
        rows = counted[
            (counted["corpus"] == corpus) & (counted["culture"] == culture) & (counted["text"] == text)
        ].set_index("question_id")
        # There may be more: counted are all questions of a culture, of which a study may ask a sample.
        if missing := set(questions) - set(rows.index):
            raise InputError(
                path,
                f"lacks {len(missing)} questions of {culture!r} in the {text} text of {corpus!r}",
                "Remake the occurrences.",
            )
        columns = ["n_both", "n_chunks", "distractor_documents", "distractor_chunks", "absent"]
        exact[text] = (
            rows.loc[list(questions), columns]
            .astype(float)
            .rename(columns={"n_both": "documents", "n_chunks": "chunks"})
        )
    return exact


def _rows(
    counts: pd.DataFrame,
    size: Mapping[str, int],
    labels: Mapping[str, Any],
    absent: pd.Series,
    is_capped: pd.Series,
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Return a row of table "density" for each unit."""
    judged = counts[counts["chunks"].notna()]
    rows = []
    for unit in UNITS:
        column = "documents" if unit == "document" else "chunks"
        values = judged[column].to_numpy()
        low, high = interval(values, resamples=resamples, seed=seed)
        mean = float(values.mean()) if len(values) else float("nan")
        rows.append(
            {
                **labels,
                "unit": unit,
                "denominator": size[unit],
                "capped": bool(is_capped[judged.index].any()),
                "n_questions": len(judged),
                "indeterminate": len(counts) - len(judged),
                "n_capped": int(is_capped[judged.index].sum()),
                "n_absent": int(absent[judged.index].sum()),
                "occurrences": mean,
                "density": mean / size[unit],
                "lo": low / size[unit],
                "hi": high / size[unit],
                "distractor_occurrences": float(judged[f"distractor_{column}"].mean()),
            }
        )
    return rows


def _with_pairs(size: Mapping[str, int], pair_tokens: Path) -> dict[str, int]:
    """Return the size of a corpus and one side of parallel text together."""
    offsets = _offsets(pair_tokens)
    n_pairs = len(offsets) - 1
    return {
        "document": size["document"] + n_pairs,
        "chunk": size["chunk"] + n_pairs,
        "token": size["token"] + int(offsets[-1]),
    }


def _pairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the (question_id, chunk_id) of `rows`, sorted."""
    return sorted(zip(rows["question_id"], rows["chunk_id"], strict=True))


def _only(labels: pd.Series) -> str | None:
    """Return the labels that the rows carry (normally one), or None without rows."""
    return "+".join(sorted(labels.unique())) or None
