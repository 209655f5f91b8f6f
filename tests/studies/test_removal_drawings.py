"""What a study of removal draws and says, of invented answers with planted differences; and the paper's numbers."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lorebridge import tables
from lorebridge.studies.removal import drawings, page, rows
from lorebridge.studies.removal.published import PRINTED
from lorebridge.transfer.qa_power import qa_power
from lorebridge.transfer.removal import accuracies, correlations, equivalences
from lorebridge.transfer.removal_alarms import FLOOR, NOWHERE, STILL_STATED, removal_alarms

NAMES = {"en": "English", "hi": "Hindi"}
LEVELS = ("f0", "f1", "f2", "f3", "f4", "stated", "again")
MARGIN = {"em_folded": 0.1, "correct": 0.1}
CONFIG = {
    "languages": {lang: {"name": name} for lang, name in NAMES.items()},
    "base_language": "en",
    "inference": {"margin": MARGIN, "alpha": 0.05},
    "removal": {"target": "hi", "levels": list(LEVELS[:-1]), "again": True},
    "qa": {"tasks": ["open", "mcq"]},
    "seeds": [0, 1],
}


def qa_rows(n):
    found = []
    for split in ("test", "both", "neither"):
        for i in range(n):
            name = f"{split}-{i:03d}"
            said = {
                "question_id": name,
                "split": split,
                "page_id": None if split == "neither" else f"{split}-{i // 2}",
                "title": name,
                "question": f"{name}?",
                "answers": [name],
                "negatives": ["a", "b", "c"],
                "context": "",
            }
            found += [{**said, "lang": lang} for lang in NAMES]
    return found


def chance(level, lang, split, task, tuned):
    """Hindi loses the test's facts by level, and a share crosses; untuned, answers are right by chance."""
    base = 0.25 if task == "mcq" else 0.02
    known = {"test": 0.75, "both": 0.8, "neither": base}[split]
    if lang == "hi" and split == "test":
        known = {"f1": 0.7, "f2": 0.55, "f3": 0.55, "f4": 0.5, "stated": 0.35}.get(level, known)
    return known if tuned else base


def write_study(folder, n=80):
    """Write all tables of an invented study; return them by name."""
    rng = np.random.default_rng(3)
    lucks = {(row["question_id"], row["lang"], seed): rng.random() for row in qa_rows(n) for seed in (0, 1)}
    questions, scores, models = qa_rows(n), [], []
    of = {name: folder / f"{name}.parquet" for name in ("qa", "qa_scores", "qa_overlap", "qa_baselines")}
    for task in ("open", "mcq"):
        for level in LEVELS:
            for seed in (0, 1):
                run = f"{level}-{task}-s{seed}"
                for tuned, step in ((None, 0), (task, 5))[task == "mcq" :]:
                    models.append({"run": run, "level": level, "seed": seed, "tuned": tuned, "step": step})
                    for row in questions:
                        luck = lucks[row["question_id"], row["lang"], seed]
                        luck = rng.random() if rng.random() < 0.1 else luck
                        known = chance(level, row["lang"], row["split"], task, tuned)
                        right = float(luck < known)
                        letters = dict.fromkeys(("em_strict", "f1_strict", "em_folded", "f1_folded"), right)
                        scores.append(
                            {
                                "model": run,
                                "step": step,
                                "task": task,
                                "rule": "generated",
                                **{key: row[key] for key in ("question_id", "lang", "split")},
                                "answer": "",
                                **(letters if task == "open" else dict.fromkeys(letters)),
                                "correct": right,
                            }
                        )
    kept = [{key: row[key] for key in ("question_id", "lang", "split")} for row in questions]
    overlap = [{**row, "n_train": int(i % 5 == 0), "overlaps": i % 5 == 0} for i, row in enumerate(kept)]
    shared = [(lang, split) for lang in NAMES for split in ("test", "both", "neither")]
    baselines = [
        {"task": "open", "lang": lang, "split": split, "baseline": "shuffled answers", "metric": "em_folded"}
        | {"value": 0.01, "n_questions": n}
        for lang, split in shared
    ]
    baselines += [
        {"task": "mcq", "lang": lang, "split": split, "baseline": "chance", "metric": "correct"}
        | {"value": 0.25, "n_questions": n}
        for lang, split in shared
    ]
    for name, found in (("qa", questions), ("qa_scores", scores), ("qa_overlap", overlap), ("qa_baselines", baselines)):
        tables.write(name, pd.DataFrame(found)[tables.SCHEMAS[name].names], of[name])
    made = {
        name: folder / f"{name}.parquet"
        for name in ("equivalence", "qa_accuracy", "qa_correlation", "qa_power", "filter_sizes", "removal_alarms")
    }
    shared = {"scores": [of["qa_scores"]], "models": models, "qa": of["qa"], "base": "en"}
    equivalences(**shared, overlap=of["qa_overlap"], margin=MARGIN, alpha=0.05, out=made["equivalence"])
    accuracies(**shared, overlap=of["qa_overlap"], resamples=200, seed=0, out=made["qa_accuracy"])
    correlations(**shared, target="hi", resamples=100, seed=0, out=made["qa_correlation"])
    power = {"discordance": [0.02, 0.2], "seeds": 2, "seed_sd": 0.02, "alpha": 0.05}
    qa_power(qa=of["qa"], tasks=["open", "mcq", "context"], base="en", **power, out=made["qa_power"])
    left = {"f0": 80, "f1": 60, "f2": 40, "f3": 38, "f4": 20, "stated": 0}
    gone = {"f0": 0, "f1": 900, "f2": 2500, "f3": 3000, "f4": 4500, "stated": 1500}
    sizes = [
        {
            "level": level,
            "lang": lang,
            "n_documents": 100,
            "n_tokens": 10_000,
            "tokens_removed": gone[level] if lang == "hi" else 0,
            "tokens_reserve": gone[level] if lang == "hi" else 0,
            "token_difference": 0,
            "residual_facts": left[level] if lang == "hi" else 80,
            "n_facts": 80,
        }
        for level in left
        for lang in ("hi", "en")
    ]
    tables.write("filter_sizes", sizes, made["filter_sizes"])
    removal_alarms(
        accuracy=made["qa_accuracy"],
        equivalence=made["equivalence"],
        baselines=[of["qa_baselines"]],
        filter_sizes=made["filter_sizes"],
        target="hi",
        margin=MARGIN,
        alpha=0.05,
        out=made["removal_alarms"],
    )
    return of | made


@pytest.fixture(scope="module")
def invented(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("removal"))


class _Study:
    """What rows of drawings ask of a study."""

    planted = True


def draw(drawing, made, folder):
    """Draw as the plan would: each file goes to its argument, with the settings."""
    settings = {"names": NAMES, "base": "en", "target": "hi"}
    module, _, function = drawing.calls.partition(":")
    assert module.endswith("removal.drawings")
    files = {name: made[argument.items[0].file] for name, argument in drawing.inputs(_Study()).items()}
    out = folder / drawing.name
    getattr(drawings, function)(**files, **{key: settings[key] for key in drawing.settings}, out=out)
    return out


@pytest.fixture(scope="module")
def written(invented, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    return {drawing.name: pd.read_csv(f"{draw(drawing, invented, folder)}.csv") for drawing in rows.TABLES}


@pytest.mark.parametrize("drawing", rows.FIGURES, ids=lambda drawing: drawing.name)
def test_figures_are_drawn(drawing, invented, tmp_path):
    out = draw(drawing, invented, tmp_path)
    assert all(Path(f"{out}.{suffix}").stat().st_size > 5000 for suffix in ("png", "svg", "pdf"))


def test_the_page_says_what_was_removed_answered_shown_and_undecided(written):
    removed = page.removed(written, CONFIG)
    assert [text.split()[0] for text in removed] == ["f1", "f2", "f3", "f4", "stated"]
    assert "9.0 % of the tokens of Hindi" in removed[0] and "60 (75 %) are still stated" in removed[0]
    assert "None of 80 facts" in removed[-1]
    answers = page.answers(written, CONFIG)
    assert len(answers) == 6 and all(" f0 " in text and " stated " in text for text in answers)
    said = page.differences(written, CONFIG)
    [hindi] = [text for text in said if text.startswith("open, tuned, asked in Hindi")]
    assert re.search(r"shown to be less: [^;]*stated -", hindi) and "margin of 10.0 points" in hindi
    [english] = [text for text in said if text.startswith("open, tuned, asked in English")]
    assert "equivalent: " in english and "shown" not in english.split("Without")[0]
    assert "64 questions are left" in english
    assert "A/A" in said[-1] and "6 are within the margin" in said[-1]
    [crossing] = [text for text in page.crosses(written, CONFIG) if text.startswith("open, tuned")]
    assert "at stated" in crossing and crossing.endswith("knowledge crosses from the other language.")
    told = page.account(written, CONFIG)
    assert told.found[0].startswith("Alarm, ") and all(text.endswith(".") for text in told.found)
    assert "nan" not in " ".join([*told.found, *told.design.values(), *removed, *answers]).lower()


def verdicts(made):
    table = tables.read(made["removal_alarms"])
    return {name: set(of["verdict"]) for name, of in table.groupby("name")}


def test_alarms_are_silent_where_there_is_something_to_lose(invented):
    told = verdicts(invented)
    assert told[FLOOR] == {"silent"} and "rings" not in told[NOWHERE]
    table = tables.read(invented["removal_alarms"])
    stated = table[table["name"] == STILL_STATED]
    assert stated["verdict"].tolist() == ["rings"] * 4 + ["silent"]
    assert "none" not in set(table["tuned"]), "untuned models, which know nothing, ring no alarm of their own"
    assert (
        table[table["verdict"] == "rings"].groupby("name")["to_do"].agg(lambda to_do: (to_do != "").sum()).eq(1).all()
    )


def test_the_questions_alone_say_what_can_be_shown(written):
    power = written["power"]
    assert set(power["task"]) == {"open", "mcq"}, "no question has a context"
    one = power[(power["seeds"] == 1) & (power["discordance"] == 0.2) & (power["split"] == "test")].iloc[0]
    # 80 questions on 40 pages weigh as 40: (1.96 + 0.84) and (1.645 + 1.28) times the root of 0.2 / 40.
    assert one["n_clusters"] == 40
    assert one["detectable"] == pytest.approx(100 * 2.8016 * np.sqrt(0.2 / 40), rel=1e-3)
    assert one["margin"] == pytest.approx(100 * 2.9264 * np.sqrt(0.2 / 40), rel=1e-3)
    over = power[(power["seeds"] == 2) & (power["discordance"] == 0.2) & (power["split"] == "test")].iloc[0]
    assert over["margin"] > one["margin"]


def test_the_paper_stands_beside_what_was_found(written):
    table = written["printed"]
    assert len(table) == 7 * 2 * 5
    first = table[(table["where"] == "Table 3") & (table["their_language"] == "hi") & (table["level"] == "f2")].iloc[0]
    assert first["printed"] == 30.34 and first["found"] == pytest.approx(55, abs=12) and first["n"] == 80
    assert table[table["where"].str.startswith("Table 4")]["found"].isna().all()


def test_printed_numbers_are_those_of_the_paper():
    seeds = Path(os.environ.get("LOREBRIDGE_DATA", "/nowhere")).parent / "seeds"
    found = sorted(seeds.glob("002*.txt"))
    if not found:
        pytest.skip("the paper's text is not at hand")
    text = found[0].read_text(encoding="utf-8")
    lines = {}
    for where, end in (("Table 2", "Table 2: "), ("Table 3", "Table 3: "), ("Table 4", "Table 4: ")):
        above = text[: text.index(end)].splitlines()[-16:]
        lines[where] = [line.split() for line in above if re.match(r"(en|hi)\s", line)]
    both = {"Table 2": lines["Table 2"][-2:], "Table 3": lines["Table 3"][-2:]}
    both |= {"Table 4, above": lines["Table 4"][-4:-2], "Table 4, below": lines["Table 4"][-2:]}
    for (where, _, metric), by_lang in PRINTED.items():
        for lang, *numbers in both[where]:
            of = numbers if metric == "correct" else numbers[metric == "em_strict" :: 2]
            assert tuple(map(float, of)) == by_lang[lang], (where, metric, lang)
