"""The benchmark of calibration, small: coverage and level within wide bounds of what they claim."""

import dataclasses
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


def of_one(calibration, design):
    return dataclasses.replace(calibration.SCENARIOS["same-arm"], lines={"0": design})


@pytest.mark.slow
@pytest.mark.parametrize("seed_sd", [0.0, 0.06])
def test_intervals_cover_and_the_interaction_holds_its_level(calibration, seed_sd):
    design = calibration.Design(
        calibration.NO_INTERACTION, seed_sd, questions=dict.fromkeys(calibration.QUESTIONS, 120)
    )
    found = calibration.simulate(of_one(calibration, design), 40, 1).groupby(["interval", "scale"])
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
    rejected = calibration.simulate(of_one(calibration, design), 30, 2).groupby("interval")["rejected"].mean()
    assert rejected[QUESTIONS_AND_SEEDS] < 0.1 < rejected[QUESTIONS_ONLY]


def test_the_table_of_frequency(calibration):
    """Tiny: what the peer gets wrong shows at once, what the model gets right within wide bounds."""
    worlds = {
        ".30": calibration.Crossing(0.3, questions={"ko": 500, "bo": 400}),
        "slope": calibration.Crossing(0.25, slope=0.2, questions={"ko": 500, "bo": 400}),
    }
    scenario = dataclasses.replace(calibration.SCENARIOS["frequency"], lines=worlds)
    found = scenario.table(calibration.simulate(scenario, 8, 0)).set_index("world")
    rates = found[["slope: rejected %", "logit in the risk set: rejected %"]].map(lambda told: float(told.split()[0]))
    flat, steep = rates.loc[".30"], rates.loc["slope"]
    assert flat["slope: rejected %"] <= 25 < 60 <= steep["slope: rejected %"]
    assert flat["logit in the risk set: rejected %"] > flat["slope: rejected %"]


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


def test_every_scenario_runs_and_goes_on(calibration, tmp_path):
    """Two studies a line, so that none rots; what they find is the benchmark's."""
    for name, scenario in calibration.SCENARIOS.items():
        scenario = dataclasses.replace(scenario, lines=dict(list(scenario.lines.items())[:2]))
        kept = tmp_path / name
        calibration.simulate(scenario, 1, 0, kept)
        stopped = calibration.simulate(scenario, 2, 0, kept, until=0)
        assert stopped["number"].max() == 0
        found = calibration.simulate(scenario, 2, 0, kept)
        assert set(found["number"]) == {0, 1} and len(scenario.table(found)), name
        pd.testing.assert_frame_equal(found, calibration.simulate(scenario, 2, 0, kept))


def test_a_band_holds_a_curve_and_verdicts_are_seldom_wrong(calibration):
    bands = dataclasses.replace(calibration.SCENARIOS["bands"], lines={"flat, 250": ("flat", 250)})
    assert calibration.simulate(bands, 40, 0)["band"].mean() >= 0.85
    families = calibration.SCENARIOS["verdicts"]
    lines = {line: families.lines[line] for line in ("one, at the margin; questions only", "five, of 0; 3 seeds, sd 0")}
    found = calibration.simulate(dataclasses.replace(families, lines=lines), 40, 0).groupby("line")["wrong"].mean()
    assert (found <= 0.15).all()


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


def test_the_table_of_scripts(calibration, monkeypatch):
    """Tiny: rows find what is not there, and the headline's interval holds the truth most of the time."""
    monkeypatch.setattr(calibration, "OF_LANGUAGE", {"pairs": 10, "star": 20})
    monkeypatch.setattr(calibration, "PEERS_EVERY", 1)
    scenario = calibration.SCENARIOS["scripts"]
    found = calibration.simulate(scenario, 6, 3)
    assert found.groupby("line")["covered"].mean().min() >= 0.5
    none = found[found["true"] == 0]
    assert none["rejected"].mean() <= 0.25 < none["rows rejected"].mean()
    planted = found[found["true"] != 0].groupby("line")[["true", "estimate"]].mean()
    assert (planted["true"] - planted["estimate"]).abs().max() < 0.06
    assert planted["true"].between(0.06, 0.12).all()
    table = scenario.table(found)
    assert len(table) == 4 and "80 %" in table.columns[-1]
    more = calibration.SCENARIOS["more-models"]
    small = dataclasses.replace(more, lines={"1 models": more.lines["1 models"]})
    assert len(more.table(calibration.simulate(small, 2, 0))) == 1


def test_the_table_of_hints(calibration, monkeypatch):
    """Tiny: what a hint does more in another script comes back, and nothing where it does nothing more."""
    monkeypatch.setattr(calibration, "OF_LANGUAGE", {"pairs": 10, "star": 20})
    scenario = calibration.SCENARIOS["hints"]
    found = calibration.simulate(scenario, 6, 3)
    assert found.groupby("line")["covered"].mean().min() >= 0.5
    assert found[found["true"] == 0]["rejected"].mean() <= 0.25
    planted = found[found["true"] != 0].groupby("line")[["true", "estimate"]].mean()
    assert (planted["true"] - planted["estimate"]).abs().max() < 0.06
    assert planted["true"].between(0.06, 0.12).all()
    assert len(scenario.table(found)) == 4
