"""Neurons: Probeless against its definition, activations against the layers' own, and relations that say nothing."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForMaskedLM, BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from lorebridge import tables
from lorebridge.probes.asking import score_facts
from lorebridge.probes.decoding import Prompt
from lorebridge.probes.facts import build_facts
from lorebridge.probes.neurons import activations, probeless, score_neurons, top_neurons

WORDS = ["was", "born", "in", ".", "paris", "rome", *(f"p{i}" for i in range(8))]
PAD, UNK, CLS, SEP, MASK = range(5)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(1, 5), st.integers(0, 2**31), st.booleans())
def test_probeless_is_the_mean_distance_to_the_other_facts(n, d, seed, tied):
    rng = np.random.default_rng(seed)
    values = (rng.integers(0, 3, (n, d)) if tied else rng.normal(size=(n, d))).astype(np.float32)
    expected = [
        [np.mean([abs(values[f, j] - values[g, j]) for g in range(n) if g != f]) for j in range(d)] for f in range(n)
    ]
    np.testing.assert_allclose(probeless(values), expected, atol=1e-5)


def test_neurons_that_fire_for_one_fact_alone_are_its_own():
    one_hot = np.eye(6, 9, dtype=np.float32) * 3
    assert top_neurons(probeless(one_hot), 1)[:, 0].tolist() == list(range(6))
    # Equal scores go by number.
    assert top_neurons(np.zeros((1, 4)), 3).tolist() == [[0, 1, 2]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("bert")
    vocabulary = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    found = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    found.pre_tokenizer = pre_tokenizers.Whitespace()
    found.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=found, mask_token="[MASK]", pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(path)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    BertForMaskedLM(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=32, **shape)).save_pretrained(path)
    return path


def test_activations_are_those_behind_gelu_averaged_over_the_masks(folder):
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    prompts = [Prompt((CLS, 5 + i, *range(6, 6 + i)), (8, SEP)) for i in range(4)]
    masks = [1, 2, 3, 1]
    found = activations(model, prompts, masks, MASK, PAD, batch_tokens=40)
    np.testing.assert_allclose(activations(model, prompts, masks, MASK, PAD, batch_tokens=1), found, atol=1e-5)
    said = []
    for layer in model.bert.encoder.layer:
        layer.intermediate.register_forward_hook(lambda module, given, out: said.append(out))
    for row, (prompt, n) in enumerate(zip(prompts, masks, strict=True)):
        said.clear()
        with torch.no_grad():
            model(input_ids=torch.tensor([prompt.filled([MASK] * n)]))
        first = len(prompt.before)
        expected = torch.cat([out[0, first : first + n].mean(dim=0) for out in said])
        np.testing.assert_allclose(found[row], expected.numpy(), atol=1e-5)


def test_facts_that_are_right_have_neurons_and_lone_ones_have_none(folder, tmp_path):
    (tmp_path / "mlama/en").mkdir(parents=True)
    templates = [{"relation": r, "template": "[X] was born in [Y] ."} for r in ("P1", "P2")]
    (tmp_path / "mlama/en/templates.jsonl").write_text("".join(json.dumps(row) + "\n" for row in templates))
    for relation, people in (("P1", range(6)), ("P2", range(6, 8))):
        rows = [{"sub_label": f"p{i}", "obj_label": ["paris", "rome"][i % 2], "uuid": f"{relation}{i}"} for i in people]
        (tmp_path / f"mlama/en/{relation}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    facts, scores, out = (tmp_path / f"{name}.parquet" for name in ("facts", "scores", "neurons"))
    build_facts(shape="mlama", langs=["en"], folder=tmp_path / "mlama", out=facts)
    score_facts(run="bert", checkpoints=[(None, folder)], facts=facts, out=scores, batch_tokens=64)
    said = tables.read(scores)
    said["exact"] = [1.0] * 5 + [0.0] + [1.0] * 2
    tables.write("fact_scores", said, scores)
    notes = score_neurons(
        run="bert", checkpoints=[(None, folder)], facts=facts, scores=scores, out=out, top=7, least=5, batch_tokens=64
    )
    found = tables.read(out)
    assert notes == {"facts": 5, "too few": 2}
    assert set(found["fact_id"]) == {f"P1{i}" for i in range(5)} and len(found) == 5 * 7
    assert found["rank"].tolist() == list(range(1, 8)) * 5 and found["step"].isna().all()
    assert set(found["layer"]) <= {0, 1} and found["neuron"].between(0, 23).all()
    assert (found.groupby("fact_id")["score"].diff().dropna() <= 0).all()
