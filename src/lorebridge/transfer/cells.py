"""Answers by source and target language, and all that linear regressions on them need, added up once.

A row is an answer in another language than its question's. Whatever is said of a row (same script, same family) is said
of its pair of languages, so that a regression of rows with effects of questions and languages needs of the answers no
more than two sums over pairs: with P the rows' pairs and M what takes the effects out, P'MP and P'My. Thousands of
labelings then cost as much as one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lorebridge.errors import InputError

SOURCE_RIGHT, ALL = "right in source", "all"
"""Which answers count: those of a model that is right in the question's own language; or all of them."""
LEAST = 3
"""Languages without which no two pairs differ in what they have in common."""
PAIRS, STAR = "pairs", "star"
"""Shapes: questions go from many languages to many; or one language is in every pair."""


def crossed(judged: pd.DataFrame, given: str, name: str = "judged answers") -> pd.DataFrame:
    """Return the answers in other languages than their question's.

    Sample for sample: an answer of sample 2 counts if sample 2 is right in the source.

    Args:
        judged: rows of the table "judged", of one data set, hint and judge.
        given: :data:`SOURCE_RIGHT` or :data:`ALL`.
        name: what a person calls them.

    Returns:
        ``model, question, source, target, right``; questions are numbered within a source.

    Raises:
        InputError: nothing is left.
    """
    table = judged.rename(columns={"target_lang": "target", "correct": "right"})
    free = table["source_lang"].isna()
    # A question of no language has each that it is asked in as its source, in turn.
    asked = table.loc[free, ["question_id", "target"]].drop_duplicates().rename(columns={"target": "source"})
    table = pd.concat(
        [table[~free].assign(source=table["source_lang"]), table[free].merge(asked, on="question_id")],
        ignore_index=True,
    )
    key = ["model", "question_id", "source", "sample"]
    own = table[table["source"] == table["target"]]
    found = table[table["source"] != table["target"]]
    if given == SOURCE_RIGHT:
        if own.empty:
            raise InputError(
                f"{name}, column target_lang",
                "no question is answered in its own language, and what counts is who is right there",
                "Judge the answers in source_lang, too, or count all of them (all).",
            )
        found = found.merge(own.loc[own["right"].astype(bool), key], on=key)
    if found.empty:
        raise InputError(
            name,
            f"none in another language than its question's counts ({given})",
            "Ask in other languages, too, or models that are right in the source.",
        )
    found["question"] = found["source"] + "/" + found["question_id"]
    return found[["model", "question", "source", "target", "right"]].astype({"right": float}).reset_index(drop=True)


@dataclasses.dataclass(frozen=True)
class Cells:
    """Sums over pairs of languages, the effects of questions and languages taken out.

    Attributes:
        langs: codes.
        first, second: [pairs], places of the source and the target.
        gram: [pairs, pairs], P'MP.
        moment: [pairs], P'My.
        counts: [pairs], answers.
        right: [pairs], right ones.
        hub: the language that is in every pair; None in the shape :data:`PAIRS`.
        questions, models: numbers of them.
        spread: variance of an answer within questions, models and pairs.
    """

    langs: tuple[str, ...]
    first: np.ndarray
    second: np.ndarray
    gram: np.ndarray
    moment: np.ndarray
    counts: np.ndarray
    right: np.ndarray
    hub: str | None
    questions: int
    models: int
    spread: float

    @property
    def shape(self) -> str:
        """:data:`PAIRS` or :data:`STAR`."""
        return PAIRS if self.hub is None else STAR


def inverse(matrix: np.ndarray) -> np.ndarray:
    """Return the generalised inverse of a symmetric matrix, whose effects that stand twice are left out."""
    return np.linalg.pinv(matrix, rcond=1e-10, hermitian=True)


def hub_of(pairs: Sequence[tuple[str, str]]) -> str | None:
    """Return the language that is in every pair, if there is one and more than two languages.

    >>> hub_of([("en", "de"), ("fr", "en")]), hub_of([("en", "de"), ("fr", "de"), ("fr", "en")])
    ('en', None)
    """
    shared = set.intersection(*map(set, pairs))
    return next(iter(shared)) if len(shared) == 1 else None


def cells_of(rows: pd.DataFrame, name: str = "judged answers") -> Cells:
    """Add up answers by pair.

    Taken out are, of each model, the effects of questions and target languages (a question has one source); of a star,
    whose other languages would leave nothing of their scripts, those of the two directions.

    Args:
        rows: as :func:`crossed` returns them.
        name: what a person calls them.

    Raises:
        InputError: fewer than three languages.
    """
    langs = tuple(sorted({*rows["source"], *rows["target"]}))
    if len(langs) < LEAST:
        raise InputError(name, f"are in {' and '.join(langs)} alone", "Ask in three languages or more.")
    place = {lang: index for index, lang in enumerate(langs)}
    code = rows["source"].map(place).to_numpy() * len(langs) + rows["target"].map(place).to_numpy()
    codes, pair = np.unique(code, return_inverse=True)
    first, second = codes // len(langs), codes % len(langs)
    hub = hub_of([(langs[a], langs[b]) for a, b in zip(first, second, strict=True)])
    question = pd.factorize(rows["question"])[0]
    model = pd.factorize(rows["model"])[0]
    y = rows["right"].to_numpy(float)
    n = len(codes)
    gram, moment, within, freedom = np.zeros((n, n)), np.zeros(n), 0.0, 0
    groups = (second == place[hub]).astype(int) if hub is not None else second
    dummies = np.equal.outer(groups, np.unique(groups)).astype(float)
    for index in range(model.max() + 1):
        own = model == index
        units = np.zeros(own.sum(), int) if hub is not None else np.unique(question[own], return_inverse=True)[1]
        of, values = pair[own], y[own]
        asked = np.zeros((units.max() + 1, n))
        np.add.at(asked, (units, of), 1)
        sizes = asked.sum(axis=1)
        means = np.bincount(units, values) / sizes
        counted = np.diag(asked.sum(axis=0)) - asked.T @ (asked / sizes[:, None])
        summed = np.bincount(of, values, n) - asked.T @ means
        solved = inverse(dummies.T @ counted @ dummies)
        taken = counted @ dummies @ solved
        gram += counted - taken @ dummies.T @ counted
        moment += summed - taken @ dummies.T @ summed
        left = values - means[units]
        within += left @ left - (dummies.T @ summed) @ solved @ (dummies.T @ summed)
        freedom += len(values) - len(sizes)
    explained = moment @ inverse(gram) @ moment
    return Cells(
        langs=langs,
        first=first,
        second=second,
        gram=gram,
        moment=moment,
        counts=np.bincount(pair, minlength=n),
        right=np.bincount(pair, y, n),
        hub=hub,
        questions=int(question.max()) + 1,
        models=int(model.max()) + 1,
        spread=max(float(within - explained), 0.0) / max(freedom - n, 1),
    )


def predictors(
    langs: Sequence[str],
    first: np.ndarray,
    second: np.ndarray,
    languages: Mapping[str, Mapping[str, str]],
    distances: Mapping[str, pd.DataFrame],
    volumes: pd.DataFrame | None,
) -> dict[str, np.ndarray]:
    """Return what is said of pairs of languages beside whether script and family are the same.

    Args:
        langs: codes.
        first, second: [pairs], places of the languages.
        languages: code -> ``script, family``.
        distances: name -> [languages, languages].
        volumes: ``lang`` and measures of languages, of which the logarithms of both languages are added; None for none.

    Returns:
        name -> [pairs]: ``shared letters`` (Japanese and Han, whose scripts are two and share one), distances, volumes.

    Raises:
        InputError: a language or pair that a table lacks, or a measure that is not above 0.
    """
    mixed = np.array([{languages[lang]["script"]} for lang in langs], object)
    found = {
        "shared letters": np.array(
            [float((mixed[a] | mixed[b]) == {"Japanese", "Han"}) for a, b in zip(first, second, strict=True)]
        )
    }
    for name, matrix in distances.items():
        known = matrix.reindex(index=list(langs), columns=list(langs)).to_numpy(float)
        values = known[first, second]
        if np.isnan(values).any():
            pair = int(np.isnan(values).argmax())
            where = f"distance {name}"
            what = f"has none of {langs[first[pair]]} and {langs[second[pair]]}"
            raise InputError(where, what, "Add the pair to the file, or leave the column out.")
        found[name] = values
    if volumes is not None:
        for name in volumes.columns.drop("lang"):
            sizes = volumes.set_index("lang")[name].reindex(list(langs))
            if not (sizes > 0).all():
                lang = sizes.index[~(sizes > 0)][0]
                raise InputError(f"volume {name}", f"has no number above 0 for {lang}", "Add it, or leave it out.")
            logs = np.log(sizes.to_numpy(float))
            found[f"log {name}"] = logs[first] + logs[second]
    return found
