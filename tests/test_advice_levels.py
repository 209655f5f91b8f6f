"""Every advice on comparing levels of removal is followed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from advised import Case, follow, name_of
from lorebridge import tables
from lorebridge.transfer.removal import equivalences

METRICS = ("em_strict", "f1_strict", "em_folded", "f1_folded", "correct")


def compared(
    *, asked: tuple[str, ...] = ("f0", "f1"), known: int = 3, answered: int = 3, level: str = "f0", seed: int = 0
) -> Callable[[Path], Any]:
    """Return what compares f1 with `level`, of models that were asked, of which f1 answered so many of 3 questions."""

    def run(folder: Path) -> Any:
        scores = [
            {"model": model, "step": None, "task": "open", "rule": "generated", "question_id": f"q{i}", "lang": "en"}
            | {"split": "test", "answer": "a", **dict.fromkeys(METRICS, float(i % 2))}
            for model in asked
            for i in range(answered if model == "f1" else 3)
        ]
        qa = [
            {"question_id": f"q{i}", "lang": "en", "split": "test", "page_id": f"p{i}", "title": "", "question": "q"}
            | {"answers": ["a"], "negatives": [], "context": ""}
            for i in range(known)
        ]
        for name, rows in (("qa_scores", scores), ("qa", qa)):
            tables.write(name, pd.DataFrame(rows), folder / f"{name}.parquet")
        models = [
            {"run": "f0", "level": level, "seed": 0, "tuned": None, "step": None},
            {"run": "f1", "level": "f1", "seed": seed, "tuned": None, "step": None},
        ]
        out = folder / "equivalence.parquet"
        paths = {"scores": [folder / "qa_scores.parquet"], "qa": folder / "qa.parquet", "overlap": None}
        return equivalences(**paths, models=models, base="en", margin={"em_folded": 0.1}, alpha=0.05, out=out)

    return run


CASES = [
    Case("Ask again.", compared(known=2), None, compared()),
    Case("Ask it as the others.", compared(asked=("f0",)), None, compared()),
    Case("Ask one, or leave the others out.", compared(level="f2"), None, compared()),
    Case("Ask all of them the same questions.", compared(answered=2), None, compared()),
    Case("Train both from one seed.", compared(seed=1), None, compared()),
]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_what_was_mended_as_advised_is_taken(case: Case, tmp_path: Path) -> None:
    follow(case, tmp_path)
