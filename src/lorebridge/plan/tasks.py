"""What a task says beside its literals: how a job calls the stage's function, and what each argument is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorebridge.plan.stage import Argument, Artifact, Item, Row, Stage, Wildcards
from lorebridge.records import DigestCache

if TYPE_CHECKING:
    from lorebridge.plan.plan import Plan


def call(plan: Plan, stage: Stage, w: Wildcards) -> dict[str, Any]:
    """Return how a job calls a stage's function (:mod:`lorebridge.call`)."""
    study = plan.study
    sources = stage.sources(study, w)
    calls = stage.calls if isinstance(stage.calls, str) else stage.calls(study, w)
    return {
        "function": plan.drawing(stage.name, w).calls if stage.by_row else calls,
        "inputs": {
            argument: _shape(plan, given)
            for argument, given in plan.arguments(stage.name, **w).items()
            if given.shape != "after"
        },
        "outputs": {
            name: {"argument": name if file.argument is None else file.argument, "given": file.given}
            for name, file in stage.files.items()
            if file.argument != ""
        },
        "given": {**sources, **stage.settings(study, w)},
        **(_sources(plan, stage, w, sources) if sources else {}),
        "withheld": list(stage.identity(study, w)),
        "threads": stage.threads,
        "resumes": stage.resumes(study, w),
        "records": stage.records,
        "digests": f"{study.config['work']}/digests",
        **({"declared": {"first": study.first_declared, "said": study.declared}} if stage.runs else {}),
    }


def _sources(plan: Plan, stage: Stage, w: Wildcards, sources: Mapping[str, Any]) -> dict[str, Any]:
    """Return path -> sha256 by which the recipe knows a source; None for one that the study makes, a planted world's.

    Beside it the folder in which the plan remembers what it has hashed, so that a job need not read them again.
    """
    paths = [path for said in sources.values() for path in (said if isinstance(said, list) else [said]) if path]
    if not paths:
        return {}
    made = {
        path for a in plan.inputs(stage.name, **w) for file in plan.stage(a[0]).files for path in _of(plan, a, file)
    }
    digest = plan.study.digest
    # What is not there yet, a person has to put in place first; the run is refused before it begins.
    found = {path: None if path in made else digest(path) for path in paths if path in made or Path(path).is_file()}
    return {"sources": found, **({"planned": str(digest.folder)} if isinstance(digest, DigestCache) else {})}


def _of(plan: Plan, name: Artifact, file: str) -> list[str]:
    """Return the paths of a file of an artifact."""
    return [path for _, path in plan.files(name, file)]


def role(plan: Plan, given: Argument) -> list[Any]:
    """Return what an argument is made of: keys or values beside paths, names of files, recipes."""

    def made(wanted: Item) -> list[str]:
        key, of = wanted.key, wanted.wildcards
        keys = [key[name] if name in key else of[name] for name in given.keys if name in key or name in of]
        return [*keys, wanted.file, plan.recipe(wanted.artifact)]

    if given.rows:
        return [_cells(row, made) for row in given.rows]
    return [made(wanted) for wanted in given.items]


def _shape(plan: Plan, given: Argument) -> dict[str, Any]:
    """Return how an argument is made of its paths, which come in the order of the items."""
    every = [(item, *file) for item in given.items for file in plan.files(item.artifact, item.file)]
    files = [(item, more) for item, more, _ in every]
    said: dict[str, Any] = {"shape": given.shape, "folder": [item.folder for item, _ in files]}
    if given.first:
        said["paths"] = [path for _, _, path in every]
    if given.keys:
        said["keys"] = [
            [i.key[name] if name in i.key else more[name] if name in more else i.wildcards[name] for name in given.keys]
            for i, more in files
        ]
    if given.rows:
        # In pairs, because the order of the paths is that of the cells, and a task's keys have none.
        said["rows"] = [[[name, _counted(plan, value)] for name, value in row.items()] for row in given.rows]
    return said


def _counted(plan: Plan, value: Any) -> dict[str, Any]:
    """Return the value of a row's cell, or how many of the paths it takes."""
    if isinstance(value, Item):
        return {"path": True}
    if isinstance(value, list) and value and isinstance(value[0], Item):
        return {"paths": sum(len(plan.files(i.artifact, i.file)) for i in value)}
    return {"value": value}


def _cells(row: Row, made: Callable[[Item], list[str]]) -> dict[str, Any]:
    """Return the cells of a row with every file replaced by what it is made by."""
    return {
        name: made(value)
        if isinstance(value, Item)
        else [made(i) for i in value]
        if isinstance(value, list) and value and isinstance(value[0], Item)
        else value
        for name, value in row.items()
    }
