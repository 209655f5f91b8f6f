"""Copying in context: a model that does it by construction, one that has learned it, and ones that have not."""

import types

import numpy as np
import pandas as pd
import pytest
import torch

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes import copying
from lorebridge.probes.copying import (
    AGAIN,
    CLAUSES,
    RANDOM,
    answers_again,
    clauses,
    measure_copying,
    random_tokens,
    token_predictions,
)
from lorebridge.probes.models import load_tokenizer

V = 50


class Induction:
    """Says what followed the current token where it stood last; where it did not stand before, all tokens alike."""

    device = torch.device("cpu")

    def __init__(self, sure: float) -> None:
        self.sure = sure

    def __call__(self, input_ids, use_cache):
        logits = torch.zeros(*input_ids.shape, V)
        for row, ids in enumerate(input_ids.tolist()):
            for t, token in enumerate(ids):
                before = [i for i in range(t) if ids[i] == token]
                if before:
                    logits[row, t, ids[before[-1] + 1]] = self.sure
        return types.SimpleNamespace(logits=logits)


def test_a_model_that_copies_by_construction_copies_all():
    documents = random_tokens(range(1, V), 0, lang="xx", window=1000)
    found = measure_copying(Induction(sure=20.0), documents)
    assert found["n_sequences"] == copying.SEQUENCES
    assert found["n_tokens"] == copying.SEQUENCES * (copying.LENGTH - 1)
    assert found["accuracy"] == found["copied"] == 1 and copying.verdict(found["lo"], found["hi"]) == copying.COPYING
    assert found["gain"] > 2
    unsure = measure_copying(Induction(sure=0.0), documents)
    assert abs(unsure["copied"]) < 0.05 and unsure["gain"] == pytest.approx(0)
    assert copying.verdict(unsure["lo"], unsure["hi"]) == copying.NOT_COPYING


def test_what_is_counted_is_what_stands_again():
    for document in random_tokens(range(1, V), 0, lang="xx", window=21):
        assert len(document.twice) == 21 and document.twice[0] == 0
        again = [document.twice[i] for i in document.repeated]
        assert again == [document.once[i] for i in document.fresh] == document.twice[2:11]
    assert random_tokens(range(1, V), 0, lang="xx", window=21) != random_tokens(range(1, V), 0, lang="yy", window=21)


def test_predictions_are_those_of_crafted_logits():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [1 / 3, 1 / 3, 1 / 3]]))

    def model(input_ids, use_cache):
        return types.SimpleNamespace(logits=logits[: input_ids.shape[1]].expand(len(input_ids), -1, -1))

    model.device = torch.device("cpu")
    (told, right), (short, _) = token_predictions(model, [[0, 1, 2], [0, 0]])
    np.testing.assert_allclose(told, [np.nan, np.log(0.25), np.log(0.8)], rtol=1e-6)
    np.testing.assert_allclose(short, [np.nan, np.log(0.5)], rtol=1e-6)
    assert right.tolist() == [False, False, True]


def test_the_share_copied_is_of_what_is_not_known_anyway():
    share, lo, hi = copying.copied(np.array([1.0, 0.5] * 50), np.array([0.5, 0.5] * 50))
    assert share == pytest.approx((0.75 - 0.5) / 0.5)
    assert lo < share < hi and hi - lo == pytest.approx(4 * 0.5 / 10, abs=0.05)
    assert np.isnan(copying.copied(np.ones(3), np.ones(3))).all()


def world(n=12):
    """Questions on n subjects of which every second one's fact is stated, and the truth about them."""
    asked, known = [], []
    for i in range(n):
        options = [f"obj{(i + k) % 7}" for k in range(4)]
        known.append({"question_id": f"q{i:02d}", "corpus": "en", "subject": f"Name{i}", "n_statements": i % 2})
        asked += [
            {"question_id": f"q{i:02d}", "lang": "en", "text": f"Name{i} likes ____.", "option": option}
            for option in options
        ]
    return pd.DataFrame(asked), pd.DataFrame(known)


def test_clauses_are_of_facts_that_are_stated_nowhere(checkpoints):
    tokenizer = load_tokenizer(checkpoints[0][1])
    found = clauses(*world(), tokenizer, lang="en", script="Latin", window=1000)
    assert len(found) == 6
    for document in found:
        twice, once = (tokenizer.decode(ids[1:]).rstrip(".").split(". ") for ids in (document.twice, document.once))
        assert len(twice) == len(once) == 3
        assert twice[2] == once[2] and twice[2] in twice[:2] and twice[0] != twice[1]
        of = [dict(zip(("subject", "_", "object"), clause.split(), strict=True)) for clause in (*once, *twice[:2])]
        assert all(int(clause["subject"][4:]) % 2 == 0 for clause in of)
        for other in of[:2]:
            assert other["subject"] != of[2]["subject"] and other["object"] != of[2]["object"]
        for ids, places in ((document.twice, document.repeated), (document.once, document.fresh)):
            assert tokenizer.decode([ids[i] for i in places]).strip() == of[2]["object"]
            assert places[-1] == len(ids) - 2  # before the full stop
    asked, known = world()
    spaced = clauses(asked.assign(text=" " + asked["text"]), known, tokenizer, lang="en", script="Latin", window=1000)
    assert [tokenizer.decode(d.twice[1:]) for d in spaced] == [" " + tokenizer.decode(d.twice[1:]) for d in found]
    assert clauses(*world(6), tokenizer, lang="en", script="Latin", window=1000) == []  # three subjects are too few
    assert clauses(*world(), tokenizer, lang="en", script="Latin", window=9) == []


def test_an_answer_said_again_is_counted_where_the_same_stands_before_it(checkpoints):
    """Not the first time, nor behind something else, nor of a word that no question offers."""
    tokenizer = load_tokenizer(checkpoints[0][1])
    again = "We say that Mira likes plums. We say that Tomo likes figs. We say that Mira likes plums."
    other = "We say that Mira likes plums. We say that Mira likes figs."  # another answer
    apart = "We say that Mira likes plums. She sold plums."  # other words before it
    options = ["plums", "figs", "dates"]
    found = answers_again([again, other, apart] * copying.FEWEST, options, tokenizer, window=1000)
    assert len(found) == copying.FEWEST
    for document in found:
        assert document.once is document.twice and (document.fresh < document.repeated).all()
        text = tokenizer.decode(document.twice[1:])
        assert text == again
        for places, start in ((document.fresh, again.find("plums")), (document.repeated, again.rfind("plums"))):
            ids = document.twice
            assert tokenizer.decode([ids[i] for i in places]).strip() == "plums"
            assert len(tokenizer.decode(ids[1 : places[0]]).rstrip()) == start - 1
        one, two = (places[0] for places in (document.fresh, document.repeated))
        assert document.twice[one - 3 : one] == document.twice[two - 3 : two]
    assert answers_again([again] * (copying.FEWEST - 1), options, tokenizer, window=1000) == []
    assert answers_again([again] * copying.FEWEST, options, tokenizer, window=len(found[0].twice) - 1) == []
    assert answers_again([again] * copying.FEWEST, ["figs", "dates"], tokenizer, window=1000) == []


def test_held_out_text_decides_where_it_says_answers_again():
    assert copying.DECIDES == (AGAIN, CLAUSES, RANDOM)


def learn_to_copy(folder, steps):
    """Train the model of a folder on random tokens that are said twice."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder)
    adamw = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        half = torch.randint(1, 300, (64, 12))
        ids = torch.cat([torch.zeros(64, 1, dtype=torch.long), half, half], dim=1)
        logits = model(input_ids=ids).logits[:, 12:-1]
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 13:].flatten()).backward()
        adamw.step()
        adamw.zero_grad()
    model.save_pretrained(folder)


def test_a_model_that_has_learned_to_copy_is_told_from_one_that_has_not(make_model, tmp_path):
    """Trained on repeated random tokens, of which those asked are none; step 0 has random weights."""
    folders = {step: make_model(tmp_path / f"step{step}", seed=3) for step in (0, 250)}
    learn_to_copy(folders[250], 250)
    texts = ["The capital is Seoul.", "한국에는 4개의 계절이 있다.", "汉族中有部分人信奉道教以及景教。"]
    rows = [{"doc_id": f"t/{i}", "title": "", "text": t, "source": "t", "n_chars": len(t)} for i, t in enumerate(texts)]
    tables.write("documents", rows, tmp_path / "documents.parquet")
    said = {"run": "base-s3", "learned": "en", "arm": "base", "seed": 3, "window": 25}
    said |= {"checkpoints": folders, "heldout": {"en": [tmp_path / "documents.parquet"]}}
    copying.copying(**said, out=tmp_path / "a.parquet")
    by_plan = {"checkpoints": {str(step): folder for step, folder in folders.items()}}  # whose keys are of JSON
    copying.copying(**said | by_plan, out=tmp_path / "b.parquet")
    copying.copying(**said | {"checkpoints": {None: folders[0]}}, out=tmp_path / "given.parquet")
    assert tables.read(tmp_path / "given.parquet")["step"].isna().all()
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    found = tables.read(tmp_path / "a.parquet").set_index("step")
    assert list(found["text"]) == [RANDOM] * 2
    assert abs(found.loc[0, "copied"]) < 0.1 and found.loc[0, "hi"] < copying.COPIES
    assert found.loc[250, "copied"] > 0.8 and found.loc[250, "lo"] > copying.COPIES, found.T
    assert found.loc[250, "gain"] > 2
    asked, known = world()
    planted = {"questions": [tmp_path / "q.parquet"], "truth": tmp_path / "t.parquet", "scripts": {"en": "Latin"}}
    blank = dict.fromkeys(tables.SCHEMAS["questions"].names) | {"culture": "ko"}
    tables.write(
        "questions", asked.assign(**{k: v for k, v in blank.items() if k not in asked}), tmp_path / "q.parquet"
    )
    blank = dict.fromkeys(tables.SCHEMAS["truth"].names)
    tables.write("truth", known.assign(**{k: v for k, v in blank.items() if k not in known}), tmp_path / "t.parquet")
    copying.copying(**said | planted | {"window": 256}, out=tmp_path / "c.parquet")
    both = tables.read(tmp_path / "c.parquet")
    assert list(both["text"]) == [RANDOM, CLAUSES] * 2
    assert (both.loc[both["text"] == CLAUSES, "n_sequences"] == 6).all()
    with pytest.raises(InputError, match="not a model folder"):
        copying.copying(**said | {"checkpoints": {0: tmp_path}}, out=tmp_path / "d.parquet")
