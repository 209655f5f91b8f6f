"""The stages that filter: sources become documents and pairs, with an audit of what was dropped, edited and held out.

A language's documents take three stages. ``signatures`` filters a shard in memory and writes a digest of what passes;
``duplicates`` (:mod:`lorebridge.corpora.duplicates`) reads the digests of all shards; ``filter_corpus`` filters the
shard again and writes its documents. To filter twice costs less than to store the text of a large corpus twice.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import gzip
import hashlib
import json
import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from lorebridge import publish, tables
from lorebridge.corpora.duplicates import digests, duplicates, hashes, minhashes
from lorebridge.corpora.heldout import are_heldout, is_heldout, numbers_of
from lorebridge.corpora.scripts import SCRIPTS, Cleaned, LetterFilter, by_script
from lorebridge.corpora.sources import Batch, Source, open_source
from lorebridge.errors import InputError

log = logging.getLogger("lorebridge.corpora")

_OPTIONAL = ["id", "title", "source"]  # columns of documents, beside their text

_N_SAMPLES = 5
_EXCERPT = 200  # characters
_KEPT, _HELD_OUT = "kept", "heldout"
# What is counted of edits, by the field of what the filter returns.
_EDITS = {"letters": "deleted", "signs": "signs", "line_ends": "line_ends", "normal_form": "composed", "torn": "torn"}
EDITS = {
    "letters": "letters deleted",
    "signs": "other characters deleted",
    "line_ends": "ends of lines made U+000A",
    "normal_form": "characters brought into NFC",
    "simplified": "characters simplified",
    "titles": "characters deleted or replaced in titles",
    "torn": "words of which a piece is left",
}
"""What an audit counts of edits, in words."""
_BLOCK = 1 << 20  # digests that are compared at a time

Fates = npt.NDArray[np.object_]  # of every row of a batch: "kept", "heldout", or the reason why it is dropped


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


@dataclasses.dataclass(frozen=True)
class _Texts:
    """A column of a batch, before and after.

    Attributes:
        before: as read.
        cleaned: what the filter made of it.
        simplified: [rows], Traditional characters that were replaced.
    """

    before: pa.Array
    cleaned: Cleaned
    simplified: npt.NDArray[np.int64]

    def after(self, rows: npt.NDArray[np.int64]) -> pa.Array:
        """Return what some rows have become."""
        return self.cleaned.texts.take(pa.array(rows))


class _Cleaner:
    """Filters the letters of texts and, where that is asked for, simplifies Traditional characters (OpenCC ``t2s``).

    Raises:
        InputError: `letters` is no policy, or Han is to be simplified where the policy deletes it.
    """

    def __init__(self, letters: Mapping[str, str], simplify: bool) -> None:
        """Load what is needed."""
        self._filter, self._converter = LetterFilter(letters), None
        if simplify and (letters.get("keep", "Han") != "Han" or letters.get("drop") == "Han"):
            raise InputError(
                "simplify",
                f"simplified characters are asked for where the letters policy {dict(letters)} deletes Han",
                "Set `simplify` only for a language whose script is Han.",
            )
        if simplify:
            import opencc  # only where it is asked for

            self._converter = opencc.OpenCC("t2s")

    def __call__(self, texts: pa.Array) -> _Texts:
        """Return a column of strings without nulls, before and after."""
        cleaned = self._filter.clean(texts)
        replaced = np.zeros(len(texts), dtype=np.int64)
        if self._converter is None:
            return _Texts(texts, cleaned, replaced)
        traditional = cleaned.texts.to_pylist()
        simplified = [self._converter.convert(text) for text in traditional]
        for i, (text, other) in enumerate(zip(traditional, simplified, strict=True)):
            if text != other:
                differ = sum(a != b for a, b in zip(text, other, strict=False))
                replaced[i] = differ + abs(len(text) - len(other))
        again = self._filter.clean(pa.array(simplified, pa.string()))
        counts = {name: getattr(cleaned, name) + getattr(again, name) for name in ("deleted", "signs", "composed")}
        cleaned = dataclasses.replace(
            cleaned,
            texts=again.texts,
            characters_left=again.characters_left,
            letters_left=again.letters_left,
            scripts=np.union1d(cleaned.scripts, again.scripts),
            edited=cleaned.edited | again.edited | (replaced > 0),
            **counts,
        )
        return _Texts(texts, cleaned, replaced)


class Audit:
    """What a filter saw, kept, held out, edited and dropped, by reason and by source.

    Args:
        columns: the text columns of which letters are counted.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        """Start from zero."""
        self._counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self._samples: dict[str, list[tuple[bytes, dict[str, str]]]] = collections.defaultdict(list)
        self._edits = {kind: {"rows": 0, "characters": 0} for kind in EDITS}
        self._letters = {column: np.zeros((2, len(SCRIPTS)), dtype=np.int64) for column in columns}
        self._characters: dict[str, list[int]] = {column: [0, 0] for column in columns}

    def note(
        self, identities: pa.Array, texts: Mapping[str, _Texts], fates: Fates, titles: _Texts | None = None
    ) -> None:
        """Count the rows of a batch.

        Args:
            identities: the identities of the documents or pairs.
            texts: their texts by column.
            fates: what becomes of each.
            titles: their titles, where they have them.
        """
        stays = (fates == _KEPT) | (fates == _HELD_OUT)
        columns = list(texts.values())
        edits = {
            kind: np.sum([getattr(column.cleaned, name) for column in columns], axis=0) for kind, name in _EDITS.items()
        }
        edits["simplified"] = np.sum([column.simplified for column in columns], axis=0)
        if titles is not None:
            edits["titles"] = titles.simplified + np.sum(
                [getattr(titles.cleaned, name) for kind, name in _EDITS.items() if kind != "torn"], axis=0
            )
        edited = np.logical_or.reduce([column.cleaned.edited for column in columns])
        for kind, replaced in edits.items():
            self._edits[kind]["rows"] += int(np.count_nonzero(stays & (replaced > 0)))
            self._edits[kind]["characters"] += int(replaced[stays].sum())
        self._tally(identities, fates, edited & stays)
        kept = fates == _KEPT
        some_go = not kept.all()
        for name, column in texts.items():
            cleaned, totals, characters = column.cleaned, self._letters[name], self._characters[name]
            for script in cleaned.scripts:
                totals[0, script] += cleaned.letters[:, script].sum(dtype=np.int64)
                left = cleaned.letters_left[:, script]
                totals[1, script] += (left[kept] if some_go else left).sum(dtype=np.int64)
            characters[0] += int(cleaned.characters.sum())
            characters[1] += int(cleaned.characters_left[kept].sum())
        for row in np.flatnonzero(edited | ~stays).tolist():
            self._sample("edited" if stays[row] else fates[row], identities[row].as_py(), texts, row)

    def _tally(self, identities: pa.Array, fates: Fates, edited: npt.NDArray[np.bool_]) -> None:
        """Count the rows of a batch by source and fate."""
        of = pc.list_element(pc.split_pattern(identities, "/", max_splits=1), 0).dictionary_encode()
        by_fate = pa.array(fates, pa.string()).dictionary_encode()
        names, kinds = of.dictionary.to_pylist(), by_fate.dictionary.to_pylist()
        places = of.indices.to_numpy() * len(kinds) + by_fate.indices.to_numpy()
        for place, n in enumerate(np.bincount(places).tolist()):
            if n:
                counts, fate = self._counts[names[place // len(kinds)]], kinds[place % len(kinds)]
                counts["rows"] += n
                counts[fate if fate in (_KEPT, _HELD_OUT) else f"dropped/{fate}"] += n
        for name, n in zip(names, np.bincount(of.indices.to_numpy()[edited], minlength=len(names)), strict=True):
            self._counts[name]["edited"] += int(n)

    def _sample(self, kind: str, identity: str, texts: Mapping[str, _Texts], row: int) -> None:
        """Keep the rows whose identities have the smallest digests: the same ones in whatever order rows come."""
        samples, key = self._samples[kind], _digest(identity)
        if len(samples) < _N_SAMPLES or key < samples[-1][0]:
            sample = {"id": identity}
            for name, column in texts.items():
                before, after = column.before[row].as_py(), column.cleaned.texts[row].as_py()
                start = _first_difference(before, after)
                sample[f"{name} before"] = before[start : start + _EXCERPT]
                sample[f"{name} after"] = after[start : start + _EXCERPT]
            samples.append((key, sample))
            samples.sort(key=lambda pair: pair[0])
            del samples[_N_SAMPLES:]

    def as_json(self) -> dict[str, Any]:
        """Return the audit as JSON types.

        ``rows``, ``kept``, ``heldout``, ``edited`` (of those kept and held out) and ``dropped`` by reason;
        ``sources``: the same for every source, and every label (``{name}:{label}``) of its rows; ``edits``: rows kept
        or held out and in them the characters of each kind of edit (``letters`` and other ``signs`` that were deleted,
        ``line_ends``, ``normal_form`` and ``simplified`` characters that were replaced, all of these in ``titles``;
        ``torn`` counts the words of which a piece is left, see :class:`~lorebridge.corpora.scripts.Cleaned`);
        ``characters`` and ``letters`` (by Unicode script) before (all rows) and after (kept rows) for every column;
        ``samples`` of edited rows and of every reason, excerpts of 200 characters from shortly before the first
        difference. The edits explain every difference of a text.

        Raises:
            ValueError: the counts do not add up.
        """
        result = {
            **_tally(sum(self._counts.values(), collections.Counter())),
            "sources": {name: _tally(counts) for name, counts in sorted(self._counts.items())},
            "edits": self._edits,
            "characters": {
                column: {"before": before, "after": after} for column, (before, after) in self._characters.items()
            },
            "letters": {
                column: {"before": by_script(before), "after": by_script(after)}
                for column, (before, after) in self._letters.items()
            },
            "samples": {kind: [sample for _, sample in rows] for kind, rows in sorted(self._samples.items())},
        }
        if not _adds_up(result):
            raise ValueError(f"the audit does not add up: {result}")
        return result


def _first_difference(text: str, other: str) -> int:
    """Return where an excerpt starts that shows the first difference of two texts."""
    same = next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), 0)
    return max(0, same - _EXCERPT // 4)


def _tally(counts: Mapping[str, int]) -> dict[str, Any]:
    """Return counts with the reasons of dropping in a mapping of their own."""
    dropped = {key.removeprefix("dropped/"): n for key, n in sorted(counts.items()) if key.startswith("dropped/")}
    return {**{key: counts.get(key, 0) for key in ("rows", _KEPT, _HELD_OUT, "edited")}, "dropped": dropped}


def _adds_up(audit: Mapping[str, Any]) -> bool:
    """Return whether every row of an audit, in all and of each source, was kept, held out or dropped."""
    return all(
        part["rows"] == part[_KEPT] + part[_HELD_OUT] + sum(part["dropped"].values())
        for part in (audit, *audit["sources"].values())
    )


def _write_json(value: Mapping[str, Any], path: Path) -> None:
    publish.write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def _require_kept(audit: Mapping[str, Any], where: str, mend: str) -> None:
    """Refuse an audit that kept nothing.

    Raises:
        InputError: gives the counts by reason.
    """
    if not audit[_KEPT]:
        reasons = ", ".join(f"{reason}: {n}" for reason, n in audit["dropped"].items()) or "there were none"
        held_out = f", {audit[_HELD_OUT]} are held out" if audit[_HELD_OUT] else ""
        raise InputError(
            where, f"nothing is left after filtering (of {audit['rows']} rows, dropped {reasons}{held_out})", mend
        )


def _require_held_out(audit: Mapping[str, Any], key: str, heldout: float) -> None:
    """Refuse an audit that held nothing out where a share was to be: a later job would miss it.

    Raises:
        InputError: names the key.
    """
    if heldout and audit[_KEPT] and not audit[_HELD_OUT]:
        raise InputError(key, f"a share of {heldout} holds out none of {audit[_KEPT]}", "Give a larger share.")


def _open(
    sources: Sequence[Mapping[str, Any]],
    paths: Sequence[str | Path | None],
    required: Sequence[str],
    optional: Sequence[str],
) -> list[Source]:
    """Open every source before a row is read, so that a missing one is told at once."""
    return [open_source(spec, path, required, optional) for spec, path in zip(sources, paths, strict=True)]


def _resolved(opened: Sequence[Source]) -> dict[str, Any]:
    """Return what opening the sources found out, by source: the commit of a data set, the checksum of a download."""
    return {source.name: source.notes for source in opened if source.notes}


def _batches(source: Source, shard: int, of: int) -> Iterator[Batch]:
    """Yield the batches of a source under a progress bar: the next one is read while one is used."""
    batches = source.batches(shard, of)
    with tqdm(desc=source.name, unit=" rows", mininterval=1) as bar, ThreadPoolExecutor(1) as reading:
        coming = reading.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reading.submit(next, batches, None)
            yield batch
            bar.update(len(batch.columns))


def _labels(source: Source, batch: Batch) -> pa.Array:
    """Return the label of every row of a batch: its own, or the name of its source."""
    return pc.fill_null(batch.columns["source"], source.name)


def _identities(source: Source, batch: Batch, keys: pa.Array) -> pa.Array:
    """Return what tells rows from all others of a text: ``{name}/{key}``, or ``{name}:{label}/{key}``.

    The second where a row carries a label of its own. Neither a name nor, escaped, a label holds a slash, and no name
    a colon: whatever the labels and keys, two identities are equal only where all three parts are.
    """
    labels = _labels(source, batch).dictionary_encode()  # few
    escaped = pc.replace_substring(pc.replace_substring(labels.dictionary, "%", "%25"), "/", "%2F")
    named = pc.binary_join_element_wise(source.name, escaped, ":")
    named = pc.if_else(pc.equal(labels.dictionary, source.name), source.name, named)
    return pc.binary_join_element_wise(named.take(labels.indices), keys, "/")


@dataclasses.dataclass(frozen=True)
class _Documents:
    """A batch of documents, filtered.

    Attributes:
        source: the place of their source among the sources.
        batch: as read.
        labels: of their sources.
        doc_ids: their identities.
        texts: before and after.
        fates: what becomes of each by itself, without regard to other documents.
    """

    source: int
    batch: Batch
    labels: pa.Array
    doc_ids: pa.Array
    texts: _Texts
    fates: Fates

    def titles(self, clean: _Cleaner) -> _Texts:
        """Return their titles before and after, "" where there is none."""
        return clean(self.batch.columns["title"].fill_null(""))


def _documents(
    opened: Sequence[Source],
    *,
    sources: Sequence[Mapping[str, Any]],
    letters: Mapping[str, str],
    min_chars: int,
    max_deleted: float,
    simplify: bool,
    shard: int,
    of: int,
) -> Iterator[_Documents]:
    """Yield the documents of a shard; see :func:`filter_corpus`."""
    clean = _Cleaner(letters, simplify)
    for index, source in enumerate(opened):
        for batch in _batches(source, shard, of):
            labels = _labels(source, batch)
            keys = pc.coalesce(batch.columns["id"], batch.keys())
            texts = clean(batch.columns["text"])
            cleaned = texts.cleaned
            fates = np.full(len(labels), _KEPT, dtype=object)
            fates[cleaned.characters_left < sources[index].get("min_chars", min_chars)] = "short"
            fates[cleaned.share_deleted > max_deleted] = "foreign"
            fates[~cleaned.content] = "empty"
            doc_ids = _identities(source, batch, keys)
            yield _Documents(index, batch, labels, doc_ids, texts, fates)


def signatures(
    *,
    sources: Sequence[Mapping[str, Any]],
    paths: Sequence[str | Path | None],
    letters: Mapping[str, str],
    min_chars: int,
    max_deleted: float,
    simplify: bool,
    deduplicate: Mapping[str, Any] | None,
    shard: int,
    of: int,
    signatures: Path,
) -> None:
    """Write what tells the documents of one shard from others: the table ``signatures``.

    It has a row for every document that passes the filter by itself: its identity, its place among the sources (which
    orders documents whatever the number of shards), a digest of its filtered text and, where near duplicates are
    looked for, its MinHash signature (numbers of 32 bits, little-endian), else null.

    Args:
        sources: as of :func:`filter_corpus`, like all up to `simplify`, `shard` and `of`.
        paths: the path of each source, None where it has none.
        letters: ``{"keep": SCRIPT}`` or ``{"drop": SCRIPT}``.
        min_chars: the fewest characters of a document after filtering.
        max_deleted: the largest share of letters (and foreign signs) that may be deleted.
        simplify: whether Traditional characters are simplified.
        deduplicate: as of :func:`lorebridge.corpora.duplicates.duplicates`.
        shard: which shard, from 0.
        of: the number of shards.
        signatures: the table to write.

    Raises:
        InputError: a source cannot be read, or a row is malformed.
    """
    with tables.writer("signatures", signatures) as write:
        opened = _open(sources, paths, ["text"], _OPTIONAL)
        for documents in _documents(
            opened,
            sources=sources,
            letters=letters,
            min_chars=min_chars,
            max_deleted=max_deleted,
            simplify=simplify,
            shard=shard,
            of=of,
        ):
            rows = np.flatnonzero(documents.fates == _KEPT)
            if not len(rows):
                continue
            batch, texts = documents.batch, documents.texts.after(rows)
            if deduplicate:
                hashed = minhashes(texts, permutations=deduplicate["permutations"], ngram=deduplicate["ngram"]).astype(
                    "<u4"
                )
                minhash = pa.array([row.tobytes() for row in hashed], pa.binary())
            else:
                minhash = pa.nulls(len(rows), pa.binary())
            write(
                pa.table(
                    {
                        "doc_id": documents.doc_ids.take(pa.array(rows)),
                        "source": np.full(len(rows), documents.source, dtype=np.int16),
                        "file_index": np.full(len(rows), batch.index, dtype=np.int32),
                        "file": [batch.file] * len(rows),
                        "row": batch.numbers[rows],
                        "digest": pa.array([row.tobytes() for row in digests(texts)], pa.binary()),
                        "minhash": minhash,
                    }
                )
            )


def _decided(documents: Iterator[_Documents], duplicates: Path, heldout: float) -> Iterator[_Documents]:
    """Yield batches with the fates of their documents as decided among all: first duplicates, then what is held out."""
    repeats: dict[str, str] = {}
    for rows in tables.batches(duplicates, ["doc_id", "reason"]):
        repeats.update((row["doc_id"], row["reason"]) for row in rows)
    for batch in documents:
        kept = np.flatnonzero(batch.fates == _KEPT)
        for i, identity in zip(kept.tolist(), batch.doc_ids.take(pa.array(kept)).to_pylist(), strict=True):
            batch.fates[i] = repeats.get(identity) or (_HELD_OUT if is_heldout(identity, heldout) else _KEPT)
        yield batch


def _document_rows(documents: _Documents, fate: str, titles: _Texts) -> pa.Table | None:
    """Return the documents of a batch that have one fate as rows of the table ``documents``, None where none has."""
    rows = np.flatnonzero(documents.fates == fate)
    if not len(rows):
        return None
    return pa.table(
        {
            "doc_id": documents.doc_ids.take(pa.array(rows)),
            "title": titles.after(rows),
            "text": documents.texts.after(rows),
            "source": documents.labels.take(pa.array(rows)),
            "n_chars": documents.texts.cleaned.characters_left[rows],
        }
    )


def filter_corpus(
    *,
    sources: Sequence[Mapping[str, Any]],
    paths: Sequence[str | Path | None],
    lang: str,
    letters: Mapping[str, str],
    min_chars: int,
    max_deleted: float,
    simplify: bool,
    heldout: float,
    shard: int,
    of: int,
    duplicates: Path,
    documents: Path,
    heldout_documents: Path,
    audit: Path,
) -> None:
    """Filter one shard of the sources of a language into tables ``documents`` and an audit.

    Rows have a string `text`, and may have `id`, `title` and `source` (a label in place of the source's name). Letters
    are filtered by :class:`~lorebridge.corpora.scripts.LetterFilter`, in titles too. Then a document is dropped with
    the first reason that holds:

    - ``empty``: no letter or digit is left;
    - ``foreign``: more than `max_deleted` of its letters (and of foreign digits, signs and marks) were deleted;
    - ``short``: it has fewer than `min_chars` characters;
    - ``duplicate``, ``near_duplicate``: it repeats an earlier document of any shard, by the table `duplicates`.

    Of those that are left :func:`~lorebridge.corpora.heldout.is_heldout` takes some out: no model trains on them.

    Args:
        sources: specifications of sources (see :mod:`lorebridge.corpora.sources`); `min_chars` of one overrides.
        paths: the path of each source, None where it has none.
        lang: the language, for messages and the audit.
        letters: ``{"keep": SCRIPT}`` or ``{"drop": SCRIPT}``.
        min_chars: the fewest characters of a document after filtering.
        max_deleted: the largest share of letters (and foreign signs) that may be deleted.
        simplify: whether Traditional characters are simplified (OpenCC), for a language that Han writes.
        heldout: the share of documents that are held out.
        shard: which shard, from 0.
        of: the number of shards.
        duplicates: the table of what repeats another document.
        documents: the table to write of what models train on.
        heldout_documents: that of what is held out.
        audit: the JSON to write, see :meth:`Audit.as_json`.

    Raises:
        InputError: a source cannot be read, a row is malformed, or `simplify` is set where Han is deleted.
    """
    counts, clean = Audit(["text"]), _Cleaner(letters, simplify)
    opened = _open(sources, paths, ["text"], _OPTIONAL)
    batches = _documents(
        opened,
        sources=sources,
        letters=letters,
        min_chars=min_chars,
        max_deleted=max_deleted,
        simplify=simplify,
        shard=shard,
        of=of,
    )
    with contextlib.ExitStack() as stack:
        writers = {
            fate: stack.enter_context(tables.writer("documents", path))
            for fate, path in ((_KEPT, documents), (_HELD_OUT, heldout_documents))
        }
        for batch in _decided(batches, duplicates, heldout):
            titles = batch.titles(clean)
            counts.note(batch.doc_ids, {"text": batch.texts}, batch.fates, titles)
            for fate, write in writers.items():
                if (rows := _document_rows(batch, fate, titles)) is not None:
                    write(rows)
    result = {"lang": lang, "letters_policy": dict(letters), "resolved": _resolved(opened), **counts.as_json()}
    _log_counts(lang, "documents", result)
    _write_json(result, audit)


def _log_counts(lang: str, what: str, audit: Mapping[str, Any]) -> None:
    log.info(
        "%s: kept %d of %d %s, held out %d, dropped %s",
        lang,
        audit[_KEPT],
        audit["rows"],
        what,
        audit[_HELD_OUT],
        audit["dropped"],
    )


def merge_audits(*, audits: Sequence[Path], out: Path, lang: str, heldout: float) -> None:
    """Merge the audits of the shards of a language.

    Args:
        audits: the audits that :func:`filter_corpus` wrote.
        out: the JSON to write, of the same form.
        lang: the language, for messages.
        heldout: the share of documents that were to be held out.

    Raises:
        InputError: the counts of an audit do not add up; no document is left, or none held out, in any shard; or the
            shards were read from different versions of a source that is not pinned.
    """
    shards = [json.loads(Path(path).read_text(encoding="utf-8")) for path in audits]
    for path, shard in zip(audits, shards, strict=True):
        if not _adds_up(shard):
            raise InputError(
                path,
                f"the audit does not add up ({shard['rows']} rows, {shard[_KEPT]} kept, {shard[_HELD_OUT]} held out, "
                f"dropped {shard['dropped']})",
                "Remake the shard: snakemake --forcerun filter_corpus.",
            )
        if shard["resolved"] != shards[0]["resolved"]:
            raise InputError(
                path,
                f"was read from {shard['resolved']}, but {Path(audits[0]).name} from {shards[0]['resolved']}",
                f"Pin the sources of corpora.{lang} (revision, sha256) to one of them.",
            )
    merged = {**shards[0]}
    for key in ("rows", _KEPT, _HELD_OUT, "edited", "dropped", "sources", "edits", "characters", "letters"):
        merged[key] = _total([shard[key] for shard in shards])
    kinds = sorted({kind for shard in shards for kind in shard["samples"]})
    merged["samples"] = {
        kind: sorted(
            (sample for shard in shards for sample in shard["samples"].get(kind, [])),
            key=lambda sample: _digest(sample["id"]),
        )[:_N_SAMPLES]
        for kind in kinds
    }
    _require_kept(
        merged, f"corpus {lang}", "Check its sources, and its letters policy, min_chars, max_deleted and heldout."
    )
    _require_held_out(merged, f"corpora.{lang}.heldout", heldout)
    _write_json(merged, out)


def _total(values: Sequence[Any]) -> Any:
    """Return the sum of numbers, or of nested mappings of numbers key by key."""
    if not isinstance(values[0], dict):
        return sum(values)
    keys = sorted({key for value in values for key in value})
    return {key: _total([value[key] for value in values if key in value]) for key in keys}


@dataclasses.dataclass(frozen=True)
class _Pairs:
    """A batch of pairs, filtered; `texts` by half, the rest as of :class:`_Documents`."""

    batch: Batch
    labels: pa.Array
    pair_ids: pa.Array
    texts: dict[str, _Texts]
    fates: Fates


def _pairs(sources: Sequence[Source], halves: Mapping[str, tuple[str, _Cleaner]], max_lost: float) -> Iterator[_Pairs]:
    """Yield the pairs of all sources, with what becomes of each by itself; see :func:`filter_pairs`.

    Args:
        sources: opened.
        halves: code and cleaner of ``en`` and ``xx``.
        max_lost: the largest share of letters that a half may lose.
    """
    for source in sources:
        for batch in _batches(source, 0, 1):
            labels = _labels(source, batch)
            texts = {half: clean(batch.columns[code]) for half, (code, clean) in halves.items()}
            fates = np.full(len(labels), _KEPT, dtype=object)
            for half in ("xx", "en"):
                fates[texts[half].cleaned.share_deleted > max_lost] = f"foreign_{half}"
            for half in ("xx", "en"):
                fates[~texts[half].cleaned.content] = f"empty_{half}"
            pair_ids = _identities(source, batch, batch.keys())
            yield _Pairs(batch, labels, pair_ids, texts, fates)


_PAIR_FATES = np.array([_KEPT, "heldout_half", _HELD_OUT, "duplicate"], dtype=object)

PAIRS_WRITTEN = 1 << 16  # rows of a row group, so that the table's footer stays small


@dataclasses.dataclass(frozen=True)
class _Decided:
    """What becomes of every pair that passes by itself.

    Attributes:
        fates: places in `_PAIR_FATES`, [pairs].
        suspects: the pairs, ascending, whose identity may be another's too: their numbers are equal.
    """

    fates: npt.NDArray[np.int8]
    suspects: npt.NDArray[np.int64]


def _decide_pairs(pairs: Iterator[_Pairs], heldout: float) -> _Decided:
    """Say what becomes of every pair that passes by itself.

    Memory: three numbers of 64 bits a pair (of its identity and halves) and two more while they are sorted, about 50
    bytes. Two pairs are duplicates where 128 bits agree; a pair shares a half where 64 do, by chance once in 100,000
    texts of the size of CCMatrix; and identities are compared themselves where their numbers agree.
    """
    columns: dict[str, list[Any]] = {name: [np.zeros(0, np.uint64)] for name in ("identity", "en", "xx")}
    for batch in pairs:
        rows = np.flatnonzero(batch.fates == _KEPT)
        columns["identity"].append(numbers_of(batch.pair_ids)[rows])
        for half in ("en", "xx"):
            columns[half].append(hashes(batch.texts[half].cleaned.texts)[rows])
    identity = np.concatenate(columns.pop("identity"))
    held_out = are_heldout(identity, heldout)
    order = np.argsort(identity, kind="stable")
    again = _equal_to_previous(order, identity)
    suspects = np.sort(order[again | np.append(again[1:], False)])
    del identity, order, again
    en, xx = (np.concatenate(columns.pop(half)) for half in ("en", "xx"))
    order = np.lexsort((xx, en))  # stable: equal pairs stay in their order
    repeats = np.zeros(len(order), dtype=np.bool_)
    repeats[order] = _equal_to_previous(order, en, xx)
    del order
    held_out &= ~repeats
    fates = np.zeros(len(repeats), dtype=np.int8)
    for halves in (en, xx):
        wanted = np.sort(halves[held_out])
        for begin in range(0, len(halves) if len(wanted) else 0, _BLOCK):
            some = halves[begin : begin + _BLOCK]
            at = np.searchsorted(wanted, some).clip(max=len(wanted) - 1)
            fates[begin : begin + _BLOCK][wanted[at] == some] = 1
    fates[held_out] = 2
    fates[repeats] = 3
    return _Decided(fates, suspects)


def _equal_to_previous(order: npt.NDArray[np.int64], *keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Say of each row, in an order by `keys`, whether all its keys equal those of the row before."""
    found = np.zeros(len(order), dtype=np.bool_)
    for begin in range(1, len(order), _BLOCK):
        here, before = order[begin : begin + _BLOCK], order[begin - 1 : begin - 1 + _BLOCK][: len(order) - begin]
        found[begin : begin + _BLOCK] = np.logical_and.reduce([key[here] == key[before] for key in keys])
    return found


@contextlib.contextmanager
def _pair_writer(path: Path) -> Iterator[Callable[[pa.Table], None]]:
    """Write a table of pairs in row groups of one size, whatever the size of the batches."""
    with tables.writer("pairs", path) as write:
        waiting: list[pa.Table] = []

        def flush(least: int) -> None:
            while (n := sum(map(len, waiting))) and n >= least:
                table = pa.concat_tables(waiting).combine_chunks()
                write(table.slice(0, PAIRS_WRITTEN))
                waiting[:] = [table.slice(PAIRS_WRITTEN)]

        def add(rows: pa.Table) -> None:
            waiting.append(rows)
            flush(PAIRS_WRITTEN)

        yield add
        flush(1)


def filter_pairs(
    *,
    sources: Sequence[Mapping[str, Any]],
    paths: Sequence[str | Path | None],
    base: str,
    lang: str,
    letters_base: Mapping[str, str],
    letters_xx: Mapping[str, str],
    max_lost: float,
    simplify: bool,
    heldout: float,
    pairs: Path,
    heldout_pairs: Path,
    audit: Path,
) -> None:
    """Filter parallel text into tables ``pairs`` and an audit.

    Rows have a string in each language, under the language codes, and may have `source`. Both halves go through the
    letter filter of their language; there is no rule of length. A pair is dropped whole with the first reason that
    holds: ``empty_en``, ``empty_xx`` (no letter or digit is left in a half), ``foreign_en``, ``foreign_xx`` (a half
    lost more than `max_lost` of its letters), ``duplicate`` (both halves equal those of an earlier pair),
    ``heldout_half`` (it shares a half with a pair that is held out). ``en`` stands for the base language and ``xx``
    for the other, as in the table. The sources are read twice: first for what repeats and what is held out.

    Args:
        sources: specifications of sources (see :mod:`lorebridge.corpora.sources`).
        paths: the path of each source, None where it has none.
        base: the code of the language trained first.
        lang: the code of the other one.
        letters_base: its letters policy.
        letters_xx: that of the other.
        max_lost: the largest share of letters that a half may lose.
        simplify: whether Traditional characters of the half ``xx`` are simplified (OpenCC).
        heldout: the share of pairs that are held out.
        pairs: the table to write of what models train on.
        heldout_pairs: that of what is held out.
        audit: the JSON to write, see :meth:`Audit.as_json`.

    Raises:
        InputError: a source cannot be read, a row is malformed, an identity comes twice, no pair is left, or
            `simplify` is set where Han is deleted.
    """
    opened = _open(sources, paths, [base, lang], ["source"])
    halves = {"en": (base, _Cleaner(letters_base, False)), "xx": (lang, _Cleaner(letters_xx, simplify))}
    decided = _decide_pairs(_pairs(opened, halves, max_lost), heldout)
    suspects, identities = decided.suspects, set()
    counts, n_passed = Audit(list(halves)), 0
    with contextlib.ExitStack() as stack:
        writers = {
            fate: stack.enter_context(_pair_writer(path)) for fate, path in ((_KEPT, pairs), (_HELD_OUT, heldout_pairs))
        }
        for batch in _pairs(opened, halves, max_lost):
            passed = np.flatnonzero(batch.fates == _KEPT)
            some = slice(*np.searchsorted(suspects, [n_passed, n_passed + len(passed)]))
            for i in passed[suspects[some] - n_passed].tolist():
                if (identity := batch.pair_ids[i].as_py()) in identities:
                    raise InputError(
                        batch.batch.place(i),
                        f"the identity {identity} comes a second time",
                        "Give every source its own name.",
                    )
                identities.add(identity)
            batch.fates[passed] = _PAIR_FATES[decided.fates[n_passed : n_passed + len(passed)]]
            n_passed += len(passed)
            counts.note(batch.pair_ids, batch.texts, batch.fates)
            for fate, write in writers.items():
                rows = np.flatnonzero(batch.fates == fate)
                if len(rows):
                    columns = {half: texts.after(rows) for half, texts in batch.texts.items()}
                    names = {"pair_id": batch.pair_ids, "source": batch.labels}
                    columns |= {name: values.take(pa.array(rows)) for name, values in names.items()}
                    write(pa.table(columns).select(["pair_id", "en", "xx", "source"]))
    policies = {"en": dict(letters_base), "xx": dict(letters_xx)}
    result = {"lang": f"{base}-{lang}", "letters_policy": policies, "resolved": _resolved(opened), **counts.as_json()}
    _log_counts(result["lang"], "pairs", result)
    _write_json(result, audit)
    _require_held_out(result, f"parallel.{lang}.heldout", heldout)
    _require_kept(
        result, f"pairs {base}-{lang}", "Check the letters policies of both languages, the sources, and heldout."
    )


def filter_file(
    *,
    lang: str,
    letters: Mapping[str, str],
    source: Path,
    out: Path,
    min_chars: int,
    max_deleted: float,
    simplify: bool = False,
    deduplicate: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Filter one file as a corpus is filtered, by the same stages, and return the audit; nothing is held out.

    Args:
        lang: the language, for the audit.
        letters: ``{"keep": SCRIPT}`` or ``{"drop": SCRIPT}``.
        source: a file as of a ``local`` source; rows without a label are labelled with its name.
        out: ``.jsonl`` or ``.jsonl.gz`` with `id`, `title`, `text`, `source`, which can be a source again; or
            ``.parquet``, a table ``documents``. It appears when it is whole.
        min_chars: the fewest characters of a document after filtering.
        max_deleted: the largest share of letters (and foreign signs) that may be deleted.
        simplify: whether Traditional characters are simplified.
        deduplicate: None for equal texts alone; else as of :func:`lorebridge.corpora.duplicates.duplicates`.

    Raises:
        InputError: the file cannot be read, a row is malformed, an identity comes twice, no document is left, or `out`
            cannot be written, has another suffix, or is `source`.
    """
    publish.check_file(out, suffixes=[".jsonl", ".jsonl.gz", ".parquet"], inputs=[source], name="OUT")
    if not Path(source).is_file():
        raise InputError(source, "no such file", "Name a file that is there for IN.")
    out = Path(out)
    literals: dict[str, Any] = {
        "sources": [{"kind": "local", "name": re.sub("[/:]", "_", Path(source).name.split(".")[0])}],
        "letters": letters,
        "min_chars": min_chars,
        "max_deleted": max_deleted,
        "simplify": simplify,
        "shard": 0,
        "of": 1,
    }
    counts, clean = Audit(["text"]), _Cleaner(letters, simplify)
    with tempfile.TemporaryDirectory(prefix="lorebridge-filter-") as folder, publish.whole(out) as partial:
        found, repeats = Path(folder) / "signatures.parquet", Path(folder) / "duplicates.parquet"
        signatures(**literals, paths=[source], deduplicate=deduplicate, signatures=found)
        duplicates(signatures=[found], deduplicate=deduplicate, duplicates=repeats)
        opened = tables.writer("documents", partial) if out.suffix == ".parquet" else _jsonl_writer(partial, out.suffix)
        with opened as write:
            for batch in _decided(
                _documents(_open(literals["sources"], [source], ["text"], _OPTIONAL), **literals), repeats, 0.0
            ):
                titles = batch.titles(clean)
                counts.note(batch.doc_ids, {"text": batch.texts}, batch.fates, titles)
                if (rows := _document_rows(batch, _KEPT, titles)) is not None:
                    write(rows)
        result = {"lang": lang, "letters_policy": dict(letters), "resolved": {}, **counts.as_json()}
        mend = f"Check that the file is in the language {lang}, and min_chars and max_deleted."
        _require_kept(result, str(source), mend)
    return result


@contextlib.contextmanager
def _jsonl_writer(partial: Path, suffix: str) -> Iterator[Callable[[pa.Table], None]]:
    """Write documents as rows of a source, in the same bytes every time."""
    with partial.open("wb") as raw, contextlib.ExitStack() as stack:
        file = cast(IO[bytes], raw)
        if suffix == ".gz":
            file = cast(IO[bytes], stack.enter_context(gzip.GzipFile("", "wb", fileobj=raw, mtime=0)))

        def write(documents: pa.Table) -> None:
            for document in documents.to_pylist():
                row = {"id": document["doc_id"].partition("/")[2]}
                row |= {key: document[key] for key in ("title", "text", "source")}
                file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")

        yield write
