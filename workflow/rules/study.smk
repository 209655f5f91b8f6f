# The plan of the study that the configuration describes, checked before anything else is read.

from pathlib import Path

from snakemake.exceptions import WorkflowError

import lorebridge.config
from lorebridge import studies
from lorebridge.errors import LorebridgeError
from lorebridge.records import DigestCache


def _plan():
    try:
        # Snakemake has read them, and takes the last of two equal keys.
        lorebridge.config.refuse_duplicate_keys(workflow.configfiles)
        plan = studies.plan(
            lorebridge.config.check(config, name=", ".join(map(str, workflow.configfiles))),
            digest=DigestCache(Path(config.get("work", "work")) / "digests"),
        )
        for name in plan.walk():
            plan.recipe(name)
    except LorebridgeError as error:
        raise WorkflowError(str(error))
    return plan


plan = _plan()
HARDWARE = plan.config["compute"]


onstart:
    missing = plan.study.absent_sources()
    if missing:
        raise WorkflowError(
            "These sources cannot be downloaded and are not in place yet:\n"
            + "\n".join(f"  {path}: {obtain}" for path, obtain in missing)
        )
