import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from lorebridge import records, tables
from lorebridge.corpora.released import fill_blanks
from lorebridge.errors import InputError
from lorebridge.probes import scoring
from lorebridge.probes.decisions import accuracy
from lorebridge.probes.models import start_token
from lorebridge.probes.questions import build_questions
from lorebridge.probes.scoring import build_requests, score_file, score_run
from lorebridge.probes.trees import sum_logprobs

SCRIPTS = {"ko": "Hangul", "zh": "Han", "bo": "Tibetan", "mn": "Mongolian"}


def filled(released: list[dict]) -> tuple[list[str], list[int]]:
    """Return the filled questions and the number of the question of each."""
    return (
        [fill_blanks(row["question"], option) for row in released for option in row["options"]],
        [index for index, row in enumerate(released) for _ in row["options"]],
    )


def load(folder: Path, dtype: torch.dtype = torch.float32):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


def nll(model, ids: list[int]) -> float:
    """Return the mean cross-entropy of `ids` after the first."""
    with torch.no_grad():
        return float(model(torch.tensor([ids]), labels=torch.tensor([ids])).loss)


def dump(path: Path, rows: list[dict]) -> Path:
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return path


def test_requests_begin_as_a_training_document_and_share_equal_texts(checkpoints, released):
    tokenizer = AutoTokenizer.from_pretrained(checkpoints[0][1])
    texts, groups = filled(released)
    requests = build_requests(texts, groups, tokenizer)
    start = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert len(requests.sequences) == len(requests.groups) == len(set(texts)) < len(texts)
    for text, group, request, n_tokens in zip(texts, groups, requests.request, requests.n_tokens, strict=True):
        sequence = requests.sequences[request]
        assert sequence[0] == start
        assert start not in sequence[1:]
        assert tokenizer.decode(sequence[1:]) == text
        assert n_tokens == len(sequence) - 1
        assert requests.groups[request] == group
    longest = max(requests.sequences, key=len)
    assert longest in requests.longest_group() and len(requests.longest_group()) == 4


def test_a_special_token_spelt_in_a_text_is_text(checkpoints):
    tokenizer = AutoTokenizer.from_pretrained(checkpoints[0][1])
    requests = build_requests(["a<|endoftext|>b"], [0], tokenizer)
    assert requests.sequences[0].count(tokenizer.convert_tokens_to_ids("<|endoftext|>")) == 1


def test_another_architecture_and_a_tokenizer_without_end_of_text(tmp_path, checkpoints, released):
    inner = AutoTokenizer.from_pretrained(checkpoints[0][1]).backend_tokenizer.to_str()
    named = Tokenizer.from_str(inner.replace("<|endoftext|>", "<s>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=named, bos_token="<s>")
    folder = tmp_path / "gpt2"
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=1, n_head=2, n_positions=128)
    GPT2LMHeadModel(config).save_pretrained(folder)
    score_file(model=folder, questions=dump(tmp_path / "q.json", released), out=tmp_path / "s.parquet")
    first = tables.read(tmp_path / "s.parquet").iloc[0]

    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer("The capital is Seoul.")["input_ids"]]])
    with torch.no_grad():
        loss = load(folder)(ids, labels=ids).loss
    assert first["n_tokens"] == ids.shape[1] - 1
    assert first["mean_nll"] == pytest.approx(float(loss), rel=1e-6)

    with pytest.raises(InputError, match="no start and no end token"):
        start_token(PreTrainedTokenizerFast(tokenizer_object=named))


def test_reference_mode_is_the_published_rule(tmp_path, checkpoints, released, published_rule):
    for _, folder in checkpoints:
        losses, right = published_rule(folder, released, torch.bfloat16)
        out = tmp_path / "scores.parquet"
        summary = score_file(model=folder, questions=dump(tmp_path / "q.json", released), out=out, mode="reference")
        table = tables.read(out)
        assert list(table["mean_nll"]) == [losses[i][o] for i, row in enumerate(released) for o in row["options"]]
        winners = table[table["predicted"]].groupby("question_index")
        assert winners.size().eq(1).all()
        assert list(winners["is_gold"].first()) == right
        assert summary["correct"] == sum(right)
        assert summary["accuracy"] == sum(right) / len(released)


def test_reference_mode_reads_masks_and_lists_of_answers_as_published(tmp_path, checkpoints, released, published_rule):
    rows = [
        {
            "question": "The capital of Korea is <mask>.",
            "options": ["Seoul", "Busan", "Jeju", "Daegu"],
            "answer": "Seoul",
        },
        {"question": "<mask> and ____ again.", "options": ["he", "she", "she", "it"], "answer": ["it", "she"]},
        {**released[0], "answer": ["Jeju", "Seoul", "Daegu"]},
        {**released[1], "answer": ["Tea", "Tea"]},
        {**released[2], "answer": ["4개"]},
        released[3],
    ]
    for _, folder in checkpoints:
        losses, right = published_rule(folder, rows, torch.bfloat16)
        path, out = dump(tmp_path / "q.json", rows), tmp_path / "s.parquet"
        summary = score_file(model=folder, questions=path, out=out, mode="reference")
        table = tables.read(out)
        assert list(table["mean_nll"]) == [losses[i][option] for i, row in enumerate(rows) for option in row["options"]]
        assert table[table["question_index"] == 0]["sum_logprob"].nunique() > 1
        answers = [len(row["answer"]) if isinstance(row["answer"], list) else 1 for row in rows]
        assert list(table.groupby("question_index")["predicted"].sum()) == answers
        assert summary["correct"] == sum(right)
        assert summary["n_answers"] == sum(answers)
        assert summary["accuracy"] == sum(right) / sum(answers)
    with pytest.raises(InputError, match=r"row 1: `answer` lists 2 answers"):
        score_file(model=folder, questions=path, out=out)


def test_questions_without_a_blank_are_counted_or_refused(tmp_path, checkpoints, released, caplog):
    path = dump(tmp_path / "q.json", released)
    with caplog.at_level("WARNING", "lorebridge.probes"):
        summary = score_file(model=checkpoints[0][1], questions=path, out=tmp_path / "s.parquet")
    assert summary["remarks"]["no blank"] == [6]
    assert "q.json: 1 of 8 questions: no blank (row 6)" in caplog.text
    (tmp_path / "s.parquet").unlink()
    with pytest.raises(InputError, match="none of its 1 questions has a blank"):
        score_file(model=checkpoints[0][1], questions=dump(path, released[6:7]), out=tmp_path / "s.parquet")
    assert not (tmp_path / "s.parquet").exists()


def test_float32_mode_shares_ties(tmp_path, checkpoints, released):
    out = tmp_path / "scores.parquet"
    summary = score_file(model=checkpoints[1][1], questions=dump(tmp_path / "q.json", released), out=out)
    table = tables.read(out).set_index("question_index")
    assert list(table.columns) == [name for name in tables.SCHEMAS["option_scores"].names if name != "question_index"]
    no_blank = table.loc[6]
    assert no_blank["predicted"].all()
    assert no_blank["sum_logprob"].nunique() == 1
    np.testing.assert_allclose(table["mean_nll"], -table["sum_logprob"] / table["n_tokens"])
    assert summary["ties"] >= 1
    assert summary["lo"] < summary["accuracy"] < summary["hi"]
    shares = table["predicted"] / table.groupby(level=0)["predicted"].transform("sum")
    assert summary["correct"] == pytest.approx((shares * table["is_gold"]).sum())


def test_a_gold_that_is_missing_is_never_right(tmp_path, checkpoints, released):
    rows = [{**row, "answer": "elsewhere"} for row in released]
    path = dump(tmp_path / "q.json", rows)
    with pytest.raises(InputError, match="row 0: the answer 'elsewhere'"):
        score_file(model=checkpoints[0][1], questions=path, out=tmp_path / "s.parquet")
    for mode in ("float32", "reference"):
        summary = score_file(
            model=checkpoints[0][1],
            questions=path,
            out=tmp_path / "s.parquet",
            mode=mode,
            known_missing_gold=range(len(rows)),
        )
        assert summary["correct"] == 0


def question_table(folder: Path, released: list[dict]) -> Path:
    path = dump(folder / "released.json", released)
    build_questions(
        culture="ko",
        langs=["en"],
        known_missing_gold=[],
        files={"en": path},
        scripts={"en": "Latin"},
        out=folder / "ko.parquet",
    )
    return folder / "ko.parquet"


NAME = {"run": "ko-bridge-s0", "lang_pair": "en-ko", "learned": "ko", "arm": "bridge", "seed": 0}


def run_scores(checkpoints, questions: Path, out: Path, **settings) -> dict:
    return score_run(
        **{**NAME, **settings.pop("name", {})},
        checkpoints=checkpoints,
        questions=[questions],
        out=out,
        batch_tokens=512,
        **settings,
    )


def test_scores_of_a_run(tmp_path, checkpoints, released):
    questions = question_table(tmp_path, released)
    out = tmp_path / "scores.parquet"
    notes = run_scores(checkpoints, questions, out)
    table = tables.read(out)
    assert notes["options"] == 4 * len(released)
    assert len(table) == 2 * 4 * len(released)
    assert set(table["step"]) == {0, 10}
    assert table["run"].eq("ko-bridge-s0").all() and table["culture"].eq("ko").all()
    for step, folder in checkpoints:
        score_file(model=folder, questions=tmp_path / "released.json", out=tmp_path / "one.parquet", batch_tokens=512)
        one = tables.read(tmp_path / "one.parquet")
        found = table[table["step"] == step]
        np.testing.assert_allclose(found["sum_logprob"], one["sum_logprob"], rtol=1e-6)
        assert list(found["n_tokens"]) == list(one["n_tokens"])
        tokenizer, model = AutoTokenizer.from_pretrained(folder), load(folder)
        for row, option in zip(found.itertuples(), one["option"], strict=True):
            ids = [start_token(tokenizer), *tokenizer(option)["input_ids"]]
            assert row.prior_tokens == len(ids) - 1
            assert row.prior_logprob == pytest.approx(-row.prior_tokens * nll(model, ids), rel=1e-5)
    first = out.read_bytes()
    run_scores(checkpoints, questions, out)
    assert out.read_bytes() == first


def test_the_derived_reference_rule_equals_the_published_one_in_float32(
    tmp_path, checkpoints, released, published_rule
):
    questions = question_table(tmp_path, released)
    run_scores(checkpoints, questions, tmp_path / "scores.parquet")
    decided = accuracy(
        tables.read(tmp_path / "scores.parquet"),
        tables.read(questions),
        rule="mean",
        ties="reference",
        subset="reference",
    )
    for step, folder in checkpoints:
        _, right = published_rule(folder, released, torch.float32)
        assert list(decided[decided["step"] == step]["credit"]) == [float(r) for r in right]


def test_a_killed_job_repeats_no_checkpoint(tmp_path, checkpoints, released, monkeypatch):
    questions = question_table(tmp_path, released)
    run_scores(checkpoints, questions, tmp_path / "whole.parquet")
    work = tmp_path / "work"

    asked = []

    def counted(*arguments, **settings):
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return sum_logprobs(*arguments, **settings)

    monkeypatch.setattr(scoring, "sum_logprobs", counted)
    with pytest.raises(KeyboardInterrupt):
        run_scores(checkpoints, questions, tmp_path / "scores.parquet", work=work)
    run_scores(checkpoints, questions, tmp_path / "scores.parquet", work=work)
    assert len(asked) == 3
    assert (tmp_path / "scores.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()

    # Torn parts and parts of other questions are not used.
    (work / "step0.scores.parquet").write_bytes((work / "step0.scores.parquet").read_bytes()[:-100])
    run_scores(checkpoints, questions, tmp_path / "scores.parquet", work=work)
    assert len(asked) == 4
    assert (tmp_path / "scores.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    run_scores(checkpoints, question_table(tmp_path, released[:3]), tmp_path / "scores.parquet", work=work)
    assert len(asked) == 6


def test_checkpoints_that_the_job_has_compared_are_not_hashed_again(checkpoints, released, tmp_path, monkeypatch):
    questions = question_table(tmp_path, released)
    monkeypatch.setattr(records.DigestCache, "SMALLEST", 0)
    monkeypatch.setattr(records.DigestCache, "SETTLED", -1.0)
    cache = records.DigestCache(tmp_path / "digests")
    known = [scoring.weights_digest(folder, cache) for _, folder in checkpoints]
    assert known == [scoring.weights_digest(folder) for _, folder in checkpoints]
    hashed = []
    monkeypatch.setattr(records, "file_digest", lambda path: hashed.append(path))
    run_scores(checkpoints, questions, tmp_path / "s.parquet", work=tmp_path / "work", digests=tmp_path / "digests")
    assert not hashed


def held_out(folder: Path) -> dict:
    """Write held-out text and return what `score_run` is told of it."""
    texts = {"en": ["The capital is Seoul.", "Rice is eaten with spoons."], "ko": ["한국에는 4개의 계절이 있다."]}
    heldout = {}
    for lang, of_lang in texts.items():
        heldout[lang] = [folder / f"{lang}-heldout.parquet"]
        rows = [
            {"doc_id": f"t/{i}", "title": "", "text": t, "source": "t", "n_chars": len(t)}
            for i, t in enumerate(of_lang)
        ]
        tables.write("documents", rows, heldout[lang][0])
    pairs = [
        {"pair_id": f"t/{i:07d}", "en": f"This is {i}.", "xx": f"이것은 {i}이다.", "source": "t"} for i in range(9)
    ]
    tables.write("pairs", pairs, folder / "ko.heldout.parquet")
    return {
        "heldout": heldout,
        "pairs": {"ko": folder / "ko.heldout.parquet"},
        "perplexity_tokens": 1000,
        "alignment_pairs": 5,
        "window": 16,
        "perplexity": folder / "perplexity.parquet",
        "alignment": folder / "alignment.parquet",
    }


def test_one_job_measures_answers_perplexity_and_alignment(tmp_path, checkpoints, released, monkeypatch):
    questions = question_table(tmp_path, released)
    settings = held_out(tmp_path)
    outs = [tmp_path / f"{name}.parquet" for name in ("scores", "perplexity", "alignment")]
    notes = run_scores(checkpoints, questions, outs[0], **settings)
    _, predicted, aligned = (tables.read(path) for path in outs)
    assert list(zip(predicted["step"], predicted["lang"], strict=True)) == [
        (0, "en"),
        (0, "ko"),
        (10, "en"),
        (10, "ko"),
    ]
    assert dict(zip(predicted["lang"], predicted["n_tokens"], strict=True)) == notes["heldout_tokens"]
    np.testing.assert_allclose(predicted["perplexity"], np.exp(predicted["sum_nll"] / predicted["n_tokens"]))
    assert list(aligned["layer"]) == [0, 1, 2] * 2 and aligned["n_pairs"].eq(5).all()
    assert notes["heldout_pairs"] == {"ko": 5}
    for table in (predicted, aligned):
        assert table["run"].eq("ko-bridge-s0").all() and table["seed"].eq(0).all()

    # A second try takes all three tables of each checkpoint from the work folder, and asks no model.
    whole = [path.read_bytes() for path in outs]
    run_scores(checkpoints, questions, outs[0], work=tmp_path / "work", **settings)
    monkeypatch.setattr(scoring, "load_model", None)
    for path in outs:
        path.unlink()
    run_scores(checkpoints, questions, outs[0], work=tmp_path / "work", **settings)
    assert [path.read_bytes() for path in outs] == whole
    (tmp_path / "work" / "step10.alignment.parquet").unlink()
    with pytest.raises(TypeError):
        run_scores(checkpoints, questions, outs[0], work=tmp_path / "work", **settings)


def test_a_model_that_is_given_has_no_step_arm_or_seed(tmp_path, checkpoints, released):
    """It is asked once; what a killed job has made of it is taken up as of any other."""
    questions, (_, folder) = question_table(tmp_path, released), checkpoints[1]
    name = {"run": "gpt2", "lang_pair": None, "learned": None, "arm": None, "seed": None}
    settings = {**held_out(tmp_path), "name": name, "work": tmp_path / "work"}
    outs = [tmp_path / f"{part}.parquet" for part in ("scores", "perplexity", "alignment")]
    run_scores([(None, folder)], questions, outs[0], **settings)
    first = [path.read_bytes() for path in outs]
    for table in map(tables.read, outs):
        assert table["run"].eq("gpt2").all() and len(table)
        assert table[["lang_pair", "learned", "arm", "seed", "step"]].isna().all(axis=None)
    run_scores([(None, folder)], questions, outs[0], **settings)
    assert [path.read_bytes() for path in outs] == first
    run_scores(checkpoints, questions, tmp_path / "trained.parquet")
    trained = tables.read(tmp_path / "trained.parquet")
    assert trained[trained["step"] == 10]["sum_logprob"].tolist() == tables.read(outs[0])["sum_logprob"].tolist()


def test_two_checkpoints_of_one_step_are_refused(tmp_path, checkpoints, released):
    questions = question_table(tmp_path, released)
    for step in (None, 10):
        with pytest.raises(InputError, match="two checkpoints"):
            run_scores([(step, folder) for _, folder in checkpoints], questions, tmp_path / "s.parquet")


def test_parts_of_other_weights_are_not_used(tmp_path, checkpoints, released):
    questions = question_table(tmp_path, released)
    (_, first), (_, second) = checkpoints
    run_scores([(0, first)], questions, tmp_path / "a.parquet", work=tmp_path / "work")
    run_scores([(0, second)], questions, tmp_path / "b.parquet", work=tmp_path / "work")
    assert (tmp_path / "a.parquet").read_bytes() != (tmp_path / "b.parquet").read_bytes()


def test_bad_folders_are_named(tmp_path, checkpoints, released, make_model):
    questions = question_table(tmp_path, released)
    out = tmp_path / "s.parquet"
    with pytest.raises(InputError, match=r"absent: not a model folder \(no config.json\)"):
        run_scores([(0, tmp_path / "absent")], questions, out)

    torn = tmp_path / "torn"
    shutil.copytree(checkpoints[0][1], torn)
    (torn / "model.safetensors").unlink()
    (torn / "pytorch_model.bin").write_bytes(b"pickled")
    with pytest.raises(InputError, match=r"torn: no model can be loaded \(no \*\.safetensors\)"):
        run_scores([(0, torn)], questions, out)

    shutil.copytree(checkpoints[0][1], torn, dirs_exist_ok=True)
    (torn / "model.safetensors").write_bytes((torn / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(InputError, match="torn: no model can be loaded"):
        run_scores([(0, torn)], questions, out)

    # What the library does not know it skips, and takes packed weights for weights.
    newer = tmp_path / "newer"
    shutil.copytree(checkpoints[0][1], newer)
    said = json.loads((newer / "config.json").read_text())
    (newer / "config.json").write_text(json.dumps({**said, "quantization_config": {"quant_method": "newest"}}))
    with pytest.raises(InputError, match="newer: its weights are quantized by 'newest', which the installed"):
        run_scores([(0, newer)], questions, out)

    tensors = load_file(checkpoints[0][1] / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, torn / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"torn: its weights lack model\.norm\.weight"):
        run_scores([(0, torn)], questions, out)

    other = tmp_path / "other"
    shutil.copytree(checkpoints[0][1], other)
    (other / "tokenizer.json").write_text((other / "tokenizer.json").read_text(encoding="utf-8") + " ")
    with pytest.raises(InputError, match="differ in their tokenizer"):
        run_scores([checkpoints[0], (10, other)], questions, out)

    with pytest.raises(InputError, match="reads 16 tokens, but a filled question and its start token have"):
        run_scores([(0, make_model(tmp_path / "short", 0, positions=16))], questions, out)


def test_a_model_that_diverged_is_named(tmp_path, checkpoints, released):
    model = load(checkpoints[0][1])
    model.model.norm.weight.data.fill_(float("nan"))
    folder = tmp_path / "diverged"
    shutil.copytree(checkpoints[0][1], folder)
    model.save_pretrained(folder)
    with pytest.raises(InputError, match="log-probabilities are not finite"):
        run_scores([(0, folder)], question_table(tmp_path, released), tmp_path / "s.parquet")


@pytest.mark.parametrize(("culture", "lang"), [("zh", "zh"), ("ko", "en"), ("mn", "mn"), ("bo", "bo")])
@pytest.mark.parametrize("state", ["random", "trained"])
def test_parity_with_the_published_scorer_on_real_questions(
    tmp_path, data, make_model, trained, published_rule, culture, lang, state
):
    rows = json.loads((data / "probes" / f"{culture}-culture-cloze_{lang}.json").read_text(encoding="utf-8"))
    questions = [row["question"] for row in rows]
    rows = [
        *rows[10:30],
        *rows[140:150],
    ]  # among them Mongolian ones without a blank and Korean ones with equal options
    folder = make_model(tmp_path / "model", 0, positions=4096) if state == "random" else trained(questions)
    path = dump(tmp_path / "q.json", rows)
    for mode, dtype in (("reference", torch.bfloat16), ("float32", torch.float32)):
        losses, right = published_rule(folder, rows, dtype)
        score_file(model=folder, questions=path, out=tmp_path / "s.parquet", mode=mode)
        found = tables.read(tmp_path / "s.parquet")
        expected = [losses[i][option] for i, row in enumerate(rows) for option in row["options"]]
        if mode == "reference":
            assert list(found["mean_nll"]) == expected
            assert list(found[found["predicted"]]["is_gold"]) == right
        else:
            np.testing.assert_allclose(found["mean_nll"], expected, atol=1e-5, rtol=0)
            # Where options tie, the answer is right by the published order and shares the credit by ours.
            best = found[found["predicted"]].groupby("question_index")["is_gold"]
            alone = best.size() == 1
            assert list(best.first()[alone]) == list(np.array(right)[alone])


@pytest.mark.slow
@pytest.mark.parametrize("culture", ["ko", "zh", "bo", "mn"])
def test_all_released_questions_score(tmp_path, data, make_model, culture):
    folder = data / "probes"
    missing = [69] if culture == "mn" else []
    files = {lang: folder / f"{culture}-culture-cloze_{lang}.json" for lang in ("en", culture)}
    build_questions(
        culture=culture,
        langs=["en", culture],
        known_missing_gold=missing,
        files=files,
        scripts={"en": "Latin", culture: SCRIPTS[culture]},
        out=tmp_path / "q.parquet",
    )
    model = make_model(tmp_path / "model", 0, positions=4096)
    run_scores([(0, model)], tmp_path / "q.parquet", tmp_path / "s.parquet")
    questions = tables.read(tmp_path / "q.parquet")
    scores = tables.read(tmp_path / "s.parquet")
    assert len(scores) == len(questions)
    decided = accuracy(scores, questions, subset="reference")
    assert len(decided) == questions["question_id"].nunique() * 2
    # Questions without a blank are the ones whose options all tie.
    spread = scores.groupby(["lang", "question_id"])["sum_logprob"].nunique()
    no_blank = questions[questions["n_blanks"] == 0].groupby(["lang", "question_id"]).size()
    assert set(spread[spread == 1].index) == set(no_blank.index)
