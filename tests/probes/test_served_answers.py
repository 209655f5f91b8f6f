"""Open questions to an endpoint that fails, stalls, limits its rate or lies: no answer is asked for twice."""

import http.server
import json
import logging
import threading
import time
from collections import Counter

import pytest

from lorebridge import tables
from lorebridge.cli import main
from lorebridge.errors import InputError
from lorebridge.probes.openqa import ask_open
from lorebridge.probes.serving import WITHHELD
from lorebridge.probes.wording import END

KEY = "sk-a-very-secret-key"
N = 12


class Server:
    """Answers each question with its last word. Before it does, it takes one of `faults`.

    Attributes:
        faults: what goes wrong with the next requests: a status, ``cut`` (the connection), ``stall``, or a function of
            the answer (a dictionary), which returns what is sent.
        asked: how often each question was answered well.
        requests: the bodies that came.
        refuses: options that are answered with 400, if they are there.
    """

    def __init__(self):
        self.faults, self.requests, self.keys, self.refuses = [], [], set(), {}
        self.asked, self.names, self.lock = Counter(), [], threading.Lock()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server.lock:
                    server.requests.append(body)
                    server.keys.add(self.headers["Authorization"])
                    server.names.append(self.headers["X-Request-Id"])
                    fault = server.faults.pop(0) if server.faults else None
                server.reply(self, body, fault)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def reply(self, handler, body, fault):
        if fault == "cut":
            handler.close_connection = True
            return
        if fault == "stall":
            time.sleep(0.5)
            handler.close_connection = True
            return
        if isinstance(fault, int):
            self.send(handler, fault, {"error": {"message": f"No, {handler.headers['Authorization']}"}})
            return
        for option, message in self.refuses.items():
            if option in body or option in body["messages"][0]["content"]:
                self.send(handler, 400, {"error": {"message": message}})
                return
        content = body["messages"][0]["content"]
        said = {
            "id": f"chatcmpl-{handler.headers['X-Request-Id']}",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": f"answer to {content.split('?')[0].split()[-1]}"},
                }
            ],
            "usage": {"completion_tokens": 3, "prompt_tokens": 9, "total_tokens": 12},
        }
        if callable(fault):
            said = fault(said)
        else:
            with self.lock:
                self.asked[content] += 1
        self.send(handler, 200, said)

    def send(self, handler, status, value):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.send_header("retry-after-ms", "1")
        handler.end_headers()
        handler.wfile.write(data)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("ASK_KEY", KEY)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr("lorebridge.chat._WAIT", 0.01)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def ask(tmp_path, server):
    path = tmp_path / "set.jsonl"
    rows = [{"question": f"What is thing{i}?", "lang": "en", "answer": f"{i}"} for i in range(N)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def ask(**changes):
        how = {"run": "m", "engine": "endpoint", "model": "some-model", "base_url": server.url, "key_env": "ASK_KEY"}
        how |= {"questions": [path], "out": tmp_path / "answers.parquet", "work": tmp_path / "work", "concurrency": 2}
        notes = ask_open(**how | changes)
        return notes, tables.read(tmp_path / "answers.parquet")

    return ask


def right(rows):
    return rows["answer"].tolist() == [f"answer to thing{i}" for i in range(N)]


def test_an_endpoint_answers_every_question_once(ask, server):
    notes, rows = ask()
    assert right(rows) and notes["served"] == {"some-model": N} and notes["ended"] == {END: N}
    assert set(server.asked.values()) == {1} and len(server.asked) == N
    assert all(body["temperature"] == 0 and body["max_tokens"] == 64 and "seed" not in body for body in server.requests)
    assert server.keys == {f"Bearer {KEY}"} and len(set(server.names)) == N
    again, same = ask()
    assert same.equals(rows) and again == notes and len(server.requests) == N


def another(said):
    return said | {"model": "cheap-model"}


def no_choice(said):
    return said | {"choices": []}


def no_json(said):
    return b'{"choices": ['


def no_object(said):
    return ["answer"]


def no_message(said):
    return said | {"choices": [{"index": 0}]}


def no_text(said):
    return said | {"choices": [{"message": {"role": "assistant", "content": {"a": 1}}}]}


LIES = {
    another: "comes from 'cheap-model', where 'some-model' was asked",
    no_choice: "holds no choice",
    no_json: "is no JSON",
    no_object: "is no chat completion|holds no choice",
    no_message: "holds no choice",
    no_text: "holds no text",
}


@pytest.mark.parametrize("lie", list(LIES))
def test_what_is_no_answer_is_asked_for_again_and_then_told(ask, server, lie):
    server.faults = [None, None, lie, lie]
    _, rows = ask(concurrency=1)
    assert right(rows) and set(server.asked.values()) == {1}
    server.asked.clear()
    server.faults = [None] * 5 + [lie] * 3
    with pytest.raises(InputError, match=LIES[lie]) as caught:
        ask(manner={"max_tokens": 65}, concurrency=1)
    assert "\n" not in str(caught.value) and KEY not in str(caught.value)
    assert len(server.asked) in (5, 6)  # the next was on its way
    _, rows = ask(manner={"max_tokens": 65})
    assert right(rows) and set(server.asked.values()) == {1} and len(server.asked) == N


def test_the_answer_to_another_question_is_not_taken(ask, server):
    def swapped(said):
        other = next(name for name in server.names if name not in said["id"])
        return said | {"id": f"chatcmpl-{other}"}

    server.faults = [None, swapped, swapped]
    assert right(ask(concurrency=1)[1]) and set(server.asked.values()) == {1}
    server.names.clear()
    server.faults = [None, *[swapped] * 3]
    with pytest.raises(InputError, match="bears the name of another question"):
        ask(manner={"max_tokens": 65}, concurrency=1)


def test_passing_failures_cost_nothing(ask, server):
    server.faults = [429, 500, "cut", None, 503, "stall", 429]
    _, rows = ask(timeout=0.2)
    assert right(rows) and set(server.asked.values()) == {1}


@pytest.mark.parametrize("fault", [401, "stall"])
def test_an_endpoint_that_goes_away_costs_no_answer_that_it_gave(ask, server, fault, monkeypatch):
    monkeypatch.setattr("lorebridge.chat._RETRIES", 1)
    server.faults = [None] * 5 + [fault] * 40
    with pytest.raises(InputError, match="failed to answer") as caught:
        ask(timeout=0.1, concurrency=3)
    assert KEY not in str(caught.value) and caught.value.__suppress_context__
    given = dict(server.asked)
    assert len(given) == 5
    server.faults = []
    _, rows = ask(concurrency=3)
    assert right(rows) and set(server.asked.values()) == {1}


def test_those_on_their_way_when_one_fails_are_kept(ask, server, monkeypatch):
    """The first fails at once; the other, which is open beside it, is answered later, and kept."""

    def slow(said):
        time.sleep(0.2)
        server.asked["slow"] += 1
        return said

    server.faults = [slow, 401, *[401] * N]
    with pytest.raises(InputError, match="failed to answer"):
        ask(concurrency=2)
    server.faults = []
    n = len(server.requests)
    ask(concurrency=2)
    assert len(server.requests) - n == N - 1


def test_the_key_is_in_no_message_log_or_file(ask, server, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    ask()
    server.faults = [401]
    with pytest.raises(InputError, match=r"\*\*\*"):
        ask(manner={"max_tokens": 65})
    server.faults = [lambda said: said | {"model": f"for {KEY}"}] * 9
    with pytest.raises(InputError, match=r"comes from 'for \*\*\*'"):
        ask(manner={"max_tokens": 66})
    assert KEY not in caplog.text
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_services_differ_in_what_they_take(ask, server):
    server.refuses = {"max_tokens": "use max_completion_tokens", "thing3?": "content_filter: no"}
    notes, rows = ask(concurrency=1)
    assert rows["ended"].tolist() == [END] * 3 + [WITHHELD] + [END] * 8 and notes["empty"] == 1
    assert sum("max_tokens" in body for body in server.requests) == 1
    server.refuses = {"seed": "seeds are not known here"}
    with pytest.raises(InputError, match="seeds are not known here"):
        ask(manner={"temperature": 0.7, "samples": 2})
    server.refuses = {}
    server.requests.clear()
    how = {"temperature": None, "samples": 2, "thinking": "on", "thinking_tokens": 100}
    _, rows = ask(manner=how, extra={"reasoning_effort": "low"}, answers_as=["m"])
    assert rows["sample"].tolist() == [0, 1] * N
    assert Counter(body["seed"] for body in server.requests) == {0: N, 1: N}
    assert all("temperature" not in body and body["max_tokens"] == 164 for body in server.requests)
    assert all(body["reasoning_effort"] == "low" for body in server.requests)
    server.faults = [lambda said: said | {"model": "some-model-2025-01-01"}]
    assert ask(manner={"max_tokens": 5})[0]["served"] == {"some-model": N - 1, "some-model-2025-01-01": 1}


def test_a_command_asks_an_endpoint(server, tmp_path, capsys):
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps({"question": "What is thing0?"}) + "\n")
    line = ["ask", "some-model", str(path), "--out", str(tmp_path / "a.parquet"), "--base-url", server.url]
    assert main([*line, "--key-env", "ASK_KEY"]) == 0
    assert "served        some-model 1" in capsys.readouterr().out
    assert main([*line, "--form", "plain"]) == 1
    assert "--base-url: an endpoint is asked by messages alone" in capsys.readouterr().err
    assert main([*line, "--key-env", "NO_KEY"]) == 1
    assert "NO_KEY is not set" in capsys.readouterr().err
