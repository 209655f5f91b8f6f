"""Scripts and letters by the Unicode property ``Script``, and the filter that keeps a text in its script.

Every lookup of a script or a category goes through the `regex` package, so that one pinned version of the Unicode
database decides; Python's `unicodedata` decides what NFC is, because it is what normalises. Both are laid out once in
a table over all code points, and compiled kernels run over the UTF-8 bytes of Arrow columns with it.
"""

from __future__ import annotations

import dataclasses
import functools
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import regex

from lorebridge.errors import InputError
from lorebridge.kernels import compiled

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


# What the table says of a code point: flags, then the script of a letter, then the canonical combining class.
_LETTER, _DIGIT, _MARK, _OPENING, _CLOSING, _FOREIGN, _MAY_COMPOSE = (1 << bit for bit in range(7))
_SCRIPT_SHIFT, _CLASS_SHIFT = 8, 16
_SCRIPT = np.uint32(0xFF << _SCRIPT_SHIFT)

# Stands where characters were deleted until the gap is mended. A noncharacter: a text may not hold it, and one that
# does loses it with the foreign letters.
_GAP = 0xFDD0
_TAB, _LINE_FEED, _SPACE = 0x09, 0x0A, 0x20


def _points(text: str) -> npt.NDArray[np.uint32]:
    """Return the code points of `text`."""
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)


@functools.cache
def _characters() -> str:
    """Return every code point that text can hold."""
    return "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))


def _holding(pattern: str) -> npt.NDArray[np.uint32]:
    """Return the code points that match a character class."""
    return _points("".join(regex.findall(f"{pattern}+", _characters())))


@functools.cache
def _properties() -> npt.NDArray[np.uint32]:
    """Return what the kernels need to know of every code point, but for what is foreign."""
    table = np.zeros(0x110000, dtype=np.uint32)
    for flag, pattern in {
        _LETTER: r"\p{L}",
        _DIGIT: r"\p{N}",
        _MARK: r"[\p{M}\u200c\u200d]",
        _OPENING: r"[\p{Ps}\p{Pi}]",
        _CLOSING: r"[\p{Pe}\p{Pf}]",
    }.items():
        table[_holding(pattern)] |= np.uint32(flag)
    rest = "".join(regex.findall(r"\p{L}+", _characters()))
    # Han and Hangul first: they are most of the letters, and what is found need not be looked at again.
    for script in sorted(SCRIPTS, key=lambda name: name not in ("Han", "Hangul")):
        pattern = regex.compile(rf"\p{{Script={script}}}+")
        found = _points("".join(pattern.findall(rest)))
        if len(found):
            table[found] |= np.uint32((1 + SCRIPTS.index(script)) << _SCRIPT_SHIFT)
            rest = pattern.sub("", rest)
    # The quick check of Unicode Standard Annex 15, section 9: NFC_Quick_Check is not "yes" for a character that
    # normalises to something else, that is the second half of a composition, or a vowel or final consonant of Hangul.
    table[0x1161:0x1176] |= np.uint32(_MAY_COMPOSE)
    table[0x11A8:0x11C3] |= np.uint32(_MAY_COMPOSE)
    for character in "".join(regex.findall(r"[^\p{Cn}\p{Co}]+", _characters())):
        if combining := unicodedata.combining(character):
            table[ord(character)] |= np.uint32(combining << _CLASS_SHIFT)
        parts = unicodedata.decomposition(character)
        if parts and parts[0] != "<":
            if unicodedata.normalize("NFC", character) != character:
                table[ord(character)] |= np.uint32(_MAY_COMPOSE)
            elif " " in parts:
                table[int(parts.split()[1], 16)] |= np.uint32(_MAY_COMPOSE)
    return table


@functools.cache
def _table(verb: str, script: str) -> npt.NDArray[np.uint32]:
    """Return the properties of every code point under a policy: the gap is always foreign."""
    if verb == "keep":
        foreign = _holding(rf"[^\p{{Script={script}}}\p{{Script=Common}}\p{{Script=Inherited}}]")
    else:
        foreign = _holding(rf"\p{{Script={script}}}")
    table = _properties().copy()
    table[foreign] |= np.uint32(_FOREIGN)
    table[_GAP] |= np.uint32(_FOREIGN)
    return table


@functools.cache
def unit_kinds(unbroken: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    """Return for every code point 1 where it is part of a word, 2 where it is a unit by itself, else 0.

    Letters, marks, joiners and digits are parts of words; letters of the scripts `unbroken` are units by themselves.
    """
    table = _properties()
    kinds = (table & (_LETTER | _DIGIT | _MARK) != 0).astype(np.uint8)
    numbers = [1 + SCRIPTS.index(script) for script in unbroken]
    kinds[np.isin((table & _SCRIPT) >> _SCRIPT_SHIFT, numbers)] = 2
    return kinds


@compiled
def decode(data, i):
    """Return the code point at byte `i` of valid UTF-8 and its length."""
    first = np.uint32(data[i])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        return (first & 0x1F) << 6 | np.uint32(data[i + 1]) & 0x3F, 2
    if first < 0xF0:
        return (first & 0x0F) << 12 | (np.uint32(data[i + 1]) & 0x3F) << 6 | np.uint32(data[i + 2]) & 0x3F, 3
    return (
        (first & 0x07) << 18
        | (np.uint32(data[i + 1]) & 0x3F) << 12
        | (np.uint32(data[i + 2]) & 0x3F) << 6
        | np.uint32(data[i + 3]) & 0x3F
    ), 4


@compiled
def _encode(point, out, at):
    """Write a code point as UTF-8 to `out` from byte `at`, and return where it ends."""
    if point < 0x80:
        out[at] = point
        return at + 1
    if point < 0x800:
        out[at] = 0xC0 | point >> 6
        at += 1
    else:
        if point < 0x10000:
            out[at] = 0xE0 | point >> 12
            at += 1
        else:
            out[at] = 0xF0 | point >> 18
            out[at + 1] = 0x80 | point >> 12 & 0x3F
            at += 2
        out[at] = 0x80 | point >> 6 & 0x3F
        at += 1
    out[at] = 0x80 | point & 0x3F
    return at + 1


@compiled
def _scan(data, words, offsets, table, latin, characters, foreign, content, normal, n_letters, letters):
    """Look at every text of a column once; the last six arguments are filled.

    Args:
        data: the bytes of the column.
        words: the same in eights; ASCII is read eight bytes at a time.
        offsets: where the texts begin and end.
        table: what :func:`_table` returned.
        latin: the number of the Latin script.
        characters: [texts], their code points.
        foreign: [texts], their foreign characters.
        content: [texts], whether there is a letter or digit.
        normal: [texts], whether the quick check says that the text is in NFC.
        n_letters: [texts], their letters.
        letters: [texts, scripts], letters of each script.
    """
    high = np.uint64(0x8080808080808080)
    ascii_is_foreign = table[0x61] & _FOREIGN
    for text in range(len(offsets) - 1):
        i, end = offsets[text], offsets[text + 1]
        n_characters = n_foreign = n_other_letters = 0
        n_ascii_letters = np.int64(0)
        flags, last_class = np.uint32(0), np.uint32(0)
        unordered = False
        script, run = np.uint32(0), 0  # letters of one script in a row: written once it changes
        while i < end:
            if i & 7 == 0 and i + 8 <= end:
                word = words[i >> 3]
                if word & high == 0:
                    lower = word | np.uint64(0x2020202020202020)
                    # Bit 7 of each byte says: not below "a", and not above "z". The product adds the bytes up.
                    found = (lower + np.uint64(0x1F1F1F1F1F1F1F1F)) & ~(lower + np.uint64(0x0505050505050505)) & high
                    in_bytes = (found >> np.uint64(7)) * np.uint64(0x0101010101010101)
                    n_ascii_letters += np.int64(in_bytes >> np.uint64(56))
                    if n_ascii_letters == 0 and not flags & (_LETTER | _DIGIT):
                        for k in range(8):
                            flags |= table[data[i + k]]
                    last_class = np.uint32(0)
                    n_characters += 8
                    i += 8
                    continue
            point, length = decode(data, i)
            entry = table[point]
            flags |= entry
            n_characters += 1
            i += length
            n_foreign += entry & _FOREIGN != 0
            if entry & _LETTER:
                if entry & _SCRIPT != script:
                    if run:
                        letters[text, (script >> _SCRIPT_SHIFT) - 1] += run
                        n_other_letters += run
                    script, run = entry & _SCRIPT, 0
                run += 1
            combining = entry >> _CLASS_SHIFT
            unordered |= (combining != 0) & (combining < last_class)
            last_class = combining
        if run:
            letters[text, (script >> _SCRIPT_SHIFT) - 1] += run
            n_other_letters += run
        letters[text, latin] += n_ascii_letters
        n_letters[text] = n_ascii_letters + n_other_letters
        characters[text] = n_characters
        foreign[text] = n_foreign + (n_ascii_letters if ascii_is_foreign else 0)
        content[text] = flags & (_LETTER | _DIGIT) != 0 or n_ascii_letters > 0
        normal[text] = not unordered and not flags & _MAY_COMPOSE


@compiled
def _delete(data, offsets, table, out, ends):
    """Delete the foreign characters of texts and mend the gaps; `out` and `ends` are filled.

    A gap never reaches over the end of a line, so a line without foreign characters is copied as it is.

    Args:
        data: the bytes of a column.
        offsets: where the texts begin and end.
        table: what :func:`_table` returned.
        out: as many bytes as the texts have.
        ends: [texts + 1], where the texts begin and end in `out`.
    """
    longest = 0
    for text in range(len(offsets) - 1):
        longest = max(longest, offsets[text + 1] - offsets[text])
    line = np.empty(longest, dtype=np.uint32)
    at = 0
    ends[0] = 0
    for text in range(len(offsets) - 1):
        i, end = offsets[text], offsets[text + 1]
        while i < end:
            start = i
            found = np.uint32(0)
            while i < end:
                point, length = decode(data, i)
                i += length
                found |= table[point]
                if point == _LINE_FEED:
                    break
            if not found & _FOREIGN:
                out[at : at + i - start] = data[start:i]
                at += i - start
                continue
            n = _open_gaps(data, start, i, table, line)
            n = _drop_emptied_brackets(line, n, table)
            at = _close_gaps(line, n, out, at)
        ends[text + 1] = at


@compiled
def _open_gaps(data, start, end, table, line):
    """Fill `line` with the code points between two bytes, a gap where there are foreign characters; return its length.

    The combining marks and joiners after a foreign character go with it.
    """
    n = 0
    after_foreign = False
    i = start
    while i < end:
        point, length = decode(data, i)
        i += length
        entry = table[point]
        if entry & _FOREIGN:
            if not after_foreign:
                line[n] = _GAP
                n += 1
            after_foreign = True
        elif not (after_foreign and entry & _MARK):
            line[n] = point
            n += 1
            after_foreign = False
    return n


@compiled
def _drop_emptied_brackets(line, n, table):
    """Put a gap in the place of every bracket that holds a gap and neither letter nor digit; return the new length.

    Quotes with a direction count as brackets. A bracket that the source left empty ("f()") holds no gap and stays.
    """
    emptied = True
    while emptied:
        emptied = False
        i, kept = 0, 0
        while i < n:
            if table[line[i]] & _OPENING:
                j, n_gaps = i + 1, 0
                while j < n and line[j] != _LINE_FEED:
                    if line[j] == _GAP:
                        n_gaps += 1
                    elif table[line[j]] & (_OPENING | _CLOSING | _LETTER | _DIGIT):
                        break
                    j += 1
                if j < n and n_gaps and line[j] != _LINE_FEED and table[line[j]] & _CLOSING:
                    line[kept] = _GAP
                    kept += 1
                    i = j + 1
                    emptied = True
                    continue
            line[kept] = line[i]
            kept += 1
            i += 1
        n = kept
    return n


@compiled
def _close_gaps(line, n, out, at):
    """Write a line without its gaps to `out` from byte `at`, and return where it ends.

    Nothing takes the place of a gap and the spaces around it at the edge of the line, else one space where there was
    any. A line that holds nothing else goes, with its end. A space is U+0020 or a tab: U+00A0, U+202F (part of
    Mongolian words) and U+3000 belong to the text.
    """
    i = 0
    while i < n:
        start, n_gaps, n_spaces = i, 0, 0
        while i < n and (line[i] == _GAP or line[i] == _SPACE or line[i] == _TAB):
            n_gaps += line[i] == _GAP
            n_spaces += line[i] != _GAP
            i += 1
        if n_gaps == 0:
            for k in range(start, i):
                at = _encode(line[k], out, at)
        else:
            opens, closes = start == 0, i == n or line[i] == _LINE_FEED
            if opens and closes:
                return at
            if not opens and not closes and n_spaces:
                out[at] = _SPACE
                at += 1
        if i < n:
            at = _encode(line[i], out, at)
            i += 1
    return at


@dataclasses.dataclass(frozen=True)
class Cleaned:
    """A column of texts in their script.

    Attributes:
        texts: what is left of each, in NFC.
        characters: [texts], code points before.
        characters_left: [texts], code points in what is left.
        deleted: [texts], letters (general category L) that are gone, counted in NFC.
        share_deleted: [texts], their share of the letters, 0 where there were none.
        edited: [texts], whether anything was deleted.
        content: [texts], whether a letter or digit is left.
        letters: [texts, scripts], letters of each of :data:`SCRIPTS` before.
        letters_left: [texts, scripts], those in what is left.
    """

    texts: pa.Array
    characters: npt.NDArray[np.int64]
    characters_left: npt.NDArray[np.int64]
    deleted: npt.NDArray[np.int64]
    share_deleted: npt.NDArray[np.float64]
    edited: npt.NDArray[np.bool_]
    content: npt.NDArray[np.bool_]
    letters: npt.NDArray[np.int32]
    letters_left: npt.NDArray[np.int32]


class _Column:
    """A column of texts, with what a scan says of each."""

    def __init__(self, texts: pa.Array, table: npt.NDArray[np.uint32]) -> None:
        self.texts, self._table = texts, table
        data, offsets = bytes_of(texts)
        self.characters = np.zeros(len(texts), dtype=np.int64)
        self.foreign = np.zeros(len(texts), dtype=np.int64)
        self.content = np.zeros(len(texts), dtype=np.bool_)
        self.normal = np.zeros(len(texts), dtype=np.bool_)
        self.n_letters = np.zeros(len(texts), dtype=np.int64)
        self.letters = np.zeros((len(texts), len(SCRIPTS)), dtype=np.int32)
        words = data[: len(data) // 8 * 8].view(np.uint64)
        _scan(
            data,
            words,
            offsets,
            table,
            SCRIPTS.index("Latin"),
            self.characters,
            self.foreign,
            self.content,
            self.normal,
            self.n_letters,
            self.letters,
        )

    def put(self, indices: npt.NDArray[np.int64], texts: pa.Array) -> None:
        """Put other texts in the place of some."""
        other = _Column(texts, self._table)
        take = np.arange(len(self.texts))
        take[indices] = len(self.texts) + np.arange(len(indices))
        self.texts = pa.concat_arrays([self.texts, texts]).take(pa.array(take))
        for name in ("characters", "foreign", "content", "normal", "n_letters", "letters"):
            getattr(self, name)[indices] = getattr(other, name)

    def normalise(self, indices: npt.NDArray[np.int64]) -> None:
        """Bring those of some texts into NFC of which the quick check does not say that they are."""
        doubtful = indices[~self.normal[indices]]
        if len(doubtful):
            texts = self.texts.take(pa.array(doubtful)).to_pylist()
            self.put(doubtful, pa.array([unicodedata.normalize("NFC", text) for text in texts], pa.string()))

    def delete(self, indices: npt.NDArray[np.int64]) -> None:
        """Delete the foreign characters of some texts."""
        data, offsets = bytes_of(self.texts.take(pa.array(indices)))
        out = np.empty(offsets[-1] - offsets[0], dtype=np.uint8)
        ends = np.empty(len(offsets), dtype=np.int32)
        _delete(data, offsets, self._table, out, ends)
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(out[: ends[-1]])]
        self.put(indices, pa.Array.from_buffers(pa.string(), len(indices), buffers))


def bytes_of(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Return the bytes of a column of strings, at an address that eight divides, and where each text begins and ends.

    Raises:
        ValueError: the column is not of type string, or has nulls.
    """
    if texts.type != pa.string() or texts.null_count:
        raise ValueError(f"a column of strings without nulls is wanted, not {texts.type}, {texts.null_count} nulls")
    _, ends, data = texts.buffers()
    offsets = np.frombuffer(ends, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1] if ends else _NO_TEXT
    values = np.frombuffer(data, dtype=np.uint8) if data else np.zeros(0, dtype=np.uint8)
    return values if values.ctypes.data % 8 == 0 else values.copy(), offsets


_NO_TEXT = np.zeros(1, dtype=np.int32)


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
        """Lay out which characters are foreign."""
        mend = f"Write {{keep: SCRIPT}} or {{drop: SCRIPT}} with a Unicode script, one of {', '.join(SCRIPTS)}."
        if len(letters) != 1 or not letters.keys() <= {"keep", "drop"}:
            raise InputError("letters", f"{dict(letters)} is no policy", mend)
        [(verb, script)] = letters.items()
        if script not in SCRIPTS:
            raise InputError("letters", f"{script!r} is no script", mend)
        self._table = _table(verb, script)

    def clean(self, texts: pa.Array) -> Cleaned:
        """Return texts without foreign letters.

        Args:
            texts: a column of strings without nulls.
        """
        column = _Column(texts, self._table)
        characters, letters = column.characters.copy(), column.letters.copy()
        column.normalise(np.arange(len(texts)))
        n_letters = column.n_letters.copy()
        edited = column.foreign > 0
        # Closing a gap can join what composes into a foreign sign (U+00A8 and U+0300 make the Greek U+1FED).
        while len(foreign := np.flatnonzero(column.foreign)):
            column.delete(foreign)
            column.normalise(foreign)
        deleted = n_letters - column.n_letters
        return Cleaned(
            column.texts,
            characters,
            column.characters,
            deleted,
            deleted / np.maximum(n_letters, 1),
            edited,
            column.content,
            letters,
            column.letters,
        )


def by_script(letters: Sequence[int] | npt.NDArray[np.int64]) -> dict[str, int]:
    """Return the counts of the scripts that occur by their names, most frequent first.

    Args:
        letters: [scripts], a count for each of :data:`SCRIPTS`.
    """
    counts = {script: int(n) for script, n in zip(SCRIPTS, letters, strict=True) if n}
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
