"""CLIcK in its published form, from a hub on the loopback."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hub_server import COMMIT, Dataset, Server

from lorebridge.corpora.click import CULTURE, read_click
from lorebridge.errors import InputError

SPEC = {**CULTURE, "revision": COMMIT}


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
    hub.datasets["EunsuKim/CLIcK"] = Dataset(
        {
            "README.md": b"-",
            "Dataset/Culture/Korean Popular/Popular_KIIP.json": json.dumps(
                items, ensure_ascii=False, indent=4
            ).encode(),
            "Dataset/Language/Grammar/Grammar_CSAT.json": json.dumps([item(id="CSAT_1")]).encode(),
        }
    )


def test_questions_of_culture_that_are_short(hub: Server, caplog: pytest.LogCaptureFixture) -> None:
    long = [item(id="q", question="x" * 301), item(id="c", choices=["x" * 31, "재즈"])]
    serve(hub, [item(), *long, item(id="none", answer="힙합")])
    found = read_click(SPEC)
    assert [(q.id, q.group, q.category, q.exam, q.choices, q.answer) for q in found] == [
        ("KIIP_popular_3", "Culture", "Korean Popular", "KIIP", ("가곡, 트로트", "재즈", "포크"), 1),
        ("none", "Culture", "Korean Popular", "KIIP", ("가곡, 트로트", "재즈", "포크"), None),
    ]
    assert "questions that do not offer their answer: 1 (none)" in caplog.text
    assert len(read_click(SPEC, max_question=None, max_choice=None)) == 4
    both = read_click({**SPEC, "data_files": "Dataset/*.json"})
    assert {q.group for q in both} == {"Culture", "Language"}


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([item(), item(choices="a")], r"Popular_KIIP\.json, row 1: not a question of CLIcK"),
        ([{"id": "Kedu_history", "problems": []}], r"row 0: not a question of CLIcK"),
        ({}, r"Popular_KIIP\.json: not a list"),
    ],
)
def test_another_form(hub: Server, items: Any, message: str) -> None:
    serve(hub, items)
    with pytest.raises(InputError, match=message):
        read_click(SPEC)
