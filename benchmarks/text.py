"""From JSONL to packed rows of token ids, against the ordinary way, on the same text in the same run.

    python benchmarks/text.py --data DIR [--megabytes N]

For every ``corpora/*.jsonl.gz`` under DIR (unpacked first, once for both: gzip would hide what is compared), with the
tokenizer in ``DIR/tokenizer``:

- *chain*: read, filter letters, drop short and foreign documents, tokenize, close each document with ``<|endoftext|>``,
  cut the stream in rows of 2,048. Ours is the package's own reader, filter and encoder, one batch after the other in
  memory; the ordinary way is `json`, `regex`, a call of the `transformers` tokenizer for each document, and Python
  lists. The rows must be equal to the bit. *fresh* is the first pass of an encoder over the text, *again* its second,
  when it has seen every word: a large corpus lies between the two. Loading the tokenizer is not counted for either.
- *stages*: the same through the stages of the workflow, with all that they leave on disk (Parquet, audit, token store,
  data order), and every batch of an epoch assembled, packed by best fit; the text is repeated up to 100 MB, because
  starting costs some seconds (loading the tokenizer) whatever its size. The store's stream must be the ordinary way's.

The limit of the chain is its slowest part: *encoder* is its share of our time, *filled* how many positions of the rows
are targets. One thread; times of processor, so that another process's load counts less.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import sys
import tempfile
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.update(RAYON_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import regex
from transformers import AutoTokenizer, PreTrainedTokenizerBase

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
MIN_CHARS, MAX_DELETED = 50, 0.3  # few documents are short: what is dropped is not tokenized
LARGE = 100_000_000  # bytes

Rows = npt.NDArray[np.uint32]


class OrdinaryFilter:
    """The rule of the letter filter with regular expressions, one string at a time."""

    GAP = "\ufdd0"
    INNER = rf"[^\p{{Ps}}\p{{Pe}}\p{{Pi}}\p{{Pf}}\p{{L}}\p{{N}}\n{GAP}]*+"
    BRACKET = regex.compile(rf"[\p{{Ps}}\p{{Pi}}]{INNER}(?:{GAP}{INNER})++[\p{{Pe}}\p{{Pf}}]")
    GAPS = regex.compile(rf"(?<![ \t])[ \t]*+(?:{GAP}[ \t]*+)++(\n?)")
    LETTERS = regex.compile(r"\p{L}+")

    def __init__(self, keeps_latin: bool) -> None:
        foreign = (
            r"[^\p{Script=Latin}\p{Script=Common}\p{Script=Inherited}]" if keeps_latin else rf"[\p{{Latin}}{self.GAP}]"
        )
        self.search = regex.compile(foreign).search
        self.run = regex.compile(rf"(?:{foreign}[\p{{M}}\u200c\u200d]*+)++")

    def count(self, text: str) -> int:
        return sum(map(len, self.LETTERS.findall(text)))

    def close(self, gaps: regex.Match[str]) -> str:
        opens = gaps.start() == 0 or gaps.string[gaps.start() - 1] == "\n"
        closes = bool(gaps[1]) or gaps.end() == len(gaps.string)
        if opens or closes:
            return "" if opens and closes else gaps[1]
        return " " if " " in gaps[0] or "\t" in gaps[0] else ""

    def __call__(self, text: str) -> str | None:
        """Return the text without foreign letters, or None where it is dropped."""
        text = unicodedata.normalize("NFC", text)
        letters = left = self.count(text)
        if self.search(text):
            while self.search(text):
                text, emptied = self.run.sub(self.GAP, text), 1
                while emptied:
                    text, emptied = self.BRACKET.subn(self.GAP, text)
                text = unicodedata.normalize("NFC", self.GAPS.sub(self.close, text))
            left = self.count(text)
        long_enough = len(text) >= MIN_CHARS and regex.search(r"[\p{L}\p{N}]", text)
        keep = long_enough and letters - left <= MAX_DELETED * letters
        return text if keep else None


def ordinary(path: Path, keeps_latin: bool, tokenizer: PreTrainedTokenizerBase) -> Rows:
    clean, end_of_text = OrdinaryFilter(keeps_latin), tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    stream: list[int] = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            text = clean(json.loads(line)["text"])
            if text is not None:
                stream += tokenizer(text, add_special_tokens=False)["input_ids"]
                stream.append(end_of_text)
    rows = [stream[i : i + LENGTH] for i in range(0, len(stream) - LENGTH + 1, LENGTH)]
    return np.array(rows, np.uint32)


def ours(path: Path, letters: LetterFilter, encoder: BulkEncoder, end_of_text: int, spent: list[float]) -> Rows:
    """Add the seconds of the encoder to `spent`."""

    def blocks() -> Iterator[Rows]:
        for batch in open_source({"kind": "local", "name": "text"}, path).batches():
            cleaned = letters.clean(batch.columns["text"])
            keep = cleaned.content & (cleaned.characters_left >= MIN_CHARS) & (cleaned.share_deleted <= MAX_DELETED)
            texts = cleaned.texts.filter(pa.array(keep)).to_pylist()
            begin = time.process_time()
            ids, offsets = encoder.encode(texts)
            spent.append(time.process_time() - begin)
            yield np.insert(ids, offsets[1:], end_of_text)

    stream = np.concatenate(list(blocks()))
    return stream[: len(stream) // LENGTH * LENGTH].reshape(-1, LENGTH)


def stages(path: Path, policy: dict[str, str], tokenizer: Path, out: Path) -> tuple[Store, float]:
    """Run the stages; return the store and the share of the positions that are targets of the loss."""
    literals: dict[str, Any] = {
        "sources": [{"kind": "local", "name": "text"}],
        "paths": [path],
        "letters": policy,
        "min_chars": MIN_CHARS,
        "max_deleted": MAX_DELETED,
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
    arguments = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(arguments.data / "tokenizer")
    end_of_text = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    print(
        f"`{' '.join(['python', *sys.argv])}`, {platform.machine()}, one thread, Python {platform.python_version()}; "
        "MB/s of JSONL by time of processor\n"
    )
    print("| text | MB | ordinary | chain, fresh | ratio | chain, again | ratio | encoder | stages | ratio | filled |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for packed in sorted((arguments.data / "corpora").glob("*.jsonl.gz")):
            row(packed, Path(folder), arguments.megabytes, tokenizer, end_of_text, arguments.data / "tokenizer")


def row(
    packed: Path, folder: Path, megabytes: float, tokenizer: PreTrainedTokenizerBase, end_of_text: int, saved: Path
) -> None:
    """Measure one corpus."""
    name = packed.name.split(".")[0]
    plain = folder / f"{name}.jsonl"
    with gzip.open(packed) as source, plain.open("wb") as out:
        for line in source:
            out.write(line)
            if out.tell() >= megabytes * 1e6:
                break
    size = plain.stat().st_size / 1e6
    policy = {"keep" if name == "en" else "drop": "Latin"}
    letters, encoder = LetterFilter(policy), BulkEncoder(saved)
    letters.clean(pa.array(["a text to compile the kernels with"]))

    begin = time.process_time()
    expected = ordinary(plain, name == "en", tokenizer)
    seconds = [time.process_time() - begin]
    spent: list[list[float]] = [[], []]
    for part in spent:
        begin = time.process_time()
        found = ours(plain, letters, encoder, end_of_text, part)
        seconds.append(time.process_time() - begin)
        assert found.shape == expected.shape and (found == expected).all(), f"{name}: the rows differ"
    times = max(1, -(-LARGE // plain.stat().st_size))
    large = folder / "large.jsonl"
    large.write_bytes(plain.read_bytes() * times)
    begin = time.process_time()
    store, filled = stages(large, policy, saved, folder / name)
    seconds.append((time.process_time() - begin) / times)
    stream = np.insert(store.tokens, store.offsets[1:], end_of_text)
    for part in np.split(stream, times):
        assert (part[: expected.size] == expected.reshape(-1)).all(), f"{name}: the stores differ"
    speeds = [size / value for value in seconds]
    print(
        f"| {name} | {size:.1f} | {speeds[0]:.2f} | {speeds[1]:.0f} | {speeds[1] / speeds[0]:.1f}x | {speeds[2]:.0f} | "
        f"{speeds[2] / speeds[0]:.1f}x | {sum(spent[0]) / seconds[1]:.0%} | {speeds[3]:.0f} | "
        f"{speeds[3] / speeds[0]:.1f}x | {filled:.1%} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
