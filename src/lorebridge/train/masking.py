"""What a masked language model is asked in a batch: some of its tokens, most of them behind a mask.

Of the tokens of a batch 15 % are targets; of these 80 % are replaced by the mask, 10 % by a random token, and 10 % stay
(Devlin et al., NAACL 2019, section 3.1). Which ones is drawn by a counter-based generator (Philox: Salmon et al., SC
2011) whose key is the seed and whose counter says step, row and position: a draw depends on these alone, so that a
resume needs no state of a generator, and neither the number of processes nor the size of a micro-batch matters.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from lorebridge.tokens.reader import IGNORED, NO_DOCUMENT, Batch

TARGETS = 0.15
"""Of all tokens."""
MASKED, RANDOM = 0.8, 0.1
"""Of the targets; the others stay as they are."""

_WORDS = 4  # of a position, of which three are used: Philox gives four at a time


def draws(seed: int, step: int, rows: Sequence[int], length: int) -> npt.NDArray[np.float64]:
    """Return three numbers in [0, 1) for every position, float64 [rows, length, 3].

    Args:
        seed: of the run.
        step: of the batch, from 0.
        rows: of the batch, whoever reads them.
        length: positions of a row.
    """
    found = np.empty((len(rows), length, 3))
    for index, row in enumerate(rows):
        # The counter's lowest word counts blocks of four words, so it is the position.
        words = np.random.Philox(key=seed, counter=[0, row, step, 0]).random_raw(_WORDS * length)
        found[index] = (words.reshape(length, _WORDS)[:, :3] >> np.uint64(11)) * 2.0**-53
    return found


def masked(
    batch: Batch, *, seed: int, step: int, rows: Sequence[int], mask: int, end_of_text: int, vocabulary: int
) -> Batch:
    """Return the batch that a masked model is trained on.

    What it reads are the inputs of a causal model: each document opens with ``<|endoftext|>`` and has no closing one.
    A random token is any of the vocabulary but that and the mask.

    Args:
        batch: some rows of the batch of a step.
        seed: of the run.
        step: of the batch, from 0.
        rows: which rows of the whole batch these are.
        mask: the id of the mask.
        end_of_text: the id of ``<|endoftext|>``, which is never a target.
        vocabulary: ids of the tokenizer.

    Returns:
        The same positions and documents; ``input_ids`` with masks, ``targets`` the tokens behind them, -100 elsewhere.
    """
    chosen, fate, token = np.moveaxis(draws(seed, step, rows, batch.input_ids.shape[1]), 2, 0)
    askable = (batch.documents != NO_DOCUMENT) & (batch.input_ids != end_of_text)
    asked = askable & (chosen < TARGETS)
    inputs = np.where(asked & (fate < MASKED), mask, batch.input_ids)
    replaced = asked & (fate >= MASKED) & (fate < MASKED + RANDOM)
    inputs = np.where(replaced, _but(token, vocabulary, {mask, end_of_text}), inputs)
    return Batch(inputs, np.where(asked, batch.input_ids, IGNORED), batch.positions, batch.documents)


def _but(share: npt.NDArray[np.float64], vocabulary: int, without: Collection[int]) -> npt.NDArray[np.int64]:
    """Return the ids that numbers in [0, 1) stand for, some ids left out."""
    found = (share * (vocabulary - len(without))).astype(np.int64)
    for skipped in sorted(without):
        found += found >= skipped
    return found
