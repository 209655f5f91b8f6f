"""What the second prefix costs: the scoring job of a checkpoint behind one prefix, and behind both.

    python benchmarks/prefixes.py --data DIR [--share 0.05] [--shape small]

DIR holds `corpora/`, `parallel/` and `probes/` as `config/mini.yaml` names them, and `tokenizer/`. The job is that of a
Korean run of `config/config.yaml`: all questions in both languages with their options alone, perplexity on 100,000
held-out tokens of each language, alignment of 500 pairs; here a share of each. The model has random weights. The peer
is the job behind `bare` alone, the limit twice its time: behind another prefix all but the alignment is read again, and
nothing of it can be shared, since what a causal model reads first is in all that follows.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import platform
import sys
import tempfile
import time
from pathlib import Path

from shapes import MODELS
from transformers import AutoTokenizer

from lorebridge import tables
from lorebridge.probes.prefixes import BARE, LABEL
from lorebridge.probes.scoring import score_run
from lorebridge.train.model import build, qwen2_config

LABELS = {"ko": {"en": "English: ", "ko": " Korean: "}}
TOKENS, PAIRS = 100_000, 500  # of perplexity and alignment, as `config/config.yaml` has them


def rows_of(path: Path, n: int) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in itertools.islice(file, n)]


def write_inputs(data: Path, share: float, folder: Path) -> int:
    """Write questions, held-out documents and pairs, and return the number of questions."""
    asked = []
    for lang in ("en", "ko"):
        items = json.loads((data / "probes" / f"ko-culture-cloze_{lang}.json").read_text(encoding="utf-8"))
        for index in range(0, len(items), round(1 / share)):
            item = items[index]
            for number, option in enumerate(item["options"]):
                row = {"question_id": f"ko-{index:04d}", "culture": "ko", "lang": lang, "text": item["question"]}
                row |= {"option_index": number, "option": option, "is_gold": option == item["answer"]}
                asked.append(row | {"subset": ["reference"], "n_blanks": 1})
        texts = [row["text"] for row in rows_of(data / "corpora" / f"{lang}.jsonl.gz", 2000)]
        documents = [
            {"doc_id": f"s/{i}", "title": "", "text": text, "source": "s", "n_chars": len(text)}
            for i, text in enumerate(texts)
        ]
        tables.write("documents", documents, folder / f"{lang}.parquet")
    tables.write("questions", asked, folder / "questions.parquet")
    pairs = rows_of(data / "parallel" / "en-ko.jsonl.gz", 2000)
    halves = [{"pair_id": f"s/{i}", "en": row["en"], "xx": row["ko"], "source": "s"} for i, row in enumerate(pairs)]
    tables.write("pairs", halves, folder / "pairs.parquet")
    return len({row["question_id"] for row in asked})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.05, help="of the job")
    parser.add_argument("--shape", choices=sorted(MODELS), default="small")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.data / "tokenizer")
    shape = MODELS[args.shape] | {"max_position_embeddings": 2048, "vocab_size": len(tokenizer)}
    config = qwen2_config(shape, len(tokenizer), tokenizer.convert_tokens_to_ids("<|endoftext|>"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        n_questions = write_inputs(args.data, args.share, folder)
        build(config, 0).save_pretrained(folder / "model")
        tokenizer.save_pretrained(folder / "model")
        spent = {}
        for prefixes in ([BARE], [BARE], [BARE, LABEL]):  # the first warms up
            began = time.process_time()
            score_run(
                run="ko-bridge-s0",
                lang_pair="en-ko",
                learned="ko",
                arm="bridge",
                seed=0,
                checkpoints=[(0, folder / "model")],
                questions=[folder / "questions.parquet"],
                out=folder / "scores.parquet",
                batch_tokens=4096,
                prefixes=prefixes,
                labels=LABELS,
                heldout={lang: [folder / f"{lang}.parquet"] for lang in ("en", "ko")},
                pairs={"ko": folder / "pairs.parquet"},
                perplexity_tokens=int(TOKENS * args.share),
                alignment_pairs=int(PAIRS * args.share),
                perplexity=folder / "perplexity.parquet",
                alignment=folder / "alignment.parquet",
                threads=1,
            )
            spent[", ".join(prefixes)] = time.process_time() - began
    print("| prefixes | seconds of one core a checkpoint | ratio |\n|---|--:|--:|")
    for prefixes, seconds in spent.items():
        print(f"| {prefixes} | {seconds:.1f} | {seconds / spent[BARE]:.2f} |")
    print(
        f"\n{n_questions} of 598 questions in two languages, {args.share:g} of the held-out text; {args.shape} shape, "
        f"float32, {platform.machine()}. `{' '.join(['python', *sys.argv])}`"
    )


if __name__ == "__main__":
    main()
