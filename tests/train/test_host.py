"""The host never waits for the device within a batch, and reads the next batch while the device works."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lorebridge.tokens.reader import IGNORED, Batch
from lorebridge.train import attention, loss
from lorebridge.train.architecture import as_read
from lorebridge.train.engine import process_group
from lorebridge.train.loop import Trainer
from lorebridge.train.model import PackedLanguageModel, build, qwen2_config
from lorebridge.train.schedule import Schedule

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
    "max_position_embeddings": 64,
}


def test_a_pass_asks_nothing_of_the_device(monkeypatch):
    """Tensors on ``meta`` have no values: whatever had to know one would fail, as it would have to wait on a GPU."""
    monkeypatch.setattr(attention, "runs_flash", lambda value: True)
    monkeypatch.setattr(attention, "varlen_attn", lambda query, key, value, *_, **__: query + key.sum() + value.sum())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)  # it knows no meta, nor does the next
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setitem(loss.LOGITS_AT_ONCE, "meta", 2**10)
    network = PackedLanguageModel(build(qwen2_config(TINY, 50, 0), seed=0)).to("meta")
    ids = torch.zeros(2, 16, dtype=torch.int64, device="meta")
    positions = torch.zeros(2, 16, dtype=torch.int64, device="meta")
    targets = torch.randint(50, (2, 16))
    targets[1, 9:] = IGNORED
    documents = torch.tensor([[0] * 7 + [1] * 9, [0] * 9 + [-1] * 7], dtype=torch.int32)
    network(ids, targets, positions, documents).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    for on_device in ("targets", "documents"):
        there = {"targets": targets, "documents": documents}
        there[on_device] = there[on_device].to("meta")
        with pytest.raises((NotImplementedError, RuntimeError)):
            network(ids, there["targets"], positions, there["documents"])


def test_each_batch_is_read_once_and_before_the_host_waits(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    seen = []

    def batch(step, rows):
        seen.append(step)
        ids = np.full((4, 16), step + 1)[rows]
        where = np.tile(np.arange(16), (len(ids), 1))
        return Batch(ids, ids, where, np.zeros_like(ids, dtype=np.int32))

    reader = SimpleNamespace(rows_per_step=4, sequence_length=16, steps=3, batch=batch)
    with process_group() as processes:
        network = PackedLanguageModel(build(qwen2_config(TINY, 50, 0), seed=0))
        optimizer = {"betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.0, "clip": 1.0}
        schedule = Schedule(1e-3, schedule="constant")
        trainer = Trainer(network, reader, as_read, processes, schedule, optimizer, "float32", 0, 2, None, {})
        waited = []
        totals = type(processes).totals

        def counted(self, values):
            waited.append(list(seen))
            return totals(self, values)

        monkeypatch.setattr(type(processes), "totals", counted)
        for _ in range(3):
            trainer.update()
    # A step waits twice: for the number of targets (which the host has) and for the loss.
    assert waited == [[0], [0, 1], [0, 1], [0, 1, 2], [0, 1, 2], [0, 1, 2]]
    assert seen == [0, 1, 2]
