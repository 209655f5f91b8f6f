"""From option scores to answers: which option a model prefers, what ties are worth, and what needs no model.

Everything here is derived from the ``scores`` and ``questions`` tables, so a rule can be changed without a model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lorebridge.errors import InputError
from lorebridge.probes.questions import counted

RULES = ("mean", "sum", "bytes", "pmi", "prior")
TIES = ("share", "reference")
# What names a decision. A model that is given has no step, no arm and no seed: whoever groups by these keeps rows in
# which some are missing (``dropna=False``), or such a model would be lost without a word.
DECISION = ["run", "learned", "arm", "seed", "prefix", "step", "culture", "lang", "question_id"]


def rule_values(scores: pd.DataFrame, rule: str) -> np.ndarray:
    """Return what `rule` maximises, for each row of `scores`.

    ``mean`` is the log-probability per token of the filled sentence, context included: its maximum is the lowest
    mean cross-entropy, the rule of Zhang et al. (ACL 2025) as published in their ``src/main.py``. ``sum`` is the
    log-probability of the sentence, which ranks options as log p(option and what follows | what precedes) does, since
    what precedes the blank is the same for all of them. ``bytes`` is the log-probability per UTF-8 byte.

    ``pmi`` takes from the sum the log-probability of the option as a text of its own, so that an option is not
    preferred for being frequent: the domain-conditional pointwise mutual information of Holtzman et al. (EMNLP 2021,
    section 3), with the start of a document for the domain. ``prior`` is that log-probability itself, per token: what
    a model prefers whatever is asked.

    Args:
        scores: columns ``sum_logprob`` (nats), ``n_tokens``, ``n_bytes``, ``prior_logprob`` (nats) and
            ``prior_tokens``, as far as the rule needs them.
        rule: one of :data:`RULES`.

    Raises:
        ValueError: there is no rule of that name.
    """
    if rule == "prior":
        return (scores["prior_logprob"] / scores["prior_tokens"]).to_numpy(np.float64)
    total = scores["sum_logprob"].to_numpy(np.float64)
    if rule == "mean":
        return total / scores["n_tokens"].to_numpy()
    if rule == "sum":
        return total
    if rule == "bytes":
        return total / scores["n_bytes"].to_numpy()
    if rule == "pmi":
        return total - scores["prior_logprob"].to_numpy()
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
    """Return how far each question is answered rightly: one row per run, prefix, step, language and question.

    Args:
        scores: a ``scores`` table, of one run or several. Cultures that `questions` lacks are left out.
        questions: a ``questions`` table, of one culture or several.
        subset: the questions to keep, see :func:`lorebridge.probes.questions.build_questions`.
        rule: see :func:`rule_values`.
        ties: see :func:`prediction_shares`; a tie between the answer and k - 1 others is worth 1/k by default.

    Returns:
        The columns :data:`DECISION` and ``credit``, sorted; credit is in [0, 1]. A question whose answer is not among
        its options has credit 0.

    Raises:
        InputError: a culture that was scored lacks the score of some option.
        ValueError: unknown rule, ties or subset.
    """
    by_rule = credits_by_rule(scores, questions, subset=subset, rules=[rule], ties=ties)
    return by_rule.rename(columns={rule: "credit"})


def credits_by_rule(
    scores: pd.DataFrame, questions: pd.DataFrame, *, subset: str, rules: Sequence[str], ties: str = "share"
) -> pd.DataFrame:
    """Return how far each question is answered rightly by each of some rules: as :func:`accuracy`, a column a rule.

    Args:
        scores: a ``scores`` table, of one run or several.
        questions: a ``questions`` table, of one culture or several.
        subset: the questions to keep.
        rules: see :func:`rule_values`.
        ties: see :func:`prediction_shares`.

    Returns:
        The columns :data:`DECISION`, then `rules`, sorted.

    Raises:
        InputError: a culture that was scored lacks the score of some option.
        ValueError: unknown rule, ties or subset.
    """
    return credits_of(option_shares(scores, questions, subset=subset, rules=rules, ties=ties), rules)


def option_shares(
    scores: pd.DataFrame, questions: pd.DataFrame, *, subset: str, rules: Sequence[str], ties: str = "share"
) -> pd.DataFrame:
    """Return every option's share of the prediction: the credit that it would have if it were the answer.

    Args:
        scores: a ``scores`` table, of one run or several.
        questions: a ``questions`` table, of one culture or several.
        subset: the questions to keep.
        rules: see :func:`rule_values`.
        ties: see :func:`prediction_shares`.

    Returns:
        The columns :data:`DECISION`, ``option_index`` and ``is_gold``, then `rules`; a row an option, sorted.

    Raises:
        InputError, ValueError: as :func:`credits_by_rule`.
    """
    merged = _asked_scores(scores, questions, subset)
    number = merged.groupby(DECISION, sort=False, dropna=False).ngroup().to_numpy()
    table = merged[[*DECISION, "option_index", "is_gold"]].copy()
    for rule in rules:
        table[rule] = prediction_shares(rule_values(merged, rule), number, ties)
    return table


def credits_of(shares: pd.DataFrame, rules: Sequence[str]) -> pd.DataFrame:
    """Return the answers' shares from those of all options (:func:`option_shares`): as :func:`credits_by_rule`."""
    number = shares.groupby(DECISION, sort=False, dropna=False).ngroup().to_numpy()
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    gold = shares["is_gold"].to_numpy(bool)
    table = shares.loc[starts, DECISION].reset_index(drop=True)
    for rule in rules:
        credit = shares[rule].to_numpy() * gold
        table[rule] = np.add.reduceat(credit, starts) if len(starts) else credit
    return table


def _asked_scores(scores: pd.DataFrame, questions: pd.DataFrame, subset: str) -> pd.DataFrame:
    """Return the scores of the options of a subset with ``is_gold``, sorted by question and option.

    Raises:
        InputError: a culture that was scored lacks the score of some option.
        ValueError: unknown subset.
    """
    asked = counted(questions, subset)
    option = ["culture", "lang", "question_id", "option_index"]
    merged = scores.merge(asked[[*option, "is_gold"]], on=option, validate="many_to_one")
    expected = asked.groupby("culture").size()
    found = merged.drop_duplicates(["run", "prefix", "step", *option]).groupby(
        ["run", "prefix", "step", "culture"], as_index=False, dropna=False
    )
    for run, prefix, step, culture, n in found.size().itertuples(index=False):
        if n != expected[culture]:
            raise InputError(
                f"scores of {run}" + ("" if pd.isna(step) else f", step {step:g}"),
                f"{n} of the {expected[culture]} options of the {culture} questions behind the prefix {prefix!r}",
                "Score the run again on these questions.",
            )
    return merged.sort_values([*DECISION, "option_index"], kind="stable", ignore_index=True)


def histories(credits: pd.DataFrame) -> pd.DataFrame:
    """Return how the answer to each question went over a run's checkpoints.

    A question counts as right at a checkpoint when its credit is more than a half: the answer wins alone.

    Args:
        credits: from :func:`accuracy`.

    Returns:
        The columns :data:`DECISION` but the step; ``n_steps`` (checkpoints) and ``n_right`` of them;
        ``first_right``, the step of the first right answer, and ``right_since``, the first step of the unbroken row of
        right answers that ends at the last checkpoint (both missing where there is none, or no step); ``changes``, how
        often two checkpoints in a row differ.
    """
    key = [name for name in DECISION if name != "step"]
    table = credits.sort_values([*key, "step"], kind="stable", ignore_index=True)
    table["right"] = table["credit"] > 0.5
    groups = table.groupby(key, sort=False, dropna=False)
    before = groups["right"].shift()
    table["changed"] = before.notna() & (before != table["right"])
    # Right at this step and at all later ones.
    table["kept"] = table[::-1].groupby(key, sort=False, dropna=False)["right"].cummin()[::-1]
    keys = [table[name] for name in key]
    return pd.DataFrame(
        {
            "n_steps": groups.size(),
            "n_right": groups["right"].sum(),
            "first_right": table["step"].where(table["right"]).groupby(keys, sort=False, dropna=False).min(),
            "right_since": table["step"].where(table["kept"]).groupby(keys, sort=False, dropna=False).min(),
            "changes": table.groupby(key, sort=False, dropna=False)["changed"].sum(),
        }
    ).reset_index()


def consistency(
    scores: pd.DataFrame, questions: pd.DataFrame, *, subset: str, base: str, rule: str = "mean"
) -> pd.DataFrame:
    """Return how alike a model ranks the options of a question in its two languages, whether rightly or not.

    RankC of Qi et al. (EMNLP 2023, section 3): for each question, the overlap of the j best options in the two
    languages as a share of j, averaged over j with the weights softmax(N - j) of N options. Options are the same when
    they stand at the same place. Of tied options each is among the j best as often as if lots were drawn in each
    language.

    Args:
        scores: a ``scores`` table, of one run or several.
        questions: a ``questions`` table, of one culture or several.
        subset: the questions to keep.
        base: the language in which all cultures' questions are asked beside their own.
        rule: see :func:`rule_values`.

    Returns:
        Columns ``run, learned, arm, seed, prefix, step, culture, n_questions, rankc`` and ``chance``, which two
        unrelated rankings get.

    Raises:
        InputError: a culture that was scored lacks the score of some option.
        ValueError: unknown rule or subset.
    """
    merged = _asked_scores(scores, questions, subset)
    question = merged.groupby(DECISION, sort=False, dropna=False).ngroup().to_numpy()
    values = rule_values(merged, rule)
    starts = np.flatnonzero(np.diff(question, prepend=-1))
    sizes = np.diff(starts, append=len(merged))
    rows = []
    for n_options in np.unique(sizes):
        block = starts[sizes == n_options][:, None] + np.arange(n_options)
        first = merged.iloc[block[:, 0]]
        in_base = (first["lang"] == base).to_numpy()
        key = [name for name in DECISION if name != "lang"]
        place = pd.MultiIndex.from_frame(first.loc[~in_base, key]).get_indexer(
            pd.MultiIndex.from_frame(first.loc[in_base, key])
        )
        options = values[block]
        found = rank_consistency(options[in_base], options[~in_base][place])
        rows.append(first.loc[in_base, key].assign(rankc=found, chance=rankc_by_chance(int(n_options))))
    return (
        pd.concat(rows, ignore_index=True)
        .groupby(["run", "learned", "arm", "seed", "prefix", "step", "culture"], as_index=False, dropna=False)
        .agg(n_questions=("rankc", "size"), rankc=("rankc", "mean"), chance=("chance", "mean"))
    )


_TIED = 64  # questions with ties that are compared at a time


def rank_consistency(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return how alike the options of questions are ranked twice: RankC of Qi et al. (EMNLP 2023, section 3).

    Of tied options each is among the j best as often as if lots were drawn, in each ranking by itself.

    Args:
        one, other: [questions, options] what is ranked by, the highest first; the same options at the same places.

    Returns:
        [questions]
    """
    n = one.shape[1]
    # An overlap of 1 among the j best weighs softmax(n - j) / j.
    weights = _rankc_weights(n) / np.arange(1, n + 1)
    found = np.zeros(len(one))
    (worst, tied), (worst_other, tied_other) = (_ranks(values) for values in (one, other))
    plain = ~(tied | tied_other)
    # An option counts from the place on at which it is among the best of both.
    tail = np.cumsum(weights[::-1])[::-1]
    found[plain] = tail[np.maximum(worst[plain], worst_other[plain]) - 1].sum(axis=1)
    rows = np.flatnonzero(~plain)
    for start in range(0, len(rows), _TIED):
        some = rows[start : start + _TIED]
        both = _among(one[some]) * _among(other[some])
        found[some] = both.sum(axis=1) @ weights
    return found


def _rankc_weights(n: int) -> np.ndarray:
    """Return softmax(n - j), j from 1, [n]."""
    weights = np.exp(-np.arange(n))
    return weights / weights.sum()


def rankc_by_chance(n: int) -> float:
    """Return RankC of two unrelated rankings of `n` options, on average.

    >>> round(rankc_by_chance(2), 2), round(rankc_by_chance(10), 2)
    (0.63, 0.16)
    """
    return float(_rankc_weights(n) @ np.arange(1, n + 1)) / n


def _ranks(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rank of each option from 1, [questions, options], and whether a question has ties, [questions]."""
    order = np.argsort(-values, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(1, values.shape[1] + 1), order.shape), axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    return ranks, (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)


def _among(values: np.ndarray) -> np.ndarray:
    """Return the probability of each option to be among the j best, [questions, options, j]."""
    better = (values[:, None, :] > values[:, :, None]).sum(axis=2)
    equal = (values[:, None, :] == values[:, :, None]).sum(axis=2)
    return np.clip((np.arange(1, values.shape[1] + 1) - better[..., None]) / equal[..., None], 0, 1)


def summarise(
    credits: pd.DataFrame,
    by: Sequence[str] = ("run", "arm", "seed", "prefix", "step", "culture", "lang"),
    level: float = 0.95,
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
    from statsmodels.stats.proportion import proportion_confint  # all of scipy.stats, for whoever reads a table

    table = credits.groupby(list(by), as_index=False, dropna=False).agg(
        n_questions=("credit", "size"), accuracy=("credit", "mean"), total=("credit", "sum")
    )
    lo, hi = proportion_confint(table["total"], table["n_questions"], alpha=1 - level, method="wilson")
    return table.drop(columns="total").assign(lo=lo, hi=hi)


def baselines(questions: pd.DataFrame, *, subset: str) -> pd.DataFrame:
    """Return the accuracy of answers that need no model.

    ``chance`` picks an option at random; ``first_option`` always picks the first; ``longest_option`` the one with most
    characters (ties shared); ``copied_option`` one that the question itself contains, whatever its case (any of them,
    and any option at all where it contains none); ``majority_position`` always picks the place where the answer most
    often stands, which it learns from these same questions and so is an upper bound.

    Args:
        questions: a ``questions`` table, of one culture or several.
        subset: the questions to keep.

    Returns:
        Columns ``culture, lang, baseline, n_questions, accuracy``.

    Raises:
        ValueError: unknown subset.
    """
    question = ["culture", "lang", "question_id"]
    asked = counted(questions, subset).sort_values([*question, "option_index"], kind="stable")
    groups = asked.groupby(question, sort=False).ngroup().to_numpy()
    gold = asked["is_gold"].to_numpy(bool)
    position = asked["option_index"].to_numpy()
    contained = [
        float(option.casefold() in text.casefold()) for text, option in zip(asked["text"], asked["option"], strict=True)
    ]
    asked = asked.assign(
        chance=gold / np.bincount(groups)[groups],
        first_option=gold & (position == 0),
        longest_option=gold * prediction_shares(asked["option"].str.len().to_numpy(np.float64), groups, "share"),
        copied_option=gold * prediction_shares(np.array(contained), groups, "share"),
    )
    rows = []
    for (culture, lang), part in asked.groupby(["culture", "lang"]):
        n_questions = part["question_id"].nunique()
        right = {name: part[name].sum() for name in ("chance", "first_option", "longest_option", "copied_option")}
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
