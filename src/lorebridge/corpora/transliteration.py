"""Rows of tuning that reason about how a name is written in other letters, from pairs of spellings, and their controls.

A lexicon says how people write the words of a language in Latin letters (Dakshina: Roark et al., LREC 2020). Of a name
that stands in a question in Latin letters there may be several words, its *candidates*. A row reasons in four steps:
the candidates, what is recalled of each, which of them the spelling and what is recalled speak for, and the answer.
Nothing of it is written by a model: the most attested candidate of which something is recalled is chosen, and a row
whose choice ends in another answer than the right one is left out, as is one that cannot choose.

Two controls have the same prompts and answers: the answer alone, and an answer behind as many characters of text that
names no candidate.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import itertools
import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorebridge import tables
from lorebridge.corpora.facts import json_rows
from lorebridge.corpora.traces import NONE, REASONED, UNRELATED
from lorebridge.errors import InputError
from lorebridge.records import fingerprint

NAME = "{name}"
NEUTRAL = (
    "Let me read the question once more before I answer it. It asks for one thing, and I should say no more than that. "
    "I take my time, go through it from the beginning to the end, and keep to what is asked. "
)
"""What a control thinks: words that say nothing of letters, spellings or names."""


@dataclasses.dataclass(frozen=True)
class Fact:
    """What is asked of a name.

    Attributes:
        entity: whose name it is.
        words: of the name, in the language's own letters.
        question: its wording, with :data:`NAME` where the name stands.
        answer: the right one.
    """

    entity: str
    words: tuple[str, ...]
    question: str
    answer: str

    @property
    def name(self) -> str:
        """The name as it is written."""
        return " ".join(self.words)


def transliteration(
    *,
    lexicon: Path,
    facts: Path | None,
    lang: str,
    asked_in: str,
    question: str,
    heldout: float,
    least: int,
    most: int,
    spellings: int,
    seed: int,
    reasoned_out: Path,
    answers_out: Path,
    unrelated_out: Path,
    heldout_out: Path,
    audit_out: Path,
) -> dict[str, Any]:
    """Write the rows of three tunings, the questions that are kept from them, and what became of every row.

    Words, spellings and entities that have one in common are on one side: what is held out is asked of words that no
    row names, in spellings that no row has, on entities that no row tells of.

    Args:
        lexicon: TSV without a heading, as Dakshina's: a word, a spelling of it in Latin letters, how many people wrote
            it so.
        facts: JSONL with the texts ``entity``, ``name``, ``question`` (with ``{name}``) and ``answer``; the words of
            names are those of the lexicon. None asks for the words themselves.
        lang: the language of the lexicon.
        asked_in: the language in whose letters spellings are asked.
        question: without `facts`, the wording, with ``{name}``.
        heldout: share of the groups of words that are held out.
        least: rows with fewer candidates are left out; 2 keeps those alone that are ambiguous.
        most: candidates of a row, the most attested first.
        spellings: rows of a fact at most, each with another spelling.
        seed: of what is held out, and of the words of the control.
        reasoned_out, answers_out, unrelated_out: tables "tuning", whose rows go together.
        heldout_out: table "open_questions": each in `lang`, with the name in its own letters, and in `asked_in`, with
            its most usual spelling. ``page`` names the group.
        audit_out: table "tuning_audit".

    Returns:
        Notes for the record: ``rows``, ``heldout``, ``groups``, and the mean characters of each kind of row.

    Raises:
        InputError: a row of a file is malformed, or nothing is left: names file and row.
    """
    book = Lexicon.read(lexicon)
    asked = _facts(facts) if facts else [Fact(word, (word,), question, word) for word in book.spellings]
    known: dict[tuple[str, str], set[str]] = defaultdict(set)
    for fact in asked:
        known[fact.question, fact.name].add(fact.answer)
    groups = _groups(book, asked)
    audit: Counter[tuple[str, str]] = Counter()
    rows: list[_Row] = []
    questions: list[dict[str, Any]] = []
    for number, fact in enumerate(asked):
        absent = [word for word in fact.words if word not in book.spellings]
        group = groups(fact.words[0])
        side = "held out" if _share(seed, group) < heldout else "tuned"
        if absent:
            audit[side, "left out: a word of the name is not in the lexicon"] += 1
            continue
        for spelling in itertools.islice(book.names(fact.words), 1 if side == "held out" else spellings):
            name = " ".join(spelling)
            candidates = book.candidates(spelling, most)
            if len(candidates) < least:
                audit[side, f"left out: fewer than {least} candidates"] += 1
                continue
            if side == "held out":
                audit[side, "made"] += 1
                questions += _asked(fact, name, f"{fact.entity}/{number}", group, lang, asked_in)
                continue
            made, why = _reason(book, fact, name, candidates, known, facts is not None)
            audit[side, why] += 1
            if made:
                rows.append(_Row(f"{number}/{name}", group, fact.question.replace(NAME, name), made, fact.answer))
                audit[side, "made, ambiguous"] += len(candidates) > 1
    for found, what in ((rows, "row"), (questions, "question held out")):
        if not found:
            raise InputError(lexicon, f"leaves no {what}", "Give more pairs, other facts, or another share held out.")
    control = _Control(book, groups, {row.group for row in rows}, seed)
    answers = {
        REASONED: (reasoned_out, [f"{row.reasoning} {_answer(row.answer)}" for row in rows]),
        NONE: (answers_out, [_answer(row.answer) for row in rows]),
        UNRELATED: (unrelated_out, [f"{control(row)} {_answer(row.answer)}" for row in rows]),
    }
    for out, texts in answers.values():
        said = [
            {"row_id": row.row_id, "prompt": row.prompt, "answer": text} for row, text in zip(rows, texts, strict=True)
        ]
        tables.write("tuning", said, out)
    tables.write("open_questions", questions, heldout_out)
    counted = [{"side": side, "what": what, "n_rows": n} for (side, what), n in sorted(audit.items())]
    tables.write("tuning_audit", counted, audit_out)
    return {
        "rows": len(rows),
        "heldout": len(questions) // 2,
        "groups": len({groups(word) for word in book.spellings}),
        "mean_chars": {trace: sum(map(len, texts)) / len(texts) for trace, (_, texts) in answers.items()},
    }


@dataclasses.dataclass(frozen=True)
class _Row:
    """A row whose reasoning ends where it should."""

    row_id: str
    group: str
    prompt: str
    reasoning: str
    answer: str


class Lexicon:
    """Words, and how people write them in other letters.

    Attributes:
        spellings: word -> spelling -> how many wrote it so, the most usual first.
        words: spelling -> word -> the same, the most usual first.
    """

    def __init__(self, pairs: Mapping[tuple[str, str], int]) -> None:
        """Sort pairs of a word and a spelling."""
        self.spellings: dict[str, dict[str, int]] = {}
        self.words: dict[str, dict[str, int]] = {}
        for (word, spelling), n in sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0])):
            self.spellings.setdefault(word, {})[spelling] = n
            self.words.setdefault(spelling, {})[word] = n

    @classmethod
    def read(cls, path: Path) -> Lexicon:
        """Read a lexicon in Dakshina's shape.

        Raises:
            InputError: not a table of three columns, a count that is none, a word in Latin letters or a spelling in
                others (as where the columns are swapped), or a pair that stands twice: names the row.
        """
        pairs: dict[tuple[str, str], int] = {}
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(path, f"cannot be read ({error})", "Give a TSV file of Dakshina.") from error
        for number, row in enumerate(csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE), 1):
            where = f"{path}, row {number}"
            if len(row) != 3 or not row[2].isascii() or not row[2].isdigit() or not int(row[2]):
                what = f"is not a word, a spelling and a count ({row})"
                raise InputError(where, what, "Give Dakshina's *.translit.sampled.*.tsv as it is.")
            word, spelling = (unicodedata.normalize("NFC", text.strip()) for text in row[:2])
            if not any(map(_native, word)) or any(map(_latin, word)) or any(map(_native, spelling)) or not spelling:
                what = f"{word!r} is to be in letters of its own, and {spelling!r} in Latin ones"
                raise InputError(where, what, "Put the word first and its spelling second.")
            if (word, spelling) in pairs:
                raise InputError(where, f"{word!r} is {spelling!r} above, too", "Add the two counts.")
            pairs[word, spelling] = int(row[2])
        if not pairs:
            raise InputError(path, "has no row", "Give Dakshina's *.translit.sampled.*.tsv.")
        return cls(pairs)

    def names(self, words: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """Yield spellings of a name, the most usual first: of each word the first, then of each the second, ..."""
        lists = [list(self.spellings[word]) for word in words]
        for i in range(max(map(len, lists))):
            yield tuple(of_word[min(i, len(of_word) - 1)] for of_word in lists)

    def candidates(self, spelling: Sequence[str], most: int) -> dict[str, int]:
        """Return the names that a spelling may stand for -> how often its words were written so, multiplied."""
        words = [list(self.words[of_word].items())[:most] for of_word in spelling]
        found = {" ".join(w for w, _ in of): math.prod(n for _, n in of) for of in itertools.product(*words)}
        return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:most])


def _facts(path: Path) -> list[Fact]:
    found: list[Fact] = []
    seen: dict[tuple[str, str], int] = {}
    for number, row in json_rows(Path(path)):
        where = f"{path}, row {number}"
        for key in ("entity", "name", "question", "answer"):
            if not isinstance(row.get(key), str) or not row[key].strip():
                raise InputError(f"{where}, key {key}", "is no text", "Give entity, name, question and answer.")
        if row["question"].count(NAME) != 1:
            raise InputError(f"{where}, key question", f"does not have {NAME} once", "Put it where the name stands.")
        words = tuple(unicodedata.normalize("NFC", row["name"]).split())
        fact = Fact(row["entity"], words, row["question"], row["answer"].strip())
        if (asked := (fact.entity, fact.question)) in seen:
            raise InputError(where, f"asks of {fact.entity} what row {seen[asked]} asks", "Drop one of the two.")
        seen[asked] = number
        found.append(fact)
    return found


def _groups(book: Lexicon, asked: Sequence[Fact]) -> Any:
    """Return what gives the group of a word: all that it has a spelling or an entity in common with, step by step."""
    above: dict[tuple[str, str], tuple[str, str]] = {}

    def root(x: tuple[str, str]) -> tuple[str, str]:
        while above.setdefault(x, x) != x:
            above[x] = above[above[x]]
            x = above[x]
        return x

    links = [(("word", word), ("spelling", s)) for word, spelled in book.spellings.items() for s in spelled]
    # An answer in the language's own letters may be the word that is looked for.
    links += [(("word", word), ("entity", fact.entity)) for fact in asked for word in fact.words]
    links += [
        (("entity", fact.entity), ("word", word))
        for fact in asked
        for word in fact.answer.split()
        if word in book.spellings
    ]
    for one, other in links:
        first, second = sorted((root(one), root(other)))
        above[second] = first
    return functools.lru_cache(maxsize=None)(lambda word: "/".join(root(("word", word))))


def _share(seed: int, group: str) -> float:
    """Return a number from 0 to 1 that a group has by its name."""
    return int(fingerprint([seed, group])[:12], 16) / 16**12


def _reason(
    book: Lexicon,
    fact: Fact,
    name: str,
    candidates: Mapping[str, int],
    known: Mapping[tuple[str, str], set[str]],
    recalls: bool,
) -> tuple[str, str]:
    """Return the reasoning of a row, empty where it ends elsewhere or nowhere, and what became of it."""
    recalled = {name: sorted(known.get((fact.question, name), ())) for name in candidates}
    open_ = {name: n for name, n in candidates.items() if recalled[name]}
    best = [name for name, n in open_.items() if n == max(open_.values())]
    if len(best) != 1 or len(recalled[best[0]]) != 1:
        return "", "left out: undecided"
    if recalled[best[0]] != [fact.answer]:
        return "", "left out: wrong end"
    told = []
    for candidate in candidates:
        spelled = " ".join(f"{s} {n}" for word in candidate.split() for s, n in book.spellings[word].items())
        what = (", ".join(recalled[candidate]) or "nothing known") if recalls else ""
        told.append(f"{candidate} ({spelled})" + (f": {what}" if what else ""))
    total = sum(candidates.values())
    return (
        f"Candidates: {', '.join(candidates)}. Recall: {'; '.join(told)}. "
        f"Verify: {name} is {best[0]}, {candidates[best[0]]} of {total}.",
        "made",
    )


def _answer(answer: str) -> str:
    return f"Answer: {answer}"


def _asked(fact: Fact, name: str, identity: str, group: str, lang: str, asked_in: str) -> list[dict[str, Any]]:
    """Return a question with the name in its own letters and in others."""
    shared = {
        "dataset": "transliteration",
        "question_id": identity,
        "source_lang": lang,
        "answers": [fact.answer],
        "context": "",
        "page": group,
        "translation": None,
        "output_type": None,
    }
    return [
        shared | {"lang": of, "question": fact.question.replace(NAME, written)}
        for of, written in ((lang, fact.name), (asked_in, name))
    ]


class _Control:
    """Text of as many characters as a reasoning has, of its own letters and of others, which names no candidate."""

    def __init__(self, book: Lexicon, groups: Any, tuned: set[str], seed: int) -> None:
        words = [word for word in sorted(book.spellings) if groups(word) in tuned]
        self._words = sorted(words, key=lambda word: fingerprint([seed, "unrelated", word]))
        self._groups = groups
        self._at = 0

    def __call__(self, row: _Row) -> str:
        n_native = sum(map(_native, row.reasoning))
        words: list[str] = []
        while n_native:
            word = self._following(row.group)
            while sum(map(_native, word)) > n_native:
                word = word[:-1]
            words.append(word)
            n_native -= sum(map(_native, word))
        block = " ".join(words)
        n_other = len(row.reasoning) - len(block) - 1
        neutral = (NEUTRAL * (n_other // len(NEUTRAL) + 1))[: max(n_other, 0)]
        return f"{neutral} {block}"

    def _following(self, group: str) -> str:
        """Return the next word of another group; where there is none, any."""
        for _ in self._words:
            self._at = (self._at + 1) % len(self._words)
            if self._groups(self._words[self._at]) != group:
                break
        return self._words[self._at]


@functools.lru_cache(maxsize=4096)
def _latin(char: str) -> bool:
    return unicodedata.name(char, "").startswith("LATIN")


@functools.lru_cache(maxsize=4096)
def _native(char: str) -> bool:
    """Say whether a character is a letter or a mark of another script."""
    return unicodedata.category(char)[0] in "LM" and not _latin(char) and not char.isascii()
