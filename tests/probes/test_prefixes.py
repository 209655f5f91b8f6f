"""What questions and held-out text stand behind."""

import numpy as np
import pandas as pd
import pytest
import torch
from test_scoring import held_out, load, question_table, run_scores
from transformers import AutoTokenizer

from lorebridge import tables
from lorebridge.corpora.released import fill_blanks
from lorebridge.errors import InputError
from lorebridge.probes.models import start_token
from lorebridge.probes.perplexity import read_samples
from lorebridge.probes.prefixes import PREFIXES, behind
from lorebridge.probes.scoring import build_requests

LABELS = {"ko": {"en": "English: ", "ko": " Korean: "}}


def logprob(model, tokenizer, label, text):
    """Return the log-probability of a text's tokens behind a label, and how many there are, with no tree or batch."""
    context = [start_token(tokenizer), *tokenizer(label)["input_ids"]] if label else [start_token(tokenizer)]
    ids = tokenizer(text)["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([context + ids])).logits[0].double().log_softmax(-1)
    places = range(len(context) - 1, len(context) + len(ids) - 1)
    return sum(float(logits[at, token]) for at, token in zip(places, ids, strict=True)), len(ids)


def in_two_languages(folder, released):
    """Write questions of which every other is said to be in Korean."""
    path = question_table(folder, released)
    table = tables.read(path)
    odd = table["question_id"].str[-1].astype(int) % 2 == 1
    tables.write("questions", table.assign(lang=odd.map({True: "ko", False: "en"})), path)
    return path


def test_every_question_is_asked_behind_both_prefixes(tmp_path, checkpoints, released):
    questions, settings = in_two_languages(tmp_path, released), held_out(tmp_path)
    run_scores(checkpoints[1:], questions, tmp_path / "both.parquet", prefixes=PREFIXES, labels=LABELS, **settings)
    table, predicted = tables.read(tmp_path / "both.parquet"), tables.read(settings["perplexity"])
    assert list(dict.fromkeys(table["prefix"])) == ["bare", "label"]

    asked = tables.read(questions)
    tokenizer, model = AutoTokenizer.from_pretrained(checkpoints[1][1]), load(checkpoints[1][1])
    for prefix in PREFIXES:
        rows = table[table["prefix"] == prefix]
        assert len(rows) == len(asked)
        for row, question in zip(rows.itertuples(), asked.itertuples(), strict=True):
            label = LABELS["ko"][question.lang] if prefix == "label" else ""
            filled, n_tokens = logprob(model, tokenizer, label, fill_blanks(question.text, question.option))
            alone, n_alone = logprob(model, tokenizer, label, question.option)
            assert (row.n_tokens, row.prior_tokens) == (n_tokens, n_alone)
            assert row.sum_logprob == pytest.approx(filled, rel=1e-5)
            assert row.prior_logprob == pytest.approx(alone, rel=1e-5)
    bare, labelled = (table[table["prefix"] == prefix].reset_index(drop=True) for prefix in PREFIXES)
    assert (bare["n_bytes"] == labelled["n_bytes"]).all()
    assert not np.isclose(bare["sum_logprob"], labelled["sum_logprob"]).any()

    # The bare half is what a run that is asked bare alone has, to the bit.
    run_scores(checkpoints[1:], questions, tmp_path / "bare.parquet", **settings)
    np.testing.assert_allclose(tables.read(tmp_path / "bare.parquet")["sum_logprob"], bare["sum_logprob"], rtol=1e-6)

    # Held-out text is the same behind both, in both languages.
    assert list(zip(predicted["lang"], predicted["prefix"], strict=True)) == [
        (lang, prefix) for lang in ("en", "ko") for prefix in PREFIXES
    ]
    sizes = predicted.groupby("lang")[["n_documents", "n_tokens", "n_bytes"]].nunique()
    assert sizes.eq(1).all(axis=None) and predicted["sum_nll"].nunique() == 4


def test_a_space_that_is_the_halfs_begins_what_stands_behind_a_label(tmp_path, checkpoints, released):
    """As training text has it with label_space: half; what is asked bare has none."""
    questions, settings = in_two_languages(tmp_path, released), held_out(tmp_path)
    labels = {"ko": {lang: label.removesuffix(" ") for lang, label in LABELS["ko"].items()}}
    asked = {"prefixes": PREFIXES, "labels": labels, "lead": " ", **settings}
    run_scores(checkpoints[1:], questions, tmp_path / "led.parquet", **asked)
    table = tables.read(tmp_path / "led.parquet")
    tokenizer, model = AutoTokenizer.from_pretrained(checkpoints[1][1]), load(checkpoints[1][1])
    listed = tables.read(questions)
    for prefix, lead in (("bare", ""), ("label", " ")):
        rows = table[table["prefix"] == prefix]
        for row, question in list(zip(rows.itertuples(), listed.itertuples(), strict=True))[:8]:
            label = labels["ko"][question.lang] if lead else ""
            text = lead + fill_blanks(question.text, question.option)
            filled, n_tokens = logprob(model, tokenizer, label, text)
            alone, n_alone = logprob(model, tokenizer, label, lead + question.option)
            assert (row.n_tokens, row.prior_tokens, row.n_bytes) == (n_tokens, n_alone, len(text.encode()))
            assert row.sum_logprob == pytest.approx(filled, rel=1e-5)
            assert row.prior_logprob == pytest.approx(alone, rel=1e-5)
    documents = [tmp_path / "led-held.parquet"]
    rows = [{"doc_id": f"{i}", "title": "", "text": t, "source": "t", "n_chars": len(t)} for i, t in enumerate("ab")]
    tables.write("documents", [*rows, rows[0] | {"doc_id": "2", "text": ""}], documents[0])
    led, bare = read_samples(documents, tokenizer, n_tokens=99, window=99, labels=["English:", ""], lead=" ")
    assert [
        sorted(tokenizer.decode(w[n:]) for w, n in zip(s.windows, s.contexts, strict=True)) for s in (led, bare)
    ] == [[" a", " b"], ["a", "b"]]
    assert (led.n_bytes, bare.n_bytes) == (4, 2)


def test_a_long_document_behind_a_label_predicts_every_token_of_it_once(tmp_path, checkpoints):
    tokenizer = AutoTokenizer.from_pretrained(checkpoints[0][1])
    texts = ["The capital is Seoul. " * 9, "", "한국에는 4개의 계절이 있다.", "a"]
    rows = [{"doc_id": f"{i}", "title": "", "text": t, "source": "t", "n_chars": len(t)} for i, t in enumerate(texts)]
    tables.write("documents", rows, tmp_path / "held.parquet")
    documents = [tmp_path / "held.parquet"]
    before = [start_token(tokenizer), *tokenizer("English: ")["input_ids"]]
    for window in (len(before), 40, 1000):
        sample, bare = read_samples(documents, tokenizer, n_tokens=10**6, window=window, labels=["English: ", ""])
        assert (sample.n_tokens, sample.n_bytes, sample.n_documents) == (bare.n_tokens, bare.n_bytes, bare.n_documents)
        read = []
        for piece, context in zip(sample.windows, sample.contexts, strict=True):
            assert context < len(piece) <= window + 1
            if context == len(before):
                assert piece[:context] == before
                read.append([])
            else:
                assert context == 1 and piece[0] == read[-1][-1]
            read[-1] += piece[context:]
        assert sorted(map(tokenizer.decode, read)) == sorted(text for text in texts if text)
    with pytest.raises(InputError, match=r"label 'English: ': is \d+ tokens, and leaves no room"):
        read_samples(documents, tokenizer, n_tokens=9, window=len(before) - 1, labels=["English: "])


def test_an_empty_label_asks_the_same_question_once(checkpoints):
    texts = ["The capital is Seoul.", "The capital is Busan."] * 2
    tokenizer = AutoTokenizer.from_pretrained(checkpoints[0][1])
    requests = build_requests(texts, [0, 0, 0, 0], tokenizer, ["", "", "", "Korean: "])
    assert requests.request.tolist() == [0, 1, 0, 2]
    assert requests.contexts[:2] == [1, 1] and requests.contexts[2] > 1


def test_a_model_without_labels_of_its_own_is_asked_behind_those_given(tmp_path, checkpoints, released):
    questions = in_two_languages(tmp_path, released)
    name = {"run": "given", "lang_pair": None, "learned": None, "arm": None, "seed": None}
    asked = {"name": name, "prefixes": ["label"]}
    run_scores([(None, checkpoints[0][1])], questions, tmp_path / "s.parquet", labels=LABELS, **asked)
    assert tables.read(tmp_path / "s.parquet")["prefix"].eq("label").all()
    with pytest.raises(InputError, match=r"questions of ko in ko: .* behind a label.*\['en'\]"):
        run_scores(checkpoints, questions, tmp_path / "s.parquet", labels={"ko": {"en": "x"}}, **asked)
    with pytest.raises(InputError, match=r"labels of none.*or ask them bare"):
        run_scores(checkpoints, questions, tmp_path / "s.parquet", **asked)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_rows_of_a_prefix_are_those_of_no_other(prefix):
    table = pd.DataFrame({"prefix": [*PREFIXES, *PREFIXES], "value": [0, 1, 2, 3]})
    at = PREFIXES.index(prefix)
    assert behind(table, prefix, "scores.parquet")["value"].tolist() == [at, at + 2]


def test_a_prefix_that_was_not_asked_for_is_named(tmp_path, checkpoints, released):
    run_scores(checkpoints[:1], question_table(tmp_path, released), tmp_path / "s.parquet")
    table = tables.read(tmp_path / "s.parquet")
    assert len(behind(table, "bare", "s.parquet")) == len(table)
    with pytest.raises(InputError, match=r"s.parquet: nothing .* behind the prefix 'label' \(bare was\).*Add label to"):
        behind(table, "label", "s.parquet")
    with pytest.raises(ValueError, match="no prefix 'tagged'; there are bare, label"):
        behind(table, "tagged", "s.parquet")
    assert behind(table[:0], "label", "s.parquet").empty
