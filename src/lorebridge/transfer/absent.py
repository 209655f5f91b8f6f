"""Facts that a model has right although text of the language does not hold them: three classes, beside their rates.

Zhao et al. (EACL 2024, section 5 and appendix C) call such facts transferred where neither shared tokens nor a naming
cue tells them. A class says something only beside its rate among all facts, and "absent" only beside how often tracing
misses what is stated; in a planted world both are known.
"""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import regex

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.trace.analysis import Script, script_of
from lorebridge.trace.origins import PRESENTATION, stated
from lorebridge.transfer.precision import checkpoints
from lorebridge.unseen import summed_ends
from lorebridge.world.multilingual import CUE, HOLDS, PLAIN

SHARED_TOKENS, NAMING_CUE, OTHER = CLASSES = ("shared tokens", "naming cue", "other")
"""What may tell the object of the subject's label alone; the first that holds."""
PAPER, HOUSE = RULES = ("paper", "house")
"""The paper's rules, any shared piece and relations that are listed; and ours (:func:`house_class`)."""
FORM_OF = {SHARED_TOKENS: HOLDS, NAMING_CUE: CUE, OTHER: PLAIN}
"""The form of a planted name -> what finds it."""
FREQUENT = 0.05
"""Share of the labels of a language from which a piece that stands in them says nothing."""
FEWEST = 5
"""Labels that a piece stands in at least before it can be called frequent."""
OTHERS = 2
"""Other subjects of a relation with an ending, from which it can tell an object."""

_LETTERS = regex.compile(r"\p{L}\p{M}*")
_IDEOGRAPHIC = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]")

Pieces = Callable[[str], Sequence[tuple[str, str]]]
"""The pieces of a label: as the tokenizer names each, and the text that it stands for."""
Found = tuple[str, str, str | None]
"""A class, the rule that found it, and what is shared."""


def folded(label: str, script: str, *, nfkc: bool) -> str:
    """Return a label in lower case, Chinese in simplified characters; under our rules in NFKC, too."""
    reading = script_of(script)
    text = unicodedata.normalize("NFKC", label).casefold() if nfkc else label.lower()
    return reading.prepare(text)


def paper_class(subject: str, answer: str, relation: str, pieces: Pieces, naming: Sequence[str]) -> Found:
    """Return the class of a fact by the paper's rules, of folded labels."""
    if answer in subject:
        return SHARED_TOKENS, "substring", answer
    own = {piece for piece, _ in pieces(subject)}
    shared = [piece for piece, _ in pieces(answer) if piece in own]
    if shared:
        return SHARED_TOKENS, "pieces", shared[0]
    return (NAMING_CUE, "relation", None) if relation in naming else (OTHER, "none", None)


def house_class(
    subject: str,
    answer: str,
    relation: str,
    pieces: Pieces,
    naming: Sequence[str],
    frequent: frozenset[str],
    told: str | None,
) -> Found:
    """Return the class of a fact by our rules, of folded labels.

    A piece counts where it has three letters or more (two of a script that writes syllables or words) and is not
    frequent. A naming cue is one where the relation is listed, or where other subjects of the relation that end alike
    have this object.

    Args:
        subject, answer: labels.
        relation: its relation.
        pieces: of a label.
        naming: relations between names of people, places and languages.
        frequent: texts of pieces that stand in too many labels of the language.
        told: the object that the subject's ending tells (:func:`endings`), if any.
    """
    if answer in subject:
        return SHARED_TOKENS, "substring", answer
    own = {text for _, text in pieces(subject)}
    shared = [text for _, text in pieces(answer) if text in own and text not in frequent and _long(text)]
    if shared:
        return SHARED_TOKENS, "pieces", shared[0]
    if told == answer:
        return NAMING_CUE, "ending", None
    return (NAMING_CUE, "relation", None) if relation in naming else (OTHER, "none", None)


def _long(text: str) -> bool:
    return len(_LETTERS.findall(text)) >= (2 if _IDEOGRAPHIC.search(text) else 3)


def ending(subject: str, script: Script) -> str:
    """Return how a name ends: its last word, or of a single word its last three letters."""
    words = script.words(subject)
    return "" if not words else f" {words[-1]}" if len(words) > 1 else words[0][-3:]


def endings(subjects: Sequence[str], answers: Sequence[str], script: Script) -> list[str | None]:
    """Return the object that the ending of each subject tells, learned from the other subjects of its relation.

    Of :data:`OTHERS` or more others that end alike more than half must have it.

    Args:
        subjects: folded labels of the facts of one relation in one language, each once.
        answers: theirs.
        script: that they are read by.
    """
    ends = [ending(subject, script) for subject in subjects]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for end, answer in zip(ends, answers, strict=True):
        counts[end][answer] += 1
    found: list[str | None] = []
    for end, answer in zip(ends, answers, strict=True):
        others = counts[end] - Counter([answer])
        n = others.total()
        best, most = others.most_common(1)[0] if n else ("", 0)
        found.append(best if end and n >= OTHERS and most > n / 2 else None)
    return found


def classes_of(
    facts: pd.DataFrame, scripts: Mapping[str, str], pieces: Pieces, naming: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Yield the class of every fact in every language, under either set of rules.

    Args:
        facts: rows of the table "facts".
        scripts: language -> its script; languages that it lacks are left out.
        pieces: of a label.
        naming: the relations that are naming cues.
    """
    cut = functools.cache(pieces)
    for lang, rows in ((str(lang), rows) for lang, rows in facts.groupby("lang", sort=False)):
        if lang not in scripts:
            continue
        script, reading = scripts[lang], script_of(scripts[lang])
        house = {label: folded(label, script, nfkc=True) for label in {*rows["subject"], *rows["object"]}}
        paper = {label: folded(label, script, nfkc=False) for label in house}
        among = Counter(text for label in set(house.values()) for text in {text for _, text in cut(label)})
        bound = max(FEWEST, FREQUENT * len(set(house.values())))
        frequent = frozenset(piece for piece, n in among.items() if n > bound)
        for relation, of in ((str(relation), of) for relation, of in rows.groupby("relation", sort=False)):
            subjects, answers = ([house[label] for label in of[name]] for name in ("subject", "object"))
            told = endings(subjects, answers, reading)
            for row, subject, answer, guess in zip(of.itertuples(), subjects, answers, told, strict=True):
                found = {
                    PAPER: paper_class(paper[row.subject], paper[row.object], relation, cut, naming),
                    HOUSE: house_class(subject, answer, relation, cut, naming, frequent, guess),
                }
                for rules, (name, rule, shared) in found.items():
                    yield {
                        "fact_id": row.fact_id,
                        "relation": relation,
                        "lang": lang,
                        "rules": rules,
                        "class": name,
                        "rule": rule,
                        "shared": shared,
                    }


def fact_classes(
    *, facts: Path, scripts: Mapping[str, str], naming: Sequence[str], tokenizer: Path, out: Path
) -> dict[str, int]:
    """Write the table ``fact_classes``.

    Args:
        facts: the table "facts".
        scripts: language -> its script.
        naming: relations that are naming cues.
        tokenizer: a folder with the tokenizer whose pieces count.
        out: the table to write.

    Returns:
        Notes for the record: facts by rules and class.

    Raises:
        InputError: the folder holds no tokenizer.
    """
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises no class of its own
        raise InputError(
            tokenizer,
            f"no tokenizer can be loaded ({' '.join(str(error).split())[:200]})",
            "Give a folder with tokenizer.json.",
        ) from error

    def pieces(label: str) -> list[tuple[str, str]]:
        said = found(label, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        names = found.convert_ids_to_tokens(said["input_ids"])
        texts = (label[start:end].strip() for start, end in said["offset_mapping"])
        return list(zip(names, texts, strict=True))

    rows = list(classes_of(tables.read(facts), scripts, pieces, naming))
    tables.write("fact_classes", rows, out)
    return dict(Counter(f"{row['rules']}: {row['class']}" for row in rows))


_SUMS = ("n", "n_absent", "n_right", "n_absent_right")


def absent_of(table: pd.DataFrame, resamples: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield what is told of each class, of the facts of one checkpoint, unit and set of rules.

    Args:
        table: ``subject_id, class, absent, right`` (bool) and, of a planted world, ``stated`` (bool), ``form``.
        resamples: of the subjects.
        seed: of these.

    Yields:
        the counts; ``share`` of the absent and right facts that are of the class, ``base_rate`` of the class among all
        facts, ``enrichment`` their ratio, with intervals over subjects, which go as far as what no subject has shown
        of the share lets them (:mod:`lorebridge.unseen`); ``recall``, the share of stated facts that are
        present, and ``missed``, how many absent and right facts of the class there would be if all of them were
        stated and tracing had missed them: (1 / recall - 1) for each that is right, stated and present.
    """
    subject = pd.factorize(table["subject_id"])[0]
    n_subjects = int(subject.max(initial=-1)) + 1
    place = table["class"].map(CLASSES.index).to_numpy()
    absent, right = table["absent"].to_numpy(bool), table["right"].to_numpy(bool)
    sums = np.zeros((n_subjects, len(CLASSES), len(_SUMS)))
    for column, of in enumerate((np.ones(len(table), bool), absent, right, absent & right)):
        np.add.at(sums, (subject[of], place[of], column), 1.0)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n_subjects, np.full(n_subjects, 1 / n_subjects), size=resamples).astype(np.float64)
    weights = np.concatenate([np.ones((1, n_subjects)), drawn])
    counts = np.tensordot(weights, sums, 1)  # (1 + resamples, classes, sums)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = counts[..., 3] / counts[..., 3].sum(axis=1, keepdims=True)
        base = counts[..., 0] / counts[..., 0].sum(axis=1, keepdims=True)
        enrichment = share / base
    told = sums[..., _SUMS.index("n_absent_right")]
    of = np.broadcast_to(told.sum(axis=1, keepdims=True), told.shape)
    unseen = np.stack(summed_ends(told, of, np.eye(len(CLASSES)), (0, 1)))  # (2, classes)
    known = "stated" in table
    is_stated = table["stated"].to_numpy(bool) if known else np.zeros(len(table), bool)
    recall = (is_stated & ~absent).sum() / is_stated.sum() if is_stated.any() else np.nan
    of_absent = len(np.unique(subject[absent & right]))
    for index, name in enumerate(CLASSES):
        own = place == index
        row: dict[str, Any] = {"class": name}
        row |= {key: int(counts[0, index, column]) for column, key in enumerate(_SUMS)}
        row["n_subjects"] = of_absent
        for key, values, unit in (("", share, 1.0), ("enrichment", enrichment, base[0, index])):
            finite = values[1:, index][np.isfinite(values[1:, index])]
            lo, hi = np.nan, np.nan
            if of_absent > 1 and len(finite):
                lo, hi = np.quantile(finite, [0.025, 0.975])
                lo, hi = np.fmin(lo, unseen[0, index] / unit), np.fmax(hi, unseen[1, index] / unit)
            row |= {
                key or "share": _number(values[0, index]),
                f"{key}_lo".lstrip("_"): _number(lo),
                f"{key}_hi".lstrip("_"): _number(hi),
            }
        row["base_rate"] = _number(base[0, index])
        row["recall"] = _number(recall)
        row["missed"] = _number((1 / recall - 1) * (own & right & ~absent & is_stated).sum()) if recall > 0 else None
        if known:
            form = (table["form"] == FORM_OF[name]).to_numpy()
            row["stated"] = int((own & absent & right & is_stated).sum())
            row["planted"], row["planted_absent_right"] = int(form.sum()), int((form & absent & right).sum())
        yield row


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def absent_facts(
    *,
    scores: Sequence[Path],
    facts: Path,
    classes: Path,
    origins: Path,
    resamples: int,
    seed: int,
    heldout: Mapping[str, float] | None = None,
    truth: Path | None = None,
    forms: Path | None = None,
    out: Path,
) -> dict[str, int]:
    """Write the table ``absent_facts``.

    A fact is right where its own object is the model's only answer. Facts that cannot be looked for are left out.

    Args:
        scores: tables "fact_scores", one a model.
        facts: the table "facts".
        classes: the table "fact_classes".
        origins: the table "origins".
        resamples: of the subjects.
        seed: of these.
        heldout: language -> the share of its documents that is held out.
        truth, forms: tables of a planted world; None of real text.
        out: the table to write.

    Returns:
        Notes for the record: ``rows``.
    """
    about = tables.read(facts, ["fact_id", "lang", "subject_id"])
    found = tables.read(classes, ["fact_id", "lang", "rules", "class"])
    traced = tables.read(origins, ["fact_id", "lang", "unit", "run", "present"]).dropna(subset=["present"])
    traced = traced.assign(absent=~traced["present"].astype(bool)).merge(about, on=["fact_id", "lang"])
    if truth is not None and forms is not None:
        said = stated(tables.read(truth, ["question_id", "corpus", "doc_ids"]), heldout or {})
        traced = traced.merge(said, on=["fact_id", "lang"]).merge(tables.read(forms), on="fact_id")
    rows = []
    for path in scores:
        for named, asked in checkpoints(tables.read(path)):
            right = asked[["fact_id", "lang"]].assign(right=asked["exact"] > 0.5)
            for unit, of_unit in traced.groupby("unit", sort=False):
                read = of_unit[of_unit["run"] == named["run"]] if unit == PRESENTATION else of_unit
                joined = read.merge(right, on=["fact_id", "lang"]).merge(found, on=["fact_id", "lang"])
                for rules, table in joined.groupby("rules", sort=False):
                    parts = [(None, table), *table.groupby("lang", sort=False)]
                    rows += [
                        {**named, "lang": lang, "unit": unit, "rules": rules, **row}
                        for lang, part in parts
                        if len(part)
                        for row in absent_of(part, resamples, seed)
                    ]
    tables.write("absent_facts", rows, out)
    return {"rows": len(rows)}
