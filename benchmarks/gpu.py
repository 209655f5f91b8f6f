"""What a fresh GPU node can do, in eight minutes, before hours are spent on it: a report as JSON and as Markdown.

    tests/gpu.sh [--out FOLDER] [--data FOLDER] [--minutes M] [--sections NAME...]

- *training*: tokens/s, MFU and memory at Qwen2.5-0.5B's size, ours and ``transformers.Trainer``'s (``train.py``);
- *exact resume*: a run that saves its state and goes on, and a second process that goes on from that state;
- *scoring*: questions a second in prefix trees and in the published way, and whether they decide alike (``probe.py``);
- *dense encoding*: chunks through an encoder of bge-small's size;
- *where a step goes*: the kernels of one update.

Each section runs in a process of its own, within what is left of the time; one that fails leaves its error in the
report, and the others still run. What is not installed is "not here": torch, transformers, pandas, pyarrow, numba and
statsmodels are enough for all but the Trainer (accelerate, Liger) and the encoder (sentence-transformers); without
DeepSpeed the loop runs on ``stand_ins.py``. Without a GPU everything is tiny and says nothing about speed.
Weights, tokens and texts are made up; with ``--data`` (``probes/`` and ``tokenizer/``) the questions are real ones.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shapes import MODELS, QWEN, flops_per_token
from stand_ins import stand_in

from train import SHAPES, measure, peak, reader_of, trainer_of

PACKAGES = (
    *("torch", "transformers", "triton", "deepspeed", "accelerate", "liger_kernel", "sentence-transformers"),
    *("flash_attn_3", "numpy", "pandas", "pyarrow"),
)
RETRIES = {  # what a section may be tried with once more, by a word of its error
    "deterministic implementation": ("--drifting", "an operation has no deterministic form: nondeterministic"),
    "": ("--uncompiled", "as it is it fails: not compiled"),
}


@dataclasses.dataclass(frozen=True)
class Size:
    """How large a section is.

    Attributes:
        shape: of training, in ``train.SHAPES``.
        steps: measured updates, after those that warm up.
        resume: shape of the run that is resumed: the same kernels and less to write.
        model: that is asked, in ``shapes.MODELS``.
        questions: asked of ours.
        asked: questions that the published way is asked, too.
        batch_tokens: of ours.
        encoder: of the sentence encoder.
        chunks: that are encoded, of some 5,000 characters.
        product: rows of the matrix product that is the limit, on a CPU.
    """

    shape: str
    steps: int
    resume: dict[str, Any]
    model: str
    questions: int
    asked: int
    batch_tokens: int
    encoder: dict[str, int]
    chunks: int
    product: int


LARGE = Size(
    shape="0.5b",
    steps=3,
    resume=SHAPES["0.5b"] | {"model": QWEN | {"num_hidden_layers": 4}, "rows": 32},
    model="0.5b",
    questions=2000,
    asked=150,
    batch_tokens=32768,
    encoder={"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 1536},
    chunks=2000,
    product=8192,
)
TINY = Size(
    shape="tiny",
    steps=2,
    resume=SHAPES["tiny"],
    model="tiny",
    questions=12,
    asked=6,
    batch_tokens=2048,
    encoder={"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64},
    chunks=2,
    product=512,
)


class NotHere(Exception):
    """A package that a section needs is not installed."""


def need(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise NotHere(package)


# Sections -------------------------------------------------------------------------------------------------------------


def machine(size: Size, _: Any) -> dict[str, Any]:
    import torch

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    found = {
        "python": platform.python_version(),
        "packages": versions,
        "cores": len(os.sched_getaffinity(0)),
        "disk_free_gb": shutil.disk_usage(tempfile.gettempdir()).free / 1e9,
        # Triton builds its launchers with it.
        "c_compiler": next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None),
        "device": "cpu",
        "limit_tflops": peak(size.product) / 1e12,
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "device": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "memory_gib": properties.total_memory / 2**30,
            "cuda": torch.version.cuda,
            "gpus": torch.cuda.device_count(),
        }
    return found


def train(side: str, packing: str) -> Callable[[Size, Any], dict[str, Any]]:
    def section(size: Size, _: Any) -> dict[str, Any]:
        if side == "ours":
            engine = "a stand-in" if stand_in() else "DeepSpeed"
            stage = 0
        else:
            need("accelerate")
            if "Liger" in side:
                need("liger_kernel")
            engine, stage = "DeepSpeed" if importlib.util.find_spec("deepspeed") else "none", 2
        shape = SHAPES[size.shape]
        found = measure(side, "bfloat16", packing, stage, size.shape, shape["warm"] + size.steps)
        seconds = [taken for _, taken in found["measured"]]
        return {
            "side": side,
            "packing": packing,
            "engine": engine,
            "tokens_per_second": shape["rows"] * shape["length"] / statistics.median(seconds[shape["warm"] :]),
            "flops_per_token": flops_per_token(shape["model"], shape["length"]),
            "memory_gib": found["bytes"] / 2**30,
            "first_step_seconds": seconds[0],
            "step_seconds": seconds,
            "losses": [loss for loss, _ in found["measured"]],
        }

    return section


def go_on(size: Size, folder: Path, *, save_at: int, steps: int) -> tuple[dict[str, Any], list[float]]:
    """Train to the end, from the state in `folder` if there is one; else leave one there after `save_at` updates.

    Returns:
        The weights at the end, by name, and the losses of the updates.
    """
    stand_in()
    from lorebridge.train.engine import process_group
    from lorebridge.train.tensors import parameters
    from lorebridge.train.work import WorkDirectory

    identity = {"recipe": "gpu"}
    directory = WorkDirectory(folder / "work")
    with process_group() as processes:
        slot = directory.newest_state(identity)
        reader = reader_of(size.resume, "isolated", steps)
        trainer = trainer_of(size.resume, reader, "bfloat16", 0, processes, slot)
        losses = []
        while trainer.done < steps:
            losses.append(trainer.update()[0]["loss"])
            if not slot and trainer.done == save_at:
                trainer.save(directory, identity)
        return {name: tensor.cpu() for name, tensor in parameters(trainer.model).items()}, losses


def resume(size: Size, arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare a run that nothing interrupts with one of two processes."""
    import torch
    from safetensors.torch import load_file, save_file

    save_at, steps = 2, 4
    if arguments.folder:
        weights, losses = go_on(size, arguments.folder, save_at=save_at, steps=steps)
        save_file(weights, arguments.folder / "again.safetensors")
        return {"losses": losses}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights, losses = go_on(size, folder, save_at=save_at, steps=steps)
        torch.cuda.empty_cache()
        again = child("exact resume", None, "--folder", name, *passed_on(arguments))
        if "error" in again:
            raise RuntimeError(f"the second process: {again['error']}\n{again.get('traceback', '')}")
        theirs = load_file(folder / "again.safetensors")
    apart = max(float((weights[name] - theirs[name]).abs().max()) for name in weights)
    return {
        "steps": steps,
        "saved_at": save_at,
        "deterministic": not arguments.drifting,
        "losses_equal": losses[save_at:] == again["losses"],
        "weights_equal": all(torch.equal(weights[name], theirs[name]) for name in weights),
        "largest_difference": apart,
    }


def made_up_questions(number: int, vocabulary: int) -> tuple[Any, list[int]]:
    """Return requests of questions with four options each, as long as the paper's, and the question of each text."""
    import numpy as np

    from lorebridge.probes.scoring import Requests

    chance = np.random.default_rng(0)
    sequences, groups = [], []
    for question in range(number):
        before = chance.integers(1, vocabulary, chance.integers(15, 40)).tolist()
        after = chance.integers(1, vocabulary, chance.integers(1, 12)).tolist()
        for _ in range(4):
            sequences.append([0, *before, *chance.integers(1, vocabulary, chance.integers(2, 6)).tolist(), *after])
            groups.append(question)
    lengths = np.array([len(sequence) - 1 for sequence in sequences])
    return Requests(np.arange(len(sequences)), lengths, sequences, [1] * len(sequences), groups), groups


def score(size: Size, arguments: argparse.Namespace) -> dict[str, Any]:
    import torch
    from probe import compare, read_questions

    from lorebridge.probes.scoring import build_requests
    from lorebridge.train.model import build, qwen2_config

    shape = MODELS[size.model]
    if arguments.data and size is not TINY:
        from transformers import AutoTokenizer

        texts, groups = read_questions(arguments.data, size.questions)
        requests = build_requests(texts, groups, AutoTokenizer.from_pretrained(arguments.data / "tokenizer"))
    else:
        requests, groups = made_up_questions(size.questions, shape["vocab_size"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = build(qwen2_config(shape, shape["vocab_size"], 0), 0).eval().to(device)
    found = compare(model, requests, groups, size.batch_tokens, size.asked)
    published = found["rates"]["published way, bfloat16"]
    return found | {
        "ratio": found["rates"]["ours, float32"] / published,
        "ratio_bfloat16": found["rates"]["ours, bfloat16"] / published,
        "real_questions": bool(arguments.data and size is not TINY),
        "memory_gib": torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None,
    }


def encode(size: Size, _: Any) -> dict[str, Any]:
    need("sentence_transformers")
    import numpy as np
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    from lorebridge import tables
    from lorebridge.trace.dense import build_index

    chance = np.random.default_rng(0)
    words = sorted({"".join(chance.choice(list("abcdefghijklmnopqrstuvwxyz"), 5)) for _ in range(20000)})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: place for place, word in enumerate([*special, ".", *words])}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bpe = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
        bpe.pre_tokenizer = pre_tokenizers.Whitespace()
        bpe.post_processor = processors.TemplateProcessing(
            "[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
        )
        PreTrainedTokenizerFast(
            tokenizer_object=bpe,
            model_max_length=512,
            pad_token="[PAD]",
            unk_token="[UNK]",
            cls_token="[CLS]",
            sep_token="[SEP]",
        ).save_pretrained(folder / "encoder")
        torch.manual_seed(0)
        BertModel(BertConfig(vocab_size=len(vocabulary), **size.encoder)).save_pretrained(folder / "encoder")
        texts = [". ".join(" ".join(chance.choice(words, 12)) for _ in range(70)) for _ in range(size.chunks)]
        rows = [{"chunk_id": f"c/{i}#0", "doc_id": f"c/{i}", "text": t, "n_chars": len(t)} for i, t in enumerate(texts)]
        tables.write("chunks", rows, folder / "chunks.parquet")
        how = {"model": str(folder / "encoder"), "threads": len(os.sched_getaffinity(0))}
        for part, take in (("warm", rows[:64]), ("timed", rows)):
            tables.write("chunks", take, folder / "chunks.parquet")
            started = time.perf_counter()
            notes = build_index(
                chunks=folder / "chunks.parquet", index=folder / f"{part}-index", work=folder / part, **how
            )
            seconds = time.perf_counter() - started
    on_gpu = torch.cuda.is_available()
    return {
        "chunks": notes["n_chunks"],
        "windows_per_second": notes["n_windows"] / seconds,
        "megabytes_per_second": sum(map(len, texts)) / seconds / 1e6,
        "memory_gib": torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None,
    }


def profile(size: Size, _: Any) -> dict[str, Any]:
    """Return the kernels of one update that take longest, and how often the host waits for the GPU in one."""
    stand_in()
    import torch
    from torch.profiler import ProfilerActivity

    from lorebridge.train.engine import process_group

    on_gpu = torch.cuda.is_available()
    shape = SHAPES[size.shape]
    warm = shape["warm"]
    with process_group() as processes:
        trainer = trainer_of(shape, reader_of(shape, "isolated", warm + 2), "bfloat16", 0, processes)
        for _ in range(warm):
            trainer.update()
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            if on_gpu:
                torch.cuda.set_sync_debug_mode("warn")
            trainer.update()
            if on_gpu:
                torch.cuda.set_sync_debug_mode("default")
        with torch.profiler.profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as seen:
            _, seconds = trainer.update()
    spent = [
        (event.key[:80], (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1e3, event.count)
        for event in seen.key_averages()
    ]
    spent.sort(key=lambda kernel: -kernel[1])
    return {
        "step_ms": seconds * 1e3,
        "host_waits": sum("synchronizing CUDA" in str(warning.message) for warning in warned),
        "busy_ms": sum(ms for _, ms, _ in spent),
        "kernels": [{"name": name, "ms": ms, "count": count} for name, ms, count in spent[:15]],
    }


# The most telling first: what comes last may find no time.
SECTIONS: dict[str, tuple[Callable[[Size, Any], dict[str, Any]], int]] = {
    "machine": (machine, 60),
    "ours, isolated": (train("ours", "isolated"), 200),
    "ours, concatenated": (train("ours", "concatenated"), 150),
    "exact resume": (resume, 150),
    "scoring": (score, 120),
    "Trainer": (train("Trainer", "concatenated"), 90),
    "dense encoding": (encode, 60),
    "where a step goes": (profile, 90),
    "Trainer + compile + Liger": (train("Trainer + compile + Liger", "concatenated"), 150),
    "Trainer + compile": (train("Trainer + compile", "concatenated"), 150),
}
NO_TIME = "no time was left (--minutes)"
ON_A_GPU_ALONE = ("Trainer + compile + Liger", "Trainer + compile")
OURS = ("ours, isolated", "ours, concatenated", "exact resume", "where a step goes")


# The report -----------------------------------------------------------------------------------------------------------


def passed_on(arguments: argparse.Namespace) -> list[str]:
    """Return the arguments that a section's process is started with."""
    given = ["--drifting"] * arguments.drifting + ["--uncompiled"] * arguments.uncompiled + ["--tiny"] * arguments.tiny
    return [*given, "--data", str(arguments.data)] if arguments.data else given


def child(section: str, seconds: float | None, *arguments: str) -> dict[str, Any]:
    """Return what a section found in a process of its own, or the error that ended it.

    With `seconds` it is ended after so many, and whatever it started too.
    """
    command = [sys.executable, str(Path(__file__).resolve()), "--section", section, *arguments]
    with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=seconds is not None)
        try:
            process.wait(seconds)
        except BaseException as ended:
            if seconds is not None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if isinstance(ended, subprocess.TimeoutExpired):
                return {"error": f"not done in {seconds:.0f} s"}
            raise
        for file in (out, err):
            file.seek(0)
        lines = [line for line in out.read().splitlines() if line.startswith('{"found"')]
        if not lines:
            return {"error": f"ended with status {process.returncode}", "traceback": err.read()[-4000:]}
        return json.loads(lines[-1])["found"]


def inside(arguments: argparse.Namespace) -> None:
    """Run one section in this process and print what it found."""
    if arguments.uncompiled:
        os.environ["TORCH_COMPILE_DISABLE"] = "1"
    import torch

    if arguments.drifting:
        strict = torch.use_deterministic_algorithms
        torch.use_deterministic_algorithms = lambda mode: strict(mode, warn_only=True)
    section, _ = SECTIONS[arguments.section]
    try:
        found = section(TINY if arguments.tiny else LARGE, arguments)
    except NotHere as missing:
        found = {"not_here": str(missing)}
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {str(error)[:2000]}", "traceback": traceback.format_exc()[-4000:]}
    print("\n" + json.dumps({"found": found}), flush=True)


def markdown(report: dict[str, Any]) -> str:
    """Return the report as a section of ``docs/performance.md``."""
    found = report["sections"]
    here, tiny = found.get("machine", {}), report["tiny"]
    shape = SHAPES[TINY.shape if tiny else LARGE.shape]
    limit = here.get("limit_tflops")

    def failed(name: str) -> str | None:
        if name not in found:
            return "not run"
        one = found[name]
        if "not_here" in one:
            return f"not here ({one['not_here']})"
        return f"failed: {one['error'].splitlines()[0][:160]}" if "error" in one else None

    def gib(one: dict[str, Any]) -> str:
        return f"; {one['memory_gib']:.1f} GiB" if one["memory_gib"] else ""

    lines = [f"`{report['command']}`, {report['date']}, {report['seconds']:.0f} s:"]
    if failure := failed("machine"):
        lines.append(f"the machine: {failure}.")
    else:
        packages = ", ".join(f"{name} {version or 'not here'}" for name, version in here["packages"].items())
        lines.append(
            f"{here['device']}, Python {here['python']}, {packages}; C compiler {here['c_compiler'] or 'not here'}; "
            f"a large bfloat16 matrix product runs at {limit:,.1f} TFLOP/s, the limit of any step."
        )
    if tiny:
        lines.append("**Tiny shapes: that it runs is shown, and nothing about speed.**")
    if not report["gpu"]:
        lines.append("**There is no GPU on this machine: only the CPU's part was run.**")
    lines += [
        "",
        f"{shape['rows'] * shape['length']:,} tokens a step, {shape['length']:,} positions, bfloat16, one process:",
        "",
        "| training | packing | DeepSpeed | tokens/s | MFU | GiB | first step, s | losses from ours |",
        "|:--|:--|:--|--:|--:|--:|--:|--:|",
    ]
    same = found.get("ours, concatenated", {}).get("losses")
    for name in ("ours, isolated", "ours, concatenated", "Trainer", "Trainer + compile", "Trainer + compile + Liger"):
        if failure := failed(name):
            lines.append(f"| {name} | {failure} | | | | | | |")
            continue
        one = found[name]
        mfu = f"{one['tokens_per_second'] * one['flops_per_token'] / limit / 1e12:.1%}" if limit else ""
        apart = ""
        if same and one["side"] != "ours":
            apart = f"{max(abs(a - b) for a, b in zip(same, one['losses'], strict=True)):.1e}"
        lines.append(
            f"| {one['side']}{report['notes'].get(name, '')} | {one['packing']} | {one['engine']} "
            f"| {one['tokens_per_second']:,.0f} | {mfu} | {one['memory_gib']:.1f} | {one['first_step_seconds']:.0f} "
            f"| {apart} |"
        )
    lines += ["", "| | |", "|:--|:--|"]
    for name in ("exact resume", "scoring", "dense encoding", "where a step goes"):
        one = found.get(name, {})
        if failure := failed(name):
            text = failure
        elif name == "exact resume":
            exact = one["losses_equal"] and one["weights_equal"]
            how = "deterministic kernels" if one["deterministic"] else "kernels that are not all deterministic"
            text = (
                f"{'to the bit' if exact else 'NOT exact'}, with {how}: losses "
                f"{'equal' if one['losses_equal'] else 'differ'}, weights differ by {one['largest_difference']:.1e} at "
                f"most, {one['steps'] - one['saved_at']} steps after a state of step {one['saved_at']}"
            )
        elif name == "scoring":
            text = (
                f"ours {one['rates']['ours, float32']:,.1f} questions/s in float32 "
                f"({one['rates']['ours, bfloat16']:,.1f} in bfloat16), the published way "
                f"{one['rates']['published way, bfloat16']:,.1f} in bfloat16: **{one['ratio']:.1f}×** "
                f"({one['ratio_bfloat16']:.1f}×); in float32 {one['differ']} of {one['asked']} decisions differ, mean "
                f"losses by {one['off']:.1e} nats at most; prefix trees {'used' if one['trees'] else 'NOT used'}; "
                f"{'real' if one['real_questions'] else 'made-up'} questions{gib(one)}"
            )
        elif name == "dense encoding":
            text = (
                f"{one['windows_per_second']:,.0f} windows of 512 tokens/s, {one['megabytes_per_second']:.2f} MB of "
                f"text/s, windows cut and vectors kept{gib(one)}"
            )
        else:
            kernels = "; ".join(f"{k['name'][:48]} {k['ms']:.1f}" for k in one["kernels"][:6]).replace("|", " ")
            text = (
                f"step {one['step_ms']:.0f} ms, kernels {one['busy_ms']:.0f} ms "
                f"({one['busy_ms'] / one['step_ms']:.0%}), waits of the host {one['host_waits']}; ms of the longest: "
                f"{kernels}"
            )
        lines.append(f"| {name}{report['notes'].get(name, '')} | {text} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/gpu"), help="folder of gpu.json and gpu.md")
    parser.add_argument("--data", type=Path, help="folder of probes/ and tokenizer/, for real questions")
    parser.add_argument("--minutes", type=float, default=8, help="that it may take")
    parser.add_argument(
        "--sections", nargs="+", choices=SECTIONS, metavar="NAME", help="these alone, by the table's names"
    )
    parser.add_argument("--tiny", action="store_true", help="tiny shapes also on a GPU")
    for internal in ("--section", "--folder", "--drifting", "--uncompiled"):
        kind: dict[str, Any] = {"action": "store_true"} if internal in ("--drifting", "--uncompiled") else {}
        parser.add_argument(internal, help=argparse.SUPPRESS, **kind)
    arguments = parser.parse_args()
    if arguments.folder:
        arguments.folder = Path(arguments.folder)
    if arguments.section:
        inside(arguments)
        return

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and the section's process with it
    started = time.monotonic()
    looked = [sys.executable, "-c", "import sys, torch; sys.exit(not torch.cuda.is_available())"]
    gpu = subprocess.run(looked, check=False).returncode == 0
    arguments.tiny = arguments.tiny or not gpu
    print("There is a GPU." if gpu else "There is no GPU on this machine: only the CPU's part is run.", flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {
        "command": f"tests/gpu.sh {' '.join(sys.argv[1:])}".strip(),
        "date": time.strftime("%Y-%m-%d"),
        "gpu": gpu,
        "tiny": arguments.tiny,
        "notes": {},
        "sections": {},
    }
    for name, (_, most) in SECTIONS.items():
        if arguments.sections and name not in arguments.sections:
            continue

        def left(most: float = most) -> float:
            return min(most, 60 * arguments.minutes - (time.monotonic() - started))

        if name in ON_A_GPU_ALONE and not gpu:
            found: dict[str, Any] = {"not_here": "a GPU"}
        elif left() < 10:
            found = {"error": NO_TIME}
        else:
            begun = time.monotonic()
            found = child(name, left(), *passed_on(arguments))
            for word, (option, note) in RETRIES.items():
                if gpu and name in OURS and "error" in found and word in found["error"] and left() > 10:
                    report["notes"][name] = f" ({note}: {found['error'].splitlines()[0][:100]})"
                    found = child(name, left(), option, *passed_on(arguments))
            found["section_seconds"] = time.monotonic() - begun
        report["sections"][name] = found
        report["seconds"] = time.monotonic() - started
        status = found.get("error") or (f"not here: {found['not_here']}" if "not_here" in found else "done")
        print(f"{report['seconds']:5.0f} s  {name}: {status.splitlines()[0]}", flush=True)
        # After every section: whoever ends this early has what there is.
        (arguments.out / "gpu.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        (arguments.out / "gpu.md").write_text(markdown(report), encoding="utf-8")
    print("\n" + markdown(report), flush=True)
    print(f"{arguments.out}/gpu.json, {arguments.out}/gpu.md")
    wrong = found_wrong(report["sections"])
    if wrong:
        sys.exit("error: " + "; ".join(wrong))


def found_wrong(sections: dict[str, dict[str, Any]]) -> list[str]:
    """Return what nobody should spend hours on: sections that failed, and results that are not the same."""
    needed = [name for name in sections if "Trainer" not in name and name != "where a step goes"]
    wrong = [f"{name} failed" for name in needed if sections[name].get("error", NO_TIME) != NO_TIME]
    resumed, scored = sections.get("exact resume", {}), sections.get("scoring", {})
    if resumed.get("weights_equal") is False or resumed.get("losses_equal") is False:
        wrong.append("a resumed run is another run")
    if scored.get("differ") or scored.get("off", 0) > 1e-5:
        wrong.append("scoring differs from plain forward passes")
    return wrong


if __name__ == "__main__":
    main()
