"""Gaps on people against a known truth: in points, as a share, against culture; and intervals that cover."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer.contrasts import Contrast
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY, Sample, infer
from lorebridge.transfer.people import (
    CULTURE,
    DIFFERENCE,
    EVERY,
    PEOPLE,
    _rows,
    compare,
    fieller,
    gap_table,
    measure,
    people_gaps,
)

ATTRIBUTES = ("birthplace", "citizenship", "occupation")


def contrast(first, second, *, lang="ko", people=False, clusters=None) -> Contrast:
    """A contrast of credits (seeds, n) that are the same at its only checkpoint."""
    n = first.shape[1]
    names = (
        [f"people-Q{i // 3}-{ATTRIBUTES[i % 3]}" for i in range(n)] if people else [f"{lang}-{i:04d}" for i in range(n)]
    )
    if clusters is None:
        clusters = np.arange(n) // 3 if people else np.arange(n)
    return Contrast(
        lang,
        "en->xx",
        "bridge - no_bridge",
        clusters,
        names,
        list(range(len(first))),
        [0],
        first[:, None],
        second[:, None],
        first,
        None,
        1,
    )


def draw(rng, accuracy, gap, *, n, seeds=2, size=3, seed_sd=0.0):
    """Credits of two arms in clusters that share how hard they are; the mean gap is `gap`, seed by seed about it."""
    hard = np.repeat(rng.normal(0, 0.2, -(-n // size)), size)[:n]
    shift = np.repeat(rng.normal(0, 0.1, -(-n // size)), size)[:n]
    of_seed = rng.normal(0, seed_sd, (seeds, 1))
    second = accuracy + hard + rng.normal(0, 0.2, (seeds, n))
    return second + gap + shift + of_seed + rng.normal(0, 0.2, (seeds, n)), second


def key(table, questions, lang="ko", attribute=EVERY, interval=QUESTIONS_AND_SEEDS):
    found = table[
        (table["questions"] == questions)
        & (table["lang"] == lang)
        & (table["attribute"] == attribute)
        & (table["interval"] == interval)
    ]
    assert len(found) == 1
    return found.iloc[0]


def test_estimates_are_what_they_are_called():
    rng = np.random.default_rng(0)
    people = {lang: draw(rng, 0.4, 0.1, n=300) for lang in ("ko", "bo")}
    culture = {lang: draw(rng, 0.3, 0.05, n=200, size=1) for lang in ("ko", "bo")}
    table = gap_table(
        {("bridge - no_bridge", lang): contrast(*c, lang=lang, people=True) for lang, c in people.items()},
        {("bridge - no_bridge", lang): contrast(*c, lang=lang) for lang, c in culture.items()},
    )
    gap = {lang: (first - second).mean() for lang, (first, second) in people.items()}
    of_culture = {lang: (first - second).mean() for lang, (first, second) in culture.items()}
    for lang in ("ko", "bo"):
        row = key(table, PEOPLE, lang)
        assert row["gap"] == pytest.approx(gap[lang])
        assert row["relative"] == pytest.approx(gap[lang] / people[lang][1].mean())
        assert (row["n_questions"], row["n_clusters"], row["n_seeds"]) == (300, 100, 2)
        assert key(table, CULTURE, lang)["gap"] == pytest.approx(of_culture[lang])
        row = key(table, DIFFERENCE, lang)
        assert row["gap"] == pytest.approx(gap[lang] - of_culture[lang])
        assert row["relative"] == pytest.approx(gap[lang] / of_culture[lang] - 1)
        first, second = (credits[:, 1::3] for credits in people[lang])
        assert key(table, PEOPLE, lang, "citizenship")["gap"] == pytest.approx((first - second).mean())
        assert key(table, PEOPLE, lang, "citizenship")["n_questions"] == 100
    row = key(table, DIFFERENCE, EVERY)
    assert row["gap"] == pytest.approx(np.mean(list(gap.values())) - np.mean(list(of_culture.values())))
    assert row["relative"] == pytest.approx(sum(gap.values()) / sum(of_culture.values()) - 1)
    assert (table["relative_lo"] <= table["relative"]).all()
    assert (table["relative"] <= table["relative_hi"]).all()


def test_a_person_is_the_unit():
    """Three questions that a person's luck decides alike are worth one: the interval is wider by the root of three."""
    rng = np.random.default_rng(1)
    gap = np.repeat(rng.normal(0.1, 0.3, (1, 400)), 3, axis=1)
    second = np.full(gap.shape, 0.5)
    culture = contrast(second[:, :50], second[:, :50] * 0.9)
    widths = [
        np.subtract(
            *key(
                gap_table(
                    {("bridge - no_bridge", "ko"): contrast(second + gap, second, people=True, clusters=clusters)},
                    {("bridge - no_bridge", "ko"): culture},
                ),
                PEOPLE,
                interval=QUESTIONS_ONLY,
            )[["hi", "lo"]]
        )
        for clusters in (np.arange(1200) // 3, np.arange(1200))
    ]
    assert widths[0] / widths[1] == pytest.approx(3**0.5, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("seed_sd", "interval"), [(0.0, QUESTIONS_ONLY), (0.04, QUESTIONS_AND_SEEDS)])
def test_intervals_cover_the_truth(seed_sd, interval):
    """Of the gap on people, its share, the difference from culture and the gaps' ratio: 95 % of 150 studies, ± 2."""
    rng = np.random.default_rng(2)
    studies = 150
    truth = {(PEOPLE, "gap"): 0.12, (PEOPLE, "relative"): 0.3, (DIFFERENCE, "gap"): 0.02, (DIFFERENCE, "relative"): 0.2}
    covered, told = dict.fromkeys(truth, 0), 0
    for _ in range(studies):
        of_seed = rng.normal(0, seed_sd, (6, 1))
        first, second = draw(rng, 0.4, 0.12, n=240, seeds=6)
        people = contrast(first + of_seed, second, people=True)
        first, second = draw(rng, 0.3, 0.10, n=120, seeds=6, size=1)
        culture = contrast(first + of_seed, second)
        measures = {PEOPLE: measure(people, np.full(240, True)), DIFFERENCE: compare(people, culture)}
        rows = {kind: {row["interval"]: row for row in _rows({"ko": one})}[interval] for kind, one in measures.items()}
        for questions, what in truth:
            names = ("lo", "hi") if what == "gap" else ("relative_lo", "relative_hi")
            lo, hi = (rows[questions][name] for name in names)
            # Where the denominator is not told from 0 no ratio is excluded.
            covered[questions, what] += bool(np.isnan(lo) or lo <= truth[questions, what] <= hi)
        told += not np.isnan(rows[DIFFERENCE]["relative_lo"])
    rates = {name: n / studies for name, n in covered.items()}
    assert all(0.9 <= rate <= 0.995 for rate in rates.values()), rates
    assert told > 0.8 * studies


def test_the_ratio_is_that_of_fiellers_formula():
    """With one seed and one cluster a question it is the textbook's quadratic, but for degrees of freedom."""
    rng = np.random.default_rng(3)
    n = 4000
    top, bottom = rng.normal(0.2, 1, n), rng.normal(0.4, 1, n)
    clusters = np.arange(n)
    ratio = top.mean() / bottom.mean()
    denominator = infer([Sample(bottom[None], clusters)], [1.0])
    lo, hi = fieller(ratio, lambda r: infer([Sample((top - r * bottom)[None], clusters)], [1.0]), denominator)
    t = 1.9605
    covariance = np.cov(top, bottom) / n
    a = bottom.mean() ** 2 - t**2 * covariance[1, 1]
    b = -2 * (top.mean() * bottom.mean() - t**2 * covariance[0, 1])
    c = top.mean() ** 2 - t**2 * covariance[0, 0]
    assert sorted(np.roots([a, b, c])) == pytest.approx([lo, hi], rel=1e-3)


def test_the_ratio_has_no_interval_where_its_denominator_may_be_nothing():
    rng = np.random.default_rng(4)
    bottom = rng.normal(0.0, 1, 100)
    denominator = infer([Sample(bottom[None], np.arange(100))], [1.0])
    assert np.isnan(fieller(1.0, lambda r: denominator, denominator)).all()


def test_models_that_differ_alike_everywhere_have_a_ratio_and_no_interval():
    same = np.full((1, 6), 0.5)
    table = gap_table(
        {("bridge - no_bridge", "ko"): contrast(same * 1.2, same, people=True)},
        {("bridge - no_bridge", "ko"): contrast(same * 1.1, same)},
    )
    row = key(table, PEOPLE, interval=QUESTIONS_ONLY)
    assert row["relative"] == pytest.approx(0.2) and row[["relative_lo", "relative_hi"]].isna().all()
    assert row["lo"] < row["gap"] < row["hi"] and row["note"] == "no cluster differs from another"


@pytest.fixture
def study(tmp_path, write_questions, write_scores, unlike):
    """Two languages, two seeds, 24 questions on people and 20 on culture with a known truth; written as tables."""
    rng = np.random.default_rng(5)
    people, culture, of_people, of_culture = {}, {}, [], []
    for lang in ("ko", "bo"):
        culture[lang] = write_questions(lang, {"en": unlike(20), lang: unlike(20, 1)})
        asked = tables.read(culture[lang])
        ids = {f"{lang}-{i:04d}": f"people-Q{i // 2}-{ATTRIBUTES[i % 2]}" for i in range(24)}
        rows = asked[asked["question_id"].isin(list(ids)[:20])].copy()
        extra = asked[asked["question_id"].isin(list(ids)[:4])].copy()
        extra["question_id"] = extra["question_id"].str.replace("-000", "-002")
        rows = pd.concat([rows, extra], ignore_index=True).assign(culture="people")
        rows["question_id"] = rows["question_id"].map(ids)
        left_out = rows["question_id"].str.startswith("people-Q0-")
        rows["subset"] = [["reference"] if out else ["reference", "clean"] for out in left_out]
        people[lang] = tmp_path / "people" / f"{lang}.parquet"
        tables.write("questions", rows, people[lang])
        for arm in ("bridge", "no_bridge"):
            for seed in (0, 1):
                rate = 0.7 if arm == "bridge" else 0.4
                wins = rng.random(24) < rate
                path = write_scores(lang, arm, seed, [0, 2], ["en", lang], 24, lambda *_, wins=wins: wins)
                scored = tables.read(path)
                theirs = scored.assign(culture="people", question_id=scored["question_id"].map(ids))
                of_people.append(tmp_path / "people" / path.name)
                tables.write("scores", theirs, of_people[-1])
                tables.write("scores", scored[scored["question_id"] < f"{lang}-0020"], path)
                of_culture.append(path)
    return {
        "scores": of_culture,
        "questions": culture,
        "people_scores": of_people,
        "people_questions": people,
        "base": "en",
        "contrasts": [["bridge", "no_bridge"]],
        "rule": "mean",
        "prefix": "bare",
        "last": 1,
        "out": tmp_path / "gaps.parquet",
    }


@pytest.mark.parametrize(("subset", "n"), [("clean", 22), ("strict", 22), ("reference", 24)])
def test_the_table_is_made_from_scores(study, subset, n):
    """People whom the other language names count only in the whole set; there is no stricter set than the clean one."""
    notes = people_gaps(**study, subset=subset)
    table = tables.read(study["out"])
    assert notes == {lang: {"questions": n, "people": n // 2} for lang in ("ko", "bo")}
    assert set(table["questions"]) == {PEOPLE, CULTURE, DIFFERENCE}
    assert set(table["attribute"]) == {EVERY, "birthplace", "citizenship"}
    row = key(table, PEOPLE)
    assert (row["n_questions"], row["n_clusters"]) == (n, n // 2)
    assert row["gap"] == pytest.approx(row["accuracy"] - row["accuracy_reference"])
    assert (table["subset"] == subset).all()


def test_arms_that_were_not_run_are_an_error(study):
    with pytest.raises(InputError, match="contrasts"):
        people_gaps(**study | {"contrasts": [["bridge", "placebo"]]}, subset="clean")
