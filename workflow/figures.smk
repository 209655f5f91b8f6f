# Redraws the tables and figures of a study from its bundle, on a machine that has no more than the CPU environment:
#
#   snakemake --cores 2 -s workflow/figures.smk --config bundle=results/demo.bundle.tar.xz
#
# The bundle is unpacked to a results root of its own (redrawn/, or `--config results=FOLDER`). No rule is known here
# but those that draw, so nothing else can be scheduled.

from snakemake.exceptions import WorkflowError

from lorebridge.bundle import redrawing
from lorebridge.errors import LorebridgeError
from lorebridge.records import Records

try:
    plan = redrawing(config)
except LorebridgeError as error:
    raise WorkflowError(str(error))
RECORDS = Records()


report: "report/workflow.rst"


include: "rules/common.smk"
include: "rules/figures.smk"


rule all:
    default_target: True
    input:
        paths(*plan.targets()),
    localrule: True


include: "rules/former.smk"
