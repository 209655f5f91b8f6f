"""What was declared when the runs began: written once, by the first job that trains or scores."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time

import pytest

from declaring import declared_test
from lorebridge import config, declared, studies
from lorebridge.errors import ConfigError
from lorebridge.records import Task, read_record

SAID = {"alpha": 0.05, "tests": [declared_test()], "rule": "mean", "last": 3}


@pytest.fixture
def first(tmp_path):
    return tmp_path / "study" / declared.FILE


def test_the_first_declaration_is_kept(first):
    assert declared.status(first, SAID) == (declared.UNKNOWN, "")
    declared.begin(first, SAID)
    declared.begin(first, SAID | {"alpha": 0.1})
    state, when = declared.status(first, SAID)
    assert state == declared.BEFORE and when
    assert declared.status(first, {**dict(reversed(SAID.items())), "last": 3.0})[0] == declared.BEFORE
    for change in ({"alpha": 0.1}, {"rule": "sum"}, {"tests": [declared_test(margin=0.1)]}, {"tests": []}):
        assert declared.status(first, SAID | change)[0] == declared.SINCE, change


def test_a_declaration_that_comes_after_the_runs_is_told(first):
    declared.begin(first, None)
    declared.begin(first, SAID)
    assert declared.status(first, SAID)[0] == declared.AFTER


@pytest.mark.parametrize(
    "made",
    [
        "models/continual/ko-bridge-s0/record.json",
        "models/ko/bridge/s0/record.json",
        "probes/scores/ko-bridge-s0.parquet.record.json",
    ],
)
def test_of_models_that_were_there_before_nothing_is_known(first, made):
    record = first.parent / made
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    declared.begin(first, SAID)
    assert declared.status(first, SAID)[0] == declared.UNKNOWN


def test_a_model_that_is_given_is_no_run(first):
    record = first.parent / "models" / "given" / "gpt2" / "record.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    declared.begin(first, SAID)
    assert declared.status(first, SAID)[0] == declared.BEFORE


@pytest.mark.parametrize("torn", ["", "{", '{"declared": null}', "[]"])
def test_a_torn_note_says_nothing(first, torn):
    first.parent.mkdir()
    first.write_text(torn)
    declared.begin(first, SAID)
    assert declared.status(first, SAID)[0] == declared.UNKNOWN


def _start(first, alpha):
    declared.begin(first, SAID | {"alpha": alpha})


def test_of_many_jobs_that_begin_at_once_one_writes(first):
    jobs = [multiprocessing.get_context("fork").Process(target=_start, args=(first, 0.01 * n)) for n in range(1, 9)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert json.loads(first.read_text())["declared"]["alpha"] in [0.01 * n for n in range(1, 9)]
    assert [path.name for path in first.parent.iterdir()] == [declared.FILE]


def _train_and_be_killed(task, record):
    with Task.loads(task).making(record):
        time.sleep(60)


def test_a_job_that_is_killed_has_begun_with_what_was_declared_then(first, tmp_path):
    """Whoever changes the declaration while it is down, and lets it go on, is told so."""
    record = tmp_path / "study" / "models" / "base" / "m" / "record.json"

    def task(said):
        call = {"inputs": {}, "declared": {"first": str(first), "said": said}}
        return Task("train_base", {"x": 1}, call=call)

    job = multiprocessing.get_context("fork").Process(
        target=_train_and_be_killed, args=(task(SAID).dumps(), str(record))
    )
    job.start()
    deadline = time.monotonic() + 30
    while not (first.exists() and first.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(job.pid, signal.SIGKILL)
    job.join()
    changed = SAID | {"tests": [declared_test(margin=0.2)]}
    assert task(changed).recipe == task(SAID).recipe
    with task(changed).making(record):
        pass
    assert read_record(record)["declared"] == changed
    assert declared.status(first, changed)[0] == declared.SINCE
    assert declared.status(first, SAID)[0] == declared.BEFORE


def test_only_what_trains_or_scores_notes_it(demo):
    demo["people"] = {"source": {"kind": "planted"}, "number": 20, "questions": 60, "seed": 0}
    plan = studies.plan(config.check(demo))
    noting = {name[0] for name in plan.walk() if "declared" in plan.task(name[0], **dict(name[1])).call}
    assert noting == {"train_base", "train_continual", "score", "people_score"}
    said = plan.task("score", run="ko-bridge-s0").call["declared"]
    assert said["said"]["tests"] == demo["prereg"]["tests"] and said["first"] == "results/articles/declared.json"


def test_a_changed_declaration_changes_the_recipes_of_verdicts_and_page_alone(demo):
    plan = studies.plan(demo)
    before = {name: plan.recipe(name) for name in plan.walk()}
    for change in (lambda c: c["prereg"]["tests"][0].update(margin=0.1), lambda c: c.update(prereg=None)):
        other = json.loads(json.dumps(demo))
        change(other)
        plan = studies.plan(config.check(other))
        after = {name: plan.recipe(name) for name in plan.walk()}
        gone = {("verdicts", ()), ("table", (("table", "verdicts"),)), ("figure", (("figure", "declared"),))}
        assert {name for name in before if after.get(name) != before[name]} == gone | {("page", ())}
        assert not set(after) - set(before)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"contrast": ["bridge", "glued"]}, r"prereg.tests\[0\].contrast.*names the arm 'glued'.*bridge, no_bridge"),
        ({"contrast": ["bridge", "bridge"]}, r"contrast.*compares 'bridge' with itself"),
        ({"languages": ["en"]}, r"languages.*names 'en', which is no language that is learned.*ko, bo"),
        ({"minus": ["ko"]}, r"minus.*takes 'ko' from itself"),
        ({"direction": "en->ko"}, r"direction.*'en->ko' is unknown. Did you mean 'en->xx'"),
        ({"scale": "risk"}, r"scale.*risk"),
        ({"margin": 0}, r"margin"),
        ({"margins": 0.1}, r"unknown key 'margins'. Did you mean 'margin'"),
        ({"prefix": "label"}, r"prefix.*behind which no question is asked"),
    ],
)
def test_a_wrong_declaration_is_one_line_at_a_dry_run(demo, said, error):
    demo["probing"] |= {"prefixes": ["bare"]}
    demo["prereg"] = {"tests": [declared_test(**said)]}
    with pytest.raises(ConfigError, match=error):
        config.check(demo)


def test_what_a_study_cannot_tell_is_not_declared(demo):
    demo["prereg"] = {"tests": [declared_test(over_seeds=True)]}
    config.check(demo)
    with pytest.raises(ConfigError, match=r"over_seeds.*the study has one. Add a seed to seeds, or set it to false"):
        config.check(demo | {"seeds": [0]})
    with pytest.raises(ConfigError, match=r"tests\[1\].name: 'Korean' is the name of two tests"):
        config.check(demo | {"prereg": {"tests": 2 * [declared_test()]}})
    with pytest.raises(ConfigError, match="the key 'margin' is missing"):
        config.check(demo | {"prereg": {"tests": [{k: v for k, v in declared_test().items() if k != "margin"}]}})


def test_where_a_fact_stands_is_known_of_planted_worlds_alone(root):
    paper = config.load(root / "config" / "config.yaml")
    paper["prereg"]["tests"][0]["among"] = "source only - neither"
    with pytest.raises(ConfigError, match=r"among.*only of a planted world.*Say all or unleaked"):
        config.check(paper)
