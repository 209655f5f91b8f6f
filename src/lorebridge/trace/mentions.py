"""Which texts name the subject of a question, and which state its answer: every text read, nothing ranked or cut off.

The rule is that of the judge of co-occurrence (:class:`lorebridge.trace.judges.CoOccurrence`): a text states a fact
where one window of sentences holds the subject and the gold. What differs is the search. All phrases of all questions
are looked for at once with an Aho-Corasick automaton (Aho and Corasick 1975, "Efficient string matching"), so that a
text is read once however many questions there are.

A subject is found once (:func:`lorebridge.trace.subjects.find_subjects`), and then looked for in every text of that
language (:func:`find_mentions`): so the counts over a corpus, over parallel text and over what a run consumed compare.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import ahocorasick
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import regex
from tqdm import tqdm

from lorebridge import tables
from lorebridge.corpora.chunks import cut
from lorebridge.corpora.pieces import KEY, numbering
from lorebridge.errors import InputError
from lorebridge.trace.analysis import Hangul, Script, script_of
from lorebridge.trace.asked import Asked, read_asked

log = logging.getLogger("lorebridge.trace")

Result = TypeVar("Result")


class Block(NamedTuple):
    """A row group of a table: its file, its index, and the number of its first row among all files' rows."""

    path: Path
    group: int
    first: int


@dataclasses.dataclass
class Mention:
    """What one text says about one question.

    Attributes:
        subject: whether one window names the subject: holds all its terms, or an alias.
        object: whether a sentence holds the gold.
        n_statements: sentences with the gold in a window that holds the subject.
        n_chunks: chunks that state the fact.
        distractors: the distractors that some chunk would state.
        n_distractor_chunks: over the chunks, the sum of the numbers of distractors that each would state.
    """

    subject: bool = False
    object: bool = False
    n_statements: int = 0
    n_chunks: int = 0
    distractors: set[int] = dataclasses.field(default_factory=set)
    n_distractor_chunks: int = 0


class Matcher:
    """Looks for the subjects and answers of many questions in a text at once.

    Args:
        asked: what is looked for.
        script: the Unicode script that texts are read by.
        window: how many consecutive sentences count as standing together.
        max_chars: texts are read in chunks of at most so many characters, as retrieval and judges see them.
    """

    def __init__(self, asked: Sequence[Asked], script: str, *, window: int, max_chars: int) -> None:
        """Build the automaton."""
        self.asked = asked
        self.script = script_of(script)
        self.window = window
        self.max_chars = max_chars
        self._phrases: dict[str, int] = {}
        self._patterns: list[regex.Pattern[str]] = []
        openings: dict[str, list[int]] = defaultdict(list)
        for text in dict.fromkeys(text for one in asked for text in _searched(one)):
            pattern = self.script.phrase(text)
            assert pattern is not None
            self._phrases[text] = len(self._patterns)
            openings[_opening(self.script, text)].append(len(self._patterns))
            self._patterns.append(pattern)
        self._automaton = ahocorasick.Automaton()
        for opening, phrases in openings.items():
            self._automaton.add_word(opening, (len(opening) - 2, phrases))
        self._automaton.make_automaton()
        self._wordings = [[[self._phrases[term] for term in terms] for terms in one.wordings] for one in asked]
        self._gold = [self._phrases[one.gold] if one.gold is not None else None for one in asked]
        self._distractors = [[self._phrases[option] for option in one.distractors] for one in asked]
        self._by_term: dict[int, list[int]] = defaultdict(list)
        self._by_gold: dict[int, list[int]] = defaultdict(list)
        for number, (wordings, gold) in enumerate(zip(self._wordings, self._gold, strict=True)):
            for terms in wordings:
                self._by_term[terms[0]].append(number)
            if gold is not None:
                self._by_gold[gold].append(number)

    def find(self, text: str) -> dict[int, Mention]:
        """Return what a text says about the questions (by their place in `asked`) that it says something about."""
        found: dict[int, Mention] = {}
        for chunk in cut(text, self.max_chars):
            places, last = self._places(chunk)
            for phrase in places.keys() & self._by_gold.keys():
                for number in self._by_gold[phrase]:
                    found.setdefault(number, Mention()).object = True
            for number in {n for phrase in places.keys() & self._by_term.keys() for n in self._by_term[phrase]}:
                self._examine(number, places, last, found)
        return found

    def _places(self, chunk: str) -> tuple[dict[int, set[int]], int]:
        """Return for each phrase of a chunk the sentences that hold it, and the number of the last window."""
        sentences = [self.script.searchable(sentence) for sentence in self.script.sentences(chunk)]
        starts = list(itertools.accumulate(map(len, sentences), initial=0))[:-1]
        # Two spaces part one sentence's words from the next one's, so no phrase runs on from one into another.
        joined = "".join(sentences)
        places: dict[int, set[int]] = defaultdict(set)
        if self._patterns:
            for end, (back, phrases) in self._automaton.iter(joined):
                for phrase in phrases:
                    if self._patterns[phrase].match(joined, end - back):
                        places[phrase].add(bisect_right(starts, end - back) - 1)
        return places, max(len(sentences) - self.window, 0)

    def _windows(self, sentences: Iterable[int], last: int) -> set[int]:
        """Return the windows that hold some of these sentences."""
        return {
            window
            for sentence in sentences
            for window in range(max(sentence - self.window + 1, 0), min(sentence, last) + 1)
        }

    def _examine(self, number: int, places: Mapping[int, set[int]], last: int, found: dict[int, Mention]) -> None:
        """Note what a chunk says about a question of whose subject it holds a term."""
        about: set[int] = set()
        for terms in self._wordings[number]:
            if all(term in places for term in terms):
                about |= set.intersection(*(self._windows(places[term], last) for term in terms))
        if not about:
            return
        mention = found.setdefault(number, Mention())
        mention.subject = True
        gold = self._gold[number]
        if gold is not None and gold in places:
            stated = sum(not about.isdisjoint(self._windows([sentence], last)) for sentence in places[gold])
            mention.n_statements += stated
            mention.n_chunks += stated > 0
        near = {
            place
            for place, option in enumerate(self._distractors[number])
            if option in places and not about.isdisjoint(self._windows(places[option], last))
        }
        mention.distractors |= near
        mention.n_distractor_chunks += len(near)


def _searched(asked: Asked) -> Iterator[str]:
    yield from itertools.chain.from_iterable(asked.wordings)
    if asked.gold is not None:
        yield asked.gold
    yield from asked.distractors


def _opening(script: Script, phrase: str) -> str:
    """Return what every match of a phrase begins with, from the space before its first word."""
    words = script.words(phrase)
    # Korean lets a particle follow each word of a phrase, the other scripts the last word alone.
    words = words[:1] if isinstance(script, Hangul) else [*words[:-1], script.base(words[-1])]
    return " " + " ".join(words)


def find_mentions(
    *,
    stream: str,
    script: str,
    window: int,
    max_chars: int,
    cultures: Sequence[str],
    texts: Sequence[Path],
    column: str,
    subjects: Path,
    out: Path,
    workers: int = 1,
) -> dict[str, int]:
    """Find every text of a stream that names a subject or an answer, and write table "mentions".

    Args:
        stream: the name of the text, which nobody parses.
        script: the Unicode script that the stream is read by.
        window: how many consecutive sentences count as standing together.
        max_chars: the most characters of a chunk.
        cultures: whose questions.
        texts: the tables that the stream's token store was made from, in the same order; a text is known by the number
            of its row, which is its document's number in the store.
        column: the column of text.
        subjects: table "subjects" of the stream's language.
        out: where to write.
        workers: processes that read the texts.

    Returns:
        Notes for the record: the number of texts, of rows, and of texts that state a fact (counted for each question).

    Raises:
        InputError: a table cannot be read, the subjects lack a culture, or a window or chunk is below 1.
    """
    if window < 1 or max_chars < 1:
        raise InputError("window, max_chars", f"{window}, {max_chars}: nothing fits", "Give 1 or more of each.")
    asked = read_asked(subjects, cultures)
    todo = blocks(texts)
    n_rows = n_stated = 0
    with tables.writer("mentions", out, metadata={KEY: numbering(texts)}) as write:
        match = functools.partial(_match, column=column)
        setup = (asked, script, window, max_chars)
        for rows in over_blocks(todo, match, workers=workers, what=f"mentions {stream}", setup=setup):
            write(rows)
            n_rows += len(rows)
            n_stated += sum(row["n_chunks"] > 0 for row in rows)
    n_texts = sum(pq.read_metadata(path).num_rows for path in texts)
    return {"n_texts": n_texts, "n_rows": n_rows, "n_stated": n_stated}


_matcher: Matcher | None = None  # of this process: built once, used for every block


def _prepare(asked: Sequence[Asked], script: str, window: int, max_chars: int) -> None:
    """Build this process's matcher."""
    global _matcher
    _matcher = Matcher(asked, script, window=window, max_chars=max_chars)


def prepared() -> Matcher:
    """Return the matcher of this process, which :func:`over_blocks` has built by its `setup`."""
    assert _matcher is not None
    return _matcher


def _match(block: Block, *, column: str) -> list[dict[str, Any]]:
    """Return the rows of table "mentions" for a block of texts."""
    matcher = prepared()
    rows = []
    for piece, text in enumerate(block_texts(block, column), block.first):
        for number, mention in sorted(matcher.find(text).items()):
            asked = matcher.asked[number]
            controlled = bool(asked.terms) and bool(asked.distractors)
            rows.append(
                {
                    "question_id": asked.question_id,
                    "piece": piece,
                    "subject": mention.subject,
                    "object": mention.object,
                    "n_statements": mention.n_statements,
                    "n_chunks": mention.n_chunks,
                    "distractor_documents": len(mention.distractors) / len(asked.distractors) if controlled else None,
                    "distractor_chunks": mention.n_distractor_chunks / len(asked.distractors) if controlled else None,
                }
            )
    return rows


def blocks(paths: Sequence[Path]) -> list[Block]:
    """Return the row groups of some tables, in order.

    Raises:
        InputError: one of them is missing or is not Parquet.
    """
    found = []
    first = 0
    for path in paths:
        try:
            metadata = pq.read_metadata(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(
                path, f"cannot be read as a Parquet table ({error})", "Remake it with its rule."
            ) from error
        for group in range(metadata.num_row_groups):
            found.append(Block(path, group, first))
            first += metadata.row_group(group).num_rows
    return found


def block_texts(block: Block, column: str) -> list[str]:
    """Return a column of text of a block."""
    with pq.ParquetFile(block.path, page_checksum_verification=True) as file:
        return file.read_row_group(block.group, columns=[column])[column].to_pylist()


def over_blocks(
    todo: Sequence[Block],
    work: Callable[[Block], Result],
    *,
    workers: int,
    what: str,
    setup: tuple[Sequence[Asked], str, int, int] | None = None,
) -> Iterator[Result]:
    """Yield `work` of every block, in order, so that the number of workers does not show in the result."""
    bar = functools.partial(tqdm, total=len(todo), desc=what, unit="block", mininterval=1)
    if workers == 1 or len(todo) < 2:
        if setup:
            _prepare(*setup)
        yield from bar(map(work, todo))
        return
    initializer: dict[str, Any] = {"initializer": _prepare, "initargs": setup} if setup else {}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), **initializer) as pool:
        yield from bar(pool.map(work, todo))


def read_mentions(path: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read table "mentions" with its question ids as a category: a Wikipedia has tens of millions of rows.

    Args:
        path: the table.
        columns: those wanted beside `question_id` and `piece`.

    Raises:
        InputError: the table cannot be read.
    """
    try:
        table = pq.read_table(
            path,
            columns=["question_id", "piece", *columns],
            read_dictionary=["question_id"],
            page_checksum_verification=True,
        )
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(path, f"cannot be read as a Parquet table ({error})", "Remake it with its rule.") from error
    return table.to_pandas()
