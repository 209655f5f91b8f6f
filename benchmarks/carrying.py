"""What models of planted studies answer by where a fact is stated, over several studies of one design.

    python benchmarks/carrying.py --config config/demo.yaml [--config OTHER.yaml ...]

Rows: language, arm and placement of the facts, asked in the language that is learned, at the last checkpoint; the mean
over all models of that language and arm, of all studies, and its 95 % interval by Student's t over the models. The same
for the base language ("kept"). Studies of one design differ in world and seeds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from placements import credits_of, finished
from scipy import stats

LEVEL = 0.95


def answered(path: Path) -> pd.DataFrame:
    """Return the accuracy of each model of a study: lang, asked in, arm, seed, placed, accuracy."""
    study, scores, questions, planted = finished(path)
    base, placed = study["base_language"], planted["placed"]
    rows = []
    for one in credits_of(scores, questions, study):
        of = placed.loc[one.questions].to_numpy()
        for arm, by_seed in one.arms.items():
            for seed, credit in by_seed.items():
                rows += [
                    (
                        one.culture,
                        one.lang == base,
                        arm,
                        f"{path}, {seed}",
                        where,
                        float(credit[-1][of == where].mean()),
                    )
                    for where in np.unique(of)
                ]
    return pd.DataFrame(rows, columns=["lang", "in the base language", "arm", "model", "placed", "accuracy"])


def over_models(found: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over models, with its 95 % interval by Student's t, of each language, arm and placement."""
    keys = ["lang", "in the base language", "arm", "placed"]
    table = found.groupby(keys)["accuracy"].agg(["mean", "min", "max", "sem", "size"]).reset_index()
    half = stats.t.ppf((1 + LEVEL) / 2, table["size"] - 1) * table.pop("sem")
    table["lo"], table["hi"] = table["mean"] - half, table["mean"] + half
    return table.rename(columns={"size": "models"})


def main() -> None:
    """Read finished studies and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, action="append", required=True, help="of a planted study that has run")
    found = pd.concat([answered(path) for path in parser.parse_args().config], ignore_index=True)
    print(over_models(found).to_markdown(index=False, floatfmt=".3f"))


if __name__ == "__main__":
    main()
