"""Questions on pages, from the shapes that sets of them come in, in one table: each belongs to a page, and to a split.

What is asked of models from whose text pages were taken must name the page that it was made from, so that a row without
one is counted and left out. A question stands in the table in every language that its set has, or in none.
"""

from __future__ import annotations

import dataclasses
import html
import unicodedata
import urllib.parse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorebridge import tables
from lorebridge.corpora.facts import json_file, json_rows
from lorebridge.errors import InputError
from lorebridge.normalisation import folded

TEST, TRAIN, BOTH, NEITHER = SPLITS = ("test", "train", "both", "neither")
"""What a question is for: its page is taken out; it is what models are tuned on; all languages keep its page, whatever
is taken out; no text states it."""
NO_PAGE = "no page"
ELSEWHERE = "its page is not among those that all languages have"
SEVERAL = "several pages have its title"
EMPTY = "an empty answer"
LACKS = "not in every language of its set"


@dataclasses.dataclass
class Wording:
    """A question as a language has it.

    Attributes:
        question: the wording.
        answers: all that are right, at least one.
        negatives: wrong ones that are offered beside.
        context: the text that it was made from; empty where the set has none.
    """

    question: str
    answers: list[str]
    negatives: list[str] = dataclasses.field(default_factory=list)
    context: str = ""


@dataclasses.dataclass
class Question:
    """A row of a set.

    Attributes:
        where: file and row, for messages.
        question_id: its name, the same in every language.
        title: of its page, in the base language; empty where the set says none.
        page_id: of its page, where the set says it.
        split: where the row says it; else that of its file.
        wordings: language -> how it is asked there. A wording without a question or an answer is not there.
        empty: whether one lacks because its answer is empty.
    """

    where: str
    question_id: str
    title: str
    page_id: str | None
    split: str | None
    wordings: dict[str, Wording]
    empty: bool = False


Shape = Callable[[Path, Sequence[str], str, Counter[str]], Iterator[Question]]
"""Yields the questions of a file in some languages (the base among them, which is told), notes what it leaves out."""


def build_qa(
    *,
    files: Sequence[Mapping[str, str | None]],
    paths: Sequence[Path],
    langs: Sequence[str],
    base: str,
    out: Path,
    pages: Path | None = None,
) -> dict[str, Any]:
    """Write the table ``qa`` of some files.

    Args:
        files: of each file its ``shape``, a key of :data:`SHAPES`; its ``split``, one of :data:`SPLITS`, or None where
            its rows say it; and ``lang`` where a file holds one language (shape ``squad``): files of the same shape and
            split are one set, whose ids say which rows are the same question.
        paths: of the files, in the order of `files`.
        langs: codes of the languages.
        base: the one in which titles are.
        out: the table to write: a question with its languages one after the other.
        pages: the table ``pages``: a question whose page is not there is left out; its page is that of its
            ``page_id``, or else that of its title in `base`. None keeps what the set says. Questions of the split
            ``neither`` have no page.

    Returns:
        Notes for the record: ``rows`` and ``questions`` by split; ``left_out``: reason -> questions;
        ``negatives_out``: reason -> negatives that were taken out of a row which stays.

    Raises:
        InputError: an unknown shape or split, a file that is malformed, an id that two questions have, or no question
            is left: names the file, the row and the key.
    """
    left_out: Counter[str] = Counter()
    negatives_out: Counter[str] = Counter()
    known = _Pages(pages, base) if pages else None
    seen: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    questions: Counter[str] = Counter()
    for split, needed, found in _sets(files, paths, langs, base, left_out):
        for question in found:
            name = question.question_id
            if name in seen:
                raise InputError(
                    f"{question.where}, id {name}", f"is that of {seen[name]}, too", "Give each question its own id."
                )
            seen[name] = question.where
            is_for = question.split or split
            if is_for not in SPLITS:
                raise InputError(
                    f"{question.where}, key split", f"{is_for!r} is no split", f"It is one of {', '.join(SPLITS)}."
                )
            if any(lang not in question.wordings for lang in needed):
                left_out[EMPTY if question.empty else LACKS] += 1
                continue
            page_id, why = None, ""
            if is_for != NEITHER:
                page_id, why = known.of(question) if known else _given(question)
            if why:
                left_out[why] += 1
                continue
            questions[is_for] += 1
            for lang in needed:
                wording = question.wordings[lang]
                rows.append(
                    {
                        "question_id": name,
                        "lang": lang,
                        "split": is_for,
                        "page_id": page_id,
                        "title": question.title,
                        "question": wording.question,
                        "answers": wording.answers,
                        "negatives": sound(wording, lang, negatives_out),
                        "context": wording.context,
                    }
                )
    if not rows:
        raise InputError(
            ", ".join(str(path) for path in paths),
            f"no question is left ({', '.join(f'{n}: {why}' for why, n in left_out.items()) or 'the files are empty'})",
            "Give files of questions whose pages all languages have.",
        )
    tables.write("qa", rows, out)
    return {
        "rows": len(rows),
        "questions": {split: questions[split] for split in SPLITS if questions[split]},
        "left_out": dict(left_out),
        "negatives_out": dict(negatives_out),
    }


def read_questions(shape: str, path: Path, langs: Sequence[str], base: str) -> tuple[list[Question], dict[str, int]]:
    """Read the questions of one file, whatever their pages.

    Args:
        shape: a key of :data:`SHAPES`.
        path: the file.
        langs: the languages that are read of shape ``paper``; files of the others are taken to be in the base.
        base: the base language.

    Returns:
        The questions, and what was left out: reason -> how many.

    Raises:
        InputError: there is no such shape, the file is malformed, or two questions have one id.
    """
    if shape not in SHAPES:
        raise _unknown(shape, path)
    left_out: Counter[str] = Counter()
    found = SHAPES[shape](Path(path), langs if shape == PAPER else [base], base, left_out)
    return list(_joined([found])), dict(left_out)


def _unknown(shape: str | None, path: Path) -> InputError:
    return InputError(f"{path}, shape {shape}", "is not known", f"Shapes: {', '.join(SHAPES)}.")


def _sets(
    files: Sequence[Mapping[str, str | None]],
    paths: Sequence[Path],
    langs: Sequence[str],
    base: str,
    left_out: Counter[str],
) -> Iterator[tuple[str | None, list[str], Iterable[Question]]]:
    """Yield the split of each set, the languages that a question of it must have, and its questions."""
    apart: dict[tuple[str, str | None], dict[str, Path]] = {}
    for said, given in zip(files, paths, strict=True):
        path, shape, split = Path(given), said["shape"], said.get("split")
        if shape not in SHAPES:
            raise _unknown(shape, path)
        lang = said.get("lang")
        if shape == SQUAD:
            if lang is None or lang not in langs:
                raise InputError(path, f"is a file of one language, not of {lang}", f"Say which of {', '.join(langs)}.")
            if lang in apart.setdefault((shape, split), {}):
                raise InputError(path, f"is a second file of {lang} in its set", "Give one file a language.")
            apart[shape, split][lang] = path
            continue
        yield split, [base] if shape == NQ else list(langs), SHAPES[shape](path, langs, base, left_out)
    for (_, split), of in apart.items():
        needed = [lang for lang in langs if lang in of]
        yield split, needed, _joined([_squad(of[lang], [lang], base, left_out) for lang in needed])


def _joined(sets: Sequence[Iterable[Question]]) -> Iterator[Question]:
    """Yield the questions of files of one language each, those of the same id as one."""
    found: dict[str, Question] = {}
    for questions in sets:
        here: dict[str, str] = {}
        for question in questions:
            name = question.question_id
            if name in here:
                raise InputError(
                    f"{question.where}, id {name}", f"is that of {here[name]}, too", "Give each question its own id."
                )
            here[name] = question.where
            if name in found:
                found[name].wordings |= question.wordings
                found[name].empty |= question.empty
            else:
                found[name] = question
    yield from found.values()


class _Pages:
    """The pages that all languages have, by name and by title."""

    def __init__(self, path: Path, base: str) -> None:
        self._known: set[str] = set()
        self._titled: dict[str, set[str]] = defaultdict(set)
        for row in tables.read(path, columns=["page_id", "lang", "title"]).to_dict("records"):
            self._known.add(row["page_id"])
            if row["lang"] == base:
                self._titled[_title(row["title"])].add(row["page_id"])

    def of(self, question: Question) -> tuple[str | None, str]:
        """Return the page of a question, or why it has none."""
        if question.page_id in self._known:
            return question.page_id, ""
        if not question.title:
            return None, ELSEWHERE if question.page_id else NO_PAGE
        found = self._titled.get(_title(question.title), set())
        if len(found) == 1:
            return next(iter(found)), ""
        return None, SEVERAL if found else ELSEWHERE


def _given(question: Question) -> tuple[str | None, str]:
    """Return the page that a set says itself."""
    page = question.page_id or question.title
    return (page, "") if page else (None, NO_PAGE)


def _title(text: str) -> str:
    """Return a title as titles are compared: NFC, and an underscore is a space, as in addresses of Wikipedia."""
    return " ".join(unicodedata.normalize("NFC", text).replace("_", " ").split())


def sound(wording: Wording, lang: str, out: Counter[str]) -> list[str]:
    """Return the negatives that differ from the answers and from each other, folded; notes the others."""
    right = {folded(answer, lang) for answer in wording.answers}
    kept: dict[str, str] = {}
    for negative in wording.negatives:
        same = folded(negative, lang)
        if not same:
            out["empty"] += 1
        elif same in right:
            out["equal to an answer"] += 1
        elif same in kept:
            out["equal to another negative"] += 1
        else:
            kept[same] = negative
    return list(kept.values())


def qa_overlap(*, qa: Path, out: Path) -> dict[str, Any]:
    """Write the table ``qa_overlap``: which questions have an answer that rows of tuning have, too.

    A model that was tuned may give an answer because it was tuned on it, whatever the text said of the question.

    Args:
        qa: the table ``qa``.
        out: the table to write: a row for each that is not of the split ``train``; ``n_train`` counts the rows of
            ``train`` in its language of which an answer is equal to one of its own, folded
            (:func:`lorebridge.normalisation.folded`).

    Returns:
        Notes for the record: ``questions`` and ``overlapping`` by language.
    """
    rows = tables.read(qa, columns=["question_id", "lang", "split", "answers"]).to_dict("records")
    trained: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        if row["split"] == TRAIN:
            for answer in row["answers"]:
                trained[row["lang"], folded(answer, row["lang"])].add(row["question_id"])
    found = []
    for row in rows:
        if row["split"] != TRAIN:
            lang = row["lang"]
            same = set().union(*(trained.get((lang, folded(answer, lang)), set()) for answer in row["answers"]))
            key = {name: row[name] for name in ("question_id", "lang", "split")}
            found.append({**key, "n_train": len(same), "overlaps": bool(same)})
    tables.write("qa_overlap", found, out)
    return {
        "questions": dict(Counter(row["lang"] for row in found)),
        "overlapping": dict(Counter(row["lang"] for row in found if row["overlaps"])),
    }


# Shapes ---------------------------------------------------------------------------------------------------------------

PAPER, SQUAD, NQ = "paper", "squad", "nq"


def _paper(path: Path, langs: Sequence[str], base: str, left_out: Counter[str]) -> Iterator[Question]:
    """Rows as Table 5 of Yang et al. (paper 002) prints one: JSON Lines, ``question``, ``answer`` and more by language.

    ``id``, ``title``, ``question{lang}``, ``answer{lang}`` (one, or a list of all that are right); where they are there
    ``context{lang}``, ``negatives{lang}``, ``split`` and ``page_id``. Other keys are not read.
    """
    for number, row in json_rows(path):
        where = f"{path}, row {number}"
        name = row.get("id")
        if not isinstance(name, str | int) or isinstance(name, bool) or not str(name).strip():
            raise InputError(f"{where}, key id", f"is {name!r}", "Give every row an id of its own.")
        by_lang = {}
        for key in ("question", "answer", "context", "negatives"):
            value = row.get(key)
            if not isinstance(value, dict) and (value is not None or key in ("question", "answer")):
                raise InputError(
                    f"{where}, key {key}", f"is {value!r}, not by language", 'Give {"CODE": ...}, a key a language.'
                )
            by_lang[key] = value or {}
        for key in ("title", "split", "page_id"):
            if not isinstance(row.get(key), str | None):
                raise InputError(f"{where}, key {key}", f"is {row[key]!r}, no text", "Give a text, or leave it out.")
        wordings, empty = {}, False
        for lang in langs:
            said = by_lang["question"].get(lang)
            answers = texts(f"{where}, key answer.{lang}", by_lang["answer"].get(lang))
            if not isinstance(said, str | None):
                raise InputError(f"{where}, key question.{lang}", f"is {said!r}, no text", "Give a text.")
            context = by_lang["context"].get(lang)
            if not isinstance(context, str | None):
                raise InputError(f"{where}, key context.{lang}", f"is {context!r}, no text", "Give a text, or null.")
            empty |= bool(said) and lang in by_lang["answer"] and not answers
            if said and said.strip() and answers:
                negatives = texts(f"{where}, key negatives.{lang}", by_lang["negatives"].get(lang))
                wordings[lang] = Wording(said, answers, negatives, context or "")
        yield Question(
            where, str(name), row.get("title") or "", row.get("page_id") or None, row.get("split"), wordings, empty
        )


def texts(where: str, value: Any) -> list[str]:
    """Return texts that are one, several or none; blank ones are none.

    Raises:
        InputError: they are something else.
    """
    values = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(values, list) or not all(isinstance(text, str) for text in values):
        raise InputError(where, f"is {value!r}, no text", "Give a text, or a list of texts.")
    return [text for text in values if text.strip()]


def _squad(path: Path, langs: Sequence[str], base: str, left_out: Counter[str]) -> Iterator[Question]:
    """SQuAD v1.1 (Rajpurkar et al. 2016), as XQuAD has it in each language: one JSON file a language.

    Files of other languages have the same ids, and the titles of the base language.
    """
    (lang,) = langs
    whole = json_file(path)
    try:
        for article in whole["data"]:
            title = article.get("title") or ""
            for paragraph in article["paragraphs"]:
                context = paragraph["context"]
                for asked in paragraph["qas"]:
                    where, name = f"{path}, id {asked['id']}", str(asked["id"])
                    said = str(asked["question"])
                    answers = texts(f"{where}, key answers", [answer["text"] for answer in asked["answers"]])
                    answers = list(dict.fromkeys(answers))
                    whole_row = bool(said.strip() and answers)
                    wordings = {lang: Wording(said, answers, [], str(context))} if whole_row else {}
                    yield Question(where, name, _title(title), None, None, wordings, not answers)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            path, f"is not in the shape of SQuAD ({type(error).__name__}: {error})", "Give the file as it is released."
        ) from error


def _nq(path: Path, langs: Sequence[str], base: str, left_out: Counter[str]) -> Iterator[Question]:
    """Natural Questions (Kwiatkowski et al., TACL 2019), whole or simplified: JSON Lines, in the base language alone.

    The answers are the short answers of all annotators, the context is the first long answer that has one. What has
    none, or only yes or no, is left out and counted. NQ-open (Lee et al. 2019) names no page, and is refused.
    """
    for number, row in json_rows(path):
        where = f"{path}, row {number}"
        if "annotations" not in row and "answer" in row:
            raise InputError(
                where,
                "is of NQ-open, which names no page",
                "Give Natural Questions itself, whole or simplified: rows with `annotations`.",
            )
        try:
            title = row.get("document_title") or _of_address(row.get("document_url") or "")
            words = _words(row)
            spans, long = [], ""
            for said in row["annotations"]:
                spans += [(short["start_token"], short["end_token"]) for short in said["short_answers"]]
                if said["short_answers"] and not long and said["long_answer"]["start_token"] >= 0:
                    long = _cut(words, said["long_answer"]["start_token"], said["long_answer"]["end_token"])
            answers = [text for text in dict.fromkeys(_cut(words, *span) for span in spans) if text]
            yes_no = any(said.get("yes_no_answer", "NONE") != "NONE" for said in row["annotations"])
            name, said = str(row["example_id"]), str(row["question_text"])
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                where,
                f"is not in the shape of Natural Questions ({type(error).__name__}: {error})",
                "Give the file as it is released.",
            ) from error
        if not answers:
            left_out["answered by yes or no alone" if yes_no else "without a short answer"] += 1
            continue
        yield Question(where, name, _title(title), None, None, {base: Wording(said, answers, [], long)})


def _words(row: Mapping[str, Any]) -> list[str]:
    """Return the words of a document of Natural Questions, "" where one is a tag of HTML."""
    if "document_tokens" in row:
        return ["" if word["html_token"] else word["token"] for word in row["document_tokens"]]
    return ["" if word.startswith("<") and word.endswith(">") else word for word in row["document_text"].split(" ")]


def _cut(words: Sequence[str], start: int, end: int) -> str:
    return " ".join(word for word in words[start:end] if word)


def _of_address(address: str) -> str:
    """Return the title in an address of Wikipedia, or nothing.

    >>> _of_address("https://en.wikipedia.org//w/index.php?title=Steam_engine&amp;oldid=12")
    'Steam_engine'
    """
    parts = urllib.parse.urlsplit(html.unescape(address))
    return urllib.parse.parse_qs(parts.query).get("title", [""])[0]


SHAPES: dict[str, Shape] = {PAPER: _paper, SQUAD: _squad, NQ: _nq}
"""How sets of questions on pages lie in their file."""
