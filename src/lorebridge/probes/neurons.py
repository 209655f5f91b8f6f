"""Which neurons of a model tell a fact from others of its relation, and whether it still knows the fact without them.

A neuron is a unit of a feed-forward layer behind its activation function (Dai et al., ACL 2022); where that is gated,
the product of gate and value. Its activation for a fact is the mean over the masks of the fact's prompt, of which there
are as many as the object has pieces; of a causal model, that at the last token before the object. Probeless (Antverg
and Belinkov, ICLR 2022) scores a neuron by how far the mean activation of a label lies from those of others; a fact is
a label of its own here (Zhao et al., EACL 2024, section 4), so that it is its mean distance to other facts of its
relation in its language.

Facts of one relation in one language are compared at a time, their activations lie in a file, and a block of neurons
is read of it that fits (:data:`BYTES_AT_ONCE`). Nothing of the vocabulary is computed where neurons are read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import logging
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from tqdm import tqdm

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.probes.asking import Causal, Manner, Masked, Part, Place, asker
from lorebridge.probes.models import check_causal, set_threads
from lorebridge.probes.trees import make_batches, padded
from lorebridge.records import fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger("lorebridge.probes")

# What reads the activations of a feed-forward layer: in BERT, RoBERTa and XLM-R; in DistilBERT; and behind a gate in
# Llama, Qwen and others that are built as they are.
_READS_FFN = (
    re.compile(r"\blayer\.(\d+)\.output\.dense$"),
    re.compile(r"\blayer\.(\d+)\.ffn\.lin2$"),
    re.compile(r"\blayers\.(\d+)\.mlp\.down_proj$"),
)
BYTES_AT_ONCE = 512 * 2**20
"""Of the activations that are ranked at a time, and of all that ranking them needs."""
# Of one activation while it is ranked: itself, in double precision, in order; its place; which are references, and two
# running sums of these; the distance, its place again, and what numpy holds in between.
_RANKING = 96


def probeless(activations: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return how far each neuron of each fact lies from the reference facts on average, [facts, neurons].

    A fact is not compared with itself. By sorting, in O(n log n) of a neuron for n facts.

    Args:
        activations: [facts, neurons].
        reference: [facts] bool, two or more of them true.
    """
    values = activations.astype(np.float64)
    order = np.argsort(values, axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, axis=0)
    counted = reference[order]
    below = np.cumsum(counted, axis=0)
    upto = np.cumsum(np.where(counted, ordered, 0), axis=0)
    # Of the references, `below` lie at a value or below it, and their sum is `upto`.
    sums = below * ordered - upto + (upto[-1] - upto) - (below[-1] - below) * ordered
    found = np.empty_like(sums)
    np.put_along_axis(found, order, sums, axis=0)
    return found / (reference.sum() - reference)[:, None]


def feed_forward(model: PreTrainedModel) -> list[Any]:
    """Return the module of each layer that reads the activations of its feed-forward neurons.

    Raises:
        InputError: they are not found, or layers differ in how many neurons they have.
    """
    named = list(model.base_model.named_modules())
    for pattern in _READS_FFN:
        found = {int(said[1]): module for name, module in named if (said := pattern.search(name))}
        if found and sorted(found) == list(range(model.config.num_hidden_layers)):
            layers = [found[number] for number in sorted(found)]
            if len({layer.in_features for layer in layers}) == 1:
                return layers
    raise InputError(
        type(model).__name__,
        "its feed-forward layers are not among those that are known",
        "Give a model that is built as BERT, RoBERTa, XLM-R, DistilBERT, Llama or Qwen2 are, or set neurons to null.",
    )


def activations(
    model: PreTrainedModel, places: Sequence[Place], *, padding: int, batch_tokens: int
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Yield the activations of all neurons at some places, averaged over the tokens of each, a batch at a time.

    Neurons are numbered layer after layer.

    Args:
        model: in evaluation mode.
        places: some.
        padding: id of the token that stands behind the shorter sequences of a batch.
        batch_tokens: tokens of a batch, padding included.

    Yields:
        which places, and their activations, float32 [places of the batch, neurons].

    Raises:
        InputError: its feed-forward layers are not known.
    """
    import torch

    layers = feed_forward(model)
    read: dict[int, Any] = {}
    weight = torch.zeros(0)

    def average(number: int) -> Any:
        def hook(module: Any, given: tuple[Any, ...]) -> None:
            read[number] = torch.einsum("rt,rtw->rw", weight, given[0].float())

        return hook

    with contextlib.ExitStack() as hooks, torch.inference_mode():
        for number, layer in enumerate(layers):
            hooks.enter_context(_removed(layer.register_forward_pre_hook(average(number))))
        for members in make_batches([len(place.tokens) for place in places], batch_tokens):
            ids = torch.from_numpy(padded([np.asarray(places[i].tokens) for i in members], padding))
            seen, share = torch.zeros_like(ids), torch.zeros(ids.shape)
            for row, place in enumerate(places[i] for i in members):
                seen[row, : len(place.tokens)] = 1
                share[row, place.first : place.first + place.count] = 1 / place.count
            weight = share.to(model.device)
            model.base_model(input_ids=ids.to(model.device), attention_mask=seen.to(model.device))
            yield members, torch.cat([read[number] for number in range(len(layers))], dim=1).cpu().numpy()


@contextlib.contextmanager
def _removed(hook: Any) -> Iterator[None]:
    """Remove a hook at the end."""
    try:
        yield
    finally:
        hook.remove()


@contextlib.contextmanager
def silenced(model: PreTrainedModel, neurons: Sequence[int] | np.ndarray) -> Iterator[None]:
    """While open, some neurons of a model, numbered layer after layer, are 0 at every token.

    Raises:
        InputError: its feed-forward layers are not known.
    """
    import torch

    layers = feed_forward(model)
    width = layers[0].in_features
    with contextlib.ExitStack() as hooks:
        for number, layer in enumerate(layers):
            own = [int(neuron) % width for neuron in neurons if int(neuron) // width == number]
            if own:
                cut = torch.tensor(own, device=model.device)
                hooks.enter_context(
                    _removed(
                        layer.register_forward_pre_hook(lambda _, given, cut=cut: (given[0].index_fill(-1, cut, 0),))
                    )
                )
        yield


class Spool:
    """Activations in a file, block of neurons after block, so that a block of all facts is read at once."""

    def __init__(self, file: IO[bytes], n_facts: int, n_neurons: int, at_once: int = BYTES_AT_ONCE) -> None:
        """Lay the file out.

        Args:
            file: an empty one, open to be written and read.
            n_facts: rows, 1 or more.
            n_neurons: columns, 1 or more.
            at_once: bytes that ranking a block may need.
        """
        self.n_facts, self.n_neurons = n_facts, n_neurons
        self.width = max(1, min(n_neurons, at_once // (n_facts * _RANKING)))
        self.starts = range(0, n_neurons, self.width)
        self._file = file

    def _seek(self, start: int, row: int) -> int:
        """Go to a row of the block that begins at a neuron, and return how many neurons the block has."""
        width = min(self.width, self.n_neurons - start)
        self._file.seek(4 * (start * self.n_facts + row * width))
        return width

    def put(self, row: int, values: np.ndarray) -> None:
        """Write the activations of one fact, float32 [neurons]."""
        for start in self.starts:
            width = self._seek(start, row)
            self._file.write(values[start : start + width].tobytes())

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first neuron of each block, and its activations, [facts, neurons of the block]."""
        for start in self.starts:
            width = self._seek(start, 0)
            read = self._file.read(4 * width * self.n_facts)
            yield start, np.frombuffer(read, np.float32).reshape(self.n_facts, width)


class Top:
    """The neurons of the highest scores, found block after block; equal ones by number.

    Attributes:
        neurons: [facts, up to k] best first.
        scores: theirs.
    """

    def __init__(self, n_facts: int, k: int) -> None:
        """Begin with none."""
        self.k = k
        self.neurons, self.scores = np.zeros((n_facts, 0), np.int64), np.zeros((n_facts, 0))

    def add(self, start: int, scores: np.ndarray) -> None:
        """Take a block that begins at a neuron, [facts, neurons of the block]; blocks come in order."""
        numbers = np.broadcast_to(np.arange(start, start + scores.shape[1]), scores.shape)
        scores, numbers = (np.concatenate(both, axis=1) for both in ((self.scores, scores), (self.neurons, numbers)))
        best = np.argsort(-scores, axis=1, kind="stable")[:, : self.k]
        self.scores, self.neurons = (np.take_along_axis(values, best, axis=1) for values in (scores, numbers))


def bin_scores(scores: np.ndarray, bins: int, binning: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the highest score of each bin of the neurons of some layers, each [layers, bins].

    Args:
        scores: [layers, neurons].
        bins: how many, not more than neurons.
        binning: one of :data:`~lorebridge.probes.manners.BINNINGS`.
    """
    numbers = np.arange(scores.shape[1])
    bin_of = numbers % bins if binning == "strided" else numbers * bins // len(numbers)
    own = [scores[:, bin_of == number] for number in range(bins)]
    return np.stack([of.mean(axis=1) for of in own], axis=1), np.stack([of.max(axis=1) for of in own], axis=1)


@dataclasses.dataclass(frozen=True)
class _Asked:
    """The facts of the last checkpoint of a model, and which of them it has right.

    Attributes:
        run, step: of the checkpoint; a given model has no step.
        folder: the model's.
        table: rows of the table "facts" in some languages.
        right: (lang, fact_id) of those whose own object is its only answer.
    """

    run: str
    step: int | None
    folder: Path
    table: pd.DataFrame
    right: frozenset[tuple[str, str]]

    @classmethod
    def of(
        cls, run: str, checkpoints: Mapping[str, Path], facts: Path, scores: Path, languages: Sequence[str]
    ) -> _Asked:
        """Read the facts, and what the last checkpoint makes of them."""
        said, folder = list(checkpoints.items())[-1]
        step = int(said) if said else None
        answers = tables.read(scores, ["step", "fact_id", "lang", "exact"])
        here = answers["step"].isna() if step is None else answers["step"] == step
        here &= answers["lang"].isin(languages)
        right = answers.loc[here & (answers["exact"] > 0.5), ["lang", "fact_id"]]
        table = tables.read(facts)
        return cls(
            run,
            step,
            Path(folder),
            table[table["lang"].isin(languages)],
            frozenset(right.itertuples(index=False, name=None)),
        )

    def rights(self, rows: pd.DataFrame) -> np.ndarray:
        """Return which rows of the table it has right, [rows] bool."""
        keys = zip(rows["lang"], rows["fact_id"], strict=True)
        return np.fromiter((key in self.right for key in keys), bool, len(rows))

    def parts(self) -> list[Part]:
        """Return the facts of each relation in each language."""
        return [Part.of(rows) for _, rows in self.table.groupby(["lang", "relation"], sort=False)]

    def named(self, n: int) -> dict[str, Any]:
        """Return the columns that n rows on it have."""
        return {"run": self.run, "step": pd.array([self.step] * n, dtype="Int32")}


def _lot(*names: str) -> int:
    """Return a number that puts facts into an order which nothing else depends on."""
    return zlib.crc32("\0".join(names).encode())


def common_references(facts: pd.DataFrame, references: int) -> set[str]:
    """Return the facts of each relation that are asked in most languages, equals by lot, up to so many a relation.

    Args:
        facts: rows of the table "facts".
        references: how many.
    """
    found: set[str] = set()
    for _, rows in facts.groupby("relation", sort=False):
        counts = rows["fact_id"].value_counts()
        found |= set(sorted(counts.index, key=lambda fact: (-counts[fact], _lot(fact), fact))[:references])
    return found


def shown_cases(right: pd.DataFrame, cases: int) -> list[str]:
    """Return the facts that are right in most languages, in two or more, equals by lot.

    Args:
        right: ``fact_id`` of right facts, a row a language.
        cases: how many.
    """
    counts = right["fact_id"].value_counts()
    return sorted(counts[counts > 1].index, key=lambda fact: (-counts[fact], _lot(fact), fact))[:cases]


def score_neurons(
    *,
    run: str,
    checkpoints: Mapping[str, Path],
    facts: Path,
    scores: Path,
    languages: Sequence[str],
    out: Path,
    bins_out: Path,
    top: int,
    least: int,
    reference: str,
    references: int,
    bins: int,
    binning: str,
    cases: int,
    bare: str,
    batch_tokens: int,
    threads: int | None = None,
    work: Path | None = None,
) -> dict[str, int]:
    """Write the tables ``neurons`` and ``neuron_bins`` of a model's last checkpoint, of the facts that it has right.

    A relation with fewer than `least` references in a language has no rows there: of a fact without others all scores
    are 0, and its best neurons the first ones in every language.

    Args:
        run: what the model is called.
        checkpoints: step -> folder, all with one tokenizer; the step of a model that is given is empty.
        facts: the table "facts".
        scores: its table "fact_scores".
        languages: those whose facts are looked at.
        out: the table "neurons".
        bins_out: the table "neuron_bins".
        top: neurons of a fact.
        least: references of a relation in a language, two or more.
        reference: one of :data:`~lorebridge.probes.manners.REFERENCES`.
        references: how many facts of a relation are common.
        bins, binning: see :func:`bin_scores`.
        cases: of how many facts bins are written.
        bare: see :class:`lorebridge.probes.asking.Manner`.
        batch_tokens: tokens of a batch, padding included.
        threads: CPU threads for the model.
        work: a folder, of this recipe alone, that keeps the facts of each relation in a language for another try.

    Returns:
        Notes for the record: ``facts`` that have neurons, those in relations with ``too few`` references, and those
        ``unread``, because a causal model has not read the subject before the object.

    Raises:
        InputError: as :func:`lorebridge.probes.asking.score_facts`; the model has no known feed-forward layers, or
            fewer than twice `top` or `bins` neurons.
    """
    set_threads(threads)
    asked = _Asked.of(run, checkpoints, facts, scores, languages)
    ask = asker(asked.folder, Manner(bare=bare), batch_tokens)
    parts = asked.parts()
    told = asked.rights(asked.table)
    chosen = common_references(asked.table, references) if reference == "common" else set()
    shown = shown_cases(asked.table[told], cases)
    notes = {"facts": 0, "too few": 0, "unread": 0}
    binned: list[pd.DataFrame] = []
    model = _loaded(ask, asked, parts)
    ranker = _Ranker(asked, model, ask.padding, batch_tokens, out.parent, top, bins, binning, frozenset(shown))
    ranker.check()
    with tables.writer("neurons", out) as append:
        for part in tqdm(parts, unit="relation", desc=f"neurons {run}"):
            places = ask.places(part)
            right = asked.rights(part.rows)
            compared = part.rows["fact_id"].isin(chosen).to_numpy() if reference == "common" else right
            read = np.array([place is not None for place in places])
            notes["unread"] += int((right & ~read).sum())
            right, compared = right & read, compared & read
            if not right.any() or compared.sum() < max(2, least):
                notes["too few"] += int(right.sum())
                continue
            notes["facts"] += int(right.sum())
            own = fingerprint([part.rows["lang"].iloc[0], part.rows["relation"].iloc[0]])
            kept = None if work is None else [Path(work) / f"{own}-{name}.parquet" for name in ("bins", "neurons")]
            told_bins, best = [None, None] if kept is None else [tables.read_kept(path, own) for path in kept]
            if told_bins is None or best is None:
                told_bins, best = ranker.rank(part.rows, places, right, compared)
                if kept is not None:
                    tables.write("neuron_bins", told_bins, kept[0], {"identity": own})
                    tables.write("neurons", best, kept[1], {"identity": own})
            append(pa.Table.from_pandas(best, schema=tables.SCHEMAS["neurons"], preserve_index=False))
            if len(told_bins):
                binned.append(told_bins)
    tables.write("neuron_bins", pd.concat(binned, ignore_index=True) if binned else [], bins_out)
    log.info("%s: %s", run, notes)
    return notes


def _loaded(ask: Masked | Causal, asked: _Asked, parts: Sequence[Part]) -> PreTrainedModel:
    """Return a model that reads what it is asked.

    Raises:
        InputError: it does not.
    """
    model = ask.load(asked.folder, None, parts)
    if isinstance(ask, Causal):
        sample = [place.tokens for part in parts for place in ask.places(part.at(0)) if place is not None]
        if sample:
            check_causal(model, sample, asked.folder)
    return model


@dataclasses.dataclass(frozen=True)
class _Ranker:
    """Finds the neurons of the facts of a relation in a language.

    Attributes:
        asked, model: the facts, and the model.
        padding, batch_tokens: as :func:`activations`.
        folder: where activations are spooled.
        top, bins, binning: as :func:`score_neurons`.
        shown: the facts of which bins are told.
    """

    asked: _Asked
    model: PreTrainedModel
    padding: int
    batch_tokens: int
    folder: Path
    top: int
    bins: int
    binning: str
    shown: frozenset[str]

    @property
    def shape(self) -> tuple[int, int]:
        """Layers, and neurons of a layer."""
        layers = feed_forward(self.model)
        return len(layers), layers[0].in_features

    def check(self) -> None:
        """Refuse to choose so many neurons that hardly any is left, or more bins than a layer has neurons.

        Raises:
            InputError: names the key.
        """
        n_layers, width = self.shape
        total = n_layers * width
        if 2 * self.top > total:
            raise InputError(
                "neurons.top", f"asks for {self.top} of the {total} neurons of the model", f"Lower it to {total // 2}."
            )
        if self.bins > width:
            raise InputError(
                "neurons.bins", f"asks for {self.bins}, and a layer has {width} neurons", f"Lower it to {width}."
            )

    def rank(
        self, rows: pd.DataFrame, places: Sequence[Place | None], right: np.ndarray, compared: np.ndarray
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return rows of the tables ``neuron_bins`` and ``neurons``.

        Args:
            rows: of the table "facts".
            places: [rows] where the model is about to say the object.
            right: [rows] bool, of which facts neurons are found.
            compared: [rows] bool, which facts these are told from.
        """
        n_layers, width = self.shape
        kept = right | compared
        wanted = [place for place, wanted in zip(places, kept, strict=True) if wanted and place is not None]
        best = Top(int(right.sum()), self.top)
        names = rows.loc[right, ["fact_id", "relation", "lang"]]
        whole = {row: np.empty(n_layers * width) for row, fact in enumerate(names["fact_id"]) if fact in self.shown}
        with tempfile.TemporaryFile(dir=self.folder) as file:
            spool = Spool(file, len(wanted), n_layers * width)
            read = activations(self.model, wanted, padding=self.padding, batch_tokens=self.batch_tokens)
            for members, values in read:
                for row, own in zip(members, values, strict=True):
                    spool.put(row, own)
            for start, values in spool.blocks():
                ranked = probeless(values, compared[kept])[right[kept]]
                best.add(start, ranked)
                for row, own in whole.items():
                    own[start : start + ranked.shape[1]] = ranked[row]
        binned = [
            self._bins(names.iloc[row], bin_scores(own.reshape(n_layers, width), self.bins, self.binning))
            for row, own in whole.items()
        ]
        none = pd.DataFrame(columns=tables.SCHEMAS["neuron_bins"].names)
        return pd.concat(binned, ignore_index=True) if binned else none, self._best(names, best, width)

    def _best(self, names: pd.DataFrame, best: Top, width: int) -> pd.DataFrame:
        n, k = best.neurons.shape
        return pd.DataFrame(
            {
                **self.asked.named(n * k),
                **{str(name): np.repeat(names[name].to_numpy(), k) for name in names},
                "layer": (best.neurons // width).ravel(),
                "neuron": (best.neurons % width).ravel(),
                "score": best.scores.ravel(),
                "rank": np.tile(np.arange(1, k + 1), n),
            }
        )

    def _bins(self, names: pd.Series, binned: tuple[np.ndarray, np.ndarray]) -> pd.DataFrame:
        layers, bins = binned[0].shape
        return pd.DataFrame(
            {
                **self.asked.named(layers * bins),
                **{str(name): value for name, value in names.items()},
                "layer": np.repeat(np.arange(layers), bins),
                "bin": np.tile(np.arange(bins), layers),
                "mean": binned[0].ravel(),
                "max": binned[1].ravel(),
            }
        )


def matched(magnitudes: np.ndarray, neurons: np.ndarray, near: int, rng: np.random.Generator) -> np.ndarray:
    """Return as many other neurons, each of the layer of its own and of nearly its magnitude, each once.

    Neurons come in a random order; each is given one of the `near` closest that are left in its layer, all alike.

    Args:
        magnitudes: [layers, neurons of a layer].
        neurons: numbered layer after layer, each once, fewer than half of those of any layer.
        near: how many are close.
        rng: draws them.
    """
    width = magnitudes.shape[1]
    flat = magnitudes.ravel()
    free = np.ones(flat.shape, bool)
    free[neurons] = False
    found = np.empty(len(neurons), np.int64)
    for place in rng.permutation(len(neurons)):
        neuron = neurons[place]
        first = neuron // width * width
        pool = first + np.flatnonzero(free[first : first + width])
        order = np.argsort(np.abs(flat[pool] - flat[neuron]), kind="stable")[:near]
        found[place] = pool[order[rng.integers(len(order))]]
        free[found[place]] = False
    return found


def ablate(
    *,
    run: str,
    checkpoints: Mapping[str, Path],
    facts: Path,
    scores: Path,
    neurons: Path,
    languages: Sequence[str],
    out: Path,
    n_facts: int,
    draws: int,
    near: int,
    seed: int,
    asking: Mapping[str, str],
    batch_tokens: int,
    threads: int | None = None,
    work: Path | None = None,
) -> dict[str, int]:
    """Write the table ``silenced_facts`` of a model's last checkpoint: what it still knows without some neurons.

    A fact that it has right in two languages is asked in the one while the fact's best neurons of the other are 0 at
    every token; and while others are: those of another fact of the relation in that other language, with another
    object, and random ones, matched by layer and by how large they are for the fact in the language that it is asked
    in (:func:`matched`).

    Args:
        run, checkpoints, facts, scores, languages, batch_tokens, threads: as :func:`score_neurons`.
        neurons: the model's table "neurons".
        out: the table to write.
        n_facts: of two languages at most, chosen by lot, the same in all pairs where they can be.
        draws: of random neurons.
        near: see :func:`matched`.
        seed: of the draws.
        asking: see :class:`lorebridge.probes.asking.Manner`.
        work: a folder, of this recipe alone, that keeps the facts of each relation in a language for another try.

    Returns:
        Notes for the record: ``asked``, how often.

    Raises:
        InputError: as :func:`score_neurons`; or a fact has more than half of the neurons of a layer.
    """
    set_threads(threads)
    asked = _Asked.of(run, checkpoints, facts, scores, languages)
    ask = asker(asked.folder, Manner(**asking), batch_tokens)
    parts = asked.parts()
    model = _loaded(ask, asked, parts)
    found: list[pd.DataFrame] = []
    times = 0
    silencer = _Silencer.of(asked, ask, model, neurons, draws=draws, near=near, seed=seed, batch_tokens=batch_tokens)
    taken = _chosen(asked, silencer.known, n_facts)
    for part in tqdm(parts, unit="relation", desc=f"ablations {run}"):
        own = fingerprint([part.rows["lang"].iloc[0], part.rows["relation"].iloc[0]])
        kept = None if work is None else Path(work) / f"{own}.parquet"
        rows = None if kept is None else tables.read_kept(kept, own)
        if rows is None:
            rows = pd.DataFrame(silencer.rows(part, taken), columns=tables.SCHEMAS["silenced_facts"].names[2:])
            rows = rows.assign(**asked.named(len(rows)))
            if kept is not None:
                tables.write("silenced_facts", rows, kept, {"identity": own})
        times += int((1 + rows["other"].notna() + draws).sum())
        if len(rows):
            found.append(rows)
    tables.write("silenced_facts", pd.concat(found, ignore_index=True) if found else [], out)
    return {"asked": times}


@dataclasses.dataclass(frozen=True)
class _Silencer:
    """A model that is asked facts while some of its neurons are silenced.

    Attributes:
        asked, ask, model: the facts, what asks them, and the model.
        tops: (lang, fact_id) -> the fact's best neurons, numbered layer after layer.
        known: lang -> relation -> (fact_id, object_id) of the facts that have some.
        draws, near, seed, batch_tokens: as :func:`ablate`.
    """

    asked: _Asked
    ask: Masked | Causal
    model: PreTrainedModel
    tops: Mapping[tuple[str, str], np.ndarray]
    known: Mapping[str, Mapping[str, Sequence[tuple[str, str]]]]
    draws: int
    near: int
    seed: int
    batch_tokens: int

    @classmethod
    def of(cls, asked: _Asked, ask: Masked | Causal, model: PreTrainedModel, neurons: Path, **knobs: int) -> _Silencer:
        """Read the neurons of the facts.

        Raises:
            InputError: there are so many of a layer that no others are left.
        """
        width = feed_forward(model)[0].in_features
        best = tables.read(neurons)
        flat = best["layer"].astype(np.int64) * width + best["neuron"]
        tops = {key: values.to_numpy() for key, values in flat.groupby([best["lang"], best["fact_id"]], sort=False)}
        for (lang, fact), own in tops.items():
            if 2 * np.bincount(own // width).max() > width:
                raise InputError(
                    f"neurons.top, {lang}, {fact}",
                    f"more than half of the {width} neurons of a layer are the fact's, and too few others are left",
                    "Lower it, or set neurons.ablation to null.",
                )
        known: dict[str, dict[str, list[tuple[str, str]]]] = {}
        columns = [asked.table[name].tolist() for name in ("lang", "relation", "fact_id", "object_id")]
        for lang, relation, fact, answer in zip(*columns, strict=True):
            if (lang, fact) in tops:
                known.setdefault(lang, {}).setdefault(relation, []).append((fact, answer))
        return cls(asked, ask, model, tops, known, **knobs)

    def rows(self, part: Part, taken: Mapping[tuple[str, str], set[str]]) -> list[dict[str, Any]]:
        """Return rows of the table on the facts of a part that are `taken` of a language cut and that of the part."""
        here, relation = part.rows["lang"].iloc[0], part.rows["relation"].iloc[0]
        found = []
        for index, (fact, own_object) in enumerate(zip(part.rows["fact_id"], part.rows["object_id"], strict=True)):
            cut = [lang for lang in self.known if fact in taken.get((lang, here), ())]
            one = part.at(index)
            [place] = self.ask.places(one) if cut else [None]
            if place is None:
                continue
            [(_, values)] = activations(self.model, [place], padding=self.ask.padding, batch_tokens=self.batch_tokens)
            sizes = np.abs(values).reshape(self.model.config.num_hidden_layers, -1)
            for lang in cut:
                own = self.tops[lang, fact]
                others = [other for other, answer in self.known[lang][relation] if answer != own_object]
                other = min(others, key=functools.partial(_lot, fact), default=None)
                rng = np.random.default_rng([self.seed, _lot(fact, lang, here)])
                random = [matched(sizes, own, self.near, rng) for _ in range(self.draws)]
                found.append(
                    {
                        "fact_id": fact,
                        "relation": relation,
                        "lang_cut": lang,
                        "lang_asked": here,
                        "k": len(own),
                        "own": self.lost(one, own),
                        "other": np.nan if other is None else self.lost(one, self.tops[lang, other]),
                        "random": float(np.mean([self.lost(one, silent) for silent in random])),
                        "size": float(sizes.ravel()[own].mean()),
                        "size_random": float(np.mean([sizes.ravel()[silent].mean() for silent in random])),
                    }
                )
        return found

    def lost(self, one: Part, neurons: np.ndarray) -> float:
        """Return how far a fact that the model has right is not while neurons are silenced, 0..1."""
        with silenced(self.model, neurons):
            return 1 - float(self.ask.take(self.model, one, self.asked.folder)["exact"].iloc[0])


def _chosen(
    asked: _Asked, known: Mapping[str, Mapping[str, Sequence[tuple[str, str]]]], n_facts: int
) -> dict[tuple[str, str], set[str]]:
    """Return (language cut, language asked) -> the facts that are asked, right in both, those of the least lot."""
    by_lang: dict[str, set[str]] = {}
    for lang, fact in asked.right:
        by_lang.setdefault(lang, set()).add(fact)
    found = {}
    for cut, here in itertools.product(known, by_lang):
        both = {fact for rows in known[cut].values() for fact, _ in rows} & by_lang[here]
        found[cut, here] = set(sorted(both, key=lambda fact: (_lot(fact), fact))[:n_facts])
    return found
