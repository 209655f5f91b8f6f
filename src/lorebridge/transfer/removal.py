"""What removing pages from one language does to the answers in each: differences, and whether they are none.

At level ``f0`` a model read all; at another, pages were taken from the text of one language, and from no other. Every
model is asked the same questions, and what a level differs by from ``f0`` is a mean of differences, question by
question and seed by seed. The experiment is one of nulls (Yang et al., paper 002, Tables 2 to 4: "no pattern"), and a
difference that is not told from 0 is no null: each has two one-sided tests beside it, of lying within a margin that is
stated beforehand (Schuirmann 1987; Lakens 2017).

Questions of one page are one cluster: pages are what is removed, so that what is done to one question is done to all of
its page (Abadie et al. 2023), and these share what the page says. Questions without a page, of facts that no text
states, go together where their answers are equal: a model that has come to give an answer gives it to all of them.

Beside the differences to ``f0`` stand two others. The splits ``test - neither`` say at each level how much more often
questions are right whose fact the base language states than such as no text states: in the target language, where all
that states them is gone, that is what crosses. The splits ``test - both`` say how much more a level takes from the
test than from facts that all levels state in both languages.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.corpora.qa_tasks import MCQ
from lorebridge.errors import InputError
from lorebridge.tokens.levels import BOTH, LEVELS, NEITHER, NOTHING, TEST
from lorebridge.transfer.clusters import ClusterBootstrap
from lorebridge.transfer.correlates import correlation
from lorebridge.transfer.inference import (
    QUESTIONS_AND_SEEDS,
    QUESTIONS_ONLY,
    Parts,
    Sample,
    few_clusters,
    holm_exclusive,
    infer,
    notes,
    of_seeds,
    one_sided,
)
from lorebridge.transfer.verdicts import ABOVE, BELOW, EQUIVALENT, UNDECIDED

AGAIN = "again"
"""The level of models that read what those of ``f0`` read, in another order and from other weights: A/A."""
ORDER = (*LEVELS, AGAIN)
UNTUNED = "none"
EVERY, NO_OVERLAP = "all", "no overlap"
"""Which questions: all, or those whose answer is that of no question that models are tuned on."""
GENERATED = "generated"
LETTERS = ("em_strict", "f1_strict", "em_folded", "f1_folded")
CROSSES, BEYOND = f"{TEST} - {NEITHER}", f"{TEST} - {BOTH}"
OVER_MODELS = "all"
"""In place of a level: one number a model, over all models of a tuning set."""

_GROUP = ["size", "tuned", "task", "rule"]
_ASKED = ["lang", "split", "question_id"]
_FAMILY = [*_GROUP, "split", "metric", "questions", "scope"]


def metrics_of(task: str, rule: str) -> tuple[str, ...]:
    """Return what an answer is measured by: its letters, or whether the option is right.

    >>> metrics_of("mcq", "generated"), metrics_of("open", "texts"), metrics_of("open", "generated")[:2]
    (('correct',), ('correct',), ('em_strict', 'f1_strict'))
    """
    return LETTERS if rule == GENERATED and task != MCQ else ("correct",)


def page_clusters(qa: pd.DataFrame, base: str) -> pd.Series:
    """Return what each question goes together with: question_id -> its page, or without a page its answer.

    Args:
        qa: rows of the table ``qa``.
        base: the language whose answer counts.
    """
    first = qa.sort_values("lang", key=lambda lang: lang != base, kind="stable").drop_duplicates("question_id")
    answers = first["answers"].map(lambda given: " ".join(str(given[0]).casefold().split()))
    names = ("page: " + first["page_id"]).where(first["page_id"].notna(), "answer: " + answers)
    return pd.Series(names.to_numpy(), index=pd.Index(first["question_id"], name="question_id"), name="cluster")


@dataclasses.dataclass(frozen=True)
class Answers:
    """What models of one size and tuning answer in one language to the questions of one split, by one metric.

    Attributes:
        questions: question_id, shape (n,).
        clusters: number of each question's cluster, shape (n,).
        values: level -> how right each seed's model is, shape (seeds, n).
        seeds: level -> the seeds.
    """

    questions: np.ndarray
    clusters: np.ndarray
    values: Mapping[str, np.ndarray]
    seeds: Mapping[str, Sequence[int]]

    def only(self, kept: np.ndarray) -> Answers:
        """Return the same of some questions, `kept` of shape (n,)."""
        values = {level: of[:, kept] for level, of in self.values.items()}
        return Answers(self.questions[kept], self.clusters[kept], values, self.seeds)

    def sample(self, level: str) -> Sample:
        """Return the answers at a level."""
        return Sample(self.values[level], self.clusters, list(self.seeds[level]), (0.0, 1.0))

    def difference(self, level: str) -> Sample | None:
        """Return the differences of a level to ``f0``, seed by seed; None where no seed is of both.

        Models of an A/A control that were given other numbers of seeds are paired in their order: no seed of theirs is
        one of ``f0``.
        """
        first, second = list(self.seeds[level]), list(self.seeds[NOTHING])
        pairs = [(first.index(seed), second.index(seed), seed) for seed in first if seed in second]
        if level == AGAIN and not pairs:
            pairs = [(at, at, seed) for at, seed in enumerate(second[: len(first)])]
        if not pairs:
            return None
        mine, theirs, seeds = (list(column) for column in zip(*pairs, strict=True))
        values = self.values[level][mine] - self.values[NOTHING][theirs]
        return Sample(values, self.clusters, seeds, (-1.0, 1.0))


Key = tuple[str | None, str, str, str]
"""Size, tuning set, task and rule."""


class Read:
    """All that models answered, as it is compared.

    Attributes:
        groups: (size, tuned, task, rule) -> metric -> (lang, split) -> the answers.
        overlaps: (question_id, lang) of questions whose answer models are tuned on; None where that is not known.
    """

    def __init__(
        self,
        scores: Sequence[Path],
        models: Sequence[Mapping[str, Any]],
        qa: Path,
        base: str,
        overlap: Path | None = None,
    ) -> None:
        """Read the tables.

        Raises:
            InputError: a model has no answers, or not those to the questions of the others; a question is not of `qa`;
                or there is no model of level ``f0`` to compare with.
        """
        clusters = page_clusters(tables.read(qa, ["question_id", "lang", "page_id", "answers"]), base)
        table = _joined(scores, models)
        unknown = sorted(set(table["question_id"]) - set(clusters.index))
        if unknown:
            raise InputError(qa, f"lacks {len(unknown)} questions that models answered ({unknown[0]})", "Ask again.")
        self.groups: dict[Key, dict[str, dict[tuple[str, str], Answers]]] = {}
        for names, frame in table.groupby(_GROUP, sort=False, dropna=False):
            size, tuned, task, rule = (name if isinstance(name, str) else "" for name in names)
            self.groups[size or None, tuned, task, rule] = _answers(
                frame, metrics_of(task, rule), clusters, f"{tuned}, {task}, {rule}"
            )
        self.overlaps: set[tuple[str, str]] | None = None
        if overlap is not None:
            found = tables.read(overlap, ["question_id", "lang", "overlaps"])
            found = found[found["overlaps"]]
            self.overlaps = set(zip(found["question_id"], found["lang"], strict=True))

    def subsets(self, answers: Answers, lang: str) -> Iterator[tuple[str, np.ndarray]]:
        """Yield which questions are taken, by name, and which of the answers these are, shape (n,)."""
        every = np.ones(len(answers.questions), bool)
        yield EVERY, every
        if self.overlaps is not None:
            yield NO_OVERLAP, np.array([(name, lang) not in self.overlaps for name in answers.questions], bool)


def _joined(scores: Sequence[Path], models: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return all answers of the models that are compared, with what each model is."""
    found = pd.concat([tables.read(path) for path in scores], ignore_index=True)
    named = pd.DataFrame(
        {
            "at": np.arange(len(models)),
            "model": [row["run"] for row in models],
            "number": [-1 if row.get("step") is None else int(row["step"]) for row in models],
            **{key: [row.get(key) for row in models] for key in ("size", "level", "seed")},
            "tuned": [row.get("tuned") or UNTUNED for row in models],
        }
    )
    found["number"] = found["step"].fillna(-1).astype(int)
    table = named.merge(found, on=["model", "number"], how="inner")
    for row in named[~named["at"].isin(table["at"])].to_dict("records"):
        step = "" if row["number"] < 0 else f" at step {row['number']}"
        raise InputError(
            ", ".join(map(str, scores[:1])), f"has no answer of {row['model']}{step}", "Ask it as the others."
        )
    return table


def _answers(
    frame: pd.DataFrame, metrics: Sequence[str], clusters: pd.Series, where: str
) -> dict[str, dict[tuple[str, str], Answers]]:
    """Return metric -> (lang, split) -> the answers of all levels, of models that were all asked the same."""
    models = frame.drop_duplicates("at").sort_values(["seed", "at"], kind="stable")
    at: dict[str, list[int]] = {level: [] for level in sorted(models["level"].unique(), key=_place)}
    seeds: dict[str, list[int]] = {level: [] for level in at}
    for row in models[["level", "seed", "at"]].to_dict("records"):
        if row["seed"] in seeds[row["level"]]:
            continue  # untuned, as the start of a second tuning set of this task
        at[row["level"]].append(int(row["at"]))
        seeds[row["level"]].append(int(row["seed"]))
    if NOTHING not in at:
        raise InputError(where, f"has no model of level {NOTHING}", "Ask one, or leave the others out.")
    found: dict[str, dict[tuple[str, str], Answers]] = {metric: {} for metric in metrics}
    for names, rows in frame.groupby(["lang", "split"], sort=True):
        lang, split = map(str, names)
        wide = rows.set_index(["question_id", "at"])[list(metrics)].unstack("at")
        lacking = np.isnan(wide.to_numpy(np.float64)).any(axis=1)
        if lacking.any() or len(wide.columns) < len(metrics) * len(models):
            missing = wide.index[lacking]
            what = (
                f"not all models answered {missing[0] if len(missing) else 'questions'} of the split {split} in {lang}"
            )
            raise InputError(where, what, "Ask all of them the same questions.")
        questions = wide.index.to_numpy()
        codes = pd.factorize(clusters.reindex(questions).to_numpy())[0].astype(np.int64)
        for metric in metrics:
            of = wide[metric]
            values = {level: of[at[level]].to_numpy(np.float64).T for level in at}
            found[metric][lang, split] = Answers(questions, codes, values, seeds)
    return found


def _place(level: str) -> tuple[int, str]:
    return (ORDER.index(level) if level in ORDER else len(ORDER), level)


def equivalences(
    *,
    scores: Sequence[Path],
    models: Sequence[Mapping[str, Any]],
    qa: Path,
    overlap: Path | None,
    base: str,
    margin: Mapping[str, float],
    alpha: float,
    out: Path,
) -> dict[str, Any]:
    """Write the table ``equivalence``: what levels differ by, with a test of any difference and one of none.

    A family is the levels and the languages of one split, metric, tuning set and task; the A/A control, which tests
    nothing that is claimed, is one of its own. Of each both hypotheses count, by Holm's method with what is known of
    them (:func:`lorebridge.transfer.inference.holm_exclusive`). What is within the margin is called equivalent also
    where it is told from 0.

    By simulation, intervals of 95 % cover 94 to 95 %, and of a difference as large as the margin one test at 5 % claims
    equivalence in 7 % of studies of 40 pages, and in 6 % of 100 (three questions a page, a difference of 15 points that
    most discordant pages have in common): Student's t is a little too sure where differences are all on one side.

    Args:
        scores: tables ``qa_scores``.
        models: rows with ``run``, ``step`` (None of a given model), ``level``, ``seed``, ``tuned`` (None where it is
            not) and perhaps ``size``: which answers are compared.
        qa: the table ``qa``.
        overlap: the table ``qa_overlap``; None for no results without answers that models are tuned on.
        base: the base language.
        margin: metric -> the smallest difference of interest, in 0..1; of others nothing is tested.
        alpha: of each family.
        out: the table to write.

    Returns:
        Notes for the record: ``verdicts``, how many there are of each on the test, over all questions.

    Raises:
        InputError: as :class:`Read`; or a level has no seed in common with ``f0``.
    """
    read = Read(scores, models, qa, base, overlap)
    rows: list[dict[str, Any]] = []
    for key, by_metric in read.groups.items():
        for metric, answers in by_metric.items():
            if metric in margin:
                said = {**dict(zip(_GROUP, key, strict=True)), "metric": metric, "margin": margin[metric]}
                rows += _compared(read, answers, said, alpha)
    table = judged(pd.DataFrame(rows, columns=tables.SCHEMAS["equivalence"].names), alpha)
    tables.write("equivalence", table, out)
    shown = table[(table["split"] == TEST) & (table["questions"] == EVERY) & (table["scope"] == QUESTIONS_ONLY)]
    return {"verdicts": {str(name): int(n) for name, n in shown["verdict"].value_counts().sort_index().items()}}


def _compared(
    read: Read, answers: Mapping[tuple[str, str], Answers], said: Mapping[str, Any], alpha: float
) -> Iterator[dict[str, Any]]:
    """Yield the rows of all differences by one metric, p-values not yet those of families."""
    last: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for lang, split, contrast, parts_of in _differences(answers):
        of = {"lang": lang, "split": split, "contrast": contrast}
        for questions, parts, whole in parts_of(read):
            # Where no answer is one of tuning, the same rows under another name.
            key = (lang, split, contrast)
            found = last[key] if whole and key in last else _rows(parts, said["margin"], alpha)
            last[key] = found
            yield from ({**said, **of, "questions": questions, **row} for row in found)


Given = Callable[["Read"], Iterator[tuple[str, Parts, bool]]]
"""What yields the parts of a difference by which questions are taken, and whether these are all."""


def _differences(answers: Mapping[tuple[str, str], Answers]) -> Iterator[tuple[str, str, str, Given]]:
    """Yield language, splits, contrast, and what gives the parts of it by which questions are taken."""
    for (lang, split), of in answers.items():
        for level in of.values:
            if level != NOTHING:
                yield lang, split, f"{level} - {NOTHING}", _parts(lang, [(of, 1.0)], level, True)
    for (lang, split), of in answers.items():
        if split != TEST:
            continue
        for level in of.values:
            if (lang, NEITHER) in answers:
                nowhere = answers[lang, NEITHER]
                yield lang, CROSSES, level, _parts(lang, [(of, 1.0), (nowhere, -1.0)], level, False)
            if (lang, BOTH) in answers and level != NOTHING:
                both = answers[lang, BOTH]
                yield lang, BEYOND, f"{level} - {NOTHING}", _parts(lang, [(of, 1.0), (both, -1.0)], level, True)


def _parts(lang: str, weighted: Sequence[tuple[Answers, float]], level: str, paired: bool) -> Given:
    def found(read: Read) -> Iterator[tuple[str, Parts, bool]]:
        subsets = [list(read.subsets(answers, lang)) for answers, _ in weighted]
        for together in zip(*subsets, strict=True):
            parts: list[tuple[Sample, float]] = []
            for (answers, weight), (_, kept) in zip(weighted, together, strict=True):
                some = answers.only(kept)
                sample = some.difference(level) if paired else some.sample(level)
                if sample is None:
                    raise InputError(
                        f"models of level {level}",
                        f"have no seed in common with those of {NOTHING}",
                        "Train both from one seed.",
                    )
                parts.append((sample, weight))
            yield together[0][0], parts, all(kept.all() for _, kept in together)

    return found


def _rows(parts: Parts, margin: float, alpha: float) -> list[dict[str, Any]]:
    """Return the row of a difference given these models, and where there are seeds that over seeds."""
    samples, weights = [sample for sample, _ in parts], [weight for _, weight in parts]
    seeds = len(samples[0].seeds)
    rows = []
    nothing = any(not sample.values.shape[1] for sample in samples)
    for over in (False, True)[: 1 + (seeds > 1)]:
        row: dict[str, Any] = {
            "scope": QUESTIONS_AND_SEEDS if over else QUESTIONS_ONLY,
            "n_questions": sum(sample.values.shape[1] for sample in samples),
            "n_clusters": sum(sample.n_clusters for sample in samples),
            "n_seeds": seeds,
        }
        if nothing:
            rows.append({**row, "note": "no question is left"})
            continue
        found = infer(samples, weights, over_seeds=over, level=1 - alpha)
        lower, upper = one_sided(samples, weights, margin=margin, over_seeds=over)
        one = "questions are one cluster: no interval" if np.isnan(found.p) else ""
        rows.append(
            {
                **row,
                **{end: getattr(found, end) for end in ("estimate", "lo", "hi", "p")},
                "p_lower": lower,
                "p_upper": upper,
                "p_equivalent": float(np.max([lower, upper])),
                "note": notes(one, of_seeds(seeds) if over else "", few_clusters(samples, weights)),
            }
        )
    return rows


def judged(table: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Return rows of table ``equivalence`` with p-values of their families, and verdicts.

    Args:
        table: with ``p`` and ``p_equivalent``, NaN where nothing was tested.
        alpha: of a family.
    """
    table = table.reset_index(drop=True)
    control = table["contrast"].str.startswith(f"{AGAIN} ") | (table["contrast"] == AGAIN)
    number = table.assign(control=control).groupby([*_FAMILY, "control"], sort=False, dropna=False).ngroup()
    for of in range(int(number.max()) + 1 if len(table) else 0):
        rows = table.index[number == of]
        first, second = holm_exclusive(
            table.loc[rows, "p"].astype(float), table.loc[rows, "p_equivalent"].astype(float)
        )
        table.loc[rows, "p_family"], table.loc[rows, "p_equivalent_family"] = first, second
    different, within = table["p_family"] <= alpha, table["p_equivalent_family"] <= alpha
    side = np.where(table["estimate"].astype(float) > 0, ABOVE, BELOW)
    table["verdict"] = np.where(within, EQUIVALENT, np.where(different, side, UNDECIDED))
    there = np.where(within & different, [f"{where} 0, by less than the margin" for where in side], "").tolist()
    table["note"] = [notes(*said) for said in zip(there, table["note"].fillna(""), strict=True)]
    return table


def accuracies(
    *,
    scores: Sequence[Path],
    models: Sequence[Mapping[str, Any]],
    qa: Path,
    overlap: Path | None,
    base: str,
    resamples: int,
    seed: int,
    out: Path,
) -> None:
    """Write the table ``qa_accuracy``: how right the models of each level are, with intervals.

    The mean over questions and seeds, its interval of 95 % by a bootstrap of clusters of questions given these models
    (:class:`lorebridge.transfer.clusters.ClusterBootstrap`), the same draws at all levels.

    Args:
        scores, models, qa, overlap, base: see :func:`equivalences`.
        resamples: of the bootstrap.
        seed: of the draws.
        out: the table to write.

    Raises:
        InputError: as :class:`Read`.
    """
    read = Read(scores, models, qa, base, overlap)
    rows = []
    drawn: dict[tuple[str, str, bytes], ClusterBootstrap] = {}
    for key, by_metric in read.groups.items():
        for metric, answers in by_metric.items():
            for (lang, split), of in answers.items():
                for questions, kept in read.subsets(of, lang):
                    some = of.only(kept)
                    said = {**dict(zip(_GROUP, key, strict=True)), "metric": metric, "lang": lang, "split": split}
                    means = np.stack([values.mean(axis=0) for values in some.values.values()])
                    lo = hi = np.full(len(means), np.nan)
                    if kept.any():
                        name = (lang, split, some.questions.astype(str).tobytes())
                        if name not in drawn:
                            stream = f"{lang} {split}"
                            drawn[name] = ClusterBootstrap(some.clusters, resamples=resamples, seed=seed, stream=stream)
                        lo, hi = drawn[name].interval(means, bounds=(0.0, 1.0))
                    for at, level in enumerate(some.values):
                        rows.append(
                            {
                                **said,
                                "level": level,
                                "questions": questions,
                                "n_questions": int(kept.sum()),
                                "n_clusters": len(np.unique(some.clusters)),
                                "n_seeds": len(some.seeds[level]),
                                "value": float(means[at].mean()) if kept.any() else np.nan,
                                "lo": float(lo[at]),
                                "hi": float(hi[at]),
                            }
                        )
    tables.write("qa_accuracy", rows, out)


def correlations(
    *,
    scores: Sequence[Path],
    models: Sequence[Mapping[str, Any]],
    qa: Path,
    base: str,
    target: str,
    resamples: int,
    seed: int,
    out: Path,
) -> None:
    """Write the table ``qa_correlation``: how answers in the two languages go together.

    At a level: Pearson's correlation over questions of being right in one language and in the other, within each model
    and averaged over seeds, with percentiles of a bootstrap of clusters of questions. A question that is easy in both
    makes it positive where nothing crosses. In place of a level :data:`OVER_MODELS`: over models, of how right each is
    in either language on average, with Fisher's interval
    (:func:`lorebridge.transfer.correlates.correlation`); models of one seed are no independent draws.

    Args:
        scores, models, qa, base: see :func:`equivalences`.
        target: the other language.
        resamples: of the bootstrap.
        seed: of the draws.
        out: the table to write.

    Raises:
        InputError: as :class:`Read`.
    """
    read = Read(scores, models, qa, base)
    rows = []
    for key, by_metric in read.groups.items():
        for metric, answers in by_metric.items():
            for split in [split for lang, split in answers if lang == base and (target, split) in answers]:
                said = {**dict(zip(_GROUP, key, strict=True)), "metric": metric, "split": split}
                first, second = answers[base, split], answers[target, split]
                kept = np.isin(first.questions, second.questions)
                first = first.only(kept)
                second = second.only(np.isin(second.questions, first.questions))  # both by question_id
                if not len(first.questions):
                    continue
                bootstrap = ClusterBootstrap(first.clusters, resamples=resamples, seed=seed, stream=split)
                for level in first.values:
                    told = over_questions(first.values[level], second.values[level], bootstrap)
                    rows.append({**said, "level": level, "n": len(first.questions), **told})
                x, y = (
                    np.concatenate([values.mean(axis=1) for values in of.values.values()]) for of in (first, second)
                )
                found = correlation(x, y, "pearson")
                note = "over models, which have seeds in common" if found["r"] is not None else "models do not differ"
                if found["n"] < 4:
                    note = "fewer than four models"
                del found["p"]
                rows.append({**said, "level": OVER_MODELS, **found, "note": note})
    tables.write("qa_correlation", rows, out)


def over_questions(first: np.ndarray, second: np.ndarray, bootstrap: ClusterBootstrap) -> dict[str, Any]:
    """Return the correlation over questions of what models are right in, averaged over the models, with an interval.

    Args:
        first: values in one language, shape (seeds, n questions).
        second: in the other, same shape.
        bootstrap: of these questions.

    Returns:
        ``r, lo, hi, note``; None where all answers of every model are alike in a language.
    """
    moments = np.stack([first, second, first * second, first**2, second**2])
    told = _correlated(moments.mean(axis=-1)[..., None])
    varies = ~np.isnan(told[:, 0])
    if not varies.any():
        return {"r": None, "lo": None, "hi": None, "note": "in one language all answers are alike"}
    drawn = _correlated(bootstrap.ratio(moments[:, varies], np.ones(moments[:, varies].shape)))
    some = ~np.isnan(drawn)
    means = np.where(some, drawn, 0).sum(axis=0) / np.maximum(some.sum(axis=0), 1)
    means = means[some.any(axis=0)]
    alike = bootstrap.n_clusters < 2 or np.ptp(means) <= 1e-12
    lo, hi = (None, None) if alike else (float(end) for end in np.quantile(means, [0.025, 0.975]))
    few = "" if varies.all() else f"of {varies.sum()} of {len(varies)} models: the others' answers are all alike"
    return {"r": float(told[varies, 0].mean()), "lo": lo, "hi": hi, "note": few}


def _correlated(moments: np.ndarray) -> np.ndarray:
    """Return Pearson's r from means of x, y, xy, x^2 and y^2, shape (5, ...); NaN where one does not vary."""
    x, y, xy, xx, yy = moments
    spread = (xx - x**2) * (yy - y**2)
    known = (xx - x**2 > 1e-12) & (yy - y**2 > 1e-12)
    return np.divide(xy - x * y, np.sqrt(spread.clip(min=0)), out=np.full(spread.shape, np.nan), where=known)
