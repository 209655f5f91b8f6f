import gzip
import itertools
import json
from pathlib import Path

import pytest

from lorebridge import tables


@pytest.fixture(scope="session")
def write_chunks():
    def write(path: Path, texts: dict[str, str]) -> Path:
        """Write chunk ids and texts as table "chunks"."""
        rows = [
            {"chunk_id": chunk_id, "doc_id": chunk_id.rsplit("#", 1)[0], "text": text, "n_chars": len(text)}
            for chunk_id, text in texts.items()
        ]
        tables.write("chunks", rows, path)
        return path

    return write


@pytest.fixture(scope="session")
def write_questions():
    def write(path: Path, culture: str, asked: dict[str, list[tuple[str, list[str], str]]]) -> Path:
        """Write (text, options, gold) for each language as table "questions"."""
        rows = [
            {
                "question_id": f"{culture}-{index:04d}",
                "culture": culture,
                "lang": lang,
                "text": text,
                "option_index": option_index,
                "option": option,
                "is_gold": option == gold,
                "subset": ["reference"],
                "n_blanks": text.count("_"),
            }
            for lang, items in asked.items()
            for index, (text, options, gold) in enumerate(items)
            for option_index, option in enumerate(options)
        ]
        tables.write("questions", rows, path)
        return path

    return write


@pytest.fixture(scope="session")
def released():
    def read(folder: Path, culture: str, lang: str) -> list[tuple[str, list[str], str]]:
        """Read a question file in the released shape."""
        items = json.loads((folder / f"{culture}-culture-cloze_{lang}.json").read_text(encoding="utf-8"))
        return [(item["question"], item["options"], item["answer"]) for item in items]

    return read


@pytest.fixture(scope="session")
def passages():
    def read(path: Path, limit: int | None = None) -> dict[str, str]:
        """Read the texts of a corpus file by chunk id, cut at 5,000 characters."""
        texts = {}
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in itertools.islice(file, limit):
                row = json.loads(line)
                for part, start in enumerate(range(0, len(row["text"]), 5000)):
                    texts[f"{row['source']}/{row['id']}#{part}"] = row["text"][start : start + 5000]
        return texts

    return read
