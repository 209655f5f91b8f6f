"""The configuration: strict, with one error that names the key and the mend."""

from __future__ import annotations

import contextlib
import copy
import json
import re

import pytest
import yaml

from lorebridge import config
from lorebridge.errors import ConfigError


@pytest.mark.parametrize("name", ["config", "pilot", "demo", "dose", "mini"])
def test_shipped_configurations_are_valid(root, name):
    config.load(root / "config" / f"{name}.yaml")


def changed(demo, path, value):
    """Return the configuration with the key at `path` set to `value` (or removed, for None)."""
    demo = copy.deepcopy(demo)
    *parents, last = path.split(".")
    node = demo
    for key in parents:
        node = node[key]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return demo


def test_a_key_that_is_required_is_missed(demo):
    """Also one that has a default in studies of other kinds."""
    required = config.schema("bridge")["required"]
    assert {"corpora", "parallel", "questions"} < set(required)
    for key in required:
        with pytest.raises(ConfigError, match=f"the key '{key}' is missing"):
            config.check({name: value for name, value in demo.items() if name != key} | {"kind": "bridge"})


@pytest.mark.parametrize(
    ("few", "said", "enough"),
    [
        ({"entities": 100}, "world.questions.en_only: asks 320 facts, of which there are 200. ", {"entities": 160}),
        (
            {"name_words": 14},
            "world.name_words: 14 words give 196 names of 2, and 200 are needed. ",
            {"name_words": 15},
        ),
    ],
)
def test_a_world_of_statements_is_large_enough_before_it_is_made(root, few, said, enough):
    demo = config.read(root / "config" / "demo.yaml")
    with pytest.raises(ConfigError, match=said):
        config.check(config.merged(demo, {"world": few}))
    config.check(config.merged(demo, {"world": enough}))


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("trainig", {}, ["unknown key 'trainig'", "Did you mean 'training'?"]),  # codespell:ignore trainig
        ("training.continual.lrr", 1, ["key training.continual", "'lrr'", "'lr'"]),
        ("languages.ko.script", None, ["key languages.ko", "'script' is missing"]),
        ("training.continual.checkpoints.every", 50, ["160 steps are not a multiple of the interval 50"]),
        ("training.continual.checkpoints.every", 5, ["training.continual.checkpoints.every", "odd"]),
        ("training.continual.checkpoints.early", [1], ["training.continual.checkpoints.early", "odd"]),
        ("transfer.contrasts", [["bridge", "bridge"]], ["transfer.contrasts", "itself"]),
        ("template", "{xx} = {en}", ["template", "{en}"]),
        ("base_language", "fr", ["base_language", "'fr'", "bo"]),
        ("arms", ["bridge", "no_brigde"], ["arms", "no_brigde", "Did you mean 'no_bridge'?"]),
        ("arms", ["bridge", "no_bridge", "glued_leak_free"], ["arms", "'glued_leak_free' is unknown", "Did you mean"]),
        (
            "arms",
            ["bridge", "no_bridge", "no_bridge_again"],
            ["arms.2", "'no_bridge_again' is what it was called before. Write 'no_bridge_exchanged'."],
        ),
        (
            "transfer.contrasts",
            [["no_bridge_again", "no_bridge"]],
            ["transfer.contrasts.0.0", "was called before. Write 'no_bridge_exchanged'."],
        ),
        ("arms", ["bridge", "placebo"], ["arms", "lacks 'no_bridge'"]),
        (
            "arms",
            ["bridge", "no_bridge", "placebo", "no_bridge_english_matched"],
            ["training.english_share", "the arm no_bridge_english_matched needs it"],
        ),
        (
            "arms",
            ["bridge", "no_bridge", "placebo", "bridge_replay"],
            ["training.replay_share", "the arm bridge_replay needs it"],
        ),
        ("training.replay_share", 1, ["training.replay_share", "1"]),
        ("training.replay_in", "all", ["training.replay_share", "replay_in: all needs it"]),
        ("languages.ko.arms", ["bridge", "no_bridge", "glued"], ["languages.ko.arms", "'glued'", "Add it to arms"]),
        ("languages.ko.arms", ["bridge", "placebo"], ["languages.ko.arms", "lacks 'no_bridge'"]),
        ("languages.en.arms", ["bridge", "no_bridge"], ["languages.en.arms", "base language"]),
        ("training.first_half", "korean", ["training.first_half", "'korean'"]),
        (
            "training.base.unseen_tokens",
            "mean",
            ["training.base.unseen_tokens", "Leave it out; it is of a phase that goes on"],
        ),
        ("training.continual.unseen_tokens", "means", ["training.continual.unseen_tokens", "'means'"]),
        ("world", {"kind": "statements"}, ["corpora.en.min_chars", "Set it to 0."]),
        ("world", {"kind": "statement"}, ["world", "'statement'", "articles", "statements"]),
        ("world", {"kind": "statements", "articles": 3}, ["world", "unknown key 'articles'"]),
        ("world", {"pairz": 3}, ["world", "Did you mean 'pairs'?"]),
        ("transfer.contrasts", [["bridge", "glued"]], ["transfer.contrasts", "'glued'", "does not train"]),
        ("languages.ko.script", "Latin", ["languages.ko.script", "base language's script"]),
        ("template", "English: {en}", ["template", "{xx}"]),
        ("template", "{en} {xx} {oops}", ["template", "{name}"]),
        ("study", "demo; touch x", ["study", "not allowed"]),
        ("training.continual.batch_tokens", 1000, ["batch_tokens", "sequence_length"]),
        ("training.continual.batch_tokens", 256, ["training.continual.batch_tokens", "one row"]),
        ("training.base.min_lr", 1.0, ["training.base.min_lr", "exceeds lr"]),
        ("compute.processes", 3, ["training.base.batch_tokens", "8 rows", "3 training processes"]),
        ("seeds", [40000], ["seeds", "40000"]),
        ("training.continual.lr", "fast", ["training.continual.lr", "'fast'"]),
        ("model.num_attention_heads", 5, ["model.hidden_size", "num_attention_heads"]),
        ("tracing.judge", {"kind": "cooccurence"}, ["tracing.judge", "cooccurrence"]),
        (
            "tracing.translation",
            {"bo": {"model": "facebook/nllb-200-3.3B", "source_code": "khk_Cyrl", "target_code": "eng_Latn"}},
            ["tracing.translation.bo.source_code", "Tibetan script"],
        ),
        ("tracing.judge", {"kind": "endpoint", "model": "m", "base_url": "https://me:key@host"}, ["base_url"]),
        ("world", None, ["world", "planted"]),
        ("transfer.last", 100, ["transfer.last"]),
        ("transfer.ema", float("nan"), ["transfer.ema", "NaN"]),
        ("training.base.lr", float("inf"), ["training.base.lr", "Infinity"]),
        ("model.num_attention_heads", 10**20, ["model.num_attention_heads", "no number to reckon with"]),
        ("training.base.lr", "3e-3", ["training.base.lr", "'3e-3' is a text, and it must be a number. Write 3.0e-3:"]),
        ("compute.estimate.peak_flops", "1e11", ["peak_flops", "Write 1.0e+11:"]),
        ("seeds", "[0, 1]", ["key seeds: '[0, 1]' is a text, and it must be a list"]),
        ("seeds", [0, 0], ["key seeds: has 0 twice"]),
        ("seeds", [], ["key seeds: has 0 entries. Give at least 1"]),
        ("languages", ["en", "ko"], ["languages", '["en", "ko"] is a list, and it must be a mapping (key: value)']),
        ("corpora.ko.sources", ["a"], ["corpora.ko.sources.0: 'a' is a text, and it must be a mapping"]),
        ("corpora.ko.sources", [{"kind": ["local"]}], ["corpora.ko.sources.0: kind is", "local"]),
        ("arms", ["bridge", ["no_bridge"]], ["arms.1", '["no_bridge"] is unknown. Did you mean']),
        ("training.base.steps", 300.0, ["training.base.steps", "must be a whole number. Write 300."]),
        ("training.base_per_seed", "true", ["training.base_per_seed", "Write true, without quotes"]),
        (
            "training.optimizer.betas",
            [0.9, 1],
            ["training.optimizer.betas.1: 1 is out of range. It must be less than 1"],
        ),
        ("training.optimizer.betas", [0.9], ["training.optimizer.betas: has 1 entries. Give at least 2"]),
        ("training.label_tokens", 254, ["training.label_tokens: leaves no room in a row of 256 positions"]),
        ("training.base.steps", 10**9, ["training.base.checkpoints.every", "Raise it to 100,000 or more"]),
        ("remark", 3, ['key remark: 3 is a whole number, and it must be a text. Quote it: "3"']),
        ("results", "", ["key results: '' is not allowed. Name a folder"]),
        ("results", "/dev/null", ["key results", "/dev/null is a file"]),
        ("work", "/dev/null/work", ["key work", "/dev/null is a file"]),
        ("work", "results", ["key work", "is the folder of results, too"]),
        ("work", "~/work", ["key work: '~/work' is not allowed. Name a folder, with no ~"]),
        ("results", "{lang}", ["key results: '{lang}' is not allowed"]),
        ("questions.ko.sample", {"questions": 1000}, ["questions.ko.sample.questions: 1000 are more than the"]),
        ("world.languages.zz", {"pairs": 9}, ["world.languages.zz", "It takes: en, ko, bo"]),
        ("world.languages.en", {"pairs": 9999}, ["world.languages.en", "It takes: ko, bo"]),
        ("world.pairs", 100, ["world.pairs: 100 pairs cannot hold the"]),
        ("world.languages.bo.pairs", 100, ["world.languages.bo.pairs: 100 pairs cannot hold the"]),
        ("world.doses", [1, 4, 4], ["world.doses: has 4 twice"]),
        ("world.articles", 0, ["world.articles: 0 is out of range. It must be at least 1"]),
        (
            "tracing.retrieval.zz",
            {"method": "bm25", "k1": 1, "b": 0.5},
            ["tracing.retrieval.zz", "default, en, ko, bo"],
        ),
        ("languages.bo.name", "Korean", ["languages.bo.name: 'Korean' is the name of 'ko', too"]),
        ("languages.bo.script", "Arabic", ["languages.bo.script", "the planted world has no names in Arabic"]),
        ("model.vocab_size", 4095, ["model.vocab_size: 4095 is less than the tokenizer's 4096"]),
        ("model.vocab_size", 0, ["model.vocab_size: 0 is out of range"]),
        ("model.rope_theta", 0, ["model.rope_theta: 0 is out of range. It must be more than 0"]),
        ("model.rms_norm_eps", -1, ["model.rms_norm_eps: -1 is out of range"]),
        ("model.initializer_range", -0.1, ["model.initializer_range: -0.1 is out of range"]),
        ("model.hidden_size", 100, ["model.hidden_size: makes heads of 25 dimensions", "Choose a multiple of 8"]),
        ("given", {"qwen": {}}, ["given.qwen", "Give path or hub and revision"]),
        ("probing.prefix", "tagged", ["probing.prefix", "'tagged'"]),
        ("probing.prefixes", [], ["probing.prefixes"]),
        ("probing.prefixes", ["label"], ["probing.prefix:", "'bare'", "probing.prefixes (label)"]),
    ],
)
def test_a_mistake_gives_one_error_that_names_key_and_mend(demo, path, value, expected):
    if (path, value) == ("world", None):
        demo["world"] = None
    else:
        demo = changed(demo, path, value)
    with pytest.raises(ConfigError) as error:
        config.check(demo)
    for text in expected:
        assert text in str(error.value)
    assert "\n" not in str(error.value)


WORDINGS = {name: "{name} ____" for name in config.people_properties()}


def test_this_kind_of_study_asks_causal_models(demo):
    sizes = {name: demo["model"][name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    demo["model"] = {"kind": "bert", **sizes, "intermediate_size": 64, "max_position_embeddings": 1024}
    demo["tokenizer"]["mask"] = True
    with pytest.raises(ConfigError, match=r"model\.kind: is a masked model, and this kind of study asks causal ones"):
        config.check(demo)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"source": {"kind": "wikidta"}}, ["people.source", "'wikidta'", "planted"]),
        ({"source": {"kind": "wikidata", "nations": ["Australia"], "without": []}}, ["people.source.nations", "^Q"]),
        (
            {
                "source": {
                    "kind": "wikidata",
                    "nations": ["Q408"],
                    "without": [],
                    "endpoint": "https://me:k@host/sparql",
                }
            },
            ["people.source.endpoint"],
        ),
        ({"questions": 51}, ["people.questions", "51", "each of 10 people"]),
        ({"templates": {"ko": {**WORDINGS, "birthplace": "{name}"}}}, ["people.templates.ko.birthplace"]),
        ({"templates": {"ko": {**WORDINGS, "height": "{name} ____"}}}, ["people.templates.ko", "'height'"]),
        ({"templates": {"ko": {"birthplace": "{name} ____"}}}, ["people.templates.ko", "'citizenship' is missing"]),
        ({"templates": {"fr": WORDINGS}}, ["people.templates.fr", "['en', 'ko', 'bo']"]),
    ],
)
def test_a_mistake_in_the_section_on_people_is_named(demo, change, expected):
    demo["people"] = {"source": {"kind": "planted"}, "number": 10, "questions": 30, "seed": 0} | change
    with pytest.raises(ConfigError) as error:
        config.check(demo)
    for text in expected:
        assert text in str(error.value)


def test_a_language_without_wordings_on_people_says_where_to_add_them(demo):
    for section in ("languages", "corpora", "parallel", "questions"):
        demo[section]["ru"] = demo[section].pop("ko")
    demo["languages"]["ru"] |= {"name": "Russian", "script": "Han"}
    demo["questions"]["ru"]["files"]["ru"] = demo["questions"]["ru"]["files"].pop("ko")
    demo["world"]["languages"] = {}
    demo["people"] = {"source": {"kind": "planted"}, "number": 10, "questions": 30, "seed": 0}
    demo["prereg"] = None
    with pytest.raises(ConfigError, match=r"no wordings in Russian.*people\.templates\.ru"):
        config.check(demo)
    config.check(demo | {"people": demo["people"] | {"templates": {"ru": WORDINGS}}})


def test_a_declared_test_is_of_languages_that_are_trained_in_its_arms(demo):
    demo["languages"]["bo"]["arms"] = ["bridge", "no_bridge"]
    config.check(demo)
    demo["prereg"]["tests"][0]["contrast"] = ["bridge", "placebo"]
    with pytest.raises(ConfigError, match=r"languages: names 'bo'.*'placebo'.*languages\.bo\.arms") as told:
        config.check(demo)
    assert "'ko'" not in str(told.value)
    demo["languages"]["bo"]["arms"].append("placebo")
    config.check(demo)


def test_planted_people_need_a_planted_world(root):
    paper = yaml.safe_load((root / "config" / "config.yaml").read_text(encoding="utf-8"))
    paper["people"]["source"] = {"kind": "planted"}
    with pytest.raises(ConfigError, match=r"people\.source.*planted world"):
        config.check(paper)


def test_a_misspelt_language_code_names_the_right_one(demo):
    demo["corpora"]["kr"] = demo["corpora"].pop("ko")
    with pytest.raises(ConfigError, match=r"corpora\.kr.*Did you mean 'ko'"):
        config.check(demo)


def slips(node, langs, path=()):
    """Yield (path, whether to rename) of keys that a person may misspell or leave out, and of values that are codes."""
    for key, value in node.items() if isinstance(node, dict) else ():
        if key in langs:
            yield (*path, key), True
        if len(path) < 3:
            yield (*path, key), False
        if isinstance(value, str) and value in langs:
            yield (*path, key), True
        yield from slips(value, langs, (*path, key))


@pytest.mark.parametrize("name", ["config", "controls", "demo", "map-cell", "roots-demo"])
def test_a_code_that_is_misspelt_and_a_key_that_is_left_out_are_told_in_every_kind_of_study(root, name):
    said = config.read(root / "config" / f"{name}.yaml")
    tried = 0
    for (*path, key), rename in slips(said, said["languages"].keys()):
        changed = copy.deepcopy(said)
        at = changed
        for part in path:
            at = at[part]
        value = at.pop(key)
        if rename:
            at.update({f"{key}x": value} if key in said["languages"] else {key: f"{value}x"})
        with contextlib.suppress(ConfigError):  # any other error fails the test
            config.check(changed)
        tried += 1
    assert tried > 20


@pytest.mark.parametrize("code", ["ko; touch x", "KO", "../ko", "k o"])
def test_a_language_code_cannot_carry_a_command(demo, code):
    for section in ("languages", "corpora", "parallel", "questions"):
        demo[section][code] = demo[section].pop("ko")
    with pytest.raises(ConfigError):
        config.check(demo)


def test_defaults_are_filled_in(root):
    loaded = config.load(root / "config" / "articles.yaml")
    assert loaded["corpora"]["ko"]["min_chars"] == 200
    assert loaded["training"]["base_per_seed"] is True


def test_the_pilot_is_the_paper_cut_down(root):
    """What the pilot does not cut is as in the paper's study, or it would try something else."""
    paper, pilot = (config.load(root / "config" / f"{name}.yaml") for name in ("config", "pilot"))
    for key in ("base_language", "tokenizer", "model", "template"):
        assert pilot[key] == paper[key], key
    for section in ("languages", "parallel"):
        assert pilot[section]["ko"] == paper[section]["ko"]
    assert pilot["corpora"]["ko"] == paper["corpora"]["ko"]
    assert pilot["questions"]["ko"] == paper["questions"]["ko"] | {"sample": {"questions": 20}}
    for key in paper["training"].keys() - {"base", "continual"}:
        assert pilot["training"][key] == paper["training"][key], key
    for phase in ("base", "continual"):
        shorter = {key: pilot["training"][phase][key] for key in ("steps", "checkpoints")}
        assert pilot["training"][phase] == paper["training"][phase] | shorter
    assert (pilot["training"]["continual"]["steps"], len(pilot["languages"]), len(pilot["seeds"])) == (300, 2, 1)


def test_check_leaves_its_argument_alone(root):
    loaded = yaml.safe_load((root / "config" / "articles.yaml").read_text())
    before = copy.deepcopy(loaded)
    config.check(loaded)
    assert loaded == before


@pytest.mark.parametrize("name", ["config", "pilot"])
def test_every_value_of_the_paper_says_where_it_comes_from(root, name):
    for key, value, origin in config.provenance(root / "config" / f"{name}.yaml"):
        assert origin.startswith(("stated", "deviates", "our default")), f"{key}: {value!r} says {origin!r}"


def test_provenance_finds_every_value(root):
    """What the comments are read for is exactly what YAML reads."""

    def leaves(node, key=""):
        if isinstance(node, dict):
            for name, value in node.items():
                yield from leaves(value, f"{key}.{name}" if key else name)
        elif isinstance(node, list) and any(isinstance(item, dict | list) for item in node):
            for index, item in enumerate(node):
                yield from leaves(item, f"{key}[{index}]")
        else:
            yield key, node

    path = root / "config" / "config.yaml"
    assert [(key, value) for key, value, _ in config.provenance(path)] == list(leaves(yaml.safe_load(path.read_text())))


def test_provenance_reads_merged_keys_as_yaml_does(tmp_path):
    path = tmp_path / "merged.yaml"
    path.write_text(
        "corpora:\n"
        "  en: &all {min_chars: 0, sources: [{kind: planted}]} # of all\n"
        "  ko:\n"
        "    <<: *all\n"
        "    min_chars: 9 # its own\n"
        "  bo: {<<: [*all, {heldout: 0.1}]} # two\n"
        "seeds: [0, 1]\n"
    )
    found = config.provenance(path)
    assert found == [
        ("corpora.en.min_chars", 0, "of all"),
        ("corpora.en.sources[0].kind", "planted", "of all"),
        ("corpora.ko.min_chars", 9, "its own"),
        ("corpora.ko.sources[0].kind", "planted", "of all"),
        ("corpora.bo.heldout", 0.1, "two"),
        ("corpora.bo.min_chars", 0, "of all"),
        ("corpora.bo.sources[0].kind", "planted", "of all"),
        ("seeds", [0, 1], ""),
    ]
    said = {"seeds": None, "corpora": {"ko": {"min_chars": 3, "heldout": 0.2}}}
    assert [row for row in config.provenance(path, said) if row not in found] == [
        ("corpora.ko.min_chars", 3, "--set"),
        ("corpora.ko.heldout", 0.2, "--set"),
        ("seeds", None, "--set"),
    ]
    assert len(config.provenance(path, said)) == len(found) + 1


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        config.load(tmp_path / "none.yaml")
    bad = tmp_path / "bad.yaml"
    for content in (
        b"a: [1, 2",
        b"a: 1\n---\nb: 2\n",
        b"a: \xff\n",
        b"a: !!python/none\n",
        b"a: &x [*x]\n",
        b"a: &x {b: *x}\n",
        "study: Englis\xe9\n".encode("latin-1"),
        "study: demo\n".encode("utf-16"),
        bytes(range(256)),
        b"a: " + b"[" * 4000 + b"]" * 4000,
        b"? &a [*a]\n: 1\n",
        b"study: " + b"9" * 5000,
        b"\t- a\n",
        b"a: !!bool x\n",
        b'a: !!int ""\n',
        b"a: !!float x\n",
    ):
        bad.write_bytes(content)
        with pytest.raises(ConfigError, match=r"bad\.yaml") as error:
            config.load(bad)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nseeds: [0]\nb: 2\nseeds: [1]\n", r"lines 2 and 4: the key seeds stands twice"),
        ("a:\n  b: 1\n  b: 1\n", r"lines 2 and 3: the key a\.b stands twice"),
        ("a:\n- {c: 1}\n- {c: 1, d: 2, c: 3}\n", r"lines 3 and 3: the key a\[1\]\.c stands twice"),
        ('a: 1\n"a": 2\n', r"lines 1 and 2: the key a stands twice"),
        ("x: &x {p: 1}\ny: &y {q: 1}\nz:\n  <<: *x\n  <<: *y\n", r"lines 4 and 5: the key z\.<< stands twice"),
        ("x: &x {p: 1, p: 2}\nz: *x\n", r"lines 1 and 1: the key x\.p stands twice"),
        ('{\n\t"a": 1,\n\t"a": 2\n}', r"lines 2 and 3: the key a stands twice"),
        ("languages:\n  no: 1\n", r"line 2: the key languages\.no is read as False.*\"no\""),
        ("a: 1\n2024-01-01: 1\n", r"line 2: the key 2024-01-01 is read as"),
        ("1: a\n", r"line 1: the key 1 is read as 1"),
        ("~: a\n", r"line 1: the key ~ is read as None"),
        ("a:\n  study: 2020-01-01\n", r'line 2: a\.study is of YAML.s kind timestamp.*Quote it: "2020-01-01"'),
        ("study: !!binary aGVsbG8=\n", r"line 1: study is of YAML's kind binary"),
        ("- a\n- =\n", r"line 2: \[1\] is of YAML's kind value"),
        ("study: !mine a\n", r"line 1: study is of YAML's kind !mine"),
        ("arms: !!set {a, b}\n", r"line 1: arms is of YAML's kind set, which no key takes. Write it without that"),
    ],
)
def test_a_key_that_stands_twice_or_is_no_text_and_a_value_of_no_key_is_refused(tmp_path, text, message):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    for read in (config.load, lambda path: config.refuse_duplicate_keys([path])):
        with pytest.raises(ConfigError, match=rf"study\.yaml, {message}") as error:
            read(path)
        assert "\n" not in str(error.value)


def test_what_the_refusal_of_a_key_that_is_no_text_advises_works(tmp_path):
    with pytest.raises(ConfigError, match='Quote it: "no"'):
        config.parse("{no: 1}", "study")
    assert config.parse('{"no": 1}', "study") == {"no": 1}


def test_anchors_and_merged_keys_are_read_as_yaml_says():
    text = "x: &x {p: 1, q: 2}\ny:\n  <<: *x\n  p: 3\nz:\n  <<: [*x, {r: 4}]\nw: [*x, *x]\n"
    assert config.parse(text, "study") == yaml.safe_load(text)
    assert config.parse(text, "study")["y"] == {"p": 3, "q": 2}


def test_another_file_may_set_a_key_again(tmp_path):
    paths = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    for path in paths:
        path.write_text("seeds: [0]\n")
    config.refuse_duplicate_keys(paths)
    paths[1].write_text("seeds: [0]\nseeds: [1]\n")
    with pytest.raises(ConfigError, match=r"two\.yaml, lines 1 and 2"):
        config.refuse_duplicate_keys(paths)


def test_no_yaml_of_the_project_has_a_key_twice(root):
    folders = ("config", "envs", "profiles", "tests", "docs", "workflow")
    paths = [path for folder in folders for path in sorted((root / folder).rglob("*.yaml"))]
    assert len(paths) > 8
    config.refuse_duplicate_keys(paths)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["seeds=[0]", "seeds=[1]"], "--set seeds: is given twice"),
        (["training={steps: 1, steps: 2}"], "--set training, lines 1 and 1: the key steps stands twice"),
        (["training={steps: 1"], "--set training: is not YAML"),
        (["seeds=[0,"], "--set seeds: is not YAML"),
        (["seeds"], "--set seeds: has no key and value"),
        (["=[0]"], "--set =[0]: has no key and value"),
    ],
)
def test_values_on_the_command_line_are_read_as_strictly(root, capsys, sets, message):
    from lorebridge.cli import main

    arguments = [argument for one in sets for argument in ("--set", one)]
    assert main(["plan", "--config", str(root / "config" / "articles.yaml"), *arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {message}")
    assert said.count("\n") == 1


def planned(capsys, root, *sets):
    """Return the runs and the steps that a plan of the demo has, some of its keys set on the command line."""
    from lorebridge.cli import main

    arguments = [argument for one in sets for argument in ("--set", one)]
    assert main(["plan", "--json", "--config", str(root / "config" / "articles.yaml"), *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    return [(run["run"], run["steps"]) for run in found["runs"]]


def test_a_mapping_on_the_command_line_is_laid_over_what_the_file_says_and_a_list_takes_its_place(root, capsys):
    before = planned(capsys, root)
    longer = planned(capsys, root, "training={continual: {steps: 320}}")
    assert longer == [(run, 320) for run, _ in before]
    other = planned(capsys, root, "seeds=[3, 4]")
    assert {run.rpartition("-s")[2] for run, _ in other} == {"3", "4"}
    assert len(other) == len(before)


def test_values_of_snakemakes_command_line_are_what_yaml_reads():
    """Its parser leaves the inside of lists and mappings as text; what this makes of it is what a file would say."""
    from snakemake.cli import parse_config

    for text in ("seeds=[0,1]", "training={base: {lr: 3.0e-3, steps: 4}}", "people=null", "world={seed: ~, b: true}"):
        key, _, value = text.partition("=")
        assert config.typed(parse_config([text])) == {key: yaml.safe_load(value)}
    assert config.typed(parse_config(["training={base: {lr: 3e-3}}"]))["training"]["base"]["lr"] == "3e-3", (
        "as in a file"
    )


def test_configurations_are_joined_as_snakemake_joins_them():
    from snakemake.utils import update_config

    below = {"a": {"b": 1, "c": [1, 2]}, "d": 1, "e": {"f": 1}}
    above = {"a": {"c": [3], "g": {"h": 1}}, "d": {"i": 1}, "e": 2}
    ours = config.merged(below, above)
    update_config(below, above)
    assert ours == below


def test_a_world_has_at_least_the_pairs_that_its_plan_asks_for(tmp_path):
    """What passes at plan time is made, but for the remainder of cells that is rounded by chance."""
    from lorebridge.errors import InputError
    from lorebridge.world import planting
    from lorebridge.world.stages import fewest_pairs

    for doses, coverage in (([1, 3], 0.5), ([1], 1.0), ([1, 2, 3], 0.4)):
        knobs = {"questions": 32, "doses": doses, "pairs_per_entity": 2, "relations": 3, "objects": 4}
        shares = {"entity_coverage": coverage, "relation_coverage": 0.6}
        with pytest.raises(InputError, match=r"cannot hold the \d+ that") as error:
            planting.generate(
                out=tmp_path / "world",
                base="en",
                languages={"en": {"script": "Latin"}, "ko": {"script": "Hangul"}},
                pairs=1,
                numeric_share=0,
                **knobs,
                **shares,
            )
        needed = int(re.search(r"hold the (\d+)", str(error.value)).group(1))
        cells = 4 * len(doses)
        assert (
            fewest_pairs(knobs | shares) <= needed <= fewest_pairs(knobs | shares) + cells * knobs["pairs_per_entity"]
        )


def test_a_configuration_in_json_with_tabs_is_planned(root, tmp_path, capsys):
    from lorebridge.cli import main

    demo = yaml.safe_load((root / "config" / "articles.yaml").read_text())
    path = tmp_path / "study.json"
    path.write_text(json.dumps(demo, indent="\t"))
    assert main(["plan", "--config", str(path)]) == 0
    assert "training.base.steps" in capsys.readouterr().out


def test_a_key_without_a_value_at_the_end_of_a_file_is_planned(root, tmp_path, capsys):
    from lorebridge.cli import main

    path = tmp_path / "study.yaml"
    path.write_text((root / "config" / "articles.yaml").read_text() + "\n\npeople:")
    assert main(["plan", "--config", str(path)]) == 0
    assert "people" in capsys.readouterr().out


LOCAL = {"kind": "local", "name": "a", "path": "a.jsonl"}
HUB = {"kind": "huggingface", "name": "a", "dataset": "some/set"}
OPUS = {"kind": "opus", "name": "a", "corpus": "CCMatrix", "version": "v1", "pair": "en-ko"}
NLLB = {"kind": "nllb", "name": "a", "pair": "eng_Latn-kor_Hang", "fields": {"en": "eng_Latn", "ko": "kor_Hang"}}


@pytest.mark.parametrize(
    ("section", "sources", "key", "what"),
    [
        ("parallel", [{**LOCAL, "min_chars": 9}], "0.min_chars", "pairs have no rule of length"),
        ("parallel", [{**HUB, "min_chars": 9}], "0.min_chars", "pairs have no rule of length"),
        ("parallel", [LOCAL, {**LOCAL, "path": "b.jsonl"}], "1.name", "is the name of another source"),
        ("parallel", [{**LOCAL, "path": "a.tmx"}], "0.path", "a.tmx is not in a format that is read"),
        ("corpora", [{**LOCAL, "path": "a.zip"}], "0.path", "a.zip is not in a format that is read"),
        ("corpora", [{**LOCAL, "columns": ["text"]}], "0.columns", "says nothing of a.jsonl"),
        ("corpora", [{**LOCAL, "fields": {"txet": "body"}}], "0.fields.txet", "is not read"),
        ("parallel", [{**LOCAL, "fields": {"id": "number"}}], "0.fields.id", "is not read"),
        ("parallel", [{**LOCAL, "path": "a.zip", "fields": {"source": "x"}}], "0.fields.source", "is not read"),
        ("parallel", [{**LOCAL, "path": "a.tsv", "columns": ["en", "kor"]}], "0.fields.ko", "there is no column `ko`"),
        ("corpora", [{**HUB, "config": "a", "data_files": "b"}], "0.config", "says nothing where `data_files`"),
        ("corpora", [{**HUB, "split": "test", "data_files": "b"}], "0.split", "says nothing where `data_files`"),
        ("corpora", [OPUS], "0.kind", "opus is parallel text"),
        ("corpora", [{k: v for k, v in NLLB.items() if k != "fields"}], "0.kind", "nllb is parallel text"),
        ("parallel", [{**OPUS, "pair": "en-zh_cn"}], "0.pair", "does not say how the file in the language ko ends"),
        ("parallel", [{k: v for k, v in NLLB.items() if k != "fields"}], "0.fields.en", "there is no column `en`"),
    ],
)
def test_a_key_of_a_source_that_would_do_nothing_is_refused(demo, section, sources, key, what):
    demo = copy.deepcopy(demo)
    demo[section]["ko"]["sources"] = sources
    with pytest.raises(ConfigError) as error:
        config.check(demo)
    assert f"key {section}.ko.sources.{key}: " in str(error.value)
    assert what in str(error.value)


@pytest.mark.parametrize(
    ("section", "source"),
    [
        ("corpora", {**LOCAL, "min_chars": 9, "fields": {"text": "body", "id": "number"}}),
        ("corpora", {**LOCAL, "path": "a.tsv.gz"}),
        ("corpora", {**HUB, "columns": ["text"], "data_files": "a.tsv"}),
        ("parallel", {**LOCAL, "path": "a.zip", "fields": {"ko": "kr"}}),
        ("parallel", {**LOCAL, "path": "a.tsv", "columns": ["en", "kor"], "fields": {"ko": "kor"}}),
        ("parallel", OPUS),
        ("parallel", {**OPUS, "pair": "en-kr", "fields": {"ko": "kr"}}),
        ("parallel", NLLB),
    ],
)
def test_sources_that_are_read(demo, section, source):
    demo = copy.deepcopy(demo)
    demo[section]["ko"]["sources"] = [source]
    config.check(demo)


def test_opus_needs_its_pair(demo):
    demo = copy.deepcopy(demo)
    demo["parallel"]["ko"]["sources"] = [{k: v for k, v in OPUS.items() if k != "pair"}]
    with pytest.raises(ConfigError, match="'pair' is missing"):
        config.check(demo)
