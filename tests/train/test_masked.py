"""Masked models: rates and places of masks, isolated packing on logits, the loss, and a resume to the bit."""

import argparse
import importlib.util

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from test_loop import run, same, stop_after, weights
from test_model import rows_of
from transformers import AutoModelForMaskedLM, AutoTokenizer

from lorebridge.errors import InputError
from lorebridge.plan.cost import parameter_count
from lorebridge.tokens.order import draw_order
from lorebridge.tokens.reader import IGNORED, Batch, OrderReader
from lorebridge.tokens.store import build_store
from lorebridge.tokens.tokenizer import MASK, load_tokenizer, train_tokenizer
from lorebridge.train.masked import PackedMaskedModel, bert_config, build
from lorebridge.train.masking import draws, masked

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "initializer_range": 0.1,
}
EOT, MASK_ID, VOCABULARY = 0, 1, 50


def batch_of(rows, length, seed=0):
    ids = np.random.default_rng(seed).integers(2, VOCABULARY, (rows, length))
    ids[:, 0] = ids[:, length // 2] = EOT
    documents = np.zeros((rows, length), np.int32)
    documents[:, -3:] = -1
    return Batch(ids, np.full_like(ids, IGNORED), np.zeros_like(ids), documents)


def asked(batch, step=0, rows=None, seed=0):
    rows = range(len(batch.input_ids)) if rows is None else rows
    return masked(batch, seed=seed, step=step, rows=rows, mask=MASK_ID, end_of_text=EOT, vocabulary=VOCABULARY)


def test_masks_have_their_rates_and_leave_alone_what_is_no_token():
    batch = batch_of(400, 256)
    found = asked(batch)
    targets = found.targets != IGNORED
    tokens = (batch.documents >= 0) & (batch.input_ids != EOT)
    assert not targets[~tokens].any() and (found.input_ids[~targets] == batch.input_ids[~targets]).all()
    assert (found.targets[targets] == batch.input_ids[targets]).all()
    n = targets.sum()
    assert targets.sum() / tokens.sum() == pytest.approx(0.15, abs=4 * (0.15 * 0.85 / tokens.sum()) ** 0.5)
    now, before = found.input_ids[targets], batch.input_ids[targets]
    other = (now != MASK_ID) & (now != before)
    near = 4 * (0.8 * 0.2 / n) ** 0.5
    assert (now == MASK_ID).mean() == pytest.approx(0.8, abs=near)
    # One random token of 48 is the one that was there.
    assert other.mean() == pytest.approx(0.1 * 47 / 48, abs=near)
    assert set(now[other]) == set(range(2, VOCABULARY))
    # Places are independent: two neighbours are as often both targets as that says.
    both = targets[:, 10:100] & targets[:, 11:101]
    assert both.mean() == pytest.approx(0.15**2, abs=4 * (0.0225 / both.size) ** 0.5)


def test_a_draw_depends_on_seed_step_row_and_position_alone():
    whole = draws(7, 3, range(6), 32)
    assert np.array_equal(draws(7, 3, [4, 1], 32), whole[[4, 1]])
    assert np.array_equal(draws(7, 3, [2], 8)[0], whole[2, :8])
    assert whole.min() >= 0 and whole.max() < 1
    for other in (draws(8, 3, range(6), 32), draws(7, 4, range(6), 32)):
        assert not np.isin(other, whole).any()
    assert len(np.unique(whole)) == whole.size


@pytest.fixture(scope="module")
def network():
    return PackedMaskedModel(build(bert_config(TINY, VOCABULARY, EOT), seed=1)).eval()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(0, 5), st.integers(0, 2**31))
def test_logits_of_a_document_are_the_same_packed_or_alone(network, lengths, padding, seed):
    length = sum(lengths) + padding
    ids = torch.randint(VOCABULARY, (1, length), generator=torch.Generator().manual_seed(seed))
    positions, documents = rows_of(lengths, length)
    ordinary = build(bert_config(TINY, VOCABULARY, EOT), seed=1).eval()  # as transformers computes it
    with torch.no_grad():
        packed = network.model.cls(network.hidden(ids, positions, documents))
        start = 0
        for n in lengths:
            alone = ordinary(input_ids=ids[:, start : start + n]).logits
            torch.testing.assert_close(packed[:, start : start + n], alone, atol=1e-5, rtol=0)
            start += n


def test_a_token_sees_what_follows_in_its_document_and_nothing_of_another(network):
    positions, documents = rows_of([6, 6], 12)
    ids = torch.randint(2, VOCABULARY, (1, 12), generator=torch.Generator().manual_seed(0))
    other = ids.clone()
    other[0, 5] = 1
    with torch.no_grad():
        one, two = (network.hidden(tokens, positions, documents)[0] for tokens in (ids, other))
    assert not torch.equal(one[0], two[0]) and torch.equal(one[6:], two[6:])


def test_the_loss_and_its_gradients_are_those_of_the_logits():
    network = PackedMaskedModel(build(bert_config(TINY, VOCABULARY, EOT), seed=1))
    with torch.no_grad():
        network.model.cls.predictions.bias.normal_()
    batch = batch_of(4, 24)
    found = asked(batch)
    positions, documents = (np.tile(np.arange(24), (4, 1)), batch.documents)
    inputs = [torch.from_numpy(a) for a in (found.input_ids, found.targets, positions, documents)]
    network(*inputs).backward()
    ours = {name: p.grad.clone() for name, p in network.named_parameters()}
    network.zero_grad()
    logits = network.model.cls(network.hidden(inputs[0], inputs[2], inputs[3]))
    loss = F.cross_entropy(logits.flatten(0, 1), inputs[1].flatten(), ignore_index=IGNORED, reduction="sum")
    loss.backward()
    assert network(*inputs).item() == pytest.approx(loss.item(), rel=1e-5)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, atol=1e-4, rtol=1e-4)
    assert ours["model.cls.predictions.bias"].abs().sum() > 0


def test_a_batch_without_targets_costs_nothing(network):
    ids = torch.zeros(1, 8, dtype=torch.long)
    positions, documents = rows_of([8], 8)
    assert network(ids, torch.full_like(ids, IGNORED), positions, documents).item() == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hiden_size": 3}, "model.hiden_size: not a key"),
        ({"vocab_size": 49}, "model.vocab_size: 49 is less"),
        ({"num_attention_heads": 5}, "model.hidden_size: 32 is not a multiple"),
    ],
)
def test_impossible_models_are_refused(change, said):
    with pytest.raises(InputError, match=said):
        bert_config({**TINY, **change}, VOCABULARY, EOT)


@pytest.fixture(scope="module")
def bert(study, tmp_path_factory):
    """The run of the other tests, of a masked model."""
    root = tmp_path_factory.mktemp("bert")
    documents = study["order"].parent / "documents.parquet"
    tokenizer = root / "tokenizer"
    train_tokenizer(tables=[("en", "text", documents)], vocab_size=300, bytes_per_group=8000, out=tokenizer, mask=True)
    build_store(tables=[documents], column="text", tokenizer=tokenizer, out=root / "mono-en")
    stores = {"mono-en": root / "mono-en"}
    order = {"run": "base-s0", "lang": "en", "arm": "base", "seed": 0, "steps": study["steps"], "sequence_length": 64}
    order |= {"batch_tokens": 256, "template": "", "packing": "isolated", "pairs": None, "stores": stores}
    draw_order(**order, tokenizer=tokenizer, out=root / "order.parquet")
    model = {"kind": "bert", **TINY}
    return study | {"model": model, "tokenizer": tokenizer, "order": root / "order.parquet", "stores": stores}


def test_a_masked_run_resumes_to_the_bit_and_its_checkpoints_load(bert, tmp_path, monkeypatch):
    _, whole = run(bert, tmp_path / "whole")
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        with pytest.raises(SystemExit):
            run(bert, tmp_path / "broken", budget_seconds=3600.0)
    notes, resumed = run(bert, tmp_path / "broken")
    assert resumed.equals(whole) and same(*(weights(tmp_path / name, 8) for name in ("whole", "broken")))
    _, other = run(bert, tmp_path / "other", micro_batch=1)
    assert other["target_tokens"].equals(whole["target_tokens"])
    np.testing.assert_allclose(other["loss"], whole["loss"], rtol=1e-4)

    folder = tmp_path / "whole/out/step8"
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert notes["n_parameters"] == model.num_parameters()
    assert (
        "AutoModelForMaskedLM" in (folder / "README.md").read_text()
        and not (folder / "generation_config.json").exists()
    )
    ids = tokenizer(f"ab {MASK} cd")["input_ids"]
    assert ids[0] == tokenizer.eos_token_id and ids.count(tokenizer.mask_token_id) == 1
    assert ids[1:] == [
        *load_tokenizer(folder).encode("ab", add_special_tokens=False).ids,
        tokenizer.mask_token_id,
        *load_tokenizer(folder).encode(" cd", add_special_tokens=False).ids,
    ]


def test_the_first_loss_is_that_of_its_masks(bert, tmp_path):
    _, metrics = run(bert, tmp_path, steps=8)
    reader = OrderReader.open(bert["order"], bert["stores"])
    bpe = load_tokenizer(bert["tokenizer"])
    words = {"mask": bpe.token_to_id(MASK), "end_of_text": 0, "vocabulary": bpe.get_vocab_size()}
    found = masked(reader.batch(0), seed=0, step=0, rows=range(4), **words)
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "out/step0").eval()
    total, n = 0.0, 0
    for row in range(4):
        for document in set(found.documents[row]) - {-1}:
            at = found.documents[row] == document
            ids, targets = (torch.from_numpy(a[row, at])[None] for a in (found.input_ids, found.targets))
            if (targets != IGNORED).any():
                logits = model(input_ids=ids).logits[0]
                total += F.cross_entropy(logits, targets[0], ignore_index=IGNORED, reduction="sum").item()
                n += int((targets != IGNORED).sum())
    assert n == metrics["target_tokens"][0] and metrics["loss"][0] == pytest.approx(total / n, rel=1e-5)


def test_a_tokenizer_without_a_mask_is_one_line(study, bert, tmp_path):
    other = {name: study[name] for name in ("tokenizer", "order", "stores")}
    with pytest.raises(InputError, match=r"has no <\|mask\|>, which a masked model needs\. Set tokenizer\.mask"):
        run(bert | other, tmp_path)


def test_the_plan_counts_its_parameters():
    model = {"kind": "bert", **TINY}
    assert parameter_count(model, VOCABULARY)[0] == build(bert_config(TINY, VOCABULARY, EOT), 0).num_parameters()


def test_the_benchmark_trains_on_all_tokens_of_its_documents(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    bench = __import__("masking")
    shape = bench.SHAPES["tiny"]
    ids, positions, documents = bench.rows_of(shape, 3)
    assert ids.ravel().tolist() == np.concatenate(bench.documents(shape, 3)).tolist()
    assert ((positions == 0) == (np.diff(documents, axis=-1, prepend=-1) != 0)).all()
    if importlib.util.find_spec("accelerate"):  # of `make peers`; in processes of their own, since each makes a group
        pairs = [bench.apart(side, argparse.Namespace(shape="tiny", threads=1), 2) for side in bench.SAME]
        assert [row["loss"] for row in pairs[0]] == pytest.approx([row["loss"] for row in pairs[1]], abs=2e-3)
    found = bench.measure(bench.OURS, "tiny", 3)
    assert [row["tokens"] for row in found] == [shape["rows"] * shape["length"]] * 3
    assert all(0 < row["loss"] < 2 * np.log(shape["vocabulary"]) for row in found)
