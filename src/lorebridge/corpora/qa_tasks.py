"""How a question on a page is put to a model, and what it is to answer, by task. Light: a dry run reads it.

Rows of tuning and what a model is asked are both made by :func:`put`, so that a tuned model is asked in the words that
it was tuned on. No word of a language stands around a question, hence nothing is translated and a task is the same in
every language. The tasks are those of Yang et al. (paper 002, section 4): open questions, the number of an option, and
questions behind a context in their own language or in English.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

OPEN, MCQ, CONTEXT, CONTEXT_BASE = "open", "mcq", "context", "context_base"
TASKS = {
    OPEN: "the question alone, and the answer is written",
    MCQ: "the question and numbered options, and the number of one is written",
    CONTEXT: "the question behind its context in the same language, and the answer is written",
    CONTEXT_BASE: "the question behind its context in the base language, and the answer is written",
}
"""What a question may be asked as."""
N_OPTIONS = 4
"""The answer and three others."""
FEW = f"fewer than {N_OPTIONS - 1} wrong options"
NO_CONTEXT = "no context"


@dataclasses.dataclass(frozen=True)
class Put:
    """A question as it is put.

    Attributes:
        prompt: what is asked, to stand in a template.
        answer: what is to be written behind it: the first of the answers that are right, or the number of the option.
        options: of task ``mcq``, in the order of their numbers.
        gold: the place of the right one among them, from 0; None where there are none.
    """

    prompt: str
    answer: str
    options: tuple[str, ...] = ()
    gold: int | None = None


def put(task: str, row: Mapping[Any, Any], *, seed: int = 0, base_context: str = "") -> Put | str:
    """Return a question as it is put for a task, or why it cannot be.

    Args:
        task: a key of :data:`TASKS`.
        row: of the table ``qa``: ``question_id``, ``question``, ``answers``, ``negatives`` and ``context``.
        seed: of the order of options, which depends on it and on the question's id alone: in every language and for
            every model an option has the same number.
        base_context: the question's context in the base language.

    Raises:
        ValueError: there is no such task.

    >>> row = {"question_id": "q", "question": "Who?", "answers": ["A"], "negatives": ["B", "C", "D"], "context": "A."}
    >>> put("open", row)
    Put(prompt='Who?', answer='A', options=(), gold=None)
    >>> print(put("mcq", row).prompt)
    Who?
    1. A
    2. C
    3. D
    4. B
    >>> put("mcq", row).answer, put("context", row | {"context": ""})
    ('1', 'no context')
    """
    question, answer = str(row["question"]), _line(row["answers"][0])
    if task == OPEN:
        return Put(question, answer)
    if task in (CONTEXT, CONTEXT_BASE):
        context = str(row["context"] or "") if task == CONTEXT else base_context
        return Put(f"{context.strip()}\n\n{question}", answer) if context.strip() else NO_CONTEXT
    if task != MCQ:
        raise ValueError(f"no task {task!r}; there are {', '.join(TASKS)}")
    if len(row["negatives"]) < N_OPTIONS - 1:
        return FEW
    listed = [answer, *(_line(row["negatives"][at]) for at in range(N_OPTIONS - 1))]
    order = sorted(range(N_OPTIONS), key=lambda at: _turn(str(row["question_id"]), seed, at))
    options, gold = tuple(listed[at] for at in order), order.index(0)
    lines = [question, *(f"{number}. {option}" for number, option in enumerate(options, 1))]
    return Put("\n".join(lines), str(gold + 1), options, gold)


def _line(text: str) -> str:
    """Return a text in one line, as an answer ends with its line."""
    return " ".join(str(text).split())


def _turn(question_id: str, seed: int, at: int) -> bytes:
    return hashlib.sha256(json.dumps([question_id, seed, at]).encode()).digest()


def put_all(
    task: str, rows: Sequence[Mapping[Any, Any]], *, base: str, seed: int = 0, among: Iterable[Mapping[Any, Any]] = ()
) -> tuple[list[tuple[Mapping[Any, Any], Put]], Counter[str]]:
    """Return the questions that can be put for a task, each with its row, and how many cannot, by reason.

    Args:
        task: a key of :data:`TASKS`.
        rows: of the table ``qa``.
        base: the base language.
        seed: see :func:`put`.
        among: where contexts in the base language are looked up, too, beside `rows`.
    """
    contexts = {str(row["question_id"]): str(row["context"] or "") for row in (*among, *rows) if row["lang"] == base}
    found, left_out = [], Counter[str]()
    for row in rows:
        said = put(task, row, seed=seed, base_context=contexts.get(str(row["question_id"]), ""))
        if isinstance(said, str):
            left_out[said] += 1
        else:
            found.append((row, said))
    return found, left_out


_NUMBER = re.compile(r"[(\[]?([1-9])[)\].,:;]*")


def chosen(answer: str, n_options: int = N_OPTIONS) -> int | None:
    """Return the place, from 0, of the option whose number an answer begins with; None where it begins otherwise.

    The number is the first word, perhaps with brackets or a stop: what a model writes before or in place of it is no
    choice.

    >>> chosen("2"), chosen("(3) Rome"), chosen("4."), chosen("5"), chosen("12"), chosen("option 2"), chosen("")
    (1, 2, 3, None, None, None, None)
    """
    words = answer.split()
    found = _NUMBER.fullmatch(words[0]) if words else None
    number = int(found[1]) if found else 0
    return number - 1 if 1 <= number <= n_options else None
