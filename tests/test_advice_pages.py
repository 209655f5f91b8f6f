"""Every advice on questions on pages that models are asked is followed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import test_advice_probes
from advised import Case, follow, name_of
from lorebridge import tables
from lorebridge.cli import _parser
from lorebridge.corpora.qa_rows import qa_rows
from lorebridge.probes.qa import ask_qa, given_qa

ROW = {
    "question_id": "q",
    "lang": "en",
    "split": "test",
    "page_id": "p",
    "title": "Page",
    "question": "Who?",
    "answers": ["A"],
    "negatives": ["B", "C", "D"],
    "context": "",
}
OF_PAPER = '{"id": "q", "title": "Page", "question": {"en": "Who?"}, "answer": {"en": "A"}}\n'


def written(folder: Path, **more: Any) -> Path:
    tables.write("qa", [ROW | more], folder / "qa.parquet")
    return folder / "qa.parquet"


def asked(**how: Any) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        said: dict[str, Any] = {"tasks": ["open"], "engine": "own", "manner": {"max_tokens": 2}} | how
        return ask_qa(
            run="m",
            qa=written(folder),
            base="en",
            checkpoints={None: test_advice_probes.model(folder)},
            out=folder / "a.parquet",
            scores_out=folder / "s.parquet",
            work=folder / "work",
            **said,
        )

    return run


def tuned(task: str) -> Callable[[Path], Any]:
    return lambda folder: qa_rows(
        qa=written(folder), task=task, lang="en", base="en", split="test", seed=0, out=folder / "rows.parquet"
    )


def given(name: str) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        (folder / name).write_text(OF_PAPER, encoding="utf-8")
        return given_qa(folder / name, folder / "work")

    return run


def command(*more: str) -> Callable[[Path], Any]:
    """Run `lorebridge ask`, and raise what it says where that is an error."""

    def run(folder: Path) -> Any:
        line = ["ask", str(test_advice_probes.model(folder)), str(written(folder)), "--out", str(folder / "a.parquet")]
        arguments = _parser().parse_args([*line, "--device", "cpu", "--max-tokens", "2", "--task", "open", *more])
        arguments.command(arguments)

    return run


CASES = [
    Case("There are own and vllm.", asked(engine="endpoint"), None, asked()),
    Case("There are open, mcq, context, context_base.", asked(tasks=["guess"]), None, asked(tasks=["mcq"])),
    Case("Ask for one.", asked(manner={"samples": 2, "temperature": 1.0}), None, asked(manner={"samples": 1})),
    Case("Give questions that have what the task needs", asked(tasks=["context"]), None, asked()),
    Case("Tune on another task (of open", tuned("context"), None, tuned("mcq")),
    Case("Give a .parquet or a .jsonl file.", given("qa.csv"), None, given("qa.jsonl")),
    Case("Leave one of them out.", command("--base-url", "http://127.0.0.1:1/v1"), None, command()),
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_what_was_mended_as_advised_is_asked(case: Case, tmp_path: Path) -> None:
    follow(case, tmp_path)
