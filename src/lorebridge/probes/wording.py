"""How open questions are put to models, and how they may answer; light, for plans."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lorebridge.errors import InputError

END, STOP, LENGTH, THOUGHT = "end", "stop", "length", "thought"
"""How an answer ends: by itself, by a string that it is stopped at, for want of tokens, or before it begins, as the
tokens ran out in the thought."""
CHAT, PLAIN = "chat", "plain"
FORMS = {CHAT: "a user's message, by the model's chat template", PLAIN: "text that the model goes on with"}
"""What a question may be to a model."""
OWN, VLLM, ENDPOINT = "own", "vllm", "endpoint"
ENGINES = {
    OWN: "read here in float32, token for token as one by one; for small models",
    VLLM: "read by vLLM, in an environment of its own",
    ENDPOINT: "behind an OpenAI-compatible endpoint",
}
"""What answers."""
OFF, ON, BUDGET = "off", "on", "budget"
THINKING = {
    OFF: "the model is told not to; a template that opens a thought has it closed",
    ON: "a thought that needs more than `thinking_tokens` leaves no answer",
    BUDGET: "a thought is ended after `thinking_tokens`, and the model answers (Muennighoff et al. 2025)",
}
"""Whether a model thinks before it answers."""
NO_HINT = "none"
"""What tables call a question as it stands."""
SOURCE, ROMANISED, WRONG, TARGET = "source", "romanised", "wrong", "target"
HINTS = {
    SOURCE: "what the question's key entities are called in its own language",
    ROMANISED: "that name in Latin letters, by uroman",
    WRONG: "what those of another question are called in the question's own language",
    TARGET: "what they are called in the language that is asked, once more",
}
"""What may be said beside a question."""
EXACT = {"strict": "em strict", "folded": "em folded"}
"""Normalisation (:mod:`lorebridge.probes.matching`) -> what tables call exact match by it."""
MARKS = ("<think>", "</think>")
QUESTION, LANGUAGE, HINT = "{question}", "{language}", "{hint}"
PROMPTS = {
    CHAT: "{question}{hint}\n\nAnswer with the answer alone, in {language}, as briefly as you can.",
    PLAIN: "Q: {question}{hint}\nA:",
}
"""How a question is put, unless the configuration says otherwise: our own words, as the paper's are not published."""
STOPS = {CHAT: (), PLAIN: ("\n",)}
"""What ends an answer, beside the model itself."""


@dataclasses.dataclass(frozen=True)
class Manner:
    """How questions are put, and how answers are written.

    Attributes:
        form: ``chat`` (as a user's message, by the model's template) or ``plain`` (text to be continued); None is what
            the model has.
        prompt: the words, with ``{question}``, perhaps ``{language}`` and ``{hint}``; one for all languages, or by
            language; None is :data:`PROMPTS`.
        max_tokens: the most tokens of an answer.
        stop: strings that end an answer; None is :data:`STOPS`.
        samples: how many answers are asked for.
        temperature: 0 takes the likeliest token; None leaves it to an endpoint.
        seed: of what is drawn.
        thinking: ``off``, ``on`` or ``budget``.
        thinking_tokens: the most tokens of a thought. With ``on`` one that is longer leaves no answer; with ``budget``
            it is ended there.
        marks: what stands around a thought.
        apart: whether the words before a question, the question with the space before it, and the words behind it
            become tokens apart from each other, as in rows that models are tuned on
            (:func:`lorebridge.tokens.tuning.asked_ids`). Else a mark that ends a question may become one token with a
            line end behind it, which a tuned model has not met there.
    """

    form: str | None = None
    prompt: str | Mapping[str, str] | None = None
    max_tokens: int = 64
    stop: Sequence[str] | None = None
    samples: int = 1
    temperature: float | None = 0.0
    seed: int = 0
    thinking: str = OFF
    thinking_tokens: int | None = None
    marks: Sequence[str] = MARKS
    apart: bool = False

    def __post_init__(self) -> None:
        """Check what goes together.

        Raises:
            InputError: names what does not.
        """
        for where, what, mend in contradictions(dataclasses.asdict(self)):
            raise InputError(where, what, mend)

    def words(self, form: str, lang: str) -> str:
        """Return what a question in a language is put in.

        Raises:
            InputError: there is nothing for the language.
        """
        if self.prompt is None:
            return PROMPTS[form]
        if isinstance(self.prompt, str):
            return self.prompt
        if lang not in self.prompt:
            raise InputError("prompt", f"says nothing for {lang!r}", "Add it, or give one prompt for all languages.")
        return self.prompt[lang]

    def stops(self, form: str) -> tuple[str, ...]:
        """Return what ends an answer."""
        return STOPS[form] if self.stop is None else tuple(self.stop)


def contradictions(manner: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what, mend) of what does not go together in a manner of asking."""
    if manner["thinking"] not in THINKING:
        yield "thinking", f"{manner['thinking']!r} is not known", f"There are {', '.join(THINKING)}."
    elif manner["thinking"] != OFF and not manner["thinking_tokens"]:
        yield "thinking_tokens", "is missing", "Say how many tokens a thought may have."
    if manner["samples"] > 1 and manner["temperature"] == 0:
        yield "samples", "are equal at temperature 0", "Set a temperature above 0, or ask for one."
    prompts = manner["prompt"]
    for words in prompts.values() if isinstance(prompts, Mapping) else [prompts] if prompts is not None else []:
        if QUESTION not in words:
            yield "prompt", f"has no {QUESTION}", "Say where the question stands."


_SLOTS = re.compile(r"\{(?:question|language|hint)\}")


def build(question: Mapping[Any, Any], words: str, names: Mapping[str, str]) -> str:
    """Return what a model is asked.

    Args:
        question: ``question``, ``lang``, and ``hint_text`` (empty or missing where there is none).
        words: of :meth:`Manner.words`.
        names: language -> its English name; its code where there is none.

    Raises:
        InputError: there is a hint, and the words have no place for it.
    """
    hint = question.get("hint_text") or ""
    if hint and HINT not in words:
        raise InputError("prompt", f"has no {HINT}", "Say where the hint stands.")
    return _filled(question, words, names)


def build_apart(question: Mapping[Any, Any], words: str, names: Mapping[str, str]) -> tuple[str, str, str]:
    """Return what :func:`build` does in three parts, which are cut into tokens apart from each other.

    >>> build_apart({"question": "Who?", "lang": "en"}, "Q: {question}\\nA:", {})
    ('Q:', ' Who?', '\\nA:')
    """
    before, _, after = words.partition(QUESTION)
    lead = " " if before.endswith(" ") else ""
    one, two, three = (
        _filled(question, part, names) for part in (before.removesuffix(" "), f"{lead}{QUESTION}", after)
    )
    return one, two, three


def _filled(question: Mapping[Any, Any], words: str, names: Mapping[str, str]) -> str:
    hint = question.get("hint_text") or ""
    slots = {
        QUESTION: str(question["question"]),
        LANGUAGE: names.get(question["lang"], question["lang"]),
        HINT: f"\n({hint})" if hint else "",
    }
    # In one pass: a question may spell a slot.
    return _SLOTS.sub(lambda found: slots[found[0]], words)
