"""Alarms before facts are traced: a corpus that is not in its language, and two corpora that are alike.

A fact that is looked for in text of another language is absent there, and would pass for transferred. What a language
looks like is learned from its facts (templates and labels), so that nothing is downloaded: texts are compared by the
frequencies of their trigrams, as languages are identified (Cavnar and Trenkle 1994, "N-gram-based text
categorization").
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import regex
from scipy import sparse

from lorebridge import tables
from lorebridge.corpora.facts import OBJECT, SUBJECT

RINGS, SILENT, CANNOT_TELL = "rings", "silent", "cannot tell"
SCRIPT, LANGUAGE, ALIKE = "not in its script", "not in its language", "corpora alike"
TO_DO = {
    SCRIPT: "Look at its documents (lorebridge sample-audit), and at what `corpora` names for it.",
    LANGUAGE: "Look at its documents (lorebridge sample-audit): is it the other language's text, or mixed?",
    ALIKE: "Compare the two files: a corpus of one language stands for the other, or most of its text is not in it.",
}
IN_SCRIPT = 0.5
"""Share of the letters of a corpus that must be of its language's script."""
SIMILAR = 0.9
"""Cosine of the trigrams of two corpora from which they are alike; two languages of a family lie below it."""
SHARED_DOCUMENTS = 0.01
"""Share of the documents of the smaller of two corpora that the other may hold word for word."""
_MOST = 2000  # documents of a corpus that are read: its first
_DIMENSIONS = 1 << 18  # of hashed trigrams
_OF_SCRIPT = {"Japanese": r"[\p{Han}\p{Hiragana}\p{Katakana}ー]"}
_LETTER = regex.compile(r"\p{L}")


def profile(texts: Sequence[str]) -> np.ndarray:
    """Return the frequencies of the character trigrams of some texts, a unit vector; zeros of none."""
    from sklearn.feature_extraction.text import HashingVectorizer

    trigrams = HashingVectorizer(
        analyzer="char_wb", ngram_range=(3, 3), n_features=_DIMENSIONS, alternate_sign=False, norm=None
    )
    counts = sparse.csr_matrix(trigrams.transform(texts)).sum(axis=0) if texts else np.zeros((1, _DIMENSIONS))
    vector = np.asarray(counts, np.float64).ravel()
    return vector / (np.linalg.norm(vector) or 1.0)


def in_script(texts: Sequence[str], script: str) -> float:
    """Return the share of the letters of some texts that are of a script; NaN where there is no letter."""
    own = regex.compile(_OF_SCRIPT.get(script, rf"\p{{Script={script}}}"))
    letters = Counter(itertools.chain.from_iterable(_LETTER.findall(text) for text in texts))
    total = sum(letters.values())
    return sum(n for letter, n in letters.items() if own.match(letter)) / total if total else float("nan")


def alarms_of(
    corpora: Mapping[str, Sequence[str]], facts: Mapping[str, Sequence[str]], scripts: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """Yield every alarm, whether it rings or not.

    Args:
        corpora: language -> texts of its documents.
        facts: language -> what is written in it: templates and labels of the facts, for all languages asked.
        scripts: language -> its script.
    """
    said = {lang: profile(texts) for lang, texts in facts.items()}
    read = {lang: profile(texts) for lang, texts in corpora.items()}
    for lang, texts in corpora.items():
        share = in_script(texts, scripts[lang])
        known = not np.isnan(share)
        yield _alarm(
            SCRIPT,
            lang,
            None,
            known,
            share < IN_SCRIPT,
            share,
            IN_SCRIPT,
            f"{100 * share:.0f} % of the letters are of the script {scripts[lang]}" if known else "it has no letter",
        )
        near = {other: float(read[lang] @ vector) for other, vector in said.items() if other != lang}
        other = max(near, key=lambda name: near[name], default=None)
        own = float(read[lang] @ said[lang]) if lang in said else 0.0
        best = near.get(other, 0.0) if other is not None else 0.0
        yield _alarm(
            LANGUAGE,
            lang,
            other,
            other is not None and max(own, best) > 0,
            best > own,
            own,
            best,
            f"its trigrams are like those of the facts in {lang} by {own:.2f}, and in {other} by {best:.2f}",
        )
    documents = {lang: set(texts) for lang, texts in corpora.items()}
    for lang, other in itertools.combinations(corpora, 2):
        fewest = min(len(documents[lang]), len(documents[other]))
        same = len(documents[lang] & documents[other]) / fewest if fewest else 0.0
        cosine = float(read[lang] @ read[other])
        yield _alarm(
            ALIKE,
            lang,
            other,
            fewest > 0,
            cosine > SIMILAR or same > SHARED_DOCUMENTS,
            cosine,
            SIMILAR,
            f"cosine of their trigrams {cosine:.2f}; {100 * same:.0f} % of the documents stand in both word for word",
        )


def _alarm(
    alarm: str, lang: str, other: str | None, known: bool, rings: bool, value: float, bound: float, why: str
) -> dict[str, Any]:
    verdict = (RINGS if rings else SILENT) if known else CANNOT_TELL
    return {
        "alarm": alarm,
        "lang": lang,
        "other": other,
        "verdict": verdict,
        "value": None if np.isnan(value) else value,
        "bound": bound,
        "why": why,
        "to_do": TO_DO[alarm] if verdict == RINGS else "",
    }


def corpus_alarms(
    *, facts: Path, corpora: Mapping[str, Sequence[Path]], scripts: Mapping[str, str], out: Path
) -> dict[str, int]:
    """Write the table ``corpus_alarms``, of the first documents of each corpus.

    Args:
        facts: the table "facts".
        corpora: language -> tables "documents".
        scripts: language -> its script.
        out: the table to write.

    Returns:
        Notes for the record: how many alarms ``ring``.
    """
    rows = tables.read(facts, ["lang", "subject", "object", "template"])
    written = {
        str(lang): {
            *(text.replace(SUBJECT, " ").replace(OBJECT, " ") for text in of["template"].unique()),
            *of["object"].unique(),
            *of["subject"].unique(),
        }
        for lang, of in rows.groupby("lang", sort=False)
    }
    # A label that several languages have tells none from another.
    among = Counter(itertools.chain.from_iterable(written.values()))
    said = {lang: sorted(text for text in texts if among[text] == 1) for lang, texts in written.items()}
    texts = {lang: _first(paths) for lang, paths in corpora.items()}
    found = list(alarms_of(texts, said, scripts))
    tables.write("corpus_alarms", found, out)
    return {"ring": sum(row["verdict"] == RINGS for row in found)}


def _first(paths: Sequence[Path]) -> list[str]:
    """Return the texts of the first documents of some tables."""
    rows = itertools.chain.from_iterable(tables.batches(path, ["text"]) for path in paths)
    return [row["text"] for row in itertools.islice(itertools.chain.from_iterable(rows), _MOST)]
