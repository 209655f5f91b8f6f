"""docs/paper.md: the paper's words beside every value of config/config.yaml that is said to be its own."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lorebridge import config
from lorebridge import studies as kinds
from lorebridge.errors import InputError

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "config" / "config.yaml"
CONTROLS = ROOT / "config" / "controls.yaml"
PAGE = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
SOURCED = re.compile(r"(?:stated|deviates) \((?:footnote )?[0-9A-Z]")


def matches(pattern: str, key: str) -> bool:
    """Say whether a key is of a pattern, in which * stands for one name.

    >>> matches("corpora.*.sources[0].dataset", "corpora.en.sources[0].dataset"), matches("model.*", "model")
    (True, False)
    """
    return re.fullmatch(re.escape(pattern).replace(r"\*", r"[^.]+"), key) is not None


def rows() -> list[tuple[str, str, str, str, str]]:
    """Return the cells of the table: key, ours, where, wording, verdict."""
    lines = [line for line in PAGE.splitlines() if line.startswith("| `")]
    return [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines]


def sourced() -> dict[str, Any]:
    """Return the values whose comment says that the paper states them or that they deviate from it."""
    return {key: value for key, value, origin in config.provenance(PAPER) if SOURCED.match(origin)}


def test_every_value_of_the_paper_stands_beside_its_words():
    """A value may not change, nor another be called stated, without the page."""
    stated = sourced()
    ours = re.findall(r"`([^`]+)`", PAGE.split("Parts of such values that are ours:")[1].split("\n\n")[0])
    covered: dict[str, int] = dict.fromkeys(stated, 0)
    for key, cell, _, wording, verdict in rows():
        found = {name: value for name, value in stated.items() if matches(key.strip("`"), name)}
        assert found, f"{key}: config.yaml calls nothing of it stated"
        distinct = [value for i, value in enumerate(found.values()) if value not in list(found.values())[:i]]
        assert yaml.safe_load(cell.strip("`")) == (distinct[0] if len(distinct) == 1 else distinct), key
        assert len(wording) > 4 and re.match("equal|deviates", verdict), key
        for name in found:
            covered[name] += 1
    for pattern in ours:
        found = [name for name in stated if matches(pattern, name)]
        assert found, f"{pattern}: nothing in config.yaml"
        for name in found:
            assert not covered[name], f"{name} is in the table, and said to be ours"
            covered[name] += 1
    assert {name: n for name, n in covered.items() if n != 1} == {}


def test_what_deviates_says_so_in_both_places():
    """The words `deviates` of the table and of the comments are of the same keys, and `decisions.md` has the reason."""
    origins = {key: origin for key, _, origin in config.provenance(PAPER)}
    for key, _, _, _, verdict in rows():
        said = {"deviates" in origin.split(":")[0] for name, origin in origins.items() if matches(key.strip("`"), name)}
        assert said == {verdict.startswith("deviates")}, key


def test_every_stated_comment_says_where():
    """`stated` without a section cannot be looked up."""
    for path in (PAPER, CONTROLS, ROOT / "config" / "pilot.yaml"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if re.search(r"# stated", line) and path in (PAPER, CONTROLS):
                assert re.search(r"# stated \((?:footnote )?[0-9A-Z]", line), line
            assert not re.search(r"stated \(3\.\d\)", line), f"the paper has no such section: {line}"


def test_the_controls_are_those_of_the_papers_study():
    """What they share with it has the same values, so that their bridge and no_bridge are its own."""
    ours, papers = ({key: value for key, value, _ in config.provenance(path)} for path in (CONTROLS, PAPER))
    others = {key for key in ours.keys() & papers.keys() if ours[key] != papers[key]}
    assert others == {"study", "arms"}
    assert {key.partition("[")[0] for key in ours.keys() - papers.keys()} == {
        "training.replay_share",
        "transfer.contrasts",
    }
    one, other = (kinds.plan(config.load(path)).literals("order", run="ko-bridge-s0") for path in (CONTROLS, PAPER))
    assert one == other


def planned(**changes: Any) -> Any:
    """Return the plan of the paper's study with some of its values changed."""
    said = copy.deepcopy(config.load(PAPER))
    for key, value in changes.items():
        section, _, name = key.partition("__")
        said[section] = said[section] | {name: value} if name else value
    return kinds.plan(config.check(said))


LOCAL = {"model": "local", "path": "nllb", "source_code": "mvf_Mong", "target_code": "zho_Hans"}


def test_the_papers_translation_is_to_be_obtained_and_a_dry_run_works_without(tmp_path):
    absent = dict(planned(data=str(tmp_path)).study.absent_sources())
    models = {path: text for path, text in absent.items() if "nllb" in path}
    assert len(models) == 2
    for text in models.values():
        assert "save_pretrained" in text and "deviates from the paper" in text


def test_the_advice_of_the_obtain_texts_plans():
    """Tibetan by NLLB as released, Mongolian in the original."""
    texts = [said["obtain"] for said in config.load(PAPER)["tracing"]["translation"].values()]
    released = yaml.safe_load(re.search(r"\{.*\}", texts[0])[0])
    plan = planned(tracing__translation={"bo": released})
    assert not [path for path, _ in plan.study.absent_sources() if "nllb" in path]
    assert plan.literals("translate", corpus="bo", culture="bo")["target_code"] == "zho_Hans"


def test_a_local_model_is_known_by_what_it_holds(tmp_path):
    (tmp_path / "nllb").mkdir()
    (tmp_path / "nllb" / "config.json").write_text("{}")

    def recipe(**more: Any) -> str:
        plan = planned(data=str(tmp_path), tracing__translation={"mn": LOCAL | more})
        assert [Path(path).name for path in plan.sources("translate", corpus="mn", culture="mn")]
        return plan.recipe(("translate", (("corpus", "mn"), ("culture", "mn"))))

    before = recipe()
    (tmp_path / "nllb").rename(tmp_path / "elsewhere")
    assert recipe(path="elsewhere", obtain="ask") == before
    (tmp_path / "elsewhere" / "config.json").write_text("{ }")
    assert recipe(path="elsewhere") != before


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (LOCAL | {"path": None}, "tracing.translation.mn.path"),
        (LOCAL | {"revision": "main"}, "tracing.translation.mn.revision"),
        (LOCAL | {"model": "some/nllb", "path": "nllb"}, "tracing.translation.mn.path"),
        (LOCAL | {"model": "/models/nllb", "path": None}, "model: local"),
        (LOCAL | {"model": "facebook/nllb-200-3.3B", "source_code": "khk_Cyrl", "path": None}, "model: local"),
    ],
)
def test_a_wrong_translation_is_one_error_at_dry_run(said, words):
    with pytest.raises(config.ConfigError, match=re.escape(words)):
        planned(tracing__translation={"mn": said})


def test_a_missing_local_model_without_advice_is_an_error(tmp_path):
    plan = planned(data=str(tmp_path), tracing__translation={"mn": LOCAL})
    with pytest.raises(InputError, match=r"tracing.translation.mn.path.*there is no model in .*nllb"):
        plan.recipe(("translate", (("corpus", "mn"), ("culture", "mn"))))


def test_english_wikipedia_inside_continual_pretraining_is_a_setting():
    """The rows that docs/decisions.md gives for the other reading of appendix C.1."""
    text = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
    block = yaml.safe_load(re.search(r"```yaml\n( *# English Wikipedia.*?)```", text, re.DOTALL)[1])
    plan = planned(
        arms=block["arms"],
        training__replay_share=block["training"]["replay_share"],
        transfer__contrasts=block["transfer"]["contrasts"],
    )
    assert "mono-en" in plan.study.models["ko-no_bridge_replay-s0"].texts


def test_the_date_of_birth_is_asked_for_in_english_words():
    """Appendix D: "date of birth", and attributes "in their original English forms"."""
    plan = planned()
    assert plan.literals("people")["properties"]["birth_date"] == "P569"
    for templates in plan.literals("people_questions", lang="ko")["templates"].values():
        assert "birth_date" in templates and "birth_year" not in templates
    people = config.load(PAPER)["people"]
    by_year = planned(people=people | {"birth": "year"}).literals("people_questions", lang="ko")["templates"]
    assert "birth_year" in by_year["ko"] and "birth_date" not in by_year["ko"]
    wordings = {"ko": {name: "{name} ____" for name in config.people_properties()}}
    with pytest.raises(config.ConfigError, match=r"people.templates.ko.*has no birth_date"):
        planned(people=people | {"templates": wordings})


def test_a_template_without_a_space_has_none_to_give_to_a_half():
    with pytest.raises(config.ConfigError, match=r"training.label_space.*has none before"):
        planned(template="{en}\n{name}: {xx}")
    training = config.load(PAPER)["training"] | {"label_space": "label"}
    assert planned(template="{en}\n{name}: {xx}", training=training)
