"""Whether tuning narrows the gap between scripts: by hand, on planted truth, and where there is nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer.tuning import tuning_effects

SCRIPTS = {"hi": "Devanagari", "mr": "Devanagari", "en": "Latin", "de": "Latin"}


def judged(path, chances, *, n=60, seeds=(0,), own=False, rng=None, arms=("reasoned",)):
    """Write answers: of the start and of a model for each arm and seed; chances by (arm or None, same)."""
    rng = rng or np.random.default_rng(0)
    rows, ability = [], rng.normal(0, 0.15, n)
    models = [("m", None), *((f"m.{arm}.s{seed}", arm) for arm in arms for seed in seeds)]
    for model, arm in models:
        for q in range(n):
            source = ("hi", "en")[q % 2]
            for target in SCRIPTS:
                if target == source and not own:
                    continue
                chance = np.clip(chances[arm, SCRIPTS[source] == SCRIPTS[target]] + ability[q], 0, 1)
                rows.append(("d", model, f"q{q}", source, target, "none", 0, bool(rng.random() < chance), ""))
    columns = tables.SCHEMAS["judged"].names
    tables.write("judged", pd.DataFrame(rows, columns=columns), path)


def effects(path, *, seeds=(0,), arms=("reasoned",), controls=(), own=False, questions=None):
    tuned = [{"start": "m", "arm": arm, "seed": seed, "run": f"m.{arm}.s{seed}"} for arm in arms for seed in seeds]
    tuning_effects(
        judged=path,
        questions=questions,
        tuned=tuned,
        scripts=SCRIPTS,
        controls=controls,
        own=own,
        hint="none",
        out=path.with_name("effects.parquet"),
    )
    return tables.read(path.with_name("effects.parquet"))


def test_by_hand(tmp_path):
    """Two questions: same goes from 1 and 1 to 1 and 0, cross from 0 of 4 to 3 of 4."""
    answers = {"m": {"a": [1, 0, 0], "b": [1, 0, 0]}, "m.reasoned.s0": {"a": [1, 1, 1], "b": [0, 1, 0]}}
    rows = [
        ("d", model, q, source, target, "none", 0, bool(right), "")
        for model, of in answers.items()
        for (q, given), source, targets in zip(
            of.items(), ("hi", "en"), (("mr", "en", "de"), ("de", "hi", "mr")), strict=True
        )
        for target, right in zip(targets, given, strict=True)
    ]
    tables.write("judged", pd.DataFrame(rows, columns=tables.SCHEMAS["judged"].names), tmp_path / "j.parquet")
    row = effects(tmp_path / "j.parquet").iloc[0]
    assert row[["same_before", "cross_before", "same_after", "cross_after"]].tolist() == [1.0, 0.0, 0.5, 0.75]
    assert row["estimate"] == pytest.approx((1 - 0) - (0.5 - 0.75)) and row["n_questions"] == 2
    assert "rests on" in row["note"] or "clusters" in row["note"]


@pytest.mark.slow
@pytest.mark.parametrize("gain", [0.0, 0.2])
def test_what_was_planted_is_covered_and_nothing_is_found_where_nothing_is(tmp_path, gain):
    """100 studies each: 95 % of the intervals hold what was planted; ± 4.4 points is two standard errors."""
    rng = np.random.default_rng(7)
    chances = {
        (None, True): 0.6,
        (None, False): 0.35,
        ("reasoned", True): 0.65,  # all gets better, which is no effect
        ("reasoned", False): 0.4 + gain,
    }
    held, found, estimates = 0, 0, []
    for _ in range(100):
        judged(tmp_path / "j.parquet", chances, n=40, rng=rng)
        row = effects(tmp_path / "j.parquet").iloc[0]
        held += row["lo"] <= gain <= row["hi"]
        found += row["p"] < 0.05
        estimates.append(row["estimate"])
    assert np.mean(estimates) == pytest.approx(gain, abs=0.03)
    assert held / 100 == pytest.approx(0.95, abs=0.044)
    assert found / 100 < 0.094 if gain == 0 else found / 100 > 0.2


def test_a_set_is_compared_with_its_controls_over_seeds(tmp_path):
    arms, seeds = ("reasoned", "answers"), (0, 1, 2)
    chances = {(None, True): 0.7, (None, False): 0.2, ("reasoned", True): 0.7, ("reasoned", False): 0.6}
    chances |= {("answers", same): chances[None, same] for same in (True, False)}
    judged(tmp_path / "j.parquet", chances, n=80, seeds=seeds, arms=arms)
    table = effects(tmp_path / "j.parquet", seeds=seeds, arms=arms, controls=["answers"])
    assert table[["arm", "minus", "scope"]].fillna("").to_numpy().tolist() == [
        [arm, minus, scope]
        for arm, minus in (("reasoned", ""), ("answers", ""), ("reasoned", "answers"))
        for scope in ("questions only, given these seeds", "questions and seeds")
    ]
    own, null, beyond = (table.iloc[i]["estimate"] for i in (0, 2, 4))
    assert (
        beyond == pytest.approx(own - null)
        and table["p"].iloc[4] < 0.01
        and table["lo"].iloc[2] < 0 < table["hi"].iloc[2]
    )
    assert table["same_before"].iloc[4] is None or np.isnan(table["same_before"].iloc[4])


def test_questions_of_one_page_are_one_cluster(tmp_path):
    chances = {(arm, same): 0.5 for arm in (None, "reasoned") for same in (True, False)}
    judged(tmp_path / "j.parquet", chances, n=20)
    rows = [
        {"dataset": "d", "question_id": f"q{i}", "source_lang": "hi", "lang": "hi", "question": "?", "answers": ["x"]}
        | {"context": "", "page": f"p{i // 4}", "translation": None, "output_type": None}
        for i in range(16)
    ]
    tables.write("open_questions", rows, tmp_path / "q.parquet")
    row = effects(tmp_path / "j.parquet", questions=tmp_path / "q.parquet").iloc[0]
    assert (row["n_questions"], row["n_clusters"]) == (20, 4 + 4)


def test_missing_answers_are_named_and_the_own_language_counts_where_it_is_said(tmp_path):
    chances = {(arm, same): 0.5 for arm in (None, "reasoned") for same in (True, False)}
    path = tmp_path / "j.parquet"
    judged(path, chances, n=6, own=True)
    assert effects(path, own=True)["n_questions"].tolist() == [6]
    table = tables.read(path)
    with pytest.raises(InputError, match=r"no answer of m\.answers\.s0. Ask and judge it"):
        effects(path, arms=("answers",))
    tables.write("judged", table[~((table["model"] == "m") & (table["target_lang"] == "mr"))], path)
    with pytest.raises(InputError, match="no answer of m to q0 of d in mr"):
        effects(path)
    tables.write("judged", table[table["target_lang"] == table["source_lang"]], path)
    with pytest.raises(InputError, match="no answer in another script"):
        effects(path, own=True)
    tables.write("judged", table[table["target_lang"].isin(["hi", "en"])], path)
    with pytest.raises(InputError, match=r"no answer in the question's script.*set tuning.judged.own to true"):
        effects(path)
    assert len(effects(path, own=True)) == 1
