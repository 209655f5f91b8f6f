"""Scoring cloze questions with prefix trees against the published way, on the same questions in the same run.

    python benchmarks/probe.py --data DIR [--questions N] [--shape 0.5b|small] [--threads T]

DIR holds ``probes/*-culture-cloze_*.json`` and ``tokenizer/``. The model has random weights of the shape of
Qwen2.5-0.5B (or a small one). *Published* is four forward passes a question, one sequence each, in bfloat16 with the
logits of all positions and the loss on them; *ours* is the product's code with bfloat16 weights, and with float32
weights, which is what the product uses. In float32 the decisions of both ways must be equal and the mean losses within
1e-5 of each other: that is checked here on every question, and the program fails where it is not.

The limit of sharing is (tokens of all sequences) / (tokens of the trees): a beginning is read once instead of four
times. What lies above it comes from fuller batches, which read the weights less often, and from fewer launches.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer

from lorebridge.corpora.released import fill_blanks
from lorebridge.probes.decisions import prediction_shares
from lorebridge.probes.scoring import build_requests, reference_losses
from lorebridge.probes.trees import build_tree, reads_trees, sum_logprobs
from lorebridge.train.model import build, qwen2_config

SHAPES = {
    "0.5b": {
        "hidden_size": 896,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "intermediate_size": 4864,
        "vocab_size": 151936,
    },
    "small": {
        "hidden_size": 512,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "intermediate_size": 1408,
        "vocab_size": 151936,
    },
}
ROPE = {"rope_theta": 1e6, "tie_word_embeddings": True, "max_position_embeddings": 32768}


def read_questions(data: Path, number: int) -> tuple[list[str], list[int]]:
    """Return filled questions, spread evenly over all files, and the number of the question of each."""
    rows = [
        row
        for path in sorted((data / "probes").glob("*-culture-cloze_*.json"))
        for row in json.loads(path.read_text(encoding="utf-8"))
    ]
    if not rows:
        sys.exit(f"{data}/probes holds no *-culture-cloze_*.json")
    rows = [rows[i] for i in np.linspace(0, len(rows) - 1, min(number, len(rows))).astype(int)]
    texts = [fill_blanks(row["question"], option) for row in rows for option in row["options"]]
    return texts, [index for index, row in enumerate(rows) for _ in row["options"]]


class Clock:
    def __init__(self, device: str) -> None:
        self.device = device

    def __enter__(self) -> Clock:
        self.synchronise()
        self.start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.synchronise()
        self.seconds = time.perf_counter() - self.start

    def synchronise(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--questions", type=int, help="default: 12 on a CPU, all on a GPU")
    parser.add_argument("--shape", choices=SHAPES, default="0.5b")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(arguments.threads)
    batch_tokens = 32768 if device == "cuda" else 2048

    texts, groups = read_questions(arguments.data, arguments.questions or (12 if device == "cpu" else 10**6))
    tokenizer = AutoTokenizer.from_pretrained(arguments.data / "tokenizer")
    requests = build_requests(texts, groups, tokenizer)
    # The published way asks for every option, also where two give one text.
    asked = [requests.sequences[i] for i in requests.request]
    members: dict[int, list[list[int]]] = {}
    for sequence, group in zip(requests.sequences, requests.groups, strict=True):
        members.setdefault(group, []).append(sequence)
    read = sum(len(sequence) for sequence in asked)
    nodes = sum(len(build_tree(sequences).tokens) for sequences in members.values())

    config = qwen2_config(
        SHAPES[arguments.shape] | ROPE, len(tokenizer), tokenizer.convert_tokens_to_ids("<|endoftext|>")
    )
    model = build(config, 0).eval().to(device)
    seconds: dict[str, float] = {}
    trees = reads_trees(model, requests.longest_group())  # warms up too
    with Clock(device) as clock:
        totals = sum_logprobs(model, requests.sequences, requests.groups, trees=trees, batch_tokens=batch_tokens)
    seconds["ours, float32"] = clock.seconds
    with Clock(device) as clock:
        plain = reference_losses(model, asked)
    seconds["published way, float32"] = clock.seconds
    ours = -totals[requests.request] / requests.n_tokens
    off = float(np.abs(ours - plain).max())
    decided, expected = (prediction_shares(-losses, np.array(groups), "reference") for losses in (ours, plain))
    n_questions = groups[-1] + 1
    differ = int((decided != expected).sum() // 2)
    if off > 1e-5 or differ:
        sys.exit(f"not equal in float32: largest difference {off:.2g}, {differ} of {n_questions} decisions differ")

    model = model.to(torch.bfloat16)
    sum_logprobs(model, requests.longest_group(), [0] * len(requests.longest_group()), trees=trees, batch_tokens=1)
    with Clock(device) as clock:
        sum_logprobs(model, requests.sequences, requests.groups, trees=trees, batch_tokens=batch_tokens)
    seconds["ours, bfloat16"] = clock.seconds
    with Clock(device) as clock:
        reference_losses(model, asked)
    seconds["published way, bfloat16"] = clock.seconds

    published = seconds["published way, bfloat16"]
    print(f"| {n_questions} questions, {arguments.shape} shape | seconds | questions/s | against published, bfloat16 |")
    print("|:--|--:|--:|--:|")
    for name in ("published way, bfloat16", "ours, bfloat16", "published way, float32", "ours, float32"):
        took = seconds[name]
        print(f"| {name} | {took:.2f} | {n_questions / took:.2f} | {published / took:.2f}x |")
    place = (
        torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} CPU, {arguments.threads} threads"
    )
    print(
        f"\n{read:,} tokens of sequences, {nodes:,} of trees: the limit of sharing is {read / nodes:.3f}x. float32: "
        f"all {n_questions} decisions equal, largest difference of a mean loss {off:.1g} nats. {place}, load "
        f"{os.getloadavg()[0]:.1f}, torch {torch.__version__}. Command: {' '.join(sys.argv)}"
    )


if __name__ == "__main__":
    main()
