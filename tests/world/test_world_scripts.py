"""Words, names and clauses of every planted script."""

import unicodedata

import numpy as np
import opencc
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from lorebridge.world.lexicon import Vocabulary
from lorebridge.world.scripts import MVS, NNBSP, SCRIPTS

scripts = pytest.mark.parametrize("script", SCRIPTS)


@scripts
@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_words_are_nfc_and_of_one_script(script, seed):
    rng = np.random.default_rng(seed)
    writer = SCRIPTS[script]
    text = writer.clause(writer.name(rng), writer.word(rng, 2), writer.name(rng))
    assert unicodedata.is_normalized("NFC", text)
    foreign = regex.compile(rf"[\p{{L}}\p{{M}}&&\P{{Script={script}}}]", regex.V1)
    assert not foreign.findall(text)
    assert not regex.findall(r"\d", text)


@scripts
def test_no_name_arises_within_other_words(script):
    rng = np.random.default_rng(1)
    writer, vocabulary = SCRIPTS[script], Vocabulary()
    words = [vocabulary.new(lambda: writer.word(rng, 2)) for _ in range(60)]
    names = [vocabulary.new(lambda: writer.name(rng)) for _ in range(200)]
    text = writer.between.join(
        writer.clause(subject, f"{verb}{writer.space}{noun}", obj)
        for subject, verb, noun, obj in zip(
            rng.permutation(names),
            rng.choice(words, 200),
            rng.choice(words, 200),
            rng.permutation(words[:40] * 5),
            strict=True,
        )
    )
    assert {text.count(name) for name in names} == {1}


def test_each_script_has_its_own_punctuation():
    rng = np.random.default_rng(0)
    clause = {
        name: writer.clause(writer.name(rng), writer.word(rng, 2), writer.name(rng)) for name, writer in SCRIPTS.items()
    }
    assert clause["Latin"].endswith(".") and clause["Hangul"].endswith("다.")
    assert clause["Han"].endswith("。") and " " not in clause["Han"]
    assert clause["Tibetan"].endswith("།") and "་" in clause["Tibetan"] and " " not in clause["Tibetan"]
    assert clause["Mongolian"].endswith(" ᠃") and NNBSP in clause["Mongolian"]


def test_mongolian_words_have_separated_vowels_now_and_then_and_keep_vowel_harmony():
    rng = np.random.default_rng(0)
    words = [SCRIPTS["Mongolian"].word(rng, 2) for _ in range(400)]
    assert 0.05 < np.mean([MVS in word for word in words]) < 0.25
    assert all(regex.search(rf"{MVS}[ᠠᠡ]$", word) for word in words if MVS in word)
    assert not any(set(word) & set("ᠠᠣᠤ") and set(word) & set("ᠡᠥᠦ") for word in words)


def test_han_is_alike_in_simplified_and_traditional_writing():
    letters = SCRIPTS["Han"].name_onsets + SCRIPTS["Han"].word_onsets
    assert opencc.OpenCC("t2s").convert(letters) == letters
    assert opencc.OpenCC("s2t").convert(letters) == letters
    assert len(set(letters)) == len(letters)
