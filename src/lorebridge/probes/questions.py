"""The ``questions`` table of a culture, made of its question files, and the subsets in it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lorebridge import tables
from lorebridge.corpora.released import BLANK, SUBSETS, check_questions, warn
from lorebridge.errors import InputError

log = logging.getLogger("lorebridge.probes")


def build_questions(
    *,
    culture: str,
    langs: Sequence[str],
    known_missing_gold: Sequence[int],
    files: Mapping[str, Path],
    scripts: Mapping[str, str],
    out: Path,
    subset: str | None = None,
) -> dict[str, Any]:
    """Write the ``questions`` table of one culture: a row per language, question and option.

    Args:
        culture, langs, known_missing_gold, files, scripts: see :func:`lorebridge.corpora.released.check_questions`.
        out: the table.
        subset: the subset that the study's numbers are of, which must not be empty. The table does not depend on it.

    Returns:
        Notes for the record: ``questions`` (number by subset), ``dropped`` (0-based rows by subset and reason) and
        ``remarks`` (0-based rows by language and what is odd about the wording).

    Raises:
        InputError: as :func:`lorebridge.corpora.released.check_questions`.
    """
    found = check_questions(
        culture=culture, langs=langs, known_missing_gold=known_missing_gold, files=files, scripts=scripts, subset=subset
    )
    table = [
        {
            "question_id": f"{culture}-{index:04d}",
            "culture": culture,
            "lang": lang,
            "text": item[lang].text,
            "option_index": option_index,
            "option": option,
            "is_gold": option in item[lang].answers,
            "subset": found.subsets[index],
            "n_blanks": len(BLANK.findall(item[lang].text)),
        }
        for lang in langs
        for index, item in enumerate(found.items)
        for option_index, option in enumerate(item[lang].options)
    ]
    tables.write("questions", table, out)
    log.info("%s: %s", culture, ", ".join(f"{n} {name}" for name, n in found.counts.items()))
    return {
        "questions": found.counts,
        "dropped": found.dropped,
        "remarks": {lang: warn(files[lang], [item[lang] for item in found.items]) for lang in langs},
    }


def in_subset(questions: pd.DataFrame, subset: str) -> pd.DataFrame:
    """Return the rows of a ``questions`` table that belong to `subset`.

    Raises:
        ValueError: there is no subset of that name.
    """
    if subset not in SUBSETS:
        raise ValueError(f"no subset {subset!r}; there are {', '.join(SUBSETS)}")
    return questions[[subset in names for names in questions["subset"]]]


def counted(questions: pd.DataFrame, subset: str) -> pd.DataFrame:
    """Return the rows of a ``questions`` table that numbers are made of: those of `subset`, some of each culture.

    Raises:
        InputError: there is no question at all, or a culture has none in the subset.
        ValueError: there is no subset of that name.
    """
    kept = in_subset(questions, subset)
    if questions.empty:
        raise InputError("questions", "there are none", "Remake the table with its rule.")
    for culture in questions["culture"].unique():
        if culture not in set(kept["culture"]):
            n = questions.loc[questions["culture"] == culture, "question_id"].nunique()
            raise InputError(
                f"questions of {culture}",
                f"none of the {n} is in the subset {subset!r}",
                "Mend the questions, or set probing.subset to a larger one (reference holds all).",
            )
    return kept
