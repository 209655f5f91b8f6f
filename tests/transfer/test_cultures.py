"""Density and direction by culture."""

import numpy as np
import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.transfer.asymmetry import DIFFERENCE
from lorebridge.transfer.cultures import cultures, rank_correlation
from lorebridge.transfer.inference import QUESTIONS_ONLY


def density(culture, corpus, method, unit, value):
    return {
        "culture": culture,
        "corpus": corpus,
        "unit": unit,
        "denominator": 1,
        "capped": False,
        "method": method,
        "judge": "j",
        "includes_parallel": False,
        "n_questions": 9,
        "indeterminate": 0,
        "n_capped": 0,
        "n_absent": 0,
        "occurrences": 1.0,
        "density": value,
        "lo": 0.0,
        "hi": 1.0,
        "distractor_occurrences": None,
    }


def difference(culture, estimate, group=None, unleaked=False):
    return {
        "contrast": "bridge - no_bridge",
        "scale": "all questions",
        "subset": "clean",
        "unleaked": unleaked,
        "rule": "mean",
        "prefix": "bare",
        "direction": DIFFERENCE,
        "group": group or culture,
        "langs": [culture],
        "n_questions": 9,
        "n_clusters": 9,
        "n_seeds": 1,
        "estimate": estimate,
        "se": 0.1,
        "df": 8.0,
        "lo": estimate - 0.2,
        "hi": estimate + 0.2,
        "interval": QUESTIONS_ONLY,
        "p": 0.5,
        "p_holm": None,
    }


def test_ratios_stand_beside_differences_with_their_number(tmp_path):
    own = {"ko": 2e-6, "zh": 1e-6, "bo": 60e-6, "mn": 0.0, "ug": 1e-6}
    rows = [
        density(c, corpus, "exact", "token", value if corpus == c else 0.0 if c == "ug" else 1e-6)
        for c, value in own.items()
        for corpus in ("en", c)
    ]
    rows += [density(c, corpus, "bm25", "document", 1e-6) for c in own for corpus in ("en", c)]
    tables.write("density", rows, tmp_path / "density")
    found = [difference(c, d) for c, d in {"ko": 0.1, "zh": 0.0, "bo": 0.3, "mn": 0.2, "ug": 0.4}.items()]
    found += [difference("ko", 9.0, group="high"), difference("ko", 9.0, unleaked=True)]  # a level of one language
    tables.write("asymmetry", found, tmp_path / "asymmetry")
    table = cultures(asymmetry=tmp_path / "asymmetry", density=tmp_path / "density", base="en", prefix="bare")
    exact = table[table["counted"] == "every text"].set_index("culture")
    assert exact["log2_ratio"].to_dict() == pytest.approx(
        {"ko": 1, "zh": 0, "bo": np.log2(60), "mn": np.nan, "ug": np.nan}, nan_ok=True
    )
    assert exact["difference"].to_dict() == {"ko": 0.1, "zh": 0.0, "bo": 0.3, "mn": 0.2, "ug": 0.4}
    assert (exact["n_cultures"] == 3).all() and (exact["rank_correlation"] == 1).all()
    assert exact["p"].iloc[0] == pytest.approx(2 / 6)
    # All judged densities are the same: nothing to correlate.
    judged = table[table["counted"] == "judged hits"]
    assert (judged["n_cultures"] == 5).all() and judged["p"].isna().all()


def test_two_cultures_have_no_correlation():
    assert np.isnan(rank_correlation(np.array([1.0, 2.0]), np.array([1.0, 2.0]))).all()
    assert pd.notna(rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0]))[0])
