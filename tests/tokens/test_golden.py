"""The rows and notes of the orders of one small study, as they were when somebody last changed them on purpose.

A run that is trained again because an order moved costs thousands of GPU-hours. After a deliberate change:
``LOREBRIDGE_GOLDEN=write pytest tests/tokens/test_golden.py``, and a line in CHANGELOG.md.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from numbered import NumberedText
from test_derived import write_mentions

from lorebridge.tokens.arms import ARMS, BASE

GOLDEN = Path(__file__).parents[1] / "data" / "orders.json"

SHAPE = {
    "width": 48,
    "rows": 6,
    "steps": 16,
    "seed": 1,
    "en": [3 + 7 * i % 11 for i in range(58)] + [70, 31],
    "xx": [2 + 5 * i % 13 for i in range(59)] + [64],
    "mono": [9 * i % 50 for i in range(40)] + [170],
    "same": [i % 10 for i in range(60)],
}


def content(path: Path) -> str:
    """Digest of the rows and the metadata of an order: another release of Parquet may write them in other bytes."""
    table = pq.read_table(path).combine_chunks()
    digest = hashlib.sha256()
    for name in table.column_names:
        digest.update(f"{name} {table.schema.field(name).type}\n".encode())
        digest.update(json.dumps(table[name].to_pylist()).encode())
    notes = json.loads(table.schema.metadata[b"order"])
    notes["tokenizer"] = notes["labels"] = (
        None  # of the tokenizer, which its library's next release may train otherwise
    )
    digest.update(json.dumps(notes, sort_keys=True).encode())
    return digest.hexdigest()[:32]


def test_orders_are_what_they_were(study, tmp_path):
    text = NumberedText(tmp_path, study, SHAPE)
    mentions = [write_mentions(tmp_path / "mentions.parquet", [(piece, 1) for piece in range(0, 60, 7)])]
    found = {}
    for arm in [BASE, *ARMS]:
        given = {
            "english_share": 0.1 if arm.endswith("english_matched") else None,
            "replay": {"base": "en", "share": 0.25} if arm.endswith("replay") else None,
            "mentions": mentions if "_leak_" in arm else [],
            "label_tokens": None if arm == BASE else 24,
            "pairs": None if arm == BASE else tmp_path / "pairs.parquet",
        }
        for packing in ("isolated", "concatenated"):
            text.draw(arm, out=tmp_path / "order.parquet", packing=packing, **given)
            found[f"{arm} {packing}"] = content(tmp_path / "order.parquet")
    if os.environ.get("LOREBRIDGE_GOLDEN") == "write":
        GOLDEN.write_text(json.dumps(found, indent=0, sort_keys=True) + "\n", encoding="utf-8")
        pytest.skip("written anew")
    assert found == json.loads(GOLDEN.read_text(encoding="utf-8"))
