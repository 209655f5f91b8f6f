"""Held-out text: what a model predicts of it, and how alike it represents translations."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from transformers import AutoModelForCausalLM, AutoTokenizer

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes.alignment import (
    Translations,
    measure_alignment,
    mutual_nearest,
    read_translations,
    sentence_embeddings,
)
from lorebridge.probes.models import start_token
from lorebridge.probes.perplexity import measure_perplexity, read_samples, shuffled

TEXTS = ["The capital is Seoul.", "한국에는 4개의 계절이 있다.", "汉族中有部分人信奉道教以及景教。" * 9, ""]


@pytest.fixture
def documents(tmp_path):
    paths = []
    for shard, texts in enumerate((TEXTS[:2], TEXTS[2:])):
        rows = [
            {"doc_id": f"t/{shard}{i}", "title": "", "text": t, "source": "t", "n_chars": len(t)}
            for i, t in enumerate(texts)
        ]
        paths.append(tmp_path / f"heldout-{shard}.parquet")
        tables.write("documents", rows, paths[-1])
    return paths


@pytest.fixture(scope="module")
def loaded(checkpoints):
    folder = checkpoints[1][1]
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(
        folder
    )


def write_pairs(path, sides):
    rows = [{"pair_id": f"t/{i:07d}", "en": en, "xx": xx, "source": "t"} for i, (en, xx) in enumerate(sides)]
    tables.write("pairs", rows, path)
    return path


@pytest.mark.parametrize("window", [7, 64, 1000])
def test_every_token_is_predicted_once_from_what_stands_before(documents, loaded, window):
    tokenizer = loaded[1]
    [sample] = read_samples(documents, tokenizer, n_tokens=10**6, window=window, labels=[""])
    assert sample.n_documents == 3  # an empty document has nothing to predict
    assert sample.n_bytes == sum(len(text.encode()) for text in TEXTS)
    assert all(2 <= len(piece) <= window + 1 for piece in sample.windows)
    start, joined = start_token(tokenizer), []
    for piece in sample.windows:
        if piece[0] == start:
            joined.append(piece[1:])
        else:
            assert piece[0] == joined[-1][-1]
            joined[-1] += piece[1:]
    assert sorted(tokenizer.decode(ids) for ids in joined) == sorted(text for text in TEXTS if text)
    assert sample.n_tokens == sum(map(len, joined))


def test_a_sample_is_as_long_as_asked_and_does_not_depend_on_the_shards(documents, loaded, tmp_path):
    tokenizer = loaded[1]
    [sample] = read_samples(documents, tokenizer, n_tokens=30, window=10, labels=[""])
    assert sample.n_tokens == 30
    text = tokenizer.decode([token for piece in sample.windows for token in piece[1:]])
    assert abs(len(text.encode()) - sample.n_bytes) <= 3  # the cut may fall inside a letter
    whole = tmp_path / "one.parquet"
    tables.write("documents", pd.concat([tables.read(path) for path in documents]), whole)
    assert read_samples([whole], tokenizer, n_tokens=30, window=10, labels=[""]) == [sample]


def test_no_held_out_text_is_an_error(loaded, tmp_path):
    tables.write("documents", [], tmp_path / "none.parquet")
    with pytest.raises(InputError, match="no held-out text"):
        read_samples([tmp_path / "none.parquet"], loaded[1], n_tokens=10, window=10, labels=[""])
    with pytest.raises(InputError, match="1 held-out pairs"):
        read_translations(write_pairs(tmp_path / "p.parquet", [("a", "b")]), loaded[1], n_pairs=9, window=9)


def test_perplexity_is_that_of_the_model(documents, loaded):
    model, tokenizer = loaded
    [sample] = read_samples(documents, tokenizer, n_tokens=10**6, window=50, labels=[""])
    nll = 0.0
    for piece in sample.windows:
        ids = torch.tensor([piece])
        with torch.no_grad():
            nll += float(model(ids, labels=ids).loss) * (len(piece) - 1)
    for trees in (True, False):
        row = measure_perplexity(model, sample, trees=trees, batch_tokens=100)
        assert row["sum_nll"] == pytest.approx(nll, rel=1e-6)
        assert row["perplexity"] == pytest.approx(math.exp(nll / row["n_tokens"]))
        assert row["bits_per_byte"] == pytest.approx(nll / math.log(2) / sample.n_bytes)


def test_a_beginning_is_a_sample():
    frame = pd.DataFrame({"id": [f"{i:05d}" for i in range(1000)]})
    order = shuffled(frame, "id")
    assert sorted(order["id"]) == list(frame["id"])
    assert 400 < order["id"][:200].astype(int).mean() < 600
    assert list(shuffled(frame[::-1], "id")["id"]) == list(order["id"])


def test_pairs_that_share_a_side_are_taken_once(loaded, tmp_path):
    sides = [("a", "x"), ("a", "y"), ("b", "x"), ("c", "z"), ("", "w"), ("d", "")]
    found = read_translations(write_pairs(tmp_path / "p.parquet", sides), loaded[1], n_pairs=9, window=3)
    assert len({tuple(ids) for ids in found.en}) == len(found.en) == len({tuple(ids) for ids in found.xx})
    assert all(len(ids) <= 3 for ids in found.en + found.xx)


@given(arrays(np.float32, st.integers(2, 6).map(lambda n: (n, n)), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])))
def test_mutual_nearest_counts_strict_maxima_of_row_and_column(similarity):
    n = len(similarity)
    rows = [all(similarity[i, i] > similarity[i, j] for j in range(n) if j != i) for i in range(n)]
    columns = [all(similarity[i, i] > similarity[j, i] for j in range(n) if j != i) for i in range(n)]
    both = [a and b for a, b in zip(rows, columns, strict=True)]
    assert mutual_nearest(similarity) == tuple(sum(x) / n for x in (both, rows, columns))


def test_embeddings_are_weighted_means_of_the_states(loaded):
    model, tokenizer = loaded
    start = start_token(tokenizer)
    sequences = [[start, *tokenizer(text)["input_ids"]] for text in TEXTS if text]
    found = sentence_embeddings(model, sequences, batch_tokens=40)
    assert found.shape == (model.config.num_hidden_layers + 1, len(sequences), model.config.hidden_size)
    for index, sequence in enumerate(sequences):
        with torch.no_grad():
            states = model(torch.tensor([sequence]), output_hidden_states=True).hidden_states
        for layer, state in enumerate(states):
            weights = torch.arange(1, len(sequence), dtype=torch.float32)
            mean = (weights[:, None] * state[0, 1:]).sum(0) / weights.sum()
            torch.testing.assert_close(found[layer, index], mean / mean.norm(), atol=1e-5, rtol=0)


def test_a_sentence_is_aligned_with_itself_and_noise_is_not(loaded):
    model, _ = loaded
    rng = np.random.default_rng(0)
    en = [[0, *rng.integers(1, 300, rng.integers(4, 12))] for _ in range(40)]
    other = [[0, *rng.integers(1, 300, rng.integers(4, 12))] for _ in range(40)]
    same = measure_alignment(model, Translations(en, en), batch_tokens=200)
    assert [row["layer"] for row in same] == list(range(model.config.num_hidden_layers + 1))
    assert all(row["mexa"] == row["to_xx"] == row["to_en"] == 1 for row in same)
    noise = measure_alignment(model, Translations(en, other), batch_tokens=200)
    assert all(row["mexa"] <= 0.15 and row["n_pairs"] == 40 for row in noise)
