"""What the code must never do, read from the code itself."""

from __future__ import annotations

import ast
import re

import pytest

# What reads pickles: modules, and functions by their last name (np.load does unless allow_pickle stays False).
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def sources(root):
    paths = [*(root / "src").rglob("*.py"), *(root / "workflow").rglob("*.py")]
    assert len(paths) > 60
    return [(path.relative_to(root), ast.parse(path.read_text(encoding="utf-8"))) for path in paths]


def name_of(node):
    """Return the dotted name that an expression is, or an empty string."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def unsafe(tree):
    """Yield what a module does that runs what it reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            if {name.split(".")[0] for name in names} & PICKLES:
                yield node.lineno, "imports a pickle"
        if not isinstance(node, ast.Call):
            continue
        called = name_of(node.func)
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        if called in ("torch.load", "pd.read_pickle", "pandas.read_pickle", "eval", "exec", "os.system", "yaml.load"):
            yield node.lineno, f"calls {called}"
        checked = getattr(keywords.get("filter"), "value", None) == "data"  # each member, by the library
        if called.split(".")[-1] in ("extractall", "unpack_archive") and not checked:
            yield node.lineno, f"calls {called}: members are to be checked one by one"
        for name in ("trust_remote_code", "allow_pickle", "shell"):
            if name in keywords and not (isinstance(keywords[name], ast.Constant) and keywords[name].value is False):
                yield node.lineno, f"{name} is not plainly False"
        weights = called.endswith("from_pretrained") and "AutoModel" in called
        if weights and not getattr(keywords.get("use_safetensors"), "value", False):
            yield node.lineno, f"{called} may read pickled weights"


def test_nothing_that_is_read_is_run(root):
    """No pickle, no code from a hub, no shell, no archive unpacked whole."""
    assert [f"{path}:{line}: {what}" for path, tree in sources(root) for line, what in unsafe(tree)] == []


@pytest.mark.parametrize(
    "bad",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(p)",
        "np.load(p, allow_pickle=True)",
        "eval(text)",
        "AutoModel.from_pretrained(p)",
        "AutoTokenizer.from_pretrained(p, trust_remote_code=config['trust'])",
        "tar.extractall(p)",
        "subprocess.run(line, shell=True)",
    ],
)
def test_the_reading_sees_it(bad):
    assert list(unsafe(ast.parse(bad)))


def test_every_value_in_a_shell_line_is_quoted_or_a_number(root):
    """`{...:q}`; what is not quoted is a resource or a number of threads, which the schema holds to numbers."""
    numbers = re.compile(r"threads|resources\.(micro_batch|runtime|resume_interval|processes|nodes|score_tokens)")
    seen = 0
    for path in sorted((root / "workflow" / "rules").glob("*.smk")):
        text = path.read_text(encoding="utf-8")
        for field in re.findall(r"\{((?:input|output|params|log|wildcards|resources|threads|config)\b[^{}]*)\}", text):
            seen += 1
            assert field.endswith(":q") or numbers.fullmatch(field), f"{path.name}: {{{field}}}"
    assert seen > 50
