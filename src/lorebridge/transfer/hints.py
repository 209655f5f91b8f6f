"""What hints do: by how much more they help a question that is asked in another script than in its own.

Answers with a hint and without are paired: same model, question, target language and sample. Their difference (-1, 0 or
1) takes the place of the answer in the linear model of :mod:`lorebridge.transfer.scripts`, with the same effects and
the same labelings, so that the interval of hint x cross-script holds its level where that of an answer does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes.wording import NO_HINT
from lorebridge.transfer.cells import SOURCE_RIGHT, cells_of, crossed
from lorebridge.transfer.scripts import effect, predictors, term

KEY = ["model", "question_id", "target_lang", "sample"]


def hint_effects(
    *, judged: Path, languages: Mapping[str, Mapping[str, str]], labelings: int, seed: int, out: Path
) -> dict[str, Any]:
    """Write the table ``hint_effects``.

    Args:
        judged: table "judged", of one judge.
        languages: code -> ``script, family``.
        labelings, seed: see :func:`lorebridge.transfer.scripts.regress`.
        out: the table: a row a data set and hint.

    Returns:
        Notes for the record: ``rows``.

    Raises:
        InputError: no answer has a hint, or as :func:`lorebridge.transfer.cells.crossed`.
    """
    table = tables.read(judged)
    if (table["hint"] == NO_HINT).all():
        raise InputError(judged, "no answer has a hint", "Ask with hints.")
    rows = [
        _row(str(dataset), str(hint), answers, languages, labelings, seed)
        for dataset, answers in table.groupby("dataset", sort=True)
        for hint in sorted(set(answers["hint"]) - {NO_HINT})
    ]
    tables.write("hint_effects", rows, out)
    return {"rows": len(rows)}


def _row(
    dataset: str, hint: str, answers: pd.DataFrame, languages: Mapping[str, Mapping[str, str]], most: int, seed: int
) -> dict[str, Any]:
    """Return what one hint does in one set, of models that are right in the question's own language without it."""
    plain = crossed(answers[answers["hint"] == NO_HINT], SOURCE_RIGHT, dataset)
    with_hint = answers[answers["hint"] == hint]
    own = answers[(answers["hint"] == NO_HINT) & (answers["source_lang"] == answers["target_lang"])]
    told = crossed(pd.concat([own, with_hint], ignore_index=True), SOURCE_RIGHT, dataset)
    key = ["model", "question", "source", "target"]
    # Samples of one question are counted together: how often it is right with the hint, less how often without.
    before, after = (rows.groupby(key)["right"].mean() for rows in (plain, told))
    both = (after - before).dropna().rename("right").reset_index()
    if both.empty:
        raise InputError(f"{dataset}, hint {hint}", "no answer with it has one without it", "Ask both.")
    same = [
        languages[source]["script"] == languages[target]["script"]
        for source, target in zip(both["source"], both["target"], strict=True)
    ]
    cells = cells_of(both, dataset)
    others = predictors(cells.langs, cells.first, cells.second, languages, {}, None)
    of = term("same script", cells.langs, cells.first, cells.second, languages, others, cells.hub, most, seed)
    found = effect(cells, of)
    # What it does more in another script is what it does less in the same.
    turned = {"estimate": found.estimate, "lo": found.hi, "hi": found.lo}
    return {
        "dataset": dataset,
        "hint": hint,
        "same": both["right"][same].mean() if any(same) else None,
        "other": both["right"][[not x for x in same]].mean() if not all(same) else None,
        **{name: None if value is None else -value for name, value in turned.items()},
        "p": found.p,
        "labelings": found.labelings,
        "n_answers": len(both),
        "n_questions": cells.questions,
        "n_models": cells.models,
        "n_languages": len(cells.langs),
        "note": None if found.estimate is not None else "cannot be told from what else differs between the languages",
    }
