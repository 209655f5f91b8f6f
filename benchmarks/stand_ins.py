"""What stands in for what is not there, on a machine where the lock cannot be installed. The product never uses it.

- For DeepSpeed: an engine for one process without ZeRO, which is all that one GPU needs. It does what DeepSpeed's does
  there (autocast, gradients added up, a step of the optimizer at the end of a batch).
- For the ``varlen_attn`` of a torch that knows no grouped heads (2.11): key heads are repeated for their queries.

Both give the same numbers: tests compare them.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

import torch


class Engine:
    """As much of DeepSpeed's engine as the loop calls."""

    def __init__(self, model: Any, optimizer: torch.optim.Optimizer, config: dict[str, Any]) -> None:
        assert config["zero_optimization"]["stage"] == 0, "ZeRO needs DeepSpeed"
        assert torch.distributed.get_world_size() == 1, "several processes need DeepSpeed"
        self._model, self._optimizer = model, optimizer
        self._accumulation, self._done = config["gradient_accumulation_steps"], 0
        cast = config.get("torch_autocast", {"enabled": False, "dtype": "bfloat16"})
        self._autocast = torch.autocast(
            model.model.device.type, dtype=getattr(torch, cast["dtype"]), enabled=cast["enabled"]
        )

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        with self._autocast:
            return self._model(*inputs)

    def backward(self, loss: torch.Tensor, *, scale_wrt_gas: bool) -> None:
        assert not scale_wrt_gas
        loss.backward()

    def is_gradient_accumulation_boundary(self) -> bool:
        return (self._done + 1) % self._accumulation == 0

    def step(self) -> None:
        if self.is_gradient_accumulation_boundary():
            self._optimizer.step()
            self._optimizer.zero_grad()
        self._done += 1


def initialize(model: Any, optimizer: torch.optim.Optimizer, config: dict[str, Any]) -> tuple[Engine]:
    return (Engine(model, optimizer, config),)


def deepspeed() -> Any:
    """Return as much of a module ``deepspeed`` as the loop uses."""
    module: Any = types.ModuleType("deepspeed")
    # With it, transformers looks for a version of the package, and sees that there is none.
    module.__spec__ = importlib.machinery.ModuleSpec("deepspeed", None)
    module.initialize = initialize
    module.ops = types.SimpleNamespace(__compatible_ops__={})
    module.comm = types.SimpleNamespace(is_initialized=lambda: False)
    return module


def with_repeated_heads(attend: Callable[..., Any]) -> Callable[..., Any]:
    """Return `attend`, which wants as many key heads as query heads, for grouped ones."""

    @functools.wraps(attend)
    def grouped(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *others: Any, enable_gqa: bool, **named: Any
    ) -> Any:
        assert enable_gqa
        times = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(times, dim=1), value.repeat_interleave(times, dim=1)
        return attend(query, key, value, *others, **named)

    return grouped


def stand_in() -> bool:
    """Put both in place where they are needed; return whether DeepSpeed is not here."""
    if "deepspeed" not in sys.modules and importlib.util.find_spec("deepspeed") is None:
        sys.modules["deepspeed"] = deepspeed()
    from lorebridge.train import attention

    if "enable_gqa" not in inspect.signature(attention.varlen_attn).parameters:
        attention.varlen_attn = with_repeated_heads(attention.varlen_attn)
    return getattr(sys.modules.get("deepspeed"), "initialize", None) is initialize
