"""Multiple-choice questions in the form of CLIcK, which the paper's Korean clozes were made from.

Kim et al. 2024 (LREC-COLING), ``EunsuKim/CLIcK``: a JSON list a file, in
``Dataset/{Culture,Language}/<Category>/<Category>_<Exam>.json``. Each row is ``{"id", "paragraph", "question",
"choices", "answer"}``; the paragraph, which is to be read first, may be missing.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorebridge.corpora import hub
from lorebridge.corpora.specs import unique_keys
from lorebridge.errors import InputError

_HALF = re.compile("[\ud800-\udfff]")
SPACE = " \t\r\n"
"""What stands around a text without belonging to it. Not all that Unicode calls white space: U+202F begins suffixes of
Mongolian."""


@dataclasses.dataclass(frozen=True)
class Question:
    """A multiple-choice question; its texts have no outer white space.

    Attributes:
        id: as published.
        paragraph: what is to be read first; mostly empty.
        question: the question.
        choices: what it offers.
        answer: the place of the answer among `choices`, from 0; None where it is not offered.
    """

    id: str
    paragraph: str
    question: str
    choices: tuple[str, ...]
    answer: int | None


def read_click(spec: Mapping[str, Any]) -> list[Question]:
    """Return the questions of a data set on the hub.

    Args:
        spec: the files, see :func:`lorebridge.corpora.hub.find_files`; those of the paper are
            ``{"dataset": "EunsuKim/CLIcK", "data_files": "Dataset/Culture/*.json", "revision": COMMIT}``.

    Raises:
        InputError: the data set cannot be had, a file or row does not have the published form, or an id stands twice.
    """
    files = hub.find_files(spec, (".json",))
    return _unique([(files.label(path), _read(files.label(path), files.fetch(path))) for path in files.paths])


def read_file(path: Path) -> list[Question]:
    """Return the questions of a file.

    Raises:
        InputError: it does not have the published form, or an id stands twice.
    """
    return _unique([(str(path), _read(str(path), path))])


def _unique(files: list[tuple[str, list[Question]]]) -> list[Question]:
    """Return the questions of some files, given with their names."""
    seen: dict[str, str] = {}
    for where, questions in files:
        for row, question in enumerate(questions):
            if question.id in seen:
                raise InputError(
                    f"{where}, row {row}",
                    f"the id {question.id} stands twice (first in {seen[question.id]})",
                    "Give every question an id of its own.",
                )
            seen[question.id] = f"{where}, row {row}"
    return [question for _, questions in files for question in questions]


def _read(where: str, file: Path) -> list[Question]:
    mend = "Give a list of {id, paragraph, question, choices, answer}."
    try:
        items = json.loads(file.read_bytes().decode("utf-8-sig"), object_pairs_hook=unique_keys())
    except OSError as error:
        raise InputError(where, f"cannot be read ({error.strerror})", "Give the path of a question file.") from error
    except ValueError as error:
        raise InputError(where, f"not JSON ({error})", mend) from error
    if not isinstance(items, list):
        raise InputError(where, "not a list", mend)
    questions = []
    for number, item in enumerate(items):
        if not _is_question(item):
            raise InputError(f"{where}, row {number}", "not a multiple-choice question", mend)
        choices = tuple(choice.strip(SPACE) for choice in item["choices"])
        answer = item["answer"].strip(SPACE)
        questions.append(
            Question(
                id=item["id"],
                paragraph=(item.get("paragraph") or "").strip(SPACE),
                question=item["question"].strip(SPACE),
                choices=choices,
                answer=choices.index(answer) if answer in choices else None,
            )
        )
    return questions


def _is_question(item: Any) -> bool:
    """Return whether a row has the published form; half a character, which JSON can spell, is no text."""
    return (
        isinstance(item, dict)
        and all(isinstance(item.get(key), str) for key in ("id", "question", "answer"))
        and isinstance(item.get("paragraph"), str | None)
        and isinstance(item.get("choices"), list)
        and all(isinstance(choice, str) for choice in item["choices"])
        and not _HALF.search(json.dumps(item, ensure_ascii=False))
    )
