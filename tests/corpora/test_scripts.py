"""The script filter: what goes, what stays, that nothing foreign is left; the kernels against the written rule."""

import gzip
import json
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st
from written_rule import LETTER, NO_WORDS, SHAPES, Expected, WrittenRule, count_letters, letters_by_script

from lorebridge.corpora.scripts import SCRIPTS, LetterFilter, by_script
from lorebridge.errors import InputError

KEEP, DROP = LetterFilter({"keep": "Latin"}), LetterFilter({"drop": "Latin"})
POLICIES = [{"keep": "Latin"}, {"drop": "Latin"}, {"keep": "Tibetan"}, {"drop": "Mongolian"}, {"keep": "Greek"}]


def column(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.string())


def clean(letter_filter: LetterFilter, text: str) -> str:
    return letter_filter.clean(column([text])).texts[0].as_py()


def check(letter_filter: LetterFilter, rule: WrittenRule, texts: list[str]) -> None:
    """Hold a column against the rule, text by text."""
    cleaned = letter_filter.clean(column(texts))
    expected = [rule.clean(text) for text in texts]
    letters = [int(n) for n in cleaned.letters_left.sum(axis=1) + cleaned.deleted]
    values = zip(
        cleaned.texts.to_pylist(),
        letters,
        cleaned.deleted.tolist(),
        cleaned.signs.tolist(),
        cleaned.line_ends.tolist(),
        (cleaned.composed > 0).tolist(),
        cleaned.torn.tolist(),
        cleaned.share_deleted.tolist(),
        cleaned.edited.tolist(),
        strict=True,
    )
    # Compared as lists of a few texts, so that a failure shows the text.
    assert [Expected(*row) for row in values] == expected
    assert cleaned.characters.tolist() == [len(text) for text in texts]
    assert cleaned.characters_left.tolist() == [len(e.text) for e in expected]
    assert cleaned.content.tolist() == [bool(LETTER.search(e.text) or regex.search(r"\p{N}", e.text)) for e in expected]
    assert cleaned.letters.sum(axis=1).tolist() == [count_letters(text) for text in texts]
    assert cleaned.letters_left.sum(axis=1).tolist() == [count_letters(e.text) for e in expected]
    assert by_script(cleaned.letters.sum(axis=0)) == letters_by_script(texts, SCRIPTS)
    assert by_script(cleaned.letters_left.sum(axis=0)) == letters_by_script([e.text for e in expected], SCRIPTS)


# Letters, marks, brackets and spaces that meet at gaps, drawn far more often than plain sampling would.
PIECES = st.sampled_from(
    "aZéＡⅣªK 1.,;:()[]（）「」“”„“‚‘’«»«»›‹＂＇<>-*•①、\"\"''\t\n\r\u2028"
    "\u00a0\u202f\u180e\u200d\u180b\u3000\u0300\u0301\u0338\u00a8ꭓ"
    "가가한東京のーབོད་།ཡ༣ᠠᠪ᠃яΩαא\ufdd0\ufdd1\ue000\uf900ⓐ𝐁𝛼㊗⒜〇㎏ℵ\u00ad\u200b\u200e\u202a\u202c\u2067\u2069\ufeff"
)
TEXTS = st.lists(st.one_of(PIECES, st.characters(exclude_categories=["Cs"])), max_size=40).map("".join)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Tokyo (東京, Tōkyō) is (日本語) big.", "Tokyo (Tōkyō) is big."),
        ("Tokyo (Tōkyō; 東京, 도쿄) is big", "Tokyo (Tōkyō) is big"),
        ("the 東京 tower", "the tower"),
        ("東京 tower", "tower"),
        ("in Tokyo (Japanese: 東京)", "in Tokyo (Japanese)"),
        ("Seoul (Korean: 서울; Hanja: 漢城; RR: Seoul) is", "Seoul (Korean; Hanja; RR: Seoul) is"),
        ('called "서울" by "us"', "called by us".replace("us", '"us"')),
        ("called '서울', 'it' isn't", "called, 'it' isn't"),
        ('one "a" 서울 "b"', 'one "a" "b"'),
        ('5" 서울 and 6"', '5" and 6"'),
        ('at 5" "서울" and on', 'at 5" and on'),
        ("as \u200e서울\u200e or \u2067서울\u2069 or \u202a(서울)\u202c said", "as or or said"),
        ("It is 東京. They said, 東京!", "It is. They said!"),
        ("Name: 東京\nNext", "Name\nNext"),
        ("a\t東京\tb 東京.NET", "a\tb.NET"),
        ("a(東京)\u0301b", "ab"),
        ("in ⓐ, ㊗, 𝐀, 𝛼, ℵ, µm, ㎏ and ℃", "in ⓐ, 𝐀, ℵ, µm, ㎏ and ℃"),
        ("one\r\n東京\r\ntwo\u2028三\u2028\x85three", "one\ntwo\n\nthree"),
        ("see (བོད་ཡིག།; 東京) there", "see there"),
        ("so [(東京)] it is", "so it is"),
        ("the word “བོད” means", "the word means"),
        ("one\n東京 བོད\ntwo\n(東京)\nthree", "one\ntwo\nthree"),
        ("call f() or  [ ] as is", "call f() or  [ ] as is"),
        ("    indented f()  東京  x", "    indented f() x"),
        ("naïve café ª Ⅳ 3½ 100 % ― “quoted” α", "naïve café ª Ⅳ 3½ 100 % ― “quoted”"),
        ("dots ं̈ gone, x̄ stays", "dots gone, x̄ stays"),
        ("cafe\u0301", "café"),
        ("called „서울“, ‚서울‘ or „서울”", "called, or"),
        ("as »서울« or ›서울‹, ”서울” and “서울“", "as or, and"),
        ("»Berlin« 서울 »Hamburg«", "»Berlin« »Hamburg«"),
        ("«a» 서울 «b» and „a“ 서울 „b“", "«a» «b» and „a“ „b“"),
        ("the dogs’ 서울 ’tis ‘서울‘, it’s ’서울’", "the dogs’ ’tis, it’s"),
        ("”a” ”서울” ”b” ＂서울＂", "”a” ”b”"),
        ("the film <기생충> and x < 서울 > y", "the film and x < > y"),
        ("- one\n- 서울\n* 서울\n • 서울, 東京\n- two", "- one\n- two"),
        ("1. one\n2. 서울\n(3) 서울\n④ 서울\n5.1.2. 東京!\n6、東京\n7. seven", "1. one\n7. seven"),
        ("2024 서울\n3.5 서울\n1988. 서울\n서울 1.\n1", "2024\n3.5\n1988.\n1.\n1"),
        ("## 서울\n| 서울 | 東京 |\n==서울==\n---\n> 서울\nend", "---\nend"),
    ],
)
def test_english_keeps_latin_only(before: str, after: str) -> None:
    assert clean(KEEP, before) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("KTX를 타고 2014년에", "를 타고 2014년에"),
        ("시작(start) 한다", "시작 한다"),
        ("使用 Python（派森）编程，ＡＢＣ。", "使用（派森）编程。".replace("使用", "使用 ")),
        ("ᠮᠣᠩᠭᠣᠯ\u202fᠤᠨ abc ᠨᠡᠷ\u180eᠡ ᠠ\u180b ᠪᠢ\u200d", "ᠮᠣᠩᠭᠣᠯ\u202fᠤᠨ ᠨᠡᠷ\u180eᠡ ᠠ\u180b ᠪᠢ\u200d"),
        ("끝\r\nABC\r\n다음", "끝\n다음"),
        ("제Ⅲ장 ⓐ ⒝ 𝐂 ℹ ｄ ᵉ ㎏ ℃ №", "제장 ㎏ ℃ №"),
        ("서울\u00adSeoul\u00ad시", "서울시"),
        ("二〇〇〇年Ｗindows", "二〇〇〇年"),
        ("包括Python、Java：C。", "包括。"),
        ("བོད་ Tibet སྐད།", "བོད་ སྐད།"),
        ("가 é 나", "가 나"),
        ("가 x\u0301\u0302 나", "가 나"),
        ("영화 <Parasite>는 ”KBS”와 “KBS“를", "영화 는 와 를"),
        ("他说”ABC”。《ABC》", "他说。"),
        ("- KTX\n- 기차\n1) bus\nᠮᠣᠩ\nKBS\u202f\n", "- 기차\nᠮᠣᠩ\n"),
    ],
)
def test_other_languages_lose_latin(before: str, after: str) -> None:
    assert clean(DROP, before) == after


def test_letters_are_counted_in_nfc() -> None:
    cleaned = DROP.clean(column(["한국 KBS 1", "12 + 3", "\u1112\u1161\u11ab"]))
    assert cleaned.deleted.tolist() == [3, 0, 0]
    assert cleaned.edited.tolist() == [True, False, True]
    assert cleaned.share_deleted.tolist() == [3 / 5, 0, 0]
    assert cleaned.letters.sum(axis=1).tolist() == [5, 0, 3]
    assert cleaned.letters_left.sum(axis=1).tolist() == [2, 0, 1]
    assert cleaned.composed.tolist() == [0, 0, 3]


def test_every_edit_is_counted() -> None:
    texts = ["제Ⅲ장 ⓐ", "둘\r셋\u2029", "e\u0301", "(KBS) 하나 KTX를", "ᠮᠣᠩ KBS\u202fᠤᠨ", "하나"]
    texts.append("\u0316a\u0301\u0316가")
    cleaned = DROP.clean(column(texts))
    assert cleaned.texts.to_pylist() == ["제장", "둘\n셋\n", "", "하나 를", "ᠮᠣᠩ \u202fᠤᠨ", "하나", "\u0316가"]
    assert cleaned.deleted.tolist() == [2, 0, 1, 6, 3, 0, 1]
    assert cleaned.signs.tolist() == [1, 0, 0, 3, 0, 0, 1]
    assert cleaned.line_ends.tolist() == [0, 2, 0, 0, 0, 0, 0]
    assert cleaned.composed.tolist() == [0, 0, 2, 0, 0, 0, 2]
    assert cleaned.torn.tolist() == [1, 0, 0, 1, 1, 0, 1]
    assert cleaned.edited.tolist() == [True, True, True, True, True, False, True]
    assert cleaned.share_deleted.tolist() == [0.5, 0, 1, 6 / 9, 3 / 8, 0, 0.5]
    # Digits, marks and signs of a foreign script weigh as its letters do.
    assert KEEP.clean(column(["ab ༡༢་ཀྱ"])).share_deleted.tolist() == [5 / 7]


def test_without_a_policy_no_letter_goes() -> None:
    """What ``filter: none`` of a corpus asks for: ends of lines and the normal form are mended, and nothing else."""
    cleaned = LetterFilter({}).clean(column(["Seoul 서울 བོད།", "a\r\nb", "e\u0301"]))
    assert cleaned.texts.to_pylist() == ["Seoul 서울 བོད།", "a\nb", "é"]
    assert cleaned.deleted.tolist() == [0, 0, 0] and cleaned.signs.tolist() == [0, 0, 0]
    assert cleaned.share_deleted.tolist() == [0, 0, 0] and cleaned.edited.tolist() == [False, True, True]


@pytest.mark.parametrize("letters", [{"keep": "Latin", "drop": "Latin"}, {"only": "Latin"}, {"keep": "latin"}])
def test_a_policy_that_is_none_is_refused(letters: dict) -> None:
    with pytest.raises(InputError, match="keep: SCRIPT"):
        LetterFilter(letters)


def is_subsequence(short: str, long: str) -> bool:
    rest = iter(long)
    return all(character in rest for character in short)


def letters_of(text: str) -> str:
    return "".join(regex.findall(r"\p{L}+", unicodedata.normalize("NFD", text)))


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@settings(max_examples=150, deadline=None)
@given(texts=st.lists(TEXTS, max_size=6), start=st.integers(0, 2))
@example(texts=["¨(東)\u0300", "ᄀaᅡ", " \ufdd0 ", "", "a\u0301", "\u0344", "東\n", "\n東", "a 東\r\n"], start=0)
@example(
    texts=["[(“東 ”) x]", "((((東)", "(東\n)", "東)(", "\t東 \t\n b", "x\n 東 \ny", "ccc\u0316\u0301\u0315"], start=1
)
def test_kernels_keep_the_written_rule(policy: dict, texts: list[str], start: int) -> None:
    # A column may be a slice of a longer one.
    check(LetterFilter(policy), WrittenRule(policy), texts)
    whole = LetterFilter(policy).clean(column(["aé東" * start, *texts]).slice(1))
    assert whole.texts.equals(LetterFilter(policy).clean(column(texts)).texts)


@pytest.mark.parametrize("policy", POLICIES[:2], ids=str)
@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_nothing_foreign_is_left_and_nothing_is_added(policy: dict, text: str) -> None:
    letter_filter, foreign = LetterFilter(policy), WrittenRule(policy).foreign
    found = clean(letter_filter, text)
    assert not foreign.search(found)
    assert unicodedata.is_normalized("NFC", found)
    assert clean(letter_filter, found) == found
    again = letter_filter.clean(column([found]))
    assert not again.edited.any()
    normal = unicodedata.normalize("NFC", regex.sub(r"\r\n|[\r\v\f\x85\u2028\u2029]", "\n", text))
    assert is_subsequence(unicodedata.normalize("NFD", found), unicodedata.normalize("NFD", normal))
    # No letter or digit goes but the foreign ones, and the numbers of items that keep no word.
    lines = regex.findall(r"[^\n]*\n|[^\n]+", normal)
    lines = [line for line in lines if not (foreign.search(line) and NO_WORDS.fullmatch(foreign.sub("\ufdd0", line)))]
    left = unicodedata.normalize("NFD", foreign.sub("", "".join(lines)))
    kept = [c for c in left if LETTER.match(c) or c.isnumeric()]
    assert [c for c in unicodedata.normalize("NFD", found) if LETTER.match(c) or c.isnumeric()] == kept
    cleaned = letter_filter.clean(column([text]))
    assert len(normal) - len(found) == cleaned.deleted[0] + cleaned.signs[0]
    assert cleaned.signs[0] >= 0
    assert cleaned.edited[0] == (found != text)
    counts = (cleaned.deleted, cleaned.signs, cleaned.line_ends, cleaned.composed)
    assert (sum(int(count[0]) for count in counts) > 0) == (found != text)


@pytest.mark.parametrize("policy", POLICIES[:2], ids=str)
def test_every_character_is_filtered_and_counted_as_the_rule_says(policy: dict) -> None:
    every = regex.findall(r"[^\p{Cn}\p{Cs}\r\v\f\x85\u2028\u2029]|[\ufdd0\uffff]", "".join(map(chr, range(0x30000))))
    letter_filter, rule = LetterFilter(policy), WrittenRule(policy)
    letters = set(regex.findall(r"[\p{L}\p{Nl}]", "".join(every))) | set(SHAPES)
    counts = np.zeros(len(SCRIPTS), dtype=np.int64)
    for start in range(0, len(every), 4096):
        characters = every[start : start + 4096]
        cleaned = letter_filter.clean(column(characters))
        expected = [unicodedata.normalize("NFC", c) for c in characters]
        foreign = [bool(rule.foreign.search(text)) for text in expected]
        assert cleaned.edited.tolist() == [f or c != e for f, c, e in zip(foreign, characters, expected, strict=True)]
        assert cleaned.texts.to_pylist() == ["" if edited else e for edited, e in zip(foreign, expected, strict=True)]
        assert cleaned.letters.sum(axis=1).tolist() == [c in letters for c in characters]
        counts += cleaned.letters.sum(axis=0)
    assert by_script(counts) == letters_by_script(["".join(every)], SCRIPTS)
    assert sum(by_script(counts).values()) == len(letters)


def test_the_quick_check_overlooks_no_text_that_is_not_normal() -> None:
    """Every character between ones that compose and reorder: the result is in NFC, so none was passed by in error."""
    every = [chr(i) for i in [*range(0x300), *range(0x300, 0x3400), *range(0xA000, 0xD800), *range(0xF900, 0x20000)]]
    for before, after in (("a", ""), ("a", "\u0301"), ("\u0301", "\u0316"), ("\u1100", "\u11a8"), ("\u0f71", "\u0f72")):
        texts = [before + c + after for c in every if not 0xD800 <= ord(c) < 0xE000]
        cleaned = LetterFilter({"drop": "Runic"}).clean(column(texts))
        ends = [regex.sub(r"\r|[\v\f\x85\u2028\u2029]", "\n", text) for text in texts]
        normal = [unicodedata.normalize("NFC", text) for text in ends]
        untouched = [not regex.search(r"[\p{Runic}\ufdd0\ufdd1]", text) for text in normal]
        found = cleaned.texts.to_pylist()
        assert [text for text, same in zip(found, untouched, strict=True) if same] == [
            text for text, same in zip(normal, untouched, strict=True) if same
        ]


@given(st.text(alphabet="ᠠᠡᠢᠪᠨ᠂᠃\u202f\u180e\u180b\u180c\u180d\u200c\u200d (1)《》", max_size=60))
def test_mongolian_without_latin_is_left_alone(text: str) -> None:
    assert clean(DROP, text) == text


@given(st.text(alphabet="ᠠᠡ\u202f\u180eab ()", max_size=60))
def test_mongolian_spaces_survive_deletions_around_them(text: str) -> None:
    cleaned = clean(DROP, text)
    # A bracket left without letters may take a space inside it along, and so may a line.
    if "(" not in text and regex.search("[ᠠᠡ]", text):
        assert [c for c in cleaned if c in "\u202f\u180e"] == [c for c in text if c in "\u202f\u180e"]


@pytest.mark.parametrize("lang", ["en", "ko", "zh", "bo", "mn"])
def test_kernels_keep_the_written_rule_on_real_text(data: Path, lang: str) -> None:
    policy = {"keep": "Latin"} if lang == "en" else {"drop": "Latin"}
    lines = gzip.decompress((data / "corpora" / f"{lang}.jsonl.gz").read_bytes()).splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    # A twelfth of each corpus, in turn from all of its sources; benchmarks/filter.py compares all of it.
    check(LetterFilter(policy), WrittenRule(policy), texts[::12])


def test_a_column_of_nothing_and_one_with_nulls() -> None:
    assert KEEP.clean(column([])).texts.to_pylist() == []
    assert KEEP.clean(column(["", ""])).content.tolist() == [False, False]
    with pytest.raises(ValueError, match="1 nulls"):
        KEEP.clean(pa.array(["a", None]))
    assert np.issubdtype(KEEP.clean(column(["a"])).deleted.dtype, np.integer)
