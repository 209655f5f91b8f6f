import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorebridge.errors import InputError
from lorebridge.probes.decisions import (
    DECISION,
    accuracy,
    baselines,
    consistency,
    histories,
    prediction_shares,
    rule_values,
    summarise,
)

OPTIONS = ["a", "bb", "ccc", "dddd"]


def questions_of(golds: list[str | None], options: list[str] = OPTIONS) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "question_id": f"ko-{i:04d}",
                "culture": "ko",
                "lang": "en",
                "text": "____",
                "option_index": j,
                "option": option,
                "is_gold": option == gold,
                "subset": ["reference"],
                "n_blanks": 1,
            }
            for i, gold in enumerate(golds)
            for j, option in enumerate(options)
        ]
    )


def scores_of(questions: pd.DataFrame, sums: list[float], n_tokens: int | list[int] = 1, step: int = 0) -> pd.DataFrame:
    return questions[["culture", "lang", "question_id", "option_index"]].assign(
        run="r",
        lang_pair="en-ko",
        learned="ko",
        arm="bridge",
        seed=0,
        prefix="bare",
        step=step,
        sum_logprob=sums,
        n_tokens=n_tokens,
        n_bytes=1,
        prior_logprob=-1.0,
        prior_tokens=1,
    )


def published_prediction(options: list[str], losses: list[float]) -> str:
    """The published rule: a dictionary keyed by text, sorted by loss (stable), the first wins."""
    return sorted(dict(zip(options, losses, strict=True)).items(), key=lambda pair: pair[1])[0][0]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2)), min_size=1, max_size=6))
def test_reference_ties_follow_the_published_dictionary(pairs):
    options = [text for text, _ in pairs]
    # Equal texts have equal scores: a text's score is that of its first mention.
    losses = [float(pairs[options.index(text)][1]) for text in options]
    shares = prediction_shares(-np.array(losses), np.zeros(len(options), dtype=int), "reference")
    assert shares.sum() == 1
    assert options[int(shares.argmax())] == published_prediction(options, losses)


@given(st.lists(st.lists(st.integers(-3, 0), min_size=1, max_size=5), min_size=1, max_size=6))
def test_shared_ties_sum_to_one_and_sit_on_the_best(values):
    flat = np.array([float(v) for group in values for v in group])
    groups = np.repeat(np.arange(len(values)), [len(group) for group in values])
    shares = prediction_shares(flat, groups, "share")
    for number, group in enumerate(values):
        part = shares[groups == number]
        assert part.sum() == pytest.approx(1)
        assert set(np.flatnonzero(part)) == {i for i, v in enumerate(group) if v == max(group)}
        assert len(set(part[part > 0])) == 1


@pytest.mark.parametrize(
    ("sums", "gold", "share", "reference"),
    [
        ([-1, -2, -3, -4], "a", 1, 1),
        ([-1, -2, -3, -4], "bb", 0, 0),
        ([-1, -1, -3, -4], "a", 1 / 2, 1),
        ([-1, -1, -3, -4], "bb", 1 / 2, 0),
        ([-1, -1, -1, -1], "dddd", 1 / 4, 0),
        ([-1, -1, -1, -1], None, 0, 0),
    ],
)
def test_what_a_tie_is_worth(sums, gold, share, reference):
    questions = questions_of([gold])
    scores = scores_of(questions, sums)
    for ties, credit in (("share", share), ("reference", reference)):
        decided = accuracy(scores, questions, rule="mean", ties=ties, subset="reference")
        assert list(decided["credit"]) == [credit]


def test_two_options_with_the_text_of_the_answer_are_both_right():
    questions = questions_of(["a"], ["b", "a", "a", "c"])
    scores = scores_of(questions, [-2, -1, -1, -3])
    for ties in ("share", "reference"):
        assert list(accuracy(scores, questions, ties=ties, subset="reference")["credit"]) == [1]


def test_rules_differ_where_lengths_do():
    questions = questions_of(["dddd"])
    scores = scores_of(questions, [-3.0, -4.0, -4.0, -6.0], n_tokens=[1, 2, 2, 4])
    assert accuracy(scores, questions, rule="mean", subset="reference")["credit"].item() == 1
    assert accuracy(scores, questions, rule="sum", subset="reference")["credit"].item() == 0
    np.testing.assert_array_equal(rule_values(scores, "bytes"), [-3, -4, -4, -6])


def test_rows_in_any_order_and_several_steps():
    questions = questions_of(["a", "bb"])
    scores = pd.concat(
        [
            scores_of(questions, [-1, -2, -3, -4, -1, -2, -3, -4], step=10),
            scores_of(questions, [-9, -2, -3, -4, -9, -2, -3, -4], step=0),
        ]
    ).sample(frac=1, random_state=0)
    decided = accuracy(scores, questions, subset="reference")
    assert list(decided.columns) == [*DECISION, "credit"]
    assert [tuple(row) for row in decided[["step", "question_id", "credit"]].to_numpy()] == [
        (0, "ko-0000", 0),
        (0, "ko-0001", 1),
        (10, "ko-0000", 1),
        (10, "ko-0001", 0),
    ]


def test_subsets_choose_questions():
    questions = questions_of(["a", "bb"])
    questions["subset"] = [["reference", "clean"]] * 4 + [["reference"]] * 4
    scores = scores_of(questions, [-1, -2, -3, -4] * 2)
    assert list(accuracy(scores, questions, subset="clean")["question_id"]) == ["ko-0000"]


def test_a_missing_score_is_an_error():
    questions = questions_of(["a", "bb"])
    scores = scores_of(questions, [-1, -2, -3, -4] * 2)
    with pytest.raises(InputError, match="scores of r, step 0: 7 of the 8 options of the ko questions"):
        accuracy(scores.iloc[:-1], questions, subset="reference")
    twice = pd.concat([scores.iloc[:-1], scores.iloc[:1]])
    with pytest.raises(InputError, match="7 of the 8"):
        accuracy(twice, questions, subset="reference")


@pytest.mark.parametrize(("rule", "ties"), [("median", "share"), ("mean", "first")])
def test_unknown_words_are_errors(rule, ties):
    questions = questions_of(["a"])
    with pytest.raises(ValueError, match="there are"):
        accuracy(scores_of(questions, [-1, -2, -3, -4]), questions, rule=rule, ties=ties, subset="reference")


def test_interval():
    # 8 of 10: the Wilson score interval of the textbook, (0.490, 0.943).
    credits = pd.DataFrame({"run": "r", "credit": [1.0] * 8 + [0.0] * 2})
    row = summarise(credits, by=["run"]).iloc[0]
    assert (row["n_questions"], row["accuracy"]) == (10, 0.8)
    assert (round(row["lo"], 3), round(row["hi"], 3)) == (0.490, 0.943)


def test_baselines():
    table = baselines(questions_of(["a", "a", "dddd", None]), subset="reference").set_index("baseline")
    assert dict(table["accuracy"]) == {
        "chance": 3 / 16,
        "first_option": 2 / 4,
        "longest_option": 1 / 4,
        "copied_option": 3 / 16,  # no option stands in its question
        "majority_position": 2 / 4,
    }
    assert table["n_questions"].eq(4).all()


def test_the_longest_of_equals_is_shared():
    table = baselines(questions_of(["xx"], ["xx", "yy", "z"]), subset="reference").set_index("baseline")
    assert table.loc["longest_option", "accuracy"] == 1 / 2
    assert table.loc["chance", "accuracy"] == pytest.approx(1 / 3)


def test_an_option_that_stands_in_its_question_is_copied():
    questions = questions_of(["bb", "bb"])
    # In the first question two options stand, one of them in capitals; in the second none.
    questions["text"] = ["A BB ____"] * 4 + ["____"] * 4
    table = baselines(questions, subset="reference").set_index("baseline")["accuracy"]
    assert table["copied_option"] == (1 / 2 + 1 / 4) / 2


def test_pmi_and_prior_rules():
    questions = questions_of(["dddd"])
    scores = scores_of(questions, [-10.0, -11.0, -12.0, -13.0]).assign(
        prior_logprob=[-1.0, -9.0, -3.0, -8.0], prior_tokens=[1, 9, 6, 4]
    )
    np.testing.assert_array_equal(rule_values(scores, "pmi"), [-9, -2, -9, -5])
    np.testing.assert_array_equal(rule_values(scores, "prior"), [-1, -1, -0.5, -2])


@pytest.mark.parametrize(
    ("right", "expected"),
    [
        ([0, 0, 0], (0, None, None, 0)),
        ([1, 1, 1], (3, 0, 0, 0)),
        ([0, 1, 1], (2, 10, 10, 1)),
        ([1, 0, 1], (2, 0, 20, 2)),
        ([1, 1, 0], (2, 0, None, 1)),
        ([0, 0.5, 1], (1, 20, 20, 1)),  # a tie with another option is not right
    ],
)
def test_answers_over_steps(right, expected):
    rows = [
        {
            "run": "r",
            "learned": "ko",
            "arm": "bridge",
            "seed": 0,
            "prefix": "bare",
            "step": step,
            "culture": "ko",
            "lang": "en",
            "question_id": "q",
            "credit": float(credit),
        }
        for step, credit in zip((0, 10, 20), right, strict=True)
    ]
    other = [{**row, "question_id": "other", "credit": 1.0} for row in rows]
    table = histories(pd.DataFrame([*rows, *other]).sample(frac=1, random_state=0)).set_index("question_id")
    row = table.loc["q"]
    n_right, first_right, right_since, changes = expected
    assert (row["n_steps"], row["n_right"], row["changes"]) == (3, n_right, changes)
    for name, value in (("first_right", first_right), ("right_since", right_since)):
        assert row[name] == value if value is not None else pd.isna(row[name])
    assert table.loc["other", ["n_right", "first_right", "right_since"]].tolist() == [3, 0, 0]


def two_languages(base: list[float], own: list[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    questions = pd.concat([questions_of(["a"]), questions_of(["a"]).assign(lang="ko")], ignore_index=True)
    return scores_of(questions, [*base, *own]), questions


def published_rankc(first: list[float], second: list[float]) -> float:
    """RankC of one question as Qi et al. (2023) define it, without ties."""
    rankings = [sorted(range(len(values)), key=lambda i: -values[i]) for values in (first, second)]
    n = len(first)
    weights = np.exp(np.arange(n)[::-1]) / np.exp(np.arange(n)).sum()
    return sum(
        weight * len(set(rankings[0][:j]) & set(rankings[1][:j])) / j for j, weight in enumerate(weights, start=1)
    )


@settings(max_examples=40, deadline=None)
@given(st.permutations([-1.0, -2.0, -3.0, -4.0]), st.permutations([-1.0, -2.0, -3.0, -4.0]))
def test_consistency_is_rankc(first, second):
    row = consistency(*two_languages(first, second), subset="reference", base="en").iloc[0]
    assert row["rankc"] == pytest.approx(published_rankc(first, second))
    assert (row["culture"], row["n_questions"]) == ("ko", 1)
    orders = [list(order) for order in itertools.permutations(first)]
    assert row["chance"] == pytest.approx(np.mean([published_rankc(first, order) for order in orders]))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-2, 0), min_size=4, max_size=4), st.lists(st.integers(-2, 0), min_size=4, max_size=4))
def test_ties_count_as_lots_drawn_in_each_language(first, second):
    row = consistency(*two_languages(first, second), subset="reference", base="en").iloc[0]
    lots = list(itertools.permutations([0.0, 0.1, 0.2, 0.3]))
    every = [published_rankc(np.array(first) + a, np.array(second) + b) for a in lots for b in lots]
    assert row["rankc"] == pytest.approx(np.mean(every))


def test_an_empty_subset_is_an_error_and_no_average():
    questions = questions_of(["a", "bb"])
    scores = scores_of(questions, [-1.0] * 8)
    for ask in (
        lambda: accuracy(scores, questions, subset="clean"),
        lambda: baselines(questions, subset="clean"),
        lambda: consistency(scores, questions, subset="clean", base="en"),
    ):
        with pytest.raises(InputError, match="questions of ko: none of the 2 is in the subset 'clean'"):
            ask()


def test_a_model_without_step_arm_and_seed_is_decided_as_any_other():
    """A row whose key is missing would be lost by a plain grouping."""
    scores, questions = two_languages([-1.0, -2.0, -3.0, -4.0], [-2.0, -1.0, -3.0, -4.0])
    given = scores.assign(run="g", learned=None, arm=None, seed=None, step=None)
    both = pd.concat([given, scores])
    decided = accuracy(both, questions, subset="reference")
    assert decided.groupby("run")["credit"].apply(list).to_dict() == {"g": [1, 0], "r": [1, 0]}
    alike = consistency(both, questions, subset="reference", base="en").set_index("run")["rankc"]
    assert alike["g"] == alike["r"]
    assert histories(decided).groupby("run").size().to_dict() == {"g": 2, "r": 2}
    assert summarise(decided).groupby("run").size().to_dict() == {"g": 2, "r": 2}
    with pytest.raises(InputError, match="scores of g: 7 of the 8 options"):
        accuracy(given.iloc[1:], questions, subset="reference")
