"""How often a corpus states each fact: exact counts over every text, beside what retrieval finds.

They are uncapped and rank nothing, so they do not miss what a retriever ranks low; but they find a fact only where its
subject and its answer stand as the question writes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.trace.mentions import read_mentions

MONO, PAIRS = "mono", "pairs"

# The answer stands out where so many times as many documents have it beside the subject as have a distractor there.
STANDS_OUT = 2

# How a count over the mentions of a question is made, and what must be known of the question to make it.
_COUNTS = {
    "n_subject": ("subject", "named"),
    "n_object": ("object", "answered"),
    "n_both": ("stated", "told"),
    "n_chunks": ("n_chunks", "told"),
    "n_statements": ("n_statements", "told"),
    "distractor_documents": ("distractor_documents", "controlled"),
    "distractor_chunks": ("distractor_chunks", "controlled"),
}


def occurrences(*, texts: Sequence[Mapping[str, Any]], out: Path) -> dict[str, int]:
    """Count the mentions of every question in every text, and write table "occurrences".

    Args:
        texts: for each pair of a text and a culture: corpus (the language), culture, text ("mono", or "pairs" for the
            halves in that language of the culture's parallel text), and the paths of subjects, mentions and tokens (the
            text's token store, which says how large it is).
        out: where to write.

    Returns:
        Notes for the record: the number of rows.

    Raises:
        InputError: a table or store is missing or is none, or the subjects lack the culture.
    """
    frames = []
    for entry in texts:
        asked = tables.read(entry["subjects"])
        asked = asked[asked["culture"] == entry["culture"]].set_index("question_id")
        if asked.empty:
            raise InputError(entry["subjects"], f"no question of culture {entry['culture']!r}", "Remake the table.")
        known = pd.DataFrame({"named": asked["terms"].str.len() > 0, "answered": asked["gold"].notna()})
        known["told"] = known["named"] & known["answered"]
        known["controlled"] = known["named"] & (asked["distractors"].str.len() > 0)
        columns = ["subject", "object", "n_chunks", "n_statements", "distractor_documents", "distractor_chunks"]
        rows = read_mentions(entry["mentions"], columns)
        rows = rows[rows["question_id"].isin(asked.index)].assign(stated=rows["n_chunks"] > 0)
        summed = rows.groupby("question_id", observed=True)[[source for source, _ in _COUNTS.values()]].sum()
        summed.index = summed.index.astype(object)
        summed = summed.reindex(asked.index, fill_value=0)
        size = _size(Path(entry["tokens"]))
        frame = pd.DataFrame(
            {
                "culture": entry["culture"],
                "corpus": entry["corpus"],
                "text": entry["text"],
                "n_documents": size["n_documents"],
                "n_tokens": size["n_tokens"],
                "absent": [0 in list(counts) for counts in asked["n_chunks"]],
            },
            index=asked.index,
        )
        for name, (source, condition) in _COUNTS.items():
            frame[name] = summed[source].convert_dtypes().where(known[condition])
        frame["stands_out"] = stands_out(frame["n_both"], frame["distractor_documents"])
        frames.append(frame.rename_axis("question_id").reset_index())
    table = pd.concat(frames, ignore_index=True)
    tables.write("occurrences", table, out)
    return {"n_rows": len(table)}


def stands_out(with_gold: pd.Series, with_distractor: pd.Series) -> pd.Series:
    """Say whether a text has the answer beside the subject more often than subjects stand beside what is no answer.

    Documents mention a subject beside things that the question asks for in vain, and beside the answer without saying
    so. What a text does to the distractors it does to the answer, too: only where the answer has more than
    :data:`STANDS_OUT` times the documents of a distractor does its standing there say that the fact is stated.

    Args:
        with_gold: documents with subject and answer in one window, by question; missing where they cannot be told.
        with_distractor: documents with subject and distractor, mean over distractors; missing where none can be told.

    Returns:
        boolean, missing where `with_gold` is; a question without a distractor has nothing to stand out from.
    """
    apart = with_gold.astype("Float64") > STANDS_OUT * with_distractor.astype("Float64").fillna(0.0)
    return apart.astype("boolean").where(with_gold.notna())


def _size(tokens: Path) -> dict[str, int]:
    """Return the documents and tokens of a token store."""
    path = tokens / "store.json"
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
        return {"n_documents": notes["n_documents"], "n_tokens": notes["n_tokens"]}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(path, f"cannot be read ({error})", "Remake the store with its rule.") from error
