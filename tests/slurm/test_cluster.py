"""The planted world on a real SLURM: the same bytes as on one machine, and only what is stale runs again."""

from __future__ import annotations

import numpy as np
import pytest
from real_cluster import printed
from safetensors.numpy import load_file

from lorebridge import studies

pytestmark = pytest.mark.slow

# What holds times (records, audits of when, logs) is not compared.
COMPARED = (".csv", ".md", ".tex", ".svg", ".pdf", ".png", ".safetensors", ".bin", ".npy", ".parquet", ".gz")
MODEL = "models/continual/ko-bridge-s0"


@pytest.fixture(scope="module")
def study(cluster, one_language):
    """The study, run to its end on the cluster."""
    study = one_language("cluster")
    study.snakemake(*cluster.arguments())
    return study


def contents(study):
    """Return the relative paths of all files that are compared."""
    return {path.relative_to(study.results) for path in study.results.rglob("*") if path.suffix in COMPARED}


def test_the_cluster_makes_what_one_machine_makes(study, local):
    """Every table, figure and model of the study, byte for byte."""
    assert contents(study) == contents(local)
    assert len(contents(local)) > 100
    for path in sorted(contents(local)):
        assert (study.results / path).read_bytes() == (local.results / path).read_bytes(), path


def test_every_artifact_has_its_record_and_its_log(study):
    plan = studies.plan(study.config)
    for stage, wildcards in plan.walk():
        assert (study.folder / plan.record(stage, wildcards)).exists()
    assert list((study.folder / "logs" / "slurm" / "rule_train_continual").rglob("*.log"))


def test_only_what_is_stale_runs_again(study, cluster, tmp_path):
    for path in study.results.rglob("*"):
        path.touch()
    assert study.planned(*cluster.arguments()) == {}

    changed = study.copy(tmp_path / "template")
    changed.config["languages"]["ko"]["template"] = "{en} = {xx}"
    changed.write()
    planned = changed.planned(*cluster.arguments())
    # Every model that is asked in the language is asked behind the label that its template has.
    assert (planned["order"], planned["train_continual"], planned["score"]) == (1, 1, 3)
    assert not {"train_base", "token_store", "filter_corpus", "judge"} & set(planned)

    grown = study.copy(tmp_path / "seed")
    grown.config["seeds"].append(1)
    grown.write()
    planned = grown.planned(*cluster.arguments())
    assert (planned["train_base"], planned["train_continual"], planned["score"]) == (1, 2, 3)
    assert not {"token_store", "filter_corpus", "judge"} & set(planned)

    redrawn = study.copy(tmp_path / "figure")
    for path in (redrawn.results / "figures").glob("losses.*"):
        path.unlink()
    assert redrawn.planned(*cluster.arguments()) == {"draw_losses": 1, "page": 1}, "and the page that shows it"


@pytest.mark.parametrize(("nodes", "gpus"), [(1, 2), (2, 1)], ids=["two GPUs of a node", "a GPU on each of two nodes"])
def test_a_training_job_starts_a_process_on_each_of_its_gpus(local, cluster, tmp_path, nodes, gpus):
    """Hardware is no part of a recipe, so the same model can be asked for on GPUs; pretended ones are CPUs.

    Two jobs on several nodes have the same first node, and run at the same time.
    """
    study = local.copy(tmp_path / "study")
    models = [MODEL, MODEL.replace("bridge", "no_bridge")][:nodes]
    study.config["compute"] |= {"nodes": nodes, "gpus": gpus, "threads": 2 // nodes}
    study.write()
    for model in models:
        (study.results / model / "record.json").unlink()
    before = len(cluster.jobs("train_continual"))
    study.snakemake(*cluster.arguments(*(f"results/tiny/{model}/metrics.parquet" for model in models)))
    jobs = list(cluster.jobs("train_continual"))[before:]
    assert len(jobs) == nodes, "none was tried again"
    assert max(cluster.asked(job, "Start") for job in jobs) < min(cluster.asked(job, "End") for job in jobs)
    job = jobs[0]
    assert "gres/gpu=2" in cluster.asked(job, "AllocTRES")
    assert (cluster.asked(job, "NNodes"), cluster.asked(job, "Partition")) == (str(nodes), "gpu")
    if nodes > 1:
        steps = dict(
            line.split("|") for line in printed("sacct", "--jobs", job, "-nP", "--format", "JobName,AllocCPUS")
        )
        assert steps["torchrun"] == "2", "the step has all CPUs of the job"
    assert "2 processes on cpu" in (study.results / "logs" / "train" / "ko-bridge-s0.log").read_text()
    ours, alone = (load_file(s.results / MODEL / "step6" / "model.safetensors") for s in (study, local))
    assert set(ours) == set(alone)
    for name, weights in ours.items():  # two processes add the same numbers in another order
        np.testing.assert_allclose(weights, alone[name], atol=1e-4, err_msg=name)


def test_a_sacct_that_fails_is_told_before_a_job_is_submitted(local, cluster, tmp_path, monkeypatch):
    """Snakemake's executor would wait for ever. What the error advises works, options of sbatch's with spaces, too."""
    study = local.copy(tmp_path / "study")
    for path in (study.results / "figures").glob("losses.*"):
        path.unlink()
    broken = tmp_path / "bin" / "sacct"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'sacct: error: slurmdbd is down' >&2\nexit 1\n")
    broken.chmod(0o755)
    environment = study.environment()
    monkeypatch.setattr(study, "environment", lambda: environment | {"PATH": f"{broken.parent}:{environment['PATH']}"})
    said = study.snakemake(*cluster.arguments("results/tiny/figures/losses.svg"), check=False)
    assert "sacct fails (sacct: error: slurmdbd is down)" in said
    assert "set `slurm-status-command: squeue` in the profile" in said
    assert not (study.folder / "logs" / "slurm").exists(), "nothing was submitted"
    extra = "slurm_extra='--nice=7 --mail-type=FAIL --mail-user=\"first last\"'"
    more = ("--slurm-status-command", "squeue", "--default-resources", extra)
    study.snakemake(*cluster.arguments("results/tiny/figures/losses.svg", *more))
    (log,) = (study.folder / "logs" / "slurm" / "rule_draw_losses").glob("*.log")
    job = log.stem  # accounting may not know of its end yet
    shown = "\n".join(printed("scontrol", "show", "job", job))
    assert "Nice=7" in shown
    assert "MailUser=first last" in shown
