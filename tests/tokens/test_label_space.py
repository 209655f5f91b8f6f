"""Whose the space between a label and its half is: Zhang et al. (ACL 2025, C.1) write documents, not pieces."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import json

import pytest
from invented import TEMPLATE

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.tokens.arms import ARRANGEMENTS, template_labels
from lorebridge.tokens.order import read_notes
from lorebridge.tokens.reader import OrderReader
from lorebridge.tokens.store import Store, build_store
from lorebridge.tokens.tokenizer import load_tokenizer

NAMES = {"ko": "Korean", "zh": "Chinese", "bo": "Tibetan", "mn": "Mongolian"}


@pytest.mark.parametrize("lang", NAMES)
def test_the_tokens_of_a_bridge_are_those_of_the_filled_template(lang, data):
    """With Qwen2.5's tokenizer, on real pairs: where the halves have the space, and never where the labels have it."""
    encoder = load_tokenizer(data / "tokenizer")

    def ids(text: str) -> list[int]:
        return encoder.encode(text, add_special_tokens=False).ids

    template = f"English: {{en}} {NAMES[lang]}: {{xx}}"
    before_en, before_xx = template_labels(template)
    [space] = ids(" ")
    with gzip.open(data / "parallel" / f"en-{lang}.jsonl.gz", "rt", encoding="utf-8") as file:
        pairs = [json.loads(line) for line in itertools.islice(file, 200)]
    equal = lone = 0
    for pair in pairs:
        en, xx = pair["en"].strip(), pair[lang].strip()
        whole = ids(template.format(en=en, xx=xx))
        equal += ids(before_en[:-1]) + ids(" " + en) + ids(before_xx[:-1]) + ids(" " + xx) == whole
        # A digit never takes the space before it: then both readings are one.
        lone += ids(before_en)[-1] == ids(before_xx)[-1] == space and ids(before_en + en) == ids(before_en) + ids(en)
    assert equal == len(pairs)
    assert lone < 0.2 * len(pairs), "the space is a token of its own where the label has it, but before digits"


def spaced(study, tmp_path):
    """The same study, the halves of its pairs with a space before them."""
    stores = dict(study.stores)
    for name, column in (("pairs-ko-en", "en"), ("pairs-ko-xx", "xx")):
        stores[name] = tmp_path / name
        build_store(tables=[study.pairs], column=column, tokenizer=study.tokenizer, out=stores[name], lead=" ")
    return dataclasses.replace(study, root=tmp_path, stores=stores)


def test_every_bridge_of_an_order_is_the_filled_template(study, tmp_path):
    half = spaced(study, tmp_path)
    encoder = load_tokenizer(study.tokenizer)
    pairs = tables.read(study.pairs)
    filled = {TEMPLATE.format(en=en, xx=xx) for en, xx in zip(pairs["en"], pairs["xx"], strict=True)}
    whole = {tuple(encoder.encode(text, add_special_tokens=False).ids) for text in filled}
    label_ids = [encoder.encode(text, add_special_tokens=False).ids for text in ("English:", " Korean:")]

    def bridges(some, **more) -> list[tuple[int, ...]]:
        path = some.draw("bridge", **more)
        assert not more or read_notes(path)["labels"] == label_ids
        reader = OrderReader.open(path, some.stores)
        found = []
        for step in range(24):
            batch = reader.batch(step)
            for row in range(len(batch.targets)):
                for number in range(int(batch.documents[row].max()) + 1):
                    targets = batch.targets[row, batch.documents[row] == number].tolist()
                    found.append(tuple(targets[:-1]))  # without the end of the document
        return [document for document in found if encoder.decode(list(document)) in filled]

    found = bridges(half, label_space="half")
    assert len(found) > 50 and {*found} <= whole
    assert not {*bridges(study)} <= whole


def test_the_arms_have_the_same_pieces(study, tmp_path):
    half = spaced(study, tmp_path)
    read = [half.draw(arm, label_space="half") for arm in ARRANGEMENTS]
    content = [read_notes(path)["content"] for path in read]
    assert all(some == content[0] for some in content)


def test_an_empty_half_stays_empty(study, tmp_path):
    rows = [{"pair_id": f"p/{i}", "en": en, "xx": "가", "source": "s"} for i, en in enumerate(["", "one"])]
    tables.write("pairs", rows, tmp_path / "pairs.parquet")
    build = {"tables": [tmp_path / "pairs.parquet"], "column": "en", "tokenizer": study.tokenizer}
    notes = build_store(**build, out=tmp_path / "store", lead=" ")
    assert Store.open(tmp_path / "store").lengths.tolist()[0] == 0 and notes["n_bytes"] == len(" one")


def test_stores_and_labels_must_agree(study, tmp_path):
    half = spaced(study, tmp_path)
    with pytest.raises(InputError, match=r"pairs-ko-en: was not made for label_space: half"):
        study.draw("bridge", label_space="half", out=tmp_path / "order.parquet")
    with pytest.raises(InputError, match=r"pairs-ko-en: was not made for label_space: label"):
        half.draw("bridge")
    with pytest.raises(InputError, match=r"training.label_space: 'both' is unknown"):
        study.draw("bridge", label_space="both", out=tmp_path / "order.parquet")
