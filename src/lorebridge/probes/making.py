"""Cloze questions made from multiple-choice ones: selected, turned into clozes and translated by a language model, and
checked by people.

So Zhang et al. (ACL 2025, appendix B) made their Korean questions from CLIcK, with GPT-4o: questions of at most 300
characters whose choices have at most 30; "a cloze-style question ends with a period and has a blank in itself, where
the correct answer fits", and what came out otherwise was left out; then the translation, which people verified. Where
the model does not write a language (Tibetan and Mongolian in the paper), native speakers do. The prompts are our own:
the paper does not print its.

Nothing is dropped unseen: what a model made of a question that is no cloze stands on the sheet with the reason, and the
person who checks it may write what the model did not. Every prompt and response is kept in a file that the same
questions can be made from again, offline.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import regex
from tqdm import tqdm

from lorebridge import publish
from lorebridge.chat import Endpoint, read_key
from lorebridge.corpora.click import SPACE, Question, read_click, read_file
from lorebridge.corpora.specs import unique_keys
from lorebridge.errors import InputError
from lorebridge.journal import Journal
from lorebridge.probes.questions import BLANK
from lorebridge.records import file_digest, fingerprint
from lorebridge.sheets import read_rows, write_rows
from lorebridge.work import locked, replacing

log = logging.getLogger("lorebridge.probes")

TO_CLOZE = """\
Below is a multiple-choice question in {language}, as JSON. Rewrite the question as one statement in {language} with a \
blank, written ___ (three underscores), where the right answer stands.

- The statement has exactly one blank and ends with a period. It is no question.
- Every choice can be put into the blank as it is written. With the answer it is true and says what the question asks.
- The statement does not give the answer away, and says nothing that the question does not say.
- Leave out phrases such as "which of the following".

Answer with JSON alone: {{"cloze": "the statement"}}. If there is no such statement: {{"cloze": null}}.

{item}"""

TO_LANGUAGE = """\
Below is a statement in {language} with a blank, ___, and what may be put into it, as JSON. Translate all of it into \
{target}.

- The statement keeps exactly one blank, written ___ (three underscores), and ends with a period.
- The options keep their order. Each can be put into the blank of the translated statement as it is written.
- Names are written as is usual in {target}.

Answer with JSON alone: {{"question": "the statement", "options": ["an option", ...]}}.

{item}"""

MAX_TOKENS = 1024

OK, DROP = "ok", "drop"

# What is wrong with an answer of the model, or with a text. The first that holds is said.
NO_ANSWER, CUT, NOT_JSON, OTHER_FORM = "no answer", "cut short", "not JSON", "JSON of another form"
DECLINED = "no statement, says the model"
BY_HAND = "to be written by hand"

_FENCED = regex.compile(r"\A```\w*\n(.*)```\Z", regex.DOTALL)
# After the letter ga, Tibetan writes no shad.
_END = regex.compile(r"(?:[.。．｡།༎᠃।۔]|ག)[\p{Pf}\p{Pe}\"'\s]*\Z")
_LETTER = regex.compile(r"\p{L}")
_HALF = regex.compile(r"\p{Cs}")


@dataclasses.dataclass(frozen=True)
class Request:
    """What a model is asked.

    Attributes:
        step: ``cloze``, or the language that is translated into.
        id: of the question.
        prompt: the whole message.
    """

    step: str
    id: str
    prompt: str


@dataclasses.dataclass(frozen=True)
class Reply:
    """What a model says.

    Attributes:
        response: the whole message; empty where there is none.
        finish: why it ends, as the endpoint says: ``stop``, ``length`` and others.
    """

    response: str
    finish: str | None


Ask = Callable[[Sequence[Request]], list[Reply]]


# Selecting ------------------------------------------------------------------------------------------------------------


def select_questions(
    *,
    source: Mapping[str, Any],
    max_question: int | None,
    max_choice: int | None,
    n_choices: int,
    path: Path | None = None,
    out: Path,
    audit: Path,
) -> dict[str, Any]:
    """Write the multiple-choice questions that can become clozes, and which are left out, by reason.

    Args:
        source: ``kind`` ``huggingface`` with the keys of :func:`lorebridge.corpora.hub.find_files`, or ``local``.
        max_question: the most characters of a question; None takes all.
        max_choice: the most characters of every choice; None takes all.
        n_choices: how many choices a question has.
        path: of the file, where `source` is local; its form is that of :mod:`lorebridge.corpora.click`.
        out: a JSON list of ``{"id", "question", "choices", "answer"}``, the answer by its place from 0.
        audit: a JSON object, reason -> ids: of the questions that need a passage, are long, have long choices, another
            number of them, equal ones, or do not offer their answer. The first that holds.

    Returns:
        Notes for the record: ``read``, ``selected``, and ``left_out``, the counts by reason.

    Raises:
        InputError: the source cannot be had or has another form, or no question can be taken.
    """
    if source["kind"] == "local":
        if path is None:
            raise InputError("source", "is local, but there is no path", "Give the path of a file.")
        questions = read_file(path)
    else:
        questions = read_click(source)
    left_out: dict[str, list[str]] = {}
    selected = []
    for question in questions:
        if reason := _unfit(question, max_question, max_choice, n_choices):
            left_out.setdefault(reason, []).append(question.id)
        else:
            fields = {"id": question.id, "question": question.question, "choices": list(question.choices)}
            selected.append({**fields, "answer": question.answer})
    counts = {reason: len(ids) for reason, ids in sorted(left_out.items())}
    if not selected:
        raise InputError(
            path or source.get("dataset"),
            f"holds no question that can be taken ({counts})",
            "Take another file, or wider limits.",
        )
    _write_json(out, selected)
    _write_json(audit, {"left_out": dict(sorted(left_out.items()))})
    log.info("%d of %d questions are taken; left out: %s", len(selected), len(questions), counts or "none")
    return {"read": len(questions), "selected": len(selected), "left_out": counts}


def _unfit(question: Question, max_question: int | None, max_choice: int | None, n_choices: int) -> str | None:
    if question.paragraph:
        return "needs a passage"
    if max_question is not None and len(question.question) > max_question:
        return "long question"
    if max_choice is not None and any(len(choice) > max_choice for choice in question.choices):
        return "long choice"
    if len(question.choices) != n_choices:
        return "other number of choices"
    if len(set(question.choices)) < n_choices or not all(question.choices):
        return "equal or empty choices"
    if question.answer is None:
        return "answer not offered"
    return None


# Asking ---------------------------------------------------------------------------------------------------------------


def ask_endpoint(model: str, *, base_url: str, key_env: str | None, concurrency: int, section: str) -> Ask:
    """Return what asks a model behind an endpoint.

    Args:
        model: its name there.
        base_url: of the API, as ``https://host/v1``.
        key_env: the environment variable that holds the key; None where there is none.
        concurrency: requests open at a time.
        section: of the configuration, that says all this.

    Raises:
        InputError: no address, or no key. What is returned raises it where the endpoint fails.
    """
    there = Endpoint(model, base_url=base_url, key=read_key(key_env, section), section=section)

    def ask(request: Request) -> Reply:
        completion = there.complete(request.prompt, max_tokens=MAX_TOKENS)
        choice = completion.choices[0] if completion.choices else None
        said = (choice.message.content if choice else None) or ""
        # JSON can spell half a character, which no file can hold.
        return Reply(said.encode(errors="replace").decode(), choice.finish_reason if choice else None)

    def answer(requests: Sequence[Request]) -> list[Reply]:
        with concurrent.futures.ThreadPoolExecutor(concurrency) as pool:
            return list(pool.map(ask, requests))

    return answer


def ask_recorded(model: str, calls: Path) -> Ask:
    """Return what answers from a file that :func:`make_questions` wrote, and nothing else.

    Args:
        model: the model whose responses are taken.
        calls: the file.

    Raises:
        InputError: no such file, or a row of another form. What is returned raises it where a prompt is not recorded.
    """
    known: dict[str, Reply] = {}
    others: Counter[str] = Counter()
    try:
        text = calls.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(calls, f"cannot be read ({error})", "Give the calls.jsonl of an earlier making.") from error
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):  # responses may hold other line ends
        try:
            row = json.loads(line, object_pairs_hook=unique_keys())
            by, prompt, reply = row["model"], row["prompt"], Reply(row["response"], row["finish"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{calls}, line {number}",
                "not a recorded call",
                "Write every line as {model, prompt, response, finish}, or give the calls.jsonl of an earlier making.",
            ) from error
        if by != model:
            others[by] += 1
        elif known.setdefault(prompt, reply) != reply:
            raise InputError(f"{calls}, line {number}", "another response to the same prompt", "Remove one of them.")

    def answer(requests: Sequence[Request]) -> list[Reply]:
        for request in requests:
            if request.prompt not in known:
                of_others = f", only of {', '.join(sorted(others))}" if others and not known else ""
                raise InputError(
                    calls,
                    f"holds no response of {model} to the prompt of {request.id} ({request.step}){of_others}",
                    "Ask the model itself (kind: endpoint), or give the calls of these questions, model and prompts.",
                )
        return [known[request.prompt] for request in requests]

    return answer


def asker(
    model: str,
    kind: str,
    *,
    base_url: str | None,
    key_env: str | None,
    concurrency: int,
    recorded: Path | None,
    section: str,
) -> tuple[Ask, list[Any]]:
    """Return what asks a model, and what makes its replies this model's.

    Args:
        model: its name.
        kind: ``endpoint`` (:func:`ask_endpoint`) or ``recorded`` (:func:`ask_recorded`).
        base_url, key_env, concurrency: endpoint: see :func:`ask_endpoint`.
        recorded: recorded: the calls of an earlier making.
        section: of the configuration, that says all this.

    Raises:
        InputError: no such kind, or it lacks what it needs.
    """
    if kind == "endpoint" and base_url is not None:
        ask = ask_endpoint(model, base_url=base_url, key_env=key_env, concurrency=concurrency, section=section)
        return ask, [kind, model, MAX_TOKENS]
    if kind == "recorded" and recorded is not None:
        return ask_recorded(model, recorded), [kind, model, file_digest(recorded)]
    raise InputError(
        section,
        f"{kind!r} is no way to ask a model, or lacks what it needs",
        "Use `endpoint` with a base_url, or `recorded` with a file of calls.",
    )


def answers(
    requests: Sequence[Request], identity: Sequence[Any], ask: Ask, batch: int, journal: Journal[Reply]
) -> list[Reply]:
    """Ask a model what the journal does not know; return all replies, in the order of `requests`.

    Args:
        requests: what is asked.
        identity: what makes a reply this model's. A kept reply is taken only if it is the same.
        ask: answers.
        batch: how many are asked at a time.
        journal: the replies so far.
    """
    keys = [fingerprint([*identity, request.prompt]) for request in requests]
    known = journal.read()
    left = {key: request for key, request in zip(keys, requests, strict=True) if key not in known}
    log.info("%d prompts, of which %d are answered", len(requests), len(requests) - len(left))
    with tqdm(total=len(left), desc="ask", unit="prompt") as bar:
        for start in range(0, len(left), batch):
            asked = list(left)[start : start + batch]
            new = dict(zip(asked, ask([left[key] for key in asked]), strict=True))
            journal.append(new)
            known |= new
            bar.update(len(asked))
    return [known[key] for key in keys]


# Making ---------------------------------------------------------------------------------------------------------------


def make_questions(
    *,
    culture: str,
    lang: str,
    translate: Sequence[str],
    by_hand: Sequence[str],
    names: Mapping[str, str],
    scripts: Mapping[str, str],
    model: str,
    kind: str,
    selected: Path,
    work: Path,
    base_url: str | None = None,
    key_env: str | None = None,
    concurrency: int = 8,
    recorded: Path | None = None,
    made: Path,
    calls: Path,
    sheet: Path,
    page: Path,
) -> dict[str, Any]:
    """Have a language model turn multiple-choice questions into clozes and translate them; write a sheet to check.

    Args:
        culture: whose questions these are.
        lang: the language of the questions.
        translate: languages that the model translates into.
        by_hand: languages that native speakers translate into, on the sheet.
        names: language -> its English name.
        scripts: language -> its Unicode script.
        model: the model's name.
        kind: ``endpoint`` (:func:`ask_endpoint`) or ``recorded`` (:func:`ask_recorded`).
        selected: what :func:`select_questions` wrote.
        work: a folder that keeps the answers, so that a killed job need not ask again; two processes cannot share it.
        base_url, key_env, concurrency: endpoint: see :func:`ask_endpoint`.
        recorded: recorded: the `calls` of an earlier making.
        made: a JSON object: ``culture``, ``lang``, ``langs``, ``by_hand``, ``scripts``, and ``items``, a list in the
            order of `selected`: ``id``, ``answer`` (place from 0), ``problem`` (empty, or the step and the reason),
            ``source``, and ``texts``, language -> ``question`` and ``options``.
        calls: JSON Lines, a row each prompt: ``step``, ``id``, ``model``, ``prompt``, ``response``, ``finish``.
        sheet: a CSV file to be corrected and read with :func:`write_questions`.
        page: the same, to be read in a browser.

    Returns:
        Notes for the record: ``selected``, ``made``, ``malformed`` (step -> reason -> ids).

    Raises:
        InputError: no such kind, or it lacks what it needs; a language is given twice; the endpoint fails, or a prompt
            is not recorded.
        Busy: another process works in `work`.
    """
    section = f"questions.{culture}.made"
    ask, identity = asker(
        model,
        kind,
        base_url=base_url,
        key_env=key_env,
        concurrency=concurrency,
        recorded=recorded,
        section=f"{section}.model",
    )
    langs = [lang, *translate, *by_hand]
    if len(set(langs)) < len(langs):
        raise InputError(section, f"names a language twice ({', '.join(langs)})", "Name each once.")
    items = [
        _Item(row["id"], row["answer"], {"question": row["question"], "choices": row["choices"]})
        for row in json.loads(selected.read_text(encoding="utf-8"))
    ]
    log_of_calls: list[dict[str, Any]] = []
    with locked(work):
        journal = Journal(Path(work) / "replies.jsonl", Reply)

        def of_all(step: str, asked: Sequence[_Item], prompt: Callable[[_Item], str]) -> Iterable[tuple[_Item, Reply]]:
            requests = [Request(step, item.id, prompt(item)) for item in asked]
            replies = answers(requests, identity, ask, 4 * concurrency, journal)
            for request, reply in zip(requests, replies, strict=True):
                log_of_calls.append({**dataclasses.asdict(request), "model": model, **dataclasses.asdict(reply)})
            return zip(asked, replies, strict=True)

        def cloze_prompt(item: _Item) -> str:
            given = {**item.source, "answer": item.source["choices"][item.answer]}
            return TO_CLOZE.format(language=names[lang], item=_shown(given))

        for item, reply in of_all("cloze", items, cloze_prompt):
            said = read_reply(reply, {"cloze": (str, type(None))})
            if isinstance(said, dict):
                text = said["cloze"]
                said = DECLINED if text is None else item.take(lang, text, item.source["choices"], scripts[lang])
            item.note("cloze", said)
        for target in translate:
            whole = [item for item in items if not item.problem]

            def translation_prompt(item: _Item, target: str = target) -> str:
                return TO_LANGUAGE.format(language=names[lang], target=names[target], item=_shown(item.texts[lang]))

            for item, reply in of_all(target, whole, translation_prompt):
                said = read_reply(reply, {"question": str, "options": list})
                if isinstance(said, dict):
                    said = item.take(target, said["question"], said["options"], scripts[target])
                item.note(f"translation into {target}", said)
    told: dict[str, Any] = {"culture": culture, "lang": lang, "langs": langs, "by_hand": list(by_hand)}
    told |= {"scripts": {code: scripts[code] for code in langs}, "items": [dataclasses.asdict(item) for item in items]}
    _write_json(made, told)
    with replacing(calls) as file:
        for row in log_of_calls:
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    columns, rows = _sheet(made)
    write_rows(sheet, rows, columns)
    publish.write_text(page, _page(culture, langs, scripts, names, items))
    malformed: dict[str, dict[str, list[str]]] = {}
    for item in items:
        if item.problem:
            step, _, reason = item.problem.partition(": ")
            malformed.setdefault(step, {}).setdefault(reason, []).append(item.id)
    for step, reasons in malformed.items():
        for reason, ids in reasons.items():
            log.warning("%s: %d questions, %s (%s)", step, len(ids), reason, ", ".join(ids[:5]))
    return {"selected": len(items), "made": sum(not item.problem for item in items), "malformed": malformed}


@dataclasses.dataclass
class _Item:
    """A question on its way; see `made` of :func:`make_questions`."""

    id: str
    answer: int
    source: dict[str, Any]
    problem: str = ""
    texts: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def take(self, lang: str, question: str, options: Sequence[Any], script: str) -> str:
        """Keep the texts in a language if nothing is wrong with them; say what is."""
        if not all(isinstance(option, str) for option in options):
            return OTHER_FORM
        question, options = question.strip(SPACE), [option.strip(SPACE) for option in options]
        if wrong := what_is_wrong(question, options, script, len(self.source["choices"])):
            return wrong
        self.texts[lang] = {"question": question, "options": options}
        return ""

    def note(self, step: str, wrong: str | Mapping[str, Any]) -> None:
        """Remember what went wrong in a step, if something did."""
        if wrong:
            self.problem = f"{step}: {wrong}"


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


def read_reply(reply: Reply, form: Mapping[str, Any]) -> dict[str, Any] | str:
    """Return the object of a reply, or what is wrong with it.

    Args:
        reply: JSON, perhaps in a fence of Markdown.
        form: key -> its type.
    """
    text = reply.response.strip()
    if not text:
        return NO_ANSWER
    if reply.finish not in ("stop", None):
        return CUT if reply.finish == "length" else f"ended by {reply.finish}"
    fenced = _FENCED.search(text)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except ValueError:
        return NOT_JSON
    fits = isinstance(value, dict) and all(key in value and isinstance(value[key], form[key]) for key in form)
    return value if fits else OTHER_FORM


def what_is_wrong(question: str, options: Sequence[str], script: str, n: int) -> str:
    """Say what keeps a text from being a cloze with `n` options in a script; empty if nothing does."""
    if not question:
        return "nothing is written"
    if _HALF.search("".join([question, *options])):
        return "half a character"
    if "\n" in question or any("\n" in option for option in options):
        return "several lines"
    if len(BLANK.findall(question)) != 1:
        return "not one blank"
    if not _END.search(question):
        return "no period at its end"
    letters = _LETTER.findall(question)
    if 2 * len(regex.findall(rf"(?=\p{{L}})\p{{Script={script}}}", question)) < len(letters) or not letters:
        return "in another script"
    if len(options) != n:
        return "other number of options"
    if not all(options):
        return "an empty option"
    if len(set(options)) < n:
        return "equal options"
    return ""


# Checking -------------------------------------------------------------------------------------------------------------


def _cells(lang: str, n: int) -> list[str]:
    return [lang, *(f"{lang}_option_{i}" for i in range(1, n + 1))]


def _sheet(made: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns and the rows of the sheet of some made questions."""
    told = json.loads(made.read_text(encoding="utf-8"))
    n = len(told["items"][0]["source"]["choices"])
    name = f"{told['culture']}-{file_digest(made)[:16]}"
    texts = [cell for lang in told["langs"] for cell in _cells(lang, n)]
    columns = ["sheet", "id", "problem", "remark", "found", "choices", *texts, "answer", "verdict", "note"]
    rows = []
    for item in told["items"]:
        row = dict.fromkeys(columns, "")
        row |= {"sheet": name, "id": item["id"], "problem": item["problem"], "remark": _remark(item)}
        row |= {"found": item["source"]["question"], "choices": "\n".join(item["source"]["choices"])}
        for lang, text in item["texts"].items():
            row |= dict(zip(_cells(lang, n), [text["question"], *text["options"]], strict=True))
        rows.append(row | {"answer": str(item["answer"] + 1)})
    return columns, rows


def _remark(item: Mapping[str, Any]) -> str:
    """Say what looks odd, which a person is to decide."""
    inside = [lang for lang, text in item["texts"].items() if text["options"][item["answer"]] in text["question"]]
    return f"the answer stands in the question ({', '.join(inside)})" if inside else ""


def write_questions(*, culture: str, lang: str, made: Path, sheet: Path | None, out: Path) -> dict[str, Any]:
    """Write made questions in one language in the released shape (:mod:`lorebridge.probes.questions`).

    On the sheet, a person has corrected texts and options (in place) and the answer (its number, from 1), and has
    written ``ok`` or ``drop`` into ``verdict`` of every row: what misrepresents the culture, or is no good otherwise,
    is dropped. A row with a problem, and a language that is to be written by hand, may be filled in and called ``ok``.
    What the person writes must be a cloze as the model's must. The files of a culture's languages are parallel by
    index, as all are written from the same rows.

    Args:
        culture: whose questions these are.
        lang: one of their languages.
        made: what :func:`make_questions` wrote.
        sheet: the corrected sheet; None takes what has no problem, checked by nobody.
        out: a JSON file.

    Returns:
        Notes for the record: ``questions``; ``ids``, in their order; ``checked``, whether by people; ``dropped``
        (reason -> ids); and ``changed``, every cell that a person changed: ``id``, ``column``, ``before``, ``after``.
        Look at these: a spreadsheet may have taken an option for a date.

    Raises:
        InputError: a sheet of other questions, with rows missing, twice or without a verdict, or a row called ok whose
            text is no cloze; without a sheet, a language that is to be written by hand; or no question left.
    """
    told = json.loads(made.read_text(encoding="utf-8"))
    if lang not in told["langs"]:
        raise InputError(made, f"has no questions in {lang}, only in {', '.join(told['langs'])}", "Make them again.")
    dropped: dict[str, list[str]] = {}
    changed: list[dict[str, str]] = []
    if sheet is None:
        if told["by_hand"]:
            raise InputError(
                f"questions.{culture}.made.sheet",
                f"is missing, but {', '.join(told['by_hand'])} is to be written by hand",
                "Have the sheet filled in, and give its path.",
            )
        kept = [item for item in told["items"] if not item["problem"]]
        for item in told["items"]:
            if item["problem"]:
                dropped.setdefault(item["problem"], []).append(item["id"])
        log.warning("%s: %d questions that nobody has checked", culture, len(kept))
    else:
        kept, dropped, changed = _read_sheet(sheet, made, told)
    if not kept:
        raise InputError(sheet or made, "no question is left", "Keep some.")
    questions = [{**item["texts"][lang], "answer": item["texts"][lang]["options"][item["answer"]]} for item in kept]
    _write_json(out, questions)
    return {
        "questions": len(kept),
        "ids": [item["id"] for item in kept],
        "checked": sheet is not None,
        "dropped": dropped,
        "changed": changed,
    }


def _read_sheet(
    sheet: Path, made: Path, told: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, list[str]], list[dict[str, str]]]:
    """Return the items that are kept, as corrected; the ids of others by reason; and what was changed."""
    columns, written = _sheet(made)
    n = len(told["items"][0]["source"]["choices"])
    rows = read_rows(
        sheet,
        columns[:-1],  # a note need not be there
        what="check sheet of these questions",
        mend=f"Correct the one beside {made}, without changing its columns.",
    )
    name = written[0]["sheet"]
    by_id: dict[str, tuple[str, dict[str, str]]] = {}
    for number, row in enumerate(rows, 2):
        where = f"{sheet}, row {number}"
        if row["sheet"] != name:
            raise InputError(
                where, f"is of the questions {row['sheet']}, but {made} holds {name}", f"Check the sheet beside {made}."
            )
        if row["id"] in by_id:
            raise InputError(where, f"the id {row['id']} stands twice", "Remove one of the rows.")
        by_id[row["id"]] = where, row
    ids = [item["id"] for item in told["items"]]
    if by_id.keys() != set(ids):
        lost = sorted(set(ids) - by_id.keys()) or sorted(by_id.keys() - set(ids))
        raise InputError(
            sheet,
            f"lacks or adds {len(lost)} rows (the first: {lost[0]})",
            f"Put the rows back; write {DROP} into those not wanted.",
        )
    kept, dropped, changed = [], dict[str, list[str]](), []
    for item, before in zip(told["items"], written, strict=True):
        where, row = by_id[item["id"]]
        where += f" ({item['id']})"
        verdict = row["verdict"].strip().casefold()
        if verdict not in (OK, DROP):
            wrong = f"the verdict {row['verdict']!r} is neither" if verdict else "has no verdict"
            raise InputError(where, wrong, f"Write {OK} or {DROP}.")
        if verdict == DROP:
            dropped.setdefault(item["problem"] or "by a person", []).append(item["id"])
            continue
        texts = {}
        for lang in told["langs"]:
            question, *options = (row[cell].strip(SPACE) for cell in _cells(lang, n))
            if wrong := what_is_wrong(question, options, told["scripts"][lang], n):
                raise InputError(
                    where, f"is called {OK}, but its {lang} is no cloze: {wrong}", f"Mend it, or write {DROP}."
                )
            texts[lang] = {"question": question, "options": options}
        answer = row["answer"].strip()
        if not (answer.isascii() and answer.isdigit() and 1 <= int(answer) <= n):
            raise InputError(where, f"the answer {row['answer']!r} is no number of an option", f"Write 1 to {n}.")
        for column in [*(cell for lang in told["langs"] for cell in _cells(lang, n)), "answer"]:
            after = row[column].strip(SPACE)
            if after != before[column]:
                changed.append({"id": item["id"], "column": column, "before": before[column], "after": after})
        kept.append({"id": item["id"], "answer": int(answer) - 1, "texts": texts})
    n_dropped = sum(map(len, dropped.values()))
    log.info("%s: %d kept, %d dropped, %d cells changed", sheet, len(kept), n_dropped, len(changed))
    return kept, dropped, changed


def _page(
    culture: str, langs: Sequence[str], scripts: Mapping[str, str], names: Mapping[str, str], items: Sequence[_Item]
) -> str:
    """Return a page on which each question stands in all languages, its answer filled in."""
    wrong = sum(bool(item.problem) for item in items)
    body = [
        f"<h1>{len(items)} questions of {escape(names[langs[0]])} culture</h1>",
        f"<p>{wrong} of them could not be made; the reason is said. Is each true of the culture, and the right "
        "answer the only one? Does each language say the same, as a native speaker would? Correct the sheet, and write "
        f"<b>{OK}</b> or <b>{DROP}</b> into its column <i>verdict</i>.</p>",
    ]
    for item in items:
        body.append(f"<h2>{escape(item.id)}</h2>")
        choices = [
            f"<b>{escape(choice)}</b>" if place == item.answer else escape(choice)
            for place, choice in enumerate(item.source["choices"])
        ]
        body.append(f'<p lang="{langs[0]}" class=found>{escape(item.source["question"])}<br>{" / ".join(choices)}</p>')
        if item.problem:
            body.append(f"<p class=problem>{escape(item.problem)}</p>")
        for lang in langs:
            text = item.texts.get(lang)
            if text is None:
                body.append(f"<p class=problem>{escape(names[lang])}: {BY_HAND}</p>" if not item.problem else "")
                continue
            gold = text["options"][item.answer]
            said = BLANK.sub(lambda _, gold=gold: f"<b>{escape(gold)}</b>", escape(text["question"]))
            options = " / ".join(map(escape, text["options"]))
            body.append(f'<div lang="{lang}" class="{escape(scripts[lang])}"><p>{said}</p><p>{options}</p></div>')
    style = (
        "body{font-family:sans-serif;margin:2em;max-width:60em}.found{color:#555}.problem{color:#a00}"
        ".Mongolian{writing-mode:vertical-lr}"  # read in columns, from left to right
    )
    head = f'<meta charset="utf-8"><title>{escape(culture)} questions</title><style>{style}</style>'
    return (
        "\n".join(["<!DOCTYPE html><html><head>", head, "</head><body>", *filter(None, body), "</body></html>"]) + "\n"
    )


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write((json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode())
