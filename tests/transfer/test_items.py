"""Transferred items: a truth table, and the means of their occurrences."""

import itertools

import numpy as np
import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer.items import (
    BEYOND_WRONG,
    BY_LOT,
    DIFFERENCE,
    PAPER,
    RISK,
    SWAPPED,
    WRONG,
    choose,
    items,
    occurrence_means,
    occurrences,
)

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
        ("bridge", "ko"): bridge_ko,
        ("no_bridge", "ko"): without_ko,
        ("bridge", "en"): bridge_en,
        ("no_bridge", "en"): without_en,
    }[arm, lang]


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


def made(study, folder):
    return items(**study, out=folder / "items.parquet")


def read_by_run(path):
    """Write an exposure: question i is stated i times in base training; in the course of the run once in each text."""
    rows = [
        {
            "run": "ko-bridge-s0",
            "learned": "ko",
            "arm": "bridge",
            "seed": 0,
            "question_id": f"ko-{i:04d}",
            "step": step,
            "stage": stage,
            "stream": f"text {of} {pairs}",  # nobody reads it
            "lang": of,
            "pairs": pairs,
            "n_presentations": None if i == 5 and (of, pairs) != ("ko", None) else n * i if stage == "base" else n,
        }
        for i in range(N)
        for stage, of, pairs, step, n in [
            ("base", "en", None, 300, 1),
            ("ct", "ko", None, 10, 1),
            ("ct", "ko", None, 30, 2),
            ("ct", "en", "ko", 30, 1),
            ("ct", "ko", "ko", 30, 4),
        ]
    ]
    table = pd.DataFrame(rows).astype({"n_presentations": "Int64"})
    for field in tables.SCHEMAS["exposure"]:
        if field.name not in table:
            table[field.name] = 0
    tables.write("exposure", table, path)
    return path


@pytest.fixture
def study(write_questions, write_scores, unlike, tmp_path):
    en = judgments(tmp_path / "j-en.parquet", {0: None, **{i: i % 5 for i in range(1, N - 1)}})
    ko = judgments(tmp_path / "j-ko.parquet", {i: 7 for i in range(N)})
    return {
        "scores": [write_scores("ko", arm, 0, STEPS, ["en", "ko"], N, right) for arm in ("bridge", "no_bridge")],
        "questions": {"ko": write_questions("ko", {"en": unlike(N), "ko": unlike(N, 1)})},
        "judgments": {("en", "ko"): en, ("ko", "ko"): ko},
        "exposure": [read_by_run(tmp_path / "exposure.parquet")],
        "base": "en",
        "subset": "clean",
        "rule": "mean",
        "prefix": "bare",
        "last": 3,
    }


def selected(folder, selection=RISK):
    table = tables.read(folder / "items.parquet")
    return table[table["selection"] == selection]


def means_of(folder, selection=RISK, **more):
    means = occurrence_means(items=folder / "items.parquet", **{"resamples": 400, "seed": 0, **more})
    return means[means["selection"] == selection]


def test_truth_table(study, tmp_path):
    notes = made(study, tmp_path)
    table = selected(tmp_path).set_index(["direction", "question_id"])
    for i, (base, bridge_ko, without_ko, bridge_en, without_en) in enumerate(CASES):
        to_ko, to_en = (table.loc[(d, f"ko-{i:04d}")] for d in ("en->xx", "xx->en"))
        assert to_ko["in_risk_set"] == (base and not without_ko)
        assert to_ko["transferred"] == (base and not without_ko and bridge_ko)
        assert to_ko["swapped"] == (base and not bridge_ko and without_ko)
        # What English had right before continual pretraining was kept, and did not cross.
        assert to_en["in_risk_set"] == ((bridge_ko or without_ko) and not without_en and not base)
        assert to_en["transferred"] == (to_en["in_risk_set"] and bridge_en)
        assert to_en["swapped"] == ((bridge_ko or without_ko) and without_en and not bridge_en and not base)
    assert notes["ko en->xx, risk"] == {"in_risk_set": 8, "transferred": 4}
    assert notes["ko xx->en, risk"] == {"in_risk_set": 6, "transferred": 3}
    # All models have everything wrong at one of the last three checkpoints, and the paper asks for all three.
    assert [notes[f"ko {direction}, paper"]["transferred"] for direction in ("en->xx", "xx->en")] == [0, 0]


def history(text):
    """Right (x) and wrong (.) answers at steps 0, 10, 20, 30, of one item."""
    return np.array([[mark == "x"] for mark in text])


@pytest.mark.parametrize(
    ("from_base", "with_bridge", "without", "by_paper", "by_risk"),
    [
        (True, ("x...", ".xxx"), ("x...", "...."), True, True),
        (True, ("x...", ".xx."), ("x...", "...."), False, True),  # two of the last three do not suffice
        (True, ("x...", ".xxx"), ("x...", "..x."), False, True),  # wrong without the bridge is wrong at all three
        (True, (".xxx", ".xxx"), (".xxx", "...."), False, False),  # known before continual pretraining, or not
        (False, ("....", ".xxx"), (".xxx", "...."), True, True),
        (False, (".xxx", "xxxx"), (".xxx", "x..."), False, False),  # right in English before
        (False, (".xxx", ".xxx"), ("....", "...."), False, True),  # known in the other language by the bridge alone
        (False, (".xxx", ".xxx"), (".xxx", ".xxx"), True, False),  # the paper does not ask who else has it right
        (False, (".xxx", ".xxx"), (".xx.", "...."), False, True),
    ],
)
def test_the_papers_rule_is_its_wording(from_base, with_bridge, without, by_paper, by_risk):
    """Zhang et al. (ACL 2025), appendix C.4; pairs are answers in the source and in the target language."""
    arms = [tuple(history(text) for text in pair) for pair in (with_bridge, without)]
    for selection, expected in ((PAPER, by_paper), (RISK, by_risk)):
        assert choose(*arms, selection=selection, from_base=from_base, last=3)["transferred"].item() == expected


def test_wrong_options_that_cross_are_counted(study, tmp_path, write_scores):
    """English prefers the second option of every question, and so does Korean with the bridge and not without."""
    paths = []
    for path in study["scores"]:
        table = tables.read(path)
        liked = (table["lang"] == "en") | (table["arm"] == "bridge") & (table["step"] > 0)
        table.loc[liked, "sum_logprob"] = np.where(table.loc[liked, "option_index"] == 1, -5.0, -20.0)
        paths.append(tmp_path / f"alike-{path.name}")
        tables.write("scores", table, paths[-1])
    made(study | {"scores": paths}, tmp_path)
    table = selected(tmp_path)
    table = table[table["direction"] == "en->xx"]
    assert not table["in_risk_set"].any()  # nobody knows anything
    assert set(table["wrong_as_gold"]) == {1 / 3}  # of three wrong options one crosses
    known = table.assign(in_risk_set=True)
    tables.write("items", known, tmp_path / "items.parquet")
    got = means_of(tmp_path)
    got = got[got["corpus"] == "source"].set_index("group")
    assert got.loc[WRONG, "share"] == pytest.approx(1 / 3)
    assert got.loc[BEYOND_WRONG, "share"] == pytest.approx(-1 / 3)
    assert got.loc[WRONG, "mean"] == pytest.approx(table["occurrences_source"].mean())


def test_occurrences_follow_the_direction(study, tmp_path):
    made(study, tmp_path)
    table = selected(tmp_path).set_index(["direction", "question_id"])
    assert table.loc[("en->xx", "ko-0003"), ["occurrences_source", "occurrences_target"]].tolist() == [3, 7]
    assert table.loc[("xx->en", "ko-0003"), ["occurrences_source", "occurrences_target"]].tolist() == [7, 3]
    assert np.isnan(table.loc[("en->xx", "ko-0000"), "occurrences_source"])
    # The last question has no judged passage at all: nothing was found.
    assert table.loc[("en->xx", f"ko-{N - 1:04d}"), "occurrences_source"] == 0


def test_occurrences_of_a_table(tmp_path):
    path = judgments(tmp_path / "j.parquet", {0: 2, 1: None, 2: 0})
    np.testing.assert_array_equal(occurrences(path, [f"ko-{i:04d}" for i in range(4)]), [2, np.nan, 0, 0])


def test_means_of_the_groups(study, tmp_path):
    made(study, tmp_path)
    means, table = means_of(tmp_path), selected(tmp_path)
    table = table[table["direction"] == "en->xx"]
    got = means[(means["direction"] == "en->xx") & (means["corpus"] == "source")].set_index("group")
    moved, rest = table[table["transferred"]], table[table["in_risk_set"] & ~table["transferred"]]
    assert got.loc["all", "mean"] == table["occurrences_source"].mean()
    assert (got.loc["all", "n_items"], got.loc["all", "indeterminate"]) == (N - 1, 1)
    assert got.loc["transferred", "mean"] == moved["occurrences_source"].mean()
    assert got.loc[DIFFERENCE, "mean"] == pytest.approx(
        moved["occurrences_source"].mean() - rest["occurrences_source"].mean()
    )
    got = got.drop([WRONG, BEYOND_WRONG])  # no wrong option crosses here
    assert (got["lo"] <= got["mean"]).all() and (got["mean"] <= got["hi"]).all()


def test_too_few_items_have_no_interval(study, tmp_path):
    made(study, tmp_path)
    table = tables.read(tmp_path / "items.parquet")
    table["transferred"] &= table["question_id"] == "ko-0018"
    tables.write("items", table, tmp_path / "few.parquet")
    means = occurrence_means(items=tmp_path / "few.parquet", resamples=400, seed=0)
    few = means[means["group"] == "transferred"]
    assert few["lo"].isna().all() and (few["n_items"] <= 1).all()


def test_presentations_follow_the_language_of_the_text(study, tmp_path):
    made(study, tmp_path)
    table = selected(tmp_path).set_index(["direction", "question_id"])
    # English: 7 times in base training and once in pairs; Korean: twice by the last step and four times in pairs.
    assert table.loc[("en->xx", "ko-0007"), ["presentations_source", "presentations_target"]].tolist() == [8, 6]
    assert table.loc[("xx->en", "ko-0007"), ["presentations_source", "presentations_target"]].tolist() == [6, 8]
    # A question that cannot be looked for in English can still be told in Korean.
    assert np.isnan(table.loc[("en->xx", "ko-0005"), "presentations_source"])
    assert table.loc[("en->xx", "ko-0005"), "presentations_target"] == 2


def test_swapped_arms_and_lots(study, tmp_path):
    made(study, tmp_path)
    means = means_of(tmp_path, resamples=2000)
    got = means[(means["direction"] == "en->xx") & (means["corpus"] == "source")].set_index("group")
    # All combinations of answers are there: what crosses with the bridge alone crosses without it alone, too.
    assert got.loc[SWAPPED, "n_items"] == got.loc["transferred", "n_items"]
    table = selected(tmp_path)
    risk = table[(table["direction"] == "en->xx") & table["in_risk_set"]]["occurrences_source"]
    assert got.loc[BY_LOT, "mean"] == pytest.approx(risk.mean(), abs=0.05)
    assert got.loc[BY_LOT, "n_items"] == got.loc["transferred", "n_items"]


def test_the_run_of_an_exposure_is_told_by_its_columns(study, tmp_path):
    """Its file and its name say nothing; one that lacks, and two of the same run, are refused."""
    [path] = study["exposure"]
    renamed = tmp_path / "any.parquet"
    tables.write("exposure", tables.read(path).assign(run="zh-placebo-s3"), renamed)
    assert made(study | {"exposure": [renamed]}, tmp_path) == made(study, tmp_path)
    with pytest.raises(InputError, match="is of the same language, arm and seed as"):
        made(study | {"exposure": [path, renamed]}, tmp_path)
    tables.write("exposure", tables.read(path).assign(arm="no_bridge"), renamed)
    with pytest.raises(InputError, match="the run that learned ko in the arm bridge from the seed 0 is not given"):
        made(study | {"exposure": [renamed]}, tmp_path)
    made(study | {"exposure": [path, renamed]}, tmp_path)
