"""What models write: in a batch token for token as one by one, ties included."""

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, MambaConfig, MambaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from lorebridge.probes.generation import CLOSE, Writer, _choose
from lorebridge.probes.wording import END, LENGTH, STOP

V = 60


def tiny(kind, seed=0, **more):
    torch.manual_seed(seed)
    shape = {"vocab_size": V, "bos_token_id": 0, "eos_token_id": 0}
    if kind == "qwen2":
        config = Qwen2Config(
            **shape, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, initializer_range=0.4, tie_word_embeddings=False, **more,
        )  # fmt: skip
        return Qwen2ForCausalLM(config).eval()
    if kind == "mamba":
        return MambaForCausalLM(
            MambaConfig(**shape, hidden_size=16, num_hidden_layers=2, state_size=4, initializer_range=0.4)
        ).eval()
    return GPT2LMHeadModel(
        GPT2Config(**shape, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.4)
    ).eval()


def prompts(n=13, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.integers(1, V, size=rng.integers(1, 14)).tolist() for _ in range(n)]


def by_definition(model, prompt, max_tokens, ends):
    """Greedy, one sequence at a time, without a cache; the first of equal logits."""
    tokens = list(prompt)
    for _ in range(max_tokens):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([tokens])).logits[0, -1].float().numpy()
        if (token := int(logits.argmax())) in ends:
            break
        tokens.append(token)
    return tuple(tokens[len(prompt) :])


def written(model, asked, **how):
    said = {"ends": {0}, "batch_tokens": 10_000, "max_tokens": 20} | how
    options = {key: said.pop(key) for key in ("ends", "batch_tokens", "padding") if key in said}
    found = {}
    for batch in Writer(model, **options).write(asked, **said):
        found |= batch
    return [found[place] for place in range(len(asked))]


@pytest.mark.parametrize("kind", ["qwen2", "gpt2"])
def test_a_batch_writes_what_is_written_one_by_one(kind):
    model, asked = tiny(kind), prompts()
    ends = {0, 7, 8, 9, 33, 39}
    right = [by_definition(model, prompt, 20, ends) for prompt in asked]
    assert len(set(right)) > 8 and len({len(one) for one in right}) > 3  # they differ, and end at different times
    for how in ({}, {"batch_tokens": 60}, {"padding": False}, {"batch_tokens": 1}):
        found = written(model, asked, ends=ends, **how)
        assert [one.tokens for one in found] == right, how
        assert {one.ended for one in found} == {END, LENGTH}
        assert all((one.ended == LENGTH) == (len(one.tokens) == 20) for one in found)


@pytest.mark.parametrize("kind", ["qwen2", "gpt2"])
def test_of_equal_tokens_the_first_is_written_whatever_the_batch(kind):
    model, asked = tiny(kind, seed=3), prompts()
    with torch.no_grad():  # every token has a twin, which every model finds exactly as likely
        head = model.get_output_embeddings().weight
        head[V // 2 :] = head[: V // 2]
    right = [by_definition(model, prompt, 12, {0}) for prompt in asked]
    for how in ({}, {"batch_tokens": 1}):
        found = written(model, asked, max_tokens=12, **how)
        assert [one.tokens for one in found] == right
        assert all(one.close >= len(one.tokens) for one in found)
    assert all(token < V // 2 for one in right for token in one)


def test_a_model_that_reads_padding_is_given_none():
    model, asked = tiny("mamba"), prompts()
    right = [by_definition(model, prompt, 8, {0}) for prompt in asked]
    assert [one.tokens for one in written(model, asked, max_tokens=8)] == right


def test_a_string_stops_a_text_and_a_limit_cuts_it():
    model, asked = tiny("qwen2"), prompts()
    whole = written(model, asked, ends=())
    stop = whole[0].tokens[3]
    found = written(model, asked, ends=(), stopped=lambda tokens: tokens[-1] == stop)
    assert found[0].ended == STOP and found[0].tokens == whole[0].tokens[: whole[0].tokens.index(stop) + 1]
    for one, full in zip(found, whole, strict=True):
        assert one.tokens == full.tokens[: len(one.tokens)]
        assert one.ended == (STOP if stop in full.tokens else LENGTH)


def test_what_is_drawn_depends_on_its_seed_and_not_on_its_batch():
    model, asked = tiny("qwen2"), [prompts(1)[0]] * 6
    seeds = [(5, sample) for sample in range(6)]
    how = {"temperature": 1.0, "max_tokens": 10}
    found = written(model, asked, seeds=seeds, **how)
    assert len({one.tokens for one in found}) == 6
    assert written(model, asked[:1], seeds=seeds[4:5], **how)[0].tokens == found[4].tokens
    alone = written(model, asked, seeds=seeds, batch_tokens=1, **how)
    assert [one.tokens for one in alone] == [one.tokens for one in found]


def test_tokens_are_drawn_as_often_as_they_are_likely():
    logits = torch.log(torch.tensor([0.5, 0.3, 0.2]))
    drawn = [_choose(logits, 1.0, draw)[0] for draw in (0.0, 0.49, 0.51, 0.79, 0.81, 0.999)]
    assert drawn == [0, 0, 1, 1, 2, 2]
    assert _choose(logits, 0.5, 0.6)[0] == 0  # .25 of .38 at half the temperature
    assert _choose(logits, 1.0, 0.5 + CLOSE / 2)[1] and not _choose(logits, 1.0, 0.4)[1]
    assert _choose(torch.tensor([1.0, 1.0, 0.0]), 0.0, None) == (0, True)
    assert _choose(torch.tensor([0.0, 1.0, 0.5]), 0.0, None) == (1, False)
