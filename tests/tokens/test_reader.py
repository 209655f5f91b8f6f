from __future__ import annotations

import dataclasses
import gzip
import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from invented import TEMPLATE, Study

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.tokens.arms import ARMS, BASE
from lorebridge.tokens.reader import IGNORED, NO_DOCUMENT, OrderReader, show_batch
from lorebridge.tokens.store import Store, build_store
from lorebridge.tokens.tokenizer import end_of_text_id, fetch_tokenizer, load_tokenizer


def assembled(study, order, step):
    """Assemble a batch from the table by plain loops, as its documentation describes it."""
    notes = OrderReader.open(order, study.stores).notes
    stores = {name: Store.open(path) for name, path in study.stores.items()}
    eot, width, rows = notes["end_of_text"], notes["sequence_length"], notes["rows_per_step"]
    inputs = np.full((rows, width), eot)
    targets = np.full((rows, width), IGNORED)
    positions = np.zeros((rows, width), int)
    documents = np.full((rows, width), NO_DOCUMENT)
    frame = tables.read(order)
    column = [0] * rows
    for (sequence, document), segments in frame[frame["sequence"] // rows == step].groupby(["sequence", "document"]):
        row = sequence % rows
        following, piece, segment = [], None, None
        for segment in segments.sort_values("slot").itertuples():
            piece = (
                notes["labels"][segment.piece] if segment.stream == "label" else stores[segment.stream][segment.piece]
            )
            if not following:
                before = eot if segment.start == 0 else int(piece[segment.start - 1])
            following += [int(t) for t in piece[segment.start : segment.start + segment.n_tokens]]
        if segment.start + segment.n_tokens == len(piece):
            following.append(eot)
        at = slice(column[row], column[row] + len(following))
        inputs[row, at], targets[row, at] = [before, *following[:-1]], following
        positions[row, at], documents[row, at] = range(len(following)), document
        column[row] += len(following)
    return inputs, targets, positions, documents


@pytest.mark.parametrize("arm", [BASE, *(name for name, arm in ARMS.items() if not arm.variant)])
def test_batches_are_what_the_table_says(study, arm):
    order = study.draw(arm, name=f"read-{arm}")
    reader = OrderReader.open(order, study.stores)
    assert (reader.steps, reader.rows_per_step, reader.sequence_length) == (24, 8, 64)
    for step in (0, 1, 13, 23):
        batch = reader.batch(step)
        inputs, targets, positions, documents = assembled(study, order, step)
        np.testing.assert_array_equal(batch.targets, targets)
        np.testing.assert_array_equal(batch.input_ids, inputs)
        np.testing.assert_array_equal(batch.positions, positions)
        np.testing.assert_array_equal(batch.documents, documents)
        assert batch.input_ids.dtype == batch.targets.dtype == batch.positions.dtype == np.int64
        assert batch.documents.dtype == np.int32
        for rows in (slice(0, 2), slice(5, None), slice(1, None, 3), slice(8, 8)):
            some = reader.batch(step, rows)
            for name in ("input_ids", "targets", "positions", "documents"):
                np.testing.assert_array_equal(getattr(some, name), getattr(batch, name)[rows])
    with pytest.raises(IndexError):
        reader.batch(24)


def test_concatenated_rows_are_one_stretch_of_the_same_tokens(study):
    isolated, joined = (
        study.reader("bridge", name=f"packing-{packing}", packing=packing) for packing in ("isolated", "concatenated")
    )
    for step in (0, 5):
        one, other = isolated.batch(step), joined.batch(step)
        np.testing.assert_array_equal(one.input_ids, other.input_ids)
        np.testing.assert_array_equal(one.targets, other.targets)
        text = other.targets != IGNORED
        np.testing.assert_array_equal(other.documents, np.where(text, 0, NO_DOCUMENT))
        np.testing.assert_array_equal(other.positions, np.where(text, np.arange(64), 0))


def test_training_documents_begin_as_the_scorer_begins(study):
    tokenizer = load_tokenizer(study.tokenizer)
    order = study.draw("no_bridge", name="begin")
    reader = OrderReader.open(order, study.stores)
    texts = {
        "mono-ko": tables.read(study.root / "ko.parquet")["text"],
        "pairs-ko-en": tables.read(study.pairs)["en"],
        "pairs-ko-xx": tables.read(study.pairs)["xx"],
    }
    frame = tables.read(order)
    checked = set()
    for segment in frame[(frame["start"] == 0) & (frame["sequence"] < 32)].itertuples():
        batch = reader.batch(segment.sequence // 8)
        row = segment.sequence % 8
        at = batch.documents[row] == segment.document
        ids = tokenizer.encode(texts[segment.stream][segment.piece], add_special_tokens=False).ids
        scored = [end_of_text_id(tokenizer), *ids]
        np.testing.assert_array_equal(batch.input_ids[row, at], scored[: at.sum()])
        np.testing.assert_array_equal(batch.targets[row, at][: segment.n_tokens], ids[: segment.n_tokens])
        checked.add(segment.stream)
    assert checked == set(texts)


def in_row_groups(order, out, size):
    """Write the same order in row groups of another size, as those of large runs have many."""
    pq.write_table(pq.read_table(order), out, row_group_size=size, **tables.FORMAT)
    assert pq.ParquetFile(out).metadata.num_row_groups > 3
    return out


@pytest.mark.parametrize("size", [1, 7, 60])
def test_batches_are_the_same_in_whatever_row_groups_the_order_lies(study, tmp_path, size):
    order = study.draw("bridge", name="one-group", steps=12)
    whole = OrderReader.open(order, study.stores)
    reader = OrderReader.open(in_row_groups(order, tmp_path / "many.parquet", size), study.stores)
    for step in (0, 1, 2, 11, 5, 5, 0):
        for rows in (None, slice(1, None, 4), slice(0, 0)):
            for found, expected in zip(
                dataclasses.astuple(reader.batch(step, rows)), dataclasses.astuple(whole.batch(step, rows)), strict=True
            ):
                np.testing.assert_array_equal(found, expected)
        assert len(reader._rows._held) <= 2 + 400 // size  # what the last step needed, and no more
    text = show_batch(order=tmp_path / "many.parquet", stores=study.stores, tokenizer=study.tokenizer, step=7)
    assert text == show_batch(order=order, stores=study.stores, tokenizer=study.tokenizer, step=7)


def test_a_damaged_row_group_is_one_clear_error_when_it_is_reached(study, tmp_path):
    order = in_row_groups(study.draw("bridge", name="damaged"), tmp_path / "order.parquet", 120)
    metadata = pq.ParquetFile(order).metadata
    names = metadata.schema.names
    column = metadata.row_group(metadata.num_row_groups - 1).column(names.index("n_tokens"))
    content = bytearray(order.read_bytes())
    content[(column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 2] ^= 1
    order.write_bytes(content)
    reader = OrderReader.open(order, study.stores)
    reader.batch(0)
    with pytest.raises(InputError, match=r"order\.parquet: cannot be read as a data order .* Remake it"):
        reader.batch(23)
    order.write_bytes(content[:200])
    with pytest.raises(InputError, match=r"order\.parquet: cannot be read"):
        OrderReader.open(order, study.stores)


def test_show_batch_prints_the_text_that_the_model_saw(study):
    order = study.draw("bridge", name="show")
    text = show_batch(order=order, stores=study.stores, tokenizer=study.tokenizer, step=3)
    pairs = tables.read(study.pairs)
    shown = re.findall(r"<\|endoftext\|>(English: .*?)<\|endoftext\|>", text)
    expected = {TEMPLATE.format(en=en, xx=xx) for en, xx in zip(pairs["en"], pairs["xx"], strict=True)}
    assert len(shown) > 3 and set(shown) <= expected
    assert text.count("\nrow ") == 8 and "padding" in text and "pairs-ko-en" in text
    batch = OrderReader.open(order, study.stores).batch(3)
    n_label = re.search(r"label (\d+)", text.splitlines()[-1])
    assert n_label and sum(int(n) for n in re.findall(r" (\d+)", text.splitlines()[-1])) == batch.targets.size
    for step in (-1, 24):
        with pytest.raises(IndexError, match=f"step {step} of 24"):
            OrderReader.open(order, study.stores).batch(step)
    with pytest.raises(InputError, match="no step 24"):
        show_batch(order=order, stores=study.stores, tokenizer=study.tokenizer, step=24)


def test_another_store_or_tokenizer_is_refused(study, tmp_path):
    order = study.draw("bridge", name="refused")
    with pytest.raises(InputError, match="no token store pairs-ko-xx"):
        OrderReader.open(order, {k: v for k, v in study.stores.items() if k != "pairs-ko-xx"})
    swapped = {**study.stores, "pairs-ko-xx": study.stores["pairs-ko-en"]}
    with pytest.raises(InputError, match="another content"):
        OrderReader.open(order, swapped)
    other = tmp_path / "tokenizer"
    fetch_tokenizer(source=str(study.tokenizer), revision=None, out=other)
    edited = (other / "tokenizer.json").read_text().replace('"NFC"', '"NFD"')
    (other / "tokenizer.json").write_text(edited)
    with pytest.raises(InputError, match="not the tokenizer of the order"):
        show_batch(order=order, stores=study.stores, tokenizer=other, step=0)


@pytest.mark.parametrize("lang", ["ko", "zh", "bo", "mn"])
def test_a_bridge_of_real_text_reads_as_the_template(lang, data, tmp_path):
    """With Qwen2.5's tokenizer, on a slice of each real corpus."""

    def rows(path, n):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return [json.loads(line) for line, _ in zip(file, range(n), strict=False)]

    texts = [row["text"] for row in rows(data / f"corpora/{lang}.jsonl.gz", 60)]
    parallel = [(row["en"], row[lang]) for row in rows(data / f"parallel/en-{lang}.jsonl.gz", 400)]
    fetch_tokenizer(source=str(data / "tokenizer"), revision=None, out=tmp_path / "tokenizer")
    tables.write(
        "documents",
        [{"doc_id": f"{i}", "title": "", "text": t, "source": "d", "n_chars": len(t)} for i, t in enumerate(texts)],
        tmp_path / "documents.parquet",
    )
    tables.write(
        "pairs",
        [{"pair_id": f"{i}", "en": en, "xx": xx, "source": "p"} for i, (en, xx) in enumerate(parallel)],
        tmp_path / "pairs.parquet",
    )
    stores = {}
    for name, table, column in (
        (f"mono-{lang}", "documents", "text"),
        (f"pairs-{lang}-en", "pairs", "en"),
        (f"pairs-{lang}-xx", "pairs", "xx"),
    ):
        stores[name] = tmp_path / name
        build_store(
            tables=[tmp_path / f"{table}.parquet"], column=column, tokenizer=tmp_path / "tokenizer", out=stores[name]
        )
    template = "English: {en} སྐད་ཡིག: {xx}" if lang == "bo" else "English: {en} Chinese: {xx}"
    study = Study(tmp_path, tmp_path / "tokenizer", stores, tmp_path / "pairs.parquet")
    order = study.draw(
        "bridge",
        name="real",
        lang=lang,
        steps=6,
        sequence_length=512,
        batch_tokens=2048,
        template=template,
        label_tokens=32 if lang == "bo" else 8,
    )
    reader = OrderReader.open(order, stores)
    assert reader.notes["monolingual_per_parallel"] == pytest.approx(1, abs=0.25)  # 3 super-batches of 4 rows
    tokenizer = load_tokenizer(study.tokenizer)
    expected = {template.format(en=en, xx=xx) for en, xx in parallel}
    whole = 0
    for step in range(6):
        batch = reader.batch(step)
        for row in range(4):
            for document in range(batch.documents[row].max() + 1):
                at = batch.documents[row] == document
                inputs, targets = batch.input_ids[row, at], batch.targets[row, at]
                text = tokenizer.decode(targets[:-1].tolist())
                if inputs[0] == targets[-1] == end_of_text_id(tokenizer) and text.startswith("English: "):
                    assert text in expected
                    whole += 1
    assert whole > 10
