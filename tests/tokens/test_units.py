from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import units_by_definition as by_definition
from hypothesis import given, settings
from hypothesis import strategies as st
from units_by_definition import entities

from lorebridge.tokens.arms import Unit
from lorebridge.tokens.units import Units, make_units


def table(pairs, sources=None):
    return pd.DataFrame({"en": [p[0] for p in pairs], "xx": [p[1] for p in pairs], "source": sources or "s"})


def units_of(pairs, seed=0, sources=None):
    n_en = np.array([len(en) for en, _ in pairs])
    n_xx = np.array([len(xx) for _, xx in pairs])
    found = [], [], []
    batches = []
    for i, (en, xx) in enumerate(pairs):  # of three, and a last one
        for column, value in zip(found, (en, xx, sources[i] if sources else "s"), strict=True):
            column.append(value)
        if i % 3 == 2 or i == len(pairs) - 1:
            batches.append(found)
            found = [], [], []
    units, notes = make_units(batches, n_en, n_xx, np.random.default_rng(seed))
    expected = by_definition.make_units(table(pairs, sources), n_en, n_xx, np.random.default_rng(seed))
    assert (list(units), notes) == expected
    return list(units), notes


def test_entities_are_names_and_numbers_not_words_that_open_sentences():
    found = entities(["The king met Tom in 1984.", "Where is the river?", "We know where it is, Tom.", "A2 and 7"])
    assert found == [{"tom", "1984"}, set(), {"we", "tom"}, {"a2", "7"}]


words = st.sampled_from(["Ana", "Bo", "12", "river", "tall", "goes", "and", "Cid"])
sides = st.lists(words, min_size=1, max_size=3).map(" ".join)
some_pairs = st.lists(st.tuples(sides, st.text("가나다라", min_size=1, max_size=3)), min_size=1, max_size=40)


@settings(deadline=None)
@given(pairs=some_pairs, seed=st.integers(0, 3))
def test_units_partition_the_pairs_into_cycles_of_unrelated_pairs(pairs, seed):
    units, notes = units_of(pairs, seed)
    members = [p for unit in units for p in unit.members]
    assert len(members) == len(set(members)) == len(pairs) - notes["no_partner"] - notes["empty"]
    assert [unit.number for unit in units] == list(range(len(units)))
    names = entities([en for en, _ in pairs])
    for unit in units:
        assert len(unit.members) in (2, 3)
        for p, q in combinations(unit.members, 2):
            assert pairs[p][0] != pairs[q][0] and pairs[p][1] != pairs[q][1]
            assert (pairs[p][0], pairs[q][1]) not in pairs and (pairs[q][0], pairs[p][1]) not in pairs
            assert not names[p] & names[q]
    half = {p: a for unit in units for p, a in zip(unit.members, unit.in_a, strict=True)}
    for p, q in combinations(members, 2):
        if pairs[p][0] == pairs[q][0] or pairs[p][1] == pairs[q][1]:
            assert half[p] == half[q]
    assert units_of(pairs, seed) == (units, notes)


def test_unrelated_pairs_of_one_length_are_matched_across_the_halves():
    pairs = [(f"{chr(97 + i % 26)}{chr(97 + i // 26)} small", f"작은{chr(0xAC00 + i)}") for i in range(101)]
    units, notes = units_of(pairs)
    assert sorted(len(unit.members) for unit in units) == [2] * 49 + [3]
    assert notes["source_and_length"] == 100 and notes["no_partner"] == 0 and notes["cycles_of_three"] == 1
    assert all(set(unit.in_a) == {True, False} for unit in units)
    sources = ["x" if i % 3 else "y" for i in range(101)]
    units, notes = units_of(pairs, sources=sources)
    crossing = [unit for unit in units if len({sources[p] for p in unit.members}) > 1]
    assert len(crossing) <= 2


def test_lonely_pairs_find_room_among_others_or_are_counted():
    named = [(f"Tom sees {word}", f"톰{i}") for i, word in enumerate("abcdefgh")]
    others = [(f"she sees {word}", f"여자{i}") for i, word in enumerate("abcdefgh")]
    units, notes = units_of(named + others)
    assert notes["no_partner"] == 0
    assert all(sum(p < 8 for p in unit.members) == 1 for unit in units)
    units, notes = units_of(named)
    assert not units and notes["no_partner"] == 8
    units, notes = units_of([("", "빈"), ("word", ""), ("one", "하나"), ("two", "둘")])
    assert notes["empty"] == 2 and [sorted(unit.members) for unit in units] == [[2, 3]]


def test_a_placebo_never_joins_what_a_third_pair_says_is_a_translation():
    units, notes = units_of([("we went home", "x one"), ("We went home.", "x two"), ("they came back", "x two")])
    assert not units and notes["no_partner"] == 3


@settings(deadline=None, max_examples=60)
@given(data=st.data(), seed=st.integers(0, 3))
def test_units_of_many_pairs_follow_their_definition(data, seed):
    """With so many pairs that the reach ends, and several sources and lengths."""
    chance = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    vocabulary = [
        "Ana",
        "Bo",
        "12",
        "Ⅲ",
        "ⅳ",
        "river",
        "River",
        "tall",
        "go-es",
        "İx",
        "Straße",
        "STRASSE",
        "and",
        "Cid",
        "",
    ]
    weights = chance.dirichlet(np.full(len(vocabulary), data.draw(st.sampled_from([0.2, 2.0]))))
    n = data.draw(st.integers(1, 400))
    pairs = [
        (
            " ".join(chance.choice(vocabulary, chance.integers(1, 6), p=weights)),
            "".join(chance.choice(list("가나다라마바 .")) for _ in range(chance.integers(0, 5))),
        )
        for _ in range(n)
    ]
    units_of(pairs, seed, sources=[f"s{i}" for i in chance.integers(0, 3, n)])


def test_units_are_a_sequence():
    some = [Unit(0, (4, 9), (True, False)), Unit(1, (1, 3, 8), (True, False, True))]
    units = Units.of(some)
    assert list(units) == some and len(units) == 2 and units[1] == some[1] and some[0] in units
    assert list(Units.of([])) == []
