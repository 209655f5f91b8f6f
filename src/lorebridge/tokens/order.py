"""The data order: which piece of text stands where in the rows that a run reads, as a table.

The *schedule* (which pieces, in which optimizer step) is drawn from the language and the seed alone, never from the
arm: the monolingual rows of a batch are the same to the byte in every arm, and over each super-batch (two consecutive
steps) every arm reads the same pieces of parallel text, only arranged otherwise (:mod:`lorebridge.tokens.arms`).

* A batch is ``batch_tokens // sequence_length`` rows: first the monolingual ones, then the parallel ones. How many are
  monolingual is set for each super-batch so that the two kinds keep level in content tokens (text; no label, closing
  token or padding).
* Monolingual text is packed epoch by epoch (best-fit decreasing) and the rows are shuffled, so that each document comes
  once in each epoch.
* Pairs come in units (:mod:`lorebridge.tokens.units`), shuffled in each epoch. A super-batch takes units as long as
  they fit in both its batches in *every* arm; what a shorter arm has to spare is padding.
"""

from __future__ import annotations

import json
import logging
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.tokens.arms import ARMS, BASE, EN, LABEL, XX, Document, Unit, template_labels
from lorebridge.tokens.packing import SHORTEST_ROW, Rows, Stretch, best_fit, cut
from lorebridge.tokens.store import Store
from lorebridge.tokens.tokenizer import end_of_text_id, generator, load_tokenizer, tokenizer_fingerprint
from lorebridge.tokens.units import make_units

log = logging.getLogger("lorebridge.tokens")

PACKINGS = ("isolated", "concatenated")
METADATA = "order"

# How many units in a row may fail to fit before a super-batch is taken for full.
PATIENCE = 32

MONO = 3  # beside EN, XX and LABEL


class MonolingualRows:
    """An endless stream of packed rows of monolingual text.

    Each epoch packs every document once and shuffles the rows.
    """

    def __init__(self, lengths: npt.NDArray[np.int64], width: int, rng: np.random.Generator) -> None:
        """Cut the documents (`lengths`: tokens of each) for rows of `width` positions."""
        short = np.flatnonzero((lengths > 0) & (lengths < width))
        nothing = np.zeros_like(short)
        columns = [np.stack([short, nothing, nothing, lengths[short]], axis=1)]
        sizes = [lengths[short] + 1]
        for piece in np.flatnonzero(lengths >= width).tolist():
            parts = cut([int(lengths[piece])], width)
            sizes.append(np.array([size for size, _ in parts]))
            columns.append(np.array([(piece, s.part, s.start, s.n_tokens) for _, (s,) in parts]))
        self.parts: npt.NDArray[np.int64] = np.concatenate(columns)  # piece, part, start, n_tokens
        self._sizes: npt.NDArray[np.int64] = np.concatenate(sizes)
        self._width = width
        self._rng = rng

    def __iter__(self) -> Iterator[npt.NDArray[np.int64]]:
        """Yield rows: the parts in it, as rows of ``piece, part, start, n_tokens``."""
        while True:
            shuffled = self._rng.permutation(len(self.parts))
            rows = best_fit(self._sizes[shuffled], self._width)
            for row in self._rng.permutation(len(rows)).tolist():
                yield self.parts[shuffled[rows[row]]]


Placed = tuple[Document, list[Stretch]]
"""A part of a document, placed in a row."""


class ParallelSchedule:
    """Super-batches of parallel text: units that fit both batches in every arm, and where the parts of one arm go."""

    def __init__(
        self, units: Sequence[Unit], lengths: Mapping[int, Sequence[int]], width: int, rng: np.random.Generator
    ) -> None:
        """Schedule `units`; `lengths` gives the tokens of each piece by kind (`EN`, `XX`, `LABEL`)."""
        self.units = units
        self._lengths = lengths
        self._width = width
        self._rng = rng
        self._queue: deque[int] = deque()

    def _parts(self, document: Document) -> list[tuple[int, Placed]]:
        """Cut one document into (positions, what is placed there)."""
        document = tuple(segment for segment in document if self._lengths[segment[0]][segment[1]])
        return [
            (size, (document, stretches))
            for size, stretches in cut([self._lengths[kind][piece] for kind, piece in document], self._width)
        ]

    def _place(self, unit: Unit, rows: Mapping[str, Sequence[Rows]], arm: str) -> list[list[tuple[int, Placed]]] | None:
        """Place a unit in the rows of every arm, or in none; return where the parts of `arm` lie, for both batches."""
        placed: list[list[tuple[int, Placed]]] = [[], []]
        for name, arrange in ARMS.items():
            for batch, documents in enumerate(arrange(unit)):
                for document in documents:
                    for size, part in self._parts(document):
                        row = rows[name][batch].place(size)
                        if row is None:
                            for both in rows.values():
                                for one in both:
                                    one.undo()
                            return None
                        if name == arm:
                            placed[batch].append((row, part))
        for both in rows.values():
            for one in both:
                one.keep()
        return placed

    def _rows(self, n_rows: int) -> dict[str, tuple[Rows, Rows]]:
        return {name: (Rows(n_rows, self._width), Rows(n_rows, self._width)) for name in ARMS}

    def drop_too_long(self, n_rows: int) -> int:
        """Leave out the units that do not fit an empty super-batch of `n_rows` rows; return how many pairs they had."""
        extra = sum(self._lengths[LABEL]) + 2  # labels and closing tokens of a pair, at most
        kept = []
        dropped = 0
        for unit in self.units:
            tokens = sum(self._lengths[EN][pair] + self._lengths[XX][pair] + extra for pair in unit.members)
            if tokens <= self._width or self._place(unit, self._rows(n_rows), BASE) is not None:
                kept.append(unit)
            else:
                dropped += len(unit.members)
        self.units = kept
        return dropped

    def super_batch(self, n_rows: int, arm: str) -> list[dict[int, list[Placed]]]:
        """Take the next units that fit in `n_rows` rows of each of two batches; return the rows of `arm` for both.

        Raises:
            InputError: all pairs fit at once, so that one would come twice within a super-batch.
        """
        rows = self._rows(n_rows)
        filled: list[dict[int, list[Placed]]] = [{}, {}]
        taken: set[int] = set()
        refused: set[int] = set()
        waiting: list[int] = []
        while len(refused) < PATIENCE and len(taken) + len(refused) < len(self.units):
            if not self._queue:
                self._queue.extend(self._rng.permutation(len(self.units)).tolist())
            number = self._queue.popleft()
            placed = None
            if number not in taken and number not in refused:
                placed = self._place(self.units[number], rows, arm)
                (refused if placed is None else taken).add(number)
            if placed is None:
                waiting.append(number)
                continue
            for batch, parts in enumerate(placed):
                for row, part in parts:
                    filled[batch].setdefault(row, []).append(part)
        if len(taken) == len(self.units):
            raise InputError(
                "parallel text",
                f"only {sum(len(unit.members) for unit in self.units)} usable pairs, which all fit in two batches",
                "Give more pairs or lower train.batch_tokens: a pair may not come twice within two batches.",
            )
        self._queue.extendleft(reversed(waiting))
        return filled


class _Columns:
    """The columns of an order table, grown row by row."""

    def __init__(self) -> None:
        self.arrays = {name: array("i") for name in
                       ("sequence", "slot", "document", "kind", "piece", "part", "start", "n_tokens")}  # fmt: skip

    def monolingual(self, sequence: int, parts: npt.NDArray[np.int64]) -> None:
        """Add a row of monolingual parts, one document each."""
        n = len(parts)
        for name, values in (("sequence", [sequence] * n), ("slot", range(n)), ("document", range(n)),
                             ("kind", [MONO] * n)):  # fmt: skip
            self.arrays[name].extend(values)
        for name, column in zip(("piece", "part", "start", "n_tokens"), parts.T.tolist(), strict=True):
            self.arrays[name].extend(column)

    def parallel(self, sequence: int, parts: Sequence[Placed]) -> None:
        """Add a row of parallel documents."""
        slot = 0
        for document, (segments, stretches) in enumerate(parts):
            for stretch in stretches:
                kind, piece = segments[stretch.segment]
                values = (sequence, slot, document, kind, piece, stretch.part, stretch.start, stretch.n_tokens)
                for column, value in zip(self.arrays.values(), values, strict=True):
                    column.append(value)
                slot += 1

    def frame(self) -> pd.DataFrame:
        """Return the columns as a table, still with `kind` for the stream."""
        return pd.DataFrame({name: np.frombuffer(column, np.int32) for name, column in self.arrays.items()})


def draw_order(
    *,
    run: str,
    lang: str,
    arm: str,
    seed: int,
    steps: int,
    sequence_length: int,
    batch_tokens: int,
    template: str,
    packing: str,
    stores: dict[str, Path],
    pairs: Path | None,
    tokenizer: Path,
    out: Path,
) -> dict[str, Any]:
    """Draw the data order of a run and write it.

    The table (``tables.SCHEMAS["order"]``) has one row for each segment, in reading order. ``sequence`` is the row of
    the whole run (step x rows per batch + row; steps count from 0), ``document`` its document, ``slot`` the segment's
    place in the row; ``stream`` and ``piece`` say what it is (document `piece` of the store `stream`, or the label),
    and tokens ``start`` to ``start + n_tokens`` of it are targets there. A document of the row opens with
    ``<|endoftext|>`` where its first ``start`` is 0, and closes with it where its last segment ends its piece. The
    Parquet metadata (key ``order``) holds what else is needed to read it, and the totals.

    Args:
        run: the run's name.
        lang: the language that is trained; with `seed`, decides the schedule.
        arm: a key of :data:`lorebridge.tokens.arms.ARMS`, or ``base`` (monolingual text alone).
        seed: the data seed.
        steps: optimizer steps; even, unless `arm` is ``base``.
        sequence_length: positions of a row (T).
        batch_tokens: positions of a batch; a multiple of `sequence_length`.
        template: ``text {en} text {xx}``: how a bridge joins a pair.
        packing: ``isolated`` (a document sees itself alone) or ``concatenated`` (a row is one stretch of text). The
            order is the same; only how it is read differs.
        stores: folders of ``mono-{lang}`` and, unless `arm` is ``base``, ``pairs-{lang}-en`` and ``pairs-{lang}-xx``.
        pairs: the table of pairs that the two stores were made from; None for ``base``.
        tokenizer: the tokenizer folder of the stores.
        out: the table to write.

    Returns:
        Notes: what the metadata says.

    Raises:
        InputError: a bad argument; stores of another tokenizer, or that do not belong to `pairs`; too few pairs.
    """
    n_rows = _check_shape(arm, steps, sequence_length, batch_tokens, packing)
    names = [f"mono-{lang}"] if arm == BASE else [f"mono-{lang}", f"pairs-{lang}-en", f"pairs-{lang}-xx"]
    encoder = load_tokenizer(tokenizer)
    expected = tokenizer_fingerprint(tokenizer)
    opened: dict[str, Store] = {}
    for name in names:
        if name not in stores:
            raise InputError(f"order {run}", f"no token store {name}", f"It has {', '.join(sorted(stores)) or 'none'}.")
        opened[name] = store = Store.open(stores[name])
        if store.notes["tokenizer"] != expected:
            raise InputError(store.path, f"was not made with the tokenizer {tokenizer}", "Remake the store.")
    mono = iter(MonolingualRows(opened[names[0]].lengths, sequence_length, generator("order", lang, seed, "mono")))
    columns = _Columns()
    streams = [f"pairs-{lang}-en", f"pairs-{lang}-xx", "label", f"mono-{lang}"]  # by kind
    lengths: dict[int, npt.NDArray[np.int64]] = {MONO: opened[names[0]].lengths}
    labels: list[list[int]] = []
    pair_notes: dict[str, Any] = {}
    mono_rows: list[int] = []
    if arm == BASE:
        for sequence in tqdm(range(steps * n_rows), unit="row", desc=f"order {run}", mininterval=1):
            columns.monolingual(sequence, next(mono))
        mono_rows = [n_rows]
    else:
        if pairs is None:
            raise InputError(f"order {run}", "no table of pairs", f"The arm {arm} needs one.")
        labels = [encoder.encode(text, add_special_tokens=False).ids for text in template_labels(template)]
        lengths |= {EN: opened[names[1]].lengths, XX: opened[names[2]].lengths}
        lengths[LABEL] = np.array([len(ids) for ids in labels])
        schedule, pair_notes = _parallel_schedule(lang, seed, pairs, lengths, sequence_length, n_rows)
        mono_rows = _fill(columns, mono, schedule, arm, steps, n_rows, sequence_length, f"order {run}")
    frame = columns.frame()
    notes = {
        "run": run,
        "lang": lang,
        "arm": arm,
        "seed": seed,
        "steps": steps,
        "sequence_length": sequence_length,
        "batch_tokens": batch_tokens,
        "rows_per_step": n_rows,
        "monolingual_rows": sorted(set(mono_rows)),
        "packing": packing,
        "end_of_text": end_of_text_id(encoder),
        "labels": labels,
        "tokenizer": expected,
        "stores": {name: opened[name].notes["digest"] for name in names},
        "pairs": pair_notes,
        **_totals(frame, lengths, streams, steps * n_rows * sequence_length),
    }
    text = json.dumps(notes, ensure_ascii=False, sort_keys=True)
    dictionary = pa.DictionaryArray.from_arrays(pa.array(frame["kind"], pa.int8()), pa.array(streams))
    table = pa.table({name: pa.array(frame[name]) for name in frame.columns if name != "kind"})
    tables.write("order", table.append_column("stream", dictionary.cast(pa.string())), out, {METADATA: text})
    log.info("%s: %s", run, {key: notes[key] for key in ("tokens", "epochs", "en_share", "monolingual_per_parallel")})
    return notes


def _check_shape(arm: str, steps: int, sequence_length: int, batch_tokens: int, packing: str) -> int:
    """Return the rows of a batch."""
    if arm != BASE and arm not in ARMS:
        raise InputError("arm", f"{arm!r} is unknown", f"It is one of {', '.join([BASE, *ARMS])}.")
    if packing not in PACKINGS:
        raise InputError("train.packing", f"{packing!r} is unknown", f"It is one of {', '.join(PACKINGS)}.")
    if sequence_length < SHORTEST_ROW:
        raise InputError("train.sequence_length", f"{sequence_length} is too short", f"Give {SHORTEST_ROW} or more.")
    if batch_tokens < sequence_length or batch_tokens % sequence_length:
        raise InputError(
            "train.batch_tokens",
            f"{batch_tokens} is not a multiple of the sequence length",
            f"{sequence_length} is it.",
        )
    n_rows = batch_tokens // sequence_length
    if steps < 1:
        raise InputError("train.steps", f"{steps} steps", "Give one or more.")
    if arm != BASE and steps % 2:
        raise InputError(
            "train.steps", f"{steps} is odd", "Pairs are laid out over two steps at a time; give an even number."
        )
    if arm != BASE and n_rows < 2:
        raise InputError(
            "train.batch_tokens", "a batch is one row", "Monolingual and parallel text need one each at least."
        )
    return n_rows


def _parallel_schedule(
    lang: str, seed: int, pairs: Path, lengths: Mapping[int, npt.NDArray[np.int64]], width: int, n_rows: int
) -> tuple[ParallelSchedule, dict[str, Any]]:
    """Make the units of a language and seed, and their schedule."""
    table = tables.read(pairs, ["en", "xx", "source"])
    for kind, side in ((EN, "en"), (XX, "xx")):
        if len(table) != len(lengths[kind]):
            raise InputError(
                pairs, f"{len(table)} pairs, but {len(lengths[kind])} in their {side} store", "Remake the store."
            )
    units, notes = make_units(table, lengths[EN], lengths[XX], generator("order", lang, seed, "units"))
    by_kind = {kind: lengths[kind].tolist() for kind in (EN, XX, LABEL)}
    schedule = ParallelSchedule(units, by_kind, width, generator("order", lang, seed, "pairs"))
    notes["too_long"] = schedule.drop_too_long(max(1, n_rows // 2))
    left_out = notes["empty"] + notes["no_partner"] + notes["too_long"]
    if left_out:
        log.warning(
            "%s: %d of %d pairs are left out in every arm (%d empty, %d without an unrelated partner, %d too long for "
            "a batch)", pairs, left_out, len(table), notes["empty"], notes["no_partner"], notes["too_long"],
        )  # fmt: skip
    notes |= {"n_pairs": len(table), "n_units": len(schedule.units)}
    if not schedule.units:
        raise InputError(
            pairs, f"none of its {len(table)} pairs can be used", "Check the parallel sources and filters."
        )
    return schedule, notes


def _fill(
    columns: _Columns,
    mono: Iterator[npt.NDArray[np.int64]],
    schedule: ParallelSchedule,
    arm: str,
    steps: int,
    n_rows: int,
    width: int,
    what: str,
) -> list[int]:
    """Lay out all super-batches; return the number of monolingual rows in each.

    That number is chosen so that, at the densities seen so far (content tokens for each position), the cumulative
    content of the two kinds comes level at the end of the super-batch.
    """
    content = {"mono": 0, "parallel": 0}
    positions = {"mono": 0, "parallel": 0}
    chosen: list[int] = []
    for first_step in tqdm(range(0, steps, 2), unit="super-batch", desc=what, mininterval=1):
        density = {kind: content[kind] / positions[kind] if positions[kind] else 1.0 for kind in content}
        lead = content["parallel"] - content["mono"]
        level = (lead + 2 * n_rows * width * density["parallel"]) / (
            2 * width * (density["mono"] + density["parallel"])
        )
        n_mono = min(max(round(level), 1), n_rows - max(1, n_rows // 2))
        chosen.append(n_mono)
        batches = schedule.super_batch(n_rows - n_mono, arm)
        for batch, rows in enumerate(batches):
            begin = (first_step + batch) * n_rows
            for row in range(n_mono):
                parts = next(mono)
                columns.monolingual(begin + row, parts)
                content["mono"] += int(parts[:, 3].sum())
            for row in sorted(rows):
                columns.parallel(begin + n_mono + row, rows[row])
                content["parallel"] += sum(
                    stretch.n_tokens
                    for document, stretches in rows[row]
                    for stretch in stretches
                    if document[stretch.segment][0] != LABEL
                )
        positions["mono"] += 2 * n_mono * width
        positions["parallel"] += 2 * (n_rows - n_mono) * width
    return chosen


def _totals(
    frame: pd.DataFrame, lengths: Mapping[int, npt.NDArray[np.int64]], streams: Sequence[str], positions: int
) -> dict[str, Any]:
    """Count tokens by role and stream, epochs, and the shares of the streams."""
    sums = np.bincount(frame["kind"], weights=frame["n_tokens"], minlength=len(streams)).astype(np.int64).tolist()
    by_kind = {kind: count for kind, count in enumerate(sums) if kind in lengths}
    n_close = int(closing(frame, lambda kind: lengths[kind]).sum())
    content = {streams[kind]: int(count) for kind, count in by_kind.items() if kind != LABEL}
    label = int(by_kind.get(LABEL, 0))
    total = sum(content.values())
    parallel = {kind: int(by_kind.get(kind, 0)) for kind in (EN, XX)}
    n_parallel = sum(parallel.values())
    return {
        "tokens": {
            "content": total,
            "label": label,
            "end_of_text": n_close,
            "pad": positions - total - label - n_close,
            "positions": positions,
        },
        "content": content,
        "epochs": {
            streams[kind]: round(int(count) / int(lengths[kind].sum()), 6)
            for kind, count in by_kind.items()
            if kind != LABEL
        },
        "en_share": round(parallel[EN] / n_parallel, 6) if n_parallel else None,
        "monolingual_per_parallel": round(int(by_kind.get(MONO, 0)) / n_parallel, 6) if n_parallel else None,
    }


def closing(frame: pd.DataFrame, lengths: Callable[[int], npt.NDArray[np.int64]]) -> npt.NDArray[np.bool_]:
    """Say for each segment of an order whether the closing ``<|endoftext|>`` follows it.

    Args:
        frame: columns ``sequence, document, kind, piece, start, n_tokens``, in reading order.
        lengths: gives the tokens of the pieces of a kind.
    """
    sequence, document, kind, piece = (frame[name].to_numpy() for name in ("sequence", "document", "kind", "piece"))
    last = np.ones(len(frame), bool)
    last[:-1] = (np.diff(sequence) != 0) | (np.diff(document) != 0)
    ends = (frame["start"] + frame["n_tokens"]).to_numpy()
    for value in np.unique(kind).tolist():
        of_kind = kind == value
        last[of_kind] &= ends[of_kind] == lengths(value)[piece[of_kind]]
    return last


def read_notes(order: Path | str) -> dict[str, Any]:
    """Return what an order's metadata says (the notes of :func:`draw_order`).

    Raises:
        InputError: the file is missing or is not an order.
    """
    try:
        metadata = pq.read_schema(order).metadata or {}
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(order, f"cannot be read as a Parquet table ({error})", "Remake it with its rule.") from error
    if METADATA.encode() not in metadata:
        raise InputError(order, "is not a data order", "Give results/<study>/order/<run>.parquet.")
    return json.loads(metadata[METADATA.encode()])


def order_summary(order: Path | str) -> dict[str, Any]:
    """Return one flat row that describes an order, for tables.

    Keys: ``run, lang, arm, seed, steps, content, label, end_of_text, pad, positions, monolingual, parallel_en,
    parallel_xx`` (tokens), ``epochs_monolingual, epochs_pairs, en_share, monolingual_per_parallel, pairs_left_out``;
    None where an order has no parallel text.
    """
    notes = read_notes(order)
    lang = notes["lang"]
    pairs = notes["pairs"]
    return {
        **{key: notes[key] for key in ("run", "lang", "arm", "seed", "steps")},
        **notes["tokens"],
        "monolingual": notes["content"][f"mono-{lang}"],
        "parallel_en": notes["content"].get(f"pairs-{lang}-en"),
        "parallel_xx": notes["content"].get(f"pairs-{lang}-xx"),
        "epochs_monolingual": notes["epochs"][f"mono-{lang}"],
        "epochs_pairs": notes["epochs"].get(f"pairs-{lang}-en"),
        "en_share": notes["en_share"],
        "monolingual_per_parallel": notes["monolingual_per_parallel"],
        "pairs_left_out": sum(pairs[key] for key in ("empty", "no_partner", "too_long")) if pairs else None,
    }
