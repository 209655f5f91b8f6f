"""What the released English questions name: how many name an entity, by which rule, and how often it is the right one.

    python benchmarks/subjects.py --data DIR [--sample sample.csv]

DIR holds `corpora/en.jsonl.gz` and `probes/{culture}-culture-cloze_en.json`. A subject is looked for as the workflow
does (:mod:`lorebridge.trace.subjects`), in the documents of 200 characters or more, without aliases and parallel
text. The peer would be a person who reads each question: `benchmarks/subjects.csv` has the judgements of a language
model on 40 questions for which an entity was found and 40 for which none was, drawn by the digests of their ids, as ids
and verdicts alone; `--sample` writes the sheet that they were made on.

Where an entity was found, `right` is yes if it is what the question is about, or one of several that it is about. Where
none was found, `right` is yes if the question names none besides the culture.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import platform
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from lorebridge import tables
from lorebridge.sheets import write_rows
from lorebridge.trace.subjects import NONE, RULES, TERMS, find_subjects

CULTURES = ("ko", "zh", "bo", "mn")
MIN_CHARS, MAX_CHARS = 200, 5000
EACH = 40
JUDGED = Path(__file__).with_suffix(".csv")


def write_documents(path: Path, out: Path) -> int:
    """Write the documents of a corpus that are long enough, and return their number."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    kept = [
        {
            "doc_id": f"{row['source']}/{row.get('id', i)}",
            "title": row.get("title") or "",
            "text": row["text"],
            "source": row["source"],
            "n_chars": len(row["text"]),
        }
        for i, row in enumerate(rows)
        if len(row["text"]) >= MIN_CHARS
    ]
    tables.write("documents", kept, out)
    return len(kept)


def write_questions(data: Path, culture: str, out: Path) -> Path:
    """Write a culture's English questions as table "questions"."""
    file = data / "probes" / f"{culture}-culture-cloze_en.json"
    rows = [
        {
            "question_id": f"{culture}-{index:04d}",
            "culture": culture,
            "lang": "en",
            "text": item["question"],
            "option_index": number,
            "option": option,
            "is_gold": option == item["answer"],
            "subset": [],
            "n_blanks": 1,
        }
        for index, item in enumerate(json.loads(file.read_text(encoding="utf-8")))
        for number, option in enumerate(item["options"])
    ]
    tables.write("questions", rows, out)
    return out


def subjects_of(data: Path) -> tuple[pd.DataFrame, int]:
    """Return question_id, culture, subject_rule, terms and text of all questions, and the number of documents."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        n_documents = write_documents(data / "corpora" / "en.jsonl.gz", folder / "documents.parquet")
        questions = {culture: write_questions(data, culture, folder / f"{culture}.parquet") for culture in CULTURES}
        find_subjects(
            lang="en",
            script="Latin",
            max_chars=MAX_CHARS,
            documents=[folder / "documents.parquet"],
            questions=questions,
            out=folder / "subjects.parquet",
        )
        found = tables.read(folder / "subjects.parquet", ["question_id", "culture", "subject_rule", "terms"])
        texts = pd.concat([tables.read(path, ["question_id", "text"]) for path in questions.values()])
    return found.merge(texts.drop_duplicates("question_id"), on="question_id"), n_documents


def sample(found: pd.DataFrame) -> pd.DataFrame:
    """Return the questions whose judgement is asked for: those of the smallest digests, of both kinds."""
    digests = [hashlib.blake2b(name.encode()).hexdigest() for name in found["question_id"]]
    rows = found.assign(digest=digests, named=~found["subject_rule"].isin([TERMS, NONE])).sort_values("digest")
    return rows.groupby("named").head(EACH).sort_values(["named", "digest"], ascending=[False, True])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sample", type=Path, help="a CSV file: the sheet to judge, with the questions' text")
    args = parser.parse_args()
    began = time.process_time()
    found, n_documents = subjects_of(args.data)
    counts = pd.crosstab(found["culture"], found["subject_rule"]).reindex(index=CULTURES, columns=RULES, fill_value=0)
    counts.loc["all"] = counts.sum()
    counts.insert(0, "questions", counts.sum(axis=1))
    counts["an entity"] = counts["questions"] - counts[TERMS] - counts[NONE]
    print(counts.to_markdown())
    print(
        f"\n{counts.loc['all', 'an entity']} of {counts.loc['all', 'questions']:,} English questions name an entity by "
        f"these rules, over {n_documents:,} documents.\n"
    )
    drawn = sample(found)
    if args.sample:
        rows = drawn.assign(terms=drawn["terms"].str.join(" + "), right="", note="")
        write_rows(
            args.sample, rows.to_dict("records"), ["question_id", "subject_rule", "terms", "text", "right", "note"]
        )
    judged = pd.read_csv(JUDGED, dtype=str).set_index("question_id")
    # A judgement is of a subject: where the rule finds another one now, it says nothing.
    told = drawn.merge(judged, left_on=["question_id", "subject_rule"], right_on=["question_id", "subject_rule"])
    for named, part in told.groupby("named"):
        right = int((part["right"] == "yes").sum())
        lo, hi = proportion_confint(right, len(part), method="wilson")
        what = "is what the question is about" if named else "none was to be found"
        print(
            f"{'entity found' if named else 'no entity found'}: {what} in {right} of {len(part)} ({lo:.2f} to {hi:.2f})"
        )
    spent = time.process_time() - began
    print(f"\n`{' '.join(['python', *sys.argv])}`: {spent:.0f} s of one core, {platform.machine()}.")


if __name__ == "__main__":
    main()
