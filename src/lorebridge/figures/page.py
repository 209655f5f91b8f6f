"""The page of the report: question, design, results, tables and provenance of a study in one file.

All that it says of results is read from the study's own tables. It is one HTML file without scripts, which fetches
nothing: the figures are in it, and of the fonts for other scripts the glyphs that its text needs.
"""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml
from fontTools import subset
from fontTools.ttLib import TTFont
from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from lorebridge import publish, tables
from lorebridge.config import checkpoint_steps
from lorebridge.figures.effects import contrast_label
from lorebridge.figures.style import FONTS, arm_label, seeds_phrase
from lorebridge.probes.questions import in_subset
from lorebridge.records import read_record
from lorebridge.tokens import arms as arms_
from lorebridge.transfer.alarms import CANNOT_TELL, RINGS
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY

LEVEL = 0.05
ZOOM = 1.55  # pixels for a point of a figure's width: its text of 8.5 points is then near that of the page

Findings = Callable[[Mapping[str, pd.DataFrame], Mapping[str, Any]], list[str]]
"""From the study's tables (CSV, by name) and its configuration, what they say, in sentences."""

# A language may be called anything: HTML in a table stays text.
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


class Caption(NamedTuple):
    """How a figure is presented: the part of the page that it stands in, its title, and what it shows."""

    category: str
    title: str
    text: str


def page(
    *,
    config: Mapping[str, Any],
    svg: Mapping[str, Path],
    csv: Mapping[str, Path],
    md: Mapping[str, Path],
    questions: Mapping[str, Path],
    captions: Mapping[str, Caption],
    records: Sequence[str],
    out: Path,
) -> None:
    """Write the page; its bytes depend on the arguments and on what the files hold.

    Args:
        config: the study's configuration.
        svg: name of a figure -> its image.
        csv: name of a table -> its rows, with full precision.
        md: name of a table -> the same as people read it, its caption above it.
        questions: culture -> table "questions".
        captions: figure -> how it is presented, in the order of the page.
        records: paths of the records of what is shown; the records of what that was made from are found through them.
        out: the HTML file, in a folder below that of the study.
    """
    rows = {name: pd.read_csv(path) for name, path in csv.items()}
    parts: dict[str, list[dict[str, Any]]] = {}
    for name, caption in captions.items():
        image = svg[name].read_bytes()
        figure = {
            "name": name,
            "image": _data_uri(image, "image/svg+xml"),
            "width": round(ZOOM * _width(image)),
            "findings": READINGS[name](rows, config) if name in READINGS else [],
            **caption._asdict(),
        }
        parts.setdefault(caption.category, []).append(figure)
    environment = Environment(
        loader=PackageLoader("lorebridge.figures", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = lambda text: text.replace(" %", "\u00a0%")
    text = environment.get_template("page.html.jinja").render(
        study=config["study"],
        remark=config["remark"],
        planted=config["world"] is not None,
        headlines=[finding for find in HEADLINES for finding in find(rows, config)],
        design=_design(config),
        languages=_languages(config, questions),
        arms={arm_label(arm): _docstring(arm) for arm in config["arms"]},
        examples=_examples(config, questions),
        parts=parts,
        tables={name: Markup(_MARKDOWN.render(path.read_text(encoding="utf-8"))) for name, path in sorted(md.items())},
        made=_made(records, out.parents[1]),
        sources=_sources(config),
        configuration=yaml.safe_dump(dict(config), allow_unicode=True, sort_keys=False, width=100),
    )
    publish.write_text(out, text.replace("/* fonts */", _fonts(text)))


# ---------------------------------------------------------------- what the tables say


def _pooled(table: pd.DataFrame) -> pd.DataFrame:
    """Return the headline rows: all questions, leaked ones kept, with the widest interval that there is."""
    return _widest(table[(table["scale"] == "all questions") & (table["leaked_questions"] == "kept")])


def _widest(table: pd.DataFrame) -> pd.DataFrame:
    with_seeds = table[table["interval"] == QUESTIONS_AND_SEEDS]
    return with_seeds if len(with_seeds) else table[table["interval"] == QUESTIONS_ONLY]


def _points(row: pd.Series, value: str) -> str:
    """Return an estimate in percentage points with its interval.

    >>> _points(pd.Series({"gap": 1.26, "lo": -0.5, "hi": 3.0}), "gap")
    '+1.3 points (95 % interval −0.5 to 3.0)'
    """
    text = f"{row[value]:+.1f} points (95 % interval {row['lo']:.1f} to {row['hi']:.1f})"
    return re.sub(r"-(?=\d)", "−", re.sub(r"[+-](?=0\.0 points)", "", text))


def _range(values: pd.Series, unit: str) -> str:
    """Return the smallest and the largest of some values, or the one that they are.

    >>> _range(pd.Series([25.0, 25.01]), "%"), _range(pd.Series([3.0, 4.0]), "points")
    ('25.0 %', '3.0 to 4.0 points')
    """
    low, high = f"{values.min():.1f}", f"{values.max():.1f}"
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _first_contrast(config: Mapping[str, Any]) -> str:
    return contrast_label(" - ".join(config["transfer"]["contrasts"][0]))


def _gaps(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    table = _pooled(rows["gaps"])
    table = table[table["seed"].astype(str) == "all"]
    base = config["base_language"]
    found = []
    for contrast in (contrast_label(" - ".join(pair)) for pair in config["transfer"]["contrasts"]):
        gaps = table[table["contrast"] == contrast]
        largest = gaps.iloc[int(gaps["gap"].abs().argmax())]
        into = largest["direction"].endswith(f">{base}")
        found.append(
            f"{contrast}: {int((gaps['p_holm'] < LEVEL).sum()) or 'none'} of {len(gaps)} gaps (languages × directions) "
            f"can be told from zero at {LEVEL:g} (Holm). The largest is {largest['lang']} "
            f"{'into' if into else 'from'} {config['languages'][base]['name']}: {_points(largest, 'gap')}; interval "
            f"over {largest['interval']}."
        )
    return found


def _asymmetry(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    table = _pooled(rows["asymmetry"])
    first = _first_contrast(config)
    tests = table[(table["contrast"] == first) & table["resource"].str.contains("interaction")]
    return [
        f"How much more the two directions differ in low-resource languages than in high-resource ones ({first}): "
        f"{_points(test, 'estimate')}, p = {test['p']:.2g}; interval over {test['interval']}, for these languages only."
        for _, test in tests.iterrows()
    ]


def _placements(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    if "placements" not in rows:
        return []
    table, first = _widest(rows["placements"]), _first_contrast(config)
    crossed = table[(table["contrast"] == first) & (table["covered"] == "all") & table["placed"].str.contains(" - ")]
    largest, told = crossed.iloc[int(crossed["gap"].abs().argmax())], int((crossed["p"] < LEVEL).sum())
    return [
        f"What crosses in the planted world, with facts stated nowhere as the control ({first}): {told or 'none'} of "
        f"{len(crossed)} estimates can be told from zero at {LEVEL:g}, each taken alone. The largest is "
        f"{largest['lang']}, {largest['direction']}: {_points(largest, 'gap')}; interval over {largest['interval']}."
    ]


def _alarms(rows: Mapping[str, pd.DataFrame], _: Mapping[str, Any]) -> list[str]:
    table = rows["alarms"]
    ringing = table.loc[table["verdict"] == RINGS, "alarm"].value_counts()
    named = ", ".join(f"{alarm} ({count})" for alarm, count in sorted(ringing.items()))
    return [
        f"Signs that the study itself went wrong: {ringing.sum() or 'none'} of {len(table)} alarms ring"
        f"{': ' + named if named else ''}; {int((table['verdict'] == CANNOT_TELL).sum())} cannot tell."
    ]


HEADLINES: tuple[Findings, ...] = (_gaps, _placements, _asymmetry, _alarms)
"""What stands at the top of the page."""


def _accuracy(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    table = rows["accuracy"]
    found = []
    for own, label in ((True, "the language that is learned"), (False, "the base language")):
        asked = table[(table["culture"] == table["asked_in"]) == own]
        low, high = (asked.loc[asked["accuracy"].agg(end)] for end in ("idxmin", "idxmax"))
        found.append(
            f"In {label}, accuracy over the last {config['transfer']['last']} checkpoints goes from "
            f"{low['accuracy']:.1f} % ({low['culture']}, {low['arm']}) to {high['accuracy']:.1f} % ({high['culture']}, "
            f"{high['arm']}); at step 0 it was {_range(asked['before'], '%')}, and chance is "
            f"{_range(asked['chance'], '%')}."
        )
    return found


def _power(rows: Mapping[str, pd.DataFrame], _: Mapping[str, Any]) -> list[str]:
    smallest = _range(rows["power"]["detectable_effect"], "points")
    return [f"The smallest gap that a culture's questions can show with one seed: {smallest} (80 % power)."]


def _leaks(rows: Mapping[str, pd.DataFrame], _: Mapping[str, Any]) -> list[str]:
    both = rows["leaks"][rows["leaks"]["half"] == "either"]
    told, leaked = int(both["told"].sum()), int(both["leaked"].sum())
    return [f"Of {told:,} facts that could be looked for, the parallel text states {leaked:,} outright."]


def _recovery(rows: Mapping[str, pd.DataFrame], _: Mapping[str, Any]) -> list[str]:
    judged = rows["recovery"][rows["recovery"]["stage"] == "judged"]
    right, there, found = (int(judged[column].sum()) for column in ("recovered_true", "true_documents", "recovered"))
    return [
        f"Of {there:,} documents that state a planted fact, retrieval and judge find {right:,}; they name "
        f"{found - right:,} that do not."
    ]


READINGS: dict[str, Findings] = {"figure3": _accuracy, "gaps": _power, "exposure": _leaks, "recovery": _recovery}
"""Figure -> what stands below it."""


# ---------------------------------------------------------------- design


_CHANGED = {
    arms_.XX_FIRST: "the half in the other language first",
    arms_.UNTAGGED: "without the template's labels",
    arms_.EXCHANGED: "in another order: the same arm again, as a control",
    arms_.LEAK_FREE: "without the pairs that state an answer",
    arms_.LEAK_ONLY: "only the pairs that state an answer",
    arms_.ENGLISH_MATCHED: "fewer pairs, so that English tokens are a set share",
    arms_.REPLAY: "some monolingual text is of the base language",
}


def _docstring(arm: str) -> str:
    """Return what an arm does with the pairs: what its arrangement's function says, and what is changed in it."""
    found = arms_.ARMS[arm]
    laid_out = re.split(r"[;.\n]", arms_.ARRANGEMENTS[found.arrangement].__doc__ or "")[0]
    return "; ".join([laid_out, *(_CHANGED[change] for change in (found.change, found.variant) if change)])


def _design(config: Mapping[str, Any]) -> dict[str, str]:
    """Return what was done, by heading."""
    training, model, probing = config["training"], config["model"], config["probing"]
    base, continual = training["base"], training["continual"]
    language = config["languages"][config["base_language"]]["name"]
    step = "steps of {} tokens each"
    return {
        "Model": f"from scratch, {model['num_hidden_layers']} layers, width {model['hidden_size']}, "
        f"{model['num_attention_heads']} attention heads",
        "First": f"{base['steps']:,} {step.format(format(base['batch_tokens'], ','))} in {language} alone",
        "Then": f"{continual['steps']:,} {step.format(format(continual['batch_tokens'], ','))}: text of one other "
        "language, and as much parallel text, arranged by the arm",
        "Asked": f"the same cloze questions in both languages at {len(checkpoint_steps(continual))} checkpoints; "
        f"questions: {probing['subset']}; options compared by the rule ‘{probing['rule']}’; ties share the "
        "credit",
        "Seeds": f"{seeds_phrase(len(config['seeds']))} of data order"
        + (" and of the base model" if training["base_per_seed"] else ", one base model"),
        "Headline": f"mean of the last {config['transfer']['last']} checkpoints; gaps between arms, "
        + ", ".join(contrast_label(" - ".join(pair)) for pair in config["transfer"]["contrasts"]),
        "Directions": f"a fact crosses from {language} when it is asked for in the other language, and into {language} "
        f"when it is asked for in {language}",
    }


def _languages(config: Mapping[str, Any], questions: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Return one row a language, the base first."""
    counted = {}
    for culture, path in questions.items():
        counted[culture] = in_subset(tables.read(path), config["probing"]["subset"])["question_id"].nunique()
    order = sorted(config["languages"], key=lambda lang: lang != config["base_language"])
    return [
        {
            "name": config["languages"][lang]["name"],
            "script": config["languages"][lang]["script"],
            "role": "base" if lang == config["base_language"] else f"{config['languages'][lang]['resource']}-resource",
            "questions": counted.get(lang),
        }
        for lang in order
    ]


def _examples(config: Mapping[str, Any], questions: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Return the shortest question of each culture, in both languages, with its options."""
    chosen = []
    for culture, path in questions.items():
        asked = in_subset(tables.read(path), config["probing"]["subset"]).sort_values(["question_id", "option_index"])
        answered = asked.groupby(["question_id", "lang"])["is_gold"].transform("any")
        asked = asked[answered.groupby(asked["question_id"]).transform("all")]
        length = (
            asked.drop_duplicates(["question_id", "lang"])
            .groupby("question_id")["text"]
            .agg(lambda texts: texts.str.len().sum())
        )
        one = asked[asked["question_id"] == length.idxmin()]
        for lang in (culture, config["base_language"]):
            rows = one[one["lang"] == lang]
            chosen.append(
                {
                    "lang": lang,
                    "language": config["languages"][lang]["name"],
                    "script": config["languages"][lang]["script"],
                    "text": re.sub("_+", "____", rows["text"].iloc[0].strip()),
                    "options": list(zip(rows["option"].str.strip(), rows["is_gold"], strict=True)),
                }
            )
    return chosen


# ---------------------------------------------------------------- where it comes from


def _sources(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (which text, where it is from)."""
    names = {lang: config["languages"][lang]["name"] for lang in config["languages"]}
    base = names[config["base_language"]]
    found = []
    for section, label in (("corpora", "{}"), ("parallel", f"{base}–{{}} pairs")):
        for lang, entry in config[section].items():
            named = (source.get("name") or source["kind"] for source in entry["sources"])
            found.append((label.format(names[lang]), ", ".join(dict.fromkeys(named))))
    for culture, entry in config["questions"].items():
        kinds = dict.fromkeys(file["kind"] for file in entry["files"].values())
        found.append((f"{names[culture]} questions", ", ".join(kinds)))
    return found


def _made(records: Sequence[str], root: Path) -> dict[str, Any]:
    """Return what the records say of the code behind the tables: commits, versions, and the recipes by stage.

    These are the records of what is drawn from and not of the drawings: a page that is redrawn elsewhere says the same.
    """
    behind: dict[str, str] = {}
    for path in records:
        record = read_record(path) or {}
        drawing = record.get("stage") in ("figure", "table")
        behind |= record["inputs"] if drawing else {path: record.get("recipe", "?")}
    commits, packages, stages = Counter[str](), Counter[str](), Counter[str]()
    for path in sorted(behind):
        record = read_record(path) or {}
        git = record.get("git")
        changed = " with uncommitted changes" if git and git["dirty"] else ""
        commits[f"{git['commit']}{changed}" if git else "outside git"] += 1
        versions = {"python": record.get("python", "?"), **record.get("packages", {})}
        packages.update(f"{name} {version}" for name, version in versions.items())
        stages[f"{record.get('stage')} (version {record.get('version')})"] += 1
    return {
        "commits": list(commits),
        "packages": sorted(packages),
        "stages": sorted(stages.items()),
        "recipes": [f"{recipe}  {Path(path).relative_to(root).as_posix()}" for path, recipe in sorted(behind.items())],
    }


# ---------------------------------------------------------------- the file


def _width(svg: bytes) -> float:
    """Return the width of an image that matplotlib wrote, in points."""
    match = re.search(rb'<svg [^>]*?width="([\d.]+)pt"', svg, re.S)
    assert match is not None
    return float(match.group(1))


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _fonts(text: str) -> str:
    """Return the style rules of the fonts that `text` needs, each cut down to its characters of that script."""
    wanted = {ord(c) for c in text if ord(c) > 0x10FF or 0x0F00 <= ord(c) <= 0x0FFF}
    rules = []
    for path in sorted(FONTS.glob("*.ttf")):
        font = TTFont(path, recalcTimestamp=False)
        if not (here := wanted & set(font.getBestCmap())):
            continue
        here.add(ord(" "))  # else a space between two words would come from another font
        # All features: Tibetan stacks and Mongolian joins are made by them.
        options = subset.Options(layout_features=["*"], notdef_outline=True, recalc_timestamp=False)
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=here)
        subsetter.subset(font)
        font.flavor = "woff"
        buffer = io.BytesIO()
        font.save(buffer)
        ranges = ", ".join(f"U+{code:04X}" for code in sorted(here))
        rules.append(
            f'@font-face {{ font-family: "{path.stem}"; src: url({_data_uri(buffer.getvalue(), "font/woff")}) '
            f'format("woff"); unicode-range: {ranges}; }}'
        )
    return "\n".join(rules)
