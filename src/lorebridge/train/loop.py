"""One training run: the DeepSpeed engine in a loop that can be read from top to bottom.

Every process runs :func:`train` (started by ``torchrun``, or alone without it). Rank r takes rows r, r + world, ...
of each batch. Process 0 writes.
"""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.records import file_digest
from lorebridge.tokens.reader import IGNORED, OrderReader
from lorebridge.tokens.tokenizer import end_of_text_id, load_tokenizer, tokenizer_fingerprint
from lorebridge.train.engine import Processes, initialize, process_group, stop_signals
from lorebridge.train.model import WEIGHTS, PackedLanguageModel, build, load_weights, qwen2_config
from lorebridge.train.schedule import Schedule, parameter_groups
from lorebridge.train.tensors import (
    STATE_WEIGHTS,
    load_moments,
    load_parameters,
    moments,
    not_of_the_model,
    parameters,
    save_tensors,
    write_checkpoint,
)
from lorebridge.train.work import METRICS, Slot, WorkDirectory, link_or_copy

log = logging.getLogger("lorebridge.train")

EX_TEMPFAIL = 75  # sysexits.h: "temporary failure; the user is invited to try again"


def train(
    *,
    run: str,
    model: Mapping[str, Any],
    optimizer: Mapping[str, Any],
    schedule: Mapping[str, Any],
    precision: str,
    seed: int,
    steps: int,
    checkpoint_steps: list[int],
    packing: str,
    zero_stage: int,
    checkpoint_dtype: str,
    order: Path,
    stores: Mapping[str, Path],
    tokenizer: Path,
    init_from: Path | None,
    out: Path,
    work: Path,
    recipe: str,
    micro_batch: int,
    budget_seconds: float | None,
    resume_interval: int,
    threads: int | None,
) -> dict[str, Any]:
    """Train one model and publish its checkpoints, or go on where an earlier try stopped.

    The loss of a step is the mean over all targets of its batch that are not padding, whatever the number of
    processes and micro-batches. The optimizer is AdamW (Loshchilov and Hutter 2019, algorithm 2) and always starts
    fresh, also in continual pretraining. Weights and moments are float32; with ``precision: bfloat16`` the matrix
    products run in bfloat16 (torch autocast).

    ``metrics.parquet`` has a row for each step: `step` (updates done after it, so that row N belongs to checkpoint
    ``step{N}``), `loss` (nats per target, before the update), `learning_rate`, `grad_norm` (before clipping),
    `tokens` (positions read, padding included), `target_tokens` (those with a loss), `seconds` and
    `tokens_per_second` (wall clock of the step; the only columns that differ between two runs of one recipe).

    Args:
        run: name of the run.
        model: see :func:`lorebridge.train.model.qwen2_config`.
        optimizer: ``betas``, ``eps``, ``weight_decay``, ``clip`` (largest norm of the gradient).
        schedule: see :class:`lorebridge.train.schedule.Schedule`.
        precision: ``float32`` or ``bfloat16``.
        seed: of the initial weights (unused with `init_from`).
        steps: optimizer steps; the order must have as many.
        checkpoint_steps: updates after which a checkpoint is kept; 0 is the initial weights.
        packing: ``isolated`` or ``concatenated``; the order must have been drawn so.
        zero_stage: DeepSpeed's ZeRO stage, 0 to 2 (Rajbhandari et al. 2020, section 5).
        checkpoint_dtype: ``float32`` or ``bfloat16``, of the published weights.
        order: the run's data order.
        stores: the token store of each stream in it.
        tokenizer: folder of the tokenizer; its files go into every checkpoint.
        init_from: a checkpoint folder to start from, or None for fresh weights.
        out: where ``step{N}/`` and ``metrics.parquet`` are published.
        work: directory for resume state; two trainers cannot share it.
        recipe: of this run; state of another one is refused.
        micro_batch: rows of one forward pass in one process. Changes rounding only.
        budget_seconds: stop, with the state saved, once this much wall clock is used; None for no limit.
        resume_interval: a killed run loses at most this many steps.
        threads: of torch on the CPU; None leaves torch's own choice.

    Returns:
        Notes for the record: parameters, tokens, final loss, speed, digests of what was published. On every process.

    Raises:
        InputError: inputs that do not fit each other, or a loss that is no longer a number.
        Busy: another process trains in `work`.
        SystemExit: with code 75 when stopped by SIGTERM, SIGINT or the budget; the state is saved.
    """
    started = time.monotonic()
    if threads:
        torch.set_num_threads(threads)
    with stop_signals() as received, process_group() as processes, contextlib.ExitStack() as held:
        directory = WorkDirectory(work)
        processes.on_first(lambda: held.enter_context(directory.lock()))
        reader = OrderReader.open(order, dict(stores))
        fingerprint = tokenizer_fingerprint(tokenizer)
        check_order(reader, order, steps, checkpoint_steps, packing, fingerprint, processes.world)
        bpe = load_tokenizer(tokenizer)
        language_model = build(qwen2_config(model, bpe.get_vocab_size(), end_of_text_id(bpe)), seed)
        identity = {"recipe": recipe, "order": file_digest(order), "tokenizer": fingerprint}
        if init_from:
            load_weights(language_model, Path(init_from))
            identity["start"] = file_digest(Path(init_from) / WEIGHTS)
        slot = processes.on_first(lambda: directory.newest_state(identity))
        if slot:
            load_parameters(language_model, slot.folder)
        network = PackedLanguageModel(language_model, packing).to(processes.device)
        trainer = Trainer(
            network, reader, processes, Schedule(**schedule), optimizer, precision, zero_stage, micro_batch, slot
        )
        log.info(
            "%s: %s parameters, %d steps of %d rows of %d positions, %d processes on %s%s",
            run, f"{trainer.n_parameters:,}", steps, reader.rows_per_step, reader.sequence_length, processes.world,
            processes.device_name, f", going on after step {slot.step}" if slot else "",
        )  # fmt: skip

        def save_checkpoint() -> None:
            if processes.first:
                partial = directory.begin_checkpoint(trainer.done)
                if trainer.done == 0 and init_from:
                    shutil.copytree(init_from, partial, copy_function=link_or_copy, ignore=not_of_the_model)
                else:
                    write_checkpoint(language_model, Path(tokenizer), partial, checkpoint_dtype)
                directory.finish_checkpoint(partial, trainer.done)

        if slot:
            kept = [step for step in checkpoint_steps if step <= slot.step]
            processes.on_first(lambda: directory.require_checkpoints(kept))
        elif 0 in checkpoint_steps:
            save_checkpoint()
        with tqdm(
            total=steps * trainer.positions, initial=trainer.done * trainer.positions, desc=run, unit="tok",
            unit_scale=True, mininterval=1, dynamic_ncols=True, disable=not processes.first,
        ) as bar:  # fmt: skip
            while trainer.done < steps:
                row = trainer.update()
                bar.update(trainer.positions)
                bar.set_postfix(step=f"{trainer.done}/{steps}", loss=f"{row['loss']:.3f}", refresh=False)
                if not math.isfinite(row["loss"]):
                    raise InputError(
                        run,
                        f"the loss is {row['loss']} at step {trainer.done}",
                        "Lower schedule.lr or raise its warm-up.",
                    )
                if trainer.done in checkpoint_steps:
                    save_checkpoint()
                # One process's reason to stop is every process's: they must leave at the same step.
                over = budget_seconds is not None and time.monotonic() - started >= budget_seconds
                late, signalled = processes.totals([over, bool(received)])
                stop = late or signalled
                if trainer.done % resume_interval == 0 or trainer.done == steps or stop:
                    trainer.save(directory, identity)
                if stop and trainer.done < steps:
                    if processes.first:
                        by = (received or ["a signal to another process"])[0] if signalled else "the wall-clock budget"
                        log.error(
                            "%s: stopped at step %d of %d by %s; run again to resume", run, trainer.done, steps, by
                        )
                    sys.exit(EX_TEMPFAIL)

        if processes.first:
            tables.write("metrics", trainer.metrics, directory.path / METRICS)
        files = processes.on_first(lambda: directory.publish(Path(out), checkpoint_steps))
        tail = [row["loss"] for row in trainer.metrics[-max(1, steps // 20) :]]
        return {
            "n_parameters": trainer.n_parameters,
            "n_tokens": sum(row["tokens"] for row in trainer.metrics),
            "n_target_tokens": sum(row["target_tokens"] for row in trainer.metrics),
            "first_loss": trainer.metrics[0]["loss"],
            "final_loss": sum(tail) / len(tail),
            "train_seconds": round(sum(row["seconds"] for row in trainer.metrics), 3),
            "processes": processes.world,
            "device": processes.device_name,
            "order_sha256": identity["order"],
            "tokenizer_fingerprint": identity["tokenizer"],
            "files": files,
        }


class Trainer:
    """Model, optimizer and data order at one point of a run.

    Attributes:
        done: updates made.
        metrics: one row per update.
        positions: positions of one batch, over all processes.
        n_parameters: of the model, a tied one once.
    """

    def __init__(
        self,
        network: PackedLanguageModel,
        reader: OrderReader,
        processes: Processes,
        schedule: Schedule,
        optimizer: Mapping[str, Any],
        precision: str,
        zero_stage: int,
        micro_batch: int,
        slot: Slot | None,
    ) -> None:
        """Start DeepSpeed on `network`, whose weights are those of `slot` where that is given.

        Raises:
            InputError: `slot` was saved by another number of processes under ZeRO.
        """
        self.reader, self.processes, self.schedule = reader, processes, schedule
        self.model, self.clip, self.zero_stage = network.model, optimizer["clip"], zero_stage
        self.done = slot.step if slot else 0
        self.metrics: list[dict[str, Any]] = list(slot.metrics) if slot else []
        self.positions = reader.rows_per_step * reader.sequence_length
        self.n_parameters = sum(parameter.numel() for parameter in network.parameters())
        rows = reader.rows_per_step // processes.world
        self.micro_batch = min(micro_batch, rows)
        self.adamw = torch.optim.AdamW(
            parameter_groups(self.model, optimizer["weight_decay"]),
            betas=tuple(optimizer["betas"]), eps=optimizer["eps"], fused=True,
        )  # fmt: skip
        self.engine = initialize(
            network, self.adamw, precision=precision, zero_stage=zero_stage, clip=self.clip,
            micro_batch=self.micro_batch, accumulation=math.ceil(rows / self.micro_batch),
        )  # fmt: skip
        if slot:
            if zero_stage and slot.world != processes.world:
                raise InputError(
                    slot.folder, f"saved by {slot.world} processes, and ZeRO {zero_stage} splits it among them",
                    f"Start {slot.world} processes again, or delete {slot.folder.parent} to train from the start.",
                )  # fmt: skip
            load_moments(self.adamw, slot.folder / self._moments_file())

    def update(self) -> dict[str, Any]:
        """Take the next batch, make one update, and return its row of metrics."""
        started = time.monotonic()
        rate = self.schedule.at(self.done, self.reader.steps)
        for group in self.adamw.param_groups:
            group["lr"] = rate
        batch = self.reader.batch(self.done, slice(self.processes.rank, None, self.processes.world))
        inputs = [
            torch.from_numpy(array).to(self.processes.device)
            for array in (batch.input_ids, batch.targets, batch.positions, batch.documents)
        ]
        (n_targets,) = self.processes.totals([(inputs[1] != IGNORED).sum()])
        loss = torch.zeros((), dtype=torch.float64, device=self.processes.device)
        for micro in zip(*(tensor.split(self.micro_batch) for tensor in inputs), strict=True):
            summed = self.engine(*micro)
            # The engine averages gradients over processes; wanted is the mean over the targets of the whole batch.
            self.engine.backward(summed * (self.processes.world / n_targets), scale_wrt_gas=False)
            if self.zero_stage == 0 and self.engine.is_gradient_accumulation_boundary():
                norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
            self.engine.step()
            loss += summed.detach()
        if self.zero_stage:
            norm = self.engine.get_global_grad_norm()
        (summed_loss,) = self.processes.totals([loss])
        self.done += 1
        seconds = time.monotonic() - started
        row = {
            "step": self.done, "loss": summed_loss / n_targets, "learning_rate": rate, "grad_norm": float(norm),
            "tokens": self.positions, "target_tokens": int(n_targets), "seconds": seconds,
            "tokens_per_second": self.positions / seconds,
        }  # fmt: skip
        self.metrics.append(row)
        return row

    def save(self, directory: WorkDirectory, identity: Mapping[str, Any]) -> None:
        """Save the resume state: process 0 the weights; the moments process 0 too, or with ZeRO each its share."""
        first = self.processes.first
        folder = self.processes.agree(directory.begin_state() if first else None)
        files = {}
        if first:
            files[STATE_WEIGHTS] = save_tensors(folder / STATE_WEIGHTS, parameters(self.model))
        if first or self.zero_stage:
            name = self._moments_file()
            files[name] = save_tensors(folder / name, moments(self.adamw))
        written = self.processes.gather(files)
        if first:
            together = {name: digest for part in written for name, digest in part.items()}
            directory.finish_state(
                folder, step=self.done, identity=identity, world=self.processes.world, metrics=self.metrics,
                files=together,
            )  # fmt: skip

    def _moments_file(self) -> str:
        return f"moments-{self.processes.rank if self.zero_stage else 0}.safetensors"


def check_order(
    reader: OrderReader,
    order: Path,
    steps: int,
    checkpoint_steps: list[int],
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
            order, f"{reader.rows_per_step} rows of a batch cannot be shared alike by {world} processes",
            "Take a number of processes that divides the rows.",
        )  # fmt: skip
    if outside := [step for step in checkpoint_steps if not 0 <= step <= steps]:
        raise InputError("checkpoint_steps", f"{outside[0]} is not a step of {steps}", "Take it out.")
