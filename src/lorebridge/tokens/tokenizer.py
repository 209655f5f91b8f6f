"""Tokenizers: byte-level BPE trained on equal bytes per language, or a pretrained one.

A tokenizer is a standard Hugging Face folder (``tokenizer.json`` and ``tokenizer_config.json``); its one special token
that matters here is ``<|endoftext|>``, which opens and closes every document. What its ids are is defined by Hugging
Face's ``tokenizers`` (:func:`load_tokenizer`); :class:`BulkEncoder` gives the same ids many times faster.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from lorebridge import publish, tables
from lorebridge.errors import InputError
from lorebridge.records import file_digest

log = logging.getLogger("lorebridge.tokens")

END_OF_TEXT = "<|endoftext|>"
MASK = "<|mask|>"
"""What stands for a token that a masked model is asked."""

# The pre-tokenizer pattern of Qwen2 (Hugging Face `Qwen/Qwen2.5-0.5B`, tokenizer.json), character for character.
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# What a tokenizer folder may hold; `tokenizer.json` alone decides the ids.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)


def generator(*names: str | int) -> np.random.Generator:
    """Return a random generator whose draws depend on `names` alone."""
    digest = hashlib.sha256(json.dumps(names).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def _texts(path: Path, column: str) -> Iterator[str]:
    for rows in tables.batches(path, [column]):
        for row in rows:
            yield row[column]


def _sample(group: str, places: list[tuple[str, Path]], n_bytes: int) -> Iterator[str]:
    """Yield texts of one group, `n_bytes` UTF-8 bytes in all.

    Rows are drawn without replacement in a pseudo-random order that depends on the group's name alone; a group that
    has less text than asked is read again (its words then count more often), so that every group weighs the same. The
    last text is cut.
    """
    sizes = np.array([len(text.encode()) for column, path in places for text in _texts(path, column)], np.int64)
    if not sizes.sum():
        raise InputError(
            ", ".join(str(path) for _, path in places), f"no text to train on ({group})", "Check its sources."
        )
    rounds, left = divmod(n_bytes, int(sizes.sum()))
    order = generator("tokenizer", group).permutation(len(sizes))
    ends = np.cumsum(sizes[order])
    n_last = int(np.searchsorted(ends, left))  # rows of the last round that are taken whole
    cut_row = int(order[n_last])
    cut_bytes = left - (int(ends[n_last - 1]) if n_last else 0)
    times = np.full(len(sizes), rounds)
    times[order[:n_last]] += 1
    if rounds:
        log.info("tokenizer: %s has %d bytes; each is read about %.1f times", group, sizes.sum(), n_bytes / sizes.sum())
    texts = (text for column, path in places for text in _texts(path, column))
    for row, text in enumerate(texts):
        for _ in range(times[row]):
            yield text
        if row == cut_row and cut_bytes:
            yield text.encode()[:cut_bytes].decode(errors="ignore")


def train_tokenizer(
    *, tables: list[tuple[str, str, Path]], vocab_size: int, bytes_per_group: int, out: Path, mask: bool = False
) -> dict[str, object]:
    """Train a byte-level BPE on equal bytes per group and write it as a Hugging Face folder.

    The pipeline is Qwen2's: NFC, its pre-tokenizer pattern, bytes as letters. The alphabet holds all 256 bytes, so no
    text is ever unknown. Same tables, same bytes out.

    Args:
        tables: (group, column, Parquet table) triples; a group is a language or script, and may span several tables.
        vocab_size: entries in all, ``<|endoftext|>`` and the 256 bytes included.
        bytes_per_group: UTF-8 bytes of text taken from each group; a shorter group is read more than once.
        out: the folder to write.
        mask: whether it has ``<|mask|>``, for a masked model. It takes the place of a word, the space before it
            included, and what is tokenized opens with ``<|endoftext|>``, as the documents of training do.

    Returns:
        Notes: vocabulary size, fingerprint, bytes per group.

    Raises:
        InputError: `vocab_size` has no room for the bytes; a table cannot be read, or a group has no text.
    """
    if vocab_size < 257:
        raise InputError("tokenizer.vocab_size", f"{vocab_size} is too small", "256 bytes and <|endoftext|> need 257.")
    groups: dict[str, list[tuple[str, Path]]] = {}
    for group, column, path in tables:
        groups.setdefault(group, []).append((column, Path(path)))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    special: list[str | AddedToken] = [END_OF_TEXT]
    if mask:
        special.append(AddedToken(MASK, lstrip=True, special=True))
        opening = processors.TemplateProcessing(single=f"{END_OF_TEXT} $A", special_tokens=[(END_OF_TEXT, 0)])
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), opening])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (text for group in sorted(groups) for text in _sample(group, groups[group], bytes_per_group))
    tokenizer.train_from_iterator(texts, trainer)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with publish.whole(out / "tokenizer.json") as partial:
        tokenizer.save(str(partial))
    config = {
        "add_prefix_space": False,
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": END_OF_TEXT,
        **({"mask_token": MASK} if mask else {}),
        "model_max_length": 1_000_000,
        "pad_token": END_OF_TEXT,
        # The class that reads tokenizer.json as it is. (Beside a Qwen2 model, transformers 5 takes Qwen2Tokenizer all
        # the same, which builds this very pipeline from the vocabulary and merges; a test holds the two together.)
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    publish.write_text(out / "tokenizer_config.json", json.dumps(config, indent=1) + "\n")
    return {
        "vocab_size": tokenizer.get_vocab_size(),
        "fingerprint": tokenizer_fingerprint(out),
        "bytes_per_group": dict.fromkeys(sorted(groups), bytes_per_group),
    }


def train_on_corpora(
    *,
    documents: Mapping[str, Sequence[Path]],
    vocab_size: int,
    bytes_per_group: int,
    out: Path,
    mask: bool = False,
    clones: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, object]:
    """Train a tokenizer on equal bytes of every language.

    Args:
        documents: language -> its tables "documents".
        vocab_size: as of :func:`train_tokenizer`, like the others.
        bytes_per_group: UTF-8 bytes of text of each language.
        out: the folder to write.
        mask: as of :func:`train_tokenizer`.
        clones: languages that are another one in other letters -> which: every document must have as many tokens in
            the one as in the other, or more than the script differs.

    Raises:
        InputError: as :func:`train_tokenizer`; or a document of a clone has more or fewer tokens than in its original.
    """
    texts = [(lang, "text", path) for lang, paths in documents.items() for path in paths]
    notes = train_tokenizer(tables=texts, vocab_size=vocab_size, bytes_per_group=bytes_per_group, out=out, mask=mask)
    tokenizer = load_tokenizer(out)
    lengths = {lang: _lengths(tokenizer, documents[lang]) for lang in {*clones, *clones.values()}}
    for lang, of in clones.items():
        both = sorted(lengths[lang].keys() & lengths[of].keys())
        if not both:
            what = f"{lang!r} is {of!r} in other letters, and their corpora have no document in common"
            raise InputError("tokenizer", what, "Filter and hold out both alike.")
        apart = [identity for identity in both if lengths[lang][identity] != lengths[of][identity]]
        if apart:
            one, other = (lengths[code][apart[0]] for code in (of, lang))
            raise InputError(
                "tokenizer",
                f"{lang!r} is {of!r} in other letters, and {len(apart):,} of {len(both):,} documents have another "
                f"number of tokens there ({apart[0]}: {one} and {other})",
                "Raise tokenizer.vocab_size or tokenizer.bytes_per_group, until every word is one token.",
            )
    return notes


def _lengths(tokenizer: Tokenizer, paths: Sequence[Path]) -> dict[str, int]:
    """Return the number of tokens of every document of some tables "documents"."""
    found: dict[str, int] = {}
    for path in paths:
        for batch in pq.ParquetFile(path).iter_batches(columns=["doc_id", "text"]):
            cut = tokenizer.encode_batch_fast(batch["text"].to_pylist(), add_special_tokens=False)
            found |= zip(batch["doc_id"].to_pylist(), map(len, cut), strict=True)
    return found


def fetch_tokenizer(*, source: str, revision: str | None, out: Path) -> dict[str, object]:
    """Copy a pretrained tokenizer, from a local folder or the Hugging Face hub, file for file.

    Args:
        source: a folder, or a hub id such as ``Qwen/Qwen2.5-0.5B``.
        revision: the hub commit; None for a folder, or for the newest.
        out: the folder to write.

    Returns:
        Notes: vocabulary size (special tokens included), fingerprint, source, revision.

    Raises:
        InputError: no such folder or repository, or it lacks ``tokenizer.json`` or the token ``<|endoftext|>``.
    """
    folder = Path(source)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(source, revision=revision, allow_patterns=list(TOKENIZER_FILES)))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
            raise InputError(
                f"tokenizer {source}",
                f"neither a folder nor to be had from the hub ({error})",
                "Give a folder with tokenizer.json, or a hub id that this machine can reach.",
            ) from error
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        if (folder / name).exists():
            with publish.whole(out / name) as partial:
                shutil.copyfile(folder / name, partial)
    tokenizer = load_tokenizer(out)
    return {
        "vocab_size": tokenizer.get_vocab_size(),
        "fingerprint": tokenizer_fingerprint(out),
        "source": source,
        "revision": revision,
    }


def load_tokenizer(folder: Path | str) -> Tokenizer:
    """Return the tokenizer of a folder, set to read special tokens in text as plain characters.

    So a document that quotes ``<|endoftext|>`` does not end there; the id itself is :func:`end_of_text_id`.

    Raises:
        InputError: no ``tokenizer.json``, it is not JSON or no tokenizer, or it has no ``<|endoftext|>``.
    """
    path = Path(folder) / "tokenizer.json"
    if not path.exists():
        raise InputError(path, "no such file", "A tokenizer folder holds tokenizer.json (a *fast* tokenizer).")
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(path, f"not JSON ({error})", "Fetch or train the tokenizer again.") from error
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise InputError(path, f"is no tokenizer ({error})", "Fetch or train the tokenizer again.") from error
    if tokenizer.token_to_id(END_OF_TEXT) is None:
        raise InputError(
            path, f"no token {END_OF_TEXT}", "Documents open and close with it; use a Qwen-like tokenizer."
        )
    tokenizer.encode_special_tokens = True
    return tokenizer


def end_of_text_id(tokenizer: Tokenizer) -> int:
    """Return the id of ``<|endoftext|>``, which :func:`load_tokenizer` has seen to be there."""
    found = tokenizer.token_to_id(END_OF_TEXT)
    assert found is not None
    return found


def n_ids(tokenizer: Tokenizer) -> int:
    """Return how many rows an embedding needs: one more than the largest id, as a vocabulary may leave some out."""
    return max(tokenizer.get_vocab().values()) + 1


def tokenizer_fingerprint(folder: Path | str) -> str:
    """Return 16 hexadecimal digits that identify the tokenizer of a folder: a hash of its ``tokenizer.json``."""
    return file_digest(Path(folder) / "tokenizer.json")[:16]


class BulkEncoder:
    """Encodes many texts with ``fastokens``, to the ids of :func:`load_tokenizer`.

    Special tokens in the text are plain characters here too. It uses as many threads as ``RAYON_NUM_THREADS`` says
    (else all processors of the process); the ids do not depend on it.

    Attributes:
        fingerprint: of the tokenizer (:func:`tokenizer_fingerprint`).
    """

    # Characters of a text that are compared: enough for every kind of token, and a book costs no more than a page.
    _COMPARED = 4096

    def __init__(self, folder: Path | str) -> None:
        """Load the tokenizer of a folder.

        Raises:
            InputError: see :func:`load_tokenizer`; or ``fastokens`` cannot read it.
        """
        import fastokens  # here: training and probing need no bulk encoder

        self._reference = load_tokenizer(folder)
        self._path = Path(folder) / "tokenizer.json"
        try:
            self._encoder = fastokens.Tokenizer.from_file(str(self._path))
        except ValueError as error:
            raise InputError(
                self._path, f"cannot be read by fastokens ({error})", "Use a byte-level BPE, such as Qwen's."
            ) from error
        self.fingerprint = tokenizer_fingerprint(folder)

    def encode(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """Encode texts.

        Returns:
            The ids of all texts end to end, uint32 [n_tokens], and where each text begins, int64 [n + 1].
        """
        ids, offsets = self._encoder.encode_batch_flat(list(texts), split_special_tokens=True)
        return np.frombuffer(ids, np.uint32), np.frombuffer(offsets, np.uint64).astype(np.int64)

    def check(self, texts: Sequence[str]) -> None:
        """Compare the beginnings of some texts with the ids of ``tokenizers``.

        Raises:
            InputError: they differ; shows the text.
        """
        beginnings = [text[: self._COMPARED] for text in texts]
        ids, offsets = self.encode(beginnings)
        expected = self._reference.encode_batch_fast(beginnings, add_special_tokens=False)
        for number, encoding in enumerate(expected):
            if ids[offsets[number] : offsets[number + 1]].tolist() != encoding.ids:
                raise InputError(
                    self._path,
                    f"fastokens {version('fastokens')} and tokenizers {version('tokenizers')} give different ids for "
                    f"{beginnings[number][:200]!r}",
                    "Install the versions of the lock; report the text to fastokens.",
                )
