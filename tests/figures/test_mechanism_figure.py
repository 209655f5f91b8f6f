"""Whether alignment comes before accuracy: the figure, its table, and the sentences on it, with the answer planted."""

import numpy as np
import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.figures import mechanism, readings

STEPS = [0, 50, 100, 150]
NAMES = {"en": "English", "ko": "Korean"}
N = 24


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """With a bridge, states align at step 50 and facts that only English states are answered from step 100 on."""
    folder = tmp_path_factory.mktemp("mechanism")
    ids = [f"ko-{i:04d}" for i in range(N)]
    letters = np.random.default_rng(0).choice(list("abcdefghijklmnopqrstuvwxyz"), (2, N, 24))
    asked = [
        {
            "question_id": name,
            "culture": "ko",
            "lang": lang,
            "text": "".join(letters[k, i]) + " ____",
            "option_index": j,
            "option": f"{lang}{i}-{j}",
            "is_gold": j == 0,
            "subset": ["reference", "clean"],
            "n_blanks": 1,
        }
        for k, lang in enumerate(("en", "ko"))
        for i, name in enumerate(ids)
        for j in range(4)
    ]
    tables.write("questions", asked, folder / "questions.parquet")
    placed = [("en_only", "xx_only", "both", "neither")[i % 4] for i in range(N)]
    blank = dict.fromkeys(tables.SCHEMAS["truth"].names)
    truth = [
        blank | {"question_id": name, "culture": "ko", "placed": where, "corpus": lang}
        for name, where in zip(ids, placed, strict=True)
        for lang in ("en", "ko")
    ]
    tables.write("truth", truth, folder / "truth.parquet")
    scores, measured = [], []
    for arm in ("bridge", "no_bridge"):
        for seed in (0, 1):
            said = {"run": f"ko-{arm}-s{seed}", "learned": "ko", "arm": arm, "seed": seed}
            index = pd.MultiIndex.from_product([STEPS, ("en", "ko"), range(N), range(4)])
            table = index.to_frame(index=False, name=["step", "lang", "question", "option_index"])
            known = (arm == "bridge") & (table["step"] >= 100) & (table["question"] % 4 == 0)
            table["sum_logprob"] = np.where(table["option_index"] == 0, np.where(known, -1.0, -9.0), -5.0)
            table["question_id"] = [ids[i] for i in table.pop("question")]
            table = table.assign(**said, lang_pair="en-ko", culture="ko", prefix="bare")
            scores.append(folder / f"{said['run']}.parquet")
            tables.write("scores", table.assign(n_tokens=9, n_bytes=40, prior_logprob=-5.0, prior_tokens=2), scores[-1])
            for step in STEPS:
                rises = 0.9 if arm == "bridge" and step >= 50 else 0.04
                for of, layer, position, measure, value in (
                    ("embeddings", 0, "subject", "nearest", 0.04),
                    ("states", 0, "relation", "nearest", 0.01),
                    ("states", 1, "relation", "nearest", rises),
                    ("states", 1, "relation", "margin", 2.0),
                    ("translation", None, "en->ko", "gain", 0.5 if arm == "bridge" and step == 150 else 0.0),
                    ("translation", None, "ko->en", "gain", 0.0),
                ):
                    place = {"step": step, "of": of, "layer": layer, "position": position, "measure": measure}
                    ends = {"value": value, "lo": value - 0.02, "hi": value + 0.02}
                    chance = 0.0 if measure == "gain" else 0.04
                    measured.append({**said, **place, **ends, "chance": chance, "n": 25})
    tables.write("mechanism", measured, folder / "mechanism.parquet")
    return {
        "mechanism": [folder / "mechanism.parquet"],
        "scores": scores,
        "questions": {"ko": folder / "questions.parquet"},
        "truth": folder / "truth.parquet",
        "names": NAMES,
        "base": "en",
        "arms": ["bridge", "no_bridge"],
        "subset": "clean",
        "rule": "mean",
        "prefix": "bare",
        "resamples": 200,
        "seed": 0,
    }


def test_what_is_half_risen_first_is_said_to_come_before(study, tmp_path):
    mechanism.table(**study, out=tmp_path / "mechanism")
    found = pd.read_csv(tmp_path / "mechanism.csv", keep_default_na=False, na_values=[""])
    rows = found.fillna({"direction": ""}).set_index(["quantity", "arm", "direction"])
    known = rows.loc[(mechanism.KNOWN, "bridge", "en->xx")]
    assert (known["at_start"], known["at_end"], known["half_risen"], known["checkpoint_before"]) == (0, 1, 100, 50)
    states = rows.loc[("states at the relation", "bridge", "")]  # the better layer
    assert (states["at_end"], states["half_risen"], states["checkpoint_before"]) == (0.9, 50, 0)
    assert rows.loc[(mechanism.TRANSLATES, "bridge", "en->xx"), "half_risen"] == 150
    assert rows.xs("no_bridge", level="arm")["half_risen"].isna().all()
    assert rows.loc[("embeddings of names", "bridge", ""), ["half_risen"]].isna().all()
    bridge, without = readings.mechanism({"mechanism": found}, {})
    assert "half risen at step 100. Half risen before: states at the relation; after: translates in context." in bridge
    assert without.startswith("Korean, no_bridge: what only the source states does not come to be answered")
    assert "nothing" in without


def test_a_rise_needs_every_seed():
    rows = pd.DataFrame({"seed": [0, 1] * 3, "step": [0, 0, 5, 5, 10, 10], "value": [0, 0.2, 0.1, 0.2, 1, 0.3]})
    rows = rows.assign(lo=rows["value"] - 0.05, hi=rows["value"] + 0.05)
    assert np.isnan(mechanism.half_risen(rows))  # the second seed's intervals touch
    assert mechanism.half_risen(rows[rows["seed"] == 0]) == 10
    assert np.isnan(mechanism.half_risen(rows[rows["step"] == 0]))


def test_the_figure_is_whole_and_the_same_twice(study, tmp_path):
    for name in ("a", "b"):
        mechanism.figure(**study, out=tmp_path / name / "mechanism")
    for suffix in ("pdf", "svg", "png"):
        files = [(tmp_path / name / f"mechanism.{suffix}").read_bytes() for name in ("a", "b")]
        assert files[0] == files[1] and len(files[0]) > 5000
