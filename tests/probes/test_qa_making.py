"""Rows of questions on pages: translations from files, wrong options of a model on the loopback, and what is wrong."""

import http.server
import json
import threading

import pytest

from lorebridge import tables
from lorebridge.corpora.qa import build_qa
from lorebridge.errors import InputError
from lorebridge.probes.qa_making import make_qa

ROWS = [
    {"id": "q1", "title": "A", "question": {"en": "who is one"}, "answer": {"en": ["Demeter", "Ceres"]}},
    {"id": "q2", "title": "B", "question": {"en": "who is two"}, "answer": {"en": "Ares"}},
    {"id": "q3", "title": "C", "question": {"en": "who is three"}, "answer": {"en": "Hera"}},
]
HINDI = [
    {"id": "q2", "question": "दो कौन", "answer": "एरीस", "context": "पाठ"},
    {"id": "q1", "question": "एक कौन", "answer": ["डीमीटर"]},
    {"id": "q9", "question": "नौ कौन", "answer": "कोई"},
]
GOOD = {"en": ["Zeus", "Leto", "Pan"], "hi": ["ज़ीउस", "लेटो", "पैन"]}


class Model:
    """Says what `says` (question in English, turn from 1) tells, else good options."""

    def __init__(self):
        self.says, self.prompts = {}, []
        model = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                prompt = body["messages"][0]["content"]
                name = next(row["question"]["en"] for row in ROWS if row["question"]["en"] in prompt)
                turn = 1 + sum(name in other for other in model.prompts)
                model.prompts.append(prompt)
                said = model.says.get((name, turn), json.dumps({"negatives": GOOD}))
                choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
                value = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
                data = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def model():
    found = Model()
    yield found
    found.http.shutdown()
    found.http.server_close()


def lines(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def made(folder, *, rows=ROWS, hindi=HINDI, **more):
    said = {
        "shape": "paper",
        "source": lines(folder / "rows.jsonl", rows),
        "base": "en",
        "names": {"en": "English", "hi": "Hindi"},
        "translations": ["hi"],
        "translated": [lines(folder / "hi.jsonl", hindi)],
        "model": None,
        "kind": None,
        "work": folder / "work",
        "out": folder / "made.jsonl",
        "calls": folder / "calls.jsonl",
    }
    notes = make_qa(**{**said, **more})
    return [json.loads(line) for line in (folder / "made.jsonl").read_text().splitlines()], notes


def asked(model):
    return {"model": "m", "kind": "endpoint", "base_url": model.url, "concurrency": 1}


def test_translations_are_given_by_id(tmp_path):
    rows, notes = made(tmp_path)
    assert [row["id"] for row in rows] == ["q1", "q2"] and rows[1]["context"] == {"en": None, "hi": "पाठ"}
    assert rows[0]["answer"] == {"en": ["Demeter", "Ceres"], "hi": ["डीमीटर"]}
    assert notes["left_out"] == {"translation into hi of no question": 1, "not in every language": 1}
    assert notes["asked"] == 0 and not (tmp_path / "calls.jsonl").read_text()


def test_wrong_options_are_asked_for_until_none_is_right(tmp_path, model):
    equal = {"negatives": {**GOOD, "en": ["the ceres!", "Leto", "Pan"]}}
    twice = {"negatives": {**GOOD, "hi": ["लेटो", "लेटो\u200d", "पैन"]}}
    model.says = {("who is one", 1): json.dumps(equal), ("who is one", 2): json.dumps(twice)}
    rows, notes = made(tmp_path, **asked(model))
    assert [row["negatives"] for row in rows] == [GOOD, GOOD] and len(model.prompts) == 4
    assert (notes["asked"], notes["without"]) == (2, {})
    first = [prompt for prompt in model.prompts if "who is one" in prompt]
    assert "These will not do" not in first[0] and "equal to an answer" in first[1]
    assert "equal to an answer" in first[2] and "equal to another negative" in first[2]
    build_qa(
        files=[{"shape": "paper", "split": "test"}],
        paths=[tmp_path / "made.jsonl"],
        langs=["en", "hi"],
        base="en",
        out=tmp_path / "qa.parquet",
    )
    found = tables.read(tmp_path / "qa.parquet")
    assert [list(of) for of in found["negatives"]] == [GOOD["en"], GOOD["hi"]] * 2


def test_a_question_whose_options_stay_wrong_has_none_and_is_counted(tmp_path, model):
    few = json.dumps({"negatives": {**GOOD, "hi": ["लेटो"]}})
    model.says = {("who is one", turn): said for turn, said in enumerate(["no", few, "{}"], 1)}
    rows, notes = made(tmp_path, **asked(model))
    assert rows[0]["negatives"] == {"en": [], "hi": []} and rows[1]["negatives"] == GOOD
    assert notes["without"] == {"JSON of another form": 1} and len(model.prompts) == 4
    again = json.loads((tmp_path / "calls.jsonl").read_text().splitlines()[-1])
    assert again["step"] == "negatives 3" and "- not 3 texts: hi" in again["prompt"]


def test_only_what_lacks_options_is_asked_and_replies_are_kept(tmp_path, model):
    rows = [{**ROWS[0], "negatives": {"en": ["Zeus", "Leto", "Pan"]}}, ROWS[1]]
    hindi = [{"id": row["id"], "question": "कौन", "answer": "डीमीटर"} for row in rows]
    made(tmp_path, rows=rows[1:], hindi=hindi, **asked(model))
    assert len(model.prompts) == 1
    before = (tmp_path / "made.jsonl").read_bytes()
    made(tmp_path, rows=rows[1:], hindi=hindi, **asked(model))
    assert len(model.prompts) == 1 and (tmp_path / "made.jsonl").read_bytes() == before
    full = {**rows[0], "question": {"en": "who is one", "hi": "कौन"}, "answer": {"en": "X", "hi": "Y"}}
    full["negatives"] = {"en": ["Zeus", "Leto", "Pan"], "hi": ["क", "ख", "ग"]}
    found, notes = made(tmp_path, rows=[full], hindi=[], **asked(model))
    assert len(model.prompts) == 1 and notes["asked"] == 0 and found[0]["negatives"] == full["negatives"]


def test_recorded_calls_make_the_same_rows(tmp_path, model):
    model.says = {("who is one", 1): "no"}
    made(tmp_path, **asked(model))
    before, n = (tmp_path / "made.jsonl").read_bytes(), len(model.prompts)
    (tmp_path / "calls.jsonl").rename(tmp_path / "recorded.jsonl")
    recorded = {"model": "m", "kind": "recorded", "recorded": tmp_path / "recorded.jsonl", "work": tmp_path / "other"}
    made(tmp_path, **recorded)
    assert (tmp_path / "made.jsonl").read_bytes() == before and len(model.prompts) == n
    with pytest.raises(InputError, match="holds no response of m to the prompt of q1"):
        made(tmp_path, **{**recorded, "work": tmp_path / "third"}, hindi=[HINDI[1] | {"question": "और"}])


@pytest.mark.parametrize(
    ("hindi", "message"),
    [
        ([HINDI[0], HINDI[0]], "row 2, key id: q2 stands in row 1, too. Take one"),
        ([{"id": "q1", "question": 5, "answer": "x"}], "row 1: its question or its context is no text"),
        ([{"id": "q1", "question": "x", "answer": 5}], "row 1, key answer: is 5, no text"),
        ([], "no question in en, hi. Give translations of its ids"),
    ],
)
def test_malformed_translations_are_refused(tmp_path, hindi, message):
    with pytest.raises(InputError, match=message):
        made(tmp_path, hindi=hindi)
