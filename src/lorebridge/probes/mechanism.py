"""How alike a model represents what corresponds in two languages, and whether it translates in context.

In a planted world it is known which names, answers, relation words and statements correspond, from its questions and
the truth about them. Three places are looked at, at every checkpoint: input embeddings; hidden states at the subject,
the relation and the object of parallel statements, layer by layer; and predictions: the log-probability of a clause
behind its translation, less that behind the translation of another. Alignment of sentences, which needs no truth, is
in :mod:`lorebridge.probes.alignment`.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lorebridge import tables
from lorebridge.corpora.released import BLANK, fill_blanks
from lorebridge.errors import InputError
from lorebridge.probes.copying import encoded_behind, generator, token_predictions
from lorebridge.probes.models import (
    check_causal,
    check_vocabulary,
    load_model,
    load_tokenizer,
    require_model_folder,
    set_threads,
    start_token,
)
from lorebridge.probes.perplexity import shuffled
from lorebridge.probes.trees import make_batches, padded
from lorebridge.tokens.arms import template_labels, turned_labels
from lorebridge.unseen import FEW_CLUSTERS, TAIL, ends, resting

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EMBEDDINGS, STATES, TRANSLATION = "embeddings", "states", "translation"
PARTS = ("subject", "relation", "object")
TOKEN = "token of a name"
NEAREST, MARGIN, GAIN = "nearest", "margin", "gain"

BATCH_TOKENS = 1024  # whose states of all layers are held at once
RESAMPLES = 1000
DECIMALS = 5  # of a cosine: those of equal vectors may differ by rounding
RULE = 0.5
"""Share of the names' tokens that always go with one and the same token of the other language, from which on names are
said to follow a rule, so that these tokens correspond. In names that were drawn apart nearly none do."""


@dataclasses.dataclass(frozen=True)
class Statement:
    """A statement in one language.

    Attributes:
        text: all of it.
        spans: part -> its first character and the one behind its last. The relation is missing where it cannot be told
            from the rest of the sentence: where all questions ask about one.
        words: part -> what names it in this language.
    """

    text: str
    spans: Mapping[str, tuple[int, int]]
    words: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Parallel:
    """What corresponds in two languages, in the same order in both.

    Attributes:
        langs: the base language and the other.
        statements: language -> a statement of each entity: a question with its answer.
        lexicon: part -> language -> statements in which each of its words stands, each once. A word that both languages
            spell alike is left out.
        clauses: language -> of each entity the question with an option drawn at random, the same in both languages.
        unlike: [entities] the number of another entity, whose clause has another answer.
    """

    langs: tuple[str, str]
    statements: Mapping[str, Sequence[Statement]]
    lexicon: Mapping[str, Mapping[str, Sequence[Statement]]]
    clauses: Mapping[str, Sequence[str]]
    unlike: Sequence[int]


def read_parallel(questions: Path, truth: Path, *, culture: str, base: str, n_entities: int) -> Parallel:
    """Read what corresponds in the language of a culture and in the base language, from the culture's questions.

    Args:
        questions: the culture's table "questions", whose options stand in the same order in both languages.
        truth: table "truth".
        culture: its code, and that of its language.
        base: code of the base language.
        n_entities: how many entities, and words of each kind; fewer where there are not so many.

    Raises:
        InputError: the truth lacks a question or names another subject, or there are fewer than two entities.
    """
    known = tables.read(truth, ["question_id", "culture", "corpus", "subject", "relation"])
    asked = tables.read(questions)
    langs = (base, culture)
    frames = {lang: _asked(asked[asked["lang"] == lang], known[known["corpus"] == lang], truth) for lang in langs}
    both = pd.DataFrame({"question_id": frames[base].index.intersection(frames[culture].index)})
    order = list(shuffled(both, "question_id")["question_id"])
    said = {lang: dict(zip(order, _statements(frames[lang].loc[order]), strict=True)) for lang in langs}
    entities = _distinct(said, langs, order, "subject")[:n_entities]
    if len(entities) < 2:
        raise InputError(questions, f"asks about {len(entities)} entities", "Plant two or more.")
    options = {lang: frames[lang].loc[entities, "options"].tolist() for lang in langs}
    places = generator("mechanism", culture).integers(0, [len(offered) for offered in options[base]]).tolist()
    drawn = {lang: [row[at] for row, at in zip(options[lang], places, strict=True)] for lang in langs}
    lexicon: dict[str, Mapping[str, Sequence[Statement]]] = {}
    for part in PARTS:
        words = [
            name
            for name in _distinct(said, langs, order, part)
            if said[base][name].words[part] != said[culture][name].words[part]
        ][:n_entities]
        lexicon[part] = {lang: [said[lang][name] for name in words] for lang in langs}
    return Parallel(
        langs=langs,
        statements={lang: [said[lang][name] for name in entities] for lang in langs},
        lexicon=lexicon,
        clauses={
            lang: [
                fill_blanks(text, o) for text, o in zip(frames[lang].loc[entities, "text"], drawn[lang], strict=True)
            ]
            for lang in langs
        },
        unlike=_unlike(list(zip(*(drawn[lang] for lang in langs), strict=True))),
    )


def _asked(rows: pd.DataFrame, known: pd.DataFrame, truth: Path) -> pd.DataFrame:
    """Return text, options, answer, subject and relation of each question in one language."""
    by_question = rows.sort_values("option_index", kind="stable").groupby("question_id")
    golds = rows[rows["is_gold"]].drop_duplicates("question_id").set_index("question_id")["option"].rename("answer")
    told = known.drop_duplicates("question_id").set_index("question_id")[["subject", "relation"]]
    frame = by_question.agg(text=("text", "first"), options=("option", list)).join(golds).join(told)
    named = zip(frame.index, frame["text"], frame["subject"], strict=True)
    if lost := next((name for name, text, subject in named if pd.isna(subject) or subject not in text), None):
        raise InputError(truth, f"does not say whom the question {lost} names", "Remake the world.")
    return frame


def _statements(frame: pd.DataFrame) -> list[Statement]:
    """Return the questions of one language with their answers."""
    pieces: list[list[str]] = []
    orders: list[list[str]] = []
    for text, subject in zip(frame["text"], frame["subject"], strict=True):
        at, blank = text.index(subject), BLANK.search(text)
        stretches = sorted([(at, at + len(subject), "subject"), (*blank.span(), "object")])
        ends = [0, *itertools.chain.from_iterable((start, end) for start, end, _ in stretches), len(text)]
        pieces.append([text[ends[i] : ends[i + 1]] for i in (0, 2, 4)])
        orders.append([part for *_, part in stretches])
    relations = _relation_words(frame["relation"].tolist(), pieces)
    found = []
    for row, between, order, relation in zip(frame.to_dict("records"), pieces, orders, relations, strict=True):
        words = {"subject": str(row["subject"]), "object": str(row["answer"])}
        text = between[0]
        spans: dict[str, tuple[int, int]] = {}
        starts = [0]
        for part, piece in zip(order, between[1:], strict=True):
            spans[part] = (len(text), len(text) + len(words[part]))
            starts.append(spans[part][1])
            text += words[part] + piece
        if relation is not None:
            place, start, end = relation
            words["relation"] = between[place][start:end]
            spans["relation"] = (starts[place] + start, starts[place] + end)
        found.append(Statement(text, spans, words))
    return found


def _relation_words(relations: Sequence[str], pieces: Sequence[Sequence[str]]) -> list[tuple[int, int, int] | None]:
    """Return where each statement's relation word stands: the piece, its first character, the one behind its last.

    It is what is left of the one piece that tells relations apart, without what all of them begin and end with there,
    and the letters that it hangs together with: words may begin or end alike.

    Args:
        relations: of the statements.
        pieces: what stands before, between and behind subject and object.
    """
    of = dict(zip(relations, pieces, strict=True))
    for place in range(3):
        written = [piece[place] for piece in of.values()]
        if len(of) > 1 and len(set(written)) == len(of):
            before = _alike(written)
            behind = _alike([text[before:][::-1] for text in written])
            if all(len(text) > before + behind for text in written):
                return [(place, *_whole_word(piece[place], before, len(piece[place]) - behind)) for piece in pieces]
    return [None] * len(relations)


def _alike(texts: Sequence[str]) -> int:
    """Return how many characters all texts begin with."""
    return sum(1 for _ in itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False)))


def _whole_word(text: str, start: int, end: int) -> tuple[int, int]:
    """Return where the letters, marks and digits around a stretch of a text begin and end."""
    while start and unicodedata.category(text[start - 1])[0] in "LMN":
        start -= 1
    while end < len(text) and unicodedata.category(text[end])[0] in "LMN":
        end += 1
    return start, end


def _distinct(
    said: Mapping[str, Mapping[str, Statement]], langs: Sequence[str], order: Sequence[str], part: str
) -> list[str]:
    """Return the questions whose word for a part none before has, in either language."""
    seen: set[tuple[str, str]] = set()
    found = []
    for name in order:
        words = {(lang, said[lang][name].words[part]) for lang in langs if part in said[lang][name].words}
        if len(words) == len(langs) and not words & seen:
            found.append(name)
        seen |= words
    return found


def _unlike(answers: Sequence[tuple[str, ...]]) -> list[int]:
    """Return, for each of some clauses, the next whose answer is another in every language; else the next one."""
    n = len(answers)
    return [
        next((k % n for k in range(i + 1, i + n) if not set(answers[k % n]) & set(answers[i])), (i + 1) % n)
        for i in range(n)
    ]


Behind = tuple[list[int], np.ndarray]
"""Tokens of a clause and of what stands before it, and the places of the clause's."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a model reads of :class:`Parallel`, in tokens.

    Attributes:
        statements: token sequences behind a start token, those of the base language first.
        places: [2 x entities, parts] the place of the last token of each part; -1 where there is none.
        words: kind of word (a part, or :data:`TOKEN`) -> for the base language and the other the tokens of each word.
        translated: direction -> the clauses, each behind its translation; and the same behind another's.
    """

    statements: list[list[int]]
    places: np.ndarray
    words: Mapping[str, tuple[list[list[int]], list[list[int]]]]
    translated: Mapping[str, tuple[list[Behind], list[Behind]]]

    @property
    def sequences(self) -> list[list[int]]:
        """All that a model is to read."""
        context = [ids for sides in self.translated.values() for side in sides for ids, _ in side]
        return [*self.statements, *context]


def encode_parallel(parallel: Parallel, tokenizer: PreTrainedTokenizerBase, *, template: str) -> Asked:
    """Tokenise what corresponds.

    Args:
        parallel: see :func:`read_parallel`.
        tokenizer: of the model, with offsets.
        template: how the bridge joins two halves; a translation stands before its clause as it does there, and where
            the other language comes first its label does (:func:`lorebridge.tokens.arms.turned_labels`).
    """
    base, other = parallel.langs
    told = {lang: [_encoded(tokenizer, s) for s in parallel.statements[lang]] for lang in parallel.langs}
    sequences = [[start_token(tokenizer), *ids] for lang in parallel.langs for ids, _ in told[lang]]
    places = [
        [1 + spans[part][-1] if part in spans else -1 for part in PARTS]
        for lang in parallel.langs
        for _, spans in told[lang]
    ]
    words: dict[str, tuple[list[list[int]], list[list[int]]]] = {}
    for part in PARTS:
        sides = []
        for lang in parallel.langs:
            encoded = [_encoded(tokenizer, statement) for statement in parallel.lexicon[part][lang]]
            sides.append([[ids[place] for place in spans[part]] for ids, spans in encoded])
        words[part] = sides[0], sides[1]
    words[TOKEN] = _by_rule(*words["subject"])
    labels = template_labels(template)

    def behind(opening: Sequence[str], clauses: Sequence[str]) -> list[Behind]:
        return [encoded_behind(tokenizer, said, clause) for said, clause in zip(opening, clauses, strict=True)]

    translated = {}
    for context, target, (first, second) in ((base, other, labels), (other, base, turned_labels(*labels))):
        opening = [first + clause + second for clause in parallel.clauses[context]]
        clauses = parallel.clauses[target]
        translated[f"{context}->{target}"] = (
            behind(opening, clauses),
            behind([opening[other_one] for other_one in parallel.unlike], clauses),
        )
    return Asked(sequences, np.array(places), words, translated)


def _encoded(tokenizer: PreTrainedTokenizerBase, statement: Statement) -> tuple[list[int], dict[str, list[int]]]:
    """Return a statement's tokens, and the places of those that a part lies in."""
    encoded = tokenizer(
        statement.text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
    )
    offsets = encoded["offset_mapping"]
    return encoded["input_ids"], {
        part: [i for i, (first, last) in enumerate(offsets) if first < end and last > start]
        for part, (start, end) in statement.spans.items()
    }


def _by_rule(base: Sequence[Sequence[int]], other: Sequence[Sequence[int]]) -> tuple[list[list[int]], list[list[int]]]:
    """Return the tokens that correspond, if the names of one language follow from the other's token by token.

    >>> _by_rule([[1, 2], [2, 1], [1, 1]], [[7, 8], [8, 7], [7, 7]])
    ([[1], [2]], [[7], [8]])
    >>> _by_rule([[1, 2], [2, 1], [1, 1]], [[7, 8], [7, 9], [9, 8]])
    ([], [])
    """
    pairs = collections.Counter(
        pair for a, b in zip(base, other, strict=True) if len(a) == len(b) for pair in zip(a, b, strict=True)
    )
    of_base, of_other = (collections.Counter(pair[side] for pair in pairs) for side in (0, 1))
    ruled = {p: n for p, n in pairs.items() if n > 1 and of_base[p[0]] == of_other[p[1]] == 1 and p[0] != p[1]}
    if sum(ruled.values()) < RULE * max(1, sum(map(len, base))):
        return [], []
    return [[a] for a, _ in sorted(ruled)], [[b] for _, b in sorted(ruled)]


def part_states(
    model: PreTrainedModel, sequences: Sequence[Sequence[int]], places: np.ndarray, *, batch_tokens: int = BATCH_TOKENS
) -> torch.Tensor:
    """Return hidden states at some places of each sequence, float32 [layers + 1, sequences, places, H].

    Each sequence is read once; of a batch the states of all layers are held at once, and those at the places kept.

    Args:
        model: a causal language model in evaluation mode.
        sequences: token ids behind a start token.
        places: [sequences, places].
        batch_tokens: padded tokens in a batch.
    """
    import torch

    found: list[torch.Tensor] = []
    batches = make_batches([len(sequence) for sequence in sequences], batch_tokens)
    with torch.inference_mode():
        for batch in batches:
            ids = torch.from_numpy(padded([np.array(sequences[index]) for index in batch])).to(model.device)
            states = model.base_model(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states
            rows, at = torch.arange(len(batch))[:, None], torch.from_numpy(places[batch])
            found.append(torch.stack([layer[rows, at].float().cpu() for layer in states]))
    return torch.cat(found, dim=1)[:, np.argsort(np.concatenate(batches))]


def word_embeddings(model: PreTrainedModel, words: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return the mean of the input embeddings of each word's tokens, float32 [words, H].

    The k-th of n tokens has the weight k, as in :func:`lorebridge.probes.alignment.sentence_embeddings`: names of the
    same tokens in another order are not the same.
    """
    import torch

    layer: Any = model.get_input_embeddings()
    weight = layer.weight.detach()
    found = []
    for tokens in words:
        shares = torch.arange(1, len(tokens) + 1, device=weight.device, dtype=torch.float32)
        found.append(shares @ weight[torch.tensor(tokens, device=weight.device)].float() / shares.sum())
    return torch.stack(found).cpu()


def nearest(base: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return of each pair how far it is nearest, and by how much it is nearer than others.

    By the cosine of vectors from which the mean of their language is taken, so that what all words of a language have
    in common does not count. Nearest is strictly nearer than all others, in each direction, so that equal vectors align
    nothing.

    Args:
        base: [n, H] vectors of one language, two or more.
        other: [n, H] those of what corresponds in the other.

    Returns:
        [n] 0, 1/2 or 1: the share of the two directions in which the partner is nearest; chance is 1/n.
        [n] the partner's cosine less the mean of the others', of both directions; chance is 0.

    >>> hits, margins = nearest(np.eye(3), np.eye(3)[[0, 2, 1]])
    >>> hits.tolist(), margins.round(2).tolist()
    ([1.0, 0.0, 0.0], [1.5, -0.75, -0.75])
    """
    a, b = (_directions(np.asarray(side, np.float64)) for side in (base, other))
    cosines = (a @ b.T).round(DECIMALS)
    n, partner = len(cosines), np.diagonal(cosines)
    others = cosines.copy()
    np.fill_diagonal(others, -np.inf)
    hits = ((partner > others.max(axis=1)).astype(float) + (partner > others.max(axis=0))) / 2
    rest = (cosines.sum(axis=0) + cosines.sum(axis=1) - 2 * partner) / (2 * (n - 1))
    return hits, partner - rest


def _directions(vectors: np.ndarray) -> np.ndarray:
    """Return unit vectors, the mean taken off; what differs from the mean by rounding alone has none, and is 0."""
    scale = np.abs(vectors).max(initial=0.0)
    centred = vectors - vectors.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 1e-6 * scale)


def translation_gains(model: PreTrainedModel, asked: Asked) -> dict[str, np.ndarray]:
    """Return, by direction, how much likelier each clause is behind its translation than behind another's.

    Returns:
        direction -> [entities] nats a token of the clause.
    """
    found = {}
    for direction, (behind, beside) in asked.translated.items():
        texts = [*behind, *beside]
        told = token_predictions(model, [ids for ids, _ in texts])
        logprob = np.array([values[at].mean() for (values, _), (_, at) in zip(told, texts, strict=True)])
        found[direction] = logprob[: len(behind)] - logprob[len(behind) :]
    return found


@functools.cache
def _weights(n: int) -> np.ndarray:
    """Return how often each of n entities is drawn in each resample, [RESAMPLES, n]."""
    return generator("bootstrap").multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(np.float64)


def _row(values: np.ndarray, measure: str, chance: float, **said: Any) -> dict[str, Any]:
    """Return a row of the table "mechanism": a mean with its interval, a bootstrap over entities or words.

    Where hardly any differs from the others, what none has shown counts (:mod:`lorebridge.unseen`); what has no bounds
    has no interval where all are alike.
    """
    lo, hi = np.quantile(_weights(len(values)) @ values / len(values), [TAIL, 1 - TAIL])
    if measure == NEAREST and resting(values - values.mean()) < FEW_CLUSTERS:
        least, most = ends(values.mean(), len(values), (0, 1))
        lo, hi = min(lo, least), max(hi, most)
    elif np.ptp(values) <= 1e-12:
        lo, hi = np.nan, np.nan
    row = {"measure": measure, "value": float(values.mean()), "lo": float(lo), "hi": float(hi)}
    return {**said, **row, "chance": chance, "n": len(values)}


def measure_mechanism(model: PreTrainedModel, asked: Asked) -> list[dict[str, Any]]:
    """Return rows of the table "mechanism", without what names the checkpoint.

    Args:
        model: a causal language model in evaluation mode.
        asked: see :func:`encode_parallel`.
    """
    rows = []

    def compare(base: np.ndarray, other: np.ndarray, **said: Any) -> None:
        for measure, values, chance in zip((NEAREST, MARGIN), nearest(base, other), (1 / len(base), 0.0), strict=True):
            rows.append(_row(values, measure, chance, **said))

    for position, (base, other) in asked.words.items():
        if len(base) > 1:
            sides = (word_embeddings(model, side).numpy() for side in (base, other))
            compare(*sides, of=EMBEDDINGS, layer=0, position=position)
    states = part_states(model, asked.statements, asked.places).numpy()
    half = states.shape[1] // 2
    for place, position in enumerate(PARTS):
        if (asked.places[:, place] >= 0).all():
            for layer, of_layer in enumerate(states[:, :, place]):
                compare(of_layer[:half], of_layer[half:], of=STATES, layer=layer, position=position)
    for direction, gains in translation_gains(model, asked).items():
        rows.append(_row(gains, GAIN, 0.0, of=TRANSLATION, layer=None, position=direction))
    return rows


def mechanism(
    *,
    culture: str,
    base: str,
    runs: Mapping[str, Mapping[str, Any]],
    checkpoints: Mapping[tuple[str, int | str], Path],
    questions: Path,
    truth: Path,
    template: str,
    n_entities: int,
    out: Path,
    device: str | None = None,
    threads: int | None = None,
) -> None:
    """Write the table "mechanism" of all models that learn a language: at each of their checkpoints.

    Args:
        culture: code of the language, and of the culture whose questions are read.
        base: code of the base language.
        runs: name of a model -> learned, arm, seed.
        checkpoints: (name, step) -> Hugging Face folder, all with one tokenizer.
        questions: the culture's table "questions".
        truth: table "truth".
        template: how the bridge joins two halves.
        n_entities: how many entities, and words of each kind.
        out: the table.
        device: where to compute; by default the GPU where there is one.
        threads: CPU threads for the model.

    Raises:
        InputError: as :func:`read_parallel`, or a folder is no model or none that is causal, or a model has diverged.
    """
    import torch

    set_threads(threads)
    for folder in checkpoints.values():
        require_model_folder(folder)
    tokenizer = load_tokenizer(next(iter(checkpoints.values())))
    parallel = read_parallel(questions, truth, culture=culture, base=base, n_entities=n_entities)
    asked = encode_parallel(parallel, tokenizer, template=template)
    rows = []
    for (run, step), folder in checkpoints.items():
        model = load_model(folder, torch.float32, device)
        check_vocabulary(model, tokenizer, asked.sequences, folder)
        check_causal(model, asked.sequences, folder)
        found = measure_mechanism(model, asked)
        del model  # one at a time in memory
        if not all(np.isfinite(row["value"]) for row in found):
            raise InputError(folder, "its states are not finite", "The model has diverged: train it again.")
        rows += [{"run": run, **runs[run], "step": int(step), **row} for row in found]
    tables.write("mechanism", rows, out)
