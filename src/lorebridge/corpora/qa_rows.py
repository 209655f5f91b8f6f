"""Rows of supervised tuning from questions on pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lorebridge import tables
from lorebridge.corpora.qa_tasks import TASKS, put_all
from lorebridge.errors import InputError


def qa_rows(*, qa: Path, task: str, lang: str, base: str, split: str, seed: int, out: Path) -> dict[str, Any]:
    """Write the table ``tuning`` of questions in one language: what is asked for a task, and what is to be answered.

    Args:
        qa: the table ``qa``.
        task: a key of :data:`lorebridge.corpora.qa_tasks.TASKS`.
        lang: the language.
        base: the base language, whose contexts stand before questions of task ``context_base``.
        split: the questions that are tuned on.
        seed: of the order of options.
        out: the table to write, in the order of `qa`; ``row_id`` is the question's.

    Returns:
        Notes for the record: ``rows``, and ``left_out``: reason -> questions.

    Raises:
        InputError: no question of that split and language can be put so.
    """
    known = tables.read(qa).to_dict("records")
    rows = [row for row in known if row["lang"] == lang and row["split"] == split]
    found, left_out = put_all(task, rows, base=base, seed=seed, among=known)
    if not found:
        why = "".join(f" ({n}: {reason})" for reason, n in left_out.items())
        raise InputError(
            qa,
            f"has no question in {lang} of the split {split} for the task {task}{why}",
            f"Tune on another task (of {', '.join(TASKS)}), or give questions that have what it needs.",
        )
    tables.write(
        "tuning",
        [{"row_id": row["question_id"], "prompt": said.prompt, "answer": said.answer} for row, said in found],
        out,
    )
    return {"rows": len(found), "left_out": dict(left_out)}
