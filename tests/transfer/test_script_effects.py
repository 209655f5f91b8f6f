"""The effect of one script on judged answers: against dense regressions, brute force and planted truth."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from lorebridge import tables
from lorebridge.cli import main
from lorebridge.corpora.openqa import known_languages
from lorebridge.errors import InputError
from lorebridge.transfer.cells import ALL, PAIRS, SOURCE_RIGHT, STAR, cells_of, crossed, predictors
from lorebridge.transfer.labelings import alike, labelings, n_labelings, numbered
from lorebridge.transfer.script_models import fitted, marginal
from lorebridge.transfer.scripts import (
    detectable_effect_of_script,
    effect,
    pair_sd,
    regress,
    script_effects,
    shapley,
    term,
    values_of,
)

ECLEKTIC = ("de", "en", "es", "fr", "he", "hi", "id", "it", "ja", "ko", "pt", "zh")
SIX = ("de", "en", "he", "hi", "id", "ja")
KNOWN = known_languages()


def answers(langs, rng, *, n=4, models=2, chance=None, hub=None, samples=1):
    """Judged answers to n questions a language; `chance` gives that of a right one by source and target."""
    rows = [
        {
            "dataset": "set",
            "model": f"m{model}",
            "question_id": f"{source}{question}",
            "source_lang": source,
            "target_lang": target,
            "hint": "none",
            "sample": sample,
            "correct": bool(rng.random() < (0.8 if source == target else chance(source, target) if chance else 0.5)),
            "judge": "",
        }
        for model, source, question, target, sample in itertools.product(
            range(models), langs, range(n), langs, range(samples)
        )
        if hub is None or source == target or hub in (source, target)
    ]
    return pd.DataFrame(rows)


def script_of(cells, others=None, most=20_000, name="same script"):
    beside = predictors(cells.langs, cells.first, cells.second, KNOWN, {}, None) if others is None else others
    return term(name, cells.langs, cells.first, cells.second, KNOWN, beside, cells.hub, most, 0)


def same(source, target, key="script"):
    return KNOWN[source][key] == KNOWN[target][key]


def test_labelings_are_all_and_each_once():
    assert n_labelings(numbered([KNOWN[lang]["script"] for lang in ECLEKTIC]), [0] * 12) == 792
    labels, blocks = numbered(["a", "a", "b", "b", "c", "a", "d"]), [0, 0, 0, 0, 0, 1, 1]
    found = labelings(labels, blocks, 1000, 0)
    brute = {
        (*first, *second)
        for first in itertools.permutations(labels[:5].tolist())
        for second in itertools.permutations(labels[5:].tolist())
    }
    assert set(map(tuple, found.tolist())) == brute and len(found) == len(brute) == n_labelings(labels, blocks)
    assert found[0].tolist() == labels.tolist()
    drawn = labelings(labels, blocks, 10, 0)
    assert drawn.shape == (11, 7) and (np.sort(drawn[:, :5]) == np.sort(labels[:5])).all()
    assert drawn[0].tolist() == labels.tolist()


def test_eclektic_rests_on_hindi_and_indonesian():
    cells = cells_of(crossed(answers(ECLEKTIC, np.random.default_rng(0), n=1, models=1), ALL))
    of = script_of(cells, others={})
    family = alike(numbered([KNOWN[lang]["family"] for lang in cells.langs]), cells.first, cells.second)
    counted = [int((of.values == a).astype(int) @ (family == b)) for a, b in ((1, 1), (1, 0), (0, 1), (0, 0))]
    assert counted == [30, 12, 12, 78]
    found = effect(cells, of)
    assert found.vif == pytest.approx(4.35, abs=0.01)
    assert found.information["hi"] == pytest.approx(0.41, abs=0.005)
    assert found.information["id"] == pytest.approx(0.29, abs=0.005)
    assert sum(found.information.values()) == pytest.approx(2)


def dense(rows, of, cells):
    """The same linear model by dummies."""
    place = {
        (cells.langs[a], cells.langs[b]): i for i, (a, b) in enumerate(zip(cells.first, cells.second, strict=True))
    }
    pair = np.array([place[pair] for pair in zip(rows["source"], rows["target"], strict=True)])
    direction = rows["target"] == cells.hub
    groups = [rows["model"] + direction.astype(str)] if cells.hub else [
        rows["model"] + rows["question"], rows["model"] + rows["target"]
    ]  # fmt: skip
    x = np.column_stack(
        [
            of.values[pair],
            *(values[pair] for values in of.others.values()),
            *(pd.get_dummies(group).to_numpy(float) for group in groups),
        ]
    )
    return np.linalg.lstsq(x, rows["right"].to_numpy(), rcond=None)[0][0]


@pytest.mark.parametrize("hub", [None, "en"])
@pytest.mark.parametrize("given", [SOURCE_RIGHT, ALL])
def test_the_estimate_is_that_of_dummies(hub, given):
    rows = crossed(answers(ECLEKTIC, np.random.default_rng(1), hub=hub), given)
    cells = cells_of(rows)
    assert cells.shape == (PAIRS if hub is None else STAR) and cells.hub == hub
    of = script_of(cells)
    assert effect(cells, of).estimate == pytest.approx(dense(rows, of, cells), abs=1e-9)
    assert cells.counts.sum() == len(rows) and cells.right.sum() == rows["right"].sum()


def test_p_and_interval_are_those_of_brute_force():
    """Every order of the labels, t of each; the interval holds what the same test of less of the effect lets stand."""
    rng = np.random.default_rng(3)
    rows = crossed(answers(SIX, rng, n=8, chance=lambda s, t: 0.4 + 0.3 * same(s, t)), ALL)
    cells = cells_of(rows)
    of = script_of(cells)

    def tested(right):
        shifted = cells_of(rows.assign(right=right))
        z = np.stack(list(of.others.values()), axis=1)
        gram, moment = shifted.gram, shifted.moment
        keep = np.eye(len(gram)) - z @ np.linalg.pinv(z.T @ gram @ z) @ z.T @ gram
        labels = numbered([KNOWN[lang]["script"] for lang in cells.langs])
        statistics = []
        for order in itertools.permutations(range(len(labels))):
            d = keep @ alike(labels[list(order)], cells.first, cells.second)
            if d @ gram @ d > 1e-9:
                statistics.append(abs(d @ moment) / np.sqrt(d @ gram @ d))
        return np.mean(np.array(statistics) >= statistics[0] * (1 - 1e-9))

    found = effect(cells, of, level=0.8)
    assert found.labelings <= 20 and found.p == pytest.approx(tested(rows["right"].to_numpy()))
    pair = {(cells.langs[a], cells.langs[b]): v for a, b, v in zip(cells.first, cells.second, of.values, strict=True)}
    own = np.array([pair[p] for p in zip(rows["source"], rows["target"], strict=True)])
    for end, inwards in ((found.lo, 1e-4), (found.hi, -1e-4)):
        assert tested(rows["right"] - (end + inwards) * own) > 0.2 >= tested(rows["right"] - (end - inwards) * own)


def test_a_planted_effect_is_found_by_every_method():
    rng = np.random.default_rng(5)
    judged = answers(ECLEKTIC, rng, n=12, chance=lambda s, t: 0.4 + 0.3 * same(s, t))
    rows = crossed(judged, SOURCE_RIGHT)
    cells = cells_of(rows)
    of = script_of(cells)
    found = effect(cells, of)
    assert found.lo < 0.3 < found.hi and found.p < 0.01
    for method in ("logit", "gee", "rows"):
        said = fitted(method, rows, values_of(cells, of), cells.hub)
        assert said.lo < 0.3 < said.hi and said.p < 0.01, method
    little = rows[rows["source"].isin(SIX) & rows["target"].isin(SIX)]
    said = fitted("mixed", little, values_of(cells, of), cells.hub)
    assert said.lo < 0.3 < said.hi and said.p is None
    explained = {name: (alone, mean) for name, alone, _, mean in shapley(cells, {of.name: of.values, **of.others})}
    assert explained["same script"][1] == max(mean for _, mean in explained.values())


def test_shapley_adds_up():
    cells = cells_of(crossed(answers(ECLEKTIC, np.random.default_rng(6)), ALL))
    of = script_of(cells)
    named = {of.name: of.values, **of.others}
    rows = list(shapley(cells, named))
    x = np.stack(list(named.values()), axis=1)
    m = x.T @ cells.moment
    total = cells.moment @ np.linalg.pinv(cells.gram, rcond=1e-10) @ cells.moment
    assert sum(mean for *_, mean in rows) == pytest.approx(m @ np.linalg.inv(x.T @ cells.gram @ x) @ m / total)


def test_labels_of_a_star_stay_within_families():
    loko = [lang for lang, said in KNOWN.items() if "multiloko" in said]
    cells = cells_of(crossed(answers(loko, np.random.default_rng(0), n=1, models=1, hub="en"), ALL))
    of = script_of(cells)
    assert len(of.dealt) == 16_016 and of.values.sum() == 30
    leaf = np.where(np.array(cells.langs)[cells.first] == "en", cells.second, cells.first)
    malayic = np.isin(leaf, [cells.langs.index(lang) for lang in ("id", "ms", "tl")])
    assert (of.dealt[:, malayic] == 1).all()


def test_pairs_that_differ_are_told_from_answers_that_do():
    def spread(sd, seed):
        rng = np.random.default_rng(seed)
        own = {pair: 0.5 + sd * rng.standard_normal() for pair in itertools.permutations(ECLEKTIC, 2)}
        cells = cells_of(crossed(answers(ECLEKTIC, rng, n=60, models=1, chance=lambda s, t: own[s, t]), ALL))
        of = script_of(cells)
        return pair_sd(cells, {of.name: of.values, **of.others})

    assert spread(0.1, 0) == pytest.approx(0.1, abs=0.02)
    assert spread(0.0, 0) < 0.03


def test_what_can_be_found_before_any_answer():
    def found(langs, n=30, **given):
        rows = [(f"{a}{i}", a, b) for a in langs for b in langs for i in range(n)]
        questions = pd.DataFrame(rows, columns=["question_id", "source_lang", "lang"])
        said = {"models": 4, "known": 0.5, "right": 0.5, "pair_sd": 0.0} | given
        return detectable_effect_of_script(questions, KNOWN, **said)

    one = found(ECLEKTIC)
    assert found(ECLEKTIC, models=16) == pytest.approx(one / 2)
    assert found(ECLEKTIC, pair_sd=0.05) > one
    # However many answers are bought, languages that differ stay as many as they are.
    assert found(ECLEKTIC, pair_sd=0.05, models=10_000) > 0.05
    assert found(["he", "hi", "ko"]) is None


def test_samples_are_compared_with_their_own_and_questions_of_no_language_with_all():
    judged = answers(("de", "en", "he"), np.random.default_rng(0), n=1, models=1, samples=2)
    judged["correct"] = judged["sample"] == 0
    assert len(crossed(judged, SOURCE_RIGHT)) == 6 and len(crossed(judged, ALL)) == 12
    free = judged[judged["question_id"] == "de0"].assign(source_lang=None)
    rows = crossed(free, SOURCE_RIGHT)
    assert sorted(zip(rows["source"], rows["target"], strict=True)) == sorted(
        itertools.permutations(("de", "en", "he"), 2)
    )


def test_what_cannot_be_regressed_is_one_line():
    judged = answers(("de", "en", "he"), np.random.default_rng(0))
    for table, languages, said in (
        (judged.assign(hint="name"), KNOWN, "hint none: no answer has it. Choose one of: name"),
        (pd.concat([judged, judged.assign(judge="b")]), KNOWN, "column judge: answers have several verdicts"),
        (judged, {"de": KNOWN["de"]}, "language en: its script and family are not known"),
        (judged[judged["source_lang"] != judged["target_lang"]], KNOWN, "no question is answered in its own language"),
        (judged[~judged["target_lang"].isin(["he"]) & (judged["source_lang"] != "he")], KNOWN, "de and en alone"),
        (judged.assign(dataset="a set")[judged["source_lang"] != judged["target_lang"]], KNOWN, "a set, column target"),
        (judged.assign(correct=False), KNOWN, "none in another language than its question's counts"),
    ):
        with pytest.raises(InputError, match=said):
            regress(table, languages)


def test_a_model_with_few_languages_has_no_effect_of_its_own():
    judged = answers(SIX, np.random.default_rng(0), n=4)
    few = judged["model"].eq("m1") & ~(
        judged["source_lang"].isin(["de", "en"]) & judged["target_lang"].isin(["de", "en"])
    )
    effects = pd.DataFrame(regress(judged[~few], KNOWN, methods=[]).script_effects)
    by_model = effects[effects["model"].notna()].set_index("model")
    assert by_model.loc["m0", "estimate"] is not None and "fewer than 3 languages" in by_model.loc["m1", "note"]


def test_the_tables_and_the_command(tmp_path, capsys):
    judged = answers(SIX, np.random.default_rng(2), n=6)
    tables.write("judged", judged, tmp_path / "judged.parquet")
    judged.to_csv(tmp_path / "judged.csv", index=False)
    names = ("script_effects", "script_influence", "script_predictors")
    out = {name: tmp_path / f"{name}.parquet" for name in names}
    script_effects(
        judged=tmp_path / "judged.parquet",
        languages=KNOWN,
        hint="none",
        methods=["logit"],
        labelings=1000,
        seed=0,
        out=out[names[0]],
        influence_out=out[names[1]],
        predictors_out=out[names[2]],
    )
    effects = tables.read(out["script_effects"])
    assert len(effects) == 2 * 2 + 2 * 1 + 2  # two terms, both conditions; a peer; a row a model
    assert set(tables.read(out["script_influence"])["lang"]) == set(SIX)
    whole = tables.read(out["script_predictors"])
    assert whole["predictor"].tolist() == ["same script", "same family"]
    assert main(["regress", str(tmp_path / "judged.csv"), "--out", str(tmp_path / "all.json")]) == 0
    said = json.loads((tmp_path / "all.json").read_text())
    assert set(said) == set(names)
    first = said["script_effects"][0]
    assert first["estimate"] == pytest.approx(effects["estimate"].iloc[0]) and first["method"] == "permutation"
    printed = capsys.readouterr().out
    assert "same script" in printed and "rests on" in printed and "nan" not in printed
    for name in ("effects.csv", "effects.parquet"):
        assert main(["regress", str(tmp_path / "judged.parquet"), "--out", str(tmp_path / name)]) == 0
    assert len(pd.read_csv(tmp_path / "effects.csv")) == len(tables.read(tmp_path / "effects.parquet"))


def test_the_command_takes_languages_distances_and_volumes(tmp_path, capsys):
    judged = answers(("de", "en", "he", "hi", "xx"), np.random.default_rng(2), n=6)
    judged.to_csv(tmp_path / "judged.csv", index=False)
    given = ["regress", str(tmp_path / "judged.csv")]
    assert main(given) == 1
    assert "language xx: its script and family are not known" in capsys.readouterr().err
    (tmp_path / "languages.csv").write_text("lang,script,family\nxx,Latin,Basque\n")
    pairs = itertools.combinations(("de", "en", "he", "hi", "xx"), 2)
    far = "".join(f"{a},{b},{i}\n" for i, (a, b) in enumerate(pairs))
    (tmp_path / "far.csv").write_text("lang_a,lang_b,km\n" + far)
    given += ["--languages", str(tmp_path / "languages.csv"), "--distances", str(tmp_path / "far.csv")]
    assert main(given) == 1
    assert "names no column" in capsys.readouterr().err
    assert main([*given, "km"]) == 0
    assert "km: explains" in capsys.readouterr().out
    (tmp_path / "far.csv").write_text("lang_a,lang_b,km\n" + far.partition("\n")[2])
    assert main([*given, "km"]) == 1
    assert "distance km: has none of" in capsys.readouterr().err


def test_power_of_a_set_of_questions(tmp_path, capsys):
    rows = [
        {"dataset": "set", "question_id": f"{a}{i}", "source_lang": a, "lang": b, "question": "q", "answers": ["a"]}
        for a in ECLEKTIC
        for b in ECLEKTIC
        for i in range(3)
    ]
    columns = tables.SCHEMAS["open_questions"].names
    tables.write("open_questions", pd.DataFrame(rows).reindex(columns=columns), tmp_path / "questions.parquet")
    assert main(["power", "--questions", str(tmp_path / "questions.parquet"), "--models", "3"]) == 0
    assert "set: " in (printed := capsys.readouterr().out) and "36 questions in 12 languages" in printed
    for options, said in (
        (["--models", "3"], "--models: is of --questions"),
        (["--questions", str(tmp_path / "questions.parquet"), "--seeds", "2"], "--seeds: is not of --questions"),
        (["--questions", str(tmp_path / "questions.parquet"), "--known", "0"], "known: is 0, of which nothing"),
    ):
        assert main(["power", *options]) == 1
        assert said in capsys.readouterr().err


def test_volumes_of_a_pair_are_the_sum_of_logarithms():
    languages = {lang: {"script": "Latin", "family": lang} for lang in ("de", "en", "id")}
    volumes = pd.DataFrame({"lang": ["id", "de", "en"], "bytes": [4.0, 8.0, 16.0]})
    first, second = np.array([0, 1]), np.array([1, 2])
    found = predictors(list(languages), first, second, languages, {}, volumes)
    assert found["log bytes"] == pytest.approx([np.log(8 * 16), np.log(16 * 4)])
    with pytest.raises(InputError, match="volume bytes: has no number above 0 for en"):
        predictors(list(languages), first, second, languages, {}, volumes.replace(16.0, 0.0))


def test_the_interval_of_a_marginal_effect_is_that_of_the_delta_method():
    beta, covariance = np.array([0.5, -0.2]), np.array([[0.04, 0.01], [0.01, 0.02]])
    x, weights = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([3.0, 1.0])

    def effect(b):
        return float(special.expit(b[1] + b[0]) - special.expit(b[1]))

    step = 1e-6 * np.eye(2)
    slopes = np.array([(effect(beta + h) - effect(beta - h)) / 2e-6 for h in step])
    error = np.sqrt(slopes @ covariance @ slopes)
    reach = stats.t.ppf(0.975, 20) * error
    p = 2 * stats.t.sf(effect(beta) / error, 20)
    wanted = [effect(beta), effect(beta) - reach, effect(beta) + reach, p]
    assert list(marginal(beta, covariance, x, weights, 20)) == pytest.approx(wanted, rel=1e-6)
