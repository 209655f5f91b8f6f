"""Files from the network, here from the loopback: resumed, checked, whole or absent."""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import Fault, Server

from lorebridge.corpora import fetch
from lorebridge.corpora.fetch import fetch_file
from lorebridge.corpora.sources import open_source
from lorebridge.errors import InputError

BODY = os.urandom(3 << 20)
GITHUB = {
    "kind": "github",
    "repo": "a/b",
    "commit": "0" * 40,
    "path": "data/q 1.json",
    "sha256": hashlib.sha256(BODY).hexdigest(),
}
PATH = f"/a/b/{'0' * 40}/data/q 1.json"


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, waits: list[float]) -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        for name in ("GITHUB_RAW", "OPUS", "NLLB"):
            monkeypatch.setenv(f"LOREBRIDGE_{name}", running.address)
        monkeypatch.setenv("LOREBRIDGE_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(fetch.time, "sleep", waits.append)
        running.files[PATH] = BODY
        yield running
        running.shutdown()


def asked(server: Server) -> list[str | None]:
    """Return the ranges that were asked for."""
    return [headers.get("Range") for _, _, headers in server.asked]


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path, waits: list[float]) -> None:
    server.fail(PATH, Fault(503), Fault(502), Fault(429, {"Retry-After": "17"}), Fault(429, {"Retry-After": "soon"}))
    assert fetch_file(GITHUB, tmp_path / "deep" / "q.json") == GITHUB["sha256"]
    assert (tmp_path / "deep" / "q.json").read_bytes() == BODY
    assert waits == [1, 2, 17, 8], "twice as long each time, or as long as the server asks for"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["q.json"]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_whatever_may_pass_is_tried_again(server: Server, tmp_path: Path, waits: list[float], status: int) -> None:
    server.fail(PATH, Fault(status))
    fetch_file(GITHUB, tmp_path / "q.json")
    assert waits == [1]


def test_a_server_does_not_make_us_wait_for_ever(server: Server, tmp_path: Path, waits: list[float]) -> None:
    server.fail(PATH, Fault(429, {"Retry-After": "86400"}))
    fetch_file(GITHUB, tmp_path / "q.json")
    assert waits == [300]


@pytest.mark.parametrize("sha256", [GITHUB["sha256"], None], ids=["checked", "unchecked"])
def test_a_cut_connection_is_taken_up_where_it_broke(server: Server, tmp_path: Path, sha256: str | None) -> None:
    server.fail(PATH, Fault(cut=1_000_000), Fault(cut=1_500_000), Fault(cut=0))
    fetch_file({**GITHUB, "sha256": sha256}, tmp_path / "q.json")
    assert (tmp_path / "q.json").read_bytes() == BODY
    assert asked(server) == [None, "bytes=1000000-", "bytes=2500000-", "bytes=2500000-"]


def test_progress_gives_new_patience(server: Server, tmp_path: Path) -> None:
    server.fail(PATH, *[Fault(cut=100_000) for _ in range(12)])
    fetch_file(GITHUB, tmp_path / "q.json")
    assert len(server.asked) == 13


def test_a_server_without_ranges_sends_the_whole(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.fail(PATH, Fault(cut=1_000_000))
    fetch_file(GITHUB, tmp_path / "q.json")
    assert (tmp_path / "q.json").read_bytes() == BODY


def test_a_file_that_changes_meanwhile_is_begun_anew(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.fail(PATH, Fault(cut=1_000_000))
    changed = os.urandom(len(BODY))
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: server.files.update({PATH: changed}))
    fetch_file({**GITHUB, "sha256": None}, tmp_path / "q.json")
    assert (tmp_path / "q.json").read_bytes() == changed


def test_what_a_killed_process_left_is_taken_up_if_a_checksum_can_tell(server: Server, tmp_path: Path) -> None:
    partial = tmp_path / "q.json.partial"
    partial.write_bytes(BODY[:2_000_000])
    fetch_file(GITHUB, tmp_path / "q.json")
    partial.write_bytes(BODY)
    fetch_file(GITHUB, tmp_path / "q.json")
    partial.write_bytes(BODY[:2_000_000])
    fetch_file({**GITHUB, "sha256": None}, tmp_path / "q.json")
    assert asked(server) == ["bytes=2000000-", f"bytes={len(BODY)}-", None, None]
    assert (tmp_path / "q.json").read_bytes() == BODY
    assert not partial.exists()


@pytest.mark.parametrize(
    ("fault", "times", "message"),
    [
        (Fault(404), 1, "cannot be fetched .*404.* set LOREBRIDGE_GITHUB_RAW to a mirror"),
        (Fault(503), 5, "cannot be fetched .*503"),
        (Fault(cut=0), 5, "cannot be fetched .*0 of 3,145,728 bytes came"),
        (Fault(damage=True), 1, "its sha256 is [0-9a-f]{64}, not"),
    ],
)
def test_what_fails_leaves_no_file(server: Server, tmp_path: Path, fault: Fault, times: int, message: str) -> None:
    server.fail(PATH, *[fault] * 9)
    with pytest.raises(InputError, match=message):
        fetch_file(GITHUB, tmp_path / "q.json")
    assert len(server.asked) == times
    assert not (tmp_path / "q.json").exists()


def test_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOREBRIDGE_GITHUB_RAW", "http://127.0.0.1:1")
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: None)
    with pytest.raises(InputError, match="cannot be fetched"):
        fetch_file(GITHUB, tmp_path / "q.json")


def test_a_kind_without_a_file() -> None:
    with pytest.raises(InputError, match="not a kind of source that is one file"):
        fetch_file({"kind": "local"}, "x")


# --- the corpora that are fetched ---------------------------------------------------------------------------------

OPUS = {"kind": "opus", "name": "ccmatrix", "corpus": "CCMatrix", "version": "v1", "pair": "en-ko"}
OPUS_PATH = "/OPUS-CCMatrix/v1/moses/en-ko.txt.zip"


@pytest.fixture
def opus(server: Server, tmp_path: Path) -> str:
    """Serve a zip with the members that OPUS puts in; return its sha256."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {
            "README": "CCMatrix",
            "LICENSE": "-",
            "CCMatrix.en-ko.en": "One\nTwo\n",
            "CCMatrix.en-ko.ko": "하나\n둘\n",
            "CCMatrix.en-ko.scores": "1.2\n1.1\n",
        }.items():
            archive.writestr(name, text)
    server.files[OPUS_PATH] = (tmp_path / "x.zip").read_bytes()
    return hashlib.sha256(server.files[OPUS_PATH]).hexdigest()


def pairs(spec: dict[str, Any], xx: str = "ko") -> list[dict[str, str | None]]:
    source = open_source(spec, None, ["en", xx], [])
    return [row for batch in source.batches() for row in batch.columns.to_pylist()]


def test_opus_is_fetched_once(server: Server, opus: str, caplog: pytest.LogCaptureFixture) -> None:
    source = open_source({**OPUS, "sha256": opus}, None, ["en", "ko"])
    assert source.notes == {"sha256": opus}
    assert pairs({**OPUS, "sha256": opus}) == [{"en": "One", "ko": "하나"}, {"en": "Two", "ko": "둘"}]
    assert len(server.asked) == 1
    assert not caplog.records


def test_an_unpinned_file_says_how_to_pin_it(opus: str, caplog: pytest.LogCaptureFixture) -> None:
    open_source(OPUS, None, ["en", "ko"])
    assert f"write `sha256: {opus}`" in caplog.text


def test_a_cached_file_that_is_not_the_one_named_is_fetched_again(server: Server, opus: str) -> None:
    open_source(OPUS, None, ["en", "ko"])
    [cached] = (fetch.cache_folder()).glob("*/en-ko.txt.zip")
    cached.write_bytes(b"torn")
    assert len(pairs({**OPUS, "sha256": opus})) == 2
    assert len(server.asked) == 2
    with pytest.raises(InputError, match=f"its sha256 is {opus}, not {'0' * 64}"):
        open_source({**OPUS, "sha256": "0" * 64}, None, ["en", "ko"])


def test_nllb(server: Server) -> None:
    line = "{}\t{}\t1.07\t0.99\t0.98\tcrawl-data/CC-MAIN\thttps://a.example\tcrawl-data/CC-MAIN\t_\n"
    text = line.format("བོད་ཡིག", 'A "quoted" word') + line.format("གཉིས", "Two")
    server.files["/nllb/bod_Tibt-eng_Latn.gz"] = gzip.compress(text.encode())
    spec = {"kind": "nllb", "name": "nllb", "pair": "bod_Tibt-eng_Latn", "fields": {"en": "eng_Latn", "bo": "bod_Tibt"}}
    assert pairs(spec, "bo") == [{"en": 'A "quoted" word', "bo": "བོད་ཡིག"}, {"en": "Two", "bo": "གཉིས"}]
    with pytest.raises(InputError, match=r"no `khk_Cyrl` .there is `bod_Tibt`, `eng_Latn`"):
        pairs({**spec, "fields": {"en": "eng_Latn", "bo": "khk_Cyrl"}}, "bo")


def test_the_released_questions_keep_their_checksums(data: Path, server: Server, tmp_path: Path) -> None:
    # The questions as the paper's configuration names them, from their repository at its only commit.
    import yaml

    config = yaml.safe_load((Path(__file__).parents[2] / "config" / "config.yaml").read_text(encoding="utf-8"))
    specs = [spec for culture in config["questions"].values() for spec in culture["files"].values()]
    assert len(specs) == 8
    for spec in specs:
        released = data / "probes" / Path(spec["path"]).name
        server.files[f"/{spec['repo']}/{spec['commit']}/{spec['path']}"] = released.read_bytes()
        assert fetch_file(spec, tmp_path / released.name) == spec["sha256"]
