"""Do the intervals cover, do the tests hold their level? Simulated studies whose truth is known.

    python benchmarks/calibration.py [--studies 60] [--seed 0] [--scenario NAME ...] [--keep FOLDER [--minutes 9]]

A study has the paper's four languages with as many questions as were released, in clusters of one to four that share
how hard they are and how much the bridge does for them; answers are mostly kept from one checkpoint to the next; some
are ties. What is measured is what the workflow calls: ``lorebridge.transfer.contrasts.form``, ``gap_table``,
``asymmetry_table``, ``occurrence_means``, ``effects`` of the item model, ``verdict_table``, ``ClusterBootstrap``,
``effect`` of one script and ``hint_effects``.

The peer in each table is what one would do otherwise: an interval and a test over questions alone, or appendix C.4 as
it stands. Intervals are to cover 93 to 97 %, and tests of what is true to reject 3.5 to 6.5 %. Each rate has its
Monte-Carlo error, and a word beside it where that does not explain its being outside.

With `--keep` single studies are kept in FOLDER, and another call goes on where the last one stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from tqdm import tqdm

from lorebridge import tables
from lorebridge.corpora.openqa import known_languages
from lorebridge.probes.prefixes import BARE
from lorebridge.probes.wording import SOURCE
from lorebridge.transfer.alarms import RINGS, Alarm, unrelated
from lorebridge.transfer.asymmetry import DIFFERENCE, DIRECTIONS, INTERACTION, asymmetry_table
from lorebridge.transfer.cells import PAIRS, SOURCE_RIGHT, STAR, cells_of, crossed, predictors
from lorebridge.transfer.clusters import ClusterBootstrap
from lorebridge.transfer.contrasts import ALL, AT_RISK, Contrast, form
from lorebridge.transfer.credits import LAST, Credits, directions
from lorebridge.transfer.gaps import gap_table
from lorebridge.transfer.hints import hint_effects
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY, Sample, few_clusters, holm, infer
from lorebridge.transfer.item_model import CROSSED, ECHO, SLOPE, Answers, effects
from lorebridge.transfer.items import BY_LOT, RISK, occurrence_means
from lorebridge.transfer.items import DIFFERENCE as DIFFERENCE_OF_MEANS
from lorebridge.transfer.judged import NO_HINT
from lorebridge.transfer.methods import GEE, LOGIT, MOST, ROWS
from lorebridge.transfer.power import ALIKE, APART, detectable_effect, detectable_with_seeds, power_with_seeds
from lorebridge.transfer.script_models import fitted
from lorebridge.transfer.scripts import Term, detectable_effect_of_script, effect, pair_sd, term, values_of
from lorebridge.transfer.verdicts import ABOVE, BELOW, EQUIVALENT, verdict_table

QUESTIONS = {"ko": 593, "zh": 327, "bo": 268, "mn": 265}  # of the released sets' subset "clean", about
RESOURCE = {"ko": "high", "zh": "high", "bo": "low", "mn": "low"}
# Gaps in en->xx and xx->en: the directions differ, alike at both levels, and so do languages within a level.
NO_INTERACTION = {"ko": (0.04, 0.09), "zh": (0.08, 0.11), "bo": (0.02, 0.06), "mn": (0.0, 0.04)}
NO_EFFECT = dict.fromkeys(QUESTIONS, (0.0, 0.0))
SEED_SDS = (0.0, 0.02, 0.04, 0.08)
STEPS = [0, 10, 20, 30]
OPTIONS = 4
BEFORE = 0.45  # mean share of right answers before continual pretraining
EASE = 0.42  # mean probability of a right answer without the bridge
KEPT = 0.8  # probability that an answer is the same at the next checkpoint
TIED = 0.05  # share of credits that are ties between the gold and one other option
ARMS = ("bridge", "no_bridge")
CONTRAST = "bridge - no_bridge"
RESAMPLES = 399

Study = list[dict[str, Any]]
"""What one simulated study of a line of a table found: rows, each of rates, of means, and of what they are of."""


@dataclasses.dataclass(frozen=True)
class Design:
    """What a simulated study is made of.

    Attributes:
        gaps: language -> true gap in en->xx and xx->en, before ties.
        seed_sd: standard deviation of a direction's gap between seeds.
        seeds: number of seeds.
        spread: standard deviation of the bridge's effect between clusters; 0 makes the arms exchangeable.
        questions: language -> number of questions.
    """

    gaps: Mapping[str, tuple[float, float]]
    seed_sd: float
    seeds: int = 2
    spread: float = 0.1
    questions: Mapping[str, int] = dataclasses.field(default_factory=lambda: QUESTIONS)


def answers(rng: np.random.Generator, before: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """Return the share of each option, the answer first, at all steps, shape (steps, n, options).

    Args:
        rng: draws.
        before: whether the model is right at step 0, shape (n,).
        chances: of being right after that; who is wrong takes any wrong option.
    """
    n = len(chances)

    def drawn() -> np.ndarray:
        return np.where(rng.random(n) < chances, 0, rng.integers(1, OPTIONS, n))

    chosen = [np.where(before, 0, rng.integers(1, OPTIONS, n)), drawn()]
    for _ in STEPS[2:]:
        chosen.append(np.where(rng.random(n) < KEPT, chosen[-1], drawn()))
    shares = np.eye(OPTIONS)[np.array(chosen)]
    tied = rng.random(shares.shape[:2]) < TIED
    tied[0] = False
    shares[tied] = (np.eye(OPTIONS)[0] + np.eye(OPTIONS)[rng.integers(1, OPTIONS, int(tied.sum()))]) / 2
    return shares


def simulated(design: Design, rng: np.random.Generator) -> tuple[dict[str, dict[str, Credits]], dict]:
    """Return culture -> language -> credits, and (culture, direction) -> mean seed effect on the gap."""
    cultures: dict[str, dict[str, Credits]] = {}
    of_seeds = {}
    for culture, n in design.questions.items():
        clusters = np.repeat(np.arange(n), rng.choice([1, 2, 3, 4], size=n, p=[0.8, 0.12, 0.05, 0.03]))[:n]
        cultures[culture] = {}
        for (direction, lang), gap in zip(directions("en", culture).items(), design.gaps[culture], strict=True):
            ease = rng.uniform(EASE - 0.12, EASE + 0.12, n)[clusters] + rng.normal(0, 0.03, n)
            effect = gap + design.spread * rng.normal(size=n)[clusters]
            before = rng.uniform(BEFORE - 0.2, BEFORE + 0.2, n)
            shifts = design.seed_sd * rng.normal(size=design.seeds)
            of_seeds[culture, direction] = shifts.mean()
            arms: dict[str, dict[int, np.ndarray]] = {arm: {} for arm in ARMS}
            for seed, shift in enumerate(shifts):
                step0 = rng.random(n) < before
                for arm, chances in (("bridge", ease + effect + shift / 2), ("no_bridge", ease - shift / 2)):
                    arms[arm][seed] = answers(rng, step0, chances)
            names = [f"{culture}-{i:04d}" for i in range(n)]
            gold, others = (
                {arm: {seed: shares[..., part] for seed, shares in by_seed.items()} for arm, by_seed in arms.items()}
                for part in (0, slice(1, None))
            )
            cultures[culture][lang] = Credits(culture, lang, names, clusters, STEPS, gold, others)
    return cultures, of_seeds


def truth(gaps: tuple[float, float], direction: str, scale: str, shifts: Mapping[str, float] | None = None) -> float:
    """Return what a gap is after ties, on a scale, given the mean effects of the seeds on both directions.

    Wrong options lose what the answer gains, whatever the source knows: what gold less distractors counts a second
    time, a ninth of (1 - k) / k of it.
    """
    shift = dict.fromkeys(DIRECTIONS, 0.0) if shifts is None else shifts
    gap = dict(zip(DIRECTIONS, gaps, strict=True))
    found = (1 - TIED) * (gap[direction] + shift[direction])
    if scale == ALL:
        return found
    at_risk = found / (1 - (1 - TIED) * (EASE - shift[direction] / 2) - TIED / 2)
    if scale == AT_RISK:
        return at_risk
    # Known in the source: into the language that is learned, before; else by either arm at the end, of the other gap.
    known = BEFORE if direction == "en->xx" else (1 - TIED) * (EASE + gap["en->xx"] / 2) + TIED / 2
    return at_risk * (1 + (1 - known) / known / (OPTIONS - 1) ** 2)


def calibrated(design: Design, number: int, seed: int) -> Study:
    """Return one row a scale and kind of interval: coverage, bias and rejections."""
    rows: Study = []
    rng = np.random.default_rng([seed, number, int(1000 * design.seed_sd), design.seeds])
    cultures, of_seeds = simulated(design, rng)
    formed = [c for c in form(cultures, base="en", contrasts=[ARMS], last=3) if c.known is not None]
    gaps = gap_table(formed, unleaked=False, resamples=RESAMPLES, seed=number)
    gaps = gaps[(gaps["step"] == LAST) & (gaps["seed"] == "all")]
    levels = asymmetry_table(formed, RESOURCE, unleaked=False, resamples=RESAMPLES, seed=number)
    for (scale, interval), cells in gaps.groupby(["scale", "interval"]):
        # Given these seeds, the truth is what these very models would show on all questions.
        given = interval == QUESTIONS_ONLY
        true = {
            (lang, direction): truth(
                design.gaps[lang], direction, scale, {way: of_seeds[lang, way] for way in DIRECTIONS} if given else None
            )
            for lang in design.gaps
            for direction in DIRECTIONS
        }
        at = levels[(levels["scale"] == scale) & (levels["interval"] == interval)]
        means = at[at["direction"].isin(DIRECTIONS)]
        of_means = [
            np.mean([true[lang, way] for lang in langs])
            for langs, way in zip(means["langs"], means["direction"], strict=True)
        ]
        interaction = at[at["direction"] == DIFFERENCE].set_index("group").loc[INTERACTION]
        between = sum(
            (1 if RESOURCE[lang] == "low" else -1) * (true[lang, "xx->en"] - true[lang, "en->xx"]) / 2
            for lang in design.gaps
        )
        own = np.array([true[place] for place in zip(cells["lang"], cells["direction"], strict=True)])
        rows.append(
            {
                "scale": scale,
                "interval": interval,
                "covered": ((cells["lo"] <= own) & (own <= cells["hi"])).mean(),
                "bias": (cells["gap"] - own).mean(),
                "rejected": (cells["p"] <= 0.05).mean(),
                "any_by_holm": (cells["p_holm"] <= 0.05).any(),
                "means_covered": ((means["lo"] <= of_means) & (of_means <= means["hi"])).mean(),
                "interaction": interaction["estimate"] - between,
                "interaction_covered": interaction["lo"] <= between <= interaction["hi"],
                "interaction_rejected": interaction["p"] <= 0.05,
            }
        )
    return rows


COVERS, REJECTS, NO_MORE = (93.0, 97.0), (3.5, 6.5), (0.0, 6.5)
"""Limits in percent: of intervals, of tests of what is true, and of Holm's family, which may reject less."""


def percent(found: pd.Series, limits: tuple[float, float] | None = None) -> str:
    """Return a share in percent with its Monte-Carlo error, and a word where that does not explain its being outside.

    Args:
        found: a share in 0..1 for each study, or whether.
        limits: what the share should be between; None where it should be nothing in particular.

    >>> percent(pd.Series([True, False]))
    '50.0 ± 35.4'
    >>> percent(pd.Series([True, False] * 50), REJECTS)
    '50.0 ± 5.0, high'
    """
    share, n = float(found.mean()), len(found)
    # Of a share of 0 or 1 as if one more study of the other kind had been seen.
    seen = (found.sum() + 1) / (n + 2) if share in (0, 1) else share
    error = 100 * np.sqrt((seen * (1 - seen) if found.dtype == bool or share in (0, 1) else found.var(ddof=0)) / n)
    word = ""
    if limits is not None and 100 * share + 1.96 * error < limits[0]:
        word = ", low"
    if limits is not None and 100 * share - 1.96 * error > limits[1]:
        word = ", high"
    return f"{100 * share:.1f} ± {error:.1f}{word}"


def by_spread(
    found: pd.DataFrame, kind: str, columns: Mapping[str, tuple[str, tuple[float, float] | None]]
) -> pd.DataFrame:
    """Return means of what :func:`calibrated` finds by how much seeds differ, in percent with Monte-Carlo errors.

    Args:
        found: its rows, with ``line``, the standard deviation of seeds.
        kind: how the column is called that names the interval or test.
        columns: column of the table -> column of what is found, and its limits; what has none is a mean in points.
    """
    rows = []
    for (sd, scale, interval), part in found.groupby(["line", "scale", "interval"], sort=False):
        means = {
            title: points(part[of]) if limits is None else percent(part[of], limits)
            for title, (of, limits) in columns.items()
        }
        rows.append({"seed sd": sd, "scale": scale, kind: interval.split(",")[0], **means})
    return pd.DataFrame(rows)


def points(found: pd.Series) -> str:
    """Return a mean in points with its Monte-Carlo error."""
    return f"{100 * found.mean():.1f} ± {100 * found.sem():.1f}"


def coverage_table(found: pd.DataFrame) -> pd.DataFrame:
    """Return coverage, bias and the interaction's rejections in studies with gaps but no interaction."""
    columns = {
        "gap: coverage %": ("covered", COVERS),
        "bias, points": ("bias", None),
        "mean of a level: coverage %": ("means_covered", COVERS),
        "interaction: coverage %": ("interaction_covered", COVERS),
        "bias, points ": ("interaction", None),
    }
    return by_spread(found, "interval", columns)


def level_table(found: pd.DataFrame) -> pd.DataFrame:
    """Return how often tests reject where the arms are the same arm run twice (A/A)."""
    columns = {
        "gap: rejected %": ("rejected", REJECTS),
        "any of eight by Holm %": ("any_by_holm", NO_MORE),
        "interaction: rejected %": ("interaction_rejected", REJECTS),
    }
    return by_spread(found, "test", columns)


def items_without_an_effect(rng: np.random.Generator) -> pd.DataFrame:
    """Return a table "items" in which frequency decides what is known in the source and not what crosses."""
    frames = []
    for lang, n in QUESTIONS.items():
        clusters = np.repeat(np.arange(n), rng.choice([1, 2, 3, 4], size=n, p=[0.8, 0.12, 0.05, 0.03]))[:n]
        counts = rng.poisson(rng.lognormal(0.5, 1.2, n)).astype(float)
        chance_known = 0.25 + 0.75 * (1 - np.exp(-counts / 6))
        crossing = rng.beta(2, 6, n)[clusters]  # questions of a cluster cross alike
        for seed in (0, 1):
            known = rng.random(n) < chance_known
            without = rng.random(n) < 0.3
            with_bridge = rng.random(n) < crossing
            risk = known & ~without
            frames.append(
                pd.DataFrame(
                    {
                        "selection": RISK,
                        "prefix": BARE,
                        "lang": lang,
                        "question_id": [f"{lang}-{i:04d}" for i in range(n)],
                        "cluster": clusters,
                        "direction": "en->xx",
                        "seed": seed,
                        "known": known,
                        "answered": with_bridge,
                        "answered_without": without,
                        "in_risk_set": risk,
                        "transferred": risk & with_bridge,
                        "swapped": known & without & ~with_bridge,
                        "wrong_as_gold": 0.0,
                        "occurrences_source": counts,
                        "occurrences_target": rng.poisson(2.0, n).astype(float),
                        "presentations_source": np.nan,
                        "presentations_target": np.nan,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def selected(_: None, number: int, seed: int) -> Study:
    """Return what is reported of one study."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "items.parquet"
        tables.write("items", items_without_an_effect(np.random.default_rng([seed, number])), path)
        means = occurrence_means(items=path, resamples=RESAMPLES, seed=number)
    means = means[means["corpus"] == "source"].set_index("group")
    average, moved = means.loc["all", "mean"], means.loc["transferred"]
    difference = means.loc[DIFFERENCE_OF_MEANS]
    return [
        {
            "transferred / all": moved["mean"] / average,
            "transferred / rest of risk set": moved["mean"] / means.loc["rest of risk set", "mean"],
            "by lot / all": means.loc[BY_LOT, "mean"] / average,
            "interval of transferred above all": bool(moved["lo"] > average),
            "transferred - rest of risk set not 0": not difference["lo"] <= 0 <= difference["hi"],
        }
    ]


def selection_table(found: pd.DataFrame) -> pd.DataFrame:
    """Return what appendix C.4 reports of studies in which frequency has no effect on crossing."""
    rates = {name: found[name].dtype == bool for name in found.columns.drop(["line", "number"])}
    return pd.DataFrame(
        {
            "reported": name,
            "mean ratio": "" if rate else f"{found[name].mean():.2f} ± {found[name].sem():.2f}",
            "finds an effect %": percent(found[name], REJECTS) if rate else "",
        }
        for name, rate in rates.items()
    )


@dataclasses.dataclass(frozen=True)
class Crossing:
    """A world in which some of what is known crosses, and what is not known is guessed.

    Attributes:
        crossing: mean share of known facts, not answered without the bridge, that cross.
        slope: what a doubling of 1 + count in the source adds to it.
        echo: share of guesses in the source that the model with the bridge repeats in the target.
        proficiency: share of all questions, known or not, that the bridge alone makes it answer.
        slip: share of wrong answers where the fact is known.
        favoured: how much likelier than any wrong option the gold is where nothing is known; 1 is a fair guess.
        seed_sd: standard deviation of the crossing between seeds.
        kept: into the base language: the shares of what the base model knew or guessed there that the arms with the
            bridge and without it keep; None from the base language, where it knew nothing.
        questions: language -> number of questions.
    """

    crossing: float
    slope: float = 0.0
    echo: float = 0.0
    proficiency: float = 0.0
    slip: float = 0.05
    favoured: float = 1.0
    seed_sd: float = 0.0
    kept: tuple[float, float] | None = None
    questions: Mapping[str, int] = dataclasses.field(default_factory=lambda: QUESTIONS)


WORLDS = {
    "nothing crosses": Crossing(0.0),
    ".15 of the known": Crossing(0.15),
    ".30 of the known": Crossing(0.30),
    "nothing, 20 % of guesses repeated": Crossing(0.0, echo=0.2),
    ".15, 20 % of guesses repeated": Crossing(0.15, echo=0.2),
    "nothing, the bridge alone answers .10": Crossing(0.0, proficiency=0.1),
    ".15, seed sd .04": Crossing(0.15, seed_sd=0.04),
    ".15, gold 1.5 times as likely a guess": Crossing(0.15, favoured=1.5),
    "into the base language, nothing, the bridge keeps more": Crossing(0.0, kept=(0.7, 0.3)),
    "into the base language, .15, the bridge keeps more": Crossing(0.15, kept=(0.7, 0.3)),
    ".15 and .05 more a doubling": Crossing(0.15, slope=0.05),
    ".15 and .10 more a doubling": Crossing(0.15, slope=0.10),
}


def answered(world: Crossing, rng: np.random.Generator, seeds: int = 2, checkpoints: int = 3) -> list[Answers]:
    """Return the answers of a study in which frequency decides what is known; the counts are its own.

    Into the base language they are of what is new. Guesses go by how attractive each option is, alike in all languages
    and arms, and are mostly kept from one checkpoint to the next; questions of a cluster cross alike.
    """
    found = []
    for lang, n in world.questions.items():
        clusters = np.repeat(np.arange(n), rng.choice([1, 2, 3, 4], size=n, p=[0.8, 0.12, 0.05, 0.03]))[:n]
        source = rng.poisson(rng.lognormal(0.5, 1.2, n)).astype(float)
        target = rng.poisson(rng.lognormal(0.3, 1.0, n) * (1 + source) ** 0.3).astype(float)
        doublings = np.log2(1 + source)
        attraction = rng.dirichlet(np.full(OPTIONS, 8.0), n)
        attraction[:, 0] *= world.favoured
        steps = (attraction / attraction.sum(axis=1, keepdims=True)).cumsum(axis=1)
        crosses = world.crossing * 4 * rng.beta(2, 6, n)[clusters] + world.slope * (doublings - doublings.mean())
        readily = rng.random(n)

        def guess(steps: np.ndarray = steps, n: int = n) -> np.ndarray:
            return np.minimum((steps < rng.random((n, 1))).sum(axis=1), OPTIONS - 1)

        answers, before = np.zeros((3, seeds, n, OPTIONS)), np.zeros((seeds, n, OPTIONS))
        for seed in range(seeds):
            luck = np.where(rng.random(n) < 0.7, readily, rng.random(n))  # what one seed knows others mostly know
            known = luck < 1 - np.exp(-source / 6)
            guessed = guess()
            chosen = np.where(known & (rng.random(n) >= world.slip), 0, guessed)
            answers[0, seed, np.arange(n), chosen] = 1
            without = rng.random(n) < 0.05 + 0.04 * np.minimum(np.log2(1 + target), 3)
            moved = known & (rng.random(n) < np.clip(crosses + world.seed_sd * rng.normal(), 0, 1))
            with_bridge = without | moved | (rng.random(n) < world.proficiency)
            repeats = ~known & (rng.random(n) < world.echo)
            firsts = [np.where(repeats, guessed, guess()), guess()]
            rights = [with_bridge, without]
            if world.kept is not None:
                knew, lasts = rng.random(n) < 1 - np.exp(-target / 3), rng.random(n)
                guessed_before = np.where(knew & (rng.random(n) >= world.slip), 0, guess())
                before[seed, np.arange(n), guessed_before] = 1
                for arm, share in enumerate(world.kept):
                    rights[arm] = rights[arm] | (knew & (lasts < share))
                    firsts[arm] = np.where(~knew & (lasts < share), guessed_before, firsts[arm])
            for arm, (right, first) in enumerate(zip(rights, firsts, strict=True), 1):
                for _ in range(checkpoints):
                    kept = np.where(rng.random(n) < KEPT, first, guess())
                    answers[arm, seed, np.arange(n), np.where(right, 0, kept)] += 1 / checkpoints
        counts = {"source": np.tile(source, (seeds, 1)), "target": np.tile(target, (seeds, 1))}
        one = Answers(
            lang=lang,
            seeds=range(seeds),
            questions=[f"{lang}-{i:04d}" for i in range(n)],
            clusters=clusters,
            gold=np.tile(np.arange(OPTIONS) == 0, (n, 1)),
            n_options=np.full(n, OPTIONS),
            source=answers[0],
            bridge=answers[1],
            no_bridge=answers[2],
            counts={
                f"{count}_{side}": value if count == "occurrences" else np.full_like(value, np.nan)
                for count in ("occurrences", "presentations")
                for side, value in counts.items()
            },
        )
        found.append(one if world.kept is None else one.since(before))
    return found


def naive_slope(answers: list[Answers]) -> float:
    """Return the p-value of the peer: logistic regression inside a risk set that takes luck for knowledge."""
    rows = []
    for one in answers:
        right = one.source[..., 0] == 1
        risk = right & (one.no_bridge[..., 0] <= 0.5)
        exposure = np.log2(1 + one.counts["occurrences_source"])
        seeds, places = np.nonzero(risk)
        rows.append(
            pd.DataFrame(
                {
                    "group": one.lang + pd.Series(one.clusters[places]).astype(str),
                    "lang": one.lang,
                    "doublings": exposure[seeds, places],
                    "transferred": (one.bridge[seeds, places, 0] > 0.5).astype(float),
                }
            )
        )
    table = pd.concat(rows, ignore_index=True)
    design = pd.get_dummies(table["lang"], dtype=float).assign(doublings=table["doublings"])
    fit = sm.GLM(table["transferred"], design, family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": table["group"].factorize()[0]}
    )
    return float(fit.pvalues["doublings"])


def slopes(world: Crossing, number: int, seed: int) -> Study:
    """Return what the item model and the peer find in one study."""
    answers = answered(world, np.random.default_rng([seed, number, *json.dumps(dataclasses.asdict(world)).encode()]))
    table = effects(answers)
    table = table[(table["count"] == "occurrences")].set_index(["interval", "quantity"])
    only, seeds = table.loc[QUESTIONS_ONLY], table.loc[QUESTIONS_AND_SEEDS]
    slope = only.loc[SLOPE]
    return [
        {
            "no slope": not world.slope,
            "slope": slope["estimate"],
            "rejected": bool(slope["p"] <= 0.05),
            "with seeds": bool(seeds.loc[SLOPE, "p"] <= 0.05),
            "covered": bool(slope["lo"] <= world.slope <= slope["hi"]),
            "crossed": only.loc[CROSSED, "estimate"],
            "echoed": only.loc[ECHO, "estimate"],
            "rings": any(alarm.verdict == RINGS for alarm in _unrelated(table.reset_index())),
            "in doubt": bool(slope["note"]),
            "by the peer": bool(naive_slope(answers) <= 0.05),
        }
    ]


def frequency_table(found: pd.DataFrame) -> pd.DataFrame:
    """Return how often a slope of crossing on frequency is found, by the item model and by the peer.

    Frequency decides what is known in all these worlds, and what crosses only in the last two.
    """
    return pd.DataFrame(
        {
            "world": world,
            "slope, points": points(part["slope"]),
            "slope: rejected %": percent(part["rejected"], REJECTS if part["no slope"].all() else None),
            "with seeds %": percent(part["with seeds"], REJECTS if part["no slope"].all() else None),
            "true slope covered %": percent(part["covered"], COVERS),
            "crossed %": f"{100 * part['crossed'].mean():.1f}",
            "guesses repeated %": f"{100 * part['echoed'].mean():.1f}",
            "alarm rings %": percent(part["rings"]),
            "row in doubt %": percent(part["in doubt"]),
            "logit in the risk set: rejected %": percent(part["by the peer"]),
        }
        for world, part in found.groupby("line", sort=False)
    )


def _unrelated(rows: pd.DataFrame) -> Iterator[Alarm]:
    """Yield the alarm on rows as it reads them: of presentations, leaked questions kept."""
    table = rows.assign(direction="en->xx", unleaked=False, count="presentations")
    return unrelated(table, langs=sorted(set().union(*table["langs"])))


DISCORDANCE = 0.2
POWERS = {
    f"{seeds} seeds, sd {sd:.2f}, {name}": (seeds, sd, alike)
    for seeds in (2, 3, 5)
    for sd in SEED_SDS[:3]
    for name, alike in (("the same", ALIKE), ("others", APART))
}
"""Seeds, their standard deviation, and whether the arms differ on the same questions from each."""


@functools.cache
def detectable(seeds: int, sd: float) -> tuple[float, float]:
    """Return the gap that is found with 80 % power over questions alone, and with seeds."""
    n = QUESTIONS["ko"]
    with_seeds = detectable_with_seeds(n, discordance=DISCORDANCE, seeds=seeds, seed_sd=sd)
    return detectable_effect(n, discordance=DISCORDANCE), with_seeds


def powered(line: tuple[int, float, float], number: int, seed: int) -> Study:
    """Return whether each of the two gaps is found in one study."""
    (n_seeds, sd, alike), n = line, QUESTIONS["ko"]
    found: dict[str, bool | None] = {}
    for name, gap in zip(("only", "with seeds"), detectable(n_seeds, sd), strict=True):
        if np.isnan(gap):
            found[name] = None
            continue
        rng = np.random.default_rng([seed, number, int(1000 * sd), int(alike), n_seeds])
        chances = [(DISCORDANCE + gap) / 2, 1 - DISCORDANCE, (DISCORDANCE - gap) / 2]
        signs = rng.choice([1.0, 0.0, -1.0], p=chances, size=(1 if alike else n_seeds, n))
        sample = Sample(signs + sd * rng.normal(size=(n_seeds, 1)), np.arange(n), range(n_seeds))
        found[name] = bool(infer([sample], [1.0], over_seeds=True, level=None).p <= 0.05)
    return [found]


def power_table(found: pd.DataFrame) -> pd.DataFrame:
    """Return how often the gap that `lorebridge power` prints for 80 % is found, by the test of the table "gaps".

    Two arms with the questions of Korean, that differ on a fifth of them, on the same ones from each seed or on others;
    power is printed for the extreme that needs the larger gap. None is printed that is larger than that fifth.
    """
    rows = []
    for line, part in found.groupby("line", sort=False):
        seeds, sd, alike = POWERS[str(line)]
        only, with_seeds = detectable(seeds, sd)
        shared = {"discordance": DISCORDANCE, "seeds": seeds, "seed_sd": sd, "alike": alike}
        none = np.isnan(with_seeds)
        calculated = np.nan if none else power_with_seeds(with_seeds, QUESTIONS["ko"], **shared)
        rows.append(
            {
                "seeds": seeds,
                "seed sd": f"{sd:.2f}",
                "seeds differ on": str(line).rpartition(", ")[2],
                "questions only, points": f"{100 * only:.1f}",
                "found %": percent(part["only"].astype(bool)),
                "with seeds, points": "none" if none else f"{100 * with_seeds:.1f}",
                "calculated %": "none" if none else f"{100 * calculated:.1f}",
                "found with seeds %": "" if none else percent(part["with seeds"].astype(bool)),
            }
        )
    return pd.DataFrame(rows)


KNOWN = 0.2  # share of questions known in the source, where guesses are echoed


def preferences(rng: np.random.Generator, echo: float, crossing: float) -> dict[str, dict[str, Credits]]:
    """Return culture -> language -> credits of models of one seed that choose among four options, the first the answer.

    A question is known in the source with probability .2, and in the target with .1; who does not know guesses. With
    the bridge, what the target does not know is answered by: the answer, with probability `crossing`, where the source
    knows it; the source's own guess, with probability `echo`, where it guesses; else a new guess, or the same again.
    """
    cultures: dict[str, dict[str, Credits]] = {}
    for culture, n in QUESTIONS.items():
        clusters = np.repeat(np.arange(n), rng.choice([1, 2, 3, 4], size=n, p=[0.8, 0.12, 0.05, 0.03]))[:n]
        source, target = (rng.random(n)[clusters] < share for share in (KNOWN, 0.1))
        in_source, without, anew = (
            np.where(known, 0, rng.integers(0, OPTIONS, n)) for known in (source, target, target)
        )
        with_bridge = np.where(rng.random(n) < 0.5, without, anew)
        with_bridge = np.where(~target & ~source & (rng.random(n) < echo), in_source, with_bridge)
        with_bridge = np.where(~target & source & (rng.random(n) < crossing), 0, with_bridge)
        chosen = {
            "en": {arm: np.stack([in_source, in_source]) for arm in ARMS},
            culture: {"bridge": np.stack([without, with_bridge]), "no_bridge": np.stack([without, without])},
        }
        names = [f"{culture}-{i:04d}" for i in range(n)]
        cultures[culture] = {
            lang: Credits(
                culture,
                lang,
                names,
                clusters,
                STEPS[:2],
                {arm: {0: (answers == 0).astype(float)} for arm, answers in by_arm.items()},
                {
                    arm: {0: (answers[..., None] == np.arange(1, OPTIONS)).astype(float)}
                    for arm, answers in by_arm.items()
                },
            )
            for lang, by_arm in chosen.items()
        }
    return cultures


PREFERENCES = {
    f"{echo}, {crossing}": (echo, crossing)
    for echo, crossing in ((0.0, 0.0), (0.2, 0.0), (0.5, 0.0), (0.0, 0.3), (0.2, 0.3))
}
"""Shares of guesses that are echoed, and of known facts that cross."""


def preferred(line: tuple[float, float], number: int, seed: int) -> Study:
    """Return the gap en->xx of one language on each scale of the risk set, and what is true."""
    echo, crossing = line
    rng = np.random.default_rng([seed, number, int(100 * echo), int(100 * crossing)])
    formed = form(preferences(rng, echo, crossing), base="en", contrasts=[ARMS], last=1)
    formed = [c for c in formed if c.known is not None and c.direction == "en->xx" and c.culture == "bo"]
    gaps = gap_table(formed, unleaked=False, resamples=RESAMPLES, seed=number)
    gaps = gaps[(gaps["step"] == LAST) & (gaps["seed"] == "all") & (gaps["scale"] != ALL)]
    # Of what is at risk, the share that is known and not guessed rightly, times what crosses of it.
    true = crossing * KNOWN / (KNOWN + (1 - KNOWN) / OPTIONS)
    return [
        {
            "scale": gap["scale"],
            "true": true,
            "gap": gap["gap"],
            "covered": bool(gap["lo"] <= true <= gap["hi"]),
            "rejected": bool(gap["p"] <= 0.05),
        }
        for gap in gaps.to_dict("records")
    ]


def preferences_table(found: pd.DataFrame) -> pd.DataFrame:
    """Return gaps en->xx of one language where guesses are echoed and facts cross, or do not."""
    rows = []
    for (line, scale), part in found.groupby(["line", "scale"], sort=False):
        echo, crossing = PREFERENCES[str(line)]
        rows.append(
            {
                "echoed guesses": f"{echo:.2f}",
                "crossing": f"{crossing:.2f}",
                "scale": scale,
                "truth, points": f"{100 * part['true'].iloc[0]:.1f}",
                "mean gap, points": points(part["gap"]),
                "coverage %": percent(part["covered"], COVERS),
                "rejected %": percent(part["rejected"], None if crossing else REJECTS),
            }
        )
    return pd.DataFrame(rows)


SPREADS = {"alike": (1.0, 1.0, 1.0, 1.0), "unequal": (0.25, 0.25, 0.25, 1.0)}
"""How much the seeds of four languages spread, as shares of the largest standard deviation."""


SEEDS = {
    f"{n} seeds, sd {sd:.2f}, correlation {rho:.2f}, {spread}": (n, sd, rho, spread)
    for n, sd, rho, spread in (
        *(
            (n, sd, rho, "alike")
            for n in (2, 3, 5)
            for sd in (0.0, 0.04, 0.08)
            for rho in (0.0, 0.5, 0.9)
            if sd or not rho
        ),
        *((n, 0.08, 0.5, "unequal") for n in (2, 3, 5)),
    )
}


def seeded(line: tuple[int, float, float, str], number: int, seed: int) -> Study:
    """Return what holds 0 in one study of normal data of four languages in two directions.

    150 questions each, whose own spread makes an error of 2.9 points in each seed's gap, half of it shared by all.
    """
    n_seeds, sd, correlation, spread = line
    deviations = sd * np.array(SPREADS[spread])
    mixing = np.linalg.cholesky(correlation + (1 - correlation) * np.eye(4))
    rng = np.random.default_rng([seed, number, n_seeds, int(100 * sd), int(10 * correlation)])
    directions_ = []
    for _ in DIRECTIONS:
        shifts = (mixing @ rng.normal(size=(4, n_seeds))) * deviations[:, None]
        directions_.append(
            [
                Sample(
                    rng.normal(0, 0.25, (1, 150)) + rng.normal(0, 0.25, (n_seeds, 150)) + shift[:, None],
                    np.arange(150),
                    range(n_seeds),
                )
                for shift in shifts
            ]
        )
    single = [infer([sample], [1.0], over_seeds=True) for samples in directions_ for sample in samples]
    mean = infer(directions_[0], [0.25] * 4, over_seeds=True)
    contrast = infer(directions_[0], [0.5, 0.5, -0.5, -0.5], over_seeds=True)
    return [
        {
            "one language": single[0].p > 0.05,
            "widest": single[3].p > 0.05,
            "mean of four": mean.p > 0.05,
            "low - high": contrast.p > 0.05,
            "any by Holm": bool((holm(pd.Series([one.p for one in single])) <= 0.05).any()),
            "half-width": 100 * (single[0].hi - single[0].lo) / 2,
        }
    ]


def seeds_table(found: pd.DataFrame) -> pd.DataFrame:
    """Return coverage and rejections over seeds that are correlated between languages and spread unequally."""
    rows = []
    for line, part in found.groupby("line", sort=False):
        seeds, sd, correlation, spread = SEEDS[str(line)]
        covers = ("one language", "widest", "mean of four", "low - high")
        rows.append(
            {
                "seeds": seeds,
                "seed sd": f"{sd:.2f}",
                "correlation": f"{correlation:.2f}",
                "spread": spread,
                **{f"{name}: coverage %": percent(part[name], COVERS) for name in covers},
                "any of eight by Holm %": percent(part["any by Holm"], NO_MORE),
                "one language: median half-width": f"{part['half-width'].median():.1f}",
            }
        )
    return pd.DataFrame(rows)


MARGIN = 0.05
FAMILIES = {
    f"{truth}; {over}": (gaps, margin, seeds, sd)
    for truth, gaps, margin in (
        ("one, of 0", (0.0,), MARGIN),
        ("one, at the margin", (MARGIN,), MARGIN),
        ("five, of 0", (0.0,) * 5, MARGIN),
        ("one, at a margin of .15", (0.15,), 0.15),
        ("five, at a margin of .15", (0.15,) * 5, 0.15),
        ("five, one of 0, the others at a margin of .15", (0.15, 0.0, -0.15, 0.15, 0.15), 0.15),
    )
    for over, seeds, sd in (("questions only", 1, 0.0), ("3 seeds, sd 0", 3, 0.0), ("3 seeds, sd .04", 3, 0.04))
}
"""True gaps of the declared tests, one a language, their margin, seeds and their standard deviation."""
ASKED = 250


def declared(line: tuple[tuple[float, ...], float, int, float], number: int, seed: int) -> Study:
    """Return whether any verdict on a family of declared tests is wrong, and how many decide.

    A verdict is wrong where it says above, below or equivalent and the true quantity is not; at the margin exactly it
    is not equivalent. The peer is Holm's method over the smaller p-value of each test.
    """
    gaps, margin, seeds, sd = line
    rng = np.random.default_rng(
        [seed, number, len(gaps), int(1000 * margin), seeds, int(1000 * sd), int(1000 * gaps[0])]
    )
    langs = [f"l{i}" for i in range(len(gaps))]
    tests = [
        {
            "name": lang,
            "contrast": list(ARMS),
            "direction": "en->xx",
            "languages": [lang],
            "minus": [],
            "among": "all",
            "scale": ALL,
            "subset": "clean",
            "prefix": BARE,
            "over_seeds": seeds > 1,
            "margin": margin,
        }
        for lang in langs
    ]
    formed = {}
    for lang, gap in zip(langs, gaps, strict=True):
        values = differences(gap, seeds, sd, rng)
        for direction in DIRECTIONS:
            formed[lang, direction] = Contrast(
                culture=lang,
                direction=direction,
                name=CONTRAST,
                clusters=np.arange(ASKED),
                questions=[f"{lang}-{i:04d}" for i in range(ASKED)],
                seeds=list(range(seeds)),
                steps=[0],
                first=0.5 + values[:, None] / 2,
                second=0.5 - values[:, None] / 2,
                known=np.ones_like(values),
                alike=None,
                last=1,
            )
    table = verdict_table(tests, {("clean", BARE): {CONTRAST: formed}}, alpha=0.05)
    least = table[["p", "p_equivalent"]].min(axis=1)
    adjusted = holm(least)
    told, times = adjusted <= 0.05, adjusted / least
    within = told & (table["p_equivalent"] * times <= 0.05)
    other = told & (table["p"] * times <= 0.05) & ~within
    peer = np.where(within, EQUIVALENT, np.where(other, np.where(table["estimate"] > 0, ABOVE, BELOW), ""))
    return [
        {
            "wrong": any(_wrong(*one, margin) for one in zip(table["verdict"], gaps, strict=True)),
            "decided": float(table["verdict"].isin([ABOVE, BELOW, EQUIVALENT]).mean()),
            "by the peer": any(_wrong(*one, margin) for one in zip(peer, gaps, strict=True)),
        }
    ]


def differences(gap: float, seeds: int, sd: float, rng: np.random.Generator) -> np.ndarray:
    """Return what two arms differ by on each question, shape (seeds, n); a third of all are answered otherwise."""
    shift = gap + sd * rng.normal(size=(seeds, 1))
    shared = rng.random((1, ASKED)) < 0.8  # what seeds answer alike
    draw = np.where(shared, rng.random((1, ASKED)), rng.random((seeds, ASKED)))
    return np.where(draw < 0.15 + shift / 2, 1.0, np.where(draw > 0.85 + shift / 2, -1.0, 0.0))


def _wrong(verdict: str, gap: float, margin: float) -> bool:
    return {ABOVE: gap <= 0, BELOW: gap >= 0, EQUIVALENT: abs(gap) >= margin}.get(verdict, False)


def verdicts_table(found: pd.DataFrame) -> pd.DataFrame:
    """Return how often any verdict on a family of declared tests is wrong, by truth and by what is tested over."""
    rows = []
    for line, part in found.groupby("line", sort=False):
        truth, over = str(line).split("; ")
        # One test of 0, or at a margin that its error leaves room in, has a size; a family no more than that.
        limits = REJECTS if truth in ("one, of 0", "one, at a margin of .15") else NO_MORE
        rows.append(
            {
                "declared tests": truth,
                "tested over": over,
                "any wrong %": percent(part["wrong"], limits),
                "tests decided %": percent(part["decided"]),
                "plain Holm: any wrong %": percent(part["by the peer"], limits),
            }
        )
    return pd.DataFrame(rows)


CHECKPOINTS = 36  # of the paper's study
CURVES = {
    "flat": np.full(CHECKPOINTS, 0.4),
    "rising": np.linspace(0.25, 0.7, CHECKPOINTS),
    "falls at once": np.r_[0.6, np.full(CHECKPOINTS - 1, 0.3)],
    "near 0": np.full(CHECKPOINTS, 0.04),
    "near 1": np.full(CHECKPOINTS, 0.99),
}
BANDS = {f"{shape}, {n}": (shape, n) for shape in CURVES for n in (60, 250, 600)}
"""Shape of a curve of accuracies, and number of questions."""


@functools.cache
def asked(n: int) -> tuple[np.ndarray, ClusterBootstrap]:
    """Return clusters of n questions, and what resamples them."""
    sizes = np.random.default_rng(n).choice([1, 2, 3, 4], size=n, p=[0.8, 0.12, 0.05, 0.03])
    clusters = np.repeat(np.arange(n), sizes)[:n]
    return clusters, ClusterBootstrap(clusters, resamples=2000, seed=0, stream="curve")


def deepest(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the narrowest percentiles, equally deep in every row of replicates, that hold 95 % of these in all rows.

    The peer of the band: the quantile-based sup-t band (Montiel Olea & Plagborg-Moller 2019, algorithm 2).
    """
    ordered = np.sort(drawn, axis=1)
    # How many replicates of the row lie at each one or further out, on the side where they are fewer.
    sides = [
        (np.searchsorted(row, of, "right"), len(of) - np.searchsorted(row, of, "left"))
        for row, of in zip(ordered, drawn, strict=True)
    ]
    depth = np.sort(np.array(sides).min(axis=(0, 1)))
    at = max(int(depth[int(0.05 * len(depth))]), 1)
    return ordered[:, at - 1], ordered[:, -at]


def banded(line: tuple[str, int], number: int, seed: int) -> Study:
    """Return whether the band of a curve, its checkpoints' intervals, and equally deep percentiles hold all of it.

    Three of four answers are as at the checkpoint before, and siblings are mostly answered alike.
    """
    (shape, n), (clusters, bootstrap) = line, asked(line[1])
    truth, rng = CURVES[shape], np.random.default_rng([seed, number, line[1], *line[0].encode()])
    ease = np.empty((CHECKPOINTS, n))
    together = rng.random(n) < 0.7
    for step in range(CHECKPOINTS):
        new = np.where(together, rng.random(n)[clusters], rng.random(n))
        kept = step > 0 and (rng.random(n) < 0.75)[clusters]
        ease[step] = np.where(kept, ease[step - 1], new)
    credits = (ease < truth[:, None]).astype(float)
    (lo, hi), (band_lo, band_hi) = bootstrap.band(credits, (0, 1))
    deep_lo, deep_hi = deepest(bootstrap.ratio(credits, np.ones_like(credits)))
    return [
        {
            "band": bool(((band_lo <= truth) & (truth <= band_hi)).all()),
            "width": float((band_hi - band_lo).mean()),
            "single": float(((lo <= truth) & (truth <= hi)).mean()),
            "all single": bool(((lo <= truth) & (truth <= hi)).all()),
            "deepest": bool(((deep_lo <= truth) & (truth <= deep_hi)).all()),
        }
    ]


def bands_table(found: pd.DataFrame) -> pd.DataFrame:
    """Return how often the band of a curve holds all of its true accuracies."""
    rows = []
    for line, part in found.groupby("line", sort=False):
        shape, n = BANDS[str(line)]
        rows.append(
            {
                "curve": shape,
                "questions": n,
                "band holds all %": percent(part["band"], COVERS),
                "band, points": f"{100 * part['width'].mean():.1f}",
                "an interval holds its checkpoint %": percent(part["single"], COVERS),
                "all intervals hold theirs %": percent(part["all single"]),
                "equally deep percentiles hold all %": percent(part["deepest"]),
            }
        )
    return pd.DataFrame(rows)


HELD = {
    "20, one question each": (np.ones(20, int), 0.3, 0.1),
    "60, one question each": (np.ones(60, int), 0.3, 0.1),
    "60, of one to four": (np.repeat([1, 2, 3, 4], [48, 7, 3, 2]), 0.3, 0.1),
    "60, one with 30 % of the questions": (np.r_[25, np.ones(59, int)], 0.3, 0.1),
    "60, one with half of the questions": (np.r_[59, np.ones(59, int)], 0.3, 0.1),
    "250, one with half of the questions": (np.r_[249, np.ones(249, int)], 0.3, 0.1),
    "60, .5 differ, on one side": (np.ones(60, int), 0.5 / 60, 0.5 / 60),
    "60, 2 differ, on one side": (np.ones(60, int), 2 / 60, 2 / 60),
    "60, 8 differ, on one side": (np.ones(60, int), 8 / 60, 8 / 60),
    "250, 2 differ, on one side": (np.ones(250, int), 2 / 250, 2 / 250),
    "250, 8 differ, on one side": (np.ones(250, int), 8 / 250, 8 / 250),
}
"""Sizes of the clusters of questions, the share of questions on which two models differ, and their gap."""


@functools.cache
def held(line: str) -> tuple[np.ndarray, ClusterBootstrap]:
    """Return the clusters of a line, and what resamples them."""
    sizes = HELD[line][0]
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    return clusters, ClusterBootstrap(clusters, resamples=1000, seed=0, stream=line)


def clustered(line: str, number: int, seed: int) -> Study:
    """Return which intervals of a gap between two models hold the true one; half of all siblings are answered alike."""
    _, share, gap = HELD[line]
    clusters, bootstrap = held(line)
    n, rng = len(clusters), np.random.default_rng([seed, number, *line.encode()])
    draw = np.where(rng.random(n) < 0.7, rng.random(n)[clusters], rng.random(n))
    values = np.where(draw < (share + gap) / 2, 1.0, np.where(draw > 1 - (share - gap) / 2, -1.0, 0.0))
    sample = Sample(values[None], clusters, (), (-1.0, 1.0))
    found = infer([sample], [1.0])
    (lo,), (hi,) = bootstrap.interval(values[None], bounds=(-1, 1))
    totals, sizes = sample.totals()
    k = len(sizes)
    plain = np.sqrt(k / (k - 1) * ((totals - values.mean() * sizes) ** 2).sum()) / n * 1.96
    return [
        {
            "student": bool(found.lo <= gap <= found.hi),
            "bootstrap": bool(lo <= gap <= hi),
            "plain": bool(abs(values.mean() - gap) <= plain),
            "noted": bool(few_clusters([sample], [1.0])),
        }
    ]


def clusters_table(found: pd.DataFrame) -> pd.DataFrame:
    """Return coverage of a gap over questions where clusters are few or unequal, or models hardly differ."""
    return pd.DataFrame(
        {
            "clusters": line,
            "Student's t: coverage %": percent(part["student"], COVERS),
            "bootstrap: coverage %": percent(part["bootstrap"], COVERS),
            "row has a note %": percent(part["noted"]),
            "sandwich, normal: coverage %": percent(part["plain"]),
        }
        for line, part in found.groupby("line", sort=False)
    )


ECLEKTIC = ("de", "en", "es", "fr", "he", "hi", "id", "it", "ja", "ko", "pt", "zh")
MULTILOKO = tuple(lang for lang, said in known_languages().items() if "multiloko" in said)
JUDGED = {
    f"{shape}, {said}": (shape, beta, 3)
    for shape in (PAIRS, STAR)
    for beta, said in ((0.0, "no effect of script"), (0.5, "one script: + .5 log odds"))
}
"""Shape of the questions, the effect of one script in log odds, and how many models."""
MORE_MODELS = {f"{models} models": (PAIRS, 0.0, models) for models in (1, 3, 8)}
OF_LANGUAGE = {
    PAIRS: 32,
    STAR: 100,
}  # questions written in each language: 384 as in ECLeKTic; MultiLoKo has 250 in each
FAMILY = 0.3  # log odds of one family
DIFFERENCES = {"languages": 0.4, "pairs": 0.3, "questions": 1.0, "models": 0.5}  # standard deviations, in log odds
HINTED = {
    f"{shape}, {said}": (shape, more, 3)
    for shape in (PAIRS, STAR)
    for more, said in ((0.0, "a hint helps alike"), (0.5, "in another script: + .5 log odds"))
}
"""Shape of the questions, by how much more a hint helps in another script (log odds), and how many models."""
HELP = {"mean": 0.5, "languages": 0.2, "pairs": 0.15}  # of a hint, in log odds; the latter two standard deviations
PEERS_EVERY = 3  # studies in which the peers are fitted, too


@functools.cache
def dealt_out(shape: str) -> Term:
    """Return script as a term of all pairs of a shape, with its labelings."""
    langs = sorted(ECLEKTIC if shape == PAIRS else MULTILOKO)
    place = {lang: index for index, lang in enumerate(langs)}
    pairs = [(a, b) for a in langs for b in langs if a != b and (shape == PAIRS or "en" in (a, b))]
    first, second = (np.array([place[pair[side]] for pair in pairs]) for side in (0, 1))
    others = predictors(langs, first, second, known_languages(), {}, None)
    hub = None if shape == PAIRS else "en"
    return term("same script", langs, first, second, known_languages(), others, hub, MOST, 0)


def judged_answers(
    shape: str, beta: float, models: int, rng: np.random.Generator, more: float | None = None
) -> tuple[pd.DataFrame, float]:
    """Return judged answers of a set of questions, and the true marginal effect of one script on those that count.

    Languages are harder or easier as a source and as a target, pairs of them too, and so are questions: what a row does
    not know. That one script or one family helps is added to the log odds, and what is tested is the marginal effect.
    With `more`, each is asked with a hint, too, which helps by language and pair and `more` in another script; the
    effect is that of `more` on the answers with it.
    """
    langs = ECLEKTIC if shape == PAIRS else MULTILOKO
    n, known = len(langs), known_languages()
    same = {
        key: np.equal.outer(*[[known[lang][key] for lang in langs]] * 2).astype(float) for key in ("script", "family")
    }
    source, target = rng.normal(0, DIFFERENCES["languages"], (2, n))
    pair = rng.normal(0, DIFFERENCES["pairs"], (n, n)) + FAMILY * same["family"]
    written = np.repeat(np.arange(n), OF_LANGUAGE[shape])
    hard = rng.normal(0, DIFFERENCES["questions"], len(written))
    own = np.arange(n) == written[:, None]
    english = np.arange(n) == langs.index("en")
    asked = own | (shape == PAIRS) | english | english[written][:, None]
    if more is not None:
        helped = HELP["mean"] + rng.normal(0, HELP["languages"], n) + rng.normal(0, HELP["pairs"], (n, n))
    parts, gained, n_counting = [], 0.0, 0
    for model in range(models):
        able = rng.normal(0.3, DIFFERENCES["models"])
        there = (able - 0.5 - hard + source[written])[:, None] + target + pair[written]
        here = np.broadcast_to((able + 0.6 - hard + source[written])[:, None], there.shape)
        odds = np.where(own, here, there + beta * same["script"][written])
        right = rng.random(odds.shape) < _chance(odds)
        counts = asked & ~own & right[np.arange(len(written)), written][:, None]
        parts.append(_judged(shape, model, NO_HINT, written, asked, right))
        if more is None:
            gained += (_chance(there + beta)[counts] - _chance(there)[counts]).sum()
        else:
            told = odds + helped[written]
            other = told + more * (1 - same["script"][written])
            parts.append(_judged(shape, model, SOURCE, written, asked & ~own, rng.random(odds.shape) < _chance(other)))
            gained += (_chance(told + more)[counts] - _chance(told)[counts]).sum()
        n_counting += counts.sum()
    return pd.concat(parts, ignore_index=True), float(gained / n_counting)


def _chance(odds: np.ndarray) -> np.ndarray:
    """Return chances from log odds."""
    return 1 / (1 + np.exp(-odds))


def _judged(
    shape: str, model: int, hint: str, written: np.ndarray, asked: np.ndarray, right: np.ndarray
) -> pd.DataFrame:
    """Return rows of the table "judged" of a model with a hint: [questions, languages] as rows."""
    langs = np.array(ECLEKTIC if shape == PAIRS else MULTILOKO)
    question, lang = np.nonzero(asked)
    return pd.DataFrame(
        {
            "dataset": shape,
            "model": f"m{model}",
            "question_id": question.astype(str),
            "source_lang": langs[written[question]],
            "target_lang": langs[lang],
            "hint": hint,
            "sample": 0,
            "correct": right[question, lang],
            "judge": "",
        }
    )


def scripts_judged(line: tuple[str, float, int], number: int, seed: int) -> Study:
    """Return what one set of judged answers says of one script, by the headline's method and by its peers."""
    shape, beta, models = line
    answers, true = judged_answers(
        shape, beta, models, np.random.default_rng([seed, number, int(10 * beta), shape == STAR])
    )
    rows = crossed(answers, SOURCE_RIGHT)
    found, of = cells_of(rows), dealt_out(shape)
    said = effect(found, of)
    row = {
        "true": true,
        "estimate": said.estimate,
        "rejected": bool(said.p <= 0.05),
        "covered": bool(said.lo <= true <= said.hi),
        "width": said.hi - said.lo,
        "pair sd": pair_sd(found, {of.name: of.values, **of.others}),
    }
    if number % PEERS_EVERY == 0:
        for method in (LOGIT, GEE, ROWS):
            peer = fitted(method, rows, values_of(found, of), found.hub)
            row |= {f"{method} rejected": bool(peer.p <= 0.05), f"{method} covered": bool(peer.lo <= true <= peer.hi)}
        if beta:
            own = answers["source_lang"] == answers["target_lang"]
            row["detectable"] = detectable_effect_of_script(
                answers[answers["model"] == "m0"].rename(columns={"target_lang": "lang"}),
                known_languages(),
                models=models,
                known=float(answers.loc[own, "correct"].mean()),
                right=float(rows["right"].mean()),
                pair_sd=row["pair sd"],
            )
    return [row]


def scripts_table(found: pd.DataFrame) -> pd.DataFrame:
    """Return how often an effect of one script is found and covered in judged answers.

    The peers are fitted in every third study.
    """
    rows = []
    for line, part in found.groupby("line", sort=False):
        none = not part["true"].any()
        peers = part.dropna(subset=[f"{ROWS} rejected"])
        rows.append(
            {
                "answers": line,
                "true effect, points": points(part["true"]),
                "estimate": points(part["estimate"]),
                "interval, points": f"{100 * part['width'].mean():.1f}",
                "permutation: covered %": percent(part["covered"], COVERS),
                "rejected %": percent(part["rejected"], REJECTS if none else None),
                **{
                    f"{method}: {what} %": percent(
                        peers[f"{method} {what}"].astype(bool),
                        COVERS if what == "covered" else REJECTS if none else None,
                    )
                    for method in (LOGIT, GEE, ROWS)
                    for what in ("covered", "rejected")
                },
                "pairs differ by, points": points(part["pair sd"]),
                "reckoned beforehand to be found in 80 %": "–" if none else points(part["detectable"].dropna()),
            }
        )
    return pd.DataFrame(rows)


def more_models_table(found: pd.DataFrame) -> pd.DataFrame:
    """Return how often an effect of one script is found where there is none, by how many models are judged.

    Rows grow in number, and languages do not.
    """
    return pd.DataFrame(
        {
            "answers": line,
            "permutation: rejected %": percent(part["rejected"], REJECTS),
            **{
                f"{method}: rejected %": percent(part[f"{method} rejected"].dropna().astype(bool), REJECTS)
                for method in (LOGIT, GEE, ROWS)
            },
        }
        for line, part in found.groupby("line", sort=False)
    )


def hinted(line: tuple[str, float, int], number: int, seed: int) -> Study:
    """Return what answers with a hint and without say of hint x another script."""
    shape, more, models = line
    rng = np.random.default_rng([seed, number, int(10 * more), shape == STAR, 1])
    answers, true = judged_answers(shape, 0.0, models, rng, more)
    with tempfile.TemporaryDirectory() as folder:
        tables.write("judged", answers, judged := Path(folder) / "judged.parquet")
        out = Path(folder) / "effects.parquet"
        hint_effects(judged=judged, languages=known_languages(), labelings=MOST, seed=0, out=out)
        said = tables.read(out).iloc[0]
    return [
        {
            "true": true,
            "estimate": said["estimate"],
            "rejected": bool(said["p"] <= 0.05),
            "covered": bool(said["lo"] <= true <= said["hi"]),
            "width": said["hi"] - said["lo"],
        }
    ]


def hints_table(found: pd.DataFrame) -> pd.DataFrame:
    """Return how often it is found and covered that a hint helps more in another script."""
    return pd.DataFrame(
        {
            "answers": line,
            "true effect, points": points(part["true"]),
            "estimate": points(part["estimate"]),
            "interval, points": f"{100 * part['width'].mean():.1f}",
            "covered %": percent(part["covered"], COVERS),
            "rejected %": percent(part["rejected"], None if part["true"].any() else REJECTS),
        }
        for line, part in found.groupby("line", sort=False)
    )


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One table of simulated studies.

    Attributes:
        lines: name of a line of the table -> what its studies are made of.
        study: (what they are made of, number of a study, seed) -> what it found.
        table: what was found, with the columns ``line`` and ``number`` -> the table; its docstring says what it shows.
    """

    lines: Mapping[str, Any]
    study: Callable[[Any, int, int], Study]
    table: Callable[[pd.DataFrame], pd.DataFrame]


SCENARIOS = {
    "interaction": Scenario({f"{sd:.2f}": Design(NO_INTERACTION, sd) for sd in SEED_SDS}, calibrated, coverage_table),
    "same-arm": Scenario({f"{sd:.2f}": Design(NO_EFFECT, sd, spread=0.0) for sd in SEED_SDS}, calibrated, level_table),
    "selection": Scenario({"no effect of frequency": None}, selected, selection_table),
    "preferences": Scenario(PREFERENCES, preferred, preferences_table),
    "seeds": Scenario(SEEDS, seeded, seeds_table),
    "frequency": Scenario(WORLDS, slopes, frequency_table),
    "power": Scenario(POWERS, powered, power_table),
    "verdicts": Scenario(FAMILIES, declared, verdicts_table),
    "bands": Scenario(BANDS, banded, bands_table),
    "clusters": Scenario({line: line for line in HELD}, clustered, clusters_table),
    "scripts": Scenario(JUDGED, scripts_judged, scripts_table),
    "more-models": Scenario(MORE_MODELS, scripts_judged, more_models_table),
    "hints": Scenario(HINTED, hinted, hints_table),
}


def simulate(
    scenario: Scenario, studies: int, seed: int, keep: Path | None = None, until: float = float("inf")
) -> pd.DataFrame:
    """Return what the studies of all lines of a scenario found, with the columns ``line`` and ``number``.

    Args:
        scenario: what is simulated.
        studies: how many a line; their numbers are their draws.
        seed: of all draws.
        keep: where to keep what single studies found, one a line of text; those that are there are not made again.
        until: when no study more begins (:func:`time.monotonic`); all lines have equally many.
    """
    rows = [json.loads(line) for line in keep.read_text().splitlines()] if keep is not None and keep.exists() else []
    first = max((row["number"] for row in rows), default=-1) + 1
    for number in tqdm(range(first, studies), desc="studies", file=sys.stderr, mininterval=5):
        if time.monotonic() > until:
            break
        of_number = [
            {"line": line, "number": number, **row}
            for line, made_of in scenario.lines.items()
            for row in scenario.study(made_of, number, seed)
        ]
        rows += of_number
        if keep is not None:
            with keep.open("a") as file:
                file.write("".join(json.dumps(row, default=lambda value: value.item()) + "\n" for row in of_number))
    return pd.DataFrame([row for row in rows if row["number"] < studies])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--studies", type=int, default=60, help="simulated studies for each line of a table")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--scenario", action="append", choices=SCENARIOS, help="may be given several times; all where it is not given"
    )
    parser.add_argument("--keep", type=Path, help="folder to keep single studies in, to go on from")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after which no study more begins")
    arguments = parser.parse_args()
    until = time.monotonic() + 60 * arguments.minutes
    for name in arguments.scenario or SCENARIOS:
        scenario, keep = SCENARIOS[name], None
        if arguments.keep:
            arguments.keep.mkdir(parents=True, exist_ok=True)
            keep = arguments.keep / f"{name}-{arguments.seed}.jsonl"
        found = simulate(scenario, arguments.studies, arguments.seed, keep, until)
        if found.empty:
            continue
        says = (scenario.table.__doc__ or "").partition("\n")[0].removeprefix("Return ")
        print(f"\n**{name}**: {says} {found['number'].nunique()} studies a line.\n")
        print(scenario.table(found).to_markdown(index=False, disable_numparse=True), flush=True)
    print(f"\n`python {' '.join(sys.argv)}` on {platform.machine()}. ± is the Monte-Carlo error.")
    print("*low*, *high*: outside of 93 to 97 % (intervals) or 3.5 to 6.5 % (tests of what is true) by more than that.")


if __name__ == "__main__":
    main()
