"""README and tutorial say what the committed demo shows, in the words of its verdicts and alarms."""

import re
from pathlib import Path

import numpy as np
import pytest

from lorebridge import tables
from lorebridge.bundle import Redrawing
from lorebridge.transfer import credits
from lorebridge.transfer.alarms import CANNOT_TELL, RINGS, alarms
from lorebridge.world.stages import carrying


@pytest.fixture(scope="module")
def demo(root, tmp_path_factory):
    return Redrawing(root / "results" / "demo.bundle.tar.xz", str(tmp_path_factory.mktemp("demo")))


@pytest.fixture(scope="module")
def headline(demo):
    """What the study's headline numbers are read with."""
    config, folder = demo.study.config, Path(demo.root)
    return {
        "scores": sorted((folder / "probes" / "scores").glob("*-*-s*.parquet")),
        "questions": {lang: folder / "probes" / "questions" / f"{lang}.parquet" for lang in demo.study.langs},
        "base": config["base_language"],
        "last": config["transfer"]["last"],
        **{key: config["probing"][key] for key in ("subset", "rule", "prefix")},
    }


@pytest.fixture(scope="module")
def rung(demo, headline):
    """The table of alarms."""
    folder = Path(demo.root)
    return alarms(
        **headline,
        accuracies=folder / "transfer" / "accuracies.parquet",
        leaks=folder / "trace" / "leaks.parquet",
        occurrences=folder / "trace" / "occurrences.parquet",
        item_effects=folder / "transfer" / "item_effects.parquet",
        perplexity=sorted((folder / "probes" / "perplexity").glob("*.parquet")),
        carrying=carrying(demo.study.config),
    )


def told(root, name):
    return " ".join((root / name).read_text(encoding="utf-8").split()).replace("−", "-")


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_verdicts_and_alarms_are_those_of_the_committed_demo(root, demo, rung, page):
    text, table = told(root, page), rung
    for row in tables.read(Path(demo.root) / "transfer" / "verdicts.parquet").to_dict("records"):
        estimate, lo, hi = (100 * row[end] for end in ("estimate", "lo", "hi"))
        number = re.search(rf"{re.escape(f'{estimate:+.1f}')}(?: points)? \[{lo:.1f}, {hi:.1f}\]", text)
        assert number, (row["name"], estimate, lo, hi)
        # The verdict is the last that is named before the number.
        assert re.findall(r"\*(above|below|equivalent|undecided)\*", text[: number.start()])[-1] == row["verdict"]
    rings, silent = ((table["verdict"] == verdict).sum() for verdict in (RINGS, CANNOT_TELL))
    assert re.search(rf"\b{rings} of {len(table)} alarms rings?, .* {silent} cannot tell\b", text)
    for alarm in table[table["verdict"] == RINGS].to_dict("records"):
        name = demo.study.config["languages"][alarm["lang"]]["name"]
        assert re.search(rf"\*{alarm['alarm']}\*[:,] in {name}\b", text), alarm


def test_the_accuracies_under_the_picture_are_those_of_the_committed_demo(root, demo, headline):
    truth = tables.read(Path(demo.root) / "world" / "truth.parquet", ["question_id", "placed"])
    placed = truth.drop_duplicates("question_id").set_index("question_id")["placed"]
    found = {}
    for one in credits.load(**headline):
        if one.lang == one.culture:
            alone = (placed.loc[one.questions] == "en_only").to_numpy()
            found |= {
                (one.lang, arm): f"{100 * np.mean([credit[-1][alone].mean() for credit in by_seed.values()]):.0f}"
                for arm, by_seed in one.arms.items()
            }
    text = told(root, "README.md")
    ko, bo = (
        [found[lang, arm] for arm in ("bridge", "no_bridge", "placebo") if (lang, arm) in found]
        for lang in ("ko", "bo")
    )
    assert f"at {ko[0]} % over the bridge, at {ko[1]} % without it and at {ko[2]} % over a placebo" in text
    assert {f"at {share} % with and without a bridge" in text for share in bo} == {True}, bo
