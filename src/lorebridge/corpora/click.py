"""CLIcK, the Korean multiple-choice questions that the paper's Korean clozes were made from.

Kim et al. 2024 (LREC-COLING), ``EunsuKim/CLIcK``: a JSON list a file, in
``Dataset/{Culture,Language}/<Category>/<Category>_<Exam>.json``. Zhang et al. (2025, section 3) took culture questions
of at most 300 characters whose choices have at most 30, and had a language model turn them into clozes; the clozes are
released, so nothing downstream needs this. It is for whoever wants to make others.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorebridge.corpora import hub
from lorebridge.errors import InputError

log = logging.getLogger("lorebridge.corpora")

CULTURE = {
    "kind": "huggingface",
    "name": "click",
    "dataset": "EunsuKim/CLIcK",
    "data_files": "Dataset/Culture/*.json",
    "revision": None,
}


@dataclasses.dataclass(frozen=True)
class Question:
    """A multiple-choice question; its texts have no outer white space.

    Attributes:
        id: as published, unique in CLIcK.
        group: ``Culture`` or ``Language``.
        category: such as ``Korean History``.
        exam: where it is from, such as ``KHB``.
        paragraph: what is to be read first; mostly empty.
        question: the question.
        choices: what it offers.
        answer: the place of the answer among `choices`, from 0; None where it is not offered.
    """

    id: str
    group: str
    category: str
    exam: str
    paragraph: str
    question: str
    choices: tuple[str, ...]
    answer: int | None


def read_click(
    spec: Mapping[str, Any] = CULTURE, max_question: int | None = 300, max_choice: int | None = 30
) -> list[Question]:
    """Return the questions of CLIcK that are short enough.

    Args:
        spec: the files, see :func:`lorebridge.corpora.hub.find_files`.
        max_question: the most characters of a question; None takes all.
        max_choice: the most characters of every choice; None takes all.

    Raises:
        InputError: the data set cannot be had, or a file or row does not have the published form.
    """
    files = hub.find_files(spec, (".json",))
    questions = [question for path in files.paths for question in _read(files.label(path), path, files.fetch(path))]
    short = [
        question
        for question in questions
        if (max_question is None or len(question.question) <= max_question)
        and (max_choice is None or all(len(choice) <= max_choice for choice in question.choices))
    ]
    unanswered = [question.id for question in short if question.answer is None]
    if unanswered:
        log.warning("questions that do not offer their answer: %d (%s)", len(unanswered), ", ".join(unanswered[:10]))
    log.info("%d of %d questions are short enough", len(short), len(questions))
    return short


def _read(where: str, path: str, file: Path) -> list[Question]:
    """Return the questions of one file.

    Raises:
        InputError: it does not have the published form.
    """
    mend = "Give a revision whose files are lists of {id, paragraph, question, choices, answer}."
    try:
        items = json.loads(file.read_bytes().decode())
    except ValueError as error:
        raise InputError(where, f"not JSON ({error})", mend) from error
    if not isinstance(items, list):
        raise InputError(where, "not a list", mend)
    group, category, name = ("", "", *path.split("/"))[-3:]
    questions = []
    for number, item in enumerate(items):
        if not _is_question(item):
            raise InputError(f"{where}, row {number}", "not a question of CLIcK", mend)
        choices = tuple(choice.strip() for choice in item["choices"])
        answer = item["answer"].strip()
        questions.append(
            Question(
                id=item["id"],
                group=group,
                category=category,
                exam=Path(name).stem.rpartition("_")[2],
                paragraph=(item.get("paragraph") or "").strip(),
                question=item["question"].strip(),
                choices=choices,
                answer=choices.index(answer) if answer in choices else None,
            )
        )
    return questions


def _is_question(item: Any) -> bool:
    """Return whether a row has the published form."""
    return (
        isinstance(item, dict)
        and all(isinstance(item.get(key), str) for key in ("id", "question", "answer"))
        and isinstance(item.get("paragraph"), str | None)
        and isinstance(item.get("choices"), list)
        and all(isinstance(choice, str) for choice in item["choices"])
    )
