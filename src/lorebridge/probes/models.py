"""Language models and their tokenizers from local folders: safetensors only, and no code from the folder."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorebridge.errors import InputError, said
from lorebridge.records import Digest, file_digest

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger("lorebridge.probes")

END_OF_TEXT = "<|endoftext|>"
# What rounding moves a logit of size 1 by at most, in float32. What a later token moves, where it is seen, is above
# 1e-4 even in a network with random weights.
ROUNDING = 1e-5
# Tokens of the text that a model is tried on.
TRIED = 64


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


def require_one_run(folders: Sequence[Path]) -> None:
    """Refuse checkpoints that are not all models with one tokenizer.

    Raises:
        InputError: a folder holds no model, or they differ in their ``tokenizer.json``.
    """
    for folder in folders:
        require_model_folder(folder)
    tokenizers = [folder / "tokenizer.json" for folder in folders]
    if len({file_digest(path) for path in tokenizers if path.is_file()}) > 1:
        raise InputError(
            folders[0].parent, "its checkpoints differ in their tokenizer", "Give the checkpoints of one run."
        )


def check_device(device: str | None) -> None:
    """Refuse a device on which nothing can be computed here.

    Raises:
        InputError: names it, and says why.
    """
    import torch

    if device is None:
        return
    try:
        torch.zeros(1, device=device).tolist()
    except Exception as error:  # of another class for each way in which it is none
        raise InputError(
            f"--device {device}",
            f"nothing can be computed there ({said(error)})",
            "Give cpu, or cuda (cuda:0, cuda:1, ...) where torch sees a GPU.",
        ) from error


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a model folder.

    Raises:
        InputError: the folder has none.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises no class of its own
        raise InputError(
            folder,
            f"no tokenizer can be loaded ({said(error)})",
            "Give a Hugging Face model folder, written by a version of its libraries that the installed ones read.",
        ) from error


def load_model(folder: Path, dtype: torch.dtype, device: str | None) -> PreTrainedModel:
    """Return a causal language model in evaluation mode; see :func:`load_weights`."""
    from transformers import AutoModelForCausalLM

    return load_weights(folder, AutoModelForCausalLM, "causal", dtype, device)


# What a model was trained to do -> what to give where one of it is wanted.
WANTED = {
    "causal": "Give a causal language model: one that was trained to predict the next token.",
    "masked": "Give a masked language model: one that was trained to fill masks.",
}


def load_weights(folder: Path, auto: Any, objective: str, dtype: torch.dtype, device: str | None) -> PreTrainedModel:
    """Return a language model in evaluation mode.

    Args:
        folder: a Hugging Face folder with its weights in safetensors.
        auto: the library's class that loads models of the objective.
        objective: a key of :data:`WANTED`.
        dtype: of the weights in memory.
        device: where to compute; by default the GPU where there is one.

    Raises:
        InputError: the folder holds no such model, or not all of it; or one with an encoder of its own.
    """
    import torch
    from transformers import AutoConfig
    from transformers.quantizers.auto import AutoHfQuantizer

    if not any(folder.glob("*.safetensors")):
        raise InputError(
            folder,
            "no model can be loaded (no *.safetensors)",
            "Convert its weights: `save_pretrained` writes safetensors; pickled weights are never read.",
        )
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if getattr(config, "is_encoder_decoder", False):
            # The library would take some of them for their decoder alone, which then reads nothing.
            raise InputError(folder, f"an encoder-decoder model ({config.model_type})", WANTED[objective])
        quantized = getattr(config, "quantization_config", None)
        if isinstance(quantized, dict) and not AutoHfQuantizer.supports_quant_method(quantized):
            # The library would take packed weights for weights, and only warn.
            raise InputError(
                folder,
                f"its weights are quantized by {quantized.get('quant_method')!r}, which the installed transformers "
                "does not know",
                "Give the model as it was before (no `quantization_config` in its config.json).",
            )
        # With the loading information it returns a pair, which its annotation does not say.
        loaded: Any = auto.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except InputError:
        raise
    except ImportError as error:  # a quantized model, or an implementation of attention, that a package of its own runs
        raise InputError(
            folder,
            f"no model can be loaded without another package ({said(error)})",
            "Install it, or give the model as it was before (no `quantization_config` in its config.json).",
        ) from error
    except Exception as error:  # a configuration can make the library raise anything
        raise InputError(
            folder, f"no model can be loaded ({said(error)})", "Give a Hugging Face model folder."
        ) from error
    model, loading = loaded
    if loading["missing_keys"]:
        # The library fills what is missing with random numbers and only warns.
        raise InputError(
            folder,
            f"its weights lack {min(loading['missing_keys'])}",
            f"Give a {objective} language model, and all of it.",
        )
    if loading["unexpected_keys"]:
        # What is left over may be a head that the model was trained for, in place of predicting tokens.
        log.warning(
            "%s: %d of its tensors are no part of %s and are left out: %s",
            folder,
            len(loading["unexpected_keys"]),
            type(model).__name__,
            ", ".join(sorted(loading["unexpected_keys"])[:3]),
        )
    return model.eval().to(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def positions(model: PreTrainedModel) -> int | None:
    """Return how many tokens the model reads at most, or None where its configuration does not say.

    Positions of the RoBERTa family begin behind that of the padding, so that they are fewer than configured.
    """
    limits = [getattr(model.config, "max_position_embeddings", None)]
    for name, layer in model.named_modules():
        if name.endswith("position_embeddings") and getattr(layer, "padding_idx", None) is not None:
            limits.append(layer.num_embeddings - layer.padding_idx - 1)
    return min((limit for limit in limits if limit is not None), default=None)


def check_vocabulary(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sequences: Iterable[Sequence[int]], where: object
) -> None:
    """Refuse token sequences with a token that the model does not have.

    Args:
        model: a language model.
        tokenizer: that the sequences were made by.
        sequences: all that the model will be asked.
        where: the model's folder.

    Raises:
        InputError: names the token.
    """
    layers: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]
    sizes = [len(layer.weight) for layer in layers if layer is not None]
    highest = max(max(sequence) for sequence in sequences)
    if highest >= min(sizes):
        raise InputError(
            where,
            f"the tokenizer's token {highest} ({tokenizer.convert_ids_to_tokens(highest)!r}) has no embedding: "
            f"the model has {min(sizes)}",
            "Give the tokenizer that the model was trained with, or enlarge the model's embedding and train it.",
        )


def check_causal(model: PreTrainedModel, sequences: Sequence[Sequence[int]], where: object) -> None:
    """Refuse a model that sees tokens before it predicts them.

    The longest of the sequences is read beside ones that end otherwise: from the second token on (which finds a
    beginning that is read both ways), in its second half, and in the last token. The logits before must be the same.
    Both have one shape, so that rounding is the same, too, for all but mixtures of experts. What would pass otherwise
    are masked language models: the library loads them as causal ones and only warns.

    Args:
        model: in evaluation mode, in any dtype.
        sequences: what the model will be asked, two or more tokens each.
        where: the model's folder.

    Raises:
        InputError: it does.
    """
    import torch

    longest = max((list(sequence) for sequence in sequences), key=len)[:TRIED]
    known = sorted({token for sequence in sequences for token in sequence})
    if len(known) == 1:
        known.append(0 if known[0] else 1)
    following = dict(zip(known, [*known[1:], known[0]], strict=True))

    def logits(network: PreTrainedModel, tokens: list[int]) -> torch.Tensor:
        return network(input_ids=torch.tensor([tokens], device=network.device), use_cache=False).logits[0].float()

    exact = model
    with torch.inference_mode():
        said = logits(model, longest)
        for first in sorted({1, len(longest) // 2, len(longest) - 1} - {0}):
            other = [*longest[:first], *(following[token] for token in longest[first:])]
            off = (logits(exact, other) - said)[:first].abs().max()
            if off > 0 and exact.dtype != torch.float32:
                # A coarse dtype may round, or hide how much is moved.
                exact = copy.deepcopy(model).float()
                said = logits(exact, longest)
                off = (logits(exact, other) - said)[:first].abs().max()
            if off > ROUNDING * max(1.0, float(said.abs().max())):
                raise InputError(
                    where,
                    f"is not causal ({type(model).__name__}): another end of a text moves the log-probabilities before "
                    f"it (logits by {off:.2g})",
                    WANTED["causal"],
                )


def weights_digest(folder: Path, digest: Digest = file_digest) -> list[str]:
    """Return the sha256 of the files that make a model what it is; `digest` gives that of a file."""
    return [digest(path) for path in sorted([folder / "config.json", *folder.glob("*.safetensors")])]


def set_threads(threads: int | None) -> None:
    """Let torch use so many CPU threads."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
