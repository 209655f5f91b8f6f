"""Duplicates across shards: what counts as one, which copy stays, and that the number of shards does not matter."""

import collections
import gzip
import hashlib
import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from lorebridge import tables
from lorebridge.corpora import duplicates as dup
from lorebridge.corpora.documents import signatures
from lorebridge.errors import InputError

NEAR = {"threshold": 0.8, "permutations": 128, "ngram": 5}


def run(folder: Path, files: list[list[dict]], *, of: int = 1, deduplicate: dict | None = None) -> list[dict]:
    """Find the duplicates in sources `s0`, `s1`, ... by `of` shards."""
    paths = []
    for i, rows in enumerate(files):
        paths.append(folder / f"{i}.jsonl")
        paths[-1].write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    found = [folder / f"signatures-{shard}.parquet" for shard in range(of)]
    for shard, path in enumerate(found):
        signatures(
            sources=[{"kind": "local", "name": f"s{i}"} for i in range(len(files))],
            paths=paths,
            letters={"drop": "Greek"},
            min_chars=1,
            max_deleted=0.3,
            simplify=False,
            deduplicate=deduplicate,
            shard=shard,
            of=of,
            signatures=path,
        )
    dup.duplicates(signatures=found, deduplicate=deduplicate, duplicates=folder / "duplicates.parquet")
    return tables.read(folder / "duplicates.parquet").to_dict("records")


def words(seed: int, n: int) -> list[str]:
    return [f"w{random.Random(f'{seed} {i}').randrange(10**6)}" for i in range(n)]


# --- equal texts --------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.integers(0, 6), max_size=40), cut=st.integers(0, 40), of=st.integers(1, 5))
def test_the_first_of_equals_stays_whatever_the_shards(
    tmp_path_factory: pytest.TempPathFactory, texts: list[int], cut: int, of: int
) -> None:
    rows = [{"text": f"text {text}"} for text in texts]
    found = run(tmp_path_factory.mktemp("shards"), [rows[:cut], rows[cut:]], of=of)
    ids = [f"s0/{i + 1:07d}" for i in range(len(rows[:cut]))] + [f"s1/{i + 1:07d}" for i in range(len(rows[cut:]))]
    firsts: dict[int, str] = {}
    expected = []
    for text, identity in zip(texts, ids, strict=True):
        if text in firsts:
            expected.append({"doc_id": identity, "duplicate_of": firsts[text], "reason": "duplicate"})
        firsts.setdefault(text, identity)
    assert found == expected


def test_texts_are_compared_as_they_are_written(tmp_path: Path) -> None:
    """After the letter filter and in NFC; and a text that is dropped anyway is no copy of another."""
    long = "αβ " + "a" * 20
    found = run(tmp_path, [[{"text": "e\u0301"}, {"text": "é α" * 1}, {"text": "é"}, {"text": "α"}, {"text": long}]])
    assert [(row["doc_id"], row["duplicate_of"]) for row in found] == [("s0/0000003", "s0/0000001")]


def test_an_identity_that_comes_twice_in_two_shards(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "one"}, {"id": "b", "text": "two"}, {"id": "c", "text": "3"}, {"id": "a", "text": "4"}]
    with pytest.raises(InputError, match=r"0\.jsonl, row 4: the identity s0/a comes a second time"):
        run(tmp_path, [rows], of=3)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=30))
def test_first_of_equal(rows: list[tuple[int, int]]) -> None:
    found = dup.first_of_equal(np.array(rows, dtype=np.uint64).reshape(-1, 2))
    assert found.tolist() == [rows.index(row) for row in rows]


def test_digests_are_those_of_the_texts() -> None:
    texts = ["", "a", "བོད", "a" * 1000]
    found = dup.digests(pa.array(["before", *texts]).slice(1))
    assert [row.tobytes() for row in found] == [hashlib.blake2b(t.encode(), digest_size=16).digest() for t in texts]


def test_hashes_are_of_every_byte_and_the_length() -> None:
    """Eight bytes at a time, the last ones in their order, each mixed by the finaliser of SplitMix64."""
    texts = ["", "a", "ba", "abcdefgh", "abcdefghi", "abcdefghik", "བོད་སྐད", "a" * 17]

    def mixed(value: int) -> int:
        value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
        return value ^ value >> 31

    def by_definition(data: bytes) -> int:
        value, whole = len(data), len(data) // 8 * 8
        words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, whole, 8)]
        words += [int.from_bytes(data[whole:], "big")] if data[whole:] else []
        for word in words:
            value = mixed(((value ^ word) + 0x9E3779B97F4A7C15) % 2**64)
        return value

    assert dup.hashes(pa.array(texts)).tolist() == [by_definition(text.encode()) for text in texts]


# --- near duplicates ----------------------------------------------------------------------------------------------

UNIT = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}&&\p{L}]"
    r"|(?:(?![\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}&&\p{L}])[\p{L}\p{M}\p{N}\u200c\u200d])+",
    regex.VERSION1,
)


def ngrams_of(text: str, n: int) -> list[tuple[str, ...]]:
    units = UNIT.findall(text)
    if not units:
        return []
    return [tuple(units[i : i + n]) for i in range(len(units) - n + 1)] or [tuple(units)]


def hashed(texts: list[str], n: int) -> list[list[int]]:
    data, offsets = dup.scripts.bytes_of(pa.array(texts, pa.string()))
    hashes, ends = np.zeros(max(1, len(data)), dtype=np.uint64), np.zeros(len(texts) + 1, dtype=np.uint64)
    dup._ngrams(data, offsets, dup.scripts.unit_kinds(dup.scripts.UNBROKEN), n, hashes, ends)
    return [hashes[a:b].tolist() for a, b in zip(ends[:-1].astype(int), ends[1:].astype(int), strict=True)]


PIECES = st.one_of(st.sampled_from("ab1 .-東京ขはབོད་ᠠ\u180b\u202fé\u0301"), st.characters(exclude_categories=["Cs"]))


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(st.text(PIECES, max_size=30), max_size=5), n=st.integers(1, 6))
def test_ngrams_are_of_words_and_of_characters_where_there_are_no_words(texts: list[str], n: int) -> None:
    expected, found = [ngrams_of(text, n) for text in texts], hashed(texts, n)
    assert [len(row) for row in found] == [len(row) for row in expected]
    named: dict[int, tuple[str, ...]] = {}
    for row, other in zip(found, expected, strict=True):
        for number, ngram in zip(row, other, strict=True):
            assert named.setdefault(number, ngram) == ngram
    assert len(named) == len({ngram for row in expected for ngram in row})


def test_signatures_never_change() -> None:
    """Written down once: shards are compared with each other, whichever machine made them."""
    texts = pa.array(["The quick brown fox jumps over the lazy dog", "བོད་ཡིག་ནི་བོད་ཀྱི་ཡི་གེ་ཡིན།", "敏捷的棕色狐狸"])
    found = dup.minhashes(texts, permutations=16, ngram=5)
    assert hashlib.sha256(found.astype("<u4").tobytes()).hexdigest()[:16] == "2dbf682fbfaaa512"


def test_signatures_estimate_the_similarity() -> None:
    base = words(1, 400)
    for keep in (400, 300, 200, 100, 0):
        other = base[:keep] + words(2 + keep, 400 - keep)
        a, b = (set(ngrams_of(" ".join(text), 5)) for text in (base, other))
        exact = len(a & b) / len(a | b)
        x, y = dup.minhashes(pa.array([" ".join(base), " ".join(other)]), permutations=512, ngram=5)
        estimate = (x == y).mean()
        assert abs(estimate - exact) <= 4 * np.sqrt(exact * (1 - exact) / 512) + 1e-9


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95])
def test_bands_find_what_is_as_similar_as_the_threshold(threshold: float) -> None:
    n_bands, rows = dup.bands(threshold, 128)
    assert n_bands * rows <= 128
    assert 1 - (1 - threshold**rows) ** n_bands >= 0.99


def edited(text: list[str], *places: int) -> dict:
    return {"text": " ".join("other" if i in places else word for i, word in enumerate(text))}


def test_near_duplicates_go_and_say_what_they_repeat(tmp_path: Path) -> None:
    one, two = words(1, 200), words(2, 200)
    rows = [
        edited(one),
        edited(two),
        edited(one, 7),
        edited(two, 150),
        {"text": " ,, ".join(one)},
        edited(one, 7),
        edited(words(3, 200)),
        {"text": "short"},
        {"text": "short text"},
    ]
    found = run(tmp_path, [rows], of=3, deduplicate=NEAR)
    assert [(row["doc_id"][-1], row["duplicate_of"][-1], row["reason"]) for row in found] == [
        ("3", "1", "near_duplicate"),
        ("4", "2", "near_duplicate"),
        ("5", "1", "near_duplicate"),
        ("6", "1", "duplicate"),
    ]


def test_a_document_goes_for_one_that_stays_and_for_no_chain(tmp_path: Path) -> None:
    """Each of a chain is like its neighbours alone: the second goes, so the third has nothing to repeat."""
    text = words(1, 200)
    steps = [edited(text, *range(5, 5 + 12 * k, 12)) for k in range(9)]
    found = run(tmp_path, [steps], deduplicate=NEAR)
    goes = {row["doc_id"] for row in found}
    assert goes
    assert not goes & {row["duplicate_of"] for row in found}
    sets = {f"s0/{i + 1:07d}": set(ngrams_of(row["text"], 5)) for i, row in enumerate(steps)}
    for row in found:
        a, b = sets[row["doc_id"]], sets[row["duplicate_of"]]
        assert len(a & b) / len(a | b) > 0.6
    assert 2 <= len(steps) - len(goes) < len(steps) - 1


@settings(max_examples=15, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.sets(st.integers(0, 59), max_size=2)), max_size=25),
    cut=st.integers(0, 25),
    of=st.integers(2, 4),
)
def test_near_duplicates_do_not_depend_on_the_shards(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, set[int]]], cut: int, of: int
) -> None:
    texts = [edited(words(seed, 60), *places) for seed, places in rows]
    files, folder = [texts[:cut], texts[cut:]], tmp_path_factory.mktemp("near")
    whole = run(folder, files, deduplicate=NEAR)
    assert run(folder, files, of=of, deduplicate=NEAR) == whole
    exact = {row["doc_id"] for row in run(folder, files)}
    assert exact <= {row["doc_id"] for row in whole}


def test_an_empty_corpus_has_no_duplicates(tmp_path: Path) -> None:
    assert run(tmp_path, [[], []], of=2, deduplicate=NEAR) == []


def test_planted_copies_are_found_in_real_text(tmp_path: Path, data: Path) -> None:
    """In every language, a copy with one word in forty replaced goes, and what its text shares with none stays."""
    for lang in ("en", "bo", "zh"):
        lines = gzip.decompress((data / "corpora" / f"{lang}.jsonl.gz").read_bytes()).splitlines()[::40]
        texts = [text for line in lines if len(text := json.loads(line)["text"]) > 400][:60]
        rows = [{"id": f"o{i}", "text": text} for i, text in enumerate(texts)]
        for i, text in enumerate(texts[:30]):
            units = [m.span() for m in UNIT.finditer(text)]
            for a, b in reversed(units[::40][1:]):
                text = f"{text[:a]}X{text[b:]}"
            rows.append({"id": f"c{i}", "text": text + "."})
        folder = tmp_path / lang
        folder.mkdir()
        goes = collections.Counter(
            row["doc_id"][3] for row in run(folder, [rows], deduplicate={**NEAR, "threshold": 0.7})
        )
        assert goes["c"] >= 28, lang
        assert goes["o"] <= 6, lang  # real near duplicates: law texts and manuals repeat themselves
