"""Errors whose advice is followed: what fails says the advice, and works once it was followed."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import lorebridge
from lorebridge import config, studies
from lorebridge.errors import InputError

ROOT = Path(lorebridge.__file__).parent


@dataclasses.dataclass
class Case:
    """Something that fails, what its advice says, and the advice followed.

    Attributes:
        advice: a part of the message, from the advice.
        fails: what is tried.
        follow: does what the advice says; None where `again` alone differs.
        again: what works then, by default what failed.
    """

    advice: str
    fails: Callable[[Path], Any]
    follow: Callable[[Path], Any] | None = None
    again: Callable[[Path], Any] | None = None


def name_of(case: Case) -> str:
    """Return the name of the test of a case."""
    return case.advice[:40]


def follow(case: Case, folder: Path) -> None:
    """See that a case fails as it says, and that doing what the error advises works."""
    with pytest.raises(InputError) as error:
        case.fails(folder)
    assert case.advice in str(error.value)
    if case.follow:
        case.follow(folder)
    (case.again or case.fails)(folder)


@dataclasses.dataclass(frozen=True)
class Site:
    """A place that makes an error, or a problem of a configuration, which `config.check` makes one of.

    Attributes:
        module: the file below the package.
        lines: of the source.
        advice: the mend, as the source has it.
    """

    module: str
    lines: range
    advice: str


def sites() -> Iterator[Site]:
    """Yield every place of the package that gives advice."""
    for path in sorted(ROOT.rglob("*.py")):
        module = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("InputError", "ConfigError"):
                advice = ast.unparse(node.args[-1])
            elif isinstance(node, ast.Yield) and _is_problem(node.value):
                advice = ast.unparse(node.value)
            else:
                continue
            yield Site(module, range(node.lineno, (node.end_lineno or node.lineno) + 1), advice)


def _is_problem(value: ast.expr | None) -> bool:
    """Whether what is yielded is a key, what is wrong with it, and the mend."""
    if isinstance(value, ast.Call):
        return ast.unparse(value.func) == "not_a_language"
    if not isinstance(value, ast.Tuple) or len(value.elts) != 3:
        return False
    return any(isinstance(part, ast.Constant | ast.JoinedStr) for part in value.elts[1:])


class Met:
    """Which lines of the package have made errors, or yielded problems."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lines: set[tuple[str, int]] = set()
        compose, problems = InputError.__init__, {site.module for site in sites()}
        self._files = {str(ROOT / module) for module in problems}

        def note(error: InputError, *arguments: Any) -> None:
            frame = sys._getframe(1)
            self.lines.add((frame.f_code.co_filename, frame.f_lineno))
            compose(error, *arguments)

        monkeypatch.setattr(InputError, "__init__", note)
        # One problem at a time: only the one that is told was met.
        keys = config._key_problems
        monkeypatch.setattr(config, "_key_problems", lambda *arguments: self._one_by_one(keys(*arguments)))
        monkeypatch.setattr(studies, "problems", self._problems)

    def _problems(self, said: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
        for module in (studies.checks, studies._module(said["kind"])):
            yield from self._one_by_one(module.problems(said))

    def _one_by_one(self, found: Iterator[Any]) -> Iterator[Any]:
        while True:
            before = sys.gettrace()
            sys.settrace(self._trace)
            try:
                problem = next(found, None)
            finally:
                sys.settrace(before)
            if problem is None:
                return
            yield problem

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Callable | None:
        if frame.f_code.co_filename not in self._files:
            return None
        self.lines.add((frame.f_code.co_filename, frame.f_lineno))
        return self._trace

    def has(self, site: Site) -> bool:
        """Whether a place was met."""
        return any((str(ROOT / site.module), line) in self.lines for line in site.lines)


def meet(cases: list[Case], folder: Path, met: Met) -> None:
    """Let every case fail, in a folder of its own."""
    for number, case in enumerate(cases):
        (folder / str(number)).mkdir(parents=True)
        with contextlib.suppress(InputError):
            case.fails(folder / str(number))
