# How rules take their outputs, inputs and tasks from the plan, which an entry point has made, with RECORDS to read those
# on disk by: the Snakefile by study.smk from a configuration, figures.smk from a bundle.
#
#   makes(stage, NAME="PATH", ...)    the output files of a stage, its record among them
#   needs(stage, NAME="PATH", ...)    an input function: the files that the stage reads, by the argument that takes them
#   task(stage)                       a params function: literals, recipes and how the function is called, in one line
#
# The paths that a rule shows, below results/<study>/, are held against what the stage declares while the rule is read;
# `*` stands for what a wildcard of other artifacts may be, ` | ` for another place that files may come from.
#
# What is stale is decided by the record beside an artifact and by nothing else: where it holds the recipe that the plan
# expects and the files are there, all inputs are ancient(), so that touching files or remaking an input to the same
# recipe re-runs nothing. Where it does not, the inputs are plain and the stamp, written when the plan is read, is newer
# than the output, so that the artifact is remade, and all that is made from it, in one invocation -- even if Snakemake's
# own memory (.snakemake) is lost.

import functools
import os
import shutil
import sys
import time
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.types import RerunTrigger

from lorebridge.errors import LorebridgeError
from lorebridge.plan import artifact, due, shown
from lorebridge.plan.stage import constraints
from lorebridge.plan.wanted import refuse_unknown
from lorebridge.records import resized


wildcard_constraints:
    **constraints(plan.study.stages.values()),


# The one script that most rules call, and the environments, for the rules of a kind of study, which lie elsewhere.
WORKFLOW = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parent
MAKE = str(WORKFLOW / "scripts" / "make.py")
ENVIRONMENTS = str(WORKFLOW.parent / "envs")


def _checked_interpreter():
    """Stop when the `lorebridge` that shell rules would call belongs to another environment than this Snakemake."""
    found = shutil.which("lorebridge")
    if found is None or Path(found).resolve().parent != Path(sys.executable).absolute().parent.resolve():
        raise WorkflowError(
            f"The lorebridge on PATH is {found or 'missing'}, but Snakemake runs from {Path(sys.executable).parent}. "
            'Put that folder first on PATH: export PATH="$PWD/.venv/bin:$PATH"'
        )


_checked_interpreter()

# In Snakemake's own folder, which it makes even to plan: a dry run writes nowhere else.
STAMP = Path(".snakemake") / "lorebridge" / plan.config["study"] / "stamp"
if workflow.is_main_process:
    STAMP.parent.mkdir(parents=True, exist_ok=True)
    # Other content each time: a file that is newer but holds the same is not newer to Snakemake.
    STAMP.write_text(f"{time.time_ns()}\n")


def _trust_the_stamp_alone():
    """Leave Snakemake one trigger.

    The stamp says what is stale. Snakemake's further triggers would re-run a job whose result cannot change, and so hide
    what must be made further down behind its ancient() edges. (The settings are there only once the rules are read, so
    input functions set them.)
    """
    workflow.dag_settings.rerun_triggers = frozenset({RerunTrigger.MTIME})


def _forced(name):
    """Whether Snakemake was told to make an artifact again (--forcerun), by its rule or by one of its files."""
    forced = workflow.dag_settings.forcerun
    return bool(forced) and not forced.isdisjoint(
        [name[0], f"draw_{dict(name[1]).get('figure')}", *paths(name), plan.record(*name)]
    )


@functools.cache
def _fresh(name):
    """Whether an artifact is on disk, of the sizes that it was written with, made by the recipe of the plan, and wanted
    as it is."""
    return not _forced(name) and due.fresh(plan, name, RECORDS)


@functools.cache
def _tell(name):
    """Say of an artifact whose recipe is that of the plan which of its files have another size.

    Nothing else would say why a study that was finished has something to be done.
    """
    place = plan.record(*name)
    record = RECORDS(place)
    if record is not None and record.get("recipe") == plan.recipe(name) and workflow.is_main_process:
        for line in resized(place, record, paths(name)):
            logger.info(f"{line}; it is made again")


@functools.cache
def _behind(name):
    """The records of what is not fresh and lies behind fresh artifacts that an artifact is made from.

    Snakemake trusts that it will come from a job that runs to all that must run after it, and looks at none of that. But
    it does not go along ancient edges. So an artifact that is made names what is made behind those.
    """
    found = {}
    for above in filter(_fresh, plan.inputs(name[0], **dict(name[1]))):
        made = [a for a in plan.inputs(above[0], **dict(above[1])) if not _fresh(a)]
        found |= _behind(above) | {plan.record(*a): None for a in made}
    return found


def paths(*names):
    """The files of some artifacts, their records left out."""
    return due.paths(plan, *names)


def _held(check, *arguments):
    """Hold what a rule shows against what its stage declares; a difference stops here, in one line."""
    try:
        check(plan, *arguments)
    except LorebridgeError as error:
        raise WorkflowError(str(error))


def makes(stage, of={}, **shows):
    _held(shown.outputs, stage, shows)
    files = plan.stage(stage).files

    def marked(key, value):
        if key == "record" or not files[key].folder:
            return value
        return directory(value) if isinstance(value, str) else [directory(path) for path in value]

    return {key: marked(key, value) for key, value in plan.outputs(stage, **of).items()}


def needs(stage, of={}, **shows):
    _held(shown.inputs, stage, of, shows)

    def inputs(wildcards):
        _trust_the_stamp_alone()
        w = dict(wildcards.items()) | of
        name = artifact(stage, **w)
        refuse_unknown(plan, name, f"rule {stage}")
        fresh = _fresh(name)
        if not fresh:
            _tell(name)
        age = ancient if fresh else str
        found = dict.fromkeys(shows, ()) | {
            key: [age(path) for path in files] for key, files in plan.reads(stage, **w).items()
        }
        found["stamp"] = [age(str(STAMP)), *([] if fresh else _behind(name))]
        # The recipe holds what local sources contain, so their modification times say nothing.
        found["sources"] = [ancient(path) for path in plan.sources(stage, **w)]
        return found

    return inputs


def task(stage, of={}):
    return lambda wildcards: plan.task(stage, **(dict(wildcards.items()) | of)).dumps()


def escalated(amount):
    """A resource that grows with each attempt."""
    return lambda wildcards, attempt: int(amount * attempt)
