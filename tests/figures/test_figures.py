"""Figures: complete, the same bytes from the same rows, and letters as they are written."""

import itertools
import re

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

from lorebridge import tables
from lorebridge.figures import style
from lorebridge.figures.curves import figure3
from lorebridge.figures.examples import examples
from lorebridge.tokens.arms import ARMS

FIGURES = ("figure3", "loss", "declared", "gaps", "asymmetry", "occurrences", "recovery", "dose_response", "examples")
NAMES = {"en": "English", "ko": "Korean", "zh": "Chinese", "bo": "Tibetan", "mn": "Mongolian"}
STACK = "རྒྱ"  # one column: ra above ga above ya
WORD = "ᠮᠣᠩᠭᠣᠯ"


@pytest.mark.parametrize("name", FIGURES)
def test_three_formats_without_dates(drawn, name):
    pdf, svg, png = ((drawn / f"{name}.{suffix}").read_bytes() for suffix in ("pdf", "svg", "png"))
    assert pdf.startswith(b"%PDF") and b"CreationDate" not in pdf
    assert b"<svg" in svg and b"<dc:date>" not in svg
    assert png.startswith(b"\x89PNG") and len(png) > 10_000


def test_same_bytes_twice(drawn, drawn_again):
    files = sorted(path.relative_to(drawn) for path in drawn.rglob("*.*"))
    assert len(files) == 3 * (len(FIGURES) + 18)
    assert [f for f in files if (drawn / f).read_bytes() != (drawn_again / f).read_bytes()] == []


def test_a_language_that_is_trained_in_fewer_arms_is_drawn_with_those(inputs, tmp_path):
    whole = tables.read(inputs[0] / "accuracies.parquet")
    fewer = whole[~((whole["culture"] == "ko") & (whole["arm"] == "placebo"))]
    assert 0 < len(fewer) < len(whole)
    tables.write("accuracies", fewer, tmp_path / "accuracies.parquet")
    shown = {"base": "en", "subset": "clean", "rule": "mean", "prefix": "bare", "names": NAMES, "arms": ARMS}
    figure3(accuracies=tmp_path / "accuracies.parquet", **shown, last=3, ema=0.8, out=tmp_path / "figure3")
    assert "placebo" in (tmp_path / "figure3.svg").read_text()


def test_fonts_are_embedded_as_truetype(drawn):
    pdf = (drawn / "examples.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    fonts = set(re.findall(rb"/BaseFont /(?:[A-Z]{6}\+)?([\w-]+)", pdf))
    for family in (b"DejaVuSans", b"NotoSansCJK", b"NotoSerifTibetan", b"NotoSansMongolian"):
        assert any(font.startswith(family) for font in fonts), (family, fonts)


def test_every_letter_of_five_scripts_has_a_glyph():
    for text, family in {
        "The herders’ tale, 1240 – naïve": "DejaVu Sans",
        "한국의 여름 계절은 무덥다": "Noto Sans CJK SC Subset",
        "在汉族文化中，夏、商、西周。": "Noto Sans CJK SC Subset",
        "བོད་ལྗོངས་ཤར་རྒྱུད་དང་། བསྒྲུབས": "Noto Serif Tibetan",
        "ᠮᠣᠩᠭᠣᠯ ᠣᠷᠣᠨ\u202fᠤ ᠪᠠᠶᠢᠨ\u180eᠠ ᠃": "Noto Sans Mongolian",
    }.items():
        assert style.missing_glyphs(text) == set()
        assert style.fonts_for(text)[0] == family
    assert style.missing_glyphs("a\U0001f9ca") == {"\U0001f9ca"}


def _width(text: str) -> float:
    with style.styled():
        return (
            plt.figure().text(0.5, 0.5, text, fontsize=40, fontfamily=style.fonts_for(text)).get_window_extent().width
        )


def test_tibetan_letters_stack_and_mongolian_letters_join():
    assert _width(STACK) < 1.5 * _width("ག") < _width("རགཡ")
    assert _width(WORD) < 0.8 * sum(_width(letter) for letter in WORD)


def test_moving_average():
    assert style.smoothed([1, 0, 0], 0.8).tolist() == pytest.approx([1, 0.8, 0.64])


def test_every_arm_has_a_look_of_its_own():
    looks = [(tuple(np.round(to_rgb(look["color"]), 3)), look["marker"]) for look in map(style.arm_style, ARMS)]
    assert len(set(looks)) == len({colour for colour, _ in looks}) == len(ARMS)
    assert len(set(style.contrast_colours([f"c{i}" for i in range(10)]).values())) == 10


def test_an_unknown_arm_has_a_look():
    assert style.arm_style("code_switch")["color"] == "0.5"


def test_a_question_without_a_gold_is_no_example(inputs, tmp_path):
    # The released Mongolian questions, whole ("reference"), have one whose gold is not among the options.
    table = tables.read(inputs[1]["study"]["questions"]["mn"])
    table.loc[table["question_id"] == "mn-0000", "is_gold"] = False
    tables.write("questions", table, tmp_path / "mn.parquet")
    examples(
        questions={"mn": tmp_path / "mn.parquet"},
        names={"en": "English", "mn": "Mongolian"},
        base="en",
        subset="reference",
        out=tmp_path / "examples",
    )
    assert (tmp_path / "examples.png").exists()


@pytest.fixture
def printed(monkeypatch):
    """Figures as they were saved, still open."""
    found = []
    whole = style.save

    def kept(fig, out):
        whole(fig, out)
        fig.canvas.draw()
        texts = [text for ax in fig.axes for text in ax.texts if text.get_text().strip()]
        found.append(
            {
                "width": fig.get_figwidth(),
                "ticks": [
                    [t.get_text() for t in axis.get_ticklabels() if t.get_visible() and t.get_text()]
                    for ax in fig.axes
                    for axis in (ax.xaxis, ax.yaxis)
                ],
                "texts": [(t.get_text(), t.get_fontsize(), t.get_window_extent()) for t in texts],
            }
        )

    monkeypatch.setattr(style, "save", kept)
    return found


def test_no_tick_label_comes_twice(printed, tmp_path):
    for high in (0.004, 0.021, 0.26, 1.0):
        with style.styled():
            fig, ax = plt.subplots(figsize=(2, 2))
            ax.plot([0, 1], [0, high])
            style.percent(ax.yaxis)
            style.save(fig, tmp_path / "share")
        for labels in printed.pop()["ticks"]:
            assert len(set(labels)) == len(labels) > 2


def test_an_example_is_legible_in_print(printed, inputs, tmp_path):
    questions = inputs[1]["study"]["questions"]
    examples(questions=questions, names=NAMES, base="en", subset="clean", out=tmp_path / "examples")
    [shown] = printed
    assert shown["width"] <= 6.3
    assert min(size for _, size, _ in shown["texts"]) >= 7
    boxes = {(i, text): box for i, (text, _, box) in enumerate(shown["texts"])}
    assert [(a, b) for a, b in itertools.combinations(boxes, 2) if boxes[a].overlaps(boxes[b])] == []
