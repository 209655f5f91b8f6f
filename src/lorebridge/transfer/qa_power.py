"""What questions on pages can show, from the questions alone: before any model is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lorebridge import tables
from lorebridge.corpora.qa_tasks import MCQ, put_all
from lorebridge.tokens.levels import TRAIN
from lorebridge.transfer.power import (
    detectable_effect,
    detectable_with_seeds,
    effective_questions,
    equivalence_margin,
    margin_with_seeds,
)
from lorebridge.transfer.removal import page_clusters


def qa_power(
    *,
    qa: Path,
    tasks: Sequence[str],
    base: str,
    discordance: Sequence[float],
    seeds: int,
    seed_sd: float,
    alpha: float,
    out: Path,
) -> None:
    """Write the table ``qa_power``: the smallest difference that is found, and the smallest margin that can be shown.

    Both with a power of 80 %: of a true difference, and of none. Questions count as many as they weigh where those of
    one page are all answered alike (:func:`lorebridge.transfer.power.effective_questions`): the worst case. With a
    discordance d - the share of questions that one model of two has right and the other has not - no difference is
    larger than d, so that two models that are hardly ever right cannot differ by much.

    Args:
        qa: the table ``qa``.
        tasks: keys of :data:`lorebridge.corpora.qa_tasks.TASKS`.
        base: the base language.
        discordance: shares of questions, in 0..1, a row each.
        seeds: of each level. Rows with one seed are of the models at hand; with two or more there are rows over seeds.
        seed_sd: assumed standard deviation of a difference between seeds, in 0..1.
        alpha: of each test.
        out: the table to write.
    """
    known = tables.read(qa)
    clusters = page_clusters(known, base)
    records = known.to_dict("records")
    rows = []
    for task in tasks:
        put, _ = put_all(task, records, base=base)
        asked = pd.DataFrame([{key: row[key] for key in ("question_id", "lang", "split")} for row, _ in put])
        if asked.empty:
            continue
        for (lang, split), of in asked[asked["split"] != TRAIN].groupby(["lang", "split"], sort=True):
            own = clusters.reindex(of["question_id"])
            n = effective_questions(own)
            for share in discordance:
                said = {
                    "task": task,
                    "metric": "correct" if task == MCQ else "em_folded",
                    "lang": lang,
                    "split": split,
                    "n_questions": len(of),
                    "n_clusters": int(own.nunique()),
                    "discordance": share,
                }
                rows.append(
                    {
                        **said,
                        "seeds": 1,
                        "detectable": detectable_effect(n, discordance=share, alpha=alpha),
                        "margin": equivalence_margin(n, discordance=share, alpha=alpha),
                    }
                )
                if seeds > 1:
                    rows.append(
                        {
                            **said,
                            "seeds": seeds,
                            "detectable": detectable_with_seeds(n, discordance=share, seed_sd=seed_sd, seeds=seeds),
                            "margin": margin_with_seeds(
                                n, discordance=share, seed_sd=seed_sd, seeds=seeds, alpha=alpha
                            ),
                        }
                    )
    tables.write("qa_power", rows, out)
