"""Gaps at equal held-out loss: known answers, and nothing where the loss never was equal."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer.gaps import gaps
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY
from lorebridge.transfer.matched import LOSS_EN, LOSS_XX, STEP, crossing, match, matched_gaps

N, STEPS = 40, [0, 10, 20, 30]
FALLING = {"bridge": [8.0, 5.0, 3.0, 2.0], "no_bridge": [8.0, 6.0, 5.0, 4.0]}
GROWING = {"bridge": [2.0, 3.0, 4.0, 5.0], "no_bridge": [2.0, 2.5, 3.0, 3.5]}


@pytest.fixture
def study(tmp_path, write_questions, write_scores, unlike):
    """Both arms answer as many questions as their loss in Korean has fallen, ten for each unit; whatever crossed."""

    def make(losses=FALLING, english=GROWING, seeds=(0, 1), right=None):
        def by_loss(arm, seed, step, lang):
            return np.arange(N) < 5 * (8 - losses[arm][STEPS.index(step)])

        scores = [
            write_scores("ko", arm, seed, STEPS, ["en", "ko"], N, right or by_loss) for arm in losses for seed in seeds
        ]
        rows = [
            {
                "run": f"ko-{arm}-s{seed}",
                "lang_pair": "en-ko",
                "learned": "ko",
                "arm": arm,
                "seed": seed,
                "step": step,
                "lang": lang,
                "prefix": "bare",
                "n_documents": 1,
                "n_tokens": 1,
                "n_bytes": 1,
                "sum_nll": 1.0,
                "perplexity": 1.0,
                "bits_per_byte": loss,
            }
            for lang, curves in (("ko", losses), ("en", english))
            for arm, curve in curves.items()
            for seed in seeds
            for step, loss in zip(STEPS, curve, strict=True)
        ]
        tables.write("perplexity", rows, tmp_path / "perplexity.parquet")
        return {
            "scores": scores,
            "questions": {"ko": write_questions("ko", {"en": unlike(N), "ko": unlike(N, 1)})},
            "perplexity": [tmp_path / "perplexity.parquet"],
            "base": "en",
            "contrasts": [["bridge", "no_bridge"]],
            "subset": "clean",
            "rule": "mean",
            "last": 1,
        }

    return make


def made(study, tmp_path):
    notes = matched_gaps(**study, out=tmp_path / "matched.parquet")
    table = tables.read(tmp_path / "matched.parquet")
    assert list(table.columns) == tables.SCHEMAS["matched_gaps"].names
    assert notes["missing"] == table["gap"].isna().sum()
    return table


def cell(table, on, direction="en->xx", interval=QUESTIONS_ONLY):
    found = table[(table["matched_on"] == on) & (table["direction"] == direction) & (table["interval"] == interval)]
    assert len(found) == 1
    return found.iloc[0]


def test_arms_that_answer_as_well_as_they_predict_have_no_gap_at_equal_loss(study, tmp_path):
    table = made(study(), tmp_path)
    assert cell(table, STEP)["gap"] == pytest.approx(10 / N)
    row = cell(table, LOSS_XX)
    # no_bridge ends at 4 bits per byte, which bridge has half-way between the steps 10 (5) and 20 (3).
    assert row["gap"] == pytest.approx(0.0, abs=1e-12)
    assert (row["step"], row["step_reference"], row["loss"]) == pytest.approx((15.0, 30.0, 4.0))
    assert (row["loss_end"], row["loss_end_reference"]) == pytest.approx((2.0, 4.0))
    assert row["accuracy"] == row["accuracy_reference"] == pytest.approx(20 / N)
    # In English bridge has forgotten more, and is read where no_bridge ends: 3.5, at step 15.
    row = cell(table, LOSS_EN)
    assert (row["step"], row["step_reference"], row["loss"]) == pytest.approx((15.0, 30.0, 3.5))


def test_what_crosses_is_there_at_equal_loss_with_its_interval(study, tmp_path):
    def right(arm, seed, step, lang):
        known = np.arange(N) < 5 * (8 - FALLING[arm][STEPS.index(step)])
        return known | (np.arange(N) >= N - 8) if arm == "bridge" and step else known

    table = made(study(right=right), tmp_path)
    for interval in (QUESTIONS_ONLY, QUESTIONS_AND_SEEDS):
        row = cell(table, LOSS_XX, interval=interval)
        assert row["gap"] == pytest.approx(8 / N) and row["lo"] < 8 / N < row["hi"]
        assert 0 < row["p"] <= row["p_holm"] <= 1
    assert cell(table, LOSS_XX)["note"] == "" and "2 seeds" in row["note"]


def test_what_was_never_equal_is_missing_and_says_why(study, tmp_path):
    """English: bridge forgets, no_bridge gets better; from where they start they never meet again."""
    apart = {"bridge": [2.0, 3.0, 4.0, 5.0], "no_bridge": [2.0, 1.9, 1.8, 1.7]}
    row = cell(made(study(english=apart), tmp_path), LOSS_EN)
    assert row[["gap", "lo", "hi", "p", "p_holm", "accuracy", "loss"]].isna().all()
    assert row["note"] == (
        "seed 0: neither arm ever had the loss at which the other ends (5.000 and 1.700 bits per byte)"
    )
    assert row["loss_end"] == pytest.approx(5)


def test_the_same_checkpoints_have_the_gap_of_the_table_of_gaps(study, tmp_path, write_leaks):
    given_ = study() | {"last": 2}
    table = made(given_, tmp_path)
    given_.pop("perplexity")
    out = {"out": tmp_path / "gaps.parquet", "asymmetry": tmp_path / "asymmetry.parquet"}
    more = {"leaks": write_leaks({"ko": N}, set()), "resource": {"ko": "high"}, "resamples": 50, "seed": 0}
    gaps(**given_, **more, **out)
    own = tables.read(out["out"])
    own = own[(own["contrast"] == "bridge - no_bridge") & (own["step"] == -1) & (own["seed"] == "all")]
    own = own[(own["scale"] == "all questions") & ~own["unleaked"]].set_index(["direction", "interval"])
    for direction in ("en->xx", "xx->en"):
        assert cell(table, STEP, direction)["gap"] == pytest.approx(own.loc[(direction, QUESTIONS_ONLY), "gap"])
        with_seeds = cell(table, STEP, direction, QUESTIONS_AND_SEEDS)
        expected = own.loc[(direction, QUESTIONS_AND_SEEDS), ["lo", "hi", "p"]].astype(float).to_numpy()
        assert with_seeds[["lo", "hi", "p"]].astype(float).to_numpy() == pytest.approx(expected)


def test_arms_with_the_same_losses_are_matched_where_they_stand(study, tmp_path):
    same = {"bridge": [8.0, 5.0, 5.2, 4.9], "no_bridge": [8.0, 5.0, 5.2, 4.9]}
    table = made(study(losses=same) | {"last": 3}, tmp_path)
    for on in (LOSS_XX, STEP):
        assert (cell(table, on)["step"], cell(table, on)["step_reference"]) == pytest.approx((20.0, 20.0))
        assert cell(table, on)["gap"] == pytest.approx(0)


def test_a_checkpoint_without_held_out_text_is_refused(study, tmp_path):
    given_ = study()
    table = tables.read(given_["perplexity"][0])
    lost = (table["step"] == 20) & (table["run"] == "ko-bridge-s1") & (table["lang"] == "en")
    tables.write("perplexity", table[~lost], given_["perplexity"][0])
    with pytest.raises(InputError, match="in the arm bridge from the seed 1 lacks held-out text in en at 1 of its 4"):
        made(given_, tmp_path)


LOSSES = st.lists(st.floats(0.5, 9), min_size=2, max_size=7)


@given(LOSSES, st.floats(0, 10), st.floats(-5, 70))
def test_a_crossing_has_the_loss_and_none_is_nearer(losses, level, near):
    losses, steps = np.array(losses), np.arange(len(losses)) * 10.0
    found = crossing(losses, steps, level, near)
    fine = np.linspace(0, steps[-1], 3001)
    reached = fine[:-1][np.diff(np.sign(np.interp(fine, steps, losses) - level)) != 0]
    assert (found is None) == (not losses.min() <= level <= losses.max())
    if found is not None:
        assert found.sum() == pytest.approx(1) and (found >= 0).all() and (found > 0).sum() <= 2
        assert found @ losses == pytest.approx(level)
        if len(reached):
            assert abs(found @ steps - near) <= np.abs(reached - near).min() + 0.03


@given(LOSSES, st.integers(1, 3), st.randoms())
def test_a_match_has_equal_losses_within_what_was_measured(first, last, random):
    first = np.array(first)
    second = np.array([random.uniform(0.5, 9) for _ in first])
    last = min(last, len(first))
    found = match(first, second, np.arange(len(first)) * 1.0, last)
    ends = [all(o.min() <= level <= o.max() for level in one[-last:]) for one, o in ((first, second), (second, first))]
    assert (found is not None) == any(ends)
    if found is not None:
        assert found.weights[0] @ first == pytest.approx(found.weights[1] @ second)
        assert (np.stack(found.weights) >= 0).all()
        swapped = match(second, first, np.arange(len(first)) * 1.0, last)
        assert swapped.level == pytest.approx(found.level) or ends == [True, True]


def test_a_table_of_losses_needs_an_arm_and_a_seed():
    from lorebridge.transfer.matched import losses_of

    rows = pd.DataFrame(
        {
            "learned": ["ko", None],
            "arm": ["bridge", None],
            "seed": [0, None],
            "step": [0, None],
            "lang": "en",
            "bits_per_byte": [1.0, 2.0],
        }
    )
    assert list(losses_of(rows)) == [("ko", "bridge", 0, "en")]
