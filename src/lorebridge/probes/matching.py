"""Whether an answer is one of those that are right, by its letters, in either of two normalisations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from lorebridge.normalisation import FOLDED, NORMALISATIONS, STRICT, folded, strict

__all__ = ["FOLDED", "NORMALISATIONS", "STRICT", "exact", "f1", "folded", "strict"]


def exact(answer: str, golds: Iterable[str], lang: str, rule: str) -> bool:
    """Return whether an answer is one of those that are right. Nothing, and what is nothing but marks, is none.

    Args:
        answer: what was answered.
        golds: all that are right.
        lang: of both.
        rule: a key of :data:`NORMALISATIONS`.
    """
    said = NORMALISATIONS[rule](answer, lang)
    return bool(said) and said in {NORMALISATIONS[rule](gold, lang) for gold in golds}


def f1(answer: str, golds: Iterable[str], lang: str, rule: str) -> float:
    """Return how far an answer's words are those of a right one: the highest F1 over them; see :func:`exact`."""
    said = Counter(NORMALISATIONS[rule](answer, lang).split())
    best = 0.0
    for gold in golds:
        right = Counter(NORMALISATIONS[rule](gold, lang).split())
        if shared := (said & right).total():
            best = max(best, 2 * shared / (said.total() + right.total()))
    return best
