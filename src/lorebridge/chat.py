"""A language model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from lorebridge.errors import InputError

# Waits of half a second, doubled up to eight, or as long as the server says: about a minute in all.
_RETRIES = 10
_TIMEOUT_SECONDS = 120.0


class Refused(InputError):
    """The endpoint does not take a request as it stands."""


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
    """Completes chats of one message, at temperature 0.

    Refusals for the time being (408, 409, 429, 5xx) and lost connections are tried again with growing waits.

    Args:
        model: the model's name at the endpoint.
        base_url: of the API, as ``https://host/v1``.
        key: of the API, empty where there is none. It is sent in a header, and hidden in messages.
        section: of the configuration, that says all this.

    Raises:
        InputError: not an address, or one that holds a password.
    """

    def __init__(self, model: str, *, base_url: str, key: str, section: str) -> None:
        """Prepare to connect."""
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise InputError(
                f"{section}.base_url", "is not an http(s) address without a password", "Give https://host/v1."
            )
        import openai

        self._openai = openai
        self._model, self._base_url, self._key = model, base_url, key
        self._client = openai.OpenAI(
            base_url=base_url, api_key=key or "none", max_retries=_RETRIES, timeout=_TIMEOUT_SECONDS
        )

    def complete(self, message: str, *, max_tokens: int, **options: Any) -> Any:
        """Return the chat completion of a message, as the OpenAI client has it.

        Raises:
            Refused: the endpoint does not take the request (400), perhaps for one of the `options`.
            InputError: the endpoint cannot be reached, refuses, or still fails after all tries.
        """
        try:
            return self._client.chat.completions.create(
                model=self._model,
                messages=[{"role": "user", "content": message}],
                temperature=0,
                max_tokens=max_tokens,
                **options,
            )
        except self._openai.OpenAIError as error:
            # The cause is left out: a server may repeat the key.
            said = str(error).replace(self._key, "***") if self._key else str(error)
            kind = Refused if isinstance(error, self._openai.BadRequestError) else InputError
            raise kind(
                self._base_url, f"failed to answer ({type(error).__name__}: {said})", "Mend it, and run again."
            ) from None
