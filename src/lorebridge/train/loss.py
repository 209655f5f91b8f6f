"""The cross-entropy of a large vocabulary, without its logits.

With 151,936 tokens the logits of 16,384 positions fill 10 GB in float32. Here only those of a chunk of positions ever
exist, and the gradient is made on the way forward, while they are at hand (as Liger's fused linear cross-entropy,
arXiv 2410.10989, section 3.2): nothing the size of positions x vocabulary is kept, and no logit is computed twice.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from lorebridge.tokens.reader import IGNORED
from lorebridge.train.host import sent

# Logits of one chunk. More positions at a time mean fewer passes over the gradient of the whole output embedding;
# in bfloat16 these are 128 MiB and 2 GiB.
LOGITS_AT_ONCE = {"cpu": 2**26, "cuda": 2**30}
# Numbers that stay in a core's cache while several operations run over them.
IN_CACHE = 2**20


def positions_at_once(positions: int, vocabulary: int, device: str) -> int:
    """Return how many of the positions of a batch to take at a time, in chunks of about the same size.

    It depends on nothing that changes from batch to batch, so that compiled code does not.
    """
    chunks = math.ceil(positions * vocabulary / LOGITS_AT_ONCE[device])
    return math.ceil(positions / chunks)


def chunked_cross_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, chunk: int, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the sum (nats) of the cross-entropies of ``hidden @ weight.T + bias`` against `targets`.

    Equals ``F.cross_entropy(hidden @ weight.T + bias, targets, ignore_index=-100, reduction="sum")`` without ever
    holding the logits of more than `chunk` positions. Under autocast the matrix products are of its precision; the rest
    is float32. Its gradient can be taken once, and is not itself differentiable.

    Args:
        hidden: [N, H] last hidden states.
        weight: [V, H] output embedding.
        targets: int64 [N]; -100 is ignored, and its position costs nothing. May lie on the CPU.
        chunk: positions at a time.
        bias: [V] of the output; None for none.
    """
    counted = (targets != IGNORED).nonzero().squeeze(1)
    gold = sent(targets[counted], hidden.device)
    return _ChunkedCrossEntropy.apply(hidden.index_select(0, sent(counted, hidden.device)), weight, gold, chunk, bias)


def _softmax_(logits: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
    """Replace logits [n, V] by their softmax; return the cross-entropies [n, 1] of the tokens `gold` [n, 1]."""
    log_p = torch.log_softmax(logits, dim=1, dtype=torch.float32)
    losses = -log_p.gather(1, gold)
    logits.copy_(log_p.exp_())
    return losses


@functools.lru_cache(maxsize=1)
def _kept_empty(*shape: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return a buffer that stands from step to step: a CPU takes longer to be given the memory than to fill it."""
    with torch.inference_mode(False):  # what is made in that mode could not be written to outside of it
        return torch.empty(*shape, dtype=dtype, device=device)


@functools.cache
def _fused_softmax_() -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return :func:`_softmax_` as one kernel: on a GPU a dozen passes over the logits would cost as much as the trunk.

    Made when first needed, because the import of the compiler takes a second.
    """
    return torch.compile(_softmax_, dynamic=False)


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        targets: torch.Tensor,
        chunk: int,
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        device = hidden.device.type
        precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        vocabulary, size = weight.shape
        # A GPU takes a chunk as one piece; a CPU what its cache holds.
        rows = chunk if hidden.is_cuda else max(1, IN_CACHE // vocabulary)
        columns = vocabulary if hidden.is_cuda else max(1, IN_CACHE // size)
        softmax_ = _fused_softmax_() if hidden.is_cuda else _softmax_
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        d_hidden, d_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        d_bias = None if bias is None else torch.zeros_like(bias)
        with torch.autocast(device, enabled=False):
            states, embedding = hidden.to(precision), weight.to(precision)
            # One buffer for all chunks; what the last one leaves of it is stale and not used.
            logits = (torch.empty if hidden.is_cuda else _kept_empty)(
                chunk, vocabulary, dtype=precision, device=hidden.device
            )
            # One chunk at least: a micro-batch of padding alone has no target.
            all_gold = F.pad(targets, (0, math.ceil(max(len(targets), 1) / chunk) * chunk - len(targets))).unsqueeze(1)
            for some, d_some, gold in zip(
                states.split(chunk), d_hidden.split(chunk), all_gold.split(chunk), strict=True
            ):
                n = len(some)
                torch.mm(some, embedding.T, out=logits[:n])
                if bias is not None:
                    logits[:n] += bias.to(precision)
                pieces = zip(logits.split(rows), gold.split(rows), strict=True)
                losses = torch.cat([softmax_(piece, of_it) for piece, of_it in pieces])[:n]
                total += losses.sum()
                # The softmax is the gradient of the logits, but for the gold token: there it is p - 1 = e^-loss - 1.
                # (scatter_ would copy them all.)
                d_logits = logits[:n]
                d_logits[torch.arange(n, device=gold.device), gold[:n, 0]] = torch.expm1(-losses[:, 0]).to(precision)
                d_some.copy_(d_logits @ embedding)
                if d_bias is not None:
                    d_bias += d_logits.sum(dim=0, dtype=d_bias.dtype)
                for d_columns, d_rows in zip(d_logits.split(columns, dim=1), d_weight.split(columns), strict=True):
                    d_rows += d_columns.T @ some
        ctx.save_for_backward(d_hidden, d_weight, d_bias)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None, torch.Tensor | None]:
        d_hidden, d_weight, d_bias = ctx.saved_tensors
        # In place: a copy of the embedding's gradient would cost as much as a pass over the vocabulary.
        scaled = None if d_bias is None else d_bias.mul_(grads[0])
        return d_hidden.mul_(grads[0]), d_weight.mul_(grads[0]), None, None, scaled
