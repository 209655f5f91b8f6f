"""Properties of a mixture of texts, checked on what a model would be fed."""

from __future__ import annotations

import shutil
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numbered import documents_of, write_store

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.tokens.mixture import draw_mixture
from lorebridge.tokens.order import order_summary, read_notes, stream_roles
from lorebridge.tokens.reader import OrderReader, show_batch
from lorebridge.tokens.tokenizer import tokenizer_fingerprint

FIRST = 1_000_000  # token 0 of text number i is (i + 1) * FIRST
NAMES = ("mono-en", "mono-hi-f2", "a text", "label-free", "zh")

texts = st.lists(st.lists(st.integers(0, 90), min_size=1, max_size=25).filter(any), min_size=1, max_size=len(NAMES))


def draw(study, stores, out, **changes):
    arguments = {
        "run": "joint-s0",
        "seed": 0,
        "steps": 12,
        "sequence_length": 32,
        "batch_tokens": 128,
        "packing": "isolated",
        "shares": None,
        "temperature": None,
        "stores": stores,
        "tokenizer": study.tokenizer,
        "out": out,
    }
    return draw_mixture(**arguments | changes)


def write_texts(root, study, lengths):
    """Write stores in which every token is another number; return them and where each text's documents begin."""
    fingerprint = tokenizer_fingerprint(study.tokenizer)
    stores, ends = {}, {}
    for i, (name, of_text) in enumerate(zip(NAMES, lengths, strict=False)):
        ends[name] = write_store(root / str(i), of_text, (i + 1) * FIRST, fingerprint) + (i + 1) * FIRST
        stores[name] = root / str(i)
    return stores, ends


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    lengths=texts,
    weights=st.lists(st.integers(1, 40), min_size=len(NAMES), max_size=len(NAMES)),
    seed=st.integers(0, 5),
    rows=st.integers(1, 5),
    steps=st.integers(1, 25),
)
def test_texts_keep_level_and_documents_come_once_an_epoch(
    study, tmp_path_factory, lengths, weights, seed, rows, steps
):
    root = tmp_path_factory.mktemp("mixture")
    stores, ends = write_texts(root, study, lengths)
    some = dict(zip(stores, weights, strict=False))
    shares = {name: weight / sum(some.values()) for name, weight in some.items()}
    changes = {"seed": seed, "steps": steps, "batch_tokens": 32 * rows, "shares": shares}
    notes = draw(study, stores, root / "order.parquet", **changes)
    assert notes["shares"] == shares and set(notes["stores"]) == set(stores)
    reader = OrderReader.open(root / "order.parquet", stores)
    read: dict[str, Counter] = {name: Counter() for name in stores}
    n_rows = Counter()
    for step in range(steps):
        batch = reader.batch(step)
        assert batch.targets.shape == (rows, 32)
        in_row: dict[int, set[str]] = {}
        for row, inputs, targets in documents_of(batch):
            own = targets[targets >= FIRST]
            name = NAMES[int(own[0]) // FIRST - 1]
            in_row.setdefault(row, set()).add(name)
            piece = int(np.searchsorted(ends[name], own[0], "right")) - 1
            # No document is cut but one that is longer than a row.
            assert ends[name][piece + 1] - ends[name][piece] >= 32 or list(own) == list(
                range(ends[name][piece], ends[name][piece + 1])
            )
            assert (inputs[0] == 0) == (own[0] == ends[name][piece])
            read[name].update(own.tolist())
        assert sorted(in_row) == list(range(rows)) and all(len(found) == 1 for found in in_row.values())
        n_rows.update(next(iter(found)) for found in in_row.values())
        total = sum(sum(tokens.values()) for tokens in read.values())
        for name, tokens in read.items():
            assert abs(sum(tokens.values()) - shares[name] * total) < 32
    for name, of_text in zip(stores, lengths, strict=False):
        counts = read[name].values()
        n_tokens = sum(of_text)
        assert notes["content"][name] == sum(counts)
        assert notes["rows"][name] == n_rows[name]
        assert notes["epochs"][name] == pytest.approx(sum(counts) / n_tokens, abs=1e-6)
        if sum(counts) >= n_tokens:
            assert len(counts) == n_tokens  # a new epoch begins when all has been read
        assert not counts or max(counts) - (min(counts) if len(counts) == n_tokens else 0) <= 1
    positions = steps * rows * 32
    assert notes["tokens"]["content"] == sum(notes["content"].values())
    assert sum(notes["tokens"][key] for key in ("content", "label", "end_of_text", "pad")) == positions
    again = dict(reversed(stores.items()))
    backwards = changes | {"shares": dict(reversed(shares.items()))}
    assert draw(study, again, root / "again.parquet", **backwards) == notes
    assert (root / "again.parquet").read_bytes() == (root / "order.parquet").read_bytes()


def test_a_text_gives_the_same_rows_whatever_it_is_mixed_with(study, tmp_path):
    rng = np.random.default_rng(0)
    stores, _ = write_texts(tmp_path, study, rng.integers(1, 40, (3, 30)).tolist())
    columns = ["document", "slot", "piece", "part", "start", "n_tokens"]

    def rows_of(name, **changes):
        draw(study, changes.pop("stores", stores), tmp_path / "order.parquet", **changes)
        frame = tables.read(tmp_path / "order.parquet")
        frame = frame[frame["stream"] == name]
        return [rows[columns].to_numpy().tolist() for _, rows in frame.groupby("sequence")]

    alone = rows_of("mono-en", stores={"mono-en": stores["mono-en"]}, steps=40)
    assert len(alone) == 160
    mixed = rows_of("mono-en")
    assert 10 < len(mixed) < 40 and mixed == alone[: len(mixed)]
    assert rows_of("mono-en", seed=1) != mixed
    assert rows_of("mono-hi-f2")[:5] != mixed[:5]


def test_shares_by_size_and_temperature(study, tmp_path):
    stores, _ = write_texts(tmp_path, study, [[30] * 90, [30] * 10])
    out = tmp_path / "order.parquet"
    assert draw(study, stores, out)["shares"] == {"mono-en": 0.9, "mono-hi-f2": 0.1}
    assert draw(study, stores, out)["temperature"] == 1
    notes = draw(study, stores, out, temperature=2.0, steps=60)
    assert notes["shares"] == {"mono-en": 0.75, "mono-hi-f2": 0.25} and notes["temperature"] == 2
    assert notes["content"]["mono-en"] == pytest.approx(0.75 * notes["tokens"]["content"], abs=32)
    assert draw(study, stores, out, temperature=1e9)["shares"]["mono-hi-f2"] == pytest.approx(0.5)
    given = draw(study, stores, out, shares={"mono-en": 0.25, "mono-hi-f2": 0.75})
    assert given["temperature"] is None


def test_what_reads_orders_reads_a_mixture(study, tmp_path):
    stores = {"mono-ko": study.stores["mono-ko"], "mono-en": study.stores["pairs-ko-en"]}
    out = tmp_path / "order.parquet"
    notes = draw(study, stores, out, packing="concatenated", shares={"mono-ko": 0.4, "mono-en": 0.6}, steps=9)
    assert read_notes(out) == notes and not {"lang", "arm", "pairs"} & set(notes)
    assert stream_roles(notes) == {"mono-en": "monolingual", "mono-ko": "monolingual"}
    summary = order_summary(out)
    assert summary["run"] == "joint-s0" and summary["lang"] is None and summary["arm"] is None
    assert summary["monolingual"] == summary["content"] == summary["tokens mono-ko"] + summary["tokens mono-en"]
    assert summary["parallel_en"] is None and summary["epochs_monolingual"] is None and "replayed" not in summary
    assert summary["epochs mono-ko"] == notes["epochs"]["mono-ko"]
    text = show_batch(order=out, stores=stores, tokenizer=study.tokenizer, step=8)
    assert "mono-ko" in text and "mono-en" in text and text.startswith("joint-s0, step 8 of 9")
    alone = draw(study, {"mono-ko": stores["mono-ko"]}, out)
    assert alone["shares"] == {"mono-ko": 1.0} and order_summary(out)["epochs_monolingual"] is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "0 steps"),
        ({"sequence_length": 8}, "too short"),
        ({"batch_tokens": 100}, "not a multiple"),
        ({"packing": "loose"}, "unknown"),
        ({"temperature": 0.5}, "temperature 0.5"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"shares": {"mono-en": 0.5}}, "shares of mono-en, but stores of mono-en, mono-hi-f2"),
        ({"shares": {"mono-en": 0.5, "mono-hi-f2": 0.6}}, "sum to 1.1"),
        ({"shares": {"mono-en": 1.0, "mono-hi-f2": 0.0}}, "share 0.0 of mono-hi-f2"),
        ({"shares": {"mono-en": 0.5, "mono-hi-f2": 0.5}, "temperature": 2.0}, "shares and a temperature"),
        ({"stores": {}}, "no token store"),
        ({"stores": {"label": None}}, "a text called label"),
    ],
)
def test_bad_arguments_are_one_clear_error(study, tmp_path, changes, message):
    stores, _ = write_texts(tmp_path, study, [[30] * 9, [30] * 10])
    with pytest.raises(InputError, match=message):
        draw(study, **{"stores": stores, "out": tmp_path / "order.parquet", **changes})
    assert not (tmp_path / "order.parquet").exists()


def test_there_are_numbers_for_124_texts(study, tmp_path):
    stores, _ = write_texts(tmp_path, study, [[30] * 9])
    many = {f"text-{i}": stores["mono-en"] for i in range(125)}
    with pytest.raises(InputError, match=r"125 texts\. Mix fewer than 125"):
        draw(study, many, tmp_path / "order.parquet")
    del many["text-0"]
    assert len(draw(study, many, tmp_path / "order.parquet")["stores"]) == 124


def test_stores_that_cannot_be_read_are_refused(study, tmp_path):
    stores, _ = write_texts(tmp_path, study, [[30] * 9, [0, 0]])
    with pytest.raises(InputError, match="no document has a token"):
        draw(study, stores, tmp_path / "order.parquet")
    write_store(tmp_path / "another", [5], 1, "another")
    with pytest.raises(InputError, match="made with the tokenizer another, not"):
        draw(study, {"a": tmp_path / "another"}, tmp_path / "order.parquet")
    shutil.rmtree(stores["mono-en"])
    with pytest.raises(InputError, match="no such file"):
        draw(study, stores, tmp_path / "order.parquet")
