"""Partition sentence pairs into units: small cycles of unrelated pairs, split between the halves A and B.

A unit serves every arm: its cycle is the placebo's derangement, and its members' halves say which batch gets which side
in ``no_bridge``. What a pair's text says is kept as numbers, some hundred bytes a pair, and the matching is compiled: a
large run reads millions of pairs.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import regex
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lorebridge.corpora.scripts import compiled
from lorebridge.tokens.arms import Unit

_WORD = regex.compile(r"\p{L}[\p{L}\p{M}\p{N}'’\-]*|\p{N}+")
_NOT_TEXT = regex.compile(r"[^\p{L}\p{M}\p{N}]+")

# How many candidates a pair tries for a partner before it waits for a looser rule.
REACH = 64

BLOCK = 1 << 18  # pairs whose words are looked at together

Ints = npt.NDArray[np.integer[Any]]


class Units(Sequence[Unit]):
    """Units, by their numbers.

    Attributes:
        members: rows of the pairs' table in the order of the placebo's cycle, -1 where a unit has no third, [units, 3].
        in_a: for each member, whether its pair belongs to half A, bool [units, 3].
        n_members: 2 or 3, [units].
        strangers: what says which of the pairs may be joined, where it is known.
    """

    def __init__(
        self, members: npt.NDArray[np.integer], in_a: npt.NDArray[np.bool_], strangers: Strangers | None = None
    ) -> None:
        """Take the arrays as they are."""
        self.members, self.in_a, self.strangers = members, in_a, strangers
        self.n_members = (members >= 0).sum(axis=1)

    @classmethod
    def of(cls, units: Sequence[Unit]) -> Units:
        """Gather units whose numbers are their places."""
        members = np.full((len(units), 3), -1, np.int64)
        in_a = np.zeros((len(units), 3), bool)
        for index, unit in enumerate(units):
            members[index, : len(unit.members)] = unit.members
            in_a[index, : len(unit.in_a)] = unit.in_a
        return cls(members, in_a)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.members)

    def __getitem__(self, number: Any) -> Any:
        """Return one unit."""
        n = int(self.n_members[number])
        return Unit(number, tuple(self.members[number, :n].tolist()), tuple(self.in_a[number, :n].tolist()))


class _Numbers(dict[str, int]):
    """Numbers texts in the order in which they come."""

    def __missing__(self, text: str) -> int:
        number = self[text] = len(self)
        return number


class _Texts:
    """What the matching needs of the pairs' texts."""

    def __init__(self) -> None:
        self._forms = _Numbers()
        self._words = array("i")  # the form of every word of the English halves
        self._n_words = array("i")
        self._keys = {"en": bytearray(), "xx": bytearray()}
        self._labels = _Numbers()
        self._label = array("i")

    def add(self, en: Sequence[str], xx: Sequence[str], source: Sequence[str]) -> None:
        """Take some pairs."""
        forms = self._forms
        for text in en:
            words = _WORD.findall(text)
            self._n_words.append(len(words))
            self._words.extend([forms[word] for word in words])
        for half, texts in (("en", en), ("xx", xx)):
            keys = (_NOT_TEXT.sub("", text).casefold() or text for text in texts)
            self._keys[half] += b"".join(hashlib.blake2b(key.encode(), digest_size=16).digest() for key in keys)
        self._label.extend([self._labels[label] for label in source])

    def text_keys(self, half: str) -> Ints:
        """Number the texts of a half; two that differ only in case, spaces and punctuation get one number."""
        high, low = (pd.factorize(column)[0] for column in np.frombuffer(self._keys[half], np.uint64).reshape(-1, 2).T)
        return pd.factorize(high.astype(np.int64) * (int(low.max(initial=0)) + 1) + low)[0].astype(np.int64)

    def sources(self) -> Ints:
        """Number the pairs' sources, by their sorted labels."""
        places = {label: place for place, label in enumerate(sorted(self._labels))}
        return np.array([places[label] for label in self._labels], np.int64)[np.frombuffer(self._label, np.int32)]

    def entities(self) -> tuple[npt.NDArray[np.int32], Ints]:
        """Return the words of each English text that may name something: numbers, and words mostly capitalised.

        A word counts when, over all the texts, it is written with a capital more often than without, so that words
        which merely open sentences do not count and no list of stop words is needed (the idea of truecasing, Lita et
        al., ACL 2003). Too many words rather than too few: the placebo must not join two sentences about one thing.

        Returns:
            The words of all texts, as ascending numbers text after text, and where each text's begin, [texts + 1].
        """
        words, n_words = np.frombuffer(self._words, np.int32), np.frombuffer(self._n_words, np.int32)
        numbers = _Numbers()
        key = np.array([numbers[form.casefold()] for form in self._forms], np.int64)
        upper = np.array([form[0].isupper() for form in self._forms], bool)
        numeric = np.array([form[0].isnumeric() for form in self._forms], bool)
        count = np.bincount(words, minlength=len(key)) if len(words) else np.zeros(0, np.int64)
        capital, small = (np.bincount(key, weights=count * by, minlength=len(numbers)) for by in (upper, ~upper))
        names = numeric | (capital > small)[key]
        found, counts = [np.zeros(0, np.int32)], [np.zeros(1, np.int64)]
        ends = np.concatenate([[0], np.cumsum(n_words, dtype=np.int64)])
        for begin in range(0, len(n_words), BLOCK):
            of_text = n_words[begin : begin + BLOCK]
            some = words[ends[begin] : ends[begin + len(of_text)]]
            text = np.repeat(np.arange(len(of_text)), of_text)[names[some]]
            once = _sorted_once(text * len(numbers) + key[some[names[some]]])
            found.append((once % len(numbers)).astype(np.int32))
            counts.append(np.bincount(once // len(numbers), minlength=len(of_text)))
        return np.concatenate(found), np.cumsum(np.concatenate(counts))


def _sorted_once(values: Ints) -> Ints:
    """Return the values in ascending order, each once; by sorting, which is many times faster here than by hashing."""
    found = np.sort(values)
    return found[np.diff(found, prepend=-1) != 0]


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
    ends = np.append(np.flatnonzero(np.diff(component[by_component])) + 1, n_pairs)
    halves = np.zeros(len(ends), bool)
    begin = 0
    for first in range(0, len(ends), BLOCK):
        some = ends[first : first + BLOCK].tolist()
        groups_of = group[by_component[begin : some[-1]]].tolist()
        offset = begin
        for number, end in enumerate(some, first):
            groups = groups_of[begin - offset : end - offset]
            lead = sum(balance[g] for g in set(groups)) or total
            half = bool(generator.integers(2)) if lead == 0 else lead < 0
            halves[number] = half
            step = 1 if half else -1
            for g in groups:
                balance[g] += step
            total += step * len(groups)
            begin = end
    in_a = np.zeros(n_pairs, bool)
    in_a[by_component] = np.repeat(halves, np.diff(ends, prepend=0))
    return in_a


class _Relations(NamedTuple):
    """What says whether two pairs may be joined: names of each (CSR), text keys, and which texts are translations."""

    names: npt.NDArray[np.int32]
    name_ends: Ints
    en_key: Ints
    xx_key: Ints
    width: int
    known: Ints  # codes (English key x `width` + xx key) of all pairs, ascending


class Strangers(NamedTuple):
    """What says which pairs may be joined in a placebo, and which are alike.

    Attributes:
        pairs: the pairs that have text in both halves, ascending.
        relations: of these by their places, for :func:`fits`.
        source: a number for the source of each.
        group: a number for the source and the lengths of each.
    """

    pairs: Ints
    relations: tuple[Any, ...]
    source: Ints
    group: Ints


@compiled
def fits(p, q, relations):
    """Say whether no name is common to two pairs and no pair at all translates a half of one by a half of the other.

    Two pairs with a text in common fail here too: the common text makes the one's English translate the other.
    """
    names, name_ends, en_key, xx_key, width, known = relations
    i, j = name_ends[p], name_ends[q]
    while i < name_ends[p + 1] and j < name_ends[q + 1]:
        if names[i] == names[j]:
            return False
        if names[i] < names[j]:
            i += 1
        else:
            j += 1
    for code in (en_key[p] * width + xx_key[q], en_key[q] * width + xx_key[p]):
        at = np.searchsorted(known, code)
        if at < len(known) and known[at] == code:
            return False
    return True


@compiled
def _match(first, first_ends, second, second_ends, relations):
    """Match, group by group, each of `first` with one of the next few of `second` that fits.

    Args:
        first: pairs, group after group.
        first_ends: where each group begins and ends in them, [groups + 1].
        second: pairs of the other half.
        second_ends: of these.
        relations: see :class:`_Relations`.

    Returns:
        Couples, [n, 2], and who is left of `first` and of `second`.
    """
    couples = np.empty((min(len(first), len(second)), 2), np.int64)
    left_first, left_second = np.empty(len(first), np.int64), np.empty(len(second), np.int64)
    n = n_first = n_second = 0
    for g in range(len(first_ends) - 1):
        waiting = second[second_ends[g] : second_ends[g + 1]][::-1].copy()
        n_waiting = len(waiting)
        for pair in first[first_ends[g] : first_ends[g + 1]]:
            found = -1
            for j in range(n_waiting - 1, max(n_waiting - 1 - REACH, -1), -1):
                if fits(pair, waiting[j], relations):
                    found = j
                    break
            if found < 0:
                left_first[n_first] = pair
                n_first += 1
                continue
            couples[n, 0], couples[n, 1] = pair, waiting[found]
            n += 1
            for j in range(found, n_waiting - 1):
                waiting[j] = waiting[j + 1]
            n_waiting -= 1
        for j in range(n_waiting - 1, -1, -1):
            left_second[n_second] = waiting[j]
            n_second += 1
    return couples[:n], left_first[:n_first], left_second[:n_second]


@compiled
def _match_within(pairs, relations):
    """Match pairs of one half with each other; return couples and who is left."""
    couples = np.empty((len(pairs) // 2, 2), np.int64)
    waiting = np.empty(len(pairs), np.int64)
    n = n_waiting = 0
    for pair in pairs:
        found = -1
        for j in range(n_waiting - 1, max(n_waiting - 1 - REACH, -1), -1):
            if fits(pair, waiting[j], relations):
                found = j
                break
        if found < 0:
            waiting[n_waiting] = pair
            n_waiting += 1
            continue
        couples[n, 0], couples[n, 1] = waiting[found], pair
        n += 1
        for j in range(found, n_waiting - 1):
            waiting[j] = waiting[j + 1]
        n_waiting -= 1
    return couples[:n], waiting[:n_waiting]


@compiled
def _absorb(couples, alone, relations):
    """Find a place for pairs that fit none of each other among the couples; return all cycles and who is left.

    Two lonely pairs p, q break up a couple (x, y) into (p, y) and (x, q); a last one makes a couple a cycle of three.
    """
    cycles = np.full((len(couples) + len(alone), 3), -1, np.int64)
    cycles[: len(couples), :2] = couples
    n, n_left = len(couples), len(alone)
    while n_left > 1:
        p, q = alone[n_left - 2], alone[n_left - 1]
        found = -1
        for i in range(n):
            if cycles[i, 2] < 0 and fits(p, cycles[i, 1], relations) and fits(cycles[i, 0], q, relations):
                found = i
                break
        if found < 0:
            break
        cycles[n, 0], cycles[n, 1] = cycles[found, 0], q
        cycles[found, 0] = p
        n += 1
        n_left -= 2
    n_remaining = 0
    for p in alone[:n_left]:
        found = -1
        for i in range(n):
            if cycles[i, 2] < 0 and fits(cycles[i, 0], p, relations) and fits(cycles[i, 1], p, relations):
                found = i
                break
        if found < 0:
            n_remaining += 1
        else:
            cycles[found, 2] = p
    return cycles[:n], n_remaining


def _by_group(halves: tuple[Ints, Ints], key: Ints) -> Iterator[Ints]:
    """Yield the pairs of A sorted by their key, where each key begins among them, and the same of B.

    Keys come in the order in which they first occur, A before B, and pairs of one key stay in their order.
    """
    of_both = pd.factorize(key[np.concatenate(halves)])[0]
    n_groups = int(of_both.max(initial=-1)) + 1
    begin = 0
    for members in halves:
        group = of_both[begin : begin + len(members)]
        begin += len(members)
        yield members[np.argsort(group, kind="stable")]
        yield np.concatenate([[0], np.cumsum(np.bincount(group, minlength=n_groups))])


def make_units(
    pairs: Iterable[tuple[Sequence[str], Sequence[str], Sequence[str]]],
    n_en: Ints,
    n_xx: Ints,
    generator: np.random.Generator,
) -> tuple[Units, dict[str, Any]]:
    """Partition pairs into units.

    *Halves.* Each pair belongs to A or to B for the whole run. Pairs that share an English or an xx text (but for case,
    spaces and punctuation) are in one half: else two renderings of one sentence could bring a sentence and its
    translation into one batch of ``no_bridge`` after all.

    *Cycles.* Two pairs make a unit when no pair at all joins the English side of one with the xx side of the other and
    their English sides share no entity (:meth:`_Texts.entities`), one from A and one from B, of one source and of one
    length bin (powers of two in tokens, for each side). Pairs without a partner look again within the source, then
    anywhere, then in their own half; the last ones break up a couple or make it a cycle of three (one, when the number
    of pairs is odd).

    Args:
        pairs: English halves, xx halves and source labels of all pairs, some at a time; they are numbered as they come.
        n_en: tokens of each English half, int64 [n_pairs].
        n_xx: tokens of each xx half, int64 [n_pairs].
        generator: decides the halves and the cycles.

    Returns:
        The units, and notes: how many pairs were matched by each rule, and how many are left out because a half has no
        tokens (``empty``) or no partner could be found (``no_partner``).
    """
    is_usable = (n_en > 0) & (n_xx > 0)
    usable = np.flatnonzero(is_usable)
    notes: dict[str, Any] = {"empty": len(n_en) - len(usable)}
    if not len(usable):
        return Units.of([]), {**notes, "no_partner": 0}
    texts, begin = _Texts(), 0
    for en, xx, labels in pairs:
        wanted = np.flatnonzero(is_usable[begin : begin + len(en)]).tolist()
        begin += len(en)
        texts.add(*([column[i] for i in wanted] for column in (en, xx, labels)))
    names, name_ends = texts.entities()
    en_key, xx_key, source = texts.text_keys("en"), texts.text_keys("xx"), texts.sources()
    del texts
    bins = (source * 64 + np.log2(n_en[usable]).astype(np.int64)) * 64 + np.log2(n_xx[usable]).astype(np.int64)
    group = np.unique(bins, return_inverse=True)[1].reshape(-1)

    n = len(usable)
    n_keys = int(en_key.max()) + 1
    edges = coo_array((np.ones(n, bool), (en_key, xx_key + n_keys)), shape=(n_keys + int(xx_key.max()) + 1,) * 2)
    component = connected_components(edges, directed=False)[1][en_key]
    del edges
    in_a = _assign_halves(component, group, generator)
    del component

    width = int(xx_key.max()) + 1
    relations = tuple(_Relations(names, name_ends, en_key, xx_key, width, _sorted_once(en_key * width + xx_key)))
    order = generator.permutation(n)
    alone = order[in_a[order]], order[~in_a[order]]
    couples = []
    for rule, key in (("source_and_length", group), ("source", source), ("any", np.zeros(n, np.int64))):
        found, *left = _match(*_by_group(alone, key), relations)
        alone = left[0], left[1]
        couples.append(found)
        notes[rule] = 2 * len(found)
    lonely = []
    for members in alone:
        found, left_alone = _match_within(members, relations)
        couples.append(found)
        lonely.append(left_alone)
    notes["same_half"] = 2 * sum(map(len, couples[3:]))
    cycles, notes["no_partner"] = _absorb(np.concatenate(couples), np.concatenate(lonely), relations)
    notes["cycles_of_three"] = int((cycles[:, 2] >= 0).sum())
    there = cycles >= 0
    strangers = Strangers(usable, relations, source, group)
    return Units(np.where(there, usable[cycles], -1), there & in_a[cycles], strangers), notes
