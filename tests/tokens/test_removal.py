"""Properties of removal: what goes at which level, and that a level is read where the text of another stood."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from paged import FIRST, PAGES, World, thirty_pages

from lorebridge import tables
from lorebridge.corpora.pieces import KEY, numbering
from lorebridge.errors import ConfigError, InputError
from lorebridge.tokens.levels import FILTERS, LEVELS, NOTHING, STATED, check_room
from lorebridge.tokens.order import read_notes
from lorebridge.tokens.pages import build_pages
from lorebridge.tokens.reader import OrderReader, show_batch
from lorebridge.tokens.removal import Exclusions

KEPT = ["sequence", "document", "stream", "piece", "part", "start", "n_tokens"]


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
    asked = [*draw(st.lists(st.sampled_from(["test", "train", "both"]), max_size=3)), "test"]
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


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
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
    assert excess >= 0 and (excess < last).all()

    page_of = {lang: np.array([-1 if p is None else p for p in of]) for lang, of in world.pages.items()}
    orders, notes, batches = {}, {}, {}
    for level in LEVELS:
        notes[level] = world.draw(level, seed=seed, packing=packing)
        orders[level] = tables.read(world.path(f"order-{level}"))
        reader = OrderReader.open(world.path(f"order-{level}"), world.stores)
        batches[level] = [reader.batch(step) for step in range(5)]
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
    for one, other in itertools.pairwise(FILTERS):
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


@pytest.fixture
def world(study, tmp_path):
    world = thirty_pages(tmp_path, study.tokenizer)
    world.notes = world.write()
    return world


def test_what_each_level_has_and_still_states(world):
    notes = world.exclude()
    assert notes["questions_without_page"] == 1 and notes["protected_stating"] == 0
    assert {level: said["n_pages"] for level, said in notes["removed"].items()} == {
        "f1": 3,  # 3, 4, 5
        "f2": 4,  # and 11; 12 is third, 9 is kept
        "f3": 5,  # and 7
        "f4": 6,  # and 13
        STATED: 5,  # 3, 4, 11, 5, 20
    }
    rows = tables.read(world.path("exclusions")).set_index("page_id")
    reasons = rows["reason"].to_dict()
    expected = {"3": "test", "11": "near test", "7": "train", "13": "near train", "20": STATED, "9": "both", "12": None}
    assert {page: reasons[page] for page in expected if page != "12"} == {
        p: r for p, r in expected.items() if p != "12"
    }
    assert rows.loc["11", ["level", "stated"]].tolist() == [2, True] and pd.isna(rows.loc["20", "level"])
    assert sorted(rows["reserve"].dropna()) == list(range(notes["reserve"]["n_pages"]))
    wanted = int(rows.loc[rows["level"].notna() | rows["stated"], "n_tokens"].sum())
    assert wanted <= notes["reserve"]["n_tokens"] <= notes["available"]
    sizes = world.sizes()
    assert sizes["residual_facts"].unstack()["hi"].to_dict() == {
        NOTHING: 3,
        "f1": 2,  # b on 11, c on 20
        "f2": 1,
        "f3": 1,
        "f4": 1,
        STATED: 0,
    }
    assert (sizes["n_facts"] == 3).all() and (sizes["token_difference"] == 0).all()
    english = sizes.xs("en", level="lang")
    assert (english["residual_facts"] == 3).all() and english["n_tokens"].nunique() == 1
    assert (english["n_documents"] == PAGES - notes["reserve"]["n_pages"]).all()
    hindi = sizes.xs("hi", level="lang")
    for level, said in notes["removed"].items():
        assert hindi.loc[level, "tokens_removed"] == hindi.loc[level, "tokens_reserve"] == said["n_tokens"]
        used = Exclusions.read(world.path("exclusions"))
        n_used = int(used.used(used.removed(level)).sum())
        assert hindi.loc[level, "n_documents"] == PAGES - len(used.reserve) - said["n_pages"] + n_used
    assert world.sizes(out=world.path("again")).equals(sizes)


def test_mentions_say_what_is_stated_as_truth_does(world):
    world.exclude()
    by_truth, sizes = tables.read(world.path("exclusions")), world.sizes()
    mentions = {}
    for lang, pages in world.pages.items():
        rows = [
            {"question_id": name, "piece": pages.index(page), "n_chunks": said, "subject": True, "object": bool(said)}
            for name in world.facts
            for page in range(PAGES)
            if (said := int(page in world.facts[name])) or page == 0
        ]
        # A document that is no page says it too, and is read by nobody.
        rows.append({"question_id": "a", "piece": pages.index(None), "n_chunks": 1, "subject": True, "object": True})
        blank = {"n_statements": 0, "distractor_documents": None, "distractor_chunks": None}
        numbered = {KEY: numbering([world.path(f"documents-{lang}")])}
        tables.write("mentions", [row | blank for row in rows], world.path(f"mentions-{lang}"), numbered)
        mentions[lang] = world.path(f"mentions-{lang}")
    world.exclude(truth=None, mentions=mentions)
    assert tables.read(world.path("exclusions")).equals(by_truth)
    assert world.sizes(truth=None, mentions=mentions).equals(sizes)
    with pytest.raises(InputError, match="truth and mentions are given, or neither"):
        world.exclude(mentions=mentions)
    with pytest.raises(InputError, match="truth and mentions are given, or neither"):
        world.exclude(truth=None)
    with pytest.raises(InputError, match="no mentions of hi"):
        world.exclude(truth=None, mentions={"en": mentions["en"]})
    with pytest.raises(InputError, match="numbers other pieces"):
        world.exclude(truth=None, mentions={"hi": mentions["en"]})


def test_the_reserve_depends_on_the_seed_and_holes_may_hold_several_documents(world):
    world.exclude(seed=1)
    one = tables.read(world.path("exclusions"))
    world.exclude()
    two = tables.read(world.path("exclusions"))
    assert not one["reserve"].equals(two["reserve"]) and one["level"].equals(two["level"])
    notes = world.draw("f4", steps=12)
    order = tables.read(world.path("order-f4"))
    removed = Exclusions.read(world.path("exclusions"))
    assert notes["removal"] == read_notes(world.path("order-f4"))["removal"]
    assert notes["removal"]["documents"] >= removed.removed("f4").sum()  # more than an epoch is read
    assert {-1, -2} <= set(order["part"])
    # What comes further in a hole is a document of its own, numbered behind the others of its row.
    documents = order.groupby("sequence")["document"]
    assert (documents.max() == documents.nunique() - 1).all()
    assert (order.groupby("sequence")["document"].diff() < 0).any()
    shown = [
        show_batch(order=world.path("order-f4"), stores=world.stores, tokenizer=world.tokenizer, step=step)
        for step in range(12)
    ]
    assert any("tokens) for a removed text" in text or "for a removed text (" in text for text in shown)


def test_without_a_level_nothing_changes_and_no_literal_is_needed(world):
    notes = world.draw(None, steps=20)
    assert "removal" not in notes and set(tables.read(world.path("order-None"))["piece"]) >= {PAGES}
    world.exclude()
    again = world.draw(NOTHING)
    assert again["removal"] == {"level": NOTHING, "stream": "mono-hi", "documents": 0, "tokens": 0}
    # Of two seeds nothing is the same: what removing nothing gives by itself.
    assert not tables.read(world.path("order-f0")).equals(
        (world.draw(NOTHING, seed=1), tables.read(world.path("order-f0")))[1]
    )


def test_no_room_for_a_reserve_is_one_line_with_the_numbers(world):
    world.near = {3: [*range(10, 30)]}
    world.write()
    rows = tables.read(world.path("pages"))
    total = int(rows.loc[rows["lang"] == "hi", "n_tokens"].sum())
    with pytest.raises(ConfigError, match=rf"f\d removes [\d,]+ of {total:,} tokens of hi .* at most half can go"):
        world.exclude(top=20)
    world.exclude(top=2)
    with pytest.raises(ConfigError, match=re.escape("f4 removes 60 of 100 tokens of hi (60.0 %), and 40 are left")):
        check_room("removal", "hi", {"f1": 10, "f4": 60}, 40, 100)
    check_room("removal", "hi", {"f1": 10, "f4": 50}, 50, 100)
    check_room("removal", "hi", {}, 0, 0)


def test_pages_are_what_all_languages_have_once(world):
    said = world.notes
    assert said["n_pages"] == PAGES
    assert {lang: said["languages"][lang]["no_counterpart"] for lang in FIRST} == {"en": 1, "hi": 2}
    rows = tables.read(world.path("pages"))
    for lang, of in rows.groupby("lang"):
        assert [world.pages[lang][piece] for piece in of["piece"]] == [int(page) for page in of["page_id"]]
        assert [world.lengths[lang][piece] for piece in of["piece"]] == of["n_tokens"].tolist()
        assert of["piece"].is_monotonic_increasing
        left_out = sum(n for n, page in zip(world.lengths[lang], world.pages[lang], strict=True) if page is None)
        assert said["languages"][lang]["tokens_left_out"] == left_out
    arguments = {
        "documents": {lang: [world.path(f"documents-{lang}")] for lang in FIRST},
        "stores": {lang: world.root / lang for lang in FIRST},
        "out": world.path("by"),
    }
    # By title all that are no page are called "Page None": once in en, twice in hi, so it is no page either.
    notes = build_pages(**arguments, by="title")
    assert notes["n_pages"] == PAGES and notes["languages"]["hi"]["repeated"] == 2
    with pytest.raises(InputError, match=re.escape("has the same doc_id in all of them. Join by key or title")):
        build_pages(**arguments, by="doc_id")
    with pytest.raises(InputError, match="'url' is unknown"):
        build_pages(**arguments, by="url")
    with pytest.raises(InputError, match="documents of en, hi, but stores of en"):
        build_pages(**arguments | {"stores": {"en": world.root / "en"}}, by="key")
    with pytest.raises(InputError, match="numbers other pieces"):
        build_pages(**arguments | {"stores": {"en": world.root / "hi", "hi": world.root / "en"}}, by="key")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "ko"}, "has no page of ko. It has those of en, hi"),
        ({"splits": {"q": ("train", 3)}}, "no question of split test has a page of hi"),
        ({"splits": {"q": ("test", 3), "r": ("both", 3)}}, "3 has questions of split both and of test"),
        ({"near": {3: [99]}}, "names 99, which is no page of hi"),
    ],
)
def test_exclusions_of_what_does_not_fit(world, changes, message):
    for key in set(changes) - {"target"}:
        setattr(world, key, changes[key])
    world.write()
    with pytest.raises(InputError, match=re.escape(message)):
        world.exclude(target=changes.get("target", "hi"))


def test_orders_of_what_does_not_fit(world):
    world.exclude()
    with pytest.raises(InputError, match=re.escape("'f9' is unknown. It is one of f0, f1")):
        world.draw("f9")
    with pytest.raises(InputError, match="a level without its languages, pages or exclusions"):
        world.draw("f1", exclusions=None)
    with pytest.raises(InputError, match="has no page of the text mono-hi"):
        world.draw("f1", langs={"mono-en": "en", "mono-hi": "ko"})
    with pytest.raises(InputError, match="mono-en and mono-hi are both of en"):
        world.draw("f1", langs={"mono-en": "en", "mono-hi": "en"})
    english = {"stores": {"mono-en": world.root / "en"}, "langs": {"mono-en": "en"}}
    with pytest.raises(InputError, match="removes from hi, which no text is of"):
        world.draw("f1", **english)
    with pytest.raises(InputError, match="numbers other pieces"):
        world.draw("f1", langs={"mono-en": "hi", "mono-hi": "en"})
    rows = tables.read(world.path("exclusions"))
    for changed, message in (
        (rows.iloc[::-1], "is of other pages than"),
        (rows.assign(n_tokens=rows["n_tokens"] + 1), "counts other tokens than the store of mono-hi has"),
        (rows.assign(reserve=np.arange(PAGES)), "leaves nothing of mono-en to read"),
    ):
        tables.write("exclusions", changed, world.path("changed"), {"target": "hi"})
        with pytest.raises(InputError, match=message):
            world.draw("f1", exclusions=world.path("changed"))
    tables.write("exclusions", rows, world.path("changed"))
    with pytest.raises(InputError, match="does not say which language it removes from"):
        world.draw("f1", exclusions=world.path("changed"))
    tables.write("pages", tables.read(world.path("pages")), world.path("changed"))
    with pytest.raises(InputError, match="does not say which pieces it numbers"):
        world.draw("f1", pages=world.path("changed"))
