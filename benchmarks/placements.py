"""Do the tests of a finished planted study hold their level? Its answers stay, its facts' placements are permuted.

    python benchmarks/placements.py --config config/demo.yaml [--permutations 1000] [--seed 0]

What each model answered is what it answered; which question asks for a fact that one language alone states, or none, is
drawn anew within each language. Then nothing can depend on a placement, and a test at 5 % is to reject in 5 % of the
permutations: no training, and the answers of real models with all that hangs together in them. What is tested is what
the study's tables test, gap(source only) - gap(neither) by contrast, language and direction
(`lorebridge.transfer.planted.samples`), with the difference of the directions and the mean over languages.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from lorebridge import config, studies, tables
from lorebridge.transfer import credits
from lorebridge.transfer.contrasts import ALL, Contrast, by_culture, form
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY, infer
from lorebridge.transfer.planted import ESTIMAND, PLACEMENTS, difference_of_directions, parts_of, samples

LEVEL = 0.05
INTERVALS = {QUESTIONS_ONLY: False, QUESTIONS_AND_SEEDS: True}


def finished(path: Path) -> tuple[dict, list[Path], dict[str, Path], pd.DataFrame]:
    """Return a finished planted study: configuration, tables of scores, of questions by language, and placements."""
    study = config.load(path)
    plan = studies.plan(study)
    root = Path(plan.root)
    scores = [root / f"probes/scores/{name}.parquet" for name in plan.study.models]
    questions = {lang: root / f"probes/questions/{lang}.parquet" for lang in plan.study.langs}
    planted = tables.read(root / "world/truth.parquet", ["question_id", "placed"])
    return study, scores, questions, planted.drop_duplicates("question_id").set_index("question_id")


def credits_of(scores: Sequence[Path], questions: dict[str, Path], study: dict) -> Iterator[credits.Credits]:
    """Return the credits of a study's headline."""
    asked = {key: study["probing"][key] for key in ("subset", "rule", "prefix")} | {"last": study["transfer"]["last"]}
    return credits.load(scores=scores, questions=questions, base=study["base_language"], **asked)


def contrasts_of(scores: Sequence[Path], questions: dict[str, Path], study: dict) -> list[Contrast]:
    """Return the contrasts of two arms of a study, by language and direction."""
    formed = form(
        by_culture(credits_of(scores, questions, study)),
        base=study["base_language"],
        contrasts=study["transfer"]["contrasts"],
        last=study["transfer"]["last"],
    )
    return [contrast for contrast in formed if contrast.known is not None]


def permuted(contrasts: Sequence[Contrast], planted: pd.DataFrame, permutations: int, seed: int) -> pd.DataFrame:
    """Return one row a permutation, test and interval: the p-value.

    Args:
        contrasts: of two arms.
        planted: question_id -> ``placed``.
        permutations: how many; number 0 is the truth itself.
        seed: of the permutations.
    """
    rows = []
    langs = sorted({contrast.culture for contrast in contrasts})
    ids = {lang: next(c.questions for c in contrasts if c.culture == lang) for lang in langs}
    for number in tqdm(range(permutations + 1), mininterval=1):
        rng = np.random.default_rng([seed, number])
        labels = {}
        for lang in langs:
            there = planted.loc[ids[lang], "placed"]
            order = rng.permutation(len(there)) if number else np.arange(len(there))
            labels[lang] = there.iloc[order].set_axis(there.index)
        groups = {
            (contrast.name, contrast.culture, contrast.direction): samples(contrast, ALL, labels[contrast.culture])
            for contrast in contrasts
        }
        tests = {key: parts for key, found in groups.items() if (parts := parts_of(found, ESTIMAND)) is not None}
        single = dict(tests)
        for name in {name for name, _, _ in groups}:
            for lang in langs:
                both = [groups.get((name, lang, direction), {}) for direction in PLACEMENTS]
                difference = difference_of_directions(*both, ESTIMAND)
                if difference is not None:
                    tests[name, lang, "difference of directions"] = difference
            for direction in PLACEMENTS:
                of_langs = [parts for key, parts in single.items() if key[0] == name and key[2] == direction]
                if len(of_langs) > 1:
                    tests[name, "mean of languages", direction] = [
                        (sample, weight / len(of_langs)) for parts in of_langs for sample, weight in parts
                    ]
        for (name, lang, test), parts in tests.items():
            for interval, over_seeds in INTERVALS.items():
                found = infer(*zip(*parts, strict=True), over_seeds=over_seeds)
                rows.append((number, name, lang, test, interval, found.estimate, found.p))
    return pd.DataFrame(rows, columns=["permutation", "contrast", "lang", "test", "interval", "estimate", "p"])


def table(found: pd.DataFrame) -> pd.DataFrame:
    """Return how often each test rejects, in %, with the error of the simulation, and its p-value on the truth."""
    keys = ["contrast", "lang", "test", "interval"]
    drawn, truth = found[found["permutation"] > 0], found[found["permutation"] == 0].set_index(keys)
    share = (drawn["p"] < LEVEL).groupby([drawn[key] for key in keys]).agg(["mean", "size"])
    share["standard error"] = 100 * np.sqrt(LEVEL * (1 - LEVEL) / share["size"])
    share["rejected %"] = 100 * share.pop("mean")
    return share.join(truth[["estimate", "p"]].add_suffix(", true placements")).reset_index()


def main() -> None:
    """Read a finished study, permute, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="of a planted study whose models have been asked")
    parser.add_argument("--permutations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    study, scores, questions, planted = finished(arguments.config)
    found = permuted(contrasts_of(scores, questions, study), planted, arguments.permutations, arguments.seed)
    print(f"{arguments.config}, {arguments.permutations} permutations; Python {platform.python_version()}")
    print(table(found).to_markdown(index=False, floatfmt=".3f"))


if __name__ == "__main__":
    main()
