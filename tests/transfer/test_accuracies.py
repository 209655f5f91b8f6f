"""The table of accuracies: what it says is what the options' scores say, whatever kind of model was asked."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes.decisions import RULES
from lorebridge.transfer.accuracies import accuracies, of_arms

N = 6
STEPS = [0, 10, 20]
SUBSETS = [["reference"], ["reference"], *[["reference", "clean"]] * 3, ["reference", "clean", "strict"]]
GOLD = [0, 3, 1, 2, 0, 1]


def write_questions(path, culture="ko", subsets=SUBSETS):
    rows = [
        {
            "question_id": f"{culture}-{i:04d}",
            "culture": culture,
            "lang": lang,
            "text": f"{chr(97 + i) * 9} ____",
            "option_index": j,
            "option": f"{lang} {i} {j}",
            "is_gold": j == GOLD[i],
            "subset": subsets[i],
            "n_blanks": 1,
        }
        for lang in ("en", culture)
        for i in range(N)
        for j in range(4)
    ]
    tables.write("questions", rows, path)
    return path


def write_scores(path, rng, steps=STEPS, culture="ko", **name):
    """Write scores of few distinct values, so that options often tie."""
    index = pd.MultiIndex.from_product([steps, ("en", culture), range(N), range(4)])
    table = index.to_frame(index=False, name=["step", "lang", "question", "option_index"])
    table["question_id"] = [f"{culture}-{i:04d}" for i in table.pop("question")]
    numbers = {
        "sum_logprob": rng.integers(-6, -2, len(table)) * 2.0,
        "n_tokens": rng.integers(1, 4, len(table)),
        "n_bytes": rng.integers(1, 4, len(table)),
        "prior_logprob": rng.integers(-6, -2, len(table)) * 1.0,
        "prior_tokens": rng.integers(1, 3, len(table)),
    }
    table = table.assign(culture=culture, prefix="bare", lang_pair=None, **numbers, **name)
    tables.write("scores", table.sample(frac=1, random_state=0), path)
    return path


@pytest.fixture
def study(tmp_path):
    """Runs of two arms, a base model, a model of several languages and one that is given; no name says what it is."""
    rng = np.random.default_rng(0)
    models = {
        "zh-placebo-s7": {"learned": "ko", "arm": "bridge", "seed": 0},
        "b": {"learned": "ko", "arm": "bridge", "seed": 1},
        "ko-bridge-s0": {"learned": "ko", "arm": "no_bridge", "seed": 0},
        "base": {"learned": "en", "arm": "base", "seed": 0},
        "both": {"learned": None, "arm": None, "seed": 3},
        "gpt2": {"learned": None, "arm": None, "seed": None},
        "tuned": {"learned": "ko", "arm": None, "seed": None},
    }
    asked = {"base": [5, 25], "gpt2": [None], "tuned": [None]}
    return {
        "scores": [
            write_scores(tmp_path / f"{run}.parquet", rng, asked.get(run, STEPS), run=run, **name)
            for run, name in models.items()
        ],
        "questions": {"ko": write_questions(tmp_path / "questions.parquet")},
        "base": "en",
        "last": 3,
        "resamples": 50,
        "seed": 0,
    }


def made(study, folder):
    accuracies(**study, out=folder / "accuracies.parquet")
    return tables.read(folder / "accuracies.parquet")


def credit(rows, gold, rule):
    """What one question is worth: options one after another, in the order of the released list."""
    values = []
    for row in rows.sort_values("option_index").to_dict("records"):
        values.append(
            {
                "mean": row["sum_logprob"] / row["n_tokens"],
                "sum": row["sum_logprob"],
                "bytes": row["sum_logprob"] / row["n_bytes"],
                "pmi": row["sum_logprob"] - row["prior_logprob"],
                "prior": row["prior_logprob"] / row["prior_tokens"],
            }[rule]
        )
    best = [j for j, value in enumerate(values) if value == max(values)]
    return (gold in best) / len(best)


def expected(path, rule, subset, lang, step):
    rows = tables.read(path)
    at = rows["step"].isna() if step is None else rows["step"] == step
    kept = [i for i in range(N) if subset in SUBSETS[i]]
    rows = rows[at & (rows["lang"] == lang)]
    return np.mean([credit(rows[rows["question_id"] == f"ko-{i:04d}"], GOLD[i], rule) for i in kept])


def test_every_number_is_that_of_the_options(study, tmp_path):
    table = made(study, tmp_path)
    paths = {path.stem: path for path in study["scores"]}
    single = table[table["model"].notna()]
    assert set(single["model"]) == set(paths)
    for row in single[single["step"] != -1].to_dict("records"):
        step = None if pd.isna(row["step"]) else row["step"]
        assert row["accuracy"] == pytest.approx(
            expected(paths[row["model"]], row["rule"], row["subset"], row["lang"], step)
        ), row
    combinations = 3 * len(RULES) * 2
    rows = single.groupby("model").size().to_dict()
    paired = {name: 4 * combinations for name in ("zh-placebo-s7", "b", "ko-bridge-s0", "both")}
    # The base model has two checkpoints, too few for the mean of the last three.
    assert rows == {**paired, "base": 2 * combinations, "gpt2": combinations, "tuned": combinations}
    assert (table["chance"] == 0.25).all()
    assert table.groupby("subset")["n_questions"].unique().map(list).to_dict() == {
        "reference": [6],
        "clean": [4],
        "strict": [1],
    }


@pytest.mark.parametrize("last", [1, 2, 3])
def test_pooled_rows_are_means_of_rows(study, tmp_path, last):
    table = made(study | {"last": last}, tmp_path)
    place = ["lang", "subset", "rule"]
    for model in ("b", "both"):
        rows = table[table["model"] == model]
        steps = rows[rows["step"].isin(STEPS[-last:])].groupby(place)["accuracy"].mean()
        assert rows[rows["step"] == -1].set_index(place)["accuracy"].to_dict() == pytest.approx(steps.to_dict())
    arm = table[(table["arm"] == "bridge") & (table["learned"] == "ko")]
    seeds = arm[arm["seed"] != "all"].groupby(["step", *place])["accuracy"].mean()
    mean = arm[arm["seed"] == "all"]
    assert mean["model"].isna().all()
    assert mean.set_index(["step", *place])["accuracy"].to_dict() == pytest.approx(seeds.to_dict())


def test_what_a_model_is_comes_from_columns(study, tmp_path):
    table = made(study, tmp_path)
    named = table.drop_duplicates("model").set_index("model")
    assert named.loc["zh-placebo-s7", ["learned", "arm", "seed"]].tolist() == ["ko", "bridge", "0"]
    assert named.loc["ko-bridge-s0", ["learned", "arm", "seed"]].tolist() == ["ko", "no_bridge", "0"]
    assert named.loc["gpt2", ["learned", "arm", "seed", "direction"]].isna().all()
    assert named.loc["both", "seed"] == "3" and pd.isna(named.loc["both", "direction"])
    assert pd.isna(named.loc["base", "direction"])
    of_tuned = table[table["model"] == "tuned"].drop_duplicates("lang").set_index("lang")["direction"]
    assert of_tuned.to_dict() == {"ko": "en->xx", "en": "xx->en"}
    assert table.loc[table["model"].isin(["gpt2", "tuned"]), "step"].isna().all()
    shown = of_arms(tmp_path / "accuracies.parquet", subset="clean", rule="pmi", prefix="bare")
    assert set(shown["model"].dropna()) == {"zh-placebo-s7", "b", "ko-bridge-s0"}
    assert shown["step"].dtype.kind == "i" and set(shown["step"]) == {*STEPS, -1}


def test_a_model_more_changes_no_other_row(study, tmp_path):
    table = made(study, tmp_path)
    for other in ("gpt2", "base", "both"):
        fewer = {**study, "scores": [path for path in study["scores"] if path.stem != other]}
        kept = table[table["model"] != other].reset_index(drop=True)
        pd.testing.assert_frame_equal(made(fewer, tmp_path), kept, check_dtype=False)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([1, 2, 3]), min_size=N, max_size=N).filter(lambda levels: 2 in levels))
def test_a_subset_has_the_numbers_of_a_table_with_its_questions_alone(tmp_path_factory, levels):
    """And a subset without questions has no row."""
    folder = tmp_path_factory.mktemp("subset")
    names = ["reference", "clean", "strict"]
    questions = write_questions(folder / "questions.parquet", subsets=[names[:level] for level in levels])
    scores = [write_scores(folder / "r.parquet", np.random.default_rng(1), run="r", learned="ko", arm="bridge", seed=0)]
    settings_ = {"base": "en", "last": 2, "resamples": 20, "seed": 0}
    whole = made({"scores": scores, "questions": {"ko": questions}, **settings_}, folder)
    assert set(whole["subset"]) == set(names[: max(levels)])
    clean = tables.read(questions)
    clean = clean[[len(subset) > 1 for subset in clean["subset"]]]
    tables.write("questions", clean, questions)
    alone = made({"scores": scores, "questions": {"ko": questions}, **settings_}, folder)
    columns = ["step", "lang", "rule", "n_questions", "accuracy", "chance"]
    one, two = (t[t["subset"] == "clean"][columns].reset_index(drop=True) for t in (whole, alone))
    pd.testing.assert_frame_equal(one, two)


def test_two_runs_of_one_arm_and_seed_are_refused_and_the_advice_works(study, tmp_path):
    table = tables.read(study["scores"][1])
    tables.write("scores", table.assign(seed=0), study["scores"][1])
    with pytest.raises(InputError, match=r"scores of b and zh-placebo-s7: both learned ko in the arm bridge"):
        made(study, tmp_path)
    tables.write("scores", table.assign(seed=0, arm="placebo"), study["scores"][1])
    assert "placebo" in set(made(study, tmp_path)["arm"])
    del study["scores"][1]
    assert "b" not in set(made(study, tmp_path)["model"])


def test_scores_that_are_given_twice_are_refused(study, tmp_path):
    study["scores"].append(study["scores"][0])
    with pytest.raises(InputError, match="Give the scores of each model once"):
        made(study, tmp_path)
    with pytest.raises(InputError, match="no table of scores is given"):
        made({**study, "scores": []}, tmp_path)


@pytest.mark.parametrize("lost", ["gpt2", "both", "ko-bridge-s0"])
def test_an_option_that_was_not_scored_is_missed(study, tmp_path, lost):
    """Also of a model that has no step."""
    path = next(path for path in study["scores"] if path.stem == lost)
    tables.write("scores", tables.read(path).iloc[1:], path)
    with pytest.raises(InputError, match=rf"scores of {lost}.*47 of the 48 options of the ko questions"):
        made(study, tmp_path)


def test_questions_that_nobody_was_asked_are_refused(study, tmp_path):
    study["questions"]["bo"] = write_questions(tmp_path / "bo.parquet", culture="bo")
    with pytest.raises(InputError, match="no model was scored on the questions of bo"):
        made(study, tmp_path)


def test_what_a_figure_lacks_is_said(study, tmp_path):
    path = tmp_path / "accuracies.parquet"
    rng = np.random.default_rng(2)
    study["questions"]["bo"] = write_questions(tmp_path / "bo.parquet", "bo", [["reference"]] * N)
    study["scores"].append(
        write_scores(tmp_path / "bo-only.parquet", rng, [None], "bo", run="bo-only", learned=None, arm=None, seed=None)
    )
    made(study, tmp_path)
    with pytest.raises(InputError, match=r"no question of bo is in the subset 'clean'\. Choose another subset"):
        of_arms(path, subset="clean", rule="mean", prefix="bare")
    with pytest.raises(InputError, match=r"no run that learned bo was scored on its questions\. Score the runs of bo"):
        of_arms(path, subset="reference", rule="mean", prefix="bare")
    run = {"run": "r", "learned": "bo", "arm": "bridge", "seed": 0}
    study["scores"].append(write_scores(tmp_path / "r.parquet", rng, culture="bo", **run))
    made(study, tmp_path)
    assert set(of_arms(path, subset="reference", rule="mean", prefix="bare")["culture"]) == {"ko", "bo"}
    with pytest.raises(ValueError, match="nothing is called 'max'"):
        of_arms(path, subset="clean", rule="max", prefix="bare")


def test_a_study_of_given_models_alone_has_accuracies(study, tmp_path):
    study["scores"] = [path for path in study["scores"] if path.stem == "gpt2"]
    table = made(study, tmp_path)
    assert len(table) == 3 * len(RULES) * 2 and table["step"].isna().all()
    assert table["interval"].eq("questions only, given these seeds").all()
