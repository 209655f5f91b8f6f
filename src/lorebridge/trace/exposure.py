"""How often a model has read each fact: counted on the token stream that its run consumed, checkpoint by checkpoint.

What retrieval counts is how often a corpus states a fact, up to the length of its list. What a model read is something
else: a run consumes a part of its corpus, repeats a short one, and cuts long documents. The data order says exactly
which stretch of which document was a target in which step, so exposure is a join of the order with the mentions
(:mod:`lorebridge.trace.mentions`), with nothing ranked, capped or estimated.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse
from tqdm import tqdm

from lorebridge import tables
from lorebridge.corpora.pieces import KEY, check_numbering, numbered_by
from lorebridge.errors import InputError
from lorebridge.tokens.arms import BASE
from lorebridge.tokens.order import read_notes, stream_roles
from lorebridge.tokens.store import Store
from lorebridge.tokens.tokenizer import load_tokenizer, tokenizer_fingerprint
from lorebridge.trace.asked import Asked, read_asked
from lorebridge.trace.mentions import Matcher, read_mentions

log = logging.getLogger("lorebridge.trace")

# A stretch of a document that a run reads as one piece, and what it was found to say.
UNIT = ["piece", "start", "n_tokens"]
FLAGS = ["subject", "object", "stated"]

DECODED = 256  # stretches decoded at once


def exposure(
    *,
    run: str,
    learned: str | None,
    arm: str | None,
    seed: int | None,
    steps: Sequence[int],
    cultures: Sequence[str],
    scripts: Mapping[str, str],
    langs: Mapping[str, str],
    pairs: Mapping[str, str],
    window: int,
    max_chars: int,
    order: Path,
    stores: Mapping[str, Path],
    subjects: Mapping[str, Path],
    mentions: Mapping[str, Path],
    tokenizer: Path,
    base: Path | None = None,
    out: Path,
) -> dict[str, Any]:
    """Count what a run has read of every fact up to each of its checkpoints, and write table "exposure".

    The unit is a *presentation*: one piece of the order (a document, a half of a pair, or the stretch of a long
    document that fits a row) is a target once. It names a subject where one window of its sentences does,
    and states a fact where that window holds the gold too: in one piece, so a pair that names the subject in one
    language and the answer in the other states nothing. ``n_presentations`` (of pieces that state the fact),
    ``n_subject`` and ``n_object`` count repeats; ``n_distinct_docs`` (stating the fact) and, in streams of pairs,
    ``n_pairs_covering`` (naming the subject) and ``n_leak_pairs`` (stating the fact) count a document or pair once. All
    counts are cumulative, and null where the question has no subject or no answer that can be looked for. A stretch of
    a cut document counts for what its own text says, as far as the whole document says it too: a word that the cut
    shortened into another is no mention.

    Args:
        run: the run's name.
        learned: the language that it learns; None where that is not one.
        arm: the arrangement of its text; None for a run of no arm.
        seed: the run's seed.
        steps: its checkpoints: at step N it has read the batches before N.
        cultures: whose questions.
        scripts: stream -> the Unicode script that it is read by.
        langs: stream -> the language that it is in.
        pairs: stream -> of a half of parallel text, the language whose pairs these are.
        window: how many consecutive sentences count as standing together.
        max_chars: the most characters of a chunk.
        order: the run's data order.
        stores: stream -> token store.
        subjects: stream -> table "subjects" of its language.
        mentions: stream -> table "mentions", made with the same window and chunks.
        tokenizer: the tokenizer folder of the stores.
        base: table "exposure" of the run that this one starts from; None for a base run. What that run had read at its
            last step comes first, as stage "base".
        out: where to write.

    Returns:
        Notes for the record: the number of rows, and of stretches of cut documents that were read again.

    Raises:
        InputError: the order is of another run or has no such step; a stream lacks its store, mentions or subjects; a
            store is not the one that the order was drawn for.
    """
    notes = read_notes(order)
    if notes["run"] != run:
        raise InputError(order, f"is the order of run {notes['run']}, not of {run}", "Give the order of this run.")
    if not steps or min(steps) < 0 or max(steps) > notes["steps"]:
        raise InputError(order, f"has {notes['steps']} steps; checkpoints {list(steps)}", "Give steps that it has.")
    if tokenizer_fingerprint(tokenizer) != notes["tokenizer"]:
        raise InputError(tokenizer, f"is not the tokenizer of {order}", "Give the study's own.")
    for name, given in (
        ("store", stores),
        ("subjects", subjects),
        ("mentions", mentions),
        ("script", scripts),
        ("language", langs),
    ):
        if missing := set(notes["stores"]) - set(given):
            raise InputError(order, f"reads the stream {min(missing)}, of which no {name} is given", "Give one.")
    roles = stream_roles(notes)
    checkpoints = np.array(sorted(steps))
    read = tables.read(order, ["sequence", "stream", *UNIT])
    # The checkpoint (its place in the list) at which a batch is first counted; those after the last are not.
    read["at"] = np.searchsorted(checkpoints, read.pop("sequence") // notes["rows_per_step"], side="right")
    read = read[read["at"] < len(checkpoints)]
    frames = [] if base is None else [_before(base, subjects, cultures)]
    n_again = 0
    for stream in sorted(notes["stores"]):
        store = Store.open(stores[stream])
        if store.notes["digest"] != notes["stores"][stream]:
            raise InputError(order, f"was drawn for another content of the token store {store.path}", "Draw it again.")
        check_numbering(mentions[stream], numbered_by(mentions[stream]), store.notes.get(KEY))
        asked = read_asked(subjects[stream], cultures)
        units, counts = _presentations(read[read["stream"] == stream], len(checkpoints))
        matcher = Matcher(asked, scripts[stream], window=window, max_chars=max_chars)
        said, again = _what_is_said(
            units,
            read_mentions(mentions[stream], ["subject", "object", "n_chunks"]),
            store,
            matcher,
            tokenizer,
            what=f"exposure {run} {stream}",
        )
        n_again += again
        frame = _accumulate(asked, units, counts, said, is_pairs=roles[stream] in ("en", "xx"))
        n_tokens = np.cumsum(
            np.bincount(
                read.loc[read["stream"] == stream, "at"],
                weights=read.loc[read["stream"] == stream, "n_tokens"],
                minlength=len(checkpoints),
            ).astype(np.int64)
        )
        frame["step"] = checkpoints[frame.pop("at")]
        frame["n_tokens"] = np.tile(n_tokens, len(asked))
        stage = "base" if notes.get("arm", BASE) == BASE else "ct"
        frames.append(frame.assign(stage=stage, stream=stream, lang=langs[stream], pairs=pairs.get(stream)))
    # What the base run had read is a part of what this one has.
    table = pd.concat(frames, ignore_index=True).assign(run=run, learned=learned, arm=arm, seed=seed)
    tables.write("exposure", table, out)
    return {"n_rows": len(table), "n_stretches_read_again": n_again}


def _before(base: Path, subjects: Mapping[str, Path], cultures: Sequence[str]) -> pd.DataFrame:
    """Return what the base run had read at its last step of the questions of some cultures."""
    wanted = {one.question_id for path in set(subjects.values()) for one in read_asked(path, cultures)}
    rows = tables.read(base)
    rows = rows[rows["question_id"].isin(wanted) & (rows["step"] == rows["step"].max())]
    if lost := wanted - set(rows["question_id"]):
        raise InputError(base, f"lacks {len(lost)} questions (the first: {min(lost)})", "Remake it for all cultures.")
    counted = ["n_presentations", "n_distinct_docs", "n_subject", "n_object", "n_pairs_covering", "n_leak_pairs"]
    return rows.astype(dict.fromkeys(counted, "Int64"))


def _presentations(read: pd.DataFrame, n_checkpoints: int) -> tuple[pd.DataFrame, sparse.csr_array]:
    """Return the distinct stretches that were read, and how often each was read by checkpoint (not cumulative)."""
    units = read[UNIT].drop_duplicates().sort_values(UNIT, ignore_index=True)
    places = pd.MultiIndex.from_frame(units).get_indexer(pd.MultiIndex.from_frame(read[UNIT]))
    counts = sparse.coo_array(
        (np.ones(len(read), np.int64), (places, read["at"].to_numpy())), shape=(len(units), n_checkpoints)
    )
    return units, counts.tocsr()


def _what_is_said(
    units: pd.DataFrame, mentioned: pd.DataFrame, store: Store, matcher: Matcher, tokenizer: Path, *, what: str
) -> tuple[pd.DataFrame, int]:
    """Return which stretches say something about which question, and how many had to be read again.

    The rows: ``question`` (its place in ``matcher.asked``), ``unit`` (the stretch's row in `units`) and the flags.
    """
    if len(mentioned) and int(mentioned["piece"].max()) >= len(store):
        raise InputError(store.path, f"{len(store)} documents, fewer than its mentions name", "Remake the mentions.")
    places = {one.question_id: place for place, one in enumerate(matcher.asked)}
    mentioned = mentioned.assign(
        question=mentioned["question_id"].map(places).astype("Float64"), stated=mentioned["n_chunks"] > 0
    ).dropna(subset="question")
    mentioned["question"] = mentioned["question"].astype(np.int64)
    whole = (units["start"] == 0) & (units["n_tokens"].to_numpy() == store.lengths[units["piece"]])
    joined = units.rename_axis("unit").reset_index().merge(mentioned[["question", "piece", *FLAGS]], on="piece")
    is_whole = whole.to_numpy()[joined["unit"]]
    parts = joined[~is_whole]
    kept = []
    decoder = load_tokenizer(tokenizer)
    numbers = parts["unit"].unique()
    by_unit = parts.set_index("unit")
    with tqdm(total=len(numbers), desc=what, unit="stretch", mininterval=1) as bar:
        for first in range(0, len(numbers), DECODED):
            some = numbers[first : first + DECODED]
            stretches = units.loc[some]
            tokens = [
                store[piece][start : start + n].tolist()
                for piece, start, n in stretches[UNIT].itertuples(index=False, name=None)
            ]
            # A stretch may begin or end inside a character: the decoder puts U+FFFD there, which belongs to no word.
            for unit, text in zip(some, decoder.decode_batch(tokens, skip_special_tokens=False), strict=True):
                found = matcher.find(text)
                kept += [
                    (
                        row.question,
                        unit,
                        row.subject and mention.subject,
                        row.object and mention.object,
                        row.stated and mention.n_chunks > 0,
                    )
                    for row in by_unit.loc[[unit]].itertuples()
                    if (mention := found.get(row.question)) is not None
                ]
            bar.update(len(some))
    columns = ["question", "unit", *FLAGS]
    again = pd.DataFrame(kept, columns=columns).astype({"question": np.int64, "unit": np.int64})
    again[FLAGS] = again[FLAGS].astype(bool)
    return pd.concat([joined.loc[is_whole, columns], again], ignore_index=True), len(numbers)


def _accumulate(
    asked: Sequence[Asked], units: pd.DataFrame, counts: sparse.csr_array, said: pd.DataFrame, *, is_pairs: bool
) -> pd.DataFrame:
    """Return the cumulative counts of every question at every checkpoint."""
    n_checkpoints = counts.shape[1]

    def presentations(flag: str) -> npt.NDArray[np.int64]:
        rows = said[said[flag]]
        says = sparse.coo_array(
            (np.ones(len(rows), np.int64), (rows["question"], rows["unit"])), shape=(len(asked), len(units))
        )
        return np.cumsum((says.tocsr() @ counts).toarray(), axis=1)

    first = np.full(len(units), n_checkpoints)
    at = counts.tocoo()
    np.minimum.at(first, at.coords[0], at.coords[1])

    def distinct(flag: str) -> npt.NDArray[np.int64]:
        rows = said[said[flag]]
        pieces = pd.DataFrame(
            {
                "question": rows["question"],
                "piece": units["piece"].to_numpy()[rows["unit"]],
                "first": first[rows["unit"]],
            }
        )
        met = pieces.groupby(["question", "piece"])["first"].min()
        counted = np.zeros((len(asked), n_checkpoints), np.int64)
        np.add.at(counted, (met.index.get_level_values("question").to_numpy(), met.to_numpy()), 1)
        return np.cumsum(counted, axis=1)

    nothing = np.zeros((len(asked), n_checkpoints), np.int64)
    named = np.repeat([bool(one.terms) for one in asked], n_checkpoints)
    answered = np.repeat([one.gold is not None for one in asked], n_checkpoints)
    told = {
        "n_presentations": (presentations("stated"), named & answered),
        "n_distinct_docs": (distinct("stated"), named & answered),
        "n_subject": (presentations("subject"), named),
        "n_object": (presentations("object"), answered),
        "n_pairs_covering": (distinct("subject") if is_pairs else nothing, named),
        "n_leak_pairs": (distinct("stated") if is_pairs else nothing, named & answered),
    }
    return pd.DataFrame(
        {
            "question_id": np.repeat([one.question_id for one in asked], n_checkpoints),
            "at": np.tile(np.arange(n_checkpoints), len(asked)),
            **{name: pd.Series(values.ravel(), dtype="Int64").where(known) for name, (values, known) in told.items()},
        }
    )
