"""Judges say of each retrieved chunk whether it states the fact that a question asks for."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import regex
from tqdm import tqdm

from lorebridge import tables
from lorebridge.chat import read_key
from lorebridge.errors import InputError
from lorebridge.trace import endpoint, llm
from lorebridge.trace.analysis import Script, script_of
from lorebridge.trace.asked import Asked, Question, read_asked, read_questions
from lorebridge.trace.hits import open_chunks

log = logging.getLogger("lorebridge.trace")

YES, NO, INDETERMINATE = "yes", "no", "indeterminate"


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """The patterns of one question: for each way to name its subject those of its phrases; None without a gold."""

    subject: list[list[regex.Pattern[str]]]
    gold: regex.Pattern[str] | None
    distractors: list[regex.Pattern[str]]


class CoOccurrence:
    """Subject-object co-occurrence: the occurrence check of Zhao, Yoshinaga and Oba (EACL 2024, "Tracing the Roots of
    Facts in Multilingual Language Models").

    A fact is taken as stated where its subject and its object stand together. Their facts come with a subject; that of
    a cloze question is found by :func:`lorebridge.trace.subjects.find_subjects`. A chunk is positive when one window of
    sentences names the subject and holds the gold. (Their window is a piece of 512 wordpieces; a sentence is stricter.)

    Args:
        script: the Unicode script that the corpus is read by.
        window: how many consecutive sentences share a window.
        asked: what is looked for on behalf of each question.
    """

    name = "cooccurrence"

    def __init__(self, script: str, *, window: int = 1, asked: Iterable[Asked] = ()) -> None:
        """Prepare a judge for texts in `script`."""
        self.script = script_of(script)
        self.window = window
        self._prepared = {one.question_id: self._prepare(one) for one in asked}

    def windows(self, text: str) -> list[str]:
        """Return the windows of `text` in the form that phrases search."""
        sentences = [self.script.searchable(sentence) for sentence in self.script.sentences(text)]
        last = max(len(sentences) - self.window, 0)
        return ["".join(sentences[i : i + self.window]) for i in range(last + 1)] if sentences else []

    def judge(self, questions: Sequence[Question], hits: pd.DataFrame, chunks: Path) -> list[dict[str, Any]]:
        """Return a row of table "judgments" for every hit, in the order of `hits`.

        ``distractor_entails`` is the share of the question's judgeable distractors that would have been called
        stated in that chunk: a control that needs no labels. It is null where no distractor can be judged.

        Raises:
            InputError: no subject was looked for on behalf of a question, or a chunk is missing.
        """
        if missing := {question.question_id for question in questions} - self._prepared.keys():
            raise InputError(
                "subjects", f"lack {len(missing)} questions (the first: {min(missing)})", "Remake the table."
            )
        texts = read_chunks(chunks, set(hits["chunk_id"]))
        windows: dict[str, list[str]] = {}
        rows = []
        for question_id, chunk_id in tqdm(
            hits[["question_id", "chunk_id"]].itertuples(index=False), total=len(hits), desc="judge", unit="hit"
        ):
            asked = self._prepared[question_id]
            if chunk_id not in windows:
                windows[chunk_id] = self.windows(texts[chunk_id])
            about = [
                w for w in windows[chunk_id] if any(all(term.search(w) for term in terms) for terms in asked.subject)
            ]
            verdict = INDETERMINATE
            if asked.subject and asked.gold:
                verdict = YES if any(asked.gold.search(w) for w in about) else NO
            control = None
            if asked.subject and asked.distractors:
                control = float(np.mean([any(phrase.search(w) for w in about) for phrase in asked.distractors]))
            row = {
                "question_id": question_id,
                "chunk_id": chunk_id,
                "entails": verdict,
                "probability": None if verdict == INDETERMINATE else float(verdict == YES),
                "judge": self.name,
                "distractor_entails": control,
            }
            rows.append(row)
        return rows

    def _prepare(self, asked: Asked) -> _Prepared:
        return _Prepared(
            subject=[self._phrases(terms) for terms in asked.wordings],
            gold=self.script.phrase(asked.gold) if asked.gold is not None else None,
            distractors=self._phrases(asked.distractors),
        )

    def _phrases(self, texts: Iterable[str]) -> list[regex.Pattern[str]]:
        return [phrase for text in texts if (phrase := self.script.phrase(text))]


class LanguageModel:
    """Entailment by a language model, as in the paper (Zhang et al., ACL 2025, appendix C: Llama-3.1-70B).

    A chunk is positive when the model says yes to the question with its gold filled in (see
    :mod:`lorebridge.trace.llm`). A question without a gold is indeterminate, and so is an answer that is neither yes
    nor no.

    Args:
        script: the Unicode script that the corpus is read by.
        name: what the judge is called in its judgments.
        ask: asks the model: see :func:`lorebridge.trace.llm.ask`.
        translations: table "translations"; where given, the model reads these in place of chunks and statements.
    """

    def __init__(
        self,
        script: str,
        *,
        name: str,
        ask: Callable[..., dict[tuple[str, str], llm.Answer]],
        translations: Path | None = None,
    ) -> None:
        """Prepare a judge for questions in `script`."""
        self.script = script_of(script)
        self.name = name
        self.translations = translations
        self.n_cut = 0
        self._ask = ask

    def judge(self, questions: Sequence[Question], hits: pd.DataFrame, chunks: Path) -> list[dict[str, Any]]:
        """Return a row of table "judgments" for every hit, in the order of `hits`.

        ``distractor_entails`` is null: to ask of every distractor too would cost several times as much. Afterwards
        ``n_cut`` is the number of pairs of a question and a chunk whose chunk was cut.
        """
        with_gold = {question.question_id for question in questions if question.gold is not None}
        pairs = list(hits[["question_id", "chunk_id"]].itertuples(index=False, name=None))
        asked = [(question_id, chunk_id) for question_id, chunk_id in pairs if question_id in with_gold]
        wanted = {chunk_id for _, chunk_id in asked}
        if self.translations is None:
            statements = state(questions, self.script)
            passages = read_chunks(chunks, wanted)
        else:
            statements, passages = self._read_translations({question_id for question_id, _ in asked}, wanted)
        answers = self._ask(asked, statements=statements, passages=passages)
        self.n_cut = sum(answer.cut for answer in answers.values())
        if self.n_cut:
            log.warning("%d of %d passages were cut to fit the judge", self.n_cut, len(answers))
        rows = []
        for question_id, chunk_id in pairs:
            answer = answers.get((question_id, chunk_id))
            entails = None if answer is None else answer.entails
            row = {
                "question_id": question_id,
                "chunk_id": chunk_id,
                "entails": INDETERMINATE if entails is None else YES if entails else NO,
                "probability": None if answer is None else answer.probability,
                "judge": self.name,
                "distractor_entails": None,
            }
            rows.append(row)
        return rows

    def _read_translations(self, question_ids: set[str], chunk_ids: set[str]) -> tuple[dict[str, str], dict[str, str]]:
        """Return the statements and the passages in translation.

        Raises:
            InputError: the table lacks one.
        """
        assert self.translations is not None
        rows = tables.read(self.translations)
        found = []
        for kind, wanted in (("statement", question_ids), ("chunk", chunk_ids)):
            of_kind = rows[rows["kind"] == kind]
            texts = dict(zip(of_kind["id"], of_kind["text"], strict=True))
            if missing := wanted - texts.keys():
                raise InputError(
                    self.translations,
                    f"lacks {len(missing)} {kind}s (the first: {min(missing)})",
                    "Remake it from these hits.",
                )
            found.append(texts)
        return found[0], found[1]


def state(questions: Iterable[Question], script: Script) -> dict[str, str]:
    """Return the statement of each question that has a gold: the cloze with the gold filled in, by question_id."""
    return {
        question.question_id: script.fill(question.text, question.gold)
        for question in questions
        if question.gold is not None
    }


def read_chunks(chunks: Path, wanted: set[str]) -> dict[str, str]:
    """Return the texts of the wanted chunks, by chunk_id.

    Raises:
        InputError: the table lacks one.
    """
    texts: dict[str, str] = {}
    for batch in open_chunks(chunks).iter_batches(1000, columns=["chunk_id", "text"]):
        for chunk_id, text in zip(batch["chunk_id"].to_pylist(), batch["text"].to_pylist(), strict=True):
            if chunk_id in wanted:
                texts[chunk_id] = text
    _require_all(chunks, wanted, texts)
    return texts


def _require_all(chunks: Path, wanted: set[str], texts: Mapping[str, str]) -> None:
    if missing := wanted - texts.keys():
        raise InputError(
            chunks,
            f"lacks {len(missing)} chunks that the hits name (the first: {min(missing)})",
            "Remake the index and the hits from these chunks.",
        )


_TAKEN_BY = {"model": ("vllm", "endpoint"), "revision": ("vllm",), "base_url": ("endpoint",), "key_env": ("endpoint",)}
"""What is said of a language model -> the kinds of judge that it is said of."""


def _refuse_needless(kind: str, given: Mapping[str, str | None]) -> None:
    """Refuse what is said of another kind of judge.

    Raises:
        InputError: names it.
    """
    for name, kinds in _TAKEN_BY.items():
        if given[name] is not None and kind not in kinds:
            raise InputError("judge", f"{kind} has no use for {name}", f"It is of {' and '.join(kinds)}: leave it out.")


def judge(
    *,
    kind: str,
    hits: Path,
    chunks: Path,
    questions: Path,
    lang: str,
    script: str,
    out: Path,
    window: int = 1,
    model: str | None = None,
    revision: str | None = None,
    max_model_len: int = 8192,
    gpus: int = 0,
    base_url: str | None = None,
    key_env: str | None = None,
    concurrency: int = 8,
    translations: Path | None = None,
    work: Path | None = None,
    subjects: Path | None = None,
    culture: str | None = None,
) -> dict[str, int]:
    """Judge every hit of a culture's questions in one corpus, and write table "judgments".

    Args:
        kind: "cooccurrence" (:class:`CoOccurrence`), or :class:`LanguageModel` by "vllm" (:mod:`lorebridge.trace.llm`)
            or "endpoint" (:mod:`lorebridge.trace.endpoint`).
        hits: table "hits" of the culture in the corpus.
        chunks: table "chunks" of the corpus.
        questions: table "questions" of the culture.
        lang: the language of the corpus, in which the questions are asked.
        script: the Unicode script that the corpus is read by.
        out: where to write.
        window: cooccurrence: how many consecutive sentences count as standing together.
        model: vllm: Hugging Face id or folder; endpoint: the model's name there.
        revision: vllm: the commit of a model on the Hub.
        max_model_len: vllm: tokens that the model reads; a longer chunk is cut.
        gpus: vllm: GPUs that share the model; 0 on the CPU.
        base_url: endpoint: the address of the API.
        key_env: endpoint: the environment variable that holds the key; without, no key is sent that means anything.
        concurrency: endpoint: requests open at a time.
        translations: vllm, endpoint: table "translations" of the hits, which is read in place of the originals.
        work: vllm, endpoint: a folder that keeps the answers, so that a killed job need not ask again; not deleted.
        subjects: cooccurrence: table "subjects" of the corpus's language.
        culture: cooccurrence: that of the questions.

    Returns:
        Notes for the record: counts of hits by verdict; of vllm and endpoint also `cut`, the pairs whose chunk was cut.

    Raises:
        InputError: an unknown kind, a window below 1, a judge that lacks what it needs or is given what it has no use
            for, no question in that language, tables that do not belong together, or an endpoint that fails.
        Busy: another process judges in `work`.
    """
    by: CoOccurrence | LanguageModel
    given = {"model": model, "revision": revision, "base_url": base_url, "key_env": key_env}
    if kind == CoOccurrence.name:
        if window < 1:
            raise InputError("window", f"{window} sentences cannot hold anything", "Give 1 or more.")
        if translations is not None:
            raise InputError("judge", "cooccurrence reads no translations", "Leave them out, or use a language model.")
        _refuse_needless(kind, given)
        if subjects is None or culture is None:
            raise InputError("judge", "cooccurrence lacks its subjects or the culture", "Give both.")
        by = CoOccurrence(script, window=window, asked=read_asked(subjects, [culture]))
    elif kind == "vllm":
        if model is None or work is None:
            raise InputError("judge", "vllm lacks a model or a work folder", "Give both.")
        _refuse_needless(kind, given)
        ask = functools.partial(
            llm.ask,
            identity=[model, revision, max_model_len, llm.CUE],
            load=lambda: llm.load(model, revision=revision, max_model_len=max_model_len, gpus=gpus),
            batch=llm.BATCH,
            work=work,
        )
        by = LanguageModel(script, name=f"{kind}:{model}", ask=ask, translations=translations)
    elif kind == "endpoint":
        if model is None or work is None or base_url is None:
            raise InputError("judge", "endpoint lacks a model, an address or a work folder", "Give all three.")
        _refuse_needless(kind, given)
        answer = endpoint.load(
            model, base_url=base_url, key=read_key(key_env, "tracing.judge"), concurrency=concurrency
        )
        ask = functools.partial(
            llm.ask,
            identity=[kind, model, endpoint.ANSWER_TOKENS],
            load=lambda: answer,
            batch=4 * concurrency,
            work=work,
        )
        by = LanguageModel(script, name=f"{kind}:{model}", ask=ask, translations=translations)
    else:
        raise InputError("judge", f"{kind!r} is not a judge", "Use 'cooccurrence', 'vllm' or 'endpoint'.")
    asked = read_questions(questions, lang)
    found = tables.read(hits, ["question_id", "chunk_id"])
    if strangers := set(found["question_id"]) - {question.question_id for question in asked}:
        raise InputError(hits, f"has hits of unknown questions (the first: {min(strangers)})", "Remake the hits.")
    rows = by.judge(asked, found, chunks)
    tables.write("judgments", rows, out)
    verdicts = Counter(row["entails"] for row in rows)
    log.info("%s: %s", out, ", ".join(f"{verdicts[v]} {v}" for v in (YES, NO, INDETERMINATE)))
    notes = {verdict: verdicts[verdict] for verdict in (YES, NO, INDETERMINATE)}
    return notes | ({"cut": by.n_cut} if isinstance(by, LanguageModel) else {})
