"""Which entities of a planted world the parallel text mentions, found by the workflow and by the world's own record.

    snakemake --cores 2 results/articles/trace/leaks.parquet --configfile config/articles.yaml
    python benchmarks/covered.py results/articles results/demo

Each folder is that of a study, of which this table is made. The run fails where recall or precision is below .90.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from lorebridge import tables
from lorebridge.trace.leaks import coverage_found

LEAST = 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("studies", type=Path, nargs="+", metavar="RESULTS", help="folder of a study's results")
    studies = parser.parse_args().studies
    found = pd.concat(
        coverage_found(
            tables.read(study / "trace" / "leaks.parquet"), tables.read(study / "world" / "truth.parquet")
        ).assign(study=study.name)
        for study in studies
    )
    shown = found[["study", *found.columns[:-1]]]
    print(shown.to_markdown(index=False, floatfmt=".2f"))
    if (found[["recall", "precision"]] < LEAST).any(axis=None):
        sys.exit(f"below {LEAST}")


if __name__ == "__main__":
    main()
