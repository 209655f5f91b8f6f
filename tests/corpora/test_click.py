"""CLIcK in its published form, from a hub on the loopback and from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hub_server import COMMIT, Dataset, Server

from lorebridge.corpora.click import read_click, read_file
from lorebridge.errors import InputError

SPEC = {"dataset": "EunsuKim/CLIcK", "data_files": "Dataset/Culture/*.json", "revision": COMMIT}


def item(**changes: Any) -> dict[str, Any]:
    return {
        "id": "KIIP_popular_3",
        "paragraph": "",
        "question": "다음은 한국의 대중문화에 대한 문제이다.\n장르는?",
        "choices": ["가곡, 트로트", " 재즈", "포크"],
        "answer": "재즈 ",
        **changes,
    }


def serve(hub: Server, items: Any) -> None:
    files = {"README.md": b"-", "Dataset/Language/Grammar/Grammar_CSAT.json": json.dumps([item(id="CSAT_1")]).encode()}
    culture = json.dumps(items, ensure_ascii=False, indent=4).encode()
    hub.datasets["EunsuKim/CLIcK"] = Dataset({**files, "Dataset/Culture/Korean Popular/Popular_KIIP.json": culture})


def test_questions_of_culture(hub: Server) -> None:
    serve(hub, [item(), item(id="none", answer="힙합", paragraph=" 글 ")])
    assert [(q.id, q.paragraph, q.choices, q.answer) for q in read_click(SPEC)] == [
        ("KIIP_popular_3", "", ("가곡, 트로트", "재즈", "포크"), 1),
        ("none", "글", ("가곡, 트로트", "재즈", "포크"), None),
    ]
    assert [q.id for q in read_click({**SPEC, "data_files": "Dataset/*.json"})] == ["KIIP_popular_3", "none", "CSAT_1"]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([item(), item(choices="a")], r"Popular_KIIP\.json, row 1: not a multiple-choice question"),
        ([{"id": "Kedu_history", "problems": []}], r"row 0: not a multiple-choice question"),
        ({}, r"Popular_KIIP\.json: not a list"),
        ([item(), item()], r"row 1: the id KIIP_popular_3 stands twice \(first in .*row 0\)"),
    ],
)
def test_another_form(hub: Server, tmp_path: Path, items: Any, message: str) -> None:
    serve(hub, items)
    with pytest.raises(InputError, match=message):
        read_click(SPEC)
    (tmp_path / "Popular_KIIP.json").write_text(json.dumps(items))
    with pytest.raises(InputError, match=message):
        read_file(tmp_path / "Popular_KIIP.json")


def test_a_file_that_is_not_there_or_torn(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_file(tmp_path / "none.json")
    (tmp_path / "torn.json").write_text('[{"id": ')
    with pytest.raises(InputError, match="not JSON"):
        read_file(tmp_path / "torn.json")


def test_a_byte_order_mark_is_no_text_and_no_key_stands_twice(tmp_path: Path) -> None:
    path = tmp_path / "marked.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps([item()]).encode())
    assert [q.id for q in read_file(path)] == ["KIIP_popular_3"]
    path.write_text(json.dumps([item()]).replace('"answer":', '"answer": "a", "answer":'))
    with pytest.raises(InputError, match=r"marked\.json: not JSON \(the key 'answer' stands twice\)"):
        read_file(path)


def test_half_a_character_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "half.json").write_text(json.dumps([item(), item(id="half", question="\ud83c")]))
    with pytest.raises(InputError, match=r"half\.json, row 1: not a multiple-choice question"):
        read_file(tmp_path / "half.json")
