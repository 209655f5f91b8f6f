"""What the stages of tracing make: which documents state a fact, and what a model has read of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lorebridge import config as configuration
from lorebridge.corpora.facts import FACTS
from lorebridge.corpora.stages import shard_files, sound
from lorebridge.plan.stage import (
    Arguments,
    File,
    Item,
    Stage,
    Wildcards,
    after,
    by,
    folder,
    groups,
    item,
    many,
    one,
    table,
)
from lorebridge.plan.study import Study, Text, folder_files
from lorebridge.tokens.stages import stores, tokenizer, told
from lorebridge.train.stages import checkpoints

# What of a dense retriever makes the index of a corpus; what of a judge says how it is reached, and not what it says.
ENCODER = ("model", "revision", "truncate")
JUDGE_SETTINGS = ("gpus", "base_url", "key_env", "concurrency")

LOCAL = "local"
"""The model of a translation that lies in a folder of the user's own."""


def retriever(study: Study, corpus: str) -> dict[str, Any]:
    """Return the retriever of a corpus."""
    retrieval = study.config["tracing"]["retrieval"]
    return dict(retrieval.get(corpus, retrieval["default"]))


def judge_settings(study: Study) -> dict[str, Any]:
    """How the judge is reached: no part of any recipe."""
    return {k: v for k, v in study.config["tracing"]["judge"].items() if k in JUDGE_SETTINGS}


def subjects(study: Study, lang: str) -> Item:
    """Return what is looked for on behalf of the questions that are asked in a language."""
    return item(study.named_by, "subjects", lang=lang)


def mentions(text: Text) -> Item:
    """Return what a text mentions."""
    return item("mentions", "mentions", stream=text.name)


def counted(study: Study) -> list[tuple[str, str, str, Text]]:
    """Return (corpus, culture, kind, text) of the texts that facts are counted in, parallel ones included."""
    return [
        (corpus, culture, kind, text)
        for corpus, culture in study.cells
        for kind, text in (("mono", study.mono(corpus)), ("pairs", study.half(culture, corpus)))
    ]


def leaking(study: Study) -> list[tuple[str, Text]]:
    """Return (culture, text) of all halves of parallel text."""
    return [(culture, text) for culture in study.langs for text in study.halves(culture)]


def judgments(cells: Iterable[tuple[str, str]]) -> list[Item]:
    """Return the judgments of some cells."""
    return [item("judge", "judgments", corpus=corpus, culture=culture) for corpus, culture in cells]


def _script(study: Study, lang: str) -> dict[str, str]:
    return {"lang": lang, "script": study.script(lang)}


def _texts(study: Study, w: Wildcards) -> Arguments:
    """The tables of a text, and what must be there before it is read."""
    text = study.text(w["stream"])
    return {"texts": many(text.tables), "audits": after(text.checked)}


def _index_literals(study: Study, w: Wildcards) -> dict[str, Any]:
    said = retriever(study, w["corpus"])
    if said["method"] == "bm25":
        return {"method": "bm25", "script": study.script(w["corpus"])}
    return {key: said[key] for key in ("method", *ENCODER)}


def _searched(study: Study, corpus: str) -> Item:
    """What of a corpus is searched: its chunks in one pass, or an index."""
    scanned = retriever(study, corpus).get("engine") == "scan"
    return item("chunks", "chunks", corpus=corpus) if scanned else item("index", "index", corpus=corpus)


def _hits_inputs(study: Study, w: Wildcards) -> Arguments:
    return {"corpus": one(_searched(study, w["corpus"])), "questions": one(study.asked[w["culture"]])}


def _read(study: Study, w: Wildcards) -> Arguments:
    """What a judge or a translator reads."""
    return {
        "hits": one(item("retrieve", "hits", **w)),
        "chunks": one(item("chunks", "chunks", corpus=w["corpus"])),
        "questions": one(study.asked[w["culture"]]),
    }


def _judgments_inputs(study: Study, w: Wildcards) -> Arguments:
    tracing = study.config["tracing"]
    more: dict[str, Any] = {}
    if w["corpus"] in tracing["translation"]:
        more["translations"] = one(item("translate", "translations", **w))
    if tracing["judge"]["kind"] == "cooccurrence":
        more["subjects"] = one(subjects(study, w["corpus"]))
    return {**_read(study, w), **more}


def _translation(study: Study, w: Wildcards) -> dict[str, Any]:
    """What translating depends on; a local model is known by what it holds, not by where it lies."""
    said = study.config["tracing"]["translation"][w["corpus"]]
    return _script(study, w["corpus"]) | {k: v for k, v in said.items() if k not in ("path", "obtain")}


def _translator_folder(study: Study, w: Wildcards) -> str | None:
    said = study.config["tracing"]["translation"][w["corpus"]]
    return str(configuration.local_path(study.config, said["path"])) if said["model"] == LOCAL else None


def _translator_identity(study: Study, w: Wildcards) -> dict[str, Any]:
    folder, key = _translator_folder(study, w), f"tracing.translation.{w['corpus']}"
    obtain = study.config["tracing"]["translation"][w["corpus"]]["obtain"]
    return {} if folder is None else {"sha256": study.known_folder(folder, f"{key}.path", obtain)}


def _translator_sources(study: Study, w: Wildcards) -> dict[str, Any]:
    folder = _translator_folder(study, w)
    return {} if folder is None else {"files": folder_files(folder)}


def _judge(study: Study, w: Wildcards) -> dict[str, Any]:
    judge = {k: v for k, v in study.config["tracing"]["judge"].items() if k not in JUDGE_SETTINGS}
    if judge["kind"] == "cooccurrence":
        judge |= {"window": study.config["tracing"]["window"], "culture": w["culture"]}
    return _script(study, w["corpus"]) | judge


def _exposure_literals(study: Study, w: Wildcards) -> dict[str, Any]:
    model = study.model(w["run"])
    texts = [study.text(name) for name in model.texts]
    return {
        "run": model.name,
        **told(model),
        "steps": list(model.checkpoints),
        "cultures": list(model.cultures),
        "scripts": {text.name: study.script(text.lang) for text in texts},
        "langs": {text.name: text.lang for text in texts},
        "pairs": {text.name: text.pairs for text in texts if text.pairs},
        **study.reading,
    }


def _exposure_inputs(study: Study, w: Wildcards) -> Arguments:
    model = study.model(w["run"])
    texts = [study.text(name) for name in model.texts]
    before = {} if model.start is None else {"base": one(item("exposure", "exposure", run=model.start))}
    return {
        "order": one(item("order", "order", run=model.name)),
        "stores": by("stream", stores(model.texts)),
        "subjects": by("stream", [subjects(study, text.lang).known_by(stream=text.name) for text in texts]),
        "mentions": by("stream", [mentions(text) for text in texts]),
        "tokenizer": one(tokenizer()),
        **before,
    }


def _people_mentions_literals(study: Study, w: Wildcards) -> dict[str, Any]:
    text = study.text(w["stream"])
    return {"stream": text.name, "lang": text.lang, "pairs": text.pairs or None, "column": text.column}


def _store(text: Text) -> Item:
    return folder("token_store", "tokens", stream=text.name)


def _aliases(study: Study) -> str | None:
    """Return the path of the list of names of entities, if there is one."""
    path = study.config["tracing"]["aliases"]
    return None if path is None else str(configuration.local_path(study.config, path))


def _subjects_literals(study: Study, w: Wildcards) -> dict[str, Any]:
    base = study.base
    bridged = {} if base in (None, w["lang"]) else {"base": base, "base_script": study.script(base)}
    return _script(study, w["lang"]) | {"max_chars": study.config["tracing"]["chunk_chars"]} | bridged


def _subjects_identity(study: Study, w: Wildcards) -> dict[str, Any]:
    # What the list holds enters the recipe; where it lies does not.
    return {"aliases": study.known(listed, "tracing.aliases")} if (listed := _aliases(study)) else {}


def _subjects_inputs(study: Study, w: Wildcards) -> Arguments:
    cultures = study.mono(w["lang"]).cultures
    # The question set of a language is asked in the base language, too, and its pairs are of these two.
    bridged = w["lang"] in cultures and study.halves(w["lang"])
    pairs = study.halves(w["lang"])[0] if bridged else None
    return {
        "documents": many(shard_files(study, w["lang"], "documents")),
        "audit": after([sound(w["lang"])]),
        "questions": by("culture", [item("questions", "questions", culture=culture) for culture in cultures]),
        **({"pairs": many(pairs.tables)} if pairs else {}),
    }


def traced(study: Study) -> list[Text]:
    """Return the texts that facts are looked for in."""
    return [text for text in study.texts.values() if FACTS in text.cultures]


def asks_facts(study: Study) -> dict[str, Any]:
    """Return what is known of a planted world's facts, as literals: which documents are no part of its corpora."""
    heldout = {text.lang: study.config["corpora"][text.lang]["heldout"] for text in traced(study)}
    return {"heldout": heldout} if study.planted else {}


def truth_of(study: Study) -> Arguments:
    """Return the truth about a planted world's facts."""
    return {"truth": one(item("world", "truth"))} if study.planted else {}


def pieces_by(study: Study) -> Item:
    """Return the folder of the tokenizer by which labels and stretches are cut: the study's, or the first model's."""
    return tokenizer() if study.trained else checkpoints(next(iter(study.models.values())))


STAGES = (
    Stage(
        "fact_subjects",
        "Say what is looked for in texts on behalf of the facts that are asked in a language.",
        "lorebridge.trace.origins:fact_subjects",
        files={"subjects": File("facts/subjects/{lang}.parquet", table="subjects", argument="out")},
        record="facts/subjects/{lang}.parquet.record.json",
        literals=lambda study, w: _script(study, w["lang"]),
        inputs=lambda study, w: {"facts": one(item("facts", "facts"))},
    ),
    Stage(
        "corpus_alarms",
        "Say whether corpora are in their languages, and whether two are alike, before facts are traced.",
        "lorebridge.trace.languages:corpus_alarms",
        files={"corpus_alarms": File("facts/corpus_alarms.parquet", table="corpus_alarms", argument="out")},
        record="facts/corpus_alarms.parquet.record.json",
        literals=lambda study, w: {"scripts": {text.lang: study.script(text.lang) for text in traced(study)}},
        inputs=lambda study, w: {
            "facts": one(item("facts", "facts")),
            "corpora": groups("lang", [i for text in traced(study) for i in text.tables]),
            "audits": after([i for text in traced(study) for i in text.checked]),
        },
    ),
    Stage(
        "stretches",
        "Count the stretches of a text that hold the subject, the object, and both of every fact.",
        "lorebridge.trace.origins:count_stretches",
        files={"stretches": File("facts/stretches/{stream}.parquet", table="stretches", argument="out")},
        record="facts/stretches/{stream}.parquet.record.json",
        literals=lambda study, w: {
            "stream": w["stream"],
            "script": study.script(study.text(w["stream"]).lang),
            "tokens": study.config["origins"]["tokens"],
            "column": study.text(w["stream"]).column,
        },
        inputs=lambda study, w: {
            **_texts(study, w),
            "subjects": one(subjects(study, study.text(w["stream"]).lang)),
            "tokenizer": one(pieces_by(study)),
        },
        threads="workers",
    ),
    Stage(
        "origins",
        "Say whether the text of each language holds each fact: by stretches, by sentences, by what a run consumed.",
        "lorebridge.trace.origins:origins",
        files={
            "origins": File("facts/origins.parquet", table="origins", argument="out"),
            "origin_recovery": File(
                "facts/origin_recovery.parquet",
                "without a row of real text",
                table="origin_recovery",
                argument="recovery",
            ),
        },
        record="facts/origins.parquet.record.json",
        literals=lambda study, w: asks_facts(study),
        inputs=lambda study, w: {
            "facts": one(item("facts", "facts")),
            "texts": table(
                {
                    "lang": text.lang,
                    "subjects": subjects(study, text.lang),
                    "mentions": mentions(text),
                    "stretches": item("stretches", "stretches", stream=text.name),
                }
                for text in traced(study)
            ),
            "exposure": many(item("exposure", "exposure", run=model.name) for model in study.trained),
            **truth_of(study),
        },
    ),
    Stage(
        "index",
        "Make what a corpus is searched by: embeddings, block by block, or a Lucene index.",
        "lorebridge.trace.retrieval:build_index",
        version=3,
        files={
            "index": File(
                "trace/index/{corpus}/index", "embeddings, or a Lucene index; the engine `scan` needs none", folder=True
            )
        },
        record="trace/index/{corpus}/record.json",
        literals=_index_literals,
        inputs=lambda study, w: {"chunks": one(item("chunks", "chunks", corpus=w["corpus"]))},
        resumes=lambda study, w: True,
    ),
    Stage(
        "retrieve",
        "Retrieve the chunks of a corpus that come nearest to each question of a culture.",
        "lorebridge.trace.retrieval:retrieve",
        version=3,
        files={"hits": File("trace/hits/{corpus}/{culture}.parquet", table="hits", argument="out")},
        record="trace/hits/{corpus}/{culture}.parquet.record.json",
        literals=lambda study, w: {
            **_script(study, w["corpus"]),
            "top_k": study.config["tracing"]["top_k"],
            **{k: v for k, v in retriever(study, w["corpus"]).items() if k not in ENCODER},
        },
        inputs=_hits_inputs,
    ),
    Stage(
        "translate",
        "Translate hits and statements into the language that the judge reads.",
        "lorebridge.trace.translation:translate",
        files={
            "translations": File(
                "trace/translations/{corpus}/{culture}.parquet",
                "where `tracing.translation` asks for them",
                table="translations",
                argument="out",
            )
        },
        record="trace/translations/{corpus}/{culture}.parquet.record.json",
        literals=_translation,
        identity=_translator_identity,
        inputs=_read,
        sources=_translator_sources,
        resumes=lambda study, w: True,
    ),
    Stage(
        "judge",
        "Judge whether retrieved chunks state the facts asked for.",
        "lorebridge.trace.judges:judge",
        version=4,
        files={"judgments": File("trace/judgments/{corpus}/{culture}.parquet", table="judgments", argument="out")},
        record="trace/judgments/{corpus}/{culture}.parquet.record.json",
        literals=_judge,
        inputs=_judgments_inputs,
        settings=lambda study, w: judge_settings(study),
        resumes=lambda study, w: True,
    ),
    Stage(
        "subjects",
        "Find what names the subject of every question that is asked in a language, and by which rule.",
        "lorebridge.trace.subjects:find_subjects",
        version=3,
        files={"subjects": File("trace/subjects/{lang}.parquet", table="subjects", argument="out")},
        record="trace/subjects/{lang}.parquet.record.json",
        literals=_subjects_literals,
        identity=_subjects_identity,
        inputs=_subjects_inputs,
        sources=lambda study, w: {"aliases": listed} if (listed := _aliases(study)) else {},
        threads="workers",
    ),
    Stage(
        "mentions",
        "Find every row of a text that names a subject or an answer.",
        "lorebridge.trace.mentions:find_mentions",
        version=2,
        files={"mentions": File("trace/mentions/{stream}.parquet", table="mentions", argument="out")},
        record="trace/mentions/{stream}.parquet.record.json",
        literals=lambda study, w: {
            "stream": w["stream"],
            "script": study.script(study.text(w["stream"]).lang),
            **study.reading,
            "cultures": list(study.text(w["stream"]).cultures),
            "column": study.text(w["stream"]).column,
        },
        inputs=lambda study, w: {**_texts(study, w), "subjects": one(subjects(study, study.text(w["stream"]).lang))},
        threads="workers",
    ),
    Stage(
        "exposure",
        "Count what a model has read of every fact up to each of its checkpoints.",
        "lorebridge.trace.exposure:exposure",
        version=3,
        files={"exposure": File("trace/exposure/{run}.parquet", table="exposure", argument="out")},
        record="trace/exposure/{run}.parquet.record.json",
        literals=_exposure_literals,
        inputs=_exposure_inputs,
    ),
    Stage(
        "occurrences",
        "Count the mentions of every question in every text, the parallel text included.",
        "lorebridge.trace.occurrences:occurrences",
        version=2,
        files={"occurrences": File("trace/occurrences.parquet", table="occurrences", argument="out")},
        record="trace/occurrences.parquet.record.json",
        inputs=lambda study, w: {
            "texts": table(
                {
                    "corpus": corpus,
                    "culture": culture,
                    "text": kind,
                    "subjects": subjects(study, corpus),
                    "mentions": mentions(text),
                    "tokens": _store(text),
                }
                for corpus, culture, kind, text in counted(study)
            )
        },
    ),
    Stage(
        "leaks",
        "Find the pairs whose halves state a fact outright.",
        "lorebridge.trace.leaks:leaks",
        files={"leaks": File("trace/leaks.parquet", table="leaks", argument="out")},
        record="trace/leaks.parquet.record.json",
        inputs=lambda study, w: {
            "halves": table(
                {
                    "culture": culture,
                    "lang": text.lang,
                    "subjects": subjects(study, text.lang),
                    "mentions": mentions(text),
                    "pairs": text.tables[0],
                }
                for culture, text in leaking(study)
            )
        },
    ),
    Stage(
        "density",
        "Estimate how densely each corpus states the facts that a culture's questions ask for.",
        "lorebridge.trace.density:density",
        version=3,
        files={"density": File("trace/density.parquet", table="density", argument="out")},
        record="trace/density.parquet.record.json",
        literals=lambda study, w: {
            "top_k": study.config["tracing"]["top_k"],
            "resamples": study.config["transfer"]["resamples"],
            "seed": study.config["transfer"]["seed"],
        },
        inputs=lambda study, w: {
            "corpora": table(
                {
                    "corpus": corpus,
                    "culture": culture,
                    "questions": study.asked[culture],
                    "hits": item("retrieve", "hits", corpus=corpus, culture=culture),
                    "judgments": item("judge", "judgments", corpus=corpus, culture=culture),
                    "chunks": item("chunks", "chunks", corpus=corpus),
                    "tokens": _store(study.mono(corpus)),
                    "pair_tokens": _store(study.half(culture, corpus)),
                }
                for corpus, culture in study.cells
            ),
            "occurrences": one(item("occurrences", "occurrences")),
        },
    ),
    Stage(
        "recovery",
        "Compare what retrieval and judge found, and what a full reading finds, with what the planted world states.",
        "lorebridge.trace.recovery:recover",
        version=3,
        files={"recovery": File("trace/recovery.parquet", "planted worlds only", table="recovery", argument="out")},
        record="trace/recovery.parquet.record.json",
        literals=lambda study, w: {
            "heldout": {lang: study.config["corpora"][lang]["heldout"] for lang in study.languages}
        },
        inputs=lambda study, w: {
            "truth": one(item("world", "truth")),
            "corpora": table(
                {
                    "corpus": corpus,
                    "culture": culture,
                    "hits": item("retrieve", "hits", corpus=corpus, culture=culture),
                    "judgments": item("judge", "judgments", corpus=corpus, culture=culture),
                    "mentions": mentions(study.mono(corpus)),
                    "subjects": subjects(study, corpus),
                    "documents": shard_files(study, corpus, "documents"),
                }
                for corpus, culture in study.cells
            ),
        },
    ),
    Stage(
        "people_mentions",
        "Count the rows of a text that name each person.",
        "lorebridge.trace.people:count_names",
        version=3,
        files={"people_mentions": File("people/mentions/{stream}.parquet", table="people_mentions", argument="out")},
        record="people/mentions/{stream}.parquet.record.json",
        literals=_people_mentions_literals,
        inputs=lambda study, w: {**_texts(study, w), "people": one(item("people", "people"))},
        threads="workers",
    ),
)
