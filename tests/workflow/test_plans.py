"""Dry runs: the paper at full scale, and the cluster profile as shipped."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ENVIRONMENT = dict(os.environ, PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def run(*command):
    done = subprocess.run(command, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def counts(output):
    table = output.split("Job stats:")[-1].split("Reasons:")[0]
    return {name: int(n) for name, n in re.findall(r"^(\w+)\s+(\d+)$", table, re.M)}


def test_the_paper_plans_without_data_or_gpu(tmp_path):
    planned = counts(run("snakemake", "--dry-run", "--config", f"work={tmp_path}", f"results={tmp_path}/r"))
    assert planned["train_continual"] == 16
    assert planned["train_base"] == 2
    assert planned["score"] == planned["order"] == 18
    assert planned["filter_corpus"] == 41 + 3 + 6 + 1 + 1
    assert planned["retrieve"] == planned["judge"] == 8
    # English, Korean and Chinese are searched by dense encoders, which need an index; Tibetan and Mongolian by the scan
    assert planned["index"] == 3
    assert planned["translate"] == 2  # Tibetan and Mongolian, which the judge does not read
    assert planned["people_score"] == 16
    assert planned["people_mentions"] == 13
    assert planned["people_response"] == planned["people"] == planned["people_gaps"] == 1


def test_the_pilot_plans_without_data_or_gpu(tmp_path):
    planned = counts(
        run(
            "snakemake",
            "--dry-run",
            "--configfile",
            "config/pilot.yaml",
            "--config",
            f"work={tmp_path}",
            f"results={tmp_path}/r",
        )
    )
    assert (planned["train_base"], planned["train_continual"], planned["score"]) == (1, 4, 5)
    assert planned["sample_questions"] == 1
    assert planned["filter_corpus"] == 5 + 3


@pytest.mark.parametrize("study, more", [("config", ["seeds=[1, 2, 3]"]), ("roots", [])])
def test_a_dry_run_needs_no_torch(study, more, tmp_path):
    """With every heavy library made unimportable, the plan is the same."""
    for name in ("torch", "transformers", "deepspeed", "pyserini", "datasets", "seaborn", "statsmodels"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not in a dry run')\n")
    environment = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT / "src")])}
    done = subprocess.run(
        ["snakemake", "--dry-run", "--configfile", f"config/{study}.yaml", "--config", f"work={tmp_path}", *more],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    planned = counts(done.stdout + done.stderr)
    if study == "roots":
        assert (planned["given_model"], planned["fact_scores"], planned["published"]) == (2, 2, 1)
    else:
        assert planned["train_base"] == 3, "a list on the command line"
    written = [path.name for path in tmp_path.iterdir() if path.suffix != ".py" and path.name != "__pycache__"]
    assert written == [], "a dry run writes nothing outside .snakemake"


@pytest.mark.parametrize("option", ["--rulegraph", "--dag", "--filegraph"])
def test_graphs_work(option, tmp_path):
    drawn = run("snakemake", option, "--config", f"work={tmp_path}")
    assert "digraph" in drawn
    if option == "--rulegraph":
        picture = (ROOT / "docs" / "images" / "rulegraph.svg").read_text(encoding="utf-8")
        shown = set(re.findall(r"<text [^>]*>(\w+)</text>", picture))
        assert shown == set(re.findall(r'label = "(\w+)"', drawn)), "README.md says how the picture is drawn"


def test_the_plan_speaks_json():
    plan = json.loads(run("lorebridge", "plan", "--config", "config/config.yaml", "--json"))
    assert len(plan["runs"]) == 16
    assert set(plan["runs"][0]) >= {"run", "lang", "arm", "seed", "steps", "checkpoints", "tokens"}
    assert {run["checkpoints"][-1] for run in plan["runs"]} == {1500}
    # 16 runs of 0.786 billion tokens and two bases of 5 billion, 3.23 GFLOP a token, 0.4 of 989 TFLOP/s
    assert plan["totals"]["tokens"] == 16 * 1500 * 2**19 + 2 * 9540 * 2**19
    assert plan["totals"]["gpu_hours"] == pytest.approx(51.2, abs=0.1)
    assert plan["totals"]["disk_bytes"] > 16 * 30 * 2 * 494e6


def test_the_profile_is_found_by_name_and_by_path(tmp_path):
    def planned(profile):
        return counts(run("snakemake", "--dry-run", "--profile", profile, "--config", f"work={tmp_path}"))

    assert planned("slurm") == planned("profiles/slurm")
    assert planned("slurm")["train_continual"] == 16


def test_a_source_to_obtain_by_hand_stops_a_run_before_any_work(tmp_path):
    """A dry run shows the plan; a run says what is missing and does nothing."""
    done = subprocess.run(
        ["snakemake", "--cores", "1", "--config", f"work={tmp_path}/w", f"results={tmp_path}/r"],
        env=ENVIRONMENT,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode
    assert "CSTR 16666.11.nbsdc.vtfshbj" in done.stdout + done.stderr
    assert not list((tmp_path / "r").glob("paper/corpora/*"))


GPU_JOB = "-p gpu -t {minutes} --mem {memory} --nodes=1 --requeue --cpus-per-task={cpus} -D . --gpus={gpus}"
ACROSS = "-p gpu -t 720 --mem 128000 --nodes=2 --requeue --ntasks=2 --cpus-per-task=8 -D . --gres=gpu:8"


@pytest.mark.parametrize(
    ("compute", "training"),
    [
        ({"gpus": 1}, GPU_JOB.format(minutes=720, memory=128000, cpus=8, gpus=1)),
        ({"gpus": 8}, GPU_JOB.format(minutes=720, memory=128000, cpus=8, gpus=8)),
        ({"gpus": 8, "nodes": 2}, ACROSS),
    ],
    ids=["one GPU", "eight in a node", "two nodes of eight"],
)
def test_what_slurm_is_asked_for(compute, training, tmp_path):
    """The exact sbatch line of each GPU rule: one node unless more are asked for, and GPUs in one way only."""
    paper = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    overrides = {"work": str(tmp_path), "results": str(tmp_path / "r"), "compute": paper["compute"] | compute}
    script = str(ROOT / "tests" / "workflow" / "sbatch_lines.py")
    printed = run(sys.executable, script, "config/config.yaml", json.dumps(overrides))
    lines = json.loads(next(line for line in printed.splitlines() if line.startswith('{"')))
    common = "sbatch --parsable --job-name NAME --output LOG --export=ALL --comment RULE  "
    assert lines == {
        "train_base": common + training,
        "train_continual": common + training,
        "score": common + GPU_JOB.format(minutes=120, memory=16000, cpus=8, gpus=1),
        "copying": common + GPU_JOB.format(minutes=60, memory=16000, cpus=8, gpus=1),
        "random_models": common + GPU_JOB.format(minutes=120, memory=16000, cpus=8, gpus=1),
        "people_score": common + GPU_JOB.format(minutes=240, memory=16000, cpus=8, gpus=1),
        "index": common + GPU_JOB.format(minutes=720, memory=32000, cpus=8, gpus=1),
        "retrieve": common + GPU_JOB.format(minutes=360, memory=32000, cpus=8, gpus=1),
        "translate": common + GPU_JOB.format(minutes=720, memory=32000, cpus=8, gpus=1),
        "judge": common + GPU_JOB.format(minutes=720, memory=128000, cpus=8, gpus=8),
    }


PATIENT = "--shutdown-timeout 600 --signals-to-handle SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"


@pytest.mark.parametrize(
    ("compute", "launcher"),
    [
        ({"gpus": 1}, "python -m lorebridge.cli train"),
        ({"gpus": 8}, f"torchrun --standalone --nproc-per-node 8 {PATIENT} -m lorebridge.cli train"),
        (
            {"gpus": 8, "nodes": 2},
            "srun --jobid $SLURM_JOB_ID --nodes 2 --ntasks 2 --ntasks-per-node 1 --cpus-per-task 8 --gpus-per-node 8 "
            f"torchrun --nnodes 2 {PATIENT} "
            "--nproc-per-node 8 --rdzv-backend c10d --rdzv-id $SLURM_JOB_ID "
            "--rdzv-endpoint $(hostname):$((20000 + SLURM_JOB_ID % 10000)) "
            "-m lorebridge.cli train",
        ),
    ],
    ids=["one GPU", "eight in a node", "two nodes of eight"],
)
def test_how_training_is_started(compute, launcher, tmp_path):
    paper = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    configured = tmp_path / "paper.yaml"
    configured.write_text(yaml.safe_dump(paper | {"compute": paper["compute"] | compute}, allow_unicode=True))
    printed = run(
        "snakemake",
        "--dry-run",
        "--cores",
        "8",
        "--printshellcmds",
        "--configfile",
        str(configured),
        "--config",
        f"work={tmp_path}",
        f"results={tmp_path}/r",
    )
    commands = [line.strip() for line in printed.splitlines() if "lorebridge.cli train" in line]
    assert len(commands) == 18
    assert all(command.removeprefix("Shell command: ").startswith(launcher) for command in commands)
