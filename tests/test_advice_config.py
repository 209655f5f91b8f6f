"""Every advice on a configuration is followed: what was refused is mended as it says, and then is taken."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from advised import Case, follow, name_of
from lorebridge import config

CONFIGS = Path(__file__).parents[1] / "config"
GONE = object()
"""In place of a value: the key is left out."""


@functools.cache
def shipped(name: str) -> Any:
    return config.read(CONFIGS / f"{name}.yaml")


def checked(changes: dict[str, Any], name: str = "articles") -> Callable[[Path], Any]:
    """Check a shipped configuration in which keys are changed."""

    def run(_: Path) -> dict[str, Any]:
        said = copy.deepcopy(shipped(name))
        for key, value in changes.items():
            *parents, last = key.split(".")
            node = said
            for parent in parents:
                node = node.setdefault(parent, {})
            if value is GONE:
                node.pop(last, None)
            else:
                node[last] = copy.deepcopy(value)
        return config.check(said)

    return run


def case(advice: str, wrong: dict[str, Any], mended: dict[str, Any], name: str = "articles") -> Case:
    """Refused with some changes; taken where what the advice names is changed as well."""
    return Case(advice, checked(wrong, name), None, checked({**wrong, **mended}, name))


def text(content: str | bytes) -> Callable[[Path], Any]:
    """Read a file of a configuration, or what it might say."""

    def run(folder: Path) -> Any:
        path = folder / "study.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return config.read(path)

    return run


def read(advice: str, wrong: str | bytes, mended: str) -> Case:
    return Case(advice, text(wrong), None, text(mended))


FILES = [
    read("Take one of the two out", "seeds: [0]\nseeds: [1]\n", "seeds: [1]\n"),
    read('Quote it: "no".', "languages: {no: {name: Norwegian}}\n", 'languages: {"no": {name: Norwegian}}\n'),
    read('Quote it: "2024-01-01".', "remark: 2024-01-01\n", 'remark: "2024-01-01"\n'),
    read("Write it without that.", "seeds: !!set {0, 1}\n", "seeds: [0, 1]\n"),
    read("Take the alias out.", "a: &x [*x]\n", "a: []\n"),
    read("Take the tag out.", 'a: !!int ""\n', 'a: ""\n'),
    read("Mend it there.", "a: [1, 2\n", "a: [1, 2]\n"),
    read("Close its brackets where they belong.", "a: " + "[" * 4000 + "]" * 4000, "a: []"),
    read("Save the file as UTF-8.", "remark: Italiano é\n".encode("latin-1"), "remark: Italiano é\n"),
    Case(
        "Name an existing configuration file.",
        lambda folder: config.load(folder / "none.yaml"),
        None,
        lambda _: config.load(CONFIGS / "demo.yaml"),
    ),
    Case(
        "Start from config/demo.yaml.",
        lambda _: config.check([1]),
        None,
        lambda _: config.check(copy.deepcopy(shipped("demo"))),
    ),
]


def itself() -> dict[str, Any]:
    said = copy.deepcopy(shipped("demo"))
    said["remark"] = said
    return said


SCHEMA = [
    Case("Take the alias out.", lambda _: config.check(itself()), None, checked({})),
    case("Did you mean 'bridge'?", {"kind": "brigde"}, {"kind": "bridge"}),
    case("Kinds: bridge, removal, roots, scripts", {"kind": "unheard"}, {"kind": "bridge"}),
    case("Give another.", {"model.rope_theta": float("nan")}, {"model.rope_theta": 1e4}),
    case("Did you mean 'seeds'?", {"seedz": [0]}, {"seedz": GONE}),
    case("Known keys here: name, script", {"languages.ko.xyz": 1}, {"languages.ko.xyz": GONE}),
    case("Add it; config/demo.yaml has an example.", {"seeds": GONE}, {"seeds": shipped("demo")["seeds"]}),
    case("Write 3.0e-3", {"training.base.lr": "3e-3"}, {"training.base.lr": 3.0e-3}),
    case("Write true, without quotes.", {"training.base_per_seed": "true"}, {"training.base_per_seed": True}),
    case("Write 300.", {"training.base.steps": 300.0}, {"training.base.steps": 300}),
    case('Quote it: "3".', {"remark": 3}, {"remark": "3"}),
    case("Write [a, b], or each item", {"seeds": 0}, {"seeds": [0, 1]}),
    case("Write each key on a line of its own", {"compute": [1]}, {"compute": shipped("demo")["compute"]}),
    case("It must match", {"study": "A b"}, {"study": "a-b"}),
    case("Name a folder, with no ~", {"results": "~/results"}, {"results": "/tmp/results"}),
    case(
        "Give the code of a language.",
        {"tracing.retrieval.KO": shipped("articles")["tracing"]["retrieval"]["default"]},
        {"tracing.retrieval.KO": GONE, "tracing.retrieval.ko": {"method": "bm25", "k1": 1.2, "b": 0.75}},
    ),
    case("Give path or hub and revision.", {"given": {"a": {}}}, {"given": {"a": {"path": "/models/a"}}}),
    case("Give at least 1.", {"seeds": []}, {"seeds": [0, 1]}),
    case("Give at most 2.", {"training.optimizer.betas": [0.9, 0.9, 0.9]}, {"training.optimizer.betas": [0.9, 0.9]}),
    case("Give it once.", {"seeds": [0, 0]}, {"seeds": [0, 1]}),
    case("It must be at least 1.", {"model.num_hidden_layers": 0}, {"model.num_hidden_layers": 1}),
    case("Did you mean 'no_bridge'?", {"arms": ["bridge", "no_brigde"]}, {"arms": ["bridge", "no_bridge", "placebo"]}),
    case("Choose one of mean, sum", {"probing.rule": "whatever"}, {"probing.rule": "sum"}),
    case(
        "Write 'no_bridge_exchanged'.",
        {"arms": ["bridge", "no_bridge", "placebo", "no_bridge_again"]},
        {"arms": ["bridge", "no_bridge", "placebo", "no_bridge_exchanged"]},
    ),
    case(
        "docs/configuration.md says what it may be.",
        {"tracing.judge": {"kind": "cooccurence"}},
        {"tracing.judge": {"kind": "cooccurrence"}},
    ),
    Case(
        "Write something, or leave the key out.",
        checked({"languages.en.family": ""}, "scripts-judged"),
        None,
        checked({"languages.en.family": "Indo-European"}, "scripts-judged"),
    ),
]

LOCAL = {"kind": "local", "name": "mine", "path": "a.jsonl"}
HUB = {"kind": "huggingface", "name": "mine", "dataset": "a/b"}
OPUS = {"kind": "opus", "name": "mine", "corpus": "A", "version": "v1", "pair": "en-ko"}
NLLB = {"kind": "nllb", "name": "mine", "pair": "eng_Latn-kor_Hang", "fields": {"en": "eng_Latn", "ko": "kor_Hang"}}


def source(advice: str, wrong: dict, mended: dict, section: str = "corpora") -> Case:
    key = f"{section}.ko.sources"
    return case(advice, {key: [wrong]}, {key: [mended]})


SOURCES = [
    source("Leave it out.", {**LOCAL, "min_chars": 9}, LOCAL, "parallel"),
    source("Name it under `parallel`, or give a corpus", OPUS, LOCAL),
    source("Use one of .jsonl, .jsonl.gz", {**LOCAL, "path": "a.tmx"}, LOCAL),
    source("Leave it out.", {**LOCAL, "columns": ["text"]}, LOCAL),
    source("Leave out either.", {**HUB, "data_files": "a.jsonl", "split": "test"}, {**HUB, "data_files": "a.jsonl"}),
    source(
        "Name a column for one of text, id",
        {**LOCAL, "fields": {"texts": "body"}},
        {**LOCAL, "fields": {"text": "body"}},
    ),
    source(
        "name the ending: `fields: {ko: ENDING}`.",
        {**OPUS, "pair": "en-kr"},
        {**OPUS, "pair": "en-kr", "fields": {"ko": "kr"}},
        "parallel",
    ),
    source(
        "Name the column that holds it: `fields: {en: COLUMN}`.",
        {**NLLB, "fields": {"ko": "kor_Hang"}},
        NLLB,
        "parallel",
    ),
    case(
        "Give each its own name.",
        {"corpora.ko.sources": [LOCAL, LOCAL]},
        {"corpora.ko.sources": [LOCAL, {**LOCAL, "name": "other"}]},
    ),
]

OTHER = {lang: {"sources": [LOCAL]} for lang in ("en", "ko", "bo")}
PAIRS = {lang: {"sources": [LOCAL]} for lang in ("ko", "bo")}
QUESTIONS = {
    lang: {"files": {code: {"kind": "local", "path": f"{lang}_{code}.json"} for code in ("en", lang)}}
    for lang in ("ko", "bo")
}
CLONED = {
    "world.clones": {"bo": {"of": "ko"}},
    "world.languages": {},
    "languages.ko.script": "Cyrillic",
    "languages.bo.script": "Devanagari",
}
BERT = {
    "kind": "bert",
    "hidden_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
}
VLLM = {"kind": "vllm", "model": "m/n"}
NLLB_MODEL = {"model": "facebook/nllb-200-3.3B", "source_code": "bod_Tibt", "target_code": "eng_Latn"}
GLOSS = {"name": "English", "script": "Latin", "family": "Indo-European"}
MADE = {
    "source": {"kind": "local", "path": "click.json"},
    "lang": "ko",
    "translate": ["en"],
    "model": {"kind": "endpoint", "model": "m", "base_url": "http://localhost"},
}
ASKED = {"files": {"en": {"kind": "made"}, "ko": {"kind": "made"}}}
FACTS = {"kind": "facts", "shape": "mlama", "path": "mlama"}
KLAR = {"shape": "klar", "path": "klar"}
ALL = [
    case("Name a folder.", {"results": "/dev/null"}, {"results": "/tmp"}),
    case("Name another: what is in work is deleted.", {"work": "results"}, {"work": "work"}),
    case("Give each language its own", {"languages.bo.name": "Korean"}, {"languages.bo.name": "Tibetan"}),
    case("It takes: en, ko, bo", {"world.languages.zz": {"pairs": 9}}, {"world.languages.zz": GONE}),
    case(
        "It takes: default, en, ko, bo",
        {"tracing.retrieval.zz": {"method": "bm25", "k1": 1, "b": 0.5}},
        {"tracing.retrieval.zz": GONE},
    ),
    case("It takes: en, ko, bo", {"corpora.zz": shipped("articles")["corpora"]["ko"]}, {"corpora.zz": GONE}),
    case("Leave it out.", {"corpora.ko.simplify": True}, {"corpora.ko.simplify": GONE}),
    case(
        "The files of a culture are parallel by row: say the same of each.",
        {"questions.ko.files": {"en": FACTS, "ko": {**FACTS, "options": 5}}},
        {"questions.ko.files": {"en": FACTS, "ko": FACTS}},
    ),
    case("Give the section `world`.", {"world": None}, {"world": shipped("articles")["world"]}),
    case(
        "Leave it out, or set filter to letters.",
        {"corpora.ko.filter": "none", "corpora.ko.max_deleted": 0.5},
        {"corpora.ko.max_deleted": GONE},
    ),
    case(
        "or set filter to letters.",
        {"corpora.ko.filter": "none", "corpora.ko.max_deleted": 0.5},
        {"corpora.ko.filter": "letters"},
    ),
    case(
        "Leave it out, or set filter to letters in either.",
        {"corpora.en.filter": "none", "corpora.ko.filter": "none", "parallel.ko.max_lost": 0.5},
        {"corpora.ko.filter": "letters"},
    ),
    case(
        "Leave out either.",
        {"given": {"a": {"path": "/models/a", "revision": "a" * 40}}},
        {"given": {"a": {"path": "/models/a"}}},
    ),
    case("Leave out either.", {"compute.gpus": 1, "compute.processes": 2}, {"compute.processes": GONE}),
    case("Leave it out, or set compute.gpus.", {"compute.nodes": 2}, {"compute.gpus": 1}),
    case(
        "is of the hub, and",
        {"tokenizer": {"kind": "pretrained", "source": str(CONFIGS), "revision": "main"}},
        {"tokenizer": {"kind": "pretrained", "source": "Qwen/Qwen2.5-0.5B", "revision": "main"}},
    ),
    case(
        "give questions.ko.files of the kind made.", {"questions.ko.made": MADE}, {"questions.ko.files": ASKED["files"]}
    ),
    case(
        "Set it to null, or name it as one.",
        {"corpora": OTHER, "parallel": PAIRS, "questions": QUESTIONS, "prereg": None},
        {"world": None},
    ),
    case("Set it to 0.", {"corpora.en.min_chars": 200}, {"corpora.en.min_chars": 0}, "demo"),
    case(
        "Train one.",
        {**CLONED, "tokenizer": {"kind": "pretrained", "source": "Qwen/Qwen2.5-0.5B"}},
        {"tokenizer": shipped("demo")["tokenizer"]},
        "demo",
    ),
    case("Use one of ['bo', 'ko']", {"world.clones": {"zz": {"of": "ko"}}}, {"world.clones": {}}, "demo"),
    case("Use one of ['ko']", {**CLONED, "world.clones": {"bo": {"of": "en"}}}, CLONED, "demo"),
    case("Give them to 'ko' alone.", {**CLONED, "world.languages": {"bo": {"names": "opaque"}}}, CLONED, "demo"),
    case("Use two of Latin,", {**CLONED, "languages.ko.script": "Han"}, {"languages.ko.script": "Cyrillic"}, "demo"),
    case("Use one of Latin, Hangul", {"languages.bo.script": "Arabic"}, {"languages.bo.script": "Tibetan"}),
    case("Give more pairs, or lower pairs_per_entity", {"world.pairs": 100}, {"world.pairs": 5000}),
    case(
        "or lower pairs_per_entity",
        {"world.languages.bo.pairs": 100},
        {"world.entity_coverage": 0, "world.relation_coverage": 0},
    ),
    case(
        "Set it to none.",
        {"world.names": "shared", "world.languages": {}},
        {"corpora.ko.filter": "none", "corpora.bo.filter": "none"},
        "demo",
    ),
    case(
        "Leave out either.",
        {"world.names": "shared", "world.anchored": 0.5, "world.languages": {}},
        {"world.anchored": GONE, "corpora.ko.filter": "none", "corpora.bo.filter": "none"},
        "demo",
    ),
    case("Add corpora.bo.", {"corpora.bo": GONE}, {"corpora.bo": shipped("articles")["corpora"]["bo"]}),
    case("Mend either.", {"model.num_attention_heads": 5}, {"model.num_attention_heads": 4}),
    case("Choose a multiple of 8", {"model.hidden_size": 100}, {"model.hidden_size": 96}),
    case("Raise it, or leave it out.", {"model.vocab_size": 4095}, {"model.vocab_size": 4096}),
    case("Raise it, or leave it out.", {"model.vocab_size": 4095}, {"model.vocab_size": GONE}),
    case(
        "Leave it out; it is of a phase that goes on",
        {"training.base.unseen_tokens": "mean"},
        {"training.base.unseen_tokens": GONE},
    ),
    case("Mend either.", {"training.sequence_length": 512}, {"training.sequence_length": 256}),
    case(
        "Raise it to 200,000 or more", {"training.base.steps": 2 * 10**9}, {"training.base.checkpoints.every": 200_000}
    ),
    case(
        "Choose a divisor of 160, or steps: 150.",
        {"training.continual.checkpoints.every": 50},
        {"training.continual.steps": 150, "transfer.last": 1},
    ),
    case(
        "Choose a multiple of 256.",
        {"training.continual.batch_tokens": 1000},
        {"training.continual.batch_tokens": 1024},
    ),
    case("Change compute.gpus", {"compute.processes": 3}, {"compute.processes": 4}),
    case("Give a smaller one.", {"training.base.min_lr": 1.0}, {"training.base.min_lr": 1.0e-4}),
    case(
        "Steps run from 0 to 300.",
        {"training.base.checkpoints.early": [300]},
        {"training.base.checkpoints.early": [299]},
    ),
]

CONTRAST = shipped("demo")["prereg"]["tests"][0]
BRIDGE = [
    case("Leave it out.", {"model": BERT, "tokenizer.mask": True}, {"model": shipped("articles")["model"]}),
    case("Choose one of ['bo', 'en', 'ko']", {"base_language": "fr"}, {"base_language": "en"}),
    case("set corpora.ko.filter to none.", {"languages.ko.script": "Latin"}, {"corpora.ko.filter": "none"}),
    case("It takes: ko, bo", {"parallel.en": shipped("articles")["parallel"]["ko"]}, {"parallel.en": GONE}),
    case("Add parallel.bo.", {"parallel.bo": GONE}, {"parallel.bo": shipped("articles")["parallel"]["bo"]}),
    case(
        "Give exactly two index-parallel files: en and ko.",
        {"questions.ko.files": {"en": {"kind": "planted"}}},
        {"questions.ko.files": {"en": {"kind": "planted"}, "ko": {"kind": "planted"}}},
    ),
    case("It takes: ko, bo", {"world.languages.en": {"pairs": 9999}}, {"world.languages.en": GONE}),
    case("Leave it out.", {"languages.en.template": "{en} {xx}"}, {"languages.en.template": GONE}),
    case("Leave it out.", {"languages.en.resource": "low"}, {"languages.en.resource": GONE}),
    case("It needs {en} once, then {xx} once at its end", {"template": "{xx} = {en}"}, {"template": "{en} = {xx}"}),
    case(
        "Give the template a space there",
        {"template": "{en}={xx}", "training.label_space": "half"},
        {"template": "{base}: {en} = {xx}"},
    ),
    case(
        "or set training.label_space to label.",
        {"template": "{en}={xx}", "training.label_space": "half"},
        {"training.label_space": "label"},
    ),
    case("Add questions.ko.made.", {"questions.ko.files": ASKED["files"]}, {"questions.ko.made": MADE}),
    case(
        "Add en to translate, or to by_hand.",
        {"questions.ko": {**ASKED, "made": {**MADE, "translate": []}}},
        {"questions.ko": {**ASKED, "made": {**MADE, "translate": [], "by_hand": ["en"]}}},
    ),
    case(
        "It takes: en, ko, bo",
        {"questions.ko": {**ASKED, "made": {**MADE, "by_hand": ["zz"]}}},
        {"questions.ko": {**ASKED, "made": MADE}},
    ),
    case(
        "Name a copy of it.",
        {"questions.ko": {**ASKED, "made": {**MADE, "sheet": "results/a/probes/made/ko/sheet.csv"}}},
        {"questions.ko": {**ASKED, "made": {**MADE, "sheet": "sheet.csv"}}},
    ),
    case("Give fewer.", {"questions.ko.sample": {"questions": 1000}}, {"questions.ko.sample": {"questions": 10}}),
    case(
        "Monolingual and parallel text need a row each at least.",
        {"training.continual.batch_tokens": 256},
        {"training.continual.batch_tokens": 512},
    ),
    case("raise training.sequence_length to", {"training.label_tokens": 254}, {"training.label_tokens": 16}),
    case(
        "only at even steps", {"training.continual.checkpoints.every": 5}, {"training.continual.checkpoints.every": 8}
    ),
    case(
        "Add it: transferred items are selected by",
        {"arms": ["bridge", "placebo"]},
        {"arms": ["bridge", "no_bridge", "placebo"]},
    ),
    case("Leave it out.", {"languages.en.arms": ["bridge", "no_bridge"]}, {"languages.en.arms": GONE}),
    case(
        "Add it to arms, or leave it out.",
        {"languages.ko.arms": ["bridge", "no_bridge", "glued"]},
        {"arms": ["bridge", "no_bridge", "placebo", "glued"]},
    ),
    case(
        "Add it: transferred items are selected by",
        {"languages.ko.arms": ["bridge", "placebo"]},
        {"languages.ko.arms": ["bridge", "no_bridge", "placebo"]},
    ),
    case(
        "Give a share between 0 and 1.",
        {"arms": ["bridge", "no_bridge", "placebo", "bridge_replay"]},
        {"training.replay_share": 0.5},
    ),
    case(
        "Leave it out, or add such an arm to arms.",
        {"training.replay_share": 0.5},
        {"arms": ["bridge", "no_bridge", "placebo", "bridge_replay"]},
    ),
    case(
        "Leave it out, or add such an arm to arms.", {"training.english_share": 0.2}, {"training.english_share": GONE}
    ),
    case("Give a share between 0 and 1.", {"training.replay_in": "all"}, {"training.replay_share": 0.5}),
    case(
        "Name 'bridge'.",
        {
            "training.replay_in": "all",
            "training.replay_share": 0.5,
            "arms": ["bridge", "no_bridge", "placebo", "bridge_replay"],
        },
        {"arms": ["bridge", "no_bridge", "placebo"]},
    ),
    case("or add it there.", {"probing.prefixes": ["label"]}, {"probing.prefixes": ["label", "bare"]}),
    case(
        "Name two arms.",
        {"transfer.contrasts": [["bridge", "bridge"]]},
        {"transfer.contrasts": [["bridge", "no_bridge"]]},
    ),
    case(
        "Arms of this study: bridge, no_bridge, placebo",
        {"transfer.contrasts": [["bridge", "glued"]]},
        {"transfer.contrasts": [["bridge", "placebo"]]},
    ),
    case("Give fewer.", {"transfer.last": 100}, {"transfer.last": 5}),
    *(
        case(
            advice,
            {"prereg.tests": [{**CONTRAST, **wrong}], **also},
            {"prereg.tests": [{**CONTRAST, **mended}], **follows},
            "demo",
        )
        for advice, wrong, mended, also, follows in (
            ("Name two arms.", {"contrast": ["bridge", "bridge"]}, {}, {}, {}),
            ("Arms of this study: bridge", {"contrast": ["bridge", "glued"]}, {}, {}, {}),
            ("They are ko, bo.", {"languages": ["zz"]}, {"languages": ["bo"]}, {}, {}),
            (
                "Add it to languages.bo.arms",
                {"languages": ["bo"], "contrast": ["bridge", "placebo"]},
                {"languages": ["bo"]},
                {},
                {},
            ),
            ("Name it in one of the two lists.", {"minus": ["ko"]}, {"minus": ["bo"]}, {}, {}),
            ("or add it there.", {"prefix": "label"}, {"prefix": "label"}, {}, {"probing.prefixes": ["bare", "label"]}),
            ("or set it to false", {"over_seeds": True}, {"over_seeds": False}, {"seeds": [0]}, {}),
        )
    ),
    case(
        "Give each its own.",
        {"prereg.tests": [CONTRAST, CONTRAST]},
        {"prereg.tests": [CONTRAST, {**CONTRAST, "name": "b"}]},
        "demo",
    ),
    case(
        "Say all or unleaked.",
        {"prereg": {"tests": [{**CONTRAST, "over_seeds": False}]}},
        {"prereg": {"tests": [{**CONTRAST, "among": "all", "over_seeds": False}]}},
        "pilot",
    ),
    *(
        case(
            advice,
            {"tracing.judge": VLLM, "tracing.translation": {"bo": {**NLLB_MODEL, **wrong}}},
            {"tracing.translation": mended},
        )
        for advice, wrong, mended in (
            ("or leave it out: the judge then reads the original.", {"source_code": "khk_Cyrl"}, {}),
            ("Name the model's folder.", {"model": "local"}, {"bo": {**NLLB_MODEL, "model": "local", "path": "a"}}),
            (
                "Leave it out.",
                {"model": "local", "path": "a", "revision": "b"},
                {"bo": {**NLLB_MODEL, "model": "local", "path": "a"}},
            ),
            ("Write model: local.", {"path": "a"}, {"bo": {**NLLB_MODEL, "model": "local", "path": "a"}}),
            (
                "A folder is given as model: local",
                {"model": "/a"},
                {"bo": {**NLLB_MODEL, "model": "local", "path": "/a"}},
            ),
        )
    ),
    case(
        "They are ['ko', 'bo']",
        {"tracing.judge": VLLM, "tracing.translation": {"en": NLLB_MODEL}},
        {"tracing.translation": {"bo": NLLB_MODEL}},
    ),
    case("Leave it out.", {"tracing.translation": {"bo": NLLB_MODEL}}, {"tracing.translation": {}}),
]

PEOPLE = {"source": {"kind": "planted"}, "number": 10, "questions": 30, "seed": 0}
WORDINGS = {name: "{name} ____" for name in config.people_properties()}
BORN = {name: "{name} ____" for name in config.people_properties("date")}


def people(advice: str, wrong: dict, mended: dict, **also: Any) -> Case:
    return case(advice, {"people": {**PEOPLE, **wrong}, **also}, {"people": {**PEOPLE, **mended}})


OF_PEOPLE = [
    people("They are ['en', 'ko', 'bo']", {"templates": {"fr": WORDINGS}}, {"templates": {"ko": WORDINGS}}),
    people(
        "Add people.templates.ko.birth_date",
        {"birth": "date", "templates": {"ko": WORDINGS}},
        {"birth": "date", "templates": {"ko": BORN}},
    ),
    people(
        "or set people.birth to the other.",
        {"birth": "date", "templates": {"ko": WORDINGS}},
        {"templates": {"ko": WORDINGS}},
    ),
    people(
        "It needs {name} once and one blank",
        {"templates": {"ko": {**WORDINGS, "birthplace": "{name}"}}},
        {"templates": {"ko": WORDINGS}},
    ),
    people("Give fewer questions or more people.", {"questions": 51}, {"questions": 51, "number": 11}),
    case(
        "Add people.templates.qaa",
        {"people": {**PEOPLE, "source": {"kind": "local", "path": "a.json"}}},
        {
            "people": {
                **PEOPLE,
                "source": {"kind": "local", "path": "a.json"},
                "templates": dict.fromkeys(("qaa", "qab", "qac", "qad"), WORDINGS),
            }
        },
        "scripts-demo",
    ),
    case(
        "Give the section `world`.",
        {"people": PEOPLE},
        {"people": {**PEOPLE, "source": {"kind": "local", "path": "a.json"}}},
        "pilot",
    ),
]

MULTILINGUAL = shipped("roots-demo")["world"]
ROOTS = [
    case("Choose one of en, it, ko", {"base_language": "fr"}, {"base_language": "en"}, "roots-demo"),
    case(
        "Give a folder, a commit of the hub, or `training`.",
        {"training": GONE},
        {"given": {"a": {"path": "/models/a"}}},
        "roots-demo",
    ),
    case(
        "Give `world` of the kind multilingual.",
        {"world": None, "corpora": {lang: {"sources": [LOCAL]} for lang in ("en", "it", "ko")}},
        {"world": MULTILINGUAL},
        "roots-demo",
    ),
    case("Give the folder, but of planted facts none.", {"facts.path": "a"}, {"facts.path": None}, "roots-demo"),
    case("Leave it out.", {"facts.obtain": "ask"}, {"facts.obtain": GONE}, "roots-demo"),
    case(
        "It takes: en, it, ko",
        {"training.shares": {"zz": 1}},
        {"training.shares": {"en": 0.4, "it": 0.3, "ko": 0.3}},
        "roots-demo",
    ),
    case(
        "Give each language its share.",
        {"training.shares": {"en": 1}},
        {"training.shares": {"en": 0.4, "it": 0.3, "ko": 0.3}},
        "roots-demo",
    ),
    case(
        "Give one of them.",
        {"training.shares": {"en": 0.4, "it": 0.3, "ko": 0.3}, "training.temperature": 2},
        {"training.temperature": None},
        "roots-demo",
    ),
    case("It takes: en, it, ko", {"neurons.languages": ["zz"]}, {"neurons.languages": ["en"]}, "roots-demo"),
    case("Raise it, or lower the other.", {"neurons.references": 3}, {"neurons.references": 5}, "roots-demo"),
    case("Set asking.space to candidates.", {"asking.decode": "pll"}, {"asking.space": "candidates"}, "roots-demo"),
    case("Set it to true.", {"tokenizer.mask": GONE}, {"tokenizer.mask": True}, "roots-demo"),
    case(
        "Take it out.",
        {"parallel": {"ko": {"sources": [{"kind": "planted", "name": "planted"}]}}},
        {"parallel": {}},
        "roots-demo",
    ),
    case(
        "Ask its facts.",
        {"questions": {"ko": {"files": {"en": {"kind": "planted"}, "ko": {"kind": "planted"}}}}},
        {"questions": {}},
        "roots-demo",
    ),
    case(
        "Name three or more.",
        {"languages": {"en": GLOSS, "it": {**GLOSS, "name": "Italian"}}, "sets": {}},
        {"languages": {**{"en": GLOSS, "it": {**GLOSS, "name": "Italian"}}, "fr": {**GLOSS, "name": "French"}}},
        "scripts-judged",
    ),
    case(
        "It takes:", {"sets": {"a": {**KLAR, "langs": ["zz", "en", "ar"]}}}, {"sets": {"a": {**KLAR}}}, "scripts-judged"
    ),
    case("Leave it out.", {"sets": {"a": {**KLAR, "translation": "machine"}}}, {"sets": {"a": KLAR}}, "scripts-judged"),
]

TUNED = shipped("scripts-tuning")
HUB_ALONE = {key: value for key, value in TUNED["given"]["qwen-7b"].items() if key != "parameters"}
SPELT = TUNED["tuning"]["transliteration"]


def tuned(advice: str, wrong: dict[str, Any], mended: dict[str, Any]) -> Case:
    return case(advice, wrong, mended, "scripts-tuning")


OF_TUNING = [
    tuned("Say how models are tuned.", {"training": GONE}, {"training": TUNED["training"]}),
    tuned("Name one or more: a model is tuned with each.", {"seeds": GONE}, {"seeds": TUNED["seeds"]}),
    tuned("Give it a folder or a commit: given.", {"tuning.models": ["other"]}, {"tuning.models": ["qwen-7b"]}),
    tuned("Say how many parameters it has", {"given.qwen-7b": HUB_ALONE}, {"given.qwen-7b": TUNED["given"]["qwen-7b"]}),
    tuned("Choose of reasoned", {"tuning.controls": ["other"]}, {"tuning.controls": ["answers"]}),
    tuned("Give tuning.transliteration.", {"tuning.transliteration": None}, {"tuning.transliteration": SPELT}),
    tuned("It takes: ", {"tuning.transliteration.lang": "zz"}, {"tuning.transliteration.lang": "hi"}),
]


def removal(advice: str, wrong: dict[str, Any], mended: dict[str, Any]) -> Case:
    return case(advice, wrong, mended, "removal-demo")


PAPER_FILE = {"kind": "local", "shape": "paper", "path": "/q.jsonl", "split": "test"}
SQUAD_FILE = PAPER_FILE | {"shape": "squad", "lang": "en"}
MADE_FILE = {"kind": "made", "name": "a", "shape": "paper", "path": "/q.jsonl", "split": "train"}
OF_REMOVAL = [
    removal(
        "Call one otherwise.",
        {"qa.files": [MADE_FILE, MADE_FILE]},
        {"qa.files": [MADE_FILE, {**MADE_FILE, "name": "b"}]},
    ),
    removal("Choose one of en, hi.", {"removal.target": "zz"}, {"removal.target": "hi"}),
    removal("Name another.", {"removal.target": "en"}, {"removal.target": "hi"}),
    removal("Add f0.", {"removal.levels": ["f1"]}, {"removal.levels": ["f0", "f1"]}),
    removal(
        "Name more, or set again.", {"removal.levels": ["f0"], "removal.again": False}, {"removal.levels": ["f0", "f1"]}
    ),
    removal("Take a smaller one.", {"seeds": [20000]}, {"seeds": [2]}),
    removal(
        "Set it to mentions.",
        {"world": None, "corpora": {lang: {"sources": [LOCAL]} for lang in ("en", "hi")}, "qa.files": [PAPER_FILE]},
        {"removal.stated_by": "mentions"},
    ),
    removal(
        "Give `world` of the kind pages.",
        {
            "world": None,
            "corpora": {lang: {"sources": [LOCAL]} for lang in ("en", "hi")},
            "removal.stated_by": "mentions",
        },
        {"world": {"kind": "pages"}, "corpora": shipped("removal-demo")["corpora"]},
    ),
    removal("Say which.", {"qa.files": [{**SQUAD_FILE, "lang": None}]}, {"qa.files": [SQUAD_FILE]}),
    removal("It takes: en, hi", {"qa.files": [{**SQUAD_FILE, "lang": "zz"}]}, {"qa.files": [SQUAD_FILE]}),
    removal("or add it there.", {"tuning.sets.open.task": "mcq"}, {"qa.tasks": ["mcq"]}),
    removal(
        "Leave out either.",
        {"tuning.sets.other": {"task": "open"}},
        {"tuning.sets.other": {"task": "mcq"}, "qa.tasks": ["open", "mcq"]},
    ),
    removal("Give tuning.sets one of it, or leave it out.", {"qa.tasks": ["open", "mcq"]}, {"qa.tasks": ["open"]}),
    removal("It takes: en, hi", {"training.shares": {"zz": 1}}, {"training.shares": {"en": 0.5, "hi": 0.5}}),
    removal(
        "Give each language its share.", {"training.shares": {"en": 1}}, {"training.shares": {"en": 0.5, "hi": 0.5}}
    ),
    removal(
        "Give one of them.",
        {"training.shares": {"en": 0.5, "hi": 0.5}, "training.temperature": 2},
        {"training.temperature": None},
    ),
    removal(
        "Give llama or qwen2.",
        {"model": {key: value for key, value in shipped("roots-demo")["model"].items()}, "tokenizer.mask": True},
        {"model": shipped("removal-demo")["model"]},
    ),
    removal("Give a multiple of 2.", {"training.sft.examples": 41}, {"training.sft.examples": 42}),
    removal("Name one, such as em_folded.", {"inference.margin": {}}, {"inference.margin": {"em_folded": 0.1}}),
    removal(
        "Lower neighbours.top, ask of fewer pages, or give more text.",
        {"removal.expected": {"tokens": 5e9, "removed": 3e9}},
        {"removal.expected": {"tokens": 7e9, "removed": 3e9}},
    ),
]
CASES = [*FILES, *SCHEMA, *SOURCES, *ALL, *BRIDGE, *OF_PEOPLE, *ROOTS, *OF_TUNING, *OF_REMOVAL]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_configuration_that_was_mended_as_advised_is_taken(case: Case, tmp_path: Path) -> None:
    follow(case, tmp_path)
