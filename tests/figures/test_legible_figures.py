"""What is drawn can be seen: no line hides another, axes fit what is on them, a bar of nothing says so."""

from __future__ import annotations

import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.figures import curves, scorer, style, write

NAMES = {"en": "English", "ko": "Korean"}


@pytest.fixture
def caught(monkeypatch):
    """The figures that are saved."""
    figures = []
    monkeypatch.setattr(style, "save", lambda fig, out: figures.append(fig))
    return figures


def test_arms_of_the_same_loss_are_all_seen(caught, tmp_path):
    arms = ["bridge", "no_bridge", "placebo"]
    paths = []
    for arm in arms:
        rows = [
            {
                "run": f"ko-{arm}-s0",
                "learned": "ko",
                "arm": arm,
                "seed": 0,
                "step": step,
                "loss": 1.0 / step,
                "learning_rate": 0.1,
                "grad_norm": 1.0,
                "tokens": 1,
                "target_tokens": 1,
            }
            for step in range(1, 9)
        ]
        paths.append(tmp_path / f"{arm}.parquet")
        tables.write("metrics", rows, paths[-1])
    curves.losses(metrics=paths, names=NAMES, base="en", arms=arms, out=tmp_path / "losses")
    [figure] = caught
    strong = [line for line in figure.axes[0].lines if line.get_linewidth() > 1]
    assert len({str(line.get_linestyle()) + str(line._unscaled_dash_pattern) for line in strong}) == len(arms)
    assert strong[0].get_linestyle() == "-" and strong[0].get_zorder() < min(line.get_zorder() for line in strong[1:])
    handles = figure.legends[0].get_lines()
    assert [handle.get_label() for handle in handles] == arms
    assert [h._unscaled_dash_pattern for h in handles] == [line._unscaled_dash_pattern for line in strong]


def test_axes_of_random_models_fit_and_no_tie_is_a_number(caught, tmp_path):
    rows = [
        {
            "seed": seed,
            "culture": "ko",
            "lang": lang,
            "rule": rule,
            "n_questions": 180,
            "gold_first": 0.27,
            "tied": 0.0 if rule == "float32" else 0.5,
            "accuracy": 0.24 + 0.01 * seed,
            "lo": 0.2,
            "hi": 0.3,
        }
        for seed in (0, 1)
        for lang in ("ko", "en")
        for rule in scorer._LABELS
    ]
    tables.write("scorer", rows, tmp_path / "scorer.parquet")
    scorer.figure(scorer=tmp_path / "scorer.parquet", names=NAMES, out=tmp_path / "random")
    left, right = caught[0].axes
    low, high = left.get_xlim()
    assert low < 0.24 and high > 0.27 and high - low < 0.1
    assert [text.get_text() for text in right.texts].count("0") == 2
    assert right.get_xlim()[1] < 1


def test_numbers_have_the_digits_that_they_bear(tmp_path):
    table = pd.DataFrame({"what": ["a", "b", "c"], "estimate": [0.04567, 44.7594, -3.14159]})
    write.write_table(table, tmp_path / "t", "A table.", {"estimate": write.two_digits})
    shown = (tmp_path / "t.md").read_text().splitlines()[4:]
    assert [line.split("|")[2].strip() for line in shown] == ["0.046", "45", "-3.1"]
    assert pd.read_csv(tmp_path / "t.csv")["estimate"].tolist() == [0.04567, 44.7594, -3.14159]
