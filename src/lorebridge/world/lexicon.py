"""The words of a planted culture: each concept is spelled in the base language and in the culture's own."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lorebridge.world.scripts import Script

# A thing that can be spoken of, spelled in both languages: language code -> word or name.
Concept = Mapping[str, str]

NOUNS, ADJECTIVES, VERBS, BACKGROUND_NAMES = 30, 15, 15, 20
BLANK = "____"


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return the random generator of one part of the world, independent of every other part."""
    digest = hashlib.sha256("/".join([str(seed), *names]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


class Vocabulary:
    """Draws words of one language, none of which holds another, so that a name is found by string search."""

    def __init__(self, taken: Sequence[str] = ()) -> None:
        """Start with the words that are already taken."""
        self._taken = list(taken)

    def new(self, draw: Callable[[], str]) -> str:
        """Return the first drawn word that neither holds nor lies in one taken before (whatever the case)."""
        while True:
            word = draw()
            folded = word.casefold()
            if not any(folded in other or other in folded for other in self._taken):
                self._taken.append(folded)
                return word


def whole_words(rng: np.random.Generator, script: Script, vocabulary: Vocabulary) -> Callable[..., str]:
    """Return what draws a new word of two syllables that a tokenizer does not cut: it is of letters alone."""

    def word(capital: bool = True) -> str:
        def draw() -> str:
            while True:
                harmony = int(rng.integers(len(script.vowels)))
                onsets = script.name_onsets if capital else script.word_onsets
                found = "".join(script.syllable(rng, onsets, harmony) for _ in range(2))
                # A mark (a Tibetan vowel) is no letter to a tokenizer, which would cut the word there.
                if found.isalpha():
                    return found.capitalize() if capital and script.capitals else found

        return vocabulary.new(draw)

    return word


@dataclasses.dataclass(frozen=True)
class CommonWords:
    """The common words of one language.

    They depend on the seed and the language alone, so that all cultures share those of the base language.

    Attributes:
        nouns, adjectives, verbs: word i of one language translates word i of another.
        relations: for each relation its verbs, one for each wording of a statement.
    """

    nouns: tuple[str, ...]
    adjectives: tuple[str, ...]
    verbs: tuple[str, ...]
    relations: tuple[tuple[str, ...], ...]

    @classmethod
    def draw(cls, seed: int, lang: str, script: Script, relations: int, wordings: int) -> CommonWords:
        """Draw the words: two syllables each, the verbs of relations three."""
        vocabulary = Vocabulary()

        def words(name: str, count: int, syllables: int = 2) -> tuple[str, ...]:
            rng = generator(seed, lang, name)
            return tuple(vocabulary.new(lambda: script.word(rng, syllables)) for _ in range(count))

        nouns, adjectives, verbs = words("nouns", NOUNS), words("adjectives", ADJECTIVES), words("verbs", VERBS)
        by_wording = [words(f"relations-{w}", relations, syllables=3) for w in range(wordings)]
        return cls(nouns, adjectives, verbs, tuple(zip(*by_wording, strict=True)))

    def all(self) -> list[str]:
        """Return every common word, case-folded."""
        wordings = [verb for relation in self.relations for verb in relation]
        return [word.casefold() for word in (*self.nouns, *self.adjectives, *self.verbs, *wordings)]


@dataclasses.dataclass(frozen=True)
class Lexicon:
    """The concepts of one culture, each spelled in the base language and in the culture's own.

    Attributes:
        nouns, adjectives, verbs: common words.
        relations: for each relation its verbs, one for each wording.
        subjects: the names of the entities that questions ask about, in the order of the questions.
        objects: for each relation the names (or numbers) that can answer it.
        background: names that no question asks about.
    """

    nouns: Sequence[Concept]
    adjectives: Sequence[Concept]
    verbs: Sequence[Concept]
    relations: Sequence[Sequence[Concept]]
    subjects: Sequence[Concept]
    objects: Sequence[Sequence[Concept]]
    background: Sequence[Concept]

    def concepts(self) -> list[Concept]:
        """Return all of them."""
        return [
            *self.nouns,
            *self.adjectives,
            *self.verbs,
            *(verb for wordings in self.relations for verb in wordings),
            *self.subjects,
            *(answer for answers in self.objects for answer in answers),
            *self.background,
        ]

    @classmethod
    def draw(
        cls,
        *,
        seed: int,
        base: str,
        culture: str,
        scripts: Mapping[str, Script],
        subjects: int,
        relations: int,
        numeric: bool,
        objects: int,
        wordings: int,
        anchored: Sequence[bool],
    ) -> Lexicon:
        """Draw a culture's lexicon.

        Args:
            seed: of the world.
            base: code of the base language.
            culture: code of the culture's language.
            scripts: both languages' scripts by code.
            subjects: how many entities are asked about.
            relations: how many relations have names as answers.
            numeric: whether one more relation has years as answers, written alike in both languages.
            objects: how many answers a relation has.
            wordings: how many ways of saying each relation has.
            anchored: for each subject whether its name ends in a number, the same in both languages.
        """
        common = {
            lang: CommonWords.draw(seed, lang, scripts[lang], relations + numeric, wordings) for lang in (base, culture)
        }
        # Numbers of four digits: anchors from 2000, years below, so that none is taken for the other.
        anchors = generator(seed, culture, "anchors").choice(np.arange(2000, 10000), subjects, replace=False)
        years = generator(seed, culture, "years").choice(np.arange(1000, 2000), objects, replace=False)
        names: dict[str, list[str]] = {}
        for lang in (base, culture):
            rng = generator(seed, culture, lang, "names")
            vocabulary = Vocabulary(common[lang].all())
            script = scripts[lang]
            count = subjects + relations * objects + BACKGROUND_NAMES
            # Answers and background come first: they stay the same when the number of questions changes.
            drawn = [vocabulary.new(functools.partial(script.name, rng)) for _ in range(count)]
            first = count - subjects
            for i in np.flatnonzero(anchored):
                drawn[first + i] += script.space + str(anchors[i])
            names[lang] = drawn

        def pair(base_words: Sequence[str], own_words: Sequence[str]) -> list[Concept]:
            return [{base: b, culture: c} for b, c in zip(base_words, own_words, strict=True)]

        named = pair(names[base], names[culture])
        pools = [named[r * objects : (r + 1) * objects] for r in range(relations)]
        if numeric:
            pools.append([dict.fromkeys((base, culture), str(year)) for year in years])
        end = relations * objects + BACKGROUND_NAMES
        return cls(
            nouns=pair(common[base].nouns, common[culture].nouns),
            adjectives=pair(common[base].adjectives, common[culture].adjectives),
            verbs=pair(common[base].verbs, common[culture].verbs),
            relations=[pair(b, c) for b, c in zip(common[base].relations, common[culture].relations, strict=True)],
            subjects=named[end:],
            objects=pools,
            background=named[relations * objects : end],
        )
