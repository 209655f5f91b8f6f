"""What the stages of text make: corpora, parallel text, and what is known of people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorebridge import config as configuration
from lorebridge.corpora.qa_tasks import TASKS
from lorebridge.corpora.traces import NONE, REASONED, UNRELATED
from lorebridge.plan.stage import Arguments, File, Item, Stage, Wildcards, after, item, many, one
from lorebridge.plan.study import Study
from lorebridge.world.stages import plants_people, told_in

# What of a source of people says how it is reached.
PEOPLE_SETTINGS = ("endpoint", "contact")


def shards(study: Study, lang: str) -> list[str]:
    """Return the names of a corpus's shards."""
    n = study.config["corpora"][lang]["shards"]
    return [f"{i:05d}-of-{n:05d}" for i in range(n)]


def shard_files(study: Study, lang: str, file: str) -> list[Item]:
    """Return a file of every shard of a corpus."""
    return [item("filter_corpus", file, lang=lang, shard=shard) for shard in shards(study, lang)]


def sound(lang: str) -> Item:
    """Return the merged audit of a corpus, which refuses an empty one."""
    return item("audit_corpus", "audit", lang=lang)


def source_paths(study: Study, section: str, lang: str) -> list[str | None]:
    """Return the local file of each source of a corpus or a parallel text, None where it is fetched."""
    paths: list[str | None] = []
    for source in study.config[section][lang]["sources"]:
        if source["kind"] == "local":
            paths.append(str(configuration.local_path(study.config, source["path"])))
        elif source["kind"] == "planted":
            stem = lang if section == "corpora" else f"{told_in(study)}-{lang}"
            paths.append(f"{study.root}/world/{section}/{stem}.jsonl.gz")
        else:
            paths.append(None)
    return paths


def _sources(study: Study, section: str, lang: str) -> list[dict[str, Any]]:
    """Return the sources of a text without their paths; a local file is known by what it holds."""
    sources = []
    for source, path in zip(study.config[section][lang]["sources"], source_paths(study, section, lang), strict=True):
        literal = {k: v for k, v in source.items() if k not in ("path", "obtain")}
        if source["kind"] == "local":
            literal["sha256"] = study.known(str(path), f"{section}.{lang}", source.get("obtain"))
        elif source["kind"] == "planted":
            # What it holds is said by the recipe of the world.
            literal["kind"] = "local"
        sources.append(literal)
    return sources


def _world(study: Study, section: str, lang: str) -> Arguments:
    """The planted world, where a source is of it: its texts are among the sources."""
    planted = any(source["kind"] == "planted" for source in study.config[section][lang]["sources"])
    return {"world": after([item("world", "truth")])} if planted else {}


def _shard(study: Study, w: Wildcards) -> dict[str, Any]:
    """What filtering a shard depends on, whether to sign its documents or to keep them."""
    corpus = study.config["corpora"][w["lang"]]
    index, of = w["shard"].split("-of-")
    return {
        "sources": _sources(study, "corpora", w["lang"]),
        "letters": study.letters[w["lang"]],
        "min_chars": corpus["min_chars"],
        "max_deleted": corpus["max_deleted"],
        "simplify": corpus["simplify"],
        "shard": int(index),
        "of": int(of),
    }


def _corpus(study: Study, w: Wildcards) -> Mapping[str, Any]:
    return study.config["corpora"][w["lang"]]


def _people_source(study: Study, w: Wildcards) -> dict[str, Any]:
    """What makes a response what it is, by its kind."""
    people = study.config["people"]
    source = {k: v for k, v in people["source"].items() if k not in ("kind", "path", *PEOPLE_SETTINGS)}
    if people["source"]["kind"] != "wikidata":
        return {}
    properties = configuration.people_properties(people["birth"])
    return source | {"base": study.base, "number": people["number"], "properties": properties}


def _people_identity(study: Study, w: Wildcards) -> dict[str, Any]:
    kind = study.config["people"]["source"]["kind"]
    if kind != "local":
        return {"kind": kind}
    return {"kind": kind, "sha256": study.known(str(_people_path(study)), "people.source")}


def _people_path(study: Study) -> str | None:
    """Return the local file of the response that people are read from, or None where it is fetched."""
    source = study.config["people"]["source"]
    if source["kind"] == "local":
        return str(configuration.local_path(study.config, source["path"]))
    return f"{study.root}/world/people.json" if source["kind"] == "planted" else None


def _asked(study: Study) -> bool:
    """Whether people are asked of a query service."""
    return study.config["people"]["source"]["kind"] == "wikidata"


def tuning_table(study: Study, name: str) -> list[tuple[str, Item]]:
    """Return the languages of a set of rows of tuning, and the table "tuning" of each."""
    said = study.config["tuning"]["sets"][name]
    if said["kind"] == TRANSLITERATION:
        lang = study.config["tuning"]["transliteration"]["lang"]
        return [(lang, item(TRANSLITERATION, said["trace"]))]
    return [(lang, item("tuning_rows", "tuning", tuning=name, lang=lang)) for lang in said["files"]]


def _tuning_path(study: Study, w: Wildcards) -> str:
    return str(configuration.local_path(study.config, study.config["tuning"]["sets"][w["tuning"]]["files"][w["lang"]]))


def _tuning_identity(study: Study, w: Wildcards) -> dict[str, Any]:
    said, key = study.config["tuning"]["sets"][w["tuning"]], f"tuning.sets.{w['tuning']}.files.{w['lang']}"
    return {"sha256": study.known(_tuning_path(study, w), key, said["obtain"])}


def _transliterated(study: Study) -> dict[str, str | None]:
    """Return the files of the transliteration: the lexicon, and what is asked of names, if that is given."""
    said = study.config["tuning"]["transliteration"]
    return {
        argument: None if said[key] is None else str(configuration.local_path(study.config, said[key]))
        for argument, key in (("lexicon", "path"), ("facts", "facts"))
    }


def _transliteration_identity(study: Study, w: Wildcards) -> dict[str, Any]:
    said = study.config["tuning"]["transliteration"]
    known = {
        argument: study.known(path, f"tuning.transliteration.{key}", said["obtain"])
        for (argument, path), key in zip(_transliterated(study).items(), ("path", "facts"), strict=True)
        if path is not None
    }
    return {"sha256": known}


TRANSLITERATION = "transliteration"

STAGES = (
    Stage(
        "signatures",
        "Sign the documents of one shard, so that those which repeat others are found across shards.",
        "lorebridge.corpora.documents:signatures",
        version=3,
        files={"signatures": File("corpora/{lang}/signatures-{shard}.parquet", table="signatures")},
        record="corpora/{lang}/signatures-{shard}.parquet.record.json",
        literals=lambda study, w: _shard(study, w) | {"deduplicate": _corpus(study, w)["deduplicate"]},
        # tells the recipes of two planted corpora apart
        identity=lambda study, w: {"lang": w["lang"]},
        inputs=lambda study, w: _world(study, "corpora", w["lang"]),
        sources=lambda study, w: {"paths": source_paths(study, "corpora", w["lang"])},
    ),
    Stage(
        "duplicates",
        "Find the documents of a corpus that repeat an earlier one.",
        "lorebridge.corpora.duplicates:duplicates",
        version=2,
        files={"duplicates": File("corpora/{lang}/duplicates.parquet", table="duplicates")},
        record="corpora/{lang}/duplicates.parquet.record.json",
        literals=lambda study, w: {"deduplicate": _corpus(study, w)["deduplicate"]},
        inputs=lambda study, w: {
            "signatures": many(
                item("signatures", "signatures", lang=w["lang"], shard=s) for s in shards(study, w["lang"])
            )
        },
    ),
    Stage(
        "filter_corpus",
        "Filter one shard of a monolingual corpus, and hold some of its documents out.",
        "lorebridge.corpora.documents:filter_corpus",
        version=4,
        files={
            "documents": File("corpora/{lang}/documents-{shard}.parquet", "what models train on", table="documents"),
            "heldout_documents": File("corpora/{lang}/heldout-{shard}.parquet", "what is held out", table="documents"),
            "shard_audit": File(
                "corpora/{lang}/documents-{shard}.audit.json", "the audit of one shard", argument="audit"
            ),
        },
        record="corpora/{lang}/documents-{shard}.parquet.record.json",
        literals=lambda study, w: {"lang": w["lang"], **_shard(study, w), "heldout": _corpus(study, w)["heldout"]},
        inputs=lambda study, w: {
            "duplicates": one(item("duplicates", "duplicates", lang=w["lang"])),
            **_world(study, "corpora", w["lang"]),
        },
        sources=lambda study, w: {"paths": source_paths(study, "corpora", w["lang"])},
    ),
    Stage(
        "audit_corpus",
        "Merge the audits of a corpus's shards; an empty corpus stops here.",
        "lorebridge.corpora.documents:merge_audits",
        version=3,
        files={
            "audit": File(
                "corpora/{lang}/audit.json",
                "documents kept, held out, edited and dropped by reason (`rows` is their sum); letters by Unicode "
                "script before and after; samples; `resolved`: the commit or checksum of a source that is not pinned",
                argument="out",
            )
        },
        record="corpora/{lang}/record.json",
        literals=lambda study, w: {"lang": w["lang"], "heldout": _corpus(study, w)["heldout"]},
        inputs=lambda study, w: {"audits": many(shard_files(study, w["lang"], "shard_audit"))},
    ),
    Stage(
        "filter_pairs",
        "Filter the sentence pairs of a language, and hold some of them out.",
        "lorebridge.corpora.documents:filter_pairs",
        version=4,
        files={
            "pairs": File("parallel/{lang}.parquet", "for training", table="pairs"),
            "heldout_pairs": File("parallel/{lang}.heldout.parquet", "held out", table="pairs"),
            "pairs_audit": File("parallel/{lang}.audit.json", "the audit of both halves", argument="audit"),
        },
        record="parallel/{lang}.parquet.record.json",
        literals=lambda study, w: {
            "sources": _sources(study, "parallel", w["lang"]),
            "base": study.base,
            "lang": w["lang"],
            "letters_base": study.letters[study.base],
            "letters_xx": study.letters[w["lang"]],
            **{key: study.config["parallel"][w["lang"]][key] for key in ("max_lost", "simplify", "heldout")},
        },
        inputs=lambda study, w: _world(study, "parallel", w["lang"]),
        sources=lambda study, w: {"paths": source_paths(study, "parallel", w["lang"])},
    ),
    Stage(
        "chunks",
        "Cut a corpus into chunks, the unit of retrieval.",
        "lorebridge.corpora.chunks:chunk_documents",
        files={"chunks": File("trace/chunks/{corpus}.parquet", table="chunks")},
        record="trace/chunks/{corpus}.parquet.record.json",
        literals=lambda study, w: {"max_chars": study.config["tracing"]["chunk_chars"]},
        inputs=lambda study, w: {
            "documents": many(shard_files(study, w["corpus"], "documents")),
            "audit": after([sound(w["corpus"])]),
        },
    ),
    Stage(
        "people_response",
        "Ask the query service for people, or copy a response from a local file.",
        lambda study, w: f"lorebridge.corpora.{'wikidata:fetch_people' if _asked(study) else 'fetch:copy_file'}",
        files={
            "response": File(
                "people/response.json",
                "people and their attributes as the query service gave them (SPARQL 1.1 JSON; see below); its sha256 "
                "is in the record. `people.source: {kind: local}` reads it again",
                argument="out",
            )
        },
        record="people/response.json.record.json",
        literals=_people_source,
        identity=_people_identity,
        inputs=lambda study, w: {"world": after([item("world", "people_file")])} if plants_people(study) else {},
        sources=lambda study, w: {} if _asked(study) else {"source": _people_path(study)},
        settings=lambda study, w: {
            k: v for k, v in study.config["people"]["source"].items() if k in PEOPLE_SETTINGS and _asked(study)
        },
        resumes=lambda study, w: _asked(study),
    ),
    Stage(
        "people",
        "Merge the values of a response by person, and draw the people who are asked about.",
        "lorebridge.corpora.people:merge_people",
        files={
            "people": File("people/people.parquet", table="people", argument="out"),
            "people_audit": File("people/people.audit.json", "how many were left out, and why", argument="audit"),
        },
        record="people/people.parquet.record.json",
        literals=lambda study, w: {
            "number": study.config["people"]["number"],
            "seed": study.config["people"]["seed"],
            "script": study.script(study.base),
            "properties": configuration.people_properties(study.config["people"]["birth"]),
        },
        inputs=lambda study, w: {"response": one(item("people_response", "response"))},
    ),
    Stage(
        "tuning_rows",
        "Read the prompts and answers of a tuning in one language.",
        "lorebridge.corpora.tuning:tuning_rows",
        files={"tuning": File("tuning/{tuning}/{lang}.parquet", table="tuning", argument="out")},
        record="tuning/{tuning}/{lang}.parquet.record.json",
        literals=lambda study, w: {"lang": w["lang"]},
        identity=_tuning_identity,
        sources=lambda study, w: {"file": _tuning_path(study, w)},
        wildcards={"tuning": "[a-z0-9][a-z0-9_-]*"},
    ),
    Stage(
        TRANSLITERATION,
        "Make rows of tuning that reason about spellings in other letters, their controls, and questions held out.",
        "lorebridge.corpora.transliteration:transliteration",
        files={
            **{
                trace: File(f"tuning/transliteration/{trace}.parquet", table="tuning", argument=f"{trace}_out")
                for trace in (REASONED, NONE, UNRELATED)
            },
            "heldout": File("tuning/transliteration/heldout.parquet", table="open_questions", argument="heldout_out"),
            "audit": File("tuning/transliteration/audit.parquet", table="tuning_audit", argument="audit_out"),
        },
        record="tuning/transliteration/record.json",
        literals=lambda study, w: {
            key: study.config["tuning"]["transliteration"][key]
            for key in ("lang", "asked_in", "question", "heldout", "least", "most", "spellings", "seed")
        },
        identity=_transliteration_identity,
        sources=lambda study, w: _transliterated(study),
    ),
)


QA_MADE = "qa_made"


def _qa_files(study: Study) -> list[tuple[Mapping[str, Any], str]]:
    """Return what is read of each file of questions on pages, and its path; the planted world's says its splits."""
    found: list[tuple[Mapping[str, Any], str]] = []
    for said in study.config["qa"]["files"]:
        if said["kind"] == "local":
            found.append((said, str(configuration.local_path(study.config, said["path"]))))
        elif said["kind"] == "made":
            found.append(({"shape": "paper", "split": said["split"]}, f"{study.root}/qa/made/{said['name']}.jsonl"))
        else:
            found.append(({"shape": "paper", "split": None}, f"{study.root}/world/qa.jsonl"))
    return found


def _qa_identity(study: Study, w: Wildcards) -> dict[str, Any]:
    # What is planted or made is said by the recipe of what makes it.
    return {
        "sha256": [
            study.known(path, f"qa.files.{number}.path", said["obtain"]) if said["kind"] == "local" else said["kind"]
            for number, (said, (_, path)) in enumerate(zip(study.config["qa"]["files"], _qa_files(study), strict=True))
        ]
    }


def _qa_inputs(study: Study, w: Wildcards) -> Arguments:
    files = study.config["qa"]["files"]
    made = [item(QA_MADE, "rows", made=said["name"]) for said in files if said["kind"] == "made"]
    return {
        "pages": one(item("pages", "pages")),
        **({"world": after([item("world", "truth")])} if any(said["kind"] == "planted" for said in files) else {}),
        **({"made": after(made)} if made else {}),
    }


QA_STAGES = (
    Stage(
        "qa",
        "Read the questions on pages that all languages have.",
        "lorebridge.corpora.qa:build_qa",
        files={"qa": File("qa/qa.parquet", table="qa", argument="out")},
        record="qa/qa.parquet.record.json",
        literals=lambda study, w: {
            "files": [{key: said.get(key) for key in ("shape", "split", "lang")} for said, _ in _qa_files(study)],
            "langs": list(study.languages),
            "base": study.base,
        },
        identity=_qa_identity,
        inputs=_qa_inputs,
        sources=lambda study, w: {"paths": [path for _, path in _qa_files(study)]},
    ),
    Stage(
        "qa_overlap",
        "Find the questions of which an answer is that of a row of tuning, too.",
        "lorebridge.corpora.qa:qa_overlap",
        files={"qa_overlap": File("qa/overlap.parquet", table="qa_overlap", argument="out")},
        record="qa/overlap.parquet.record.json",
        inputs=lambda study, w: {"qa": one(item("qa", "qa"))},
    ),
)
"""Of a kind of study that asks questions on pages, whose section ``qa`` lists ``files``."""

QA_TUNING_STAGES = (
    Stage(
        "qa_rows",
        "Make rows of tuning of the questions on pages of the split `train`, for a task in one language.",
        "lorebridge.corpora.qa_rows:qa_rows",
        files={"tuning": File("qa/rows/{task}/{lang}.parquet", table="tuning", argument="out")},
        record="qa/rows/{task}/{lang}.parquet.record.json",
        literals=lambda study, w: {
            "task": w["task"],
            "lang": w["lang"],
            "base": study.base,
            "split": "train",
            "seed": study.config["qa"]["seed"],
        },
        inputs=lambda study, w: {"qa": one(item("qa", "qa"))},
        wildcards={"task": "|".join(TASKS)},
    ),
)
"""Of a kind of study that tunes on them: ``qa.seed`` of its configuration orders the options of a question."""
