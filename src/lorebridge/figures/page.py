"""The page of the report: question, design, results, tables and provenance of a study in one file.

All that it says of results is read from the study's own tables. It is one HTML file without scripts, which fetches
nothing: the figures are in it, and of the fonts for other scripts the glyphs that its text needs.
"""

from __future__ import annotations

import base64
import dataclasses
import importlib
import io
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from fontTools import subset
from fontTools.ttLib import TTFont
from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from lorebridge import publish, tables
from lorebridge.figures.style import FONTS
from lorebridge.probes.questions import in_subset
from lorebridge.records import file_digest, read_record

ZOOM = 1.55  # pixels for a point of a figure's width: its text of 8.5 points is then near that of the page

# A language may be called anything: HTML in a table stays text.
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


@dataclasses.dataclass(frozen=True)
class Account:
    """What a kind of study says of itself on the page; the rest follows from what every study has.

    Attributes:
        question: what it asks, the heading of the page.
        about: how it is asked, in a paragraph.
        found: what was found, in sentences.
        design: what was done, by heading.
        roles: language -> what it is in the study, in the order of the page.
        terms: further lists of the design, such as its arms: heading -> term -> what it means.
        declared: what became of what it declared before its runs, in sentences; the first says whether it did.
        sources: of what it reads beside texts and questions, such as facts: what -> where it is from.
    """

    question: str
    about: str
    found: Sequence[str]
    design: Mapping[str, str]
    roles: Mapping[str, str]
    terms: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    declared: Sequence[str] = ()
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)


def page(
    *,
    config: Mapping[str, Any],
    svg: Mapping[str, Path],
    csv: Mapping[str, Path],
    md: Mapping[str, Path],
    questions: Mapping[str, Path],
    captions: Mapping[str, Mapping[str, str]],
    account: str,
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
        captions: figure -> how it is presented, in the order of the page: ``category`` (the part of the page),
            ``title``, ``text`` and ``reading`` (``module:function``, which says what the tables tell of it; or empty).
        account: ``module:function`` that says what the study asks, was, and found: from its tables (CSV, by name) and
            its configuration, an :class:`Account`.
        records: paths of the records of what is shown; the records of what that was made from are found through them.
        out: the HTML file, in a folder below that of the study.
    """
    rows = {name: pd.read_csv(path) for name, path in csv.items()}
    told: Account = _function(account)(rows, config)
    parts: dict[str, list[dict[str, Any]]] = {}
    for name, caption in captions.items():
        image = svg[name].read_bytes()
        figure = {
            "name": name,
            "image": _data_uri(image, "image/svg+xml"),
            "width": round(ZOOM * _width(image)),
            "findings": _function(caption["reading"])(rows, config) if caption["reading"] else [],
            **caption,
        }
        parts.setdefault(caption["category"], []).append(figure)
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
        account=told,
        languages=_languages(config, told.roles, questions),
        examples=_examples(config, questions),
        parts=parts,
        tables={name: Markup(_MARKDOWN.render(path.read_text(encoding="utf-8"))) for name, path in sorted(md.items())},
        made=_made(records, out.parents[1]),
        integrity=_integrity(records, out.parents[1]),
        sources=[*_sources(config), *told.sources.items()],
        configuration=yaml.safe_dump(dict(config), allow_unicode=True, sort_keys=False, width=100),
    )
    publish.write_text(out, text.replace("/* fonts */", _fonts(text)))


def _function(name: str) -> Callable[..., Any]:
    """Return a function by its name, ``module:function``."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


# ---------------------------------------------------------------- design


def _languages(
    config: Mapping[str, Any], roles: Mapping[str, str], questions: Mapping[str, Path]
) -> list[dict[str, Any]]:
    """Return one row a language, in the order of their roles."""
    counted = {}
    for culture, path in questions.items():
        counted[culture] = in_subset(tables.read(path), config["probing"]["subset"])["question_id"].nunique()
    return [
        {
            "name": config["languages"][lang]["name"],
            "script": config["languages"][lang]["script"],
            "role": role,
            "questions": counted.get(lang),
        }
        for lang, role in roles.items()
    ]


def _examples(config: Mapping[str, Any], questions: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Return the shortest question of each culture in every language that it is asked in, its own first."""
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
        for lang in sorted(one["lang"].unique(), key=lambda lang: lang != culture):
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
    found = []
    for section, label in (("corpora", "{}"), ("parallel", "{base}–{} pairs")):
        for lang, entry in config[section].items():
            named = (source.get("name") or source["kind"] for source in entry["sources"])
            base = names.get(config.get("base_language", ""), "")
            found.append((label.format(names[lang], base=base), ", ".join(dict.fromkeys(named))))
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


def _integrity(records: Sequence[str], root: Path) -> str:
    """Return whether the files that the drawings were drawn from are still what they were then, as a sentence."""
    then: dict[str, str] = {}
    artifacts: set[str] = set()
    for path in records:
        record = read_record(path) or {}
        if record.get("stage") in ("figure", "table"):
            then |= record["read"]
            artifacts |= record["inputs"].keys()
    changed = [path for path, digest in sorted(then.items()) if not Path(path).is_file() or file_digest(path) != digest]
    names = ", ".join(Path(path).relative_to(root).as_posix() for path in changed)
    return (
        f"The {len(artifacts)} artifacts that the figures and tables were drawn from were compared with the sha256 "
        f"that they had then: {f'changed since: {names}' if changed else 'none has changed'}."
    )


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
