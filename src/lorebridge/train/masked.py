"""The masked model: BERT from a configuration, which reads packed documents (:mod:`lorebridge.train.packed`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForMaskedLM

from lorebridge.tokens.reader import IGNORED
from lorebridge.train import packed
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
    config = BertConfig(
        **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "type_vocab_size": 1}
        | packed.keywords(model, BertConfig, "BERT", n_tokens)
        # No padding id: that is <|endoftext|>, which is read, and the row of a padding id would never be learned.
        | {"pad_token_id": None, "bos_token_id": eot, "eos_token_id": eot}
        | {"dtype": "float32", "attn_implementation": "sdpa"}
    )
    packed.check_divides(config, "hidden_size", "num_attention_heads")
    return config


def build(config: BertConfig, seed: int) -> BertForMaskedLM:
    """Return a float32 model whose initial weights depend on `config` and `seed` alone."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        return BertForMaskedLM(config)


class PackedMaskedModel(packed.PackedModel):
    """A masked language model whose forward gives the summed loss of packed rows."""

    model: BertForMaskedLM

    def forward(
        self, input_ids: torch.Tensor, targets: torch.Tensor, positions: torch.Tensor, documents: torch.Tensor
    ) -> torch.Tensor:
        """Return the sum of the losses, see :meth:`lorebridge.train.packed.PackedModel.forward`.

        The head sees the targets alone, one token of seven.
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
