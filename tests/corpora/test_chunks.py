"""Chunks: nothing lost, nothing too long, and cuts where a reader would make them."""

from pathlib import Path

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from lorebridge import tables
from lorebridge.corpora.chunks import chunk_documents, cut
from lorebridge.errors import InputError

PIECES = st.sampled_from(
    [
        *"ab .!?…)”\n\r\u00a0\u202f\u0301\u200d\u0f72བ་།༎。！」가각ᠠ᠃ᠪ\u180b👩🇰\u1100\u1161\U0001f3fd",
        *["\r\n", ". ", "。\u0301"],
    ]
)
TEXTS = st.lists(st.one_of(PIECES, st.characters(exclude_categories=["Cs"])), max_size=60).map("".join)


@given(text=TEXTS, max_chars=st.integers(1, 20))
@example(text="a" * 30, max_chars=7)
@example(text="one.  two", max_chars=6)
def test_pieces_join_to_the_text_and_fit(text: str, max_chars: int) -> None:
    pieces = list(cut(text, max_chars))
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= max_chars for piece in pieces)


@given(text=TEXTS, max_chars=st.integers(1, 20))
@example(text="\r\n\u0301", max_chars=2)
def test_no_cut_inside_a_grapheme_that_fits(text: str, max_chars: int) -> None:
    end = 0
    for piece in cut(text, max_chars):
        start, end = end, end + len(piece)
        # What is a grapheme is told from where the piece starts, as for every reader of the pieces.
        graphemes = regex.findall(r"\X", text[start:])
        bounds = {sum(map(len, graphemes[:i])) for i in range(len(graphemes) + 1)}
        assert len(piece) in bounds or len(graphemes[0]) > max_chars


@pytest.mark.parametrize(
    ("text", "max_chars", "pieces"),
    [
        ("aaaaaa.\nbb. cc\ndd", 12, ["aaaaaa.\n", "bb. cc\ndd"]),
        ("aa. bb\nccc ccc ccc. dd", 14, ["aa. bb\n", "ccc ccc ccc. ", "dd"]),
        ("a\nbbb. cccc. ddd", 12, ["a\nbbb. ", "cccc. ddd"]),
        ("pi is 3.14159 it is", 12, ["pi is 3.1415", "9 it is"]),
        ("He said “no.” So we go", 16, ["He said “no.” ", "So we go"]),
        ("我来了。他说：“好。”走了", 11, ["我来了。他说：“好。”", "走了"]),
        ("བོད་སྐད། །ཡི་གེ་རེད།", 12, ["བོད་སྐད། །", "ཡི་གེ་རེད།"]),
        ("ᠠᠪᠠ ᠪᠢ᠃ ᠡᠨᠡ ᠪᠣᠯ᠃", 12, ["ᠠᠪᠠ ᠪᠢ᠃ ", "ᠡᠨᠡ ᠪᠣᠯ᠃"]),
        ("가나다. 라마바", 20, ["가나다. 라마바"]),
        ("", 5, []),
    ],
)
def test_cuts_at_paragraphs_then_sentences(text: str, max_chars: int, pieces: list[str]) -> None:
    assert list(cut(text, max_chars)) == pieces


def documents(path: Path, texts: dict[str, str]) -> Path:
    rows = [{"doc_id": k, "title": "", "text": v, "source": "s", "n_chars": len(v)} for k, v in texts.items()]
    tables.write("documents", rows, path)
    return path


def test_chunks_of_all_shards(tmp_path: Path) -> None:
    texts = {"s/1": "One. Two. Three. ", "s/2": "short", "s/3": "x" * 25}
    first = documents(tmp_path / "a.parquet", {key: texts[key] for key in ("s/1", "s/2")})
    second = documents(tmp_path / "b.parquet", {"s/3": texts["s/3"]})
    chunk_documents(documents=[first, second], max_chars=10, chunks=tmp_path / "c.parquet")
    chunks = tables.read(tmp_path / "c.parquet")
    assert chunks.chunk_id.tolist() == ["s/1#0", "s/1#1", "s/2#0", "s/3#0", "s/3#1", "s/3#2"]
    assert chunks.groupby("doc_id").text.sum().to_dict() == {
        "s/1": "One. Two. Three. ",
        "s/2": "short",
        "s/3": "x" * 25,
    }
    assert (chunks.n_chars == chunks.text.str.len()).all()
    before = (tmp_path / "c.parquet").read_bytes()
    chunk_documents(documents=[first, second], max_chars=10, chunks=tmp_path / "c.parquet")
    assert (tmp_path / "c.parquet").read_bytes() == before


def test_bad_arguments(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no")
    with pytest.raises(InputError, match=r"a\.parquet: cannot be read"):
        chunk_documents(documents=[tmp_path / "a.parquet"], chunks=tmp_path / "c.parquet")
    assert not (tmp_path / "c.parquet").exists()
    with pytest.raises(InputError, match="max_chars: 0 leaves no room"):
        chunk_documents(documents=[], max_chars=0, chunks=tmp_path / "c.parquet")
