"""The architectures that can be trained, and what each is asked in a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from lorebridge.errors import InputError
from lorebridge.tokens.reader import Batch
from lorebridge.tokens.tokenizer import MASK, end_of_text_id, n_ids
from lorebridge.train.masking import masked
from lorebridge.train.packed import PackedModel
from lorebridge.work import read_json

Asked = Callable[[Batch, int, Sequence[int]], Batch]
"""Turns some rows of the batch of a step, which are told, into what a model reads and is asked."""


def as_read(batch: Batch, step: int, rows: Sequence[int]) -> Batch:
    """Return the batch: a causal model reads what stands there, and is asked what follows."""
    return batch


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What is trained.

    Attributes:
        configure: the configuration, from the section ``model`` without its ``kind``, the tokenizer's size, and the id
            of ``<|endoftext|>``.
        build: a float32 model, from that and the seed of its weights.
        network: wraps the model; its forward gives the summed loss of packed rows.
        masked: whether it is asked masked tokens; else the token that follows.
    """

    configure: Callable[[Mapping[str, Any], int, int], PreTrainedConfig]
    build: Callable[[Any, int], PreTrainedModel]
    network: Callable[[Any], PackedModel]
    masked: bool

    def asked(self, bpe: Tokenizer, seed: int, folder: Path) -> Asked:
        """Return what turns a batch into what the model is asked.

        Args:
            bpe: the tokenizer.
            seed: of the run.
            folder: the tokenizer's.

        Raises:
            InputError: the model needs a mask, and the tokenizer has none.
        """
        if not self.masked:
            return as_read
        mask = bpe.token_to_id(MASK)
        if mask is None:
            raise InputError(folder, f"has no {MASK}, which a masked model needs", "Set tokenizer.mask to true.")
        words = {"mask": mask, "end_of_text": end_of_text_id(bpe), "vocabulary": n_ids(bpe)}
        return lambda batch, step, rows: masked(batch, seed=seed, step=step, rows=rows, **words)


def _qwen2() -> Architecture:
    from lorebridge.train import model as qwen2

    return Architecture(qwen2.qwen2_config, qwen2.build, qwen2.PackedLanguageModel, masked=False)


def _llama() -> Architecture:
    from lorebridge.train import model as llama

    return Architecture(llama.llama_config, llama.build, llama.PackedLlama, masked=False)


def _bert() -> Architecture:
    from lorebridge.train import masked as bert

    return Architecture(bert.bert_config, bert.build, bert.PackedMaskedModel, masked=True)


ARCHITECTURES = {"qwen2": _qwen2, "llama": _llama, "bert": _bert}
"""By ``model.kind``; what has none is the first. Only the one that is trained is imported."""


def architecture(model: Mapping[str, Any]) -> tuple[Architecture, dict[str, Any]]:
    """Return the architecture that a section ``model`` names, and the rest of the section."""
    rest = dict(model)
    return ARCHITECTURES[rest.pop("kind", next(iter(ARCHITECTURES)))](), rest


def of_checkpoint(folder: Path, n_tokens: int) -> tuple[Architecture, PreTrainedConfig]:
    """Return the architecture of a model folder and its configuration, to train it on as it is.

    Args:
        folder: of a model, trained here or given.
        n_tokens: size of its tokenizer's vocabulary.

    Raises:
        InputError: no model, one that cannot be trained here or is masked, attention over a window alone, or a
            vocabulary smaller than the tokenizer's.
    """
    where = folder / "config.json"
    kind = (read_json(where) or {}).get("model_type")
    if kind not in ARCHITECTURES:
        what = f"is of the type {kind}" if kind else "cannot be read"
        raise InputError(where, what, f"Give a model of the type {', '.join(ARCHITECTURES)}.")
    found = ARCHITECTURES[kind]()
    if found.masked:
        raise InputError(where, f"is of the type {kind}, a masked model, which writes no answer", "Give a causal one.")
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if set(getattr(config, "layer_types", None) or ["full_attention"]) != {"full_attention"}:
        raise InputError(where, "has layers that attend to a window alone", "Give a model that attends to all before.")
    if config.vocab_size < n_tokens:
        what = f"has {config.vocab_size} tokens, and its tokenizer {n_tokens}"
        raise InputError(where, what, "Give the model with its own tokenizer.")
    config.dtype = "float32"
    config._attn_implementation = "sdpa"
    return found, config
