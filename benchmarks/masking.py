"""Training of a masked model against Hugging Face's Trainer, on the same tokens and the same machine in the same run.

    python benchmarks/masking.py [--shape cpu|tiny] [--threads N] [--steps N] [--rounds N] [--sides NAME ...]

Each side trains in a process of its own, one after the other, `--rounds` times; the median step counts, after steps
that warm up (and compile). The Trainer is tried in several ways, and ours is held against the best of them.
- *ours* is the loop's own update through ``initialize`` and ``PackedMaskedModel``: documents packed into rows, each
  attending to itself alone; the vocabulary is predicted at the targets, one token of seven.
- *Trainer, rows* is ``transformers.Trainer`` with ``DataCollatorForLanguageModeling`` (15 %) over the same rows, cut
  from the documents end to end as ``run_mlm.py`` does: nothing is padded, and a row attends to all of itself.
- *Trainer, rows, workers* is the same with two worker processes of the loader, which mask ahead; their processor time
  is not counted, to its favour.
- *Trainer, rows, compiled* is the same with ``torch_compile``.
- *Trainer, documents* has a document to a row, those of like length together (``group_by_length``), which its collator
  pads. A step has as many rows as hold about the same number of tokens.
All are float32 with fused AdamW and scaled-dot-product attention. Rates are of tokens that are no padding. A way that
does not work on this machine is told and left out.

That ours and the Trainer's make the same update is checked first, on rows of one document and with one and the same
masks: their losses must agree step by step, up to what Trainer rounds. The limit is 6 FLOP a parameter of the trunk and
token, and of the vocabulary and target, and attention within a document, at the rate of a large float32 matrix product,
measured in the same run. The Trainer needs ``accelerate``: ``make peers``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import peers
from asking import products

from train import BETAS, CLIP, EPS, RATE

# bert-small of Turc et al. (2019): 4 layers of width 512; the vocabulary of BERT.
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "model": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
        "vocabulary": 500,
        "length": 64,
        "rows": 4,
        "document": 20,
        "warm": 1,
    },
    "cpu": {
        "model": {"hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "intermediate_size": 2048},
        "vocabulary": 30_522,
        "length": 256,
        "rows": 8,
        "document": 128,
        "warm": 2,
    },
}
MASK, EOT = 1, 0
OURS = "ours"
PEERS: dict[str, dict[str, Any]] = {
    "Trainer, rows": {"way": "rows"},
    "Trainer, rows, workers": {"way": "rows", "workers": 2},
    "Trainer, rows, compiled": {"way": "rows", "compiled": True},
    "Trainer, documents": {"way": "documents"},
}
"""How the Trainer is set."""
SAME = ("ours, one document a row", "Trainer, given masks")
"""The two that must have the same losses."""


def documents(shape: dict[str, Any], steps: int) -> list[np.ndarray]:
    """Return the tokens of documents that fill the rows of all steps, each opened by ``<|endoftext|>``."""
    rng = np.random.default_rng(0)
    left, found = steps * shape["rows"] * shape["length"], []
    while left:
        n = min(left, 2 + int(rng.exponential(shape["document"])))
        found.append(np.concatenate([[EOT], rng.integers(2, shape["vocabulary"], n - 1)]))
        left -= n
    return found


def rows_of(shape: dict[str, Any], steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return tokens, positions and documents, each [steps, rows, length]: end to end, and cut where a row ends."""
    size = (steps, shape["rows"], shape["length"])
    ids = np.concatenate(documents(shape, steps)).reshape(size)
    begins = ids == EOT
    begins[..., 0] = True
    at = np.arange(shape["length"])
    positions = at - np.maximum.accumulate(np.where(begins, at, 0), axis=-1)
    return ids, positions, (begins.cumsum(axis=-1) - 1).astype(np.int32)


def build(shape: dict[str, Any]) -> Any:
    """Return the model, the same at every call."""
    from lorebridge.train import masked

    sizes = shape["model"] | {"max_position_embeddings": shape["length"]}
    return masked.build(masked.bert_config(sizes, shape["vocabulary"], EOT), 0)


def asked_of(shape: dict[str, Any], whole: bool, steps: int) -> Any:
    """Return what gives the batch of a step, with its masks; with `whole` each row is one document."""
    from lorebridge.tokens.reader import IGNORED, Batch
    from lorebridge.train.masking import masked

    ids, positions, of_document = rows_of(shape, steps)
    if whole:
        positions, of_document = np.broadcast_to(np.arange(shape["length"]), ids.shape), np.zeros_like(of_document)

    def batch(step: int, some: slice) -> Batch:
        of = [np.ascontiguousarray(array[step][some]) for array in (ids, positions, of_document)]
        return Batch(of[0], np.full_like(of[0], IGNORED), of[1], of[2])

    def asked(read: Batch, step: int, rows: Any) -> Batch:
        return masked(read, seed=0, step=step, rows=rows, mask=MASK, end_of_text=EOT, vocabulary=shape["vocabulary"])

    reader = SimpleNamespace(rows_per_step=shape["rows"], sequence_length=shape["length"], steps=steps, batch=batch)
    return reader, asked


def ours(shape: dict[str, Any], steps: int, whole: bool) -> list[dict[str, float]]:
    """Return what each update of the loop tells."""
    from lorebridge.train.engine import process_group
    from lorebridge.train.loop import Trainer
    from lorebridge.train.masked import PackedMaskedModel
    from lorebridge.train.schedule import Schedule

    reader, asked = asked_of(shape, whole, steps)
    found = []
    with process_group() as processes:
        network = PackedMaskedModel(build(shape))
        optimizer = {"betas": BETAS, "eps": EPS, "weight_decay": 0.0, "clip": CLIP}
        schedule = Schedule(RATE, schedule="constant")
        trainer = Trainer(network, reader, asked, processes, schedule, optimizer, "float32", 0, shape["rows"], None, {})
        for _ in range(steps):
            started = time.process_time()
            row, seconds = trainer.update()
            spent = time.process_time() - started
            found.append({"loss": row["loss"], "seconds": seconds, "processor": spent, "tokens": row["tokens"]})
    return found


def tokenizer_of(shape: dict[str, Any]) -> Any:
    """Return a tokenizer of the vocabulary, which the collator asks for its mask and its padding."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    names = {"<|endoftext|>": EOT, "<mask>": MASK} | {f"t{i}": i for i in range(2, shape["vocabulary"])}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(names, unk_token="t2")),
        mask_token="<mask>",
        pad_token="<|endoftext|>",
    )


def peer(
    shape: dict[str, Any], steps: int, way: str, *, compiled: bool = False, workers: int = 0
) -> list[dict[str, float]]:
    """Return what each update of the Trainer tells: over `rows`, `documents`, or rows with masks that are `given`."""
    import torch
    from transformers import (
        DataCollatorForLanguageModeling,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        default_data_collator,
    )

    at: list[dict[str, float]] = []
    read: list[int] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            at.append({"seconds": -time.perf_counter(), "processor": -time.process_time()})

        def on_step_end(self, *_: Any, **__: Any) -> None:
            at[-1]["seconds"] += time.perf_counter()
            at[-1]["processor"] += time.process_time()

    collator = DataCollatorForLanguageModeling(tokenizer_of(shape), mlm_probability=0.15)
    rows = shape["rows"]
    if way == "given":
        reader, asked = asked_of(shape, True, steps)
        batches = [asked(reader.batch(step, slice(None)), step, range(rows)) for step in range(steps)]
        examples = [
            {"input_ids": ids, "labels": targets}
            for batch in batches
            for ids, targets in zip(batch.input_ids, batch.targets, strict=True)
        ]
    else:
        pieces = [row for step in rows_of(shape, steps)[0] for row in step]
        if way == "documents":
            cuts = range(0, steps * shape["rows"] * shape["length"], shape["length"])
            cut = [document[i : i + shape["length"]] for document in documents(shape, steps) for i in cuts]
            pieces = [piece for piece in cut if len(piece)]
            rows = round(rows * shape["length"] * len(pieces) / sum(map(len, pieces)))
        examples = [{"input_ids": ids, "special_tokens_mask": (ids == EOT).astype(int)} for ids in pieces]

    def collate(some: list[dict[str, Any]]) -> Any:
        """Put a batch together, and count what is read; what was given as an array is a list again."""
        read.append(sum(len(one["input_ids"]) for one in some))
        return default_data_collator(some) if way == "given" else collator(some)

    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=rows,
            max_steps=steps,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            optim="adamw_torch_fused",
            adam_beta1=BETAS[0],
            adam_beta2=BETAS[1],
            adam_epsilon=EPS,
            weight_decay=0.0,
            max_grad_norm=CLIP,
            use_cpu=True,
            logging_steps=1,
            save_strategy="no",
            disable_tqdm=True,
            report_to="none",
            torch_compile=compiled,
            dataloader_num_workers=workers,
            dataloader_drop_last=True,
            remove_unused_columns=False,
            train_sampling_strategy="group_by_length" if way == "documents" else "sequential",
        )
        trainer = Trainer(
            model=build(shape), args=settings, train_dataset=examples, data_collator=collate, callbacks=[Clock()]
        )
        torch.manual_seed(0)
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    # With workers the collator counts in other processes: there every row is full.
    counts = read[:steps] if read else [rows * shape["length"]] * steps
    return [{**one, "loss": loss, "tokens": n} for one, loss, n in zip(at, losses, counts, strict=True)]


def measure(side: str, shape: str, steps: int) -> list[dict[str, float]]:
    """Run one side in this process."""
    said = SHAPES[shape]
    if side in (OURS, SAME[0]):
        return ours(said, steps, side == SAME[0])
    return peer(said, steps, **({"way": "given"} if side == SAME[1] else PEERS[side]))


def apart(side: str, arguments: argparse.Namespace, steps: int) -> list[dict[str, float]] | None:
    """Return what :func:`measure` prints in a process of its own; None where the side does not work."""
    said = json.dumps([side, arguments.shape, steps])
    done = subprocess.run(
        [sys.executable, __file__, "--inside", said, "--threads", str(arguments.threads)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(f"{side}: failed\n{done.stderr[-2000:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def arithmetic(shape: dict[str, Any]) -> float:
    """Return the FLOP of a token: of the trunk, of the vocabulary at one token of seven, and of its document's rest."""
    from lorebridge.train.masking import TARGETS

    width, layers = shape["model"]["hidden_size"], shape["model"]["num_hidden_layers"]
    trunk = layers * (4 * width**2 + 2 * width * shape["model"]["intermediate_size"])
    _, positions, _ = rows_of(shape, 1)
    # A token attends to all of its document, twice its place on average.
    attention = 12 * layers * width * 2 * float(positions.mean())
    return 6 * (trunk + TARGETS * (shape["vocabulary"] * width + width**2)) + attention


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3, help="measured, after those that warm up")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--sides", nargs="+", choices=(OURS, *PEERS), default=[OURS, *PEERS], metavar="NAME")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        import torch

        torch.set_num_threads(arguments.threads)
        print("\n" + json.dumps(measure(*json.loads(arguments.inside))), flush=True)
        return
    peers.need("accelerate")
    import torch

    torch.set_num_threads(arguments.threads)
    shape = SHAPES[arguments.shape]
    one, two = (apart(side, arguments, 2) for side in SAME)
    if one is None or two is None:
        sys.exit("error: the step of both sides could not be compared")
    off = max(abs(a["loss"] - b["loss"]) for a, b in zip(one, two, strict=True))
    assert off < 2e-3, f"these are not the same step: losses apart by {off}"
    results: dict[str, list[dict[str, float]]] = {}
    for _ in range(arguments.rounds):
        for side in arguments.sides:
            print(f"{side} ...", file=sys.stderr)
            if found := apart(side, arguments, shape["warm"] + arguments.steps):
                results[side] = results.get(side, []) + found[shape["warm"] :]

    def rate(side: str, by: str) -> float:
        return statistics.median(step["tokens"] / step[by] for step in results[side])

    ways = [side for side in results if side != OURS]
    if not ways:
        sys.exit("error: no way of the Trainer was measured")
    best = {by: max(ways, key=lambda side: rate(side, by)) for by in ("processor", "seconds")}
    flop, peak = arithmetic(shape), products()
    print(
        f"`python benchmarks/masking.py {' '.join(sys.argv[1:])}` on {platform.processor() or platform.machine()}, "
        f"{os.cpu_count()} cores, {arguments.threads} thread(s); "
        f"{peers.versions('torch', 'transformers', 'accelerate')}, float32; shape {arguments.shape}: "
        f"{shape['rows'] * shape['length']:,} tokens a step, documents of {shape['document']} on average. Losses of "
        f"the same step apart by {off:.1e}.\n"
        f"Limit: {flop / 1e6:.0f} MFLOP a token at {peak / 1e9:.0f} GFLOP in a second of processor, {peak / flop:,.0f} "
        "tokens.\n"
    )
    print("| | tokens in a second of processor | x best Trainer | tokens/s | x best Trainer |")
    print("|---|--:|--:|--:|--:|")
    for side in results:
        shown = [f"{rate(side, by):,.0f} | {rate(side, by) / rate(best[by], by):.2f}" for by in best]
        print(f"| {side} | {' | '.join(shown)} |")
    print(f"\nLoad of the machine at the end (cores that were asked for): {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
