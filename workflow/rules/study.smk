# The plan of the study that the configuration describes, checked before anything else is read.

import json
import os
import shlex
from pathlib import Path

from snakemake.exceptions import WorkflowError

import lorebridge.config
from lorebridge import adopt, publish, slurm, studies
from lorebridge.errors import LorebridgeError
from lorebridge.probes.stages import check_local_questions
from lorebridge.records import DigestCache, Records

# Common.smk asks for the same ones.
RECORDS = Records()
# What a dry run writes, Snakemake's own folder holds: it makes that one even to plan.
HERE = Path(".snakemake") / "lorebridge"
# What `--config` says, of which Snakemake leaves the numbers in a list or mapping as text.
SAID = lorebridge.config.typed(dict(workflow.config_settings.config or {}))


def _plan():
    try:
        # Snakemake has read them, and takes the last of two equal keys.
        lorebridge.config.refuse_duplicate_keys(workflow.configfiles)
        said = lorebridge.config.merged(config, SAID)
        plan = studies.plan(
            lorebridge.config.check(said, name=", ".join(map(str, workflow.configfiles))),
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
    # Several files are for one file to say: FILE stands for it.
    file = shlex.quote(os.path.abspath(workflow.configfiles[0])) if len(workflow.configfiles) == 1 else "FILE"
    settings = [f"--set {shlex.quote(f'{key}={json.dumps(value)}')}" for key, value in SAID.items()]
    command = " ".join(["lorebridge adopt --config", file, *settings])
    more = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
    raise WorkflowError(
        f"{os.path.abspath(plan.root)} holds results whose records are of an older form ({waiting[0]}{more}), which "
        f"would be remade. To keep them: cd {shlex.quote(os.getcwd())} && {command}"
    )


plan = _plan()
if workflow.is_main_process:
    _adopted_first(plan)
HARDWARE = plan.config["compute"]


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
