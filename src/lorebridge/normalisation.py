"""Two normalisations of an answer, side by side, by which answers are compared.

``strict`` is the rule of MLQA (Lewis et al., ACL 2020, section 5, and its evaluation script): lower case, punctuation
of Unicode and articles out, blanks as one; text in Chinese characters counts a character as a word. It says nothing of
languages beyond its seven; of these we take no article out, and read Japanese and other Chinese as it reads Chinese.

``folded`` is the same of text that is folded first: NFC, which makes one of the two spellings of Devanagari's letters
with a nukta; digits of every script as those of ASCII; zero-width joiners and non-joiners out. `strict` tells such
answers apart, though nobody would. A nukta itself is taken out only where that is asked for.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections.abc import Callable

STRICT, FOLDED = "strict", "folded"

_ARTICLES = {
    lang: re.compile(rf"\b(?:{'|'.join(words.split())})\b")
    for lang, words in {
        "en": "a an the",
        "es": "un una unos unas el la los las",
        "vi": "của là cái chiếc những",
        "de": "ein eine einen einem eines einer der die das den dem des",
    }.items()
} | {"ar": re.compile("ال")}
_BY_CHARACTER = frozenset({"zh", "zht", "yue", "ja"})
_HAN = re.compile("([\u4e00-\u9fa5])")
_JOINERS = dict.fromkeys(map(ord, "\u200c\u200d"))
_NUKTAS = {
    ord(sign): None for sign in "\u093c\u09bc\u0a3c\u0abc\u0b3c"
}  # Devanagari, Bengali, Gurmukhi, Gujarati, Odia


@functools.cache
def _punctuation() -> dict[int, None]:
    marks = {point for point in range(sys.maxunicode) if unicodedata.category(chr(point)).startswith("P")}
    return dict.fromkeys(marks | set(map(ord, "$+<=>^`|~")))  # those of ASCII that Unicode calls symbols


def strict(text: str, lang: str) -> str:
    """Return a text as MLQA compares it.

    >>> strict("The  Lorne, a river.", "en"), strict("北京!", "zh")
    ('lorne river', '北 京')
    """
    text = text.lower().translate(_punctuation())
    if lang in _ARTICLES:
        text = _ARTICLES[lang].sub("" if lang == "ar" else " ", text)
    if lang in _BY_CHARACTER:
        text = _HAN.sub(r" \1 ", text)
    return " ".join(text.split())


def folded(text: str, lang: str, *, nukta: bool = False) -> str:
    """Return a text as :func:`strict` does, folded before.

    Args:
        text: the text.
        lang: its language.
        nukta: whether the dot below is taken out, too.
    """
    if nukta:
        text = unicodedata.normalize("NFD", text).translate(_NUKTAS)
    text = unicodedata.normalize("NFC", text).translate(_JOINERS)
    text = "".join(str(unicodedata.digit(letter)) if letter.isdecimal() else letter for letter in text)
    return strict(text, lang)


NORMALISATIONS: dict[str, Callable[[str, str], str]] = {STRICT: strict, FOLDED: folded}
