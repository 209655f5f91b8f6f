"""How often models are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from lorebridge import tables
from lorebridge.probes.decisions import accuracy

SCHEMA = pa.schema(
    {"run": pa.string(), "step": pa.int32(), "lang": pa.string(), "n_questions": pa.int32(), "right": pa.float64()}
)


def counts(
    *, scores: Sequence[Path], questions: Mapping[str, Path], langs: Sequence[str], subset: str, rule: str, out: Path
) -> dict[str, int]:
    """Count the right answers of every model at every checkpoint, in some languages.

    Args:
        scores: tables "scores", one a model.
        questions: culture -> table "questions".
        langs: the languages asked in.
        subset: of the questions.
        rule: what makes an option the answer.
        out: the table to write; the step of a model that is given is missing.

    Returns:
        Notes for the record: ``rows``.
    """
    asked = pd.concat([tables.read(path) for path in questions.values()], ignore_index=True)
    answered = pd.concat([tables.read(path) for path in scores], ignore_index=True)
    credits = accuracy(answered, asked, subset=subset, rule=rule)
    found = (
        credits[credits["lang"].isin(langs)]
        .groupby(["run", "step", "lang"], dropna=False)["credit"]
        .agg(n_questions="size", right="sum")
        .reset_index()
    )
    found["step"] = found["step"].astype("Int32")
    tables.write(SCHEMA, found, out)
    return {"rows": len(found)}
