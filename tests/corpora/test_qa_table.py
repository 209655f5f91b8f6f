"""Questions on pages: what each shape of them holds, what is counted and left out, what is refused."""

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorebridge import tables
from lorebridge.corpora.qa import build_qa, qa_overlap
from lorebridge.errors import InputError
from lorebridge.normalisation import folded

LANGS = {"langs": ["en", "hi"], "base": "en"}


def row(name="q1", title="Persephone", answer="Demeter", **more):
    return {
        "id": name,
        "title": title,
        "question": {"en": f"who is {name}", "hi": f"कौन {name}"},
        "answer": {"en": answer, "hi": ["डीमीटर"]},
        **more,
    }


def written(path, rows):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def built(tmp_path, rows, *, split="test", shape="paper", **more):
    path = written(tmp_path / "qa.jsonl", rows)
    notes = build_qa(
        files=[{"split": split, "shape": shape}], paths=[path], out=tmp_path / "qa.parquet", **LANGS, **more
    )
    return tables.read(tmp_path / "qa.parquet"), notes


def pages(tmp_path, titles):
    rows = [
        {"page_id": name, "lang": lang, "doc_id": name, "title": title, "piece": n, "n_tokens": 5}
        for n, (name, title) in enumerate(titles.items())
        for lang in ("en", "hi")
    ]
    import pandas as pd

    pd.DataFrame(rows).to_parquet(tmp_path / "pages.parquet")
    return tmp_path / "pages.parquet"


def data():
    folder = os.environ.get("LOREBRIDGE_DATA")
    if not folder or not (Path(folder) / "qa").is_dir():
        pytest.skip("LOREBRIDGE_DATA names no folder with qa/")
    return Path(folder) / "qa"


def test_the_row_that_the_paper_prints(tmp_path):
    build_qa(
        files=[{"split": "test", "shape": "paper"}],
        paths=[data() / "paper002" / "row.table5.jsonl"],
        out=tmp_path / "qa.parquet",
        **LANGS,
    )
    found = tables.read(tmp_path / "qa.parquet").set_index("lang")
    assert list(found["answers"].map(list)) == [["Persephone"], ["पर्सेफोन"]]
    assert list(found.loc["hi", "negatives"]) == ["डीमीटर", "हेस्टिया", "एफ्रोडाइट"]
    assert set(found["page_id"]) == set(found["title"]) == {"Persephone"} and set(found["context"]) == {""}


def test_xquad_has_the_same_questions_in_both_languages(tmp_path):
    files = [{"split": "test", "shape": "squad", "lang": lang} for lang in ("en", "hi")]
    paths = [data() / "xquad" / f"xquad.{lang}.12articles.json" for lang in ("en", "hi")]
    notes = build_qa(files=files, paths=paths, out=tmp_path / "qa.parquet", **LANGS)
    found = tables.read(tmp_path / "qa.parquet")
    assert notes["questions"] == {"test": 322} and len(found) == 644 and not notes["left_out"]
    assert found["page_id"].nunique() == 12 and "Super Bowl 50" in set(found["title"])
    assert set(found.groupby("question_id")["lang"].apply(tuple)) == {("en", "hi")}
    first = found[found["question_id"] == "56beb4343aeaaa14008c925b"]
    assert all(list(answers) == ["308"] for answers in first["answers"]) and (first["context"].str.len() > 100).all()


def test_nq_open_names_no_page_and_is_refused(tmp_path):
    path = data() / "nq_open" / "NQ-open.dev.first1000.jsonl"
    with pytest.raises(InputError, match="row 1: is of NQ-open, which names no page"):
        build_qa(files=[{"split": "train", "shape": "nq"}], paths=[path], out=tmp_path / "qa.parquet", **LANGS)


def nq(name, spans, *, yes_no="NONE", simplified=True):
    words = ["<P>", "The", "moon", "was", "left", "in", "December", "1972", ".", "</P>"]
    said = {
        "short_answers": [{"start_token": start, "end_token": end} for start, end in spans],
        "long_answer": {"start_token": 0, "end_token": len(words)},
        "yes_no_answer": yes_no,
    }
    text = {
        "document_text": " ".join(words),
        "document_url": "https://en.wikipedia.org//w/index.php?title=The_Moon&amp;o=1",
    }
    if not simplified:
        text = {
            "document_tokens": [{"token": w, "html_token": w[0] == "<"} for w in words],
            "document_title": "The Moon",
        }
    return {"example_id": name, "question_text": f"when {name}", "annotations": [said], **text}


@pytest.mark.parametrize("simplified", [True, False])
def test_natural_questions_are_cut_from_their_document(tmp_path, simplified):
    rows = [
        nq(1, [(6, 8), (7, 8), (6, 8)], simplified=simplified),
        nq(2, [], simplified=simplified),
        nq(3, [], yes_no="YES", simplified=simplified),
    ]
    found, notes = built(tmp_path, rows, split="train", shape="nq", pages=pages(tmp_path, {"p7": "The Moon"}))
    (only,) = found.to_dict("records")
    assert (only["lang"], only["page_id"], only["title"]) == ("en", "p7", "The Moon")
    assert list(only["answers"]) == ["December 1972", "1972"]
    assert only["context"] == "The moon was left in December 1972 ."
    assert notes["left_out"] == {"without a short answer": 1, "answered by yes or no alone": 1}


def test_a_question_stands_in_all_languages_or_in_none_and_why_not_is_counted(tmp_path):
    known = pages(tmp_path, {"p1": "Persephone", "p2": "Twice", "p3": "Twice", "p4": "Named"})
    rows = [
        row("kept"),
        row("underscores", title=" Persephone_"),
        row("named", title="Nobody", page_id="p4"),
        row("blank", answer="  "),
        row("empty", answer=[]),
        row("one language", question={"en": "who"}),
        row("no page", title=""),
        row("elsewhere", title="Hades"),
        row("its id elsewhere", title="", page_id="p9"),
        row("several", title="Twice"),
        row("nowhere", title="Hades", split="neither"),
    ]
    found, notes = built(tmp_path, rows, pages=known)
    assert dict(zip(found["question_id"], found["page_id"].fillna("none"), strict=True)) == {
        "kept": "p1",
        "underscores": "p1",
        "named": "p4",
        "nowhere": "none",
    }
    assert set(found.loc[found["question_id"] == "nowhere", "split"]) == {"neither"}
    assert notes["left_out"] == {
        "an empty answer": 2,
        "not in every language of its set": 1,
        "no page": 1,
        "its page is not among those that all languages have": 2,
        "several pages have its title": 1,
    }
    assert notes["questions"] == {"test": 3, "neither": 1} and notes["rows"] == len(found) == 8


def test_a_negative_that_is_right_is_taken_out_and_counted(tmp_path):
    negatives = {"en": ["The  demeter!", "Hestia", "hestia", "Ares", "..."], "hi": ["डीमीटर\u200d", "हेस्टिया"]}
    found, notes = built(tmp_path, [row(negatives=negatives)])
    assert [list(of) for of in found["negatives"]] == [["Hestia", "Ares"], ["हेस्टिया"]]
    assert notes["negatives_out"] == {"equal to an answer": 2, "equal to another negative": 1, "empty": 1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(), row()], "row 2, id q1: is that of .*row 1, too. Give each question its own id"),
        ([row(""), row()], "row 1, key id: is ''. Give every row an id"),
        ([row(question="who")], "row 1, key question: is 'who', not by language"),
        ([row(title=3)], "row 1, key title: is 3, no text"),
        ([row(split="dev")], "row 1, key split: 'dev' is no split. It is one of test, train"),
        ([row(answer=5)], "row 1, key answer.en: is 5, no text"),
        ([row(question={"en": 1, "hi": "x"})], "key question.en: is 1, no text"),
        ([row(context={"en": 1})], "key context.en: is 1, no text, |key context.en: is 1"),
        ([row(title="")], "no question is left .1: no page."),
        ([], "no question is left .the files are empty."),
    ],
)
def test_what_is_malformed_is_refused_by_row_and_key(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        built(tmp_path, rows)


def squad(path, names, context="text"):
    asked = [{"id": name, "question": f"which {name}", "answers": [{"text": "a"}]} for name in names]
    path.write_text(json.dumps({"data": [{"title": "T", "paragraphs": [{"context": context, "qas": asked}]}]}))
    return path


def test_files_of_one_language_are_joined_by_id(tmp_path):
    files = [{"split": "test", "shape": "squad", "lang": lang} for lang in ("hi", "en")]
    paths = [squad(tmp_path / "hi.json", ["a", "b"], "hindi"), squad(tmp_path / "en.json", ["b", "c"], "english")]
    notes = build_qa(files=files, paths=paths, out=tmp_path / "qa.parquet", **LANGS)
    found = tables.read(tmp_path / "qa.parquet")
    assert list(zip(found["question_id"], found["lang"], found["context"], strict=True)) == [
        ("b", "en", "english"),
        ("b", "hi", "hindi"),
    ]
    assert notes["left_out"] == {"not in every language of its set": 2}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([{"shape": "squad", "split": "test"}], "Say which of en, hi"),
        ([{"shape": "squad", "split": "test", "lang": "en"}] * 2, "is a second file of en in its set"),
        ([{"shape": "csv", "split": "test"}], "shape csv: is not known. Shapes: paper, squad, nq"),
        ([{"shape": "squad", "split": None, "lang": "en"}], "None is no split"),
        ([{"shape": "nq", "split": "test"}], "is not in the shape of Natural Questions"),
    ],
)
def test_files_that_cannot_be_read_so_are_refused(tmp_path, files, message):
    paths = [squad(tmp_path / f"{n}.json", ["a"]) for n in range(len(files))]
    with pytest.raises(InputError, match=message):
        build_qa(files=files, paths=paths, out=tmp_path / "qa.parquet", **LANGS)


def test_an_id_twice_in_a_file_of_squad_and_another_shape_are_refused(tmp_path):
    files = [{"shape": "squad", "split": "test", "lang": "en"}]
    with pytest.raises(InputError, match="id a: is that of"):
        build_qa(files=files, paths=[squad(tmp_path / "a.json", ["a", "a"])], out=tmp_path / "qa.parquet", **LANGS)
    (tmp_path / "b.json").write_text('{"data": [{"paragraphs": [{}]}]}')
    with pytest.raises(InputError, match="not in the shape of SQuAD"):
        build_qa(files=files, paths=[tmp_path / "b.json"], out=tmp_path / "qa.parquet", **LANGS)


def test_rows_are_read_packed_too(tmp_path):
    path = written(tmp_path / "qa.jsonl.gz", [row()])
    build_qa(files=[{"split": "test", "shape": "paper"}], paths=[path], out=tmp_path / "qa.parquet", **LANGS)
    assert len(tables.read(tmp_path / "qa.parquet")) == 2


answers = st.lists(st.sampled_from(["Paris", "the paris.", "Rome", "rome", "12", "१२", "Bonn"]), min_size=1, max_size=2)


@settings(max_examples=40, deadline=None)
@given(trained=st.lists(answers, max_size=5), tested=st.lists(answers, min_size=1, max_size=5))
def test_the_overlap_counts_rows_of_tuning_with_an_equal_answer(tmp_path_factory, trained, tested):
    folder = tmp_path_factory.mktemp("overlap")
    rows = [row(f"t{n}", answer=of, split="train") for n, of in enumerate(trained)]
    rows += [row(f"q{n}", answer=of) for n, of in enumerate(tested)]
    built(folder, rows)
    notes = qa_overlap(qa=folder / "qa.parquet", out=folder / "overlap.parquet")
    found = tables.read(folder / "overlap.parquet").set_index(["question_id", "lang"])
    assert len(found) == 2 * len(tested) and set(found["split"]) == {"test"}
    for n, of in enumerate(tested):
        mine = {folded(answer, "en") for answer in of}
        wanted = sum(bool(mine & {folded(answer, "en") for answer in other}) for other in trained)
        assert found.loc[(f"q{n}", "en"), "n_train"] == wanted
        assert found.loc[(f"q{n}", "hi"), "n_train"] == len(trained)
    assert found["overlaps"].equals(found["n_train"] > 0)
    assert notes["overlapping"].get("en", 0) == int(found.xs("en", level="lang")["overlaps"].sum())
