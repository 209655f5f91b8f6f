"""How a masked model is asked a fact: its masks filled at once, from left to right, or one at a time.

All give, for the pieces of an object, the mean log-probability of a piece (Kassner et al., EACL 2021), and the first
two the pieces that the model itself would write.

``simultaneous``: all masks at once, each by itself (Petroni et al., EMNLP 2019; Zhao et al., EACL 2024).
``left_to_right``: the first mask, then the second with the first filled, and so on, each with the masks that are left
behind it (Jiang et al., EMNLP 2020, section 4.1, their ordered prediction without beams). ``pll``: each piece with all
others in place, the pseudo-log-likelihood (Salazar et al., ACL 2020); it scores strings and writes none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lorebridge.probes.masked import Query, Read

Pieces = tuple[int, ...]
Reader = Callable[[Sequence[Query], bool], list[list[Read]]]
"""Answers queries, with ranks or without."""


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A prompt as tokens: what stands before the object, and behind it."""

    before: Pieces
    behind: Pieces

    def filled(self, pieces: Sequence[int]) -> list[int]:
        """Return the tokens with some pieces, or masks, for the object."""
        return [*self.before, *pieces, *self.behind]


Asked = tuple[Prompt, Pieces]
"""A prompt, and the pieces of an object."""


@dataclasses.dataclass(frozen=True)
class Scored:
    """What a model says of the pieces of an object.

    Attributes:
        logprob: mean log-probability of a piece, in nats.
        rank: that of its worst piece in the vocabulary; 0 where it was not asked for.
    """

    logprob: float
    rank: int = 0


def score_pieces(
    decode: str, asked: Sequence[Asked], mask: int, read: Reader, *, ranks: bool = False
) -> dict[Asked, Scored]:
    """Return what a model says of objects, each with as many masks as it has pieces.

    Args:
        decode: one of :data:`~lorebridge.probes.manners.DECODES`.
        asked: prompts and pieces, one or more; equal ones are asked once.
        mask: the id of the mask.
        read: reads masks.
        ranks: whether ranks are wanted.
    """
    distinct = list(dict.fromkeys(asked))
    wanted: dict[tuple[tuple[int, ...], int], dict[int, None]] = {}
    steps: list[list[tuple[tuple[tuple[int, ...], int], int]]] = []
    for prompt, pieces in distinct:
        own = []
        for place, piece in enumerate(pieces):
            at = (tuple(prompt.filled(_masked(decode, pieces, place, mask))), len(prompt.before) + place)
            wanted.setdefault(at, {}).setdefault(piece)
            own.append((at, piece))
        steps.append(own)
    said = _read(wanted, read, ranks)
    found = {}
    for one, own in zip(distinct, steps, strict=True):
        values = [said[at][piece] for at, piece in own]
        found[one] = Scored(float(np.mean([logprob for logprob, _ in values])), max(rank for _, rank in values))
    return found


def _masked(decode: str, pieces: Pieces, place: int, mask: int) -> list[int]:
    """Return the pieces as they stand while that at a place is read."""
    if decode == "simultaneous":
        return [mask] * len(pieces)
    if decode == "left_to_right":
        return [*pieces[:place], *[mask] * (len(pieces) - place)]
    return [*pieces[:place], mask, *pieces[place + 1 :]]


def _read(
    wanted: Mapping[tuple[tuple[int, ...], int], Mapping[int, None]], read: Reader, ranks: bool
) -> dict[tuple[tuple[int, ...], int], dict[int, tuple[float, int]]]:
    """Return (sequence, place) -> token -> (log-probability, rank); places of one sequence are read together."""
    by_sequence: dict[tuple[int, ...], list[int]] = {}
    for tokens, place in wanted:
        by_sequence.setdefault(tokens, []).append(place)
    queries = [
        Query(tokens, places, [np.fromiter(wanted[tokens, place], np.int64) for place in places])
        for tokens, places in by_sequence.items()
    ]
    return {
        (tuple(query.tokens), place): {
            int(token): (float(logprob), int(rank))
            for token, logprob, rank in zip(
                tokens, one.logprobs, one.ranks if ranks else np.zeros(len(tokens), np.int64), strict=True
            )
        }
        for query, answers in zip(queries, read(queries, ranks), strict=True)
        for place, tokens, one in zip(query.places, query.wanted, answers, strict=True)
    }


def score_sets(prompts: Sequence[Prompt], candidates: Sequence[Pieces], mask: int, read: Reader) -> np.ndarray:
    """Return the mean log-probability of candidates at many prompts, all masks at once, (prompts, candidates).

    The same as :func:`score_pieces` of all pairs, by far faster: a prompt is read once for each number of pieces.
    """
    found = np.full((len(prompts), len(candidates)), np.nan)
    lengths = np.array([len(pieces) for pieces in candidates])
    for n in np.unique(lengths[lengths > 0]).tolist():
        columns = np.flatnonzero(lengths == n).tolist()
        pieces = np.array([candidates[column] for column in columns])
        tokens, places = zip(*(np.unique(pieces[:, place], return_inverse=True) for place in range(n)), strict=True)
        queries = [
            Query(prompt.filled([mask] * n), range(len(prompt.before), len(prompt.before) + n), tokens)
            for prompt in prompts
        ]
        for row, answers in enumerate(read(queries, False)):
            found[row, columns] = sum(one.logprobs[where] for one, where in zip(answers, places, strict=True)) / n
    return found


def write_pieces(
    decode: str, asked: Sequence[tuple[Prompt, int]], mask: int, read: Reader
) -> dict[tuple[Prompt, int], tuple[Pieces, float]]:
    """Return the pieces that a model writes into so many masks of a prompt, and their mean log-probability.

    Args:
        decode: ``simultaneous`` or ``left_to_right`` (greedy).
        asked: prompts and numbers of masks, one or more.
        mask: the id of the mask.
        read: reads masks.
    """
    distinct = list(dict.fromkeys(asked))
    nothing = np.zeros(0, np.int64)
    if decode == "simultaneous":
        queries = [
            Query(prompt.filled([mask] * n), range(len(prompt.before), len(prompt.before) + n), [nothing] * n)
            for prompt, n in distinct
        ]
        return {
            one: (tuple(said.best for said in answers), float(np.mean([said.best_logprob for said in answers])))
            for one, answers in zip(distinct, read(queries, False), strict=True)
        }
    written: dict[tuple[Prompt, int], list[tuple[int, float]]] = {one: [] for one in distinct}
    for place in range(max((n for _, n in distinct), default=0)):
        open_ = [(prompt, n) for prompt, n in distinct if n > place]
        queries = [
            Query(
                prompt.filled([*(piece for piece, _ in written[prompt, n]), *[mask] * (n - place)]),
                [len(prompt.before) + place],
                [nothing],
            )
            for prompt, n in open_
        ]
        for one, [said] in zip(open_, read(queries, False), strict=True):
            written[one].append((said.best, said.best_logprob))
    return {
        one: (tuple(piece for piece, _ in own), float(np.mean([logprob for _, logprob in own])))
        for one, own in written.items()
    }
