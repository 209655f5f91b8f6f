"""How well a model predicts text that no model was trained on."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes.models import start_token
from lorebridge.probes.prefixes import label_tokens
from lorebridge.probes.trees import sum_logprobs

if TYPE_CHECKING:
    from tqdm import tqdm
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclasses.dataclass(frozen=True)
class Sample:
    """Held-out text of one language, as a model reads it.

    Attributes:
        windows: token sequences.
        contexts: how many tokens at the beginning of each window are context only.
        n_documents: documents that the windows are from.
        n_bytes: UTF-8 bytes of the text that is predicted.
    """

    windows: list[list[int]]
    contexts: list[int]
    n_documents: int
    n_bytes: int

    @property
    def n_tokens(self) -> int:
        """Return how many tokens are predicted."""
        return sum(map(len, self.windows)) - sum(self.contexts)


def shuffled(frame: pd.DataFrame, identity: str) -> pd.DataFrame:
    """Return the rows in an order that depends on the column `identity` alone, so that a beginning is a sample."""
    digests = [hashlib.blake2b(name.encode(), digest_size=16).digest() for name in frame[identity]]
    return frame.iloc[sorted(range(len(digests)), key=digests.__getitem__)]


def read_samples(
    paths: Sequence[Path],
    tokenizer: PreTrainedTokenizerBase,
    *,
    n_tokens: int,
    window: int,
    labels: Sequence[str],
    lead: str = "",
) -> list[Sample]:
    """Read held-out documents until there are `n_tokens` tokens to predict, behind each label; the last one is cut.

    A document stands behind the start token, as in training, and behind the label, where there is one: the text that
    is predicted is the same behind any label, but for `lead`, with which it begins there. One of more than `window`
    tokens is cut into windows; the first input of a later one is the last token of the one before, so that every token
    is predicted once.

    Args:
        paths: ``documents`` tables.
        tokenizer: of the model.
        n_tokens: to predict; fewer where there is less text.
        window: tokens that a model reads at once.
        labels: what stands between the start token and each document, itself not predicted, or nothing
            (:mod:`lorebridge.probes.prefixes`).
        lead: what each document begins with behind a label, as the halves of pairs do in training.

    Returns:
        A sample for each label.

    Raises:
        InputError: a label leaves no room in a window, the tables hold no text, or the tokenizer does not say where
            its tokens lie.
    """
    if not tokenizer.is_fast:
        raise InputError(
            tokenizer.name_or_path or type(tokenizer).__name__,
            "a tokenizer written in Python, which does not give the offsets of its tokens",
            "Give the folder a fast tokenizer (tokenizer.json).",
        )
    documents = pd.concat([tables.read(path, ["doc_id", "text"]) for path in paths], ignore_index=True)
    before = [[start_token(tokenizer), *label_tokens(tokenizer, label)] for label in labels]
    for label, context in zip(labels, before, strict=True):
        if len(context) > window:
            raise InputError(
                f"the label {label!r}",
                f"is {len(context) - 1} tokens, and leaves no room for text among {window}",
                "Shorten the template, or raise training.sequence_length.",
            )
    texts = shuffled(documents, "doc_id")["text"].tolist()
    read = {start: _read(texts, start, tokenizer, n_tokens) for start in {lead if label else "" for label in labels}}
    if not all(sequences for sequences, _ in read.values()):
        raise InputError(", ".join(map(str, paths)), "no held-out text", "Hold out a larger share of the corpus.")
    samples = []
    for label, context in zip(labels, before, strict=True):
        sequences, n_bytes = read[lead if label else ""]
        windows: list[list[int]] = []
        contexts: list[int] = []
        for ids in sequences:
            stream = [*context, *ids]
            cut = [stream[at : at + window + 1] for at in range(0, len(stream) - 1, window)]
            windows += cut
            contexts += [len(context), *[1] * (len(cut) - 1)]
        samples.append(Sample(windows, contexts, len(sequences), n_bytes))
    return samples


def _read(
    texts: Sequence[str], start: str, tokenizer: PreTrainedTokenizerBase, n_tokens: int
) -> tuple[list[list[int]], int]:
    """Return the tokens of texts that begin with `start`, until there are `n_tokens`, and their number of bytes."""
    read: list[list[int]] = []
    left, n_bytes = n_tokens, 0
    for text in texts:
        said = start + text if text else ""
        encoded = tokenizer(
            said, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
        )
        ids = encoded["input_ids"][:left]
        if not ids:
            continue
        read.append(ids)
        n_bytes += len(said[: encoded["offset_mapping"][len(ids) - 1][1]].encode())
        left -= len(ids)
        if not left:
            break
    return read, n_bytes


def measure_perplexity(
    model: PreTrainedModel, sample: Sample, *, trees: bool, batch_tokens: int, progress: tqdm | None = None
) -> dict[str, Any]:
    """Return a row of the ``perplexity`` table, without what names the checkpoint, the language and the prefix.

    ``sum_nll`` is in nats. Perplexity is per token, and so is not comparable between tokenizers or languages; bits per
    byte are (Gao et al. 2020, The Pile, arXiv 2101.00027, section 3.1), as far as bytes carry alike in two scripts.

    Args:
        model: a causal language model in evaluation mode.
        sample: what it is to predict.
        trees, batch_tokens, progress: see :func:`lorebridge.probes.trees.sum_logprobs`.
    """
    logprobs = sum_logprobs(
        model,
        sample.windows,
        range(len(sample.windows)),
        trees=trees,
        batch_tokens=batch_tokens,
        contexts=sample.contexts,
        progress=progress,
    )
    nll = -float(np.sum(logprobs))
    return {
        "n_documents": sample.n_documents,
        "n_tokens": sample.n_tokens,
        "n_bytes": sample.n_bytes,
        "sum_nll": nll,
        "perplexity": math.exp(min(nll / sample.n_tokens, 700.0)),
        "bits_per_byte": nll / math.log(2) / sample.n_bytes,
    }
