from __future__ import annotations

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.tokens.tokenizer import (
    END_OF_TEXT,
    _sample,
    end_of_text_id,
    fetch_tokenizer,
    load_tokenizer,
    tokenizer_fingerprint,
    train_tokenizer,
)


def write_texts(path, texts):
    rows = [{"doc_id": str(i), "title": "", "text": t, "source": "s", "n_chars": len(t)} for i, t in enumerate(texts)]
    tables.write("documents", rows, path)
    return path


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
