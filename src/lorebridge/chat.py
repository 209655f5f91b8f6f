"""A language model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import os
import re
import threading
import time
import uuid
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from lorebridge.errors import InputError

# Waits of half a second, doubled up to eight, or as long as the server says: about a minute in all.
_RETRIES = 10
_TIMEOUT_SECONDS = 120.0
# How often a question is put again whose answer cannot be one, and the wait before the first (seconds; it doubles).
_AGAIN = 3
_WAIT = 1.0
# What a service appends to the name of a model that stands for its newest version.
_DATED = re.compile(r"-\d{4}-?\d{2}-?\d{2}")
_OURS = re.compile("[0-9a-f]{32}")


class Refused(InputError):
    """The endpoint does not take a request as it stands."""


class NoAnswer(InputError):
    """What the endpoint sends is no answer to what it was asked."""


def read_key(key_env: str | None, section: str) -> str:
    """Return the key in an environment variable; without a name there is none.

    Args:
        key_env: the variable.
        section: of the configuration, that names it.

    Raises:
        InputError: the variable is not set.
    """
    if key_env is None:
        return ""
    key = os.environ.get(key_env)
    if not key:
        raise InputError(
            f"{section}.key_env", f"{key_env} is not set in the environment", f"Set {key_env} to the key of the API."
        )
    return key


class Endpoint:
    """Completes chats of one message, at temperature 0 unless another is asked for.

    Refusals for the time being (408, 409, 429, 5xx) and lost connections are tried again with growing waits.

    Args:
        model: the model's name at the endpoint.
        base_url: of the API, as ``https://host/v1``.
        key: of the API, empty where there is none. It is sent in a header, and hidden in messages.
        section: of the configuration, that says all this.
        timeout: seconds without a sign of the endpoint after which a request is tried again.
        answers_as: further names under which the model may answer.

    Raises:
        InputError: not an address, or one that holds a password.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        key: str,
        section: str,
        timeout: float = _TIMEOUT_SECONDS,
        answers_as: Collection[str] = (),
    ) -> None:
        """Prepare to connect."""
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise InputError(
                f"{section}.base_url", "is not an http(s) address without a password", "Give https://host/v1."
            )
        import openai

        self._openai = openai
        self._model, self._base_url, self._key, self._section = model, base_url, key, section
        self._answers_as = frozenset(answers_as)
        self._client = openai.OpenAI(base_url=base_url, api_key=key or "none", max_retries=_RETRIES, timeout=timeout)
        self._sent: set[str] = set()
        self._lock = threading.Lock()

    def complete(self, message: str, **options: Any) -> Any:
        """Return the chat completion of a message, as the OpenAI client has it.

        Args:
            message: of the user.
            options: of the request, ``max_tokens`` and others; what is None is not sent.

        Raises:
            Refused: the endpoint does not take the request (400), perhaps for one of the `options`.
            NoAnswer: what it sends is no JSON.
            InputError: the endpoint cannot be reached, refuses, or still fails after all tries.
        """
        options = {name: value for name, value in {"temperature": 0, **options}.items() if value is not None}
        try:
            completion = self._client.chat.completions.create(
                model=self._model, messages=[{"role": "user", "content": message}], **options
            )
        except ValueError as error:
            raise self._no_answer(f"is no JSON ({type(error).__name__})") from None
        except self._openai.OpenAIError as error:
            # The cause is left out: a server may repeat the key.
            kind = Refused if isinstance(error, self._openai.BadRequestError) else InputError
            raise kind(
                self._base_url,
                f"failed to answer ({type(error).__name__}: {self._hidden(str(error))})",
                "Mend it, and run again.",
            ) from None
        if not isinstance(completion, self._openai.types.chat.ChatCompletion):
            raise self._no_answer("is no chat completion")
        return completion

    def ask(self, message: str, **options: Any) -> Mapping[str, Any]:
        """Return what the model answers to a message, and look whether it can be an answer to it.

        The request carries a name of its own (``X-Request-Id``). Where the endpoint repeats such names, as vLLM's
        server does, an answer that bears another's is refused; where it does not, nobody can tell. What is no answer is
        asked for again, three times in all.

        Returns:
            ``content`` and ``reasoning`` (text, empty where there is none), ``finish`` (as the endpoint says it, or
            None), ``model`` (under whose name it answers, or None), ``tokens`` and ``reasoning_tokens`` (or None).

        Raises:
            NoAnswer: no JSON, no choice, no text, the answer of another model or to another question, again and again.
            Refused, InputError: as :meth:`complete`.
        """
        for attempt in range(_AGAIN):
            name = uuid.uuid4().hex
            with self._lock:
                self._sent.add(name)
            try:
                return self._read(self.complete(message, extra_headers={"X-Request-Id": name}, **options), name)
            except NoAnswer:
                if attempt == _AGAIN - 1:
                    raise
            time.sleep(_WAIT * 2**attempt)
        raise AssertionError

    def _read(self, completion: Any, name: str) -> dict[str, Any]:
        served = completion.model
        if served is not None and not self._is_model(served):
            raise self._no_answer(
                f"comes from {served!r}, where {self._model!r} was asked",
                f"Ask it by that name, or list the name in {self._section}.answers_as.",
            )
        echoed = {completion.id, getattr(completion, "_request_id", None)}
        ours = {found for said in echoed if isinstance(said, str) for found in _OURS.findall(said)} & self._sent
        if ours and name not in ours:
            raise self._no_answer("bears the name of another question")
        choices = completion.choices
        if not isinstance(choices, list) or not choices or getattr(choices[0], "message", None) is None:
            raise self._no_answer("holds no choice")
        message, usage = choices[0].message, completion.usage
        content = message.content
        reasoning = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
        if not isinstance(content, str | None) or not isinstance(reasoning, str | None):
            raise self._no_answer("holds no text")
        details = getattr(usage, "completion_tokens_details", None)
        return {
            # JSON can spell half a character, which no file can hold.
            "content": (content or "").encode(errors="replace").decode(),
            "reasoning": (reasoning or "").encode(errors="replace").decode(),
            "finish": choices[0].finish_reason,
            "model": served,
            "tokens": _whole(getattr(usage, "completion_tokens", None)),
            "reasoning_tokens": _whole(getattr(details, "reasoning_tokens", None)),
        }

    def _is_model(self, served: Any) -> bool:
        if served == self._model or served in self._answers_as:
            return True
        return isinstance(served, str) and any(
            served.startswith(name) and _DATED.fullmatch(served[len(name) :])
            for name in (self._model, *self._answers_as)
        )

    def _no_answer(self, what: str, mend: str = "Mend it, and run again: what it has answered is kept.") -> NoAnswer:
        return NoAnswer(self._base_url, f"what it sends {self._hidden(what)}", mend)

    def _hidden(self, said: str) -> str:
        """Return what was said without the key."""
        return said.replace(self._key, "***") if self._key else said


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None
