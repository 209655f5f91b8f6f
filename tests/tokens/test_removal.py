"""Properties of removal: what goes at which level, and that a level is read where the text of another stood."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numbered import write_store

from lorebridge import tables
from lorebridge.corpora.pieces import KEY, numbering
from lorebridge.errors import ConfigError, InputError
from lorebridge.tokens.levels import FILTERS, LEVELS, NOTHING, STATED, check_found, check_room
from lorebridge.tokens.mixture import draw_mixture
from lorebridge.tokens.order import read_notes
from lorebridge.tokens.pages import build_pages
from lorebridge.tokens.reader import OrderReader, show_batch
from lorebridge.tokens.removal import Exclusions, exclusions, filter_sizes
from lorebridge.tokens.tokenizer import tokenizer_fingerprint

FIRST = {"en": 1_000_000, "hi": 2_000_000}  # the first token of each language's store: each token is another number
WIDTH = 32
KEPT = ["sequence", "document", "stream", "piece", "part", "start", "n_tokens"]


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
            "steps": 8,
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


@st.composite
def worlds(draw):
    """A world of up to 40 pages, a quarter of which are asked about at most, and documents that are no pages."""
    n = draw(st.integers(16, 40))
    some = st.integers(1, draw(st.sampled_from([12, 90])))
    pages = {}
    for lang in FIRST:
        mixed = [*range(n), *[None] * draw(st.integers(0, 3))]
        pages[lang] = draw(st.permutations(mixed))
    lengths = {lang: draw(st.lists(some, min_size=len(of), max_size=len(of))) for lang, of in pages.items()}
    asked = draw(st.lists(st.sampled_from(["test", "train", "both"]), max_size=3)) + ["test"]
    where = draw(st.permutations(range(n)))
    splits = {f"q{i}": (split, where[i]) for i, split in enumerate(asked)} | {"lost": ("neither", None)}
    some_pages = st.lists(st.integers(0, n - 1), max_size=2, unique=True)
    near = {where[i]: [other for other in draw(some_pages) if other != where[i]] for i in range(len(asked))}
    facts = {name: [page, *draw(some_pages)] for name, (_, page) in splits.items() if page is not None}
    return {"pages": pages, "lengths": lengths, "splits": splits, "near": near, "facts": facts}


def made(study, root, said):
    """Write a world; return None where it leaves no room for a reserve."""
    world = World(root=root, tokenizer=study.tokenizer, **said)
    world.write()
    try:
        world.exclude()
    except ConfigError:
        return None
    return world


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(said=worlds(), seed=st.integers(0, 3), packing=st.sampled_from(["isolated", "concatenated"]))
def test_a_level_is_a_view_of_the_order_without_removal(study, tmp_path_factory, said, seed, packing):
    world = made(study, tmp_path_factory.mktemp("removal"), said)
    if world is None:
        return
    rows = tables.read(world.path("exclusions"))
    assert rows["page_id"].tolist() == [str(page) for page in world.pages["hi"] if page is not None]
    removal = Exclusions.read(world.path("exclusions"))
    gone = {level: set(removal.page_id[removal.removed(level)]) for level in LEVELS}
    reserve = set(removal.page_id[removal.reserve])
    asked = {split: {str(p) for s, p in world.splits.values() if s == split} for split in ("test", "train", "both")}
    near = {split: {str(b) for a, of in world.near.items() if str(a) in asked[split] for b in of} for split in asked}
    # By definition, so F1 is in F2, F2 in F3, and F3 in F4.
    assert gone[NOTHING] == set() and gone["f1"] == asked["test"]
    assert gone["f2"] == asked["test"] | (near["test"] - asked["both"])
    assert gone["f3"] == gone["f2"] | asked["train"]
    assert gone["f4"] == gone["f3"] | (near["train"] - asked["both"])
    tested = [name for name, (split, _) in world.splits.items() if split == "test"]
    assert gone[STATED] == {str(page) for name in tested for page in world.facts[name]}
    everything = set.union(*gone.values())
    assert not reserve & (everything | asked["both"])
    n_tokens = rows.set_index("page_id")["n_tokens"]
    excess = int(n_tokens[list(reserve)].sum()) - int(n_tokens[list(everything)].sum())
    last = removal.n_tokens[removal.reserve[-1:]]
    assert 0 <= excess and (excess < last).all()

    page_of = {lang: np.array([-1 if p is None else p for p in of]) for lang, of in world.pages.items()}
    orders, notes, batches = {}, {}, {}
    for level in LEVELS:
        notes[level] = world.draw(level, seed=seed, packing=packing)
        orders[level] = tables.read(world.path(f"order-{level}"))
        reader = OrderReader.open(world.path(f"order-{level}"), world.stores)
        batches[level] = [reader.batch(step) for step in range(8)]
    whole = orders[NOTHING]
    for level, order in orders.items():
        same = ["tokens", "content", "epochs", "rows", "shares", "stores"]
        assert {key: notes[level][key] for key in same} == {key: notes[NOTHING][key] for key in same}
        assert (order["slot"] == order.groupby("sequence").cumcount()).all()
        # No document without a counterpart is read, of the reserve none but in a hole, and nothing that was removed.
        for lang in FIRST:
            read = page_of[lang][order.loc[order["stream"] == f"mono-{lang}", "piece"]]
            assert (read >= 0).all()
            holes = order.loc[order["stream"] == f"mono-{lang}", "part"] < 0
            assert set(map(str, read[holes])) <= reserve and not set(map(str, read[~holes])) & reserve
            assert lang == "hi" or not holes.any()
            assert lang != "hi" or not set(map(str, read)) & gone[level]
        # What is kept is there, and nothing else but what stands in the holes.
        is_gone = (whole["stream"] == "mono-hi") & np.isin(
            page_of["hi"][whole["piece"].clip(upper=len(page_of["hi"]) - 1)], [int(p) for p in gone[level]]
        )
        kept = whole.loc[~is_gone, KEPT].to_numpy().tolist()
        assert order.loc[order["part"] >= 0, KEPT].to_numpy().tolist() == kept
        assert notes[level]["removal"]["tokens"] == whole.loc[is_gone, "n_tokens"].sum()
        assert (order["part"] < 0).any() == is_gone.any()
        for before, after in zip(batches[NOTHING], batches[level], strict=True):
            hole = np.isin(before.targets, _tokens(world, gone[level]))
            # Kept text, padding and closing tokens stand where they stood, and a hole has text of the reserve alone.
            assert (before.targets == after.targets)[~hole].all()
            assert np.isin(after.targets[hole], _tokens(world, reserve)).all()
            kept_text = ~hole & (before.targets > 0)
            assert (before.input_ids == after.input_ids)[kept_text].all()
            assert (before.positions == after.positions)[kept_text].all()
            assert ((before.documents < 0) == (after.documents < 0)).all()
    # A hole reads the same at every level that has it: the reserve is nested.
    for one, other in zip(FILTERS[:-1], FILTERS[1:], strict=True):
        for a, b, before in zip(batches[one], batches[other], batches[NOTHING], strict=True):
            hole = np.isin(before.targets, _tokens(world, gone[one]))
            assert (a.targets[hole] == b.targets[hole]).all() and (a.targets[hole] != before.targets[hole]).all()


def _tokens(world, pages):
    """Return the tokens of some pages in the target language."""
    ends = np.cumsum([0, *world.lengths["hi"]])
    spans = [
        np.arange(ends[i], ends[i + 1])
        for i, page in enumerate(world.pages["hi"])
        if page is not None and str(page) in pages
    ]
    return FIRST["hi"] + np.concatenate(spans) if spans else np.zeros(0, int)
