"""Precision at one on facts, beside what needs no model, with intervals over subjects and prompts.

Facts are no independent draws: one subject is asked in every language and in several relations, and several facts
share a prompt. What hangs together by a subject or a prompt is one cluster, in all languages; clusters are resampled,
the same draws for every number, so that differences of numbers have intervals, too. Where hardly any cluster differs
from the others, what none has shown counts, too (:mod:`lorebridge.unseen`).
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from lorebridge import tables
from lorebridge.corpora.facts import SUBJECT
from lorebridge.errors import InputError
from lorebridge.unseen import summed_ends

log = logging.getLogger("lorebridge.transfer")

RULES = ("gold", "any gold")
"""Whose answers are right: the fact's own object alone (Zhao et al., EACL 2024), or every gold of the prompt."""
ROWS, RELATIONS, LANGUAGES = "facts", "relations", "languages"
"""What a mean is over: all facts alike (micro), or means within relations or languages (macro)."""
BASELINES = ("chance", "majority", "majority_fitted", "copy", "ceiling")
_BATCH = 100  # resamples at a time


def baselines(facts: pd.DataFrame, *, folds: int = 10) -> pd.DataFrame:
    """Return how far each fact is answered by what needs no model.

    ``chance`` picks a candidate at random. ``majority`` gives the object that most facts of the relation in the
    language have, among those of other clusters: clusters are put into `folds` by a digest, and a fold is answered by
    what the others say. ``majority_fitted`` is fitted on the facts that it answers, which flatters it. ``copy`` gives a
    candidate that the subject's label contains, whatever its case, any of several alike, and nothing where there is
    none. ``ceiling`` is the best that one answer a prompt can be: 1/m of m facts that share a prompt under the rule
    ``gold``.

    Args:
        facts: the table "facts".
        folds: how many.

    Returns:
        A row a fact and rule, in the order of `facts`, first all of ``gold``: ``rule, cluster`` (its number),
        ``chance, majority, majority_fitted, copy, ceiling`` in 0..1.
    """
    cell = facts.groupby(["lang", "relation"], sort=False).ngroup().to_numpy()
    clusters = fact_clusters(facts)
    fold = _folds(facts, clusters, folds)
    objects = facts["object"].to_numpy(object)
    subjects = [subject.casefold() for subject in facts["subject"]]
    golds = [set(said) for said in facts["golds"]]
    own = [
        None if said is None else list(dict.fromkeys([*said, gold]))
        for said, gold in zip(facts["candidates"], objects, strict=True)
    ]
    shares = {rule: {name: np.zeros(len(facts)) for name in BASELINES} for rule in RULES}
    for rows in pd.Series(np.arange(len(facts))).groupby(cell, sort=False).indices.values():
        known, code = np.unique(objects[rows].astype(str), return_inverse=True)
        counts = np.zeros((folds, len(known)))
        np.add.at(counts, (fold[rows], code), 1)
        others = counts.sum(axis=0) - counts
        places = {text: place for place, text in enumerate(known)}
        lowered = [text.casefold() for text in known]
        fitted = _best(counts.sum(axis=0))
        learned = [_best(said) for said in others]
        for index, row in enumerate(rows):
            candidates = own[row]
            contained = (
                [text for text in candidates if text.casefold() in subjects[row]]
                if candidates is not None
                else [text for text, low in zip(known, lowered, strict=True) if low in subjects[row]]
                if any(gold.casefold() in subjects[row] for gold in golds[row])
                else []
            )
            n = len(known) if candidates is None else len(candidates)
            right = {places[gold] for gold in golds[row] if gold in places}
            for rule, answers in ((RULES[0], {int(code[index])}), (RULES[1], right)):
                texts = {known[place] for place in answers}
                found = shares[rule]
                found["chance"][row] = len(answers) / n
                found["majority"][row] = _share(learned[fold[row]], answers)
                found["majority_fitted"][row] = _share(fitted, answers)
                found["copy"][row] = sum(text in texts for text in contained) / len(contained) if contained else 0.0
    prompt = facts.groupby(["lang", _prompts(facts)], sort=False).ngroup()
    alike = prompt.groupby([prompt, facts["object"]]).transform("size")
    most = alike.groupby(prompt).transform("max") / prompt.groupby(prompt).transform("size")
    shares[RULES[0]]["ceiling"], shares[RULES[1]]["ceiling"] = most.to_numpy(), np.ones(len(facts))
    return pd.concat(
        [pd.DataFrame({"rule": rule, "cluster": clusters, **shares[rule]}) for rule in RULES], ignore_index=True
    )


def _best(counts: np.ndarray) -> set[int]:
    """Return the places of the highest count; none where all are 0."""
    return set(np.flatnonzero(counts == counts.max()).tolist()) if counts.max() > 0 else set()


def _share(given: set[int], right: set[int]) -> float:
    return len(given & right) / len(given) if given else 0.0


def _prompts(facts: pd.DataFrame) -> pd.Series:
    return pd.Series(
        [t.replace(SUBJECT, s) for t, s in zip(facts["template"], facts["subject"], strict=True)],
        index=facts.index,
        name="prompt",
    )


def fact_clusters(facts: pd.DataFrame) -> np.ndarray:
    """Return the number of each fact's cluster, (facts,): those that a subject or a prompt joins have one.

    Args:
        facts: the table "facts".
    """
    subjects = pd.factorize(facts["subject_id"])[0]
    prompts = facts.groupby(["lang", _prompts(facts)], sort=False).ngroup().to_numpy()
    n = subjects.max() + 1
    edges = sparse.coo_matrix((np.ones(len(facts), bool), (subjects, n + prompts)), shape=(n + prompts.max() + 1,) * 2)
    return connected_components(edges, directed=False)[1][subjects]


def _folds(facts: pd.DataFrame, clusters: np.ndarray, folds: int) -> np.ndarray:
    """Return the fold of each fact's cluster, by a digest of the cluster's first subject."""
    first = facts["subject_id"].groupby(clusters).min()
    digest = first.map(lambda name: zlib.crc32(name.encode()) % folds)
    return digest.to_numpy()[np.searchsorted(digest.index.to_numpy(), clusters)]


def precision(
    *, scores: Sequence[Path], facts: Path, resamples: int, seed: int, out: Path, folds: int = 10
) -> dict[str, int]:
    """Write the table ``p_at_1``.

    Args:
        scores: tables "fact_scores", one a model.
        facts: the table "facts".
        resamples: of the clusters.
        seed: of the resamples.
        out: the table to write.
        folds: of the majority answer, see :func:`baselines`.

    Returns:
        Notes for the record: ``clusters``, ``facts``.

    Raises:
        InputError: a model lacks the score of a fact.
    """
    asked = tables.read(facts).reset_index(drop=True)
    needless = baselines(asked, folds=folds)
    rows = [row for path in scores for row in _of_model(tables.read(path), asked, needless, resamples, seed)]
    tables.write("p_at_1", rows, out)
    return {"clusters": int(needless["cluster"].nunique()), "facts": len(asked)}


def _of_model(
    scores: pd.DataFrame, facts: pd.DataFrame, needless: pd.DataFrame, resamples: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield the rows of the checkpoints of one model."""
    key = ["lang", "fact_id"]
    cells = _Cells(facts, needless["cluster"].to_numpy()[: len(facts)], resamples, seed)
    for named, said in checkpoints(scores):
        merged = facts[key].merge(said, on=key, how="left", validate="one_to_one")
        if (lost := int(merged["exact"].isna().sum())) or len(said) != len(facts):
            raise InputError(
                f"scores of {named['run']}",
                f"lack {lost} of the {len(facts)} facts, or have others",
                "Ask the model again.",
            )
        manner = {name: _one(said[name]) for name in ("decode", "lengths", "space")}
        for rule, column in zip(RULES, ("exact", "filtered"), strict=True):
            values = needless.loc[needless["rule"] == rule, list(BASELINES)].reset_index(drop=True)
            for row in cells.rows(values.assign(p1=merged[column].to_numpy())):
                yield {**named, **manner, "rule": rule, **row}


def checkpoints(scores: pd.DataFrame) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield (run and step, rows) of each checkpoint of a table "fact_scores"; the step of a given model is None."""
    for _, rows in scores.groupby(["run", "step"], sort=False, dropna=False):
        first = rows.iloc[0]
        yield {"run": first["run"], "step": None if pd.isna(first["step"]) else int(first["step"])}, rows


def _one(values: pd.Series) -> str | None:
    return None if values.isna().all() else str(values.iloc[0])


class _Cells:
    """Means of the facts of a language and relation, of a language, and of all, and how they vary over clusters."""

    def __init__(self, facts: pd.DataFrame, clusters: np.ndarray, resamples: int, seed: int) -> None:
        self.names = facts[["lang", "relation"]].drop_duplicates().reset_index(drop=True)
        self.cell = facts.groupby(["lang", "relation"], sort=False).ngroup().to_numpy()
        self.lang = pd.factorize(self.names["lang"])[0]
        self.langs = list(dict.fromkeys(self.names["lang"]))
        self.clusters, self.n_clusters = clusters, int(clusters.max()) + 1
        self.resamples, self.seed = resamples, seed
        self.counts = self._sums(np.ones(len(facts)))
        # All means are of parts, whose values are pooled (all facts, the languages, the cells): one, or their average.
        n_langs, n_cells = len(self.langs), len(self.names)
        of_lang = sparse.csr_array((np.ones(n_cells), (np.arange(n_cells), self.lang)), shape=(n_cells, n_langs))
        one, every = np.ones((n_cells, 1)), sparse.eye_array(n_cells)
        self.parts = sparse.csr_array(sparse.hstack([sparse.csr_array(one), of_lang, every]))
        relations = of_lang / of_lang.sum(axis=0)
        averages = np.full((n_langs, 1), 1 / n_langs)
        self.averaged = sparse.csr_array(
            sparse.block_array(
                [
                    [np.ones((1, 1)), None, None, None, None],
                    [None, sparse.csr_array(averages), sparse.eye_array(n_langs), None, None],
                    [None, None, None, relations, every],
                ]
            )
        )

    def _sums(self, values: np.ndarray) -> sparse.csr_array:
        """Return sums by cluster and cell, (clusters, cells)."""
        shape = (self.n_clusters, len(self.names))
        return sparse.csr_array(sparse.coo_array((values, (self.clusters, self.cell)), shape=shape))

    def rows(self, values: pd.DataFrame) -> Iterator[dict[str, Any]]:
        """Yield what the table says of each mean of ``p1`` beside the baselines."""
        sums = {str(name): self._sums(values[name].to_numpy(np.float64)) for name in values}
        ones = np.ones((1, self.n_clusters))
        point = {name: self._means(ones @ sums[name], ones @ self.counts) for name in sums}
        rng = np.random.default_rng(self.seed)
        drawn: dict[str, list[np.ndarray]] = {"p1": [], "above": []}
        share = np.full(self.n_clusters, 1 / self.n_clusters)
        for start in range(0, self.resamples, _BATCH):
            weights = rng.multinomial(self.n_clusters, share, size=min(_BATCH, self.resamples - start)).astype(float)
            n = weights @ self.counts
            right, majority = (self._means(weights @ sums[name], n) for name in ("p1", "majority"))
            drawn["p1"].append(right)
            drawn["above"].append(right - majority)
        with np.errstate(all="ignore"):
            bounds = {
                name: np.nanquantile(np.concatenate(parts), [0.025, 0.975], axis=0) for name, parts in drawn.items()
            }
        for name, of, within in (("p1", sums["p1"], (0, 1)), ("above", sums["p1"] - sums["majority"], (-1, 1))):
            least, most = summed_ends(of @ self.parts, self.counts @ self.parts, self.averaged, within)
            bounds[name] = np.stack([np.fmin(bounds[name][0], least), np.fmax(bounds[name][1], most)])
        clusters = self._clusters()
        totals = self._totals(ones @ self.counts)[0].astype(int)
        for index, label in enumerate(self._labels()):
            sure = clusters[index] > 1
            yield {
                **label,
                "n": int(totals[index]),
                "n_clusters": int(clusters[index]),
                **{name: float(point[name][0, index]) for name in point},
                "lo": float(bounds["p1"][0, index]) if sure else None,
                "hi": float(bounds["p1"][1, index]) if sure else None,
                "above": float(point["p1"][0, index] - point["majority"][0, index]),
                "above_lo": float(bounds["above"][0, index]) if sure else None,
                "above_hi": float(bounds["above"][1, index]) if sure else None,
            }

    def _labels(self) -> list[dict[str, Any]]:
        """Return what each mean is of, in the order of :meth:`_means`."""
        every = [{"lang": None, "relation": None, "mean_over": what} for what in (ROWS, LANGUAGES)]
        by_lang = [
            {"lang": lang, "relation": None, "mean_over": what} for what in (ROWS, RELATIONS) for lang in self.langs
        ]
        by_cell = [{"lang": lang, "relation": of, "mean_over": ROWS} for lang, of in self.names.itertuples(index=False)]
        return [*every, *by_lang, *by_cell]

    def _by_lang(self, cells: np.ndarray) -> np.ndarray:
        """Return sums by language of values by cell, (..., cells)."""
        return np.stack([cells[..., self.lang == place].sum(axis=-1) for place in range(len(self.langs))], axis=-1)

    def _means(self, sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return all means, (draws, labels), of sums and counts by cell, (draws, cells); NaN of what is not drawn."""
        with np.errstate(invalid="ignore", divide="ignore"):
            cells = sums / counts
            langs = self._by_lang(sums) / self._by_lang(counts)
            whole = sums.sum(axis=-1, keepdims=True) / counts.sum(axis=-1, keepdims=True)
        drawn = ~np.isnan(cells)
        with np.errstate(invalid="ignore", divide="ignore"):
            relations = self._by_lang(np.where(drawn, cells, 0)) / self._by_lang(drawn.astype(float))
            macro = np.nanmean(langs, axis=-1, keepdims=True)
        return np.concatenate([whole, macro, langs, relations, cells], axis=-1)

    def _totals(self, counts: np.ndarray) -> np.ndarray:
        """Return how many facts each mean is of, (draws, labels)."""
        langs = self._by_lang(counts)
        whole = counts.sum(axis=-1, keepdims=True)
        return np.concatenate([whole, whole, langs, langs, counts], axis=-1)

    def _clusters(self) -> np.ndarray:
        """Return how many clusters each mean rests on, (labels,)."""
        cells = np.bincount(self.counts.indices, minlength=len(self.names))  # each cluster once a cell
        pairs = np.unique(np.stack([self.clusters, self.lang[self.cell]]), axis=1)
        langs = np.bincount(pairs[1], minlength=len(self.langs))
        return np.concatenate([[self.n_clusters] * 2, langs, langs, cells])
