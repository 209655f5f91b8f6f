"""A small study whose answers are planted: tables of questions and scores with a known truth."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lorebridge import tables

Right = Callable[[str, int, int, str], np.ndarray]
"""(arm, seed, step, lang) -> which questions the model has right, shape (n,), bool."""


@pytest.fixture
def write_questions(tmp_path):
    def write(culture: str, texts: Mapping[str, list[str]], golds: list[str] | None = None) -> Path:
        """Write questions of four options, the gold first; every text unlike the others unless it says otherwise."""
        rows = []
        for lang, of_lang in texts.items():
            for i, text in enumerate(of_lang):
                gold = golds[i] if golds else f"gold{i}"
                for j, option in enumerate([gold, "x1", "x2", "x3"]):
                    rows.append(
                        {
                            "question_id": f"{culture}-{i:04d}",
                            "culture": culture,
                            "lang": lang,
                            "text": text,
                            "option_index": j,
                            "option": option,
                            "is_gold": j == 0,
                            "subset": ["reference", "clean", "strict"],
                            "n_blanks": 1,
                        }
                    )
        path = tmp_path / f"questions-{culture}.parquet"
        tables.write("questions", rows, path)
        return path

    return write


@pytest.fixture
def write_scores(tmp_path):
    def write(culture: str, arm: str, seed: int, steps: list[int], langs: list[str], n: int, right: Right) -> Path:
        """Write scores in which the gold of a question wins exactly where `right` says so."""
        frames = []
        for step in steps:
            for lang in langs:
                wins = np.asarray(right(arm, seed, step, lang))
                logprob = np.full((n, 4), -20.0)
                logprob[:, 0] = np.where(wins, -10.0, -30.0)
                index = np.indices((n, 4))
                frames.append(
                    pd.DataFrame(
                        {
                            "run": f"{culture}-{arm}-s{seed}",
                            "lang_pair": f"en-{culture}",
                            "learned": culture,
                            "arm": arm,
                            "seed": seed,
                            "step": step,
                            "culture": culture,
                            "question_id": [f"{culture}-{i:04d}" for i in index[0].ravel()],
                            "lang": lang,
                            "prefix": "bare",
                            "option_index": index[1].ravel(),
                            "sum_logprob": logprob.ravel(),
                            "n_tokens": 10,
                            "n_bytes": 40,
                            "prior_logprob": -5.0,
                            "prior_tokens": 2,
                        }
                    )
                )
        path = tmp_path / f"scores-{culture}-{arm}-s{seed}.parquet"
        tables.write("scores", pd.concat(frames, ignore_index=True), path)
        return path

    return write


@pytest.fixture
def write_leaks(tmp_path):
    def write(cultures: Mapping[str, int], leaked: set[str]) -> Path:
        """Write that some of the questions of each culture (culture -> how many) are answered by a pair."""
        rows = []
        for culture, n in cultures.items():
            for name in (f"{culture}-{i:04d}" for i in range(n)):
                pairs = ["p/0"] if name in leaked else []
                rows.append(
                    {
                        "question_id": name,
                        "culture": culture,
                        "lang": "en",
                        "n_pairs": len(pairs),
                        "pair_ids": pairs,
                        "n_subject_pairs": 1,
                    }
                )
        path = tmp_path / "leaks.parquet"
        tables.write("leaks", rows, path)
        return path

    return write


@pytest.fixture
def unlike() -> Callable[[int, int], list[str]]:
    def texts(n: int, seed: int = 0) -> list[str]:
        """Return `n` questions of random letters, so that no two are alike."""
        rng = np.random.default_rng(seed)
        return ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 24)) + " ____" for _ in range(n)]

    return texts
