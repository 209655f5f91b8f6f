"""Gaps with known answers."""

import numpy as np
import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer.gaps import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY, _pooled_seed_rows, gaps

N = 40
STEPS = [0, 10, 20, 30, 40]


@pytest.fixture
def study(write_questions, write_scores, unlike):
    """With the bridge the first 20 Korean questions are right from step 20 on (seed 1: 10); without it none."""

    def right(arm, seed, step, lang):
        wins = np.zeros(N, dtype=bool)
        if arm == "bridge" and lang == "ko" and step >= 20:
            wins[: 20 if seed == 0 else 10] = True
        if lang == "en":
            wins[:4] = True
        return wins

    questions = {"ko": write_questions("ko", {"en": unlike(N), "ko": unlike(N, 1)})}
    scores = [
        write_scores("ko", arm, seed, STEPS, ["en", "ko"], N, right)
        for arm in ("bridge", "no_bridge")
        for seed in (0, 1)
    ]
    return {
        "scores": scores, "questions": questions, "base": "en", "contrasts": [["bridge", "no_bridge"]],
        "subset": "clean", "rule": "mean", "last": 3, "resamples": 500, "seed": 0,
    }  # fmt: skip


def test_gap_is_the_paired_difference_of_accuracies(study, tmp_path):
    notes = gaps(**study, out=tmp_path / "gaps.parquet")
    table = tables.read(tmp_path / "gaps.parquet").set_index(["direction", "step", "seed", "interval"])
    assert notes == {"ko": {"questions": N, "clusters": N}}

    def gap(step, seed, direction="en->xx"):
        return table.loc[(direction, step, seed, QUESTIONS_ONLY)]

    assert [gap(s, "0")["gap"] for s in STEPS] == [0, 0, 0.5, 0.5, 0.5]
    assert [gap(s, "1")["gap"] for s in STEPS] == [0, 0, 0.25, 0.25, 0.25]
    assert [gap(s, "all")["gap"] for s in STEPS] == [0, 0, 0.375, 0.375, 0.375]
    assert gap(-1, "all")["gap"] == 0.375
    assert (gap(-1, "0")["accuracy"], gap(-1, "0")["accuracy_reference"]) == (0.5, 0)
    # Both arms have the same English questions right: no difference, and none in any resample.
    flat = table.loc["xx->en"]
    assert (flat[["gap", "lo", "hi"]] == 0).all(axis=None)
    assert (flat["accuracy"] == 0.1).all()
    assert (table["contrast"] == "bridge - no_bridge").all()
    # 40 independent questions, 20 of which differ: the interval is about 2 x 1.96 x sqrt(.25 / 40) wide.
    assert gap(-1, "0")["hi"] - gap(-1, "0")["lo"] == pytest.approx(2 * 1.96 * np.sqrt(0.25 / N), rel=0.15)


def test_seed_variance_widens_the_second_interval(study, tmp_path):
    gaps(**study, out=tmp_path / "gaps.parquet")
    table = tables.read(tmp_path / "gaps.parquet").set_index("interval")
    both = table.loc[QUESTIONS_AND_SEEDS].set_index("direction").loc["en->xx"]
    assert (both["step"], both["seed"], both["gap"]) == (-1, "all", 0.375)
    # Seeds .5 and .25: standard error sqrt(.25^2 / 2 / 2) = .125 with one degree of freedom dominates.
    assert both["lo"] < 0 < 0.75 < both["hi"]


def test_one_seed_has_no_interval_over_seeds(study, tmp_path):
    study["scores"] = [path for path in study["scores"] if "s0" in path.name]
    gaps(**study, out=tmp_path / "gaps.parquet")
    table = tables.read(tmp_path / "gaps.parquet")
    assert set(table["interval"]) == {QUESTIONS_ONLY}
    assert set(table["seed"]) == {"0", "all"}


def test_another_culture_changes_no_row(study, tmp_path, write_questions, write_scores, unlike):
    gaps(**study, out=tmp_path / "one.parquet")
    study["questions"]["bo"] = write_questions("bo", {"en": unlike(9, 2), "bo": unlike(9, 3)})
    rng = np.random.default_rng(0)
    study["scores"] += [
        write_scores("bo", arm, 0, STEPS, ["en", "bo"], 9, lambda *_: rng.random(9) < 0.5)
        for arm in ("bridge", "no_bridge")
    ]
    gaps(**study, out=tmp_path / "two.parquet")
    one, two = (tables.read(tmp_path / f"{name}.parquet") for name in ("one", "two"))
    same = two[(two["lang"] == "ko") & (two["interval"] == QUESTIONS_ONLY)].reset_index(drop=True)
    assert same.equals(one[one["interval"] == QUESTIONS_ONLY].reset_index(drop=True))


def test_same_bytes_twice(study, tmp_path):
    for name in "ab":
        gaps(**study, out=tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_arms_that_were_not_run(study, tmp_path):
    study["contrasts"].append(["placebo", "no_bridge"])
    gaps(**study, out=tmp_path / "gaps.parquet")
    assert set(tables.read(tmp_path / "gaps.parquet")["contrast"]) == {"bridge - no_bridge"}
    study["contrasts"] = [["placebo", "no_bridge"]]
    with pytest.raises(InputError, match="common seed"):
        gaps(**study, out=tmp_path / "gaps.parquet")


def test_runs_that_cannot_be_paired_are_refused(study, tmp_path, write_scores):
    study["scores"][0] = write_scores("ko", "bridge", 0, STEPS[:-1], ["en", "ko"], N, lambda *_: np.ones(N, dtype=bool))
    with pytest.raises(InputError, match="ko-bridge-s0 lacks steps"):
        gaps(**study, out=tmp_path / "gaps.parquet")


def test_too_few_checkpoints_and_absent_runs_are_refused(study, tmp_path):
    with pytest.raises(InputError, match="last 9 checkpoints"):
        gaps(**{**study, "last": 9}, out=tmp_path / "gaps.parquet")
    study["questions"] = {"bo": study["questions"]["ko"]}
    with pytest.raises(InputError, match="no run that learned bo"):
        gaps(**study, out=tmp_path / "gaps.parquet")


def test_pooled_interval_covers_with_two_seeds():
    # Four languages, two seeds, the true gap 0; as much noise from the choice of questions as between seeds.
    rng = np.random.default_rng(3)
    covered = []
    for _ in range(300):
        rows = []
        for lang in ("ko", "zh", "bo", "mn"):
            single = rng.normal(0, 0.02) + rng.normal(0, 0.03, 2)
            rows += [
                {"lang": lang, "direction": "en->xx", "contrast": "c", "step": -1, "seed": seed, "gap": gap,
                 "lo": 0.0, "hi": 0.0, "interval": QUESTIONS_ONLY, "variance": 0.02**2, "n_clusters": 200}
                for seed, gap in [("0", single[0]), ("1", single[1]), ("all", single.mean())]
            ]  # fmt: skip
        pooled = _pooled_seed_rows(pd.DataFrame(rows))
        covered += ((pooled["lo"] <= 0) & (pooled["hi"] >= 0)).tolist()
    assert len(covered) == 1200
    assert 0.93 <= np.mean(covered) <= 0.985
