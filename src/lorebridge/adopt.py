"""Results whose records are of format 1 are taken over as they lie, under the recipes that they have now.

Since records have format 2, recipes are reckoned in another way, stages are called as their rules, models lie by phase
and name, and some tables have further columns. None of that changes what was computed. So an old record is adopted
where all of this holds:

1. it gives its own recipe, by the formula of its time;
2. its stage and version are those of the plan, or alike;
3. its literals are those of the plan, but for those that came or went since: what went, the plan says in another way,
   and its values must be the ones that the plan has; a setting that came must have the value that stands for what was
   done without it;
4. it was made from artifacts of the recipes that its inputs have, and these were adopted themselves. An input that is
   gone was made by the recipe that the plan of that time gave it;
5. its files hold what they should (:mod:`lorebridge.contents`).

Then the folder of a model is moved, tables get their further columns, and the record is written: last, and at once. Who
is killed in between leaves what the next try goes on with. What is not adopted stays as it is.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lorebridge.errors import Busy, InputError, LorebridgeError
from lorebridge.plan import Artifact, Plan
from lorebridge.plan.cost import Cost
from lorebridge.plan.stage import Stage, Wildcards
from lorebridge.plan.study import Model, Study
from lorebridge.probes.prefixes import BARE
from lorebridge.records import FORMAT, RECORD, Task, describe, file_digest, fingerprint, read_record
from lorebridge.tokens.stages import told
from lorebridge.trace.stages import counted, leaking
from lorebridge.work import locked, replacing, sync, write_json

LEFT = "adopt.json"
"""File of a study that says which old records were looked at and left, with the reason."""

# What follows from the rest in minutes is made again, not adopted: drawings, and the numbers that they show.
DRAWN = (
    "gaps",
    "matched_gaps",
    "verdicts",
    "items",
    "item_effects",
    "people_gaps",
    "density",
    "figure",
    "table",
    "page",
    "bundle",
)


def _nothing(study: Study, w: Wildcards) -> dict[str, Any]:
    return {}


def _cells(study: Study, w: Wildcards) -> dict[str, Any]:
    return {"cells": [list(cell) for cell in study.cells]}


def _steps(study: Study, w: Wildcards) -> dict[str, Any]:
    return {"steps": list(study.model(w["run"]).checkpoints)}


@dataclasses.dataclass(frozen=True)
class Before:
    """How a stage was said in records of format 1, where that differs.

    Attributes:
        stage: its name.
        alike: version -> the later one whose results differ from it in the columns that are added here, and no more.
        came: names of literals that it has only now, and that say what its model's name said.
        then: settings that it has only now, and the values that stand for what it did without them.
        gone: names and values of literals that it has no longer.
        folder: gives the folder of a model, below that of the study.
        work: of a stage that goes on after a kill, where it kept its state, below the study's work folder, and where it
            keeps it now.
    """

    stage: str = ""
    alike: Mapping[int, int] = dataclasses.field(default_factory=dict)
    came: tuple[str, ...] = ()
    then: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    gone: Callable[[Study, Wildcards], Mapping[str, Any]] = _nothing
    folder: Callable[[Model], str] | None = None
    work: tuple[str, str] | None = None


def _trained(stage: str, folder: Callable[[Model], str]) -> Before:
    """How a stage that trains was said."""
    return Before(stage, {2: 3}, ("learned", "arm"), folder=folder, work=("{run}/{recipe}", "{run}/{recipe}"))


BARE_ALONE = {"prefixes": [BARE], "labels": {}}
"""What all questions stood behind."""

BEFORE = {
    "filter_corpus": Before("corpus_shard"),
    "audit_corpus": Before("corpus"),
    "filter_pairs": Before("parallel"),
    "token_store": Before("tokens"),
    "order": Before(then={"distance": "near", "pair_supply": None}),
    "train_base": _trained("base_model", lambda model: f"models/base/s{model.seed}"),
    "train_continual": _trained("model", lambda model: f"models/{model.lang}/{model.arm}/s{model.seed}"),
    "sample_questions": Before("sample"),
    "score": Before("scores", {2: 4}, ("learned",), BARE_ALONE, gone=_steps),
    "random_models": Before("scorer"),
    "people_score": Before("people_scores", {2: 3}, ("learned",), BARE_ALONE, gone=_steps),
    "retrieve": Before("hits"),
    "index": Before(work=("index/{recipe}", "index/{recipe}")),
    "translate": Before("translations", work=("translations/{recipe}", "translate/{recipe}")),
    "judge": Before("judgments", work=("{recipe}", "{recipe}")),
    "people_response": Before(work=("people/{recipe}", "people_response/{recipe}")),
    "exposure": Before("", {2: 3}, ("learned", "arm", "seed", "pairs")),
    "people_mentions": Before("", {2: 3}, ("lang", "pairs")),
    "occurrences": Before(
        gone=lambda study, w: {
            "texts": [[corpus, culture, kind, text.name] for corpus, culture, kind, text in counted(study)]
        }
    ),
    "leaks": Before(
        gone=lambda study, w: {"halves": [[culture, text.lang, text.name] for culture, text in leaking(study)]}
    ),
    "recovery": Before(gone=_cells),
}
"""Stage -> how it was said before; a stage that is not here was said as it is now."""


def before(stage: str) -> Before:
    """Return how a stage was said in records of format 1."""
    found = BEFORE.get(stage, Before())
    return found if found.stage else dataclasses.replace(found, stage=stage)


def places(plan: Plan, name: Artifact) -> list[str]:
    """Return where the record of an artifact may lie: where it lies now, then where it lay before."""
    now, folder = plan.record(*name), before(name[0]).folder
    if folder is None:
        return [now]
    return [now, f"{plan.root}/{folder(plan.study.model(dict(name[1])['run']))}/{RECORD}"]


def waiting(plan: Plan, read: Callable[[str], Mapping[str, Any] | None] = read_record) -> list[str]:
    """Return the old records of a study that wait to be adopted: those that were not looked at and left.

    Args:
        plan: of the study.
        read: reads a record; one that remembers them saves a dry run from reading each twice.
    """
    found = []
    left: Mapping[str, Any] | None = None
    for name in plan.walk():
        if name[0] in DRAWN:
            continue
        place, record = _found(plan, name, read)
        if record is not None and "format" not in record:
            if left is None:
                left = (read_record(f"{plan.root}/{LEFT}") or {}).get("left", {})
            if left.get(_below(plan, place), {}).get("recipe") != record.get("recipe"):
                found.append(place)
    return found


def _found(
    plan: Plan, name: Artifact, read: Callable[[str], Mapping[str, Any] | None] = read_record
) -> tuple[str, Mapping[str, Any] | None]:
    """Return the record of an artifact and where it lies."""
    for place in places(plan, name):
        if (record := read(place)) is not None:
            return place, record
    return place, None


def _below(plan: Plan, path: str) -> str:
    return path.removeprefix(f"{plan.root}/")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one artifact with an old record.

    Attributes:
        name: the artifact.
        place: where its record lay.
        recipe: that the record holds.
        left: why it was not adopted; empty if it was.
        hours: GPU-hours that it would cost to make it again, of a model.
        version: the older version of its stage that it was made by, if it was.
        unfinished: whether it is not there yet, and `place` is the state that its job goes on from.
    """

    name: Artifact
    place: str
    recipe: str
    left: str = ""
    hours: float = 0.0
    version: int | None = None
    unfinished: bool = False

    def __str__(self) -> str:
        """Return the line to print."""
        stage, wildcards = self.name
        what = " ".join([stage, *(value for _, value in wildcards)])
        if not self.left:
            more = "" if self.version is None else f" as version {self.version} made it"
            return f"adopted  {what}{': what its job goes on from' if self.unfinished else more}"
        cost = f" Training it again is reckoned at {self.hours:,.2f} GPU-hours." if self.hours else ""
        return f"left     {what}: {' '.join(self.left.split()).rstrip('.')}.{cost}"


def adopt(plan: Plan, *, older: bool = False, dry: bool = False) -> Iterator[Outcome]:
    """Adopt what lies in a study's folder; yield what becomes of each artifact that has an old record, inputs first.

    Args:
        plan: of the study.
        older: adopt also what an older version of a stage made, as it lies.
        dry: look and verify; change nothing.

    Raises:
        InputError: Snakemake works in this folder.
        LorebridgeError: the disk refuses.
        Busy: another process adopts this study.
    """
    if any(Path(".snakemake/locks").glob("*")):
        raise InputError(
            Path(".snakemake/locks").resolve(),
            "Snakemake works in this folder, or was killed in it",
            "Wait for it, or: snakemake --unlock",
        )
    walk = _Walk(plan, older, dry)
    if dry:
        yield from walk.outcomes()
        return
    with locked(Path(plan.work) / "adopt"):
        left: dict[str, Any] = {}
        for outcome in walk.outcomes():
            if outcome.left and not outcome.unfinished:
                left[_below(plan, outcome.place)] = {"recipe": outcome.recipe, "why": outcome.left}
            yield outcome
        if left or Path(plan.root, LEFT).exists():
            write_json(Path(plan.root, LEFT), {"left": left})


class _Walk:
    """One walk over a plan: what each artifact's recipe was, as far as it may be relied on."""

    def __init__(self, plan: Plan, older: bool, dry: bool) -> None:
        self.plan, self.older, self.dry = plan, older, dry
        self.cost = Cost(plan.study)
        # None: what is there, if anything, may not be relied on.
        self.recipes: dict[Artifact, str | None] = {}

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what becomes of each artifact that has an old record."""
        for name in self.plan.walk():
            if name[0] in DRAWN:
                continue
            place, record = _found(self.plan, name)
            if record is None:
                self.recipes[name] = self._reckoned(name)
                yield from self._unfinished(name)
            elif "format" in record:
                now = record.get("recipe") == self.plan.recipe(name)
                self.recipes[name] = (record.get("adopted") or {}).get("recipe") if now else None
            else:
                yield self._one(name, place, record)

    def _one(self, name: Artifact, place: str, record: Mapping[str, Any]) -> Outcome:
        """Adopt one artifact, if it may be."""
        from lorebridge import contents  # a dry run of the workflow imports this module, and may not load pandas

        task = self.plan.task(name[0], **dict(name[1]))
        version = record.get("version")
        found = Outcome(name, place, str(record.get("recipe")), version=None if self._alike(name, version) else version)
        try:
            if problem := self._unlike(name, record, task):
                raise _Left(problem)
            files = self._files(name, place)
            gone = [str(path) for paths in files.values() for path in paths if not path.exists()]
            if gone:
                more = f" and {len(gone) - 1} more are" if len(gone) > 1 else " is"
                raise _Gone(f"{gone[0]}{more} not there")
            prepared = _prepared(Path(place))
            known = (read_record(prepared) or {}).get("notes") or {}
            contents.check(self.plan, name, files, record, known, self._notes)
            if not self.dry:
                try:
                    self._take(name, place, record, task, found.version)
                except OSError as error:
                    raise LorebridgeError(
                        f"{place}: cannot be adopted ({error}). Mend that and run again: it goes on from here."
                    ) from error
        except _Gone as error:
            # What was made from it was made from what the next run makes again.
            self.recipes[name] = found.recipe if found.version is None else None
            return self._left(found, str(error))
        except (_Left, InputError) as error:
            self.recipes[name] = None
            return self._left(found, str(error))
        self.recipes[name] = found.recipe
        return found

    def _notes(self, name: Artifact) -> Mapping[str, Any]:
        """Return the notes of an artifact's record, wherever that lies."""
        return (_found(self.plan, name)[1] or {}).get("notes") or {}

    def _unfinished(self, name: Artifact) -> Iterator[Outcome]:
        """Adopt what a job that was killed or stopped keeps to go on from."""
        said, recipe = before(name[0]).work, self.recipes[name]
        if said is None or recipe is None:
            return
        w = dict(name[1])
        old = Path(self.plan.work, said[0].format(recipe=recipe, **w))
        new = Path(self.plan.work, said[1].format(recipe=self.plan.recipe(name), **w))
        if not old.is_dir() or new.exists():
            return
        found = Outcome(name, str(old), recipe, unfinished=True)
        if not self.dry:
            from lorebridge.train.work import readdress

            new.parent.mkdir(parents=True, exist_ok=True)
            try:
                if (model := self.plan.study.models.get(w.get("run", ""))) is None:
                    old.rename(new)
                else:
                    readdress(old, new, self.plan.recipe(name), {"run": model.name, **told(model)})
            except (Busy, OSError) as error:
                found = dataclasses.replace(found, left=str(error))
        yield found

    def _left(self, outcome: Outcome, why: str) -> Outcome:
        run = dict(outcome.name[1]).get("run", "")
        trains = outcome.name[0].startswith("train_")
        hours = self.cost.hours(self.plan.study.model(run)) if trains else 0.0
        return dataclasses.replace(outcome, left=why, hours=0.0 if math.isnan(hours) else hours)

    # ---------------------------------------------------------------- recipes of that time

    def _literals(self, name: Artifact) -> dict[str, Any]:
        """Return the literals that the plan of that time gave an artifact."""
        stage, w = name[0], dict(name[1])
        literals = self.plan.literals(stage, **w)
        said = before(stage)
        silent = {*said.came, *(key for key, value in said.then.items() if literals.get(key, value) == value)}
        return {key: value for key, value in literals.items() if key not in silent} | dict(
            said.gone(self.plan.study, w)
        )

    def _reckoned(self, name: Artifact) -> str | None:
        """Return the recipe of that time of an artifact that is not there; None if there is none."""
        inputs = [self.recipes[a] for a in self.plan.inputs(name[0], **dict(name[1]))]
        if None in inputs:
            return None
        said, version = before(name[0]), self.plan.stage(name[0]).version
        then = next((old for old, new in said.alike.items() if new == version), version)
        return _recipe(said.stage, then, self._literals(name), inputs)

    def _alike(self, name: Artifact, version: Any) -> bool:
        now = self.plan.stage(name[0]).version
        return version == now or before(name[0]).alike.get(version) == now

    def _unlike(self, name: Artifact, record: Mapping[str, Any], task: Task) -> str:
        """Say why a record does not stand for what the plan asks for; empty if it does."""
        try:
            own = _recipe(record["stage"], record["version"], record["literals"], record["inputs"].values())
        except (KeyError, TypeError, AttributeError):
            own = None
        sound = isinstance(record.get("version"), int) and isinstance(record.get("notes"), dict)
        if not sound or own is None or own != record.get("recipe"):
            return "its record does not give its own recipe, and so was changed"
        if record["stage"] != before(name[0]).stage:
            return f"its record is of the stage {record['stage']!r}"
        alike, version = self._alike(name, record["version"]), record["version"]
        if not alike and (version > task.version or not self.older):
            mend = "" if version > task.version else "; --older-versions adopts it as it is"
            return f"version {version} of {name[0]} made it, and the study asks for version {task.version}{mend}"
        then = before(name[0]).then
        if problem := _unlike_literals(record["literals"], self._literals(name), then, strict=alike):
            return problem
        inputs = self.plan.inputs(name[0], **dict(name[1]))
        for a in inputs:
            if self.recipes[a] is None:
                return f"is made from {_below(self.plan, _found(self.plan, a)[0])}, which is not adopted"
        # The formula of that time does not tell inputs apart that changed places; where they lay does.
        ours = {_below(self.plan, place): self.recipes[a] for a in inputs for place in places(self.plan, a)}
        theirs = {_known(path, ours): recipe for path, recipe in record["inputs"].items()}
        others = sorted(path for path, recipe in theirs.items() if ours.get(path) != recipe)
        if others or len(theirs) != len(inputs):
            return f"was made from other inputs than are there: {', '.join(others) or 'more, or fewer'}"
        return ""

    # ---------------------------------------------------------------- files

    def _files(self, name: Artifact, place: str) -> dict[str, list[Path]]:
        """Return name -> files of an artifact, where they lie at present."""
        now = self.plan.record(*name)
        found = {}
        for key, paths in self.plan.outputs(name[0], **dict(name[1])).items():
            several = [paths] if isinstance(paths, str) else paths
            if key != "record":
                found[key] = [
                    Path(place).parent / Path(path).relative_to(Path(now).parent) if place != now else Path(path)
                    for path in several
                ]
        return found

    def _take(self, name: Artifact, place: str, record: Mapping[str, Any], task: Task, version: int | None) -> None:
        """Move, complete and record an artifact that was found good; each step is whole or not done."""
        from lorebridge import contents
        from lorebridge.train.work import free

        now = self.plan.record(*name)
        model = self.plan.study.models.get(dict(name[1]).get("run", ""))
        if before(name[0]).folder is not None:
            # Only the old record finds the resume state of a run that is published.
            free(Path(self.plan.work), Path(place).parent)
        if place != now:
            _move(Path(place).parent, Path(now).parent)
        for emptied in {Path(there).parent for there in places(self.plan, name)} - {Path(now).parent}:
            _tidy(emptied.parent)
        stage: Stage = self.plan.stage(name[0])
        completed: dict[Path, Path] = {}
        notes = dict(record.get("notes") or {})
        for key, paths in self._files(name, now).items():
            for path in paths:
                table = stage.files[key].table
                if table in contents.ADDED and contents.lacks(table, path):
                    completed[path] = path.with_name(f"{path.name}.adopted")
                    contents.completed(table, path, model, self.plan.study.texts, completed[path])
                    sync(completed[path])
        if noted := notes.get("files"):
            folder = Path(now).parent
            notes["files"] = {key: _digest(completed, folder / key, digest) for key, digest in noted.items()}
        adopted = {
            "recipe": record["recipe"],
            "stage": record["stage"],
            "on": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            **({} if version is None else {"version": version}),
        }
        new = {
            "format": FORMAT,
            **record,
            "recipe": task.recipe,
            "stage": task.stage,
            "rule": task.stage,
            "version": task.version,
            "literals": task.literals,
            "inputs": task.expects,
            "notes": notes,
            "files": self._described(name, Path(now).parent, completed),
            "adopted": adopted,
        }
        prepared = _prepared(Path(now))
        with replacing(prepared) as file:
            file.write((json.dumps(new, ensure_ascii=False, indent=1) + "\n").encode())
        for path, whole in completed.items():
            whole.replace(path)
            sync(path.parent)
        prepared.replace(now)
        sync(Path(now).parent)

    def _described(self, name: Artifact, folder: Path, completed: Mapping[Path, Path]) -> dict[str, Any]:
        """Return what the new record says of the files, those that are about to be completed as they will be."""
        outputs = {k: v for k, v in self.plan.outputs(name[0], **dict(name[1])).items() if k != "record"}
        found = describe(outputs, folder, lambda path: file_digest(completed.get(Path(path), Path(path))))
        sizes = {os.path.normpath(path): whole.stat().st_size for path, whole in completed.items()}
        for said in found.values():
            path = os.path.normpath(folder / said["path"])
            said["bytes"] = sizes.get(path, said["bytes"])
        return found


def _move(old: Path, new: Path) -> None:
    """Move the folder of a model; what linked to its files still does."""
    if new.exists() and any(new.iterdir()):
        raise _Left(f"{new} is where it would go, and is not empty")
    new.parent.mkdir(parents=True, exist_ok=True)
    old.rename(new)


def _tidy(folder: Path) -> None:
    """Remove a folder that models were moved from, and those above it, where nothing is left in them."""
    while folder.name != "models" and not (folder.is_dir() and any(folder.iterdir())):
        if folder.is_dir():
            folder.rmdir()
        folder = folder.parent


class _Left(Exception):
    """Why an artifact is not adopted."""


class _Gone(Exception):
    """Why an artifact is not adopted that is not there whole."""


def _recipe(stage: str, version: int, literals: Mapping[str, Any], inputs: Any) -> str:
    """Return a recipe by the formula of records of format 1: the roles of inputs do not count."""
    return fingerprint({"stage": stage, "version": version, "literals": literals, "inputs": sorted(inputs)})


def _known(path: str, places: Mapping[str, Any]) -> str:
    """Return a path below the folder of a study, which may have been called otherwise, as it is among some places."""
    parts = path.split("/")
    return next((end for i in range(len(parts)) if (end := "/".join(parts[i:])) in places), path)


def _prepared(record: Path) -> Path:
    """Return where the new record waits while tables are completed."""
    return record.with_name(f"{record.name}.adopted")


def _unlike_literals(
    theirs: Mapping[str, Any], ours: Mapping[str, Any], then: Mapping[str, Any], *, strict: bool
) -> str:
    """Say which literals differ; where not `strict`, new ones that nothing stood for are passed over.

    Args:
        theirs: of the record.
        ours: of the plan, those left out that say the same in another way.
        then: setting that came -> the value that stands for what was done without it.
        strict: whether the plan may have no others.
    """
    for key in sorted({*theirs, *ours}):
        if key not in ours:
            return f"was made with the setting {key} ({_short(theirs[key])}), which is no longer there"
        if key not in theirs and key in then:
            return f"was made as with {key} {_short(then[key])}, and the configuration says {_short(ours[key])}"
        if key not in theirs and strict:
            return f"was made without the setting {key} ({_short(ours[key])})"
        if key in theirs and fingerprint(theirs[key]) != fingerprint(ours[key]):
            return f"was made with {key} {_short(theirs[key])}, and the configuration says {_short(ours[key])}"
    return ""


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _digest(completed: Mapping[Path, Path], path: Path, noted: str) -> str:
    """Return the sha256 that a published file will have."""
    if path in completed:
        return file_digest(completed[path])
    return file_digest(path) if path.suffix == ".parquet" else noted
