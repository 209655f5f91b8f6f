"""What the models that are trained have in common: how they read packed rows, and what is checked of their sizes.

Rows of a batch hold several documents. With isolated packing a token attends to tokens of its own document and to
nothing else, and positions restart in each document, so that the logits of a document do not depend on what it was
packed with.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel

from lorebridge.errors import InputError
from lorebridge.train.attention import PACKED, document_bounds, packed_attention
from lorebridge.train.host import sent

AttentionInterface.register(PACKED, packed_attention)


def keywords(model: Mapping[str, Any], of: type[PreTrainedConfig], name: str, n_tokens: int) -> dict[str, Any]:
    """Return the keywords of a configuration of transformers, with the size of the vocabulary.

    Args:
        model: keywords by their names there; ``vocab_size`` may be None (then it is `n_tokens`) or larger than that.
        of: the configuration's class.
        name: what a person calls it.
        n_tokens: size of the tokenizer's vocabulary.

    Raises:
        InputError: an unknown key, or a vocabulary smaller than the tokenizer's.
    """
    known = {field.name for field in dataclasses.fields(of)}
    if unknown := sorted(set(model) - known):
        raise InputError(f"model.{unknown[0]}", f"not a key of a {name} configuration", f"Known: {sorted(known)}")
    vocabulary = model.get("vocab_size") or n_tokens
    if vocabulary < n_tokens:
        raise InputError(
            "model.vocab_size", f"{vocabulary} is less than the tokenizer's {n_tokens}", "Raise it or leave it out."
        )
    return {**model, "vocab_size": vocabulary}


def check_divides(config: PreTrainedConfig, over: str, under: str) -> None:
    """Refuse a size that is no multiple of another.

    Raises:
        InputError: it is none.
    """
    if getattr(config, over) % getattr(config, under):
        raise InputError(
            f"model.{over}", f"{getattr(config, over)} is not a multiple of {under}", "Change one of the two."
        )


class PackedModel(nn.Module, abc.ABC):
    """A model whose forward gives the summed loss of packed rows.

    Attributes:
        masks: what the trunk is told of attention masks, where it would make one.
    """

    masks: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, model: PreTrainedModel) -> None:
        """Wrap `model`, which from now on attends within documents."""
        super().__init__()
        self.model = model
        model.set_attn_implementation(PACKED)

    def compile_trunk(self) -> None:
        """Compile all but the loss: once for each shape of a batch, however many documents are in it."""
        self.model.base_model.compile(dynamic=False, fullgraph=True)

    def hidden(self, input_ids: torch.Tensor, positions: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
        """Return the last hidden states [rows, T, H] of inputs [rows, T] with their positions and documents.

        `documents` may lie on the CPU: how many there are is then known without waiting for the device.
        """
        bounds = sent(document_bounds(documents), input_ids.device)
        torch._dynamo.maybe_mark_dynamic(bounds, 0)
        return self.model.base_model(
            input_ids=input_ids, position_ids=positions, use_cache=False, cu_seq_lens_q=bounds, **self.masks
        ).last_hidden_state

    @abc.abstractmethod
    def forward(
        self, input_ids: torch.Tensor, targets: torch.Tensor, positions: torch.Tensor, documents: torch.Tensor
    ) -> torch.Tensor:
        """Return the sum of the losses (nats) of the targets [rows, T] that are not -100.

        `targets` and `documents` may lie on the CPU: then the host waits for the device nowhere in a pass.
        """
