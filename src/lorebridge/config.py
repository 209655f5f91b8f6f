"""A study's configuration: loading, strict validation, defaults, and where each value comes from."""

from __future__ import annotations

import copy
import difflib
import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from lorebridge.corpora.specs import check_sources
from lorebridge.errors import ConfigError
from lorebridge.tokens.arms import ARMS, ENGLISH_MATCHED, REPLAY

# ISO 15924, as the codes of NLLB end, for the scripts of the schema.
SCRIPT_CODES = {
    "Latn": "Latin",
    "Hang": "Hangul",
    "Hans": "Han",
    "Hant": "Han",
    "Tibt": "Tibetan",
    "Mong": "Mongolian",
    "Cyrl": "Cyrillic",
    "Arab": "Arabic",
    "Deva": "Devanagari",
}

SCHEMA_FILE = Path(__file__).parents[2] / "config" / "config.schema.yaml"
PEOPLE_FILE = SCHEMA_FILE.with_name("people.yaml")


@functools.cache
def schema(path: Path = SCHEMA_FILE) -> dict[str, Any]:
    """Return the schema of a configuration (JSON Schema 2020-12)."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@functools.cache
def people_properties() -> dict[str, str]:
    """Return attribute of a person -> its property in Wikidata, as ``config/people.yaml`` lists them."""
    return yaml.safe_load(PEOPLE_FILE.read_text(encoding="utf-8"))["properties"]


@functools.cache
def _shipped_templates() -> dict[str, dict[str, str]]:
    return yaml.safe_load(PEOPLE_FILE.read_text(encoding="utf-8"))["templates"]


def people_templates(config: Mapping[str, Any], lang: str) -> dict[str, str]:
    """Return attribute -> how it is asked for in a language: the study's own wordings, or those shipped with it."""
    return dict(config["people"]["templates"].get(lang) or _shipped_templates()[lang])


def load(path: Path | str) -> dict[str, Any]:
    """Read a configuration file and return it validated, with defaults filled in.

    Raises:
        ConfigError: no such file, not YAML, or not a valid configuration.
    """
    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(path, "cannot be read", "Name an existing configuration file.") from error
    except yaml.YAMLError as error:
        raise ConfigError(path, f"is not YAML ({error})", "Mend the file.") from error
    return check(loaded, name=str(path))


def check(config: Any, name: str = "configuration") -> dict[str, Any]:
    """Return a validated copy of `config` with defaults filled in.

    Raises:
        ConfigError: the first problem, naming the key and the mend.
    """
    if not isinstance(config, Mapping):
        raise ConfigError(name, "is not a mapping of keys", "Start from config/demo.yaml.")
    # Through JSON, because a YAML alias stands for one and the same object in two places.
    config = json.loads(json.dumps(config, default=str))
    errors = sorted(_FillingValidator(schema()).iter_errors(config), key=lambda e: [str(p) for p in e.absolute_path])
    if errors:
        raise _explain(errors[0], name)
    for where, what, mend in _semantic_problems(config):
        raise ConfigError(f"{name}, key {where}", what, mend)
    return config


def _fill_defaults(validator, properties, instance, schema):
    """Validate `properties` as JSON Schema does, filling in the defaults of absent keys first."""
    if isinstance(instance, dict):
        for key, subschema in properties.items():
            if "default" in subschema and key not in instance:
                instance[key] = copy.deepcopy(subschema["default"])
    yield from Draft202012Validator.VALIDATORS["properties"](validator, properties, instance, schema)


def _one_of_by_tag(validator, options, instance, schema):
    """Validate `oneOf` by its tag (kind or method), so that one error names the key and not four alternatives."""
    tag = next((t for t in ("kind", "method") if t in options[0].get("properties", {})), None)
    if tag is None or not isinstance(instance, dict):
        yield from Draft202012Validator.VALIDATORS["oneOf"](validator, options, instance, schema)
        return
    choices = {option["properties"][tag]["const"]: option for option in options}
    if instance.get(tag) not in choices:
        yield ValidationError(f"{tag} is {instance.get(tag)!r}, and must be one of {sorted(choices)}")
    else:
        yield from validator.descend(instance, choices[instance[tag]])


_FillingValidator = extend(Draft202012Validator, {"properties": _fill_defaults, "oneOf": _one_of_by_tag})


def _explain(error: ValidationError, name: str) -> ConfigError:
    """Turn a schema error into one line that names the key and the mend."""
    path = ".".join(str(part) for part in error.absolute_path)
    where = f"{name}, key {path}" if path else name
    instance: Any = error.instance
    if error.validator == "additionalProperties" and isinstance(error.schema, dict):
        known = list(error.schema.get("properties", {}))
        unknown = next(key for key in instance if key not in known)
        close = difflib.get_close_matches(str(unknown), known, n=1)
        mend = f"Did you mean {close[0]!r}?" if close else f"Known keys here: {', '.join(known)}."
        return ConfigError(where, f"unknown key {unknown!r}", mend)
    if error.validator == "required" and isinstance(error.validator_value, list):
        missing = next(key for key in error.validator_value if key not in instance)
        return ConfigError(where, f"the key {missing!r} is missing", "Add it; config/demo.yaml has an example.")
    if error.validator == "pattern":
        return ConfigError(
            where,
            f"{error.instance!r} is not allowed",
            f"It must match {error.validator_value} (names go into paths and command lines).",
        )
    if error.validator == "enum" and isinstance(error.validator_value, list):
        close = difflib.get_close_matches(str(instance), map(str, error.validator_value), n=1)
        if close:
            return ConfigError(where, f"{instance!r} is unknown", f"Did you mean {close[0]!r}?")
    return ConfigError(where, error.message, "See config/config.schema.yaml.")


def _semantic_problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what, mend) of what a schema cannot say."""
    languages, base = config["languages"], config["base_language"]
    others = [lang for lang in languages if lang != base]
    if base not in languages:
        yield "base_language", f"{base!r} is not among the languages", f"Choose one of {sorted(languages)}."
    for lang in others:
        if languages[lang]["script"] == languages.get(base, {}).get("script"):
            yield (
                f"languages.{lang}.script",
                f"is the base language's script ({languages[lang]['script']})",
                "The design keeps the languages apart by script; choose a language with another script.",
            )
    for section, expected in (("corpora", list(languages)), ("parallel", others), ("questions", others)):
        for lang in config[section]:
            if lang not in expected:
                close = difflib.get_close_matches(lang, expected, n=1, cutoff=0.5)
                yield (
                    f"{section}.{lang}",
                    "is not a language of the study that this section takes",
                    (f"Did you mean {close[0]!r}? " if close else "") + f"It takes: {', '.join(expected)}.",
                )
        for lang in expected:
            if lang not in config[section]:
                yield section, f"has nothing for the language {lang!r}", f"Add {section}.{lang}."
        for lang, entry in config[section].items():
            if section != "questions" and entry["simplify"] and languages.get(lang, {}).get("script") != "Han":
                yield f"{section}.{lang}.simplify", "is for a language that Han writes", "Leave it out."
    for culture, entry in config["questions"].items():
        if set(entry["files"]) != {base, culture}:
            yield (
                f"questions.{culture}.files",
                f"has files for {sorted(entry['files'])}",
                f"Give exactly two index-parallel files: {base} and {culture}.",
            )
    for lang, language in languages.items():
        template = language.get("template") or config["template"]
        fields = re.findall(r"{(.*?)}", template)
        once = fields.count("en") == 1 and fields.count("xx") == 1
        in_order = once and fields.index("en") < fields.index("xx") and template.rstrip().endswith("{xx}")
        if not in_order or not set(fields) <= {"en", "xx", "base", "name"}:
            key = f"languages.{lang}.template" if language.get("template") else "template"
            yield (
                key,
                f"{template!r} is not a bridge",
                "It needs {en} once, then {xx} once at its end; {base} and {name} may occur.",
            )
    training = config["training"]
    for phase in ("base", "continual"):
        settings = training[phase]
        steps, every = settings["steps"], settings["checkpoints"]["every"]
        key = f"training.{phase}"
        if steps % every:
            yield (
                f"{key}.checkpoints.every",
                f"{steps} steps are not a multiple of the interval {every}",
                f"Choose a divisor of {steps}, or steps: {steps - steps % every}.",
            )
        if settings["batch_tokens"] % training["sequence_length"]:
            yield (
                f"{key}.batch_tokens",
                f"{settings['batch_tokens']} is not a multiple of training.sequence_length",
                f"Choose a multiple of {training['sequence_length']}.",
            )
        rows, processes = settings["batch_tokens"] // training["sequence_length"], training_processes(config)
        if rows % processes:
            yield (
                f"{key}.batch_tokens",
                f"makes batches of {rows} rows, which {processes} training processes cannot share evenly",
                "Change compute.gpus, compute.nodes or compute.processes, or the batch.",
            )
        if settings["min_lr"] > settings["lr"]:
            yield f"{key}.min_lr", f"{settings['min_lr']} exceeds lr, {settings['lr']}", "Give a smaller one."
        if any(step >= steps for step in settings["checkpoints"]["early"]):
            yield f"{key}.checkpoints.early", "has a step beyond the last", f"Steps run from 0 to {steps}."
    if training["continual"]["batch_tokens"] < 2 * training["sequence_length"]:
        yield (
            "training.continual.batch_tokens",
            "makes batches of one row",
            "Monolingual and parallel text need a row each at least.",
        )
    checkpoints = training["continual"]["checkpoints"]
    for key, steps in (("every", [checkpoints["every"]]), ("early", checkpoints["early"])):
        if any(step % 2 for step in steps):
            yield (
                f"training.continual.checkpoints.{key}",
                "has an odd step",
                "The no_bridge arm shares the halves of its pairs between two consecutive batches, so only at even "
                "steps have the arms read the same text.",
            )
    for arm in ("bridge", "no_bridge"):
        if arm not in config["arms"]:
            yield "arms", f"lacks {arm!r}", "Add it: transferred items are selected by bridge and no_bridge."
    for variant, key in ((ENGLISH_MATCHED, "english_share"), (REPLAY, "replay_share")):
        arms = [arm for arm in config["arms"] if ARMS[arm].variant == variant]
        if arms and training[key] is None:
            yield f"training.{key}", f"is not set, and the arm {arms[0]} needs it", "Give a share between 0 and 1."
    for contrast in config["transfer"]["contrasts"]:
        if contrast[0] == contrast[1]:
            yield "transfer.contrasts", f"compares {contrast[0]!r} with itself", "Name two arms."
    model = config["model"]
    for whole, part in (("hidden_size", "num_attention_heads"), ("num_attention_heads", "num_key_value_heads")):
        if model[whole] % model[part]:
            yield f"model.{whole}", f"{model[whole]} is not a multiple of {part} ({model[part]})", "Mend either."
    if training["sequence_length"] > model["max_position_embeddings"]:
        yield "training.sequence_length", "exceeds model.max_position_embeddings", "Mend either."
    for contrast in config["transfer"]["contrasts"]:
        for arm in contrast:
            if arm not in config["arms"]:
                yield (
                    "transfer.contrasts",
                    f"names the arm {arm!r}, which the study does not train",
                    f"Arms of this study: {', '.join(config['arms'])}.",
                )
    if config["transfer"]["last"] > len(checkpoint_steps(training["continual"])):
        yield "transfer.last", "exceeds the number of checkpoints", "Give fewer."
    for lang, settings in config["tracing"]["translation"].items():
        code = settings["source_code"]
        script = languages.get(lang, {}).get("script")
        if lang not in others:
            yield f"tracing.translation.{lang}", "is not a language of the study that is learned", f"They are {others}."
        elif "_" in code and SCRIPT_CODES.get(code.split("_")[1], script) != script:
            yield (
                f"tracing.translation.{lang}.source_code",
                f"{code} is not the {script} script that {lang} is written in",
                "Name a model that has a code for it (NLLB has none for the traditional Mongolian script).",
            )
    if config["tracing"]["translation"] and config["tracing"]["judge"]["kind"] == "cooccurrence":
        yield (
            "tracing.translation",
            "is for a language model; the judge of co-occurrence reads originals",
            "Leave it out.",
        )
    yield from _people_problems(config)
    for section in ("corpora", "parallel"):
        for lang, entry in config[section].items():
            yield from check_sources(section, lang, base, entry["sources"])
    planted = [
        f"{section}.{lang}"
        for section in ("corpora", "parallel")
        for lang, entry in config[section].items()
        for source in entry["sources"]
        if source["kind"] == "planted"
    ]
    if planted and not config["world"]:
        yield planted[0], "asks for the planted world", "Give the section `world`."


def _people_problems(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield (key, what, mend) of what is wrong with the questions on people."""
    people = config["people"]
    if people is None:
        return
    for lang, wordings in people["templates"].items():
        if lang not in config["languages"]:
            yield f"people.templates.{lang}", "is not a language of the study", f"They are {list(config['languages'])}."
        for attribute, wording in wordings.items():
            if sorted(re.findall(r"{name}|[{}]|_+", wording)) != ["____", "{name}"]:
                yield (
                    f"people.templates.{lang}.{attribute}",
                    f"{wording!r} is no question on a person",
                    "It needs {name} once and one blank, ____.",
                )
    for lang in config["languages"]:
        if lang not in people["templates"] and lang not in _shipped_templates():
            yield (
                "people.templates",
                f"has no wordings in {config['languages'][lang]['name']}",
                f"Add people.templates.{lang}; config/people.yaml has examples.",
            )
    if people["questions"] > people["number"] * len(people_properties()):
        yield (
            "people.questions",
            f"{people['questions']} are more than {len(people_properties())} for each of {people['number']} people",
            "Give fewer questions or more people.",
        )
    if people["source"]["kind"] == "planted" and not config["world"]:
        yield "people.source", "asks for the planted world", "Give the section `world`."


def training_processes(config: Mapping[str, Any]) -> int:
    """Return how many processes train a run: one a GPU, or as many as asked for on the CPU."""
    compute = config["compute"]
    return compute["gpus"] * compute["nodes"] or compute["processes"]


def checkpoint_steps(phase: Mapping[str, Any]) -> list[int]:
    """Return the steps of a training phase at which a checkpoint is kept, 0 and the last among them."""
    regular = range(0, phase["steps"] + 1, phase["checkpoints"]["every"])
    return sorted(set(regular) | set(phase["checkpoints"]["early"]))


def local_path(config: Mapping[str, Any], path: str) -> Path:
    """Return where a local source of the configuration lies."""
    return Path(config["data"] or ".") / path


def provenance(path: Path | str) -> list[tuple[str, Any, str]]:
    """Return (key, value, where it comes from) of every value of a configuration file.

    The origin is the comment at the end of the value's line, or else that of the nearest key above it that has one.
    """
    text = Path(path).read_text(encoding="utf-8")
    comments = [
        match.group(1).strip() if (match := re.search(r"(?:^|\s)#\s?(.*)$", line)) else "" for line in text.splitlines()
    ]
    found: list[tuple[str, Any, str]] = []

    def walk(node: yaml.Node, key: str, inherited: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                own = comments[name.start_mark.line] or inherited
                walk(value, f"{key}.{name.value}" if key else name.value, own)
        elif isinstance(node, yaml.SequenceNode) and any(not isinstance(i, yaml.ScalarNode) for i in node.value):
            for index, item in enumerate(node.value):
                walk(item, f"{key}[{index}]", inherited)
        else:
            found.append((key, yaml.safe_load(yaml.serialize(node)), comments[node.start_mark.line] or inherited))

    root = yaml.compose(text)
    if root is not None:
        walk(root, "", "")
    return found
