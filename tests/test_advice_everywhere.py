"""Every place of the package that gives advice is met by a case that follows it, or says where that is done."""

from __future__ import annotations

import importlib
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from advised import Met, meet, sites
from lorebridge.corpora import readers

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS / "corpora"))
FILES = (
    "advice",
    *(
        f"advice_{name}"
        for name in (
            "config",
            "worlds",
            "questions",
            "tokens",
            "tables",
            "facts",
            "runs",
            "cli",
            "probes",
            "answers",
            "pages",
            "levels",
            "removal",
        )
    ),
)
CASES = [case for name in FILES for case in importlib.import_module(f"test_{name}").CASES]

ELSEWHERE: dict[tuple[str, str], str] = {
    ("corpora/sources.py", "Write `pair`"): "corpora/test_sources.py::test_the_pair_of_opus_says_how_its_files_end",
    ("corpora/sources.py", "Leave it out."): "corpora/test_sources_hub.py::test_columns_of_a_tsv_of_the_hub",
    ("corpora/hub.py", "Accept its terms at"): "corpora/test_sources_hub.py::test_a_gated_data_set",
    (
        "train/work.py",
        "Make room and run again",
    ): "train/test_train_faults.py::test_a_full_disk_stops_the_run_and_the_state_before_stands",
}
"""(Module, a part of the advice as the source has it) -> the test that follows it."""

CANNOT: dict[tuple[str, str], str] = {
    ("adopt.py", "Wait for it"): "takes another process of Snakemake in the folder",
    ("contents.py", "MEND"): "says what the next run does of itself (tests/test_adopt.py: what is left is made again)",
    ("corpora/fetch.py", "fetch it again"): "takes a file that changes on its server",
    ("corpora/hub.py", "Check the network"): "takes a hub that does not answer, and then does",
    ("corpora/hub.py", "and try again later."): "takes a server that recovers",
    ("corpora/hub.py", "Check HF_TOKEN"): "takes a hub that refuses, and then does not",
    ("corpora/hub.py", "Make room"): "takes a full disk",
    ("plan/shown.py", "hat the stage declares"): "is of a rule, not of what a user gives",
    ("plan/stage.py", "Say the same in both places"): "is of two stages, not of what a user gives",
    ("probes/models.py", "Install it"): "takes a package that is not there",
    ("tokens/tokenizer.py", "Install the versions of the lock"): "takes other packages than the lock has",
    ("train/engine.py", "an A100 or a later GPU"): "takes an older GPU",
    ("trace/llm.py", "Let Snakemake make the judge's own"): "takes an environment without vLLM, and one with it",
    ("work.py", "mount it with them"): "takes a file system without locks",
}
"""(Module, a part of the advice as the source has it) -> why no test follows it."""

NOT_YET: dict[str, int] = {
    "chat.py": 1,
    "cli.py": 17,
    "compare.py": 2,
    "corpora/chunks.py": 1,
    "corpora/fetch.py": 2,
    "corpora/hub.py": 4,
    "corpora/pieces.py": 1,
    "corpora/transliteration.py": 9,
    "corpora/tuning.py": 6,
    "corpora/wikidata.py": 2,
    "plan/study.py": 1,
    "plan/wanted.py": 1,
    "probes/alignment.py": 1,
    "probes/answering.py": 1,
    "probes/asking.py": 1,
    "probes/copying.py": 2,
    "probes/decisions.py": 1,
    "probes/grading.py": 2,
    "probes/hints.py": 4,
    "probes/masked.py": 1,
    "probes/mechanism.py": 3,
    "probes/neurons.py": 4,
    "probes/openqa.py": 2,
    "probes/people.py": 1,
    "probes/perplexity.py": 3,
    "probes/prefixes.py": 1,
    "probes/scoring.py": 3,
    "probes/serving.py": 3,
    "probes/stages.py": 2,
    "probes/wording.py": 1,
    "studies/checks.py": 2,
    "studies/removal/subjects.py": 1,
    "studies/roots/study.py": 2,
    "studies/scripts/study.py": 3,
    "tables.py": 3,
    "tokens/order.py": 3,
    "tokens/store.py": 1,
    "tokens/tuning.py": 5,
    "trace/asked.py": 1,
    "trace/bm25.py": 1,
    "trace/dense.py": 2,
    "trace/density.py": 4,
    "trace/exposure.py": 7,
    "trace/hits.py": 3,
    "trace/judges.py": 11,
    "trace/labels.py": 10,
    "trace/leak_labels.py": 1,
    "trace/leaks.py": 1,
    "trace/llm.py": 2,
    "trace/occurrences.py": 2,
    "trace/origins.py": 2,
    "trace/recovery.py": 1,
    "trace/retrieval.py": 2,
    "trace/translation.py": 5,
    "train/architecture.py": 5,
    "train/given.py": 2,
    "train/loop.py": 4,
    "transfer/absent.py": 1,
    "transfer/accuracies.py": 4,
    "transfer/alarms.py": 1,
    "transfer/credits.py": 10,
    "transfer/gaps.py": 1,
    "transfer/grade_labels.py": 7,
    "transfer/hints.py": 1,
    "transfer/item_model.py": 2,
    "transfer/items.py": 2,
    "transfer/judged.py": 1,
    "transfer/matched.py": 1,
    "transfer/people.py": 1,
    "transfer/planted.py": 1,
    "transfer/precision.py": 1,
    "transfer/sample.py": 1,
    "transfer/tuning.py": 4,
    "transfer/verdicts.py": 4,
    "world/pages.py": 3,
    "world/statements.py": 2,
}
"""Module -> how many places no case meets so far. Of a module that is not here every place is met."""


def test_every_advice_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_BOMB_BYTES", 1 << 20)
    met = Met(monkeypatch)
    meet(CASES, tmp_path, met)
    said = {**ELSEWHERE, **CANNOT}
    missing = [site for site in sites() if not met.has(site)]
    used = {key for key in said for site in missing if key[0] == site.module and key[1] in site.advice}
    missing = [s for s in missing if not any(module == s.module and part in s.advice for module, part in said)]
    listed = "\n".join(f"{site.module}:{site.lines.start} {site.advice}" for site in missing)
    assert Counter(site.module for site in missing) == NOT_YET, listed
    assert used == said.keys(), "met, or gone: take it off the tables"


def test_the_tests_that_follow_an_advice_elsewhere_are_there() -> None:
    for name in set(ELSEWHERE.values()):
        file, _, test = name.partition("::")
        assert re.search(rf"^ *def {test}\(", (TESTS / file).read_text(encoding="utf-8"), re.MULTILINE), name
