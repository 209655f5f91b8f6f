"""Every advice on models that are asked open questions, on hints and on judging is followed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from advised import Case, follow, name_of
from lorebridge import tables
from lorebridge.probes.hints import read_labels
from lorebridge.probes.openqa import hinted, read_asked
from lorebridge.probes.serving import check_room, reading_model
from lorebridge.probes.wording import Manner, build
from lorebridge.transfer.hints import hint_effects
from test_advice_config import case

HUB = {"hub": "a/b", "revision": "0" * 40}
SERVED = {"big": {"model": "m", "base_url": "http://127.0.0.1/v1"}}
ASKED: dict[str, Any] = {"served": SERVED, "answering": {}}
SCRIPTS = "scripts-judged"

STUDIES = [
    case("Name one, or give `answering`.", {"judged": {}}, {"judged": {"files": ["a.csv"]}}, SCRIPTS),
    case("Give `answering`, or take it out.", {"served": SERVED}, {"answering": {}}, SCRIPTS),
    case("Name some under `given` or `served`.", {"answering": {}}, {"served": SERVED}, SCRIPTS),
    case(
        "Name a set of questions under `sets`.",
        {**ASKED, "sets": {}},
        {"sets": {"a": {"shape": "klar", "path": "klar"}}},
        SCRIPTS,
    ),
    case("Leave it out, or say chat.", {**ASKED, "answering": {"form": "plain"}}, {"answering.form": "chat"}, SCRIPTS),
    case(
        "Say one for the models of `given`.",
        {"given": {"a": HUB}, "answering": {"temperature": None}},
        {"answering.temperature": 0.5},
        SCRIPTS,
    ),
    case("Give `answering`, or take them out.", {"hints": {"kinds": ["source"]}}, {"hints": None}, SCRIPTS),
    case(
        "Give hints.labels.",
        {**ASKED, "hints": {"kinds": ["target"]}},
        {"hints.labels": {"path": "labels.csv"}},
        SCRIPTS,
    ),
    case("Call one of them otherwise.", {**ASKED, "given": {"big": HUB}}, {"given": {"small": HUB}}, SCRIPTS),
    case("Give `grading.model`.", {"grading": {"judge": "model"}}, {"grading.judge": "em strict"}, SCRIPTS),
    case("Set a temperature above 0", {**ASKED, "answering": {"samples": 2}}, {"answering.temperature": 1}, SCRIPTS),
    case(
        "Say how many tokens a thought may have.",
        {**ASKED, "answering": {"thinking": "on"}},
        {"answering.thinking_tokens": 9},
        SCRIPTS,
    ),
    case(
        "Say where the question stands.",
        {**ASKED, "answering": {"prompt": "Frage"}},
        {"answering.prompt": "{question}"},
        SCRIPTS,
    ),
]


def both(advice: str, wrong: Callable[[Path], Any], mended: Callable[[Path], Any]) -> Case:
    return Case(advice, wrong, None, mended)


def rows(*said: dict[str, Any], name: str = "set.jsonl") -> Callable[[Path], Any]:
    def run(folder: Path) -> pd.DataFrame:
        path = folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in said), encoding="utf-8")
        return read_asked(path)

    return run


def labels(text: str, name: str = "labels.csv") -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        path = folder / name
        path.write_bytes(text.encode("latin-1"))
        return read_labels(path)

    return run


def words(prompt: Any, hint: str = "") -> Callable[[Path], Any]:
    row = {"question": "q", "lang": "de", "hint_text": hint}
    return lambda _: build(row, Manner(prompt=prompt).words("chat", "de"), {})


def hint_of(question: str) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        asked = rows({"question": "q", "question_id": "1"})(folder)
        said = {"dataset": "set", "question_id": question, "lang": "und", "hint": "source", "text": "x"}
        tables.write("hints", [said], folder / "hints.parquet")
        return hinted(asked, folder / "hints.parquet")

    return run


def told(hint: str) -> Callable[[Path], Any]:
    languages = {code: {"script": script, "family": code} for code, script in (("de", "L"), ("en", "L"), ("hi", "D"))}

    def run(folder: Path) -> Any:
        said = [
            {"dataset": "set", "model": "m", "question_id": f"{source}{i}", "source_lang": source, "target_lang": lang}
            | {"hint": how, "sample": 0, "correct": True, "judge": ""}
            for source in languages
            for i in range(2)
            for lang in languages
            for how in ("none", hint)
            if how == "none" or lang != source
        ]
        kept = pd.DataFrame(said).drop_duplicates()
        tables.write("judged", kept, folder / "judged.parquet")
        out = folder / "effects.parquet"
        return hint_effects(judged=folder / "judged.parquet", languages=languages, labelings=99, seed=0, out=out)

    return run


GOOD = {"question": "q", "answers": ["a"]}
A_LABEL = '{"item": "Q1", "lang": "de", "label": "a"}'
READ = [
    both("Give one a row.", rows(), rows(GOOD)),
    both("Give each an id of its own.", rows(GOOD | {"question_id": 1}, GOOD | {"question_id": 1}), rows(GOOD, GOOD)),
    both("Write what is asked.", rows({"question": ""}), rows(GOOD)),
    both("Write at least one, each a string.", rows(GOOD | {"answers": "a"}), rows(GOOD)),
    both("Give a .parquet or a .jsonl file.", rows(GOOD, name="set.txt"), rows(GOOD)),
    both("Write a string.", rows(GOOD | {"lang": 1.5}), rows(GOOD | {"lang": "de"})),
    both("Remake it.", hint_of("2"), hint_of("1")),
    both("Ask with hints.", told("none"), told("source")),
    both("Give item, lang and label.", labels("item,lang\nQ1,de\n"), labels("item,lang,label\nQ1,de,a\n")),
    both("Write Q and a number.", labels("item,lang,label\n1,de,a\n"), labels("item,lang,label\nQ1,de,a\n")),
    both("Keep one of them.", labels("item,lang,label\nQ1,de,a\nQ1,de,b\n"), labels("item,lang,label\nQ1,de,a\n")),
    both("Give a .csv or a .jsonl file.", labels("", "labels.txt"), labels("item,lang,label\nQ1,de,a\n")),
    both("Give a file in UTF-8.", labels("item,lang,label\nQ1,de,é\n"), labels("item,lang,label\nQ1,de,a\n")),
    both("Mend it.", labels("{]", "labels.jsonl"), labels(A_LABEL, "labels.jsonl")),
    both("Mend the row.", labels("[]", "labels.jsonl"), labels(A_LABEL, "l.jsonl")),
    both("Add it, or give one prompt", words({"en": "{question}"}), words("{question}")),
    both("Say where the hint stands.", words("{question}", "x"), words("{question}{hint}", "x")),
    both("There are off, on, budget.", lambda _: Manner(thinking="maybe"), lambda _: Manner(thinking="off")),
    both(
        "Ask for fewer tokens", lambda _: check_room([[1] * 8], 3, 10, "m"), lambda _: check_room([[1] * 8], 2, 10, "m")
    ),
    both(
        "There are vllm and endpoint.",
        lambda _: reading_model("own", "m", Manner(), section="grading.model"),
        lambda _: reading_model("vllm", "m", Manner(), section="grading.model"),
    ),
    both(
        "Leave `form` out, or say chat.",
        lambda _: reading_model("endpoint", "m", Manner(form="plain"), base_url="http://x/v1", section="s"),
        lambda _: reading_model("endpoint", "m", Manner(form="chat"), base_url="http://x/v1", section="s"),
    ),
]

CASES = [*STUDIES, *READ]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_what_was_mended_as_advised_is_taken(case: Case, tmp_path: Path) -> None:
    follow(case, tmp_path)
