"""Tensors on disk: checkpoints as Hugging Face folders, and the parts of a resume state. Safetensors only."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig, PreTrainedModel

from lorebridge.records import file_digest
from lorebridge.train.model import WEIGHTS

STATE_WEIGHTS = "weights.safetensors"


def parameters(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the parameters of a model by name, a tied one once."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def load_parameters(model: torch.nn.Module, folder: Path) -> None:
    """Put the saved parameters back in place."""
    saved = load_file(folder / STATE_WEIGHTS)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(saved[name])


def moments(adamw: torch.optim.AdamW) -> dict[str, torch.Tensor]:
    """Return AdamW's state by group, index in the group, and key (the parameters' own, or ZeRO's flat partitions)."""
    return {
        f"{g}.{i}.{key}": tensor
        for g, group in enumerate(adamw.param_groups)
        for i, parameter in enumerate(group["params"])
        for key, tensor in adamw.state[parameter].items()
    }


def load_moments(adamw: torch.optim.AdamW, path: Path) -> None:
    """Put saved moments back in place."""
    for name, tensor in load_file(path).items():
        g, i, key = name.split(".")
        parameter = adamw.param_groups[int(g)]["params"][int(i)]
        # Copied: what is loaded is a view of the file, and the file is written over by a later state.
        adamw.state[parameter][key] = tensor.to(parameter.device, copy=True)


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], dtype: torch.dtype | None = None) -> str:
    """Write tensors as safetensors (in `dtype` where given), down to the disk; return the file's sha256."""
    save_file({name: t.to("cpu", dtype).contiguous() for name, t in tensors.items()}, path, metadata={"format": "pt"})
    return file_digest(path)


def write_checkpoint(model: PreTrainedModel, tokenizer: Path, folder: Path, dtype: str) -> None:
    """Write a folder that ``AutoModelForCausalLM`` and ``AutoTokenizer`` load without a network."""
    folder.mkdir(parents=True)
    for path in sorted(tokenizer.iterdir()):
        if path.is_file() and path.name not in not_of_the_model(str(tokenizer), [path.name]):
            shutil.copyfile(path, folder / path.name)
    model.config.architectures = [type(model).__name__]
    model.config.dtype = dtype
    model.config.save_pretrained(folder)
    GenerationConfig.from_model_config(model.config).save_pretrained(folder)
    save_tensors(folder / WEIGHTS, parameters(model), getattr(torch, dtype))


def not_of_the_model(_: str, names: list[str]) -> set[str]:
    """Return those of a folder's files that do not belong into a checkpoint: records and a workflow's marks."""
    return {name for name in names if name.startswith(".") or name.endswith("record.json")}
