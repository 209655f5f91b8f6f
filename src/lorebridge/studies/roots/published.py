"""What Zhao et al. (EACL 2024) prints, beside what its own data give."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from lorebridge import sheets, tables
from lorebridge.errors import InputError
from lorebridge.transfer.absent import NAMING_CUE, OTHER, SHARED_TOKENS
from lorebridge.transfer.correlates import correlation
from lorebridge.transfer.precision import RULES, baselines

SCHEMA = pa.schema(
    {
        "where": pa.string(),
        "what": pa.string(),
        "printed": pa.float64(),
        "found": pa.float64(),
        "lo": pa.float64(),
        "hi": pa.float64(),
        "why": pa.string(),
    }
)
MODELS = {"mbert": "mBERT", "xlmr": "XLM-R"}
COLUMNS = (
    "lang",
    "rows",
    "article_kib_author",
    "abstract_kib_author",
    *(
        column.format(model)
        for model in MODELS
        for column in ("p1_{}_paper", "{}_one_token_objects", "{}_one_token_row_share", "{}_mean_masks_rows")
    ),
)
"""What the file holds of each language: P@1 (percent) of both models as in Table 2, how many facts it has in mLAMA, the
authors' sizes of abstracts and articles (KiB), and of each tokenizer how many objects and which share of the facts have
one piece, and the mean number of pieces."""
# Section 3 and Table 1, Table 2: what is printed.
AVERAGE = {"mbert": 8.85, "xlmr": 6.88}
VOLUME = {"abstract": 0.44, "article": 0.51}
PIECES = {"mbert": -0.81, "xlmr": -0.74}
ONE_TOKEN = {"it": (1675, 923), "ja": (126, 244), "af": (498, 333)}
ONE_TOKEN_P1 = {"it": (15.27, 13.67), "ja": (15.34, 14.73), "af": (17.00, 16.58)}
# Section 5: absent and right facts by class, percent "on average" (of all languages pooled).
CLASS_SHARES = {SHARED_TOKENS: 25.8, NAMING_CUE: 22.0, OTHER: 52.2}


def published(*, languages: Path | str, facts: Path, base: str, out: Path) -> None:
    """Write what the paper prints beside what its data give, with the reason where they differ.

    Args:
        languages: a CSV file with :data:`COLUMNS`, a row a language.
        facts: the table "facts", of which the majority answer is taken.
        base: the language that correlations are also told without; empty for none.
        out: the table to write.

    Raises:
        InputError: the file cannot be read, or lacks a column.
    """
    tables.write(SCHEMA, [*recomputed(read_languages(languages), base), _majority(tables.read(facts))], out)


def read_languages(path: Path | str) -> pd.DataFrame:
    """Return the paper's numbers by language.

    Raises:
        InputError: the file cannot be read, or lacks a column.
    """
    sheets.refuse_odd_table(path, COLUMNS)
    try:
        table = pd.read_csv(path, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read ({' '.join(str(error).split())})", "Give a CSV file.") from error
    if lost := [column for column in COLUMNS if column not in table]:
        raise InputError(path, f"has no column {lost[0]!r}", "docs/roots.md lists the columns.")
    return table


def recomputed(table: pd.DataFrame, base: str = "") -> Iterator[dict[str, Any]]:
    """Yield the rows that need no facts.

    Args:
        table: from :func:`read_languages`.
        base: see :func:`published`.
    """
    nothing = {"lo": None, "hi": None}
    for model, printed in AVERAGE.items():
        p1 = table[f"p1_{model}_paper"]
        micro = float(np.average(p1, weights=table["rows"]))
        yield {
            "where": "Table 2",
            "what": f"{MODELS[model]}, average (macro) P@1, %",
            "printed": printed,
            "found": float(p1.mean()),
            **nothing,
            "why": f"what is printed is the micro average, {micro:.2f} over {table['rows'].sum():,} facts",
        }
    p1 = table["p1_mbert_paper"]
    for size, printed in VOLUME.items():
        x = table[f"{size}_kib_author"]
        found = correlation(x.to_numpy(), p1.to_numpy(), "pearson")
        others = table["lang"] != base
        without = correlation(x[others].to_numpy(), p1[others].to_numpy(), "pearson")["r"]
        yield {
            "where": "section 3",
            "what": f"Pearson of P@1 (mBERT) with the size of {size}s, {len(table)} languages",
            "printed": printed,
            "found": found["r"],
            "lo": found["lo"],
            "hi": found["hi"],
            "why": "the two labels are swapped, with the sizes that the authors publish"
            + (f"; without {base} {_said(without)}" if base and not others.all() else ""),
        }
    for model, printed in PIECES.items():
        p1 = table[f"p1_{model}_paper"]
        found = correlation(table[f"{model}_mean_masks_rows"].to_numpy(), p1.to_numpy(), "pearson")
        share = correlation(table[f"{model}_one_token_row_share"].to_numpy(), p1.to_numpy(), "pearson")["r"]
        yield {
            "where": "section 3",
            "what": f"Pearson of P@1 ({MODELS[model]}) with the number of subwords, {len(table)} languages",
            "printed": printed,
            "found": found["r"],
            "lo": found["lo"],
            "hi": found["hi"],
            "why": "the paper's unit is no language but a number of masks (9 and 6 points); over languages, with the "
            f"share of facts whose object is one piece it is {_said(share, '+.2f')}",
        }
    rows = table.set_index("lang")
    for lang, counts in ONE_TOKEN.items():
        for model, printed in zip(MODELS, counts, strict=True):
            if lang in rows.index:
                yield {
                    "where": "Table 1",
                    "what": f"{MODELS[model]}, one-token entities, {lang}",
                    "printed": float(printed),
                    "found": float(rows[f"{model}_one_token_objects"][lang]),
                    **nothing,
                    "why": "",
                }


def _said(r: float | None, how: str = ".2f") -> str:
    """Return a correlation; a dash where nothing varies."""
    return "–" if r is None else format(r, how)


def _majority(facts: pd.DataFrame) -> dict[str, Any]:
    """Return the row of the answer that needs no model."""
    needless = baselines(facts)
    gold = needless[needless["rule"] == RULES[0]]
    return {
        "where": "nowhere",
        "what": f"majority answer of each relation, %, {len(facts):,} facts in {facts['lang'].nunique()} languages",
        "printed": None,
        "found": 100 * float(gold["majority_fitted"].mean()),
        "lo": None,
        "hi": None,
        "why": "it needs no model, and the paper has no such baseline: compare with 8.85 and 6.88. Fitted on the facts "
        f"that it answers; learned from other facts {100 * float(gold['majority'].mean()):.1f}",
    }
