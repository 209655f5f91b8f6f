"""The one way from a rule to the function that its stage declares.

A task says which function a job calls, what each of its arguments is made of and by which keys; the rule says where the
files lie. Keys travel with the paths, in their order: nobody reads a name out of a path.
"""

from __future__ import annotations

import importlib
import itertools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorebridge.records import Task


def shaped(task: Task, argument: str, paths: Sequence[str | Path]) -> Any:
    """Return what the task's function takes as an argument.

    Args:
        task: the task.
        argument: its name.
        paths: the files that the rule names, in the order of the plan.

    Raises:
        ValueError: not as many files as the plan names.
    """
    said = task.call["inputs"][argument]
    every = task.files(argument, paths)
    found = [Path(path).parent if folder else Path(path) for path, folder in zip(every, said["folder"], strict=True)]
    if said["shape"] == "one":
        [path] = found
        return path
    if said["shape"] == "many":
        return found
    if said["shape"] == "rows":
        left = iter(found)
        return [{name: _cell(cell, left) for name, cell in row} for row in said["rows"]]
    keys = [key[0] if len(key) == 1 else tuple(key) for key in said["keys"]]
    if said["shape"] == "by":
        return dict(zip(keys, found, strict=True))
    grouped: dict[Any, list[Path]] = {}
    for key, path in zip(keys, found, strict=True):
        grouped.setdefault(key, []).append(path)
    return grouped


def _cell(cell: Mapping[str, Any], paths: Iterator[Path]) -> Any:
    """Return the value of a row's cell; the next of the paths where it is one."""
    if "path" in cell:
        return next(paths)
    return list(itertools.islice(paths, cell["paths"])) if "paths" in cell else cell["value"]


def literals(task: Task) -> dict[str, Any]:
    """Return the literals of a task that its function takes."""
    return {key: value for key, value in task.literals.items() if key not in task.call["withheld"]}


def make(
    task: Task,
    *,
    inputs: Mapping[str, Sequence[str]],
    outputs: Mapping[str, str | Sequence[str]],
    work: str | Path = "",
    threads: int = 1,
) -> dict[str, Any]:
    """Call the function of a task's stage.

    Args:
        task: the task.
        inputs: argument -> files, as the rule has them; arguments that the task does not know are left out.
        outputs: name -> file, or files.
        work: root of the study's resume state, for a stage that resumes.
        threads: for a stage that takes them.

    Returns:
        Notes for the record: what the function returns, if that is a dictionary.
    """
    module, _, name = task.call["function"].partition(":")
    given: dict[str, Any] = {**literals(task), **task.call["given"]}
    given |= {argument: shaped(task, argument, inputs[argument]) for argument in task.call["inputs"]}
    for output, said in task.call["outputs"].items():
        path = Path(str(outputs[output]))
        given[said["argument"]] = {"path": path, "folder": path.parent, "stem": path.with_suffix("")}[said["given"]]
    if task.call["threads"]:
        given[task.call["threads"]] = threads
    if task.call["records"]:
        given[task.call["records"]] = list(task.expects)
    if task.call["resumes"]:
        given["work"] = Path(work) / task.stage / task.recipe
    notes = getattr(importlib.import_module(module), name)(**given)
    if task.call["resumes"]:
        shutil.rmtree(given["work"], ignore_errors=True)
    return notes if isinstance(notes, dict) else {}
