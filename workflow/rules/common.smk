# How rules take their outputs, inputs and tasks from the plan, which an entry point has made: the Snakefile by
# study.smk from a configuration, figures.smk from a bundle.
#
#   produces(stage)   the output files of a stage, its record among them
#   needs(stage)      an input function: the files that the stage reads
#   task(stage)       a params function: the stage's literals and recipes, as one line of JSON
#
# What is stale is decided by the record beside an artifact and by nothing else: where it holds the recipe that the plan
# expects and the files are there, all inputs are ancient(), so that touching files or remaking an input to the same
# recipe re-runs nothing. Where it does not, the inputs are plain and the stamp, written when the plan is read, is newer
# than the output, so that the artifact is remade, and all that is made from it, in one invocation -- even if Snakemake's
# own memory (.snakemake) is lost.

import json
import os
import shutil
import sys
import time
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import RerunTrigger

from lorebridge.plan import artifact
from lorebridge.records import read_record


wildcard_constraints:
    lang="[a-z]{2,3}",
    corpus="[a-z]{2,3}",
    culture="[a-z]{2,3}",
    arm="[a-z_]+",
    seed="[0-9]+",
    shard="[0-9]{5}-of-[0-9]{5}",
    stream="(mono-[a-z]{2,3}|pairs-[a-z]{2,3}-(en|xx))",
    run="[a-z]+(-[a-z_]+)?-s[0-9]+",
    figure="[a-z0-9_]+",
    table="[a-z0-9_]+",


def _checked_interpreter():
    """Stop when the `lorebridge` that shell rules would call belongs to another environment than this Snakemake."""
    found = shutil.which("lorebridge")
    if found is None or Path(found).resolve().parent != Path(sys.executable).absolute().parent.resolve():
        raise WorkflowError(
            f"The lorebridge on PATH is {found or 'missing'}, but Snakemake runs from {Path(sys.executable).parent}. "
            'Put that folder first on PATH: export PATH="$PWD/.venv/bin:$PATH"'
        )


_checked_interpreter()

STAMP = Path(plan.work) / "stamp"
if workflow.is_main_process:
    STAMP.parent.mkdir(parents=True, exist_ok=True)
    # Other content each time: a file that is newer but holds the same is not newer to Snakemake.
    STAMP.write_text(f"{time.time_ns()}\n")


def _fresh(name):
    """Whether an artifact is on disk, whole, and made by the recipe that the plan expects."""
    stage, wildcards = name[0], dict(name[1])
    record = read_record(plan.outputs(stage, **wildcards)["record"])
    if record is None or record.get("recipe") != plan.task(stage, **wildcards).recipe:
        return False
    return all(os.path.exists(path) for path in paths(name))


def _files(name):
    """Yield (output name, list of paths) of an artifact, its record left out."""
    for key, value in plan.outputs(name[0], **dict(name[1])).items():
        if key != "record":
            yield key, [value] if isinstance(value, str) else list(value)


def paths(*names):
    return [path for name in names for _, files in _files(name) for path in files]


def produces(stage, **fixed):
    directories = {"checkpoints", "index"}

    def marked(key, value):
        if key not in directories:
            return value
        return directory(value) if isinstance(value, str) else [directory(path) for path in value]

    return {key: marked(key, value) for key, value in plan.outputs(stage, **fixed).items()}


def needs(stage, **fixed):
    def inputs(wildcards):
        # The stamp alone says what is stale. Snakemake's further triggers would re-run a job whose result cannot
        # change, and so hide what must be made further down behind its ancient() edges. (The settings are there only
        # once the rules are read, which is why they are set here.)
        workflow.dag_settings.rerun_triggers = frozenset({RerunTrigger.MTIME})
        w = dict(wildcards.items()) | fixed
        age = ancient if _fresh(artifact(stage, **w)) else str
        found = {key: [age(path) for path in files] for key, files in plan.reads(stage, **w).items()}
        found["stamp"] = age(str(STAMP))
        # The recipe holds what local sources contain, so their modification times say nothing.
        if section := {"signatures": "corpora", "corpus_shard": "corpora", "parallel": "parallel"}.get(stage):
            absent = {path for path, _ in plan.absent_sources()}
            found["sources"] = [ancient(path) for path in plan.source_paths(section, w["lang"]) if path not in absent]
        if stage == "people_response":
            source = plan.people_path()
            found["sources"] = [ancient(source)] if source else []
        if stage == "question_file":
            source = plan.question_path(w["culture"], w["lang"])
            found["sources"] = [ancient(source)] if source else []
        return found

    return inputs


def task(stage, **fixed):
    return lambda wildcards: plan.task(stage, **(dict(wildcards.items()) | fixed)).dumps()


def escalated(amount):
    """A resource that grows with each attempt."""
    return lambda wildcards, attempt: int(amount * attempt)


def searched(wildcards):
    """The inputs of retrieval, with the index or the chunks that it searches under one name."""
    found = needs("hits")(wildcards)
    found["corpus"] = found.pop("index", None) or found.pop("chunks")
    return found


def judged(wildcards):
    """The inputs of the judge; not every language is read in translation."""
    return {"translations": []} | needs("judgments")(wildcards)


CAPTIONS = {
    "figure3": ("Results", "Accuracy by checkpoint"),
    "gaps": ("Results", "Gaps between arms"),
    "asymmetry": ("Results", "The directions compared"),
    "occurrences": ("Results", "Occurrences of transferred items"),
    "learning": ("Training", "Held-out text and alignment"),
    "random_models": ("Validation", "What ties are worth to a random model"),
    "exposure": ("Training", "Exposure to the facts asked for"),
    "recovery": ("Validation", "Planted statements found again"),
    "dose_response": ("Results", "What crosses by how often it is told"),
    "losses": ("Training", "Loss"),
    "examples": ("Questions", "A question of each culture"),
}


def drawn(figure):
    """The output files of a figure, its vector image shown in the report."""
    files = produces("figure", figure=figure)
    category, label = CAPTIONS[figure]
    caption = f"../report/{figure}.rst"
    files["svg"] = report(files["svg"], caption=caption, category=category, labels={"figure": label})
    return files


def written():
    """The output files of a table, its Markdown shown in the report."""
    files = produces("table")
    files["csv"] = report(
        files["csv"],
        caption="../report/table.rst",
        category="Tables",
        labels={"table": "{table}"},
    )
    return files


def shown():
    """The page of the report, which stands first in it."""
    files = produces("page")
    files["page"] = report(
        files["page"], caption="../report/page.rst", category="Study", labels={"page": "Question, design, results"}
    )
    return files


def captions():
    """What the page says of each figure, as JSON: category, title and text."""
    folder = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent / "report"
    return json.dumps(
        {figure: [*CAPTIONS[figure], (folder / f"{figure}.rst").read_text(encoding="utf-8")] for figure in plan.figures}
    )
