"""Log-probabilities of many token sequences that begin alike, each shared beginning computed once.

The sequences of a question differ in an option only. Laid out as a prefix tree in depth-first order, the tokens below
a node are a contiguous stretch, so one number a node (where its stretch ends) says who may attend to whom: a token
attends to those before it whose stretch holds it, which are its ancestors (tree attention as in SpecInfer, Miao et al.,
ASPLOS 2024, section 4.2; here for scoring). Positions are depths. Nothing the size of positions x vocabulary is kept.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from tqdm import tqdm
    from transformers import PreTrainedModel

log = logging.getLogger("lorebridge.probes")

# Numbers of one block of logits: what stays in a core's cache, and on a GPU 1 GiB in float32.
LOGITS_AT_ONCE = {"cpu": 2**21, "cuda": 2**28}
# Two ways to compute the same mean log-probability of a token may differ by rounding, in nats.
ROUNDING = 1e-5


@dataclasses.dataclass(frozen=True)
class Tree:
    """Token sequences as a prefix tree in depth-first order.

    A node is a token that is read: every token but the last of a sequence. An edge is a token that is predicted: every
    token but the first. Equal beginnings are read and predicted once.

    Attributes:
        tokens: [nodes] the tokens that are read.
        depths: [nodes] how many tokens stand before each.
        ends: [nodes] the first node after those that stand below each node.
        parents: [edges] the node that predicts.
        targets: [edges] the token that is predicted.
        paths: for each sequence, in the order given, its edges.
    """

    tokens: np.ndarray
    depths: np.ndarray
    ends: np.ndarray
    parents: np.ndarray
    targets: np.ndarray
    paths: list[np.ndarray]

    @property
    def is_chain(self) -> bool:
        """Whether every token attends to all before it, as in plain causal attention."""
        return bool((self.depths[1:] > self.depths[:-1]).all())


def build_tree(sequences: Sequence[Sequence[int]]) -> Tree:
    """Return the prefix tree of sequences of two or more tokens with the same first token.

    >>> tree = build_tree([[0, 5, 6, 8], [0, 5, 7, 8]])
    >>> tree.tokens.tolist(), tree.depths.tolist(), tree.ends.tolist()
    ([0, 5, 6, 7], [0, 1, 2, 2], [4, 4, 3, 4])
    >>> tree.parents.tolist(), tree.targets.tolist(), [path.tolist() for path in tree.paths]
    ([0, 1, 2, 1, 3], [5, 6, 8, 7, 8], [[0, 1, 2], [0, 3, 4]])
    """
    tokens: list[int] = []
    depths: list[int] = []
    parents: list[int] = []
    targets: list[int] = []
    ends = np.zeros(sum(len(sequence) for sequence in sequences), np.int64)
    paths: dict[int, np.ndarray] = {}
    before: Sequence[int] = ()
    nodes: list[int] = []
    edges: list[int] = []
    # In sorted order, sequences that begin alike stand together, and each has most in common with its neighbour.
    for index in sorted(range(len(sequences)), key=lambda i: list(sequences[i])):
        sequence = sequences[index]
        alike = 0
        while alike < min(len(before), len(sequence)) and before[alike] == sequence[alike]:
            alike += 1
        read = min(alike, len(nodes), len(sequence) - 1)
        nodes = nodes[:read] + list(range(len(tokens), len(tokens) + len(sequence) - 1 - read))
        tokens += sequence[read:-1]
        depths += range(read, len(sequence) - 1)
        known = max(alike - 1, 0)
        edges = edges[:known] + list(range(len(targets), len(targets) + len(sequence) - 1 - known))
        parents += nodes[known:]
        targets += sequence[known + 1 :]
        ends[nodes] = len(tokens)
        paths[index] = np.array(edges)
        before = sequence
    return Tree(
        tokens=np.array(tokens),
        depths=np.array(depths),
        ends=ends[: len(tokens)],
        parents=np.array(parents),
        targets=np.array(targets),
        paths=[paths[index] for index in range(len(sequences))],
    )


def make_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Group rows of like length, longest first, so that none of the padded batches exceeds `batch_tokens`.

    A row longer than `batch_tokens` is a batch of its own. Longest first, a batch that does not fit in memory fails at
    once and not after an hour. A row shorter than three quarters of its batch's longest begins a new batch, because
    padding costs as much as text.

    >>> make_batches([2, 5, 2, 3], batch_tokens=6)
    [[1], [3], [0, 2]]
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        longest = lengths[batches[-1][0]] if batches else 0
        if batches and longest * (len(batches[-1]) + 1) <= batch_tokens and 4 * lengths[index] >= 3 * longest:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def padded(rows: Sequence[np.ndarray], fill: int = 0) -> np.ndarray:
    """Return rows of different lengths as one array [rows, longest], filled on the right."""
    out = np.full((len(rows), max(map(len, rows))), fill, np.int64)
    for index, row in enumerate(rows):
        out[index, : len(row)] = row
    return out


def _tree_mask(ends: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the additive mask [rows, 1, T, T] of nodes that attend to themselves and their ancestors.

    Args:
        ends: [rows, T], see :class:`Tree`; a node of padding ends at itself or before and is seen by no other.
        dtype: of the queries that the mask is added to.
    """
    import torch

    place = torch.arange(ends.shape[1], device=ends.device)
    seen = (place[:, None] >= place) & (place[:, None] < ends[:, None, :]) | (place[:, None] == place)
    return torch.zeros(seen[:, None].shape, dtype=dtype, device=ends.device).masked_fill_(~seen[:, None], -math.inf)


def _edge_logprobs(hidden: torch.Tensor, head: Any, parents: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return log p(target | hidden[parent]) in float32, [edges], a block of the vocabulary at a time.

    Args:
        hidden: [N, H] last hidden states.
        head: the output layer: ``weight`` [V, H], ``bias`` [V] or none.
        parents: [edges] ascending or not, indices into `hidden`.
        targets: [edges] tokens.
    """
    import torch
    from torch.nn.functional import linear

    weight, bias = head.weight, getattr(head, "bias", None)
    reading, inverse = parents.unique(return_inverse=True)
    hidden = hidden[reading]
    block = max(64, LOGITS_AT_ONCE[hidden.device.type] // len(hidden))
    normaliser = torch.full((len(hidden),), -math.inf, device=hidden.device)
    for start in range(0, len(weight), block):
        part = slice(start, start + block)
        logits = linear(hidden, weight[part], None if bias is None else bias[part]).float()
        normaliser = torch.logaddexp(normaliser, logits.logsumexp(dim=1))
    target = (hidden[inverse].float() * weight[targets].float()).sum(dim=1)
    if bias is not None:
        target = target + bias[targets].float()
    return target - normaliser[inverse]


def reads_trees(model: PreTrainedModel, sequences: Sequence[Sequence[int]]) -> bool:
    """Return whether `model` gives the same log-probabilities for a tree as for its sequences one by one.

    An architecture must take positions and a mask of any shape and keep no state beside its attention; and then it is
    tried, because sliding windows, scaled or capped logits and positions in the attention bias would be passed over.

    Args:
        model: a causal language model in evaluation mode, in float32.
        sequences: those of one tree, the longest that the model will be asked.
    """
    import torch

    if (
        not model.is_backend_compatible()
        or model._is_stateful
        or "position_ids" not in inspect.signature(model.base_model.forward).parameters
        or model.get_output_embeddings() is None
    ):
        return False
    together = sum_logprobs(model, sequences, [0] * len(sequences), trees=True, batch_tokens=1)
    plain = []
    with torch.inference_mode():
        for sequence in sequences:
            ids = torch.tensor([sequence], device=model.device)
            logprobs = model(input_ids=ids, use_cache=False).logits[0, :-1].float().log_softmax(-1)
            plain.append(float(logprobs.gather(1, ids[0, 1:, None]).double().sum()))
    off = np.abs(together - plain) / [len(sequence) - 1 for sequence in sequences]
    agrees = bool((off <= ROUNDING).all())
    log.info("%s: %s", type(model).__name__, "prefix trees" if agrees else f"off by {off.max():.2g}: no prefix trees")
    return agrees


def reads_batches(model: PreTrainedModel, sequences: Sequence[Sequence[int]], *, trees: bool) -> bool:
    """Return whether `model` says the same of a sequence in a batch, padded on the right, as of it alone.

    Most do. Statistics over a batch and a capacity that its rows share are examples of what would make a difference.

    Args:
        model: a causal language model in evaluation mode, in float32.
        sequences: what the model will be asked; the longest is tried beside its own beginning.
        trees: see :func:`sum_logprobs`.
    """
    longest = max(sequences, key=len)
    pair = [longest, longest[: len(longest) - max(1, len(longest) // 5)]]
    if len(longest) < 5:  # no two lengths share a batch (see make_batches)
        return True
    alone, together = (
        sum_logprobs(model, pair, [0, 1], trees=trees, batch_tokens=batch_tokens)
        for batch_tokens in (1, 2 * len(longest))
    )
    off = np.abs(together - alone) / [len(sequence) - 1 for sequence in pair]
    if not (off <= ROUNDING).all():
        log.info("%s: off by %.2g in batches: one row at a time", type(model).__name__, off.max())
        return False
    return True


def sum_logprobs(
    model: PreTrainedModel,
    sequences: Sequence[Sequence[int]],
    groups: Sequence[int],
    *,
    trees: bool,
    batch_tokens: int,
    contexts: Sequence[int] | None = None,
    progress: tqdm | None = None,
) -> np.ndarray:
    """Return the summed log-probability (nats) of each sequence's tokens after its context.

    The log-softmax is taken in float32 whatever the dtype of the weights, and summed in float64. Rows are padded on the
    right, where a causal model cannot see the padding.

    Args:
        model: a causal language model in evaluation mode.
        sequences: token ids, two or more each.
        groups: [sequences] numbers: those with the same one share a tree and begin with the same token.
        trees: False for a model that must read each sequence by itself and be asked for its logits
            (:func:`reads_trees`); the groups then do not matter.
        batch_tokens: padded tokens in a batch; it changes the result by rounding only. On a CPU a few thousand are
            fastest. Without trees the logits of a batch, 4 bytes x batch_tokens x vocabulary, are held at once.
        contexts: [sequences] how many tokens at the beginning of each are context only, one or more; by default one.
        progress: a bar to advance by the predicted tokens, those of shared beginnings counted for each sequence.

    Returns:
        [sequences] float64.
    """
    import torch

    members: dict[int, list[int]] = {}
    for index, group in enumerate(groups if trees else range(len(sequences))):
        members.setdefault(group, []).append(index)
    forest = [(build_tree([sequences[i] for i in indices]), indices) for indices in members.values()]
    given = np.ones(len(sequences), np.int64) if contexts is None else np.array(contexts, np.int64)
    totals = np.zeros(len(sequences))
    with torch.inference_mode():
        for batch in make_batches([len(tree.tokens) for tree, _ in forest], batch_tokens):
            batched = [forest[number] for number in batch]
            logprobs = _logprobs(model, [tree for tree, _ in batched], trees).astype(np.float64)
            for (tree, indices), edges in zip(
                batched, np.split(logprobs, np.cumsum([len(tree.targets) for tree, _ in batched])[:-1]), strict=True
            ):
                # The first edge predicts the second token.
                paths = [path[given[i] - 1 :] for path, i in zip(tree.paths, indices, strict=True)]
                totals[indices] = [edges[path].sum() for path in paths]
                if progress is not None:
                    progress.update(sum(map(len, paths)))
    return totals


def _logprobs(model: PreTrainedModel, batch: Sequence[Tree], trees: bool) -> np.ndarray:
    """Return the log-probability of each edge of the trees of a batch, one tree a row, end to end."""
    import torch

    device = model.device
    ids = torch.from_numpy(padded([tree.tokens for tree in batch])).to(device)
    rows = np.repeat(np.arange(len(batch)), [len(tree.targets) for tree in batch])
    parents = torch.from_numpy(rows * ids.shape[1] + np.concatenate([tree.parents for tree in batch])).to(device)
    targets = torch.from_numpy(np.concatenate([tree.targets for tree in batch])).to(device)
    if not trees:
        logits = model(input_ids=ids, use_cache=False).logits.flatten(0, 1)
        reading, inverse = parents.unique(return_inverse=True)
        return logits[reading].float().log_softmax(dim=1)[inverse, targets].cpu().numpy()
    layout = {}
    if not all(tree.is_chain for tree in batch):
        ends = torch.from_numpy(padded([tree.ends for tree in batch])).to(device)
        layout = {
            "attention_mask": _tree_mask(ends, model.dtype),
            "position_ids": torch.from_numpy(padded([tree.depths for tree in batch])).to(device),
        }
    hidden = model.base_model(input_ids=ids, use_cache=False, **layout).last_hidden_state.flatten(0, 1)
    return _edge_logprobs(hidden, model.get_output_embeddings(), parents, targets).cpu().numpy()
