"""A language model behind an OpenAI-compatible endpoint, asked what :mod:`lorebridge.trace.llm` asks.

Such a server cannot be held to "yes" and "no", so an answer may be neither. It makes tokens of a passage itself;
whether control tokens that a document spells out stay letters is up to it.
"""

from __future__ import annotations

import concurrent.futures
import re
from collections.abc import Callable, Sequence
from typing import Any

from lorebridge.chat import Endpoint, Refused
from lorebridge.trace.llm import FRAME, YES, Answer, probability_of_yes, quote

# Room for a word of courtesy before the answer.
ANSWER_TOKENS = 16

_SAID = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)


def load(
    model: str, *, base_url: str, key: str, concurrency: int
) -> Callable[[Sequence[tuple[str, str]]], list[Answer]]:
    """Return what asks a model of (passage, statement) pairs.

    Temperature is 0. Refusals for the time being (408, 409, 429, 5xx) and lost connections are tried again with
    growing waits. Log-probabilities are asked for, and done without where the server does not know them.

    Args:
        model: the model's name at the endpoint.
        base_url: of the API, as ``https://host/v1``.
        key: of the API, empty where there is none. It is sent in a header, and hidden in messages.
        concurrency: how many requests are open at a time.

    Raises:
        InputError: not an address, or one that holds a password. What is returned raises it where the server cannot be
            reached, refuses a request, or still fails after all tries.
    """
    endpoint = Endpoint(model, base_url=base_url, key=key, section="tracing.judge")
    logprobs: dict[str, Any] = {"logprobs": True, "top_logprobs": 5}

    def ask(pair: tuple[str, str]) -> Answer:
        passage, statement = map(quote, pair)
        message = FRAME.format(passage=passage, statement=statement)
        options = dict(logprobs)
        try:
            reply = endpoint.complete(message, max_tokens=ANSWER_TOKENS, **options)
        except Refused as error:
            if not options or "logprob" not in str(error):
                raise
            logprobs.clear()  # for all that are asked from now on
            reply = endpoint.complete(message, max_tokens=ANSWER_TOKENS)
        return read_answer(reply)

    def answer(pairs: Sequence[tuple[str, str]]) -> list[Answer]:
        with concurrent.futures.ThreadPoolExecutor(concurrency) as pool:
            return list(pool.map(ask, pairs))

    return answer


def read_answer(reply: Any) -> Answer:
    """Read a chat completion: the first word decides, and the first token that is not blank tells how surely.

    Args:
        reply: of the OpenAI client.
    """
    choice = reply.choices[0] if reply.choices else None
    said = _SAID.match((choice.message.content if choice else None) or "")
    entails = None if said is None else said[1].lower() == YES
    tokens = (choice.logprobs.content if choice and choice.logprobs else None) or []
    first = next((token for token in tokens if token.token.strip()), None)
    probability = None
    if entails is not None and first is not None:
        probability = probability_of_yes((top.token.strip().lower(), top.logprob) for top in first.top_logprobs)
    return Answer(entails=entails, probability=probability, cut=False)
