"""The rules say what the stages declare: docstrings, paths of every artifact of every study, environments."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

import test_recipes
from lorebridge import studies
from lorebridge.errors import ConfigError
from lorebridge.plan import shown

ROOT = Path(__file__).parents[2]


def rule_files() -> list[Path]:
    kinds = [rules for kind in studies.kinds() if (rules := studies.rules(kind))]
    return [*sorted((ROOT / "workflow" / "rules").glob("*.smk")), *kinds]


def rules() -> dict[str, str]:
    """Name of a rule -> its text."""
    found = {}
    for path in rule_files():
        for name, body in re.findall(r"^ *rule ?(\w*):\n(.*?)(?=^ *rule ?\w*:|\Z)", path.read_text(), re.M | re.S):
            found[name or ("draw" if "draw_" in body else "")] = body
    return found


def said(body: str, helper: str) -> tuple[str, dict[str, str]]:
    """The stage that a rule names in a call of `makes` or `needs`, and the paths that it shows."""
    call = body[re.search(rf"\b{helper}\(", body).start() :]
    depths = itertools.accumulate({"(": 1, ")": -1}.get(letter, 0) for letter in call)
    end = next(i for i, depth in enumerate(depths) if not depth and call[i] == ")")
    # A rule in a loop over the phases of training stands for that of each phase.
    call = eval(f"lambda phase, figure: {call[: end + 1]}", {helper: lambda stage, of=None, **paths: (stage, paths)})
    return call("base", "figure3")


@pytest.fixture(scope="module")
def plans():
    return [studies.plan(configuration) for configuration in test_recipes.studies().values()]


def test_every_stage_has_its_rule_with_its_sentence():
    stages = studies.stages()
    by_stage = {said(body, "makes")[0]: body for body in rules().values()}
    assert set(by_stage) == {name for name in stages if name == "train_base" or not name.startswith("train_")}
    for name, body in by_stage.items():
        if name != "train_base":  # one rule for all phases
            assert f'"""{stages[name].says}"""' in body, name


def test_a_rule_is_called_as_its_stage():
    for name, body in rules().items():
        stage = said(body, "makes")[0]
        assert name == stage or (name, stage) in {("draw", "figure"), ("", "train_base")}, name


def test_rules_show_what_their_stages_make():
    for body in rules().values():
        stage, paths = said(body, "makes")
        assert paths == shown.declared(studies.stages()[stage]), stage


def test_rules_show_what_every_artifact_reads(plans):
    """Of every study, not only what the first artifact of a stage reads."""
    shows = dict(said(body, "needs") for body in rules().values())
    shows |= {name: shows["train_base"] for name in studies.stages() if name.startswith("train_")}
    for plan in plans:
        for name in plan.walk():
            if not plan.stage(name[0]).by_row:
                assert not list(shown.differences(plan, name, shows[name[0]])), name


def test_rules_show_nothing_that_no_artifact_reads(plans):
    shows = dict(said(body, "needs") for body in rules().values())
    read = {(a[0], argument) for plan in plans for a in plan.walk() for argument in plan.reads(a[0], **dict(a[1]))}
    read |= {("train_base", argument) for stage, argument in read if stage.startswith("train_")}  # one rule
    for stage, arguments in shows.items():
        for argument in arguments:
            assert (stage, argument) in read, (stage, argument)


def test_a_path_shown_wrongly_stops_in_one_line(plans):
    plan = plans[0]
    with pytest.raises(ConfigError, match=r"stage gaps, makes\(gaps=\.\.\.\): shows 'transfer/gap.parquet'"):
        shown.outputs(plan, "gaps", {"gaps": "transfer/gap.parquet", "asymmetry": "transfer/asymmetry.parquet"})
    with pytest.raises(ConfigError, match=r"needs\(leaks=\.\.\.\): shows 'trace/leak.parquet', and gaps reads trace/l"):
        shows = {"scores": "probes/scores/*.parquet", "questions": "probes/questions/*.parquet"}
        shown.inputs(plan, "gaps", {}, shows | {"leaks": "trace/leak.parquet"})
    with pytest.raises(ConfigError, match=r"needs\(questions=\.\.\.\): is not shown"):
        shown.inputs(plan, "gaps", {}, {"scores": "probes/scores/*.parquet", "leaks": "trace/leaks.parquet"})
