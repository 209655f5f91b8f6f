"""What the stages of training make: models, trained phase by phase, or given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lorebridge import config as configuration
from lorebridge.plan.stage import Argument, Arguments, File, Item, Stage, Wildcards, by, item, one
from lorebridge.plan.study import GIVEN, Model, Study, Text, folder_files
from lorebridge.tokens.stages import cut_by, stores, tokenizer, told
from lorebridge.tokens.templates import leads
from lorebridge.train.schedule import KEPT

SCHEDULE = ("lr", "min_lr", "schedule", "warmup_ratio", "embedding_lr")
"""What a phase of training says of its learning rate; the last only if it is to be another."""
ISOLATED = "isolated"
"""How rows of a tuning are packed, whatever the packing of other text."""
READ = ("template", "epochs", "examples", "batch_examples", "turns")
"""What a phase of tuning says of how its rows are read."""


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
        # What is tuned is what it starts from.
        "model": None if model.tuning is not None else study.config["model"],
        "optimizer": training["optimizer"] | {k: v for k, v in training[model.phase].items() if k == "weight_decay"},
        "schedule": {k: training[model.phase][k] for k in SCHEDULE if k in training[model.phase]},
        "precision": training["precision"],
        "steps": model.steps,
        "checkpoint_steps": list(model.checkpoints),
        "packing": training["packing"] if model.tuning is None else ISOLATED,
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
        "tokenizer": one(tokenizer(cut_by(study, model))),
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


def tuned_models(
    config: Mapping[str, Any],
    phase: str,
    starts: Iterable[Model],
    sets: Mapping[str, Sequence[tuple[str, Item]]],
    *,
    own_seed: bool = False,
) -> tuple[list[Text], list[Model]]:
    """Return the models that are tuned in a phase, each of some models on each of some sets of rows, and their texts.

    Args:
        config: of the study; the phase is a section of ``training`` as ``$defs/tuned`` has it.
        phase: its name. Its stage is :func:`stage` of it.
        starts: models, trained at their last checkpoint or given, that tuning starts from. Of one that is given the
            text is cut with its own tokenizer.
        sets: name -> for each of its languages, in the order in which they come, the code and a table "tuning". All
            have as many languages.
        own_seed: whether each start is tuned with its own seed alone, and not with each of the study's.

    Returns:
        Texts, two for each table and tokenizer; and a model for each start, set and seed, whose arm is the set.
    """
    said = config["training"][phase]
    _, *spaces = leads(said["template"])
    texts: dict[str, Text] = {}
    models = []
    for start in starts:
        own = start.name if start.given is not None else ""
        for name, tables in sets.items():
            pairs = []
            for lang, table in tables:
                pair = {}
                for role, lead in zip(("prompt", "answer"), spaces, strict=True):
                    stream = ".".join(filter(None, (phase, name, lang, role, own)))
                    pair[role] = stream
                    texts[stream] = Text(stream, lang, role, (table,), (), (), cut_by=own, lead=lead)
                pairs.append(pair)
            langs = [lang for lang, _ in tables]
            steps = configuration.steps(said)
            models += [
                Model(
                    ".".join((start.name, phase, name, f"s{seed}")),
                    phase,
                    texts=tuple(stream for pair in pairs for stream in pair.values()),
                    start=start.name,
                    lang=langs[0] if len(langs) == 1 else None,
                    arm=name,
                    seed=seed,
                    steps=steps,
                    checkpoints=tuple(configuration.checkpoint_steps(said)),
                    tokens=steps * said["batch_tokens"],
                    tuning={"texts": pairs, **{key: said[key] for key in READ}},
                )
                for seed in ([start.seed] if own_seed else config["seeds"])
            ]
    return list(texts.values()), models


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
        literals=lambda study, w: {
            k: v for k, v in (study.model(w["run"]).given or {}).items() if k in ("hub", "revision")
        },
        identity=_given_identity,
        sources=_given_sources,
    ),
)
