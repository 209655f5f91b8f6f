"""Open questions put to a model: how they are worded, what it thinks and answers, and the one table of it.

A model is a folder, read by :mod:`lorebridge.probes.generation` or by vLLM (:mod:`lorebridge.probes.serving`), or a
name at an OpenAI-compatible endpoint. Whatever reads it, a question is put in the same words and an answer is kept on
disk as it comes, so that none is asked for twice, also where other questions come beside it later.

Models that think do so before they answer, between marks (``<think>``, ``</think>``) or in a field of their own. With
``budget``, thinking ends after so many tokens, the closing mark is written for the model, and it answers (budget
forcing: Muennighoff et al. 2025, s1).
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from tqdm import tqdm

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.journal import Journal
from lorebridge.probes.wording import (
    CHAT,
    LENGTH,
    MARKS,
    NO_HINT,
    OFF,
    ON,
    PLAIN,
    STOP,
    THOUGHT,
    Manner,
    build,
    build_apart,
)
from lorebridge.records import fingerprint
from lorebridge.work import locked

log = logging.getLogger("lorebridge.probes")


@dataclasses.dataclass(frozen=True)
class Asked:
    """One question as it is put.

    Attributes:
        text: what the model reads: a user's message, or the beginning of a text.
        sample: which of its answers is asked for, from 0.
        parts: the text in three that are cut into tokens apart from each other; empty where it is one. Special tokens
            are what they are called in the first and the last, and letters in the second, which is the question.
    """

    text: str
    sample: int
    parts: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Reply:
    """What a model says.

    Attributes:
        answer: what it answers, blanks around it left out; empty where it says nothing.
        thought: what it thought, likewise.
        ended: how: by itself (``end``), by a string (``stop``), cut for want of tokens (``length``), cut while it
            thought, so that there is no answer (``thought``), or what an endpoint says of one that it withholds.
        thought_cut: whether its thinking was ended by the budget.
        n_tokens, n_thought: tokens of the answer and of the thought; None where nobody says.
        served: under which name an endpoint answered.
    """

    answer: str
    thought: str
    ended: str
    thought_cut: bool
    n_tokens: int | None
    n_thought: int | None
    served: str | None


class Responder(Protocol):
    """What answers.

    Attributes:
        form: how it is asked: ``chat`` or ``plain``.
    """

    form: str

    def __call__(self, asked: Sequence[Asked]) -> Iterable[Mapping[int, Reply]]:
        """Yield answers as they come: place of the question -> reply."""


def split_thought(text: str, opened: bool, marks: Sequence[str] = MARKS) -> tuple[str | None, str | None]:
    """Return the thought and the answer in what a model wrote; None for what is not there.

    Args:
        text: what it wrote.
        opened: whether its prompt has begun the thought.
        marks: what stands around a thought.
    """
    first, last = marks
    body = text.lstrip()
    if body.startswith(first):
        body, opened = body[len(first) :], True
    if last in body:  # also where the mark that opens it stood in a prompt that only an endpoint knows
        thought, _, answer = body.partition(last)
        return thought.strip(), answer.strip()
    return (body.strip(), None) if opened else (None, body.strip())


def answer_questions(
    *,
    model: str,
    step: int | None,
    questions: pd.DataFrame,
    names: Mapping[str, str],
    manner: Manner,
    identity: Any,
    load: Callable[[], Responder],
    form: str,
    work: Path,
) -> pd.DataFrame:
    """Return the rows of the table ``answers`` of a model.

    Args:
        model: what it is called.
        step: of its checkpoint; None of a model that is given.
        questions: rows of the table ``open_questions``, with ``hint`` and ``hint_text`` where hints are given.
        names: language -> its English name.
        manner: how they are put.
        identity: what makes an answer this model's, of JSON types.
        load: called if something is left to ask.
        form: ``chat`` or ``plain``.
        work: a folder that keeps the answers, and is not deleted: what it holds is not asked again.

    Raises:
        InputError: a language has no prompt, or the model fails. What was answered until then is kept.
        Busy: another process asks in `work`.
    """
    rows = questions.astype(object).where(questions.notna(), None).to_dict("records")
    texts = [build(row, manner.words(form, row["lang"]), names) for row in rows]
    parts = [build_apart(row, manner.words(form, row["lang"]), names) if manner.apart else () for row in rows]
    stops = manner.stops(form)
    left = ("samples", "prompt", "form", *(() if manner.apart else ("apart",)))
    said = {key: value for key, value in dataclasses.asdict(manner).items() if key not in left}
    asked = [
        Asked(text, sample, cut) for text, cut in zip(texts, parts, strict=True) for sample in range(manner.samples)
    ]
    keys = [fingerprint([identity, form, said | {"stop": stops}, one.text, one.sample]) for one in asked]
    with locked(work):
        known = keep(dict(zip(keys, asked, strict=True)), Journal(Path(work) / "answers.jsonl", Reply), load, model)
    found = []
    places = itertools.product(range(len(rows)), range(manner.samples))
    for (at, sample), key in zip(places, keys, strict=True):
        row, reply = rows[at], known[key]
        found.append(
            {
                **{name: row[name] for name in ("dataset", "question_id", "source_lang")},
                "model": model,
                "step": step,
                "target_lang": row["lang"],
                "hint": row.get("hint") or NO_HINT,
                "sample": sample,
                "prompt_id": fingerprint(texts[at]),
                "prompt": texts[at],
                **dataclasses.asdict(reply),
                "truncated": reply.ended in (LENGTH, THOUGHT),
            }
        )
    columns = tables.SCHEMAS["answers"].names
    return pd.DataFrame(found, columns=columns)


def keep(
    asked: Mapping[str, Asked], journal: Journal[Reply], load: Callable[[], Responder], what: str
) -> dict[str, Reply]:
    """Return the reply to each question by key; ask those that a journal does not know, and keep each as it comes."""
    known = journal.read()
    left = {key: one for key, one in asked.items() if key not in known}
    log.info("%s: %d questions, of which %d are answered", what, len(asked), len(asked) - len(left))
    if left:
        keys = list(left)
        with tqdm(total=len(left), desc=f"ask {what}", unit="answer") as bar:
            for replies in load()(list(left.values())):
                new = {keys[place]: reply for place, reply in replies.items()}
                journal.append(new)
                known |= new
                bar.update(len(new))
    return {key: known[key] for key in asked}


def called(answers: pd.DataFrame) -> list[str]:
    """Return what each answer's model is called where checkpoints have no column of their own."""
    steps = zip(answers["model"], answers["step"], strict=True)
    return [model if pd.isna(step) else f"{model} step {step}" for model, step in steps]


def counts(answers: pd.DataFrame) -> dict[str, Any]:
    """Return notes for a record: ``answers``, and those that are cut, empty, without an answer, by reason."""
    found = Counter(answers["ended"])
    notes: dict[str, Any] = {"answers": len(answers), "ended": dict(sorted(found.items()))}
    notes["empty"] = int((answers["answer"] == "").sum())
    notes["thoughts"] = int((answers["thought"] != "").sum())
    notes["thoughts cut"] = int(answers["thought_cut"].sum())
    if served := Counter(answers["served"].dropna()):
        notes["served"] = dict(sorted(served.items()))
    return notes


# Models whose tokens are written here ---------------------------------------------------------------------------------

Generate = Callable[..., Iterator[Mapping[int, tuple[str, int, str]]]]
"""Takes token prompts, ``max_tokens``, ``stops`` (strings), ``temperature`` and ``seeds``; yields place -> (text, how
many tokens, how it ended)."""


class Local:
    """Answers with a model whose tokens are written by `generate`.

    Args:
        tokenizer: of the model.
        generate: see :data:`Generate`.
        manner: how questions are put.
        form: ``chat`` or ``plain``.

    Raises:
        InputError: the chat template does not keep a message whole.
    """

    def __init__(self, tokenizer: Any, generate: Generate, manner: Manner, form: str) -> None:
        """Prepare what all prompts share."""
        self.form = form
        self._tokenizer, self._generate, self._manner = tokenizer, generate, manner
        self._head, self._tail, self.opened = self._frame()

    def _frame(self) -> tuple[list[int], list[int], bool]:
        """Return the tokens before and behind what is asked, and whether they open a thought."""
        from lorebridge.probes.models import start_token

        if self.form == PLAIN:
            return [start_token(self._tokenizer)], [], False
        slot = "{message}"
        first, last = self._manner.marks
        # Some templates print today's date unless they are given one.
        text = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": slot}],
            tokenize=False,
            add_generation_prompt=True,
            date_string="01 Jan 2025",
            enable_thinking=self._manner.thinking != OFF,
        )
        parts = text.split(slot)
        if len(parts) != 2:
            raise InputError(
                self._tokenizer.name_or_path,
                "its chat template does not keep a user's message whole",
                "Ask it with form: plain.",
            )
        head, tail = parts
        opened = tail.rstrip().endswith(first)
        if opened and self._manner.thinking == OFF:
            tail, opened = f"{tail.rstrip()}\n\n{last}\n\n", False
        return self._tokens(head), self._tokens(tail), opened

    def _tokens(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def prompt(self, asked: Asked) -> list[int]:
        """Return the tokens of a question. A special token that it spells out is letters."""
        before, text, after = asked.parts or ("", asked.text, "")
        own = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
        return [*self._head, *self._tokens(before), *own["input_ids"], *self._tokens(after), *self._tail]

    def __call__(self, asked: Sequence[Asked]) -> Iterator[Mapping[int, Reply]]:
        """Yield answers, a batch at a time."""
        manner = self._manner
        prompts = [self.prompt(one) for one in asked]
        if manner.thinking == OFF:
            for written in self._write(asked, prompts, manner.stops(self.form), manner.max_tokens, 0):
                yield {place: self._read(*said, 0, "") for place, said in written.items()}
            return
        assert manner.thinking_tokens is not None
        for written in self._write(asked, prompts, manner.marks[1:], manner.thinking_tokens, 0):
            ready, open_ = {}, {}
            for place, (text, n, ended) in written.items():
                thought, answer = split_thought(text, self.opened, manner.marks)
                if ended == STOP:
                    open_[place] = (text, thought or "", n, False)
                elif thought is not None and answer is None and ended == LENGTH and manner.thinking != ON:
                    open_[place] = (f"{text}\n{manner.marks[1]}\n\n", thought, n, True)
                elif thought is not None and answer is None:
                    ready[place] = Reply("", thought, THOUGHT if ended == LENGTH else ended, False, 0, n, None)
                else:  # it did not think
                    ready[place] = self._read(text, n, ended, 0, "")
            if ready:
                yield ready
            yield from self._go_on(asked, prompts, open_)

    def _go_on(
        self, asked: Sequence[Asked], prompts: Sequence[list[int]], open_: Mapping[int, tuple[str, str, int, bool]]
    ) -> Iterator[Mapping[int, Reply]]:
        """Yield the answers behind thoughts that have ended: place -> (text so far, thought, its tokens, if cut)."""
        places = list(open_)
        behind = [[*prompts[place], *self._tokens(open_[place][0])] for place in places]
        again = [asked[place] for place in places]
        for written in self._write(again, behind, self._manner.stops(self.form), self._manner.max_tokens, 1):
            yield {
                places[at]: self._read(*said, open_[places[at]][2], open_[places[at]][1], open_[places[at]][3])
                for at, said in written.items()
            }

    def _write(
        self, asked: Sequence[Asked], prompts: Sequence[list[int]], stops: Sequence[str], max_tokens: int, part: int
    ) -> Iterator[Mapping[int, tuple[str, int, str]]]:
        seeds = [(self._manner.seed, one.sample, part, int(fingerprint(one.text)[:8], 16)) for one in asked]
        yield from self._generate(
            prompts, max_tokens=max_tokens, stops=stops, temperature=self._manner.temperature or 0.0, seeds=seeds
        )

    def _read(self, text: str, n: int, ended: str, n_thought: int, thought: str, cut: bool = False) -> Reply:
        stops = self._manner.stops(self.form)
        ends = [at for stop in stops if (at := text.find(stop)) >= 0]
        answer = text[: min(ends)] if ends else text
        for token in self._tokenizer.all_special_tokens:
            answer = answer.replace(token, "")
        return Reply(answer.strip(), thought, ended, cut, n, n_thought, None)


def form_of(form: str | None, tokenizer: Any) -> str:
    """Return how a model is asked: as said, else by its chat template where it has one."""
    return form or (CHAT if tokenizer.chat_template else PLAIN)


def stopper(tokenizer: Any, stops: Sequence[str]) -> Callable[[Sequence[int]], bool] | None:
    """Return what says of tokens whether one of some strings has just been written; None where there are none."""
    if not stops:
        return None
    # A token has a byte or more, so that the string lies within as many.
    most = max(len(stop.encode()) for stop in stops)

    def stopped(tokens: Sequence[int]) -> bool:
        last = tokenizer.decode(list(tokens[-most:]), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return any(stop in last for stop in stops)

    return stopped


def end_tokens(tokenizer: Any, generation: Any = None) -> set[int]:
    """Return the tokens that end a text: those that the model, its tokenizer, and training end texts with."""
    from lorebridge.probes.models import END_OF_TEXT

    said = getattr(generation, "eos_token_id", None)
    found: set[int | None] = {*said} if isinstance(said, Collection) else {said}
    found |= {tokenizer.eos_token_id, tokenizer.get_vocab().get(END_OF_TEXT)}
    return {token for token in found if token is not None}
