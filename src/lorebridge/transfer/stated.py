"""What models know of facts by where these are stated: in the language itself, in another alone, or nowhere.

A fact that is stated nowhere is answered by its form alone: the majority answer, a subject that holds its answer, a
name that tells it. So what crosses between languages is the precision on facts that only another language states, less
that on facts which none does, within a relation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.transfer.precision import checkpoints
from lorebridge.unseen import summed_ends

HERE, ELSEWHERE, NOWHERE = PLACES = ("here", "elsewhere", "nowhere")
"""Where a fact is stated, seen from a language: in it (whether or not in others), in another alone, in none."""
TRANSFER = "transfer"
"""The contrast: ``elsewhere`` less ``nowhere``, within relations."""


def places(stated: pd.DataFrame) -> pd.DataFrame:
    """Return where each fact is stated, seen from each language.

    Args:
        stated: ``fact_id, lang, n`` (how often the language states it), a row a fact and language.

    Returns:
        ``fact_id, lang, place``.
    """
    total = stated.groupby("fact_id")["n"].transform("sum")
    place = np.where(stated["n"] > 0, HERE, np.where(total > 0, ELSEWHERE, NOWHERE))
    return stated[["fact_id", "lang"]].assign(place=place)


def by_place(rows: pd.DataFrame, resamples: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield precision by place, and what crosses, of one language and checkpoint.

    Of the contrast a relation weighs as many facts as are stated elsewhere; one that has none stated nowhere has no
    part in it. Subjects are resampled; where hardly any differs, what none has shown counts
    (:mod:`lorebridge.unseen`), of the contrast with the relations' weights held.

    Args:
        rows: ``subject_id, relation, place, exact``.
        resamples: of the subjects.
        seed: of these.

    Yields:
        ``place, n, n_subjects, p1, lo, hi``; p1 is missing where there is no fact, the interval below two subjects.
    """
    subject = pd.factorize(rows["subject_id"])[0]
    relation, names = pd.factorize(rows["relation"])
    place = rows["place"].map(PLACES.index).to_numpy()
    n_subjects = int(subject.max(initial=-1)) + 1
    shape = (n_subjects, len(names), len(PLACES))
    right, count = np.zeros(shape), np.zeros(shape)
    np.add.at(right, (subject, relation, place), rows["exact"].to_numpy(np.float64))
    np.add.at(count, (subject, relation, place), 1.0)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n_subjects, np.full(n_subjects, 1 / n_subjects), size=resamples).astype(np.float64)
    weights = np.concatenate([np.ones((1, n_subjects)), drawn])
    cells = [np.tensordot(weights, values, 1) for values in (right, count)]  # (1 + resamples, relations, places)
    values = np.concatenate([_by_place(*cells), _contrast(*cells)[:, None]], axis=1)
    least, most = _unseen(right, count)
    here = [np.isin(place, of) for of in (0, 1, 2, (1, 2))]
    for index, (name, of) in enumerate(zip((*PLACES, TRANSFER), here, strict=True)):
        whole, known = values[0, index], values[1:, index]
        subjects_there = len(np.unique(subject[of]))
        sure = subjects_there > 1 and not np.isnan(whole)
        lo, hi = np.nanquantile(known, [0.025, 0.975]) if sure and not np.isnan(known).all() else (np.nan, np.nan)
        yield {
            "place": name,
            "n": int(of.sum()),
            "n_subjects": subjects_there,
            "p1": None if np.isnan(whole) else float(whole),
            "lo": None if np.isnan(lo) else float(np.fmin(lo, least[index])),
            "hi": None if np.isnan(hi) else float(np.fmax(hi, most[index])),
        }


def within_languages(rows: pd.DataFrame) -> pd.DataFrame:
    """Return facts of several languages with the relations of each as relations of their own.

    How hard a relation is depends on its wording: it is compared with itself in one language.
    """
    return rows.assign(relation=rows["relation"] + "\0" + rows["lang"])


def _by_place(right: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return precision by place, (draws, places), of sums by relation and place."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return right.sum(axis=1) / count.sum(axis=1)


def _unseen(right: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of all four by what no subject has shown, (4,) each; of sums by subject, relation and place."""
    n_subjects, n_relations, _ = right.shape
    weights = np.zeros((len(PLACES) * (1 + n_relations), len(PLACES) + 1))
    weights[: len(PLACES), : len(PLACES)] = np.eye(len(PLACES))
    shares = _weights(count.sum(axis=0))
    cells = weights[len(PLACES) :, len(PLACES)].reshape(n_relations, len(PLACES))
    if shares.sum():
        cells[:, PLACES.index(ELSEWHERE)] = shares / shares.sum()
        cells[:, PLACES.index(NOWHERE)] = -shares / shares.sum()
    sums, counts = (np.concatenate([part.sum(axis=1), part.reshape(n_subjects, -1)], axis=1) for part in (right, count))
    return summed_ends(sums, counts, weights, (0, 1))


def _weights(count: np.ndarray) -> np.ndarray:
    """Return what relations weigh in the contrast, (..., relations), of counts (..., relations, places)."""
    elsewhere, nowhere = count[..., PLACES.index(ELSEWHERE)], count[..., PLACES.index(NOWHERE)]
    return np.where((elsewhere > 0) & (nowhere > 0), elsewhere, 0.0)


def _contrast(right: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return what crosses, (draws,)."""
    elsewhere, nowhere = PLACES.index(ELSEWHERE), PLACES.index(NOWHERE)
    weight = _weights(count)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = right / count
        difference = np.where(weight > 0, mean[..., elsewhere] - mean[..., nowhere], 0.0)
        return (weight * difference).sum(axis=1) / weight.sum(axis=1)


def fact_transfer(*, scores: Sequence[Path], facts: Path, truth: Path, resamples: int, seed: int, out: Path) -> None:
    """Write the table ``fact_transfer``: over the facts of all languages, and of each.

    Args:
        scores: tables "fact_scores", one a model.
        facts: the table "facts".
        truth: the table "truth" of a world of the kind ``multilingual``.
        resamples: of the subjects.
        seed: of these.
        out: the table to write.
    """
    said = tables.read(truth, ["question_id", "corpus", "n_statements"])
    stated = said.rename(columns={"question_id": "fact_id", "corpus": "lang", "n_statements": "n"})
    known = places(stated).merge(tables.read(facts, ["fact_id", "lang", "subject_id"]), on=["fact_id", "lang"])
    rows = []
    for path in scores:
        for named, table in checkpoints(tables.read(path)):
            merged = table.merge(known, on=["fact_id", "lang"], validate="one_to_one")
            rows += [{**named, "lang": None, **row} for row in by_place(within_languages(merged), resamples, seed)]
            for lang, of in merged.groupby("lang", sort=False):
                rows += [{**named, "lang": lang, **row} for row in by_place(of, resamples, seed)]
    tables.write("fact_transfer", rows, out)
