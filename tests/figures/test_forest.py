"""Declared tests as a figure: each where it belongs, in its order, and a line that was not run without a point."""

import importlib.util

import numpy as np
import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.figures import style
from lorebridge.figures.inference import declared, forest
from lorebridge.transfer.verdicts import ABOVE, EQUIVALENT, UNDECIDED

ROWS = pd.DataFrame(
    [
        ("crosses\n(bridge - no_bridge)", 0.3, 0.2, 0.4, 0.05, ABOVE),
        (
            "a name that is so long that it takes more than the one line that there is for others",
            -0.01,
            -0.04,
            0.02,
            0.1,
            EQUIVALENT,
        ),
        ("elsewhere", np.nan, np.nan, np.nan, 0.1, "not run"),
    ],
    columns=["label", "estimate", "lo", "hi", "margin", "verdict"],
)


def test_each_test_is_drawn_in_points_in_its_order():
    with style.styled():
        [ax] = forest(ROWS, note="how to read it").axes
        points = [
            tuple(c.get_offsets()[0])
            for c in ax.collections
            if len(c.get_offsets()) == 1 and len(c.get_paths()) == 1 and not hasattr(c, "get_segments")
        ]
        ends = [c.get_segments()[0][:, 0].tolist() for c in ax.collections if hasattr(c, "get_segments")]
        assert [x for x, _ in points] == pytest.approx([30, -1])
        assert [end for pair in ends for end in pair] == pytest.approx([20, 40, -4, 2])
        assert points[0][1] < points[1][1] < max(ax.get_yticks()), "from above to below, as declared"
        assert [label.get_text().split("\n")[0] for label in ax.get_yticklabels()][::2] == ["crosses", "elsewhere"]
        assert [x for bar in ax.patches for x in (bar.get_x(), bar.get_width())] == pytest.approx(
            [-5, 10, -10, 20, -10, 20]
        )
        assert [text.get_text() for text in ax.texts] == [ABOVE, EQUIVALENT, "not run"]


def test_a_label_says_what_was_declared(tmp_path):
    row = dict.fromkeys(tables.SCHEMAS["verdicts"].names) | {
        "name": "crosses",
        "contrast": "bridge - no_bridge",
        "direction": "en->xx",
        "langs": ["ko"],
        "minus": ["bo"],
        "among": "all",
        "margin": 0.1,
        "alpha": 0.05,
        "estimate": 0.1,
        "lo": -0.1,
        "hi": 0.3,
        "verdict": UNDECIDED,
    }
    tables.write("verdicts", [row], tmp_path / "verdicts.parquet")
    names = {"en": "English", "ko": "Korean", "bo": "Tibetan"}
    declared(verdicts=tmp_path / "verdicts.parquet", names=names, base="en", last=1, out=tmp_path / "declared")
    drawn = (tmp_path / "declared.svg").read_text()
    assert {f"declared.{suffix}" for suffix in ("pdf", "svg", "png")} <= {path.name for path in tmp_path.iterdir()}
    for said in ("Korean less Tibetan", "bridge - no_bridge", UNDECIDED):
        assert said in drawn


def test_the_map_keeps_what_it_had_and_leaves_empty_what_was_not_run(root, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    spec = importlib.util.spec_from_file_location("the_map", root / "benchmarks" / "map.py")
    the_map = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(the_map)
    known = [("map", "qaa", "bridge"), ("map", "qaa", "bridge - no_bridge"), ("map-untied", "qaa", "bridge")]
    table = pd.DataFrame(known, columns=the_map.KEYS).assign(estimate=0.5, lo=0.4, hi=0.6, n=5)
    the_map.draw(table, tmp_path / "map.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["map.svg"]
    drawn = (tmp_path / "map.svg").read_text()
    assert drawn.count("not run") == 2 * len(the_map.CELLS) - 3
    assert len({cell[2:] for cell in the_map.CELLS}) == len(the_map.CELLS)
