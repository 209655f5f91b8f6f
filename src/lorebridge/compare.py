"""Two studies, or two commits of one configuration, side by side: configuration, recipes, results.

A *side* is a folder of results, a bundle, or a commit of lorebridge. Of a folder and a bundle, configuration,
records and tables are read; of a commit, what it would plan: its code is unpacked to a folder of its own and run there,
so that recipes are those of that code. Nothing is written but what is asked for.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lorebridge import studies, tables
from lorebridge.bundle import Redrawing
from lorebridge.errors import InputError
from lorebridge.plan import Plan
from lorebridge.plan.due import differences, short, why
from lorebridge.records import changes, file_digest, outputs_of, read_record, refuse_changed

PAGE = "report/summary.html.record.json"
"""The record that holds the configuration of a study, without the folders and the hardware of one machine."""

KEYS: dict[str, tuple[str, ...]] = {
    "metrics": ("run", "step"),
    "questions": ("question_id", "lang", "option_index"),
    "scores": ("run", "step", "question_id", "lang", "prefix", "option_index"),
    "perplexity": ("run", "step", "lang", "prefix"),
    "alignment": ("run", "step", "lang", "layer"),
    "scorer": ("seed", "culture", "lang", "rule"),
    "occurrences": ("question_id", "culture", "corpus", "text"),
    "exposure": ("run", "question_id", "step", "stage", "stream"),
    "leaks": ("question_id", "culture", "lang"),
    "truth": ("question_id", "corpus"),
    "recovery": ("corpus", "culture", "method", "judge", "stage", "dose"),
    "density": ("culture", "corpus", "unit", "capped", "method", "judge", "includes_parallel"),
    "accuracies": (
        *("model", "learned", "arm", "seed", "step", "culture", "lang", "direction", "subset", "rule", "prefix"),
    ),
    "gaps": (
        *("lang", "direction", "contrast", "scale", "subset", "unleaked", "rule", "prefix", "step", "seed"),
        "interval",
    ),
    "asymmetry": (
        *("contrast", "scale", "subset", "unleaked", "rule", "prefix", "direction", "group", "langs", "interval"),
    ),
    "items": ("selection", "lang", "question_id", "direction", "prefix", "seed"),
    "item_effects": ("direction", "unleaked", "count", "quantity", "interval"),
    "people_mentions": ("person_id", "stream"),
    "people_gaps": ("contrast", "lang", "questions", "attribute", "subset", "rule", "prefix"),
}
"""Table of results -> the columns that say what a row is about; all others are what was found (:func:`keys`)."""

ESTIMATES = ("gap", "estimate", "accuracy", "density")
"""What an interval, ``lo`` to ``hi``, is of: the first of these that a table has."""


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        name: what it was called.
        config: the configuration, without the folders and the hardware of one machine; None where no record has it.
        recipes: path of a record, below the folder of the study -> ``recipe``, ``stage``, ``version``, ``literals`` and
            ``inputs`` (paths of records).
        root: the folder of the results; None of a commit.
        whole: whether all records of a study may be here; a bundle has those of what is drawn from.
        hours: GPU-hours, as reckoned, by record of a model; of a commit alone.
    """

    name: str
    config: Mapping[str, Any] | None
    recipes: Mapping[str, Mapping[str, Any]]
    root: Path | None
    whole: bool = True
    hours: Mapping[str, float] = dataclasses.field(default_factory=dict)


def keys(table: str) -> tuple[str, ...]:
    """Return the columns that say what a row is about: where nothing else is said, those that are no numbers."""
    if table in KEYS:
        return KEYS[table]
    numbers = (pa.types.is_floating, pa.types.is_integer)
    return tuple(
        field.name
        for field in tables.SCHEMAS[table]
        if field.name in ("seed", "step") or not any(is_number(field.type) for is_number in numbers)
    )


# ---------------------------------------------------------------- reading a side


def side(name: str, config: Path, folder: Path) -> Side:
    """Return what a name stands for.

    Args:
        name: a folder of results (``results/demo``), a bundle, or a commit.
        config: the configuration that a commit plans.
        folder: an empty folder, for what has to be unpacked.

    Raises:
        InputError: it is none of these.
    """
    path = Path(name)
    if path.is_dir():
        return _of_results(name, path)
    if path.suffix in (".yaml", ".yml"):
        what = "is a configuration, and what is compared are results, bundles or commits"
        raise InputError(name, what, "Name the folder of its results, or say --config FILE and name two commits.")
    if path.is_file():
        plan = Redrawing(path, str(folder / "results"))
        return Side(name, plan.literals("page")["config"], _recipes(Path(plan.root)), Path(plan.root), whole=False)
    return _of_commit(name, config, folder)


def _of_results(name: str, root: Path) -> Side:
    recipes = _recipes(root)
    if not recipes:
        raise InputError(name, "holds no results of a study", "Name the folder of one study, such as results/demo.")
    config = recipes[PAGE]["literals"]["config"] if PAGE in recipes else None
    return Side(name, config, recipes, root)


def _recipes(root: Path) -> dict[str, dict[str, Any]]:
    """Return what the records below a folder say of what they were made by."""
    found = {}
    for path in sorted(root.rglob("*record.json")):
        record = read_record(path)
        if record and "recipe" in record:
            said = {key: record.get(key) for key in ("recipe", "stage", "version", "literals")}
            found[path.relative_to(root).as_posix()] = said | {"inputs": list(record.get("inputs") or ())}
    return {path: said | {"inputs": [_below(p, found) for p in said["inputs"]]} for path, said in found.items()}


def _below(path: str, known: Mapping[str, Any]) -> str:
    """Return the path of a record below the folder of its study, from one that names that folder in its own way."""
    parts = path.split("/")
    ends = ("/".join(parts[i:]) for i in range(len(parts)))
    return next((end for end in ends if end in known), path)


def planned(plan: Plan) -> dict[str, Any]:
    """Return what a plan says of every artifact, as JSON: ``config``, ``recipes`` and ``hours`` of a :class:`Side`.

    Its text runs with the code of another commit, which need not know it: so it uses what plans have had since records
    have format 2, and no more.
    """
    from lorebridge.plan.cost import Cost

    root = f"{plan.root}/"
    recipes = {}
    for stage, wildcards in plan.walk():
        task = plan.task(stage, **dict(wildcards))
        recipes[plan.record(stage, wildcards).removeprefix(root)] = {
            "recipe": task.recipe,
            "stage": stage,
            "version": task.version,
            "literals": task.literals,
            "inputs": [path.removeprefix(root) for path in task.expects],
        }
    cost = Cost(plan.study)
    hours = {plan.record(*model.artifact).removeprefix(root): cost.hours(model) for model in plan.study.trained}
    return {"config": plan.literals("page")["config"], "recipes": recipes, "hours": hours}


def _script() -> str:
    """Return a program that prints what is planned for the configuration that it is given."""
    return "\n".join(
        [
            "from __future__ import annotations",
            "import json, sys",
            "from lorebridge import config, studies",
            inspect.getsource(planned),
            "json.dump(planned(studies.plan(config.load(sys.argv[1]))), sys.stdout)",
        ]
    )


def _of_commit(name: str, config: Path, folder: Path) -> Side:
    """Return what a commit plans for a configuration: as the commit has it, or as it lies where git knows it not."""
    repository = _git(Path(__file__).parent, "rev-parse", "--show-toplevel")
    commit = repository and _git(Path(repository), "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if not repository or not commit:
        mend = "Name a folder such as results/demo, a bundle, or a commit of the clone that lorebridge runs from."
        raise InputError(name, "is no folder, no file and no commit", mend)
    # An index of its own: what the user has staged stays as it is, and no hook runs.
    with tempfile.TemporaryDirectory() as index:
        environment = os.environ | {"GIT_INDEX_FILE": str(Path(index) / "index")}
        for words in (["read-tree", commit], ["checkout-index", "--all", f"--prefix={folder.resolve()}/"]):
            subprocess.run(["git", "-C", repository, *words], check=True, env=environment)
    inside = Path(os.path.relpath(config.resolve(), Path(repository).resolve()))
    then = folder / inside if ".." not in inside.parts else config
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    call = [sys.executable, "-c", _script(), str(then if then.is_file() else config.resolve())]
    done = subprocess.run(call, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no word"
        mend = "Its lorebridge has to know this configuration, and to have records of format 2."
        raise InputError(f"commit {name}", f"cannot plan {config} ({last})", mend)
    said = json.loads(done.stdout)
    return Side(name, said["config"], said["recipes"], None, hours=said["hours"])


def _git(folder: Path, *words: str) -> str:
    """Return what git prints; nothing where it fails."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, text=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


# ---------------------------------------------------------------- comparing


def compare(a: Side, b: Side, tolerance: float = 0.0) -> dict[str, Any]:
    """Return what differs between two sides, as JSON types.

    Args:
        a: one side.
        b: the other.
        tolerance: numbers that differ by no more are the same.

    Returns:
        ``sides`` (their names); ``configuration``: rows ``key, a, b``, or None where one side's is unknown;
        ``recipes``: ``same`` (a number), ``changed`` (rows ``record, stage, why``, `why` empty where only what it is
        made from differs), ``only_a``, ``only_b``, and ``hours``, the reckoned GPU-hours of the models that differ or
        are new in b; ``results``: a row for each table that both have or one has, with ``table``, ``rows_a``,
        ``rows_b``, ``only_a`` and ``only_b`` (keys of rows), ``columns_a`` and ``columns_b`` (columns that one alone
        has), and ``changed`` (rows ``key, a, b``: the columns that differ, with the interval); None where one is a
        commit.
    """
    known = a.config is not None and b.config is not None
    return {
        "sides": {"a": a.name, "b": b.name},
        "configuration": list(differences(a.config, b.config)) if known else None,
        "recipes": _compared_recipes(a, b),
        "results": None if a.root is None or b.root is None else list(_compared_tables(a.root, b.root, tolerance)),
    }


def alike(found: Mapping[str, Any]) -> bool:
    """Return whether :func:`compare` found nothing that differs."""
    recipes = found["recipes"]
    same_results = all(
        not any(table[key] for key in ("only_a", "only_b", "columns_a", "columns_b", "changed"))
        for table in found["results"] or ()
    )
    same_recipes = not any(recipes[key] for key in ("changed", "only_a", "only_b"))
    return not found["configuration"] and same_recipes and same_results


def _compared_recipes(a: Side, b: Side) -> dict[str, Any]:
    both = [path for path in a.recipes if path in b.recipes]
    changed = [
        {
            "record": path,
            "stage": b.recipes[path]["stage"],
            "why": why(a.recipes[path], b.recipes[path], ("in a", "in b")),
        }
        for path in both
        if a.recipes[path]["recipe"] != b.recipes[path]["recipe"]
    ]
    # A bundle has not all records of its study, so that one which it lacks says nothing.
    only_a = [path for path in a.recipes if path not in b.recipes] if b.whole else []
    only_b = [path for path in b.recipes if path not in a.recipes] if a.whole else []
    remade = [*(row["record"] for row in changed), *only_b]
    return {
        "same": len(both) - len(changed),
        "changed": changed,
        "only_a": only_a,
        "only_b": only_b,
        "hours": sum(b.hours.get(path, 0.0) for path in remade),
    }


def _described(root: Path) -> dict[Path, tuple[dict[str, Any], str]]:
    """Return what the records below a folder say of each file and folder, and the rule that makes it."""
    found: dict[Path, tuple[dict[str, Any], str]] = {}
    for place in root.rglob("*record.json"):
        record = read_record(place) or {}
        found |= {path: (said, str(record.get("rule"))) for path, said in outputs_of(place, record).items()}
    return found


def _compared_tables(a: Path, b: Path, tolerance: float) -> Iterator[dict[str, Any]]:
    described = _described(a) | _described(b)
    for name, table, pattern in _result_files():
        files = [{path.relative_to(root).as_posix(): path for path in root.glob(pattern)} for root in (a, b)]
        paths = [Path(os.path.normpath(path)) for some in files for path in some.values()]
        said = {path: described[path][0] for path in paths if path in described}
        refuse_changed(changes(said, lambda path: described[path][1]))
        # Files of the same bytes need not be read.
        same = {
            path
            for path in files[0].keys() & files[1].keys()
            if files[0][path].stat().st_size == files[1][path].stat().st_size
            and file_digest(files[0][path]) == file_digest(files[1][path])
        }
        if not files[0] and not files[1]:
            continue
        rows = {f"rows_{key}": sum(map(tables.n_rows, some.values())) for key, some in zip("ab", files, strict=True)}
        one, other = ([path for name, path in sorted(some.items()) if name not in same] for some in files)
        yield {"table": name, **rows, **_compared(keys(table), one, other, tolerance)}


def _result_files() -> Iterator[tuple[str, str, str]]:
    """Yield (what it is called, table, pattern of its files) of all results that a study may have."""
    found = [
        (stage.name, file.table, re.sub(r"\{\w+\}", "*", file.path))
        for stage in studies.stages().values()
        for file in stage.files.values()
        if file.table in KEYS or (file.table and file.path.startswith("transfer/"))
    ]
    order = [*KEYS, *(table for _, table, _ in found)]
    for stage, table, pattern in sorted(found, key=lambda row: order.index(row[1])):
        several = sum(row[1] == table for row in found) > 1
        yield (f"{table} ({stage})" if several else table), table, pattern


def _compared(about: Sequence[str], one: Sequence[Path], other: Sequence[Path], tolerance: float) -> dict[str, Any]:
    """Compare the rows of two tables, each in some files."""
    schemas = [dict.fromkeys(name for path in paths for name in pq.read_schema(path).names) for paths in (one, other)]
    columns_a = [name for name in schemas[0] if one and other and name not in schemas[1]]
    columns_b = [name for name in schemas[1] if one and other and name not in schemas[0]]
    about = [key for key in about if key not in columns_a + columns_b]
    a, b = (_indexed(paths, about) for paths in (one, other))
    shared = [name for name in a.columns if name in b.columns]
    both = a.index.intersection(b.index, sort=False)
    found: dict[str, Any] = {
        "only_a": _keys(a.index.difference(b.index, sort=False)),
        "only_b": _keys(b.index.difference(a.index, sort=False)),
        "columns_a": columns_a,
        "columns_b": columns_b,
    }
    here, there = a.loc[both, shared], b.loc[both, shared]
    unlike = pd.DataFrame({name: _unlike(here[name], there[name], tolerance) for name in shared}, index=both)
    estimate = next((name for name in ESTIMATES if name in shared), None)
    changed = []
    for row in unlike.index[unlike.any(axis=1)] if len(unlike) and shared else ():
        columns = [name for name in shared if unlike.at[row, name]]
        if estimate and {estimate, "lo", "hi"} & set(columns):
            columns = [*dict.fromkeys([estimate, *[name for name in ("lo", "hi") if name in shared], *columns])]
        changed.append(
            {
                "key": _key(both.names, row),
                "a": {name: _plain(here.at[row, name]) for name in columns},
                "b": {name: _plain(there.at[row, name]) for name in columns},
            }
        )
    return found | {"changed": changed}


def _indexed(paths: Sequence[Path], keys: Sequence[str]) -> pd.DataFrame:
    """Return the rows of some files by their keys; rows of one key are told apart by their order."""
    rows = (
        pd.concat([tables.read(path) for path in paths], ignore_index=True) if paths else pd.DataFrame(columns=[*keys])
    )
    for name in rows.columns:
        if rows[name].map(lambda value: hasattr(value, "__len__") and not isinstance(value, str)).any():
            rows[name] = [None if value is None else " ".join(map(str, value)) for value in rows[name]]
    rows[keys] = rows[keys].astype(object).where(rows[keys].notna(), None)
    rows["row"] = rows.groupby(list(keys), dropna=False).cumcount() if len(rows) else []
    return rows.set_index([*keys, "row"]).sort_index(key=lambda level: level.map(str))


def _unlike(a: pd.Series, b: pd.Series, tolerance: float) -> pd.Series:
    """Return where two columns differ; what is missing in both is the same."""
    if pd.api.types.is_numeric_dtype(a) and pd.api.types.is_numeric_dtype(b):
        near = (a.astype(float) - b.astype(float)).abs() <= tolerance
    else:
        near = a.eq(b)
    return ~(near | (a.isna() & b.isna()))


def _keys(index: pd.Index) -> list[dict[str, Any]]:
    return [_key(index.names, row) for row in index]


def _key(names: Sequence[Any], row: tuple[Any, ...]) -> dict[str, Any]:
    return {str(name): _plain(value) for name, value in zip(names, row, strict=True) if name != "row" or value}


def _plain(value: Any) -> Any:
    """Return a cell as a JSON type; what is missing is None."""
    if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA:
        return None
    return value.item() if hasattr(value, "item") else value


# ---------------------------------------------------------------- for people


def lines(found: Mapping[str, Any], most: int = 8) -> Iterator[str]:
    """Yield what :func:`compare` found as lines for people.

    Args:
        found: what it returned.
        most: of a list, so many lines are shown; those of results whose intervals do not overlap come first.
    """
    yield f"a: {found['sides']['a']}\nb: {found['sides']['b']}\n"
    if found["configuration"] is None:
        yield "configuration: not known of both (the page of a study, whose record has it, is not made yet)"
    else:
        yield f"configuration: {_count(len(found['configuration']), 'value')}" + (
            " differs" if len(found["configuration"]) == 1 else " differ"
        )
        rows = [f"{row['key']}: {short(row['a'])} | {short(row['b'])}" for row in found["configuration"]]
        yield from _cut(rows, most)
    recipes = found["recipes"]
    by_themselves = [row for row in recipes["changed"] if row["why"]]
    hours = f" ({recipes['hours']:,.1f} GPU-hours of training, as reckoned)" if recipes["hours"] else ""
    yield (
        f"\nrecipes: {recipes['same']} the same, {len(recipes['changed'])} differ{hours}, {len(by_themselves)} of them "
        f"by themselves, {len(recipes['only_a'])} only in a, {len(recipes['only_b'])} only in b"
    )
    # Artifacts that differ for one reason are one line.
    grouped = itertools.groupby(sorted(by_themselves, key=_reason), key=_reason)
    yield from _cut([f"{stage}: {why}{_times(len(list(rows)))}" for (stage, why), rows in grouped], most)
    for key, name in (("only_a", "a"), ("only_b", "b")):
        yield from _cut([f"only in {name}: {path}" for path in recipes[key]], most)
    if found["results"] is None:
        yield "\nresults: a commit has none"
        return
    yield "\nresults"
    for table in found["results"]:
        yield from _table_lines(table, most)


def _reason(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["stage"], "; ".join(row["why"])


def _times(n: int) -> str:
    return f" (× {n})" if n > 1 else ""


def _table_lines(table: Mapping[str, Any], most: int) -> Iterator[str]:
    parts = [f"{table['rows_a']:,} rows | {table['rows_b']:,} rows"]
    parts += [f"{len(table[key]):,} only in {key[-1]}" for key in ("only_a", "only_b") if table[key]]
    parts += [f"columns only in {key[-1]}: {', '.join(table[key])}" for key in ("columns_a", "columns_b") if table[key]]
    changed = sorted(table["changed"], key=lambda row: (not _apart(row), -_change(row)))
    apart = sum(map(_apart, changed))
    parts.append(f"{len(changed):,} differ" if changed else "no value differs")
    if apart:
        parts.append(f"{apart:,} by more than their intervals")
    yield f"  {table['table']}: {', '.join(parts)}"
    for key in ("only_a", "only_b"):
        yield from _cut([f"  only in {key[-1]}: {_told(row)}" for row in table[key]], min(most, 3))
    yield from _cut([f"  {_told(row['key'])}: {_values(row)}" for row in changed], most)


def _apart(row: Mapping[str, Any]) -> bool:
    """Return whether the two intervals of a row do not overlap."""
    a, b = row["a"], row["b"]
    ends = [side.get(name) for side in (a, b) for name in ("lo", "hi")]
    return None not in ends and bool(ends[0] > ends[3] or ends[2] > ends[1])


def _change(row: Mapping[str, Any]) -> float:
    """Return how far the first number of a row is from its other."""
    for name, value in row["a"].items():
        other = row["b"][name]
        if isinstance(value, int | float) and isinstance(other, int | float):
            return abs(value - other)
    return math.inf


def _told(key: Mapping[str, Any]) -> str:
    return " ".join(str(value) for value in key.values() if value is not None)


def _values(row: Mapping[str, Any]) -> str:
    """Return what differs in a row, an estimate with its interval."""
    a, b = row["a"], row["b"]
    name = next(iter(a))
    if {"lo", "hi"} <= set(a):
        said = f"{name} {_number(a[name])} ({_number(a['lo'])} to {_number(a['hi'])})"
        said += f" | {_number(b[name])} ({_number(b['lo'])} to {_number(b['hi'])})"
        rest = [key for key in a if key not in (name, "lo", "hi")]
    else:
        said, rest = f"{name} {_number(a[name])} | {_number(b[name])}", list(a)[1:]
    return said + (f"; also {', '.join(rest)}" if rest else "")


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else short(value)


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _cut(rows: Sequence[str], most: int) -> Iterator[str]:
    """Yield some lines, and how many there are besides."""
    yield from (f"  {row}" for row in rows[:most])
    if rows[most:]:
        yield f"  ... and {len(rows) - most:,} more (all: --out FILE.json)"
