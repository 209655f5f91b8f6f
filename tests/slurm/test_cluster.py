"""The planted world on a real SLURM: the same bytes as on one machine, and only what is stale runs again."""

from __future__ import annotations

import subprocess

import pytest

from lorebridge.plan import Plan

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(cluster, new_study, tmp_path_factory):
    """The tiny study, run to its end on the cluster."""
    study = new_study(tmp_path_factory.mktemp("cluster-study") / "study")
    study.snakemake(*cluster.arguments())
    return study


def test_the_cluster_makes_what_one_machine_makes(study, finished):
    """Every table and figure of the study, and the models, byte for byte."""
    compared = 0
    for path in sorted(finished.results.rglob("*")):
        if path.suffix in (".csv", ".md", ".tex", ".svg", ".pdf", ".png", ".safetensors", ".bin", ".npy", ".parquet"):
            assert (study.results / path.relative_to(finished.results)).read_bytes() == path.read_bytes(), path
            compared += 1
    assert compared > 100


def test_every_artifact_has_its_record_and_its_log(study):
    plan = Plan(study.config)
    for stage, wildcards in plan.walk():
        assert (study.folder / plan.record(stage, wildcards)).exists()
    assert list((study.folder / "logs" / "slurm").rglob("*.log"))


def test_only_what_is_stale_runs_again(study, cluster, tmp_path):
    for path in study.results.rglob("*"):
        path.touch()
    assert study.planned(*cluster.arguments()) == {}

    changed = study.copy(tmp_path / "template")
    changed.config["languages"]["bo"]["template"] = "{en} = {xx}"
    changed.write()
    planned = changed.planned(*cluster.arguments())
    assert (planned["order"], planned["train"], planned["score"]) == (1, 1, 1)
    assert "train_base" not in planned

    grown = study.copy(tmp_path / "seed")
    grown.config["seeds"].append(1)
    grown.write()
    planned = grown.planned(*cluster.arguments())
    assert (planned["train_base"], planned["train"]) == (1, 4)

    redrawn = study.copy(tmp_path / "figure")
    for path in (redrawn.results / "figures").glob("losses.*"):
        path.unlink()
    assert redrawn.planned(*cluster.arguments()) == {"draw_losses": 1}


def test_a_gpu_job_gets_its_gpus_and_starts_a_process_on_each(study, cluster, tmp_path):
    """Hardware is no part of a recipe, so that the same model can be asked for on two (here: pretended) GPUs."""
    gpus = study.copy(tmp_path / "study")
    gpus.config["compute"] |= {"gpus": 2, "threads": 1}
    gpus.write()
    folder = gpus.results / "models" / "ko" / "bridge" / "s0"
    before = (folder / "step6" / "model.safetensors").read_bytes()
    (folder / "record.json").unlink()
    gpus.snakemake(*cluster.arguments(str((folder / "record.json").relative_to(gpus.folder))))
    job = list(cluster.jobs("train"))[-1]
    described = subprocess.run(
        ["sacct", "--jobs", job, "--allocations", "--noheader", "--parsable2", "--format", "ReqTRES,NNodes,Partition"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    resources, nodes, partition = described.split("|")
    assert "gres/gpu=2" in resources
    assert (nodes, partition) == ("1", "gpu")
    log = (gpus.results / "logs" / "train" / "ko-bridge-s0.log").read_text()
    assert "2 processes" in log
    assert len(before) == (folder / "step6" / "model.safetensors").stat().st_size
