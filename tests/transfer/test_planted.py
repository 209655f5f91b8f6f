"""The planted world's estimand, with known answers."""

import numpy as np
import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY
from lorebridge.transfer.planted import ESTIMAND, placement_gaps

N = 40
PLACED = ("en_only", "xx_only", "both", "neither")
STEPS = [0, 10, 20]


def right(arm, seed, step, lang):
    """In Korean the bridge helps with all facts stated in English alone, and with half of those stated nowhere."""
    wins = np.zeros(N, dtype=bool)
    if arm == "bridge" and lang == "ko" and step:
        wins[0::4] = True
        wins[3::8] = True
    return wins


@pytest.fixture
def study(write_questions, write_scores, unlike, tmp_path):
    truth = [
        {
            "question_id": f"ko-{i:04d}", "culture": "ko", "subject": "s", "relation": "r", "gold": "g",
            "placed": PLACED[i % 4], "covered": i % 8 < 4, "dose": 1, "n_pairs_covering": 0, "n_leak_pairs": 0,
            "corpus": corpus, "n_statements": 0, "doc_ids": [],
        }
        for i in range(N)
        for corpus in ("en", "ko")
    ]  # fmt: skip
    tables.write("truth", truth, tmp_path / "truth.parquet")
    return {
        "scores": [write_scores("ko", arm, seed, STEPS, ["en", "ko"], N, right) for arm in ("bridge", "no_bridge")
                   for seed in (0, 1)],
        "questions": {"ko": write_questions("ko", {"en": unlike(N), "ko": unlike(N, 1)})},
        "truth": tmp_path / "truth.parquet", "base": "en", "contrasts": [["bridge", "no_bridge"]], "subset": "clean",
        "rule": "mean", "last": 2,
    }  # fmt: skip


def test_what_is_stated_nowhere_is_subtracted(study):
    table = placement_gaps(**study)
    assert set(table["interval"]) == {QUESTIONS_ONLY, QUESTIONS_AND_SEEDS}
    rows = table[table["interval"] == QUESTIONS_ONLY].set_index(["direction", "covered", "placed"])
    to_ko = rows.loc["en->xx"].loc["all"]
    assert to_ko["gap"].to_dict() == pytest.approx(
        {"source only": 1, "neither": 0.5, ESTIMAND: 0.5, "target only": 0, "both": 0}
    )
    assert to_ko["n_questions"].to_dict() == {
        "source only": 10, "neither": 10, ESTIMAND: 20, "target only": 10, "both": 10
    }  # fmt: skip
    # Half of ten are right: standard error .5 / sqrt(10) over questions, up to the correction for clusters.
    assert to_ko.loc[ESTIMAND, "hi"] - to_ko.loc[ESTIMAND, "lo"] == pytest.approx(4 * 0.5 / 10**0.5, rel=0.05)
    assert rows.loc[("en->xx", "covered", ESTIMAND), "gap"] == pytest.approx(0)
    assert rows.loc[("en->xx", "not covered", ESTIMAND), "gap"] == pytest.approx(1)
    assert (rows.loc["xx->en", "gap"].abs() < 1e-9).all()


def test_a_truth_of_another_world_is_refused(study):
    truth = tables.read(study["truth"])
    tables.write("truth", truth[truth["question_id"] != "ko-0007"], study["truth"])
    with pytest.raises(InputError, match="ko-0007"):
        placement_gaps(**study)
