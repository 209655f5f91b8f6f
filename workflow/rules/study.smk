# The plan of the study that the configuration describes, checked before anything else is read.

from pathlib import Path

from snakemake.exceptions import WorkflowError

import lorebridge.config
from lorebridge.errors import LorebridgeError
from lorebridge.plan import Plan
from lorebridge.records import DigestCache


def _plan():
    try:
        plan = Plan(
            lorebridge.config.check(config, name=", ".join(map(str, workflow.configfiles))),
            digest=DigestCache(Path(config.get("work", "work")) / "digests.json"),
        )
        for name in plan.walk():
            plan.task(name[0], **dict(name[1]))
    except LorebridgeError as error:
        raise WorkflowError(str(error))
    return plan


plan = _plan()
HARDWARE = plan.config["compute"]


onstart:
    missing = plan.absent_sources()
    if missing:
        raise WorkflowError(
            "These sources cannot be downloaded and are not in place yet:\n"
            + "\n".join(f"  {path}: {obtain}" for path, obtain in missing)
        )
