"""Tables for people: the right numbers, in three formats."""

import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.figures import summary
from lorebridge.figures.effects import published
from lorebridge.figures.write import write_table
from lorebridge.probes.questions import build_questions
from lorebridge.transfer.accuracies import of_arms
from lorebridge.transfer.inference import QUESTIONS_ONLY


def test_a_table_in_three_formats(tmp_path):
    table = pd.DataFrame({"arm_name": ["no_bridge", "b & c"], "n": [1234, 5], "gap": [1 / 3, float("nan")]})
    write_table(table, tmp_path / "v1.5", "100 % of it.", {"gap": ".2f"})
    assert (tmp_path / "v1.5.csv").read_text() == "arm_name,n,gap\nno_bridge,1234,0.3333333333\nb & c,5,\n"
    markdown = (tmp_path / "v1.5.md").read_text().splitlines()
    assert markdown[0] == "100 % of it."
    assert [cell.strip() for cell in markdown[4].strip("|").split("|")] == ["no_bridge", "1,234", "0.33"]
    assert [cell.strip() for cell in markdown[5].strip("|").split("|")] == ["b & c", "5", "–"]
    latex = (tmp_path / "v1.5.tex").read_text()
    assert r"no\_bridge & 1,234 & 0.33 \\" in latex and r"b \& c & 5 & – \\" in latex
    assert r"\caption{100 \% of it.}" in latex and r"\begin{tabular}{lrr}" in latex and r"\toprule" in latex


def test_accuracy_table_agrees_with_the_scores(drawn, inputs):
    table = pd.read_csv(drawn / "tables" / "accuracy.csv")
    assert len(table) == 4 * 2 * 3
    expected = of_arms(inputs[0] / "accuracies.parquet", subset="clean", rule="mean", prefix="bare")
    expected = expected[(expected["culture"] == "bo") & (expected["arm"] == "placebo") & (expected["seed"] == "all")]
    row = table[(table["culture"] == "Tibetan") & (table["asked_in"] == "English") & (table["arm"] == "placebo")]
    to_english = expected[expected["direction"] == "xx->en"].set_index("step")["accuracy"]
    assert row["accuracy"].item() == pytest.approx(100 * to_english[-1])
    assert row["accuracy"].item() == pytest.approx(100 * to_english[[50, 100, 150]].mean())
    assert row["before"].item() == pytest.approx(100 * to_english[0])
    assert row["seeds"].item() == 2
    assert (row["chance"].item(), row["first_option"].item()) == (25, 25)


def test_clean_questions_are_an_extra_where_all_are_the_headline(inputs, tmp_path):
    folder, more = inputs
    summary.accuracy(
        accuracies=folder / "accuracies.parquet",
        questions=more["study"]["questions"],
        base="en",
        names={code: code for code in ("en", "ko", "zh", "bo", "mn")},
        subset="reference",
        rule="mean",
        prefix="bare",
        last=3,
        out=tmp_path / "accuracy",
    )
    table = pd.read_csv(tmp_path / "accuracy.csv")
    clean = of_arms(folder / "accuracies.parquet", subset="clean", rule="mean", prefix="bare")
    clean = clean[(clean["step"] == -1) & (clean["seed"] == "all")]
    assert sorted(table["accuracy_clean"]) == pytest.approx(sorted(100 * clean["accuracy"]))
    assert (table["n_clean"] <= table["n"]).all()


def test_gaps_table_is_in_points(drawn, inputs):
    table = pd.read_csv(drawn / "tables" / "gaps.csv", dtype={"seed": str})
    source = tables.read(inputs[0] / "gaps.parquet")
    source = source[(source["step"] == -1) & (source["interval"] == QUESTIONS_ONLY) & (source["seed"] == "all")]
    shown = table[(table["interval"] == QUESTIONS_ONLY) & (table["seed"] == "all")]
    assert shown["gap"].tolist() == pytest.approx((100 * source["gap"]).tolist())
    plain = table[table["scale"] == "all questions"]
    assert (plain["gap"] - (plain["accuracy"] - plain["accuracy_reference"])).abs().max() < 1e-6
    assert set(table.loc[table["leaked_questions"] == "left out", "n_questions"]) == {23}


def test_the_density_of_the_paper_is_per_document_and_stands_beside_its_values(drawn):
    """Section 4: "normalizing the count of knowledge appearance by the total number of documents in the corpus"."""
    table = pd.read_csv(drawn / "tables" / "density.csv").set_index(["culture", "corpus"])
    assert table.index.is_unique, "a row for each corpus and culture, not one for each unit"
    assert table.loc[("Tibetan", "Tibetan"), "published"] == 9.19e-06
    assert table.loc[("Tibetan", "English"), "published"] == 1.49e-07
    row = table.loc[("Korean", "Korean")]
    assert row["documents"] == 2000
    assert row[["per_document", "lo", "hi"]].tolist() == pytest.approx([2 / 2000, 1 / 2000, 3 / 2000])
    assert row[["per_chunk", "per_token"]].tolist() == pytest.approx([2 / 3000, 2 / 10**6])
    assert "per document of the corpus, the unit of the paper" in (drawn / "tables" / "density.md").read_text()


def test_table_2_stands_beside_the_languages_of_the_study(inputs, tmp_path):
    questions = inputs[1]["study"]["questions"]
    languages = {
        "ko": {"name": "Korean", "script": "Hangul", "resource": "high"},
        "bo": {"name": "Tibetan", "script": "Tibetan", "resource": "low"},
    }
    summary.communities(
        questions={lang: questions[lang] for lang in languages},
        languages=languages,
        subset="clean",
        out=tmp_path / "communities",
    )
    table = pd.read_csv(tmp_path / "communities.csv").set_index("code")
    assert table.loc["bo", "community_published"] == "Tibetans"
    assert table.loc["ko", ["region_published", "population_published"]].tolist() == ["South Korea", "52M"]
    assert (table["language"] == table["language_published"]).all() and (table["questions"] > 0).all()
    hindi = {"hi": {"name": "Hindi", "script": "Devanagari", "resource": "high"}}
    summary.communities(
        questions={"hi": questions["ko"]}, languages=hindi, subset="clean", out=tmp_path / "communities"
    )
    table = pd.read_csv(tmp_path / "communities.csv")
    assert table.filter(like="published").isna().all(axis=None), "the paper says nothing of Hindi"


def test_no_published_value_stands_beside_a_planted_world(inputs, tmp_path):
    """Its units and questions are others, so that a reader could only draw a wrong conclusion."""
    folder, _ = inputs
    more = {"names": {code: code for code in ("en", "ko", "zh", "bo", "mn")}, "base": "en", "planted": True}
    summary.density(density=folder / "density.parquet", out=tmp_path / "density", **more)
    summary.occurrences(
        transferred=folder / "items.parquet", resamples=200, seed=0, out=tmp_path / "occurrences", **more
    )
    for table in ("density", "occurrences"):
        assert "published" not in pd.read_csv(tmp_path / f"{table}.csv").columns
        assert "Zhang" not in (tmp_path / f"{table}.md").read_text(encoding="utf-8")


def test_published_ratios_are_those_of_the_paper():
    ratios = {
        culture: v["own"] / v["base"] for culture, v in published("densities", False).items() if culture != "where"
    }
    assert {culture: round(ratio, 2) for culture, ratio in ratios.items()} == {
        "ko": 1.82,
        "zh": 0.96,
        "bo": 61.68,
        "mn": 24.0,
    }


def test_filtering_counts_by_reason(drawn):
    table = pd.read_csv(drawn / "tables" / "filtering.csv").set_index("count")
    assert table.loc["kept"].tolist() == [1400, 1400]
    assert table.loc["dropped: half empty", "English–Korean pairs"] == 2
    assert table.loc["dropped: half empty", "Korean"] == 0


def test_the_data_table_shows_what_a_filter_left_out(order_file, tmp_path):
    plain = order_file(tmp_path / "plain.parquet", run="ko-bridge-s0", lang="ko", arm="bridge")
    left_out = {"pairs_left_out": 25, "en_left_out": 400, "xx_left_out": 600}
    filtered = order_file(
        tmp_path / "filtered.parquet", run="ko-bridge_leak_free-s0", lang="ko", arm="bridge_leak_free", derived=left_out
    )
    summary.data(orders=[plain, filtered], names={"ko": "Korean"}, out=tmp_path / "data")
    text = (tmp_path / "data.md").read_text()
    assert "bridge_leak_free" in text and "tokens filtered" in text and "1,000" in text
    summary.data(orders=[plain], names={"ko": "Korean"}, out=tmp_path / "data")
    assert "filtered" not in (tmp_path / "data.md").read_text()


def test_table_3_reproduces_the_published_lengths(data, tmp_path):
    scripts = {"en": "Latin", "ko": "Hangul", "zh": "Han", "bo": "Tibetan", "mn": "Mongolian"}
    questions = {}
    for culture in ("ko", "zh", "bo", "mn"):
        questions[culture] = tmp_path / f"{culture}.parquet"
        build_questions(
            culture=culture,
            langs=["en", culture],
            known_missing_gold=[69] if culture == "mn" else [],
            files={lang: data / "probes" / f"{culture}-culture-cloze_{lang}.json" for lang in ("en", culture)},
            scripts=scripts,
            out=questions[culture],
        )
    names = {code: code for code in scripts}
    summary.questions(
        questions=questions,
        tokenizer=data / "tokenizer",
        names=names,
        base="en",
        subset="clean",
        planted=False,
        out=tmp_path / "t3",
    )
    table = pd.read_csv(tmp_path / "t3.csv")
    assert (table["n"] == table["n_published"]).all()
    for column in ("question_tokens", "option_tokens"):
        assert (table[column] - table[f"{column}_published"]).abs().max() < 0.11


def test_alarms_say_how_many_ring_and_what_to_do(drawn):
    table = pd.read_csv(drawn / "tables" / "alarms.csv", keep_default_na=False)
    ringing = table[table["verdict"] == "rings"]
    # Perplexity grew from 20 to 170 in Tibetan runs; everything else is noise.
    assert set(ringing["language"]) == {"Tibetan"}
    assert len(ringing) == 3
    assert (table["to_do"] != "").sum() == 1  # the advice once, where the first rings
    assert ringing["to_do"].iloc[0]
    assert "3 of" in (drawn / "tables" / "alarms.md").read_text(encoding="utf-8").split("\n")[0]
