"""How many texts name each person: whether those who are asked about are kept out of the language that is learned.

A name is found as it is spelled in the base language, as whole words. The corpora of the other languages have lost
these letters, so that nothing is found there unless the filter failed; a name spelled in another script is not seen.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import ahocorasick
import pyarrow.parquet as pq
import regex

from lorebridge import tables
from lorebridge.corpora.people import name_list
from lorebridge.trace.analysis import script_of
from lorebridge.trace.mentions import Block, block_texts, blocks, over_blocks

_WORD = regex.compile(r"\w")


def count_names(
    *,
    stream: str,
    lang: str,
    pairs: str | None,
    column: str,
    people: Path,
    texts: Sequence[Path],
    out: Path,
    workers: int = 1,
) -> dict[str, int]:
    """Write table "people_mentions": in how many texts of a stream each person is named.

    Args:
        stream: the name of the text, which nobody parses.
        lang: the language that it is in.
        pairs: of a half of parallel text, the language whose pairs these are.
        column: the column of text.
        people: table "people".
        texts: the tables of the stream.
        out: where to write.
        workers: processes that read the texts.

    Returns:
        notes for the record: ``n_texts``, ``n_people``, and ``n_named``, the people whom some text names.

    Raises:
        InputError: a table cannot be read.
    """
    named = name_list(people)
    count = functools.partial(_count, names=[name for _, name in named], column=column)
    found: Counter[str] = Counter()
    for part in over_blocks(blocks(texts), count, workers=workers, what=f"names {stream}"):
        found.update(part)
    told = {"stream": stream, "lang": lang, "pairs": pairs}
    tables.write(
        "people_mentions", [{"person_id": person, **told, "n_documents": found[name]} for person, name in named], out
    )
    n_texts = sum(pq.read_metadata(path).num_rows for path in texts)
    return {"n_texts": n_texts, "n_people": len(named), "n_named": sum(found[name] > 0 for _, name in named)}


def _count(block: Block, *, names: Sequence[str], column: str) -> Counter[str]:
    """Return name -> number of texts of a block that hold it as whole words."""
    automaton = ahocorasick.Automaton()
    seen = script_of("Latin").prepare
    for name in names:
        automaton.add_word(seen(name), (name, len(seen(name))))
    automaton.make_automaton()
    found: Counter[str] = Counter()
    for text in map(seen, block_texts(block, column)):
        inside = set()
        for end, (name, length) in automaton.iter(text):
            if name not in inside:
                first = end - length + 1
                before, after = text[max(first - 1, 0) : first], text[end + 1 : end + 2]
                if not _WORD.match(before) and not _WORD.match(after):
                    inside.add(name)
        found.update(inside)
    return found
