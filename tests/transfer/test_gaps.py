"""Gaps with known answers."""

import numpy as np
import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.transfer.contrasts import ALL, AT_RISK, BEYOND, SCALES, Contrast
from lorebridge.transfer.gaps import gaps
from lorebridge.transfer.inference import QUESTIONS_AND_SEEDS, QUESTIONS_ONLY

N = 40
STEPS = [0, 10, 20, 30, 40]


def made(study, folder, name="gaps"):
    """Make both tables; return the notes."""
    return gaps(**study, out=folder / f"{name}.parquet", asymmetry=folder / f"asymmetry-{name}.parquet")


def main_rows(path):
    """The rows of all questions and of contrasts between arms."""
    table = tables.read(path)
    between = ~table["contrast"].str.endswith("step0")
    return table[(table["scale"] == ALL) & ~table["unleaked"] & between]


@pytest.fixture
def study(write_questions, write_scores, unlike, write_leaks):
    """With the bridge the first 20 Korean questions are right from step 20 on (seed 1: 10); without it none."""

    def right(arm, seed, step, lang):
        wins = np.zeros(N, dtype=bool)
        if arm == "bridge" and lang == "ko" and step >= 20:
            wins[: 20 if seed == 0 else 10] = True
        if lang == "en":
            wins[:4] = True
        return wins

    questions = {"ko": write_questions("ko", {"en": unlike(N), "ko": unlike(N, 1)})}
    scores = [
        write_scores("ko", arm, seed, STEPS, ["en", "ko"], N, right)
        for arm in ("bridge", "no_bridge")
        for seed in (0, 1)
    ]
    return {
        "scores": scores,
        "questions": questions,
        "leaks": write_leaks({"ko": N}, {"ko-0000", "ko-0001"}),
        "base": "en",
        "resource": {"ko": "high", "bo": "low"},
        "contrasts": [["bridge", "no_bridge"]],
        "subset": "clean",
        "rule": "mean",
        "last": 3,
        "resamples": 500,
        "seed": 0,
    }


def test_gap_is_the_paired_difference_of_accuracies(study, tmp_path):
    notes = made(study, tmp_path)
    table = main_rows(tmp_path / "gaps.parquet").set_index(["direction", "step", "seed", "interval"])
    assert notes == {"ko": {"questions": N, "clusters": N, "leaked": 2}}

    def gap(step, seed, direction="en->xx"):
        return table.loc[(direction, step, seed, QUESTIONS_ONLY)]

    assert [gap(s, "0")["gap"] for s in STEPS] == [0, 0, 0.5, 0.5, 0.5]
    assert [gap(s, "1")["gap"] for s in STEPS] == [0, 0, 0.25, 0.25, 0.25]
    assert [gap(s, "all")["gap"] for s in STEPS] == [0, 0, 0.375, 0.375, 0.375]
    assert gap(-1, "all")["gap"] == 0.375
    assert (gap(-1, "0")["accuracy"], gap(-1, "0")["accuracy_reference"]) == (0.5, 0)
    # Both arms have the same English questions right: no difference, and none in any resample; but 40 are not all.
    # Of seeds there are two, and other seeds are spoken of by these alone.
    flat = table.loc["xx->en"]
    assert (flat["gap"] == 0).all()
    seen = np.where(flat.index.get_level_values("interval") == QUESTIONS_ONLY, N, 2)
    unseen = 1 - 0.025 ** (1 / seen)
    assert np.array(flat[["lo", "hi"]]) == pytest.approx(np.stack([-unseen, unseen], axis=1))
    assert (flat["accuracy"] == 0.1).all()
    assert (table["contrast"] == "bridge - no_bridge").all()
    # 40 independent questions, 20 of which differ: the interval is about 2 x 1.96 x sqrt(.25 / 40) wide.
    assert gap(-1, "0")["hi"] - gap(-1, "0")["lo"] == pytest.approx(2 * 1.96 * np.sqrt(0.25 / N), rel=0.15)


def test_seed_variance_widens_the_second_interval(study, tmp_path):
    made(study, tmp_path)
    table = main_rows(tmp_path / "gaps.parquet").set_index("interval")
    seeds, alike = "2 seeds: wide, covers 95 to 99 %", "no cluster differs from another"
    assert set(table.loc[QUESTIONS_AND_SEEDS, "note"]) == {seeds, f"{seeds}; {alike}"}
    assert set(table.loc[QUESTIONS_ONLY, "note"]) == {"", alike}
    both = table.loc[QUESTIONS_AND_SEEDS].set_index("direction").loc["en->xx"]
    assert (both["step"], both["seed"], both["gap"]) == (-1, "all", 0.375)
    # Seeds .5 and .25: standard error sqrt(.25^2 / 2 / 2) = .125 with one degree of freedom dominates.
    assert both["lo"] < 0 < 0.75 < both["hi"]


def test_three_seeds_have_an_interval_over_them(study, tmp_path, write_scores):
    def right(arm, seed, step, lang):
        return np.arange(N) < (20 if arm == "bridge" and lang == "ko" and step >= 20 else 0)

    study["scores"] += [write_scores("ko", arm, 2, STEPS, ["en", "ko"], N, right) for arm in ("bridge", "no_bridge")]
    made(study, tmp_path)
    table = main_rows(tmp_path / "gaps.parquet").set_index(["direction", "interval"])
    assert table.loc[("en->xx", QUESTIONS_AND_SEEDS), "gap"] == pytest.approx((20 + 10 + 20) / 3 / N)


def test_one_seed_has_no_interval_over_seeds(study, tmp_path):
    study["scores"] = [path for path in study["scores"] if "s0" in path.name]
    made(study, tmp_path)
    table = main_rows(tmp_path / "gaps.parquet")
    assert set(table["interval"]) == {QUESTIONS_ONLY}
    assert set(table["seed"]) == {"0", "all"}


def test_another_culture_changes_no_row(study, tmp_path, write_questions, write_scores, unlike):
    made(study, tmp_path, "one")
    study["questions"]["bo"] = write_questions("bo", {"en": unlike(9, 2), "bo": unlike(9, 3)})
    rng = np.random.default_rng(0)
    study["scores"] += [
        write_scores("bo", arm, 0, STEPS, ["en", "bo"], 9, lambda *_: rng.random(9) < 0.5)
        for arm in ("bridge", "no_bridge")
    ]
    made(study, tmp_path, "two")
    one, two = (main_rows(tmp_path / f"{name}.parquet") for name in ("one", "two"))
    # But for Holm's adjustment, whose family grows.
    one, two = (
        t[(t["lang"] == "ko") & (t["interval"] == QUESTIONS_ONLY)].drop(columns="p_holm").reset_index(drop=True)
        for t in (one, two)
    )
    assert two.equals(one)


def test_same_bytes_twice(study, tmp_path):
    for name in "ab":
        made(study, tmp_path, name)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert (tmp_path / "asymmetry-a.parquet").read_bytes() == (tmp_path / "asymmetry-b.parquet").read_bytes()


def test_arms_that_were_not_run(study, tmp_path):
    study["contrasts"].append(["placebo", "no_bridge"])
    made(study, tmp_path)
    assert set(main_rows(tmp_path / "gaps.parquet")["contrast"]) == {"bridge - no_bridge"}
    study["contrasts"] = [["placebo", "no_bridge"]]
    with pytest.raises(InputError, match="common seed"):
        made(study, tmp_path)


def test_runs_that_cannot_be_paired_are_refused(study, tmp_path, write_scores):
    study["scores"][0] = write_scores("ko", "bridge", 0, STEPS[:-1], ["en", "ko"], N, lambda *_: np.ones(N, dtype=bool))
    with pytest.raises(InputError, match="ko-bridge-s0 lacks steps"):
        made(study, tmp_path)


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_a_question_that_one_language_is_not_asked_is_refused(study, tmp_path, lang):
    for name, path in [("questions", study["questions"]["ko"]), *(("scores", path) for path in study["scores"])]:
        table = tables.read(path)
        tables.write(name, table[(table["lang"] != lang) | (table["question_id"] != "ko-0039")], path)
    with pytest.raises(InputError, match="not all questions of ko are asked in both languages"):
        made(study, tmp_path)


def test_too_few_checkpoints_and_absent_runs_are_refused(study, tmp_path):
    with pytest.raises(InputError, match="last 9 checkpoints"):
        made(study | {"last": 9}, tmp_path)
    study["questions"] = {"bo": study["questions"]["ko"]}
    with pytest.raises(InputError, match="no run that learned bo"):
        made(study, tmp_path)


def test_sign_flips_and_holm(study, tmp_path):
    made(study, tmp_path)
    table = main_rows(tmp_path / "gaps.parquet")
    tested = table[table["p"].notna()].set_index(["interval", "direction"]).sort_index()
    assert (tested["step"] == -1).all() and (tested["seed"] == "all").all()
    given = tested.loc[QUESTIONS_ONLY]
    assert given.loc["en->xx", "p"] == 1 / 501  # 20 clusters of one sign: none of 500 random signs is as far out
    assert given.loc["xx->en", "p"] == 1
    assert given["p_holm"].tolist() == [2 / 501, 1]
    assert tested.loc[(QUESTIONS_AND_SEEDS, "en->xx"), "p"] > 0.1  # two seeds that disagree by half


def test_what_was_learned_since_step_0(study, tmp_path):
    made(study, tmp_path)
    table = tables.read(tmp_path / "gaps.parquet")
    learned = table[table["contrast"] == "bridge - step0"].set_index(
        ["direction", "step", "seed", "interval", "unleaked"]
    )
    assert learned.loc[("en->xx", -1, "0", QUESTIONS_ONLY, False), "gap"] == 0.5
    assert learned.loc[("en->xx", -1, "0", QUESTIONS_ONLY, False), "accuracy_reference"] == 0
    assert (learned.loc["xx->en", "gap"] == 0).all()
    assert set(table["contrast"]) == {"bridge - no_bridge", "bridge - step0", "no_bridge - step0"}
    assert set(learned["scale"]) == {ALL}


def test_the_risk_set_is_what_is_known_in_the_source_and_not_answered(study, tmp_path):
    made(study, tmp_path)
    table = tables.read(tmp_path / "gaps.parquet")
    risk = table[(table["scale"] == AT_RISK) & ~table["unleaked"] & (table["interval"] == QUESTIONS_ONLY)]
    risk = risk.set_index(["direction", "seed"])
    # Known in English: the first 4 questions, none of them answered in Korean without the bridge, all with it.
    assert (risk.loc["en->xx", "at_risk"] == 0.1).all() and (risk.loc["en->xx", "gap"] == 1).all()
    # Known in Korean: half of the first 20 by the mean of the two arms, four of them known in English anyway.
    assert risk.loc[("xx->en", "0"), "at_risk"] == pytest.approx(0.5 * 16 / N)
    assert (risk.loc["xx->en", "gap"] == 0).all()


@pytest.mark.parametrize("last", [1, 2, 3])
def test_the_last_checkpoints_are_pooled_and_no_other(study, tmp_path, write_scores, last):
    """Answers change at every step; English is known at step 0 alone, to the reference more than to the other arm."""
    answered = dict(zip(STEPS, (3, 20, 8, 12, 4), strict=True))

    def right(arm, seed, step, lang):
        n = answered[step] if (arm, lang) == ("bridge", "ko") else 0
        if (lang, step) == ("en", 0):
            n = 2 if arm == "bridge" else 6
        return np.arange(N) < n

    arms = ("bridge", "no_bridge")
    study["scores"] = [write_scores("ko", arm, 0, STEPS, ["en", "ko"], N, right) for arm in arms]
    made(study | {"last": last}, tmp_path)
    table = tables.read(tmp_path / "gaps.parquet")
    table = table[~table["unleaked"] & (table["step"] == -1) & (table["seed"] == "0")]
    table = table[table["interval"] == QUESTIONS_ONLY].set_index(["contrast", "scale", "direction"]).sort_index()
    pooled = list(answered.values())[-last:]
    gap = table.loc[("bridge - no_bridge", ALL)]["gap"]
    assert gap["en->xx"] == pytest.approx(np.mean(pooled) / N)
    assert gap["xx->en"] == 0
    risk = table.loc[("bridge - no_bridge", AT_RISK)]
    assert risk.loc["en->xx", "at_risk"] == pytest.approx(6 / N)
    assert risk.loc["en->xx", "gap"] == pytest.approx(np.mean([min(n, 6) for n in pooled]) / 6)
    assert risk.loc["xx->en", "at_risk"] == pytest.approx(np.mean(pooled) / 2 / N)
    assert table.loc[("bridge - step0", ALL, "en->xx"), "gap"] == pytest.approx((np.mean(pooled) - 3) / N)


def test_a_wrong_option_that_comes_along_is_taken_from_the_risk_set(study, tmp_path):
    """English prefers the second option of ten questions at step 0, and then Korean does, with the bridge alone."""
    paths = []
    for path in study["scores"]:
        table = tables.read(path)
        taken = (table["lang"] == "ko") & (table["arm"] == "bridge") & (table["step"] > 0)
        liked = ((table["lang"] == "en") & (table["step"] == 0)) | taken
        liked &= table["question_id"].between("ko-0020", "ko-0029")
        table.loc[liked & (table["option_index"] == 1), "sum_logprob"] = -1.0
        paths.append(tmp_path / f"alike-{path.name}")
        tables.write("scores", table, paths[-1])
    made(study | {"scores": paths}, tmp_path)
    table = tables.read(tmp_path / "gaps.parquet")
    table = table[(table["interval"] == QUESTIONS_ONLY) & ~table["unleaked"] & (table["direction"] == "en->xx")]
    rows = table[table["scale"] != ALL].set_index(["scale", "seed"]).sort_index()
    assert (rows.loc[AT_RISK, "gap"] == 1).all()
    # Four facts are known and cross. Of ten questions one of three wrong options comes along, instead of a tie of the
    # three. Of 16 other questions they tie in English, and in Korean until the bridge has the answer right.
    assert rows.loc[(BEYOND, "0"), "gap"] == pytest.approx((4 - 10 * (1 - 1 / 3) / 3 + 16 * (1 / 3) ** 2) / 4)
    assert (rows["at_risk"] == 0.1).all()


def test_a_gap_among_those_at_risk_has_no_bounds():
    """One of four questions is at risk and counts for all."""
    first, second = np.zeros((2, 1, 1, 4))
    first[..., 0] = 0.5
    contrast = Contrast(
        culture="ko",
        direction="en->xx",
        name="bridge - no_bridge",
        clusters=np.arange(4),
        questions=list("abcd"),
        seeds=[0],
        steps=[0],
        first=first,
        second=second,
        known=np.array([[1.0, 0, 0, 0]]),
        alike=np.zeros((1, 4)),
        last=1,
    )
    assert {scale: contrast.sample(scale).bounds for scale in SCALES} == {ALL: (-1, 1), AT_RISK: None, BEYOND: None}
    assert contrast.sample(ALL).values.tolist() == [[0.5, 0, 0, 0]]
    assert contrast.sample(AT_RISK).estimate == 0.5


def test_leaked_questions_are_left_out(study, tmp_path):
    made(study, tmp_path)
    table = tables.read(tmp_path / "gaps.parquet")
    rows = table[table["unleaked"]].set_index(["contrast", "direction", "scale", "seed", "interval"])
    assert set(rows["step"]) == {-1} and set(rows["n_questions"]) == {N - 2}
    key = ("bridge - no_bridge", "en->xx", ALL, "0", QUESTIONS_ONLY)
    assert rows.loc[key, "gap"] == pytest.approx(18 / 38)
    # Where the parallel text answers everything, nothing is left to report.
    leaks = tables.read(study["leaks"])
    tables.write("leaks", leaks.assign(n_pairs=1), study["leaks"])
    made(study, tmp_path)
    assert not tables.read(tmp_path / "gaps.parquet")["unleaked"].any()


def test_runs_without_step_0_are_refused(study, tmp_path, write_scores):
    study["scores"] = [
        write_scores("ko", arm, 0, STEPS[1:], ["en", "ko"], N, lambda *_: np.ones(N, dtype=bool))
        for arm in ("bridge", "no_bridge")
    ]
    with pytest.raises(InputError, match="step 0"):
        made(study, tmp_path)
