"""How alike a model ranks the candidates of a fact in two languages, rightly or not: RankC, above what is no agreement.

RankC of Qi et al. (EMNLP 2023, section 3) is not 0 of unrelated rankings, but the higher the fewer candidates there are
(.63 of two, .16 of ten): it is told as (RankC - chance) / (1 - chance). Two languages that both rank by how common an
answer is agree, too, and know nothing of the fact: so it stands beside that of a fact and *another* fact of its
relation.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.probes.decisions import rank_consistency, rankc_by_chance
from lorebridge.transfer.clusters import ClusterBootstrap
from lorebridge.transfer.precision import checkpoints

FEWEST = 2
"""Candidates of a fact in both languages from which its ranking says something."""


def consistencies(
    rankings: pd.DataFrame, subjects: pd.DataFrame, resamples: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield RankC of every two languages of one checkpoint, with intervals over subjects.

    Args:
        rankings: rows of the table "fact_rankings" of one checkpoint.
        subjects: ``fact_id, subject_id, object_id`` of every fact, each once.
        resamples: of the subjects.
        seed: of these, and of which other fact each is compared with.
    """
    about = subjects.set_index("fact_id")
    by_lang = {lang: rows.set_index("fact_id") for lang, rows in rankings.groupby("lang", sort=False)}
    for (lang_a, a), (lang_b, b) in itertools.combinations(by_lang.items(), 2):
        both = a.index.intersection(b.index, sort=False)
        frames = [
            _compared(a.loc[facts], b.loc[facts], about.loc[facts, "object_id"].to_numpy(), seed)
            for facts in a.loc[both].groupby("relation", sort=False).indices.values()
            for facts in [both[facts]]
        ]
        found = pd.concat(frames) if frames else pd.DataFrame()
        if found.empty:
            continue
        subject = about.loc[found.index, "subject_id"].to_numpy(str)
        above = ((found["rankc"] - found["chance"]) / (1 - found["chance"])).to_numpy()
        chance = found["chance"].max()
        draws = ClusterBootstrap(subject, resamples=resamples, seed=seed, stream="rankc")
        lo, hi = draws.interval(above, bounds=(-chance / (1 - chance), 1.0))
        row: dict[str, Any] = {
            "lang_a": lang_a,
            "lang_b": lang_b,
            "n_facts": len(found),
            "n_clusters": draws.n_clusters,
            "candidates": float(found["n"].mean()),
            "rankc": float(found["rankc"].mean()),
            "chance": float(found["chance"].mean()),
            "above": float(above.mean()),
            "lo": _end(lo),
            "hi": _end(hi),
        }
        known = found["other"].notna().to_numpy()
        if known.any():
            own = (found["rankc"] - found["other"]).to_numpy()[known]
            draws = ClusterBootstrap(subject[known], resamples=resamples, seed=seed, stream="own")
            lo, hi = draws.interval(own, bounds=(-1.0, 1.0))
            row |= {
                "other_fact": float(found["other"][known].mean()),
                "own": float(own.mean()),
                "own_lo": _end(lo),
                "own_hi": _end(hi),
            }
        yield row


def _end(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _compared(a: pd.DataFrame, b: pd.DataFrame, answers: np.ndarray, seed: int) -> pd.DataFrame:
    """Return ``rankc, chance, other, n`` of the facts of a relation, by fact; those with too few candidates left out.

    ``other`` compares a fact with another of another object that has the same candidates, drawn at random.
    """
    rng = np.random.default_rng(seed)
    sets: dict[tuple[str, ...], list[int]] = {}
    matrices: list[tuple[np.ndarray, np.ndarray]] = []
    for number, (first, second) in enumerate(zip(a["candidates"], b["candidates"], strict=True)):
        places = {name: place for place, name in reversed(list(enumerate(second)))}
        one, other = (np.asarray(side["values"].iloc[number], np.float64) for side in (a, b))
        pairs = {
            name: (place, places[name])
            for place, name in reversed(list(enumerate(first)))
            if name in places and not np.isnan(one[place]) and not np.isnan(other[places[name]])
        }
        names = sorted(pairs)
        matrices.append((one[[pairs[n][0] for n in names]], other[[pairs[n][1] for n in names]]))
        if len(names) >= FEWEST:
            sets.setdefault(tuple(names), []).append(number)
    frames = []
    for candidates, rows in sets.items():
        one, two = (np.stack([matrices[row][side] for row in rows]) for side in (0, 1))
        gold = answers[rows]
        other = np.full(len(rows), np.nan)
        drawn = rng.permutation(len(rows))
        partner = np.empty(len(rows), np.int64)
        partner[drawn] = np.roll(drawn, 1)
        apart = gold[partner] != gold
        if apart.any():
            other[apart] = rank_consistency(one[apart], two[partner[apart]])
        frames.append(
            pd.DataFrame(
                {
                    "rankc": rank_consistency(one, two),
                    "chance": rankc_by_chance(len(candidates)),
                    "other": other,
                    "n": len(candidates),
                },
                index=a.index[rows],
            )
        )
    return pd.concat(frames) if frames else pd.DataFrame(columns=["rankc", "chance", "other", "n"])


def consistency(*, rankings: Sequence[Path], facts: Path, resamples: int, seed: int, out: Path) -> None:
    """Write the table ``rank_consistency``.

    Args:
        rankings: tables "fact_rankings", one a model.
        facts: the table "facts".
        resamples: of the subjects.
        seed: of these.
        out: the table to write.
    """
    about = tables.read(facts, ["fact_id", "subject_id", "object_id"]).drop_duplicates("fact_id")
    rows = [
        {**named, **row}
        for path in rankings
        for named, said in checkpoints(tables.read(path))
        for row in consistencies(said, about, resamples, seed)
    ]
    tables.write("rank_consistency", rows, out)
