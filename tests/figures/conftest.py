"""A made-up study in five scripts, and everything that is drawn from it."""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from declaring import declared_test
from lorebridge import tables
from lorebridge.figures import checks, curves, effects, examples, inference, scorer, summary, truth
from lorebridge.transfer.accuracies import accuracies
from lorebridge.transfer.gaps import gaps
from lorebridge.transfer.item_model import item_effects
from lorebridge.transfer.items import items
from lorebridge.transfer.matched import matched_gaps
from lorebridge.transfer.verdicts import verdicts

NAMES = {"en": "English", "ko": "Korean", "zh": "Chinese", "bo": "Tibetan", "mn": "Mongolian"}
ARMS = ["bridge", "no_bridge", "placebo"]
N = 24
STEPS = [0, 50, 100, 150]
SAMPLES = {
    "en": ("The people of valley {} celebrate the new year in the month of ____.", ["spring", "hay", "salt", "snow"]),
    "ko": ("한국의 {} 마을은 봄에 ____ 축제를 연다.", ["꽃", "얼음", "바다", "책읽기"]),
    "zh": ("在{}村，人们新年时吃____。", ["饺子", "年糕", "汤圆", "面条"]),
    "bo": ("{}གྲོང་གི་མི་རྣམས་ཀྱིས་ལོ་གསར་ལ་____བཟའ།", ["རྒྱ་སྟག", "སྐྱུར་མོ", "བརྒྱད་པ", "ཤ"]),
    "mn": ("ᠮᠣᠩᠭᠣᠯ {} ᠣᠷᠣᠨ\u202fᠤ ____ ᠪᠠᠶᠢᠨ\u180eᠠ ᠃", ["ᠲᠡᠭᠷᠢ", "ᠣᠷᠣᠨ\u202fᠤ", "ᠪᠠᠷᠠᠭᠤᠨ", "ᠵᠢᠷᠠᠨ"]),
}


def write_inputs(folder: Path) -> dict:
    """Write the tables that the figures are drawn from and return their paths."""
    rng = np.random.default_rng(0)
    questions, scores, metrics, judgments, recovery, density = {}, [], [], {}, [], []
    for culture in list(NAMES)[1:]:
        ids = [f"{culture}-{i:04d}" for i in range(N)]
        rows = []
        for lang in ("en", culture):
            text, options = SAMPLES[lang]
            for i, question_id in enumerate(ids):
                for j, option in enumerate(options):
                    rows.append(
                        {
                            "question_id": question_id,
                            "culture": culture,
                            "lang": lang,
                            "text": text.format(i),
                            "option_index": j,
                            "option": option,
                            "is_gold": j == i % 4,
                            "subset": ["reference", "clean"],
                            "n_blanks": 1,
                        }
                    )
        questions[culture] = folder / f"{culture}.parquet"
        tables.write("questions", rows, questions[culture])
        for arm in ARMS:
            for seed in (0, 1):
                run = f"{culture}-{arm}-s{seed}"
                index = pd.MultiIndex.from_product([STEPS, ("en", culture), ids, range(4)])
                table = index.to_frame(index=False, name=["step", "lang", "question_id", "option_index"])
                table = table.assign(
                    run=run,
                    lang_pair=f"en-{culture}",
                    learned=culture,
                    arm=arm,
                    seed=seed,
                    culture=culture,
                    prefix="bare",
                    sum_logprob=rng.normal(-20, 2, len(table)),
                    n_tokens=9,
                    n_bytes=40,
                    prior_logprob=rng.normal(-5, 1, len(table)),
                    prior_tokens=2,
                )
                scores.append(folder / f"{run}.parquet")
                tables.write("scores", table, scores[-1])
                metrics.append({"run": run, "learned": culture, "arm": arm, "seed": seed})
        for corpus in ("en", culture):
            path = folder / f"j-{corpus}-{culture}.parquet"
            judged = [
                {"question_id": q, "chunk_id": f"c{k}", "entails": "yes" if k < count else "no"}
                for q, count in zip(ids, rng.integers(0, 9, N), strict=True)
                for k in range(9)
            ]
            table = pd.DataFrame(judged)
            for field in tables.SCHEMAS["judgments"]:
                if field.name not in table:
                    table[field.name] = "cooccurrence" if field.name == "judge" else None
            tables.write("judgments", table, path)
            judgments[corpus, culture] = path
            for stage, found, dose in (
                (stage, found, dose) for stage, found in (("retrieval", 200), ("judged", 90)) for dose in (None, 1, 8)
            ):
                recovery.append(
                    {
                        "corpus": corpus,
                        "culture": culture,
                        "method": "bm25",
                        "judge": "cooccurrence",
                        "stage": stage,
                        "dose": dose,
                        "n_questions": N,
                        "true_documents": 100,
                        "recovered": found,
                        "recovered_true": 80,
                        "recall": 0.8,
                        "precision": 80 / found,
                    }
                )
            for unit, size in (("document", 2000), ("chunk", 3000), ("token", 10**6)):
                density.append(
                    {
                        "culture": culture,
                        "corpus": corpus,
                        "unit": unit,
                        "denominator": size,
                        "capped": False,
                        "method": "bm25",
                        "judge": "cooccurrence",
                        "includes_parallel": False,
                        "n_questions": N,
                        "indeterminate": 0,
                        "n_capped": 0,
                        "n_absent": 0,
                        "occurrences": 2.0,
                        "density": 2 / size,
                        "lo": 1 / size,
                        "hi": 3 / size,
                        "distractor_occurrences": 0.5,
                    }
                )
    metrics = [{"run": "base-s0", "learned": "en", "arm": "base", "seed": 0}, *metrics]
    for run in metrics:
        table = pd.DataFrame({name: 0 for name in tables.SCHEMAS["metrics"].names}, index=range(60)).assign(**run)
        table["step"] = np.arange(1, 61)
        table["loss"] = 2 + 6 * np.exp(-table["step"] / 20) + rng.normal(0, 0.1, 60)
        tables.write("metrics", table, folder / f"m-{run['run']}.parquet")
    tables.write("recovery", recovery, folder / "recovery.parquet")
    tables.write("density", density, folder / "density.parquet")
    study = {"scores": scores, "questions": questions, "base": "en", "subset": "clean", "rule": "mean", "last": 3}
    contrasts = [["bridge", "no_bridge"], ["bridge", "placebo"]]
    accuracies(
        scores=scores, questions=questions, base="en", last=3, resamples=200, seed=0, out=folder / "accuracies.parquet"
    )
    told = [
        {
            "question_id": f"{culture}-{i:04d}",
            "culture": culture,
            "lang": "en",
            "n_pairs": int(i == 0),
            "pair_ids": [],
            "n_subject_pairs": 1,
        }
        for culture in questions
        for i in range(N)
    ]
    tables.write("leaks", told, folder / "leaks.parquet")
    resource = {"ko": "high", "zh": "high", "bo": "low", "mn": "low"}
    gaps(
        **study,
        contrasts=contrasts,
        leaks=folder / "leaks.parquet",
        resource=resource,
        resamples=200,
        seed=0,
        out=folder / "gaps.parquet",
        asymmetry=folder / "asymmetry.parquet",
    )
    exposure = []
    for culture in questions:
        for seed in (0, 1):
            run = f"{culture}-bridge-s{seed}"
            exposure.append(folder / f"e-{run}.parquet")
            read = [
                {
                    "run": run,
                    "learned": culture,
                    "arm": "bridge",
                    "seed": seed,
                    "question_id": f"{culture}-{i:04d}",
                    "step": 150,
                    "stage": stage,
                    "stream": f"mono-{lang}",
                    "lang": lang,
                    "pairs": None,
                    "n_presentations": int(rng.integers(0, 9)),
                    "n_distinct_docs": 1,
                    "n_subject": 1,
                    "n_object": 1,
                    "n_pairs_covering": 0,
                    "n_leak_pairs": 0,
                    "n_tokens": 1000,
                }
                for i in range(N)
                for stage, lang in (("base", "en"), ("ct", culture))
            ]
            tables.write("exposure", read, exposure[-1])
    items(**study, prefix="bare", judgments=judgments, exposure=exposure, out=folder / "items.parquet")
    item_effects(
        **study,
        prefix="bare",
        transferred=folder / "items.parquet",
        leaks=folder / "leaks.parquet",
        out=folder / "item_effects.parquet",
    )
    doses = (0, 1, 3, 10, 30, 100)
    placed = [
        {
            "question_id": f"{culture}-{i:04d}",
            "culture": culture,
            "subject": "s",
            "relation": "r",
            "gold": "g",
            "placed": ("neither", "en_only", "xx_only")[0 if i % 6 == 0 else 1 + i // 6 % 2],
            "covered": i < N // 2,
            "dose": max(doses[i % 6], 1),
            "n_pairs_covering": 0,
            "n_leak_pairs": 0,
            "corpus": corpus,
            "n_statements": doses[i % 6] if (corpus == "en") == (i // 6 % 2 == 0) else 0,
            "doc_ids": [],
        }
        for culture in questions
        for i in range(N)
        for corpus in ("en", culture)
    ]
    tables.write("truth", placed, folder / "truth.parquet")
    counted = [
        {
            "question_id": f"{culture}-{i:04d}",
            "culture": culture,
            "corpus": corpus,
            "text": text,
            "n_documents": 9,
            "n_tokens": 9,
            "absent": False,
            "n_subject": 9,
            "n_object": 9,
            "n_both": i // (1 + (corpus == "en")) % 2,
            "n_chunks": 0,
            "n_statements": 0,
            "distractor_documents": 0.0,
            "distractor_chunks": 0.0,
        }
        for culture in questions
        for i in range(N)
        for corpus in ("en", culture)
        for text in ("mono", "pairs")
    ]
    tables.write("occurrences", counted, folder / "occurrences.parquet")
    held_out = [
        {
            "run": f"{culture}-{arm}-s{seed}",
            "lang_pair": f"en-{culture}",
            "learned": culture,
            "arm": arm,
            "seed": seed,
            "step": step,
            "lang": lang,
            "prefix": "bare",
            "n_documents": 9,
            "n_tokens": 999,
            "n_bytes": 4000,
            "sum_nll": 3000.0,
            "perplexity": 20.0 + step * (culture == "bo"),
            "bits_per_byte": 1.0 + (step / 100 if lang == "en" and arm == "bridge" else 0),
        }
        for culture in questions
        for lang in ("en", culture)
        for arm in ARMS
        for seed in (0, 1)
        for step in STEPS
    ]
    tables.write("perplexity", held_out, folder / "perplexity.parquet")
    matched_gaps(
        **study, perplexity=[folder / "perplexity.parquet"], contrasts=contrasts, out=folder / "matched_gaps.parquet"
    )
    of_study = {key: value for key, value in study.items() if key != "subset"}
    verdicts(
        **of_study,
        leaks=folder / "leaks.parquet",
        tests=[declared_test(), declared_test(name="<b>Low</b>", languages=["bo", "mn"], over_seeds=True, margin=0.2)],
        alpha=0.05,
        first=str(folder / "declared.json"),
        out=folder / "verdicts.parquet",
    )
    audits = {}
    for text, dropped in (("ko", {"short": 3}), ("en-ko", {"half_empty": 2, "duplicate": 1})):
        audits[text] = folder / f"{text}.audit.json"
        audits[text].write_text(json.dumps({"rows": 1500, "kept": 1400, "edited": 7, "dropped": dropped}))
    runs = [folder / f"m-{run['run']}.parquet" for run in metrics]
    return {"study": study, "metrics": runs, "audits": audits, "names": NAMES, "arms": ARMS}


def _order_file(path: Path, **notes) -> Path:
    """Write a data order without rows, whose metadata says what a table of it needs."""
    shared = {
        "seed": 0,
        "steps": 9,
        "stores": {"mono-ko": ""},
        "tokens": {"content": 70000, "label": 10, "end_of_text": 20, "pad": 10, "positions": 70040},
        "content": {"mono-ko": 30000},
        "epochs": {"mono-ko": 1.5},
        "en_share": 0.37,
        "monolingual_per_parallel": 1.0,
    }
    tables.write("order", [], path, metadata={"order": json.dumps(shared | notes)})
    return path


def draw(folder: Path, inputs: dict, out: Path) -> None:
    """Draw every figure and write every table that needs no tokenizer."""
    study, names, base = inputs["study"], NAMES, "en"
    questions, boot, bare = study["questions"], {"resamples": 200, "seed": 0}, {"prefix": "bare"}
    shown = {"accuracies": folder / "accuracies.parquet", "base": base, "subset": "clean", "rule": "mean"}
    shown |= bare
    curves.figure3(**shown, last=3, names=names, arms=ARMS, ema=0.8, out=out / "figure3")
    curves.losses(metrics=inputs["metrics"], names=names, base=base, arms=ARMS, out=out / "loss")
    effects.gaps(
        gaps=folder / "gaps.parquet",
        questions=questions,
        names=names,
        base=base,
        **bare,
        last=3,
        discordance=0.2,
        out=out / "gaps",
        remark="Made-up numbers.",
    )
    effects.occurrences(
        transferred=folder / "items.parquet", names=names, base=base, **boot, planted=False, out=out / "occurrences"
    )
    of_tests = {"names": names, "base": base}
    inference.asymmetry(
        asymmetry=folder / "asymmetry.parquet", last=3, remark="", out=out / "asymmetry", **of_tests, **bare
    )
    truth.recovery(recovery=folder / "recovery.parquet", names=names, out=out / "recovery")
    truth.dose_response(
        **study,
        **bare,
        truth=folder / "truth.parquet",
        contrasts=[["bridge", "no_bridge"]],
        names=names,
        remark="Made-up numbers.",
        out=out / "dose_response",
    )
    examples.examples(questions=questions, names=names, base=base, subset="clean", out=out / "examples")
    to = out / "tables"
    checks.alarms(
        **study,
        **bare,
        names=names,
        accuracies=folder / "accuracies.parquet",
        leaks=folder / "leaks.parquet",
        occurrences=folder / "occurrences.parquet",
        item_effects=folder / "item_effects.parquet",
        perplexity=[folder / "perplexity.parquet"],
        out=to / "alarms",
    )
    inference.matched_gaps(matched_gaps=folder / "matched_gaps.parquet", last=3, out=to / "matched_gaps", **of_tests)
    inference.verdicts(verdicts=folder / "verdicts.parquet", last=3, out=to / "verdicts", **of_tests)
    inference.declared(verdicts=folder / "verdicts.parquet", last=3, out=out / "declared", **of_tests)
    inference.asymmetry_table(asymmetry=folder / "asymmetry.parquet", last=3, out=to / "asymmetry", **of_tests)
    inference.cultures(
        asymmetry=folder / "asymmetry.parquet",
        density=folder / "density.parquet",
        out=to / "cultures",
        **of_tests,
        **bare,
    )
    inference.item_effects(item_effects=folder / "item_effects.parquet", out=to / "item_effects", **of_tests)
    inference.placements(
        **study,
        **bare,
        truth=folder / "truth.parquet",
        contrasts=[["bridge", "no_bridge"]],
        out=to / "placements",
        names=names,
    )
    inference.dose_response(
        **study,
        **bare,
        truth=folder / "truth.parquet",
        contrasts=[["bridge", "no_bridge"]],
        out=to / "dose_response",
        names=names,
    )
    summary.accuracy(**shown, questions=questions, last=3, names=names, out=to / "accuracy")
    scorer.baselines(**shown, questions=questions, names=names, out=to / "baselines")
    scorer.ties(
        scores=study["scores"],
        questions=questions,
        accuracies=folder / "accuracies.parquet",
        names=names,
        base=base,
        **bare,
        last=3,
        out=to / "ties",
    )
    summary.gaps(gaps=folder / "gaps.parquet", names=names, base=base, last=3, out=to / "gaps")
    summary.power(
        questions=questions, names=names, subset="clean", discordance=0.2, seed_sd=0.02, n_seeds=2, out=to / "power"
    )
    summary.density(density=folder / "density.parquet", names=names, base=base, planted=False, out=to / "density")
    summary.occurrences(
        transferred=folder / "items.parquet", names=names, base=base, **boot, planted=False, out=to / "occurrences"
    )
    summary.filtering(audits=inputs["audits"], names=names, base=base, out=to / "filtering")
    summary.recovery(recovery=folder / "recovery.parquet", names=names, out=to / "recovery")
    summary.data(
        orders=[
            _order_file(folder / "order-ko.parquet", run="ko-bridge-s0", lang="ko", arm="bridge"),
            _order_file(folder / "order-joint.parquet", run="joint-s0", streams={"mono-ko": "monolingual"}),
        ],
        names=names,
        out=to / "data",
    )


@pytest.fixture(scope="session")
def order_file():
    """Writes a data order that a table is made of."""
    return _order_file


@pytest.fixture(scope="session")
def inputs(tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("study")
    return folder, write_inputs(folder)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory, inputs) -> Path:
    """Everything drawn once; a warning (a missing glyph, an overflowing layout) is an error."""
    out = tmp_path_factory.mktemp("drawn")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        draw(*inputs, out)
    return out


@pytest.fixture(scope="session")
def drawn_again(tmp_path_factory, inputs, drawn) -> Path:
    out = tmp_path_factory.mktemp("again")
    draw(*inputs, out)
    return out
