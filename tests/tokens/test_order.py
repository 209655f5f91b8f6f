"""Properties of the schedule, checked on what a model would be fed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from numbered import NumberedText, shapes, write_store

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.tokens.arms import ARMS, ARRANGEMENTS, EN, LABEL, XX, Unit, has_labels
from lorebridge.tokens.order import order_summary, read_notes
from lorebridge.tokens.reader import IGNORED, OrderReader
from lorebridge.tokens.schedule import PATIENCE, MonolingualRows, ParallelSchedule
from lorebridge.tokens.store import Store
from lorebridge.tokens.tokenizer import tokenizer_fingerprint
from lorebridge.tokens.units import Units


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(shape=shapes())
def test_arms_are_arrangements_of_the_same_pieces(study, tmp_path_factory, shape):
    assume(sum(shape["mono"]))
    text = NumberedText(tmp_path_factory.mktemp("shape"), study, shape)
    readings = {}
    for arm in ARRANGEMENTS:
        reading = readings[arm] = text.read(arm)
        if arm in ("no_bridge", "labels_only"):
            for pieces in reading.sides:
                texts = {text.english[p] for p in pieces["pairs-ko-en"]}
                assert not any(text.english[p] in texts for p in pieces["pairs-ko-xx"])
        if arm == "glued":
            assert not any(pieces["pairs-ko-en"] & pieces["pairs-ko-xx"] for pieces in reading.sides)
    for reading in readings.values():
        for name in ("monolingual", "super_batches"):
            assert getattr(reading, name) == getattr(readings["bridge"], name)
        for note in ("pairs", "monolingual_rows"):
            assert reading.notes[note] == readings["bridge"].notes[note]


def test_documents_come_once_an_epoch():
    lengths = np.array([0, 5, 15, 16, 17, 100, 31, 32, 33, 1, 1, 1])
    rows = MonolingualRows(lengths, 16, np.random.default_rng(0))
    stream = Counter()
    sequence = 0
    for epoch in range(1, 4):
        while sum(stream.values()) < epoch * lengths.sum():
            taken = rows.take(np.array([sequence]))
            assert set(taken.sequence.tolist()) == {sequence}
            for piece, start, n_tokens in zip(taken.piece, taken.start, taken.n_tokens, strict=True):
                stream.update((piece, token) for token in range(start, start + n_tokens))
            assert taken.n_tokens.sum() <= 16
            sequence += 1
        assert set(stream.values()) == {epoch}
        assert len(stream) == lengths.sum()


def test_rows_come_alike_however_many_are_taken_at_a_time():
    lengths = np.arange(1, 40)
    one, many = (MonolingualRows(lengths, 64, np.random.default_rng(3)) for _ in range(2))
    expected = [one.take(np.array([sequence])) for sequence in range(50)]
    found = many.take(np.arange(50))
    for name in found._fields:
        np.testing.assert_array_equal(getattr(found, name), np.concatenate([getattr(e, name) for e in expected]))


def test_units_come_in_turn_and_never_twice_within_a_super_batch():
    units = [Unit(i, (2 * i, 2 * i + 1), (True, False)) for i in range(9)]
    n_en, n_xx = np.array([5, 7] * 9), np.array([6, 9] * 9)
    schedule = ParallelSchedule(Units.of(units), n_en, n_xx, 6, 32, np.random.default_rng(0))
    seen = Counter()
    for _ in range(60):
        taken, content = schedule.super_batch(2, "no_bridge", [0, 2])
        halves = list(zip(taken.kind.tolist(), taken.piece.tolist(), strict=True))
        assert len(halves) == len(set(halves)) >= 4
        assert content == taken.n_tokens.sum()
        seen.update(halves)
        assert len(seen) < 36 or max(seen.values()) - min(seen.values()) <= 2
    assert min(seen.values()) > 5
    with pytest.raises(InputError, match="only 18 usable pairs"):
        schedule.super_batch(40, "no_bridge", [0, 40])


def super_batches_by_definition(units, n_en, n_xx, label_tokens, width, rng, n_rows):
    """Yield the units of each super-batch, with the rows that `bridge` puts them in: the rules in plain Python."""
    size = {(EN, p): n for p, n in enumerate(n_en)} | {(XX, p): n for p, n in enumerate(n_xx)}
    size |= {(LABEL, 0): label_tokens // 2, (LABEL, 1): label_tokens // 2}
    queue = []
    while True:
        free = {(arm, batch): [width] * n_rows for arm in ARRANGEMENTS for batch in (0, 1)}
        found, taken, refused, waiting = [], [], [], []
        while len(refused) < PATIENCE and len(taken) + len(refused) < len(units):
            queue = queue or rng.permutation(len(units)).tolist()
            number = queue.pop(0)
            if number in taken or number in refused:
                waiting.append(number)
                continue
            before, rows = {key: list(value) for key, value in free.items()}, []
            for arm, arrange in ARRANGEMENTS.items():
                for batch, documents in enumerate(arrange(units[number])):
                    for document in documents:
                        n = sum(size[segment] for segment in document) + 1
                        fitting = [row for row, left in enumerate(free[arm, batch]) if left >= n]
                        if rows is None or not fitting:
                            rows = None
                            break
                        row = min(fitting, key=lambda r: (free[arm, batch][r], r))
                        free[arm, batch][row] -= n
                        if arm == "bridge":
                            rows.append((batch * n_rows + row, document))
            if rows is None:
                free = before
                refused.append(number)
                waiting.append(number)
            else:
                taken.append(number)
                found += rows
        queue = waiting + queue
        yield found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("label_tokens", [0, 6, 10])
def test_super_batches_follow_their_definition(label_tokens, seed):
    draw = np.random.default_rng(seed)
    n_en, n_xx = draw.integers(1, 21, (2, 180))
    halves = [(True, False), (False, True), (True, True), (False, True, False)]
    units, used = [], 0
    for number in range(60):
        in_a = halves[draw.integers(4)]
        units.append(Unit(number, tuple(range(used, used + len(in_a))), in_a))
        used += len(in_a)
    width = 100
    schedule = ParallelSchedule(Units.of(units), n_en, n_xx, label_tokens, width, np.random.default_rng(seed))
    expected = super_batches_by_definition(units, n_en, n_xx, label_tokens, width, np.random.default_rng(seed), 2)
    for _ in range(8):
        found, content = schedule.super_batch(2, "bridge", [0, 2])
        wanted = [(row, *segment) for row, document in next(expected) for segment in document]
        wanted.sort(key=lambda segment: segment[0])
        assert list(zip(found.sequence, found.kind, found.piece, strict=True)) == wanted
        assert content == found.n_tokens.sum()


@pytest.mark.parametrize(("n_refused", "n_taken"), [(PATIENCE - 1, 3), (PATIENCE, 1)])
def test_the_queue_is_searched_until_so_many_units_do_not_fit(n_refused, n_taken):
    """The first unit leaves room for two small ones, which stand behind those that do not fit."""
    queue = np.random.default_rng(0).permutation(60)
    n_tokens = np.ones(120, np.int64)
    for large in queue[: 1 + n_refused]:
        n_tokens[[2 * large, 2 * large + 1]] = 6
    units = Units.of([Unit(number, (2 * number, 2 * number + 1), (True, False)) for number in range(60)])
    schedule = ParallelSchedule(units, n_tokens, n_tokens, 0, 22, np.random.default_rng(0))
    found, _ = schedule.super_batch(1, "bridge", [0, 1])
    assert set(found.piece[found.kind != LABEL] // 2) == {*queue[:1], *queue[1 + n_refused : n_refused + n_taken]}


def test_an_order_is_the_same_to_the_byte_whenever_it_is_drawn(study):
    first = study.draw("no_bridge", 0, name="first").read_bytes()
    study.draw("bridge", 1)
    assert study.draw("no_bridge", 0, name="second").read_bytes() == first
    assert tables.read(study.draw("no_bridge", 1)).equals(tables.read(study.draw("no_bridge", 1, name="again")))
    assert not tables.read(study.draw("no_bridge", 1)).equals(tables.read(study.draw("no_bridge", 0)))


def labels_cut_off(frame):
    """What is left of an order without its labels: a piece's row, its document and what it is part of."""
    return frame[frame["stream"] != "label"].drop(columns="slot").reset_index(drop=True)


@pytest.mark.parametrize("arm", [name for name, arm in ARMS.items() if not arm.variant])
def test_another_template_changes_the_labels_alone(study, arm):
    templates = ["English: {en} Korean: {xx}", "{en}{xx}", "{en} = {xx}"]
    orders = [
        study.draw(arm, name=f"t{i}-{arm}", template=template, steps=60, sequence_length=96, batch_tokens=768)
        for i, template in enumerate(templates)
    ]
    if not has_labels(arm):
        without = study.draw(arm, name="no-template", template=None, steps=60, sequence_length=96, batch_tokens=768)
        assert {order.read_bytes() for order in orders} == {without.read_bytes()}
        return
    frames = [tables.read(order) for order in orders]
    assert frames[0]["start"].max() > 96  # documents that are cut are among them
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(labels_cut_off(frame), labels_cut_off(frames[0]))
    notes = [read_notes(order) for order in orders]
    assert [len(n["labels"][0]) > 0 for n in notes] == [True, False, False]
    for n, order in zip(notes, orders, strict=True):
        tokens = n["tokens"]
        assert {**tokens, "label": 0, "pad": 0} == {**notes[0]["tokens"], "label": 0, "pad": 0}
        assert tokens["label"] + tokens["pad"] == notes[0]["tokens"]["label"] + notes[0]["tokens"]["pad"]
        summary = order_summary(order)
        assert summary["targets"] == tokens["content"] + tokens["label"] + tokens["end_of_text"]
        reader = OrderReader.open(order, study.stores)
        assert summary["targets"] == sum((reader.batch(s).targets != IGNORED).sum() for s in range(60))


def test_labels_that_need_more_than_their_room_are_refused(study):
    needed = 2 * max(len(ids) for ids in read_notes(study.draw("bridge", name="enough"))["labels"])
    with pytest.raises(InputError, match=rf"training.label_tokens: {needed - 2} are too few .* Set it to {needed} "):
        study.draw("bridge", label_tokens=needed - 2)
    study.draw("bridge", label_tokens=needed, name="just-enough")
    study.draw("no_bridge", label_tokens=0, name="none")
    with pytest.raises(InputError, match=r"no template.*The arm bridge"):
        study.draw("bridge", template=None)
    for odd in (7, -2, None):
        with pytest.raises(InputError, match=f"{odd} is not an even number"):
            study.draw("no_bridge", label_tokens=odd)
    with pytest.raises(InputError, match="64 is too short"):
        study.draw("no_bridge", label_tokens=62)


def test_a_longer_run_begins_like_a_shorter_one(study):
    short, long = (tables.read(study.draw("placebo", steps=steps)) for steps in (8, 24))
    pd.testing.assert_frame_equal(long[long["sequence"] < 8 * 8], short)


def test_monolingual_and_parallel_text_keep_level(study):
    frame = tables.read(study.draw("bridge", steps=120))
    parallel = frame["stream"].str.startswith("pairs")
    content = frame["n_tokens"].where(frame["stream"] != "label", 0)
    batch = frame["sequence"] // 8
    lead = (content.where(parallel, 0) - content.where(~parallel, 0)).groupby(batch).sum().cumsum()
    assert lead.iloc[1::2].abs().max() <= 5 * 64  # one more monolingual row a batch moves the lead by four rows
    notes = read_notes(study.root / "order" / "ko-bridge-s0.parquet")
    assert notes["monolingual_per_parallel"] == pytest.approx(1, abs=0.01)
    assert notes["epochs"]["pairs-ko-en"] > 2 and notes["epochs"]["mono-ko"] > 2
    summary = order_summary(study.root / "order" / "ko-bridge-s0.parquet")
    assert (
        summary["content"]
        == content.sum()
        == sum(summary[name] for name in ("monolingual", "parallel_en", "parallel_xx"))
    )
    assert summary["en_share"] == pytest.approx(
        summary["parallel_en"] / (summary["parallel_en"] + summary["parallel_xx"]), abs=1e-5
    )
    assert sum(summary[name] for name in ("content", "label", "end_of_text", "pad")) == summary["positions"]


def test_base_is_monolingual_text_alone(study):
    path = study.draw(
        "base", pairs=None, steps=7, stores={"mono-ko": study.stores["mono-ko"]}, template=None, label_tokens=None
    )
    frame = tables.read(path)
    assert set(frame["stream"]) == {"mono-ko"} and set(frame["sequence"]) == set(range(7 * 8))
    summary = order_summary(path)
    assert summary["parallel_en"] is None and summary["pairs_left_out"] is None
    assert summary["pad"] < 0.05 * summary["positions"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 7}, "odd"),
        ({"steps": 0}, "0 steps"),
        ({"arm": "brigde"}, "unknown.*bridge"),  # codespell:ignore brigde
        ({"packing": "loose"}, "unknown.*isolated"),
        ({"sequence_length": 8}, "too short"),
        ({"batch_tokens": 100}, "not a multiple"),
        ({"batch_tokens": 64}, "one row"),
        ({"template": "{en}"}, "not of the form"),
        ({"pairs": None}, "no table of pairs"),
        ({"stores": {}}, "no token store mono-ko"),
        ({"sequence_length": 256, "batch_tokens": 256 * 64}, "all fit in two batches"),
    ],
)
def test_bad_arguments_are_one_clear_error(study, changes, message):
    with pytest.raises(InputError, match=message):
        study.draw(**{"arm": "bridge", "name": "bad", **changes})
    assert not (study.root / "order" / "bad.parquet").exists()


def test_stores_that_do_not_belong_together_are_refused(study, tmp_path):
    tables.write("pairs", tables.read(study.pairs)[:-1], tmp_path / "pairs.parquet")
    with pytest.raises(InputError, match="150 pairs, but 151"):
        study.draw("bridge", name="bad", pairs=tmp_path / "pairs.parquet")
    write_store(tmp_path / "mono", [5, 6], 1, "another")
    with pytest.raises(InputError, match="made with the tokenizer another, not"):
        study.draw("bridge", name="bad", stores={**study.stores, "mono-ko": tmp_path / "mono"})
    with pytest.raises(InputError, match="not a data order"):
        read_notes(study.pairs)
    with pytest.raises(InputError, match="cannot be read"):
        read_notes(tmp_path / "none.parquet")


def test_pairs_too_long_for_a_batch_are_left_out_of_every_arm_and_counted(study, tmp_path, caplog):
    fingerprint = tokenizer_fingerprint(study.tokenizer)
    long = [6] * 60
    long[7] = 900
    stores = {"mono-ko": study.stores["mono-ko"]}
    for first, name in ((1_000, "pairs-ko-en"), (9_000, "pairs-ko-xx")):
        write_store(tmp_path / name, long, first, fingerprint)
        stores[name] = tmp_path / name
    rows = [{"pair_id": f"{i}", "en": f"a{i}", "xx": f"가{i}", "source": "s"} for i in range(60)]
    tables.write("pairs", rows, tmp_path / "pairs.parquet")
    changes = {"stores": stores, "pairs": tmp_path / "pairs.parquet", "batch_tokens": 192, "steps": 20}
    for arm in ARRANGEMENTS:
        path = study.draw(arm, out=tmp_path / f"{arm}.parquet", **changes)
        notes = read_notes(path)
        assert notes["pairs"]["too_long"] in (2, 3)  # with the partners in its unit
        frame = tables.read(path)
        assert 7 not in set(frame.loc[frame["stream"].str.startswith("pairs"), "piece"])
    assert "too long for a batch" in caplog.text
    assert len(Store.open(stores["pairs-ko-en"])) == 60
