"""Alarms: signs that a study went wrong, read from its own tables before anyone reads its results.

Four failures would each look like a finding. The instrument may be blind, the base language may have been forgotten,
knowledge may cross without any bridge, and crossing may have nothing to do with what was read. Each alarm has a rule
with an interval; its verdict is :data:`RINGS`, :data:`SILENT` or :data:`CANNOT_TELL`, and an alarm that could not have
rung is never called silent. An alarm is about these very models, so that intervals are over clusters of questions,
given these seeds (:func:`lorebridge.transfer.inference.infer`): 95 %, by Student's t, and simultaneous over the
languages, directions and arms of an alarm (Bonferroni); of perplexity, the range of the seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes.prefixes import behind
from lorebridge.tokens.arms import BASE
from lorebridge.trace.leaks import leaked
from lorebridge.transfer import credits as credits_
from lorebridge.transfer.accuracies import EVERY, of_arms
from lorebridge.transfer.contrasts import ALL, STEP0, Contrast, by_culture, form
from lorebridge.transfer.credits import LAST, Credits
from lorebridge.transfer.inference import QUESTIONS_ONLY, Inference, Parts, Sample, infer
from lorebridge.transfer.item_model import CROSSED, RELATIVE, SLOPE
from lorebridge.transfer.items import BRIDGE, NO_BRIDGE

RINGS, SILENT, CANNOT_TELL = "rings", "silent", "cannot tell"

CONTROL = ("bridge_leak_only", "bridge_leak_free")
"""The positive control: pairs that state an answer outright, against all others."""
KEPT = 0.5
"""Share of what the base language answered above chance at step 0 of which less than this is a collapse."""
PERPLEXITY = 2.0
"""Factor by which the perplexity of held-out text in the base language may grow."""
IN_SIGHT = 0.1
"""Half-width of an interval, in accuracy, above which its holding 0 means nothing."""
RELATIVE_SLOPE = 0.2
"""Slope of crossing on frequency below which the two are called unrelated: a doubling of how often a fact was read adds
less than a fifth of the mean that crosses. The paper's transferred items are stated 9.0 times on average, all items 4.2
(section 4): 0.94 doublings of 1 + count. What crosses has been doubled more often than
what is known by slope / mean x the variance of the doublings, which is 2 or so: the paper's numbers ask for 0.47, and a
fifth is a little less than half of that."""
FEWEST = 5
"""Clusters of questions below which a group is not compared."""

BLIND = "no gap although the positive control shows one"
COLLAPSED = "base language collapsed"
UNBRIDGED = "transfer without a bridge"
UNRELATED = "frequency unrelated"
TO_DO = {
    BLIND: "Read the text of some steps (lorebridge show-batch), check masks and template; else the null may be real.",
    COLLAPSED: "Lower the learning rate, or replay text of the base language, before reading any gap into it.",
    UNBRIDGED: "Look for text of the source language in the target's corpus (lorebridge sample-audit) and for pairs "
    "that are packed together.",
    UNRELATED: "Check the judge against people (lorebridge label-sheet) before frequency explains anything.",
}


@dataclasses.dataclass(frozen=True)
class Alarm:
    """One alarm in one place.

    Attributes:
        alarm: which.
        lang: language learned; several are joined by commas.
        direction: "en->xx" or "xx->en"; empty where it has none.
        quantity: what was estimated.
        verdict: :data:`RINGS`, :data:`SILENT` or :data:`CANNOT_TELL`.
        estimate: of the quantity: a difference of accuracies, a factor or an odds ratio; missing where there is none.
        lo: lower end of its interval.
        hi: upper end.
        n: questions, items or runs behind it.
        why: the rule, with what it met.
    """

    alarm: str
    lang: str
    direction: str
    quantity: str
    verdict: str
    estimate: float
    lo: float
    hi: float
    n: int
    why: str


def alarms(
    *,
    scores: Sequence[Path],
    questions: Mapping[str, Path],
    accuracies: Path,
    leaks: Path,
    occurrences: Path,
    item_effects: Path,
    perplexity: Sequence[Path],
    base: str,
    subset: str,
    rule: str,
    last: int,
    prefix: str,
    carrying: Sequence[str] = (),
) -> pd.DataFrame:
    """Return every alarm of a study: columns as the attributes of :class:`Alarm`, and ``to_do`` where one rings.

    Args:
        scores: tables "scores", one a run.
        questions: culture (= language learned) -> table "questions".
        accuracies: table "accuracies", of these runs.
        leaks: table "leaks".
        occurrences: table "occurrences".
        item_effects: table "item_effects".
        perplexity: tables "perplexity", one a run.
        base: code of the base language.
        subset: which questions count.
        rule: how options are compared.
        last: number of final checkpoints pooled.
        prefix: what questions were asked, and held-out text was read, behind.
        carrying: languages of a planted world in which a bridge is to carry.

    Raises:
        InputError: as :func:`lorebridge.transfer.credits.load` and :func:`lorebridge.transfer.accuracies.of_arms`.
    """
    cultures = by_culture(
        credits_.load(scores=scores, questions=questions, base=base, subset=subset, rule=rule, last=last, prefix=prefix)
    )
    chance = pd.concat(
        [1 / tables.read(path).groupby("question_id")["option_index"].nunique() for path in questions.values()]
    )
    shown = of_arms(accuracies, subset=subset, rule=rule, prefix=prefix)
    held_out = pd.concat([tables.read(path) for path in perplexity], ignore_index=True)
    found: list[Alarm] = [
        *blind(cultures, leaked(tables.read(leaks)), base=base, last=last, carrying=carrying),
        *collapsed(cultures, chance, shown, base=base, last=last),
        *forgotten(behind(held_out, prefix, "perplexity"), base=base),
        *unbridged(cultures, tables.read(occurrences), base=base, last=last),
        *unrelated(tables.read(item_effects), langs=list(questions)),
    ]
    # Silence where nothing was looked at would be taken for a good sign.
    why = f"the study lacks what it is read from: the arms {BRIDGE} and {NO_BRIDGE}, and items"
    heard = {alarm.alarm for alarm in found}
    silent = [name for name in TO_DO if name not in heard]
    found += [Alarm(name, "", "", "", CANNOT_TELL, np.nan, np.nan, np.nan, 0, why) for name in silent]
    table = pd.DataFrame([dataclasses.asdict(alarm) for alarm in found])
    # The same advice once, where the first of its alarms rings.
    rings = table["verdict"] == RINGS
    return table.assign(to_do=table["alarm"].map(TO_DO).where(rings & ~table["alarm"].where(rings).duplicated(), ""))


def blind(
    cultures: Mapping[str, Mapping[str, Credits]], told: set[str], *, base: str, last: int, carrying: Sequence[str] = ()
) -> Iterator[Alarm]:
    """Yield whether a language's questions show no gap although the positive control shows one.

    The control is :data:`CONTROL` on the questions that the parallel text answers outright: pairs that state them,
    against all other pairs. Who reads the answer must give it. If that is seen and bridge - no_bridge is not, the
    alarm rings; if neither is, nothing can be read from the missing gap. A planted world may have a control of
    another sort: languages (`carrying`) in which a bridge is to carry, on all questions in the same direction.
    """
    formed = {
        (contrast.culture, contrast.direction, contrast.name): contrast
        for contrast in form(cultures, base=base, contrasts=[(BRIDGE, NO_BRIDGE), CONTROL], last=last)
        if contrast.known is not None
    }
    gaps = {key[:2]: contrast for key, contrast in formed.items() if key[2] == f"{BRIDGE} - {NO_BRIDGE}"}
    gap_inference = _inferred({key: [(contrast.sample(ALL), 1.0)] for key, contrast in gaps.items()})
    controls: dict[tuple[str, str], Contrast] = {}
    for key in gaps:
        control = formed.get((*key, " - ".join(CONTROL)))
        of_leaks = control and control.without(set(control.questions) - told)
        if of_leaks is not None:
            controls[key] = of_leaks
    control_inference = _inferred({key: [(contrast.sample(ALL), 1.0)] for key, contrast in controls.items()})
    for key, contrast in gaps.items():
        gap = gap_inference[key]
        seen = control_inference.get(key)
        if gap.lo > 0:
            verdict, why = SILENT, "there is a gap"
        elif np.isnan(gap.lo):
            verdict, why = CANNOT_TELL, f"fewer than {FEWEST} clusters of questions"
        elif (*key, " - ".join(CONTROL)) not in formed and (others := set(carrying) - {key[0]}):
            carried = {other: gap_inference[other, key[1]] for other in sorted(others) if (other, key[1]) in gaps}
            shown = [f"{other} shows {_points(found)}" for other, found in carried.items() if found.lo > 0]
            verdict = RINGS if shown else CANNOT_TELL
            why = (
                f"no gap is seen, but where a bridge is to carry {'; '.join(shown)}"
                if shown
                else (f"no gap is seen, and none where a bridge is to carry ({', '.join(sorted(others))})")
            )
        elif (*key, " - ".join(CONTROL)) not in formed:
            verdict = CANNOT_TELL
            why = f"no gap is seen, and the study has no positive control: train {' and '.join(CONTROL)}"
        elif seen is None or np.isnan(seen.lo):
            verdict, why = CANNOT_TELL, "no gap is seen, and the parallel text answers too few questions outright"
        elif seen.lo > 0:
            verdict = RINGS
            why = f"no gap is seen, but the positive control shows {_points(seen)} on {_n(controls[key])} questions"
        else:
            verdict = CANNOT_TELL
            why = f"neither a gap nor the positive control is seen ({_points(seen)} on {_n(controls[key])} questions)"
        yield _alarm(BLIND, contrast, contrast.name, verdict, gap, why)


def collapsed(
    cultures: Mapping[str, Mapping[str, Credits]], chance: pd.Series, accuracies: pd.DataFrame, *, base: str, last: int
) -> Iterator[Alarm]:
    """Yield whether an arm has lost more than half of what the base language answered above chance (:data:`KEPT`).

    (Accuracy over the last checkpoints - chance) - 1/2 (accuracy at step 0 - chance), which is below 0 where more than
    half is lost. A base model that answers no better than chance has nothing to lose. The accuracies are those that
    Figure 3 shows. The interval is that of the same difference taken question by question: the intervals of the
    accuracies do not know that the same questions were answered twice.

    Args:
        cultures: culture -> language -> credits.
        chance: question_id -> 1 / number of options.
        accuracies: rows of the table "accuracies" of these runs (:func:`lorebridge.transfer.accuracies.of_arms`).
        base: code of the base language.
        last: number of final checkpoints pooled.

    Raises:
        InputError: the accuracies lack an arm.
    """
    means = accuracies[accuracies["seed"] == EVERY].set_index(["culture", "direction", "arm", "step"])
    above = (means["accuracy"] - means["chance"]).to_dict()
    formed = {
        (contrast.culture, contrast.name): contrast
        for contrast in form(cultures, base=base, contrasts=[], last=last)
        if contrast.direction == "xx->en"
    }
    left: dict[tuple[str, str], Parts] = {}
    start: dict[tuple[str, str], Parts] = {}
    for key, contrast in formed.items():
        end, begin = (part - chance.reindex(contrast.questions).to_numpy() for part in contrast.final())
        left[key] = [(Sample(end - KEPT * begin, contrast.clusters, bounds=(-1.0, 1.0)), 1.0)]
        start[key] = [(Sample(begin, contrast.clusters, bounds=(-1.0, 1.0)), 1.0)]
    kept_of, began_of = _inferred(left), _inferred(start)
    for key, contrast in formed.items():
        arm = contrast.name.removesuffix(f" - {STEP0}")
        place = (contrast.culture, contrast.direction, arm)
        if (*place, LAST) not in above or (*place, 0) not in above:
            raise InputError("accuracies", f"lack the arm {arm} of {contrast.culture}", "Make them of these scores.")
        before, after = above[*place, 0], above[*place, LAST]
        began, kept = _about(before, began_of[key]), _about(after - KEPT * before, kept_of[key])
        if not began.lo > 0:
            verdict, why = CANNOT_TELL, f"step 0 answers no better than chance: {_points(began)} above it"
        else:
            verdict = RINGS if kept.hi < 0 else SILENT if kept.lo > 0 else CANNOT_TELL
            why = f"half of the {_points(began)} above chance at step 0 is to be kept"
        yield _alarm(COLLAPSED, contrast, f"{arm}: accuracy kept beyond half of step 0's", verdict, kept, why)


def forgotten(perplexity: pd.DataFrame, *, base: str) -> Iterator[Alarm]:
    """Yield whether the perplexity of held-out text in the base language has grown :data:`PERPLEXITY` times.

    The factor is a geometric mean over seeds, with the range of the seeds for an interval; one seed has none. It rings
    where the perplexity of every seed's model has grown so, and is silent where that of none has. Nothing is said of
    other seeds, whose spread two of them do not tell; and the same tokens are read twice, so that which tokens they are
    hardly matters.
    """
    learned = perplexity["learned"].notna() & perplexity["arm"].notna() & (perplexity["arm"] != BASE)
    rows = perplexity[(perplexity["lang"] == base) & learned].sort_values("step", kind="stable")
    growth: dict[tuple[str, str], list[float]] = {}
    for _, of_run in rows.groupby("run", sort=False):
        place = of_run["learned"].iloc[0], of_run["arm"].iloc[0]
        growth.setdefault(place, []).append(np.log(of_run["perplexity"].iloc[-1] / of_run["perplexity"].iloc[0]))
    for (lang, arm), logs in growth.items():
        n = len(logs)
        estimate, lo, hi = (float(np.exp(value)) for value in (np.mean(logs), min(logs), max(logs)))
        verdict = RINGS if lo > PERPLEXITY else SILENT if hi < PERPLEXITY else CANNOT_TELL
        why = f"a factor of {PERPLEXITY:g} is too much; " + (f"range of {n} seeds" if n > 1 else "one seed, no range")
        ends = (lo, hi) if n > 1 else (np.nan, np.nan)
        quantity = f"{arm}: perplexity of held-out text, last step / step 0"
        yield Alarm(COLLAPSED, lang, "", quantity, verdict, estimate, *ends, n, why)


def unbridged(
    cultures: Mapping[str, Mapping[str, Credits]], occurrences: pd.DataFrame, *, base: str, last: int
) -> Iterator[Alarm]:
    """Yield whether facts that only the source language's text states are learned in the target without a bridge.

    What no_bridge gains on a question since step 0 may be learned from the target's own text, or be proficiency. So
    only questions are taken whose fact no text of the target language states (monolingual or parallel, table
    "occurrences"), and the gain of those that the source's text states is compared with that of those that no text
    states: source only - neither, as in planted worlds (:mod:`lorebridge.transfer.planted`). The interval's holding 0
    is silence only where its half-width is below :data:`IN_SIGHT`.
    """
    counts = occurrences.groupby(["question_id", "corpus"])["n_both"].agg(lambda n: n.sum(skipna=False)).unstack()
    samples: dict[tuple[str, str], Parts] = {}
    sizes: dict[tuple[str, str], tuple[int, int]] = {}
    formed: dict[tuple[str, str], Contrast] = {}
    for contrast in form(cultures, base=base, contrasts=[], last=last):
        if contrast.name != f"{NO_BRIDGE} - {STEP0}":
            continue
        key = (contrast.culture, contrast.direction)
        source, target = credits_.source_and_target(contrast.direction, base, contrast.culture)
        here = counts.reindex(contrast.questions)
        absent = (here[target] == 0).to_numpy()
        groups = [absent & (here[source] > 0).to_numpy(), absent & (here[source] == 0).to_numpy()]
        formed[key] = contrast
        only, neither = (len(np.unique(contrast.clusters[group])) for group in groups)
        sizes[key] = (only, neither)
        if min(only, neither) >= FEWEST:
            end, begin = contrast.final()
            samples[key] = [
                (Sample((end - begin)[:, group], contrast.clusters[group], bounds=(-1.0, 1.0)), weight)
                for group, weight in zip(groups, (1.0, -1.0), strict=True)
            ]
    found = _inferred(samples)
    for key, contrast in formed.items():
        only, neither = sizes[key]
        why = f"{only} clusters of questions are stated in the source alone, {neither} nowhere"
        if key not in found:
            verdict, gain = CANNOT_TELL, Inference(*[np.nan] * 6)
            why += f"; {FEWEST} of each are needed"
        else:
            gain = found[key]
            if gain.lo > 0:
                verdict = RINGS
            elif gain.hi - gain.lo < 2 * IN_SIGHT:
                verdict = SILENT
            else:
                verdict = CANNOT_TELL
                why += f"; {100 * IN_SIGHT:.0f} points would not show"
        yield _alarm(UNBRIDGED, contrast, f"{contrast.name}: source only - neither", verdict, gain, why)


def unrelated(effects: pd.DataFrame, *, langs: Sequence[str]) -> Iterator[Alarm]:
    """Yield whether what crosses has nothing to do with how often its fact was read in the source language.

    By the item model (:mod:`lorebridge.transfer.item_model`), which takes guesses off: silent where the slope of
    crossing on doublings of exposure is above 0; rings where something crosses, the slope is not above 0, and a
    slope of :data:`RELATIVE_SLOPE` of the mean that crosses is excluded. Where nothing is seen to cross, nothing can go
    with frequency.
    """
    rows = effects[
        ~effects["unleaked"] & (effects["count"] == "presentations") & (effects["interval"] == QUESTIONS_ONLY)
    ]
    for direction, of_direction in rows.groupby("direction", sort=True):
        by_quantity = of_direction.set_index("quantity")
        slope, crossed, relative = by_quantity.loc[[SLOPE, CROSSED, RELATIVE]].to_dict("records")
        n = int(slope["n_questions"])
        share = f"{100 * crossed['estimate']:.0f} % of the known cross"
        if np.isnan(slope["estimate"]) or np.isnan(slope["lo"]):
            verdict = CANNOT_TELL
            why = f"no slope to be had: {n} questions of languages whose knowledge is told from guessing, with counts"
        elif slope["lo"] > 0:
            verdict, why = SILENT, f"{share}; the slope is above 0"
        elif not crossed["lo"] > 0:
            verdict, why = CANNOT_TELL, f"nothing is seen to cross ({share}), so that nothing can go with frequency"
        else:
            verdict = RINGS if relative["hi"] < RELATIVE_SLOPE else CANNOT_TELL
            why = (
                f"{share}; a doubling adds {relative['estimate']:.2f} of that ({relative['lo']:.2f} to "
                f"{relative['hi']:.2f}); above 0 is wanted, below {RELATIVE_SLOPE:g} is unrelated"
            )
        quantity = "crossing of the known a doubling of exposure in the source"
        yield Alarm(
            UNRELATED,
            ", ".join(sorted(slope["langs"], key=langs.index)),
            str(direction),
            quantity,
            verdict,
            float(slope["estimate"]),
            float(slope["lo"]),
            float(slope["hi"]),
            n,
            why,
        )


def _inferred(samples: Mapping[tuple[str, str], Parts]) -> dict[tuple[str, str], Inference]:
    """Return the inference of each cell, simultaneous over the cells; all NaN where there are too few questions."""
    told = {key: parts for key, parts in samples.items() if min(sample.n_clusters for sample, _ in parts) >= FEWEST}
    return dict.fromkeys(samples, Inference(*[np.nan] * 6)) | {
        key: infer(*zip(*parts, strict=True), level=1 - 0.05 / len(told)) for key, parts in told.items()
    }


def _about(estimate: float, found: Inference) -> Inference:
    """Return an inference with its estimate as another table gives it; one that cannot be told stays so."""
    return found if np.isnan(found.estimate) else dataclasses.replace(found, estimate=float(estimate))


def _alarm(name: str, contrast: Contrast, quantity: str, verdict: str, found: Inference, why: str) -> Alarm:
    return Alarm(
        name,
        contrast.culture,
        contrast.direction,
        quantity,
        verdict,
        found.estimate,
        found.lo,
        found.hi,
        _n(contrast),
        why,
    )


def _n(contrast: Contrast) -> int:
    return len(contrast.questions)


def _points(found: Inference) -> str:
    """Return an estimate with its interval, in percentage points."""
    return f"{100 * found.estimate:.1f} points ({100 * found.lo:.1f} to {100 * found.hi:.1f})"
