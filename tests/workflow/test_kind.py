"""A kind of study in a folder of its own, and nothing else: it is planned, made, remade in part, and shown."""

from __future__ import annotations

import copy
import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from lorebridge import tables

pytestmark = pytest.mark.slow

KINDS = Path(__file__).parents[1] / "kinds"
END = "<|endoftext|>"
PLANNED = {
    "world": 1,
    "signatures": 2,
    "duplicates": 2,
    "filter_corpus": 2,
    "audit_corpus": 2,
    "tokenizer": 1,
    "token_store": 2,
    "order": 1,
    "train_joint": 1,
    "given_model": 1,
    "question_file": 2,
    "questions": 1,
    "score": 2,
    "counts": 1,
    "table": 1,
    "draw_right": 1,
    "draw_losses": 1,
    "page": 1,
}
AFTER_COUNTS = {"counts": 1, "table": 1, "draw_right": 1, "page": 1}


def toy(tiny: dict) -> dict:
    """A configuration of the kind, with the settings of a tiny study that both have."""
    shared = ("model", "tokenizer", "compute", "seeds")
    c = {key: copy.deepcopy(tiny[key]) for key in shared}
    base = tiny["training"]
    training = {key: value for key, value in base.items() if key in ("packing", "precision", "optimizer")}
    return c | {
        "kind": "toy",
        "study": "toy",
        "languages": {"en": {"name": "English", "script": "Latin"}, "ko": {"name": "Korean", "script": "Hangul"}},
        "world": {"seed": 1, "questions": 16, "articles": 10, "pairs": 200, "pairs_per_entity": 3, "doses": [1, 3]},
        "corpora": {
            lang: {"sources": [{"kind": "planted", "name": "planted"}], "heldout": 0.1} for lang in ("en", "ko")
        },
        "questions": {"ko": {"files": {"en": {"kind": "planted"}, "ko": {"kind": "planted"}}}},
        "given": {"gpt2": {"path": "gpt2"}},
        "training": training
        | {
            "sequence_length": 256,
            "checkpoint_dtype": "float32",
            "joint": base["base"] | {"steps": 4, "checkpoints": {"every": 2, "early": []}},
            "shares": {"en": 0.7, "ko": 0.3},
        },
        "probing": {"rule": "mean", "subset": "reference", "perplexity_tokens": 2000},
        "counts": {"langs": ["en", "ko"]},
    }


def give(folder: Path, seed: int) -> None:
    """Write a tiny GPT-2 of random weights that reads bytes, in the files that one is usually given in."""
    torch.manual_seed(seed)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate([END, *alphabet])}, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=END, eos_token=END).save_pretrained(folder)
    shape = GPT2Config(vocab_size=257, n_embd=16, n_layer=1, n_head=2, n_positions=1024, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(shape).save_pretrained(folder)


@pytest.fixture(scope="module", autouse=True)
def found():
    """The folder that the kind lies below is on Python's path, of this process's children."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(KINDS), prepend=os.pathsep)
        yield


@pytest.fixture(scope="module")
def made(new_study, tmp_path_factory):
    """The study, finished. Do not change it: take a copy."""
    study = new_study(tmp_path_factory.mktemp("kind") / "study")
    study.config = toy(study.config)
    study.write()
    give(study.folder / "gpt2", seed=0)
    assert study.planned() == PLANNED
    study.run()
    return study


def test_it_is_made_and_nothing_is_left_to_do(made):
    assert made.planned() == {}
    for folder in ("models/joint/joint-s0/step4", "models/given/gpt2/model"):
        assert (made.results / folder / "model.safetensors").is_file()
    trained = tables.read(made.results / "probes/scores/joint-s0.parquet")
    given = tables.read(made.results / "probes/scores/gpt2.parquet")
    assert sorted(trained["step"].unique()) == [0, 2, 4]
    assert given["step"].isna().all() and len(given) == len(trained) / 3
    assert set(given["lang"]) == {"en", "ko"}
    assert trained[["lang_pair", "learned", "arm"]].isna().all(axis=None) and set(trained["seed"]) == {0}


def test_the_mixture_has_its_shares(made):
    order = tables.read(made.results / "order/joint-s0.parquet")
    read = order.groupby("stream")["n_tokens"].sum()
    assert set(read.index) == {"mono-en", "mono-ko"}
    assert read["mono-en"] / read.sum() == pytest.approx(0.7, abs=0.1)


def test_the_page_shows_it(made):
    page = (made.results / "report/summary.html").read_text(encoding="utf-8")
    assert "<h1>What does a model know that learns two languages at once?</h1>" in page
    assert "A model that is given is asked once, and is a dashed line." in page
    assert page.count("data:image/svg+xml") == 2
    counted = tables.read(made.results / "toy/counts/reference.parquet")
    assert len(counted) == (3 + 1) * 2
    assert counted.loc[counted["run"] == "gpt2", "step"].isna().all()
    table = page[page.index('<details id="table-right">') :]
    assert "Right answers by model and checkpoint." in table and "<td>gpt2</td>" in table.replace(
        '<td style="text-align:left">', "<td>"
    )
    assert "is right most often" in page and "bridge" not in page.lower().replace("lorebridge", "")


def test_a_setting_of_its_own_makes_its_own_again(made, tmp_path):
    study = made.copy(tmp_path / "study")
    study.config["counts"]["langs"] = ["ko"]
    study.write()
    assert study.planned() == AFTER_COUNTS
    study.run()
    assert set(tables.read(study.results / "toy/counts/reference.parquet")["lang"]) == {"ko"}
    assert study.planned() == {}


def test_another_given_model_is_asked_and_no_other(made, tmp_path):
    study = made.copy(tmp_path / "study")
    give(study.folder / "gpt2", seed=1)
    assert study.planned() == {"given_model": 1, "score": 1, **AFTER_COUNTS}
    study.run()
    before, after = (tables.read(s.results / "probes/scores/gpt2.parquet")["sum_logprob"] for s in (made, study))
    assert (before != after).any()
    assert study.planned() == {}


def test_its_bundle_draws_the_same_page(made, tmp_path):
    study = made.copy(tmp_path / "study")
    study.run("bundle")
    again = [*study.command("--cores", "2"), "--config", "bundle=results/toy.bundle.tar.xz", "results=again"]
    again[again.index("--snakefile") + 1] = str(KINDS.parents[1] / "workflow" / "figures.smk")
    again = again[: again.index("--configfile")] + again[again.index("--configfile") + 2 :]
    done = subprocess.run(again, env=study.environment(), cwd=study.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("report/summary.html", "figures/right.svg", "tables/right.csv"):
        assert (study.folder / "again/toy" / name).read_bytes() == (study.results / name).read_bytes()


def test_the_commands_know_the_kind(made):
    def lorebridge(*arguments):
        return subprocess.run(
            ["lorebridge", *arguments], env=made.environment(), cwd=made.folder, capture_output=True, text=True
        )

    config = ("--config", "study.yaml")
    plan = json.loads(lorebridge("plan", "--json", *config).stdout)
    assert [run["run"] for run in plan["base_runs"]] == ["joint-s0"] and plan["runs"] == []
    checked = lorebridge("verify", "joint-s0", *config)
    assert checked.returncode == 0 and "step4" in checked.stdout, checked.stdout + checked.stderr
    told = lorebridge("explain", "results/toy/toy/counts/reference.parquet")
    assert "rule     counts" in told.stdout, told.stderr
    for command in (("power",), ("alarms",), ("label-sheet", "--lang", "ko", "--out", "sheet.csv")):
        refused = lorebridge(*command, *config)
        assert refused.returncode == 1 and refused.stderr.startswith("error: study.yaml: has no"), refused.stderr
    for command in (("verify",), ("show-batch", "--step", "0")):
        refused = lorebridge(*command, "gpt2", *config)
        assert refused.returncode == 1 and "gpt2: is a model that is given" in refused.stderr, refused.stderr
    assert "models: 1 from scratch, 1 given" in lorebridge("plan", *config).stdout
    wrong = copy.deepcopy(made.config) | {"counts": {"langs": ["bo"]}}
    (made.folder / "wrong.yaml").write_text(yaml.safe_dump(wrong))
    refused = lorebridge("plan", "--config", "wrong.yaml")
    assert refused.returncode == 1 and "counts.langs: 'bo' is not among the languages" in refused.stderr
