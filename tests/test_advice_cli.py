"""Every advice on a command's options is followed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from advised import Case, follow, name_of
from lorebridge import cli
from test_advice_probes import bert, facts, model
from test_advice_questions import ONE
from test_advice_tables import answers

CONFIGS = Path(__file__).parents[1] / "config"


def command(*words: str, study: str | None = None) -> Callable[[Path], Any]:
    """Run a command; FOLDER stands for the folder of the case."""

    def run(folder: Path) -> Any:
        said = [word.replace("FOLDER", str(folder)) for word in words]
        said += ["--config", str(CONFIGS / f"{study}.yaml")] if study else []
        arguments = cli._parser().parse_args(said)
        return arguments.command(arguments)

    return run


def with_plan(check: Callable[..., Any], study: str = "demo") -> Callable[[Path], Any]:
    """Ask something of the plan of a study."""

    def run(_: Path) -> Any:
        arguments = cli._parser().parse_args(["plan", "--config", str(CONFIGS / f"{study}.yaml")])
        return check(arguments, cli._load_plan(arguments))

    return run


def both(advice: str, wrong: Callable, mended: Callable) -> Case:
    return Case(advice, wrong, None, mended)


def documents(folder: Path) -> None:
    row = {"text": "한국어로 쓰인 긴 문장이다. " * 30}
    (folder / "in.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")


def filtered(lang: str) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        documents(folder)
        return command("filter", "FOLDER/in.jsonl", "FOLDER/out.jsonl", "--lang", lang, study="demo")(folder)

    return run


def regressed(*words: str) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        langs = ("en", "fr", "ko", "ru")
        rows = [
            {"question_id": f"{s}{q}", "source_lang": s, "target_lang": t, "correct": str(int((q + (s == t)) % 3 > 0))}
            for q in range(6)
            for s in langs
            for t in langs
        ]
        (folder / "a.csv").write_text(answers(*rows))
        pairs = [f"{a},{b},1" for a in langs for b in langs if a < b]
        (folder / "d.csv").write_text("\n".join(["lang_a,lang_b,km", *pairs]) + "\n")
        return command("regress", "FOLDER/a.csv", *words)(folder)

    return run


PLANNING = [
    both(
        "Leave one of the two out.",
        command("plan", "--jobs", "--gpus", "2", study="demo"),
        command("plan", "--gpus", "2", study="demo"),
    ),
    both(
        "Write KEY=VALUE.",
        command("plan", "--set", "seeds", study="demo"),
        command("plan", "--set", "seeds=[0, 1]", study="demo"),
    ),
    both(
        "Give it once.",
        command("plan", "--set", "seeds=[0, 1]", "--set", "seeds=[0, 2]", study="demo"),
        command("plan", "--set", "seeds=[0, 1]", study="demo"),
    ),
    both(
        "Give the --config of a study that has one.",
        with_plan(lambda arguments, plan: cli._section(arguments, plan, "transfer"), "roots-demo"),
        with_plan(lambda arguments, plan: cli._section(arguments, plan, "transfer")),
    ),
    both(
        "Its runs: base-s0",
        with_plan(lambda _, plan: cli._model(plan, "ko-brigde-s0")),
        with_plan(lambda _, plan: cli._model(plan, "ko-bridge-s0")),
    ),
    both("Its languages: en, ko, bo.", filtered("zh"), filtered("ko")),
    both(
        "Its corpora: none.",
        with_plan(lambda _, plan: cli._language(plan, next(iter(plan.config["languages"]))), "scripts-judged"),
        with_plan(lambda _, plan: cli._language(plan, "ko")),
    ),
]
ASKING = [
    both(
        "Write the file, and then its columns.",
        regressed("--distances", "FOLDER/d.csv"),
        regressed("--distances", "FOLDER/d.csv", "km"),
    )
]


def score(
    *words: str, of: Callable[[Path], Path] = model, table: Callable[[Path], Path] = facts
) -> Callable[[Path], Any]:
    """Score a model on facts, or on what another function writes."""

    def run(folder: Path) -> Any:
        said = [
            "score",
            str(of(folder)),
            str(table(folder)),
            "--out",
            "FOLDER/scores.parquet",
            "--device",
            "cpu",
            *words,
        ]
        return command(*said)(folder)

    return run


def questions(folder: Path) -> Path:
    (folder / "q.json").write_text(json.dumps([ONE]))
    return folder / "q.json"


def where_it_lay(folder: Path) -> Path:
    return folder / "models" / "ko" / "bridge" / "s0" / "step40"


def where_it_lies(folder: Path) -> Path:
    path = folder / "models" / "continual" / "ko-bridge-s0" / "step40"
    path.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copytree(model(folder), path, dirs_exist_ok=True))


SCORING = [
    both("Leave it out.", score("--mode", "reference"), score()),
    both("Leave --decode out", score("--decode", "simultaneous"), score()),
    both(
        "or give a masked language model.",
        score("--decode", "simultaneous"),
        score("--decode", "simultaneous", of=bert),
    ),
    both(
        "Give a table of facts (.parquet)",
        score("--decode", "simultaneous", table=questions),
        score("--decode", "simultaneous", of=bert),
    ),
    both("or leave it out.", score("--decode", "simultaneous", table=questions), score(table=questions)),
    both("/models/continual/ko-bridge-s0/step40 now.", score(of=where_it_lay), score(of=where_it_lies)),
]
CASES = [*PLANNING, *ASKING, *SCORING]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_command_that_was_mended_as_advised_is_done(case: Case, tmp_path: Path) -> None:
    follow(case, tmp_path)
