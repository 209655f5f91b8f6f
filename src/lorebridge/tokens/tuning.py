"""A data order of supervised tuning: rows of a prompt and an answer, of which a model is asked the answer alone.

A row is a document of its own: ``<|endoftext|>``, the prompt, the answer and the closing ``<|endoftext|>``, within the
words of a template. It is packed with others, attends to itself alone, and its positions begin at 0. The loss is of
what stands behind the prompt's side of the template: the answer, what the template closes it with, and
``<|endoftext|>`` (as Ouyang et al. 2022, section 3.2, and all later practice: a model is not taught to ask).

An epoch reads the same rows, in an order of its own. Which row is read at which step says the order's table.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from tqdm import tqdm

from lorebridge.errors import InputError
from lorebridge.tokens.arms import LABEL
from lorebridge.tokens.order import check_rows, frame_of, totals, write_order
from lorebridge.tokens.packing import best_fit
from lorebridge.tokens.schedule import MONO, Segments
from lorebridge.tokens.store import Store
from lorebridge.tokens.templates import leads, parts
from lorebridge.tokens.tokenizer import end_of_text_id, generator, load_tokenizer, tokenizer_fingerprint

log = logging.getLogger("lorebridge.tokens")

TUNING = "tuning"
"""The layout that the notes of such an order name."""

PACKING = "isolated"
"""The only one: a row that saw another would be asked with its answer in sight."""

Ints = npt.NDArray[np.int64]


def draw_tuning(
    *,
    run: str,
    seed: int,
    texts: Sequence[Mapping[str, str]],
    template: str,
    epochs: int,
    examples: int,
    batch_examples: int,
    batch_tokens: int,
    sequence_length: int,
    turns: str,
    stores: dict[str, Path],
    tokenizer: Path,
    out: Path,
) -> dict[str, Any]:
    """Draw the data order of a run that is tuned on rows of some texts, and write it.

    The table is that of :func:`lorebridge.tokens.order.draw_order`. Of the notes, ``layout`` is ``tuning``,
    ``streams`` says which stream is ``prompt`` and which ``answer``, ``unasked`` which streams and labels have no loss,
    ``targets`` how many tokens have one, and ``examples`` for each prompt's stream the rows that there are, that are
    too long for a row of positions and hence left out, and that are read in each epoch.

    Which rows of a text are read, and in which turn, depends on the seed and on numbers of rows alone: texts whose rows
    go together, such as an arm and its control, are read row for row alike as long as no row is too long.

    Args:
        run: the run's name.
        seed: of the choice of rows and of their turns.
        texts: of each language ``prompt`` and ``answer``, the names of two stores whose documents go together, in the
            order in which languages come where they do not come mixed.
        template: what stands around the two (:func:`lorebridge.tokens.templates.parts`).
        epochs: how often each row is read.
        examples: rows of an epoch, as many of each text.
        batch_examples: rows of an optimizer step; the last step of an epoch has what is left.
        batch_tokens: positions of a step; a multiple of `sequence_length`. What rows leave of it is padding.
        sequence_length: positions that rows are packed into.
        turns: a key of :data:`lorebridge.tokens.templates.TURNS`.
        stores: stream -> folder of its token store.
        tokenizer: the tokenizer folder of the stores.
        out: the table to write.

    Returns:
        Notes: what the metadata says.

    Raises:
        InputError: a bad argument, stores that do not go together, fewer rows than `examples` asks for, or a step whose
            rows do not fit into `batch_tokens`.
    """
    what = f"order {run}"
    if examples % len(texts):
        raise InputError(what, f"{examples} examples of {len(texts)} languages", "Give a multiple of their number.")
    per_epoch = math.ceil(examples / batch_examples)
    n_rows = check_rows(epochs * per_epoch, sequence_length, batch_tokens, PACKING)
    encoder = load_tokenizer(tokenizer)
    expected = tokenizer_fingerprint(tokenizer)
    labels = _labels(encoder, template)
    names = [name for text in texts for name in (text["prompt"], text["answer"])]
    opened = [Store.open(stores[name], expected) for name in names]
    lengths: dict[int, npt.NDArray[np.integer]] = {kind: store.lengths for kind, store in enumerate(opened, MONO)}
    lengths[LABEL] = np.array([len(ids) for ids in labels])
    pools, counts = [], {}
    for place, text in enumerate(texts):
        kind = MONO + 2 * place
        pool, of_text = _pool(
            what, text, lengths[kind], lengths[kind + 1], int(lengths[LABEL].sum()), sequence_length, seed
        )
        if len(pool) < examples // len(texts):
            raise InputError(
                what,
                f"{text['prompt']} has {of_text['rows']:,} rows, {of_text['too_long']:,} of which are longer than "
                f"{sequence_length} positions, and an epoch is to have {examples // len(texts):,}",
                f"Set examples to {len(texts) * len(pool)} or less, or raise training.sequence_length.",
            )
        pools.append(np.stack([np.full(len(pool), kind), pool], axis=1)[: examples // len(texts)])
        counts[text["prompt"]] = of_text | {"read": examples // len(texts)}
        if of_text["too_long"]:
            log.warning("%s: %d of %d rows of %s are too long and left out", run, *_told(of_text), text["prompt"])
    chunks, needed = [], 0
    for epoch in tqdm(range(epochs), unit="epoch", desc=what, mininterval=1):
        drawn = _turns(pools, turns, generator("order", TUNING, seed, epoch))
        for step in range(per_epoch):
            some = drawn[step * batch_examples : (step + 1) * batch_examples]
            first = (epoch * per_epoch + step) * n_rows
            segments, rows = _packed(some, lengths, sequence_length, first)
            chunks.append(segments)
            needed = max(needed, rows)
    if needed > n_rows:
        raise InputError(
            what,
            f"{batch_examples} examples of a step take {needed} rows of {sequence_length} positions, and batch_tokens "
            f"gives {n_rows}",
            f"Set batch_tokens to {needed * sequence_length} or more, or lower batch_examples.",
        )
    frame = frame_of(chunks, lengths)
    streams = ["", "", "label", *names]
    positions = epochs * per_epoch * n_rows * sequence_length
    counted = totals(frame, lengths, streams, positions)
    unasked = {"streams": [text["prompt"] for text in texts], "labels": [0, 1]}
    notes = {
        "run": run,
        "layout": TUNING,
        "seed": seed,
        "steps": epochs * per_epoch,
        "sequence_length": sequence_length,
        "batch_tokens": batch_tokens,
        "rows_per_step": n_rows,
        "packing": PACKING,
        "end_of_text": end_of_text_id(encoder),
        "labels": labels,
        "template": template,
        "tokenizer": expected,
        "stores": {name: store.notes["digest"] for name, store in zip(names, opened, strict=True)},
        "streams": {text[role]: role for text in texts for role in ("prompt", "answer")},
        "unasked": unasked,
        "targets": sum(counted["content"][text["answer"]] for text in texts)
        + epochs * examples * len(labels[2])
        + counted["tokens"]["end_of_text"],
        "epochs_read": epochs,
        "examples": counts,
        **counted,
    }
    write_order(frame, streams, notes, out)
    log.info("%s: %s", run, {key: notes[key] for key in ("tokens", "targets", "examples")})
    return notes


def _told(counts: Mapping[str, int]) -> tuple[int, int]:
    return counts["too_long"], counts["rows"]


def _labels(encoder: Tokenizer, template: str) -> list[list[int]]:
    """Return the ids of the three parts of a template; special tokens in it are what they are called."""
    encoder.encode_special_tokens = False
    found = [encoder.encode(text, add_special_tokens=False).ids for text in leads(template)[0]]
    encoder.encode_special_tokens = True
    return found


def _pool(
    what: str,
    text: Mapping[str, str],
    n_prompt: npt.NDArray[np.integer],
    n_answer: npt.NDArray[np.integer],
    n_label: int,
    width: int,
    seed: int,
) -> tuple[Ints, dict[str, int]]:
    """Return the rows of a text that fit, in the order in which they are taken, and the counts."""
    if len(n_prompt) != len(n_answer):
        counts = f"{len(n_prompt)} prompts and {len(n_answer)} answers"
        raise InputError(what, f"{text['prompt']} and {text['answer']} have {counts}", "Remake the stores.")
    empty = np.flatnonzero((n_prompt == 0) | (n_answer == 0))
    if len(empty):
        raise InputError(what, f"row {empty[0] + 1} of {text['prompt']} has a text of no token", "Drop the row.")
    fits = n_prompt + n_answer + n_label < width  # one position more, for <|endoftext|>
    order = generator("order", TUNING, seed, "rows").permutation(len(fits))
    return order[fits[order]], {"rows": len(fits), "too_long": int((~fits).sum())}


def _turns(pools: Sequence[Ints], turns: str, rng: np.random.Generator) -> Ints:
    """Return (kind of the prompt, row) of all rows of an epoch, in the order in which they are read."""
    if turns == "mixed":
        return rng.permutation(np.concatenate(pools))
    return np.concatenate([rng.permutation(pool) for pool in pools])


def _packed(some: Ints, lengths: Mapping[int, npt.NDArray[np.integer]], width: int, first: int) -> tuple[Segments, int]:
    """Return the segments of the rows of one step, packed into rows of positions from `first` on, and how many."""
    kind, piece = some.T
    n_prompt, n_answer = np.zeros_like(piece), np.zeros_like(piece)
    for of in np.unique(kind).tolist():
        here = kind == of
        n_prompt[here], n_answer[here] = lengths[of][piece[here]], lengths[of + 1][piece[here]]
    packed, bounds = best_fit(n_prompt + n_answer + int(lengths[LABEL].sum()) + 1, width)
    n = np.diff(bounds)
    sequence = first + np.repeat(np.arange(len(n)), n)
    document = np.arange(len(packed)) - np.repeat(bounds[:-1], n)
    five = len(packed), 5
    before, between, after = (np.full(len(packed), label) for label in range(3))
    kinds = np.full(five, LABEL)
    kinds[:, 1], kinds[:, 3] = kind[packed], kind[packed] + 1
    pieces = np.stack([before, piece[packed], between, piece[packed], after], axis=1)
    sizes = np.zeros(five, np.int64)
    sizes[:, 1], sizes[:, 3] = n_prompt[packed], n_answer[packed]
    nothing = np.zeros(kinds.size, np.int64)
    rows, documents = np.repeat(sequence, 5), np.repeat(document, 5)
    return Segments(rows, documents, kinds.ravel(), pieces.ravel(), nothing, nothing, sizes.ravel()), len(n)


def asked_ids(tokenizer: Tokenizer, template: str, prompt: str) -> list[int]:
    """Return the tokens of a prompt as a tuned model has read them, from ``<|endoftext|>`` to where its answer begins.

    Args:
        tokenizer: of :func:`lorebridge.tokens.tokenizer.load_tokenizer`; special tokens in the prompt are text.
        template: that it was tuned with.
        prompt: what is asked.
    """
    before, between, _ = _labels(tokenizer, template)
    lead = leads(template)[1]
    own = tokenizer.encode(lead + prompt, add_special_tokens=False).ids
    return [end_of_text_id(tokenizer), *before, *own, *between]


def answer_text(template: str, text: str) -> str:
    """Return the answer in what a tuned model wrote behind :func:`asked_ids`: without what the template adds."""
    closing = parts(template)[2].strip()
    return (text.split(closing)[0] if closing else text).strip()
