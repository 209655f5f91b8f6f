"""What the stages of training make: models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorebridge.config import checkpoint_steps
from lorebridge.plan.stage import Arguments, File, Item, Stage, Wildcards, by, item, one
from lorebridge.plan.study import Model, Study
from lorebridge.tokens.stages import stores, tokenizer


def checkpoints(model: Model) -> Item:
    """Return the checkpoints of a model."""
    return _file(model, "checkpoints")


def metrics(model: Model) -> Item:
    """Return the table of a model's training, known by the model."""
    return _file(model, "metrics").known_by(run=model.name)


def _file(model: Model, file: str) -> Item:
    stage, wildcards = model.artifact
    return item(stage, file, **dict(wildcards))


def _named(study: Study, stage: str, w: Wildcards) -> Model:
    """Return the model that an artifact is."""
    wanted = (stage, tuple(sorted((key, str(value)) for key, value in w.items())))
    return next(model for model in study.models.values() if model.artifact == wanted)


def _literals(study: Study, model: Model) -> dict[str, Any]:
    training = study.config["training"]
    return {
        "run": model.name,
        "model": study.config["model"],
        "optimizer": training["optimizer"],
        "schedule": {k: training[model.phase][k] for k in ("lr", "min_lr", "schedule", "warmup_ratio")},
        "precision": training["precision"],
        "seed": model.seed,
        "steps": model.steps,
        "checkpoint_steps": list(model.checkpoints),
        "packing": training["packing"],
        "zero_stage": training["zero_stage"],
        "checkpoint_dtype": training["checkpoint_dtype"],
    }


def _inputs(study: Study, model: Model) -> Arguments:
    start = {} if model.start is None else {"start": by("step", [checkpoints(study.model(model.start))])}
    return {
        "order": one(item("order", "order", run=model.name)),
        "stores": by("stream", stores(model.texts)),
        "tokenizer": one(tokenizer()),
        **start,
    }


def _files(stem: str, phase: str) -> Mapping[str, File]:
    return {
        "checkpoints": File(
            f"{stem}/step{{step}}",
            "`AutoModelForCausalLM.from_pretrained` works on it; step 0 is the starting point",
            folder=True,
            each=lambda study, w: [{"step": str(step)} for step in checkpoint_steps(study.config["training"][phase])],
        ),
        "metrics": File(f"{stem}/metrics.parquet", table="metrics"),
    }


def _stage(name: str, says: str, stem: str, phase: str) -> Stage:
    return Stage(
        name,
        says,
        "lorebridge.train.loop:train",
        version=2,
        files=_files(stem, phase),
        record=f"{stem}/record.json",
        literals=lambda study, w: _literals(study, _named(study, name, w)),
        inputs=lambda study, w: _inputs(study, _named(study, name, w)),
    )


STAGES = (
    _stage("base_model", "Train a base model, on text in one language.", "models/base/s{seed}", "base"),
    _stage("model", "Train a model on, from a base model.", "models/{lang}/{arm}/s{seed}", "continual"),
)
