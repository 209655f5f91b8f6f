"""Labelling sheets: drawn blind, read back row by row, and weighted back to all hits."""

import csv

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.trace import labels
from lorebridge.trace.labels import read_labels, read_sheets, sheet_drawn, write_sheet

RECIPE = "0123456789abcdef"
SCRIPTS = {"en": "Latin", "mn": "Mongolian"}
CHUNK = "ᠮᠣᠩᠭᠣᠯ\u202fᠤᠨ ᠣᠷᠣᠨ ᠪᠠᠶᠢᠨ\u180eᠠ ᠃"


@pytest.fixture
def study(tmp_path):
    """30 questions with 20 hits each; the judge says yes to the best two hits of every other question."""
    hits, judgments, chunks, questions = [], [], [], []
    for i in range(30):
        question = f"mn-{i:04d}"
        for lang, text in (("en", f"In year {i} they met at ____."), ("mn", f"{i} ᠣᠨ ____ ᠪᠠᠶᠢᠨ\u180eᠠ ᠃")):
            for j, option in enumerate(("Karakorum", "Ulan Hot", "Kyakhta", "Hailar")):
                questions.append(
                    {
                        "question_id": question,
                        "culture": "mn",
                        "lang": lang,
                        "text": text,
                        "option_index": j,
                        "option": option,
                        "is_gold": j == 0,
                        "subset": ["reference", "clean"],
                        "n_blanks": 1,
                    }
                )
        for rank in range(1, 21):
            chunk = f"mc2/{i}-{rank}#0"
            hits.append(
                {
                    "question_id": question,
                    "chunk_id": chunk,
                    "doc_id": f"mc2/{i}-{rank}",
                    "rank": rank,
                    "score": -rank,
                    "method": "bm25",
                }
            )
            verdict = "indeterminate" if i == 29 else "yes" if rank < 3 and i % 2 == 0 else "no"
            judgments.append(
                {
                    "question_id": question,
                    "chunk_id": chunk,
                    "entails": verdict,
                    "probability": 0.5,
                    "judge": "vllm:m",
                    "distractor_entails": None,
                }
            )
            chunks.append(
                {"chunk_id": chunk, "doc_id": f"mc2/{i}-{rank}", "text": f"{CHUNK} {i}, {rank}", "n_chars": 9}
            )
    files = {"hits": hits, "judgments": judgments, "chunks": chunks, "questions": questions}
    for name, rows in files.items():
        tables.write(name, rows, tmp_path / f"{name}.parquet")
    return {name: tmp_path / f"{name}.parquet" for name in files}


def write(study, out, n=40, **changes):
    shared = {"corpus": "mn", "base": "en", "scripts": SCRIPTS, "translations": None, "recipe": RECIPE, "n": n}
    return write_sheet(**study, **(shared | changes), out=out)


def label(study, sheet, out, say, delimiter=","):
    """Label a sheet as a person would who knows the question, the rank and the verdict of each row."""
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    judged = tables.read(study["judgments"]).merge(tables.read(study["hits"]), on=["question_id", "chunk_id"])
    judged["chunk"] = [f"{CHUNK} {chunk[4:-2].replace('-', ', ')}" for chunk in judged["chunk_id"]]
    known = judged.set_index("chunk")
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows({**row, "label": say(known.loc[row["chunk"]])} for row in rows)
    return out


def read(study, *sheets, **changes):
    given = {"hits": study["hits"], "judgments": study["judgments"], "recipe": RECIPE} | changes
    return read_sheets(sheets=sheets, **given).set_index(["measure", "between"])


def test_a_sheet_hides_the_verdict_and_shows_the_rest(study, tmp_path):
    notes = write(study, tmp_path / "sheet.csv")
    text = (tmp_path / "sheet.csv").read_bytes()
    assert text.startswith(b"\xef\xbb\xbf")
    sheet = pd.read_csv(tmp_path / "sheet.csv", dtype=str, keep_default_na=False)
    assert list(sheet.columns) == list(labels.COLUMNS)
    assert set(sheet["label"]) == {""}
    assert sheet["id"].is_unique and len(sheet) == 40
    assert not sheet.apply(lambda column: column.str.contains("mn-00|mc2|yes|vllm")).any(axis=None)
    assert all("Karakorum" in text for text in (*sheet["statement"], *sheet["statement_translated"]))
    # What belongs to words in Mongolian is still there.
    assert all(chunk.startswith(CHUNK) for chunk in sheet["chunk"])
    # Positives are 28 of 580 told hits, but a third of the sheet: they are one of three strata that there are.
    assert notes["indeterminate"] == 20
    assert sum(notes["strata"].values()) == 40
    assert notes["strata"] == {"no, rank 1-5": 14, "no, rank 6-20": 13, "yes, rank 1-5": 13}


def test_strata_are_of_the_ranks_to_5_to_20_and_further(study, tmp_path):
    hits = tables.read(study["hits"])
    hits["rank"] += np.where(hits["question_id"] == "mn-0000", 20, 0).astype("int16")
    tables.write("hits", hits, study["hits"])
    # Of 29 questions that were judged, 15 have two hits that entail; one of these begins at rank 21.
    found = {"no, rank 1-5": 14 * 3 + 14 * 5, "no, rank 6-20": 28 * 15, "yes, rank 1-5": 28}
    assert write(study, tmp_path / "sheet.csv", n=580)["strata"] == found | {"no, rank 21-": 18, "yes, rank 21-": 2}


def test_a_share_of_nothing_is_unknown():
    assert labels.share(np.zeros(0, bool), np.zeros(0)) == pytest.approx((np.nan, 0, 1), nan_ok=True)


def test_two_sheets_are_of_one_drawing(study, tmp_path):
    write(study, tmp_path / "one.csv")
    write(study, tmp_path / "two.csv", n=41)
    with pytest.raises(InputError, match=r"two\.csv: is another drawing than .*one\.csv"):
        read(study, tmp_path / "one.csv", tmp_path / "two.csv")


def test_the_same_sheet_comes_again_and_a_labelled_one_is_not_overwritten(study, tmp_path):
    for name in ("one.csv", "two.csv"):
        write(study, tmp_path / name)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    with pytest.raises(InputError, match="perhaps with labels"):
        write(study, tmp_path / "one.csv")
    assert sheet_drawn(tmp_path / "one.csv") == ("mn", "hits", 40, RECIPE)


def test_the_translation_stands_beside_the_chunk(study, tmp_path):
    rows = [
        {"kind": "chunk", "id": name, "text": f"translated {name}"} for name in tables.read(study["chunks"])["chunk_id"]
    ]
    tables.write("translations", rows, tmp_path / "translations.parquet")
    write(study, tmp_path / "sheet.csv", translations=tmp_path / "translations.parquet")
    sheet = pd.read_csv(tmp_path / "sheet.csv", dtype=str, keep_default_na=False)
    assert sheet["chunk_translated"].str.startswith("translated mc2/").all()


def test_a_person_who_agrees_with_the_judge(study, tmp_path):
    write(study, tmp_path / "sheet.csv")
    done = label(
        study, tmp_path / "sheet.csv", tmp_path / "done.csv", lambda row: row["entails"].upper(), delimiter=";"
    )
    found = read(study, done)
    assert found["estimate"].tolist() == pytest.approx([1, 1, 1, 1])
    assert (found["n"] == 40).all()
    # Forty that are agreed on say as much of kappa as of any share.
    assert (found["hi"] == 1).all() and (found["lo"] < 0.95).all()
    recall = found.loc[("recall", "judge and done.csv")]
    assert recall["lo"] < 0.6 and recall["hi"] == 1  # 27 negatives seen say little of 550


def test_counts_are_weighted_back_to_all_hits(study, tmp_path):
    """The judge misses every hit of rank 3, and half of its yes is wrong: counted among all hits, not in the sheet."""
    write(study, tmp_path / "sheet.csv", n=580)
    everything = label(
        study, tmp_path / "sheet.csv", tmp_path / "all.csv", lambda row: "yes" if row["rank"] in (1, 3) else "no"
    )
    # yes: ranks 1 and 2 of 15 questions; true: ranks 1 and 3 of 29 questions.
    full = read(study, everything)["estimate"].droplevel(1)
    assert (full["precision"], full["recall"]) == pytest.approx((15 / 30, 15 / 58))
    assert full["kappa, sheet"] == pytest.approx(full["kappa, all hits"])
    write(study, tmp_path / "some.csv", n=300)
    some = label(
        study, tmp_path / "some.csv", tmp_path / "some-done.csv", lambda row: "yes" if row["rank"] in (1, 3) else "no"
    )
    sampled = read(study, some).droplevel(1)
    assert sampled.loc["recall", "estimate"] == pytest.approx(15 / 58, abs=0.05)
    assert sampled.loc["recall", "lo"] < 15 / 58 < sampled.loc["recall", "hi"]
    assert sampled.loc["kappa, all hits", "estimate"] == pytest.approx(full["kappa, all hits"], abs=0.05)


def test_two_people_are_compared_where_both_are_sure(study, tmp_path):
    write(study, tmp_path / "sheet.csv")
    one = label(study, tmp_path / "sheet.csv", tmp_path / "one.csv", lambda row: row["entails"])
    two = label(
        study,
        tmp_path / "sheet.csv",
        tmp_path / "two.csv",
        lambda row: "unsure" if row["rank"] == 1 else "no" if row["rank"] == 2 else row["entails"],
    )
    found = read(study, one, two)
    between = found.loc[("kappa, sheet", "one.csv and two.csv")]
    assert between["unsure"] > 0 and between["n"] + between["unsure"] == 40
    # The second says yes to nothing that he is sure of: chance agrees as much.
    assert np.isnan(between["estimate"])
    assert found.loc[("precision", "judge and two.csv"), "estimate"] == 0


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rows: rows[3].update(label=""), r"done\.csv, row 5: has no label"),
        (lambda rows: rows[3].update(label="ja"), r"row 5: the label 'ja' is none of these.*yes, no, unsure"),
        (lambda rows: rows[3].update(id=rows[2]["id"]), r"row 5: the id \w+ stands twice"),
        (lambda rows: rows.pop(), "lacks 1 of its 40 rows"),
        (lambda rows: rows[3].update(sheet="other"), "column `sheet` was changed"),
        (lambda rows: [row.update(sheet=row["sheet"].replace(RECIPE, "f" * 16)) for row in rows], "of recipe ffff"),
    ],
    ids=["empty", "foreign", "twice", "lost", "renamed", "another recipe"],
)
def test_a_mistake_names_its_row(study, tmp_path, change, expected):
    write(study, tmp_path / "sheet.csv")
    done = label(study, tmp_path / "sheet.csv", tmp_path / "done.csv", lambda row: row["entails"])
    with done.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    change(rows)
    pd.DataFrame(rows).to_csv(done, index=False)
    with pytest.raises(InputError, match=expected):
        read(study, done)


def test_what_is_no_sheet_is_refused(study, tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no labelling sheet"):
        read_labels(tmp_path / "x.csv")
    (tmp_path / "x.csv").write_bytes("id,label,sheet\nä,yes,s\n".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        read_labels(tmp_path / "x.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_labels(tmp_path / "none.csv")
    with pytest.raises(InputError, match="has 580 verdicts, fewer than the 581"):
        write(study, tmp_path / "sheet.csv", n=581)


def test_intervals_cover():
    """Precision and recall of a judge who finds 70 % and is right in 80 %, labelled in samples of 100 of 3,000 hits."""
    rng = np.random.default_rng(0)
    covered = {"precision": 0, "recall": 0}
    for _ in range(400):
        truth = rng.random(3000) < 0.08
        judged = np.where(truth, rng.random(3000) < 0.7, rng.random(3000) < 0.0152)
        real = {"precision": truth[judged].mean(), "recall": judged[truth].mean()}
        ids = np.concatenate([rng.permutation(np.flatnonzero(judged == verdict))[:50] for verdict in (True, False)])
        weight = np.where(judged[ids], judged.sum() / 50, (~judged).sum() / 50)
        found = labels._quality(
            pd.Series(np.where(judged[ids], "yes", "no")),
            pd.Series(np.where(truth[ids], "yes", "no")),
            pd.Series(weight),
        )
        for measure, (_, lo, hi) in found.items():
            covered[measure] += lo <= real[measure] <= hi
    assert covered["precision"] >= 0.93 * 400
    assert covered["recall"] >= 0.95 * 400


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("yn"), st.sampled_from("yn"), st.floats(1, 50)), min_size=1, max_size=60))
def test_shares_are_shares(rows):
    judged, person = (pd.Series([{"y": "yes", "n": "no"}[row[i]] for row in rows]) for i in (0, 1))
    for estimate, lo, hi in labels._quality(judged, person, pd.Series([row[2] for row in rows])).values():
        if not np.isnan(estimate):
            assert -1e-9 <= lo <= estimate + 1e-9 and estimate - 1e-9 <= hi <= 1 + 1e-9


def test_a_sheet_of_before_an_adoption_stays_good(study, tmp_path):
    """The judgments are the same ones, and people have read for days."""
    write(study, tmp_path / "sheet.csv")
    done = label(study, tmp_path / "sheet.csv", tmp_path / "done.csv", lambda row: row["entails"])
    pd.testing.assert_frame_equal(read(study, done, recipe="f" * 16, formerly=RECIPE), read(study, done))
    with pytest.raises(InputError, match=f"of recipe {RECIPE}"):
        read(study, done, recipe="f" * 16, formerly="e" * 16)


def test_relevance_and_translation_are_weighted_back_too(study, tmp_path):
    """Half of the hits are about the subject, whatever the judge says; nobody looked at every translation."""
    write(study, tmp_path / "sheet.csv", n=580)
    done = label(study, tmp_path / "sheet.csv", tmp_path / "done.csv", lambda row: row["entails"])
    with done.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        rank = int(row["chunk"].rsplit(", ", 1)[1])
        row["relevant"] = "yes" if rank <= 10 else "no"
        row["translation_ok"] = ("yes", "no", "unsure", "")[number % 4]
    pd.DataFrame(rows).to_csv(done, index=False)
    found = read(study, done).droplevel("between")
    assert found.loc["relevant", "estimate"] == pytest.approx(0.5)
    assert found.loc["translation ok", ["n", "unsure"]].tolist() == [290, 145]
    rows[3]["relevant"] = "maybe"
    pd.DataFrame(rows).to_csv(done, index=False)
    with pytest.raises(InputError, match=r"row 5: relevant 'maybe' is none of these.*or nothing"):
        read(study, done)
