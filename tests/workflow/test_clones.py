"""A language and its clone in another script, through the stages of a study: the same documents, pairs and tokens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lorebridge import tables

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SMALL = (
    "world={entities: 60, name_words: 12, background_names: 20, pairs: 600, doses: [4], "
    "questions: {en_only: 24, neither: 24}}"
)
CLONES = {"qab": "qaa", "qad": "qac"}


def test_a_clone_goes_through_all_stages_as_its_original(tmp_path):
    study = tmp_path / "results" / "scripts-demo"
    streams = [
        f"{kind}-{lang}{end}"
        for both in CLONES.items()
        for lang in both
        for kind, end in (("mono", ""), ("pairs", "-xx"))
    ]
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--configfile", str(ROOT / "config" / "scripts-demo.yaml"), "--config", SMALL, "--"]
    command += [f"results/scripts-demo/tokens/{stream}/tokens.bin" for stream in streams]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr[-3000:]
    for clone, of in CLONES.items():
        kept, heldout = (
            [
                [
                    identity
                    for path in sorted((study / "corpora" / lang).glob(f"{name}-*.parquet"))
                    for identity in tables.read(path)["doc_id"]
                ]
                for lang in (clone, of)
            ]
            for name in ("documents", "heldout")
        )
        assert kept[0] == kept[1] and heldout[0] == heldout[1] and kept[0] and heldout[0]
        pairs = [tables.read(study / "parallel" / f"{lang}.parquet") for lang in (clone, of)]
        assert pairs[0]["en"].equals(pairs[1]["en"]) and not pairs[0]["xx"].str.contains("[A-Za-z]").any()
        for kind, end in (("mono", ""), ("pairs", "-xx")):
            lengths = [np.load(study / "tokens" / f"{kind}-{lang}{end}" / "offsets.npy") for lang in (clone, of)]
            assert np.array_equal(*lengths)
