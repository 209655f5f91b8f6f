"""What rules, paths and options were called before, and what they are called now.

A word of before is refused with the one of now. So is a rule that there is not, where Snakemake would go on without a
word: in what is said of rules (``set-resources`` in a profile), it takes any name.
"""

from __future__ import annotations

import argparse
import difflib
import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from lorebridge.errors import InputError

RULES = {"train": "train_continual"}
"""Rule of before -> what it is called now."""

PATHS = {
    r"models/base/s(\d+)": r"models/base/base-s\1",
    r"models/([a-z]{2,3})/(\w+)/s(\d+)": r"models/continual/\1-\2-s\3",
}
"""Where a model lay below the folder of a study, as a regular expression -> where it lies now."""

OPTIONS = {
    "train": {"--base": "is called --initial now"},
    "judge": {"--settings": "is gone: --task says how the judge is reached"},
}
"""Command -> option that it had -> what became of it."""

# Options of Snakemake that take rules or files, and those that say something of rules, by their name.
_CHOOSE = ("targets", "forcerun", "until", "omit_from", "prioritize", "allowed_rules", "preemptible_rules")
_OF_RULES = ("set_threads", "set_resources", "groups")


def path(said: Path | str) -> str | None:
    """Return where lies now what lay at a path before; None where it lies as it did.

    >>> path("results/demo/models/ko/bridge/s0/step40")
    'results/demo/models/continual/ko-bridge-s0/step40'
    >>> path("results/demo/models/base/base-s0/step40")
    """
    for old, new in PATHS.items():
        found, n = re.subn(rf"(?:(?<=/)|^){old}(?=/|$)", new, posixpath.normpath(Path(said).as_posix()), count=1)
        if n:
            return found
    return None


def refuse(arguments: argparse.Namespace, root: str, models: Iterable[str], rules: Iterable[str]) -> None:
    """Refuse what Snakemake is asked for by a word of before, and what it is told of a rule that there is not.

    Args:
        arguments: those of Snakemake, its profile's among them.
        root: the folder of the study.
        models: the names of its models.
        rules: the names of all rules, those that this study has no need of among them.

    Raises:
        InputError: names the option, the word, and the one of now.
    """
    known = set(rules)
    for option, word in _words(arguments, (*_CHOOSE, "batch", *_OF_RULES)):
        if word in RULES and word not in known:
            raise InputError(option, f"there is no rule {word} any more", f"It is called {RULES[word]} now.")
    for option, word in chosen(arguments):
        place = posixpath.relpath(Path(word).absolute().as_posix(), Path(root).absolute().as_posix())
        now = path(place)
        # In a study of another kind a model may be called as a folder of before was.
        if now is not None and place.startswith("models/") and place.split("/")[2] not in models:
            raise InputError(option, f"{word} is not where models lie any more", f"It is {root}/{now} now.")
    for option, word in _words(arguments, _OF_RULES):
        if word not in known:
            close = difflib.get_close_matches(word, sorted(known), n=1)
            mend = f"Did you mean {close[0]!r}?" if close else "`snakemake --list-rules` lists them."
            raise InputError(option, f"there is no rule {word}", mend)


def chosen(arguments: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Yield (option, word) of the rules and files that Snakemake is asked for."""
    return _words(arguments, _CHOOSE)


def _words(arguments: argparse.Namespace, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (option, word) of some of Snakemake's arguments."""
    for name in names:
        said = getattr(arguments, name) or ()
        option = "what Snakemake is asked for" if name == "targets" else f"--{name.replace('_', '-')}"
        for word in sorted(said) if name != "batch" else [said.rulename] if said else []:
            yield option, str(word)


class Gone(argparse.Action):
    """An option that a command had: it says what became of it."""

    def __call__(self, parser, namespace, values, option_string=None):
        """Stop with one line (and the usage, as for any option that there is not)."""
        parser.error(f"{option_string} {OPTIONS[parser.prog.split()[-1]][option_string]}")
