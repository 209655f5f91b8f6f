"""Facts asked of a masked model, many at a time against one at a time, on the same facts in the same run.

    python benchmarks/asking.py [--shape bert4|mbert|xlmr2] [--n N] [--plain N] [--decode ...] [--lengths ...]

The facts are those of mLAMA (English, German and Russian; `LOREBRIDGE_DATA` names the folder that holds `facts/mlama`),
or invented ones where it is not set; the pieces are those of a WordPiece tokenizer that is trained on them. The model
has random weights: *bert4* is bert-base-multilingual-cased with 4 of its layers, *mbert* all of it, *xlmr2* has the
vocabulary and the width of XLM-R-large and 2 layers, for memory.

*One at a time* is the plain loop over facts and numbers of masks: a prompt a forward pass of ``BertForMaskedLM`` in
inference mode, with the logits of all its positions, as that class gives them. *Ours* is what the product asks a
relation of a language with. Both are in float32, with as many threads, each in a process of its own; loading the model
is not counted, tokenizing is; seconds are those of the processor, of all threads together. What both write must be
equal, and whether it is right; log-probabilities may differ by 1e-4. The program fails where they do not.

Memory is the most that the process had in RAM (VmHWM), Python and torch included, less the weights. The limit is the
arithmetic (a multiply and an add are 2 FLOP) of the encoder at every token and of the vocabulary at the masks, at the
rate of a large float32 matrix product, measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tokenizers
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from lorebridge import tables
from lorebridge.probes.asking import Manner, Masked, Part, asker
from lorebridge.probes.facts import build_facts
from lorebridge.probes.masked import CPU_TOKENS

SHAPES = {
    "tiny": {"vocab_size": 1000, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    "bert4": {"vocab_size": 119547, "hidden_size": 768, "num_hidden_layers": 4, "num_attention_heads": 12},
    "mbert": {"vocab_size": 119547, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    "xlmr2": {"vocab_size": 250002, "hidden_size": 1024, "num_hidden_layers": 2, "num_attention_heads": 16},
}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LANGS, RELATIONS = ["en", "de", "ru"], ["P19", "P103"]
# Of the tokenizer: with so many the objects of these facts have some two pieces on average, as mBERT's have.
PIECES = 4000
NEAR = 1e-4


def invented(n: int) -> pd.DataFrame:
    """Return n facts in invented words, whose objects are one to three words."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghijklmnop"), 6)) for _ in range(400)]
    objects = [" ".join(rng.choice(words, 1 + i % 3)) for i in range(120)]
    rows = []
    for i in range(n):
        answer = objects[int(rng.integers(len(objects)))]
        subject = f"{rng.choice(words)} {rng.choice(words)} {i}"
        rows.append(
            {
                "fact_id": f"f{i}",
                "relation": f"r{i // 500}",
                "lang": "en",
                "subject_id": subject,
                "subject": subject,
                "object_id": answer,
                "object": answer,
                "template": "[X] was said to have been born in [Y] .",
                "golds": [answer],
                "candidates": None,
            }
        )
    return pd.DataFrame(rows)


def facts_of(data: str | None, n: int, folder: Path) -> pd.DataFrame:
    """Return n facts of mLAMA, whole relations as far as they go, or invented ones where there is no data."""
    if not data:
        return invented(n)
    build_facts(
        shape="mlama", langs=LANGS, folder=Path(data) / "facts/mlama", relations=RELATIONS, out=folder / "all.parquet"
    )
    return tables.read(folder / "all.parquet").iloc[:n]


def write_model(folder: Path, facts: pd.DataFrame, shape: str) -> None:
    """Write a model of random weights, and a WordPiece tokenizer of the facts, its vocabulary filled up."""
    size = SHAPES[shape]["vocab_size"]
    split = pre_tokenizers.BertPreTokenizer()
    small = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    small.pre_tokenizer = split
    texts = [text for name in ("subject", "object", "template") for text in facts[name].unique()]
    small.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=min(size, PIECES), special_tokens=SPECIAL, show_progress=False)
    )
    pieces = small.get_vocab()
    filled = pieces | {f"[unused{i}]": i for i in range(len(pieces), size)}
    found = Tokenizer(models.WordPiece(filled, unk_token="[UNK]"))
    found.pre_tokenizer = split
    found.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, found.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    )
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]", "cls_token": "[CLS]"}
    PreTrainedTokenizerFast(tokenizer_object=found, **named).save_pretrained(folder)
    torch.manual_seed(0)
    said = SHAPES[shape]
    config = BertConfig(**said, intermediate_size=4 * said["hidden_size"], initializer_range=0.1)
    BertForMaskedLM(config).save_pretrained(folder)


def told(seconds: float, at_start: int, weights: int) -> dict[str, float]:
    """Return seconds, and MB: of Python and its libraries, of the weights, and the most beyond these."""
    return {"seconds": seconds, "at_start": at_start, "weights": weights, "beyond": memory("VmHWM") - weights}


def memory(what: str) -> int:
    """Return MB of this process's memory (VmRSS), or the most that it had (VmHWM).

    Not what getrusage says: that counts in what the process was before it ran this program.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith(what)).split()[1]) // 1024


def weights_of(model: Any) -> int:
    """Return the MB of a model's parameters, tied ones once."""
    return sum(p.numel() * p.element_size() for p in model.parameters()) // 2**20


def ours(model: Path, facts: Path, out: Path, decode: str, lengths: str) -> dict[str, float]:
    """Ask all facts as the product does, a relation of a language after the other."""
    at_start = memory("VmRSS")
    ask = asker(model, Manner(decode=decode, lengths=lengths), CPU_TOKENS)
    assert isinstance(ask, Masked)
    parts = [Part.of(rows) for _, rows in tables.read(facts).groupby(["lang", "relation"], sort=False)]
    network = ask.load(model, "cpu", parts)
    started = time.process_time()
    found = pd.concat([ask.take(network, part, model) for part in parts], ignore_index=True)
    seconds = time.process_time() - started
    found[["lang", "fact_id", "exact", "gold_logprob", "best_candidate", "n_masks"]].to_parquet(out)
    return told(seconds, at_start, weights_of(network))


def one_at_a_time(model: Path, facts: Path, out: Path, decode: str, lengths: str, some: int) -> dict[str, float]:
    """Ask some facts, one after the other: masks at once or from left to right, the gold's number of them or any."""
    at_start = memory("VmRSS")
    table = tables.read(facts)
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = BertForMaskedLM.from_pretrained(model, dtype=torch.float32).eval()
    texts = table["object"].tolist()
    golds = dict(zip(texts, tokenizer(texts, add_special_tokens=False)["input_ids"], strict=True))
    longest = table.groupby(["lang", "relation"])["object"].agg(lambda said: max(len(golds[text]) for text in said))
    mask = tokenizer.mask_token_id
    rows = []

    @torch.inference_mode()
    def asked(fact: Any, n: int, gold: list[int]) -> tuple[list[int], float, float]:
        """Return what is written into n masks, its mean log-probability, and that of the gold where it has n pieces."""
        text = fact.template.replace("[X]", fact.subject).replace("[Y]", " ".join([tokenizer.mask_token] * n))
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        places = (ids[0] == mask).nonzero()[:, 0]
        forced = ids.clone()
        said: list[tuple[int, float]] = []
        value = []
        logits = network(input_ids=ids).logits[0, places] if decode == "simultaneous" else None
        for j, place in enumerate(places):
            here = network(input_ids=ids).logits[0, place] if logits is None else logits[j]
            logprobs = torch.log_softmax(here, dim=-1)
            said.append((int(here.argmax()), float(logprobs.max())))
            if len(gold) == n:
                if decode != "simultaneous":
                    if not torch.equal(forced, ids):
                        logprobs = torch.log_softmax(network(input_ids=forced).logits[0, place], dim=-1)
                    forced[0, place] = gold[j]
                    ids[0, place] = said[-1][0]
                value.append(float(logprobs[gold[j]]))
            elif decode != "simultaneous":
                ids[0, place] = said[-1][0]
        return [token for token, _ in said], float(np.mean([p for _, p in said])), float(np.mean(value or [np.nan]))

    started = time.process_time()
    for place in np.linspace(0, len(table) - 1, min(some, len(table))).astype(int):
        fact = table.iloc[place]
        gold = golds[fact["object"]]
        tried = range(1, longest[fact["lang"], fact["relation"]] + 1) if lengths == "any" else [len(gold)]
        answers = [asked(fact, n, gold) for n in tried]
        best = max(answers, key=lambda answer: answer[1])[0]
        rows.append(
            {
                "lang": fact["lang"],
                "fact_id": fact["fact_id"],
                "exact": float(any(written == gold for written, _, _ in answers)),
                "gold_logprob": next(value for _, _, value in answers if not np.isnan(value)),
                "best_candidate": tokenizer.decode(best).strip(),
                "tokens": len(tokenizer(fact["template"].replace("[X]", fact["subject"]))["input_ids"]),
            }
        )
    seconds = time.process_time() - started
    pd.DataFrame(rows).to_parquet(out)
    return told(seconds, at_start, weights_of(network))


def differences(found: pd.DataFrame, plain: pd.DataFrame) -> float:
    """Return the largest difference of log-probabilities between the two ways.

    Raises:
        AssertionError: that is too large, or what is written, or whether it is right, is not the same.
    """
    same = plain.merge(found, on=["lang", "fact_id"], suffixes=("_plain", ""))
    assert len(same) == len(plain) > 0
    for name in ("exact", "best_candidate"):
        differ = same[same[name] != same[f"{name}_plain"]]
        assert differ.empty, f"the two ways differ in {name}: {differ.iloc[0].to_dict()}"
    off = float((same["gold_logprob"] - same["gold_logprob_plain"]).abs().max())
    assert off <= NEAR, f"log-probabilities differ by {off}"
    return off


def products(size: int = 2048) -> float:
    """Return the FLOP of a large float32 matrix product in a second of processor."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    best = float("inf")
    for _ in range(4):
        started = time.process_time()
        a @ b
        best = min(best, time.process_time() - started)
    return 2 * size**3 / best


def arithmetic(shape: str, tokens: float, masks: float) -> float:
    """Return the FLOP of the encoder at some tokens and of the vocabulary at some masks."""
    said = SHAPES[shape]
    width = said["hidden_size"]
    return 2 * (12 * said["num_hidden_layers"] * width**2 * tokens + said["vocab_size"] * width * masks)


def apart(way: str, arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Return what a way tells in a process of its own."""
    given = {"folder": str(folder), "way": way, "plain": arguments.plain, "threads": arguments.threads}
    said = json.dumps(given | {"decode": arguments.decode, "lengths": arguments.lengths})
    done = subprocess.run([sys.executable, __file__, "--inside", said], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{way}: failed\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def inside(said: dict[str, Any]) -> dict[str, float]:
    """Do one way in this process."""
    torch.set_num_threads(said["threads"])
    folder = Path(said["folder"])
    asked = (folder / "model", folder / "facts.parquet", folder / f"{said['way']}.parquet", said["decode"])
    if said["way"] == "ours":
        return ours(*asked, said["lengths"])
    return one_at_a_time(*asked, said["lengths"], said["plain"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="bert4")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--plain", type=int, default=60, help="facts that are asked one at a time, spread over all")
    parser.add_argument("--decode", choices=["simultaneous", "left_to_right"], default="simultaneous")
    parser.add_argument("--lengths", choices=["gold", "any"], default="gold")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        print(json.dumps(inside(json.loads(arguments.inside))))
        return
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        facts = facts_of(os.environ.get("LOREBRIDGE_DATA"), arguments.n, folder)
        tables.write("facts", facts, folder / "facts.parquet")
        write_model(folder / "model", facts, arguments.shape)
        said = {way: apart(way, arguments, folder) for way in ("ours", "one at a time")}
        found, plain = (pd.read_parquet(folder / f"{way}.parquet") for way in said)
    off = differences(found, plain)
    rates = {"ours": len(facts) / said["ours"]["seconds"], "plain": len(plain) / said["one at a time"]["seconds"]}
    print(
        f"`python benchmarks/asking.py {' '.join(sys.argv[1:])}` on {platform.processor() or platform.machine()}, "
        f"{arguments.threads} thread(s); torch {torch.__version__}, transformers {transformers.__version__}, "
        f"tokenizers {tokenizers.__version__}, float32, sdpa, batches of {CPU_TOKENS} tokens."
    )
    print(
        f"{len(facts)} facts of {'mLAMA' if os.environ.get('LOREBRIDGE_DATA') else 'invented words'}, {len(plain)} of "
        f"them one at a time; {found['n_masks'].mean():.2f} masks and {plain['tokens'].mean():.1f} tokens a fact. "
        f"Written and right alike; log-probabilities apart by {off:.1e} at most."
    )
    if arguments.lengths == "gold" and arguments.decode == "simultaneous":
        flop = arithmetic(arguments.shape, plain["tokens"].mean() + found["n_masks"].mean(), found["n_masks"].mean())
        rate = products()
        print(f"Limit: {flop / 1e9:.2f} GFLOP a fact at {rate / 1e9:.0f} GFLOP/s, {rate / flop:.1f} facts/s.")
    print("\n| | facts/s | MB when started | weights, MB | peak beyond the weights, MB |\n|---|--:|--:|--:|--:|")
    for way, rate in zip(said, rates.values(), strict=True):
        one = said[way]
        print(f"| {way} | {rate:.1f} | {one['at_start']:.0f} | {one['weights']:.0f} | {one['beyond']:.0f} |")
    print(f"\n{rates['ours'] / rates['plain']:.1f} times as fast")


if __name__ == "__main__":
    main()
