"""How far a study is: time that is left is that of what is left, told in the run's own log."""

from __future__ import annotations

import logging

import pytest

from lorebridge.progress import EVERY, Job, Reckoning, Reporter


def done(reckoning, *took, begin=0.0):
    """Jobs that were done one after the other."""
    now = begin
    for job, seconds in took:
        reckoning.start(job, now)
        now += seconds
        reckoning.finish(job, now)
    return now


def test_jobs_of_a_rule_take_what_its_others_took():
    reckoning = Reckoning({i: Job("order") for i in range(4)})
    now = done(reckoning, (0, 10.0), (1, 20.0))
    assert reckoning.left(now) == pytest.approx(30)
    assert reckoning.share() == pytest.approx(0.5)


def test_training_takes_time_by_its_tokens_and_at_first_what_the_plan_reckons():
    reckoning = Reckoning({0: Job("train", 100, guess=7.0), 1: Job("train", 300, guess=21.0)})
    assert reckoning.left(0.0) == pytest.approx(28)
    assert reckoning.left(done(reckoning, (0, 50.0))) == pytest.approx(150)


def test_what_has_no_example_is_the_mean_of_what_has():
    reckoning = Reckoning({0: Job("a"), 1: Job("b"), 2: Job("c")})
    assert reckoning.left(done(reckoning, (0, 4.0), (1, 8.0))) == pytest.approx(6)


def test_jobs_go_on_side_by_side_and_the_longest_is_waited_for():
    reckoning = Reckoning({i: Job("a") for i in range(8)})
    for i in (0, 1):
        reckoning.start(i, 0.0)
    for i in (0, 1):
        reckoning.finish(i, 10.0)
    assert reckoning.left(10.0) == pytest.approx(30)  # six of ten seconds, two at a time
    alone = Reckoning({0: Job("a"), 1: Job("a"), 2: Job("a")})
    for i in (0, 1):
        alone.start(i, 0.0)
    for i in (0, 1):
        alone.finish(i, 10.0)
    assert alone.left(10.0) == pytest.approx(10)  # one alone takes its own time


def test_what_runs_has_less_left_and_never_less_than_nothing():
    reckoning = Reckoning({0: Job("a"), 1: Job("a")})
    now = done(reckoning, (0, 10.0))
    reckoning.start(1, now)
    assert reckoning.left(now + 4) == pytest.approx(6)
    assert reckoning.left(now + 40) == 0


def test_a_job_that_starts_again_begins_anew():
    reckoning = Reckoning({0: Job("a"), 1: Job("a")})
    reckoning.start(0, 0.0)
    reckoning.start(0, 100.0)
    reckoning.finish(0, 110.0)
    assert reckoning.expected(Job("a")) == 10


def test_a_line_now_and_then_and_at_the_end(caplog):
    now = [0.0]
    log = logging.getLogger("a log of its own")
    log.addHandler(reporter := Reporter("tiny", {i: Job("a") for i in range(4)}, log, lambda: now[0]))
    caplog.set_level(logging.INFO)
    try:
        for i in range(4):
            log.info("", extra={"event": "job_started", "jobs": [i]})
            now[0] += EVERY / 2 + 1
            log.info("", extra={"event": "job_finished", "job_id": i})
            log.info("", extra={"event": "job_finished", "job_id": 99})  # none of ours
    finally:
        log.removeHandler(reporter)
    assert [record.getMessage() for record in caplog.records if record.getMessage()] == [
        "study tiny: 50 % of the work, 2 of 4 jobs, less than a minute left",
        "study tiny: 100 % of the work, 4 of 4 jobs, done",
    ]
