"""The data order: which piece of text stands where in the rows that a run reads, as a table.

The *schedule* (which pieces, in which optimizer step) is drawn from the language and the seed alone, never from the
arm (but in ``no_bridge_reseeded``, which is there for that): the monolingual rows of a batch are the same to the byte
in every arm, and over each super-batch (two consecutive steps) every arm reads the same pieces of parallel text, only
arranged otherwise (:mod:`lorebridge.tokens.arms`). In a placebo the partners change from epoch to epoch
(:mod:`lorebridge.tokens.partners`). Where an arm has the halves of pairs ``far`` apart, its parallel rows are shuffled
over each epoch of the pairs afterwards, and the pieces are the same over an epoch and over the run. The variants of an
arm leave some pieces out, or replace some monolingual rows, after all has been laid out
(:mod:`lorebridge.tokens.derived`).

* A batch is ``batch_tokens // sequence_length`` rows: first the monolingual ones, then the parallel ones. How many are
  monolingual is set for each super-batch so that the two kinds keep level in content tokens (text; no label, closing
  token or padding).
* Monolingual text is packed epoch by epoch (best-fit decreasing) and the rows are shuffled, so that each document comes
  once in each epoch.
* Pairs come in units (:mod:`lorebridge.tokens.units`), shuffled in each epoch. A super-batch takes units as long as
  they fit in both its batches in *every* arm (:mod:`lorebridge.tokens.schedule`); what a shorter arm has to spare is
  padding. Room for the template's labels is a setting (``label_tokens``), not what they happen to need: so another
  template, or another name of a language, changes the label tokens of the arms that have labels and nothing else.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer
from tqdm import tqdm

from lorebridge import tables
from lorebridge.corpora.pieces import KEY, check_numbering, numbered_by
from lorebridge.errors import InputError
from lorebridge.tokens import derived
from lorebridge.tokens.arms import (
    ARMS,
    BASE,
    DISTANCES,
    EN,
    ENGLISH_MATCHED,
    EXCHANGED,
    FAR,
    FIRST_BASE,
    FIRST_EITHER,
    FIRST_HALVES,
    HALF,
    LABEL,
    LABEL_OWN,
    LABEL_SPACES,
    LEAK_FREE,
    LEAK_ONLY,
    NEAR,
    REPLAY,
    RESEEDED,
    UNTAGGED,
    XX,
    XX_FIRST,
    has_labels,
    joins,
    parts_partners,
    shortest_row,
    template_labels,
    turned_labels,
)
from lorebridge.tokens.partners import Partners
from lorebridge.tokens.schedule import MONO, REPLAYED, MonolingualRows, ParallelSchedule, Segments, rank
from lorebridge.tokens.selection import drawn_pairs
from lorebridge.tokens.store import Store
from lorebridge.tokens.tokenizer import end_of_text_id, generator, load_tokenizer, tokenizer_fingerprint
from lorebridge.tokens.units import Units, make_units

log = logging.getLogger("lorebridge.tokens")

PACKINGS = ("isolated", "concatenated")
METADATA = "order"

CLOSES, GOES_ON = -1, -2
"""In place of a part's number: the segment stands for a removed text (:mod:`lorebridge.tokens.removal`), and a closing
token follows it, or none does, wherever its piece ends."""

PAIRS_READ = 1 << 14  # pairs whose text is in memory at a time

_OF_STREAM = (("tokens", "content"), ("epochs", "epochs"))  # columns of a summary, notes


def draw_order(
    *,
    run: str,
    lang: str,
    arm: str,
    seed: int,
    steps: int,
    sequence_length: int,
    batch_tokens: int,
    packing: str,
    template: str | None = None,
    label_tokens: int | None = None,
    english_share: float | None = None,
    replay: Mapping[str, Any] | None = None,
    pair_supply: float | None = None,
    distance: str = NEAR,
    label_space: str = LABEL_OWN,
    first_half: str = FIRST_BASE,
    stores: dict[str, Path],
    pairs: Path | None = None,
    mentions: Sequence[Path] = (),
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
        packing: ``isolated`` (a document sees itself alone) or ``concatenated`` (a row is one stretch of text). The
            order is the same; only how it is read differs.
        template: ``text {en} text {xx}``: how a bridge joins a pair; needed where the arm has labels
            (:func:`lorebridge.tokens.arms.has_labels`), without effect elsewhere.
        label_tokens: positions that every pair keeps free for the two labels of the template, half of them for each,
            in every arm; even. None for ``base``.
        english_share: what the English half of the pairs is to be of the run's positions, in the arms
            ``*_english_matched``.
        replay: ``base`` (a language) and ``share`` (of the monolingual rows), in the arms that replay. The rows are
            those that the base run of the same seed reads, from its first on.
        pair_supply: how many times the pairs that the run can read are drawn of those there are, 1 or more; None takes
            all (:func:`lorebridge.tokens.selection.drawn_pairs`). A run that is longer, or has larger batches, draws
            more: it does not begin like the shorter one then.
        distance: ``near`` (the halves of a pair are one step apart) or ``far`` (they are at two places of the epoch,
            drawn independently: :func:`lorebridge.tokens.derived.apart`), in the arms that part them
            (:func:`lorebridge.tokens.arms.parts_partners`); without effect elsewhere.
        label_space: ``label`` (the space between a label and its half is the label's) or ``half`` (the stores of the
            pairs have it, and the labels do not), in the arms that have labels.
        first_half: ``base`` (a joined document begins with the base language's half) or ``either`` (with one or the
            other, drawn for each document), in the arms that join halves (:func:`lorebridge.tokens.arms.joins`);
            without effect elsewhere.
        stores: folders of ``mono-{lang}`` and, unless `arm` is ``base``, ``pairs-{lang}-en`` and ``pairs-{lang}-xx``;
            of ``mono-{base}`` with `replay`.
        pairs: the table of pairs that the two stores were made from; None for ``base``.
        mentions: tables "mentions" of both halves of the pairs, in the arms ``*_leak_free`` and ``*_leak_only``.
        tokenizer: the tokenizer folder of the stores.
        out: the table to write.

    Returns:
        Notes: what the metadata says.

    Raises:
        InputError: a bad argument; labels that need more than `label_tokens`; stores of another tokenizer, or that do
            not belong to `pairs`; too few pairs; a filter that the pairs have nothing for.
    """
    n_rows = _check_shape(arm, steps, sequence_length, batch_tokens, packing, label_tokens)
    _check_variant(run, arm, english_share, replay, mentions)
    if distance not in DISTANCES:
        raise InputError("no_bridge.distance", f"{distance!r} is unknown", f"It is one of {', '.join(DISTANCES)}.")
    if label_space not in LABEL_SPACES:
        raise InputError(
            "training.label_space", f"{label_space!r} is unknown", f"It is one of {', '.join(LABEL_SPACES)}."
        )
    if first_half not in FIRST_HALVES:
        raise InputError(
            "training.first_half", f"{first_half!r} is unknown", f"It is one of {', '.join(FIRST_HALVES)}."
        )
    is_either = first_half == FIRST_EITHER and joins(arm)
    if pair_supply is not None and not 1 <= pair_supply < math.inf:
        raise InputError("training.pair_supply", f"{pair_supply} is less than what a run can read", "Give 1 or more.")
    of_pairs = [f"pairs-{lang}-en", f"pairs-{lang}-xx"]
    names = [f"mono-{lang}"] if arm == BASE else [f"mono-{lang}", *of_pairs]
    if replay:
        names.append(f"mono-{replay['base']}")
    encoder = load_tokenizer(tokenizer)
    expected = tokenizer_fingerprint(tokenizer)
    opened: dict[str, Store] = {}
    for name in names:
        if name not in stores:
            raise InputError(f"order {run}", f"no token store {name}", f"It has {', '.join(sorted(stores)) or 'none'}.")
        opened[name] = Store.open(stores[name], expected)
    laid_out_by = _layout_seed(arm, seed)
    mono = MonolingualRows(opened[names[0]].lengths, sequence_length, generator("order", lang, laid_out_by, "mono"))
    streams = [*of_pairs, "label", *(name for name in names if name not in of_pairs)]  # by kind
    lengths: dict[int, npt.NDArray[np.integer]] = {MONO: opened[names[0]].lengths}
    labels: list[list[int]] = []
    pair_notes: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    partner_notes: dict[str, int] = {}
    is_far = False
    if arm == BASE:
        chunks = [mono.take(np.arange(steps * n_rows))]
        mono_rows = [n_rows]
    else:
        if pairs is None:
            raise InputError(f"order {run}", "no table of pairs", f"The arm {arm} needs one.")
        assert label_tokens is not None  # _check_shape has seen to it
        labels = _labels(encoder, run, arm, template, label_tokens, label_space, is_either)
        for name in names[1:3] if labels else ():
            if opened[name].notes.get("lead", "") != (" " if label_space == HALF else ""):
                raise InputError(
                    stores[name], f"was not made for label_space: {label_space}", "Remake the store with its rule."
                )
        halves = {EN: opened[names[1]], XX: opened[names[2]]}
        drawn = _drawn(lang, laid_out_by, pairs, halves, label_tokens, steps * n_rows * sequence_length, pair_supply)
        lengths |= {kind: half.lengths.astype(np.int32) for kind, half in halves.items()}  # of tens of millions
        lengths[LABEL] = np.array([len(ids) for ids in labels], np.int64)
        what = ARMS[arm]
        schedule, units, pair_notes = _parallel_schedule(
            lang, laid_out_by, pairs, drawn, lengths, label_tokens, sequence_length, n_rows, what.arrangement
        )
        if pair_supply is not None:
            pair_notes |= {"n_available": len(halves[EN]), "supply": pair_supply}
        monolingual, parallel, mono_rows, epochs = _lay_out(
            mono, schedule, what.arrangement, steps, n_rows, sequence_length, f"order {run}"
        )
        del schedule  # the largest thing in memory, with millions of pairs
        if units.strangers is not None:
            partners = Partners(
                units.strangers,
                lengths[EN],
                lengths[XX],
                label_tokens // 2,
                sequence_length,
                n_rows,
                generator("order", lang, laid_out_by, "partners"),
            )
            parallel = [partners.redrawn(some) for some in parallel]
            if partners.n_redrawn or partners.n_kept:
                partner_notes = {"redrawn": partners.n_redrawn, "kept": partners.n_kept}
        is_far = distance == FAR and parts_partners(arm)
        if is_far:
            parallel = derived.apart(parallel, mono_rows, epochs, n_rows, generator("order", lang, laid_out_by, FAR))
        if is_either:
            rng = generator("order", lang, laid_out_by, "first half")
            either = [derived.either_first(some, lengths[EN], lengths[XX], rng) for some in parallel]
            parallel, n_turned = [some for some, _ in either], sum(n for _, n in either)
        if what.change:
            parallel, extra = _changed(parallel, what.change, n_rows, lengths)
        elif what.variant == ENGLISH_MATCHED:
            assert english_share is not None
            left_out = derived.over_english_share(
                parallel,
                units,
                len(lengths[EN]),
                share=english_share,
                positions=steps * n_rows * sequence_length,
                rng=generator("order", lang, laid_out_by, "english"),
                what=run,
            )
            parallel, extra = _filtered(parallel, left_out, run)
        elif what.variant in (LEAK_FREE, LEAK_ONLY):
            left_out = _leaking(mentions, what.variant, opened[names[1]], run, lang)
            parallel, extra = _filtered(parallel, left_out, run)
        if is_either:
            extra = {**extra, "documents_turned": n_turned}
        if replay is not None:
            lengths[REPLAYED] = opened[names[-1]].lengths
            base_rows = MonolingualRows(
                lengths[REPLAYED], sequence_length, generator("order", replay["base"], seed, "mono")
            )
            monolingual, n_replayed = derived.replayed(monolingual, mono_rows, n_rows, replay["share"], base_rows)
            extra = {**extra, "rows_replayed": n_replayed}
        chunks = monolingual + parallel
    frame = frame_of(chunks, lengths)
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
        "label_tokens": label_tokens,
        "labels": labels,
        "tokenizer": expected,
        "stores": {name: opened[name].notes["digest"] for name in names},
        "pairs": pair_notes,
        **({"derived": extra} if extra else {}),
        **({"partners": partner_notes} if partner_notes else {}),
        **({"distance": FAR} if is_far else {}),
        **totals(frame, lengths, streams, steps * n_rows * sequence_length),
    }
    write_order(frame, streams, notes, out)
    log.info("%s: %s", run, {key: notes[key] for key in ("tokens", "epochs", "en_share", "monolingual_per_parallel")})
    return notes


def check_rows(steps: int, sequence_length: int, batch_tokens: int, packing: str, label_tokens: int = 0) -> int:
    """Return the rows of a batch.

    Raises:
        InputError: no steps, a row too short or a batch that is not whole rows, an unknown packing.
    """
    if packing not in PACKINGS:
        raise InputError("training.packing", f"{packing!r} is unknown", f"It is one of {', '.join(PACKINGS)}.")
    shortest = shortest_row(label_tokens)
    if sequence_length < shortest:
        raise InputError("training.sequence_length", f"{sequence_length} is too short", f"Give {shortest} or more.")
    if batch_tokens < sequence_length or batch_tokens % sequence_length:
        raise InputError(
            "training.batch_tokens",
            f"{batch_tokens} is not a multiple of the sequence length",
            f"{sequence_length} is it.",
        )
    if steps < 1:
        raise InputError("training.steps", f"{steps} steps", "Give one or more.")
    return batch_tokens // sequence_length


def _check_shape(
    arm: str, steps: int, sequence_length: int, batch_tokens: int, packing: str, label_tokens: int | None
) -> int:
    """Return the rows of a batch."""
    if arm != BASE and arm not in ARMS:
        raise InputError("arm", f"{arm!r} is unknown", f"It is one of {', '.join([BASE, *ARMS])}.")
    if arm != BASE and (label_tokens is None or label_tokens < 0 or label_tokens % 2):
        raise InputError(
            "training.label_tokens",
            f"{label_tokens} is not an even number",
            "Half of the positions are kept free for each of the two labels.",
        )
    n_rows = check_rows(steps, sequence_length, batch_tokens, packing, label_tokens or 0)
    if arm != BASE and steps % 2:
        raise InputError(
            "training.steps", f"{steps} is odd", "Pairs are laid out over two steps at a time; give an even number."
        )
    if arm != BASE and n_rows < 2:
        raise InputError(
            "training.batch_tokens", "a batch is one row", "Monolingual and parallel text need one each at least."
        )
    return n_rows


def _layout_seed(arm: str, seed: int) -> str | int:
    """Return what an arm's order is laid out by, beside the language: the seed, or another that it stands for."""
    return f"{seed}, again" if arm != BASE and ARMS[arm].change == RESEEDED else seed


def _check_variant(
    run: str, arm: str, english_share: float | None, replay: Mapping[str, Any] | None, mentions: Sequence[Path]
) -> None:
    """Refuse an arm without what it is made by."""
    variant = "" if arm == BASE else ARMS[arm].variant
    lacking = {
        ENGLISH_MATCHED: english_share is None,
        REPLAY: replay is None,
        LEAK_FREE: not mentions,
        LEAK_ONLY: not mentions,
    }
    needed = {ENGLISH_MATCHED: "English share", REPLAY: "replay"}.get(variant, "tables of mentions")
    if lacking.get(variant, False):
        raise InputError(f"order {run}", f"no {needed}", f"The arm {arm} needs one.")


def _labels(
    encoder: Tokenizer, run: str, arm: str, template: str | None, label_tokens: int, label_space: str, either: bool
) -> list[list[int]]:
    """Return the ids of the two labels of the template; none where the arm has no labels.

    Where the xx half comes first, in all documents or in some (`either`), the labels before it and before the English
    half follow. A label leaves the space at its end to the half, where that has it.
    """
    if not has_labels(arm):
        return []
    if template is None:
        raise InputError(f"order {run}", "no template", f"The arm {arm} writes its labels.")
    texts = list(template_labels(template))
    if ARMS[arm].change == XX_FIRST or either:
        texts += turned_labels(*texts)
    if label_space == HALF:
        texts = [text.removesuffix(" ") for text in texts]
    labels = [encoder.encode(text, add_special_tokens=False).ids for text in texts]
    needed = 2 * max(len(ids) for ids in labels)
    if needed > label_tokens:
        counts = " and ".join(f"{text!r} is {len(ids)} tokens" for text, ids in zip(texts, labels, strict=True))
        raise InputError(
            "training.label_tokens",
            f"{label_tokens} are too few for the template {template!r} in this tokenizer ({counts}; half for each)",
            f"Set it to {needed} or more; all arms of the study are then laid out anew.",
        )
    return labels


def _drawn(
    lang: str,
    seed: str | int,
    pairs: Path,
    halves: Mapping[int, Store],
    label_tokens: int,
    positions: int,
    supply: float | None,
) -> npt.NDArray[np.bool_] | None:
    """Say which pairs a run of so many positions may read; None for all."""
    n_available = tables.n_rows(pairs)
    for kind, side in ((EN, "en"), (XX, "xx")):
        if n_available != len(halves[kind]):
            raise InputError(
                pairs, f"{n_available} pairs, but {len(halves[kind])} in their {side} store", "Remake the store."
            )
    if supply is None:
        return None
    names = ("order", lang, seed, "drawn")
    drawn = drawn_pairs(halves[EN], halves[XX], *names, label_tokens=label_tokens, positions=supply * positions)
    n_drawn = n_available if drawn is None else int(drawn.sum())
    log.info("%s: %d of %d pairs are drawn, %s times what the run can read", pairs, n_drawn, n_available, supply)
    return drawn


def _parallel_schedule(
    lang: str,
    seed: str | int,
    pairs: Path,
    drawn: npt.NDArray[np.bool_] | None,
    lengths: Mapping[int, npt.NDArray[np.integer]],
    label_tokens: int,
    width: int,
    n_rows: int,
    arrangement: str,
) -> tuple[ParallelSchedule, Units, dict[str, Any]]:
    """Make the units of a language and seed from the pairs drawn, and their schedule."""
    piece = np.arange(len(lengths[EN])) if drawn is None else np.flatnonzero(drawn)
    units, notes = make_units(
        _texts_of(pairs, drawn), lengths[EN][piece], lengths[XX][piece], generator("order", lang, seed, "units")
    )
    strangers = None  # large, and needed by the placebo alone
    if arrangement == "placebo" and units.strangers is not None:
        strangers = units.strangers._replace(pairs=piece[units.strangers.pairs])
    units = Units(np.where(units.members >= 0, piece[units.members], -1), units.in_a, strangers)
    n_pairs = len(piece)
    rng = generator("order", lang, seed, "pairs")
    schedule = ParallelSchedule(units, lengths[EN], lengths[XX], label_tokens, width, rng)
    notes["too_long"] = schedule.drop_too_long(max(1, n_rows // 2))
    left_out = notes["empty"] + notes["no_partner"] + notes["too_long"]
    if left_out:
        log.warning(
            "%s: %d of %d pairs are left out in every arm (%d empty, %d without an unrelated partner, %d too long for "
            "a batch)",
            pairs,
            left_out,
            n_pairs,
            notes["empty"],
            notes["no_partner"],
            notes["too_long"],
        )
    notes |= {"n_pairs": n_pairs, "n_units": schedule.n_units}
    if not schedule.n_units:
        raise InputError(pairs, f"none of its {n_pairs} pairs can be used", "Check the parallel sources and filters.")
    return schedule, units, notes


def _texts_of(
    pairs: Path, drawn: npt.NDArray[np.bool_] | None
) -> Iterator[tuple[Sequence[str], Sequence[str], Sequence[str]]]:
    """Yield both halves and the source of the pairs drawn, some at a time."""
    begin = 0
    for batch in tables.record_batches(pairs, ["en", "xx", "source"], PAIRS_READ):
        wanted = batch if drawn is None else batch.filter(pa.array(drawn[begin : begin + len(batch)]))
        begin += len(batch)
        yield tuple(wanted[name].to_pylist() for name in ("en", "xx", "source"))


def _lay_out(
    mono: MonolingualRows, schedule: ParallelSchedule, arrangement: str, steps: int, n_rows: int, width: int, what: str
) -> tuple[list[Segments], list[Segments], list[int], list[int]]:
    """Lay out all super-batches; return what they hold.

    That is, of each, the segments of its monolingual and of its parallel rows, the number of monolingual rows of a
    batch, and the epoch of the pairs in which it begins. The number of rows is chosen so that, at the densities seen so
    far (content tokens for each position), the cumulative content of the two kinds comes level at the end of the
    super-batch.
    """
    content = {"mono": 0, "parallel": 0}
    positions = {"mono": 0, "parallel": 0}
    chosen: list[int] = []
    epochs: list[int] = []
    monolingual: list[Segments] = []
    parallel: list[Segments] = []
    for first_step in tqdm(range(0, steps, 2), unit="super-batch", desc=what, mininterval=1):
        density = {kind: content[kind] / positions[kind] if positions[kind] else 1.0 for kind in content}
        lead = content["parallel"] - content["mono"]
        level = (lead + 2 * n_rows * width * density["parallel"]) / (
            2 * width * (density["mono"] + density["parallel"])
        )
        n_mono = min(max(round(level), 1), n_rows - max(1, n_rows // 2))
        chosen.append(n_mono)
        epochs.append(schedule.epoch)
        begins = np.array([first_step, first_step + 1]) * n_rows
        units, n_content = schedule.super_batch(n_rows - n_mono, arrangement, (begins + n_mono).tolist())
        rows = mono.take((begins[:, None] + np.arange(n_mono)).reshape(-1))
        # What is kept of a super-batch is what the table holds: 32 bits, of tens of millions of segments.
        monolingual.append(Segments(*(column.astype(np.int32) for column in rows)))
        parallel.append(Segments(*(column.astype(np.int32) for column in units)))
        content["parallel"] += n_content
        content["mono"] += int(rows.n_tokens.sum())
        positions["mono"] += 2 * n_mono * width
        positions["parallel"] += 2 * (n_rows - n_mono) * width
    return monolingual, parallel, chosen, epochs


def _changed(
    parallel: list[Segments], change: str, n_rows: int, lengths: Mapping[int, npt.NDArray[np.integer]]
) -> tuple[list[Segments], dict[str, Any]]:
    """Return the parallel rows of an arm that changes those laid out, and what is to be noted."""
    if change == RESEEDED:
        return parallel, {}
    if change == EXCHANGED:
        return [derived.exchanged(some, n_rows) for some in parallel], {}
    if change == UNTAGGED:
        return [derived.unlabelled(some) for some in parallel], {}
    turned = [derived.xx_first(some, lengths[EN], lengths[XX]) for some in parallel]
    return [some for some, _ in turned], {"documents_not_turned": sum(n for _, n in turned)}


def _leaking(mentions: Sequence[Path], variant: str, store: Store, run: str, lang: str) -> npt.NDArray[np.bool_]:
    """Say which pairs a leak variant leaves out: those that state the answer to a question, or the others."""
    n_pairs = len(store)
    leaks = np.zeros(n_pairs, bool)
    for path in mentions:
        found = tables.read(path, ["piece", "n_chunks"])
        check_numbering(path, numbered_by(path), store.notes.get(KEY))
        if len(found) and found["piece"].max() >= n_pairs:
            raise InputError(path, f"names more pairs than the {n_pairs} of {lang}", "Remake the mentions.")
        leaks[found.loc[found["n_chunks"] > 0, "piece"]] = True
    if not leaks.any() and variant == LEAK_ONLY:
        raise InputError(
            f"order {run}",
            f"no pair of {lang} states the answer to one of its questions",
            "Nothing would be left: take the arms *_leak_only out of the study, or the language.",
        )
    if not leaks.any():
        log.warning("%s: no pair of %s states the answer to a question, so nothing is left out", run, lang)
    return leaks if variant == LEAK_FREE else ~leaks


def _filtered(
    parallel: list[Segments], left_out: npt.NDArray[np.bool_], run: str
) -> tuple[list[Segments], dict[str, int]]:
    """Leave pairs out of the parallel rows; note how many of those that the run would have read, and their tokens."""
    read = np.zeros(len(left_out), bool)
    tokens = {EN: 0, XX: 0}
    for some in parallel:
        for kind in tokens:
            pieces, n_tokens = some.piece[some.kind == kind], some.n_tokens[some.kind == kind]
            read[pieces] = True
            tokens[kind] += int(n_tokens[left_out[pieces]].sum())
    if not (read & ~left_out).any():
        raise InputError(f"order {run}", "leaves out every pair that it would read", "Take the arm out of the study.")
    return [derived.without(some, left_out) for some in parallel], {
        "pairs_left_out": int((read & left_out).sum()),
        "en_left_out": tokens[EN],
        "xx_left_out": tokens[XX],
    }


def frame_of(chunks: list[Segments], lengths: Mapping[int, npt.NDArray[np.integer]]) -> pd.DataFrame:
    """Return the order's table, still with `kind` for the stream: labels have their length, empty ones are gone."""
    columns = {
        name: np.concatenate([getattr(chunk, name) for chunk in chunks], dtype=np.int32) for name in Segments._fields
    }
    is_label = columns["kind"] == LABEL
    if is_label.any():
        columns["n_tokens"][is_label] = lengths[LABEL][columns["piece"][is_label]]
    at = np.argsort(columns["sequence"], kind="stable")
    at = at[columns["n_tokens"][at] > 0]
    frame = pd.DataFrame({name: columns.pop(name)[at] for name in Segments._fields})
    frame.insert(1, "slot", rank(frame["sequence"].to_numpy()))
    return frame


def totals(
    frame: pd.DataFrame, lengths: Mapping[int, npt.NDArray[np.integer]], streams: Sequence[str], positions: int
) -> dict[str, Any]:
    """Count tokens by role and stream, epochs, and the shares of the streams."""
    sums = np.bincount(frame["kind"], weights=frame["n_tokens"], minlength=len(streams)).astype(np.int64).tolist()
    by_kind = {kind: count for kind, count in enumerate(sums) if kind in lengths}
    n_close = int(closing(frame, lambda kind, piece: lengths[kind][piece]).sum())
    content = {streams[kind]: int(count) for kind, count in by_kind.items() if kind != LABEL}
    label = int(by_kind.get(LABEL, 0))
    total = sum(content.values())
    parallel = {kind: int(by_kind.get(kind, 0)) for kind in (EN, XX)}
    n_parallel = sum(parallel.values())
    n_mono = sum(int(by_kind.get(kind, 0)) for kind in (MONO, REPLAYED))
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
        "monolingual_per_parallel": round(n_mono / n_parallel, 6) if n_parallel else None,
    }


def write_order(frame: pd.DataFrame, streams: Sequence[str], notes: Mapping[str, Any], out: Path) -> None:
    """Write an order: the rows of :func:`frame_of`, whose kinds are places in `streams`, and the notes."""
    text = json.dumps(notes, ensure_ascii=False, sort_keys=True)
    dictionary = pa.DictionaryArray.from_arrays(pa.array(frame["kind"], pa.int8()), pa.array(streams))
    table = pa.table({name: pa.array(frame[name]) for name in frame.columns if name != "kind"})
    tables.write("order", table.append_column("stream", dictionary.cast(pa.string())), out, {METADATA: text})


def closing(
    frame: pd.DataFrame, lengths: Callable[[int, npt.NDArray[np.integer]], npt.NDArray[np.integer]]
) -> npt.NDArray[np.bool_]:
    """Say for each segment of whole rows of an order whether the closing ``<|endoftext|>`` follows it.

    Args:
        frame: columns ``sequence, document, kind, piece, part, start, n_tokens``, in reading order.
        lengths: gives the tokens of some pieces of a kind.
    """
    sequence, document, kind, piece = (frame[name].to_numpy() for name in ("sequence", "document", "kind", "piece"))
    last = np.ones(len(frame), bool)
    last[:-1] = (np.diff(sequence) != 0) | (np.diff(document) != 0)
    ends = (frame["start"] + frame["n_tokens"]).to_numpy()
    for value in np.unique(kind).tolist():
        of_kind = kind == value
        last[of_kind] &= ends[of_kind] == lengths(value, piece[of_kind])
    part = frame["part"].to_numpy()
    return np.where(part < 0, part == CLOSES, last)


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


def stream_roles(notes: Mapping[str, Any]) -> dict[str, str]:
    """Return what each stream of an order is, from its notes.

    The roles: ``monolingual`` (text of a language learned), ``replayed`` (monolingual text of the base language, in a
    run that learns another), ``en`` and ``xx`` (the halves of pairs), ``prompt`` and ``answer`` (of rows of a tuning).
    Names are parsed by nobody: a layout with arms has the streams that its language gives it, and every other says them
    itself.
    """
    if "streams" in notes:
        return dict(notes["streams"])
    lang = notes["lang"]
    known = {f"mono-{lang}": "monolingual", f"pairs-{lang}-en": "en", f"pairs-{lang}-xx": "xx"}
    return {name: known.get(name, "replayed") for name in notes["stores"]}


def order_summary(order: Path | str) -> dict[str, Any]:
    """Return one flat row that describes an order, for tables.

    Keys: ``run, lang, arm, seed, steps``; in tokens ``content, label, end_of_text, pad, positions, targets`` (of the
    loss: content, labels and end of text), ``monolingual, parallel_en, parallel_xx``; ``epochs_monolingual,
    epochs_pairs, en_share, monolingual_per_parallel, pairs_left_out``, in tokens and epochs None where an order has no
    parallel text. A filtered arm has ``pairs_filtered`` and ``tokens_filtered`` too: what it would have read without
    its filter. A replay has ``replayed``: tokens of monolingual text in the base language.

    An order without arms has None for ``lang``, ``arm`` and, where it reads several monolingual texts, for
    ``epochs_monolingual``; and for each of its streams ``tokens {stream}`` and ``epochs {stream}``.
    """
    notes = read_notes(order)
    pairs = notes.get("pairs")
    extra = notes.get("derived", {})
    filtered = {}
    if "pairs_left_out" in extra:
        filtered = {
            "pairs_filtered": extra["pairs_left_out"],
            "tokens_filtered": extra["en_left_out"] + extra["xx_left_out"],
        }
    of_role: dict[str, list[str]] = {}
    for name, role in stream_roles(notes).items():
        of_role.setdefault(role, []).append(name)

    def tokens(role: str) -> int | None:
        return sum(notes["content"][name] for name in of_role[role]) if role in of_role else None

    def epochs(role: str) -> float | None:
        names = of_role.get(role, [])
        return notes["epochs"][names[0]] if len(names) == 1 else None

    apart = {} if "arm" in notes else {f"{key} {n}": notes[of][n] for n in notes["stores"] for key, of in _OF_STREAM}
    return {
        **{key: notes.get(key) for key in ("run", "lang", "arm", "seed", "steps")},
        **notes["tokens"],
        "targets": notes.get("targets", sum(notes["tokens"][key] for key in ("content", "label", "end_of_text"))),
        "monolingual": tokens("monolingual"),
        "parallel_en": tokens("en"),
        "parallel_xx": tokens("xx"),
        "epochs_monolingual": epochs("monolingual"),
        "epochs_pairs": epochs("en"),
        "en_share": notes["en_share"],
        "monolingual_per_parallel": notes["monolingual_per_parallel"],
        "pairs_left_out": sum(pairs[key] for key in ("empty", "no_partner", "too_long")) if pairs else None,
        **filtered,
        **({"replayed": tokens("replayed")} if "replayed" in of_role else {}),
        **apart,
    }
