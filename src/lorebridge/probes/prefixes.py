"""What stands before a question, or before held-out text: the start of a document alone, or a label behind it.

A label is the literal text that the template of the pairs puts before a half (``English: ``). Training text has its
tokens apart from those of the half that follows (:mod:`lorebridge.tokens.order`), and so a model is asked: the start
token, the label's tokens, the question's tokens. What the label ends in is then a token of its own, as in training (of
``English: `` the lone space), and the question has the same tokens behind both prefixes. Where training text gives that
space to the half (``training.label_space: half``), the label is given without it (``English:``), and the space, the
`lead`, begins the question behind the label, whose first token then differs from the one that it has bare.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lorebridge.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerBase

BARE, LABEL = PREFIXES = ("bare", "label")

Labels = Mapping[str, Mapping[str, str]]
"""Language that is learned -> language, it or the base -> the label of the latter in the pairs of the former."""


def label_tokens(tokenizer: PreTrainedTokenizerBase, label: str) -> list[int]:
    """Return the tokens of a label as training text has them: of the label alone; none where it is empty."""
    if not label:
        return []
    return list(tokenizer(label, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"])


def label_of(lang: str, labels: Labels, culture: str) -> str | None:
    """Return the label of a text on a culture in a language: in the culture's pairs, else in the first that have it.

    Of the base language, pairs may have different labels.

    >>> labels = {"ko": {"en": "English: ", "ko": " Korean: "}, "zh": {"en": "In English: ", "zh": " Chinese: "}}
    >>> label_of("en", labels, "zh"), label_of("en", labels, "people"), label_of("bo", labels, "bo")
    ('In English: ', 'English: ', None)
    """
    own = labels.get(culture, {})
    return next((of_pairs[lang] for of_pairs in (own, *labels.values()) if lang in of_pairs), None)


def behind(table: pd.DataFrame, prefix: str, where: Path | str) -> pd.DataFrame:
    """Return the rows of a table that were asked behind a prefix, or were made of such rows.

    Args:
        table: with a column ``prefix``.
        prefix: one of :data:`PREFIXES`.
        where: the table, for the message.

    Raises:
        InputError: there are rows, and none behind that prefix.
        ValueError: there is no prefix of that name.
    """
    if prefix not in PREFIXES:
        raise ValueError(f"no prefix {prefix!r}; there are {', '.join(PREFIXES)}")
    rows = table[table["prefix"] == prefix]
    if rows.empty and len(table):
        raise InputError(
            where,
            f"nothing in it was asked behind the prefix {prefix!r} ({', '.join(in_order(table['prefix']))} was)",
            f"Add {prefix} to probing.prefixes, and score the models again.",
        )
    return rows


def prefix_phrase(prefix: str) -> str:
    """Say what questions stood behind, in a note.

    >>> prefix_phrase("bare"), prefix_phrase("label")
    ('behind the start of a document alone', 'behind the label of their language')
    """
    return {BARE: "behind the start of a document alone", LABEL: "behind the label of their language"}[prefix]


def in_order(found: Iterable[str]) -> list[str]:
    """Return the prefixes that occur, each once, in the order of :data:`PREFIXES`.

    >>> in_order(["label", "bare", "label"])
    ['bare', 'label']
    """
    return sorted(set(found), key=PREFIXES.index)
