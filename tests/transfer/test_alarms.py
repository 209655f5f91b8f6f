"""Alarms: each rings where its failure is planted, keeps silent where it is not, and says where it cannot tell."""

import numpy as np
import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer import alarms
from lorebridge.transfer.accuracies import accuracies
from lorebridge.transfer.alarms import BLIND, CANNOT_TELL, COLLAPSED, RINGS, SILENT, TO_DO, UNBRIDGED, UNRELATED
from lorebridge.transfer.credits import Credits
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY
from lorebridge.transfer.item_model import CROSSED, RELATIVE, SLOPE

N = 200
STEPS = [0, 10, 20]
ARMS = ("bridge", "no_bridge", "bridge_leak_only", "bridge_leak_free")


def study(rates, rng, n=N, seeds=(0, 1), culture="ko"):
    """Return culture -> language -> credits; `rates` gives (arm, lang, step) -> chance of each question, shape (n,)."""
    by_lang = {}
    for lang in ("en", culture):
        arms = {
            arm: {
                seed: np.stack([rng.random(n) < rates(arm, lang, step) for step in STEPS]).astype(float)
                for seed in seeds
            }
            for arm in ARMS
        }
        for seed in seeds:  # all arms start from one model
            for arm in ARMS:
                arms[arm][seed][0] = arms["bridge"][seed][0]
        names = [f"{culture}-{i:04d}" for i in range(n)]
        by_lang[lang] = Credits(culture, lang, names, np.arange(n), STEPS, arms)
    return {culture: by_lang}


def flat(level):
    return lambda arm, lang, step: np.full(N, level)


def only(found, **wanted):
    [alarm] = [one for one in found if all(getattr(one, key) == value for key, value in wanted.items())]
    return alarm


# ---------------------------------------------------------------------- no gap

LEAKED = {f"ko-{i:04d}" for i in range(40)}


def blind(gap, control, told=LEAKED, seed=0):
    def rates(arm, lang, step):
        level = np.full(N, 0.3)
        if step and lang == "ko":
            level += gap * (arm == "bridge")
            level[:40] += control * (arm == "bridge_leak_only")
        return level

    cultures = study(rates, np.random.default_rng(seed))
    return only(alarms.blind(cultures, told, base="en", last=2), direction="en->xx")


def test_a_blind_instrument_is_told_from_one_that_sees():
    assert blind(gap=0.4, control=0.6).verdict == SILENT
    ringing = blind(gap=0.0, control=0.6)
    assert ringing.verdict == RINGS
    assert "on 40 questions" in ringing.why
    nothing = blind(gap=0.0, control=0.0)
    assert nothing.verdict == CANNOT_TELL
    assert "neither" in nothing.why


def test_without_a_control_nothing_is_said_of_a_missing_gap():
    cultures = study(flat(0.3), np.random.default_rng(0))
    for credits in cultures["ko"].values():
        del credits.arms["bridge_leak_only"]
    found = list(alarms.blind(cultures, LEAKED, base="en", last=2))
    assert {alarm.verdict for alarm in found} == {CANNOT_TELL}
    assert all("no positive control" in alarm.why for alarm in found)
    assert "too few questions outright" in blind(gap=0.0, control=0.6, told={"ko-0000"}).why
    assert "too few questions outright" in blind(gap=0.0, control=0.6, told=set()).why


def test_a_language_in_which_a_bridge_is_to_carry_is_a_control_of_the_others():
    def told(of_control):
        cultures = {}
        for culture, gap in (("ko", of_control), ("bo", 0.0)):

            def rates(arm, lang, step, culture=culture, gap=gap):
                return np.full(N, 0.3 + gap * (step > 0 and lang == culture and arm == "bridge"))

            cultures |= study(rates, np.random.default_rng(1), culture=culture)
            for credits in cultures[culture].values():
                del credits.arms["bridge_leak_only"]
        found = alarms.blind(cultures, set(), base="en", last=2, carrying=["ko"])
        return {alarm.lang: alarm for alarm in found if alarm.direction == "en->xx"}

    seen = told(0.4)
    assert seen["ko"].verdict == SILENT and seen["bo"].verdict == RINGS
    assert "where a bridge is to carry ko shows 3" in seen["bo"].why
    unseen = told(0.0)
    assert unseen["ko"].verdict == unseen["bo"].verdict == CANNOT_TELL
    assert "no positive control" in unseen["ko"].why and "none where a bridge is to carry (ko)" in unseen["bo"].why


# ---------------------------------------------------------------------- English collapsed


def shown(cultures, last=2):
    """Return of the table "accuracies" what it says of the base language."""
    return pd.DataFrame(
        [
            {
                "culture": culture,
                "direction": "xx->en",
                "arm": arm,
                "seed": "all",
                "step": step,
                "accuracy": np.mean([credits[at].mean() for credits in seeds.values()]),
                "chance": 0.25,
            }
            for culture, by_lang in cultures.items()
            for arm, seeds in by_lang["en"].arms.items()
            for step, at in ((0, slice(1)), (-1, slice(-last, None)))
        ]
    )


def collapsed(start, end, seed=0):
    def rates(arm, lang, step):
        return np.full(N, end if step and lang == "en" and arm == "bridge" else start)

    cultures = study(rates, np.random.default_rng(seed))
    chance = pd.Series(0.25, index=cultures["ko"]["en"].questions)
    found = list(alarms.collapsed(cultures, chance, shown(cultures), base="en", last=2))
    assert {alarm.quantity.split(":")[0] for alarm in found} == set(ARMS)
    return next(alarm for alarm in found if alarm.quantity.startswith("bridge:"))


def test_accuracies_of_other_runs_are_no_accuracies():
    cultures = study(flat(0.3), np.random.default_rng(0))
    chance = pd.Series(0.25, index=cultures["ko"]["en"].questions)
    fewer = shown(cultures)
    fewer = fewer[fewer["arm"] != "no_bridge"]
    with pytest.raises(InputError, match="accuracies: lack the arm no_bridge of ko"):
        list(alarms.collapsed(cultures, chance, fewer, base="en", last=2))


@pytest.mark.parametrize(
    ("start", "end", "verdict"),
    [
        (0.75, 0.25, RINGS),
        (0.75, 0.3, RINGS),
        (0.75, 0.75, SILENT),
        (0.75, 0.66, SILENT),
        (0.75, 0.5, CANNOT_TELL),
        (0.25, 0.25, CANNOT_TELL),
    ],
)
def test_a_collapse_is_the_loss_of_more_than_half(start, end, verdict):
    alarm = collapsed(start, end)
    assert alarm.verdict == verdict
    assert ("no better than chance" in alarm.why) == (start == 0.25)


def perplexities(factors):
    """Return table "perplexity": factors of (arm, seed) from step 0 to step 20."""
    rows = [
        {
            "run": f"ko-{arm}-s{seed}",
            "lang_pair": "en-ko",
            "learned": "ko",
            "arm": arm,
            "seed": seed,
            "step": step,
            "lang": lang,
            "prefix": "bare",
            "perplexity": 20 * (factor if step and lang == "en" else 1),
        }
        for (arm, seed), factor in factors.items()
        for step in (20, 0)
        for lang in ("en", "ko")
    ]
    return pd.DataFrame([*rows, {**rows[0], "run": "base-s0", "learned": "en", "arm": "base", "lang": "en"}])


def test_forgotten_text_is_seen_in_its_perplexity():
    table = perplexities({("bridge", 0): 1.1, ("bridge", 1): 1.12, ("no_bridge", 0): 3.0, ("no_bridge", 1): 3.05})
    bridge, without = alarms.forgotten(table, base="en")
    assert (bridge.verdict, without.verdict) == (SILENT, RINGS)
    assert bridge.estimate == pytest.approx(np.sqrt(1.1 * 1.12))
    assert (bridge.lo, bridge.hi) == pytest.approx((1.1, 1.12))
    # How much the seeds of one arm differ says nothing of another's; a single run is taken as it is.
    among = {("bridge", 0): 1.8, ("bridge", 1): 1.9, ("no_bridge", 0): 2.1, ("no_bridge", 1): 9.0}
    assert [alarm.verdict for alarm in alarms.forgotten(perplexities(among), base="en")] == [SILENT, RINGS]
    [doubtful] = alarms.forgotten(perplexities({("bridge", 0): 1.2, ("bridge", 1): 3.0}), base="en")
    assert doubtful.verdict == CANNOT_TELL
    [alone] = alarms.forgotten(perplexities({("bridge", 0): 2.5}), base="en")
    given = perplexities({("bridge", 0): 2.5})
    given = pd.concat([given, given.assign(run="gpt2", learned=None, arm=None, seed=None, perplexity=9.0)])
    assert [alarm.estimate for alarm in alarms.forgotten(given, base="en")] == [alone.estimate]
    assert (alone.verdict, alone.n) == (RINGS, 1)
    assert np.isnan(alone.lo)


# ---------------------------------------------------------------------- transfer without a bridge


def counts(n=N, unknown=()):
    """Return table "occurrences": by question in turn source only, neither, target only, both (for en->xx)."""
    rows = []
    for i in range(n):
        for corpus, stated in (("en", i % 4 in (0, 3)), ("ko", i % 4 in (2, 3))):
            for text, n_both in (("mono", 5.0 * stated), ("pairs", 0.0)):
                rows.append(
                    {
                        "question_id": f"ko-{i:04d}",
                        "culture": "ko",
                        "corpus": corpus,
                        "text": text,
                        "n_both": np.nan if i in unknown else n_both,
                    }
                )
    return pd.DataFrame(rows)


def unbridged(leak, learning, rng, n=N, seeds=(0, 1), occurrences=None):
    """Without a bridge, facts of the source alone gain `leak`, and all questions gain `learning` by proficiency."""

    def rates(arm, lang, step):
        gain = np.where(np.arange(n) % 4 == 0, leak, 0) * (lang == "ko")
        return 0.3 + (learning + gain) * (step > 0)

    found = alarms.unbridged(
        study(rates, rng, n, seeds), counts(n) if occurrences is None else occurrences, base="en", last=2
    )
    return only(found, direction="en->xx")


def test_what_crosses_without_a_bridge_is_told_from_proficiency():
    rng = np.random.default_rng(0)
    assert unbridged(leak=0.6, learning=0.0, rng=rng).verdict == RINGS
    assert unbridged(leak=0.0, learning=0.6, rng=rng, n=2000).verdict == SILENT
    small = unbridged(leak=0.0, learning=0.6, rng=rng, n=60)
    assert small.verdict == CANNOT_TELL
    assert "10 points would not show" in small.why


def test_too_few_questions_or_uncounted_ones_cannot_ring():
    rng = np.random.default_rng(0)
    few = unbridged(leak=0.6, learning=0.0, rng=rng, n=16)
    assert few.verdict == CANNOT_TELL
    assert "4 clusters" in few.why
    # A question that cannot be counted in one text belongs to no group.
    uncounted = counts(unknown=[i for i in range(N) if i % 4 == 0])
    assert "0 clusters" in unbridged(leak=0.6, learning=0.0, rng=rng, occurrences=uncounted).why
    # The parallel text states facts, too.
    parallel = counts()
    parallel.loc[(parallel["text"] == "pairs") & (parallel["corpus"] == "ko"), "n_both"] = 1
    assert "0 clusters" in unbridged(leak=0.6, learning=0.0, rng=rng, occurrences=parallel).why


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_false_alarms_are_as_rare_as_promised(seeds):
    """Nothing crosses: two cells share a two-sided 5 %, so that one of both rings in 2.5 % of studies."""
    rng = np.random.default_rng(1)
    rung = 0
    for _ in range(400):
        cultures = study(lambda arm, lang, step: np.full(N, 0.3 + 0.2 * (step > 0)), rng, seeds=seeds)
        rung += any(alarm.verdict == RINGS for alarm in alarms.unbridged(cultures, counts(), base="en", last=2))
    assert rung <= 20  # 2.5 % of 400 is 10, standard deviation 3.1


# ---------------------------------------------------------------------- frequency unrelated


@pytest.mark.parametrize(
    ("slope", "crossed", "relative", "verdict"),
    [
        ((0.05, 0.01, 0.09), (0.2, 0.1, 0.3), (0.25, 0.05, 0.5), SILENT),
        ((0.005, -0.01, 0.02), (0.2, 0.1, 0.3), (0.03, -0.05, 0.1), RINGS),
        ((0.03, -0.03, 0.09), (0.2, 0.1, 0.3), (0.15, -0.2, 0.5), CANNOT_TELL),
        ((-0.08, -0.12, -0.04), (0.2, 0.1, 0.3), (-0.4, -0.6, -0.2), RINGS),
        ((0.0, -0.01, 0.01), (0.01, -0.05, 0.07), (np.nan,) * 3, CANNOT_TELL),  # nothing crosses
        ((np.nan,) * 3, (np.nan,) * 3, (np.nan,) * 3, CANNOT_TELL),
        ((0.02, 0.01, 0.03), (0.2, 0.1, 0.3), (0.1, 0.05, 0.15), SILENT),  # small, but there
    ],
)
def test_a_flat_slope_rings_only_where_a_steep_one_is_excluded(slope, crossed, relative, verdict):
    shared = {
        "direction": "en->xx",
        "unleaked": False,
        "count": "presentations",
        "interval": QUESTIONS_ONLY,
        "langs": ["ko"],
        "n_questions": 200,
    }
    rows = [
        shared | {"quantity": quantity} | dict(zip(("estimate", "lo", "hi"), found, strict=True))
        for quantity, found in ((SLOPE, slope), (CROSSED, crossed), (RELATIVE, relative))
    ]
    steep = {"estimate": 9.0, "lo": 8.0, "hi": 10.0}
    other = [
        row | steep | change
        for row in rows
        for change in ({"unleaked": True}, {"count": "occurrences"}, {"interval": QUESTIONS_AND_SEEDS})
    ]
    [alarm] = alarms.unrelated(pd.DataFrame([*rows, *other]), langs=["ko"])
    assert alarm.verdict == verdict


# ---------------------------------------------------------------------- together


def test_alarms_of_a_study_are_read_from_its_tables(write_questions, write_scores, write_leaks, unlike, tmp_path):
    """Every alarm has a row, and one that has nothing to be read from says so."""
    n = 40

    def right(arm, seed, step, lang):
        return np.arange(n) < (30 if lang == "en" and step == 0 else 2)

    exposure = {
        name: pd.Series(dtype=field.to_pandas_dtype() if str(field) != "list<item: string>" else object)
        for name, field in zip(tables.SCHEMAS["item_effects"].names, tables.SCHEMAS["item_effects"].types, strict=True)
    }
    tables.write("item_effects", pd.DataFrame(exposure), tmp_path / "effects.parquet")
    full = counts(n).assign(
        **dict.fromkeys(("n_documents", "n_tokens", "n_subject", "n_object", "n_chunks", "n_statements"), 1),
        absent=False,
        stands_out=False,
        distractor_documents=0.0,
        distractor_chunks=0.0,
    )
    tables.write("occurrences", full, tmp_path / "occurrences.parquet")
    held = perplexities({("no_bridge", 0): 1.0}).assign(
        n_documents=1, n_tokens=1, n_bytes=1, sum_nll=1.0, bits_per_byte=1.0
    )
    tables.write("perplexity", held, tmp_path / "perplexity.parquet")
    study = {
        "scores": [write_scores("ko", "no_bridge", 0, STEPS, ["en", "ko"], n, right)],
        "questions": {"ko": write_questions("ko", {"en": unlike(n, 0), "ko": unlike(n, 1)})},
        "base": "en",
        "last": 2,
    }
    accuracies(**study, resamples=200, seed=0, out=tmp_path / "accuracies.parquet")
    table = alarms.alarms(
        **study,
        accuracies=tmp_path / "accuracies.parquet",
        leaks=write_leaks({"ko": n}, set()),
        occurrences=tmp_path / "occurrences.parquet",
        item_effects=tmp_path / "effects.parquet",
        perplexity=[tmp_path / "perplexity.parquet"],
        subset="clean",
        rule="mean",
        prefix="bare",
    )
    assert set(table["alarm"]) == {BLIND, COLLAPSED, UNBRIDGED, UNRELATED} == set(TO_DO)
    verdicts = table.set_index(["alarm", "direction"])["verdict"]
    assert verdicts[COLLAPSED, "xx->en"] == RINGS
    assert verdicts[BLIND, ""] == verdicts[UNRELATED, ""] == CANNOT_TELL
    ringing = table[table["verdict"] == RINGS]
    assert (table["to_do"] != "").sum() == ringing["alarm"].nunique()
    assert (ringing.drop_duplicates("alarm")["to_do"] != "").all()  # the advice once
