"""What answers that need no model are worth on questions on pages: a score says something only beside these.

A model that has learnt what answers look like, and nothing else, answers one question with what would answer another:
by F1 that is far from nothing, where answers share words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from lorebridge import tables
from lorebridge.corpora.qa import TRAIN
from lorebridge.corpora.qa_tasks import MCQ, N_OPTIONS, Put, put_all
from lorebridge.probes.matching import FOLDED, NORMALISATIONS, STRICT, exact, f1

SHUFFLED, MAJORITY, TITLE, CHANCE = "shuffled answers", "majority", "title", "chance"
BASELINES = {
    SHUFFLED: "each question gets the first right answer of another of its split and language: the expectation over "
    "all ways to deal them out so that none gets its own",
    MAJORITY: "the answer that most questions of `train` have, folded; of mcq the number",
    TITLE: "the title of the question's page",
    CHANCE: "an option at random",
}
"""Answers that need no model."""
LETTERS = "f1_letters"
"""F1 of letters in place of words, folded, blanks left out; of shuffled answers alone. Published values of F1 near .2
beside exact match near .01 (Yang et al., paper 002, table 2) lie near what shuffled answers are worth by letters, and
far above what they are worth by words."""
LETTERS_OF = 2000
"""Questions, the first of a split, that letters are compared of: nearly all pairs share some."""
_CHUNK = 2048

Floats = npt.NDArray[np.float64]


def qa_baselines(*, qa: Path, tasks: Sequence[str], base: str, seed: int, out: Path) -> dict[str, Any]:
    """Write the table ``qa_baselines``.

    Args:
        qa: the table ``qa``.
        tasks: keys of :data:`lorebridge.corpora.qa_tasks.TASKS`.
        base: the base language.
        seed: of the order of options.
        out: the table to write: a row a task, language, split (all but ``train``), baseline and metric. ``correct`` is
            as in ``qa_scores``. Shuffled answers need two questions, and a majority needs questions of ``train``.

    Returns:
        Notes for the record: ``questions`` by task.
    """
    known = tables.read(qa).to_dict("records")
    found: list[dict[str, Any]] = []
    questions = {}
    for task in dict.fromkeys(tasks):
        asked, _ = put_all(task, known, base=base, seed=seed)
        groups: dict[tuple[str, str], list[tuple[Mapping[Any, Any], Put]]] = {}
        for row, said in asked:
            groups.setdefault((row["lang"], row["split"]), []).append((row, said))
        questions[task] = sum(len(group) for (_, split), group in groups.items() if split != TRAIN)
        for (lang, split), group in groups.items():
            if split == TRAIN:
                continue
            trained = [said.answer for _, said in groups.get((lang, TRAIN), [])]
            values = _mcq(group, trained) if task == MCQ else _written(group, trained, lang)
            found += [
                {"task": task, "lang": lang, "split": split, "baseline": baseline, "metric": metric, "value": value}
                | {"n_questions": len(group)}
                for baseline, metrics in values.items()
                for metric, value in metrics.items()
            ]
    tables.write("qa_baselines", pd.DataFrame(found, columns=tables.SCHEMAS["qa_baselines"].names), out)
    return {"questions": questions}


def _mcq(group: Sequence[tuple[Mapping[Any, Any], Put]], trained: Sequence[str]) -> dict[str, dict[str, float]]:
    numbers = [said.answer for _, said in group]
    found = {CHANCE: {"correct": 1.0 / N_OPTIONS}}
    if len(numbers) > 1:
        pairs = sum(n * (n - 1) for n in Counter(numbers).values())
        found[SHUFFLED] = {"correct": pairs / (len(numbers) * (len(numbers) - 1))}
    if trained:
        usual = most_common(trained, "")
        found[MAJORITY] = {"correct": numbers.count(usual) / len(numbers)}
    return found


def _written(
    group: Sequence[tuple[Mapping[Any, Any], Put]], trained: Sequence[str], lang: str
) -> dict[str, dict[str, float]]:
    golds = [list(row["answers"]) for row, _ in group]
    answers = [said.answer for _, said in group]
    found: dict[str, dict[str, float]] = {}
    if len(group) > 1:
        both = {rule: shuffled(answers, golds, lang, rule) for rule in (STRICT, FOLDED)}
        found[SHUFFLED] = {f"{m}_{rule}": both[rule][at] for rule in both for at, m in enumerate(("em", "f1"))}
        spelt = [[" ".join("".join(NORMALISATIONS[FOLDED](gold, lang).split())) for gold in of] for of in golds]
        some = spelt[:LETTERS_OF]
        found[SHUFFLED][LETTERS] = shuffled([of[0] for of in some], some, "", STRICT)[1]
    constant = {TITLE: [str(row["title"] or "") for row, _ in group]}
    if trained:
        constant[MAJORITY] = [most_common(trained, lang)] * len(group)
    for baseline, said in constant.items():
        found[baseline] = {
            f"{name}_{rule}": float(np.mean([score(*one, lang, rule) for one in zip(said, golds, strict=True)]))
            for rule in (STRICT, FOLDED)
            for name, score in (("em", exact), ("f1", f1))
        }
    return {baseline: values | {"correct": values["em_folded"]} for baseline, values in found.items()}


def most_common(answers: Sequence[str], lang: str) -> str:
    """Return the answer that occurs most often, folded; of several the one that comes first, as it is first written.

    >>> most_common(["Rome", "Paris", "paris."], "en")
    'Paris'
    """
    same = [NORMALISATIONS[FOLDED](answer, lang) for answer in answers]
    best = max(Counter(same).items(), key=lambda item: item[1])[0]
    return answers[same.index(best)]


def shuffled(answers: Sequence[str], golds: Sequence[Sequence[str]], lang: str, rule: str) -> tuple[float, float]:
    """Return exact match and F1 when each question gets the answer of another, on average over all derangements.

    In a derangement drawn at random a question gets each answer but its own equally often, so that the expectation is
    the mean over all pairs of two questions, and nothing needs to be drawn.

    Args:
        answers: [questions] what is dealt out; two or more.
        golds: [questions] all that are right.
        lang: of both.
        rule: a key of :data:`lorebridge.probes.matching.NORMALISATIONS`.
    """
    normal = NORMALISATIONS[rule]
    said = [normal(answer, lang) for answer in answers]
    right = [normal(gold, lang) for of in golds for gold in of]
    owner = np.repeat(np.arange(len(golds)), [len(of) for of in golds])
    n = len(said)
    hits = Counter(said)
    equal = sum(
        sum(hits[gold] for gold in of if gold) - (said[at] in of and bool(said[at]))
        for at, of in enumerate(_sets(right, owner, n))
    )
    words: dict[tuple[str, int], int] = {}
    given, wanted = _bags(said, words), _bags(right, words)
    width = max(len(words), 1)
    columns = _matrix(given, width).T.tocsc()
    n_said, n_right = (np.array([len(bag) for bag in bags], np.float64) for bags in (given, wanted))
    total = 0.0
    starts = np.searchsorted(owner, np.arange(0, n, _CHUNK))
    for first, last in zip(starts, [*starts[1:], len(right)], strict=True):
        shared = (_matrix(wanted[first:last], width) @ columns).tocoo()
        scores = 2 * shared.data / (n_right[first + shared.row] + n_said[shared.col])
        total += _best(owner[first + shared.row], shared.col, scores)
    return equal / (n * (n - 1)), total / (n * (n - 1))


def _sets(right: Sequence[str], owner: npt.NDArray[np.int64], n: int) -> list[set[str]]:
    found: list[set[str]] = [set() for _ in range(n)]
    for gold, at in zip(right, owner.tolist(), strict=True):
        found[at].add(gold)
    return found


def _best(question: npt.NDArray[np.integer], answer: npt.NDArray[np.integer], scores: Floats) -> float:
    """Return the sum, over pairs of a question and another's answer, of the highest score of its golds."""
    apart = question != answer
    question, answer, scores = question[apart], answer[apart], scores[apart]
    if not len(scores):
        return 0.0
    order = np.lexsort((answer, question))
    question, answer, scores = question[order], answer[order], scores[order]
    begins = np.flatnonzero(np.diff(question, prepend=-1) | np.diff(answer, prepend=-1))
    return float(np.maximum.reduceat(scores, begins).sum())


def _bags(texts: Sequence[str], words: dict[tuple[str, int], int]) -> list[list[int]]:
    """Return numbers of the words of each text; a word that stands again is another, so that sets are multisets."""
    found = []
    for text in texts:
        seen: Counter[str] = Counter()
        bag = []
        for word in text.split():
            bag.append(words.setdefault((word, seen[word]), len(words)))
            seen[word] += 1
        found.append(bag)
    return found


def _matrix(bags: Sequence[Sequence[int]], width: int) -> sparse.csr_matrix:
    """Return which words each text has, (texts, words)."""
    bounds = np.concatenate([[0], np.cumsum([len(bag) for bag in bags])]).astype(np.int64)
    places = np.array([word for bag in bags for word in bag], np.int64)
    return sparse.csr_matrix((np.ones(len(places)), places, bounds), shape=(len(bags), width))
