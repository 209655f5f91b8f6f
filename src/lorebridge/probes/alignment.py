"""MEXA: how alike a model represents the two sides of held-out translations, layer by layer.

Kargaran et al. (ACL Findings 2025, arXiv 2410.05873), section 3: the share of parallel sentences that are each other's
nearest neighbours among all sentences of the sample, by the cosine of sentence embeddings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes.models import encode
from lorebridge.probes.perplexity import shuffled
from lorebridge.probes.trees import make_batches, padded

if TYPE_CHECKING:
    import torch
    from tqdm import tqdm
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclasses.dataclass(frozen=True)
class Translations:
    """Held-out translations, as a model reads them; both lists have the pairs in the same order.

    Attributes:
        en: token sequences of the English sides, each behind the start token.
        xx: those of the other sides.
    """

    en: list[list[int]]
    xx: list[list[int]]


def read_translations(path: Path, tokenizer: PreTrainedTokenizerBase, *, n_pairs: int, window: int) -> Translations:
    """Read up to `n_pairs` pairs of which no two share a side: a repeated sentence has no one nearest neighbour.

    Args:
        path: a ``pairs`` table.
        tokenizer: of the model.
        n_pairs: how many; fewer where there are not so many.
        window: tokens that a model reads at once; longer sentences are cut.

    Raises:
        InputError: there are fewer than two pairs.
    """
    pairs = shuffled(tables.read(path, ["pair_id", "en", "xx"]), "pair_id")
    pairs = pairs[(pairs["en"] != "") & (pairs["xx"] != "")].drop_duplicates("en").drop_duplicates("xx")[:n_pairs]
    if len(pairs) < 2:
        raise InputError(path, f"{len(pairs)} held-out pairs", "Hold out a larger share of the parallel text.")
    sides = {side: [ids[:window] for ids in encode(tokenizer, list(pairs[side]))] for side in ("en", "xx")}
    return Translations(**sides)


def sentence_embeddings(
    model: PreTrainedModel, sequences: Sequence[Sequence[int]], *, batch_tokens: int, progress: tqdm | None = None
) -> torch.Tensor:
    """Return unit vectors, float32 [layers + 1, sentences, H]: those of the input embeddings first.

    A sentence's vector is the mean of its tokens' states, each weighted by its place in the sentence (1, 2, ...), as
    later tokens of a causal model have read more (Muennighoff 2022, arXiv 2202.08904, equation 2; the default of
    MEXA). The start token belongs to no sentence and is left out.

    Args:
        model: a causal language model in evaluation mode.
        sequences: token ids behind a start token, two or more each.
        batch_tokens: padded tokens in a batch. The states of all layers of a batch are held at once.
        progress: a bar to advance by the tokens.
    """
    import torch

    found: list[torch.Tensor] = []
    batches = make_batches([len(sequence) for sequence in sequences], batch_tokens)
    with torch.inference_mode():
        for batch in batches:
            rows = [np.array(sequences[index]) for index in batch]
            places = torch.from_numpy(padded([np.arange(len(row)) for row in rows])).to(model.device, torch.float32)
            states = model.base_model(
                input_ids=torch.from_numpy(padded(rows)).to(model.device), use_cache=False, output_hidden_states=True
            ).hidden_states
            weights = places / places.sum(dim=1, keepdim=True)
            found.append(torch.stack([torch.einsum("bt,bth->bh", weights, layer.float()) for layer in states]).cpu())
            if progress is not None:
                progress.update(sum(map(len, rows)))
    vectors = torch.cat(found, dim=1)[:, np.argsort(np.concatenate(batches))]
    return torch.nn.functional.normalize(vectors, dim=-1)


def mutual_nearest(similarity: np.ndarray) -> tuple[float, float, float]:
    """Return the shares of sentences whose partner is nearest in both directions, seen from the row, from the column.

    Nearest is strictly nearer than all others (equation 1 of MEXA), so that equal vectors align nothing.

    Args:
        similarity: [n, n]; rows and columns in the same order, two or more.

    >>> mutual_nearest(np.array([[0.9, 0.1, 0.2], [0.3, 0.5, 0.6], [0.0, 0.4, 0.7]]))
    (0.6666666666666666, 0.6666666666666666, 1.0)
    """
    partner = np.diagonal(similarity)
    others = similarity.astype(np.float64)
    np.fill_diagonal(others, -np.inf)
    by_row, by_column = partner > others.max(axis=1), partner > others.max(axis=0)
    return float((by_row & by_column).mean()), float(by_row.mean()), float(by_column.mean())


def measure_alignment(
    model: PreTrainedModel, translations: Translations, *, batch_tokens: int, progress: tqdm | None = None
) -> list[dict[str, Any]]:
    """Return rows of the ``alignment`` table, one a layer, without what names the checkpoint and the language.

    Args:
        model: a causal language model in evaluation mode.
        translations: held-out pairs.
        batch_tokens, progress: see :func:`sentence_embeddings`.
    """
    en, xx = (
        sentence_embeddings(model, side, batch_tokens=batch_tokens, progress=progress)
        for side in (translations.en, translations.xx)
    )
    rows = []
    for layer in range(len(en)):
        mexa, to_xx, to_en = mutual_nearest((en[layer] @ xx[layer].T).numpy())
        rows.append({"layer": layer, "n_pairs": len(translations.en), "mexa": mexa, "to_xx": to_xx, "to_en": to_en})
    return rows
