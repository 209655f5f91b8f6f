"""Looking for the subjects and answers of all questions in real text: in one pass, and question by question.

    python benchmarks/mentions.py --data DIR [--megabytes 0.3]

DIR holds `corpora/{lang}.jsonl.gz` and `probes/{culture}-culture-cloze_{lang}.json`. The peer is the ordinary way: cut
each text into sentences once, then search the phrases of one question after another (Python's `regex`). Both must find
the same. The limit is what must be done to a text whatever the questions: cut it into sentences and words. Times are
processor time of one thread, so that what else the machine does hardly counts.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import platform
import sys
import tempfile
import time
from pathlib import Path

from lorebridge import tables
from lorebridge.trace.asked import read_asked
from lorebridge.trace.judges import CoOccurrence
from lorebridge.trace.mentions import Matcher
from lorebridge.trace.subjects import find_subjects

SCRIPTS = {"en": "Latin", "ko": "Hangul", "zh": "Han", "bo": "Tibetan", "mn": "Mongolian"}
MAX_CHARS = 100_000  # longer than any text here: chunks make no difference between the two


def read_texts(path: Path, megabytes: float) -> list[str]:
    texts: list[str] = []
    size = 0
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            text = json.loads(line)["text"][:MAX_CHARS]
            texts.append(text)
            size += len(text.encode())
            if size > megabytes * 1e6:
                break
    return texts


def write_questions(data: Path, culture: str, out: Path) -> Path:
    rows = []
    for lang in ("en", culture):
        file = data / "probes" / f"{culture}-culture-cloze_{lang}.json"
        for index, item in enumerate(json.loads(file.read_text(encoding="utf-8"))):
            for number, option in enumerate(item["options"]):
                rows.append(
                    {
                        "question_id": f"{culture}-{index:04d}",
                        "culture": culture,
                        "lang": lang,
                        "text": item["question"],
                        "option_index": number,
                        "option": option,
                        "is_gold": option == item["answer"],
                        "subset": [],
                        "n_blanks": 1,
                    }
                )
    tables.write("questions", rows, out)
    return out


def one_by_one(by: CoOccurrence, asked: list, texts: list[str]) -> list[set[tuple[int, bool, bool, bool]]]:
    """Return what each text says: (question, names the subject, holds the gold, states the fact)."""
    phrases = [([by.script.phrase(t) for t in one.terms], by.script.phrase(one.gold or "")) for one in asked]
    said = []
    for text in texts:
        windows = by.windows(text)
        found = set()
        for number, (terms, gold) in enumerate(phrases):
            about = [w for w in windows if terms and all(term.search(w) for term in terms)]
            holds = bool(gold) and any(gold.search(w) for w in windows)
            if about or holds:
                found.add((number, bool(about), holds, bool(gold) and any(gold.search(w) for w in about)))
        said.append(found)
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=0.3, help="text of each language for both")
    args = parser.parse_args()
    heads = ("language", "questions", "MB", "one pass, MB/s", "one by one, MB/s", "ratio", "words alone, MB/s")
    print(f"| {' | '.join(heads)} |\n|---|--:|--:|--:|--:|--:|--:|")
    for lang, script in SCRIPTS.items():
        texts = read_texts(args.data / "corpora" / f"{lang}.jsonl.gz", args.megabytes)
        megabytes = sum(len(text.encode()) for text in texts) / 1e6
        cultures = [c for c in SCRIPTS if c != "en"] if lang == "en" else [lang]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            rows = [
                {"doc_id": f"s/{i}", "title": "", "text": t, "source": "s", "n_chars": len(t)}
                for i, t in enumerate(texts)
            ]
            tables.write("documents", rows, folder / "documents.parquet")
            questions = {c: write_questions(args.data, c, folder / f"{c}.parquet") for c in cultures}
            find_subjects(
                lang=lang,
                script=script,
                max_chars=MAX_CHARS,
                documents=[folder / "documents.parquet"],
                questions=questions,
                out=folder / "subjects.parquet",
            )
            asked = read_asked(folder / "subjects.parquet", cultures)
        matcher, by = Matcher(asked, script, window=1, max_chars=MAX_CHARS), CoOccurrence(script)
        marks = [time.process_time()]
        found = [matcher.find(text) for text in texts]
        marks.append(time.process_time())
        said = one_by_one(by, asked, texts)
        marks.append(time.process_time())
        for text in texts:
            by.windows(text)
        marks.append(time.process_time())
        ours = [{(n, m.subject, m.object, m.n_chunks > 0) for n, m in of_text.items()} for of_text in found]
        assert ours == said, lang
        one_pass, peer, limit = (megabytes / (after - before) for before, after in itertools.pairwise(marks))
        print(
            f"| {lang} | {len(asked)} | {megabytes:.1f} | {one_pass:.1f} | {peer:.3f} | {one_pass / peer:.0f} | "
            f"{limit:.1f} |",
            flush=True,
        )
    print(f"\nOne core of {platform.processor() or platform.machine()}; `{' '.join(['python', *sys.argv])}`")


if __name__ == "__main__":
    main()
