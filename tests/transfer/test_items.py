"""Transferred items: a truth table, and the means of their occurrences."""

import itertools

import numpy as np
import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer.items import DIFFERENCE, items, occurrence_means, occurrences

STEPS = [0, 10, 20, 30]
# All combinations of: right in the base model in English; right with and without the bridge, in ko and in en.
CASES = list(itertools.product([False, True], repeat=5))
N = len(CASES)


def right(arm, seed, step, lang):
    base, bridge_ko, without_ko, bridge_en, without_en = np.array(CASES).T
    if step == 0:
        return base if lang == "en" else np.zeros(N, dtype=bool)
    if step == 10:  # one of the last three: alone it decides nothing
        return np.zeros(N, dtype=bool)
    return {
        ("bridge", "ko"): bridge_ko, ("no_bridge", "ko"): without_ko,
        ("bridge", "en"): bridge_en, ("no_bridge", "en"): without_en,
    }[arm, lang]  # fmt: skip


def judgments(path, counts):
    """Write `counts`: question index -> number of positive passages, or None where the judge cannot tell."""
    rows = []
    for i, count in counts.items():
        verdicts = ["indeterminate"] if count is None else ["yes"] * count + ["no"]
        rows += [(f"ko-{i:04d}", f"c{k}", verdict) for k, verdict in enumerate(verdicts)]
    table = pd.DataFrame(rows, columns=["question_id", "chunk_id", "entails"])
    for field in tables.SCHEMAS["judgments"]:
        if field.name not in table:
            table[field.name] = "cooccurrence" if field.name == "judge" else None
    tables.write("judgments", table, path)
    return path


@pytest.fixture
def study(write_questions, write_scores, unlike, tmp_path):
    en = judgments(tmp_path / "j-en.parquet", {0: None, **{i: i % 5 for i in range(1, N - 1)}})
    ko = judgments(tmp_path / "j-ko.parquet", {i: 7 for i in range(N)})
    return {
        "scores": [write_scores("ko", arm, 0, STEPS, ["en", "ko"], N, right) for arm in ("bridge", "no_bridge")],
        "questions": {"ko": write_questions("ko", {"en": unlike(N), "ko": unlike(N, 1)})},
        "judgments": {"en": {"ko": en}, "ko": {"ko": ko}},
        "base": "en", "subset": "clean", "rule": "mean", "last": 3,
    }  # fmt: skip


def test_truth_table(study, tmp_path):
    notes = items(**study, out=tmp_path / "items.parquet")
    table = tables.read(tmp_path / "items.parquet").set_index(["direction", "question_id"])
    for i, (base, bridge_ko, without_ko, bridge_en, without_en) in enumerate(CASES):
        to_ko, to_en = (table.loc[(d, f"ko-{i:04d}")] for d in ("en->xx", "xx->en"))
        assert to_ko["in_risk_set"] == (base and not without_ko)
        assert to_ko["transferred"] == (base and not without_ko and bridge_ko)
        assert to_en["in_risk_set"] == ((bridge_ko or without_ko) and not without_en)
        assert to_en["transferred"] == ((bridge_ko or without_ko) and not without_en and bridge_en)
    assert notes["ko en->xx"] == {"in_risk_set": 8, "transferred": 4}
    assert notes["ko xx->en"] == {"in_risk_set": 12, "transferred": 6}


def test_occurrences_follow_the_direction(study, tmp_path):
    items(**study, out=tmp_path / "items.parquet")
    table = tables.read(tmp_path / "items.parquet").set_index(["direction", "question_id"])
    assert table.loc[("en->xx", "ko-0003"), ["occurrences_source", "occurrences_target"]].tolist() == [3, 7]
    assert table.loc[("xx->en", "ko-0003"), ["occurrences_source", "occurrences_target"]].tolist() == [7, 3]
    assert np.isnan(table.loc[("en->xx", "ko-0000"), "occurrences_source"])
    # The last question has no judged passage at all: nothing was found.
    assert table.loc[("en->xx", f"ko-{N - 1:04d}"), "occurrences_source"] == 0


def test_occurrences_of_a_table(tmp_path):
    path = judgments(tmp_path / "j.parquet", {0: 2, 1: None, 2: 0})
    np.testing.assert_array_equal(occurrences(path, [f"ko-{i:04d}" for i in range(4)]), [2, np.nan, 0, 0])


def test_means_of_the_groups(study, tmp_path):
    items(**study, out=tmp_path / "items.parquet")
    means = occurrence_means(items=tmp_path / "items.parquet", questions=study["questions"], resamples=400, seed=0)
    table = tables.read(tmp_path / "items.parquet")
    table = table[table["direction"] == "en->xx"]
    got = means[(means["direction"] == "en->xx") & (means["corpus"] == "source")].set_index("group")
    moved, rest = table[table["transferred"]], table[table["in_risk_set"] & ~table["transferred"]]
    assert got.loc["all", "mean"] == table["occurrences_source"].mean()
    assert (got.loc["all", "n_items"], got.loc["all", "indeterminate"]) == (N - 1, 1)
    assert got.loc["transferred", "mean"] == moved["occurrences_source"].mean()
    assert got.loc[DIFFERENCE, "mean"] == pytest.approx(
        moved["occurrences_source"].mean() - rest["occurrences_source"].mean()
    )
    assert (got["lo"] <= got["mean"]).all() and (got["mean"] <= got["hi"]).all()


def test_too_few_items_have_no_interval(study, tmp_path):
    items(**study, out=tmp_path / "items.parquet")
    table = tables.read(tmp_path / "items.parquet")
    table["transferred"] &= table["question_id"] == "ko-0018"
    tables.write("items", table, tmp_path / "few.parquet")
    means = occurrence_means(items=tmp_path / "few.parquet", questions=study["questions"], resamples=400, seed=0)
    few = means[means["group"] == "transferred"]
    assert few["lo"].isna().all() and (few["n_items"] <= 1).all()


def test_without_step_0_nothing_is_known_of_the_base_model(study, tmp_path, write_scores):
    study["scores"] = [write_scores("ko", arm, 0, STEPS[1:], ["en", "ko"], N, right) for arm in ("bridge", "no_bridge")]
    with pytest.raises(InputError, match="step 0"):
        items(**study, out=tmp_path / "items.parquet")
