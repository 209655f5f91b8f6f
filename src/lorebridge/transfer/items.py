"""Which single questions crossed from one language to the other, and how often their facts were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer import credits as credits_
from lorebridge.transfer.clusters import ClusterBootstrap
from lorebridge.transfer.contrasts import by_culture
from lorebridge.transfer.credits import directions

BRIDGE, NO_BRIDGE = "bridge", "no_bridge"
PAPER, RISK = "paper", "risk"
SELECTIONS = (PAPER, RISK)
"""Rules by which items are chosen: appendix C.4 to the letter, and ours (:func:`items`)."""

DIFFERENCE = "transferred - rest of risk set"
BY_LOT = "as many of the risk set by lot"
SWAPPED = "transferred, arms swapped"
WRONG = "transferred, a wrong option as gold"
BEYOND_WRONG = "transferred - a wrong option as gold"
GROUPS = ("transferred", "rest of risk set", "risk set", "all", DIFFERENCE, BY_LOT, SWAPPED, WRONG, BEYOND_WRONG)
"""Groups of items in the order of tables and figures."""


def items(
    *,
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    judgments: Mapping[tuple[str, str], Path],
    exposure: Sequence[Path],
    base: str,
    subset: str,
    rule: str,
    last: int,
    out: Path,
    prefix: str,
) -> dict[str, Any]:
    """Write the table "items", a row a selection, question, direction and seed: whether it crossed.

    A model has a question *right* when the answer wins outright (a tie is not right); else wrong. Two selections, each
    seed by seed:

    :data:`PAPER` is Zhang et al. (ACL 2025), appendix C.4, to the letter (`last`: three). From the base language:
    (1) right in it before continual pretraining, (2) wrong in the other language at each of the last three checkpoints
    without the bridge, (3) right there at each of the last three with the bridge. Into the base language: (1) wrong in
    it before continual pretraining, (2) right in the other language at each of the last three checkpoints without the
    bridge, (3) right in the base language at each of the last three with the bridge. The *risk set* is who meets (1)
    and (2). Into the base language nothing is asked of the model without the bridge there.

    :data:`RISK` counts a question as *answered* that is right at more than half of the last `last` checkpoints, and
    asks the same of both directions: *known in the source* (from the base language: right before; into it: answered in
    the other language by either arm, so that none is favoured), not answered in the target language without the
    bridge, and, into the base language, wrong in it before: what was right there already is kept and did not cross.
    *Transferred*: answered with the bridge.

    Two more columns say what a selection finds by chance. ``swapped``: it would be transferred if the arms changed
    names. ``wrong_as_gold``: the share of the question's wrong options that would be transferred if they were the
    answer, which models that grow alike achieve, and no fact can.

    Known in the source itself depends on how often a fact was read, so transferred items may be compared with the
    rest of the risk set, and with all items only in the knowledge that the selection alone can make a difference.

    How often the fact was there to be read comes in two counts, each in the source and in the target language.
    Occurrences: passages of the corpus judged to state it; missing where the judge cannot tell. Presentations: texts
    stating it that the run with the bridge had consumed by its last step, its base run's reading and the halves of
    pairs included (:mod:`lorebridge.trace.exposure`); missing where the question cannot be looked for.

    Args:
        scores: tables "scores", one a run; arms other than bridge and no_bridge are not used.
        questions: culture (= language learned) -> table "questions".
        judgments: (corpus, culture) -> table "judgments"; the corpus is known by its language.
        exposure: tables "exposure" of the runs with the bridge, one a run.
        base: code of the base language.
        subset: which questions count.
        rule: how options are compared.
        last: number of final checkpoints.
        out: the table "items".
        prefix: what the questions were asked behind.

    Returns:
        notes: size of the risk set and number of transferred items, by language, direction and selection, over all
        seeds.

    Raises:
        InputError: as :func:`lorebridge.transfer.credits.load`, or the exposure of a run is not given.
    """
    read_by = _by_run(exposure)
    loaded = by_culture(
        credits_.load(scores=scores, questions=questions, base=base, subset=subset, rule=rule, last=last, prefix=prefix)
    )
    frames = []
    for culture, by_lang in loaded.items():
        counts = {
            corpus: occurrences(judgments[corpus, culture], by_lang[base].questions) for corpus in (base, culture)
        }
        for direction, target in directions(base, culture).items():
            source = base if target == culture else culture
            for seed in by_lang[target].seeds(BRIDGE, NO_BRIDGE):
                if (culture, seed) not in read_by:
                    raise InputError(
                        "exposure",
                        f"of the run that learned {culture} in the arm {BRIDGE} from the seed {seed} is not given",
                        "Count what it has read, and give that table too.",
                    )
                read = presentations(read_by[culture, seed], by_lang[base].questions)
                right, wrong = (
                    {
                        arm: tuple(of(by_lang[lang])[arm][seed] == 1 for lang in (source, target))
                        for arm in (BRIDGE, NO_BRIDGE)
                    }
                    for of in (lambda credits: credits.arms, lambda credits: credits.others)
                )
                n_wrong = (~np.isnan(by_lang[target].others[BRIDGE][seed][0])).sum(axis=-1)
                for selection in SELECTIONS:
                    how: dict[str, Any] = {"selection": selection, "from_base": source == base, "last": last}
                    chosen = choose(right[BRIDGE], right[NO_BRIDGE], **how)
                    others = choose(wrong[BRIDGE], wrong[NO_BRIDGE], **how)["transferred"].sum(axis=-1)
                    frames.append(
                        pd.DataFrame(
                            {
                                "selection": selection,
                                "lang": culture,
                                "question_id": by_lang[target].questions,
                                "cluster": by_lang[target].clusters,
                                "direction": direction,
                                "seed": seed,
                                **chosen,
                                "swapped": choose(right[NO_BRIDGE], right[BRIDGE], **how)["transferred"],
                                "wrong_as_gold": others / np.maximum(n_wrong, 1),
                                "occurrences_source": counts[source],
                                "occurrences_target": counts[target],
                                "presentations_source": read[source],
                                "presentations_target": read[target],
                            }
                        )
                    )
    table = pd.concat(frames, ignore_index=True).assign(prefix=prefix)
    tables.write("items", table, out)
    cells = (table["lang"] + " " + table["direction"] + ", " + table["selection"]).rename("cell")
    sums = table.groupby(cells, sort=False)[["in_risk_set", "transferred"]].sum()
    return {str(cell): counts for cell, counts in sums.to_dict("index").items()}


def choose(
    bridge: tuple[np.ndarray, np.ndarray],
    no_bridge: tuple[np.ndarray, np.ndarray],
    *,
    selection: str,
    from_base: bool,
    last: int,
) -> dict[str, np.ndarray]:
    """Return which items a selection takes, by the columns of the table "items" (:func:`items`).

    Args:
        bridge: where the model with the bridge is right, in the source and in the target language, shape (steps, ...).
        no_bridge: the same without the bridge.
        selection: one of :data:`SELECTIONS`.
        from_base: whether the source is the base language.
        last: number of final checkpoints.
    """
    share = 1.0 if selection == PAPER else np.nextafter(0.5, 1)

    def answered(right: np.ndarray) -> np.ndarray:
        return right[-last:].mean(axis=0) >= share

    (source_with, target_with), (source_without, target_without) = bridge, no_bridge
    wrong_before = ~target_without[0]
    if from_base:
        known = source_without[0]
        never = ~target_without[-last:].any(axis=0)
        risk = known & (never if selection == PAPER else ~answered(target_without))
    elif selection == PAPER:
        known = answered(source_without)
        risk = known & wrong_before
    else:
        known = answered(source_with) | answered(source_without)
        risk = known & wrong_before & ~answered(target_without)
    return {
        "known": known,
        "answered": answered(target_with),
        "answered_without": answered(target_without),
        "in_risk_set": risk,
        "transferred": risk & answered(target_with),
    }


def _by_run(exposure: Sequence[Path]) -> dict[tuple[str, int], Path]:
    """Return (language learned, seed) -> table "exposure" of the run with the bridge.

    Raises:
        InputError: two tables are of the same run.
    """
    found: dict[tuple[str, int], Path] = {}
    for path in exposure:
        runs = tables.read(path, columns=["learned", "arm", "seed"]).drop_duplicates()
        for learned, seed in runs.loc[runs["arm"] == BRIDGE, ["learned", "seed"]].dropna().itertuples(index=False):
            if (other := found.setdefault((learned, int(seed)), path)) != path:
                raise InputError(path, f"is of the same language, arm and seed as {other}", "Give one of them.")
    return found


def occurrences(judgments: Path, questions: Sequence[str]) -> np.ndarray:
    """Return how many passages were judged to state the fact of each question, shape (n,), float.

    0 where nothing was retrieved; NaN where the judge could not tell for any passage.
    """
    judged = tables.read(judgments, columns=["question_id", "entails"])
    judged["yes"], judged["told"] = judged["entails"] == "yes", judged["entails"] != "indeterminate"
    sums = judged.groupby("question_id")[["yes", "told"]].sum()
    counts = sums["yes"].astype(np.float64).where(sums["told"] > 0)
    asked = pd.Index(questions)
    return np.where(asked.isin(counts.index), counts.reindex(asked).to_numpy(), 0.0)


def presentations(exposure: Path, questions: Sequence[str]) -> dict[str, np.ndarray]:
    """Return language -> texts stating each question's fact that a run had consumed at its last step, shape (n,).

    NaN where the question cannot be looked for in that language.

    Args:
        exposure: table "exposure" of a run of continual pretraining.
        questions: question ids.
    """
    read = tables.read(exposure, columns=["question_id", "step", "stage", "lang", "n_presentations"])
    read = read[read["step"] == read.groupby("stage")["step"].transform("max")]
    sums = read.groupby(["lang", "question_id"])["n_presentations"].sum(min_count=1)
    return {str(lang): sums.xs(lang).reindex(list(questions)).to_numpy(np.float64) for lang in read["lang"].unique()}


def occurrence_means(*, items: Path, resamples: int, seed: int) -> pd.DataFrame:
    """Return the mean occurrences of transferred items beside those of the groups to compare them with.

    The paper compares transferred items with all items (en->xx 9.0 against 4.2, xx->en 4.7 against 2.2); the rest of
    the risk set is the comparison that its own selection does not decide (see :func:`items`). More groups say what
    the paper's comparison finds where there is nothing to find. :data:`BY_LOT`: as many items of each language and
    seed as were transferred, drawn from their risk set by lot, so that frequency has no effect on crossing; if they
    outnumber "all" as the transferred ones do, the selection does it. :data:`SWAPPED`: items that are transferred if
    the arms change names: how many cross by chance. :data:`WRONG`: items whose wrong options are transferred if each is
    taken for the answer, weighed by how many of them are: how many cross as preferences and not as facts.

    Args:
        items: the table "items".
        resamples: bootstrap resamples, and draws by lot.
        seed: of both.

    Returns:
        columns selection, direction, corpus ("source", "target"), group (:data:`GROUPS`), n_items (items over all
        seeds; of :data:`WRONG` the sum of the weights, rounded), indeterminate (left out, because the judge could not
        tell), mean, lo, hi (95 %, clusters of questions resampled with all their seeds, given these seeds; of
        :data:`BY_LOT` the range of 95 % of the draws; NaN where the items are too few), share, share_lo, share_hi (of
        the risk set, whether the judge could tell or not: what crossed, what crosses by chance, and, as
        :data:`BEYOND_WRONG`, what crossed beyond what wrong options do; NaN for other groups).
    """
    table = tables.read(items)
    table["cluster"] = table["lang"] + table["cluster"].astype(str)
    rows = []
    for (selection, direction), chosen in table.groupby(["selection", "direction"], sort=True):
        risk, moved = chosen["in_risk_set"], chosen["transferred"]
        weights = {
            "transferred": moved,
            "rest of risk set": risk & ~moved,
            "risk set": risk,
            "all": pd.Series(True, index=chosen.index),
            SWAPPED: chosen["swapped"],
            WRONG: chosen["wrong_as_gold"],
        }
        bootstrap = ClusterBootstrap(
            chosen["cluster"].to_numpy(), resamples=resamples, seed=seed, stream=str(direction)
        )
        shares = {
            group: chosen_share.to_numpy(dtype=float)
            for group, chosen_share in (
                ("transferred", moved),
                (SWAPPED, chosen["swapped"]),
                (WRONG, chosen["wrong_as_gold"]),
                (BEYOND_WRONG, moved - chosen["wrong_as_gold"]),
            )
        }
        at_risk = risk.to_numpy(dtype=float)
        for corpus in ("source", "target"):
            counts = chosen[f"occurrences_{corpus}"]
            told = counts.notna()
            sizes, means, draws = {}, {}, {}
            for group, weight in weights.items():
                inside = (weight * told).to_numpy(dtype=float)
                values = counts.fillna(0).to_numpy() * inside
                sizes[group] = round(inside.sum()), round(float((weight * ~told).sum()))
                means[group] = values.sum() / inside.sum() if inside.sum() else np.nan
                draws[group] = bootstrap.ratio(values, inside)
            for group, (one, other) in (
                (DIFFERENCE, ("transferred", "rest of risk set")),
                (BEYOND_WRONG, ("transferred", WRONG)),
            ):
                sizes[group] = sizes["risk set" if group == DIFFERENCE else "transferred"]
                means[group], draws[group] = means[one] - means[other], draws[one] - draws[other]
            draws[BY_LOT] = by_lot(chosen, counts, resamples=resamples, seed=seed)
            sizes[BY_LOT], means[BY_LOT] = sizes["transferred"], draws[BY_LOT].mean()
            for group in GROUPS:
                lo, hi = _interval(draws[group])
                share = dict.fromkeys(("share", "share_lo", "share_hi"), np.nan)
                if group in shares and at_risk.any():
                    ends = _interval(bootstrap.ratio(shares[group], at_risk))
                    share = dict(zip(share, (shares[group].sum() / at_risk.sum(), *ends), strict=True))
                rows.append(
                    {
                        "selection": selection,
                        "direction": direction,
                        "corpus": corpus,
                        "group": group,
                        "n_items": sizes[group][0],
                        "indeterminate": sizes[group][1],
                        "mean": means[group],
                        "lo": lo,
                        "hi": hi,
                        **share,
                    }
                )
    return pd.DataFrame(rows)


def by_lot(items: pd.DataFrame, counts: pd.Series, *, resamples: int, seed: int) -> np.ndarray:
    """Return the mean count of as many items as were transferred, drawn by lot from the risk set, shape (resamples,).

    Each language's and seed's number stays; items whose count is missing are in neither.
    """
    told = items[items["in_risk_set"] & counts.notna()]
    rng = np.random.default_rng(seed)
    total, n = np.zeros(resamples), int(told["transferred"].sum())
    for _, of_run in told.groupby(["lang", "seed"], sort=True):
        values, moved = counts[of_run.index].to_numpy(), int(of_run["transferred"].sum())
        drawn = rng.permuted(np.tile(values, (resamples, 1)), axis=1)[:, :moved]
        total += drawn.sum(axis=1)
    return total / n if n else np.full(resamples, np.nan)


def _interval(draws: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile interval of draws, or NaN where one in forty or more has no item to count."""
    drawn = draws[~np.isnan(draws)]
    if len(drawn) <= 0.975 * len(draws):
        return np.nan, np.nan
    lo, hi = np.quantile(drawn, [0.025, 0.975])
    return float(lo), float(hi)
