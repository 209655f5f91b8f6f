"""Facts asked of masked models: equal to a plain loop over them, whatever the manner."""

import itertools
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from lorebridge import cli, tables
from lorebridge.errors import InputError
from lorebridge.probes import masked
from lorebridge.probes.asking import rank_facts, score_facts
from lorebridge.probes.decoding import Prompt, score_pieces, score_sets, write_pieces
from lorebridge.probes.masked import Read, objective, read_masks

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
CITIES = ["paris", "rome", "new york", "rio de janeiro", "oslo"]
PEOPLE = ["ada", "bea", "cai", "dov", "eve", "fay"]
# subject, object; ada has two golds of one prompt
FACTS = [*zip(PEOPLE, [*CITIES, "paris"], strict=True), ("ada", "rome")]
MANNERS = [
    ("simultaneous", "gold", "vocabulary"),
    ("simultaneous", "any", "vocabulary"),
    ("left_to_right", "gold", "vocabulary"),
    ("left_to_right", "any", "vocabulary"),
    *itertools.product(["simultaneous", "left_to_right", "pll"], ["gold", "any"], ["candidates"]),
]


def word_pieces(folder):
    """A tokenizer in the manner of BERT's: words, and letters behind them."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["was", "born", "in", "city", "paris", "rome", "new", "york", "rio", "de", "janeiro", "."]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *letters, *(f"##{c}" for c in letters)]
    found = Tokenizer(models.WordPiece({t: i for i, t in enumerate(vocabulary)}, unk_token="[UNK]"))
    found.normalizer = normalizers.BertNormalizer()
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    found.decoder = decoders.WordPiece()
    found.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=found, mask_token="[MASK]", **special).save_pretrained(folder)
    return len(vocabulary)


def sentence_pieces(folder):
    """A tokenizer in the manner of XLM-R's, in which some words are a bare space and their letters."""
    letters = "abcdefghijklmnopqrstuvwxyz."
    words = ["▁was", "▁born", "▁in", "▁paris", "rome", "▁new", "▁york", "▁rio", "▁de", "▁janeiro"]
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(word, -1.0) for word in words] + [(letter, -4.0) for letter in letters] + [("<mask>", 0.0)]
    found = Tokenizer(models.Unigram(pieces, unk_id=3))
    found.pre_tokenizer = pre_tokenizers.Metaspace()
    found.decoder = decoders.Metaspace()
    found.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    mask = AddedToken("<mask>", lstrip=True, special=True)
    PreTrainedTokenizerFast(tokenizer_object=found, mask_token=mask, **special).save_pretrained(folder)
    return len(pieces)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "bert"
    torch.manual_seed(0)
    BertForMaskedLM(
        BertConfig(vocab_size=word_pieces(folder), max_position_embeddings=40, initializer_range=0.3, **SMALL)
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def xlmr(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "xlmr"
    torch.manual_seed(0)
    size = sentence_pieces(folder)
    XLMRobertaForMaskedLM(
        XLMRobertaConfig(vocab_size=size, max_position_embeddings=40, pad_token_id=1, initializer_range=0.3, **SMALL)
    ).save_pretrained(folder)
    return folder


def facts_table(path, facts=FACTS, template="[X] was born in [Y] .", **columns):
    rows = [
        {
            "fact_id": f"f{n}",
            "relation": "born",
            "lang": "en",
            "subject_id": subject,
            "subject": subject,
            "object_id": answer,
            "object": answer,
            "template": template,
            "golds": [other for who, other in facts if who == subject],
            "candidates": None,
        }
        | columns
        for n, (subject, answer) in enumerate(facts)
    ]
    tables.write("facts", rows, path)
    return path


@pytest.fixture
def facts(tmp_path):
    return facts_table(tmp_path / "facts.parquet")


def ask(folder, facts, out, *manner, batch_tokens=4096, **given):
    said = dict(zip(("decode", "lengths", "space"), manner, strict=False)) | given
    score_facts(run="m", checkpoints=[(None, folder)], facts=facts, out=out, batch_tokens=batch_tokens, **said)
    return tables.read(out)


def plain_loop(folder, decode, lengths, space, drop=None):
    """Ask the facts one at a time, as the manners are defined, with the logits of all positions."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    mask = tokenizer.mask_token

    def pieces(text):
        return [i for i in tokenizer(text, add_special_tokens=False)["input_ids"] if i != drop]

    def at_masks(subject, n, filled):
        """Log-probabilities at the n places of the object, those in `filled` (place -> token) filled."""
        ids = tokenizer(f"{subject} was born in {' '.join([mask] * n)} .", return_tensors="pt")["input_ids"]
        places = (ids[0] == tokenizer.mask_token_id).nonzero()[:, 0]
        assert len(places) == n
        for place, token in filled.items():
            ids[0, places[place]] = token
        with torch.no_grad():
            return torch.log_softmax(model(ids).logits[0], dim=-1)[places]

    def value(subject, ids):
        n, found = len(ids), []
        for j in range(n):
            before = dict(enumerate(ids[:j])) if decode == "left_to_right" else {}
            if decode == "pll":
                before = {i: token for i, token in enumerate(ids) if i != j}
            found.append(float(at_masks(subject, n, before)[j, ids[j]]))
        return np.mean(found)

    def write(subject, n):
        written, total = {}, []
        for j in range(n):
            said = at_masks(subject, n, written if decode == "left_to_right" else {})[j]
            written = written | {j: int(said.argmax())}
            total.append(float(said.max()))
        return list(written.values()), np.mean(total)

    candidates = list(dict.fromkeys(answer for _, answer in FACTS))
    rows = []
    for subject, gold in FACTS:
        own = pieces(gold)
        row = {"gold_logprob": value(subject, own)}
        others = [answer for who, answer in FACTS if who == subject and answer != gold]
        if space == "vocabulary":
            tried = range(1, max(len(pieces(c)) for c in candidates) + 1) if lengths == "any" else [len(own)]
            answers = [write(subject, n) for n in tried]
            kept = [[i for i in ids if i != drop] for ids, _ in answers]
            row["exact"] = float(own in kept)
            row["filtered"] = float(own in kept or any(pieces(other) in kept for other in others))
            row["best_candidate"] = tokenizer.decode(max(answers, key=lambda said: said[1])[0]).strip()
        else:
            known = [c for c in candidates if lengths == "any" or len(pieces(c)) == len(own)]
            values = {c: value(subject, pieces(c)) for c in known}
            row["best_candidate"] = max(values, key=lambda c: values[c])
            row["exact"] = float(row["best_candidate"] == gold)
            left = {c: v for c, v in values.items() if c not in others}
            row["filtered"] = float(max(left, key=lambda c: left[c]) == gold)
            row["gold_rank"] = 1.0 + sum(v > values[gold] for v in values.values())
        rows.append(row)
    return pd.DataFrame(rows)


@pytest.mark.parametrize("kind", ["bert", "xlmr"])
@pytest.mark.parametrize("manner", MANNERS, ids="-".join)
def test_all_facts_at_once_are_one_at_a_time(kind, manner, facts, tmp_path, request):
    folder = request.getfixturevalue(kind)
    drop = AutoTokenizer.from_pretrained(folder).get_vocab().get("▁")
    expected = plain_loop(folder, *manner, drop=drop)
    for batch_tokens in (4096, 1):
        found = ask(folder, facts, tmp_path / "s.parquet", *manner, batch_tokens=batch_tokens)
        for column in expected:
            if column == "gold_logprob":
                np.testing.assert_allclose(found[column], expected[column], rtol=1e-5)
            else:
                assert found[column].tolist() == expected[column].tolist(), column
    assert found["n_masks"].tolist()[2:4] == [2, 3] and found["step"].isna().all()
    assert set(found["decode"]) == {manner[0]} and len(found) == len(FACTS)


def test_a_rank_of_one_in_the_vocabulary_is_what_is_written(bert, facts, tmp_path):
    for decode in ("simultaneous", "left_to_right"):
        found = ask(bert, facts, tmp_path / "s.parquet", decode)
        assert ((found["gold_rank"] == 1) == (found["exact"] == 1)).all()
        assert found["gold_rank"].max() > 1


def test_the_bare_space_is_a_piece_or_none(xlmr, facts, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(xlmr)
    assert tokenizer.tokenize("rome") == ["▁", "rome"]
    dropped, kept = (ask(xlmr, facts, tmp_path / "s.parquet", bare=bare) for bare in ("drop", "keep"))
    assert dropped["n_masks"].tolist() == [1, 1, 2, 3, 4, 1, 1]
    assert kept["n_masks"].tolist() == [1, 2, 2, 3, 5, 1, 2]


def lookup(answers, size, favour=5.0):
    """A reader that says of each place what a table says; of others that all are alike."""

    def read(queries, ranks):
        found = []
        for query in queries:
            row = []
            for place, wanted in zip(query.places, query.wanted, strict=True):
                logits = np.zeros(size)
                if (query.tokens[0], place) in answers:
                    logits[answers[query.tokens[0], place]] = favour
                logprobs = logits - np.log(np.exp(logits).sum())
                above = np.array([(logits > logits[token]).sum() + 1 for token in wanted])
                row.append(Read(int(logits.argmax()), logprobs.max(), logprobs[wanted], above))
            found.append(row)
        return found

    return read


def test_a_look_up_is_right_and_one_that_knows_nothing_ties():
    prompts = [Prompt((n,), ()) for n in (10, 11)]
    golds = [(3, 4), (5, 6)]
    answers = {
        (p.before[0], 1 + j): piece for p, own in zip(prompts, golds, strict=True) for j, piece in enumerate(own)
    }
    for decode in ("simultaneous", "left_to_right"):
        asked = list(zip(prompts, golds, strict=True))
        scored = score_pieces(decode, asked, 0, lookup(answers, 12), ranks=True)
        assert [scored[one].rank for one in asked] == [1, 1]
        written = write_pieces(decode, [(p, 2) for p in prompts], 0, lookup(answers, 12))
        assert [written[p, 2][0] for p in prompts] == golds
    known = score_sets(prompts, golds, 0, lookup(answers, 12))
    assert (known.argmax(axis=1) == [0, 1]).all()
    blank = score_sets(prompts, golds, 0, lookup({}, 12))
    assert (blank == blank[0, 0]).all()


def test_candidates_that_tie_share_the_credit(facts, tmp_path, bert):
    folder = tmp_path / "flat"
    shutil.copytree(bert, folder)
    config = AutoModelForMaskedLM.from_pretrained(bert).config
    config.tie_word_embeddings = False
    model = BertForMaskedLM(config)
    with torch.no_grad():
        model.cls.predictions.decoder.weight.zero_()
    model.save_pretrained(folder)
    with pytest.raises(InputError, match="sees nothing that follows a mask"):
        ask(folder, facts, tmp_path / "s.parquet", "simultaneous", "any", "candidates")
    with torch.no_grad():  # a token that no candidate has betrays what follows
        model.cls.predictions.decoder.weight[4] = torch.linspace(-1, 1, SMALL["hidden_size"])
    model.save_pretrained(folder)
    found = ask(folder, facts, tmp_path / "s.parquet", "simultaneous", "gold", "candidates")
    # Paris and Rome have one piece each, all others are alone with their length.
    assert found["exact"].tolist() == [0.5, 0.5, 1, 1, 1, 0.5, 0.5]
    assert found["filtered"].tolist() == [1, 0.5, 1, 1, 1, 0.5, 1]
    assert found["gold_rank"].tolist() == [1.5, 1.5, 1, 1, 1, 1.5, 1.5]


def test_own_candidates_are_asked_of_each_fact(bert, tmp_path):
    table = facts_table(tmp_path / "f.parquet", candidates=["oslo", "rome"])
    found = ask(bert, table, tmp_path / "s.parquet", "simultaneous", "any", "candidates")
    assert found["n_candidates"].tolist() == [3, 2, 3, 3, 2, 3, 2]
    assert all(
        row.best_candidate in ("oslo", "rome", answer)
        for row, (_, answer) in zip(found.itertuples(), FACTS, strict=True)
    )


@pytest.mark.parametrize("kind", ["masked", "causal"])
def test_the_first_of_a_ranking_is_the_candidate_that_is_preferred(kind, bert, checkpoints, facts, tmp_path):
    """Of the last checkpoint, whose step a task's mapping does not put last."""
    folder = bert if kind == "masked" else checkpoints[-1][1]
    scores = ask(folder, facts, tmp_path / "scores.parquet", "simultaneous", "any", "candidates")
    out = tmp_path / "rankings.parquet"
    notes = rank_facts(run="m", checkpoints={"1000": folder, "500": bert}, facts=facts, out=out, batch_tokens=512)
    found = tables.read(out)
    assert notes == {"objective": kind, "facts": len(FACTS)} and set(found["step"]) == {1000}
    best = [names[int(np.argmax(values))] for names, values in zip(found["candidates"], found["values"], strict=True)]
    assert best == scores["best_candidate"].tolist()
    assert {tuple(names) for names in found["candidates"]} == {tuple(dict.fromkeys(answer for _, answer in FACTS))}


def test_logits_are_of_the_masks_alone_and_few_at_a_time(bert, facts, tmp_path, monkeypatch):
    model = masked.load_masked(bert, torch.float32, "cpu")
    rows = []
    model.get_output_embeddings().register_forward_hook(lambda layer, given, said: rows.append(said.shape[:-1].numel()))
    queries = [masked.Query([2, *range(5, 5 + n), 4, 3], [n + 1], [np.array([7, 8])]) for n in range(1, 21)]
    whole = read_masks(model, queries, batch_tokens=4096, padding=0)
    assert sum(rows) == 20
    rows.clear()
    monkeypatch.setattr(masked, "LOGIT_BYTES", 4 * len(model.get_output_embeddings().weight) * 3)
    split = read_masks(model, queries, batch_tokens=4096, padding=0)
    assert max(rows) == 3 and sum(rows) == 20
    assert [one.best for [one] in whole] == [one.best for [one] in split]


def test_a_killed_job_goes_on_with_what_it_kept(bert, tmp_path):
    rows = [tables.read(facts_table(tmp_path / "p.parquet", relation=name)) for name in ("born", "died")]
    rows[1]["fact_id"] += "d"
    facts = tmp_path / "facts.parquet"
    tables.write("facts", pd.concat(rows, ignore_index=True), facts)
    work = tmp_path / "work"
    whole = ask(bert, facts, tmp_path / "s.parquet", work=work)
    kept = sorted(work.glob("*.parquet"))
    assert len(kept) == 2
    # What lies there is taken as it is; what is damaged or of other weights is made again.
    marked = tables.read(kept[0]).assign(best_candidate="kept")
    tables.write("fact_scores", marked, kept[0], {"identity": kept[0].stem})
    kept[1].write_bytes(b"cut")
    again = ask(bert, facts, tmp_path / "s.parquet", work=work)
    assert (again["best_candidate"] == "kept").sum() == len(FACTS)
    pd.testing.assert_frame_equal(again.drop(columns="best_candidate"), whole.drop(columns="best_candidate"))
    other = tmp_path / "other"
    shutil.copytree(bert, other)
    torch.manual_seed(1)
    BertForMaskedLM(AutoModelForMaskedLM.from_pretrained(bert).config).save_pretrained(other)
    assert (ask(other, facts, tmp_path / "s.parquet", work=work)["best_candidate"] != "kept").all()


def test_a_model_is_what_it_says(bert, xlmr, checkpoints):
    assert [objective(folder) for folder in (bert, xlmr, checkpoints[0][1])] == ["masked", "masked", "causal"]
    config = json.loads((bert / "config.json").read_text())
    assert config["architectures"] == ["BertForMaskedLM"]


def test_a_causal_model_is_asked_with_candidates_filled_in(checkpoints, facts, tmp_path):
    folder = checkpoints[0][1]
    with pytest.raises(InputError, match="is a causal language model, which fills no masks"):
        ask(folder, facts, tmp_path / "s.parquet")
    found = ask(folder, facts, tmp_path / "s.parquet", space="candidates")
    assert set(found["decode"]) == {"causal"} and found["n_masks"].isna().all()
    assert set(found["exact"]) <= {0.0, 1.0}
    # By the log-probability of a token of the whole text, as cloze questions are.
    from transformers import AutoModelForCausalLM

    from lorebridge.probes.models import encode, load_tokenizer

    tokenizer, model = load_tokenizer(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    for row, (subject, gold) in zip(found.itertuples(), FACTS, strict=True):
        values = {}
        for city in CITIES:
            ids = torch.tensor(encode(tokenizer, [f"{subject} was born in {city} ."]))
            with torch.no_grad():
                logits = model(ids).logits[0, :-1]
            values[city] = -float(torch.nn.functional.cross_entropy(logits, ids[0, 1:]))
        assert row.best_candidate == max(values, key=lambda city: values[city])
        assert row.gold_logprob == pytest.approx(values[gold], rel=1e-4)


def test_what_cannot_be_asked_is_one_line(bert, facts, tmp_path, checkpoints):
    def refused(folder, said, table=facts, **given):
        with pytest.raises(InputError, match=said) as error:
            ask(folder, table, tmp_path / "s.parquet", **given)
        assert "\n" not in str(error.value) and not (tmp_path / "s.parquet").exists()

    refused(tmp_path, "not a model folder")
    refused(bert, "decode pll: scores strings and writes none", decode="pll")
    refused(bert, "decode: 'beam' is not known. Choose one of simultaneous", decode="beam")
    no_mask = tmp_path / "no-mask"
    shutil.copytree(bert, no_mask)
    said = json.loads((no_mask / "tokenizer_config.json").read_text())
    said.pop("mask_token")
    (no_mask / "tokenizer_config.json").write_text(json.dumps(said))
    (no_mask / "special_tokens_map.json").unlink(missing_ok=True)
    refused(no_mask, "no-mask: its tokenizer has no mask token")
    encoder, classifier = (tmp_path / name for name in ("encoder", "classifier"))
    config = AutoModelForMaskedLM.from_pretrained(bert).config
    for folder, model in ((encoder, BertModel), (classifier, BertForSequenceClassification)):
        shutil.copytree(bert, folder)
        model(config).save_pretrained(folder)
        refused(folder, f"{folder.name}: its weights lack cls.predictions")
    bad = facts_table(tmp_path / "bad.parquet", template="[X] was born")
    refused(bert, r"bad.parquet, en, born: its template '\[X\] was born' has not one \[Y\]", table=bad)
    scores = tmp_path / "scores.parquet"
    tables.write("facts", tables.read(facts).iloc[:0], scores)
    refused(bert, "scores.parquet: is no table of facts: holds no fact", table=scores)
    held = facts_table(tmp_path / "held.parquet", facts=[("a [MASK]", "rome")])
    refused(bert, r"en, born, prompt 'a \[MASK\] was born in \[Y\] .': holds \[MASK\]", table=held)
    long = facts_table(tmp_path / "long.parquet", facts=[("a" * 50, "rome")])
    refused(bert, "en, born: the model reads 40 tokens, but a prompt has up to", table=long)
    foreign = tmp_path / "foreign"
    shutil.copytree(bert, foreign)
    config.vocab_size = 20
    BertForMaskedLM(config).save_pretrained(foreign)
    refused(foreign, "has no embedding: the model has 20")


@pytest.mark.parametrize("space", ["vocabulary", "candidates"])
def test_a_model_that_has_diverged_is_refused(bert, facts, tmp_path, space):
    folder = tmp_path / "diverged"
    shutil.copytree(bert, folder)
    model = BertForMaskedLM.from_pretrained(folder)
    with torch.no_grad():
        model.bert.encoder.layer[1].output.dense.bias[0] = float("nan")
    model.save_pretrained(folder)
    with pytest.raises(InputError, match=r"log-probabilities are not finite\. The model has diverged"):
        ask(folder, facts, tmp_path / "s.parquet", space=space)


def test_a_gold_that_its_pieces_do_not_spell_is_never_right(bert, tmp_path):
    table = facts_table(tmp_path / "f.parquet", facts=[("ada", "北"), ("bea", "rome"), ("bea", "\u200b")])
    found = ask(bert, table, tmp_path / "s.parquet", lengths="any")
    assert found["remark"].fillna("").tolist() == ["unknown piece", "", "no piece"]
    assert found["exact"].tolist()[::2] == [0, 0] and np.isnan(found["gold_logprob"][2])
    asked = ask(bert, table, tmp_path / "s.parquet", "simultaneous", "any", "candidates")
    assert asked["exact"].tolist()[::2] == [0, 0] and asked["n_masks"].tolist() == [1, 1, 0]


def test_the_command_asks_what_the_model_is(bert, facts, tmp_path, capsys, checkpoints):
    out = tmp_path / "s.parquet"
    assert cli.main(["score", str(bert), str(facts), "--out", str(out), "--device", "cpu"]) == 0
    assert "masked, simultaneous, lengths gold, space vocabulary" in capsys.readouterr().out
    causal = str(checkpoints[0][1])
    assert cli.main(["score", causal, str(facts), "--out", str(out), "--device", "cpu"]) == 0
    assert "causal, space candidates" in capsys.readouterr().out
    assert cli.main(["score", causal, str(facts), "--out", str(out), "--decode", "simultaneous"]) == 1
    assert "fills no masks" in capsys.readouterr().err


@pytest.mark.parametrize(("decode", "lengths"), [("simultaneous", "gold"), ("left_to_right", "any")])
def test_the_benchmark_compares_what_is_equal(decode, lengths, root, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    bench = __import__("asking")
    table = bench.facts_of(None, 30, tmp_path)
    tables.write("facts", table, tmp_path / "facts.parquet")
    bench.write_model(tmp_path / "model", table, "tiny")
    where = [tmp_path / "model", tmp_path / "facts.parquet"]
    bench.ours(*where, tmp_path / "ours.parquet", decode, lengths)
    told = bench.one_at_a_time(*where, tmp_path / "plain.parquet", decode, lengths, 8)
    assert told["seconds"] > 0
    found, plain = (pd.read_parquet(tmp_path / f"{way}.parquet") for way in ("ours", "plain"))
    assert len(found) == 30 and len(plain) == 8 and bench.differences(found, plain) < 1e-5
    for column, wrong in (("best_candidate", "no"), ("exact", 0.5), ("gold_logprob", 0.0)):
        with pytest.raises(AssertionError, match="differ"):
            bench.differences(found.assign(**{column: wrong}), plain)
