"""Tables 1 and 2 and Figures 2, 6 and 7 of Zhao et al. (EACL 2024): a study's numbers with those printed beside."""

import pandas as pd
import pyarrow.parquet as pq
import pytest

from lorebridge import tables
from lorebridge.studies.roots import drawings, page
from lorebridge.studies.roots.measures import SCHEMA, language_measures
from lorebridge.studies.roots.published import COLUMNS
from lorebridge.trace.origins import TOKENS, WINDOW
from lorebridge.transfer.absent import CLASSES, HOUSE, PAPER

LANGUAGES = {
    lang: {"name": name, "script": "Latin", "family": ""} for lang, name in [("it", "Italian"), ("de", "German")]
}
NOTHING = dict.fromkeys(tables.SCHEMAS["fact_scores"].names)


@pytest.fixture
def measures(tmp_path):
    """Six facts a language, asked of a masked model and of a causal one, which knows of no pieces."""
    facts = [
        dict.fromkeys(tables.SCHEMAS["facts"].names)
        | {"fact_id": f"f{i}", "lang": lang, "object_id": f"o{min(i, 4)}", "golds": ["o"]}
        for lang in LANGUAGES
        for i in range(6)
    ]
    tables.write("facts", facts, tmp_path / "facts.parquet")
    paths = []
    for run, steps, masks in (("bert", (0, 8), [1, 1, 1, 2, 1, 2]), ("gpt", (None,), [None] * 6)):
        right = {0: [0] * 6, 8: [1, 0, 1, 1, 0, 0], None: [1] * 6}
        rows = [
            NOTHING
            | {"run": run, "step": step, "fact_id": f"f{i}", "lang": lang, "n_masks": masks[i], "exact": right[step][i]}
            for step in steps
            for lang in LANGUAGES
            for i in range(6)
        ]
        paths.append(tmp_path / f"{run}.parquet")
        tables.write("fact_scores", rows, paths[-1])
    sizes = pd.DataFrame({"lang": ["it", "fr", "de"], "kib": [100.0, 5.0, None]})
    sizes.to_csv(tmp_path / "sizes.csv", index=False)
    paper = [
        dict.fromkeys(COLUMNS, 1.0) | {"lang": lang, "rows": n, "p1_mbert_paper": p1, "p1_xlmr_paper": p1 / 2}
        for lang, n, p1 in (("it", 300, 20.0), ("de", 100, 10.0), ("fr", 50, 90.0))
    ]
    pd.DataFrame(paper).to_csv(tmp_path / "paper.csv", index=False)
    language_measures(
        scores=paths,
        facts=tmp_path / "facts.parquet",
        out=tmp_path / "measures.parquet",
        volumes=tmp_path / "sizes.csv",
        columns=["kib"],
        languages=tmp_path / "paper.csv",
    )
    return tmp_path / "measures.parquet"


def test_measures_are_of_pieces_where_these_are_known_and_of_the_languages_asked(measures):
    table = tables.read(measures)
    assert set(table["lang"]) == {"it", "de"}
    told = table[table["step"] == 8].set_index(["lang", "measure"])["value"]["it"]
    # Of the object that comes twice the last label counts, of two pieces.
    assert told.to_dict() == pytest.approx(
        {"p1": 0.5, "facts": 6, "one-token share": 4 / 6, "one-token objects": 3, "one-token p1": 0.5}
    )
    assert set(table.loc[table["run"] == "gpt", "measure"]) == {"p1", "facts"}
    assert table[table["run"].isna()][["lang", "measure", "value"]].to_numpy().tolist() == [["it", "kib", 100.0]]


def test_table_1_stands_beside_what_is_printed_of_its_languages(measures, tmp_path):
    drawings.one_token_table(language_measures=measures, languages=LANGUAGES, out=tmp_path / "one")
    shown = pd.read_csv(tmp_path / "one.csv").set_index(["language", "model"])
    assert list(shown.index) == [
        ("Italian", "bert"),
        ("Italian", "gpt"),
        ("Italian", "XLM-R, as printed"),
        ("Italian", "mBERT, as printed"),
        ("German", "bert"),
        ("German", "gpt"),
    ]
    assert shown.loc[("Italian", "bert"), ["p1", "one_token_p1", "one_token_objects"]].tolist() == [50, 50, 3]
    printed = shown.loc[("Italian", "mBERT, as printed")]
    assert printed[["p1", "one_token_p1", "one_token_objects"]].tolist() == [20, 15.27, 1675]
    assert shown.loc[("German", "gpt"), ["one_token_p1", "one_token_objects"]].isna().all()


def test_table_2_has_the_means_of_the_same_languages(measures, tmp_path):
    drawings.printed_precision_table(language_measures=measures, languages=LANGUAGES, out=tmp_path / "two")
    shown = pd.read_csv(tmp_path / "two.csv").set_index("language")
    assert list(shown) == ["bert", "gpt", "mBERT, as printed", "XLM-R, as printed"]
    assert shown.loc["German"].tolist() == [50, 100, 10, 5]
    assert shown.loc["mean over these languages"].tolist() == [50, 100, 15, 7.5]
    assert shown.loc["mean over their facts"].tolist() == [50, 100, 17.5, 8.75]


def test_figure_2_is_drawn_with_sizes_and_without(measures, tmp_path):
    drawings.volumes(language_measures=measures, languages=LANGUAGES, out=tmp_path / "sized")
    assert "as printed" in (tmp_path / "sized.svg").read_text(encoding="utf-8")
    rows = [row for row in pq.read_table(measures).to_pylist() if row["run"]]
    tables.write(SCHEMA, rows, tmp_path / "none.parquet")
    drawings.volumes(language_measures=tmp_path / "none.parquet", languages=LANGUAGES, out=tmp_path / "none")
    assert (tmp_path / "none.png").exists()


@pytest.fixture
def absent(tmp_path):
    """Of 20 facts a class and language 8 are absent and 6 right; of both 1, 2 and 3 by class, in German none."""
    rows = []
    for lang in (None, "it", "de"):
        for unit in (TOKENS, WINDOW):
            for rules in (PAPER, HOUSE):
                for place, name in enumerate(CLASSES, 1):
                    both = 0 if lang == "de" else place
                    counts = {"n": 20, "n_absent": 8, "n_right": 6, "n_absent_right": both, "n_subjects": 9}
                    shares = {"share": None if lang == "de" else place / 6, "base_rate": 1 / 3}
                    rows.append(
                        dict.fromkeys(tables.SCHEMAS["absent_facts"].names)
                        | {"run": "bert", "lang": lang, "unit": unit, "rules": rules, "class": name, **counts, **shares}
                    )
    tables.write("absent_facts", rows, tmp_path / "absent.parquet")
    return tmp_path / "absent.parquet"


def test_the_classes_stand_beside_what_is_printed(absent, tmp_path):
    drawings.printed_classes_table(absent_facts=absent, out=tmp_path / "classes")
    shown = pd.read_csv(tmp_path / "classes.csv")
    assert shown["class"].tolist() == list(CLASSES) and shown["absent_and_right"].tolist() == [1, 2, 3]
    assert shown["share"].tolist() == pytest.approx([100 / 6, 200 / 6, 50])
    assert shown["mean_over_languages"].tolist() == pytest.approx([100 / 6, 200 / 6, 50])
    assert shown["printed"].tolist() == [25.8, 22.0, 52.2]
    drawings.absent_table(absent_facts=absent, languages=LANGUAGES, out=tmp_path / "all")
    rows = {"absent": pd.read_csv(tmp_path / "all.csv")}
    [said] = page.classes(rows, {"world": None})
    assert said == (
        "bert: 6 facts are right although absent by the paper's rules: shared tokens 16.7 %, naming cue 33.3 %, other "
        "50.0 %; the paper prints shared tokens 25.8 %, naming cue 22.0 %, other 52.2 % of mBERT."
    )
    assert page.classes(rows, {"world": {}})[0].endswith("other 50.0 %.")


def test_figures_6_and_7_are_drawn_also_where_nothing_is_right(absent, tmp_path):
    drawings.present(absent_facts=absent, languages=LANGUAGES, out=tmp_path / "present")
    drawings.absent_counts(absent_facts=absent, languages=LANGUAGES, out=tmp_path / "counts")
    rows = pq.read_table(absent).to_pylist()
    nothing = [row | {"n_right": 0, "n_absent_right": 0} for row in rows]
    tables.write("absent_facts", nothing, tmp_path / "nothing.parquet")
    drawings.present(absent_facts=tmp_path / "nothing.parquet", languages=LANGUAGES, out=tmp_path / "nothing")
    drawings.absent_counts(absent_facts=tmp_path / "nothing.parquet", languages=LANGUAGES, out=tmp_path / "none")
    for name in ("present", "counts", "nothing", "none"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
