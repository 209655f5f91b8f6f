"""Facts asked by cloze prompts, from the shapes that data sets of them come in, in one table.

A fact is a subject, a relation and an object; a template says it in a language, with ``[X]`` for the subject and
``[Y]`` for the object. A *prompt* is a template with its subject: where several facts have one prompt, the prompt has
several golds. Shapes are functions of a folder and languages (:data:`SHAPES`). Text is kept as it stands: no Unicode
normalisation, no white-space splitting.

Nothing here needs a table or a model, so that a dry run can read the names of the shapes.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorebridge import publish
from lorebridge.corpora.released import BLANK
from lorebridge.corpora.specs import RepeatedKey, unique_keys
from lorebridge.errors import InputError
from lorebridge.records import fingerprint

SUBJECT, OBJECT = "[X]", "[Y]"
REPEATS = ("drop", "keep")
FACTS = "facts"
"""What tables that know questions by their culture call facts, which are nobody's own."""


@dataclasses.dataclass(frozen=True)
class Fact:
    """A fact in a language.

    Attributes:
        fact_id: the same in every language.
        relation: its name in the data set.
        lang: the language.
        subject_id, object_id: of the entities, the same in every language; the label where the data set has none.
        subject, object: their labels.
        template: with ``[Y]`` once, and ``[X]`` but where the data set's own prompt does not hold the subject's label.
        candidates: the answers that it is asked with; None for all objects of its relation in its language.
    """

    fact_id: str
    relation: str
    lang: str
    subject_id: str
    subject: str
    object_id: str
    object: str
    template: str
    candidates: tuple[str, ...] | None = None

    @property
    def prompt(self) -> str:
        """The template with the subject, the object still open."""
        return self.template.replace(SUBJECT, self.subject)


@dataclasses.dataclass
class Facts:
    """What a folder of facts holds.

    Attributes:
        facts: in the order of the languages, then of the files.
        left_out: what was found and is no fact here: reason -> how many, or which files or relations.
    """

    facts: list[Fact]
    left_out: dict[str, Any]


Shape = Callable[[Path, Sequence[str], dict[str, Any]], Iterator[Fact]]
"""Yields the facts of a folder in some languages, and notes what it leaves out."""


def read_facts(
    shape: str, path: Path | str, langs: Sequence[str], *, relations: Sequence[str] | None = None, repeats: str = "drop"
) -> Facts:
    """Read the facts of a data set in some languages.

    A fact that stands in a language again, with the same relation, prompt and object, is the same question again; it
    is counted, and left out unless `repeats` says ``keep``.

    Args:
        shape: a key of :data:`SHAPES`.
        path: the folder of the data set.
        langs: codes of the languages, as the data set's files are called.
        relations: those to keep; None for all.
        repeats: one of :data:`REPEATS`.

    Raises:
        InputError: there is no such shape or folder, or a language or relation that the folder has nothing of; or a
            file is malformed, which names it and the row.
    """
    path = Path(path)
    if shape not in SHAPES:
        raise InputError(f"shape {shape}", "is not known", f"Shapes: {', '.join(SHAPES)}.")
    if repeats not in REPEATS:
        raise ValueError(f"no way {repeats!r} to treat repeated facts; there are {', '.join(REPEATS)}")
    if not path.is_dir():
        raise InputError(path, "is no folder", f"Give the folder of a data set in the shape {shape}.")
    left_out: dict[str, Any] = {}
    kept: list[Fact] = []
    seen: set[tuple[str, str, str, str]] = set()
    ids: dict[tuple[str, str], Fact] = {}
    known: set[str] = set()
    repeated = 0
    for fact in SHAPES[shape](path, langs, left_out):
        known.add(fact.relation)
        if relations is not None and fact.relation not in relations:
            continue
        key = (fact.lang, fact.relation, fact.prompt, fact.object)
        if key in seen:
            repeated += 1
            if repeats == "drop":
                continue
        other = ids.setdefault((fact.lang, fact.fact_id), fact)
        if other is not fact:
            raise InputError(
                f"{path}, {fact.lang}",
                f"the fact {fact.fact_id} stands twice ({other.subject!r} – {other.object!r} and {fact.subject!r} – "
                f"{fact.object!r})",
                "Give each fact an id of its own.",
            )
        seen.add(key)
        kept.append(fact)
    if lost := sorted(set(relations or ()) - known):
        raise InputError(path, f"has no relation {lost[0]!r}", f"It has: {', '.join(sorted(known))}.")
    if repeated:
        left_out["repeated" if repeats == "drop" else "repeated, kept"] = repeated
    if relations is not None:
        _keep_relations(left_out, relations)
    for lang in langs:
        if not any(fact.lang == lang for fact in kept):
            raise InputError(path, f"has no fact in {lang!r}", "Take the language out, or mend the folder.")
    return Facts(kept, left_out)


def _keep_relations(left_out: dict[str, Any], relations: Sequence[str]) -> None:
    """Forget what is noted of other relations (``LANG/REL``)."""
    for what, said in list(left_out.items()):
        if isinstance(said, list):
            left_out[what] = [name for name in said if name.partition("/")[2] in relations]
        elif isinstance(said, Counter) and any("/" in name for name in said):
            left_out[what] = Counter({name: n for name, n in said.items() if name.partition("/")[2] in relations})
        if not left_out[what]:
            del left_out[what]


def golds(facts: Iterable[Fact]) -> dict[tuple[str, str], list[str]]:
    """Return (language, prompt) -> all objects that answer it, each once, in the order of the facts."""
    found: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for fact in facts:
        found[fact.lang, fact.prompt].setdefault(fact.object)
    return {key: list(objects) for key, objects in found.items()}


# Shapes ---------------------------------------------------------------------------------------------------------------


def _mlama(path: Path, langs: Sequence[str], left_out: dict[str, Any]) -> Iterator[Fact]:
    """MLAMA (Kassner et al., EACL 2021): a folder a language, with ``REL.jsonl`` and ``templates.jsonl``."""
    for lang in langs:
        folder = path / lang
        if not folder.is_dir():
            raise InputError(folder, "is no folder", f"The shape mlama has a folder for each language, {lang} too.")
        yield from _relations(folder, _templates(_found(folder, "templates.jsonl")), lang, left_out)


def _lama(path: Path, langs: Sequence[str], left_out: dict[str, Any]) -> Iterator[Fact]:
    """LAMA (Petroni et al., EMNLP 2019): ``relations.jsonl``, and ``REL.jsonl`` beside it or in ``TREx/``; English."""
    if len(langs) != 1:
        raise InputError(path, "the shape lama has one language", f"Give one of {', '.join(langs)}.")
    templates = _templates(_found(path, "relations.jsonl"))
    folder = path / "TREx" if (path / "TREx").is_dir() else path
    yield from _relations(folder, templates, langs[0], left_out)


def _relations(folder: Path, templates: Mapping[str, str], lang: str, left_out: dict[str, Any]) -> Iterator[Fact]:
    """Yield the facts of ``REL.jsonl[.gz]`` files: ``sub_label, obj_label``, and ids where they are there."""
    files = {name.split(".")[0]: folder / name for name in sorted(p.name for p in folder.iterdir() if _is_jsonl(p))}
    files = {relation: file for relation, file in files.items() if relation not in ("templates", "relations")}
    if not files:
        raise InputError(folder, "has no facts (no REL.jsonl)", "Give the folder that holds them.")
    for relation, file in files.items():
        rows = list(json_rows(file))
        if not rows:
            left_out.setdefault("empty files", []).append(f"{lang}/{relation}")
            continue
        if relation not in templates:
            left_out.setdefault("facts without a template", Counter())[f"{lang}/{relation}"] += len(rows)
            continue
        for number, row in rows:
            labels = [row.get(key) for key in ("sub_label", "obj_label")]
            if not all(isinstance(label, str) for label in labels):
                raise InputError(
                    f"{file}, row {number}", "has no `sub_label` and `obj_label`", "Give both, as strings."
                )
            subject, answer = (str(label).strip() for label in labels)
            if not subject or not answer:
                left_out.setdefault("blank labels", Counter())[lang] += 1
                continue
            yield Fact(
                fact_id=str(row.get("uuid") or f"{relation}-{row.get('lineid', number)}"),
                relation=relation,
                lang=lang,
                subject_id=str(row.get("sub_uri") or subject),
                subject=subject,
                object_id=str(row.get("obj_uri") or answer),
                object=answer,
                template=templates[relation],
            )


def _bmlama(path: Path, langs: Sequence[str], left_out: dict[str, Any]) -> Iterator[Fact]:
    """BMLAMA (Qi et al., EMNLP 2023): ``LANG.tsv`` with ``Prompt, Ans, Candidate Ans, Subject``.

    Line i is the same fact in every language. The files name no relation: it is the template in the first language.
    """
    columns = ["Prompt", "Ans", "Candidate Ans", "Subject"]
    read: dict[str, list[dict[str, str]]] = {}
    for lang in langs:
        file = _found(path, f"{lang}.tsv")
        rows = csv.DictReader(io.StringIO(_text(file)), delimiter="\t", quoting=csv.QUOTE_NONE)
        if list(rows.fieldnames or []) != columns:
            raise InputError(file, f"its columns are not {', '.join(columns)}", "Give a file of BMLAMA.")
        read[lang] = list(rows)
        if len(read[lang]) != len(read[langs[0]]):
            raise InputError(
                file,
                f"has {len(read[lang])} facts, and {langs[0]} has {len(read[langs[0]])}",
                "Line i must be the same fact in every language.",
            )
    named = [_template_of(f"{langs[0]}, row {i}", row, left_out, "") for i, row in enumerate(read[langs[0]], 1)]
    for lang, lines in read.items():
        for index, row in enumerate(lines):
            where = f"{path / lang}.tsv, row {index + 1}"
            if None in row or any(row[column] is None for column in columns):
                raise InputError(where, "has not four values", "Give it four, with a tab between two.")
            options = tuple(dict.fromkeys(row["Candidate Ans"].split(", ")))
            if row["Ans"] not in options:
                left_out.setdefault("answers that were not among their candidates", Counter())[lang] += 1
                options = (*options, row["Ans"])
            number = f"{index:05d}"
            yield Fact(
                fact_id=number,
                relation=named[index],
                lang=lang,
                subject_id=read[langs[0]][index]["Subject"],
                subject=row["Subject"],
                object_id=read[langs[0]][index]["Ans"],
                object=row["Ans"],
                template=_template_of(where, row, left_out, lang),
                candidates=options,
            )


def _template_of(where: str, row: Mapping[str, str], left_out: dict[str, Any], lang: str) -> str:
    """Return the template of a prompt that is filled with its subject; the prompt itself where it does not hold it."""
    prompt, subject = row["Prompt"], row["Subject"]
    if prompt.count("<mask>") != 1:
        raise InputError(where, f"its prompt {prompt!r} has not one <mask>", "Write <mask> where the answer stands.")
    template = prompt.replace(subject, SUBJECT, 1) if subject else prompt
    if SUBJECT not in template and lang:
        left_out.setdefault("prompts that do not hold their subject, kept", Counter())[lang] += 1
    return template.replace("<mask>", OBJECT)


def _klar(path: Path, langs: Sequence[str], left_out: dict[str, Any]) -> Iterator[Fact]:
    """KLAR's shape (Wang et al., ACL 2025): ``LANG/REL.json`` with ``prompt_templates`` and ``samples``.

    Templates have ``<subject>`` and ``<mask>``, and the first is taken; samples have ``subject``, ``object`` and
    ``index``, the same in every language.
    """
    for lang in langs:
        folder = path / lang
        files = sorted(folder.glob("*.json")) if folder.is_dir() else []
        if not files:
            raise InputError(folder, "has no REL.json", f"The shape klar has a folder for each language, {lang} too.")
        for file in files:
            said = json_file(file)
            if not isinstance(said, dict) or not isinstance(said.get("samples"), list):
                raise InputError(file, "has no list `samples`", "Give a file of KLAR's shape.")
            if not said["samples"]:
                left_out.setdefault("empty files", []).append(f"{lang}/{file.stem}")
                continue
            templates = said.get("prompt_templates")
            if not templates:
                left_out.setdefault("facts without a template", Counter())[f"{lang}/{file.stem}"] += len(
                    said["samples"]
                )
                continue
            template = _checked(
                f"{file}, prompt_templates", str(templates[0]).replace("<subject>", SUBJECT).replace("<mask>", OBJECT)
            )
            for number, sample in enumerate(said["samples"]):
                subject, answer = (
                    str(sample.get(key) or "").strip() if isinstance(sample, dict) else ""
                    for key in ("subject", "object")
                )
                if not subject or not answer:
                    raise InputError(f"{file}, sample {number}", "has no `subject` and `object`", "Give both.")
                index = f"{file.stem}-{sample.get('index', number)}"
                yield Fact(index, file.stem, lang, index, subject, answer, answer, template)


_PLANTED_KEYS = {field.name for field in dataclasses.fields(Fact)} - {"lang", "candidates"}


def _planted(path: Path, langs: Sequence[str], left_out: dict[str, Any]) -> Iterator[Fact]:
    """A planted world's: ``LANG.jsonl`` with the attributes of :class:`Fact`."""
    for lang in langs:
        file = _found(path, f"{lang}.jsonl")
        for number, row in json_rows(file):
            if set(row) != _PLANTED_KEYS or not all(isinstance(value, str) for value in row.values()):
                raise InputError(
                    f"{file}, row {number}", f"has not the keys {', '.join(sorted(_PLANTED_KEYS))}", "Remake the world."
                )
            yield Fact(lang=lang, **row)


PLANTED = "planted"
SHAPES: dict[str, Shape] = {"mlama": _mlama, "lama": _lama, "bmlama": _bmlama, "klar": _klar, PLANTED: _planted}
"""How data sets of facts lie in a folder."""


def files_of(shape: str, path: Path | str, langs: Sequence[str]) -> list[str]:
    """Return the files that the facts of some languages are read from, sorted; none where there is no such folder."""
    path = Path(path)
    if shape in ("mlama", "klar"):
        found = [file for lang in langs for file in (path / lang).glob("*") if file.is_file()]
    elif shape == "bmlama":
        found = [file for lang in langs for file in path.glob(f"{lang}.tsv*")]
    elif shape == PLANTED:
        found = []  # the plan knows them by the recipe of their world
    else:
        found = [file for folder in (path, path / "TREx") for file in folder.glob("*") if _is_jsonl(file)]
    return sorted(map(str, found))


def _templates(file: Path) -> dict[str, str]:
    """Return relation -> template of a file of them.

    Raises:
        InputError: a row is malformed, or a relation has two templates.
    """
    found: dict[str, str] = {}
    for number, row in json_rows(file):
        relation, template = row.get("relation"), row.get("template")
        if not isinstance(relation, str) or not isinstance(template, str):
            raise InputError(f"{file}, row {number}", "has no `relation` and `template`", "Give both, as strings.")
        if relation in found:
            raise InputError(f"{file}, row {number}", f"{relation} has a template already", "Take one of the two out.")
        found[relation] = _checked(f"{file}, row {number} ({relation})", template)
    return found


def _checked(where: str, template: str) -> str:
    """Return a template that has each of its places once.

    Raises:
        InputError: it has not.
    """
    for place, what in ((SUBJECT, "subject"), (OBJECT, "object")):
        if template.count(place) != 1:
            raise InputError(where, f"its template {template!r} has not one {place}", f"Write {place} for the {what}.")
    return template


def _is_jsonl(path: Path) -> bool:
    return path.name.endswith((".jsonl", ".jsonl.gz"))


def _found(folder: Path, name: str) -> Path:
    """Return a file of a folder, packed by gzip or not.

    Raises:
        InputError: there is none.
    """
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise InputError(folder / name, "is missing", "Give the folder of the data set as it is released.")


def _text(path: Path) -> str:
    """Return the text of a file; see :func:`_lines`."""
    return "".join(_lines(path))


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file, packed or not, without a byte order mark.

    Raises:
        InputError: it cannot be read, or is not UTF-8.
    """
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b" or path.name.endswith(".gz")
            plain.seek(0)
            with gzip.GzipFile(fileobj=plain) if packed else plain as file:
                for number, line in enumerate(file):
                    yield line.decode("utf-8" if number else "utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(path, f"cannot be read ({' '.join(str(error).split())})", "Fetch the file again.") from error


def json_file(path: Path) -> Any:
    """Return what a file of JSON holds.

    Raises:
        InputError: it cannot be read, is no JSON, or has a key twice.
    """
    try:
        return json.loads(_text(path), object_pairs_hook=unique_keys())
    except RepeatedKey as error:
        raise InputError(path, str(error), "Take one of the two out.") from error
    except ValueError as error:
        raise InputError(path, f"is not JSON ({error})", "Fetch the file again.") from error


def json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (number from 1, object) of the lines of a file, one after the other: some are larger than memory.

    Raises:
        InputError: it cannot be read, is not UTF-8, or a line is no JSON object: names the file and the row.
    """
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=unique_keys())
        except RepeatedKey as error:
            raise InputError(f"{path}, row {number}", str(error), "Take one of the two out.") from error
        except ValueError as error:
            raise InputError(f"{path}, row {number}", f"is not JSON ({error})", "Mend the row.") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}, row {number}", "is no JSON object", "Write one JSON object a line.")
        yield number, row


# Clozes ---------------------------------------------------------------------------------------------------------------


def write_clozes(
    *,
    shape: str,
    lang: str,
    langs: Sequence[str],
    folder: Path | str,
    options: int,
    relations: Sequence[str] | None = None,
    questions: int | None = None,
    files: Sequence[str] = (),
    out: Path,
) -> dict[str, Any]:
    """Write facts as cloze questions in the released shape (:mod:`lorebridge.corpora.released`), in one language.

    The files of several languages are parallel by row: they hold the facts that all of `langs` have, with the same
    options in the same places. Options are the gold and others of its candidates, drawn by a digest of the fact and
    of the option, so that another fact changes none. A further gold of the prompt, in any of the languages, is no
    option.

    Args:
        shape, relations: see :func:`read_facts`.
        lang: the language to write.
        langs: the languages of the set.
        folder: of the data set.
        options: of a question, the gold among them.
        questions: how many, drawn by a digest; None for all.
        files: the data set's files that the plan knows by their content; not read here.
        out: a JSON file.

    Returns:
        Notes for the record: ``questions`` and what was left out by reason.

    Raises:
        InputError: as :func:`read_facts`, or no question is left.
    """
    found = read_facts(shape, folder, langs, relations=relations)
    by_lang: dict[str, dict[str, Fact]] = {code: {} for code in langs}
    for fact in found.facts:
        by_lang[fact.lang][fact.fact_id] = fact
    first, *others = langs
    shared = [name for name in by_lang[first] if all(name in by_lang[other] for other in others)]
    left_out: dict[str, Any] = {**found.left_out, "facts not in all languages": len(by_lang[first]) - len(shared)}
    answers = golds(found.facts)
    pools = _pools(by_lang, langs)
    rows: list[tuple[str, dict[str, Any]]] = []
    for name in shared:
        wordings = {code: by_lang[code][name] for code in langs}
        texts = {code: fact.prompt.replace(OBJECT, "____") for code, fact in wordings.items()}
        if any(len(BLANK.findall(text)) != 1 for text in texts.values()):
            left_out["prompts with another blank"] = left_out.get("prompts with another blank", 0) + 1
            continue
        chosen = _options(name, wordings, answers, pools, options)
        if chosen is None:
            left_out["too few other options"] = left_out.get("too few other options", 0) + 1
            continue
        labels = [option[langs.index(lang)] for option in chosen]
        rows.append((name, {"question": texts[lang], "options": labels, "answer": wordings[lang].object}))
    if questions is not None:
        drawn = {name for name, _ in sorted(rows, key=lambda row: fingerprint(["asked", row[0]]))[:questions]}
        rows = [row for row in rows if row[0] in drawn]
    if not rows:
        raise InputError(
            folder, f"gives no question in {', '.join(langs)}", "Ask for fewer options, or more relations."
        )
    publish.write_text(out, json.dumps([row for _, row in rows], ensure_ascii=False, indent=1) + "\n")
    return {"questions": len(rows), **left_out}


def _pools(by_lang: Mapping[str, Mapping[str, Fact]], langs: Sequence[str]) -> dict[str, list[tuple[str, ...]]]:
    """Return relation -> its objects, each as its labels in all languages; those that lack one are left out."""
    labels: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for lang in langs:
        for fact in by_lang[lang].values():
            labels[fact.relation, fact.object_id].setdefault(lang, fact.object)
    pools: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for (relation, _), said in labels.items():
        if len(said) == len(langs):
            pools[relation].append(tuple(said[lang] for lang in langs))
    return pools


def _options(
    name: str,
    wordings: Mapping[str, Fact],
    answers: Mapping[tuple[str, str], Sequence[str]],
    pools: Mapping[str, Sequence[tuple[str, ...]]],
    n: int,
) -> list[tuple[str, ...]] | None:
    """Return the options of a question, each as its labels in all languages; None where there are too few."""
    gold = tuple(fact.object for fact in wordings.values())
    own = [fact.candidates for fact in wordings.values()]
    lists = [said for said in own if said is not None]
    if lists and len(lists) == len(own) and len({len(said) for said in lists}) == 1:
        # Lists of candidates are parallel, too.
        pool: Iterable[tuple[str, ...]] = zip(*lists, strict=True)
    else:
        pool = pools[next(iter(wordings.values())).relation]
    taken = [set(answers[fact.lang, fact.prompt]) | {fact.object} for fact in wordings.values()]
    chosen = [gold]
    for option in sorted(pool, key=lambda option: fingerprint([name, *option])):
        if len(chosen) == n:
            break
        if not any(label in used for label, used in zip(option, taken, strict=True)):
            chosen.append(option)
            for label, used in zip(option, taken, strict=True):
                used.add(label)
    if len(chosen) < n:
        return None
    return sorted(chosen, key=lambda option: fingerprint(["place", name, *option]))
