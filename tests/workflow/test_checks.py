"""What is asked of a study before models are trained, and of a pilot after: on the tiny planted world."""

import csv
import re

import pytest

from lorebridge import cli, tables
from lorebridge.transfer.alarms import CANNOT_TELL, RINGS, TO_DO

pytestmark = pytest.mark.slow
CONFIG = ["--config", "study.yaml"]


@pytest.fixture
def ask(finished, monkeypatch, capsys):
    """Run a command in the study's folder; return its status, what it prints, and what it complains of."""
    monkeypatch.chdir(finished.folder)

    def run(*arguments):
        status = cli.main([*arguments, *CONFIG])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_a_sample_of_the_text_is_written_for_every_corpus(ask, tmp_path):
    status, printed, _ = ask("sample-audit", "--n", "12", "--out", str(tmp_path))
    assert status == 0
    assert "of 12" in printed
    names = ("en", "ko", "bo", "en-ko", "en-bo")
    pages = {f"{name}.{kind}" for name in names for kind in ("csv", "html")}
    assert {path.name for path in tmp_path.iterdir() if path.suffix != ".ttf"} == pages
    # Every font that a page names lies beside it.
    for page in tmp_path.glob("*.html"):
        for font in re.findall(r"url\('(.*?)'\)", page.read_text(encoding="utf-8")):
            assert (tmp_path / font).is_file()
    assert "NotoSerifTibetan" in (tmp_path / "en-bo.html").read_text(encoding="utf-8")
    assert ask("sample-audit", "--lang", "mn", "--out", str(tmp_path))[0] == 1


def test_labels_go_round(ask, finished, tmp_path):
    """The judge's own verdicts, written into the sheet, agree with the judge."""
    sheet, done = tmp_path / "sheet.csv", tmp_path / "done.csv"
    assert ask("label-sheet", "--lang", "ko", "--n", "30", "--out", str(sheet))[0] == 0
    status, _, complaint = ask("label-read", str(sheet))
    assert status == 1
    assert "sheet.csv, row 2: has no label" in complaint
    cell = finished.results / "trace"
    chunks = tables.read(cell / "chunks" / "ko.parquet").set_index("text")["chunk_id"]
    judged = tables.read(cell / "judgments" / "ko" / "ko.parquet")
    positive = {(row.question_id, row.chunk_id) for row in judged.itertuples() if row.entails == "yes"}
    questions = tables.read(finished.results / "probes" / "questions" / "ko.parquet")
    gold = questions[questions["is_gold"] & (questions["lang"] == "ko")]
    asked = {
        text.replace("____", option): name
        for name, text, option in zip(gold["question_id"], gold["text"], gold["option"], strict=True)
    }
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    with done.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        for row in rows:
            hit = (asked[row["statement"]], chunks[row["chunk"]]) in positive
            writer.writerow(row | {"label": "yes" if hit else "no"})
    status, printed, _ = ask("label-read", str(done))
    assert status == 0
    assert re.search(r"^precision +1\.00", printed, re.MULTILINE)
    assert re.search(r"^recall +1\.00", printed, re.MULTILINE)
    assert ask("label-sheet", "--lang", "en", "--out", str(tmp_path / "x.csv"))[0] == 1


def test_labels_of_pairs_go_round(ask, finished, tmp_path):
    """No pair of this world states a fact, and none is flagged; unflagged pairs are in the sheet, so that a person can
    find what the flags miss. How flags that are right and wrong are weighed: tests/trace/test_leak_labels.py."""
    sheet = tmp_path / "pairs.csv"
    status, printed, _ = ask("label-sheet", "--of", "pairs", "--lang", "ko", "--n", "24", "--out", str(sheet))
    assert status == 0
    assert not tables.read(finished.results / "trace" / "leaks.parquet")["n_pairs"].any()
    assert re.search(r"^ +0 of +0  flagged", printed, re.MULTILINE)
    assert re.search(r"[1-9] of +[\d,]+  subject named", printed) and re.search(r"[1-9] of +[\d,]+  neither", printed)
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    pairs = tables.read(finished.results / "parallel" / "ko.parquet")
    assert {(row["chunk_translated"], row["chunk"]) for row in rows} <= set(zip(pairs["en"], pairs["xx"], strict=True))
    expected = {"no": ["^stated, neither named +0\\.00"], "yes": ["^stated, neither named +1\\.00", "^recall +0\\.00"]}
    for label, lines in expected.items():
        done = tmp_path / f"{label}.csv"
        with done.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(row | {"label": label} for row in rows)
        status, printed, _ = ask("label-read", str(done))
        assert status == 0
        for line in lines:
            assert re.search(line, printed, re.MULTILINE), printed


def test_the_command_says_what_the_table_of_alarms_says(ask, finished):
    status, printed, _ = ask("alarms")
    with (finished.results / "tables" / "alarms.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["alarm"] for row in rows} == set(TO_DO)
    assert status == any(row["verdict"] == RINGS for row in rows)
    for row in rows:
        assert row["why"] in printed
    # Models this small know nothing, so most alarms could not have rung, and say so.
    assert sum(row["verdict"] == CANNOT_TELL for row in rows) > len(rows) / 2


def test_what_is_missing_is_named_with_the_command_that_makes_it(ask, tmp_path):
    for arguments in (
        ["alarms"],
        ["label-sheet", "--lang", "ko", "--out", str(tmp_path / "s.csv")],
        ["sample-audit", "--out", str(tmp_path)],
    ):
        status, _, complaint = ask(*arguments, "--set", "study=other")
        assert status == 1
        assert "is not made yet. Make it: snakemake results/other/" in complaint
    assert list(tmp_path.iterdir()) == []


def test_a_sample_of_questions_is_drawn_by_the_workflow(finished, tmp_path):
    study = finished.copy(tmp_path / "sampled")
    study.config["questions"]["ko"]["sample"] = {"questions": 6}
    study.write()
    planned = study.planned()
    assert planned["sample_questions"] == 1
    assert planned["retrieve"] == planned["judge"] == 2
    assert not {"train_continual", "train_base", "mentions", "subjects", "order"} & set(planned)
    study.run("results/tiny/probes/sampled/ko.parquet")
    sampled = tables.read(study.results / "probes" / "sampled" / "ko.parquet")
    everything = tables.read(study.results / "probes" / "questions" / "ko.parquet")
    assert sampled["question_id"].nunique() == 6
    assert len(sampled.merge(everything.astype({"subset": str}), on=["question_id", "lang", "option"])) == len(sampled)
