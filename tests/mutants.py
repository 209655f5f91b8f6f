"""Whether the tests would notice: small faults put into modules, one at a time, and the tests run on each.

    make mutants MODULES="tokens/packing transfer/clusters"       (CONTRIBUTING.md, "Would the tests notice?")

The faults are Cosmic Ray's. A mutant is never written to disk: a forked child, which has already what the tests import,
imports the changed module and runs, of the tests of the folders that import the module, the files that reach the
changed line, up to the first failure. What stages declare is held by the tests of all recipes and plans instead. A
mutant costs what these tests cost. Tests marked slow are left out, and those that need real text. Where a module has
code for numba, all such code runs as Python.

The survivors that are no fault (the changed program does the same) stand in ``tests/data/equivalent_mutants.yaml``.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import contextlib
import difflib
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import random
import re
import resource
import signal
import sys
import tempfile
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[1]
FOLDERS = ("corpora", "probes", "tokens", "trace", "transfer")
EQUIVALENT = ROOT / "tests" / "data" / "equivalent_mutants.yaml"
SAME = ("_Eq_Is", "_NotEq_IsNot", "_Is_Eq", "_IsNot_NotEq")
"""Operators that are left out: whether equal strings and numbers are one object is up to the interpreter."""
MEMORY = 8 << 30
"""Bytes that the tests of a mutant may take: some ask for more and more."""


class Mutant(NamedTuple):
    """One fault: the operator, the first line that it changes (from 1), that line before and after, the new source."""

    operator: str
    line: int
    before: str
    after: str
    source: str


class Tests(NamedTuple):
    """A file of tests: seconds of the processor that it takes, and lines of the module that it reaches by itself."""

    path: Path
    seconds: float
    lines: frozenset[int]


def mutants(source: str, rng: random.Random) -> Iterator[Mutant]:
    """Yield the faults that Cosmic Ray knows for a module, each once, in random order."""
    import cosmic_ray.ast
    import cosmic_ray.mutating
    import cosmic_ray.plugins

    nodes = list(cosmic_ray.ast.ast_nodes(cosmic_ray.ast.get_ast(source)))
    places = []
    for name in sorted(cosmic_ray.plugins.operator_names()):
        operator = cosmic_ray.plugins.get_operator(name)
        if operator.arguments() or name.endswith(SAME):
            continue  # needs names of variables; or is no fault
        n = sum(1 for node in nodes for _ in operator().mutation_positions(node))
        places += [(name, occurrence) for occurrence in range(n)]
    rng.shuffle(places)
    met = {meaning(source)}
    for name, occurrence in places:
        try:
            changed = cosmic_ray.mutating.mutate_code(source, cosmic_ray.plugins.get_operator(name)(), occurrence)
            means = meaning(changed)
        except (AttributeError, SyntaxError):  # it knows no exception by a dotted name; it wrote no Python
            continue
        if means in met:
            continue
        met.add(means)
        pairs = difflib.SequenceMatcher(None, source.splitlines(), changed.splitlines(), autojunk=False).get_opcodes()
        _, start, end, new_start, new_end = next(pair for pair in pairs if pair[0] != "equal")
        before, after = (
            " ".join(" ".join(text.splitlines()[a:b]).split())
            for text, a, b in ((source, start, end), (changed, new_start, new_end))
        )
        start += next((i for i, text in enumerate(source.splitlines()[start:end]) if text.strip()), 0)
        yield Mutant(name.partition("/")[2], start + 1, before, after, changed)


def meaning(source: str) -> str:
    """Return what a module does: its syntax tree without annotations, which nothing evaluates."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Name("any")
    return ast.dump(tree)


class ChangedLoader(importlib.machinery.SourceFileLoader):
    """Loads a module from another source than its file has."""

    def __init__(self, name: str, path: str, source: str | ast.Module) -> None:
        super().__init__(name, path)
        self.source = source

    def get_code(self, fullname: str) -> types.CodeType:
        """Compile the changed source; what is cached of the file's is not looked at."""
        return compile(self.source, self.path, "exec")


class Changed(importlib.abc.MetaPathFinder):
    """Finds one module with another source than its file has."""

    def __init__(self, name: str, path: Path, source: str | ast.Module) -> None:
        self.name, self.path, self.source = name, str(path), source

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """Give the module the changed source."""
        if fullname != self.name:
            return None
        loader = ChangedLoader(fullname, self.path, self.source)
        return importlib.util.spec_from_file_location(fullname, self.path, loader=loader)


def noting(source: str) -> ast.Module:
    """Return a module that does the same on the same lines, and calls ``line_reached(line)`` before each statement."""
    tree = ast.parse(source)
    for node in list(ast.walk(tree)):
        for name in ("body", "orelse", "finalbody"):
            statements = getattr(node, name, None)
            if not isinstance(statements, list):
                continue  # of a lambda
            noted: list[ast.stmt] = []
            for statement in statements:
                heads = [statement.lineno, *(handler.lineno for handler in getattr(statement, "handlers", []))]
                text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
                if not text and not (isinstance(statement, ast.ImportFrom) and statement.module == "__future__"):
                    calls = [ast.parse(f"line_reached({line})").body[0] for line in heads]
                    noted += [ast.increment_lineno(call, statement.lineno - 1) for call in calls]
                noted.append(statement)
            setattr(node, name, noted)
    return tree


def pytest_in_child(
    paths: Sequence[Path], *, seconds: float, before: Callable[[], None], after: Callable[[], None] = lambda: None
) -> int:
    """Run pytest in a forked child.

    Args:
        paths: files of tests.
        seconds: of the processor, after which the child is ended.
        before: called first, in the child.
        after: called last, in the child.

    Returns:
        Pytest's status; -1 if the child ran out of time, of memory, or died.
    """
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else -1
    status = 3
    try:
        for name, timer, most in (
            ("SIGPROF", signal.ITIMER_PROF, seconds),
            ("SIGALRM", signal.ITIMER_REAL, 20 * seconds),
        ):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
            signal.setitimer(timer, most)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryDirectory() as folder:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                import hypothesis
                import pytest

                # The same examples each time, and none made smaller: whether one fails is all that is asked.
                phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
                hypothesis.settings.register_profile(
                    "mutants", phases=phases, derandomize=True, database=None, deadline=None
                )
                hypothesis.settings.load_profile("mutants")
                before()
                options = f"-x -q -p no:cacheprovider -p no:faulthandler -p no:xdist --basetemp {folder}".split()
                arguments = [*options, "-m", "not slow", *map(str, paths)]
                status = int(pytest.main(arguments))
                after()
            if os.environ.get("MUTANTS_SAY"):
                said.seek(0)
                sys.__stdout__.write(said.read())
                sys.__stdout__.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def measured(name: str, module: Path, candidates: Sequence[Path]) -> tuple[list[Tests], list[str]]:
    """Run the tests of a module on the module as it is.

    Args:
        name: of the module.
        module: its file.
        candidates: files of tests.

    Returns:
        The files of tests that reach a line of it, the fastest first, and the names of the modules that they import.

    Raises:
        SystemExit: some test fails.
    """
    found, imported = [], set[str]()
    finder = Changed(name, module, noting(module.read_text(encoding="utf-8")))
    for path in candidates:
        with tempfile.TemporaryDirectory() as folder:
            note = Path(folder) / "note.json"

            reached = set[int]()

            def note_lines(reached: set[int] = reached) -> None:
                vars(builtins)["line_reached"] = reached.add
                sys.meta_path.insert(0, finder)

            def write(reached: set[int] = reached, note: Path = note) -> None:
                note.write_text(json.dumps([sorted(reached), sorted(sys.modules)]))

            started = _spent()
            status = pytest_in_child([path], seconds=600, before=note_lines, after=write)
            if status == 5:  # nothing was collected: all of it is slow
                continue
            if status:
                sys.exit(f"{path.relative_to(ROOT)} does not pass on the module as it is: MUTANTS_SAY=1 says why")
            lines, modules = json.loads(note.read_text())
        if lines:
            found.append(Tests(path, _spent() - started, frozenset(lines)))
            imported |= set(modules)
    ours = re.compile(r"lorebridge|conftest|test_|__main__|__mp_main__|_pytest\.|pytest")
    own = {path.stem for path in (ROOT / "tests").rglob("*.py")}
    return sorted(found, key=lambda tests: tests.seconds), sorted(
        name for name in imported if not ours.match(name) and name.partition(".")[0] not in own
    )


def _spent() -> float:
    """Return the seconds of the processor that the children have had."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def of_statement(tree: ast.Module, line: int) -> set[int]:
    """Return the lines of the innermost statement that holds a line; of one with a body, those of its head."""
    found = {line}
    for node in ast.walk(tree):  # the outer ones first
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if body else node.end_lineno
            first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
            if last is not None and first <= line <= max(last, first):
                found = set(range(first, max(last, first) + 1))
    return found


def tests_of(folder: str, stem: str) -> list[Path]:
    """Return the files of tests that import a module by its name; all of its folder where none does."""
    if stem == "stages":  # what they declare is held by the tests of all recipes and plans
        return [ROOT / "tests" / name for name in ("test_recipes.py", "test_plan.py")]
    files = [path for name in FOLDERS for path in sorted((ROOT / "tests" / name).glob("test_*.py"))]
    package = re.escape(f"lorebridge.{folder}")
    one = rf"{package}\.{stem}\b|from {package} import (\([^)]*|.*)\b{stem}\b"
    naming = [path for path in files if re.search(one, path.read_text(encoding="utf-8"))]
    return naming or [path for path in files if path.parent.name == folder]


def equivalent(module: str) -> set[tuple[str, str]]:
    """Return (line before, line after) of the mutants of a module that do the same as the module."""
    listed = yaml.safe_load(EQUIVALENT.read_text(encoding="utf-8")) or {}
    return {(entry["before"], entry["after"]) for entry in listed.get(module, [])}


class Journal:
    """What was found out of a module, line by line in a file, so that a run goes on where the one before was ended."""

    def __init__(self, name: str, files: Sequence[Path]) -> None:
        """Read what is known of a module while none of the files has changed."""
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()[:16]
        self.path = ROOT / "build" / "mutants" / f"{name.replace('/', '.')}-{digest}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        self._known = dict(json.loads(line) for line in lines if line.endswith("]"))

    def get(self, key: str) -> Any:
        """Return what was found out; None if nothing was."""
        return self._known.get(key)

    def add(self, key: str, found: object) -> None:
        """Keep what was found out."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([key, found]) + "\n")


def try_module(name: str, most: int | None, seed: int) -> tuple[int, int, int]:
    """Try the mutants of one module; print those that no test notices.

    Args:
        name: folder and module, as ``tokens/packing``.
        most: how many are tried; all by default.
        seed: which ones.

    Returns:
        How many were tried, how many of them killed, and how many are listed as equivalent.
    """
    folder, _, stem = name.partition("/")
    module = ROOT / "src" / "lorebridge" / folder / f"{stem}.py"
    if folder not in FOLDERS or not module.exists():
        sys.exit(f"{name}: no such module. Give a folder ({', '.join(FOLDERS)}) and a module, as tokens/packing.")
    source = module.read_text(encoding="utf-8")
    tree = ast.parse(source)
    os.environ["NUMBA_DISABLE_JIT"] = str(int("@compiled" in source))
    if "numba" in sys.modules:
        sys.modules["numba"].config.reload_config()
    own = tests_of(folder, stem)
    journal = Journal(name, [module, *own, *(ROOT / "tests").glob("**/conftest.py")])
    if (kept := journal.get("tests")) is None:
        tests, imported = measured(f"lorebridge.{folder}.{stem}", module, own)
        journal.add("tests", [[(str(path), seconds, sorted(lines)) for path, seconds, lines in tests], imported])
    else:
        tests = [Tests(Path(path), seconds, frozenset(lines)) for path, seconds, lines in kept[0]]
        imported = kept[1]
    for each in imported:
        with contextlib.suppress(Exception):
            importlib.import_module(each)
    print(f"{name}: " + ", ".join(f"{t.path.name} {t.seconds:.1f} s, {len(t.lines)} lines" for t in tests), flush=True)
    same = equivalent(name)
    n_tried = n_killed = n_same = 0
    for mutant in mutants(source, random.Random(seed)):
        if n_tried == most:
            break
        if (mutant.before, mutant.after) in same:
            n_same += 1
            continue
        n_tried += 1
        statement = of_statement(tree, mutant.line)
        reach = [each for each in tests if each.lines & statement]
        key = f"{mutant.line} {mutant.operator} {mutant.after}"
        if (status := journal.get(key)) is None and reach:
            finder = Changed(f"lorebridge.{folder}.{stem}", module, mutant.source)
            status = pytest_in_child(
                [each.path for each in reach],
                seconds=2 + 2 * sum(each.seconds for each in reach),
                before=lambda finder=finder: sys.meta_path.insert(0, finder),
            )
            journal.add(key, status)
        if status:
            n_killed += 1
        else:
            reached = "" if reach else " (no test reaches it)"
            print(f"  line {mutant.line}, {mutant.operator}{reached}", flush=True)
            print(f"    - {mutant.before}\n    + {mutant.after}", flush=True)
    print(f"{name}: {n_killed} of {n_tried} killed, {n_same} listed as equivalent", flush=True)
    return n_tried, n_killed, n_same


def main() -> None:
    """Try the modules that the command line names."""
    parser = argparse.ArgumentParser(description="Put small faults into modules; tell which ones no test notices.")
    parser.add_argument("modules", nargs="+", metavar="FOLDER/MODULE", help="such as tokens/packing")
    parser.add_argument("--most", type=int, help="how many mutants of each module are tried (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="which ones these are (default: 0)")
    parser.add_argument(
        "--cosmic-ray", type=Path, required=True, metavar="FOLDER", help="where Cosmic Ray is installed"
    )
    arguments = parser.parse_args()
    sys.path.append(str(arguments.cosmic_ray))  # behind our own packages, of which it has others
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    os.environ.pop("LOREBRIDGE_DATA", None)
    found: dict[str, list[tuple[int, int, int]]] = {}
    for name in arguments.modules:
        found.setdefault(name.partition("/")[0], []).append(try_module(name, arguments.most, arguments.seed))
    for folder, counts in found.items():
        tried, killed, same = (sum(column) for column in zip(*counts, strict=True))
        print(f"{folder}, {len(counts)} modules: {killed} of {tried} killed, {same} listed as equivalent")


if __name__ == "__main__":
    main()
