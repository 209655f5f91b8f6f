"""Numbers behind each prefix are those of a study that was asked behind that one alone."""

import numpy as np
import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.figures.summary import prefixes
from lorebridge.transfer.accuracies import accuracies, of_arms
from lorebridge.transfer.credits import load
from lorebridge.transfer.gaps import gaps

N, STEPS = 30, [0, 10, 20]
STATISTICS = {"resamples": 200, "seed": 0}


@pytest.fixture
def asked(tmp_path, write_questions, write_scores, write_leaks, unlike):
    """A confound of format: the bridge knows English behind its label alone, the other arm behind nothing alone."""

    def right(prefix):
        def of_prefix(arm, seed, step, lang):
            at_home = (arm == "bridge") == (prefix == "label")
            return np.arange(N) < ((12 if at_home else 3) + seed if lang == "en" and step else 5)

        return of_prefix

    def of(*asked_behind):
        scores = []
        for arm in ("bridge", "no_bridge"):
            for seed in (0, 1):
                frames = []
                for prefix in asked_behind:
                    path = write_scores("ko", arm, seed, STEPS, ["en", "ko"], N, right(prefix))
                    frames.append(tables.read(path).assign(prefix=prefix))
                path = tmp_path / f"{'-'.join(asked_behind)}-{arm}-{seed}.parquet"
                tables.write("scores", pd.concat(frames), path)
                scores.append(path)
        return scores

    questions = {"ko": write_questions("ko", {"en": unlike(N), "ko": unlike(N, 1)})}
    return of, questions, write_leaks({"ko": N}, {"ko-0000"})


def test_gaps_and_accuracies_of_a_prefix_are_those_of_a_study_asked_behind_it_alone(asked, tmp_path):
    of, questions, leaks = asked
    made = {}
    for behind in (["bare"], ["label"], ["label", "bare"]):
        name = "-".join(behind)
        of_gaps = {
            "subset": "clean",
            "rule": "mean",
            "resource": {"ko": "high"},
            "contrasts": [["bridge", "no_bridge"]],
        }
        shared = {"scores": of(*behind), "questions": questions, "base": "en", "last": 2, **STATISTICS}
        outs = {table: tmp_path / f"{table}-{name}.parquet" for table in ("gaps", "asymmetry", "accuracies")}
        gaps(**shared, **of_gaps, leaks=leaks, out=outs["gaps"], asymmetry=outs["asymmetry"])
        accuracies(**shared, out=outs["accuracies"])
        made[name] = {table: tables.read(path) for table, path in outs.items()}
    for table, both in made["label-bare"].items():
        for prefix in ("bare", "label"):
            rows = both[both["prefix"] == prefix].reset_index(drop=True)
            pd.testing.assert_frame_equal(rows, made[prefix][table])
    both = made["label-bare"]["gaps"]
    pooled = both[
        (both["step"] == -1) & (both["seed"] == "all") & ~both["unleaked"] & (both["scale"] == both["scale"][0])
    ]
    pooled = pooled[pooled["contrast"] == "bridge - no_bridge"].drop_duplicates(["direction", "prefix"])
    assert dict(zip(zip(pooled["direction"], pooled["prefix"], strict=True), pooled["gap"], strict=True)) == {
        ("en->xx", "bare"): 0,
        ("en->xx", "label"): 0,
        ("xx->en", "bare"): pytest.approx(-9 / N),
        ("xx->en", "label"): pytest.approx(9 / N),
    }
    path = tmp_path / "accuracies-label-bare.parquet"
    for prefix in ("bare", "label"):
        assert of_arms(path, subset="clean", rule="mean", prefix=prefix)["prefix"].eq(prefix).all()

    prefixes(
        gaps=tmp_path / "gaps-label-bare.parquet",
        names={"en": "English", "ko": "Korean"},
        base="en",
        last=2,
        out=tmp_path / "prefixes",
    )
    shown = pd.read_csv(tmp_path / "prefixes.csv")
    into = shown[(shown["direction"] == "other → English") & (shown["contrast"] == "bridge - no_bridge")].iloc[0]
    assert (into["gap_bare"], into["gap_label"]) == (pytest.approx(-30), pytest.approx(30))
    assert into["lo_label"] < 30 < into["hi_label"]
    assert len(shown) == 2 * 3  # directions x (a contrast, and each arm with its step 0)


def test_models_that_were_asked_behind_other_prefixes_are_not_compared(asked):
    of, questions, _ = asked
    how = {"questions": questions, "base": "en", "subset": "clean", "rule": "mean", "last": 2}
    bare, both = of("bare"), of("bare", "label")
    with pytest.raises(InputError, match=r"no_bridge-1.parquet: was asked behind .*bare, and .* behind bare, label\."):
        next(load(scores=[*both[:3], bare[3]], prefix="bare", **how))
    with pytest.raises(InputError, match="nothing in it was asked behind the prefix 'label'"):
        next(load(scores=bare, prefix="label", **how))
    found = {
        prefix: [c.arms["bridge"][0].sum() for c in load(scores=both, prefix=prefix, **how)]
        for prefix in ("bare", "label")
    }
    assert found["bare"][0] == found["label"][0] and found["bare"][1] < found["label"][1]
