"""Every advice on data sets of facts, of open questions and of multiple choice is followed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from advised import Case, follow, name_of
from lorebridge.corpora.click import read_file
from lorebridge.corpora.facts import read_facts, write_clozes
from lorebridge.corpora.openqa import read_open

Files = dict[str, Any]


def laid(folder: Path, files: Files) -> Path:
    """Write a data set anew: name -> text, rows of JSON, or an object of JSON."""
    for name, content in files.items():
        path = folder / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, list):
            content = "".join(json.dumps(row) + "\n" for row in content)
        path.write_bytes(
            content
            if isinstance(content, bytes)
            else (content if isinstance(content, str) else json.dumps(content)).encode()
        )
    return folder / "set"


def facts(shape: str, files: Files, langs: tuple[str, ...] = ("en",), **said: Any) -> Callable[[Path], Any]:
    return lambda folder: read_facts(shape, laid(folder, files), langs, **said)


def opened(shape: str, files: Files, langs: tuple[str, ...], path: str = "", **said: Any) -> Callable[[Path], Any]:
    return lambda folder: read_open(shape, laid(folder, files) / path, langs, **said)


def both(advice: str, wrong: Callable, mended: Callable) -> Case:
    return Case(advice, wrong, None, mended)


def row(number: int, **changes: Any) -> dict[str, Any]:
    said = {"sub_label": f"S{number}", "obj_label": f"O{number}", "uuid": f"u{number}"}
    return {key: value for key, value in {**said, **changes}.items() if value is not None}


TEMPLATE = {"relation": "P1", "template": "[X] is in [Y] ."}
MLAMA = {"en/templates.jsonl": [TEMPLATE], "en/P1.jsonl": [row(i) for i in range(4)]}
LAMA = {"relations.jsonl": [TEMPLATE], "P1.jsonl": [row(0)]}
HEAD = "Prompt\tAns\tCandidate Ans\tSubject\n"
LINE = "A is in <mask>.\tB\tB, C\tA\n"
SAMPLE = {"subject": "A", "object": "B", "index": 0}
KLAR = {"prompt_templates": ["<subject> is in <mask>."], "samples": [SAMPLE]}
PLANTED = {
    **{key: "a" for key in ("fact_id", "relation", "subject_id", "subject", "object_id", "object")},
    "template": "[X] [Y]",
}


def mlama(advice: str, wrong: Files, mended: Files | None = None) -> Case:
    return both(advice, facts("mlama", {**MLAMA, **wrong}), facts("mlama", {**MLAMA, **(mended or {})}))


def klar(advice: str, wrong: Any) -> Case:
    return both(advice, facts("klar", {"en/P1.json": wrong}), facts("klar", {"en/P1.json": KLAR}))


def bmlama(advice: str, wrong: Files, mended: Files, langs: tuple[str, ...] = ("en",)) -> Case:
    return both(advice, facts("bmlama", wrong, langs), facts("bmlama", mended, langs))


def clozes(options: int) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        laid(folder, MLAMA)
        out = folder / "q.json"
        return write_clozes(shape="mlama", lang="en", langs=["en"], folder=folder / "set", options=options, out=out)

    return run


FACTS = [
    both("Shapes: mlama, lama", facts("wikidata", MLAMA), facts("mlama", MLAMA)),
    both(
        "Give the folder of a data set in the shape mlama.",
        lambda f: read_facts("mlama", f / "none", ["en"]),
        facts("mlama", MLAMA),
    ),
    mlama("Give each fact an id of its own.", {"en/P1.jsonl": [row(0), row(1, uuid="u0")]}),
    both("It has: P1.", facts("mlama", MLAMA, relations=["P2"]), facts("mlama", MLAMA, relations=["P1"])),
    both(
        "Take the language out, or mend the folder.",
        facts("mlama", {**MLAMA, "de/templates.jsonl": [TEMPLATE], "de/P1.jsonl": ""}, ("en", "de")),
        facts("mlama", MLAMA),
    ),
    both("or mend the folder.", facts("mlama", {**MLAMA, "en/P1.jsonl": ""}), facts("mlama", MLAMA)),
    both("has a folder for each language, de too.", facts("mlama", MLAMA, ("en", "de")), facts("mlama", MLAMA)),
    both("Give one of en, de.", facts("lama", LAMA, ("en", "de")), facts("lama", LAMA, ("en",))),
    both("Give the folder that holds them.", facts("lama", {"relations.jsonl": [TEMPLATE]}), facts("lama", LAMA)),
    mlama("Give both, as strings.", {"en/P1.jsonl": [row(0, obj_label=None)]}),
    mlama("Give both, as strings.", {"en/templates.jsonl": [{"relation": "P1"}]}),
    mlama("Take one of the two out.", {"en/templates.jsonl": [TEMPLATE, TEMPLATE]}),
    mlama("Write [Y] for the object.", {"en/templates.jsonl": [{**TEMPLATE, "template": "[X] is"}]}),
    both(
        "Give the folder of the data set as it is released.", facts("lama", {"P1.jsonl": [row(0)]}), facts("lama", LAMA)
    ),
    mlama("Fetch the file again.", {"en/P1.jsonl": b"\xff"}),
    mlama("Take one of the two out.", {"en/P1.jsonl": '{"sub_label": "a", "sub_label": "b"}\n'}),
    mlama("Mend the row.", {"en/P1.jsonl": "no\n"}),
    mlama("Write one JSON object a line.", {"en/P1.jsonl": "[1]\n"}),
    bmlama("Give a file of BMLAMA.", {"en.tsv": "a\tb\n"}, {"en.tsv": HEAD + LINE}),
    bmlama(
        "Line i must be the same fact in every language.",
        {"en.tsv": HEAD + LINE, "de.tsv": HEAD},
        {"de.tsv": HEAD + LINE},
        ("en", "de"),
    ),
    bmlama(
        "Give it four, with a tab between two.", {"en.tsv": HEAD + LINE.replace("\tB, C", "")}, {"en.tsv": HEAD + LINE}
    ),
    bmlama(
        "Write <mask> where the answer stands.", {"en.tsv": HEAD + LINE.replace("<mask>", "B")}, {"en.tsv": HEAD + LINE}
    ),
    both(
        "has a folder for each language, de too.",
        facts("klar", {"en/P1.json": KLAR}, ("en", "de")),
        facts("klar", {"en/P1.json": KLAR}),
    ),
    klar("Give a file of KLAR's shape.", {"samples": 1}),
    klar("Give both.", {**KLAR, "samples": [{"subject": "A"}]}),
    klar("Take one of the two out.", '{"samples": [], "samples": []}'),
    klar("Fetch the file again.", "no"),
    both("Remake the world.", facts("planted", {"en.jsonl": [{"a": 1}]}), facts("planted", {"en.jsonl": [PLANTED]})),
    both("Ask for fewer options", clozes(5), clozes(4)),
]

QUESTION = {
    "q_id": "1",
    "original_lang": "en",
    "title": "t",
    "url": "u",
    "en_q": "Who?",
    "en_a": "A",
    "de_q": "Wer?",
    "de_a": "A",
}
MAIN = "eclektic_main.jsonl"
LOKO = {"text": "t", "question": "Who?", "id": "1", "output_type": "name", "targets": ["A"]}
STAR = {
    "english/dev.jsonl": [LOKO],
    "english/dev_translated_human_german.jsonl": [LOKO],
    "german/dev.jsonl": [LOKO],
    "german/dev_translated_human_english.jsonl": [LOKO],
}


def eclektic(advice: str, *wrong: dict) -> Case:
    return both(advice, opened("eclektic", {MAIN: list(wrong)}, ("en", "de"), MAIN), asked())


def asked() -> Callable[[Path], Any]:
    return opened("eclektic", {MAIN: [QUESTION, {**QUESTION, "q_id": "2", "original_lang": "de"}]}, ("en", "de"), MAIN)


def loko(
    advice: str, wrong: Files, langs: tuple[str, ...] = ("en", "de"), then: tuple[str, ...] = ("en", "de")
) -> Case:
    return both(advice, opened("multiloko", {**STAR, **wrong}, langs), opened("multiloko", STAR, then))


def lacking(name: str) -> Case:
    files = {key: rows for key, rows in STAR.items() if not key.startswith(name)}
    advice = "Give `benchmark_data`, unpacked" if name == "german" else "Unpack the archive again: each folder has"
    return both(advice, opened("multiloko", files, ("en", "de")), opened("multiloko", STAR, ("en", "de")))


OPEN = [
    both("Shapes: eclektic, multiloko, klar", opened("other", {}, ("en",)), asked()),
    both(
        "There are human",
        opened("multiloko", STAR, ("en", "de"), translation="hand"),
        opened("multiloko", STAR, ("en", "de")),
    ),
    both(
        "or mend the path.",
        opened("eclektic", {MAIN: [{**QUESTION, "original_lang": "fr"}]}, ("en", "de"), MAIN),
        asked(),
    ),
    both("Give eclektic_main.jsonl, as it is released.", opened("eclektic", {}, ("en",), MAIN), asked()),
    eclektic("Give eclektic_main.jsonl, as it is released.", {**QUESTION, "url": None}),
    eclektic("Give each its own.", QUESTION, QUESTION),
    eclektic("Give the file as it is released.", {**QUESTION, "de_a": " "}),
    loko("It has: ", {}, ("en", "de", "la")),
    loko("Add 'en' to the languages.", {}, ("de",)),
    lacking("german"),
    lacking("german/dev.jsonl"),
    loko("Unpack the archive again.", {"german/dev_translated_human_english.jsonl": [{**LOKO, "id": "2"}]}),
    loko("Give at least one, each a string.", {"german/dev.jsonl": [{**LOKO, "targets": []}]}),
]

CHOICE = {"id": "1", "paragraph": "", "question": "?", "choices": ["a", "b"], "answer": "a"}


def click(advice: str, wrong: Any, mended: Any = None) -> Case:
    def read(content: Any) -> Callable[[Path], Any]:
        return lambda folder: read_file(
            laid(folder, {"a.json": content if isinstance(content, str) else json.dumps(content)}) / "a.json"
        )

    return both(advice, read(wrong), read(mended or [CHOICE]))


CHOICES = [
    click("Give every question an id of its own.", [CHOICE, CHOICE], [CHOICE, {**CHOICE, "id": "2"}]),
    Case(
        "Give the path of a question file.",
        lambda f: read_file(f / "set" / "a.json"),
        lambda f: laid(f, {"a.json": json.dumps([CHOICE])}),
    ),
    click("Give a list of {id, paragraph", "no"),
    click("Give a list of {id, paragraph", {"id": "1"}),
    click("Give a list of {id, paragraph", [{"id": "1"}]),
]
CASES = [*FACTS, *OPEN, *CHOICES]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_data_set_that_was_mended_as_advised_is_read(case: Case, tmp_path: Path) -> None:
    follow(case, tmp_path)
