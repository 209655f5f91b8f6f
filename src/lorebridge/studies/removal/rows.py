"""What a study of removal draws, and how it is presented; and its alarms. Light: a dry run reads it."""

from __future__ import annotations

from lorebridge.plan.stage import Arguments, Drawing, File, Stage, item, many, one
from lorebridge.plan.study import Study

HERE = "lorebridge.studies.removal"


def _of(*names: str) -> Arguments:
    """Return tables that a stage of the same name makes."""
    return {name: one(item(name, name)) for name in names}


ALARMS = Stage(
    "removal_alarms",
    "Read from the study's own tables whether its nulls say anything.",
    "lorebridge.transfer.removal_alarms:removal_alarms",
    files={"removal_alarms": File("removal/alarms.parquet", table="removal_alarms", argument="out")},
    record="removal/alarms.parquet.record.json",
    literals=lambda study, w: {
        "target": study.config["removal"]["target"],
        "margin": study.config["inference"]["margin"],
        "alpha": study.config["inference"]["alpha"],
    },
    inputs=lambda study, w: {
        "accuracy": one(item("qa_accuracy", "qa_accuracy")),
        "equivalence": one(item("equivalence", "equivalence")),
        "baselines": many([item("qa_baselines", "qa_baselines")]),
        "filter_sizes": one(item("filter_sizes", "filter_sizes")),
    },
)


def _removed(study: Study) -> Arguments:
    return _of("filter_sizes")


def _differences(study: Study) -> Arguments:
    return _of("equivalence")


FIGURES = (
    Drawing(
        "removed",
        f"{HERE}.drawings:removed",
        _removed,
        ("names", "base"),
        "What was removed",
        "Text and facts by level",
        "Left, which share of the tokens of the language that pages are removed from goes at each level, and is "
        "replaced by as many of the reserve. Right, which share of the test's facts is still stated by what is read "
        "after that, in each language: what was removed is pages, and a fact may stand on others.",
        f"{HERE}.page:removed",
    ),
    Drawing(
        "answers",
        f"{HERE}.drawings:answers",
        lambda study: _of("qa_accuracy", "equivalence", "qa_baselines"),
        ("names", "base"),
        "Results",
        "Right answers by level",
        "How many answers are right (folded exact match, or the option), by the tuning, the task and the language that "
        "is asked in, with intervals of 95 % over clusters of questions, given these models. The band is what lies "
        "within the margin of equivalence around the test's questions where nothing was removed; the dotted line the "
        "best baseline that needs no model.",
        f"{HERE}.page:answers",
    ),
    Drawing(
        "differences",
        f"{HERE}.drawings:differences",
        _differences,
        ("names", "base"),
        "Results",
        "Differences from removing nothing",
        "What each level differs by from removing nothing, on the test's questions: points, with intervals of 95 % "
        "over clusters of questions, given these models. The band is the margin. Filled: shown to lie above or below "
        "0 and not within the margin; square: shown to lie within it; hollow: neither. Levels and languages of a panel "
        "are one family (Holm).",
        f"{HERE}.page:differences",
    ),
    Drawing(
        "crossing",
        f"{HERE}.drawings:crossing",
        _differences,
        ("names", "base"),
        "Results",
        "What is answered beyond facts that no text states",
        "How many more of the test's questions are right than of questions whose facts no text states, at each level: "
        "in the language that pages are removed from, where the test's facts are gone from its text, this is what "
        "comes from the other language. Read as the figure above.",
        f"{HERE}.page:crosses",
        when=lambda study: study.planted,
    ),
)

TABLES = (
    Drawing("removed", f"{HERE}.drawings:removed_table", _removed, ("names", "base")),
    Drawing("answers", f"{HERE}.drawings:answers_table", lambda study: _of("qa_accuracy"), ("names", "base")),
    Drawing("differences", f"{HERE}.drawings:differences_table", _differences, ("names", "base")),
    Drawing("correlations", f"{HERE}.drawings:correlations_table", lambda study: _of("qa_correlation"), ()),
    Drawing("power", f"{HERE}.drawings:power_table", lambda study: _of("qa_power"), ("names", "base")),
    Drawing("baselines", f"{HERE}.drawings:baselines_table", lambda study: _of("qa_baselines"), ("names", "base")),
    Drawing("overlap", f"{HERE}.drawings:overlap_table", lambda study: _of("qa_overlap"), ("names", "base")),
    Drawing("alarms", f"{HERE}.drawings:alarms_table", lambda study: _of("removal_alarms"), ("names", "base")),
    Drawing("printed", f"{HERE}.drawings:printed_table", lambda study: _of("qa_accuracy"), ("base", "target")),
)
