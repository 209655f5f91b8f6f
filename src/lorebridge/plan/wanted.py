"""What is asked for by name: paths as regular expressions, and artifacts that a study does not have."""

from __future__ import annotations

import difflib
import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from lorebridge.errors import InputError
from lorebridge.plan.stage import Artifact, Stage, artifact, constraints

if TYPE_CHECKING:
    from lorebridge.plan.plan import Plan

SHOWN = 12
"""Names that an error lists."""

_WORDS = {"lang": "language", "stream": "text"}


def expression(stage: Stage, pattern: str) -> str:
    """Return the regular expression of a path of a stage; a wildcard that comes again must be the same."""
    seen: set[str] = set()
    may_be = constraints([stage])

    def wildcard(found: re.Match[str]) -> str:
        name = found.group(1)
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        return f"(?P<{name}>{may_be[name]})"

    return "".join(
        re.sub(r"\{(\w+)\}", wildcard, part) if part.startswith("{") else re.escape(part)
        for part in re.split(r"(\{\w+\})", pattern)
    )


def made_by(plan: Plan, path: str) -> Iterator[Artifact]:
    """Yield the artifacts that a path would be of, by what the stages declare.

    Args:
        plan: of the study.
        path: below the folder of the study.
    """
    for stage in plan.study.stages.values():
        record = set(re.findall(r"\{(\w+)\}", stage.record)) - {"study"}
        for file in stage.files.values():
            if found := re.fullmatch(expression(stage, file.path), path):
                yield artifact(stage.name, **{name: found.group(name) for name in record})


def refuse_unknown(plan: Plan, name: Artifact, where: str) -> None:
    """Refuse an artifact that a study does not have.

    Of a stage that nothing in the study reads, which may be made by hand, the values of the wildcards must be known.

    Args:
        plan: of the study.
        name: the artifact.
        where: what asks for it.

    Raises:
        InputError: says what there is.
    """
    if name in plan.planned:
        return
    stage, said = name
    for key, value in said:
        known = {dict(of)[key]: None for _, of in plan.walk() if key in dict(of)}
        if known and value not in known:
            word = _WORDS.get(key, key)
            raise InputError(
                where, f"this study has no {word} {value!r}", f"{_close(value, known)}It has {_few(known)}."
            )
    if stage in plan.examples:
        there = [", ".join(f"{key} {value}" for key, value in of) for other, of in plan.walk() if other == stage]
        what = ", ".join(f"{key} {value}" for key, value in said)
        raise InputError(where, f"this study has no {stage} of {what}", f"It has {_few(there, '; ')}.")


def refuse_unknown_paths(plan: Plan, asked: Iterable[tuple[str, str]]) -> None:
    """Refuse paths of artifacts that a study does not have.

    Args:
        plan: of the study.
        asked: (option, word) of what is asked for; a word that is no path of an artifact is passed over.

    Raises:
        InputError: names the option and the path, and says what there is.
    """
    root = posixpath.abspath(plan.root)
    for option, word in asked:
        names = list(made_by(plan, posixpath.relpath(posixpath.abspath(word), root)))
        if names and not any(name in plan.planned for name in names):
            for name in names:
                refuse_unknown(plan, name, f"{option}, {word}")


def _close(value: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(value, list(known), n=1)
    return f"Did you mean {close[0]!r}? " if close else ""


def _few(names: Iterable[str], between: str = ", ") -> str:
    every = list(names)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return between.join(every[:SHOWN]) + more
