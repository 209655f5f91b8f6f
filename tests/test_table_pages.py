"""Tables on disk: a byte that changes is seen."""

from __future__ import annotations

import pytest

from lorebridge import tables
from lorebridge.errors import InputError

NAME = {"run": "ko-bridge-s0", "learned": "ko", "arm": "bridge", "seed": 0}
ROWS = [
    {**NAME, "step": n, "loss": n / 7, "learning_rate": 1e-3, "grad_norm": n / 3, "tokens": n, "target_tokens": n}
    for n in range(1, 200)
]


def write_whole(path):
    tables.write("metrics", ROWS, path)


def write_in_batches(path):
    with tables.writer("metrics", path) as append:
        append(ROWS[:99])
        append(ROWS[99:])


def read_whole(path):
    return tables.read(path).to_dict("records")


def read_in_batches(path):
    return [row for batch in tables.batches(path, list(ROWS[0])) for row in batch]


@pytest.mark.parametrize("write", [write_whole, write_in_batches])
@pytest.mark.parametrize("read", [read_whole, read_in_batches])
def test_a_table_with_a_changed_byte_gives_its_rows_or_an_error(write, read, tmp_path):
    """Never other rows: each page of data has a checksum. (A byte that is not needed, of a statistic, may change.)"""
    path = tmp_path / "metrics.parquet"
    write(path)
    content = path.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    refused = 0
    for position in range(0, footer, 13):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        try:
            assert read(path) == ROWS, position
        except InputError as error:
            refused += 1
            assert "Remake it with its rule." in str(error)
    assert refused > footer / 13 / 2
