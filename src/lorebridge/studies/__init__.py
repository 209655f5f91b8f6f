"""Kinds of studies: each a package here that turns a configuration into rows, with its checks, its schema, its rules.

The key ``kind`` of a configuration names the package. It has ``study.py`` (``study``, ``problems`` and ``STAGES``, as
:mod:`lorebridge.studies.bridge.study` has them), ``schema.yaml`` (the keys that are this kind's alone) and, where it
has rules of its own, ``rules.smk``. A kind may lie elsewhere than with the package: a folder
``lorebridge/studies/<kind>/`` below any folder of PYTHONPATH is one. The folders above it have no ``__init__.py``,
which would make them another copy of lorebridge.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from lorebridge.plan import Plan
from lorebridge.plan.stage import Stage
from lorebridge.plan.wanted import expression
from lorebridge.records import file_digest
from lorebridge.studies import checks


def _elsewhere() -> list[str]:
    """Return the folders of Python's path in which further kinds lie; other copies of lorebridge are none of them."""
    found = (Path(folder, *__name__.split(".")) for folder in dict.fromkeys(sys.path))
    return [str(path) for path in found if path.is_dir() and not (path / "__init__.py").exists()]


__path__ = [*__path__, *_elsewhere()]


def kinds() -> list[str]:
    """Return the names of all kinds."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)


def rules(kind: str) -> Path | None:
    """Return the file of the rules that are one kind's alone, if it has some."""
    path = _folder(kind) / "rules.smk"
    return path if path.is_file() else None


def schema_file(kind: str) -> Path:
    """Return the file of the keys that are one kind's alone."""
    return _folder(kind) / "schema.yaml"


def problems(config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (key, what, mend) of what is wrong with a configuration, by what holds of every study and of its kind."""
    return [*checks.problems(config), *_module(config["kind"]).problems(config)]


def _folder(kind: str) -> Path:
    return Path(str(importlib.import_module(f"{__name__}.{kind}").__file__)).parent


def _module(kind: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{kind}.study")


def plan(config: Mapping[str, Any], digest: Callable[[str], str] = file_digest) -> Plan:
    """Return the plan of a study.

    Args:
        config: a validated configuration (:func:`lorebridge.config.check`).
        digest: gives the sha256 of a local source file; a cache of it makes a dry run fast.
    """
    return Plan(_module(config["kind"]).study(config, digest))


def stages() -> dict[str, Stage]:
    """Return every stage of every kind, by name."""
    found: dict[str, Stage] = {}
    for kind in kinds():
        found |= _module(kind).STAGES
    return found


def record_of(path: Path) -> Path | None:
    """Return where the record of an artifact lies, by what the stages declare; None where no stage makes such a file.

    Args:
        path: a file or folder of an artifact, or a file in such a folder.
    """
    whole = Path.cwd().joinpath(path).as_posix()
    for stage in stages().values():
        for file in stage.files.values():
            pattern = file.path.removeprefix("../")
            found = re.fullmatch(
                f"(?P<root>/.*?/){expression(stage, pattern)}" + ("(/.*)?" if file.folder else ""), whole
            )
            if found:
                w = {name: value for name, value in found.groupdict().items() if name != "root" and value is not None}
                record = found["root"] + stage.record.removeprefix("../").format(**w)
                if Path(record).is_file():
                    return Path(record)
    return None
