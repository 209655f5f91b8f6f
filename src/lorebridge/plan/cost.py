"""What the training and the asking of a study cost: parameters, FLOP, GPU-hours, disk."""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorebridge import config as configuration
from lorebridge.plan.study import Model, Study

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


def _llama(model: Mapping[str, Any], vocab_size: int) -> tuple[int, int]:
    """As Qwen2, which alone has biases: on queries, keys and values."""
    hidden = model["hidden_size"]
    kv = hidden // model["num_attention_heads"] * model["num_key_value_heads"]
    parameters, matrices = _qwen2(model, vocab_size)
    return parameters - model["num_hidden_layers"] * (hidden + 2 * kv), matrices


def _bert(model: Mapping[str, Any], vocab_size: int) -> tuple[int, int]:
    """As above; the head is reckoned at every token, though it is read at one of seven."""
    hidden, layers, ff = model["hidden_size"], model["num_hidden_layers"], model["intermediate_size"]
    matrices = layers * (4 * hidden * hidden + 2 * hidden * ff) + hidden * hidden
    # Of a layer: four projections, two norms, the two matrices of the FFN. Then the head's transform, two norms of two.
    biases_and_norms = layers * (4 * hidden + 4 * hidden + ff + hidden) + hidden + 4 * hidden
    head = vocab_size * hidden
    others = (model["max_position_embeddings"] + 1) * hidden + vocab_size
    return matrices + biases_and_norms + head + others, matrices + head


_PARAMETERS = {"qwen2": _qwen2, "llama": _llama, "bert": _bert}


def flops_per_token(model: Mapping[str, Any], sequence_length: int, vocab_size: int) -> float:
    """Return the training FLOP of a token: 6 x the parameters in matrix products + attention.

    Attention is counted causally, 6 x layers x hidden x sequence length (half of PaLM's appendix B); of a masked model
    whole.
    """
    attention = (
        (12 if model.get("kind") == "bert" else 6) * model["num_hidden_layers"] * model["hidden_size"] * sequence_length
    )
    return 6.0 * parameter_count(model, vocab_size)[1] + attention


def _sizes(study: Study, origin: Model) -> tuple[int, float]:
    """Return the parameters of what goes back to a model, and the training FLOP of one of its tokens.

    Of a given model no more is known than how many parameters it has: 6 x these, attention left out.
    """
    c = study.config
    if origin.given is not None:
        said = origin.given
        parameters = said.get("parameters") or _in_folder(configuration.local_path(c, said["path"]))
        return parameters, 6.0 * parameters
    vocab = c["model"]["vocab_size"] or c["tokenizer"].get("vocab_size", QWEN_ROWS)
    return parameter_count(c["model"], vocab)[0], flops_per_token(c["model"], c["training"]["sequence_length"], vocab)


def _in_folder(folder: Path) -> int:
    """Return how many parameters a model folder holds, by the headers of its safetensors."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        total += sum(math.prod(said["shape"]) for name, said in header.items() if name != "__metadata__")
    return total


def _depth(study: Study, model: Model) -> int:
    """Return how many models that are trained come before a model."""
    start = None if model.start is None else study.model(model.start)
    return 0 if start is None or start.given is not None else 1 + _depth(study, start)


class Cost:
    """What the training of one study costs, by its estimate of the hardware.

    Attributes:
        models: what is trained, in order.
        totals: ``tokens, parameters, flops, gpu_hours, checkpoints, disk_bytes, resume_bytes`` of all of it;
            parameters are those of the largest model; disk is that of every checkpoint's weights and, until a run is
            done, of two resume states.
        asking: model -> ``tokens, flops, gpu_hours, disk_bytes`` of what it is asked, where the study reckons that: 2
            FLOP a token and parameter in matrix products.
    """

    def __init__(self, study: Study) -> None:
        """Reckon; nothing is read from disk but the headers of given models that are tuned."""
        c = study.config
        self._compute = c["compute"]
        self.models = study.trained
        speed = c["compute"]["estimate"]["peak_flops"] * c["compute"]["estimate"]["mfu"]
        self.asking: dict[str, dict[str, float]] = {
            said.model: {
                "tokens": said.tokens,
                "flops": 2 * said.tokens * said.parameters,
                "gpu_hours": 2 * said.tokens * said.parameters / speed / 3600,
                "disk_bytes": said.bytes,
            }
            for said in study.readings
        }
        self._depth = {model.name: _depth(study, model) for model in self.models}
        if not self.models:
            # What is given costs no training.
            self.totals: dict[str, float] = dict.fromkeys(TOTALS, 0)
            return
        sizes = {model.name: _sizes(study, study.origin(model)) for model in self.models}
        self._flops = {model.name: model.tokens * sizes[model.name][1] for model in self.models}
        tokens, flops = sum(model.tokens for model in self.models), sum(self._flops.values())
        width = 2 if c["training"]["checkpoint_dtype"] == "bfloat16" else 4
        # Step 0 of a model that starts from another is a hard link to it.
        kept = {model.name: len(model.checkpoints) - (model.start is not None) for model in self.models}
        # two slots of float32 weights and two moments
        resume = sum(2 * 12 * parameters for parameters, _ in sizes.values())
        self.totals = {
            "tokens": tokens,
            "parameters": max(parameters for parameters, _ in sizes.values()),
            "flops": flops,
            "gpu_hours": flops / speed / 3600,
            "checkpoints": sum(kept.values()),
            "disk_bytes": sum(kept[name] * parameters * width for name, (parameters, _) in sizes.items()) + resume,
            "resume_bytes": resume,
        }

    def hours(self, model: Model) -> float:
        """Return the estimated GPU-hours of a model."""
        flops = self.totals["flops"]
        return self.totals["gpu_hours"] * self._flops[model.name] / flops if flops else math.nan

    def wall_hours(self, gpus: int) -> float:
        """Return the estimated hours until all are trained on so many GPUs, the longest runs first.

        A run takes the GPUs that the configuration gives it, and a model that starts from another waits for it.
        """
        size = max(1, self._compute["gpus"] * self._compute["nodes"])
        slots = [0.0] * max(1, gpus // size)
        ready: dict[str, float] = {}
        for model in sorted(self.models, key=lambda model: (self._depth[model.name], -model.tokens)):
            begin = max(heapq.heappop(slots), ready.get(model.start or "", 0.0))
            ready[model.name] = begin + self.hours(model) / min(size, max(gpus, 1))
            heapq.heappush(slots, ready[model.name])
        return max(ready.values(), default=0.0)
