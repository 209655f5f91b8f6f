"""The causal models, Qwen2 and Llama, which read packed documents (:mod:`lorebridge.train.packed`)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedModel
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM
from transformers.models.qwen2.configuration_qwen2 import Qwen2Config
from transformers.models.qwen2.modeling_qwen2 import Qwen2ForCausalLM

from lorebridge.errors import InputError
from lorebridge.tokens.store import Store
from lorebridge.train import packed
from lorebridge.train.loss import chunked_cross_entropy, positions_at_once
from lorebridge.work import read_json

WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
"""Beside weights in several files."""
# Tokens of a store that are looked at together.
TOKENS_AT_ONCE = 1 << 24
C = TypeVar("C", Qwen2Config, LlamaConfig)


def qwen2_config(model: Mapping[str, Any], n_tokens: int, eot: int) -> Qwen2Config:
    """Return the Qwen2 configuration of a study.

    Args:
        model: keywords of :class:`transformers.Qwen2Config` by their names there; ``rope_theta`` may stand at the top
            level. ``vocab_size`` may be None (then it is `n_tokens`) or larger than that (padding rows, as the
            released Qwen2.5 has). ``scaled_residuals``: see :func:`build`.
        n_tokens: size of the tokenizer's vocabulary.
        eot: id of ``<|endoftext|>``.

    Raises:
        InputError: an unknown key, a vocabulary smaller than the tokenizer's, or sizes that do not divide.
    """
    return _causal(Qwen2Config, "Qwen2", model, n_tokens, eot)


def llama_config(model: Mapping[str, Any], n_tokens: int, eot: int) -> LlamaConfig:
    """Return the Llama configuration of a study: as Qwen2's, but for the biases of queries, keys and values.

    TinyLlama (Zhang et al. 2024, "TinyLlama: An Open-Source Small Language Model", section 2.2) is of it, with untied
    embeddings, ``rope_theta`` 10,000 and ``rms_norm_eps`` 1e-5.

    Args:
        model: see :func:`qwen2_config`.
        n_tokens: size of the tokenizer's vocabulary.
        eot: id of ``<|endoftext|>``.

    Raises:
        InputError: an unknown key, a vocabulary smaller than the tokenizer's, or sizes that do not divide.
    """
    return _causal(LlamaConfig, "Llama", model, n_tokens, eot)


def _causal(of: type[C], name: str, model: Mapping[str, Any], n_tokens: int, eot: int) -> C:
    keywords = dict(model)
    scaled = keywords.pop("scaled_residuals", False)
    rope_theta = keywords.pop("rope_theta", None)
    if rope_theta is not None:
        keywords["rope_parameters"] = {"rope_type": "default", "rope_theta": float(rope_theta)}
    config = of(
        **packed.keywords(keywords, of, name, n_tokens)
        | {"bos_token_id": eot, "eos_token_id": eot}
        | {"dtype": "float32", "attn_implementation": "sdpa"}
    )
    packed.check_divides(config, "hidden_size", "num_attention_heads")
    packed.check_divides(config, "num_attention_heads", "num_key_value_heads")
    if scaled:
        config.scaled_residuals = True
    return config


def build(config: Qwen2Config | LlamaConfig, seed: int) -> Qwen2ForCausalLM | LlamaForCausalLM:
    """Return a float32 model whose initial weights depend on `config` and `seed` alone.

    With ``scaled_residuals`` the matrices that write to the residual stream begin divided by the square root of how
    many there are, two a layer (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section
    2.3): what is read then outweighs what the first layers make of it, and a small model learns to copy sooner.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config) if isinstance(config, LlamaConfig) else Qwen2ForCausalLM(config)
        if getattr(config, "scaled_residuals", False):
            for layer in model.model.layers:
                for matrix in (layer.self_attn.o_proj, layer.mlp.down_proj):
                    matrix.weight /= math.sqrt(2 * config.num_hidden_layers)
        return model


def weight_files(checkpoint: Path) -> list[Path]:
    """Return the files of a checkpoint's weights: one, or those that its index names."""
    index = read_json(checkpoint / INDEX)
    if (checkpoint / WEIGHTS).is_file() or not index:
        return [checkpoint / WEIGHTS]
    return [checkpoint / name for name in sorted(set(index["weight_map"].values()))]


def load_weights(model: PreTrainedModel, checkpoint: Path) -> None:
    """Put the weights of a checkpoint folder into `model`, in the model's own precision.

    Raises:
        InputError: the folder holds no weights, or those of another architecture.
    """
    mend = "Make the base run again, or take the model's sizes from it."
    try:
        theirs = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
        weights = {name: tensor for path in weight_files(checkpoint) for name, tensor in load_file(path).items()}
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(checkpoint, f"not a readable checkpoint ({error})", mend) from error
    ours = model.config.to_dict()
    for key in ("rope_parameters", "rms_norm_eps", "num_attention_heads", "num_key_value_heads"):
        if key == "rope_parameters" and key not in theirs and "rope_theta" in theirs:
            theirs[key] = {"rope_type": "default", "rope_theta": theirs["rope_theta"]}  # as before transformers 5
        if theirs.get(key) != ours[key]:
            raise InputError(f"{checkpoint}/config.json, {key}", f"{theirs.get(key)}, but here {ours[key]}", mend)
    wanted = model.state_dict()
    if model.config.tie_word_embeddings:
        del wanted["lm_head.weight"]
    shapes = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    for name, shape in {name: tuple(tensor.shape) for name, tensor in weights.items()}.items() ^ shapes.items():
        raise InputError(f"{checkpoint}, {name}", f"shape {shape} is on one side only", mend)
    model.load_state_dict(weights, strict=not model.config.tie_word_embeddings)


def place_unseen(model: PreTrainedModel, stores: Iterable[Path]) -> int:
    """Put the embedding of each token that some text never holds at the mean of those that it holds.

    What a tokenizer has for another language a model has not learned to tell apart: its first weights are noise there,
    moved away from all text alike. From the mean (Hewitt 2021, "Initializing New Word Embeddings for Pretrained
    Language Models", which transformers follows for tokens that are added) such a token goes where its contexts move
    it.

    Args:
        model: what has read the text. Untied output embeddings are placed as the input's are.
        stores: token stores of the text.

    Returns:
        How many tokens the text never holds; padding rows of the vocabulary are among them.
    """
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    matrices = {id(weight): weight for layer in layers if isinstance(weight := layer.weight, torch.Tensor)}
    inputs = next(iter(matrices.values()))
    seen = torch.zeros(len(inputs), dtype=torch.bool)
    seen[model.config.eos_token_id] = True  # it stands before every document
    for path in stores:
        tokens = Store.open(path).tokens
        for begin in range(0, len(tokens), TOKENS_AT_ONCE):
            seen[torch.from_numpy(np.unique(tokens[begin : begin + TOKENS_AT_ONCE]).astype(np.int64))] = True
    with torch.no_grad():
        for weight in matrices.values():
            weight[~seen] = weight[seen].mean(0)
    return int((~seen).sum())


class PackedLanguageModel(packed.PackedModel):
    """A causal language model whose forward gives the summed loss of packed rows."""

    model: Qwen2ForCausalLM | LlamaForCausalLM
    # A mapping goes to the layers as it is; None would have transformers make a mask.
    masks: ClassVar[Mapping[str, Any]] = {"attention_mask": {"full_attention": None}}

    def forward(
        self, input_ids: torch.Tensor, targets: torch.Tensor, positions: torch.Tensor, documents: torch.Tensor
    ) -> torch.Tensor:
        """Return the sum of the losses, see :meth:`lorebridge.train.packed.PackedModel.forward`."""
        hidden = self.hidden(input_ids, positions, documents).flatten(0, 1)
        weight = self.model.lm_head.weight
        chunk = positions_at_once(len(hidden), len(weight), hidden.device.type)
        return chunked_cross_entropy(hidden, weight, targets.flatten(), chunk)


class PackedLlama(PackedLanguageModel):
    """The same of Llama, whose trunk makes no mask for attention that transformers does not know."""

    masks: ClassVar[Mapping[str, Any]] = {}
