"""Snakemake's report of a finished study, opened in a real browser."""

from __future__ import annotations

import base64
import json
import resource

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reported(finished, tmp_path_factory):
    """A finished study with its report. Do not change it."""
    study = finished.copy(tmp_path_factory.mktemp("reported") / "study")
    study.snakemake("--report", f"results/{study.config['study']}/report.html")
    return study


def test_the_report_opens_on_the_study_and_shows_every_figure(reported, browser, tmp_path):
    page = reported.results / "report" / "summary.html"
    browser.complaints.clear()
    browser.open(reported.results / "report.html")
    browser.wait("document.body.innerText.includes('The study on one page')")
    browser.evaluate("[...document.links].find(link => link.innerText === 'The study on one page').click()")
    browser.wait("document.querySelector('iframe') !== null")
    kind, _, content = browser.evaluate("document.querySelector('iframe').src").partition("base64,")
    assert kind.startswith("data:text/html")
    assert base64.b64decode(content) == page.read_bytes()
    figures = {path.stem for path in (reported.results / "figures").glob("*.svg")}
    widths = browser.evaluate(
        """Promise.all(Object.values(results).filter(r => r.mime_type.startsWith("image/")).map(async (result) => {
             const image = new Image(); image.src = result.data_uri; await image.decode();
             return [result.name, image.naturalWidth];
           })).then(JSON.stringify)"""
    )
    widths = dict(json.loads(widths))
    assert set(widths) == {f"{figure}.svg" for figure in figures}
    assert min(widths.values()) > 100
    assert browser.complaints == []
    browser.screenshot(tmp_path / "report.png")


def test_the_page_is_whole_in_the_browser(reported, browser, tmp_path):
    browser.complaints.clear()
    browser.open(reported.results / "report" / "summary.html")
    figures = list((reported.results / "figures").glob("*.svg"))
    widths = browser.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(widths) == len(figures) and min(widths) > 100
    shown = browser.evaluate("[...document.querySelectorAll('details')].map(d => (d.open = true, d.offsetHeight))")
    assert len(shown) == len(list((reported.results / "tables").glob("*.md"))) + 2 and min(shown) > 60
    for script, font in (("Hangul", "*Noto Sans CJK"), ("Tibetan", "*Noto Serif Tibetan")):
        drawn_with = browser.fonts(f"td.{script} span")
        assert drawn_with and all(name.startswith(font) for name in drawn_with), drawn_with
    text = browser.evaluate("document.body.innerText")
    assert "planted world" in text and "bridge - no_bridge: " in text
    commit = json.loads((reported.results / "transfer" / "gaps.parquet.record.json").read_text())["git"]
    assert commit is None or commit["commit"] in text
    assert browser.complaints == []
    browser.screenshot(tmp_path / "page.png")


def test_a_report_is_made_in_seconds(reported):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    reported.snakemake("--report", f"results/{reported.config['study']}/again.html")
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 20
