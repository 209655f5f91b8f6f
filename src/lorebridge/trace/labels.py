"""How good the judge is: a sheet of judged chunks that a person labels without knowing the verdict, and its reading.

Chunks that the judge calls positive are rare, so a plain sample of hits would hold few. The sheet is a stratified
sample: verdict by rank (:data:`RANKS`), each stratum as large as the others where it can be. What is estimated from it
is weighted back: a label counts for as many hits as there are in its stratum for each of the sheet's (Horvitz &
Thompson 1952).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint

from lorebridge import publish, tables
from lorebridge.errors import InputError
from lorebridge.sheets import read_rows, write_rows
from lorebridge.trace.analysis import script_of
from lorebridge.trace.asked import read_questions
from lorebridge.trace.judges import INDETERMINATE, NO, YES, read_chunks, state

RANKS = (1, 6, 21)
"""First ranks of the strata: 1 to 5, 6 to 20, and the rest."""
UNSURE = "unsure"
LABELS = (YES, NO, UNSURE)
HITS, PAIRS = "hits", "pairs"
COLUMNS = (
    "sheet",
    "id",
    "statement",
    "statement_translated",
    "chunk",
    "chunk_translated",
    "label",
    "relevant",
    "translation_ok",
    "note",
)
MORE = ("relevant", "translation_ok")
"""What a sheet asks beside entailment; a cell may stay empty."""


class Drawn(NamedTuple):
    """What a sheet was drawn from: a language, its judged hits or its parallel text, how many rows, by what recipe."""

    lang: str
    of: str
    n: int
    recipe: str


def write_sheet(
    *,
    corpus: str,
    base: str,
    scripts: Mapping[str, str],
    hits: Path,
    judgments: Path,
    chunks: Path,
    questions: Path,
    translations: Path | None,
    recipe: str,
    n: int,
    out: Path,
) -> dict[str, Any]:
    """Write `n` judged chunks as a sheet to be labelled: does the chunk state what the statement says?

    The sheet shows the cloze with its answer, in the language of the corpus and in the base language; the chunk; where
    the judge read a translation, that; and an empty column ``label`` for yes, no or unsure. Two more columns ask what
    goes wrong before the judge: ``relevant`` (is the chunk about what the statement is about, whether it states it or
    not?) and, where there is a translation, ``translation_ok`` (does it say what the chunk says?). It does not show the
    verdict, the rank or the question's id, and its rows are in random order. It is UTF-8 with a byte order mark, which
    tells spreadsheets so.

    Hits that the judge could not tell are left out: they count nowhere. The sample is drawn by digests of the judge's
    recipe and of question and chunk, so the same sheet comes again.

    Args:
        corpus: language of the corpus, and culture of the questions.
        base: code of the base language.
        scripts: language -> its Unicode script.
        hits: table "hits".
        judgments: table "judgments" of these hits.
        chunks: table "chunks" of the corpus.
        questions: table "questions" of the culture.
        translations: table "translations" of the hits, or None.
        recipe: that of the judgments.
        n: rows of the sheet.
        out: a CSV file.

    Returns:
        number of rows by stratum, of told hits and of indeterminate ones.

    Raises:
        InputError: fewer told hits than `n`, `out` exists (it may hold labels) or cannot be written, or tables that do
            not belong together.
    """
    check_new(out)
    told, indeterminate = _told(hits, judgments, recipe)
    sample = _draw(told, n, judgments)
    passages = read_chunks(chunks, set(sample["chunk_id"]))
    statements = {lang: state(read_questions(questions, lang), script_of(scripts[lang])) for lang in (corpus, base)}
    translated: dict[tuple[str, str], str] = {}
    if translations is not None:
        table = tables.read(translations)
        translated = dict(zip(zip(table["kind"], table["id"], strict=True), table["text"], strict=True))
    drawn = sample.sort_values("id")[["id", "question_id", "chunk_id"]].to_numpy(dtype=str).tolist()
    rows = [
        {
            "sheet": f"{corpus}-{n}-{recipe}",
            "id": name,
            "statement": statements[corpus].get(question, ""),
            "statement_translated": statements[base].get(question, ""),
            "chunk": passages[chunk],
            "chunk_translated": translated.get(("chunk", chunk), ""),
            **dict.fromkeys(("label", *MORE, "note"), ""),
        }
        for name, question, chunk in drawn
    ]
    write_rows(out, rows, COLUMNS)
    return {
        "strata": sample["stratum"].value_counts().sort_index().to_dict(),
        "told": len(told),
        "indeterminate": indeterminate,
    }


def check_new(out: Path) -> None:
    """Refuse a path that is no CSV file, or where a sheet is already."""
    publish.check_file(out, suffixes=[".csv"])
    if out.exists():
        raise InputError(out, "is there already, perhaps with labels", "Give another name, or move it away.")


def sheet_drawn(sheet: Path) -> Drawn:
    """Return what a sheet was drawn from.

    Raises:
        InputError: it is no sheet.
    """
    return _parse(sheet, _rows(sheet))


def _told(hits: Path, judgments: Path, recipe: str) -> tuple[pd.DataFrame, int]:
    """Return the hits that were told, with id and stratum, and the number of those that were not."""
    found = tables.read(hits, ["question_id", "chunk_id", "rank"])
    judged = tables.read(judgments, ["question_id", "chunk_id", "entails"])
    table = judged.merge(found, on=["question_id", "chunk_id"], how="left", validate="one_to_one")
    if table["rank"].isna().any():
        raise InputError(judgments, f"judges chunks that {hits} does not hold", "Remake it from these hits.")
    told = table[table["entails"] != INDETERMINATE].copy()
    first = np.digitize(told["rank"], RANKS) - 1
    edges = [*(str(rank - 1) for rank in RANKS[1:]), ""]
    told["stratum"] = [
        f"{verdict}, rank {RANKS[i]}-{edges[i]}" for verdict, i in zip(told["entails"], first, strict=True)
    ]
    keys = told["question_id"] + "\0" + told["chunk_id"]
    told["id"] = [hashlib.blake2b(f"{recipe}\0{key}".encode(), digest_size=6).hexdigest() for key in keys]
    return told, len(table) - len(told)


def _draw(told: pd.DataFrame, n: int, judgments: Path) -> pd.DataFrame:
    """Return a sample of `n` hits, the same number of each stratum as far as it goes; the smallest ids of each."""
    if n > len(told):
        raise InputError(judgments, f"has {len(told)} verdicts, fewer than the {n} asked for", "Ask for fewer.")
    queues = [list(rows.sort_values("id").index) for _, rows in told.groupby("stratum", sort=True)]
    return told.loc[in_turn(queues)[:n]]


def in_turn(queues: Sequence[Sequence[Any]]) -> list[Any]:
    """Return what stands in some queues, one of each in turn as far as it goes."""
    return [queue[i] for i in range(max(map(len, queues))) for queue in queues if i < len(queue)]


def _rows(sheet: Path) -> list[dict[str, str]]:
    return read_rows(
        sheet, {"sheet", "id", "label"}, what="labelling sheet", mend="Write one with `lorebridge label-sheet`."
    )


def _parse(sheet: Path, rows: Sequence[Mapping[str, str]]) -> Drawn:
    """Return what a sheet was written with."""
    names = {row["sheet"] for row in rows}
    match = re.fullmatch(rf"([a-z]{{2,3}})-({PAIRS}-)?([0-9]+)-([0-9a-f]{{16}})", next(iter(names)) or "")
    if len(names) > 1 or match is None:
        raise InputError(sheet, "its column `sheet` was changed", "Put back what `lorebridge label-sheet` wrote there.")
    return Drawn(match[1], PAIRS if match[2] else HITS, int(match[3]), match[4])


def read_labels(sheet: Path) -> dict[str, str]:
    """Return the labels of a sheet: id -> yes, no or unsure.

    Raises:
        InputError: a file that is no sheet, or a row whose label is none of these or that stands twice.
    """
    labels: dict[str, str] = {}
    for number, row in enumerate(_rows(sheet), 2):
        label = (row["label"] or "").strip().casefold()
        if label not in LABELS:
            wrong = f"the label {row['label']!r} is none of these" if label else "has no label"
            raise InputError(f"{sheet}, row {number}", wrong, f"Write one of {', '.join(LABELS)}.")
        if row["id"] in labels:
            raise InputError(f"{sheet}, row {number}", f"the id {row['id']} stands twice", "Remove one of the rows.")
        labels[row["id"]] = label
    return labels


def read_more(sheet: Path, column: str) -> dict[str, str]:
    """Return what a sheet says in a column of :data:`MORE`: id -> yes, no or unsure, where it says anything.

    Raises:
        InputError: a row says something else.
    """
    said: dict[str, str] = {}
    for number, row in enumerate(_rows(sheet), 2):
        label = (row.get(column) or "").strip().casefold()
        if label and label not in LABELS:
            raise InputError(
                f"{sheet}, row {number}",
                f"{column} {row[column]!r} is none of these",
                f"Write one of {', '.join(LABELS)}, or nothing.",
            )
        if label:
            said[row["id"]] = label
    return said


def read_sheets(
    *, sheets: Sequence[Path], hits: Path, judgments: Path, recipe: str, formerly: str | None = None
) -> pd.DataFrame:
    """Return how well the judge agrees with one or two people, and they with each other.

    Precision is the share of the hits that the judge calls positive which a person does, too; recall the share of the
    hits that a person calls positive which the judge does, *among what was retrieved*: what retrieval missed is in no
    sheet. Both are Horvitz-Thompson estimates over all told hits. Intervals, 95 %: Wilson's with the effective number
    of labels (Kish 1965: the square of the sum of weights over the sum of squares) for precision and for the share of
    negatives that the judge missed; recall's has their ends put together in the worst way, and so covers more often.

    Cohen's kappa (1960) with statsmodels' asymptotic interval, of the sheet as it is, and weighted back to all told
    hits with the effective number of labels: kappa depends on how frequent positives are, and the sheet has more.

    "relevant" and "translation ok" are the shares of all told hits, weighted likewise, of which a person says so in
    these columns, where somebody filled them in.

    Rows that a person is unsure of are left out where that person is asked.

    Args:
        sheets: one or two labelled sheets of one drawing.
        hits: table "hits" of the corpus.
        judgments: table "judgments".
        recipe: that of the judgments.
        formerly: the one that they had before they were adopted, if they were: a sheet of that time stays good.

    Returns:
        columns measure, between, n (labels), unsure (rows left out), estimate, lo, hi.

    Raises:
        InputError: as :func:`read_labels`; a sheet of another recipe or with rows missing; two sheets that differ.
    """
    drawn = one_drawing(sheets, recipe, formerly, judgments)
    told, _ = _told(hits, judgments, drawn.recipe)
    sample = _draw(told, drawn.n, judgments).set_index("id")
    sizes = told["stratum"].value_counts() / sample["stratum"].value_counts()
    people = labelled(sheets, sample.index)
    return pd.DataFrame(compared(sheets, people, sample["entails"], sample["stratum"].map(sizes), "judge"))


def one_drawing(sheets: Sequence[Path], recipe: str, formerly: str | None, made: Path) -> Drawn:
    """Return what some sheets were drawn from.

    Args:
        sheets: one or two.
        recipe: that of `made` now.
        formerly: the one that it had before it was adopted, if it was.
        made: what they were drawn from.

    Raises:
        InputError: one was drawn by another recipe, or they are not of one drawing.
    """
    drawn = [_parse(sheet, _rows(sheet)) for sheet in sheets]
    for sheet, one in zip(sheets, drawn, strict=True):
        if one.recipe not in (recipe, formerly):
            raise InputError(
                sheet,
                f"was drawn from judgments of recipe {one.recipe}, but {made} has {recipe}",
                "Read it with the configuration that it was written with, or write and label a new one.",
            )
    if len(set(drawn)) > 1:
        raise InputError(sheets[1], f"is another drawing than {sheets[0]}", "Give two people the same sheet.")
    return drawn[0]


def labelled(sheets: Sequence[Path], ids: pd.Index) -> list[pd.Series]:
    """Return the labels of each sheet in the order of the ids that were drawn.

    Raises:
        InputError: as :func:`read_labels`, or a sheet lacks rows.
    """
    people = []
    for sheet in sheets:
        labels = pd.Series(read_labels(sheet))
        if set(labels.index) != set(ids):
            missing = len(set(ids) - set(labels.index))
            raise InputError(
                sheet,
                f"lacks {missing} of its {len(ids)} rows, or has others",
                "Put the rows back; label those in doubt `unsure`.",
            )
        people.append(labels.reindex(ids))
    return people


def compared(
    sheets: Sequence[Path], people: Sequence[pd.Series], judged: pd.Series, weight: pd.Series, judge: str
) -> list[dict[str, Any]]:
    """Return the rows of :func:`read_sheets`.

    Args:
        sheets: one or two.
        people: their labels, of the ids of `judged`.
        judged: id -> yes or no.
        weight: id -> for how many it stands.
        judge: what said so.
    """
    rows: list[dict[str, Any]] = []
    for i, person in enumerate(people):
        who = f"{judge} and {sheets[i].name}"
        sure = person != UNSURE
        shared = {"between": who, "n": int(sure.sum()), "unsure": int((~sure).sum())}
        for measure, found in _quality(judged[sure], person[sure], weight[sure]).items():
            rows.append({"measure": measure, **shared, **dict(zip(("estimate", "lo", "hi"), found, strict=True))})
        rows += _kappas(judged[sure], person[sure], weight[sure], shared)
        for column in MORE:
            said = pd.Series(read_more(sheets[i], column), dtype=object).reindex(judged.index).dropna()
            sure = said != UNSURE
            if len(said):
                hit = (said[sure] == YES).to_numpy()
                found = share(hit, np.asarray(weight[said.index[sure]], dtype=np.float64))
                rows.append(
                    {
                        "measure": column.replace("_", " "),
                        "between": sheets[i].name,
                        "n": int(sure.sum()),
                        "unsure": int((~sure).sum()),
                        **dict(zip(("estimate", "lo", "hi"), found, strict=True)),
                    }
                )
    if len(people) == 2:
        sure = (people[0] != UNSURE) & (people[1] != UNSURE)
        shared = {
            "between": f"{sheets[0].name} and {sheets[1].name}",
            "n": int(sure.sum()),
            "unsure": int((~sure).sum()),
        }
        rows += _kappas(people[0][sure], people[1][sure], weight[sure], shared)
    return rows


def share(hit: npt.NDArray[np.bool_], weight: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Return a weighted share with its Wilson interval; missing, and anything from 0 to 1, where there is no row."""
    if not len(hit):
        return np.nan, 0.0, 1.0
    found = float(weight @ hit / weight.sum())
    effective = weight.sum() ** 2 / (weight**2).sum()
    lo, hi = proportion_confint(found * effective, effective, method="wilson")
    return found, float(lo), float(hi)


def _quality(judged: pd.Series, person: pd.Series, weight: pd.Series) -> dict[str, tuple[float, float, float]]:
    """Return precision and recall of the judge, each with its interval."""
    yes, w = (judged == YES).to_numpy(), weight.to_numpy(np.float64)
    hit = (person == YES).to_numpy()
    precision, missed = share(hit[yes], w[yes]), share(hit[~yes], w[~yes])
    positives, negatives = w[yes].sum(), w[~yes].sum()

    def recall(of_yes: float, of_no: float) -> float:
        found, lost = (positives * of_yes if positives else 0.0), (negatives * of_no if negatives else 0.0)
        return found / (found + lost) if found + lost > 0 else np.nan

    ends = recall(precision[1], missed[2]), recall(precision[2], missed[1])
    return {"precision": precision, "recall": (recall(precision[0], missed[0]), *ends)}


def _kappas(one: pd.Series, other: pd.Series, weight: pd.Series, shared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return rows with Cohen's kappa of two raters, of the sheet and of all told hits.

    Where they always agree, its asymptotic error is 0. The lower end is then that of the share agreed (:func:`share`),
    what they agree on by chance held.
    """
    w = weight.to_numpy(np.float64)
    effective = w.sum() ** 2 / (w**2).sum() if len(w) else 0.0
    rows = []
    for measure, weights in (("kappa, sheet", np.ones(len(w))), ("kappa, all hits", w / max(w.sum(), 1) * effective)):
        counts = np.array([[weights[(one == a) & (other == b)].sum() for b in (YES, NO)] for a in (YES, NO)])
        values = (np.nan,) * 3
        if counts[0, 1] + counts[1, 0] == 0 < counts.diagonal().min():
            agreed = share(np.ones(len(w), bool), weights)[1]
            chance = float((counts.diagonal() ** 2).sum() / counts.sum() ** 2)
            values = (1.0, (agreed - chance) / (1 - chance), 1.0)
        elif min(counts.sum(axis=0).min(), counts.sum(axis=1).min()) > 0:
            # Where a rater says one thing always, chance agrees as often, and kappa would say nothing.
            found = cohens_kappa(counts)
            values = (float(found.kappa), float(found.kappa_low), float(found.kappa_upp))
        rows.append({"measure": measure, **shared, **dict(zip(("estimate", "lo", "hi"), values, strict=True))})
    return rows
