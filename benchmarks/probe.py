"""Scoring cloze questions with prefix trees against the published way, on the same questions in the same run.

    python benchmarks/probe.py --data DIR [--questions N] [--shape 0.5b|small|tiny] [--threads T]

DIR holds ``probes/*-culture-cloze_*.json`` and ``tokenizer/``. The model has random weights of the shape of
Qwen2.5-0.5B (or a small or tiny one). *Published* is four forward passes a question, one sequence each, in bfloat16
with the logits of all positions and the loss on them; *ours* is the product's code with float32 weights, which is what
a study uses, and with bfloat16 weights. So what a user gains is the line "ours, float32" against the published way in
bfloat16; the last column compares equal arithmetic. In float32 the decisions of both ways must be equal and the mean
losses within 1e-5 of each other: that is checked here on every question, and the program fails where it is not.

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
from typing import Any

import numpy as np
import peers
import torch
from shapes import MODELS
from transformers import AutoTokenizer

from lorebridge.corpora.released import fill_blanks
from lorebridge.probes.decisions import prediction_shares
from lorebridge.probes.scoring import Requests, build_requests, reference_losses
from lorebridge.probes.trees import build_tree, reads_trees, sum_logprobs
from lorebridge.train.model import build, qwen2_config


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


def compare(model: Any, requests: Requests, groups: list[int], batch_tokens: int, asked: int) -> dict[str, Any]:
    """Ask a model in both ways, in float32 and then in bfloat16.

    Args:
        model: of the product, in float32; it is left in bfloat16.
        requests: of the questions.
        groups: [texts] the number of the question of each, ascending from 0.
        batch_tokens: of ours.
        asked: questions that the published way is asked, spread evenly; ours is asked all.

    Returns:
        Questions a second by way and precision; of the questions that both were asked, how many decisions differ in
        float32 and the largest difference of a mean loss (nats); and the tokens of all sequences and of the trees.
    """
    device, n_questions = model.device.type, groups[-1] + 1
    asked = min(asked, n_questions)
    some = np.isin(groups, np.linspace(0, n_questions - 1, asked).astype(int))
    # The published way asks for every option, also where two give one text.
    sequences = [requests.sequences[i] for i in requests.request[some]]
    members: dict[int, list[list[int]]] = {}
    for sequence, group in zip(requests.sequences, requests.groups, strict=True):
        members.setdefault(group, []).append(sequence)
    longest = requests.longest_group()
    rates: dict[str, float] = {}
    trees = reads_trees(model, longest)
    losses: dict[str, np.ndarray] = {}
    for precision in ("float32", "bfloat16"):
        model = model.to(getattr(torch, precision))
        # Warms up.
        sum_logprobs(model, longest, [0] * len(longest), trees=trees, batch_tokens=1)
        with Clock(device) as clock:
            totals = sum_logprobs(model, requests.sequences, requests.groups, trees=trees, batch_tokens=batch_tokens)
        rates[f"ours, {precision}"] = n_questions / clock.seconds
        with Clock(device) as clock:
            published = reference_losses(model, sequences)
        rates[f"published way, {precision}"] = asked / clock.seconds
        if precision == "float32":
            losses = {"ours": (-totals[requests.request] / requests.n_tokens)[some], "published": published}
    numbers = np.unique(np.array(groups)[some], return_inverse=True)[1]
    decided, expected = (prediction_shares(-of, numbers, "reference") for of in losses.values())
    return {
        "questions": n_questions,
        "asked": asked,
        "trees": trees,
        "rates": rates,
        "differ": int((decided != expected).sum() // 2),
        "off": float(np.abs(losses["ours"] - losses["published"]).max()),
        "read": sum(len(requests.sequences[i]) for i in requests.request),
        "nodes": sum(len(build_tree(of_one).tokens) for of_one in members.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--questions", type=int, help="default: 12 on a CPU, all on a GPU")
    parser.add_argument("--shape", choices=sorted(MODELS), default="0.5b")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(arguments.threads)

    texts, groups = read_questions(arguments.data, arguments.questions or (12 if device == "cpu" else 10**6))
    tokenizer = AutoTokenizer.from_pretrained(arguments.data / "tokenizer")
    requests = build_requests(texts, groups, tokenizer)
    shape = MODELS[arguments.shape]
    config = qwen2_config(
        shape | {"max_position_embeddings": 32768, "vocab_size": max(shape["vocab_size"], len(tokenizer))},
        len(tokenizer),
        tokenizer.convert_tokens_to_ids("<|endoftext|>"),
    )
    model = build(config, 0).eval().to(device)
    found = compare(model, requests, groups, 32768 if device == "cuda" else 2048, len(texts))
    if found["off"] > 1e-5 or found["differ"]:
        sys.exit(
            f"not equal in float32: largest difference {found['off']:.2g}, {found['differ']} of {found['asked']} "
            "decisions differ"
        )

    rates = found["rates"]
    columns = [f"{found['questions']} questions, {arguments.shape} shape", "questions/s"]
    print(f"| {' | '.join([*columns, 'x published (bfloat16)', 'x published, same precision'])} |")
    print("|:--|--:|--:|--:|")
    for name, rate in rates.items():
        own = rates[f"published way, {name.split(', ')[1]}"]
        print(f"| {name} | {rate:.2f} | {rate / rates['published way, bfloat16']:.2f}x | {rate / own:.2f}x |")
    place = (
        torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} CPU, {arguments.threads} threads"
    )
    print(
        f"\n{found['read']:,} tokens of sequences, {found['nodes']:,} of trees: the limit of sharing is "
        f"{found['read'] / found['nodes']:.3f}x. float32: all {found['asked']} decisions equal, largest difference of "
        f"a mean loss {found['off']:.1g} nats. {place}, load {os.getloadavg()[0]:.1f}, "
        f"{peers.versions('torch', 'transformers')}. "
        f"Command: {' '.join(sys.argv)}"
    )


if __name__ == "__main__":
    main()
