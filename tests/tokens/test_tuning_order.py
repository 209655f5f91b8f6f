"""The order of a tuning: every row once an epoch, prompts without a loss, and what does not fit is said."""

from __future__ import annotations

import random

import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.tokens.order import order_summary, read_notes, stream_roles
from lorebridge.tokens.reader import IGNORED, OrderReader, show_batch
from lorebridge.tokens.store import build_store
from lorebridge.tokens.templates import leads, parts
from lorebridge.tokens.tokenizer import load_tokenizer, train_tokenizer
from lorebridge.tokens.tuning import answer_text, asked_ids, draw_tuning

TEMPLATE = "<|endoftext|>Q: {prompt}\nA: {answer} Done"
N = 23


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a tokenizer and the stores of rows in two languages; the last row of each is too long for 48 positions."""
    root = tmp_path_factory.mktemp("rows")
    chance = random.Random(1)
    stores = {}
    for lang in ("aa", "bb"):
        rows = [
            {"row_id": str(i), "prompt": "p" * chance.randint(1, 9) + f" {lang}", "answer": f"a{i} " * (1 + i % 3)}
            for i in range(N)
        ]
        rows[-1]["answer"] = "long " * 60
        tables.write("tuning", rows, root / f"{lang}.parquet")
    texts = [{"doc_id": "t", "title": "", "text": "Q: A: Done pp aa bb " * 20, "source": "t", "n_chars": 400}]
    tables.write("documents", texts, root / "text.parquet")
    tokenizer = root / "tokenizer"
    train_tokenizer(tables=[("x", "text", root / "text.parquet")], vocab_size=280, bytes_per_group=400, out=tokenizer)
    for lang in ("aa", "bb"):
        for role, lead in zip(("prompt", "answer"), leads(TEMPLATE)[1:], strict=True):
            out = root / f"{lang}-{role}"
            build_store(tables=[root / f"{lang}.parquet"], column=role, tokenizer=tokenizer, out=out, lead=lead)
            stores[f"{lang}-{role}"] = out
    return tokenizer, stores


def draw(made, out, **changes):
    tokenizer, stores = made
    arguments = {
        "run": "m.sft.x.s0",
        "seed": 0,
        "texts": [{"prompt": f"{lang}-prompt", "answer": f"{lang}-answer"} for lang in ("bb", "aa")],
        "template": TEMPLATE,
        "epochs": 3,
        "examples": 2 * (N - 1),
        "batch_examples": 8,
        "batch_tokens": 10 * 48,
        "sequence_length": 48,
        "turns": "mixed",
        "stores": stores,
        "tokenizer": tokenizer,
        "out": out,
    }
    return draw_tuning(**arguments | changes)


def read(made, out, step):
    """Return (stream, piece) of the answers of a step."""
    reader = OrderReader.open(out, made[1])
    found = reader.segments(step)
    return [
        (reader.streams[kind], piece)
        for kind, piece in found[["kind", "piece"]].itertuples(index=False)
        if reader.streams[kind].endswith("answer")
    ]


@pytest.mark.parametrize("turns", ["mixed", "in_turn"])
def test_each_epoch_has_every_row_once_in_an_order_of_its_own(made, tmp_path, turns):
    out = tmp_path / "order.parquet"
    notes = draw(made, out, turns=turns)
    assert notes["steps"] == 3 * 6 and notes["examples"]["aa-prompt"] == {"rows": N, "too_long": 1, "read": N - 1}
    epochs = [[row for step in range(6 * e, 6 * e + 6) for row in read(made, out, step)] for e in range(3)]
    whole = {(f"{lang}-answer", i) for lang in ("aa", "bb") for i in range(N - 1)}
    assert all(len(epoch) == len(whole) and set(epoch) == whole for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert [len(read(made, out, step)) for step in range(6)] == [8, 8, 8, 8, 8, 4]
    in_blocks = {stream for stream, _ in epochs[0][: 8 * 2]} == {"bb-answer"}
    assert in_blocks == (turns == "in_turn")


def test_the_loss_is_of_answers_what_closes_them_and_the_end(made, tmp_path):
    out = tmp_path / "order.parquet"
    notes = draw(made, out)
    reader, bpe = OrderReader.open(out, made[1]), load_tokenizer(made[0])
    assert read_notes(out)["labels"][0][0] == bpe.token_to_id("<|endoftext|>")  # the template's own mark is one token
    n_targets = 0
    for step in range(reader.steps):
        batch = reader.batch(step)
        n_targets += int((batch.targets != IGNORED).sum())
        for row in range(reader.rows_per_step):
            for document in sorted(set(batch.documents[row].tolist()) - {-1}):
                of_it = batch.documents[row] == document
                ids, asked = batch.input_ids[row][of_it], batch.targets[row][of_it]
                assert batch.positions[row][of_it].tolist() == list(range(of_it.sum()))
                begins = int((asked == IGNORED).sum())
                assert (asked[begins:] != IGNORED).all() and (asked[:begins] == IGNORED).all()
                prompt = bpe.decode(ids[: begins + 1].tolist()).removeprefix("Q:").removesuffix("\nA:")
                assert ids[: begins + 1].tolist() == asked_ids(bpe, TEMPLATE, prompt[1:])
                answer = bpe.decode(asked[begins:].tolist(), skip_special_tokens=False)
                assert answer.startswith(" a") and answer.endswith(" Done<|endoftext|>")
                assert answer_text(TEMPLATE, answer).startswith("a")
    assert n_targets == notes["targets"] == order_summary(out)["targets"]
    assert stream_roles(read_notes(out))["aa-prompt"] == "prompt"
    shown = show_batch(order=out, stores=made[1], tokenizer=made[0], step=0)
    assert "Q: p" in shown and " Done<|endoftext|>" in shown


def test_an_arm_and_its_control_read_the_same_rows_and_a_sample_is_one_for_all_epochs(made, tmp_path):
    draw(made, tmp_path / "one.parquet", examples=20, epochs=2, batch_examples=20, batch_tokens=20 * 48)
    swapped = [{"prompt": "bb-prompt", "answer": "aa-answer"}, {"prompt": "aa-prompt", "answer": "bb-answer"}]
    changes = {"examples": 20, "epochs": 2, "batch_examples": 20, "batch_tokens": 20 * 48}
    draw(made, tmp_path / "other.parquet", texts=swapped, **changes)
    rows = [read(made, tmp_path / "one.parquet", step) for step in range(2)]
    assert sorted(rows[0]) == sorted(rows[1]) and len(rows[0]) == 20
    pieces = [sorted(piece for _, piece in read(made, tmp_path / f"{name}.parquet", 0)) for name in ("one", "other")]
    assert pieces[0] == pieces[1]
    draw(made, tmp_path / "seed.parquet", seed=1, **changes)
    assert sorted(read(made, tmp_path / "seed.parquet", 0)) != sorted(rows[0])


def test_what_does_not_fit_is_said_and_the_mend_works(made, tmp_path):
    out = tmp_path / "order.parquet"
    with pytest.raises(InputError, match=r"23 rows, 1 of which are longer.*Set examples to 44 or less"):
        draw(made, out, examples=46)
    with pytest.raises(InputError, match=r"take (\d+) rows of 48 positions, and batch_tokens gives 2") as found:
        draw(made, out, batch_tokens=96)
    draw(made, out, batch_tokens=int(str(found.value).split("Set batch_tokens to ")[1].split(" ")[0]))
    with pytest.raises(InputError, match="45 examples of 2 languages"):
        draw(made, out, examples=45)


def test_templates():
    assert parts("{prompt} {answer}") == ("", " ", "")
    assert leads("{prompt} {answer}") == (("", "", ""), "", " ")
    assert answer_text("{prompt} {answer}", " a b \n") == "a b"
    for bad in ("{prompt}{answer}", "{answer} {prompt}", "{prompt} ", "{prompt} {answer} {answer}"):
        with pytest.raises(ValueError, match=r"needs \{prompt\} once"):
            parts(bad)
