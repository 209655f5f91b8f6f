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

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.records import file_digest
from lorebridge.tokens.reader import IGNORED, OrderReader
from lorebridge.tokens.tokenizer import end_of_text_id, load_tokenizer, n_ids, tokenizer_fingerprint
from lorebridge.train.architecture import Asked, architecture, of_checkpoint
from lorebridge.train.card import CARD, card, store_notes
from lorebridge.train.engine import Processes, initialize, process_group
from lorebridge.train.host import sent
from lorebridge.train.inputs import check_model, check_order
from lorebridge.train.model import load_weights, place_unseen, weight_files
from lorebridge.train.progress import Progress
from lorebridge.train.schedule import KEPT, MEAN, UNSEEN_TOKENS, Schedule, parameter_groups
from lorebridge.train.stop import EX_TEMPFAIL, Budget, stop_signals
from lorebridge.train.tensors import (
    STATE_MOMENTS,
    STATE_WEIGHTS,
    load_moments,
    load_parameters,
    moments,
    not_of_the_model,
    parameters,
    save_tensors,
    write_checkpoint,
)
from lorebridge.train.work import METRICS, Slot, WorkDirectory
from lorebridge.work import link_or_copy, locked

log = logging.getLogger("lorebridge.train")


def train(
    *,
    run: str,
    learned: str | None,
    arm: str | None,
    model: Mapping[str, Any] | None,
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
    events: Path | None = None,
    patience: float = 0,
    about: Mapping[str, Any] | None = None,
    unseen_tokens: str = KEPT,
    read_before: Mapping[str, Path] | None = None,
) -> dict[str, Any]:
    """Train one model and publish its checkpoints, or go on where an earlier try stopped.

    The loss of a step is the mean over all targets of its batch, whatever the number of processes and micro-batches:
    of a causal model the tokens that follow, of a masked one those behind masks (:mod:`lorebridge.train.masking`). The
    optimizer is AdamW (Loshchilov and Hutter 2019, algorithm 2) and always starts fresh, also in continual pretraining.
    Weights and moments are float32; with ``precision: bfloat16`` the matrix products run in bfloat16 (torch autocast).

    An interrupted run goes on to the bit where it was: the resume state is weights, moments and the number of updates.
    No state of a random generator is in it: the batches are those of the order, masks depend on the seed and the place
    alone, and dropout is refused. Another number of processes adds the same numbers in another order, which
    changes rounding only.

    ``metrics.parquet`` has a row for each step: `run`, `learned`, `arm` and `seed` as given, `step` (updates done after
    it, so that row N belongs to checkpoint ``step{N}``), `loss` (nats per target, before the update), `learning_rate`,
    `grad_norm` (before clipping), `tokens` (positions read, padding included) and `target_tokens` (those with a loss).

    Args:
        run: name of the run.
        learned: the language that it learns; None where that is not one.
        arm: the arrangement of its text; None for a run of no arm.
        model: see :func:`lorebridge.train.model.qwen2_config`; with ``kind: bert``,
            :func:`lorebridge.train.masked.bert_config`. None takes that of `init_from`, whose architecture must be
            one of those that can be trained.
        optimizer: ``betas``, ``eps``, ``weight_decay``, ``clip`` (largest norm of the gradient).
        schedule: see :class:`lorebridge.train.schedule.Schedule`.
        precision: ``float32`` or ``bfloat16``.
        seed: the run's, and of the initial weights (unused for these with `init_from`).
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
        budget_seconds: stop, with the state saved, before this much wall clock is used (:class:`Budget` tells how long
            before); None for no limit. One step at least is made.
        resume_interval: a killed run loses at most this many steps.
        threads: of torch on the CPU; None leaves torch's own choice.
        events: folder for the TensorBoard events of the run; None for none.
        patience: seconds to wait for another trainer on `work` to end.
        about: what the study says on the model card of each checkpoint (:func:`lorebridge.train.card.card`).
        unseen_tokens: what becomes of the embeddings of tokens that `read_before` never holds: ``kept``, or ``mean``
            (:func:`lorebridge.train.model.place_unseen`).
        read_before: with ``mean``, the token stores of the text that the model of `init_from` has read, by stream.

    Returns:
        Notes for the record: parameters, tokens, final loss, speed, digests of what was published. On every process.

    Raises:
        InputError: inputs that do not fit each other, a loss that is no longer a number, or a disk that is full.
        Busy: another process trains in `work`.
        SystemExit: with code 75 when stopped by SIGTERM, SIGINT, SIGUSR1 or the budget; the state is saved.
    """
    as_it_was = _as_it_was(run, unseen_tokens, init_from, read_before)
    budget = Budget(budget_seconds)
    if threads:
        torch.set_num_threads(threads)
    with stop_signals() as received, process_group() as processes, contextlib.ExitStack() as held:
        directory = WorkDirectory(work)
        processes.on_first(lambda: held.enter_context(locked(directory.path, patience)))
        reader = OrderReader.open(order, dict(stores))
        fingerprint = tokenizer_fingerprint(tokenizer)
        check_order(reader, order, steps, checkpoint_steps, packing, fingerprint, processes.world)
        bpe = load_tokenizer(tokenizer)
        if model is not None:
            kind, sizes = architecture(model)
            shape = kind.configure(sizes, n_ids(bpe), end_of_text_id(bpe))
        elif init_from:
            kind, shape = of_checkpoint(Path(init_from), n_ids(bpe))
            if reader.sequence_length > shape.max_position_embeddings:
                what = f"reads {shape.max_position_embeddings} positions, and rows have {reader.sequence_length}"
                raise InputError(init_from, what, "Lower training.sequence_length.")
        else:
            raise InputError(run, "has no model, and nothing to start from", "Give one of the two.")
        asked = kind.asked(bpe, seed, tokenizer)
        check_model(shape)
        language_model = kind.build(shape, seed)
        identity = {"recipe": recipe, "order": file_digest(order), "tokenizer": fingerprint}
        if init_from:
            if kind.masked:
                raise InputError(run, "a masked model starts from nothing", "Take its start out.")
            load_weights(language_model, Path(init_from))
            parts = weight_files(Path(init_from))
            identity["start"] = " ".join(file_digest(path) for path in parts)
        if read_before:
            n_unseen = place_unseen(language_model, read_before.values())
            log.info("%s: %d tokens that it has never read begin at the mean of the others", run, n_unseen)
        slot = processes.on_first(lambda: directory.newest_state(identity))
        if slot:
            load_parameters(language_model, slot.folder)
        network = kind.network(language_model).to(processes.device)
        name: dict[str, Any] = {"run": run, "learned": learned, "arm": arm, "seed": seed}
        trainer = Trainer(
            network,
            reader,
            asked,
            processes,
            Schedule(**schedule),
            optimizer,
            precision,
            zero_stage,
            micro_batch,
            slot,
            name,
        )
        log.info(
            "%s: %s parameters, %d steps of %d rows of %d positions, %d processes on %s%s",
            run,
            f"{trainer.n_parameters:,}",
            steps,
            reader.rows_per_step,
            reader.sequence_length,
            processes.world,
            processes.device_name,
            f", going on after step {slot.step} of {slot.world} processes" if slot else "",
        )

        def save_checkpoint() -> None:
            with directory.writing(f"the checkpoint of step {trainer.done}"):
                partial = directory.begin_checkpoint(trainer.done)
                if trainer.done == 0 and init_from and as_it_was:
                    shutil.copytree(init_from, partial, copy_function=link_or_copy, ignore=not_of_the_model)
                else:
                    write_checkpoint(language_model, Path(tokenizer), partial, checkpoint_dtype)
                (partial / CARD).write_text(
                    card(
                        **name,
                        step=trainer.done,
                        steps=steps,
                        model={"kind": shape.model_type, **shape.to_dict()} if model is None else model,
                        n_parameters=trainer.n_parameters,
                        dtype=checkpoint_dtype,
                        stores={stream: store_notes(Path(stores[stream])) for stream in reader.notes["stores"]},
                        order=identity["order"],
                        tokenizer=fingerprint,
                        recipe=recipe,
                        metrics=trainer.metrics,
                        about=about or {},
                    ),
                    encoding="utf-8",
                )
                directory.finish_checkpoint(partial, trainer.done)

        if slot:
            kept = [step for step in checkpoint_steps if step <= slot.step]
            processes.on_first(lambda: directory.require_checkpoints(kept))
        elif 0 in checkpoint_steps:
            processes.on_first(save_checkpoint)
        progress = held.enter_context(
            Progress(
                run, done=trainer.done, steps=steps, positions=trainer.positions, events=events, shown=processes.first
            )
        )
        while trainer.done < steps:
            with budget.step():
                row, seconds = trainer.update()
            progress.show(row, seconds)
            if not math.isfinite(row["loss"]):
                raise InputError(
                    run, f"the loss is {row['loss']} at step {trainer.done}", "Lower schedule.lr or raise its warm-up."
                )
            # One process's reason to stop is every process's: they must leave at the same step.
            late, signalled = processes.totals([budget.over(), bool(received)])
            stop = late or signalled
            keep, save = trainer.done in checkpoint_steps, trainer.done % resume_interval == 0
            if keep or save or stop or trainer.done == steps:
                with budget.writing():
                    if keep:
                        processes.on_first(save_checkpoint)
                    if save or stop or trainer.done == steps:
                        trainer.save(directory, identity)
                        progress.flush()
            if stop and trainer.done < steps:
                if processes.first:
                    by = (received or ["a signal to another process"])[0] if signalled else "the wall-clock budget"
                    log.error("%s: stopped at step %d of %d by %s; run again to resume", run, trainer.done, steps, by)
                sys.exit(EX_TEMPFAIL)

        def publish() -> dict[str, str]:
            with directory.writing("what the run publishes"):
                tables.write("metrics", trainer.metrics, directory.path / METRICS)
                return directory.publish(Path(out), checkpoint_steps)

        files = processes.on_first(publish)
        tail = [row["loss"] for row in trainer.metrics[-max(1, steps // 20) :]]
        return {
            "n_parameters": trainer.n_parameters,
            "n_tokens": sum(row["tokens"] for row in trainer.metrics),
            "n_target_tokens": sum(row["target_tokens"] for row in trainer.metrics),
            "first_loss": trainer.metrics[0]["loss"],
            "final_loss": sum(tail) / len(tail),
            "train_seconds": round(trainer.seconds, 3),
            "processes": processes.world,
            "device": processes.device_name,
            "order_sha256": identity["order"],
            "tokenizer_fingerprint": identity["tokenizer"],
            "files": files,
        }


def _as_it_was(run: str, unseen_tokens: str, init_from: Path | None, read_before: Mapping[str, Path] | None) -> bool:
    """Say whether a run starts with the weights of what it starts from, none moved.

    Raises:
        InputError: no such way, or one of what it needs is missing, or given for nothing.
    """
    if unseen_tokens not in UNSEEN_TOKENS:
        mend = f"It is one of {', '.join(UNSEEN_TOKENS)}."
        raise InputError(f"{run}, unseen_tokens", f"{unseen_tokens!r} is unknown", mend)
    kept = unseen_tokens == KEPT
    if bool(read_before) == kept or (not kept and init_from is None):
        raise InputError(
            run,
            f"unseen_tokens: {MEAN} needs a model to start from and the text that it has read before, "
            f"and nothing else does",
            "Give unseen_tokens, init_from and read_before, or none of the first and the last.",
        )
    return kept


class Trainer:
    """Model, optimizer and data order at one point of a run.

    Attributes:
        done: updates made.
        metrics: one row per update.
        seconds: that the updates took, over all tries.
        positions: positions of one batch, over all processes.
        n_parameters: of the model, a tied one once.
    """

    def __init__(
        self,
        network: Any,
        reader: OrderReader,
        asked: Asked,
        processes: Processes,
        schedule: Schedule,
        optimizer: Mapping[str, Any],
        precision: str,
        zero_stage: int,
        micro_batch: int,
        slot: Slot | None,
        name: Mapping[str, Any],
    ) -> None:
        """Start DeepSpeed on `network`, whose weights are those of `slot` where that is given.

        `asked` turns batches into what the network is given. Each row of metrics begins with `name`.
        """
        self.name = dict(name)
        self.reader, self.asked, self.processes, self.schedule = reader, asked, processes, schedule
        self.model, self.clip, self.zero_stage = network.model, optimizer["clip"], zero_stage
        self.done = slot.step if slot else 0
        self.metrics: list[dict[str, Any]] = list(slot.metrics) if slot else []
        self.seconds = slot.seconds if slot else 0.0
        self.positions = reader.rows_per_step * reader.sequence_length
        self.n_parameters = sum(parameter.numel() for parameter in network.parameters())
        rows = reader.rows_per_step // processes.world
        self.micro_batch = min(micro_batch, rows)
        self._ahead: tuple[torch.Tensor, ...] | None = None
        self.adamw = torch.optim.AdamW(
            parameter_groups(self.model, optimizer["weight_decay"], schedule.embedding_lr),
            betas=tuple(optimizer["betas"]),
            eps=optimizer["eps"],
            fused=True,
        )
        self.engine = initialize(
            network,
            self.adamw,
            precision=precision,
            zero_stage=zero_stage,
            clip=self.clip,
            micro_batch=self.micro_batch,
            accumulation=math.ceil(rows / self.micro_batch),
        )
        if slot:
            load_moments(self.model, self.adamw, slot.folder, slot.step)

    def update(self) -> tuple[dict[str, Any], float]:
        """Take the next batch, make one update, and return its row of metrics and the seconds that it took."""
        started = time.monotonic()
        rate = self.schedule.at(self.done, self.reader.steps)
        for group in self.adamw.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
        input_ids, targets, positions, documents = self._ahead or self._inputs(self.done)
        (counted,) = self.processes.totals([(targets != IGNORED).sum()])
        n_targets = max(counted, 1)  # a small batch may have none behind a mask
        device = self.processes.device
        # Targets and documents stay on the CPU, where the model counts them: see its forward.
        inputs = (sent(input_ids, device), targets, sent(positions, device), documents)
        loss = torch.zeros((), dtype=torch.float64, device=self.processes.device)
        for micro in zip(*(tensor.split(self.micro_batch) for tensor in inputs), strict=True):
            summed = self.engine(*micro)
            # The engine averages gradients over processes; wanted is the mean over the targets of the whole batch.
            self.engine.backward(summed * (self.processes.world / n_targets), scale_wrt_gas=False)
            if self.zero_stage == 0 and self.engine.is_gradient_accumulation_boundary():
                norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
            self.engine.step()
            loss += summed.detach()
        # Put together while a GPU is still at work on this batch: below the host waits for it.
        self._ahead = self._inputs(self.done + 1) if self.done + 1 < self.reader.steps else None
        if self.zero_stage:
            norm = self.engine.get_global_grad_norm()
        (summed_loss,) = self.processes.totals([loss])
        self.done += 1
        row = {
            **self.name,
            "step": self.done,
            "loss": summed_loss / n_targets,
            "learning_rate": rate,
            "grad_norm": float(norm),
            "tokens": self.positions,
            "target_tokens": int(counted),
        }
        self.metrics.append(row)
        seconds = time.monotonic() - started
        self.seconds += seconds
        return row, seconds

    def _inputs(self, step: int) -> tuple[torch.Tensor, ...]:
        """Return input ids, targets, positions and documents of this process's rows of a batch, on the CPU."""
        rows = slice(self.processes.rank, None, self.processes.world)
        batch = self.asked(self.reader.batch(step, rows), step, range(self.reader.rows_per_step)[rows])
        arrays = (batch.input_ids, batch.targets, batch.positions, batch.documents)
        return tuple(torch.from_numpy(array) for array in arrays)

    def save(self, directory: WorkDirectory, identity: Mapping[str, Any]) -> None:
        """Save the resume state: process 0 writes it whole, so that any number of processes can go on from it.

        Raises:
            InputError: it cannot be written; the one before it stands.
        """
        adam = moments(self.model, self.adamw)

        def write() -> None:
            with directory.writing(f"the state of step {self.done}"):
                folder = directory.begin_state()
                files = {
                    STATE_WEIGHTS: save_tensors(folder / STATE_WEIGHTS, parameters(self.model)),
                    STATE_MOMENTS: save_tensors(folder / STATE_MOMENTS, adam),
                }
                directory.finish_state(
                    folder,
                    step=self.done,
                    identity=identity,
                    world=self.processes.world,
                    seconds=self.seconds,
                    metrics=self.metrics,
                    files=files,
                )

        self.processes.on_first(write)
