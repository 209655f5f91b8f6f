"""The stage that filters: sources become documents and pairs, with an audit of what was dropped and edited."""

from __future__ import annotations

import collections
import gzip
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from tqdm import tqdm

from lorebridge import tables
from lorebridge.corpora.scripts import LETTER_OR_DIGIT, Cleaned, LetterCounts, LetterFilter
from lorebridge.corpora.sources import Row, Source, open_source
from lorebridge.errors import InputError

log = logging.getLogger("lorebridge.corpora")

_BATCH = 1024  # rows
_N_SAMPLES = 5
_EXCERPT = 200  # characters


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


class Audit:
    """What a filter saw, kept, edited and dropped, by reason and by source.

    Args:
        columns: the text columns of which letters are counted.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        """Start from zero."""
        self._counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self._samples: dict[str, list[tuple[bytes, dict[str, str]]]] = collections.defaultdict(list)
        self._letters = {column: (LetterCounts(), LetterCounts()) for column in columns}
        self._characters: dict[str, list[int]] = {column: [0, 0] for column in columns}

    def note(
        self, source: str, identity: str, before: Mapping[str, str], after: Mapping[str, Cleaned], reason: str | None
    ) -> None:
        """Count one row.

        Args:
            source: the label of its source.
            identity: the identity of the document or pair.
            before: its texts by column, as read.
            after: its texts by column, cleaned.
            reason: why it was dropped, or None if it was kept.
        """
        edited = any(cleaned.edited for cleaned in after.values())
        counts = self._counts[source]
        counts["rows"] += 1
        counts[f"dropped/{reason}" if reason else "kept"] += 1
        counts["edited"] += edited and not reason
        for column, text in before.items():
            self._letters[column][0].add(text)
            self._characters[column][0] += len(text)
            if not reason:
                self._letters[column][1].add(after[column].text)
                self._characters[column][1] += len(after[column].text)
        if reason or edited:
            self._sample(reason or "edited", identity, before, after)

    def _sample(self, kind: str, identity: str, before: Mapping[str, str], after: Mapping[str, Cleaned]) -> None:
        """Keep the rows whose identities have the smallest digests: the same ones in whatever order rows come."""
        samples, key = self._samples[kind], _digest(identity)
        if len(samples) < _N_SAMPLES or key < samples[-1][0]:
            sample = {"id": identity}
            for column, text in before.items():
                start = _first_difference(text, after[column].text)
                sample[f"{column} before"] = text[start : start + _EXCERPT]
                sample[f"{column} after"] = after[column].text[start : start + _EXCERPT]
            samples.append((key, sample))
            samples.sort(key=lambda pair: pair[0])
            del samples[_N_SAMPLES:]

    def as_json(self) -> dict[str, Any]:
        """Return the audit as JSON types.

        ``rows``, ``kept``, ``edited`` (kept, with letters deleted) and ``dropped`` by reason; ``sources``: the same
        for every source; ``characters`` and ``letters`` (by Unicode script) before (all rows) and after (kept rows)
        for every column; ``samples`` of edited rows and of every reason, excerpts of 200 characters from shortly
        before the first deletion.
        """
        sources = {name: _tally(counts) for name, counts in sorted(self._counts.items())}
        return {
            **_tally(sum(self._counts.values(), collections.Counter())),
            "sources": sources,
            "characters": {
                column: {"before": before, "after": after} for column, (before, after) in self._characters.items()
            },
            "letters": {
                column: {"before": before.by_script(), "after": after.by_script()}
                for column, (before, after) in self._letters.items()
            },
            "samples": {kind: [sample for _, sample in rows] for kind, rows in sorted(self._samples.items())},
        }


def _first_difference(text: str, other: str) -> int:
    """Return where an excerpt starts that shows the first difference of two texts."""
    same = next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), 0)
    return max(0, same - _EXCERPT // 4)


def _tally(counts: Mapping[str, int]) -> dict[str, Any]:
    """Return counts with the reasons of dropping in a mapping of their own."""
    dropped = {key.removeprefix("dropped/"): n for key, n in sorted(counts.items()) if key.startswith("dropped/")}
    return {**{key: counts.get(key, 0) for key in ("rows", "kept", "edited")}, "dropped": dropped}


def _write_json(value: Mapping[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _require_kept(audit: Mapping[str, Any], where: str, mend: str) -> None:
    """Refuse an audit that kept nothing.

    Raises:
        InputError: gives the counts by reason.
    """
    if not audit["kept"]:
        reasons = ", ".join(f"{reason}: {n}" for reason, n in audit["dropped"].items()) or "there were none"
        raise InputError(where, f"nothing is left after filtering (of {audit['rows']} rows, dropped {reasons})", mend)


def _open(
    sources: Sequence[Mapping[str, Any]], paths: Sequence[str | Path | None], required: Sequence[str]
) -> list[tuple[Mapping[str, Any], Source]]:
    """Open every source before a row is read, so that a missing one is told at once."""
    return [(spec, open_source(spec, path, required)) for spec, path in zip(sources, paths, strict=True)]


class _Identities:
    """Makes identities of rows, and sees that none comes twice."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def make(self, row: Row, source: str, key: str) -> str:
        """Return ``source/key``.

        Raises:
            InputError: an earlier row had the same.
        """
        identity = f"{source}/{key}"
        if (digest := _digest(identity)) in self._seen:
            raise InputError(
                row.place,
                f"the identity {identity} comes a second time",
                "Give every row of a source its own `id`, and every source its own name.",
            )
        self._seen.add(digest)
        return identity


class _Duplicates:
    """Remembers texts by their digest."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def __call__(self, *texts: str) -> bool:
        """Return whether `texts` came before, and remember them."""
        digest = _digest("\x1f".join(texts))
        if digest in self._seen:
            return True
        self._seen.add(digest)
        return False


def _document_reason(cleaned: Cleaned, min_chars: int, max_deleted: float, duplicates: _Duplicates) -> str | None:
    """Return why a document is dropped, or None."""
    if not LETTER_OR_DIGIT.search(cleaned.text):
        return "empty"
    if cleaned.share_deleted > max_deleted:
        return "foreign"
    if len(cleaned.text) < min_chars:
        return "short"
    return "duplicate" if duplicates(cleaned.text) else None


def _documents(
    sources: Iterable[tuple[Mapping[str, Any], Source]], letters: Mapping[str, str], min_chars: int, max_deleted: float,
    shard: int, of: int, audit: Audit,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Yield the documents that pass, and count all of them in `audit`."""
    letter_filter, identities, duplicates = LetterFilter(letters), _Identities(), _Duplicates()
    for spec, source in sources:
        for row in tqdm(source.rows(shard, of), desc=source.name, unit=" rows", mininterval=1):
            text, label = row.string("text"), row.label("source", source.name)
            doc_id = identities.make(row, label, row.label("id", row.key))
            cleaned = letter_filter.clean(text)
            reason = _document_reason(cleaned, spec.get("min_chars", min_chars), max_deleted, duplicates)
            audit.note(label, doc_id, {"text": text}, {"text": cleaned}, reason)
            if not reason:
                yield {
                    "doc_id": doc_id,
                    "title": letter_filter.clean(row.label("title", "")).text,
                    "text": cleaned.text,
                    "source": label,
                    "n_chars": len(cleaned.text),
                }


def _write_batches(rows: Iterable[Mapping[str, Any]], write: Callable[[Sequence[Mapping[str, Any]]], None]) -> None:
    """Hand `rows` to `write` in batches."""
    batch = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            write(batch)
            batch = []
    if batch:
        write(batch)


def filter_corpus(
    *, sources: Sequence[Mapping[str, Any]], paths: Sequence[str | Path | None], lang: str, letters: Mapping[str, str],
    min_chars: int, max_deleted: float, shard: int, of: int, documents: Path, audit: Path,
) -> None:  # fmt: skip
    """Filter one shard of the sources of a language into a table ``documents`` and an audit.

    Rows have a string `text`, and may have `id`, `title` and `source` (a label in place of the source's name). Letters
    are filtered by :class:`~lorebridge.corpora.scripts.LetterFilter`, in titles too. Then a document is dropped with
    the first reason that holds:

    - ``empty``: no letter or digit is left;
    - ``foreign``: more than `max_deleted` of its letters were deleted;
    - ``short``: it has fewer than `min_chars` characters;
    - ``duplicate``: its text equals that of an earlier document of this shard.

    Args:
        sources: specifications of sources (see :mod:`lorebridge.corpora.sources`); `min_chars` of one overrides.
        paths: the path of each source, None where it has none.
        lang: the language, for messages and the audit.
        letters: ``{"keep": SCRIPT}`` or ``{"drop": SCRIPT}``.
        min_chars: the fewest characters of a document after filtering.
        max_deleted: the largest share of letters that may be deleted.
        shard: which shard, from 0.
        of: the number of shards.
        documents: the table to write.
        audit: the JSON to write, see :meth:`Audit.as_json`.

    Raises:
        InputError: a source cannot be read, a row is malformed, or an identity comes twice.
    """
    counts = Audit(["text"])
    rows = _documents(_open(sources, paths, ["text"]), letters, min_chars, max_deleted, shard, of, counts)
    with tables.writer("documents", documents) as write:
        _write_batches(rows, write)
    result = {"lang": lang, "letters_policy": dict(letters), **counts.as_json()}
    log.info("%s: kept %d of %d documents, dropped %s", lang, result["kept"], result["rows"], result["dropped"])
    _write_json(result, audit)


def merge_audits(*, audits: Sequence[Path], out: Path, lang: str) -> None:
    """Merge the audits of the shards of a language.

    Args:
        audits: the audits that :func:`filter_corpus` wrote.
        out: the JSON to write, of the same form.
        lang: the language, for messages.

    Raises:
        InputError: no document is left in any shard; gives the counts by reason.
    """
    shards = [json.loads(Path(path).read_text(encoding="utf-8")) for path in audits]
    merged = {**shards[0]}
    for key in ("rows", "kept", "edited", "dropped", "sources", "characters", "letters"):
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
        merged,
        f"corpus {lang}",
        "Check its sources, and its letters policy, min_chars and max_deleted.",
    )
    _write_json(merged, out)


def _total(values: Sequence[Any]) -> Any:
    """Return the sum of numbers, or of nested mappings of numbers key by key."""
    if not isinstance(values[0], dict):
        return sum(values)
    keys = sorted({key for value in values for key in value})
    return {key: _total([value[key] for value in values if key in value]) for key in keys}


def filter_pairs(
    *, sources: Sequence[Mapping[str, Any]], paths: Sequence[str | Path | None], base: str, lang: str,
    letters_base: Mapping[str, str], letters_xx: Mapping[str, str], max_lost: float = 0.1, pairs: Path, audit: Path,
) -> None:  # fmt: skip
    """Filter parallel text into a table ``pairs`` and an audit.

    Rows have a string in each language, under the language codes, and may have `source`. Both halves go through the
    letter filter of their language; there is no rule of length. A pair is dropped whole with the first reason that
    holds: ``empty_en``, ``empty_xx`` (no letter or digit is left in a half), ``foreign_en``, ``foreign_xx`` (a half
    lost more than `max_lost` of its letters), ``duplicate`` (both halves equal those of an earlier pair). ``en``
    stands for the base language and ``xx`` for the other, as in the table.

    Args:
        sources: specifications of sources (see :mod:`lorebridge.corpora.sources`).
        paths: the path of each source, None where it has none.
        base: the code of the language trained first.
        lang: the code of the other one.
        letters_base: its letters policy.
        letters_xx: that of the other.
        max_lost: the largest share of letters that a half may lose.
        pairs: the table to write.
        audit: the JSON to write, see :meth:`Audit.as_json`.

    Raises:
        InputError: a source cannot be read, a row is malformed, an identity comes twice, or no pair is left.
    """
    filters = {"en": (base, LetterFilter(letters_base)), "xx": (lang, LetterFilter(letters_xx))}
    identities, duplicates, counts = _Identities(), _Duplicates(), Audit(list(filters))

    def kept() -> Iterator[dict[str, Any]]:
        for _, source in _open(sources, paths, [base, lang]):
            for row in tqdm(source.rows(0, 1), desc=source.name, unit=" rows", mininterval=1):
                label = row.label("source", source.name)
                pair_id = identities.make(row, label, row.key)
                before = {half: row.string(code) for half, (code, _) in filters.items()}
                after = {half: letter_filter.clean(before[half]) for half, (_, letter_filter) in filters.items()}
                reason = _pair_reason(after, max_lost, duplicates)
                counts.note(label, pair_id, before, after, reason)
                if not reason:
                    yield {"pair_id": pair_id, "source": label, **{half: after[half].text for half in filters}}

    with tables.writer("pairs", pairs) as write:
        _write_batches(kept(), write)
    policies = {"en": dict(letters_base), "xx": dict(letters_xx)}
    result = {"lang": f"{base}-{lang}", "letters_policy": policies, **counts.as_json()}
    log.info("%s: kept %d of %d pairs, dropped %s", result["lang"], result["kept"], result["rows"], result["dropped"])
    _write_json(result, audit)
    _require_kept(result, f"pairs {base}-{lang}", "Check the letters policies of both languages, and the sources.")


def _pair_reason(halves: Mapping[str, Cleaned], max_lost: float, duplicates: _Duplicates) -> str | None:
    """Return why a pair is dropped, or None."""
    for half, cleaned in halves.items():
        if not LETTER_OR_DIGIT.search(cleaned.text):
            return f"empty_{half}"
    for half, cleaned in halves.items():
        if cleaned.share_deleted > max_lost:
            return f"foreign_{half}"
    return "duplicate" if duplicates(*(cleaned.text for cleaned in halves.values())) else None


def filter_file(
    *, lang: str, letters: Mapping[str, str], source: Path, out: Path, min_chars: int, max_deleted: float
) -> dict[str, Any]:
    """Filter one file as :func:`filter_corpus` does, and return the audit.

    Args:
        lang: the language, for the audit.
        letters: ``{"keep": SCRIPT}`` or ``{"drop": SCRIPT}``.
        source: ``.jsonl``, ``.jsonl.gz`` or ``.parquet``; rows without a label are labelled with its name.
        out: ``.jsonl`` or ``.jsonl.gz`` with `id`, `title`, `text`, `source`, which can be a source again; or
            ``.parquet``, a table ``documents``.
        min_chars: the fewest characters of a document after filtering.
        max_deleted: the largest share of letters that may be deleted.

    Raises:
        InputError: the file cannot be read, a row is malformed, an identity comes twice, no document is left, or `out`
            has another suffix.
    """
    out = Path(out)
    name = Path(source).name.split(".")[0]
    counts = Audit(["text"])
    opened = _open([{"kind": "local", "name": name}], [source], ["text"])
    rows = _documents(opened, letters, min_chars, max_deleted, 0, 1, counts)
    if out.suffix == ".parquet":
        with tables.writer("documents", out) as write:
            _write_batches(rows, write)
    elif out.name.endswith((".jsonl", ".jsonl.gz")):
        _write_jsonl(rows, out)
    else:
        raise InputError(out, "not a format that is written", "Use .jsonl, .jsonl.gz or .parquet.")
    result = {"lang": lang, "letters_policy": dict(letters), **counts.as_json()}
    _require_kept(result, str(source), f"Check that the file is in the language {lang}, and min_chars and max_deleted.")
    return result


def _write_jsonl(documents: Iterable[Mapping[str, Any]], out: Path) -> None:
    """Write documents as rows of a source, in the same bytes every time."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial")
    with partial.open("wb") as raw:
        file = gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) if out.suffix == ".gz" else raw
        with cast(Any, file):
            for document in documents:
                row = {"id": document["doc_id"].removeprefix(document["source"] + "/")}
                row |= {key: document[key] for key in ("title", "text", "source")}
                file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    partial.replace(out)
