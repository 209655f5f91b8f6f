"""What Zhao et al. (EACL 2024) print, beside what their data give, without any model."""

import os
from pathlib import Path

import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes.facts import build_facts
from lorebridge.studies.roots.published import COLUMNS, published, read_languages, recomputed

DATA = pytest.mark.skipif("LOREBRIDGE_DATA" not in os.environ, reason="no LOREBRIDGE_DATA with the published numbers")


def invented(path):
    rows = [
        dict.fromkeys(COLUMNS, 1.0) | {"lang": lang, "rows": rows, "p1_mbert_paper": p1, "abstract_kib_author": size}
        for lang, rows, p1, size in [("en", 300, 20.0, 9), ("it", 100, 10.0, 4), ("ja", 50, 2.0, 3), ("af", 50, 4.0, 2)]
    ]
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_what_is_printed_stands_beside_what_is_found(tmp_path):
    rows = pd.DataFrame(recomputed(read_languages(invented(tmp_path / "languages.csv")), base="en")).set_index("what")
    assert len(rows) == 2 + 2 + 2 + 6
    macro = rows.loc["mBERT, average (macro) P@1, %"]
    assert (macro["printed"], macro["found"]) == (8.85, 9.0)
    assert macro["why"] == "what is printed is the micro average, 14.60 over 500 facts"
    assert rows.loc["mBERT, one-token entities, it", "printed"] == 1675
    abstracts = rows.loc["Pearson of P@1 (mBERT) with the size of abstracts, 4 languages"]
    assert abstracts["printed"] == 0.44 and abstracts["found"] > 0.9 and "without en" in abstracts["why"]


def test_a_file_of_other_columns_is_refused(tmp_path):
    path = invented(tmp_path / "languages.csv")
    pd.read_csv(path).drop(columns="rows").to_csv(path, index=False)
    with pytest.raises(InputError, match=r"languages.csv: has no column 'rows'\. docs/roots.md lists the columns"):
        read_languages(path)


def test_a_row_with_a_cell_too_many_is_refused(tmp_path):
    path = invented(tmp_path / "languages.csv")
    path.write_text(path.read_text().replace("it,", "it,0,"))
    with pytest.raises(InputError, match=r"languages.csv, row 3: has more cells than the \d+ columns"):
        read_languages(path)


@DATA
def test_the_published_table_gives_what_is_said_of_it(tmp_path):
    folder = Path(os.environ["LOREBRIDGE_DATA"]) / "facts"
    langs = ["en", "de", "id", "af", "ru", "ja", "zh", "ko", "ar", "fa", "hi", "ta"]
    build_facts(shape="mlama", folder=folder / "mlama", langs=langs, out=tmp_path / "facts.parquet")
    published(
        languages=folder / "reference" / "languages53.csv",
        facts=tmp_path / "facts.parquet",
        base="en",
        out=tmp_path / "p.parquet",
    )
    rows = tables.read(tmp_path / "p.parquet").set_index("what")
    found = rows["found"]
    assert found["mBERT, average (macro) P@1, %"] == pytest.approx(7.25, abs=0.005)
    assert found["XLM-R, average (macro) P@1, %"] == pytest.approx(5.79, abs=0.005)
    assert "8.85 over 843,143 facts" in rows["why"]["mBERT, average (macro) P@1, %"]
    assert "6.88 over 843,143 facts" in rows["why"]["XLM-R, average (macro) P@1, %"]
    volume = "Pearson of P@1 (mBERT) with the size of {}s, 53 languages"
    for size, r, lo, hi, without in (("abstract", 0.515, 0.28, 0.69, 0.44), ("article", 0.435, 0.19, 0.63, 0.34)):
        row = rows.loc[volume.format(size)]
        assert (row["found"], row["lo"], row["hi"]) == pytest.approx((r, lo, hi), abs=0.005)
        assert f"without en {without:.2f}" in row["why"]
    for model, share in (("mBERT", "+0.82"), ("XLM-R", "+0.74")):
        row = rows.loc[f"Pearson of P@1 ({model}) with the number of subwords, 53 languages"]
        assert row["found"] == pytest.approx(-0.65, abs=0.005) and share in row["why"]
    counts = rows[rows["where"] == "Table 1"]
    assert len(counts) == 6 and (counts["printed"] == counts["found"]).all()
    [majority] = found[rows["where"] == "nowhere"]
    assert majority == pytest.approx(19.0, abs=0.05)


@DATA
def test_one_token_objects_are_counted_again_from_the_objects():
    """With the tokenizers that the counts were made by, where they are installed."""
    blingfire = pytest.importorskip(
        "blingfire", reason="blingfire, whose tokenizers count the pieces, is no requirement"
    )
    folder = Path(blingfire.__file__).parent
    handles = [blingfire.load_model(str(folder / f"{name}.bin")) for name in ("bert_multi_cased", "xlm_roberta_base")]
    counted = {"it": (1675, 923), "ja": (126, 244), "af": (498, 333)}
    for lang, expected in counted.items():
        path = Path(os.environ["LOREBRIDGE_DATA"]) / "facts" / "reference" / f"objects_{lang}.tsv.gz"
        labels = pd.read_csv(path, sep="\t", header=None, keep_default_na=False, quoting=3)[1]
        bert, xlmr = (
            sum(len([i for i in _ids(blingfire, handle, text) if i != bare]) == 1 for text in labels)
            for handle, bare in zip(handles, (None, 6), strict=True)
        )
        assert (bert, xlmr) == expected


def _ids(blingfire, handle, text):
    n = 64
    ids = blingfire.text_to_ids(handle, text, n, 100)
    while len(ids) and ids[-1] == 0:
        ids = ids[:-1]
    return ids
