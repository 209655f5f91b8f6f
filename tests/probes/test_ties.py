"""What a random model scores by the published rule."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from lorebridge import tables
from lorebridge.probes.questions import build_questions
from lorebridge.probes.ties import RULES, decide, scorer_bias
from lorebridge.train.model import build, qwen2_config

SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
    "max_position_embeddings": 256,
    "vocab_size": None,
}


@given(st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=1, max_size=6))
def test_rules_differ_in_ties_only(losses):
    flat, groups = np.array(losses, dtype=float).ravel(), np.repeat(np.arange(len(losses)), 4)
    found = decide({"bfloat16": flat, "float32": flat + np.tile([0, 0.1, 0.2, 0.3], len(losses))}, groups)
    assert list(found) == list(RULES)
    tied = np.mean([values.count(min(values)) > 1 for values in losses])
    assert [share for _, share in found.values()] == [tied, tied, tied, 0]
    for number, values in enumerate(losses):
        best = [i for i, value in enumerate(values) if value == min(values)]
        shares = {rule: found[rule][0][groups == number] for rule in RULES}
        assert np.flatnonzero(shares["reference"]).tolist() == best[:1] == np.flatnonzero(shares["float32"]).tolist()
        assert np.flatnonzero(shares["reversed"]).tolist() == best[-1:]
        assert shares["shared"].tolist() == [1 / len(best) if i in best else 0 for i in range(4)]


def test_every_culture_is_decided_by_its_own_losses(tmp_path, checkpoints, released):
    """Tables are read one after the other, and each begins with row 0."""
    tables_of = {}
    for culture, rows in (("ko", released[:5]), ("bo", released[5:8])):
        (tmp_path / f"{culture}.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
        tables_of[culture] = tmp_path / f"{culture}.parquet"
        build_questions(
            culture=culture,
            langs=["en"],
            known_missing_gold=[],
            files={"en": tmp_path / f"{culture}.json"},
            scripts={"en": "Latin"},
            out=tables_of[culture],
        )
    found = {}
    for name, questions in (("ko", ["ko"]), ("bo", ["bo"]), ("both", ["ko", "bo"])):
        given = [tables_of[culture] for culture in questions]
        out = tmp_path / f"scorer-{name}.parquet"
        scorer_bias(model=SHAPE, seeds=[0], questions=given, tokenizer=checkpoints[0][1], out=out)
        found[name] = tables.read(out)
    alone = pd.concat([found["ko"], found["bo"]], ignore_index=True)
    assert alone.groupby("culture")["accuracy"].nunique().gt(1).any()
    pd.testing.assert_frame_equal(found["both"], alone)


def test_a_random_model_profits_from_ties(tmp_path, checkpoints, released, published_rule):
    # The answer is listed first in all questions but two; the seventh has no blank and always ties.
    rows = [{**row, "answer": row["options"][0]} for row in released[:7]]
    rows = [*rows, *[{**row, "answer": row["options"][3]} for row in released[:2]]]
    (tmp_path / "q.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    build_questions(
        culture="ko",
        langs=["en"],
        known_missing_gold=[],
        files={"en": tmp_path / "q.json"},
        scripts={"en": "Latin"},
        out=tmp_path / "q.parquet",
    )
    tokenizer = checkpoints[0][1]
    arguments = {"model": SHAPE, "seeds": [0, 1], "questions": [tmp_path / "q.parquet"], "tokenizer": tokenizer}
    scorer_bias(**arguments, out=tmp_path / "scorer.parquet")
    table = tables.read(tmp_path / "scorer.parquet")
    assert len(table) == 2 * len(RULES)
    assert table["gold_first"].eq(7 / 9).all() and table["n_questions"].eq(9).all()
    assert (table["lo"] < table["accuracy"]).all() and (table["accuracy"] < table["hi"]).all()
    by_rule = table.pivot(index="seed", columns="rule", values="accuracy")
    assert (by_rule["reference"] > by_rule["reversed"]).all()
    tied = table.pivot(index="seed", columns="rule", values="tied")
    assert (tied["reference"] >= tied["float32"]).all() and (tied["float32"] >= 1 / 9).all()

    folder = tmp_path / "model"
    loaded = AutoTokenizer.from_pretrained(tokenizer)
    build(qwen2_config(SHAPE, len(loaded), loaded.convert_tokens_to_ids("<|endoftext|>")), 1).save_pretrained(folder)
    loaded.save_pretrained(folder)
    _, right = published_rule(folder, rows, torch.bfloat16)
    assert by_rule.loc[1, "reference"] == pytest.approx(np.mean(right))

    first = (tmp_path / "scorer.parquet").read_bytes()
    scorer_bias(**arguments, out=tmp_path / "scorer.parquet")
    assert (tmp_path / "scorer.parquet").read_bytes() == first
