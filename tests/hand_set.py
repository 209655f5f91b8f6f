"""A masked model with weights set by hand, so that it is known which neuron carries which fact.

Attention is uniform, so that the mask sees which subject there is, and the end of the text. Of each fact one neuron
fires where its subject stands, and writes its object; others are as large, always on, and write nothing. Facts whose
subject is spelt alike in two languages have one neuron in both; others have another one in each language.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

WIDTH, LAYERS = 96, 2
CARRIES = 1
"""The layer whose neurons carry facts; neuron i carries the i-th subject."""


def give_model(folder: Path, subjects: dict[str, str], words: list[str], seed: int = 0) -> None:
    """Write a model that knows the object of each subject.

    Args:
        folder: where to.
        subjects: spelling -> object, each a word; at most 32.
        words: further words of prompts.
        seed: of the large neurons that write nothing.
    """
    objects = list(dict.fromkeys(subjects.values()))
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *subjects, *objects]
    tokens = {token: i for i, token in enumerate(dict.fromkeys(vocabulary))}
    made = Tokenizer(models.WordLevel(tokens, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=made, mask_token="[MASK]", pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    size = len(subjects) + len(objects) + 1
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=size,
        num_hidden_layers=LAYERS,
        num_attention_heads=1,
        intermediate_size=WIDTH,
        max_position_embeddings=32,
        tie_word_embeddings=False,
    )
    model = BertForMaskedLM(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.copy_(torch.ones_like(weights) if name.endswith("LayerNorm.weight") else torch.zeros_like(weights))
        for layer in model.bert.encoder.layer:
            layer.attention.self.value.weight.copy_(torch.eye(size))
            layer.attention.output.dense.weight.copy_(torch.eye(size))
            # Large neurons that are always on, a little larger or smaller from prompt to prompt.
            layer.intermediate.dense.bias.copy_(5 + torch.rand(WIDTH, generator=generator))
            layer.intermediate.dense.weight.copy_(0.02 * torch.randn(WIDTH, size, generator=generator))
        layer = model.bert.encoder.layer[CARRIES]
        model.bert.embeddings.word_embeddings.weight[tokens["[SEP]"], -1] = 1
        seen = ((size - 2) / 2) ** 0.5  # of two directions behind a LayerNorm
        for number, (subject, answer) in enumerate(subjects.items()):
            model.bert.embeddings.word_embeddings.weight[tokens[subject], number] = 1
            place = len(subjects) + objects.index(answer)
            layer.intermediate.dense.weight[number] = 0
            layer.intermediate.dense.weight[number, number] = 4
            layer.intermediate.dense.bias[number] = -2 * seen
            layer.output.dense.weight[place, number] = 4
            model.cls.predictions.decoder.weight[tokens[answer], place] = 1
        model.cls.predictions.transform.dense.weight.copy_(torch.eye(size))
    model.save_pretrained(folder)
