"""Whether a model holds a fact by the same neurons in two languages, and whether one needs those of the other.

Facts of one relation share a prompt and facts of one object an answer, and so they share neurons in one language
already. What two languages share of a fact is told beside what they share of another fact of its relation, which is the
null: only what lies above it is the fact's own. Likewise what a fact loses without its neurons is told beside what it
loses without as many others.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from lorebridge import tables
from lorebridge.transfer.clusters import ClusterBootstrap
from lorebridge.transfer.distances import ALIKE, assignment, complete
from lorebridge.transfer.precision import checkpoints, fact_clusters
from lorebridge.unseen import summed_ends

COMPARED = {
    "same_fact": "the fact itself",
    "same_object": "others of its relation with its object",
    "same_relation": "others of its relation with another object",
    "unrelated": "facts of other relations",
}
"""What a fact in one language is compared with in another: columns of the table "neuron_pairs"."""
ABOVE = "above"
"""``same_fact`` less ``same_relation``, of the facts that have both."""
DIFFERENCE = "difference"
"""What lies above of two languages that are alike, less that of two that are not."""
SILENCED = {
    "own": "the fact's own",
    "other": "those of another fact of the relation",
    "random": "random ones of the same layers and sizes",
}
"""What is silenced: columns of the table "silenced_facts"."""
_ROWS = 512  # facts that are compared with all others at a time
_BATCH = 100  # resamples at a time


def jaccards(tops_a: sparse.csr_array, tops_b: sparse.csr_array) -> np.ndarray:
    """Return the Jaccard index of every two sets, [sets, sets], of indicators [sets, neurons]."""
    shared = (tops_a @ tops_b.T).toarray()
    sizes = tops_a.sum(axis=1)[:, None] + tops_b.sum(axis=1)[None, :]
    return shared / (sizes - shared)


def compared(
    tops_a: sparse.csr_array, tops_b: sparse.csr_array, relation: np.ndarray, answer: np.ndarray
) -> pd.DataFrame:
    """Return how much each fact shares with what it is compared with, in either direction.

    Args:
        tops_a, tops_b: indicators of the neurons of the same facts in two languages, [facts, neurons].
        relation, answer: numbers of each fact's relation and object, [facts].

    Returns:
        A row a fact: the columns of :data:`COMPARED`, mean Jaccard indices, NaN where there is nothing to compare with;
        ``n_others`` facts of its relation with another object; and ``p``, how often one of these shares as much with it
        as the fact does with itself, itself counted in.
    """
    n = len(relation)
    found: dict[str, np.ndarray] = {name: np.full(n, np.nan) for name in (*COMPARED, "p")}
    found["n_others"] = np.zeros(n, np.int64)
    for start in range(0, n, _ROWS):
        rows = slice(start, min(start + _ROWS, n))
        both = jaccards(tops_a[rows], tops_b), jaccards(tops_b[rows], tops_a)
        values = (both[0] + both[1]) / 2
        own = np.arange(n)[rows][:, None] == np.arange(n)
        kin = relation[rows][:, None] == relation
        alike = answer[rows][:, None] == answer
        for name, among in zip(COMPARED, (own, kin & alike & ~own, kin & ~alike, ~kin), strict=True):
            count = among.sum(axis=1)
            found[name][rows] = np.where(count, (values * among).sum(axis=1) / np.maximum(count, 1), np.nan)
        others = kin & ~alike
        itself = found["same_fact"][rows][:, None]
        as_much = sum(((said >= itself - 1e-12) & others).sum(axis=1) for said in both)
        found["n_others"][rows] = others.sum(axis=1)
        found["p"][rows] = (1 + as_much) / (1 + 2 * others.sum(axis=1))
    found["p"][found["n_others"] == 0] = np.nan
    return pd.DataFrame(found)


def pairs_of(neurons: pd.DataFrame, objects: pd.Series) -> Iterator[pd.DataFrame]:
    """Yield what every two languages share of each fact that has neurons in both, at one checkpoint.

    Args:
        neurons: rows of the table "neurons" of one checkpoint.
        objects: fact_id -> object_id.

    Yields:
        ``fact_id, relation, lang_a, lang_b`` and the columns of :func:`compared`, of two languages.
    """
    unit = pd.factorize(pd.MultiIndex.from_frame(neurons[["layer", "neuron"]]))[0]
    table = neurons.assign(unit=unit)
    by_lang = {lang: rows for lang, rows in table.groupby("lang", sort=False)}
    n_units = int(unit.max(initial=-1)) + 1
    relations = neurons.drop_duplicates("fact_id").set_index("fact_id")["relation"]
    known = {lang: dict.fromkeys(rows["fact_id"]) for lang, rows in by_lang.items()}
    for lang_a, lang_b in itertools.combinations(by_lang, 2):
        both = [fact for fact in known[lang_a] if fact in known[lang_b]]
        if not both:
            continue
        tops_a, tops_b = (_indicators(by_lang[lang], both, n_units) for lang in (lang_a, lang_b))
        relation = relations.loc[both]
        values = compared(tops_a, tops_b, pd.factorize(relation)[0], pd.factorize(objects.loc[both])[0])
        yield pd.DataFrame({"fact_id": both, "relation": relation.to_numpy(), "lang_a": lang_a, "lang_b": lang_b}).join(
            values
        )


def _indicators(rows: pd.DataFrame, facts: Sequence[str], n_units: int) -> sparse.csr_array:
    place = {fact: index for index, fact in enumerate(facts)}
    kept = rows[rows["fact_id"].isin(place)]
    where = (kept["fact_id"].map(place).to_numpy(), kept["unit"].to_numpy())
    return sparse.csr_array((np.ones(len(kept)), where), shape=(len(place), n_units))


def interval(values: np.ndarray, clusters: np.ndarray, resamples: int, seed: int, least: float = 0) -> dict[str, Any]:
    """Return ``n_facts, n_clusters, lo, hi`` of the mean of values of at most 1; no interval of one cluster.

    Args:
        values: [facts], one or more.
        clusters: of the facts.
        resamples, seed: of the clusters.
        least: what values are at least.
    """
    draws = ClusterBootstrap(clusters, resamples=resamples, seed=seed, stream="neurons")
    lo, hi = draws.interval(values, bounds=(least, 1.0))
    return {
        "n_facts": len(values),
        "n_clusters": draws.n_clusters,
        "lo": None if np.isnan(lo) else float(lo),
        "hi": None if np.isnan(hi) else float(hi),
    }


def overlaps_of(pairs: pd.DataFrame, clusters: pd.Series, resamples: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the overlap of two languages, with intervals over clusters of facts.

    Args:
        pairs: rows of the table "neuron_pairs" of two languages.
        clusters: fact_id -> cluster.
        resamples, seed: of the clusters.
    """
    values = pairs[list(COMPARED)].assign(**{ABOVE: pairs["same_fact"] - pairs["same_relation"]})
    of = clusters.loc[pairs["fact_id"]].to_numpy()
    for name in values:
        known = values[name].notna().to_numpy()
        if known.any():
            column = values[name].to_numpy()[known]
            found = interval(column, of[known], resamples, seed, -1 if name == ABOVE else 0)
            yield {
                **{side: pairs[side].iloc[0] for side in ("lang_a", "lang_b")},
                "compared": name,
                "jaccard": float(column.mean()),
                **found,
            }


def kin_of(
    pairs: pd.DataFrame,
    clusters: pd.Series,
    languages: Mapping[str, Mapping[str, str]],
    *,
    resamples: int,
    permutations: int,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """Yield what two languages share on average, by whether they are of one family, and of one script.

    The mean is over pairs of languages, each the mean over its facts; clusters of facts are resampled, in all pairs at
    once, and intervals go as far as what no cluster has shown lets them. The difference has a p-value besides, by
    permutation of the languages.

    Args:
        pairs: rows of the table "neuron_pairs" of one checkpoint.
        clusters: fact_id -> cluster.
        languages: code -> ``family, script``; an empty one is unknown.
        resamples: of the clusters.
        permutations: of the languages.
        seed: of both.
    """
    values = pairs[list(COMPARED)].assign(**{ABOVE: pairs["same_fact"] - pairs["same_relation"]})
    cluster = pd.factorize(clusters.loc[pairs["fact_id"]])[0]
    n_clusters = int(cluster.max()) + 1
    number, names = pd.factorize(pd.MultiIndex.from_frame(pairs[["lang_a", "lang_b"]]))
    rng = np.random.default_rng(seed)
    share = np.full(n_clusters, 1 / n_clusters)
    weights = np.concatenate([np.ones((1, n_clusters)), rng.multinomial(n_clusters, share, size=resamples)])
    for name in values:
        known = values[name].notna().to_numpy()
        at, shape = (number[known], cluster[known]), (len(names), n_clusters)
        sums, counts = (
            sparse.csr_array(sparse.coo_array((of, at), shape=shape))
            for of in (values[name].to_numpy()[known], np.ones(int(known.sum())))
        )
        means = np.concatenate(
            [_ratio(sums, counts, weights[start : start + _BATCH]) for start in range(0, len(weights), _BATCH)]
        )  # (1 + resamples, pairs)
        bounds = (-1.0 if name == ABOVE else 0.0, 1.0)
        for what in ALIKE.values():
            said = [[languages[lang][what] for lang in pair] for pair in names]
            groups = {
                f"same {what}": np.array([bool(a and b) and a == b for a, b in said]),
                f"another {what}": np.array([bool(a and b) and a != b for a, b in said]),
            }
            drawn, shares = {}, {}
            for kin, inside in groups.items():
                own = means[:, inside]
                if not inside.any() or np.isnan(own[0]).all():
                    continue
                drawn[kin] = _mean(own)
                has = inside & ~np.isnan(means[0])
                shares[kin] = has / has.sum()
                yield {
                    "kin": kin,
                    "compared": name,
                    "n_pairs": int((~np.isnan(own[0])).sum()),
                    **_interval(drawn[kin], sums, counts, shares[kin], bounds),
                    "p": None,
                }
            if name == ABOVE and len(drawn) == 2:
                (alike, others), (of_alike, of_others) = drawn.values(), shares.values()
                yield {
                    "kin": f"same {what}",
                    "compared": DIFFERENCE,
                    "n_pairs": int((~np.isnan(means[0])).sum()),
                    **_interval(alike - others, sums, counts, of_alike - of_others, bounds),
                    "p": _permuted(means[0], list(names), said, permutations, seed),
                }


def _ratio(sums: sparse.csr_array, counts: sparse.csr_array, weights: np.ndarray) -> np.ndarray:
    """Return the means of pairs of languages in some draws, (draws, pairs); NaN where nothing is drawn."""
    total = (counts @ weights.T).T
    return np.divide((sums @ weights.T).T, total, out=np.full(total.shape, np.nan), where=total > 0)


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over pairs that have a value, (draws,)."""
    known = ~np.isnan(values)
    total = known.sum(axis=1)
    return np.divide(np.where(known, values, 0).sum(axis=1), total, out=np.full(len(values), np.nan), where=total > 0)


def _interval(
    drawn: np.ndarray,
    sums: sparse.csr_array,
    counts: sparse.csr_array,
    weights: np.ndarray,
    bounds: tuple[float, float],
) -> dict[str, Any]:
    """Return the estimate, which is the first of the draws, and its interval; none of one cluster.

    Percentiles, and as far out as what no cluster has shown lets it (:func:`lorebridge.unseen.summed_ends`).

    Args:
        drawn: the weighted sum of the means of pairs of languages, (1 + resamples,).
        sums, counts: of the values of each pair, (pairs, clusters).
        weights: of the pairs' means, (pairs,).
        bounds: of a value.
    """
    n_clusters = counts.shape[1]
    lo, hi = np.nan, np.nan
    if n_clusters > 1:
        least, most = summed_ends(sums.T, counts.T, weights[:, None], bounds)
        lo, hi = np.nanquantile(drawn[1:], [0.025, 0.975])
        lo, hi = np.fmin(lo, least[0]), np.fmax(hi, most[0])
    return {
        "n_clusters": n_clusters,
        "jaccard": float(drawn[0]),
        "lo": None if np.isnan(lo) else float(lo),
        "hi": None if np.isnan(hi) else float(hi),
    }


def _permuted(
    values: np.ndarray, names: Sequence[tuple[str, str]], said: Sequence[Sequence[str]], permutations: int, seed: int
) -> float | None:
    """Return how probable so strong a relation with being alike is if the languages change places (QAP)."""
    langs = list(dict.fromkeys(lang for pair in names for lang in pair))
    place = {lang: index for index, lang in enumerate(langs)}
    shared, other = np.full((len(langs), len(langs)), np.nan), np.full((len(langs), len(langs)), np.nan)
    for (a, b), value, (first, second) in zip(names, values, said, strict=True):
        if first and second:
            shared[place[a], place[b]] = shared[place[b], place[a]] = value
            other[place[a], place[b]] = other[place[b], place[a]] = float(first != second)
    kept = complete(np.isnan(shared))
    cut = np.ix_(kept, kept)
    found: float | None = assignment(other[cut], shared[cut], permutations, seed)["p"]
    return found


def neuron_overlap(
    *,
    neurons: Sequence[Path],
    facts: Path,
    languages: Mapping[str, Mapping[str, str]],
    resamples: int,
    permutations: int,
    seed: int,
    pairs_out: Path,
    kin_out: Path,
    out: Path,
) -> None:
    """Write the tables ``neuron_pairs`` (a row a fact and two languages), ``neuron_overlap`` and ``neuron_kin``.

    Args:
        neurons: tables "neurons", one a model.
        facts: the table "facts".
        languages: code -> ``family, script``; an empty one is unknown.
        resamples: of the clusters of facts.
        permutations: of the languages.
        seed: of both.
        pairs_out, kin_out, out: the tables to write.
    """
    about = tables.read(facts)
    clusters = pd.Series(fact_clusters(about), index=about["fact_id"]).groupby(level=0).first()
    objects = about.drop_duplicates("fact_id").set_index("fact_id")["object_id"]
    every: list[pd.DataFrame] = []
    rows: list[dict[str, Any]] = []
    kin: list[dict[str, Any]] = []
    for path in neurons:
        for named, said in checkpoints(tables.read(path)):
            found = list(pairs_of(said, objects))
            rows += [{**named, **row} for pair in found for row in overlaps_of(pair, clusters, resamples, seed)]
            if found:
                whole = pd.concat(found, ignore_index=True)
                kin += [
                    {**named, **row}
                    for row in kin_of(
                        whole, clusters, languages, resamples=resamples, permutations=permutations, seed=seed
                    )
                ]
                step = pd.array([named["step"]] * len(whole), dtype="Int32")
                every.append(whole.assign(run=named["run"], step=step))
    tables.write("neuron_pairs", pd.concat(every, ignore_index=True) if every else [], pairs_out)
    tables.write("neuron_overlap", rows, out)
    tables.write("neuron_kin", kin, kin_out)


def ablations_of(silenced: pd.DataFrame, clusters: pd.Series, resamples: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield what facts lose in one language without neurons of another, by two languages, in either order.

    Args:
        silenced: rows of the table "silenced_facts" of one checkpoint.
        clusters: fact_id -> cluster.
        resamples, seed: of the clusters.

    Yields:
        a row for each of :data:`SILENCED`, and one for what ``own`` loses above each of the others.
    """
    for (cut, here), rows in silenced.groupby(["lang_cut", "lang_asked"], sort=False):
        values = rows[list(SILENCED)].copy()
        for others in ("other", "random"):
            values[f"own - {others}"] = values["own"] - values[others]
        of = clusters.loc[rows["fact_id"]].to_numpy()
        for name in values:
            known = values[name].notna().to_numpy()
            if not known.any():
                continue
            column = values[name].to_numpy()[known]
            size = {"own": "size", "random": "size_random"}.get(str(name))
            yield {
                "lang_cut": cut,
                "lang_asked": here,
                "k": int(rows["k"].iloc[0]),
                "silenced": name,
                "drop": float(column.mean()),
                **interval(column, of[known], resamples, seed, 0 if name in SILENCED else -1),
                "size": None if size is None else float(rows.loc[known, size].mean()),
            }


def ablations(*, silenced_facts: Sequence[Path], facts: Path, resamples: int, seed: int, out: Path) -> None:
    """Write the table ``ablations``.

    Args:
        silenced_facts: tables, one a model.
        facts: the table "facts".
        resamples, seed: of the clusters of facts.
        out: the table to write.
    """
    about = tables.read(facts)
    clusters = pd.Series(fact_clusters(about), index=about["fact_id"]).groupby(level=0).first()
    rows = [
        {**named, **row}
        for path in silenced_facts
        for named, said in checkpoints(tables.read(path))
        for row in ablations_of(said, clusters, resamples, seed)
    ]
    tables.write("ablations", rows, out)
