"""Overlap against distance: all permutations counted out, planted truth, and files that are not as they should be."""

import itertools

import numpy as np
import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer.distances import assignment, overlap_distances, read_distances


def symmetric(rng, n):
    found = rng.normal(size=(n, n))
    return found + found.T


def test_the_p_value_is_that_of_all_permutations():
    rng = np.random.default_rng(3)
    x, y = symmetric(rng, 5), symmetric(rng, 5)
    pairs = np.triu_indices(5, 1)
    found = assignment(x, y, 4000, seed=0)
    assert found["r"] == pytest.approx(np.corrcoef(x[pairs], y[pairs])[0, 1])
    every = [
        np.corrcoef(x[np.ix_(order, order)][pairs], y[pairs])[0, 1]
        for order in map(list, itertools.permutations(range(5)))
    ]
    exact = np.mean(np.abs(every) >= abs(found["r"]) - 1e-12)
    assert found["p"] == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 4000))


def test_what_every_permutation_reaches_has_a_p_value_of_one():
    """Of the pairs of four places one stands out in each matrix: |r| is 1 or 0.2, and here it is 0.2."""
    x, y = np.zeros((2, 4, 4))
    x[0, 1] = x[1, 0] = y[2, 3] = y[3, 2] = 1
    assert assignment(x, y, 99, 0) == {"r": pytest.approx(-0.2), "p": 1.0}


def test_it_rejects_a_true_null_at_its_level_where_pairs_as_draws_do_not():
    """Overlap that depends on the language alone: hundreds of pairs, twelve languages."""
    rng = np.random.default_rng(0)
    ps = []
    for _ in range(200):
        alone = rng.normal(size=12)
        place = rng.normal(size=12)
        ps.append(assignment(abs(place[:, None] - place), alone[:, None] + alone, 199, seed=1)["p"])
    assert 0.01 <= np.mean(np.array(ps) <= 0.05) <= 0.10


def test_what_says_nothing_is_missing():
    nothing = {"r": None, "p": None}
    assert assignment(np.ones((5, 5)), symmetric(np.random.default_rng(0), 5), 99, 0) == nothing
    assert assignment(*[symmetric(np.random.default_rng(0), 3)] * 2, 99, 0) == nothing


def overlaps(jaccard):
    rows = [
        {"lang_a": a, "lang_b": b, "jaccard": value, "expected": None if value is None else 0.1}
        for (a, b), value in jaccard.items()
    ]
    said = {"run": "m", "step": None, "within": "relation, masks", "n_both": 9, "n_a": 3, "n_b": 3, "shared": 1}
    return [{**said, **row, "z": 0.0, "p": 0.5} for row in rows]


def test_families_come_back_and_languages_without_numbers_are_left_out(tmp_path):
    family = {"a": "x", "b": "x", "c": "x", "d": "y", "e": "y", "f": "y"}
    languages = {lang: {"family": of, "script": "s"} for lang, of in family.items()}
    languages["g"] = {"family": "x", "script": "s"}
    jaccard = {
        (a, b): None if "g" in (a, b) else 0.4 if family[a] == family[b] else 0.2
        for a, b in itertools.combinations(languages, 2)
    }
    tables.write("fact_overlap", overlaps(jaccard), tmp_path / "overlap.parquet")
    far = pd.DataFrame([(b, a, i) for i, (a, b) in enumerate(jaccard)], columns=["lang_a", "lang_b", "km"])
    far.to_csv(tmp_path / "far.csv", index=False)
    overlap_distances(
        fact_overlap=tmp_path / "overlap.parquet",
        languages=languages,
        permutations=999,
        seed=0,
        out=tmp_path / "out.parquet",
        distances=tmp_path / "far.csv",
        columns=["km"],
    )
    found = tables.read(tmp_path / "out.parquet").set_index(["x", "y"])
    one = found.loc[("another family", "jaccard")]
    # Of the 20 halvings of six languages, two are the families.
    assert one["r"] == pytest.approx(-1) and one["n"] == 6 and 0.06 < one["p"] < 0.15
    assert np.isnan(found.loc[("another script", "jaccard"), "r"]) and found.loc[("km", "above"), "n"] == 6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lang_a,lang_b\na,b\n", "has no column 'km'"),
        ("lang_a,lang_b,km\na,b,1\nb,a,2\n", "has a and b twice"),
        ("lang_a,lang_b,km\na,b,far\n", "has what is no number"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, text, said):
    path = tmp_path / "far.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_distances(path, ["km"])
