"""Every advice on runs, on models that are given, on bundles and on what is compared is followed."""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import BertConfig

from advised import Case, follow, name_of
from lorebridge import bundle, compare, config, studies
from lorebridge.tokens.reader import OrderReader
from lorebridge.tokens.tokenizer import tokenizer_fingerprint
from lorebridge.train.inputs import check_model, check_order
from lorebridge.train.loop import _as_it_was
from lorebridge.train.model import build, load_weights, qwen2_config
from lorebridge.train.schedule import Schedule
from lorebridge.train.work import WorkDirectory
from test_advice_tokens import drawn, study

sys.path.insert(0, str(Path(__file__).parent / "train"))
import test_work

CONFIGS = Path(__file__).parents[1] / "config"
TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}


def both(advice: str, wrong: Callable, mended: Callable) -> Case:
    return Case(advice, wrong, None, mended)


def sized(**changes: Any) -> Callable[[Path], Any]:
    return lambda _: qwen2_config({**TINY, **changes}, 50, 0)


def saved(folder: Path, heads: int = 4, width: int = 32) -> Path:
    """Save a model."""
    made = build(qwen2_config({**TINY, "num_attention_heads": heads, "intermediate_size": width}, 50, 0), seed=0)
    made.save_pretrained(folder / "model")
    return folder / "model"


def loaded(**shape: int) -> Callable[[Path], Any]:
    return lambda folder: load_weights(build(qwen2_config(TINY, 50, 0), seed=1), saved(folder, **shape))


def ordered(arm: str = "base", **changes: Any) -> Callable[[Path], Any]:
    """Check an order of 24 steps of 8 rows, drawn for isolated packing, against a run."""

    def run(folder: Path) -> Any:
        said: dict[str, Any] = {"steps": 24, "packing": "isolated", "world": 1, "checkpoint_steps": [0]} | changes
        path = drawn(arm, **({"packing": said.pop("drawn")} if "drawn" in said else {}))(folder)
        reader = OrderReader.open(path, study(folder).stores)
        fingerprint = said.pop("fingerprint", tokenizer_fingerprint(study(folder).tokenizer))
        return check_order(order=path, reader=reader, fingerprint=fingerprint, **said)

    return run


def work(folder: Path) -> WorkDirectory:
    return WorkDirectory(folder / "work")


def state(folder: Path, identity: dict = test_work.IDENTITY) -> Any:
    return work(folder).newest_state(identity)


def other_state(folder: Path) -> Any:
    test_work.save(work(folder), 10)
    return state(folder, {**test_work.IDENTITY, "recipe": "other"})


def gone(folder: Path) -> Any:
    test_work.checkpoint(work(folder), 0)
    return work(folder).require_checkpoints([0, 5])


def changed(folder: Path) -> Any:
    test_work.checkpoint(work(folder), 0)
    (folder / "work" / "metrics.parquet").write_text("metrics")
    (folder / "work" / "step0" / "model.safetensors").write_text("something else")
    return work(folder).publish(folder / "out", [0])


def deleted(folder: Path) -> None:
    shutil.rmtree(folder / "work")


def trained_again(folder: Path) -> Any:
    return test_work.finished(folder / "work", folder / "out")


RUNS = [
    both(
        "Take one of cosine, linear, constant",
        lambda _: Schedule(lr=1, schedule="cosin"),
        lambda _: Schedule(lr=1, schedule="cosine"),
    ),
    both("Known: ", sized(hiden_size=3), sized(hidden_size=32)),
    both("Raise it or leave it out.", sized(vocab_size=49), sized(vocab_size=50)),
    both("Raise it or leave it out.", sized(vocab_size=49), sized()),
    both("Change one of the two.", sized(num_attention_heads=5), sized(num_attention_heads=8)),
    both(
        "Make the base run again",
        lambda folder: load_weights(build(qwen2_config(TINY, 50, 0), seed=1), folder),
        loaded(),
    ),
    both("or take the model's sizes from it.", loaded(heads=8), loaded(heads=4)),
    both("or take the model's sizes from it.", loaded(width=64), loaded(width=32)),
    both("Draw the order again.", ordered(steps=22), ordered(steps=24)),
    both(
        "Draw the order again.", ordered(packing="concatenated"), ordered(packing="concatenated", drawn="concatenated")
    ),
    both("or take its tokenizer.", ordered(fingerprint="another"), ordered()),
    both("Take a number of processes that divides the rows.", ordered(world=3), ordered(world=4)),
    both("Take it out.", ordered(checkpoint_steps=[0, 25]), ordered(checkpoint_steps=[0])),
    both("Leave it out.", lambda _: check_model(BertConfig()), lambda _: check_model(qwen2_config(TINY, 50, 0))),
    both(
        "It is one of kept, mean.",
        lambda _: _as_it_was("r", "median", None, None),
        lambda _: _as_it_was("r", "kept", None, None),
    ),
    both(
        "Give unseen_tokens, init_from and read_before",
        lambda _: _as_it_was("r", "mean", None, None),
        lambda folder: _as_it_was("r", "mean", folder, {"mono-en": folder}),
    ),
    both(
        "or none of the first and the last.",
        lambda folder: _as_it_was("r", "kept", folder, {"mono-en": folder}),
        lambda folder: _as_it_was("r", "kept", folder, None),
    ),
    Case("Bring the old recipe back", other_state, None, state),
    Case(
        "to train from the start.",
        other_state,
        deleted,
        lambda folder: state(folder, {**test_work.IDENTITY, "recipe": "other"}),
    ),
    Case("to start over.", gone, deleted, lambda folder: work(folder).require_checkpoints([])),
    Case("and train again.", changed, deleted, trained_again),
]

# --- what a plan looks for --------------------------------------------------------------------------------------------


def planned(name: str, changes: Callable[[Path], dict[str, Any]]) -> Callable[[Path], Any]:
    """Reckon all recipes of a study whose files lie in the folder."""

    def run(folder: Path) -> Any:
        said = config.read(CONFIGS / f"{name}.yaml") | changes(folder)
        plan = studies.plan(config.check(said))
        return [plan.task(stage, **dict(wildcards)) for stage, wildcards in plan.walk()]

    return run


def given(*names: str) -> Callable[[Path], dict[str, Any]]:
    def changes(folder: Path) -> dict[str, Any]:
        for name in names:
            (folder / "given").mkdir(exist_ok=True)
            (folder / "given" / name).write_text("{}")
        return {"given": {"a": {"path": str(folder / "given")}}}

    return changes


def sets(there: bool) -> Callable[[Path], dict[str, Any]]:
    def changes(folder: Path) -> dict[str, Any]:
        if there:
            (folder / "a.jsonl").write_text("{}\n")
        (folder / "judged.csv").write_text("")
        judged = {"files": [str(folder / "judged.csv")]}
        said = {"shape": "eclektic", "path": str(folder / "a.jsonl")}
        return {"sets": {"a": said}, "judged": judged, "distances": None, "volumes": None}

    return changes


def questions(there: bool) -> Callable[[Path], dict[str, Any]]:
    def changes(folder: Path) -> dict[str, Any]:
        files = {}
        for lang in ("en", "ko"):
            if there:
                (folder / f"{lang}.json").write_text("[]")
            files[lang] = {"kind": "local", "path": str(folder / f"{lang}.json")}
        return {
            "questions": {**config.read(CONFIGS / "demo.yaml")["questions"], "ko": {"files": files}},
            "prereg": None,
        }

    return changes


PLANS = [
    both(
        "Mend the path, or `data`.",
        planned("roots-demo", given()),
        planned("roots-demo", given("config.json", "model.safetensors")),
    ),
    both(
        "Give a folder that `save_pretrained` or a run has written.",
        planned("roots-demo", given("model.safetensors")),
        planned("roots-demo", given("config.json", "model.safetensors")),
    ),
    both(
        "`save_pretrained` writes safetensors",
        planned("roots-demo", given("config.json", "pytorch_model.bin")),
        planned("roots-demo", given("config.json", "model.safetensors")),
    ),
    both("Mend the path, or `data`.", planned("scripts-judged", sets(False)), planned("scripts-judged", sets(True))),
    both("Mend the path, or `data`.", planned("demo", questions(False)), planned("demo", questions(True))),
]

# --- bundles, and what is compared ------------------------------------------------------------------------------------


def opened(
    change: Callable[[dict], Any] | None = None, *further: str, first: str = bundle.MANIFEST
) -> Callable[[Path], Any]:
    """Open a bundle whose manifest was changed, or which holds further members."""

    def run(folder: Path) -> Any:
        stated = {
            key: value
            for key, value in config.load(CONFIGS / "demo.yaml").items()
            if key not in ("results", "work", "data")
        }
        manifest: Any = {"format": bundle.FORMAT, "config": stated, "figures": [], "tables": [], "files": {}}
        if change is not None:
            manifest = change(manifest) or manifest
        (folder / "manifest").write_text(json.dumps(manifest))
        with tarfile.open(folder / "b.tar.xz", "w:xz") as archive:
            archive.add(folder / "manifest", first)
            for name in further:
                archive.add(folder / "manifest", name)
        return bundle.Redrawing(folder / "b.tar.xz", str(folder / "redrawn"))

    return run


def again(advice: str, change: Callable[[dict], Any] | None, *further: str, **said: str) -> Case:
    """A bundle that is none, and one that was made again."""
    return both(advice, opened(change, *further, **said), opened())


def drawn_from_nothing(folder: Path) -> Any:
    return opened(lambda m: m.update(figures=["figure3"]))(folder).task("figure", figure="figure3")


def redrawing(**settings: Any) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        opened()(folder)
        given_ = {"bundle": folder / "b.tar.xz", "results": str(folder / "again")} | settings
        return bundle.redrawing({key: value for key, value in given_.items() if value is not None})

    return run


def text(folder: Path) -> Any:
    (folder / "b.tar.xz").write_text("no archive")
    return bundle.Redrawing(folder / "b.tar.xz", str(folder / "redrawn"))


def cut(folder: Path) -> Any:
    """Open a bundle whose end is missing, in the manifest."""
    opened(lambda m: m.update(figures=[f"{i * 7919 % 10007}" for i in range(99999)]))(folder)
    content = (folder / "b.tar.xz").read_bytes()
    (folder / "b.tar.xz").write_bytes(content[: len(content) // 2])
    return bundle.Redrawing(folder / "b.tar.xz", str(folder / "redrawn"))


FILE = {"bytes": 1, "sha256": "0" * 64}
AGAIN, OURS = bundle._AGAIN[:30], bundle._NOT_OURS[:30]
BUNDLES = [
    both("Name one: --config bundle=PATH", redrawing(bundle=None), redrawing()),
    both("It takes bundle and results", redrawing(study="demo"), redrawing()),
    both("Name a bundle: --config bundle=PATH.", redrawing(bundle="/nowhere/b.tar.xz"), redrawing()),
    both(AGAIN, text, opened()),
    both(AGAIN, cut, opened()),
    again(AGAIN, None, first="other"),
    again(bundle._OLD[:30], lambda m: m.update(format=1)),
    again(AGAIN, lambda m: m.update(format=3)),
    again(AGAIN, lambda m: m.pop("config") and None),
    again(AGAIN, lambda m: m.update(figures="figure3")),
    again(AGAIN, lambda m: m["files"].update(a=3)),
    again(OURS, lambda m: m["files"].update({"../a": FILE})),
    again(OURS, lambda m: m["files"].update(a={**FILE, "bytes": 1 << 50})),
    again(OURS, None, "../evil"),
    again(OURS, None, "unlisted"),
    both(AGAIN, drawn_from_nothing, opened()),
]


def side(name: str, of: str = "demo") -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        return compare.side(name.replace("FOLDER", str(folder)), CONFIGS / f"{of}.yaml", folder / "checked")

    return run


def results(folder: Path) -> Any:
    """Write a record of a study, and read its results."""
    (folder / "study").mkdir()
    (folder / "study" / "record.json").write_text(json.dumps({"recipe": "0" * 16, "stage": "a", "inputs": {}}))
    return side("FOLDER/study")(folder)


COMPARED = [
    both("Name the folder of one study, such as results/demo.", side("FOLDER"), results),
    both("Name a folder such as results/demo, a bundle", side("no-such-thing"), results),
]
CASES = [*RUNS, *PLANS, *BUNDLES, *COMPARED]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_what_was_mended_as_advised_goes_on(case: Case, tmp_path: Path) -> None:
    follow(case, tmp_path)
