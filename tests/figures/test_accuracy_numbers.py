"""Whatever shows an accuracy shows the number of one table, and the numbers that were shown before there was one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection

from lorebridge import tables
from lorebridge.figures import curves, style
from lorebridge.transfer.accuracies import of_arms
from lorebridge.transfer.alarms import UNRELATED

GOLDEN = Path(__file__).parent / "golden"
"""Computed by each drawing from the scores, as it was done until the table was made."""


def test_the_table_holds_the_numbers_that_figure_3_had(inputs):
    expected = pd.read_csv(GOLDEN / "accuracies.csv")
    found = of_arms(inputs[0] / "accuracies.parquet", subset="clean", rule="mean", prefix="bare").reset_index(drop=True)
    pd.testing.assert_frame_equal(found[expected.columns], expected, rtol=1e-9, check_dtype=False)


@pytest.mark.parametrize("table", ["accuracy", "baselines", "ties", "alarms"])
def test_tables_show_what_they_showed(drawn, table):
    expected, found = (pd.read_csv(folder / f"{table}.csv") for folder in (GOLDEN, drawn / "tables"))
    if table == "alarms":  # the last alarm is of no accuracy, but of items
        expected, found = (rows[rows["alarm"] != UNRELATED] for rows in (expected, found))
    pd.testing.assert_frame_equal(found, expected, rtol=1e-8, check_dtype=False)


def test_figure_3_draws_the_numbers_of_the_table(inputs, tmp_path, monkeypatch):
    path, names, drawn = inputs[0] / "accuracies.parquet", inputs[1]["names"], {}
    shaded = {}

    def kept(fig, out):
        for ax in fig.axes:
            name = ax.get_title().split("\n")[0]
            drawn[name] = np.vstack([dots.get_offsets() for dots in ax.collections])
            shades = [shade for shade in ax.collections if isinstance(shade, PolyCollection)]
            shaded[name] = np.vstack([path.vertices for shade in shades for path in shade.get_paths()])

    monkeypatch.setattr(style, "save", kept)
    study = {"base": "en", "names": names, "subset": "clean", "rule": "mean", "prefix": "bare", "last": 3}
    curves.figure3(accuracies=path, arms=inputs[1]["arms"], ema=0.8, out=tmp_path / "figure3", **study)
    table = of_arms(path, subset="clean", rule="mean", prefix="bare")
    assert len(drawn) == 8
    for culture, name in list(names.items())[1:]:
        for lang in ("en", culture):
            here = table[(table["culture"] == culture) & (table["lang"] == lang)]
            raw = here[(here["step"] >= 0) & (here["seed"] != "all")]
            pooled = here[(here["step"] == -1) & (here["seed"] == "all")]
            dots = drawn[f"{name} questions in {names[lang]}"]
            assert {(x, y) for x, y in raw[["step", "accuracy"]].itertuples(index=False)} <= set(map(tuple, dots))
            assert set(pooled["accuracy"]) <= set(dots[:, 1])
            means = here[(here["step"] >= 0) & (here["seed"] == "all")]
            ends = set(map(tuple, shaded[f"{name} questions in {names[lang]}"]))
            for end in ("lo", "hi", "band_lo", "band_hi"):
                assert set(means[["step", end]].itertuples(index=False, name=None)) <= ends, end


def test_the_alarm_of_a_collapse_says_the_accuracies_that_are_shown(drawn, inputs):
    alarms = pd.read_csv(drawn / "tables" / "alarms.csv", keep_default_na=False)
    rows = tables.read(inputs[0] / "accuracies.parquet")
    rows = rows[(rows["subset"] == "clean") & (rows["rule"] == "mean") & (rows["seed"] == "all")]
    above = (rows["accuracy"] - rows["chance"]).set_axis(
        pd.MultiIndex.from_frame(rows[["culture", "lang", "arm", "step"]])
    )
    for culture, name in list(inputs[1]["names"].items())[1:]:
        for arm in inputs[1]["arms"]:
            quantity = f"{arm}: accuracy kept beyond half of step 0's"
            [shown] = alarms[(alarms["language"] == name) & (alarms["quantity"] == quantity)]["estimate"].astype(float)
            kept = above[culture, "en", arm, -1] - 0.5 * above[culture, "en", arm, 0]
            assert shown == pytest.approx(kept, abs=1e-9)
