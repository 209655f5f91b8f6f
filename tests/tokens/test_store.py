from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.tokens.store import Store, build_store
from lorebridge.tokens.tokenizer import END_OF_TEXT, BulkEncoder, end_of_text_id, load_tokenizer, tokenizer_fingerprint


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
    for torn in (b"\x93NUMPY", b""):
        (tmp_path / "store" / "offsets.npy").write_bytes(torn)
        with pytest.raises(InputError, match="cannot be read"):
            Store.open(tmp_path / "store")


def test_a_store_of_another_tokenizer_is_refused(study):
    store = study.stores["mono-ko"]
    fingerprint = tokenizer_fingerprint(study.tokenizer)
    assert Store.open(store, fingerprint).notes["tokenizer"] == fingerprint
    with pytest.raises(InputError, match=f"made with the tokenizer {fingerprint}, not with 0123456789abcdef"):
        Store.open(store, "0123456789abcdef")


def test_a_store_that_is_remade_and_fails_is_not_taken_for_the_old_one(study, tmp_path):
    path = write_texts(tmp_path / "t.parquet", ["some text"])
    build_store(tables=[path], column="text", tokenizer=study.tokenizer, out=tmp_path / "store")
    torn = tmp_path / "u.parquet"
    torn.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"u.parquet: cannot be read"):
        build_store(tables=[path, torn], column="text", tokenizer=study.tokenizer, out=tmp_path / "store")
    path = write_texts(tmp_path / "v.parquet", [""])
    with pytest.raises(InputError, match="no text to tokenize"):
        build_store(tables=[path], column="text", tokenizer=study.tokenizer, out=tmp_path / "store")
    with pytest.raises(InputError, match=r"store.json: no such file"):
        Store.open(tmp_path / "store")


def test_ids_that_are_not_those_of_tokenizers_are_refused(study, tmp_path, monkeypatch):
    """One document in the sample gets another id than Hugging Face's: what a change of a library might do."""
    encode = BulkEncoder.encode

    def wrong(self, texts):
        ids, offsets = encode(self, texts)
        odd = [i for i, text in enumerate(texts) if text.startswith("odd")]
        ids = ids.copy()
        ids[offsets[odd]] += 1
        return ids, offsets

    monkeypatch.setattr(BulkEncoder, "encode", wrong)
    for place in (3, 2000):
        path = write_texts(tmp_path / "t.parquet", [f"{'odd' if i == place else 'text'} {i}" for i in range(2100)])
        with pytest.raises(InputError, match=f"different ids for 'odd {place}'"):
            build_store(tables=[path], column="text", tokenizer=study.tokenizer, out=tmp_path / "store")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(study, tmp_path):
    """Two corpora, one eight times the other, of ever new words; the peak in a process of its own."""
    code = r"""
import re, sys
from pathlib import Path
from lorebridge.tokens.store import build_store
build_store(tables=[Path(sys.argv[1])], column="text", tokenizer=Path(sys.argv[2]), out=Path(sys.argv[3]))
# (ru_maxrss would be that of the process that started this one.)
print(int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text()).group(1)) // 1024)
"""
    rng = np.random.default_rng(0)
    peaks = []
    for n_blocks in (1, 8):
        path = tmp_path / f"{n_blocks}.parquet"
        with tables.writer("documents", path) as write:
            for block in range(n_blocks):
                letters = rng.integers(97, 123, 4_000_000).astype(np.uint8)
                letters[rng.random(len(letters)) < 0.15] = 32
                text = letters.tobytes().decode()
                texts = [text[i : i + 2000] for i in range(0, len(text), 2000)]
                write(
                    [
                        {"doc_id": f"{block}-{i}", "title": "", "text": t, "source": "s", "n_chars": len(t)}
                        for i, t in enumerate(texts)
                    ]
                )
        command = [sys.executable, "-c", code, str(path), str(study.tokenizer), str(tmp_path / "store")]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    # The encoder remembers words, up to half a gigabyte of them.
    assert peaks[1] < 1000 and peaks[1] - peaks[0] < 400  # MiB
