"""The plan of a study: its runs, its artifacts, and the recipe of each.

Pure: reads a validated configuration and touches no model, no tensor and no table, so that a dry run needs no torch.
What an arm is it takes from :mod:`lorebridge.tokens.arms`, which is as light.
The plan is a graph of *artifacts* ``(stage, wildcards)``. For each it knows the files (:meth:`Plan.outputs`), the
artifacts it is made from (:meth:`Plan.inputs`) and the task with its chained recipe (:meth:`Plan.task`). The workflow's
rules take all three from here, so a path, a dependency or a parameter is stated once.
"""

from __future__ import annotations

import dataclasses
import functools
import heapq
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lorebridge import config as configuration
from lorebridge.records import RECORD, Task, file_digest
from lorebridge.tokens.arms import ARMS, ENGLISH_MATCHED, LEAK_FREE, LEAK_ONLY, REPLAY, has_labels

# Bump a stage's version when a change of its code alters its output: everything downstream is then remade.
STAGE_VERSIONS = {
    "world": 1,
    "signatures": 1,
    "duplicates": 1,
    "corpus_shard": 2,
    "corpus": 2,
    "parallel": 2,
    "tokenizer": 1,
    "tokens": 2,
    "order": 2,
    "base_model": 2,
    "model": 2,
    "question_file": 1,
    "questions": 1,
    "sample": 1,
    "scores": 2,
    "scorer": 1,
    "chunks": 1,
    "index": 2,
    "hits": 2,
    "translations": 1,
    "judgments": 2,
    "subjects": 1,
    "mentions": 1,
    "exposure": 1,
    "occurrences": 1,
    "leaks": 1,
    "density": 2,
    "recovery": 2,
    "accuracies": 1,
    "gaps": 2,
    "items": 2,
    "table": 1,
    "figure": 1,
    "people_response": 1,
    "people": 1,
    "people_mentions": 1,
    "people_questions": 1,
    "people_scores": 1,
    "people_gaps": 1,
    "page": 1,
    "bundle": 1,
}

# What of a dense retriever makes the index of a corpus; what of a judge says how it is reached, and not what it says.
ENCODER = ("model", "revision", "truncate")
JUDGE_SETTINGS = ("gpus", "base_url", "key_env", "concurrency")
# What of a source of people says how it is reached.
PEOPLE_SETTINGS = ("endpoint", "contact")


class Drawing(NamedTuple):
    """How a figure or table is drawn: by a function in a module of :mod:`lorebridge.figures`.

    Attributes:
        module: the module.
        reads: what it is drawn from.
        settings: what it is drawn with.
        function: the function, where it is not called as the figure or table.
    """

    module: str
    reads: tuple[str, ...]
    settings: tuple[str, ...]
    function: str = ""


FIGURES = {
    "figure3": Drawing("curves", ("accuracies",), ("base", "names", "arms", "subset", "rule", "last", "ema", "remark")),
    "gaps": Drawing("effects", ("gaps", "questions"), ("base", "names", "last", "discordance", "remark")),
    "asymmetry": Drawing("inference", ("asymmetry",), ("base", "names", "last", "remark")),
    "occurrences": Drawing("effects", ("items",), ("base", "names", "resamples", "seed", "planted")),
    "exposure": Drawing("exposure", ("exposure",), ("base", "names", "arms")),
    "losses": Drawing("curves", ("metrics",), ("base", "names", "arms")),
    "learning": Drawing("learning", ("perplexity", "alignment"), ("base", "names", "arms")),
    "random_models": Drawing("scorer", ("scorer",), ("names",), "figure"),
    "examples": Drawing("examples", ("questions",), ("base", "names", "subset")),
    "recovery": Drawing("truth", ("recovery",), ("names",)),
    "dose_response": Drawing(
        "truth", ("scores", "questions", "truth"), ("base", "names", "contrasts", "subset", "rule", "last", "remark")
    ),
}
TABLES = {
    "accuracy": Drawing("summary", ("accuracies", "questions"), ("base", "names", "subset", "rule", "last")),
    "baselines": Drawing("scorer", ("accuracies", "questions"), ("base", "names", "subset", "rule")),
    "consistency": Drawing("summary", ("scores", "questions"), ("base", "names", "subset", "rule", "last")),
    "ties": Drawing("scorer", ("scores", "questions", "accuracies"), ("base", "names", "last")),
    "random_models": Drawing("scorer", ("scorer",), ("names",), "table"),
    "gaps": Drawing("summary", ("gaps",), ("names", "last")),
    "asymmetry": Drawing("inference", ("asymmetry",), ("base", "names", "last"), "asymmetry_table"),
    "cultures": Drawing("inference", ("asymmetry", "density"), ("base", "names")),
    "placements": Drawing(
        "inference", ("scores", "questions", "truth"), ("base", "names", "contrasts", "subset", "rule", "last")
    ),
    "dose_response": Drawing(
        "inference", ("scores", "questions", "truth"), ("base", "names", "contrasts", "subset", "rule", "last")
    ),
    "power": Drawing("summary", ("questions",), ("names", "subset", "discordance")),
    "density": Drawing("summary", ("density",), ("base", "names", "planted")),
    "occurrences": Drawing("summary", ("items",), ("base", "names", "resamples", "seed", "planted")),
    "exposure_effects": Drawing("inference", ("exposure_effects",), ("base", "names")),
    "consumed": Drawing("exposure", ("exposure",), ("base", "names", "arms")),
    "leaks": Drawing("exposure", ("leaks",), ("names",)),
    "questions": Drawing("summary", ("questions", "tokenizer"), ("base", "names", "subset", "planted")),
    "data": Drawing("summary", ("orders",), ("names",)),
    "filtering": Drawing("summary", ("audits",), ("base", "names")),
    "alarms": Drawing(
        "checks",
        ("scores", "questions", "accuracies", "leaks", "occurrences", "exposure_effects", "perplexity"),
        ("base", "names", "subset", "rule", "last"),
    ),
    "recovery": Drawing("summary", ("recovery",), ("names",)),
    "people": Drawing("people", ("people_gaps",), ("base", "names", "last", "planted")),
    "people_isolation": Drawing("people", ("people_mentions", "people_questions"), ("base", "names"), "isolation"),
}
# Which files of an artifact a stage reads, where it is not those of its first output.
READS = {
    ("corpus", "corpus_shard"): ("shard_audit",),
    ("scores", "corpus_shard"): ("heldout_documents",),
    ("scores", "parallel"): ("heldout_pairs",),
    ("page", "figure"): ("svg",),
    ("page", "table"): ("csv", "md"),
}
DRAWN = {"base_model": ("metrics",), "model": ("metrics",), "parallel": ("pairs_audit",)}
# What only a study of a planted world has.
PLANTED_ONLY = {"recovery", "truth"}
# What only a study that asks about people has.
PEOPLE_ONLY = {"people_gaps", "people_mentions", "people_questions"}
FIGURE_SUFFIXES = ("pdf", "svg", "png")
TABLE_SUFFIXES = ("csv", "md", "tex")


@dataclasses.dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        run: its name, ``ko-bridge-s0`` or ``base-s0``.
        lang: the language that is learned.
        arm: the arrangement of its text, or ``base``.
        seed: seed of the data order; and of the weights, for a base run.
        steps: optimizer steps.
        checkpoints: the steps at which a checkpoint is kept, 0 first.
        tokens: positions that it trains on, padding included.
    """

    run: str
    lang: str
    arm: str
    seed: int
    steps: int
    checkpoints: tuple[int, ...]
    tokens: int

    @property
    def variant(self) -> str:
        """What of its arm's text is left out or replaced (:class:`lorebridge.tokens.arms.Arm`); or empty."""
        return "" if self.arm == "base" else ARMS[self.arm].variant

    @property
    def stage(self) -> str:
        """The stage that trains it."""
        return "base_model" if self.arm == "base" else "model"

    @property
    def wildcards(self) -> dict[str, Any]:
        """The wildcards of its model artifact."""
        return {"seed": self.seed} if self.arm == "base" else {"lang": self.lang, "arm": self.arm, "seed": self.seed}


Artifact = tuple[str, tuple[tuple[str, str], ...]]
"""A stage and its wildcards, sorted."""

Files = Mapping[str, str | list[str]]
"""Output name -> path, or paths."""


def artifact(stage: str, **wildcards: Any) -> Artifact:
    """Return the hashable name of an artifact."""
    return stage, tuple(sorted((key, str(value)) for key, value in wildcards.items()))


def _without(value: Any, keys: tuple[str, ...]) -> Any:
    """Return a JSON-like value without some keys, wherever they stand."""
    if isinstance(value, Mapping):
        return {key: _without(item, keys) for key, item in value.items() if key not in keys}
    return [_without(item, keys) for item in value] if isinstance(value, list) else value


class Plan:
    """The plan of one study.

    Args:
        config: a validated configuration (:func:`lorebridge.config.check`).
        digest: gives the sha256 of a local source file; a cache of it makes a dry run fast.
    """

    def __init__(self, config: Mapping[str, Any], digest: Callable[[str], str] = file_digest) -> None:
        """Prepare the plan; nothing is read from disk yet."""
        self.config = config
        self.root = f"{config['results']}/{config['study']}"
        self.work = f"{config['work']}/{config['study']}"
        self.base: str = config["base_language"]
        self.langs: list[str] = [lang for lang in config["languages"] if lang != self.base]
        self._digest = digest
        self._tasks: dict[Artifact, Task] = {}

    # ---------------------------------------------------------------- runs

    @functools.cached_property
    def runs(self) -> list[Run]:
        """The continual pretraining runs: language x arm x seed."""
        phase = self.config["training"]["continual"]
        return [
            self._run(f"{lang}-{arm}-s{seed}", lang, arm, seed, phase)
            for lang in self.langs
            for arm in self.config["arms"]
            for seed in self.config["seeds"]
        ]

    @functools.cached_property
    def base_runs(self) -> list[Run]:
        """The base models: one for each seed, or one for all."""
        seeds = self.config["seeds"] if self.config["training"]["base_per_seed"] else self.config["seeds"][:1]
        return [self._run(f"base-s{s}", self.base, "base", s, self.config["training"]["base"]) for s in seeds]

    @staticmethod
    def _run(name: str, lang: str, arm: str, seed: int, phase: Mapping[str, Any]) -> Run:
        return Run(
            name,
            lang,
            arm,
            seed,
            phase["steps"],
            tuple(configuration.checkpoint_steps(phase)),
            phase["steps"] * phase["batch_tokens"],
        )

    @functools.cached_property
    def _by_name(self) -> dict[str, Run]:
        return {run.run: run for run in self.base_runs + self.runs}

    def run(self, name: str) -> Run:
        """Return the run called `name`.

        Raises:
            KeyError: there is none.
        """
        return self._by_name[name]

    def base_of(self, run: Run) -> Run:
        """Return the base run that a continual run starts from."""
        return next((b for b in self.base_runs if b.seed == run.seed), self.base_runs[0])

    # ---------------------------------------------------------------- files

    def outputs(self, stage: str, **wildcards: Any) -> Files:
        """Return name -> path (or paths) of an artifact's files, its record among them under ``record``.

        Wildcards that are not given stay in the paths as ``{name}``, which is how a rule declares its outputs.
        """
        names = ("lang", "shard", "stream", "run", "arm", "seed", "culture", "corpus", "figure", "table")
        w = {name: str(wildcards.get(name, "{" + name + "}")) for name in names}
        r = self.root
        match stage:
            case "world":
                return {**self._world_files(), "record": f"{r}/world/{RECORD}"}
            case "signatures":
                files = {"signatures": f"{r}/corpora/{w['lang']}/signatures-{w['shard']}.parquet"}
            case "duplicates":
                files = {"duplicates": f"{r}/corpora/{w['lang']}/duplicates.parquet"}
            case "corpus_shard":
                stem = f"{r}/corpora/{w['lang']}/documents-{w['shard']}"
                files = {
                    "documents": f"{stem}.parquet",
                    "heldout_documents": f"{r}/corpora/{w['lang']}/heldout-{w['shard']}.parquet",
                    "shard_audit": f"{stem}.audit.json",
                }
            case "corpus":
                return {"audit": f"{r}/corpora/{w['lang']}/audit.json", "record": f"{r}/corpora/{w['lang']}/{RECORD}"}
            case "parallel":
                stem = f"{r}/parallel/{w['lang']}"
                files = {
                    "pairs": f"{stem}.parquet",
                    "heldout_pairs": f"{stem}.heldout.parquet",
                    "pairs_audit": f"{stem}.audit.json",
                }
            case "tokenizer":
                return {
                    "tokenizer": f"{r}/tokenizer/tokenizer.json",
                    "settings": f"{r}/tokenizer/tokenizer_config.json",
                    "record": f"{r}/tokenizer/{RECORD}",
                }
            case "tokens":
                stem = f"{r}/tokens/{w['stream']}"
                return {
                    "tokens": f"{stem}/tokens.bin",
                    "offsets": f"{stem}/offsets.npy",
                    "store": f"{stem}/store.json",
                    "record": f"{stem}/{RECORD}",
                }
            case "order":
                files = {"order": f"{r}/order/{w['run']}.parquet"}
            case "base_model":
                return self._model_files(f"{r}/models/base/s{w['seed']}", "base")
            case "model":
                return self._model_files(f"{r}/models/{w['lang']}/{w['arm']}/s{w['seed']}", "continual")
            case "question_file":
                files = {"questions": f"{r}/probes/files/{w['culture']}-{w['lang']}.json"}
            case "questions":
                files = {"questions": f"{r}/probes/questions/{w['culture']}.parquet"}
            case "sample":
                files = {"questions": f"{r}/probes/sampled/{w['culture']}.parquet"}
            case "scores":
                files = {
                    name: f"{r}/probes/{name}/{w['run']}.parquet" for name in ("scores", "perplexity", "alignment")
                }
            case "scorer":
                files = {"scorer": f"{r}/probes/scorer.parquet"}
            case "chunks":
                files = {"chunks": f"{r}/trace/chunks/{w['corpus']}.parquet"}
            case "index":
                stem = f"{r}/trace/index/{w['corpus']}"
                return {"index": f"{stem}/index", "record": f"{stem}/{RECORD}"}
            case "hits":
                files = {"hits": f"{r}/trace/hits/{w['corpus']}/{w['culture']}.parquet"}
            case "translations":
                files = {"translations": f"{r}/trace/translations/{w['corpus']}/{w['culture']}.parquet"}
            case "judgments":
                files = {"judgments": f"{r}/trace/judgments/{w['corpus']}/{w['culture']}.parquet"}
            case "subjects":
                files = {"subjects": f"{r}/trace/subjects/{w['lang']}.parquet"}
            case "mentions":
                files = {"mentions": f"{r}/trace/mentions/{w['stream']}.parquet"}
            case "exposure":
                files = {"exposure": f"{r}/trace/exposure/{w['run']}.parquet"}
            case "occurrences" | "leaks" | "density" | "recovery":
                files = {stage: f"{r}/trace/{stage}.parquet"}
            case "accuracies":
                files = {"accuracies": f"{r}/transfer/accuracies.parquet"}
            case "gaps":
                files = {name: f"{r}/transfer/{name}.parquet" for name in ("gaps", "asymmetry")}
            case "items":
                # Snakemake keeps the name `items` for itself.
                files = {
                    "transferred": f"{r}/transfer/items.parquet",
                    "exposure_effects": f"{r}/transfer/exposure_effects.parquet",
                }
            case "people_response":
                files = {"response": f"{r}/people/response.json"}
            case "people":
                files = {"people": f"{r}/people/people.parquet", "people_audit": f"{r}/people/people.audit.json"}
            case "people_mentions":
                files = {"people_mentions": f"{r}/people/mentions/{w['stream']}.parquet"}
            case "people_questions":
                files = {"people_questions": f"{r}/people/questions/{w['lang']}.parquet"}
            case "people_scores":
                files = {"people_scores": f"{r}/people/scores/{w['run']}.parquet"}
            case "people_gaps":
                files = {"people_gaps": f"{r}/transfer/people_gaps.parquet"}
            case "table":
                stem = f"{r}/tables/{w['table']}"
                return {suffix: f"{stem}.{suffix}" for suffix in TABLE_SUFFIXES} | {"record": f"{stem}.{RECORD}"}
            case "figure":
                stem = f"{r}/figures/{w['figure']}"
                return {suffix: f"{stem}.{suffix}" for suffix in FIGURE_SUFFIXES} | {"record": f"{stem}.{RECORD}"}
            case "page":
                files = {"page": f"{r}/report/summary.html"}
            case "bundle":
                files = {"bundle": f"{r}.bundle.tar.xz"}
            case _:
                raise KeyError(stage)
        return files | {"record": f"{next(iter(files.values()))}.{RECORD}"}

    def _world_files(self) -> Files:
        stem = f"{self.root}/world"
        return {
            "corpora": [f"{stem}/corpora/{lang}.jsonl.gz" for lang in self.config["languages"]],
            "parallel": [f"{stem}/parallel/{self.base}-{lang}.jsonl.gz" for lang in self.langs],
            "cloze": [
                f"{stem}/questions/{culture}-culture-cloze_{lang}.json"
                for culture in self.langs
                for lang in (self.base, culture)
            ],
            "truth": f"{stem}/truth.parquet",
            **({"people_file": f"{stem}/people.json"} if self.plants_people else {}),
        }

    def _model_files(self, stem: str, phase: str) -> Files:
        steps = configuration.checkpoint_steps(self.config["training"][phase])
        return {
            "checkpoints": [f"{stem}/step{step}" for step in steps],
            "metrics": f"{stem}/metrics.parquet",
            "record": f"{stem}/{RECORD}",
        }

    @property
    def planted(self) -> bool:
        """Whether the study reads a planted world, so that there is a truth to compare with."""
        return self.config["world"] is not None

    @property
    def plants_people(self) -> bool:
        """Whether the study asks about people whom its planted world invents."""
        people = self.config["people"]
        return people is not None and people["source"]["kind"] == "planted"

    @property
    def figures(self) -> list[str]:
        """The names of the study's figures."""
        return self._drawn(FIGURES)

    @property
    def tables(self) -> list[str]:
        """The names of the study's tables."""
        return self._drawn(TABLES)

    def _drawn(self, drawings: Mapping[str, Drawing]) -> list[str]:
        """Return the names of what is drawn from things that the study has."""
        lacking = (set() if self.planted else PLANTED_ONLY) | (PEOPLE_ONLY if self.config["people"] is None else set())
        return [name for name, drawing in drawings.items() if not lacking & set(drawing.reads)]

    def shards(self, lang: str) -> list[str]:
        """Return the names of a corpus's shards."""
        n = self.config["corpora"][lang]["shards"]
        return [f"{i:05d}-of-{n:05d}" for i in range(n)]

    def streams(self, run: Run) -> list[str]:
        """Return the token streams that a run reads."""
        if run.arm == "base":
            return [f"mono-{run.lang}"]
        replayed = [f"mono-{self.base}"] if run.variant == REPLAY else []
        return [f"mono-{run.lang}", *self.halves(run.lang), *replayed]

    @staticmethod
    def halves(lang: str) -> list[str]:
        """Return the token streams of the two halves of a language's parallel text."""
        return [f"pairs-{lang}-en", f"pairs-{lang}-xx"]

    def leak_streams(self, run: Run) -> list[str]:
        """Return the streams whose mentions say which pairs a run leaves out; none where it does not ask."""
        return self.halves(run.lang) if run.variant in (LEAK_FREE, LEAK_ONLY) else []

    def asked(self, culture: str) -> Artifact:
        """Return the questions of a culture that models are asked: all, or a sample of those whose counts are known."""
        sampled = self.config["questions"][culture]["sample"] is not None
        return artifact("sample" if sampled else "questions", culture=culture)

    def cultures(self, lang: str) -> list[str]:
        """Return the cultures whose questions are asked in a language: all in the base, else its own."""
        return self.langs if lang == self.base else [lang]

    def stream_lang(self, stream: str) -> str:
        """Return the language of a token stream."""
        kind, lang, *half = stream.split("-")
        return lang if kind == "mono" or half == ["xx"] else self.base

    def stream_cultures(self, stream: str) -> list[str]:
        """Return the cultures whose questions a stream is searched for: a pair's only its own."""
        kind, lang, *_ = stream.split("-")
        return self.cultures(lang) if kind == "mono" else [lang]

    @property
    def cells(self) -> list[tuple[str, str]]:
        """The (corpus, culture) cells that are traced: each culture in the base corpus and in its own."""
        return [(corpus, culture) for culture in self.langs for corpus in (self.base, culture)]

    @property
    def texts(self) -> list[tuple[str, str, str, str]]:
        """Return (corpus, culture, text, stream) of the texts that facts are counted in, parallel ones included."""
        return [
            (corpus, culture, text, stream)
            for corpus, culture in self.cells
            for text, stream in (
                ("mono", f"mono-{corpus}"),
                ("pairs", f"pairs-{culture}-{'en' if corpus == self.base else 'xx'}"),
            )
        ]

    def source_paths(self, section: str, lang: str) -> list[str]:
        """Return the local files of a corpus's or a parallel text's sources, in their order."""
        paths = []
        for source in self.config[section][lang]["sources"]:
            if source["kind"] == "local":
                paths.append(str(configuration.local_path(self.config, source["path"])))
            elif source["kind"] == "planted":
                stem = lang if section == "corpora" else f"{self.base}-{lang}"
                paths.append(f"{self.root}/world/{section}/{stem}.jsonl.gz")
        return paths

    def question_path(self, culture: str, lang: str) -> str | None:
        """Return the local file of a question set in one language, or None where it is fetched."""
        source = self.config["questions"][culture]["files"][lang]
        if source["kind"] == "local":
            return str(configuration.local_path(self.config, source["path"]))
        return (
            f"{self.root}/world/questions/{culture}-culture-cloze_{lang}.json" if source["kind"] == "planted" else None
        )

    def people_path(self) -> str | None:
        """Return the local file of the response that people are read from, or None where it is fetched."""
        source = self.config["people"]["source"]
        if source["kind"] == "local":
            return str(configuration.local_path(self.config, source["path"]))
        return f"{self.root}/world/people.json" if source["kind"] == "planted" else None

    @property
    def people_settings(self) -> dict[str, Any]:
        """How the source of people is reached: no part of any recipe."""
        return {k: v for k, v in self.config["people"]["source"].items() if k in PEOPLE_SETTINGS}

    # ---------------------------------------------------------------- recipes

    def task(self, stage: str, **wildcards: Any) -> Task:
        """Return the task that makes an artifact: literals, the recipes of its inputs, and so its own recipe."""
        name = artifact(stage, **wildcards)
        if name not in self._tasks:
            expects = {self.record(*a): self.recipe(a) for a in self.inputs(stage, **wildcards)}
            self._tasks[name] = Task(stage, self.literals(stage, **wildcards), expects, STAGE_VERSIONS[stage])
        return self._tasks[name]

    def recipe(self, name: Artifact) -> str:
        """Return the recipe that an artifact must have been made by."""
        return self.task(name[0], **dict(name[1])).recipe

    def record(self, stage: str, wildcards: tuple[tuple[str, str], ...]) -> str:
        """Return the path of an artifact's record."""
        return str(self.outputs(stage, **dict(wildcards))["record"])

    def letters(self, lang: str) -> dict[str, str]:
        """What the script filter does to a language: the base keeps its script alone, the others lose the base's."""
        script = self.config["languages"][self.base]["script"]
        return {"keep": script} if lang == self.base else {"drop": script}

    def _sources(self, section: str, lang: str) -> list[dict[str, Any]]:
        """Return the sources of a text without their paths; a local file is known by what it holds."""
        paths = iter(self.source_paths(section, lang))
        sources = []
        for source in self.config[section][lang]["sources"]:
            literal = {k: v for k, v in source.items() if k not in ("path", "obtain")}
            if source["kind"] == "local":
                literal["sha256"] = self._known(next(paths), f"{section}.{lang}", source.get("obtain"))
            elif source["kind"] == "planted":
                next(paths)
                literal["kind"] = "local"
            sources.append(literal)
        return sources

    def _known(self, path: str, key: str, obtain: str | None = None) -> str:
        """Return the sha256 of a local source; ``absent`` for one that the user has yet to obtain.

        Raises:
            ConfigError: there is no such file, and nothing says how to obtain it.
        """
        if Path(path).is_file():
            return self._digest(path)
        if obtain is None:
            raise configuration.ConfigError(f"key {key}", f"there is no file {path}", "Mend the path, or `data`.")
        return "absent"

    def absent_sources(self) -> list[tuple[str, str]]:
        """Return (path, how to obtain it) of the sources that the user has yet to put in place."""
        return [
            (path, source["obtain"])
            for section in ("corpora", "parallel")
            for entry in self.config[section].values()
            for source in entry["sources"]
            if source.get("obtain")
            and not Path(path := str(configuration.local_path(self.config, source["path"]))).is_file()
        ]

    def literals(self, stage: str, **w: Any) -> dict[str, Any]:
        """Return the keyword arguments of a stage's function that make its result what it is."""
        c, languages = self.config, self.config["languages"]
        tracing, transfer = c["tracing"], c["transfer"]
        match stage:
            case "world":
                own = c["world"].get("languages", {})
                cultures = {lang: {"script": languages[lang]["script"], **own.get(lang, {})} for lang in languages}
                people = (
                    {
                        "number": c["people"]["number"],
                        "properties": configuration.people_properties(),
                        "templates": configuration.people_templates(c, self.base),
                    }
                    if self.plants_people
                    else None
                )
                return {
                    **c["world"],
                    "base": self.base,
                    "languages": cultures,
                    **({"people": people} if people else {}),
                }
            case "signatures" | "corpus_shard":
                lang, corpus = str(w["lang"]), c["corpora"][w["lang"]]
                index, of = str(w["shard"]).split("-of-")
                shared = {
                    "lang": lang,
                    "sources": self._sources("corpora", lang),
                    "letters": self.letters(lang),
                    "min_chars": corpus["min_chars"],
                    "max_deleted": corpus["max_deleted"],
                    "simplify": corpus["simplify"],
                    "shard": int(index),
                    "of": int(of),
                }
                if stage == "signatures":
                    return shared | {"deduplicate": corpus["deduplicate"]}
                return shared | {"heldout": corpus["heldout"]}
            case "duplicates":
                return {"deduplicate": c["corpora"][w["lang"]]["deduplicate"]}
            case "corpus":
                return {"lang": w["lang"], "heldout": c["corpora"][w["lang"]]["heldout"]}
            case "parallel":
                lang = w["lang"]
                return {
                    "sources": self._sources("parallel", lang),
                    "base": self.base,
                    "lang": lang,
                    "letters_base": self.letters(self.base),
                    "letters_xx": self.letters(lang),
                    **{key: c["parallel"][lang][key] for key in ("max_lost", "simplify", "heldout")},
                }
            case "tokenizer":
                literals = dict(c["tokenizer"])
                folder = Path(literals.get("source", "")) / "tokenizer.json"
                # A local folder is known by what it holds, as other local sources are.
                return literals | ({"sha256": self._digest(str(folder))} if folder.is_file() else {})
            case "tokens":
                kind, _, *half = str(w["stream"]).split("-")
                return {"column": "text" if kind == "mono" else half[0]}
            case "order":
                return self._order_literals(self.run(w["run"]))
            case "base_model":
                return self._train_literals(self.run(f"base-s{w['seed']}"))
            case "model":
                return self._train_literals(self.run(f"{w['lang']}-{w['arm']}-s{w['seed']}"))
            case "question_file":
                # Which file of the set it is enters the recipe: swapped files must not look like the same table.
                source = c["questions"][w["culture"]]["files"][w["lang"]] | {"culture": w["culture"], "lang": w["lang"]}
                path = self.question_path(w["culture"], w["lang"])
                if source["kind"] == "local":
                    source = {k: v for k, v in source.items() if k != "path"}
                    return source | {"sha256": self._known(str(path), f"questions.{w['culture']}")}
                return source
            case "questions":
                return {
                    "culture": w["culture"],
                    "langs": [self.base, w["culture"]],
                    "scripts": {lang: languages[lang]["script"] for lang in (self.base, w["culture"])},
                    "known_missing_gold": c["questions"][w["culture"]]["known_missing_gold"],
                }
            case "sample":
                sample = c["questions"][w["culture"]]["sample"]
                return {
                    "culture": w["culture"],
                    "base": self.base,
                    "subset": c["probing"]["subset"],
                    "n_questions": sample["questions"],
                }
            case "scores":
                run = self.run(w["run"])
                return {
                    "run": run.run,
                    "lang_pair": f"{self.base}-{run.lang}",
                    "learned": run.lang,
                    "arm": run.arm,
                    "seed": run.seed,
                    "steps": list(run.checkpoints),
                    "window": c["training"]["sequence_length"],
                    **{key: c["probing"][key] for key in ("perplexity_tokens", "alignment_pairs")},
                }
            case "scorer":
                return {"model": c["model"], "seeds": list(range(c["probing"]["random_models"]))}
            case "chunks":
                return {"max_chars": tracing["chunk_chars"]}
            case "index":
                retriever = self.retriever(str(w["corpus"]))
                if retriever["method"] == "bm25":
                    return {"method": "bm25", "script": languages[w["corpus"]]["script"]}
                return {key: retriever[key] for key in ("method", *ENCODER)}
            case "hits":
                retriever = {k: v for k, v in self.retriever(str(w["corpus"])).items() if k not in ENCODER}
                return {
                    "lang": w["corpus"],
                    "script": languages[w["corpus"]]["script"],
                    "top_k": tracing["top_k"],
                    **retriever,
                }
            case "translations":
                return {
                    "lang": w["corpus"],
                    "script": languages[w["corpus"]]["script"],
                    **tracing["translation"][w["corpus"]],
                }
            case "judgments":
                judge = {k: v for k, v in tracing["judge"].items() if k not in JUDGE_SETTINGS}
                if judge["kind"] == "cooccurrence":
                    judge["window"] = tracing["window"]
                return {"lang": w["corpus"], "script": languages[w["corpus"]]["script"], **judge}
            case "subjects":
                return {
                    "lang": w["lang"],
                    "script": languages[w["lang"]]["script"],
                    "max_chars": tracing["chunk_chars"],
                }
            case "mentions":
                stream = str(w["stream"])
                kind, _, *half = stream.split("-")
                return {
                    "stream": stream,
                    "script": languages[self.stream_lang(stream)]["script"],
                    "window": tracing["window"],
                    "max_chars": tracing["chunk_chars"],
                    "cultures": self.stream_cultures(stream),
                    "column": "text" if kind == "mono" else half[0],
                }
            case "exposure":
                run = self.run(w["run"])
                return {
                    "run": run.run,
                    "learned": run.lang,
                    "arm": run.arm,
                    "seed": run.seed,
                    "steps": list(run.checkpoints),
                    "cultures": self.cultures(run.lang),
                    "langs": {s: self.stream_lang(s) for s in self.streams(run)},
                    "scripts": {s: languages[self.stream_lang(s)]["script"] for s in self.streams(run)},
                    "window": tracing["window"],
                    "max_chars": tracing["chunk_chars"],
                }
            case "occurrences":
                return {"texts": [list(text) for text in self.texts]}
            case "leaks":
                return {
                    "halves": [
                        [culture, self.stream_lang(stream), stream]
                        for culture in self.langs
                        for stream in self.halves(culture)
                    ]
                }
            case "density":
                return {
                    "cells": [list(cell) for cell in self.cells],
                    "top_k": tracing["top_k"],
                    "resamples": transfer["resamples"],
                    "seed": transfer["seed"],
                }
            case "recovery":
                heldout = {lang: c["corpora"][lang]["heldout"] for lang in languages}
                return {"cells": [list(cell) for cell in self.cells], "heldout": heldout}
            case "accuracies":
                return {
                    "base": self.base,
                    "last": transfer["last"],
                    "resamples": transfer["resamples"],
                    "seed": transfer["seed"],
                }
            case "gaps":
                return {
                    "base": self.base,
                    "resource": {lang: languages[lang]["resource"] for lang in self.langs},
                    "contrasts": transfer["contrasts"],
                    "subset": c["probing"]["subset"],
                    "rule": c["probing"]["rule"],
                    "last": transfer["last"],
                    "resamples": transfer["resamples"],
                    "seed": transfer["seed"],
                }
            case "items":
                return {
                    "base": self.base,
                    "cells": [list(cell) for cell in self.cells],
                    "subset": c["probing"]["subset"],
                    "rule": c["probing"]["rule"],
                    "last": transfer["last"],
                }
            case "people_response":
                source = {k: v for k, v in c["people"]["source"].items() if k not in ("path", *PEOPLE_SETTINGS)}
                if source["kind"] == "local":
                    return source | {"sha256": self._known(str(self.people_path()), "people.source")}
                if source["kind"] == "planted":
                    return source
                return source | {
                    "base": self.base,
                    "number": c["people"]["number"],
                    "properties": configuration.people_properties(),
                }
            case "people":
                return {
                    "number": c["people"]["number"],
                    "seed": c["people"]["seed"],
                    "script": languages[self.base]["script"],
                    "properties": configuration.people_properties(),
                }
            case "people_mentions":
                kind, _, *half = str(w["stream"]).split("-")
                return {"stream": w["stream"], "column": "text" if kind == "mono" else half[0]}
            case "people_questions":
                langs = [self.base, str(w["lang"])]
                return {
                    "langs": langs,
                    "questions": c["people"]["questions"],
                    "seed": c["people"]["seed"],
                    "templates": {lang: configuration.people_templates(c, lang) for lang in langs},
                }
            case "people_scores":
                run = self.run(w["run"])
                return {
                    "run": run.run,
                    "lang_pair": f"{self.base}-{run.lang}",
                    "learned": run.lang,
                    "arm": run.arm,
                    "seed": run.seed,
                    "steps": list(run.checkpoints),
                }
            case "people_gaps":
                return {
                    "base": self.base,
                    "contrasts": transfer["contrasts"],
                    "subset": c["probing"]["subset"],
                    "rule": c["probing"]["rule"],
                    "last": transfer["last"],
                }
            case "figure":
                return {"figure": w["figure"], **self._drawing(FIGURES[str(w["figure"])])}
            case "table":
                return {"table": w["table"], **self._drawing(TABLES[str(w["table"])])}
            case "page":
                stated = {key: value for key, value in self._stated().items() if key != "compute"}
                return {"config": _without(stated, ("path", *JUDGE_SETTINGS))}
            case "bundle":
                # A task's keys have no order, but panels and rows stand in that of the languages.
                return {
                    "config": self._stated(),
                    "languages": list(languages),
                    "figures": self.figures,
                    "tables": self.tables,
                }
            case _:
                raise KeyError(stage)

    def _drawing(self, drawing: Drawing) -> dict[str, Any]:
        """Return the settings that a figure or table is drawn with."""
        c, transfer = self.config, self.config["transfer"]
        settings = {
            "base": self.base,
            "names": {lang: c["languages"][lang]["name"] for lang in c["languages"]},
            "arms": c["arms"],
            "contrasts": transfer["contrasts"],
            "subset": c["probing"]["subset"],
            "rule": c["probing"]["rule"],
            "last": transfer["last"],
            "resamples": transfer["resamples"],
            "seed": transfer["seed"],
            "discordance": transfer["discordance"],
            "ema": transfer["ema"],
            "remark": c["remark"],
            "planted": self.planted,
        }
        return {key: settings[key] for key in drawing.settings}

    def _stated(self) -> dict[str, Any]:
        """Return the configuration without the folders of this machine and without who asks a query service."""
        stated = {key: value for key, value in self.config.items() if key not in ("results", "work", "data")}
        return _without(stated, PEOPLE_SETTINGS)

    def retriever(self, corpus: str) -> dict[str, Any]:
        """Return the retriever of a corpus."""
        retrieval = self.config["tracing"]["retrieval"]
        return dict(retrieval.get(corpus, retrieval["default"]))

    @property
    def judge_settings(self) -> dict[str, Any]:
        """How the judge is reached: no part of any recipe."""
        return {k: v for k, v in self.config["tracing"]["judge"].items() if k in JUDGE_SETTINGS}

    def _order_literals(self, run: Run) -> dict[str, Any]:
        training = self.config["training"]
        phase = training["base" if run.arm == "base" else "continual"]
        literals = {
            "run": run.run,
            "lang": run.lang,
            "arm": run.arm,
            "seed": run.seed,
            "steps": run.steps,
            "sequence_length": training["sequence_length"],
            "batch_tokens": phase["batch_tokens"],
            "packing": training["packing"],
        }
        if run.arm == "base":
            return literals
        # A setting is a literal of the arms that it makes and of no other, so that a change redraws those alone.
        own: dict[str, Any] = {"template": self.template(run.lang)} if has_labels(run.arm) else {}
        if run.variant == ENGLISH_MATCHED:
            own["english_share"] = training["english_share"]
        if run.variant == REPLAY:
            own["replay"] = {"base": self.base, "share": training["replay_share"]}
        return literals | {"label_tokens": training["label_tokens"], **own}

    def template(self, lang: str) -> str:
        """Return how the bridge of a language joins the halves of a pair, ``{en}`` and ``{xx}`` still open."""
        language, base = self.config["languages"][lang], self.config["languages"][self.base]
        template = language.get("template") or self.config["template"]
        return template.format(en="{en}", xx="{xx}", base=base["name"], name=language["name"])

    def _train_literals(self, run: Run) -> dict[str, Any]:
        training = self.config["training"]
        phase = training["base" if run.arm == "base" else "continual"]
        return {
            "run": run.run,
            "learned": run.lang,
            "arm": run.arm,
            "model": self.config["model"],
            "optimizer": training["optimizer"],
            "schedule": {k: phase[k] for k in ("lr", "min_lr", "schedule", "warmup_ratio")},
            "precision": training["precision"],
            "seed": run.seed,
            "steps": run.steps,
            "checkpoint_steps": list(run.checkpoints),
            "packing": training["packing"],
            "zero_stage": training["zero_stage"],
            "checkpoint_dtype": training["checkpoint_dtype"],
        }

    # ---------------------------------------------------------------- dependencies

    def inputs(self, stage: str, **w: Any) -> list[Artifact]:
        """Return the artifacts that an artifact is made from."""
        c = self.config
        match stage:
            case "world":
                return []
            case "signatures" | "corpus_shard" | "parallel":
                section = "parallel" if stage == "parallel" else "corpora"
                planted = any(source["kind"] == "planted" for source in c[section][w["lang"]]["sources"])
                repeats = [artifact("duplicates", lang=w["lang"])] if stage == "corpus_shard" else []
                return [*repeats, artifact("world")] if planted else repeats
            case "duplicates":
                return [artifact("signatures", lang=w["lang"], shard=s) for s in self.shards(w["lang"])]
            case "corpus":
                return [artifact("corpus_shard", lang=w["lang"], shard=s) for s in self.shards(w["lang"])]
            case "tokenizer":
                if c["tokenizer"]["kind"] == "pretrained":
                    return []
                return [a for lang in c["languages"] for a in self._corpus(lang)]
            case "tokens":
                return [*self._text(str(w["stream"])), artifact("tokenizer")]
            case "order":
                run = self.run(w["run"])
                pairs = [] if run.arm == "base" else [artifact("parallel", lang=run.lang)]
                mentions = [artifact("mentions", stream=stream) for stream in self.leak_streams(run)]
                return [*self._stores(run), *pairs, *mentions, artifact("tokenizer")]
            case "base_model":
                run = self.run(f"base-s{w['seed']}")
                return [artifact("order", run=run.run), *self._stores(run), artifact("tokenizer")]
            case "model":
                run = self.run(f"{w['lang']}-{w['arm']}-s{w['seed']}")
                base = artifact("base_model", seed=self.base_of(run).seed)
                return [artifact("order", run=run.run), *self._stores(run), artifact("tokenizer"), base]
            case "question_file":
                planted = c["questions"][w["culture"]]["files"][w["lang"]]["kind"] == "planted"
                return [artifact("world")] if planted else []
            case "questions":
                return [artifact("question_file", culture=w["culture"], lang=k) for k in (self.base, w["culture"])]
            case "sample":
                return [artifact("questions", culture=w["culture"]), artifact("occurrences")]
            case "scores":
                run = self.run(w["run"])
                cultures = self.langs if run.arm == "base" else [run.lang]
                return [
                    artifact(run.stage, **run.wildcards),
                    *map(self.asked, cultures),
                    *(
                        artifact("corpus_shard", lang=lang, shard=shard)
                        for lang in dict.fromkeys((self.base, run.lang))
                        for shard in self.shards(lang)
                    ),
                    *(artifact("parallel", lang=culture) for culture in cultures),
                ]
            case "scorer":
                return [*self._questions(), artifact("tokenizer")]
            case "chunks":
                return self._corpus(str(w["corpus"]))
            case "index":
                return [artifact("chunks", corpus=w["corpus"])]
            case "hits":
                source = "chunks" if self.retriever(str(w["corpus"])).get("engine") == "scan" else "index"
                return [artifact(source, corpus=w["corpus"]), self.asked(str(w["culture"]))]
            case "translations" | "judgments":
                corpus, culture = str(w["corpus"]), str(w["culture"])
                translated = stage == "judgments" and corpus in c["tracing"]["translation"]
                return [
                    artifact("hits", corpus=corpus, culture=culture),
                    artifact("chunks", corpus=corpus),
                    self.asked(culture),
                    *([artifact("translations", corpus=corpus, culture=culture)] if translated else []),
                ]
            case "subjects":
                lang = str(w["lang"])
                questions = (artifact("questions", culture=culture) for culture in self.cultures(lang))
                return [*self._corpus(lang), *questions]
            case "mentions":
                stream = str(w["stream"])
                return [*self._text(stream), artifact("subjects", lang=self.stream_lang(stream))]
            case "exposure":
                run = self.run(w["run"])
                streams = self.streams(run)
                before = [] if run.arm == "base" else [artifact("exposure", run=self.base_of(run).run)]
                return [
                    artifact("order", run=run.run),
                    artifact("tokenizer"),
                    *before,
                    *(artifact("tokens", stream=stream) for stream in streams),
                    *self._mentions(streams),
                ]
            case "occurrences":
                streams = list(dict.fromkeys(stream for _, _, _, stream in self.texts))
                return [*(artifact("tokens", stream=stream) for stream in streams), *self._mentions(streams)]
            case "leaks":
                streams = [stream for lang in self.langs for stream in self.halves(lang)]
                return [*self._mentions(streams), *(artifact("parallel", lang=lang) for lang in self.langs)]
            case "density":
                corpora = [self.base, *self.langs]
                streams = list(dict.fromkeys(stream for _, _, _, stream in self.texts))
                return [
                    artifact("occurrences"),
                    *self._traced(),
                    *self._questions(),
                    *(artifact("chunks", corpus=corpus) for corpus in corpora),
                    *(artifact("tokens", stream=stream) for stream in streams),
                ]
            case "recovery":
                streams = [f"mono-{lang}" for lang in self.config["languages"]]
                documents = (
                    artifact("corpus_shard", lang=lang, shard=s) for lang in c["languages"] for s in self.shards(lang)
                )
                return [artifact("world"), *self._traced(), *self._mentions(streams), *documents]
            case "accuracies":
                return [*self._scores(self.base_runs + self.runs), *self._questions()]
            case "gaps":
                return [*self._scores(self.runs), *self._questions(), artifact("leaks")]
            case "items":
                return [
                    *self._scores(self.runs),
                    *self._questions(),
                    artifact("leaks"),
                    *(artifact("judgments", corpus=k, culture=culture) for k, culture in self.cells),
                    *(artifact("exposure", run=run.run) for run in self.runs if run.arm == "bridge"),
                ]
            case "people_response":
                return [artifact("world")] if self.plants_people else []
            case "people":
                return [artifact("people_response")]
            case "people_mentions":
                return [artifact("people"), *self._text(str(w["stream"]))]
            case "people_questions":
                streams = [f"mono-{w['lang']}", f"pairs-{w['lang']}-xx"]
                return [artifact("people"), *(artifact("people_mentions", stream=stream) for stream in streams)]
            case "people_scores":
                run = self.run(w["run"])
                return [artifact(run.stage, **run.wildcards), artifact("people_questions", lang=run.lang)]
            case "people_gaps":
                return [
                    *self._scores(self.runs),
                    *self._questions(),
                    *self._people_questions(),
                    *(artifact("people_scores", run=run.run) for run in self.runs),
                ]
            case "figure":
                return self._drawn_from(FIGURES[str(w["figure"])].reads)
            case "table":
                return self._drawn_from(TABLES[str(w["table"])].reads)
            case "page":
                return [*self.drawings(), *self._questions()]
            case "bundle":
                return list(dict.fromkeys(a for stage, w in self.drawings() for a in self.inputs(stage, **dict(w))))
            case _:
                raise KeyError(stage)

    def reads(self, stage: str, **w: Any) -> dict[str, list[str]]:
        """Return output name -> paths of the files that an artifact is made from, in the order of :meth:`inputs`.

        Of an artifact with several files only those that are read: what Snakemake checks is paid for by the file.
        """
        found: dict[str, list[str]] = {}
        if stage == "bundle":
            for name, wildcards in self.drawings():
                for key, read in self.reads(name, **dict(wildcards)).items():
                    found[key] = list(dict.fromkeys([*found.get(key, []), *read]))
            return found
        for name, wildcards in dict.fromkeys(self.inputs(stage, **w)):
            outputs = self.outputs(name, **dict(wildcards))
            wanted = READS.get((stage, name), tuple(outputs)[:1])
            if stage in ("figure", "table"):
                drawn = (FIGURES if stage == "figure" else TABLES)[str(w[stage])].reads
                wanted = DRAWN.get(name) or tuple(key for key in outputs if key in drawn) or wanted
            elif name == "world":
                # The texts are among a stage's sources.
                wanted = ("people_file",) if stage == "people_response" else ("truth",)
            for key in wanted:
                paths = outputs[key]
                found.setdefault(key, []).extend([paths] if isinstance(paths, str) else paths)
        return found

    def _drawn_from(self, kinds: tuple[str, ...]) -> list[Artifact]:
        """Return the artifacts that a figure or table is drawn from."""
        runs = self.base_runs + self.runs
        by_kind: dict[str, Callable[[], list[Artifact]]] = {
            "scores": lambda: self._scores(self.runs),
            "perplexity": lambda: self._scores(self.runs),
            "alignment": lambda: self._scores(self.runs),
            "questions": self._questions,
            "metrics": lambda: [artifact(run.stage, **run.wildcards) for run in runs],
            "exposure": lambda: [artifact("exposure", run=run.run) for run in runs],
            "asymmetry": lambda: [artifact("gaps")],
            "exposure_effects": lambda: [artifact("items")],
            "truth": lambda: [artifact("world")],
            "people_mentions": lambda: [
                artifact("people_mentions", stream=stream)
                for lang in self.config["languages"]
                for stream in (f"mono-{lang}", *(self.halves(lang) if lang != self.base else ()))
            ],
            "people_questions": self._people_questions,
            "orders": lambda: [artifact("order", run=run.run) for run in runs],
            "audits": lambda: [
                *(artifact("corpus", lang=lang) for lang in self.config["languages"]),
                *(artifact("parallel", lang=lang) for lang in self.langs),
            ],
        }
        return [a for kind in kinds for a in (by_kind[kind]() if kind in by_kind else [artifact(kind)])]

    def _corpus(self, lang: str) -> list[Artifact]:
        """The shards of a corpus and its merged audit, which refuses an empty corpus."""
        return [
            *(artifact("corpus_shard", lang=lang, shard=s) for s in self.shards(lang)),
            artifact("corpus", lang=lang),
        ]

    def _text(self, stream: str) -> list[Artifact]:
        """The text of a token stream."""
        kind, lang, *_ = stream.split("-")
        return self._corpus(lang) if kind == "mono" else [artifact("parallel", lang=lang)]

    def _mentions(self, streams: list[str]) -> list[Artifact]:
        """The mentions in some streams, and the subjects of their languages."""
        langs = dict.fromkeys(self.stream_lang(stream) for stream in streams)
        return [
            *(artifact("mentions", stream=stream) for stream in streams),
            *(artifact("subjects", lang=lang) for lang in langs),
        ]

    def _stores(self, run: Run) -> list[Artifact]:
        return [artifact("tokens", stream=s) for s in self.streams(run)]

    def _scores(self, runs: list[Run]) -> list[Artifact]:
        return [artifact("scores", run=run.run) for run in runs]

    def _questions(self) -> list[Artifact]:
        return [self.asked(culture) for culture in self.langs]

    def _people_questions(self) -> list[Artifact]:
        return [artifact("people_questions", lang=lang) for lang in self.langs]

    def _traced(self) -> list[Artifact]:
        return [
            artifact(stage, corpus=corpus, culture=culture)
            for corpus, culture in self.cells
            for stage in ("hits", "judgments")
        ]

    def drawings(self) -> list[Artifact]:
        """Return the study's tables and figures."""
        return [
            *(artifact("table", table=name) for name in self.tables),
            *(artifact("figure", figure=name) for name in self.figures),
        ]

    def targets(self) -> list[Artifact]:
        """Return what the study is for: its tables, figures and page, and the base models' own curves."""
        return [*self._scores(self.base_runs), *self.drawings(), artifact("page")]

    def walk(self, artifacts: list[Artifact] | None = None) -> Iterator[Artifact]:
        """Yield every artifact that the targets need, each once, inputs before what is made from them."""
        seen: set[Artifact] = set()

        def visit(a: Artifact) -> Iterator[Artifact]:
            if a not in seen:
                seen.add(a)
                for b in self.inputs(a[0], **dict(a[1])):
                    yield from visit(b)
                yield a

        for a in self.targets() if artifacts is None else artifacts:
            yield from visit(a)

    # ---------------------------------------------------------------- what it costs

    def parameter_count(self, vocab_size: int) -> tuple[int, int]:
        """Return (all, those in matrix products) of the model's parameters.

        The second leaves out biases, norms and an untied input embedding, and is what FLOP counts multiply.
        """
        m = self.config["model"]
        hidden, layers, ff = m["hidden_size"], m["num_hidden_layers"], m["intermediate_size"]
        kv = hidden // m["num_attention_heads"] * m["num_key_value_heads"]
        matrices = layers * (2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * ff)
        biases_and_norms = layers * (hidden + 2 * kv + 2 * hidden) + hidden
        head = vocab_size * hidden
        embeddings = head if m["tie_word_embeddings"] else 2 * head
        return matrices + biases_and_norms + embeddings, matrices + head

    def flops_per_token(self, vocab_size: int) -> float:
        """Return the training FLOP of a token: 6 x the parameters in matrix products + causal attention.

        Attention is counted causally, 6 x layers x hidden x sequence length (half of PaLM's appendix B).
        """
        m = self.config["model"]
        attention = 6 * m["num_hidden_layers"] * m["hidden_size"] * self.config["training"]["sequence_length"]
        return 6.0 * self.parameter_count(vocab_size)[1] + attention

    def totals(self) -> dict[str, float]:
        """Return the study's estimated cost: runs, tokens, GPU-hours, disk in bytes."""
        c = self.config
        # Qwen2.5 pads its embedding to 151,936 rows; a trained tokenizer says its size.
        vocab = c["model"]["vocab_size"] or c["tokenizer"].get("vocab_size", 151936)
        parameters, _ = self.parameter_count(vocab)
        runs = self.base_runs + self.runs
        tokens = sum(run.tokens for run in runs)
        estimate = c["compute"]["estimate"]
        width = 2 if c["training"]["checkpoint_dtype"] == "bfloat16" else 4
        # Step 0 of a continual run is a hard link to its base model.
        checkpoints = sum(len(run.checkpoints) - (run.arm != "base") for run in runs)
        return {
            "runs": len(self.runs),
            "base_runs": len(self.base_runs),
            "tokens": tokens,
            "parameters": parameters,
            "flops": tokens * self.flops_per_token(vocab),
            "gpu_hours": tokens * self.flops_per_token(vocab) / (estimate["peak_flops"] * estimate["mfu"]) / 3600,
            "checkpoints": checkpoints,
            # weights of every checkpoint, and for each run two slots of float32 weights and two moments
            "disk_bytes": checkpoints * parameters * width + len(runs) * 2 * 12 * parameters,
            "resume_bytes": len(runs) * 2 * 12 * parameters,
        }

    def run_hours(self, run: Run) -> float:
        """Return the estimated GPU-hours of a run."""
        totals = self.totals()
        return totals["gpu_hours"] * run.tokens / totals["tokens"] if totals["tokens"] else math.nan

    def wall_hours(self, gpus: int) -> float:
        """Return the estimated hours until all runs are trained on so many GPUs, the longest runs first.

        A run takes the GPUs that the configuration gives it, and a continual run starts when its base model is there.
        """
        compute = self.config["compute"]
        size = max(1, compute["gpus"] * compute["nodes"])
        slots = [0.0] * max(1, gpus // size)
        ready: dict[str, float] = {}
        for run in sorted(self.base_runs + self.runs, key=lambda run: (run.arm != "base", -run.tokens)):
            begin = max(heapq.heappop(slots), 0.0 if run.arm == "base" else ready[self.base_of(run).run])
            ready[run.run] = begin + self.run_hours(run) / min(size, max(gpus, 1))
            heapq.heappush(slots, ready[run.run])
        return max(ready.values())
