"""Questions on pages put to models: in the words of tuning, graded, options preferred, what has no room left out."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from lorebridge import tables
from lorebridge.cli import main
from lorebridge.corpora.qa_rows import qa_rows
from lorebridge.corpora.qa_tasks import CONTEXT, CONTEXT_BASE, MCQ, OPEN, TASKS, chosen, put
from lorebridge.errors import InputError
from lorebridge.probes.answering import Asked, Local
from lorebridge.probes.qa import GENERATED, LONG, NUMBERS, TEXTS, _manner, ask_qa
from lorebridge.probes.wording import build, build_apart
from lorebridge.tokens.tuning import asked_ids

TEMPLATE = "Q: {prompt}\nA: {answer}"


def questions(n=6, **more):
    rows = [
        {
            "question_id": f"q{at}",
            "lang": lang,
            "split": "train" if at == 0 else "test",
            "page_id": f"p{at}",
            "title": f"Page {at}",
            "question": f"Who is {at} in {lang}?",
            "answers": [f"Name{at}{lang}", f"N{at}"],
            "negatives": [f"Other{at}{letter}" for letter in "abc"],
            "context": f"The page {at} in {lang} says Name{at}{lang}.",
        }
        | more
        for at in range(n)
        for lang in ("en", "hi")
    ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def model(tmp_path_factory, make_model):
    return make_model(tmp_path_factory.mktemp("model"), 0)


def ask(tmp_path, model, rows=None, **how):
    tables.write("qa", questions() if rows is None else rows, tmp_path / "qa.parquet")
    said = {"run": "m", "engine": "own", "checkpoints": {None: model}, "tasks": [OPEN, MCQ], "base": "en"}
    said |= {"template": TEMPLATE, "manner": {"max_tokens": 6}, "work": tmp_path / "work", "batch_tokens": 4096}
    notes = ask_qa(
        qa=tmp_path / "qa.parquet", out=tmp_path / "a.parquet", scores_out=tmp_path / "s.parquet", **said | how
    )
    return notes, tables.read(tmp_path / "a.parquet"), tables.read(tmp_path / "s.parquet")


def test_a_model_is_asked_token_for_token_what_it_is_tuned_on(tmp_path, model, monkeypatch):
    read = []
    kept = Local.prompt
    monkeypatch.setattr(
        Local, "prompt", lambda self, asked: read.append((asked.text, kept(self, asked))) or read[-1][1]
    )
    rows = questions().assign(question="Who? <|endoftext|>")
    _, answers, _ = ask(tmp_path, model, rows, tasks=list(TASKS), splits=["train"])
    encoder = Tokenizer.from_file(str(model / "tokenizer.json"))
    encoder.encode_special_tokens = True
    prompts = set()
    for task in TASKS:
        for lang in ("en", "hi"):
            out = tmp_path / "rows.parquet"
            qa_rows(qa=tmp_path / "qa.parquet", task=task, lang=lang, base="en", split="train", seed=0, out=out)
            prompts |= set(tables.read(out)["prompt"])
    assert set(answers["prompt"]) == {f"Q: {prompt}\nA:" for prompt in prompts}
    by_text = dict(read)
    for prompt in prompts:
        assert by_text[f"Q: {prompt}\nA:"] == asked_ids(encoder, TEMPLATE, prompt)


def planted(monkeypatch, said):
    """Let models answer as a table says: a part of the prompt -> the answer."""
    from lorebridge.probes.answering import Reply

    def call(self, asked):
        yield {
            at: Reply(next(answer for part, answer in said if part in one.text), "", "end", False, 1, 0, None)
            for at, one in enumerate(asked)
        }

    monkeypatch.setattr(Local, "__call__", call)


def test_planted_answers_get_their_scores(tmp_path, model, monkeypatch):
    gold = {}
    for lang in ("en", "hi"):
        tables.write("qa", questions(), tmp_path / "qa.parquet")
        out = tmp_path / "rows.parquet"
        qa_rows(qa=tmp_path / "qa.parquet", task=MCQ, lang=lang, base="en", split="test", seed=0, out=out)
        gold[lang] = tables.read(out).set_index("row_id")["answer"]
    assert gold["en"].equals(gold["hi"])  # an option has one number in all languages
    planted(
        monkeypatch,
        [
            ("1 in en?\n1.", f"{gold['en']['q1']}. that"),
            ("2 in en?\n1.", f"the {gold['en']['q2']}"),
            ("3 in en?\n1.", "7"),
            ("?\n1.", gold["en"]["q4"]),
            ("1 in en?", "NAME1en."),
            ("2 in en?", "the N2 of it"),
            ("?", "nobody"),
        ],
    )
    notes, answers, scores = ask(tmp_path, model)
    written = scores[scores["rule"] == GENERATED].set_index(["task", "lang", "question_id"]).sort_index()
    assert len(answers) == 20 and set(answers["dataset"]) == {OPEN, MCQ} and "q0" not in set(answers["question_id"])
    one, two = written.loc[(OPEN, "en", "q1")], written.loc[(OPEN, "en", "q2")]
    assert (one["em_strict"], one["f1_folded"], one["correct"]) == (1, 1, 1) and one["answer"] == "NAME1en."
    assert (two["em_folded"], two["correct"]) == (0, 0) and two["f1_strict"] == pytest.approx(0.5)
    assert written.loc[OPEN]["correct"].sum() == 1 and set(written["split"]) == {"test"}
    right = written.loc[(MCQ, "en")]["correct"]
    assert (right["q1"], right["q2"], right["q3"], right["q4"]) == (1, 0, 0, 1)
    assert notes["no number"] == 2
    beside = scores[scores["rule"] != GENERATED]
    assert set(beside["task"]) == {MCQ} and beside["f1_strict"].isna().all() and beside["correct"].notna().all()
    assert len(beside) == 20 and scores["step"].isna().all()


def test_options_are_preferred_by_their_log_probability_one_by_one(tmp_path, model):
    import torch

    _, answers, scores = ask(tmp_path, model, tasks=[MCQ])
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    encoder = Tokenizer.from_file(str(model / "tokenizer.json"))

    def best(prompt, options):
        found = []
        before = asked_ids(encoder, TEMPLATE, prompt)
        for option in options:
            ids = tokenizer(f" {option}")["input_ids"]
            with torch.no_grad():
                logprobs = network(torch.tensor([[*before, *ids]])).logits[0].log_softmax(-1)
            found.append(sum(float(logprobs[len(before) - 1 + at, token]) for at, token in enumerate(ids)))
        return options[int(np.argmax(found))]

    for row in answers.itertuples():
        prompt = row.prompt.removeprefix("Q: ").removesuffix("\nA:")
        options = [line.split(". ", 1)[1] for line in prompt.split("\n")[1:]]
        mine = scores[(scores["question_id"] == row.question_id) & (scores["lang"] == row.target_lang)]
        said = mine.set_index("rule")
        assert said.loc[TEXTS, "answer"] == best(prompt, options)
        assert said.loc[NUMBERS, "answer"] == best(prompt, list("1234"))
        right = options[int(said.loc[NUMBERS, "answer"]) - 1].startswith("Name")
        assert said.loc[NUMBERS, "correct"] == right
        assert said.loc[TEXTS, "correct"] == said.loc[TEXTS, "answer"].startswith("Name")


def test_what_has_no_room_or_lacks_something_is_counted(tmp_path, model):
    rows = questions()
    rows.loc[2, "context"] = "word " * 300  # q1 in English; its Hindi has one of its own
    rows.loc[5, "context"] = ""
    rows.at[6, "negatives"] = ["one", "two"]
    notes, answers, scores = ask(tmp_path, model, rows, tasks=list(TASKS))
    assert notes["left_out"] == {
        MCQ: {"fewer than 3 wrong options": 1},
        CONTEXT: {"no context": 1, LONG: 1},
        CONTEXT_BASE: {LONG: 2},
    }
    assert answers["dataset"].value_counts().to_dict() == {OPEN: 10, MCQ: 9, CONTEXT: 8, CONTEXT_BASE: 8}
    assert scores[scores["rule"] == GENERATED]["task"].value_counts().to_dict() == {
        OPEN: 10,
        MCQ: 9,
        CONTEXT: 8,
        CONTEXT_BASE: 8,
    }
    base = answers[(answers["dataset"] == CONTEXT_BASE) & (answers["target_lang"] == "hi")]["prompt"]
    assert base.str.contains("in en says").all() and base.str.contains("in hi?").all()
    # What a model was trained to read at once counts, too.
    notes, *_ = ask(tmp_path, model, tasks=[OPEN, MCQ], window=40)
    assert notes["left_out"][MCQ] == {LONG: 10}
    with pytest.raises(InputError, match=r"nothing that can be asked for mcq \(mcq: 10 leaves no room"):
        ask(tmp_path, model, tasks=[MCQ], window=40)


def test_what_was_asked_is_not_asked_again(tmp_path, checkpoints, monkeypatch):
    from lorebridge.probes import qa as module

    how = {"checkpoints": {str(step): folder for step, folder in checkpoints}, "run": "two"}
    _, answers, scores = ask(tmp_path, None, **how)
    assert scores["step"].drop_duplicates().tolist() == [0, 10] and len(scores) == 2 * (10 + 30)

    def no(*_, **__):
        raise AssertionError("asked again")

    monkeypatch.setattr(module, "load_model", no)
    monkeypatch.setattr(Local, "__call__", no)
    _, again, scored = ask(tmp_path, None, **how)
    assert again.equals(answers) and scored.equals(scores)
    with pytest.raises(AssertionError, match="asked again"):
        ask(tmp_path, None, seed=1, **how)


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"tasks": ["guess"]}, "tasks: 'guess' is not known. There are open, mcq, context, context_base"),
        ({"engine": "endpoint"}, "engine: 'endpoint' reads no folder. There are own and vllm"),
        ({"manner": {"samples": 2, "temperature": 1.0}}, "samples: are 2"),
        ({"splits": ["both"]}, "no question of these splits"),
    ],
)
def test_what_cannot_be_asked_is_said(tmp_path, model, how, what):
    with pytest.raises(InputError, match=what):
        ask(tmp_path, model, **how)


def test_a_command_asks_the_rows_of_the_paper(tmp_path, model, capsys):
    rows = [
        {
            "id": f"q{at}",
            "title": "" if at == 3 else f"Page {at}",
            "question": {"en": f"who is {at}", "hi": f"कौन {at}"},
            "answer": {"en": f"Name{at}", "hi": f"नाम{at}"},
            "negatives": {lang: ["x", "y", "z"] for lang in ("en", "hi")},
            "context": {"en": f"Name{at} is.", "hi": f"नाम{at} है"},
        }
        for at in range(4)
    ]
    path = tmp_path / "set.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    out = tmp_path / "answers.parquet"
    line = ["ask", str(model), str(path), "--out", str(out), "--max-tokens", "4", "--device", "cpu", "--task"]
    for task in (OPEN, MCQ, CONTEXT):
        assert main([*line, task]) == 0
        said = capsys.readouterr().out
        assert "answers       6" in said and f"{task} hi generated" in " ".join(said.split())
        assert "shuffled answers" in said or task == MCQ
        assert set(tables.read(out)["dataset"]) == {task} and len(
            tables.read(Path(f"{out.with_suffix('')}.scores.parquet"))
        )
    assert main([*line[:2], str(path.with_suffix(".csv")), *line[3:], OPEN]) == 1
    assert "neither Parquet nor JSON Lines" in capsys.readouterr().err
    assert main([*line, OPEN, "--base-url", "http://127.0.0.1:1/v1"]) == 1
    assert "--task asks a model folder" in capsys.readouterr().err


def test_a_mark_and_a_line_end_are_cut_as_in_tuning():
    """A tokenizer that has met questions has one token for "?" and the line end behind it, which tuning never reads."""
    from lorebridge.tokens.tokenizer import QWEN2_PATTERN

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.train_from_iterator(
        ["Q: Who?\nA: I\n"] * 9,
        trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=["<|endoftext|>", "<|im_end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    encoder = Tokenizer.from_str(bpe.to_str())
    encoder.encode_special_tokens = True
    fast = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|endoftext|>")
    template = "Q: {prompt}<|im_end|>\nA: {answer}<|im_end|>"
    for said, words in ((TEMPLATE, "Q: {question}\nA:"), (template, "Q: {question}<|im_end|>\nA:")):
        manner = _manner({"max_tokens": 4}, said)
        assert manner.prompt == words and manner.stop == ["\n", *["<|im_end|>"] * (said == template)]
        row = {"question": "Who?<|im_end|>?", "lang": "en"}  # what a question spells is text
        local = Local(fast, None, manner, "plain")
        text = build(row, words, {})
        cut = local.prompt(Asked(text, 0, build_apart(row, words, {})))
        assert cut == asked_ids(encoder, said, row["question"])
        assert cut != local.prompt(Asked(text, 0))


def test_a_chat_is_told_to_answer_with_a_number(tmp_path, make_model):
    folder = make_model(tmp_path / "chat", 0, 512)
    path = folder / "tokenizer_config.json"
    template = "{% for m in messages %}U: {{ m['content'] }}\n{% endfor %}A:"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": template}))
    _, answers, scores = ask(tmp_path, folder, template=None, tasks=[OPEN, MCQ])
    by_task = answers.groupby("dataset")["prompt"].agg(list)
    assert all(prompt.endswith("Answer with the number of the right option alone.") for prompt in by_task[MCQ])
    assert all("Answer with the answer alone" in prompt for prompt in by_task[OPEN])
    assert len(scores) == 40
    # Other words are what was given, for all tasks.
    _, answers, _ = ask(tmp_path, folder, template=None, tasks=[MCQ], manner={"prompt": "{question}!", "max_tokens": 3})
    assert answers["prompt"].str.endswith("!").all()


def test_options_that_are_equally_likely_share(tmp_path, model):
    """Three wrong options with the right one's tokens are no sooner preferred than it."""
    rows = questions().assign(answers=[["A  b"]] * 12, negatives=[["A b", "A b", "A b"]] * 12)
    _, _, scores = ask(tmp_path, model, rows, tasks=[MCQ])
    assert (scores[scores["rule"] == TEXTS]["correct"] == 0.25).all()


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=8), st.integers(0, 3))
def test_options_have_one_order_in_all_languages(name, seed):
    row = {"question_id": name, "question": "?", "context": ""}
    one = put(MCQ, row | {"answers": ["a"], "negatives": list("bcd")}, seed=seed)
    two = put(MCQ, row | {"answers": ["A", "x"], "negatives": list("BCDE")}, seed=seed)
    assert [option.upper() for option in one.options] == list(two.options) and one.gold == two.gold
    assert sorted(one.options) == list("abcd") and one.options[one.gold] == "a"
    assert chosen(one.answer) == one.gold and chosen(f"({one.answer}) {one.options[0]}") == one.gold


def test_the_right_option_stands_everywhere_equally_often():
    row = {"question": "?", "answers": ["a"], "negatives": list("bcd"), "context": ""}
    places = Counter(put(MCQ, row | {"question_id": f"q{at}"}, seed=1).gold for at in range(4000))
    assert all(900 < places[at] < 1100 for at in range(4))
    orders = Counter(put(MCQ, row | {"question_id": f"q{at}"}, seed=1).options for at in range(4000))
    assert len(orders) == 24 and min(orders.values()) > 100
    changed = [put(MCQ, row | {"question_id": "q"}, seed=at).gold for at in range(30)]
    assert len(set(changed)) == 4


@pytest.mark.parametrize("said", ["", "one", "5", "0", "12", "option 2", "-1", "1st", "२", "1 of 4"])
def test_a_number_is_read_strictly(said):
    assert chosen(said) == (0 if said == "1 of 4" else None)


def test_rows_of_tuning_that_cannot_be_made_are_counted(tmp_path):
    rows = questions(3, split="train")
    rows.loc[0, "context"] = ""
    tables.write("qa", rows, tmp_path / "qa.parquet")
    out = tmp_path / "rows.parquet"
    said = {"qa": tmp_path / "qa.parquet", "base": "en", "split": "train", "seed": 0, "out": out}
    assert qa_rows(task=CONTEXT, lang="en", **said) == {"rows": 2, "left_out": {"no context": 1}}
    # Of the same question, the other language lacks the base language's context, too.
    assert qa_rows(task=CONTEXT_BASE, lang="hi", **said) == {"rows": 2, "left_out": {"no context": 1}}
    found = tables.read(out)
    assert found["row_id"].tolist() == ["q1", "q2"]
    assert found["prompt"][0] == "The page 1 in en says Name1en.\n\nWho is 1 in hi?" and found["answer"][0] == "Name1hi"


def test_the_workflow_s_command_asks_as_the_plan_says(tmp_path, checkpoints):
    """A task as the plan hands it over, with records of what it reads; its answers are kept by the model's name."""
    from lorebridge.probes.stages import QA_STAGES
    from lorebridge.records import Task, read_record

    tables.write("qa", questions(), tmp_path / "qa.parquet")
    plain = Task("qa", {})
    with plain.making(tmp_path / "qa.json", None, None, writes={"qa": tmp_path / "qa.parquet"}):
        pass
    model = Task("train_sft", {})
    folders = [folder for _, folder in checkpoints]
    with model.making(tmp_path / "model.json", None, None, writes={"checkpoints": folders}):
        pass
    [stage] = [stage for stage in QA_STAGES if stage.name == "qa_answers"]
    said = {"run": "m", "tasks": [MCQ], "base": "en", "seed": 0, "engine": "own", "manner": {"max_tokens": 3}}
    task = Task(
        stage.name,
        said | {"template": TEMPLATE, "window": 256, "names": {}},
        expects={str(tmp_path / "qa.json"): plain.recipe, str(tmp_path / "model.json"): model.recipe},
        call={
            "inputs": {
                "qa": {"shape": "one", "folder": [False]},
                "checkpoints": {
                    "shape": "by",
                    "folder": [False, False],
                    "keys": [["0"], ["10"]],
                    "paths": list(map(str, folders)),
                },
            },
            "outputs": {name: {"argument": file.argument, "given": "path"} for name, file in stage.files.items()},
            "given": {"batch_tokens": 4096},
            "withheld": [],
        },
    )
    line = ["answer-qa", "--task", task.dumps(), "--record", str(tmp_path / "r.json"), "--work", str(tmp_path / "work")]
    line += ["--qa", str(tmp_path / "qa.parquet"), "--checkpoints", str(folders[0])]
    line += ["--out", str(tmp_path / "a.parquet"), "--scores-out", str(tmp_path / "s.parquet"), "--threads", "1"]
    assert main(line) == 0
    assert set(tables.read(tmp_path / "s.parquet")["step"]) == {0, 10}
    assert (tmp_path / "work/qa_answers/m/answers.jsonl").is_file()
    assert read_record(tmp_path / "r.json")["notes"]["answers"] == 20
