"""The table of questions that are answered freely, and that of what models answer."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lorebridge import tables
from lorebridge.corpora.facts import json_rows
from lorebridge.corpora.openqa import known_languages, read_open
from lorebridge.errors import InputError
from lorebridge.probes.answering import Responder, answer_questions, counts, form_of
from lorebridge.probes.models import load_tokenizer, require_one_run, set_threads, weights_digest
from lorebridge.probes.serving import endpoint, own, vllm
from lorebridge.probes.wording import CHAT, ENDPOINT, OWN, VLLM, Manner
from lorebridge.records import Digest, DigestCache, file_digest

log = logging.getLogger("lorebridge.probes")

# What of a folder says how a text becomes tokens, and how it ends.
_READING = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")


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


def ask_open(
    *,
    run: str,
    questions: Sequence[Path],
    engine: str,
    out: Path,
    work: Path,
    manner: Mapping[str, Any] | None = None,
    names: Mapping[str, str] | None = None,
    hints: Path | None = None,
    checkpoints: Sequence[tuple[int | None, Path]] = (),
    batch_tokens: int = 16384,
    gpus: int = 0,
    max_model_len: int | None = None,
    model: str | None = None,
    base_url: str | None = None,
    key_env: str | None = None,
    concurrency: int = 8,
    timeout: float = 300.0,
    answers_as: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
    section: str = "answering",
    device: str | None = None,
    threads: int | None = None,
    digests: Path | str | None = None,
) -> dict[str, Any]:
    """Ask a model open questions, and write the table ``answers``.

    Args:
        run: what the model is called.
        questions: tables ``open_questions``, or JSON Lines as :func:`read_asked` takes them.
        engine: a key of :data:`~lorebridge.probes.wording.ENGINES`.
        out: the table to write: checkpoint by checkpoint, the questions in their order, sample by sample.
        work: a folder that keeps the answers, and is not deleted. What it holds is not asked again.
        manner: how questions are put, as :class:`~lorebridge.probes.wording.Manner` has it.
        names: language -> its English name, where it is not among those that are known.
        hints: table ``hints``; each question is asked with each of its hints, too.
        checkpoints: step and folder of each; the step of a model that is given is None.
        batch_tokens: own: tokens of a batch, padding and answers included.
        gpus, max_model_len: vllm: see :func:`lorebridge.probes.serving.vllm`.
        model: endpoint: its name there.
        base_url, key_env, concurrency, timeout, answers_as, extra, section: endpoint: see
            :func:`lorebridge.probes.serving.endpoint`.
        device: own: where to compute.
        threads: CPU threads for a model that is read here.
        digests: the folder of a :class:`~lorebridge.records.DigestCache`.

    Returns:
        Notes for the record: see :func:`lorebridge.probes.answering.counts`.

    Raises:
        InputError: the engine is not known or lacks what it needs, a question is malformed, or the model fails. What
            was answered until then is kept.
        Busy: another process asks in `work`.
    """
    said = Manner(**(manner or {}))
    asked = pd.concat([read_asked(path) for path in questions], ignore_index=True)
    if hints is not None:
        asked = hinted(asked, hints)
    called = {lang: known["name"] for lang, known in known_languages().items()} | dict(names or {})
    digest = DigestCache(digests) if digests else file_digest

    def rows(step: int | None, who: Sequence[Any], form: str, load: Callable[[], Responder]) -> pd.DataFrame:
        return answer_questions(
            model=run,
            step=step,
            questions=asked,
            names=called,
            manner=said,
            identity=who,
            load=load,
            form=form,
            work=work,
        )

    found = []
    if engine == ENDPOINT:
        if model is None or base_url is None:
            raise InputError(section, "an endpoint lacks the model's name or an address", "Give both.")
        there = endpoint(
            model,
            said,
            base_url=base_url,
            key_env=key_env,
            concurrency=concurrency,
            timeout=timeout,
            answers_as=answers_as,
            extra=extra or {},
            section=section,
        )
        found.append(rows(None, [engine, model, dict(extra or {})], CHAT, lambda: there))
    elif engine in (OWN, VLLM):
        set_threads(threads)
        require_one_run([folder for _, folder in checkpoints])
        for step, folder in checkpoints:
            read = reader(
                engine,
                folder,
                said,
                batch_tokens=batch_tokens,
                device=device,
                gpus=gpus,
                max_model_len=max_model_len,
                digest=digest,
            )
            found.append(rows(step, *read))
    else:
        raise InputError("engine", f"{engine!r} is not known", f"There are {OWN}, {VLLM} and {ENDPOINT}.")
    answers = pd.concat(found, ignore_index=True) if len(found) > 1 else found[0]
    tables.write("answers", answers.astype({"step": "Int32", "n_tokens": "Int32", "n_thought": "Int32"}), out)
    notes = counts(answers)
    log.info("%s: %s", run, notes)
    return notes


def reader(
    engine: str,
    folder: Path,
    said: Manner,
    *,
    batch_tokens: int,
    device: str | None,
    gpus: int,
    max_model_len: int | None,
    digest: Digest,
) -> tuple[list[Any], str, Callable[[], Responder]]:
    """Return what makes an answer that of the model in a folder, how it is asked, and what loads it.

    Args:
        engine: ``own`` or ``vllm``.
        folder: of Hugging Face's form.
        said: how questions are put.
        batch_tokens, device, gpus, max_model_len: see :func:`ask_open`.
        digest: gives the sha256 of a file.

    Raises:
        InputError: the folder has no tokenizer.
    """
    load = (
        functools.partial(own, folder, said, batch_tokens=batch_tokens, device=device)
        if engine == OWN
        else functools.partial(vllm, folder, said, gpus=gpus, max_model_len=max_model_len)
    )
    who = [engine, weights_digest(folder, digest), _reading(folder, digest)]
    return who, form_of(said.form, load_tokenizer(folder)), load


def _reading(folder: Path, digest: Digest) -> list[str | None]:
    return [digest(path) if (path := folder / name).is_file() else None for name in _READING]


def read_asked(path: Path | str) -> pd.DataFrame:
    """Return open questions as rows of the table ``open_questions``.

    Args:
        path: that table (.parquet), or JSON Lines (.jsonl): ``question``, and where they are known ``question_id``
            (else the number of the row, from 0), ``lang`` (else ``und``), ``source_lang``, ``answers`` (a list) or
            ``answer``, ``context``, and ``dataset`` (else the file's name).

    Raises:
        InputError: neither, no question in it, or a row is malformed or stands twice: names it.
    """
    path = Path(path)
    if path.suffix == ".parquet":
        found = tables.read(path)
    elif path.suffix == ".jsonl":
        rows = [_row(f"{path}, row {number}", row, number - 1, path.stem) for number, row in json_rows(path)]
        found = pd.DataFrame(rows, columns=tables.SCHEMAS["open_questions"].names)
    else:
        raise InputError(path, "is neither Parquet nor JSON Lines", "Give a .parquet or a .jsonl file.")
    if found.empty:
        raise InputError(path, "has no question", "Give one a row.")
    twice = found.duplicated(["dataset", "question_id", "lang"])
    if twice.any():
        row = found[twice].iloc[0]
        raise InputError(
            path, f"the question {row['question_id']} stands twice in {row['lang']}", "Give each an id of its own."
        )
    return found


def _row(where: str, row: Mapping[str, Any], number: int, dataset: str) -> dict[str, Any]:
    said: dict[str, Any] = {"dataset": dataset, "question_id": str(number), "lang": "und", "context": "", "page": ""}
    said |= {"source_lang": None, "translation": None, "output_type": None, "question": None}
    for key in said:
        value = row.get(key)
        if value is None:
            continue
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise InputError(f"{where}, key {key}", f"is {value!r}, no text", "Write a string.")
        said[key] = str(value)
    question = said["question"]
    if question is None or not question.strip():
        raise InputError(f"{where}, key question", "is missing or blank", "Write what is asked.")
    answers = row.get("answers", [row["answer"]] if "answer" in row else [])
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise InputError(f"{where}, key answers", "is no list of strings", "Write at least one, each a string.")
    return {**said, "answers": answers}


def hinted(questions: pd.DataFrame, hints: Path) -> pd.DataFrame:
    """Return questions without a hint, followed by the same with each of their hints.

    Args:
        questions: rows of the table ``open_questions``.
        hints: table ``hints``.

    Raises:
        InputError: a hint is of a question that is not there.
    """
    told = tables.read(hints, ["dataset", "question_id", "lang", "hint", "text"]).rename(columns={"text": "hint_text"})
    both = told.merge(questions, on=["dataset", "question_id", "lang"], how="left", validate="many_to_one")
    if both["question"].isna().any():
        row = both[both["question"].isna()].iloc[0]
        raise InputError(hints, f"is of the question {row['question_id']}, which is not asked", "Remake it.")
    plain = questions.assign(hint=None, hint_text="")
    return pd.concat([plain, both[plain.columns]], ignore_index=True)
