"""`lorebridge compare`: what differs between two studies, or two commits, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from lorebridge import cli, compare, studies, tables
from lorebridge.bundle import Redrawing
from lorebridge.errors import ChangedFile, InputError
from lorebridge.records import Task, describe, write_record

GAP = {
    "lang": "ko",
    "direction": "en→ko",
    "contrast": "bridge - no_bridge",
    "scale": "accuracy",
    "subset": "clean",
    "unleaked": False,
    "rule": "mean",
    "prefix": "bare",
    "step": -1,
    "seed": "all",
    "n_questions": 180,
    "n_clusters": 170,
    "at_risk": None,
    "accuracy": 0.5,
    "accuracy_reference": 0.4,
    "gap": 0.1,
    "lo": 0.05,
    "hi": 0.15,
    "interval": "questions only",
    "note": "",
    "p": None,
    "p_holm": None,
}
SCORE = {
    "run": "ko-bridge-s0",
    "lang_pair": "en-ko",
    "learned": "ko",
    "arm": "bridge",
    "seed": 0,
    "step": 16,
    "culture": "ko",
    "question_id": "q1",
    "lang": "ko",
    "prefix": "bare",
    "option_index": 0,
    "sum_logprob": -3.0,
    "n_tokens": 2,
    "n_bytes": 6,
    "prior_logprob": None,
    "prior_tokens": 0,
}


def study(root, gaps, scores, *, literals=None, config=None, version=1):
    """A folder of results of two stages, and the page's record."""
    tables.write("gaps", gaps, root / "transfer" / "gaps.parquet")
    tables.write("scores", scores, root / "probes" / "scores" / "ko-bridge-s0.parquet")
    score = Task("score", {"rule": "mean"} | (literals or {}))
    place = root / "probes" / "scores" / "ko-bridge-s0.parquet.record.json"
    gap = Task("gaps", {"last": 3}, {str(place): score.recipe}, version, {"scores": [score.recipe]})
    page = Task("page", {"config": {"study": "tiny", "seeds": [0]} | (config or {})})
    for task, path in (
        (score, place),
        (gap, root / "transfer" / "gaps.parquet.record.json"),
        (page, root / compare.PAGE),
    ):
        write_record(path, task, notes={}, rule=task.stage, wall_seconds=0.0)
    return root


def of(found, name):
    return next(table for table in found["results"] if table["table"] == name)


def compared(a, b, tmp_path, **options):
    sides = [compare.side(str(root), tmp_path / "none.yaml", tmp_path / "unpacked") for root in (a, b)]
    return compare.compare(*sides, **options)


def test_a_study_is_like_its_copy(tmp_path):
    a = study(tmp_path / "a", [GAP], [SCORE])
    shutil.copytree(a, tmp_path / "b")
    found = compared(a, tmp_path / "b", tmp_path)
    assert compare.alike(found)
    assert found["recipes"]["same"] == 3
    assert found["configuration"] == []


def test_a_table_that_was_edited_is_not_compared(tmp_path):
    a, b = (study(tmp_path / name, [GAP], [SCORE]) for name in "ab")
    place, table = b / "transfer" / "gaps.parquet.record.json", b / "transfer" / "gaps.parquet"
    files = describe({"gaps": table}, table.parent)
    write_record(place, Task("gaps", {"last": 3}), notes={}, rule="gaps", wall_seconds=0.0, files=files)
    compared(a, b, tmp_path)
    tables.write("gaps", [GAP | {"gap": 0.3}], table)
    with pytest.raises(ChangedFile, match=rf"{table}: changed since gaps made it.*snakemake --forcerun {table}"):
        compared(a, b, tmp_path)


def test_rows_of_one_side_and_values_with_both_intervals(tmp_path):
    far = GAP | {"gap": 0.3, "lo": 0.2, "hi": 0.4}
    near = GAP | {"direction": "ko→en"}
    a = study(tmp_path / "a", [GAP, near, GAP | {"seed": "0"}], [SCORE])
    b = study(tmp_path / "b", [GAP | {"seed": "1"}, near | {"hi": 0.16}, far], [SCORE])
    table = of(compared(a, b, tmp_path), "gaps")
    assert (table["rows_a"], table["rows_b"]) == (3, 3)
    assert [row["seed"] for row in table["only_a"]] == ["0"]
    assert [row["seed"] for row in table["only_b"]] == ["1"]
    changed = {row["key"]["direction"]: row for row in table["changed"]}
    assert changed["en→ko"]["a"] == {"gap": 0.1, "lo": 0.05, "hi": 0.15}
    assert changed["en→ko"]["b"] == {"gap": 0.3, "lo": 0.2, "hi": 0.4}
    assert changed["ko→en"]["b"] == {"gap": 0.1, "lo": 0.05, "hi": 0.16}
    told = list(compare.lines(compared(a, b, tmp_path)))
    assert "  gaps: 3 rows | 3 rows, 1 only in a, 1 only in b, 2 differ, 1 by more than their intervals" in told
    assert sum(line.endswith("gap 0.1 (0.05 to 0.15) | 0.3 (0.2 to 0.4)") for line in told) == 1


def test_small_differences_may_be_none(tmp_path):
    a = study(tmp_path / "a", [GAP], [SCORE])
    b = study(tmp_path / "b", [GAP], [SCORE | {"sum_logprob": -3.0000001}])
    assert len(of(compared(a, b, tmp_path), "scores (score)")["changed"]) == 1
    assert not of(compared(a, b, tmp_path, tolerance=1e-6), "scores (score)")["changed"]


def test_what_is_missing_on_both_sides_is_the_same_and_on_one_is_not(tmp_path):
    a = study(tmp_path / "a", [GAP], [SCORE, SCORE | {"option_index": 1}])
    b = study(tmp_path / "b", [GAP], [SCORE, SCORE | {"option_index": 1, "prior_logprob": -1.0}])
    [row] = of(compared(a, b, tmp_path), "scores (score)")["changed"]
    assert row["key"]["option_index"] == 1
    assert (row["a"], row["b"]) == ({"prior_logprob": None}, {"prior_logprob": -1.0})


def test_rows_of_one_key_are_told_apart_by_their_order(tmp_path):
    a = study(tmp_path / "a", [GAP], [SCORE, SCORE | {"sum_logprob": -4.0}])
    b = study(tmp_path / "b", [GAP], [SCORE, SCORE | {"sum_logprob": -5.0}])
    [row] = of(compared(a, b, tmp_path), "scores (score)")["changed"]
    assert (row["key"]["row"], row["a"]["sum_logprob"], row["b"]["sum_logprob"]) == (1, -4.0, -5.0)


def test_recipes_say_what_differs_by_itself_and_what_follows(tmp_path):
    a = study(tmp_path / "a", [GAP], [SCORE])
    b = study(tmp_path / "b", [GAP], [SCORE], literals={"rule": "sum"}, config={"seeds": [0, 1], "ema": 0.8})
    found = compared(a, b, tmp_path)
    why = {row["stage"]: row["why"] for row in found["recipes"]["changed"]}
    assert why["score"] == ["rule mean | sum"]
    assert why["gaps"] == []
    assert found["configuration"] == [{"key": "seeds", "a": [0], "b": [0, 1]}, {"key": "ema", "a": None, "b": 0.8}]
    c = study(tmp_path / "c", [GAP], [SCORE], version=2)
    why = {row["stage"]: row["why"] for row in compared(a, c, tmp_path)["recipes"]["changed"]}
    assert why == {"gaps": ["version 1 | 2"]}


def test_a_study_without_its_page_says_that_its_configuration_is_unknown(tmp_path):
    a, b = (study(tmp_path / name, [GAP], [SCORE]) for name in "ab")
    (b / compare.PAGE).unlink()
    found = compared(a, b, tmp_path)
    assert found["configuration"] is None
    assert any("not known of both" in line for line in compare.lines(found))


def test_what_is_no_study_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no results of a study"):
        compare.side(str(tmp_path / "empty"), tmp_path / "none.yaml", tmp_path)
    with pytest.raises(InputError, match="is no folder, no file and no commit"):
        compare.side("no-such-thing", tmp_path / "none.yaml", tmp_path)


def test_the_command_writes_all_of_it_for_programs(tmp_path, capsys):
    a = study(tmp_path / "a", [GAP | {"seed": str(i)} for i in range(20)], [SCORE])
    b = study(tmp_path / "b", [GAP | {"seed": str(i), "gap": 0.2} for i in range(20)], [SCORE])
    out = tmp_path / "differences.json"
    assert cli.main(["compare", str(a), str(b), "--out", str(out), "--most", "2"]) == 1
    assert "... and 18 more" in capsys.readouterr().out
    assert len(of(json.loads(out.read_text()), "gaps")["changed"]) == 20
    assert cli.main(["compare", str(a), str(a)]) == 0
    assert cli.main(["compare", str(a), str(b), "--out", str(a / "transfer" / "gaps.parquet")]) == 1


# ---------------------------------------------------------------- the tables that there are


def test_every_key_is_a_column():
    for name, keys in compare.KEYS.items():
        assert set(keys) <= set(tables.SCHEMAS[name].names), name
    made = {file.table for stage in studies.stages().values() for file in stage.files.values()}
    assert compare.KEYS.keys() <= made


def test_a_table_of_which_nothing_is_said_is_compared_by_what_is_no_number(monkeypatch):
    compared = {table for _, table, _ in compare._result_files()}
    of_transfer = {
        file.table
        for stage in studies.stages().values()
        for file in stage.files.values()
        if file.table and file.path.startswith("transfer/")
    }
    assert of_transfer <= compared
    monkeypatch.delitem(compare.KEYS, "people_gaps")
    assert {"contrast", "lang", "langs", "questions", "attribute"} <= set(compare.keys("people_gaps"))
    assert not {"gap", "lo", "n_questions"} & set(compare.keys("people_gaps"))


@pytest.fixture(scope="module")
def unpacked(root, tmp_path_factory):
    plan = Redrawing(root / "results" / "demo.bundle.tar.xz", str(tmp_path_factory.mktemp("bundle")))
    return tmp_path_factory.getbasetemp() / plan.root


def test_keys_tell_the_rows_of_every_table_apart(unpacked):
    """Of the study that comes with the project; so that a difference is one of values and never one of rows."""
    for name, table, pattern in compare._result_files():
        for path in list(unpacked.glob(pattern))[:2]:
            rows = tables.read(path, list(compare.keys(table))).map(str)
            assert table not in compare.KEYS or not rows.duplicated().any(), name


def test_a_bundle_is_like_what_it_was_unpacked_to(root, unpacked, tmp_path):
    """It has no records of what it lacks; that is no difference."""
    found = compared(root / "results" / "demo.bundle.tar.xz", unpacked, tmp_path)
    assert found["recipes"]["only_b"] == found["recipes"]["only_a"] == []
    assert not any(table["changed"] for table in found["results"])
    assert {table["table"] for table in found["results"]} >= {"gaps", "items", "accuracies", "scores (score)"}


# ---------------------------------------------------------------- commits


@pytest.mark.slow
def test_two_commits_of_one_configuration(root, tmp_path):
    """A stage of a later version, and a setting of the configuration."""
    if subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True).returncode:
        pytest.skip("not in a clone")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--shared", root, clone], check=True)
    # What is not committed yet is looked at, too.
    shutil.copytree(root / "src", clone / "src", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(root / "config", clone / "config", dirs_exist_ok=True)
    git = ["git", "-C", clone, "-c", "user.name=n", "-c", "user.email=e@e"]
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-am", "as it is"], check=True)
    for path, old, new in (
        ("config/articles.yaml", "seeds: [0, 1]", "seeds: [0, 2]"),
        (
            "src/lorebridge/transfer/stages.py",
            '"lorebridge.transfer.gaps:gaps",\n        version=',
            '"lorebridge.transfer.gaps:gaps",\n        version=1',
        ),
    ):
        text = (clone / path).read_text()
        assert old in text
        (clone / path).write_text(text.replace(old, new))
    subprocess.run([*git, "commit", "--quiet", "-am", "two changes"], check=True)
    out = tmp_path / "differences.json"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "lorebridge.cli",
            *("compare", "HEAD~1", "HEAD", "--out", out, "--config", "config/articles.yaml"),
        ],
        cwd=clone,
        env=os.environ | {"PYTHONPATH": str(clone / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    found = json.loads(out.read_text())
    assert found["configuration"] == [{"key": "seeds", "a": [0, 1], "b": [0, 2]}]
    assert "models/base/base-s1/record.json" in found["recipes"]["only_a"]
    [gaps] = [row for row in found["recipes"]["changed"] if row["stage"] == "gaps"]
    assert gaps["why"][0].startswith("version ")
    assert found["results"] is None
