"""Cloze scoring: the log-probability of every question with every option filled in.

Building the requests is apart from calling the model: :func:`build_requests` knows questions and a tokenizer,
:func:`sum_logprobs` knows token sequences and a model. A run's checkpoints share one set of requests.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from statsmodels.stats.proportion import proportion_confint
from tqdm import tqdm

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes.decisions import prediction_shares
from lorebridge.probes.questions import fill_blanks, read_released
from lorebridge.records import file_digest, fingerprint

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger("lorebridge.probes")

END_OF_TEXT = "<|endoftext|>"


@dataclasses.dataclass(frozen=True)
class Requests:
    """What a model is asked, whatever the model.

    Attributes:
        options: the rows that were asked about, in their order, with the columns ``request`` (number of the sequence
            that answers the row), ``n_tokens`` (predicted tokens) and ``n_bytes`` (UTF-8 bytes of the filled text).
        sequences: distinct token sequences, each with the end-of-text token before the text. Equal texts share one,
            so that they tie exactly.
    """

    options: pd.DataFrame
    sequences: list[list[int]]


def start_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id of the token that stands before each text: end-of-text, as in training and as published.

    A tokenizer that does not have that token gives its own start token, else its end token.

    Raises:
        InputError: the tokenizer has none of them.
    """
    vocabulary = tokenizer.get_vocab()
    for candidate in (vocabulary.get(END_OF_TEXT), tokenizer.bos_token_id, tokenizer.eos_token_id):
        if candidate is not None:
            return candidate
    raise InputError(
        tokenizer.name_or_path,
        f"the tokenizer has no {END_OF_TEXT}, no start and no end token",
        "Give a model folder whose tokenizer names one of them.",
    )


def build_requests(options: pd.DataFrame, tokenizer: PreTrainedTokenizerBase) -> Requests:
    """Fill every blank and tokenise the whole sentences.

    Args:
        options: columns ``text`` (the question with its blanks) and ``option``, one row per option.
        tokenizer: of the model that will be asked. A special token spelt out in a text is plain text, as in training.
    """
    filled = [fill_blanks(text, option) for text, option in zip(options["text"], options["option"], strict=True)]
    request, distinct = pd.factorize(np.array(filled, dtype=object))
    encoded = tokenizer(list(distinct), add_special_tokens=False, split_special_tokens=True, verbose=False)
    start = start_token(tokenizer)
    sequences = [[start, *ids] for ids in encoded["input_ids"]]
    n_tokens = np.array([len(sequence) - 1 for sequence in sequences])
    return Requests(
        options=options.assign(
            request=request, n_tokens=n_tokens[request], n_bytes=[len(text.encode()) for text in filled]
        ),
        sequences=sequences,
    )


def make_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Group sequences of like length, longest first, so that none of the padded batches exceeds `batch_tokens`.

    A sequence longer than `batch_tokens` is a batch of its own. Longest first, a batch that does not fit in memory
    fails at once and not after an hour.

    >>> make_batches([2, 5, 2, 3], batch_tokens=6)
    [[1], [3, 0], [2]]
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def sum_logprobs(
    model: PreTrainedModel, sequences: Sequence[Sequence[int]], *, batch_tokens: int, progress: tqdm | None = None
) -> np.ndarray:
    """Return the summed log-probability (nats) of each sequence's tokens after its first.

    Sequences are padded on the right, where a causal model cannot see the padding. The log-softmax is taken in
    float32 whatever the dtype of the weights, and summed in float64.

    Args:
        model: a causal language model in evaluation mode.
        sequences: token ids; the first token of each is context only.
        batch_tokens: padded tokens in a batch; it changes the result by rounding only. The logits and their softmax
            need 8 bytes x batch_tokens x vocabulary. On a CPU a few thousand are fastest.
        progress: a bar to advance by the predicted tokens.

    Returns:
        [sequences] float64.
    """
    import torch

    totals = np.zeros(len(sequences))
    with torch.inference_mode():
        for batch in make_batches([len(sequence) for sequence in sequences], batch_tokens):
            width = len(sequences[batch[0]])
            ids = torch.zeros(len(batch), width, dtype=torch.long)
            targets = torch.full((len(batch), width - 1), -100)
            for row, index in enumerate(batch):
                sequence = torch.tensor(sequences[index])
                ids[row, : len(sequence)] = sequence
                targets[row, : len(sequence) - 1] = sequence[1:]
            # The last position predicts nothing, so the model need not read it.
            logits = model(input_ids=ids[:, :-1].to(model.device), use_cache=False).logits
            losses = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1).float(), targets.flatten().to(model.device), ignore_index=-100, reduction="none"
            )
            totals[batch] = -losses.view(len(batch), -1).double().sum(1).cpu().numpy()
            if progress is not None:
                progress.update(int((targets >= 0).sum()))
    return totals


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


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputError(
            folder, f"no tokenizer can be loaded ({error})", "Give a Hugging Face model folder."
        ) from error


def _load_model(folder: Path, dtype: torch.dtype, device: str | None) -> PreTrainedModel:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        # With the loading information it returns a pair, which its annotation does not say.
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(folder, f"no model can be loaded ({error})", "Give a Hugging Face model folder.") from error
    model, loading = loaded
    if loading["missing_keys"]:
        # The library fills what is missing with random numbers and only warns.
        raise InputError(
            folder, f"its weights lack {min(loading['missing_keys'])}", "Give a causal language model, and all of it."
        )
    return model.eval().to(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _require_model_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise InputError(
            folder, "not a model folder (no config.json)", "Give a folder that `save_pretrained` or a run has written."
        )


def _check_length(requests: Requests, model: PreTrainedModel, where: Path) -> None:
    limit = getattr(model.config, "max_position_embeddings", None)
    longest = max(len(sequence) for sequence in requests.sequences)
    if limit is not None and longest > limit:
        text = requests.options["text"].iloc[requests.options["n_tokens"].argmax()]
        raise InputError(
            where,
            f"the model reads {limit} tokens, but a filled question and its start token have {longest}: {text!r}",
            "Train it with more positions (`max_position_embeddings`), or take the question out.",
        )


def _check_finite(values: np.ndarray, where: Path) -> None:
    if not np.isfinite(values).all():
        raise InputError(
            where,
            f"{int((~np.isfinite(values)).sum())} of {len(values)} log-probabilities are not finite",
            "The model has diverged: look at its loss curve and train it again.",
        )


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _weights_digest(folder: Path) -> list[str]:
    return [file_digest(path) for path in sorted([folder / "config.json", *folder.glob("*.safetensors")])]


def _read_part(path: Path, identity: str) -> pd.DataFrame | None:
    """Return the scores of one checkpoint from an earlier try, if they are whole and of these weights and requests."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return None
    return tables.read(path) if metadata.get(b"identity") == identity.encode() else None


def _write_part(path: Path, scores: pd.DataFrame, identity: str) -> None:
    partial = path.with_name(path.name + ".partial")
    tables.write("scores", scores, partial, metadata={"identity": identity})
    partial.replace(path)


def score_run(
    *,
    run: str,
    lang_pair: str,
    arm: str,
    seed: int,
    checkpoints: Sequence[tuple[int, Path]],
    questions: Sequence[Path],
    out: Path,
    batch_tokens: int,
    device: str | None = None,
    threads: int | None = None,
    work: Path | None = None,
) -> dict[str, Any]:
    """Score all checkpoints of one run on all its questions in float32, and write its ``scores`` table.

    Args:
        run, lang_pair, arm, seed: what the run is called; copied into the table.
        checkpoints: step and Hugging Face folder of each checkpoint, all with one tokenizer.
        questions: ``questions`` tables.
        out: the table; rows stand in the order of `checkpoints`, then of `questions`.
        batch_tokens: see :func:`sum_logprobs`.
        device: where to compute; by default the GPU where there is one.
        threads: CPU threads for the model.
        work: a folder that keeps the scores of each checkpoint, so that a killed job need not repeat them.

    Returns:
        Notes for the record: the number of options, of distinct texts and of tokens scored for each checkpoint.

    Raises:
        InputError: a folder is no model, checkpoints differ in their tokenizer, a text is longer than the model
            reads, or a model has diverged.
    """
    import torch

    _set_threads(threads)
    checkpoints = [(step, Path(folder)) for step, folder in checkpoints]
    work = Path(work) if work else None
    for _, folder in checkpoints:
        _require_model_folder(folder)
    tokenizers = [folder / "tokenizer.json" for _, folder in checkpoints]
    if len({file_digest(path) for path in tokenizers if path.is_file()}) > 1:
        raise InputError(
            checkpoints[0][1].parent, "its checkpoints differ in their tokenizer", "Give the checkpoints of one run."
        )
    asked = pd.concat([tables.read(path) for path in questions], ignore_index=True)
    requests = build_requests(asked, _load_tokenizer(checkpoints[0][1]))
    n_tokens = sum(len(sequence) - 1 for sequence in requests.sequences)
    log.info(
        "%s: %d options, %d distinct texts, %d tokens, %d checkpoints",
        run, len(asked), len(requests.sequences), n_tokens, len(checkpoints),
    )  # fmt: skip

    columns = [name for name in tables.SCHEMAS["scores"].names if name in requests.options.columns]
    asked_identity = fingerprint([requests.options[[*columns, "request"]].to_csv(), requests.sequences])
    parts = []
    with tqdm(total=n_tokens * len(checkpoints), unit="tok", unit_scale=True, desc=f"score {run}") as progress:
        for step, folder in checkpoints:
            identity = fingerprint([run, lang_pair, arm, seed, step, _weights_digest(folder), asked_identity])
            part = work / f"step{step}.parquet" if work else None
            scores = _read_part(part, identity) if part else None
            if scores is not None:
                progress.update(n_tokens)
            else:
                model = _load_model(folder, torch.float32, device)
                _check_length(requests, model, folder)
                totals = sum_logprobs(model, requests.sequences, batch_tokens=batch_tokens, progress=progress)
                _check_finite(totals, folder)
                scores = requests.options[columns].assign(
                    run=run, lang_pair=lang_pair, arm=arm, seed=seed, step=step,
                    sum_logprob=totals[requests.options["request"]],
                )  # fmt: skip
                if part:
                    _write_part(part, scores, identity)
            parts.append(scores)
    tables.write("scores", pd.concat(parts, ignore_index=True), out)
    return {"options": len(asked), "texts": len(requests.sequences), "tokens": n_tokens}


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

    Args:
        model: a Hugging Face folder of a causal language model with its tokenizer.
        questions: a JSON file in the released shape.
        out: the table, one row per option; ``predicted`` marks the best option, or each of the best where ties share.
        mode: ``float32`` or ``reference``.
        known_missing_gold: 0-based rows whose answer may be absent from the options; they are never right.
        batch_tokens: see :func:`sum_logprobs`; not used in mode ``reference``.
        device: where to compute; by default the GPU where there is one.
        threads: CPU threads for the model.

    Returns:
        ``mode, n_questions, correct, accuracy, lo, hi, ties``: `correct` is the summed credit, `lo` and `hi` the 95 %
        Wilson interval over questions, `ties` the number of questions with more than one best option.

    Raises:
        InputError: the folder is no model, the file is malformed, a text is longer than the model reads, or the model
            has diverged.
    """
    import torch

    model, out = Path(model), Path(out)
    _set_threads(threads)
    _require_model_folder(model)
    rows = read_released(questions, known_missing_gold)
    asked = pd.DataFrame(
        [
            {
                "question_index": index,
                "option_index": option_index,
                "text": row["question"],
                "option": option,
                "is_gold": option == row["answer"],
            }
            for index, row in enumerate(rows)
            for option_index, option in enumerate(row["options"])
        ]
    )
    requests = build_requests(asked, _load_tokenizer(model))
    reference = mode == "reference"
    network = _load_model(model, torch.bfloat16 if reference else torch.float32, device)
    _check_length(requests, network, model)
    n_tokens = sum(len(sequence) - 1 for sequence in requests.sequences)
    with tqdm(total=n_tokens, unit="tok", unit_scale=True, desc=f"score {model.name}") as progress:
        if reference:
            losses = reference_losses(network, requests.sequences, progress=progress)[requests.options["request"]]
            totals = -losses * requests.options["n_tokens"].to_numpy()
        else:
            totals = sum_logprobs(network, requests.sequences, batch_tokens=batch_tokens, progress=progress)
            totals = totals[requests.options["request"]]
            losses = -totals / requests.options["n_tokens"].to_numpy()
    _check_finite(totals, model)

    groups = asked["question_index"].to_numpy()
    shares = prediction_shares(-losses, groups, "reference" if reference else "share")
    tied = prediction_shares(-losses, groups, "share")
    tables.write(
        "option_scores",
        requests.options.drop(columns=["text", "request", "n_bytes"]).assign(
            sum_logprob=totals, mean_nll=losses, predicted=shares > 0
        ),
        out,
    )
    correct = float(shares @ asked["is_gold"].to_numpy())
    lo, hi = proportion_confint(correct, len(rows), alpha=0.05, method="wilson")
    return {
        "mode": mode,
        "n_questions": len(rows),
        "correct": correct,
        "accuracy": correct / len(rows),
        "lo": float(lo),
        "hi": float(hi),
        "ties": len(np.unique(groups[(tied > 0) & (tied < 1)])),
    }
