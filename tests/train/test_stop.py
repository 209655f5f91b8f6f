"""When a job's wall clock is over, and which signals ask a run to stop."""

import os
import signal
import time

import pytest

from lorebridge.train import stop
from lorebridge.train.stop import SIGNALS, Budget, stop_signals


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that is set by hand: a list of one number."""
    now = [100.0]
    monkeypatch.setattr(stop.time, "monotonic", lambda: now[0])
    return now


def spend(clock, measure, seconds):
    with measure():
        clock[0] += seconds


def test_twice_the_longest_step_and_writing_are_kept_back(clock):
    budget = Budget(1000)
    assert budget.reserve == 2 * 50  # nothing is measured yet: 5 % for writing
    spend(clock, budget.step, 3)
    spend(clock, budget.step, 2)
    assert budget.reserve == 2 * (3 + 50)
    spend(clock, budget.writing, 20)
    spend(clock, budget.writing, 10)
    assert budget.reserve == 2 * (3 + 20)
    clock[0] = 100 + 1000 - 46.5
    assert not budget.over()
    clock[0] = 100 + 1000 - 46
    assert budget.over()


def test_a_long_job_keeps_no_hour_back_for_what_is_not_measured(clock):
    assert Budget(48 * 3600).reserve == 2 * 600


def test_no_budget_is_never_over(clock):
    budget = Budget(None)
    clock[0] = 1e12
    assert not budget.over()


@pytest.mark.parametrize("number", SIGNALS)
def test_signals_are_collected_and_given_back(number):
    before = signal.getsignal(number)
    with stop_signals() as received:
        os.kill(os.getpid(), number)
        time.sleep(0.01)
        assert received == [number.name]
    assert signal.getsignal(number) == before
