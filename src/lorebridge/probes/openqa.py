"""The table of questions that are answered freely."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorebridge import tables
from lorebridge.corpora.openqa import read_open


def build_open_questions(
    *,
    dataset: str,
    shape: str,
    path: Path | str,
    langs: Sequence[str],
    translation: str = "human",
    files: Sequence[str] = (),
    out: Path,
) -> dict[str, Any]:
    """Write the table ``open_questions`` of a set.

    Args:
        dataset: its name.
        shape, path, langs, translation: see :func:`lorebridge.corpora.openqa.read_open`.
        files: its files that the plan knows by their content; not read here.
        out: the table, a row a question and language.

    Returns:
        Notes for the record: ``questions`` by source language, ``wordings`` by language, and what was left out.

    Raises:
        InputError: as :func:`lorebridge.corpora.openqa.read_open`.
    """
    found = read_open(shape, path, langs, translation=translation)
    tables.write(
        "open_questions", [{"dataset": dataset, **dataclasses.asdict(question)} for question in found.questions], out
    )
    sources = {question.question_id: question.source_lang or "none" for question in found.questions}
    return {
        "questions": dict(Counter(sources.values())),
        "wordings": dict(Counter(question.lang for question in found.questions)),
        **found.left_out,
    }
