"""Exposure, leaks and recovery, drawn from made-up tables whose sums are known."""

import numpy as np
import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.figures import exposure as drawing
from lorebridge.figures import truth

NAMES = {"en": "English", "ko": "Korean", "bo": "Tibetan"}
ARMS = ["bridge", "no_bridge"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Table "exposure" of two languages' runs: question i of a stream is read (i % 3) times a step."""
    folder = tmp_path_factory.mktemp("exposure")
    paths = {}
    for lang in ("ko", "bo"):
        for arm in ARMS:
            for seed in (0, 1):
                streams = {("en", None): [40]} | dict.fromkeys(
                    [(lang, None), ("en", lang), (lang, lang)], range(0, 50, 10)
                )
                run = f"{lang}-{arm}-s{seed}"
                rows = [
                    {
                        "run": f"model {len(paths)}",  # nobody reads it
                        "learned": lang,
                        "arm": arm,
                        "seed": seed,
                        "question_id": f"{lang}-{i:04d}",
                        "step": step,
                        "stream": f"text {place}",  # nor this
                        "lang": of,
                        "pairs": pairs,
                        "stage": "base" if (of, pairs) == ("en", None) else "ct",
                        "n_presentations": (i % 3) * step if i else None,
                        "n_distinct_docs": (i % 3) * min(step, 2) if i else None,
                        "n_subject": 3 * step,
                        "n_object": None,
                        "n_pairs_covering": 0,
                        "n_leak_pairs": 0,
                        "n_tokens": 1000 * step,
                    }
                    for place, ((of, pairs), steps) in enumerate(streams.items())
                    for step in steps
                    for i in range(7)
                ]
                paths[run] = folder / f"{run}.parquet"
                tables.write("exposure", rows, paths[run])
    return paths


def test_languages_stand_in_the_order_of_the_runs(runs, tmp_path, monkeypatch):
    """Not in that of their names, which a task sorts."""
    caught = []
    monkeypatch.setattr(drawing.style, "save", lambda fig, out: caught.append(fig))
    names = dict(sorted(NAMES.items()))
    drawing.exposure(
        exposure=list(runs.values()), names=names, base="en", arms=ARMS, distance="near", out=tmp_path / "a"
    )
    labels = [ax.get_ylabel().split()[0] for ax in caught[0].axes if ax.get_ylabel()]
    assert labels == ["Korean", "Tibetan"]


def test_exposure_is_drawn_and_repeats_to_the_byte(runs, tmp_path):
    for name in ("a", "b"):
        drawing.exposure(
            exposure=list(runs.values()), names=NAMES, base="en", arms=ARMS, distance="near", out=tmp_path / name
        )
    for suffix in ("pdf", "svg", "png"):
        once = (tmp_path / f"a.{suffix}").read_bytes()
        assert len(once) > 5000
        assert once == (tmp_path / f"b.{suffix}").read_bytes()


def test_what_is_replayed_is_a_text_of_its_own(runs, tmp_path):
    replay = tmp_path / "ko-bridge_replay-s0.parquet"
    table = tables.read(runs["ko-bridge-s0"])
    own = (table["lang"] == "ko") & table["pairs"].isna()
    again = table[own].assign(stream="text 0", lang="en", stage="ct", n_tokens=7)
    named = pd.concat([table, again]).assign(run="ko-bridge_replay-s0", arm="bridge_replay")
    tables.write("exposure", named, replay)
    arms = ["bridge_replay", "bridge", "no_bridge"]
    shared = {"exposure": [replay, *runs.values()], "names": NAMES, "base": "en", "arms": arms}
    drawing.exposure(**shared, distance="near", out=tmp_path / "exposure")
    drawing.consumed(**shared, out=tmp_path / "consumed")
    consumed = pd.read_csv(tmp_path / "consumed.csv").set_index("text")
    assert consumed["tokens"].to_dict() == {
        "English, base training": 40_000,
        "monolingual": 40_000,
        "English half of the pairs": 40_000,
        "own half of the pairs": 40_000,
        "English, replayed": 7,
    }


def test_what_was_consumed_is_summed_up_by_text(runs, tmp_path):
    drawing.consumed(exposure=list(runs.values()), names=NAMES, base="en", arms=ARMS, out=tmp_path / "consumed")
    table = pd.read_csv(tmp_path / "consumed.csv").set_index(["culture", "text"])
    assert len(table) == 8
    row = table.loc["Korean", "monolingual"]
    # Questions 1 to 6 can be told: 1, 2, 0, 1, 2, 0 presentations a step, after 40 steps.
    assert row["questions"] == 6
    assert row["stating"] == pytest.approx(40.0)
    assert row["distinct"] == pytest.approx(2.0)
    assert row["naming_subject"] == pytest.approx(120.0)
    assert row["tokens"] == 40_000
    assert row["never_stated"] == pytest.approx(100 / 3)
    assert row["per_million_tokens"] == pytest.approx(1000.0)
    assert ("Tibetan", "English, base training") in table.index


def test_the_leak_report_is_written(tmp_path):
    rows = [
        {
            "question_id": f"ko-{i:04d}",
            "culture": "ko",
            "lang": lang,
            "n_pairs": n,
            "pair_ids": [],
            "n_subject_pairs": n,
        }
        for i, (en, ko) in enumerate([(2, 0), (0, 0), (0, 1), (None, None)])
        for lang, n in (("en", en), ("ko", ko))
    ]
    tables.write("leaks", rows, tmp_path / "leaks.parquet")
    drawing.leaks(leaks=tmp_path / "leaks.parquet", names=NAMES, out=tmp_path / "leaks")
    table = pd.read_csv(tmp_path / "leaks.csv").set_index("half")
    assert table.loc["English", ["questions", "told", "covered", "leaked", "pairs"]].tolist() == [4, 3, 1, 1, 2]
    assert table.loc["either", ["leaked", "pairs"]].tolist() == [2, 3]
    assert table["share"].tolist() == pytest.approx([100 / 3, 100 / 3, 200 / 3])


def test_recovery_is_drawn_by_corpus_and_by_dose(tmp_path):
    rows = [
        {
            "corpus": corpus,
            "culture": "ko",
            "method": "bm25",
            "judge": "cooccurrence",
            "stage": stage,
            "dose": dose,
            "n_questions": 10,
            "true_documents": 100,
            "recovered": 0 if dose == 1 else found,
            "recovered_true": right,
            "recall": right / 100,
            "precision": None if dose == 1 else right / found,
        }
        for corpus in ("en", "ko")
        for stage, found, right in (
            ("retrieval", 200, 95),
            ("judged", 90, 85),
            ("exact", 110, 100),
            ("told apart", 98, 97),
        )
        for dose in (None, 1, 4, 16)
    ]
    tables.write("recovery", rows, tmp_path / "recovery.parquet")
    for name in ("a", "b"):
        truth.recovery(recovery=tmp_path / "recovery.parquet", names=NAMES, out=tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert np.frombuffer((tmp_path / "a.png").read_bytes(), np.uint8).size > 10_000
    drawn = (tmp_path / "a.svg").read_text(encoding="utf-8")
    for label in ("retrieved and judged", "counted in every document", "counted, where the answer stands out"):
        assert label in drawn
