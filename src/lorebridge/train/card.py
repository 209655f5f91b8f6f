"""The model card of a checkpoint: ``README.md`` beside its weights, as the Hugging Face hub reads it.

A card says what is known when a checkpoint is written, and nothing of when or where, so that its bytes are those of
every try. What the model answers is known later: :func:`evaluated` puts it in where a checkpoint is handed on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lorebridge import __version__, publish
from lorebridge.tokens.arms import ARMS
from lorebridge.work import link_or_copy

CARD = "README.md"
# model.kind -> its name, the class that loads it, and what the hub says that it does.
_KINDS = {
    "qwen2": ("Qwen2", "AutoModelForCausalLM", "text-generation"),
    "llama": ("Llama", "AutoModelForCausalLM", "text-generation"),
    "bert": ("BERT", "AutoModelForMaskedLM", "fill-mask"),
}
_EVALUATION, _NEXT = "## Evaluation", "## How to load it"


def card(
    *,
    run: str,
    learned: str | None,
    arm: str | None,
    seed: int,
    step: int,
    steps: int,
    model: Mapping[str, Any],
    n_parameters: int,
    dtype: str,
    stores: Mapping[str, Mapping[str, Any]],
    order: str,
    tokenizer: str,
    recipe: str,
    metrics: Sequence[Mapping[str, Any]],
    about: Mapping[str, Any],
) -> str:
    """Return the card of a checkpoint.

    Args:
        run: name of the run.
        learned: the language that it learns.
        arm: the arrangement of its text.
        seed: of the data order, and of the initial weights where it starts from nothing.
        step: updates done.
        steps: updates of the whole run.
        model: the section ``model`` of the configuration.
        n_parameters: of the model.
        dtype: of the weights.
        stores: text -> what its token store says of itself: ``n_documents, n_tokens, n_bytes, digest``.
        order: sha256 of the data order.
        tokenizer: fingerprint of the tokenizer.
        recipe: of the run.
        metrics: one row per update so far, with ``loss, tokens, target_tokens``.
        about: what the study says (:func:`lorebridge.train.stages.told_on_card`): ``study``, ``languages`` (code ->
            name, of its texts), ``texts`` (text -> code), ``start`` (run and step that it starts from), ``planted``,
            ``remark``. Any may be missing.
    """
    name_of_kind, loads, does = _KINDS[model.get("kind", "qwen2")]
    languages, texts = about.get("languages") or {}, about.get("texts") or {}
    start = about.get("start")
    codes = list(dict.fromkeys(texts.get(name, "") for name in stores))
    front = {
        "language": [code for code in codes if code],
        "license": None,
        "library_name": "transformers",
        "pipeline_tag": does,
        "tags": ["lorebridge", *([about["study"]] if "study" in about else []), *([arm] if arm else [])],
        **({"base_model": start["run"]} if start else {}),
    }
    head = yaml.safe_dump(front, allow_unicode=True, sort_keys=False).replace(
        "license: null\n", "license: # yours to say: it follows from the licences of the text below\n"
    )
    read, targets = (sum(row[key] for row in metrics) for key in ("tokens", "target_tokens"))
    what = [
        ("study", f"`{about['study']}`, made with lorebridge {__version__}" if "study" in about else ""),
        ("architecture", _architecture(name_of_kind, model, n_parameters, dtype)),
        ("learns", f"{languages.get(learned, learned)} (`{learned}`)" if learned else ""),
        ("base model", f"`{start['run']}`{_at(start['step'])}" if start else "none: trained from scratch"),
        ("arm", f"`{arm}`" + (f": {ARMS[arm].says}" if arm in ARMS else "") if arm else ""),
        ("seed", str(seed)),
        ("step", f"{step:,} of {steps:,}"),
        ("tokens seen", f"{read:,} positions, of which {targets:,} with a loss (the others are padding)"),
        ("training loss", f"{metrics[-1]['loss']:.4f} nats a token, in the batch of this step" if metrics else ""),
    ]
    rows = [
        f"| `{name}` | {texts.get(name, '')} | {_count(said, 'n_documents')} | {_count(said, 'n_tokens')} | "
        f"{_count(said, 'n_bytes')} | `{said['digest']}` |"
        for name, said in stores.items()
    ]
    notes = [about["remark"]] if about.get("remark") else []
    if about.get("planted"):
        notes.append("Its text is a planted world: cultures, facts and words are invented. It knows no language.")
    return "\n".join(
        [
            f"---\n{head}---\n",
            f"# {run}, step {step}\n",
            "A model of an experiment on how knowledge crosses between languages while a language model learns them. "
            "It was trained to be compared with others of its study, and is fit for nothing else.\n",
            *(f"**{note.strip()}**\n" for note in notes),
            "| | |\n|---|---|",
            *(f"| {name} | {said} |" for name, said in what if said),
            "\n## Training text\n",
            "What the run reads from, whole; how much of it by which step, and what else a document holds (labels), "
            "says the data order.\n",
            "| text | language | documents | tokens | bytes | digest of its tokens |\n|---|---|---|---|---|---|",
            *rows,
            f"\nData order: sha256 `{order}`. Tokenizer: `{tokenizer}`. Recipe of the run: `{recipe}`.\n",
            f"{_EVALUATION}\n",
            "Not yet known when this was written: `transfer/accuracies.parquet` of the study holds it, in the rows "
            f"whose `model` is `{run}` and whose `step` is {step}. `lorebridge publish` puts it here.\n",
            f"{_NEXT}\n",
            f"```python\nfrom transformers import {loads}, AutoTokenizer\n\n"
            f'model = {loads}.from_pretrained("THIS FOLDER")\n'
            'tokenizer = AutoTokenizer.from_pretrained("THIS FOLDER")\n```\n',
        ]
    )


def _at(step: int | None) -> str:
    """Say the step of a model; one that is given has none."""
    return "" if step is None else f", step {step}"


def _count(said: Mapping[str, Any], key: str) -> str:
    """Return a number; a dash where a store of an older version does not say it."""
    return f"{said[key]:,}" if key in said else "–"


def _architecture(name: str, model: Mapping[str, Any], n_parameters: int, dtype: str) -> str:
    return (
        f"{name}, {model['num_hidden_layers']} layers, width {model['hidden_size']}, "
        f"{model['num_attention_heads']} attention heads; {n_parameters:,} parameters in {dtype}"
    )


def store_notes(folder: Path) -> dict[str, Any]:
    """Return what a token store says of itself."""
    return json.loads((folder / "store.json").read_text(encoding="utf-8"))


def evaluated(text: str, answers: Sequence[Mapping[str, Any]], perplexities: Sequence[Mapping[str, Any]]) -> str:
    """Return a card with what the model answers.

    Args:
        text: the card.
        answers: rows of the table "accuracies" of this model and step.
        perplexities: rows of the table "perplexity" of the same.
    """
    before, _, rest = text.partition(f"{_EVALUATION}\n")
    _, _, after = rest.partition(f"{_NEXT}\n")
    lines = [
        f"{before}{_EVALUATION}\n",
        "Cloze questions on each culture, asked in each language; intervals, 95 %, are bootstraps over clusters of "
        "near-duplicate questions and cover these alone.\n",
        "| culture | asked in | questions | options compared by | behind | accuracy | chance |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['culture']} | {row['lang']} | {row['n_questions']} ({row['subset']}) | {row['rule']} "
        f"| {row['prefix']} | {100 * row['accuracy']:.1f} %{_interval(row)} | {100 * row['chance']:.1f} % |"
        for row in answers
    ]
    if perplexities:
        lines += ["\n| held-out text | documents | bits a byte |", "|---|---|---|"]
        lines += [f"| {row['lang']} | {row['n_documents']:,} | {row['bits_per_byte']:.3f} |" for row in perplexities]
    return "\n".join([*lines, "", f"{_NEXT}\n{after}"])


def _interval(row: Mapping[str, Any]) -> str:
    if math.isnan(row["lo"]) or math.isnan(row["hi"]):
        return ""
    return f" ({100 * row['lo']:.1f} to {100 * row['hi']:.1f})"


def hand_on(checkpoint: Path, out: Path, text: str) -> None:
    """Write a checkpoint to another folder, by hard links where that is possible, with another card.

    Args:
        checkpoint: the folder of a checkpoint.
        out: a folder without these files, which is made.
        text: its card.
    """
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(checkpoint.iterdir()):
        if path.is_file() and path.name != CARD and not path.name.startswith("."):
            link_or_copy(path, out / path.name)
    publish.write_text(out / CARD, text)
