"""Cloze question files in their released shape, checked row by row, and the frozen subsets of a set.

A released file is a JSON list of ``{"question": ..., "options": [...], "answer": ...}``, one file per language; the
files of a culture are index-parallel (Zhang et al., ACL 2025, section 3 and its published question files). Text is
kept as it stands: no Unicode normalisation and no white-space splitting, because NFKC rewrites full-width Chinese
punctuation and U+202F belongs to Mongolian words.

Nothing here needs a table or a model, so that a dry run can check the files of a study.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import regex

from lorebridge.errors import InputError

log = logging.getLogger("lorebridge.probes")

SUBSETS = ("reference", "clean", "strict")
# The published scorer writes <mask> for a run of underscores and fills that, so that <mask> is a blank, too.
BLANK = regex.compile(r"_+|<mask>")

# What the script filter removes from a language's corpora: a model trained on them has never met these letters.
_FOREIGN_TO_LATIN = regex.compile(r"(?=\p{L})[^\p{Script=Latin}\p{Script=Common}\p{Script=Inherited}]")
_FOREIGN_TO_OTHERS = regex.compile(r"(?=\p{L})\p{Script=Latin}")

_LETTER = regex.compile(r"\p{L}")
_NUMBER = regex.compile(r"\p{N}")
_CONTROL = regex.compile(r"\p{Cc}")
# Letters, digits, signs: what is neither space nor invisible (format characters such as U+200B are).
_VISIBLE = regex.compile(r"[^\p{Z}\p{C}]")

# Every study asks its questions in English too, so the English wording decides for all languages of an item.
_NEGATION = {"en": regex.compile(r"\b(?:not|cannot|never|incorrect|except)\b|n['’]t\b", regex.IGNORECASE)}

# How files begin that are no text, and how their content is had.
_PACKED = {
    b"\x1f\x8b": ("gzip", "gzip -dc"),
    b"BZh": ("bzip2", "bzip2 -dc"),
    b"\xfd7zXZ": ("xz", "xz -dc"),
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd -dc"),
    b"PK\x03\x04": ("zip", "unzip -p"),
}
_SHAPE = "Give a JSON list of objects with `question`, `options` and `answer`."
# Rows that a message names before it says how many more there are.
_NAMED = 10


@dataclasses.dataclass(frozen=True)
class Question:
    """A row of a released file.

    Attributes:
        text: the cloze.
        options: two or more, not all equal.
        answers: the options that are right: one, but for files read with ``several_answers``.
    """

    text: str
    options: list[str]
    answers: list[str]


class _Row(dict[str, Any]):
    """A JSON object that remembers which of its keys stood twice."""

    repeated: str | None = None


def _row(pairs: list[tuple[str, Any]]) -> _Row:
    row = _Row(pairs)
    if len(row) < len(pairs):
        row.repeated = Counter(key for key, _ in pairs).most_common(1)[0][0]
    return row


def fill_blanks(question: str, option: str) -> str:
    """Return `question` with every blank replaced by `option`, as the published scorer does.

    >>> fill_blanks("____ or not <mask>.", "To be")
    'To be or not To be.'
    """
    return BLANK.sub(lambda _: option, question)


def read_released(
    path: Path | str, known_missing_gold: Sequence[int] = (), *, several_answers: bool = False
) -> list[Question]:
    """Read one question file in the released shape.

    Args:
        path: a JSON file in UTF-8, with a byte order mark or without.
        known_missing_gold: 0-based rows whose answer may be absent from the options (a known slip of the release).
        several_answers: whether `answer` may be a list of more than one, as the published scorer reads it.

    Raises:
        InputError: names the file, the 0-based row and the mend.
    """
    path = Path(path)
    rows = _parse(path)
    questions = [
        _question(f"{path}, row {index}", row, may_lack_gold=index in known_missing_gold, several=several_answers)
        for index, row in enumerate(rows)
    ]
    beyond = [index for index in known_missing_gold if not 0 <= index < len(rows)]
    if beyond:
        raise InputError(
            f"{path}, known_missing_gold",
            f"names row {beyond[0]}, and there are rows 0 to {len(rows) - 1}",
            "Take it out, or give the file that it is of.",
        )
    if not any(BLANK.search(question.text) for question in questions):
        raise InputError(
            path,
            f"none of its {len(questions)} questions has a blank, and so all options of each are equally likely",
            "Write the blank of each question as ____ (or <mask>).",
        )
    return questions


def warn(path: Path | str, questions: Sequence[Question]) -> dict[str, list[int]]:
    """Log what is odd about the questions of a file, a line a kind with its rows, and return it (:func:`remarks`)."""
    found = remarks(questions)
    for what, indices in found.items():
        log.warning("%s: %d of %d questions: %s (%s)", path, len(indices), len(questions), what, _rows(indices))
    return found


def _rows(indices: Sequence[int]) -> str:
    """Return the numbers of rows, in words.

    >>> _rows([3]), _rows([3, 4])
    ('row 3', 'rows 3, 4')
    """
    more = f" and {len(indices) - _NAMED} more" if len(indices) > _NAMED else ""
    return f"row{'s' * (len(indices) > 1)} {', '.join(map(str, indices[:_NAMED]))}{more}"


def _parse(path: Path) -> list[Any]:
    """Return what a file lists.

    Raises:
        InputError: it cannot be read, is no JSON in UTF-8, or no list.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(path, "no such file", "Give the path of a question file.") from None
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "Give the path of a question file.") from error
    for magic, (name, unpack) in _PACKED.items():
        if content.startswith(magic):
            raise InputError(path, f"is packed ({name})", f"Unpack it: `{unpack} < {path} > OUT`.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(path, f"not UTF-8 (byte {error.start})", "Save the file as UTF-8.") from error
    if not text.strip():
        raise InputError(path, "is empty", "Fetch the file again.")
    try:
        rows = json.loads(text, object_pairs_hook=_row)
    except json.JSONDecodeError as error:
        lines = text.splitlines()
        if error.msg == "Extra data" and text[: error.pos].strip().startswith("{"):
            join = "import json, sys; json.dump([json.loads(line) for line in sys.stdin if line.strip()], sys.stdout)"
            raise InputError(
                path,
                f"has an object a line ({len(lines)} lines), and not one list of them",
                f"Make it a list: `python3 -c '{join}' < {path} > OUT`.",
            ) from error
        raise InputError(
            path, f"not JSON (line {error.lineno}: {error.msg})", "Fetch the file again, or mend that line."
        ) from error
    except (RecursionError, ValueError) as error:
        # Brackets without end, and integers of thousands of digits.
        raise InputError(path, f"not JSON that can be read ({error})", _SHAPE) from error
    if not isinstance(rows, list) or not rows:
        raise InputError(path, "not a list of questions", _SHAPE)
    return rows


def _has_text(value: Any) -> bool:
    return isinstance(value, str) and _VISIBLE.search(value) is not None


def _question(where: str, row: Any, *, may_lack_gold: bool, several: bool) -> Question:
    if not isinstance(row, _Row):
        raise InputError(where, "not an object", "Give every row `question`, `options` and `answer`.")
    if row.repeated is not None:
        raise InputError(where, f"the key `{row.repeated}` stands twice", "Take one of the two out.")
    for key in ("question", "options", "answer"):
        if key not in row:
            raise InputError(where, f"no `{key}`", f"Give every row a `{key}`.")
    text, options, answer = row["question"], row["options"], row["answer"]
    if not _has_text(text):
        raise InputError(where, "`question` is not a string with text", "Give every row a string `question`.")
    if not isinstance(options, list) or len(options) < 2:
        raise InputError(where, "`options` is not a list of two or more strings with text", "Give every row options.")
    for place, option in enumerate(options):
        if not _has_text(option):
            raise InputError(
                where,
                f"`options`: option {place} is not a string with text ({option!r})",
                'Write every option as a string (a number, too: "1392"), and none empty.',
            )
    if len(set(options)) == 1:
        raise InputError(where, f"all its options are equal ({options[0]!r})", "Give it two different ones.")
    answers = answer if isinstance(answer, list) else [answer]
    if not answers or not all(map(_has_text, answers)):
        raise InputError(where, "`answer` is not a string with text", "Give every row a string `answer`.")
    if len(answers) > 1 and not several:
        raise InputError(
            where,
            f"`answer` lists {len(answers)} answers, and this reads one",
            "Give one answer, or score the file by `lorebridge score --mode reference`, which reads several.",
        )
    for value in (text, *options, *answers):
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise InputError(where, f"{value!r} has half of a surrogate pair", "Write the character whole.")
    for one in answers:
        if one not in options and not may_lack_gold:
            alike = [place for place, option in enumerate(options) if _plain(option) == _plain(one)]
            but = f"; it is option {alike[0]} but for white space or normal form" if alike else ""
            raise InputError(
                where,
                f"the answer {one!r} is not among the options{but}",
                "Make the answer one of the options to the letter, or list the row under `known_missing_gold`.",
            )
    return Question(text, options, answers)


def _plain(text: str) -> str:
    """Return `text` in one normal form and with one kind of space, for comparing alone.

    >>> _plain("ＡＢ  c ") == _plain("AB c")
    True
    """
    return " ".join(unicodedata.normalize("NFKC", text).split())


def remarks(questions: Sequence[Question]) -> dict[str, list[int]]:
    """Return what is odd about questions that can be scored all the same: what -> 0-based rows."""
    found: dict[str, list[int]] = {}
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for index, question in enumerate(questions):
        n_blanks = len(BLANK.findall(question.text))
        options = question.options
        key = (question.text, tuple(sorted(options)))
        odd = {
            "no blank": n_blanks == 0,
            "several blanks": n_blanks > 1,
            "equal options": len(set(options)) < len(options),
            "options that differ in white space or normal form only": len(set(map(_plain, options)))
            < len(set(options)),
            "control characters": any(_CONTROL.search(text) for text in (question.text, *options)),
            "repeats an earlier question and its options": key in seen,
            "answer not among the options": not set(question.answers) <= set(options),
        }
        seen.add(key)
        for what, holds in odd.items():
            if holds:
                found.setdefault(what, []).append(index)
    return found


Item = Mapping[str, Question]
"""The wordings of one question: language -> row."""


def _unclean(items: Sequence[Item]) -> list[list[str]]:
    """Return for each item why it leaves the clean subset."""
    reasons: list[list[str]] = []
    seen: dict[tuple[str, str, tuple[str, ...]], int] = {}
    for index, item in enumerate(items):
        why = []
        if any(len(BLANK.findall(question.text)) != 1 for question in item.values()):
            why.append("not one blank")
        if any(len(set(map(_plain, question.options))) < len(question.options) for question in item.values()):
            why.append("duplicate options")
        if any(not set(question.answers) <= set(question.options) for question in item.values()):
            why.append("gold not in options")
        # The same question with other options is another item; only an exact repetition counts twice.
        keys = [(lang, question.text, tuple(sorted(question.options))) for lang, question in item.items()]
        if any(seen.setdefault(key, index) != index for key in keys):
            why.append("duplicate item")
        reasons.append(why)
    return reasons


def _unstrict(item: Item, scripts: Mapping[str, str]) -> list[str]:
    """Return why an item leaves the strict subset although it is clean."""
    why = []
    for lang, question in item.items():
        foreign = _FOREIGN_TO_LATIN if scripts[lang] == "Latin" else _FOREIGN_TO_OTHERS
        # A blank in letters, <mask>, is none of the text.
        if any(foreign.search(BLANK.sub("", text)) for text in (question.text, *question.options)):
            why.append("foreign letters")
        if lang in _NEGATION and _NEGATION[lang].search(question.text):
            why.append("negated")
        if all(_NUMBER.search(option) and not _LETTER.search(option) for option in question.options):
            why.append("numeric options")
    return sorted(set(why))


@dataclasses.dataclass(frozen=True)
class QuestionSet:
    """The questions of a culture in its languages.

    Attributes:
        items: the questions, in the order of the files.
        subsets: [items] the subsets that each belongs to.
        dropped: subset -> reason why items of the larger one are not in it -> their 0-based rows.
    """

    items: list[dict[str, Question]]
    subsets: list[list[str]]
    dropped: dict[str, dict[str, list[int]]]

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of questions of each subset."""
        return {name: sum(name in subset for subset in self.subsets) for name in SUBSETS}


def check_questions(
    *,
    culture: str,
    langs: Sequence[str],
    known_missing_gold: Sequence[int],
    files: Mapping[str, Path],
    scripts: Mapping[str, str],
    subset: str | None = None,
) -> QuestionSet:
    """Read the question files of a culture and refuse them where they do not belong together.

    The subsets are nested. ``reference`` is the release as it stands. ``clean`` drops an item when, in any of its
    languages, the question has not exactly one blank, two options are equal (white space and Unicode's compatible forms
    apart), the answer is not among the options, or question and options repeat an earlier item. ``strict`` drops of
    these the items with letters that the script filter takes out of that language's corpora (a Latin-script language
    loses all other letters, any other loses Latin), the negated ones (a rule on the English wording), and those whose
    options are all numbers, which need no bridge between the languages.

    Args:
        culture: whose questions these are, e.g. ``"ko"``.
        langs: the languages of the set, each a key of `files` and `scripts`.
        known_missing_gold: 0-based indices whose answer may be absent from the options of one language or all.
        files: language -> question file in the released shape.
        scripts: language -> Unicode script name of its corpus, e.g. ``"Latin"``.
        subset: the subset that the study's numbers are of, which must not be empty.

    Raises:
        InputError: a file is malformed or in another script, the files differ in length, the place of the answer
            differs, `known_missing_gold` names a row that lacks nothing, or `subset` is empty.
    """
    rows = {lang: read_released(files[lang], known_missing_gold) for lang in langs}
    for lang in langs:
        _check_script(rows[lang], scripts[lang], files[lang], f"questions.{culture}.files.{lang}")
    first = langs[0]
    for lang in langs[1:]:
        if len(rows[lang]) != len(rows[first]):
            raise InputError(
                files[lang],
                f"{len(rows[lang])} questions, but {files[first]} has {len(rows[first])}",
                "The files of a culture are index-parallel: give both the same questions in the same order.",
            )
    items = [{lang: rows[lang][index] for lang in langs} for index in range(len(rows[first]))]
    for index, item in enumerate(items):
        gold = {
            lang: question.options.index(question.answers[0])
            for lang, question in item.items()
            if question.answers[0] in question.options
        }
        if len(set(gold.values())) > 1 or len({len(question.options) for question in item.values()}) > 1:
            raise InputError(
                f"{files[langs[-1]]}, row {index}",
                "the options do not match those of the other language (place of the answer by language: "
                f"{gold}; {[len(question.options) for question in item.values()]} options)",
                "The files of a culture are index-parallel: list the same options in the same order.",
            )
        if index in known_missing_gold and len(gold) == len(langs):
            raise InputError(
                f"{files[first]}, known_missing_gold",
                f"names row {index}, whose answer is among its options",
                "Take it out.",
            )
    unclean = _unclean(items)
    unstrict = [_unstrict(item, scripts) for item in items]
    found = QuestionSet(
        items=items,
        subsets=[
            list(SUBSETS[:1]) if bad else list(SUBSETS[:2]) if worse else list(SUBSETS)
            for bad, worse in zip(unclean, unstrict, strict=True)
        ],
        dropped={"clean": _by_reason(unclean), "strict": _by_reason(unstrict)},
    )
    if subset is not None and not found.counts[subset]:
        why = {**found.dropped["clean"], **(found.dropped["strict"] if subset == "strict" else {})}
        larger = [name for name in SUBSETS if found.counts[name]]
        raise InputError(
            ", ".join(str(files[lang]) for lang in langs),
            f"no question of {culture} is in the subset {subset!r} "
            f"({', '.join(f'{len(indices)} {reason}' for reason, indices in why.items())})",
            f"Mend the questions, or set probing.subset: {' or '.join(f'`{name}`' for name in larger)}.",
        )
    return found


def _check_script(questions: Sequence[Question], script: str, path: Path, key: str) -> None:
    """Refuse questions of which less than a quarter of the letters are in the script of their language.

    Raises:
        InputError: names the file and the key of the configuration.
    """
    text = "".join(BLANK.sub("", text) for question in questions for text in (question.text, *question.options))
    letters, own = (len(regex.findall(rf"(?=\p{{L}}){of}", text)) for of in (".", rf"\p{{Script={script}}}"))
    if 4 * own < letters:
        raise InputError(
            path,
            f"{own / letters:.0%} of its letters are {script}, the script of its language",
            f"Give {key} the file in that language; are two files swapped?",
        )


def _by_reason(reasons: Sequence[Sequence[str]]) -> dict[str, list[int]]:
    names = sorted({name for why in reasons for name in why})
    return {name: [index for index, why in enumerate(reasons) if name in why] for name in names}
