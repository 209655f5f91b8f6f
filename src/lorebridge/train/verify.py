"""Whether what a run was made from, and what it published, is still what its records say.

Reads records and files only; needs no torch.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow.parquet as pq

from lorebridge.errors import LorebridgeError
from lorebridge.integrity import Check
from lorebridge.records import RECORD, changes, file_digest, outputs_of, read_record, source_digest
from lorebridge.tokens.mixture import MIXTURE, draw_mixture
from lorebridge.tokens.order import draw_order
from lorebridge.tokens.reader import read_notes
from lorebridge.tokens.store import Store
from lorebridge.tokens.tokenizer import tokenizer_fingerprint
from lorebridge.tokens.tuning import TUNING, draw_tuning

_LAYOUTS: dict[str, Callable[..., Any]] = {MIXTURE: draw_mixture, TUNING: draw_tuning}
"""What draws the orders whose notes name a layout; arms are the others'."""


def verify(
    *,
    model: Path,
    order: Path,
    stores: Mapping[str, Path],
    tokenizer: Path,
    tokenizer_record: Path,
    pairs: Path | None,
    mentions: Sequence[Path],
    removal: Mapping[str, Path] = MappingProxyType({}),
) -> Iterator[Check]:
    """Check a run from its tokenizer to its checkpoints; yield each thing as soon as it is checked.

    Token stores and checkpoints are hashed whole and compared with what their makers noted. The order is drawn again
    from the literals in its record and compared with the one on disk. Each record must name its inputs by the recipes
    that they have now.

    Args:
        model: folder of the run's checkpoints and ``record.json``.
        order: the run's data order, its record beside it.
        stores: folder of each stream that the order reads.
        tokenizer: folder of the tokenizer.
        tokenizer_record: what tells of it; of one that comes with a given model it does not lie in the folder.
        pairs: the table of pairs that the order was drawn from; None for a base run.
        mentions: the tables that say which pairs a leak-free or leak-only order leaves out; none for others.
        removal: the tables ``pages`` and ``exclusions`` of an order at a level of removal; none for others.
    """
    beside = {tokenizer: tokenizer_record} | {path: path / RECORD for path in (*stores.values(), model)}
    beside[order] = order.with_name(f"{order.name}.{RECORD}")
    records: dict[Path, dict[str, Any]] = {}
    for path, place in beside.items():
        records[path] = read_record(place) or {}
        yield Check(f"record  {place}", _unlike_inputs(records[path]), _rule(records[path]))
    there = (tokenizer / "tokenizer.json").is_file()
    found, notes = tokenizer_fingerprint(tokenizer) if there else "gone", _notes_of(order)
    wanted = {
        **{str(path): _note(records[path], "tokenizer") for path in stores.values()},
        str(order): notes.get("tokenizer"),
        str(model): _note(records[model], "tokenizer_fingerprint"),
    }
    others = [name for name, theirs in wanted.items() if theirs != found]
    unlike = f"its fingerprint is {found}, another than that of {', '.join(others)}" if others else ""
    yield Check(
        f"tokenizer  {tokenizer}", _changed(beside[tokenizer], records[tokenizer]) or unlike, _rule(records[tokenizer])
    )
    for name, path in stores.items():
        expected = {_note(records[path], "digest"), notes.get("stores", {}).get(name)}
        problem = _changed(beside[path], records[path]) or unlike_store(path, expected)
        yield Check(f"tokens  {path}", problem, _rule(records[path]))
    yield Check(
        f"order  {order}",
        _changed(beside[order], records[order])
        or _unlike_order(order, records, stores, tokenizer, pairs, mentions, removal, model),
        _rule(records[order]),
    )
    yield from _published(model, records[model])


def _rule(record: Mapping[str, Any]) -> str:
    return str(record.get("rule", "the rule that makes it"))


def _note(record: Mapping[str, Any], name: str) -> Any:
    return record.get("notes", {}).get(name)


def _notes_of(order: Path) -> dict[str, Any]:
    try:
        return read_notes(order)
    except LorebridgeError:  # reported with the order itself
        return {}


def _unlike_inputs(record: Mapping[str, Any]) -> str:
    """Say what of a record's inputs is not what it was made from."""
    if not record:
        return "there is no readable record"
    changed = [
        f"{path} has recipe {(read_record(path) or {}).get('recipe')}, not {recipe}"
        for path, recipe in (record.get("inputs") or {}).items()
        if (read_record(path) or {}).get("recipe") != recipe
    ]
    return "; ".join(changed)


def unlike_store(path: Path, expected: set[str | None]) -> str:
    """Hash a store as :func:`lorebridge.tokens.store.build_store` does and say how it differs."""
    try:
        store = Store.open(path)
    except LorebridgeError as error:
        return str(error)
    with (path / "tokens.bin").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(store.offsets.tobytes())
    found = digest.hexdigest()[:16]
    wrong = {theirs for theirs in expected | {store.notes["digest"]} if theirs != found}
    return f"its content has sha256 {found}, noted was {', '.join(map(str, sorted(wrong, key=str)))}" if wrong else ""


def _unlike_order(
    order: Path,
    records: Mapping[Path, Mapping[str, Any]],
    stores: Mapping[str, Path],
    tokenizer: Path,
    pairs: Path | None,
    mentions: Sequence[Path],
    removal: Mapping[str, Path],
    model: Path,
) -> str:
    """Draw an order again and say how the one on disk differs."""
    literals = records[order].get("literals")
    if literals is None:
        return "without its record it cannot be drawn again"
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / order.name
        try:
            if layout := read_notes(order).get("layout"):
                _LAYOUTS[layout](**literals, **removal, stores=dict(stores), tokenizer=tokenizer, out=again)
            else:
                draw_order(
                    **literals, stores=dict(stores), pairs=pairs, mentions=mentions, tokenizer=tokenizer, out=again
                )
            # Another release of the Parquet library may write the same rows in other bytes.
            same = file_digest(order) == file_digest(again) or (
                read_notes(order) == read_notes(again) and pq.read_table(order).equals(pq.read_table(again))
            )
        except (LorebridgeError, OSError, ValueError) as error:
            return f"cannot be drawn again or read ({error})"
    if not same:
        aged = records[order]["source"] != source_digest()
        return "its recipe gives other rows" + (" (lorebridge's code has changed since)" if aged else "")
    if (trained := _note(records[model], "order_sha256")) != (found := file_digest(order)):
        return f"has sha256 {found}, but the run was trained on {trained}"
    return ""


def _changed(place: Path, record: Mapping[str, Any]) -> str:
    """Hash the files of a store, an order or a tokenizer and say which are not what the record describes."""
    return "; ".join(map(str, changes(outputs_of(place, record), lambda _: _rule(record)))) if record else ""


def _published(model: Path, record: Mapping[str, Any]) -> Iterator[Check]:
    """Compare what a run published with the sha256 in its record, a checkpoint at a time."""
    described = outputs_of(model / RECORD, record)
    parts = {model / path.name for path in model.glob("step*")} | described.keys()
    for path in sorted(parts, key=lambda path: (len(path.name), path.name)):
        problem = "the record does not know it"
        if path in described:
            problem = "; ".join(map(str, changes({path: described[path]}, lambda _: _rule(record))))
        kind = "checkpoint" if path.name.startswith("step") else "table"
        yield Check(f"{kind}  {path}", problem, _rule(record))
