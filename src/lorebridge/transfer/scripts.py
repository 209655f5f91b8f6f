"""Whether knowledge stays within a script: the average marginal effect of one script, and how sure it is.

The estimate is a linear probability model of an answer in another language, right or wrong, given that the model is
right in the question's own: effects of questions and of target languages, each by model, and what else is said of the
pair of languages. Inference deals out script labels over the languages anew, in all ways
(:mod:`lorebridge.transfer.labelings`). A language stands in many pairs and a pair in thousands of answers, so that
errors of rows, clustered by question or not, are those of another experiment; docs/scripts.md has the false positives.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.errors import InputError, said
from lorebridge.transfer.cells import ALL, LEAST, SOURCE_RIGHT, Cells, cells_of, crossed, inverse, predictors
from lorebridge.transfer.correlates import read_volumes
from lorebridge.transfer.distances import read_distances
from lorebridge.transfer.judged import NO_HINT
from lorebridge.transfer.labelings import ALONE, alike, labelings, numbered
from lorebridge.transfer.methods import CHEAP, LINEAR, MOST
from lorebridge.transfer.script_models import Values, fitted

TERMS = {"same script": "script", "same family": "family"}
"""What is estimated -> the label of a language that it compares."""
_NIL = 1e-9
"""Of what a predictor varies by, the share below which nothing is left of it."""


@dataclasses.dataclass(frozen=True)
class Term:
    """A predictor of pairs that labels of languages make, with what it is told apart from.

    Attributes:
        name: a key of :data:`TERMS`.
        values: [pairs], 0 or 1.
        others: name -> [pairs], the predictors beside it.
        dealt: [labelings, pairs], the values under each labeling, the real ones first.
    """

    name: str
    values: np.ndarray
    others: Mapping[str, np.ndarray]
    dealt: np.ndarray


def term(
    name: str,
    langs: Sequence[str],
    first: np.ndarray,
    second: np.ndarray,
    languages: Mapping[str, Mapping[str, str]],
    others: Mapping[str, np.ndarray],
    hub: str | None,
    most: int,
    seed: int,
) -> Term:
    """Return a predictor and its labelings.

    Where questions go from many languages to many, labels are dealt out over all of them. In a star a pair is a
    language, and its family goes with its script; so labels are dealt out within a family (of the term "same family":
    within a script), and each family has a level of its own.

    Args:
        name: a key of :data:`TERMS`.
        langs: codes.
        first, second: [pairs], places of the languages.
        languages: code -> ``script, family``.
        others: name -> [pairs], predictors beside those of :data:`TERMS`.
        hub: the language that is in every pair, or None.
        most, seed: see :func:`lorebridge.transfer.labelings.labelings`.
    """
    [held] = set(TERMS) - {name}
    told = {key: [languages[lang][label] for lang in langs] for key, label in TERMS.items()}
    numbers = numbered(told[name])
    if hub is None:
        beside = {held: alike(numbered(told[held]), first, second), **others}
        blocks: list[object] = [0] * len(langs)
    else:
        # But for the hub's own, labels make no pair.
        own = told[name][langs.index(hub)]
        numbers = np.array([0 if label == own else ALONE for label in told[name]])
        blocks = [("hub",) if lang == hub else (label,) for lang, label in zip(langs, told[held], strict=True)]
        leaf = np.where(first == langs.index(hub), second, first)
        beside = {
            f"{TERMS[held]} {label}": np.array([told[held][x] == label for x in leaf], float)
            for label in list(dict.fromkeys(told[held]))[1:]
        } | dict(others)
    dealt = alike(labelings(numbers, blocks, most, seed), first, second)
    return Term(name, dealt[0], beside, dealt)


@dataclasses.dataclass(frozen=True)
class Effect:
    """An average marginal effect, in shares.

    Attributes:
        estimate: None where nothing is left of the term beside the rest.
        lo, hi: what the test does not reject; None where it rejects nothing on that side.
        p: two-sided, over labelings.
        labelings: how many, those that differ from the rest's effects.
        vif: how many times larger the variance is because of all else in the model, effects of languages included.
        information: of each language, the share of the information that stands in pairs with it; together they are 2.
        weights: [pairs], the term with all else taken out of it.
    """

    estimate: float | None
    lo: float | None
    hi: float | None
    p: float | None
    labelings: int
    vif: float | None
    information: Mapping[str, float]
    weights: np.ndarray


def _projected(gram: np.ndarray, others: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return what takes other predictors out of sums over pairs: the matrix for `gram`, and that for moments."""
    if not others:
        return gram, np.eye(len(gram))
    z = np.stack(list(others.values()), axis=1)
    taken = gram @ z @ inverse(z.T @ gram @ z) @ z.T
    return gram - taken @ gram, np.eye(len(gram)) - taken


def effect(found: Cells, of: Term, level: float = 0.95) -> Effect:
    """Return the effect of a term by the linear model, with exact inference over its labelings.

    The statistic is the estimate over its standard error as that depends on the labeling, with which t is monotone. The
    interval holds the effects that the test does not reject, answers less the effect being what is dealt out; each
    labeling is as extreme as the real one between two effects, which a quadratic gives, so that none is searched.

    Args:
        found: answers by pair.
        of: the term.
        level: of the interval.
    """
    gram, moments = _projected(found.gram, of.others)
    moment = moments @ found.moment
    information = float(of.values @ gram @ of.values)
    spread = of.values - found.counts @ of.values / found.counts.sum()
    whole = float(found.counts @ spread**2)
    nothing = dict.fromkeys(found.langs, 0.0)
    if information <= _NIL * max(whole, 1):
        return Effect(None, None, None, None, 0, None, nothing, np.zeros_like(of.values))
    squares = np.einsum("np,np->n", of.dealt @ gram, of.dealt)
    kept = squares > _NIL * max(whole, 1)
    root = np.sqrt(squares[kept])
    statistic = of.dealt[kept] @ moment / root
    slope = of.dealt[kept] @ (gram @ of.values) / root
    real, steep = statistic[0], slope[0]
    estimate = real / steep
    # A labeling is as extreme for the effects b with |statistic - b slope| >= |real - b steep|.
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.stack([(real - statistic) / (steep - slope), (real + statistic) / (steep + slope)])
    same = [np.abs(steep - slope) <= _NIL * steep, np.abs(steep + slope) <= _NIL * steep]
    lower = np.where(same[0] | same[1], -np.inf, ends.min(axis=0))
    upper = np.where(same[0] | same[1], np.inf, ends.max(axis=0))
    rank = math.floor((1 - level) * len(root) + 1e-9)
    lo, hi = np.sort(lower)[rank], -np.sort(-upper)[rank]
    return Effect(
        estimate=float(estimate),
        lo=float(lo) if np.isfinite(lo) else None,
        hi=float(hi) if np.isfinite(hi) else None,
        p=float((np.abs(statistic) >= abs(real) * (1 - _NIL)).mean()),
        labelings=int(kept.sum()),
        vif=whole / information,
        information=_information(found, gram @ of.values / found.counts),
        weights=of.values - _fitted(found.gram, of),
    )


def _fitted(gram: np.ndarray, of: Term) -> np.ndarray:
    """Return what the other predictors tell of a term."""
    if not of.others:
        return np.zeros_like(of.values)
    z = np.stack(list(of.others.values()), axis=1)
    return z @ inverse(z.T @ gram @ z) @ (z.T @ gram @ of.values)


def _information(found: Cells, residual: np.ndarray) -> dict[str, float]:
    """Return the share of a term's information that stands in pairs with each language."""
    share = found.counts * residual**2
    share = share / share.sum()
    return {lang: float(share[(found.first == i) | (found.second == i)].sum()) for i, lang in enumerate(found.langs)}


def shapley(found: Cells, named: Mapping[str, np.ndarray]) -> Iterator[tuple[str, float, float, float]]:
    """Yield what each predictor explains of how pairs differ: (name, R² alone, R² last, Shapley's R²).

    R² is of the sums over pairs, effects of questions and languages taken out. Shapley's is the mean, over all orders
    in which predictors may enter, of what one adds (Lindeman, Merenda and Gold 1980); they add up to the R² of all.

    Args:
        found: answers by pair.
        named: name -> [pairs]; two to the power of their number regressions are made.
    """
    names = list(named)
    total = float(found.moment @ inverse(found.gram) @ found.moment)

    def explained(subset: tuple[str, ...]) -> float:
        if not subset or total <= 0:
            return 0.0
        z = np.stack([named[name] for name in subset], axis=1)
        m = z.T @ found.moment
        return float(m @ inverse(z.T @ found.gram @ z) @ m / total)

    subsets = [s for k in range(len(names) + 1) for s in itertools.combinations(names, k)]
    r2 = {frozenset(s): explained(s) for s in subsets}
    n = len(names)
    for name in names:
        gained = sum(
            math.factorial(len(s)) * math.factorial(n - len(s) - 1) / math.factorial(n) * (r2[s | {name}] - r2[s])
            for s in r2
            if name not in s
        )
        everything = frozenset(names)
        yield name, r2[frozenset([name])], r2[everything] - r2[everything - {name}], gained


def pair_sd(found: Cells, named: Mapping[str, np.ndarray]) -> float:
    """Return how much pairs of languages differ beyond what is known of them: a standard deviation, in shares.

    By moments: the sum of squares that predictors leave between pairs, less what answers make of it.

    Args:
        found: answers by pair.
        named: name -> [pairs].
    """
    x = np.stack(list(named.values()), axis=1)
    solved = inverse(x.T @ found.gram @ x)
    m = x.T @ found.moment
    left = float(found.moment @ inverse(found.gram) @ found.moment - m @ solved @ m)
    freedom = np.linalg.matrix_rank(found.gram, hermitian=True) - np.linalg.matrix_rank(x.T @ found.gram @ x)
    scale = float(np.trace(found.gram) - np.trace(solved @ x.T @ found.gram @ found.gram @ x))
    return math.sqrt(max(left - found.spread * freedom, 0) / scale) if scale > _NIL else 0.0


def detectable_effect_of_script(
    questions: pd.DataFrame,
    languages: Mapping[str, Mapping[str, str]],
    *,
    models: int,
    known: float,
    right: float,
    pair_sd: float,
    power: float = 0.8,
    alpha: float = 0.05,
) -> float | None:
    """Return the smallest effect of one script that the test finds, before any model is asked.

    Args:
        questions: ``question_id, source_lang, lang`` of one set, a row a wording.
        languages: code -> ``script, family``.
        models: that are to be asked.
        known: share of questions that a model has right in their own language, which alone count.
        right: share of these that it has right in another.
        pair_sd: how much pairs of languages differ beyond what is known of them (a column of the table
            "script_effects"); of a star, languages. However many questions and models, it stays.
        power, alpha: of the test.

    Returns:
        The effect, in shares; None where scripts cannot be told from families.

    Raises:
        InputError: a share that is not between 0 and 1, or fewer than three languages.
    """
    for what, share in (("known", known), ("right", right)):
        if not 0 < share < 1:
            raise InputError(what, f"is {share:g}, of which nothing can be learned", "Take one between 0 and 1.")
    answers = questions.rename(columns={"lang": "target_lang"}).assign(model="", sample=0, correct=True)
    found = cells_of(crossed(answers, ALL))
    others = predictors(found.langs, found.first, found.second, languages, {}, None)
    of = term("same script", found.langs, found.first, found.second, languages, others, found.hub, 0, 0)
    estimated = effect(found, of)
    if estimated.estimate is None:
        return None
    gram = models * known * found.gram
    d = estimated.weights
    information = d @ gram @ d
    variance = (pair_sd**2 * (d @ gram @ gram @ d) + right * (1 - right) * information) / information**2
    normal = NormalDist()
    return float((normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * math.sqrt(variance))


@dataclasses.dataclass(frozen=True)
class Regression:
    """What a table of judged answers says of scripts: rows of the tables of these names."""

    script_effects: list[dict[str, Any]]
    script_influence: list[dict[str, Any]]
    script_predictors: list[dict[str, Any]]


def regress(
    judged: pd.DataFrame,
    languages: Mapping[str, Mapping[str, str]],
    *,
    hint: str = NO_HINT,
    distances: Mapping[str, pd.DataFrame] | None = None,
    volumes: pd.DataFrame | None = None,
    methods: Sequence[str] = CHEAP,
    labelings: int = MOST,
    seed: int = 0,
) -> Regression:
    """Return the effects of one script and of one family, by every method, and what they rest on.

    Args:
        judged: rows of the table "judged"; each data set by itself.
        languages: code -> ``script, family``; more than there are do no harm.
        hint: which answers are taken.
        distances: name -> [languages, languages].
        volumes: ``lang`` and measures of languages.
        methods: of :data:`lorebridge.transfer.methods.PEERS`.
        labelings: up to which all are gone through; of more, so many are drawn.
        seed: of these draws.

    Raises:
        InputError: a language that is not known, no answer with this hint, several judges of one answer, or as
            :func:`lorebridge.transfer.cells.crossed`.
    """
    found = Regression([], [], [])
    of_hint = judged[judged["hint"] == hint]
    if of_hint.empty:
        has = ", ".join(sorted(judged["hint"].unique()))
        raise InputError(f"hint {hint}", "no answer has it", f"Choose one of: {has}.")
    judges = sorted(of_hint["judge"].unique())
    if of_hint.duplicated(["dataset", "model", "question_id", "target_lang", "sample"]).any():
        raise InputError(
            "column judge", f"answers have several verdicts ({', '.join(judges)})", "Keep the rows of one judge."
        )
    unknown = sorted({*of_hint["target_lang"], *of_hint["source_lang"].dropna()} - set(languages))
    if unknown:
        raise InputError(
            f"language {unknown[0]}", "its script and family are not known", "Name them, as for the other languages."
        )
    for dataset, answers in of_hint.groupby("dataset", sort=True):
        _one_set(found, str(dataset), answers, languages, distances or {}, volumes, methods, labelings, seed)
    return found


def _one_set(
    found: Regression,
    dataset: str,
    answers: pd.DataFrame,
    languages: Mapping[str, Mapping[str, str]],
    distances: Mapping[str, pd.DataFrame],
    volumes: pd.DataFrame | None,
    methods: Sequence[str],
    most: int,
    seed: int,
) -> None:
    """Add what one data set says."""

    def terms(of: Cells) -> dict[str, Term]:
        others = predictors(of.langs, of.first, of.second, languages, distances, volumes)
        return {
            name: term(name, of.langs, of.first, of.second, languages, others, of.hub, most, seed) for name in TERMS
        }

    for given in (SOURCE_RIGHT, ALL):
        rows = crossed(answers, given, dataset)
        whole = cells_of(rows, dataset)
        told = terms(whole)
        named = _varying(
            {name: of.values for name, of in told.items()}
            | predictors(whole.langs, whole.first, whole.second, languages, distances, volumes)
        )
        between = pair_sd(whole, named) if named else None

        def row(
            of: Cells, name: str, method: str, given: str = given, between: float | None = between
        ) -> dict[str, Any]:
            return {
                "dataset": dataset,
                "model": None,
                "given": given,
                "term": name,
                "method": method,
                "shape": of.shape,
                **dict.fromkeys(("estimate", "lo", "hi", "p")),
                "labelings": None,
                "vif": None,
                "pair_sd": between,
                "n_answers": int(of.counts.sum()),
                "n_questions": of.questions,
                "n_models": of.models,
                "n_languages": len(of.langs),
                "n_pairs": len(of.counts),
                "n_alike": None,
                "note": None,
            }

        for name, of in told.items():
            found.script_effects.append(row(whole, name, LINEAR) | _told(effect(whole, of), of))
        if given == ALL:
            continue
        for name, of in told.items():
            values = values_of(whole, of)
            for method in methods:
                peer = fitted(method, rows, values, whole.hub)
                numbers = {key: getattr(peer, key) for key in ("estimate", "lo", "hi", "p")}
                found.script_effects.append(row(whole, name, method) | numbers | {"note": peer.note or None})
        if whole.models > 1:
            for model, own in rows.groupby("model", sort=True):
                if not _enough(own):
                    note = f"its answers are in fewer than {LEAST} languages"
                    none = {"model": model, "n_answers": len(own), "n_models": 1, "pair_sd": None, "note": note}
                    found.script_effects.append(row(whole, "same script", LINEAR) | none)
                    continue
                part = cells_of(own)
                of = terms(part)["same script"]
                single = row(part, of.name, LINEAR) | _told(effect(part, of), of)
                found.script_effects.append(single | {"model": model, "pair_sd": None})
        found.script_influence.extend(_influence(dataset, rows, whole, told, terms))
        found.script_predictors.extend(_explained(dataset, whole, named))


def _told(found: Effect, of: Term) -> dict[str, Any]:
    """Return the columns of an effect."""
    numbers = {key: getattr(found, key) for key in ("estimate", "lo", "hi", "p", "labelings", "vif")}
    note = None
    if found.estimate is None:
        note = "cannot be told from what else differs between the languages"
    elif found.lo is None or found.hi is None:
        note = f"{found.labelings} labelings are too few for an interval of 95 %"
    return numbers | {"n_alike": int(of.values.sum()), "note": note}


def _enough(rows: pd.DataFrame) -> bool:
    """Return whether answers are in as many languages as a regression takes."""
    return len({*rows["source"], *rows["target"]}) >= LEAST


def _varying(named: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: values for name, values in named.items() if np.ptp(values) > 0}


def values_of(found: Cells, of: Term) -> Values:
    """Return what gives a term and the predictors beside it for the rows of a table."""
    place = {
        (found.langs[a], found.langs[b]): i for i, (a, b) in enumerate(zip(found.first, found.second, strict=True))
    }

    def values(table: pd.DataFrame) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        pair = np.array([place[pair] for pair in zip(table["source"], table["target"], strict=True)])
        return of.values[pair], {name: other[pair] for name, other in _varying(of.others).items()}

    return values


def _influence(
    dataset: str, rows: pd.DataFrame, whole: Cells, told: Mapping[str, Term], terms: Any
) -> Iterator[dict[str, Any]]:
    """Yield the effects without each language in turn, and how much of the information stands with it."""
    share = {name: effect(whole, of).information for name, of in told.items()}
    # Without the language that is in every pair nothing is left.
    for lang in (lang for lang in whole.langs if lang != whole.hub):
        left = rows[(rows["source"] != lang) & (rows["target"] != lang)]
        part = cells_of(left) if _enough(left) else None
        of_part = None if part is None else terms(part)
        for name in told:
            without = None if part is None or of_part is None else effect(part, of_part[name])
            yield {
                "dataset": dataset,
                "lang": lang,
                "term": name,
                "information": share[name][lang],
                **{key: None if without is None else getattr(without, key) for key in ("estimate", "lo", "hi", "p")},
                "n_answers": len(left),
            }


def _explained(dataset: str, found: Cells, named: Mapping[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    """Yield what each predictor explains, and how its variance is inflated by all others."""
    for name, alone, last, mean in shapley(found, named):
        others = {other: values for other, values in named.items() if other != name}
        values = named[name]
        information = float(values @ _projected(found.gram, others)[0] @ values)
        spread = values - found.counts @ values / found.counts.sum()
        around = float(found.counts @ spread**2)
        yield {
            "dataset": dataset,
            "predictor": name,
            "n_pairs": len(values),
            "r2_alone": alone,
            "r2_last": last,
            "r2_shapley": mean,
            "vif": around / information if information > _NIL * around else None,
        }


def read_languages(path: Path | str) -> dict[str, dict[str, str]]:
    """Return code -> ``script, family`` of a CSV file with ``lang``, ``script`` and ``family``.

    Raises:
        InputError: it cannot be read, or lacks a column or a value.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read ({said(error)})", "Give a CSV file.") from error
    for column in ("lang", "script", "family"):
        if column not in table:
            raise InputError(path, f"has no column {column!r}", f"It has: {', '.join(table.columns)}.")
        if (table[column].str.strip() == "").any():
            row = int((table[column].str.strip() == "").to_numpy().argmax()) + 1
            raise InputError(f"{path}, row {row}, column {column}", "is empty", "Fill it in.")
    return {row["lang"]: {"script": row["script"], "family": row["family"]} for row in table.to_dict("records")}


def shown(found: Regression) -> list[str]:
    """Return what a regression found as lines: effects in points, what they rest on, what predictors explain."""
    effects = pd.DataFrame(found.script_effects)
    lines = []
    for dataset, rows in effects.groupby("dataset", sort=False):
        first = rows.iloc[0]
        lines += [
            f"{dataset}: {first['n_answers']:,} answers of {first['n_models']} models that are right in the source, "
            f"{first['n_questions']:,} questions, {first['n_languages']} languages ({first['shape']}); two languages "
            f"differ by {100 * first['pair_sd']:.1f} points",
            f"  {'points':<18}{'answers':<18}{'method':<13}{'model':<16}{'estimate':>9}{'95 %':>16}{'p':>8}",
        ]
        for row in rows.to_dict("records"):
            name = "" if pd.isna(row["model"]) else str(row["model"])[:15]
            lines.append(
                f"  {row['term']:<17} {row['given']:<18}{row['method']:<13}{name:<16}{_points(row['estimate']):>9}"
                f"{_points(row['lo']) + ' to ' + _points(row['hi']):>16}"
                f"{'' if row['p'] is None or pd.isna(row['p']) else format(row['p'], '.3f'):>8}"
                + (f"  {row['note']}" if isinstance(row["note"], str) else "")
            )
        influence = pd.DataFrame(found.script_influence)
        own = influence[(influence["dataset"] == dataset) & (influence["term"] == "same script")]
        if own["estimate"].notna().any():
            own = own.sort_values("information", ascending=False, kind="stable").head(3)
            lines.append("  same script rests on (share of the information; effect without the language):")
            lines += [
                f"    {row['lang']}: {row['information']:.0%}; {_points(row['estimate'])} (p {row['p']:.3f})"
                for row in own.to_dict("records")
                if row["p"] is not None and not pd.isna(row["p"])
            ]
        for told in found.script_predictors:
            if told["dataset"] == dataset:
                vif = "none is left" if told["vif"] is None else f"{told['vif']:.1f}"
                lines.append(
                    f"  {told['predictor']}: explains {told['r2_shapley']:.1%} of how pairs differ (Shapley), "
                    f"{told['r2_alone']:.1%} alone; variance inflation {vif}"
                )
    return lines


def _points(value: float | None) -> str:
    return "–" if value is None or pd.isna(value) else f"{100 * value:+.1f}"


def script_power(
    *,
    questions: Sequence[Path],
    languages: Mapping[str, Mapping[str, str]],
    models: int,
    known: float,
    right: float,
    pair_sd: float,
    out: Path,
) -> None:
    """Write the table ``script_power``: what effect of one script sets of questions can show, before they are asked.

    Args:
        questions: tables "open_questions".
        languages, models, known, right, pair_sd: see :func:`detectable_effect_of_script`.
        out: the table to write.
    """
    said: dict[str, Any] = {"models": models, "known": known, "right": right, "pair_sd": pair_sd}
    rows = []
    for path in questions:
        table = tables.read(path, ["dataset", "question_id", "source_lang", "lang"])
        rows.append(
            {
                "dataset": table["dataset"].iloc[0],
                "n_questions": table["question_id"].nunique(),
                "n_languages": table["lang"].nunique(),
                **said,
                "effect": detectable_effect_of_script(table, languages, **said),
            }
        )
    tables.write("script_power", rows, out)


def script_effects(
    *,
    judged: Path,
    languages: Mapping[str, Mapping[str, str]],
    hint: str,
    methods: Sequence[str],
    labelings: int,
    seed: int,
    out: Path,
    influence_out: Path,
    predictors_out: Path,
    distances: Path | str | None = None,
    distance_columns: Sequence[str] = (),
    volumes: Path | str | None = None,
    volume_columns: Sequence[str] = (),
) -> None:
    """Write what judged answers say of scripts: ``script_effects``, ``script_influence``, ``script_predictors``.

    Args:
        judged: the table "judged".
        languages, hint, methods, labelings, seed: see :func:`regress`.
        out, influence_out, predictors_out: the tables to write.
        distances, volumes: CSV files of pairs of languages and of languages, or None.
        distance_columns, volume_columns: of these, the measures that are taken.

    Raises:
        InputError: as :func:`regress`, or a file is not as it should be.
    """
    found = regress(
        tables.read(judged),
        languages,
        hint=hint,
        distances=None if distances is None else read_distances(distances, distance_columns),
        volumes=None if volumes is None else read_volumes(volumes, volume_columns),
        methods=methods,
        labelings=labelings,
        seed=seed,
    )
    for name, path in (
        ("script_effects", out),
        ("script_influence", influence_out),
        ("script_predictors", predictors_out),
    ):
        tables.write(name, getattr(found, name), path)
