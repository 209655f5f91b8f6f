"""What each question asks about: the entity that it names, found by one rule after another, and which rule found it.

A cloze comes without its subject. Its rarest words are often verbs, which other wordings of the fact do not have; so a
subject is a *name*, by the first of these rules that finds one (column ``subject_rule``):

- ``alias``: a given list of names of entities (for instance labels and aliases of Wikidata) has it, in this wording of
  the question or in that of the base language; its other names are looked for, too;
- ``parallel``: the run of words that stands in one half of parallel text where the other half has the name that the
  question in the base language has (the highest Dice coefficient; Smadja, McKeown and Hatzivassiloglou 1996,
  "Translating collocations for bilingual lexicons");
- ``title``: the longest title of a document of the corpus; where the script has capitals, one with a capital, elsewhere
  one that few chunks hold (manuals have titles, too);
- ``name``: the longest run of capitalised words that the corpus knows, where capitals count that a word has more often
  than not, in the corpus and the questions (truecasing, Lita et al., ACL 2003: what opens sentences names nothing);
- ``terms``: no name was found. Then up to two words that few questions and few chunks share stand for it, those first
  that look like nouns (:meth:`lorebridge.trace.analysis.Script.nominal`), the second the culture's own name where the
  script has capitals and the question has it. That is no entity, and what rests on it says less.

Of several names the rarest counts, in the corpus and among the questions of the culture. What many of a culture's
questions name (the culture itself, mostly), or what an option has, too, is no subject: it tells no question apart.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import itertools
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import regex

from lorebridge import tables
from lorebridge.corpora.chunks import cut
from lorebridge.errors import InputError
from lorebridge.sheets import refuse_odd_cells
from lorebridge.trace.analysis import Counts, Hangul, Script, script_of
from lorebridge.trace.asked import Question, judgeable, read_questions, speaks
from lorebridge.trace.mentions import Block, blocks, over_blocks

log = logging.getLogger("lorebridge.trace")

ALIAS, PARALLEL, TITLE, NAME, TERMS, NONE = "alias", "parallel", "title", "name", "terms", "none"
RULES = (ALIAS, PARALLEL, TITLE, NAME, TERMS, NONE)

LONGEST = 8  # words (or characters, or syllables) of a name
# What so many questions of a culture have, and a larger share of them, tells none apart.
SHARED, SHARED_SHARE = 3, 0.05
# Where a script has no capitals, a title that more chunks hold, and a larger share of them, is a word like others.
COMMON, COMMON_SHARE = 50, 0.01
# A run of words translates a name where they stand together in so many pairs, with so high a Dice coefficient.
MIN_TOGETHER, MIN_DICE = 2, 0.5
# Of a script without spaces, what is left between shared wording is one term up to so many characters or syllables.
SHORT = 4
# A word belongs to a term that it stands beside in so many places, and in so large a share of them.
MIN_BESIDE, BESIDE = 3, 0.8

_IN_BRACKETS = regex.compile(r"\s*[(（].*[)）]\s*$")


class Wording:
    """A question in one language, read for the names that it may hold.

    Attributes:
        question: the question.
        spans: run of words, as corpora are counted by -> that run as :meth:`Script.phrase` takes it.
        capitals: the maximal runs of words that begin with a capital, each as its words.
        nominal: the words that look like nouns.
        stretches: the words from one blank or mark to the next.
        usable: those of the spans that finding would mean something, and that are in no option.
    """

    def __init__(self, question: Question, script: Script) -> None:
        """Read a question."""
        self.question = question
        self.spans: dict[str, str] = {}
        self.nominal: set[str] = set()
        self.capitals: list[list[str]] = []
        self.stretches: list[list[str]] = []

        options = script.searchable(" \n ".join(question.options))
        for stretch in script.stretches(question.text):
            written = script.words(stretch)
            bases = [script.base(word) for word in written]
            # A Korean phrase finds whatever particles follow a word; a Tibetan one only those of its last.
            phrased = bases if isinstance(script, Hangul) else written
            self.stretches.append(bases)
            self.nominal |= {base for base, noun in zip(bases, script.nominal(stretch), strict=True) if noun}

            for first, last in _runs(len(bases)):
                self.spans.setdefault(" ".join(bases[first:last]), script.joiner.join(phrased[first:last]))
            capitals = script.capitals(stretch)
            if len(capitals) == len(bases):
                groups = itertools.groupby(zip(capitals, bases, strict=True), key=lambda pair: pair[0])
                self.capitals += [[base for _, base in group] for capital, group in groups if capital]
        # What an option says, too, would stand beside that option everywhere.
        self.usable = {
            span: phrase
            for span, phrase in self.spans.items()
            if speaks(phrase) and (found := script.phrase(phrase)) is not None and not found.search(options)
        }


def _runs(n: int) -> Iterator[tuple[int, int]]:
    """Yield where the runs of up to LONGEST of n words begin and end."""
    for first in range(n):
        for last in range(first + 1, min(first + LONGEST, n) + 1):
            yield first, last


def _found(bases: Sequence[str], wanted: frozenset[str]) -> Iterator[str]:
    """Yield the runs of words that are wanted, where whatever opens a wanted run is wanted, too."""
    for first, word in enumerate(bases):
        span = word
        if span not in wanted:
            continue
        yield span
        for last in range(first + 1, min(first + LONGEST, len(bases))):
            span = f"{span} {bases[last]}"
            if span not in wanted:
                break
            yield span


@dataclasses.dataclass
class _Seen:
    """What a corpus says of the words of questions.

    Attributes:
        counts: chunks and occurrences of every run of a question's words.
        titles: the runs that are titles of documents.
        capital: word -> how often it begins with a capital, and `small`: how often it does not.
    """

    counts: Counts = dataclasses.field(default_factory=Counts)
    titles: set[str] = dataclasses.field(default_factory=set)
    capital: Counter[str] = dataclasses.field(default_factory=Counter)
    small: Counter[str] = dataclasses.field(default_factory=Counter)

    def add(self, other: _Seen) -> None:
        self.counts.chunks.update(other.counts.chunks)
        self.counts.occurrences.update(other.counts.occurrences)
        self.counts.n_chunks += other.counts.n_chunks
        self.counts.n_units += other.counts.n_units
        self.titles |= other.titles
        self.capital.update(other.capital)
        self.small.update(other.small)

    def note_case(self, text: str, script: Script, words: frozenset[str], first: int = 0) -> None:
        """Count how the words of a text that matter begin, from the first that counts."""
        if not words:
            return
        capitals, bases = script.capitals(text)[first:], script.words(text)[first:]
        if len(capitals) == len(bases):
            for capital, word in zip(capitals, bases, strict=True):
                if word in words:
                    (self.capital if capital else self.small)[word] += 1

    def note_question(self, question: Question, script: Script, words: frozenset[str]) -> None:
        """Count how the words of a question begin, but for the words that open it and its options."""
        for text in (question.text, *question.options):
            self.note_case(script.without_blank(text), script, words, first=1)

    def common(self, span: str) -> bool:
        """Say whether more chunks hold a run than hold a name."""
        return self.counts.chunks[span] > max(COMMON, COMMON_SHARE * self.counts.n_chunks)

    def named(self, word: str) -> bool:
        """Say whether a word begins with a capital more often than not."""
        return self.capital[word] > self.small[word]


def _see(block: Block, *, script: str, max_chars: int, wanted: frozenset[str], cased: frozenset[str]) -> _Seen:
    """Read a block of documents."""
    reading = script_of(script)
    seen = _Seen()
    with pq.ParquetFile(block.path, page_checksum_verification=True) as file:
        rows = file.read_row_group(block.group, columns=["title", "text"])
    for title, text in zip(rows["title"].to_pylist(), rows["text"].to_pylist(), strict=True):
        words = reading.words(_IN_BRACKETS.sub("", title or ""))
        # A title stands as it is, and in a question with a particle: what looks like one may belong to the name.
        for span in {" ".join(words), " ".join(map(reading.base, words))} & wanted:
            seen.titles.add(span)
        for chunk in cut(text, max_chars):
            bases = [reading.base(word) for word in reading.words(chunk)]
            found = list(_found(bases, wanted))
            seen.counts.chunks.update(set(found))
            seen.counts.occurrences.update(found)
            seen.counts.n_chunks += 1
            seen.counts.n_units += len(bases)
            seen.note_case(chunk, reading, cased)
    return seen


@dataclasses.dataclass
class _Together:
    """How often names of the base language and runs of words stand in the two halves of a pair.

    Attributes:
        base, own: run of words -> number of pairs whose half has it.
        both: (question, run in the base language, run in the other) -> number of pairs that have both.
        seen: case in the base half.
    """

    base: Counter[str] = dataclasses.field(default_factory=Counter)
    own: Counter[str] = dataclasses.field(default_factory=Counter)
    both: Counter[tuple[str, str, str]] = dataclasses.field(default_factory=Counter)
    seen: _Seen = dataclasses.field(default_factory=_Seen)


def _see_pairs(
    block: Block,
    *,
    scripts: tuple[str, str],
    names: Mapping[str, Sequence[str]],
    spans: Mapping[str, frozenset[str]],
    wanted: tuple[frozenset[str], frozenset[str]],
    cased: frozenset[str],
) -> _Together:
    """Read a block of pairs; `names`: run in the base language -> questions that have it; `spans`: theirs."""
    base, own = map(script_of, scripts)
    together = _Together()
    with pq.ParquetFile(block.path, page_checksum_verification=True) as file:
        rows = file.read_row_group(block.group, columns=["en", "xx"])
    for base_text, own_text in zip(rows["en"].to_pylist(), rows["xx"].to_pylist(), strict=True):
        in_base = set(_found([base.base(word) for word in base.words(base_text)], wanted[0]))
        in_own = set(_found([own.base(word) for word in own.words(own_text)], wanted[1]))
        together.base.update(in_base)
        together.own.update(in_own)
        together.seen.note_case(base_text, base, cased)
        for name in in_base & names.keys():
            for question in names[name]:
                together.both.update((question, name, span) for span in in_own & spans[question])
    return together


def _sub_runs(words: Sequence[str]) -> Iterator[str]:
    for first, last in _runs(len(words)):
        yield " ".join(words[first:last])


def _named_runs(wording: Wording, seen: _Seen) -> list[list[str]]:
    """Return the maximal runs of words that begin with a capital here, and mostly."""
    runs = []
    for run in wording.capitals:
        groups = itertools.groupby(run, key=seen.named)
        runs += [list(group) for named, group in groups if named]
    return runs


@dataclasses.dataclass
class _Culture:
    """A culture's questions in one language, with how many have each run of words, and whether there are capitals."""

    wordings: list[Wording]

    def __post_init__(self) -> None:
        self.n_questions = Counter(span for wording in self.wordings for span in wording.spans)
        # A Korean question may hold a word in Latin letters, and Korean has no capitals.
        self.cased = 2 * sum(bool(wording.capitals) for wording in self.wordings) > len(self.wordings)

    def shared(self, span: str) -> bool:
        """Say whether so many questions have a run that it tells none apart."""
        n = self.n_questions[span]
        return n >= SHARED and n > SHARED_SHARE * len(self.wordings)

    def rarity(self, span: str, counts: Counts) -> float:
        """Return the inverse document frequency of a run among chunks, plus that among questions."""
        n, size = self.n_questions[span], len(self.wordings)
        return counts.rarity(span) + math.log1p((size - n + 0.5) / (n + 0.5))


def find_subjects(
    *,
    lang: str,
    script: str,
    max_chars: int,
    documents: Sequence[Path],
    questions: Mapping[str, Path],
    out: Path,
    base: str | None = None,
    base_script: str = "Latin",
    pairs: Sequence[Path] = (),
    aliases: Path | None = None,
    workers: int = 1,
) -> dict[str, int]:
    """Find the subject of every question that is asked in a language, and write table "subjects".

    The rules are those of this module. One pass over the corpus serves all questions, and one over each culture's
    parallel text.

    Args:
        lang: the language of the corpus, in which the questions are asked.
        script: the Unicode script that the corpus is read by.
        max_chars: the most characters of a chunk.
        documents: tables "documents" of the corpus.
        questions: culture -> table "questions".
        out: where to write.
        base: the language in which names are known by their capitals; where pairs or aliases are given.
        base_script: its script.
        pairs: tables "pairs" of `base` and `lang`, in which the names of the questions in `base` are found
            again.
        aliases: names of entities: a CSV or TSV file with columns ``entity``, ``lang``, ``name``.
        workers: processes that read the corpus.

    Returns:
        Notes for the record: the number of questions, of those whose gold cannot be told, of those whose subject has a
        term that the corpus lacks, and ``n_by_{rule}`` for every rule ("none": no subject).

    Raises:
        InputError: a table cannot be read, or a culture has no question in that language.
    """
    reading = script_of(script)
    asked = {
        culture: _Culture([Wording(question, reading) for question in read_questions(path, lang)])
        for culture, path in questions.items()
    }
    wordings = [wording for culture in asked.values() for wording in culture.wordings]
    wanted = frozenset(span for wording in wordings for span in wording.spans)
    cased = frozenset(word for wording in wordings for run in wording.capitals for word in run)
    see = functools.partial(_see, script=script, max_chars=max_chars, wanted=wanted, cased=cased)
    seen = _Seen()
    for part in over_blocks(blocks(documents), see, workers=workers, what=f"names {lang}"):
        seen.add(part)
    for wording in wordings:
        seen.note_question(wording.question, reading, cased)
    known = _read_aliases(aliases) if aliases is not None else {}
    rows = []
    for culture, group in asked.items():
        in_base: dict[str, Wording] = {}
        if base is not None and base != lang and (pairs or aliases is not None):
            in_base = {
                q.question_id: Wording(q, script_of(base_script)) for q in read_questions(questions[culture], base)
            }
        translated: dict[str, str] = {}
        if in_base and pairs:
            translated = _translate(
                group, in_base, pairs, scripts=(base_script, script), workers=workers, what=f"{base}-{lang}"
            )
        names = _Names(known, lang, base, base_script, script)
        for wording in group.wordings:
            rule, terms, others = _subject(
                wording, group, seen, reading, names.of(wording, in_base.get(wording.question.question_id)), translated
            )
            rows.append(_row(wording.question, culture, lang, reading, seen.counts, rule, terms, others))
    tables.write("subjects", rows, out)
    by_rule = Counter(row["subject_rule"] for row in rows)
    log.info("%s: %s", out, ", ".join(f"{by_rule[rule]} by {rule}" for rule in RULES if by_rule[rule]))
    return {
        "n_questions": len(rows),
        "n_without_gold": sum(row["gold"] is None for row in rows),
        "n_absent": sum(0 in row["n_chunks"] for row in rows),
        **{f"n_by_{rule}": by_rule[rule] for rule in RULES},
    }


def _row(
    question: Question,
    culture: str,
    lang: str,
    script: Script,
    counts: Counts,
    rule: str,
    terms: Sequence[str],
    aliases: Sequence[str],
) -> dict[str, Any]:
    """Return the row of a question in table "subjects"; `terms` are runs of its words."""
    spans = Wording(question, script).spans
    usable = [option for option in question.options if judgeable(option, question.text, script)]
    return {
        "question_id": question.question_id,
        "culture": culture,
        "lang": lang,
        "subject_rule": rule,
        "terms": [spans.get(term, term) for term in terms],
        "n_chunks": [counts.chunks[term] for term in terms],
        "aliases": list(aliases),
        "gold": question.gold if question.gold in usable else None,
        "distractors": [option for option in usable if option != question.gold],
    }


def _subject(
    wording: Wording,
    culture: _Culture,
    seen: _Seen,
    script: Script,
    listed: Sequence[Sequence[str]],
    translated: Mapping[str, str],
) -> tuple[str, list[str], list[str]]:
    """Return the rule that finds a question's subject, its terms (runs of words of the question), and its aliases."""
    weigh = functools.partial(culture.rarity, counts=seen.counts)
    for names in listed:
        usable = [name for name in names if not _in_options(name, wording.question, script)]
        if usable:
            return ALIAS, usable[:1], usable[1:]
    if wording.question.question_id in translated:
        return PARALLEL, [translated[wording.question.question_id]], []
    found: dict[str, str] = {}
    named = _named_runs(wording, seen)
    capitals = {word for run in named for word in run}
    titles = [
        span
        for span in wording.usable
        if span in seen.titles and (capitals & set(span.split(" ")) if culture.cased else not seen.common(span))
    ]
    for span in titles:
        if not any(span != other and f" {span} " in f" {other} " for other in titles):
            found[span] = TITLE
    for run in named:
        if any(f" {title} " in f" {' '.join(run)} " for title in found if found[title] == TITLE):
            continue
        parts = [span for span in _sub_runs(run) if span in wording.usable and not culture.shared(span)]
        known = [span for span in parts if seen.counts.chunks[span]]
        if parts:
            found[max(known or parts, key=lambda span: (span.count(" "), weigh(span)))] = NAME
    found = {span: rule for span, rule in found.items() if not culture.shared(span)}
    if found:
        best = max(found, key=weigh)
        return found[best], [best], []
    terms = _terms(wording, culture, seen, script)
    # "The highest mountain in Korea": the culture's name tells no question apart, but it says whose mountain is meant.
    whose = {span for run in named for span in _sub_runs(run) if span in wording.usable and culture.shared(span)}
    if terms and whose:
        terms = [terms[0], max(whose, key=lambda span: (span.count(" "), weigh(span), span))]
    return (TERMS if terms else NONE), terms, []


def _in_options(name: str, question: Question, script: Script) -> bool:
    phrase = script.phrase(name)
    return phrase is None or bool(phrase.search(script.searchable(" \n ".join(question.options))))


def _terms(wording: Wording, culture: _Culture, seen: _Seen, script: Script) -> list[str]:
    """Return up to two terms that few questions and few chunks share, those that look like nouns first."""
    counts = seen.counts
    by_words = Counts(n_chunks=counts.n_chunks, n_units=counts.n_units)
    spans = {script.joiner.join(span.split(" ")): span for span in wording.spans}
    for joined, span in spans.items():
        by_words.chunks[joined] = counts.chunks[span]
        by_words.occurrences[joined] = counts.occurrences[span]
    cut_out = []
    for stretch in wording.stretches:
        if script.joiner == " ":
            cut_out += stretch
            continue
        for rest in _apart(stretch, culture):
            joined = script.joiner.join(rest)
            cut_out += [joined] if joined in spans and 2 <= len(rest) <= SHORT else script.terms(joined, by_words)
    usable = [spans[term] for term in cut_out if spans.get(term) in wording.usable]
    # The wording that many questions share tells none apart, unless there is nothing else.
    apart = [span for span in usable if not culture.shared(span)] or usable
    ranked = sorted(
        dict.fromkeys(apart),
        key=lambda span: (bool(wording.nominal.intersection(span.split(" "))), culture.rarity(span, counts)),
        reverse=True,
    )
    terms: list[str] = []
    for span in ranked:
        if terms and seen.common(span) and not seen.common(terms[0]):
            continue
        span = _extend(span, wording, culture, counts)
        if not any(set(span.split(" ")) & set(term.split(" ")) for term in terms):
            terms.append(span)
        if len(terms) == 2:
            break
    return terms


def _apart(stretch: Sequence[str], culture: _Culture) -> list[list[str]]:
    """Return what is left of a stretch of a script without spaces when the wording that questions share is cut out.

    A character or syllable alone is cut out where most questions have it: those of names recur.
    """
    wording: set[int] = set()
    for first, last in _runs(len(stretch)):
        span = " ".join(stretch[first:last])
        in_most = 2 * culture.n_questions[span] > len(culture.wordings)
        if culture.shared(span) and (last - first > 1 or in_most):
            wording.update(range(first, last))
    groups = itertools.groupby(range(len(stretch)), key=wording.__contains__)
    return [[stretch[place] for place in places] for shared, places in groups if not shared]


def _extend(span: str, wording: Wording, culture: _Culture, counts: Counts) -> str:
    """Return a term with the words beside it that the corpus, too, has beside it nearly always."""
    longer = [span]
    while longer:
        span = longer[0]
        size = span.count(" ") + 1
        longer = [
            other
            for other in wording.usable
            if other.count(" ") == size
            and (other.startswith(f"{span} ") or other.endswith(f" {span}"))
            and counts.occurrences[other] >= max(MIN_BESIDE, BESIDE * counts.occurrences[span])
            and not culture.shared(other.removeprefix(f"{span} ").removesuffix(f" {span}"))
        ]
    return span


def _translate(
    culture: _Culture,
    in_base: Mapping[str, Wording],
    pairs: Sequence[Path],
    *,
    scripts: tuple[str, str],
    workers: int,
    what: str,
) -> dict[str, str]:
    """Return for each question the run of its words that stands where the name in its other wording does.

    Args:
        culture: its questions in the language of the corpus.
        in_base: question -> its wording in the base language.
        pairs: tables "pairs".
        scripts: of the base language and of the other.
        workers: processes that read the pairs.
        what: the pair of languages, for the bar of progress.
    """
    base = script_of(scripts[0])
    of_base = _Culture(list(in_base.values()))
    cased = frozenset(word for wording in in_base.values() for run in wording.capitals for word in run)
    names: dict[str, list[str]] = defaultdict(list)
    for question_id, wording in in_base.items():
        for run in wording.capitals:
            for span in _sub_runs(run):
                if span in wording.usable and not of_base.shared(span):
                    names[span].append(question_id)
    spans = {wording.question.question_id: frozenset(wording.usable) for wording in culture.wordings}
    names = {span: [q for q in ids if q in spans] for span, ids in names.items()}
    wanted = (
        frozenset(span for wording in in_base.values() for run in wording.capitals for span in _sub_runs(run)),
        frozenset(span for wording in culture.wordings for span in wording.spans),
    )
    see = functools.partial(_see_pairs, scripts=scripts, names=names, spans=spans, wanted=wanted, cased=cased)
    together = _Together()
    for part in over_blocks(blocks(pairs), see, workers=workers, what=f"names {what}"):
        together.base.update(part.base)
        together.own.update(part.own)
        together.both.update(part.both)
        together.seen.add(part.seen)
    for wording in in_base.values():
        together.seen.note_question(wording.question, base, cased)
    best: dict[str, tuple[float, int, str]] = {}
    # Only a whole name: "Revolution" is not what "Xinhai Revolution" names.
    whole = {q: {" ".join(run) for run in _named_runs(wording, together.seen)} for q, wording in in_base.items()}
    for (question_id, name, span), n in together.both.items():
        if n < MIN_TOGETHER or culture.shared(span) or name not in whole[question_id]:
            continue
        dice = 2 * n / (together.base[name] + together.own[span])
        # Of two runs that fit as well, the longer is the name; the last tie by spelling, so that order does not show.
        if dice >= MIN_DICE:
            best[question_id] = max(best.get(question_id, (0.0, 0, "")), (dice, span.count(" "), span))
    return {question_id: span for question_id, (_, _, span) in best.items()}


def _read_aliases(path: Path) -> dict[str, dict[str, list[str]]]:
    """Return entity -> language -> names.

    Raises:
        InputError: the file cannot be read or lacks a column, or a row lacks a value.
    """
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = "\t" if path.suffix == ".tsv" else ","
            rows = csv.DictReader(file, delimiter=delimiter)
            if missing := {"entity", "lang", "name"} - set(rows.fieldnames or ()):
                raise InputError(path, f"lacks the column {min(missing)!r}", "Give the columns entity, lang, name.")
            lines = list(rows)
            refuse_odd_cells(path, rows.fieldnames or (), lines, ("entity", "lang", "name"))
            for number, row in enumerate(lines, 2):
                if not all(row[column] for column in ("entity", "lang", "name")):
                    raise InputError(f"{path}, row {number}", "lacks a value", "Fill in entity, lang and name.")
                if row["name"] not in found[row["entity"]][row["lang"]]:
                    found[row["entity"]][row["lang"]].append(row["name"])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, f"cannot be read as CSV in UTF-8 ({error})", "Give a CSV or TSV file.") from error
    return found


class _Names:
    """Finds listed entities in questions, by their names in either language."""

    def __init__(
        self,
        known: Mapping[str, Mapping[str, Sequence[str]]],
        lang: str,
        base: str | None,
        base_script: str,
        script: str,
    ) -> None:
        self.known = known
        self.lang = lang
        self.script = script_of(script)
        self._own = _by_span(known, lang, self.script)
        self._base = _by_span(known, base, script_of(base_script)) if base is not None else {}

    def of(self, wording: Wording, in_base: Wording | None) -> list[list[str]]:
        """Return the names of each listed entity that a question names, that with the longest name in it first.

        The name that the question has comes first among an entity's.
        """
        here = [(span, entity) for span in wording.spans if span in self._own for entity in self._own[span]]
        there = [(span, e) for span in in_base.spans if span in self._base for e in self._base[span]] if in_base else []
        names = []
        for found in (here, there):
            for span, entity in sorted(found, key=lambda pair: -pair[0].count(" ")):
                own = list(self.known[entity].get(self.lang, ()))
                own.sort(key=lambda name: _span(name, self.script) != span)
                if own:
                    names.append(own)
        return names


def _span(name: str, script: Script) -> str:
    return " ".join(map(script.base, script.words(name)))


def _by_span(known: Mapping[str, Mapping[str, Sequence[str]]], lang: str, script: Script) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for entity, names in known.items():
        for name in names.get(lang, ()):
            if speaks(name):
                found[_span(name, script)].append(entity)
    return found
