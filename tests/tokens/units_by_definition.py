"""The rules of :mod:`lorebridge.tokens.units` in plain Python, one pair at a time, to compare with."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import regex
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lorebridge.tokens.arms import Unit

_WORD = regex.compile(r"\p{L}[\p{L}\p{M}\p{N}'’\-]*|\p{N}+")
_NOT_TEXT = regex.compile(r"[^\p{L}\p{M}\p{N}]+")

# How many candidates a pair tries for a partner before it waits for a looser rule.
REACH = 64


def entities(texts: Sequence[str]) -> list[frozenset[str]]:
    """Return the words of each English text that may name something: numbers, and words that are mostly capitalised.

    A word counts when, over all the texts, it is written with a capital more often than without, so that words which
    merely open sentences do not count and no list of stop words is needed (the idea of truecasing, Lita et al., ACL
    2003). Too many words rather than too few: the placebo must not join two sentences about one thing.
    """
    capital: Counter[str] = Counter()
    small: Counter[str] = Counter()
    for text in texts:
        for word in _WORD.findall(text):
            (capital if word[0].isupper() else small)[word.casefold()] += 1
    named = {word for word, count in capital.items() if count > small[word]}
    found = []
    for text in texts:
        words = ((word[0], word.casefold()) for word in _WORD.findall(text))
        found.append(frozenset(key for first, key in words if first.isnumeric() or key in named))
    return found


def _text_keys(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """Number the texts; two that differ only in case, spaces and punctuation get one number."""
    keys = [_NOT_TEXT.sub("", text).casefold() or text for text in texts]
    return pd.factorize(np.array(keys, dtype=object))[0]


def _assign_halves(
    component: npt.NDArray[np.int32], group: npt.NDArray[np.int64], generator: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Return for each pair whether it is in half A: one half per component, balanced within each group."""
    n_pairs = len(component)
    sizes = np.bincount(component)
    balance: Counter[int] = Counter()  # pairs in A less pairs in B, by group
    total = 0
    shuffled = generator.permutation(n_pairs)
    by_component = shuffled[np.lexsort((component[shuffled], -sizes[component[shuffled]]))]
    ends = [*(np.flatnonzero(np.diff(component[by_component])) + 1).tolist(), n_pairs]
    all_groups = group[by_component].tolist()
    halves = []
    for begin, end in zip([0, *ends], ends, strict=False):
        groups = all_groups[begin:end]
        lead = sum(balance[g] for g in set(groups)) or total
        half = bool(generator.integers(2)) if lead == 0 else lead < 0
        halves.append(half)
        step = 1 if half else -1
        for g in groups:
            balance[g] += step
        total += step * len(groups)
    in_a = np.zeros(n_pairs, bool)
    in_a[by_component] = np.repeat(halves, np.diff(ends, prepend=0))
    return in_a


def _match(
    first: list[int], second: list[int], fits: Callable[[int, int], bool]
) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Match each of `first` with one of the next few of `second` that fits; return couples and who is left."""
    waiting = second[::-1]
    couples, alone = [], []
    for pair in first:
        for j in range(len(waiting) - 1, max(len(waiting) - 1 - REACH, -1), -1):
            if fits(pair, waiting[j]):
                couples.append((pair, waiting.pop(j)))
                break
        else:
            alone.append(pair)
    return couples, alone, waiting[::-1]


def _match_within(pairs: list[int], fits: Callable[[int, int], bool]) -> tuple[list[tuple[int, int]], list[int]]:
    """Match pairs of one half with each other; return couples and who is left."""
    waiting: list[int] = []
    couples = []
    for pair in pairs:
        for j in range(len(waiting) - 1, max(len(waiting) - 1 - REACH, -1), -1):
            if fits(pair, waiting[j]):
                couples.append((waiting.pop(j), pair))
                break
        else:
            waiting.append(pair)
    return couples, waiting


def _absorb(
    couples: list[tuple[int, ...]], alone: list[int], fits: Callable[[int, int], bool]
) -> tuple[list[tuple[int, ...]], list[int]]:
    """Find a place for pairs that fit none of each other among the couples; return all cycles and who is left.

    Two lonely pairs p, q break up a couple (x, y) into (p, y) and (x, q); a last one makes a couple a cycle of three.
    """
    cycles = list(couples)
    left = list(alone)
    while len(left) > 1:
        p, q = left[-2:]
        for i, cycle in enumerate(cycles):
            if len(cycle) == 2 and fits(p, cycle[1]) and fits(cycle[0], q):
                cycles[i] = (p, cycle[1])
                cycles.append((cycle[0], q))
                del left[-2:]
                break
        else:
            break
    remaining = []
    for p in left:
        for i, cycle in enumerate(cycles):
            if len(cycle) == 2 and fits(cycle[0], p) and fits(cycle[1], p):
                cycles[i] = (*cycle, p)
                break
        else:
            remaining.append(p)
    return cycles, remaining


def make_units(
    pairs: pd.DataFrame, n_en: npt.NDArray[np.int64], n_xx: npt.NDArray[np.int64], generator: np.random.Generator
) -> tuple[list[Unit], dict[str, Any]]:
    """Return the units of pairs (columns ``en, xx, source``), and the notes."""
    usable = np.flatnonzero((n_en > 0) & (n_xx > 0))
    notes: dict[str, Any] = {"empty": len(pairs) - len(usable)}
    if not len(usable):
        return [], {**notes, "no_partner": 0}
    table = pairs.iloc[usable]
    names = entities(table["en"].tolist())
    en_key, xx_key = _text_keys(table["en"].tolist()), _text_keys(table["xx"].tolist())
    source = pd.factorize(table["source"], sort=True)[0]
    bins = np.stack([source, np.log2(n_en[usable]).astype(np.int64), np.log2(n_xx[usable]).astype(np.int64)], axis=1)
    group = np.unique(bins, axis=0, return_inverse=True)[1].reshape(-1)

    n = len(usable)
    n_keys = int(en_key.max()) + 1
    edges = coo_array((np.ones(n, bool), (en_key, xx_key + n_keys)), shape=(n_keys + int(xx_key.max()) + 1,) * 2)
    component = connected_components(edges, directed=False)[1][en_key]
    in_a = _assign_halves(component, group, generator)

    width = int(xx_key.max()) + 1
    known = array("q", np.unique(en_key * width + xx_key).tobytes())
    en_codes, xx_codes = (en_key * width).tolist(), xx_key.tolist()

    def translates(p: int, q: int) -> bool:
        code = en_codes[p] + xx_codes[q]
        at = bisect_left(known, code)
        return at < len(known) and known[at] == code

    def fits(p: int, q: int) -> bool:
        # Two pairs with a text in common fail here too: the common text makes the one's English translate the other.
        return names[p].isdisjoint(names[q]) and not translates(p, q) and not translates(q, p)

    order = generator.permutation(n).tolist()
    cycles: list[tuple[int, ...]] = []
    alone = {half: [p for p in order if in_a[p] == half] for half in (True, False)}
    rules: list[tuple[str, Callable[[int], Hashable]]] = [
        ("source_and_length", lambda p: int(group[p])),
        ("source", lambda p: int(source[p])),
        ("any", lambda p: 0),
    ]
    for rule, key in rules:
        groups: dict[Hashable, dict[bool, list[int]]] = {}
        for half, members in alone.items():
            for p in members:
                groups.setdefault(key(p), {True: [], False: []})[half].append(p)
        alone = {True: [], False: []}
        before = len(cycles)
        for members_of in groups.values():
            couples, left_a, left_b = _match(members_of[True], members_of[False], fits)
            cycles += couples
            alone[True] += left_a
            alone[False] += left_b
        notes[rule] = 2 * (len(cycles) - before)
    left: list[int] = []
    before = len(cycles)
    for half in (True, False):
        couples, lonely = _match_within(alone[half], fits)
        cycles += couples
        left += lonely
    notes["same_half"] = 2 * (len(cycles) - before)
    cycles, left = _absorb(cycles, left, fits)
    notes["no_partner"] = len(left)
    notes["cycles_of_three"] = sum(len(cycle) == 3 for cycle in cycles)
    units = [
        Unit(number, tuple(int(usable[p]) for p in cycle), tuple(bool(in_a[p]) for p in cycle))
        for number, cycle in enumerate(cycles)
    ]
    return units, notes
