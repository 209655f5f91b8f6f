"""What can be told of the specification of a source before anything is read: its keys, its name, its file's format.

Nothing here opens a file or imports a library, so that a dry run stays fast.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

SUFFIXES = (".jsonl", ".jsonl.gz", ".tsv", ".tsv.gz", ".parquet")
ZIP = ".zip"
"""How the names of files that are read end; a zip of line-aligned files holds pairs alone."""
NLLB_COLUMNS = (
    "laser_score",
    "source_sentence_lid",
    "target_sentence_lid",
    "source_sentence_source",
    "source_sentence_url",
    "target_sentence_source",
    "target_sentence_url",
)
"""The columns of a file of NLLB after the two sentences."""

Problem = tuple[str, str, str]
"""Key below the source, what is wrong, and the mend."""


class RepeatedKey(ValueError):
    """A key stands twice in a JSON object, of which JSON takes the last."""


def unique_keys(of: Collection[str] | None = None) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """Return an ``object_pairs_hook`` of :func:`json.loads` that refuses objects in which a key stands twice.

    Args:
        of: the keys that may not; None for all.

    Raises:
        RepeatedKey: by what is returned; names the key.
    """

    def row(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            for key, n in Counter(key for key, _ in pairs).items():
                if n > 1 and (of is None or key in of):
                    raise RepeatedKey(f"the key {key!r} stands twice")
        return found

    return row


def endings(spec: Mapping[str, Any], languages: Sequence[str]) -> dict[str, str]:
    """Return language -> how its file in a zip of OPUS ends: as `pair` or `fields` says.

    >>> endings({"pair": "en-zh_cn"}, ["en", "zh"])
    {'en': 'en', 'zh': 'zh_cn'}

    Raises:
        ValueError: names a language that neither says.
    """
    found = dict(spec.get("fields") or {})
    for language in languages:
        parts = [part for part in spec["pair"].split("-") if part.split("_")[0].lower() == language]
        if language not in found and len(parts) != 1:
            raise ValueError(language)
        found.setdefault(language, *parts)
    return found


def is_tsv(path: str) -> bool:
    """Return whether a file is one of tab-separated values, by its name."""
    return path.endswith((".tsv", ".tsv.gz"))


def check_source(spec: Mapping[str, Any], required: Sequence[str], optional: Sequence[str]) -> Iterator[Problem]:
    """Yield what is wrong with a source, by its specification alone.

    Args:
        spec: of the configuration, as the schema admits it.
        required: the columns that every row must have: ``text``, or the two languages of pairs.
        optional: the columns that a row may have.
    """
    kind, path, fields = spec["kind"], spec.get("path", ""), spec.get("fields") or {}
    pairs = len(required) > 1
    if pairs and "min_chars" in spec:
        yield "min_chars", "is for documents: pairs have no rule of length", "Leave it out."
    if not pairs and kind in ("opus", "nllb"):
        yield "kind", f"{kind} is parallel text", "Name it under `parallel`, or give a corpus of documents here."
    if kind == "local":
        known = (*SUFFIXES, ZIP) if pairs else SUFFIXES
        if not path.endswith(known):
            yield "path", f"{PurePath(path).name} is not in a format that is read", f"Use one of {', '.join(known)}."
        if spec.get("columns") and not is_tsv(path):
            yield "columns", f"says nothing of {PurePath(path).name}, whose columns have names", "Leave it out."
    if spec.get("data_files"):
        for key, nothing in (("config", None), ("split", "train")):
            if spec.get(key, nothing) != nothing:
                yield key, "says nothing where `data_files` names the files", "Leave out either."
    if kind == "planted":
        return
    readable = list(required) if kind == "opus" or path.endswith(ZIP) else [*required, *optional]
    for name in fields:
        if name not in readable:
            yield f"fields.{name}", "is not read", f"Name a column for one of {', '.join(readable)}, or leave it out."
    if kind == "opus" and pairs:
        try:
            endings(spec, required)
        except ValueError as error:
            yield (
                "pair",
                f"{spec['pair']!r} does not say how the file in the language {error} ends",
                f"Write it as OPUS spells it, or name the ending: `fields: {{{error}: ENDING}}`.",
            )
    columns = [*spec["pair"].split("-"), *NLLB_COLUMNS] if kind == "nllb" else spec.get("columns") or []
    if columns and (kind == "nllb" or is_tsv(path)):
        for name in [*required, *(name for name in fields if name not in required)]:
            if name in readable and fields.get(name, name) not in columns:
                yield (
                    f"fields.{name}",
                    f"there is no column `{fields.get(name, name)}` (there is {', '.join(f'`{c}`' for c in columns)})",
                    f"Name the column that holds it: `fields: {{{name}: COLUMN}}`.",
                )


def check_sources(section: str, lang: str, base: str, sources: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    """Yield what is wrong with the sources of a corpus or a parallel text, by their specifications alone.

    Args:
        section: ``corpora`` or ``parallel``.
        lang: the language.
        base: the language trained first.
        sources: their specifications.

    Yields:
        key of the configuration, what is wrong, and the mend.
    """
    required = ["text"] if section == "corpora" else [base, lang]
    optional = ["id", "title", "source"] if section == "corpora" else ["source"]
    seen: set[str] = set()
    for place, spec in enumerate(sources):
        where = f"{section}.{lang}.sources.{place}"
        if spec["name"] in seen:
            yield f"{where}.name", f"{spec['name']!r} is the name of another source here", "Give each its own name."
        seen.add(spec["name"])
        for key, what, mend in check_source(spec, required, optional):
            yield f"{where}.{key}", what, mend
