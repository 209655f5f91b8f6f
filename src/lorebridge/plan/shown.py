"""What a rule shows of its files, held against what its stage declares.

A rule repeats the paths of its stage for whoever reads it. What is said twice may drift, so it is compared whenever the
rule is read: a dry run with a wrong path stops in one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lorebridge.errors import ConfigError
from lorebridge.plan.stage import Artifact, Stage, Wildcards

if TYPE_CHECKING:
    from lorebridge.plan.plan import Plan

_WILDCARD = re.compile(r"\{(\w+)\}")


def declared(stage: Stage) -> dict[str, str]:
    """Return name -> path of a stage's files as rules show them: ``*`` for what a file fans out over."""
    record = set(_WILDCARD.findall(stage.record))
    return {
        name: _WILDCARD.sub(lambda found: found.group() if found.group(1) in record else "*", file.path)
        for name, file in stage.files.items()
    }


def outputs(plan: Plan, stage: str, shows: Mapping[str, str]) -> None:
    """Compare what a rule shows that it makes.

    Raises:
        ConfigError: names the rule's stage, the file, and what is declared.
    """
    wanted = declared(plan.stage(stage))
    if dict(shows) == wanted:
        return
    for name in [*shows, *wanted]:
        if shows.get(name) != wanted.get(name):
            said, right = (repr(there[name]) if name in there else "no such file" for there in (shows, wanted))
            raise ConfigError(
                f"the rule of stage {stage}, makes({name}=...)",
                f"shows {said}, and the stage declares {right}",
                f"Write what the stage declares: {_written(wanted)}.",
            )


def inputs(plan: Plan, stage: str, of: Wildcards, shows: Mapping[str, str]) -> None:
    """Compare what a rule shows that it needs with what the first artifact of its stage reads.

    A stage whose inputs a row says (a drawing's) shows none. Where the study has no artifact of the stage, there is
    nothing to compare.

    Raises:
        ConfigError: names the rule's stage, the argument, and what is declared.
    """
    name = (stage, tuple(sorted(of.items()))) if of else plan.examples.get(stage)
    if name is None or plan.stage(stage).by_row:
        return
    for argument, what in differences(plan, name, shows):
        raise ConfigError(
            f"the rule of stage {stage}, needs({argument}=...)", what, "Show what the stage declares as its inputs."
        )


def differences(plan: Plan, name: Artifact, shows: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield (argument, what is wrong) of all that a rule shows wrongly of an artifact's inputs.

    What it shows beyond is no difference: not every artifact of a stage has every input.
    """
    stage, wildcards = name[0], dict(name[1])
    for argument, paths in plan.reads(stage, **wildcards).items():
        if argument not in shows:
            yield argument, f"is not shown, and {_where(plan, name)} reads {paths[0]}"
            continue
        patterns = [_pattern(part.strip(), wildcards) for part in shows[argument].split("|")]
        for path in paths:
            below = path.removeprefix(f"{plan.root}/")
            if not any(pattern.fullmatch(below) for pattern in patterns):
                yield argument, f"shows {shows[argument]!r}, and {_where(plan, name)} reads {below}"
                break


def _where(plan: Plan, name: Artifact) -> str:
    return " ".join([name[0], *(f"{key}={value}" for key, value in name[1])])


def _pattern(shown: str, wildcards: Wildcards) -> re.Pattern[str]:
    """Return what a shown path matches: wildcards as they are for the artifact, ``*`` for anything in one part."""
    parts = re.split(r"(\*|\{\w+\})", shown)
    return re.compile(
        "".join(
            "[^/]*" if part == "*" else re.escape(str(wildcards.get(part[1:-1], part)) if part[:1] == "{" else part)
            for part in parts
        )
    )


def _written(wanted: Mapping[str, Any]) -> str:
    return ", ".join(f'{name}="{path}"' for name, path in wanted.items())
