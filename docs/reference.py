"""Write the pages that follow from the code: configuration.md, cli.md, and tables in artifacts.md and arms.md.

python docs/reference.py
"""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from lorebridge import config, studies
from lorebridge.tokens.arms import ARMS, VARIANTS
from lorebridge.world.multilingual import generate_multilingual
from lorebridge.world.pages import generate_pages
from lorebridge.world.planting import generate
from lorebridge.world.statements import generate_statements

DOCS = Path(__file__).parent
WORLDS: dict[str, Any] = {
    "articles": generate,
    "statements": generate_statements,
    "multilingual": generate_multilingual,
    "pages": generate_pages,
}
# The knobs of a planted world have their defaults where it is made.
WORLD: dict[str, Any] = {
    f"world[{kind}].{name}": given.default
    for kind, write in WORLDS.items()
    for name, given in inspect.signature(write).parameters.items()
} | {f"world[{kind}].languages": {} for kind in WORLDS}
# Kinds beside the default that come with the package; others may lie on Python's path.
SHIPPED = {"removal", "roots", "scripts"}
MADE = "<!-- Made by docs/reference.py. -->\n\n"


def configuration() -> str:
    """Return the page on every key of a study's configuration."""
    schema = config.schema()
    lines = [
        MADE + "# Configuration",
        "",
        "Every key of a study, from `config/config.schema.yaml` and the schema of its kind, "
        "`src/lorebridge/studies/bridge/schema.yaml`. An unknown key, a missing one, one that stands twice or a wrong "
        "value stops a dry run with one line that names the key and the mend. A key without a default must be given. "
        "What each value of the paper's study is and where it comes from: `lorebridge plan --config "
        "config/config.yaml`.",
        "",
        "`<code>` is the code of a language, `[]` an item of a list; where a value has several kinds, the kind stands "
        "in brackets.",
    ]
    # Keys without keys of their own stand together at the beginning.
    sections: dict[str, list[tuple[str, ...]]] = {"study": []}
    for key, node in schema["properties"].items():
        rows = list(_keys(key, node, schema, key in schema["required"]))
        sections.setdefault(key if len(rows) > 1 else "study", []).extend(rows)
    for section, rows in sections.items():
        lines += ["", f"## `{section}`", *_table(rows)]
    for kind in sorted(SHIPPED):
        whole, own = config.schema(kind), config.read(studies.schema_file(kind))["properties"]
        lines += ["", f"## Of the kind `{kind}`", "", f"Keys that are its own (`kind: {kind}`), and no other kind's."]
        lines += _table(
            row for key in own for row in _keys(key, whole["properties"][key], whole, key in whole["required"])
        )
    return "\n".join(lines) + "\n"


def _table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Return a table of keys."""
    head = ["", "| key | value | default | meaning |", "|---|---|---|---|"]
    return [*head, *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)]


def _keys(key: str, node: dict[str, Any], schema: dict[str, Any], required: bool) -> Iterator[tuple[str, ...]]:
    """Yield (key, value, default, meaning) of a key and of all below it."""
    node = _resolved(node, schema)
    default = "" if required else f"`{_short(node['default'])}`" if "default" in node else "none"
    if key.startswith("world["):
        parent, _, name = key.rpartition(".")
        if key.count(".") == 1:
            default = f"`{_short(WORLD[key])}`"
        elif parent in WORLD:  # a count by placement: a mapping that is given stands for itself
            default = "`0`"
        elif "default" not in node:
            default = "the world's"
    # A default that is not filled in, because a part of the configuration has no such key.
    default = f"`{_short(node['otherwise'])}`" if "otherwise" in node else default
    yield f"`{key}`", _value(node), default, node.get("description", "")
    options = [option for option in node.get("oneOf", []) if "properties" in option]
    for option in options:
        tag = next(tag for tag in ("kind", "method") if tag in option["properties"])
        name = option["properties"][tag]
        yield f"`{key}.{tag}`", f"`{name['const']}`", "", name.get("description", "")
        yield from _children(f"{key.removesuffix('[]')}[{name['const']}]", option, schema, leave_out=tag)
    yield from _children(key, node, schema)


def _children(key: str, node: dict[str, Any], schema: dict[str, Any], leave_out: str = "") -> Iterator[tuple[str, ...]]:
    for name, child in node.get("properties", {}).items():
        if name != leave_out:
            yield from _keys(f"{key}.{name}", child, schema, name in node.get("required", []))
    for name, child in (("<code>", node.get("additionalProperties")), ("[]", node.get("items"))):
        child = _resolved(child, schema) if isinstance(child, dict) else {}
        if child.keys() & {"properties", "oneOf"}:
            below = f"{key}.{name}" if name != "[]" else f"{key}[]"
            if "oneOf" in child:
                yield from list(_keys(below, child, schema, True))[1:]
            else:
                yield from _children(below, child, schema)


def _resolved(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return a node with what it refers to."""
    if "$ref" not in node:
        return node
    target = _resolved(schema["$defs"][node["$ref"].rsplit("/", 1)[1]], schema)
    return target | {k: v for k, v in node.items() if k != "$ref"}


def _value(node: dict[str, Any]) -> str:
    """Say what a value may be."""
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return ", ".join(f"`{choice}`" for choice in node["enum"])
    kind = node.get("type", "by kind" if "oneOf" in node else "")
    words = {"object": "keys", "array": "list"}
    kind = " or ".join(words.get(one, one) for one in (kind if isinstance(kind, list) else [kind]))
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {_short(node[name])}" for name, sign in signs.items() if name in node]
    if "pattern" in node:
        limits.append(f"`{node['pattern']}`")
    return " ".join([kind, ", ".join(limits)]).strip()


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        value = list(value)
    elif isinstance(value, Mapping):
        value = dict(value)
    return re.sub(r"\n\.\.\.$", "", yaml.safe_dump(value, default_flow_style=True, width=1000).strip())


def command_line() -> str:
    """Return the page on every command of lorebridge."""
    text = _help()
    lines = [
        MADE + "# Command line",
        "",
        "What `lorebridge --help` and `lorebridge COMMAND --help` say. Commands that are marked so are called by the "
        "rules of the workflow.",
        "",
        f"```text\n{text}```",
    ]
    for command in re.findall(r"^    ([a-z][a-z-]+)(?: |$)", text, re.M):
        lines += ["", f"## `{command}`", "", f"```text\n{_help(command)}```"]
    return "\n".join(lines) + "\n"


def _help(*command: str) -> str:
    environment = os.environ | {"COLUMNS": "110"}
    call = [sys.executable, "-m", "lorebridge.cli", *command, "--help"]
    return subprocess.run(call, env=environment, check=True, capture_output=True, text=True).stdout


END = "<!-- End of what is made. -->"


def _filled(page: str, begin: str, made: list[list[str]]) -> str:
    """Return a page of docs with what is made put between its marks; the rest of it is written by hand."""
    text = (DOCS / page).read_text(encoding="utf-8")
    before, *parts = text.split(begin)
    assert len(parts) == len(made), f"{page} has {len(parts)} places for {len(made)} tables"
    rest = (part.partition(END)[2] for part in parts)
    return before + "".join(
        "\n".join([begin, "", *lines, "", END]) + after for lines, after in zip(made, rest, strict=True)
    )


def artifacts() -> str:
    """Return the page on artifacts, whose table of files follows from the stages; the rest of it is written by hand."""
    lines = ["| path under `results/<study>/` | table or content | made by |", "|---|---|---|"]
    for stage in studies.stages().values():
        alike: dict[str, list[str]] = {}
        for file in stage.files.values():
            path = file.path + ("/" if file.folder else "")
            said = ": ".join([*([f"*{file.table}*"] if file.table else []), *([file.says] if file.says else [])])
            alike.setdefault(said, []).append(f"`{path}`")
        for said, paths in alike.items():
            lines.append(f"| {', '.join(paths)} | {said} | `{stage.name}` |")
    return _filled("artifacts.md", "<!-- Made by docs/reference.py, from what the stages declare. -->", [lines])


def arms() -> str:
    """Return the page on arms, whose tables of arms and variants say what the code says of them."""
    plain = ["| arm | what the parallel rows hold | what it isolates |", "|---|---|---|"]
    plain += [f"| `{name}` | {arm.says} | {arm.isolates} |" for name, arm in ARMS.items() if not arm.variant]
    variants = ["| ending | what it leaves out or replaces | contrasts |", "|---|---|---|"]
    variants += [f"| `_{name}` | {variant.says} | {variant.isolates} |" for name, variant in VARIANTS.items()]
    return _filled("arms.md", "<!-- Made by docs/reference.py, from lorebridge.tokens.arms. -->", [plain, variants])


PAGES = {"configuration.md": configuration, "cli.md": command_line, "artifacts.md": artifacts, "arms.md": arms}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
