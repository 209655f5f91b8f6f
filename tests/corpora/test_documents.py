"""The filter stage: what is kept, what is dropped and why, and what the audit says of it."""

import gzip
import hashlib
import json
import random
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import regex
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from written_rule import count_letters

from lorebridge import tables
from lorebridge.corpora import documents as documents_
from lorebridge.corpora.documents import filter_corpus, filter_file, filter_pairs, merge_audits, signatures
from lorebridge.corpora.duplicates import duplicates
from lorebridge.corpora.heldout import are_heldout, is_heldout, numbers_of
from lorebridge.errors import InputError

LATIN, NO_LATIN = {"keep": "Latin"}, {"drop": "Latin"}
LONG = "This sentence is long enough to stay. "


def jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def run(
    folder: Path,
    rows: list[dict],
    *,
    letters: dict = LATIN,
    of: int = 1,
    heldout: float = 0.0,
    simplify: bool = False,
    deduplicate: dict | None = None,
    **spec: object,
) -> tuple[list, dict]:
    """Filter `rows` in `of` shards by all stages; return the documents and the merged audit."""
    literals = {
        "sources": [{"kind": "local", "name": "mine", **spec}],
        "paths": [jsonl(folder / "rows.jsonl", rows)],
        "letters": letters,
        "min_chars": 20,
        "max_deleted": 0.3,
        "simplify": simplify,
        "of": of,
    }
    found = [folder / f"signatures-{shard}.parquet" for shard in range(of)]
    for shard, path in enumerate(found):
        signatures(**literals, deduplicate=deduplicate, shard=shard, signatures=path)
    duplicates(signatures=found, deduplicate=deduplicate, duplicates=folder / "duplicates.parquet")
    documents = []
    for shard in range(of):
        filter_corpus(
            **literals,
            lang="en",
            heldout=heldout,
            shard=shard,
            duplicates=folder / "duplicates.parquet",
            documents=folder / f"documents-{shard}.parquet",
            heldout_documents=folder / f"heldout-{shard}.parquet",
            audit=folder / f"audit-{shard}.json",
        )
        documents += tables.read(folder / f"documents-{shard}.parquet").to_dict("records")
    merge_audits(
        audits=[folder / f"audit-{i}.json" for i in range(of)], out=folder / "audit.json", lang="en", heldout=0.0
    )
    return documents, json.loads((folder / "audit.json").read_text())


ROWS = [
    {"id": "kept", "title": "Kyōto 京都", "text": LONG, "source": "wiki"},
    {"id": "edited", "text": LONG + "(東京) Tokyo"},
    {"text": LONG},
    {"id": "short", "text": "Too short."},
    {"id": "foreign", "text": "It is mostly Korean: " + "한국어" * 5},
    {"id": "empty", "text": "日本 — 東京。"},
]


def test_reasons_and_counts(tmp_path: Path) -> None:
    documents, audit = run(tmp_path, ROWS)
    assert documents == [
        {"doc_id": "mine:wiki/kept", "title": "Kyōto", "text": LONG, "source": "wiki", "n_chars": len(LONG)},
        {"doc_id": "mine/edited", "title": "", "text": LONG + "Tokyo", "source": "mine", "n_chars": len(LONG) + 5},
    ]
    assert {key: audit[key] for key in ("rows", "kept", "edited", "dropped")} == {
        "rows": 6,
        "kept": 2,
        "edited": 1,
        "dropped": {"duplicate": 1, "empty": 1, "foreign": 1, "short": 1},
    }
    assert audit["sources"]["mine:wiki"] == {"rows": 1, "kept": 1, "heldout": 0, "edited": 0, "dropped": {}}
    assert audit["sources"]["mine"]["rows"] == 5
    assert audit["letters_policy"] == LATIN
    assert audit["letters"]["text"]["before"]["Hangul"] == 15
    assert audit["letters"]["text"]["before"]["Han"] == 6
    letters = len(regex.findall(r"\p{L}", 2 * LONG + "Tokyo"))
    assert audit["letters"]["text"]["after"] == {"Latin": letters}
    assert audit["characters"]["text"] == {"before": sum(len(row["text"]) for row in ROWS), "after": 2 * len(LONG) + 5}
    assert audit["samples"]["edited"] == [
        {"id": "mine/edited", "text before": LONG + "(東京) Tokyo", "text after": LONG + "Tokyo"}
    ]
    assert [sample["id"] for sample in audit["samples"]["duplicate"]] == ["mine/0000003"]


def test_a_source_may_set_its_own_length(tmp_path: Path) -> None:
    documents, audit = run(tmp_path, ROWS, min_chars=5)
    assert "mine/short" in [row["doc_id"] for row in documents]
    assert "short" not in audit["dropped"]


def test_the_share_of_letters_decides_at_its_bound(tmp_path: Path) -> None:
    at, over = "a" * 7 + " " * 20 + "한" * 3, "a" * 69 + "한" * 31
    documents, _ = run(tmp_path, [{"id": "at", "text": at + " ." * 9}, {"id": "over", "text": over}])
    assert [row["doc_id"] for row in documents] == ["mine/at"]


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(12)), of=st.integers(1, 4))
def test_shards_and_order_do_not_change_the_audit(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], of: int
) -> None:
    rows = [{"id": str(i), "text": LONG * (1 + i % 3) + f"{i} 東京{'b' * i}"} for i in range(12)]
    whole = run(tmp_path_factory.mktemp("whole"), rows)
    parts = run(tmp_path_factory.mktemp("parts"), [rows[i] for i in order], of=of)
    assert sorted(parts[0], key=lambda row: row["doc_id"]) == sorted(whole[0], key=lambda row: row["doc_id"])
    assert parts[1] == whole[1]


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    made = []
    for _ in range(2):
        run(tmp_path, ROWS)
        made.append([(tmp_path / name).read_bytes() for name in ("documents-0.parquet", "audit-0.json", "audit.json")])
    assert made[0] == made[1]


def test_an_identity_that_comes_twice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"rows\.jsonl, row 2: the identity mine/a comes a second time"):
        run(tmp_path, [{"id": "a", "text": LONG}, {"id": "a", "text": LONG + "more"}])
    assert not (tmp_path / "documents-0.parquet").exists(), "a torn table would pass for a whole one"


def test_an_empty_corpus_tells_why(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        run(tmp_path, ROWS, letters={"keep": "Tibetan"})
    assert "corpus en: nothing is left after filtering (of 6 rows, dropped empty: 6)" in str(error.value)
    with pytest.raises(InputError, match="of 0 rows, dropped there were none"):
        run(tmp_path, [])


def test_a_missing_source_is_told_before_any_row_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.jsonl: no such file"):
        filter_corpus(
            sources=[{"kind": "local", "name": "a"}, {"kind": "local", "name": "b"}],
            paths=[jsonl(tmp_path / "rows.jsonl", [{"no": "text"}]), tmp_path / "gone.jsonl"],
            lang="en",
            letters=LATIN,
            min_chars=20,
            max_deleted=0.3,
            shard=0,
            of=1,
            simplify=False,
            heldout=0.0,
            duplicates=tmp_path / "duplicates.parquet",
            documents=tmp_path / "documents.parquet",
            heldout_documents=tmp_path / "heldout.parquet",
            audit=tmp_path / "audit.json",
        )


# --- text fidelity ---------------------------------------------------------------------------------------------------

END_OF_LINE = ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("end", END_OF_LINE, ids=ascii)
def test_however_a_line_ends_the_text_is_the_same(tmp_path: Path, end: str) -> None:
    text = f"끝{end}ABC{end}다음 문장은 글자가 스무 개보다 많아야 남는다."
    documents, audit = run(tmp_path, [{"text": text}], letters=NO_LATIN)
    assert documents[0]["text"] == "끝\n다음 문장은 글자가 스무 개보다 많아야 남는다."
    assert audit["edits"]["line_ends"] == {"rows": int(end != "\n"), "characters": 2 * (end != "\n")}


@pytest.mark.parametrize("letter", ["Ⅲ", "ⓐ", "⒜", "🄰", "Ａ", "𝐀", "𝒜", "ᵃ", "ʰ", "ª", "ₐ", "ℹ", "ﬁ"])
def test_letters_in_whatever_shape_weigh(tmp_path: Path, letter: str) -> None:
    text = f"제{letter}장 은 글자가 스무 개보다 많아야 남으므로 이렇게 길게 쓴다."
    n_letters = len(regex.findall(r"\p{Hangul}", text))
    documents, audit = run(tmp_path, [{"id": "1", "text": text}], letters=NO_LATIN)
    assert documents[0]["text"] == text.replace(letter, "")
    assert audit["edits"]["letters"] == {"rows": 1, "characters": 1}
    assert audit["letters"]["text"]["before"] == {"Hangul": n_letters, "Latin": 1}
    pairs, audit = run_pairs(tmp_path, [{"en": "a", "ko": text}, {"en": "b", "ko": letter + "가"}], max_lost=0.4)
    assert len(pairs) == 1
    assert audit["dropped"] == {"foreign_xx": 1}


def test_edits_of_titles_are_counted(tmp_path: Path) -> None:
    rows = [
        {"id": str(i), "title": title, "text": LONG + str(i)} for i, title in enumerate(["京都", "Kyōto", "a\r\nb"])
    ]
    documents, audit = run(tmp_path, rows)
    assert [row["title"] for row in documents] == ["", "Kyōto", "a\nb"]
    assert audit["edits"]["titles"] == {"rows": 2, "characters": 3}


PIECES = st.one_of(
    st.sampled_from("aＢⅢⓒ가나東ᠮ༡ \"'()“”\u00ad\u200b\u200e\u2067\u2069"),
    st.sampled_from(["\u202fᠤᠨ", ", ", ": ", "; ", ".\n", "e\u0301", "\u1112\u1161", *END_OF_LINE]),
)


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.lists(PIECES, max_size=25).map("".join), max_size=6), lost=st.sampled_from([0.1, 0.5, 1.0]))
@pytest.mark.parametrize("letters", [LATIN, NO_LATIN], ids=str)
def test_no_text_is_lost_or_edited_uncounted(
    tmp_path_factory: pytest.TempPathFactory, letters: dict, texts: list[str], lost: float
) -> None:
    """Of documents and of halves: what the audit counts explains every difference; a second filter finds nothing."""
    folder = tmp_path_factory.mktemp("texts")
    long = LONG if letters == LATIN else "이 문장은 글자가 스무 개보다 많아서 남는다. "
    rows = [{"id": str(i), "text": f"{i} {long}{text}"} for i, text in enumerate(texts)] + [{"id": "x", "text": long}]
    documents, audit = run(folder, rows, letters=letters)
    check_edits(audit, "text", {row["doc_id"].removeprefix("mine/"): row["text"] for row in documents}, rows)
    again, audit = run(folder, [{"id": row["doc_id"], "text": row["text"]} for row in documents], letters=letters)
    assert [row["text"] for row in again] == [row["text"] for row in documents]
    assert audit["edited"] == 0

    pairs = [{"en": "One", "ko": "하나"}] + [
        {"en": f"{i} {LONG}", "ko": f"{i} 글 {text}"} for i, text in enumerate(texts)
    ]
    found, audit = run_pairs(folder, pairs, max_lost=lost, letters_xx=NO_LATIN)
    rows = [{"id": f"{i + 1:07d}", "text": row["ko"]} for i, row in enumerate(pairs)]
    check_edits(audit, "xx", {row["pair_id"].removeprefix("mine/"): row["xx"] for row in found}, rows)
    again, audit = run_pairs(folder, [{"en": row["en"], "ko": row["xx"]} for row in found], max_lost=lost)
    assert [row["xx"] for row in again] == [row["xx"] for row in found]
    assert audit["edited"] == 0


def check_edits(audit: dict, column: str, after: dict[str, str], rows: list[dict]) -> None:
    """Hold an audit against the texts before and after."""
    before = {row["id"]: row["text"] for row in rows}
    kept = {identity: before[identity] for identity in after}
    ended = {i: regex.sub(r"\r\n|[\r\v\f\x85\u2028\u2029]", "\n", text) for i, text in kept.items()}
    edits = {kind: counts["characters"] for kind, counts in audit["edits"].items()}
    assert audit["edited"] == sum(kept[i] != after[i] for i in after)
    n_normal = sum(len(unicodedata.normalize("NFC", text)) for text in ended.values())
    assert n_normal - sum(map(len, after.values())) == edits["letters"] + edits["signs"]
    n_ends = sum(len(regex.findall(r"\r\n|[\r\v\f\x85\u2028\u2029]", text)) for text in kept.values())
    assert n_ends == edits["line_ends"]
    assert audit["edits"]["normal_form"]["rows"] == sum(
        not unicodedata.is_normalized("NFC", text) for text in ended.values()
    )
    assert audit["characters"][column]["after"] == sum(map(len, after.values()))


# --- held-out documents, near duplicates, simplified characters ------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(texts=st.lists(st.integers(0, 30), min_size=1, max_size=40), of=st.integers(1, 4))
def test_no_document_is_lost_and_none_is_on_both_sides(
    tmp_path_factory: pytest.TempPathFactory, texts: list[int], of: int
) -> None:
    folder = tmp_path_factory.mktemp("held")
    # The first row is not held out, so that something is left.
    rows = [{"id": "5", "text": LONG + "first"}, *({"text": f"{LONG} {text}"} for text in texts)]
    documents, audit = run(folder, rows, of=of, heldout=0.4)
    held = [row for i in range(of) for row in tables.read(folder / f"heldout-{i}.parquet").to_dict("records")]
    assert all(is_heldout(row["doc_id"], 0.4) for row in held)
    assert not any(is_heldout(row["doc_id"], 0.4) for row in documents)
    assert {row["text"] for row in [*documents, *held]} == {row["text"] for row in rows}
    assert not {row["text"] for row in documents} & {row["text"] for row in held}
    assert (audit["kept"], audit["heldout"]) == (len(documents), len(held))
    assert audit["rows"] == audit["kept"] + audit["heldout"] + audit["dropped"].get("duplicate", 0)
    assert audit["characters"]["text"]["after"] == sum(len(row["text"]) for row in documents)


def test_all_held_out_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing is left .* 1 are held out\)"):
        run(tmp_path, ROWS[:1], heldout=1.0)


def test_near_duplicates_have_their_own_reason(tmp_path: Path) -> None:
    text = " ".join(f"word{i}" for i in range(100))
    rows = [{"text": text}, {"text": text + " more"}, {"text": text}]
    documents, audit = run(tmp_path, rows, of=2, deduplicate={"threshold": 0.8, "permutations": 64, "ngram": 5})
    assert [row["doc_id"] for row in documents] == ["mine/0000001"]
    assert audit["dropped"] == {"duplicate": 1, "near_duplicate": 1}


def test_traditional_characters_are_simplified_and_counted(tmp_path: Path) -> None:
    traditional, simplified = "漢語是世界上使用人數最多的語言之一。" * 2, "汉语是世界上使用人数最多的语言之一。" * 2
    rows = [{"title": "漢語 A", "text": traditional}, {"text": simplified + "。"}, {"text": simplified}]
    documents, audit = run(tmp_path, rows, letters={"drop": "Latin"}, simplify=True)
    # A text in both kinds of characters is one text.
    assert [(row["title"], row["text"]) for row in documents] == [("汉语", simplified), ("", simplified + "。")]
    assert audit["dropped"] == {"duplicate": 1}
    changed = sum(a != b for a, b in zip(traditional, simplified, strict=True))
    edits = {kind: counts["characters"] for kind, counts in audit["edits"].items() if counts["rows"]}
    assert edits == {"simplified": changed, "titles": len("語漢 A")}
    assert audit["edited"] == 1
    assert audit["samples"]["edited"][0]["text after"] == simplified
    unchanged, audit = run(tmp_path, rows, letters={"drop": "Latin"})
    assert unchanged[0]["text"] == traditional
    assert audit["edits"]["simplified"]["rows"] == 0


@pytest.mark.parametrize("letters", [LATIN, {"drop": "Han"}])
def test_simplified_characters_where_han_is_deleted_are_refused(tmp_path: Path, letters: dict) -> None:
    with pytest.raises(InputError, match=r"simplify: .* deletes Han"):
        run(tmp_path, ROWS, letters=letters, simplify=True)


def test_an_audit_that_does_not_add_up_is_refused(tmp_path: Path) -> None:
    run(tmp_path, ROWS)
    audit = json.loads((tmp_path / "audit-0.json").read_text())
    audit["kept"] += 1
    (tmp_path / "audit-0.json").write_text(json.dumps(audit))
    with pytest.raises(InputError, match=r"audit-0\.json: the audit does not add up \(6 rows, 3 kept, 0 held out"):
        merge_audits(audits=[tmp_path / "audit-0.json"], out=tmp_path / "audit.json", lang="en", heldout=0.0)


def test_a_share_that_holds_nothing_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"parallel\.ko\.heldout: a share of 1e-12 holds out none of 3"):
        run_pairs(tmp_path, PAIRS, heldout=1e-12)
    run(tmp_path, ROWS)
    with pytest.raises(InputError, match=r"corpora\.en\.heldout: a share of 1e-12 holds out none of"):
        merge_audits(audits=[tmp_path / "audit-0.json"], out=tmp_path / "audit.json", lang="en", heldout=1e-12)


def test_shards_of_different_versions_of_a_source_are_refused(tmp_path: Path) -> None:
    run(tmp_path, ROWS, of=2)
    audit = json.loads((tmp_path / "audit-1.json").read_text())
    audit["resolved"] = {"mine": {"revision": "b" * 40}}
    (tmp_path / "audit-1.json").write_text(json.dumps(audit))
    with pytest.raises(InputError, match=r"audit-1\.json: was read from .*Pin the sources of corpora\.en"):
        merge_audits(
            audits=[tmp_path / f"audit-{i}.json" for i in range(2)], out=tmp_path / "audit.json", lang="en", heldout=0.0
        )


# --- pairs --------------------------------------------------------------------------------------------------------

PAIRS = [
    {"en": "One and two", "ko": "하나 둘", "source": "ntrex"},
    {"en": "At (서울) once", "ko": "지금"},
    {"en": "One and two", "ko": "하나 둘"},
    {"en": "Use Python", "ko": "Python을 쓰세요"},
    {"en": "서울", "ko": "서울"},
    {"en": "Hello", "ko": "Hello!"},
    {"en": "In 서울 it rains", "ko": "비가 온다"},
    {"en": "1945", "ko": "1945"},
    {"en": "Mostly fine here 가", "ko": "이 문장은 거의 다 한글로 썼다 a"},
]


def run_pairs(folder: Path, rows: list[dict], **literals: object) -> tuple[list, dict]:
    filter_pairs(
        sources=[{"kind": "local", "name": "mine"}],
        paths=[jsonl(folder / "pairs.jsonl", rows)],
        base="en",
        lang="ko",
        letters_base=LATIN,
        pairs=folder / "pairs.parquet",
        audit=folder / "audit.json",
        heldout_pairs=folder / "heldout.parquet",
        **{"max_lost": 0.1, "simplify": False, "heldout": 0.0, "letters_xx": NO_LATIN} | literals,
    )
    return tables.read(folder / "pairs.parquet").to_dict("records"), json.loads((folder / "audit.json").read_text())


def test_pairs_are_dropped_whole(tmp_path: Path) -> None:
    pairs, audit = run_pairs(tmp_path, PAIRS)
    assert pairs == [
        {"pair_id": "mine:ntrex/0000001", "en": "One and two", "xx": "하나 둘", "source": "ntrex"},
        {"pair_id": "mine/0000008", "en": "1945", "xx": "1945", "source": "mine"},
        {"pair_id": "mine/0000009", "en": "Mostly fine here", "xx": "이 문장은 거의 다 한글로 썼다", "source": "mine"},
    ]
    assert audit["dropped"] == {"duplicate": 1, "empty_en": 1, "empty_xx": 1, "foreign_en": 2, "foreign_xx": 1}
    assert (audit["lang"], audit["rows"], audit["kept"], audit["edited"]) == ("en-ko", 9, 3, 1)
    assert audit["letters"]["en"]["after"] == {"Latin": 23}
    assert audit["letters"]["xx"]["before"]["Latin"] == len("PythonHelloa")
    assert audit["samples"]["foreign_xx"] == [
        {
            "id": "mine/0000004",
            "en before": "Use Python",
            "en after": "Use Python",
            "xx before": "Python을 쓰세요",
            "xx after": "을 쓰세요",
        }
    ]


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=40))
def test_no_half_of_a_held_out_pair_is_trained_on(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("pairs")
    # Two of the first ten share no half with others: one that is not held out, and one that is.
    texts = [{"en": f"first {i}", "ko": f"처음 {i}"} for i in range(10)]
    assert {is_heldout(f"mine/{i + 1:07d}", 0.3) for i in range(10)} == {True, False}
    texts += [{"en": f"en {a}", "ko": f"한 {b}"} for a, b in rows]
    seen: dict[tuple[str, str], str] = {}
    for number, row in enumerate(texts, start=1):
        seen.setdefault((row["en"], row["ko"]), f"mine/{number:07d}")
    expected = {pair: identity for pair, identity in seen.items() if is_heldout(identity, 0.3)}
    pairs, audit = run_pairs(folder, texts, heldout=0.3)
    held = tables.read(folder / "heldout.parquet").to_dict("records")
    assert {(row["en"], row["xx"]): row["pair_id"] for row in held} == expected
    english, korean = ({pair[half] for pair in expected} for half in (0, 1))
    trained = {(e, k): i for (e, k), i in seen.items() if e not in english and k not in korean}
    assert {(row["en"], row["xx"]): row["pair_id"] for row in pairs} == trained
    assert audit["dropped"].get("heldout_half", 0) == len(seen) - len(expected) - len(trained)
    assert audit["dropped"].get("duplicate", 0) == len(texts) - len(seen)
    assert audit["rows"] == audit["kept"] + audit["heldout"] + sum(audit["dropped"].values())


def test_the_other_half_of_pairs_is_simplified(tmp_path: Path) -> None:
    pairs, audit = run_pairs(tmp_path, [{"en": "Chinese", "ko": "漢語"}], simplify=True)
    assert pairs[0]["xx"] == "汉语"
    assert audit["edits"]["simplified"] == {"rows": 1, "characters": 2}


def test_a_pair_without_a_half(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pairs\.jsonl, row 2: no `ko` .*`en`, `kor`"):
        run_pairs(tmp_path, [PAIRS[0], {"en": "a", "kor": "b"}])


def test_no_pair_left(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pairs en-ko: nothing is left .* foreign_xx: 1"):
        run_pairs(tmp_path, [PAIRS[3]])


def test_sources_whose_rows_carry_one_label(tmp_path: Path) -> None:
    """A label is shown, and is no key: neither two sources nor two ways to cut a name collide."""
    rows = [{"en": "One", "ko": "하나", "source": "tatoeba"}, {"en": "Two", "ko": "둘", "source": "a/b"}]
    names = ["a", "b"]
    filter_pairs(
        sources=[{"kind": "local", "name": name} for name in names],
        paths=[
            jsonl(tmp_path / f"{name}.jsonl", [row | {"en": f"{row['en']} {name}"} for row in rows]) for name in names
        ],
        base="en",
        lang="ko",
        letters_base={"drop": "Han"},
        letters_xx={"drop": "Han"},
        pairs=tmp_path / "pairs.parquet",
        heldout_pairs=tmp_path / "heldout.parquet",
        audit=tmp_path / "audit.json",
        max_lost=0.1,
        simplify=False,
        heldout=0.0,
    )
    pairs = tables.read(tmp_path / "pairs.parquet")
    assert pairs["pair_id"].tolist() == [
        f"{n}:{label}" for n in names for label in ("tatoeba/0000001", "a%2Fb/0000002")
    ]
    assert pairs["source"].tolist() == ["tatoeba", "a/b"] * 2
    assert set(json.loads((tmp_path / "audit.json").read_text())["sources"]) == {
        f"{name}:{label}" for name in names for label in ("tatoeba", "a%2Fb")
    }


PARTS = st.text(alphabet="ab/:%", max_size=4)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(PARTS.filter(bool), PARTS.filter(bool)), min_size=1, max_size=8, unique=True))
def test_no_two_labels_and_ids_make_one_identity(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    texts = [{"source": label, "id": key, "text": f"{LONG}{i}"} for i, (label, key) in enumerate(rows)]
    documents, _ = run(tmp_path_factory.mktemp("labels"), texts)
    assert len({row["doc_id"] for row in documents}) == len(documents) == len(rows)
    assert [row["source"] for row in documents] == [label for label, _ in rows]


def fates_by_definition(rows: list[dict], heldout: float) -> tuple[list[str], dict[str, int]]:
    """What is kept, by identity, and what is dropped or held out: the rules one pair at a time."""
    seen, held, first = set(), {"en": set(), "ko": set()}, []
    for number, row in enumerate(rows, 1):
        identity = f"mine/{number:07}"
        repeats = (row["en"], row["ko"]) in seen
        seen.add((row["en"], row["ko"]))
        is_held = not repeats and is_heldout(identity, heldout)
        first.append((identity, row, repeats, is_held))
        if is_held:
            held["en"].add(row["en"])
            held["ko"].add(row["ko"])
    kept, counts = [], dict.fromkeys(("duplicate", "heldout", "heldout_half"), 0)
    for identity, row, repeats, is_held in first:
        if repeats:
            counts["duplicate"] += 1
        elif is_held:
            counts["heldout"] += 1
        elif row["en"] in held["en"] or row["ko"] in held["ko"]:
            counts["heldout_half"] += 1
        else:
            kept.append(identity)
    return kept, counts


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=40, max_size=200),
    heldout=st.sampled_from([0.0, 0.02, 0.1]),
    collide=st.booleans(),
)
def test_duplicates_and_held_out_halves_follow_their_definition(
    tmp_path: Path, numbers: list[tuple[int, int]], heldout: float, collide: bool
) -> None:
    """Whatever the numbers of identities do, and in whatever row groups the table is written."""
    rows = [{"en": f"Number {en}", "ko": f"숫자 {ko}"} for en, ko in numbers]
    kept, counts = fates_by_definition(rows, heldout)
    assume(kept and (counts["heldout"] or not heldout))

    def collisions(identities: pa.Array) -> np.ndarray:
        found = numbers_of(identities)
        few = np.where(are_heldout(found, heldout), found % 3, ~(found % 3))  # held out or not as before
        return few if collide else found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents_, "numbers_of", collisions)
        patch.setattr(documents_, "PAIRS_WRITTEN", 16)
        patch.setattr(documents_, "_BLOCK", 13)
        pairs, audit = run_pairs(tmp_path, rows, heldout=heldout)
    assert [pair["pair_id"] for pair in pairs] == kept
    assert [pair["en"] for pair in pairs] == [rows[int(identity[-7:]) - 1]["en"] for identity in kept]
    assert audit["heldout"] == counts.pop("heldout")
    assert audit["dropped"] == {reason: n for reason, n in counts.items() if n}
    metadata = pq.read_metadata(tmp_path / "pairs.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)][:-1] == [16] * (
        (len(kept) - 1) // 16
    )


def made_up_pairs(seed: int, n: int) -> list[dict]:
    """Pairs of few different halves, some with letters of the other script, with a label or without one."""
    chance = random.Random(seed)
    english = ["Number {}", "At (서울) {}", "Cafe\u0301 {}", "{}", "Line one\r\nline {}", "서울", "A 가나다라마바 {}"]
    korean = ["숫자 {}", "{} 카페(cafe)에서", "\u1112\u1161\u11ab {}", "{}", "한\u0085줄 {}", "Seoul", "가 abcdefgh {}"]
    labels = [None, "mine", "a/b", "100 %", "a%2Fb", ""]
    return [
        {half: chance.choice(of).format(chance.randrange(9)) for half, of in (("en", english), ("ko", korean))}
        | {"source": chance.choice(labels)}
        for _ in range(n)
    ]


def test_filtered_pairs_are_what_they_were(tmp_path: Path) -> None:
    """All rows and the audit, to the byte; written down by the implementation that looked at one pair at a time."""
    sources = [{"kind": "local", "name": name} for name in ("mine", "other")]
    paths = [jsonl(tmp_path / f"{seed}.jsonl", made_up_pairs(seed, 3000)) for seed in range(2)]
    arguments = {"base": "en", "lang": "ko", "letters_base": LATIN, "letters_xx": NO_LATIN, "max_lost": 0.4}
    written = {name: tmp_path / f"{name}.parquet" for name in ("pairs", "heldout_pairs")}
    arguments |= written | {"audit": tmp_path / "audit.json"}
    filter_pairs(sources=sources, paths=paths, simplify=False, heldout=0.05, **arguments)
    found = hashlib.sha256((tmp_path / "audit.json").read_bytes())
    for path in written.values():
        found.update(json.dumps(tables.read(path).to_dict("records")).encode())
    assert found.hexdigest()[:32] == "8bab2b0b32f09e1747d68ddbd1f7c0bc"


# --- one file -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.parquet"])
def test_one_file_is_filtered_as_a_corpus_is(tmp_path: Path, name: str) -> None:
    documents, audit = run(tmp_path, ROWS)
    source = jsonl(tmp_path / "mine.jsonl", ROWS)
    arguments = {"lang": "en", "letters": LATIN, "min_chars": 20, "max_deleted": 0.3}
    result = filter_file(source=source, out=tmp_path / name, **arguments)
    assert {key: result[key] for key in audit} == audit
    if name.endswith("parquet"):
        assert tables.read(tmp_path / name).to_dict("records") == documents
        return
    data = (tmp_path / name).read_bytes()
    lines = (gzip.decompress(data) if name.endswith("gz") else data).decode().splitlines()
    assert json.loads(lines[0]) == {"id": "kept", "title": "Kyōto", "text": LONG, "source": "wiki"}
    # What was written is a source again, and nothing is left to filter.
    again = filter_file(source=tmp_path / name, out=tmp_path / f"again-{name}", **arguments)
    assert (again["kept"], again["edited"], again["dropped"]) == (2, 0, {})
    assert (tmp_path / f"again-{name}").read_bytes() == data


def test_one_file_with_nothing_left_or_another_suffix(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "mine.jsonl", ROWS)
    arguments = {"lang": "bo", "letters": {"keep": "Tibetan"}, "source": source, "min_chars": 20, "max_deleted": 0.3}
    with pytest.raises(InputError, match=r"mine\.jsonl: nothing is left"):
        filter_file(out=tmp_path / "out.jsonl", **arguments)
    with pytest.raises(InputError, match=r"out\.txt: not a format that is written"):
        filter_file(out=tmp_path / "out.txt", **arguments)


def test_one_file_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "mine.jsonl", [*ROWS, {"no": "text"}])
    (tmp_path / "out.jsonl").write_text("before")
    with pytest.raises(InputError, match=r"mine\.jsonl, row 7"):
        filter_file(lang="en", letters=LATIN, source=source, out=tmp_path / "out.jsonl", min_chars=20, max_deleted=0.3)
    assert (tmp_path / "out.jsonl").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.jsonl", "out.jsonl"]


@pytest.mark.slow
def test_memory_is_flat(tmp_path: Path) -> None:
    """Ten times the text takes hardly more memory, in every stage."""
    peaks = []
    for megabytes in (10, 100):
        row = json.dumps({"text": "In 東京 it rained, and the tower (東京タワー) stood in the mist. " * 40})
        source = tmp_path / f"{megabytes}.jsonl"
        with source.open("w") as file:
            for i in range(megabytes * 10**6 // len(row)):
                file.write(f'{{"id": {i}, "text": "{i} ' + row[10:] + "\n")
        code = rf"""
import re
from lorebridge.corpora.documents import filter_file
filter_file(lang="en", letters={LATIN}, source={str(source)!r}, out={str(tmp_path / "out.parquet")!r},
            min_chars=20, max_deleted=0.5)
# (ru_maxrss would be that of the process that started this one.)
print(re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read()).group(1))
"""
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] < 1.3 * peaks[0] + 50, f"{peaks[0]:.0f} MB, {peaks[1]:.0f} MB"
    assert peaks[1] < 1000


# --- real text ----------------------------------------------------------------------------------------------------

FOREIGN = {"en": regex.compile(r"[^\p{Latin}\p{Common}\p{Inherited}]")}
LATIN_LETTER = regex.compile(r"\p{Latin}")


@pytest.mark.parametrize("lang", ["en", "ko", "zh", "bo", "mn"])
def test_real_corpora_hold_no_foreign_letter(tmp_path: Path, data: Path, lang: str) -> None:
    source = data / "corpora" / f"{lang}.jsonl.gz"
    literals = {
        "sources": [{"kind": "local", "name": lang}],
        "paths": [source],
        "letters": LATIN if lang == "en" else NO_LATIN,
        "min_chars": 200,
        "max_deleted": 0.3,
        "simplify": False,
        "shard": 0,
        "of": 1,
    }
    found, repeats = tmp_path / "signatures.parquet", tmp_path / "duplicates.parquet"
    signatures(**literals, deduplicate=None, signatures=found)
    duplicates(signatures=[found], deduplicate=None, duplicates=repeats)
    filter_corpus(
        **literals,
        lang=lang,
        heldout=0.0,
        duplicates=repeats,
        documents=tmp_path / "documents.parquet",
        heldout_documents=tmp_path / "heldout.parquet",
        audit=tmp_path / "audit.json",
    )
    documents = tables.read(tmp_path / "documents.parquet")
    audit = json.loads((tmp_path / "audit.json").read_text())
    foreign = FOREIGN.get(lang, LATIN_LETTER)
    assert not any(foreign.search(text) for text in [*documents.text, *documents.title])
    assert len(documents) == audit["kept"] > 1000
    assert audit["kept"] + sum(audit["dropped"].values()) == audit["rows"]
    script = {"en": "Latin", "ko": "Hangul", "zh": "Han", "bo": "Tibetan", "mn": "Mongolian"}[lang]
    after = audit["letters"]["text"]["after"]
    assert after[script] > 0.999 * sum(after.values())
    assert sum(after.values()) == sum(map(count_letters, documents.text))
    if lang == "mn":
        raw = [json.loads(line)["text"] for line in gzip.decompress(source.read_bytes()).splitlines()]
        for space in "\u202f\u180e":
            assert sum(text.count(space) for text in documents.text) == sum(text.count(space) for text in raw) > 0


@pytest.mark.parametrize("lang", ["ko", "zh", "bo", "mn"])
def test_real_pairs_hold_no_foreign_letter(tmp_path: Path, data: Path, lang: str) -> None:
    filter_pairs(
        sources=[{"kind": "local", "name": lang}],
        paths=[data / "parallel" / f"en-{lang}.jsonl.gz"],
        base="en",
        lang=lang,
        letters_base=LATIN,
        letters_xx=NO_LATIN,
        pairs=tmp_path / "pairs.parquet",
        heldout_pairs=tmp_path / "heldout.parquet",
        audit=tmp_path / "audit.json",
        max_lost=0.1,
        simplify=False,
        heldout=0.0,
    )
    pairs = tables.read(tmp_path / "pairs.parquet")
    assert not any(FOREIGN["en"].search(text) for text in pairs.en)
    assert not any(LATIN_LETTER.search(text) for text in pairs.xx)
    assert len(pairs) > 5000
    assert pairs.pair_id.is_unique
    assert not pairs.duplicated(["en", "xx"]).any()
