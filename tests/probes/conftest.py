"""A tiny random Qwen2 with a byte-level tokenizer trained on the texts of five scripts."""

import re
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


def published_scorer(folder: Path, rows: list[dict], dtype) -> tuple[list[dict[str, float]], list[int]]:
    """Score as the published scorer does, step by step: what every option costs and how many answers are right.

    Only the number of the start token is not its own (151643 there), and the dtype is given.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    start = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    all_losses, right = [], []
    for row in rows:
        prompt = re.sub(r"_+", "<mask>", row["question"])
        losses = {}
        for option in row["options"]:
            ids = tokenizer(prompt.replace("<mask>", option), return_tensors="pt")["input_ids"]
            ids = torch.cat([torch.tensor([[start]]), ids], dim=-1)
            with torch.no_grad():
                logits = model(input_ids=ids)["logits"][0, :-1]
            losses[option] = float(torch.nn.CrossEntropyLoss(reduction="mean")(logits, ids[0, 1:]))
        ranking = [option for option, _ in sorted(losses.items(), key=lambda pair: pair[1])]
        all_losses.append(losses)
        answers = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
        right.append(sum(answer in ranking[: len(answers)] for answer in answers))
    return all_losses, right


def train(folder: Path, texts: list[str], steps: int) -> None:
    """Train the model in `folder` on texts for a few steps, and save it there."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    adamw = torch.optim.AdamW(model.parameters(), lr=3e-3)
    start = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    for step in range(steps):
        rows = [[start, *tokenizer(text)["input_ids"]][:64] for text in texts[8 * step % len(texts) :][:8]]
        ids = torch.tensor([row + [start] * (64 - len(row)) for row in rows])
        model(input_ids=ids, labels=ids).loss.backward()
        adamw.step()
        adamw.zero_grad()
    model.save_pretrained(folder)


@pytest.fixture(scope="session")
def published_rule():
    """Return the published scorer: (folder, rows, dtype) -> losses by option text, and right answers, of each row."""
    return published_scorer


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Return the function that writes a model trained on texts: texts -> folder."""

    def make(texts: list[str]) -> Path:
        folder = save_model(tmp_path_factory.mktemp("trained"), seed=1, positions=4096)
        train(folder, texts, steps=30)
        return folder

    return make


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
