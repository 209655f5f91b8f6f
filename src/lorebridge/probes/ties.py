"""What the published way of scoring gives a model that knows nothing.

The published scorer (Zhang et al., ACL 2025, ``src/main.py``) computes the loss in bfloat16, so that options often tie,
and lets the option that is listed first win a tie. Where the answer is mostly listed first, a random model is right far
more often than by chance.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint
from tqdm import tqdm

from lorebridge import tables
from lorebridge.corpora.released import fill_blanks
from lorebridge.probes.decisions import prediction_shares
from lorebridge.probes.models import load_tokenizer, set_threads, start_token
from lorebridge.probes.scoring import build_requests, check_length, reference_losses
from lorebridge.probes.trees import reads_trees, sum_logprobs

log = logging.getLogger("lorebridge.probes")

RULES = ("reference", "reversed", "shared", "float32")


def decide(losses: Mapping[str, np.ndarray], groups: np.ndarray) -> dict[str, tuple[np.ndarray, float]]:
    """Return by rule each option's share of its question's prediction, and the share of questions that tie.

    ``reference`` is the published rule: the first listed of the best by the bfloat16 loss. ``reversed`` is that rule
    on the same questions with their options listed backwards. ``shared`` gives each of the k best by the bfloat16 loss
    1/k, and ``float32`` each of the k best by the float32 loss.

    Args:
        losses: ``bfloat16`` and ``float32`` -> mean loss of each option, [options].
        groups: [options] question numbers 0, 1, ..., ascending.
    """
    rounded, exact = -losses["bfloat16"], -losses["float32"]
    backwards = groups[-1] - groups[::-1]
    shares = {
        "reference": prediction_shares(rounded, groups, "reference"),
        "reversed": prediction_shares(rounded[::-1], backwards, "reference")[::-1],
        "shared": prediction_shares(rounded, groups, "share"),
        "float32": prediction_shares(exact, groups, "share"),
    }
    n_questions = groups[-1] + 1
    tied = {
        name: len(np.unique(groups[(shares[name] > 0) & (shares[name] < 1)])) / n_questions
        for name in ("shared", "float32")
    }
    return {name: (shares[name], tied["float32" if name == "float32" else "shared"]) for name in RULES}


def scorer_bias(
    *,
    model: Mapping[str, Any],
    seeds: Sequence[int],
    questions: Sequence[Path],
    tokenizer: Path,
    out: Path,
    batch_tokens: int = 4096,
    device: str | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Ask random models of a study's shape all questions by the published rule and in float32; write ``scorer``.

    All questions of the release count, those without a blank included: there, all options tie by any rule.

    Args:
        model: the study's model, a causal one: see :func:`lorebridge.train.model.qwen2_config`.
        seeds: of the random weights; one model each.
        questions: ``questions`` tables.
        tokenizer: folder of the study's tokenizer.
        out: the table, a row a seed, culture, language and rule (see :func:`decide`); ``gold_first`` is the share of
            questions whose first option is the answer, ``tied`` of those with more than one best option, ``lo`` and
            ``hi`` the 95 % Wilson interval of the accuracy over questions, for the given model.
        batch_tokens: see :func:`lorebridge.probes.trees.sum_logprobs`.
        device: where to compute; by default the GPU where there is one.
        threads: CPU threads for the model.

    Returns:
        Notes for the record: the number of options and of distinct texts.

    Raises:
        InputError: the tokenizer or the model cannot be made, or a text is longer than the model reads.
    """
    import torch

    from lorebridge.train.architecture import architecture

    set_threads(threads)
    loaded = load_tokenizer(tokenizer)
    kind, sizes = architecture(model)
    config = kind.configure(sizes, len(loaded), start_token(loaded))
    asked = pd.concat([tables.read(path) for path in questions], ignore_index=True)
    texts = [fill_blanks(text, option) for text, option in zip(asked["text"], asked["option"], strict=True)]
    requests = build_requests(texts, pd.factorize(asked["text"])[0].tolist(), loaded)
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    rows: list[dict[str, Any]] = []
    with tqdm(total=2 * requests.total_tokens * len(seeds), unit="tok", unit_scale=True, desc="scorer") as progress:
        for seed in seeds:
            network = kind.build(config, seed).eval().to(place)
            check_length(requests, texts, network, "model.max_position_embeddings")
            totals = sum_logprobs(
                network,
                requests.sequences,
                requests.groups,
                trees=reads_trees(network, requests.longest_group()),
                batch_tokens=batch_tokens,
                progress=progress,
            )
            network = network.to(torch.bfloat16)
            losses = {
                "bfloat16": reference_losses(network, requests.sequences, progress=progress)[requests.request],
                "float32": -totals[requests.request] / requests.n_tokens,
            }
            for (culture, lang), part in asked.groupby(["culture", "lang"], sort=False):
                gold = part["is_gold"].to_numpy(bool)
                groups = pd.factorize(part["question_id"])[0]
                n_questions = int(groups[-1]) + 1
                of_part = {name: values[part.index] for name, values in losses.items()}
                for rule, (shares, tied) in decide(of_part, groups).items():
                    right = float(shares @ gold)
                    lo, hi = proportion_confint(right, n_questions, alpha=0.05, method="wilson")
                    rows.append(
                        {
                            "seed": seed,
                            "culture": culture,
                            "lang": lang,
                            "rule": rule,
                            "n_questions": n_questions,
                            "gold_first": float((gold & (part["option_index"] == 0)).sum()) / n_questions,
                            "tied": tied,
                            "accuracy": right / n_questions,
                            "lo": float(lo),
                            "hi": float(hi),
                        }
                    )
    tables.write("scorer", rows, out)
    return {"options": len(asked), "texts": len(requests.sequences)}
