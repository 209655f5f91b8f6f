"""Readers of the file formats that text comes in: columns in batches, so that memory holds a few megabytes of a file.

Every reader is a function of a file, its :class:`Columns`, and a part of the file (`part` of `parts`); it yields pairs
of row numbers (int64, from 1, ascending) and a record batch. Every row of a file is in exactly one part, and has the
same number whichever part it is read in. What reaches a batch has been checked: required columns are strings in every
row, and all strings are UTF-8. A row that is not so ends the reading with an error that names it.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import io
import itertools
import json
import lzma
import re
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq
import regex
from isal import igzip, isal_zlib

from lorebridge.corpora.specs import RepeatedKey, unique_keys
from lorebridge.errors import InputError, said, told

Rows = tuple[npt.NDArray[np.int64], pa.RecordBatch]

_BLOCK = 1 << 20  # bytes of lines that become one batch
_PARQUET_ROWS, _PARQUET_PAIRS = 1024, 16384  # the halves of pairs are sentences
# Deflate cannot shrink text a hundredfold: an archive that claims so would fill memory with one line.
_BOMB_RATIO, _BOMB_BYTES = 200, 1 << 28
_DAMAGED = (EOFError, zlib.error, cast(type[Exception], isal_zlib.error), igzip.BadGzipFile, zipfile.BadZipFile)
# What zipfile raises of an archive that is torn, or packed in a way that Python does not know (deflate64, say).
_NO_ZIP = (*_DAMAGED, NotImplementedError, UnicodeDecodeError, lzma.LZMAError, RuntimeError, struct.error, ValueError)
_GZIP = b"\x1f\x8b"
_NO_LINES = (
    (b"\x28\xb5\x2f\xfd", "packed by zstd", "Unpack it, or pack it by gzip."),
    (b"\xfd7zXZ\0", "packed by xz", "Unpack it, or pack it by gzip."),
    (b"BZh", "packed by bzip2", "Unpack it, or pack it by gzip."),
    (b"PK\x03\x04", "a zip", "Unpack it, or pack it by gzip; a zip of line-aligned files is called *.zip."),
    (b"PAR1", "Parquet", "Call it *.parquet."),
    (codecs.BOM_UTF16_LE, "in UTF-16", "Convert the file to UTF-8."),
    (codecs.BOM_UTF16_BE, "in UTF-16", "Convert the file to UTF-8."),
)
# What a column of text may be called, beside the language's code: a first line of nothing else is no pair.
_HEADINGS = {"source", "src", "target", "tgt", "trg", "text", "sentence", "sentence1", "sentence2"}
_HEADINGS |= {"translation", "eng", "document", "content", "id", "line", "sent", "segment"}
# Or a language's name.
_HEADINGS |= {"arabic", "bengali", "bulgarian", "chinese", "czech", "danish", "dutch", "english", "estonian", "finnish"}
_HEADINGS |= {"french", "german", "greek", "hebrew", "hindi", "hungarian", "indonesian", "italian", "japanese"}
_HEADINGS |= {"kazakh", "khmer", "korean", "lao", "latvian", "lithuanian", "malay", "mandarin", "mongolian", "nepali"}
_HEADINGS |= {"norwegian", "persian", "polish", "portuguese", "romanian", "russian", "serbian", "slovak", "slovenian"}
_HEADINGS |= {"spanish", "swahili", "swedish", "tamil", "telugu", "thai", "tibetan", "turkish", "ukrainian", "urdu"}
_HEADINGS |= {"uyghur", "uzbek", "vietnamese"}
# Names of languages in their own words and in each other's, by the English name; and what a side of a pair is called.
# They may be written together (영어문장, 汉语句子), and Tibetan has a sign between syllables.
_NAMES_OF = {
    "english": "영어 영문 英语 英語 英文 དབྱིན་ཡིག དབྱིན་སྐད དབྱིན་ཇིའི་སྐད ᠠᠩᠭᠯᠢ англи английский англійська الإنجليزية إنجليزي "
    "انگلیسی अंग्रेज़ी अंग्रेजी anglais englisch inglés inglês inglese ingilizce αγγλικά אנגלית ภาษาอังกฤษ",
    "korean": "한국어 한국말 한글 국어 조선어 조선말 韩语 韓語 韩文 韓文 韩国语 韓國語 韓国語 朝鲜语 朝鮮語 ཀོ་རི་ཡའི་སྐད "
    "ཀོ་རི་ཡའི་ཡིག ᠰᠣᠯᠣᠩᠭᠣᠰ солонгос корейский الكورية कोरियाई coréen koreanisch coreano",
    "chinese": "중국어 중문 한문 中文 汉语 漢語 华语 華語 中国語 國語 国语 普通话 རྒྱ་ཡིག རྒྱ་སྐད ᠬᠢᠲᠠᠳ хятад "
    "китайский الصينية चीनी chinois chinesisch chino",
    "tibetan": "티베트어 티벳어 藏语 藏語 藏文 チベット語 བོད་ཡིག བོད་སྐད ᠲᠥᠪᠡᠳ төвд тибетский",
    "mongolian": "몽골어 몽고어 蒙古语 蒙古語 蒙语 蒙語 蒙文 蒙古文 モンゴル語 སོག་ཡིག སོག་སྐད ᠮᠣᠩᠭᠣᠯ ᠮᠣᠩᠭᠤᠯ монгол "
    "монгольский",
    "japanese": "일본어 日语 日語 日文 日本語 японский",
    "russian": "러시아어 俄语 俄語 俄文 ロシア語 орос русский",
    "arabic": "아랍어 阿拉伯语 阿拉伯語 арабский العربية عربي",
    "hindi": "힌디어 印地语 हिन्दी हिंदी",
    "german": "독일어 德语 немецкий deutsch",
    "french": "프랑스어 法语 французский français",
    "spanish": "스페인어 西班牙语 español",
    "portuguese": "português",
    "italian": "italiano",
    "vietnamese": "베트남어 越南语 tiếngviệt",
    "thai": "태국어 泰语 ไทย ภาษาไทย",
    "turkish": "türkçe",
    "persian": "فارسی",
    "greek": "ελληνικά",
    "hebrew": "עברית",
    "ukrainian": "українська",
    "": "원문 원어 번역 번역문 문장 텍스트 본문 소스 타겟 타깃 原文 译文 譯文 翻译 翻譯 翻訳 訳文 源语言 目标语言 句子 "
    "文本 ཡིག སྐད ᠬᠡᠯᠡ ᠪᠢᠴᠢᠭ хэл бичиг язык перевод оригинал предложение текст वाक्य",
}
_LANGUAGE_OF = {
    word: language
    for language, words in _NAMES_OF.items()
    for word in unicodedata.normalize("NFC", words).casefold().split()
}
_NAMES = "|".join(sorted(_LANGUAGE_OF, key=len, reverse=True))
_NAMED = regex.compile(rf"(?:({_NAMES})[་།]*)+")
_QUOTED = '^"(?s:[^"]|"")*""(?s:[^"]|"")*"$'
_MEND_JSON = 'Write one JSON object a line, such as {"id": "1", "text": "..."}.'


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns that are read: names in the batch, and what the file calls them.

    Attributes:
        required: columns that every row must have as a string; they have no nulls.
        optional: columns that a row may lack; an integer is spelt out, "" is null.
        fields: the file's column of a name where it differs; a dot goes into a nested object
            (``translation.eng_Latn``).
    """

    required: Sequence[str]
    optional: Sequence[str]
    fields: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        """All names, the required ones first."""
        return [*self.required, *self.optional]

    def column(self, name: str) -> str:
        """Return what the file calls a column."""
        return self.fields.get(name, name)

    def batch(self, columns: Sequence[pa.Array]) -> pa.RecordBatch:
        """Put columns, in the order of `names`, together."""
        return pa.RecordBatch.from_arrays(columns, names=self.names)


def place(file: object, number: int) -> str:
    """Name a row for a message."""
    return f"{file}, row {number}"


def _no_column(where: object, column: str, name: str, have: Sequence[str]) -> InputError:
    """Return the error of a row or file without a required column."""
    there = ", ".join(f"`{key}`" for key in have) or "nothing"
    return InputError(
        where,
        f"no `{column}` (there is {there})",
        f"Give every row a string `{column}`, or name the column that holds it under `fields` of the source: "
        f"{{{name}: COLUMN}}.",
    )


def _not_string(where: object, column: str, kind: str) -> InputError:
    return InputError(where, f"`{column}` is not a string but {kind}", "Make it a string in every row.")


def _not_utf8(where: object, error: UnicodeDecodeError) -> InputError:
    return InputError(where, f"not UTF-8 at byte {error.start} ({error.reason})", "Convert the file to UTF-8.")


def _damaged(file: object, number: int, error: Exception) -> InputError:
    return InputError(file, f"truncated or damaged after row {number} ({error})", "Fetch or write the file again.")


# --- files of lines -----------------------------------------------------------------------------------------------


def _open_lines(path: Path) -> IO[bytes]:
    """Open a file of lines, plain or gzip, whatever its name says.

    Raises:
        InputError: it is packed in another way, is no file of lines, or is in UTF-16.
    """
    with path.open("rb") as file:
        beginning = file.read(6)
    if path.suffix == ".gz" or beginning.startswith(_GZIP):
        return cast(IO[bytes], igzip.open(path, "rb"))
    for magic, what, mend in _NO_LINES:
        if beginning.startswith(magic):
            raise InputError(path, f"is {what}, whatever its name says", mend)
    return path.open("rb")


def _blocks(path: Path, part: int, parts: int) -> Iterator[tuple[npt.NDArray[np.int64], bytes]]:
    """Yield the lines of one part of a plain or gzip file, split at U+000A alone, about a megabyte joined at a time.

    A byte order mark is left out.
    """
    number = 0
    try:
        with _open_lines(path) as file:
            while block := file.read(_BLOCK):
                block += file.readline()
                if not number:
                    block = block.removeprefix(codecs.BOM_UTF8)
                n = block.count(b"\n") + (not block.endswith(b"\n"))
                first = (part - number - 1) % parts
                numbers = np.arange(number + 1 + first, number + 1 + n, parts)
                number += n
                if len(numbers):
                    yield numbers, block if parts == 1 else b"\n".join(_lines(block)[first::parts])
    except _DAMAGED as error:
        raise _damaged(path, number, error) from error


def _lines(block: bytes) -> list[bytes]:
    """Return the lines of a block, without their ends."""
    return block.removesuffix(b"\n").split(b"\n")


def read_jsonl(path: Path, columns: Columns, part: int = 0, parts: int = 1) -> Iterator[Rows]:
    """Read a file of JSON objects, one a line, plain or gzip; blank lines are no rows.

    A row is what :func:`json.loads` says of its line, and no key that is read stands twice. A column that is read may
    not hold a lone surrogate (``\\ud800``), which is no Unicode text and which Parquet cannot hold; U+0000 is text.

    Raises:
        InputError: a row is not a JSON object, lacks a column or has it twice, has one of another type, or is not
            UTF-8; the gzip is truncated or damaged.
    """
    for numbers, block in _blocks(path, part, parts):
        batch = _parse(block, len(numbers), columns)
        if batch is None:
            lines = _lines(block)
            filled = [i for i, line in enumerate(lines) if line and not line.isspace()]
            numbers = numbers[filled]
            batch = _decode(path, numbers, [lines[i] for i in filled], columns)
        if len(numbers):
            yield numbers, batch


def _parse(block: bytes, n: int, columns: Columns) -> pa.RecordBatch | None:
    """Return the columns of `n` rows in the plainest form, or None: then each row is looked at by itself.

    Arrow reads a block faster than Python reads its lines, but says little of what it refuses, and takes what is no
    row: one object on two lines, or two on one. It cannot where a brace stands on both sides of every line end.
    """
    wanted = list(dict.fromkeys(map(columns.column, columns.names)))
    if any("." in column for column in wanted):
        return None
    block = block.removesuffix(b"\n")
    if not block.startswith(b"{") or not block.endswith(b"}") or block.count(b"}\n{") != n - 1:
        return None
    try:
        ends = pa.array([0, len(block)], pa.int32()).buffers()[1]
        pa.StringArray.from_buffers(1, ends, pa.py_buffer(block)).validate(full=True)
        table = pj.read_json(
            pa.BufferReader(block),
            pj.ReadOptions(use_threads=False, block_size=len(block) + 1),
            pj.ParseOptions(pa.schema([(column, pa.string()) for column in wanted]), False, "ignore"),
        )
    except pa.ArrowInvalid:
        return None
    arrays = [table[columns.column(name)].combine_chunks() for name in columns.names]
    if len(table) != n or any(array.null_count for array in arrays[: len(columns.required)]):
        return None
    if any(_may_repeat(block, columns.column(name), array) for name, array in zip(columns.names, arrays, strict=True)):
        return None
    return columns.batch(_null_empty(columns, arrays))


def _may_repeat(block: bytes, column: str, values: pa.Array) -> bool:
    """Say whether a row may have a column twice: its name stands there more often than it has values or nulls."""
    key = json.dumps(column, ensure_ascii=False).encode()
    nulls = sum(block.count(key + colon + b"null") for colon in (b":", b": ")) if values.null_count else 0
    return block.count(key) > len(values) - values.null_count + nulls


def _decode(path: Path, numbers: npt.NDArray[np.int64], lines: Sequence[bytes], columns: Columns) -> pa.RecordBatch:
    """Return the columns of rows, each looked at by itself.

    Raises:
        InputError: names the first row that is malformed.
    """
    found: list[list[str | None]] = [[] for _ in columns.names]
    row = unique_keys({key for name in columns.names for key in columns.column(name).split(".")})
    for number, line in zip(numbers, lines, strict=True):
        where = place(path, int(number))
        try:
            values = json.loads(line.decode(), object_pairs_hook=row)
        except UnicodeDecodeError as error:
            raise _not_utf8(where, error) from error
        except RepeatedKey as error:
            raise InputError(where, str(error), "Take one of the two out.") from error
        except (ValueError, RecursionError) as error:
            raise InputError(where, f"not JSON ({error})", _MEND_JSON) from error
        if not isinstance(values, dict):
            raise InputError(where, f"not a JSON object but {type(values).__name__}", _MEND_JSON)
        for name, texts in zip(columns.names, found, strict=True):
            texts.append(_string(where, values, columns, name))
    return columns.batch([pa.array(texts, pa.string()) for texts in found])


def _string(where: str, values: Mapping[str, Any], columns: Columns, name: str) -> str | None:
    """Return a column of a row, None where an optional one is missing or empty.

    Raises:
        InputError: it is missing, of another type, or no Unicode text.
    """
    column, value = columns.column(name), cast(Any, values)
    for key in column.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    required = name in columns.required
    if value is None and required:
        raise _no_column(where, column, name, [key for key, value in values.items() if value is not None])
    if type(value) is int and not required:
        return str(value)
    if value is not None and not isinstance(value, str):
        raise _not_string(where, column, type(value).__name__)
    try:
        (value or "").encode()
    except UnicodeEncodeError as error:
        raise InputError(
            where,
            f"`{column}` holds half a surrogate pair at character {error.start}",
            "Write the file as UTF-8 again from its origin.",
        ) from error
    return value if required else value or None


def read_tsv(
    path: Path, columns: Columns, header: Sequence[str] | None, part: int = 0, parts: int = 1, *, quoted: bool = False
) -> Iterator[Rows]:
    """Read a file of lines of tab-separated values, plain or gzip, without quoting.

    Args:
        path: the file.
        columns: what to read; the column of a name is one of `header`.
        header: what the values of a line are called, in order; None where the first line says so. A line may have
            more values.
        part: which part of the file.
        parts: the number of parts.
        quoted: whether a value may look as if a spreadsheet had quoted it.

    Raises:
        InputError: a column is not in `header`, or the first line names the columns although `header` does; a line has
            too few values, is quoted, or is not UTF-8; or the gzip is damaged.
    """
    first = _first_line(path)
    named = header is None
    header = first if header is None else header
    for name in columns.names:
        if header.count(column := columns.column(name)) > 1:
            raise InputError(
                place(path, 1) if named else path,
                f"two columns are called `{column}`",
                "Rename one of them in the first line." if named else "Rename one of them in `columns` of the source.",
            )
    # A column that the source renames must be there, the optional ones too.
    for name in [*columns.required, *(name for name in columns.optional if name in columns.fields)]:
        if columns.column(name) not in header:
            raise _no_column(path, columns.column(name), name, header)
    if not named:
        _refuse_names(path, columns, header, first)
    places = [header.index(columns.column(n)) if columns.column(n) in header else None for n in columns.names]
    least = 1 + max(at for at in places if at is not None)
    for numbers, block in _blocks(path, part, parts):
        rows = [line.removesuffix(b"\r").split(b"\t", least) for line in _lines(block)]
        if named and numbers[0] == 1:
            numbers, rows = numbers[1:], rows[1:]
            if not rows:
                continue
        for number, row in zip(numbers, rows, strict=True):
            if len(row) < least:
                raise InputError(
                    place(path, int(number)),
                    f"{len(row)} tab-separated values, not the {least} that hold {', '.join(columns.names)}",
                    "Fetch the file again, take the line out, or correct `columns` of the source.",
                )
        arrays = [
            pa.nulls(len(rows), pa.string()) if at is None else _decoded(path, numbers, [row[at] for row in rows])
            for at in places
        ]
        if not quoted:
            for name, array in zip(columns.required, arrays, strict=False):
                _refuse_quotes(path, numbers, columns.column(name), array)
        yield numbers, columns.batch(_null_empty(columns, arrays))


def _first_line(path: Path) -> list[str]:
    """Return the values of the first line of a file, none of an empty one."""
    try:
        with _open_lines(path) as file:
            line = file.readline(_BLOCK)
    except _DAMAGED as error:
        raise _damaged(path, 0, error) from error
    _refuse_returns(path, line)
    line = line.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n")
    return line.decode(errors="replace").split("\t") if line else []


def _refuse_returns(path: Path, line: bytes) -> None:
    """Refuse a file whose lines end in U+000D alone: all of it would be one line.

    Args:
        path: the file.
        line: its first line, with its end.
    """
    if not line.endswith(b"\n") and b"\r" in line.rstrip(b"\r"):
        raise InputError(
            path, "its lines end in carriage returns alone", "Convert them: `tr '\\r' '\\n' < FILE > OTHER`."
        )


def _refuse_names(path: Path, columns: Columns, header: Sequence[str], first: Sequence[str]) -> None:
    """Refuse a file whose first line names the columns although the source does.

    Raises:
        InputError: the first line repeats the names, or holds nothing but what columns of text are called.
    """
    values = [unicodedata.normalize("NFC", value.strip().strip('"')).casefold() for value in first]
    wanted = [header.index(columns.column(name)) for name in columns.required]
    texts = [values[place] for place in wanted if place < len(values)]
    repeats = values[: len(header)] == [name.casefold() for name in header]
    words = _HEADINGS | {name.casefold() for name in columns.required}
    named = [_heads_column(text, words) for text in texts]
    # The name of one language in two is a pair of texts: English, 영어.
    pair = len(named) > 1 and bool(named[0]) and all(languages == named[0] for languages in named)
    if repeats or (len(texts) == len(wanted) and not pair and all(languages is not None for languages in named)):
        raise InputError(
            place(path, 1),
            f"names the columns ({', '.join(first)})",
            "Leave out `columns` of the source, so that this line names them, or remove the line.",
        )


def _heads_column(text: str, words: Collection[str]) -> set[str] | None:
    """Say whether a value is what a column of text is called: ``text_ko``, ``korean``, ``한국어``, ``kor_hang``.

    Args:
        text: the value, in small letters.
        words: what columns are called in English.

    Returns:
        The languages that it names by their names, in English; None where it is no such value.
    """
    parts = regex.findall(r"[\p{L}\p{M}\p{N}་།]+", text)
    languages: set[str] = set()
    for part in parts:
        if part in words:
            languages |= {part} & _NAMES_OF.keys()
        elif found := _NAMED.fullmatch(part):
            languages |= {_LANGUAGE_OF[word] for word in found.captures(1)}
        elif not re.fullmatch("[a-z]{3}_[a-z]{4}", text):
            return None
    return languages - {""} if parts else None


def _refuse_quotes(path: Path, numbers: npt.NDArray[np.int64], column: str, texts: pa.Array) -> None:
    """Refuse values in quotes within which quotes are doubled, as spreadsheets and CSV write them.

    Raises:
        InputError: names the first row.
    """
    quoted = pc.match_substring_regex(texts, _QUOTED)
    if (row := pc.index(quoted, True).as_py()) >= 0:
        raise InputError(
            place(path, int(numbers[row])),
            f"`{column}` is quoted as a spreadsheet does it ({texts[row].as_py()[:60]})",
            "Write the values as they are, one pair a line, or write JSONL.",
        )


def _decoded(file: object, numbers: npt.NDArray[np.int64], texts: Sequence[bytes]) -> pa.Array:
    """Return bytes as strings.

    Raises:
        InputError: names the first row that is not UTF-8.
    """
    try:
        return pa.array(texts, pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        for number, text in zip(numbers, texts, strict=True):
            try:
                text.decode()
            except UnicodeDecodeError as error:
                raise _not_utf8(place(file, int(number)), error) from error
        raise


def _null_empty(columns: Columns, arrays: Sequence[pa.Array]) -> list[pa.Array]:
    """Return columns with null for "" in the optional ones."""
    n = len(columns.required)
    return [*arrays[:n], *(pc.if_else(pc.equal(array, ""), None, array) for array in arrays[n:])]


# --- Parquet ------------------------------------------------------------------------------------------------------


def read_parquet(path: Path, columns: Columns, part: int = 0, parts: int = 1) -> Iterator[Rows]:
    """Read a Parquet file, no more of it at once than a batch and the buffers of its columns.

    Row groups are dealt out to the parts where there are enough of them, so that a part reads its own alone; else
    every part reads the file and takes its rows.

    Raises:
        InputError: the file is not Parquet, lacks a column, or has one of another type; a row lacks a column or is
            not UTF-8.
    """
    number = 0
    try:
        # A buffer for each column in place of whole column chunks, which can be hundreds of megabytes.
        with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
            schema = file.schema_arrow
            for name in columns.names:
                if schema.names.count(top := columns.column(name).split(".")[0]) > 1:
                    raise InputError(path, f"two columns are called `{top}`", "Write the file with one of them.")
            have = [name for name in columns.names if _field(schema, columns.column(name)) is not None]
            for name in columns.required:
                if name not in have:
                    raise _no_column(path, columns.column(name), name, schema.names)
            for name in have:
                _check_type(path, schema, columns, name)
            for name in columns.optional:
                if name in columns.fields and name not in have:
                    raise _no_column(path, columns.column(name), name, schema.names)
            wanted = list(dict.fromkeys(columns.column(name) for name in have))
            groups = file.num_row_groups
            by_group = groups >= parts
            size = _PARQUET_ROWS if len(columns.required) == 1 else _PARQUET_PAIRS
            for group in range(groups):
                end = number + file.metadata.row_group(group).num_rows
                if by_group and group % parts != part:
                    number = end
                    continue
                for batch in file.iter_batches(size, row_groups=[group], columns=wanted):
                    numbers = np.arange(number + 1, number + 1 + len(batch))
                    number += len(batch)
                    if not by_group:
                        mine = np.flatnonzero(numbers % parts == part)
                        numbers, batch = numbers[mine], batch.take(pa.array(mine))
                    if len(batch):
                        arrays = [_strings(path, numbers, batch, columns, name, name in have) for name in columns.names]
                        yield numbers, columns.batch(_null_empty(columns, arrays))
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            path, f"cannot be read as Parquet after row {number} ({error})", "Fetch or write the file again."
        ) from error


def _field(schema: pa.Schema, column: str) -> pa.DataType | None:
    """Return the type of a dotted column, or None."""
    kind: pa.DataType = pa.struct(schema)
    for key in column.split("."):
        if not pa.types.is_struct(kind) or kind.get_field_index(key) < 0:
            return None
        kind = kind.field(key).type
    return kind


def _check_type(path: Path, schema: pa.Schema, columns: Columns, name: str) -> None:
    """Refuse a column that does not hold strings (or integers or nothing, where it is optional)."""
    kind: Any = _field(schema, columns.column(name))
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    strings = pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)
    if not strings and (name in columns.required or not (pa.types.is_integer(value) or pa.types.is_null(value))):
        raise _not_string(path, columns.column(name), str(kind))


def _strings(
    path: Path, numbers: npt.NDArray[np.int64], batch: pa.RecordBatch, columns: Columns, name: str, present: bool
) -> pa.Array:
    """Return a column of a batch as strings, checked.

    Raises:
        InputError: names the first row without a required string, or that is not UTF-8.
    """
    if not present:
        return pa.nulls(len(batch), pa.string())
    top, *inner = columns.column(name).split(".")
    array = batch.column(top)
    for key in inner:
        array = pc.struct_field(array, key)
    array = array.cast(pa.string())
    if name in columns.required and array.null_count:
        row = int(numbers[pc.index(pc.is_null(array), True).as_py()])
        raise _no_column(place(path, row), columns.column(name), name, batch.schema.names)
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        for number, text in zip(numbers, array.cast(pa.binary()).to_pylist(), strict=True):
            try:
                (text or b"").decode()
            except UnicodeDecodeError as error:
                raise _not_utf8(place(path, int(number)), error) from error
        raise
    return array


# --- line-aligned files -------------------------------------------------------------------------------------------


def read_moses(path: Path, columns: Columns, part: int = 0, parts: int = 1) -> Iterator[Rows]:
    """Read two line-aligned files in a zip, each named ``*.<language>`` (the required columns).

    Members of a zip are read as streams: nothing is unpacked, so that no name in the archive can lead elsewhere.

    Raises:
        InputError: not one file for each language, one ends before the other or is packed once more, a line is not
            UTF-8, or the zip is damaged, encrypted, or blown up.
    """
    with contextlib.ExitStack() as stack:
        with _zipped(path):
            halves = _open_halves(path, columns, stack)
        number = 0
        while True:
            with _zipped(path, number):
                lines = [list(itertools.islice(half, 8192)) for half in halves]
            if not number:
                for name, half in zip(columns.required, lines, strict=True):
                    _refuse_packed(path, name, half[0] if half else b"")
            lengths = [len(half) for half in lines]
            if min(lengths) != max(lengths):
                short = columns.required[lengths.index(min(lengths))]
                raise InputError(
                    path,
                    f"the {short} file ends before row {number + min(lengths) + 1}, the other goes on",
                    "Fetch both files again: pairs are told by their line numbers.",
                )
            if not lengths[0]:
                return
            if not number:
                for half in lines:
                    if lengths[0] == 1:
                        _refuse_returns(path, half[0])
                    half[0] = half[0].removeprefix(codecs.BOM_UTF8)
            first = (part - number - 1) % parts
            numbers = np.arange(number + 1 + first, number + 1 + lengths[0], parts)
            number += lengths[0]
            if len(numbers):
                texts = [[line.rstrip(b"\r\n") for line in half[first::parts]] for half in lines]
                arrays = [_decoded(path, numbers, half) for half in texts]
                arrays += [pa.nulls(len(numbers), pa.string()) for _ in columns.optional]
                yield numbers, columns.batch(arrays)


@contextlib.contextmanager
def _zipped(path: Path, number: int | None = None) -> Iterator[None]:
    """Tell of a zip that cannot be opened, or not be read after some rows.

    Raises:
        InputError: it is torn, or packed in a way that is not known.
    """
    try:
        yield
    except (*_NO_ZIP, OSError) as error:
        if told(error):
            raise  # of the system: others are bzip2's, or of a place that a torn archive names
        if number is not None:
            raise _damaged(path, number, error) from error
        mend = "Fetch the file again; or unpack it, and pack it by `zip`."
        raise InputError(path, f"not a zip that can be read ({said(error)})", mend) from error


def _refuse_packed(path: Path, name: str, beginning: bytes) -> None:
    """Refuse a file in a zip that is packed once more, or is in UTF-16; its lines would be nonsense.

    Args:
        path: the zip.
        name: the language of the file.
        beginning: of the file.
    """
    for magic, what, _ in ((_GZIP, "packed by gzip", ""), *_NO_LINES):
        if beginning.startswith(magic):
            raise InputError(path, f"the {name} file in it is {what}", "Put it into the zip as plain text in UTF-8.")


def _open_halves(path: Path, columns: Columns, stack: contextlib.ExitStack) -> list[IO[bytes]]:
    """Open the file of each language."""
    archive = stack.enter_context(zipfile.ZipFile(path))
    halves = []
    for name in columns.required:
        member = archive.getinfo(_one(path, sorted(archive.namelist()), columns, name))
        if member.flag_bits & 1:
            raise InputError(path, f"{member.filename} is encrypted", "Give an archive without a password.")
        if member.file_size > max(_BOMB_BYTES, _BOMB_RATIO * member.compress_size):
            raise InputError(
                path,
                f"{member.filename} claims {member.file_size:,} bytes in {member.compress_size:,}: that is no text",
                "Fetch the archive again from its origin.",
            )
        # The lines of a member itself are read by Python, one call each.
        halves.append(stack.enter_context(io.BufferedReader(cast(io.RawIOBase, archive.open(member)), 1 << 20)))
    return cast(list[IO[bytes]], halves)


def _one(path: Path, names: Sequence[str], columns: Columns, language: str) -> str:
    """Return the only name that ends in a language."""
    suffix = "." + columns.column(language)
    found = [name for name in names if name.endswith(suffix)]
    if len(found) != 1:
        raise InputError(
            path,
            f"{len(found)} files end in {suffix} (there are {', '.join(names) or 'none'})",
            f"Keep one file a language, or name its ending under `fields` of the source: {{{language}: ENDING}}.",
        )
    return found[0]
