"""What the training of a study costs: parameters, FLOP, GPU-hours, disk."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from typing import Any

from lorebridge.plan.study import Asking, Model, Study

TOTALS = ("tokens", "parameters", "flops", "gpu_hours", "checkpoints", "disk_bytes", "resume_bytes")
QWEN_ROWS = 151936
"""Rows of Qwen2.5's embedding, padded; a trained tokenizer says its own size."""


def parameter_count(model: Mapping[str, Any], vocab_size: int) -> tuple[int, int]:
    """Return (all, those in matrix products) of a model's parameters.

    The second leaves out biases, norms and an untied input embedding, and is what FLOP counts multiply.

    Args:
        model: the section ``model`` of a configuration.
        vocab_size: rows of the embedding.
    """
    return _PARAMETERS[model.get("kind", "qwen2")](model, vocab_size)


def _qwen2(model: Mapping[str, Any], vocab_size: int) -> tuple[int, int]:
    hidden, layers, ff = model["hidden_size"], model["num_hidden_layers"], model["intermediate_size"]
    kv = hidden // model["num_attention_heads"] * model["num_key_value_heads"]
    matrices = layers * (2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * ff)
    biases_and_norms = layers * (hidden + 2 * kv + 2 * hidden) + hidden
    head = vocab_size * hidden
    embeddings = head if model["tie_word_embeddings"] else 2 * head
    return matrices + biases_and_norms + embeddings, matrices + head


def _bert(model: Mapping[str, Any], vocab_size: int) -> tuple[int, int]:
    """As above; the head is reckoned at every token, though it is read at one of seven."""
    hidden, layers, ff = model["hidden_size"], model["num_hidden_layers"], model["intermediate_size"]
    matrices = layers * (4 * hidden * hidden + 2 * hidden * ff) + hidden * hidden
    # Of a layer: four projections, two norms, the two matrices of the FFN. Then the head's transform, two norms of two.
    biases_and_norms = layers * (4 * hidden + 4 * hidden + ff + hidden) + hidden + 4 * hidden
    head = vocab_size * hidden
    others = (model["max_position_embeddings"] + 1) * hidden + vocab_size
    return matrices + biases_and_norms + head + others, matrices + head


_PARAMETERS = {"qwen2": _qwen2, "bert": _bert}


def flops_per_token(model: Mapping[str, Any], sequence_length: int, vocab_size: int) -> float:
    """Return the training FLOP of a token: 6 x the parameters in matrix products + attention.

    Attention is counted causally, 6 x layers x hidden x sequence length (half of PaLM's appendix B); of a masked model
    whole.
    """
    attention = (
        (12 if model.get("kind") == "bert" else 6) * model["num_hidden_layers"] * model["hidden_size"] * sequence_length
    )
    return 6.0 * parameter_count(model, vocab_size)[1] + attention


class Cost:
    """What the training of one study costs, by its estimate of the hardware.

    Attributes:
        models: what is trained, in order.
        totals: ``tokens, parameters, flops, gpu_hours, checkpoints, disk_bytes, resume_bytes`` of all of it; disk is
            that of every checkpoint's weights and, until a run is done, of two resume states.
    """

    def __init__(self, study: Study) -> None:
        """Reckon; nothing is read from disk."""
        c = study.config
        self._compute = c["compute"]
        self.models = study.trained
        if not self.models:
            # What is given costs no training.
            self.totals: dict[str, float] = dict.fromkeys(TOTALS, 0)
            return
        vocab = c["model"]["vocab_size"] or c["tokenizer"].get("vocab_size", QWEN_ROWS)
        parameters, _ = parameter_count(c["model"], vocab)
        flops = flops_per_token(c["model"], c["training"]["sequence_length"], vocab)
        tokens = sum(model.tokens for model in self.models)
        estimate = c["compute"]["estimate"]
        width = 2 if c["training"]["checkpoint_dtype"] == "bfloat16" else 4
        # Step 0 of a model that starts from another is a hard link to it.
        checkpoints = sum(len(model.checkpoints) - (model.start is not None) for model in self.models)
        # two slots of float32 weights and two moments
        resume = len(self.models) * 2 * 12 * parameters
        self.totals = {
            "tokens": tokens,
            "parameters": parameters,
            "flops": tokens * flops,
            "gpu_hours": tokens * flops / (estimate["peak_flops"] * estimate["mfu"]) / 3600,
            "checkpoints": checkpoints,
            "disk_bytes": checkpoints * parameters * width + resume,
            "resume_bytes": resume,
        }

    def hours(self, model: Model) -> float:
        """Return the estimated GPU-hours of a model."""
        tokens = self.totals["tokens"]
        return self.totals["gpu_hours"] * model.tokens / tokens if tokens else math.nan

    def asking_hours(self, asked: Asking) -> float:
        """Return the estimated GPU-hours of asking a model: 2 FLOP a parameter and token, at the share of the peak."""
        estimate = self._compute["estimate"]
        return 2.0 * asked.parameters * asked.tokens / (estimate["peak_flops"] * estimate["mfu"]) / 3600

    def wall_hours(self, gpus: int) -> float:
        """Return the estimated hours until all are trained on so many GPUs, the longest runs first.

        A run takes the GPUs that the configuration gives it, and a model that starts from another waits for it.
        """
        size = max(1, self._compute["gpus"] * self._compute["nodes"])
        slots = [0.0] * max(1, gpus // size)
        ready: dict[str, float] = {}
        for model in sorted(self.models, key=lambda model: (model.start is not None, -model.tokens)):
            begin = max(heapq.heappop(slots), 0.0 if model.start is None else ready[model.start])
            ready[model.name] = begin + self.hours(model) / min(size, max(gpus, 1))
            heapq.heappush(slots, ready[model.name])
        return max(ready.values(), default=0.0)
