"""A question behind its label has the tokens that a half of a pair has behind it in training text."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from invented import TEMPLATE
from test_label_space import spaced

from lorebridge import config, studies, tables
from lorebridge.probes.models import load_tokenizer, start_token
from lorebridge.probes.perplexity import read_samples
from lorebridge.probes.scoring import build_requests
from lorebridge.tokens.arms import template_labels
from lorebridge.tokens.reader import OrderReader

PAPER = Path(__file__).parents[2] / "config" / "config.yaml"


def packed(reader):
    """Yield the tokens of every document of the run, as a model is to predict them."""
    for step in range(reader.steps):
        batch = reader.batch(step)
        for row, documents in zip(batch.targets, batch.documents, strict=True):
            for number in np.unique(documents[documents >= 0]):
                yield row[(documents == number) & (row >= 0)].tolist()


@pytest.mark.parametrize("arm", ["bridge", "labels_only"])
def test_a_question_is_asked_as_a_half_of_a_pair_stands_in_its_document(study, tmp_path, arm):
    pairs, tokenizer = tables.read(study.pairs), load_tokenizer(study.tokenizer)
    labels = dict(zip(("en", "xx"), template_labels(TEMPLATE), strict=True))
    asked = {}
    for half, label in labels.items():
        requests = build_requests(list(pairs[half]), range(len(pairs)), tokenizer, [label] * len(pairs))
        assert {sequence[0] for sequence in requests.sequences} == {start_token(tokenizer)}
        asked[half] = [requests.sequences[i][1:] for i in requests.request]
        bare = build_requests(list(pairs[half]), range(len(pairs)), tokenizer)
        # The label is context: what is predicted is the same behind both prefixes.
        assert list(requests.n_tokens) == list(bare.n_tokens)
    # The space that the label ends in is a token of its own, in training and in a question.
    english = build_requests([pairs["en"][0]], [0], tokenizer, [labels["en"]])
    assert tokenizer.convert_ids_to_tokens(english.sequences[0])[english.contexts[0] - 1] == "Ġ"

    documents = {tuple(ids[:-1]) for ids in packed(study.reader(arm)) if ids[-1:] == [start_token(tokenizer)]}
    if arm == "bridge":
        expected = [(*en, *xx) for en, xx in zip(asked["en"], asked["xx"], strict=True)]
    else:
        expected = [tuple(ids) for half in asked.values() for ids in half]
    found = [ids for ids in expected if ids in documents]
    assert len(found) > len(expected) / 3  # the rest is cut, or not read in so short a run
    held_out = pd.DataFrame({"doc_id": pairs["pair_id"], "title": "", "text": pairs["en"], "source": "s", "n_chars": 1})
    tables.write("documents", held_out, tmp_path / "held.parquet")
    [sample] = read_samples([tmp_path / "held.parquet"], tokenizer, n_tokens=10**6, window=10**4, labels=[labels["en"]])
    assert sorted(window[1:] for window in sample.windows) == sorted(asked["en"])


def test_a_question_of_the_papers_study_has_the_tokens_of_the_filled_template(study, tmp_path):
    """There the space behind a label is the half's (label_space: half), and no text has the lone space of a label."""
    literals = studies.plan(config.load(PAPER)).literals("score", run="ko-bridge-s0")
    labels, lead = literals["labels"]["ko"], literals["lead"]
    pairs, tokenizer = tables.read(study.pairs), load_tokenizer(study.tokenizer)
    half = spaced(study, tmp_path)
    reader = OrderReader.open(half.draw("bridge", label_space="half"), half.stores)
    documents = {tuple(ids[:-1]) for ids in packed(reader)}
    asked = []
    for column, lang in (("en", "en"), ("xx", "ko")):
        requests = build_requests(
            [lead + text for text in pairs[column]], range(len(pairs)), tokenizer, [labels[lang]] * len(pairs)
        )
        asked.append([tuple(requests.sequences[i][1:]) for i in requests.request])
    assert sum((*en, *xx) in documents for en, xx in zip(*asked, strict=True)) > len(pairs) / 3
