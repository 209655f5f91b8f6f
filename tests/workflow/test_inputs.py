"""Bad input, as a new user makes it: one clear error that names the place, and nothing made before is lost."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LONG = "가나다라마바사 아자차카타파하. " * 20


def rows(n=30):
    return [
        json.dumps({"id": str(i), "title": f"제목 {i}", "text": f"{LONG} {i}"}, ensure_ascii=False) for i in range(n)
    ]


def with_own_corpus(new_study, folder):
    """The tiny study with its Korean corpus in a local file."""
    source = folder / "ko.jsonl.gz"
    source.write_bytes(gzip.compress("\n".join(rows()).encode()))
    study = new_study(folder / "study")
    study.config["corpora"]["ko"]["sources"] = [{"kind": "local", "name": "mine", "path": str(source)}]
    study.write()
    return study


@pytest.fixture
def study(tmp_path, new_study):
    return with_own_corpus(new_study, tmp_path)


CORPUS = "results/tiny/corpora/ko/audit.json"
OTHER = CORPUS.replace("/ko/", "/bo/")


@pytest.fixture(scope="module")
def begun(tmp_path_factory, new_study):
    """A study of which another corpus is made. Its own file is made bad in one way after the other."""
    study = with_own_corpus(new_study, tmp_path_factory.mktemp("begun"))
    study.run(OTHER)
    return study, (study.folder / OTHER).read_bytes()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (gzip.compress("\n".join(rows()).encode())[:-40], ["ko.jsonl.gz"]),
        (gzip.compress("\n".join([*rows(3), "{not json"]).encode()), ["ko.jsonl.gz, row 4"]),
        (gzip.compress("\n".join([*rows(2), '{"id": "x", "txt": "y"}']).encode()), ["ko.jsonl.gz, row 3", "text"]),
        (gzip.compress(b'{"id": "1", "text": "all of it English"}'), ["corpus ko", "nothing is left"]),
    ],
    ids=["truncated gzip", "not JSON", "no text", "empty after filtering"],
)
@pytest.mark.slow
def test_a_bad_corpus_names_file_and_row(begun, content, expected):
    study, kept = begun
    source = study.folder.parent / "ko.jsonl.gz"
    source.write_bytes(content)
    output = study.snakemake("--cores", "1", CORPUS, check=False)
    line = next(line for line in output.splitlines() if "error: " in line)
    for text in expected:
        assert text in line
    assert "Traceback" not in output
    assert (study.folder / OTHER).read_bytes() == kept
    assert not (study.folder / CORPUS).exists()


@pytest.mark.slow
def test_a_corpus_that_was_bad_is_made_when_it_is_good(begun):
    """In the folder that bad ones were tried in."""
    study, kept = begun
    source = study.folder.parent / "ko.jsonl.gz"
    source.write_bytes(gzip.compress("\n".join([*rows(3), "{not json"]).encode()))
    study.snakemake("--cores", "1", CORPUS, check=False)
    source.write_bytes(gzip.compress("\n".join(rows()).encode()))
    study.run(CORPUS)
    assert (study.folder / OTHER).read_bytes() == kept


def test_a_wrong_path_fails_at_dry_run(study):
    study.config["corpora"]["ko"]["sources"][0]["path"] = "/nowhere/ko.jsonl"
    study.write()
    output = study.snakemake("--dry-run", check=False)
    assert "corpora.ko" in output
    assert "/nowhere/ko.jsonl" in output


def test_a_misspelt_key_fails_at_dry_run(study):
    study.config["tracing"]["topk"] = 5
    study.write()
    output = study.snakemake("--dry-run", check=False)
    assert "'topk'" in output
    assert "'top_k'" in output
    assert "study.yaml" in output


def test_a_misspelt_language_fails_at_dry_run(study):
    study.config["questions"]["kr"] = study.config["questions"].pop("ko")
    study.write()
    assert "Did you mean 'ko'?" in study.snakemake("--dry-run", check=False)


def test_a_target_that_there_is_not_says_what_there_is(study):
    output = study.snakemake("--dry-run", "results/tiny/probes/scores/ko-brigde-s0.parquet", check=False)
    assert "this study has no run 'ko-brigde-s0'. Did you mean 'ko-bridge-s0'? It has base-s0, " in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_an_absent_gold_names_the_row(study):
    for lang, answer in (("en", "z"), ("ko", "하")):
        questions = [
            {
                "question": "a ____ b",
                "options": ["가", "나", "다", "라"] if lang == "ko" else list("abcd"),
                "answer": answer,
            }
        ]
        path = study.folder.parent / f"{lang}.json"
        path.write_text(json.dumps(questions), encoding="utf-8")
        study.config["questions"]["ko"]["files"][lang] = {"kind": "local", "path": str(path)}
    study.write()
    output = study.snakemake("--dry-run", check=False)
    line = next(line for line in output.splitlines() if "known_missing_gold" in line)
    assert "row 0" in line or "question 0" in line


def test_another_environments_lorebridge_on_path_is_refused(study, tmp_path):
    """Shell rules call lorebridge by name: it must be that of the running Snakemake."""
    other = tmp_path / "bin"
    other.mkdir()
    (other / "lorebridge").write_text("#!/bin/sh\n")
    (other / "lorebridge").chmod(0o755)
    environment = study.environment() | {"PATH": f"{other}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(study.command("--dry-run"), env=environment, capture_output=True, text=True)
    assert done.returncode
    assert str(other / "lorebridge") in done.stdout + done.stderr
    assert str(Path(sys.executable).parent) in done.stdout + done.stderr
