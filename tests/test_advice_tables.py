"""Every advice on tables and sheets that users give is followed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from advised import Case, follow, name_of
from lorebridge import config, sheets, studies, tables
from lorebridge.chat import Endpoint
from lorebridge.corpora.people import merge_people
from lorebridge.corpora.wikidata import ENTITY, PROPERTY, read_response
from lorebridge.plan.stage import artifact
from lorebridge.plan.wanted import refuse_unknown
from lorebridge.studies import former
from lorebridge.studies.roots import published
from lorebridge.trace.subjects import _read_aliases
from lorebridge.transfer.cells import ALL, SOURCE_RIGHT, cells_of, crossed
from lorebridge.transfer.correlates import correlates, read_volumes
from lorebridge.transfer.distances import overlap_distances, read_distances
from lorebridge.transfer.judged import joined, read_judged
from lorebridge.transfer.power import detectable_effects
from lorebridge.transfer.scripts import detectable_effect_of_script, read_languages, regress

CONFIGS = Path(__file__).parents[1] / "config"


def file(name: str, content: str | bytes, read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """Write a file, and read it."""

    def run(folder: Path) -> Any:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return read(folder / name)

    return run


def both(advice: str, wrong: Callable, mended: Callable) -> Case:
    return Case(advice, wrong, None, mended)


# --- judged answers ---------------------------------------------------------------------------------------------------

ANSWER = {"model": "m", "question_id": "1", "source_lang": "en", "target_lang": "ko", "correct": "1"}


def answers(*rows: dict[str, Any], lacking: str = "") -> str:
    table = pd.DataFrame([ANSWER | row for row in rows] or [ANSWER])
    return table.drop(columns=lacking or []).to_csv(index=False)


def judged(advice: str, wrong: str, mended: str) -> Case:
    return both(advice, file("a.csv", wrong, read_judged), file("a.csv", mended, read_judged))


def two(*names: str, **last: Any) -> Callable[[Path], Any]:
    """Read files of judged answers together, of which the last is another one."""

    def run(folder: Path) -> Any:
        for name in names:
            (folder / name).write_text(answers({"dataset": "d", **(last if name == names[-1] else {})}))
        return joined([folder / name for name in names])

    return run


def no_answer(folder: Path) -> Any:
    return read_judged(folder / "none.csv")


LANGUAGES = {
    lang: {"script": script, "family": lang}
    for lang, script in (("en", "Latin"), ("fr", "Latin"), ("ko", "Hangul"), ("ru", "Cyrillic"))
}


def rows(
    langs: tuple[str, ...] = ("en", "fr", "ko"), sources: tuple[str, ...] | None = None, **said: Any
) -> pd.DataFrame:
    found = [
        {
            "model": m,
            "question_id": f"{s}{q}",
            "source_lang": s,
            "target_lang": t,
            "correct": (q + len(m) + (s == t)) % 3 > 0,
        }
        for m in ("a", "bb")
        for q in range(6)
        for s in sources or langs
        for t in langs
    ]
    return pd.DataFrame(found).assign(dataset="d", hint="none", sample=0, judge="j").assign(**said)


def regressed(table: pd.DataFrame, languages: dict = LANGUAGES, **said: Any) -> Callable[[Path], Any]:
    return lambda _: regress(table, languages, methods=(), **said)


TWO_JUDGES = pd.concat([rows(("en", "fr", "ko", "ru")), rows(("en", "fr", "ko", "ru"), judge="k")])
FOUR = rows(("en", "fr", "ko", "ru"))
ASKED = pd.DataFrame(
    [{"question_id": f"{s}{q}", "source_lang": s, "lang": t} for q in range(4) for s in LANGUAGES for t in LANGUAGES]
)


def told(known: float) -> Callable[[Path], Any]:
    return lambda _: detectable_effect_of_script(ASKED, LANGUAGES, models=2, known=known, right=0.5, pair_sd=0.05)


def shares_with(distance: bool, volumes: pd.DataFrame | None = None) -> Callable[[Path], Any]:
    """Regress on a distance that lacks a pair, or volumes that lack a language."""
    matrix = pd.DataFrame(1.0, index=list(LANGUAGES), columns=list(LANGUAGES))
    if not distance:
        matrix.loc["en", "ko"] = matrix.loc["ko", "en"] = float("nan")
    return regressed(FOUR, distances={"far": matrix} if volumes is None else {}, volumes=volumes)


def words(sizes: dict[str, float]) -> pd.DataFrame:
    return pd.DataFrame({"lang": list(sizes), "tokens": list(sizes.values())})


JUDGED = [
    judged("It needs model, question_id", answers(lacking="correct"), answers()),
    judged("Give judged answers, one a row.", answers().splitlines()[0] + "\n", answers()),
    both(
        "Give a file whose name ends in .csv or .parquet.",
        file("a.tsv", answers(), read_judged),
        file("a.csv", answers(), read_judged),
    ),
    both("Give a CSV or Parquet file.", no_answer, file("none.csv", answers(), read_judged)),
    judged("Fill it in, or drop the row.", answers({"model": ""}), answers({"model": "m"})),
    judged("or drop the row.", answers({}, {"model": ""}), answers({})),
    judged("Count samples from 0.", answers({"sample": "-1"}), answers({"sample": "0"})),
    judged("Write 1 (right) or 0", answers({"correct": "yes"}), answers({"correct": "0"})),
    judged("Drop one of the two", answers({}, {}), answers({})),
    *(
        judged("or tell them apart by the columns", answers({}, {}), answers({column: "1"}, {column: "2"}))
        for column in ("dataset", "hint", "sample", "judge")
    ),
    judged(
        "Give a question one source",
        answers({}, {"source_lang": "fr", "target_lang": "fr"}),
        answers({}, {"target_lang": "fr"}),
    ),
    judged(
        "two ids.",
        answers({}, {"source_lang": "fr", "target_lang": "fr"}),
        answers({}, {"source_lang": "fr", "question_id": "2"}),
    ),
    both("Give each file once", two("a.csv", "a.csv"), two("a.csv")),
    both("or tell them apart by the column dataset.", two("a.csv", "b.csv"), two("a.csv", "b.csv", dataset="e")),
    both(
        "or count all of them (all).",
        lambda _: crossed(FOUR[FOUR.source_lang != FOUR.target_lang], SOURCE_RIGHT),
        lambda _: crossed(FOUR[FOUR.source_lang != FOUR.target_lang], ALL),
    ),
    both(
        "Ask in other languages, too", lambda _: crossed(rows(("en",)), ALL), lambda _: crossed(rows(("en", "fr")), ALL)
    ),
    both(
        "Ask in three languages or more.",
        lambda _: cells_of(crossed(rows(("en", "fr")), ALL)),
        lambda _: cells_of(crossed(rows(), ALL)),
    ),
    both("Choose one of: none.", regressed(FOUR, hint="other"), regressed(FOUR)),
    both("Keep the rows of one judge.", regressed(TWO_JUDGES), regressed(TWO_JUDGES[TWO_JUDGES.judge == "j"])),
    both(
        "Name them, as for the other languages.",
        regressed(FOUR, {k: LANGUAGES[k] for k in ("en", "fr", "ko")}),
        regressed(FOUR),
    ),
    both("Take one between 0 and 1.", told(1.5), told(0.5)),
    both("Add the pair to the file", shares_with(False), shares_with(True)),
    both("or leave the column out.", shares_with(False), regressed(FOUR)),
    both(
        "Add it, or leave it out.",
        shares_with(True, words({"en": 9, "fr": 8, "ko": 7})),
        shares_with(True, words({"en": 9, "fr": 8, "ko": 7, "ru": 6})),
    ),
]

# --- measures, languages, sheets --------------------------------------------------------------------------------------


def volumes(content: str) -> Callable[[Path], Any]:
    return file("v.csv", content, lambda path: read_volumes(path, ["tokens"]))


def distances(content: str) -> Callable[[Path], Any]:
    return file("d.csv", content, lambda path: read_distances(path, ["km"]))


def languages(content: str) -> Callable[[Path], Any]:
    return file("l.csv", content, read_languages)


def aliases(content: str | bytes) -> Callable[[Path], Any]:
    return file("a.csv", content, _read_aliases)


def sheet(content: str | bytes) -> Callable[[Path], Any]:
    return file(
        "s.csv",
        content,
        lambda path: sheets.read_rows(path, ["id", "label"], what="sheet of labels", mend="Write one."),
    )


def paper(content: str) -> Callable[[Path], Any]:
    return file("p.csv", content, published.read_languages)


def of_no_file(read: Callable[..., Any], name: str, **other: Any) -> Case:
    def run(folder: Path, **given: Any) -> Any:
        arguments = {key: value(folder) if callable(value) else value for key, value in other.items()}
        return read(out=folder / "out.parquet", columns=["tokens"], **arguments, **given)

    def given(folder: Path) -> Any:
        (folder / "v.csv").write_text("lang,tokens\nen,1\n" if name == "volumes" else "lang_a,lang_b,tokens\nen,ko,1\n")
        return run(folder, **{name: folder / "v.csv"})

    return Case("Give the file.", run, None, given)


def empty(table: str) -> Callable[[Path], Path]:
    def run(folder: Path) -> Path:
        tables.write(table, [], folder / f"{table}.parquet")
        return folder / f"{table}.parquet"

    return run


HEAD = ",".join(published.COLUMNS)
LINE = ",".join("1" for _ in published.COLUMNS)
MEASURES = [
    both("Give a CSV file.", lambda f: read_volumes(f / "v.csv", ["tokens"]), volumes("lang,tokens\nen,1\n")),
    both("It has: lang, words.", volumes("lang,words\nen,1\n"), volumes("lang,words,tokens\nen,1,2\n")),
    both("Leave unknown ones empty.", volumes("lang,tokens\nen,?\n"), volumes("lang,tokens\nen,\n")),
    both("Keep one of its rows.", volumes("lang,tokens\nen,1\nen,2\n"), volumes("lang,tokens\nen,1\n")),
    both(
        "Keep one of its rows.",
        distances("lang_a,lang_b,km\nen,ko,1\nko,en,1\n"),
        distances("lang_a,lang_b,km\nen,ko,1\n"),
    ),
    of_no_file(correlates, "volumes", scores=[], base="en"),
    of_no_file(
        overlap_distances, "distances", fact_overlap=empty("fact_overlap"), languages={}, permutations=99, seed=0
    ),
    both("Give a CSV file.", lambda f: read_languages(f / "l.csv"), languages("lang,script,family\nen,Latin,x\n")),
    both("It has: lang, script.", languages("lang,script\nen,Latin\n"), languages("lang,script,family\nen,Latin,x\n")),
    both("Fill it in.", languages("lang,script,family\nen,,x\n"), languages("lang,script,family\nen,Latin,x\n")),
    both("Give a CSV or TSV file.", lambda f: _read_aliases(f / "a.csv"), aliases("entity,lang,name\nQ1,en,A\n")),
    both("Give a CSV or TSV file.", aliases(b"entity,lang,name\nQ1,en,\xff\n"), aliases("entity,lang,name\nQ1,en,A\n")),
    both(
        "Give the columns entity, lang, name.", aliases("entity,name\nQ1,A\n"), aliases("entity,lang,name\nQ1,en,A\n")
    ),
    both(
        "Fill in entity, lang and name.", aliases("entity,lang,name\nQ1,en,\n"), aliases("entity,lang,name\nQ1,en,A\n")
    ),
    both(
        "Give the path of a sheet.",
        lambda f: sheets.read_rows(f / "s.csv", ["id"], what="sheet", mend="Write one."),
        sheet("id,label\n1,yes\n"),
    ),
    both("Save it as CSV in UTF-8.", sheet(b"id,label\n1,\xff\n"), sheet("id,label\n1,yes\n")),
    both("Write one.", sheet("id\n1\n"), sheet("id,label\n1,yes\n")),
    both("Take one of the two out.", sheet("id,label,id\n1,yes,1\n"), sheet("id,label\n1,yes\n")),
    both("Quote the cell that holds the separator", sheet("id,label\n1,yes, no\n"), sheet('id,label\n1,"yes, no"\n')),
    both("or take out what is too many.", sheet("id,label\n1,yes,\n"), sheet("id,label\n1,yes\n")),
    both("Give a CSV file.", lambda f: published.read_languages(f / "p.csv"), paper(f"{HEAD}\n{LINE}\n")),
    both("docs/roots.md lists the columns.", paper("lang\nen\n"), paper(f"{HEAD}\n{LINE}\n")),
]

# --- what of a study is asked for -------------------------------------------------------------------------------------


def asked(**words_: Any) -> Callable[[Path], Any]:
    names = {*former._CHOOSE, "batch", *former._OF_RULES}
    said = argparse.Namespace(**{**dict.fromkeys(names, None), **words_})
    return lambda folder: former.refuse(
        said, str(Path("results/demo")), ["base-s0", "ko-bridge-s0"], ["train_continual"]
    )


def wanted(stage: str, **values: Any) -> Callable[[Path], Any]:
    def run(_: Path) -> Any:
        plan = studies.plan(config.load(CONFIGS / "demo.yaml"))
        return refuse_unknown(plan, artifact(stage, **values), "what is asked for")

    return run


OLD = "results/demo/models/ko/bridge/s0/step40"
STUDIES = [
    both("It is called train_continual now.", asked(targets=["train"]), asked(targets=["train_continual"])),
    both(
        "It is results/demo/models/continual/ko-bridge-s0/step40 now.",
        asked(targets=[OLD]),
        asked(targets=[former.path(OLD)]),
    ),
    both(
        "Did you mean 'train_continual'?",
        asked(set_threads=["train_continuall"]),
        asked(set_threads=["train_continual"]),
    ),
    both("`snakemake --list-rules` lists them.", asked(set_threads=["zzz"]), asked(set_threads=["train_continual"])),
    both("It has en, ko, bo", wanted("audit_corpus", lang="kr"), wanted("audit_corpus", lang="ko")),
]

# --- people, and how questions are counted ----------------------------------------------------------------------------

PROPERTIES = config.people_properties()


def response(*rows: dict[str, Any], properties: dict[str, str] = PROPERTIES) -> Callable[[Path], Any]:
    content = json.dumps({"head": {"vars": []}, "results": {"bindings": list(rows)}})
    return file("r.json", content, lambda path: list(read_response(path, properties)))


def said(
    person: str = "Q1", name: str = "Ada Moor", attribute: str = "occupation", value: str = "Q9", **cells: Any
) -> dict:
    """Return a row of a query service."""
    found = {
        "person": f"{ENTITY}{person}",
        "personLabel": name,
        "property": f"{PROPERTY}{PROPERTIES.get(attribute, 'P569')}",
        "value": f"{ENTITY}{value}" if value.startswith("Q") else value,
        "valueLabel": f"diver {value}",
    } | cells
    return {key: {"type": "literal", "value": cell} for key, cell in found.items() if cell is not None}


def people(*rows: dict[str, Any]) -> Callable[[Path], Any]:
    content = json.dumps({"head": {"vars": []}, "results": {"bindings": list(rows)}})

    def read(path: Path) -> Any:
        out, audit = path.with_name("people.parquet"), path.with_name("audit.json")
        return merge_people(
            response=path, properties=PROPERTIES, number=4, seed=0, script="Latin", out=out, audit=audit
        )

    return file("r.json", content, read)


def born(value: str, properties: dict[str, str]) -> Callable[[Path], Any]:
    return response(said(attribute="birth_year", value=value, precision="11"), properties=properties)


FOUR_PEOPLE = [said(f"Q{n}", f"Ada {name}") for n, name in enumerate(("Moor", "Hall", "Wood", "Lane"), 1)]
BY_DATE = config.people_properties("date")
PEOPLE = [
    both("Mend `people.source.path`.", lambda f: list(read_response(f / "r.json", PROPERTIES)), response(said())),
    both(
        "Save the answer of the query service anew.",
        file("r.json", "<html>", lambda p: list(read_response(p, PROPERTIES))),
        response(said()),
    ),
    both(
        "Save it as SPARQL 1.1 JSON",
        file("r.json", "[]", lambda p: list(read_response(p, PROPERTIES))),
        response(said()),
    ),
    both('Give every row {"person"', response(said(value="Q9", property=None)), response(said())),
    both("Ask for wd: items.", response(said(person="x")), response(said())),
    both(
        "Ask for wikibase:timeValue.",
        born("19x0-01-01T00:00:00Z", PROPERTIES),
        born("1950-01-01T00:00:00Z", PROPERTIES),
    ),
    both("Ask for wikibase:timeValue.", born("1950-xx", BY_DATE), born("1950-01-01T00:00:00Z", BY_DATE)),
    both("Ask for labels in one language.", people(*FOUR_PEOPLE, said(name="Ada Mohr")), people(*FOUR_PEOPLE)),
    both("Give a response with more.", people(said()), people(*FOUR_PEOPLE)),
    both("Take one in 0..1", lambda _: effects(seed_sd=2), lambda _: effects(seed_sd=0.02)),
    both("1 or more.", lambda _: effects(seeds=0), lambda _: effects(seeds=1)),
    both("Give https://host/v1.", lambda _: endpoint("host/v1"), lambda _: endpoint("https://host/v1")),
]


def effects(**changes: Any) -> Any:
    return detectable_effects(
        **{"questions": {}, "subset": "clean", "discordance": 0.2, "seed_sd": 0.02, "seeds": 2, **changes}
    )


def endpoint(address: str) -> Any:
    return Endpoint("m", base_url=address, key="", section="tracing.judge")


CASES = [*JUDGED, *MEASURES, *STUDIES, *PEOPLE]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_table_that_was_mended_as_advised_is_read(case: Case, tmp_path: Path) -> None:
    follow(case, tmp_path)
