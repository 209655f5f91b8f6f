"""What goes with precision: known correlations."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer.correlates import by_mask_counts, correlates, correlates_of, correlation
from lorebridge.transfer.distances import overlap_distances


def test_a_correlation_has_its_interval():
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    y = x + rng.normal(size=50)
    found = correlation(x, y, "pearson")
    expected = stats.pearsonr(x, y)
    interval = expected.confidence_interval()
    assert (found["r"], found["p"]) == pytest.approx((expected.statistic, expected.pvalue))
    assert (found["lo"], found["hi"]) == pytest.approx((interval.low, interval.high))
    ranks = correlation(x, y, "spearman")
    assert ranks["r"] == pytest.approx(stats.spearmanr(x, y).statistic)
    assert ranks["lo"] < ranks["r"] < ranks["hi"] and ranks["hi"] - ranks["lo"] > found["hi"] - found["lo"]
    nothing = {"r": None, "lo": None, "hi": None, "p": None}
    assert correlation([1, 2, 3], [1, 2, 3], "pearson") == {"n": 3, **nothing}
    assert correlation([1, 1, 1, 1], [1, 2, 3, 4], "pearson") == {"n": 4, **nothing}
    for method in ("pearson", "spearman"):
        whole = correlation(np.arange(5.0), -np.arange(5.0), method)
        assert whole["r"] == pytest.approx(-1) and whole["lo"] is whole["hi"] is None


def test_the_base_is_left_out_once_and_missing_measures_their_language():
    table = pd.DataFrame(
        {"lang": ["en", "a", "b", "c", "d", "e"], "p1": [9.0, 1, 2, 3, 4, 5], "size": [100.0, 5, 4, 3, 2, np.nan]}
    )
    rows = pd.DataFrame(correlates_of(table, "p1", "en", logarithm=["size"])).set_index(["x", "subset", "method"])
    assert rows.loc[("size", "all", "pearson"), "n"] == 5 and rows.loc[("size", "all", "pearson"), "r"] > 0.8
    assert rows.loc[("size", "without en", "pearson"), "r"] == pytest.approx(-1)
    assert ("log size", "all", "pearson") in rows.index and ("log size", "all", "spearman") not in rows.index
    assert set(pd.DataFrame(correlates_of(table, "p1", "fr"))["subset"]) == {"all"}


def scores(rows):
    said = {"run": "m", "step": None, "relation": "r", "decode": "simultaneous", "lengths": "gold"}
    said |= {"space": "vocabulary", "n_candidates": 9, "gold_logprob": -1.0, "gold_rank": 1.0}
    table = pd.DataFrame(rows, columns=["lang", "n_masks", "exact"]).assign(**said)
    return table.assign(
        fact_id=[f"f{i}" for i in range(len(table))], filtered=table["exact"], best_candidate="", remark=None
    )


def test_columns_are_of_a_file(tmp_path):
    with pytest.raises(InputError, match="columns are of a file of volumes"):
        correlates(scores=[], base="en", out=tmp_path / "c.parquet", columns=["articles"])
    with pytest.raises(InputError, match="columns are of a file of distances"):
        overlap_distances(
            fact_overlap=tmp_path, languages={}, permutations=1, seed=0, out=tmp_path / "o.parquet", columns=["syntax"]
        )


def test_numbers_of_masks_are_units_of_their_own():
    rows = [("en", n, 1.0 if n < 5 and i < 5 - n else 0.0) for n in range(1, 7) for i in range(4)]
    [pearson, _] = by_mask_counts(scores(rows))
    assert (pearson["x"], pearson["unit"], pearson["n"]) == ("masks", "mask_counts", 4)
    assert pearson["r"] == pytest.approx(-1)


def test_the_table_takes_sizes_from_a_file(tmp_path):
    langs = ["en", "a", "b", "c", "d"]
    table = scores(
        [(lang, 1 + i % 2, float(j < k)) for k, lang in enumerate(langs) for i in range(2) for j in range(5)]
    )
    tables.write("fact_scores", table, tmp_path / "s.parquet")
    pd.DataFrame({"lang": langs, "articles": [1, 2, 3, 4, 5]}).to_csv(tmp_path / "sizes.csv", index=False)
    said = {"scores": [tmp_path / "s.parquet"], "base": "en", "out": tmp_path / "c.parquet"}
    correlates(**said, volumes=tmp_path / "sizes.csv", columns=["articles"])
    found = tables.read(tmp_path / "c.parquet")
    rows = found[(found["x"] == "articles") & (found["method"] == "pearson")].set_index("subset")
    assert rows["r"].tolist() == pytest.approx([1, 1]) and rows["n"].tolist() == [5, 4]
    assert {"facts", "mean masks", "one-token share", "log articles"} <= set(found["x"])
    (tmp_path / "odd.csv").write_text("lang,articles\nko,12,5\nde,7,0\n")  # decimal commas
    with pytest.raises(InputError, match=r"odd.csv, row 2: has more cells than the 2 columns"):
        correlates(**said, volumes=tmp_path / "odd.csv", columns=["articles"])
    (tmp_path / "odd.csv").write_text("lang,articles,articles\nko,12,5\n")
    with pytest.raises(InputError, match=r"odd.csv, row 1: the column 'articles' stands twice"):
        correlates(**said, volumes=tmp_path / "odd.csv", columns=["articles"])
    with pytest.raises(InputError, match=r"sizes.csv: has no column 'pages'\. It has: lang, articles"):
        correlates(**said, volumes=tmp_path / "sizes.csv", columns=["pages"])
