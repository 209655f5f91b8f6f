"""The model: packed documents do not see each other, and the chunked loss is the loss."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from lorebridge.errors import InputError
from lorebridge.plan.cost import parameter_count
from lorebridge.tokens.reader import IGNORED
from lorebridge.train.architecture import architecture
from lorebridge.train.model import PackedLanguageModel, build, llama_config, load_weights, qwen2_config
from lorebridge.train.tensors import parameters, save_tensors

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-6,
    "initializer_range": 0.1,
    "vocab_size": None,
}


@pytest.fixture(scope="module")
def network():
    return PackedLanguageModel(build(qwen2_config(TINY, 50, 0), seed=1)).eval()


def ordinary():
    """Return the same model as transformers computes it."""
    return build(qwen2_config(TINY, 50, 0), seed=1).eval()


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(0, 5), st.booleans(), st.integers(0, 2**31))
def test_llama_packed_is_transformers_llama_of_each_document_alone(lengths, padding, tied, seed):
    """The weights are written as a checkpoint's and read by transformers, as whoever downloads it does."""
    said, _ = architecture({**TINY, "kind": "llama", "tie_word_embeddings": tied, "rms_norm_eps": 1e-5})
    config = said.configure({**TINY, "tie_word_embeddings": tied, "rms_norm_eps": 1e-5}, 50, 0)
    ours, theirs = said.network(said.build(config, 1)).eval(), LlamaForCausalLM(LlamaConfig(**config.to_dict())).eval()
    theirs.load_state_dict(parameters(ours.model), strict=not tied)
    theirs.tie_weights()
    assert (config.rope_parameters["rope_theta"], config.model_type) == (1e6, "llama")
    length = sum(lengths) + padding
    ids = torch.randint(50, (1, length), generator=torch.Generator().manual_seed(seed))
    positions, documents = rows_of(lengths, length)
    with torch.no_grad():
        packed, start = ours.model.lm_head(ours.hidden(ids, positions, documents)), 0
        for n in lengths:
            alone = theirs(input_ids=ids[:, start : start + n]).logits
            torch.testing.assert_close(packed[:, start : start + n], alone, atol=1e-5, rtol=0)
            start += n


def rows_of(lengths, length):
    """Return positions and documents [1, length] of documents of these lengths, then padding."""
    positions = torch.cat([torch.arange(n) for n in lengths] + [torch.arange(length - sum(lengths))])
    documents = torch.cat(
        [torch.full((n,), d) for d, n in enumerate(lengths)] + [torch.full((length - sum(lengths),), -1)]
    )
    return positions[None], documents[None]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(0, 5), st.integers(0, 2**31))
def test_logits_of_a_document_are_the_same_packed_or_alone(network, lengths, padding, seed):
    length = sum(lengths) + padding
    ids = torch.randint(50, (1, length), generator=torch.Generator().manual_seed(seed))
    positions, documents = rows_of(lengths, length)
    model = ordinary()
    with torch.no_grad():
        packed = network.model.lm_head(network.hidden(ids, positions, documents))
        assert torch.isfinite(packed).all()
        start = 0
        for n in lengths:
            alone = model(input_ids=ids[:, start : start + n]).logits
            torch.testing.assert_close(packed[:, start : start + n], alone, atol=1e-5, rtol=0)
            start += n


def test_padding_neither_leaks_nor_makes_nan(network):
    positions, documents = rows_of([7, 5], 16)
    ids = torch.randint(1, 50, (2, 16), generator=torch.Generator().manual_seed(0))
    ids[1, :12] = ids[0, :12]  # the rows differ in their padding only
    targets = ids.roll(-1, 1).masked_fill(documents < 0, IGNORED)
    targets[:, 11] = 0
    losses, gradients = [], []
    for row in range(2):
        network.zero_grad()
        loss = network(ids[[row]], targets[[row]], positions, documents)
        loss.backward()
        losses.append(loss.item())
        gradients.append(network.model.model.layers[0].mlp.up_proj.weight.grad.clone())
    assert losses[0] == losses[1]
    assert torch.isfinite(gradients[0]).all() and torch.equal(gradients[0], gradients[1])


def test_a_row_of_padding_only_costs_nothing(network):
    positions, documents = rows_of([], 8)
    ids = torch.zeros(1, 8, dtype=torch.long)
    network.zero_grad()
    loss = network(ids, torch.full_like(ids, IGNORED), positions, documents)
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in network.parameters())


def test_concatenated_packing_is_plain_causal_attention():
    concatenated = PackedLanguageModel(build(qwen2_config(TINY, 50, 0), seed=1)).eval()
    ids = torch.randint(50, (2, 20), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        # One document to a row, as the reader of an order says it.
        hidden = concatenated.hidden(ids, torch.arange(20).expand(2, -1), torch.zeros(2, 20, dtype=torch.int32))
        ours = concatenated.model.lm_head(hidden)
        torch.testing.assert_close(ours, ordinary()(input_ids=ids).logits, atol=1e-5, rtol=0)


def test_initial_weights_depend_on_the_seed_alone():
    config = qwen2_config(TINY, 50, 0)
    torch.manual_seed(5)
    one = build(config, seed=3)
    after = torch.rand(1)
    torch.manual_seed(6)
    two, other = build(config, seed=3), build(config, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1))  # the caller's generator is left alone


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hiden_size": 3}, "model.hiden_size: not a key"),
        ({"vocab_size": 49}, "model.vocab_size: 49 is less than the tokenizer's 50"),
        ({"num_attention_heads": 5}, "model.hidden_size: 32 is not a multiple"),
        ({"num_key_value_heads": 3}, "model.num_attention_heads: 4 is not a multiple"),
    ],
)
def test_impossible_models_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        qwen2_config({**TINY, **change}, 50, 0)


def test_published_size_of_qwen25_0_5b():
    released = {
        "hidden_size": 896,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "intermediate_size": 4864,
        "rope_theta": 1e6,
        "tie_word_embeddings": True,
        "max_position_embeddings": 32768,
        "vocab_size": 151936,
    }
    with torch.device("meta"):
        model = build(qwen2_config(released, 151665, 151643), seed=0)
    assert sum(p.numel() for p in model.parameters()) == 494_032_768


def test_published_size_of_tinyllama():
    released = {
        "hidden_size": 2048,
        "num_hidden_layers": 22,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "intermediate_size": 5632,
        "rope_theta": 1e4,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "max_position_embeddings": 2048,
    }
    with torch.device("meta"):
        model = build(llama_config(released, 32000, 2), seed=0)
    n = sum(p.numel() for p in model.parameters())
    assert n == parameter_count({"kind": "llama", **released}, 32000)[0] == 1_100_048_384


def test_weights_of_another_architecture_are_refused(tmp_path):
    model = build(qwen2_config(TINY, 50, 0), seed=0)
    model.config.save_pretrained(tmp_path)
    save_tensors(tmp_path / "model.safetensors", parameters(model))
    same = build(qwen2_config(TINY, 50, 0), seed=1)
    load_weights(same, tmp_path)
    assert torch.equal(same.lm_head.weight, model.lm_head.weight)
    with pytest.raises(InputError, match="embed_tokens"):
        load_weights(build(qwen2_config(TINY, 51, 0), seed=0), tmp_path)
    with pytest.raises(InputError, match="num_attention_heads"):
        load_weights(build(qwen2_config({**TINY, "num_attention_heads": 2}, 50, 0), seed=0), tmp_path)
    with pytest.raises(InputError, match="rope_parameters"):
        load_weights(build(qwen2_config({**TINY, "rope_theta": 1e4}, 50, 0), seed=0), tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({}))
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        load_weights(same, tmp_path)


def test_scaled_residuals_divide_what_writes_to_the_stream_and_nothing_else():
    plain = build(qwen2_config(TINY, 50, 0), seed=3).state_dict()
    scaled = build(qwen2_config({**TINY, "scaled_residuals": True}, 50, 0), seed=3).state_dict()
    assert plain.keys() == scaled.keys()
    for name, weights in plain.items():
        writes = name.endswith(("o_proj.weight", "down_proj.weight"))
        factor = (2 * TINY["num_hidden_layers"]) ** -0.5 if writes else 1.0
        torch.testing.assert_close(scaled[name], factor * weights)
