"""Scripts and letters by the Unicode property ``Script``, and the filter that keeps a text in its script.

Every lookup of a script or a category goes through the `regex` package, so that one pinned version of the Unicode
database decides; Python's `unicodedata` decides what NFC is, because it is what normalises. Both are laid out once in
a table over all code points, and compiled kernels run over the UTF-8 bytes of Arrow columns with it.
"""

from __future__ import annotations

import dataclasses
import functools
import unicodedata
from collections import Counter
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


# What the table says of a code point: flags, the script of a letter, the canonical combining class, further flags.
_LETTER, _DIGIT, _MARK, _OPENING, _CLOSING, _FOREIGN, _MAY_COMPOSE, _LINE_END = (1 << bit for bit in range(8))
_SCRIPT_SHIFT, _CLASS_SHIFT = 8, 16
_SCRIPT = np.uint32(0xFF << _SCRIPT_SHIFT)
_FORMAT, _SEPARATOR, _TERMINAL, _IN_WORD, _QUOTING, _ENUMERATOR = (1 << bit for bit in range(24, 30))

# What ends a line beside U+000A (The Unicode Standard, section 5.8).
_LINE_ENDS = regex.compile(r"\r\n|[\r\v\f\x85\u2028\u2029]")
# Begin and end of an embedded, overridden or isolated direction (Unicode Standard Annex 9).
_DIRECTED = {"opening": r"\u202a\u202b\u202d\u202e\u2066-\u2068", "closing": r"\u202c\u2069"}
# Letters of these scripts stand side by side without making one word.
UNBROKEN = ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar")

# They stand where foreign characters, and what they left empty, were deleted, until the gap is mended. Noncharacters:
# a text may not hold them, and one that does loses them with the foreign letters.
_GAP, _MENDED = 0xFDD0, 0xFDD1
_TAB, _LINE_FEED, _SPACE, _QUOTE, _APOSTROPHE = 0x09, 0x0A, 0x20, 0x22, 0x27
_ZERO_WIDTH_SPACE, _NARROW_SPACE, _VOWEL_SEPARATOR = 0x200B, 0x202F, 0x180E
# Quotation marks that texts use in more ways than their categories say („a“, »a«, ”a”), full-width ones, and signs that
# stand for brackets; marks of one family quote together. Those of `_LOW` open always.
_FAMILIES = ("“”„‟⹂", "‘’‚‛", "«»", "‹›", "＂", "＇", "<>", "＜＞")
_SINGLES, _BRACKETS = (1, 5), (6, 7)  # which may be apostrophes; which quote nothing
_MARKS = np.array([ord(mark) for family in _FAMILIES for mark in family], dtype=np.uint32)
_FAMILY_OF = np.array([number for number, family in enumerate(_FAMILIES) for _ in family], dtype=np.int64)
_LOW = (0x201E, 0x2E42, 0x201A)
# What stands behind the number of an item of a list.
_AFTER_NUMBER = (0x2E, 0x29, 0xFF0E, 0xFF09, 0x3001)
_FULL_STOP = 0x2E
_LEFT, _RIGHT, _LEFT_SINGLE, _RIGHT_SINGLE = 0xAB, 0xBB, 0x2039, 0x203A


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


_SHAPES = ("<font>", "<circle>", "<square>", "<super>", "<sub>", "<wide>", "<narrow>")


@functools.cache
def variants() -> dict[str, str]:
    """Return the characters that are another shape of one letter but belong to no script, with that letter.

    Mathematical (U+1D400), circled (U+24B6), squared, parenthesised, raised and lowered letters of Script Common. Not
    signs with a meaning of their own (the micro sign, degrees Celsius, the kilogram, "No"): they stay signs.
    """
    found = {}
    for character in "".join(regex.findall(r"[\p{Script=Common}--[\p{Cc}\p{Co}\p{Cn}]]+", _characters(), regex.V1)):
        tag, _, parts = unicodedata.decomposition(character).partition(" ")
        letters = "".join(chr(int(part, 16)) for part in parts.split())
        in_brackets = tag == "<compat>" and regex.fullmatch(r"\((\p{L})\)", letters)
        if in_brackets:
            found[character] = in_brackets[1]
        elif tag in _SHAPES and regex.fullmatch(r"\p{L}", letters):
            found[character] = letters
    return found


@functools.cache
def _properties() -> npt.NDArray[np.uint32]:
    """Return what the kernels need to know of every code point, but for what is foreign."""
    table = np.zeros(0x110000, dtype=np.uint32)
    for flag, pattern in {
        _LETTER: r"[\p{L}\p{Nl}]",
        _DIGIT: r"\p{N}",
        _MARK: r"[\p{M}\u200c\u200d]",
        _OPENING: rf"[\p{{Ps}}\p{{Pi}}{_DIRECTED['opening']}]",
        _CLOSING: rf"[\p{{Pe}}\p{{Pf}}{_DIRECTED['closing']}]",
        _LINE_END: r"[\r\v\f\x85\u2028\u2029]",
        _FORMAT: r"[\u00ad\u061c\u200e\u200f\u2060-\u2064\ufeff]",
        _SEPARATOR: "[,;:、，；：]",
        _TERMINAL: "[.!?。！？]",
        _QUOTING: f"[{''.join(_FAMILIES)}]",
        _ENUMERATOR: r"[\u2460-\u249b\u24ea-\u24ff\u2776-\u2793]",
    }.items():
        table[_holding(pattern)] |= np.uint32(flag)
    rest = "".join(regex.findall(r"[\p{L}\p{Nl}]+", _characters()))
    # Han and Hangul first: they are most of the letters, and what is found need not be looked at again.
    for script in sorted(SCRIPTS, key=lambda name: name not in ("Han", "Hangul")):
        pattern = regex.compile(rf"\p{{Script={script}}}+")
        found = _points("".join(pattern.findall(rest)))
        if len(found):
            table[found] |= np.uint32((1 + SCRIPTS.index(script)) << _SCRIPT_SHIFT)
            rest = pattern.sub("", rest)
    unbroken = "".join(rf"\p{{Script={script}}}" for script in UNBROKEN)
    in_words = regex.sub(f"[{unbroken}]+", "", "".join(regex.findall(r"[\p{L}\p{N}]+", _characters())))
    table[_points(in_words)] |= np.uint32(_IN_WORD)
    for character, letter in variants().items():
        table[ord(character)] &= ~_SCRIPT
        table[ord(character)] |= np.uint32(_LETTER) | table[ord(letter)] & (_SCRIPT | np.uint32(_IN_WORD))
    table[[_NARROW_SPACE, _VOWEL_SEPARATOR]] |= np.uint32(_IN_WORD)
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
    """Return the properties of every code point under a policy: what stands for a gap is always foreign."""
    foreign = rf"\p{{Script={script}}}"
    if verb == "keep":
        foreign = rf"[^{foreign}\p{{Script=Common}}\p{{Script=Inherited}}]"
    table = _properties().copy()
    table[_holding(foreign)] |= np.uint32(_FOREIGN)
    shapes = [character for character, letter in variants().items() if regex.match(foreign, letter)]
    table[[ord(character) for character in shapes]] |= np.uint32(_FOREIGN)
    table[[_GAP, _MENDED]] |= np.uint32(_FOREIGN)
    return table


@functools.cache
def _unfiltered() -> npt.NDArray[np.uint32]:
    """Return the properties of every code point where no script is foreign."""
    table = _properties().copy()
    table[[_GAP, _MENDED]] |= np.uint32(_FOREIGN)
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
def _scan(
    data, words, offsets, table, latin, characters, foreign, signs, content, normal, broken, n_letters, letters, seen
):
    """Look at every text of a column once; the arguments from `characters` on are filled.

    Args:
        data: the bytes of the column.
        words: the same in eights; ASCII is read eight bytes at a time.
        offsets: where the texts begin and end.
        table: what :func:`_table` returned.
        latin: the number of the Latin script.
        characters: [texts], their code points.
        foreign: [texts], their foreign characters.
        signs: [texts], those of them that are no letters.
        content: [texts], whether there is a letter or digit.
        normal: [texts], whether the quick check says that the text is in NFC.
        broken: [texts], whether a line ends in another way than by U+000A.
        n_letters: [texts], their letters.
        letters: [scripts, texts], letters of each script.
        seen: [scripts], whether there are any of it.
    """
    high = np.uint64(0x8080808080808080)
    ascii_is_foreign = table[0x61] & _FOREIGN
    for text in range(len(offsets) - 1):
        i, end = offsets[text], offsets[text + 1]
        n_characters = n_foreign = n_signs = n_other_letters = 0
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
                    # In the same way: a byte not below U+000B, and not above U+000D.
                    if (word + np.uint64(0x7575757575757575)) & ~(word + np.uint64(0x7272727272727272)) & high:
                        flags |= np.uint32(_LINE_END)
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
            n_signs += entry & (_FOREIGN | _LETTER) == _FOREIGN
            if entry & _LETTER:
                if entry & _SCRIPT != script:
                    if run:
                        letters[(script >> _SCRIPT_SHIFT) - 1, text] += run
                        seen[(script >> _SCRIPT_SHIFT) - 1] = True
                        n_other_letters += run
                    script, run = entry & _SCRIPT, 0
                run += 1
            combining = entry >> _CLASS_SHIFT & 0xFF
            unordered |= (combining != 0) & (combining < last_class)
            last_class = combining
        if run:
            letters[(script >> _SCRIPT_SHIFT) - 1, text] += run
            seen[(script >> _SCRIPT_SHIFT) - 1] = True
            n_other_letters += run
        if n_ascii_letters:
            letters[latin, text] += n_ascii_letters
            seen[latin] = True
        n_letters[text] = n_ascii_letters + n_other_letters
        characters[text] = n_characters
        foreign[text] = n_foreign + (n_ascii_letters if ascii_is_foreign else 0)
        signs[text] = n_signs
        content[text] = flags & (_LETTER | _DIGIT) != 0 or n_ascii_letters > 0
        normal[text] = not unordered and not flags & _MAY_COMPOSE
        broken[text] = flags & _LINE_END != 0


@compiled
def _delete(data, offsets, table, out, ends, torn):
    """Delete the foreign characters of texts and mend the gaps; `out`, `ends` and `torn` are filled.

    A gap never reaches over the end of a line, so a line without foreign characters is copied as it is.

    Args:
        data: the bytes of a column.
        offsets: where the texts begin and end.
        table: what :func:`_table` returned.
        out: as many bytes as the texts have.
        ends: [texts + 1], where the texts begin and end in `out`.
        torn: [texts], gaps that touch what is left of a word.
    """
    longest = 0
    for text in range(len(offsets) - 1):
        longest = max(longest, offsets[text + 1] - offsets[text])
    line = np.empty(longest, dtype=np.uint32)
    at = 0
    ends[0] = 0
    for text in range(len(offsets) - 1):
        i, end = offsets[text], offsets[text + 1]
        n_torn = 0
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
            emptied = True
            while emptied:
                n = _drop_emptied_brackets(line, n, table)
                n, emptied = _drop_emptied_quotes(line, n, table)
                if found & _QUOTING:
                    n, n_emptied = _drop_emptied_marks(line, n, table)
                    emptied = emptied or n_emptied > 0
            if _keeps_nothing(line, n, table):
                continue
            _drop_separators(line, n, table)
            at, n_gaps = _close_gaps(line, n, table, out, at)
            n_torn += n_gaps
        ends[text + 1] = at
        torn[text] = n_torn


@compiled
def _is_gap(point):
    """Return whether a code point stands for a gap."""
    return point in (_GAP, _MENDED)


@compiled
def _is_space(point):
    """Return whether a code point is a space that a gap takes along: U+0020, a tab or U+200B.

    U+00A0, U+202F (part of Mongolian words) and U+3000 belong to the text.
    """
    return point in (_SPACE, _TAB, _ZERO_WIDTH_SPACE)


@compiled
def _is_blank(point):
    """Return whether a code point stands for a gap or is a space that a gap takes along."""
    return _is_gap(point) or _is_space(point)


@compiled
def _open_gaps(data, start, end, table, line):
    """Fill `line` with the code points between two bytes, a gap where there are foreign characters; return its length.

    The combining marks and joiners after a foreign character go with it, and the invisible characters on both sides
    (soft hyphens, marks of direction): they say something of it alone.
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
                while n and table[line[n - 1]] & _FORMAT:
                    n -= 1
                line[n] = _GAP
                n += 1
            after_foreign = True
        elif not (after_foreign and entry & (_MARK | _FORMAT)):
            line[n] = point
            n += 1
            after_foreign = False
    return n


@compiled
def _drop_emptied_brackets(line, n, table):
    """Put a gap in the place of every bracket that holds a gap and neither letter nor digit; return the new length.

    Quotes with a direction and the pairs of characters that embed or isolate a direction count as brackets, and the
    marks after a bracket go with it. A bracket that the source left empty ("f()") holds no gap and stays, and so do
    guillemets of which the first ends what a turned one began (»a« _ »b«).
    """
    emptied = True
    while emptied:
        emptied = False
        i, kept = 0, 0
        turned, turned_single = 0, 0  # how many more » than «, and › than ‹, stand before
        while i < n:
            entry, point = table[line[i]], line[i]
            ends = False
            if entry & _QUOTING:
                more = turned if point == _LEFT else turned_single if point == _LEFT_SINGLE else 0
                ends = more > 0 and not _is_space(line[kept - 1])
                turned += (point == _RIGHT) - (point == _LEFT)
                turned_single += (point == _RIGHT_SINGLE) - (point == _LEFT_SINGLE)
            if entry & _OPENING and not ends:
                j, n_gaps = i + 1, 0
                while j < n and line[j] != _LINE_FEED:
                    if _is_gap(line[j]):
                        n_gaps += 1
                    elif table[line[j]] & (_OPENING | _CLOSING | _LETTER | _DIGIT):
                        break
                    j += 1
                if j < n and n_gaps and line[j] != _LINE_FEED and table[line[j]] & _CLOSING:
                    turned += point == _LEFT
                    turned_single += point == _LEFT_SINGLE
                    line[kept] = _MENDED
                    kept += 1
                    i = _after_marks(line, j + 1, n, table)
                    emptied = True
                    continue
            line[kept] = line[i]
            kept += 1
            i += 1
        n = kept
    return n


@compiled
def _after_marks(line, i, n, table):
    """Return the place of the first code point from `i` on that is no mark and not invisible."""
    while i < n and table[line[i]] & (_MARK | _FORMAT):
        i += 1
    return i


@compiled
def _drop_emptied_quotes(line, n, table):
    """Put a gap in the place of straight quotes that hold a gap and neither letter nor digit.

    The gap follows the first quote at once. Quotation marks are paired in their order on the line, where their number
    is even; else a mark, and an apostrophe always, opens after what is neither letter nor digit and closes before such.

    Returns:
        the new length, and whether there were any.
    """
    n_quotes = 0
    for i in range(n):
        n_quotes += line[i] == _QUOTE
    i, kept, before, emptied = 0, 0, 0, False
    while i < n:
        point = line[i]
        paired = point == _QUOTE and n_quotes % 2 == 0
        opens = paired and before % 2 == 0
        if not paired and point in (_QUOTE, _APOSTROPHE):
            opens = i == 0 or not table[line[i - 1]] & (_LETTER | _DIGIT)
        if opens and i + 1 < n and _is_gap(line[i + 1]):
            j = i + 2
            while j < n and line[j] != _QUOTE and line[j] != _APOSTROPHE and line[j] != _LINE_FEED:
                if table[line[j]] & (_OPENING | _CLOSING | _LETTER | _DIGIT):
                    break
                j += 1
            closes = j < n and line[j] == point
            if closes and not paired and j + 1 < n and table[line[j + 1]] & (_LETTER | _DIGIT):
                closes = False
            if closes:
                before += 2 * (point == _QUOTE)
                line[kept] = _MENDED
                kept += 1
                i = _after_marks(line, j + 1, n, table)
                emptied = True
                continue
        before += point == _QUOTE
        line[kept] = point
        kept += 1
        i += 1
    return kept, emptied


@compiled
def _place(mark):
    """Return the place of a mark in `_MARKS`."""
    place = 0
    while _MARKS[place] != mark:
        place += 1
    return place


@compiled
def _drop_emptied_marks(line, n, table):
    """Put a gap in the place of marks of one family of `_FAMILIES` between which nothing but a gap is left.

    The gap follows the first at once, and no letter, digit, bracket or other mark stands between the two. Which of two
    marks opens and which closes:

    - "<" and ">" do as they stand.
    - Where one mark alone of the family is on the line, an even number of times, the marks are paired in their order
      (”a” _ ”b”), but for those that may be apostrophes.
    - A low mark opens, and another closes („a“) unless it stands before a word and behind a space.
    - A closing mark before an opening one (»a«) where no quotation is open, a single one not behind a word; the second
      as above.
    - Else the first of two marks that may be apostrophes stands behind no word and the second before none (’a’). Other
      marks have an even number of open or closed quotations before them, and the second is as above (“a“). A closing
      mark is in no open quotation.

    Returns:
        the new length, and how many there were.
    """
    there = np.zeros(len(_MARKS), dtype=np.int64)
    for i in range(n):
        if table[line[i]] & _QUOTING:
            there[_place(line[i])] += 1
    before = np.zeros(len(_MARKS), dtype=np.int64)
    word = _LETTER | _DIGIT
    i, kept, n_emptied = 0, 0, 0
    while i < n:
        point = line[i]
        if table[point] & _QUOTING:
            first = _place(point)
            if i + 1 < n and _is_gap(line[i + 1]):
                j = i + 2
                while j < n and line[j] not in (_QUOTE, _APOSTROPHE, _LINE_FEED):
                    if table[line[j]] & (_OPENING | _CLOSING | word | _QUOTING):
                        break
                    j += 1
                if j < n and table[line[j]] & _QUOTING and _FAMILY_OF[_place(line[j])] == _FAMILY_OF[first]:
                    second = _place(line[j])
                    after_word = kept > 0 and table[line[kept - 1]] & word != 0
                    before_word = j + 1 < n and table[line[j + 1]] & word != 0
                    if _empties(first, second, there, before, after_word, before_word, _is_space(line[j - 1]), table):
                        there[first] -= 1
                        there[second] -= 1
                        line[kept] = _MENDED
                        kept += 1
                        i = _after_marks(line, j + 1, n, table)
                        n_emptied += 1
                        continue
            before[first] += 1
        line[kept] = point
        kept += 1
        i += 1
    return kept, n_emptied


@compiled
def _empties(first, second, there, before, after_word, before_word, after_space, table):
    """Return whether two marks quote the gap between them.

    Args:
        first: the place in `_MARKS` of the one before the gap.
        second: of the one after it.
        there: [marks], how often each is on the line.
        before: [marks], how often before the first.
        after_word: whether the first follows a letter or digit at once.
        before_word: whether one follows the second at once.
        after_space: whether a space stands before the second.
        table: what :func:`_table` returned.
    """
    family = _FAMILY_OF[first]
    n_family, n_open = 0, 0
    for mark in range(len(_MARKS)):
        if _FAMILY_OF[mark] == family:
            n_family += there[mark]
            opens = table[_MARKS[mark]] & _OPENING != 0
            n_open += before[mark] if opens else -before[mark]
    if family in _BRACKETS:
        return _MARKS[first] < _MARKS[second]
    if there[first] == n_family and n_family % 2 == 0 and family not in _SINGLES:
        return before[first] % 2 == 0
    if _MARKS[second] in _LOW:
        return False
    closes = not (before_word and after_space)
    if _MARKS[first] in _LOW:
        return closes
    first_opens = table[_MARKS[first]] & _OPENING != 0
    if not first_opens and table[_MARKS[second]] & _OPENING:
        return closes and n_open == 0 and not (family in _SINGLES and after_word)
    apart = not after_word and not before_word if family in _SINGLES else closes and n_open % 2 == 0
    return apart and (first_opens or n_open <= 0)


@compiled
def _keeps_nothing(line, n, table):
    """Return whether a line with gaps keeps neither letter nor digit, but for the number of an item of a list.

    Such a number stands before every gap, behind nothing but signs: up to three digits, or several such numbers with
    full stops between them, with a full stop, a closing bracket or an ideographic comma behind; or an enclosed number.
    """
    word = _LETTER | _DIGIT
    i = 0
    while i < n and not _is_gap(line[i]) and not table[line[i]] & word:
        i += 1
    if i < n and table[line[i]] & _ENUMERATOR:
        i += 1
    elif i < n and table[line[i]] & word == _DIGIT:
        digits = 0
        while i + 1 < n:
            digits += 1
            i += 1
            if table[line[i]] & word == _DIGIT:
                if digits == 3:
                    return False
            elif line[i] == _FULL_STOP and i + 1 < n and table[line[i + 1]] & word == _DIGIT:
                digits = 0
                i += 1
            else:
                break
        if line[i] not in _AFTER_NUMBER:
            return False
    while i < n:
        if table[line[i]] & word:
            return False
        i += 1
    return True


@compiled
def _drop_separators(line, n, table):
    """Put a gap in the place of separators that a gap parts from what they separated.

    These are the ones before a gap that another separator, the end of a sentence, of a bracket or of the line follows,
    and those after a gap at the beginning of a bracket: "(Korean: _; RR: Seoul)", "(_, Seoul)".
    """
    ends = True  # whether what follows the blanks after `i` is a separator or an end
    n_gaps = 0
    for i in range(n - 1, -1, -1):
        point = line[i]
        if _is_blank(point):
            n_gaps += _is_gap(point)
        elif table[point] & _SEPARATOR and n_gaps and ends:
            line[i] = _MENDED
            n_gaps += 1
        else:
            ends = point == _LINE_FEED or table[point] & (_SEPARATOR | _TERMINAL | _CLOSING) != 0
            n_gaps = 0
    opened = False
    n_gaps = 0
    for i in range(n):
        point = line[i]
        if _is_blank(point):
            n_gaps += _is_gap(point)
        elif table[point] & _SEPARATOR and n_gaps and opened:
            line[i] = _MENDED
        else:
            opened = table[point] & _OPENING != 0
            n_gaps = 0


@compiled
def _close_gaps(line, n, table, out, at):
    """Write a line without its gaps to `out` from byte `at`; return where it ends, and how many gaps tore a word.

    Nothing takes the place of a gap and the spaces around it at the edge of the line, right after a bracket that opens,
    and right before one that closes, a separator or the end of a sentence; else one of its spaces where there were any.
    Marks after a gap have lost what they stood on, and go.

    A gap tears a word where foreign letters touch a letter or digit that stays, or the U+202F or U+180E of a suffix;
    not in scripts that are written without spaces.
    """
    i, n_torn = 0, 0
    while i < n:
        start, n_gaps, space = i, 0, np.uint32(0)
        last = line[i]
        while i < n and (_is_blank(line[i]) or (n_gaps and table[line[i]] & (_MARK | _FORMAT))):
            if _is_blank(line[i]):
                last = line[i]
                if _is_gap(last):
                    n_gaps += 1
                elif space == 0 or last == _SPACE or space == _ZERO_WIDTH_SPACE:
                    space = last
            i += 1
        if n_gaps == 0:
            for k in range(start, i):
                at = _encode(line[k], out, at)
        else:
            opens, closes = start == 0, i == n or line[i] == _LINE_FEED
            if not opens and not closes:
                bare = _is_gap(line[start]) and table[line[start - 1]] & _OPENING
                bare |= _is_gap(last) and table[line[i]] & (_CLOSING | _SEPARATOR | _TERMINAL)
                if space and not bare:
                    at = _encode(space, out, at)
            before = not opens and line[start] == _GAP and table[line[start - 1]] & _IN_WORD
            after = not closes and last == _GAP and table[line[i]] & _IN_WORD
            n_torn += 1 if before or after else 0
        if i < n:
            at = _encode(line[i], out, at)
            i += 1
    return at, n_torn


@dataclasses.dataclass(frozen=True)
class Cleaned:
    """A column of texts in their script.

    Attributes:
        texts: what is left of each, in NFC.
        characters: [texts], code points before.
        characters_left: [texts], code points in what is left.
        deleted: [texts], letters that are gone, counted in NFC. A letter is of general category L or Nl (the Roman
            numeral three, the Chinese zero), or one of :func:`variants`.
        signs: [texts], other characters that are gone, counted in NFC: foreign digits, signs and marks, and the
            brackets, separators and spaces around what was deleted.
        line_ends: [texts], ends of lines that became U+000A.
        composed: [texts], characters that NFC made others of, or 1 where it only put marks in order.
        torn: [texts], gaps that left a piece of a word: "KTX" of a word that goes on in Hangul, or the stem of a
            suffix after U+202F.
        share_deleted: [texts], the share of the letters and of the foreign digits, signs and marks that are gone, 0
            where there were none.
        edited: [texts], whether the text is another than before.
        content: [texts], whether a letter or digit is left.
        letters: [texts, scripts], letters of each of :data:`SCRIPTS` before.
        letters_left: [texts, scripts], those in what is left.
        scripts: the places of the scripts that occur, before or after. Of the others' counts, which are nearly all and
            zero, no memory is touched where nobody looks at them.
    """

    texts: pa.Array
    characters: npt.NDArray[np.int64]
    characters_left: npt.NDArray[np.int64]
    deleted: npt.NDArray[np.int64]
    signs: npt.NDArray[np.int64]
    line_ends: npt.NDArray[np.int64]
    composed: npt.NDArray[np.int64]
    torn: npt.NDArray[np.int64]
    share_deleted: npt.NDArray[np.float64]
    edited: npt.NDArray[np.bool_]
    content: npt.NDArray[np.bool_]
    letters: npt.NDArray[np.int32]
    letters_left: npt.NDArray[np.int32]
    scripts: npt.NDArray[np.int64]


class _Column:
    """A column of texts, with what a scan says of each."""

    def __init__(self, texts: pa.Array, table: npt.NDArray[np.uint32]) -> None:
        self.texts, self._table = texts, table
        self._as_read = True
        data, offsets = bytes_of(texts)
        self.characters = np.zeros(len(texts), dtype=np.int64)
        self.foreign = np.zeros(len(texts), dtype=np.int64)
        self.signs = np.zeros(len(texts), dtype=np.int64)
        self.content = np.zeros(len(texts), dtype=np.bool_)
        self.normal = np.zeros(len(texts), dtype=np.bool_)
        self.broken = np.zeros(len(texts), dtype=np.bool_)
        self.n_letters = np.zeros(len(texts), dtype=np.int64)
        self.letters = np.zeros((len(SCRIPTS), len(texts)), dtype=np.int32)
        self.seen = np.zeros(len(SCRIPTS), dtype=np.bool_)
        words = data[: len(data) // 8 * 8].view(np.uint64)
        _scan(
            data,
            words,
            offsets,
            table,
            SCRIPTS.index("Latin"),
            self.characters,
            self.foreign,
            self.signs,
            self.content,
            self.normal,
            self.broken,
            self.n_letters,
            self.letters,
            self.seen,
        )

    def put(self, indices: npt.NDArray[np.int64], texts: pa.Array) -> None:
        """Put other texts in the place of some; what was said of the column as it was read stays as it is."""
        other = _Column(texts, self._table)
        take = np.arange(len(self.texts))
        take[indices] = len(self.texts) + np.arange(len(indices))
        self.texts = pa.concat_arrays([self.texts, texts]).take(pa.array(take))
        for name in ("characters", "foreign", "signs", "content", "normal", "broken", "n_letters"):
            found = getattr(self, name).copy() if self._as_read else getattr(self, name)
            found[indices] = getattr(other, name)
            setattr(self, name, found)
        letters = np.zeros_like(self.letters) if self._as_read else self.letters
        self.seen = self.seen | other.seen
        for script in np.flatnonzero(self.seen):
            letters[script] = self.letters[script]
            letters[script, indices] = other.letters[script]
        self.letters, self._as_read = letters, False

    def end_lines(self) -> npt.NDArray[np.int64]:
        """Let every line end in U+000A; return how many did not, by text."""
        counts = np.zeros(len(self.texts), dtype=np.int64)
        if len(broken := np.flatnonzero(self.broken)):
            mended = [_LINE_ENDS.subn("\n", text) for text in self.texts.take(pa.array(broken)).to_pylist()]
            counts[broken] = [n for _, n in mended]
            self.put(broken, pa.array([text for text, _ in mended], pa.string()))
        return counts

    def normalise(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Bring those of some texts into NFC of which the quick check does not say that they are.

        Returns:
            [texts], how many characters became others, at least 1 where the text did.
        """
        counts = np.zeros(len(self.texts), dtype=np.int64)
        if len(doubtful := indices[~self.normal[indices]]):
            texts = self.texts.take(pa.array(doubtful)).to_pylist()
            normal = [unicodedata.normalize("NFC", text) for text in texts]
            counts[doubtful] = [
                0 if before == after else max(1, (Counter(before) - Counter(after)).total())
                for before, after in zip(texts, normal, strict=True)
            ]
            self.put(doubtful, pa.array(normal, pa.string()))
        return counts

    def delete(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Delete the foreign characters of some texts; return how many words that tore, for each of them."""
        data, offsets = bytes_of(self.texts.take(pa.array(indices)))
        out = np.empty(offsets[-1] - offsets[0], dtype=np.uint8)
        ends = np.empty(len(offsets), dtype=np.int32)
        torn = np.zeros(len(indices), dtype=np.int64)
        _delete(data, offsets, self._table, out, ends, torn)
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(out[: ends[-1]])]
        self.put(indices, pa.Array.from_buffers(pa.string(), len(indices), buffers))
        return torn


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
    ``{"drop": "Latin"}`` every character whose Script is Latin, full-width forms included. Letters in another shape
    (:func:`variants`) belong to the script of the letter. The combining marks and joiners after a deleted character go
    with it. Signs and digits that belong to a foreign script (a Tibetan tsheg in English) go too; ASCII digits and
    shared punctuation stay. Then brackets and quotes that were emptied go, separators that lost what they separated,
    lines that keep no word (nothing, a bullet, the number of an item), and all but one of the spaces around a gap. In a
    text without foreign characters only the ends of lines and the normal form are changed.

    Every line of the result ends in U+000A, and the result is in NFC (never NFKC, which rewrites full-width punctuation
    and the spaces that Mongolian spells with). But for both it is a subsequence of the text, no letter or digit goes
    that is not foreign but the number of an item that lost its text, and filtering it again changes nothing.

    Args:
        letters: ``{"keep": SCRIPT}`` or ``{"drop": SCRIPT}``, with a script of :data:`SCRIPTS`; or empty, so that no
            letter goes.

    Raises:
        InputError: `letters` is none of these.
    """

    def __init__(self, letters: Mapping[str, str]) -> None:
        """Lay out which characters are foreign."""
        if not letters:
            self._table = _unfiltered()
            return
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
        characters, letters = column.characters, column.letters
        line_ends = column.end_lines()
        composed = column.normalise(np.arange(len(texts)))
        n_characters, n_letters, signs = column.characters.copy(), column.n_letters.copy(), column.signs.copy()
        edited = (column.foreign > 0) | (line_ends > 0) | (composed > 0)
        torn = np.zeros(len(texts), dtype=np.int64)
        # Closing a gap can join what composes into another sign: the halves of a Hangul syllable.
        while len(foreign := np.flatnonzero(column.foreign)):
            torn[foreign] += column.delete(foreign)
            column.normalise(foreign)
        deleted = n_letters - column.n_letters
        return Cleaned(
            column.texts,
            characters,
            column.characters,
            deleted,
            n_characters - column.characters - deleted,
            line_ends,
            composed,
            torn,
            (deleted + signs) / np.maximum(n_letters + signs, 1),
            edited,
            column.content,
            letters.T,
            column.letters.T,
            np.flatnonzero(column.seen),
        )


def by_script(letters: Sequence[int] | npt.NDArray[np.int64]) -> dict[str, int]:
    """Return the counts of the scripts that occur by their names, most frequent first.

    Args:
        letters: [scripts], a count for each of :data:`SCRIPTS`.
    """
    counts = {script: int(n) for script, n in zip(SCRIPTS, letters, strict=True) if n}
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
