"""What the stages of probing make: question sets, and what models answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorebridge import config as configuration
from lorebridge.corpora.facts import PLANTED, files_of
from lorebridge.corpora.released import check_questions
from lorebridge.corpora.stages import QA_MADE, shard_files
from lorebridge.errors import InputError
from lorebridge.plan.stage import Argument, Arguments, File, Item, Stage, Wildcards, after, by, groups, item, many, one
from lorebridge.plan.study import Model, Study
from lorebridge.probes.prefixes import BARE, LABEL
from lorebridge.probes.wording import VLLM
from lorebridge.records import fingerprint
from lorebridge.tokens.arms import HALF, template_labels
from lorebridge.tokens.stages import template, tokenizer, told
from lorebridge.train.stages import checkpoints


def _neurons(study: Study, run: str) -> dict[str, Any]:
    """Return the literals that what is done with a model's neurons has in common."""
    return {"run": run, "languages": study.config["neurons"]["languages"] or list(study.languages)}


def _neurons_inputs(study: Study, w: Wildcards) -> Arguments:
    return {
        "checkpoints": by("step", [checkpoints(study.model(w["run"]))], first=True),
        "facts": one(item("facts", "facts")),
        "scores": one(item("fact_scores", "fact_scores", run=w["run"])),
    }


def _source(study: Study, w: Wildcards) -> dict[str, Any]:
    return study.config["questions"][w["culture"]]["files"][w["lang"]]


def _made(study: Study, culture: str) -> dict[str, Any]:
    return study.config["questions"][culture]["made"]


def _local(study: Study, path: str) -> str:
    return str(configuration.local_path(study.config, path))


def _selected_literals(study: Study, w: Wildcards) -> dict[str, Any]:
    made = _made(study, w["culture"])
    source = {key: value for key, value in made["source"].items() if key != "path"}
    return {"source": source, **{key: made[key] for key in ("max_question", "max_choice", "n_choices")}}


def _selected_identity(study: Study, w: Wildcards) -> dict[str, Any]:
    source = _made(study, w["culture"])["source"]
    if source["kind"] != "local":
        return {}
    return {"sha256": study.known(_local(study, source["path"]), f"questions.{w['culture']}.made.source")}


def _selected_sources(study: Study, w: Wildcards) -> dict[str, Any]:
    source = _made(study, w["culture"])["source"]
    return {"path": _local(study, source["path"])} if source["kind"] == "local" else {}


def _made_literals(study: Study, w: Wildcards) -> dict[str, Any]:
    made = _made(study, w["culture"])
    langs = [made["lang"], *made["translate"], *made["by_hand"]]
    return {
        "culture": w["culture"],
        **{key: made[key] for key in ("lang", "translate", "by_hand")},
        "names": {lang: study.languages[lang]["name"] for lang in langs},
        "scripts": {lang: study.script(lang) for lang in langs},
        "model": made["model"]["model"],
        "kind": made["model"]["kind"],
    }


def _made_identity(study: Study, w: Wildcards) -> dict[str, Any]:
    model = _made(study, w["culture"])["model"]
    if model["kind"] != "recorded":
        return {}
    return {"sha256": study.known(_local(study, model["calls"]), f"questions.{w['culture']}.made.model.calls")}


def _made_sources(study: Study, w: Wildcards) -> dict[str, Any]:
    model = _made(study, w["culture"])["model"]
    return {"recorded": _local(study, model["calls"])} if model["kind"] == "recorded" else {}


def _made_settings(study: Study, w: Wildcards) -> dict[str, Any]:
    model = _made(study, w["culture"])["model"]
    return {key: model[key] for key in ("base_url", "key_env", "concurrency") if key in model}


def _sheet(study: Study, w: Wildcards) -> str | None:
    """Return the sheet that people have corrected, if there is one."""
    sheet = _made(study, w["culture"])["sheet"]
    return None if sheet is None else _local(study, sheet)


def _question_path(study: Study, w: Wildcards) -> str | None:
    """Return the local file of a question set in one language, or None where it is fetched."""
    source = _source(study, w)
    if source["kind"] == "local":
        return str(configuration.local_path(study.config, source["path"]))
    planted = f"{study.root}/world/questions/{w['culture']}-culture-cloze_{w['lang']}.json"
    return planted if source["kind"] == "planted" else None


def _of_facts(study: Study, source: Mapping[str, Any], langs: Sequence[str], key: str) -> dict[str, str]:
    """Return what tells the files of facts of some languages from others.

    Raises:
        ConfigError: there are none.
    """
    folder = _local(study, source["path"])
    files = files_of(source["shape"], folder, langs)
    if not files and source.get("obtain"):
        return {"sha256": "absent"}
    if not files:
        what = f"there is no file of the shape {source['shape']} in {folder}"
        raise configuration.ConfigError(f"key {key}", what, "Mend the path, or `data`.")
    return {"sha256": fingerprint({Path(file).relative_to(folder).as_posix(): study.digest(file) for file in files})}


def plants_facts(study: Study) -> bool:
    """Whether the facts that a study asks are those of its planted world."""
    return bool(study.config["facts"]["shape"] == PLANTED)


def _facts_folder(study: Study) -> str:
    return f"{study.root}/world/facts" if plants_facts(study) else _local(study, study.config["facts"]["path"])


def _facts_files(study: Study) -> list[str]:
    """Return the files that facts are read from."""
    folder = _facts_folder(study)
    if plants_facts(study):
        return [f"{folder}/{lang}.jsonl.gz" for lang in study.languages]
    return files_of(study.config["facts"]["shape"], folder, list(study.languages))


def _fetched(study: Study, w: Wildcards) -> bool:
    return _source(study, w)["kind"] == "github"


def _question_identity(study: Study, w: Wildcards) -> dict[str, Any]:
    # Which file of the set it is enters the recipe: swapped files must not look like the same table.
    identity = {"kind": _source(study, w)["kind"], "culture": w["culture"], "lang": w["lang"]}
    if identity["kind"] == "made":
        sheet = _sheet(study, w)
        key = f"questions.{w['culture']}.made.sheet"
        return {"kind": "made", "sheet": None if sheet is None else study.known(sheet, key)}
    if identity["kind"] == "facts":
        return {"kind": "facts"} | _of_facts(
            study, _source(study, w), study.asked_in(w["culture"]), f"questions.{w['culture']}"
        )
    if identity["kind"] == "local":
        identity["sha256"] = study.known(str(_question_path(study, w)), f"questions.{w['culture']}")
    return identity


def _question_inputs(study: Study, w: Wildcards) -> Arguments:
    kind = _source(study, w)["kind"]
    if kind == "made":
        return {"made": one(item("made_questions", "made", culture=w["culture"]))}
    return {"world": after([item("world", "truth")])} if kind == "planted" else {}


def _question_literals(study: Study, w: Wildcards) -> dict[str, Any]:
    if _source(study, w)["kind"] == "made":
        return {"culture": w["culture"], "lang": w["lang"]}
    if _source(study, w)["kind"] == "facts":
        said = {key: value for key, value in _source(study, w).items() if key not in ("kind", "path")}
        return {**said, "lang": w["lang"], "langs": study.asked_in(w["culture"])}
    return {k: v for k, v in _source(study, w).items() if k != "kind"} if _fetched(study, w) else {}


def _question_sources(study: Study, w: Wildcards) -> dict[str, Any]:
    if _source(study, w)["kind"] == "made":
        return {"sheet": _sheet(study, w)}
    if _source(study, w)["kind"] == "facts":
        said = _source(study, w)
        return {"files": files_of(said["shape"], _local(study, said["path"]), study.asked_in(w["culture"]))}
    return {} if _fetched(study, w) else {"source": _question_path(study, w)}


def _question_settings(study: Study, w: Wildcards) -> dict[str, Any]:
    said = _source(study, w)
    return {"folder": _local(study, said["path"])} if said["kind"] == "facts" else {}


QUESTION_FILES = {
    "github": "corpora.fetch:fetch_released",
    "local": "corpora.fetch:copy_file",
    "planted": "corpora.fetch:copy_file",
    "made": "probes.making:write_questions",
    "facts": "corpora.facts:write_clozes",
}
"""Kind of a question file -> the function that puts it in place."""


def check_local_questions(study: Study) -> None:
    """Read the question files that are there, so that a dry run says what is wrong with them.

    Raises:
        InputError: as :func:`lorebridge.corpora.released.check_questions`.
    """
    for culture, said in study.config["questions"].items():
        langs = list(said["files"])
        paths = [_question_path(study, {"culture": culture, "lang": lang}) for lang in langs]
        local = all(source["kind"] == "local" for source in said["files"].values())
        if local and all(path is not None and Path(path).is_file() for path in paths):
            found = check_questions(
                culture=culture,
                langs=langs,
                known_missing_gold=said["known_missing_gold"],
                files={lang: Path(str(path)) for lang, path in zip(langs, paths, strict=True)},
                scripts={lang: study.script(lang) for lang in langs},
                subset=study.config["probing"]["subset"],
            )
            subset, sample = study.config["probing"]["subset"], said["sample"]
            if sample is not None and sample["questions"] > found.counts[subset]:
                raise InputError(
                    f"key questions.{culture}.sample.questions",
                    f"{sample['questions']} are more than the {found.counts[subset]} of the subset {subset!r} in "
                    f"{paths[0]}",
                    "Ask for fewer.",
                )


def named(study: Study, model: Model) -> dict[str, Any]:
    """Return what the rows of a model's scores say of it."""
    pair = f"{study.base}-{model.lang}" if study.base and model.lang else None
    return {"run": model.name, "lang_pair": pair, **told(model)}


def _asked_behind(study: Study, langs: Iterable[str]) -> dict[str, Any]:
    """Return what questions stand behind, with the labels of the base language and of each of others in its pairs.

    In a kind of study that knows no labels it is the start of a document alone. Where training text gives the space
    behind a label to the half that follows (``training.label_space``), so do questions.
    """
    prefixes = study.config["probing"].get("prefixes", [BARE])
    if LABEL not in prefixes:
        return {"prefixes": prefixes, "labels": {}}
    lead = " " if (study.config["training"] or {}).get("label_space") == HALF else ""
    labels = {
        lang: {
            of: label.removesuffix(lead)
            for of, label in zip((study.base, lang), template_labels(template(study, lang)), strict=True)
        }
        for lang in langs
    }
    return {"prefixes": prefixes, "labels": labels, **({"lead": lead} if lead else {})}


def _heldout_pairs(study: Study, culture: str) -> list[Item]:
    return [item("filter_pairs", "heldout_pairs", lang=culture)] if study.halves(culture) else []


def _heldout_documents(study: Study, model: Model) -> Argument:
    return groups("lang", [i for lang in model.heldout for i in shard_files(study, lang, "heldout_documents")])


def _scores_inputs(study: Study, w: Wildcards) -> Arguments:
    model = study.model(w["run"])
    return {
        "checkpoints": by("step", [checkpoints(model)], first=True),
        "questions": many(study.asked[culture] for culture in model.cultures),
        "heldout": _heldout_documents(study, model),
        "pairs": by("lang", [i for culture in model.cultures for i in _heldout_pairs(study, culture)]),
    }


def _planted_questions(study: Study, model: Model) -> Arguments:
    """What is asked of a planted world's clauses: its questions, with the truth about them; nothing of real text."""
    if not study.planted:
        return {}
    return {"questions": many(study.asked[culture] for culture in model.cultures), "truth": one(item("world", "truth"))}


def _copying_literals(study: Study, w: Wildcards) -> dict[str, Any]:
    model = study.model(w["run"])
    scripts = {"scripts": {lang: study.script(lang) for lang in model.heldout}} if study.planted else {}
    return {"run": model.name, **told(model), "window": study.config["training"]["sequence_length"], **scripts}


def _learners(study: Study, lang: Any) -> list[Model]:
    """The models that learn a language after the base language."""
    return [model for model in study.of_phase("continual") if model.lang == lang]


def _made_qa(study: Study, w: Wildcards) -> tuple[str, Mapping[str, Any]]:
    """Return the key and the entry of questions on pages that are made."""
    (found,) = [
        (f"qa.files.{number}", said)
        for number, said in enumerate(study.config["qa"]["files"])
        if said["kind"] == "made" and said["name"] == w["made"]
    ]
    return found


def _made_qa_sources(study: Study, w: Wildcards) -> dict[str, Any]:
    said, model = _made_qa(study, w)[1], _made_qa(study, w)[1]["model"] or {}
    return {
        "source": _local(study, said["path"]),
        "translated": [_local(study, path) for path in said["translations"].values()],
        **({"recorded": _local(study, model["calls"])} if model.get("kind") == "recorded" else {}),
    }


def _made_qa_identity(study: Study, w: Wildcards) -> dict[str, Any]:
    key, said = _made_qa(study, w)
    sources = _made_qa_sources(study, w)
    known = [study.known(sources["source"], f"{key}.path", said["obtain"])]
    known += [study.known(path, f"{key}.translations", said["obtain"]) for path in sources["translated"]]
    if "recorded" in sources:
        known.append(study.known(sources["recorded"], f"{key}.model.calls"))
    return {"sha256": known}


def _made_qa_literals(study: Study, w: Wildcards) -> dict[str, Any]:
    said = _made_qa(study, w)[1]
    model = said["model"] or {}
    return {
        "shape": said["shape"],
        "base": study.base,
        "names": {lang: study.languages[lang]["name"] for lang in study.languages},
        "translations": list(said["translations"]),
        "model": model.get("model"),
        "kind": model.get("kind"),
    }


def _made_qa_settings(study: Study, w: Wildcards) -> dict[str, Any]:
    key, said = _made_qa(study, w)
    model = said["model"] or {}
    return {"section": key, **{name: model[name] for name in ("base_url", "key_env", "concurrency") if name in model}}


QA_MADE_STAGES = (
    Stage(
        QA_MADE,
        "Give questions on pages their translations, and have a language model write wrong options.",
        "lorebridge.probes.qa_making:make_qa",
        files={
            "rows": File("qa/made/{made}.jsonl", "questions on pages as the paper's rows", argument="out"),
            "calls": File("qa/made/{made}.calls.jsonl", "every prompt and response; they can be used again"),
        },
        record="qa/made/{made}.jsonl.record.json",
        literals=_made_qa_literals,
        identity=_made_qa_identity,
        sources=_made_qa_sources,
        settings=_made_qa_settings,
        resumes=lambda study, w: True,
        wildcards={"made": "[a-z0-9][a-z0-9_-]*"},
    ),
)
"""Of a kind of study that asks questions on pages, whose section ``qa`` lists ``files``, some of kind ``made``."""

STAGES = (
    Stage(
        "selected_questions",
        "Select the multiple-choice questions that can become clozes.",
        "lorebridge.probes.making:select_questions",
        files={
            "selected": File("probes/made/{culture}/selected.json", "questions, choices, answers", argument="out"),
            "selected_audit": File(
                "probes/made/{culture}/selected.audit.json", "which are left out, by reason", argument="audit"
            ),
        },
        record="probes/made/{culture}/selected.json.record.json",
        literals=_selected_literals,
        identity=_selected_identity,
        sources=_selected_sources,
    ),
    Stage(
        "made_questions",
        "Have a language model turn questions into clozes and translate them; write a sheet for people to check.",
        "lorebridge.probes.making:make_questions",
        files={
            "made": File("probes/made/{culture}/made.json", "what the model made of every question"),
            "calls": File("probes/made/{culture}/calls.jsonl", "every prompt and response; they can be used again"),
            "sheet": File("probes/made/{culture}/sheet.csv", "to be copied, corrected and named as `made.sheet`"),
            "page": File("probes/made/{culture}/page.html", "the same, to be read in a browser"),
        },
        record="probes/made/{culture}/made.json.record.json",
        literals=_made_literals,
        identity=_made_identity,
        inputs=lambda study, w: {"selected": one(item("selected_questions", "selected", culture=w["culture"]))},
        sources=_made_sources,
        settings=_made_settings,
        resumes=lambda study, w: True,
    ),
    Stage(
        "question_file",
        "Put a culture's questions in one language in place: fetched, copied, made, or written from facts.",
        lambda study, w: f"lorebridge.{QUESTION_FILES[_source(study, w)['kind']]}",
        files={
            "questions": File(
                "probes/files/{culture}-{lang}.json",
                "questions of a culture in one language, as released",
                argument="out",
            )
        },
        record="probes/files/{culture}-{lang}.json.record.json",
        literals=_question_literals,
        identity=_question_identity,
        inputs=_question_inputs,
        sources=_question_sources,
        settings=_question_settings,
    ),
    Stage(
        "questions",
        "Check a culture's question files and put them in one table.",
        "lorebridge.probes.questions:build_questions",
        version=2,
        files={"questions": File("probes/questions/{culture}.parquet", table="questions", argument="out")},
        record="probes/questions/{culture}.parquet.record.json",
        literals=lambda study, w: {
            "culture": w["culture"],
            "langs": study.asked_in(w["culture"]),
            "scripts": {lang: study.script(lang) for lang in study.asked_in(w["culture"])},
            "known_missing_gold": study.config["questions"][w["culture"]]["known_missing_gold"],
        },
        # A change of it asks for another look at the questions, and not for other ones.
        settings=lambda study, w: {"subset": study.config["probing"]["subset"]},
        inputs=lambda study, w: {
            "files": by(
                "lang",
                [
                    item("question_file", "questions", culture=w["culture"], lang=lang)
                    for lang in study.asked_in(w["culture"])
                ],
            )
        },
    ),
    Stage(
        "facts",
        "Read the facts of a data set in all languages of the study, and put them in one table.",
        "lorebridge.probes.facts:build_facts",
        files={"facts": File("facts/facts.parquet", table="facts", argument="out")},
        record="facts/facts.parquet.record.json",
        literals=lambda study, w: {
            "langs": list(study.languages),
            **{key: study.config["facts"][key] for key in ("shape", "relations", "repeats")},
        },
        identity=lambda study, w: (
            {} if plants_facts(study) else _of_facts(study, study.config["facts"], list(study.languages), "facts")
        ),
        inputs=lambda study, w: {"world": after([item("world", "truth")])} if plants_facts(study) else {},
        sources=lambda study, w: {"files": _facts_files(study)},
        settings=lambda study, w: {"folder": _facts_folder(study)},
    ),
    Stage(
        "fact_scores",
        "Ask all checkpoints of a model facts: a masked one by its masks, a causal one with candidates filled in.",
        "lorebridge.probes.asking:score_facts",
        files={"fact_scores": File("facts/scores/{run}.parquet", table="fact_scores", argument="out")},
        record="facts/scores/{run}.parquet.record.json",
        literals=lambda study, w: {"run": w["run"], **study.config["asking"]},
        inputs=lambda study, w: {
            "checkpoints": by("step", [checkpoints(study.model(w["run"]))], first=True),
            "facts": one(item("facts", "facts")),
        },
    ),
    Stage(
        "fact_rankings",
        "Rank the candidates of every fact by the last checkpoint of a model.",
        "lorebridge.probes.asking:rank_facts",
        files={"fact_rankings": File("facts/rankings/{run}.parquet", table="fact_rankings", argument="out")},
        record="facts/rankings/{run}.parquet.record.json",
        literals=lambda study, w: {"run": w["run"], **{key: study.config["asking"][key] for key in ("decode", "bare")}},
        inputs=lambda study, w: {
            "checkpoints": by("step", [checkpoints(study.model(w["run"]))], first=True),
            "facts": one(item("facts", "facts")),
        },
        settings=lambda study, w: {"batch_tokens": study.config["compute"]["score_tokens"]},
        threads="threads",
    ),
    Stage(
        "neurons",
        "Find the neurons that tell the facts which a model has right from others of their relation.",
        "lorebridge.probes.neurons:score_neurons",
        files={
            "neurons": File("facts/neurons/{run}.parquet", table="neurons", argument="out"),
            "neuron_bins": File("facts/neuron_bins/{run}.parquet", table="neuron_bins", argument="bins_out"),
        },
        record="facts/neurons/{run}.parquet.record.json",
        literals=lambda study, w: {
            **{key: said for key, said in study.config["neurons"].items() if key != "ablation"},
            **_neurons(study, w["run"]),
            "bare": study.config["asking"]["bare"],
        },
        inputs=_neurons_inputs,
        settings=lambda study, w: {"batch_tokens": study.config["compute"]["score_tokens"]},
        threads="threads",
        resumes=lambda study, w: True,
    ),
    Stage(
        "silenced_facts",
        "Ask a model facts in one language while their neurons of another are silenced, and while others are.",
        "lorebridge.probes.neurons:ablate",
        files={"silenced_facts": File("facts/silenced/{run}.parquet", table="silenced_facts", argument="out")},
        record="facts/silenced/{run}.parquet.record.json",
        literals=lambda study, w: {
            **study.config["neurons"]["ablation"],
            **_neurons(study, w["run"]),
            "asking": study.config["asking"],
        },
        inputs=lambda study, w: {**_neurons_inputs(study, w), "neurons": one(item("neurons", "neurons", run=w["run"]))},
        settings=lambda study, w: {"batch_tokens": study.config["compute"]["score_tokens"]},
        threads="threads",
        resumes=lambda study, w: True,
    ),
    Stage(
        "score",
        "Ask all checkpoints of a model the questions, and measure it on held-out text and pairs.",
        "lorebridge.probes.scoring:score_run",
        version=4,
        files={
            "scores": File("probes/scores/{run}.parquet", "all checkpoints of a model", table="scores", argument="out"),
            "perplexity": File("probes/perplexity/{run}.parquet", "on held-out documents", table="perplexity"),
            "alignment": File("probes/alignment/{run}.parquet", "on held-out pairs", table="alignment"),
        },
        record="probes/scores/{run}.parquet.record.json",
        literals=lambda study, w: {
            **named(study, study.model(w["run"])),
            **_asked_behind(study, study.model(w["run"]).cultures),
            "window": study.config["training"]["sequence_length"],
            **{key: study.config["probing"][key] for key in ("perplexity_tokens", "alignment_pairs")},
        },
        inputs=_scores_inputs,
        runs=True,
    ),
    Stage(
        "copying",
        "Measure whether a model copies in context, at all its checkpoints.",
        "lorebridge.probes.copying:copying",
        files={"copying": File("probes/copying/{run}.parquet", table="copying", argument="out")},
        record="probes/copying/{run}.parquet.record.json",
        literals=_copying_literals,
        inputs=lambda study, w: {
            "checkpoints": by("step", [checkpoints(study.model(w["run"]))], first=True),
            "heldout": _heldout_documents(study, study.model(w["run"])),
            **_planted_questions(study, study.model(w["run"])),
        },
        version=3,
        threads="threads",
    ),
    Stage(
        "mechanism",
        "Measure how alike models represent what corresponds in two languages of a planted world.",
        "lorebridge.probes.mechanism:mechanism",
        version=2,
        files={
            "mechanism": File(
                "probes/mechanism/{lang}.parquet",
                "of all models that learn `lang`, in a planted world",
                table="mechanism",
                argument="out",
            )
        },
        record="probes/mechanism/{lang}.parquet.record.json",
        literals=lambda study, w: {
            "culture": w["lang"],
            "base": study.base,
            "runs": {model.name: told(model) for model in _learners(study, w["lang"])},
            "template": template(study, str(w["lang"])),
            "n_entities": study.config["probing"]["alignment_pairs"],
        },
        inputs=lambda study, w: {
            "checkpoints": by(
                ("run", "step"), [checkpoints(model) for model in _learners(study, w["lang"])], first=True
            ),
            "questions": one(study.asked[str(w["lang"])]),
            "truth": one(item("world", "truth")),
        },
        threads="threads",
    ),
    Stage(
        "random_models",
        "Ask random models of the study's shape the questions, by the published rule and in float32.",
        "lorebridge.probes.ties:scorer_bias",
        version=2,
        files={"scorer": File("probes/scorer.parquet", table="scorer", argument="out")},
        record="probes/scorer.parquet.record.json",
        literals=lambda study, w: {
            "model": study.config["model"],
            "seeds": list(range(study.config["probing"]["random_models"])),
        },
        inputs=lambda study, w: {"questions": many(study.asked.values()), "tokenizer": one(tokenizer())},
    ),
    Stage(
        "people_questions",
        "Write the questions on people in the base language and one other.",
        "lorebridge.probes.people:build_people_questions",
        files={
            "people_questions": File(
                "people/questions/{lang}.parquet",
                "on people, in the base language and in `lang`",
                table="questions",
                argument="out",
            )
        },
        record="people/questions/{lang}.parquet.record.json",
        literals=lambda study, w: {
            "langs": [study.base, w["lang"]],
            "questions": study.config["people"]["questions"],
            "seed": study.config["people"]["seed"],
            "templates": {lang: configuration.people_templates(study.config, lang) for lang in (study.base, w["lang"])},
        },
        inputs=lambda study, w: {
            "people": one(item("people", "people")),
            "mentions": many(
                item("people_mentions", "people_mentions", stream=text.name)
                for text in study.texts.values()
                if text.lang == w["lang"]
            ),
        },
    ),
    Stage(
        "people_score",
        "Ask all checkpoints of a model the questions on people.",
        "lorebridge.probes.scoring:score_run",
        version=3,
        files={
            "people_scores": File(
                "people/scores/{run}.parquet", "of the questions on people", table="scores", argument="out"
            )
        },
        record="people/scores/{run}.parquet.record.json",
        literals=lambda study, w: {
            **named(study, study.model(w["run"])),
            **_asked_behind(study, [str(study.model(w["run"]).lang)]),
        },
        inputs=lambda study, w: {
            "checkpoints": by("step", [checkpoints(study.model(w["run"]))], first=True),
            "questions": many([item("people_questions", "people_questions", lang=study.model(w["run"]).lang)]),
        },
        runs=True,
    ),
)


def qa_tasks(study: Study, model: Model) -> list[str]:
    """Return what a model is asked questions on pages as: what it was tuned on; all tasks where it was not."""
    if model.tuning is None:
        return list(study.config["qa"]["tasks"])
    return [study.config["tuning"]["sets"][model.arm]["task"]]


def _qa_literals(study: Study, w: Wildcards) -> dict[str, Any]:
    answering, training = study.config["answering"], study.config["training"] or {}
    return {
        "run": w["run"],
        "tasks": qa_tasks(study, study.model(w["run"])),
        "base": study.base,
        "seed": study.config["qa"]["seed"],
        "engine": answering["engine"],
        "manner": {"max_tokens": answering["max_tokens"]},
        "template": training["sft"]["template"] if "sft" in training else None,
        "window": training.get("sequence_length"),
        "names": {lang: language["name"] for lang, language in study.languages.items()},
    }


def _qa_settings(study: Study, w: Wildcards) -> dict[str, Any]:
    answering = study.config["answering"]
    keys = ("gpus", "max_model_len") if answering["engine"] == VLLM else ()
    return {"batch_tokens": study.config["compute"]["score_tokens"], **{key: answering[key] for key in keys}}


QA_STAGES = (
    Stage(
        "qa_answers",
        "Ask all checkpoints of a model questions on pages, and grade what it writes and which options it prefers.",
        "lorebridge.probes.qa:ask_qa",
        files={
            "answers": File("qa/answers/{run}.parquet", table="answers", argument="out"),
            "qa_scores": File("qa/scores/{run}.parquet", table="qa_scores", argument="scores_out"),
        },
        record="qa/scores/{run}.parquet.record.json",
        literals=_qa_literals,
        inputs=lambda study, w: {
            "qa": one(item("qa", "qa")),
            "checkpoints": by("step", [checkpoints(study.model(w["run"]))], first=True),
        },
        settings=_qa_settings,
        threads="threads",
        resumes=lambda study, w: True,
        runs=True,
    ),
    Stage(
        "qa_baselines",
        "Say what answers that need no model are worth on questions on pages.",
        "lorebridge.probes.qa_baselines:qa_baselines",
        files={"qa_baselines": File("qa/baselines.parquet", table="qa_baselines", argument="out")},
        record="qa/baselines.parquet.record.json",
        literals=lambda study, w: {
            "tasks": list(study.config["qa"]["tasks"]),
            "base": study.base,
            "seed": study.config["qa"]["seed"],
        },
        inputs=lambda study, w: {"qa": one(item("qa", "qa"))},
    ),
)
"""Of a kind of study that asks questions on pages: ``qa.tasks`` and ``qa.seed``; of ``answering`` ``engine``,
``max_tokens``, and for vLLM ``gpus`` and ``max_model_len``; ``training.sft.template``, in whose words all models are
asked; and of each set of ``tuning.sets`` its ``task``. Its rule
calls the command ``lorebridge answer-qa``: vLLM starts a process of its own, which would run a script a second time."""
