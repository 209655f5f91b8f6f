from __future__ import annotations

import json

import numpy as np
import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.tokens.store import Store, build_store
from lorebridge.tokens.tokenizer import END_OF_TEXT, end_of_text_id, load_tokenizer


def write_texts(path, texts):
    rows = [{"doc_id": str(i), "title": "", "text": t, "source": "s", "n_chars": len(t)} for i, t in enumerate(texts)]
    tables.write("documents", rows, path)
    return path


def test_documents_come_back_in_the_order_of_the_tables(study, tmp_path):
    texts = ["first text", "", "བོད་ཡིག", f"a literal {END_OF_TEXT} inside"] + [f"text {i}" for i in range(700)]
    parts = [write_texts(tmp_path / f"{i}.parquet", part) for i, part in enumerate((texts[:2], texts[2:]))]
    notes = build_store(tables=parts, column="text", tokenizer=study.tokenizer, out=tmp_path / "store")
    store = Store.open(tmp_path / "store")
    tokenizer = load_tokenizer(study.tokenizer)
    assert [tokenizer.decode(store[i].tolist()) for i in range(len(store))] == texts
    assert end_of_text_id(tokenizer) not in store.tokens
    assert notes["n_documents"] == len(texts) and notes["n_bytes"] == sum(len(t.encode()) for t in texts)
    assert notes["n_tokens"] == store.lengths.sum() == len(store.tokens)
    assert store.tokens.dtype == np.uint32 and store.offsets.dtype == np.int64
    assert store.notes == notes == json.loads((tmp_path / "store" / "store.json").read_text())
    assert not list((tmp_path / "store").glob("*.partial"))
    with pytest.raises(IndexError):
        store[len(texts)]
    build_store(tables=parts, column="text", tokenizer=study.tokenizer, out=tmp_path / "again")
    for name in ("tokens.bin", "offsets.npy", "store.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "store" / name).read_bytes()


def test_bad_input_is_one_clear_error(study, tmp_path):
    def build(*paths):
        build_store(tables=list(paths), column="text", tokenizer=study.tokenizer, out=tmp_path / "store")

    with pytest.raises(InputError, match=r"missing.parquet: cannot be read"):
        build(tmp_path / "missing.parquet")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=r"torn.parquet: cannot be read"):
        build(tmp_path / "torn.parquet")
    with pytest.raises(InputError, match="no text to tokenize"):
        build(write_texts(tmp_path / "empty.parquet", [""]))


def test_a_torn_store_is_refused(study, tmp_path):
    path = write_texts(tmp_path / "t.parquet", ["some text"])
    with pytest.raises(InputError, match=r"tokens.bin: no such file"):
        Store.open(tmp_path / "store")
    build_store(tables=[path], column="text", tokenizer=study.tokenizer, out=tmp_path / "store")
    tokens = tmp_path / "store" / "tokens.bin"
    tokens.write_bytes(tokens.read_bytes()[:-4])
    with pytest.raises(InputError, match="bytes for"):
        Store.open(tmp_path / "store")
