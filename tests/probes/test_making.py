"""Clozes made of multiple-choice questions: by a model on the loopback, from recorded responses, checked by people."""

import http.server
import json
import threading
from collections import Counter

import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.corpora.released import read_released
from lorebridge.errors import Busy, InputError
from lorebridge.probes import making
from lorebridge.probes.making import make_questions, select_questions, write_questions
from lorebridge.probes.questions import build_questions
from lorebridge.work import locked

KEY = "sk-a-very-secret-key"
NAMES = {"ko": "Korean", "zh": "Chinese", "en": "English", "bo": "Tibetan", "mn": "Mongolian"}
SCRIPTS = {"ko": "Hangul", "zh": "Han", "en": "Latin", "bo": "Tibetan", "mn": "Mongolian"}

# What is asked, and what a good model makes of it.
FOUND = [
    ("q1", "한국에는 몇 개의 계절이 있는가?", ["2개", "3개", "4개", "5개"], 2),
    ("q2", "설날에 먹는 음식은 무엇인가?", ["떡국", "송편", "팥죽", "냉면"], 0),
    ("q3", "한글을 만든 왕은 누구인가?", ["태조", "세종", "정조", "고종"], 1),
]
CLOZES = {"q1": "한국에는 ___의 계절이 있다.", "q2": "설날에 먹는 음식은 ___이다.", "q3": "한글을 만든 왕은 ___이다."}
IN_ENGLISH = {
    "q1": ("There are ___ seasons in Korea.", ["2", "3", "4", "5"]),
    "q2": ("The food eaten on Seollal is ___.", ["tteokguk", "songpyeon", "patjuk", "naengmyeon"]),
    "q3": ("The king who made Hangul is ___.", ["Taejo", "Sejong", "Jeongjo", "Gojong"]),
}


class Model:
    """Answers as a good model would, but for `says` (step, id) -> another response, or a status.

    Attributes:
        requests: the bodies that came.
    """

    def __init__(self):
        self.requests, self.says, self.finish, self.keys = [], {}, {}, set()
        model = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                model.requests.append(body)
                model.keys.add(self.headers["Authorization"])
                said = model.answer(body["messages"][0]["content"])
                failed = isinstance(said, int)
                choice = {"index": 0, "finish_reason": model.finish.get(said, "stop")}
                choice["message"] = {"role": "assistant", "content": said}
                value = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
                data = json.dumps({"error": {"message": self.headers["Authorization"]}} if failed else value).encode()
                self.send_response(said if failed else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, prompt):
        item = json.loads(prompt[prompt.rindex("\n\n") :])
        if "choices" in item:
            assert item["answer"] in item["choices"] and "statement in Korean" in prompt
            name = next(name for name, question, *_ in FOUND if question == item["question"])
            return self.says.get(("cloze", name), json.dumps({"cloze": CLOZES[name]}, ensure_ascii=False))
        assert "Translate all of it into English." in prompt
        name = next(name for name, cloze in CLOZES.items() if cloze == item["question"])
        question, options = IN_ENGLISH[name]
        fenced = f"```json\n{json.dumps({'question': question, 'options': options})}\n```"
        return self.says.get(("en", name), fenced)


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setenv("MODEL_KEY", KEY)
    model = Model()
    yield model
    model.http.shutdown()
    model.http.server_close()


@pytest.fixture
def make(tmp_path, model):
    rows = [dict(zip(("id", "question", "choices", "answer"), row, strict=True)) for row in FOUND]
    (tmp_path / "selected.json").write_text(json.dumps(rows))

    def make(name="one", **changes):
        out = tmp_path / name
        out.mkdir(exist_ok=True)
        given = {"culture": "ko", "lang": "ko", "translate": ["en"], "by_hand": [], "names": NAMES, "scripts": SCRIPTS}
        given |= {"model": "gpt-test", "kind": "endpoint", "base_url": model.url, "key_env": "MODEL_KEY"}
        given |= {"concurrency": 1, "selected": tmp_path / "selected.json", "work": tmp_path / "work"}
        names = {"made": "made.json", "calls": "calls.jsonl", "sheet": "sheet.csv", "page": "page.html"}
        return make_questions(**given | {key: out / file for key, file in names.items()} | changes), out

    return make


def released(folder, lang="ko", sheet=None):
    out = folder / f"{lang}.json"
    notes = write_questions(culture="ko", lang=lang, made=folder / "made.json", sheet=sheet, out=out)
    read_released(out)  # refuses what is not in the released shape
    return notes, json.loads(out.read_text(encoding="utf-8"))


def check(folder, change=lambda rows: None, verdict="ok"):
    """Fill in a sheet as a person would, with a spreadsheet; return its path."""
    rows = pd.read_csv(folder / "sheet.csv", dtype=str, keep_default_na=False).to_dict("records")
    for row in rows:
        row["verdict"] = verdict
    rows = change(rows) or rows
    pd.DataFrame(rows).to_csv(folder / "checked.csv", index=False, sep=";", encoding="utf-8-sig")
    return folder / "checked.csv"


# Selecting ------------------------------------------------------------------------------------------------------------


def row(name, **changes):
    found = {"id": name, "paragraph": "", "question": "무엇인가?", "choices": ["가", "나", "다", "라"], "answer": "나"}
    return found | changes


def select(tmp_path, rows, **changes):
    (tmp_path / "found.json").write_text(json.dumps(rows))
    given = {"source": {"kind": "local"}, "max_question": 300, "max_choice": 30, "n_choices": 4}
    given |= {"path": tmp_path / "found.json", "out": tmp_path / "selected.json", "audit": tmp_path / "audit.json"}
    return select_questions(**given | changes)


def test_what_is_left_out_is_counted_by_reason(tmp_path):
    rows = [
        row("good"),
        row("just short enough", question="가" * 300, choices=["나", "다" * 30, "라", "마"]),
        row("long", question="가" * 301),
        row("long choice", choices=["나", "다" * 31, "라", "마"]),
        row("five", choices=["가", "나", "다", "라", "마"]),
        row("twice", choices=["가", "나", "나 ", "라"]),
        row("nothing", choices=["가", "나", "", "라"]),
        row("none", answer="바"),
        row("passage", paragraph="다음 글을 읽고 물음에 답하라."),
    ]
    notes = select(tmp_path, rows)
    assert json.loads((tmp_path / "selected.json").read_text())[0] == {
        "id": "good",
        "question": "무엇인가?",
        "choices": ["가", "나", "다", "라"],
        "answer": 1,
    }
    left_out = json.loads((tmp_path / "audit.json").read_text())["left_out"]
    assert left_out == {
        "answer not offered": ["none"],
        "equal or empty choices": ["twice", "nothing"],
        "long choice": ["long choice"],
        "long question": ["long"],
        "needs a passage": ["passage"],
        "other number of choices": ["five"],
    }
    assert notes == {"read": 9, "selected": 2, "left_out": {reason: len(ids) for reason, ids in left_out.items()}}
    assert select(tmp_path, rows, max_question=None, max_choice=None)["selected"] == 4


def test_nothing_to_select_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"found.json: holds no question .*'long question': 1"):
        select(tmp_path, [row("long", question="가" * 301)])


# Making ---------------------------------------------------------------------------------------------------------------


def test_questions_are_made_in_both_languages(make, model, tmp_path):
    notes, out = make()
    assert notes == {"selected": 3, "made": 3, "malformed": {}}
    ko, en = released(out)[1], released(out, "en")[1]
    assert ko[0] == {"question": CLOZES["q1"], "options": FOUND[0][2], "answer": "4개"}
    assert en[1] == {"question": IN_ENGLISH["q2"][0], "options": IN_ENGLISH["q2"][1], "answer": "tteokguk"}
    assert all(body["temperature"] == 0 and body["model"] == "gpt-test" for body in model.requests)
    calls = [json.loads(line) for line in (out / "calls.jsonl").read_text().splitlines()]
    assert [(call["step"], call["id"]) for call in calls] == [(step, q) for step in ("cloze", "en") for q in CLOZES]
    assert {call["prompt"] for call in calls} == {body["messages"][0]["content"] for body in model.requests}
    # The study's own reader takes them.
    files = {"ko": out / "ko.json", "en": out / "en.json"}
    given = {"culture": "ko", "langs": ["en", "ko"], "known_missing_gold": [], "scripts": SCRIPTS}
    build_questions(**given, files=files, out=tmp_path / "questions.parquet")
    table = tables.read(tmp_path / "questions.parquet")
    assert table[table["is_gold"]]["option"].tolist() == ["4", "tteokguk", "Sejong", "4개", "떡국", "세종"]


def test_recorded_responses_make_the_same_files_without_a_model(make, model):
    model.says["cloze", "q2"] = 'I think\u2028{"cloze": null}'
    _, one = make()
    asked = len(model.requests)
    _, two = make("two", kind="recorded", recorded=one / "calls.jsonl", base_url=None, key_env=None)
    assert len(model.requests) == asked
    for file in ("made.json", "calls.jsonl", "sheet.csv", "page.html"):
        assert (one / file).read_bytes() == (two / file).read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[1:], r"no response of gpt-test to the prompt of q1 \(cloze\)\. Ask the model itself"),
        (lambda lines: lines[:4] + lines[5:], r"to the prompt of q2 \(en\)"),
        (
            lambda lines: [line.replace("gpt-test", "another") for line in lines],
            r"of q1 \(cloze\), only of another\. Ask",
        ),
        (lambda lines: [*lines[:2], lines[2][:40]], "line 3: not a recorded call"),
        (lambda lines: [*lines[:2], lines[2].replace("{", '{"model": "a", ', 1)], "line 3: not a recorded call"),
        (lambda lines: [*lines, lines[0].replace("계절이 있다", "철이 있다")], "line 7: another response to the same"),
    ],
)
def test_what_is_not_recorded_is_refused_in_one_line(make, tmp_path, change, message):
    _, one = make()
    calls = tmp_path / "calls.jsonl"
    calls.write_text("\n".join(change((one / "calls.jsonl").read_text().splitlines())) + "\n")
    with pytest.raises(InputError, match=message) as caught:
        make("two", kind="recorded", recorded=calls)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"none\.jsonl: cannot be read"):
        make("two", kind="recorded", recorded=tmp_path / "none.jsonl")


TRANSLATED = {"question": "There are ___ seasons.", "options": ["2", "3", "4", "5"]}


@pytest.mark.parametrize(
    ("step", "said", "reason"),
    [
        ("cloze", "", making.NO_ANSWER),
        ("cloze", "Sure! There are ___ seasons.", making.NOT_JSON),
        ("cloze", '["___."]', making.OTHER_FORM),
        ("cloze", '{"statement": "___."}', making.OTHER_FORM),
        ("cloze", '{"cloze": null}', making.DECLINED),
        ("cloze", {"cloze": " "}, "nothing is written"),
        ("cloze", {"cloze": "한국에는 ___의 계절이 \ud83c 있다."}, "half a character"),
        ("cloze", "\ud83c", making.NOT_JSON),
        ("cloze", {"cloze": "한국에는 계절이 있다."}, "not one blank"),
        ("cloze", {"cloze": "___에는 ___의 계절이 있다."}, "not one blank"),
        ("cloze", {"cloze": "한국에는 몇 개의 계절이 있는가? ___"}, "no period at its end"),
        ("cloze", {"cloze": "There are ___ seasons."}, "in another script"),
        ("cloze", {"cloze": "한국에는\n___의 계절이 있다."}, "several lines"),
        ("en", TRANSLATED | {"question": CLOZES["q1"]}, "in another script"),
        ("en", TRANSLATED | {"options": ["2", "3", "4"]}, "other number of options"),
        ("en", TRANSLATED | {"options": ["2", "3", "4", 5]}, making.OTHER_FORM),
        ("en", TRANSLATED | {"options": ["2", "3", "4", " "]}, "an empty option"),
        ("en", TRANSLATED | {"options": ["2", "4 ", "4", "5"]}, "equal options"),
        ("en", '{"question": "There are ___ seasons.", "options": "2, 3"}', making.OTHER_FORM),
    ],
)
def test_a_malformed_answer_is_counted_and_stands_on_the_sheet(make, model, caplog, step, said, reason):
    model.says[step, "q1"] = said if isinstance(said, str) else json.dumps(said)
    notes, out = make()
    where = "cloze" if step == "cloze" else "translation into en"
    assert notes == {"selected": 3, "made": 2, "malformed": {where: {reason: ["q1"]}}}
    assert f"{where}: 1 questions, {reason} (q1)" in caplog.text
    sheet = pd.read_csv(out / "sheet.csv", dtype=str, keep_default_na=False).set_index("id")
    assert sheet["problem"].to_dict() == {"q1": f"{where}: {reason}", "q2": "", "q3": ""}
    assert f"{where}: {reason}" in (out / "page.html").read_text()
    notes, rows = released(out, "en")
    assert (notes["ids"], notes["dropped"], notes["checked"]) == (["q2", "q3"], {f"{where}: {reason}": ["q1"]}, False)
    assert len(rows) == len(released(out)[1]) == 2


@pytest.mark.parametrize(("finish", "reason"), [("length", "cut short"), ("content_filter", "ended by content_filter")])
def test_an_answer_that_the_model_did_not_end_is_not_taken(make, model, finish, reason):
    said = json.dumps({"cloze": CLOZES["q1"]})
    model.says["cloze", "q1"] = said
    model.finish[said] = finish
    assert make()[0]["malformed"] == {"cloze": {reason: ["q1"]}}


def test_a_making_that_fails_goes_on_where_it_stopped(make, model, tmp_path, caplog):
    whole = [(make("whole", work=tmp_path / "other")[1] / f).read_bytes() for f in ("made.json", "calls.jsonl")]
    model.requests.clear()
    model.says["en", "q2"] = 401
    with pytest.raises(InputError, match=r"http://127.*failed to answer \(AuthenticationError.*\*\*\*") as caught:
        make()
    model.says.clear()
    _, out = make()
    assert [(out / f).read_bytes() for f in ("made.json", "calls.jsonl")] == whole
    asked = Counter(body["messages"][0]["content"] for body in model.requests)
    assert len(asked) == 6 and sum("choices" in prompt for prompt in asked.elements()) == 3  # no cloze was asked again
    make()
    assert Counter(body["messages"][0]["content"] for body in model.requests) == asked
    assert model.keys == {f"Bearer {KEY}"}
    assert KEY not in caplog.text + str(caught.value)
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_another_model_is_asked_again_and_recorded_answers_are_not_the_models(make, model):
    _, one = make()
    n = len(model.requests)
    make("other", model="other")
    assert len(model.requests) == 2 * n
    calls = one / "calls.jsonl"
    calls.write_text(calls.read_text().replace("계절이 있다", "철이 있다"))
    _, two = make("two", kind="recorded", recorded=calls)
    assert released(two)[1][0]["question"] == "한국에는 ___의 철이 있다."  # not what lies in the work folder
    assert len(model.requests) == 2 * n


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base_url": None}, "questions.ko.made.model: 'endpoint' is no way"),
        ({"kind": "recorded"}, "'recorded' is no way"),
        ({"kind": "vllm"}, "'vllm' is no way"),
        ({"base_url": "127.0.0.1:80"}, "questions.ko.made.model.base_url: is not an http"),
        ({"key_env": "NO_SUCH_KEY"}, "questions.ko.made.model.key_env: NO_SUCH_KEY is not set"),
        ({"by_hand": ["en"]}, r"questions.ko.made: names a language twice \(ko, en, en\)"),
    ],
)
def test_bad_settings_name_the_key(make, changes, message):
    with pytest.raises(InputError, match=message):
        make(**changes)


def test_two_cannot_work_in_one_folder(make, tmp_path):
    with locked(tmp_path / "work"), pytest.raises(Busy):
        make()


@pytest.mark.parametrize(
    ("file", "script", "wrong"),
    [
        ("ko-culture-cloze_ko", "Hangul", {"no period at its end": 149, "not one blank": 1}),
        ("ko-culture-cloze_en", "Latin", {"no period at its end": 100, "equal options": 3, "not one blank": 1}),
        ("zh-culture-cloze_zh", "Han", {}),
        ("bo-culture-cloze_bo", "Tibetan", {"no period at its end": 57}),
        ("mn-culture-cloze_mn", "Mongolian", {"no period at its end": 1, "not one blank": 2}),
    ],
)
def test_of_the_published_questions_only_those_break_the_rule_that_do(data, file, script, wrong):
    rows = json.loads((data / "probes" / f"{file}.json").read_text(encoding="utf-8"))
    found = Counter(making.what_is_wrong(row["question"], row["options"], script, 4) for row in rows)
    assert {reason: n for reason, n in found.items() if reason} == wrong


# Checking -------------------------------------------------------------------------------------------------------------


def test_a_person_corrects_drops_and_rescues(make, model):
    model.says["en", "q3"] = "No."
    _, out = make()

    def correct(rows):
        rows[0] |= {"ko": "한국의 계절은 ___이다.", "en_option_3": "four", "note": "better"}
        rows[1] |= {"verdict": " DROP"}
        rows[2] |= {"en": "Hangul was made by ___.", "answer": "1"}
        rows[2] |= {f"en_option_{i}": text for i, text in enumerate(IN_ENGLISH["q3"][1], 1)}
        return rows[::-1]  # sorted, as people do

    sheet = check(out, correct)
    notes, ko = released(out, "ko", sheet)
    assert ko[0] == {"question": "한국의 계절은 ___이다.", "options": FOUND[0][2], "answer": "4개"}
    assert ko[1]["answer"] == "태조"
    assert [row["answer"] for row in released(out, "en", sheet)[1]] == ["four", "Taejo"]
    assert (notes["ids"], notes["checked"], notes["dropped"]) == (["q1", "q3"], True, {"by a person": ["q2"]})
    assert notes["changed"][:2] == [
        {"id": "q1", "column": "ko", "before": CLOZES["q1"], "after": "한국의 계절은 ___이다."},
        {"id": "q1", "column": "en_option_3", "before": "4", "after": "four"},
    ]
    assert notes["changed"][-1] == {"id": "q3", "column": "answer", "before": "2", "after": "1"}
    assert len(notes["changed"]) == 2 + 5 + 1


def test_a_sheet_that_is_called_good_makes_what_the_model_made(make):
    _, out = make()
    unchecked = [released(out, lang)[1] for lang in ("ko", "en")]
    sheet = check(out)
    assert [released(out, lang, sheet)[1] for lang in ("ko", "en")] == unchecked
    assert released(out, "ko", sheet)[0]["changed"] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[1].update(verdict=""), r"checked.csv, row 3 \(q2\): has no verdict. Write ok or drop"),
        (lambda rows: rows[1].update(verdict="maybe"), "the verdict 'maybe' is neither"),
        (lambda rows: rows[1].update(en="Seollal."), r"\(q2\): is called ok, but its en is no cloze: not one blank"),
        (lambda rows: rows[1].update(en_option_1="songpyeon"), "its en is no cloze: equal options"),
        (lambda rows: rows[1].update(answer="5"), "the answer '5' is no number of an option. Write 1 to 4"),
        (lambda rows: rows[1].update(answer=""), "the answer '' is no number"),
        (lambda rows: rows[:2], r"lacks or adds 1 rows \(the first: q3\)"),
        (lambda rows: rows[1].update(id="q9"), r"lacks or adds 1 rows \(the first: q2\)"),
        (lambda rows: rows[1].update(id="q1"), r"row 3: the id q1 stands twice"),
        (lambda rows: rows[1].update(sheet="ko-0123456789abcdef"), "is of the questions ko-0123456789abcdef, but"),
        (lambda rows: [{"id": row["id"]} for row in rows], "is no check sheet of these questions"),
        (lambda rows: [row.update(verdict="drop") for row in rows] and None, "no question is left"),
    ],
)
def test_a_sheet_that_cannot_be_read_names_row_and_mend(make, change, message):
    _, out = make()
    with pytest.raises(InputError, match=message):
        released(out, "ko", check(out, change))


def test_native_speakers_write_what_the_model_does_not(make, model):
    notes, out = make(by_hand=["mn"])
    assert notes["made"] == 3
    with pytest.raises(InputError, match=r"questions.ko.made.sheet: is missing, but mn is to be written by hand"):
        released(out, "mn")
    with pytest.raises(InputError, match=r"row 2 \(q1\): is called ok, but its mn is no cloze: nothing is written"):
        released(out, "mn", check(out))
    # A suffix begins with U+202F and a separator of vowels is U+180E: both are letters' business, no white space.
    options = ["\u202fᠤᠨ", "ᠪᠠᠶᠢᠨ\u180eᠠ", "ᠲᠥᠪᠡᠳ", "ᠭᠤᠸᠠᠩᠰᠢ"]

    def write(rows):
        for row in rows:
            row["mn"] = "ᠣᠷᠣᠨ\u202fᠳ᠋ᠤ ______ ᠪᠠᠶᠢᠨ\u180eᠠ ᠃"
            row |= {f"mn_option_{i}": text for i, text in enumerate(options, 1)}

    _, rows = released(out, "mn", check(out, write))
    assert rows[0] == {"question": "ᠣᠷᠣᠨ\u202fᠳ᠋ᠤ ______ ᠪᠠᠶᠢᠨ\u180eᠠ ᠃", "options": options, "answer": "ᠲᠥᠪᠡᠳ"}
    with pytest.raises(InputError, match="has no questions in zh, only in ko, en, mn"):
        released(out, "zh")


def test_the_page_shows_answers_and_runs_nothing(make, monkeypatch):
    said = "___이다. <script>alert(1)</script> 한국에는 한국에는 한국에는 한국에는 한국에는."
    monkeypatch.setitem(CLOZES, "q1", said)
    _, out = make()
    page = (out / "page.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "The food eaten on Seollal is <b>tteokguk</b>." in page
    assert '<div lang="en" class="Latin">' in page
