"""Attention within documents is attention under a block mask, whichever way it is computed."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._dynamo.testing import CompileCounter

from lorebridge.train import attention, masked
from lorebridge.train.attention import attend_by_document, document_bounds, packed_attention
from lorebridge.train.model import PackedLanguageModel, build, qwen2_config

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
    "max_position_embeddings": 128,
}


@st.composite
def layouts(draw):
    """Draw the documents of up to three rows: each a few documents, then padding."""
    length = draw(st.integers(1, 24))
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        row: list[int] = []
        for document, n in enumerate(draw(st.lists(st.integers(1, 9), max_size=6))):
            row += [document] * n
        rows.append((row + [-1] * length)[:length])
    return torch.tensor(rows, dtype=torch.int32)


def under_a_mask(query, key, value, documents, scale):
    """Return attention [rows, heads, T, size] in which every forbidden pair is masked out."""
    length = documents.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    allowed = (documents[:, None, :, None] == documents[:, None, None, :]) & causal
    groups = query.shape[1] // key.shape[1]
    key, value = (states.repeat_interleave(groups, dim=1) for states in (key, value))
    products = (query @ key.transpose(2, 3) * scale).masked_fill(~allowed, -math.inf)
    return products.softmax(dim=-1) @ value


def varlen(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale, window_size, enable_gqa):
    """Do what the documentation of torch.nn.attention.varlen.varlen_attn says, as the kernel runs on GPUs only."""
    assert cu_seq_q is cu_seq_k and cu_seq_q.dtype == torch.int32
    assert cu_seq_q[0] == 0 and cu_seq_q[-1] == len(query) == len(key) == len(value)
    assert max_q == max_k >= cu_seq_q.diff().max() and window_size == (-1, 0)
    assert query.dtype == key.dtype == value.dtype and query.shape[1] % key.shape[1] == 0 and enable_gqa
    attended = []
    for begin, end in itertools.pairwise(cu_seq_q.tolist()):
        q, k, v = (states[begin:end].transpose(0, 1)[None] for states in (query, key, value))
        attended.append(under_a_mask(q, k, v, torch.zeros(1, end - begin), scale)[0].transpose(0, 1))
    return torch.cat(attended)


@pytest.mark.parametrize("flash", [False, True])
@settings(max_examples=40, deadline=None)
@given(layouts(), st.sampled_from([(1, 1), (4, 2), (6, 2), (3, 3)]), st.integers(0, 2**31))
def test_packed_attention_is_attention_under_a_block_mask(flash, documents, heads, seed):
    generator = torch.Generator().manual_seed(seed)
    rows, length = documents.shape
    states = [
        torch.randn(rows, length, n, 8, generator=generator).transpose(1, 2).requires_grad_()
        for n in (heads[0], heads[1], heads[1])
    ]
    wanted = under_a_mask(*states, documents, 0.3).transpose(1, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "runs_flash", lambda value: flash)
        patch.setattr(attention, "varlen_attn", varlen)
        module = torch.nn.Module()
        module.is_causal = True
        ours, _ = packed_attention(module, *states, None, scaling=0.3, cu_seq_lens_q=document_bounds(documents))
    assert ours.shape == wanted.shape
    torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=1e-5)
    upstream = torch.randn(wanted.shape, generator=generator)
    for a, b in zip(
        torch.autograd.grad(ours, states, upstream), torch.autograd.grad(wanted, states, upstream), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_documents_of_one_length_together_are_to_the_bit_those_one_by_one(monkeypatch):
    bounds = torch.tensor([0, *([9, 17, 9, 9, 17, 9, 33, 9] * 3)]).cumsum(0).int()
    inputs = [torch.randn(int(bounds[-1]), heads, 8) for heads in (4, 2, 2, 4)]
    found = []
    for worth in (1, 100):  # moved together, one by one
        monkeypatch.setattr("lorebridge.train.attention.WORTH_MOVING", worth)
        q, k, v = (each.clone().requires_grad_() for each in inputs[:3])
        attended = attend_by_document(q, k, v, bounds, 0.3)
        attended.backward(inputs[3])
        found.append([attended, q.grad, k.grad, v.grad])
    assert all(torch.equal(together, alone) for together, alone in zip(*found, strict=True))


def test_bounds_are_where_documents_and_rows_begin():
    documents = torch.tensor([[0, 0, 1, -1], [1, 1, 1, 1]])
    assert document_bounds(documents).tolist() == [0, 2, 3, 4, 8]
    assert document_bounds(documents).dtype == torch.int32


def test_in_bfloat16_it_is_attention_under_a_mask_up_to_rounding():
    generator = torch.Generator().manual_seed(0)
    documents = torch.tensor([[0] * 40 + [1] * 20 + [-1] * 4])
    states = [torch.randn(1, n, 64, 16, generator=generator) for n in (4, 2, 2)]
    wanted = under_a_mask(*states, documents, 0.25)
    # As autocast leaves them: queries and keys in float32 after the rotary embedding, values in bfloat16.
    query, key, value = states[0], states[1], states[2].bfloat16()
    module = torch.nn.Module()
    module.is_causal = True
    ours, _ = packed_attention(module, query, key, value, None, scaling=0.25, cu_seq_lens_q=document_bounds(documents))
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.float(), wanted.transpose(1, 2), atol=0.02, rtol=0.02)


BERT = {name: size for name, size in TINY.items() if name not in ("num_key_value_heads", "rope_theta", "rms_norm_eps")}


@pytest.mark.parametrize(
    ("network", "made"),
    [
        (PackedLanguageModel, lambda: build(qwen2_config(TINY, 50, 0), seed=1)),
        (masked.PackedMaskedModel, lambda: masked.build(masked.bert_config(BERT, 50, 0), seed=1)),
    ],
    ids=["causal", "masked"],
)
def test_trunk_is_one_graph_and_is_compiled_once_whatever_the_documents(monkeypatch, network, made):
    @torch.library.custom_op("lorebridge_tests::varlen", mutates_args=())
    def opaque(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bounds: torch.Tensor, scale: float, causal: bool
    ) -> torch.Tensor:
        return attend_by_document(q, k, v, bounds, scale, causal).contiguous()

    opaque.register_fake(lambda q, k, v, bounds, scale, causal: torch.empty_like(q))
    monkeypatch.setattr(attention, "runs_flash", lambda value: True)
    monkeypatch.setattr(
        attention,
        "varlen_attn",
        lambda q, k, v, bounds, *_, scale, window_size, **__: opaque(q, k, v, bounds, scale, window_size == (-1, 0)),
    )
    compiled, plain = network(made()), network(made())
    counter = CompileCounter()
    compile_ = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **how: compile_(self, backend=counter, **how))
    compiled.compile_trunk()
    generator = torch.Generator().manual_seed(0)
    ids, positions = torch.randint(50, (2, 32), generator=generator), torch.arange(32).expand(2, -1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for n in (1, 2, 7, 20):
            documents = torch.randint(n, (2, 32), generator=generator).sort(1).values
            ours = compiled.hidden(ids, positions, documents)
            assert torch.equal(ours, plain.hidden(ids, positions, documents))
    assert counter.frame_count == 1
