from __future__ import annotations

from collections import Counter

import pytest

from lorebridge.errors import InputError
from lorebridge.tokens.arms import ARRANGEMENTS, EN, LABEL, XX, Unit, template_labels

UNITS = [
    Unit(0, (4, 9), (True, False)),
    Unit(1, (5, 2), (False, True)),
    Unit(2, (1, 3, 8), (True, False, True)),
    Unit(3, (6, 7), (True, True)),
]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("arm", ARRANGEMENTS)
def test_every_arm_uses_each_half_of_each_pair_once(arm, unit):
    odd, even = ARRANGEMENTS[arm](unit)
    pieces = Counter(segment for document in odd + even for segment in document if segment[0] != LABEL)
    assert pieces == Counter((kind, pair) for kind in (EN, XX) for pair in unit.members)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("arm", ["no_bridge", "labels_only", "glued"])
def test_partners_never_share_a_batch(arm, unit):
    for documents in ARRANGEMENTS[arm](unit):
        segments = [segment for document in documents for segment in document]
        assert not {p for kind, p in segments if kind == EN} & {p for kind, p in segments if kind == XX}


def test_glued_puts_english_into_the_odd_and_the_even_batch_by_turns():
    """So each batch has as much of each language, over units: a batch of one language alone would be another arm."""
    languages = [[{kind for kind, _ in document} for (document,) in ARRANGEMENTS["glued"](unit)] for unit in UNITS]
    assert languages == [[{EN}, {XX}], [{XX}, {EN}]] * 2


def test_bridge_joins_partners_and_placebo_joins_strangers():
    unit = UNITS[2]
    assert ARRANGEMENTS["bridge"](unit)[0] == [((LABEL, 0), (EN, p), (LABEL, 1), (XX, p)) for p in (1, 8)]
    following = {1: 3, 3: 8, 8: 1}
    for batch, pairs in zip(ARRANGEMENTS["placebo"](unit), ((1, 8), (3,)), strict=True):
        assert batch == [((LABEL, 0), (EN, p), (LABEL, 1), (XX, following[p])) for p in pairs]


def test_labels_only_is_no_bridge_with_labels():
    for unit in UNITS:
        for plain, labelled in zip(ARRANGEMENTS["no_bridge"](unit), ARRANGEMENTS["labels_only"](unit), strict=True):
            assert [((LABEL, 0 if kind == EN else 1), (kind, p)) for ((kind, p),) in plain] == labelled


@pytest.mark.parametrize(
    "template", ["{en}", "{xx} {en}", "English: {en} {Name}: {xx}", "{en}{xx}.", "{en", "{}{}", ""]
)
def test_a_template_of_another_form_is_refused(template):
    with pytest.raises(InputError, match="not of the form"):
        template_labels(template)


def test_a_template_may_have_empty_labels():
    assert template_labels("{en}{xx}") == ("", "")
