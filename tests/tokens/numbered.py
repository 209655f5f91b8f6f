"""Token stores in which every token is another number, so that a batch tells where each of its tokens is from."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.tokens.arms import FAR
from lorebridge.tokens.reader import IGNORED, NO_DOCUMENT, OrderReader
from lorebridge.tokens.tokenizer import tokenizer_fingerprint

EOT = 0  # <|endoftext|> of the study's tokenizer
FIRST = {"mono-ko": 1_000_000, "pairs-ko-en": 2_000_000, "pairs-ko-xx": 3_000_000, "mono-en": 4_000_000}
HALVES = ("pairs-ko-en", "pairs-ko-xx")


def write_store(path, lengths, first_token, tokenizer):
    path.mkdir(parents=True)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    np.save(path / "offsets.npy", offsets)
    np.arange(first_token, first_token + offsets[-1], dtype="<u4").tofile(path / "tokens.bin")
    (path / "store.json").write_text(json.dumps({"tokenizer": tokenizer, "digest": f"{first_token}"}))
    return offsets


def documents_of(batch):
    """Yield (row, inputs, targets) of each document of a batch, and check how they are laid out."""
    for row in range(len(batch.targets)):
        numbers = batch.documents[row]
        used = int((numbers != NO_DOCUMENT).sum())
        assert (numbers[used:] == NO_DOCUMENT).all() and (batch.targets[row, used:] == IGNORED).all()
        assert (batch.input_ids[row, used:] == EOT).all() and (batch.positions[row, used:] == 0).all()
        assert (batch.targets[row, :used] != IGNORED).all()
        assert np.isin(np.diff(numbers[:used]), (0, 1)).all() and (used == 0 or numbers[0] == 0)
        for number in range(numbers[:used].max(initial=-1) + 1):
            at = np.flatnonzero(numbers == number)
            assert (batch.positions[row, at] == np.arange(len(at))).all()
            inputs, targets = batch.input_ids[row, at], batch.targets[row, at]
            assert (inputs[1:] == targets[:-1]).all()
            assert not (targets[:-1] == EOT).any()
            yield row, inputs, targets


@st.composite
def shapes(draw):
    width = draw(st.sampled_from([32, 48]))
    n_pairs = draw(st.integers(30, 50))
    some = st.integers(1, draw(st.sampled_from([8, 60])))
    return {
        "width": width,
        "rows": draw(st.integers(2, 5)),
        "steps": 2 * draw(st.integers(1, 8)),
        "seed": draw(st.integers(0, 5)),
        "en": draw(st.lists(some, min_size=n_pairs, max_size=n_pairs)),
        "xx": draw(st.lists(some, min_size=n_pairs, max_size=n_pairs)),
        "mono": draw(st.lists(st.integers(0, 150), min_size=1, max_size=12)),
        "same": draw(st.lists(st.integers(0, 9), min_size=n_pairs, max_size=n_pairs)),  # 0: shares its English text
    }


class Reading(NamedTuple):
    """What a run is fed.

    Attributes:
        monolingual: (step, row) -> inputs and targets of its documents, for the rows of monolingual text.
        documents: of each step, inputs and targets of the documents of parallel text.
        sides: of each step, stream -> pairs that have a token of that half in it.
        super_batches: of each two steps, how often each token of parallel text comes.
        notes: what the order says of itself.
    """

    monolingual: dict[tuple[int, int], tuple]
    documents: list[list[tuple]]
    sides: list[dict[str, set[int]]]
    super_batches: list[Counter]
    notes: dict[str, Any]


class NumberedText:
    """The stores and pairs of a shape."""

    def __init__(self, root, study, shape):
        self.root, self.study, self.shape = root, study, shape
        fingerprint = tokenizer_fingerprint(study.tokenizer)
        self.lengths = {
            "mono-ko": shape["mono"],
            "pairs-ko-en": shape["en"],
            "pairs-ko-xx": shape["xx"],
            "mono-en": [7, 70, 20, 3, 11],
        }
        self.ends = {
            name: FIRST[name] + write_store(root / name, self.lengths[name], FIRST[name], fingerprint)
            for name in self.lengths
        }
        self.english = ["same" if same == 0 else f"a{i}" for i, same in enumerate(shape["same"])]
        pairs = [{"pair_id": f"{i}", "en": en, "xx": f"가{i}", "source": "s"} for i, en in enumerate(self.english)]
        tables.write("pairs", pairs, root / "pairs.parquet")

    def place(self, token):
        """Return the stream and the piece that a token is from."""
        name = max(FIRST, key=lambda name: (FIRST[name] <= token, FIRST[name]))
        return name, int(np.searchsorted(self.ends[name], token, "right")) - 1

    def draw(self, arm, **changes):
        """Draw an order of the shape and return its path."""
        shape = self.shape
        settings = {
            "stores": {name: self.root / name for name in self.lengths},
            "pairs": self.root / "pairs.parquet",
            "steps": shape["steps"],
            "sequence_length": shape["width"],
            "batch_tokens": shape["width"] * shape["rows"],
            "out": self.root / f"{arm}.parquet",
        }
        return self.study.draw(arm, shape["seed"], **settings | changes)

    def read(self, arm, **changes) -> Reading:
        """Draw an order and read it to its end; check what holds in every arm."""
        shape = self.shape
        try:
            path = self.draw(arm, **changes)
        except InputError as error:
            assume(not any(text in str(error) for text in ("all fit in two", "none of its", "leaves out every pair")))
            raise
        stores = {name: self.root / name for name in self.lengths}
        reader = OrderReader.open(path, stores)
        labels = [i for ids in reader.notes["labels"] for i in ids]
        found = Reading({}, [], [], [], reader.notes)
        counts: Counter = Counter()
        for step in range(reader.steps):
            batch = reader.batch(step)
            assert batch.input_ids.shape == (shape["rows"], shape["width"])
            if step % 2 == 0:
                found.super_batches.append(Counter())
            found.documents.append([])
            found.sides.append({name: set() for name in HALVES})
            for row, inputs, targets in documents_of(batch):
                own = targets[targets >= 1_000_000]
                counts["end_of_text"] += int(targets[-1] == EOT)
                counts["label"] += len(targets) - len(own) - int(targets[-1] == EOT)
                counts["content"] += len(own)
                # a document opens with <|endoftext|>; a later part with the last token of the part before
                assert inputs[0] == EOT or inputs[0] in (targets[0] - 1, *labels)
                document = inputs.tobytes(), targets.tobytes()
                streams = [self.place(t)[0] for t in own]
                if streams[0].startswith("mono"):
                    assert len(set(streams)) == 1
                    found.monolingual.setdefault((step, row), ())
                    found.monolingual[step, row] += (document,)
                    continue
                found.documents[-1].append(document)
                found.super_batches[-1].update(own.tolist())
                for token in own:
                    name, piece = self.place(token)
                    found.sides[-1][name].add(piece)
        counts["positions"] = reader.steps * shape["rows"] * shape["width"]
        counts["pad"] = counts["positions"] - counts["content"] - counts["label"] - counts["end_of_text"]
        assert +counts == +Counter(reader.notes["tokens"])
        for tokens in found.super_batches if changes.get("distance") != FAR else ():
            # whole pieces: each token of a piece as often as the others, and not twice within the super-batch
            assert set(tokens.values()) <= {1}
            for (name, piece), count in Counter(self.place(t) for t in tokens).items():
                assert count == self.lengths[name][piece]
        return found
