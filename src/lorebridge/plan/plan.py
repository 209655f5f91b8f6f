"""The plan of a study: a walk over the declarations of its stages.

Pure: touches no model, no tensor and no table, so that a dry run needs no torch. The plan is a graph of *artifacts*
``(stage, wildcards)``. For each it knows the files (:meth:`Plan.outputs`), the artifacts and paths that it is made from
(:meth:`Plan.inputs`, :meth:`Plan.reads`) and the task with its chained recipe (:meth:`Plan.task`). The workflow's rules
take all of these from here, and all of it follows from what the stages say of themselves
(:mod:`lorebridge.plan.stage`).
"""

from __future__ import annotations

import functools
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from lorebridge.plan import tasks
from lorebridge.plan.stage import Arguments, Artifact, Drawing, Stage, Wildcards, artifact
from lorebridge.plan.study import Study
from lorebridge.records import Task

Files = Mapping[str, str | list[str]]
"""Output name -> path, or paths."""


class _Open(dict[str, Any]):
    """Values of wildcards; one that is not given stays in the path as it is."""

    def __missing__(self, name: str) -> str:
        return f"{{{name}}}"


class Plan:
    """The plan of one study.

    Args:
        study: its rows, stages and drawings.
    """

    def __init__(self, study: Study) -> None:
        """Prepare the plan; nothing is read from disk yet."""
        self.study = study
        self._tasks: dict[Artifact, Task] = {}
        self._records: dict[Artifact, str] = {}
        self._arguments: dict[Artifact, Arguments] = {}
        self._inputs: dict[Artifact, list[Artifact]] = {}
        self._paths: dict[tuple[Artifact, str], list[tuple[Wildcards, str]]] = {}

    @property
    def config(self) -> Mapping[str, Any]:
        """The study's configuration."""
        return self.study.config

    @property
    def root(self) -> str:
        """The folder of the results."""
        return self.study.root

    @property
    def work(self) -> str:
        """The folder of the resume state."""
        return self.study.work

    @property
    def figures(self) -> list[str]:
        """The names of the study's figures."""
        return list(self.study.figures)

    @property
    def tables(self) -> list[str]:
        """The names of the study's tables."""
        return list(self.study.tables)

    def stage(self, name: str) -> Stage:
        """Return the declaration of a stage.

        Raises:
            KeyError: the study has no such stage.
        """
        return self.study.stages[name]

    def drawing(self, stage: str, wildcards: Wildcards) -> Drawing:
        """Return the row of a figure or table."""
        return (self.study.figures if stage == "figure" else self.study.tables)[str(wildcards[stage])]

    # ---------------------------------------------------------------- files

    def outputs(self, stage: str, **wildcards: Any) -> dict[str, str | list[str]]:
        """Return name -> path (or paths) of an artifact's files, its record among them under ``record``.

        Wildcards that are not given stay in the paths as ``{name}``, which is how a rule declares its outputs.
        """
        declared = self.stage(stage)
        found: dict[str, str | list[str]] = {}
        for name, file in declared.files.items():
            if file.when is None or file.when(self.study):
                paths = [path for _, path in self.files(artifact(stage, **wildcards), name)]
                found[name] = paths if file.each else paths[0]
        return found | {"record": self._below(declared.record, wildcards)}

    def _below(self, pattern: str, wildcards: Mapping[str, Any]) -> str:
        path = f"{self.root}/{pattern.format_map(_Open(wildcards, study=self.config['study']))}"
        return posixpath.normpath(path) if "/../" in path else path

    def files(self, name: Artifact, file: str) -> list[tuple[Wildcards, str]]:
        """Return (further wildcards, path) of every file of one name of an artifact."""
        if (name, file) not in self._paths:
            declared = self.stage(name[0]).files[file]
            w = dict(name[1])
            several = declared.each(self.study, w) if declared.each else [{}]
            self._paths[name, file] = [
                ({key: str(value) for key, value in more.items()}, self._below(declared.path, {**w, **more}))
                for more in several
            ]
        return self._paths[name, file]

    def record(self, stage: str, wildcards: tuple[tuple[str, str], ...] | Mapping[str, Any]) -> str:
        """Return the path of an artifact's record."""
        name = (stage, wildcards) if isinstance(wildcards, tuple) else artifact(stage, **wildcards)
        if name not in self._records:
            self._records[name] = self._below(self.stage(stage).record, dict(name[1]))
        return self._records[name]

    # ---------------------------------------------------------------- inputs

    def arguments(self, stage: str, **wildcards: Any) -> Arguments:
        """Return argument -> what it is made of, for an artifact."""
        name = artifact(stage, **wildcards)
        if name not in self._arguments:
            w = dict(name[1])
            declared = self.stage(stage)
            self._arguments[name] = (
                self.drawing(stage, w).inputs(self.study) if declared.by_row else declared.inputs(self.study, w)
            )
        return self._arguments[name]

    def inputs(self, stage: str, **wildcards: Any) -> list[Artifact]:
        """Return the artifacts that an artifact is made from."""
        name = artifact(stage, **wildcards)
        if name not in self._inputs:
            arguments = self.arguments(stage, **wildcards).values()
            self._inputs[name] = list(dict.fromkeys([item.artifact for given in arguments for item in given.items]))
        return self._inputs[name]

    def reads(self, stage: str, **wildcards: Any) -> dict[str, list[str]]:
        """Return argument -> paths of the files that a rule names, in the order of their keys."""
        return {
            argument: [path for i in given.items for _, path in self.files(i.artifact, i.file)[: given.shown]]
            for argument, given in self.arguments(stage, **wildcards).items()
        }

    def sources(self, stage: str, **wildcards: Any) -> list[str]:
        """Return the paths of the files from outside the study that an artifact is made from and that are there."""
        w = {key: str(value) for key, value in wildcards.items()}
        found = self.stage(stage).sources(self.study, w).values()
        paths = [path for value in found for path in (value if isinstance(value, list) else [value])]
        absent = {path for path, _ in self.study.absent_sources()} if paths else ()
        return [path for path in paths if path is not None and path not in absent]

    # ---------------------------------------------------------------- recipes

    def literals(self, stage: str, **wildcards: Any) -> dict[str, Any]:
        """Return the values that make an artifact what it is, those that its function does not take among them."""
        declared, w = self.stage(stage), {key: str(value) for key, value in wildcards.items()}
        return {**declared.identity(self.study, w), **declared.literals(self.study, w)}

    def task(self, stage: str, **wildcards: Any) -> Task:
        """Return the task that makes an artifact: literals, the recipes of its inputs, and so its own recipe."""
        name = artifact(stage, **wildcards)
        if name not in self._tasks:
            declared = self.stage(stage)
            arguments = self.arguments(stage, **wildcards)
            self._tasks[name] = Task(
                stage,
                self.literals(stage, **wildcards),
                expects={self.record(*a): self.recipe(a) for a in self.inputs(stage, **wildcards)},
                version=declared.version,
                roles={argument: tasks.role(self, given) for argument, given in arguments.items()},
                call=tasks.call(self, declared, dict(name[1])),
            )
        return self._tasks[name]

    def recipe(self, name: Artifact) -> str:
        """Return the recipe that an artifact must have been made by."""
        known = self._tasks.get(name)  # asked for by everything that is made from it
        return (known or self.task(name[0], **dict(name[1]))).recipe

    # ---------------------------------------------------------------- the graph

    def drawings(self) -> list[Artifact]:
        """Return the study's tables and figures."""
        return [
            *(artifact("table", table=name) for name in self.tables),
            *(artifact("figure", figure=name) for name in self.figures),
        ]

    def targets(self) -> list[Artifact]:
        """Return what the study is for: what its kind names, its tables and figures, and its page."""
        return [*self.study.targets, *self.drawings(), artifact("page")]

    def walk(self) -> Iterator[Artifact]:
        """Yield every artifact that the targets need, each once, inputs before what is made from them."""
        yield from self._order

    @functools.cached_property
    def _order(self) -> list[Artifact]:
        order: list[Artifact] = []
        seen: set[Artifact] = set()

        def visit(a: Artifact) -> None:
            if a not in seen:
                seen.add(a)
                for b in self.inputs(a[0], **dict(a[1])):
                    visit(b)
                order.append(a)

        for a in self.targets():
            visit(a)
        return order

    @functools.cached_property
    def planned(self) -> frozenset[Artifact]:
        """Every artifact that the targets need."""
        return frozenset(self._order)

    @functools.cached_property
    def examples(self) -> dict[str, Artifact]:
        """Stage -> its first artifact in the study, to hold what a rule shows against what is declared."""
        found: dict[str, Artifact] = {}
        for a in self.walk():
            found.setdefault(a[0], a)
        return found
