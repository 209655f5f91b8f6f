"""Every advice on files of questions is followed."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from advised import Case, follow, name_of
from lorebridge.corpora.qa import build_qa
from lorebridge.corpora.released import check_questions, read_released
from lorebridge.errors import InputError
from lorebridge.probes.questions import counted

ONE = {"question": "The capital is ____.", "options": ["Seoul", "Busan"], "answer": "Seoul"}
TWO = {"question": "The river is ____.", "options": ["Han", "Nakdong"], "answer": "Han"}
ONE_KO = {"question": "수도는 ____이다.", "options": ["서울", "부산"], "answer": "서울"}
TWO_KO = {"question": "강은 ____이다.", "options": ["한강", "낙동강"], "answer": "한강"}


def written(content: Any) -> bytes:
    return content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode()


def file(content: Any, known: tuple[int, ...] = (), **options: Any) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        (folder / "q.json").write_bytes(written(content))
        return read_released(folder / "q.json", known, **options)

    return run


def one(advice: str, wrong: Any, mended: Any = None) -> Case:
    return Case(advice, file(wrong), None, file(mended or [ONE]))


def row(advice: str, wrong: dict, mended: dict | None = None) -> Case:
    return one(
        advice,
        [{key: value for key, value in {**ONE, **wrong}.items() if value is not None}],
        [{**ONE, **(mended or {})}],
    )


def as_said(part: str) -> Callable[[Path], None]:
    """Run the command that the error names, and put what it writes in the file's place."""

    def follow(folder: Path) -> None:
        with pytest.raises(InputError) as error:
            read_released(folder / "q.json")
        command = str(error.value).split("`")[1]
        assert part in command
        subprocess.run(command.replace("OUT", str(folder / "out")), shell=True, check=True)
        (folder / "out").rename(folder / "q.json")

    return follow


def there(folder: Path) -> Any:
    return read_released(folder / "q.json")


def pair(english: list[dict], korean: list[dict], **settings: Any) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        files = {"en": folder / "en.json", "ko": folder / "ko.json"}
        for path, rows in zip(files.values(), (english, korean), strict=True):
            path.write_bytes(written(rows))
        arguments = {"known_missing_gold": (), "files": files, "scripts": {"en": "Latin", "ko": "Hangul"}} | settings
        return check_questions(culture="ko", langs=["en", "ko"], **arguments)

    return run


def table(rows: list[tuple[str, str, list[str]]], subset: str) -> Callable[[Path], Any]:
    names = ["culture", "question_id", "subset"]
    return lambda _: counted(pd.DataFrame(rows, columns=names), subset)


def both(advice: str, wrong: Callable, mended: Callable) -> Case:
    return Case(advice, wrong, None, mended)


FILES = [
    both("Take it out, or give the file that it is of.", file([ONE], (1,)), file([ONE])),
    both("or give the file that it is of.", file([ONE], (1,)), file([ONE, {**TWO, "answer": "Geum"}], (1,))),
    row(
        "Write the blank of each question as ____ (or <mask>).",
        {"question": "The capital is Seoul."},
        {"question": "It is <mask>."},
    ),
    Case("Give the path of a question file.", there, file([ONE])),
    Case("Give the path of a question file.", lambda folder: read_released(folder), file([ONE]), there),
    Case("Unpack it: `gzip", file(gzip.compress(written([ONE]))), as_said("gzip"), there),
    Case("Make it a list: `python3", file(written(ONE) + b"\n" + written(TWO) + b"\n"), as_said("python3"), there),
    one(
        "Save the file as UTF-8.",
        json.dumps([{**ONE, "answer": "café", "options": ["café", "tea"]}], ensure_ascii=False).encode("latin-1"),
    ),
    one("Fetch the file again.", b" "),
    one("Fetch the file again, or mend that line.", b'[{"question": ]'),
    one("Give a JSON list of objects", b"[" * 100_000),
    one("Give a JSON list of objects", {"question": "?"}),
    one("Give every row `question`, `options` and `answer`.", ["?"]),
    one("Take one of the two out.", b'[{"question": "a", "question": "b"}]'),
]
ROWS = [
    row("Give every row a `answer`.", {"answer": None}),
    row("Give every row a string `question`.", {"question": 3}),
    row("Give every row options.", {"options": ["Seoul"]}),
    row(
        '(a number, too: "1392")',
        {"options": [1392, 1910], "answer": "1392"},
        {"options": ["1392", "1910"], "answer": "1392"},
    ),
    row("Give it two different ones.", {"options": ["Seoul", "Seoul"]}),
    row("Give every row a string `answer`.", {"answer": 1}),
    row("Give one answer", {"answer": ["Seoul", "Busan"]}),
    both(
        "--mode reference`, which reads several.",
        file([{**ONE, "answer": ["Seoul", "Busan"]}]),
        file([{**ONE, "answer": ["Seoul", "Busan"]}], several_answers=True),
    ),
    one(
        "Write the character whole.",
        b'[{"question": "____ \\ud83d", "options": ["a", "b"], "answer": "a"}]',
        [{**ONE, "question": "____ \U0001f600"}],
    ),
    row("Make the answer one of the options to the letter", {"answer": "Pusan"}),
    both(
        "or list the row under `known_missing_gold`.",
        file([TWO, {**ONE, "answer": "Pusan"}]),
        file([TWO, {**ONE, "answer": "Pusan"}], (1,)),
    ),
]
CULTURES = [
    both("Give questions.ko.files.en the file in that language", pair([ONE_KO], [ONE]), pair([ONE], [ONE_KO])),
    both(
        "give both the same questions in the same order.",
        pair([ONE, TWO], [ONE_KO]),
        pair([ONE, TWO], [ONE_KO, TWO_KO]),
    ),
    both(
        "list the same options in the same order.",
        pair([ONE], [{**ONE_KO, "options": ["부산", "서울"]}]),
        pair([ONE], [ONE_KO]),
    ),
    both("Take it out.", pair([ONE], [ONE_KO], known_missing_gold=(0,)), pair([ONE], [ONE_KO])),
    both(
        "or set probing.subset: `reference`.",
        pair([ONE], [{**ONE_KO, "question": "____는 ____이다."}], subset="clean"),
        pair([ONE], [{**ONE_KO, "question": "____는 ____이다."}], subset="reference"),
    ),
    both(
        "Mend the questions, or set probing.subset:",
        pair([ONE], [{**ONE_KO, "question": "____는 ____이다."}], subset="clean"),
        pair([ONE], [ONE_KO], subset="clean"),
    ),
    both(
        "Remake the table with its rule.", table([], "clean"), table([("ko", "ko-1", ["reference", "clean"])], "clean")
    ),
    both(
        "or set probing.subset to a larger one",
        table([("ko", "ko-1", ["reference"])], "clean"),
        table([("ko", "ko-1", ["reference"])], "reference"),
    ),
]


PAGED = {"id": "q", "title": "T", "question": {"en": "Who?"}, "answer": {"en": "A"}}
NQ = {"example_id": 1, "question_text": "Who?", "document_text": "A", "document_title": "T"}
NQ["annotations"] = [{"short_answers": [{"start_token": 0, "end_token": 1}], "long_answer": {"start_token": -1}}]


def squad(*names: str) -> dict[str, Any]:
    asked = [{"id": name, "question": "Who?", "answers": [{"text": "A"}]} for name in names]
    return {"data": [{"title": "T", "paragraphs": [{"context": "C", "qas": asked}]}]}


def on_pages(rows: list[Any], times: int = 1, **said: Any) -> Callable[[Path], Any]:
    """Read rows of questions on pages, from a file that is given some times."""

    def run(folder: Path) -> Any:
        (folder / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        files = [{"shape": "paper", "split": "test", **said}] * times
        paths = [folder / "qa.jsonl"] * times
        return build_qa(files=files, paths=paths, langs=["en"], base="en", out=folder / "qa.parquet")

    return run


def paged(advice: str, mended: dict | None = None, /, **wrong: Any) -> Case:
    return Case(advice, on_pages([{**PAGED, **wrong}]), None, on_pages([{**PAGED, **(mended or {})}]))


OF_PAGES = [
    Case("Give each question its own id.", on_pages([PAGED, PAGED]), None, on_pages([PAGED, {**PAGED, "id": "r"}])),
    paged("It is one of test, train, both, neither.", {"split": "neither"}, split="dev"),
    paged("Give files of questions whose pages", title=""),
    paged("Give every row an id of its own.", {"id": 7}, id=None),
    paged('Give {"CODE": ...}, a key a language.', question="Who?"),
    paged("Give a text, or leave it out.", title=5),
    paged("Give a text.", question={"en": 5}),
    paged("Give a text, or null.", {"context": {"en": None}}, context={"en": 5}),
    paged("Give a text, or a list of texts.", {"answer": {"en": ["A", "B"]}}, answer={"en": 5}),
    Case("Shapes: paper, squad, nq.", on_pages([PAGED], shape="csv"), None, on_pages([PAGED], shape="paper")),
    Case(
        "Say which of en.",
        on_pages([squad("a")], shape="squad"),
        None,
        on_pages([squad("a")], shape="squad", lang="en"),
    ),
    Case(
        "Give one file a language.",
        on_pages([squad("a")], 2, shape="squad", lang="en"),
        None,
        on_pages([squad("a")], shape="squad", lang="en"),
    ),
    Case(
        "Give each question its own id.",
        on_pages([squad("a", "a")], shape="squad", lang="en"),
        None,
        on_pages([squad("a", "b")], shape="squad", lang="en"),
    ),
    Case(
        "Give the file as it is released.",
        on_pages([{"data": [{}]}], shape="squad", lang="en"),
        None,
        on_pages([squad("a")], shape="squad", lang="en"),
    ),
    Case(
        "Give Natural Questions itself, whole or simplified",
        on_pages([{"question": "who", "answer": ["A"]}], shape="nq"),
        None,
        on_pages([NQ], shape="nq"),
    ),
    Case(
        "Give the file as it is released.",
        on_pages([PAGED | {"annotations": 1}], shape="nq"),
        None,
        on_pages([NQ], shape="nq"),
    ),
]
CASES = [*FILES, *ROWS, *CULTURES, *OF_PAGES]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_questions_that_were_mended_as_advised_are_read(case: Case, tmp_path: Path) -> None:
    follow(case, tmp_path)
