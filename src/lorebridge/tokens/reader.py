"""Read a data order: batches of token ids for training, or the text that a model saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.tokens.order import closing, read_notes
from lorebridge.tokens.store import Store
from lorebridge.tokens.tokenizer import load_tokenizer, tokenizer_fingerprint

IGNORED = -100
"""The target of a padding position."""

NO_DOCUMENT = -1
"""The document of a padding position."""


@dataclass(frozen=True)
class Batch:
    """Rows of one optimizer step, [rows, positions] each.

    Attributes:
        input_ids: int64; padding is ``<|endoftext|>``.
        targets: int64; the token that follows, -100 at padding.
        positions: int64; rotary position, from 0 in each document (``concatenated``: in each row); 0 at padding.
        documents: int32; the document of the row that a position belongs to (``concatenated``: 0), -1 at padding. A
            position may attend to the earlier positions of its own document alone.
    """

    input_ids: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int32]


class OrderReader:
    """Assembles the batches of a run from its order and the token stores.

    Attributes:
        notes: what the order's metadata says.
        steps: optimizer steps.
        rows_per_step: rows of a batch.
        sequence_length: positions of a row.
        closes: for each row of the table, whether a closing ``<|endoftext|>`` follows it.
    """

    def __init__(self, order: Path, stores: Mapping[str, Store]) -> None:
        """Read the table; :meth:`open` is the usual way in."""
        self.notes = read_notes(order)
        self.steps: int = self.notes["steps"]
        self.rows_per_step: int = self.notes["rows_per_step"]
        self.sequence_length: int = self.notes["sequence_length"]
        frame = tables.read(order)
        self._end_of_text: int = self.notes["end_of_text"]
        self._isolated = self.notes["packing"] == "isolated"
        # One flat list of sources: the stores, then the labels as a small store of their own.
        names = sorted(self.notes["stores"])
        label_ends = np.cumsum([0, *(len(ids) for ids in self.notes["labels"])])
        self._tokens = [stores[name].tokens for name in names]
        self._tokens.append(np.array([i for ids in self.notes["labels"] for i in ids], np.uint32))
        offsets = [*(stores[name].offsets for name in names), label_ends]
        frame["kind"] = frame["stream"].map({**{name: i for i, name in enumerate(names)}, "label": len(names)})
        self._kind = frame["kind"].to_numpy(np.int64)
        self.closes = closing(frame, lambda kind: np.diff(offsets[kind]))
        self._from = frame["start"].to_numpy(np.int64)
        self._continues = self._from > 0
        for kind, ends in enumerate(offsets):
            of_kind = self._kind == kind
            self._from[of_kind] += ends[frame["piece"].to_numpy()[of_kind]]
        self._n = frame["n_tokens"].to_numpy(np.int64)
        self._document = frame["document"].to_numpy(np.int64)
        self._sequence = frame["sequence"].to_numpy(np.int64)
        self._bounds = np.searchsorted(self._sequence, np.arange(self.steps * self.rows_per_step + 1))

    @classmethod
    def open(cls, order: Path | str, stores: Mapping[str, Path]) -> OrderReader:
        """Open an order and its token stores.

        Args:
            order: the table.
            stores: folder of each stream that the order names; more are ignored.

        Raises:
            InputError: a store is missing, is of another tokenizer, or is not the one that the order was drawn for.
        """
        opened = {}
        notes = read_notes(order)
        for name, digest in notes["stores"].items():
            if name not in stores:
                raise InputError(order, f"no token store {name} is given", "Give its folder.")
            opened[name] = Store.open(stores[name], notes["tokenizer"])
            if opened[name].notes["digest"] != digest:
                raise InputError(
                    order, f"was drawn for another content of the token store {stores[name]}", "Draw the order again."
                )
        return cls(Path(order), opened)

    def segments(self, step: int, rows: slice | None = None) -> npt.NDArray[np.int64]:
        """Return the indices of the table's rows that make up some rows of a batch, in reading order."""
        first = step * self.rows_per_step
        wanted = range(self.rows_per_step)[rows or slice(None)]
        return np.concatenate(
            [np.zeros(0, np.int64)]
            + [np.arange(self._bounds[first + row], self._bounds[first + row + 1]) for row in wanted]
        )

    def batch(self, step: int, rows: slice | None = None) -> Batch:
        """Assemble the batch of a step (from 0), or some of its rows.

        Raises:
            IndexError: no such step.
        """
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} of {self.steps}")
        wanted = range(self.rows_per_step)[rows or slice(None)]
        shape = (len(wanted), self.sequence_length)
        size = shape[0] * shape[1]
        at = self.segments(step, rows)
        targets = np.full(size, IGNORED, np.int64)
        inputs = np.full(size, self._end_of_text, np.int64)
        positions = np.zeros(size, np.int64)
        documents = np.full(size, NO_DOCUMENT, np.int32)
        if len(at):
            row_of = np.zeros(self.rows_per_step, np.int64)
            row_of[list(wanted)] = np.arange(len(wanted))
            row = row_of[self._sequence[at] - step * self.rows_per_step]
            document = self._document[at]
            n, closes = self._n[at], self.closes[at]
            taken = n + closes  # positions of each segment, the closing token counted with the last
            before = np.cumsum(taken) - taken
            new_row = np.diff(row, prepend=-1) != 0
            column = before - np.repeat(before[new_row], np.diff(np.append(np.flatnonzero(new_row), len(at))))
            begins = row * self.sequence_length + column  # where each segment's targets begin, in the flat batch
            flat, within = _spread(begins, n)
            source = np.repeat(self._kind[at], n)
            token = np.repeat(self._from[at], n) + within
            for kind in np.unique(source).tolist():
                of_kind = source == kind
                targets[flat[of_kind]] = self._tokens[kind][token[of_kind]]
            targets[(begins + n)[closes]] = self._end_of_text
            opens = new_row | (np.diff(document, prepend=-1) != 0)
            everywhere, _ = _spread(begins, taken)
            inputs[everywhere[1:]] = targets[everywhere[:-1]]
            starts = begins[opens]
            inputs[starts] = [
                self._tokens[kind][source - 1] if goes_on else self._end_of_text
                for kind, source, goes_on in zip(
                    self._kind[at][opens], self._from[at][opens], self._continues[at][opens], strict=True
                )
            ]
            origin = np.repeat(starts, np.diff(np.append(np.flatnonzero(opens), len(at))))
            if self._isolated:
                positions[everywhere] = everywhere - np.repeat(origin, taken)
                documents[everywhere] = np.repeat(document, taken)
            else:
                positions[everywhere] = everywhere % self.sequence_length
                documents[everywhere] = 0
        return Batch(inputs.reshape(shape), targets.reshape(shape), positions.reshape(shape), documents.reshape(shape))


def _spread(begins: npt.NDArray[np.int64], n: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], ...]:
    """Return the indices from each ``begins[i]`` to ``begins[i] + n[i] - 1``, end to end, and each less its begin."""
    within = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
    return np.repeat(begins, n) + within, within


def show_batch(*, order: Path, stores: Mapping[str, Path], tokenizer: Path, step: int) -> str:
    """Return the text that a model saw in one optimizer step, for reading.

    Every row lists its documents with what they are made of (stream, piece, part, tokens) and their text; the batch's
    totals come last. ``<|endoftext|>`` stands where it was an input or a target, ``…`` where a document goes on from
    an earlier part or in a later one.

    Args:
        order: the run's order.
        stores: folders of its token stores.
        tokenizer: the tokenizer folder.
        step: the optimizer step, from 0.

    Raises:
        InputError: no such step, or another tokenizer than the order's.
    """
    reader = OrderReader.open(order, stores)
    if not 0 <= step < reader.steps:
        raise InputError(order, f"no step {step}", f"Its steps are 0 to {reader.steps - 1}.")
    if tokenizer_fingerprint(tokenizer) != reader.notes["tokenizer"]:
        raise InputError(tokenizer, "is not the tokenizer of the order", "Give the study's own.")
    decode = load_tokenizer(tokenizer).decode
    batch = reader.batch(step)
    at = reader.segments(step)
    part = tables.read(order).iloc[at]
    part = part.assign(closes=reader.closes[at], row=part["sequence"] % reader.rows_per_step)
    lines = [f"{reader.notes['run']}, step {step} of {reader.steps}"]
    for row in range(reader.rows_per_step):
        lines.append(f"\nrow {row}")
        column = 0
        for document, segments in part[part["row"] == row].groupby("document", sort=True):
            n_tokens, closes = int(segments["n_tokens"].sum()), bool(segments["closes"].iloc[-1])
            made_of = " + ".join(_describe(segment) for segment in segments.itertuples())
            text = decode(batch.targets[row, column : column + n_tokens].tolist(), skip_special_tokens=False)
            opening = "…" if segments["start"].iloc[0] else "<|endoftext|>"
            lines.append(f"  document {document}: {made_of}")
            lines.append(f"    {opening}{text}{'<|endoftext|>' if closes else '…'}")
            column += n_tokens + closes
        lines.append(f"  padding: {reader.sequence_length - column} of {reader.sequence_length} positions")
    totals = part.groupby("stream")["n_tokens"].sum().to_dict()
    n_close = int(part["closes"].sum())
    n_pad = batch.targets.size - sum(totals.values()) - n_close
    counts = [f"{name} {count}" for name, count in totals.items()]
    lines.append(f"\ntokens: {', '.join([*counts, f'<|endoftext|> {n_close}', f'padding {n_pad}'])}")
    return "\n".join(lines) + "\n"


def _describe(segment: Any) -> str:
    """Say what one row of the table is made of."""
    part = f" part {segment.part}" if segment.part or segment.start else ""
    return f"{segment.stream} {segment.piece}{part} ({segment.n_tokens} tokens)"
