"""What the engine switches on and off by the machine that it finds."""

from types import SimpleNamespace

import pytest
import torch

from lorebridge.errors import InputError
from lorebridge.train.engine import initialize, process_group
from lorebridge.train.model import PackedLanguageModel, build, qwen2_config

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
ALONE = {"clip": 1.0, "micro_batch": 2, "accumulation": 1}


def test_bfloat16_on_a_gpu_without_it_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    network = SimpleNamespace(model=SimpleNamespace(device=torch.device("cuda", 0)))
    with pytest.raises(InputError, match="precision: Tesla V100 has no bfloat16"):
        initialize(network, None, precision="bfloat16", zero_stage=0, **ALONE)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_alone_on_a_cpu_nothing_is_compiled_or_reduced_and_all_is_deterministic(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(PackedLanguageModel, "compile_trunk", lambda self: pytest.fail("compiled on a CPU"))
    model = build(qwen2_config(TINY, 50, 0), seed=0)
    with process_group() as processes:
        assert (processes.world, processes.device.type) == (1, "cpu")
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        adamw = torch.optim.AdamW(model.parameters(), fused=True)
        engine = initialize(PackedLanguageModel(model), adamw, precision="bfloat16", zero_stage=0, **ALONE)
        assert not engine.enable_backward_allreduce
        ids = torch.randint(50, (2, 16))
        positions = torch.arange(16).expand(2, -1)
        loss = engine(ids, ids, positions, torch.zeros(2, 16, dtype=torch.int32))
        engine.backward(loss, scale_wrt_gas=False)
        assert all(p.dtype == torch.float32 and p.grad.dtype == torch.float32 for p in model.parameters())
        before = model.lm_head.weight.detach().clone()
        engine.step()
        assert not torch.equal(before, model.lm_head.weight)
