"""Figures and tables of the scorer's bias, of baselines, and of language learning."""

import numpy as np
import pandas as pd
import pytest
import torch

from lorebridge import tables
from lorebridge.figures import curves, learning, scorer, style

NAMES = {"en": "English", "ko": "Korean", "zh": "Chinese", "bo": "Tibetan", "mn": "Mongolian"}


@pytest.fixture(scope="module")
def biased(tmp_path_factory):
    """A table "scorer" with the numbers that random models have on the released questions."""
    rows = []
    for culture, first, n in (("ko", 0.376, 598), ("zh", 0.89, 328), ("bo", 0.56, 268), ("mn", 0.62, 276)):
        for seed in (0, 1):
            for lang in (culture, "en"):
                for rule, accuracy, tied in (
                    ("reference", 0.2 + 0.5 * first, 0.8),
                    ("reversed", 0.2 - 0.15 * first, 0.8),
                    ("shared", 0.25, 0.8),
                    ("float32", 0.25, 0.01),
                ):
                    rows.append(
                        {
                            "seed": seed,
                            "culture": culture,
                            "lang": lang,
                            "rule": rule,
                            "n_questions": n,
                            "gold_first": first,
                            "tied": tied,
                            "accuracy": accuracy + 0.02 * seed,
                            "lo": 0.0,
                            "hi": 1.0,
                        }
                    )
    path = tmp_path_factory.mktemp("scorer") / "scorer.parquet"
    tables.write("scorer", rows, path)
    return path


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """Tables "perplexity" and "alignment" of a made-up study."""
    folder = tmp_path_factory.mktemp("learned")
    rng = np.random.default_rng(0)
    paths: dict[str, list] = {"perplexity": [], "alignment": []}
    for lang in list(NAMES)[1:]:
        for i, arm in enumerate(("bridge", "no_bridge")):
            for seed in (0, 1):
                name = {
                    "run": f"{lang}-{arm}-s{seed}",
                    "lang_pair": f"en-{lang}",
                    "learned": lang,
                    "arm": arm,
                    "seed": seed,
                }
                text, pairs = [], []
                for step in (0, 50, 100, 150):
                    for of_lang in ("en", lang):
                        bits = 1 + 2 * np.exp(-step / 50) * (of_lang == lang) + 0.05 * rng.random() + 0.1 * i
                        text.append(
                            {
                                **name,
                                "step": step,
                                "lang": of_lang,
                                "prefix": "bare",
                                "n_documents": 9,
                                "n_tokens": 1000,
                                "n_bytes": 4000,
                                "sum_nll": bits * 4000 * np.log(2),
                                "perplexity": np.exp(bits * 4 * np.log(2)),
                                "bits_per_byte": bits,
                            }
                        )
                    for layer in range(3):
                        share = (0.6 - 0.3 * i) * (1 - np.exp(-step / 60)) * (0.5 + 0.25 * layer)
                        pairs.append(
                            {
                                **name,
                                "step": step,
                                "lang": lang,
                                "layer": layer,
                                "n_pairs": 500,
                                "mexa": share,
                                "to_xx": share,
                                "to_en": share,
                            }
                        )
                for table, rows in (("perplexity", text), ("alignment", pairs)):
                    paths[table].append(folder / f"{table}-{name['run']}.parquet")
                    tables.write(table, rows, paths[table][-1])
    return paths


def test_figures_are_whole_and_the_same_twice(tmp_path, biased, learned):
    for out in (tmp_path / "a", tmp_path / "b"):
        scorer.figure(scorer=biased, names=NAMES, out=out / "scorer")
        scorer.table(scorer=biased, names=NAMES, out=out / "scorer_table")
        learning.learning(
            **learned, names=NAMES, base="en", arms=["bridge", "no_bridge"], prefix="bare", out=out / "learning"
        )
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 9
    assert [
        name for name in files if (tmp_path / "a" / name).read_bytes() != (tmp_path / "b" / name).read_bytes()
    ] == []


def test_the_table_has_the_mean_of_the_seeds(tmp_path, biased):
    scorer.table(scorer=biased, names=NAMES, out=tmp_path / "t")
    row = pd.read_csv(tmp_path / "t.csv").set_index(["culture", "asked_in"]).loc[("Chinese", "English")]
    assert row["reference"] == pytest.approx(100 * (0.2 + 0.445 + 0.01))
    assert (row["reference_max"] - row["reference_min"], row["tied_bfloat16"]) == (pytest.approx(2), pytest.approx(80))
    assert row["answer_listed_first"] == pytest.approx(89)


def test_rounding_is_that_of_bfloat16():
    values = pd.Series(np.random.default_rng(0).normal(-3, 2, 10_000)).astype(np.float32)
    expected = torch.tensor(values.to_numpy()).bfloat16().double().numpy()
    np.testing.assert_array_equal(scorer._bfloat16(values), expected)


def test_ties_and_baselines_of_a_study(drawn):
    found = pd.read_csv(drawn / "tables" / "ties.csv")
    assert len(found) == 8
    assert found["answer_listed_first"].eq(25).all()  # the answers of the made-up questions take turns
    assert (found["tied_rounded"] >= found["tied_float32"]).all()
    found = pd.read_csv(drawn / "tables" / "baselines.csv")
    assert len(found) == 8 and found["chance"].eq(25).all()
    assert found[["prior", "base_model"]].notna().all(axis=None)


def test_what_is_given_or_learned_from_several_languages_is_in_no_panel_of_one(tmp_path, learned):
    """Of a given model there is no curve; the others are drawn as without it."""
    only = {"names": NAMES, "base": "en", "arms": ["bridge", "no_bridge"], "prefix": "bare"}
    learning.learning(**learned, **only, out=tmp_path / "without")
    given = {"run": "gpt2", "lang_pair": None, "learned": None, "arm": None, "seed": None, "step": None}
    more = {}
    for name, paths in learned.items():
        tables.write(name, tables.read(paths[0]).head(1).assign(**given), tmp_path / f"{name}.parquet")
        more[name] = [*paths, tmp_path / f"{name}.parquet"]
    learning.learning(**more, **only, out=tmp_path / "with")
    assert (tmp_path / "with.svg").read_bytes() == (tmp_path / "without.svg").read_bytes()


def test_a_model_of_several_languages_has_a_panel_of_its_own(tmp_path, inputs, monkeypatch):
    one = tables.read(inputs[1]["metrics"][1])
    tables.write("metrics", one.assign(run="ko-and-zh", learned=None, arm=None), tmp_path / "both.parquet")
    titles = []
    monkeypatch.setattr(style, "save", lambda fig, out: titles.extend(ax.get_title() for ax in fig.axes))
    metrics = [*inputs[1]["metrics"], tmp_path / "both.parquet"]
    curves.losses(metrics=metrics, names=NAMES, base="en", arms=["bridge"], out=tmp_path / "losses")
    assert titles[0] == "English\nbase training, 1 run"
    assert titles[1] == "Korean\ncontinual pretraining, 6 runs"
    assert titles[-1] == "ko-and-zh\nbase training, 1 run"


def test_a_base_model_that_does_not_copy_makes_a_null_unreadable(tmp_path, inputs):
    folder, made = inputs
    said = dict.fromkeys(tables.SCHEMAS["copying"].names, 0) | {"learned": "en", "arm": "base", "lang": "en"}
    rows = [
        {"run": run, "step": step, "text": text, "copied": value, "lo": value - 0.05, "hi": value + 0.05}
        for run, last in (("base-s0", 0.9), ("base-s1", 0.1), ("base-s2", 0.5))
        for step, value in ((0, 0.0), (10, last))
        for text in ("random tokens", "clauses")
    ]
    tables.write("copying", [said | row for row in rows], tmp_path / "copying.parquet")
    given = {"copying": [tmp_path / "copying.parquet"], "names": NAMES, "subset": "clean", "rule": "mean"}
    given |= {"prefix": "bare"}
    learning.table(**given, resamples=50, seed=0, out=tmp_path / "real")
    found = pd.read_csv(tmp_path / "real.csv")
    assert len(found) == 6  # the last checkpoints alone
    null = "a null of bridging cannot be read"
    random = found["quantity"].str.endswith("random tokens")
    assert found.loc[random, ["threshold", "verdict"]].isna().all(axis=None)  # where clauses were asked, they decide
    assert dict(zip(found["model"], found["verdict"], strict=True)) == {
        "base-s0": "copies",
        "base-s1": f"does not copy: {null}",
        "base-s2": f"cannot tell: {null}",
    }
    base = tables.read(made["study"]["scores"][0]).assign(run="base-s0", learned="en", arm="base")
    tables.write("scores", base, tmp_path / "scores.parquet")
    planted = {"scores": [tmp_path / "scores.parquet"], "questions": made["study"]["questions"]}
    learning.table(**given, **planted, truth=folder / "truth.parquet", resamples=50, seed=0, out=tmp_path / "planted")
    found = pd.read_csv(tmp_path / "planted.csv").set_index("quantity")
    known = found.loc["answers facts that its text states"]
    assert known["threshold"] == learning.MEMORISED and known["verdict"] == f"does not know: {null}"
    assert known["lo"] <= known["value"] <= known["hi"] < 0.95
    assert pd.isna(found.loc["answers facts stated nowhere", "threshold"])
