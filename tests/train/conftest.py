"""A small study to train on: made-up text, a real tokenizer, token store and data order."""

import random
from pathlib import Path

import pytest
from victim import launch

from lorebridge import tables
from lorebridge.tokens.order import draw_order
from lorebridge.tokens.store import build_store
from lorebridge.tokens.tokenizer import train_tokenizer
from lorebridge.train.loop import train

STEPS = 8
ROWS = 4
LENGTH = 64


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """Return keyword arguments of `train` for a run of eight steps, without its `out` and `work`."""
    root: Path = tmp_path_factory.mktemp("study")
    chance = random.Random(0)
    words = ["".join(chance.choices("aeioukrstlmn", k=chance.randint(2, 7))) for _ in range(60)]
    texts = [" ".join(chance.choices(words[: 5 + i % 20], k=chance.randint(2, 40))) for i in range(150)]
    rows = [{"doc_id": f"t/{i}", "title": "", "text": t, "source": "t", "n_chars": len(t)} for i, t in enumerate(texts)]
    tables.write("documents", rows, root / "documents.parquet")
    tokenizer = root / "tokenizer"
    train_tokenizer(
        tables=[("en", "text", root / "documents.parquet")], vocab_size=300, bytes_per_group=8000, out=tokenizer
    )
    build_store(tables=[root / "documents.parquet"], column="text", tokenizer=tokenizer, out=root / "mono-en")
    stores = {"mono-en": root / "mono-en"}
    for packing in ("isolated", "concatenated"):
        draw_order(
            run="base-s0",
            lang="en",
            arm="base",
            seed=0,
            steps=STEPS,
            sequence_length=LENGTH,
            batch_tokens=ROWS * LENGTH,
            template="",
            packing=packing,
            stores=stores,
            pairs=None,
            tokenizer=tokenizer,
            out=root / f"{packing}.parquet",
        )
    return {
        "run": "base-s0",
        "learned": "en",
        "arm": "base",
        "model": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 64,
            "rope_theta": 1e6,
            "tie_word_embeddings": True,
            "max_position_embeddings": LENGTH,
            "vocab_size": None,
        },
        "optimizer": {"betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1, "clip": 1.0},
        "schedule": {"lr": 5e-3, "min_lr": 5e-4, "schedule": "cosine", "warmup_ratio": 0.2},
        "precision": "float32",
        "seed": 0,
        "steps": STEPS,
        "checkpoint_steps": [0, 3, STEPS],
        "packing": "isolated",
        "zero_stage": 0,
        "checkpoint_dtype": "float32",
        "order": root / "isolated.parquet",
        "stores": stores,
        "tokenizer": tokenizer,
        "init_from": None,
        "recipe": "0123456789abcdef",
        "micro_batch": ROWS,
        "budget_seconds": None,
        "resume_interval": 2,
        "threads": 1,
    }


@pytest.fixture(scope="session")
def reference(study, tmp_path_factory):
    """Return the folder, notes and metrics of a run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("reference")
    notes = train(**study, out=folder / "out", work=folder / "work")
    return folder, notes, tables.read(folder / "out" / "metrics.parquet")


@pytest.fixture(scope="session")
def of_two(study, tmp_path_factory):
    """Return the folder of a run of two processes that nothing interrupts."""
    folder = tmp_path_factory.mktemp("of_two")
    assert launch(study, folder, processes=2) == [0, 0], (folder / "stderr").read_text()
    return folder


@pytest.fixture(scope="session")
def assert_same_bytes():
    """Return a function that asserts that two runs published the same files, to the byte."""

    def check(one, two):
        published = [
            {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
            for folder in (one / "out", two / "out")
        ]
        assert published[0].keys() == published[1].keys()
        assert not [name for name in published[0] if published[0][name] != published[1][name]]

    return check
