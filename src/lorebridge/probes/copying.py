"""Copying in context: whether a model says again what the document before it has just said.

A model that does has learned to look up, in what it reads, what followed the same token before: induction (Elhage et
al. 2021, *A Mathematical Framework for Transformer Circuits*; Olsson et al. 2022, *In-context Learning and Induction
Heads*, arXiv 2209.11895, who measure it on sequences of random tokens that are repeated). Such a sequence needs no
data, so any causal model can be asked. In a planted world there are also the answers that held-out documents say for
the second time, as texts of that kind do, and clauses that no text states, said twice.

It is what bridging rests on. Where a model takes the second half of a pair from the first, the halves' words have to be
aligned; a base model that does not copy has no use for the first half, and that nothing crosses then says nothing of
pairs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.corpora.released import BLANK, fill_blanks
from lorebridge.errors import InputError
from lorebridge.probes.models import (
    check_causal,
    check_vocabulary,
    load_model,
    load_tokenizer,
    require_model_folder,
    set_threads,
    start_token,
)
from lorebridge.probes.perplexity import read_samples
from lorebridge.probes.trees import make_batches, padded
from lorebridge.unseen import FEW_CLUSTERS, TAIL, ends, resting
from lorebridge.world.scripts import SCRIPTS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger("lorebridge.probes")

RANDOM, CLAUSES, AGAIN = "random tokens", "clauses", "held-out text"
"""What is said twice: tokens drawn at random, clauses of a planted world that no text states, or the answers of its
held-out documents."""

DECIDES = (AGAIN, CLAUSES, RANDOM)
"""Which of them says whether a model copies: the first that there is. Text of a planted world has few shapes: who has
learned to copy in these may not do it with random tokens, nor in a clause of a shape that no text says twice."""

COPIES = 0.5
"""Share of what only copying can tell from which on a model is said to copy. A model without induction is at 0 and one
with it near 1, and between lie those in the middle of learning it, which pass it within a small part of their training
(Olsson et al. 2022, section 3: the phase change); so that where between them the line is drawn matters little, and half
is the middle. It was declared before any model was measured. That of a clause the answer alone counts was settled after
a first look at one base model: of whole clauses it said .53, as none of its text says relations after a name twice."""

COPYING, NOT_COPYING, CANNOT_TELL = "copies", "does not copy", "cannot tell"

SEQUENCES = 64  # of random tokens, and of clauses
LENGTH = 32  # random tokens that are said twice
BEFORE = 3  # tokens that stand before an answer both times that it is said
FEWEST = 20  # held-out documents that say an answer again, of which something can be told
VOCABULARY_TOKENS = 50_000  # of held-out text, whose distinct ones are drawn from
BATCH_TOKENS = 1024  # whose logits are held at once
RESAMPLES = 1000
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class Document:
    """A document in which something stands that was said before, beside one in which it was not.

    Attributes:
        twice: token ids of the document that says it twice, behind a start token.
        repeated: the places in `twice` that are counted: those of random tokens but the first, which nothing announces,
            and those of an answer.
        once: token ids of the document that says it once; it may be the same.
        fresh: the same tokens' places in `once`.
    """

    twice: list[int]
    repeated: np.ndarray
    once: list[int]
    fresh: np.ndarray


def verdict(lo: float, hi: float) -> str:
    """Return whether a model copies, by the 95 % interval of what it copies.

    >>> verdict(0.9, 1.0), verdict(0.0, 0.1), verdict(0.4, 0.6)
    ('copies', 'does not copy', 'cannot tell')
    """
    return COPYING if lo > COPIES else NOT_COPYING if hi < COPIES else CANNOT_TELL


def generator(*names: str) -> np.random.Generator:
    """Return a random generator whose numbers depend on the names alone, on any machine."""
    digest = hashlib.sha256("/".join(["copying", *names]).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))


def random_tokens(vocabulary: Iterable[int], start: int, *, lang: str, window: int) -> list[Document]:
    """Return sequences of random tokens that are said twice; the first saying stands for what is said once.

    No token comes twice in a saying, so that the one before tells which comes next.

    Args:
        vocabulary: the tokens to draw from, each as often as any other; two or more.
        start: the start token.
        lang: the language whose tokens they are, which the draw depends on.
        window: tokens that a model reads at once.
    """
    distinct = np.array(sorted(set(vocabulary)))
    length = min(LENGTH, len(distinct), (window - 1) // 2)
    drawn = generator(RANDOM, lang)
    first = np.arange(2, length + 1)
    found = []
    for _ in range(SEQUENCES):
        said = drawn.choice(distinct, length, replace=False).tolist()
        sequence = [start, *said, *said]
        found.append(Document(sequence, first + length, sequence, first))
    return found


def clauses(
    questions: pd.DataFrame,
    truth: pd.DataFrame,
    tokenizer: PreTrainedTokenizerBase,
    *,
    lang: str,
    script: str,
    window: int,
) -> list[Document]:
    """Return documents of three clauses of which the last repeats one before it, or none.

    A clause is a question with one of its options, drawn at random, of a fact that the language's text states nowhere:
    so that no memory speaks for it, nor against it. Its answer alone is counted: what is said of whom may follow rules
    of the world's text, which a model has learned and these clauses break. The documents that say it once have, in
    place of the two clauses before, two of other subjects and other answers.

    Args:
        questions: table "questions" of the cultures, all languages.
        truth: table "truth".
        tokenizer: of the model, with offsets.
        lang: the language to ask in.
        script: that it is written in.
        window: tokens that a model reads at once; longer documents are left out.

    Returns:
        None where the world has too few such facts.
    """
    here = truth[truth["corpus"] == lang].set_index("question_id")
    subjects = here.loc[here["n_statements"] == 0, "subject"].to_dict()
    asked = questions[(questions["lang"] == lang) & questions["question_id"].isin(list(subjects))]
    drawn = generator(CLAUSES, lang)
    known = [(name, rows["text"].iloc[0], rows["option"].tolist()) for name, rows in asked.groupby("question_id")]
    found: list[Document] = []
    for number in drawn.permutation(len(known)).tolist():
        picked: list[tuple[str, str, str]] = []  # subject, answer, question
        for other in [number, *drawn.permutation(len(known)).tolist()]:
            name, text, options = known[other]
            answer = options[int(drawn.integers(len(options)))]
            if all(subjects[name] != subject and answer != said for subject, said, _ in picked):
                picked.append((subjects[name], answer, text))
            if len(picked) == 4:
                break
        if len(picked) < 4:
            continue
        target, beside, *unlike = (fill_blanks(text, answer) for _, answer, text in picked)
        _, answer, text = picked[0]
        blank = BLANK.search(text)
        span = (blank.start(), blank.start() + len(answer)) if blank else None
        # Where every word has a space before it, a clause brings its own.
        between = "" if target[:1].isspace() else SCRIPTS[script].between
        before = [target, beside] if drawn.random() < 0.5 else [beside, target]
        twice, once = (
            encoded_behind(tokenizer, "".join(clause + between for clause in clauses), target, span)
            for clauses in (before, unlike)
        )
        if max(len(twice[0]), len(once[0])) <= window and len(found) < SEQUENCES:
            found.append(Document(*twice, *once))
    return found


def answers_again(
    texts: Iterable[str], options: Iterable[str], tokenizer: PreTrainedTokenizerBase, *, window: int
) -> list[Document]:
    """Return the documents that say an answer again behind what stood before it the first time.

    Counted are the tokens of an answer that stands behind the same three tokens as before, beside those of the first
    place where it did, so that a model can take it from there.

    Args:
        texts: held-out documents.
        options: the answers that questions of this language offer.
        tokenizer: of the model, with offsets.
        window: tokens that a model reads at once; longer documents are left out.

    Returns:
        None where there are fewer than 20.
    """
    answer = re.compile("|".join(re.escape(option) for option in sorted(set(options), key=len, reverse=True)) or "(?!)")
    found: list[Document] = []
    for text in texts:
        encoded = tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
        )
        ids = [start_token(tokenizer), *encoded["input_ids"]]
        first: dict[tuple[int, ...], range] = {}
        repeated: list[int] = []
        fresh: list[int] = []
        for start, end in (match.span() for match in answer.finditer(text)):
            of_answer = _places(encoded["offset_mapping"], start, end)
            places = range(of_answer[0], of_answer[-1] + 1)
            if places.start > BEFORE:
                before = first.setdefault(tuple(ids[places.start - BEFORE : places.stop]), places)
                if before != places:
                    repeated += places
                    fresh += before
        if repeated and len(ids) <= window:
            found.append(Document(ids, np.array(repeated), ids, np.array(fresh)))
    return found if len(found) >= FEWEST else []


def encoded_behind(
    tokenizer: PreTrainedTokenizerBase, opening: str, target: str, span: tuple[int, int] | None = None
) -> tuple[list[int], np.ndarray]:
    """Return the tokens of a text and what stands before it, behind the start token, and the places of some of them.

    Args:
        tokenizer: of the model, with offsets.
        opening: what stands before the text.
        target: the text.
        span: the first of its characters whose tokens are wanted, and the one behind the last; by default all.
    """
    start, end = (len(opening) + at for at in span or (0, len(target)))
    encoded = tokenizer(
        opening + target,
        add_special_tokens=False,
        split_special_tokens=True,
        return_offsets_mapping=True,
        verbose=False,
    )
    places = _places(encoded["offset_mapping"], start, end)
    return [start_token(tokenizer), *encoded["input_ids"]], np.array(places, np.int64)


def _places(offsets: Sequence[tuple[int, int]], start: int, end: int) -> list[int]:
    """Return the places, behind a start token, of the tokens that hold some characters."""
    return [place for place, at in enumerate(offsets, start=1) if at[0] < end and at[1] > start]


def token_predictions(
    model: PreTrainedModel, sequences: Sequence[Sequence[int]], *, batch_tokens: int = BATCH_TOKENS
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return, of every sequence, the log-probability (nats) of each token and whether it is the likeliest.

    Args:
        model: a causal language model in evaluation mode.
        sequences: token ids, two or more each; rows of a batch are padded on the right.
        batch_tokens: padded tokens in a batch, whose logits are held at once.

    Returns:
        Two arrays a sequence, of its length; the first token, which nothing predicts, has NaN and False.
    """
    import torch

    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    with torch.inference_mode():
        for batch in make_batches([len(sequence) for sequence in sequences], batch_tokens):
            ids = torch.from_numpy(padded([np.array(sequences[index]) for index in batch])).to(model.device)
            logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
            told = logits.gather(2, ids[:, 1:, None])[..., 0] - logits.logsumexp(dim=2)
            right = logits.argmax(dim=2) == ids[:, 1:]
            for row, index in enumerate(batch):
                n = len(sequences[index]) - 1
                found[index] = (
                    np.concatenate([[np.nan], told[row, :n].cpu().numpy().astype(np.float64)]),
                    np.concatenate([[False], right[row, :n].cpu().numpy()]),
                )
    return [found[index] for index in range(len(sequences))]


def copied(repeated: np.ndarray, fresh: np.ndarray) -> tuple[float, float, float]:
    """Return the share of what could not be told otherwise that copying tells, with its 95 % interval.

    (r - f) / (1 - f), where of the tokens that are said again the share r is predicted, and of the same tokens said for
    the first time the share f. The interval holds the percentiles of a bootstrap over sequences; and where hardly any
    sequence differs from the others, what none has shown (:mod:`lorebridge.unseen`): one of which r is 0 and f is 1, or
    r is 1 and f is 0.

    Args:
        repeated: [sequences] share of the repeated tokens that are predicted.
        fresh: [sequences] the same of tokens said once.

    >>> [round(end, 3) for end in copied(np.ones(64), np.full(64, 0.2))]
    [1.0, 0.926, 1.0]
    """

    def ratio(r: np.ndarray, f: np.ndarray) -> np.ndarray:
        return np.divide(r - f, 1 - f, out=np.full(np.shape(r), np.nan), where=f < 1)

    weights = generator("bootstrap").multinomial(len(fresh), np.full(len(fresh), 1 / len(fresh)), RESAMPLES)
    drawn = ratio(weights @ repeated / len(fresh), weights @ fresh / len(fresh))
    lo, hi = np.nanquantile(drawn, [TAIL, 1 - TAIL]) if not np.isnan(drawn).all() else (np.nan, np.nan)
    r, f = repeated.mean(), fresh.mean()
    share = float(ratio(r, f))
    if f < 1 and resting(repeated - fresh - share * (1 - fresh)) < FEW_CLUSTERS:
        (least_r, most_r), (least_f, most_f) = (ends(mean, len(fresh), (0, 1)) for mean in (r, f))
        lo, hi = np.fmin(lo, ratio(least_r, most_f)), np.fmax(hi, ratio(most_r, least_f))
    return share, float(lo), float(hi)


def measure_copying(model: PreTrainedModel, documents: Sequence[Document]) -> dict[str, Any]:
    """Return what the ``copying`` table says of one model on some documents.

    Args:
        model: a causal language model in evaluation mode.
        documents: one or more.
    """
    read = [document.twice for document in documents]
    apart = [document.once for document in documents if document.once is not document.twice]
    said = token_predictions(model, [*read, *apart])
    others = iter(said[len(read) :])
    twice, once = [], []
    for document, found in zip(documents, said, strict=False):
        beside = found if document.once is document.twice else next(others)
        twice.append([values[document.repeated].mean() for values in found])
        once.append([values[document.fresh].mean() for values in beside])
    (told, right), (told_once, right_once) = np.array(twice).T, np.array(once).T
    share, lo, hi = copied(right, right_once)
    return {
        "n_sequences": len(documents),
        "n_tokens": sum(len(document.repeated) for document in documents),
        "accuracy": float(right.mean()),
        "accuracy_once": float(right_once.mean()),
        "gain": float(told.mean() - told_once.mean()),
        "copied": share,
        "lo": lo,
        "hi": hi,
    }


def copying(
    *,
    run: str,
    learned: str | None,
    arm: str | None,
    seed: int | None,
    checkpoints: Mapping[int | str | None, Path],
    heldout: Mapping[str, Sequence[Path]],
    window: int,
    out: Path,
    questions: Sequence[Path] = (),
    truth: Path | None = None,
    scripts: Mapping[str, str] = NOTHING,
    device: str | None = None,
    threads: int | None = None,
) -> None:
    """Write the table "copying": whether a model copies in context, at every checkpoint and in every language.

    Args:
        run, learned, arm, seed: what the run is called, and what it is; copied into the table.
        checkpoints: step -> Hugging Face folder, all with one tokenizer; a given model has no step.
        heldout: language -> its tables of held-out ``documents``, whose tokens are drawn from.
        window: tokens that the models were trained to read at once.
        out: the table.
        questions: tables "questions" of a planted world.
        truth: its table "truth".
        scripts: language -> the script that it is written in, of a planted world.
        device: where to compute; by default the GPU where there is one.
        threads: CPU threads for the model.

    Raises:
        InputError: a folder is no model or none that is causal, there is no held-out text, or one of questions and
            truth is given without the other.
    """
    import torch

    if bool(questions) != (truth is not None):
        raise InputError(run, "questions and truth go together", "Give both, of a planted world, or none.")
    set_threads(threads)
    for folder in checkpoints.values():
        require_model_folder(folder)
    tokenizer = load_tokenizer(next(iter(checkpoints.values())))
    asked = {
        (lang, RANDOM): random_tokens(
            _vocabulary(paths, tokenizer, window), start_token(tokenizer), lang=lang, window=window
        )
        for lang, paths in heldout.items()
    }
    if truth is not None:
        planted = pd.concat([tables.read(path) for path in questions], ignore_index=True)
        known = tables.read(truth, ["question_id", "corpus", "subject", "n_statements"])
        for lang, paths in heldout.items():
            texts = (text for path in paths for text in tables.read(path, ["text"])["text"])
            options = planted.loc[planted["lang"] == lang, "option"]
            documents = answers_again(texts, options, tokenizer, window=window)
            if documents:
                asked[lang, AGAIN] = documents
            documents = clauses(planted, known, tokenizer, lang=lang, script=scripts[lang], window=window)
            if documents:
                asked[lang, CLAUSES] = documents
            else:
                log.warning("%s: no clauses to say twice: every fact is stated, or documents are too long", lang)
    sequences = [s for documents in asked.values() for document in documents for s in (document.twice, document.once)]
    rows = []
    for said_step, folder in checkpoints.items():
        step = int(said_step) if said_step or said_step == 0 else None
        model = load_model(folder, torch.float32, device)
        check_vocabulary(model, tokenizer, sequences, folder)
        check_causal(model, sequences, folder)
        for (lang, text), documents in asked.items():
            said = {"run": run, "learned": learned, "arm": arm, "seed": seed, "step": step, "lang": lang, "text": text}
            rows.append(said | measure_copying(model, documents))
            if not np.isfinite(rows[-1]["gain"]):
                raise InputError(folder, "its log-probabilities are not finite", "The model has diverged: train again.")
        del model  # one at a time in memory
    tables.write("copying", rows, out)


def _vocabulary(paths: Iterable[Path], tokenizer: PreTrainedTokenizerBase, window: int) -> Iterator[int]:
    """Yield the tokens of held-out text, without the start token."""
    [sample] = read_samples(list(paths), tokenizer, n_tokens=VOCABULARY_TOKENS, window=window, labels=[""])
    for piece, context in zip(sample.windows, sample.contexts, strict=True):
        yield from piece[context:]
