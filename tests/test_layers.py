"""Which part of the package may use which."""

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import lorebridge
from lorebridge.kernels import compiled

ROOT = Path(lorebridge.__file__).parent
# A folder uses those of later layers, and none of its own or an earlier one.
LAYERS = [
    ["studies"],
    ["figures"],
    ["transfer"],
    ["trace", "probes"],
    ["train"],
    ["tokens"],
    ["corpora"],
    ["world"],
    ["plan"],
]
BELOW = {part: set(itertools.chain(*LAYERS[i + 1 :])) for i, layer in enumerate(LAYERS) for part in layer}
# What stands above all folders: it starts their work.
ABOVE = {"cli", "workers", "bundle", "adopt", "compare", "contents", "doctor"}
# A configuration is checked by the rules of its kind of study, which it names.
ALLOWED = {("config", "studies")}


def imports(path: Path) -> Iterator[str]:
    """Yield the modules of the package that a file imports, also those that it imports late."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lorebridge":
            inner = (node.module or "").partition(".")[2]
            yield from [inner] if inner else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (n.name.partition(".")[2] for n in node.names if n.name.startswith("lorebridge."))


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_part_uses_one_above_it(path):
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if part in ABOVE:
        return
    for module in imports(path):
        used = module.split(".")[0]
        if used == part or (part, module) in ALLOWED:
            continue
        assert used not in ABOVE, f"{path} uses {module}, which stands above it"
        assert used not in BELOW or used in BELOW.get(part, ()), f"{path} uses {module}, which stands above it"


def test_every_folder_has_its_layer():
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert folders == BELOW.keys()


def test_code_whose_cache_cannot_be_written_is_compiled_all_the_same():
    names = {}
    exec("def plus_one(n):\n    return n + 1", names)  # numba finds no file to keep its machine code beside
    assert compiled(names["plus_one"])(2) == 3
    assert compiled(inline="always")(names["plus_one"])(2) == 3


TAKING_APART = {"split", "rsplit", "partition", "rpartition", "startswith", "endswith", "removeprefix", "removesuffix"}
TAKING_APART |= {"extract", "match", "fullmatch", "search", "findall", "finditer"}
# What holds the name of a model or a text is called so here.
NAMED = re.compile(r"\b(run|stream|model\.name|text\.name)\b")
PARSING = """
kind, lang = stream.split("-")
table["stream"].str.rsplit("-", n=1).str[1]
table["run"].str.startswith("base")
re.match("(.*)-(.*)", model.name)
w["run"].rpartition("-s")[2]
str(run).removeprefix("ko-")
"""


def parsed(tree: ast.AST) -> Iterator[str]:
    """Yield the expressions that look into the name of a model or a text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in TAKING_APART:
            looked_at = [node.func.value, *node.args[1:]] if ast.unparse(node.func.value) == "re" else [node.func.value]
            if any(NAMED.search(ast.unparse(part)) for part in looked_at):
                yield ast.unparse(node)


def test_the_name_of_a_model_or_text_is_parsed_by_nobody():
    """What is said of it stands in its row, and in columns of the tables about it."""
    assert len(list(parsed(ast.parse(PARSING)))) == 6
    repository = Path(__file__).parents[1]
    for folder in (ROOT, *(repository / name for name in ("benchmarks", "workflow", "tests/kinds"))):
        for path in folder.rglob("*.py"):
            found = list(parsed(ast.parse(path.read_text(encoding="utf-8"))))
            assert not found, f"{path}: {found}"
        for path in folder.rglob("*.smk"):
            found = re.findall(rf"\b(?:run|stream)\b[\"'\])]*\.(?:{'|'.join(TAKING_APART)})\(", path.read_text())
            assert not found, f"{path}: {found}"
