"""What the stages of training make: models, trained phase by phase, or given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorebridge import config as configuration
from lorebridge.plan.stage import Argument, Arguments, File, Item, Stage, Wildcards, by, item, one
from lorebridge.plan.study import GIVEN, Model, Study, folder_files
from lorebridge.tokens.stages import stores, tokenizer, told
from lorebridge.train.schedule import KEPT

SCHEDULE = ("lr", "min_lr", "schedule", "warmup_ratio", "embedding_lr")
"""What a phase of training says of its learning rate; the last only if it is to be another."""


def checkpoints(model: Model) -> Item:
    """Return the checkpoints of a model."""
    return item(model.artifact[0], "checkpoints", run=model.name)


def metrics(model: Model) -> Item:
    """Return the table of a model's training."""
    return item(model.artifact[0], "metrics", run=model.name)


def _literals(study: Study, w: Wildcards) -> dict[str, Any]:
    model, training = study.model(w["run"]), study.config["training"]
    return {
        "run": model.name,
        **told(model),
        "model": study.config["model"],
        "optimizer": training["optimizer"],
        "schedule": {k: training[model.phase][k] for k in SCHEDULE if k in training[model.phase]},
        "precision": training["precision"],
        "steps": model.steps,
        "checkpoint_steps": list(model.checkpoints),
        "packing": training["packing"],
        "zero_stage": training["zero_stage"],
        "checkpoint_dtype": training["checkpoint_dtype"],
        **({"unseen_tokens": training[model.phase]["unseen_tokens"]} if _places(study, model) else {}),
    }


def _places(study: Study, model: Model) -> bool:
    """Say whether a run moves embeddings before it starts."""
    return model.start is not None and study.config["training"][model.phase].get("unseen_tokens", KEPT) != KEPT


def told_on_card(study: Study, w: Wildcards) -> dict[str, Any]:
    """Return what the study says on the cards of a run's checkpoints; no part of its recipe."""
    model = study.model(w["run"])
    texts = {name: study.text(name).lang for name in model.texts}
    start = None if model.start is None else study.model(model.start)
    return {
        "about": {
            "study": study.config["study"],
            "languages": {lang: study.languages[lang]["name"] for lang in dict.fromkeys(texts.values())},
            "texts": texts,
            "start": None if start is None else {"run": start.name, "step": start.checkpoints[-1]},
            "planted": study.planted,
            "remark": study.config["remark"],
        }
    }


def _inputs(study: Study, w: Wildcards) -> Arguments:
    model = study.model(w["run"])
    start: dict[str, Argument] = {}
    if model.start is not None:
        origin = study.model(model.start)
        start["start"] = by("step", [checkpoints(origin)])
        if _places(study, model):
            # The text of what it starts from; a chain of phases would need the text of each.
            start["read_before"] = by("stream", stores(origin.texts))
    return {
        "order": one(item("order", "order", run=model.name)),
        "stores": by("stream", stores(model.texts)),
        "tokenizer": one(tokenizer()),
        **start,
    }


def stage(phase: str, says: str) -> Stage:
    """Return the stage that trains the models of a phase, which is a section of ``training``."""
    return Stage(
        f"train_{phase}",
        says,
        "lorebridge.train.loop:train",
        version=3,
        files={
            "checkpoints": File(
                f"models/{phase}/{{run}}/step{{step}}",
                "transformers' `AutoModelForCausalLM.from_pretrained` works on it (of `model.kind: bert`, "
                "`AutoModelForMaskedLM`); `README.md` is its model card; step 0 is the "
                "starting point",
                folder=True,
                each=lambda study, w: [
                    {"step": str(step)} for step in configuration.checkpoint_steps(study.config["training"][phase])
                ],
            ),
            "metrics": File(f"models/{phase}/{{run}}/metrics.parquet", table="metrics"),
        },
        record=f"models/{phase}/{{run}}/record.json",
        literals=_literals,
        inputs=_inputs,
        runs=True,
        settings=told_on_card,
    )


def given_models(config: Mapping[str, Any], **rows: Any) -> list[Model]:
    """Return the models that a configuration gives, with further values of their rows."""
    return [Model(name=name, phase="given", texts=(), given=said, **rows) for name, said in config["given"].items()]


def _given_folder(study: Study, w: Wildcards) -> str | None:
    """Return the folder of a given model; None where it is of the hub."""
    said = study.model(w["run"]).given or {}
    return str(configuration.local_path(study.config, said["path"])) if "path" in said else None


def _given_identity(study: Study, w: Wildcards) -> dict[str, Any]:
    folder = _given_folder(study, w)
    if folder is None:
        return {"run": w["run"]}
    key = f"given.{w['run']}"
    known = study.known_folder(folder, key)
    if "config.json" not in known:
        mend = "Give a folder that `save_pretrained` or a run has written."
        raise configuration.ConfigError(f"key {key}", f"{folder} is no model folder (no config.json)", mend)
    if not any(name.endswith(".safetensors") for name in known):
        mend = "Convert its weights: `save_pretrained` writes safetensors; pickled weights are never read."
        raise configuration.ConfigError(f"key {key}", f"{folder} has no weights as safetensors", mend)
    return {"run": w["run"], "sha256": known}


def _given_sources(study: Study, w: Wildcards) -> dict[str, Any]:
    folder = _given_folder(study, w)
    return {} if folder is None else {"files": folder_files(folder)}


STAGES = (
    stage("base", "Train a base model, on text in one language."),
    stage("continual", "Train a model on, from a base model."),
    Stage(
        GIVEN,
        "Put a model in place that is given: a folder, or a commit of a hub's.",
        lambda study, w: f"lorebridge.train.given:{'copy_model' if _given_folder(study, w) else 'fetch_model'}",
        files={
            "checkpoints": File(
                "models/given/{run}/model",
                "a model that was not trained here, as it is; it is asked once, and its step is null",
                folder=True,
                each=lambda study, w: [{"step": ""}],
                argument="out",
            )
        },
        record="models/given/{run}/record.json",
        literals=lambda study, w: {k: v for k, v in (study.model(w["run"]).given or {}).items() if k != "path"},
        identity=_given_identity,
        sources=_given_sources,
    ),
)
