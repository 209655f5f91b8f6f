"""The model: Qwen2 from a configuration, attention over packed documents, and the loss.

Rows of a batch hold several documents. With isolated packing a token attends to the earlier tokens of its own
document and to nothing else, and positions restart in each document, so that the logits of a document do not depend
on what it was packed with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers.models.qwen2.configuration_qwen2 import Qwen2Config
from transformers.models.qwen2.modeling_qwen2 import Qwen2ForCausalLM

from lorebridge.errors import InputError
from lorebridge.tokens.reader import IGNORED

WEIGHTS = "model.safetensors"
# Numbers of one chunk of logits: what stays in a core's cache, and on a GPU 1 GiB in float32.
LOGITS_AT_ONCE = {"cpu": 2**20, "cuda": 2**28}
SMALLEST_CHUNK = 64  # positions; fewer make thin matrix products


def qwen2_config(model: Mapping[str, Any], n_tokens: int, eot: int) -> Qwen2Config:
    """Return the Qwen2 configuration of a study.

    Args:
        model: keywords of :class:`transformers.Qwen2Config` by their names there; ``rope_theta`` may stand at the top
            level. ``vocab_size`` may be None (then it is `n_tokens`) or larger than that (padding rows, as the
            released Qwen2.5 has).
        n_tokens: size of the tokenizer's vocabulary.
        eot: id of ``<|endoftext|>``.

    Raises:
        InputError: an unknown key, a vocabulary smaller than the tokenizer's, or sizes that do not divide.
    """
    keywords = dict(model)
    rope_theta = keywords.pop("rope_theta", None)
    if rope_theta is not None:
        keywords["rope_parameters"] = {"rope_type": "default", "rope_theta": float(rope_theta)}
    known = set(Qwen2Config.__dataclass_fields__)
    if unknown := sorted(set(keywords) - known):
        raise InputError(f"model.{unknown[0]}", "not a key of a Qwen2 configuration", f"Known: {sorted(known)}")
    vocabulary = keywords.pop("vocab_size", None) or n_tokens
    if vocabulary < n_tokens:
        raise InputError(
            "model.vocab_size", f"{vocabulary} is less than the tokenizer's {n_tokens}", "Raise it or leave it out."
        )
    config = Qwen2Config(
        **keywords
        | {"vocab_size": vocabulary, "bos_token_id": eot, "eos_token_id": eot}
        | {"dtype": "float32", "attn_implementation": "sdpa"}
    )
    for over, under in (("hidden_size", "num_attention_heads"), ("num_attention_heads", "num_key_value_heads")):
        if getattr(config, over) % getattr(config, under):
            raise InputError(
                f"model.{over}", f"{getattr(config, over)} is not a multiple of {under}", "Change one of the two."
            )
    return config


def build(config: Qwen2Config, seed: int) -> Qwen2ForCausalLM:
    """Return a float32 model whose initial weights depend on `config` and `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen2ForCausalLM(config)


def load_weights(model: Qwen2ForCausalLM, checkpoint: Path) -> None:
    """Put the weights of a checkpoint folder into `model`, in the model's own precision.

    Raises:
        InputError: the folder holds no weights, or those of another architecture.
    """
    mend = "Make the base run again, or take the model's sizes from it."
    try:
        theirs = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
        weights = load_file(checkpoint / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(checkpoint, f"not a readable checkpoint ({error})", mend) from error
    ours = model.config.to_dict()
    for key in ("rope_parameters", "rms_norm_eps", "num_attention_heads", "num_key_value_heads"):
        if theirs.get(key) != ours[key]:
            raise InputError(f"{checkpoint}/config.json, {key}", f"{theirs.get(key)}, but here {ours[key]}", mend)
    wanted = model.state_dict()
    if model.config.tie_word_embeddings:
        del wanted["lm_head.weight"]
    shapes = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    for name, shape in {name: tuple(tensor.shape) for name, tensor in weights.items()}.items() ^ shapes.items():
        raise InputError(f"{checkpoint}, {name}", f"shape {shape} is on one side only", mend)
    model.load_state_dict(weights, strict=not model.config.tie_word_embeddings)


def attention_mask(documents: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the additive mask of causal attention within documents.

    Padding (-1) counts as one more document: it is seen by no token of a document, and every row of the mask lets at
    least the diagonal through, so that no softmax runs over nothing.

    Args:
        documents: integers [rows, T], the document of each position.
        dtype: the precision of the queries that the mask is added to.

    Returns:
        [rows, 1, T, T], 0 where a query (third axis) may attend to a key (fourth axis), else minus infinity.
    """
    length = documents.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=documents.device).tril()
    allowed = (documents[:, None, :, None] == documents[:, None, None, :]) & causal
    return torch.zeros(allowed.shape, dtype=dtype, device=documents.device).masked_fill_(~allowed, -math.inf)


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Sum of cross-entropies of ``hidden @ weight.T`` against targets, a chunk of positions at a time.

    The gradient is made on the way forward, while a chunk's logits are at hand (as Liger's fused linear
    cross-entropy, arXiv 2410.10989, section 3.2): nothing the size of positions x vocabulary is ever kept, and the
    logits are computed once.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, chunk: int
    ) -> torch.Tensor:
        device = hidden.device.type
        low = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        with torch.autocast(device, enabled=False):
            rows = weight.to(low)
            total = torch.zeros((), dtype=torch.float32, device=hidden.device)
            d_hidden = torch.empty_like(hidden)
            d_weight = torch.zeros_like(weight)
            for start in range(0, len(targets), chunk):
                piece, gold = hidden[start : start + chunk].to(low), targets[start : start + chunk, None]
                logits = (piece @ rows.T).float()
                logits -= logits.amax(dim=1, keepdim=True)
                total -= logits.gather(1, gold).sum()
                scale = logits.exp_().sum(dim=1, keepdim=True)
                total += scale.log().sum()
                d_logits = logits.div_(scale)
                d_logits.scatter_add_(1, gold, torch.full_like(gold, -1, dtype=d_logits.dtype))
                d_logits = d_logits.to(low)
                d_hidden[start : start + chunk] = d_logits @ rows
                d_weight += d_logits.T @ piece
        ctx.save_for_backward(d_hidden, d_weight)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        d_hidden, d_weight = ctx.saved_tensors
        return d_hidden * grads[0], d_weight * grads[0], None, None


def chunked_cross_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, chunk: int
) -> torch.Tensor:
    """Return the sum (nats) of the cross-entropies of ``hidden @ weight.T`` against `targets`.

    Equals ``F.cross_entropy(hidden @ weight.T, targets, ignore_index=-100, reduction="sum")`` without ever holding
    the logits of more than `chunk` positions. Twice differentiable it is not.

    Args:
        hidden: [N, H] last hidden states.
        weight: [V, H] output embedding.
        targets: int64 [N]; -100 is ignored, and its position costs nothing.
        chunk: positions at a time.
    """
    counted = (targets != IGNORED).nonzero().squeeze(1)
    return _ChunkedCrossEntropy.apply(hidden.index_select(0, counted), weight, targets[counted], chunk)


class PackedLanguageModel(nn.Module):
    """A causal language model whose forward gives the summed loss of packed rows."""

    def __init__(self, model: Qwen2ForCausalLM, packing: str) -> None:
        """Wrap `model`; `packing` is ``isolated`` (documents do not see each other) or ``concatenated``."""
        super().__init__()
        self.model = model
        self.isolated = packing == "isolated"

    def hidden(self, input_ids: torch.Tensor, positions: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
        """Return the last hidden states [rows, T, H] of inputs [rows, T] with their positions and documents."""
        device = input_ids.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.model.dtype
        mask = attention_mask(documents, dtype) if self.isolated else None
        # A mapping goes to the layers as it is; None there means plain causal attention by the kernel itself.
        return self.model.model(
            input_ids=input_ids, attention_mask={"full_attention": mask}, position_ids=positions, use_cache=False
        ).last_hidden_state

    def forward(
        self, input_ids: torch.Tensor, targets: torch.Tensor, positions: torch.Tensor, documents: torch.Tensor
    ) -> torch.Tensor:
        """Return the sum of the losses (nats) of the targets [rows, T] that are not -100."""
        hidden = self.hidden(input_ids, positions, documents).flatten(0, 1)
        weight = self.model.lm_head.weight
        chunk = max(SMALLEST_CHUNK, LOGITS_AT_ONCE[hidden.device.type] // len(weight))
        return chunked_cross_entropy(hidden, weight, targets.flatten(), chunk)
