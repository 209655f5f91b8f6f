"""Writing systems of planted languages: how their words, clauses and texts are put together.

Nothing here is a real language. Words are pseudo-words, built from the real Unicode blocks with syllables of a
plausible shape, so that script filters, tokenizers and analysers meet what they would meet in real text: Tibetan
syllables bounded by tshegs, Mongolian words with U+202F suffixes and U+180E before a separated vowel, Han without
spaces, Hangul with particles on the noun.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence

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
    "Cyrillic": Script(
        frame="{s} {v} {o}.",
        space=" ",
        between=" ",
        name_onsets="бвгджзклмнпрстф",
        word_onsets="бвгджзклмнпрстф",
        vowels=("аеиоу",),
        codas=("", "", "н", "р"),
        capitals=True,
    ),
    "Devanagari": Script(
        frame="{s} {o} को {v} है।",
        space=" ",
        between=" ",
        name_onsets="कगचजटडतदनपबमरलवसह",
        word_onsets="कगचजटडतदनपबमरलवसह",
        vowels=(("", "", "ा", "ि", "ो"),),
        codas=("", "", "न", "र"),
    ),
}

LETTERS = {
    "Latin": "abcdefghijklmnopqrstuvwxyz",
    "Cyrillic": "абцдефгхийклмнопярстувшжыз",
    # Letters alone, the vowels independent: a mark is no letter to a tokenizer, which would cut the word there.
    "Devanagari": "अबचदएफगहइजकलमनओपखरसतउवभषयझ",
}
"""Letters that stand for each other, one for one, by script: how a clone of a language is written.

The one-to-one mapping of Deshpande, Talukdar & Narasimhan (NAACL 2022, arXiv 2110.14782).
"""


def transcribed(text: str, script: str, into: str) -> str:
    """Return a text letter by letter in another script; what is no letter stays, and so does case where there is one.

    >>> transcribed(" Nalo kuru 12", "Latin", "Cyrillic")
    ' Нало куру 12'
    """
    one, other = LETTERS[script], LETTERS[into]
    return text.translate(str.maketrans(one + one.upper(), other + other.upper()))


def clone_problems(
    clones: Mapping[str, Mapping[str, str]], scripts: Mapping[str, str], own: Collection[str], base: str
) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what, mend) of clones that cannot be written.

    Args:
        clones: code -> ``of``, the language that it is.
        scripts: code -> script, of all languages.
        own: the languages that have knobs of their own.
        base: the language trained first.
    """
    for lang, clone in clones.items():
        key, of = f"world.clones.{lang}", clone["of"]
        if lang not in scripts or lang == base:
            yield key, f"{lang!r} is no language beside the base", f"Use one of {sorted(set(scripts) - {base})}."
            continue
        if of not in scripts or of == base or of in clones:
            originals = sorted(set(scripts) - {base} - set(clones))
            yield f"{key}.of", f"{of!r} has no text that can be written anew", f"Use one of {originals}."
            continue
        if lang in own:
            yield f"world.languages.{lang}", f"has knobs, and is a clone of {of!r}", f"Give them to {of!r} alone."
        if scripts[of] not in LETTERS or scripts[lang] not in LETTERS or scripts[of] == scripts[lang]:
            yield (
                f"languages.{lang}.script",
                f"{scripts[of]} of {of!r} cannot be written letter by letter in {scripts[lang]}",
                f"Use two of {', '.join(LETTERS)}.",
            )
