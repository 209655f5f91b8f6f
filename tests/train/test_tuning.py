"""Tuning on prompts and answers: what the loss is of, that packing changes nothing, and that a resume is exact."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.tokens.reader import OrderReader
from lorebridge.tokens.store import build_store
from lorebridge.tokens.templates import leads
from lorebridge.tokens.tokenizer import load_tokenizer
from lorebridge.tokens.tuning import asked_ids, draw_tuning
from lorebridge.train.loop import train

TEMPLATE = "Q: {prompt}\nA: {answer}."
LENGTH = 64


@pytest.fixture(scope="module")
def tuned(study, reference, tmp_path_factory):
    """Return arguments of `train` for two epochs of tuning from the reference run's last checkpoint, and its rows."""
    root = tmp_path_factory.mktemp("tuned")
    rows = [
        {"row_id": str(i), "prompt": f"ka{i} lem nu{i * i} ", "answer": "sor" + " mi" * (i % 4) + str(i)}
        for i in range(20)
    ]
    tables.write("tuning", rows, root / "tuning.parquet")
    stores = {}
    _, *spaces = leads(TEMPLATE)
    for column, lead in zip(("prompt", "answer"), spaces, strict=True):
        stores[f"t-{column}"] = root / column
        tokenizer = study["tokenizer"]
        build_store(tables=[root / "tuning.parquet"], column=column, tokenizer=tokenizer, out=root / column, lead=lead)
    notes = draw_tuning(
        run="sft-s0",
        seed=0,
        texts=[{"prompt": "t-prompt", "answer": "t-answer"}],
        template=TEMPLATE,
        epochs=2,
        examples=20,
        batch_examples=8,
        batch_tokens=8 * LENGTH,
        sequence_length=LENGTH,
        turns="mixed",
        stores=stores,
        tokenizer=study["tokenizer"],
        out=root / "order.parquet",
    )
    arguments = study | {
        "run": "sft-s0",
        "learned": None,
        "arm": "t",
        "model": None,
        "init_from": reference[0] / "out" / "step8",
        "steps": 6,
        "checkpoint_steps": [0, 3, 6],
        "order": root / "order.parquet",
        "stores": stores,
        "micro_batch": 3,
    }
    return arguments, rows, notes


@pytest.fixture(scope="module")
def whole(tuned, tmp_path_factory):
    """Return the folder of a tuning that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    train(**tuned[0], out=folder / "out", work=folder / "work")
    return folder


def test_first_loss_is_that_of_transformers_with_prompts_masked_one_row_at_a_time(study, tuned, whole):
    """Labels are -100 on all before the answer; ids are put together here from the words of the template."""
    arguments, rows, _ = tuned
    reader = OrderReader.open(arguments["order"], arguments["stores"])
    found = reader.segments(0)
    read = found[found["kind"] == reader.streams.index("t-answer")]["piece"].tolist()
    assert len(read) == 8
    model = AutoModelForCausalLM.from_pretrained(arguments["init_from"], dtype=torch.float32)
    bpe = load_tokenizer(study["tokenizer"])
    end = bpe.token_to_id("<|endoftext|>")
    ids = lambda text: bpe.encode(text, add_special_tokens=False).ids  # noqa: E731
    losses, n = 0.0, 0
    for piece in read:
        prompt = [end, *ids("Q:"), *ids(" " + rows[piece]["prompt"]), *ids("\nA:")]
        assert prompt == asked_ids(bpe, TEMPLATE, rows[piece]["prompt"])
        answer = [*ids(" " + rows[piece]["answer"]), *ids("."), end]
        labels = torch.tensor([[-100] * len(prompt) + answer])
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([prompt + answer]), labels=labels).loss
        losses += loss.item() * len(answer)
        n += len(answer)
    metrics = tables.read(whole / "out" / "metrics.parquet")
    assert metrics["target_tokens"].iloc[0] == n
    assert metrics["loss"].iloc[0] == pytest.approx(losses / n, abs=1e-5)


def test_a_checkpoint_an_epoch_and_every_row_once_in_each(tuned, whole):
    arguments, _, notes = tuned
    assert sorted(p.name for p in (whole / "out").iterdir()) == ["metrics.parquet", "step0", "step3", "step6"]
    reader = OrderReader.open(arguments["order"], arguments["stores"])
    for epoch in range(2):
        read = [
            piece
            for step in range(3 * epoch, 3 * epoch + 3)
            for kind, piece in reader.segments(step)[["kind", "piece"]].itertuples(index=False)
            if reader.streams[kind] == "t-answer"
        ]
        assert sorted(read) == list(range(20))
    metrics = tables.read(whole / "out" / "metrics.parquet")
    assert metrics["target_tokens"].sum() == notes["targets"]
    assert metrics["loss"].iloc[-1] < metrics["loss"].iloc[0]
    assert metrics[["run", "arm", "seed"]].drop_duplicates().to_numpy().tolist() == [["sft-s0", "t", 0]]
    first = (arguments["init_from"] / "model.safetensors").read_bytes()
    assert (whole / "out" / "step0" / "model.safetensors").read_bytes() == first
    assert "`t`" in (whole / "out" / "step3" / "README.md").read_text()


def test_a_tuning_that_is_stopped_and_resumed_is_the_same_to_the_byte(
    tuned, whole, assert_same_bytes, monkeypatch, tmp_path
):
    from lorebridge.train import loop

    update = loop.Trainer.update

    def stopped(trainer):
        if trainer.done == 4:
            raise KeyboardInterrupt  # at once, as if killed: what was saved last is the state of step 2 or 4
        return update(trainer)

    monkeypatch.setattr(loop.Trainer, "update", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(**tuned[0], out=tmp_path / "out", work=tmp_path / "work")
    monkeypatch.setattr(loop.Trainer, "update", update)
    train(**tuned[0], out=tmp_path / "out", work=tmp_path / "work")
    assert_same_bytes(tmp_path, whole)


def test_weights_in_several_files_are_the_same_model(tuned, whole, tmp_path):
    start = tmp_path / "start"
    start.mkdir()
    for path in tuned[0]["init_from"].iterdir():
        if path.name != "model.safetensors":
            (start / path.name).write_bytes(path.read_bytes())
    weights = load_file(tuned[0]["init_from"] / "model.safetensors")
    names = sorted(weights)
    index = {}
    for i, some in enumerate((names[::2], names[1::2])):
        save_file({name: weights[name] for name in some}, start / f"model-{i}.safetensors")
        index |= dict.fromkeys(some, f"model-{i}.safetensors")
    (start / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    # As released before transformers 5.
    said = json.loads((start / "config.json").read_text())
    said["rope_theta"] = said.pop("rope_parameters")["rope_theta"]
    (start / "config.json").write_text(json.dumps(said))
    train(**tuned[0] | {"init_from": start}, out=tmp_path / "out", work=tmp_path / "work")
    last = "out/step6/model.safetensors"
    assert (tmp_path / last).read_bytes() == (whole / last).read_bytes()


def test_what_cannot_be_tuned_is_refused_in_a_line(tuned, tmp_path):
    for said, what in (
        ({"model_type": "gpt2"}, "is of the type gpt2. Give a model of the type qwen2"),
        ({"model_type": "bert"}, "a masked model, which writes no answer"),
        ({"model_type": "qwen2", "vocab_size": 9}, "has 9 tokens, and its tokenizer 300"),
        (
            {"model_type": "qwen2", "num_hidden_layers": 1, "layer_types": ["sliding_attention"]},
            "attend to a window alone",
        ),
    ):
        (tmp_path / "config.json").write_text(json.dumps(said))
        with pytest.raises(InputError, match=what):
            train(**tuned[0] | {"init_from": tmp_path}, out=tmp_path / "out", work=tmp_path / "work")
