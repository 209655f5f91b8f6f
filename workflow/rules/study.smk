# The plan of the study that the configuration describes, checked before anything else is read.
#
# As a module (`module lorebridge: ...`) the configuration is what the module is given. A `prefix` of the module goes before
# `results` and `work`, because a task names the files of its inputs by the paths that the plan has.

import json
import os
import shlex
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

import lorebridge.config
from lorebridge import adopt, publish, slurm, studies
from lorebridge.errors import LorebridgeError
from lorebridge.plan.cost import Cost
from lorebridge.probes.stages import check_local_questions
from lorebridge.progress import Job, Reporter
from lorebridge.records import DigestCache, Records

# Common.smk asks for the same ones.
RECORDS = Records()
# What a dry run writes, Snakemake's own folder holds: it makes that one even to plan.
HERE = Path(".snakemake") / "lorebridge"
# The name of the module that this is read as; empty where it is the workflow itself.
MODULE = "" if workflow.modifier.is_main_snakefile() else workflow.modifier.namespace
# What `--config` says, of which Snakemake leaves the numbers in a list or mapping as text. Of a module it says nothing.
SAID = {} if MODULE else lorebridge.config.typed(dict(workflow.config_settings.config or {}))


def _prefixed(said):
    """Return the configuration with the module's prefix before its own folders; Snakemake then adds it nowhere."""
    paths = workflow.modifier.path_modifier
    if paths.modifies_prefixes:
        raise WorkflowError(
            f"module {MODULE}, replace_prefix: the paths of a study follow from its configuration. Set its keys `results` "
            "and `work` instead."
        )
    if not paths.prefix:
        return said
    folders = {key: os.path.join(paths.prefix, said.get(key, key)) for key in ("results", "work")}
    paths.prefix = None
    return said | folders


def _plan(config):
    try:
        # Snakemake has read them, and takes the last of two equal keys.
        if not MODULE:
            lorebridge.config.refuse_duplicate_keys(workflow.configfiles)
        name = f"module {MODULE}, config" if MODULE else ", ".join(map(str, workflow.configfiles))
        plan = studies.plan(
            lorebridge.config.check(lorebridge.config.merged(config, SAID), name=name),
            digest=DigestCache(HERE / "digests"),
        )
        check_local_questions(plan.study)
        for name in plan.walk():
            plan.recipe(name)
    except LorebridgeError as error:
        raise WorkflowError(str(error))
    return plan


def _adopted_first(plan):
    """Stop where results lie that would be remade because recipes are reckoned in another way now."""
    waiting = adopt.waiting(plan, RECORDS)
    if not waiting:
        return
    # A module's configuration, and several files, are for one file to say: FILE stands for it.
    one = not MODULE and len(workflow.configfiles) == 1
    file = shlex.quote(os.path.abspath(workflow.configfiles[0])) if one else "FILE"
    settings = [f"--set {shlex.quote(f'{key}={json.dumps(value)}')}" for key, value in SAID.items()]
    command = " ".join(["lorebridge adopt --config", file, *settings])
    more = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
    raise WorkflowError(
        f"{os.path.abspath(plan.root)} holds results whose records are of an older form ({waiting[0]}{more}), which "
        f"would be remade. To keep them: cd {shlex.quote(os.getcwd())} && {command}"
    )


plan = _plan(_prefixed(config))
if workflow.is_main_process:
    _adopted_first(plan)
HARDWARE = plan.config["compute"]


def _jobs():
    """The jobs of this run by their number, with what tells how long they take."""
    cost = Cost(plan.study)
    models = {model.artifact: model for model in plan.study.trained}
    processes = max(1, HARDWARE["gpus"] * HARDWARE["nodes"])
    found = {}
    for job in workflow.dag.needrun_jobs():
        wildcards = dict(job.wildcards_dict or {})
        model = plan.study.models.get(wildcards.get("run"))
        if model is not None and model.artifact in models and job.rule.name.endswith(model.artifact[0]):
            found[job.jobid] = Job(model.artifact[0], model.tokens, 3600 * cost.hours(model) / processes)
        else:
            found[job.jobid] = Job(job.rule.name)
    return found


# Snakemake calls it for the workflow itself alone: one that has this as a module calls it in an `onstart` of its own.
onstart:
    try:
        for folder in (plan.root, plan.work):
            publish.check_folder(folder, [], name="`results` or `work`")
        slurm.refuse_silent_sacct(workflow.executor_settings)
    except LorebridgeError as error:
        raise WorkflowError(str(error))
    missing = plan.study.absent_sources()
    if missing:
        raise WorkflowError(
            "These sources cannot be downloaded and are not in place yet:\n"
            + "\n".join(f"  {path}: {obtain}" for path, obtain in missing)
        )
    logger.addHandler(Reporter(plan.config["study"], _jobs(), logger))
