"""Alarms of a study of removal ring where its nulls would say nothing, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.transfer.removal_alarms import APART, FLOOR, NOWHERE, STILL_STATED, removal_alarms

SAID = {"size": None, "tuned": "open", "task": "open", "rule": "generated", "lang": "hi", "metric": "em_folded"}


def accuracy(split, value, lo, hi, **change):
    numbers = {"n_questions": 100, "n_clusters": 50, "n_seeds": 2, "value": value, "lo": lo, "hi": hi}
    return {**SAID, "split": split, "level": "f0", "questions": "all", **numbers, **change}


def difference(estimate, p, verdict):
    numbers = dict.fromkeys(("p", "p_equivalent", "p_lower", "p_upper", "p_equivalent_family"), p)
    said = {"split": "test", "contrast": "again - f0", "questions": "all", "scope": "questions only, given these seeds"}
    ends = {"estimate": estimate, "lo": estimate - 0.01, "hi": estimate + 0.01, "margin": 0.02}
    counts = {"n_questions": 100, "n_clusters": 50, "n_seeds": 2}
    return {**SAID, **said, **ends, **counts, **numbers, "p_family": p, "verdict": verdict, "note": ""}


def alarms(folder, *, shown=(), differences=(), residual=None, floor=0.01):
    baseline = {"task": "open", "lang": "hi", "baseline": "shuffled answers", "metric": "em_folded", "value": floor}
    sizes = [
        {"level": level, "lang": "hi", **dict.fromkeys(("n_documents", "n_tokens", "tokens_removed"), 1)}
        | {"tokens_reserve": 1, "token_difference": 0, "residual_facts": left, "n_facts": 10}
        for level, left in (residual or {}).items()
    ]
    tests = [{**baseline, "split": split, "n_questions": 100} for split in ("test", "both", "neither")]
    written = {"qa_accuracy": shown, "equivalence": differences, "qa_baselines": tests, "filter_sizes": sizes}
    for name, rows in written.items():
        tables.write(name, pd.DataFrame(list(rows), columns=tables.SCHEMAS[name].names), folder / f"{name}.parquet")
    removal_alarms(
        accuracy=folder / "qa_accuracy.parquet",
        equivalence=folder / "equivalence.parquet",
        baselines=[folder / "qa_baselines.parquet"],
        filter_sizes=None if residual is None else folder / "filter_sizes.parquet",
        target="hi",
        margin={"em_folded": 0.02},
        alpha=0.05,
        out=folder / "alarms.parquet",
    )
    table = tables.read(folder / "alarms.parquet")
    return {name: of["verdict"].tolist() for name, of in table.groupby("name")}, table


@pytest.mark.parametrize(
    ("value", "lo", "hi", "verdict"),
    [
        (0.013, 0.008, 0.02, "rings"),  # the paper's 1.3 %, at a baseline of 1 and a margin of 2 points
        (0.20, 0.15, 0.25, "silent"),
        (0.05, 0.02, 0.09, "cannot tell"),
    ],
)
def test_what_is_not_known_cannot_be_lost(tmp_path, value, lo, hi, verdict):
    shown = [accuracy(split, value, lo, hi) for split in ("both", "test")]
    assert alarms(tmp_path, shown=shown)[0][FLOOR] == [verdict, verdict]


@pytest.mark.parametrize(
    ("value", "lo", "hi", "verdict"),
    [
        (0.01, 0.0, 0.02, "silent"),
        (0.02, 0.012, 0.04, "cannot tell"),  # above the baseline, by less than the margin
        (0.2, 0.15, 0.25, "rings"),
        (0.02, 0.0, 0.2, "cannot tell"),
    ],
)
def test_what_no_text_answers_is_not_answered(tmp_path, value, lo, hi, verdict):
    assert alarms(tmp_path, shown=[accuracy("neither", value, lo, hi)])[0][NOWHERE] == [verdict]


def test_facts_that_are_still_stated_are_counted_by_level(tmp_path):
    told, table = alarms(tmp_path, residual={"f0": 10, "f1": 4, "f4": 1, "stated": 0})
    assert told[STILL_STATED] == ["rings", "rings", "silent"]
    own = table[table["name"] == STILL_STATED]
    assert "4 of 10 facts" in own["what"].iloc[0] and own["to_do"].tolist()[1:] == ["", ""] and own["to_do"].iloc[0]
    assert alarms(tmp_path)[0][STILL_STATED] == ["cannot tell"]


@pytest.mark.parametrize(
    ("p", "verdict", "expected"),
    [
        (0.01, "above", "rings"),
        (0.01, "equivalent", "silent"),
        (0.5, "equivalent", "silent"),
        (0.5, "undecided", "cannot tell"),
    ],
)
def test_models_of_which_nothing_was_removed_differ_by_nothing(tmp_path, p, verdict, expected):
    assert alarms(tmp_path, differences=[difference(0.03, p, verdict)])[0][APART] == [expected]


def test_what_the_study_lacks_cannot_tell(tmp_path):
    told, table = alarms(tmp_path)
    assert set(told) == {FLOOR, NOWHERE, STILL_STATED, APART}
    assert {verdict for of in told.values() for verdict in of} == {"cannot tell"} and not table["to_do"].any()


def test_untuned_models_ring_only_where_none_is_tuned(tmp_path):
    untuned = accuracy("test", 0.01, np.float64(0.0), 0.02, tuned="none")
    assert alarms(tmp_path, shown=[untuned])[0][FLOOR] == ["rings"]
    assert alarms(tmp_path, shown=[untuned, accuracy("test", 0.5, 0.4, 0.6)])[0][FLOOR] == ["silent"]
