"""A sample of what the filters kept, for a person to read before models do, with what can be counted without one.

A thousand documents chosen by the digests of their ids, so that the sample is the same whenever it is drawn from the
same corpus, and a larger one holds it. The counts are suspicions, not verdicts: letters cannot tell two languages of
one script apart, which is what reading is for.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import regex
from statsmodels.stats.proportion import proportion_confint

from lorebridge import publish, tables
from lorebridge.corpora.documents import EDITS
from lorebridge.corpora.scripts import LetterFilter, by_script
from lorebridge.sheets import write_rows

SHORT = 200
"""Characters below which a document is called short, whatever the study's own limit is."""
OTHER_SCRIPT = 0.1
"""Share of letters outside the language's script from which on a text is suspicious."""
FEW_LETTERS = 0.5
"""Share of letters and marks among the characters that are no space, below which a text is digits or debris."""
UNLIKE_LENGTHS = 3.0
"""Factor between a pair's ratio of lengths and the middle one from which on the halves may not say the same."""

_OPENING = 100  # letters
_EXCERPT = 400  # characters
_NOT_LETTER = regex.compile(r"[^\p{L}\p{M}]+")
_NOT_WORD = regex.compile(r"[^\p{L}\p{M}\p{N}]+")
_SPACE = regex.compile(r"\s+")
_MARKUP = regex.compile(r"\{\{|\}\}|\[\[|\]\]|</?[a-z]+[^<>]*>|&#?[a-z0-9]+;|https?://|\|-", regex.IGNORECASE)


def sample_documents(
    *, lang: str, script: str, shards: Sequence[Path], audit: Path, font: Path | None, n: int, out: Path
) -> pd.DataFrame:
    """Write a sample of a filtered corpus as LANG.csv and LANG.html, and return what was counted.

    Suspicions: "short" (:data:`SHORT`), "other script" (:data:`OTHER_SCRIPT` of the letters), "few letters"
    (:data:`FEW_LETTERS`), "markup" (brackets, tags, entities or addresses), "opening repeated" (another document of the
    whole corpus begins with the same 100 letters: boilerplate, or a duplicate that the filter left).

    Args:
        lang: code of the language.
        script: its Unicode script.
        shards: its tables "documents".
        audit: the audit of its filter, for what was dropped and edited.
        font: a TrueType font of the script, which is put beside the page for browsers that have none.
        n: documents of the sample.
        out: a folder.

    Returns:
        columns corpus, suspicion, n (documents read), count, share, lo, hi (95 %, Wilson).
    """
    rows, total, repeated = _draw(shards, "doc_id", ["title", "text", "source", "n_chars"], "text", n)
    texts = [row["text"] for row in rows]
    letters, other = _letters(texts, script)
    suspicions = {
        "short": [row["n_chars"] < SHORT for row in rows],
        "other script": other,
        "few letters": [_few_letters(text) for text in texts],
        "markup": [_MARKUP.search(text) is not None for text in texts],
        "opening repeated": repeated,
    }
    shown = pd.DataFrame(
        {
            "doc_id": [row["doc_id"] for row in rows],
            "source": [row["source"] for row in rows],
            "suspicions": _joined(suspicions),
            "n_chars": [row["n_chars"] for row in rows],
            "letters": letters,
            "title": [row["title"] for row in rows],
            "text": [text[:_EXCERPT] for text in texts],
        }
    )
    return _write(lang, f"documents of {lang}", shown, total, suspicions, audit, font, out)


def sample_pairs(
    *, base: str, lang: str, scripts: Mapping[str, str], pairs: Path, audit: Path, font: Path | None, n: int, out: Path
) -> pd.DataFrame:
    """Write a sample of the parallel text of a language as BASE-LANG.csv and .html, and return what was counted.

    Suspicions: "empty half" (without a letter or digit), "same text" (both halves are the same words: nothing was
    translated), "unlike lengths" (characters of one half to those of the other, :data:`UNLIKE_LENGTHS` times more or
    less than the sample's median), "other script" (of either half), "opening repeated" (another pair's half in the base
    language begins with the same 100 letters).

    Args:
        base: code of the base language.
        lang: code of the other.
        scripts: language -> its Unicode script.
        pairs: the table "pairs".
        audit: the audit of its filter.
        font: as of :func:`sample_documents`.
        n: pairs of the sample.
        out: a folder.

    Returns:
        as :func:`sample_documents`.
    """
    rows, total, repeated = _draw([pairs], "pair_id", ["en", "xx", "source"], "en", n)
    halves = {base: [row["en"] for row in rows], lang: [row["xx"] for row in rows]}
    words = {name: [_NOT_WORD.sub("", text).casefold() for text in texts] for name, texts in halves.items()}
    ratios = np.array([len(xx) / max(len(en), 1) for en, xx in zip(halves[base], halves[lang], strict=True)])
    apart = np.abs(np.log(ratios.clip(min=1e-6) / np.median(ratios))) > np.log(UNLIKE_LENGTHS)
    letters = {name: _letters(texts, scripts[name]) for name, texts in halves.items()}
    suspicions = {
        "empty half": [not (a and b) for a, b in zip(words[base], words[lang], strict=True)],
        "same text": [a == b != "" for a, b in zip(words[base], words[lang], strict=True)],
        "unlike lengths": apart.tolist(),
        "other script": [a or b for a, b in zip(letters[base][1], letters[lang][1], strict=True)],
        "opening repeated": repeated,
    }
    shown = pd.DataFrame(
        {
            "pair_id": [row["pair_id"] for row in rows],
            "source": [row["source"] for row in rows],
            "suspicions": _joined(suspicions),
            "length_ratio": ratios.round(2),
            f"{lang}_letters": letters[lang][0],
            base: [text[:_EXCERPT] for text in halves[base]],
            lang: [text[:_EXCERPT] for text in halves[lang]],
        }
    )
    return _write(f"{base}-{lang}", f"pairs of {base} and {lang}", shown, total, suspicions, audit, font, out)


def _draw(
    paths: Sequence[Path], key: str, columns: Sequence[str], text: str, n: int
) -> tuple[list[dict[str, Any]], int, list[bool]]:
    """Return a sample of the rows of some tables, how many rows there are, and which of the sample open like others.

    Args:
        paths: tables of one schema.
        key: the column of identities: the sample are the rows whose identities have the smallest digests.
        columns: further columns.
        text: the column whose openings are compared, with those of all rows.
        n: rows of the sample.
    """
    smallest: list[tuple[int, int, dict[str, Any]]] = []  # the largest digest first, to be replaced
    openings: list[npt.NDArray[np.uint64]] = []
    total = 0
    for path in paths:
        for batch in tables.batches(path, [key, *columns]):
            openings.append(np.fromiter((_opening(row[text]) for row in batch), np.uint64, len(batch)))
            for row in batch:
                entry = (-_digest(row[key]), -total, row)
                total += 1
                if len(smallest) < n:
                    heapq.heappush(smallest, entry)
                elif entry > smallest[0]:
                    heapq.heapreplace(smallest, entry)
    rows = [row for _, _, row in sorted(smallest, reverse=True)]
    own = np.array([_opening(row[text]) for row in rows], np.uint64)
    alike = np.concatenate(openings) if openings else own
    found, counts = np.unique(alike[np.isin(alike, own)], return_counts=True)
    often = dict(zip(found.tolist(), counts.tolist(), strict=True))
    return rows, total, [often[opening] > 1 for opening in own.tolist()]


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _opening(text: str) -> int:
    """Return a digest of the first letters of a text, without case, spaces, digits and signs."""
    return _digest(_NOT_LETTER.sub("", text[: 8 * _OPENING])[:_OPENING].casefold())


def _letters(texts: Sequence[str], script: str) -> tuple[list[str], list[bool]]:
    """Return the letters of each text by script, as text, and whether too many are of another than `script`."""
    counted = LetterFilter({"keep": script}).clean(pa.array(texts, pa.string())).letters
    names = [by_script(row) for row in counted]
    shown = [", ".join(f"{name} {count}" for name, count in row.items()) for row in names]
    return shown, [1 - row.get(script, 0) / sum(row.values()) > OTHER_SCRIPT if row else False for row in names]


def _few_letters(text: str) -> bool:
    return len(_NOT_LETTER.sub("", text)) < FEW_LETTERS * len(_SPACE.sub("", text))


def _joined(suspicions: Mapping[str, Sequence[bool]]) -> list[str]:
    """Return the suspicions of each row, as text."""
    return [
        "; ".join(name for name, hit in zip(suspicions, row, strict=True) if hit)
        for row in zip(*suspicions.values(), strict=True)
    ]


def _write(
    name: str,
    what: str,
    shown: pd.DataFrame,
    total: int,
    suspicions: Mapping[str, Sequence[bool]],
    audit: Path,
    font: Path | None,
    out: Path,
) -> pd.DataFrame:
    """Write the sample as a table for spreadsheets and as a page, and return the counts of its suspicions."""
    n = len(shown)
    rates = []
    for suspicion, hits in suspicions.items():
        lo, hi = proportion_confint(sum(hits), n, method="wilson") if n else (np.nan, np.nan)
        rates.append(
            {
                "corpus": name,
                "suspicion": suspicion,
                "n": n,
                "count": sum(hits),
                "share": sum(hits) / n if n else np.nan,
                "lo": lo,
                "hi": hi,
            }
        )
    table = pd.DataFrame(rates)
    write_rows(out / f"{name}.csv", shown.to_dict("records"), list(shown.columns))
    told = json.loads(audit.read_text(encoding="utf-8"))
    page = [
        f"<h1>{n:,} of {total:,} {escape(what)}</h1>",
        "<p>Chosen by the digests of their ids. Read them: do they say something, in this language, once, as a person "
        "would have written it? The suspicions are counted by machine; 95 % intervals (Wilson).</p>",
        _html(table.drop(columns="corpus"), {key: "{:.1%}".format for key in ("share", "lo", "hi")}),
        "<h2>What the filter did</h2>",
        *_filter_told(told),
        "<h2>The sample</h2>",
        _html(shown),
    ]
    face = ""
    if font is not None:
        with publish.whole(out / font.name) as partial:
            shutil.copyfile(font, partial)
        face = f"@font-face{{font-family:sample;src:url('{font.name}')}}td{{font-family:sans-serif,sample}}"
    style = (
        f"{face}body{{font-family:sans-serif;margin:2em}}table{{border-collapse:collapse}}"
        "td,th{border:1px solid #ccc;padding:.3em;vertical-align:top;text-align:left}"
    )
    head = (
        f'<!DOCTYPE html><html><head><meta charset="utf-8"><title>{escape(what)}</title><style>{style}</style></head>'
    )
    text = "\n".join([head, "<body>", *page, "</body></html>"]) + "\n"
    publish.write_text(out / f"{name}.html", text)
    return table


def _filter_told(audit: Mapping[str, Any]) -> Iterator[str]:
    """Yield what an audit says of a filter: counts, the share of letters deleted, and samples before and after."""
    counts = {"read": audit["rows"], "kept": audit["kept"], "held out": audit["heldout"], "edited": audit["edited"]}
    counts |= {f"dropped: {reason}": n for reason, n in audit["dropped"].items()}
    yield _html(pd.DataFrame({"documents or pairs": counts.keys(), "number": counts.values()}))
    for column, letters in audit["letters"].items():
        before, after = (
            ", ".join(f"{script} {n:,}" for script, n in letters[when].items()) for when in ("before", "after")
        )
        yield (
            f"<p>Letters of <i>{escape(column)}</i> as read: {escape(before or 'none')}; kept: "
            f"{escape(after or 'none')}.</p>"
        )
    edits = ", ".join(f"{n['characters']:,} {EDITS[kind]} (in {n['rows']:,})" for kind, n in audit["edits"].items())
    yield f"<p>Of those that stayed: {edits}.</p>"
    for kind, samples in audit["samples"].items():
        yield f"<h3>{'Edited' if kind == 'edited' else f'Dropped: {escape(kind)}'}, for example</h3>"
        yield _html(pd.DataFrame(samples))


def _html(table: pd.DataFrame, formatters: Mapping[str, Callable[[Any], str]] | None = None) -> str:
    """Return a table as HTML; where a line of a text ends, there is a pilcrow."""
    table = table.map(lambda value: value.replace("\n", " ¶ ") if isinstance(value, str) else value)
    with pd.option_context("display.max_colwidth", None):
        return table.to_html(index=False, escape=True, border=0, formatters=dict(formatters or {}))
