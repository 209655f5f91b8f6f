"""Overlap of neurons and what is lost without them: what is planted comes back, the null is another fact."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lorebridge import tables
from lorebridge.transfer.neurons import (
    ablations,
    ablations_of,
    compared,
    jaccards,
    kin_of,
    neuron_overlap,
    overlaps_of,
    pairs_of,
)
from lorebridge.unseen import unseen_share


def test_jaccards_are_counted_out():
    a = sparse.csr_array(np.array([[1.0, 1, 0, 0], [0, 0, 1, 1]]))
    b = sparse.csr_array(np.array([[1.0, 0, 1, 0], [0, 0, 1, 1]]))
    np.testing.assert_allclose(jaccards(a, b), [[1 / 3, 0], [1 / 3, 1]])


def test_each_fact_is_compared_with_its_own_kin_in_both_directions():
    rng = np.random.default_rng(0)
    relation, answer = np.array([0, 0, 0, 0, 1, 1]), np.array([7, 7, 8, 8, 9, 9])
    sets = [[set(rng.choice(8, 3, replace=False).tolist()) for _ in range(6)] for _ in range(2)]
    tops = [sparse.csr_array(np.array([[float(j in own) for j in range(8)] for own in lang])) for lang in sets]
    found = compared(*tops, relation, answer)

    def share(f, g):
        return len(sets[0][f] & sets[1][g]) / len(sets[0][f] | sets[1][g])

    for f in range(6):
        groups = {
            "same_object": [g for g in range(6) if g != f and relation[g] == relation[f] and answer[g] == answer[f]],
            "same_relation": [g for g in range(6) if relation[g] == relation[f] and answer[g] != answer[f]],
            "unrelated": [g for g in range(6) if relation[g] != relation[f]],
        }
        assert found.loc[f, "same_fact"] == pytest.approx(share(f, f))
        for name, group in groups.items():
            expected = np.mean([(share(f, g) + share(g, f)) / 2 for g in group]) if group else np.nan
            assert found.loc[f, name] == pytest.approx(expected, nan_ok=True)
        others = groups["same_relation"]
        assert found.loc[f, "n_others"] == len(others)
        as_much = sum(share(f, g) >= share(f, f) for g in others) + sum(share(g, f) >= share(f, f) for g in others)
        assert found.loc[f, "p"] == pytest.approx(
            (1 + as_much) / (1 + 2 * len(others)) if others else np.nan, nan_ok=True
        )


LANGUAGES = {
    "en": {"family": "Germanic", "script": "Latin"},
    "de": {"family": "Germanic", "script": "Latin"},
    "ru": {"family": "Slavic", "script": "Cyrillic"},
    "uk": {"family": "Slavic", "script": "Cyrillic"},
}


def planted(share, langs=("en", "de"), n=120, k=10, seed=0):
    """Neurons of facts in three relations: half are the relation's, the others the fact's own or drawn by language.

    Languages of one family, that is two after another, have them of the fact in the share of the facts.
    """
    rng = np.random.default_rng(seed)
    of_relation = [rng.choice(1000, k // 2, replace=False) for _ in range(3)]
    rows, facts = [], []
    for fact in range(n):
        families = [1000 + rng.choice(5000, k // 2, replace=False) for _ in langs[::2]]
        for number, lang in enumerate(langs):
            own = families[number // 2]
            drawn = own if rng.random() < share else 6000 + rng.choice(5000, k // 2, replace=False)
            units = [*of_relation[fact % 3], *drawn]
            rows += [("m", None, f"f{fact}", f"r{fact % 3}", lang, 0, int(u), 1.0, i + 1) for i, u in enumerate(units)]
            facts.append((f"f{fact}", f"r{fact % 3}", lang, f"s{fact // 2}", f"o{fact % 9}"))
    columns = ["run", "step", "fact_id", "relation", "lang", "layer", "neuron", "score", "rank"]
    about = pd.DataFrame(facts, columns=["fact_id", "relation", "lang", "subject_id", "object_id"])
    about = about.assign(
        subject=about["subject_id"], object=about["object_id"], template="[X] is [Y]", candidates=None
    ).assign(golds=lambda table: [[gold] for gold in table["object"]])
    return pd.DataFrame(rows, columns=columns), about


def measured(neurons, facts):
    about = facts.drop_duplicates("fact_id").set_index("fact_id")
    clusters = pd.Series(pd.factorize(about["subject_id"])[0], index=about.index)
    return pd.concat(pairs_of(neurons, about["object_id"]), ignore_index=True), clusters


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_planted_shares_come_back_above_the_relation(share):
    found = pd.DataFrame(overlaps_of(*measured(*planted(share)), 300, 0)).set_index("compared")
    assert found["n_facts"].eq(120).all() and found["n_clusters"].eq(60).all()
    # Half of the neurons are the relation's: 5 of 15 are shared by any two of its facts.
    assert found.loc["same_relation", "jaccard"] == pytest.approx(1 / 3, abs=0.01)
    assert found.loc["unrelated", "jaccard"] < 0.01
    # A fact whose own neurons are used in both languages has all ten; that is so of share^2 of them.
    expected = 1 / 3 + share**2 * 2 / 3
    assert found.loc["same_fact", "jaccard"] == pytest.approx(expected, abs=0.1)
    above = found.loc["above"]
    assert above["lo"] <= expected - 1 / 3 + 0.02 and (above["lo"] > 0.05) == (share > 0)
    assert abs(above["jaccard"]) < 0.02 if share == 0 else above["jaccard"] > 0.1


def test_facts_that_are_shared_are_told_one_by_one():
    pairs, _ = measured(*planted(0.7, n=270))
    shared = pairs["same_fact"] > 0.9
    assert 0.3 < shared.mean() < 0.7
    # Of 270 facts 90 are of the relation, and 60 of them have another object: the fact itself is one of 121.
    assert pairs["n_others"].eq(60).all() and pairs.loc[shared, "p"].max() == pytest.approx(1 / 121)
    assert pairs.loc[~shared, "p"].median() > 0.2


def test_tied_neurons_overlap_wholly_and_a_language_alone_says_nothing():
    neurons, facts = planted(1.0)
    found = pd.DataFrame(overlaps_of(*measured(neurons, facts), 100, 0)).set_index("compared")
    assert found.loc["same_fact", "jaccard"] == 1
    objects = facts.drop_duplicates("fact_id").set_index("fact_id")["object_id"]
    assert list(pairs_of(neurons[neurons["lang"] == "en"], objects)) == []


def test_related_languages_share_more_where_that_is_planted():
    pairs, clusters = measured(*planted(0.8, langs=tuple(LANGUAGES)))
    knobs = {"resamples": 200, "permutations": 99, "seed": 0}
    found = pd.DataFrame(kin_of(pairs, clusters, LANGUAGES, **knobs)).set_index(["kin", "compared"])
    assert found.loc[("same family", "same_fact"), "n_pairs"] == 2
    assert found.loc[("another family", "same_fact"), "n_pairs"] == 4
    assert found.loc[("another script", "above"), "jaccard"] == pytest.approx(0, abs=0.02)
    alike = found.loc[("same family", "above")]
    assert alike["jaccard"] == pytest.approx(0.64 * 2 / 3, abs=0.07) and alike["lo"] > 0.3
    difference = found.loc[("same family", "difference")]
    assert difference["lo"] > 0.3 and difference["n_pairs"] == 6
    # Of the 24 orders of four languages 8 keep the two families together.
    assert difference["p"] == pytest.approx(1 / 3, abs=0.12)
    unknown = {lang: {"family": "", "script": said["script"]} for lang, said in LANGUAGES.items()}
    kinds = {row["kin"] for row in kin_of(pairs, clusters, unknown, **knobs)}
    assert kinds == {"same script", "another script"}


def test_languages_that_share_all_of_every_fact_need_not_share_the_next():
    pairs, clusters = measured(*planted(1.0, langs=tuple(LANGUAGES)))
    rows = kin_of(pairs, clusters, LANGUAGES, resamples=100, permutations=99, seed=0)
    found = pd.DataFrame(rows).set_index(["kin", "compared"])
    whole = found.loc[("same family", "same_fact")]
    assert whole["jaccard"] == whole["hi"] == 1 and whole["lo"] == pytest.approx(1 - unseen_share(whole["n_clusters"]))


def test_what_is_lost_is_told_beside_others():
    rng = np.random.default_rng(0)
    own, random = rng.random(80) < 0.7, rng.random(80) < 0.1
    rows = pd.DataFrame(
        {
            "fact_id": [f"f{i}" for i in range(80)],
            "lang_cut": "en",
            "lang_asked": "de",
            "k": 5,
            "own": own.astype(float),
            "other": [np.nan] * 40 + [0.0] * 40,
            "random": random.astype(float),
            "size": 2.0,
            "size_random": 1.5,
        }
    )
    clusters = pd.Series(np.arange(80) // 2, index=rows["fact_id"])
    found = pd.DataFrame(ablations_of(rows, clusters, 300, 0)).set_index("silenced")
    assert found.loc["own", "drop"] == own.mean() and found.loc["own", "size"] == 2
    assert found.loc["other", "n_facts"] == 40 and found.loc["own - other", "drop"] == own[40:].mean()
    difference = found.loc["own - random"]
    assert difference["drop"] == pytest.approx(own.mean() - random.mean()) and difference["lo"] > 0.3
    # None of 40 facts in 20 clusters lost anything: what no cluster has shown may yet be.
    assert found.loc["other", "lo"] == 0 and 0.05 < found.loc["other", "hi"] < 0.3


def test_tables_are_written_of_all_models_and_of_none(tmp_path):
    neurons, facts = planted(0.5, langs=tuple(LANGUAGES), n=30)
    tables.write("facts", facts, tmp_path / "facts.parquet")
    neurons = neurons.assign(step=pd.array([None] * len(neurons), dtype="Int32"))
    for name, rows in (("full", neurons), ("none", neurons[:0])):
        tables.write("neurons", rows, tmp_path / f"{name}.parquet")
    outs = {name: tmp_path / f"{name}.out" for name in ("pairs_out", "kin_out", "out")}

    def made(*names):
        neuron_overlap(
            neurons=[tmp_path / f"{name}.parquet" for name in names],
            facts=tmp_path / "facts.parquet",
            languages=LANGUAGES,
            resamples=100,
            permutations=99,
            seed=0,
            **outs,
        )
        return [len(tables.read(path)) for path in outs.values()]

    assert made("full", "none") == [30 * 6, 2 * (2 * 5 + 1), 6 * 5]
    assert made("none") == [0, 0, 0]
    tables.write("silenced_facts", [], tmp_path / "s.parquet")
    given = {"facts": tmp_path / "facts.parquet", "resamples": 100, "seed": 0, "out": tmp_path / "a.parquet"}
    ablations(silenced_facts=[tmp_path / "s.parquet"], **given)
    assert len(tables.read(tmp_path / "a.parquet")) == 0
