"""Tensors on disk: checkpoints as Hugging Face folders, and the parts of a resume state. Safetensors only."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig, PreTrainedModel

from lorebridge.records import file_digest
from lorebridge.tokens.tokenizer import TOKENIZER_FILES
from lorebridge.train.card import CARD
from lorebridge.train.model import WEIGHTS

STATE_WEIGHTS = "weights.safetensors"
STATE_MOMENTS = "moments.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq")
OF_TOKENIZER = (*TOKENIZER_FILES, "chat_template.jinja")
"""Files that go into a checkpoint; the tokenizer may lie in the folder of a model, among others."""


def parameters(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the parameters of a model by name, a tied one once."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def load_parameters(model: torch.nn.Module, folder: Path) -> None:
    """Put the saved parameters back in place."""
    saved = load_file(folder / STATE_WEIGHTS)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(saved[name])


def moments(model: torch.nn.Module, adamw: torch.optim.AdamW) -> dict[str, torch.Tensor]:
    """Return AdamW's moments by parameter and key, whole: the same for every ZeRO stage and number of processes.

    Collective: with ZeRO each process holds a share of them, and all put theirs together for process 0. The others
    return less.
    """
    whole = {}
    for name, parameter in model.named_parameters():
        for key in MOMENTS:
            if hasattr(parameter, "_hp_mapping"):
                moment = torch.zeros_like(parameter, dtype=torch.float32).flatten()
                for of_parameter, of_share, share in _share(parameter, adamw):
                    moment[of_parameter] = adamw.state[share][key][of_share]
                dist.reduce(moment, 0)
                if dist.get_rank() == 0:  # on the CPU: a GPU holds its own share and no more
                    whole[f"{name}.{key}"] = moment.view_as(parameter).cpu()
            else:
                whole[f"{name}.{key}"] = adamw.state[parameter][key]
    return whole


def load_moments(model: torch.nn.Module, adamw: torch.optim.AdamW, folder: Path, updates: int) -> None:
    """Put saved moments, and the number of updates that corrects their bias, back in place."""
    saved = load_file(folder / STATE_MOMENTS)
    for group in adamw.param_groups:
        for parameter in group["params"]:
            adamw.state[parameter] = {"step": torch.tensor(float(updates), device=parameter.device)} | {
                key: torch.zeros_like(parameter) for key in MOMENTS
            }
    for name, parameter in model.named_parameters():
        for key in MOMENTS:
            moment = saved[f"{name}.{key}"]
            if hasattr(parameter, "_hp_mapping"):
                for of_parameter, of_share, share in _share(parameter, adamw):
                    adamw.state[share][key][of_share] = moment.flatten()[of_parameter].to(share.device)
            else:
                adamw.state[parameter][key].copy_(moment)


def _share(parameter: torch.Tensor, adamw: torch.optim.AdamW) -> list[tuple[slice, slice, torch.Tensor]]:
    """Return which stretch of a parameter is this process's under ZeRO, where it lies, and in what; or nothing.

    There AdamW's parameters are one flat share a group, and DeepSpeed notes at each of the model's (``_hp_mapping``,
    deepspeed.utils.tensor_fragment) where its part is.
    """
    if (mapping := parameter._hp_mapping) is None:  # type: ignore[attr-defined]
        return []
    here, there = mapping.lp_fragment_address, mapping.hp_fragment_address
    (share,) = adamw.param_groups[mapping.param_group_index]["params"]
    return [(slice(here.start, here.start + here.numel), slice(there.start, there.start + there.numel), share)]


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], dtype: torch.dtype | None = None) -> str:
    """Write tensors as safetensors (in `dtype` where given), down to the disk; return the file's sha256."""
    save_file({name: t.to("cpu", dtype).contiguous() for name, t in tensors.items()}, path, metadata={"format": "pt"})
    return file_digest(path)


def write_checkpoint(model: PreTrainedModel, tokenizer: Path, folder: Path, dtype: str) -> None:
    """Write a folder that transformers' auto classes load without a network."""
    folder.mkdir(parents=True)
    for name in OF_TOKENIZER:
        if (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, folder / name)
    model.config.architectures = [type(model).__name__]
    model.config.dtype = dtype
    model.config.save_pretrained(folder)
    if model.can_generate():
        GenerationConfig.from_model_config(model.config).save_pretrained(folder)
    save_tensors(folder / WEIGHTS, parameters(model), getattr(torch, dtype))


def not_of_the_model(folder: str, names: list[str]) -> set[str]:
    """Return what of a folder does not belong into another checkpoint: records, marks, a card, folders."""
    return {
        name
        for name in names
        if name.startswith(".") or name.endswith("record.json") or name == CARD or (Path(folder) / name).is_dir()
    }
