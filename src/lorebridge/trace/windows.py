"""Windows of a text for models that read fewer tokens than a chunk holds."""

from __future__ import annotations

import bisect
from typing import Any

from lorebridge.corpora.chunks import sentence_end


def windows(text: str, tokenizer: Any, size: int) -> list[str]:
    """Cut `text` into consecutive windows of at most `size` tokens that together are `text`.

    A window ends at the last end of a sentence that fits, so that no statement is cut in two; a sentence that is too
    long by itself is cut between two graphemes (and a grapheme that is too long, anywhere).

    Args:
        text: any text; an empty one is one window.
        tokenizer: a fast tokenizer of transformers. Special tokens do not count.
        size: the most tokens of a window, at least 1. A character of more tokens is a window by itself.
    """
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    token_starts = [start for start, _ in encoded["offset_mapping"]]
    if len(token_starts) <= size:
        return [text]
    pieces = []
    start = 0
    while start < len(text):
        beyond = bisect.bisect_left(token_starts, start) + size
        end = len(text)
        if beyond < len(token_starts):
            end = sentence_end(text, start, max(token_starts[beyond], start + 1))
        # By itself a window may have a few tokens more than it had in the text.
        while (n_tokens := _count(tokenizer, text[start:end])) > size:
            shorter = sentence_end(text, start, max(start + (end - start) * size // n_tokens, start + 1))
            if shorter >= end:
                break
            end = shorter
        pieces.append(text[start:end])
        start = end
    return pieces


def _count(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
