"""Questions that are answered freely, from the shapes that sets of them come in, in one table.

A question is written for one language, its *source*, and translated into others. Shapes are functions of a path and
languages (:data:`SHAPES`). Text is kept as it stands.

Nothing here needs a table or a model, so that a dry run can read the names of the shapes.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorebridge import config as configuration
from lorebridge.corpora.facts import OBJECT, files_of, golds, json_rows, read_facts
from lorebridge.errors import InputError

TRANSLATIONS = {"human": "translated by people", "machine": "translated by a machine, and not looked at"}
"""Of MultiLoKo: which of its two translations is taken."""
HUB = "en"
"""The language that MultiLoKo is translated to and from, and no other."""
BLANK = "____"
"""What stands in a cloze prompt for the answer."""


@dataclasses.dataclass(frozen=True)
class OpenQuestion:
    """A question in a language.

    Attributes:
        question_id: the same in every language, unique in the set.
        source_lang: the language that it was written in; None where the set says none, and each may be.
        lang: the language of this wording.
        question: the wording.
        answers: all that are right.
        context: the text that it was made from, in this language; empty where the set has none.
        page: where that is from.
        translation: one of :data:`TRANSLATIONS`; None of an original, and where the set does not say.
        output_type: what kind of answer is asked for; None where the set does not say.
    """

    question_id: str
    source_lang: str | None
    lang: str
    question: str
    answers: tuple[str, ...]
    context: str = ""
    page: str = ""
    translation: str | None = None
    output_type: str | None = None


@dataclasses.dataclass
class OpenQuestions:
    """What a set of questions holds.

    Attributes:
        questions: each with its wordings one after the other.
        left_out: what was found and is not asked: reason -> how many.
    """

    questions: list[OpenQuestion]
    left_out: dict[str, int]


Shape = Callable[[Path, Sequence[str], str, Counter[str]], Iterator[OpenQuestion]]
"""Yields the questions of a path in some languages, by a translation, and notes what it leaves out."""


@functools.cache
def known_languages() -> Mapping[str, Mapping[str, str]]:
    """Return code -> ``name, script, family`` (and its folder in MultiLoKo) of the languages that sets have."""
    return configuration.read(Path(__file__).with_name("languages.yaml"))


def read_open(shape: str, path: Path | str, langs: Sequence[str], *, translation: str = "human") -> OpenQuestions:
    """Read the questions of a set in some languages.

    Args:
        shape: a key of :data:`SHAPES`.
        path: ECLeKTic's file; the folder of MultiLoKo or KLAR.
        langs: codes of the languages; questions written in others are left out.
        translation: one of :data:`TRANSLATIONS`; only MultiLoKo has two.

    Raises:
        InputError: there is no such shape, translation or path, or a language that the set has nothing of; or a file is
            malformed, which names it, the row and the key.
    """
    path = Path(path)
    if shape not in SHAPES:
        raise InputError(f"shape {shape}", "is not known", f"Shapes: {', '.join(SHAPES)}.")
    if translation not in TRANSLATIONS:
        raise InputError(f"translation {translation}", "is not known", f"There are {', '.join(TRANSLATIONS)}.")
    left_out: Counter[str] = Counter()
    found = list(SHAPES[shape](path, langs, translation, left_out))
    if not found:  # a question of any shape is in all the languages that its source has
        raise InputError(path, f"has no question for {', '.join(langs)}", "Take a language out, or mend the path.")
    return OpenQuestions(found, dict(left_out))


# Shapes ---------------------------------------------------------------------------------------------------------------


def _eclektic(path: Path, langs: Sequence[str], translation: str, left_out: Counter[str]) -> Iterator[OpenQuestion]:
    """ECLeKTic (Goldman et al. 2025): ``eclektic_main.jsonl``, a row a question, ``{lang}_q, _a, _c`` in each language.

    The question of ``original_lang`` is the one that was written, from a page that other Wikipedias lack.
    """
    if not path.is_file():
        raise InputError(path, "is no file", "Give eclektic_main.jsonl, as it is released.")
    seen: dict[str, int] = {}
    for number, row in json_rows(path):
        where = f"{path}, row {number}"
        for key in ("q_id", "original_lang", "title", "url"):
            if not isinstance(row.get(key), str | int):
                raise InputError(f"{where}, key {key}", "is missing", "Give eclektic_main.jsonl, as it is released.")
        source, name = str(row["original_lang"]), str(row["q_id"])
        if name in seen:
            raise InputError(f"{where}, key q_id", f"{name} stands in row {seen[name]}, too", "Give each its own.")
        seen[name] = number
        if source not in langs:
            left_out[f"written in {source}"] += 1
            continue
        for lang in dict.fromkeys([source, *langs]):
            question, answer = (_string(where, row, f"{lang}_{part}") for part in "qa")
            context = row.get(f"{lang}_c")
            yield OpenQuestion(
                question_id=name,
                source_lang=source,
                lang=lang,
                question=question,
                answers=(answer,),
                context=context if isinstance(context, str) else "",
                page=str(row["url"]),
            )


def _multiloko(path: Path, langs: Sequence[str], translation: str, left_out: Counter[str]) -> Iterator[OpenQuestion]:
    """MultiLoKo (Hupkes and Bogoychev 2025): a folder a language, ``dev.jsonl`` and its translations.

    Each language is translated to English, and English to each: a star. ``id`` names a page; where a page has several
    questions, the first of a file belongs to the first of its translation.
    """
    known = known_languages()
    for lang in langs:
        if "multiloko" not in known.get(lang, {}):
            has = ", ".join(code for code, said in known.items() if "multiloko" in said)
            raise InputError(f"language {lang}", "MultiLoKo has none of this code", f"It has: {has}.")
    if HUB not in langs:
        raise InputError(path, "is translated to and from English alone", f"Add {HUB!r} to the languages.")
    for source in langs:
        folder = path / known[source]["multiloko"]
        if not folder.is_dir():
            raise InputError(folder, "is no folder", "Give `benchmark_data`, unpacked, or take the language out.")
        originals = dict(_loko(folder / "dev.jsonl"))
        others = [lang for lang in langs if lang != source and HUB in (lang, source)]
        files = {lang: folder / f"dev_translated_{translation}_{known[lang]['multiloko']}.jsonl" for lang in others}
        translated = {lang: dict(_loko(file)) for lang, file in files.items()}
        for lang, rows in translated.items():
            for one, other, mend in (
                (originals, rows, "is not translated"),
                (rows, originals, "is no translation of a row of dev.jsonl"),
            ):
                if lost := [key for key in one if key not in other]:
                    raise InputError(f"{files[lang]}, id {lost[0][0]}", mend, "Unpack the archive again.")
        for (page, again), row in originals.items():
            for lang, said in {source: row, **{lang: rows[page, again] for lang, rows in translated.items()}}.items():
                yield OpenQuestion(
                    question_id=f"{source}/{page}" + (f"#{again + 1}" if again else ""),
                    source_lang=source,
                    lang=lang,
                    question=said["question"],
                    answers=tuple(said["targets"]),
                    context=said["text"],
                    page=page,
                    translation=None if lang == source else translation,
                    output_type=said["output_type"],
                )


def _loko(file: Path) -> Iterator[tuple[tuple[str, int], dict[str, Any]]]:
    """Yield ((id, how many of it came before), row) of a file of MultiLoKo."""
    if not file.is_file():
        raise InputError(file, "is missing", "Unpack the archive again: each folder has dev.jsonl and translations.")
    seen: Counter[str] = Counter()
    for number, row in json_rows(file):
        where = f"{file}, row {number}"
        said = {key: _string(where, row, key) for key in ("text", "question", "id", "output_type")}
        targets = row.get("targets")
        if not isinstance(targets, list) or not targets or not all(isinstance(x, str) and x.strip() for x in targets):
            raise InputError(f"{where}, key targets", "is no list of answers", "Give at least one, each a string.")
        yield (said["id"], seen[said["id"]]), {**said, "targets": targets}
        seen[said["id"]] += 1


def _klar(path: Path, langs: Sequence[str], translation: str, left_out: Counter[str]) -> Iterator[OpenQuestion]:
    """KLAR (Wang et al., ACL 2025): facts that are the same in every language, none of them the source.

    A question is the cloze prompt. A fact that a language lacks is left out in all.
    """
    found = read_facts("klar", path, langs)
    for what, of in found.left_out.items():
        left_out[what] += of if isinstance(of, int) else sum(of.values()) if isinstance(of, Mapping) else len(of)
    answers = golds(found.facts)
    by_id: dict[str, dict[str, Any]] = {}
    for fact in found.facts:
        by_id.setdefault(fact.fact_id, {})[fact.lang] = fact
    for name, wordings in by_id.items():
        if len(wordings) < len(langs):
            left_out["not in every language"] += 1
            continue
        for lang, fact in wordings.items():
            prompt = fact.prompt.replace(OBJECT, BLANK)
            yield OpenQuestion(name, None, lang, prompt, tuple(answers[lang, fact.prompt]), page=fact.relation)


def _string(where: str, row: Mapping[str, Any], key: str) -> str:
    """Return a text of a row.

    Raises:
        InputError: it is missing, no string, or blank.
    """
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        what = "is missing" if value is None else "is blank" if isinstance(value, str) else f"is {value!r}, no text"
        raise InputError(f"{where}, key {key}", what, "Give the file as it is released.")
    return value


SHAPES: dict[str, Shape] = {"eclektic": _eclektic, "multiloko": _multiloko, "klar": _klar}
"""How sets of open questions lie at their path."""


def files_read(shape: str, path: Path | str, langs: Sequence[str], translation: str) -> list[str]:
    """Return the files that the questions of some languages are read from, sorted; those alone that are there."""
    path = Path(path)
    if shape == "eclektic":
        found = [path]
    elif shape == "klar":
        return files_of("klar", path, langs)
    else:
        folders = [path / known_languages().get(lang, {}).get("multiloko", lang) for lang in langs]
        found = [
            file
            for folder in folders
            for file in folder.glob("dev*.jsonl")
            if file.name == "dev.jsonl" or f"_{translation}_" in file.name
        ]
    return sorted(str(file) for file in found if file.is_file())
