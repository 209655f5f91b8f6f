"""Every checkpoint has a model card, and it says what is so."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM, AutoTokenizer

from lorebridge import studies, tables
from lorebridge.train import card as cards
from lorebridge.train.loop import train
from lorebridge.train.stages import told_on_card

ABOUT = {
    "study": "tiny",
    "languages": {"en": "English"},
    "texts": {"mono-en": "en"},
    "start": None,
    "planted": True,
    "remark": "Only a test: nothing of this is so.",
}


@pytest.fixture(scope="module")
def run(study, tmp_path_factory):
    """A run and one that goes on from it."""
    folder = tmp_path_factory.mktemp("cards")
    train(**study, out=folder / "base", work=folder / "work-base", about=ABOUT)
    start = {"run": "base-s0", "step": 8}
    further = {"run": "ko-bridge-s0", "arm": "bridge", "init_from": folder / "base" / "step8", "recipe": "further"}
    train(**study | further, out=folder / "further", work=folder / "work", about=ABOUT | {"start": start})
    return folder


def text_of(checkpoint):
    return (checkpoint / "README.md").read_text(encoding="utf-8")


def test_every_checkpoint_has_its_own(run, study):
    for name, folder in (("base-s0", run / "base"), ("ko-bridge-s0", run / "further")):
        for step in study["checkpoint_steps"]:
            text = text_of(folder / f"step{step}")
            assert f"# {name}, step {step}\n" in text
            assert f"| step | {step} of 8 |" in text


def test_it_says_what_was_read(run, study):
    metrics = tables.read(run / "base" / "metrics.parquet")
    text = text_of(run / "base" / "step3")
    read, targets = metrics["tokens"][:3].sum(), metrics["target_tokens"][:3].sum()
    assert f"| tokens seen | {read:,} positions, of which {targets:,} with a loss" in text
    assert f"{metrics['loss'][2]:.4f} nats" in text
    said = json.loads((study["stores"]["mono-en"] / "store.json").read_text())
    counts = " | ".join(f"{said[key]:,}" for key in ("n_documents", "n_tokens", "n_bytes"))
    assert f"| `mono-en` | en | {counts} | `{said['digest']}` |" in text
    assert ABOUT["remark"] in text and "planted world" in text


def test_the_hub_reads_it_and_the_licence_is_left_to_whoever_publishes(run):
    text = text_of(run / "further" / "step8")
    data = ModelCard(text).data.to_dict()
    assert data["language"] == ["en"] and data["base_model"] == "base-s0" and data["library_name"] == "transformers"
    front = yaml.safe_load(text.split("---\n")[1])
    assert "license" in front and front["license"] is None
    assert "base_model" not in yaml.safe_load(text_of(run / "base" / "step8").split("---\n")[1])


def test_a_checkpoint_with_its_card_loads_as_the_card_says(run):
    folder = run / "further" / "step8"
    code = re.search(r"```python\n(.*?)```", text_of(folder), re.S).group(1).replace("THIS FOLDER", str(folder))
    names = {}
    exec(code, names)
    assert isinstance(names["model"], type(AutoModelForCausalLM.from_pretrained(folder)))
    assert names["tokenizer"]("ab").input_ids == AutoTokenizer.from_pretrained(folder)("ab").input_ids


def test_the_study_tells_the_card_and_no_recipe_knows(demo):
    plan = studies.plan(demo)
    about = told_on_card(plan.study, {"run": "ko-bridge-s1"})["about"]
    assert about["start"] == {"run": "base-s1", "step": 300}
    assert about["languages"] == {"ko": "Korean", "en": "English"}
    assert about["texts"] == {"mono-ko": "ko", "pairs-ko-en": "en", "pairs-ko-xx": "ko"}
    task = plan.task("train_continual", run="ko-bridge-s1")
    assert task.call["given"]["about"] == about
    demo["remark"] = "Another."
    assert studies.plan(demo).task("train_continual", run="ko-bridge-s1").recipe == task.recipe


def test_answers_are_put_into_a_card(run):
    text = text_of(run / "further" / "step8")
    answer = {
        "culture": "ko", "lang": "en", "n_questions": 180, "subset": "clean", "rule": "mean", "prefix": "bare",
        "accuracy": 0.3123, "lo": 0.25, "hi": 0.375, "chance": 0.25,
    }  # fmt: skip
    held = {"lang": "en", "n_documents": 12, "bits_per_byte": 2.5}
    filled = cards.evaluated(text, [answer, answer | {"lo": float("nan"), "hi": float("nan")}], [held])
    assert "| ko | en | 180 (clean) | mean | bare | 31.2 % (25.0 to 37.5) | 25.0 % |" in filled
    assert "| ko | en | 180 (clean) | mean | bare | 31.2 % | 25.0 % |" in filled
    assert "| en | 12 | 2.500 |" in filled
    assert "Not yet known" in text and "Not yet known" not in filled
    assert filled.split("## Evaluation")[0] == text.split("## Evaluation")[0]
    assert filled.split("## How to load it")[1] == text.split("## How to load it")[1]
