"""The item model: guesses and their echoes weigh nothing, what crosses comes out, a slope only where there is one."""

import dataclasses
import importlib.util
import itertools
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY
from lorebridge.transfer.item_model import (
    COLUMNS,
    CROSSED,
    ECHO,
    KNOWN,
    NEVER,
    QUANTITIES,
    RELATIVE,
    SLOPE,
    UNKNOWN,
    Answers,
    effects,
    item_effects,
)


@pytest.fixture(scope="module")
def calibration(root):
    spec = importlib.util.spec_from_file_location("calibration", root / "benchmarks" / "calibration.py")
    module = sys.modules["calibration"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answers(source, target, gold, n_options):
    """Answers of one question in each row: chosen options (rows,), the same target answers in both arms."""
    options = np.eye(max(n_options, 4))
    return Answers(
        lang="ko",
        seeds=[0],
        questions=[str(i) for i in range(len(source))],
        clusters=np.arange(len(source)),
        gold=options[gold].astype(bool),
        n_options=np.full(len(source), n_options),
        source=options[source][None],
        bridge=options[target][None],
        no_bridge=options[target][None],
        counts={name: np.zeros((1, len(source))) for name in COLUMNS},
    )


@given(
    st.lists(st.integers(1, 9), min_size=3, max_size=5),
    st.lists(st.integers(1, 9), min_size=5, max_size=5),
    st.floats(0, 1),
)
def test_what_is_not_known_has_mean_0_whatever_is_attractive_and_however_often_a_guess_is_repeated(there, here, echo):
    """Over all choices in both languages, by their chances, and with any option as likely to be the gold as another."""
    k = len(there)
    before, after = np.array(there) / sum(there), np.array(here[:k]) / sum(here[:k])
    x, z, gold = np.array(list(itertools.product(range(k), repeat=3))).T
    chance = before[x] * (echo * (x == z) + (1 - echo) * after[z]) / k
    one = answers(x, z, gold, k)
    assert chance.sum() == pytest.approx(1)
    assert one.known()[0] @ chance == pytest.approx(0, abs=1e-12)
    assert one.credited(one.bridge)[0] @ chance == pytest.approx(0, abs=1e-12)
    # Where options are equally attractive, the excess of repeated wrong options says how often guesses are repeated.
    even = (echo * (x == z) + (1 - echo) / k) / k**2
    assert one.repeated(one.bridge)[0] @ even == pytest.approx(echo / k)


@given(
    st.lists(st.integers(1, 9), min_size=4, max_size=5),
    st.lists(st.integers(1, 9), min_size=5, max_size=5),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_of_what_is_new_nothing_has_mean_0_whatever_is_kept_of_guesses(there, here, echo, kept):
    """Over all choices in the source, before and at the end, any option as likely to be the gold as another.

    An arm repeats a share of the source's guesses, and of the rest a share of the earlier model's.
    """
    k = len(there)
    source, target = np.array(there) / sum(there), np.array(here[:k]) / sum(here[:k])
    x, b, z, gold = np.array(list(itertools.product(range(k), repeat=4))).T
    end = echo * (z == x) + (1 - echo) * (kept * (z == b) + (1 - kept) * target[z])
    chance = source[x] * target[b] * end / k
    one = answers(x, z, gold, k)
    before = np.eye(max(k, 4))[b][None]
    new = one.since(before)
    left = b != gold
    assert chance.sum() == pytest.approx(1) and new.asked.all() and len(new.questions) == left.sum()
    for value in (new.known(), new.right(new.bridge), new.credited(new.bridge)):
        assert value[0] @ chance[left] == pytest.approx(0, abs=1e-12)


def test_of_what_is_new_a_known_fact_counts_by_how_it_is_answered():
    """Known in the source, wrong before (option 3): of the rest, chance is half a wrong option of two."""
    one = answers(np.zeros(5, int), np.arange(5) % 4, np.zeros(5, int), 4)
    before = np.eye(4)[[3, 3, 3, 3, 0]][None]
    new = one.since(before)
    assert new.questions == ["0", "1", "2", "3"]  # the fifth was right
    assert new.known().tolist() == [[1, 1, 1, 1]]
    assert new.credited(new.bridge).tolist() == [[1, -0.5, -0.5, 0]]


def test_a_question_counts_for_the_seeds_that_had_it_wrong():
    one = answers(np.zeros(2, int), np.zeros(2, int), np.zeros(2, int), 4)
    double = {name: np.repeat(getattr(one, name), 2, axis=0) for name in ("source", "bridge", "no_bridge")}
    two = dataclasses.replace(
        one, seeds=[0, 1], **double, counts={n: np.repeat(c, 2, 0) for n, c in one.counts.items()}
    )
    tie = [0, 0.5, 0.5, 0], [0.5, 0.5, 0, 0]  # two wrong ones leave too few, and the gold among them is not wrong
    new = two.since(np.stack([np.eye(4)[[3, 0]], np.eye(4)[[1, 2]]]))
    assert new.asked.tolist() == [[1, 0], [1, 1]] and new.known().tolist() == [[1, 0], [1, 1]]
    assert new.of(np.array([False, True])).asked.tolist() == [[0], [1]]
    assert two.since(np.stack([np.array(tie), np.array(tie)])).questions == []


def test_what_the_base_model_knew_and_one_arm_keeps_did_not_cross(calibration, monkeypatch):
    """Into the base language, nothing crosses; the bridge keeps .7 of what was known before, the other arm .3."""
    world = calibration.Crossing(0.0, kept=(0.7, 0.3), questions={"ko": 12000, "bo": 8000})
    found = estimates([calibration.answered(world, np.random.default_rng(1))])
    # What was known before and answered wrong by a slip (5 %) is all that is left of it.
    assert found.loc[CROSSED, "estimate"] == pytest.approx(0.01, abs=0.02)
    assert found.loc[SLOPE, "estimate"] == pytest.approx(0, abs=0.02)
    monkeypatch.setattr(Answers, "since", lambda self, before: self)
    every = estimates([calibration.answered(world, np.random.default_rng(1))])
    assert every.loc[CROSSED, "estimate"] > 0.2


def test_what_is_known_though_never_read_is_told_beside_the_slope(calibration):
    world = calibration.Crossing(0.15, questions={"ko": 3000, "bo": 2000})
    fair, attractive = (
        effects(calibration.answered(dataclasses.replace(world, favoured=favoured), np.random.default_rng(2)))
        for favoured in (1.0, 1.5)
    )
    for table, note in ((fair, ""), (attractive, "never read, known: 1")):
        rows = table[(table["count"] == "occurrences") & (table["interval"] == QUESTIONS_ONLY)].set_index("quantity")
        assert rows.loc[SLOPE, "note"].startswith(note) and bool(note) == bool(rows.loc[SLOPE, "note"])
        assert (rows.loc[NEVER, "lo"] > 0) == bool(note)
    with_seeds = attractive[(attractive["interval"] == QUESTIONS_AND_SEEDS) & (attractive["quantity"] == SLOPE)]
    assert with_seeds["note"].str.startswith("2 seeds: wide").all()
    assert with_seeds.loc[with_seeds["count"] == "occurrences", "note"].str.contains("; never read").all()


def test_what_is_known_counts_as_answered():
    """A known fact is right in the source: its credit is that of the target, for wrong options are not taken."""
    one = answers(np.zeros(4, int), np.arange(4), np.zeros(4, int), 4)
    assert one.known().tolist() == [[1, 1, 1, 1]]
    assert one.credited(one.bridge).tolist() == [[1, 0, 0, 0]]
    assert one.at_risk().tolist() == [[0, 1, 1, 1]]


def estimates(studies):
    rows = pd.concat([effects(one).assign(study=i) for i, one in enumerate(studies)])
    return rows[(rows["count"] == "occurrences") & (rows["interval"] == QUESTIONS_ONLY)].set_index("quantity")


def many(calibration, world, studies):
    world = dataclasses.replace(world, questions={"ko": 600, "bo": 400})
    return estimates([calibration.answered(world, np.random.default_rng([7, i]), seeds=1) for i in range(studies)])


@pytest.mark.parametrize("echo", [0.0, 0.5])
def test_what_was_planted_comes_out(calibration, echo):
    world = calibration.Crossing(0.3, slope=0.08, echo=echo)
    world = dataclasses.replace(world, questions={"ko": 12000, "bo": 8000})
    found = estimates([calibration.answered(world, np.random.default_rng(1))])
    assert found.loc[SLOPE, "lo"] < 0.08 < found.loc[SLOPE, "hi"] and found.loc[SLOPE, "p"] < 1e-4
    assert found.loc[SLOPE, "estimate"] == pytest.approx(0.08, abs=0.03)
    assert found.loc[UNKNOWN, "estimate"] == pytest.approx(0, abs=0.02)
    assert found.loc[KNOWN, "estimate"] == pytest.approx(0.25, abs=0.05)
    assert found.loc[ECHO, "estimate"] == pytest.approx(
        0.7 * echo, abs=0.03
    )  # others are drawn anew, or known in the target
    assert found.loc[RELATIVE, "estimate"] == pytest.approx(
        found.loc[SLOPE, "estimate"] / found.loc[CROSSED, "estimate"]
    )
    assert found.loc[RELATIVE, "lo"] < found.loc[RELATIVE, "estimate"] < found.loc[RELATIVE, "hi"]


@pytest.mark.parametrize(("crossing", "echo"), [(0.0, 0.0), (0.3, 0.0), (0.15, 0.3)])
def test_no_slope_is_found_where_frequency_decides_what_is_known_and_not_what_crosses(calibration, crossing, echo):
    found = many(calibration, calibration.Crossing(crossing, echo=echo), 60)
    assert (found.loc[SLOPE, "p"] <= 0.05).sum() <= 8  # 3 are expected, standard deviation 1.7
    error = found.loc[SLOPE, "estimate"].std() / np.sqrt(60)
    assert abs(found.loc[SLOPE, "estimate"].mean()) < 3 * error
    assert found.loc[CROSSED, "estimate"].mean() == pytest.approx(crossing, abs=0.05)


def test_errors_are_robust_to_clusters(calibration):
    study = calibration.answered(calibration.Crossing(0.3, questions={"ko": 400}), np.random.default_rng(3))
    [once] = study
    again = once.of(np.tile(np.arange(400), 5))  # the same questions again: nothing more is known
    one, five = estimates([[once]]), estimates([[again]])
    assert five.loc[SLOPE, "estimate"] == pytest.approx(one.loc[SLOPE, "estimate"])
    assert five.loc[SLOPE, "se"] == pytest.approx(one.loc[SLOPE, "se"])


def test_a_language_that_only_guesses_is_left_out_and_alone_gives_nothing(calibration):
    world = calibration.Crossing(0.3, questions={"ko": 400, "bo": 250})
    ko, bo = calibration.answered(world, np.random.default_rng(4))
    ignorant = dataclasses.replace(bo, source=np.full_like(bo.source, 0.25))
    both, alone = effects([ko, ignorant]), effects([ignorant])
    assert {tuple(langs) for langs in both.loc[both["count"] == "occurrences", "langs"]} == {("ko",)}
    assert (both.loc[both["count"] == "occurrences", "left_out"] == 250).all()
    assert alone["estimate"].isna().all() and alone["quantity"].unique().tolist() == list(QUANTITIES)
    assert set(both["interval"]) == {QUESTIONS_ONLY, QUESTIONS_AND_SEEDS}


def test_counts_that_do_not_vary_and_few_known_have_no_slope(calibration):
    [ko] = calibration.answered(calibration.Crossing(0.3, questions={"ko": 400}), np.random.default_rng(5))
    constant = dataclasses.replace(ko, counts=dict.fromkeys(COLUMNS, np.full((2, 400), 3.0)))
    found = estimates([[constant]])
    assert np.isnan(found.loc[SLOPE, "estimate"]) and found.loc[CROSSED, "lo"] > 0
    # Half of the counts are missing: the rest is told.
    missing = ko.counts["occurrences_source"].copy()
    missing[0, ::2] = np.nan
    half = estimates([[dataclasses.replace(ko, counts={**ko.counts, "occurrences_source": missing})]])
    assert half.loc[SLOPE, "left_out"] == 200 and half.loc[SLOPE, "n_questions"] == 200
    few = estimates([[ko.of(np.arange(400) < 12)]])
    assert np.isnan(few.loc[SLOPE, "estimate"])


N, STEPS = 120, [0, 10, 20, 30]


@pytest.fixture
def study(write_questions, write_scores, unlike, write_leaks, tmp_path):
    """Known in English: two thirds, a quarter of the rest is guessed. What was read often crosses to Korean at once."""
    known, often = np.arange(N) % 3 > 0, np.arange(N) % 2 == 0
    guessed = ~known & np.isin(np.arange(N) // 3 % 8, [0, 3])

    def right(arm, seed, step, lang):
        if lang == "en":
            return known | guessed
        return known & often & (arm == "bridge") & (step > 0)

    cells = itertools.product(["en->xx", "xx->en"], [0, 1], range(N))
    items = pd.DataFrame(cells, columns=["direction", "seed", "i"])
    items = items.assign(
        selection="risk",
        prefix="bare",
        wrong_as_gold=0.0,
        lang="ko",
        question_id=[f"ko-{i:04d}" for i in items["i"]],
        cluster=items["i"],
        **dict.fromkeys(("known", "answered", "answered_without", "in_risk_set", "transferred", "swapped"), False),
        **dict.fromkeys(("occurrences_target", "presentations_target"), items["i"] % 5),
        **dict.fromkeys(("occurrences_source", "presentations_source"), np.where(often, 15.0, 1.0)[items["i"]]),
    )
    tables.write("items", items.drop(columns="i"), tmp_path / "items.parquet")
    return {
        "transferred": tmp_path / "items.parquet",
        "scores": [
            write_scores("ko", arm, seed, STEPS, ["en", "ko"], N, right)
            for arm in ("bridge", "no_bridge")
            for seed in (0, 1)
        ],
        "questions": {"ko": write_questions("ko", {"en": unlike(N), "ko": unlike(N, 1)})},
        "leaks": write_leaks({"ko": N}, {f"ko-{i:04d}" for i in range(0, N, 4)}),
        "base": "en",
        "subset": "clean",
        "rule": "mean",
        "prefix": "bare",
        "last": 3,
        "out": tmp_path / "effects.parquet",
    }


def test_the_table_of_a_study(study):
    notes = item_effects(**study)
    assert notes["ko en->xx"] == {"questions": N, "unusable": 0}
    table = tables.read(study["out"])
    told = table[(table["interval"] == QUESTIONS_ONLY) & (table["direction"] == "en->xx")]
    found = told[~told["unleaked"] & (told["count"] == "presentations")].set_index("quantity")
    assert found.loc[CROSSED, "estimate"] == pytest.approx(0.5, abs=0.05)
    assert found.loc[SLOPE, "estimate"] == pytest.approx(1 / 3, abs=0.02)  # from 0 to all over three doublings
    without = told[told["unleaked"] & (told["count"] == "presentations")]
    assert (without["n_questions"] == N - N // 4).all()
    # Nobody answers in Korean without the bridge, and all that is known with it is known in English, too.
    assert table[table["direction"] == "xx->en"]["quantity"].nunique() == len(QUANTITIES)


def test_options_in_another_order_are_left_out(study):
    path = study["questions"]["ko"]
    questions = tables.read(path)
    swapped = (questions["lang"] == "ko") & (questions["question_id"] == "ko-0001") & (questions["option_index"] < 2)
    questions.loc[swapped, "is_gold"] = ~questions.loc[swapped, "is_gold"]
    tables.write("questions", questions, path)
    assert item_effects(**study)["ko en->xx"] == {"questions": N - 1, "unusable": 1}


def test_items_of_other_scores_are_refused(study):
    with pytest.raises(InputError, match=r"items of ko that models of the arm bridge were not asked"):
        item_effects(**(study | {"scores": study["scores"][1:]}))
    with pytest.raises(InputError, match="items of ko, whose questions are not given"):
        item_effects(**(study | {"questions": {}}))
