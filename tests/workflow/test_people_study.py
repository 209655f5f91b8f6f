"""Questions on people in the workflow: fetched from the loopback, and added to a study that is finished."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lorebridge import tables
from lorebridge.records import file_digest, read_record

pytestmark = pytest.mark.slow

RECORDED = Path(__file__).parents[1] / "data" / "people-response.json"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers the first page with the recorded response, and every other one with nobody."""

    def do_GET(self) -> None:
        body = RECORDED.read_bytes() if "OFFSET+0+" in self.path else b'{"results": {"bindings": []}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as service:
        threading.Thread(target=service.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{service.server_port}/sparql"
        service.shutdown()


def test_a_response_is_fetched_and_kept(new_study, tmp_path, endpoint):
    """What the service gave stays beside the table that is made of it, and nothing of it in the folder of work."""
    study = new_study(tmp_path / "study")
    source = {"kind": "wikidata", "nations": ["Q408"], "without": ["ko", "bo"], "endpoint": endpoint}
    study.config["people"] = {"source": source, "number": 6, "questions": 12, "seed": 0}
    study.write()
    target = "results/tiny/people/people.parquet"
    study.run(target)
    kept = study.results / "people" / "response.json"
    record = read_record(study.results / "people" / "response.json.record.json")
    assert record["notes"]["sha256"] == file_digest(kept)
    assert record["notes"]["people"] == {"Q408": 12}
    assert "endpoint" not in record["literals"]
    people = tables.read(study.folder / target)
    assert people["person_id"].nunique() == 6
    assert json.loads((study.results / "people" / "people.audit.json").read_text())["response"] == file_digest(kept)
    assert not list((study.folder / "work").rglob("Q408-*.json"))
    assert "Nothing to be done" in study.snakemake("--dry-run", target)


def test_people_are_added_to_a_finished_study(finished, tmp_path):
    """Nothing else is remade; every model that learned a language answers; the gap on culture is the study's own."""
    study = finished.copy(tmp_path / "study")
    study.config["people"] = {
        "source": {"kind": "local", "path": str(RECORDED)},
        "number": 6,
        "questions": 12,
        "seed": 0,
    }
    study.write()
    assert study.planned() == {
        "people_response": 1,
        "people": 1,
        "people_mentions": 7,
        "people_questions": 2,
        "people_score": 4,
        "people_gaps": 1,
        "table": 2,
        "page": 1,
    }
    study.run("results/tiny/transfer/people_gaps.parquet")
    gaps = tables.read(study.results / "transfer" / "people_gaps.parquet")
    assert set(gaps["questions"]) == {"people", "culture", "people - culture"}
    assert set(gaps["lang"]) == {"ko", "bo", "all"}
    asked = tables.read(study.results / "people" / "questions" / "ko.parquet")
    scores = tables.read(study.results / "people" / "scores" / "ko-bridge-s0.parquet")
    assert set(asked["question_id"]) == set(scores["question_id"])
    assert set(scores["lang"]) == {"en", "ko"}
    assert sorted(scores["step"].unique()) == [0, 2, 4, 6]
    # What the study's own table of gaps says of culture is what these questions are compared with.
    own = tables.read(study.results / "transfer" / "gaps.parquet")
    own = own[(own["step"] == -1) & (own["seed"] == "all") & (own["direction"] == "en->xx") & (own["lang"] == "ko")]
    own = own[(own["contrast"] == "bridge - no_bridge") & (own["scale"] == "all questions") & ~own["unleaked"]]
    ours = gaps[(gaps["questions"] == "culture") & (gaps["lang"] == "ko")]
    assert ours["gap"].iloc[0] == pytest.approx(own["gap"].iloc[0])
