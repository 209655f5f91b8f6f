"""A study's configuration: loading, strict validation, defaults, and where each value comes from."""

from __future__ import annotations

import contextlib
import copy
import difflib
import functools
import importlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from lorebridge.errors import ConfigError

SCHEMA_FILE = Path(__file__).with_name("config.schema.yaml")
PEOPLE_FILE = SCHEMA_FILE.with_name("people.yaml")


@functools.cache
def schema(kind: str = "bridge") -> dict[str, Any]:
    """Return the schema of a configuration of one kind of study (JSON Schema 2020-12).

    What is true of all studies stands in ``config/config.schema.yaml``; the kind's own ``schema.yaml`` is laid over it:
    mappings are joined, lists of required keys too. ``{$from: "module:NAME"}`` stands for the keys of a mapping in the
    code, so that a list of names is said once.

    Raises:
        ConfigError: there is no such kind.
    """
    from lorebridge import studies

    if kind not in studies.kinds():
        close = difflib.get_close_matches(kind, studies.kinds(), n=1)
        mend = f"Did you mean {close[0]!r}?" if close else f"Kinds: {', '.join(studies.kinds())}."
        raise ConfigError("key kind", f"there is no kind of study called {kind!r}", mend)
    return _resolved(_joined(read(SCHEMA_FILE), read(studies.schema_file(kind))))


def _joined(below: Any, above: Any) -> Any:
    """Return `above` laid over `below`: mappings joined, lists of required keys too, everything else replaced."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {
            **below,
            **{
                key: below[key] + value if key == "required" and key in below else _joined(below.get(key), value)
                for key, value in above.items()
            },
        }
    return above


def _resolved(node: Any) -> Any:
    """Return a schema with every ``{$from: "module:NAME"}`` replaced by the keys of that mapping."""
    if isinstance(node, list):
        return [_resolved(item) for item in node]
    if not isinstance(node, dict):
        return node
    if set(node) == {"$from"}:
        module, _, name = node["$from"].partition(":")
        return list(getattr(importlib.import_module(module), name))
    return {key: _resolved(value) for key, value in node.items()}


@functools.cache
def people_properties(birth: str = "year") -> dict[str, str]:
    """Return attribute of a person -> its property in Wikidata, as ``config/people.yaml`` lists them.

    Args:
        birth: whether the ``year`` of birth is asked for or the ``date``.
    """
    return _of_birth(read(PEOPLE_FILE)["properties"], birth)


def _of_birth(attributes: Mapping[str, str], birth: str) -> dict[str, str]:
    """Return what is said of attributes, without the way to ask for a birth that is not wanted."""
    other = {"year": "birth_date", "date": "birth_year"}[birth]
    return {attribute: said for attribute, said in attributes.items() if attribute != other}


@functools.cache
def shipped_templates() -> dict[str, dict[str, str]]:
    """Return language -> attribute -> wording, as ``config/people.yaml`` has them."""
    return read(PEOPLE_FILE)["templates"]


def people_templates(config: Mapping[str, Any], lang: str) -> dict[str, str]:
    """Return attribute -> how it is asked for in a language: the study's own wordings, or those shipped with it."""
    people = config["people"]
    return _of_birth(people["templates"].get(lang) or shipped_templates()[lang], people.get("birth", "year"))


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one in C, ten times as fast, where PyYAML was built with it."""


def parse(text: str, name: str) -> Any:
    """Return what a text in YAML says, each key of it once and each a string.

    YAML takes the last of two equal keys without a word, and reads ``no`` (Norwegian) as false. Merged keys (``<<``)
    may be set again beside what they merge.

    Args:
        text: one document.
        name: where it is from, for errors.

    Raises:
        ConfigError: not YAML, or such a key: names it and its lines.
    """
    try:
        loader = _LOADER(text)
        root = loader.get_single_node()
        if root is None:
            return None
        for where, what, mend in _key_problems(root, [], {}):
            raise ConfigError(f"{name}, {where}", what, mend)
        return loader.construct_document(root)
    except RecursionError:
        raise ConfigError(name, "is nested too deeply", "Close its brackets where they belong.") from None
    except (LookupError, AttributeError):  # what PyYAML makes of `!!bool x` and `!!int ""`
        raise ConfigError(name, "holds a value that is not what its tag (!!) says", "Take the tag out.") from None
    except (yaml.YAMLError, ValueError) as error:  # a date of no calendar is a ValueError
        raise ConfigError(name, f"is not YAML ({' '.join(str(error).split())})", "Mend it there.") from error


# Of the tags that a plain scalar resolves to, those of values that a configuration has.
_RESOLVED = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "null"))


# Of all tags, those that JSON has: of YAML's dates, bytes, sets and ordered mappings no key takes any.
_KINDS = frozenset({"str", "int", "float", "bool", "null", "seq", "map", "merge"})


def typed(value: Any) -> Any:
    """Return a value of Snakemake's ``--config`` with its numbers, truth values and nulls as YAML reads them.

    Snakemake leaves what is in a list or a mapping as text: ``seeds=[0,1]`` comes as ``["0", "1"]``.
    """
    if isinstance(value, dict):
        return {key: typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [typed(inner) for inner in value]
    if isinstance(value, str):
        loader = _LOADER("")
        tag = loader.resolve(yaml.ScalarNode, value, (True, False))
        if tag in _RESOLVED:
            with contextlib.suppress(ValueError):
                return loader.construct_object(yaml.ScalarNode(tag, value))
    return value


def merged(below: Any, above: Any) -> Any:
    """Return `above` laid over `below` as Snakemake lays its ``--config`` over a file.

    Mappings are joined, key by key; a list or a single value takes the place of what was there.
    """
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return {**below, **{key: merged(below.get(key), value) for key, value in above.items()}}
    return above


def _key_problems(node: yaml.Node, path: list[str], seen: dict[int, bool]) -> Iterator[tuple[str, str, str]]:
    """Yield (where, what, mend) of the keys below a node that are not what they seem.

    Args:
        node: of a composed document; an anchor and its aliases are one object.
        path: the keys above, and ``[0]``, ``[1]``, ... for items.
        seen: id of each node met -> whether it is gone through.
    """
    line = node.start_mark.line + 1
    if id(node) in seen:
        if not seen[id(node)]:
            yield f"line {line}", f"{'.'.join(path)} holds itself", "Take the alias out."
        return
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    if kind not in _KINDS:
        mend = f'Quote it: "{node.value}".' if isinstance(node, yaml.ScalarNode) else "Write it without that."
        yield f"line {line}", f"{'.'.join(path) or 'the value'} is of YAML's kind {kind}, which no key takes", mend
    seen[id(node)] = False
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _key_problems(item, [*path[:-1], f"{path[-1] if path else ''}[{index}]"], seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # no key that a mapping can have: the constructor says so
            below, line = ".".join([*path, key.value]), key.start_mark.line + 1
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                meant = yaml.safe_load(key.value) if not key.style else key.value
                yield (
                    f"line {line}",
                    f"the key {below} is read as {meant!r}, and is no text",
                    f'Quote it: "{key.value}".',
                )
            if key.value in lines:
                yield (
                    f"lines {lines[key.value]} and {line}",
                    f"the key {below} stands twice, and only the second would count",
                    "Take one of the two out.",
                )
            lines[key.value] = line
            yield from _key_problems(value, [*path, key.value], seen)
    seen[id(node)] = True


def read(path: Path | str) -> Any:
    """Return what a file in YAML (or JSON) says, read by :func:`parse`.

    Raises:
        ConfigError: no such file, not YAML, or a key that stands twice or is no text.
    """
    text = _text(path)
    found = parse(text, str(path))
    if text.lstrip().startswith("{"):
        with contextlib.suppress(ValueError):
            return json.loads(text)  # which takes 1e-8 for a number, as Snakemake does
    return found


def _text(path: Path | str) -> str:
    """Return the text of a file in YAML or JSON, as a parser of YAML takes it.

    Raises:
        ConfigError: there is no such file, or it is not UTF-8.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(path, f"not UTF-8 (byte {error.start})", "Save the file as UTF-8.") from error
    except (OSError, ValueError) as error:  # a path with a null character is a ValueError
        raise ConfigError(path, "cannot be read", "Name an existing configuration file.") from error
    # JSON may be indented by tabs, and YAML not; no string of JSON has one.
    return text.replace("\t", " ") if text.lstrip().startswith("{") else text


def refuse_duplicate_keys(paths: Iterable[Path | str]) -> None:
    """Read configuration files again that a program has read which takes the last of two equal keys.

    One file may set what another has set; no file may set a key twice.

    Raises:
        ConfigError: as :func:`read`.
    """
    for path in paths:
        read(path)


def load(path: Path | str) -> dict[str, Any]:
    """Read a configuration file and return it validated, with defaults filled in.

    Raises:
        ConfigError: no such file, not YAML, a key that stands twice, or not a valid configuration.
    """
    return check(read(path), name=str(path))


def check(config: Any, name: str = "configuration") -> dict[str, Any]:
    """Return a validated copy of `config` with defaults filled in.

    Raises:
        ConfigError: the first problem, naming the key and the mend.
    """
    if not isinstance(config, Mapping):
        raise ConfigError(name, "is not a mapping of keys", "Start from config/demo.yaml.")
    # Through JSON, because a YAML alias stands for one and the same object in two places.
    try:
        config = json.loads(json.dumps(config, default=str))
    except (RecursionError, ValueError):
        raise ConfigError(name, "holds itself, or is nested too deeply", "Take the alias out.") from None
    for where, number in _not_finite(config):
        raise ConfigError(f"{name}, key {where}", f"{_shown(number)} is no number to reckon with", "Give another.")
    kind = config.setdefault("kind", "bridge")
    validator = _FillingValidator(schema(str(kind)))
    errors = sorted(validator.iter_errors(config), key=lambda e: [str(p) for p in e.absolute_path])
    if errors:
        raise _explain(errors[0], name)
    from lorebridge import studies

    for where, what, mend in studies.problems(config):
        raise ConfigError(f"{name}, key {where}", what, mend)
    return config


def _not_finite(node: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield (key, number) of what no bound of a schema catches: ``.nan``, ``.inf``, and what 64 bits do not hold."""
    if (isinstance(node, float) and not math.isfinite(node)) or (isinstance(node, int) and abs(node) >= 2**63):
        yield path, node
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        yield from _not_finite(value, f"{path}.{key}" if path else str(key))


def _fill_defaults(validator, properties, instance, schema):
    """Validate `properties` as JSON Schema does, filling in the defaults of absent keys first.

    A kind of study may require a key that has a default elsewhere: filled in, it would not be missing.
    """
    if isinstance(instance, dict):
        for key, subschema in properties.items():
            if "default" in subschema and key not in {*instance, *schema.get("required", ())}:
                instance[key] = copy.deepcopy(subschema["default"])
    yield from Draft202012Validator.VALIDATORS["properties"](validator, properties, instance, schema)


def _one_of_by_tag(validator, options, instance, schema):
    """Validate `oneOf` by its tag (kind or method), so that one error names the key and not four alternatives.

    What has no tag is of the kind whose option has a default for it.
    """
    tag = next((t for t in ("kind", "method") if t in options[0].get("properties", {})), None)
    if tag is None:
        yield from Draft202012Validator.VALIDATORS["oneOf"](validator, options, instance, schema)
        return
    tags = [option["properties"][tag] for option in options if "properties" in option]
    if not isinstance(instance, dict):
        others = [option["type"] for option in options if "properties" not in option]  # null
        yield from validator.descend(instance, {"type": ["object", *others]})
        return
    default = next((each[key] for each in tags for key in ("default", "otherwise") if key in each), None)
    choices = {option["properties"][tag]["const"]: option for option in options if "properties" in option}
    if instance.get(tag, default) not in list(choices):
        yield ValidationError(f"{tag} is {_shown(instance.get(tag))}, and must be one of {sorted(choices)}")
    else:
        yield from validator.descend(instance, choices[instance.get(tag, default)])


# JSON Schema takes 3.0 for an integer, and Python does not.
_TYPE_CHECKER = Draft202012Validator.TYPE_CHECKER.redefine(
    "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
)
_FillingValidator = extend(
    Draft202012Validator, {"properties": _fill_defaults, "oneOf": _one_of_by_tag}, type_checker=_TYPE_CHECKER
)


_TYPES = {
    "object": "a mapping (key: value)",
    "array": "a list",
    "string": "a text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "null",
}
"""Types of JSON in the words of YAML."""


def _type_of(value: Any) -> str:
    """Return the type of a value in the words of :data:`_TYPES`."""
    kinds = ((dict, "object"), (list, "array"), (str, "string"), (bool, "boolean"), (int, "integer"), (float, "number"))
    return _TYPES[next((name for kind, name in kinds if isinstance(value, kind)), "null")]


def _shown(value: Any) -> str:
    """Return a value as YAML would write it on one line, cut where it is long."""
    said = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else repr(value)
    return said if len(said) <= 60 else f"{said[:57]}..."


def _as_number(text: str) -> str | None:
    """Return how YAML writes the number that a text looks like; None for another text.

    YAML 1.1 takes an exponent only behind a point, and with its sign.

    >>> _as_number("3e-3"), _as_number("1.5E6"), _as_number("12"), _as_number("fast")
    ('3.0e-3', '1.5e+6', '12', None)
    """
    found = re.fullmatch(r"\s*([-+]?[0-9]+)(\.[0-9]*)?(?:[eE]([-+]?)([0-9]+))?\s*", text)
    if found is None:
        return None
    whole, fraction, sign, exponent = found.groups()
    if exponent is None:
        return whole + (fraction or "")
    return f"{whole}{fraction if fraction and len(fraction) > 1 else '.0'}e{sign or '+'}{exponent}"


def _mistyped(value: Any, allowed: str | list[str]) -> tuple[str, str]:
    """Return what is wrong with a value of another type than a key takes, and the mend."""
    wanted = [allowed] if isinstance(allowed, str) else allowed
    is_now = "nothing stands there" if value is None else f"{_shown(value)} is {_type_of(value)}"
    what = f"{is_now}, and it must be {' or '.join(_TYPES[kind] for kind in wanted)}"
    if isinstance(value, str):
        number = _as_number(value)
        if number is not None and {"number", "integer"} & set(wanted):
            quotes = "" if "e" in number else ", without quotes"
            return what, f"Write {number}{quotes}: YAML reads it as text as it stands."
        if value in ("true", "false") and "boolean" in wanted:
            return what, f"Write {value}, without quotes."
    if isinstance(value, float) and value.is_integer() and "integer" in wanted:
        return what, f"Write {int(value)}."
    if "string" in wanted and not isinstance(value, str | dict | list | None):
        return what, f'Quote it: "{value}".'
    if "array" in wanted and not isinstance(value, list):
        return what, "Write [a, b], or each item on a line of its own behind a dash."
    if "object" in wanted:
        return what, "Write each key on a line of its own, indented, as key: value; config/demo.yaml has an example."
    return what, "docs/configuration.md says what it may be."


def _explain(error: ValidationError, name: str) -> ConfigError:
    """Turn a schema error into one line that names the key and the mend."""
    path = ".".join(str(part) for part in error.absolute_path)
    where = f"{name}, key {path}" if path else name
    instance: Any = error.instance
    limit: Any = error.validator_value
    if error.validator == "additionalProperties" and isinstance(error.schema, dict):
        known = list(error.schema.get("properties", {}))
        unknown = next(key for key in instance if key not in known)
        close = difflib.get_close_matches(str(unknown), known, n=1)
        mend = f"Did you mean {close[0]!r}?" if close else f"Known keys here: {', '.join(known)}."
        return ConfigError(where, f"unknown key {unknown!r}", mend)
    if error.validator == "required" and isinstance(limit, list):
        # By what it says: where the key has a default for other kinds of study, that stands in its place by now.
        missing = next(key for key in limit if error.message.startswith(repr(key)))
        return ConfigError(where, f"the key {missing!r} is missing", "Add it; config/demo.yaml has an example.")
    if error.validator == "type":
        return ConfigError(where, *_mistyped(instance, limit))
    if error.validator == "pattern":
        needs = error.schema.get("needs") if isinstance(error.schema, dict) else None
        mend = needs or f"It must match {limit} (names go into paths and command lines)."
        return ConfigError(where, f"{_shown(instance)} is not allowed", mend)
    if error.validator in ("anyOf", "oneOf") and "propertyNames" in error.absolute_schema_path:
        return ConfigError(where, f"{_shown(instance)} is not allowed here", "Give the code of a language.")
    if error.validator == "oneOf" and error.context:
        ways = " or ".join(" and ".join(option.get("required", [])) for option in limit)
        return ConfigError(where, f"{_shown(instance)} is not one of the ways to say it", f"Give {ways}.")
    if error.validator in ("minItems", "minProperties"):
        return ConfigError(where, f"has {len(instance)} entries", f"Give at least {limit}.")
    if error.validator == "maxItems":
        return ConfigError(where, f"has {len(instance)} entries", f"Give at most {limit}.")
    if error.validator == "minLength":
        return ConfigError(where, "is an empty text", "Write something, or leave the key out.")
    if error.validator == "uniqueItems":
        twice = next(item for index, item in enumerate(instance) if item in instance[:index])
        return ConfigError(where, f"has {_shown(twice)} twice", "Give it once.")
    if error.validator in _BOUNDS:
        return ConfigError(where, f"{instance} is out of range", f"It must be {_BOUNDS[str(error.validator)]} {limit}.")
    if error.validator == "enum" and isinstance(limit, list):
        former = error.schema.get("formerly", {}) if isinstance(error.schema, dict) else {}
        if isinstance(instance, str) and instance in former:
            return ConfigError(where, f"{instance!r} is what it was called before", f"Write {former[instance]!r}.")
        close = difflib.get_close_matches(str(instance), map(str, limit), n=1)
        mend = f"Did you mean {close[0]!r}?" if close else f"Choose one of {', '.join(map(str, limit))}."
        return ConfigError(where, f"{_shown(instance)} is unknown", mend)
    return ConfigError(where, error.message, "docs/configuration.md says what it may be.")


_BOUNDS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "more than",
    "exclusiveMaximum": "less than",
    "multipleOf": "a multiple of",
}


def training_processes(config: Mapping[str, Any]) -> int:
    """Return how many processes train a run: one a GPU, or as many as asked for on the CPU."""
    compute = config["compute"]
    return compute["gpus"] * compute["nodes"] or compute["processes"]


def steps(phase: Mapping[str, Any]) -> int:
    """Return the steps of a training phase; one that tunes says how often it reads how many examples."""
    return (
        phase["steps"] if "steps" in phase else phase["epochs"] * math.ceil(phase["examples"] / phase["batch_examples"])
    )


def checkpoint_steps(phase: Mapping[str, Any]) -> list[int]:
    """Return the steps of a training phase at which a checkpoint is kept, 0 and the last among them.

    A phase that tunes keeps one after each epoch.
    """
    if "epochs" in phase:
        return list(range(0, steps(phase) + 1, steps(phase) // phase["epochs"]))
    regular = range(0, phase["steps"] + 1, phase["checkpoints"]["every"])
    return sorted(set(regular) | set(phase["checkpoints"]["early"]))


def local_path(config: Mapping[str, Any], path: str) -> Path:
    """Return where a local source of the configuration lies."""
    return Path(config["data"] or ".") / path


_KEPT = object()
"""Laid over what stays as it is; a null would take its place."""


def provenance(path: Path | str, overrides: Mapping[str, Any] | None = None) -> list[tuple[str, Any, str]]:
    """Return (key, value, where it comes from) of every value of a configuration file.

    The origin is the comment at the end of the value's line, or else that of the nearest key above it that has one.
    Merged keys (``<<``) are read as YAML reads them, and their origin is where they stand.

    Args:
        path: the file.
        overrides: what is laid over it (:func:`merged`); its origin is ``--set``.
    """
    text = _text(path)
    comments = [
        match.group(1).strip() if (match := re.search(r"(?:^|\s)#\s?(.*)$", line)) else "" for line in text.splitlines()
    ]
    found: list[tuple[str, Any, str]] = []

    def of_command(value: Any, key: str) -> None:
        if isinstance(value, Mapping):
            for name, inner in value.items():
                of_command(inner, f"{key}.{name}" if key else str(name))
        else:
            found.append((key, value, "--set"))

    def walk(node: yaml.Node, key: str, inherited: str, laid: Any) -> None:
        """Add the values of a node, over which `laid` is laid."""
        if laid is not _KEPT and not (isinstance(laid, Mapping) and isinstance(node, yaml.MappingNode)):
            of_command(laid, key)
        elif isinstance(node, yaml.MappingNode):
            _LOADER("").flatten_mapping(node)  # what is merged comes first, so that the own keys count
            inner = {name.value: (name, value) for name, value in node.value}
            over: Mapping[str, Any] = laid if isinstance(laid, Mapping) else {}
            for called, (name, value) in inner.items():
                own = comments[name.start_mark.line] or inherited
                walk(value, f"{key}.{called}" if key else called, own, over.get(called, _KEPT))
            of_command({name: value for name, value in over.items() if name not in inner}, key)
        elif isinstance(node, yaml.SequenceNode) and any(not isinstance(i, yaml.ScalarNode) for i in node.value):
            for index, item in enumerate(node.value):
                walk(item, f"{key}[{index}]", inherited, _KEPT)
        else:
            value = _LOADER("").construct_object(node, deep=True)
            found.append((key, value, comments[node.start_mark.line] or inherited))

    root = yaml.compose(text, Loader=_LOADER)
    if root is not None:
        walk(root, "", "", overrides or _KEPT)
    return found
