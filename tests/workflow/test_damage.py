"""Damaged artifacts: found by checksum with the rule that remakes them, and remade to the same bytes."""

from __future__ import annotations

import shutil
import subprocess

import pytest

pytestmark = pytest.mark.slow

DAMAGED = {
    "models/ko/bridge/s0/step4/model.safetensors": "train",
    "models/ko/bridge/s0/metrics.parquet": "train",
    "tokens/pairs-ko-xx/tokens.bin": "token_store",
    "order/ko-bridge-s0.parquet": "order",
}


def verified(study):
    """Return the exit status and the lines of `lorebridge verify` that tell of a failure."""
    done = subprocess.run(
        ["lorebridge", "verify", "ko-bridge-s0", "--config", "study.yaml"],
        env=study.environment(), cwd=study.folder, capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, [line for line in done.stdout.splitlines() if line.startswith("FAILED")]


def damage(path):
    """Flip a bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()  # a checkpoint may be a link into another folder
    path.write_bytes(content)


@pytest.mark.parametrize("name", DAMAGED)
def test_verify_finds_it_and_names_the_rule(finished, tmp_path, name):
    study = finished.copy(tmp_path / "study")
    assert verified(study) == (0, [])
    damage(study.results / name)
    status, failed = verified(study)
    assert status == 1
    assert any(line.endswith(f"Remade by: {DAMAGED[name]}") for line in failed), failed


def test_a_damaged_table_is_refused_by_who_reads_it_and_then_remade(finished, tmp_path):
    """And nothing else is: what was made from it before the damage has the same recipe."""
    study = finished.copy(tmp_path / "study")
    table = study.results / "trace" / "chunks" / "ko.parquet"
    whole = table.read_bytes()
    damage(table)
    (study.results / "trace" / "hits" / "ko" / "ko.parquet").unlink()
    output = study.snakemake("--cores", "1", "results/tiny/trace/hits/ko/ko.parquet", check=False)
    assert "trace/chunks/ko.parquet: cannot be read as a Parquet table" in output
    table.unlink()
    assert study.planned() == {"chunks": 1, "retrieve": 1}
    study.run()
    assert table.read_bytes() == whole
    assert study.planned() == {}


def test_a_damaged_checkpoint_is_trained_again_to_the_same_bytes(finished, tmp_path):
    study = finished.copy(tmp_path / "study")
    folder = study.results / "models" / "ko" / "bridge" / "s0"
    whole = (folder / "step4" / "model.safetensors").read_bytes()
    damage(folder / "step4" / "model.safetensors")
    shutil.rmtree(folder / "step4")
    assert study.planned() == {"train": 1}
    study.run()
    assert (folder / "step4" / "model.safetensors").read_bytes() == whole
    assert verified(study) == (0, [])
