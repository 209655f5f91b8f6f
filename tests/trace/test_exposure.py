"""What a run consumed of each fact, against a count by hand over its order."""

import json

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.tokens.mixture import draw_mixture
from lorebridge.tokens.order import METADATA, draw_order, read_notes
from lorebridge.tokens.removal import exclusions
from lorebridge.tokens.store import Store, build_store
from lorebridge.tokens.tokenizer import load_tokenizer, tokenizer_fingerprint, train_tokenizer
from lorebridge.trace.asked import read_asked
from lorebridge.trace.exposure import exposure
from lorebridge.trace.judges import CoOccurrence
from lorebridge.trace.mentions import find_mentions
from lorebridge.trace.subjects import find_subjects
from lorebridge.world.planting import generate

SCRIPTS = {"en": "Latin", "ko": "Hangul", "bo": "Tibetan"}
STREAMS = {
    "mono-en": ("en", "text"),
    "mono-bo": ("bo", "text"),
    "pairs-bo-en": ("en", "en"),
    "pairs-bo-xx": ("bo", "xx"),
}
MAX_CHARS = 400
ROWS = 2  # of a step
COUNTS = ["n_presentations", "n_distinct_docs", "n_subject", "n_object", "n_pairs_covering", "n_leak_pairs"]


@pytest.fixture(scope="module")
def study(tmp_path_factory, passages, released, write_questions):
    """A small planted world up to its mentions: everything that exposure reads but the order."""
    out = tmp_path_factory.mktemp("study")
    generate(
        out=out,
        base="en",
        languages={lang: {"script": script} for lang, script in SCRIPTS.items()},
        questions=20,
        doses=(1, 3),
        articles=15,
        pairs=250,
        pairs_per_entity=3,
        leak_rate=0.5,
    )
    for lang in SCRIPTS:
        texts = passages(out / "corpora" / f"{lang}.jsonl.gz")
        rows = [
            {"doc_id": c[:-2], "title": "", "text": t, "source": "planted", "n_chars": len(t)} for c, t in texts.items()
        ]
        tables.write("documents", rows, out / f"{lang}.parquet")
    pairs = pd.read_json(out / "parallel" / "en-bo.jsonl.gz", lines=True).rename(columns={"bo": "xx"})
    pairs["pair_id"] = [f"planted/{i:07d}" for i in range(len(pairs))]
    tables.write("pairs", pairs, out / "pairs.parquet")
    train_tokenizer(
        tables=[(lang, "text", out / f"{lang}.parquet") for lang in SCRIPTS],
        vocab_size=700,
        bytes_per_group=40_000,
        out=out / "tokenizer",
    )
    for culture in ("ko", "bo"):
        asked = {lang: released(out / "questions", culture, lang) for lang in ("en", culture)}
        write_questions(out / f"questions-{culture}.parquet", culture, asked)
    for lang in ("en", "bo"):
        find_subjects(
            lang=lang,
            script=SCRIPTS[lang],
            max_chars=MAX_CHARS,
            documents=[out / f"{lang}.parquet"],
            questions={c: out / f"questions-{c}.parquet" for c in (["ko", "bo"] if lang == "en" else ["bo"])},
            out=out / f"subjects-{lang}.parquet",
        )
    for stream, (lang, column) in STREAMS.items():
        texts = out / (f"{lang}.parquet" if stream.startswith("mono") else "pairs.parquet")
        build_store(tables=[texts], column=column, tokenizer=out / "tokenizer", out=out / stream)
        find_mentions(
            stream=stream,
            script=SCRIPTS[lang],
            window=1,
            max_chars=MAX_CHARS,
            cultures=["ko", "bo"] if stream == "mono-en" else ["bo"],
            texts=[texts],
            column=column,
            subjects=out / f"subjects-{lang}.parquet",
            out=out / f"mentions-{stream}.parquet",
        )
    return out


def write_order(study, path, segments, *, run, arm, steps):
    """Write an order of (sequence, stream, piece, part, start, n_tokens)."""
    streams = ["mono-en"] if arm == "base" else ["mono-bo", "pairs-bo-en", "pairs-bo-xx"]
    notes = {
        "run": run,
        "lang": "en" if arm == "base" else "bo",
        "arm": arm,
        "steps": steps,
        "rows_per_step": ROWS,
        "tokenizer": tokenizer_fingerprint(study / "tokenizer"),
        "stores": {stream: Store.open(study / stream).notes["digest"] for stream in streams},
    }
    columns = ["sequence", "stream", "piece", "part", "start", "n_tokens"]
    frame = pd.DataFrame(segments, columns=columns).assign(slot=0, document=0)
    tables.write("order", frame, path, {METADATA: json.dumps(notes)})
    return path


def count(study, order, out, *, run="bo-bridge-s0", steps=(0, 1, 4), cultures=("bo",), base=None, **name):
    return exposure(
        run=run,
        **{"learned": "bo", "arm": "bridge", "seed": 0, **name},
        steps=list(steps),
        cultures=list(cultures),
        scripts={stream: SCRIPTS[lang] for stream, (lang, _) in STREAMS.items()},
        langs={stream: lang for stream, (lang, _) in STREAMS.items()},
        pairs=dict.fromkeys(("pairs-bo-en", "pairs-bo-xx"), "bo"),
        window=1,
        max_chars=MAX_CHARS,
        order=order,
        stores={stream: study / stream for stream in STREAMS},
        subjects={s: study / f"subjects-{lang}.parquet" for s, (lang, _) in STREAMS.items()},
        mentions={stream: study / f"mentions-{stream}.parquet" for stream in STREAMS},
        tokenizer=study / "tokenizer",
        base=base,
        out=out,
    )


class Oracle:
    """Reads every stretch and asks for every question, one after another."""

    def __init__(self, study):
        self.decoder = load_tokenizer(study / "tokenizer")
        self.stores = {stream: Store.open(study / stream) for stream in STREAMS}
        self.asked = {s: read_asked(study / f"subjects-{lang}.parquet", ["bo"]) for s, (lang, _) in STREAMS.items()}
        self.by = {stream: CoOccurrence(SCRIPTS[lang]) for stream, (lang, _) in STREAMS.items()}
        self.known = {}

    def says(self, stream, text):
        """Return for each question (names subject, holds gold, states the fact)."""
        if (stream, text) not in self.known:
            by = self.by[stream]
            windows = by.windows(text)
            said = {}
            for one in self.asked[stream]:
                wordings = [[by.script.phrase(term) for term in terms] for terms in one.wordings]
                about = [w for w in windows if any(all(p.search(w) for p in phrases) for phrases in wordings)]
                gold = by.script.phrase(one.gold) if one.gold else None
                said[one.question_id] = (
                    bool(about),
                    bool(gold and any(gold.search(w) for w in windows)),
                    bool(gold and any(gold.search(w) for w in about)),
                )
            self.known[stream, text] = said
        return self.known[stream, text]

    def flags(self, stream, piece, start, n):
        store = self.stores[stream]
        whole = self.decoder.decode(store[piece].tolist(), skip_special_tokens=False)
        text = self.decoder.decode(store[piece][start : start + n].tolist(), skip_special_tokens=False)
        of_whole = self.says(stream, whole)
        return {
            q: tuple(a and b for a, b in zip(f, of_whole[q], strict=True)) for q, f in self.says(stream, text).items()
        }

    def count(self, segments, stream, step):
        """Return the counts by question, and the tokens of the stream."""
        counts = {one.question_id: dict.fromkeys(COUNTS, 0) for one in self.asked[stream]}
        met = {one.question_id: (set(), set()) for one in self.asked[stream]}
        n_tokens = 0
        for sequence, of, piece, _, start, n in segments:
            if of != stream or sequence // ROWS >= step:
                continue
            n_tokens += n
            for question, (subject, gold, stated) in self.flags(stream, piece, start, n).items():
                counts[question]["n_subject"] += subject
                counts[question]["n_object"] += gold
                counts[question]["n_presentations"] += stated
                for pieces, flag in zip(met[question], (subject, stated), strict=True):
                    if flag:
                        pieces.add(piece)
        for one in self.asked[stream]:
            row, (about, stating) = counts[one.question_id], met[one.question_id]
            row["n_distinct_docs"] = len(stating)
            if stream.startswith("pairs"):
                row["n_pairs_covering"], row["n_leak_pairs"] = len(about), len(stating)
            if one.gold is None:
                row |= dict.fromkeys(("n_presentations", "n_distinct_docs", "n_object", "n_leak_pairs"))
        return counts, n_tokens


@pytest.fixture(scope="module")
def oracle(study):
    return Oracle(study)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_exposure_is_what_reading_every_stretch_gives(study, oracle, tmp_path, data):
    segments = []
    for sequence in range(5 * ROWS):
        for _ in range(data.draw(st.integers(0, 6))):
            stream = data.draw(st.sampled_from(["mono-bo", "pairs-bo-en", "pairs-bo-xx"]))
            store = oracle.stores[stream]
            # Few documents, so that some repeat; those that say something come first in no order.
            piece = data.draw(st.integers(0, min(len(store) - 1, 30)))
            length = int(store.lengths[piece])
            start = data.draw(st.sampled_from([0, 0, length // 3, length // 2]))
            n = data.draw(st.sampled_from([length - start, length - start, (length - start + 1) // 2]))
            segments.append((sequence, stream, piece, 0, start, n))
        segments.append((sequence, "label", 0, 0, 0, 3))
    order = write_order(study, tmp_path / "order.parquet", segments, run="bo-bridge-s0", arm="bridge", steps=5)
    count(study, order, tmp_path / "exposure.parquet")
    table = tables.read(tmp_path / "exposure.parquet")
    assert set(table["stage"]) == {"ct"}
    assert not table.duplicated(["question_id", "step", "stream"]).any()
    for (stream, step), rows in table.groupby(["stream", "step"]):
        expected, n_tokens = oracle.count(segments, stream, step)
        assert (rows["n_tokens"] == n_tokens).all()
        got = rows.set_index("question_id")[COUNTS]
        pd.testing.assert_frame_equal(
            got,
            pd.DataFrame.from_dict(expected, orient="index").loc[got.index].astype(float),
            check_dtype=False,
            check_names=False,
        )


def test_reading_everything_twice_gives_the_truth(study, oracle, tmp_path):
    """Every planted statement is met in both epochs; the leaks of the parallel text are the world's own record."""
    segments = []
    for epoch in range(2):
        for stream in ("mono-bo", "pairs-bo-en", "pairs-bo-xx"):
            lengths = oracle.stores[stream].lengths
            segments += [(epoch * ROWS, stream, piece, 0, 0, int(n)) for piece, n in enumerate(lengths)]
    order = write_order(study, tmp_path / "order.parquet", segments, run="bo-bridge-s0", arm="bridge", steps=2)
    count(study, order, tmp_path / "exposure.parquet", steps=(1, 2))
    table = tables.read(tmp_path / "exposure.parquet").dropna(subset="n_presentations")
    truth = tables.read(study / "truth.parquet")
    truth = truth[truth["culture"] == "bo"]
    for stream, (lang, _) in STREAMS.items():
        if stream == "mono-en":
            continue
        known = truth[truth["corpus"] == lang].set_index("question_id")
        for step in (1, 2):
            rows = table[(table["stream"] == stream) & (table["step"] == step)].set_index("question_id")
            assert len(rows) >= 18
            stated = known.loc[rows.index, "n_statements" if stream == "mono-bo" else "n_leak_pairs"]
            assert rows["n_presentations"].tolist() == (step * stated).tolist()
            assert rows["n_distinct_docs"].tolist() == stated.tolist()
            assert rows["n_leak_pairs"].tolist() == (stated if stream != "mono-bo" else 0 * stated).tolist()
    assert table["n_presentations"].sum() > 100


def test_a_continued_run_begins_with_what_its_base_had_read(study, oracle, tmp_path):
    lengths = oracle.stores["mono-en"].lengths
    segments = [(piece % 4, "mono-en", piece, 0, 0, int(n)) for piece, n in enumerate(lengths)]
    order = write_order(study, tmp_path / "base-order.parquet", segments, run="base-s0", arm="base", steps=2)
    name = {"run": "base-s0", "learned": "en", "arm": "base"}
    count(study, order, tmp_path / "base.parquet", steps=(0, 1, 2), cultures=("ko", "bo"), **name)
    base = tables.read(tmp_path / "base.parquet")
    assert set(base["stage"]) == {"base"}
    assert set(base["question_id"].str[:2]) == {"ko", "bo"}
    order = write_order(study, tmp_path / "order.parquet", [(0, "mono-bo", 0, 0, 0, 5)], run="r", arm="glued", steps=2)
    count(study, order, tmp_path / "out.parquet", run="r", steps=(2,), base=tmp_path / "base.parquet")
    table = tables.read(tmp_path / "out.parquet")
    before = table[table["stage"] == "base"].reset_index(drop=True)
    expected = base[(base["step"] == 2) & base["question_id"].str.startswith("bo")].reset_index(drop=True)
    pd.testing.assert_frame_equal(before, expected.assign(run="r", learned="bo", arm="bridge"))
    read = table.loc[table["stage"] == "ct", ["stream", "lang", "pairs"]].drop_duplicates()
    told = {(row.stream, row.lang, None if pd.isna(row.pairs) else row.pairs) for row in read.itertuples()}
    assert told == {("mono-bo", "bo", None), ("pairs-bo-en", "en", "bo"), ("pairs-bo-xx", "bo", "bo")}
    # Without parallel text read, its rows are there and count nothing.
    assert table.loc[table["stream"] == "pairs-bo-en", "n_tokens"].tolist() == [0] * 20
    only_bo = base[base["question_id"].str.startswith("ko")]
    tables.write("exposure", only_bo, tmp_path / "other.parquet")
    with pytest.raises(InputError, match=r"other\.parquet: lacks 20 questions"):
        count(study, order, tmp_path / "out.parquet", run="r", steps=(2,), base=tmp_path / "other.parquet")


def test_a_mixture_is_counted_text_by_text(study, oracle, tmp_path):
    streams = ["mono-bo", "mono-en"]
    order = tmp_path / "order.parquet"
    draw_mixture(
        run="joint-s0",
        seed=0,
        steps=3,
        sequence_length=96,
        batch_tokens=4 * 96,
        packing="isolated",
        shares={"mono-bo": 0.5, "mono-en": 0.5},
        temperature=None,
        stores={stream: study / stream for stream in streams},
        tokenizer=study / "tokenizer",
        out=order,
    )
    count(study, order, tmp_path / "exposure.parquet", run="joint-s0", steps=(1, 3))
    table = tables.read(tmp_path / "exposure.parquet")
    assert set(table["stream"]) == set(streams) and set(table["stage"]) == {"base"}
    assert not table[["n_pairs_covering", "n_leak_pairs"]].fillna(0).any(axis=None)
    read = tables.read(order)
    columns = ["sequence", "stream", "piece", "part", "start", "n_tokens"]
    segments = [(row[0] * ROWS // 4, *row[1:]) for row in read[columns].itertuples(index=False, name=None)]
    for (stream, step), rows in table.groupby(["stream", "step"]):
        expected, n_tokens = oracle.count(segments, stream, step)
        assert (rows["n_tokens"] == n_tokens).all() and n_tokens > 100 * step
        got = rows.set_index("question_id")["n_subject"]
        assert got.to_dict() == {question: expected[question]["n_subject"] for question in got.index}


def test_what_stands_for_a_removed_text_is_counted_and_that_is_not(study, oracle, tmp_path):
    """At level stated no document that states the test's facts is read, and the reserve is read where they were."""
    streams = {"mono-bo": "bo", "mono-en": "en"}
    lengths = {stream: oracle.stores[stream].lengths for stream in streams}
    n = min(map(len, lengths.values()))
    rows = [
        {"page_id": str(i), "lang": lang, "doc_id": "", "title": "", "piece": i, "n_tokens": int(lengths[stream][i])}
        for stream, lang in streams.items()
        for i in range(n)
    ]
    tables.write("pages", rows, tmp_path / "pages.parquet", {"pieces": "{}"})
    mentions = tables.read(study / "mentions-mono-bo.parquet")
    stating = mentions[(mentions["n_chunks"] > 0) & (mentions["piece"] < n)]
    tested = sorted(stating["question_id"].unique())[:3]
    schema = pa.schema([("question_id", pa.string()), ("split", pa.string()), ("page_id", pa.string())])
    first = stating.drop_duplicates("question_id").set_index("question_id")["piece"]
    asked = [{"question_id": name, "split": "test", "page_id": str(first[name])} for name in tested]
    tables.write(schema, asked, tmp_path / "qa.parquet")
    tables.write("neighbours", [], tmp_path / "neighbours.parquet")
    files = {name: tmp_path / f"{name}.parquet" for name in ("pages", "qa", "neighbours")}
    exclusions(
        **files,
        target="bo",
        seed=0,
        top=1,
        mentions={"bo": study / "mentions-mono-bo.parquet"},
        out=tmp_path / "exclusions.parquet",
    )
    for level in ("f0", "stated"):
        notes = draw_mixture(
            run="joint-s0",
            seed=0,
            steps=40,
            sequence_length=96,
            batch_tokens=ROWS * 96,
            packing="isolated",
            shares={"mono-bo": 0.9, "mono-en": 0.1},
            temperature=None,
            level=level,
            langs=streams,
            stores={stream: study / stream for stream in streams},
            pages=files["pages"],
            exclusions=tmp_path / "exclusions.parquet",
            tokenizer=study / "tokenizer",
            out=tmp_path / "order.parquet",
        )
        count(study, tmp_path / "order.parquet", tmp_path / "exposure.parquet", run="joint-s0", steps=(40,))
        table = tables.read(tmp_path / "exposure.parquet")
        table = table[table["stream"] == "mono-bo"].set_index("question_id")
        columns = ["sequence", "stream", "piece", "part", "start", "n_tokens"]
        segments = [*tables.read(tmp_path / "order.parquet")[columns].itertuples(index=False, name=None)]
        expected, n_tokens = oracle.count(segments, "mono-bo", 40)
        assert (table["n_tokens"] == n_tokens).all() and n_tokens == notes["content"]["mono-bo"]
        for name in ("n_subject", "n_presentations"):
            assert table[name].dropna().to_dict() == {q: expected[q][name] for q in table[name].dropna().index}
        read = table.loc[tested, "n_presentations"].sum()
        assert read > 0 if level == "f0" else read == 0 < notes["removal"]["tokens"]


def test_a_leak_free_run_reads_no_leak_and_a_leak_only_run_all_of_them(study, tmp_path):
    """Not one pair that states an answer at any step; and in the other arm as many as with the bridge itself."""
    counted = {}
    for arm in ("bridge", "bridge_leak_free", "no_bridge_leak_free", "placebo_leak_free", "bridge_leak_only"):
        order = tmp_path / f"{arm}.parquet"
        draw_order(
            run=f"bo-{arm}-s0",
            lang="bo",
            arm=arm,
            seed=0,
            steps=12,
            sequence_length=96,
            batch_tokens=4 * 96,
            packing="isolated",
            template="English: {en} Tibetan: {xx}",
            label_tokens=40,
            stores={stream: study / stream for stream in STREAMS},
            pairs=study / "pairs.parquet",
            mentions=[study / f"mentions-pairs-bo-{half}.parquet" for half in ("en", "xx")],
            tokenizer=study / "tokenizer",
            out=order,
        )
        count(study, order, tmp_path / "exposure.parquet", run=f"bo-{arm}-s0", steps=range(0, 13, 2))
        table = tables.read(tmp_path / "exposure.parquet").set_index(["question_id", "stream", "step"])
        counted[arm] = table[COUNTS[:4] + COUNTS[5:]].sort_index()
    bridge = counted.pop("bridge")
    pairs = bridge.index.get_level_values("stream").str.startswith("pairs")
    assert bridge.loc[pairs, "n_leak_pairs"].sum() > 10
    assert counted["bridge_leak_only"]["n_leak_pairs"].equals(bridge["n_leak_pairs"])
    assert counted.pop("bridge_leak_only").loc[~pairs].equals(bridge.loc[~pairs])
    for table in counted.values():
        stated = table.loc[pairs, ["n_leak_pairs", "n_presentations", "n_distinct_docs"]].dropna()
        assert len(stated) and not stated.any(axis=None)
        assert table.loc[~pairs].equals(bridge.loc[~pairs])


def test_an_order_that_does_not_belong_is_refused(study, tmp_path):
    order = write_order(study, tmp_path / "order.parquet", [(0, "mono-bo", 0, 0, 0, 5)], run="r", arm="glued", steps=2)
    with pytest.raises(InputError, match="order of run r, not of q"):
        count(study, order, tmp_path / "out.parquet", run="q")
    for steps in ((4,), (-1, 2), ()):
        with pytest.raises(InputError, match="has 2 steps"):
            count(study, order, tmp_path / "out.parquet", run="r", steps=steps)
    metadata = read_notes(order)
    metadata["stores"]["mono-bo"] = "0" * 16
    tables.write("order", tables.read(order), order, {METADATA: json.dumps(metadata)})
    with pytest.raises(InputError, match="another content of the token store"):
        count(study, order, tmp_path / "out.parquet", run="r", steps=(2,))
