"""The benchmark of calibration, small: coverage and level within wide bounds of what they claim."""

import importlib.util
import sys

import numpy as np
import pandas as pd
import pytest

from lorebridge.transfer.contrasts import AT_RISK, BEYOND, form
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY


@pytest.fixture(scope="module")
def calibration(root):
    spec = importlib.util.spec_from_file_location("calibration", root / "benchmarks" / "calibration.py")
    module = sys.modules["calibration"] = importlib.util.module_from_spec(spec)  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("seed_sd", [0.0, 0.06])
def test_intervals_cover_and_the_interaction_holds_its_level(calibration, seed_sd):
    design = calibration.Design(
        calibration.NO_INTERACTION, seed_sd, questions=dict.fromkeys(calibration.QUESTIONS, 120)
    )
    found = calibration.calibrate(design, studies=40, seed=1).groupby(["interval", "scale"])
    share = found[["covered", "bias", "interaction_rejected"]].mean()
    # 40 studies of 8 gaps: standard error of coverage about 1.2 points, of a rejection rate 3.4.
    assert share["covered"].between(0.91, 1).all(), share
    assert share.xs("all questions", level="scale")["bias"].abs().max() < 0.01
    assert (share.loc[QUESTIONS_AND_SEEDS, "interaction_rejected"] <= 0.15).all()
    if not seed_sd:
        assert (share.loc[QUESTIONS_ONLY, "interaction_rejected"] <= 0.15).all()


@pytest.mark.slow
def test_the_same_arm_twice_is_told_apart_by_questions_alone_and_not_with_seeds(calibration):
    design = calibration.Design(
        calibration.NO_EFFECT, 0.06, spread=0.0, questions=dict.fromkeys(calibration.QUESTIONS, 120)
    )
    rejected = calibration.calibrate(design, studies=30, seed=2).groupby("interval")["rejected"].mean()
    assert rejected[QUESTIONS_AND_SEEDS] < 0.1 < rejected[QUESTIONS_ONLY]


def test_the_tables_of_frequency_and_of_power(calibration):
    """Tiny: what the peer gets wrong shows at once, what the model gets right within wide bounds."""
    worlds = {
        ".30": calibration.Crossing(0.3, questions={"ko": 500, "bo": 400}),
        "slope": calibration.Crossing(0.25, slope=0.2, questions={"ko": 500, "bo": 400}),
    }
    found = calibration.frequency_table(8, 0, worlds).set_index("world")
    rates = found[["slope: rejected %", "logit in the risk set: rejected %"]].map(lambda told: float(told.split()[0]))
    flat, steep = rates.loc[".30"], rates.loc["slope"]
    assert flat["slope: rejected %"] <= 25 < 60 <= steep["slope: rejected %"]
    assert flat["logit in the risk set: rejected %"] > flat["slope: rejected %"]
    assert len(calibration.power_table(1, 0)) == 18


@pytest.mark.parametrize(("echo", "crossing"), [(0.2, 0.0), (0.2, 0.3)])
def test_preferences_that_grow_alike_are_not_taken_for_facts(calibration, echo, crossing):
    """With a fifth of the source's guesses echoed the plain risk set shows 10 points more than crosses."""
    true = crossing * calibration.KNOWN / (calibration.KNOWN + (1 - calibration.KNOWN) / calibration.OPTIONS)
    gaps = {BEYOND: [], AT_RISK: []}
    for number in range(30):
        cultures = calibration.preferences(np.random.default_rng([7, number]), echo, crossing)
        for contrast in form(cultures, base="en", contrasts=[calibration.ARMS], last=1):
            if contrast.known is not None and contrast.direction == "en->xx":
                for scale, found in gaps.items():
                    found.append(contrast.sample(scale).estimate)
    error = np.std(gaps[BEYOND]) / np.sqrt(len(gaps[BEYOND]))
    assert abs(np.mean(gaps[BEYOND]) - true) < 3 * error + 0.005  # the bias of a ratio
    assert np.mean(gaps[AT_RISK]) - true > 0.07


def test_every_scenario_runs(calibration):
    """A study a line, so that none rots; what they find is the benchmark's."""
    for name, scenario in calibration.SCENARIOS.items():
        table = scenario(2 if name == "frequency" else 1, 0)
        assert len(table), name


@pytest.mark.parametrize(
    ("found", "limits", "shown"),
    [
        ([1] * 95 + [0] * 5, "COVERS", "95.0 ± 2.2"),
        ([1] * 91 + [0] * 9, "COVERS", "91.0 ± 2.9"),  # explained by the error
        ([1] * 80 + [0] * 20, "COVERS", "80.0 ± 4.0, low"),
        ([0] * 300, "REJECTS", "0.0 ± 0.3, low"),
        ([0] * 300, "NO_MORE", "0.0 ± 0.3"),
        ([1] * 20 + [0] * 80, "REJECTS", "20.0 ± 4.0, high"),
        ([1.0, 0.5] * 50, "COVERS", "75.0 ± 2.5, low"),  # shares of several intervals a study
    ],
)
def test_a_rate_that_does_not_keep_its_promise_says_so(calibration, found, limits, shown):
    values = pd.Series(found, dtype=float if 0.5 in found else bool)
    assert calibration.percent(values, getattr(calibration, limits)) == shown
