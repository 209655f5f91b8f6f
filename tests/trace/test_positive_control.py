"""The positive control: what parallel text states outright must show, or the instrument could not see a bridge.

Sizes were set on what the arm with the leaks alone memorises, before the other arm was trained.
"""

from __future__ import annotations

import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.probes.scoring import score_run
from lorebridge.tokens.order import draw_order
from lorebridge.tokens.store import build_store
from lorebridge.tokens.tokenizer import train_tokenizer
from lorebridge.trace.mentions import find_mentions
from lorebridge.trace.subjects import find_subjects
from lorebridge.train.loop import train
from lorebridge.transfer.contrasts import ALL, by_culture, form
from lorebridge.transfer.credits import load
from lorebridge.transfer.inference import infer
from lorebridge.world.planting import generate

SCRIPTS = {"en": "Latin", "ko": "Hangul"}
HALVES = {"pairs-ko-en": ("en", "en"), "pairs-ko-xx": ("ko", "xx")}
ARMS = ["bridge_leak_only", "bridge_leak_free"]
STEPS = 300


@pytest.fixture(scope="module")
def text(tmp_path_factory, passages, released, write_questions):
    """A world whose pairs state every fact that they cover, up to what an order is drawn from."""
    root = tmp_path_factory.mktemp("leaking")
    generate(
        out=root,
        base="en",
        languages={lang: {"script": script} for lang, script in SCRIPTS.items()},
        seed=3,
        questions=40,
        doses=(1,),
        articles=10,
        pairs=280,
        pairs_per_entity=10,
        relations=4,
        relation_coverage=0.5,
        entity_coverage=0.3,
        leak_rate=1.0,
    )
    for lang in SCRIPTS:
        rows = [
            {"doc_id": c[:-2], "title": "", "text": t, "source": "planted", "n_chars": len(t)}
            for c, t in passages(root / "corpora" / f"{lang}.jsonl.gz").items()
        ]
        tables.write("documents", rows, root / f"{lang}.parquet")
    pairs = pd.read_json(root / "parallel" / "en-ko.jsonl.gz", lines=True).rename(columns={"ko": "xx"})
    tables.write("pairs", pairs.assign(pair_id=[f"planted/{i}" for i in range(len(pairs))]), root / "pairs.parquet")
    train_tokenizer(
        tables=[(lang, "text", root / f"{lang}.parquet") for lang in SCRIPTS],
        vocab_size=700,
        bytes_per_group=60_000,
        out=root / "tokenizer",
    )
    asked = {lang: released(root / "questions", "ko", lang) for lang in SCRIPTS}
    write_questions(root / "questions.parquet", "ko", asked)
    for lang, script in SCRIPTS.items():
        find_subjects(
            lang=lang,
            script=script,
            max_chars=5000,
            documents=[root / f"{lang}.parquet"],
            questions={"ko": root / "questions.parquet"},
            out=root / f"subjects-{lang}.parquet",
        )
    build_store(tables=[root / "ko.parquet"], column="text", tokenizer=root / "tokenizer", out=root / "mono-ko")
    for stream, (lang, column) in HALVES.items():
        build_store(tables=[root / "pairs.parquet"], column=column, tokenizer=root / "tokenizer", out=root / stream)
        find_mentions(
            stream=stream,
            script=SCRIPTS[lang],
            window=1,
            max_chars=5000,
            cultures=["ko"],
            texts=[root / "pairs.parquet"],
            column=column,
            subjects=root / f"subjects-{lang}.parquet",
            out=root / f"{stream}.mentions.parquet",
        )
    return root


def score(root, arm):
    """Train an arm from the weights that both begin with, and score its first and last checkpoint."""
    stores = {stream: root / stream for stream in ("mono-ko", *HALVES)}
    draw_order(
        run=f"ko-{arm}-s0",
        lang="ko",
        arm=arm,
        seed=0,
        steps=STEPS,
        sequence_length=128,
        batch_tokens=1024,
        packing="isolated",
        template="English: {en} Korean: {xx}",
        label_tokens=18,
        stores=stores,
        pairs=root / "pairs.parquet",
        mentions=[root / f"{stream}.mentions.parquet" for stream in HALVES],
        tokenizer=root / "tokenizer",
        out=root / f"{arm}.parquet",
    )
    train(
        run=arm,
        learned="ko",
        arm=arm,
        model={
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 128,
            "rope_theta": 1e6,
            "tie_word_embeddings": True,
            "max_position_embeddings": 128,
            "vocab_size": None,
        },
        optimizer={"betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1, "clip": 1.0},
        schedule={"lr": 5e-3, "min_lr": 5e-4, "schedule": "cosine", "warmup_ratio": 0.05},
        precision="float32",
        seed=0,
        steps=STEPS,
        checkpoint_steps=[0, STEPS],
        packing="isolated",
        zero_stage=0,
        checkpoint_dtype="float32",
        order=root / f"{arm}.parquet",
        stores=stores,
        tokenizer=root / "tokenizer",
        init_from=None,
        out=root / arm,
        work=root / "work" / arm,
        recipe="0" * 16,
        micro_batch=8,
        budget_seconds=None,
        resume_interval=STEPS,
        threads=1,
    )
    score_run(
        run=f"ko-{arm}-s0",
        lang_pair="en-ko",
        learned="ko",
        arm=arm,
        seed=0,
        questions=[root / "questions.parquet"],
        checkpoints=[(step, root / arm / f"step{step}") for step in (0, STEPS)],
        out=root / f"{arm}.scores.parquet",
        batch_tokens=4096,
        threads=1,
    )
    return root / f"{arm}.scores.parquet"


@pytest.mark.slow
def test_the_instrument_sees_what_the_pairs_state(text):
    """Facts that only the leaking pairs state are answered by the arm that reads these alone, and by no other."""
    scores = [score(text, arm) for arm in ARMS]
    truth = tables.read(text / "truth.parquet").set_index("question_id")
    credits = load(
        scores=scores,
        questions={"ko": text / "questions.parquet"},
        base="en",
        subset="reference",
        rule="mean",
        prefix="bare",
        last=1,
    )
    contrasts = [c for c in form(by_culture(credits), base="en", contrasts=[ARMS], last=1) if c.known is not None]
    found = {}
    for contrast in contrasts:
        for covered in (True, False):
            some = contrast.without(set(truth.index[truth["covered"] != covered]))
            gap = found[contrast.direction, covered] = infer([some.sample(ALL)], [1.0])
            with_leaks, without = (credits.mean() for credits in some.final())
            print(
                f"{contrast.direction}, {'' if covered else 'not '}covered, n = {len(some.questions)}: "
                f"{with_leaks:.2f}, {without:.2f}, gap {gap.estimate:.2f} [{gap.lo:.2f}, {gap.hi:.2f}]"
            )
    for direction in ("en->xx", "xx->en"):
        assert found[direction, True].lo > 0
        assert found[direction, False].lo < 0 < found[direction, False].hi
