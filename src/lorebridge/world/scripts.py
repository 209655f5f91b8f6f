"""Writing systems of planted languages: how their words, clauses and texts are put together.

Nothing here is a real language. Words are pseudo-words, built from the real Unicode blocks with syllables of a
plausible shape, so that script filters, tokenizers and analysers meet what they would meet in real text: Tibetan
syllables bounded by tshegs, Mongolian words with U+202F suffixes and U+180E before a separated vowel, Han without
spaces, Hangul with particles on the noun.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Sequence

import numpy as np

# U+180E parts the last vowel of a Mongolian word from the letter before it; U+202F parts a suffix from its word.
MVS, NNBSP = "\u180e", "\u202f"


@dataclasses.dataclass(frozen=True)
class Script:
    """One writing system.

    Attributes:
        frame: a clause with the places `{s}`, `{v}`, `{o}` (subject, verb, object), its particles and its full stop.
        space: what stands between two words.
        between: what stands between two clauses of a text.
        name_onsets: the initials of the syllables of proper names.
        word_onsets: the initials of the syllables of common words. Where no space parts the words, these and the
            initials of names have none in common, so that no name can arise across the border of two words.
        vowels: one sequence for each class of vowel harmony; a word keeps to one class.
        codas: the finals of a syllable.
        name_sizes: the syllables of each word of a proper name; all are drawn equally often.
        tails: endings that a word takes in one case of eight, for each class of vowels.
        capitals: whether proper names are capitalised.
    """

    frame: str
    space: str
    between: str
    name_onsets: Sequence[str]
    word_onsets: Sequence[str]
    vowels: Sequence[Sequence[str]]
    codas: Sequence[str]
    name_sizes: Sequence[Sequence[int]] = ((3,), (3,), (2, 2))
    tails: Sequence[Sequence[str]] = ()
    capitals: bool = False

    def syllable(self, rng: np.random.Generator, onsets: Sequence[str], harmony: int) -> str:
        """Draw one syllable that is not a particle of the frame."""
        while True:
            letters = (_draw(rng, onsets), _draw(rng, self.vowels[harmony]), _draw(rng, self.codas))
            # NFC also turns Hangul jamo into syllables.
            syllable = unicodedata.normalize("NFC", "".join(letters))
            if syllable not in self.frame:
                return syllable

    def word(self, rng: np.random.Generator, syllables: int) -> str:
        """Draw a common word, in NFC."""
        return self._word(rng, syllables, self.word_onsets)

    def name(self, rng: np.random.Generator) -> str:
        """Draw a proper name, in NFC."""
        sizes = self.name_sizes[int(rng.integers(len(self.name_sizes)))]
        words = [self._word(rng, size, self.name_onsets) for size in sizes]
        return self.space.join(word.capitalize() if self.capitals else word for word in words)

    def _word(self, rng: np.random.Generator, syllables: int, onsets: Sequence[str]) -> str:
        harmony = int(rng.integers(len(self.vowels)))
        # Tibetan bounds every syllable; the other scripts bound words only.
        joint = self.space if self.space == "་" else ""
        word = joint.join(self.syllable(rng, onsets, harmony) for _ in range(syllables))
        if self.tails and rng.random() < 1 / 8:
            word += _draw(rng, self.tails[harmony])
        return word

    def clause(self, subject: str, verb: str, obj: str) -> str:
        """Return a clause with its full stop."""
        return self.frame.format(s=subject, v=verb, o=obj)


def _draw(rng: np.random.Generator, values: Sequence[str]) -> str:
    return values[int(rng.integers(len(values)))]


SCRIPTS: dict[str, Script] = {
    "Latin": Script(
        frame="{s} {v} {o}.",
        space=" ",
        between=" ",
        name_onsets="bdfgklmnprstvz",
        word_onsets="bdfgklmnprstvz",
        vowels=("aeiou",),
        codas=("", "", "n", "r"),
        capitals=True,
    ),
    "Hangul": Script(
        frame="{s}은 {o}을 {v}다.",
        space=" ",
        between=" ",
        name_onsets="ᄀᄂᄃᄅᄆᄇᄉᄌᄎᄒ",
        word_onsets="ᄀᄂᄃᄅᄆᄇᄉᄌᄎᄒ",
        vowels=("ᅡᅥᅩᅮᅵ",),
        codas=("", "", "ᆫ"),
    ),
    # Characters that simplified and traditional Chinese write alike.
    "Han": Script(
        frame="{s}{v}{o}。",
        space="",
        between="",
        name_onsets="山水火木土石田川江河海天地日月星雨雪金玉白青北南西中安平和文明元光春秋冬高古正成林松竹梅花草",
        word_onsets="人口手足心目耳牛羊犬米豆果衣刀弓船屋家村市井舟竿走立坐食忘看用作行起放合分加少多大小早晚冷甘苦忙新",
        vowels=(("",),),
        codas=("",),
    ),
    "Tibetan": Script(
        frame="{s}་ཡང་{o}་ལ་{v}་ལགས།",
        space="་",
        between=" ",
        # With the silent prefixes of real spelling: a tokenizer cannot join syllables, so a syllable must tell much.
        name_onsets=[prefix + root for prefix in ("", "ག", "ད", "བ", "མ", "འ") for root in "ཀགཅཇཏདཔབཙཛ"],
        word_onsets="ཁཆཐཕཚཞཟཤསཧ",
        vowels=(("", "", "", "ི", "ོ"),),
        codas=("", "ན", "ས"),
        name_sizes=((2,), (2,), (3,)),
    ),
    "Mongolian": Script(
        frame="{s} {o}" + NNBSP + "ᠢ {v} ᠃",
        space=" ",
        between=" ",
        name_onsets="ᠨᠪᠬᠭᠮᠯᠰᠱᠲᠳᠴᠵᠷ",
        word_onsets="ᠨᠪᠬᠭᠮᠯᠰᠱᠲᠳᠴᠵᠷ",
        vowels=("ᠠᠣᠤ", "ᠡᠥᠦ"),
        codas=("", "", "ᠨ"),
        tails=(("ᠨ" + MVS + "ᠠ", "ᠷ" + MVS + "ᠠ"), ("ᠨ" + MVS + "ᠡ", "ᠷ" + MVS + "ᠡ")),
    ),
}
