"""Masked language models: what they say at masks, read in batches with the logits of the masks alone.

A *query* is a token sequence with masks, and the places of it that are read. :func:`read_masks` answers many; how facts
become queries is :mod:`lorebridge.probes.decoding`'s.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lorebridge.errors import InputError
from lorebridge.probes.manners import named_objective
from lorebridge.probes.models import ROUNDING, TRIED, WANTED, load_weights, require_model_folder
from lorebridge.probes.trees import make_batches, padded

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Bytes of logits that are held at a time: of an XLM-R (250,002 tokens) those of 134 masks. The activations of a batch
# are gone by then.
LOGIT_BYTES = 128 * 2**20
# Tokens of a batch on a CPU, where so many fill the matrix products: more take memory, and no less time.
CPU_TOKENS = 1024
# Numbers of logits that stay in a core's cache while several operations run over them.
IN_CACHE = 2**20

_M_MMAP_THRESHOLD = -3  # of malloc.h

BARE = "\u2581"
"""The piece of SentencePiece that is a space and nothing else."""


@dataclasses.dataclass(frozen=True)
class Query:
    """What is read of one sequence.

    Attributes:
        tokens: the sequence, its masks and special tokens among them.
        places: of the tokens that are read.
        wanted: [places] the tokens whose log-probability is wanted at each.
    """

    tokens: Sequence[int]
    places: Sequence[int]
    wanted: Sequence[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Read:
    """What a model says at one place.

    Attributes:
        best: the token of the highest logit, the first of equals.
        best_logprob: its log-probability, in nats.
        logprobs: [wanted] log-probability of each wanted token, in nats.
        ranks: [wanted] how many tokens of the vocabulary have a higher logit, plus 1; empty where none was asked for.
    """

    best: int
    best_logprob: float
    logprobs: np.ndarray
    ranks: np.ndarray


def objective(folder: Path) -> Literal["causal", "masked"]:
    """Return what the model of a folder was trained to do, by its configuration and its tokenizer.

    Its class says so, where it names one (``BertForMaskedLM``). Else a model whose architecture the library knows as
    masked, that is no decoder, and whose tokenizer has a mask, is masked. Whether it is what it says is found when it
    is loaded (:func:`check_masked`, :func:`lorebridge.probes.models.check_causal`).

    Raises:
        InputError: the folder holds no model.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    require_model_folder(folder)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(folder, f"no model can be loaded ({said})", "Give a Hugging Face model folder.") from error
    if told := named_objective(config.architectures):
        return told
    if getattr(config, "is_decoder", False):
        return "causal"
    return "masked" if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES else "causal"


def mask_token(tokenizer: PreTrainedTokenizerBase, where: object) -> int:
    """Return the id of a tokenizer's mask.

    Raises:
        InputError: it has none.
    """
    if tokenizer.mask_token_id is None:
        raise InputError(
            where, "its tokenizer has no mask token", "Give the tokenizer that the masked model was trained with."
        )
    return int(tokenizer.mask_token_id)


def load_masked(folder: Path, dtype: torch.dtype, device: str | None) -> PreTrainedModel:
    """Return a masked language model in evaluation mode.

    Args, Raises:
        as :func:`lorebridge.probes.models.load_model`.
    """
    from transformers import AutoModelForMaskedLM

    model = load_weights(folder, AutoModelForMaskedLM, "masked", dtype, device)
    if model.device.type == "cpu":
        _give_back()
    return model


def _give_back() -> None:
    """Have the C library give large blocks back as soon as they are free.

    glibc lays blocks of up to 32 MB, as activations are, between others, and keeps them when they are freed: over
    batches of many shapes that grows to a GB and more (benchmarks/asking.py). Blocks of 1 MB are now mapped alone.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**20)


def check_masked(model: PreTrainedModel, mask: int, sequences: Sequence[Sequence[int]], where: object) -> None:
    """Refuse a model that does not see what follows a mask.

    The first token of a sequence is masked, and its last one changed: the logits at the mask must move.

    Args:
        model: in evaluation mode.
        mask: the id of the mask.
        sequences: some that the model will read, two tokens or more each.
        where: the model's folder.

    Raises:
        InputError: they do not.
    """
    import torch

    longest = max((list(sequence) for sequence in sequences), key=len)[:TRIED]
    tokens = [mask, *longest[1:]]
    other = [*tokens[:-1], next(t for s in sequences for t in s if t not in (mask, tokens[-1]))]
    with torch.inference_mode():
        first, second = (
            model(input_ids=torch.tensor([ids], device=model.device)).logits[0, 0].float() for ids in (tokens, other)
        )
    if (first - second).abs().max() <= ROUNDING * max(1.0, float(first.abs().max())):
        raise InputError(where, f"sees nothing that follows a mask ({type(model).__name__})", WANTED["masked"])


def read_masks(
    model: PreTrainedModel, queries: Sequence[Query], *, batch_tokens: int, padding: int, ranks: bool = False
) -> list[list[Read]]:
    """Return what a model says at the places of each query.

    Sequences of similar length are read together, padded behind. The vocabulary is predicted at the places that are
    read, and nowhere else, for at most :data:`LOGIT_BYTES` of logits at a time.

    Args:
        model: a masked language model in evaluation mode.
        queries: any number; one of n places counts once.
        batch_tokens: tokens of a batch, padding included; 1 reads one sequence at a time. On a CPU at most
            :data:`CPU_TOKENS`.
        padding: the id of the padding token.
        ranks: whether ranks are wanted.

    Returns:
        [queries][places].
    """
    import torch

    head = model.get_output_embeddings()
    rows = sum(len(query.places) for query in queries)
    found: list[list[Read]] = [[] for _ in queries]
    if not rows:
        return found
    if model.device.type == "cpu":
        batch_tokens = min(batch_tokens, CPU_TOKENS)
    with torch.inference_mode(), _captured(model, head) as captured:
        for batch in make_batches([len(query.tokens) for query in queries], batch_tokens):
            members = [queries[index] for index in batch]
            ids = torch.from_numpy(padded([np.asarray(query.tokens) for query in members], padding))
            seen = torch.zeros_like(ids)
            for number, query in enumerate(members):
                seen[number, : len(query.tokens)] = 1
            captured.places = (
                torch.tensor([n for n, query in enumerate(members) for _ in query.places], device=model.device),
                torch.tensor([place for query in members for place in query.places], device=model.device),
            )
            model(input_ids=ids.to(model.device), attention_mask=seen.to(model.device))
            wanted = [tokens for query in members for tokens in query.wanted]
            said = list(_said(head, captured.taken(), wanted, ranks))
            start = 0
            for index, query in zip(batch, members, strict=True):
                found[index] = said[start : start + len(query.places)]
                start += len(query.places)
    return found


class _captured:
    """While open, the layer that predicts the vocabulary gets no token, and its inputs at some places are kept.

    Attributes:
        places: (row, place) of a batch, two tensors.
    """

    def __init__(self, model: PreTrainedModel, head: Any) -> None:
        self.places: Any = None
        self._kept: Any = None
        self._head = head

    def __enter__(self) -> _captured:
        self._hook = self._head.register_forward_pre_hook(self._take)
        return self

    def __exit__(self, *error: object) -> None:
        self._hook.remove()

    def _take(self, module: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if self.places is None:
            return None
        [hidden] = arguments
        self._kept = hidden[self.places]
        return (hidden[:0],)

    def taken(self) -> Any:
        """Return what the layer was given at the places, (rows, width), and let it work again."""
        kept, self._kept, self.places = self._kept, None, None
        return kept


def _said(head: Any, hidden: Any, wanted: Sequence[np.ndarray], ranks: bool) -> Iterator[Read]:
    """Yield what is said at each row of hidden states, (rows, width), for logits of so many rows at a time."""
    size = max(1, LOGIT_BYTES // (4 * len(head.weight)))
    # Pieces of about the same size: of few rows each reads all weights for little.
    size = math.ceil(len(hidden) / max(1, math.ceil(len(hidden) / size))) or 1
    for start in range(0, len(hidden), size):
        logits = head(hidden[start : start + size]).float()
        # A GPU takes them as one piece; a CPU what its cache holds: the sum over the vocabulary needs a copy.
        rows = size if logits.is_cuda else max(1, IN_CACHE // logits.shape[1])
        here = wanted[start : start + size]
        for row in range(0, len(here), rows):
            yield from _told(logits[row : row + rows], here[row : row + rows], ranks)
        del logits  # before the next ones are made


def _told(logits: Any, wanted: Sequence[np.ndarray], ranks: bool) -> Iterator[Read]:
    """Yield what some logits say, (rows, vocabulary)."""
    import torch

    best = logits.argmax(dim=1)
    total = torch.logsumexp(logits, dim=1)
    widest = max(1, *map(len, wanted))
    ids = np.zeros((len(wanted), widest), np.int64)
    for row, tokens in enumerate(wanted):
        ids[row, : len(tokens)] = tokens
    chosen = logits.gather(1, torch.from_numpy(ids).to(logits.device))
    logprobs = (chosen - total[:, None]).double().cpu().numpy()
    above = np.zeros((len(wanted), 0), np.int64)
    if ranks:
        higher = [(logits > chosen[:, column, None]).sum(dim=1) for column in range(widest)]
        above = torch.stack(higher, dim=1).cpu().numpy() + 1
    top = (logits.gather(1, best[:, None])[:, 0] - total).double().tolist()
    for row, tokens in enumerate(wanted):
        yield Read(int(best[row]), top[row], logprobs[row, : len(tokens)], above[row, : len(tokens)])
