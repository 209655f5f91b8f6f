"""Every advice on tokenizers, token stores and data orders is followed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models

from advised import Case, follow, name_of
from lorebridge import tables
from lorebridge.tokens.arms import template_labels
from lorebridge.tokens.mixture import draw_mixture
from lorebridge.tokens.order import read_notes
from lorebridge.tokens.reader import OrderReader, show_batch
from lorebridge.tokens.store import Store, build_store
from lorebridge.tokens.tokenizer import (
    BulkEncoder,
    fetch_tokenizer,
    load_tokenizer,
    tokenizer_fingerprint,
    train_on_corpora,
    train_tokenizer,
)

sys.path.insert(0, str(Path(__file__).parent / "tokens"))
from invented import Study, invented_texts, make_study

MADE: dict[Path, Study] = {}


def study(folder: Path) -> Study:
    """Return a study of 71 documents and 151 pairs, made once beside the folders of the cases; its orders are apart."""
    if folder.parent not in MADE:
        MADE[folder.parent] = make_study(folder.parent / "study", *invented_texts(0))
    made = MADE[folder.parent]
    return Study(folder, made.tokenizer, made.stores, made.pairs)


def evaluated(changes: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return arguments, of which functions are called with the folder."""
    return {name: value(folder) if callable(value) else value for name, value in changes.items()}


def drawn(arm: str = "bridge", lacking: str = "", **changes: Any) -> Callable[[Path], Path]:
    def run(folder: Path) -> Path:
        made = study(folder)
        stores = {name: path for name, path in made.stores.items() if name != lacking}
        return made.draw(
            arm, name="order", stores=stores, **{k: v(folder) if callable(v) else v for k, v in changes.items()}
        )

    return run


def order(advice: str, wrong: dict[str, Any], mended: dict[str, Any], arm: str = "bridge") -> Case:
    return Case(advice, drawn(**{"arm": arm, **wrong}), None, drawn(**{"arm": arm, **mended}))


TWO = {"a": "mono-ko", "b": "pairs-ko-en"}


def mixed(**changes: Any) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        made = study(folder)
        arguments: dict[str, Any] = {
            "shares": None,
            "temperature": None,
            "stores": {"a": "mono-ko", "b": "pairs-ko-en"},
        } | changes
        stores = {name: made.stores[store] for name, store in arguments.pop("stores").items()}
        return draw_mixture(
            run="r",
            seed=0,
            steps=4,
            sequence_length=64,
            batch_tokens=256,
            packing="isolated",
            stores=stores,
            tokenizer=made.tokenizer,
            out=folder / "order.parquet",
            **arguments,
        )

    return run


def mixture(advice: str, wrong: dict[str, Any], mended: dict[str, Any]) -> Case:
    return Case(advice, mixed(**wrong), None, mixed(**mended))


def fewer_pairs(folder: Path) -> Path:
    rows = tables.read(study(folder).pairs).to_dict("records")[:-1]
    tables.write("pairs", rows, folder / "pairs.parquet")
    return folder / "pairs.parquet"


def some_pairs(n: int) -> Callable[[Path], dict[str, Any]]:
    """Return the stores and the table of the first pairs alone."""

    def run(folder: Path) -> dict[str, Any]:
        made = study(folder)
        rows = tables.read(made.pairs).to_dict("records")[:n]
        tables.write("pairs", rows, folder / "some.parquet")
        for side in ("en", "xx"):
            build_store(tables=[folder / "some.parquet"], column=side, tokenizer=made.tokenizer, out=folder / side)
        return {**made.stores, "pairs-ko-en": folder / "en", "pairs-ko-xx": folder / "xx"}

    return run


def of_pairs(n: int, **changes: Any) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        stores = some_pairs(n)(folder)
        return study(folder).draw("bridge", name="order", stores=stores, pairs=folder / "some.parquet", **changes)

    return run


ORDERS = [
    order("It is one of near, far.", {"distance": "farther"}, {"distance": "far"}, "no_bridge"),
    order("It is one of label, half.", {"label_space": "both"}, {"label_space": "label"}),
    order("It is one of base, either.", {"first_half": "korean"}, {"first_half": "either"}),
    order("Give 1 or more.", {"pair_supply": 0.5}, {"pair_supply": 1}),
    order("It is one of isolated, concatenated", {"packing": "dense"}, {"packing": "isolated"}),
    order("Give ", {"sequence_length": 16}, {"sequence_length": 64}),
    order("64 is it.", {"batch_tokens": 100}, {"batch_tokens": 512}),
    order("Give one or more.", {"steps": 0}, {"steps": 2}),
    order("It is one of base, bridge", {"arm": "brigde"}, {"arm": "bridge"}),
    order("Half of the positions are kept free", {"label_tokens": 23}, {"label_tokens": 24}),
    order("give an even number.", {"steps": 23}, {"steps": 24}),
    order("need one each at least.", {"batch_tokens": 64}, {"batch_tokens": 512}),
    order("It has mono-ko, pairs-ko-en.", {"lacking": "pairs-ko-xx"}, {}),
    order("The arm bridge needs one.", {"pairs": None}, {}),
    order("Remake the store with its rule.", {"label_space": "half"}, {"label_space": "label"}),
    order("The arm bridge_english_matched needs one.", {}, {"english_share": 0.02}, "bridge_english_matched"),
    order("The arm bridge writes its labels.", {"template": None}, {}),
    order("Set it to ", {"label_tokens": 2}, {"label_tokens": 24}),
    order("Remake the store.", {"pairs": fewer_pairs}, {}),
    order(
        "Set it to what the language with the least",
        {"english_share": 0.9},
        {"english_share": 0.01},
        "bridge_english_matched",
    ),
    Case("Check the parallel sources and filters.", of_pairs(1), None, of_pairs(150)),
    Case("Give more pairs (or", of_pairs(40, batch_tokens=4096), None, of_pairs(150, batch_tokens=4096)),
    Case("or lower training.continual.batch_tokens", of_pairs(40, batch_tokens=4096), None, of_pairs(40)),
    Case(
        "For example 'English: {en} Korean: {xx}'",
        lambda _: template_labels("{xx} {en}"),
        None,
        lambda _: template_labels("English: {en} Korean: {xx}"),
    ),
    Case(
        "Remake it with its rule.",
        lambda folder: ((folder / "order.parquet").write_text("no"), read_notes(folder / "order.parquet")),
        lambda folder: shutil.copy(drawn()(folder), folder / "order.parquet"),
        lambda folder: read_notes(folder / "order.parquet"),
    ),
    Case(
        "Give results/<study>/order/<run>.parquet.",
        lambda folder: read_notes(study(folder).pairs),
        None,
        lambda folder: read_notes(drawn()(folder)),
    ),
]


def many(n: int) -> dict[str, str]:
    return {f"t{i}": "mono-ko" for i in range(n)}


MIXTURES = [
    mixture("Name at least one text.", {"stores": {}}, {}),
    mixture("Name it otherwise", {"stores": {"label": "mono-ko"}}, {"stores": {"text": "mono-ko"}}),
    mixture(
        "Mix fewer than 125.",
        {"stores": {f"t{i}": "mono-ko" for i in range(125)}},
        {"stores": {f"t{i}": "mono-ko" for i in range(124)}},
    ),
    mixture("Give 1 (by size) or more.", {"temperature": 0.5}, {"temperature": 1}),
    mixture("Give one of them.", {"temperature": 2, "shares": {"a": 0.5, "b": 0.5}}, {"shares": {"a": 0.5, "b": 0.5}}),
    mixture("Give one share to each text.", {"shares": {"a": 1}}, {"shares": {"a": 0.5, "b": 0.5}}),
    mixture(
        "Give more than 0, or leave the text out.",
        {"shares": {"a": 1, "b": 0}},
        {"shares": {"a": 1}, "stores": {"a": "mono-ko"}},
    ),
    mixture("They sum to 1.", {"shares": {"a": 0.5, "b": 0.4}}, {"shares": {"a": 0.6, "b": 0.4}}),
]


def own_store(folder: Path) -> Path:
    """Return a copy of the store of documents."""
    shutil.copytree(study(folder).stores["mono-ko"], folder / "store", dirs_exist_ok=True)
    return folder / "store"


def damaged(name: str, content: bytes | None) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        path = own_store(folder) / name
        path.unlink() if content is None else path.write_bytes(content)
        return Store.open(folder / "store", tokenizer_fingerprint(study(folder).tokenizer))

    return run


def remade(folder: Path) -> Any:
    """Make the store anew, and open it."""
    build_store(
        tables=[study(folder).pairs.parent / "ko.parquet"],
        column="text",
        tokenizer=study(folder).tokenizer,
        out=folder / "store",
    )
    return Store.open(folder / "store", tokenizer_fingerprint(study(folder).tokenizer))


def built(texts: list[str]) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        rows = [
            {"doc_id": f"d/{i}", "title": "", "text": t, "source": "d", "n_chars": len(t)} for i, t in enumerate(texts)
        ]
        tables.write("documents", rows, folder / "texts.parquet")
        return build_store(
            tables=[folder / "texts.parquet"], column="text", tokenizer=study(folder).tokenizer, out=folder / "built"
        )

    return run


def shown(**changes: Any) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        made = study(folder)
        path = folder / "order.parquet"
        shutil.copy(drawn()(folder), path)
        arguments: dict[str, Any] = {"order": path, "stores": made.stores, "tokenizer": made.tokenizer, "step": 0}
        return show_batch(**arguments | evaluated(changes, folder))

    return run


def without(name: str) -> Callable[[Path], dict[str, Path]]:
    return lambda folder: {key: path for key, path in study(folder).stores.items() if key != name}


def other_tokenizer(folder: Path) -> Path:
    train_tokenizer(
        tables=[("ko", "text", study(folder).pairs.parent / "ko.parquet")],
        vocab_size=300,
        bytes_per_group=2000,
        out=folder / "other",
    )
    return folder / "other"


def other_content(folder: Path) -> dict[str, Path]:
    notes = json.loads((own_store(folder) / "store.json").read_text())
    (folder / "store" / "store.json").write_text(json.dumps({**notes, "digest": "other"}))
    return {**study(folder).stores, "mono-ko": folder / "store"}


STORES = [
    Case("Remake the store with its rule.", damaged("tokens.bin", None), None, remade),
    Case("Remake the store with its rule.", damaged("offsets.npy", b"no"), None, remade),
    Case("Remake the store with its rule.", damaged("tokens.bin", b"1234"), None, remade),
    Case("Remake the store with its rule.", lambda folder: Store.open(own_store(folder), "another"), None, remade),
    Case("Check the corpus and its filter.", built([""]), None, built(["가나다"])),
    Case("Give its folder.", shown(stores=without("pairs-ko-en")), None, shown()),
    Case("Draw the order again.", shown(stores=other_content), None, shown()),
    Case("Its steps are 0 to 23.", shown(step=lambda _: 24), None, shown(step=lambda _: 23)),
    Case("Give the study's own.", shown(tokenizer=other_tokenizer), None, shown()),
    Case(
        "Remake it with its rule.",
        lambda folder: OrderReader.open(cut(folder), study(folder).stores).batch(0),
        lambda folder: drawn()(folder),
        lambda folder: OrderReader.open(folder / "order" / "order.parquet", study(folder).stores).batch(0),
    ),
]


def cut(folder: Path) -> Path:
    """Damage the pages of an order, whose footer stays."""
    path = drawn()(folder)
    data = bytearray(path.read_bytes())
    data[4 : len(data) // 3] = bytes(len(data) // 3 - 4)
    path.write_bytes(data)
    return path


def trained(**changes: Any) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        table = study(folder).pairs.parent / "ko.parquet"
        arguments: dict[str, Any] = {"tables": [("ko", "text", table)], "vocab_size": 300, "bytes_per_group": 2000}
        return train_tokenizer(
            out=folder / "tokenizer", **arguments | {k: v(folder) if callable(v) else v for k, v in changes.items()}
        )

    return run


def texts(*lines: str) -> Callable[[Path], list]:
    def run(folder: Path) -> list:
        return [("ko", "text", documents(folder, "texts", lines))]

    return run


def documents(folder: Path, name: str, lines: Any, ids: str = "d") -> Path:
    rows = [
        {"doc_id": f"{ids}/{i}", "title": "", "text": t, "source": "d", "n_chars": len(t)} for i, t in enumerate(lines)
    ]
    tables.write("documents", rows, folder / f"{name}.parquet")
    return folder / f"{name}.parquet"


def cloned(ids: str, vocab_size: int) -> Callable[[Path], Any]:
    """Train on a text and on the same in other letters, of which the tokenizer of a small vocabulary joins less."""
    lines = ["abcd efgh abcd", "efgh abcd efgh abcd", "abcd efgh"] * 3
    other = [line.translate(str.maketrans("abcdefgh", "абвгдежз")) for line in lines]

    def run(folder: Path) -> Any:
        paths = {"la": [documents(folder, "la", lines)], "cy": [documents(folder, "cy", other, ids)]}
        return train_on_corpora(
            documents=paths, vocab_size=vocab_size, bytes_per_group=2000, out=folder / "tokenizer", clones={"cy": "la"}
        )

    return run


def tokenizer_file(content: bytes) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        (folder / "own").mkdir(exist_ok=True)
        (folder / "own" / "tokenizer.json").write_bytes(content)
        return load_tokenizer(folder / "own")

    return run


def copied(folder: Path) -> Any:
    shutil.copytree(study(folder).tokenizer, folder / "own", dirs_exist_ok=True)
    return load_tokenizer(folder / "own")


def words(folder: Path) -> Any:
    """Read a tokenizer of whole words in bulk."""
    vocabulary = {"<|endoftext|>": 0, "a": 1}
    (folder / "words").mkdir()
    Tokenizer(models.WordLevel(vocabulary, unk_token="a")).save(str(folder / "words" / "tokenizer.json"))
    return BulkEncoder(folder / "words")


NO_END = json.dumps({"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}).encode()
TOKENIZERS = [
    Case("256 bytes and <|endoftext|> need 257.", trained(vocab_size=256), None, trained(vocab_size=257)),
    Case("Check its sources.", trained(tables=texts("")), None, trained(tables=texts("가나다"))),
    Case("Filter and hold out both alike.", cloned("e", 600), None, cloned("d", 600)),
    Case("Raise tokenizer.vocab_size", cloned("d", 260), None, cloned("d", 600)),
    Case("A tokenizer folder holds tokenizer.json", lambda folder: load_tokenizer(folder), None, copied),
    Case("Fetch or train the tokenizer again.", tokenizer_file(b"no"), None, copied),
    Case("Fetch or train the tokenizer again.", tokenizer_file(b"{}"), None, copied),
    Case("use a Qwen-like tokenizer.", tokenizer_file(NO_END), None, copied),
    Case("Use a byte-level BPE, such as Qwen's.", words, None, lambda folder: BulkEncoder(study(folder).tokenizer)),
    Case(
        "Give a folder with tokenizer.json",
        lambda folder: fetch_tokenizer(source="not//an id", revision=None, out=folder / "out"),
        None,
        lambda folder: fetch_tokenizer(source=str(study(folder).tokenizer), revision=None, out=folder / "out"),
    ),
]
CASES = [*ORDERS, *MIXTURES, *STORES, *TOKENIZERS]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_tokens_that_were_mended_as_advised_are_read(case: Case, tmp_path: Path) -> None:
    follow(case, tmp_path)
