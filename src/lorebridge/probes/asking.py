"""Models asked facts: masked ones by their masks, causal ones with the candidates filled in.

What a model is says the model (:func:`lorebridge.probes.masked.objective`). A part, the facts of one relation in one
language, is asked at a time and kept, so that a killed job repeats one part.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from lorebridge import tables
from lorebridge.corpora.facts import OBJECT, SUBJECT
from lorebridge.errors import InputError
from lorebridge.probes.decoding import Pieces, Prompt, Reader, score_pieces, score_sets, write_pieces
from lorebridge.probes.manners import BARES, DECODES, LENGTHS, SPACES
from lorebridge.probes.masked import BARE, Query, Read, check_masked, load_masked, mask_token, objective, read_masks
from lorebridge.probes.models import (
    check_causal,
    check_vocabulary,
    encode,
    load_model,
    load_tokenizer,
    positions,
    require_one_run,
    set_threads,
    weights_digest,
)
from lorebridge.probes.scoring import build_requests, check_finite, check_length
from lorebridge.probes.trees import reads_batches, reads_trees, sum_logprobs
from lorebridge.records import DigestCache, file_digest, fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger("lorebridge.probes")

CAUSAL = "causal"
"""What the table calls the decoding of a causal model."""


@dataclasses.dataclass(frozen=True)
class Manner:
    """How masked models are asked: each a key of a mapping of :mod:`lorebridge.probes.manners`."""

    decode: str = "simultaneous"
    lengths: str = "gold"
    space: str = "vocabulary"
    bare: str = "drop"

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: there is no such value, or they do not go together.
        """
        for name, known in (("decode", DECODES), ("lengths", LENGTHS), ("space", SPACES), ("bare", BARES)):
            if getattr(self, name) not in known:
                raise InputError(name, f"{getattr(self, name)!r} is not known", f"Choose one of {', '.join(known)}.")
        if self.decode == "pll" and self.space == "vocabulary":
            raise InputError(
                "decode pll", "scores strings and writes none", "Ask with space candidates, or decode otherwise."
            )


DEFAULT = Manner()
# How a byte-level tokenizer writes a space.
_SPACE_BYTE = "\u0120"


def score_facts(
    *,
    run: str,
    checkpoints: Sequence[tuple[int | None, Path]],
    facts: Path,
    out: Path,
    batch_tokens: int,
    decode: str = DEFAULT.decode,
    lengths: str = DEFAULT.lengths,
    space: str = DEFAULT.space,
    bare: str = DEFAULT.bare,
    device: str | None = None,
    threads: int | None = None,
    work: Path | None = None,
    digests: Path | str | None = None,
) -> dict[str, Any]:
    """Ask checkpoints of a model facts, in float32, and write the table ``fact_scores``.

    A causal model is asked with space ``candidates``: the filled prompts are compared by the log-probability of a
    token, as cloze questions are (rule ``mean`` of :mod:`lorebridge.probes.decisions`); `decode`, `lengths` and `bare`
    say nothing of it.

    Args:
        run: what the model is called.
        checkpoints: step and folder of each, all with one tokenizer; the step of a model that is given is None.
        facts: the table ``facts``.
        out: the table to write; rows stand in the order of `checkpoints`, then of the parts.
        batch_tokens: tokens of a batch, padding included.
        decode, lengths, space, bare: see :class:`Manner`.
        device: where to compute; by default the GPU where there is one.
        threads: CPU threads for the model.
        work: a folder that keeps the parts, so that a killed job need not repeat them.
        digests: the folder of a :class:`~lorebridge.records.DigestCache`.

    Returns:
        Notes for the record: ``objective``, ``facts``, and how many objects have an ``unknown`` piece (which are never
        right) or ``no piece`` (which are not asked).

    Raises:
        InputError: a folder is no model, or a causal one where masks are needed; the tokenizer has no mask; a template
            has no ``[Y]``; a prompt holds a mask or is longer than the model reads; checkpoints differ in their
            tokenizer; or a model has diverged.
    """
    manner = Manner(decode, lengths, space, bare)
    set_threads(threads)
    checkpoints = [(step, Path(folder)) for step, folder in checkpoints]
    require_one_run([folder for _, folder in checkpoints])
    first = checkpoints[0][1]
    kind = objective(first)
    if kind == CAUSAL and manner.space == "vocabulary":
        raise InputError(
            first,
            "is a causal language model, which fills no masks",
            "Ask it with space candidates, or give a masked language model.",
        )
    table = tables.read(facts)
    _check_facts(table, facts)
    ask = asker(first, manner, batch_tokens)
    parts = [Part.of(rows) for _, rows in table.groupby(["lang", "relation"], sort=False)]
    digest = DigestCache(digests) if digests else file_digest
    found: list[pd.DataFrame] = []
    log.info("%s: %s, %d facts in %d parts, %d checkpoints", run, kind, len(table), len(parts), len(checkpoints))
    with tqdm(total=len(table) * len(checkpoints), unit="fact", desc=f"score {run}") as progress:
        for step, folder in checkpoints:
            made_by = [run, step, weights_digest(folder, digest), ask.identity]
            model: PreTrainedModel | None = None
            for part in parts:
                own = fingerprint([*made_by, part.identity])
                kept = None if work is None else Path(work) / f"{own}.parquet"
                rows = None if kept is None else tables.read_kept(kept, own)
                if rows is None:
                    if model is None:
                        model = ask.load(folder, device, parts)
                    rows = ask.take(model, part, folder)
                    rows = rows.assign(run=run, step=pd.array([step] * len(rows), dtype="Int32"))
                    if kept is not None:
                        tables.write("fact_scores", rows, kept, {"identity": own})
                found.append(rows)
                progress.update(len(rows))
            del model  # one at a time in memory
    scores = pd.concat(found, ignore_index=True)
    tables.write("fact_scores", scores, out)
    notes = Counter(scores["remark"].dropna())
    return {"objective": kind, "facts": len(table), **notes}


def rank_facts(
    *,
    run: str,
    checkpoints: Mapping[int | str | None, Path],
    facts: Path,
    out: Path,
    batch_tokens: int,
    decode: str = DEFAULT.decode,
    bare: str = DEFAULT.bare,
    device: str | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Write how the last checkpoint of a model ranks the candidates of every fact, as the table ``fact_rankings``.

    Candidates are compared whatever their number of pieces (lengths ``any``, space ``candidates``), and are known by
    what is the same in every language: the object's id or, of a fact that brings its candidates, their place.

    Args:
        run, facts, out, batch_tokens, decode, bare, device, threads: as :func:`score_facts`.
        checkpoints: step -> folder; the last is asked. A given model has one, without a step.

    Returns:
        Notes for the record: ``objective``, ``facts``.

    Raises:
        InputError: as :func:`score_facts`.
    """
    manner = Manner(decode, "any", "candidates", bare)
    set_threads(threads)
    # A task's mapping stands in the order of its keys as text.
    said = max(checkpoints, key=lambda step: int(step or 0))
    step, folder = int(said) if said not in (None, "") else None, Path(checkpoints[said])
    table = tables.read(facts)
    _check_facts(table, facts)
    ask = asker(folder, manner, batch_tokens)
    parts = [Part.of(rows) for _, rows in table.groupby(["lang", "relation"], sort=False)]
    model = ask.load(folder, device, parts)
    with tables.writer("fact_rankings", out) as write:
        for part in tqdm(parts, unit="part", desc=f"rank {run}"):
            named = part.rows[["fact_id", "relation", "lang"]].to_dict("records")
            write(
                [
                    {"run": run, "step": step, **row, "candidates": names, "values": values.tolist()}
                    for row, names, values in zip(named, part.names, ask.values(model, part, folder), strict=True)
                ]
            )
    return {"objective": objective(folder), "facts": len(table)}


def asker(folder: Path, manner: Manner, batch_tokens: int) -> Masked | Causal:
    """Return what asks the model of a folder, by what that is.

    Args:
        folder: the model's.
        manner: of a masked model.
        batch_tokens: tokens of a batch, padding included.

    Raises:
        InputError: the folder holds no model, or no tokenizer, or one without the mask that its model needs.
    """
    kind, tokenizer = objective(folder), load_tokenizer(folder)
    return Masked(tokenizer, manner, folder, batch_tokens) if kind == "masked" else Causal(tokenizer, batch_tokens)


def _check_facts(table: pd.DataFrame, where: object) -> None:
    """Refuse a table that is none of facts, or has a template without a place for the object.

    Raises:
        InputError: it is.
    """
    lost = [name for name in tables.SCHEMAS["facts"].names if name not in table]
    if lost or table.empty:
        what = f"has no column {lost[0]}" if lost else "holds no fact"
        raise InputError(where, f"is no table of facts: {what}", "`lorebridge facts` writes one.")
    bad = table[table["template"].str.count(r"\[Y\]") != 1]
    if len(bad):
        row = bad.iloc[0]
        raise InputError(
            f"{where}, {row['lang']}, {row['relation']}",
            f"its template {row['template']!r} has not one {OBJECT}",
            f"Write {OBJECT} where the object stands.",
        )


@dataclasses.dataclass(frozen=True)
class Part:
    """The facts of a relation in a language.

    Attributes:
        rows: of the table.
        prompts: [rows] the template with the subject.
        candidates: [rows] what each is asked with, each once, its gold among them; one and the same tuple where it is
            the objects of the relation.
        others: [rows] further golds of the prompt.
    """

    rows: pd.DataFrame
    prompts: list[str]
    candidates: list[tuple[str, ...]]
    others: list[frozenset[str]]

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Part:
        """Return the part that some rows of the table make."""
        shared = tuple(dict.fromkeys(rows["object"]))
        return cls(
            rows,
            [t.replace(SUBJECT, s) for t, s in zip(rows["template"], rows["subject"], strict=True)],
            [
                shared if own is None else tuple(dict.fromkeys([*own, gold]))
                for own, gold in zip(rows["candidates"], rows["object"], strict=True)
            ],
            [frozenset(g) - {gold} for g, gold in zip(rows["golds"], rows["object"], strict=True)],
        )

    def at(self, index: int) -> Part:
        """Return one fact of it, with the candidates that it has among the others."""
        cut = slice(index, index + 1)
        return Part(self.rows[cut], self.prompts[cut], self.candidates[cut], self.others[cut])

    @property
    def names(self) -> list[list[str]]:
        """Of each fact's candidates what they are known by in all languages: object ids, or places of its own ones."""
        ids = dict(zip(self.rows["object"][::-1], self.rows["object_id"][::-1], strict=True))  # the first of a label
        return [
            [ids[text] for text in said] if own is None else [str(place) for place in range(len(said))]
            for said, own in zip(self.candidates, self.rows["candidates"], strict=True)
        ]

    @property
    def where(self) -> str:
        """What it is called in errors."""
        return f"{self.rows['lang'].iloc[0]}, {self.rows['relation'].iloc[0]}"

    @property
    def identity(self) -> list[Any]:
        """What tells it from others."""
        columns = ("fact_id", "lang", "relation", "object")
        told = [self.rows[name].tolist() for name in columns]
        own = [list(said) for said in dict.fromkeys(self.candidates)]
        return [*told, self.prompts, own, [sorted(golds) for golds in self.others]]

    def table(self, **columns: Any) -> pd.DataFrame:
        """Return the rows of the part in the table ``fact_scores``, without run and step."""
        named = self.rows[["fact_id", "relation", "lang"]].reset_index(drop=True)
        return named.assign(n_candidates=[len(said) for said in self.candidates], **columns)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a model is about to say an object.

    Attributes:
        tokens: a sequence.
        first: the first of the tokens from whose states the object is predicted.
        count: how many these are, 1 or more.
    """

    tokens: list[int]
    first: int
    count: int


def _ranked(
    values: np.ndarray, texts: Sequence[str], gold: str, others: frozenset[str]
) -> tuple[float, float, float, str]:
    """Return (credit, credit without the prompt's other golds, rank, best) of candidates by their values.

    Ties share: the credit is 1/k of k equal ones, the rank their mean. NaN are candidates that are not compared.
    """
    place = texts.index(gold)
    open_ = ~np.isnan(values)

    def credit(among: np.ndarray) -> float:
        top = np.nanmax(values[among])
        return float(values[place] == top) / int((values[among] == top).sum())

    rank = 1 + float((values[open_] > values[place]).sum()) + (int((values[open_] == values[place]).sum()) - 1) / 2
    filtered = open_ & np.array([text not in others for text in texts])
    return credit(open_), credit(filtered), rank, texts[int(np.nanargmax(values))]


def _digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return what tells a tokenizer from others."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return fingerprint(tokenizer.get_vocab() if backend is None else backend.to_str())


class _Remembered:
    """Reads masks, and what a model would write into them only once: what was read for an object serves that, too."""

    def __init__(self, model: PreTrainedModel, folder: Path, batch_tokens: int, padding: int) -> None:
        self.model, self.folder, self.batch_tokens, self.padding = model, folder, batch_tokens, padding
        self._known: dict[tuple[Sequence[int], int], Read] = {}

    def __call__(self, queries: Sequence[Query], ranks: bool) -> list[list[Read]]:
        """Return [queries][places] what is read.

        Raises:
            InputError: the model has diverged.
        """
        keys = [[(tuple(query.tokens), place) for place in query.places] for query in queries]
        new = [
            index
            for index, query in enumerate(queries)
            if any(len(tokens) for tokens in query.wanted) or not all(key in self._known for key in keys[index])
        ]
        found = read_masks(
            self.model,
            [queries[index] for index in new],
            batch_tokens=self.batch_tokens,
            padding=self.padding,
            ranks=ranks,
        )
        check_finite(np.array([one.best_logprob for said in found for one in said]), self.folder)
        answers: dict[int, list[Read]] = dict(zip(new, found, strict=True))
        for index, said in answers.items():
            self._known |= zip(keys[index], said, strict=True)
        return [answers.get(index) or [self._known[key] for key in keys[index]] for index in range(len(queries))]


class Masked:
    """Masked models, asked in one manner."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, manner: Manner, folder: Path, batch_tokens: int) -> None:
        """Ask in a manner; `folder` is that of the model, for errors.

        Raises:
            InputError: the tokenizer has no mask.
        """
        self.tokenizer, self.manner, self.batch_tokens = tokenizer, manner, batch_tokens
        self.mask = mask_token(tokenizer, folder)
        bare = tokenizer.get_vocab().get(BARE)
        self.dropped = bare if manner.bare == "drop" else None
        self.padding, self.unknown = tokenizer.pad_token_id or 0, tokenizer.unk_token_id
        # Of byte-level pieces those behind a space are others than those that begin a text.
        self.lead = " " if any(piece.startswith(_SPACE_BYTE) for piece in tokenizer.get_vocab()) else ""
        self.identity = [dataclasses.asdict(manner), _digest(tokenizer)]
        self._pieces: dict[str, Pieces] = {}

    def load(self, folder: Path, device: str | None, parts: Sequence[Part]) -> PreTrainedModel:
        """Return a model that reads all that it will be asked; all prompts are looked at first.

        Raises:
            InputError: it does not, or a prompt holds a mask of its own.
        """
        import torch

        model = load_masked(folder, torch.float32, device)
        limit = positions(model)
        sample, tokens = [], {self.mask}
        for part in parts:
            pieces = self.pieces(part)
            most = max((len(own) for said in pieces for own in said.values()), default=0)
            prompts = self.prompts(part)
            longest = max(range(len(prompts)), key=lambda i: len(prompts[i].filled(())))
            if limit is not None and (needed := len(prompts[longest].filled(())) + most) > limit:
                raise InputError(
                    f"{folder}, {part.where}",
                    f"the model reads {limit} tokens, but a prompt has up to {needed}: {part.prompts[longest]!r}",
                    "Take the fact out.",
                )
            sample.append(prompts[longest].filled([self.mask]))
            tokens |= {token for prompt in prompts for token in prompt.filled(())}
            tokens |= {piece for said in pieces for own in said.values() for piece in own}
        check_vocabulary(model, self.tokenizer, [sorted(tokens)], folder)
        check_masked(model, self.mask, sample, folder)
        return model

    def prompts(self, part: Part) -> list[Prompt]:
        """Return the prompts of a part.

        Raises:
            InputError: one holds a mask of its own.
        """
        filled = [text.replace(OBJECT, self.tokenizer.mask_token) for text in part.prompts]
        found = []
        for text, ids in zip(part.prompts, self.tokenizer(filled, verbose=False)["input_ids"], strict=True):
            if ids.count(self.mask) != 1:
                raise InputError(
                    f"{part.where}, prompt {text!r}", f"holds {self.tokenizer.mask_token}", "Take the fact out."
                )
            place = ids.index(self.mask)
            found.append(Prompt(tuple(ids[:place]), tuple(ids[place + 1 :])))
        return found

    def pieces(self, part: Part) -> list[dict[str, Pieces]]:
        """Return the pieces of the candidates and other golds of each fact, in one mapping where these are the same."""
        leads = [self.lead * template[: template.index(OBJECT)].endswith(" ") for template in part.rows["template"]]
        texts = {
            lead + text
            for lead, said, others in zip(leads, part.candidates, part.others, strict=True)
            for text in (*said, *others)
        }
        new = sorted(texts - self._pieces.keys())
        encoded = self.tokenizer(new, add_special_tokens=False, verbose=False)["input_ids"] if new else []
        self._pieces |= {text: self.kept(ids) for text, ids in zip(new, encoded, strict=True)}
        shared: dict[tuple[str, tuple[str, ...], frozenset[str]], dict[str, Pieces]] = {}
        found = []
        for key in zip(leads, part.candidates, part.others, strict=True):
            lead, said, others = key
            if key not in shared:
                shared[key] = {text: self._pieces[lead + text] for text in (*said, *others)}
            found.append(shared[key])
        return found

    def places(self, part: Part) -> list[Place | None]:
        """Return the masks of each fact, as many as its object has pieces; None of one that has no piece."""
        golds = [own[text] for own, text in zip(self.pieces(part), part.rows["object"], strict=True)]
        return [
            Place(prompt.filled([self.mask] * len(own)), len(prompt.before), len(own)) if own else None
            for prompt, own in zip(self.prompts(part), golds, strict=True)
        ]

    def kept(self, ids: Sequence[int]) -> Pieces:
        """Return pieces without those that are a space alone, where these are dropped."""
        return tuple(ids) if self.dropped is None else tuple(piece for piece in ids if piece != self.dropped)

    def take(self, model: PreTrainedModel, part: Part, folder: Path) -> pd.DataFrame:
        """Return the table of a part."""

        read = _Remembered(model, folder, self.batch_tokens, self.padding)
        pieces = self.pieces(part)
        golds = [own[text] for own, text in zip(pieces, part.rows["object"], strict=True)]
        remark = ["no piece" if not own else "unknown piece" if self.unknown in own else None for own in golds]
        method = self._by_candidates if self.manner.space == "candidates" else self._by_vocabulary
        columns = method(part, self.prompts(part), pieces, golds, read)
        sure = np.array([said is None for said in remark])
        for name in ("exact", "filtered"):
            columns[name] = np.where(sure, columns[name], 0.0)
        return part.table(
            n_masks=pd.array([len(own) for own in golds], dtype="Int16"),
            decode=self.manner.decode,
            lengths=self.manner.lengths,
            space=self.manner.space,
            remark=remark,
            **columns,
        )

    def values(self, model: PreTrainedModel, part: Part, folder: Path) -> Iterator[np.ndarray]:
        """Yield the mean log-probability of a piece of each candidate of every fact; NaN of those that have none."""
        read = _Remembered(model, folder, self.batch_tokens, self.padding)
        yield from self._values(part, self.prompts(part), self.pieces(part), read)

    def _by_vocabulary(
        self,
        part: Part,
        prompts: Sequence[Prompt],
        pieces: Sequence[dict[str, Pieces]],
        golds: Sequence[Pieces],
        read: Reader,
    ) -> dict[str, Any]:
        """Compare what the model writes with the golds."""
        decode = self.manner.decode
        asked = [(prompt, own) for prompt, own in zip(prompts, golds, strict=True) if own]
        scored = score_pieces(decode, asked, self.mask, read, ranks=True)
        if self.manner.lengths == "any":
            longest = [max(len(own[text]) for text in said) for own, said in zip(pieces, part.candidates, strict=True)]
            tried = [range(1, n + 1) for n in longest]
        else:
            tried = [range(len(own), len(own) + bool(own)) for own in golds]
        written = write_pieces(
            decode, [(p, n) for p, lengths in zip(prompts, tried, strict=True) for n in lengths], self.mask, read
        )
        exact, filtered, best = [], [], []
        for prompt, gold, lengths, own, others in zip(prompts, golds, tried, pieces, part.others, strict=True):
            answers = [written[prompt, n] for n in lengths]
            given = {self.kept(ids) for ids, _ in answers}
            right = gold in given
            exact.append(float(right))
            spelt = [own[text] for text in others if own[text] and self.unknown not in own[text]]
            filtered.append(float(right or any(ids in given for ids in spelt)))
            said = max(answers, key=lambda answer: answer[1], default=None)
            best.append(None if said is None else str(self.tokenizer.decode(list(said[0]))).strip())
        values = [scored.get((prompt, own)) for prompt, own in zip(prompts, golds, strict=True)]
        return {
            "exact": exact,
            "filtered": filtered,
            "gold_logprob": [np.nan if said is None else said.logprob for said in values],
            "gold_rank": [np.nan if said is None else float(said.rank) for said in values],
            "best_candidate": best,
        }

    def _by_candidates(
        self,
        part: Part,
        prompts: Sequence[Prompt],
        pieces: Sequence[dict[str, Pieces]],
        golds: Sequence[Pieces],
        read: Reader,
    ) -> dict[str, Any]:
        """Compare the candidates with each other."""
        rows: list[tuple[float, float, float, str | None]] = []
        logprobs = []
        compared = zip(self._values(part, prompts, pieces, read), part.candidates, part.rows["object"], strict=True)
        for index, (values, texts, gold) in enumerate(compared):
            if self.manner.lengths == "gold":
                alike = [len(pieces[index][text]) == len(golds[index]) for text in texts]
                values = np.where(alike, values, np.nan)
            logprobs.append(values[texts.index(gold)])
            askable = len(golds[index]) > 0
            rows.append(_ranked(values, texts, gold, part.others[index]) if askable else (0.0, 0.0, np.nan, None))
        exact, filtered, rank, best = zip(*rows, strict=True)
        return {
            "exact": exact,
            "filtered": filtered,
            "gold_logprob": logprobs,
            "gold_rank": rank,
            "best_candidate": best,
        }

    def _values(
        self, part: Part, prompts: Sequence[Prompt], pieces: Sequence[dict[str, Pieces]], read: Reader
    ) -> Iterator[np.ndarray]:
        """Yield the values of the candidates of every fact, in order; NaN of those that have no piece."""
        sets = {tuple(own[text] for text in said) for own, said in zip(pieces, part.candidates, strict=True)}
        if self.manner.decode == "simultaneous" and len(sets) == 1:
            distinct = list(dict.fromkeys(prompts))
            place = {prompt: index for index, prompt in enumerate(distinct)}
            values = score_sets(distinct, next(iter(sets)), self.mask, read)
            yield from (values[place[prompt]] for prompt in prompts)
            return
        alike = self.manner.lengths == "gold"
        asked = [
            (prompt, own[text])
            for prompt, own, said, gold in zip(prompts, pieces, part.candidates, part.rows["object"], strict=True)
            for text in said
            if own[text] and (not alike or len(own[text]) == len(own[gold]))
        ]
        scored = score_pieces(self.manner.decode, asked, self.mask, read)
        for prompt, own, said in zip(prompts, pieces, part.candidates, strict=True):
            found = [scored.get((prompt, own[text])) for text in said]
            yield np.array([np.nan if one is None else one.logprob for one in found])


class Causal:
    """Causal models, asked with every candidate filled in."""

    padding = 0  # behind what is read, where a causal model does not see it

    def __init__(self, tokenizer: PreTrainedTokenizerBase, batch_tokens: int) -> None:
        """Ask with batches of so many tokens, padding included."""
        self.tokenizer, self.batch_tokens = tokenizer, batch_tokens
        self.identity = [CAUSAL, _digest(tokenizer)]
        self._how: tuple[bool, int] | None = None

    def load(self, folder: Path, device: str | None, parts: Sequence[Part]) -> PreTrainedModel:
        """Return a model that is causal."""
        import torch

        return load_model(folder, torch.float32, device)

    def places(self, part: Part) -> list[Place | None]:
        """Return the last token before each object; None where the object comes before the subject.

        There the model has read nothing that tells one fact of a relation from another.
        """
        known = [t.find(SUBJECT) < t.index(OBJECT) for t in part.rows["template"]]
        before = [text[: text.index(OBJECT)].rstrip() for text in part.prompts]
        read = [
            sequence if sure else None for sequence, sure in zip(encode(self.tokenizer, before), known, strict=True)
        ]
        return [None if sequence is None else Place(sequence, len(sequence) - 1, 1) for sequence in read]

    def values(self, model: PreTrainedModel, part: Part, folder: Path) -> Iterator[np.ndarray]:
        """Yield the mean log-probability of a token of the prompt filled with each candidate, of every fact."""
        texts, groups = [], []
        for number, (prompt, said) in enumerate(zip(part.prompts, part.candidates, strict=True)):
            texts += [prompt.replace(OBJECT, text) for text in said]
            groups += [number] * len(said)
        requests = build_requests(texts, groups, self.tokenizer)
        check_length(requests, texts, model, folder)
        check_vocabulary(model, self.tokenizer, requests.sequences, folder)
        if self._how is None:  # of the first part; all parts are of one model
            check_causal(model, requests.sequences, folder)
            trees = reads_trees(model, requests.longest_group())
            whole = reads_batches(model, requests.sequences, trees=trees)
            self._how = trees, self.batch_tokens if whole else 1
        trees, batch_tokens = self._how
        totals = sum_logprobs(model, requests.sequences, requests.groups, trees=trees, batch_tokens=batch_tokens)
        check_finite(totals, folder)
        means = totals[requests.request] / requests.n_tokens
        start = 0
        for said in part.candidates:
            yield means[start : start + len(said)]
            start += len(said)

    def take(self, model: PreTrainedModel, part: Part, folder: Path) -> pd.DataFrame:
        """Return the table of a part."""
        rows, logprobs = [], []
        compared = zip(self.values(model, part, folder), part.candidates, part.rows["object"], part.others, strict=True)
        for values, said, gold, others in compared:
            rows.append(_ranked(values, said, gold, others))
            logprobs.append(values[said.index(gold)])
        exact, filtered, rank, best = zip(*rows, strict=True)
        return part.table(
            n_masks=pd.array([None] * len(rows), dtype="Int16"),
            decode=CAUSAL,
            lengths=None,
            space="candidates",
            remark=None,
            exact=exact,
            filtered=filtered,
            gold_logprob=logprobs,
            gold_rank=rank,
            best_candidate=best,
        )
