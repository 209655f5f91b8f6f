"""Removal: which documents of one language go at which level, and what is read in their place.

A level is a view of the token stores: the order in which level ``f0`` reads them, with each stretch of a removed
document replaced, where it stands, by as many tokens of the *reserve*. The reserve is pages that no level removes and
that ``f0`` does not read, in any language. Laid end to end in the order in which they were drawn, they give each
removed document its own stretch: that of a document that goes at ``f1`` comes before that of one that goes at ``f2``
alone, so what a level reads of the reserve contains what the one before reads, and a document has the same text in its
place at every level that removes it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from lorebridge import tables
from lorebridge.corpora.pieces import KEY, check_numbering, numbered_by
from lorebridge.errors import InputError
from lorebridge.tokens.levels import BOTH, LEVELS, REASONS, STATED, TEST, TRAIN, check_room
from lorebridge.tokens.order import CLOSES, GOES_ON, closing
from lorebridge.tokens.pages import read_pages
from lorebridge.tokens.schedule import rank
from lorebridge.tokens.store import Store
from lorebridge.tokens.tokenizer import generator

log = logging.getLogger("lorebridge.tokens")

TARGET = "target"
"""Where the metadata of table "exclusions" keep the language that pages are removed from."""

Ints = npt.NDArray[np.integer[Any]]
Bools = npt.NDArray[np.bool_]


def exclusions(
    *,
    target: str,
    seed: int,
    top: int,
    pages: Path,
    neighbours: Path,
    qa: Path,
    truth: Path | None = None,
    mentions: Mapping[str, Path] | None = None,
    out: Path,
) -> dict[str, Any]:
    """Say of each page of the target language at which level it goes, and draw the reserve; write "exclusions".

    Levels ``f1`` to ``f4`` are nested: the pages of the test's questions; those near them; the pages of the questions
    that models are tuned on; those near these. At level ``stated`` goes each page that states what a question of the
    test asks, be it any page. Pages of questions of split ``both`` go at no level but that, and are in no reserve.

    The reserve is drawn with `seed` from the pages that no level removes, until it has as many tokens as all that any
    level removes. It exceeds them by less than its last page.

    Args:
        target: the language that is removed from.
        seed: draws the reserve.
        top: how many neighbours of a page are near it.
        pages: table "pages".
        neighbours: table "neighbours" of the pages of questions.
        qa: table "qa".
        truth: table "truth" of a planted world: which documents state what.
        mentions: language -> table "mentions" of its text, with the questions' own ids; in place of `truth`.
        out: where to write, a row for each page of `target`, in the order of its pieces.

    Returns:
        Notes: ``n_tokens`` of all pages, ``removed`` (level -> pages and tokens), ``available`` tokens for the reserve,
        ``reserve`` (pages and tokens), ``questions_without_page``, and ``protected_stating``: pages of split ``both``
        that level ``stated`` removes.

    Raises:
        InputError: no page of `target`; no question of the test; neither truth nor mentions, or both; a page with
            questions of split ``both`` and of another that removes it; a neighbour that is no page.
        ConfigError: a level removes more than can be replaced (:func:`lorebridge.tokens.levels.check_room`).
    """
    frame = _of_target(pages, target)
    where = pd.Series(np.arange(len(frame)), index=frame["page_id"])
    questions = tables.read(qa, ["question_id", "split", "page_id"]).drop_duplicates()
    has_page = questions["page_id"].isin(where.index)
    asked = {split: questions.loc[has_page & (questions["split"] == split), "page_id"] for split in (TEST, TRAIN, BOTH)}
    if asked[TEST].empty:
        raise InputError(
            qa, f"no question of split {TEST} has a page of {target}", "Give such questions, or their pages."
        )
    kept = _at(where, asked[BOTH], len(frame))
    near = tables.read(neighbours)
    near = near[near["rank"] <= top]
    if lost := set(near["neighbour"]) - set(where.index):
        raise InputError(neighbours, f"names {min(lost)}, which is no page of {target}", "Remake it with its rule.")
    level = np.zeros(len(frame), np.int16)
    for number, split in ((1, TEST), (3, TRAIN)):
        own = _at(where, asked[split], len(frame))
        if clash := frame.loc[own & kept, "page_id"].tolist():
            raise InputError(
                qa,
                f"{clash[0]} has questions of split {BOTH} and of {split}, whose pages are removed",
                "Ask the two of different pages.",
            )
        beside = _at(where, near.loc[near["page_id"].isin(asked[split]), "neighbour"], len(frame)) & ~kept
        level[(level == 0) & own] = number
        level[(level == 0) & beside] = number + 1
    states = _statements(pages, truth, mentions, (target,))
    tested = set(questions.loc[questions["split"] == TEST, "question_id"])
    stated = np.zeros(len(frame), bool)
    stated[states.loc[states["question_id"].isin(tested), "at"]] = True
    n_tokens = frame["n_tokens"].to_numpy()
    gone = (level > 0) | stated
    eligible = ~gone & ~kept & (n_tokens > 0)
    removed = {name: _removed(level, stated, name) for name in LEVELS[1:]}
    available = int(n_tokens[eligible].sum())
    wanted = int(n_tokens[gone].sum())
    check_room(
        "removal",
        target,
        {**{name: int(n_tokens[some].sum()) for name, some in removed.items()}, "all levels together": wanted},
        available,
        int(n_tokens.sum()),
    )
    drawn = generator("removal", target, seed).permutation(np.flatnonzero(eligible))
    drawn = drawn[: int(np.searchsorted(n_tokens[drawn].cumsum(), wanted)) + 1 if wanted else 0]
    reserve = np.full(len(frame), -1)
    reserve[drawn] = np.arange(len(drawn))
    reasons = np.full(len(frame), None, object)
    reasons[kept] = BOTH
    reasons[reserve >= 0] = "reserve"
    reasons[stated] = STATED
    for number, reason in enumerate(REASONS, 1):
        reasons[level == number] = reason
    tables.write(
        "exclusions",
        pd.DataFrame(
            {
                "page_id": frame["page_id"],
                "level": pd.Series(level, dtype="Int16").where(level > 0),
                "reason": reasons,
                "stated": stated,
                "reserve": pd.Series(reserve, dtype="Int32").where(reserve >= 0),
                "n_tokens": n_tokens,
            }
        ),
        out,
        {TARGET: target},
    )
    notes = {
        "n_tokens": int(n_tokens.sum()),
        "removed": {name: _size(n_tokens, some) for name, some in removed.items()},
        "available": available,
        "reserve": _size(n_tokens, reserve >= 0),
        "questions_without_page": int(questions.loc[~has_page, "question_id"].nunique()),
        "protected_stating": int((kept & stated).sum()),
    }
    log.info("%s: %s", target, notes)
    return notes


def _of_target(pages: Path, target: str) -> pd.DataFrame:
    found, _ = read_pages(pages)
    if target not in found:
        raise InputError(pages, f"has no page of {target}", f"It has those of {', '.join(sorted(found))}.")
    return found[target]


def _at(where: pd.Series, page_ids: pd.Series, n: int) -> Bools:
    """Say which pages are among some ids."""
    some = np.zeros(n, bool)
    some[where.reindex(page_ids.unique()).to_numpy()] = True
    return some


def _size(n_tokens: Ints, some: Bools) -> dict[str, int]:
    return {"n_pages": int(some.sum()), "n_tokens": int(n_tokens[some].sum())}


def _removed(level: Ints, stated: Bools, name: str) -> Bools:
    """Say which pages go at a level; `level` is 0 of those that go at none of :data:`FILTERS`."""
    if name == STATED:
        return stated
    return (level > 0) & (level <= LEVELS.index(name))


def _statements(
    pages: Path, truth: Path | None, mentions: Mapping[str, Path] | None, langs: tuple[str, ...]
) -> pd.DataFrame:
    """Return which pages state the answers to which questions: ``question_id, lang, at`` (a place among its pages)."""
    if (truth is None) == (mentions is None):
        raise InputError("removal.stated_by", "truth and mentions are given, or neither", "Give one of them.")
    found, numbered = read_pages(pages)
    frames = []
    for lang in langs:
        rows = found[lang]
        if truth is not None:
            said = tables.read(truth, ["question_id", "corpus", "doc_ids"])
            said = said.loc[said["corpus"] == lang, ["question_id", "doc_ids"]].explode("doc_ids").dropna()
            at = pd.Index(rows["doc_id"]).get_indexer(pd.Index(said["doc_ids"]))
        else:
            assert mentions is not None
            if lang not in mentions:
                raise InputError(
                    "removal.stated_by", f"no mentions of {lang}", "Give those of every language of pages."
                )
            check_numbering(mentions[lang], numbered_by(mentions[lang]), numbered.get(lang))
            said = tables.read(mentions[lang], ["question_id", "piece", "n_chunks"])
            said = said[said["n_chunks"] > 0]
            at = pd.Index(rows["piece"]).get_indexer(pd.Index(said["piece"]))
        # A document that is no page is read by no model.
        frames.append(pd.DataFrame({"question_id": said["question_id"].to_numpy(), "lang": lang, "at": at})[at >= 0])
    return pd.concat(frames, ignore_index=True).drop_duplicates()


@dataclasses.dataclass(frozen=True)
class Exclusions:
    """Table "exclusions", read.

    Attributes:
        target: the language that pages are removed from.
        page_id: of each page of the target, in the order of its pieces.
        level: the smallest of :data:`~lorebridge.tokens.levels.FILTERS` (from 1) at which it goes, 0 for none.
        stated: whether it goes at level ``stated``.
        n_tokens: its tokens.
        begins: of each page that any level removes, where its stretch of the reserve begins; -1 of others.
        reserve: the pages of the reserve, in the order drawn.
    """

    target: str
    page_id: npt.NDArray[Any]
    level: Ints
    stated: Bools
    n_tokens: Ints
    begins: Ints
    reserve: Ints

    @classmethod
    def read(cls, path: Path | str) -> Exclusions:
        """Read the table.

        Raises:
            InputError: it is missing or damaged, or does not say its language.
        """
        rows = tables.read(path)
        target = (pq.read_schema(path).metadata or {}).get(TARGET.encode(), b"").decode()
        if not target:
            raise InputError(path, "does not say which language it removes from", "Remake it with its rule.")
        level, stated = rows["level"].fillna(0).to_numpy(np.int16), rows["stated"].to_numpy(bool)
        n_tokens = rows["n_tokens"].to_numpy(np.int64)
        # In the order of the levels; what is stated elsewhere comes last.
        gone = np.flatnonzero((level > 0) | stated)
        gone = gone[np.argsort(np.where(level > 0, level, len(LEVELS))[gone], kind="stable")]
        begins = np.full(len(rows), -1, np.int64)
        begins[gone] = n_tokens[gone].cumsum() - n_tokens[gone]
        place = rows["reserve"].fillna(-1).to_numpy(np.int64)
        drawn = np.flatnonzero(place >= 0)
        reserve = drawn[np.argsort(place[drawn])]
        return cls(target, rows["page_id"].to_numpy(), level, stated, n_tokens, begins, reserve)

    def removed(self, name: str) -> Bools:
        """Say which pages go at a level.

        Raises:
            InputError: the level is unknown.
        """
        if name not in LEVELS:
            raise InputError("removal.level", f"{name!r} is unknown", f"It is one of {', '.join(LEVELS)}.")
        return _removed(self.level, self.stated, name)

    def used(self, removed: Bools) -> Bools:
        """Say of each page of the reserve, in its order, whether some of it stands for what is removed."""
        ends = self.n_tokens[self.reserve].cumsum()
        some = np.flatnonzero(removed & (self.n_tokens > 0))
        first = np.searchsorted(ends, self.begins[some], side="right")
        last = np.searchsorted(ends, self.begins[some] + self.n_tokens[some], side="left")
        change = np.zeros(len(ends) + 1, np.int64)
        np.add.at(change, first, 1)
        np.add.at(change, last + 1, -1)
        return change.cumsum()[:-1] > 0


@dataclasses.dataclass(frozen=True)
class View:
    """How a level is read: what is laid out of each stream, and what is replaced.

    Attributes:
        level: its name.
        stream: the stream of the target language.
        readable: stream -> whether each of its documents is laid out.
        begins: of each document of the target's store that the level removes, where its stretch of the reserve begins;
            -1 of others.
        reserve: documents of the reserve, in the order drawn.
        ends: tokens of the reserve up to the end of each.
    """

    level: str
    stream: str
    readable: Mapping[str, Bools]
    begins: Ints
    reserve: Ints
    ends: Ints

    @classmethod
    def open(
        cls, *, level: str, langs: Mapping[str, str], pages: Path, exclusions: Path, stores: Mapping[str, Store]
    ) -> View:
        """Read the tables of a level.

        Args:
            level: one of :data:`~lorebridge.tokens.levels.LEVELS`.
            langs: stream -> its language.
            pages: table "pages".
            exclusions: table "exclusions".
            stores: stream -> token store.

        Raises:
            InputError: an unknown level; a stream without a language or pages; two streams of one language, or none of
                the target; a store of other documents than the pages; exclusions of other pages; nothing left to read.
        """
        found, numbered = read_pages(pages)
        removal = Exclusions.read(exclusions)
        removed = removal.removed(level)
        by_lang: dict[str, str] = {}
        for stream in sorted(stores):
            lang = langs.get(stream, "")
            if lang not in found:
                raise InputError(
                    pages, f"has no page of the text {stream}", f"It has those of {', '.join(sorted(found))}."
                )
            if lang in by_lang:
                raise InputError(
                    "order", f"{by_lang[lang]} and {stream} are both of {lang}", "Mix one text a language."
                )
            by_lang[lang] = stream
            check_numbering(pages, numbered.get(lang), stores[stream].notes.get(KEY))
            if int(found[lang]["piece"].max()) >= len(stores[stream]):
                raise InputError(pages, f"names more documents than {stream} has", "Remake it with its rule.")
        if removal.target not in by_lang:
            raise InputError(
                exclusions, f"removes from {removal.target}, which no text is of", "Mix that in, or leave it."
            )
        rows = found[removal.target]
        if rows["page_id"].tolist() != removal.page_id.tolist():
            raise InputError(exclusions, f"is of other pages than {pages}", "Remake it with its rule.")
        drawn = set(removal.page_id[removal.reserve])
        readable = {}
        for lang, stream in by_lang.items():
            some = np.zeros(len(stores[stream]), bool)
            some[found[lang].loc[~found[lang]["page_id"].isin(drawn), "piece"]] = True
            if not stores[stream].lengths[some].any():
                raise InputError(exclusions, f"leaves nothing of {stream} to read", "Give more text, or remove less.")
            readable[stream] = some
        stream, piece = by_lang[removal.target], rows["piece"].to_numpy()
        if (stores[stream].lengths[piece] != removal.n_tokens).any():
            raise InputError(
                exclusions, f"counts other tokens than the store of {stream} has", "Remake it with its rule."
            )
        begins = np.full(len(stores[stream]), -1, np.int64)
        begins[piece[removed]] = removal.begins[removed]
        return cls(level, stream, readable, begins, piece[removal.reserve], removal.n_tokens[removal.reserve].cumsum())

    def replaced(self, frame: pd.DataFrame, kind: int, lengths: Ints) -> tuple[pd.DataFrame, dict[str, int]]:
        """Replace what the level removes, where it stands.

        Each row of a removed document becomes as many rows as its stretch of the reserve has documents. The first has
        its place in the row; each further one is a document of its own, numbered after the others of the row. No token
        is put between them, and a closing token follows where one followed what was removed (``part`` says which). So
        all that is kept stands at the same positions as before.

        Args:
            frame: an order, as :func:`lorebridge.tokens.order.frame_of` gives it, of whole documents or parts of them.
            kind: of the target's text.
            lengths: tokens of its documents.

        Returns:
            The order, and what was replaced: documents and tokens as often as they are read.
        """
        hole = (frame["kind"] == kind).to_numpy() & (self.begins[frame["piece"].where(frame["kind"] == kind, 0)] >= 0)
        rows = frame[hole]
        if rows.empty:
            return frame, {"documents": 0, "tokens": 0}
        closes = closing(frame, lambda of, piece: lengths[piece] if of == kind else np.full(len(piece), -1))[hole]
        begin = self.begins[rows["piece"]] + rows["start"].to_numpy()
        end = begin + rows["n_tokens"].to_numpy()
        first = np.searchsorted(self.ends, begin, side="right")
        n = np.searchsorted(self.ends, end, side="left") - first + 1
        repeats = np.ones(len(frame), np.int64)
        repeats[hole] = n
        index = np.repeat(np.arange(len(frame)), repeats)
        found = {name: frame[name].to_numpy()[index] for name in frame.columns}
        new = hole[index]
        within = np.arange(n.sum()) - np.repeat(n.cumsum() - n, n)
        which = np.repeat(first, n) + within
        starts = np.concatenate([[0], self.ends])[which]
        low, high = np.maximum(np.repeat(begin, n), starts), np.minimum(np.repeat(end, n), self.ends[which])
        found["piece"][new] = self.reserve[which]
        found["start"][new] = low - starts
        found["n_tokens"][new] = high - low
        is_last = within == np.repeat(n, n) - 1
        found["part"][new] = np.where(is_last & np.repeat(closes, n), CLOSES, GOES_ON)
        sequence = found["sequence"]
        further = np.zeros(len(index), bool)
        further[np.flatnonzero(new)[within > 0]] = True
        counted = further.cumsum()
        _, row_begins = np.unique(sequence, return_index=True)
        row_of = np.cumsum(np.diff(sequence, prepend=sequence[0] - 1) != 0) - 1
        n_documents = np.maximum.reduceat(found["document"], row_begins) + 1
        before = (counted - further)[row_begins][row_of]
        found["document"] = np.where(further, n_documents[row_of] + counted - before - 1, found["document"])
        found["slot"] = rank(sequence)
        changed = pd.DataFrame({name: found[name].astype(frame[name].to_numpy().dtype) for name in frame.columns})
        return changed, {"documents": int((rows["start"] == 0).sum()), "tokens": int(rows["n_tokens"].sum())}


def filter_sizes(
    *,
    pages: Path,
    exclusions: Path,
    qa: Path,
    truth: Path | None = None,
    mentions: Mapping[str, Path] | None = None,
    out: Path,
) -> dict[str, Any]:
    """Tell what each level has of each language to read, and what it still states; write table "filter_sizes".

    ``n_documents`` and ``n_tokens`` are what an epoch reads: the pages outside the reserve, less those removed, and
    what stands in their place. ``token_difference`` is from level ``f0``. ``residual_facts`` of ``n_facts`` questions
    of the test have their answer stated by a document that is read, be it in part: what was removed is pages, and a
    fact may stand on another one.

    Args:
        pages: table "pages".
        exclusions: table "exclusions".
        qa: table "qa".
        truth: table "truth" of a planted world.
        mentions: language -> table "mentions" of its text; in place of `truth`.
        out: where to write, a row for each level and language.

    Returns:
        Notes: ``residual_facts`` of the target by level.

    Raises:
        InputError: neither truth nor mentions, or both.
    """
    found, _ = read_pages(pages)
    removal = Exclusions.read(exclusions)
    questions = tables.read(qa, ["question_id", "split"])
    tested = questions.loc[questions["split"] == TEST, "question_id"].unique()
    states = _statements(pages, truth, mentions, tuple(found))
    states = states[states["question_id"].isin(tested)]
    drawn = set(removal.page_id[removal.reserve])
    rows = []
    for level in LEVELS:
        for lang, of_lang in found.items():
            n_tokens = of_lang["n_tokens"].to_numpy()
            read = ~of_lang["page_id"].isin(drawn).to_numpy()
            whole = int(n_tokens[read].sum())
            gone = removal.removed(level) if lang == removal.target else np.zeros(len(of_lang), bool)
            read &= ~gone
            size = int(n_tokens[read].sum())
            n_removed = n_reserve = int(n_tokens[gone].sum())
            if lang == removal.target:
                used = removal.reserve[removal.used(gone)]
                read[used] = True
            says = states.loc[(states["lang"] == lang) & read[states["at"].where(states["lang"] == lang, 0)]]
            rows.append(
                {
                    "level": level,
                    "lang": lang,
                    "n_documents": int(read.sum()),
                    "n_tokens": size + n_reserve,
                    "tokens_removed": n_removed,
                    "tokens_reserve": n_reserve,
                    "token_difference": size + n_reserve - whole,
                    "residual_facts": int(says["question_id"].nunique()),
                    "n_facts": len(tested),
                }
            )
    tables.write("filter_sizes", rows, out)
    residual = {row["level"]: row["residual_facts"] for row in rows if row["lang"] == removal.target}
    log.info("%s: of %d facts are still stated %s", removal.target, len(tested), residual)
    return {"residual_facts": residual, "n_facts": len(tested)}
