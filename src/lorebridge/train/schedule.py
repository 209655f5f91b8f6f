"""The optimizer's parameter groups and the learning-rate schedule. Needs no torch to be imported."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from lorebridge.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SCHEDULES = ("cosine", "linear", "constant")
KEPT, MEAN = UNSEEN_TOKENS = ("kept", "mean")
"""What a phase does to the embeddings of tokens that the model which it starts from has never read."""


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Linear warm-up to `lr`, then cosine or linear decay to `min_lr` at the last step, or no decay.

    Attributes:
        lr: the peak.
        min_lr: the learning rate of the last step (unused by ``constant``).
        warmup_ratio: share of the steps that warm up, rounded up (0.01 of 1,500 steps: 15).
        schedule: ``cosine``, ``linear`` or ``constant``.
        embedding_lr: what the learning rate of the embeddings is of all others', at every step. Words that a model
            learns to read anew have far to go, and what it knows already stays where it is.
    """

    lr: float
    min_lr: float = 0.0
    warmup_ratio: float = 0.0
    schedule: str = "cosine"
    embedding_lr: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a schedule that does not exist.

        Raises:
            InputError: names the schedules there are.
        """
        if self.schedule not in SCHEDULES:
            raise InputError("schedule", f"{self.schedule!r} does not exist", f"Take one of {', '.join(SCHEDULES)}.")

    def at(self, step: int, steps: int) -> float:
        """Return the learning rate of update `step` (0-based) of `steps`; none is 0 unless `min_lr` is."""
        warmup = math.ceil(self.warmup_ratio * steps)
        if step < warmup:
            return self.lr * (step + 1) / warmup
        progress = (step + 1 - warmup) / (steps - warmup)
        cosine = (1 + math.cos(math.pi * progress)) / 2
        decay = {"cosine": cosine, "linear": 1 - progress, "constant": 1.0}[self.schedule]
        return self.min_lr + (self.lr - self.min_lr) * decay


def parameter_groups(model: PreTrainedModel, weight_decay: float, embedding_lr: float = 1.0) -> list[dict[str, Any]]:
    """Return AdamW's groups: matrices of the layers decay; norms, biases and embeddings do not.

    Embeddings are a group of their own where they have another learning rate, ``factor`` times the others'.
    """
    embeddings = {id(layer.weight) for layer in (model.get_input_embeddings(), model.get_output_embeddings())}
    decayed = [p for p in model.parameters() if p.ndim >= 2 and id(p) not in embeddings]
    kept = [p for p in model.parameters() if p.ndim < 2 or id(p) in embeddings]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    if embedding_lr != 1:
        groups[1]["params"] = [p for p in kept if id(p) not in embeddings]
        own = [p for p in kept if id(p) in embeddings]
        groups.append({"params": own, "weight_decay": 0.0, "factor": embedding_lr})
    return groups
