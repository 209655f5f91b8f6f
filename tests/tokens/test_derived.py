"""Arms that are derived from a laid-out arrangement, checked on what a model would be fed."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numbered import EOT, FIRST, HALVES, NumberedText, shapes

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.tokens.arms import EN, XX, Unit
from lorebridge.tokens.derived import over_english_share
from lorebridge.tokens.order import order_summary, read_notes
from lorebridge.tokens.schedule import Segments
from lorebridge.tokens.tokenizer import load_tokenizer
from lorebridge.tokens.units import Units

SLOW = (HealthCheck.too_slow, HealthCheck.filter_too_much)
ARRANGED = ("bridge", "no_bridge", "placebo")


def write_mentions(path, pieces):
    rows = [
        {
            "question_id": f"ko-{i:04d}",
            "piece": piece,
            "subject": True,
            "object": True,
            "n_statements": n,
            "n_chunks": n,
            "distractor_documents": None,
            "distractor_chunks": None,
        }
        for i, (piece, n) in enumerate(pieces)
    ]
    tables.write("mentions", rows, path)
    return path


@settings(max_examples=12, deadline=None, suppress_health_check=SLOW)
@given(shape=shapes())
def test_changed_arms_read_the_same_pieces(study, tmp_path_factory, shape):
    assume(sum(shape["mono"]))
    text = NumberedText(tmp_path_factory.mktemp("shape"), study, shape)
    bridge, no_bridge = text.read("bridge"), text.read("no_bridge")
    changed = {arm: text.read(arm) for arm in ("xx_first", "untagged", "no_bridge_exchanged")}
    for reading in changed.values():
        assert reading.monolingual == bridge.monolingual
        assert reading.super_batches == bridge.super_batches
    # A/A: the two steps of a super-batch have each other's parallel rows.
    again = changed["no_bridge_exchanged"]
    for step, documents in enumerate(again.documents):
        assert documents == no_bridge.documents[step ^ 1]
        texts = {text.english[p] for p in again.sides[step]["pairs-ko-en"]}
        assert not any(text.english[p] in texts for p in again.sides[step]["pairs-ko-xx"])
    assert changed["untagged"].notes["labels"] == [] and changed["untagged"].notes["tokens"]["label"] == 0
    labels = reading_labels(changed["xx_first"])
    n_cut = 0
    for step, documents in enumerate(changed["xx_first"].documents):
        beside = zip(documents, bridge.documents[step], changed["untagged"].documents[step], strict=True)
        for turned, straight, bare in ([np.frombuffer(targets, np.int64) for _, targets in some] for some in beside):
            assert own(straight).tolist() == own(bare).tolist() and set(bare) - set(own(bare)) <= {EOT}
            en, xx = own(turned, "pairs-ko-en"), own(turned, "pairs-ko-xx")
            if is_whole(text, en) and is_whole(text, xx):
                assert turned.tolist() == [*labels[2], *xx, *labels[3], *en, EOT]
            else:
                assert turned.tolist() == straight.tolist()
                n_cut += len(xx) > 0 and xx[0] in text.ends["pairs-ko-xx"]
    assert changed["xx_first"].notes["derived"] == {"documents_not_turned": n_cut}


def reading_labels(reading):
    labels = reading.notes["labels"]
    assert len(labels) == 4
    return labels


def own(targets, name=None):
    """Return the tokens of a document that are text, of one stream or of all."""
    low, high = (FIRST[name], FIRST[name] + 1_000_000) if name else (1_000_000, 5_000_000)
    return targets[(targets >= low) & (targets < high)]


def is_whole(text, tokens):
    return len(tokens) > 0 and len(tokens) == text.lengths[text.place(tokens[0])[0]][text.place(tokens[0])[1]]


@settings(max_examples=8, deadline=None, suppress_health_check=SLOW)
@given(shape=shapes())
def test_either_half_first_turns_some_whole_documents_and_nothing_else(study, tmp_path_factory, shape):
    assume(sum(shape["mono"]))
    text = NumberedText(tmp_path_factory.mktemp("shape"), study, shape)
    for arm in ("bridge", "placebo", "untagged"):
        straight = text.read(arm)
        either = text.read(arm, first_half="either")
        assert either.monolingual == straight.monolingual and either.super_batches == straight.super_batches
        n_turned = 0
        for drawn, before in zip(either.documents, straight.documents, strict=True):
            for (_, targets), (_, old_targets) in zip(drawn, before, strict=True):
                found, old = np.frombuffer(targets, np.int64), np.frombuffer(old_targets, np.int64)
                en, xx = own(found, "pairs-ko-en"), own(found, "pairs-ko-xx")
                if found.tolist() != old.tolist():
                    assert is_whole(text, en) and is_whole(text, xx)
                    labels = either.notes["labels"] or [[]] * 4
                    assert found.tolist() == [*labels[2], *xx, *labels[3], *en, EOT]
                    n_turned += 1
        assert either.notes["derived"]["documents_turned"] == n_turned
    for arm in ("no_bridge", "xx_first"):  # which join nothing, or have an order of their own
        assert text.read(arm, first_half="either").documents == text.read(arm).documents


def test_either_half_comes_first_in_half_of_the_documents(study):
    notes = read_notes(study.draw("bridge", name="either", first_half="either"))
    path = study.draw("xx_first", name="all")
    frame = tables.read(path)
    n_documents = ((frame["stream"] == "pairs-ko-xx") & (frame["start"] == 0)).sum()
    can_turn = n_documents - read_notes(path)["derived"]["documents_not_turned"]
    assert notes["derived"]["documents_turned"] / can_turn == pytest.approx(0.5, abs=0.12)


def test_replay_goes_into_any_arm_and_leaves_its_pairs_alone(study):
    replay = {"base": "ko", "share": 0.5}
    for arm in ("bridge", "untagged", "bridge_english_matched"):
        more = {"english_share": 0.1} if "english" in arm else {}
        plain = study.reader(arm, name=f"{arm}-plain", **more)
        with pytest.raises(InputError, match="no token store mono-en"):
            study.draw(arm, name="not_made", replay={**replay, "base": "en"}, **more)
        again = study.reader(arm, name=f"{arm}-again", replay=replay, **more)
        n_rows = again.notes["derived"].pop("rows_replayed")
        assert again.notes["derived"] == plain.notes.get("derived", {}) and n_rows > 0
        for step in range(plain.steps):
            batches = [reader.batch(step) for reader in (plain, again)]
            n_mono = max(plain.notes["monolingual_rows"])
            assert (batches[0].targets[n_mono:] == batches[1].targets[n_mono:]).all()


def test_the_xx_half_first_reads_well(study):
    tokenizer = load_tokenizer(study.tokenizer)
    reader = study.reader("xx_first")
    pairs = tables.read(study.pairs)
    expected = {f"Korean: {xx} English: {en}" for en, xx in zip(pairs["en"], pairs["xx"], strict=True)}
    turned = 0
    for step in range(6):
        batch = reader.batch(step)
        for row in range(reader.rows_per_step):
            for document in range(batch.documents[row].max() + 1):
                targets = batch.targets[row, batch.documents[row] == document]
                text = tokenizer.decode(targets[:-1].tolist())
                if text.startswith("Korean: ") and targets[-1] == EOT:
                    assert text in expected
                    turned += 1
    assert turned > 10


@settings(max_examples=10, deadline=None, suppress_health_check=SLOW)
@given(shape=shapes(), data=st.data())
def test_filters_leave_out_whole_pairs_alike_in_all_arrangements(study, tmp_path_factory, shape, data):
    assume(sum(shape["mono"]))
    root = tmp_path_factory.mktemp("shape")
    text = NumberedText(root, study, shape)
    some = st.sets(st.integers(0, len(shape["en"]) - 1), max_size=12)
    of_en, of_xx, named = data.draw(some), data.draw(some), data.draw(some)
    mentions = [
        write_mentions(root / "en.parquet", [*((p, 1) for p in of_en), *((p, 0) for p in named)]),
        write_mentions(root / "xx.parquet", [(p, 2) for p in of_xx]),
    ]
    plain = {arm: text.read(arm) for arm in ARRANGED}
    read = {text.place(t)[1] for tokens in plain["bridge"].super_batches for t in tokens}
    leaking = of_en | of_xx
    assume(leaking & read and read - leaking)
    positions = plain["bridge"].notes["tokens"]["positions"]
    share = data.draw(st.floats(0.3, 1)) * plain["bridge"].notes["content"]["pairs-ko-en"] / positions
    left_out = {"leak_free": leaking, "leak_only": set(range(len(shape["en"]))) - leaking}
    for variant in ("leak_free", "leak_only", "english_matched"):
        for arm in ARRANGED:
            filtered = text.read(f"{arm}_{variant}", mentions=mentions, english_share=share)
            assert filtered.monolingual == plain[arm].monolingual
            left = {text.place(t)[1] for tokens in filtered.super_batches for t in tokens}
            gone = left_out.setdefault(variant, read - left)
            for tokens, before in zip(filtered.super_batches, plain[arm].super_batches, strict=True):
                assert tokens == Counter(t for t in before if text.place(t)[1] not in gone)
            for step, documents in enumerate(filtered.documents):
                assert arm == "placebo" or set(documents) <= set(plain[arm].documents[step])
                en, xx = ({text.english[p] for p in filtered.sides[step][name]} for name in HALVES)
                assert arm != "no_bridge" or not en & xx
            content, before = filtered.notes["content"], plain[arm].notes["content"]
            assert filtered.notes["derived"] == {
                "pairs_left_out": len(gone & read),
                "en_left_out": before["pairs-ko-en"] - content["pairs-ko-en"],
                "xx_left_out": before["pairs-ko-xx"] - content["pairs-ko-xx"],
            }
            assert filtered.notes["pairs"] == plain[arm].notes["pairs"]
            assert variant != "english_matched" or content["pairs-ko-en"] <= share * positions


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), min_size=4, max_size=30),
    st.floats(0.01, 1),
    st.integers(0, 3),
)
def test_english_is_within_a_unit_of_its_share(pairs, part, seed):
    lengths, times = (np.array(column[: len(pairs) // 2 * 2]) for column in zip(*pairs, strict=True))
    read = lengths * times
    assume(read.sum() > 0)
    piece = np.repeat(np.arange(len(read)), times)
    n_tokens = np.concatenate([lengths[piece], 99 + piece])
    kind = np.repeat([EN, XX], len(piece))
    piece = np.tile(piece, 2)
    segments = [
        Segments(*(column[some] for column in (piece, piece, kind, piece, piece, piece, n_tokens)))
        for some in (slice(None, None, 2), slice(1, None, 2))
    ]
    units = Units.of([Unit(i, (2 * i, 2 * i + 1), (True, False)) for i in range(len(read) // 2)])
    left_out = {}
    for share in (part, part / 2):
        target = share * read.sum()
        gone = left_out[share] = over_english_share(
            segments, units, len(read), share=target / 1000, positions=1000, rng=np.random.default_rng(seed), what="r"
        )
        halves = gone.reshape(-1, 2)
        assert (halves[:, 0] == halves[:, 1]).all()
        kept = read[~gone].sum()
        assert kept <= target + 1e-6
        # The last unit to go was needed: with the least of those that went, it would be too much.
        assert not gone.any() or kept + read.reshape(-1, 2).sum(axis=1)[halves[:, 0]].max() > math.floor(target - 1e-6)
    assert not (left_out[part] & ~left_out[part / 2]).any()
    with pytest.raises(
        InputError, match=r"training.english_share: 0.5 is more than r has.*0.04[0-9]* of its positions"
    ):
        over_english_share(
            [Segments(*[np.zeros(1, int)] * 6, np.array([43]))],
            units,
            len(read),
            share=0.5,
            positions=1000,
            rng=np.random.default_rng(seed),
            what="r",
        )


@settings(max_examples=10, deadline=None, suppress_health_check=SLOW)
@given(shape=shapes(), share=st.floats(0.02, 0.98))
def test_replay_takes_a_share_of_the_monolingual_rows_to_a_row(study, tmp_path_factory, shape, share):
    assume(sum(shape["mono"]))
    text = NumberedText(tmp_path_factory.mktemp("shape"), study, shape)
    plain = {arm: text.read(arm) for arm in ARRANGED}
    replay = {arm: text.read(f"{arm}_replay", replay={"base": "en", "share": share}) for arm in ARRANGED}
    base = text.read(
        "base", run="base-s0", lang="en", pairs=None, template=None, label_tokens=None, steps=shape["steps"]
    )
    for arm in ARRANGED:
        assert replay[arm].documents == plain[arm].documents
        assert replay[arm].monolingual == replay["bridge"].monolingual
    from_base = [documents for _, documents in sorted(base.monolingual.items())]
    rows = sorted(plain["bridge"].monolingual)
    assert sorted(replay["bridge"].monolingual) == rows
    n_replayed = 0
    for n_read, row in enumerate(rows, 1):
        documents = replay["bridge"].monolingual[row]
        if np.frombuffer(documents[0][1], np.int64)[0] < FIRST["mono-en"]:
            assert documents == plain["bridge"].monolingual[row]
        else:
            assert documents == from_base[n_replayed]
            n_replayed += 1
        if (row[0], row[1] + 1) not in plain["bridge"].monolingual:  # the last of its batch
            assert abs(n_replayed - share * n_read) <= 0.5 + 1e-9
    assert replay["bridge"].notes["derived"] == {"rows_replayed": n_replayed}


@pytest.mark.parametrize(
    ("arm", "changes", "message"),
    [
        ("bridge_english_matched", {}, "no English share"),
        ("bridge_english_matched", {"english_share": 0.9}, r"english_share: 0.9 is more than .* positions"),
        ("bridge_english_matched", {"english_share": 1e-9}, "leaves out every pair"),
        ("bridge_replay", {}, "no replay"),
        ("bridge_replay", {"replay": {"base": "en", "share": 0.1}}, "no token store mono-en"),
        ("no_bridge_leak_free", {}, "no tables of mentions"),
        ("no_bridge_leak_free", {"mentions": [(9999, 1)]}, "names more pairs than the 151 of ko"),
        ("placebo_leak_only", {"mentions": [(3, 0)]}, "no pair of ko states the answer"),
    ],
)
def test_a_variant_without_what_it_is_made_by_is_one_clear_error(study, tmp_path, arm, changes, message):
    if "mentions" in changes:
        changes = {"mentions": [write_mentions(tmp_path / "mentions.parquet", changes["mentions"])]}
    with pytest.raises(InputError, match=message):
        study.draw(arm, name="not_made", **changes)
    assert not (study.root / "order" / "not_made.parquet").exists()


def test_without_leaks_the_leak_free_arm_is_the_arm_and_says_so(study, tmp_path, caplog):
    mentions = [write_mentions(tmp_path / "mentions.parquet", [(3, 0)])]
    frames = [tables.read(study.draw(arm, mentions=mentions)) for arm in ("bridge_leak_free", "bridge")]
    assert frames[0].equals(frames[1])
    assert "no pair of ko states the answer to a question" in caplog.text


def test_the_summary_of_an_order_says_what_its_filter_left_out(study, tmp_path):
    mentions = [write_mentions(tmp_path / "mentions.parquet", [(p, 1) for p in range(40)])]
    plain = order_summary(study.draw("bridge"))
    assert not {"pairs_filtered", "tokens_filtered", "replayed"} & set(plain)
    filtered = order_summary(study.draw("bridge_leak_free", mentions=mentions))
    assert 0 < filtered["pairs_filtered"] <= 40
    assert filtered["tokens_filtered"] == plain["content"] - filtered["content"]
    english = study.stores | {"mono-en": study.stores["pairs-ko-en"]}
    replay = order_summary(study.draw("bridge_replay", stores=english, replay={"base": "en", "share": 0.25}))
    assert replay["replayed"] + replay["monolingual"] == pytest.approx(plain["monolingual"], rel=0.1)
    assert replay["monolingual_per_parallel"] == pytest.approx(plain["monolingual_per_parallel"], rel=0.1)


def test_another_seed_draws_and_lays_out_all_text_anew(study):
    """The A/A arm of another seed: the text of `no_bridge`, with nothing of its order; two seeds have two of them."""
    plain, again = (study.draw(arm, 0, name=arm, steps=40) for arm in ("no_bridge", "no_bridge_reseeded"))
    assert again.read_bytes() == study.draw("no_bridge_reseeded", 0, name="twice", steps=40).read_bytes()
    orders = [tables.read(path) for path in (plain, again, study.draw("no_bridge_reseeded", 1, name="one", steps=40))]
    for stream in ("mono-ko", "pairs-ko-en", "pairs-ko-xx"):
        pieces = [order.loc[order["stream"] == stream, "piece"].tolist() for order in orders]
        assert not any(a == b for a, b in itertools.combinations(pieces, 2))
    english, korean = (
        set(orders[1].loc[orders[1]["stream"] == half, "sequence"] // 8) for half in ("pairs-ko-en", "pairs-ko-xx")
    )
    assert english == korean == set(range(40))
    notes = [read_notes(path) for path in (plain, again)]
    assert notes[1]["seed"] == 0 and notes[0]["stores"] == notes[1]["stores"]
