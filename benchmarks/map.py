"""The map: what each cell of it answers by arm, and the gaps, of the studies that have run; the others stay empty.

    python benchmarks/map.py --config config/map.yaml [--config OTHER.yaml ...] --table docs/map.csv --out OUT.png

Left: facts that only the base language states, asked in the language that is learned, at the last checkpoint; the mean
over models and its 95 % interval by Student's t. Right: the study's own intervals over questions and seeds
(`tables/placements.md`), for the contrast `source only - neither`. What a finished study says goes into the table, in
which the cells of studies that are not given keep what they had.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from carrying import answered, over_models
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from lorebridge import config, studies
from lorebridge.figures import style
from lorebridge.transfer.contrasts import ALL
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS
from lorebridge.transfer.planted import ESTIMAND

CELLS = [  # what is changed, its level, the study and the language in which it is so
    ("the reference", "names by rule, other script, svo", "map", "qaa"),
    ("names", "half as the base writes them", "map", "qad"),
    ("names", "as the base writes them", "map", "qac"),
    ("names", "others", "map", "qab"),
    ("script", "the base's", "map", "qae"),
    ("word order", "sov", "map", "qaf"),
    ("pairs", "state facts alone", "map", "qag"),
    ("pairs", "a twentieth of them", "map", "qah"),
    ("base model", "no text says things twice", "map-no-copying", "qaa"),
    ("replay", "none", "map-no-replay", "qaa"),
    ("embeddings", "untied", "map-untied", "qaa"),
    ("code-switching", "a fifth of own text", "map-switched", "qaa"),
    ("dose", "facts stated 6 times, not 24", "map-dose", "qaa"),
]
KEYS = ["study", "lang", "of"]
CHANCE = 0.25


def read(path: Path) -> pd.DataFrame:
    """Return what a finished study says: study, lang, of (an arm or a contrast), estimate, lo, hi (shares), n."""
    study = config.load(path)
    base, names = study["base_language"], {entry["name"]: lang for lang, entry in study["languages"].items()}
    found = over_models(answered(path))
    found = found[(found["placed"] == "en_only") & ~found["in the base language"]]
    shares = found.rename(columns={"arm": "of", "mean": "estimate", "models": "n"})
    gaps = pd.read_csv(Path(studies.plan(study).root) / "tables" / "placements.csv")
    gaps = gaps[
        (gaps["placed"] == ESTIMAND)
        & (gaps["scale"] == ALL)
        & (gaps["interval"] == QUESTIONS_AND_SEEDS)
        & gaps["direction"].str.startswith(study["languages"][base]["name"])
    ]
    gaps = gaps[gaps["covered"] == "all"].assign(lang=gaps["lang"].map(names), n=len(study["seeds"]))
    points = ["gap", "lo", "hi"]
    gaps[points] /= 100
    gaps = gaps.rename(columns={"contrast": "of", "gap": "estimate"})
    both = pd.concat([shares, gaps], ignore_index=True).assign(study=study["study"])
    return both[[*KEYS, "estimate", "lo", "hi", "n"]]


def draw(table: pd.DataFrame, out: Path) -> None:
    """Draw the cells."""
    arms = [name for name in ("bridge", "no_bridge", "placebo") if (table["of"] == name).any()]
    contrasts = [name for name in ("bridge - no_bridge", "bridge - placebo") if (table["of"] == name).any()]
    looks: dict[str, dict] = {arm: style.arm_style(arm) for arm in arms}
    looks |= {name: {"color": colour, "marker": "o"} for name, colour in style.contrast_colours(contrasts).items()}
    found = table.set_index(KEYS)
    with style.styled():
        fig, axes = plt.subplots(
            1, 2, layout="constrained", sharey=True, figsize=(style.PRINTED + 1, 1.6 + 0.3 * len(CELLS))
        )
        for ax, columns, at in zip(axes, (arms, contrasts), (CHANCE, 0), strict=True):
            ax.axvline(100 * at, color="0.3", linewidth=0.8)
            for y, (_, _, study, lang) in enumerate(CELLS):
                there = [name for name in columns if (study, lang, name) in found.index]
                for i, name in enumerate(there):
                    row, beside = found.loc[(study, lang, name)], y + 0.5 * ((i + 0.5) / len(columns) - 0.5)
                    ax.hlines(beside, 100 * row["lo"], 100 * row["hi"], color=looks[name]["color"], linewidth=1.4)
                    ax.plot(100 * row["estimate"], beside, markersize=4.5, linestyle="", **looks[name])
                if not there:
                    ax.annotate(
                        "not run", (0.5, y), xycoords=("axes fraction", "data"), ha="center", va="center", color="0.6"
                    )
            ax.tick_params(axis="y", length=0)
        axes[0].set_yticks(range(len(CELLS)), [f"{what}: {level}" for what, level, *_ in CELLS])
        axes[0].set_ylim(len(CELLS) - 0.5, -0.5)
        axes[0].set_xlabel("right answers (%), chance 25")
        axes[0].set_title("what only the base states")
        axes[1].set_xlabel("points")
        axes[1].set_title(ESTIMAND.replace("-", "−"))
        style.legend(
            fig,
            [Line2D([], [], label=name, linewidth=1.4, markersize=4.5, **look) for name, look in looks.items()],
            columns=5,
            note=f"Asked in the language that is learned, at the last checkpoint; {table['n'].max()} seeds. Left: mean "
            "over models, 95 % interval over them. Right: gaps, 95 % interval over questions and seeds.",
        )
        fig.savefig(out, bbox_inches="tight", pad_inches=0.04)


def main() -> None:
    """Read finished studies, lay what they say into the table, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, action="append", default=[], help="of a study that has run")
    parser.add_argument("--table", type=Path, required=True, help="CSV that is read, where it exists, and written")
    parser.add_argument("--out", type=Path, required=True, help="the figure: .png, .svg or .pdf")
    arguments = parser.parse_args()
    new = [read(path) for path in arguments.config]
    old = [pd.read_csv(arguments.table)] if arguments.table.exists() else []
    table = pd.concat([*old, *new], ignore_index=True).drop_duplicates(KEYS, keep="last").sort_values(KEYS)
    table.to_csv(arguments.table, index=False, float_format="%.4f")
    draw(table, arguments.out)
    print(table.to_markdown(index=False, floatfmt=".3f"))


if __name__ == "__main__":
    main()
