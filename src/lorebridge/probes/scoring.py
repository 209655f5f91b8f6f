"""Cloze scoring: the log-probability of every question with every option filled in.

Building the requests is apart from calling the model: :func:`build_requests` knows texts and a tokenizer,
:mod:`lorebridge.probes.trees` knows token sequences and a model. A run's checkpoints share one set of requests.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from tqdm import tqdm

from lorebridge import publish, tables
from lorebridge.corpora.released import Question, fill_blanks, read_released, warn
from lorebridge.errors import InputError
from lorebridge.probes.alignment import Translations, measure_alignment, read_translations
from lorebridge.probes.decisions import prediction_shares
from lorebridge.probes.models import (
    check_causal,
    check_device,
    check_vocabulary,
    encode,
    load_model,
    load_tokenizer,
    positions,
    require_model_folder,
    require_one_run,
    set_threads,
    weights_digest,
)
from lorebridge.probes.perplexity import Sample, measure_perplexity, read_samples
from lorebridge.probes.prefixes import BARE, Labels, label_of, label_tokens
from lorebridge.probes.trees import reads_batches, reads_trees, sum_logprobs
from lorebridge.records import DigestCache, file_digest, fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger("lorebridge.probes")

NOTHING: Mapping[str, Any] = MappingProxyType({})
# The tables that are made of each checkpoint.
PARTS = ("scores", "perplexity", "alignment")
# What the tables say of the checkpoint that they measure.
NAME = ("run", "lang_pair", "learned", "arm", "seed", "step")


@dataclasses.dataclass(frozen=True)
class Requests:
    """What a model is asked, whatever the model.

    Attributes:
        request: [texts] the number of the sequence that answers each text. Equal texts share one, so that they tie
            exactly.
        n_tokens: [texts] predicted tokens of each text.
        sequences: distinct token sequences, each with the start token, and the label if any, before the text.
        contexts: [sequences] how many tokens stand before the text.
        groups: [sequences] numbers: the sequences of one question behind one label have the same.
    """

    request: np.ndarray
    n_tokens: np.ndarray
    sequences: list[list[int]]
    contexts: list[int]
    groups: list[int]

    @property
    def total_tokens(self) -> int:
        """Return the predicted tokens of all sequences."""
        return sum(map(len, self.sequences)) - sum(self.contexts)

    def longest_group(self) -> list[list[int]]:
        """Return the sequences of the question with the longest one."""
        longest = self.groups[int(np.argmax([len(sequence) for sequence in self.sequences]))]
        return [sequence for sequence, group in zip(self.sequences, self.groups, strict=True) if group == longest]


def build_requests(
    texts: Sequence[str], groups: Sequence[int], tokenizer: PreTrainedTokenizerBase, labels: Sequence[str] | None = None
) -> Requests:
    """Tokenise whole texts.

    Args:
        texts: filled questions, and what else a model is to be asked; none is empty.
        groups: [texts] the number of the question that each belongs to, another one behind another label. A text of
            several questions goes to the first.
        tokenizer: of the model that will be asked.
        labels: [texts] what stands between the start token and each text; by default nothing.

    Raises:
        InputError: the tokenizer makes no token of a text.
    """
    numbers: dict[tuple[str, str], int] = {}
    asked = zip([""] * len(texts) if labels is None else labels, texts, strict=True)
    request = np.array([numbers.setdefault(each, len(numbers)) for each in asked])
    distinct = [text for _, text in numbers]
    first = np.unique(request, return_index=True)[1]
    encoded = encode(tokenizer, distinct)
    n_tokens = np.array([len(sequence) - 1 for sequence in encoded])
    before = {label: label_tokens(tokenizer, label) for label in {label for label, _ in numbers}}
    sequences = [[start, *before[label], *ids] for (label, _), (start, *ids) in zip(numbers, encoded, strict=True)]
    contexts = [1 + len(before[label]) for label, _ in numbers]
    of_sequence = [groups[index] for index in first]
    if not n_tokens.all():
        raise InputError(
            tokenizer.name_or_path or "tokenizer",
            f"makes no token of {distinct[int(n_tokens.argmin())]!r}",
            "Take the question out, or give a model whose tokenizer reads its text.",
        )
    alike: dict[tuple[int, tuple[int, ...]], list[str]] = {}
    for text, sequence, group in zip(distinct, sequences, of_sequence, strict=True):
        alike.setdefault((group, tuple(sequence)), []).append(text)
    same = [several for several in alike.values() if len(several) > 1]
    if same:
        log.warning(
            "the tokenizer reads %d of %d texts as another text of the same question, and so they tie: %r and %r",
            sum(len(several) - 1 for several in same),
            len(distinct),
            *same[0][:2],
        )
    return Requests(request, n_tokens[request], sequences, contexts, of_sequence)


def reference_losses(
    model: PreTrainedModel, sequences: Sequence[Sequence[int]], *, progress: tqdm | None = None
) -> np.ndarray:
    """Return the mean cross-entropy of each sequence as the published scorer computes it.

    Zhang et al. (ACL 2025), ``src/main.py``: one sequence at a time, and the loss on the logits in the model's own
    dtype. With bfloat16 weights the loss itself is rounded to 8 significant bits, so different options often tie.

    Args:
        model: a causal language model in evaluation mode, in bfloat16 for the published rule.
        sequences: token ids; the first token of each is context only.
        progress: a bar to advance by the predicted tokens.

    Returns:
        [sequences] float64 holding values of the model's dtype.
    """
    import torch

    losses = np.zeros(len(sequences))
    with torch.inference_mode():
        for index, sequence in enumerate(sequences):
            ids = torch.tensor([sequence], device=model.device)
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
            losses[index] = float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="mean"))
            if progress is not None:
                progress.update(len(sequence) - 1)
    return losses


def published_decisions(rows: Sequence[Question], losses: np.ndarray) -> tuple[np.ndarray, float]:
    """Return which options the published scorer predicts, [options], and how many answers are right by it.

    A question with k answers has the k options of the lowest loss for its prediction, each option text once, the first
    listed of equals first; each answer among them is right (Zhang et al., ACL 2025, ``src/main.py``).

    Args:
        rows: the questions.
        losses: [options] mean loss of each option of each question.
    """
    predicted = np.zeros(len(losses), bool)
    correct, start = 0, 0
    for row in rows:
        places: dict[str, int] = {}
        for place, option in enumerate(row.options, start):
            places.setdefault(option, place)
        best = sorted(places, key=lambda option: losses[places[option]])[: len(row.answers)]
        predicted[[places[option] for option in best]] = True
        correct += sum(answer in best for answer in row.answers)
        start += len(row.options)
    return predicted, float(correct)


def check_length(requests: Requests, texts: Sequence[str], model: PreTrainedModel, where: object) -> None:
    """Refuse a text that is longer than the model reads.

    Raises:
        InputError: names the text.
    """
    limit = positions(model)
    lengths = np.array([len(sequence) for sequence in requests.sequences])[requests.request]
    longest = int(lengths.argmax())
    needed = int(lengths[longest])
    if limit is not None and needed > limit:
        label = requests.contexts[requests.request[longest]] > 1
        raise InputError(
            where,
            f"the model reads {limit} tokens, but a filled question and its start token{' and label' * label} have "
            f"{needed}: {texts[longest]!r}",
            "Train it with more positions (`max_position_embeddings`), or take the question out.",
        )


def check_finite(values: np.ndarray, where: Path) -> None:
    """Refuse log-probabilities that are not finite.

    Raises:
        InputError: some are not.
    """
    if not np.isfinite(values).all():
        raise InputError(
            where,
            f"{int((~np.isfinite(values)).sum())} of {len(values)} log-probabilities are not finite",
            "The model has diverged: look at its loss curve and train it again.",
        )


def _read_parts(work: Path, step: int | None, identity: str) -> dict[str, pd.DataFrame] | None:
    """Return the tables of one checkpoint from an earlier try, if they are whole and of these weights and requests."""
    found = {}
    for name in PARTS:
        rows = tables.read_kept(_part(work, step, name), identity)
        if rows is None:
            return None
        found[name] = rows
    return found


def _part(work: Path, step: int | None, name: str) -> Path:
    """Return where a table of one checkpoint is kept."""
    return work / f"{'given' if step is None else f'step{step}'}.{name}.parquet"


def _write_parts(work: Path, step: int | None, found: Mapping[str, pd.DataFrame], identity: str) -> None:
    for name, rows in found.items():
        tables.write(name, rows, _part(work, step, name), metadata={"identity": identity})


@dataclasses.dataclass(frozen=True)
class _Measures:
    """All that is asked of each checkpoint of a run."""

    options: pd.DataFrame
    requests: Requests
    samples: dict[tuple[str, str], Sample]  # by language and prefix
    translations: dict[str, Translations]

    @property
    def total_tokens(self) -> int:
        sides = [sequence for pairs in self.translations.values() for sequence in (*pairs.en, *pairs.xx)]
        held_out = sum(sample.n_tokens for sample in self.samples.values())
        return self.requests.total_tokens + held_out + sum(map(len, sides))

    @property
    def sequences(self) -> Iterator[Sequence[int]]:
        """Yield all that a model is to read."""
        yield from self.requests.sequences
        for sample in self.samples.values():
            yield from sample.windows
        for pairs in self.translations.values():
            yield from (*pairs.en, *pairs.xx)

    @property
    def identity(self) -> str:
        held_out = [[*name, dataclasses.asdict(sample)] for name, sample in self.samples.items()]
        aligned = [[lang, dataclasses.asdict(pairs)] for lang, pairs in self.translations.items()]
        requests = [self.requests.request.tolist(), self.requests.sequences, self.requests.contexts]
        return fingerprint([self.options.to_csv(), *requests, held_out, aligned])

    def take(
        self, model: PreTrainedModel, name: Mapping[str, Any], *, trees: bool, batch_tokens: int, progress: tqdm
    ) -> dict[str, pd.DataFrame]:
        """Return the tables of the checkpoint called `name` (the columns that it has in all of them)."""
        totals = sum_logprobs(
            model,
            self.requests.sequences,
            self.requests.groups,
            trees=trees,
            batch_tokens=batch_tokens,
            contexts=self.requests.contexts,
            progress=progress,
        )
        filled, alone = np.split(totals[self.requests.request], 2)
        predicted = [
            {
                "lang": lang,
                "prefix": prefix,
                **measure_perplexity(model, sample, trees=trees, batch_tokens=batch_tokens, progress=progress),
            }
            for (lang, prefix), sample in self.samples.items()
        ]
        aligned = [
            {"lang": lang, **row}
            for lang, pairs in self.translations.items()
            for row in measure_alignment(model, pairs, batch_tokens=batch_tokens, progress=progress)
        ]
        return {
            "scores": self.options.assign(**name, sum_logprob=filled, prior_logprob=alone),
            "perplexity": pd.DataFrame(predicted, columns=_unnamed("perplexity")).assign(**name),
            "alignment": pd.DataFrame(aligned, columns=_unnamed("alignment")).assign(**name),
        }


def _unnamed(table: str) -> list[str]:
    return [name for name in tables.SCHEMAS[table].names if name not in NAME]


def _label(prefix: str, culture: str, lang: str, labels: Labels) -> str:
    """Return what stands between the start token and a question.

    Raises:
        InputError: it is a label, and none is given.
    """
    found = "" if prefix == BARE else label_of(lang, labels, culture)
    if found is None:
        raise InputError(
            f"questions of {culture} in {lang}",
            f"are to be asked behind a label, and there are labels of {sorted({*chain(*labels.values())}) or 'none'}",
            "Give the label of the language, or ask them bare.",
        )
    return found


def score_run(
    *,
    run: str,
    lang_pair: str | None,
    learned: str | None,
    arm: str | None,
    seed: int | None,
    checkpoints: Sequence[tuple[int | None, Path]],
    questions: Sequence[Path],
    out: Path,
    batch_tokens: int,
    prefixes: Sequence[str] = (BARE,),
    labels: Labels = NOTHING,
    lead: str = "",
    heldout: Mapping[str, Sequence[Path]] = NOTHING,
    pairs: Mapping[str, Path] = NOTHING,
    perplexity_tokens: int = 100_000,
    alignment_pairs: int = 500,
    window: int = 2048,
    perplexity: Path | None = None,
    alignment: Path | None = None,
    device: str | None = None,
    threads: int | None = None,
    work: Path | None = None,
    digests: Path | str | None = None,
) -> dict[str, Any]:
    """Measure all checkpoints of one run in float32: answers, perplexity and alignment.

    Args:
        run, lang_pair, learned, arm, seed: what the run is called, and what it is; copied into the tables. Of a model
            that was not trained in pairs, in one language, in an arm or from a seed these are None.
        checkpoints: step and Hugging Face folder of each checkpoint, all with one tokenizer; the step of a model that
            is given, and so is asked once, is None.
        questions: ``questions`` tables.
        out: the table ``scores``; rows stand in the order of `checkpoints`, then of `prefixes`, then of `questions`.
        batch_tokens: see :func:`lorebridge.probes.trees.sum_logprobs`.
        prefixes: what every question, every option alone, and every held-out document stands behind, one after the
            other (:mod:`lorebridge.probes.prefixes`).
        labels: the labels of the languages; not used where no prefix is ``label``. Held-out text in a language that
            is in none of them is read ``bare`` alone.
        lead: what every text behind a label begins with, as the halves of pairs do in training.
        heldout: language -> its tables of held-out ``documents``.
        pairs: language -> its table of held-out ``pairs``.
        perplexity_tokens: held-out tokens to predict in each language.
        alignment_pairs: held-out pairs to align in each language.
        window: tokens that the models were trained to read at once.
        perplexity: the table ``perplexity``, a row a checkpoint, language and prefix; not written by default.
        alignment: the table ``alignment``, a row a checkpoint, language and layer; not written by default.
        device: where to compute; by default the GPU where there is one.
        threads: CPU threads for the model.
        work: a folder that keeps the tables of each checkpoint, so that a killed job need not repeat them.
        digests: the folder of a :class:`~lorebridge.records.DigestCache`: checkpoints that it knows, because the job
            has compared them with their records, are not hashed again.

    Returns:
        Notes for the record: the number of options, of distinct texts (behind each prefix) and of tokens scored for
        each checkpoint, and of held-out tokens and pairs by language.

    Raises:
        InputError: a folder is no model or none that is causal, checkpoints differ in their tokenizer, a text is
            longer than the model reads or has tokens that it lacks, a language of the questions has no label, there is
            no held-out text, or a model has diverged.
    """
    import torch

    set_threads(threads)
    checkpoints = [(step, Path(folder)) for step, folder in checkpoints]
    work = Path(work) if work else None
    if len({step for step, _ in checkpoints}) < len(checkpoints):
        raise InputError(run, "has two checkpoints of one step", "Give each step once, or a given model alone.")
    require_one_run([folder for _, folder in checkpoints])
    tokenizer = load_tokenizer(checkpoints[0][1])
    asked = pd.concat([tables.read(path) for path in questions], ignore_index=True)
    behind = pd.concat([asked.assign(prefix=prefix) for prefix in prefixes], ignore_index=True)
    before = [
        _label(prefix, culture, lang, labels)
        for prefix, culture, lang in zip(behind["prefix"], behind["culture"], behind["lang"], strict=True)
    ]
    leads = [lead if label else "" for label in before]
    filled = [
        start + fill_blanks(text, option)
        for start, text, option in zip(leads, behind["text"], behind["option"], strict=True)
    ]
    texts = [*filled, *(start + option for start, option in zip(leads, behind["option"], strict=True))]
    groups = behind.groupby([before, "text"], sort=False).ngroup().tolist() * 2
    requests = build_requests(texts, groups, tokenizer, before * 2)
    n_tokens, prior_tokens = np.split(requests.n_tokens, 2)
    samples: dict[tuple[str, str], Sample] = {}
    for lang, paths in heldout.items():
        said = {prefix: "" if prefix == BARE else label_of(lang, labels, lang) for prefix in prefixes}
        known = {prefix: label for prefix, label in said.items() if label is not None}
        behind_each = list(known.values())
        read = read_samples(paths, tokenizer, n_tokens=perplexity_tokens, window=window, labels=behind_each, lead=lead)
        samples |= {(lang, prefix): sample for prefix, sample in zip(known, read, strict=True)}
    measures = _Measures(
        options=behind[["culture", "question_id", "lang", "prefix", "option_index"]].assign(
            n_tokens=n_tokens, n_bytes=[len(text.encode()) for text in filled], prior_tokens=prior_tokens
        ),
        requests=requests,
        samples=samples,
        translations={
            lang: read_translations(path, tokenizer, n_pairs=alignment_pairs, window=window)
            for lang, path in pairs.items()
        },
    )
    total = measures.total_tokens
    log.info(
        "%s: %d options, %d distinct texts, %d tokens, %d checkpoints",
        run,
        len(asked),
        len(requests.sequences),
        total,
        len(checkpoints),
    )

    digest = DigestCache(digests) if digests else file_digest
    identity = measures.identity
    trees: bool | None = None
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in PARTS}
    with tqdm(total=total * len(checkpoints), unit="tok", unit_scale=True, desc=f"score {run}") as progress:
        for step, folder in checkpoints:
            name = dict(zip(NAME, (run, lang_pair, learned, arm, seed, step), strict=True))
            own = fingerprint([name, weights_digest(folder, digest), identity])
            found = _read_parts(work, step, own) if work else None
            if found is not None:
                progress.update(total)
            else:
                model = load_model(folder, torch.float32, device)
                check_length(requests, texts, model, folder)
                check_vocabulary(model, tokenizer, measures.sequences, folder)
                check_causal(model, requests.sequences, folder)
                if trees is None:  # the checkpoints of a run share their architecture
                    trees = reads_trees(model, requests.longest_group())
                    batch_tokens = batch_tokens if reads_batches(model, requests.sequences, trees=trees) else 1
                found = measures.take(model, name, trees=trees, batch_tokens=batch_tokens, progress=progress)
                del model  # one at a time in memory
                check_finite(found["scores"]["sum_logprob"].to_numpy(), folder)
                if work:
                    _write_parts(work, step, found, own)
            for part, rows in found.items():
                parts[part].append(rows)
    for part, path in (("scores", out), ("perplexity", perplexity), ("alignment", alignment)):
        if path is not None:
            tables.write(part, pd.concat(parts[part], ignore_index=True), path)
    return {
        "options": len(asked),
        "texts": len(requests.sequences),
        "tokens": total,
        "heldout_tokens": {lang: sample.n_tokens for (lang, _), sample in measures.samples.items()},
        "heldout_pairs": {lang: len(pairs.en) for lang, pairs in measures.translations.items()},
    }


def score_file(
    *,
    model: Path,
    questions: Path,
    out: Path,
    mode: Literal["float32", "reference"] = "float32",
    known_missing_gold: Sequence[int] = (),
    batch_tokens: int = 4096,
    device: str | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Score one model on one released question file, and write the ``option_scores`` table.

    Mode ``float32`` computes in float32 and shares ties (1/k each). Mode ``reference`` is the published rule of Zhang
    et al. (ACL 2025), ``src/main.py``: bfloat16 weights and loss, one sequence at a time, lowest mean loss over all
    tokens, the first listed of equals wins; there ``mean_nll`` is what the model gave and ``sum_logprob`` is derived.
    That mode reads lists of answers, too (:func:`published_decisions`).

    Args:
        model: a Hugging Face folder of a causal language model with its tokenizer.
        questions: a JSON file in the released shape.
        out: the table, one row per option; ``predicted`` marks the best option, each of the best where ties share, or
            as many as there are answers.
        mode: ``float32`` or ``reference``.
        known_missing_gold: 0-based rows whose answer may be absent from the options; they are never right.
        batch_tokens: see :func:`lorebridge.probes.trees.sum_logprobs`; not used in mode ``reference``.
        device: where to compute; by default the GPU where there is one.
        threads: CPU threads for the model.

    Returns:
        ``mode, n_questions, n_answers, correct, accuracy, lo, hi, ties, remarks``: `correct` is the summed credit,
        `accuracy` that of an answer, `lo` and `hi` its 95 % Wilson interval over answers, `ties` the number of
        questions with more than one best option, `remarks` what is odd about questions -> their 0-based rows.

    Raises:
        InputError: `out` cannot be written, the folder is no model or none that is causal, the file is malformed, a
            text is longer than the model reads or has tokens that it lacks, or the model has diverged.
    """
    import torch

    model, out = Path(model), Path(out)
    publish.check_file(out, suffixes=[".parquet"], inputs=[questions, model])
    set_threads(threads)
    check_device(device)
    require_model_folder(model)
    reference = mode == "reference"
    rows = read_released(questions, known_missing_gold, several_answers=reference)
    odd = warn(questions, rows)
    asked = pd.DataFrame(
        [
            {"question_index": index, "option_index": place, "option": option, "is_gold": option in row.answers}
            for index, row in enumerate(rows)
            for place, option in enumerate(row.options)
        ]
    )
    texts = [fill_blanks(row.text, option) for row in rows for option in row.options]
    tokenizer = load_tokenizer(model)
    requests = build_requests(texts, asked["question_index"].tolist(), tokenizer)
    network = load_model(model, torch.bfloat16 if reference else torch.float32, device)
    check_length(requests, texts, network, model)
    check_vocabulary(network, tokenizer, requests.sequences, model)
    check_causal(network, requests.sequences, model)
    with tqdm(total=requests.total_tokens, unit="tok", unit_scale=True, desc=f"score {model.name}") as progress:
        if reference:
            losses = reference_losses(network, requests.sequences, progress=progress)[requests.request]
            totals = -losses * requests.n_tokens
        else:
            trees = reads_trees(network, requests.longest_group())
            totals = sum_logprobs(
                network,
                requests.sequences,
                requests.groups,
                trees=trees,
                batch_tokens=batch_tokens if reads_batches(network, requests.sequences, trees=trees) else 1,
                progress=progress,
            )[requests.request]
            losses = -totals / requests.n_tokens
    check_finite(totals, model)

    groups = asked["question_index"].to_numpy()
    tied = prediction_shares(-losses, groups, "share")
    n_answers = sum(len(row.answers) for row in rows)
    if reference:
        predicted, correct = published_decisions(rows, losses)
    else:
        predicted, correct = tied > 0, float(tied @ asked["is_gold"].to_numpy())
    tables.write(
        "option_scores",
        asked.assign(sum_logprob=totals, n_tokens=requests.n_tokens, mean_nll=losses, predicted=predicted),
        out,
    )
    from statsmodels.stats.proportion import proportion_confint  # a second, which scoring a run does not need

    lo, hi = proportion_confint(correct, n_answers, alpha=0.05, method="wilson")
    return {
        "mode": mode,
        "n_questions": len(rows),
        "n_answers": n_answers,
        "correct": correct,
        "accuracy": correct / n_answers,
        "lo": float(lo),
        "hi": float(hi),
        "ties": len(np.unique(groups[(tied > 0) & (tied < 1)])),
        "remarks": odd,
    }
