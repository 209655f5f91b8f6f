"""From JSONL to packed rows of token ids, against the ordinary way, on the same text in the same run.

    python benchmarks/text.py --data DIR [--megabytes N]

For every ``corpora/*.jsonl.gz`` under DIR (unpacked first, once for both: gzip would hide what is compared), with the
tokenizer in ``DIR/tokenizer``:

- *chain*: read, filter letters, drop short documents, tokenize, close each document with ``<|endoftext|>``, cut the
  stream in rows of 2,048. Ours is the package's own reader, filter and encoder, one batch after the other in memory.
  The ordinary way is done twice, and the faster of the two is what ours is compared with: *loop* is `json`, `regex`
  (``tests/corpora/written_rule.py``, which gives the same text), ``encode_batch_fast`` of `tokenizers` over 1,000
  documents a call, and `numpy`; *datasets* is the same as two functions for ``datasets.map``, in batches of 1,000 and
  in memory. The rows must be equal to the bit. *fresh* is our encoder's first pass over the text, *again* its second,
  when it has seen every word: a large corpus lies between the two. The peers' tokenizer has seen the text once. Loading
  the tokenizer is not counted for anyone.
- *stages*: the same through the stages of the workflow, with all that they leave on disk (Parquet, audit, token store,
  data order), and every batch of an epoch assembled, packed by best fit; the text is repeated, with a number before
  each copy, up to `--large` megabytes, because starting costs some seconds (loading the tokenizer) whatever its size.
  Its ratio is to *loop* over the same repeated text. The store's stream must be that of the loop.

The limit of the chain is its slowest part: *encoder* is its share of our time, *filled* how many positions of the rows
are targets. One thread; times of processor, so that another process's load counts less.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.update(RAYON_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")

import datasets
import numpy as np
import numpy.typing as npt
import peers
import pyarrow as pa
import regex
from tokenizers import Tokenizer

sys.path.append(str(Path(__file__).parents[1] / "tests" / "corpora"))
from written_rule import WrittenRule

from lorebridge.corpora.documents import filter_corpus, signatures
from lorebridge.corpora.duplicates import duplicates
from lorebridge.corpora.scripts import LetterFilter
from lorebridge.corpora.sources import open_source
from lorebridge.tokens.order import draw_order
from lorebridge.tokens.reader import OrderReader
from lorebridge.tokens.store import Store, build_store
from lorebridge.tokens.tokenizer import END_OF_TEXT, BulkEncoder

LENGTH = 2048
ROWS = 32  # of a step
MIN_CHARS = 50  # few documents are shorter: what is dropped is not tokenized
CONTENT = regex.compile(r"[\p{L}\p{N}]")
BATCH = 1000  # documents that the peers handle at a time: the default of datasets

Rows = npt.NDArray[np.uint32]


def kept(rule: WrittenRule, text: str) -> str | None:
    """Return a text without foreign letters, or None where nothing of any length is left."""
    left = rule.text(text)
    return left if len(left) >= MIN_CHARS and CONTENT.search(left) else None


def cut(blocks: list[Rows]) -> Rows:
    """Return rows of a stream of ids, without the last, which is not full."""
    stream = np.concatenate(blocks)
    return stream[: len(stream) // LENGTH * LENGTH].reshape(-1, LENGTH)


def closed(texts: list[str], tokenizer: Tokenizer, end_of_text: int) -> list[list[int]]:
    """Return the ids of documents, each closed."""
    return [[*found.ids, end_of_text] for found in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def by_loop(path: Path, rule: WrittenRule, tokenizer: Tokenizer, end_of_text: int) -> Rows:
    with path.open(encoding="utf-8") as file:
        texts = [text for line in file if (text := kept(rule, json.loads(line)["text"])) is not None]
    blocks = []
    for start in range(0, len(texts), BATCH):
        ids = closed(texts[start : start + BATCH], tokenizer, end_of_text)
        blocks.append(np.fromiter(itertools.chain.from_iterable(ids), np.uint32))
    return cut(blocks)


def by_datasets(path: Path, rule: WrittenRule, tokenizer: Tokenizer, end_of_text: int) -> Rows:

    def filtered(batch: dict[str, list[str]]) -> dict[str, list[str]]:
        return {"text": [left for text in batch["text"] if (left := kept(rule, text)) is not None]}

    def encoded(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        return {"ids": closed(batch["text"], tokenizer, end_of_text)}

    how = {"batched": True, "batch_size": BATCH, "keep_in_memory": True, "load_from_cache_file": False}
    rows = datasets.load_dataset("json", data_files=str(path), split="train", keep_in_memory=True)
    rows = rows.map(filtered, remove_columns=rows.column_names, **how).map(encoded, remove_columns=["text"], **how)
    blocks = [chunk.flatten().to_numpy() for chunk in rows.data.column("ids").chunks]
    return cut([block.astype(np.uint32) for block in blocks])


def ours(path: Path, letters: LetterFilter, encoder: BulkEncoder, end_of_text: int, spent: list[float]) -> Rows:
    """Add the seconds of the encoder to `spent`."""

    def blocks() -> Iterator[Rows]:
        for batch in open_source({"kind": "local", "name": "text"}, path).batches():
            cleaned = letters.clean(batch.columns["text"])
            keep = cleaned.content & (cleaned.characters_left >= MIN_CHARS)
            texts = cleaned.texts.filter(pa.array(keep)).to_pylist()
            begin = time.process_time()
            ids, offsets = encoder.encode(texts)
            spent.append(time.process_time() - begin)
            yield np.insert(ids, offsets[1:], end_of_text)

    return cut(list(blocks()))


def stages(path: Path, policy: dict[str, str], tokenizer: Path, out: Path) -> tuple[Store, float]:
    """Run the stages; return the store and the share of the positions that are targets of the loss."""
    literals: dict[str, Any] = {
        "sources": [{"kind": "local", "name": "text"}],
        "paths": [path],
        "letters": policy,
        "min_chars": MIN_CHARS,
        "max_deleted": 1.0,
        "simplify": False,
        "shard": 0,
        "of": 1,
    }
    signatures(**literals, deduplicate=None, signatures=out / "signatures.parquet")
    duplicates(signatures=[out / "signatures.parquet"], deduplicate=None, duplicates=out / "duplicates.parquet")
    filter_corpus(
        **literals,
        lang="xx",
        heldout=0.0,
        duplicates=out / "duplicates.parquet",
        documents=out / "documents.parquet",
        heldout_documents=out / "heldout.parquet",
        audit=out / "audit.json",
    )
    build_store(tables=[out / "documents.parquet"], column="text", tokenizer=tokenizer, out=out / "mono-xx")
    store = Store.open(out / "mono-xx")
    steps = -(-(len(store.tokens) + len(store)) // (LENGTH * ROWS))
    draw_order(
        run="base-s0",
        lang="xx",
        arm="base",
        seed=0,
        steps=steps,
        sequence_length=LENGTH,
        batch_tokens=LENGTH * ROWS,
        packing="isolated",
        stores={"mono-xx": store.path},
        pairs=None,
        tokenizer=tokenizer,
        out=out / "order.parquet",
    )
    reader = OrderReader.open(out / "order.parquet", {"mono-xx": store.path})
    n_targets = sum(int((reader.batch(step).targets >= 0).sum()) for step in range(steps))
    return store, n_targets / (steps * ROWS * LENGTH)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=8, help="how much of each corpus is read, at most")
    parser.add_argument("--large", type=float, default=100, help="megabytes that the stages are given")
    arguments = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(arguments.data / "tokenizer" / "tokenizer.json"))
    print(
        f"`{' '.join(['python', *sys.argv])}`, {platform.machine()}, one thread, Python {platform.python_version()}; "
        f"{peers.versions('tokenizers', 'datasets', 'regex')}; MB/s of JSONL by time of processor; ratios to the "
        "faster of loop and datasets\n"
    )
    columns = ["text", "MB", "loop", "datasets", "chain, fresh", "ratio", "chain, again", "ratio", "encoder"]
    columns += ["stages", "ratio", "filled"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    with tempfile.TemporaryDirectory() as folder:
        for packed in sorted((arguments.data / "corpora").glob("*.jsonl.gz")):
            row(packed, Path(folder), arguments, tokenizer)


def row(packed: Path, folder: Path, arguments: argparse.Namespace, tokenizer: Tokenizer) -> None:
    """Measure one corpus."""
    name, saved = packed.name.split(".")[0], arguments.data / "tokenizer"
    plain, large = folder / f"{name}.jsonl", folder / "large.jsonl"
    with gzip.open(packed) as source, plain.open("wb") as out:
        for line in source:
            out.write(line)
            if out.tell() >= arguments.megabytes * 1e6:
                break
    size = plain.stat().st_size / 1e6
    policy, end_of_text = {"keep" if name == "en" else "drop": "Latin"}, tokenizer.token_to_id(END_OF_TEXT)
    rule, letters, encoder = WrittenRule(policy), LetterFilter(policy), BulkEncoder(saved)
    letters.clean(pa.array(["a text to compile the kernels with"]))

    def timed(work: Callable[..., Rows], *given: Any) -> float:
        begin = time.process_time()
        found = work(plain, *given)
        taken = time.process_time() - begin
        assert found.shape == expected.shape and (found == expected).all(), f"{name}: the rows differ"
        return taken

    # The first pass of the peer's is not counted: its tokenizer remembers words.
    expected = by_loop(plain, rule, tokenizer, end_of_text)
    peer = [timed(way, rule, tokenizer, end_of_text) for way in (by_loop, by_datasets)]
    spent: list[list[float]] = [[], []]
    chain = [timed(ours, letters, encoder, end_of_text, part) for part in spent]

    with plain.open(encoding="utf-8") as file:
        texts = [*dict.fromkeys(json.loads(line)["text"] for line in file)]
    with large.open("w", encoding="utf-8") as out:
        for copy in range(max(1, math.ceil(arguments.large / size))):
            for text in texts:  # numbered: the stages drop what comes twice
                out.write(json.dumps({"text": f"{copy}\n{text}"}, ensure_ascii=False) + "\n")
    begin = time.process_time()
    expected = by_loop(large, rule, tokenizer, end_of_text)
    large_peer = time.process_time() - begin
    begin = time.process_time()
    store, filled = stages(large, policy, saved, folder / name)
    large_ours = time.process_time() - begin
    stream = np.insert(store.tokens, store.offsets[1:], end_of_text)
    assert (stream[: expected.size] == expected.reshape(-1)).all(), f"{name}: the stores differ"
    assert len(stream) < expected.size + LENGTH, f"{name}: the stores differ"
    best, large_size = min(peer), large.stat().st_size / 1e6
    speeds = [size / seconds for seconds in (*peer, *chain)]
    print(
        f"| {name} | {size:.1f} | {speeds[0]:.2f} | {speeds[1]:.2f} | {speeds[2]:.0f} | {best / chain[0]:.1f}x "
        f"| {speeds[3]:.0f} | {best / chain[1]:.1f}x | {sum(spent[0]) / chain[0]:.0%} "
        f"| {large_size / large_ours:.0f} | {large_peer / large_ours:.1f}x | {filled:.1%} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
