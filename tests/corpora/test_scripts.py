"""The script filter: what goes, what stays, and that nothing foreign is left."""

import unicodedata

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from lorebridge.corpora.scripts import SCRIPTS, LetterCounts, LetterFilter
from lorebridge.errors import InputError

KEEP, DROP = LetterFilter({"keep": "Latin"}), LetterFilter({"drop": "Latin"})
FOREIGN = {KEEP: regex.compile(r"[^\p{Latin}\p{Common}\p{Inherited}]"), DROP: regex.compile(r"\p{Latin}")}

# Letters, marks, brackets and spaces that meet at gaps, drawn far more often than plain sampling would.
PIECES = st.sampled_from(
    "aZéＡⅣªK 1.,;()[]（）「」“”«»\t\n\u00a0\u202f\u180e\u200d\u180b\u3000\u0300\u0301\u0338\u00a8ꭓ"
    "가가한東京のーབོད་།ཡ༣ᠠᠪ᠃яΩαא\ufdd0\ue000\uf900"
)
TEXTS = st.lists(st.one_of(PIECES, st.characters(exclude_categories=["Cs"])), max_size=40).map("".join)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Tokyo (東京, Tōkyō) is (日本語) big.", "Tokyo (, Tōkyō) is big."),
        ("the 東京 tower", "the tower"),
        ("東京 tower", "tower"),
        ("in Tokyo (Japanese: 東京)", "in Tokyo (Japanese: )"),
        ("see (བོད་ཡིག།; 東京) there", "see there"),
        ("so [(東京)] it is", "so it is"),
        ("the word “བོད” means", "the word means"),
        ("one\n東京 བོད\ntwo\n(東京)\nthree", "one\ntwo\nthree"),
        ("call f() or  [ ] as is", "call f() or  [ ] as is"),
        ("    indented f()  東京  x", "    indented f() x"),
        ("naïve café ª Ⅳ 3½ 100 % ― “quoted” α", "naïve café ª Ⅳ 3½ 100 % ― “quoted”"),
        ("dots ं̈ gone, x̄ stays", "dots gone, x̄ stays"),
        ("cafe\u0301", "café"),
    ],
)
def test_english_keeps_latin_only(before: str, after: str) -> None:
    assert KEEP.clean(before).text == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("KTX를 타고 2014년에", "를 타고 2014년에"),
        ("시작(start) 한다", "시작 한다"),
        ("使用 Python（派森）编程，ＡＢＣ。", "使用（派森）编程，。".replace("使用", "使用 ")),
        ("ᠮᠣᠩᠭᠣᠯ\u202fᠤᠨ abc ᠨᠡᠷ\u180eᠡ ᠠ\u180b ᠪᠢ\u200d", "ᠮᠣᠩᠭᠣᠯ\u202fᠤᠨ ᠨᠡᠷ\u180eᠡ ᠠ\u180b ᠪᠢ\u200d"),
        ("བོད་ Tibet སྐད།", "བོད་ སྐད།"),
        ("가 é 나", "가 나"),
        ("가 x\u0301\u0302 나", "가 나"),
    ],
)
def test_other_languages_lose_latin(before: str, after: str) -> None:
    assert DROP.clean(before).text == after


def test_letters_are_counted_in_nfc() -> None:
    cleaned = DROP.clean("한국 KBS 1")
    assert (cleaned.letters, cleaned.deleted, cleaned.edited) == (5, 3, True)
    assert cleaned.share_deleted == pytest.approx(3 / 5)
    untouched = DROP.clean("12 + 3")
    assert (untouched.letters, untouched.deleted, untouched.share_deleted, untouched.edited) == (0, 0, 0, False)


@pytest.mark.parametrize("letters", [{}, {"keep": "Latin", "drop": "Latin"}, {"only": "Latin"}, {"keep": "latin"}])
def test_a_policy_that_is_none_is_refused(letters: dict) -> None:
    with pytest.raises(InputError, match="keep: SCRIPT"):
        LetterFilter(letters)


def is_subsequence(short: str, long: str) -> bool:
    rest = iter(long)
    return all(character in rest for character in short)


def letters_of(text: str) -> str:
    return "".join(regex.findall(r"\p{L}+", unicodedata.normalize("NFD", text)))


@pytest.mark.parametrize("keeper", [KEEP, DROP], ids=["keep", "drop"])
@given(text=TEXTS)
@example("¨(東)\u0300")
@example("ᄀaᅡ")
@example(" \ufdd0 ")
def test_nothing_foreign_is_left_and_nothing_is_added(keeper: LetterFilter, text: str) -> None:
    cleaned = keeper.clean(text)
    assert not FOREIGN[keeper].search(cleaned.text)
    assert unicodedata.is_normalized("NFC", cleaned.text)
    assert keeper.clean(cleaned.text) == type(cleaned)(
        cleaned.text, sum(map(len, regex.findall(r"\p{L}+", cleaned.text))), 0, False
    )
    assert is_subsequence(letters_of(cleaned.text), letters_of(text))
    assert is_subsequence(
        regex.sub(r"[^\u202f\u180e\u00a0\u3000]", "", cleaned.text), regex.sub(r"[^\u202f\u180e\u00a0\u3000]", "", text)
    )
    assert 0 <= cleaned.share_deleted <= 1
    if not cleaned.edited:
        assert cleaned.text == unicodedata.normalize("NFC", text)


@given(st.text(alphabet="ᠠᠡᠢᠪᠨ᠂᠃\u202f\u180e\u180b\u180c\u180d\u200c\u200d (1)《》", max_size=60))
def test_mongolian_without_latin_is_left_alone(text: str) -> None:
    assert DROP.clean(text).text == text


@given(st.text(alphabet="ᠠᠡ\u202f\u180eab ()", max_size=60))
def test_mongolian_spaces_survive_deletions_around_them(text: str) -> None:
    cleaned = DROP.clean(text).text
    # A bracket left without letters may take a space inside it along.
    if "(" not in text:
        assert [c for c in cleaned if c in "\u202f\u180e"] == [c for c in text if c in "\u202f\u180e"]


def test_every_letter_has_a_script() -> None:
    letters = regex.findall(r"\p{L}", "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)])))
    counts = LetterCounts()
    for start in range(0, len(letters), 1000):
        counts.add("".join(letters[start : start + 1000]))
    found = counts.by_script()
    assert sum(found.values()) == len(letters)
    assert set(found) <= set(SCRIPTS)
    assert found["Tibetan"] == len(regex.findall(r"\p{Tibetan}", "".join(letters)))


@given(st.lists(TEXTS, max_size=5))
def test_letter_counts_do_not_depend_on_batches(texts: list[str]) -> None:
    apart, joined = LetterCounts(), LetterCounts()
    apart._BATCH = 7
    for text in texts:
        apart.add(text)
    joined.add("".join(texts))
    assert apart.by_script() == joined.by_script()
    assert sum(joined.by_script().values()) == sum(len(regex.findall(r"\p{L}", text)) for text in texts)
