"""The command line: what a person asks of a study. What rules call is in :mod:`lorebridge.workers`.

Each command imports what it needs when it runs, so that `lorebridge plan` stays as fast as a dry run.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import re
import select
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorebridge import __version__, workers
from lorebridge.corpora.facts import REPEATS, SHAPES
from lorebridge.corpora.openqa import SHAPES as OPEN_SHAPES
from lorebridge.corpora.openqa import TRANSLATIONS
from lorebridge.corpora.qa_tasks import CONTEXT, MCQ, OPEN
from lorebridge.errors import TRACEBACK, InputError, told
from lorebridge.plan import Plan
from lorebridge.plan.cost import Cost
from lorebridge.plan.stage import Item
from lorebridge.plan.study import Model
from lorebridge.probes.manners import BARES, DECODES, LENGTHS, SPACES
from lorebridge.probes.wording import ENDPOINT, FORMS, OFF, OWN, THINKING, VLLM
from lorebridge.records import (
    DigestCache,
    changes,
    file_digest,
    logging_to,
    outputs_of,
    read_record,
    refuse_changed,
    source_digest,
)
from lorebridge.studies import former
from lorebridge.transfer.methods import MOST

# What is assumed of models that are yet to be asked.
ASSUMED: dict[str, Any] = {"models": 8, "known": 0.5, "right": 0.5, "pair_sd": 0.05}
ASKED = ("form", "prompt", "max_tokens", "stop", "samples", "temperature", "seed", "thinking", "thinking_tokens")
MANNER = ("decode", "lengths", "space", "bare")
# Which of the figures' fonts a page needs where a browser has none.
SCRIPT_FONTS = {
    "Tibetan": "NotoSerifTibetan-Regular.ttf",
    "Mongolian": "NotoSansMongolian-Regular.ttf",
    "Han": "NotoSansCJKsc-subset.ttf",
    "Hangul": "NotoSansCJKsc-subset.ttf",
}


STATUSES = f"""\
exit status:
  0    done
  1    an error that is told in a line; or what a command looks for is wrong (alarms, verify, adopt)
  2    the command line cannot be read
  75   train: stopped in time, its state saved; the same line again goes on
  130  interrupted
  141  who read the output has ended (lorebridge plan | head); nothing is said

A traceback is a defect of lorebridge. {TRACEBACK}=1 prints that of the other errors, too."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit status. What a user can mend is one line on stderr and status 1."""
    arguments = _parser().parse_args(argv)
    try:
        status = arguments.command(arguments) or 0
        sys.stdout.flush()
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        # What is left in the buffer would be written when Python ends, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except Exception as error:
        line = told(error)
        if line is None:
            raise
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        print(f"error: {line}", file=sys.stderr)
        return 1
    return status


def _nobody_reads() -> bool:
    """Whether what this process prints goes into a pipe whose reader has ended, as `head` does."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lorebridge",
        description=sys.modules["lorebridge"].__doc__,
        epilog=STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, function: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=function)
        return sub

    def configured(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--config", type=Path, default=Path("config/config.yaml"), help="the study's configuration")
        sub.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="set a top-level key of the configuration, as snakemake --config does: a mapping is laid over what is "
            "there, key by key; a list or a single value takes its place",
        )

    plan = command("plan", _plan, "print the runs of a study, their cost, and where each value comes from")
    configured(plan)
    plan.add_argument("--gpus", type=_positive, help="GPUs that train at a time (default: those of one run)")
    plan.add_argument("--json", action="store_true", help="print JSON for programs")
    plan.add_argument(
        "--jobs", action="store_true", help="print instead what a run would make now, by rule, why, and GPU-hours"
    )

    examined = command(
        "doctor", _doctor, "say what a study needs of this machine and is there or missing; 1 if missing"
    )
    configured(examined)

    power = command("power", _power, "print the smallest effect that a study's questions can detect")
    power.add_argument("--seeds", type=_positive, help="seeds of each arm (default: those of the study)")
    power.add_argument(
        "--seed-sd", type=_share, help="standard deviation of a gap between seeds, 0..1 (default: transfer.seed_sd)"
    )
    power.add_argument(
        "--questions",
        type=Path,
        help="instead: a table of open questions (open-questions writes it); prints the smallest effect of one script",
    )
    power.add_argument("--models", type=_positive, help="models that are asked them (default: 8)")
    power.add_argument("--known", type=_share, help="share that a model has right in their own language (default: 0.5)")
    power.add_argument("--right", type=_share, help="share of these right in another (default: 0.5)")
    power.add_argument(
        "--pair-sd",
        type=_share,
        help="how much two languages differ from others, a standard deviation, 0..1 (default: 0.05; regress prints it)",
    )
    configured(power)

    audited = command("sample-audit", _sample_audit, "write a sample of a study's filtered text for a person to read")
    audited.add_argument("--lang", nargs="+", help="languages (default: all)")
    audited.add_argument("--n", type=_positive, default=1000, help="documents of a corpus, pairs of a parallel text")
    audited.add_argument("--out", type=Path, required=True, help="a folder that holds no sample")
    configured(audited)

    sheet = command("label-sheet", _label_sheet, "write texts for a person to label, the verdict on them hidden")
    sheet.add_argument("--lang", required=True, help="whose questions")
    sheet.add_argument(
        "--of",
        choices=("hits", "pairs"),
        default="hits",
        help="judged hits of its own corpus (default), or pairs of its parallel text, flagged as leaks or not",
    )
    sheet.add_argument("--n", type=_positive, default=100, help="rows")
    sheet.add_argument("--out", type=Path, required=True, help="a CSV file")
    configured(sheet)

    labels = command("label-read", _label_read, "compare labelled sheets with the verdicts, and with each other")
    labels.add_argument("sheets", type=Path, nargs="+", metavar="SHEET", help="one sheet, or the same of two people")
    configured(labels)

    alarms = command("alarms", _alarms, "look for signs in a study's tables that it went wrong; 1 if an alarm rings")
    configured(alarms)

    found = command("findings", _findings, "say what a study found, which alarms ring, and which file to open first")
    configured(found)

    adopted = command(
        "adopt", _adopt, "verify results whose records are of an older form and take them over; 1 if some are left"
    )
    configured(adopted)
    adopted.add_argument(
        "--older-versions",
        action="store_true",
        help="adopt also what an older version of a stage made, as it lies; its record says so",
    )
    adopted.add_argument("--dry-run", action="store_true", help="look and verify; change nothing")

    compared = command(
        "compare",
        _compare,
        "say what differs between two studies, or two commits of a configuration; 1 if anything does",
    )
    compared.add_argument("a", metavar="A", help="a folder of results (results/demo), a bundle, or a commit")
    compared.add_argument("b", metavar="B", help="the same of the other")
    compared.add_argument(
        "--config", type=Path, default=Path("config/config.yaml"), help="the configuration that commits plan"
    )
    compared.add_argument("--out", type=Path, help="a JSON file: all that differs, for programs")
    compared.add_argument("--most", type=_positive, default=8, help="lines that are shown of each list")
    compared.add_argument(
        "--tolerance", type=_tolerance, default=0.0, help="numbers of results that differ by no more are the same"
    )

    explain = command("explain", _explain, "tell what made a file")
    explain.add_argument("path", type=Path)

    handed = command("publish", _publish, "write a checkpoint to a folder, with what it answers on its model card")
    handed.add_argument("run", help="a run's name, e.g. ko-bridge-s0")
    handed.add_argument("--step", type=int, help="of a checkpoint (default: the last)")
    handed.add_argument("--out", type=Path, required=True, help="a new or empty folder")
    configured(handed)

    batch = command("show-batch", _show_batch, "print the text that a run sees at one step")
    batch.add_argument("run", help="a run's name, e.g. ko-bridge-s0")
    batch.add_argument("--step", type=_natural, required=True, help="0 is the first")
    configured(batch)

    verified = command("verify", _verify, "check a study's files, or a run's, by checksum; 1 if one fails")
    verified.add_argument(
        "run", nargs="?", help="a run, e.g. ko-bridge-s0, whose order is drawn again, too (default: all that is made)"
    )
    configured(verified)

    filter_ = command("filter", _filter, "filter a JSONL(.gz) or Parquet file as a corpus of the study is filtered")
    filter_.add_argument("source", type=Path, metavar="IN")
    filter_.add_argument("out", type=Path, metavar="OUT", help="JSONL(.gz) or Parquet")
    filter_.add_argument("--lang", required=True)
    configured(filter_)

    facts = command("facts", _facts, "read a data set of facts into one table, and say what is left out")
    facts.add_argument("shape", choices=list(SHAPES), help="how the data set lies in its folder")
    facts.add_argument("folder", type=Path, help="the folder of the data set")
    facts.add_argument("--langs", nargs="+", required=True, metavar="LANG", help="codes, as its files are called")
    facts.add_argument("--relations", nargs="+", metavar="REL", help="those to keep (default: all)")
    facts.add_argument(
        "--repeats", choices=REPEATS, default="drop", help="a fact that stands again with the same prompt and object"
    )
    facts.add_argument("--out", type=Path, required=True, help="a Parquet file, one row a fact and language")

    asked = command("open-questions", _open_questions, "read a set of open questions into one table")
    asked.add_argument("shape", choices=list(OPEN_SHAPES), help="how the set lies at its path")
    asked.add_argument("path", type=Path, help="the file of ECLeKTic; the folder of MultiLoKo or KLAR")
    asked.add_argument("--langs", nargs="+", required=True, metavar="LANG", help="codes")
    asked.add_argument(
        "--translation",
        choices=list(TRANSLATIONS),
        default="human",
        help="of MultiLoKo, which has both (default: human)",
    )
    asked.add_argument("--out", type=Path, required=True, help="a Parquet file, one row a question and language")

    put = command("ask", _ask, "ask a model questions: a folder, or a name at an OpenAI-compatible endpoint")
    put.add_argument("model", help="a Hugging Face model folder; with --base-url, the model's name there")
    put.add_argument(
        "questions",
        type=Path,
        help="a table of open questions (.parquet; open-questions writes it), or .jsonl; with --task the table qa, or "
        ".jsonl as docs/removal.md has it",
    )
    put.add_argument(
        "--task",
        choices=[OPEN, MCQ, CONTEXT],
        help="questions on pages, graded: alone, with options of which the number is written, or behind their context",
    )
    put.add_argument("--scores", type=Path, help="with --task: a Parquet file (default: beside --out)")
    put.add_argument("--out", type=Path, required=True, help="a Parquet file, one row an answer")
    put.add_argument("--work", type=Path, help="a folder that keeps the answers (default: beside --out)")
    put.add_argument("--engine", choices=[OWN, VLLM], default=OWN, help=f"what reads a folder (default: {OWN})")
    put.add_argument("--form", choices=list(FORMS), help="how it is asked (default: what its tokenizer has)")
    put.add_argument("--prompt", help="the words, with {question}, perhaps {language} and {hint}")
    put.add_argument("--max-tokens", type=_positive, default=64, help="the most tokens of an answer (default: 64)")
    put.add_argument("--stop", nargs="*", help="strings that end an answer (default: of plain text, a line end)")
    put.add_argument("--samples", type=_positive, default=1, help="answers to each question (default: 1)")
    put.add_argument("--temperature", type=float, default=0.0, help="0 takes the likeliest token (default)")
    put.add_argument("--seed", type=_natural, default=0, help="of what is drawn (default: 0)")
    put.add_argument("--thinking", choices=list(THINKING), default=OFF, help=f"before it answers (default: {OFF})")
    put.add_argument("--thinking-tokens", type=_positive, help="the most tokens of a thought")
    put.add_argument("--batch-tokens", type=_positive, default=16384, help="tokens of a batch (default: 16384)")
    put.add_argument("--gpus", type=_natural, default=1, help="GPUs that share the model (vllm; default: 1)")
    put.add_argument("--device", help="cpu, cuda, ... (own; default: a GPU if there is one)")
    put.add_argument("--base-url", help="address of an OpenAI-compatible API, as https://host/v1")
    put.add_argument("--key-env", help="environment variable that holds its key")
    put.add_argument("--concurrency", type=_positive, default=8, help="requests open at a time (default: 8)")
    put.add_argument("--timeout", type=_positive, default=300, help="seconds that a request waits (default: 300)")
    put.add_argument("--answers-as", nargs="*", default=[], help="further names under which the model may answer")
    put.add_argument("--extra", type=json.loads, default={}, help="JSON that requests hold beside, e.g. how to think")

    graded = command("grade", _grade, "judge answers: by their letters, and by a language model where one is named")
    _answered(graded)
    graded.add_argument("--out", type=Path, required=True, help="a Parquet file, one row an answer and judge")
    graded.add_argument("--work", type=Path, help="a folder that keeps the verdicts (default: beside --out)")
    graded.add_argument("--model", help="the judge: a folder or hub id for vLLM; with --base-url, its name there")
    graded.add_argument("--revision", help="commit of a judge of the hub")
    graded.add_argument("--gpus", type=_natural, default=1, help="GPUs that share the judge (vllm; default: 1)")
    graded.add_argument("--base-url", help="address of an OpenAI-compatible API, as https://host/v1")
    graded.add_argument("--key-env", help="environment variable that holds its key")
    graded.add_argument("--concurrency", type=_positive, default=8, help="requests open at a time (default: 8)")

    drawn = command("grade-sheet", _grade_sheet, "write judged answers for a person to label, the verdict hidden")
    drawn.add_argument("judged", type=Path, help="a table of judged answers, of grade")
    _answered(drawn)
    drawn.add_argument("--judge", required=True, help="whose verdicts, as the table's column judge has it")
    drawn.add_argument("--n", type=_positive, default=100, help="rows (default: 100)")
    drawn.add_argument("--out", type=Path, required=True, help="a CSV file")

    read = command("grade-read", _grade_read, "compare labelled sheets of answers with the judge, and with each other")
    read.add_argument("sheets", type=Path, nargs="+", metavar="SHEET", help="one sheet, or the same of two people")
    read.add_argument("--judged", type=Path, required=True, help="the table that they were drawn from")
    _answered(read, questions=False)
    read.add_argument("--judge", required=True, help="whose verdicts")

    regress = command(
        "regress", _regress, "say of judged answers whether one script, or one family, goes with what crosses"
    )
    regress.add_argument("judged", type=Path, nargs="+", metavar="JUDGED", help="CSV or Parquet, a row an answer")
    regress.add_argument(
        "--languages", type=Path, help="a CSV file with lang, script and family, for languages that are not known here"
    )
    regress.add_argument("--hint", default="none", help="answers with which hint (default: none)")
    for name, of in (("distances", "lang_a and lang_b"), ("volumes", "lang")):
        regress.add_argument(
            f"--{name}",
            nargs="+",
            metavar=("FILE", "COLUMN"),
            help=f"a CSV file with {of}, and columns of it to adjust for",
        )
    regress.add_argument("--mixed", action="store_true", help="a mixed logit, too (minutes for ten thousand answers)")
    regress.add_argument(
        "--labelings", type=_positive, default=MOST, help=f"up to so many all are gone through (default: {MOST})"
    )
    regress.add_argument("--seed", type=_natural, default=0, help="of draws, where there are more")
    regress.add_argument("--out", type=Path, help="a .parquet or .csv file of effects, or .json of all that is found")

    score = command(
        "score",
        _score,
        "score cloze questions with a causal language model, or ask a causal or masked one facts, by what it is",
    )
    score.add_argument("model", type=Path, help="a Hugging Face model folder")
    score.add_argument(
        "questions", type=Path, help="questions in the released JSON shape, or a table of facts (.parquet)"
    )
    score.add_argument("--out", type=Path, required=True, help="a Parquet file, one row an option or a fact")
    score.add_argument(
        "--mode",
        choices=["float32", "reference"],
        default="float32",
        help="reference: the published scorer's rule with its bfloat16 and its ties",
    )
    score.add_argument(
        "--known-missing-gold",
        type=_natural,
        nargs="*",
        default=[],
        metavar="ROW",
        help="0-based rows whose answer is not among their options; any other such row is an error",
    )
    score.add_argument("--decode", choices=DECODES, help="how masks are filled (facts; default: simultaneous)")
    score.add_argument("--lengths", choices=LENGTHS, help="numbers of masks: the gold's, or any (facts; default: gold)")
    score.add_argument(
        "--space",
        choices=SPACES,
        help="what the gold is compared with (facts; default: vocabulary, of a causal model candidates)",
    )
    score.add_argument(
        "--bare", choices=BARES, help="SentencePiece's piece that is a space alone (facts; default: drop)"
    )
    score.add_argument("--work", type=Path, help="a folder to resume from (facts)")
    score.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")

    workers.add_commands(command)
    return parser


def _answered(sub: argparse.ArgumentParser, questions: bool = True) -> None:
    """Let a command take tables of answers, and the questions that they are to."""
    sub.add_argument("--answers", type=Path, nargs="+", required=True, help="tables of answers, of ask")
    if questions:
        sub.add_argument(
            "--questions", type=Path, nargs="+", required=True, help="what was asked, with its right answers"
        )


def _natural(text: str, least: int = 0) -> int:
    """Return a whole number of at least `least`."""
    if not re.fullmatch("[0-9]{1,18}", text) or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
    return int(text)


def _positive(text: str) -> int:
    """Return a whole number of at least 1."""
    return _natural(text, 1)


def _share(text: str) -> float:
    """Return a number between 0 and 1."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")
    return number


def _tolerance(text: str) -> float:
    """Return a number of at least 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return number


def _load_plan(arguments: argparse.Namespace, digest: Callable[[str], str] = file_digest) -> Plan:
    from lorebridge import config, studies

    overrides = _overrides(arguments)
    # Laid over what the file says before defaults are filled in, as by Snakemake.
    loaded = config.read(arguments.config)
    said = config.merged(loaded, overrides) if overrides else loaded
    return studies.plan(config.check(said, name=str(arguments.config)), digest)


def _overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what --set says, by key."""
    from lorebridge import config

    overrides: dict[str, Any] = {}
    for item in arguments.set:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise InputError(f"--set {item}", "has no key and value", "Write KEY=VALUE.")
        if key in overrides:
            raise InputError(f"--set {key}", "is given twice", "Give it once.")
        overrides[key] = config.parse(value, f"--set {key}")
    return overrides


def _section(arguments: argparse.Namespace, plan: Plan, name: str) -> Any:
    """Return a section of the configuration that not every kind of study has."""
    if name not in plan.config:
        raise InputError(arguments.config, f"has no section {name!r}", "Give the --config of a study that has one.")
    return plan.config[name]


def _language(plan: Plan, lang: str) -> str:
    """Return `lang`, a language of the study that a person names and that it has a corpus of."""
    for key, what in (
        ("languages", "is not a language of the study"),
        ("corpora", "is one that the study has no corpus of"),
    ):
        if lang not in plan.config[key]:
            raise InputError(f"--lang {lang}", what, f"Its {key}: {', '.join(plan.config[key]) or 'none'}.")
    return lang


def _snakemake(arguments: argparse.Namespace, *targets: str) -> str:
    """Return the command that makes what is asked for of a study as this command line has it."""
    # The targets come first: --configfile and --config take all that follows.
    config = ["--config", *arguments.set] if arguments.set else []
    return shlex.join(["snakemake", *targets, "--configfile", str(arguments.config), *config, "--cores", "2"])


def _made(arguments: argparse.Namespace, plan: Plan, stage: str, **wildcards: str) -> dict[str, list[Path]]:
    """Return output name -> paths of an artifact of a study.

    Raises:
        InputError: it is not made yet, or was made by another recipe than the configuration asks for.
    """
    outputs = plan.outputs(stage, **wildcards)
    files = {
        name: [Path(path) for path in ([paths] if isinstance(paths, str) else paths)] for name, paths in outputs.items()
    }
    [record] = files.pop("record")
    first = next(iter(files.values()))[0]
    found = read_record(record) or {}
    made = found.get("recipe")
    if made != plan.task(stage, **wildcards).recipe:
        state = "was made by another recipe" if made else "is not made yet"
        raise InputError(first, state, f"Make it: {_snakemake(arguments, str(first))}")
    cache = DigestCache(Path(plan.config["work"]) / "digests")
    refuse_changed(changes(outputs_of(record, found), lambda _: found["rule"], cache))
    return files


def _questions(arguments: argparse.Namespace, plan: Plan, culture: str) -> Path:
    """Return the table of the questions that a study asks of a culture."""
    asked = plan.study.asked[culture]
    return _made(arguments, plan, asked.stage, **asked.wildcards)[asked.file][0]


def _plan(arguments: argparse.Namespace) -> None:
    from lorebridge import config

    if arguments.jobs and arguments.gpus:
        raise InputError("--gpus", "is of the plan of runs, not of --jobs", "Leave one of the two out.")
    if arguments.jobs:
        _jobs(arguments)
        return
    plan = _load_plan(arguments)
    compute = plan.config["compute"]
    gpus = arguments.gpus or max(1, compute["gpus"] * compute["nodes"])
    study, cost = plan.study, Cost(plan.study)
    models = [model for model in study.trained if model.start is not None]
    bases = [model for model in study.trained if model.start is None]
    counts = {"runs": len(models), "base_runs": len(bases)}
    totals = counts | cost.totals | {"gpus": gpus, "wall_hours": cost.wall_hours(gpus)}
    base_runs: list[dict[str, Any]] = [
        {
            "run": model.name,
            "steps": model.steps,
            "checkpoints": list(model.checkpoints),
            "tokens": model.tokens,
            "gpu_hours": round(cost.hours(model), 3),
        }
        for model in bases
    ]
    runs: list[dict[str, Any]] = [
        {
            "run": model.name,
            "lang": model.lang,
            "arm": model.arm,
            "seed": model.seed,
            "steps": model.steps,
            "checkpoints": list(model.checkpoints),
            "tokens": model.tokens,
            "gpu_hours": round(cost.hours(model), 3),
        }
        for model in models
    ]
    origin = config.provenance(arguments.config, _overrides(arguments))
    if arguments.json:
        values = [{"key": key, "value": value, "origin": text} for key, value, text in origin]
        print(
            json.dumps(
                {"runs": runs, "base_runs": base_runs, "totals": totals, "asking": cost.asking, "values": values},
                ensure_ascii=False,
            )
        )
        return
    counted = [(models, "that go on from another"), (bases, "from scratch"), (study.of_phase("given"), "given")]
    said = ", ".join(f"{len(some)} {what}" for some, what in counted if some)
    print(f"study {plan.config['study']}: models: {said or 'none'}\n")
    width = max(24, 2 + max((len(run["run"]) for run in base_runs + runs), default=0))
    print(f"{'run':<{width}}{'steps':>8}{'checkpoints':>13}{'tokens':>16}{'GPU-hours':>11}")
    for run in base_runs + runs:
        size = f"{run['steps']:>8,}{len(run['checkpoints']):>13}{run['tokens']:>16,}{run['gpu_hours']:>11.2f}"
        print(f"{run['run']:<{width}}{size}")
    estimate = plan.config["compute"]["estimate"]
    print(
        f"\ntotal {totals['tokens']:,} tokens, {totals['flops']:.3g} FLOP; at {estimate['mfu']:.0%} of "
        f"{estimate['peak_flops']:.3g} FLOP/s: {totals['gpu_hours']:,.1f} GPU-hours (assumed, not measured), "
        f"{totals['wall_hours']:,.1f} hours of training on {gpus} GPUs at a time"
        f"\n{totals['parameters']:,} parameters; {totals['checkpoints']:,} checkpoints; disk "
        f"{totals['disk_bytes'] / 1e9:,.1f} GB, of which {totals['resume_bytes'] / 1e9:,.1f} GB of resume state is "
        "freed as runs finish; corpora and token stores come on top"
    )
    for name, of_one in cost.asking.items():
        print(
            f"asking {name}: {of_one['tokens']:,.0f} tokens at most, {of_one['flops']:.3g} FLOP, "
            f"{of_one['gpu_hours']:,.2f} GPU-hours (assumed, not measured), disk {of_one['disk_bytes'] / 1e9:,.1f} GB"
        )
    for path, obtain in plan.study.absent_sources():
        print(f"\nto put in place before the study runs: {path}\n  {obtain}")
    print("\nwhere each value comes from")
    for key, value, text in origin:
        shown = str(value) if len(str(value)) <= 44 else str(value)[:41] + "..."
        print(f"  {key:<48} {shown:<46} {text or 'not said'}")


def _jobs(arguments: argparse.Namespace) -> None:
    """Print what a run would make: what `snakemake -n` lists job by job."""
    from lorebridge.plan.due import due
    from lorebridge.records import Records

    plan = _load_plan(arguments)
    plan.study.digest = DigestCache(Path(plan.config["work"]) / "digests")
    cost, records = Cost(plan.study), Records()
    wanted = due(plan, records)
    reasons: dict[tuple[str, str], list[float]] = {}
    by_model = {model.artifact: cost.hours(model) for model in plan.study.trained}
    for name, why in wanted.items():
        shown = why if len(why) < 4 else [*why[:3], f"and {len(why) - 3} more"]
        reasons.setdefault((name[0], "; ".join(shown)), []).append(by_model.get(name, 0.0))
    if arguments.json:
        rows = [
            {"rule": rule, "reason": reason, "jobs": len(hours), "gpu_hours": sum(hours)}
            for (rule, reason), hours in reasons.items()
        ]
        print(json.dumps({"jobs": rows, "made": sum(1 for _ in plan.walk()) - len(wanted)}, ensure_ascii=False))
        return
    for (rule, reason), hours in reasons.items():
        reckoned = f" [{sum(hours):,.2f} GPU-hours]" if sum(hours) else ""
        print(f"{len(hours):>5}  {rule:<18} {reason}{reckoned}")
    total = sum(by_model[name] for name in wanted if name in by_model)
    print(
        f"{len(wanted):>5}  jobs"
        + (f", of which training is reckoned at {total:,.2f} GPU-hours (assumed, not measured)" if total else "")
        if wanted
        else "nothing to be made: all is there, by these recipes"
    )


def _doctor(arguments: argparse.Namespace) -> int:
    from lorebridge.doctor import examine

    missing = 0
    for finding in examine(lambda: _load_plan(arguments, digest=lambda path: "")):
        print(finding, flush=True)
        missing += bool(finding.mend)
    print(f"\n{missing} missing" if missing else "\nall in place")
    return 1 if missing else 0


def _power(arguments: argparse.Namespace) -> None:
    from lorebridge.transfer.power import detectable_effects

    of_seeds, of_models = ("seeds", "seed_sd"), tuple(ASSUMED)
    for name in of_seeds if arguments.questions is not None else of_models:
        if getattr(arguments, name) is not None:
            option = f"--{name.replace('_', '-')}"
            what = "is not of --questions" if name in of_seeds else "is of --questions"
            raise InputError(option, what, f"Leave {option} out, or --questions." if name in of_seeds else "Give both.")
    if arguments.questions is not None:
        _power_of_scripts(arguments)
        return
    plan = _load_plan(arguments)
    transfer = _section(arguments, plan, "transfer")
    questions = {culture: _questions(arguments, plan, culture) for culture in plan.study.asked}
    discordance = transfer["discordance"]
    seed_sd = transfer["seed_sd"] if arguments.seed_sd is None else arguments.seed_sd
    seeds = len(plan.config["seeds"]) if arguments.seeds is None else arguments.seeds
    effects = detectable_effects(
        questions=questions,
        subset=plan.config["probing"]["subset"],
        discordance=discordance,
        seed_sd=seed_sd,
        seeds=seeds,
    )
    print("smallest detectable gap between two arms, in percentage points of accuracy")
    print(f"(80 % power at a two-sided 5 %; {discordance:.0%} of the questions answered by exactly one arm)")
    print("  questions only: between two models, given these seeds")
    if seeds > 1:
        spread = f"{100 * seed_sd:g} points (--seed-sd)"
        print(f"  with seeds: between two arms of {seeds} seeds, whose gaps spread by {spread}")
    else:
        print("  with seeds: none, for one seed says nothing of two arms; take two or more (seeds, or --seeds)")
    for row in effects.to_dict("records"):
        print(
            f"  {row['culture']}: {_seen(row['detectable_effect'])} with {row['n_questions']} questions"
            + (f", {_seen(row['detectable_effect_seeds'])} with seeds" if seeds > 1 else "")
            + f"; {_seen(row['detectable_effect_clustered'])} by questions if each of {row['n_clusters']} clusters "
            "is answered alike"
        )


def _power_of_scripts(arguments: argparse.Namespace) -> None:
    from lorebridge.corpora.openqa import known_languages
    from lorebridge.tables import read
    from lorebridge.transfer.scripts import detectable_effect_of_script

    given = {name: getattr(arguments, name) for name in ASSUMED}
    said = {name: ASSUMED[name] if value is None else value for name, value in given.items()}
    try:
        questions = read(arguments.questions, ["dataset", "question_id", "source_lang", "lang"])
    except InputError as error:
        mend = "Give one that `lorebridge open-questions` has written."
        raise InputError(arguments.questions, "is no table of open questions", mend) from error
    print("smallest detectable effect of one script, in percentage points of answers")
    print(
        f"(80 % power at a two-sided 5 %; {said['models']} models, right in {said['known']:.0%} of the questions in "
        f"their own language and in {said['right']:.0%} of these in another; two languages differ by "
        f"{100 * said['pair_sd']:g} points)"
    )
    for dataset, own in questions.groupby("dataset", sort=True):
        effect = detectable_effect_of_script(own, known_languages(), **said)
        seen = "none: script cannot be told from the rest" if effect is None else f"{100 * effect:.1f}"
        print(
            f"  {dataset}: {seen} with {own['question_id'].nunique():,} questions in {own['lang'].nunique()} languages"
        )


def _seen(effect: float) -> str:
    return "none" if math.isnan(effect) else f"{100 * effect:.1f}"


def _sample_audit(arguments: argparse.Namespace) -> None:
    from lorebridge.corpora.spotcheck import sample_documents, sample_pairs
    from lorebridge.corpora.stages import shards
    from lorebridge.figures.style import FONTS
    from lorebridge.publish import check_folder

    plan = _load_plan(arguments)
    scripts = {lang: language["script"] for lang, language in plan.config["languages"].items()}
    langs = [_language(plan, lang) for lang in arguments.lang or scripts]
    paired = [lang for lang in langs if plan.study.halves(lang)]
    samples = [*langs, *(f"{plan.study.base}-{lang}" for lang in paired)]
    check_folder(arguments.out, [f"{sample}.{suffix}" for sample in samples for suffix in ("csv", "html")], new=True)
    # All are there before the first is read; an audit is made from all shards of its corpus.
    audits = {lang: _made(arguments, plan, "audit_corpus", lang=lang)["audit"][0] for lang in langs}
    documents = {
        lang: [
            _made(arguments, plan, "filter_corpus", lang=lang, shard=shard)["documents"][0]
            for shard in shards(plan.study, lang)
        ]
        for lang in langs
    }
    parallel = {lang: _made(arguments, plan, "filter_pairs", lang=lang) for lang in paired}
    fonts = {lang: FONTS / SCRIPT_FONTS[script] if script in SCRIPT_FONTS else None for lang, script in scripts.items()}
    shared: dict[str, Any] = {"n": arguments.n, "out": arguments.out}
    found = [
        sample_documents(
            lang=lang, script=scripts[lang], shards=documents[lang], audit=audits[lang], font=fonts[lang], **shared
        )
        for lang in langs
    ]
    for lang, files in parallel.items():
        found.append(
            sample_pairs(
                base=plan.study.base,
                lang=lang,
                scripts=scripts,
                pairs=files["pairs"][0],
                audit=files["pairs_audit"][0],
                font=fonts[lang],
                **shared,
            )
        )
    for table in found:
        for row in table.to_dict("records"):
            print(
                f"{row['corpus']:<8}{row['suspicion']:<18}{row['count']:>6,} of {row['n']:,}: {row['share']:.1%} "
                f"({row['lo']:.1%} to {row['hi']:.1%})"
            )
        print(f"{'':8}to read: {arguments.out / table['corpus'].iloc[0]}.html and .csv")


def _label_sheet(arguments: argparse.Namespace) -> None:
    from lorebridge.trace.labels import PAIRS, write_sheet
    from lorebridge.trace.leak_labels import write_leak_sheet

    plan, lang = _load_plan(arguments), arguments.lang
    translated = _section(arguments, plan, "tracing")["translation"]
    if lang not in plan.study.langs:
        raise InputError(
            f"--lang {lang}", "is not learned in this study", f"Its languages: {', '.join(plan.study.langs)}."
        )
    shared: dict[str, Any] = {
        "base": plan.study.base,
        "n": arguments.n,
        "out": arguments.out,
        "questions": _questions(arguments, plan, lang),
        "scripts": {name: language["script"] for name, language in plan.config["languages"].items()},
    }
    if arguments.of == PAIRS:
        notes = write_leak_sheet(culture=lang, **_leak_report(arguments, plan, lang), **shared)
        for stratum, size in notes["sizes"].items():
            print(f"{notes['rows'][stratum]:>6} of {size:>14,}  {stratum}")
        print(f"{arguments.out}: {arguments.n} questions, each with a pair")
        print(
            "label each row yes, no or unsure: does the pair state what the statement says? then: lorebridge label-read"
        )
        print("relevant: is it about the same thing? translation_ok: do the two halves say the same?")
        return
    cell = {"corpus": lang, "culture": lang}
    files: dict[str, Any] = {"hits": _made(arguments, plan, "retrieve", **cell)["hits"][0]}
    files["judgments"] = _made(arguments, plan, "judge", **cell)["judgments"][0]
    translations = None
    if lang in translated:
        translations = _made(arguments, plan, "translate", **cell)["translations"][0]
    notes = write_sheet(
        corpus=lang,
        **shared,
        **files,
        translations=translations,
        chunks=_made(arguments, plan, "chunks", corpus=lang)["chunks"][0],
        recipe=plan.task("judge", **cell).recipe,
    )
    print(
        f"{arguments.out}: {arguments.n} of {notes['told']:,} judged hits; {notes['indeterminate']:,} hits that the "
        "judge cannot tell are left out"
    )
    print("label each row yes, no or unsure: does the chunk state what the statement says? then: lorebridge label-read")
    print("relevant: is it about the same thing? translation_ok: does the translation say what the chunk says?")


def _leak_report(arguments: argparse.Namespace, plan: Plan, lang: str) -> dict[str, Any]:
    """Return what the leak report of a language's parallel text was made from, and its recipe."""
    _made(arguments, plan, "leaks")
    halves = [
        {
            "lang": text.lang,
            "subjects": _made(arguments, plan, "subjects", lang=text.lang)["subjects"][0],
            "mentions": _made(arguments, plan, "mentions", stream=text.name)["mentions"][0],
        }
        for text in plan.study.halves(lang)
    ]
    pairs = _made(arguments, plan, "filter_pairs", lang=lang)["pairs"][0]
    return {"halves": halves, "pairs": pairs, "recipe": plan.task("leaks").recipe}


def _label_read(arguments: argparse.Namespace) -> None:
    from lorebridge.trace.labels import PAIRS, read_sheets, sheet_drawn
    from lorebridge.trace.leak_labels import read_leak_sheets

    plan, sheets = _load_plan(arguments), arguments.sheets
    if len(sheets) > 2:
        raise InputError(sheets[2], "is a third sheet", "Give one sheet, or the same sheet of two people.")
    _section(arguments, plan, "tracing")
    lang, of, _, _ = sheet_drawn(sheets[0])
    if lang not in plan.study.langs:
        raise InputError(sheets[0], f"is of {lang!r}, which this study does not learn", "Give its --config.")
    if of == PAIRS:
        adopted = (read_record(plan.record("leaks", {})) or {}).get("adopted", {})
        table = read_leak_sheets(sheets=sheets, formerly=adopted.get("recipe"), **_leak_report(arguments, plan, lang))
    else:
        cell = {"corpus": lang, "culture": lang}
        files = {"hits": _made(arguments, plan, "retrieve", **cell)["hits"][0]}
        files["judgments"] = _made(arguments, plan, "judge", **cell)["judgments"][0]
        adopted = (read_record(plan.record("judge", cell)) or {}).get("adopted", {})
        table = read_sheets(
            sheets=sheets, recipe=plan.task("judge", **cell).recipe, formerly=adopted.get("recipe"), **files
        )
    for row in table.to_dict("records"):
        print(
            f"{row['measure']:<22}{row['estimate']:>6.2f} ({row['lo']:.2f} to {row['hi']:.2f})  {row['between']}, "
            f"{row['n']} labels, {row['unsure']} unsure"
        )


def _alarms(arguments: argparse.Namespace) -> int:
    from lorebridge import call
    from lorebridge.figures.write import two_digits
    from lorebridge.transfer.alarms import RINGS, alarms

    plan = _load_plan(arguments)
    if "alarms" not in plan.study.tables:
        raise InputError(arguments.config, "has no table of alarms", "Give the --config of a study that draws it.")
    for stage, wildcards in plan.inputs("table", table="alarms"):
        _made(arguments, plan, stage, **dict(wildcards))
    task = plan.task("table", table="alarms")
    files = plan.reads("table", table="alarms")
    settings = {key: value for key, value in call.literals(task).items() if key != "names"}
    table = alarms(**{name: call.shaped(task, name, paths) for name, paths in files.items()}, **settings)
    for name, rows in table.groupby("alarm", sort=False):
        print(name)
        for row in rows.to_dict("records"):
            estimate, lo, hi = (two_digits(row[name]) for name in ("estimate", "lo", "hi"))
            numbers = f"{estimate} ({lo} to {hi})".replace("nan", "-")
            place = f"{row['lang']} {row['direction']}"
            print(f"  {row['verdict']:<12} {place:<14} {row['quantity']}: {numbers}; {row['why']}")
            if row["to_do"]:
                print(f"{'':14}-> {row['to_do']}")
    return int((table["verdict"] == RINGS).any())


def _findings(arguments: argparse.Namespace) -> None:
    from lorebridge.figures.findings import findings

    plan = _load_plan(arguments)
    csv = {name: _made(arguments, plan, "table", table=name)["csv"][0] for name in plan.tables}
    page = _made(arguments, plan, "page")["page"][0]
    report = Path(plan.root) / "report.html"
    for line in findings(account=plan.study.account, config=plan.config, csv=csv, page=page, report=report):
        print(line)


def _adopt(arguments: argparse.Namespace) -> int:
    from lorebridge.adopt import DRAWN, adopt

    plan = _load_plan(arguments)
    n = {"adopted": 0, "left": 0}
    hours, older = 0.0, False
    with logging_to(None):
        for outcome in adopt(plan, older=arguments.older_versions, dry=arguments.dry_run):
            print(outcome, flush=True)
            n["left" if outcome.left else "adopted"] += 1
            hours += outcome.hours
            older |= bool(outcome.left) and outcome.version is not None
    would = "would be " if arguments.dry_run else ""
    print(f"{n['adopted']} {would}adopted, {n['left']} left as they are; {', '.join(DRAWN)} are made again")
    if n["left"]:
        cost = f", of which training is reckoned at {hours:,.2f} GPU-hours" if hours else ""
        print(f"the next run makes what is left again{cost}: look at it first with snakemake -n")
    if older:
        print("older versions of stages made some of it; --older-versions adopts that, and what was made from it")
    return int(n["left"] > 0)


def _refuse_former(path: Path) -> None:
    """Refuse a path where a model lay before."""
    if now := former.path(path):
        raise InputError(path, "is not where models lie any more", f"It is {now} now.")


def _compare(arguments: argparse.Namespace) -> int:
    import tempfile

    from lorebridge import publish
    from lorebridge.compare import alike, compare, lines, side

    if arguments.out:
        publish.check_file(arguments.out, suffixes=[".json"], inputs=[arguments.a, arguments.b])
    with tempfile.TemporaryDirectory(prefix="lorebridge-") as folder:
        a, b = (side(getattr(arguments, name), arguments.config, Path(folder, name)) for name in "ab")
        found = compare(a, b, arguments.tolerance)
    for line in lines(found, arguments.most):
        print(line)
    if arguments.out:
        publish.write_text(arguments.out, json.dumps(found, ensure_ascii=False, indent=1) + "\n")
    return 0 if alike(found) else 1


def _explain(arguments: argparse.Namespace) -> None:
    from lorebridge.studies import record_of

    path: Path = arguments.path
    place = record_of(path)
    if place is None or read_record(place) is None:
        _refuse_former(path)
        what = "has no record" if path.exists() else "is not there"
        raise InputError(path, what, "Name what a study has made (under results/).")
    record = read_record(place) or {}
    if gone := {"format", "finished", "wall_seconds", "packages", "git", "source"} - record.keys():
        what = f"is of an older form, or was edited: it does not say {', '.join(sorted(gone))}"
        raise InputError(place, what, "Adopt the study (lorebridge adopt), or make the file again.")
    print(f"{path}\n  record   {place}")
    print(f"  rule     {record['rule']} (stage {record['stage']}, version {record['version']})")
    if adopted := record.get("adopted"):
        older = f" of version {adopted['version']}" if "version" in adopted else ""
        print(f"  adopted  {adopted['on']}, from recipe {adopted['recipe']}{older} (stage {adopted['stage']})")
    print(f"  recipe   {record['recipe']}\n  made     {record['finished']} in {record['wall_seconds']:.1f} s")
    # As the workflow names them: from the working directory.
    asked = Path(os.path.relpath(path))
    described = outputs_of(os.path.relpath(place), record)
    covered = {p: said for p, said in described.items() if p == asked or p in asked.parents or asked in p.parents}
    for change in changes(covered, lambda _: record["rule"]):
        print(f"  warning: {change}. {change.mend}")
    git = record["git"]
    print(
        "  code     " + (f"{git['commit'][:12]}{' with uncommitted changes' if git['dirty'] else ''}" if git else "?")
    )
    print(f"  packages {', '.join(f'{name} {version}' for name, version in record['packages'].items())}")
    for name, value in record["literals"].items():
        print(f"  {name} = {json.dumps(value, ensure_ascii=False)}")
    for name, value in record["notes"].items():
        print(f"  note {name} = {json.dumps(value, ensure_ascii=False)[:300]}")
    for source, recipe in record["inputs"].items():
        found = (read_record(source) or {}).get("recipe")
        state = "" if found == recipe else f"  <- now {found or 'gone'}"
        print(f"  input    {source} {recipe}{state}")
    if record["source"] != source_digest():
        print(
            "  warning: lorebridge's code has changed since; if the change alters this result, the stage's version must"
        )


def _publish(arguments: argparse.Namespace) -> None:
    from lorebridge import publish, tables
    from lorebridge.train import card

    plan = _load_plan(arguments)
    model = _model(plan, arguments.run)
    step = model.checkpoints[-1] if arguments.step is None else arguments.step
    if step not in model.checkpoints:
        kept = ", ".join(map(str, model.checkpoints))
        raise InputError(f"--step {step}", f"{model.name} keeps no checkpoint there", f"Its checkpoints: {kept}.")
    if arguments.out.resolve().is_relative_to(Path(plan.root).resolve()):
        raise InputError(
            arguments.out, f"lies in {plan.root}, whose files are made by the study", "Name another --out."
        )
    publish.check_folder(arguments.out, [card.CARD], empty=True)
    stage, wildcards = model.artifact
    made = _made(arguments, plan, stage, **dict(wildcards))["checkpoints"]
    checkpoint = made[model.checkpoints.index(step)]
    if not (checkpoint / card.CARD).is_file():
        mend = "Train it again to get one, or write it by hand: lorebridge explain says what the model is."
        raise InputError(checkpoint, "was made before checkpoints had a model card", mend)
    probing = plan.config["probing"]
    headline = {"subset": probing["subset"], "rule": probing["rule"], "prefix": probing["prefix"]}
    answers = tables.read(_made(arguments, plan, "accuracies")["accuracies"][0])
    asked = (answers["model"] == model.name) & (answers["step"] == step)
    for column, value in headline.items():
        asked &= answers[column] == value
    perplexity = tables.read(_made(arguments, plan, "score", run=model.name)["perplexity"][0])
    held = (perplexity["step"] == step) & (perplexity["prefix"] == probing["prefix"])
    rows: list[list[Any]] = [answers[asked].to_dict("records"), perplexity[held].to_dict("records")]
    text = card.evaluated((checkpoint / card.CARD).read_text(encoding="utf-8"), *rows)
    card.hand_on(checkpoint, arguments.out, text)
    print(f"{arguments.out}: {model.name}, step {step}; say its licence in {arguments.out / card.CARD}")


def _show_batch(arguments: argparse.Namespace) -> None:
    from lorebridge.tokens.reader import show_batch

    plan = _load_plan(arguments)
    order = _made(arguments, plan, "order", run=_model(plan, arguments.run).name)["order"][0]
    for text in plan.study.model(arguments.run).texts:
        _made(arguments, plan, "token_store", stream=text)
    stage, of = _cut_by(plan, arguments.run).artifact
    _made(arguments, plan, stage, **dict(of))
    print(show_batch(order=order, **_tokens(plan, arguments.run), step=arguments.step))


def _cut_by(plan: Plan, run: str) -> Item:
    """Return the tokenizer of a run's text."""
    return plan.arguments("order", run=run)["tokenizer"].items[0]


def _tokens(plan: Plan, run: str) -> dict[str, Any]:
    """Return the token stores of a run by text, and the tokenizer's folder."""
    texts, tokenizer = plan.study.model(run).texts, _cut_by(plan, run)
    path = Path(plan.files(tokenizer.artifact, tokenizer.file)[0][1])
    return {
        "stores": {name: Path(str(plan.outputs("token_store", stream=name)["tokens"])).parent for name in texts},
        "tokenizer": path.parent if tokenizer.folder else path,
    }


def _verify(arguments: argparse.Namespace) -> int:
    from lorebridge import call
    from lorebridge.train.verify import verify

    plan = _load_plan(arguments)
    if arguments.run is None:
        return _verify_study(arguments, plan)
    model = _model(plan, arguments.run)
    task, read = plan.task("order", run=model.name), plan.reads("order", run=model.name)
    drawn = {
        name: call.shaped(task, name, read[name])
        for name in ("pairs", "mentions", "pages", "exclusions")
        if name in read
    }
    sound = True
    for check in verify(
        model=Path(plan.record(*model.artifact)).parent,
        order=Path(str(plan.outputs("order", run=model.name)["order"])),
        **_tokens(plan, model.name),
        tokenizer_record=Path(plan.record(*_cut_by(plan, model.name).artifact)),
        pairs=drawn.get("pairs"),
        mentions=drawn.get("mentions", []),
        removal={name: drawn[name] for name in ("pages", "exclusions") if name in drawn},
    ):
        print(check, flush=True)
        sound &= check.ok
    return 0 if sound else 1


def _verify_study(arguments: argparse.Namespace, plan: Plan) -> int:
    from lorebridge.integrity import survey

    artifacts = []
    # The bundle is nobody's input, and is there if somebody asked for it.
    for stage, wildcards in [*plan.walk(), ("bundle", ())]:
        files = plan.outputs(stage, **dict(wildcards))
        place = str(files.pop("record"))
        paths = [path for found in files.values() for path in ([found] if isinstance(found, str) else found)]
        artifacts.append((place, paths))
    checked, failed, n_bytes = 0, 0, 0
    for check in survey(artifacts):
        print(check, flush=True)
        checked, failed, n_bytes = checked + 1, failed + (not check.ok), n_bytes + check.n_bytes
    if not checked:
        mend = f"Name its results by --set results=FOLDER, or make it: {_snakemake(arguments)}"
        raise InputError(plan.root, "nothing of this study is here", mend)
    print(f"{checked:,} artifacts checked, {n_bytes:,} bytes: {f'{failed:,} failed' if failed else 'none has changed'}")
    return 1 if failed else 0


def _model(plan: Plan, name: str) -> Model:
    """Return the trained model of a study that a person names."""
    runs = [model.name for model in plan.study.trained]
    if name not in plan.study.models:
        raise InputError(f"run {name}", "is not of this study", f"Its runs: {', '.join(runs)}.")
    if name not in runs:
        raise InputError(f"run {name}", "is a model that is given, not trained here", f"Runs: {', '.join(runs)}.")
    return plan.study.model(name)


def _filter(arguments: argparse.Namespace) -> None:
    from lorebridge.corpora.documents import EDITS, filter_file

    plan = _load_plan(arguments)
    _language(plan, arguments.lang)
    corpus = plan.config["corpora"][arguments.lang]
    audit = filter_file(
        lang=arguments.lang,
        letters=plan.study.letters[arguments.lang],
        source=arguments.source,
        out=arguments.out,
        **{key: corpus[key] for key in ("min_chars", "max_deleted", "simplify", "deduplicate")},
    )
    print(f"{audit['rows']:>12,}  rows read\n{audit['kept']:>12,}  kept, {audit['edited']:,} of them edited")
    for kind, what in EDITS.items():
        edits = audit["edits"][kind]
        print(f"{edits['characters']:>12,}  {what}, in {edits['rows']:,}")
    for reason, count in audit["dropped"].items():
        print(f"{count:>12,}  dropped: {reason}")


def _once(option: str, values: Sequence[str]) -> None:
    """Refuse values that stand twice: each would count twice."""
    if twice := [value for value in values if values.count(value) > 1]:
        raise InputError(f"{option} {twice[0]}", "is given twice", "Give it once.")


def _facts(arguments: argparse.Namespace) -> None:
    from lorebridge.probes.facts import build_facts, told
    from lorebridge.publish import check_file

    check_file(arguments.out, suffixes=[".parquet"], inputs=[arguments.folder])
    _once("--langs", arguments.langs)
    notes = build_facts(
        shape=arguments.shape,
        langs=arguments.langs,
        folder=arguments.folder,
        relations=arguments.relations,
        repeats=arguments.repeats,
        out=arguments.out,
    )
    print("\n".join(told(notes)))


def _open_questions(arguments: argparse.Namespace) -> None:
    from lorebridge.probes.facts import told
    from lorebridge.probes.openqa import build_open_questions
    from lorebridge.publish import check_file

    check_file(arguments.out, suffixes=[".parquet"], inputs=[arguments.path])
    _once("--langs", arguments.langs)
    notes = build_open_questions(
        dataset=arguments.shape,
        shape=arguments.shape,
        path=arguments.path,
        langs=arguments.langs,
        translation=arguments.translation,
        out=arguments.out,
    )
    print("\n".join(told(notes)))


def _ask(arguments: argparse.Namespace) -> None:
    if arguments.task is not None:
        _ask_qa(arguments)
        return
    from lorebridge.probes.openqa import ask_open
    from lorebridge.publish import check_file

    served = arguments.base_url is not None
    folder = Path(arguments.model)
    check_file(arguments.out, suffixes=[".parquet"], inputs=[arguments.questions, *([] if served else [folder])])
    reached = ("base_url", "key_env", "concurrency", "timeout", "answers_as", "extra")
    with logging_to(None):
        notes = ask_open(
            run=arguments.model if served else folder.resolve().name,
            questions=[arguments.questions],
            engine=ENDPOINT if served else arguments.engine,
            manner={name: getattr(arguments, name) for name in ASKED},
            out=arguments.out,
            work=arguments.work or arguments.out.with_suffix(".work"),
            section="--base-url",
            **(
                {"model": arguments.model, **{name: getattr(arguments, name) for name in reached}}
                if served
                else {
                    "checkpoints": [(None, folder)],
                    **{name: getattr(arguments, name) for name in ("batch_tokens", "gpus", "device")},
                }
            ),
        )
    _print_counts(notes)


def _print_counts(notes: Mapping[str, Any]) -> None:
    for what, said in notes.items():
        if isinstance(said, dict):
            said = ", ".join(f"{name} {n:,}" for name, n in said.items())
        print(f"{what:<14}{said if isinstance(said, str) else format(said, ',')}")


def _ask_qa(arguments: argparse.Namespace) -> None:
    from lorebridge import tables
    from lorebridge.probes.qa import BASE, METRICS, ask_qa, given_qa
    from lorebridge.probes.qa_baselines import qa_baselines
    from lorebridge.publish import check_file

    if arguments.base_url is not None:
        raise InputError("--base-url", "is of an endpoint, and --task asks a model folder", "Leave one of them out.")
    folder, task = Path(arguments.model), arguments.task
    scores_out = arguments.scores or arguments.out.with_suffix(".scores.parquet")
    for out in (arguments.out, scores_out):
        check_file(out, suffixes=[".parquet"], inputs=[arguments.questions, folder])
    work = arguments.work or arguments.out.with_suffix(".work")
    with logging_to(None):
        qa, left_out = given_qa(arguments.questions, work)
        notes = ask_qa(
            run=folder.resolve().name,
            qa=qa,
            tasks=[task],
            base=BASE,
            engine=arguments.engine,
            manner={name: getattr(arguments, name) for name in ASKED},
            checkpoints={None: folder},
            out=arguments.out,
            scores_out=scores_out,
            work=work,
            **{name: getattr(arguments, name) for name in ("seed", "batch_tokens", "gpus", "device")},
        )
        qa_baselines(qa=qa, tasks=[task], base=BASE, seed=arguments.seed, out=work / "baselines.parquet")
    for what, n in left_out.items():
        print(f"left out: {what}, {n:,}")
    for what, n in notes.pop("left_out").get(task, {}).items():
        print(f"not asked: {what}, {n:,}")
    _print_counts(notes)
    scores, plain = tables.read(scores_out), tables.read(work / "baselines.parquet")
    print(f"{'':<28}{'n':>7}" + "".join(f"{metric:>12}" for metric in METRICS))
    for (lang, rule), found in scores.groupby(["lang", "rule"], sort=False):
        _print_means(f"{task} {lang} {rule}", len(found), [found[name].mean() for name in METRICS])
    for (lang, baseline), found in plain.groupby(["lang", "baseline"], sort=False):
        # of all splits, each as much as it has questions
        weighed = (found["value"] * found["n_questions"]).groupby(found["metric"]).sum()
        asked = found.groupby("metric")["n_questions"].sum()
        _print_means(f"{task} {lang} {baseline}", int(asked.max()), (weighed / asked).reindex(METRICS).tolist())


def _print_means(what: str, n: int, values: Sequence[float]) -> None:
    said = ("" if math.isnan(value) else format(value, ".3f") for value in map(float, values))
    print(f"{what:<28}{n:>7,}" + "".join(f"{value:>12}" for value in said))


def _grade(arguments: argparse.Namespace) -> None:
    from lorebridge.probes.grading import grade
    from lorebridge.publish import check_file

    check_file(arguments.out, suffixes=[".parquet"], inputs=[*arguments.answers, *arguments.questions])
    if arguments.base_url and arguments.model is None:
        raise InputError("--base-url", "is of a judge that has no name", "Give --model, its name there.")
    given = ("model", "revision", "base_url", "key_env", "concurrency", "gpus")
    with logging_to(None):
        notes = grade(
            answers=arguments.answers,
            questions=arguments.questions,
            out=arguments.out,
            work=arguments.work or arguments.out.with_suffix(".work"),
            kind=None if arguments.model is None else ENDPOINT if arguments.base_url else VLLM,
            section="--base-url",
            **{name: getattr(arguments, name) for name in given},
        )
    for judge, said in notes.items():
        if isinstance(said, dict):
            print(f"{judge:<24}{said['right']:>8,} right{said['wrong']:>8,} wrong")
        else:
            print(f"{judge:<24}{said:>8,}, left out")


def _grade_sheet(arguments: argparse.Namespace) -> None:
    from lorebridge.transfer.grade_labels import write_grade_sheet

    names = ("judged", "answers", "questions", "judge", "n", "out")
    for stratum, n in write_grade_sheet(**{name: getattr(arguments, name) for name in names}).items():
        print(f"{n:>6}  {stratum}")
    print(
        "label each row yes, no or unsure: does the answer say the same as one that is right? then: lorebridge "
        "grade-read"
    )


def _grade_read(arguments: argparse.Namespace) -> None:
    from lorebridge.transfer.grade_labels import read_grade_sheets

    if len(arguments.sheets) > 2:
        raise InputError(arguments.sheets[2], "is a third sheet", "Give one sheet, or the same sheet of two people.")
    names = ("sheets", "judged", "answers", "judge")
    for row in read_grade_sheets(**{name: getattr(arguments, name) for name in names}).to_dict("records"):
        print(
            f"{row['measure']:<22}{row['estimate']:>6.2f} ({row['lo']:.2f} to {row['hi']:.2f})  {row['between']}, "
            f"{row['n']} labels, {row['unsure']} unsure"
        )


def _regress(arguments: argparse.Namespace) -> None:
    import dataclasses

    import pandas as pd

    from lorebridge import publish, tables
    from lorebridge.corpora.openqa import known_languages
    from lorebridge.transfer.correlates import read_volumes
    from lorebridge.transfer.distances import read_distances
    from lorebridge.transfer.judged import joined
    from lorebridge.transfer.methods import CHEAP, MIXED
    from lorebridge.transfer.scripts import read_languages, regress, shown

    for name in ("distances", "volumes"):
        if (said := getattr(arguments, name)) and len(said) < 2:
            raise InputError(f"--{name} {said[0]}", "names no column", "Write the file, and then its columns.")
    beside = [Path(said[0]) for said in (arguments.distances, arguments.volumes) if said]
    if arguments.out:
        publish.check_file(arguments.out, suffixes=[".parquet", ".csv", ".json"], inputs=[*arguments.judged, *beside])
    languages = {**known_languages(), **(read_languages(arguments.languages) if arguments.languages else {})}
    found = regress(
        joined(arguments.judged),
        languages,
        hint=arguments.hint,
        distances=read_distances(arguments.distances[0], arguments.distances[1:]) if arguments.distances else None,
        volumes=read_volumes(arguments.volumes[0], arguments.volumes[1:]) if arguments.volumes else None,
        methods=(*CHEAP, MIXED) if arguments.mixed else CHEAP,
        labelings=arguments.labelings,
        seed=arguments.seed,
    )
    print("\n".join(shown(found)))
    if arguments.out is None:
        return
    if arguments.out.suffix == ".json":
        publish.write_text(arguments.out, json.dumps(dataclasses.asdict(found), ensure_ascii=False, indent=1) + "\n")
    elif arguments.out.suffix == ".csv":
        with publish.whole(arguments.out) as partial:
            pd.DataFrame(found.script_effects, columns=tables.SCHEMAS["script_effects"].names).to_csv(
                partial, index=False
            )
    else:
        tables.write("script_effects", found.script_effects, arguments.out)


def _score_facts(arguments: argparse.Namespace) -> None:
    from lorebridge.probes.asking import score_facts
    from lorebridge.probes.masked import objective
    from lorebridge.publish import check_file
    from lorebridge.tables import read

    if arguments.mode != "float32" or arguments.known_missing_gold:
        option = "--known-missing-gold" if arguments.known_missing_gold else "--mode"
        raise InputError(option, "is of cloze questions", "Leave it out.")
    check_file(arguments.out, suffixes=[".parquet"], inputs=[arguments.questions, arguments.model])
    said = {name: value for name in MANNER if (value := getattr(arguments, name)) is not None}
    if objective(arguments.model) == "causal":
        if masks := [name for name in said if name != "space" or said[name] != "candidates"]:
            raise InputError(
                f"{arguments.model}, --{masks[0]}",
                "it is a causal language model, which fills no masks",
                f"Leave --{masks[0]} out: the candidates are filled in; or give a masked language model.",
            )
        said["space"] = "candidates"
    with logging_to(None):
        found = score_facts(
            run=arguments.model.resolve().name,
            checkpoints=[(None, arguments.model)],
            facts=arguments.questions,
            out=arguments.out,
            batch_tokens=4096,
            device=arguments.device,
            work=arguments.work,
            **said,
        )
    scores = read(arguments.out)
    asked = {"decode": "", "lengths": "lengths ", "space": "space "}
    manner = [f"{word}{scores[name].iloc[0]}" for name, word in asked.items() if scores[name].notna().any()]
    print(", ".join([found["objective"], *(said for said in manner if said != "causal")]))
    print(f"{'':8}{'facts':>8}{'P@1':>8}{'any gold':>10}")
    micro, macro = scores[["exact", "filtered"]].mean(), scores.groupby("lang")[["exact", "filtered"]].mean()
    for lang, right in macro.iterrows():
        print(f"{lang:<8}{(scores['lang'] == lang).sum():>8,}{right['exact']:>8.4f}{right['filtered']:>10.4f}")
    print(f"{'micro':<8}{len(scores):>8,}{micro['exact']:>8.4f}{micro['filtered']:>10.4f}")
    print(f"{'macro':<8}{'':>8}{macro['exact'].mean():>8.4f}{macro['filtered'].mean():>10.4f}")
    for what in ("unknown piece", "no piece"):
        if found.get(what):
            print(f"{found[what]:,} golds have {'an ' if what[0] == 'u' else ''}{what}, and are never right")


def _score(arguments: argparse.Namespace) -> None:
    if not arguments.model.exists():
        _refuse_former(arguments.model)
    if arguments.questions.suffix == ".parquet":
        _score_facts(arguments)
        return
    from lorebridge.probes.scoring import score_file

    for name in (*MANNER, "work"):
        if getattr(arguments, name) is not None:
            raise InputError(f"--{name}", "is of facts", "Give a table of facts (.parquet), or leave it out.")
    with logging_to(None):
        found = score_file(
            model=arguments.model,
            questions=arguments.questions,
            out=arguments.out,
            mode=arguments.mode,
            known_missing_gold=arguments.known_missing_gold,
            device=arguments.device,
        )
    print(
        f"{found['mode']}: accuracy {found['accuracy']:.4f}, 95 % interval {found['lo']:.4f} to {found['hi']:.4f} "
        f"(Wilson), {found['n_questions']} questions, {found['ties']} of them with a tie for the best option"
    )


if __name__ == "__main__":
    logging.captureWarnings(True)
    sys.exit(main())
