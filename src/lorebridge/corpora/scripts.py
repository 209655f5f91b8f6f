"""Scripts and letters by the Unicode property ``Script``, and the filter that keeps a text in its script.

Every lookup goes through the `regex` package, so that one pinned version of the Unicode database decides.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import regex

from lorebridge.errors import InputError

# The values of the property `Script` that stand for a script or for none (Common, Inherited), by their long names.
_NAMES = """
    Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali Beria_Erfe
    Bhaiksuki Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham
    Cherokee Chorasmian Common Coptic Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret Devanagari Dives_Akuru
    Dogra Duployan Egyptian_Hieroglyphs Elbasan Elymaic Ethiopic Garay Georgian Glagolitic Gothic Grantha Greek
    Gujarati Gunjala_Gondi Gurmukhi Gurung_Khema Han Hangul Hanifi_Rohingya Hanunoo Hatran Hebrew Hiragana
    Imperial_Aramaic Inherited Inscriptional_Pahlavi Inscriptional_Parthian Javanese Jurchen Kaithi Kannada
    Katakana Kawi Kayah_Li Kharoshthi Khitan_Small_Script Khmer Khojki Khudawadi Kirat_Rai Lao Latin Lepcha
    Limbu Linear_A Linear_B Lisu Lycian Lydian Mahajani Makasar Malayalam Mandaic Manichaean Marchen
    Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi
    Mongolian Mro Multani Myanmar Nabataean Nag_Mundari Nandinagari New_Tai_Lue Newa Nko Nushu
    Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Ol_Onal Old_Hungarian Old_Italic Old_North_Arabian Old_Permic
    Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage Osmanya Pahawh_Hmong Palmyrene
    Pau_Cin_Hau Phags_Pa Phoenician Proto_Cuneiform Psalter_Pahlavi Rejang Runic Samaritan Saurashtra Seal
    Sharada Shavian Siddham Sidetic SignWriting Sinhala Sogdian Sora_Sompeng Soyombo Sundanese Sunuwar
    Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Tai_Yo Takri Tamil Tangsa Tangut Telugu Thaana
    Thai Tibetan Tifinagh Tirhuta Todhri Tolong_Siki Toto Tulu_Tigalari Ugaritic Vai Vithkuqi Wancho Warang_Citi
    Yezidi Yi Zanabazar_Square
"""
SCRIPTS = tuple(_NAMES.split())

LETTER = regex.compile(r"\p{L}+")
LETTER_OR_DIGIT = regex.compile(r"[\p{L}\p{N}]")

# Stands where characters were deleted until the gap is mended. A noncharacter: a text may not hold it, and one that
# does loses it with the foreign letters.
_GAP = "\ufdd0"
# A bracket that is left without letter or digit; quotes with a direction count as brackets.
_INNER = r"[^\p{Ps}\p{Pe}\p{Pi}\p{Pf}\p{L}\p{N}\n" + _GAP + "]*+"
_EMPTY_BRACKET = regex.compile(rf"[\p{{Ps}}\p{{Pi}}]{_INNER}(?:{_GAP}{_INNER})++[\p{{Pe}}\p{{Pf}}]")
# Gaps with the spaces around them, and the line end after them. A space is U+0020 or a tab: U+00A0, U+202F (part of
# Mongolian words) and U+3000 belong to the text.
_GAPS = regex.compile(rf"(?<![ \t])[ \t]*+(?:{_GAP}[ \t]*+)++(\n?)")


@dataclasses.dataclass(frozen=True)
class Cleaned:
    """A text in its script.

    Attributes:
        text: what is left, in NFC.
        letters: letters (general category L) before.
        deleted: how many of them are gone.
        edited: whether anything was deleted.
    """

    text: str
    letters: int
    deleted: int
    edited: bool

    @property
    def share_deleted(self) -> float:
        """The share of the letters that are gone, 0 where there were none."""
        return self.deleted / self.letters if self.letters else 0.0


class LetterFilter:
    """Deletes the letters of foreign scripts (Zhang et al. 2025: no non-Latin characters in English, no
    Latin characters in the other languages).

    ``{"keep": "Latin"}`` deletes every character whose Script is not Latin, Common or Inherited;
    ``{"drop": "Latin"}`` every character whose Script is Latin, full-width forms included. The combining marks and
    joiners after a deleted character go with it. Signs and digits that belong to a foreign script (a Tibetan tsheg
    in English) go too; ASCII digits and shared punctuation stay. Then brackets that were emptied go, lines that were
    emptied go, and the spaces around a gap become one. A text without foreign characters is only normalised.

    The result is in NFC (never NFKC, which rewrites full-width punctuation and the spaces that Mongolian spells with).
    Up to canonical equivalence its letters are a subsequence of the text's; filtering it again changes nothing.

    Args:
        letters: ``{"keep": SCRIPT}`` or ``{"drop": SCRIPT}``, with a script of :data:`SCRIPTS`.

    Raises:
        InputError: `letters` is neither.
    """

    def __init__(self, letters: Mapping[str, str]) -> None:
        """Compile the pattern of foreign characters."""
        mend = f"Write {{keep: SCRIPT}} or {{drop: SCRIPT}} with a Unicode script, one of {', '.join(SCRIPTS)}."
        if len(letters) != 1 or not letters.keys() <= {"keep", "drop"}:
            raise InputError("letters", f"{dict(letters)} is no policy", mend)
        [(verb, script)] = letters.items()
        if script not in SCRIPTS:
            raise InputError("letters", f"{script!r} is no script", mend)
        if verb == "keep":
            foreign = rf"[^\p{{Script={script}}}\p{{Script=Common}}\p{{Script=Inherited}}]"
        else:
            foreign = rf"[\p{{Script={script}}}{_GAP}]"
        self._foreign = regex.compile(foreign)
        self._foreign_run = regex.compile(rf"(?:{foreign}[\p{{M}}\u200c\u200d]*+)++")

    def clean(self, text: str) -> Cleaned:
        """Return `text` without foreign letters."""
        text = unicodedata.normalize("NFC", text)
        if not self._foreign.search(text):
            return Cleaned(text, count_letters(text), 0, False)
        letters = count_letters(text)
        # Closing a gap can join what composes into a foreign sign (U+00A8 and U+0300 make the Greek U+1FED).
        while self._foreign.search(text):
            text = unicodedata.normalize("NFC", _mend(self._foreign_run.sub(_GAP, text)))
        return Cleaned(text, letters, letters - count_letters(text), True)


def _mend(text: str) -> str:
    """Close the gaps in `text`, and touch nothing else: "f()" or an indented line that the source wrote stays."""
    emptied = 1
    while emptied:
        text, emptied = _EMPTY_BRACKET.subn(_GAP, text)
    return _GAPS.sub(_close, text)


def _close(gaps: regex.Match[str]) -> str:
    """Return what takes the place of `gaps`: nothing at the edge of a line, else one space where there was any."""
    text, start, end, line_end = gaps.string, gaps.start(), gaps.end(), gaps[1]
    opens = start == 0 or text[start - 1] == "\n"
    closes = bool(line_end) or end == len(text)
    if opens and closes:
        return ""
    if opens or closes:
        return line_end
    return " " if " " in gaps[0] or "\t" in gaps[0] else ""


def count_letters(text: str) -> int:
    """Return the number of letters (general category L) in `text`."""
    return sum(map(len, LETTER.findall(text)))


class LetterCounts:
    """Counts letters by script over many texts.

    It counts code points in batches and asks for their scripts once, at the end: a corpus has few different letters.
    """

    _BATCH = 1 << 20  # characters

    def __init__(self) -> None:
        """Start from zero."""
        self._counts: npt.NDArray[np.int64] = np.zeros(0x110000, dtype=np.int64)
        self._waiting: list[str] = []
        self._n_waiting = 0

    def add(self, text: str) -> None:
        """Count the letters of `text`."""
        self._waiting.append(text)
        self._n_waiting += len(text)
        if self._n_waiting >= self._BATCH:
            self._flush()

    def _flush(self) -> None:
        points = np.frombuffer("".join(self._waiting).encode("utf-32-le"), dtype=np.uint32)
        self._counts += np.bincount(points, minlength=len(self._counts))
        self._waiting, self._n_waiting = [], 0

    def by_script(self) -> dict[str, int]:
        """Return the number of letters (general category L) of every script that occurs, most frequent first."""
        self._flush()
        seen = "".join(map(chr, np.flatnonzero(self._counts)))
        letters = "".join(LETTER.findall(seen))
        counts = {}
        for script in SCRIPTS:
            found = regex.findall(rf"\p{{Script={script}}}", letters)
            if found:
                counts[script] = int(self._counts[[ord(letter) for letter in found]].sum())
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
