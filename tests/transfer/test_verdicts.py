"""Verdicts on declared tests: known answers, and the level that one family of them keeps."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from declaring import declared_test
from lorebridge import declared, tables
from lorebridge.errors import InputError
from lorebridge.transfer import planted
from lorebridge.transfer.contrasts import ALL, BEYOND, SCALES, Contrast
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY, Sample, equivalence, holm, holm_exclusive
from lorebridge.transfer.verdicts import verdict_table, verdicts

NAME = "bridge - no_bridge"


def contrast(values, direction="en->xx", culture="ko", known=None):
    """A contrast whose gap, question by question, is `values`, shape (seeds, n)."""
    values = np.atleast_2d(values)
    n = values.shape[1]
    first = 0.5 + values[:, None] / 2
    return Contrast(
        culture=culture,
        direction=direction,
        name=NAME,
        clusters=np.arange(n),
        questions=[f"{culture}-{i:04d}" for i in range(n)],
        seeds=list(range(len(values))),
        steps=[0],
        first=first,
        second=1 - first,
        known=np.ones_like(values) if known is None else known,
        alike=np.zeros_like(values),
        last=1,
    )


def table_of(tests, contrasts, **more):
    formed = {("clean", "bare"): {NAME: {(c.culture, c.direction): c for c in contrasts}}}
    return verdict_table(tests, formed, alpha=0.05, **more).set_index("name")


def both(values, other=None, culture="ko"):
    """The same questions in both directions."""
    return [contrast(values, culture=culture), contrast(values if other is None else other, "xx->en", culture)]


def centred(mean, spread, n, seed=0):
    values = np.random.default_rng(seed).normal(size=n)
    return mean + spread * (values - values.mean()) / values.std(ddof=1)


def test_the_four_verdicts():
    gaps = {"far above": 0.2, "far below": -0.2, "near": 0.0, "wide": 0.0}
    langs = dict(zip(gaps, ("ko", "zh", "bo", "mn"), strict=True))
    tests = [declared_test(name=name, languages=[lang]) for name, lang in langs.items()]
    contrasts = [
        one
        for name, mean in gaps.items()
        for one in both(centred(mean, 2.0 if name == "wide" else 0.2, 400), culture=langs[name])
    ]
    found = table_of(tests, contrasts)
    assert found["verdict"].to_dict() == {
        "far above": "above",
        "far below": "below",
        "near": "equivalent",
        "wide": "undecided",
    }
    assert found["interval"].eq(QUESTIONS_ONLY).all() and found["n_questions"].eq(400).all()


def test_what_is_there_and_too_small_to_matter_is_equivalent_and_said():
    found = table_of([declared_test(name="a", margin=0.05)], both(centred(0.01, 0.02, 400))).loc["a"]
    assert found["verdict"] == "equivalent" and found["note"] == "above 0, by less than the margin"
    assert found["p_family"] < 0.001 and found["p_equivalent_family"] < 0.001


def test_two_one_sided_tests_are_those_of_student():
    values = centred(0.02, 0.3, 60)
    found = equivalence([Sample(values[None], np.arange(60))], [1.0], margin=0.1)
    sides = [stats.ttest_1samp(values, -0.1, alternative="greater"), stats.ttest_1samp(values, 0.1, alternative="less")]
    assert found == pytest.approx(max(side.pvalue for side in sides))
    assert equivalence([Sample(-values[None], np.arange(60))], [1.0], margin=0.1) == pytest.approx(found)
    assert equivalence([Sample(values[None], np.arange(60))], [0.5], margin=0.05) == pytest.approx(found)
    away = equivalence([Sample(values[None] + 1, np.arange(60))], [1.0], margin=0.1)
    assert away > 0.999


def test_within_the_margin_is_where_the_interval_of_90_percent_lies_within():
    from lorebridge.transfer.inference import infer

    for seed in range(40):
        rng = np.random.default_rng(seed)
        sample = Sample(rng.normal(0, 0.5, (3, 80)) + rng.normal(0, 0.02, (3, 1)), np.arange(80), [0, 1, 2])
        for over_seeds in (False, True):
            inside = infer([sample], [1.0], over_seeds=over_seeds, level=0.9)
            p = equivalence([sample], [1.0], margin=0.1, over_seeds=over_seeds)
            if abs(p - 0.05) > 1e-3:
                assert (p < 0.05) == (inside.lo > -0.1 and inside.hi < 0.1), seed


def test_languages_that_are_asked_the_same_facts_are_compared_question_by_question():
    """Student's t of the differences (scipy's, as a peer); by the sum of two languages the same facts count once."""
    rng = np.random.default_rng(4)
    of_fact = rng.normal(0, 0.3, 90)
    values = {lang: of_fact + mean + rng.normal(0, 0.05, 90) for lang, mean in (("ko", 0.1), ("zh", 0.05))}
    contrasts = [one for lang, of in values.items() for one in both(of, culture=lang)]
    tests = [
        declared_test(name="less", languages=["ko"], minus=["zh"]),
        declared_test(name="mean", languages=["ko", "zh"]),
    ]
    found = table_of(tests, contrasts, same_facts=True)
    peers = {
        "less": stats.ttest_rel(values["ko"], values["zh"]),
        "mean": stats.ttest_1samp((values["ko"] + values["zh"]) / 2, 0),
    }
    for name, peer in peers.items():
        interval = peer.confidence_interval(0.95)
        assert found.loc[name, ["p", "lo", "hi"]].to_list() == pytest.approx([peer.pvalue, *interval], rel=1e-6)
        assert found.loc[name, "n_clusters"] == 90
    apart = table_of(tests, contrasts)
    assert found.loc["less", "se"] < apart.loc["less", "se"] / 3
    assert found.loc["mean", "se"] > 1.3 * apart.loc["mean", "se"]
    assert found["estimate"].to_list() == pytest.approx(apart["estimate"].to_list())


def test_languages_of_other_facts_are_not_compared_question_by_question():
    contrasts = [*both(centred(0.1, 0.1, 50)), *both(centred(0.3, 0.1, 80), culture="zh")]
    with pytest.raises(InputError, match=r"'less'.*other questions"):
        table_of([declared_test(name="less", languages=["ko"], minus=["zh"])], contrasts, same_facts=True)


def test_languages_are_weighed_alike_and_others_subtracted():
    contrasts = [*both(centred(0.1, 0.1, 50)), *both(centred(0.3, 0.1, 80), culture="zh")]
    contrasts += both(centred(0.05, 0.1, 40), culture="bo")
    tests = [
        declared_test(name="mean", languages=["ko", "zh"]),
        declared_test(name="less", languages=["ko", "zh"], minus=["bo"]),
    ]
    found = table_of(tests, contrasts)
    assert found["estimate"].to_dict() == pytest.approx({"mean": 0.2, "less": 0.15})
    assert found["n_questions"].to_dict() == {"mean": 130, "less": 170}


def test_the_directions_are_compared_question_by_question():
    shared = centred(0, 1.0, 60)
    into, out = 0.3 + 0.1 * shared, 0.1 + 0.1 * shared
    found = table_of([declared_test(name="d", direction="xx->en - en->xx")], both(out, into)).loc["d"]
    assert found["estimate"] == pytest.approx(0.2) and found["se"] == pytest.approx(0, abs=1e-12)
    assert found["verdict"] == "above" and found["n_questions"] == 60


def test_scales_and_questions_are_those_declared():
    values = np.r_[np.full(10, 0.2), np.full(30, -0.1)]
    known = np.r_[np.ones(10), np.zeros(30)][None]
    made = [dataclasses.replace(one, known=known) for one in both(values)]
    tests = [
        declared_test(name="all"),
        declared_test(name="unleaked", among="unleaked"),
        declared_test(name="risk", scale=BEYOND),
    ]
    found = table_of(tests, made, told={f"ko-{i:04d}" for i in range(10)})
    assert found["estimate"].to_dict() == pytest.approx(
        {"all": (2 - 3) / 40, "unleaked": -0.1, "risk": 0.2 / (1 - 0.4)}
    )
    assert found.loc["unleaked", "n_questions"] == 30


def test_where_a_fact_stands():
    values = np.r_[np.full(10, 0.3), np.full(10, 0.1), np.full(10, -0.5)]
    where = ["en_only"] * 10 + ["neither"] * 10 + ["both"] * 10
    placed = pd.DataFrame({"placed": where, "covered": True}, index=[f"ko-{i:04d}" for i in range(30)])
    tests = [declared_test(name=among, among=among) for among in ("source only", "neither", "source only - neither")]
    found = table_of(tests, both(values), placed=placed)
    assert found["estimate"].tolist() == pytest.approx([0.3, 0.1, 0.2])
    assert found["n_questions"].tolist() == [10, 10, 20]
    into = table_of([declared_test(name="a", direction="xx->en", among="source only")], both(values), placed=placed)
    assert into["verdict"].tolist() == ["undecided"] and into["note"].tolist() == ["nothing was asked or at risk"]


def test_gaps_of_all_questions_alone_have_bounds():
    one = contrast(centred(0.1, 0.2, 30))
    placed = pd.Series(["en_only"] * 20 + ["neither"] * 10)
    bounds = {scale: {s.bounds for s in planted.samples(one, scale, placed).values()} for scale in SCALES}
    assert bounds == {scale: {(-1.0, 1.0) if scale == ALL else None} for scale in SCALES}


def test_over_seeds_the_margin_is_tested_over_seeds():
    rng = np.random.default_rng(1)
    values = centred(0, 0.2, 300)[None] + rng.normal(0, 0.04, (5, 1))
    tests = [declared_test(name="models"), declared_test(name="arms", over_seeds=True)]
    found = table_of(tests, both(values))
    assert found["interval"].tolist() == [QUESTIONS_ONLY, QUESTIONS_AND_SEEDS] and found["n_seeds"].eq(5).all()
    assert found.loc["arms", "p_equivalent"] > found.loc["models", "p_equivalent"]
    with pytest.raises(InputError, match=r"the test 'arms': asks for other seeds.*Train them from two seeds"):
        table_of(tests, both(values[:1]))
    with pytest.raises(InputError, match=r"the arms of bridge - no_bridge have no seed in common in zh"):
        table_of([declared_test(languages=["ko", "zh"])], both(values))


# ---------------------------------------------------------------- one family

P = st.floats(0, 1)


@given(st.lists(P, min_size=1, max_size=6))
def test_without_margins_the_family_is_that_of_holm(p):
    first = pd.Series(p)
    alone, nothing = holm_exclusive(first, pd.Series(np.nan, first.index))
    assert alone.to_numpy() == pytest.approx(holm(first).to_numpy()) and nothing.isna().all()


def by_closure(pairs):
    """Adjusted p-values by closed testing: every set of hypotheses that may be true at once, by Bonferroni."""
    import itertools

    adjusted = np.zeros(pairs.shape)
    for choice in itertools.product((None, 0, 1), repeat=len(pairs)):
        chosen = [(i, c) for i, c in enumerate(choice) if c is not None]
        if chosen:
            p = min(1.0, len(chosen) * min(pairs[place] for place in chosen))
            for place in chosen:
                adjusted[place] = max(adjusted[place], p)
    return adjusted


@given(st.lists(st.tuples(P, P), min_size=1, max_size=4))
def test_the_family_is_the_closure_of_what_may_be_true_at_once(pairs):
    pairs = np.array(pairs)
    first, second = holm_exclusive(pd.Series(pairs[:, 0]), pd.Series(pairs[:, 1]))
    assert np.stack([first, second], axis=1) == pytest.approx(by_closure(pairs))


def test_one_test_alone_is_tested_twice_at_the_whole_level():
    first, second = holm_exclusive(pd.Series([0.04]), pd.Series([0.03]))
    assert first[0] == pytest.approx(0.04) and second[0] == pytest.approx(0.03)


def wrong(verdict, mean, margin):
    """Whether a verdict on a true mean is wrong."""
    return {"above": mean <= 0, "below": mean >= 0, "equivalent": abs(mean) >= margin, "undecided": False}[verdict]


STUDIES = 200


@pytest.mark.parametrize(
    "means",
    [(0.05,), (0.0,), (0.0,) * 4, (0.05,) * 4, (0.05, 0.0, -0.05, 0.0)],
    ids=["the margin", "nothing", "four of nothing", "four at the margin", "both"],
)
def test_no_family_is_wrong_more_often_than_it_says(means):
    """At the margin exactly equivalence, and at nothing a difference, is claimed in 5 % of families at most."""
    rng = np.random.default_rng(7)
    langs = ("ko", "zh", "bo", "mn")[: len(means)]
    tests = [declared_test(name=lang, languages=[lang]) for lang in langs]
    mistakes = 0
    for _ in range(STUDIES):
        contrasts = [
            one
            for lang, mean in zip(langs, means, strict=True)
            for one in both(rng.normal(mean, 0.2, 150), culture=lang)
        ]
        found = table_of(tests, contrasts)["verdict"]
        mistakes += any(wrong(found[lang], mean, 0.05) for lang, mean in zip(langs, means, strict=True))
    # 5 % of 200 families, and twice the Monte-Carlo error.
    assert mistakes / STUDIES <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / STUDIES), mistakes


# ---------------------------------------------------------------- the table


def test_the_table_says_how_the_declaration_stands_to_the_runs(
    tmp_path, write_questions, write_scores, write_leaks, unlike
):
    n = 40
    arms = {"bridge": 30, "no_bridge": 10}
    scores = [
        write_scores("ko", arm, seed, [0, 10], ["en", "ko"], n, lambda a, s, step, _: np.arange(n) < (step and arms[a]))
        for arm in arms
        for seed in (0, 1)
    ]
    tests = [declared_test(languages=["ko"])]
    given = {
        "scores": scores,
        "questions": {"ko": write_questions("ko", {"en": unlike(n), "ko": unlike(n, 1)})},
        "leaks": write_leaks({"ko": n}, set()),
        "base": "en",
        "rule": "mean",
        "last": 1,
        "alpha": 0.05,
        "first": str(tmp_path / "declared.json"),
        "out": tmp_path / "verdicts.parquet",
    }
    notes = verdicts(**given, tests=tests)
    assert notes == {"declared": declared.UNKNOWN, "runs_began": ""}
    declared.begin(given["first"], {"tests": tests, "alpha": 0.05, "rule": "mean", "last": 1})
    notes = verdicts(**given, tests=tests)
    table = tables.read(given["out"])
    assert list(table.columns) == tables.SCHEMAS["verdicts"].names
    row = table.iloc[0]
    assert (row["declared"], row["verdict"], row["estimate"]) == (declared.BEFORE, "above", pytest.approx(0.5))
    assert notes["runs_began"]
    truth = [{"question_id": f"ko-{i:04d}", "placed": "en_only"} for i in range(n)]
    tables.write("truth", truth, tmp_path / "truth.parquet")
    verdicts(**given, tests=tests, truth=tmp_path / "truth.parquet")
    assert tables.read(given["out"])["estimate"].tolist() == [pytest.approx(0.5)]
    tables.write("truth", truth[:-3], tmp_path / "truth.parquet")
    with pytest.raises(InputError, match=r"truth.parquet: lacks 3 questions \(ko-0037\)"):
        verdicts(**given, tests=tests, truth=tmp_path / "truth.parquet")
    verdicts(**given, tests=[declared_test(languages=["ko"], margin=0.2)])
    assert tables.read(given["out"])["declared"].tolist() == [declared.SINCE]
