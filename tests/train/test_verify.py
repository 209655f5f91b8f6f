"""Verify: all is well after a run, and each thing that is not as it was made is named with the rule that makes it."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lorebridge import tables
from lorebridge.records import Task, describe, file_digest, write_record
from lorebridge.tokens.mixture import draw_mixture
from lorebridge.tokens.reader import read_notes
from lorebridge.tokens.store import Store
from lorebridge.train.verify import verify

DRAWN_WITH = ("run", "lang", "arm", "seed", "steps", "sequence_length", "batch_tokens", "packing")


@pytest.fixture
def published(study, reference, tmp_path):
    """Return keyword arguments of `verify` for a study of one run, with its records as the workflow leaves them."""
    root = tmp_path / "study"
    paths = {
        "tokenizer": shutil.copytree(study["tokenizer"], root / "tokenizer"),
        "store": shutil.copytree(study["stores"]["mono-en"], root / "tokens" / "mono-en"),
        "order": Path(shutil.copy(study["order"], root / "base-s0.parquet")),
        "model": shutil.copytree(reference[0] / "out", root / "models"),
    }
    notes = read_notes(paths["order"])
    literals = {name: notes[name] for name in DRAWN_WITH}
    tokenizer = Task("tokenizer", {})
    store = Task("tokens", {}, {str(paths["tokenizer"] / "record.json"): tokenizer.recipe})
    order = Task("order", literals, {str(paths["store"] / "record.json"): store.recipe})
    beside = root / "base-s0.parquet.record.json"
    model = Task("base_model", {}, {str(beside): order.recipe})
    store_notes = json.loads((paths["store"] / "store.json").read_text())
    for place, task, told, rule in (
        (paths["tokenizer"] / "record.json", tokenizer, {}, "tokenizer"),
        (paths["store"] / "record.json", store, store_notes, "token_store"),
        (beside, order, notes, "order"),
        (paths["model"] / "record.json", model, reference[1], "train_base"),
    ):
        made = sorted(place.parent.iterdir()) if place.name == "record.json" else [paths["order"]]
        files = describe({"made": made}, place.parent)
        write_record(place, task, notes=told, rule=rule, wall_seconds=1, files=files)
    return {
        "model": paths["model"],
        "order": paths["order"],
        "stores": {"mono-en": paths["store"]},
        "tokenizer": paths["tokenizer"],
        "tokenizer_record": paths["tokenizer"] / "record.json",
        "pairs": None,
        "mentions": [],
    }


def failed(published):
    return {check.what.split()[0]: str(check) for check in verify(**published) if not check.ok}


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()  # a checkpoint may be a link into another folder
    path.write_bytes(content)


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def beside(published):
    return published["order"].with_name("base-s0.parquet.record.json")


def described_again(place, made):
    """Write a record as if what lies there had been made so."""
    change(place, files=describe({"made": made}, place.parent))


def test_all_is_well(published):
    lines = [str(check) for check in verify(**published)]
    assert all(line.startswith("ok      ") for line in lines), lines
    kinds = [line.split()[1] for line in lines]
    assert kinds == ["record"] * 4 + ["tokenizer", "tokens", "order"] + ["checkpoint"] * 3 + ["table"]


def test_a_tokenizer_that_is_gone_fails_and_the_rest_is_looked_at(published):
    (published["tokenizer"] / "tokenizer.json").unlink()
    lines = failed(published)
    assert "tokenizer.json" in lines["tokenizer"] and "gone" in lines["tokenizer"]
    assert not {"tokens", "checkpoint", "table"} & lines.keys()


def test_a_mixture_is_drawn_again_by_its_own_layout(published):
    literals = {
        **{name: read_notes(published["order"])[name] for name in DRAWN_WITH if name not in ("lang", "arm")},
        "shares": {"mono-en": 1.0},
        "temperature": None,
    }
    order = published["order"]
    notes = draw_mixture(**literals, stores=published["stores"], tokenizer=published["tokenizer"], out=order)
    place = beside(published)
    change(place, literals=literals, notes=notes)
    described_again(place, [order])
    change(published["model"] / "record.json", notes={"order_sha256": file_digest(order)})
    assert "order" not in failed(published)
    change(place, literals={**literals, "seed": 7})
    assert "its recipe gives other rows" in failed(published)["order"]


def test_an_order_at_a_level_of_removal_is_drawn_again_from_its_tables(published, tmp_path):
    store = Store.open(published["stores"]["mono-en"])
    rows = [
        {"page_id": str(i), "lang": "en", "doc_id": "", "title": "", "piece": i, "n_tokens": int(n)}
        for i, n in enumerate(store.lengths)
    ]
    removal = {name: tmp_path / f"{name}.parquet" for name in ("pages", "exclusions")}
    tables.write("pages", rows, removal["pages"], {"pieces": json.dumps({"en": store.notes.get("pieces")})})
    goes = [
        {"page_id": row["page_id"], "n_tokens": row["n_tokens"], "stated": False, "reason": None}
        | {"level": 1 if i < 30 else None, "reserve": i - 30 if 30 <= i < 100 else None}
        for i, row in enumerate(rows)
    ]
    tables.write("exclusions", goes, removal["exclusions"], {"target": "en"})
    notes = read_notes(published["order"])
    literals = {name: notes[name] for name in DRAWN_WITH if name not in ("lang", "arm")}
    literals |= {"shares": None, "temperature": None, "level": "f1", "langs": {"mono-en": "en"}}
    order, place = published["order"], beside(published)
    names = {key: published[key] for key in ("stores", "tokenizer")}
    notes = draw_mixture(**literals, **names, **removal, out=order)
    assert notes["removal"]["documents"]
    change(place, literals=literals, notes=notes)
    described_again(place, [order])
    change(published["model"] / "record.json", notes={"order_sha256": file_digest(order)})
    assert "order" not in failed(published | {"removal": removal})
    assert "a level without its languages" in failed(published)["order"]
    for row in goes[:15]:
        row["level"] = 2
    tables.write("exclusions", goes, removal["exclusions"], {"target": "en"})
    assert "its recipe gives other rows" in failed(published | {"removal": removal})["order"]


def test_a_changed_token(published):
    flip(published["stores"]["mono-en"] / "tokens.bin")
    found = failed(published)
    assert set(found) >= {"tokens"} and found["tokens"].endswith("Remade by: token_store")
    assert "tokens.bin: changed since token_store made it: its sha256 was " in found["tokens"]


def test_a_store_that_lacks_tokens(published):
    path = published["stores"]["mono-en"] / "tokens.bin"
    path.write_bytes(path.read_bytes()[:-4])
    assert {"tokens", "order"} == set(failed(published))  # without it the order cannot be drawn again


def test_another_tokenizer(published):
    path = published["tokenizer"] / "tokenizer.json"
    path.write_text(path.read_text() + "\n")
    found = failed(published)["tokenizer"]
    assert "changed since tokenizer made it" in found and found.endswith("Remade by: tokenizer")
    described_again(published["tokenizer"] / "record.json", [path])
    assert "another than that of" in failed(published)["tokenizer"]


def test_rows_of_the_order_that_its_recipe_does_not_give(published):
    table = pq.read_table(published["order"])
    pieces = table["piece"].to_pylist()
    pieces[0], pieces[1] = pieces[1], pieces[0]
    index = table.schema.get_field_index("piece")
    pq.write_table(table.set_column(index, "piece", pa.array(pieces, pa.int32())), published["order"])
    assert "changed since order made it" in failed(published)["order"]
    described_again(beside(published), [published["order"]])
    assert failed(published)["order"].endswith("its recipe gives other rows. Remade by: order")


def test_an_order_of_another_seed(published):
    literals = json.loads(beside(published).read_text())["literals"]
    change(beside(published), literals={**literals, "seed": 1})
    assert "its recipe gives other rows. " in failed(published)["order"]
    change(beside(published), source="0" * 16)
    assert "its recipe gives other rows (lorebridge's code has changed since). " in failed(published)["order"]


def test_an_order_drawn_after_the_run(published):
    record = published["model"] / "record.json"
    notes = json.loads(record.read_text())["notes"]
    change(record, notes={**notes, "order_sha256": "0" * 64})
    assert f"but the run was trained on {'0' * 64}" in failed(published)["order"]


def test_equal_rows_in_other_bytes_are_the_same_order(published):
    """As another release of the Parquet library may write them; then it is the run's note that tells."""
    pq.write_table(pq.read_table(published["order"]), published["order"], compression="snappy")
    described_again(beside(published), [published["order"]])
    assert "trained on" in failed(published)["order"]


@pytest.mark.parametrize("name", ["step3/model.safetensors", "step0/config.json", "metrics.parquet"])
def test_a_changed_file_of_the_run(published, name):
    flip(published["model"] / name)
    ((what, line),) = failed(published).items()
    assert what == ("table" if name == "metrics.parquet" else "checkpoint")
    assert f"{name}: changed since train_base made it: its sha256 was " in line
    assert line.endswith("Remade by: train_base")


def test_a_missing_checkpoint_and_one_too_many(published):
    (published["model"] / "step3").rename(published["model"] / "step4")
    lines = [str(check) for check in verify(**published) if not check.ok]
    assert len(lines) == 2 and "step3/model.safetensors: gone since train_base made it" in lines[0]
    assert "step4: the record does not know it" in lines[1]


def test_an_input_of_another_recipe(published):
    change(published["stores"]["mono-en"] / "record.json", recipe="of another filter")
    assert "has recipe of another filter, not " in failed(published)["record"]


def test_without_a_record(published):
    (published["model"] / "record.json").unlink()
    lines = [str(check) for check in verify(**published) if not check.ok]
    assert any("record.json: there is no readable record" in line for line in lines)
    assert sum("the record does not know it" in line for line in lines) == 3
