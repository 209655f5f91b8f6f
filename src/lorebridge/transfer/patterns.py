"""Whether a fact that a model has right in two languages is independent, shared or transferred.

Figure 1 of Zhao et al. (EACL 2024), for each fact and ordered pair of languages: where the two languages hold the fact
by the same neurons it is *shared* if its own text states it and *transferred* if it does not; where they do not, it is
*independent* if stated, and *unexplained* if not, which the paper does not name. Neurons are the same where they
overlap more than those of other facts of the relation do.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from lorebridge import tables
from lorebridge.trace.origins import stated
from lorebridge.transfer.precision import checkpoints
from lorebridge.transfer.stated import ELSEWHERE, HERE, NOWHERE, PLACES
from lorebridge.unseen import summed_ends

INDEPENDENT, SHARED, TRANSFERRED, UNEXPLAINED = PATTERNS = ("independent", "shared", "transferred", "unexplained")
PAIRED = ["run", "step", "lang_a", "lang_b", "fact_id", "same_fact", "same_relation", "n_others", "p"]
"""Columns of the table "neuron_pairs"."""
PATTERN, TRACED = "pattern", "traced"
"""What the shares are of: the pattern, and where the fact is traced to, which needs no neurons."""
LEVEL = 0.05
"""Of the test that a fact's neurons overlap more than those of other facts of its relation."""


def pattern(alike: bool | None, here: bool | None) -> str | None:
    """Return the pattern of a fact; None where neurons or text do not tell.

    >>> pattern(True, False)
    'transferred'
    """
    if alike is None or here is None:
        return None
    return (SHARED if here else TRANSFERRED) if alike else (INDEPENDENT if here else UNEXPLAINED)


def place(here: bool | None, there: bool | None) -> str | None:
    """Return where a fact is stated, seen from one of two languages; None where one of them cannot tell."""
    if here is None or (not here and there is None):
        return None
    return HERE if here else ELSEWHERE if there else NOWHERE


def patterns_of(
    right: pd.DataFrame,
    about: pd.DataFrame,
    present: Mapping[tuple[str, str], bool],
    planted: Mapping[tuple[str, str], bool],
    pairs: pd.DataFrame,
) -> Iterator[pd.DataFrame]:
    """Yield the facts of every ordered pair of languages that are right in both, of one checkpoint.

    Args:
        right: ``fact_id, lang`` of what is right.
        about: fact_id -> ``relation, object_id``.
        present: (fact, language) -> whether its text holds the fact; without those that cannot be looked for.
        planted: (fact, language) -> whether a planted world states it there; empty for real text.
        pairs: rows of the table "neuron_pairs" of the checkpoint; none where there is no such table.
    """
    columns = {"same_fact": "jaccard", "same_relation": "null"}
    named = pairs.rename(columns=columns)[["lang_a", "lang_b", "fact_id", *columns.values(), "n_others", "p"]]
    overlap = {
        frozenset(langs): rows.drop(columns=["lang_a", "lang_b"])
        for langs, rows in named.groupby(["lang_a", "lang_b"], sort=False)
    }
    nothing = named[:0].drop(columns=["lang_a", "lang_b"])
    known: dict[str, set[str]] = {str(lang): set(rows["fact_id"]) for lang, rows in right.groupby("lang", sort=False)}
    for lang, other in itertools.combinations(known, 2):
        both = sorted(known[lang] & known[other])
        if not both:
            continue
        frame = pd.DataFrame({"fact_id": both, "relation": about.loc[both, "relation"].to_numpy()})
        frame = frame.merge(overlap.get(frozenset((lang, other)), nothing), on="fact_id", how="left")
        # Of few others none can be rare enough.
        telling = 1 + 2 * frame["n_others"].fillna(0).astype(int) >= 1 / LEVEL
        same = [bool(p <= LEVEL) if told else None for p, told in zip(frame["p"], telling, strict=True)]
        for one, two in ((lang, other), (other, lang)):
            here = [present.get((fact, one)) for fact in both]
            told = {
                "traced": [place(a, present.get((fact, two))) for fact, a in zip(both, here, strict=True)],
                "planted": [place(planted.get((fact, one)), planted.get((fact, two))) for fact in both],
                "pattern": [pattern(a, b) for a, b in zip(same, here, strict=True)],
            }
            yield frame.assign(
                lang=one, other=two, **{name: pd.Series(values, dtype=object) for name, values in told.items()}
            )


def shares_of(found: pd.DataFrame, subjects: Mapping[str, str], resamples: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the share of each pattern, and of each place that facts are traced to, of one ordered pair of languages.

    Args:
        found: rows of the table "fact_patterns".
        subjects: fact -> its subject.
        resamples: of the subjects.
        seed: of these.

    Yields:
        ``what, value``; ``n`` of the ``n_of`` facts that can be told; ``share`` with its interval, which goes as far
        as what no subject has shown lets it (:mod:`lorebridge.unseen`); and where the truth says that those ``n`` are
        stated, seen from the language (``planted_here, _elsewhere, _nowhere``).
    """
    for what, values in ((PATTERN, PATTERNS), (TRACED, PLACES)):
        told = found.dropna(subset=[what])
        if told.empty:
            continue
        subject, names = pd.factorize(told["fact_id"].map(subjects))
        counts = np.zeros((len(names), len(values)))
        np.add.at(counts, (subject, told[what].map(values.index).to_numpy()), 1.0)
        drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
        sums = drawn.astype(np.float64) @ counts
        shares = sums / sums.sum(axis=1, keepdims=True)
        of = np.broadcast_to(counts.sum(axis=1, keepdims=True), counts.shape)
        least, most = summed_ends(counts, of, np.eye(len(values)), (0, 1))
        lo, hi = np.quantile(shares, [0.025, 0.975], axis=0)
        lo, hi = np.fmin(lo, least), np.fmax(hi, most)
        sure = len(names) > 1
        for column, value in enumerate(values):
            own = told[told[what] == value]
            places = own["planted"].value_counts()
            planted = found["planted"].notna().any()
            yield {
                "what": what,
                "value": value,
                "n": len(own),
                "n_of": len(told),
                "share": len(own) / len(told),
                "lo": float(lo[column]) if sure else None,
                "hi": float(hi[column]) if sure else None,
                **{f"planted_{name}": int(places.get(name, 0)) if planted else None for name in PLACES},
            }


def fact_patterns(
    *,
    scores: Sequence[Path],
    facts: Path,
    origins: Path,
    unit: str,
    resamples: int,
    seed: int,
    neuron_pairs: Path | None = None,
    heldout: Mapping[str, float] | None = None,
    truth: Path | None = None,
    out: Path,
    shares: Path,
) -> dict[str, int]:
    """Write the tables ``fact_patterns`` and ``pattern_shares``.

    Args:
        scores: tables "fact_scores", one a model.
        facts: the table "facts".
        origins: the table "origins".
        unit: of these, by which a fact is stated in a language: ``tokens`` or ``window``.
        resamples: of the subjects.
        seed: of these.
        neuron_pairs: the table "neuron_pairs"; what needs it is missing of a model or checkpoint that it lacks.
        heldout: language -> the share of its documents that is held out.
        truth: the table "truth" of a planted world; None of real text.
        out: table "fact_patterns", a row a fact and ordered pair of languages in both of which it is right.
        shares: table "pattern_shares".

    Returns:
        Notes for the record: ``rows``, and how many have a ``pattern``.
    """
    table = tables.read(facts, ["fact_id", "lang", "relation", "subject_id", "object_id"])
    about = table.drop_duplicates("fact_id").set_index("fact_id")
    subjects = dict(zip(about.index, about["subject_id"], strict=True))
    traced = tables.read(origins, ["fact_id", "lang", "unit", "present"]).dropna(subset=["present"])
    traced = traced[traced["unit"] == unit]
    present = {(fact, lang): bool(told) for fact, lang, _, told in traced.itertuples(index=False)}
    planted = {}
    if truth is not None:
        said = stated(tables.read(truth, ["question_id", "corpus", "doc_ids"]), heldout or {})
        planted = {(fact, lang): bool(told) for fact, lang, told in said.itertuples(index=False)}
    pairs = dict.fromkeys(PAIRED, ()) if neuron_pairs is None else tables.read(neuron_pairs, PAIRED)
    overlaps = pd.DataFrame(pairs)
    n_rows = n_told = 0
    told_of: list[dict[str, Any]] = []
    with tables.writer("fact_patterns", out) as write:
        for path in scores:
            for named, asked in checkpoints(tables.read(path)):
                right = asked.loc[asked["exact"] > 0.5, ["fact_id", "lang"]]
                step = overlaps["step"].isna() if named["step"] is None else overlaps["step"] == named["step"]
                own = overlaps[(overlaps["run"] == named["run"]) & step]
                for found in patterns_of(right, about, present, planted, own):
                    pair = {"lang": found["lang"].iloc[0], "other": found["other"].iloc[0]}
                    told_of += [{**named, **pair, **row} for row in shares_of(found, subjects, resamples, seed)]
                    n_rows, n_told = n_rows + len(found), n_told + int(found["pattern"].notna().sum())
                    schema = tables.SCHEMAS["fact_patterns"]
                    write(pa.Table.from_pandas(found.assign(**named)[schema.names], schema, preserve_index=False))
    tables.write("pattern_shares", told_of, shares)
    return {"rows": n_rows, "pattern": n_told}
