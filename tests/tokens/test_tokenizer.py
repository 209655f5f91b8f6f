from __future__ import annotations

import gzip
import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.tokens.tokenizer import (
    END_OF_TEXT,
    BulkEncoder,
    _sample,
    end_of_text_id,
    fetch_tokenizer,
    load_tokenizer,
    n_ids,
    tokenizer_fingerprint,
    train_tokenizer,
)


def write_texts(path, texts):
    rows = [{"doc_id": str(i), "title": "", "text": t, "source": "s", "n_chars": len(t)} for i, t in enumerate(texts)]
    tables.write("documents", rows, path)
    return path


def test_an_embedding_has_a_row_for_the_largest_id(study, tmp_path):
    """A tokenizer that is given may leave ids out: it has fewer entries than its largest id."""
    said = json.loads((study.tokenizer / "tokenizer.json").read_text(encoding="utf-8"))
    assert n_ids(load_tokenizer(study.tokenizer)) == len(said["model"]["vocab"])
    last = max(said["model"]["vocab"], key=said["model"]["vocab"].get)
    said["model"]["vocab"][last] = 4_000
    (tmp_path / "tokenizer.json").write_text(json.dumps(said), encoding="utf-8")
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.get_vocab_size() < n_ids(tokenizer) == 4_001


def test_the_same_tables_give_the_same_bytes(study, tmp_path):
    places = [("ko", "text", study.root / "ko.parquet"), ("en", "en", study.pairs)]
    for out in (tmp_path / "a", tmp_path / "b"):
        train_tokenizer(tables=places, vocab_size=400, bytes_per_group=9_000, out=out)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert tokenizer_fingerprint(tmp_path / "a") == tokenizer_fingerprint(tmp_path / "b")
    assert load_tokenizer(tmp_path / "a").get_vocab_size() == 400


@pytest.mark.parametrize("n_bytes", [1, 7, 36, 60, 61, 999])
def test_a_group_gives_exactly_the_bytes_asked(tmp_path, n_bytes):
    texts = ["བོད་ཡིག", "ascii text", "", "中文"]  # 21 + 10 + 0 + 6 bytes
    whole, first_half, rest = (
        write_texts(tmp_path / f"{name}.parquet", part)
        for name, part in (("w", texts), ("a", texts[:2]), ("b", texts[2:]))
    )
    sample = list(_sample("g", [("text", whole)], n_bytes))
    assert n_bytes - 2 <= sum(len(text.encode()) for text in sample) <= n_bytes  # the cut falls between characters
    assert sorted(_sample("g", [("text", first_half), ("text", rest)], n_bytes)) == sorted(sample)
    for text in texts:
        assert sample.count(text) >= n_bytes // 37


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=60))
def test_nothing_is_unknown_and_nothing_is_special(study, text):
    import unicodedata

    tokenizer = load_tokenizer(study.tokenizer)
    ids = tokenizer.encode(text + END_OF_TEXT + text, add_special_tokens=False).ids
    assert end_of_text_id(tokenizer) not in ids
    assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text + END_OF_TEXT + text)


@pytest.fixture(scope="module")
def bulk(study):
    return BulkEncoder(study.tokenizer)


@pytest.fixture(scope="module")
def qwen(data):
    return BulkEncoder(data / "tokenizer")


def assert_same_ids(encoder, reference, texts):
    ids, offsets = encoder.encode(texts)
    expected = [encoding.ids for encoding in reference.encode_batch(texts, add_special_tokens=False)]
    assert ids.dtype == np.uint32 and offsets.dtype == np.int64
    assert [ids[begin:end].tolist() for begin, end in pairwise(offsets)] == expected


QUOTED = [
    END_OF_TEXT,
    "<|im_start|>",
    "<tool_call>",
    "'S",
    "\r\n",
    "\n\n",
    "  ",
    "\t",
    "\u202f",
    "\u180e",
    "\ufeff",
    "\0",
    "a\u0301",
    "\u1100\u1161\u11a8",
    "ſ",
    "K",
    "१२",
    "1234",
]
strange_texts = st.lists(st.one_of(st.text(max_size=8), st.sampled_from(QUOTED)), max_size=12).map("".join)


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(strange_texts, max_size=6))
def test_a_bulk_of_strange_texts_has_the_ids_of_tokenizers(study, bulk, texts):
    assert_same_ids(bulk, load_tokenizer(study.tokenizer), texts)


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(strange_texts, max_size=6))
def test_a_bulk_of_strange_texts_has_the_ids_of_qwen(qwen, texts):
    assert_same_ids(qwen, qwen._reference, texts)


@pytest.mark.parametrize("text", ["a", " ", "\n", "가", "'", "1", "a\u0301", END_OF_TEXT])
def test_a_long_run_of_one_text_has_the_ids_of_tokenizers(study, bulk, text):
    assert_same_ids(bulk, load_tokenizer(study.tokenizer), [text * 20_000])


@pytest.mark.parametrize(
    "name",
    [
        "corpora/en",
        "corpora/ko",
        "corpora/zh",
        "corpora/bo",
        "corpora/mn",
        "parallel/en-ko",
        "parallel/en-zh",
        "parallel/en-bo",
        "parallel/en-mn",
    ],
)
def test_real_text_has_the_ids_of_tokenizers(data, study, bulk, qwen, name):
    """On the first 300 kB of each file; benchmarks/text.py compares the rest."""
    texts, n_chars = [], 0
    with gzip.open(data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            texts += [value for value in json.loads(line).values() if isinstance(value, str)]
            n_chars += len(line)
            if n_chars > 150_000:
                break
    assert_same_ids(qwen, qwen._reference, texts)
    assert_same_ids(bulk, load_tokenizer(study.tokenizer), texts[:40])


def test_a_tokenizer_that_fastokens_cannot_read_is_refused(study, tmp_path):
    folder = tmp_path / "tokenizer"
    shutil.copytree(study.tokenizer, folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["normalizer"] = {"type": "StripAccents"}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="cannot be read by fastokens"):
        BulkEncoder(folder)


def test_transformers_reads_the_folder_alike_with_and_without_a_model_beside(study, tmp_path):
    from transformers import AutoTokenizer

    folder = tmp_path / "step1"
    shutil.copytree(study.tokenizer, folder)
    texts = [*tables.read(study.pairs)["en"][:40], "བོད་ཡིག ᠮᠣᠩᠭᠣᠯ\u202fᠤᠨ 中文 1984,\n\n  x's"]
    ours = load_tokenizer(study.tokenizer)
    for config in (None, {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}):
        if config:
            (folder / "config.json").write_text(json.dumps(config))
        theirs = AutoTokenizer.from_pretrained(folder)
        assert theirs.eos_token_id == theirs.pad_token_id == end_of_text_id(ours)
        for text in texts:
            assert theirs(text)["input_ids"] == ours.encode(text).ids


def test_errors_name_place_and_mend(study, tmp_path):
    with pytest.raises(InputError, match="257"):
        train_tokenizer(tables=[], vocab_size=256, bytes_per_group=10, out=tmp_path / "t")
    with pytest.raises(InputError, match=r"no.parquet: cannot be read"):
        train_tokenizer(
            tables=[("g", "text", tmp_path / "no.parquet")], vocab_size=300, bytes_per_group=9, out=tmp_path
        )
    empty = write_texts(tmp_path / "empty.parquet", [""])
    with pytest.raises(InputError, match=r"empty.parquet: no text"):
        train_tokenizer(tables=[("g", "text", empty)], vocab_size=300, bytes_per_group=9, out=tmp_path / "t")
    with pytest.raises(InputError, match=r"tokenizer.json: no such file"):
        load_tokenizer(tmp_path / "nowhere")
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "tokenizer.json").write_text('{"model"')
    with pytest.raises(InputError, match="not JSON"):
        load_tokenizer(torn)
    plain = Tokenizer.from_file(str(study.tokenizer / "tokenizer.json")).to_str().replace(END_OF_TEXT, "<eos>")
    (torn / "tokenizer.json").write_text(plain)
    with pytest.raises(InputError, match="no token"):
        load_tokenizer(torn)


def test_fetch_copies_a_folder_file_for_file(study, tmp_path):
    notes = fetch_tokenizer(source=str(study.tokenizer), revision=None, out=tmp_path / "copy")
    assert notes["fingerprint"] == tokenizer_fingerprint(study.tokenizer)
    for path in study.tokenizer.iterdir():
        assert (tmp_path / "copy" / path.name).read_bytes() == path.read_bytes()


def test_fetch_says_what_cannot_be_had(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="neither a folder nor"):
        fetch_tokenizer(source="nobody/nothing", revision=None, out=tmp_path / "t")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"tokenizer.json: no such file"):
        fetch_tokenizer(source=str(tmp_path / "folder"), revision=None, out=tmp_path / "t")
