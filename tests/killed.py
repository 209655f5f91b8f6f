"""Adopt the study in this folder, killed (SIGKILL) before one file operation after another, until it gets through.

python tests/killed.py CONFIG: prints how many times it was killed.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from typing import Any

from lorebridge import adopt, config, contents, studies  # contents: what is loaded late is loaded before the fork

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate"}
assert contents


def main(path: str) -> None:
    """Start over until one try comes to its end; each is let do a few more operations, or fewer, than the last."""
    for tries, operations in enumerate(itertools.cycle([17, 5, 23, 11, 29, 8, 19, 14])):
        child = os.fork()
        if not child:
            attempt(path, operations)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            assert status == 0, status
            print(tries)
            return


def attempt(path: str, operations: int) -> None:
    """Adopt, and die before a change of the file system too many."""
    left = operations

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        writes = event == "open" and isinstance(arguments[1], str) and bool(set(arguments[1]) & set("wax+"))
        if event in CHANGES or writes:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    list(adopt.adopt(studies.plan(config.check(config.load(path))), older=True))
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
