"""Alignment of what corresponds, in models whose alignment is planted."""

import itertools
import types

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes import mechanism
from lorebridge.probes.mechanism import encode_parallel, measure_mechanism, nearest, read_parallel, translation_gains

SYLLABLES = ["ba", "de", "fi", "go", "ku", "la"]
NAMES = list(itertools.product(SYLLABLES, repeat=2))[:24]
RELATIONS = {"r0": ("likes", "mora"), "r1": ("fears", "nelo"), "r2": ("finds", "pisu")}
OBJECTS = [f"thing{i}" for i in range(9)]
TEMPLATE = "English: {en} Korean: {xx}"


def other(word: str) -> str:
    """A word of the other language: one for each of English, but for a number."""
    return word if word.isdigit() else f"{word}x"


def write_world(folder, opaque=False):
    """Questions on 24 names in two languages, the second with its verb last, and the truth about them."""
    asked, known = [], []
    spelled = np.random.default_rng(0).permutation(len(NAMES)) if opaque else range(len(NAMES))
    for i, name in enumerate(NAMES):
        relation = f"r{i % 3}"
        own = [other(s) for s in NAMES[spelled[i]]]
        subjects = {"en": " ".join(name), "ko": " ".join(own)}
        verbs = dict(zip(("en", "ko"), RELATIONS[relation], strict=True))
        texts = {
            "en": f"{subjects['en']} {verbs['en']} ____ .",
            "ko": f"{subjects['ko']} un ____ ul {verbs['ko']} da .",
        }
        pool = [*OBJECTS[3 * (i % 3) :][:3], "1999"]
        options = [pool[(i + k) % 4] for k in range(4)]
        for lang in ("en", "ko"):
            known.append(
                {"question_id": f"ko-{i:04d}", "corpus": lang, "subject": subjects[lang], "relation": relation}
            )
            asked += [
                {
                    "question_id": f"ko-{i:04d}",
                    "lang": lang,
                    "text": texts[lang],
                    "option_index": k,
                    "option": option if lang == "en" else other(option),
                    "is_gold": k == 0,
                }
                for k, option in enumerate(options)
            ]
    for table, rows in (("questions", asked), ("truth", known)):
        blank = {name: None for name in tables.SCHEMAS[table].names if name not in rows[0]} | {"culture": "ko"}
        tables.write(table, [blank | row for row in rows], folder / f"{table}.parquet")
    return {"questions": folder / "questions.parquet", "truth": folder / "truth.parquet"}


def write_tokenizer():
    words = ["<|endoftext|>", ".", "un", "ul", "da", "1999", "English", "Korean", ":"]
    english = [*SYLLABLES, *(verb for verb, _ in RELATIONS.values()), *OBJECTS]
    verbs = dict(RELATIONS.values())
    words += [*english, *(verbs.get(word, other(word)) for word in english)]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    pairs = [(words.index(w), words.index(verbs.get(w, other(w)))) for w in english]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>"), pairs


@pytest.fixture(scope="module")
def tokenizer():
    return write_tokenizer()


@pytest.fixture(scope="module")
def parallel(tmp_path_factory):
    world = write_world(tmp_path_factory.mktemp("world"))
    return read_parallel(**world, culture="ko", base="en", n_entities=100)


def network(tokenizer, seed=0):
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    return Qwen2ForCausalLM(config).eval()


def test_parts_of_a_statement_are_found_in_any_order_of_words(parallel):
    for lang, verb in (("en", 0), ("ko", 1)):
        assert len(parallel.statements[lang]) == len(NAMES)
        for statement in parallel.statements[lang]:
            assert statement.words == {part: statement.text[slice(*at)] for part, at in statement.spans.items()}
            assert statement.words["relation"] in {words[verb] for words in RELATIONS.values()}
            assert statement.words["object"].rstrip("x") in {*OBJECTS, "1999"}
    for base, culture in zip(*parallel.statements.values(), strict=True):
        assert culture.words["subject"] == " ".join(map(other, base.words["subject"].split()))
        assert culture.words["relation"] == dict(RELATIONS.values())[base.words["relation"]]
    lexicon = {part: [s.words[part] for s in of["en"]] for part, of in parallel.lexicon.items()}
    assert {part: len(words) for part, words in lexicon.items()} == {"subject": 24, "relation": 3, "object": 9}
    assert all(len(set(words)) == len(words) for words in lexicon.values())  # and 1999, alike in both, is not there


def test_clauses_correspond_and_stand_beside_another_answer(parallel):
    for base, culture, k in zip(parallel.clauses["en"], parallel.clauses["ko"], parallel.unlike, strict=True):
        [answer] = [word for word in base.split() if word in OBJECTS or word == "1999"]
        assert f" {other(answer)} " in culture and f" {answer} " not in parallel.clauses["en"][k]


def test_one_relation_alone_has_no_word_of_its_own(tmp_path):
    world = write_world(tmp_path)
    asked = tables.read(world["questions"])
    one = asked[asked["text"].str.contains("likes|mora")]
    tables.write("questions", one, world["questions"])
    found = read_parallel(**world, culture="ko", base="en", n_entities=5)
    assert len(found.statements["ko"]) == 5 and found.lexicon["relation"] == {"en": [], "ko": []}
    tables.write("questions", one.head(4), world["questions"])
    with pytest.raises(InputError, match="asks about 0 entities"):
        read_parallel(**world, culture="ko", base="en", n_entities=5)
    truth = tables.read(world["truth"])
    tables.write("questions", asked, world["questions"])
    tables.write("truth", truth.assign(subject=truth["subject"].str.replace("ba", "xx")), world["truth"])
    with pytest.raises(InputError, match="whom the question"):
        read_parallel(**world, culture="ko", base="en", n_entities=5)


def by_place(rows, measure="nearest"):
    table = pd.DataFrame(rows)
    return table[table["measure"] == measure].set_index(["of", "position", "layer"]).sort_index()


def test_a_model_in_which_languages_are_one_is_aligned_and_a_random_one_is_not(parallel, tokenizer):
    tokenizer, pairs = tokenizer
    asked = encode_parallel(parallel, tokenizer, template=TEMPLATE)
    random = measure_mechanism(network(tokenizer), asked)
    model = network(tokenizer)
    base, own = map(list, zip(*pairs, strict=True))
    with torch.no_grad():
        model.model.embed_tokens.weight[own] = model.model.embed_tokens.weight[base]
    one = measure_mechanism(model, asked)
    assert {row["of"] for row in one} == {"embeddings", "states", "translation"}
    same, apart = by_place(one), by_place(random)
    aligned = same.loc["embeddings"]
    assert (aligned["value"] == 1).all() and (aligned["hi"] == 1).all() and aligned["lo"].between(0.2, 0.99).all()
    assert set(same.loc["embeddings"].index.get_level_values(0)) == {"subject", "relation", "object", "token of a name"}
    assert same.loc[("embeddings", "token of a name", 0), "n"] == len(SYLLABLES)
    names = apart.loc[("embeddings", "subject", 0)]
    assert names["lo"] <= names["chance"] + 0.1 and names["chance"] == 1 / 24
    # At the first layer the last syllable alone is read, which names share: none is nearest to one name alone.
    assert same.loc[("states", "subject", 0), "value"] == 0
    assert same.loc[("states", "subject", 2), "value"] == 1
    assert (apart.loc["states", "value"] < 0.25).all()
    assert (by_place(one, "margin").loc["embeddings", "lo"] > 0.5).all()
    assert by_place(random, "margin")["chance"].eq(0).all()
    assert all(row["lo"] <= row["value"] <= row["hi"] for row in [*one, *random])


def test_names_drawn_apart_have_no_tokens_that_correspond(tmp_path, tokenizer):
    world = write_world(tmp_path, opaque=True)
    asked = encode_parallel(
        read_parallel(**world, culture="ko", base="en", n_entities=100), tokenizer[0], template=TEMPLATE
    )
    assert asked.words["token of a name"] == ([], [])


class Translator:
    """Prefers, by `sure` nats, the words whose translation stands in the text before."""

    device = torch.device("cpu")

    def __init__(self, size, pairs, sure):
        self.size, self.sure = size, sure
        self.translation = dict(pairs) | {b: a for a, b in pairs}

    def __call__(self, input_ids, use_cache):
        logits = torch.zeros(*input_ids.shape, self.size)
        for row, ids in enumerate(input_ids.tolist()):
            for t in range(len(ids)):
                told = [self.translation[token] for token in ids[: t + 1] if token in self.translation]
                logits[row, t, told] = self.sure
        return types.SimpleNamespace(logits=logits)


def test_translating_in_context_is_a_gain_and_not_translating_is_none(parallel, tokenizer):
    tokenizer, pairs = tokenizer
    asked = encode_parallel(parallel, tokenizer, template=TEMPLATE)
    decoded = tokenizer.decode(asked.translated["ko->en"][0][0][0]).split()
    assert decoded[1:3] == ["Korean", ":"] and "English" in decoded[4:]  # the label goes with its half
    for direction, gains in translation_gains(Translator(len(tokenizer), pairs, 3.0), asked).items():
        assert direction in ("en->ko", "ko->en") and len(gains) == len(NAMES)
        assert gains.mean() > 0.5 and (gains > 0).mean() > 0.9
    for gains in translation_gains(Translator(len(tokenizer), pairs, 0.0), asked).values():
        np.testing.assert_allclose(gains, 0, atol=1e-6)


def test_nearest_takes_no_offset_and_no_equal_vectors_for_alignment():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 8))
    hits, margins = nearest(vectors, 3 * vectors + rng.normal(size=8) * 50)
    assert (hits == 1).all() and (margins > 0.5).all()
    hits, margins = nearest(vectors, rng.normal(size=(40, 8)))
    assert hits.mean() < 0.15 and abs(margins.mean()) < 0.2
    same = np.repeat(rng.normal(size=(1, 8)), 40, axis=0)
    assert nearest(same, vectors)[0].max() == nearest(same, same)[0].max() == 0
    twins = np.repeat(vectors[:20], 2, axis=0)
    assert nearest(twins, twins)[0].max() == 0


def test_all_aligned_is_not_aligned_for_certain():
    unseen = 1 - 0.025 ** (1 / 40)
    for value, ends in ((1.0, (1 - unseen, 1)), (0.0, (0, unseen))):
        row = mechanism._row(np.full(40, value), mechanism.NEAREST, 1 / 40)
        assert (row["lo"], row["hi"]) == pytest.approx(ends)
    row = mechanism._row(np.full(40, 0.3), mechanism.GAIN, 0.0)
    assert row["value"] == pytest.approx(0.3) and np.isnan([row["lo"], row["hi"]]).all()


def test_a_study_s_table_is_the_same_twice_and_knows_its_runs(tmp_path, make_model):
    """Read by a tokenizer that makes several tokens of a word."""
    folders = {}
    for run, step in (("ko-bridge-s0", 0), ("ko-bridge-s0", 9), ("ko-placebo-s1", 9)):
        folders[run, step] = make_model(tmp_path / run / f"step{step}", seed=step)
    said = {
        "runs": {
            "ko-bridge-s0": {"learned": "ko", "arm": "bridge", "seed": 0},
            "ko-placebo-s1": {"learned": "ko", "arm": "placebo", "seed": 1},
        },
        "checkpoints": folders,
        **write_world(tmp_path),
        "template": TEMPLATE,
    }
    by_plan = {"checkpoints": {(run, str(step)): folder for (run, step), folder in folders.items()}}  # keys of JSON
    for name, given in (("a", said), ("b", said | by_plan)):
        mechanism.mechanism(culture="ko", base="en", n_entities=10, **given, out=tmp_path / f"{name}.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    found = tables.read(tmp_path / "a.parquet")
    assert set(zip(found["run"], found["step"], found["arm"], strict=True)) == {
        ("ko-bridge-s0", 0, "bridge"),
        ("ko-bridge-s0", 9, "bridge"),
        ("ko-placebo-s1", 9, "placebo"),
    }
    last = found[found["step"] == 9].drop(columns=["run", "arm", "seed"])
    half = len(last) // 2
    pd.testing.assert_frame_equal(last[:half].reset_index(drop=True), last[half:].reset_index(drop=True))
    states = found[(found["of"] == "states") & (found["measure"] == "nearest")]
    assert len(states) == 3 * 3 * 3 and (states["n"] == 10).all()
