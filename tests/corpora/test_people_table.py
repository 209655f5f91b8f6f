"""People from Wikidata: the query, an answer in pages from the loopback, a recorded answer, and who is left out."""

from __future__ import annotations

import collections
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lorebridge import config, tables
from lorebridge.corpora import fetch, wikidata
from lorebridge.corpora.people import merge_people, read_people
from lorebridge.corpora.wikidata import ENTITY, PROPERTY, Value, fetch_people, query, read_response
from lorebridge.errors import InputError

PROPERTIES = config.people_properties()

# The whole query, as it is to be sent: a change of it changes who is asked about.
GOLDEN = """\
SELECT ?person ?personLabel ?property ?value ?valueLabel ?precision WHERE {
  { SELECT DISTINCT ?person WHERE { ?person wdt:P27 wd:Q408 . }
    ORDER BY MD5(STR(?person)) LIMIT 500 OFFSET 1000 }
  ?person wdt:P31 wd:Q5 .
  ?article schema:about ?person ; schema:isPartOf <https://en.wikipedia.org/> .
  FILTER NOT EXISTS {
    VALUES ?wikipedia { <https://ko.wikipedia.org/> <https://bo.wikipedia.org/> }
    ?other schema:about ?person ; schema:isPartOf ?wikipedia .
  }
  {
    VALUES ?property { wdt:P27 wdt:P19 wdt:P106 wdt:P69 }
    ?person ?property ?value .
  } UNION {
    ?person p:P569 ?statement .
    ?statement a wikibase:BestRank ; psv:P569 ?node .
    ?node wikibase:timeValue ?value ; wikibase:timePrecision ?precision .
    BIND(wdt:P569 AS ?property)
  }
  SERVICE wikibase:label { bd:serviceParam wikibase:language "en,mul" . }
}
ORDER BY ?person ?property ?value
"""


def test_the_query_is_the_one_that_is_documented() -> None:
    asked = query(nation="Q408", base="en", without=["ko", "bo"], properties=PROPERTIES, offset=1000, limit=500)
    assert asked == GOLDEN


def row(person: str, name: str | None, attribute: str, value: str, label: str | None = None, **more: str) -> dict:
    """A row of a response, as the service writes it."""
    uri = attribute != "birth_year"
    cells = {
        "person": {"type": "uri", "value": ENTITY + person},
        "property": {"type": "uri", "value": PROPERTY + PROPERTIES[attribute]},
        "value": {"type": "uri" if uri else "literal", "value": (ENTITY if uri else "") + value},
        **{key: {"type": "literal", "value": text} for key, text in more.items()},
    }
    if name is not None:
        cells["personLabel"] = {"type": "literal", "xml:lang": "en", "value": name}
    if label is not None:
        cells["valueLabel"] = {"type": "literal", "xml:lang": "en", "value": label}
    return cells


class Service(http.server.ThreadingHTTPServer):
    """A query service on the loopback: citizens of two nations, in pages, failing on demand.

    `faults` are taken one a request: a status, or the number of bytes after which the answer ends in an error's text,
    as the real service does when its time is up.
    """

    daemon_threads = True

    def __init__(self) -> None:
        self.citizens = {"Q408": [f"Q1{n:03d}" for n in range(25)], "Q16": [f"Q2{n:03d}" for n in range(4)]}
        self.faults: list[tuple[int, dict[str, str]]] = []
        self.asked: list[tuple[str, int, int]] = []
        self.headers: list[dict[str, str]] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        sent = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        text = sent["query"][0]
        words = text.replace(")", " ").split()
        nation = next(w for w in words if w.startswith("wd:Q")).removeprefix("wd:")
        limit, offset = int(words[words.index("LIMIT") + 1]), int(words[words.index("OFFSET") + 1])
        self.server.asked.append((nation, offset, limit))
        self.server.headers.append(dict(self.headers.items()))
        status, headers = self.server.faults.pop(0) if self.server.faults else (200, {})
        page = self.server.citizens[nation][offset : offset + limit]
        rows = [row(person, f"Name {person}", "occupation", "Q900", "diver") for person in page]
        body = json.dumps({"head": {"vars": []}, "results": {"bindings": rows}}).encode()
        if "cut" in headers:
            body = body[: int(headers["cut"])] + b"\njava.util.concurrent.TimeoutException\n"
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> Iterator[Service]:
    monkeypatch.setattr(fetch.time, "sleep", waits.append)
    with Service() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def ask(service: Service, folder: Path, **more: Any) -> dict[str, Any]:
    settings = {
        "nations": ["Q408", "Q16"],
        "without": ["ko"],
        "base": "en",
        "properties": PROPERTIES,
        "number": 20,
        "page": 10,
        "endpoint": f"http://127.0.0.1:{service.server_port}/sparql",
        "contact": "me@example.org",
    }
    return fetch_people(**{**settings, **more}, work=folder / "work", out=folder / "response.json")


def test_pages_are_asked_for_until_there_are_enough(service: Service, tmp_path: Path) -> None:
    """A half more than the 10 a nation that are wanted: two pages of one nation; the other one ends before."""
    notes = ask(service, tmp_path)
    assert service.asked == [("Q408", 0, 10), ("Q408", 10, 10), ("Q16", 0, 10), ("Q16", 10, 10)]
    assert notes["people"] == {"Q408": 20, "Q16": 4}
    found = list(read_response(tmp_path / "response.json", PROPERTIES))
    assert [value.person for value in found] == [*(f"Q1{n:03d}" for n in range(20)), *(f"Q2{n:03d}" for n in range(4))]
    assert found[0] == Value("Q1000", "Name Q1000", "occupation", "Q900", "diver")
    assert {h["User-Agent"] for h in service.headers} == {"lorebridge/0.1.0 (me@example.org)"}
    assert {h["Accept"] for h in service.headers} == {"application/sparql-results+json"}


def test_the_same_answers_give_the_same_bytes_whatever_went_wrong(
    service: Service, tmp_path: Path, waits: list[float]
) -> None:
    smooth = ask(service, tmp_path / "a")
    service.faults = [(429, {"Retry-After": "17"}), (500, {}), (200, {"cut": "700"}), (200, {"cut": "0"})]
    assert ask(service, tmp_path / "b") == smooth
    assert (tmp_path / "a" / "response.json").read_bytes() == (tmp_path / "b" / "response.json").read_bytes()
    assert waits == [17, 2, 1, 2], "as long as the service asks for, else twice as long each time"


def test_a_killed_job_asks_for_the_rest(service: Service, tmp_path: Path) -> None:
    service.faults = [(200, {}), (403, {})]
    with pytest.raises(InputError, match=r"403.*people\.source\.contact"):
        ask(service, tmp_path)
    assert not (tmp_path / "response.json").exists()
    service.asked.clear()
    ask(service, tmp_path)
    assert ("Q408", 0, 10) not in service.asked


def test_an_answer_that_never_ends_well_names_the_mend(service: Service, tmp_path: Path) -> None:
    service.faults = [(200, {"cut": "700"})] * 4
    with pytest.raises(InputError, match=r"cuts its answer short.*smaller `people\.source\.page`"):
        ask(service, tmp_path)


def test_nobody_found_is_an_error(service: Service, tmp_path: Path) -> None:
    service.citizens = {"Q408": [], "Q16": []}
    with pytest.raises(InputError, match=r"no citizen of Q408, Q16"):
        ask(service, tmp_path)


RECORDED = Path(__file__).parents[1] / "data" / "people-response.json"
"""A recorded response, of invented people."""


def merged(folder: Path, rows: list[dict] | None = None, **more: Any) -> tuple[dict, dict]:
    """Merge the recorded response, or one of some rows; return people and audit."""
    folder.mkdir(exist_ok=True, parents=True)
    response = RECORDED
    if rows is not None:
        response = folder / "response.json"
        wikidata.write_response(rows, response)
    settings = {"number": 100, "seed": 0, "script": "Latin", "properties": PROPERTIES}
    merge_people(**{**settings, **more}, response=response, out=folder / "p.parquet", audit=folder / "a.json")
    return read_people(folder / "p.parquet"), json.loads((folder / "a.json").read_text())


def test_a_recorded_response_gives_its_people(tmp_path: Path) -> None:
    people, audit = merged(tmp_path)
    assert audit["dropped"] == {"no attribute": 1, "no name": 1, "one word": 1, "other letters": 1, "shared name": 2}
    assert audit["dropped_values"] == {"contradictory": 2, "in the name": 1, "other letters": 1, "unknown": 4}
    name, attributes = people["Q900000001"]
    assert name == "Ottilie Marram"
    assert attributes == {
        "citizenship": {"Q408": "Australia", "Q664": "New Zealand"},
        "birth_year": {"1931": "1931"},
        "birthplace": {"Q910000001": "Quillhaven"},
        "occupation": {"Q920000001": "ornithologist", "Q920000002": "poet"},
        "education": {"Q930000001": "Tarn Valley College"},
    }
    assert "birth_year" not in people["Q900000002"][1], "two years contradict each other"
    assert "birth_year" not in people["Q900000003"][1], "a century is no year"
    assert "birthplace" not in people["Q900000004"][1], "the name says it"
    assert audit["kept"] == len(people) == 6
    assert audit["people"] == 12
    assert audit["rows"] == len(json.loads(RECORDED.read_text(encoding="utf-8"))["results"]["bindings"])
    assert tables.read(tmp_path / "p.parquet")["person_id"].is_monotonic_increasing


def test_rows_in_another_order_give_the_same_bytes(tmp_path: Path) -> None:
    rows = json.loads(RECORDED.read_text(encoding="utf-8"))["results"]["bindings"]
    merged(tmp_path / "a", rows)
    merged(tmp_path / "b", rows[::-1])
    assert (tmp_path / "a" / "p.parquet").read_bytes() == (tmp_path / "b" / "p.parquet").read_bytes()


def test_who_is_drawn_depends_on_nobody_else(tmp_path: Path) -> None:
    rows = [
        row(f"Q{n}", f"Ada N{'abcdefghij'[n // 10]}{'abcdefghij'[n % 10]}", "occupation", "Q9", "diver")
        for n in range(40)
    ]
    few = set(merged(tmp_path / "few", rows[:39], number=20)[0])
    more = set(merged(tmp_path / "more", rows, number=20)[0])
    assert len(few) == len(more) == 20
    assert len(few - more) <= 1
    assert set(merged(tmp_path / "other", rows, number=20, seed=1)[0]) != more


@pytest.mark.parametrize(
    ("value", "precision", "day"),
    [
        ("1950-03-07T00:00:00Z", "11", "1950-03-07"),
        ("+1950-12-31T00:00:00Z", "14", "1950-12-31"),
        ("1950-03-00T00:00:00Z", "11", None),
        ("1950-00-07T00:00:00Z", "11", None),
        ("1950-13-07T00:00:00Z", "11", None),
        ("1950-03-07T00:00:00Z", "10", None),
        ("1950-03-07T00:00:00Z", None, None),
    ],
)
def test_a_day_is_told_where_it_is_known(value: str, precision: str | None, day: str | None) -> None:
    assert wikidata._time(value, precision, "row 1", wikidata.DAY_KNOWN) == day


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda r: r.pop("value"), r"row 1: no `value`"),
        (lambda r: r.update(person={"type": "uri", "value": "http://example.org/x"}), r"row 1: `person` is no item"),
        (lambda r: r.update(personLabel="Ada"), r"row 1: `personLabel` is no value"),
        (lambda r: r["personLabel"].update(value="Somebody Else"), r"Q1: is called 'Ada Moor' and 'Somebody Else'"),
        (lambda r: r["value"].update(value="1950-xx"), None),
    ],
    ids=["no value", "no item", "no cell", "two names", "no time"],
)
def test_a_malformed_row_is_named(spoil, expected, tmp_path: Path) -> None:
    rows = [row("Q1", "Ada Moor", "occupation", "Q9", "diver"), row("Q1", "Ada Moor", "occupation", "Q8", "nurse")]
    if expected is None:
        rows[1] = row("Q1", "Ada Moor", "birth_year", "x950-01-01T00:00:00Z", precision="many")
        rows[1]["value"]["value"] = "19x0-01-01T00:00:00Z"
        expected = r"row 1: '19x0-01-01T00:00:00Z' with precision 'many' is no time"
    else:
        spoil(rows[1])
    with pytest.raises(InputError, match=expected):
        merged(tmp_path, rows)


TWICE = '{"results": {"bindings": []}, "results": {"bindings": []}}'


@pytest.mark.parametrize(
    "content", ["", "<html>", "[]", '{"results": 3}', TWICE], ids=["empty", "html", "list", "number", "a key twice"]
)
def test_what_is_no_response_is_named(content: str, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"r\.json.*(JSON|response)"):
        list(read_response(path, PROPERTIES))


def test_too_few_people_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"1 people who can be asked about"):
        merged(tmp_path, [row("Q1", "Ada Moor", "occupation", "Q9", "diver")])


def test_counts_of_the_audit_add_up(tmp_path: Path) -> None:
    _, audit = merged(tmp_path, number=4)
    assert audit["people"] == sum(audit["dropped"].values()) + audit["not_drawn"] + audit["kept"]
    assert audit["kept"] == 4
    assert collections.Counter(audit["kept_by_attribute"]).total() <= 5 * 4
