"""What is told of each language: its precision, what is known of its objects, its size; beside what the paper prints.

Drawn from it are Figure 2 and Tables 1 and 2 of Zhao et al. (EACL 2024).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from lorebridge import tables
from lorebridge.studies.roots.published import MODELS, ONE_TOKEN, ONE_TOKEN_P1, read_languages
from lorebridge.transfer.correlates import read_volumes
from lorebridge.transfer.precision import checkpoints

SCHEMA = pa.schema(
    {
        "run": pa.string(),
        "step": pa.int32(),
        "printed": pa.bool_(),
        "lang": pa.string(),
        "measure": pa.string(),
        "value": pa.float64(),
    }
)
P1, FACTS, ONE_P1, ONE_OBJECTS, ONE_SHARE = MEASURES = (
    "p1",
    "facts",
    "one-token p1",
    "one-token objects",
    "one-token share",
)
"""Of a model in a language: precision on all facts, how many there are, precision on those whose object is one piece,
how many such objects there are, and which share of the facts has one."""


def language_measures(
    *,
    scores: Sequence[Path],
    facts: Path,
    out: Path,
    volumes: Path | str | None = None,
    columns: Sequence[str] = (),
    languages: Path | str | None = None,
) -> None:
    """Write the measures of each language, a row a model, checkpoint, language and measure.

    What the paper prints has its models' names and ``printed``; sizes of languages have no ``run``. Shares are of 1.

    Args:
        scores: tables "fact_scores", one a model.
        facts: the table "facts".
        out: the table to write.
        volumes, columns: see :func:`lorebridge.transfer.correlates.correlates`.
        languages: the paper's numbers by language (:func:`lorebridge.studies.roots.published.read_languages`).

    Raises:
        InputError: a file cannot be read, or lacks a column.
    """
    about = tables.read(facts, ["fact_id", "lang", "object_id"])
    asked = set(about["lang"])
    rows: list[dict[str, Any]] = []
    for path in scores:
        for named, said in checkpoints(tables.read(path)):
            rows += [{**named, "printed": False, **row} for row in measured(said, about)]
    if volumes is not None:
        sizes = read_volumes(volumes, columns).melt("lang", var_name="measure").dropna(subset=["value"])
        rows += [
            {"run": None, "step": None, "printed": False, "lang": lang, "measure": measure, "value": value}
            for lang, measure, value in sizes[["lang", "measure", "value"]].itertuples(index=False)
        ]
    if languages is not None:
        rows += [{"step": None, "printed": True, **row} for row in printed(read_languages(languages))]
    tables.write(SCHEMA, [row for row in rows if row["lang"] in asked], out)


def measured(scores: pd.DataFrame, facts: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield what a model shows of each language; of pieces nothing where they are not known, of causal models.

    An object counts once, by the label that it has last: as the counts of the paper's Table 1 are made.

    Args:
        scores: rows of the table "fact_scores" of one checkpoint.
        facts: ``fact_id, lang, object_id``.
    """
    for lang, rows in scores.groupby("lang", sort=False):
        said: dict[str, float] = {P1: rows["exact"].mean(), FACTS: len(rows)}
        if rows["n_masks"].notna().any():
            one = (rows["n_masks"] == 1).fillna(False).to_numpy(bool)
            last = rows.assign(one=one).merge(facts, on=["fact_id", "lang"]).drop_duplicates("object_id", keep="last")
            said |= {ONE_SHARE: one.mean(), ONE_OBJECTS: int(last["one"].sum())}
            said |= {ONE_P1: rows.loc[one, "exact"].mean()} if one.any() else {}
        for measure, value in said.items():
            yield {"lang": lang, "measure": measure, "value": float(value)}


def printed(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield what the paper prints of each language in its Tables 1 and 2, and how many facts that is of.

    Args:
        table: from :func:`lorebridge.studies.roots.published.read_languages`.
    """
    for place, (model, name) in enumerate(MODELS.items()):
        for lang, p1, n in table[["lang", f"p1_{model}_paper", "rows"]].itertuples(index=False):
            said = {P1: p1 / 100, FACTS: n}
            if lang in ONE_TOKEN:
                said |= {ONE_OBJECTS: ONE_TOKEN[lang][place], ONE_P1: ONE_TOKEN_P1[lang][place] / 100}
            for measure, value in said.items():
                yield {"run": name, "lang": lang, "measure": measure, "value": float(value)}
