"""What a study had declared when its first model was trained or scored: written once, and never again.

A claim that was declared before the runs is one thing, a claim that was written when its numbers were there another.
Recipes cannot tell the two apart, since they know no times. So the first job of a study that trains or scores a model
writes down, when it begins, what is declared; whoever gives a verdict compares. A job that is killed and goes on, or a
model more, finds it written. Models that are there while nothing is written were made by something that kept no such
note: then nobody knows, and that is what is said.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorebridge import publish

FILE = "declared.json"
"""Below the folder of a study."""

BEFORE = "declared before the runs"
SINCE = "changed since the runs began"
AFTER = "declared after the runs began"
UNKNOWN = "not recorded when the runs began"

# Records of what was trained or scored, below the folder of a study, and of models that are given.
_MADE = ("models/*/*/record.json", "models/*/*/*/record.json", "probes/scores/*.record.json")


def begin(first: Path | str, said: Mapping[str, Any] | None) -> None:
    """Write down what is declared, unless something is written already.

    Args:
        first: the file, in the folder of the study.
        said: what is declared; None for nothing.
    """
    first = Path(first)
    if first.exists():
        return
    made = (path for pattern in _MADE for path in first.parent.glob(pattern))
    known = all(first.parent / "models" / "given" in path.parents for path in made)
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    first.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"declared": said, "known": known, "when": when}, ensure_ascii=False, indent=1) + "\n"
    # Several jobs may begin at once: one of them makes the file, and what is torn by a crash counts as unknown.
    with contextlib.suppress(FileExistsError), publish.named(first), first.open("x", encoding="utf-8") as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        except OSError:  # a full disk: nothing has begun, and once there is room it is written down whole
            first.unlink()
            raise


def status(first: Path | str, said: Mapping[str, Any]) -> tuple[str, str]:
    """Return how what is declared now stands to what was declared when the runs began, and when that was.

    Args:
        first: the file, in the folder of the study.
        said: what is declared now.

    Returns:
        :data:`BEFORE`, :data:`SINCE`, :data:`AFTER` or :data:`UNKNOWN`; and the time, empty where it is not known.
    """
    try:
        found = json.loads(Path(first).read_text(encoding="utf-8"))
        then, known, when = found["declared"], found["known"], str(found["when"])
    except (OSError, ValueError, KeyError, TypeError):
        return UNKNOWN, ""
    if not known:
        return UNKNOWN, when
    if then is None:
        return AFTER, when
    return (BEFORE if _written(then) == _written(said) else SINCE), when


def _written(said: Mapping[str, Any]) -> str:
    """Return a declaration in one spelling for each content: 1 and 1.0 are the same, and keys have no order."""
    return json.dumps(_plain(said), sort_keys=True, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
