"""Every advice on pages, their neighbours and what is removed is followed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from advised import Case, follow, name_of
from lorebridge import tables
from lorebridge.corpora.neighbours import neighbours
from lorebridge.tokens.pages import build_pages
from lorebridge.tokens.removal import Exclusions

sys.path.insert(0, str(Path(__file__).parent / "tokens"))
from invented import Study, invented_texts, make_study
from paged import World, thirty_pages

MADE: dict[Path, Study] = {}


def made(folder: Path, **changes: Any) -> World:
    """Write a world of thirty pages, some of it changed."""
    if folder.parent not in MADE:
        MADE[folder.parent] = make_study(folder.parent / "study-of-pages", *invented_texts(0))
    world = thirty_pages(folder / "world", MADE[folder.parent].tokenizer)
    shutil.rmtree(folder / "world", ignore_errors=True)
    for key, value in changes.items():
        setattr(world, key, value)
    world.write()
    return world


def excluded(said: dict[str, Any] | None = None, **changes: Any) -> Callable[[Path], Any]:
    return lambda folder: made(folder, **changes).exclude(**said or {})


def drawn(change: Callable[[World], dict[str, Any]] = lambda world: {}, level: str = "f1") -> Callable[[Path], Any]:
    """Draw an order of which something is otherwise."""

    def run(folder: Path) -> Any:
        world = made(folder)
        world.exclude()
        return world.draw(level, **change(world))

    return run


def changed(name: str, change: Callable[[pd.DataFrame], pd.DataFrame], **metadata: str) -> Callable[[World], dict]:
    """Write a table anew, changed."""

    def run(world: World) -> dict[str, Any]:
        tables.write(name, change(tables.read(world.path(name))), world.path("changed"), metadata)
        return {name: world.path("changed")}

    return run


def paged(**changes: Any) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        world = made(folder)
        said = {
            "documents": {lang: [world.path(f"documents-{lang}")] for lang in ("en", "hi")},
            "stores": {lang: world.root / lang for lang in ("en", "hi")},
            "by": "key",
            "out": world.path("pages"),
        }
        return build_pages(**said | {k: v(world) if callable(v) else v for k, v in changes.items()})

    return run


def near(splits: dict[str, tuple[str, int | None]] | None = None, **changes: Any) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        world = made(folder, **({"splits": splits} if splits else {}))
        said = {"lang": "en", "method": "tfidf", "query_terms": 64, "top": 5, "out": world.path("neighbours")}
        said |= {"documents": [world.path("documents-en")], "pages": world.path("pages"), "qa": world.path("qa")}
        return neighbours(**said | changes)

    return run


def unlike_store(folder: Path) -> Any:
    """Join pages with a store that does not keep its numbering, and has fewer documents."""
    world = made(folder)
    notes = json.loads((world.root / "hi" / "store.json").read_text())
    del notes["pieces"]
    offsets = world.root / "hi" / "offsets.npy"
    import numpy as np

    ends = np.load(offsets)
    np.save(offsets, np.append(ends[:-2], ends[-1]))
    (world.root / "hi" / "store.json").write_text(json.dumps(notes))
    said = {"documents": {lang: [world.path(f"documents-{lang}")] for lang in ("en", "hi")}, "by": "key"}
    return build_pages(**said, stores={lang: world.root / lang for lang in ("en", "hi")}, out=world.path("pages"))


def short_store(folder: Path) -> Any:
    """Draw an order of pages beyond the store's documents."""
    world = made(folder)
    world.exclude()
    notes = json.loads((world.root / "hi" / "store.json").read_text())
    del notes["pieces"]
    (world.root / "hi" / "store.json").write_text(json.dumps(notes))
    rows = tables.read(world.path("pages"))
    rows["piece"] += 100
    tables.write("pages", rows, world.path("changed"), {"pieces": "{}"})
    return world.draw("f1", pages=world.path("changed"))


ONE = {"a": ("test", 3)}
CLASH = {"a": ("test", 3), "b": ("both", 3)}
MENTIONS = {"truth": None, "mentions": {}}
ENGLISH = {"mono-en": "en", "mono-hi": "en"}


def mentioned(*langs: str) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        world = made(folder)
        for lang in langs:
            tables.write("mentions", [], world.path(f"mentions-{lang}"))
        return world.exclude(truth=None, mentions={lang: world.path(f"mentions-{lang}") for lang in langs})

    return run


def lacks_target(folder: Path) -> Any:
    world = made(folder)
    world.exclude()
    tables.write("exclusions", tables.read(world.path("exclusions")), world.path("exclusions"))
    return Exclusions.read(world.path("exclusions"))


def has_target(folder: Path) -> Any:
    world = made(folder)
    world.exclude()
    return Exclusions.read(world.path("exclusions"))


def of_stores(world: World, *langs: str) -> dict[str, Any]:
    return {"stores": {f"mono-{lang}": world.root / lang for lang in langs}}


FINE = drawn()

CASES = [
    Case("It is one of tfidf, bm25.", near(method="dense"), None, near(method="bm25")),
    Case("Give 1 or more.", near(top=0), None, near(top=1)),
    Case("It has en, hi.", near(lang="fr"), None, near()),
    Case("Check how pages are named.", near({"a": ("both", 3)}), None, near(ONE)),
    Case("It is one of doc_id, key, title.", paged(by="url"), None, paged(by="title")),
    Case("Give both of each language.", paged(stores=lambda world: {"en": world.root / "en"}), None, paged()),
    Case("Join by key or title, or give text of the same pages.", paged(by="doc_id"), None, paged(by="key")),
    Case("Remake it with its rule.", unlike_store, None, paged()),
    Case("Lower `top` of the", excluded({"top": 20}, near={3: [*range(10, 30)]}), None, excluded({"top": 2})),
    Case("It has those of en, hi.", excluded({"target": "ko"}), None, excluded()),
    Case("Give such questions, or their pages.", excluded(splits={"a": ("train", 3)}), None, excluded(splits=ONE)),
    Case("Remake it with its rule.", excluded(near={3: [99]}), None, excluded(near={3: [9]})),
    Case("Ask the two of different pages.", excluded(splits=CLASH), None, excluded(splits=ONE)),
    Case("Give one of them.", excluded({"truth": None}), None, excluded()),
    Case("Give those of every language of pages.", mentioned("en"), None, mentioned("en", "hi")),
    Case("Remake it with its rule.", lacks_target, None, has_target),
    Case("It is one of f0, f1", drawn(level="f9"), None, drawn(level="stated")),
    Case("Give all four or none.", drawn(lambda world: {"pages": None}), None, FINE),
    Case("It has those of en, hi.", drawn(lambda world: {"langs": {"mono-en": "en", "mono-hi": "ko"}}), None, FINE),
    Case("Mix one text a language.", drawn(lambda world: {"langs": ENGLISH}), None, FINE),
    Case("Remake it with its rule.", short_store, None, FINE),
    Case(
        "Mix that in, or leave it.",
        drawn(lambda world: of_stores(world, "en")),
        None,
        drawn(lambda world: of_stores(world, "hi")),
    ),
    Case(
        "Remake it with its rule.", drawn(changed("exclusions", lambda rows: rows.iloc[::-1], target="hi")), None, FINE
    ),
    Case(
        "Give more text, or remove less.",
        drawn(changed("exclusions", lambda rows: rows.assign(reserve=range(len(rows))), target="hi")),
        None,
        FINE,
    ),
    Case(
        "Remake it with its rule.",
        drawn(changed("exclusions", lambda rows: rows.assign(n_tokens=rows["n_tokens"] + 1), target="hi")),
        None,
        FINE,
    ),
    Case("Remake it with its rule.", drawn(changed("pages", lambda rows: rows)), None, FINE),
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_removal_that_was_mended_as_advised_is_made(case: Case, tmp_path: Path) -> None:
    follow(case, tmp_path)
