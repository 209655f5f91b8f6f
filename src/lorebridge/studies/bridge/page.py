"""What the page of a study of bridges says beside its figures and tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lorebridge.config import checkpoint_steps
from lorebridge.figures.effects import direction_label
from lorebridge.figures.page import Account
from lorebridge.figures.readings import HEADLINES, verdicts
from lorebridge.figures.style import seeds_phrase
from lorebridge.figures.write import final_checkpoints
from lorebridge.tokens.arms import ARMS
from lorebridge.transfer.standard import contrasts


def account(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> Account:
    """Return what the study asks, was, and found.

    Args:
        rows: the study's tables (CSV), by name.
        config: its configuration.
    """
    languages, base = config["languages"], config["base_language"]
    others = [lang for lang in languages if lang != base]
    return Account(
        question="How does cultural knowledge cross from one language to another while a language model learns the "
        "second one?",
        about="Models are trained on text in which every document is known. Each is given a bridge between two "
        "languages, or the same text without it; both languages are asked the same questions at every checkpoint, and "
        "answers are traced back to the documents that state them.",
        found=[finding for find in HEADLINES for finding in find(rows, config)],
        design=_design(config),
        roles={base: "base", **{lang: f"{languages[lang]['resource']}-resource" for lang in others}},
        declared=verdicts(rows, config),
        terms={"Arms": {arm: ARMS[arm].says for arm in config["arms"]}},
    )


def _design(config: Mapping[str, Any]) -> dict[str, str]:
    """Return what was done, by heading."""
    training, model, probing = config["training"], config["model"], config["probing"]
    base, continual = training["base"], training["continual"]
    language = config["languages"][config["base_language"]]["name"]
    step = "steps of {} tokens each"
    return {
        "Model": f"from scratch, {model['num_hidden_layers']} layers, width {model['hidden_size']}, "
        f"{model['num_attention_heads']} attention heads",
        "First": f"{base['steps']:,} {step.format(format(base['batch_tokens'], ','))} in {language} alone",
        "Then": f"{continual['steps']:,} {step.format(format(continual['batch_tokens'], ','))}: text of one other "
        "language, and as much parallel text, arranged by the arm",
        "Asked": f"the same cloze questions in both languages at {len(checkpoint_steps(continual))} checkpoints; "
        f"questions: {probing['subset']}; options compared by the rule ‘{probing['rule']}’; ties share the "
        "credit",
        "Seeds": f"{seeds_phrase(len(config['seeds']))} of data order"
        + (" and of the base model" if training["base_per_seed"] else ", one base model"),
        "Headline": f"mean of {final_checkpoints(config['transfer']['last'])}; gaps between arms, "
        + ", ".join(" - ".join(pair) for pair in contrasts(config)),
        "Directions": f"{direction_label('en->xx', language)}: what crosses from {language}, asked for in the other "
        f"language; {direction_label('xx->en', language)}: what crosses into {language}, asked for in {language}",
    }
