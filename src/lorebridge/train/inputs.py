"""What a run is made from, and whether it fits together. Checked before any work starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedConfig

from lorebridge.errors import InputError
from lorebridge.tokens.reader import OrderReader


def check_order(
    reader: OrderReader,
    order: Path,
    steps: int,
    checkpoint_steps: Sequence[int],
    packing: str,
    fingerprint: str,
    world: int,
) -> None:
    """Refuse an order that does not fit the run.

    Raises:
        InputError: another number of steps, packing or tokenizer, rows that the processes cannot share alike, or
            checkpoints after the last step.
    """
    if reader.steps != steps:
        raise InputError(order, f"has {reader.steps} steps, the run {steps}", "Draw the order again.")
    if (drawn := reader.notes["packing"]) != packing:
        raise InputError(order, f"was drawn for {drawn} packing, not {packing}", "Draw the order again.")
    if reader.notes["tokenizer"] != fingerprint:
        raise InputError(order, "was drawn with another tokenizer", "Draw the order again, or take its tokenizer.")
    if reader.rows_per_step % world:
        raise InputError(
            order,
            f"{reader.rows_per_step} rows of a batch cannot be shared alike by {world} processes",
            "Take a number of processes that divides the rows.",
        )
    if outside := [step for step in checkpoint_steps if not 0 <= step <= steps]:
        raise InputError("checkpoint_steps", f"{outside[0]} is not a step of {steps}", "Take it out.")


def check_model(config: PreTrainedConfig) -> None:
    """Refuse a model that draws random numbers while it trains: a resume state holds no generator.

    Raises:
        InputError: the model has dropout.
    """
    for name in ("attention_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob"):
        if getattr(config, name, 0):
            raise InputError(f"model.{name}", "is not 0, and a resume would draw other numbers", "Leave it out.")
