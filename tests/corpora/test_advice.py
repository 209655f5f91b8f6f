"""Every advice that an error gives is followed: what failed is mended as it says, and then works."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from advised import Case, follow, name_of
from lorebridge import publish, tables
from lorebridge.corpora import readers
from lorebridge.corpora.documents import filter_corpus, filter_file, filter_pairs, merge_audits, signatures
from lorebridge.corpora.duplicates import duplicates
from lorebridge.corpora.scripts import LetterFilter
from lorebridge.corpora.sources import open_source
from lorebridge.trace.mentions import find_mentions, read_mentions

LONG = "This sentence is long enough to stay. "
LOCAL: dict[str, Any] = {"kind": "local", "name": "mine"}
PAIR = ["en", "ko"]


def write(name: str, content: str | bytes) -> Callable[[Path], Path]:
    def follow(folder: Path) -> Path:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return folder / name

    return follow


def read(name: str, content: str | bytes | None = None, required: list[str] | None = None, **spec: Any) -> Callable:
    """Read a source as it is, or after its content was written."""

    def run(folder: Path) -> list[dict]:
        if content is not None:
            write(name, content)(folder)
        source = open_source({**LOCAL, **spec}, folder / name, required or ["text"], ["id", "title", "source"])
        rows = [row for batch in source.batches() for row in batch.columns.to_pylist()]
        assert rows
        return rows

    return run


def packed(files: dict[str, str | bytes]) -> Callable[[Path], None]:
    def follow(folder: Path) -> None:
        with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)

    return follow


def then(*steps: Callable[[Path], Any]) -> Callable[[Path], Any]:
    def run(folder: Path) -> None:
        for step in steps:
            step(folder)

    return run


def parquet(rows: list[dict]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


def two_columns(folder: Path) -> Path:
    """Write a Parquet file with two columns of one name."""
    column = pa.array(["One"])
    pq.write_table(pa.Table.from_arrays([column, column], names=["text", "text"]), folder / "a.parquet")
    return folder / "a.parquet"


def newlines(folder: Path) -> None:
    """Do what `tr` does."""
    (folder / "a.tsv").write_bytes((folder / "a.tsv").read_bytes().replace(b"\r", b"\n"))


def jsonl(*rows: dict) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def encrypted(folder: Path) -> None:
    """Set the flag of encryption of both members."""
    packed({"b.en": "1\n", "b.ko": "1\n"})(folder)
    data = bytearray((folder / "x.zip").read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := data.find(magic, at + 1)) >= 0:
            data[at + offset] |= 1
    (folder / "x.zip").write_bytes(bytes(data))


ROW, ROWS = '{"text": "One"}\n', '{"text": "One"}\n{"text": "Two"}\n'
FILES = {"b.en": "1\n", "b.ko": "1\n"}
BAD_UTF8 = b'{"text": "One \xff"}\n'
GZIP = gzip.compress(ROWS.encode() * 99)
READING = [
    Case(
        "Take one of the two out",
        read("a.jsonl", '{"text": "One", "text": "Two"}\n'),
        write("a.jsonl", ROW),
        read("a.jsonl"),
    ),
    Case(
        "Rename one of them in the first line",
        read("a.tsv", "text\ttext\nOne\tTwo\n"),
        write("a.tsv", "text\tother\nOne\tTwo\n"),
        read("a.tsv"),
    ),
    Case(
        "Rename one of them in `columns` of the source",
        read("a.tsv", "1\t2\n", PAIR, columns=["en", "ko", "ko"]),
        None,
        read("a.tsv", None, PAIR, columns=["en", "ko", "other"]),
    ),
    Case("Convert them: `tr", read("a.tsv", "text\rOne\rTwo\r"), newlines, read("a.tsv")),
    Case(
        "Write the file with one of them",
        then(two_columns, read("a.parquet")),
        write("a.parquet", parquet([{"text": "One"}])),
        read("a.parquet"),
    ),
    Case("Give every row a string `text`", read("a.jsonl", '{"txt": "One"}\n'), write("a.jsonl", ROW), read("a.jsonl")),
    Case(
        "under `fields` of the source: {text: COLUMN}",
        read("a.jsonl", '{"txt": "a"}\n'),
        None,
        read("a.jsonl", fields={"text": "txt"}),
    ),
    Case("under `fields` of the source", read("a.tsv", "txt\nOne\n"), None, read("a.tsv", fields={"text": "txt"})),
    Case(
        "under `fields` of the source",
        read("a.parquet", parquet([{"t": "a"}])),
        None,
        read("a.parquet", fields={"text": "t"}),
    ),
    Case("Make it a string in every row", read("a.jsonl", '{"text": 1}\n'), write("a.jsonl", ROW), read("a.jsonl")),
    Case("Convert the file to UTF-8", read("a.jsonl", BAD_UTF8), write("a.jsonl", ROW), read("a.jsonl")),
    Case("Convert the file to UTF-8", read("a.jsonl", ROW.encode("utf-16")), write("a.jsonl", ROW), read("a.jsonl")),
    Case("Fetch or write the file again", read("a.jsonl.gz", GZIP[:50]), write("a.jsonl.gz", GZIP), read("a.jsonl.gz")),
    Case(
        "Fetch or write the file again",
        read("a.parquet", b"PAR1"),
        write("a.parquet", parquet([{"text": "a"}])),
        read("a.parquet"),
    ),
    Case(
        'Write one JSON object a line, such as {"id"',
        read("a.jsonl", "One\n"),
        write("a.jsonl", '{"id": "1", "text": "..."}\n'),
        read("a.jsonl"),
    ),
    Case(
        "Write one JSON object a line",
        read("a.jsonl", '["One"]\n'),
        write("a.jsonl", '{"id": "1", "text": "..."}\n'),
        read("a.jsonl"),
    ),
    Case(
        "Write the file as UTF-8 again from its origin",
        read("a.jsonl", '{"text": "\\ud800"}\n'),
        write("a.jsonl", ROW),
        read("a.jsonl"),
    ),
    Case(
        "take the line out, or correct `columns`",
        read("a.tsv", "a\tb\nc\n", PAIR, columns=PAIR),
        write("a.tsv", "a\tb\nc\td\n"),
        read("a.tsv", None, PAIR, columns=PAIR),
    ),
    Case(
        "Leave out `columns` of the source, so that this line names them",
        read("a.tsv", "en\tko\n1\t2\n", PAIR, columns=PAIR),
        None,
        read("a.tsv", None, PAIR),
    ),
    Case(
        "or remove the line",
        read("a.tsv", "en\tko\n1\t2\n", PAIR, columns=PAIR),
        write("a.tsv", "1\t2\n"),
        read("a.tsv", None, PAIR, columns=PAIR),
    ),
    Case(
        "Write the values as they are",
        read("a.tsv", 'text\n"a ""b"""\n'),
        write("a.tsv", 'text\na "b"\n'),
        read("a.tsv"),
    ),
    Case(
        "or write JSONL",
        read("a.tsv", 'text\n"a ""b"""\n'),
        write("a.jsonl", jsonl({"text": 'a "b"'})),
        read("a.jsonl"),
    ),
    Case("Unpack it, or pack it by gzip", read("a.jsonl", b"\x28\xb5\x2f\xfd"), write("a.jsonl", ROW), read("a.jsonl")),
    Case("pack it by gzip", read("a.jsonl", b"BZh9"), write("a.jsonl.gz", GZIP), read("a.jsonl.gz")),
    Case("Unpack it, or pack it by gzip", read("a.jsonl", b"\xfd7zXZ\0"), write("a.jsonl", GZIP), read("a.jsonl")),
    Case(
        "a zip of line-aligned files is called *.zip",
        read("x.jsonl", b"PK\x03\x04"),
        packed(FILES),
        read("x.zip", None, PAIR),
    ),
    Case(
        "Call it *.parquet",
        read("a.jsonl", parquet([{"text": "a"}])),
        lambda f: (f / "a.jsonl").rename(f / "a.parquet"),
        read("a.parquet"),
    ),
    Case(
        "Fetch both files again",
        then(packed({**FILES, "b.en": "1\n2\n"}), read("x.zip", None, PAIR)),
        packed(FILES),
        read("x.zip", None, PAIR),
    ),
    Case("Fetch the file again", read("x.zip", b"no", PAIR), packed(FILES), read("x.zip", None, PAIR)),
    Case(
        "Give an archive without a password",
        then(encrypted, read("x.zip", None, PAIR)),
        packed(FILES),
        read("x.zip", None, PAIR),
    ),
    Case(
        "Fetch the archive again from its origin",
        then(packed({**FILES, "b.en": bytes(1 << 22)}), read("x.zip", None, PAIR)),
        packed(FILES),
        read("x.zip", None, PAIR),
    ),
    Case(
        "Keep one file a language",
        then(packed({**FILES, "c.ko": "1\n"}), read("x.zip", None, PAIR)),
        packed(FILES),
        read("x.zip", None, PAIR),
    ),
    Case(
        "Put it into the zip as plain text in UTF-8",
        then(packed({**FILES, "b.ko": gzip.compress(b"1\n")}), read("x.zip", None, PAIR)),
        packed(FILES),
        read("x.zip", None, PAIR),
    ),
    Case(
        "under `fields` of the source: {ko: ENDING}",
        then(packed({"b.en": "1\n", "b.kr": "1\n"}), read("x.zip", None, PAIR)),
        None,
        read("x.zip", None, PAIR, fields={"ko": "kr"}),
    ),
    Case("Correct the path of the source 'mine'", read("a.jsonl"), write("b.jsonl", ROW), read("b.jsonl")),
    Case(
        "Use local, huggingface, opus or nllb", read("a.jsonl", ROW, kind="moses"), None, read("a.jsonl", kind="local")
    ),
    Case(
        "Use one of .jsonl, .jsonl.gz, .tsv, .tsv.gz, .parquet",
        read("a.tmx", "<tmx>"),
        write("a.jsonl", ROW),
        read("a.jsonl"),
    ),
]


# --- filtering --------------------------------------------------------------------------------------------------------


def corpus(rows: list[dict], **changed: Any) -> Callable[[Path], None]:
    """Filter a corpus by all stages."""

    def run(folder: Path) -> None:
        literals: dict[str, Any] = {
            "sources": [LOCAL],
            "letters": {"keep": "Latin"},
            "min_chars": 20,
            "max_deleted": 0.3,
            "simplify": False,
            "shard": 0,
            "of": 1,
        } | {key: value for key, value in changed.items() if key != "heldout"}
        heldout = changed.get("heldout", 0.0)
        literals["paths"] = [write(f"rows{i}.jsonl", jsonl(*rows))(folder) for i in range(len(literals["sources"]))]
        signatures(**literals, deduplicate=None, signatures=folder / "s.parquet")
        duplicates(signatures=[folder / "s.parquet"], deduplicate=None, duplicates=folder / "d.parquet")
        names = ("documents", "heldout_documents", "audit")
        filter_corpus(
            **literals, lang="en", heldout=heldout, duplicates=folder / "d.parquet", **{n: folder / n for n in names}
        )
        merge_audits(audits=[folder / "audit"], out=folder / "audit.json", lang="en", heldout=heldout)

    return run


def parallel(rows: list[dict], names: tuple[str, ...] = ("a",), heldout: float = 0.0) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        filter_pairs(
            sources=[{"kind": "local", "name": name} for name in names],
            paths=[
                write(f"{i}.jsonl", jsonl(*({**row, "en": f"{row['en']} {i}"} for row in rows)))(folder)
                for i in range(len(names))
            ],
            base="en",
            lang="ko",
            letters_base={"keep": "Latin"},
            letters_xx={"drop": "Latin"},
            max_lost=0.1,
            simplify=False,
            heldout=heldout,
            **{name: folder / name for name in ("pairs", "heldout_pairs", "audit")},
        )

    return run


def damaged_audit(folder: Path) -> None:
    corpus([{"text": LONG}])(folder)
    audit = json.loads((folder / "audit").read_text())
    write("audit", json.dumps({**audit, "kept": 5}))(folder)
    merge_audits(audits=[folder / "audit"], out=folder / "audit.json", lang="en", heldout=0.0)


def other_versions(revisions: tuple[str, str]) -> Callable[[Path], None]:
    """Merge audits of shards that saw the hub at two commits; a source that is pinned sees one."""

    def run(folder: Path) -> None:
        corpus([{"text": LONG}])(folder)
        audit = json.loads((folder / "audit").read_text())
        paths = [
            write(f"audit-{i}", json.dumps({**audit, "resolved": {"a": {"revision": r}}}))(folder)
            for i, r in enumerate(revisions)
        ]
        merge_audits(audits=paths, out=folder / "audit.json", lang="en", heldout=0.0)

    return run


MANY = [{"text": f"{LONG}{i}"} for i in range(60)]
BOTH = [{"en": "One", "ko": "하나"}]
FILTERING = [
    Case(
        "Set `simplify` only for a language whose script is Han",
        corpus(MANY, simplify=True),
        None,
        corpus([{"text": "漢語" * 20}], simplify=True, letters={"drop": "Latin"}),
    ),
    Case(
        "Check its sources, and its letters policy, min_chars, max_deleted and heldout",
        corpus(MANY, min_chars=900),
        None,
        corpus(MANY),
    ),
    Case(
        "Check its sources, and its letters policy",
        corpus(MANY, letters={"drop": "Latin"}),
        None,
        corpus(MANY, letters={"drop": "Hangul"}),
    ),
    Case("Give a larger share", corpus(MANY, heldout=1e-12), None, corpus(MANY, heldout=0.3)),
    Case(
        "Give every row of a source its own `id`",
        corpus([{"id": "a", "text": LONG}, {"id": "a", "text": LONG + "b"}]),
        None,
        corpus([{"id": "a", "text": LONG}, {"id": "b", "text": LONG + "b"}]),
    ),
    Case(
        "and every source its own name",
        corpus(MANY, sources=[LOCAL, LOCAL]),
        None,
        corpus(MANY, sources=[LOCAL, {**LOCAL, "name": "other"}]),
    ),
    Case("Remake the shard: snakemake --forcerun filter_corpus", damaged_audit, None, corpus(MANY)),
    Case(
        "Pin the sources of corpora.en (revision, sha256) to one of them",
        other_versions(("a" * 40, "b" * 40)),
        None,
        other_versions(("a" * 40, "a" * 40)),
    ),
    Case("Give every source its own name", parallel(BOTH, ("a", "a")), None, parallel(BOTH, ("a", "b"))),
    Case(
        "Check the letters policies of both languages, the sources, and heldout",
        parallel([{"en": "하나", "ko": "하나"}]),
        None,
        parallel(BOTH),
    ),
    Case(
        "Write {keep: SCRIPT} or {drop: SCRIPT} with a Unicode script, one of",
        lambda _: LetterFilter({"only": "Latin"}),
        None,
        lambda _: LetterFilter({"keep": "Latin"}),
    ),
    Case(
        "with a Unicode script, one of",
        lambda _: LetterFilter({"keep": "latin"}),
        None,
        lambda _: LetterFilter({"keep": "Latin"}),
    ),
]

# --- where commands write, and tracing --------------------------------------------------------------------------------


def mentions(**changed: Any) -> Callable[[Path], None]:
    """Find the mentions of one question in one document."""

    def run(folder: Path) -> None:
        asked = {
            "question_id": "ko-1",
            "culture": "ko",
            "lang": "en",
            "subject_rule": "terms",
            "terms": ["capital"],
            "n_chunks": [1],
            "aliases": [],
            "gold": "Seoul",
            "distractors": [],
        }
        tables.write("subjects", [asked], folder / "subjects")
        document = {"doc_id": "a", "title": "", "text": "The capital is Seoul.", "source": "a", "n_chars": 9}
        if not (folder / "documents").exists():
            tables.write("documents", [document], folder / "documents")
        arguments: dict[str, Any] = {"window": 1, "max_chars": 100, "cultures": ["ko"]} | changed
        find_mentions(
            stream="mono-en",
            script="Latin",
            texts=[folder / "documents"],
            column="text",
            subjects=folder / "subjects",
            out=folder / "mentions",
            **arguments,
        )

    return run


def check(name: str, **arguments: Any) -> Callable[[Path], None]:
    return lambda folder: publish.check_file(folder / name, **{"inputs": [folder / "in"], **arguments})


def filtered(folder: Path) -> None:
    files = {"source": folder / "in.jsonl", "out": folder / "out.jsonl"}
    filter_file(lang="en", letters={"keep": "Latin"}, min_chars=0, max_deleted=1.0, **files)


PUBLISHING = [
    Case("Name a file for --out, such as", then(lambda f: (f / "out").mkdir(), check("out")), None, check("out/out")),
    Case(
        "Let the name of --out end in .csv, such as out.csv",
        check("out.txt", suffixes=[".csv"]),
        None,
        check("out.csv", suffixes=[".csv"]),
    ),
    Case("Name a file for --out", lambda _: publish.check_file("/dev/null"), None, check("out")),
    Case("Give --out another name", then(write("in", ""), check("in")), None, check("out")),
    Case("Give --out another name", check("n" * 250), None, check("n")),
    Case("Give --out another name", check("n" * 300), None, check("n")),
    Case("Give --out another place", then(write("in", ""), check("in/out")), None, check("out")),
    Case("Give --out another place", lambda _: publish.check_file("/proc/none/out"), None, check("out")),
    Case(
        "Name a folder for --out",
        then(write("in", ""), lambda f: publish.check_folder(f / "in", [])),
        None,
        lambda f: publish.check_folder(f / "other", []),
    ),
    Case(
        "Name a new folder for --out, such as",
        then(write("in", ""), lambda f: publish.check_folder(f, ["in"], empty=True)),
        None,
        lambda f: publish.check_folder(f / "published", ["in"], empty=True),
    ),
    Case(
        "Name a new folder for --out, or move the file away",
        then(write("in", ""), lambda f: publish.check_folder(f, ["in"], new=True)),
        lambda f: (f / "in").rename(f / "away"),
        lambda f: publish.check_folder(f, ["in"], new=True),
    ),
    Case(
        "Name a file that is there for IN", filtered, write("in.jsonl", jsonl({"text": "long enough " * 9})), filtered
    ),
]
TRACING = [
    Case("Give 1 or more of each", mentions(window=0), None, mentions(window=1)),
    Case("Remake the table with its questions", mentions(cultures=["zh"]), None, mentions()),
    Case(
        "Remake it with its rule",
        then(write("documents", "no"), mentions()),
        lambda f: (f / "documents").unlink(),
        mentions(),
    ),
    Case(
        "Remake it with its rule",
        then(write("mentions", "no"), lambda f: read_mentions(f / "mentions")),
        mentions(),
        lambda f: read_mentions(f / "mentions"),
    ),
]
CASES = [*READING, *FILTERING, *PUBLISHING, *TRACING]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_doing_what_an_error_advises_works(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_BOMB_BYTES", 1 << 20)
    follow(case, tmp_path)
