"""Cloze question sets in their released shape, checked row by row, and the frozen subsets of them.

A released file is a JSON list of ``{"question": ..., "options": [...], "answer": ...}``, one file per language; the
files of a culture are index-parallel (Zhang et al., ACL 2025, section 3 and its published question files). Text is
kept as it stands: no Unicode normalisation and no white-space splitting, because NFKC rewrites full-width Chinese
punctuation and U+202F belongs to Mongolian words.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import regex

from lorebridge import tables
from lorebridge.errors import InputError

log = logging.getLogger("lorebridge.probes")

SUBSETS = ("reference", "clean", "strict")
BLANK = regex.compile(r"_+")

# What the script filter removes from a language's corpora: a model trained on them has never met these letters.
_FOREIGN_TO_LATIN = regex.compile(r"(?=\p{L})[^\p{Script=Latin}\p{Script=Common}\p{Script=Inherited}]")
_FOREIGN_TO_OTHERS = regex.compile(r"(?=\p{L})\p{Script=Latin}")

_LETTER = regex.compile(r"\p{L}")
_NUMBER = regex.compile(r"\p{N}")

# Every study asks its questions in English too, so the English wording decides for all languages of an item.
_NEGATION = {"en": regex.compile(r"\b(?:not|cannot|never|incorrect|except)\b|n['’]t\b", regex.IGNORECASE)}


def fill_blanks(question: str, option: str) -> str:
    """Return `question` with every run of underscores replaced by `option`, as the published scorer does.

    >>> fill_blanks("____ or not ___.", "To be")
    'To be or not To be.'
    """
    return BLANK.sub(lambda _: option, question)


def read_released(path: Path | str, known_missing_gold: Sequence[int] = ()) -> list[dict[str, Any]]:
    """Read one question file in the released shape.

    Args:
        path: a JSON file.
        known_missing_gold: 0-based rows whose answer may be absent from the options (a known slip of the release).

    Returns:
        The rows, each with a string `question`, a list of two or more strings `options` and a string `answer`.

    Raises:
        InputError: names the file, the 0-based row and the mend.
    """
    path = Path(path)
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(path, "no such file", "Give the path of a question file.") from None
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "Give the path of a question file.") from error
    except UnicodeDecodeError as error:
        raise InputError(path, f"not UTF-8 (byte {error.start})", "Save the file as UTF-8.") from error
    except json.JSONDecodeError as error:
        raise InputError(
            path, f"not JSON (line {error.lineno}: {error.msg})", "Fetch the file again, or mend that line."
        ) from error
    if not isinstance(rows, list) or not rows:
        raise InputError(
            path, "not a list of questions", "Give a JSON list of objects with `question`, `options` and `answer`."
        )
    for index, row in enumerate(rows):
        _check_row(f"{path}, row {index}", row, may_lack_gold=index in known_missing_gold)
    return rows


def _check_row(where: str, row: Any, *, may_lack_gold: bool) -> None:
    if not isinstance(row, dict):
        raise InputError(where, "not an object", "Give every row `question`, `options` and `answer`.")
    for key in ("question", "options", "answer"):
        if key not in row:
            raise InputError(where, f"no `{key}`", f"Give every row a `{key}`.")
    for key in ("question", "answer"):
        if not isinstance(row[key], str) or not row[key]:
            raise InputError(where, f"`{key}` is not a string with text", f"Give every row a string `{key}`.")
    options = row["options"]
    if not isinstance(options, list) or len(options) < 2 or not all(isinstance(o, str) and o for o in options):
        raise InputError(where, "`options` is not a list of two or more strings with text", "Give every row options.")
    if row["answer"] not in options and not may_lack_gold:
        raise InputError(
            where,
            f"the answer {row['answer']!r} is not among the options",
            "Make the answer one of the options to the letter, or list the row under `known_missing_gold`.",
        )


def _drop_reasons(items: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[list[str]]:
    """Return for each item (language -> row) why it leaves the clean subset."""
    reasons: list[list[str]] = []
    seen: dict[tuple[str, str, tuple[str, ...]], int] = {}
    for index, item in enumerate(items):
        why = []
        if any(len(BLANK.findall(row["question"])) != 1 for row in item.values()):
            why.append("not one blank")
        if any(len(set(row["options"])) < len(row["options"]) for row in item.values()):
            why.append("duplicate options")
        if any(row["answer"] not in row["options"] for row in item.values()):
            why.append("gold not in options")
        # The same question with other options is another item; only an exact repetition counts twice.
        keys = [(lang, row["question"], tuple(sorted(row["options"]))) for lang, row in item.items()]
        if any(seen.setdefault(key, index) != index for key in keys):
            why.append("duplicate item")
        reasons.append(why)
    return reasons


def _strict_reasons(item: Mapping[str, Mapping[str, Any]], scripts: Mapping[str, str]) -> list[str]:
    """Return why an item (language -> row) leaves the strict subset although it is clean."""
    why = []
    for lang, row in item.items():
        foreign = _FOREIGN_TO_LATIN if scripts[lang] == "Latin" else _FOREIGN_TO_OTHERS
        if any(foreign.search(text) for text in (row["question"], *row["options"])):
            why.append("foreign letters")
        if lang in _NEGATION and _NEGATION[lang].search(row["question"]):
            why.append("negated")
        if all(_NUMBER.search(option) and not _LETTER.search(option) for option in row["options"]):
            why.append("numeric options")
    return sorted(set(why))


def build_questions(
    *,
    culture: str,
    langs: Sequence[str],
    known_missing_gold: Sequence[int],
    files: Mapping[str, Path],
    scripts: Mapping[str, str],
    out: Path,
) -> dict[str, Any]:
    """Write the ``questions`` table of one culture: a row per language, question and option.

    The subsets are nested. ``reference`` is the release as it stands. ``clean`` drops an item when, in any of its
    languages, the question has not exactly one blank, two options are equal, the answer is not among the options,
    or question and options repeat an earlier item. ``strict`` drops of these the items with letters that the script
    filter takes out of that language's corpora (a Latin-script language loses all other letters, any other loses
    Latin), the negated ones (a rule on the English wording), and those whose options are all numbers, which need no
    bridge between the languages.

    Args:
        culture: whose questions these are, e.g. ``"ko"``.
        langs: the languages of the set, each a key of `files` and `scripts`.
        known_missing_gold: 0-based indices whose answer may be absent from the options.
        files: language -> question file in the released shape.
        scripts: language -> Unicode script name of its corpus, e.g. ``"Latin"``.
        out: the table.

    Returns:
        Notes for the record: ``questions`` (number by subset) and ``dropped`` (indices by subset and reason).

    Raises:
        InputError: a file is malformed, the files differ in length, or the place of the answer differs.
    """
    rows = {lang: read_released(files[lang], known_missing_gold) for lang in langs}
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
            lang: row["options"].index(row["answer"]) for lang, row in item.items() if row["answer"] in row["options"]
        }
        if len(set(gold.values())) > 1 or len({len(row["options"]) for row in item.values()}) > 1:
            raise InputError(
                f"{files[langs[-1]]}, row {index}",
                "the options do not match those of the other language "
                f"(place of the answer by language: {gold}; {[len(row['options']) for row in item.values()]} options)",
                "The files of a culture are index-parallel: list the same options in the same order.",
            )

    unclean = _drop_reasons(items)
    unstrict = [_strict_reasons(item, scripts) for item in items]
    subsets = [
        list(SUBSETS[:1]) if bad else list(SUBSETS[:2]) if worse else list(SUBSETS)
        for bad, worse in zip(unclean, unstrict, strict=True)
    ]
    table = [
        {
            "question_id": f"{culture}-{index:04d}",
            "culture": culture,
            "lang": lang,
            "text": item[lang]["question"],
            "option_index": option_index,
            "option": option,
            "is_gold": option == item[lang]["answer"],
            "subset": subsets[index],
            "n_blanks": len(BLANK.findall(item[lang]["question"])),
        }
        for lang in langs
        for index, item in enumerate(items)
        for option_index, option in enumerate(item[lang]["options"])
    ]
    tables.write("questions", table, out)
    counts = {name: sum(name in subset for subset in subsets) for name in SUBSETS}
    log.info("%s: %s", culture, ", ".join(f"{n} {name}" for name, n in counts.items()))
    return {
        "questions": counts,
        "dropped": {"clean": _indices_by_reason(unclean), "strict": _indices_by_reason(unstrict)},
    }


def _indices_by_reason(reasons: Sequence[Sequence[str]]) -> dict[str, list[int]]:
    names = sorted({name for why in reasons for name in why})
    return {name: [index for index, why in enumerate(reasons) if name in why] for name in names}


def in_subset(questions: pd.DataFrame, subset: str) -> pd.DataFrame:
    """Return the rows of a ``questions`` table that belong to `subset`.

    Raises:
        ValueError: there is no subset of that name.
    """
    if subset not in SUBSETS:
        raise ValueError(f"no subset {subset!r}; there are {', '.join(SUBSETS)}")
    return questions[[subset in names for names in questions["subset"]]]
