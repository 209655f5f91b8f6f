"""Every advice on models that are asked, and on questions that are made, is followed."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, PreTrainedTokenizerFast, T5Config

from advised import Case, follow, name_of
from lorebridge import tables
from lorebridge.probes.asking import Manner, score_facts
from lorebridge.probes.masked import mask_token, objective
from lorebridge.probes.models import check_device, require_one_run, start_token
from lorebridge.probes.scoring import score_file

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS / "probes"))
import test_making  # noqa: E402

spec = importlib.util.spec_from_file_location("tiny_models", TESTS / "probes" / "conftest.py")
assert spec and spec.loader
tiny_models = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny_models)


def both(advice: str, wrong: Callable, mended: Callable) -> Case:
    return Case(advice, wrong, None, mended)


def model(folder: Path, positions: int = 256) -> Path:
    if not (folder / "model").exists():
        tiny_models.save_model(folder / "model", 0, positions)
    return folder / "model"


def scored(
    change: Callable[[Path], Any] | None = None,
    positions: int = 256,
    question: str = "The capital is ____.",
    **said: Any,
) -> Callable[[Path], Any]:
    """Score one question by a model whose folder was changed."""

    def run(folder: Path) -> Any:
        shutil.rmtree(folder / "model", ignore_errors=True)
        made = model(folder, positions)
        if change is not None:
            change(made)
        (folder / "q.json").write_text(json.dumps([{"question": question, "options": ["a", "b"], "answer": "a"}]))
        return score_file(model=made, questions=folder / "q.json", out=folder / "out.parquet", device="cpu", **said)

    return run


def edited(**changes: Any) -> Callable[[Path], None]:
    """Change what a model's config.json says."""

    def change(made: Path) -> None:
        said = json.loads((made / "config.json").read_text())
        (made / "config.json").write_text(json.dumps({**said, **changes}))

    return change


def without(*names: str) -> Callable[[Path], None]:
    def change(made: Path) -> None:
        for name in names:
            (made / name).unlink()

    return change


def lacking_weights(made: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(made / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, made / "model.safetensors", {"format": "pt"})


def diverged(made: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(made / "model.safetensors")
    weights["model.norm.weight"].fill_(float("nan"))
    save_file(weights, made / "model.safetensors", {"format": "pt"})


def bert(folder: Path, decoder: bool = False) -> Path:
    """Save a tiny masked model with the tokenizer of the causal one, which has a mask then."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(model(folder) / "tokenizer.json"),
        eos_token="<|endoftext|>",
        mask_token="<mask>",
        pad_token="<|endoftext|>",
    )
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32}
    torch.manual_seed(0)
    settings = BertConfig(vocab_size=len(tokenizer), **shape, initializer_range=0.5, is_decoder=decoder)
    BertForMaskedLM(settings).save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")
    return folder / "bert"


def as_causal(made: Path) -> None:
    """Put a masked model, which the library loads as a causal one, in its place."""
    shutil.copytree(bert(made.parent), made, dirs_exist_ok=True)


def encoder_decoder(made: Path) -> None:
    T5Config(vocab_size=320).save_pretrained(made)


def fewer_embeddings(made: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(made)
    tokenizer.add_tokens(["The capital"])
    tokenizer.save_pretrained(made)


def nameless(folder: Path) -> Any:
    return start_token(PreTrainedTokenizerFast(tokenizer_object=_other_tokens(folder)))


def _other_tokens(folder: Path) -> Any:
    from tokenizers import Tokenizer, models

    return Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))


def two_runs(folder: Path) -> Any:
    made = [folder / "step0", folder / "step1"]
    for path in made:
        tiny_models.save_model(path, 0)
    (made[1] / "tokenizer.json").write_text((made[1] / "tokenizer.json").read_text() + " ")
    return require_one_run(made)


WHOLE = scored()
MODELS = [
    both(
        "Give a model folder whose tokenizer names one of them.",
        nameless,
        lambda f: start_token(AutoTokenizer.from_pretrained(model(f))),
    ),
    both("Give a folder that `save_pretrained` or a run has written.", scored(without("config.json")), WHOLE),
    both("Give the checkpoints of one run.", two_runs, lambda f: require_one_run([f / "step0"])),
    both("Give cpu, or cuda", lambda _: check_device("gpu"), lambda _: check_device("cpu")),
    both(
        "Give a Hugging Face model folder, written by",
        scored(lambda made: (made / "tokenizer.json").write_text("{")),
        WHOLE,
    ),
    both("`save_pretrained` writes safetensors", scored(without("model.safetensors")), WHOLE),
    both("Give a causal language model: one that was trained", scored(encoder_decoder), WHOLE),
    both("Give a causal language model: one that was trained", scored(as_causal), WHOLE),
    both("Give the model as it was before", scored(edited(quantization_config={"quant_method": "other"})), WHOLE),
    both("Give a Hugging Face model folder.", scored(edited(intermediate_size=7)), WHOLE),
    both("and all of it.", scored(lacking_weights), WHOLE),
    both("Give the tokenizer that the model was trained with", scored(fewer_embeddings), WHOLE),
    both("or take the question out.", scored(question="____ " + "long " * 100), WHOLE),
    both("Train it with more positions", scored(positions=8), scored(positions=256)),
    both("look at its loss curve and train it again.", scored(diverged), WHOLE),
    both(
        "Give the tokenizer that the masked model",
        lambda f: mask_token(AutoTokenizer.from_pretrained(model(f)), "m"),
        lambda f: mask_token(AutoTokenizer.from_pretrained(bert(f)), "m"),
    ),
    both("Give a Hugging Face model folder.", lambda f: objective(_damaged(f)), lambda f: objective(bert(f))),
]


def _damaged(folder: Path) -> Path:
    (folder / "damaged").mkdir(exist_ok=True)
    (folder / "damaged" / "config.json").write_text('{"model_type": "no such"}')
    return folder / "damaged"


# --- facts ------------------------------------------------------------------------------------------------------------

FACT = {
    "fact_id": "f1",
    "relation": "P1",
    "lang": "en",
    "subject_id": "s",
    "subject": "A",
    "object_id": "o",
    "object": "B",
    "template": "A is in [Y].",
}


def facts(folder: Path, **changes: Any) -> Path:
    names = tables.SCHEMAS["facts"].names
    row = {name: FACT.get(name) for name in names} | {"golds": ["B"], "candidates": ["B", "C"]} | changes
    tables.write("facts", [{name: row[name] for name in names}], folder / "facts.parquet")
    return folder / "facts.parquet"


def asked(of: Callable[[Path], Path], table: Callable[[Path], Path] = facts, **manner: Any) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        return score_facts(
            run="m",
            checkpoints=[(None, of(folder))],
            facts=table(folder),
            out=folder / "scores.parquet",
            batch_tokens=512,
            device="cpu",
            **{"space": "candidates", **manner},
        )

    return run


def no_table(folder: Path) -> Path:
    pd.DataFrame({"a": [1]}).to_parquet(folder / "other.parquet")
    return folder / "other.parquet"


FACTS = [
    both("Choose one of ", lambda _: Manner(decode="other"), lambda _: Manner(decode="simultaneous")),
    both(
        "Ask with space candidates, or decode otherwise.",
        lambda _: Manner(decode="pll"),
        lambda _: Manner(decode="pll", space="candidates"),
    ),
    both("or decode otherwise.", lambda _: Manner(decode="pll"), lambda _: Manner(decode="simultaneous")),
    both("Ask it with space candidates", asked(model, space="vocabulary"), asked(model)),
    both("or give a masked language model.", asked(model, space="vocabulary"), asked(bert, space="vocabulary")),
    both("`lorebridge facts` writes one.", asked(model, no_table), asked(model)),
    both("Write [Y] where the object stands.", asked(model, lambda f: facts(f, template="A is in.")), asked(model)),
    both("Take the fact out.", asked(bert, lambda f: facts(f, template="A <mask> is in [Y].")), asked(bert)),
]

# --- making questions -------------------------------------------------------------------------------------------------


def selected(rows: list[dict], path: bool = True, **said: Any) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        return test_making.select(folder, rows, **({} if path else {"path": None}), **said)

    return run


FILES = {"made": "made.json", "calls": "calls.jsonl", "sheet": "sheet.csv", "page": "page.html"}


def made(folder: Path, name: str = "one", **changes: Any) -> Path:
    """Make questions by a model on the loopback; return the folder."""
    served = test_making.Model()
    rows = [dict(zip(("id", "question", "choices", "answer"), row, strict=True)) for row in test_making.FOUND]
    (folder / "selected.json").write_text(json.dumps(rows))
    out = folder / name
    out.mkdir(exist_ok=True)
    arguments: dict[str, Any] = {
        "culture": "ko",
        "lang": "ko",
        "translate": ["en"],
        "by_hand": [],
        "names": test_making.NAMES,
        "scripts": test_making.SCRIPTS,
        "model": "gpt-test",
        "kind": "endpoint",
        "base_url": served.url,
        "key_env": None,
        "concurrency": 1,
        "selected": folder / "selected.json",
        "work": folder / f"work-{name}",
        **{key: out / file for key, file in FILES.items()},
    }
    try:
        test_making.make_questions(**arguments | changes)
    finally:
        served.http.shutdown()
        served.http.server_close()
    return out


def written(change: Callable[[list[dict]], Any] | None, lang: str = "ko", **said: Any) -> Callable[[Path], Any]:
    """Make questions, and write them from the sheet as a person has filled it in; without one where None."""

    def run(folder: Path) -> Any:
        if not (folder / "one" / "made.json").exists():
            made(folder, **said)
        out = folder / "one"
        sheet = None if change is None else test_making.check(out, change)
        return test_making.released(out, lang, sheet)

    return run


def recorded(change: Callable[[list[str]], list[str]]) -> Callable[[Path], Any]:
    def run(folder: Path) -> Any:
        calls = (made(folder, "first") / "calls.jsonl").read_text().splitlines()
        (folder / "calls.jsonl").write_text("\n".join(change(calls)) + "\n")
        return made(folder, "again", kind="recorded", recorded=folder / "calls.jsonl")

    return run


def of_sheet(advice: str, change: Callable[[list[dict]], Any]) -> Case:
    return both(advice, written(change), written(lambda rows: None))


def changed(**values: str) -> Callable[[list[dict]], Any]:
    return lambda rows: rows[1].update(values)


def in_tibetan(rows: list[dict]) -> None:
    """Write what a native speaker would."""
    for row in rows:
        row["bo"] = "རྒྱལ་ས་ནི་___རེད།"
        row.update({f"bo_option_{number}": letter * 2 for number, letter in enumerate("ཀཁགང", 1)})


GOOD, LONG = test_making.row("good"), test_making.row("long", question="가" * 301)
AS_IT_IS = recorded(lambda calls: calls)
MAKING = [
    both("Give the path of a file.", selected([GOOD], path=False), selected([GOOD])),
    both("Take another file", selected([LONG]), selected([GOOD])),
    both("or wider limits.", selected([LONG]), selected([LONG], max_question=301)),
    both("Use `endpoint` with a base_url", lambda f: made(f, kind="vllm"), made),
    both("Name each once.", lambda f: made(f, by_hand=["en"]), made),
    both("Make them again.", written(None, "bo"), lambda f: (shutil.rmtree(f / "one"), written(None, "ko")(f))),
    both(
        "Give the calls.jsonl of an earlier making.",
        lambda f: made(f, kind="recorded", recorded=f / "none.jsonl"),
        AS_IT_IS,
    ),
    both("or give the calls.jsonl of an earlier making.", recorded(lambda calls: ["no"]), AS_IT_IS),
    both(
        "Remove one of them.", recorded(lambda calls: [*calls, calls[0].replace("계절이 있다", "철이 있다")]), AS_IT_IS
    ),
    both("Ask the model itself", recorded(lambda calls: calls[1:]), made),
    both("or give the calls of these questions", recorded(lambda calls: calls[1:]), AS_IT_IS),
    both("Have the sheet filled in", written(None, by_hand=["bo"]), written(in_tibetan)),
    of_sheet("Keep some.", lambda rows: [row.update(verdict="drop") for row in rows] and None),
    of_sheet("Check the sheet beside", changed(sheet="ko-0123456789abcdef")),
    of_sheet("Remove one of the rows.", changed(id="q1")),
    of_sheet("Put the rows back", lambda rows: rows[:2]),
    both(
        "write drop into those not wanted.",
        written(lambda rows: rows[:2]),
        written(lambda rows: rows[2].update(verdict="drop")),
    ),
    of_sheet("Write ok or drop.", changed(verdict="maybe")),
    of_sheet("Mend it, or write drop.", changed(en="Seollal.")),
    both("or write drop.", written(changed(en="Seollal.")), written(changed(en="Seollal.", verdict="drop"))),
    of_sheet("Write 1 to 4.", changed(answer="5")),
]
CASES = [*MODELS, *FACTS, *MAKING]


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_model_or_making_that_was_mended_as_advised_is_asked(case: Case, tmp_path: Path) -> None:
    follow(case, tmp_path)
