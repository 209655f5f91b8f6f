"""What is drawn: a row for each figure and table, with how it is presented; the page; the bundle.

A row stands here and not beside its function, because a dry run reads it and may not load a plotting library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lorebridge.corpora.stages import PEOPLE_SETTINGS, sound
from lorebridge.plan.stage import Argument, Arguments, Drawing, File, Stage, Wildcards, by, item, many, one
from lorebridge.plan.study import Study
from lorebridge.tokens.stages import tokenizer
from lorebridge.trace.stages import JUDGE_SETTINGS
from lorebridge.train.stages import metrics
from lorebridge.transfer.stages import compared, exposure, people_questions, scores

FIGURE_SUFFIXES = ("pdf", "svg", "png")
TABLE_SUFFIXES = ("csv", "md", "tex")

Reads = Callable[[Study], Argument]


def _only(stage: str, file: str) -> Reads:
    return lambda study: one(item(stage, file))


def _of_compared(stage: str, file: str) -> Reads:
    return lambda study: many(scores(compared(study), stage, file))


def _audits(study: Study) -> Argument:
    corpora = [sound(lang).known_by(text=lang) for lang in study.languages]
    pairs = [
        item("filter_pairs", "pairs_audit", lang=lang).known_by(text=f"{study.base}-{lang}") for lang in study.langs
    ]
    return by("text", corpora + pairs)


def _people_mentions(study: Study) -> Argument:
    return many(item("people_mentions", "people_mentions", stream=name) for name in study.texts)


def _learned(study: Study) -> Arguments:
    """What the models that start from nothing have learned; in a planted world, with what they answer."""
    first = [model for model in study.models.values() if model.start is None]
    found = {"copying": many(scores(first, "copying", "copying"))}
    if study.planted:
        found |= {"scores": many(scores(first)), "questions": READS["questions"](study), "truth": READS["truth"](study)}
    return found


READS: dict[str, Reads] = {
    "scores": _of_compared("score", "scores"),
    "perplexity": _of_compared("score", "perplexity"),
    "alignment": _of_compared("score", "alignment"),
    "questions": lambda study: by("culture", study.asked.values()),
    "metrics": lambda study: many(metrics(model) for model in study.trained),
    "exposure": lambda study: many(exposure(study.trained)),
    "orders": lambda study: many(item("order", "order", run=model.name) for model in study.trained),
    "audits": _audits,
    "tokenizer": lambda study: one(tokenizer()),
    "gaps": _only("gaps", "gaps"),
    "accuracies": _only("accuracies", "accuracies"),
    "asymmetry": _only("gaps", "asymmetry"),
    "verdicts": _only("verdicts", "verdicts"),
    "matched_gaps": _only("matched_gaps", "matched_gaps"),
    "transferred": _only("items", "transferred"),
    "item_effects": _only("item_effects", "item_effects"),
    "leaks": _only("leaks", "leaks"),
    "occurrences": _only("occurrences", "occurrences"),
    "density": _only("density", "density"),
    "recovery": _only("recovery", "recovery"),
    "scorer": _only("random_models", "scorer"),
    "truth": _only("world", "truth"),
    "mechanism": lambda study: many(item("mechanism", "mechanism", lang=lang) for lang in study.langs),
    "people_gaps": _only("people_gaps", "people_gaps"),
    "people_mentions": _people_mentions,
    "people_questions": lambda study: by("lang", people_questions(study)),
}
"""What drawings are drawn from, by the argument that takes it."""


def reads(*names: str) -> Callable[[Study], Arguments]:
    """Return the inputs of a drawing, by the names of :data:`READS`."""
    return lambda study: {name: READS[name](study) for name in names}


def planted(study: Study) -> bool:
    """Whether there is a truth to compare with."""
    return study.planted


def _controlled(study: Study) -> bool:
    """Whether a planted world has languages in which a bridge is to carry."""
    return bool(study.settings.get("carrying"))


def _uncontrolled(study: Study) -> bool:
    return not _controlled(study)


def of_the_paper(study: Study) -> bool:
    """Whether the text is of real languages, of which the paper prints something."""
    return not study.planted


def two_prefixes(study: Study) -> bool:
    """Whether questions are asked behind more than one prefix."""
    return len(study.config["probing"]["prefixes"]) > 1


def declares(study: Study) -> bool:
    """Whether the study declares tests."""
    return study.declared is not None


def asks_people(study: Study) -> bool:
    """Whether the study asks about people."""
    return study.config.get("people") is not None


_CURVES = "lorebridge.figures.curves"
_EFFECTS = "lorebridge.figures.effects"
_INFERENCE = "lorebridge.figures.inference"
_SUMMARY = "lorebridge.figures.summary"
_PAGE = "lorebridge.figures.readings"
_ALIGNED = ("base", "names", "arms", "subset", "rule", "prefix", "resamples", "seed")
_HOW = ("base", "names", "subset", "rule", "prefix", "last")

FIGURES = (
    Drawing(
        "figure3",
        f"{_CURVES}:figure3",
        reads("accuracies"),
        ("base", "names", "arms", "subset", "rule", "prefix", "last", "ema", "remark"),
        "Results",
        "Accuracy by checkpoint",
        "Accuracy on the cloze questions at every checkpoint, by arm (Figure 3 of Zhang et al., ACL 2025). Upper row: "
        "questions in the language that is learned, what crosses from the base language; lower row: the same questions "
        "in the base language, what crosses into it. Points are seeds and lines their means, both raw. Two shades lie "
        "around a mean: the interval of each checkpoint alone and, wider, the band that holds the whole curve at once. "
        "What is said of the course of a curve, and not of one checkpoint named beforehand, takes the band. In "
        "simulated studies, of 60, 250 and 600 questions, it holds the whole curve in 92 to 96 %. A moving average, "
        "where one is drawn, is for the eye: no statistic uses it.",
        f"{_PAGE}:accuracy",
    ),
    Drawing(
        "declared",
        f"{_INFERENCE}:declared",
        reads("verdicts"),
        ("base", "names", "last"),
        "Results",
        "What was declared, and what was found",
        "The tests that the study declared, in their order: estimate, interval, the margin within which an effect "
        "would not matter, and the verdict of the family. How the declaration stands to the runs is said in the table "
        "of verdicts.",
        when=declares,
    ),
    Drawing(
        "gaps",
        f"{_EFFECTS}:gaps",
        reads("gaps", "questions"),
        ("base", "names", "prefix", "last", "discordance", "remark"),
        "Results",
        "Gaps between arms",
        "Gap between two arms in accuracy over the last checkpoints, in percentage points, by direction and language. "
        "Ticks are seeds. Intervals and what they cover are named in the figure.",
        f"{_PAGE}:power",
    ),
    Drawing(
        "asymmetry",
        f"{_INFERENCE}:asymmetry",
        reads("asymmetry"),
        ("base", "names", "prefix", "last", "remark"),
        "Results",
        "The directions compared",
        "The four readings of transfer (direction by resource level of the language), the difference of the two "
        "directions, and their interaction: whether that difference depends on the resource level. Conditional on the "
        "languages at hand. Intervals and what they cover are named in the figure.",
    ),
    Drawing(
        "occurrences",
        f"{_EFFECTS}:occurrences",
        reads("transferred"),
        ("base", "names", "resamples", "seed", "planted"),
        "Results",
        "Occurrences of transferred items",
        "How often the corpus of the source language states the fact behind a question: transferred items (by "
        "appendix C.4 to the letter, and from a risk set), the rest of that risk set, and all items. Transferred "
        "items are selected on being "
        "known in the source, which itself depends on frequency: compare them with the risk set before comparing with "
        "all items.",
    ),
    Drawing(
        "exposure",
        "lorebridge.figures.exposure:exposure",
        reads("exposure"),
        ("base", "names", "arms", "distance"),
        "Training",
        "Exposure to the facts asked for",
        "How many texts a run has read, up to each checkpoint, that state a question's fact or name its subject: "
        "counted on the data order that it consumed, repeats included, nothing ranked or cut off.",
        f"{_PAGE}:leaks",
    ),
    Drawing(
        "losses",
        f"{_CURVES}:losses",
        reads("metrics"),
        ("base", "names", "arms"),
        "Training",
        "Loss",
        "Training loss of every run by step.",
    ),
    Drawing(
        "learning",
        "lorebridge.figures.learning:learning",
        reads("perplexity", "alignment"),
        ("base", "names", "arms", "prefix"),
        "Training",
        "Held-out text and alignment",
        "Held-out text in both languages (bits per byte) and the alignment of held-out sentence pairs (MEXA) at every "
        "checkpoint.",
    ),
    Drawing(
        "random_models",
        "lorebridge.figures.scorer:figure",
        reads("scorer"),
        ("names",),
        "Validation",
        "What ties are worth to a random model",
        "Random models of the study's shape on its questions: by the rule of the published scorer, whose loss in "
        "bfloat16 ties and whose ties fall to the first option, by the same rule with the options listed backwards, "
        "with ties shared, and in float32.",
    ),
    Drawing(
        "examples",
        "lorebridge.figures.examples:examples",
        reads("questions"),
        ("base", "names", "subset"),
        "Questions",
        "A question of each culture",
        "One question of each culture, in both languages, with its options and the gold.",
    ),
    Drawing(
        "recovery",
        "lorebridge.figures.truth:recovery",
        reads("recovery"),
        ("names",),
        "Validation",
        "Planted statements found again",
        "Recall and precision of retrieval, and of retrieval followed by the judge, against the documents in which the "
        "planted world states each fact. This is the error of the tracing in the other figures, where the truth is "
        "known.",
        f"{_PAGE}:recovery",
        when=planted,
    ),
    Drawing(
        "dose_response",
        "lorebridge.figures.truth:dose_response",
        reads("scores", "questions", "truth"),
        ("base", "names", "contrasts", "subset", "rule", "prefix", "last", "remark"),
        "Results",
        "What crosses by how often it is told",
        "Accuracy and gap by how often the source language states a fact that the other language never states, where "
        "parallel text mentions the entity and where it does not. The dose 0 is stated nowhere: what is right there "
        "did not cross.",
        when=planted,
    ),
    Drawing(
        "mechanism",
        "lorebridge.figures.mechanism:figure",
        reads("mechanism", "scores", "questions", "truth"),
        _ALIGNED,
        "Results",
        "Does alignment come before what crosses?",
        "Accuracy by checkpoint on facts that only the source language states, above the alignment of what corresponds "
        "in the two languages: hidden states of parallel statements, embeddings of names and answers, and what a "
        "clause gains from its translation before it.",
        f"{_PAGE}:mechanism",
        when=planted,
    ),
)

TABLES = (
    Drawing("accuracy", f"{_SUMMARY}:accuracy", reads("accuracies", "questions"), _HOW),
    Drawing(
        "baselines",
        "lorebridge.figures.scorer:baselines",
        reads("accuracies", "questions"),
        ("base", "names", "subset", "rule", "prefix"),
    ),
    Drawing("consistency", f"{_SUMMARY}:consistency", reads("scores", "questions"), _HOW),
    Drawing(
        "ties",
        "lorebridge.figures.scorer:ties",
        reads("scores", "questions", "accuracies"),
        ("base", "names", "prefix", "last"),
    ),
    Drawing("random_models", "lorebridge.figures.scorer:table", reads("scorer"), ("names",)),
    Drawing("verdicts", f"{_INFERENCE}:verdicts", reads("verdicts"), ("base", "names", "last"), when=declares),
    Drawing("gaps", f"{_SUMMARY}:gaps", reads("gaps"), ("base", "names", "last")),
    Drawing("prefixes", f"{_SUMMARY}:prefixes", reads("gaps"), ("base", "names", "last"), when=two_prefixes),
    Drawing("matched_gaps", f"{_INFERENCE}:matched_gaps", reads("matched_gaps"), ("base", "names", "last")),
    Drawing("asymmetry", f"{_INFERENCE}:asymmetry_table", reads("asymmetry"), ("base", "names", "last")),
    Drawing("cultures", f"{_INFERENCE}:cultures", reads("asymmetry", "density"), ("base", "names", "prefix")),
    Drawing(
        "placements",
        f"{_INFERENCE}:placements",
        reads("scores", "questions", "truth"),
        (*_HOW, "contrasts"),
        when=planted,
    ),
    Drawing(
        "dose_response",
        f"{_INFERENCE}:dose_response",
        reads("scores", "questions", "truth"),
        (*_HOW, "contrasts"),
        when=planted,
    ),
    Drawing(
        "learning",
        "lorebridge.figures.learning:table",
        _learned,
        ("names", "subset", "rule", "prefix", "resamples", "seed"),
    ),
    Drawing(
        "mechanism",
        "lorebridge.figures.mechanism:table",
        reads("mechanism", "scores", "questions", "truth"),
        _ALIGNED,
        when=planted,
    ),
    Drawing("power", f"{_SUMMARY}:power", reads("questions"), ("names", "subset", "discordance", "seed_sd", "n_seeds")),
    Drawing("density", f"{_SUMMARY}:density", reads("density"), ("base", "names", "planted")),
    Drawing(
        "occurrences",
        f"{_SUMMARY}:occurrences",
        reads("transferred"),
        ("base", "names", "resamples", "seed", "planted"),
    ),
    Drawing("item_effects", f"{_INFERENCE}:item_effects", reads("item_effects"), ("base", "names")),
    Drawing("consumed", "lorebridge.figures.exposure:consumed", reads("exposure"), ("base", "names", "arms")),
    Drawing("leaks", "lorebridge.figures.exposure:leaks", reads("leaks"), ("names",)),
    Drawing("communities", f"{_SUMMARY}:communities", reads("questions"), ("languages", "subset"), when=of_the_paper),
    Drawing(
        "questions", f"{_SUMMARY}:questions", reads("questions", "tokenizer"), ("base", "names", "subset", "planted")
    ),
    Drawing("data", f"{_SUMMARY}:data", reads("orders"), ("names",)),
    Drawing("filtering", f"{_SUMMARY}:filtering", reads("audits"), ("base", "names")),
    *(
        Drawing(
            "alarms",
            "lorebridge.figures.checks:alarms",
            reads("scores", "questions", "accuracies", "leaks", "occurrences", "item_effects", "perplexity"),
            settings,
            when=when,
        )
        for settings, when in ((_HOW, _uncontrolled), ((*_HOW, "carrying"), _controlled))
    ),
    Drawing("recovery", f"{_SUMMARY}:recovery", reads("recovery"), ("names",), when=planted),
    Drawing(
        "people",
        "lorebridge.figures.people:people",
        reads("people_gaps"),
        ("base", "names", "last", "planted"),
        when=asks_people,
    ),
    Drawing(
        "people_isolation",
        "lorebridge.figures.people:isolation",
        reads("people_mentions", "people_questions"),
        ("base", "names"),
        when=asks_people,
    ),
)


def _drawing_settings(study: Study, drawing: Drawing) -> dict[str, Any]:
    return {key: study.settings[key] for key in drawing.settings}


def _without(value: Any, keys: tuple[str, ...]) -> Any:
    """Return a JSON-like value without some keys, wherever they stand."""
    if isinstance(value, Mapping):
        return {key: _without(item, keys) for key, item in value.items() if key not in keys}
    return [_without(item, keys) for item in value] if isinstance(value, list) else value


def _stated(study: Study) -> dict[str, Any]:
    """Return the configuration without the folders of this machine and without who asks a query service."""
    stated = {key: value for key, value in study.config.items() if key not in ("results", "work", "data")}
    return _without(stated, PEOPLE_SETTINGS)


def _page_literals(study: Study, w: Wildcards) -> dict[str, Any]:
    stated = {key: value for key, value in _stated(study).items() if key != "compute"}
    return {"config": _without(stated, ("path", *JUDGE_SETTINGS))}


def _page_inputs(study: Study, w: Wildcards) -> Arguments:
    return {
        "svg": by("figure", [item("figure", "svg", figure=name) for name in study.figures]),
        "csv": by("table", [item("table", "csv", table=name) for name in study.tables]),
        "md": by("table", [item("table", "md", table=name) for name in study.tables]),
        "questions": by("culture", study.asked.values()),
    }


def _presented(study: Study, w: Wildcards) -> dict[str, Any]:
    """What the page says of the study and of each figure, in their order; no part of a recipe."""
    return {
        "account": study.account,
        "captions": {
            name: {
                "category": drawing.category,
                "title": drawing.title,
                "text": drawing.text,
                "reading": drawing.reading,
            }
            for name, drawing in study.figures.items()
        },
    }


def _bundled(study: Study, w: Wildcards) -> Arguments:
    """Everything that drawings and page are made from, by the argument that takes it."""
    found: dict[str, dict[Any, None]] = {}
    drawings = [drawing.inputs(study) for drawing in [*study.figures.values(), *study.tables.values()]]
    for arguments in [*drawings, {"questions": _page_inputs(study, w)["questions"]}]:
        for argument, given in arguments.items():
            found.setdefault(argument, {}).update(dict.fromkeys((i.stage, i.file, *i.artifact[1]) for i in given.items))
    return {
        argument: many(item(stage, file, **dict(wildcards)) for stage, file, *wildcards in files)
        for argument, files in found.items()
    }


def _drawn(name: str, says: str, holds: str, suffixes: tuple[str, ...]) -> Stage:
    """Return the stage of all figures, or of all tables: one function call writes a file of each suffix."""

    def settings(study: Study, w: Wildcards) -> dict[str, Any]:
        return _drawing_settings(study, (study.figures if name == "figure" else study.tables)[w[name]])

    return Stage(
        name,
        says,
        "by its row",
        version=5,
        files={
            suffix: File(
                f"{name}s/{{{name}}}.{suffix}", holds, argument="out" if suffix == suffixes[0] else "", given="stem"
            )
            for suffix in suffixes
        },
        record=f"{name}s/{{{name}}}.record.json",
        literals=settings,
        identity=lambda study, w: {name: w[name]},
        by_row=True,
    )


STAGES = (
    _drawn("figure", "Draw a figure; what it is drawn from says its row.", "the figures", FIGURE_SUFFIXES),
    _drawn(
        "table",
        "Write a table of the report; what it is made from says its row.",
        "the tables of the report; CSV has full precision",
        TABLE_SUFFIXES,
    ),
    Stage(
        "page",
        "Write the study on one page: question, design, results, tables, provenance.",
        "lorebridge.figures.page:page",
        version=3,
        files={"page": File("report/summary.html", "one file without scripts, which fetches nothing", argument="out")},
        record="report/summary.html.record.json",
        literals=_page_literals,
        inputs=_page_inputs,
        settings=_presented,
        records="records",
    ),
    Stage(
        "bundle",
        "Pack what a study's tables and figures are drawn from.",
        "lorebridge.bundle:pack",
        files={
            "bundle": File(
                "../{study}.bundle.tar.xz",
                "what tables, figures and page are drawn from ([redraw.md](redraw.md))",
                argument="out",
            )
        },
        record="../{study}.bundle.tar.xz.record.json",
        # A task's keys have no order, but panels and rows stand in that of the languages.
        literals=lambda study, w: {
            "config": _stated(study),
            "languages": list(study.languages),
            "figures": list(study.figures),
            "tables": list(study.tables),
        },
        inputs=_bundled,
        records="records",
    ),
)
