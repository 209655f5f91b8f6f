"""What is looked for on behalf of a question: its cloze as judges see it, its subject, its answer, its distractors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import regex

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.trace.analysis import Script

_LETTER = regex.compile(r"\p{L}")
_GRAPHEME = regex.compile(r"\X")
_NOT_A_WORD = regex.compile(r"[^\p{L}\p{M}\p{N}]+")


@dataclasses.dataclass(frozen=True)
class Question:
    """A cloze question as a judge sees it: the text with its blank, the options, and the gold (None if missing)."""

    question_id: str
    text: str
    options: tuple[str, ...]
    gold: str | None


def read_questions(path: Path, lang: str) -> list[Question]:
    """Read the questions of a culture in `lang` from table "questions".

    Raises:
        InputError: no question in that language.
    """
    rows = tables.read(path, ["question_id", "lang", "text", "option_index", "option", "is_gold"])
    rows = rows[rows["lang"] == lang].sort_values(["question_id", "option_index"], kind="stable")
    if rows.empty:
        raise InputError(path, f"no question in language {lang!r}", "Check the language of the question set.")
    return [
        Question(
            question_id=str(question_id),
            text=group["text"].iloc[0],
            options=tuple(group["option"]),
            gold=next(iter(group.loc[group["is_gold"], "option"]), None),
        )
        for question_id, group in rows.groupby("question_id", sort=True)
    ]


def speaks(phrase: str) -> bool:
    """Say whether finding a phrase would mean anything: a number stands everywhere, and so does a single character."""
    return bool(_LETTER.search(phrase)) and len(_GRAPHEME.findall(_NOT_A_WORD.sub("", phrase))) >= 2


def judgeable(option: str | None, text: str, script: Script) -> bool:
    """Say whether finding `option` beside the subject would mean anything.

    It would not for an option that is missing, has no letter (a number stands everywhere), is one character long,
    or is printed in its own question (it then stands beside the subject by its very wording).
    """
    if option is None or not speaks(option):
        return False
    phrase = script.phrase(option)
    return phrase is not None and not phrase.search(script.searchable(script.without_blank(text)))


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is looked for on behalf of a question: phrases of one word or more.

    Attributes:
        question_id: the question.
        terms: the phrases that make its subject where they stand together; none where the question has no subject.
        gold: its answer; None where finding it would mean nothing.
        distractors: the other options that would mean something.
        aliases: phrases each of which alone names the subject as well.
    """

    question_id: str
    terms: tuple[str, ...]
    gold: str | None
    distractors: tuple[str, ...]
    aliases: tuple[str, ...] = ()

    @property
    def wordings(self) -> list[tuple[str, ...]]:
        """The ways to name the subject, each by phrases that stand together; none without a subject."""
        return [self.terms, *((alias,) for alias in self.aliases)] if self.terms else []


def read_asked(subjects: Path, cultures: Sequence[str]) -> list[Asked]:
    """Read what is looked for from table "subjects".

    Args:
        subjects: the table.
        cultures: whose questions.

    Raises:
        InputError: the table has no question of a culture.
    """
    rows = tables.read(subjects, ["question_id", "culture", "terms", "aliases", "gold", "distractors"])
    for culture in cultures:
        if not (rows["culture"] == culture).any():
            raise InputError(subjects, f"no question of culture {culture!r}", "Remake the table with its questions.")
    return [
        Asked(
            row["question_id"],
            tuple(row["terms"]),
            row["gold"] if isinstance(row["gold"], str) else None,
            tuple(row["distractors"]),
            tuple(row["aliases"]),
        )
        for row in rows[rows["culture"].isin(cultures)].to_dict("records")
    ]
