"""The model that docs/roots.md makes is one that can be asked."""

import re

import pandas as pd
import pytest

from lorebridge import cli, tables

pytestmark = pytest.mark.slow  # what it imports
CITIES = ["Paris", "서울", "東京"]


def test_the_model_that_is_made_on_the_spot_is_asked(root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    facts = [
        dict.fromkeys(tables.SCHEMAS["facts"].names)
        | {"fact_id": f"f{i}", "relation": "P19", "lang": lang, "subject_id": f"s{i}", "subject": f"person {i}"}
        | {"object_id": f"o{i % 3}", "object": CITIES[i % 3], "golds": [CITIES[i % 3]]}
        | {"template": "[X] was born in [Y] ."}
        for lang in ("en", "ko")
        for i in range(6)
    ]
    tables.write("facts", facts, tmp_path / "facts.parquet")
    [program] = re.findall(r"```python\n(.*?)```", (root / "docs/roots.md").read_text(encoding="utf-8"), re.S)
    exec(compile(program, "docs/roots.md", "exec"), {})
    cli.main(["score", "model", "facts.parquet", "--out", "scores.parquet"])
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    assert len(scores) == 12 and scores["n_masks"].notna().all()
    assert "micro" in capsys.readouterr().out
