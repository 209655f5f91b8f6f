"""A study of removal: planned without torch or data, made of a planted world, and shown."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lorebridge import config, studies, tables
from lorebridge.errors import ConfigError
from lorebridge.plan.cost import Cost
from lorebridge.plan.stage import artifact
from lorebridge.studies.removal.study import AGAIN_SEED, compared
from lorebridge.tokens.removal import Exclusions

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "config"
LEVELS = ["f0", "stated"]


def removal():
    """The demo's configuration, cut down until the workflow's own overhead is all that costs time."""
    said = copy.deepcopy(config.read(CONFIGS / "removal-demo.yaml"))
    said |= {"study": "removal", "seeds": [0]}
    said["world"] |= {"topics": {"test": 1, "train": 1, "both": 1, "plain": 6}, "pages": 6, "neither": 3}
    for corpus in said["corpora"].values():
        corpus["heldout"] = 0.05
    said["removal"] |= {"levels": LEVELS, "again": False}
    said["neighbours"]["top"] = 3
    said["tokenizer"] |= {"vocab_size": 700, "bytes_per_group": 60000}
    said["model"] |= {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    said["training"]["joint"] |= {"steps": 40, "checkpoints": {"every": 40}}
    said["training"]["sft"] |= {"epochs": 1, "examples": 8, "batch_examples": 4}
    said["inference"] |= {"resamples": 100}
    return said


@pytest.fixture(scope="module")
def made(new_study, tmp_path_factory):
    study = new_study(tmp_path_factory.mktemp("removal") / "study")
    study.config = removal()
    study.write()
    counts = study.planned()
    assert counts["train_joint"] == counts["train_sft"] == counts["qa_answers"] == len(LEVELS)
    study.run()
    return study


def test_what_was_removed_is_what_the_world_says(made):
    sizes = tables.read(made.results / "pages/filter_sizes.parquet").set_index(["lang", "level"])
    assert (sizes["token_difference"] == 0).all() and (sizes.loc["en", "tokens_removed"] == 0).all()
    target = sizes.loc["hi"]
    assert target.loc["stated", "residual_facts"] == 0 < target.loc["f0", "residual_facts"] == target["n_facts"].max()
    assert (sizes.loc["en", "residual_facts"] == target["n_facts"].max()).all()
    assert target["tokens_removed"][["f0", "f1", "f2", "f3", "f4"]].is_monotonic_increasing
    found = Exclusions.read(made.results / "pages/exclusions.parquet")
    before = np.zeros(len(found.page_id), bool)
    for level in ("f1", "f2", "f3", "f4"):
        assert (found.removed(level) | ~before).all()
        before = found.removed(level)
    assert not before[found.reserve].any() and not found.stated[found.reserve].any()
    qa = tables.read(made.results / "qa/qa.parquet")
    tested = set(qa.loc[qa["split"] == "test", "page_id"])
    assert tested == set(found.page_id[found.removed("f1")])


def test_models_of_a_level_read_the_same_but_for_what_is_removed(made):
    """English at every position; and as many tokens of Hindi."""
    orders = {level: tables.read(made.results / f"order/joint-{level}-s0.parquet") for level in LEVELS}
    english = [order[order["stream"] == "mono-en"] for order in orders.values()]
    place = ["sequence", "piece", "start", "n_tokens"]
    for other in english[1:]:
        pd.testing.assert_frame_equal(english[0][place].reset_index(drop=True), other[place].reset_index(drop=True))
    assert len({order["n_tokens"].sum() for order in orders.values()}) == 1


def test_all_is_asked_compared_and_shown(made):
    assert made.planned() == {}
    asked = tables.read(made.results / "qa/scores/joint-stated-s0.sft.open.s0.parquet")
    assert set(asked["step"]) == {0, 2} and set(asked["split"]) == {"test", "both", "neither"}
    found = tables.read(made.results / "removal/equivalence.parquet")
    assert set(found["contrast"]) >= {"stated - f0"} and set(found["tuned"]) == {"none", "open"}
    assert found["verdict"].isin(["above", "below", "equivalent", "undecided"]).all()
    for name in ("accuracy", "correlation", "alarms"):
        assert len(tables.read(made.results / f"removal/{name}.parquet"))
    page = (made.results / "report/summary.html").read_text(encoding="utf-8")
    assert "<h1>Does joint pretraining carry what only one language states?</h1>" in page
    assert "stated removes every page that states a fact of the test" in page
    assert "is stated in Hindi any more" in page


def test_what_leaves_no_room_for_the_reserve_stops_a_dry_run(made, tmp_path):
    """By the neighbours that were found, where they are those that the configuration asks for."""
    study = made.copy(tmp_path / "study")
    record = study.results / "pages/neighbours.parquet.record.json"
    said = json.loads(record.read_text())
    sizes = said["notes"]["sizes"]["hi"]
    sizes |= {"f1": sizes["available"] + 1}
    study.config["removal"]["levels"] = ["f0", "f1", "stated"]
    study.write()
    record.write_text(json.dumps(said))
    line = study.snakemake("--dry-run", check=False)
    assert "f1 removes" in line and "at most half can go" in line and "Traceback" not in line
    study.config["neighbours"]["top"] = 2
    study.write()
    assert "neighbours" in study.planned()


def test_the_paper_is_planned_with_hours_and_disk():
    said = config.load(CONFIGS / "removal.yaml")
    study = studies.plan(said).study
    cost = Cost(study)
    # 200M parameters outside the embeddings, 10B tokens, 7 levels and 3 seeds.
    assert cost.totals["parameters"] - 2 * 32000 * 1024 == pytest.approx(2e8, rel=0.03)
    assert cost.totals["gpu_hours"] == pytest.approx(290, rel=0.05) and cost.totals["disk_bytes"] < 1e12
    assert len(study.of_phase("joint")) == 21 and len(study.of_phase("sft")) == 84
    rows = compared(study)
    assert len(rows) == 168 and {row["level"] for row in rows} == {"f0", "f1", "f2", "f3", "f4", "stated", "again"}
    again = [row for row in rows if row["level"] == "again"]
    assert {row["seed"] for row in again} == {0, 1, 2}
    assert {study.model(row["run"]).seed for row in again} == {AGAIN_SEED, AGAIN_SEED + 1, AGAIN_SEED + 2}


def test_another_margin_trains_nothing_again():
    first, second = removal(), removal()
    second["inference"]["margin"] = {"em_folded": 0.2}
    one, two = (studies.plan(config.check(said)) for said in (first, second))
    name = artifact("qa_answers", run="joint-f0-s0.sft.open.s0")
    assert one.recipe(name) == two.recipe(name)
    assert one.recipe(artifact("equivalence")) != two.recipe(artifact("equivalence"))


def test_a_level_is_one_of_those_that_there_are():
    said = removal()
    said["removal"]["levels"] = ["f0", "f5"]
    with pytest.raises(ConfigError, match=r"removal\.levels"):
        config.check(said)
