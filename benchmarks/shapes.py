"""The models that benchmarks train and ask: Qwen2.5-0.5B, and smaller ones of its kind for a CPU."""

from __future__ import annotations

from typing import Any

SMALL: dict[str, Any] = {
    "hidden_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "intermediate_size": 2752,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
    "max_position_embeddings": 512,
    "vocab_size": 151_936,
}
QWEN = SMALL | {
    "hidden_size": 896,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "intermediate_size": 4864,
    "max_position_embeddings": 2048,
}
TINY = SMALL | {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 128,
    "vocab_size": 1000,
}
MODELS = {"0.5b": QWEN, "small": SMALL, "tiny": TINY}


def flops_per_token(model: dict[str, Any], length: int) -> float:
    """Return the training FLOP of a token: 6 x the parameters in matrix products + causal attention.

    As ``lorebridge plan`` counts it (a test holds the two together), but from the model itself, so that nothing of the
    plan's needs be installed.
    """
    import torch

    from lorebridge.train.model import qwen2_config

    with torch.device("meta"):
        from transformers.models.qwen2.modeling_qwen2 import Qwen2ForCausalLM

        parameters = list(Qwen2ForCausalLM(qwen2_config(model, model["vocab_size"], 0)).named_parameters())
    # The input embedding is looked up; tied, it is the output's matrix as well.
    products = sum(p.numel() for name, p in parameters if p.ndim > 1)
    if not model["tie_word_embeddings"]:
        products -= model["vocab_size"] * model["hidden_size"]
    return 6.0 * products + 6 * model["num_hidden_layers"] * model["hidden_size"] * length
