"""How far apart the halves of a pair stand without a bridge: does it show? Near and far, on a planted world.

    python benchmarks/distance.py [--seeds 5]

One language, a base model for each seed, and from it two arms `no_bridge` that differ in `no_bridge.distance` alone:
near, each half one optimizer step from its translation; far, at two places of the epoch. The peer is the bridge, from
the same base model. No fact is stated by the pairs. Models have 0.15M parameters; sizes were set on what the base model
memorises (.70 and .97 of the facts that English alone states 4 and 16 times, seed 0).

What decides was set before any of these models was trained. Of near − far, in accuracy on all questions (mean of the
last three checkpoints), in each direction, over questions and seeds (`lorebridge.transfer.inference.infer`): *told
apart* where the 95 % interval leaves out 0; *equivalent* where the 90 % interval lies within 5 points of 0 (two
one-sided tests at 5 %; a gap that a study is made to find is larger); else *undecided*. Held-out loss in both languages
and MEXA, which would show a trace of alignment first, stand beside with Student's t over seeds.
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from lorebridge import tables
from lorebridge.probes.scoring import score_run
from lorebridge.tokens.order import draw_order
from lorebridge.tokens.store import build_store
from lorebridge.tokens.tokenizer import train_tokenizer
from lorebridge.train.loop import train
from lorebridge.transfer.contrasts import ALL, by_culture, form
from lorebridge.transfer.credits import load
from lorebridge.transfer.inference import infer
from lorebridge.world.planting import generate

MARGIN = 0.05
LAST = 3
BATCH, ROW = 1024, 128
BASE_STEPS, STEPS, EVERY = 400, 320, 32
ARMS: Mapping[str, Mapping[str, Any]] = {
    "near": {"arm": "no_bridge", "distance": "near"},
    "far": {"arm": "no_bridge", "distance": "far"},
    "bridge": {"arm": "bridge"},
}
CONTRASTS = [("near", "far"), ("bridge", "far"), ("bridge", "near")]
LABELS = {"template": "English: {en} Korean: {xx}", "label_tokens": 18}
SETTINGS: dict[str, Any] = {
    "model": {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 128,
        "rope_theta": 1e6,
        "tie_word_embeddings": True,
        "max_position_embeddings": ROW,
        "vocab_size": None,
    },
    "optimizer": {"betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1, "clip": 1.0},
    "precision": "float32",
    "packing": "isolated",
    "zero_stage": 0,
    "checkpoint_dtype": "float32",
    "recipe": "0" * 16,
    "micro_batch": 8,
    "budget_seconds": None,
    "resume_interval": 10_000,
    "threads": 1,
}


def write_texts(root: Path) -> None:
    """Make the world with its tables, tokenizer, token stores and questions; a part of the texts is held out."""
    generate(
        out=root,
        base="en",
        languages={"en": {"script": "Latin"}, "ko": {"script": "Hangul"}},
        seed=7,
        questions=240,
        doses=(4, 16),
        articles=60,
        pairs=1500,
    )
    for lang in ("en", "ko"):
        with gzip.open(root / "corpora" / f"{lang}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows = pd.DataFrame([json.loads(line) for line in file])
        rows = rows.assign(doc_id=rows["source"] + "/" + rows["id"], n_chars=rows["text"].str.len()).drop(columns="id")
        held = np.arange(len(rows)) % 50 == 0
        tables.write("documents", rows[held], root / f"{lang}.heldout.parquet")
        tables.write("documents", rows[~held], root / f"{lang}.parquet")
    pairs = pd.read_json(root / "parallel" / "en-ko.jsonl.gz", lines=True).rename(columns={"ko": "xx"})
    pairs = pairs.assign(pair_id=[f"planted/{i}" for i in range(len(pairs))])
    held = np.arange(len(pairs)) % 25 == 0
    tables.write("pairs", pairs[held], root / "pairs.heldout.parquet")
    tables.write("pairs", pairs[~held], root / "pairs.parquet")
    train_tokenizer(
        tables=[(lang, "text", root / f"{lang}.parquet") for lang in ("en", "ko")],
        vocab_size=1000,
        bytes_per_group=400_000,
        out=root / "tokenizer",
    )
    texts = {f"mono-{lang}": (f"{lang}.parquet", "text") for lang in ("en", "ko")}
    texts |= {f"pairs-ko-{half}": ("pairs.parquet", half) for half in ("en", "xx")}
    for stream, (table, column) in texts.items():
        build_store(tables=[root / table], column=column, tokenizer=root / "tokenizer", out=root / stream)
    asked = []
    for lang in ("en", "ko"):
        questions = json.loads((root / "questions" / f"ko-culture-cloze_{lang}.json").read_text(encoding="utf-8"))
        for index, item in enumerate(questions):
            for number, option in enumerate(item["options"]):
                row = {"question_id": f"ko-{index:04d}", "culture": "ko", "lang": lang, "text": item["question"]}
                row |= {"option_index": number, "option": option, "is_gold": option == item["answer"]}
                asked.append(row | {"subset": ["reference"], "n_blanks": 1})
    tables.write("questions", asked, root / "questions.parquet")


def trained(root: Path, name: str, seed: int, start: Path | None, order: Mapping[str, Any], lang: str) -> list[int]:
    """Draw the order of a run and train it; return the steps of its checkpoints."""
    steps, lr = (BASE_STEPS, 5e-3) if start is None else (STEPS, 5e-3)
    kept = [0, steps] if start is None else [0, *range(STEPS - (LAST - 1) * EVERY, STEPS + 1, EVERY)]
    streams = ["mono-en"] if start is None else ["mono-ko", "pairs-ko-en", "pairs-ko-xx"]
    stores = {stream: root / stream for stream in streams}
    draw_order(
        run=name,
        lang=lang,
        seed=seed,
        steps=steps,
        sequence_length=ROW,
        batch_tokens=BATCH,
        packing="isolated",
        stores=stores,
        tokenizer=root / "tokenizer",
        out=root / f"{name}.order.parquet",
        **order,
    )
    train(
        run=name,
        learned=lang,
        arm=name.split("-")[0],
        seed=seed,
        steps=steps,
        schedule={"lr": lr, "min_lr": lr / 10, "schedule": "cosine", "warmup_ratio": 0.02},
        checkpoint_steps=kept,
        order=root / f"{name}.order.parquet",
        stores=stores,
        tokenizer=root / "tokenizer",
        init_from=start,
        out=root / name,
        work=root / "work" / name,
        **SETTINGS,
    )
    return kept


def asked(root: Path, arm: str, seed: int, steps: list[int]) -> dict[str, Path]:
    """Ask a run, and measure its held-out loss and alignment; return the tables."""
    found = {name: root / f"{arm}-{seed}.{name}.parquet" for name in ("out", "perplexity", "alignment")}
    score_run(
        run=f"{arm}-{seed}",
        lang_pair="en-ko",
        learned="ko",
        arm=arm,
        seed=seed,
        questions=[root / "questions.parquet"],
        checkpoints=[(step, root / f"{arm}-{seed}" / f"step{step}") for step in steps],
        heldout={lang: [root / f"{lang}.heldout.parquet"] for lang in ("en", "ko")},
        pairs={"ko": root / "pairs.heldout.parquet"},
        perplexity_tokens=5_000,
        alignment_pairs=80,
        window=ROW,
        batch_tokens=8192,
        threads=1,
        **found,
    )
    return found


def verdict(lo: float, hi: float, within: tuple[float, float]) -> str:
    """Return what the two intervals say, 95 and 90 %."""
    if lo > 0 or hi < 0:
        return "told apart"
    return "equivalent" if within[0] > -MARGIN and within[1] < MARGIN else "undecided"


def in_accuracy(root: Path, found: list[dict[str, Path]]) -> pd.DataFrame:
    """Return the contrasts of accuracies, in points."""
    credits = load(
        scores=[one["out"] for one in found],
        questions={"ko": root / "questions.parquet"},
        base="en",
        subset="reference",
        rule="mean",
        prefix="bare",
        last=LAST,
    )
    rows = []
    for contrast in form(by_culture(credits), base="en", contrasts=CONTRASTS, last=LAST):
        if contrast.known is None:
            continue
        sample = contrast.sample(ALL)
        wide, narrow = (infer([sample], [1.0], over_seeds=True, level=level) for level in (0.95, 0.90))
        first, second = (100 * arm.mean() for arm in contrast.final())
        rows.append(
            {
                "contrast": contrast.name,
                "direction": contrast.direction,
                "accuracies, %": f"{first:.1f}, {second:.1f}",
                "gap, points": f"{100 * wide.estimate:.1f}",
                "95 %": f"{100 * wide.lo:.1f} to {100 * wide.hi:.1f}",
                "90 %": f"{100 * narrow.lo:.1f} to {100 * narrow.hi:.1f}",
                "p": f"{wide.p:.2g}",
                "verdict": verdict(wide.lo, wide.hi, (narrow.lo, narrow.hi)),
            }
        )
    return pd.DataFrame(rows)


def beside(found: list[dict[str, Path]]) -> pd.DataFrame:
    """Return the contrasts of held-out loss and of MEXA (mean over layers) at the last step, over seeds."""
    loss = pd.concat([tables.read(one["perplexity"]) for one in found])
    loss = loss.assign(measure="loss, " + loss["lang"], value=np.log(loss["perplexity"]))
    mexa = pd.concat([tables.read(one["alignment"]) for one in found])
    mexa = mexa.groupby(["arm", "seed", "step"], as_index=False)["mexa"].mean()
    measured = pd.concat([loss, mexa.assign(measure="MEXA, mean over layers", value=mexa["mexa"])])
    last = measured[measured["step"] == STEPS].pivot_table(index=["measure", "seed"], columns="arm", values="value")
    rows = []
    for measure, by_seed in last.groupby(level="measure"):
        for one, other in CONTRASTS:
            gap = by_seed[one] - by_seed[other]
            half = stats.t.ppf(0.975, len(gap) - 1) * gap.std() / np.sqrt(len(gap))
            ends = f"{gap.mean() - half:.3f} to {gap.mean() + half:.3f}"
            means = f"{by_seed[one].mean():.3f}, {by_seed[other].mean():.3f}"
            row = {"measure": measure, "contrast": f"{one} - {other}", "means": means}
            rows.append(row | {"difference": f"{gap.mean():.3f}", "95 %": ends})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    began = time.process_time()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_texts(root)
        for seed in range(arguments.seeds):
            base = f"base-{seed}"
            trained(root, base, seed, None, {"arm": "base"}, "en")
            for arm, order in ARMS.items():
                more = {"pairs": root / "pairs.parquet", **LABELS, **order}
                steps = trained(root, f"{arm}-{seed}", seed, root / base / f"step{BASE_STEPS}", more, "ko")
                found.append(asked(root, arm, seed, steps))
            print(f"seed {seed}: {time.process_time() - began:.0f} s", file=sys.stderr, flush=True)
        print(f"\nAccuracy, last {LAST} checkpoints, over questions and seeds; equivalent: within {100 * MARGIN:.0f}\n")
        print(in_accuracy(root, found).to_markdown(index=False, disable_numparse=True))
        print("\nHeld-out loss and alignment at the last step, over seeds\n")
        print(beside(found).to_markdown(index=False, disable_numparse=True))
    spent = time.process_time() - began
    print(f"\n`python {' '.join(sys.argv)}`: {spent:.0f} s of one core, {platform.machine()}.")


if __name__ == "__main__":
    main()
