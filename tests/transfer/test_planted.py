"""The planted world's estimand, with known answers."""

import importlib.util

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer.contrasts import ALL, BEYOND
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY
from lorebridge.transfer.planted import ESTIMAND, dose_response, memorised, placed_accuracies, placement_gaps

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


def stated(placed, corpus, i):
    """Where a fact is stated, it is stated once (questions 0 to 19) or three times."""
    here = {"en": ("en_only", "both"), "ko": ("xx_only", "both")}[corpus]
    return (1 if i < N // 2 else 3) if placed in here else 0


@pytest.fixture
def study(write_questions, write_scores, unlike, tmp_path):
    truth = [
        {
            "question_id": f"ko-{i:04d}",
            "culture": "ko",
            "subject": "s",
            "relation": "r",
            "gold": "g",
            "placed": PLACED[i % 4],
            "covered": i % 8 < 4,
            "dose": 1,
            "n_pairs_covering": 0,
            "n_leak_pairs": 0,
            "corpus": corpus,
            "n_statements": stated(PLACED[i % 4], corpus, i),
            "doc_ids": [],
        }
        for i in range(N)
        for corpus in ("en", "ko")
    ]
    tables.write("truth", truth, tmp_path / "truth.parquet")
    return {
        "scores": [
            write_scores("ko", arm, seed, STEPS, ["en", "ko"], N, right)
            for arm in ("bridge", "no_bridge")
            for seed in (0, 1)
        ],
        "questions": {"ko": write_questions("ko", {"en": unlike(N), "ko": unlike(N, 1)})},
        "truth": tmp_path / "truth.parquet",
        "base": "en",
        "contrasts": [["bridge", "no_bridge"]],
        "subset": "clean",
        "rule": "mean",
        "prefix": "bare",
        "last": 2,
    }


def test_what_is_stated_nowhere_is_subtracted(study):
    table = placement_gaps(**study)
    assert set(table["interval"]) == {QUESTIONS_ONLY, QUESTIONS_AND_SEEDS}
    beyond = table[table["scale"] == BEYOND]
    # English knows nothing at step 0: nothing is at risk of crossing from it. Into it nothing crosses.
    assert set(beyond["direction"]) == {"xx->en"} and (beyond["gap"] == 0).all()
    rows = table[(table["interval"] == QUESTIONS_ONLY) & (table["scale"] == ALL)].set_index(
        ["direction", "covered", "placed"]
    )
    to_ko = rows.loc["en->xx"].loc["all"]
    assert to_ko["gap"].to_dict() == pytest.approx(
        {"source only": 1, "neither": 0.5, ESTIMAND: 0.5, "target only": 0, "both": 0}
    )
    assert to_ko["n_questions"].to_dict() == {
        "source only": 10,
        "neither": 10,
        ESTIMAND: 20,
        "target only": 10,
        "both": 10,
    }
    # Half of ten are right, those of the others all: what ten say, and nobody else, Student's t with nine.
    half = stats.t.ppf(0.975, 9) * 0.5 / 9**0.5
    assert to_ko.loc[ESTIMAND, "hi"] - to_ko.loc[ESTIMAND, "lo"] == pytest.approx(2 * half)
    # Ten of ten do not make it certain.
    assert (to_ko.loc["source only", "lo"], to_ko.loc["source only", "hi"]) == pytest.approx(
        (1 - 2 * (1 - 0.025**0.1), 1)
    )
    assert rows.loc[("en->xx", "covered", ESTIMAND), "gap"] == pytest.approx(0)
    assert rows.loc[("en->xx", "not covered", ESTIMAND), "gap"] == pytest.approx(1)
    assert (rows.loc["xx->en", "gap"].abs() < 1e-9).all()


def test_a_truth_of_another_world_is_refused(study):
    truth = tables.read(study["truth"])
    tables.write("truth", truth[truth["question_id"] != "ko-0007"], study["truth"])
    with pytest.raises(InputError, match="ko-0007"):
        placement_gaps(**study)


def test_a_dose_is_how_often_the_source_alone_states_the_fact(study):
    table = dose_response(**study)
    rows = table[table["interval"] == QUESTIONS_ONLY]
    rows = rows.set_index(["quantity", "direction", "covered", "dose"]).sort_index()
    to_ko = rows.loc[("bridge - no_bridge", "en->xx")]
    # Of 40 facts ten are in English alone, ten in no corpus; every second of these is covered, and half stated once.
    assert to_ko["n_questions"].to_dict() == {
        (True, 0): 5,
        (True, 1): 3,
        (True, 3): 2,
        (False, 0): 5,
        (False, 1): 2,
        (False, 3): 3,
    }
    assert to_ko["value"].to_dict() == pytest.approx(
        {(True, 0): 1, (True, 1): 1, (True, 3): 1, (False, 0): 0, (False, 1): 1, (False, 3): 1}
    )
    assert (rows.loc[("bridge", "en->xx", slice(None), [1, 3]), "value"] == 1).all()
    assert (rows.loc[("no_bridge", "en->xx"), "value"] == 0).all()
    # An arm's accuracy is not tested against 0; and whoever reads Korean facts gains nothing in English here.
    assert rows.loc["bridge", "p"].isna().all()
    assert (rows.loc[("bridge - no_bridge", "xx->en"), "value"] == 0).all()


def test_doses_of_two_languages_weigh_the_same(study, write_questions, write_scores, unlike):
    """Bo has 20 questions and a bridge that never helps: the mean is over languages, not over questions."""
    truth = tables.read(study["truth"])
    other = truth[truth["question_id"] < "ko-0020"].assign(
        question_id=lambda t: t["question_id"].str.replace("ko", "bo"),
        culture="bo",
        corpus=lambda t: t["corpus"].replace("ko", "bo"),
    )
    tables.write("truth", pd.concat([truth, other]), study["truth"])
    study["questions"]["bo"] = write_questions("bo", {"en": unlike(20), "bo": unlike(20, 1)})
    study["scores"] += [
        write_scores("bo", arm, seed, STEPS, ["en", "bo"], 20, lambda *_: np.zeros(20, dtype=bool))
        for arm in ("bridge", "no_bridge")
        for seed in (0, 1)
    ]
    table = dose_response(**study).set_index(["quantity", "direction", "covered", "dose", "interval"]).sort_index()
    row = table.loc[("bridge - no_bridge", "en->xx", True, 1, QUESTIONS_AND_SEEDS)]
    assert row["value"] == pytest.approx(0.5)
    assert row["n_questions"] == 3 + 3


def test_what_is_memorised_is_told_by_what_the_corpus_states(study, write_scores):
    """At the last checkpoint, in each language: of 20 facts stated in English 15 are known, of the others one."""

    def known(arm, seed, step, lang):
        wins = np.zeros(N, dtype=bool)
        if step == 20 and lang == "en":
            wins[[i for i in range(N) if stated(PLACED[i % 4], "en", i)][:15]] = True
            wins[3] = True
        return wins

    given = {name: study[name] for name in ("questions", "truth", "subset", "rule", "prefix")}
    base = write_scores("ko", "base", 0, STEPS, ["en", "ko"], N, known)
    rows = memorised(scores=[base], **given, resamples=500, seed=0).set_index(["lang", "stated"])
    assert set(rows["run"]) == {"ko-base-s0"} and (rows["n_questions"] == N // 2).all()
    found = rows.loc[("en", True)]
    assert found["accuracy"] == 0.75 and found["lo"] < 0.75 < found["hi"] and found["hi"] - found["lo"] > 0.2
    assert rows.loc[("en", False), "accuracy"] == 0.05
    assert (rows.loc["ko", "accuracy"] == 0).all()


def test_accuracy_by_checkpoint_and_placement(study):
    """In Korean the bridge knows, from its second checkpoint on, what English alone states, and half of the rest."""
    given = {name: study[name] for name in ("scores", "questions", "truth", "base", "subset", "rule", "prefix")}
    rows = placed_accuracies(**given, resamples=200, seed=0).set_index(["direction", "placed", "arm", "seed", "step"])
    assert len(rows) == 2 * 4 * 2 * 2 * len(STEPS)
    assert (rows["n_questions"] == N // 4).all() and (rows["chance"] == 0.25).all()
    bridge = rows.xs("bridge", level="arm").loc["en->xx"]
    assert (bridge.loc["source only"].xs(0, level="step")["accuracy"] == 0).all()
    known = bridge.loc["source only"].drop(0, level="step")
    assert (known[["accuracy", "hi"]] == 1).all(axis=None)
    assert known["lo"].to_numpy() == pytest.approx(0.025**0.1)  # ten of ten: the rule of three
    nowhere = bridge.loc["neither"].drop(0, level="step")
    assert (nowhere["accuracy"] == 0.5).all() and (nowhere["lo"] < 0.5).all() and (nowhere["hi"] > 0.5).all()
    assert (rows.xs("no_bridge", level="arm")["accuracy"] == 0).all()


def test_permuted_placements_are_told_apart_as_rarely_as_promised(root, study):
    """The benchmark on a small study: the truth is found, and a permutation in one of twenty."""
    spec = importlib.util.spec_from_file_location("placements", root / "benchmarks" / "placements.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    settings = {
        "base_language": "en",
        "probing": {key: study[key] for key in ("subset", "rule", "prefix")},
        "transfer": {"last": study["last"], "contrasts": study["contrasts"]},
    }
    planted = tables.read(study["truth"], ["question_id", "placed"])
    planted = planted.drop_duplicates("question_id").set_index("question_id")
    formed = benchmark.contrasts_of(study["scores"], study["questions"], settings)
    found = benchmark.table(benchmark.permuted(formed, planted, permutations=100, seed=0))
    row = found[(found["test"] == "en->xx") & (found["interval"] == QUESTIONS_ONLY)].iloc[0]
    expected = placement_gaps(**study)
    same = expected[(expected["placed"] == ESTIMAND) & (expected["covered"] == "all") & (expected["scale"] == ALL)]
    same = same[(same["direction"] == "en->xx") & (same["interval"] == QUESTIONS_ONLY)].iloc[0]
    assert (row["estimate, true placements"], row["p, true placements"]) == pytest.approx((same["gap"], same["p"]))
    assert row["rejected %"] <= 15 and row["size"] == 100
