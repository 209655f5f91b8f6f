"""Whether files hold what their stages make: read whole, and held against what a record notes of them.

Says nothing of how they were made; that is what recipes are for. Needs no torch.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

from lorebridge import tables
from lorebridge.errors import InputError
from lorebridge.plan import Artifact, Plan, artifact
from lorebridge.plan.cost import parameter_count
from lorebridge.plan.stage import File
from lorebridge.plan.study import Model, Text
from lorebridge.probes.prefixes import BARE
from lorebridge.records import file_digest
from lorebridge.tokens.reader import read_notes
from lorebridge.tokens.stages import told
from lorebridge.tokens.tokenizer import load_tokenizer, tokenizer_fingerprint
from lorebridge.train.verify import unlike_store

ADDED = {
    "metrics": ("run", "learned", "arm", "seed"),
    "scores": ("learned", "prefix"),
    "perplexity": ("learned", "prefix"),
    "alignment": ("learned",),
    "exposure": ("run", "learned", "arm", "seed", "lang", "pairs"),
    "people_mentions": ("lang", "pairs"),
}
"""Table -> columns that it has since records have format 2: what is said of its model and
texts, and that all was bare."""

# Tables of which no stage makes an empty one.
NEVER_EMPTY = {
    "metrics",
    "order",
    "questions",
    "scores",
    "perplexity",
    "scorer",
    "subjects",
    "occurrences",
    "exposure",
    "gaps",
    "matched_gaps",
    "verdicts",
    "items",
    "item_effects",
    "density",
    "truth",
    "people",
}
MEND = "It is made again by the next run."


def check(
    plan: Plan,
    name: Artifact,
    files: Mapping[str, Sequence[Path]],
    record: Mapping[str, Any],
    prepared: Mapping[str, Any],
    others: Callable[[Artifact], Mapping[str, Any]],
) -> None:
    """Read the files of an artifact whole and compare them with what its record, and the plan, say of them.

    Args:
        plan: of the study.
        name: the artifact.
        files: name -> its files, which are there.
        record: its record.
        prepared: notes of another record that may speak for its files, too; empty if there is none.
        others: gives the notes of the record of another artifact; empty if there are none.

    Raises:
        InputError: names the file and what is wrong with it.
    """
    stage, notes = plan.stage(name[0]), record.get("notes") or {}
    model = plan.study.models.get(dict(name[1]).get("run", ""))
    for key, paths in files.items():
        for path in paths:
            _file(stage.files[key], path, record, model)
    noted: Mapping[str, str] = notes.get("files") or {}
    if noted:
        _digests(next(iter(files.values()))[0].parent, noted, prepared.get("files") or {})
    every = [path for paths in files.values() for path in paths]
    if "sha256" in notes and len(every) == 1 and file_digest(every[0]) != notes["sha256"]:
        raise InputError(every[0], f"has not the sha256 that its record notes, {notes['sha256']}", MEND)
    if name[0] == "token_store":
        _store(every[0], notes)
    elif name[0] == "tokenizer":
        _tokenizer(every[0], notes)
    elif name[0] == "order" and model is not None:
        _order(every[0], notes, others, model)
    elif model is not None and "order_sha256" in notes:
        _trained(plan, model, every[0].parent, notes)


def _file(file: File, path: Path, record: Mapping[str, Any], model: Model | None) -> None:
    """Read one file, or a folder, as what it is."""
    try:
        if file.table:
            table(file.table, path, model)
        elif file.folder and (path / "config.json").is_file():
            _checkpoint(path, record["literals"].get("model") or {})
        elif file.folder:
            if not any(inner.is_file() and inner.stat().st_size for inner in path.rglob("*")):
                raise InputError(path, "is empty", MEND)
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".gz":
            with gzip.open(path) as opened:
                while opened.read(1 << 20):
                    pass
        else:
            with path.open("rb") as raw:
                raw.read(1)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error, SafetensorError) as error:
        raise InputError(path, f"cannot be read ({error})", MEND) from error


def lacks(name: str, path: Path) -> bool:
    """Return whether a table that was checked lacks columns of :data:`ADDED`."""
    return not set(ADDED[name]) <= set(pq.read_schema(path).names)


def table(name: str, path: Path, model: Model | None) -> None:
    """Read a table page by page, each with its checksum.

    It has the columns of its schema, or all but those of :data:`ADDED`.

    Args:
        name: its schema.
        path: the file.
        model: the model that it is about, if it is about one.

    Raises:
        InputError: it is damaged, has other columns, tells of another model, lacks steps, or is empty and may not be.
    """
    now = tables.SCHEMAS[name]
    before = pa.schema([field for field in now if field.name not in ADDED.get(name, ())])
    try:
        with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True) as file:
            schema = file.schema_arrow.remove_metadata()
            if not schema.equals(now) and not schema.equals(before):
                raise InputError(path, f"has not the columns of the table {name!r}", MEND)
            missing, steps = file.metadata.num_rows, set()
            if name in NEVER_EMPTY and not missing:
                raise InputError(path, "has no rows", MEND)
            for batch in file.iter_batches(batch_size=1 << 16):
                missing -= len(batch)
                if model is not None:
                    _about(path, batch, model)
                if "step" in schema.names:
                    steps |= set(pc.unique(batch["step"]).to_pylist())
            if missing:  # the checksums leave out a page's own header, which says how many rows it has
                raise pa.ArrowInvalid(f"{missing} rows are missing")
    except (OSError, pa.ArrowException) as error:
        raise InputError(path, f"cannot be read as a Parquet table ({error})", MEND) from error
    if model is not None:
        wanted = {"metrics": range(1, model.steps + 1), "scores": model.checkpoints, "perplexity": model.checkpoints}
        if name in wanted and steps != set(wanted[name]):
            raise InputError(path, f"has {len(steps)} steps, and {len(wanted[name])} belong there", MEND)


def _about(path: Path, batch: pa.RecordBatch, model: Model) -> None:
    """Refuse rows that are about another model."""
    for column, value in {"run": model.name, **told(model)}.items():
        if column in batch.schema.names and (found := pc.unique(batch[column]).to_pylist()) != [value]:
            raise InputError(path, f"its `{column}` is {found[:3]}, and {model.name} has {value!r}", MEND)


def completed(name: str, path: Path, model: Model | None, texts: Mapping[str, Text], out: Path) -> None:
    """Write a table that lacks columns of :data:`ADDED` with them.

    Args:
        name: its schema.
        path: the table as it is.
        model: the model that it is about, if it is about one.
        texts: the study's, by name, which rows about a text give as their `stream`.
        out: where the table with all columns is written.
    """
    found = pq.read_table(path, page_checksum_verification=True)
    said = {} if model is None else {"run": model.name, **told(model), "prefix": BARE}
    for column in ADDED[name]:
        if column not in found.column_names:
            field = tables.SCHEMAS[name].field(column)
            if column in ("lang", "pairs"):
                values = [getattr(texts[stream], column) or None for stream in found["stream"].to_pylist()]
            else:
                values = [said[column]] * len(found)
            found = found.append_column(field, pa.array(values, field.type))
    metadata = {k.decode(): v.decode() for k, v in (found.schema.metadata or {}).items() if k != b"ARROW:schema"}
    tables.write(name, found, out, metadata or None)


def _checkpoint(folder: Path, model: Mapping[str, Any]) -> None:
    """Refuse a checkpoint whose weights are not of the shape of its ``config.json``, or which is of another model."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for key, value in model.items():
        if value is not None and config.get(key, value) != value:
            raise InputError(folder / "config.json", f"says {key} {config[key]}, and its record {value}", MEND)
    found = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "numpy") as weights:
            found += sum(math.prod(weights.get_slice(key).get_shape()) for key in weights.keys())  # noqa: SIM118
    wanted, _ = parameter_count({**model, **config}, config["vocab_size"])
    if found != wanted:
        raise InputError(folder, f"holds {found:,} parameters, and config.json speaks of {wanted:,}", MEND)


def _digests(folder: Path, noted: Mapping[str, str], prepared: Mapping[str, str]) -> None:
    """Compare what a run published with the sha256 in its record."""
    for name, digest in noted.items():
        path = folder / name
        if not path.is_file():
            raise InputError(path, "is not there", MEND)
        if file_digest(path) not in {digest, prepared.get(name, digest)}:
            raise InputError(path, "is not what training wrote (its sha256 is another)", MEND)


def _store(tokens: Path, notes: Mapping[str, Any]) -> None:
    if problem := unlike_store(tokens.parent, {notes["digest"]} if "digest" in notes else set()):
        raise InputError(tokens.parent, problem, MEND)


def _tokenizer(path: Path, notes: Mapping[str, Any]) -> None:
    load_tokenizer(path.parent)
    if notes.get("fingerprint", found := tokenizer_fingerprint(path.parent)) != found:
        raise InputError(path, f"its fingerprint is {found}, and its record notes {notes['fingerprint']}", MEND)


def _order(path: Path, notes: Mapping[str, Any], others: Callable[[Artifact], Mapping[str, Any]], model: Model) -> None:
    """An order names the stores that it was drawn from by what they hold, and its model names the order so."""
    said = read_notes(path)
    for key, value in said.items():
        if notes.get(key, value) != value:
            raise InputError(path, f"says another `{key}` than its record", MEND)
    for name, digest in said["stores"].items():
        if (found := others(artifact("token_store", stream=name)).get("digest", digest)) != digest:
            raise InputError(path, f"was drawn for another content of the token store {name} ({found})", MEND)
    if others(model.artifact).get("order_sha256", found := file_digest(path)) != found:
        raise InputError(path, f"is not the order that {model.name} was trained on (its sha256 is another)", MEND)


def _trained(plan: Plan, model: Model, folder: Path, notes: Mapping[str, Any]) -> None:
    """A model names the order that it was trained on by its sha256."""
    order = Path(str(plan.outputs("order", run=model.name)["order"]))
    if order.is_file() and (found := file_digest(order)) != notes["order_sha256"]:
        raise InputError(folder, f"was trained on another order than {order} ({found})", MEND)
