"""Where a fact that a model knows may come from: whether its language's text holds its subject and object together.

Zhao et al. (EACL 2024, appendix B) call a fact present where both stand in one line of at most 512 tokens. That unit is
counted here beside two stricter ones: a window of sentences (:mod:`lorebridge.trace.mentions`), and what a run has in
fact consumed (:mod:`lorebridge.trace.exposure`). All three look for the labels as whole words.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lorebridge import tables
from lorebridge.corpora.facts import FACTS
from lorebridge.corpora.heldout import is_heldout
from lorebridge.errors import InputError
from lorebridge.trace import mentions as found_in
from lorebridge.trace.analysis import Script, script_of
from lorebridge.trace.asked import read_asked, speaks
from lorebridge.trace.mentions import Block, block_texts, blocks, over_blocks, read_mentions
from lorebridge.trace.windows import windows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LABEL = "label"
"""The rule by which a fact's subject is found: its label as it stands."""
TOKENS, WINDOW, PRESENTATION = UNITS = ("tokens", "window", "presentation")
"""Stretches of so many tokens of a document; documents with both in a window of sentences; what a run consumed."""
_WHOLE = 10**9  # sentences, characters: more than a stretch has, so that it is one window


def fact_subjects(*, facts: Path, lang: str, script: str, out: Path) -> dict[str, int]:
    """Write what is looked for on behalf of the facts that are asked in a language, as table "subjects".

    Labels that would be found everywhere are not looked for: those without a letter, and of one character.

    Args:
        facts: the table "facts".
        lang: the language.
        script: the Unicode script that its text is read by.
        out: the table to write.

    Returns:
        Notes for the record: ``facts``, and how many have ``no subject`` or ``no object`` to look for.

    Raises:
        InputError: there is no fact in the language.
    """
    rows = tables.read(facts, ["fact_id", "lang", "subject", "object"])
    rows = rows[rows["lang"] == lang]
    if rows.empty:
        raise InputError(facts, f"no fact in language {lang!r}", "Take the language out, or mend the facts.")
    reading = script_of(script)
    table = [
        {
            "question_id": fact_id,
            "culture": FACTS,
            "lang": lang,
            "subject_rule": LABEL,
            "terms": [subject] if _findable(subject, reading) else [],
            "n_chunks": [],
            "aliases": [],
            "gold": answer if _findable(answer, reading) else None,
            "distractors": [],
        }
        for fact_id, subject, answer in rows[["fact_id", "subject", "object"]].itertuples(index=False)
    ]
    tables.write("subjects", table, out)
    return {
        "facts": len(table),
        "no subject": sum(not row["terms"] for row in table),
        "no object": sum(row["gold"] is None for row in table),
    }


def _findable(label: str, script: Script) -> bool:
    return speaks(label) and script.phrase(label) is not None


def count_stretches(
    *,
    stream: str,
    script: str,
    tokens: int,
    texts: Sequence[Path],
    column: str,
    subjects: Path,
    tokenizer: Path,
    out: Path,
    workers: int = 1,
) -> dict[str, int]:
    """Count the stretches of a text that hold the subject, the object, and both of every fact; write "stretches".

    A document is cut into stretches of at most `tokens` tokens that keep sentences whole
    (:func:`lorebridge.trace.windows.windows`).

    Args:
        stream: the name of the text.
        script: the Unicode script that it is read by.
        tokens: the most of a stretch.
        texts: the tables of the text, in order.
        column: the column of text.
        subjects: table "subjects" of the facts in its language.
        tokenizer: a folder with the tokenizer that counts.
        out: the table to write.
        workers: processes that read the texts.

    Returns:
        Notes for the record: ``n_texts``, ``n_stretches``.

    Raises:
        InputError: a table cannot be read, or the folder holds no tokenizer.
    """
    asked = read_asked(subjects, [FACTS])
    _tokenizer(tokenizer)  # a bad one is told of before any text is read
    count = functools.partial(_count, column=column, tokenizer=tokenizer, tokens=tokens)
    counts = np.zeros((len(asked), 3), np.int64)
    n_texts = n_stretches = 0
    setup = (asked, script, _WHOLE, _WHOLE)
    for read, stretches, found in over_blocks(
        blocks(texts), count, workers=workers, what=f"stretches {stream}", setup=setup
    ):
        counts += found
        n_texts, n_stretches = n_texts + read, n_stretches + stretches
    named = np.array([bool(one.terms) for one in asked])
    answered = np.array([one.gold is not None for one in asked])
    table = pd.DataFrame({"question_id": [one.question_id for one in asked], "n_stretches": n_stretches})
    for place, (name, known) in enumerate(_known(named, answered).items()):
        table[name] = pd.Series(counts[:, place], dtype="Int64").where(known)
    tables.write("stretches", table, out)
    return {"n_texts": n_texts, "n_stretches": n_stretches}


def _known(named: npt.NDArray[np.bool_], answered: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[np.bool_]]:
    """Return of each count the facts that it can be told of."""
    return {"n_subject": named, "n_object": answered, "n_cooccur": named & answered}


@functools.cache
def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a folder, once a process."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises no class of its own
        raise InputError(
            folder,
            f"no tokenizer can be loaded ({' '.join(str(error).split())[:200]})",
            "Give a folder with tokenizer.json.",
        ) from error


def _count(block: Block, *, column: str, tokenizer: Path, tokens: int) -> tuple[int, int, npt.NDArray[np.int64]]:
    """Return how many texts and stretches a block has, and the counts of every fact, [facts, 3]."""
    matcher = found_in.prepared()
    counts = np.zeros((len(matcher.asked), 3), np.int64)
    n_stretches = 0
    texts = block_texts(block, column)
    for text in texts:
        for stretch in windows(text, _tokenizer(tokenizer), tokens):
            n_stretches += 1
            for number, mention in matcher.find(stretch).items():
                counts[number] += (mention.subject, mention.object, mention.n_chunks > 0)
    return len(texts), n_stretches, counts


def origins(
    *,
    facts: Path,
    texts: Sequence[Mapping[str, Any]],
    exposure: Sequence[Path] = (),
    heldout: Mapping[str, float] | None = None,
    truth: Path | None = None,
    out: Path,
    recovery: Path,
) -> dict[str, int]:
    """Write whether each fact is present in each language, by each unit, as the tables "origins" and "origin_recovery".

    Args:
        facts: the table "facts".
        texts: for each language that is traced: lang, and the paths of subjects, mentions and stretches of its text.
        exposure: tables "exposure", one a run; what it has read by its last step counts.
        heldout: language -> the share of its documents that is held out.
        truth: the table "truth" of a planted world; None of real text, of which "origin_recovery" has no row.
        out: table "origins", a row a fact, language and unit (and run, where it is a presentation).
        recovery: table "origin_recovery", a row a language and unit: recall and precision of being present.

    Returns:
        Notes for the record: ``rows``, and how many say nothing (``not looked for``).
    """
    relations = tables.read(facts, ["fact_id", "lang", "relation"])
    frames = []
    for entry in texts:
        asked = read_asked(entry["subjects"], [FACTS])
        known = _known(np.array([bool(one.terms) for one in asked]), np.array([one.gold is not None for one in asked]))
        index = pd.Index([one.question_id for one in asked], name="fact_id")
        stretches = tables.read(entry["stretches"]).set_index("question_id").reindex(index)[list(known)]
        frames.append(stretches.reset_index().assign(lang=entry["lang"], unit=TOKENS))
        mentioned = read_mentions(entry["mentions"], ["subject", "object", "n_chunks"])
        summed = (
            mentioned.assign(both=mentioned["n_chunks"] > 0)
            .groupby("question_id", observed=True)[["subject", "object", "both"]]
            .sum()
            .rename(columns={"subject": "n_subject", "object": "n_object", "both": "n_cooccur"})
        )
        summed.index = summed.index.astype(object)
        summed = summed.reindex(index, fill_value=0)
        for name, told in known.items():
            summed[name] = summed[name].astype("Int64").where(told)
        frames.append(summed.reset_index().assign(lang=entry["lang"], unit=WINDOW))
    for path in exposure:
        frames.append(_read(tables.read(path)))
    table = pd.concat(frames, ignore_index=True).merge(relations, on=["fact_id", "lang"], validate="many_to_one")
    table["n_cooccur"] = table["n_cooccur"].astype("Int64")
    table["present"] = (table["n_cooccur"] > 0).astype("boolean").where(table["n_cooccur"].notna())
    if "run" not in table:
        table["run"] = None
    tables.write("origins", table, out)
    found = [] if truth is None else list(_recovered(table, truth, heldout or {}))
    tables.write("origin_recovery", found, recovery)
    return {"rows": len(table), "not looked for": int(table["present"].isna().sum())}


def _read(exposure: pd.DataFrame) -> pd.DataFrame:
    """Return what a run has consumed of each fact in each language by its last step."""
    last = exposure[exposure["step"] == exposure["step"].max()].rename(
        columns={"question_id": "fact_id", "n_presentations": "n_cooccur"}
    )
    counts = ["n_subject", "n_object", "n_cooccur"]
    summed = last.groupby(["run", "lang", "fact_id"], sort=False)[counts].sum(min_count=1).reset_index()
    return summed.assign(unit=PRESENTATION)


def stated(truth: pd.DataFrame, heldout: Mapping[str, float]) -> pd.DataFrame:
    """Return which planted facts a language's corpus states: ``fact_id, lang, stated``; held-out documents say nothing.

    Args:
        truth: ``question_id, corpus, doc_ids`` of the table "truth".
        heldout: language -> the share of its documents that is held out.
    """
    kept = [
        any(not is_heldout(doc_id, heldout.get(lang, 0.0)) for doc_id in documents)
        for lang, documents in zip(truth["corpus"], truth["doc_ids"], strict=True)
    ]
    return pd.DataFrame({"fact_id": truth["question_id"], "lang": truth["corpus"], "stated": kept})


def _recovered(table: pd.DataFrame, truth: Path, heldout: Mapping[str, float]) -> Iterable[dict[str, Any]]:
    """Yield how far being present tells what a planted language's corpus states."""
    planted = stated(tables.read(truth, ["question_id", "corpus", "doc_ids"]), heldout)
    told = table.dropna(subset=["present"]).merge(planted, on=["fact_id", "lang"], validate="many_to_one")
    told["present"] = told["present"].astype(bool)
    for (lang, unit, run), rows in told.groupby(["lang", "unit", "run"], sort=False, dropna=False):
        both = int((rows["present"] & rows["stated"]).sum())
        n_stated, n_present = int(rows["stated"].sum()), int(rows["present"].sum())
        yield {
            "lang": lang,
            "unit": unit,
            "run": run if isinstance(run, str) else None,
            "n_facts": len(rows),
            "n_stated": n_stated,
            "n_present": n_present,
            "n_both": both,
            "recall": both / n_stated if n_stated else None,
            "precision": both / n_present if n_present else None,
        }
