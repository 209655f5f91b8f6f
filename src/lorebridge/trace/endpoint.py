"""A language model behind an OpenAI-compatible endpoint, asked what :mod:`lorebridge.trace.llm` asks.

Such a server cannot be held to "yes" and "no", so an answer may be neither. It makes tokens of a passage itself;
whether control tokens that a document spells out stay letters is up to it.
"""

from __future__ import annotations

import concurrent.futures
import os
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from lorebridge.errors import InputError
from lorebridge.trace.llm import FRAME, YES, Answer, probability_of_yes, quote

# Room for a word of courtesy before the answer.
ANSWER_TOKENS = 16

# Waits of half a second, doubled up to eight, or as long as the server says: about a minute in all.
_RETRIES = 10
_TIMEOUT_SECONDS = 120.0

_SAID = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)


def read_key(key_env: str | None) -> str:
    """Return the key in an environment variable; without a name there is none.

    Raises:
        InputError: the variable is not set.
    """
    if key_env is None:
        return ""
    key = os.environ.get(key_env)
    if not key:
        raise InputError(
            "tracing.judge.key_env", f"{key_env} is not set in the environment", f"Set {key_env} to the key of the API."
        )
    return key


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
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise InputError(
            "tracing.judge.base_url", "is not an http(s) address without a password", "Give https://host/v1."
        )
    import openai

    client = openai.OpenAI(base_url=base_url, api_key=key or "none", max_retries=_RETRIES, timeout=_TIMEOUT_SECONDS)
    logprobs: dict[str, Any] = {"logprobs": True, "top_logprobs": 5}

    def create(pair: tuple[str, str], options: dict[str, Any]) -> Any:
        passage, statement = map(quote, pair)
        return client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": FRAME.format(passage=passage, statement=statement)}],
            temperature=0,
            max_tokens=ANSWER_TOKENS,
            **options,
        )

    def ask(pair: tuple[str, str]) -> Answer:
        options = dict(logprobs)
        try:
            try:
                reply = create(pair, options)
            except openai.BadRequestError as error:
                if not options or "logprob" not in str(error):
                    raise
                logprobs.clear()  # for all that are asked from now on
                reply = create(pair, {})
        except openai.OpenAIError as error:
            # The cause is left out: a server may repeat the key.
            message = str(error).replace(key, "***") if key else str(error)
            raise InputError(
                base_url, f"failed to judge ({type(error).__name__}: {message})", "Mend it, and run again."
            ) from None
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
