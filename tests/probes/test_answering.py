"""Open questions put to models: worded, answered with and without a thought, kept as they come, bought once."""

import json

import pytest
from transformers import PreTrainedTokenizerFast

from lorebridge import tables
from lorebridge.cli import main
from lorebridge.errors import InputError
from lorebridge.probes.answering import Asked, Local, split_thought, stopper
from lorebridge.probes.openqa import ask_open, read_asked
from lorebridge.probes.serving import WITHHELD, check_room, own, read_reply
from lorebridge.probes.wording import END, LENGTH, STOP, THOUGHT, Manner, build
from lorebridge.records import fingerprint

QUESTIONS = [
    {"question_id": f"{lang}{i}", "lang": lang, "source_lang": "de", "question": f"Who is {i} in {lang}?"}
    | {"answer": f"{i}"}
    for i in range(4)
    for lang in ("de", "hi")
]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# Wording --------------------------------------------------------------------------------------------------------------


def test_a_question_is_put_in_words_and_spells_no_slot():
    row = {"question": "What is {language}?", "lang": "de", "hint_text": "{question}"}
    assert build(row, "{question}{hint} In {language}.", {"de": "German"}) == (
        "What is {language}?\n({question}) In German."
    )
    with pytest.raises(InputError, match=r"has no \{hint\}"):
        build(row, "{question}", {})
    assert build(row | {"hint_text": ""}, "{question}", {}) == "What is {language}?"


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ({"thinking": "maybe"}, "'maybe' is not known. There are off, on, budget"),
        ({"thinking": "on"}, "thinking_tokens: is missing"),
        ({"samples": 2}, "samples: are equal at temperature 0"),
        ({"prompt": {"de": "Frage"}}, "prompt: has no {question}"),
    ],
)
def test_what_does_not_go_together_is_said(said, what):
    with pytest.raises(InputError, match=what):
        Manner(**said)


def test_questions_are_read_from_either_form_and_refused_in_a_line(tmp_path):
    found = read_asked(write(tmp_path / "set.jsonl", [{"question": "a", "answers": ["b", "c"]}, {"question": "d"}]))
    assert found[["dataset", "question_id", "lang", "question"]].to_numpy().tolist() == [
        ["set", "0", "und", "a"],
        ["set", "1", "und", "d"],
    ]
    assert [list(answers) for answers in found["answers"]] == [["b", "c"], []]
    for rows, what in (
        ([{"question": " "}], "row 1, key question: is missing or blank"),
        ([{"question": "a", "answers": "b"}], "row 1, key answers: is no list"),
        ([{"question": "a", "lang": ["de"]}], r"row 1, key lang: is \['de'\], no text"),
        ([{"question": "a", "question_id": 1}] * 2, "the question 1 stands twice in und"),
        ([], "has no question"),
    ):
        with pytest.raises(InputError, match=what):
            read_asked(write(tmp_path / "bad.jsonl", rows))
    with pytest.raises(InputError, match="neither Parquet nor JSON Lines"):
        read_asked(tmp_path / "set.csv")


# Thoughts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "opened", "found"),
    [
        ("<think>\nHm.\n</think>\n\nParis", False, ("Hm.", "Paris")),
        ("Hm.\n</think>\nParis", True, ("Hm.", "Paris")),
        ("Hm.</think>Paris", False, ("Hm.", "Paris")),  # a template of the server's has opened it
        ("<think>Hm", False, ("Hm", None)),
        ("Hm", True, ("Hm", None)),
        (" Paris\n", False, (None, "Paris")),
        ("<think></think>a</think>b", False, ("", "a</think>b")),
    ],
)
def test_thought_and_answer_are_kept_apart(text, opened, found):
    assert split_thought(text, opened) == found


class Said:
    """A tokenizer of characters with a template, and a model that goes on as a table says."""

    def __init__(self, template="U:{m}\nA:"):
        self.chat_template, self.name_or_path, self.all_special_tokens = template, "said", ["<s>"]
        self.asked = []

    def apply_chat_template(self, messages, enable_thinking, **_):
        [message] = messages
        off = "" if enable_thinking else "<think>\n\n</think>\n\n" if "<think>" not in self.chat_template else ""
        return self.chat_template.replace("{m}", message["content"]) + off

    def __call__(self, text, **_):
        return {"input_ids": [ord(letter) for letter in text]}

    def model(self, table):
        def generate(prompts, *, max_tokens, stops, temperature, seeds):
            for place, prompt in enumerate(prompts):
                text = "".join(map(chr, prompt))
                self.asked.append((text, max_tokens, tuple(stops)))
                said = next(said for end, said in table.items() if text.endswith(end))
                at = min([said.find(stop) + len(stop) for stop in stops if stop in said] or [len(said) + 1])
                if at <= min(len(said), max_tokens):
                    yield {place: (said[:at], at, STOP)}
                elif len(said) > max_tokens:
                    yield {place: (said[:max_tokens], max_tokens, LENGTH)}
                else:
                    yield {place: (said, len(said), END)}

        return generate


def replies(manner, table, template="U:{m}\nA:", form="chat"):
    said = Said(template)
    local = Local(said, said.model(table), manner, form)
    asked = [Asked(text, 0) for text in ("one", "two")]
    found = {}
    for batch in local(asked):
        found |= batch
    return [found[place] for place in (0, 1)], said.asked


def test_a_model_that_does_not_think_answers_at_once():
    table = {"one\nA:<think>\n\n</think>\n\n": " Paris<s> ", "two\nA:<think>\n\n</think>\n\n": "x" * 99}
    [one, two], _ = replies(Manner(max_tokens=30), table)
    assert (one.answer, one.thought, one.ended, one.n_thought) == ("Paris", "", END, 0)
    assert (two.answer, two.ended, two.n_tokens) == ("x" * 30, LENGTH, 30)
    # A template that opens the thought all the same has it closed.
    table = {"</think>\n\n": "Paris"}
    _, asked = replies(Manner(), table, "U:{m}\nA:<think>\n")
    assert asked[0][0] == "U:one\nA:<think>\n\n</think>\n\n"


def test_a_thought_ends_by_itself_or_leaves_no_answer():
    table = {
        "one\nA:<think>\n": "It is P.\n</think>\n\nParis",
        "P.\n</think>": "\n\nParis",
        "two\nA:<think>\n": "x" * 99,
    }
    manner = Manner(thinking="on", thinking_tokens=40, max_tokens=20)
    [one, two], asked = replies(manner, table, "U:{m}\nA:<think>\n")
    assert (one.answer, one.thought, one.ended, one.thought_cut) == ("Paris", "It is P.", END, False)
    assert (two.answer, two.thought, two.ended, two.n_thought) == ("", "x" * 40, THOUGHT, 40)
    assert [how for _, *how in asked] == [[40, ("</think>",)], [20, ()], [40, ("</think>",)]]


def test_a_budget_ends_a_thought_and_the_model_answers():
    table = {"two\nA:": "<think>" + "x" * 99, "x\n</think>\n\n": "Rome", "one\nA:": "Paris"}
    [one, two], asked = replies(Manner(thinking="budget", thinking_tokens=40, max_tokens=20), table)
    assert (one.answer, one.thought, one.n_thought) == ("Paris", "", 0)  # it did not think
    assert (two.answer, two.thought, two.ended, two.thought_cut) == ("Rome", "x" * 33, END, True)
    assert asked[-1][0] == "U:two\nA:<think>" + "x" * 33 + "\n</think>\n\n"


@pytest.mark.parametrize(
    ("content", "reasoning", "finish", "tokens", "found"),
    [
        ("Paris", "", "stop", (3, None), ("Paris", "", END, 3, 0)),
        ("Paris", "Hm.", "stop", (9, 6), ("Paris", "Hm.", END, 3, 6)),
        ("<think>Hm.</think>Paris", "", "stop", (9, None), ("Paris", "Hm.", END, None, None)),
        ("", "Hm.", "length", (9, 9), ("", "Hm.", THOUGHT, 0, 9)),
        ("<think>Hm", "", "length", (9, None), ("", "Hm", THOUGHT, None, None)),
        ("Par", "", "length", (9, None), ("Par", "", LENGTH, 9, 0)),
        ("", "", "content_filter", (0, None), ("", "", WITHHELD, 0, 0)),
    ],
)
def test_what_an_endpoint_says_is_read(content, reasoning, finish, tokens, found):
    said = {"content": content, "reasoning": reasoning, "finish": finish, "model": "m"}
    reply = read_reply(said | dict(zip(("tokens", "reasoning_tokens"), tokens, strict=True)), Manner())
    assert (reply.answer, reply.thought, reply.ended, reply.n_tokens, reply.n_thought) == found


# A folder -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory, make_model):
    return make_model(tmp_path_factory.mktemp("model"), 0)


def ask(tmp_path, model, questions=QUESTIONS, **how):
    out = tmp_path / "answers.parquet"
    path = write(tmp_path / "set.jsonl", questions)
    said = {"run": "m", "engine": "own", "checkpoints": [(None, model)], "manner": {"max_tokens": 6}}
    notes = ask_open(questions=[path], out=out, work=tmp_path / "work", **said | how)
    return notes, tables.read(out)


def test_a_folder_answers_and_says_how(tmp_path, model):
    notes, rows = ask(tmp_path, model)
    assert rows["question_id"].tolist() == [row["question_id"] for row in QUESTIONS]
    assert rows["target_lang"].tolist() == ["de", "hi"] * 4 and set(rows["source_lang"]) == {"de"}
    assert rows["prompt"][0] == "Q: Who is 0 in de?\nA:" and rows["prompt_id"][0] == fingerprint(rows["prompt"][0])
    assert notes["answers"] == 8 and sum(notes["ended"].values()) == 8
    cut = rows["ended"] == LENGTH
    assert rows["truncated"].equals(cut) and (rows["n_tokens"][cut] == 6).all() and rows["step"].isna().all()
    assert not any("\n" in answer for answer in rows["answer"])


def test_an_answer_is_given_once_also_beside_other_questions(tmp_path, model, monkeypatch):
    asked = []
    kept = Local.__call__
    monkeypatch.setattr(Local, "__call__", lambda self, own: asked.append(len(own)) or kept(self, own))
    _, first = ask(tmp_path, model)
    _, again = ask(tmp_path, model)
    assert asked == [8] and again.equals(first)
    more = [*QUESTIONS, {"question": "Who else?", "question_id": "x", "lang": "de"}]
    _, rows = ask(tmp_path, model, more)
    assert asked == [8, 1] and rows[:8].equals(first)
    # Another way of asking is another question, and what was answered one way is kept.
    drawn = {"max_tokens": 6, "samples": 2, "temperature": 1.0}
    _, rows = ask(tmp_path, model, manner=drawn)
    assert asked == [8, 1, 16] and rows["sample"].tolist() == [0, 1] * 8
    ask(tmp_path, model)
    ask(tmp_path, model, manner=drawn | {"samples": 3})
    assert asked == [8, 1, 16, 8]


def test_a_command_asks_a_folder(tmp_path, model, capsys):
    path = write(tmp_path / "set.jsonl", QUESTIONS)
    out = tmp_path / "answers.parquet"
    assert main(["ask", str(model), str(path), "--out", str(out), "--max-tokens", "4", "--device", "cpu"]) == 0
    assert "answers       8" in capsys.readouterr().out
    assert len(tables.read(out)) == 8 and (tmp_path / "answers.work/answers.jsonl").is_file()
    assert main(["ask", str(model), str(path), "--out", str(out), "--form", "chat"]) == 1
    assert "has no chat template. Ask it with form: plain" in capsys.readouterr().err
    assert main(["ask", str(model), str(path), "--out", str(out), "--max-tokens", "400"]) == 1
    assert "leave no room for 400 more" in capsys.readouterr().err


def test_a_chat_is_asked_by_its_template(tmp_path, make_model):
    folder = make_model(tmp_path / "chat", 0)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.chat_template = "{% for m in messages %}<|endoftext|>U: {{ m.content }}{% endfor %}{{ '\\n' }}A:"
    tokenizer.save_pretrained(folder)
    responder = own(folder, Manner(), batch_tokens=512, device="cpu")
    end = tokenizer.eos_token_id
    spelt = responder.prompt(Asked("say <|endoftext|>", 0))
    assert spelt.count(end) == 1 and spelt[0] == end  # what a question spells out is letters
    assert tokenizer.decode(spelt) == "<|endoftext|>U: say <|endoftext|>\nA:"
    _, rows = ask(tmp_path, folder, QUESTIONS[:1])
    assert rows["prompt"][0].endswith("Answer with the answer alone, in German, as briefly as you can.")


def test_no_room_and_no_string_are_looked_for():
    assert stopper(PreTrainedTokenizerFast, []) is None
    said = r"reads 10 tokens, and 1 of 2 prompts leave no room for 3 more \(the longest has 8\)"
    with pytest.raises(InputError, match=said):
        check_room([[1] * 7, [1] * 8], 3, 10, "m")
