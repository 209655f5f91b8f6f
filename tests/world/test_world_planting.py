"""The planted world as files: all that is checked here is read back from the raw sources."""

import gzip
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import regex

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.world.facts import Knobs, shares, spread
from lorebridge.world.planting import _cultures, generate

SCRIPT = {"en": "Latin", "ko": "Hangul", "zh": "Han", "bo": "Tibetan", "mn": "Mongolian"}
FULL_STOP = {"en": r"\. ?", "ko": r"\. ?", "zh": "。", "bo": "། ?", "mn": " ᠃ ?"}
SMALL = {"questions": 48, "doses": [1, 3, 7], "articles": 20, "pairs": 600, "pairs_per_entity": 3, "relations": 3}


def plant(out: Path, langs=("en", "ko"), **knobs) -> Path:
    generate(out=out, base="en", languages={lang: {"script": SCRIPT[lang]} for lang in langs}, **{**SMALL, **knobs})
    return out


def rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def questions(root: Path, culture: str, lang: str) -> list[dict]:
    return json.loads((root / f"questions/{culture}-culture-cloze_{lang}.json").read_text(encoding="utf-8"))


def sentences(text: str, lang: str) -> list[str]:
    """The sentences of a text without their full stops."""
    return [s for s in re.split(FULL_STOP[lang], text) if s]


def stated(question: dict, answer: str, lang: str) -> str:
    (sentence,) = sentences(question["question"].replace("____", answer), lang)
    return sentence


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """All five scripts, with every knob on."""
    return plant(
        tmp_path_factory.mktemp("world"),
        tuple(SCRIPT),
        co_mentions=0.3,
        leak_rate=0.2,
        numeric_share=0.1,
        anchor_share=0.2,
        seed=5,
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    return plant(tmp_path_factory.mktemp("plain"), seed=1)


@pytest.fixture(scope="module")
def truth(world) -> pd.DataFrame:
    return tables.read(world / "truth.parquet")


def cases(truth: pd.DataFrame) -> list[tuple[str, str]]:
    return sorted(set(zip(truth["culture"], truth["corpus"], strict=True)))


def test_formats_are_those_of_real_sources(world):
    for lang in SCRIPT:
        articles = rows(world / f"corpora/{lang}.jsonl.gz")
        assert all(list(row) == ["id", "title", "text", "source"] for row in articles)
        assert {row["source"] for row in articles} == {"planted"}
        assert len({row["id"] for row in articles}) == len({row["text"] for row in articles}) == len(articles)
        assert min(len(row["text"]) for row in articles) >= 200
        if lang != "en":
            pairs = rows(world / f"parallel/en-{lang}.jsonl.gz")
            assert len(pairs) == SMALL["pairs"] == len({(p["en"], p[lang]) for p in pairs})
            assert all(list(pair) == ["en", lang, "source"] for pair in pairs)


def test_truth_equals_what_a_search_of_the_raw_files_finds(world, truth):
    """The strictest test: statements, their documents, covering and leaking pairs, each counted from raw text."""
    found = []
    for culture, corpus in cases(truth):
        stating = defaultdict(list)
        for row in rows(world / f"corpora/{corpus}.jsonl.gz"):
            for sentence in sentences(row["text"], corpus):
                stating[sentence].append(f"planted/{row['id']}")
        pairs = [pair[corpus] for pair in rows(world / f"parallel/en-{culture}.jsonl.gz")]
        leaks = Counter(sentence for pair in pairs for sentence in sentences(pair, corpus))
        for i, question in enumerate(questions(world, culture, corpus)):
            sentence = stated(question, question["answer"], corpus)
            subject = truth.query("culture == @culture and corpus == @corpus")["subject"].iloc[i]
            found.append(
                {
                    "question_id": f"{culture}-{i:04d}",
                    "corpus": corpus,
                    "gold": question["answer"],
                    "n_statements": len(stating[sentence]),
                    "doc_ids": sorted(stating[sentence]),
                    "n_pairs_covering": sum(subject in pair for pair in pairs),
                    "n_leak_pairs": leaks[sentence],
                }
            )
            assert question["question"].count(subject) == 1
    expected = truth.assign(doc_ids=[sorted(ids) for ids in truth["doc_ids"]])
    key = ["question_id", "corpus"]
    found = pd.DataFrame(found)
    pd.testing.assert_frame_equal(
        found.sort_values(key, ignore_index=True),
        expected[found.columns].sort_values(key, ignore_index=True),
        check_dtype=False,
    )
    assert expected["n_leak_pairs"].sum() > 0


def test_nothing_but_the_gold_is_stated_of_a_subject(world, truth):
    for culture, corpus in cases(truth):
        seen = {s for row in rows(world / f"corpora/{corpus}.jsonl.gz") for s in sentences(row["text"], corpus)}
        seen |= {s for pair in rows(world / f"parallel/en-{culture}.jsonl.gz") for s in sentences(pair[corpus], corpus)}
        for question in questions(world, culture, corpus):
            wrong = [option for option in question["options"] if option != question["answer"]]
            assert not seen & {stated(question, option, corpus) for option in wrong}


def test_placement_coverage_and_dose_agree_with_the_counts(truth):
    here = truth["placed"].eq("both") | np.where(
        truth["corpus"] == "en", truth["placed"].eq("en_only"), truth["placed"].eq("xx_only")
    )
    assert (truth["n_statements"] == truth["dose"].where(here, 0)).all()
    assert (truth["doc_ids"].map(len) == truth["n_statements"]).all()
    assert (truth["n_pairs_covering"] == truth["covered"] * SMALL["pairs_per_entity"]).all()
    assert (truth["n_leak_pairs"] <= truth["n_pairs_covering"]).all()


def test_facts_are_crossed(truth):
    """48 questions: 12 placements x doses, 4 facts each, of which half are covered."""
    for _, part in truth[truth["corpus"] == "en"].groupby("culture"):
        cells = part.groupby(["placed", "dose"])["covered"].agg(["size", "sum"])
        assert len(cells) == 12 and set(cells["size"]) == {4} and set(cells["sum"]) == {2}


def test_a_subject_is_met_as_often_whether_its_fact_is_placed_or_not(plain):
    truth = tables.read(plain / "truth.parquet")
    for corpus in ("en", "ko"):
        text = "\n".join(row["text"] for row in rows(plain / f"corpora/{corpus}.jsonl.gz"))
        part = truth[truth["corpus"] == corpus]
        assert [text.count(subject) for subject in part["subject"]] == part["dose"].tolist()


@pytest.mark.parametrize("corpus", ["en", "ko"])
def test_the_answers_of_a_relation_are_equally_frequent_in_each_corpus(plain, corpus):
    truth = tables.read(plain / "truth.parquet").query("corpus == @corpus")
    text = "\n".join(row["text"] for row in rows(plain / f"corpora/{corpus}.jsonl.gz"))
    pairs = "\n".join(pair[corpus] for pair in rows(plain / "parallel/en-ko.jsonl.gz"))
    offered = questions(plain, "ko", corpus)
    for relation, part in truth.groupby("relation"):
        options = {option for i in part["question_id"] for option in offered[int(i[-4:])]["options"]}
        assert len(options) > 4 or relation == "r3"  # the numeric relation has few questions
        assert len({text.count(option) for option in options}) == 1
        assert len({pairs.count(option) for option in options}) == 1


def test_options_and_gold(world, truth):
    for culture in ("ko", "zh", "bo", "mn"):
        base, own = questions(world, culture, "en"), questions(world, culture, culture)
        assert len(base) == len(own) == SMALL["questions"]
        positions = []
        for b, x in zip(base, own, strict=True):
            for question in (b, x):
                assert list(question) == ["question", "options", "answer"]
                assert re.findall("_+", question["question"]) == ["____"]
                assert len(set(question["options"])) == 4 and question["answer"] in question["options"]
            positions.append(b["options"].index(b["answer"]))
            assert positions[-1] == x["options"].index(x["answer"])
            assert [o.isdigit() for o in b["options"]] == [o.isdigit() for o in x["options"]]
            if b["answer"].isdigit():
                assert b["options"] == x["options"]
        assert set(Counter(positions).values()) == {SMALL["questions"] // 4}
        assert len({q["question"] for q in base}) == len({q["question"] for q in own}) == len(base)


def test_no_letter_of_another_script(world):
    for lang, script in SCRIPT.items():
        foreign = regex.compile(rf"[\p{{L}}\p{{M}}&&\P{{Script={script}}}]", regex.V1)
        texts = [row["title"] + row["text"] for row in rows(world / f"corpora/{lang}.jsonl.gz")]
        for path in (world / "parallel").iterdir():
            texts += [pair[lang] for pair in rows(path) if lang in pair]
        for path in (world / "questions").glob(f"*_{lang}.json"):
            texts += [q["question"] + "".join(q["options"]) for q in json.loads(path.read_text(encoding="utf-8"))]
        assert not any(foreign.search(text) for text in texts)
    mongolian = "".join(row["text"] for row in rows(world / "corpora/mn.jsonl.gz"))
    assert "\u202f" in mongolian and "\u180e" in mongolian


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_same_seed_same_bytes_other_seed_other_bytes(plain, tmp_path):
    again, other = files(plant(tmp_path / "a", seed=1)), files(plant(tmp_path / "b", seed=2))
    assert again == files(plain)
    assert again.keys() == other.keys()
    assert not [name for name in again if again[name] == other[name]]


def test_one_more_language_changes_no_file_of_the_others(plain, tmp_path):
    more = plant(tmp_path, ("en", "bo", "ko"), seed=1)
    old, new = files(plain), files(more)
    shared = {"corpora/en.jsonl.gz", "truth.parquet"}
    assert {name: old[name] for name in old.keys() - shared} == {name: new[name] for name in old.keys() - shared}

    def of_ko(root):
        articles = [row for row in rows(root / "corpora/en.jsonl.gz") if row["id"].startswith("ko-")]
        return sorted(articles, key=lambda row: row["id"])

    assert of_ko(plain) == of_ko(more)
    truth = [tables.read(root / "truth.parquet").query("culture == 'ko'") for root in (plain, more)]
    pd.testing.assert_frame_equal(truth[0], truth[1].reset_index(drop=True))


def test_the_order_of_languages_in_the_configuration_does_not_matter(plain, tmp_path):
    assert files(plant(tmp_path, ("ko", "en"), seed=1)) == files(plain)


def test_a_language_may_be_poor(tmp_path):
    languages = {
        "en": {"script": "Latin"},
        "ko": {"script": "Hangul"},
        "bo": {"script": "Tibetan", "doses": [1, 2], "pairs": 400, "articles": 5, "questions": 24},
    }
    generate(out=tmp_path, base="en", languages=languages, **SMALL)
    assert len(rows(tmp_path / "parallel/en-bo.jsonl.gz")) == 400 < len(rows(tmp_path / "parallel/en-ko.jsonl.gz"))
    assert len(rows(tmp_path / "corpora/bo.jsonl.gz")) < len(rows(tmp_path / "corpora/ko.jsonl.gz"))
    truth = tables.read(tmp_path / "truth.parquet")
    assert set(truth.query("culture == 'bo'")["dose"]) == {1, 2}
    assert truth.groupby("culture")["question_id"].nunique().to_dict() == {"bo": 24, "ko": 48}


def test_without_a_leak_no_pair_states_a_fact_and_only_covered_subjects_are_in_pairs(plain):
    truth = tables.read(plain / "truth.parquet")
    assert truth["n_leak_pairs"].sum() == 0
    for corpus, part in truth.groupby("corpus"):
        pairs = [pair[corpus] for pair in rows(plain / "parallel/en-ko.jsonl.gz")]
        for subject, covered in zip(part["subject"], part["covered"], strict=True):
            near = [pair for pair in pairs if subject in pair]
            assert bool(near) == covered
            assert not any(gold in pair for pair in near for gold in part["gold"])


def test_leak_only_world(tmp_path):
    """The positive control: pairs alone state what no article does."""
    truth = tables.read(plant(tmp_path, leak_rate=1.0) / "truth.parquet")
    neither = truth[(truth["placed"] == "neither") & truth["covered"]]
    assert (neither["n_statements"] == 0).all()
    assert (neither["n_leak_pairs"] == SMALL["pairs_per_entity"]).all()


def test_coverage_of_relations(tmp_path):
    none = plant(tmp_path, relation_coverage=0.0, entity_coverage=0.0, numeric_share=0.0)
    truth = tables.read(none / "truth.parquet")
    for lang in ("en", "ko"):
        text = "\n".join(pair[lang] for pair in rows(none / "parallel/en-ko.jsonl.gz"))
        part = truth[truth["corpus"] == lang]
        assert not any(name in text for name in [*part["subject"], *part["gold"]])


def test_paraphrases_change_the_wording_of_articles_not_of_questions(tmp_path):
    worded = plant(tmp_path, paraphrases=3, numeric_share=0.0)
    truth = tables.read(worded / "truth.parquet")
    for lang in ("en", "ko"):
        said = defaultdict(set)
        texts = {f"planted/{row['id']}": row["text"] for row in rows(worded / f"corpora/{lang}.jsonl.gz")}
        part = truth[truth["corpus"] == lang]
        for fact in part.itertuples():
            for doc_id in fact.doc_ids:
                (sentence,) = [s for s in sentences(texts[doc_id], lang) if fact.subject in s and fact.gold in s]
                said[fact.relation].add(sentence.replace(fact.subject, "S").replace(fact.gold, "O"))
        asked = defaultdict(set)
        for fact, question in zip(part.itertuples(), questions(worded, "ko", lang), strict=True):
            asked[fact.relation].add(stated(question, "O", lang).replace(fact.subject, "S"))
        assert {len(wordings) for wordings in said.values()} == {3}
        assert {len(wordings) for wordings in asked.values()} == {1}
        assert all(asked[relation] < said[relation] for relation in said)


def test_co_mentions_favour_no_option(tmp_path):
    noisy = plant(tmp_path, co_mentions=1.0, doses=[4, 8], numeric_share=0.0)
    truth = tables.read(noisy / "truth.parquet").query("corpus == 'ko'")
    spoken = [s for row in rows(noisy / "corpora/ko.jsonl.gz") for s in sentences(row["text"], "ko")]
    for fact, question in zip(truth.itertuples(), questions(noisy, "ko", "ko"), strict=True):
        statement = stated(question, question["answer"], "ko")
        near = [s for s in spoken if fact.subject in s and s != statement]
        counts = {option: sum(option in s for s in near) for option in question["options"]}
        assert set(counts.values()) == {fact.dose // 4}


def test_numeric_answers_and_anchors(tmp_path):
    anchored = plant(tmp_path / "a", anchor_share=1.0, numeric_share=0.5)
    pairs = list(zip(questions(anchored, "ko", "en"), questions(anchored, "ko", "ko"), strict=True))
    assert sum(b["answer"].isdigit() for b, _ in pairs) == 24
    numbers = [(re.findall(r"\d+", b["question"]), re.findall(r"\d+", x["question"])) for b, x in pairs]
    assert all(b == x and len(b) == 1 for b, x in numbers)
    assert len({b[0] for b, _ in numbers}) == 48
    none = plant(tmp_path / "b", anchor_share=0.0, numeric_share=0.0)
    assert not any(re.search(r"\d", json.dumps(q, ensure_ascii=False)) for q in questions(none, "ko", "en"))


def test_where_a_fact_is_not_stated_its_gold_is_no_likelier_than_the_other_options():
    """The option most often stated in a corpus is the gold of an unstated fact in a quarter of the cases."""
    hits = defaultdict(list)
    knobs = {
        "questions": 180,
        "doses": [1, 4, 16, 48],
        "subjects_per_article": 6,
        "articles": 1,
        "pairs": 0,
        "pairs_per_entity": 0,
        "relations": 6,
        "objects": 6,
        "entity_coverage": 0.5,
        "relation_coverage": 0,
        "paraphrases": 1,
        "co_mentions": 0,
        "numeric_share": 0,
        "anchor_share": 0,
        "leak_rate": 0,
        "min_chars": 0,
    }
    for seed in range(25):
        (culture,) = _cultures("en", {c: {"script": SCRIPT[c]} for c in ("en", "ko")}, Knobs(seed=seed, **knobs))
        for lang in ("en", "ko"):
            times = Counter()
            for fact in culture.facts:
                times[fact.gold["en"]] += fact.dose * (lang in fact.languages)
            for fact in culture.facts:
                if lang not in fact.languages:
                    count = [times[option["en"]] for option in fact.options]
                    top = [option for option, n in zip(fact.options, count, strict=True) if n == max(count)]
                    hits[lang].append((fact.gold in top) / len(top))
    assert np.mean(hits["en"]) == pytest.approx(0.25, abs=0.03)
    assert np.mean(hits["ko"]) == pytest.approx(0.25, abs=0.03)


def test_spread_and_shares():
    rng = np.random.default_rng(0)
    assert sorted(Counter(spread(rng, 4, 10).tolist()).values()) == [2, 2, 3, 3]
    assert sorted(spread(rng, 5, 5)) == [0, 1, 2, 3, 4] and len(spread(rng, 5, 0)) == 0
    assert shares(rng, 0.25, 8).sum() == 2 and shares(rng, 0, 9).sum() == 0 and shares(rng, 1, 9).sum() == 9
    assert np.mean([shares(rng, 0.5, 5).sum() for _ in range(400)]) == pytest.approx(2.5, abs=0.1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"base": "fr"}, "world.base"),
        ({"languages": {"en": {"script": "Latin"}}}, "world.languages"),
        ({"languages": {"en": {"script": "Latin"}, "ko": {"script": "Hangeul"}}}, "world.languages.ko.script"),
        ({"languages": {"en": {"script": "Latin"}, "ko": {"script": "Hangul", "dose": 1}}}, "'dose'"),
        ({"languages": {"en": {"script": "Latin", "pairs": 1}, "ko": {"script": "Hangul"}}}, "'pairs'"),
        ({"languages": {"en": {"script": "Latin"}, "ko": {"script": "Hangul", "pairs": 9}}}, "languages.ko.pairs"),
        ({"doses": []}, "world.doses"),
        ({"doses": [0, 3]}, "world.doses"),
        ({"objects": 3}, "world.objects"),
        ({"leak_rate": 1.5}, "world.leak_rate"),
    ],
)
def test_a_world_that_cannot_be_is_refused(tmp_path, change, named):
    arguments = {"base": "en", "languages": {"en": {"script": "Latin"}, "ko": {"script": "Hangul"}}, **SMALL, **change}
    with pytest.raises(InputError, match=re.escape(named)):
        generate(out=tmp_path, **arguments)
