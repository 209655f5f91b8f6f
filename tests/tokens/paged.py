"""A small corpus of pages with questions: what is removed from it, and the orders that read it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
from numbered import write_store

from lorebridge import tables
from lorebridge.corpora.pieces import KEY, numbering
from lorebridge.tokens.mixture import draw_mixture
from lorebridge.tokens.pages import build_pages
from lorebridge.tokens.removal import exclusions, filter_sizes
from lorebridge.tokens.tokenizer import tokenizer_fingerprint

FIRST = {"en": 1_000_000, "hi": 2_000_000}  # the first token of each language's store: each token is another number
WIDTH = 32


@dataclasses.dataclass
class World:
    """A small corpus of pages with questions, in files.

    Attributes:
        root: the folder.
        pages: language -> the page of each document, None of one that is no page.
        lengths: language -> tokens of each document.
        facts: question -> pages that state it.
        splits: question -> split and page.
        near: page -> its neighbours, nearest first.
        tokenizer: of the stores.
    """

    root: Path
    pages: dict[str, list[int | None]]
    lengths: dict[str, list[int]]
    facts: dict[str, list[int]]
    splits: dict[str, tuple[str, int | None]]
    near: dict[int, list[int]]
    tokenizer: Path

    def path(self, name):
        return self.root / f"{name}.parquet"

    @property
    def stores(self):
        return {f"mono-{lang}": self.root / lang for lang in FIRST}

    def write(self):
        for lang, pages in self.pages.items():
            rows = [
                {
                    "doc_id": f"{lang}/{'only-' + lang + str(i) if page is None else page}",
                    "title": f"Page {page}",
                    "text": "",
                    "source": lang,
                    "n_chars": 0,
                }
                for i, page in enumerate(pages)
            ]
            tables.write("documents", rows, self.path(f"documents-{lang}"))
            fingerprint = tokenizer_fingerprint(self.tokenizer)
            shutil.rmtree(self.root / lang, ignore_errors=True)
            write_store(self.root / lang, self.lengths[lang], FIRST[lang], fingerprint)
            said = json.loads((self.root / lang / "store.json").read_text())
            said[KEY] = numbering([self.path(f"documents-{lang}")])
            (self.root / lang / "store.json").write_text(json.dumps(said))
        rows = [
            {"question_id": name, "split": split, "page_id": None if page is None else str(page)}
            for name, (split, page) in self.splits.items()
        ]
        schema = pa.schema([("question_id", pa.string()), ("split", pa.string()), ("page_id", pa.string())])
        tables.write(schema, rows, self.path("qa"))
        rows = [
            {"page_id": str(page), "rank": rank, "neighbour": str(other), "score": 1 / rank}
            for page, others in self.near.items()
            for rank, other in enumerate(others, 1)
        ]
        tables.write("neighbours", rows, self.path("neighbours"))
        rows = [
            {"question_id": name, "corpus": lang, "doc_ids": [f"{lang}/{page}" for page in stating]}
            for name, stating in self.facts.items()
            for lang in FIRST
        ]
        schema = pa.schema([("question_id", pa.string()), ("corpus", pa.string()), ("doc_ids", tables.STRS)])
        tables.write(schema, rows, self.path("truth"))
        return build_pages(
            documents={lang: [self.path(f"documents-{lang}")] for lang in self.pages},
            stores={lang: self.root / lang for lang in self.pages},
            by="key",
            out=self.path("pages"),
        )

    def exclude(self, **changes):
        arguments = {
            "target": "hi",
            "seed": 0,
            "top": 2,
            **{name: self.path(name) for name in ("pages", "neighbours", "qa", "truth")},
            "out": self.path("exclusions"),
        }
        return exclusions(**arguments | changes)

    def sizes(self, **changes):
        names = ("pages", "exclusions", "qa", "truth")
        filter_sizes(**{name: self.path(name) for name in names} | {"out": self.path("sizes")} | changes)
        return tables.read(self.path("sizes")).set_index(["level", "lang"])

    def draw(self, level, **changes):
        arguments = {
            "run": "joint",
            "seed": 0,
            "steps": 5,
            "sequence_length": WIDTH,
            "batch_tokens": 4 * WIDTH,
            "packing": "isolated",
            "shares": None,
            "temperature": None,
            "stores": self.stores,
            "tokenizer": self.tokenizer,
            "out": self.path(f"order-{level}"),
        }
        if level is not None:
            arguments |= {"level": level, "langs": {"mono-en": "en", "mono-hi": "hi"}}
            arguments |= {name: self.path(name) for name in ("pages", "exclusions")}
        return draw_mixture(**arguments | changes)


PAGES = 30


def thirty_pages(root, tokenizer):
    """Thirty pages of 2 to 70 tokens; 3 to 5 are asked about in the test, 7 in tuning, 9 is a control."""
    rng = np.random.default_rng(1)
    pages = {"en": [*range(PAGES), None], "hi": [*rng.permutation(PAGES).tolist(), None, None]}
    return World(
        root=root,
        tokenizer=tokenizer,
        pages=pages,
        lengths={lang: rng.choice([2, 3, 5, 8, 13, 13, 40, 70], len(of)).tolist() for lang, of in pages.items()},
        splits={"a": ("test", 3), "b": ("test", 4), "c": ("test", 5), "d": ("train", 7), "e": ("both", 9)}
        | {"f": ("neither", None)},
        near={3: [4, 11, 12], 4: [9], 7: [3, 13]},
        facts={"a": [3], "b": [4, 11], "c": [5, 20], "d": [7], "e": [9]},
    )
