"""The search for all questions at once finds what the judge finds for one question in one chunk."""

import itertools

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorebridge import tables
from lorebridge.corpora.chunks import chunk_documents
from lorebridge.errors import InputError
from lorebridge.trace.analysis import script_of
from lorebridge.trace.asked import Asked, read_asked, read_questions
from lorebridge.trace.judges import CoOccurrence
from lorebridge.trace.mentions import Matcher, blocks, find_mentions
from lorebridge.trace.subjects import find_subjects
from lorebridge.world.planting import generate

SCRIPTS = {"en": "Latin", "ko": "Hangul", "zh": "Han", "bo": "Tibetan", "mn": "Mongolian"}
MAX_CHARS = 300

# A few words of each script that touch each other's edges: prefixes, particles, digits, repeated characters.
WORDS = {
    "Latin": ["an", "and", "Anna", "king", "Kings", "3", "36"],
    "Hangul": ["왕", "왕은", "세종", "세종대왕", "이순신", "신", "3", "36"],
    "Han": ["明", "中", "明中", "朝", "國", "国", "ab"],
    "Tibetan": ["བླ", "མ", "མའི", "བླ་མ", "ཆོས", "ཆོ", "དེས"],
    "Mongolian": ["ᠮᠣᠩᠭᠣᠯ", "ᠤᠨ", "ᠬᠠᠭᠠᠨ", "ᠭᠡᠷ", "ᠭᠡᠷ\u202fᠦᠨ"],
}
SPACE = {"Han": "", "Tibetan": "་"}
STOPS = {"Latin": ". ", "Hangul": ". ", "Han": "。", "Tibetan": "། ", "Mongolian": "᠃ "}


@st.composite
def searches(draw):
    script = draw(st.sampled_from(sorted(WORDS)))
    phrase = st.lists(st.sampled_from(WORDS[script]), min_size=1, max_size=2).map(SPACE.get(script, " ").join)
    phrase = phrase.filter(script_of(script).phrase)  # a Mongolian suffix alone is no word
    asked = [
        Asked(
            f"q-{i}",
            tuple(draw(st.lists(phrase, min_size=1, max_size=2))),
            draw(st.none() | phrase),
            tuple(draw(st.lists(phrase, max_size=2))),
            tuple(draw(st.lists(phrase, max_size=2))),
        )
        for i in range(draw(st.integers(1, 3)))
    ]
    mark = st.sampled_from([SPACE.get(script, " "), " ", ", ", STOPS[script], "\n"])
    pieces = st.lists(st.tuples(st.sampled_from(WORDS[script]), mark), max_size=25)
    return script, asked, "".join(itertools.chain.from_iterable(draw(pieces))), draw(st.integers(1, 3))


def test_what_is_not_seen_hides_no_mention():
    english = Matcher([Asked("q", ("pyongyang", "capital"), "Korea", ())], "Latin", window=1, max_chars=300)
    [mention] = english.find("Pyong\u00adyang is the cap\u200bital of Ko\u2060rea.").values()
    assert (mention.subject, mention.object, mention.n_statements) == (True, True, 1)
    korean = Matcher([Asked("q", ("수도", "서울"), "대한민국", ())], "Hangul", window=1, max_chars=300)
    [mention] = korean.find("서\ufeff울은 대한\u00ad민국의 수\u200d도이다.").values()
    assert (mention.subject, mention.object, mention.n_statements) == (True, True, 1)


@settings(max_examples=200, deadline=None)
@given(searches())
def test_a_text_is_searched_by_the_rule_of_the_judge(search):
    script, asked, text, window = search
    by = CoOccurrence(script, window=window)
    windows = by.windows(text)
    found = Matcher(asked, script, window=window, max_chars=10_000).find(text)
    for number, one in enumerate(asked):
        wordings = [[by.script.phrase(term) for term in terms] for terms in one.wordings]
        about = [w for w in windows if any(all(term.search(w) for term in terms) for terms in wordings)]
        gold = by.script.phrase(one.gold) if one.gold else None
        mention = found.get(number)
        assert bool(mention and mention.subject) == bool(about)
        assert bool(mention and mention.object) == bool(gold and any(gold.search(w) for w in windows))
        assert bool(mention and mention.n_chunks) == bool(gold and any(gold.search(w) for w in about))
        near = {i for i, d in enumerate(one.distractors) if any(by.script.phrase(d).search(w) for w in about)}
        assert (mention.distractors if mention else set()) == near


@pytest.fixture(scope="module")
def planted(tmp_path_factory, passages, released, write_questions):
    """A small world as the pipeline's tables, in two scripts; and its questions."""
    out = tmp_path_factory.mktemp("world")
    scripts = {lang: SCRIPTS[lang] for lang in ("en", "ko", "bo")}
    generate(
        out=out,
        base="en",
        languages={lang: {"script": script} for lang, script in scripts.items()},
        questions=30,
        doses=(1, 4),
        articles=30,
        pairs=400,
        pairs_per_entity=4,
        co_mentions=0.4,
        leak_rate=0.3,
    )
    for lang in scripts:
        texts = passages(out / "corpora" / f"{lang}.jsonl.gz")
        rows = [
            {"doc_id": c[:-2], "title": "", "text": t, "source": "planted", "n_chars": len(t)} for c, t in texts.items()
        ]
        with tables.writer("documents", out / f"documents-{lang}.parquet") as write:
            for first in range(0, len(rows), 40):
                write(rows[first : first + 40])
        chunk_documents(
            documents=[out / f"documents-{lang}.parquet"], max_chars=MAX_CHARS, chunks=out / f"chunks-{lang}.parquet"
        )
    for culture in ("ko", "bo"):
        asked = {lang: released(out / "questions", culture, lang) for lang in ("en", culture)}
        write_questions(out / f"questions-{culture}.parquet", culture, asked)
    return out


def subjects_of(planted, lang, out, workers=1):
    cultures = ["ko", "bo"] if lang == "en" else [lang]
    return find_subjects(
        lang=lang,
        script=SCRIPTS[lang],
        max_chars=MAX_CHARS,
        documents=[planted / f"documents-{lang}.parquet"],
        questions={c: planted / f"questions-{c}.parquet" for c in cultures},
        out=out,
        workers=workers,
    )


def mentions_of(planted, lang, culture, subjects, out, window=1, workers=1):
    return find_mentions(
        stream=f"mono-{lang}",
        script=SCRIPTS[lang],
        window=window,
        max_chars=MAX_CHARS,
        cultures=[culture],
        texts=[planted / f"documents-{lang}.parquet"],
        column="text",
        subjects=subjects,
        out=out,
        workers=workers,
    )


@pytest.mark.parametrize(("lang", "culture", "window"), [("en", "ko", 1), ("ko", "ko", 1), ("bo", "bo", 2)])
def test_mentions_are_the_judgments_of_every_question_in_every_chunk(planted, tmp_path, lang, culture, window):
    subjects_of(planted, lang, tmp_path / "subjects.parquet")
    mentions_of(planted, lang, culture, tmp_path / "subjects.parquet", tmp_path / "mentions.parquet", window=window)
    questions = read_questions(planted / f"questions-{culture}.parquet", lang)
    chunks = tables.read(planted / f"chunks-{lang}.parquet")
    pairs = itertools.product([q.question_id for q in questions], chunks["chunk_id"])
    every = pd.DataFrame(pairs, columns=["question_id", "chunk_id"])
    asked = read_asked(tmp_path / "subjects.parquet", [culture])
    judge = CoOccurrence(SCRIPTS[lang], window=window, asked=asked)
    judged = pd.DataFrame(judge.judge(questions, every, planted / f"chunks-{lang}.parquet"))
    numbers = {name: i for i, name in enumerate(tables.read(planted / f"documents-{lang}.parquet")["doc_id"])}
    judged["piece"] = judged["chunk_id"].str.rsplit("#", n=1).str[0].map(numbers)
    stated = judged[judged["entails"] == "yes"].groupby(["question_id", "piece"]).size()
    assert len(stated) > 20
    mentions = tables.read(tmp_path / "mentions.parquet").set_index(["question_id", "piece"])
    assert mentions.loc[mentions["n_chunks"] > 0, "n_chunks"].to_dict() == stated.to_dict()
    control = judged.groupby(["question_id", "piece"])["distractor_entails"].sum()
    assert mentions["distractor_chunks"].fillna(0).loc[lambda c: c > 0].to_dict() == pytest.approx(
        control[control > 0].to_dict()
    )
    assert (mentions["n_statements"] >= mentions["n_chunks"]).all()
    assert (mentions["subject"] | mentions["object"]).all()


def test_the_number_of_workers_does_not_show(planted, tmp_path):
    for workers in (1, 2):
        subjects_of(planted, "en", tmp_path / f"subjects-{workers}.parquet", workers=workers)
        mentions_of(
            planted,
            "en",
            "bo",
            tmp_path / "subjects-1.parquet",
            tmp_path / f"mentions-{workers}.parquet",
            workers=workers,
        )
    for table in ("subjects", "mentions"):
        assert (tmp_path / f"{table}-1.parquet").read_bytes() == (tmp_path / f"{table}-2.parquet").read_bytes()


def test_a_term_that_the_corpus_lacks_shows(tmp_path, write_questions):
    text = "The king of Anna lives. "
    rows = [{"doc_id": "s/a", "title": "", "text": text, "source": "s", "n_chars": len(text)}]
    tables.write("documents", rows, tmp_path / "documents.parquet")
    options = ["Barley soup", "12", "Anna", "x"]
    asked = [
        ("The king of Zorro eats ____.", options, "Barley soup"),
        ("____", options, "12"),
        ("In the palace of Anna there lives ____.", ["Barley soup", "Anna", "x", "y"], "Anna"),
    ]
    questions = write_questions(tmp_path / "questions.parquet", "ko", {"en": asked})
    notes = find_subjects(
        lang="en",
        script="Latin",
        max_chars=100,
        documents=[tmp_path / "documents.parquet"],
        questions={"ko": questions},
        out=tmp_path / "subjects.parquet",
    )
    assert {name: n for name, n in notes.items() if n} == {
        "n_questions": 3,
        "n_without_gold": 2,
        "n_absent": 2,
        "n_by_name": 1,
        "n_by_terms": 1,
        "n_by_none": 1,
    }
    first, second, third = tables.read(tmp_path / "subjects.parquet").to_dict("records")
    assert (first["subject_rule"], list(first["terms"]), list(first["n_chunks"])) == ("name", ["zorro"], [0])
    assert (first["gold"], list(first["distractors"])) == ("Barley soup", ["Anna"])
    # Neither a number nor a word of the question itself can be told.
    assert (list(second["terms"]), isinstance(second["gold"], str)) == ([], False)
    assert not isinstance(third["gold"], str)


def test_bad_input_is_named(tmp_path, planted):
    subjects_of(planted, "ko", tmp_path / "subjects.parquet")
    with pytest.raises(InputError, match=r"subjects\.parquet: no question of culture 'bo'"):
        read_asked(tmp_path / "subjects.parquet", ["ko", "bo"])
    with pytest.raises(InputError, match="window"):
        mentions_of(planted, "ko", "ko", tmp_path / "subjects.parquet", tmp_path / "mentions.parquet", window=0)
    with pytest.raises(InputError, match=r"gone\.parquet"):
        blocks([tmp_path / "gone.parquet"])
