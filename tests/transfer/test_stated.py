"""What crosses: planted transfer comes back, and the form of names is no transfer."""

import itertools

import numpy as np
import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.transfer.stated import PLACES, by_place, fact_transfer, places, within_languages


def test_a_place_is_seen_from_a_language():
    said = [("f", "en", 2), ("f", "de", 0), ("g", "en", 0), ("g", "de", 0), ("h", "en", 1), ("h", "de", 1)]
    found = places(pd.DataFrame(said, columns=["fact_id", "lang", "n"])).set_index(["fact_id", "lang"])["place"]
    assert found.to_dict() == {
        ("f", "en"): "here",
        ("f", "de"): "elsewhere",
        ("g", "en"): "nowhere",
        ("g", "de"): "nowhere",
        ("h", "en"): "here",
        ("h", "de"): "here",
    }


def world(rng, transfer, n=400):
    """Facts of an easy relation that is mostly stated elsewhere, and of a hard one that is mostly stated nowhere."""
    rows = []
    for subject in range(n):
        for relation, form, share in (("easy", 0.6, 0.8), ("hard", 0.1, 0.2)):
            place = "here" if rng.random() < 0.3 else "elsewhere" if rng.random() < share else "nowhere"
            chance = {"here": 0.95, "elsewhere": form + transfer, "nowhere": form}[place]
            rows.append((f"s{subject}", relation, place, float(rng.random() < chance)))
    return pd.DataFrame(rows, columns=["subject_id", "relation", "place", "exact"])


@pytest.mark.parametrize("transfer", [0.0, 0.25])
def test_planted_transfer_comes_back_whatever_the_form_gives(transfer):
    rng = np.random.default_rng(1)
    covered, naive = [], []
    for _ in range(40):
        found = {row["place"]: row for row in by_place(world(rng, transfer), 200, 0)}
        covered.append(found["transfer"]["lo"] <= transfer <= found["transfer"]["hi"])
        naive.append(found["elsewhere"]["p1"] - found["nowhere"]["p1"])
    assert np.mean(covered) >= 0.85
    # Without relations the easy one would pass for transfer.
    assert np.mean(naive) > transfer + 0.15


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_where_all_is_right_or_wrong_others_may_differ(right):
    """The rule of three: 20 subjects a place, of two relations; and of the contrast of both sides' ends."""
    rows = [
        (f"{place}{n}", relation, place, right)
        for place in ("here", "elsewhere", "nowhere")
        for n in range(20)
        for relation in ("r", "q")
    ]
    found = list(by_place(pd.DataFrame(rows, columns=["subject_id", "relation", "place", "exact"]), 100, 0))
    unseen = 1 - 0.025 ** (1 / 20)
    for row in found[:3]:
        ends = (1 - unseen, 1.0) if right else (0.0, unseen)
        assert (row["lo"], row["hi"]) == pytest.approx(ends)
    assert (found[3]["p1"], found[3]["lo"], found[3]["hi"]) == pytest.approx((0.0, -unseen, unseen))


def test_every_language_and_checkpoint_is_told_by_what_it_states(tmp_path):
    """English states e, Korean k; the model knows at step 1 what a language states, and at step 2 all but n."""
    facts, truth, scores = [], [], []
    for lang, fact in itertools.product(("en", "ko"), "ekn"):
        subject = {"fact_id": fact, "lang": lang, "subject_id": fact}
        facts.append(dict.fromkeys(tables.SCHEMAS["facts"].names) | subject)
        states = int((fact, lang) in {("e", "en"), ("k", "ko")})
        said = {"question_id": fact, "corpus": lang, "n_statements": states}
        truth.append(dict.fromkeys(tables.SCHEMAS["truth"].names) | said)
        for step in (1, 2):
            row = {"run": "r", "step": step, "fact_id": fact, "lang": lang, "relation": "born"}
            right = states if step == 1 else fact != "n"
            scores.append(dict.fromkeys(tables.SCHEMAS["fact_scores"].names) | row | {"exact": float(right)})
    given = {}
    for name, rows in (("facts", facts), ("truth", truth), ("fact_scores", scores)):
        given[name] = tmp_path / f"{name}.parquet"
        tables.write(name, rows, given[name])
    out = tmp_path / "fact_transfer.parquet"
    of = {"facts": given["facts"], "truth": given["truth"], "scores": [given["fact_scores"]]}
    fact_transfer(**of, resamples=50, seed=0, out=out)
    found = tables.read(out).set_index(["step", "lang", "place"])["p1"].to_dict()
    for lang in ("en", "ko"):
        told = {step: [found[step, lang, place] for place in (*PLACES, "transfer")] for step in (1, 2)}
        assert told == {1: [1, 0, 0, 0], 2: [1, 1, 0, 1]}


def test_what_says_nothing_is_missing():
    rows = pd.DataFrame([("s", "r", "here", 1.0)], columns=["subject_id", "relation", "place", "exact"])
    here, elsewhere, _, transfer = by_place(rows, 100, 0)
    assert here == {"place": "here", "n": 1, "n_subjects": 1, "p1": 1.0, "lo": None, "hi": None}
    assert elsewhere["p1"] is None and transfer["p1"] is None and transfer["n"] == 0


def test_over_all_languages_a_fact_is_compared_within_its_language():
    """English is easy and told elsewhere, Korean hard and told nowhere: pooled, that would pass for transfer."""
    rng = np.random.default_rng(2)
    rows = pd.DataFrame(
        [
            (f"s{n}", "r", lang, "elsewhere" if rng.random() < share else "nowhere", float(rng.random() < form))
            for lang, form, share in (("en", 0.7, 0.8), ("ko", 0.1, 0.2))
            for n in range(200)
        ],
        columns=["subject_id", "relation", "lang", "place", "exact"],
    )
    *_, transfer = by_place(within_languages(rows), 200, 0)
    assert transfer["lo"] < 0 < transfer["hi"]
    *_, pooled = by_place(rows, 200, 0)
    assert pooled["lo"] > 0.1
