"""What the page of a toy says beside its figures and tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lorebridge.figures.page import Account


def best(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> list[str]:
    """Say which model is right most often."""
    first = rows["right"].sort_values("right", ascending=False, kind="stable").iloc[0]
    return [f"{first['run']} is right most often: {first['right']:.1f} of {first['n_questions']} in {first['lang']}."]


def account(rows: Mapping[str, pd.DataFrame], config: Mapping[str, Any]) -> Account:
    """Return what the study asks, was, and found."""
    phase = config["training"]["joint"]
    return Account(
        question="What does a model know that learns two languages at once?",
        about="One model reads two languages from the start; another is given. Both are asked the same questions.",
        found=best(rows, config),
        design={"Trained": f"{phase['steps']:,} steps of {phase['batch_tokens']:,} tokens, from scratch"},
        roles={lang: f"{share:.0%} of the text" for lang, share in config["training"]["shares"].items()},
    )
