"""Retrieved chunks and questions in translation, for judges that do not read their language.

The paper (Zhang et al., ACL 2025, appendix C.3) translates Tibetan and Mongolian into Chinese with NLLB-200-3.3B
(Costa-jussà et al. 2022), "further finetuned with Chinese-Tibetan and Chinese-Mongolian parallel data" (footnote 9).
Its model is not public: a local one stands for it. Which code stood for traditional Mongolian is not told, and NLLB as
released has none: its ``khk_Cyrl`` is Mongolian in Cyrillic letters. NLLB was trained on at most 512 tokens, and a
chunk of 5,000 characters of Tibetan has thousands, so that a chunk is translated in windows that end where sentences
end.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lorebridge import tables
from lorebridge.errors import InputError, said
from lorebridge.journal import Journal
from lorebridge.records import fingerprint
from lorebridge.trace.analysis import script_of
from lorebridge.trace.asked import read_questions
from lorebridge.trace.judges import read_chunks, state
from lorebridge.trace.windows import windows
from lorebridge.work import locked

log = logging.getLogger("lorebridge.trace")

# The ISO 15924 codes at the end of NLLB's language codes, by Unicode script.
_ISO_15924 = {
    "Han": {"Hans", "Hant"},
    "Hangul": {"Hang"},
    "Latin": {"Latn"},
    "Mongolian": {"Mong"},
    "Tibetan": {"Tibt"},
}

# Windows that are translated together.
_BATCH = 16

UNREAD = 0.05
"""The largest share of a text's tokens that may be unknown to a model: rare letters, not a script."""


@dataclasses.dataclass(frozen=True)
class Translation:
    """A window in translation.

    Attributes:
        text: the translation.
        cut: whether the model wrote as much as it may without coming to an end.
    """

    text: str
    cut: bool


def check_source(script: str, source_code: str) -> None:
    """Refuse a language code of another script than the text's: the model would read letters that it does not know.

    Args:
        script: the Unicode script of the text.
        source_code: such as ``bod_Tibt``; a code that does not end in the name of a script is let through.

    Raises:
        InputError: the code names another script.
    """
    named = re.search(r"_([A-Z][a-z]{3})$", source_code)
    if named is None or script not in _ISO_15924 or named[1] in _ISO_15924[script]:
        return
    reason = f"{source_code} is not the {script} script"
    if script == "Mongolian":
        reason += ": NLLB reads Mongolian in Cyrillic letters only, and has no code for the traditional script"
    raise InputError(
        "tracing.translation.source_code",
        reason,
        "Name a model of your own (model: local), or judge without translation.",
    )


class Translator:
    """A sequence-to-sequence model with language codes, in the manner of NLLB, on the GPU where there is one.

    Args:
        model: Hugging Face id or folder.
        revision: the commit of a model on the Hub; its newest without.
        source_code: the model's code of the language to read.
        target_code: the model's code of the language to write.
        max_tokens: the most tokens that it reads, special ones among them, and writes.
        beams: width of the beam search; 1 is greedy.

    Raises:
        InputError: there is no such model, or it does not know a code.
    """

    def __init__(
        self, model: str, *, revision: str | None, source_code: str, target_code: str, max_tokens: int, beams: int
    ) -> None:
        """Load the tokenizer; the model is loaded when there is something to translate."""
        from transformers import AutoTokenizer

        try:
            self.tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
        except Exception as error:  # what the library and its tokenizers make of files that are not theirs
            raise InputError(
                model,
                f"cannot be loaded as a translation model ({said(error)})",
                "Give a folder, or the id of a model on the Hugging Face Hub that this machine can reach.",
            ) from error
        unknown = (None, self.tokenizer.unk_token_id)
        for code in (source_code, target_code):
            if self.tokenizer.convert_tokens_to_ids(code) in unknown:
                raise InputError(model, f"does not know the language code {code!r}", "See the model's card for codes.")
        self.tokenizer.src_lang = source_code
        self._target = self.tokenizer.convert_tokens_to_ids(target_code)
        self._name, self._revision = model, revision
        self._max_tokens = max_tokens
        self._beams = beams
        self._model: Any = None

    def windows(self, text: str) -> list[str]:
        """Cut `text` into windows that the model reads whole."""
        return windows(text, self.tokenizer, self._max_tokens - self.tokenizer.num_special_tokens_to_add())

    def length(self, text: str) -> int:
        """Return the number of tokens of `text`."""
        return len(self.tokenizer(text)["input_ids"])

    def unknown(self, texts: Iterable[str]) -> float:
        """Return the share of the texts' tokens that stand for letters which the model does not know."""
        ids = [i for text in texts for i in self.tokenizer(text, add_special_tokens=False)["input_ids"]]
        return ids.count(self.tokenizer.unk_token_id) / max(len(ids), 1)

    def translate(self, texts: Sequence[str]) -> list[Translation]:
        """Translate windows, together: padding makes rounding depend on the company, which must be the same again.

        Raises:
            InputError: the model's weights are missing or not safetensors.
        """
        import torch
        from transformers import AutoModelForSeq2SeqLM

        device = "cuda" if torch.cuda.is_available() else "cpu"
        if self._model is None:
            try:
                self._model = AutoModelForSeq2SeqLM.from_pretrained(
                    self._name, revision=self._revision, dtype="auto", use_safetensors=True, trust_remote_code=False
                )
            except Exception as error:  # a configuration can make the library raise anything
                raise InputError(
                    self._name,
                    f"its weights cannot be loaded ({said(error)})",
                    "Give a model, or a revision of it, with safetensors; pickled weights are never read.",
                ) from error
            self._model.to(device).eval()
        inputs = self.tokenizer(list(texts), return_tensors="pt", padding=True).to(device)
        with torch.inference_mode():
            written = self._model.generate(
                **inputs,
                forced_bos_token_id=self._target,
                num_beams=self._beams,
                do_sample=False,
                max_new_tokens=self._max_tokens,
            )
        # The first token is the decoder's start, which NLLB shares with the end.
        ended = (written[:, 1:] == self.tokenizer.eos_token_id).any(dim=1).tolist()
        found = self.tokenizer.batch_decode(written, skip_special_tokens=True)
        return [Translation(text=text.strip(), cut=not end) for text, end in zip(found, ended, strict=True)]


def translate(
    *,
    lang: str,
    script: str,
    model: str,
    source_code: str,
    target_code: str,
    hits: Path,
    chunks: Path,
    questions: Path,
    out: Path,
    work: Path,
    threads: int,
    revision: str | None = None,
    files: Sequence[str | Path] = (),
    max_tokens: int = 512,
    beams: int = 4,
) -> dict[str, int]:
    """Translate what a judge is to read of a culture's hits in one corpus, and write table "translations".

    These are the chunks that are hits, each once, and the questions' statements (the gold filled in). The windows of a
    text are lines of its translation.

    Args:
        lang: the language of the corpus, in which the questions are asked.
        script: its Unicode script.
        model: Hugging Face id of a model in the manner of NLLB, or ``local``.
        source_code: the model's code for `lang`; a local model may have learned the script behind any code.
        target_code: the model's code for the language that the judge reads.
        hits: table "hits" of the culture in the corpus.
        chunks: table "chunks" of the corpus.
        questions: table "questions" of the culture.
        out: where to write.
        work: a folder that keeps what is translated, so that a killed job loses at most the batch in flight.
        threads: CPU threads of torch.
        revision: the commit of a model on the Hub.
        files: of a local model, the files of its folder.
        max_tokens: the most tokens that the model reads and writes at once.
        beams: width of the beam search; NLLB's own evaluation used 4.

    Returns:
        Notes for the record: the number of chunks, of statements, of distinct windows, and of windows whose
        translation was cut.

    Raises:
        InputError: a code of another script, no such model or code, a model that does not know the letters, or tables
            that do not belong together.
        Busy: another process translates in `work`.
    """
    if not files:
        check_source(script, source_code)
    found = tables.read(hits, ["question_id", "chunk_id"])
    asked = set(found["question_id"])
    statements = state(
        [question for question in read_questions(questions, lang) if question.question_id in asked], script_of(script)
    )
    passages = read_chunks(chunks, set(found["chunk_id"]))
    import torch

    torch.set_num_threads(threads)
    name = os.path.commonpath([Path(file).parent for file in files]) if files else model
    translator = Translator(
        name, revision=revision, source_code=source_code, target_code=target_code, max_tokens=max_tokens, beams=beams
    )
    texts = [("chunk", i, passages[i]) for i in sorted(passages)]
    texts += [("statement", i, statements[i]) for i in sorted(statements)]
    pieces = [translator.windows(text) for _, _, text in texts]
    distinct = {piece for of_text in pieces for piece in of_text if piece.strip()}
    if (unread := translator.unknown(distinct)) > UNREAD:
        raise InputError(
            name,
            f"does not know the letters of {lang}: {unread:.0%} of the tokens are unknown to its tokenizer",
            f"Extend its tokenizer by the {script} script before tuning it, or leave tracing.translation.{lang} out: "
            "the judge then reads the original.",
        )
    # Windows of like length together, in an order that depends on nothing else.
    order = sorted(distinct, key=lambda piece: (translator.length(piece), piece))
    identity = [model, revision, source_code, target_code, max_tokens, beams]
    keys = {piece: fingerprint([*identity, piece]) for piece in order}
    with locked(work), tqdm(total=len(order), desc="translate", unit="window") as bar:
        journal = Journal(Path(work) / "translations.jsonl", Translation)
        known = journal.read()
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            # A batch is translated whole or not at all.
            if any(keys[piece] not in known for piece in batch):
                new = dict(zip([keys[piece] for piece in batch], translator.translate(batch), strict=True))
                journal.append(new)
                known |= new
            bar.update(len(batch))
    rows = [
        {"kind": kind, "id": i, "text": "\n".join(known[keys[piece]].text for piece in of_text if piece in keys)}
        for (kind, i, _), of_text in zip(texts, pieces, strict=True)
    ]
    tables.write("translations", rows, out)
    n_cut = sum(known[key].cut for key in keys.values())
    if n_cut:
        log.warning("%s: %d of %d translations are cut at %d tokens", out, n_cut, len(order), max_tokens)
    return {"n_chunks": len(passages), "n_statements": len(statements), "n_windows": len(order), "cut": n_cut}
