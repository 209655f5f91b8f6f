"""The training step against Hugging Face's Trainer, on the same tokens and the same machine in the same run.

    python benchmarks/train.py [--shape cpu|0.5b] [--processes N] [--stages 0 1 2] [--steps N] [--rounds N]

Each side trains in a process of its own (with ``--processes`` under torchrun), one after the other, `--rounds` times;
the median step counts, after steps that warm up.
- *ours* is the loop's own update through ``initialize`` and ``PackedLanguageModel``: chunked loss, attention by
  document, float32 weights; on a GPU a compiled trunk and deterministic kernels. ``isolated`` cuts the same rows into
  documents of 300 tokens on average.
- *Trainer* is ``transformers.Trainer`` with the full logits and fused AdamW, also with ``torch_compile``, on a GPU with
  DeepSpeed ZeRO-2 and bfloat16, and there also compiled with Liger's kernels where they are installed. The last column
  compares with the fastest of them in the same precision.
Rows are random tokens, the learning rate is constant and nothing decays, so that the losses of *ours* and *Trainer*
must agree step by step: they are compared, in float32 closely where both run in it.

``cpu`` is a trunk of 39 million parameters at 512 positions, ``0.5b`` is Qwen2.5-0.5B at 2,048; both have 151,936
tokens (``tiny`` shows that all runs). MFU counts 6 FLOP a parameter in matrix products and causal attention
(``shapes.flops_per_token``) and takes as the peak the rate of a large bfloat16 matrix product, measured in the same
run: the limit of any step. The Trainer's sides need ``accelerate``: ``make peers``.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peers
from shapes import QWEN, SMALL, TINY, flops_per_token
from stand_ins import stand_in

# Rows of a batch and of a forward pass, ours and the peer's: 8 rows of full logits are 10 GB in float32.
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"model": TINY, "length": 128, "rows": 4, "micro": 2, "peer_micro": 2, "liger_micro": 2, "warm": 1},
    "cpu": {"model": SMALL, "length": 512, "rows": 2, "micro": 2, "peer_micro": 2, "liger_micro": 2, "warm": 2},
    "0.5b": {"model": QWEN, "length": 2048, "rows": 128, "micro": 16, "peer_micro": 8, "liger_micro": 16, "warm": 2},
}
PRODUCT = {"tiny": 256}  # rows of the matrix product that is the limit on a CPU; else 2,048
RATE = 1e-4
BETAS, EPS, CLIP = (0.9, 0.95), 1e-8, 1.0


def tokens(shape: dict[str, Any], steps: int) -> Any:
    """Return the token ids of all rows, [steps x rows, length]."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return torch.randint(shape["model"]["vocab_size"], (steps * shape["rows"], shape["length"]), generator=generator)


def documents(rows: int, length: int, packing: str) -> tuple[Any, Any]:
    """Return positions and documents [rows, length]: one document to a row, or some of 300 tokens on average."""
    import numpy as np

    if packing == "concatenated":
        return np.tile(np.arange(length), (rows, 1)), np.zeros((rows, length), np.int32)
    begins = np.random.default_rng(0).random((rows, length)) < 1 / 300
    begins[:, 0] = True
    at = np.arange(length)
    return at - np.maximum.accumulate(np.where(begins, at, 0), axis=1), (begins.cumsum(axis=1) - 1).astype(np.int32)


def reader_of(shape: dict[str, Any], packing: str, steps: int) -> Any:
    """Return what gives the loop its batches, as :class:`lorebridge.tokens.reader.OrderReader` does."""
    import numpy as np

    from lorebridge.tokens.reader import IGNORED, Batch

    rows, length = shape["rows"], shape["length"]
    ids = tokens(shape, steps).numpy().reshape(steps, rows, length)
    positions, of_document = documents(rows, length, packing)

    def batch(step: int, some: slice) -> Batch:
        last = np.full((rows, 1), IGNORED)
        targets = np.concatenate([ids[step][:, 1:], last], axis=1)
        return Batch(ids[step][some], targets[some], positions[some], of_document[some])

    return SimpleNamespace(rows_per_step=rows, sequence_length=length, steps=steps, batch=batch)


def trainer_of(shape: dict[str, Any], reader: Any, precision: str, stage: int, processes: Any, slot: Any = None) -> Any:
    """Return the loop's trainer of a new model, or of a saved state."""
    from lorebridge.train.architecture import as_read
    from lorebridge.train.loop import Trainer
    from lorebridge.train.model import PackedLanguageModel, build, qwen2_config
    from lorebridge.train.schedule import Schedule
    from lorebridge.train.tensors import load_parameters

    model = build(qwen2_config(shape["model"], shape["model"]["vocab_size"], 0), 0)
    if slot:
        load_parameters(model, slot.folder)
    network = PackedLanguageModel(model).to(processes.device)
    schedule = Schedule(RATE, schedule="constant")
    optimizer = {"betas": BETAS, "eps": EPS, "weight_decay": 0.0, "clip": CLIP}
    return Trainer(network, reader, as_read, processes, schedule, optimizer, precision, stage, shape["micro"], slot, {})


def ours(shape: dict[str, Any], precision: str, packing: str, stage: int, steps: int) -> list[tuple[float, float]]:
    """Return loss and seconds of each update of the loop."""
    stand_in()
    from lorebridge.train.engine import process_group

    with process_group() as processes:
        trainer = trainer_of(shape, reader_of(shape, packing, steps), precision, stage, processes)
        measured = []
        for _ in range(steps):
            row, seconds = trainer.update()
            measured.append((row["loss"], seconds))
        return measured


def peer(
    shape: dict[str, Any],
    precision: str,
    _: str,
    stage: int,
    steps: int,
    *,
    compiled: bool = False,
    liger: bool = False,
) -> list[tuple[float, float]]:
    """Return loss and seconds of each update of the Trainer, with DeepSpeed where that is here."""
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from lorebridge.train.model import build, qwen2_config

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.at: list[float] = []

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.at.append(-time.perf_counter())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.at[-1] += time.perf_counter()

    on_gpu = torch.cuda.is_available()
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rows = [{"input_ids": row, "labels": row} for row in tokens(shape, steps)]
    micro = min(shape["liger_micro" if liger else "peer_micro"], shape["rows"] // world)
    accumulation = shape["rows"] // micro // world
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=micro,
            max_steps=steps,
            gradient_accumulation_steps=accumulation,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            adam_beta1=BETAS[0],
            adam_beta2=BETAS[1],
            adam_epsilon=EPS,
            weight_decay=0.0,
            max_grad_norm=CLIP,
            bf16=precision == "bfloat16",
            use_cpu=not on_gpu,
            logging_steps=1,
            save_strategy="no",
            disable_tqdm=True,
            report_to="none",
            torch_compile=compiled,
            use_liger_kernel=liger,
            train_sampling_strategy="sequential",
            deepspeed={
                "train_micro_batch_size_per_gpu": "auto",
                "gradient_accumulation_steps": "auto",
                "gradient_clipping": "auto",
                "bf16": {"enabled": "auto"},
                "zero_optimization": {"stage": stage},
            }
            if on_gpu and importlib.util.find_spec("deepspeed")
            else None,
        )
        clock = Clock()
        model = build(qwen2_config(shape["model"], shape["model"]["vocab_size"], 0), 0)
        trainer = Trainer(model=model, args=settings, train_dataset=rows, callbacks=[clock])
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return list(zip(losses, clock.at, strict=True))


def peak(size: int = 2048) -> float:
    """Return the FLOP a second of a large bfloat16 matrix product on this machine; on a CPU one of `size`.

    The best of ten tries; of fewer on a CPU without instructions for bfloat16, where one takes half a minute.
    """
    import torch

    device, n = ("cuda", 8192) if torch.cuda.is_available() else ("cpu", size)
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    begun, times = time.perf_counter(), []
    while not times or (len(times) < 10 and time.perf_counter() - begun < 10):
        started = time.perf_counter()
        c = a @ b
        c[0, 0].item()  # waits for the GPU
        times.append(time.perf_counter() - started)
    return 2 * n**3 / min(times)


SIDES = {
    "ours": ours,
    "Trainer": peer,
    "Trainer + compile": functools.partial(peer, compiled=True),
    "Trainer + compile + Liger": functools.partial(peer, compiled=True, liger=True),
}


def measure(side: str, precision: str, packing: str, stage: int, shape: str, steps: int) -> dict[str, Any]:
    """Run one side in this process; return loss and seconds of each step, and the most memory that it took."""
    import torch

    measured = SIDES[side](SHAPES[shape], precision, packing, stage, steps)
    on_gpu = torch.cuda.is_available()
    # ru_maxrss is in KiB on Linux.
    kept = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"measured": measured, "bytes": kept}


def apart(side: tuple[str, str, str, int], shape: str, steps: int, processes: int) -> dict[str, Any]:
    """Return what :func:`measure` prints when it runs in processes of its own."""
    what = [str(Path(__file__).resolve()), "--shape", shape, "--steps", str(steps), "--side", json.dumps(side)]
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = subprocess.run([sys.executable, *torchrun, *what], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{side}: failed\n{done.stderr}")
    return json.loads(next(line for line in reversed(done.stdout.splitlines()) if line.startswith('{"measured"')))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--stages", type=int, nargs="+", default=[0], help="ZeRO stages of ours")
    parser.add_argument("--steps", type=int, default=3, help="measured, after those that warm up")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        measured = measure(*json.loads(arguments.side), arguments.shape, arguments.steps)
        if os.environ.get("RANK", "0") == "0":
            print("\n" + json.dumps(measured), flush=True)
        return

    peers.need("accelerate")
    import torch

    on_gpu = torch.cuda.is_available()
    liger = importlib.util.find_spec("liger_kernel")
    name = arguments.shape or ("0.5b" if on_gpu else "cpu")
    shape, steps = SHAPES[name], SHAPES[name]["warm"] + arguments.steps
    sides = [("ours", "bfloat16", "concatenated", stage) for stage in arguments.stages]
    sides += [("ours", "bfloat16", "isolated", arguments.stages[0])]
    if on_gpu:
        sides += [(name, "bfloat16", "concatenated", 2) for name in SIDES if "Liger" in name and liger]
        sides += [(name, "bfloat16", "concatenated", 2) for name in ("Trainer + compile", "Trainer")]
    else:
        sides += [("ours", "float32", "concatenated", arguments.stages[0])]
        trainers = ("Trainer + compile", "Trainer")
        sides += [
            (trainer, precision, "concatenated", 0) for precision in ("bfloat16", "float32") for trainer in trainers
        ]
    results: dict[Any, list[dict[str, Any]]] = {side: [] for side in sides}
    for _ in range(arguments.rounds):
        for side in sides:
            print(f"{side} ...", file=sys.stderr)
            results[side].append(apart(side, name, steps, arguments.processes))

    # The same losses, step by step: in float32 up to the order of summation, else up to bfloat16's rounding.
    reference = sides[-1]
    for side in sides:
        if side[2] == reference[2]:
            exact = side[1] == reference[1] == "float32"
            pairs = zip(results[side][0]["measured"], results[reference][0]["measured"], strict=True)
            apart_by = max(abs(a[0] - b[0]) for a, b in pairs)
            print(f"{side} and {reference}: losses apart by {apart_by:.1e}", file=sys.stderr)
            # Trainer rounds what it logs.
            assert apart_by < (2e-3 if exact else 2e-2), "these are not the same step"

    limit = peak(PRODUCT.get(name, 2048)) * (arguments.processes if on_gpu else 1)
    flops = flops_per_token(shape["model"], shape["length"])
    positions = shape["rows"] * shape["length"]

    def rate(side: Any) -> float:
        taken = [seconds for one in results[side] for _, seconds in one["measured"][shape["warm"] :]]
        return positions / statistics.median(taken)

    def best_peer(precision: str) -> float:
        return max(rate(side) for side in sides if side[0] != "ours" and side[1] == precision)

    chip = torch.cuda.get_device_name() if on_gpu else f"{platform.processor() or platform.machine()}"
    threads = os.environ.get("OMP_NUM_THREADS", "1" if arguments.processes > 1 else str(torch.get_num_threads()))
    print(
        f"`python benchmarks/train.py {' '.join(sys.argv[1:])}` on {chip}, {os.cpu_count()} cores, OMP_NUM_THREADS "
        f"{threads}, {peers.versions('torch', 'transformers', 'accelerate')}; "
        f"shape {name}: {positions:,} tokens a step, {arguments.processes} "
        f"process(es), {flops / 1e9:.3f} GFLOP/token. Limit: bfloat16 matrix products at {limit / 1e12:.2f} TFLOP/s, "
        f"{limit / flops:,.0f} tokens/s.\n"
    )
    print("| | precision | packing | ZeRO | tokens/s | MFU | GiB | x best Trainer of the precision |")
    print("|---|---|---|---|---|---|---|---|")
    for side in sides:
        memory = max(one["bytes"] for one in results[side]) / 2**30
        print(
            f"| {side[0]} | {side[1]} | {side[2]} | {side[3]} | {rate(side):,.0f} | {rate(side) * flops / limit:.1%} "
            f"| {memory:.2f} | {rate(side) / best_peer(side[1]):.2f} |"
        )


if __name__ == "__main__":
    main()
