"""Sources: every format gives the same rows, every defect one error that names its place."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import Dataset, Server
from hypothesis import given, settings
from hypothesis import strategies as st

from lorebridge.corpora import readers
from lorebridge.corpora.readers import Columns
from lorebridge.corpora.sources import Batch, open_source
from lorebridge.errors import InputError

ROWS = [{"id": f"r{i}", "title": f"Title {i}", "text": f"Text number {i}. " * 20, "source": "wiki"} for i in range(10)]
LOCAL = {"kind": "local", "name": "mine"}
TEXT = Columns(["text"], [], {})


def jsonl_bytes(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def jsonl(path: Path, rows: list[Any]) -> Path:
    data = jsonl_bytes(rows)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def parquet_bytes(rows: list[Any], **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, **{"row_group_size": 3, **options})
    return sink.getvalue().to_pybytes()


def parquet(path: Path, rows: list[Any], **options: Any) -> Path:
    path.write_bytes(parquet_bytes(rows, **options))
    return path


def rows_of(spec: dict[str, Any], path: Path | None = None, *args: Any, shard: int = 0, of: int = 1) -> list[dict]:
    """Return the columns of a source as one list of rows."""
    return [row for batch in open_source(spec, path, *args).batches(shard, of) for row in batch.columns.to_pylist()]


KINDS = ["rows.jsonl", "rows.jsonl.gz", "rows.parquet", "rows.tsv", "hub-jsonl", "hub-parquet", "hub-files"]


@pytest.fixture(params=KINDS)
def source(request: pytest.FixtureRequest, tmp_path: Path, hub: Server) -> Callable[..., Any]:
    """Open ROWS as each kind of source."""
    name = request.param
    path, spec = None, {"kind": "huggingface", "name": "mine", "dataset": "some/set", "revision": "c" * 40}
    if name == "rows.tsv":
        path, spec = tmp_path / name, {**LOCAL, "columns": list(ROWS[0])}
        path.write_bytes("".join("\t".join(row.values()) + "\textra\n" for row in ROWS).encode())
    elif name.startswith("rows"):
        path, spec = (parquet if name.endswith("parquet") else jsonl)(tmp_path / name, ROWS), LOCAL
    elif name == "hub-jsonl":
        hub.datasets["some/set"] = Dataset({"README.md": b"-", "rows.jsonl": jsonl_bytes(ROWS)})
        spec["data_files"] = "rows.jsonl"
    elif name == "hub-parquet":
        hub.datasets["some/set"] = Dataset({"20231101.ko/train-00000-of-00001.parquet": parquet_bytes(ROWS)})
        spec["config"] = "20231101.ko"
    else:
        cut = enumerate(((0, 4), (4, 7), (7, 10)))
        hub.datasets["some/set"] = Dataset({f"train-{i}.parquet": parquet_bytes(ROWS[a:b]) for i, (a, b) in cut})
    return lambda fields=None: open_source({**spec, "fields": fields or {}}, path)


def test_all_kinds_give_the_same_rows(source: Callable[..., Any]) -> None:
    opened = source()
    assert opened.name == "mine"
    assert [row for batch in opened.batches() for row in batch.columns.select(list(ROWS[0])).to_pylist()] == ROWS
    assert sum(len(batch.columns) for batch in opened.batches()) == len(ROWS), "read a second time"
    keys = [key for batch in opened.batches() for key in batch.keys().to_pylist()]
    assert len(set(keys)) == len(ROWS)
    assert all(batch.columns.schema.types == [pa.string()] * 4 for batch in opened.batches())


@pytest.mark.parametrize("of", [1, 2, 3, 5, 7])
def test_shards_part_the_rows_and_keep_their_keys_and_order(source: Callable[..., Any], of: int) -> None:
    def read(shard: int, of: int) -> dict[tuple[int, int], tuple[str, str]]:
        return {
            (batch.index, int(number)): (key, text)
            for batch in source().batches(shard, of)
            for number, key, text in zip(
                batch.numbers, batch.keys().to_pylist(), batch.columns["text"].to_pylist(), strict=True
            )
        }

    whole, shards = read(0, 1), [read(shard, of) for shard in range(of)]
    assert [text for _, (_, text) in sorted(whole.items())] == [row["text"] for row in ROWS]
    assert sum(map(len, shards)) == len(ROWS)
    assert {place: row for shard in shards for place, row in shard.items()} == whole


def test_fields_rename(source: Callable[..., Any]) -> None:
    batch = next(source({"text": "title", "id": "source"}).batches())
    assert batch.columns.to_pylist()[0] == {"text": "Title 0", "title": "Title 0", "id": "wiki", "source": "wiki"}


@pytest.mark.parametrize("name", ["rows.tsv", "rows.parquet"])
def test_a_column_that_is_renamed_must_be_there(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "rows.tsv":
        path.write_text("text\ttitle\na\tb\n")
    else:
        parquet(path, [{"text": "a", "title": "b"}])
    assert rows_of(LOCAL, path)[0]["id"] is None
    fails(path, "no `number` (there is `text`, `title`)", spec={**LOCAL, "fields": {"id": "number"}})


@pytest.mark.parametrize("of", [1, 3])
def test_files_longer_than_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: int) -> None:
    monkeypatch.setattr(readers, "_BLOCK", 1000)
    monkeypatch.setattr(readers, "_PARQUET_ROWS", 7)
    rows = [{"text": f"{i} " + "x" * (i % 50)} for i in range(500)]
    for path in (jsonl(tmp_path / "a.jsonl", rows), parquet(tmp_path / "a.parquet", rows, row_group_size=400)):
        batches = [batch for shard in range(of) for batch in open_source(LOCAL, path).batches(shard, of)]
        assert len(batches) > 10
        found = {
            int(number): text
            for batch in batches
            for number, text in zip(batch.numbers, batch.columns["text"].to_pylist(), strict=True)
        }
        assert [found[i + 1] for i in range(500)] == [row["text"] for row in rows]


def test_optional_columns_spell_numbers_out_and_are_null_where_empty(tmp_path: Path) -> None:
    rows = [{"text": "", "id": 0, "title": "t", "source": ""}, {"text": "b", "id": 10**30}, {"text": "c", "id": "7"}]
    expected = [
        {"text": "", "id": "0", "title": "t", "source": None},
        {"text": "b", "id": str(10**30), "title": None, "source": None},
        {"text": "c", "id": "7", "title": None, "source": None},
    ]
    assert rows_of(LOCAL, jsonl(tmp_path / "rows.jsonl", rows)) == expected
    ids = [{"text": "a", "id": 12}, {"text": "b", "id": None}]
    assert [row["id"] for row in rows_of(LOCAL, parquet(tmp_path / "rows.parquet", ids))] == ["12", None]


def test_nested_columns(tmp_path: Path) -> None:
    # The shape that loaders of NLLB give: {"translation": {SOURCE: ..., TARGET: ...}, "laser_score": ...}.
    rows = [{"translation": {"eng_Latn": f"e{i}", "bod_Tibt": f"b{i}"}, "laser_score": 1.1} for i in range(5)]
    spec = {**LOCAL, "fields": {"en": "translation.eng_Latn", "bo": "translation.bod_Tibt"}}
    for path in (jsonl(tmp_path / "p.jsonl", rows), parquet(tmp_path / "p.parquet", rows)):
        found = rows_of(spec, path, ["en", "bo"], ("source",))
        assert found == [{"en": f"e{i}", "bo": f"b{i}", "source": None} for i in range(5)]
    spec["fields"]["bo"] = "translation.bo"
    for path in (tmp_path / "p.jsonl", tmp_path / "p.parquet"):
        with pytest.raises(InputError, match=r"no `translation\.bo`"):
            rows_of(spec, path, ["en", "bo"])


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.text(), st.none() | st.integers(-(10**40), 10**40) | st.text(min_size=1), json_values)),
    st.booleans(),
)
def test_rows_are_what_json_says(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple], ascii_only: bool) -> None:
    path = tmp_path_factory.mktemp("json") / "rows.jsonl"
    lines = [{"text": text, "id": key, "more": more} for text, key, more in rows]
    path.write_bytes("".join(json.dumps(line, ensure_ascii=ascii_only) + "\n" for line in lines).encode())
    expected = [
        {"text": line["text"], "id": None if line["id"] is None else str(line["id"])}
        for line in map(json.loads, path.read_text(encoding="utf-8").split("\n")[:-1])
    ]
    assert rows_of(LOCAL, path, ["text"], ["id"]) == expected


PLAIN = b'{"text": "a"}'
ODD = [
    b' {"text": "a", "id": 1} ',
    b'{"text": "a", "id": 100000000000000000000000000000}',
    b'{"te\\u0078t": "a"}',
    b'{"text": "a", "url": "\\ud800"}',
    b'{"text": "a", "score": NaN}',
    b'{"text": "a", "score": [-Infinity]}',
    b'{"text": "a", "score": 1e999}',
    b'{"text": "\\u0061"}',
    b'{"text": "a"}\r',
    b'{"text": "a", "deep": ' + b"[" * 500 + b"]" * 500 + b"}",
    b'{"text": "a", "id": "2020-01-01"}',
    b'{"text": "a", "nested": {"text": 1}}',
    b'{"text": "a", "id": null}',
    b'{"text": "a", "id": ""}',
]


@pytest.mark.parametrize("line", ODD)
def test_an_odd_row_is_read_alike_among_plain_ones(tmp_path: Path, line: bytes) -> None:
    value = json.loads(line).get("id")
    for lines in ([line], [PLAIN, line, PLAIN], [line, PLAIN]):
        (tmp_path / "rows.jsonl").write_bytes(b"\n".join(lines))
        found = rows_of(LOCAL, tmp_path / "rows.jsonl", ["text"], ["id"])
        assert [row["text"] for row in found] == ["a"] * len(lines)
        assert found[lines.index(line)]["id"] == (str(value) if value else None)


@pytest.mark.parametrize(
    "lines",
    [
        [b'{"text": "a"}{"text": "b"}', b"", b'{"text": "c"}'],
        [b'{"text":', b'"a"}'],
        [b'{"text": "a"', b"}"],
        [b'[{"text": "a"}', b"]"],
    ],
)
def test_a_row_is_a_line(tmp_path: Path, lines: list[bytes]) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(lines))
    fails(tmp_path / "rows.jsonl", "rows.jsonl, row 1: not JSON")


def test_plain_rows_are_not_looked_at_one_by_one(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Both ways of reading give the same columns, and the slow one is for what is odd.
    for path in sorted((data / "corpora").glob("*.jsonl.gz")):
        columns = Columns(["text"], ["id", "title", "source"], {})
        fast = list(readers.read_jsonl(path, columns))
        with monkeypatch.context() as patch:
            patch.setattr(readers, "_parse", lambda block, n, columns: None)
            slow = list(readers.read_jsonl(path, columns))
        assert [batch for _, batch in fast] == [batch for _, batch in slow]
        assert all((a == b).all() for (a, _), (b, _) in zip(fast, slow, strict=True))
    monkeypatch.setattr(readers, "_decode", None)
    list(readers.read_jsonl(path, columns))


def test_rows_are_what_json_says_of_real_text(data: Path) -> None:
    for path in sorted((data / "corpora").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            expected = [row["text"] for row in map(json.loads, file)]
        texts = [batch.columns["text"] for batch in open_source(LOCAL, path).batches()]
        assert pa.chunked_array(texts).equals(pa.chunked_array([pa.array(expected, pa.string())])), path


def test_memory_is_flat(tmp_path: Path) -> None:
    rows = [{"text": f"{i} " + "abcdefghij" * 400} for i in range(200)]
    block = jsonl_bytes(rows)
    with (tmp_path / "big.jsonl").open("wb") as file:
        for _ in range(100):
            file.write(block)
    tracemalloc.start()
    pool = pa.default_memory_pool()
    n, most = 0, 0
    for batch in open_source(LOCAL, tmp_path / "big.jsonl").batches():
        n += len(batch.columns)
        most = max(most, pool.bytes_allocated())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n == 20_000
    assert peak + most < 20e6, "of 80 MB"


def test_a_parquet_file_of_one_row_group_is_read_in_pieces(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    texts = ["".join(chr(97 + c) for c in noise.integers(0, 26, 2000)) for _ in range(10_000)]
    path = tmp_path / "one.parquet"
    pq.write_table(pa.table({"text": texts}), path, row_group_size=10_000, use_dictionary=False, compression="zstd")
    del texts
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    most = max(pool.bytes_allocated() - before for _ in open_source(LOCAL, path).batches())
    assert most < 10e6, "of 20 MB"


# --- defects ------------------------------------------------------------------------------------------------------


def fails(path: Path | None, *parts: str, spec: dict[str, Any] = LOCAL) -> None:
    with pytest.raises(InputError) as error:
        rows_of(spec, path)
    for part in parts:
        assert part in str(error.value)


def test_places_and_keys(tmp_path: Path) -> None:
    [batch] = open_source(LOCAL, jsonl(tmp_path / "rows.jsonl", ROWS)).batches(1, 3)
    assert batch.keys().to_pylist() == ["0000001", "0000004", "0000007", "0000010"]
    assert batch.place(1) == f"{tmp_path}/rows.jsonl, row 4"


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    fails(tmp_path / "no.jsonl", "no.jsonl: no such file", "'mine'")
    fails(None, "mine: no such file")


def test_a_format_that_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("a")
    fails(tmp_path / "rows.txt", "rows.txt: not a format", ".jsonl.gz")


def test_a_kind_that_is_none(tmp_path: Path) -> None:
    fails(tmp_path, "'ftp' is no kind", spec={"kind": "ftp", "name": "mine"})


def test_a_damaged_gzip(tmp_path: Path) -> None:
    rows = [{"text": hashlib.sha256(bytes([i])).hexdigest()} for i in range(200)]
    path = jsonl(tmp_path / "rows.jsonl.gz", rows)
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    for data in (whole[:-3000], whole[:-4], b"{}\n", bytes(damaged)):
        path.write_bytes(data)
        fails(path, "rows.jsonl.gz: truncated or damaged after row 0", "Fetch or write")


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (b"{oops", ["row 3: not JSON", "one JSON object a line"]),
        (b'["text"]', ["row 3: not a JSON object but list"]),
        (b'{"body": "x", "title": null}', ["row 3: no `text` (there is `body`)", "`fields`"]),
        (b"{}", ["row 3: no `text` (there is nothing)"]),
        (b'{"text": null}', ["row 3: no `text`"]),
        (b'{"text": 7}', ["row 3: `text` is not a string but int"]),
        (b'{"text": "x", "id": 1.5}', ["row 3: `id` is not a string but float"]),
        (b'{"text": "x", "source": [1]}', ["row 3: `source` is not a string but list"]),
        (b'{"text": "x", "id": true}', ["row 3: `id` is not a string but bool"]),
        (b'{"text": "\xff"}', ["row 3: not UTF-8 at byte 10"]),
        (b'{"text": "\xed\xa0\x80"}', ["row 3: not UTF-8 at byte 10"]),
        (b'{"text": "\\ud800"}', ["row 3: `text` holds half a surrogate pair"]),
        (b'{"text": "\\udc00x"}', ["row 3: `text` holds half a surrogate pair"]),
        (b'{"text": NaN}', ["row 3: `text` is not a string but float"]),
        (b'{"text": "x", "id": NaN}', ["row 3: `id` is not a string but float"]),
        (b'{"text":', ["row 3: not JSON"]),
        (b'{"text": "x"} {"text": "y"}', ["row 3: not JSON (Extra data"]),
    ],
)
def test_a_malformed_row(tmp_path: Path, line: bytes, parts: list[str]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "a"}\n\n' + line + b'\n{"text": "b"}\n')
    fails(path, "rows.jsonl, ", *parts)


def test_a_byte_order_mark_blank_lines_and_line_separators(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n\r\n{"text": "b\xe2\x80\xa8c\\u0000"}\n \n')
    [batch] = open_source(LOCAL, path).batches()
    assert (batch.numbers.tolist(), batch.columns["text"].to_pylist()) == ([1, 3], ["a", "b\u2028c\0"])
    path.write_bytes(b"\n\n")
    assert not list(open_source(LOCAL, path).batches()), "no batch is empty"


def test_a_parquet_file_that_does_not_hold_it(tmp_path: Path) -> None:
    path = parquet(tmp_path / "rows.parquet", [{"body": "a", "url": "b"}])
    fails(path, "rows.parquet: no `text` (there is `body`, `url`)", "{text: COLUMN}")
    (tmp_path / "torn.parquet").write_bytes(path.read_bytes()[:-9])
    fails(tmp_path / "torn.parquet", "torn.parquet: cannot be read as Parquet")
    fails(parquet(path, [{"text": 1}]), "rows.parquet: `text` is not a string but int64")
    fails(parquet(path, [{"text": "a", "id": [1]}]), "rows.parquet: `id` is not a string but list")
    fails(parquet(path, [{"text": "a"}] * 4 + [{"text": None}]), "rows.parquet, row 5: no `text`")


def test_a_parquet_file_that_is_not_utf8(tmp_path: Path) -> None:
    bad = pa.array([b"a"] * 4 + [b"\xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": bad}), tmp_path / "bad.parquet")
    fails(tmp_path / "bad.parquet", "bad.parquet, row 5: not UTF-8 at byte 0")


def test_dictionary_and_large_strings_in_parquet(tmp_path: Path) -> None:
    table = pa.table(
        {"text": pa.array(["a", "b"], pa.large_string()), "source": pa.array(["w", "w"]).dictionary_encode()}
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    assert [(row["text"], row["source"]) for row in rows_of(LOCAL, tmp_path / "rows.parquet")] == [
        ("a", "w"),
        ("b", "w"),
    ]


def test_tsv_defects(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_bytes(b"a\tb\nc\n")
    fails(path, "no `text` (there is `a`, `b`)")
    fails(path, "rows.tsv, row 2: 1 tab-separated values, not the 2", spec={**LOCAL, "columns": ["x", "text"]})
    fails(path, "no `text` (there is `x`)", spec={**LOCAL, "columns": ["x"]})
    path.write_bytes(b"a\tb\nc\t\xff\n")
    fails(path, "rows.tsv, row 2: not UTF-8", spec={**LOCAL, "columns": ["x", "text"]})


def test_the_first_line_of_a_tsv_names_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_bytes(b"\xef\xbb\xbfen\tsource\tko\r\nOne\tbook\t\xed\x95\x98\r\nTwo\t\t\xeb\x91\x98\r\n")
    expected = [{"en": "One", "ko": "하", "source": "book"}, {"en": "Two", "ko": "둘", "source": None}]
    for of in (1, 2, 3):
        found = [
            row for shard in range(of) for row in rows_of(LOCAL, path, ["en", "ko"], ["source"], shard=shard, of=of)
        ]
        assert sorted(found, key=lambda row: row["en"]) == expected
    [batch] = open_source(LOCAL, path, ["en", "ko"]).batches()
    assert batch.keys().to_pylist() == ["0000002", "0000003"]
    path.write_bytes(b"")
    fails(path, "no `text` (there is nothing)")


@pytest.mark.parametrize(
    "first",
    [
        "en\tko",
        "EN\tKO",
        '"en"\t"ko"',
        "source\ttarget",
        "English\tko",
        "English\tKorean",
        "sentence_en\tsentence_ko",
        "Korean text\ttext (en)",
        "eng_Latn\tkor_Hang",
        "영어\t한국어",
        "영어 문장\t한국어문장",
        "English\t한국어",
        "英语句子\t韩语句子",
        "원문\t번역문",
        "དབྱིན་ཡིག་\tབོད་ཡིག།",
        "Англи хэл\tМонгол хэл",
        "ᠠᠩᠭᠯᠢ ᠬᠡᠯᠡ\tᠮᠣᠩᠭᠣᠯ ᠬᠡᠯᠡ",
        "Anglais\tFrançais",
    ],
)
def test_a_tsv_with_names_is_not_read_as_text(tmp_path: Path, first: str) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text(f"{first}\nOne\t하나\n")
    with pytest.raises(InputError, match=r"row 1: names the columns .* Leave out `columns`"):
        rows_of({**LOCAL, "columns": ["en", "ko"]}, path, ["en", "ko"], [])
    for pair in ("English\t영어", "korean\t한국어", "영어를 배운다\t한국어"):  # texts, and no names of columns
        path.write_text(f"{pair}\nYes\tno\n")
        assert len(rows_of({**LOCAL, "columns": ["en", "ko"]}, path, ["en", "ko"], [])) == 2
    path.write_text("Sources\t원천\nOne\t하나\n")
    assert len(rows_of({**LOCAL, "columns": ["en", "ko"]}, path, ["en", "ko"], [])) == 2


def test_a_tsv_with_quotes_of_a_spreadsheet_is_not_read_as_text(tmp_path: Path) -> None:
    path, spec = tmp_path / "rows.tsv", {**LOCAL, "columns": ["en", "ko"]}
    path.write_text('One\t하나\n"Go," she said, "now"\t"가"\n', encoding="utf-8")
    assert rows_of(spec, path, ["en", "ko"], [])[1] == {"en": '"Go," she said, "now"', "ko": '"가"'}
    path.write_text('One\t하나\n"She said ""go"""\t가\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"rows\.tsv, row 2: `en` is quoted as a spreadsheet does it"):
        rows_of(spec, path, ["en", "ko"], [])


@pytest.mark.parametrize("suffix", [".jsonl", ".tsv"])
def test_gzip_is_read_whatever_the_name_says(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    text = "text\nOne\n" if suffix == ".tsv" else '{"text": "One"}\n'
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.encode()))
    assert rows_of(LOCAL, path, ["text"], []) == [{"text": "One"}]


@pytest.mark.parametrize(
    ("beginning", "message"),
    [
        (b"\x28\xb5\x2f\xfd", "packed by zstd"),
        (b"\xfd7zXZ\0", "packed by xz"),
        (b"BZh9", "packed by bzip2"),
        (b"PK\x03\x04", "a zip"),
        (b"PAR1", "Parquet"),
        ('{"text": "One"}'.encode("utf-16"), "in UTF-16"),
    ],
)
def test_what_is_no_file_of_lines_is_told(tmp_path: Path, beginning: bytes, message: str) -> None:
    (tmp_path / "rows.jsonl").write_bytes(beginning + b"...")
    fails(tmp_path / "rows.jsonl", f"rows.jsonl: is {message}")


# --- line-aligned files -------------------------------------------------------------------------------------------

MOSES = {"kind": "local", "name": "bible"}


@pytest.fixture
def moses(tmp_path: Path) -> Callable[..., Path]:
    """Write files in a zip."""

    def make(files: dict[str, bytes]) -> Path:
        with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return tmp_path / "x.zip"

    return make


def test_moses_pairs(moses: Callable[..., Path]) -> None:
    path = moses({"b.en": "\ufeffOne\u2028.\r\n\nThree".encode(), "b.zh_CN": "一\n二\n三\n".encode(), "README": b""})
    source = open_source({**MOSES, "fields": {"zh": "zh_CN"}}, path, ["en", "zh"], ["source"])
    [batch] = source.batches()
    assert batch.columns.to_pylist() == [
        {"en": "One\u2028.", "zh": "一", "source": None},
        {"en": "", "zh": "二", "source": None},
        {"en": "Three", "zh": "三", "source": None},
    ]
    assert batch.keys().to_pylist() == ["0000001", "0000002", "0000003"]
    assert [batch.numbers.tolist() for batch in source.batches(1, 2)] == [[1, 3]]


def test_long_moses_files(moses: Callable[..., Path]) -> None:
    lines = [f"line {i}" for i in range(20_000)]
    path = moses({f"b.{lang}": "".join(f"{line} {lang}\n" for line in lines).encode() for lang in ("en", "ko")})
    found: dict[int, tuple[str, str]] = {}
    for shard in range(3):
        for batch in open_source(MOSES, path, ["en", "ko"]).batches(shard, 3):
            pairs = zip(batch.columns["en"].to_pylist(), batch.columns["ko"].to_pylist(), strict=True)
            found.update(zip(batch.numbers.tolist(), pairs, strict=True))
    assert [found[i + 1] for i in range(20_000)] == [(f"{line} en", f"{line} ko") for line in lines]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"b.en": b"1\n2\n", "b.ko": b"1\n"}, "the ko file ends before row 2"),
        ({"b.en": b"1\n" * 9000, "b.ko": b"1\n" * 8192}, "the ko file ends before row 8193"),
        ({"b.en": b"1\n"}, "0 files end in .ko"),
        ({"b.en": b"1\n", "b.ko": b"1\n", "c.ko": b""}, "2 files end in .ko"),
        ({"b.en": gzip.compress(b"1\n2\n"), "b.ko": b"1\n2\n"}, "the en file in it is packed by gzip"),
        ({"b.en": b"1\n", "b.ko": "1\n".encode("utf-16")}, "the ko file in it is in UTF-16"),
        ({"b.en": b"1\n\xff\n", "b.ko": b"1\n2\n"}, "row 2: not UTF-8"),
    ],
)
def test_moses_defects(moses: Callable[..., Path], files: dict[str, bytes], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(open_source(MOSES, moses(files), ["en", "ko"]).batches())


@pytest.mark.parametrize("pair", ["en-zh_cn", "zh_cn-en"])
def test_the_pair_of_opus_says_how_its_files_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pair: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(f"TED.{pair}.en", "One\n")
        archive.writestr(f"TED.{pair}.zh_cn", "一\n")
        archive.writestr("README", "zh_cn.en\n")
    monkeypatch.setattr("lorebridge.corpora.sources.fetch_cached", lambda _: (tmp_path / "x.zip", "0" * 64))
    spec = {"kind": "opus", "name": "ted", "corpus": "TED2020", "version": "v1", "pair": pair}
    assert rows_of(spec, None, ["en", "zh"], []) == [{"en": "One", "zh": "一"}]
    with pytest.raises(InputError, match="does not say how the file in the language ko ends"):
        rows_of(spec, None, ["en", "ko"], [])
    assert rows_of({**spec, "fields": {"ko": "zh_cn"}}, None, ["en", "ko"], []) == [{"en": "One", "ko": "一"}]


def test_a_zip_that_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"no")
    with pytest.raises(InputError, match=r"x\.zip: not a zip"):
        list(open_source(MOSES, path, ["en", "ko"]).batches())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for lang in ("en", "ko"):
            archive.writestr(f"b.{lang}", b"".join(hashlib.sha256(bytes([i])).digest() for i in range(200)))
    whole = bytearray(path.read_bytes())
    whole[3000] ^= 0xFF
    path.write_bytes(bytes(whole))
    with pytest.raises(InputError, match=r"x\.zip: truncated or damaged after row"):
        list(open_source(MOSES, path, ["en", "ko"]).batches())


def test_a_zip_that_is_packed_in_an_unknown_way(tmp_path: Path) -> None:
    """As Windows packs large files, by deflate64: the code of the method stands in both headers of each member."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.en", "One\n")
        archive.writestr("b.ko", "하나\n")
    whole = path.read_bytes()
    for header, method in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        whole = re.sub(
            re.escape(header) + b".{%d}" % (method - 4) + b"\x08", lambda m: m[0][:-1] + b"\x09", whole, flags=re.S
        )
    path.write_bytes(whole)
    with pytest.raises(
        InputError, match=r"x\.zip: not a zip that can be read \(That compression .* pack it by `zip`\."
    ):
        list(open_source(MOSES, path, ["en", "ko"]).batches())


def test_a_zip_that_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_BOMB_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.en", bytes(1 << 22))
        archive.writestr("b.ko", "x\n")
    with pytest.raises(InputError, match=r"b\.en claims 4,194,304 bytes in .* that is no text"):
        list(open_source(MOSES, tmp_path / "x.zip", ["en", "ko"]).batches())


def test_names_in_a_zip_lead_nowhere(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("../../escaped.en", "One\n")
        archive.writestr("/escaped.ko", "하나\n")
    assert rows_of(MOSES, tmp_path / "x.zip", ["en", "ko"], []) == [{"en": "One", "ko": "하나"}]
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


@pytest.mark.parametrize("first", [1, 9_999_998, 10_000_000, 99_999_999])
def test_keys_are_numbers_of_seven_digits_or_more(first):
    """Also where they grow longer within a batch."""
    numbers = np.arange(first, first + 5)
    columns = pa.RecordBatch.from_arrays([pa.array(list("abcde"))], names=["text"])
    assert Batch("file", 0, numbers, columns, "0003-").keys().to_pylist() == [f"0003-{n:07d}" for n in numbers]
    assert Batch("file", 0, numbers[:0], columns[:0]).keys().to_pylist() == []


@pytest.mark.parametrize(
    ("name", "content", "fields", "message"),
    [
        ("a.jsonl", b'{"text": "one", "text": "two"}\n', {}, "a.jsonl, row 1: the key 'text' stands twice"),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": "b", "id": "1", "id": "2"}\n', {}, "row 3: the key 'id' stands twice"),
        ("a.jsonl", b'{"text": "a", "id": null, "id": "2"}\n', {}, "row 1: the key 'id' stands twice"),
        ("a.jsonl", b'{"a": {"b": "one", "b": "two"}}\n', {"text": "a.b"}, "row 1: the key 'b' stands twice"),
        ("a.tsv", b"text\tid\ttext\none\t1\ttwo\n", {}, "a.tsv, row 1: two columns are called `text`"),
        ("a.tsv", b"text\tid\rone\t1\rtwo\t2\r", {}, "a.tsv: its lines end in carriage returns alone"),
    ],
)
def test_what_stands_twice_is_not_read_as_the_last(tmp_path, name, content, fields, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(message)):
        rows_of({**LOCAL, "fields": fields}, tmp_path / name)


def test_a_key_that_is_not_read_may_stand_twice_and_values_may_be_called_as_keys(tmp_path):
    rows = [b'{"text": "text", "id": "id", "more": 1, "more": 2}', b'{"text": "b", "id":null, "source": ""}']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(rows))
    assert [(row["text"], row["id"]) for row in rows_of(LOCAL, tmp_path / "a.jsonl")] == [("text", "id"), ("b", None)]


def test_a_table_with_two_columns_of_one_name_is_refused(tmp_path):
    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet: two columns are called `text`"):
        rows_of(LOCAL, tmp_path / "a.parquet")


def test_aligned_files_whose_lines_end_in_carriage_returns_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for lang in ("en", "ko"):
            archive.writestr(f"a.{lang}", "one\rtwo\rthree\r")
    with pytest.raises(InputError, match=r"its lines end in carriage returns alone"):
        rows_of(LOCAL, tmp_path / "a.zip", ["en", "ko"], ["source"])
