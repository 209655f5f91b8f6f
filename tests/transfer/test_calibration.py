"""The benchmark of calibration, small: coverage and level within wide bounds of what they claim."""

import importlib.util
import sys

import pytest

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
    assert share["covered"].between(0.91, 0.985).all(), share
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
    found = calibration.frequency_table(12, 0, worlds).set_index("world")
    assert found.loc[".30", "slope: rejected %"] <= 25 < 60 <= found.loc["slope", "slope: rejected %"]
    assert found.loc[".30", "logit in the risk set: rejected %"] > found.loc[".30", "slope: rejected %"]
    power = calibration.power_table(40, 0)
    assert power["found with seeds %"].between(60, 100).all()
    assert power["with seeds, points"].is_monotonic_increasing
