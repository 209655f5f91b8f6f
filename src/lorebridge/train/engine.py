"""Processes and the DeepSpeed engine."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from lorebridge.errors import InputError, LorebridgeError
from lorebridge.train.packed import PackedModel

T = TypeVar("T")

# The others wait while process 0 publishes tens of gigabytes. A process that dies ends them all through torchrun,
# whatever this is.
PATIENCE = datetime.timedelta(hours=2)
OLDEST_GPU = (8, 0)  # compute capability of an A100: the first with bfloat16, and what FlashAttention-2 asks for


@dataclasses.dataclass(frozen=True)
class Processes:
    """The processes that train together, seen from one of them.

    Attributes:
        rank: which one this is, from 0.
        world: how many there are.
        device: where this one computes.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    @property
    def device_name(self) -> str:
        """What this process computes on, in words."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"

    def agree(self, value: Any) -> Any:
        """Return the `value` of process 0 on every process."""
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def on_first(self, work: Callable[[], T]) -> T:
        """Do `work` on process 0; return what it gives on every process.

        Raises:
            LorebridgeError: that which `work` raised, so that all processes end with the same message.
        """
        value, failure = None, None
        if self.first:
            try:
                value = work()
            except LorebridgeError as error:
                failure = error
        value, message = self.agree((value, failure and str(failure)))
        if failure:
            raise failure
        if message:
            raise LorebridgeError(message)
        return value

    def gather(self, value: Any) -> list[Any]:
        """Return the `value` of every process, by rank, on every process."""
        values = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def totals(self, values: Sequence[torch.Tensor | float]) -> list[float]:
        """Return the sum of each number over all processes."""
        summed = torch.stack([torch.as_tensor(v, dtype=torch.float64, device=self.device) for v in values])
        dist.all_reduce(summed)
        return summed.tolist()


@contextlib.contextmanager
def process_group() -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started, or be alone.

    Deterministic algorithms are switched on, so that a resumed run can continue to the bit: on a GPU FlashAttention's
    backward pass then sums in a fixed order, the compiler chooses no kernel by timing it, and an operation without a
    deterministic form raises instead of drifting.
    """
    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        # Read when deepspeed is imported; without it, it looks around for accelerators and warns.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    # DeepSpeed would compile a shared-memory collective for the CPU (a minute of ninja); gloo does without.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic cuBLAS asks for
    torch.use_deterministic_algorithms(True)
    # A debugging aid that costs a pass over each new tensor (mypy does not see the property).
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

    local = int(os.environ.setdefault("LOCAL_RANK", "0"))  # DeepSpeed insists on it
    device = torch.device("cuda", local) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    backend = "nccl" if on_gpu else "gloo"
    if "RANK" in os.environ:
        dist.init_process_group(backend, timeout=PATIENCE, device_id=device if on_gpu else None)
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield Processes(dist.get_rank(), dist.get_world_size(), device)
    finally:
        # Through DeepSpeed where it has taken the group over: it keeps its own note of being initialized.
        (deepspeed.comm if deepspeed.comm.is_initialized() else dist).destroy_process_group()


def initialize(
    network: PackedModel,
    adamw: torch.optim.AdamW,
    *,
    precision: str,
    zero_stage: int,
    clip: float,
    micro_batch: int,
    accumulation: int,
) -> Any:
    """Return the DeepSpeed engine around `network` and `adamw`.

    Weights stay float32 and bfloat16 is autocast, so that one form of resume state fits every precision. Without ZeRO
    and with stage 1 gradients are summed over processes once an update, with stage 2 after every micro-batch. In
    bfloat16 on a GPU the trunk is compiled (``TORCH_COMPILE_DISABLE=1`` in the environment leaves it as it is).

    Raises:
        InputError: bfloat16 on a GPU that does not have it.
    """
    import deepspeed

    device = network.model.device
    if device.type == "cuda" and precision == "bfloat16":
        if torch.cuda.get_device_capability(device) < OLDEST_GPU:
            name = torch.cuda.get_device_name(device)
            raise InputError("precision", f"{name} has no bfloat16", "Take float32, or an A100 or a later GPU.")
        network.compile_trunk()
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": accumulation,
        "zero_optimization": {"stage": zero_stage},
        "zero_allow_untested_optimizer": True,  # torch's AdamW; DeepSpeed's own rounds differently
        # Without ZeRO the engine clips but does not tell the norm: there the loop does it.
        "gradient_clipping": clip if zero_stage else 0.0,
        "steps_per_print": None,
    }
    if precision == "bfloat16":
        # No module is "safe" to reduce in low precision: gradients are summed over processes in float32.
        config["torch_autocast"] = {"enabled": True, "dtype": "bfloat16", "lower_precision_safe_modules": []}
    engine, *_ = deepspeed.initialize(model=network, optimizer=adamw, config=config)
    if zero_stage == 0 and dist.get_world_size() == 1:
        # Nobody to sum with: DeepSpeed would copy all gradients into one buffer and back.
        engine.enable_backward_allreduce = False
    return engine
