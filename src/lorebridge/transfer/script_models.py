"""Other models of the same answers, by statsmodels, beside the headline of :mod:`lorebridge.transfer.scripts`.

Each gives the average marginal effect of a term of pairs of languages: the mean over the answers of how probable a
right one is with the term and without, all else as it is.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import sparse, stats
from scipy.special import expit
from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM

from lorebridge.transfer.methods import GEE, LOGIT, MIXED, ROWS


@dataclasses.dataclass(frozen=True)
class Fitted:
    """An average marginal effect by some model, in shares; None where it cannot be fitted.

    Attributes:
        estimate, lo, hi, p: with an interval of 95 % and a two-sided test.
        note: why there is none, or what to know of it.
    """

    estimate: float | None
    lo: float | None
    hi: float | None
    p: float | None
    note: str = ""


def by_cell(rows: pd.DataFrame) -> pd.DataFrame:
    """Return ``model, source, target, n, right``, a row a model and pair of languages.

    Args:
        rows: as :func:`lorebridge.transfer.cells.crossed` returns them.
    """
    found = rows.groupby(["model", "source", "target"], observed=True)["right"].agg(["size", "sum"]).reset_index()
    return found.rename(columns={"size": "n", "sum": "right"})


def _dummies(values: pd.Series) -> np.ndarray:
    """Return a column for each value but the first."""
    return pd.get_dummies(values, drop_first=True).to_numpy(float)


def _independent(x: np.ndarray) -> np.ndarray:
    """Return the columns of a matrix that are not made up of those to the left of them."""
    scale = np.linalg.norm(x, axis=0)
    kept: list[int] = []
    basis = np.empty((len(x), 0))
    for column in range(x.shape[1]):
        left = x[:, column] - basis @ (basis.T @ x[:, column])
        left -= basis @ (basis.T @ left)
        if np.linalg.norm(left) > 1e-7 * max(scale[column], 1):
            kept.append(column)
            basis = np.column_stack([basis, left / np.linalg.norm(left)])
    return x[:, kept]


def _design(table: pd.DataFrame, values: np.ndarray, others: Mapping[str, np.ndarray], hub: str | None) -> np.ndarray:
    """Return columns of a cell or row: the term, a constant, models, languages or directions, and the others."""
    effects = [table["target"] == hub] if hub is not None else []
    columns = [values[:, None], np.ones((len(table), 1)), _dummies(table["model"])]
    if hub is None:
        columns += [_dummies(table["source"]), _dummies(table["target"])]
    columns += [np.asarray(effect, float)[:, None] for effect in effects]
    columns += [np.asarray(other, float)[:, None] for other in others.values()]
    x = np.hstack(columns)
    # The term last, so that it goes where nothing is left of it; then first again.
    rest = _independent(x[:, 1:])
    return np.hstack([x[:, :1], rest])


def marginal(
    beta: np.ndarray, covariance: np.ndarray, x: np.ndarray, weights: np.ndarray, freedom: float
) -> tuple[float, float, float, float]:
    """Return the average marginal effect of the first column, 0 or 1, of a logit: estimate, lo, hi, p.

    The error is by the delta method; where it is 0, as of answers that are all alike, p is NaN.

    Args:
        beta: [columns].
        covariance: [columns, columns] of `beta`.
        x: [rows, columns].
        weights: [rows].
        freedom: degrees of freedom of Student's t.
    """
    rest = x[:, 1:] @ beta[1:]
    on, off = expit(rest + beta[0]), expit(rest)
    w = weights / weights.sum()
    estimate = float(w @ (on - off))
    slopes = np.concatenate([[w @ (on * (1 - on))], x[:, 1:].T @ (w * (on * (1 - on) - off * (1 - off)))])
    error = float(np.sqrt(max(slopes @ covariance @ slopes, 0)))
    reach = stats.t.ppf(0.975, freedom) * error
    return (
        estimate,
        float(estimate - reach),
        float(estimate + reach),
        float(2 * stats.t.sf(abs(estimate) / error, freedom)) if error else math.nan,
    )


Values = Callable[[pd.DataFrame], tuple[np.ndarray, Mapping[str, np.ndarray]]]
"""Gives the term and the other predictors of each row of a table with ``source`` and ``target``."""


def _pairs(table: pd.DataFrame) -> np.ndarray:
    """Return a number for each two languages, whichever is the source."""
    both = [tuple(sorted(pair)) for pair in table[["source", "target"]].itertuples(index=False)]
    return pd.factorize(pd.Series(both))[0]


def logit(rows: pd.DataFrame, values: Values, hub: str | None) -> Fitted:
    """Return the effect by a logit of cells (model × source × target), errors clustered by two languages.

    Effects of models, sources and targets; of a star, of models and directions.
    """
    table = by_cell(rows)
    x = _design(table, *values(table), hub)
    groups = _pairs(table)
    found = sm.GLM(np.c_[table["right"], table["n"] - table["right"]], x, family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": groups}
    )
    return Fitted(*marginal(found.params, found.cov_params(), x, table["n"].to_numpy(float), groups.max()))


def gee(rows: pd.DataFrame, values: Values, hub: str | None) -> Fitted:
    """Return the effect by generalised estimating equations of the same cells.

    Cells of two languages are a cluster, exchangeable. The covariance is the sandwich times n / (n - k), of n clusters
    and k coefficients: statsmodels has none for few clusters with weights.
    """
    table = by_cell(rows)
    x = _design(table, *values(table), hub)
    groups = _pairs(table)
    order = np.argsort(groups, kind="stable")
    found = sm.GEE(
        (table["right"] / table["n"]).to_numpy()[order],
        x[order],
        groups[order],
        family=sm.families.Binomial(),
        cov_struct=sm.cov_struct.Exchangeable(),
        weights=table["n"].to_numpy(float)[order],
    ).fit()
    n = groups.max() + 1
    if n <= x.shape[1]:
        return Fitted(None, None, None, None, f"{n} clusters for {x.shape[1]} coefficients")
    few = n / (n - x.shape[1])
    return Fitted(*marginal(found.params, few * found.cov_params(), x, table["n"].to_numpy(float), n - 1))


def mixed(rows: pd.DataFrame, values: Values, hub: str | None) -> Fitted:
    """Return the effect by a mixed logit, fitted by variational Bayes (statsmodels' BinomialBayesMixedGLM).

    Random effects of questions, sources, targets and pairs; models are fixed. The interval is of the coefficient alone,
    and mean-field posteriors are too narrow: no test.
    """
    term, others = values(rows)
    fixed = _independent(
        np.column_stack([np.ones(len(rows)), _dummies(rows["model"]), *(np.asarray(o, float) for o in others.values())])
    )
    x = np.column_stack([term, fixed])
    parts = [rows["question"], rows["source"], rows["target"], rows["source"] + ">" + rows["target"]]
    columns = [_sparse(part) for part in parts]
    ident = np.repeat(np.arange(len(parts)), [part.shape[1] for part in columns])
    z = sparse.hstack(columns).tocsr()
    found = BinomialBayesMixedGLM(rows["right"].to_numpy(), x, z, ident, vcp_p=1, fe_p=3).fit_vb()
    beta, sd = found.fe_mean, float(found.fe_sd[0])
    rest = x[:, 1:] @ beta[1:] + z @ found.vc_mean

    def at(coefficient: float) -> float:
        return float((expit(rest + coefficient) - expit(rest)).mean())

    return Fitted(at(beta[0]), at(beta[0] - 1.96 * sd), at(beta[0] + 1.96 * sd), None, "interval too narrow")


def _sparse(values: pd.Series) -> Any:
    """Return a sparse matrix with a column for each value."""
    codes = pd.factorize(values)[0]
    return sparse.csr_matrix((np.ones(len(codes)), (np.arange(len(codes)), codes)))


def by_row(rows: pd.DataFrame, values: Values, hub: str | None) -> Fitted:
    """Return the effect by the obvious regression: a logit of rows with models and difficulty, clustered by question.

    The difficulty of a question is how often it is answered in other target languages. Errors know nothing of the
    languages, of which there are few: of no effect it finds one most of the time (docs/scripts.md).
    """
    term, others = values(rows)
    groups = rows.groupby("question")["right"]
    own = rows.groupby(["question", "target"])["right"]
    sums = groups.transform("sum") - own.transform("sum")
    counts = groups.transform("size") - own.transform("size")
    ease = (sums / counts.where(counts > 0)).fillna(rows["right"].mean()).to_numpy()
    beside = {name: other for name, other in others.items() if name in ("same script", "same family")}
    rest = _independent(np.column_stack([np.ones(len(rows)), _dummies(rows["model"]), ease, *beside.values()]))
    x = np.column_stack([term, rest])
    questions = pd.factorize(rows["question"])[0]
    found = sm.GLM(rows["right"].to_numpy(), x, family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": questions}
    )
    return Fitted(*marginal(found.params, found.cov_params(), x, np.ones(len(rows)), questions.max()))


MODELS: dict[str, Callable[[pd.DataFrame, Values, str | None], Fitted]] = {
    LOGIT: logit,
    GEE: gee,
    MIXED: mixed,
    ROWS: by_row,
}


def fitted(method: str, rows: pd.DataFrame, values: Values, hub: str | None) -> Fitted:
    """Return the effect by one of :data:`MODELS`; what it does not stand is said in the note, and is no error."""
    if np.ptp(values(rows)[0]) == 0:
        return Fitted(None, None, None, None, "the term does not vary")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = MODELS[method](rows, values, hub)
    except (np.linalg.LinAlgError, ValueError, FloatingPointError) as error:
        return Fitted(None, None, None, None, f"not fitted ({error})")
    numbers = [found.estimate, found.lo, found.hi]
    if any(value is not None and not np.isfinite(value) for value in numbers):
        return Fitted(None, None, None, None, "not fitted (it separates the answers)")
    return found
