"""The masked model: BERT from a configuration, attention over packed documents, and its loss.

With isolated packing a token attends to all of its own document and to nothing else, and positions restart in each, so
that the logits of a document do not depend on what it was packed with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForMaskedLM

from lorebridge.errors import InputError
from lorebridge.tokens.reader import IGNORED
from lorebridge.train.attention import PACKED, document_bounds
from lorebridge.train.host import sent
from lorebridge.train.loss import chunked_cross_entropy, positions_at_once


def bert_config(model: Mapping[str, Any], n_tokens: int, eot: int) -> BertConfig:
    """Return the BERT configuration of a study.

    There is no dropout, because a resume state holds no generator; one kind of segment, because there are no pairs.

    Args:
        model: keywords of :class:`transformers.BertConfig` by their names there. ``vocab_size`` may be None (then it is
            `n_tokens`) or larger than that.
        n_tokens: size of the tokenizer's vocabulary.
        eot: id of ``<|endoftext|>``, which opens every document.

    Raises:
        InputError: an unknown key, a vocabulary smaller than the tokenizer's, or heads that do not divide the width.
    """
    keywords = dict(model)
    known = set(BertConfig.__dataclass_fields__)
    if unknown := sorted(set(keywords) - known):
        raise InputError(f"model.{unknown[0]}", "not a key of a BERT configuration", f"Known: {sorted(known)}")
    vocabulary = keywords.pop("vocab_size", None) or n_tokens
    if vocabulary < n_tokens:
        raise InputError(
            "model.vocab_size", f"{vocabulary} is less than the tokenizer's {n_tokens}", "Raise it or leave it out."
        )
    if keywords["hidden_size"] % keywords["num_attention_heads"]:
        raise InputError(
            "model.hidden_size",
            f"{keywords['hidden_size']} is not a multiple of num_attention_heads",
            "Change one of the two.",
        )
    return BertConfig(
        **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "type_vocab_size": 1}
        | keywords
        # No padding id: that is <|endoftext|>, which is read, and the row of a padding id would never be learned.
        | {"vocab_size": vocabulary, "pad_token_id": None, "bos_token_id": eot, "eos_token_id": eot}
        | {"dtype": "float32", "attn_implementation": "sdpa"}
    )


def build(config: BertConfig, seed: int) -> BertForMaskedLM:
    """Return a float32 model whose initial weights depend on `config` and `seed` alone."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        return BertForMaskedLM(config)


class PackedMaskedModel(nn.Module):
    """A masked language model whose forward gives the summed loss of packed rows."""

    def __init__(self, model: BertForMaskedLM) -> None:
        """Wrap `model`, which from now on attends within documents."""
        super().__init__()
        self.model = model
        model.set_attn_implementation(PACKED)

    def compile_trunk(self) -> None:
        """Compile all but the loss: once for each shape of a batch, however many documents are in it."""
        self.model.bert.compile(dynamic=False, fullgraph=True)

    def hidden(self, input_ids: torch.Tensor, positions: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
        """Return the last hidden states [rows, T, H] of inputs [rows, T] with their positions and documents.

        `documents` may lie on the CPU: how many there are is then known without waiting for the device.
        """
        bounds = sent(document_bounds(documents), input_ids.device)
        torch._dynamo.maybe_mark_dynamic(bounds, 0)
        return self.model.bert(
            input_ids=input_ids, position_ids=positions, use_cache=False, cu_seq_lens_q=bounds
        ).last_hidden_state

    def forward(
        self, input_ids: torch.Tensor, targets: torch.Tensor, positions: torch.Tensor, documents: torch.Tensor
    ) -> torch.Tensor:
        """Return the sum of the losses (nats) of the targets [rows, T] that are not -100.

        `targets` and `documents` may lie on the CPU: then the host waits for the device nowhere in a pass. The head
        sees the targets alone, one token of seven.
        """
        hidden = self.hidden(input_ids, positions, documents).flatten(0, 1)
        flat = targets.flatten()
        asked = (flat != IGNORED).nonzero().squeeze(1)
        head = self.model.cls.predictions
        states = head.transform(hidden.index_select(0, sent(asked, hidden.device)))
        weight = head.decoder.weight
        # By all positions, not by the targets: how many these are changes from batch to batch.
        chunk = positions_at_once(len(hidden), len(weight), hidden.device.type)
        return chunked_cross_entropy(states, weight, flat[asked], chunk, bias=head.decoder.bias)
