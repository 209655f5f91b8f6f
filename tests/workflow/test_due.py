"""What a person is told of a run: before it, while it goes on, and when it is done."""

from __future__ import annotations

import json
import re
from collections import Counter

import pandas as pd
import pytest

from lorebridge import cli, config, studies
from lorebridge.plan.due import FILES, INPUTS, NEW, due, why
from lorebridge.records import Records

pytestmark = pytest.mark.slow


def wanted(study):
    """The jobs that a run would make, by rule, and their reasons."""
    plan = studies.plan(config.load(study.folder / "study.yaml"))
    found = due(plan, Records())
    rules = Counter(f"draw_{dict(w)['figure']}" if stage == "figure" else stage for stage, w in found)
    return rules, {name: reasons for name, reasons in found.items()}


def test_a_finished_study_has_no_job(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished.folder)
    assert cli.main(["plan", "--jobs", "--config", "study.yaml"]) == 0
    assert capsys.readouterr().out == "nothing to be made: all is there, by these recipes\n"


def test_the_jobs_are_those_of_a_dry_run_with_their_reasons(finished, tmp_path, monkeypatch, capsys):
    """A setting changed, files gone, one cut short, a record lost."""
    study = finished.copy(tmp_path / "study")
    study.config["transfer"]["resamples"] = 300
    study.write()
    results = study.results
    (results / "corpora" / "ko" / "duplicates.parquet").unlink()
    (results / "trace" / "exposure" / "ko-bridge-s0.parquet").unlink()
    (results / "probes" / "scores" / "bo-bridge-s0.parquet").write_bytes(b"")
    (results / "figures" / "losses.record.json").unlink()
    monkeypatch.chdir(study.folder)
    rules, reasons = wanted(study)
    assert rules == study.planned()
    by_name = {(stage, *dict(w).values()): said for (stage, w), said in reasons.items()}
    assert by_name["exposure", "ko-bridge-s0"] == by_name["score", "bo-bridge-s0"] == [FILES]
    assert by_name["figure", "losses"] == [NEW]
    assert by_name["gaps",] == ["resamples 200 | 300"]
    assert by_name["page",] == ["config.transfer.resamples 200 | 300"]
    assert cli.main(["plan", "--jobs", "--config", "study.yaml"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^ +1  gaps +resamples 200 \| 300$", told, re.M)
    assert told.splitlines()[-1].split() == [str(len(reasons)), "jobs"]
    assert cli.main(["plan", "--jobs", "--json", "--config", "study.yaml"]) == 0
    assert sum(row["jobs"] for row in json.loads(capsys.readouterr().out)["jobs"]) == len(reasons)


def test_jobs_are_not_reckoned_by_gpus(capsys):
    assert cli.main(["plan", "--jobs", "--gpus", "4"]) == 1
    assert (
        capsys.readouterr().err == "error: --gpus: is of the plan of runs, not of --jobs. Leave one of the two out.\n"
    )


def test_what_is_made_from_another_says_so():
    same = {"version": 1, "literals": {}, "inputs": []}
    assert why(same, same) == []  # and so INPUTS is said
    assert INPUTS
    assert why(same, same | {"inputs": ["a", "b", "c", "d"]}) == ["made now alone from a, b, c and 1 more"]


def test_a_run_says_how_far_it_is(finished, tmp_path):
    study = finished.copy(tmp_path / "study")
    for name in ("gaps", "data"):
        (study.results / "tables" / f"{name}.csv").unlink()
    told = study.run()
    assert re.search(r"study tiny: 100 % of the work, (\d+) of \1 jobs, done", told), told[-3000:]


def test_what_was_found_is_said_in_the_words_of_the_page(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished.folder)
    assert cli.main(["findings", "--config", "study.yaml"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    page = (finished.results / "report" / "summary.html").read_text(encoding="utf-8")
    found = re.search(r'id="found">.*?<ul>(.*?)</ul>', page, re.S).group(1)
    sentences = re.findall(r"<li>(.*?)</li>", found, re.S)
    assert sentences
    for sentence in sentences:
        plain = " ".join(sentence.replace("&#39;", "'").replace("&gt;", ">").replace("\u00a0", " ").split())
        assert plain in told
    alarms = pd.read_csv(finished.results / "tables" / "alarms.csv")
    ringing = alarms[alarms["verdict"] == "rings"]
    assert f"What rings: {len(ringing)} of {len(alarms)} alarms" in told
    for row in ringing.itertuples():
        assert row.alarm in told and " ".join(row.why.split()) in told
    assert "Open first results/tiny/report/summary.html" in told


def test_what_is_not_made_yet_cannot_be_said(new_study, tmp_path, monkeypatch, capsys):
    study = new_study(tmp_path / "study")
    monkeypatch.chdir(study.folder)
    assert cli.main(["findings", "--config", "study.yaml"]) == 1
    assert "is not made yet. Make it: snakemake" in capsys.readouterr().err
