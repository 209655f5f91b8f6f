"""What causal language models write: batched, with a cache of keys and values, and token for token as one by one.

A batch rounds otherwise than a sequence alone, so the likeliest token may differ where two are close. Such a choice is
made anew by reading the sequence alone, without padding and cache, and so is the same whatever stands in the batch. Of
tokens that are exactly equal the first in the vocabulary is taken.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lorebridge.probes.wording import END, LENGTH, STOP

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

log = logging.getLogger("lorebridge.probes")

CLOSE = 1e-4
"""Logits that differ by less, as a share of the largest, may change places with the batch (float32). Of a token that is
drawn, the share of the probability within which its place is in doubt."""


@dataclasses.dataclass(frozen=True)
class Written:
    """What a model writes behind a prompt.

    Attributes:
        tokens: what it writes, without the token that ends it.
        ended: by a token that ends it (``end``), by a string that it is stopped at (``stop``), or for want of tokens
            (``length``).
        close: how many of its tokens were chosen anew by reading the sequence alone.
    """

    tokens: tuple[int, ...]
    ended: str
    close: int = 0


class Writer:
    """Writes with a model that is in memory, in evaluation mode, in float32.

    Args:
        model: a causal language model.
        ends: tokens that end a text.
        batch_tokens: tokens of a batch, padding and what is written included; a prompt that has more is a batch.
        padding: whether prompts of several lengths may stand in a batch, padded on the left; None finds out whether the
            model reads a padded prompt as it reads it alone, which those do not whose places are counted from the
            first column. Else a batch holds prompts of one length.
    """

    def __init__(
        self, model: PreTrainedModel, *, ends: Collection[int], batch_tokens: int, padding: bool | None = None
    ) -> None:
        """Keep what is given."""
        self._model = model
        self._ends = frozenset(ends)
        self._batch_tokens = batch_tokens
        self._padding = padding
        taken = inspect.signature(model.forward).parameters
        self._placed = "position_ids" in taken
        self._last = {"logits_to_keep": 1} if "logits_to_keep" in taken else {}

    def write(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        stopped: Callable[[Sequence[int]], bool] | None = None,
        temperature: float = 0.0,
        seeds: Sequence[Sequence[int]] = (),
    ) -> Iterator[dict[int, Written]]:
        """Yield what the model writes, a batch at a time: place of the prompt -> what it wrote.

        Args:
            prompts: one token or more each.
            max_tokens: the most that it writes behind each.
            stopped: says of the tokens written so far whether the text ends with the last.
            temperature: 0 takes the likeliest token; else tokens are drawn from the softmax of the logits over it.
            seeds: of each prompt, of what is drawn; it depends on them alone.
        """
        if not prompts:
            return
        draws = [np.random.Generator(np.random.Philox(key=_key(seed))).random(max_tokens) for seed in seeds]
        for places in self._batches([len(prompt) for prompt in prompts], max_tokens, prompts):
            found = self._write(
                [list(prompts[place]) for place in places],
                max_tokens,
                stopped,
                temperature,
                [draws[place] for place in places] if temperature else [],
            )
            yield dict(zip(places, found, strict=True))

    def _batches(
        self, lengths: Sequence[int], max_tokens: int, prompts: Sequence[Sequence[int]]
    ) -> Iterator[list[int]]:
        """Yield the places of each batch's prompts, the longest prompts first, so that want of memory shows at once."""
        order = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
        if self._padding is None and lengths[order[0]] != lengths[order[-1]]:
            self._padding = self._reads_padded(prompts[order[-1]], lengths[order[0]])
        batch: list[int] = []
        for place in order:
            whole = (len(batch) + 1) * (lengths[batch[0]] + max_tokens) > self._batch_tokens if batch else False
            if batch and (whole or (not self._padding and lengths[place] != lengths[batch[0]])):
                yield batch
                batch = []
            batch.append(place)
        yield batch

    def _reads_padded(self, prompt: Sequence[int], length: int) -> bool:
        """Return whether the logits behind a prompt are the same if it is padded to a length."""
        import torch

        pad = [prompt[0]] * (length - len(prompt))
        ids = torch.tensor([[*pad, *prompt]], device=self._model.device)
        mask = torch.tensor([[0] * len(pad) + [1] * len(prompt)], device=self._model.device)
        with torch.inference_mode():
            padded = self._read(ids, mask, None)[0][0]
            alone = self.alone(prompt)
        off = float((padded - alone).abs().max())
        same = off <= CLOSE * max(1.0, float(alone.abs().max()))
        if not same:
            log.info("%s reads padded prompts otherwise: batches of one length", type(self._model).__name__)
        return same

    def alone(self, tokens: Sequence[int]) -> torch.Tensor:
        """Return the logits behind a sequence that is read by itself, (vocabulary,), float32 on the CPU."""
        import torch

        ids = torch.tensor([list(tokens)], device=self._model.device)
        return self._model(input_ids=ids, use_cache=False, **self._last).logits[0, -1].float().cpu()

    def _read(self, ids: torch.Tensor, mask: torch.Tensor, cache: Any) -> tuple[torch.Tensor, Any]:
        """Return the logits behind the last column, (rows, vocabulary), float32 on the CPU, and the cache.

        What a recurrent model keeps is no such cache: it is given whole sequences again.
        """
        more: dict[str, Any] = {}
        if self._placed:
            more["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        read = self._model(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **self._last, **more
        )
        return read.logits[:, -1].float().cpu(), getattr(read, "past_key_values", None)

    def _write(
        self,
        prompts: list[list[int]],
        max_tokens: int,
        stopped: Callable[[Sequence[int]], bool] | None,
        temperature: float,
        draws: Sequence[np.ndarray],
    ) -> list[Written]:
        import torch

        device = self._model.device
        longest = max(map(len, prompts))
        ids = torch.tensor([[prompt[0]] * (longest - len(prompt)) + prompt for prompt in prompts], device=device)
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
        written: list[list[int]] = [[] for _ in prompts]
        ended = [LENGTH] * len(prompts)
        close = [0] * len(prompts)
        rows = list(range(len(prompts)))  # prompt of each row of the batch
        cache: Any = None
        with torch.inference_mode():
            for step in range(max_tokens):
                logits, cache = self._read(ids, mask, cache)
                chosen = []
                for row, prompt in enumerate(rows):
                    if ended[prompt] != LENGTH:  # done, and still in the batch
                        chosen.append(prompts[prompt][0])
                        continue
                    draw = draws[prompt][step] if temperature else None
                    token, doubtful = _choose(logits[row], temperature, draw)
                    if doubtful:
                        token, _ = _choose(self.alone([*prompts[prompt], *written[prompt]]), temperature, draw)
                        close[prompt] += 1
                    chosen.append(token)
                    if token in self._ends:
                        ended[prompt] = END
                        continue
                    written[prompt].append(token)
                    if stopped is not None and stopped(written[prompt]):
                        ended[prompt] = STOP
                open_ = [row for row, prompt in enumerate(rows) if ended[prompt] == LENGTH]
                if not open_:
                    break
                if 2 * len(open_) <= len(rows) and hasattr(cache, "batch_select_indices"):
                    kept = torch.tensor(open_, device=device)
                    cache.batch_select_indices(kept)
                    mask, rows, chosen = mask[kept], [rows[row] for row in open_], [chosen[row] for row in open_]
                last = torch.tensor([[token] for token in chosen], device=device)
                ids = last if cache is not None else torch.cat([ids, last], 1)
                mask = torch.cat([mask, mask.new_ones((len(rows), 1))], 1)
        return [Written(tuple(own), how, n) for own, how, n in zip(written, ended, close, strict=True)]


def _choose(logits: torch.Tensor, temperature: float, draw: float | None) -> tuple[int, bool]:
    """Return the token that follows, and whether rounding may have made it another.

    Args:
        logits: (vocabulary,).
        temperature: 0 takes the likeliest.
        draw: between 0 and 1, where tokens are drawn: the share of the probability, in the order of the vocabulary, at
            which the token stands.
    """
    if not temperature:
        values = logits.numpy()
        best = int(values.argmax())  # the first of equal ones
        beside = np.partition(values, -2)[-2] if len(values) > 1 else -np.inf
        return best, bool(values[best] - beside <= CLOSE * max(1.0, float(np.abs(values).max())))
    assert draw is not None
    weights = logits.double().numpy() / temperature
    shares = np.cumsum(np.exp(weights - weights.max()))
    shares /= shares[-1]
    token = min(int(np.searchsorted(shares, draw, side="right")), len(shares) - 1)
    low = shares[token - 1] if token else -1.0
    return token, bool(min(shares[token] - draw, draw - low) <= CLOSE)


def _key(seed: Sequence[int]) -> int:
    """Return a key of Philox from some numbers below 2^32."""
    return int.from_bytes(np.random.SeedSequence(list(seed)).generate_state(2, np.uint64).tobytes(), "little")
