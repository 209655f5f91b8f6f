"""Independent, shared, transferred: planted overlaps and planted statements come back as patterns."""

import numpy as np
import pytest

from lorebridge import tables
from lorebridge.transfer.patterns import PATTERN, TRACED, fact_patterns, pattern, place
from lorebridge.transfer.stated import ELSEWHERE, HERE, NOWHERE
from lorebridge.unseen import alike, unseen_share

N = 40


def write(folder, *, neurons=True, n=N):
    """Facts by turns with the same neurons in both languages or with their own; the first half is stated in `it`."""
    facts, scores, traced, truth = [], [], [], []
    for lang in ("en", "it"):
        for i in range(n):
            fact = f"f{i:02d}"
            facts.append(
                {"fact_id": fact, "relation": "r", "lang": lang, "subject_id": f"s{i // 2}", "subject": "x",
                 "object_id": f"o{i}", "object": "y", "template": "[X] [Y]", "golds": ["y"]}
            )  # fmt: skip
            scores.append(
                {"run": "m", "step": 9, "fact_id": fact, "relation": "r", "lang": lang, "exact": float(i < n - 1)}
            )
            here = lang == "en" or i < n // 2
            said = {"fact_id": fact, "relation": "r", "lang": lang, "run": None, "n_cooccur": 1, "present": here}
            traced += [said | {"unit": "window"}, said | {"unit": "tokens", "present": None}]
            truth.append(
                {"question_id": fact, "corpus": lang, "doc_ids": ["d"] if here else [], "n_statements": int(here)}
            )
    for name, rows in (("facts", facts), ("fact_scores", scores), ("origins", traced), ("truth", truth)):
        tables.write(name, rows, folder / f"{name}.parquet")
    pairs = [
        {"run": "m", "step": step, "lang_a": "it", "lang_b": "en", "fact_id": f"f{i:02d}", "same_fact": 0.5,
         "same_relation": 0.2, "n_others": n - 1, "p": p if step == 9 else 1.0}
        for step in (0, 9)
        for i in range(n)
        for p in [0.5 if i % 2 else 1 / (2 * n - 1)]
    ]  # fmt: skip
    if neurons:
        tables.write("neuron_pairs", pairs, folder / "pairs.parquet")
    return {
        "scores": [folder / "fact_scores.parquet"], "facts": folder / "facts.parquet", "unit": "window",
        "origins": folder / "origins.parquet", "resamples": 100, "seed": 0, "out": folder / "patterns.parquet",
        "shares": folder / "shares.parquet", "neuron_pairs": folder / "pairs.parquet" if neurons else None,
    }  # fmt: skip


def test_planted_patterns_come_back(tmp_path):
    given = write(tmp_path)
    notes = fact_patterns(**given, truth=tmp_path / "truth.parquet")
    found = tables.read(given["out"])
    assert notes == {"rows": 2 * (N - 1), "pattern": 2 * (N - 1)} == {"rows": len(found), "pattern": len(found)}
    number = found["fact_id"].str[1:].astype(int)
    same, here = number % 2 == 0, (found["lang"] == "en") | (number < N // 2)
    expected = [pattern(bool(a), bool(b)) for a, b in zip(same, here, strict=True)]
    assert found["pattern"].tolist() == expected and (found["jaccard"] == 0.5).all()
    assert (found["planted"] == found["traced"]).all()
    shares = tables.read(given["shares"])
    own = shares[(shares["lang"] == "it") & (shares["what"] == PATTERN)].set_index("value")
    assert own.loc["transferred", "n"] == 10 and own.loc["transferred", "planted_elsewhere"] == 10
    assert (
        own["share"].sum() == pytest.approx(1) and own.loc["transferred", "lo"] < 10 / 39 < own.loc["transferred", "hi"]
    )


def test_without_neurons_it_is_told_where_facts_stand_and_no_more(tmp_path):
    given = write(tmp_path, neurons=False)
    assert fact_patterns(**given) == {"rows": 2 * (N - 1), "pattern": 0}
    found, shares = tables.read(given["out"]), tables.read(given["shares"])
    assert found["pattern"].isna().all() and found["jaccard"].isna().all() and found["planted"].isna().all()
    assert set(shares["what"]) == {TRACED} and shares["planted_here"].isna().all()
    told = shares[shares["lang"] == "it"].set_index("value")["n"]
    assert told.to_dict() == {HERE: N // 2, ELSEWHERE: N // 2 - 1, NOWHERE: 0}


def test_what_no_subject_has_shown_may_yet_be(tmp_path):
    """English states all facts, so that all resamples are alike."""
    given = write(tmp_path)
    fact_patterns(**given)
    shares = tables.read(given["shares"])
    all_here = shares[(shares["lang"] == "en") & (shares["what"] == TRACED)].set_index("value")
    unseen = unseen_share(alike(np.array([2] * 19 + [1])))  # 39 facts of 20 subjects
    assert all_here.loc[HERE, ["share", "lo", "hi"]].tolist() == pytest.approx([1, 1 - unseen, 1])
    assert all_here.loc[NOWHERE, ["share", "lo", "hi"]].tolist() == pytest.approx([0, 0, unseen])
    half = shares[(shares["lang"] == "it") & (shares["what"] == TRACED)].set_index("value")
    assert half.loc[HERE, "lo"] > 0.25 and half.loc[HERE, "hi"] < 0.75  # ten subjects and nine say it better


def test_few_facts_cannot_tell_whether_neurons_are_alike(tmp_path):
    given = write(tmp_path, n=10)
    fact_patterns(**given)
    found = tables.read(given["out"])
    assert (found["n_others"] == 9).all() and found["pattern"].isna().all() and found["p"].notna().all()


def test_what_cannot_be_looked_for_has_no_place(tmp_path):
    given = write(tmp_path) | {"unit": "tokens"}
    assert fact_patterns(**given)["pattern"] == 0
    assert tables.read(given["out"])["traced"].isna().all()


def test_places_and_patterns():
    assert [pattern(a, b) for a in (True, False) for b in (True, False)] == [
        "shared", "transferred", "independent", "unexplained",
    ]  # fmt: skip
    assert pattern(None, True) is None and pattern(True, None) is None
    assert [place(True, None), place(False, True), place(False, False), place(False, None), place(None, True)] == [
        HERE, ELSEWHERE, NOWHERE, None, None,
    ]  # fmt: skip
