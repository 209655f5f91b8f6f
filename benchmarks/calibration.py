"""Do the intervals cover, do the tests hold their level? Simulated studies whose truth is known.

    python benchmarks/calibration.py [--studies 60] [--seed 0] [--scenario NAME ...]

A study has the paper's four languages with as many questions as were released, in clusters of one to four that share
how hard they are and how much the bridge does for them; answers are mostly kept from one checkpoint to the next; some
are ties. What is measured is what the workflow calls: ``lorebridge.transfer.contrasts.form``, ``gap_table``,
``asymmetry_table``, ``occurrence_means`` and ``effects`` of the item model.

The peer in each table is what one would do otherwise: an interval and a test over questions alone, or appendix C.4 as
it stands. Intervals are to cover 93 to 97 %, and tests of what is true to reject 3.5 to 6.5 %. Each rate has its
Monte-Carlo error, and a word beside it where that does not explain its being outside.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import statsmodels.api as sm
from tqdm import tqdm

from lorebridge import tables
from lorebridge.probes.prefixes import BARE
from lorebridge.transfer.alarms import RINGS, Alarm, unrelated
from lorebridge.transfer.asymmetry import DIFFERENCE, DIRECTIONS, INTERACTION, asymmetry_table
from lorebridge.transfer.contrasts import ALL, AT_RISK, form
from lorebridge.transfer.credits import LAST, Credits, directions
from lorebridge.transfer.gaps import gap_table
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY, Sample, holm, infer
from lorebridge.transfer.item_model import CROSSED, ECHO, SLOPE, Answers, effects
from lorebridge.transfer.items import BY_LOT, RISK, occurrence_means
from lorebridge.transfer.items import DIFFERENCE as DIFFERENCE_OF_MEANS
from lorebridge.transfer.power import ALIKE, APART, detectable_effect, detectable_with_seeds, power_with_seeds

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


def calibrate(design: Design, studies: int, seed: int) -> pd.DataFrame:
    """Return one row a study, scale and kind of interval: coverage, bias and rejections."""
    rows = []
    for number in tqdm(range(studies), desc=f"seed sd {design.seed_sd}", file=sys.stderr, mininterval=1):
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
                    design.gaps[lang],
                    direction,
                    scale,
                    {way: of_seeds[lang, way] for way in DIRECTIONS} if given else None,
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
    return pd.DataFrame(rows)


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
    design: Callable[[float], Design],
    kind: str,
    columns: Mapping[str, tuple[str, tuple[float, float] | None]],
    studies: int,
    seed: int,
) -> pd.DataFrame:
    """Return means of what :func:`calibrate` finds by how much seeds differ, in percent with their Monte-Carlo errors.

    Args:
        design: of the studies, for a standard deviation of seeds.
        kind: how the column is called that names the interval or test.
        columns: column of the table -> column of what is found, and its limits; what has none is a mean in points.
        studies: how many of each design.
        seed: of the studies.
    """
    rows = []
    for sd in SEED_SDS:
        found = calibrate(design(sd), studies, seed)
        for (scale, interval), part in found.groupby(["scale", "interval"], sort=False):
            means = {
                title: f"{100 * part[column].mean():.1f}" if limits is None else percent(part[column], limits)
                for title, (column, limits) in columns.items()
            }
            rows.append({"seed sd": f"{sd:.2f}", "scale": scale, kind: interval.split(",")[0], **means})
    return pd.DataFrame(rows)


def coverage_table(studies: int, seed: int) -> pd.DataFrame:
    """Return coverage, bias and the interaction's rejections in studies with gaps but no interaction."""
    columns = {
        "gap: coverage %": ("covered", COVERS),
        "bias, points": ("bias", None),
        "mean of a level: coverage %": ("means_covered", COVERS),
        "interaction: coverage %": ("interaction_covered", COVERS),
        "bias, points ": ("interaction", None),
    }
    return by_spread(lambda sd: Design(NO_INTERACTION, sd), "interval", columns, studies, seed)


def level_table(studies: int, seed: int) -> pd.DataFrame:
    """Return how often tests reject where the arms are the same arm run twice (A/A)."""
    columns = {
        "gap: rejected %": ("rejected", REJECTS),
        "any of eight by Holm %": ("any_by_holm", NO_MORE),
        "interaction: rejected %": ("interaction_rejected", REJECTS),
    }
    return by_spread(lambda sd: Design(NO_EFFECT, sd, spread=0.0), "test", columns, studies, seed)


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


def selection_table(studies: int, seed: int) -> pd.DataFrame:
    """Return what appendix C.4 reports of studies in which frequency has no effect on crossing."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number in tqdm(range(studies), desc="no effect of frequency", file=sys.stderr, mininterval=1):
            items = items_without_an_effect(np.random.default_rng([seed, number]))
            path = Path(folder) / "items.parquet"
            tables.write("items", items, path)
            means = occurrence_means(items=path, resamples=RESAMPLES, seed=number)
            means = means[means["corpus"] == "source"].set_index("group")
            average = means.loc["all", "mean"]
            rows.append(
                {
                    "transferred / all": means.loc["transferred", "mean"] / average,
                    "transferred / rest of risk set": means.loc["transferred", "mean"]
                    / means.loc["rest of risk set", "mean"],
                    "by lot / all": means.loc[BY_LOT, "mean"] / average,
                    "interval of transferred above all": means.loc["transferred", "lo"] > average,
                    "transferred - rest of risk set not 0": not means.loc[DIFFERENCE_OF_MEANS, "lo"]
                    <= 0
                    <= means.loc[DIFFERENCE_OF_MEANS, "hi"],
                }
            )
    found = pd.DataFrame(rows)
    return pd.DataFrame(
        {
            "reported": name,
            "mean ratio": "" if found[name].dtype == bool else f"{found[name].mean():.2f}",
            "finds an effect %": percent(found[name], REJECTS) if found[name].dtype == bool else "",
        }
        for name in found.columns
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


def frequency_table(studies: int, seed: int, worlds: Mapping[str, Crossing] = WORLDS) -> pd.DataFrame:
    """Return how often a slope of crossing on frequency is found, by the item model and by the peer.

    Frequency decides what is known in all these worlds, and what crosses only in the last two.
    """
    rows = []
    for name, world in worlds.items():
        found = []
        for study in tqdm(range(studies), desc=name, file=sys.stderr, mininterval=1):
            answers = answered(world, np.random.default_rng([seed, study, *name.encode()]))
            table = effects(answers)
            table = table[(table["count"] == "occurrences")].set_index(["interval", "quantity"])
            only, seeds = table.loc[QUESTIONS_ONLY], table.loc[QUESTIONS_AND_SEEDS]
            found.append(
                {
                    "slope, points": 100 * only.loc[SLOPE, "estimate"],
                    "slope: rejected %": only.loc[SLOPE, "p"] <= 0.05,
                    "with seeds %": seeds.loc[SLOPE, "p"] <= 0.05,
                    "true slope covered %": only.loc[SLOPE, "lo"] <= world.slope <= only.loc[SLOPE, "hi"],
                    "crossed %": 100 * only.loc[CROSSED, "estimate"],
                    "guesses repeated %": 100 * only.loc[ECHO, "estimate"],
                    "alarm rings %": any(alarm.verdict == RINGS for alarm in _unrelated(table.reset_index())),
                    "row in doubt %": bool(only.loc[SLOPE, "note"]),
                    "logit in the risk set: rejected %": naive_slope(answers) <= 0.05,
                }
            )
        measured = pd.DataFrame(found)
        limits = {"true slope covered %": COVERS}
        if not world.slope:
            limits |= {"slope: rejected %": REJECTS, "with seeds %": REJECTS}
        shown = {
            name: percent(column, limits.get(str(name))) if column.dtype == bool else f"{column.mean():.2f}"
            for name, column in measured.items()
        }
        rows.append({"world": name, **shown})
    return pd.DataFrame(rows)


def _unrelated(rows: pd.DataFrame) -> Iterator[Alarm]:
    """Yield the alarm on rows as it reads them: of presentations, leaked questions kept."""
    table = rows.assign(direction="en->xx", unleaked=False, count="presentations")
    return unrelated(table, langs=sorted(set().union(*table["langs"])))


def power_table(studies: int, seed: int) -> pd.DataFrame:
    """Return how often the gap that `lorebridge power` prints for 80 % is found, by the test of the table "gaps".

    Two arms with the questions of Korean, that differ on a fifth of them, on the same ones from each seed or on others;
    power is printed for the extreme that needs the larger gap. None is printed that is larger than that fifth.
    """
    n, discordance = QUESTIONS["ko"], 0.2
    only = detectable_effect(n, discordance=discordance)
    rows = []
    for n_seeds in (2, 3, 5):
        for sd in SEED_SDS[:3]:
            shared = {"discordance": discordance, "seeds": n_seeds, "seed_sd": sd}
            effect = detectable_with_seeds(n, **shared)
            for name, alike in (("the same", ALIKE), ("others", APART)):
                found: dict[float, list[bool]] = {gap: [] for gap in (only, effect) if not np.isnan(gap)}
                for study in tqdm(range(studies), desc=f"{n_seeds} seeds, sd {sd}", file=sys.stderr, mininterval=1):
                    for gap, seen in found.items():
                        rng = np.random.default_rng([seed, study, int(1000 * sd), int(alike), n_seeds])
                        chances = [(discordance + gap) / 2, 1 - discordance, (discordance - gap) / 2]
                        signs = rng.choice([1.0, 0.0, -1.0], p=chances, size=(1 if alike else n_seeds, n))
                        shifts = sd * rng.normal(size=(n_seeds, 1))
                        sample = Sample(signs + shifts, np.arange(n), range(n_seeds))
                        seen.append(infer([sample], [1.0], over_seeds=True).p <= 0.05)
                told = {gap: percent(pd.Series(seen)) for gap, seen in found.items()}
                rows.append(
                    {
                        "seeds": n_seeds,
                        "seed sd": sd,
                        "seeds differ on": name,
                        "questions only, points": 100 * only,
                        "found %": told[only],
                        "with seeds, points": 100 * effect,
                        "calculated %": 100 * power_with_seeds(effect, n, alike=alike, **shared),
                        "found with seeds %": told.get(effect, ""),
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


def preferences_table(studies: int, seed: int) -> pd.DataFrame:
    """Return gaps en->xx of one language where guesses are echoed and facts cross, or do not."""
    rows = []
    for echo, crossing in ((0.0, 0.0), (0.2, 0.0), (0.5, 0.0), (0.0, 0.3), (0.2, 0.3)):
        found = []
        for number in tqdm(range(studies), desc=f"echo {echo}, crossing {crossing}", file=sys.stderr, mininterval=1):
            rng = np.random.default_rng([seed, number, int(100 * echo), int(100 * crossing)])
            formed = form(preferences(rng, echo, crossing), base="en", contrasts=[ARMS], last=1)
            formed = [c for c in formed if c.known is not None and c.direction == "en->xx" and c.culture == "bo"]
            gaps = gap_table(formed, unleaked=False, resamples=RESAMPLES, seed=number)
            found.append(gaps[(gaps["step"] == LAST) & (gaps["seed"] == "all")])
        # Of what is at risk, the share that is known and not guessed rightly, times what crosses of it.
        true = crossing * KNOWN / (KNOWN + (1 - KNOWN) / OPTIONS)
        for scale, part in pd.concat(found).groupby("scale", sort=False):
            if scale != ALL:
                rows.append(
                    {
                        "echoed guesses": echo,
                        "crossing": crossing,
                        "scale": scale,
                        "truth, points": 100 * true,
                        "mean gap, points": 100 * part["gap"].mean(),
                        "coverage %": percent((part["lo"] <= true) & (true <= part["hi"]), COVERS),
                        "rejected %": percent(part["p"] <= 0.05, None if crossing else REJECTS),
                    }
                )
    return pd.DataFrame(rows)


SPREADS = {"alike": (1.0, 1.0, 1.0, 1.0), "unequal": (0.25, 0.25, 0.25, 1.0)}
"""How much the seeds of four languages spread, as shares of the largest standard deviation."""


def seeds_table(studies: int, seed: int) -> pd.DataFrame:
    """Return coverage and rejections over seeds that are correlated between languages and spread unequally.

    Normal data of four languages in two directions, 150 questions each, whose own spread makes an error of 2.9 points
    in each seed's gap, half of it shared by all seeds.
    """
    rows = []
    for n_seeds, sd, correlation, spread in (
        *(
            (n, sd, rho, "alike")
            for n in (2, 3, 5)
            for sd in (0.0, 0.04, 0.08)
            for rho in (0.0, 0.5, 0.9)
            if sd or not rho
        ),
        *((n, 0.08, 0.5, "unequal") for n in (2, 3, 5)),
    ):
        deviations = sd * np.array(SPREADS[spread])
        mixing = np.linalg.cholesky(correlation + (1 - correlation) * np.eye(4))
        found = []
        for number in tqdm(range(studies), desc=f"{n_seeds} seeds, sd {sd}, {spread}", file=sys.stderr, mininterval=1):
            rng = np.random.default_rng([seed, number, n_seeds, int(100 * sd), int(10 * correlation)])
            directions_ = []
            for _ in DIRECTIONS:
                effects = (mixing @ rng.normal(size=(4, n_seeds))) * deviations[:, None]
                directions_.append(
                    [
                        Sample(
                            rng.normal(0, 0.25, (1, 150)) + rng.normal(0, 0.25, (n_seeds, 150)) + effect[:, None],
                            np.arange(150),
                            range(n_seeds),
                        )
                        for effect in effects
                    ]
                )
            single = [infer([sample], [1.0], over_seeds=True) for samples in directions_ for sample in samples]
            mean = infer(directions_[0], [0.25] * 4, over_seeds=True)
            contrast = infer(directions_[0], [0.5, 0.5, -0.5, -0.5], over_seeds=True)
            p = pd.Series([one.p for one in single])
            found.append(
                {
                    "one language": single[0].p > 0.05,
                    "widest": single[3].p > 0.05,
                    "mean of four": mean.p > 0.05,
                    "low - high": contrast.p > 0.05,
                    "any of eight by Holm": (holm(p) <= 0.05).any(),
                    "half-width": 100 * (single[0].hi - single[0].lo) / 2,
                }
            )
        table = pd.DataFrame(found)
        rows.append(
            {
                "seeds": n_seeds,
                "seed sd": sd,
                "correlation": correlation,
                "spread": spread,
                **{f"{name}: coverage %": percent(table[name], COVERS) for name in table.columns[:4]},
                "any of eight by Holm %": percent(table["any of eight by Holm"], NO_MORE),
                "one language: median half-width": f"{table['half-width'].median():.1f}",
            }
        )
    return pd.DataFrame(rows)


SCENARIOS: dict[str, Callable[[int, int], pd.DataFrame]] = {
    "interaction": coverage_table,
    "same-arm": level_table,
    "selection": selection_table,
    "preferences": preferences_table,
    "seeds": seeds_table,
    "frequency": frequency_table,
    "power": power_table,
}
"""Name -> what makes its table of a number of studies and a seed; its docstring begins with what the table shows."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=60, help="simulated studies for each line of a table")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--scenario", action="append", choices=SCENARIOS, help="may be given several times; all where it is not given"
    )
    arguments = parser.parse_args()
    for name in arguments.scenario or SCENARIOS:
        began = time.monotonic()
        table = SCENARIOS[name](arguments.studies, arguments.seed)
        says = (SCENARIOS[name].__doc__ or "").partition("\n")[0].removeprefix("Return ")
        print(f"\n**{name}**: {says} {arguments.studies} studies a line, {time.monotonic() - began:.0f} s.\n")
        print(table.to_markdown(index=False, floatfmt=".2f"), flush=True)
    print(f"\n`python {' '.join(sys.argv)}` on {platform.machine()}. ± is the Monte-Carlo error.")
    print("*low*, *high*: outside of 93 to 97 % (intervals) or 3.5 to 6.5 % (tests of what is true) by more than that.")


if __name__ == "__main__":
    main()
