"""What a stage says of itself, once: the function it calls, its files, its literals, its inputs.

A stage is declared near its code (``lorebridge.trace.stages`` for the functions of :mod:`lorebridge.trace`), by values
and small functions of a :class:`~lorebridge.plan.study.Study`. Everything else follows from the declaration: the paths
of the rules, the recipes, what a job hands to the function, and the table of files in the documentation.

Light: nothing here, nor in a declaration, imports more than the standard library and what is as light.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lorebridge.errors import ConfigError

if TYPE_CHECKING:
    from lorebridge.plan.study import Study

Wildcards = Mapping[str, str]

Artifact = tuple[str, tuple[tuple[str, str], ...]]
"""A stage and its wildcards, sorted."""

WILDCARDS = {
    "lang": "[a-z]{2,3}",
    "corpus": "[a-z]{2,3}",
    "culture": "[a-z]{2,3}",
    "shard": "[0-9]{5}-of-[0-9]{5}",
    "stream": "[a-z0-9][a-z0-9_.-]*",
    "run": "[a-z0-9][a-z0-9_.-]*",
    "figure": "[a-z0-9_]+",
    "table": "[a-z0-9_]+",
}
"""What each wildcard that stages share may be, as a regular expression."""

ANY_PART = "[^/]+"
"""What a wildcard may be of which nothing is said: one part of a path."""


def artifact(stage: str, **wildcards: Any) -> Artifact:
    """Return the hashable name of an artifact."""
    if not wildcards:
        return stage, ()
    return stage, tuple(sorted([(key, str(value)) for key, value in wildcards.items()]))


@dataclasses.dataclass(frozen=True)
class File:
    """A file, or several alike, that a stage makes.

    Attributes:
        path: below the folder of the study, with wildcards in braces.
        says: what it holds, for the documentation; empty where `table` says it.
        table: the schema of :mod:`lorebridge.tables` that it follows; empty if it is no table.
        folder: whether the path is that of a folder.
        each: gives the values of the wildcards that it fans out over within one artifact, e.g. a file a language.
        when: whether a study has it.
        argument: the argument of the stage's function that takes the path; None for the name of the file, empty where
            the function is not told (because it writes the file beside another).
        given: what the function is given: the ``path``, the ``folder`` that it lies in, or the ``stem`` of it.
    """

    path: str
    says: str = ""
    table: str = ""
    folder: bool = False
    each: Callable[[Study, Wildcards], Iterable[Wildcards]] | None = None
    when: Callable[[Study], bool] | None = None
    argument: str | None = None
    given: str = "path"


@dataclasses.dataclass(frozen=True)
class Item:
    """A file of an artifact, as it is wanted by another stage.

    Attributes:
        stage: the stage that makes it.
        file: its name there.
        wildcards: of the artifact.
        key: more names that it may be known by, where those of the artifact and of its files do not say them.
        folder: whether the folder is wanted that the file lies in.
        artifact: the artifact.
    """

    stage: str
    file: str
    wildcards: Wildcards
    key: Wildcards = dataclasses.field(default_factory=dict)
    folder: bool = False

    artifact: Artifact = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Say which artifact it is of."""
        object.__setattr__(self, "artifact", artifact(self.stage, **self.wildcards))

    def known_by(self, **key: str) -> Item:
        """Return the same with more names that it may be known by."""
        return dataclasses.replace(self, key={**self.key, **key})


@functools.lru_cache(maxsize=None, typed=True)  # tens of thousands in a large study, each wanted by several stages
def item(stage: str, file: str, **wildcards: Any) -> Item:
    """Return a file of an artifact."""
    return Item(stage, file, {key: str(value) for key, value in wildcards.items()})


@functools.lru_cache(maxsize=None, typed=True)
def folder(stage: str, file: str, **wildcards: Any) -> Item:
    """Return the folder that a file of an artifact lies in."""
    return dataclasses.replace(item(stage, file, **wildcards), folder=True)


Row = Mapping[str, Any]
"""Values, and items or lists of items, by name."""


@dataclasses.dataclass(frozen=True)
class Argument:
    """What one argument of a stage's function is made of.

    Attributes:
        items: the files.
        shape: ``one`` (a path), ``many`` (a list of paths), ``by`` (key -> path), ``groups`` (key -> list of paths),
            ``rows`` (a list of mappings from name to value, path or list of paths), or ``after``: the artifacts must be
            there, and the function is not told.
        keys: names of the wildcards that make the key, of one a string, of several a tuple.
        rows: the rows.
        first: whether the rule names one file of each item alone. The others come from the same job and are named by
            the task: an edge of Snakemake's graph costs as much as a small job, and hundreds of checkpoints say no more
            than one.
    """

    items: tuple[Item, ...]
    shape: str
    keys: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    first: bool = False

    @property
    def shown(self) -> int | None:
        """How many files of each item the rule names; None for all."""
        return 1 if self.first else None


def one(found: Item) -> Argument:
    """Hand over one path."""
    return Argument((found,), "one")


def many(found: Iterable[Item]) -> Argument:
    """Hand over a list of paths."""
    return Argument(tuple(found), "many")


def by(keys: str | Sequence[str], found: Iterable[Item], *, first: bool = False) -> Argument:
    """Hand over paths by key: the value of a wildcard, or a tuple of those of several."""
    return Argument(tuple(found), "by", (keys,) if isinstance(keys, str) else tuple(keys), first=first)


def groups(keys: str | Sequence[str], found: Iterable[Item]) -> Argument:
    """Hand over lists of paths by key."""
    return Argument(tuple(found), "groups", (keys,) if isinstance(keys, str) else tuple(keys))


def table(found: Iterable[Row]) -> Argument:
    """Hand over rows in which values stand beside the paths that belong to them."""
    rows = tuple(found)
    return Argument(tuple(item for row in rows for item in _items(row)), "rows", rows=rows)


def _items(row: Row) -> list[Item]:
    """Return the items of a row, in its order."""
    found = []
    for value in row.values():
        values = value if isinstance(value, list) else [value]
        found += [x for x in values if isinstance(x, Item)]
    return found


def after(found: Iterable[Item]) -> Argument:
    """Wait for artifacts that the function does not read."""
    return Argument(tuple(found), "after")


Arguments = Mapping[str, Argument]


def _nothing(study: Study, w: Wildcards) -> dict[str, Any]:
    return {}


@dataclasses.dataclass(frozen=True)
class Stage:
    """A kind of work, with all that is known of it before it is done.

    Attributes:
        name: its name.
        says: what it does, in one sentence; the docstring of its rule.
        calls: the function, ``module:function``, imported when a job runs; or what gives it for a study and wildcards.
        files: name -> file that it makes.
        record: path of its record, with wildcards.
        version: bumped when a change of its code alters its output; everything downstream is then remade.
        literals: JSON-like values that make the result what it is; the function takes them as keyword arguments.
        identity: the same for values that the function does not take.
        inputs: argument -> files of other artifacts.
        sources: argument -> paths of files from outside the study (a path, or a list in which None stands for what is
            fetched). The literals hold what they contain, so the paths are no part of a recipe.
        settings: how something is reached; taken by the function, no part of a recipe.
        threads: the argument that takes the number of threads, if any.
        resumes: whether the function takes ``work``, a folder of its own to resume from.
        records: the argument that takes the paths of its inputs' records, if any.
        by_row: whether its inputs are said by a row of a table (a drawing's) and not by itself.
        runs: whether it trains or scores a model, so that what a study has declared is noted when its first job begins
            and in its record (:mod:`lorebridge.declared`).
        wildcards: what a wildcard of its own may be, one that is not among :data:`WILDCARDS`, as a regular expression.
    """

    name: str
    says: str
    calls: str | Callable[[Study, Wildcards], str]
    files: Mapping[str, File]
    record: str
    version: int = 1
    literals: Callable[[Study, Wildcards], Mapping[str, Any]] = _nothing
    identity: Callable[[Study, Wildcards], Mapping[str, Any]] = _nothing
    inputs: Callable[[Study, Wildcards], Arguments] = _nothing
    sources: Callable[[Study, Wildcards], Mapping[str, Any]] = _nothing
    settings: Callable[[Study, Wildcards], Mapping[str, Any]] = _nothing
    threads: str = ""
    resumes: Callable[[Study, Wildcards], bool] = lambda study, w: False
    records: str = ""
    by_row: bool = False
    runs: bool = False
    wildcards: Wildcards = dataclasses.field(default_factory=dict)


def constraints(stages: Iterable[Stage]) -> dict[str, str]:
    """Return what each wildcard of the stages' paths may be, as a regular expression.

    Raises:
        ConfigError: two stages say different things of one wildcard.
    """
    found = dict(WILDCARDS)
    for stage in stages:
        for name, pattern in stage.wildcards.items():
            if found.setdefault(name, pattern) != pattern:
                raise ConfigError(
                    f"the stage {stage.name}, wildcard {name}",
                    f"is {pattern!r}, and {found[name]!r} elsewhere",
                    "Say the same in both places, or call it otherwise.",
                )
        for path in (stage.record, *(file.path for file in stage.files.values())):
            for name in re.findall(r"\{(\w+)\}", path):
                found.setdefault(name, ANY_PART)
    return found


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A figure or table: how it is drawn, and how it is presented.

    Attributes:
        name: its name; its files are called so.
        calls: the function that draws it, ``module:function``.
        inputs: argument -> files, from a study.
        settings: names of the study's settings that it is drawn with (:attr:`~lorebridge.plan.study.Study.settings`).
        category: the part of the report that it stands in; of a table, ``Tables``.
        title: what it is called there.
        text: what it shows.
        reading: the function that says in sentences what the study's tables tell of it, ``module:function``; or empty.
        when: whether a study has it.
    """

    name: str
    calls: str
    inputs: Callable[[Study], Arguments]
    settings: tuple[str, ...]
    category: str = "Tables"
    title: str = ""
    text: str = ""
    reading: str = ""
    when: Callable[[Study], bool] | None = None
