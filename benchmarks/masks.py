"""Facts asked of a masked model, all at once against one at a time, on the same facts in the same run.

    python benchmarks/masks.py [--facts FACTS.parquet] [--n N] [--shape small|mbert|xlmr] [--decode ...] [--space ...]

The model has random weights of a shape: *mbert* is that of bert-base-multilingual-cased, *small* the same vocabulary
with a small encoder, *xlmr* the vocabulary of XLM-R with a small encoder, for memory. *One at a time* is the plain
loop over facts: one prompt a forward pass, the logits of all its positions, as the published code has it. *Ours* is the
product's code. What both answer, and whether it is right, must be equal, and the log-probabilities within 1e-4: that is
checked here on every fact, and the program fails where it is not. Peak memory beyond the weights is that of this
process while ours works, as the system counts it.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from lorebridge import tables
from lorebridge.probes.asking import score_facts

SHAPES = {
    "small": {"vocab_size": 119547, "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4},
    "mbert": {"vocab_size": 119547, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    "xlmr": {"vocab_size": 250002, "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4},
}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


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


def write_model(folder: Path, facts: pd.DataFrame, shape: str) -> None:
    """Write a model of random weights with the words of the facts as its pieces."""
    texts = [*facts["subject"], *facts["object"], *facts["template"]]
    split = pre_tokenizers.BertPreTokenizer()
    words = sorted({word for text in texts for word, _ in split.pre_tokenize_str(text)})
    size = SHAPES[shape]["vocab_size"]
    names = [*SPECIAL, *words][:size]
    vocabulary = {word: i for i, word in enumerate([*names, *(f"[unused{i}]" for i in range(size - len(names)))])}
    found = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    found.pre_tokenizer = split
    found.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=found, pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]", cls_token="[CLS]"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    said = SHAPES[shape]
    config = BertConfig(**said, intermediate_size=4 * said["hidden_size"], initializer_range=0.1)
    BertForMaskedLM(config).save_pretrained(folder)


def one_at_a_time(folder: Path, facts: pd.DataFrame, decode: str) -> pd.DataFrame:
    """Ask one fact after the other, its masks at once or from left to right."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    rows = []
    with torch.inference_mode():
        for fact in facts.itertuples():
            gold = tokenizer(fact.object, add_special_tokens=False)["input_ids"]
            masks = " ".join([tokenizer.mask_token] * len(gold))
            text = fact.template.replace("[X]", fact.subject).replace("[Y]", masks)
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            places = (ids[0] == tokenizer.mask_token_id).nonzero()[:, 0]
            if decode == "simultaneous":
                said = torch.log_softmax(model(ids).logits[0], dim=-1)[places]
                written = said.argmax(dim=-1).tolist()
                value = float(said[range(len(gold)), gold].double().mean())
            else:
                written, value = [], 0.0
                forced = ids.clone()
                for j, place in enumerate(places):
                    written.append(int(model(ids).logits[0, place].argmax()))
                    ids[0, place] = written[-1]
                    value += float(torch.log_softmax(model(forced).logits[0], dim=-1)[place, gold[j]])
                    forced[0, place] = gold[j]
                value /= len(gold)
            rows.append({"exact": float(written == gold), "gold_logprob": value, "written": tokenizer.decode(written)})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facts", type=Path, help="a table of facts (default: invented ones)")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--plain", type=int, default=100, help="facts that are asked one at a time")
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--decode", choices=["simultaneous", "left_to_right"], default="simultaneous")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    facts = invented(arguments.n) if arguments.facts is None else tables.read(arguments.facts).iloc[: arguments.n]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model", facts, arguments.shape)
        tables.write("facts", facts, folder / "facts.parquet")
        weights = sum(path.stat().st_size for path in (folder / "model").glob("*.safetensors"))
        warm = tables.read(folder / "facts.parquet").iloc[:2]
        tables.write("facts", warm, folder / "warm.parquet")
        shared = {"run": "m", "checkpoints": [(None, folder / "model")], "batch_tokens": 4096, "device": "cpu"}
        score_facts(**shared, facts=folder / "warm.parquet", out=folder / "w.parquet", decode=arguments.decode)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        score_facts(**shared, facts=folder / "facts.parquet", out=folder / "s.parquet", decode=arguments.decode)
        ours = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        some = np.linspace(0, len(facts) - 1, min(arguments.plain, len(facts))).astype(int)
        start = time.perf_counter()
        plain = one_at_a_time(folder / "model", facts.iloc[some], arguments.decode)
        loop = time.perf_counter() - start
        found = tables.read(folder / "s.parquet").iloc[some].reset_index(drop=True)
    equal = (found["exact"] == plain["exact"]).all() and (found["best_candidate"] == plain["written"].str.strip()).all()
    off = float((found["gold_logprob"] - plain["gold_logprob"]).abs().max())
    told = {
        "shape": arguments.shape,
        "decode": arguments.decode,
        "threads": arguments.threads,
        "facts": len(facts),
        "ours, facts a second (loading included)": round(len(facts) / ours, 1),
        "one at a time, facts a second (loading included)": round(len(plain) / loop, 1),
        "times": round(len(facts) / ours / (len(plain) / loop), 1),
        "largest difference of log-probabilities": off,
        "weights, MB": round(weights / 1e6),
        "peak beyond a warm process that has had the weights, MB": round(peak / 1024),
    }
    print(json.dumps(told, indent=1))
    if not equal or off > 1e-4:
        sys.exit("the two ways differ")


if __name__ == "__main__":
    main()
