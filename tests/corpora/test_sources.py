"""Sources: every format gives the same rows, every defect one error that names its place."""

import gzip
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lorebridge.corpora.sources import fetch_file, open_source
from lorebridge.errors import InputError

ROWS = [{"id": f"r{i}", "title": f"Title {i}", "text": f"Text number {i}.", "source": "wiki"} for i in range(10)]
LOCAL = {"kind": "local", "name": "mine"}


def jsonl(path: Path, rows: list) -> Path:
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return path


def parquet(path: Path, rows: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=3)
    return path


def hub(**fields: object) -> dict:
    return {"kind": "huggingface", "name": "mine", "config": None, "data_files": None, "split": "train",
            "revision": None, **fields}  # fmt: skip


@pytest.fixture(params=["rows.jsonl", "rows.jsonl.gz", "rows.parquet", "hub-jsonl", "hub-parquet", "hub-files"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Callable:
    """Open ROWS as each kind of source."""
    name = request.param
    if name.startswith("rows"):
        path = (parquet if name.endswith("parquet") else jsonl)(tmp_path / name, ROWS)
        return lambda fields=None: open_source({**LOCAL, "fields": fields or {}}, path)
    if name == "hub-jsonl":
        jsonl(tmp_path / "set" / "rows.jsonl", ROWS)
        spec = hub(dataset=str(tmp_path / "set"), data_files="rows.jsonl")
    elif name == "hub-parquet":
        parquet(tmp_path / "set" / "20231101.ko" / "train-0.parquet", ROWS)
        spec = hub(dataset=str(tmp_path / "set"), data_files="20231101.ko/*.parquet")
    else:
        for i, start in enumerate((0, 4, 7)):
            parquet(tmp_path / "set" / f"train-{i}.parquet", ROWS[start : (4, 7, 10)[i]])
        spec = hub(dataset=str(tmp_path / "set"))
    return lambda fields=None: open_source({**spec, "fields": fields or {}})


def test_all_kinds_give_the_same_rows(source: Callable) -> None:
    opened = source()
    assert opened.name == "mine"
    assert [dict(row.values) for row in opened.rows(0, 1)] == ROWS
    assert [row.string("text") for row in opened.rows(0, 1)] == [row["text"] for row in ROWS], "read a second time"
    assert len({row.key for row in opened.rows(0, 1)}) == len(ROWS)


@pytest.mark.parametrize("of", [1, 2, 3, 5])
def test_shards_part_the_rows_and_keep_their_keys(source: Callable, of: int) -> None:
    whole = {row.key: row.string("text") for row in source().rows(0, 1)}
    shards = [{row.key: row.string("text") for row in source().rows(shard, of)} for shard in range(of)]
    assert sum(map(len, shards)) == len(ROWS)
    assert {key: text for shard in shards for key, text in shard.items()} == whole
    assert all(shards)


def test_fields_rename(source: Callable) -> None:
    row = next(source({"text": "title"}).rows(0, 1))
    assert (row.string("text"), row.string("title")) == ("Title 0", "Title 0")


def fails(path: Path | None, *parts: str, spec: dict = LOCAL, column: str = "text") -> None:
    with pytest.raises(InputError) as error:
        for row in open_source(spec, path).rows(0, 1):
            row.string(column)
    for part in parts:
        assert part in str(error.value)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    fails(tmp_path / "no.jsonl", "no.jsonl: no such file", "'mine'")
    fails(None, "mine: no such file")


def test_a_format_that_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("a")
    fails(tmp_path / "rows.txt", "rows.txt: not a format", ".jsonl.gz")


def test_a_kind_that_is_none(tmp_path: Path) -> None:
    fails(tmp_path, "'ftp' is no kind", spec={"kind": "ftp", "name": "mine"})


def test_a_truncated_gzip(tmp_path: Path) -> None:
    rows = [{"text": hashlib.sha256(bytes([i])).hexdigest()} for i in range(200)]
    path = jsonl(tmp_path / "rows.jsonl.gz", rows)
    path.write_bytes(path.read_bytes()[:-3000])
    fails(path, "rows.jsonl.gz: the gzip is truncated or damaged after row", "Fetch or write")
    path.write_bytes(b"{}\n")
    fails(path, "rows.jsonl.gz: the gzip is truncated or damaged after row 0")


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (b"{oops", ["row 3: not JSON", "one JSON object a line"]),
        (b'["text"]', ["row 3: not a JSON object but list"]),
        (b'{"body": "x", "title": null}', ["row 3: no `text` (the row has `body`)", "`fields`"]),
        (b"{}", ["row 3: no `text` (the row has nothing)"]),
        (b'{"text": 7}', ["row 3: `text` is not a string but int"]),
        (b'{"text": "\xff"}', ["row 3: not UTF-8 at byte 10"]),
        (b'{"text": "\\ud800"}', ["row 3: `text` holds half a surrogate pair at character 0"]),
    ],
)
def test_a_malformed_row(tmp_path: Path, line: bytes, parts: list[str]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "a"}\n\n' + line + b'\n{"text": "b"}\n')
    fails(path, "rows.jsonl, ", *parts)


def test_a_byte_order_mark_and_blank_lines_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n\r\n{"text": "b\xe2\x80\xa8c"}')
    assert [(row.number, row.string("text")) for row in open_source(LOCAL, path).rows(0, 1)] == [
        (1, "a"), (3, "b\u2028c"),
    ]  # fmt: skip


def test_parquet_without_the_column(tmp_path: Path) -> None:
    path = parquet(tmp_path / "rows.parquet", [{"body": "a", "url": "b"}])
    fails(path, "rows.parquet: no column `text` (the columns are body, url)", "{text: COLUMN}")
    (tmp_path / "torn.parquet").write_bytes(path.read_bytes()[:-9])
    fails(tmp_path / "torn.parquet", "torn.parquet: cannot be read as Parquet")


def test_a_hub_dataset_without_the_column_or_split(tmp_path: Path) -> None:
    parquet(tmp_path / "set" / "train.parquet", [{"body": "a", "url": "b"}])
    fails(None, "no column `text` (the columns are body, url)", spec=hub(dataset=str(tmp_path / "set")))
    fails(None, "Check config, split", spec=hub(dataset=str(tmp_path / "set"), split="dev"))


def test_a_hub_row_that_is_not_json(tmp_path: Path) -> None:
    jsonl(tmp_path / "set" / "rows.jsonl", ROWS)
    with (tmp_path / "set" / "rows.jsonl").open("a") as file:
        file.write("{oops\n")
    fails(None, "cannot be read after row", spec=hub(dataset=str(tmp_path / "set"), data_files="rows.jsonl"))


def test_labels_spell_numbers_out(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", [{"id": 12, "text": "a", "source": [1]}])
    row = next(open_source(LOCAL, path).rows(0, 1))
    assert (row.label("id", "x"), row.label("title", "none")) == ("12", "none")
    with pytest.raises(InputError, match="`source` is not a string but list"):
        row.label("source", "x")


# --- line-aligned files -------------------------------------------------------------------------------------------

MOSES = {"kind": "moses", "name": "bible"}


@pytest.fixture(params=["folder", "zip"])
def moses(request: pytest.FixtureRequest, tmp_path: Path) -> Callable:
    """Write two files, in a folder or a zip."""

    def make(files: dict[str, bytes]) -> Path:
        if request.param == "zip":
            with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
                for name, data in files.items():
                    archive.writestr(name, data)
            return tmp_path / "x.zip"
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        return tmp_path

    return make


def test_moses_pairs(moses: Callable) -> None:
    path = moses({"b.en": "One\u2028.\r\n\nThree".encode(), "b.zh_CN": "一\n二\n三\n".encode(), "README": b""})
    source = open_source({**MOSES, "fields": {"zh": "zh_CN"}}, path, ["en", "zh"])
    assert [(row.key, dict(row.values)) for row in source.rows(0, 1)] == [
        ("0000001", {"en": "One\u2028.", "zh": "一"}),
        ("0000002", {"en": "", "zh": "二"}),
        ("0000003", {"en": "Three", "zh": "三"}),
    ]
    assert [row.number for row in source.rows(1, 2)] == [1, 3]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"b.en": b"1\n2\n", "b.ko": b"1\n"}, "the ko file ends before row 2"),
        ({"b.en": b"1\n"}, "0 files end in .ko"),
        ({"b.en": b"1\n", "b.ko": b"1\n", "c.ko": b""}, "2 files end in .ko"),
        ({"b.en": b"1\n\xff\n", "b.ko": b"1\n2\n"}, "row 2: not UTF-8"),
    ],
)
def test_moses_defects(moses: Callable, files: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(open_source(MOSES, moses(files), ["en", "ko"]).rows(0, 1))


def test_moses_zip_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"no")
    with pytest.raises(InputError, match=r"x\.zip: not a zip"):
        list(open_source(MOSES, tmp_path / "x.zip", ["en", "ko"]).rows(0, 1))


# --- files from the network, here from the loopback ---------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Answers from a mapping of paths to a list of (status, headers, body), one after the other, the last for ever."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, dict[str, str], bytes]]] = {}
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        answers = self.server.answers.get(self.path) or self.server.answers.get("*") or [(404, {}, b"")]
        status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setenv("LOREBRIDGE_GITHUB_RAW", running.address)
        monkeypatch.setenv("LOREBRIDGE_OPUS", running.address)
        monkeypatch.setattr("lorebridge.corpora.sources.time.sleep", lambda seconds: None)
        yield running
        running.shutdown()


BODY = b'[{"question": "____?"}]'
GITHUB = {
    "kind": "github", "repo": "a/b", "commit": "0" * 40, "path": "data/q 1.json",
    "sha256": hashlib.sha256(BODY).hexdigest(),
}  # fmt: skip
GITHUB_PATH = f"/a/b/{'0' * 40}/data/q%201.json"


def test_fetch_checks_and_retries(server: Server, tmp_path: Path) -> None:
    server.answers[GITHUB_PATH] = [(503, {}, b"busy"), (200, {"Content-Length": "99"}, BODY), (200, {}, BODY)]
    fetch_file(GITHUB, tmp_path / "deep" / "q.json")
    assert (tmp_path / "deep" / "q.json").read_bytes() == BODY
    assert server.asked == [GITHUB_PATH] * 3, "a busy server and a torn answer are asked again"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["q.json"]


@pytest.mark.parametrize(
    ("answer", "asked", "message"),
    [
        ((404, {}, b""), 1, "cannot be fetched .*404.* set LOREBRIDGE_GITHUB_RAW to a mirror"),
        ((503, {}, b""), 3, "cannot be fetched .*503"),
        ((200, {}, b"other"), 1, "its sha256 is d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa, not"),
    ],
)
def test_fetch_that_fails_leaves_nothing(
    server: Server, tmp_path: Path, answer: tuple, asked: int, message: str
) -> None:
    server.answers["*"] = [answer]
    with pytest.raises(InputError, match=message):
        fetch_file(GITHUB, tmp_path / "q.json")
    assert len(server.asked) == asked
    assert not list(tmp_path.iterdir())


def test_fetch_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOREBRIDGE_GITHUB_RAW", "http://127.0.0.1:1")
    monkeypatch.setattr("lorebridge.corpora.sources.time.sleep", lambda seconds: None)
    with pytest.raises(InputError, match="cannot be fetched"):
        fetch_file(GITHUB, tmp_path / "q.json")


def test_opus_is_fetched_for_the_reading(server: Server, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("Bible.en-ko.en", "One\n")
        archive.writestr("Bible.en-ko.ko", "하나\n")
    server.answers["/OPUS-Bible/v1/moses/en-ko.txt.zip"] = [(200, {}, (tmp_path / "x.zip").read_bytes())]
    spec = {"kind": "opus", "name": "bible", "corpus": "Bible", "version": "v1", "pair": "en-ko"}
    source = open_source(spec, None, ["en", "ko"])
    assert [dict(row.values) for row in source.rows(0, 1)] == [{"en": "One", "ko": "하나"}]


HUB_SCRIPT = """
from lorebridge.corpora.sources import open_source
spec = {"kind": "huggingface", "name": "mc2", "dataset": "pkupie/mc2_corpus", "data_files": "bo.jsonl",
        "split": "train"}
try:
    next(open_source(spec).rows(0, 1))
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((401, {"X-Error-Code": "GatedRepo"}, b"{}"), "gated"),
        ((403, {"X-Error-Code": "GatedRepo"}, b"{}"), "gated"),
        ((404, {"X-Error-Code": "RepoNotFound"}, b"{}"), "doesn't exist"),
        (None, "cannot be had from the hub"),
    ],
)
def test_a_hub_that_refuses(server: Server, tmp_path: Path, answer: tuple | None, told: str) -> None:
    server.answers["*"] = [answer] if answer else []
    offline = "1" if answer is None else "0"
    # A process of its own: the address of the hub is read at import.
    done = subprocess.run(
        [sys.executable, "-c", HUB_SCRIPT], capture_output=True, text=True, timeout=120,
        env={**os.environ, "HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": offline},
    )  # fmt: skip
    assert done.stdout.startswith("InputError: pkupie/mc2_corpus (bo.jsonl): cannot be had from the hub"), done
    assert told in done.stdout
    assert "https://huggingface.co/datasets/pkupie/mc2_corpus" in done.stdout
    assert "hf auth login" in done.stdout
