"""A data order without arms: a plain mixture of monolingual texts, for a model that learns them jointly from scratch.

Each text is packed and shuffled epoch by epoch, as in the other orders, and gives whole rows. The next row of the run
is of the text that weighted fair queueing serves next, with content tokens for bits and rows for packets (WF²Q: Bennett
and Zhang, INFOCOM 1996): of the texts that have had no more than their share so far, the one that would reach its share
first if it got its next row. So, after every row of the run and hence after every batch, no text is off its share of
all content tokens read by as much as one row's positions.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lorebridge.errors import InputError
from lorebridge.tokens.order import check_rows, frame_of, totals, write_order
from lorebridge.tokens.removal import View
from lorebridge.tokens.schedule import MONO, MonolingualRows, Segments
from lorebridge.tokens.store import Store
from lorebridge.tokens.tokenizer import end_of_text_id, generator, load_tokenizer, tokenizer_fingerprint

log = logging.getLogger("lorebridge.tokens")

MIXTURE = "mixture"
"""The layout that the notes of such an order name."""

AHEAD = 4096  # rows of a text that are packed at a time


def draw_mixture(
    *,
    run: str,
    seed: int,
    steps: int,
    sequence_length: int,
    batch_tokens: int,
    packing: str,
    shares: Mapping[str, float] | None,
    temperature: float | None,
    level: str | None = None,
    langs: Mapping[str, str] | None = None,
    stores: dict[str, Path],
    pages: Path | None = None,
    exclusions: Path | None = None,
    tokenizer: Path,
    out: Path,
) -> dict[str, Any]:
    """Draw the data order of a run that reads several texts at once, and write it.

    The table is that of :func:`lorebridge.tokens.order.draw_order`, and so are the notes, but that they have no
    ``lang`` and no ``arm``: ``layout`` is ``mixture``, ``streams`` says that each stream is ``monolingual``, ``shares``
    what share of the content tokens each was to have, ``content`` how many it has, ``rows`` in how many rows.

    The order depends on the seed, the streams' names and lengths, and the settings; not on how `stores` or `shares` are
    sorted. Which rows a text gives, and in which turn, does not depend on the other texts.

    With `level`, the documents that are no pages and the pages of the reserve are laid out nowhere, and what the level
    removes of one language is replaced where it stands (:class:`lorebridge.tokens.removal.View`). Everything else is
    the same at every level, to the position. ``removal`` in the notes says what was replaced, and ``epochs`` counts
    what may be laid out.

    Args:
        run: the run's name.
        seed: the data seed.
        steps: optimizer steps.
        sequence_length: positions of a row (T).
        batch_tokens: positions of a batch; a multiple of `sequence_length`.
        packing: ``isolated`` or ``concatenated``.
        shares: stream -> what it is to have of the content tokens (text; no closing token or padding). They sum to 1.
            None: in proportion to ``n_tokens ** (1 / temperature)`` of its store, as multilingual models are trained
            (Conneau et al., ACL 2020, where alpha is 1 / temperature).
        temperature: 1 or more, with `shares` None; None is 1, by size. Large values make the shares alike.
        level: one of :data:`lorebridge.tokens.levels.LEVELS`; None where nothing is ever removed.
        langs: stream -> its language, with `level`.
        stores: stream -> folder of its token store.
        pages: table "pages", with `level`.
        exclusions: table "exclusions", with `level`.
        tokenizer: the tokenizer folder of the stores.
        out: the table to write.

    Returns:
        Notes: what the metadata says.

    Raises:
        InputError: a bad argument; shares for other streams than the stores are of, or that do not sum to 1; shares and
            a temperature; stores of another tokenizer; a level without its tables, or with those of other texts.
    """
    what = f"order {run}"
    n_rows = check_rows(steps, sequence_length, batch_tokens, packing)
    if not stores:
        raise InputError(what, "no token store", "Name at least one text.")
    if "label" in stores:
        raise InputError(what, "a text called label", "Name it otherwise: that is what labels are called in an order.")
    encoder = load_tokenizer(tokenizer)
    expected = tokenizer_fingerprint(tokenizer)
    names = sorted(stores)
    opened = [Store.open(stores[name], expected) for name in names]
    view = _view(what, level, langs, pages, exclusions, dict(zip(names, opened, strict=True)))
    laid_out = [
        store.lengths if view is None else np.where(view.readable[name], store.lengths, 0)
        for name, store in zip(names, opened, strict=True)
    ]
    n_tokens = {name: int(of_text.sum()) for name, of_text in zip(names, laid_out, strict=True)}
    wanted = _shares(what, shares, temperature, n_tokens)
    if MONO + len(names) > 127:
        raise InputError(what, f"{len(names)} texts", "Mix fewer than 125.")
    # By kind, as in the other orders: what comes before MONO are pairs and labels, which there are none of.
    streams = [*("",) * MONO, *names]
    lengths = {kind: store.lengths for kind, store in enumerate(opened, MONO)}
    texts = [
        _Text(
            MonolingualRows(of_text, sequence_length, generator("order", name, seed, MIXTURE)),
            kind,
            min(AHEAD, steps * n_rows),
        )
        for kind, (name, of_text) in enumerate(zip(names, laid_out, strict=True), MONO)
    ]
    # Whole numbers, so that nothing is rounded when shares are compared: 2 ** -53 of a run is no token.
    _fill(texts, [round(wanted[name] * 2**53) for name in names], steps * n_rows, what)
    frame = frame_of([some for text in texts for some in text.segments()], lengths)
    replaced: dict[str, int] = {}
    if view is not None:
        target = streams.index(view.stream)
        frame, replaced = view.replaced(frame, target, lengths[target])
    positions = steps * n_rows * sequence_length
    notes = {
        "run": run,
        "layout": MIXTURE,
        "seed": seed,
        "steps": steps,
        "sequence_length": sequence_length,
        "batch_tokens": batch_tokens,
        "rows_per_step": n_rows,
        "packing": packing,
        "end_of_text": end_of_text_id(encoder),
        "labels": [],
        "tokenizer": expected,
        "stores": {name: store.notes["digest"] for name, store in zip(names, opened, strict=True)},
        "streams": dict.fromkeys(names, "monolingual"),
        "shares": wanted,
        "temperature": None if shares else temperature or 1,
        "rows": {name: len(text.places) for name, text in zip(names, texts, strict=True)},
        **totals(frame, lengths, streams, positions),
    }
    if view is not None:
        notes["epochs"] = {name: round(notes["content"][name] / n_tokens[name], 6) for name in names}
        notes["removal"] = {"level": view.level, "stream": view.stream, **replaced}
    write_order(frame, streams, notes, out)
    log.info("%s: %s", run, {key: notes[key] for key in ("tokens", "epochs", "content", "rows")})
    return notes


def _view(
    what: str,
    level: str | None,
    langs: Mapping[str, str] | None,
    pages: Path | None,
    exclusions: Path | None,
    stores: Mapping[str, Store],
) -> View | None:
    """Return how the level is read, None where there is none."""
    given = [value is not None for value in (level, langs, pages, exclusions)]
    if any(given) and not all(given):
        raise InputError(what, "a level without its languages, pages or exclusions", "Give all four or none.")
    if level is None or langs is None or pages is None or exclusions is None:
        return None
    return View.open(level=level, langs=langs, pages=pages, exclusions=exclusions, stores=stores)


def _shares(
    what: str, shares: Mapping[str, float] | None, temperature: float | None, n_tokens: Mapping[str, int]
) -> dict[str, float]:
    """Return what share of the content tokens each stream is to have."""
    if shares is None:
        power = 1.0 if temperature is None else temperature
        if not 1 <= power < math.inf:
            raise InputError(what, f"temperature {temperature}", "Give 1 (by size) or more.")
        weights = {name: n ** (1 / power) for name, n in n_tokens.items()}
        total = math.fsum(weights.values())
        # Nine digits: what a machine's power function does with the last ones is not to decide a row.
        return {name: float(f"{weight / total:.9g}") for name, weight in weights.items()}
    if temperature is not None:
        raise InputError(what, f"shares and a temperature ({temperature})", "Give one of them.")
    if set(shares) != set(n_tokens):
        raise InputError(
            what,
            f"shares of {', '.join(sorted(shares)) or 'nothing'}, but stores of {', '.join(sorted(n_tokens))}",
            "Give one share to each text.",
        )
    if bad := [name for name in sorted(shares) if not 0 < shares[name] <= 1]:
        raise InputError(what, f"share {shares[bad[0]]} of {bad[0]}", "Give more than 0, or leave the text out.")
    if abs(math.fsum(shares.values()) - 1) > 1e-6:
        raise InputError(what, f"shares that sum to {math.fsum(shares.values()):.6g}", "They sum to 1.")
    return {name: float(shares[name]) for name in sorted(shares)}


class _Text:
    """The rows that one text gives, packed a block ahead.

    Attributes:
        places: of each row given so far, the row of the run.
        content: content tokens given so far.
    """

    def __init__(self, rows: MonolingualRows, kind: int, ahead: int) -> None:
        self.places: list[int] = []
        self.content = 0
        self._rows = rows
        self._kind = kind
        self._ahead = ahead
        self._blocks: list[Segments] = []
        self._sizes: list[int] = []

    @property
    def following(self) -> int:
        """Content tokens of the next row."""
        at = len(self.places)
        if at == len(self._sizes):
            block = self._rows.take(np.arange(at, at + self._ahead))
            self._sizes += np.bincount(block.sequence - at, block.n_tokens).astype(np.int64).tolist()
            block = block._replace(kind=np.full_like(block.kind, self._kind))
            self._blocks.append(Segments(*(column.astype(np.int32) for column in block)))
        return self._sizes[at]

    def give(self, place: int) -> None:
        """Put the next row at a place in the run."""
        self.content += self.following
        self.places.append(place)

    def segments(self) -> list[Segments]:
        """Return the segments of the rows given, block by block."""
        places = np.array(self.places, np.int32)
        given = [Segments(*(c[block.sequence < len(places)] for c in block)) for block in self._blocks]
        return [some._replace(sequence=places[some.sequence]) for some in given]


def _fill(texts: Sequence[_Text], weights: Sequence[int], n_rows: int, what: str) -> None:
    """Give every row of the run to a text, by WF²Q."""
    total_weight = sum(weights)
    total = 0
    for place in tqdm(range(n_rows), unit="row", desc=what, mininterval=1):
        # One at least has had no more than its share, as shares and contents both add up; of equals, the first by name.
        _, chosen = min(
            ((text.content + text.following) / weight, i)
            for i, (text, weight) in enumerate(zip(texts, weights, strict=True))
            if text.content * total_weight <= weight * total
        )
        total += texts[chosen].following
        texts[chosen].give(place)
