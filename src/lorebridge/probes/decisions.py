"""From option scores to answers: which option a model prefers, what ties are worth, and what needs no model.

Everything here is derived from the ``scores`` and ``questions`` tables, so a rule can be changed without a model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from lorebridge.errors import InputError
from lorebridge.probes.questions import in_subset

RULES = ("mean", "sum", "bytes")
TIES = ("share", "reference")
DECISION = ["run", "arm", "seed", "step", "culture", "lang", "question_id"]


def rule_values(scores: pd.DataFrame, rule: str) -> np.ndarray:
    """Return what `rule` maximises, for each row of `scores`.

    ``mean`` is the log-probability per token of the filled sentence, context included: its maximum is the lowest
    mean cross-entropy, the rule of Zhang et al. (ACL 2025) as published in their ``src/main.py``. ``sum`` is the
    log-probability of the sentence, which ranks options as log p(option and what follows | what precedes) does, since
    what precedes the blank is the same for all of them. ``bytes`` is the log-probability per UTF-8 byte.

    Args:
        scores: columns ``sum_logprob`` (nats), ``n_tokens``, and ``n_bytes`` for the rule ``bytes``.
        rule: one of :data:`RULES`.

    Raises:
        ValueError: there is no rule of that name.
    """
    total = scores["sum_logprob"].to_numpy(np.float64)
    if rule == "mean":
        return total / scores["n_tokens"].to_numpy()
    if rule == "sum":
        return total
    if rule == "bytes":
        return total / scores["n_bytes"].to_numpy()
    raise ValueError(f"no rule {rule!r}; there are {', '.join(RULES)}")


def prediction_shares(values: np.ndarray, groups: np.ndarray, ties: str) -> np.ndarray:
    """Return each option's share of its question's prediction.

    With ``share``, the k best options of a question get 1/k each. With ``reference``, the first of the best gets 1,
    as in the published scorer: a stable ascending sort of a dictionary keyed by option text. (Equal texts have equal
    scores, so the first of them stands where the dictionary's key stands.)

    Args:
        values: [options] what the rule maximises; finite.
        groups: [options] question numbers 0, 1, ..., ascending; within a question the options stand as listed.
        ties: one of :data:`TIES`.

    Raises:
        ValueError: `ties` is unknown.
    """
    if ties not in TIES:
        raise ValueError(f"no way {ties!r} to treat ties; there are {', '.join(TIES)}")
    if not len(values):
        return np.zeros(0)
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    best = values == np.maximum.reduceat(values, starts)[groups]
    if ties == "share":
        return best / np.add.reduceat(best.astype(np.int64), starts)[groups]
    rows = np.flatnonzero(best)
    shares = np.zeros(len(values))
    shares[rows[np.unique(groups[rows], return_index=True)[1]]] = 1.0
    return shares


def accuracy(
    scores: pd.DataFrame, questions: pd.DataFrame, *, subset: str, rule: str = "mean", ties: str = "share"
) -> pd.DataFrame:
    """Return how far each question is answered rightly: one row per run, step, language and question.

    Args:
        scores: a ``scores`` table, of one run or several. Cultures that `questions` lacks are left out.
        questions: a ``questions`` table, of one culture or several.
        subset: the questions to keep, see :func:`lorebridge.probes.questions.build_questions`.
        rule: see :func:`rule_values`.
        ties: see :func:`prediction_shares`; a tie between the answer and k - 1 others is worth 1/k by default.

    Returns:
        Columns ``run, arm, seed, step, culture, lang, question_id, credit``, sorted; credit is in [0, 1]. A question
        whose answer is not among its options has credit 0.

    Raises:
        InputError: a culture that was scored lacks the score of some option.
        ValueError: unknown rule, ties or subset.
    """
    asked = in_subset(questions, subset)
    option = ["culture", "lang", "question_id", "option_index"]
    merged = scores.merge(asked[[*option, "is_gold"]], on=option, validate="many_to_one")
    expected = asked.groupby("culture").size()
    found = merged.drop_duplicates(["run", "step", *option]).groupby(["run", "step", "culture"], as_index=False)
    for run, step, culture, n in found.size().itertuples(index=False):
        if n != expected[culture]:
            raise InputError(
                f"scores of {run}, step {step}",
                f"{n} of the {expected[culture]} options of the {culture} questions",
                "Score the run again on these questions.",
            )
    merged = merged.sort_values([*DECISION, "option_index"], kind="stable", ignore_index=True)
    grouped = merged.groupby(DECISION, sort=False)
    shares = prediction_shares(rule_values(merged, rule), grouped.ngroup().to_numpy(), ties)
    credit = merged[DECISION].assign(credit=shares * merged["is_gold"].to_numpy())
    return credit.groupby(DECISION, sort=False, as_index=False).sum()


def summarise(
    credits: pd.DataFrame, by: Sequence[str] = ("run", "arm", "seed", "step", "culture", "lang"), level: float = 0.95
) -> pd.DataFrame:
    """Return the mean credit of each group with its Wilson interval.

    The interval is over questions as if they were drawn independently, for one given model: it says nothing of seeds.

    Args:
        credits: from :func:`accuracy`.
        by: columns that make the groups.
        level: of the interval.

    Returns:
        The columns `by`, then ``n_questions, accuracy, lo, hi``.
    """
    table = credits.groupby(list(by), as_index=False).agg(
        n_questions=("credit", "size"), accuracy=("credit", "mean"), total=("credit", "sum")
    )
    lo, hi = proportion_confint(table["total"], table["n_questions"], alpha=1 - level, method="wilson")
    return table.drop(columns="total").assign(lo=lo, hi=hi)


def baselines(questions: pd.DataFrame, *, subset: str) -> pd.DataFrame:
    """Return the accuracy of answers that need no model.

    ``chance`` picks an option at random; ``first_option`` always picks the first; ``longest_option`` the one with most
    characters (ties shared); ``majority_position`` always picks the place where the answer most often stands, which
    it learns from these same questions and so is an upper bound.

    Args:
        questions: a ``questions`` table, of one culture or several.
        subset: the questions to keep.

    Returns:
        Columns ``culture, lang, baseline, n_questions, accuracy``.

    Raises:
        ValueError: unknown subset.
    """
    question = ["culture", "lang", "question_id"]
    asked = in_subset(questions, subset).sort_values([*question, "option_index"], kind="stable", ignore_index=True)
    groups = asked.groupby(question, sort=False).ngroup().to_numpy()
    gold = asked["is_gold"].to_numpy(bool)
    position = asked["option_index"].to_numpy()
    asked = asked.assign(
        chance=gold / np.bincount(groups)[groups],
        first_option=gold & (position == 0),
        longest_option=gold * prediction_shares(asked["option"].str.len().to_numpy(np.float64), groups, "share"),
    )
    rows = []
    for (culture, lang), part in asked.groupby(["culture", "lang"]):
        n_questions = part["question_id"].nunique()
        right = {name: part[name].sum() for name in ("chance", "first_option", "longest_option")}
        right["majority_position"] = part.groupby("option_index")["is_gold"].sum().max()
        rows += [
            {
                "culture": culture,
                "lang": lang,
                "baseline": name,
                "n_questions": n_questions,
                "accuracy": float(total) / n_questions,
            }
            for name, total in right.items()
        ]
    return pd.DataFrame(rows)
