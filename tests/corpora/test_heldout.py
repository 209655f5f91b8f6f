"""The choice of held-out documents and pairs: it rests on the identity alone."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorebridge.corpora.heldout import are_heldout, is_heldout, numbers_of

SHARES = st.floats(0, 1)


def test_the_choice_never_changes() -> None:
    """Written down once: another choice would put text that a model trained on among the held-out text."""
    chosen = [i for i in range(200) if is_heldout(f"wikipedia-ko/{i}", 0.05)]
    assert chosen == [13, 14, 62, 68, 76, 94, 102, 137, 160]


@given(identity=st.text(st.characters(exclude_categories=["Cs"])), shares=st.tuples(SHARES, SHARES).map(sorted))
def test_a_larger_share_holds_out_what_a_smaller_one_does(identity: str, shares: list[float]) -> None:
    smaller, larger = (is_heldout(identity, share) for share in shares)
    assert larger or not smaller
    assert not is_heldout(identity, 0)
    assert is_heldout(identity, 1)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_the_share_is_about_right(share: float) -> None:
    n = 20_000
    chosen = sum(is_heldout(f"mine/{i:07d}", share) for i in range(n))
    assert abs(chosen - share * n) < 4 * math.sqrt(n * share * (1 - share))


@given(
    identities=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=20),
    share=st.one_of(SHARES, st.sampled_from([0.0, 1e-19, 0.5, 1 - 2**-53, 1.0])),
)
def test_a_column_is_chosen_from_as_its_identities_are(identities: list[str], share: float) -> None:
    chosen = are_heldout(numbers_of(pa.array(identities, pa.string())), share)
    assert chosen.tolist() == [is_heldout(identity, share) for identity in identities]


@pytest.mark.parametrize("share", [2**-64, 0.02, 1 / 3, 1 - 2**-53, 1.0])
def test_the_limit_of_a_share_is_exact(share: float) -> None:
    limit = share * 2**64
    numbers = [n for n in range(int(limit) - 2, int(limit) + 3) if 0 <= n < 2**64]
    assert are_heldout(np.array(numbers, np.uint64), share).tolist() == [n < limit for n in numbers]
