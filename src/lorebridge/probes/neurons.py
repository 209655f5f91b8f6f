"""Which neurons of a masked model tell a fact from others: activations at its masks, ranked by Probeless.

A neuron is a unit of a feed-forward layer behind its activation function (Dai et al., ACL 2022). Its activation for a
fact is the mean over the masks of the fact's prompt, of which there are as many as the object has pieces. Probeless
(Antverg and Belinkov, ICLR 2022) scores a neuron by how far the mean activation of a label lies from those of the
others; a fact is a label of its own here, and is compared with the other facts of its relation and language that the
model has right (Zhao et al., EACL 2024, section 4).

The facts of one relation in one language are in memory at a time, and nothing of the vocabulary is computed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes.asking import Masked, Part
from lorebridge.probes.decoding import Prompt
from lorebridge.probes.manners import Manner
from lorebridge.probes.masked import objective
from lorebridge.probes.models import load_tokenizer, set_threads

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger("lorebridge.probes")

# What a feed-forward layer's activations are the input of, in BERT, RoBERTa, XLM-R and DistilBERT.
_READS_FFN = re.compile(r"layer\.(\d+)\.(?:output\.dense|ffn\.lin2)$")
_COLUMNS = 4096  # neurons that are ranked at a time


def probeless(activations: np.ndarray) -> np.ndarray:
    """Return the score of each neuron for each fact: how far it lies from the other facts on average, [facts, neurons].

    By sorting, in O(n log n) for n facts.

    Args:
        activations: [facts, neurons], two facts or more.
    """
    n, d = activations.shape
    found = np.empty((n, d), np.float32)
    below = np.arange(n, dtype=np.float64)[:, None]
    for start in range(0, d, _COLUMNS):
        values = activations[:, start : start + _COLUMNS].astype(np.float64)
        order = np.argsort(values, axis=0, kind="stable")
        ordered = np.take_along_axis(values, order, axis=0)
        upto = np.cumsum(ordered, axis=0)
        # Of the i-th of n sorted values: i of them lie below it, n - 1 - i above.
        sums = below * ordered - (upto - ordered) + (upto[-1] - upto) - (n - 1 - below) * ordered
        means = np.empty_like(sums)
        np.put_along_axis(means, order, sums / (n - 1), axis=0)
        found[:, start : start + _COLUMNS] = means
    return found


def top_neurons(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the neurons of the highest scores of each fact, best first and equal ones by number, [facts, k]."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def activations(
    model: PreTrainedModel, prompts: Sequence[Prompt], masks: Sequence[int], mask: int, padding: int, batch_tokens: int
) -> np.ndarray:
    """Return the activations of all neurons, averaged over the masks of each prompt, float32 [prompts, neurons].

    Neurons are numbered layer after layer.

    Args:
        model: a masked language model in evaluation mode.
        prompts: some.
        masks: how many each has, 1 or more.
        mask, padding: ids.
        batch_tokens: tokens of a batch, padding included.

    Raises:
        InputError: its feed-forward layers are not found.
    """
    import torch

    trunk = model.base_model
    layers = sorted(
        ((int(found[1]), module) for name, module in trunk.named_modules() if (found := _READS_FFN.search(name))),
        key=lambda layer: layer[0],
    )
    if not layers:
        raise InputError(
            type(model).__name__, "its feed-forward layers are not known", "Give a BERT, RoBERTa, XLM-R or DistilBERT."
        )
    sequences = [prompt.filled([mask] * n) for prompt, n in zip(prompts, masks, strict=True)]
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    width = int(layers[0][1].in_features)
    out = np.empty((len(sequences), width * len(layers)), np.float32)
    read: dict[int, Any] = {}

    def keep(number: int) -> Any:
        return lambda module, given: read.__setitem__(number, given[0])

    hooks = [module.register_forward_pre_hook(keep(number)) for number, module in layers]
    try:
        with torch.inference_mode():
            for members in _batches(order, sequences, batch_tokens):
                length = max(len(sequences[i]) for i in members)
                ids = torch.full((len(members), length), padding)
                seen = torch.zeros((len(members), length))
                weight = torch.zeros((len(members), length))
                for row, i in enumerate(members):
                    ids[row, : len(sequences[i])] = torch.as_tensor(sequences[i])
                    seen[row, : len(sequences[i])] = 1
                    first = len(prompts[i].before)
                    weight[row, first : first + masks[i]] = 1 / masks[i]
                trunk(input_ids=ids.to(model.device), attention_mask=seen.long().to(model.device))
                weight = weight.to(model.device)
                means = [torch.einsum("rt,rtw->rw", weight, read[number].float()) for number, _ in layers]
                out[members] = torch.cat(means, dim=1).cpu().numpy()
                read.clear()
    finally:
        for hook in hooks:
            hook.remove()
    return out


def _batches(order: Sequence[int], sequences: Sequence[Sequence[int]], batch_tokens: int) -> Iterator[list[int]]:
    """Yield runs of ascending lengths that fill a batch."""
    batch: list[int] = []
    for i in order:
        if batch and len(sequences[i]) * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def score_neurons(
    *,
    run: str,
    checkpoints: Sequence[tuple[int | None, Path]],
    facts: Path,
    scores: Path,
    out: Path,
    top: int,
    least: int,
    batch_tokens: int,
    bare: str = "drop",
    device: str | None = None,
    threads: int | None = None,
) -> dict[str, int]:
    """Write the table ``neurons`` of a model's last checkpoint: the neurons that tell each fact that it has right.

    A relation with fewer right facts than `least` in a language says nothing and has no rows: of a single one all
    scores would be 0, and its neurons the first ones in every language.

    Args:
        run: what the model is called.
        checkpoints: step and folder of each.
        facts: the table "facts".
        scores: its table "fact_scores".
        out: the table to write.
        top: neurons of a fact.
        least: right facts of a relation in a language, two or more.
        batch_tokens: tokens of a batch, padding included.
        bare: see :class:`lorebridge.probes.asking.Manner`.
        device: where to compute; by default the GPU where there is one.
        threads: CPU threads for the model.

    Returns:
        Notes for the record: ``facts`` that have neurons, and ``too few`` that stand with too few others.

    Raises:
        InputError: as :func:`lorebridge.probes.asking.score_facts`; or the model has no known feed-forward layers.
    """
    set_threads(threads)
    step, folder = checkpoints[-1][0], Path(checkpoints[-1][1])
    if objective(folder) != "masked":
        log.warning("%s is causal: it has no masks to read neurons at", run)
        tables.write("neurons", [], out)
        return {"facts": 0, "too few": 0}
    said = tables.read(scores)
    here = said["step"].isna() if step is None else said["step"] == step
    right = said.loc[here & (said["exact"] > 0.5), ["fact_id", "lang"]]
    asked = tables.read(facts).merge(right, on=["fact_id", "lang"], validate="one_to_one")
    reader = Masked(load_tokenizer(folder), Manner(bare=bare), folder, batch_tokens)
    cells = [Part.of(rows) for _, rows in asked.groupby(["lang", "relation"], sort=False) if len(rows) >= max(2, least)]
    found: list[pd.DataFrame] = []
    if cells:
        model = reader.load(folder, device, cells)
        for cell in tqdm(cells, unit="cell", desc=f"neurons {run}"):
            pieces = reader.pieces(cell)
            masks = [len(own[text]) for own, text in zip(pieces, cell.rows["object"], strict=True)]
            values = activations(model, reader.prompts(cell), masks, reader.mask, reader.padding, batch_tokens)
            ranked = probeless(values)
            best = top_neurons(ranked, top)
            n, k = best.shape
            width = values.shape[1] // model.config.num_hidden_layers
            rows = cell.rows[["fact_id", "relation", "lang"]]
            found.append(
                pd.DataFrame({name: np.repeat(rows[name].to_numpy(), k) for name in rows}).assign(
                    run=run,
                    step=pd.array([step] * (n * k), dtype="Int32"),
                    layer=(best // width).ravel(),
                    neuron=(best % width).ravel(),
                    score=np.take_along_axis(ranked, best, axis=1).ravel(),
                    rank=np.tile(np.arange(1, k + 1), n),
                )
            )
    tables.write("neurons", pd.concat(found, ignore_index=True) if found else [], out)
    told = sum(len(cell.rows) for cell in cells)
    return {"facts": told, "too few": len(asked) - told}
