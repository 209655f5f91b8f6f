"""Code that is compiled with numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any] | None = None, *, inline: str = "never") -> Callable[..., Any]:
    """Compile a function; the machine code is kept for the next process where a folder can be written.

    Args:
        function: what is compiled; without it, a decorator with the other arguments is returned.
        inline: ``always`` where every caller is to hold the code itself.
    """

    njit: Any = numba.njit

    def compile_it(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return njit(cache=True, inline=inline)(function)
        except RuntimeError:  # neither the package's folder nor the user's cache can be written
            return njit(inline=inline)(function)

    return compile_it if function is None else compile_it(function)
