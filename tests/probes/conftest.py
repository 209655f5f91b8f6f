"""A tiny random Qwen2 with a byte-level tokenizer trained on the texts of five scripts."""

from pathlib import Path

import pytest

QUESTIONS = [
    {"question": "The capital is ____.", "options": ["Seoul", "Busan", "Jeju", "Daegu"], "answer": "Seoul"},
    {"question": "____ is eaten with spoons.", "options": ["Rice", "Tea", "Bread", "Meat"], "answer": "Rice"},
    {"question": "한국에는 ___ 개의 계절이 있다.", "options": ["2개", "3개", "4개", "5개"], "answer": "4개"},
    {
        "question": "汉族中有部分人信奉道教以及____。",
        "options": ["景教", "基督教新教", "萨满教", "苯教"],
        "answer": "景教",
    },
    {
        "question": "བོད་རིགས་གཙོ་བོ་རང་རྒྱལ་གྱི་_____ཁྱབ་ཡོད།",
        "options": ["བོད་རང་སྐྱོང་ལྗོངས", "ནང་སོག", "ཤིན་ཅང", "ཉིང་ཞ"],
        "answer": "བོད་རང་སྐྱོང་ལྗོངས",
    },
    {
        "question": "ᠣᠷᠣᠨ\u202fᠳ᠋ᠤ ______ ᠪᠠᠶᠢᠨ\u180eᠠ ᠃",
        "options": ["ᠲᠥᠪᠡᠳ", "ᠥᠪᠥᠷ ᠮᠣᠩᠭᠣᠯ\u202fᠤᠨ", "ᠨᠢᠩᠰᠢᠶᠠ\u202fᠶ᠋ᠢᠨ", "ᠭᠤᠸᠠᠩᠰᠢ"],
        "answer": "ᠥᠪᠥᠷ ᠮᠣᠩᠭᠣᠯ\u202fᠤᠨ",
    },
    # No blank: all options give the same sentence.
    {"question": "This one has no blank.", "options": ["a", "b", "c", "d"], "answer": "c"},
    # Two blanks and two equal options.
    {"question": "____ and ____ again.", "options": ["he", "she", "she", "it"], "answer": "it"},
]


def save_model(folder: Path, seed: int, positions: int = 256) -> Path:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([row["question"] for row in QUESTIONS], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(folder)

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def released() -> list[dict]:
    """Questions in the released shape."""
    return [dict(row) for row in QUESTIONS]


@pytest.fixture(scope="session")
def make_model():
    """Return the function that writes a model folder: (folder, seed, positions) -> folder."""
    return save_model


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Two checkpoints of a run: steps 0 and 10."""
    root = tmp_path_factory.mktemp("run")
    return [(step, save_model(root / f"step{step}", seed=step)) for step in (0, 10)]
