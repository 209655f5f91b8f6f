"""The page of the report: what it says is in the tables, and a browser shows all of it."""

from __future__ import annotations

import base64
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from lorebridge import config, declared
from lorebridge.figures import stages as drawings
from lorebridge.figures.page import page
from lorebridge.figures.readings import placements
from lorebridge.tokens.arms import ARMS

FIGURES = ("figure3", "gaps", "asymmetry", "occurrences", "recovery", "examples")
READINGS = {drawing.name: drawing.reading for drawing in drawings.FIGURES if drawing.name in FIGURES}


@pytest.fixture(scope="module")
def paper(root) -> dict:
    """Five languages, in the scripts of which the made-up study is written."""
    return config.load(root / "config" / "config.yaml") | {"remark": "Made-up <numbers>."}


def write(paper: dict, drawn: Path, inputs: dict, folder: Path, tables: Path | None = None) -> str:
    tables = tables or drawn / "tables"
    page(
        config=paper,
        svg={name: drawn / f"{name}.svg" for name in FIGURES},
        csv={path.stem: path for path in tables.glob("*.csv")},
        md={path.stem: path for path in tables.glob("*.md")},
        questions=inputs["study"]["questions"],
        captions={
            name: {"category": "Results", "title": f"The figure {name}", "text": "What it shows.", "reading": reading}
            for name, reading in READINGS.items()
        },
        account="lorebridge.studies.bridge.page:account",
        records=[],
        out=folder / "report" / "summary.html",
    )
    return (folder / "report" / "summary.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def written(paper, drawn, inputs, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write(paper, drawn, inputs[1], folder)
    return folder / "report" / "summary.html"


def test_the_same_tables_make_the_same_bytes(paper, drawn, inputs, written, tmp_path):
    write(paper, drawn, inputs[1], tmp_path)
    assert (tmp_path / "report" / "summary.html").read_bytes() == written.read_bytes()


def test_the_numbers_are_those_of_the_tables(paper, drawn, inputs, tmp_path):
    folder = tmp_path / "tables"
    shutil.copytree(drawn / "tables", folder)
    table = pd.read_csv(folder / "gaps.csv")
    headline = (table["scale"] == "all questions") & (table["seed"].astype(str) == "all")
    row = table[headline & (table["contrast"] == "bridge - no_bridge") & (table["lang"] == "Mongolian")].index
    table.loc[row, ["direction", "gap", "lo", "hi", "p_holm"]] = ["other → English", -77.7, -88.8, 66.6, 0.01]
    table.to_csv(folder / "gaps.csv", index=False)
    text = write(paper, drawn, inputs[1], tmp_path, folder)
    said = next(line for line in text.splitlines() if line.startswith("<li>bridge - no_bridge"))
    assert "Mongolian, other → English: −77.7 points (95\u00a0% interval −88.8 to 66.6)" in said
    assert "interval over questions and seeds" in said
    verdicts = pd.read_csv(folder / "alarms.csv")["verdict"].value_counts()
    assert f"{verdicts.get('rings', 'none')} of {verdicts.sum()} alarms ring" in text
    accuracy = pd.read_csv(folder / "accuracy.csv")
    assert f"{accuracy['accuracy'].max():.1f}\u00a0%" in text


def test_the_page_says_what_was_declared_and_when(paper, drawn, inputs, written, tmp_path):
    text = written.read_text(encoding="utf-8")
    assert '<a href="#declared">' in text and text.index('id="declared"') < text.index('id="found"')
    assert "What was declared when the runs began is not recorded" in text
    assert (
        "<li>&lt;b&gt;Low&lt;/b&gt;: " in text and "smallest effect of interest 20.0; interval over questions" in text
    )
    folder = tmp_path / "tables"
    shutil.copytree(drawn / "tables", folder)
    table = pd.read_csv(folder / "verdicts.csv")
    for state, says in (
        (declared.BEFORE, "was declared before the runs and is as it was then"),
        (declared.SINCE, "was changed since the runs began"),
        (declared.AFTER, "was declared after the runs began, when nothing was"),
    ):
        told = {"declared": state, "verdict": ["equivalent", "below"], "estimate": [0.4, -31.26]}
        table.assign(**told).to_csv(folder / "verdicts.csv", index=False)
        text = write(paper, drawn, inputs[1], tmp_path, folder)
        assert says in text and "2 tests; any wrong verdict has a probability of at most 5\u00a0%" in text
        assert "<li>Korean: equivalent to 0. bridge - no_bridge, English → other: +0.4 points" in text
        assert ": below 0. bridge - no_bridge, English → other: −31.3 points" in text
    (folder / "verdicts.csv").unlink()
    assert "Nothing was declared before the runs" in write(paper, drawn, inputs[1], tmp_path, folder)


def test_what_is_left_at_equal_loss_is_told(drawn, written):
    text = written.read_text(encoding="utf-8")
    assert "At equal loss of held-out text in the language that is learned (bridge - no_bridge; 8 of 8 gaps)" in text
    table = pd.read_csv(drawn / "tables" / "matched_gaps.csv")
    first = table[(table["contrast"] == "bridge - no_bridge") & (table["matched_on"] == "loss_en")]
    assert (first["step"].dropna() == 0).all()  # English is forgotten at once where the bridge is


def test_every_arm_is_told_apart():
    assert len({arm.says for arm in ARMS.values()}) == len(ARMS)


def test_every_figure_and_table_is_there_and_nothing_is_fetched(drawn, written):
    text = written.read_text(encoding="utf-8")
    for name in FIGURES:
        assert base64.b64encode((drawn / f"{name}.svg").read_bytes()).decode() in text
    for path in (drawn / "tables").glob("*.md"):
        assert f'<details id="table-{path.stem}">' in text
        assert path.read_text(encoding="utf-8").split("\n")[0][:40].replace("'", "&#39;") in text.replace("'", "&#39;")
    assert "<script" not in text
    assert set(re.findall(r'(?:src|href)="?([a-z]+:|#)', text)) <= {"data:", "#"}


def test_names_are_text_and_never_markup(paper, drawn, inputs, tmp_path):
    """A bundle may come from anybody, and a language may be called anything."""
    evil = "<img src=x onerror=alert(1)>"
    named = paper | {"languages": paper["languages"] | {"ko": paper["languages"]["ko"] | {"name": evil}}}
    folder = tmp_path / "tables"
    shutil.copytree(drawn / "tables", folder)
    table = folder / "power.md"
    table.write_text(table.read_text(encoding="utf-8").replace("Korean", evil), encoding="utf-8")
    text = write(named, drawn, inputs[1], tmp_path, folder)
    assert evil not in text
    assert text.count("&lt;img src=x onerror=alert(1)&gt;") >= 3


def test_a_browser_shows_the_figures_and_five_scripts(browser, written):
    browser.open(written)
    widths = browser.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(widths) == len(FIGURES) and min(widths) > 100
    assert browser.evaluate("document.body.scrollWidth <= window.innerWidth")
    for script, font in (
        ("Hangul", "Noto Sans CJK"),
        ("Han", "Noto Sans CJK"),
        ("Tibetan", "Noto Serif Tibetan"),
        ("Mongolian", "Noto Sans Mongolian"),
    ):
        shown = browser.fonts(f"td.{script} span")
        assert list(shown) == [name for name in shown if name.startswith(f"*{font}")], (script, shown)
        assert sum(shown.values()) > 0
    assert browser.complaints == []


def test_a_world_in_which_a_bridge_is_to_carry_is_told_in_three_sentences(root):
    """What crosses where it is to, what does not where it must not, and what nobody states; each with its interval."""
    study = config.load(root / "config" / "demo.yaml")
    rows = [
        {
            "contrast": f"bridge - {reference}",
            "lang": lang,
            "direction": direction,
            "scale": "all questions",
            "covered": "all",
            "placed": placed,
            "gap": gap,
            "lo": gap - 5,
            "hi": gap + 5,
            "p": 0.01,
            "interval": "questions and seeds",
            "note": "",
        }
        for reference in ("no_bridge", "placebo")
        for lang, of_lang in (("Korean", 30.0), ("Tibetan", 1.0))
        for direction in ("English → other", "other → English")
        for placed, gap in (("source only - neither", of_lang), ("neither", -0.5), ("both", 0.0))
    ]
    told = placements({"placements": pd.DataFrame(rows)}, study)
    assert len(told) == 3
    assert "asked in Korean" in told[0] and "bridge - no_bridge: +30.0 points (95 % interval 25.0 to 35.0)" in told[0]
    assert "bridge - placebo: +30.0" in told[0]
    assert "asked in Tibetan, whose names follow no rule, so that it must not" in told[1] and "+1.0 points" in told[1]
    assert "stated nowhere" in told[2] and told[2].count("−0.5 points") == 4
