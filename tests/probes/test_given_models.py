"""Models and tokenizers of any kind: those that are no causal language models are refused before scoring."""

import json
import logging
import shutil

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    Gemma3TextConfig,
    GPT2Config,
    MambaConfig,
    MixtralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForSequenceClassification,
    RobertaConfig,
    T5Config,
    T5ForConditionalGeneration,
    XLMRobertaConfig,
    XLNetConfig,
)

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes.models import check_causal, load_model, positions
from lorebridge.probes.perplexity import read_samples
from lorebridge.probes.questions import build_questions
from lorebridge.probes.scoring import build_requests, score_file, score_run
from lorebridge.probes.trees import ROUNDING, reads_batches, sum_logprobs

V = 320
SMALL = {"vocab_size": V, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
GROUPED = SMALL | {"num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 0}
GPT2 = {"vocab_size": V, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "bos_token_id": 0}
TEXTS = [[0, *range(5, 30)], [0, *range(7, 20)], [0, 9]]

CAUSAL = {
    "gpt2": GPT2Config(**GPT2, eos_token_id=0),
    "qwen2": Qwen2Config(**GROUPED),
    "mixtral": MixtralConfig(**GROUPED, num_local_experts=4),
    "mamba": MambaConfig(vocab_size=V, hidden_size=32, num_hidden_layers=2),
    "bert decoder": BertConfig(**SMALL, is_decoder=True),
    "xlm-r decoder": XLMRobertaConfig(**SMALL, is_decoder=True),
}
BOTH_WAYS = {
    "bert": BertConfig(**SMALL),
    "roberta": RobertaConfig(**SMALL),
    "xlm-r": XLMRobertaConfig(**SMALL),
    "gemma3": Gemma3TextConfig(**GROUPED, head_dim=8, use_bidirectional_attention=True),
    "xlnet": XLNetConfig(vocab_size=V, d_model=32, n_layer=2, n_head=4, d_inner=64),
}


def network(config):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


def folder_of(path, model, checkpoints):
    """Save a model beside the tokenizer of the other tests."""
    model.save_pretrained(path)
    AutoTokenizer.from_pretrained(checkpoints[0][1]).save_pretrained(path)
    return path


def dump(path, rows):
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return path


def question_table(folder, released):
    build_questions(
        culture="ko",
        langs=["en"],
        known_missing_gold=[],
        files={"en": dump(folder / "released.json", released)},
        scripts={"en": "Latin"},
        out=folder / "ko.parquet",
    )
    return folder / "ko.parquet"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", CAUSAL)
def test_a_model_that_reads_forwards_passes(kind, dtype):
    check_causal(network(CAUSAL[kind]).to(dtype), TEXTS, kind)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", BOTH_WAYS)
def test_a_model_that_reads_both_ways_is_refused(kind, dtype):
    model = network(BOTH_WAYS[kind]).to(dtype)
    with pytest.raises(InputError, match=f"{kind}: is not causal .*: another end of a text moves"):
        check_causal(model, TEXTS, kind)
    with pytest.raises(InputError, match="is not causal"):
        check_causal(model, TEXTS[2:], kind)  # two tokens are enough


@pytest.mark.parametrize("prefix", [2, 4, 20])
def test_a_prefix_read_both_ways_is_refused(prefix):
    model = network(CAUSAL["qwen2"])

    def widen(module, arguments, given):
        length = given["input_ids"].shape[1]
        place = torch.arange(length)
        seen = (place[:, None] >= place) | (place < prefix) & (place[:, None] < prefix)
        mask = torch.zeros(1, 1, length, length).masked_fill_(~seen, -float("inf"))
        return arguments, given | {"attention_mask": mask}

    model.register_forward_pre_hook(widen, with_kwargs=True)
    with pytest.raises(InputError, match="is not causal"):
        check_causal(model, TEXTS, "prefix")


@pytest.mark.parametrize("kind", ["roberta", "xlm-r", "bert"])
@pytest.mark.parametrize("mode", ["float32", "reference"])
def test_nothing_is_written_of_a_model_that_reads_both_ways(tmp_path, checkpoints, released, kind, mode):
    folder = folder_of(tmp_path / "model", network(BOTH_WAYS[kind]), checkpoints)
    path = dump(tmp_path / "q.json", released)
    with pytest.raises(InputError, match=r"model: is not causal .*next token") as error:
        score_file(model=folder, questions=path, out=tmp_path / "s.parquet", mode=mode)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "s.parquet").exists()
    with pytest.raises(InputError, match="is not causal"):
        score_run(
            run="r",
            lang_pair="en-ko",
            learned="ko",
            arm="base",
            seed=0,
            checkpoints=[(0, folder)],
            questions=[question_table(tmp_path, released)],
            out=tmp_path / "s.parquet",
            batch_tokens=512,
        )


@pytest.mark.parametrize(
    "model",
    [
        T5ForConditionalGeneration(T5Config(vocab_size=V, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4)),
        BartForConditionalGeneration(
            BartConfig(
                vocab_size=V,
                d_model=32,
                encoder_layers=1,
                decoder_layers=1,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=32,
                decoder_ffn_dim=32,
                max_position_embeddings=128,
            )
        ),
    ],
    ids=lambda model: type(model).__name__,
)
def test_an_encoder_with_a_decoder_is_refused_in_one_line(tmp_path, checkpoints, model):
    folder = folder_of(tmp_path / "model", model, checkpoints)
    with pytest.raises(InputError, match=r"model: an encoder-decoder model \(.*\)") as error:
        load_model(folder, torch.float32, "cpu")
    assert "\n" not in str(error.value)


def broken_config(folder):
    (folder / "config.json").write_text("{")


def unknown_type(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "qwen99", "architectures": ["Qwen99"]}))


def other_shape(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 64}))


def more_layers(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3, "layer_types": None}))


def torn_tokenizer(folder):
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text(encoding="utf-8")[:500])


def no_tokenizer(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()


@pytest.mark.parametrize(
    "damage", [broken_config, unknown_type, other_shape, more_layers, torn_tokenizer, no_tokenizer]
)
def test_a_damaged_folder_is_refused_in_one_line(tmp_path, checkpoints, released, damage):
    folder = tmp_path / "model"
    shutil.copytree(checkpoints[0][1], folder)
    damage(folder)
    with pytest.raises(InputError, match=f"{folder}: ") as error:
        score_file(model=folder, questions=dump(tmp_path / "q.json", released), out=tmp_path / "s.parquet")
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize("kind", CAUSAL)
def test_padding_on_the_right_changes_nothing_a_causal_model_says(kind):
    model = network(CAUSAL[kind])
    assert reads_batches(model, TEXTS, trees=False)


def test_a_model_whose_rows_see_each_other_is_asked_one_row_at_a_time(tmp_path, checkpoints, released, monkeypatch):
    model = network(Qwen2Config(**GROUPED | {"vocab_size": V}))

    def mix(module, inputs, output):
        return output + output.mean(dim=(0, 1), keepdim=True) * (output.shape[0] > 1)

    model.model.norm.register_forward_hook(mix)
    assert not reads_batches(model, TEXTS, trees=True)
    folder = folder_of(tmp_path / "model", model, checkpoints)
    monkeypatch.setattr("lorebridge.probes.scoring.load_model", lambda *arguments: model)
    score_file(model=folder, questions=dump(tmp_path / "q.json", released), out=tmp_path / "s.parquet")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = ["The capital is Seoul.", "Rice is eaten with spoons."]
    sequences = build_requests(texts, [0, 1], tokenizer).sequences
    alone = sum_logprobs(model, sequences, [0, 1], trees=False, batch_tokens=1)
    first = tables.read(tmp_path / "s.parquet").iloc[0]
    assert first["sum_logprob"] == pytest.approx(alone[0], abs=ROUNDING * len(sequences[0]))


def test_a_token_beyond_the_embedding_is_one_line(tmp_path, checkpoints, released):
    for mode in ("float32", "reference"):
        folder = folder_of(tmp_path / mode, network(Qwen2Config(**GROUPED | {"vocab_size": 300})), checkpoints)
        with pytest.raises(InputError, match=r"the tokenizer's token 3\d\d .* the model has 300") as error:
            score_file(
                model=folder, questions=dump(tmp_path / "q.json", released), out=tmp_path / "s.parquet", mode=mode
            )
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="the model has 300"):
        score_run(
            run="r",
            lang_pair="en-ko",
            learned="ko",
            arm="base",
            seed=0,
            checkpoints=[(0, folder)],
            questions=[question_table(tmp_path, released)],
            out=tmp_path / "s.parquet",
            batch_tokens=512,
        )


def test_positions_behind_that_of_the_padding_are_counted(tmp_path, checkpoints, released):
    for limit in (12, 300):
        config = XLMRobertaConfig(**SMALL, is_decoder=True, max_position_embeddings=limit, pad_token_id=1)
        model = network(config)
        assert positions(model) == limit - 2
        with torch.no_grad():
            model(input_ids=torch.full((1, limit - 2), 5))
            with pytest.raises((IndexError, RuntimeError)):
                model(input_ids=torch.full((1, limit - 1), 5))
    folder = folder_of(
        tmp_path / "model", network(XLMRobertaConfig(**SMALL, is_decoder=True, max_position_embeddings=12)), checkpoints
    )
    with pytest.raises(InputError, match="the model reads 10 tokens"):
        score_file(model=folder, questions=dump(tmp_path / "q.json", released), out=tmp_path / "s.parquet")


def test_tensors_that_are_left_out_are_named(tmp_path, caplog):
    model = Qwen2ForSequenceClassification(Qwen2Config(**GROUPED, tie_word_embeddings=True))
    model.save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING, "lorebridge.probes"):
        load_model(tmp_path, torch.float32, "cpu")
    assert "1 of its tensors are no part of Qwen2ForCausalLM and are left out: score.weight" in caplog.text


def words(vocabulary, **special):
    """Return a tokenizer of whole lower-case words; what it does not know is [UNK], and U+200B it drops."""
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace("#", "")])
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", **special)


def test_options_that_the_tokenizer_reads_alike_are_counted(caplog):
    tokenizer = words(["<s>", "[UNK]", "the", "capital", "is"], bos_token="<s>")
    texts = ["The capital is Seoul", "The capital is Busan", "the capital is", "The Capital is"]
    with caplog.at_level(logging.WARNING, "lorebridge.probes"):
        requests = build_requests(texts, [0, 0, 1, 1], tokenizer)
    assert requests.sequences[0] == requests.sequences[1] == [0, 2, 3, 4, 1]
    assert "2 of 4 texts" in caplog.text and "'The capital is Seoul'" in caplog.text
    caplog.clear()
    build_requests(["the capital", "the is", "the capital"], [0, 0, 1], tokenizer)
    assert not caplog.text


def test_a_text_without_tokens_is_one_line():
    tokenizer = words(["<s>", "[UNK]", "the"], bos_token="<s>")
    with pytest.raises(InputError, match="makes no token of '#'"):
        build_requests(["the", "#"], [0, 0], tokenizer)


def test_a_tokenizer_that_adds_special_tokens_adds_none(tmp_path, checkpoints):
    from tokenizers import processors

    tokenizer = words(["<s>", "[UNK]", "the", "</s>"], bos_token="<s>", eos_token="</s>")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 3)]
    )
    assert tokenizer("the")["input_ids"] == [0, 2, 3]
    assert build_requests(["the the"], [0], tokenizer).sequences == [[0, 2, 2]]


def test_held_out_text_needs_a_tokenizer_that_says_where_tokens_lie(tmp_path):
    from transformers import CanineTokenizer

    tables.write(
        "documents", [{"doc_id": "t/0", "title": "", "text": "a", "source": "t", "n_chars": 1}], tmp_path / "d"
    )
    with pytest.raises(InputError, match="offsets"):
        read_samples([tmp_path / "d"], CanineTokenizer(), n_tokens=9, window=9, labels=[""])


def test_the_probe_costs_a_few_short_texts(checkpoints):
    model = AutoModelForCausalLM.from_pretrained(checkpoints[0][1])
    seen = []
    model.register_forward_pre_hook(lambda m, a, k: seen.append(k["input_ids"].numel()), with_kwargs=True)
    check_causal(model, [list(range(200))], "model")
    assert sum(seen) <= 256
