"""The errors that a user can mend. Anything else that is raised is a defect of lorebridge."""

from __future__ import annotations


class LorebridgeError(Exception):
    """A problem that the user can mend: the command line prints its message alone, without a traceback."""


class InputError(LorebridgeError):
    """Bad input: names where (file, row or key), what is wrong, and the mend.

    >>> str(InputError("ko.jsonl.gz, row 12", "no `text`", "Give every row a string `text`."))
    'ko.jsonl.gz, row 12: no `text`. Give every row a string `text`.'
    """

    def __init__(self, where: object, what: str, mend: str) -> None:
        """Compose the message ``where: what. mend``."""
        super().__init__(f"{where}: {what.rstrip('.')}. {mend}")


class ConfigError(InputError):
    """A configuration that cannot be run, found before any work starts."""


class StaleInput(LorebridgeError):
    """An input on disk was made by another recipe than the plan expects."""


class ChangedFile(LorebridgeError):
    """A file is not what was written when it was made: it is damaged, or was edited."""


class Busy(LorebridgeError):
    """Another process holds the work directory."""
