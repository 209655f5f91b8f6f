"""Attention within the documents of packed rows, for transformers' attention interface.

The rows of a batch lie end to end, and cumulative lengths say where each document begins. A document attends to itself
alone, so the work grows with the sum of the squared lengths of the documents, and no mask of positions x positions
exists.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention.varlen import varlen_attn

PACKED = "packed"
"""The name of :func:`packed_attention` among transformers' attention implementations."""

WORTH_MOVING = 4
"""Documents for each different length from which on those of one length are moved together."""


def document_bounds(documents: torch.Tensor) -> torch.Tensor:
    """Return where the documents of some rows begin, when the rows are laid end to end.

    A document ends with its row. Padding (-1) counts as one more document: no token of a document sees it, and each
    of its positions sees at least itself, so that no softmax runs over nothing.

    Args:
        documents: integers [rows, T], the document of each position.

    Returns:
        int32 [documents + 1]: the first position of each document, then rows x T.
    """
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return F.pad(begins.flatten().nonzero().squeeze(1), (0, 1), value=documents.numel()).int()


def attend_by_document(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bounds: torch.Tensor, scale: float, causal: bool = True
) -> torch.Tensor:
    """Return attention within each document, one document or all documents of one length at a time.

    The meaning of :func:`torch.nn.attention.varlen.varlen_attn` where its kernel does not run: on a CPU, and in
    float32. There it beats one call with a block mask, because it leaves out what the mask would hide.

    Args:
        query: [positions, heads, size].
        key: [positions, key heads, size]; the heads are a multiple of them.
        value: as `key`.
        bounds: of the documents, see :func:`document_bounds`.
        scale: of the products of queries and keys.
        causal: whether a position sees the earlier ones alone, or all of its document.

    Returns:
        [positions, heads, size].
    """
    groups = query.shape[1] // key.shape[1]
    states = [query, key, value]
    if groups > 1:
        states[1:] = [each.repeat_interleave(groups, dim=1) for each in (key, value)]
    lengths = bounds.diff().long()
    sizes, counts = lengths.unique(return_counts=True)
    # Documents of one length go through one call; where few have their length in common, moving them costs more.
    if len(lengths) < WORTH_MOVING * len(sizes):
        heads_first = [each.transpose(0, 1).unsqueeze(0).split(lengths.tolist(), dim=2) for each in states]
        one_by_one = [
            F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)
            for q, k, v in zip(*heads_first, strict=True)
        ]
        return torch.cat(one_by_one, dim=2).squeeze(0).transpose(0, 1)
    order = _by_length(bounds, lengths)
    inverse = torch.argsort(order)
    together = [_Permuted.apply(each, order, inverse).split((sizes * counts).tolist()) for each in states]
    attended = []
    for size, *parts in zip(sizes.tolist(), *together, strict=True):
        q, k, v = (part.unflatten(0, (-1, size)).transpose(1, 2) for part in parts)
        found = F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)
        attended.append(found.transpose(1, 2).flatten(0, 1))
    return _Permuted.apply(torch.cat(attended), inverse, order)


def _by_length(bounds: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Return the positions, those of short documents first, and documents of one length end to end."""
    documents = torch.argsort(lengths, stable=True)
    ordered = lengths[documents]
    begins = bounds[:-1][documents].long() - (ordered.cumsum(0) - ordered)
    return torch.repeat_interleave(begins, ordered) + torch.arange(int(lengths.sum()), device=lengths.device)


class _Permuted(torch.autograd.Function):
    """Rows in another order; their gradients go back by the inverse, where indexing would add them up one by one."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, order: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(inverse)
        return rows[order]

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (inverse,) = ctx.saved_tensors
        return grad[inverse], None, None


def runs_flash(value: torch.Tensor) -> bool:
    """Return whether the kernel over variable lengths takes such tensors."""
    return value.is_cuda and value.dtype == torch.bfloat16


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    cu_seq_lens_q: torch.Tensor,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within documents, causally where the layer says so; what transformers calls in each layer.

    In bfloat16 on a GPU it is FlashAttention-2 over variable lengths (Dao 2023, arXiv 2307.08691), else
    :func:`attend_by_document`.

    Args:
        module: the layer's attention, with ``is_causal``.
        query: [rows, heads, T, size].
        key: [rows, key heads, T, size].
        value: as `key`.
        attention_mask: unused; `cu_seq_lens_q` says it all.
        scaling: of the products of queries and keys.
        cu_seq_lens_q: the bounds of the documents, see :func:`document_bounds`.

    Returns:
        [rows, T, heads, size], and None for the attention weights.
    """
    rows, length = query.shape[0], query.shape[2]
    causal = bool(module.is_causal)
    # Under autocast the rotary embedding leaves queries and keys in float32; the values are as the projection gave.
    q, k, v = (states.transpose(1, 2).flatten(0, 1).to(value.dtype) for states in (query, key, value))
    if runs_flash(v):
        bounds = cu_seq_lens_q
        # The longest document is not told: it would change from batch to batch, and with it the compiled code.
        attended = varlen_attn(
            q,
            k,
            v,
            bounds,
            bounds,
            length,
            length,
            scale=scaling,
            window_size=(-1, 0 if causal else -1),
            enable_gqa=True,
        )
        assert isinstance(attended, torch.Tensor)  # a tuple only where more is asked for
    else:
        attended = attend_by_document(q, k, v, cu_seq_lens_q, scaling, causal)
    return attended.unflatten(0, (rows, length)), None
