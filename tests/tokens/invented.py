"""A small invented study: texts, pairs, their stores and orders."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from lorebridge import tables
from lorebridge.tokens.order import draw_order
from lorebridge.tokens.reader import OrderReader
from lorebridge.tokens.store import build_store
from lorebridge.tokens.tokenizer import train_tokenizer

TEMPLATE = "English: {en} Korean: {xx}"


@dataclasses.dataclass
class Study:
    """Stores on disk, and short ways to draw and read orders of them."""

    root: Path
    tokenizer: Path
    stores: dict[str, Path]
    pairs: Path

    def draw(self, arm: str, seed: int = 0, name: str | None = None, **changes) -> Path:
        out = self.root / "order" / f"{name or f'ko-{arm}-s{seed}'}.parquet"
        arguments = {
            "run": f"ko-{arm}-s{seed}",
            "lang": "ko",
            "arm": arm,
            "seed": seed,
            "steps": 24,
            "sequence_length": 64,
            "batch_tokens": 512,
            "template": TEMPLATE,
            "label_tokens": 24,
            "packing": "isolated",
            "stores": self.stores,
            "pairs": self.pairs,
            "tokenizer": self.tokenizer,
            "out": out,
        }
        arguments |= changes
        draw_order(**arguments)
        return arguments["out"]

    def reader(self, arm: str, seed: int = 0, **changes) -> OrderReader:
        return OrderReader.open(self.draw(arm, seed, **changes), self.stores)


def invented_texts(seed: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Return Korean-looking documents (one of them longer than ten rows), and pairs with their translations."""
    rng = np.random.default_rng(seed)
    letters = [chr(0xAC00 + 28 * i) for i in rng.integers(0, 399, 120)]
    korean = ["".join(rng.choice(letters, 2)) for _ in range(80)]
    english = ["".join(rng.choice(list("bdfgklmnprst"), 3)) + "a" for _ in range(80)]

    def sentence(words: list[str], n: int, opening: bool) -> str:
        text = " ".join(rng.choice(words, n))
        return (text.capitalize() if opening else text) + "."

    documents = [sentence(korean, n, False) for n in [*rng.integers(2, 60, 70).tolist(), 700]]
    pairs = [
        (sentence(english, int(n), True), sentence(korean, int(n), False))
        for n in [*rng.geometric(0.15, 148), 60, 41, 35]
    ]
    return documents, pairs


def make_study(root: Path, documents: list[str], pairs: list[tuple[str, str]], vocab_size: int = 500) -> Study:
    """Write the tables of a study and tokenize them."""
    tables.write(
        "documents",
        [
            {"doc_id": f"d/{i}", "title": "", "text": t, "source": "d", "n_chars": len(t)}
            for i, t in enumerate(documents)
        ],
        root / "ko.parquet",
    )
    tables.write(
        "pairs",
        [{"pair_id": f"p/{i}", "en": en, "xx": xx, "source": f"s{i % 2}"} for i, (en, xx) in enumerate(pairs)],
        root / "pairs.parquet",
    )
    train_tokenizer(
        tables=[("ko", "text", root / "ko.parquet"), ("en", "en", root / "pairs.parquet")],
        vocab_size=vocab_size,
        bytes_per_group=20_000,
        out=root / "tokenizer",
    )
    stores = {}
    for name, table, column in (
        ("mono-ko", "ko", "text"),
        ("pairs-ko-en", "pairs", "en"),
        ("pairs-ko-xx", "pairs", "xx"),
    ):
        stores[name] = root / "tokens" / name
        build_store(tables=[root / f"{table}.parquet"], column=column, tokenizer=root / "tokenizer", out=stores[name])
    return Study(root, root / "tokenizer", stores, root / "pairs.parquet")
