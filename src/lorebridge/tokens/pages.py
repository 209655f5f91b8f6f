"""Pages: the documents that every language of a page-parallel corpus has."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.corpora.pieces import KEY, check_numbering, numbered_by, numbering
from lorebridge.errors import InputError
from lorebridge.tokens.store import Store

log = logging.getLogger("lorebridge.tokens")

BY = ("doc_id", "key", "title")
"""What may tell that documents are one page: the whole identity; what follows the source's name in it, which is the
row's key there; the title."""


def build_pages(
    *, documents: Mapping[str, Sequence[Path]], stores: Mapping[str, Path], by: str, out: Path
) -> dict[str, Any]:
    """Join the documents of several languages to pages, and write table "pages".

    A page is what all languages have one document of. Documents that some language has no counterpart of, or several,
    are no pages: they are counted, and a study of pages lays none of them out. Rows are sorted by language, then piece;
    the metadata (key ``pieces``) holds the numbering of the pieces of each language.

    Args:
        documents: language -> tables "documents", in the order of its token store.
        stores: language -> token store of these documents.
        by: one of :data:`BY`.
        out: where to write.

    Returns:
        Notes: ``n_pages``, and of each language ``n_documents, n_tokens, no_counterpart, repeated, unnamed`` (documents
        that are no pages, by why) and ``tokens_left_out`` (theirs).

    Raises:
        InputError: `by` is unknown; languages of which no document or no store is given; a store of other documents; no
            page at all.
    """
    if by not in BY:
        raise InputError("pages.by", f"{by!r} is unknown", f"It is one of {', '.join(BY)}.")
    if set(documents) != set(stores):
        raise InputError(
            "pages",
            f"documents of {', '.join(sorted(documents))}, but stores of {', '.join(sorted(stores))}",
            "Give both of each language.",
        )
    found, notes, numbered = {}, {}, {}
    for lang in sorted(documents):
        found[lang] = _documents(lang, documents[lang], Store.open(stores[lang]), by)
        numbered[lang] = numbering(documents[lang])
    common: set[str] | None = None
    for frame in found.values():
        single = set(frame.loc[frame["state"] == "page", "page_id"])
        common = single if common is None else common & single
    if not common:
        raise InputError(
            "pages",
            f"no document of {', '.join(sorted(documents))} has the same {by} in all of them",
            f"Join by {' or '.join(each for each in BY if each != by)}, or give text of the same pages.",
        )
    for lang, frame in found.items():
        lonely = (frame["state"] == "page") & ~frame["page_id"].isin(common)
        frame.loc[lonely, "state"] = "no_counterpart"
        counts = frame["state"].value_counts()
        notes[lang] = {
            "n_documents": len(frame),
            "n_tokens": int(frame["n_tokens"].sum()),
            **{state: int(counts.get(state, 0)) for state in ("no_counterpart", "repeated", "unnamed")},
            "tokens_left_out": int(frame.loc[frame["state"] != "page", "n_tokens"].sum()),
        }
    rows = pd.concat([frame[frame["state"] == "page"].assign(lang=lang) for lang, frame in found.items()])
    tables.write("pages", rows.drop(columns="state"), out, {KEY: json.dumps(numbered, sort_keys=True)})
    log.info("%d pages of %s: %s", len(common), ", ".join(sorted(documents)), notes)
    return {"n_pages": len(common), "languages": notes}


def _documents(lang: str, paths: Sequence[Path], store: Store, by: str) -> pd.DataFrame:
    """Return the documents of a language, with what each is: a page so far, ``repeated`` or ``unnamed``."""
    check_numbering(store.path, store.notes.get(KEY), numbering(paths))
    frame = pd.concat([tables.read(path, ["doc_id", "title"]) for path in paths], ignore_index=True)
    if len(frame) != len(store):
        raise InputError(
            store.path,
            f"{len(store)} documents, but the tables of {lang} have {len(frame)}",
            "Remake it with its rule.",
        )
    if by == "key":
        frame["page_id"] = frame["doc_id"].str.partition("/")[2]
    else:
        frame["page_id"] = frame[by]
    named = frame["page_id"].fillna("").str.strip() != ""
    frame["state"] = np.where(~named, "unnamed", np.where(frame["page_id"].duplicated(keep=False), "repeated", "page"))
    frame["piece"] = np.arange(len(frame), dtype=np.int32)
    frame["n_tokens"] = store.lengths
    return frame


def read_pages(path: Path | str) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """Read the pages of each language, sorted by piece, and the numbering of its pieces.

    Raises:
        InputError: the table is missing or damaged, or keeps no numbering.
    """
    frame = tables.read(path)
    try:
        numbered = json.loads(numbered_by(path) or "")
    except ValueError as error:
        raise InputError(path, "does not say which pieces it numbers", "Remake it with its rule.") from error
    return {str(lang): rows.reset_index(drop=True) for lang, rows in frame.groupby("lang", sort=True)}, numbered
