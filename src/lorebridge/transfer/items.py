"""Which single questions crossed from one language to the other, and how often their facts were read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes.prefixes import BARE
from lorebridge.trace.leaks import leaked
from lorebridge.transfer import credits as credits_
from lorebridge.transfer.clusters import ClusterBootstrap
from lorebridge.transfer.contrasts import by_culture
from lorebridge.transfer.credits import directions
from lorebridge.transfer.regression import exposure_effects as regress

BRIDGE, NO_BRIDGE = "bridge", "no_bridge"
DIFFERENCE = "transferred - rest of risk set"
BY_LOT = "as many of the risk set by lot"
SWAPPED = "transferred, arms swapped"
GROUPS = ("transferred", "rest of risk set", "risk set", "all", DIFFERENCE, BY_LOT, SWAPPED)
"""Groups of items in the order of tables and figures."""


def items(
    *,
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    judgments: Mapping[tuple[str, str], Path],
    exposure: Sequence[Path],
    leaks: Path,
    base: str,
    subset: str,
    rule: str,
    last: int,
    out: Path,
    exposure_effects: Path,
    prefix: str = BARE,
) -> dict[str, Any]:
    """Write the table "items", one row a question, direction and seed: whether it crossed; and "exposure_effects".

    Our reading of Zhang et al. (ACL 2025), appendix C.4, which selects items by what the two models answer at their
    last three checkpoints and by a criterion that the fact is known in the source language. A model *answers* a
    question when it has it right, outright (a tie is not right), at more than half of its last `last` checkpoints.
    Then, seed by seed, an item is

    - *known in the source*: direction en->xx, answered in the base language by the model that both arms start from
      (step 0); direction xx->en, answered in the culture's language, which only continual pretraining teaches, by
      either arm;
    - in the *risk set*: known in the source, and not answered in the target language without the bridge;
    - *transferred*: in the risk set, and answered in the target language with the bridge.

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
        leaks: table "leaks": the regressions are run without leaked questions, too.
        base: code of the base language.
        subset: which questions count.
        rule: how options are compared.
        last: number of final checkpoints.
        out: the table "items".
        exposure_effects: the table "exposure_effects" (:mod:`lorebridge.transfer.regression`).
        prefix: what the questions were asked behind.

    Returns:
        notes: size of the risk set and number of transferred items, by language and direction, over all seeds.

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
                read = presentations(read_by[culture, seed], base, by_lang[base].questions)
                answered = {
                    (lang, arm): (by_lang[lang].arms[arm][seed][-last:] == 1).mean(axis=0) > 0.5
                    for lang in (source, target)
                    for arm in (BRIDGE, NO_BRIDGE)
                }
                if source == base:
                    known = by_lang[base].arms[NO_BRIDGE][seed][0] == 1
                else:
                    known = answered[source, BRIDGE] | answered[source, NO_BRIDGE]
                risk = known & ~answered[target, NO_BRIDGE]
                frames.append(
                    pd.DataFrame(
                        {
                            "lang": culture,
                            "question_id": by_lang[target].questions,
                            "cluster": by_lang[target].clusters,
                            "direction": direction,
                            "seed": seed,
                            "known": known,
                            "answered": answered[target, BRIDGE],
                            "answered_without": answered[target, NO_BRIDGE],
                            "in_risk_set": risk,
                            "transferred": risk & answered[target, BRIDGE],
                            "occurrences_source": counts[source],
                            "occurrences_target": counts[target],
                            "presentations_source": read[source],
                            "presentations_target": read[target],
                        }
                    )
                )
    table = pd.concat(frames, ignore_index=True).assign(prefix=prefix)
    tables.write("items", table, out)
    kept = table[~table["question_id"].isin(leaked(tables.read(leaks)))]
    effects = [regress(table, unleaked=False), regress(kept, unleaked=True)]
    tables.write("exposure_effects", pd.concat(effects, ignore_index=True), exposure_effects)
    cells = (table["lang"] + " " + table["direction"]).rename("cell")
    sums = table.groupby(cells, sort=False)[["in_risk_set", "transferred"]].sum()
    return {str(cell): counts for cell, counts in sums.to_dict("index").items()}


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


def presentations(exposure: Path, base: str, questions: Sequence[str]) -> dict[str, np.ndarray]:
    """Return language -> texts stating each question's fact that a run had consumed at its last step, shape (n,).

    NaN where the question cannot be looked for in that language.

    Args:
        exposure: table "exposure" of a run of continual pretraining.
        base: code of the base language, which the halves "en" of pairs are in.
        questions: question ids.
    """
    read = tables.read(exposure, columns=["question_id", "step", "stage", "stream", "n_presentations"])
    read = read[read["step"] == read.groupby("stage")["step"].transform("max")]
    parts = read["stream"].str.split("-", expand=True).reindex(columns=range(3))
    lang = parts[1].where(parts[2] != "en", base)
    sums = read.groupby([lang.rename("lang"), "question_id"])["n_presentations"].sum(min_count=1)
    return {str(name): sums.xs(name).reindex(list(questions)).to_numpy(np.float64) for name in lang.unique()}


def occurrence_means(*, items: Path, resamples: int, seed: int) -> pd.DataFrame:
    """Return the mean occurrences of transferred items beside those of the groups to compare them with.

    The paper compares transferred items with all items (en->xx 9.0 against 4.2, xx->en 4.7 against 2.2); the rest of
    the risk set is the comparison that its own selection does not decide (see :func:`items`). Two more groups say what
    the paper's comparison finds where there is nothing to find. :data:`BY_LOT`: as many items of each language and
    seed as were transferred, drawn from their risk set by lot, so that frequency has no effect on crossing; if they
    outnumber "all" as the transferred ones do, the selection does it. :data:`SWAPPED`: items that the model without the
    bridge answers and the one with it does not, chosen by the same conditions: how many cross by chance.

    Args:
        items: the table "items".
        resamples: bootstrap resamples, and draws by lot.
        seed: of both.

    Returns:
        columns direction, corpus ("source", "target"), group (:data:`GROUPS`), n_items (items over all seeds),
        indeterminate (left out, because the judge could not tell), mean, lo, hi (95 %, clusters of questions
        resampled with all their seeds, given these seeds; of :data:`BY_LOT` the range of 95 % of the draws; NaN where
        the items are too few).
    """
    table = tables.read(items)
    table["cluster"] = table["lang"] + table["cluster"].astype(str)
    rows = []
    for direction, of_direction in table.groupby("direction", sort=True):
        risk, moved = of_direction["in_risk_set"], of_direction["transferred"]
        members = {
            "transferred": moved,
            "rest of risk set": risk & ~moved,
            "risk set": risk,
            "all": pd.Series(True, index=of_direction.index),
            SWAPPED: of_direction["known"] & ~of_direction["answered"] & of_direction["answered_without"],
        }
        bootstrap = ClusterBootstrap(
            of_direction["cluster"].to_numpy(), resamples=resamples, seed=seed, stream=str(direction)
        )
        for corpus in ("source", "target"):
            counts = of_direction[f"occurrences_{corpus}"]
            sizes, means, draws = {}, {}, {}
            for group, member in members.items():
                inside = member & counts.notna()
                sizes[group] = (int(inside.sum()), int((member & counts.isna()).sum()))
                means[group] = counts[inside].mean()
                draws[group] = bootstrap.ratio(counts.where(inside, 0).to_numpy(), inside.to_numpy(dtype=float))
            sizes[DIFFERENCE] = sizes["risk set"]
            means[DIFFERENCE] = means["transferred"] - means["rest of risk set"]
            draws[DIFFERENCE] = draws["transferred"] - draws["rest of risk set"]
            draws[BY_LOT] = by_lot(of_direction, counts, resamples=resamples, seed=seed)
            sizes[BY_LOT], means[BY_LOT] = sizes["transferred"], draws[BY_LOT].mean()
            for group in GROUPS:
                lo, hi = _interval(draws[group])
                rows.append(
                    {
                        "direction": direction,
                        "corpus": corpus,
                        "group": group,
                        "n_items": sizes[group][0],
                        "indeterminate": sizes[group][1],
                        "mean": means[group],
                        "lo": lo,
                        "hi": hi,
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
