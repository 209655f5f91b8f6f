"""The commands that the workflow's shell rules call: each makes the artifacts of one task.

Rules hand over the task (literals and recipes) and, as options, what is no part of a recipe: where files lie, threads,
how a judge is reached. Each command imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lorebridge import call
from lorebridge.records import DigestCache, Task
from lorebridge.studies import former


def add_commands(command: Callable[[str, Any, str], argparse.ArgumentParser]) -> None:
    """Add the commands to a command line.

    Args:
        command: adds one command, given its name, its function and its help, and returns the command's parser.
    """

    def worker(name: str, function: Any, text: str) -> argparse.ArgumentParser:
        sub = command(name, function, f"{text} (from the workflow)")
        sub.add_argument("--task", type=Task.loads, required=True, help="the stage's task, from the workflow's plan")
        sub.add_argument("--record", type=Path, required=True)
        sub.add_argument("--rule")
        sub.add_argument("--logfile", type=Path)
        for option in former.OPTIONS.get(name, ()):
            sub.add_argument(option, nargs="*", action=former.Gone, help=argparse.SUPPRESS)
        return sub

    train = worker("train", _train, "train a run, started by torchrun")
    train.add_argument("--work", type=Path, required=True, help="root of the resume state")
    train.add_argument("--order", type=Path, required=True)
    train.add_argument("--stores", type=Path, nargs="+", required=True, help="tokens.bin of each stream")
    train.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json")
    # torchrun takes what begins an option of its own, such as --start (--start-method), for that option.
    train.add_argument(
        "--initial",
        dest="start",
        type=Path,
        nargs="*",
        default=[],
        help="checkpoints of the model that it starts from, at the last",
    )
    train.add_argument(
        "--read-before",
        type=Path,
        nargs="*",
        default=[],
        help="tokens.bin of each stream that that model has read, where its embeddings are moved",
    )
    train.add_argument("--micro-batch", type=int, required=True, help="rows of a forward pass")
    train.add_argument(
        "--wall-minutes", type=float, help="wall time of the job; the run saves its state and stops before"
    )
    train.add_argument("--events", type=Path, required=True, help="folder of the run's TensorBoard events")
    train.add_argument("--resume-interval", type=int, default=50, help="steps between resume states")
    train.add_argument("--threads", type=int)

    free = command("free", _free, "delete the resume state of runs that are published whole (from the workflow)")
    free.add_argument("--checkpoints", type=Path, nargs="+", required=True, help="their record lies beside them")
    free.add_argument("--work", type=Path, required=True, help="root of the resume state")

    probe = worker("probe", _probe, "score all checkpoints of a run on question sets")
    probe.add_argument("--checkpoints", type=Path, nargs="+", required=True)
    probe.add_argument("--questions", type=Path, nargs="+", required=True)
    probe.add_argument("--heldout", type=Path, nargs="*", default=[], help="held-out documents, by language")
    probe.add_argument("--pairs", type=Path, nargs="*", default=[], help="held-out pairs, by language")
    probe.add_argument("--out", type=Path, required=True)
    probe.add_argument("--perplexity", type=Path, help="where to write what is measured on held-out documents")
    probe.add_argument("--alignment", type=Path, help="where to write what is measured on held-out pairs")
    probe.add_argument("--batch-tokens", type=int, required=True)
    probe.add_argument("--threads", type=int)
    probe.add_argument("--work", type=Path, required=True, help="root of the resume state")

    ask = worker("ask-facts", _ask_facts, "ask all checkpoints of a model facts")
    ask.add_argument("--checkpoints", type=Path, nargs="+", required=True)
    ask.add_argument("--facts", type=Path, required=True)
    ask.add_argument("--out", type=Path, required=True)
    ask.add_argument("--batch-tokens", type=int, required=True)
    ask.add_argument("--threads", type=int)
    ask.add_argument("--work", type=Path, required=True, help="root of the resume state")

    answer = worker("answer", _answer, "ask a model open questions")
    answer.add_argument("--work", type=Path, required=True, help="root of the resume state")
    answer.add_argument("--questions", type=Path, nargs="+", required=True)
    answer.add_argument("--checkpoints", type=Path, nargs="*", default=[])
    answer.add_argument("--hints", type=Path, nargs="*", default=[], help="what is said beside the questions")
    answer.add_argument("--out", type=Path, required=True)
    answer.add_argument("--batch-tokens", type=int, required=True)
    answer.add_argument("--threads", type=int)

    paged = worker("answer-qa", _answer_qa, "ask all checkpoints of a model questions on pages")
    paged.add_argument("--work", type=Path, required=True, help="root of the resume state")
    paged.add_argument("--qa", type=Path, required=True)
    paged.add_argument("--checkpoints", type=Path, nargs="+", required=True)
    paged.add_argument("--out", type=Path, required=True)
    paged.add_argument("--scores-out", type=Path, required=True)
    paged.add_argument("--threads", type=int)

    named = worker("find-entities", _find_entities, "find what questions name")
    named.add_argument("--work", type=Path, required=True, help="root of the resume state")
    named.add_argument("--questions", type=Path, nargs="+", required=True)
    named.add_argument("--out", type=Path, required=True)
    named.add_argument("--sheet-out", type=Path, required=True)

    graded = worker("grade-answers", _grade_answers, "judge what models answer")
    graded.add_argument("--work", type=Path, required=True, help="root of the resume state")
    graded.add_argument("--answers", type=Path, nargs="+", required=True)
    graded.add_argument("--questions", type=Path, nargs="+", required=True)
    graded.add_argument("--out", type=Path, required=True)

    random = worker("random-models", _random_models, "score random models by the published rule")
    random.add_argument("--questions", type=Path, nargs="+", required=True)
    random.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json")
    random.add_argument("--out", type=Path, required=True)
    random.add_argument("--batch-tokens", type=int, required=True)
    random.add_argument("--threads", type=int)

    retrieve = worker("retrieve", _retrieve, "retrieve chunks for every question of a culture")
    retrieve.add_argument("--corpus", type=Path, required=True, help="a Lucene index, or a table of chunks")
    retrieve.add_argument("--questions", type=Path, required=True)
    retrieve.add_argument("--out", type=Path, required=True)
    retrieve.add_argument("--threads", type=int, default=1)

    index = worker("index", _index, "make what a corpus is searched by")
    index.add_argument("--work", type=Path, required=True, help="root of the resume state")
    index.add_argument("--chunks", type=Path, required=True)
    index.add_argument("--index", type=Path, required=True)
    index.add_argument("--threads", type=int, default=1)

    translate = worker("translate", _translate, "translate hits and statements for the judge")
    translate.add_argument("--work", type=Path, required=True, help="root of the resume state")
    translate.add_argument("--hits", type=Path, required=True)
    translate.add_argument("--chunks", type=Path, required=True)
    translate.add_argument("--questions", type=Path, required=True)
    translate.add_argument("--out", type=Path, required=True)
    translate.add_argument("--threads", type=int, default=1)

    judge = worker("judge", _judge, "judge whether retrieved chunks state the facts asked for")
    judge.add_argument("--work", type=Path, required=True, help="root of the resume state")
    judge.add_argument("--hits", type=Path, required=True)
    judge.add_argument("--chunks", type=Path, required=True)
    judge.add_argument("--questions", type=Path, required=True)
    judge.add_argument("--out", type=Path, required=True)
    judge.add_argument("--translations", type=Path, nargs="*", default=[], help="what is read in place of the hits")
    judge.add_argument("--subjects", type=Path, nargs="*", default=[], help="what the judge of co-occurrence looks for")


def _paths(arguments: argparse.Namespace, argument: str) -> list[Path]:
    """Return the paths of an option, which is called as the argument of the stage's function."""
    paths = getattr(arguments, argument)
    return paths if isinstance(paths, list) else [paths]


def _shaped(arguments: argparse.Namespace, argument: str) -> Any:
    """Return what the stage's function takes as an argument, from the paths of an option."""
    return call.shaped(arguments.task, argument, _paths(arguments, argument))


def _make(
    arguments: argparse.Namespace,
    function: Callable[..., Any],
    *options: str,
    reads: Mapping[str, list[Path]] | None = None,
    writes: Mapping[str, Path | list[Path]] | None = None,
    known: Mapping[str, str] | None = None,
    **given: Any,
) -> None:
    """Make an artifact: call `function` with the task's literals, some options of the command, and `given`.

    Args:
        arguments: of the command.
        function: the stage's.
        options: those of the command that it takes.
        reads: argument -> files that it reads, where these are not all that the option of that name has.
        writes: output -> files, where no option names them.
        known: sha256, by path, of what it writes, where it knows.
        given: further arguments.
    """
    task = arguments.task
    read = {name: _paths(arguments, name) for name in task.call["inputs"]} | dict(reads or {})
    written = (
        {name: getattr(arguments, said["argument"]) for name, said in task.call["outputs"].items()}
        if writes is None
        else writes
    )
    with task.making(
        arguments.record, arguments.rule, arguments.logfile, reads=read, writes=written, known=known
    ) as notes:
        told = {name: getattr(arguments, name) for name in options}
        notes.update(function(**call.literals(task), **task.call["given"], **told, **given) or {})


def _train(arguments: argparse.Namespace) -> None:
    from lorebridge.train.loop import train
    from lorebridge.train.work import work_folder

    task, out = arguments.task, arguments.record.parent
    if int(os.environ.get("RANK", "0")):  # of torchrun's processes the first writes record and log
        arguments.record = arguments.logfile = None
    start = _shaped(arguments, "start") if arguments.start else {}
    init_from = start[max(start, key=lambda step: int(step or 0))] if start else None
    known: dict[str, str] = {}

    def published(**given: Any) -> dict[str, Any]:
        notes = train(**given)
        known.update({str(out / name): digest for name, digest in notes.pop("files").items()})
        return notes

    _make(
        arguments,
        published,
        "order",
        "micro_batch",
        "resume_interval",
        "threads",
        "events",
        stores=_shaped(arguments, "stores"),
        tokenizer=_shaped(arguments, "tokenizer"),
        init_from=init_from,
        read_before=_shaped(arguments, "read_before") if arguments.read_before else None,
        out=out,
        work=work_folder(arguments.work, task.literals["run"], task.recipe),
        recipe=task.recipe,
        # A minute goes by until a job starts to train.
        budget_seconds=None if arguments.wall_minutes is None else 60 * arguments.wall_minutes - 60,
        # Less than the processes of a GPU job wait for each other.
        patience=300,
        reads={"start": [init_from]} if init_from else {},
        writes={
            "checkpoints": [out / f"step{step}" for step in task.literals["checkpoint_steps"]],
            "metrics": out / "metrics.parquet",
        },
        known=known,
    )


def _free(arguments: argparse.Namespace) -> None:
    from lorebridge.train.work import free

    # Where the plan says that all studies keep it, beside their folders of resume state.
    digests = DigestCache(arguments.work.parent / "digests")
    for published in sorted({path.parent for path in arguments.checkpoints}):
        free(arguments.work, published, digests)


def _steps(arguments: argparse.Namespace) -> list[tuple[int | None, Path]]:
    """Return (step, folder) of the checkpoints of a model; a given one has no step."""
    return [(int(step) if step else None, path) for step, path in _shaped(arguments, "checkpoints").items()]


def _probe(arguments: argparse.Namespace) -> None:
    from lorebridge.probes.scoring import score_run

    task = arguments.task
    work = arguments.work / task.stage / task.literals["run"] / task.recipe
    measured = {name: _shaped(arguments, name) for name in ("heldout", "pairs") if getattr(arguments, name)}
    _make(
        arguments,
        score_run,
        "questions",
        "out",
        "perplexity",
        "alignment",
        "batch_tokens",
        "threads",
        checkpoints=_steps(arguments),
        work=work,
        digests=task.call["digests"],
        **measured,
    )
    shutil.rmtree(work)


def _ask_facts(arguments: argparse.Namespace) -> None:
    from lorebridge.probes.asking import score_facts

    task = arguments.task
    work = arguments.work / task.stage / task.literals["run"] / task.recipe
    _make(
        arguments,
        score_facts,
        "facts",
        "out",
        "batch_tokens",
        "threads",
        checkpoints=_steps(arguments),
        work=work,
        digests=task.call["digests"],
    )
    shutil.rmtree(work)


def _answer(arguments: argparse.Namespace) -> None:
    from lorebridge.probes.openqa import ask_open

    task = arguments.task
    _make(
        arguments,
        ask_open,
        "questions",
        "out",
        "batch_tokens",
        "threads",
        checkpoints=_steps(arguments) if arguments.checkpoints else [],
        hints=next(iter(arguments.hints), None),
        # By the model alone, and never deleted: whatever else is asked later, an answer is bought once.
        work=arguments.work / task.stage / task.literals["run"],
        digests=task.call["digests"],
    )


def _answer_qa(arguments: argparse.Namespace) -> None:
    from lorebridge.probes.qa import ask_qa

    task = arguments.task
    checkpoints = _shaped(arguments, "checkpoints")
    work = arguments.work / task.stage / task.literals["run"]  # never deleted, as of `answer`
    _make(arguments, ask_qa, "qa", "out", "scores_out", "threads", checkpoints=checkpoints, work=work)


def _find_entities(arguments: argparse.Namespace) -> None:
    from lorebridge.probes.hints import find_entities

    work = arguments.work / arguments.task.stage
    _make(arguments, find_entities, "questions", "out", "sheet_out", work=work)


def _grade_answers(arguments: argparse.Namespace) -> None:
    from lorebridge.probes.grading import grade

    _make(arguments, grade, "answers", "questions", "out", work=arguments.work / arguments.task.stage)


def _random_models(arguments: argparse.Namespace) -> None:
    from lorebridge.probes.ties import scorer_bias

    _make(
        arguments, scorer_bias, "questions", "out", "batch_tokens", "threads", tokenizer=_shaped(arguments, "tokenizer")
    )


def _retrieve(arguments: argparse.Namespace) -> None:
    from lorebridge.trace.retrieval import retrieve

    _make(arguments, retrieve, "corpus", "questions", "out", "threads")


def _index(arguments: argparse.Namespace) -> None:
    from lorebridge.trace.retrieval import build_index

    _make(arguments, build_index, "chunks", "index", "threads", work=arguments.work / "index" / arguments.task.recipe)


def _translate(arguments: argparse.Namespace) -> None:
    from lorebridge.trace.translation import translate

    work = arguments.work / arguments.task.stage / arguments.task.recipe
    _make(arguments, translate, "hits", "chunks", "questions", "out", "threads", work=work)


def _judge(arguments: argparse.Namespace) -> None:
    from lorebridge.trace.judges import judge

    _make(
        arguments,
        judge,
        "hits",
        "chunks",
        "questions",
        "out",
        work=arguments.work / arguments.task.recipe,
        translations=next(iter(arguments.translations), None),
        subjects=next(iter(arguments.subjects), None),
    )
