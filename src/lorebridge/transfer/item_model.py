"""Does a fact that was read more often cross more easily? An item model in which guesses count for what they are.

A question with k options is answered rightly by one in k of the models that know nothing of it, so that being right
in the source language is not knowledge: among facts that were read seldom most right answers are luck, and luck does
not cross. Whoever takes them for knowledge finds that seldom read facts do not cross. Here knowledge is latent. For a
question that was read n times in the source language, asked of one seed's models:

- K is 1 where the model knows the fact in the source language, with a probability that may be any function of n, of
  the language, of anything;
- it is right in the source with probability 1 - s where K is 1, and chooses any option with probability c = 1/k where
  K is 0: the guess floor of a three-parameter logistic model (Birnbaum 1968);
- where K is 0, the two arms answer alike in the target language, and *which* of the wrong options is taken has
  nothing to do with which option is the gold;
- where K is 1, the arm with the bridge answers as the one without it and, beyond that, a share C(n) of what that one
  leaves open.

Nothing else is assumed, above all no shape of the knowledge. With x, y and r for being right in the source language,
with the bridge and without it, kappa = (x - c) / (1 - c) has mean 0 where K is 0, so that for every n

    E[kappa (y - r) | n] = C(n) E[kappa (1 - r) | n]:

answers corrected for guessing weigh what is known and nothing else (and s, which stands on both sides, cancels). A
model may also take the same option in both languages without knowing anything: an *echo*. Then x and y go together
where K is 0, and the two sides are too large by as much as *wrong* options are repeated more often than other wrong
options are taken, which is seen, since it is on record which option was chosen. That excess is subtracted from both
sides (:meth:`Answers.credited`). An echo of what is known is crossing.

*Into the base language* y and r hold what the base model knew there already, which the arms need not keep alike. So
that direction asks what is new, as its risk set does (:mod:`lorebridge.transfer.items`): of each seed, the questions
that its base model had wrong. Whether it was wrong depends on which option is the gold: an unattractive gold is missed
more often, and of the base model's guesses the right ones are gone while wrong ones that an arm keeps are not. But
among the options that it did *not* choose, any is as likely to be the gold as another. So those it chose are taken out
of the question (:meth:`Answers.since`), and y and r are corrected for guessing as x is.

C(n) = a_language + b log2(1 + n in the source) + d log2(1 + n in the target), in points for each doubling. The link
is the identity, for a slope on the scale of odds is not defined where nothing crosses, and 0 is: where C does not
depend on n, also where it is 0 throughout, b = 0. It is a linear estimating equation, sum w (N - C(n) D) = 0 with N
and D the two sides of one question and seed, solved in closed form. The weights w may be any function of n and are
those columns times the expected share at risk, so that questions from which nothing can be learned count little.
Errors are those of the estimating equation (Huber 1967; Liang & Zeger 1986): clusters of questions with all their
seeds are the units, and the seeds come in as in all tables (:mod:`lorebridge.transfer.inference`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes import decisions
from lorebridge.probes.prefixes import behind
from lorebridge.trace.leaks import leaked
from lorebridge.transfer import credits as credits_
from lorebridge.transfer.inference import (
    QUESTIONS_AND_SEEDS,
    QUESTIONS_ONLY,
    Inference,
    Sample,
    common_seeds,
    infer,
    linearised,
    notes,
    of_seeds,
)
from lorebridge.transfer.items import BRIDGE, NO_BRIDGE
from lorebridge.transfer.people import fieller

COUNTS = ("occurrences", "presentations")
SIDES = ("source", "target")
COLUMNS = [f"{count}_{side}" for count in COUNTS for side in SIDES]
KNOWN, CROSSED, UNKNOWN, ECHO = "known", "crossed of the known", "gained of the unknown", "guesses repeated"
NEVER = "known, never read"
"""Known in the source by the guess floor, though never read there: 0 where the floor and the counts are right."""
SLOPE, SLOPE_TARGET, RELATIVE = "slope, source", "slope, target", "slope, source / crossed"
QUANTITIES = (KNOWN, NEVER, CROSSED, UNKNOWN, ECHO, SLOPE, SLOPE_TARGET, RELATIVE)
"""Quantities of the table "item_effects" in its order."""
FEWEST = 10
"""Questions known in the source and open in the target, guesses taken off, below which a slope is not looked for."""
LEAST_WEIGHT = 0.05
"""Least weight of a question: its expected share at risk is an estimate, and may come out as 0 or below."""


@dataclasses.dataclass(frozen=True)
class Answers:
    """What one language's questions were answered in one direction, and how often their facts were read.

    Attributes:
        lang: language learned.
        seeds: seeds that both arms have.
        questions: question ids, n of them.
        clusters: cluster of each question, shape (n,).
        gold: which option is right, shape (n, options), bool; one of each question.
        n_options: options of each question, at least 3, shape (n,) or (seeds, n); those beyond have share 0.
        source: share of each option in the answers in the source language, shape (seeds, n, options).
        bridge: the same in the target language with the bridge.
        no_bridge: the same without it.
        counts: column of the table "items" (:data:`COLUMNS`) -> how often, shape (seeds, n); NaN where unknown.
        new: where only what is new is asked (:meth:`since`), which questions of each seed are, shape (seeds, n), 0 or
            1; the options of others have no share at all.
    """

    lang: str
    seeds: Sequence[int]
    questions: list[str]
    clusters: np.ndarray
    gold: np.ndarray
    n_options: np.ndarray
    source: np.ndarray
    bridge: np.ndarray
    no_bridge: np.ndarray
    counts: Mapping[str, np.ndarray]
    new: np.ndarray | None = None

    @property
    def asked(self) -> np.ndarray:
        """Which questions of each seed count, shape (seeds, n), 0 or 1."""
        return np.ones(self.source.shape[:2]) if self.new is None else self.new

    def since(self, before: np.ndarray) -> Answers:
        """Return the answers to what an earlier model had wrong in the target language, without what it chose.

        A question that it tied on with the gold, or of which fewer than three options are left, does not count either;
        one that counts for no seed is left out.

        Args:
            before: share of each option in the earlier model's answers in the target language, (seeds, n, options).
        """
        chose = before > 0
        left = self.n_options - chose.sum(axis=-1)
        new = ~(chose & self.gold).any(axis=-1) & (left >= 3)
        kept = (~chose & new[..., None]).astype(np.float64)
        return dataclasses.replace(
            self,
            n_options=np.where(new, left, 3),
            source=self.source * kept,
            bridge=self.bridge * kept,
            no_bridge=self.no_bridge * kept,
            new=new.astype(np.float64),
        ).of(new.any(axis=0))

    def of(self, kept: np.ndarray) -> Answers:
        """Return the answers to some questions, `kept`: (n,) bool, or their places."""
        return Answers(
            self.lang,
            self.seeds,
            [str(question) for question in np.array(self.questions, dtype=object)[kept]],
            self.clusters[kept],
            self.gold[kept],
            self.n_options[..., kept],
            self.source[:, kept],
            self.bridge[:, kept],
            self.no_bridge[:, kept],
            {name: counts[:, kept] for name, counts in self.counts.items()},
            None if self.new is None else self.new[:, kept],
        )

    def _above_guessing(self, chosen: np.ndarray) -> np.ndarray:
        """Return the share of the gold less the mean share of the wrong options, shape (seeds, n)."""
        return (chosen * self.gold).sum(axis=-1) - (chosen * ~self.gold).sum(axis=-1) / (self.n_options - 1)

    def known(self) -> np.ndarray:
        """Return kappa, whose mean is the share known in the source less slips, shape (seeds, n)."""
        return self._above_guessing(self.source)

    def right(self, arm: np.ndarray) -> np.ndarray:
        """Return how far the answers of an arm are right, shape (seeds, n); of what is new, corrected for guessing."""
        return (arm * self.gold).sum(axis=-1) if self.new is None else self._above_guessing(arm)

    def repeated(self, arm: np.ndarray) -> np.ndarray:
        """Return by how much wrong options of the source are taken more often than other wrong ones, (seeds, n).

        The mean over wrong options of (chosen in both) less the mean over pairs of different wrong options of (one
        chosen in the source, the other in the target). 0 in the mean where a guess does not depend on the other;
        where options are equally likely, c times the share of guesses that are repeated.
        """
        before, after = self.source * ~self.gold, arm * ~self.gold
        same = (before * after).sum(axis=-1)
        other = before.sum(axis=-1) * after.sum(axis=-1) - same
        wrong = self.n_options - 1
        return same / wrong - other / (wrong * (wrong - 1))

    def credited(self, arm: np.ndarray) -> np.ndarray:
        """Return kappa times being right, less what repeated guesses add to it, shape (seeds, n)."""
        # Where being right is corrected for guessing, so is what a repeated guess is worth.
        worth = 1.0 if self.new is None else self.n_options / (self.n_options - 1)
        return self.known() * self.right(arm) - worth * self.repeated(arm)

    def gained(self) -> np.ndarray:
        """Return what the bridge adds of what is known, shape (seeds, n)."""
        return self.credited(self.bridge) - self.credited(self.no_bridge)

    def at_risk(self) -> np.ndarray:
        """Return what is known and not answered without the bridge, shape (seeds, n)."""
        return self.known() - self.credited(self.no_bridge)


def item_effects(
    *,
    transferred: Path,
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    leaks: Path,
    base: str,
    subset: str,
    rule: str,
    last: int,
    out: Path,
    prefix: str,
) -> dict[str, Any]:
    """Write the table "item_effects": how what crosses goes with how often a fact was read.

    One pooled answer for each question, language, arm and seed: the mean share of each option over the last
    checkpoints, since the guesses of one model at neighbouring checkpoints are one guess. In the source language: for
    en->xx that of the model both arms start from (step 0), for xx->en the mean of the two arms', since only
    continual pretraining teaches that language. Ties share. xx->en asks what is new: of each seed, the questions that
    the model both arms start from had wrong in the base language (:meth:`Answers.since`).

    Left out are questions whose count is missing, that have fewer than two wrong options, or whose options stand in
    another order in the other language. A language whose knowledge in the source is not told from guessing (95 %) says
    nothing of what crosses and is left out whole; ``langs`` are the others.

    Args:
        transferred: the table "items", for the counts.
        scores: tables "scores", one a run; arms other than bridge and no_bridge are not used.
        questions: culture (= language learned) -> table "questions".
        leaks: table "leaks": all comes once more without leaked questions.
        base: code of the base language.
        subset: which questions count.
        rule: how options are compared.
        last: number of final checkpoints pooled.
        out: where to write.
        prefix: what the questions were asked behind.

    Returns:
        notes: questions by language and direction, how many of them could not be used, and, into the base language, how
        many were right there before from every seed, or have too few options left.

    Raises:
        InputError: scores lack an item, an item's option, or the prefix.
    """
    listed, scored = tables.read(transferred), behind(credits_.read_scores(scores), prefix, "scores")
    told = leaked(tables.read(leaks))
    by_direction: dict[str, list[Answers]] = {}
    notes: dict[str, Any] = {}
    for named, of_lang in listed.groupby("lang", sort=True):
        lang = str(named)
        if lang not in questions:
            raise InputError(
                transferred, f"has items of {lang}, whose questions are not given", f"Give those of {lang}."
            )
        rows = scored[credits_.learned_in_an_arm(scored, lang) & scored["arm"].isin([BRIDGE, NO_BRIDGE])]
        final = sorted(int(step) for step in rows["step"].unique())[-last:]
        chosen = decisions.option_shares(
            rows[rows["step"].isin([0, *final])], tables.read(questions[lang]), subset=subset, rules=[rule]
        ).rename(columns={rule: "share"})
        for way, of_cell in of_lang.groupby("direction", sort=True):
            direction = str(way)
            source, target = credits_.source_and_target(direction, base, lang)
            answers, left_out = _answers(chosen, of_cell, lang, source, target, final, transferred)
            by_direction.setdefault(direction, []).append(answers)
            notes[f"{lang} {direction}"] = {"questions": len(answers.questions), **left_out}
    frames = []
    for direction, cells in sorted(by_direction.items()):
        for unleaked in (False, True):
            kept = [one.of(~np.isin(one.questions, sorted(told))) for one in cells] if unleaked else cells
            frames.append(effects(kept).assign(direction=direction, unleaked=unleaked))
    tables.write("item_effects", pd.concat(frames, ignore_index=True), out)
    return notes


def _answers(
    chosen: pd.DataFrame, cell: pd.DataFrame, lang: str, source: str, target: str, final: Sequence[int], table: Path
) -> tuple[Answers, dict[str, int]]:
    """Return the answers to the items of one language and direction, and how many questions are not among them.

    Raises:
        InputError: an item was not scored.
    """
    seeds, ids = sorted(cell["seed"].unique()), sorted(cell["question_id"].unique())
    asked = chosen[chosen["question_id"].isin(ids) & chosen["seed"].isin(seeds)]
    asked = asked.assign(place=pd.Index(ids).get_indexer(asked["question_id"]))
    shape = (len(ids), int(asked["option_index"].max(skipna=True)) + 1 if len(asked) else 1)

    def shares(where: str, arm: str, steps: Sequence[int]) -> np.ndarray:
        """Return the mean share of each option over some steps, shape (seeds, n, options)."""
        found = np.zeros((len(seeds), *shape))
        of_arm = asked[(asked["lang"] == where) & (asked["arm"] == arm) & asked["step"].isin(steps)]
        for i, seed in enumerate(seeds):
            rows = of_arm[of_arm["seed"] == seed]
            np.add.at(found[i], (rows["place"], rows["option_index"]), rows["share"] / len(steps))
        if not np.allclose(found.sum(axis=-1), 1):
            raise InputError(
                table,
                f"has items of {lang} that models of the arm {arm} were not asked in {where}",
                "Make the items of these scores.",
            )
        return found

    def marked(where: str) -> tuple[np.ndarray, np.ndarray]:
        """Return which options are gold, and which there are, both (n, options)."""
        rows = asked[asked["lang"] == where].drop_duplicates(["place", "option_index"])
        gold, offered = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        gold[rows["place"], rows["option_index"]] = rows["is_gold"]
        offered[rows["place"], rows["option_index"]] = True
        return gold, offered

    both = {arm: shares(target, arm, final) for arm in (BRIDGE, NO_BRIDGE)}
    if target == lang:
        known = shares(source, NO_BRIDGE, [0])  # the same model in both arms
    else:
        known = (shares(source, BRIDGE, final) + shares(source, NO_BRIDGE, final)) / 2
    grid = pd.MultiIndex.from_product([seeds, ids], names=["seed", "question_id"])
    listed = cell.drop_duplicates(["seed", "question_id"]).set_index(["seed", "question_id"]).reindex(grid)
    clusters = cell.drop_duplicates("question_id").set_index("question_id")["cluster"].reindex(ids)
    (gold, offered), (gold_there, offered_there) = marked(source), marked(target)
    answers = Answers(
        lang=lang,
        seeds=seeds,
        questions=ids,
        clusters=clusters.to_numpy(np.int64),
        gold=gold,
        n_options=offered.sum(axis=1),
        source=known,
        bridge=both[BRIDGE],
        no_bridge=both[NO_BRIDGE],
        counts={name: listed[name].to_numpy(np.float64).reshape(len(seeds), -1) for name in COLUMNS},
    )
    usable = (gold == gold_there).all(axis=1) & (offered == offered_there).all(axis=1)
    usable &= (gold.sum(axis=1) == 1) & (answers.n_options >= 3)
    left_out = {"unusable": int((~usable).sum())}
    answers = answers.of(usable)
    if target == lang:
        return answers, left_out
    new = answers.since(shares(target, NO_BRIDGE, [0])[:, usable])
    return new, left_out | {"known before": len(answers.questions) - len(new.questions)}


def effects(answers: Sequence[Answers]) -> pd.DataFrame:
    """Return the rows of table "item_effects" of one direction, without direction and unleaked.

    Args:
        answers: one a language.
    """
    rows: list[dict[str, Any]] = []
    for count in COUNTS:
        kept = []
        for one in answers:
            missing = np.isnan([one.counts[f"{count}_{side}"] for side in SIDES]).any(axis=(0, 1))
            told = one.of(np.asarray(~missing))
            risk = _inferred({told.lang: told.at_risk()}, [told], QUESTIONS_ONLY)[QUESTIONS_ONLY]
            # Where all is known and open nothing varies, and no interval is to be had.
            if risk.lo > 0 or (risk.se == 0 and risk.estimate > 0):
                kept.append(told)
        shared: dict[str, Any] = {
            "count": count,
            "langs": sorted(one.lang for one in kept),
            "n_questions": sum(len(one.questions) for one in kept),
            "n_clusters": sum(len(np.unique(one.clusters)) for one in kept),
            "n_seeds": len(set.intersection(*(set(one.seeds) for one in kept))) if kept else 0,
            "left_out": sum(len(one.questions) for one in answers) - sum(len(one.questions) for one in kept),
        }
        estimated = _estimated(kept, count)
        doubt = {SLOPE: _doubt(estimated[NEVER][QUESTIONS_ONLY])}
        for quantity, found in estimated.items():
            for interval, inference in found.items():
                few = of_seeds(shared["n_seeds"]) if interval == QUESTIONS_AND_SEEDS else ""
                note = notes(few, doubt.get(quantity, ""))
                result = dataclasses.asdict(inference)
                rows.append({**shared, "quantity": quantity, **result, "interval": interval, "note": note})
    return pd.DataFrame(rows)


def _doubt(never: Inference) -> str:
    """Return what the slope's row has to say where facts that were never read seem to be known; else nothing.

    >>> _doubt(Inference(0.101, 0.02, 900, 0.06, 0.14, 1e-6))
    'never read, known: 10 %; too large if that is luck'
    """
    return f"never read, known: {100 * never.estimate:.0f} %; too large if that is luck" if never.lo > 0 else ""


Values = Mapping[str, np.ndarray]
"""Language -> values, shape (seeds, n), whose mean over all languages, seeds and questions estimates something."""
Found = Mapping[str, Inference]
"""Kind of interval -> inference."""


def _estimated(answers: Sequence[Answers], count: str) -> dict[str, Found]:
    """Return the inference of each quantity; missing where it is not to be had."""
    nothing: dict[str, Found] = {quantity: {QUESTIONS_ONLY: Inference(*[np.nan] * 6)} for quantity in QUANTITIES}
    if not answers:
        return nothing
    known = {one.lang: one.known() for one in answers}
    gained = {one.lang: one.gained() for one in answers}
    risk = {one.lang: one.at_risk() for one in answers}
    crossed = _ratio(gained, risk)
    lucky = {one.lang: one.right(one.bridge) - one.right(one.no_bridge) - gained[one.lang] for one in answers}
    asked = {one.lang: one.asked for one in answers}
    never = {one.lang: (one.counts[f"{count}_source"] == 0).astype(np.float64) for one in answers}
    open_ = {
        lang: asked[lang] - one.right(one.no_bridge) - risk[lang] for lang, one in zip(asked, answers, strict=True)
    }
    repeated = {one.lang: one.repeated(one.bridge) - one.repeated(one.no_bridge) for one in answers}
    guessed = {one.lang: (asked[one.lang] - known[one.lang]) / one.n_options for one in answers}
    values = {
        KNOWN: _ratio(known, asked),
        NEVER: _ratio(*({lang: never[lang] * part[lang] for lang in asked} for part in (known, asked))),
        CROSSED: crossed,
        UNKNOWN: _ratio(lucky, open_),
        ECHO: _ratio(repeated, guessed),
    }
    found = nothing | {quantity: _inferred(of_quantity, answers) for quantity, of_quantity in values.items()}
    slopes = _slopes(answers, count, gained, risk)
    if slopes is not None:
        found |= {
            quantity: _inferred(of_side, answers)
            for quantity, of_side in zip((SLOPE, SLOPE_TARGET), slopes, strict=True)
        }
        found[RELATIVE] = _relative(slopes[0], crossed, answers, found)
    return found


def _ratio(numerator: Values, denominator: Values) -> Values:
    """Return values whose mean is the ratio of two means over all languages."""
    flat = [np.concatenate([part.ravel() for part in values.values()]) for values in (numerator, denominator)]
    return _parted(linearised(*flat), numerator)


def _parted(values: np.ndarray, like: Values) -> dict[str, np.ndarray]:
    """Return values of all languages in a row as one array a language."""
    ends = np.cumsum([part.size for part in like.values()])
    return {lang: part.reshape(like[lang].shape) for lang, part in zip(like, np.split(values, ends[:-1]), strict=True)}


def _slopes(answers: Sequence[Answers], count: str, gained: Values, risk: Values) -> list[Values] | None:
    """Return values whose means are the slopes of both sides, or None where there are none to be had."""
    n = [one.source.shape[0] * len(one.questions) for one in answers]
    doublings = [
        np.concatenate([np.log2(1 + one.counts[f"{count}_{side}"]).ravel() for one in answers]) for side in SIDES
    ]
    design = np.column_stack([np.repeat(np.eye(len(n)), n, axis=0), *doublings])
    left, right = (np.concatenate([part.ravel() for part in values.values()]) for values in (gained, risk))
    if right.sum() < FEWEST or np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    curved = np.column_stack([design, doublings[0] ** 2])
    expected = curved @ np.linalg.lstsq(curved, right, rcond=None)[0]
    weighted = design * np.clip(expected, LEAST_WEIGHT, None)[:, None]
    matrix = weighted.T @ (design * right[:, None])
    if np.linalg.matrix_rank(matrix) < len(matrix):
        return None
    fitted = np.linalg.solve(matrix, weighted.T @ left)
    # What each question and seed adds to the error of the coefficients.
    influence = np.linalg.solve(matrix, (weighted * (left - right * (design @ fitted))[:, None]).T)
    return [_parted(fitted[i] + influence[i] * len(left), gained) for i in (-2, -1)]


def _inferred(values: Values, answers: Sequence[Answers], *intervals: str) -> Found:
    """Return the inference of the mean over all languages, over questions alone and with the seeds where there are.

    Args:
        values: of each language.
        answers: theirs.
        intervals: kinds of interval; all of them by default.
    """
    wanted = intervals or (QUESTIONS_ONLY, QUESTIONS_AND_SEEDS)
    samples = [Sample(values[one.lang], one.clusters, one.seeds) for one in answers]
    if any(sample.values.size == 0 for sample in samples):
        return {QUESTIONS_ONLY: Inference(*[np.nan] * 6)}
    size = np.array([sample.values.size for sample in samples], dtype=np.float64)
    weights = list(size / size.sum())
    found = {QUESTIONS_ONLY: infer(samples, weights)} if QUESTIONS_ONLY in wanted else {}
    if QUESTIONS_AND_SEEDS in wanted and len(common_seeds(samples)) > 1:
        found[QUESTIONS_AND_SEEDS] = infer(samples, weights, over_seeds=True)
    return found


def _relative(slope: Values, crossed: Values, answers: Sequence[Answers], found: Mapping[str, Found]) -> Found:
    """Return the slope over the mean that crosses, with Fieller's intervals; none where nothing is seen to cross."""
    intervals = {}
    for interval, top in found[SLOPE].items():
        bottom = found[CROSSED][interval]
        ratio = top.estimate / bottom.estimate if bottom.lo > 0 else np.nan

        def test(value: float, interval: str = interval) -> Inference:
            return _inferred({lang: slope[lang] - value * crossed[lang] for lang in slope}, answers, interval)[interval]

        lo, hi = fieller(ratio, test, bottom) if bottom.lo > 0 else (np.nan, np.nan)
        intervals[interval] = Inference(ratio, np.nan, np.nan, lo, hi, np.nan)
    return intervals
