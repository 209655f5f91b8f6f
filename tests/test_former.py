"""Words of before: each is refused in one line that says the word of now."""

from __future__ import annotations

import copy

import pytest
import yaml
from snakemake.cli import parse_args

import lorebridge.adopt
from lorebridge import cli, config, studies
from lorebridge.errors import InputError
from lorebridge.studies import former

MODELS = ["base-s0", "ko-bridge-s0"]
RULES = ["train_base", "train_continual", "score", "people_score"]


def refused(*command):
    with pytest.raises(InputError) as said:
        former.refuse(parse_args(["--dry-run", *command])[1], "results/articles", MODELS, RULES)
    assert "\n" not in str(said.value)
    return str(said.value)


@pytest.mark.parametrize(
    "command",
    [
        ["train"],
        ["--forcerun", "train"],
        ["-R", "train"],
        ["--until", "train"],
        ["--omit-from", "train"],
        ["--prioritize", "train"],
        ["--allowed-rules", "train"],
        ["--preemptible-rules", "train"],
        ["--batch", "train=1/2"],
        ["--set-threads", "train=4"],
        ["--set-resources", "train:mem_mb=4"],
        ["--groups", "train=a"],
    ],
    ids=lambda command: " ".join(command),
)
def test_a_rule_of_before(command):
    assert "train_continual" in refused(*command)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("models/ko/bridge/s0/metrics.parquet", "models/continual/ko-bridge-s0/metrics.parquet"),
        ("models/ko/bridge/s0/step40", "models/continual/ko-bridge-s0/step40"),
        ("models/base/s0/step0", "models/base/base-s0/step0"),
    ],
)
@pytest.mark.parametrize("option", [[], ["--until"], ["--forcerun"], ["--omit-from"]])
def test_a_path_of_before(option, old, new):
    assert refused(*option, f"results/articles/{old}").endswith(f"It is results/articles/{new} now.")


@pytest.mark.parametrize("option", [["--set-threads", "scor=4"], ["--set-resources", "scor:mem_mb=4"]])
def test_a_rule_that_there_is_not_is_named_where_snakemake_takes_any(option):
    assert refused(*option).endswith("there is no rule scor. Did you mean 'score'?")


def test_words_of_now_pass():
    now = [
        "results/articles/models/base/base-s0/step0",
        "results/articles/models/continual/ko-bridge-s0/metrics.parquet",
    ]
    command = [*now, "--until", "score", "--set-resources", "people_score:mem_mb=4", "--omit-from", "figures/figure3"]
    former.refuse(parse_args(["--dry-run", *command])[1], "results/articles", MODELS, RULES)
    # A model of another kind of study may be called so.
    former.refuse(parse_args(["results/articles/models/base/s0/step0"])[1], "results/articles", ["s0"], RULES)
    # A rule of another kind, too.
    former.refuse(parse_args(["--until", "train"])[1], "results/articles", MODELS, [*RULES, "train"])


def test_every_model_is_found_where_it_lay(root):
    """The paths of before are those from which results are adopted."""
    plan = studies.plan(config.load(root / "config" / "articles.yaml"))
    for model in plan.study.trained:
        stage, wildcards = model.artifact
        old, now = lorebridge.adopt.before(stage).folder(model), plan.record(stage, wildcards)
        assert former.path(f"{plan.root}/{old}/record.json") == now
        assert former.path(now) is None


def test_no_word_of_before_is_one_of_now():
    stages = studies.stages()
    assert not set(former.RULES) & set(stages) and set(former.RULES.values()) <= set(stages)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["train", "--base", "models/base/s0/step6"], "--base is called --initial now"),
        (["judge", "--settings", "{}"], "--settings is gone: --task says how the judge is reached"),
    ],
)
def test_an_option_of_before(command, says, capsys):
    with pytest.raises(SystemExit):
        cli.main(command)
    assert capsys.readouterr().err.splitlines()[-1].endswith(says)


@pytest.mark.parametrize("command", [["explain", "PATH"], ["score", "PATH", "q.json", "--out", "scores.parquet"]])
def test_commands_say_where_a_model_lies(command, capsys):
    assert cli.main([word.replace("PATH", "results/articles/models/ko/bridge/s0/step40") for word in command]) == 1
    assert "It is results/articles/models/continual/ko-bridge-s0/step40 now." in capsys.readouterr().err


@pytest.mark.slow
def test_a_dry_run_stops(tmp_path, new_study):
    study = new_study(tmp_path / "study")
    said = study.snakemake("--dry-run", "results/tiny/models/ko/bridge/s0/metrics.parquet", check=False)
    assert "It is results/tiny/models/continual/ko-bridge-s0/metrics.parquet now." in said and "Traceback" not in said
    (tmp_path / "profile").mkdir()
    profile = {"set-resources": {"train": {"mem_mb": 4000}}}
    (tmp_path / "profile" / "config.yaml").write_text(yaml.safe_dump(profile))
    said = study.snakemake("--dry-run", "--profile", str(tmp_path / "profile"), check=False)
    assert "--set-resources: there is no rule train any more. It is called train_continual now." in said
    mended = copy.deepcopy(profile)
    mended["set-resources"] = {"train_continual": {"mem_mb": 4000}, "people_score": {"mem_mb": 4000}}
    (tmp_path / "profile" / "config.yaml").write_text(yaml.safe_dump(mended))
    assert study.planned("--profile", str(tmp_path / "profile"))["train_continual"] == 4
