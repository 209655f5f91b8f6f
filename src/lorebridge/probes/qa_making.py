"""Rows of questions on pages in the paper's shape: translations from files, and wrong options by a language model.

Yang et al. (paper 002, section 4) take pages and questions of Natural Questions, translate them, and have a language
model write three wrong options of each. Their prompt is not printed; this is our own. What a model writes is looked
at: an option that is an answer, or that another option is, is asked for again with the reason, and a question whose
options are still wrong has none. Every prompt and response is kept in a file that the same rows can be made from again,
offline.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorebridge import publish
from lorebridge.corpora.facts import json_rows
from lorebridge.corpora.qa import Question, Wording, read_questions, sound, texts
from lorebridge.errors import InputError
from lorebridge.journal import Journal
from lorebridge.probes.making import Reply, Request, answers, asker, read_reply
from lorebridge.work import locked, replacing

log = logging.getLogger("lorebridge.probes")

N_NEGATIVES = 3
TO_NEGATIVES = """\
Below is a question with its answer, in {languages}, as JSON. Write {n} wrong answers to it for a multiple-choice test.

- Each is of the same kind as the answer, and short. None is right, in whole or in part.
- The {n} differ from each other. In every language they are the same, in the same order.

Answer with JSON alone: {{"negatives": {{{form}}}}}.

{item}"""
AGAIN = """

These will not do:
{reasons}"""


def make_qa(
    *,
    shape: str,
    source: Path,
    base: str,
    names: Mapping[str, str],
    translations: Sequence[str],
    translated: Sequence[Path],
    model: str | None,
    kind: str | None,
    work: Path,
    base_url: str | None = None,
    key_env: str | None = None,
    concurrency: int = 8,
    recorded: Path | None = None,
    tries: int = 3,
    section: str = "qa.files",
    out: Path,
    calls: Path,
) -> dict[str, Any]:
    """Write rows of questions on pages with their translations and wrong options.

    Args:
        shape: of `source`, a key of :data:`lorebridge.corpora.qa.SHAPES`.
        source: the file of questions.
        base: the base language.
        names: the languages that a question is to have -> their English names.
        translations: the languages of the files of translations.
        translated: these files: JSON Lines, a row a question: ``id``, ``question``, ``answer`` (a text, or a list of
            all that are right) and, where it has one, ``context``. It takes the place of what `source` says.
        model: the name of the model that writes wrong options for what has fewer than three; None asks none.
        kind: ``endpoint`` or ``recorded``, see :func:`lorebridge.probes.making.asker`; so the four that follow `work`.
        work: a folder that keeps the replies, so that a killed job need not ask again.
        tries: how often a question is asked whose options are wrong.
        section: of the configuration, that says all this.
        out: JSON Lines of shape ``paper``, in the order of `source`.
        calls: JSON Lines, a row each prompt: ``step``, ``id``, ``model``, ``prompt``, ``response``, ``finish``.

    Returns:
        Notes for the record: ``questions``, ``left_out`` (reason -> questions), ``asked`` (those that a model wrote
        options for), ``without`` (reason of the last try -> questions that have none).

    Raises:
        InputError: a file is malformed, has an id twice, or nothing is left; the endpoint fails, or a prompt is not
            recorded.
        Busy: another process works in `work`.
    """
    langs = list(names)
    questions, left_out = read_questions(shape, source, langs, base)
    counted = Counter(left_out)
    for lang, path in zip(translations, translated, strict=True):
        counted[f"translation into {lang} of no question"] += _translate(questions, lang, Path(path))
    whole = [question for question in questions if all(lang in question.wordings for lang in langs)]
    counted["not in every language"] += len(questions) - len(whole)
    if not whole:
        raise InputError(source, f"no question in {', '.join(langs)}", "Give translations of its ids, or fewer langs.")
    for question in whole:
        for lang, wording in question.wordings.items():
            wording.negatives = sound(wording, lang, Counter())
    wanting = [q for q in whole if any(len(w.negatives) < N_NEGATIVES for w in q.wordings.values())]
    log_of_calls: list[dict[str, Any]] = []
    without: dict[str, str] = {}
    if model is not None:
        ask, identity = asker(
            model,
            str(kind),
            base_url=base_url,
            key_env=key_env,
            concurrency=concurrency,
            recorded=recorded,
            section=f"{section}.model",
        )
        without = dict.fromkeys((question.question_id for question in wanting), "")
        with locked(work):
            journal = Journal(Path(work) / "replies.jsonl", Reply)
            for turn in range(1, tries + 1):
                left = [question for question in wanting if question.question_id in without]
                requests = [
                    Request(f"negatives {turn}", q.question_id, _prompt(q, langs, names, without[q.question_id]))
                    for q in left
                ]
                replies = answers(requests, identity, ask, 4 * concurrency, journal)
                for question, request, reply in zip(left, requests, replies, strict=True):
                    log_of_calls.append({**dataclasses.asdict(request), "model": model, **dataclasses.asdict(reply)})
                    if wrong := _take(question, langs, reply):
                        without[question.question_id] += f"- {wrong}\n"
                    else:
                        del without[question.question_id]
    publish.write_text(out, "".join(json.dumps(_row(q, langs), ensure_ascii=False) + "\n" for q in whole))
    with replacing(calls) as file:
        for row in log_of_calls:
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    reasons = Counter(said.strip().splitlines()[-1].removeprefix("- ").partition(":")[0] for said in without.values())
    for reason, n in reasons.items():
        log.warning("%d questions have no wrong options: %s", n, reason)
    return {
        "questions": len(whole),
        "left_out": {why: n for why, n in counted.items() if n},
        "asked": len(wanting) if model is not None else 0,
        "without": dict(reasons),
    }


def _translate(questions: Sequence[Question], lang: str, path: Path) -> int:
    """Give questions their wording in a language; return how many translations are of no question."""
    by_id = {question.question_id: question for question in questions}
    seen: dict[str, int] = {}
    unknown = 0
    for number, row in json_rows(path):
        where, name = f"{path}, row {number}", str(row.get("id"))
        if name in seen:
            raise InputError(f"{where}, key id", f"{name} stands in row {seen[name]}, too", "Take one of the two out.")
        seen[name] = number
        if name not in by_id:
            unknown += 1
            continue
        said, context = row.get("question"), row.get("context")
        if not isinstance(said, str) or not isinstance(context, str | None):
            raise InputError(
                where, "its question or its context is no text", "Give texts; the context may be left out."
            )
        right = texts(f"{where}, key answer", row.get("answer"))
        by_id[name].wordings.pop(lang, None)
        if said.strip() and right:
            by_id[name].wordings[lang] = Wording(said, right, [], context or "")
    return unknown


def _prompt(question: Question, langs: Sequence[str], names: Mapping[str, str], wrong: str) -> str:
    """Return what a model is asked, with what was wrong so far."""
    item = {
        lang: {"question": question.wordings[lang].question, "answer": question.wordings[lang].answers}
        for lang in langs
    }
    asked = TO_NEGATIVES.format(
        n=N_NEGATIVES,
        languages=" and ".join(names[lang] for lang in langs),
        form=", ".join(f'"{lang}": [{N_NEGATIVES} texts]' for lang in langs),
        item=json.dumps(item, ensure_ascii=False, indent=1),
    )
    return asked + (AGAIN.format(reasons=wrong.rstrip()) if wrong else "")


def _take(question: Question, langs: Sequence[str], reply: Reply) -> str:
    """Give a question the wrong options of a reply; return what is wrong with them instead."""
    said = read_reply(reply, {"negatives": dict})
    if isinstance(said, str):
        return said
    found = {}
    for lang in langs:
        given = said["negatives"].get(lang)
        if not isinstance(given, list) or not all(isinstance(text, str) for text in given) or len(given) != N_NEGATIVES:
            return f"not {N_NEGATIVES} texts: {lang}"
        out: Counter[str] = Counter()
        wording = question.wordings[lang]
        found[lang] = sound(dataclasses.replace(wording, negatives=[text.strip() for text in given]), lang, out)
        for why in out:
            return f"{why}: {json.dumps(given, ensure_ascii=False)} ({lang})"
    for lang, negatives in found.items():
        question.wordings[lang].negatives = negatives
    return ""


def _row(question: Question, langs: Sequence[str]) -> dict[str, Any]:
    """Return a question as a row of the paper's."""
    said = {lang: question.wordings[lang] for lang in langs}
    return {
        "id": question.question_id,
        **{key: value for key in ("split", "page_id") if (value := getattr(question, key)) is not None},
        "title": question.title,
        "context": {lang: wording.context or None for lang, wording in said.items()},
        "question": {lang: wording.question for lang, wording in said.items()},
        "answer": {lang: wording.answers for lang, wording in said.items()},
        "negatives": {lang: wording.negatives for lang, wording in said.items()},
    }
