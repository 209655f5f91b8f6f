"""Do the intervals cover, do the tests hold their level? Simulated studies whose truth is known.

    python benchmarks/calibration.py [--studies 60] [--seed 0]

A study has the paper's four languages with as many questions as were released, in clusters of one to four that share
how hard they are and how much the bridge does for them; answers are mostly kept from one checkpoint to the next; some
are ties. What is measured is what the workflow calls: ``lorebridge.transfer.contrasts.form``, ``gap_table``,
``asymmetry_table``, ``occurrence_means`` and ``effects`` of the item model.

The peer in each table is what one would do otherwise: an interval and a test over questions alone, or appendix C.4 as
it stands. The limit is the nominal level, 95 % or 5 %, within the error of the simulation, which is printed.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from tqdm import tqdm

from lorebridge import tables
from lorebridge.transfer.alarms import RINGS, unrelated
from lorebridge.transfer.asymmetry import DIFFERENCE, DIRECTIONS, INTERACTION, asymmetry_table
from lorebridge.transfer.contrasts import ALL, form
from lorebridge.transfer.credits import LAST, Credits, directions
from lorebridge.transfer.gaps import gap_table
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY, Sample, infer, seed_variance
from lorebridge.transfer.item_model import CROSSED, ECHO, SLOPE, Answers, effects
from lorebridge.transfer.items import BY_LOT, occurrence_means
from lorebridge.transfer.items import DIFFERENCE as DIFFERENCE_OF_MEANS
from lorebridge.transfer.power import ALIKE, APART, detectable_effect, detectable_with_seeds, power_with_seeds

QUESTIONS = {"ko": 593, "zh": 327, "bo": 268, "mn": 265}  # of the released sets' subset "clean", about
RESOURCE = {"ko": "high", "zh": "high", "bo": "low", "mn": "low"}
# Gaps in en->xx and xx->en: the directions differ, alike at both levels, and so do languages within a level.
NO_INTERACTION = {"ko": (0.04, 0.09), "zh": (0.08, 0.11), "bo": (0.02, 0.06), "mn": (0.0, 0.04)}
NO_EFFECT = dict.fromkeys(QUESTIONS, (0.0, 0.0))
SEED_SDS = (0.0, 0.02, 0.04, 0.08)
STEPS = [0, 10, 20, 30]
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


def answers(rng: np.random.Generator, chances: np.ndarray) -> np.ndarray:
    """Return credits at the steps after 0, shape (steps, n), of a model that is right with these chances."""
    right = [rng.random(len(chances)) < chances]
    for _ in STEPS[2:]:
        right.append(np.where(rng.random(len(chances)) < KEPT, right[-1], rng.random(len(chances)) < chances))
    credits = np.array(right, dtype=float)
    credits[rng.random(credits.shape) < TIED] = 0.5
    return credits


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
            before = rng.uniform(0.25, 0.65, n)
            shifts = design.seed_sd * rng.normal(size=design.seeds)
            of_seeds[culture, direction] = shifts.mean()
            arms: dict[str, dict[int, np.ndarray]] = {arm: {} for arm in ARMS}
            for seed, shift in enumerate(shifts):
                step0 = (rng.random((1, n)) < before).astype(float)
                for arm, chances in (("bridge", ease + effect + shift / 2), ("no_bridge", ease - shift / 2)):
                    arms[arm][seed] = np.vstack([step0, answers(rng, chances)])
            names = [f"{culture}-{i:04d}" for i in range(n)]
            cultures[culture][lang] = Credits(culture, lang, names, clusters, STEPS, arms)
    return cultures, of_seeds


def truth(gap: float, scale: str, shift: float = 0.0) -> float:
    """Return what a gap is after ties, on a scale, given the mean effect of the seeds on it."""
    reference = (1 - TIED) * (EASE - shift / 2) + TIED / 2
    return (1 - TIED) * (gap + shift) / (1 if scale == ALL else 1 - reference)


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
            places = list(zip(cells["lang"], cells["direction"], strict=True))
            # Given these seeds, the truth is what these very models would show on all questions.
            given = interval == QUESTIONS_ONLY
            true = np.array(
                [
                    truth(design.gaps[lang][DIRECTIONS.index(direction)], scale, given * of_seeds[lang, direction])
                    for lang, direction in places
                ]
            )
            at = levels[(levels["scale"] == scale) & (levels["interval"] == interval)].set_index("group")
            interaction = at[at["direction"] == DIFFERENCE].loc[INTERACTION]
            rows.append(
                {
                    "scale": scale,
                    "interval": interval,
                    "covered": ((cells["lo"] <= true) & (true <= cells["hi"])).mean(),
                    "bias": (cells["gap"] - true).mean(),
                    "rejected": (cells["p"] <= 0.05).mean(),
                    "any_by_holm": (cells["p_holm"] <= 0.05).any(),
                    "interaction": interaction["estimate"],
                    "interaction_covered": interaction["lo"] <= 0 <= interaction["hi"],
                    "interaction_rejected": interaction["p"] <= 0.05,
                }
            )
    return pd.DataFrame(rows)


def by_spread(
    design: Callable[[float], Design], kind: str, columns: Mapping[str, str], studies: int, seed: int
) -> pd.DataFrame:
    """Return means of what :func:`calibrate` finds, in percent, by how much seeds differ.

    Args:
        design: of the studies, for a standard deviation of seeds.
        kind: how the column is called that names the interval or test.
        columns: column of the table -> column of what is found.
        studies: how many of each design.
        seed: of the studies.
    """
    rows = []
    for sd in SEED_SDS:
        found = calibrate(design(sd), studies, seed)
        for (scale, interval), part in found.groupby(["scale", "interval"], sort=False):
            means = {title: 100 * part[column].mean() for title, column in columns.items()}
            rows.append({"seed sd": sd, "scale": scale, kind: interval.split(",")[0], **means})
    return pd.DataFrame(rows)


def coverage_table(studies: int, seed: int) -> pd.DataFrame:
    """Return coverage, bias and the interaction's rejections in studies with gaps but no interaction."""
    columns = {
        "coverage %": "covered",
        "bias, points": "bias",
        "interaction: coverage %": "interaction_covered",
        "interaction: rejected %": "interaction_rejected",
        "interaction: bias, points": "interaction",
    }
    return by_spread(lambda sd: Design(NO_INTERACTION, sd), "interval", columns, studies, seed)


def level_table(studies: int, seed: int) -> pd.DataFrame:
    """Return how often tests reject where the arms are the same arm run twice (A/A)."""
    columns = {
        "gap: rejected %": "rejected",
        "any of eight by Holm %": "any_by_holm",
        "interaction: rejected %": "interaction_rejected",
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
    claims = list(found.columns[3:])
    return pd.DataFrame(
        [
            *(
                {"reported": name, "mean ratio": found[name].mean(), "finds an effect %": None}
                for name in found.columns[:3]
            ),
            *({"reported": name, "mean ratio": None, "finds an effect %": 100 * found[name].mean()} for name in claims),
        ]
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
        questions: language -> number of questions.
    """

    crossing: float
    slope: float = 0.0
    echo: float = 0.0
    proficiency: float = 0.0
    slip: float = 0.05
    favoured: float = 1.0
    seed_sd: float = 0.0
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
    ".15 and .05 more a doubling": Crossing(0.15, slope=0.05),
    ".15 and .10 more a doubling": Crossing(0.15, slope=0.10),
}
OPTIONS = 4


def answered(world: Crossing, rng: np.random.Generator, seeds: int = 2, checkpoints: int = 3) -> list[Answers]:
    """Return the answers of a study en->xx in which frequency decides what is known; the counts are its own.

    Guesses go by how attractive each option is, alike in all languages and arms, and are mostly kept from one
    checkpoint to the next; questions of a cluster cross alike.
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

        answers = np.zeros((3, seeds, n, OPTIONS))
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
            for arm, right, first in ((1, with_bridge, np.where(repeats, guessed, guess())), (2, without, guess())):
                for _ in range(checkpoints):
                    kept = np.where(rng.random(n) < KEPT, first, guess())
                    answers[arm, seed, np.arange(n), np.where(right, 0, kept)] += 1 / checkpoints
        counts = {"source": np.tile(source, (seeds, 1)), "target": np.tile(target, (seeds, 1))}
        found.append(
            Answers(
                lang=lang,
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
        )
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
    for number, (name, world) in enumerate(worlds.items()):
        found = []
        for study in tqdm(range(studies), desc=name, file=sys.stderr, mininterval=1):
            answers = answered(world, np.random.default_rng([seed, number, study]))
            table = effects(answers)
            table = table[(table["count"] == "occurrences")].set_index(["interval", "quantity"])
            only, seeds = table.loc[QUESTIONS_ONLY], table.loc[QUESTIONS_AND_SEEDS]
            found.append(
                {
                    "slope, points": 100 * only.loc[SLOPE, "estimate"],
                    "slope: rejected %": 100 * (only.loc[SLOPE, "p"] <= 0.05),
                    "with seeds %": 100 * (seeds.loc[SLOPE, "p"] <= 0.05),
                    "true slope covered %": 100 * (only.loc[SLOPE, "lo"] <= world.slope <= only.loc[SLOPE, "hi"]),
                    "crossed %": 100 * only.loc[CROSSED, "estimate"],
                    "guesses repeated %": 100 * only.loc[ECHO, "estimate"],
                    "alarm rings %": 100
                    * any(alarm.verdict == RINGS for alarm in unrelated(_as_table(table.reset_index()))),
                    "logit in the risk set: rejected %": 100 * (naive_slope(answers) <= 0.05),
                }
            )
        rows.append({"world": name, **pd.DataFrame(found).mean()})
    return pd.DataFrame(rows)


def _as_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows as the alarm reads them: of presentations, leaked questions kept."""
    return rows.assign(direction="en->xx", unleaked=False, count="presentations")


def power_table(studies: int, seed: int) -> pd.DataFrame:
    """Return how often the gap that `lorebridge power` prints for 80 % is found, by the test of the table "gaps".

    Two arms of two seeds in four languages, of which the first, with the questions of Korean, is asked about. The
    arms differ on a fifth of the questions, on the same ones from each seed or on others; power is printed for the
    extreme that needs the larger gap.
    """
    sizes, discordance, seeds = list(QUESTIONS.values()), 0.2, 2
    shared: dict[str, Any] = {"discordance": discordance, "seeds": seeds, "pooled": sizes}
    only = detectable_effect(sizes[0], discordance=discordance)
    rows = []
    for sd in SEED_SDS[:3]:  # beyond, the gap is larger than the share of questions that the arms differ on
        effect = detectable_with_seeds(sizes[0], seed_sd=sd, **shared)
        for name, alike in (("the same", ALIKE), ("others", APART)):
            found = {only: 0.0, effect: 0.0}
            for study in tqdm(range(studies), desc=f"power, seed sd {sd}", file=sys.stderr, mininterval=1):
                for gap in found:
                    rng = np.random.default_rng([seed, study, int(1000 * sd), int(alike)])
                    chances = [(discordance + gap) / 2, 1 - discordance, (discordance - gap) / 2]
                    samples = [
                        Sample(
                            rng.choice([1.0, 0.0, -1.0], p=chances, size=(1 if alike else seeds, n))
                            + sd * rng.normal(size=(seeds, 1)),
                            np.arange(n),
                        )
                        for n in sizes
                    ]
                    found[gap] += (infer(samples[:1], [1.0], seed_variance(samples)).p <= 0.05) / studies
            rows.append(
                {
                    "seed sd": sd,
                    "seeds differ on": name,
                    "questions only, points": 100 * only,
                    "found %": 100 * found[only],
                    "with seeds, points": 100 * effect,
                    "calculated %": 100 * power_with_seeds(effect, sizes[0], seed_sd=sd, alike=alike, **shared),
                    "found with seeds %": 100 * found[effect],
                }
            )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=60, help="simulated studies for each line of a table")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    began = time.monotonic()
    found = {
        "Gaps without an interaction": coverage_table(arguments.studies, arguments.seed),
        "The same arm twice (A/A)": level_table(arguments.studies, arguments.seed),
        "Transferred items where frequency has no effect": selection_table(arguments.studies, arguments.seed),
        "The slope of crossing on frequency, unknown facts guessed": frequency_table(arguments.studies, arguments.seed),
        "The gap that is found with 80 % power": power_table(arguments.studies, arguments.seed),
    }
    print(f"`python {' '.join(sys.argv)}` on {platform.machine()}, {time.monotonic() - began:.0f} s")
    for title, table in found.items():
        print(f"\n**{title}**\n\n{table.to_markdown(index=False, floatfmt='.2f')}")
    one = 100 * np.sqrt(0.05 * 0.95 / arguments.studies)
    print(f"\nStandard error of a share near 5 %: {one:.1f} for one test a study, less for eight gaps a study.")


if __name__ == "__main__":
    main()
