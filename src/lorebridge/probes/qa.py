"""Questions on pages put to models, by task: what they write, which option they prefer, and how far each is right.

What is written is graded by its letters, in two normalisations (:mod:`lorebridge.probes.matching`). Of multiple choice
the number is read from what is written, as in Yang et al. (paper 002, section 4.1); beside it stands the option that is
likeliest by its number and by its text, which a model also has that cannot write a number.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from lorebridge import tables
from lorebridge.corpora.facts import json_rows
from lorebridge.corpora.openqa import known_languages
from lorebridge.corpora.qa import PAPER, TEST, TRAIN, build_qa
from lorebridge.corpora.qa_tasks import MCQ, TASKS, Put, chosen, put_all
from lorebridge.errors import InputError
from lorebridge.probes.answering import Asked, Local, answer_questions, counts
from lorebridge.probes.decisions import prediction_shares
from lorebridge.probes.matching import FOLDED, STRICT, exact, f1
from lorebridge.probes.models import (
    check_causal,
    check_vocabulary,
    load_model,
    load_tokenizer,
    require_one_run,
    set_threads,
    weights_digest,
)
from lorebridge.probes.openqa import reader
from lorebridge.probes.scoring import check_finite
from lorebridge.probes.serving import checked_form
from lorebridge.probes.trees import reads_batches, reads_trees, sum_logprobs
from lorebridge.probes.wording import CHAT, OFF, OWN, PLAIN, QUESTION, VLLM, Manner, build, build_apart
from lorebridge.records import file_digest, fingerprint
from lorebridge.tokens.templates import leads

log = logging.getLogger("lorebridge.probes")

GENERATED, NUMBERS, TEXTS = "generated", "numbers", "texts"
RULES = {
    GENERATED: "what the model writes",
    NUMBERS: "the option whose number has the highest log-probability behind the question",
    TEXTS: "the option whose text has the highest log-probability behind the question, summed over its tokens",
}
"""How the answer of a model is read."""
METRICS = ("em_strict", "f1_strict", "em_folded", "f1_folded", "correct")
CHAT_MCQ = "{question}\n\nAnswer with the number of the right option alone."
"""How options are put to a model by its chat template, unless other words are given."""
LONG = "leaves no room for its answer"
BASE = "en"
"""The base language of a file that a person gives, where it has it."""


@dataclasses.dataclass(frozen=True)
class _Task:
    """What is asked for a task.

    Attributes:
        name: a key of :data:`~lorebridge.corpora.qa_tasks.TASKS`.
        rows: of the table ``qa``.
        puts: of each row, how it is put.
        manner: in which words.
        prompts: of each row, the tokens that stand before its answer.
        options: of each row, the tokens of the numbers of its options, and of their texts; of none there are none.
    """

    name: str
    rows: list[Mapping[Any, Any]]
    puts: list[Put]
    manner: Manner
    prompts: list[list[int]] = dataclasses.field(default_factory=list)
    options: list[list[list[int]]] = dataclasses.field(default_factory=list)

    def questions(self) -> pd.DataFrame:
        """Return what is asked as rows of the table ``open_questions``."""
        columns = {
            "dataset": [self.name] * len(self.rows),
            "question_id": [row["question_id"] for row in self.rows],
            "source_lang": [None] * len(self.rows),
            "lang": [row["lang"] for row in self.rows],
            "question": [said.prompt for said in self.puts],
        }
        return pd.DataFrame(columns, dtype=object)

    def scores(self, columns: Mapping[str, Sequence[Any]], **said: Any) -> pd.DataFrame:
        """Return rows of the table ``qa_scores``, one for each of its questions."""
        own = {name: [row[name] for row in self.rows] for name in ("question_id", "lang", "split")}
        found = pd.DataFrame(own | dict(columns)).assign(task=self.name, **said)
        return found.reindex(columns=tables.SCHEMAS["qa_scores"].names)


def ask_qa(
    *,
    run: str,
    qa: Path,
    tasks: Sequence[str],
    base: str,
    engine: str,
    out: Path,
    scores_out: Path,
    work: Path,
    seed: int = 0,
    template: str | None = None,
    splits: Sequence[str] | None = None,
    manner: Mapping[str, Any] | None = None,
    names: Mapping[str, str] | None = None,
    checkpoints: Mapping[int | str | None, Path],
    window: int | None = None,
    batch_tokens: int = 16384,
    gpus: int = 0,
    max_model_len: int | None = None,
    device: str | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Ask all checkpoints of a model questions on pages; write what they answer, and how far that is right.

    A question that leaves no room for its answer is left out of both tables, and counted: which ones depends on the
    tokenizer and on how much the model reads, and hence is the same for models of one shape.

    Args:
        run: what the model is called.
        qa: the table ``qa``.
        tasks: keys of :data:`lorebridge.corpora.qa_tasks.TASKS`.
        base: the base language.
        engine: ``own`` or ``vllm``; log-probabilities are computed here in float32 whatever it is.
        out: the table ``answers``, whose ``dataset`` is the task: checkpoint by checkpoint, task by task.
        scores_out: the table ``qa_scores``, checkpoint by checkpoint, task by task, rule by rule.
        work: a folder that keeps answers and scores as they come. What it holds is not asked again.
        seed: of the order of options; see :func:`lorebridge.corpora.qa_tasks.put`.
        template: of the tuning; whoever is asked, tuned or not, reads the words and tokens of a row of it up to where
            the answer begins. None: the words of `manner`, by default those of :mod:`lorebridge.probes.wording`.
        splits: the questions that are asked; None is all but ``train``.
        manner: how answers are written, as :class:`~lorebridge.probes.wording.Manner` has it, one of each question.
        names: language -> its English name, where it is not among those that are known.
        checkpoints: step -> folder, all with one tokenizer; a model that is given has no step.
        window: tokens that the model was trained to read at once; None where it reads all that its configuration says.
        batch_tokens: tokens of a batch, padding and answers included.
        gpus, max_model_len: vllm: see :func:`lorebridge.probes.serving.vllm`.
        device: where to compute; by default the GPU where there is one.
        threads: CPU threads.

    Returns:
        Notes for the record: see :func:`lorebridge.probes.answering.counts`; ``left_out``: task -> reason ->
        questions and languages that are not asked; ``no number``: answers to multiple choice that begin with none.

    Raises:
        InputError: the engine or a task is not known, a question would have several answers, nothing can be asked, or
            the model fails. What was answered until then is kept.
        Busy: another process asks in `work`.
    """
    if engine not in (OWN, VLLM):
        raise InputError("engine", f"{engine!r} reads no folder", f"There are {OWN} and {VLLM}.")
    for name in tasks:
        if name not in TASKS:
            raise InputError("tasks", f"{name!r} is not known", f"There are {', '.join(TASKS)}.")
    set_threads(threads)
    folders = {int(step) if step not in (None, "") else None: Path(of) for step, of in checkpoints.items()}
    first = next(iter(folders.values()))
    require_one_run(list(folders.values()))
    called = {lang: known["name"] for lang, known in known_languages().items()} | dict(names or {})
    said = _manner(manner, template)
    tokenizer = load_tokenizer(first)
    form = checked_form(said, tokenizer)
    room = _room(first, window, max_model_len if engine == VLLM else None)
    rows = tables.read(qa).to_dict("records")
    asked: list[_Task] = []
    left_out: dict[str, Counter[str]] = {}
    for name in dict.fromkeys(tasks):
        these = [row for row in rows if (row["split"] != TRAIN if splits is None else row["split"] in splits)]
        found, left_out[name] = put_all(name, these, base=base, seed=seed, among=rows)
        words = dataclasses.replace(said, prompt=CHAT_MCQ) if name == MCQ and said.prompt is None else said
        one = _Task(name, [row for row, _ in found], [how for _, how in found], words if form == CHAT else said)
        asked.append(_fitting(one, Local(tokenizer, _nothing, said, form), called, tokenizer, template, room, left_out))
    for name, why in left_out.items():
        if why:
            log.warning("%s, %s: not asked: %s", run, name, ", ".join(f"{n} ({reason})" for reason, n in why.items()))
    asked = [task for task in asked if task.rows]
    if not asked:
        reasons = "; ".join(f"{name}: {n} {reason}" for name, why in left_out.items() for reason, n in why.items())
        raise InputError(
            qa,
            f"has nothing that can be asked for {', '.join(tasks)} ({reasons or 'no question of these splits'})",
            "Give questions that have what the task needs, or a model that reads more at once.",
        )
    # Before anything is written: vLLM keeps the memory of a GPU to itself.
    preferred = {
        step: _preferred(task, run, step, folder, tokenizer, work, batch_tokens=batch_tokens, device=device)
        for step, folder in folders.items()
        for task in asked
        if task.name == MCQ
    }
    answers, scored = [], []
    for step, folder in folders.items():
        identity, _, load = reader(
            engine,
            folder,
            said,
            batch_tokens=batch_tokens,
            device=device,
            gpus=gpus,
            max_model_len=max_model_len,
            digest=file_digest,
        )
        once = functools.cache(load)  # for all tasks
        for task in asked:
            written = answer_questions(
                model=run,
                step=step,
                questions=task.questions(),
                names=called,
                manner=task.manner,
                identity=identity,
                load=once,
                form=form,
                work=work,
            )
            answers.append(written)
            scored.append(_graded(task, written["answer"].tolist(), run, step))
            if task.name == MCQ:
                scored.append(preferred[step])
    whole = pd.concat([part.astype({"step": "Int32"}) for part in answers], ignore_index=True)
    tables.write("answers", whole.astype({"n_tokens": "Int32", "n_thought": "Int32"}), out)
    tables.write("qa_scores", pd.concat([part.astype(_TYPES) for part in scored], ignore_index=True), scores_out)
    notes = counts(whole) | {"left_out": {task: dict(why) for task, why in left_out.items() if why}}
    if any(task.name == MCQ for task in asked):
        notes["no number"] = sum(chosen(answer) is None for answer in whole[whole["dataset"] == MCQ]["answer"])
    log.info("%s: %s", run, notes)
    return notes


# Of columns that may hold nothing at all, and so would have no type of their own.
_TYPES = {"step": "Int32", **dict.fromkeys(METRICS, "Float64")}


def _nothing(*_: Any, **__: Any) -> Iterator[Mapping[int, tuple[str, int, str]]]:
    """Write nothing: for prompts alone."""
    return iter(())


def _manner(manner: Mapping[str, Any] | None, template: str | None) -> Manner:
    """Return how questions are put: in the words of a template of tuning where there is one."""
    said = Manner(**{**(manner or {}), "apart": True})
    if said.samples > 1:
        raise InputError("samples", f"are {said.samples}, and a question on a page has one answer", "Ask for one.")
    if template is None:
        return said
    (before, between, after), lead, _ = leads(template)
    stops = [*said.stops(PLAIN), *filter(None, (after.strip(),))]
    return dataclasses.replace(said, form=PLAIN, prompt=f"{before}{lead}{QUESTION}{between}", stop=stops)


def _room(folder: Path, window: int | None, most: int | None) -> int | None:
    """Return how many tokens a model may read and write; None where nobody says."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return min((n for n in (config.get("max_position_embeddings"), window, most) if isinstance(n, int)), default=None)


def _fitting(
    task: _Task,
    local: Local,
    names: Mapping[str, str],
    tokenizer: Any,
    template: str | None,
    room: int | None,
    left_out: Mapping[str, Counter[str]],
) -> _Task:
    """Return a task with its tokens, without the questions that leave no room for an answer, which are counted."""
    manner, form = task.manner, local.form
    thought = (manner.thinking_tokens or 0) if manner.thinking != OFF else 0
    found: list[tuple[Mapping[Any, Any], Put, list[int], list[list[int]]]] = []
    for row, said in zip(task.rows, task.puts, strict=True):
        words = manner.words(form, row["lang"])
        own = {"question": said.prompt, "lang": row["lang"]}
        prompt = local.prompt(Asked(build(own, words, names), 0, build_apart(own, words, names)))
        if template is not None:
            lead = leads(template)[2]
        elif form == CHAT or words[-1:].isspace():
            lead = ""
        else:
            lead = " "
        listed = [str(number) for number in range(1, len(said.options) + 1)] + list(said.options)
        options = [
            list(tokenizer(lead + text, add_special_tokens=False, split_special_tokens=True)["input_ids"])
            for text in listed
        ]
        needed = max([manner.max_tokens + thought, *map(len, options)])
        if room is not None and len(prompt) + needed > room:
            left_out[task.name][LONG] += 1
        elif not all(options):
            left_out[task.name]["an option of no token"] += 1
        else:
            found.append((row, said, prompt, options))
    return _Task(
        task.name,
        [row for row, *_ in found],
        [said for _, said, *_ in found],
        manner,
        [prompt for *_, prompt, _ in found],
        [options for *_, options in found],
    )


def _graded(task: _Task, answers: Sequence[str], run: str, step: int | None) -> pd.DataFrame:
    """Return the scores of what a model writes."""
    columns: dict[str, list[Any]] = {"answer": list(answers), **{metric: [] for metric in METRICS}}
    for row, said, answer in zip(task.rows, task.puts, answers, strict=True):
        golds = [said.answer] if task.name == MCQ else list(row["answers"])
        for rule in (STRICT, FOLDED):
            columns[f"em_{rule}"].append(float(exact(answer, golds, row["lang"], rule)))
            columns[f"f1_{rule}"].append(f1(answer, golds, row["lang"], rule))
        right = chosen(answer, len(said.options)) == said.gold if task.name == MCQ else columns["em_folded"][-1]
        columns["correct"].append(float(right))
    return task.scores(columns, model=run, step=step, rule=GENERATED)


def _preferred(
    task: _Task,
    run: str,
    step: int | None,
    folder: Path,
    tokenizer: Any,
    work: Path,
    *,
    batch_tokens: int,
    device: str | None,
) -> pd.DataFrame:
    """Return the scores of the options that a checkpoint prefers, by number and by text; kept, and not asked twice."""
    import torch

    kept = Path(work) / f"options-{'given' if step is None else f'step{step}'}.parquet"
    asked = [[row["question_id"], row["lang"], row["split"]] for row in task.rows]
    said = [dataclasses.asdict(how) for how in task.puts]
    identity = fingerprint([run, step, weights_digest(folder), asked, said, task.prompts, task.options])
    if (before := tables.read_kept(kept, identity)) is not None:
        return before
    model = load_model(folder, torch.float32, device)
    several = [[*prompt, *option] for prompt, of in zip(task.prompts, task.options, strict=True) for option in of]
    contexts = [len(prompt) for prompt, of in zip(task.prompts, task.options, strict=True) for _ in of]
    groups = [at for at, of in enumerate(task.options) for _ in of]
    check_vocabulary(model, tokenizer, several, folder)
    check_causal(model, several, folder)
    longest = groups[max(range(len(several)), key=lambda at: len(several[at]))]
    trees = reads_trees(model, [one for one, group in zip(several, groups, strict=True) if group == longest])
    with tqdm(total=sum(map(len, several)) - sum(contexts), unit="tok", desc=f"score {run}") as progress:
        totals = sum_logprobs(
            model,
            several,
            groups,
            trees=trees,
            batch_tokens=batch_tokens if reads_batches(model, several, trees=trees) else 1,
            contexts=contexts,
            progress=progress,
        )
    check_finite(totals, folder)
    del model
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # vLLM counts what is kept as used
    n, k = len(task.rows), len(task.puts[0].options)
    gold = np.array([how.gold for how in task.puts])
    found = []
    for rule, values in zip((NUMBERS, TEXTS), np.moveaxis(totals.reshape(n, 2, k), 1, 0), strict=True):
        shares = prediction_shares(values.ravel(), np.repeat(np.arange(n), k), "share").reshape(n, k)
        best = shares.argmax(axis=1)
        answer = [
            str(at + 1) if rule == NUMBERS else how.options[at]
            for how, at in zip(task.puts, best.tolist(), strict=True)
        ]
        columns = {"answer": answer, "correct": shares[np.arange(n), gold].tolist()}
        found.append(task.scores(columns, model=run, step=step, rule=rule).astype(_TYPES))
    scores = pd.concat(found, ignore_index=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    tables.write("qa_scores", scores, kept, metadata={"identity": identity})
    return scores


def given_qa(path: Path, work: Path) -> tuple[Path, dict[str, int]]:
    """Return the table ``qa`` of a file that a person gives, and how many of its questions were left out, by reason.

    Args:
        path: the table (.parquet), or rows as the paper prints one (.jsonl, .jsonl.gz): see
            :func:`lorebridge.corpora.qa.build_qa`; all languages that a row asks in are read.
        work: a folder that the table is written to where it is made.

    Raises:
        InputError: neither, or as :func:`~lorebridge.corpora.qa.build_qa`.
    """
    if path.suffix == ".parquet":
        return path, {}
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise InputError(path, "is neither Parquet nor JSON Lines", "Give a .parquet or a .jsonl file.")
    langs = dict.fromkeys(
        lang for _, row in json_rows(path) if isinstance(row.get("question"), dict) for lang in row["question"]
    )
    work.mkdir(parents=True, exist_ok=True)
    out = work / "qa.parquet"
    notes = build_qa(
        files=[{"shape": PAPER, "split": TEST}],
        paths=[path],
        langs=list(langs) or [BASE],
        base=BASE if BASE in langs else next(iter(langs), BASE),
        out=out,
    )
    return out, notes["left_out"]
