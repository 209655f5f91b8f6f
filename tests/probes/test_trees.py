"""Prefix trees: every token once, and the same log-probabilities as the sequences one by one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    PhiConfig,
    Qwen2Config,
)

from lorebridge.probes.trees import ROUNDING, build_tree, make_batches, reads_trees, sum_logprobs

VOCABULARY = 320
SMALL = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.2}
SMALL |= {"bos_token_id": 0, "eos_token_id": 0}
HEADS = {**SMALL, "num_attention_heads": 4, "intermediate_size": 64}
GROUPED = {**HEADS, "num_key_value_heads": 2}
GPT2 = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 128,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "initializer_range": 0.2,
}

sequences = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6).map(lambda tail: [9, *tail]), min_size=1)


@given(sequences)
def test_a_tree_reads_and_predicts_every_beginning_once(asked):
    tree = build_tree(asked)
    beginnings = {tuple(s[:n]) for s in asked for n in range(1, len(s))}
    predicted = {tuple(s[: n + 1]) for s in asked for n in range(1, len(s))}
    assert len(tree.tokens) == len(tree.depths) == len(tree.ends) == len(beginnings)
    assert len(tree.parents) == len(tree.targets) == len(predicted)
    for sequence, path in zip(asked, tree.paths, strict=True):
        assert [9, *tree.targets[path]] == sequence
        for depth, parent in enumerate(tree.parents[path]):
            # What the parent attends to is the beginning of the sequence, in order.
            seen = [n for n in range(parent + 1) if tree.ends[n] > parent]
            assert tree.tokens[seen].tolist() == sequence[: depth + 1]
            assert tree.depths[seen].tolist() == list(range(depth + 1))
    assert tree.is_chain == (len(beginnings) == max(map(len, asked)) - 1)


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 200))
def test_batches_hold_each_row_once_and_fit(lengths, batch_tokens):
    batches = make_batches(lengths, batch_tokens)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= batch_tokens
        assert 4 * min(lengths[i] for i in batch) >= 3 * max(lengths[i] for i in batch)
    assert [lengths[batch[0]] for batch in batches] == sorted((lengths[batch[0]] for batch in batches), reverse=True)


def network(config):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture(scope="module")
def qwen2():
    return network(Qwen2Config(**GROUPED))


def one_by_one(model, asked) -> np.ndarray:
    found = []
    with torch.no_grad():
        for sequence in asked:
            logprobs = model(torch.tensor([sequence])).logits[0, :-1].float().log_softmax(-1)
            found.append(float(logprobs.gather(1, torch.tensor(sequence)[1:, None]).double().sum()))
    return np.array(found)


def questions(n: int = 12, longest: int = 40) -> tuple[list[list[int]], list[int]]:
    """Return sequences like those of questions with four options, one of which is asked alone too."""
    rng = np.random.default_rng(0)
    asked: dict[tuple[int, ...], int] = {}
    for number in range(n):
        before = rng.integers(0, VOCABULARY, rng.integers(1, longest)).tolist()
        after = rng.integers(0, VOCABULARY, rng.integers(0, 20)).tolist()
        for _ in range(4):
            option = rng.integers(0, 4, rng.integers(1, 5)).tolist()
            asked.setdefault((0, *before, *option, *after), number)
            asked.setdefault((0, *option), number)
    return [list(sequence) for sequence in asked], list(asked.values())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(sequences, st.integers(0, 3)), min_size=1, max_size=3), st.integers(1, 60))
def test_trees_in_batches_equal_sequences_one_by_one(qwen2, parts, batch_tokens):
    asked = [sequence for part, _ in parts for sequence in part]
    groups = [group for part, group in parts for _ in part]
    expected = one_by_one(qwen2, asked)
    for trees in (True, False):
        found = sum_logprobs(qwen2, asked, groups, trees=trees, batch_tokens=batch_tokens)
        np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING * 6)


@pytest.mark.parametrize(
    ("config", "trees"),
    [
        (Qwen2Config(**GROUPED), True),
        (LlamaConfig(**GROUPED), True),
        (GPT2Config(**GPT2), True),  # learned positions
        (PhiConfig(**HEADS), True),  # an output layer with a bias
        (MistralConfig(**GROUPED, sliding_window=128), True),
        (MistralConfig(**GROUPED, sliding_window=8), False),  # the window is shorter than a question
        (Gemma2Config(**GROUPED, head_dim=8), False),  # capped logits
        (FalconConfig(**SMALL, num_attention_heads=4), False),
        (BloomConfig(**{**SMALL, "n_layer": 2, "n_head": 4}), False),  # positions in the attention bias
        (
            GPTNeoConfig(
                vocab_size=VOCABULARY,
                hidden_size=32,
                num_layers=2,
                num_heads=4,
                window_size=8,
                attention_types=[[["global", "local"], 1]],
                max_position_embeddings=128,
                bos_token_id=0,
                eos_token_id=0,
            ),
            False,
        ),  # local attention
        (MambaConfig(**SMALL), False),  # a state instead of attention
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "model_type") else None,
)
def test_every_architecture_is_read_rightly(config, trees):
    model = network(config)
    asked, groups = questions()
    longest = groups[int(np.argmax([len(sequence) for sequence in asked]))]
    found = reads_trees(model, [s for s, group in zip(asked, groups, strict=True) if group == longest])
    assert found == trees
    totals = sum_logprobs(model, asked, groups, trees=found, batch_tokens=300)
    off = np.abs(totals - one_by_one(model, asked)) / [len(sequence) - 1 for sequence in asked]
    assert off.max() <= ROUNDING


def test_what_is_passed_over_is_found_out(qwen2):
    model = network(Qwen2Config(**GROUPED))
    model.lm_head.register_forward_hook(lambda module, inputs, output: 0.5 * output)
    asked, _ = questions(1)
    assert reads_trees(qwen2, asked)
    assert not reads_trees(model, asked)


def test_the_log_softmax_is_float32_whatever_the_weights(qwen2):
    model = network(Qwen2Config(**GROUPED)).to(torch.bfloat16)
    asked, groups = questions()
    for trees in (True, False):
        totals = sum_logprobs(model, asked, groups, trees=trees, batch_tokens=500)
        # A mean loss in bfloat16 would sit on a grid of 8 significant bits.
        means = torch.tensor(totals / [len(sequence) - 1 for sequence in asked])
        assert (means.bfloat16().double() != means).all()
        np.testing.assert_allclose(totals, one_by_one(qwen2, asked), rtol=0.05)


def test_a_vocabulary_in_blocks_is_the_vocabulary(qwen2, monkeypatch):
    asked, groups = questions()
    whole = sum_logprobs(qwen2, asked, groups, trees=True, batch_tokens=300)
    monkeypatch.setattr("lorebridge.probes.trees.LOGITS_AT_ONCE", {"cpu": 1})  # the smallest block
    np.testing.assert_allclose(sum_logprobs(qwen2, asked, groups, trees=True, batch_tokens=300), whole, rtol=1e-6)
