"""Data sets of the hub, from a hub on the loopback: the real layouts, and everything that can go wrong."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import COMMIT, Dataset, Fault, Server

from lorebridge.corpora.sources import open_source
from lorebridge.errors import InputError

# As the hub lists it: a folder for each language of a dump, `train-*` Parquet files of id, url, title and text.
WIKIPEDIA = {
    "kind": "huggingface",
    "name": "wikipedia",
    "dataset": "wikimedia/wikipedia",
    "config": "20231101.ko",
    "data_files": None,
    "split": "train",
    "revision": COMMIT,
}
# Gated; a JSONL file for each language and release, of title, text and url.
MC2 = {
    "kind": "huggingface",
    "name": "mc2",
    "dataset": "pkupie/mc2_corpus",
    "config": None,
    "data_files": "bo-crawl-only-release-20231112.jsonl",
    "split": "train",
    "revision": COMMIT,
}
TOKEN = "hf_granted"


def article(i: int) -> dict[str, str]:
    url = f"https://ko.wikipedia.org/wiki/{i}"
    return {"id": str(i), "url": url, "title": f"문서 {i}", "text": f"{i}번째 문서이다. " * 9}


def parquet(rows: list[dict[str, str]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=4)
    return sink.getvalue().to_pybytes()


@pytest.fixture
def wikipedia(hub: Server) -> Server:
    """Korean in three files of 12 articles, and another language."""
    files = {
        f"20231101.ko/train-{i:05d}-of-00003.parquet": parquet([article(12 * i + j) for j in range(12)])
        for i in range(3)
    }
    files |= {
        "20231101.zh/train-00000-of-00001.parquet": parquet([article(99)]),
        "README.md": b"# Wikipedia",
        ".gitattributes": b"-",
        "wikipedia.py": b"raise SystemExit('run')",
    }
    hub.datasets["wikimedia/wikipedia"] = Dataset(files)
    return hub


@pytest.fixture
def mc2(hub: Server) -> Server:
    rows = [{"title": f"མིང་ {i}", "text": f"བོད་ཡིག {i} " * 30, "url": "https://a.example"} for i in range(20)]
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    hub.datasets["pkupie/mc2_corpus"] = Dataset({MC2["data_files"]: data, "README.md": b"# MC2"}, gated=True)  # type: ignore[dict-item]
    return hub


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No test waits; how long it would have."""
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    return waited


def texts(spec: dict[str, Any], shard: int = 0, of: int = 1) -> list[str]:
    return [text for batch in open_source(spec).batches(shard, of) for text in batch.columns["text"].to_pylist()]


ALL = [article(i)["text"] for i in range(36)]


def test_wikipedia(wikipedia: Server) -> None:
    source = open_source(WIKIPEDIA)
    assert source.notes == {"revision": COMMIT}
    batch = next(source.batches())
    assert batch.columns.to_pylist()[1] == {"text": article(1)["text"], "id": "1", "title": "문서 1", "source": None}
    assert batch.place(1) == "wikimedia/wikipedia@ccccccc/20231101.ko/train-00000-of-00003.parquet, row 2"
    assert batch.keys()[1].as_py() == "0000-0000002"
    assert texts(WIKIPEDIA) == ALL
    assert not [path for path in wikipedia.paths("GET", "resolve") if "zh" in path or path.endswith(".py")]


def test_a_shard_fetches_its_own_files_alone(wikipedia: Server) -> None:
    assert texts(WIKIPEDIA, 1, 3) == ALL[12:24]
    assert len(wikipedia.paths("GET", "/lfs/")) == 1
    assert texts(WIKIPEDIA, 1, 2) == ALL[12:24]
    assert len(wikipedia.paths("GET", "/lfs/")) == 1, "the second time from the cache"


@pytest.mark.parametrize("of", [4, 7, 9])
def test_more_shards_than_files_share_row_groups(wikipedia: Server, of: int) -> None:
    found = [texts(WIKIPEDIA, shard, of) for shard in range(of)]
    assert sorted(text for shard in found for text in shard) == sorted(ALL)
    assert all(found)


def test_an_unpinned_data_set_says_how_to_pin_it(wikipedia: Server, caplog: pytest.LogCaptureFixture) -> None:
    for revision in (None, "main"):
        caplog.clear()
        source = open_source({**WIKIPEDIA, "revision": revision})
        assert source.notes == {"revision": COMMIT}
        assert f"wikimedia/wikipedia (20231101.ko): not pinned; write `revision: {COMMIT}`" in caplog.text
    caplog.clear()
    open_source(WIKIPEDIA)
    assert not caplog.records


def test_data_files_are_patterns(wikipedia: Server) -> None:
    spec = {**WIKIPEDIA, "config": None, "data_files": ["20231101.*/train-00000-*.parquet"]}
    assert texts(spec) == [*ALL[:12], article(99)["text"]]


# --- refusals -----------------------------------------------------------------------------------------------------


def refused(spec: dict[str, Any], *parts: str) -> None:
    with pytest.raises(InputError) as error:
        open_source(spec)
    for part in parts:
        assert part in str(error.value)


def test_a_gated_data_set(mc2: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    where = "pkupie/mc2_corpus (bo-crawl-only-release-20231112.jsonl): the data set is gated (HTTP 401)"
    mend = "Accept its terms at https://huggingface.co/datasets/pkupie/mc2_corpus, then set HF_TOKEN or log in"
    refused(MC2, where, mend)
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    refused(MC2, "gated (HTTP 403)", "Accept its terms")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert len(texts(MC2)) == 20
    assert next(open_source(MC2).batches()).columns.to_pylist()[0]["title"] == "མིང་ 0"


def test_the_token_stays_between_us_and_the_hub(
    mc2: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for name in ("huggingface_hub", "lorebridge"):
        caplog.set_level(logging.DEBUG, logger=name)
    mc2.fail("/lfs/", Fault(503), Fault(cut=100), Fault(damage=True))
    mc2.fail("/tree/", Fault(429, {"Retry-After": "1"}))
    source = open_source(MC2)
    assert sum(len(batch.columns) for batch in source.batches()) == 20
    elsewhere = [headers for _, path, headers in mc2.asked if path.startswith("/lfs/")]
    assert elsewhere and not any("Authorization" in headers for headers in elsewhere)
    # A server that repeats the request in its answer does not get it into an error either.
    mc2.fail("/tree/", Fault(403, {"X-Error-Message": f"no access with Bearer {TOKEN}"}))
    with pytest.raises(InputError) as error:
        open_source(MC2)
    assert error.value.__suppress_context__
    told = [str(error.value), repr(source.notes), caplog.text, *capfd.readouterr()]
    assert not any(TOKEN in text for text in told)


def test_names_that_are_none(wikipedia: Server) -> None:
    refused({**WIKIPEDIA, "dataset": "some/one"}, "some/one (20231101.ko): no such data set, or it is private")
    refused({**WIKIPEDIA, "dataset": "a/b/c"}, "a/b/c (20231101.ko): no name of a data set")
    refused({**WIKIPEDIA, "revision": "0" * 40}, "no such revision (HTTP 404)", "wikimedia/wikipedia/commits/main")
    refused(
        {**WIKIPEDIA, "config": "20231101.mn"},
        "no file 20231101.mn/* that ends in .jsonl",
        "there is .gitattr",
        f"https://huggingface.co/datasets/wikimedia/wikipedia/tree/{COMMIT}",
    )
    refused({**WIKIPEDIA, "data_files": "*.py"}, "no file *.py that ends in")


def test_a_hub_that_does_not_answer(hub: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    refused(WIKIPEDIA, "the hub does not answer, and the cache does not have it", "hf download wikimedia/wikipedia")
    refused({**WIKIPEDIA, "revision": None}, "the hub does not answer")


# --- faults that pass ---------------------------------------------------------------------------------------------


def test_a_busy_hub_is_asked_again(wikipedia: Server, waits: list[float]) -> None:
    wikipedia.fail("/tree/", Fault(429, {"Retry-After": "3"}), Fault(503))
    wikipedia.fail("/resolve/", Fault(500), Fault(502), method="HEAD")
    wikipedia.fail("/lfs/", Fault(429, {"Retry-After": "5"}), Fault(503))
    assert texts(WIKIPEDIA) == ALL
    assert {4.0, 6.0} <= set(waits), "what the hub asks for, and a second"
    wikipedia.fail("/revision/main", Fault(503))
    assert texts({**WIKIPEDIA, "revision": "main"}) == ALL


def test_a_hub_that_stays_busy(wikipedia: Server) -> None:
    wikipedia.fail("/lfs/", *[Fault(503)] * 20)
    with pytest.raises(InputError, match=r"train-00000-of-00003\.parquet: the hub refuses \(HTTP 503\)"):
        texts(WIKIPEDIA)


def test_a_cut_connection_is_taken_up_where_it_broke(wikipedia: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 500)  # what it takes up by: 10 MB
    wikipedia.fail("/lfs/", Fault(cut=1000), Fault(cut=700))
    assert texts(WIKIPEDIA, 0, 3) == ALL[:12]
    ranges = [headers.get("Range") for verb, path, headers in wikipedia.asked if "/lfs/" in path and verb == "GET"]
    assert ranges == [None, "bytes=1000-", "bytes=1500-"]


def test_a_file_that_differs_from_its_checksum(wikipedia: Server, tmp_path: Path) -> None:
    wikipedia.fail("/lfs/", Fault(damage=True))
    assert texts(WIKIPEDIA, 0, 3) == ALL[:12], "fetched again"
    [blob] = [path for path in (tmp_path / "hub").rglob("blobs/*") if len(path.name) == 64]
    blob.write_bytes(blob.read_bytes()[:-5])
    assert texts(WIKIPEDIA, 0, 3) == ALL[:12], "what was damaged on the disk as well"
    wikipedia.fail("/lfs/", Fault(damage=True), Fault(damage=True))
    with pytest.raises(InputError, match=r"train-00001-of-00003\.parquet: differs from its checksum"):
        texts(WIKIPEDIA, 1, 3)


def test_a_small_file_is_checked_too(hub: Server) -> None:
    hub.datasets["some/set"] = Dataset({"train.jsonl": b'{"text": "small"}\n'})
    spec = {**WIKIPEDIA, "dataset": "some/set", "config": None}
    hub.fail("/resolve/", Fault(damage=True))
    assert texts(spec) == ["small"]
    assert len(hub.paths("GET", "/resolve/")) == 2


# --- without a network --------------------------------------------------------------------------------------------


def test_the_cache_answers_where_there_is_no_network(wikipedia: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    # What `hf download` does.
    huggingface_hub.snapshot_download(
        "wikimedia/wikipedia", repo_type="dataset", revision=COMMIT, allow_patterns=["20231101.ko/*"]
    )
    asked = len(wikipedia.asked)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert texts(WIKIPEDIA) == ALL
    assert len(wikipedia.asked) == asked
    refused({**WIKIPEDIA, "config": "20231101.zh"}, "the hub does not answer, and the cache does not have it")
    refused({**WIKIPEDIA, "revision": None}, "the hub does not answer")


def test_the_hub_is_where_hf_endpoint_says(wikipedia: Server, tmp_path: Path) -> None:
    script = f"""
from lorebridge.corpora.sources import open_source
print(sum(len(batch.columns) for batch in open_source({WIKIPEDIA!r}).batches()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "HF_ENDPOINT": wikipedia.address, "HF_HOME": str(tmp_path / "home")},
    )
    assert done.stdout == "36\n", done.stderr


def test_a_cache_that_cannot_be_written(wikipedia: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"the cache cannot be used \(.*\)\. Make room, or let HF_HOME name"):
        texts(WIKIPEDIA)


def test_a_split_that_is_not_there_is_not_another(hub: Server) -> None:
    hub.datasets["some/set"] = Dataset({"train-0.jsonl": b'{"text": "One"}\n'})
    spec = {"kind": "huggingface", "name": "a", "dataset": "some/set", "revision": "c" * 40}
    assert len(open_source(spec).files) == len(open_source({**spec, "split": "train"}).files) == 1
    with pytest.raises(InputError, match="Check `config`, `split` and `data_files`"):
        open_source({**spec, "split": "validation"})
    hub.datasets["some/set"] = Dataset({"rows.jsonl": b'{"text": "One"}\n'})
    assert len(open_source(spec).files) == 1


def test_columns_of_a_tsv_of_the_hub(hub: Server) -> None:
    hub.datasets["some/set"] = Dataset({"a.tsv": b"text\tid\nOne\t1\n", "b.tsv": b"Two\t2\n", "c.jsonl": b"{}\n"})
    spec = {"kind": "huggingface", "name": "a", "dataset": "some/set", "revision": "c" * 40}

    def texts(**keys: object) -> list[str]:
        source = open_source({**spec, **keys})
        return [text for batch in source.batches() for text in batch.columns["text"].to_pylist()]

    assert texts(data_files="a.tsv") == ["One"]
    assert texts(data_files="b.tsv", columns=["text", "id"]) == ["Two"]
    with pytest.raises(InputError, match=r"`columns` says nothing of files whose columns have names\. Leave it out"):
        texts(data_files="c.jsonl", columns=["text"])
