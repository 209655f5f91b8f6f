"""Differences between levels of removal: by hand, on planted truth, at the margin, and where nothing was removed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer.clusters import ClusterBootstrap
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY, Sample, infer, one_sided
from lorebridge.transfer.power import equivalence_margin, margin_with_seeds
from lorebridge.transfer.removal import (
    Answers,
    _rows,
    accuracies,
    correlations,
    equivalences,
    metrics_of,
    over_questions,
    page_clusters,
)

LANGS = ("en", "hi")


def question(qid, split="test", page="p", answers=("x",), langs=LANGS):
    shared = {"question_id": qid, "split": split, "page_id": page, "answers": list(answers)}
    rest = {"title": "t", "question": f"{qid}?", "negatives": ["a", "b", "c"], "context": "c"}
    return [{**shared, **rest, "lang": lang} for lang in langs]


def score(model, qid, lang, right, *, split="test", task="open", rule="generated", step=None, answer="x"):
    right = float(right)
    metrics = dict.fromkeys(("em_strict", "f1_strict", "em_folded", "f1_folded", "correct"), right)
    if task == "mcq":
        metrics |= dict.fromkeys(("em_strict", "f1_strict", "em_folded", "f1_folded"))
    said = {"model": model, "step": step, "task": task, "rule": rule, "question_id": qid, "lang": lang}
    return {**said, "split": split, "answer": answer, **metrics}


def written(folder, scores, questions, overlaps=None):
    """Write the three tables; return them as the functions take them."""
    folder.mkdir(exist_ok=True, parents=True)
    for name, rows in (("qa_scores", scores), ("qa", questions)):
        tables.write(name, pd.DataFrame(rows)[tables.SCHEMAS[name].names], folder / f"{name}.parquet")
    overlap = None
    if overlaps is not None:
        overlap = folder / "overlap.parquet"
        kept = [row for row in questions if row["split"] != "train"]
        rows = [
            {key: row[key] for key in ("question_id", "lang", "split")}
            | {"n_train": int(row["question_id"] in overlaps), "overlaps": row["question_id"] in overlaps}
            for row in kept
        ]
        tables.write("qa_overlap", rows, overlap)
    return {"scores": [folder / "qa_scores.parquet"], "qa": folder / "qa.parquet", "overlap": overlap, "base": "en"}


def models_of(levels=("f0", "f1"), seeds=(0,), tuned="open", step=None):
    return [
        {"run": f"{level}-s{seed}", "level": level, "seed": seed, "tuned": tuned, "step": step}
        for level in levels
        for seed in seeds
    ]


def compared(folder, given, models, margin=0.1, alpha=0.05, metrics=("em_folded", "correct")):
    out = folder / "equivalence.parquet"
    equivalences(**given, models=models, margin=dict.fromkeys(metrics, margin), alpha=alpha, out=out)
    return tables.read(out)


def test_by_hand(tmp_path):
    """f1 loses one of four questions in Hindi and nothing in English; without the overlap nothing is lost."""
    right = {("f0", "en"): "1111", ("f1", "en"): "1111", ("f0", "hi"): "1100", ("f1", "hi"): "0100"}
    questions = [row for i in range(4) for row in question(f"q{i}", page=f"p{i}")]
    scores = [
        score(f"{level}-s0", f"q{i}", lang, mark == "1")
        for (level, lang), marks in right.items()
        for i, mark in enumerate(marks)
    ]
    given = written(tmp_path, scores, questions, overlaps={"q0"})
    table = compared(tmp_path, given, models_of())
    found = table.set_index(["lang", "questions"])["estimate"].to_dict()
    assert found == {("en", "all"): 0, ("en", "no overlap"): 0, ("hi", "all"): -0.25, ("hi", "no overlap"): 0}
    assert set(table["contrast"]) == {"f1 - f0"} and set(table["metric"]) == {"em_folded"}
    assert table["p_equivalent"].equals(table[["p_lower", "p_upper"]].max(axis=1))
    out = tmp_path / "accuracy.parquet"
    accuracies(**given, models=models_of(), resamples=200, seed=0, out=out)
    shown = tables.read(out)
    shown = shown[(shown["metric"] == "em_folded") & (shown["lang"] == "hi")]
    values = shown.set_index(["level", "questions"])["value"]
    assert values["f0", "all"] == 0.5 and values["f1", "all"] == 0.25
    assert values["f0", "no overlap"] == values["f1", "no overlap"] == pytest.approx(1 / 3)
    assert ((shown["lo"] <= shown["value"]) & (shown["value"] <= shown["hi"])).all()


def test_questions_of_a_page_are_one_cluster_and_without_a_page_those_of_an_answer():
    rows = question("a", page="p1") + question("b", page="p1", answers=["y"]) + question("c", page="p2")
    rows += question("d", "neither", None, ["Z "]) + question("e", "neither", None, ["z"])
    rows += question("f", "neither", None, ["p1"])
    found = page_clusters(pd.DataFrame(rows), "en")
    assert found["a"] == found["b"] != found["c"] and found["d"] == found["e"]
    assert found.nunique() == 4


def test_options_are_measured_by_whether_they_are_right():
    assert metrics_of("mcq", "numbers") == ("correct",)
    assert metrics_of("context", "generated") == ("em_strict", "f1_strict", "em_folded", "f1_folded")


def study(folder, rng, rates, *, pages=30, per_page=2, seeds=(0,), spread=0.15, keep=0.8):
    """Write a study: rates is (level, lang, split) -> chance.

    A question of a page is right in f0 with its chance and a page's share; at another level it is answered anew in a
    share 1 - keep.
    """
    questions, scores = [], []
    splits = dict.fromkeys(split for _, _, split in rates)
    levels = list(dict.fromkeys(level for level, _, _ in rates))
    for split in splits:
        for page in range(pages):
            ability = {lang: rng.normal(0, spread) for lang in LANGS}
            for k in range(per_page):
                qid = f"{split}-{page:03d}-{k}"
                questions += question(qid, split, None if split == "neither" else f"{split}-{page}", [qid])
                for lang in LANGS:
                    if (levels[0], lang, split) not in rates:
                        continue
                    for seed in seeds:
                        luck = rng.random()
                        for level in levels:
                            own = luck if rng.random() < keep else rng.random()
                            chance = rates[level, lang, split] + ability[lang]
                            scores.append(score(f"{level}-s{seed}", qid, lang, own < chance, split=split))
    return written(folder, scores, questions)


def test_a_planted_loss_is_found_and_none_is_equivalent(tmp_path):
    """Hindi loses 30 points of the test at f1; English and facts of both languages lose nothing."""
    rates = {
        (level, lang, split): 0.6 for level in ("f0", "f1", "again") for lang in LANGS for split in ("test", "both")
    }
    rates["f1", "hi", "test"] = 0.3
    rates |= {(level, lang, "neither"): 0.1 for level in ("f0", "f1", "again") for lang in LANGS}
    rng = np.random.default_rng(1)
    given = study(tmp_path, rng, rates, pages=150, seeds=(0, 1, 2), spread=0.1)
    levels = ("f0", "f1", "again")
    table = compared(tmp_path, given, models_of(levels, (0, 1, 2)), margin=0.1)
    only = table[table["scope"] == QUESTIONS_ONLY].set_index(["lang", "split", "contrast"])
    assert only.loc[("hi", "test", "f1 - f0"), "verdict"] == "below"
    assert only.loc[("hi", "test - both", "f1 - f0"), "verdict"] == "below"
    for lang, split, contrast in [
        ("en", "test", "f1 - f0"),
        ("hi", "both", "f1 - f0"),
        ("en", "test", "again - f0"),
        ("hi", "test", "again - f0"),
    ]:
        assert only.loc[(lang, split, contrast), "verdict"] == "equivalent", (lang, split)
    crosses = only.loc[("hi", "test - neither", "f1")]
    assert crosses["verdict"] == "above" and crosses["estimate"] == pytest.approx(0.2, abs=0.06)
    assert set(table["scope"]) == {QUESTIONS_ONLY, QUESTIONS_AND_SEEDS}
    # The control is a family of its own: no p-value of the others depends on it.
    kept = [row for row in models_of(levels, (0, 1, 2)) if row["level"] != "again"]
    without = compared(tmp_path, given, kept, margin=0.1)
    key = ["lang", "split", "contrast", "scope"]
    both = table.set_index(key).join(without.set_index(key), rsuffix="_without", how="inner")
    assert both["p_family"].equals(both["p_family_without"].rename("p_family"))


def test_the_same_models_differ_by_nothing(tmp_path):
    """A/A of the very same answers: all is 0, and shown to be within the margin."""
    rng = np.random.default_rng(2)
    right = {(f"q{i}", lang): rng.random() < 0.4 for i in range(120) for lang in LANGS}
    questions = [row for i in range(120) for row in question(f"q{i}", page=f"p{i}")]
    scores = [
        score(f"{level}-s{seed}", *of, mark)
        for of, mark in right.items()
        for level, seed in (("f0", 0), ("f0", 1), ("again", 2), ("again", 3))
    ]
    models = models_of(("f0",), (0, 1)) + models_of(("again",), (2, 3))
    table = compared(tmp_path, written(tmp_path, scores, questions), models)
    given = table[table["scope"] == QUESTIONS_ONLY]
    assert (given["estimate"] == 0).all() and (given["verdict"] == "equivalent").all()
    assert (given["lo"] < 0).all() and (given["hi"] > 0).all() and (given["n_seeds"] == 2).all()
    assert (table["verdict"].isin(["equivalent", "undecided"])).all()


@pytest.mark.parametrize("planted", [0.0, -0.15])
def test_intervals_cover_and_the_margin_is_kept(planted):
    """400 studies of 120 questions on 40 pages, at a difference of 0 and of the margin: 95 % of intervals hold it.

    At the margin, equivalence is claimed in no more than 5 %: the Monte-Carlo error is 1.1 points.
    """
    rng = np.random.default_rng(5)
    held, claimed, n = 0, 0, 400
    for _ in range(n):
        row = one_study(planted_differences(rng, planted, pages=40, per_page=3), np.repeat(np.arange(40), 3))
        held += row["lo"] <= planted <= row["hi"]
        claimed += row["p_equivalent"] <= 0.05
    error = np.sqrt(0.05 * 0.95 / n)
    print(f"{planted:+.2f}: {held / n:.3f} cover, {claimed / n:.3f} equivalent (Monte-Carlo error {error:.3f})")
    assert abs(held / n - 0.95) <= 3 * error
    assert claimed / n <= 0.05 + 3 * error if planted else claimed / n > 0.4


def one_study(differences, clusters):
    """Return the row of a level that answers so much otherwise than f0, at a margin of 0.15."""
    values = {"f0": (differences < 0).astype(float)[None], "f1": (differences > 0).astype(float)[None]}
    answers = Answers(np.arange(len(clusters)).astype(str), clusters, values, {"f0": [0], "f1": [0]})
    [row] = _rows([(answers.difference("f1"), 1.0)], 0.15, 0.05)
    return row


def planted_differences(rng, mean, *, pages, per_page):
    """Return differences of answers, -1, 0 or 1, of questions that go together by page, shape (questions,).

    Half of the discordant pages lose or win as a whole.
    """
    whole = rng.random(pages) < 0.5
    draws = np.where(whole[:, None], rng.random((pages, 1)), rng.random((pages, per_page)))
    loses, wins = 0.1 - mean / 2, 0.1 + mean / 2
    return ((draws > 1 - wins).astype(float) - (draws < loses)).ravel()


def test_clusters_that_are_ignored_would_cover_too_little():
    """The same studies, each question by itself: so the simulation above can fail."""
    rng, held = np.random.default_rng(6), 0
    for _ in range(300):
        differences = planted_differences(rng, 0.0, pages=40, per_page=3)
        row = one_study(differences, np.arange(120))
        held += row["lo"] <= 0 <= row["hi"]
    assert held / 300 < 0.92


def test_the_correlation_of_languages_is_that_of_pearson_and_its_interval_covers(tmp_path):
    """Two seeds by hand; then 200 studies, of which 95 % cover 0.3 (± 1.5, three of them)."""
    rng = np.random.default_rng(7)
    first, second = rng.random((2, 2, 50))
    bootstrap = ClusterBootstrap(np.arange(50), resamples=300, seed=0, stream="")
    found = over_questions(first, second, bootstrap)
    assert found["r"] == pytest.approx(np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(first, second, strict=True)]))
    assert found["lo"] < found["r"] < found["hi"]
    assert over_questions(first, np.zeros_like(second), bootstrap)["r"] is None
    held = 0
    for _ in range(200):
        page = np.repeat(rng.random((2, 60)), 2, axis=1)
        alike = np.repeat(rng.random(60) < 0.3, 2)
        x, y = page[0], np.where(alike, page[0], page[1])
        of = ClusterBootstrap(np.repeat(np.arange(60), 2), resamples=200, seed=0, stream="")
        found = over_questions((x < 0.5)[None].astype(float), (y < 0.5)[None].astype(float), of)
        held += found["lo"] <= 0.3 <= found["hi"]
    assert 0.90 <= held / 200 <= 0.99


def test_correlations_over_models_have_a_point_a_model(tmp_path):
    rng = np.random.default_rng(8)
    levels = ("f0", "f1", "f2", "f3", "f4")
    rates = {(level, lang, "test"): 0.2 + 0.15 * i for i, level in enumerate(levels) for lang in LANGS}
    given = study(tmp_path, rng, rates, pages=20, seeds=(0, 1))
    given.pop("overlap")
    out = tmp_path / "correlation.parquet"
    correlations(**given, models=models_of(levels, (0, 1)), target="hi", resamples=100, seed=0, out=out)
    table = tables.read(out)
    over = table[(table["level"] == "all") & (table["metric"] == "em_folded")].iloc[0]
    assert over["n"] == 10 and over["r"] > 0.8 and over["lo"] < over["r"] < over["hi"]
    assert len(table[table["metric"] == "em_folded"]) == 6


def asked(tmp_path, change):
    """Return a small study after a change to its scores, questions and models."""
    questions = [row for i in range(4) for row in question(f"q{i}", page=f"p{i}")]
    scores = [score(f"{level}-s0", f"q{i}", lang, i % 2) for level in ("f0", "f1") for i in range(4) for lang in LANGS]
    models = models_of()
    scores, questions, models = change(scores, questions, models)
    return written(tmp_path, scores, questions), models


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s, q, m: (s[:8], q, m), "has no answer of f1-s0"),
        (lambda s, q, m: (s[:-1], q, m), "not all models answered q3 of the split test in hi"),
        (lambda s, q, m: (s, q[2:], m), "lacks 1 questions that models answered (q0)"),
        (lambda s, q, m: (s, q, m[1:]), "has no model of level f0"),
        (lambda s, q, m: (s, q, [m[0], {**m[1], "seed": 5}]), "have no seed in common with those of f0"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, change, said):
    given, models = asked(tmp_path, change)
    with pytest.raises(InputError) as error:
        compared(tmp_path, given, models)
    assert said in str(error.value)


def test_checkpoints_are_told_apart_and_an_untuned_model_is_called_so(tmp_path):
    questions = [row for i in range(4) for row in question(f"q{i}", page=f"p{i}")]
    scores = [
        score(f"{level}-s0", f"q{i}", lang, step == 2, step=step)
        for level in ("f0", "f1")
        for i in range(4)
        for lang in LANGS
        for step in (1, 2)
    ]
    given = written(tmp_path, scores, questions)
    accuracies(**given, models=models_of(step=1, tuned=None), resamples=50, seed=0, out=tmp_path / "a.parquet")
    table = tables.read(tmp_path / "a.parquet")
    assert (table["value"] == 0).all() and set(table["tuned"]) == {"none"}


def test_an_untuned_model_that_two_sets_start_from_counts_once(tmp_path):
    """The start of a second tuning set of a task is asked again, and gives no second seed."""
    questions = [row for i in range(4) for row in question(f"q{i}", page=f"p{i}")]
    names = [f"{level}-{tuned}" for level in ("f0", "f1") for tuned in ("a", "b")]
    scores = [score(name, f"q{i}", lang, i % 2, step=0) for name in names for i in range(4) for lang in LANGS]
    models = [{"run": name, "level": name[:2], "seed": 0, "tuned": None, "step": 0} for name in names]
    table = compared(tmp_path, written(tmp_path, scores, questions), models)
    assert (table["n_seeds"] == 1).all() and len(table) == 2


def test_without_a_question_that_is_left_nothing_is_tested(tmp_path):
    questions = [row for i in range(4) for row in question(f"q{i}", page=f"p{i}")]
    scores = [score(f"{level}-s0", f"q{i}", lang, i % 2) for level in ("f0", "f1") for i in range(4) for lang in LANGS]
    given = written(tmp_path, scores, questions, overlaps={f"q{i}" for i in range(4)})
    table = compared(tmp_path, given, models_of())
    left = table[table["questions"] == "no overlap"]
    assert (left["n_questions"] == 0).all() and (left["verdict"] == "undecided").all()
    assert left["estimate"].isna().all() and (left["note"] == "no question is left").all()
    accuracies(**given, models=models_of(), resamples=50, seed=0, out=tmp_path / "a.parquet")
    values = tables.read(tmp_path / "a.parquet")
    assert values[values["questions"] == "no overlap"]["value"].isna().all()


@given(st.integers(0, 2**31), st.floats(0.02, 0.4), st.floats(-0.2, 0.2))
@settings(max_examples=40, deadline=None)
def test_within_the_margin_is_the_interval_of_twice_the_level_within_it(seed, margin, mean):
    """Two one-sided tests at 5 % say what the interval of 90 % says, and change places with the sign."""
    rng = np.random.default_rng(seed)
    sample = Sample(rng.normal(mean, 0.5, (1, 60)), np.repeat(np.arange(20), 3), (0,))
    lower, upper = one_sided([sample], [1.0], margin=margin)
    found = infer([sample], [1.0], level=0.9)
    assert (max(lower, upper) <= 0.05) == (-margin <= found.lo and found.hi <= margin)
    assert one_sided([sample], [-1.0], margin=margin) == pytest.approx((upper, lower))


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_margin_that_is_promised_is_shown_as_often_as_promised(seeds):
    """400 studies of 300 questions that differ in a tenth: 80 % show none, ± 6 points (three Monte-Carlo errors).

    Over seeds the margin is what the worse of two extremes needs, and here seeds differ on questions of their own.
    """
    rng, n, discordance, seed_sd, shown, studies = np.random.default_rng(9), 300, 0.1, 0.01, 0, 400
    spread = {"discordance": discordance, "seed_sd": seed_sd, "seeds": seeds}
    margin = equivalence_margin(n, discordance=discordance) if seeds == 1 else margin_with_seeds(n, **spread)
    for _ in range(studies):
        moved = rng.normal(0, seed_sd if seeds > 1 else 0, (seeds, 1))
        draws = rng.random((seeds, n))
        values = (draws < discordance / 2 + moved / 2).astype(float) - (draws > 1 - discordance / 2 + moved / 2)
        sample = Sample(values, np.arange(n), tuple(range(seeds)), (-1.0, 1.0))
        shown += max(one_sided([sample], [1.0], margin=margin, over_seeds=seeds > 1)) <= 0.05
    assert shown / studies >= 0.74 and (seeds > 1 or shown / studies <= 0.86)
