"""Read a data order: batches of token ids for training, or the text that a model saw.

An order of a large run has tens of millions of segments. They are read a row group at a time, as the steps come: so
each process of a run holds some megabytes of the order, and a resume reads no more than what its next step needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

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
        targets: int64; the token that follows; -100 at padding, and where it is of a prompt that a model is tuned on.
        positions: int64; rotary position, from 0 in each document (``concatenated``: in each row); 0 at padding.
        documents: int32; the document of the row that a position belongs to (``concatenated``: 0), -1 at padding. A
            position may attend to the earlier positions of its own document alone.
    """

    input_ids: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int32]


_COLUMNS = ["sequence", "document", "stream", "piece", "part", "start", "n_tokens"]


class _RowGroups:
    """The segments of an order, by row of the run; holds the row groups that were last asked for."""

    def __init__(self, order: Path, kinds: Mapping[str, int]) -> None:
        """Open the table; `kinds` numbers the streams, the label included."""
        self._path = order
        self._kinds = kinds
        self._held: dict[int, pd.DataFrame] = {}
        try:
            self._file = pq.ParquetFile(
                order, read_dictionary=["stream"], pre_buffer=False, page_checksum_verification=True
            )
            metadata = self._file.metadata
            at = metadata.schema.names.index("sequence")
            found = [metadata.row_group(i).column(at).statistics for i in range(metadata.num_row_groups)]
            self._first = np.array([each.min for each in found], np.int64)
            self._last = np.array([each.max for each in found], np.int64)
        except (OSError, pa.ArrowInvalid, AttributeError, ValueError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> InputError:
        return InputError(self._path, f"cannot be read as a data order ({error})", "Remake it with its rule.")

    def __call__(self, begin: int, end: int) -> pd.DataFrame:
        """Return the segments of the rows `begin` to `end` - 1 of the run, in reading order."""
        wanted = np.flatnonzero((self._first < end) & (self._last >= begin)).tolist()
        self._held = {group: self._held[group] if group in self._held else self._read(group) for group in wanted}
        parts = []
        for group in self._held.values():
            low, high = np.searchsorted(group["sequence"].to_numpy(), [begin, end])
            parts.append(group.iloc[low:high])
        return pd.concat(parts, ignore_index=True) if parts else self._empty()

    def _empty(self) -> pd.DataFrame:
        names = [name if name != "stream" else "kind" for name in _COLUMNS]
        return pd.DataFrame({name: np.zeros(0, np.int64) for name in names})

    def _read(self, group: int) -> pd.DataFrame:
        try:
            table = self._file.read_row_group(group, columns=_COLUMNS)
            if len(table) != (n_rows := self._file.metadata.row_group(group).num_rows):
                raise pa.ArrowInvalid(f"{n_rows - len(table)} rows are missing")  # no checksum tells: it is of pages
            stream = table["stream"].unify_dictionaries().combine_chunks()
            kinds = np.array([self._kinds[name] for name in stream.dictionary.to_pylist()], np.int64)
            columns = {name: table[name].to_numpy() for name in _COLUMNS if name != "stream"}
        except (OSError, pa.ArrowInvalid, KeyError) as error:
            raise self._damaged(error) from error
        return pd.DataFrame({**columns, "kind": kinds[stream.indices.to_numpy()]})


class OrderReader:
    """Assembles the batches of a run from its order and the token stores.

    Attributes:
        notes: what the order's metadata says.
        steps: optimizer steps.
        rows_per_step: rows of a batch.
        sequence_length: positions of a row.
        streams: the stream of each kind, a number; the last is ``label``.
    """

    def __init__(self, order: Path, stores: Mapping[str, Store]) -> None:
        """Open the table; :meth:`open` is the usual way in."""
        self.notes = read_notes(order)
        self.steps: int = self.notes["steps"]
        self.rows_per_step: int = self.notes["rows_per_step"]
        self.sequence_length: int = self.notes["sequence_length"]
        self._end_of_text: int = self.notes["end_of_text"]
        self._isolated = self.notes["packing"] == "isolated"
        # One flat list of sources: the stores, then the labels as a small store of their own.
        names = sorted(self.notes["stores"])
        self.streams = [*names, "label"]
        label_ends = np.cumsum([0, *(len(ids) for ids in self.notes["labels"])])
        self._tokens = [stores[name].tokens for name in names]
        self._tokens.append(np.array([i for ids in self.notes["labels"] for i in ids], np.uint32))
        self._offsets = [*(stores[name].offsets for name in names), label_ends]
        self._rows = _RowGroups(order, {name: kind for kind, name in enumerate(self.streams)})
        unasked = self.notes.get("unasked", {"streams": [], "labels": []})
        self._unasked = [self.streams.index(name) for name in unasked["streams"]]
        self._unasked_labels: list[int] = unasked["labels"]

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

    def segments(self, step: int, rows: slice | None = None) -> pd.DataFrame:
        """Return the segments that make up some rows of a batch, in reading order.

        The columns are those of the table, but ``kind`` (a place in :attr:`streams`) for ``stream``, ``row`` (of the
        batch) for ``sequence``, and ``closes``: whether a closing ``<|endoftext|>`` follows.
        """
        first = step * self.rows_per_step
        found = self._rows(first, first + self.rows_per_step)
        found["closes"] = closing(found, self._lengths)
        found["row"] = found.pop("sequence") - first
        if rows is None:
            return found
        return found[np.isin(found["row"], range(self.rows_per_step)[rows])].reset_index(drop=True)

    def _lengths(self, kind: int, piece: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Return the tokens of some pieces."""
        return self._offsets[kind][piece + 1] - self._offsets[kind][piece]

    def batch(self, step: int, rows: slice | None = None, *, prompts: bool = False) -> Batch:
        """Assemble the batch of a step (from 0), or some of its rows.

        Args:
            step: from 0.
            rows: of the batch; None for all.
            prompts: whether tokens of prompts are targets, too.

        Raises:
            IndexError: no such step.
        """
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} of {self.steps}")
        wanted = range(self.rows_per_step)[rows or slice(None)]
        shape = (len(wanted), self.sequence_length)
        size = shape[0] * shape[1]
        found = self.segments(step, rows)
        targets = np.full(size, IGNORED, np.int64)
        inputs = np.full(size, self._end_of_text, np.int64)
        positions = np.zeros(size, np.int64)
        documents = np.full(size, NO_DOCUMENT, np.int32)
        if len(found):
            row_of = np.zeros(self.rows_per_step, np.int64)
            row_of[list(wanted)] = np.arange(len(wanted))
            row = row_of[found["row"]]
            document, kind, piece, start, n = (
                found[name].to_numpy(np.int64) for name in ("document", "kind", "piece", "start", "n_tokens")
            )
            closes = found["closes"].to_numpy()
            source_of = start.copy()
            for of in np.unique(kind).tolist():
                source_of[kind == of] += self._offsets[of][piece[kind == of]]
            taken = n + closes  # positions of each segment, the closing token counted with the last
            before = np.cumsum(taken) - taken
            new_row = np.diff(row, prepend=-1) != 0
            column = before - np.repeat(before[new_row], np.diff(np.append(np.flatnonzero(new_row), len(found))))
            begins = row * self.sequence_length + column  # where each segment's targets begin, in the flat batch
            flat, within = _spread(begins, n)
            source = np.repeat(kind, n)
            token = np.repeat(source_of, n) + within
            for of in np.unique(source).tolist():
                of_kind = source == of
                targets[flat[of_kind]] = self._tokens[of][token[of_kind]]
            targets[(begins + n)[closes]] = self._end_of_text
            opens = new_row | (np.diff(document, prepend=-1) != 0)
            everywhere, _ = _spread(begins, taken)
            inputs[everywhere[1:]] = targets[everywhere[:-1]]
            starts = begins[opens]
            inputs[starts] = [
                self._tokens[of][at - 1] if goes_on else self._end_of_text
                for of, at, goes_on in zip(kind[opens], source_of[opens], start[opens] > 0, strict=True)
            ]
            origin = np.repeat(starts, np.diff(np.append(np.flatnonzero(opens), len(found))))
            if self._isolated:
                positions[everywhere] = everywhere - np.repeat(origin, taken)
                documents[everywhere] = np.repeat(document, taken)
            else:
                positions[everywhere] = everywhere % self.sequence_length
                documents[everywhere] = 0
            if self._unasked and not prompts:
                of_template = (kind == len(self.streams) - 1) & np.isin(piece, self._unasked_labels)
                unasked = of_template | np.isin(kind, self._unasked)
                targets[_spread(begins[unasked], n[unasked])[0]] = IGNORED
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
    batch = reader.batch(step, prompts=True)
    part = reader.segments(step)
    part["stream"] = np.array(reader.streams)[part["kind"]]
    lines = [f"{reader.notes['run']}, step {step} of {reader.steps}"]
    for row in range(reader.rows_per_step):
        lines.append(f"\nrow {row}")
        column = 0
        for document, segments in part[part["row"] == row].groupby("document", sort=False):
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
    part = f" part {segment.part}" if segment.part > 0 else " for a removed text" if segment.part < 0 else ""
    return f"{segment.stream} {segment.piece}{part} ({segment.n_tokens} tokens)"
