"""Causal language models and their tokenizers from local folders: safetensors only, and no code from the folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorebridge.errors import InputError
from lorebridge.records import file_digest

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

END_OF_TEXT = "<|endoftext|>"


def start_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id of the token that stands before each text: end-of-text, as in training and as published.

    A tokenizer that does not have that token gives its own start token, else its end token.

    Raises:
        InputError: the tokenizer has none of them.
    """
    vocabulary = tokenizer.get_vocab()
    for candidate in (vocabulary.get(END_OF_TEXT), tokenizer.bos_token_id, tokenizer.eos_token_id):
        if candidate is not None:
            return candidate
    raise InputError(
        tokenizer.name_or_path,
        f"the tokenizer has no {END_OF_TEXT}, no start and no end token",
        "Give a model folder whose tokenizer names one of them.",
    )


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Return the tokens of each text behind the start token.

    A special token spelt out in a text is plain text, as in training.
    """
    start = start_token(tokenizer)
    encoded = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False)
    return [[start, *ids] for ids in encoded["input_ids"]]


def require_model_folder(folder: Path) -> None:
    """Refuse a folder that holds no model.

    Raises:
        InputError: it has no ``config.json``.
    """
    if not (folder / "config.json").is_file():
        raise InputError(
            folder, "not a model folder (no config.json)", "Give a folder that `save_pretrained` or a run has written."
        )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a model folder.

    Raises:
        InputError: the folder has none.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise InputError(
            folder, f"no tokenizer can be loaded ({error})", "Give a Hugging Face model folder."
        ) from error


def load_model(folder: Path, dtype: torch.dtype, device: str | None) -> PreTrainedModel:
    """Return a causal language model in evaluation mode.

    Args:
        folder: a Hugging Face folder with its weights in safetensors.
        dtype: of the weights in memory.
        device: where to compute; by default the GPU where there is one.

    Raises:
        InputError: the folder holds no such model, or not all of it.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    if not any(folder.glob("*.safetensors")):
        raise InputError(
            folder,
            "no model can be loaded (no *.safetensors)",
            "Convert its weights: `save_pretrained` writes safetensors; pickled weights are never read.",
        )
    try:
        # With the loading information it returns a pair, which its annotation does not say.
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(folder, f"no model can be loaded ({error})", "Give a Hugging Face model folder.") from error
    model, loading = loaded
    if loading["missing_keys"]:
        # The library fills what is missing with random numbers and only warns.
        raise InputError(
            folder, f"its weights lack {min(loading['missing_keys'])}", "Give a causal language model, and all of it."
        )
    return model.eval().to(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def positions(model: PreTrainedModel) -> int | None:
    """Return how many tokens the model reads at most, or None where its configuration does not say."""
    return getattr(model.config, "max_position_embeddings", None)


def weights_digest(folder: Path) -> list[str]:
    """Return the sha256 of the files that make a model what it is."""
    return [file_digest(path) for path in sorted([folder / "config.json", *folder.glob("*.safetensors")])]


def set_threads(threads: int | None) -> None:
    """Let torch use so many CPU threads."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
