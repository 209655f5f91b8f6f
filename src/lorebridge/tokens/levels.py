"""Levels of removal: how much of what states a page's facts is taken from the text of one language.

Light: a dry run reads it.
"""

from __future__ import annotations

from collections.abc import Mapping

from lorebridge.errors import ConfigError

NOTHING = "f0"
"""The level at which nothing is removed; the order of every other is a view of this one's."""

FILTERS = ("f1", "f2", "f3", "f4")
"""Levels of pages, nested: the pages of the test's questions, also those near them, also the pages of the questions
that models are tuned on, also those near these."""

STATED = "stated"
"""The level of facts: every document that states what the test asks."""

LEVELS = (NOTHING, *FILTERS, STATED)

TEST, TRAIN, BOTH, NEITHER = "test", "train", "both", "neither"
"""Splits of questions: their pages are removed; models are tuned on them; their pages stay; no page states them."""

REASONS = ("test", "near test", "train", "near train")
"""Why a page goes at each of :data:`FILTERS`."""


def check_room(where: object, lang: str, removed: Mapping[str, int], available: int, total: int) -> None:
    """Refuse to remove more than the rest of a language can stand in for.

    What is removed is replaced by as many tokens of a reserve, that no level removes and no level reads but in their
    place. So no more than half of a language's tokens can ever go.

    Args:
        where: what asks for it, for the error.
        lang: the language.
        removed: level -> tokens of the pages that it removes.
        available: tokens of the pages that no level removes and that may be read elsewhere.
        total: tokens of all its pages.

    Raises:
        ConfigError: a level removes more than is available; the largest is named.

    >>> check_room("removal", "hi", {"f1": 10, "f4": 45}, 50, 100)
    >>> check_room("removal", "hi", {"f1": 10, "f4": 60}, 40, 100)
    Traceback (most recent call last):
        ...
    lorebridge.errors.ConfigError: removal: f4 removes 60 of 100 tokens of hi (60.0 %), and 40 are left for the \
reserve that replaces them: at most half can go. Lower `top` of the neighbours, ask of fewer pages, or give more text.
    """
    if not removed:
        return
    level = max(removed, key=lambda name: removed[name])
    if removed[level] > available:
        raise ConfigError(
            where,
            f"{level} removes {removed[level]:,} of {total:,} tokens of {lang} ({100 * removed[level] / total:.1f} %), "
            f"and {available:,} are left for the reserve that replaces them: at most half can go",
            "Lower `top` of the neighbours, ask of fewer pages, or give more text.",
        )
