"""The errors that a user can mend, and the one line that is said of them.

Whatever else is raised is a defect of lorebridge, and keeps its traceback: nothing here catches what it does not know.
``LOREBRIDGE_TRACEBACK=1`` prints the traceback of the others, too.
"""

from __future__ import annotations

import errno
import os
import re
import sys

TRACEBACK = "LOREBRIDGE_TRACEBACK"
"""The environment variable that asks for the traceback of errors that are told in a line."""


def on_one_line(text: str) -> str:
    """Return a text on one line: what else ends a line, steers a terminal or cannot be written is spelt out.

    >>> on_one_line("a row\\n of \\x1b[2J and \\ud800")
    'a row of \\\\x1b[2J and \\\\ud800'
    """
    text = re.sub(r"\s*[\r\n]+\s*", " ", text)
    odd = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"
    return re.sub(odd, lambda found: ascii(found[0])[1:-1], text)


class LorebridgeError(Exception):
    """A problem that the user can mend: the command line prints its message alone, without a traceback."""


class InputError(LorebridgeError):
    """Bad input: names where (file, row or key), what is wrong, and the mend.

    >>> str(InputError("ko.jsonl.gz, row 12", "no `text`", "Give every row a string `text`."))
    'ko.jsonl.gz, row 12: no `text`. Give every row a string `text`.'
    """

    def __init__(self, where: object, what: str, mend: str) -> None:
        """Compose the message ``where: what. mend``, in one line whatever a file holds or a library has said."""
        super().__init__(on_one_line(f"{where}: {what.rstrip('.')}. {mend}"))


class ConfigError(InputError):
    """A configuration that cannot be run, found before any work starts."""


class StaleInput(LorebridgeError):
    """An input on disk was made by another recipe than the plan expects."""


class ChangedFile(LorebridgeError):
    """A file is not what was written when it was made: it is damaged, or was edited."""


class Busy(LorebridgeError):
    """Another process holds the work directory."""


_MACHINE = {
    errno.ENOSPC: "Make room on the disk and run again.",
    errno.EDQUOT: "Make room in your quota and run again.",
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f), or write elsewhere.",
    errno.EROFS: "Name a place that can be written to.",
    errno.EACCES: "Get the right to it, or name another place.",
    errno.EPERM: "Get the right to it, or name another place.",
    errno.ENAMETOOLONG: "Give it a shorter name.",
    errno.ELOOP: "Mend the link.",
    errno.EIO: "The disk fails: look at the machine's log, and put the file elsewhere.",
    errno.ESTALE: "The file server has lost it: run again.",
    errno.EMFILE: "Raise the limit on open files (ulimit -n) and run again.",
    errno.ENFILE: "Too many files are open on this machine: run again later.",
    errno.ENOMEM: "Run it where there is more memory.",
}
"""What the machine refuses -> the mend. A missing file is no such: where a user names one, it is looked for."""


def said(error: BaseException) -> str:
    """Return what a library says of an error on one line, cut where it is long (some list all that they know)."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 200 else f"{words[:199]}…"


def told(error: BaseException) -> str | None:
    """Return the one line that is said of an error which a user can mend; None of a defect.

    >>> told(InputError("a.json", "is empty", "Fetch it again."))
    'a.json: is empty. Fetch it again.'
    >>> told(OSError(errno.ENOSPC, "No space left on device", "out.parquet"))
    'out.parquet: No space left on device. Make room on the disk and run again.'
    >>> told(KeyError("a"))
    """
    line = _told(error)
    return None if line is None else on_one_line(line)


def _told(error: BaseException) -> str | None:
    if isinstance(error, LorebridgeError):
        return str(error)
    # The libraries in Rust raise classes of their own for what the system says, which is the end of their words.
    found = re.search(r"\(os error (\d+)\)", str(error))
    number = error.errno if isinstance(error, OSError) else int(found.group(1)) if found else None
    if number in _MACHINE:
        where = getattr(error, "filename", None) or "a file could not be written or read"
        return f"{where}: {os.strerror(number)}. {_MACHINE[number]}"
    if isinstance(error, MemoryError):
        return f"not enough memory ({said(error)}). Run it where there is more; a job asks for `compute.memory_mb`."
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return f"not enough memory on the GPU ({said(error)}). Lower compute.micro_batch or compute.score_tokens."
    if isinstance(error, ModuleNotFoundError) and (error.name or "lorebridge").split(".")[0] != "lorebridge":
        return (
            f"the package {error.name} is not installed here. Use the environment of the lock (make setup, or envs/)."
        )
    return None
