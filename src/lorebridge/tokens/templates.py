"""Templates of supervised tuning: the words around a prompt and its answer. Light: a dry run checks them."""

from __future__ import annotations

import re

TURNS = {
    "mixed": "rows of all languages shuffled together in each epoch",
    "in_turn": "in each epoch all rows of one language, then all of the next, as the texts are listed",
}
"""How the languages of a tuning follow one another."""


def parts(template: str) -> tuple[str, str, str]:
    """Return what stands before the prompt, between prompt and answer, and behind the answer.

    Raises:
        ValueError: ``{prompt}`` and ``{answer}`` do not each stand once, in this order; or two follow each other
            directly, so that nothing says where the answer begins.

    >>> parts("Q: {prompt}\\nA: {answer}")
    ('Q: ', '\\nA: ', '')
    """
    found = re.fullmatch(r"(.*)\{prompt\}(.+)\{answer\}(.*)", template, re.DOTALL)
    if found is None or any("{prompt}" in part or "{answer}" in part for part in found.groups()):
        raise ValueError("needs {prompt} once, words or a space, and then {answer} once")
    return found[1], found[2], found[3]


def leads(template: str) -> tuple[tuple[str, str, str], str, str]:
    """Return the parts of a template without a space before the prompt and the answer, and these two spaces.

    The space before a word belongs to the word's first token in every byte-level BPE, so it is cut with the text that
    follows it, and not with the template.

    >>> leads("Q: {prompt}\\nA: {answer}")
    (('Q:', '\\nA:', ''), ' ', ' ')
    """
    before, between, after = parts(template)
    spaces = [" " if text.endswith(" ") else "" for text in (before, between)]
    return (before.removesuffix(" "), between.removesuffix(" "), after), spaces[0], spaces[1]
