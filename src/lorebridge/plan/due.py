"""Which artifacts of a study a run would make, and why: by the records on disk, as the workflow decides it.

An artifact is made where its record does not hold the recipe of the plan, or its files are not there with the sizes
that the record says, and something asks for it: the study itself, or what is made from it, near or far.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorebridge.plan.stage import Artifact
from lorebridge.records import Records, whole

if TYPE_CHECKING:
    from lorebridge.plan.plan import Plan

NEW, INPUTS, FILES = "not made yet", "made from what is made anew", "a file is missing, or has another size"


def paths(plan: Plan, *names: Artifact) -> list[str]:
    """Return the files of some artifacts, their records left out."""
    found: list[str] = []
    for stage, wildcards in names:
        for key, value in plan.outputs(stage, **dict(wildcards)).items():
            if key != "record":
                found += [value] if isinstance(value, str) else value
    return found


def fresh(plan: Plan, name: Artifact, records: Records) -> bool:
    """Return whether an artifact is on disk, of the sizes that it was written with, and made by the plan's recipe."""
    place = plan.record(*name)
    record = records(place)
    if record is None or record.get("recipe") != plan.recipe(name):
        return False
    return whole(place, record, paths(plan, name))


def due(plan: Plan, records: Records) -> dict[Artifact, list[str]]:
    """Return what a run would make -> why, inputs before what is made from them."""
    wanted: set[Artifact] = set()
    seen: set[Artifact] = set()
    # A target that is fresh asks for nothing; what is made asks for all that it comes from, behind what is fresh too.
    open_ = [name for name in plan.targets() if not fresh(plan, name, records)]
    while open_:
        name = open_.pop()
        if name not in seen:
            seen.add(name)
            if not fresh(plan, name, records):
                wanted.add(name)
            open_ += plan.inputs(name[0], **dict(name[1]))
    # Snakemake makes anew, too, what a file that was gone is made for; what is only made anew it does not hold against
    # what is fresh.
    for name in plan.walk():
        if not wanted.isdisjoint(plan.inputs(name[0], **dict(name[1]))):
            read = plan.reads(name[0], **dict(name[1])).values()
            if not all(Path(path).exists() for files in read for path in files):
                wanted.add(name)
    return {name: _reasons(plan, name, records) for name in plan.walk() if name in wanted}


def _reasons(plan: Plan, name: Artifact, records: Records) -> list[str]:
    record = records(plan.record(*name))
    if record is None:
        return [NEW]
    task = plan.task(name[0], **dict(name[1]))
    if record.get("recipe") == task.recipe:
        return [INPUTS if fresh(plan, name, records) else FILES]
    now = {"version": task.version, "literals": task.literals, "inputs": list(task.expects)}
    then = {key: record.get(key) for key in ("version", "literals")} | {"inputs": list(record.get("inputs") or ())}
    return why(then, now) or [INPUTS]


def why(a: Mapping[str, Any], b: Mapping[str, Any], names: tuple[str, str] = ("before", "now")) -> list[str]:
    """Return why the recipes of one artifact differ, what it is made from apart.

    Args:
        a: what one record says: ``version``, ``literals``, ``inputs`` (paths of records).
        b: what another says.
        names: what the two are called.
    """
    found = [f"version {a['version']} | {b['version']}"] if a["version"] != b["version"] else []
    found += [
        f"{row['key']} {short(row['a'])} | {short(row['b'])}" for row in differences(a["literals"], b["literals"])
    ]
    inputs = set(a["inputs"]), set(b["inputs"])
    for name, more in zip(names, (inputs[0] - inputs[1], inputs[1] - inputs[0]), strict=True):
        if more:
            rest = f" and {len(more) - 3} more" if len(more) > 3 else ""
            found.append(f"made {name} alone from {', '.join(sorted(more)[:3])}{rest}")
    return found


def differences(a: Any, b: Any, key: str = "") -> Iterator[dict[str, Any]]:
    """Yield the keys at which two JSON-like values differ; None stands for a key that is not there."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for name in dict.fromkeys([*a, *b]):
            yield from differences(a.get(name), b.get(name), f"{key}.{name}" if key else str(name))
    elif json.dumps(a, sort_keys=True) != json.dumps(b, sort_keys=True):
        yield {"key": key, "a": a, "b": b}


def short(value: Any) -> str:
    """Return a value in at most 60 characters."""
    text = "–" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
