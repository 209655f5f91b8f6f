"""The rule of the letter filter written a second time, with regular expressions: what the kernels must agree with."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Iterable, Mapping

import regex


def _shapes() -> dict[str, str]:
    """Return the characters of no script that are one letter in another shape, with that letter."""
    found = {}
    for character in map(chr, [*range(0xD800), *range(0xE000, 0x110000)]):
        match = regex.fullmatch(
            r"(?:<(?:font|circle|square|super|sub|wide|narrow)> |<compat> 0028 )(\S+)(?: 0029)?",
            (unicodedata.decomposition(character)),
        )
        if match and regex.match(r"\p{Script=Common}", character):
            letter = chr(int(match[1], 16))
            if regex.match(r"\p{L}", letter):
                found[character] = letter
    return found


def _ranges(characters: Iterable[str]) -> str:
    """Return characters as ranges of a set: a set of hundreds of single ones is looked for ten times as slowly."""
    ends: list[list[int]] = []
    for point in sorted(map(ord, characters)):
        if ends and point == ends[-1][1] + 1:
            ends[-1][1] = point
        else:
            ends.append([point, point])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ends)


SHAPES = _shapes()
LETTER = regex.compile(rf"[\p{{L}}\p{{Nl}}{_ranges(SHAPES)}]+")

_GAP, _MENDED = "\ufdd0", "\ufdd1"
_G = f"[{_GAP}{_MENDED}]"
_MARK = r"\p{M}\u200c\u200d"
_FORMAT = r"\u00ad\u061c\u200e\u200f\u2060-\u2064\ufeff"
_OPEN = r"[\p{Ps}\p{Pi}\u202a\u202b\u202d\u202e\u2066-\u2068]"
_CLOSE = r"[\p{Pe}\p{Pf}\u202c\u2069]"
_SEP = "[,;:、，；：]"
_WORD = rf"[\p{{L}}\p{{N}}{_ranges(SHAPES)}]"
_SPACED = r"[^\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
# A character that is neither bracket nor letter nor digit.
_INNER = rf"(?:(?!{_OPEN}|{_CLOSE}|{_WORD})[^\n{_GAP}{_MENDED}])*+"
_EMPTY_BRACKET = regex.compile(rf"({_OPEN}){_INNER}(?:{_G}{_INNER})++{_CLOSE}[{_MARK}{_FORMAT}]*+")
_EMPTY = rf"{_G}(?:(?!{_OPEN}|{_CLOSE}|{_WORD})[^\n\"'])*+"
_EMPTY_QUOTE = regex.compile(rf'"{_EMPTY}"[{_MARK}{_FORMAT}]*+')
_EMPTY_APART = rf"(?<!{_WORD})%s{_EMPTY}%s(?!{_WORD})[{_MARK}{_FORMAT}]*+"
_EMPTY_APOSTROPHES, _EMPTY_QUOTE_APART = (regex.compile(_EMPTY_APART % (mark, mark)) for mark in "'\"")
_ENDS = regex.compile(r"\r\n|[\r\v\f\x85\u2028\u2029]")
# Marks that quote together, and in more ways than their categories say.
_FAMILIES = ("“”„‟⹂", "‘’‚‛", "«»", "‹›", "＂", "＇", "<>", "＜＞")
_MARK_OF = "".join(_FAMILIES)
_EMPTY_MARKS = regex.compile(
    "|".join(
        rf"(?:([{family}]){_G}(?:(?!{_OPEN}|{_CLOSE}|{_WORD}|[{_MARK_OF}])[^\n\"'])*+([{family}]))"
        for family in _FAMILIES
    )
)
_ENCLOSED = r"[\u2460-\u249b\u24ea-\u24ff\u2776-\u2793]"
_NUMBER = rf"(?:{_ENCLOSED}|(?!{_ENCLOSED})%s{{1,3}}(?:\.%s{{1,3}})*[.)．）、])"
_DIGIT = r"[\p{N}--\p{Nl}]"
NO_WORDS = regex.compile(rf"(?V1)(?:(?!{_G}|{_WORD})[^\n])*+{_NUMBER % (_DIGIT, _DIGIT)}?(?:(?!{_WORD})[^\n])*+\n?")
_B = r"[ \t\u200b" + _GAP + _MENDED + "]"
_BLANKS = rf"{_B}*?{_G}{_B}*+"
_LEFT_OVER = regex.compile(rf"{_SEP}(?={_BLANKS}(?:{_SEP}|{_CLOSE}|[.!?。！？]|$))")
_LEADING = regex.compile(rf"({_OPEN}{_BLANKS}){_SEP}")
_GAPS = regex.compile(rf"(?<![ \t\u200b])[ \t\u200b]*+{_G}(?:{_B}|[{_MARK}{_FORMAT}])*+")


@dataclasses.dataclass(frozen=True)
class Expected:
    """One text, filtered."""

    text: str
    letters: int
    deleted: int
    signs: int
    line_ends: int
    composed: bool
    torn: int
    share: float
    edited: bool


class WrittenRule:
    """Filters one text at a time."""

    def __init__(self, letters: Mapping[str, str]) -> None:
        [(verb, script)] = letters.items()
        own = rf"\p{{Script={script}}}"
        other = rf"[^{own}\p{{Script=Common}}\p{{Script=Inherited}}]" if verb == "keep" else own
        rest = _ranges([shape for shape, letter in SHAPES.items() if regex.match(other, letter)]) + _GAP + _MENDED
        self.foreign = regex.compile(rf"(?:{other}|[{rest}])" if verb == "keep" else rf"[{own}{rest}]")
        self._keeps_latin = (verb, script) == ("keep", "Latin")  # of which ASCII's letters are
        self._run = regex.compile(rf"[{_FORMAT}]*+(?:{self.foreign.pattern}[{_MARK}{_FORMAT}]*+)++")

    def text(self, before: str) -> str:
        """Return a text, filtered, without any count: what the rule costs whoever wants no more."""
        return self._filtered(_ENDS.sub("\n", before))[1]

    def clean(self, before: str) -> Expected:
        """Return a text, filtered, with its counts."""
        ended, line_ends = _ENDS.subn("\n", before)
        normal, text, torn = self._filtered(ended)
        letters = count_letters(normal)
        left = letters if text == normal else count_letters(text)
        signs = sum(not LETTER.match(character) for character in self.foreign.findall(normal)) if text != normal else 0
        deleted = letters - left
        return Expected(
            text,
            letters,
            deleted,
            len(normal) - len(text) - deleted,
            line_ends,
            normal != ended,
            torn,
            (deleted + signs) / max(letters + signs, 1),
            text != before,
        )

    def _filtered(self, ended: str) -> tuple[str, str, int]:
        """Return a text in NFC before and after, and how many gaps tore a word."""
        text = normal = unicodedata.normalize("NFC", ended)
        torn = 0
        while not (self._keeps_latin and text.isascii()) and self.foreign.search(text):
            lines = []
            for line in regex.findall(r"[^\n]*\n|[^\n]+", text):
                if self.foreign.search(line):
                    line, n = _mend(self._run.sub(_GAP, line))
                    torn += n
                lines.append(line)
            text = unicodedata.normalize("NFC", "".join(lines))
        return normal, text, torn


def _mend(line: str) -> tuple[str, int]:
    """Return a line without its gaps, and how many tore a word."""
    body, end = line.removesuffix("\n"), line[len(line.removesuffix("\n")) :]
    emptied = 1
    while emptied:
        while emptied:
            body, emptied = _drop_brackets(body)
        body, emptied = _drop_quotes(body)
        body, more = _drop_marks(body)
        emptied += more
    if NO_WORDS.fullmatch(body):
        return "", 0
    for pattern, mended in ((_LEFT_OVER, _MENDED), (_LEADING, rf"\1{_MENDED}")):
        dropped = 1
        while dropped:
            body, dropped = pattern.subn(mended, body)
    torn = 0
    pieces, at = [], 0
    for gaps in _GAPS.finditer(body):
        before, after = body[at : gaps.start()], body[gaps.end() : gaps.end() + 1]
        last = regex.sub(rf"[{_MARK}{_FORMAT}]+$", "", gaps[0])
        left = body[gaps.start() - 1 : gaps.start()] if gaps.start() else ""
        pieces.append(before)
        at = gaps.end()
        torn += bool((gaps[0][0] == _GAP and _in_word(left)) or (_last_blank(last) == _GAP and _in_word(after)))
        if not left or not after:
            continue
        if regex.match(_G, gaps[0]) and regex.match(_OPEN, left):
            continue
        if regex.match(_G, _last_blank(last)) and regex.match(rf"{_CLOSE}|{_SEP}|[.!?。！？]", after):
            continue
        pieces.append(next((space for space in " \t\u200b" if space in gaps[0]), ""))
    return "".join([*pieces, body[at:], end]), torn


def _last_blank(gaps: str) -> str:
    """Return the last gap or space of a run, whatever marks follow it."""
    return regex.findall(_B, gaps)[-1]


def _in_word(character: str) -> bool:
    """Return whether a character is part of a word that spaces part from others, or binds a suffix to one."""
    if not character:
        return False
    letter = SHAPES.get(character, character)
    return character in "\u202f\u180e" or bool(regex.match(_WORD, character) and regex.match(_SPACED, letter))


def _drop_brackets(line: str) -> tuple[str, int]:
    """Put a gap in the place of emptied brackets, from left to right; return how many there were."""
    at = dropped = 0
    while found := _EMPTY_BRACKET.search(line, at):
        before, mark = line[: found.start()], found[1]
        turned = {"«": "»", "‹": "›"}.get(mark)
        if turned and before.count(turned) > before.count(mark) and before[-1] not in " \t\u200b":
            at = found.start() + 1
        else:
            line, at, dropped = before + _MENDED + line[found.end() :], found.start() + 1, dropped + 1
    return line, dropped


def _drop_marks(line: str) -> tuple[str, int]:
    """Put a gap in the place of emptied marks of one family, from left to right; return how many there were."""
    at = dropped = 0
    while found := _EMPTY_MARKS.search(line, at):
        at = found.start() + 1
        first, second = filter(None, found.groups())
        if _quote(first, second, line[: found.start()], found[0][-2], line[found.end() :], line):
            end = regex.compile(rf"[{_MARK}{_FORMAT}]*+").match(line, found.end()).end()
            line, dropped = line[: found.start()] + _MENDED + line[end:], dropped + 1
    return line, dropped


def _quote(first: str, second: str, before: str, last: str, after: str, line: str) -> bool:
    """Return whether two marks quote a gap.

    Args:
        first: the mark before it.
        second: the mark after it.
        before: of the line, what stands before the first.
        last: the character before the second.
        after: what stands after the second.
        line: all of it.
    """
    family = next(family for family in _FAMILIES if first in family)
    if first in "<>＜＞":
        return first in "<＜" and second in ">＞"
    single = first in "‘’‚‛＇"
    if not single and line.count(first) % 2 == 0 and not set(line) & (set(family) - {first}):
        return before.count(first) % 2 == 0
    if second in "„⹂‚":
        return False
    closes = not (last in " \t\u200b" and regex.match(_WORD, after))
    if first in "„⹂‚":
        return closes
    opening = sum(before.count(mark) for mark in family if regex.match(_OPEN, mark))
    closing = sum(before.count(mark) for mark in family if not regex.match(_OPEN, mark))
    behind_word = bool(before and regex.match(_WORD, before[-1]))
    if first in "»›”’" and second in "«‹“‘‟‛":
        return closes and opening == closing and not (single and behind_word)
    apart = not (behind_word or regex.match(_WORD, after)) if single else closes and (opening - closing) % 2 == 0
    return bool(apart and (first in "«‹“‘‟‛" or opening <= closing))


def _drop_quotes(line: str) -> tuple[str, int]:
    """Put a gap in the place of the first straight quotes that are empty; return whether there were any."""
    even = line.count('"') % 2 == 0
    found = [
        match
        for match in _EMPTY_QUOTE.finditer(line, overlapped=True)
        if even and line.count('"', 0, match.start()) % 2 == 0
    ]
    found += _EMPTY_APOSTROPHES.finditer(line)
    if not even:
        found += _EMPTY_QUOTE_APART.finditer(line)
    if not found:
        return line, 0
    first = min(found, key=lambda match: match.start())
    return line[: first.start()] + _MENDED + line[first.end() :], 1


def count_letters(text: str) -> int:
    return sum(map(len, LETTER.findall(text)))


def letters_by_script(texts: list[str], scripts: tuple[str, ...]) -> dict[str, int]:
    letters = "".join("".join(LETTER.findall(text)) for text in texts)
    letters = "".join(SHAPES.get(letter, letter) for letter in letters)
    counts = {script: len(regex.findall(rf"\p{{Script={script}}}", letters)) for script in scripts}
    return {script: n for script, n in counts.items() if n}
