import pytest

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.trace.analysis import script_of
from lorebridge.trace.asked import judgeable
from lorebridge.trace.judges import judge
from lorebridge.trace.subjects import find_subjects


@pytest.fixture
def verdicts(tmp_path, write_chunks, write_questions):
    def run(texts, items, *, script, hits=None, **changes):
        """Judge every text for every question; return entails and the control by (question number, chunk)."""
        chunks = write_chunks(tmp_path / "chunks.parquet", texts)
        questions = write_questions(tmp_path / "questions.parquet", "xx", {"xx": items})
        pairs = hits or [(f"xx-{i:04d}", chunk_id) for i in range(len(items)) for chunk_id in texts]
        rows = [
            {"question_id": q, "chunk_id": c, "doc_id": c, "rank": 1, "score": 1.0, "method": "bm25"} for q, c in pairs
        ]
        tables.write("hits", rows, tmp_path / "hits.parquet")
        documents = [
            {"doc_id": c[:-2], "title": "", "text": t, "source": "s", "n_chars": len(t)} for c, t in texts.items()
        ]
        tables.write("documents", documents, tmp_path / "documents.parquet")
        find_subjects(
            lang="xx",
            script=script,
            max_chars=5000,
            documents=[tmp_path / "documents.parquet"],
            questions={"xx": questions},
            out=tmp_path / "subjects.parquet",
        )
        judge(
            **{"kind": "cooccurrence", "lang": "xx", "script": script, "hits": tmp_path / "hits.parquet"}
            | {"subjects": tmp_path / "subjects.parquet", "culture": "xx"}
            | {"chunks": chunks, "questions": questions, "out": tmp_path / "judgments.parquet"}
            | changes
        )
        rows = tables.read(tmp_path / "judgments.parquet").to_dict("records")
        return {(row["question_id"], row["chunk_id"]): row for row in rows}

    return run


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"model": "m"}, "model"),
        ({"base_url": "http://localhost"}, "base_url"),
        ({"kind": "vllm", "model": "m", "work": "w", "key_env": "KEY"}, "key_env"),
        ({"kind": "endpoint", "model": "m", "work": "w", "base_url": "b", "revision": "r"}, "revision"),
    ],
)
def test_what_a_judge_does_not_take_is_refused(tmp_path, said, named):
    files = dict.fromkeys(("hits", "chunks", "questions", "out"), tmp_path / "none")
    with pytest.raises(InputError, match=f"has no use for {named}"):
        judge(**{"kind": "cooccurrence", "lang": "xx", "script": "Latin"} | files | said)


# Common words of each script, so that the subject's words are the rare ones.
LATIN = {f"filler#{i}": "The capital of the country is a city. The river of the country is long." for i in range(5)}


def test_a_chunk_states_a_fact_where_subject_and_gold_share_a_sentence(verdicts):
    texts = LATIN | {
        "together#0": "Nothing here. The capital of Zarvia Minor is Dunte, they say.",
        "apart#0": "The capital of Zarvia Minor is a city. Dunte is long.",
        "half#0": "The capital of Zarvia is Dunte.",
        "distractor#0": "The capital of Zarvia Minor is Lorne. Dunte is the capital of Minor.",
    }
    items = [("The capital of Zarvia Minor is ____.", ["Lorne", "Dunte", "Perva", "Kanto"], "Dunte")]
    found = verdicts(texts, items, script="Latin")
    assert {chunk: row["entails"] for (_, chunk), row in found.items()} == dict.fromkeys(texts, "no") | {
        "together#0": "yes"
    }
    assert found["xx-0000", "together#0"]["probability"] == 1.0
    assert found["xx-0000", "together#0"]["distractor_entails"] == 0.0
    assert found["xx-0000", "distractor#0"]["distractor_entails"] == pytest.approx(1 / 3)
    assert {row["judge"] for row in found.values()} == {"cooccurrence"}
    wider = verdicts(texts, items, script="Latin", window=2)
    assert [chunk for (_, chunk), row in wider.items() if row["entails"] == "yes"] == [
        "together#0",
        "apart#0",
        "distractor#0",
    ]


@pytest.mark.parametrize(
    ("script", "filler", "stated", "unstated", "question", "options"),
    [
        (
            "Hangul",
            "나라의 강은 길다. 사람은 밥을 먹는다.",
            "빈수군은 너곤루를 손수 먹는다.",
            "빈수군은 강을 손수 먹는다. 너곤루다.",
            "빈수군은 ____을 손수 먹는다.",
            ["너곤루", "러도건", "하본", "마전"],
        ),
        (
            "Han",
            "他在那里看山。人在水上。",
            "漢族的起源是中原地區。",
            "汉族的起源。中原地区在那里。",
            "汉族的起源是____。",
            ["中原地区", "呼和浩特", "赤峰", "草原"],
        ),
        (
            "Tibetan",
            "ཆུ་ནི་རིང་པོ་ཡིན། མི་ནི་མང་པོ་ཡོད།",
            "བླ་སྤྲུལ་གྱི་མདུན་དུ་ཁང་མིང་ཡོད།",
            "བླ་སྤྲུལ་གྱི་མདུན། ཁང་མིང་ཡོད།",
            "བླ་སྤྲུལ་གྱི་མདུན་དུ་______ཡོད།",
            ["ཁང་མིང", "གླ་བ", "དབུས་པ", "ཇ་མ"],
        ),
        (
            "Mongolian",
            "ᠭᠣᠣᠯ ᠤᠷᠲᠤ ᠪᠠᠶᠢᠨᠠ ᠃ ᠬᠦᠮᠦᠨ ᠪᠠᠶᠢᠨᠠ ᠃",
            "ᠪᠠᠳᠠᠢ ᠵᠢᠷᠠᠨ ᠤ ᠲᠡᠭᠷᠢ ᠶᠢᠨ ᠴᠥᠯ ᠪᠠᠶᠢᠨᠠ ᠃",
            "ᠪᠠᠳᠠᠢ ᠵᠢᠷᠠᠨ ᠃ ᠲᠡᠭᠷᠢ ᠃",
            "ᠪᠠᠳᠠᠢ ᠵᠢᠷᠠᠨ ______ ᠪᠠᠶᠢᠨ\u180eᠠ ᠃",
            ["ᠲᠡᠭᠷᠢ", "ᠬᠥᠪᠴᠢ", "ᠲᠠᠺᠠᠯ", "ᠣᠷᠳᠣ"],
        ),
    ],
)
def test_each_script_finds_its_subject_and_gold(verdicts, script, filler, stated, unstated, question, options):
    texts = {f"filler#{i}": filler for i in range(5)} | {"stated#0": stated, "unstated#0": unstated}
    found = verdicts(texts, [(question, options, options[0])], script=script)
    assert [chunk for (_, chunk), row in found.items() if row["entails"] == "yes"] == ["stated#0"]


@pytest.mark.parametrize(
    ("lang", "script"), [("en", "Latin"), ("ko", "Hangul"), ("zh", "Han"), ("bo", "Tibetan"), ("mn", "Mongolian")]
)
def test_a_real_question_filled_with_its_gold_states_the_fact(
    data, released, passages, verdicts, tmp_path, lang, script
):
    """So does not the same sentence with a distractor in its place; and the same bytes come twice."""
    items = released(data / "probes", "bo" if lang == "en" else lang, lang)[:150]
    texts = passages(data / "corpora" / f"{lang}.jsonl.gz", limit=100)
    stated = {f"planted/{i}#0": script_of(script).fill(text, gold) for i, (text, _, gold) in enumerate(items)}
    hits = [(f"xx-{i:04d}", chunk_id) for i, chunk_id in enumerate(stated)]
    found = verdicts(texts | stated, items, script=script, hits=hits)
    told = [row for row in found.values() if row["entails"] != "indeterminate"]
    assert len(told) >= 0.8 * len(items)
    assert sum(row["entails"] == "yes" for row in told) >= 0.9 * len(told)
    assert sum(row["distractor_entails"] > 0 for row in told) <= 0.1 * len(told)
    first = (tmp_path / "judgments.parquet").read_bytes()
    verdicts(texts | stated, items, script=script, hits=hits)
    assert (tmp_path / "judgments.parquet").read_bytes() == first


@pytest.mark.parametrize(
    ("option", "text", "script", "can"),
    [
        ("1487", "Founded in ____.", "Latin", False),
        ("the year 1487", "Founded in ____.", "Latin", True),
        ("四", "共有____章", "Han", False),
        ("四章", "共有____", "Han", True),
        ("པ", "མི་____།", "Tibetan", False),
        ("བོད", "མི་____།", "Tibetan", True),
        ("song", "The national Song is ____.", "Latin", False),
        ("songs", "The national song is ____.", "Latin", True),
        ("。。", "汉族____", "Han", False),
        (None, "汉族____", "Han", False),
    ],
)
def test_what_can_be_judged(option, text, script, can):
    assert judgeable(option, text, script_of(script)) is can


def test_what_cannot_be_judged_is_indeterminate_and_its_control_is_not(verdicts):
    items = [
        ("The capital of Ostria Magna has ____ gates.", ["12", "Lorne", "Perva", "9"], "12"),
        ("The capital of Zarvia Minor is ____.", ["Lorne", "Perva"], "Dunte"),
        ("____", ["Lorne", "Perva"], "Lorne"),
        ("The capital of Zarvia Minor is ____.", ["Lorne", "12"], "Lorne"),
    ]
    texts = LATIN | {"text#0": "The capital of Zarvia Minor and Ostria Magna has 12 gates, Lorne among them."}
    found = verdicts(texts, items, script="Latin")
    of_text = [found[f"xx-{i:04d}", "text#0"] for i in range(4)]
    assert [row["entails"] for row in of_text] == ["indeterminate", "indeterminate", "indeterminate", "yes"]
    assert [row["probability"] for row in of_text[:3]] == pytest.approx([float("nan")] * 3, nan_ok=True)
    controls = [row["distractor_entails"] for row in of_text]
    # Lorne of Lorne and Perva; Lorne of Lorne and Perva; no subject; no distractor that can be judged.
    assert controls == pytest.approx([0.5, 0.5, float("nan"), float("nan")], nan_ok=True)


def test_a_subject_that_the_corpus_does_not_know_is_nowhere_stated(verdicts):
    """The fact's other words must not stand in for a name that no document holds."""
    texts = LATIN | {"text#0": "The capital of the country by the river is Dunte."}
    items = [("The capital of Zarvia by the river is ____.", ["Dunte", "Lorne"], "Dunte")]
    assert {row["entails"] for row in verdicts(texts, items, script="Latin").values()} == {"no"}


def test_words_of_the_options_are_no_subject(verdicts):
    """Otherwise the gold would be its own subject, or a distractor's."""
    texts = LATIN | {"text#0": "The Zarvia palace is a long way off."}
    items = [("In Zarvia the palace is called ____.", ["Zarvia house", "Palace of Lorne"], "Zarvia house")]
    found = verdicts(texts, items, script="Latin")
    assert found["xx-0000", "text#0"]["entails"] == "no"


def test_bad_input_names_the_place(verdicts):
    items = [("The capital of Zarvia Minor is ____.", ["Dunte", "Lorne"], "Dunte")]
    with pytest.raises(InputError, match="'oracle' is not a judge"):
        verdicts(LATIN, items, script="Latin", kind="oracle")
    with pytest.raises(InputError, match="window: 0"):
        verdicts(LATIN, items, script="Latin", window=0)
    with pytest.raises(InputError, match=r"chunks\.parquet: lacks 1 chunks .*gone#7"):
        verdicts(LATIN, items, script="Latin", hits=[("xx-0000", "gone#7")])
    with pytest.raises(InputError, match=r"chunks\.parquet: holds no chunk"):
        verdicts({}, items, script="Latin", hits=[("xx-0000", "filler#0")])
    with pytest.raises(InputError, match=r"hits\.parquet: has hits of unknown questions .*xx-0009"):
        verdicts(LATIN, items, script="Latin", hits=[("xx-0009", "filler#0")])
