"""The arms of the study: each is one arrangement of the same pieces of parallel text, or is derived from one.

An arrangement is a function from a *unit* (two or three pairs of sentences) to the documents that it makes of the
unit's halves, for the first and for the second batch of a super-batch (two consecutive optimizer steps). It uses every
half of every pair of the unit exactly once, so the multiset of pieces is the same in all of them over each super-batch.
It may look at the members' halves, at their order and at whether the unit's number is even, and at nothing else: so
that the arrangement of one unit serves all of the same shape (:mod:`lorebridge.tokens.schedule`).

The schedule is laid out so that all of :data:`ARRANGEMENTS` fit. An arm of :data:`ARMS` is one of them as it was laid
out, or what :mod:`lorebridge.tokens.derived` makes of it afterwards: which pieces come in which super-batch is decided
before, so that arms may be added without another arm's rows being laid out anew.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lorebridge.errors import InputError

# What a segment of a document is made of.
EN, XX, LABEL = 0, 1, 2

Segment = tuple[int, int]
"""A kind (`EN`, `XX`, `LABEL`) and the index of the piece: the pair's row, or the label's number."""

Document = tuple[Segment, ...]

LABEL_EN: Segment = (LABEL, 0)
LABEL_XX: Segment = (LABEL, 1)


class Unit(NamedTuple):
    """Two pairs, or three, that are scheduled together.

    Attributes:
        number: the unit's index.
        members: rows of the pairs' table, in the order of the placebo's cycle.
        in_a: for each member, whether its pair belongs to half A.
    """

    number: int
    members: tuple[int, ...]
    in_a: tuple[bool, ...]


Batches = tuple[list[Document], list[Document]]
"""Documents for the odd (first, third ...) and for the even optimizer batch."""


def _joined(en: int, xx: int) -> Document:
    return (LABEL_EN, (EN, en), LABEL_XX, (XX, xx))


def bridge(unit: Unit) -> Batches:
    """Join the halves of each pair in one document by the template; pairs of A come in the odd batch."""
    documents = [_joined(pair, pair) for pair in unit.members]
    return (
        [document for document, in_a in zip(documents, unit.in_a, strict=True) if in_a],
        [document for document, in_a in zip(documents, unit.in_a, strict=True) if not in_a],
    )


def placebo(unit: Unit) -> Batches:
    """Join each English half with the xx half of the next pair of the cycle, by the same template."""
    following = unit.members[1:] + unit.members[:1]
    documents = [_joined(pair, other) for pair, other in zip(unit.members, following, strict=True)]
    return (
        [document for document, in_a in zip(documents, unit.in_a, strict=True) if in_a],
        [document for document, in_a in zip(documents, unit.in_a, strict=True) if not in_a],
    )


def no_bridge(unit: Unit) -> Batches:
    """Make each half its own document.

    The odd batch takes English from A and xx from B, the even batch the reverse: as a pair stays in its half for the
    whole run, its two sides never share an optimizer batch, in any epoch.
    """
    odd: list[Document] = [((EN if in_a else XX, pair),) for pair, in_a in zip(unit.members, unit.in_a, strict=True)]
    even: list[Document] = [((XX if in_a else EN, pair),) for pair, in_a in zip(unit.members, unit.in_a, strict=True)]
    return odd, even


def labels_only(unit: Unit) -> Batches:
    """Arrange as ``no_bridge``, but each half carries its label of the template."""
    odd, even = no_bridge(unit)
    return [_labelled(document) for document in odd], [_labelled(document) for document in even]


def _labelled(document: Document) -> Document:
    return (LABEL_EN if document[0][0] == EN else LABEL_XX, *document)


def glued(unit: Unit) -> Batches:
    """Join the English halves of the unit in one document and the xx halves in another, with nothing in between.

    Long documents of unrelated sentences, in one language. The two documents never share a batch: units with an even
    number put English in the odd batch, the others xx.
    """
    english: Document = tuple((EN, pair) for pair in unit.members)
    foreign: Document = tuple((XX, pair) for pair in unit.members)
    return ([english], [foreign]) if unit.number % 2 == 0 else ([foreign], [english])


ARRANGEMENTS: dict[str, Callable[[Unit], Batches]] = {
    "bridge": bridge,
    "no_bridge": no_bridge,
    "placebo": placebo,
    "labels_only": labels_only,
    "glued": glued,
}
"""What is laid out. A schedule leaves room for all of them, whichever a study runs."""

# What may be changed in a laid-out arrangement.
XX_FIRST, UNTAGGED, EXCHANGED, RESEEDED = "xx_first", "untagged", "exchanged", "reseeded"
# What may be left out of an arrangement, or replaced.
LEAK_FREE, LEAK_ONLY, ENGLISH_MATCHED, REPLAY = "leak_free", "leak_only", "english_matched", "replay"


class Arm(NamedTuple):
    """What an arm is.

    Attributes:
        arrangement: the key of :data:`ARRANGEMENTS` that is laid out for it.
        says: what its parallel rows hold.
        isolates: what a contrast with it isolates, for the documentation.
        change: how its rows differ from those laid out: `XX_FIRST` (whole documents of a pair have the xx half first),
            `UNTAGGED` (no labels), `EXCHANGED` (the two steps of a super-batch have each other's parallel rows),
            `RESEEDED` (all is laid out by another seed); or empty.
        variant: what of its text is left out or replaced, a key of :data:`VARIANTS`; or empty.
    """

    arrangement: str
    says: str
    isolates: str
    change: str = ""
    variant: str = ""


class Variant(NamedTuple):
    """What may be left out of an arm, or replaced.

    Attributes:
        says: what is left out or replaced.
        isolates: what its contrasts isolate, for the documentation.
    """

    says: str
    isolates: str


VARIANTS = {
    LEAK_FREE: Variant(
        "without the pairs of which a half states the answer to a question of that culture (subject and gold in one "
        "piece)",
        "`[bridge_leak_free, no_bridge_leak_free]`: the gap without what the parallel text gives away",
    ),
    LEAK_ONLY: Variant(
        "only the pairs of which a half states the answer to a question of that culture",
        "`[bridge_leak_only, bridge_leak_free]`: the positive control. It must be above 0 on the questions concerned, "
        "or the instrument is blind",
    ),
    ENGLISH_MATCHED: Variant(
        "pairs left out until the English halves are a set share of the run's positions",
        "`[bridge_english_matched, no_bridge_english_matched]`: languages whose pairs differ in how much of them is "
        "English, brought level; the share is `training.english_share`",
    ),
    REPLAY: Variant(
        "the last of each batch's monolingual rows, a set share, are text of the base language",
        "`[bridge_replay, bridge]`: whether what looks like transfer into the base language is less forgetting of it; "
        "the share is `training.replay_share`",
    ),
}
"""What may be left out or replaced, by the end of an arm's name."""

_PLAIN = {
    "bridge": Arm("bridge", "both halves of a pair in one document, by the template", "–"),
    "no_bridge": Arm(
        "no_bridge",
        "each half a document of its own; partners never in one optimizer batch",
        "the bridge: what is left of `bridge` without any sign of what translates what",
    ),
    "placebo": Arm(
        "placebo",
        "the template joins an English half with another pair's translation, in every epoch another",
        "alignment: `bridge − placebo` holds neither longer documents nor labels nor two languages in one context",
    ),
    "labels_only": Arm(
        "labels_only",
        "each half a document of its own, with its label; partners never in one optimizer batch",
        "labels",
    ),
    "glued": Arm("glued", "halves of one language joined", "longer documents"),
    "xx_first": Arm(
        "bridge",
        "both halves of a pair in one document, the one in the language learned first, each label with its half",
        "the order of the halves: which language is read as the other's context",
        change=XX_FIRST,
    ),
    "untagged": Arm(
        "bridge", "both halves of a pair in one document, without labels", "labels, given the bridge", change=UNTAGGED
    ),
    "no_bridge_exchanged": Arm(
        "no_bridge",
        "as without a bridge, the two steps of each two with each other's parallel rows",
        "nothing: A/A. The same text, in the other of two consecutive steps; a gap to `no_bridge` is the least that "
        "training varies by",
        change=EXCHANGED,
    ),
    "no_bridge_reseeded": Arm(
        "no_bridge",
        "as without a bridge, all text drawn and laid out by another seed",
        "nothing: A/A. Another draw and another order of the same text, from the same base model; a gap to `no_bridge` "
        "is the noise of continual training",
        change=RESEEDED,
    ),
}

ARMS: dict[str, Arm] = {
    **_PLAIN,
    **{
        f"{name}_{variant}": _PLAIN[name]._replace(
            says=f"{_PLAIN[name].says}; {said.says}", isolates=said.isolates, variant=variant
        )
        for name in ("bridge", "no_bridge", "placebo")
        for variant, said in VARIANTS.items()
    },
}
"""Every arm that has parallel text, by its name, which it has everywhere. What is said of it anywhere stands here."""

BASE = "base"
"""The arm of base training: monolingual text alone."""


NEAR, FAR = DISTANCES = ("near", "far")
"""How far apart the halves of a pair stand where no document joins them: one step, or anywhere in an epoch."""


LABEL_OWN, HALF = LABEL_SPACES = ("label", "half")
"""Whose the space between a label of the template and its half is."""


def parts_partners(arm: str) -> bool:
    """Say whether the halves of a pair stand in documents of their own, so that their distance can be set.

    >>> [arm for arm in ARMS if not parts_partners(arm) and not ARMS[arm].variant]
    ['bridge', 'xx_first', 'untagged']
    """
    return ARMS[arm].arrangement != "bridge"


FIRST_BASE, FIRST_EITHER = FIRST_HALVES = ("base", "either")
"""Which half of a pair a joined document begins with: the base language's, or either, as is drawn for each document."""


def joins(arm: str) -> bool:
    """Say whether an arm joins two halves in one document, in an order that may be drawn.

    >>> [arm for arm in ARMS if joins(arm) and not ARMS[arm].variant]
    ['bridge', 'placebo', 'untagged']
    """
    return arm != BASE and ARMS[arm].arrangement in ("bridge", "placebo") and ARMS[arm].change != XX_FIRST


REPLAY_VARIANTS, REPLAY_ALL = REPLAY_IN = ("variants", "all")
"""Which arms replay text of the base language: those that are called so, or all."""


def has_labels(arm: str) -> bool:
    """Say whether an arm writes the template's labels: then its order depends on the template.

    >>> [arm for arm in ARMS if has_labels(arm) and not ARMS[arm].variant]
    ['bridge', 'placebo', 'labels_only', 'xx_first']
    """
    if ARMS[arm].change == UNTAGGED:
        return False
    odd, even = ARRANGEMENTS[ARMS[arm].arrangement](Unit(0, (0, 1), (True, False)))
    return any(kind == LABEL for document in odd + even for kind, _ in document)


def trained_arms(config: Mapping[str, Any], lang: str) -> list[str]:
    """Return the arms that a language is trained in, in the order of the study's."""
    own = config["languages"][lang].get("arms", config["arms"])
    return [arm for arm in config["arms"] if arm in own]


def template_labels(template: str) -> tuple[str, str]:
    """Return the literal text before ``{en}`` and before ``{xx}`` in a template of the bridge.

    >>> template_labels("English: {en} Korean: {xx}")
    ('English: ', ' Korean: ')

    Raises:
        InputError: the template is not text, ``{en}``, text, ``{xx}``.
    """
    try:
        parts = [(literal, name) for literal, name, _, _ in string.Formatter().parse(template)]
    except ValueError:
        parts = []
    if [name for _, name in parts] != ["en", "xx"]:
        raise InputError(
            f"template {template!r}",
            "not of the form 'text {en} text {xx}'",
            "For example 'English: {en} Korean: {xx}'; the language's name is filled in beforehand.",
        )
    return parts[0][0], parts[1][0]


def turned_labels(before_en: str, before_xx: str) -> tuple[str, str]:
    """Return the literal text before the xx half and before the English half where the xx half comes first.

    Each label goes with its half, and the white space before it stays where it is. What stands between the halves of a
    template that has nothing before ``{en}`` is no label, and stays between them.

    >>> turned_labels("English: ", " Korean: ")
    ('Korean: ', ' English: ')
    >>> turned_labels("", " = ")
    ('', ' = ')
    """
    labels = before_en, before_xx
    if not before_en.strip():
        return labels
    space = [label[: len(label) - len(label.lstrip())] for label in labels]
    return space[0] + before_xx.lstrip(), space[1] + before_en.lstrip()


def shortest_row(label_tokens: int) -> int:
    """Return the fewest positions of a row for which :func:`lorebridge.tokens.packing.cut` always finds a place to cut.

    Args:
        label_tokens: positions of the two labels of a document together.
    """
    return max(16, label_tokens + 3)
