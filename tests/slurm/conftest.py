"""Studies that run on a real SLURM as a user's do."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import yaml
from real_cluster import Cluster

PARTITIONS = {
    "partitions": {
        "cpu": {"max_runtime": 1440, "max_mem_mb": 128000, "max_cpus_per_task": 2},
        "gpu": {"max_runtime": 2880, "max_mem_mb": 128000, "max_cpus_per_task": 2, "max_gpu": 2, "max_nodes": 2},
    }
}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """The cluster that these tests run in: two nodes, each with two GPUs that are not there."""
    if not os.environ.get("LOREBRIDGE_SLURM"):
        pytest.skip("needs a SLURM of its own: make test-slurm")
    partitions = tmp_path_factory.mktemp("cluster") / "partitions.yaml"
    partitions.write_text(yaml.safe_dump(PARTITIONS))
    return Cluster(partitions)


@pytest.fixture(scope="session")
def one_language(cluster, new_study, tmp_path_factory):
    """Makes a tiny study of a single second language, in a folder of that name: jobs are what costs time here."""

    def make(name):
        study = new_study(tmp_path_factory.mktemp(name) / "study")
        study.program = (sys.executable, str(Path(__file__).parent / "impatient" / "snakemake"))
        for section in ("languages", "corpora", "parallel", "questions"):
            del study.config[section]["bo"]
        study.config["world"].pop("languages", None)
        study.write()
        return study

    return make


@pytest.fixture(scope="session")
def local(one_language):
    """The study, run to its end without a cluster. Do not change it: take a copy."""
    study = one_language("local")
    study.run()
    return study
