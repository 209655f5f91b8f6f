"""Damaged artifacts: found by checksum with the rule that remakes them, and remade to the same bytes."""

from __future__ import annotations

import shutil
import subprocess

import pytest

pytestmark = pytest.mark.slow

DAMAGED = {
    "models/continual/ko-bridge-s0/step4/model.safetensors": "train_continual",
    "models/continual/ko-bridge-s0/metrics.parquet": "train_continual",
    "tokens/pairs-ko-xx/tokens.bin": "token_store",
    "order/ko-bridge-s0.parquet": "order",
}


def verified(study):
    """Return the exit status and the lines of `lorebridge verify` that tell of a failure."""
    done = subprocess.run(
        ["lorebridge", "verify", "ko-bridge-s0", "--config", "study.yaml"],
        env=study.environment(),
        cwd=study.folder,
        capture_output=True,
        text=True,
    )
    return done.returncode, [line for line in done.stdout.splitlines() if line.startswith("FAILED")]


def damage(path):
    """Write zeros over the middle half, as a disk may that lost some blocks; of a table, over that of its data."""
    content = path.read_bytes()
    data = len(content) - (8 + int.from_bytes(content[-8:-4], "little") if path.suffix == ".parquet" else 0)
    path.unlink()  # a checkpoint may be a link into another folder
    path.write_bytes(content[: data // 4] + bytes(data // 2) + content[data // 4 + data // 2 :])


@pytest.mark.parametrize("name", DAMAGED)
def test_verify_finds_it_and_names_the_rule(finished, tmp_path, name):
    study = finished.copy(tmp_path / "study")
    assert verified(study) == (0, [])
    damage(study.results / name)
    status, failed = verified(study)
    assert status == 1
    assert any(line.endswith(f"Remade by: {DAMAGED[name]}") for line in failed), failed


def test_a_damaged_table_is_refused_by_who_reads_it_and_then_remade(finished, tmp_path):
    """With it what reads it directly, and nothing above: its recipe is the same."""
    study = finished.copy(tmp_path / "study")
    table, reader = study.results / "trace/judgments/ko/ko.parquet", study.results / "transfer/items.parquet"
    whole, made = table.read_bytes(), reader.read_bytes()
    damage(table)
    reader.unlink()
    output = study.snakemake("--cores", "1", "results/tiny/transfer/items.parquet", check=False)
    assert "trace/judgments/ko/ko.parquet: cannot be read as a Parquet table" in output
    table.unlink()
    planned = study.planned()
    assert (planned["judge"], planned["items"]) == (1, 1)
    assert not {"retrieve", "chunks", "train_continual", "score", "gaps"} & set(planned)
    study.run()
    assert (table.read_bytes(), reader.read_bytes()) == (whole, made)
    assert study.planned() == {}


def test_a_damaged_checkpoint_is_trained_again_to_the_same_bytes(finished, tmp_path):
    study = finished.copy(tmp_path / "study")
    folder = study.results / "models" / "continual" / "ko-bridge-s0"
    whole = (folder / "step4" / "model.safetensors").read_bytes()
    damage(folder / "step4" / "model.safetensors")
    shutil.rmtree(folder / "step4")
    assert study.planned() == {"train_continual": 1, "score": 1}
    study.run()
    assert (folder / "step4" / "model.safetensors").read_bytes() == whole
    assert verified(study) == (0, [])
