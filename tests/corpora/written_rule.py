"""The rule of the letter filter written a second time, with regular expressions: what the kernels must agree with."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Mapping

import regex

LETTER = regex.compile(r"\p{L}+")

_GAP = "\ufdd0"
_INNER = r"[^\p{Ps}\p{Pe}\p{Pi}\p{Pf}\p{L}\p{N}\n" + _GAP + "]*+"
_EMPTY_BRACKET = regex.compile(rf"[\p{{Ps}}\p{{Pi}}]{_INNER}(?:{_GAP}{_INNER})++[\p{{Pe}}\p{{Pf}}]")
_GAPS = regex.compile(rf"(?<![ \t])[ \t]*+(?:{_GAP}[ \t]*+)++(\n?)")


@dataclasses.dataclass(frozen=True)
class Expected:
    """One text, filtered."""

    text: str
    letters: int
    deleted: int
    edited: bool


class WrittenRule:
    """Filters one text at a time."""

    def __init__(self, letters: Mapping[str, str]) -> None:
        [(verb, script)] = letters.items()
        if verb == "keep":
            foreign = rf"[^\p{{Script={script}}}\p{{Script=Common}}\p{{Script=Inherited}}]"
        else:
            foreign = rf"[\p{{Script={script}}}{_GAP}]"
        self.foreign = regex.compile(foreign)
        self._foreign_run = regex.compile(rf"(?:{foreign}[\p{{M}}\u200c\u200d]*+)++")

    def clean(self, text: str) -> Expected:
        text = unicodedata.normalize("NFC", text)
        letters, edited = count_letters(text), False
        while self.foreign.search(text):
            edited = True
            text = unicodedata.normalize("NFC", _mend(self._foreign_run.sub(_GAP, text)))
        return Expected(text, letters, letters - count_letters(text), edited)


def _mend(text: str) -> str:
    emptied = 1
    while emptied:
        text, emptied = _EMPTY_BRACKET.subn(_GAP, text)
    return _GAPS.sub(_close, text)


def _close(gaps: regex.Match[str]) -> str:
    text, start, end, line_end = gaps.string, gaps.start(), gaps.end(), gaps[1]
    opens = start == 0 or text[start - 1] == "\n"
    closes = bool(line_end) or end == len(text)
    if opens and closes:
        return ""
    if opens or closes:
        return line_end
    return " " if " " in gaps[0] or "\t" in gaps[0] else ""


def count_letters(text: str) -> int:
    return sum(map(len, LETTER.findall(text)))


def letters_by_script(texts: list[str], scripts: tuple[str, ...]) -> dict[str, int]:
    letters = "".join("".join(LETTER.findall(text)) for text in texts)
    counts = {script: len(regex.findall(rf"\p{{Script={script}}}", letters)) for script in scripts}
    return {script: n for script, n in counts.items() if n}
