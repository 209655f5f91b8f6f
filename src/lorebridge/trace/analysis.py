"""Words of a text, script by script: for the index, for matching a phrase, and for the terms of a question.

There are three views of a text, made from the same words, so that what retrieval finds the judge can match:

- *tokens* go into the index: every word as written (folded) and, where the script writes particles onto words, its
  base form too, so that either spelling of a query finds either spelling of a text;
- *phrases* match a run of consecutive words in a text, whatever particle the last one carries;
- *terms* are the words of a question, ranked by how rare they are in a corpus.

A script that is not listed here is read as words of letters, marks and digits, which serves every script that
separates words by spaces. Nothing is normalised beyond NFC and case: NFKC would rewrite Mongolian and full-width text.
But characters that nobody sees (a soft hyphen, a mark of direction, the choice of a glyph) do not part a word.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import re
import unicodedata
from collections import Counter
from typing import Any

import regex

from lorebridge.corpora.released import BLANK, fill_blanks

# Letters with their marks, and digits. Marks matter: the vowel signs of Tibetan are marks, and `\w` leaves them out.
# A study asks for the same few thousand names again and again; regex itself keeps five hundred.
_compiled = functools.lru_cache(maxsize=1 << 13)(regex.compile)
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")
# Default_Ignorable_Code_Point (Unicode Standard Annex 44), but for letters and what only Mongolian has.
_UNSEEN = (
    r"\u00ad\u034f\u061c\u200b\u200d-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f"
    r"\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff"
)

# Bits of mutual information from which two units make a word: almost six times as frequent together as by chance.
COHESION = 2.5


@dataclasses.dataclass
class Counts:
    """How often words, and runs of consecutive words, occur in a corpus of chunks.

    Attributes:
        chunks: word or run -> number of chunks that hold it.
        occurrences: word or run -> number of times it occurs.
        n_chunks: number of chunks.
        n_units: number of words, repeats included.
    """

    chunks: Counter[str] = dataclasses.field(default_factory=Counter)
    occurrences: Counter[str] = dataclasses.field(default_factory=Counter)
    n_chunks: int = 0
    n_units: int = 0

    def rarity(self, term: str) -> float:
        """Return BM25's inverse document frequency of a term, as Lucene computes it; chunks are the documents."""
        return math.log1p((self.n_chunks - self.chunks[term] + 0.5) / (self.chunks[term] + 0.5))

    def association(self, first: str, second: str, pair: str) -> float:
        """Return the mutual information of two adjacent units, in bits.

        Half an occurrence is added to the pair's count, so that two rare units may form a pair that is not in the
        corpus.
        """
        apart = max(self.occurrences[first], 1) * max(self.occurrences[second], 1)
        return math.log2((self.occurrences[pair] + 0.5) * max(self.n_units, 1) / apart)


class Script:
    """Words separated by spaces and punctuation, matched whole and without case (Latin and every unlisted script)."""

    sentence_end = regex.compile(r"""(?<=[.!?…]["'”’)\]]*)\s+|\n+""")
    # Letters that touch a blank are a particle, an ending or a piece of a compound: no word of the question.
    _gap = regex.compile(rf"[\p{{L}}\p{{M}}\p{{N}}]*(?:{BLANK.pattern})[\p{{L}}\p{{M}}\p{{N}}]*")
    # What is not seen. (`re` looks for a set of characters faster than `regex`.)
    _unseen = re.compile(f"[{_UNSEEN}\\u200c]")
    # What ends a stretch that a name may lie in: a mark or a blank, but no hyphen, apostrophe or middle dot.
    _mark = regex.compile(r"[^\p{L}\p{M}\p{N}\s\u180e\u202f'’·‧\-་༌]+|\n")
    # What stands between two words of a phrase.
    joiner = " "
    # Words that are part of the word right before them, although a space stands between.
    suffixes: frozenset[str] = frozenset()

    def prepare(self, text: str) -> str:
        """Return `text` in the one spelling that its script is read in (here: without the characters not seen)."""
        return text if text.isascii() or not self._unseen.search(text) else self._unseen.sub("", text)

    def fold(self, text: str) -> str:
        """Return `text` with the differences removed that matching ignores (here: letter case)."""
        return unicodedata.normalize("NFC", self.prepare(text).casefold())

    def fill(self, text: str, option: str) -> str:
        """Return a cloze with every blank filled by `option`; without a blank the option is appended.

        The order of words does not matter to BM25, so an item that lost its blank still gets its query.
        """
        return fill_blanks(text, option) if BLANK.search(text) else f"{text} {option}"

    def without_blank(self, text: str) -> str:
        """Return a cloze with its blanks replaced by a space, so that no word spans one."""
        return self._gap.sub(" ", text)

    def stretches(self, question: str) -> list[str]:
        """Return the pieces of a cloze that a name may lie in: from one blank or mark to the next."""
        pieces = self._mark.split(self._gap.sub("\n", Script.prepare(self, question)))
        return [piece for piece in pieces if piece.strip()]

    def words(self, text: str) -> list[str]:
        """Return the words of `text` in order, folded."""
        return _WORD.findall(self.fold(text))

    def capitals(self, text: str) -> list[bool]:
        """Say of each of the :meth:`words` of `text` whether it begins with a capital, or goes on from one that does.

        What follows a hyphen goes on: "Seung-man" is one name.
        """
        written = unicodedata.normalize("NFC", self.prepare(text))
        capitals: list[bool] = []
        for match in _WORD.finditer(written):
            goes_on = bool(capitals) and capitals[-1] and written[match.start() - 1] == "-"
            capitals.append(goes_on or match[0][0].isupper() or match[0][0].istitle())
        return capitals

    def nominal(self, text: str) -> list[bool]:
        """Say of each of the :meth:`words` of `text` whether it looks like a noun: here, has no ending of a verb.

        A guess by the endings of English participles and adverbs, good enough to look at other words first.
        """
        return [not word.endswith(("ed", "ing", "ly")) for word in self.words(text)]

    def base(self, word: str) -> str:
        """Return a folded word without the particles that its script writes onto it."""
        return word

    def tokens_by_word(self, text: str) -> list[list[str]]:
        """Return the index tokens of each word of `text`: the word, and its base form where that differs."""
        return [[word] if (base := self.base(word)) == word else [word, base] for word in self.words(text)]

    def tokens(self, text: str) -> list[str]:
        """Return the index tokens of `text`."""
        return list(itertools.chain.from_iterable(self.tokens_by_word(text)))

    def sentences(self, text: str) -> list[str]:
        """Return the sentences of `text`; a line break always ends one."""
        return [sentence for sentence in self.sentence_end.split(Script.prepare(self, text)) if sentence]

    def searchable(self, sentence: str) -> str:
        """Return the words of a sentence in the form that :meth:`phrase` patterns search: one space around each."""
        return f" {' '.join(self.words(sentence))} "

    def phrase(self, text: str) -> regex.Pattern[str] | None:
        """Return a pattern for the words of `text` as whole, consecutive words, or None if it has no word."""
        words = self.words(text)
        return _compiled(f"(?<= ){self._pattern(words)}(?= )") if words else None

    def _pattern(self, words: list[str]) -> str:
        return " ".join(map(regex.escape, words))

    def runs(self, text: str) -> list[list[str]]:
        """Return the units of `text`, those together that no space or mark separates: here, single base forms."""
        return [[self.base(word)] for word in self.words(text)]

    def units_and_pairs(self, text: str) -> tuple[list[str], list[str]]:
        """Return all units of `text`, and all pairs of units that stand side by side."""
        runs = self.runs(text)
        pairs = [self.joiner.join(pair) for run in runs for pair in itertools.pairwise(run)]
        return list(itertools.chain.from_iterable(runs)), pairs

    def terms(self, text: str, counts: Counts) -> list[str]:
        """Return the distinct words of `text`, the rarest in a corpus first, ties in order of appearance.

        Where the script does not separate words, adjacent units are paired by mutual information, the closest first,
        as long as it is at least :data:`COHESION` bits; what stays alone is a word of its own (Sproat and Shih 1990,
        "A statistical method for finding word boundaries in Chinese text").

        Args:
            text: a question without its blank.
            counts: of the corpus, for all units and pairs of `text`.
        """
        words = []
        for run in self.runs(text):
            pairs = [self.joiner.join(pair) for pair in itertools.pairwise(run)]
            bits = [
                counts.association(*parts, pair) for parts, pair in zip(itertools.pairwise(run), pairs, strict=True)
            ]
            paired: dict[int, str] = {}
            for place in sorted(range(len(pairs)), key=lambda place: -bits[place]):
                if bits[place] >= COHESION and not paired.keys() & {place - 1, place, place + 1}:
                    paired[place] = pairs[place]
            words += [paired.get(i, unit) for i, unit in enumerate(run) if i - 1 not in paired]
        return sorted(dict.fromkeys(words), key=counts.rarity, reverse=True)


class Arabic(Script):
    """Arabic, Persian, Urdu: U+200C parts a stem from its endings, so it parts words."""

    _unseen = re.compile(f"[{_UNSEEN}]")


class Han(Script):
    """Chinese: simplified (OpenCC t2s), one character a word; the index holds characters and bigrams.

    Bigrams are what Lucene's CJK analyzer indexes. Phrases match by characters, so no segmentation can miss one.
    """

    sentence_end = regex.compile(r"(?<=[。！？；…!?;][”’」』）]*)(?![。！？；…!?;”’」』）])|\n+")
    _gap = BLANK
    _run = regex.compile(r"\p{Han}+|[\p{L}\p{M}\p{N}--\p{Han}]+", regex.V1)
    _han = regex.compile(r"\p{Han}")
    joiner = ""

    @functools.cached_property
    def _simplify(self) -> Any:
        import opencc

        return opencc.OpenCC("t2s")

    def prepare(self, text: str) -> str:
        """Return `text` in simplified characters."""
        return self._simplify.convert(super().prepare(text))

    def runs(self, text: str) -> list[list[str]]:
        """Return the characters of each run of Han characters, and each run of other letters or digits as one."""
        found = self._run.findall(self.fold(text))
        return [list(run) if self._han.match(run) else [run] for run in found]

    def words(self, text: str) -> list[str]:
        """Return each Han character and each run of other letters or digits."""
        return list(itertools.chain.from_iterable(self.runs(text)))

    def capitals(self, text: str) -> list[bool]:
        """Say that nothing begins with a capital: what is not Chinese in a Chinese text names nothing by its case."""
        return [False] * len(self.words(text))

    def tokens(self, text: str) -> list[str]:
        """Return the words of `text` and the bigrams of every run of Han characters."""
        units, pairs = self.units_and_pairs(text)
        return units + pairs


class Unbroken(Script):
    """Japanese, Thai: no space stands between words, so that a letter with its marks is read as one.

    Katakana that stand together are one word, as names are written, and so are other letters and digits.
    """

    sentence_end = Han.sentence_end
    _gap = BLANK
    _unit = regex.compile(
        r"[\p{Han}\p{Hiragana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*"
        r"|[\p{L}\p{M}\p{N}--[\p{Han}\p{Hiragana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]]+",
        regex.V1,
    )
    joiner = ""

    def words(self, text: str) -> list[str]:
        """Return each letter of a script without spaces, and each run of others."""
        return self._unit.findall(self.fold(text))

    def capitals(self, text: str) -> list[bool]:
        """Say that nothing begins with a capital, as these scripts have none."""
        return [False] * len(self.words(text))


# Case particles, auxiliary particles and the copula, as they are written onto a noun.
_JOSA = (
    "에서는|에서도|에서의|으로서|으로써|으로는|으로도|에게서|에게는|한테서|이라는|이라고|이라도|까지|"
    "부터|에서|에게|한테|께서|으로|로서|로써|로는|이나|이란|이며|이고|이다|이라|이랑|라는|라고|처럼|보다|"
    "마다|조차|마저|밖에|만큼|대로|에는|에도|에만|와는|와의|과는|과의|하고|은|는|이|가|을|를|의|에|도|만|"
    "와|과|로|나|며|란|랑"
)


class Hangul(Script):
    """Korean: space-separated eojeol, indexed whole and without the particle; a phrase matches by stem prefix.

    A particle is taken off only where two syllables or more remain: many nouns of two syllables look like a noun of
    one syllable with a particle. Phrases are taken as written, so that a name is not cut twice.
    """

    _josa = regex.compile(f"^(.{{2,}}?)(?:{_JOSA})$")
    # "은", "이", "도" and "고" end adnominal verbs and clauses as well, and so does "는" behind some syllables.
    _of_nouns = regex.compile(
        r".(?:에서는?|에서의|으로서?|로서?|에게|까지|부터|의|에는?|을|를|와|과|가|[^하되있없르리치]는)$"
    )

    def nominal(self, text: str) -> list[bool]:
        """Say of each eojeol whether it ends in a particle that no verb ends in, or in a noun of its own."""
        return [bool(self._of_nouns.search(word)) for word in self.words(text)]

    def base(self, word: str) -> str:
        """Return an eojeol without its particle."""
        match = self._josa.match(word)
        return match[1] if match else word

    def _pattern(self, words: list[str]) -> str:
        # A stem that ends in a digit must not run on into a longer number.
        return " ".join(regex.escape(word) + (r"(?!\d)" if word[-1].isdigit() else "") + "[^ ]*" for word in words)


_SHAD = "།༎༏༐༑༔"
# A shad closes clauses and list items as well as sentences. It closes no sentence after these conjunctions and case
# particles, nor where a tsheg follows it; that is nearly a third of the shads in running text.
_CONNECTIVE = "དང|ནས|ལས|ལ|ཏེ|སྟེ|དེ|ཅིང|ཞིང|ཤིང|ན|ཀྱང|ཡང|ནི|པས|བས|པར|བར|ཀྱི|གི|གྱི|ཀྱིས|གིས|གྱིས|སུ|ཏུ|དུ|རུ"


class Tibetan(Script):
    """Tibetan: syllables, bounded by tsheg or shad; particles merged into an open syllable are ignored in matching.

    The genitive, the concluding, the conjunctive and the interrogative particle merge as འི འོ འང འམ; the ergative
    and the terminative add ས and ར, which are ordinary suffix letters, too. So a syllable that may carry one of those
    is indexed in both readings, and a phrase that ends in an open syllable matches with and without them.
    """

    _gap = BLANK
    joiner = "་"
    sentence_end = regex.compile(
        rf"(?<=[{_SHAD}])(?<!(?:^|[^\p{{L}}\p{{M}}])(?:{_CONNECTIVE})་?\s*།)(?!\s*[{_SHAD}]|་)\s*|\n+"
    )
    _break = regex.compile(r"[^\p{L}\p{M}\p{N}་༌]+")
    _merged = regex.compile(r"^(.+?)འ(?:ིས|ི|ོ|ང|མ)?$")
    # One stack alone, or letters that end in a vowel sign: what can stand before a merged ས or ར.
    _open = r"[\u0f40-\u0f6c][\u0f90-\u0fbc]*|[\u0f40-\u0f6c\u0f90-\u0fbc]+[\u0f71-\u0f7d]+"
    _case = regex.compile(rf"^({_open})[སར]$")
    _is_open = regex.compile(rf"^(?:{_open})$")

    def fill(self, text: str, option: str) -> str:
        """Return a cloze with its blank filled by `option`, bounded by tsheg: the released options end without one."""
        return super().fill(text, f"་{option}་")

    def base(self, word: str) -> str:
        """Return a syllable without its merged particle (and without the final འ that carries it)."""
        match = self._merged.match(word)
        return match[1] if match else word

    def runs(self, text: str) -> list[list[str]]:
        """Return the syllables, without particles, between one shad or space and the next."""
        return [[self.base(word) for word in _WORD.findall(run)] for run in self._break.split(self.fold(text)) if run]

    def tokens_by_word(self, text: str) -> list[list[str]]:
        """Return each syllable with its base form, or with what stands before a possible ས or ར."""
        return [
            [word, match[1]] if (match := self._merged.match(word) or self._case.match(word)) else [word]
            for word in self.words(text)
        ]

    def _pattern(self, words: list[str]) -> str:
        stem = self.base(words[-1])
        case = "|ས|ར" if self._is_open.match(stem) else ""
        return " ".join([*map(regex.escape, words[:-1]), f"{regex.escape(stem)}(?:འ(?:ིས|ི|ོ|ང|མ)?{case})?"])


# Suffixes that traditional Mongolian writes apart from the stem: after U+202F, or, in much text, after a space.
_MONGOLIAN_SUFFIXES = (
    "ᠤᠨ",
    "ᠦᠨ",
    "ᠶᠢᠨ",
    "ᠤ",
    "ᠦ",
    "ᠳᠤ",
    "ᠳᠦ",
    "ᠲᠤ",
    "ᠲᠦ",
    "ᠳᠤᠷ",
    "ᠳᠦᠷ",
    "ᠲᠤᠷ",
    "ᠲᠦᠷ",
    "ᠢ",
    "ᠶᠢ",
    "ᠠᠴᠠ",
    "ᠡᠴᠡ",
    "ᠪᠠᠷ",
    "ᠪᠡᠷ",
    "ᠢᠶᠠᠷ",
    "ᠢᠶᠡᠷ",
    "ᠲᠠᠢ",
    "ᠲᠡᠢ",
    "ᠲᠠᠶ",
    "ᠲᠡᠶ",
    "ᠲᠠᠶᠢ",
    "ᠲᠡᠶᠢ",
    "ᠯᠤᠭᠠ",
    "ᠯᠦᠭᠡ",
    "ᠪᠠᠨ",
    "ᠪᠡᠨ",
    "ᠢᠶᠠᠨ",
    "ᠢᠶᠡᠨ",
    "ᠳᠠᠭᠠᠨ",
    "ᠳᠡᠭᠡᠨ",
    "ᠲᠠᠭᠠᠨ",
    "ᠲᠡᠭᠡᠨ",
    "ᠠᠴᠠᠭᠠᠨ",
    "ᠡᠴᠡᠭᠡᠨ",
    "ᠨᠤᠭᠤᠳ",
    "ᠨᠦᠭᠦᠳ",
    "ᠤᠳ",
    "ᠦᠳ",
)


class Mongolian(Script):
    """Traditional Mongolian: stems; suffixes written apart, variation selectors and joiners are ignored in matching.

    The index holds the stem and the stem with its suffixes.
    """

    sentence_end = regex.compile(r"(?<=[᠃᠄᠅᠉!?]+)(?![᠃᠄᠅᠉!?])\s*|\n+")
    suffixes = frozenset(_MONGOLIAN_SUFFIXES)
    # Free variation selectors, the vowel separator, the nirugu and joiners change the shape of letters, not the word.
    _unseen = re.compile(f"[{_UNSEEN}\\u200c\\u180a-\\u180f]")
    # Endings of finite verbs, participles and converbs, in both classes of vowels.
    _of_verbs = regex.compile(r"(?:[ᠳᠲ][ᠠᠡ]ᠭ|[ᠭᠬ][ᠰ][ᠠᠡ]ᠨ|ᠬ[ᠤᠦ]|[ᠵᠴ][ᠤᠦ]|[ᠵᠴ][ᠠᠡ]ᠢ|[ᠤᠦᠠᠡᠢ]ᠨ[ᠠᠡ]|[ᠠᠡ]ᠳ|ᠰᠢ)$")
    # Whether U+202F stands before a word tells a suffix that the list does not know.
    _suffixed = regex.compile(r"(\u202f)?([\p{L}\p{M}\p{N}]+)")

    def _stems(self, text: str) -> list[list[str]]:
        """Return every word as its stem and suffixes; suffixes without a stem (after a blank) are left out."""
        words: list[list[str]] = []
        end = -1
        folded = self.fold(text)
        for match in self._suffixed.finditer(folded):
            narrow, word = match.groups()
            attached = narrow or word in self.suffixes
            # A suffix belongs to the word right before it, with nothing but one space between.
            if attached and words and folded[end : match.start(2)] in (" ", "\u202f"):
                words[-1].append(word)
            elif not attached:
                words.append([word])
            end = match.end()
        return words

    def words(self, text: str) -> list[str]:
        """Return the stems of `text` in order."""
        return [word[0] for word in self._stems(text)]

    def capitals(self, text: str) -> list[bool]:
        """Say that nothing begins with a capital, as the script has none."""
        return [False] * len(self.words(text))

    def nominal(self, text: str) -> list[bool]:
        """Say of each word whether a suffix of case or number follows it, or a noun that it stands before."""
        stems = self._stems(text)
        return [len(word) > 1 or not self._of_verbs.search(word[0]) for word in stems]

    def tokens_by_word(self, text: str) -> list[list[str]]:
        """Return each stem, with the stem and its suffixes where it has any."""
        return [word if len(word) == 1 else [word[0], "".join(word)] for word in self._stems(text)]


_SCRIPTS: dict[str, Script] = {
    "Arabic": Arabic(),
    "Han": Han(),
    "Hangul": Hangul(),
    "Japanese": Unbroken(),
    "Mongolian": Mongolian(),
    "Thai": Unbroken(),
    "Tibetan": Tibetan(),
}
_WORDS = Script()


def script_of(name: str) -> Script:
    """Return the reading of the Unicode script `name` ("Latin", "Hangul", "Han", "Tibetan", "Mongolian", ...)."""
    return _SCRIPTS.get(name, _WORDS)


def analyse(text: str, script: str) -> list[str]:
    """Return the index tokens of `text`, read by the rules of the Unicode script `script`.

    >>> analyse("Korea's national anthem", "Latin")
    ['korea', 's', 'national', 'anthem']
    >>> analyse("བླ་མའི་ཆོས།", "Tibetan")
    ['བླ', 'མའི', 'མ', 'ཆོས', 'ཆོ']
    """
    return script_of(script).tokens(text)
