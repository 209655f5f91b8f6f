# Words of before; names of no rule, which Snakemake takes without a word where a profile says something of rules; and
# artifacts that the study does not have.
# Read last, when all rules are known.

import contextlib
import io
import sys
from pathlib import Path

import snakemake.cli
from snakemake.exceptions import WorkflowError

from lorebridge import studies
from lorebridge.errors import LorebridgeError
from lorebridge.figures.stages import FIGURES
from lorebridge.plan.wanted import refuse_unknown_paths
from lorebridge.studies import former


def _refuse_words_of_before():
    # A profile may say something of rules that this study has no need of.
    known = {rule.name for rule in workflow.rules} | set(studies.stages()) | {f"draw_{row.name}" for row in FIGURES}
    # Targets and the like are settings of the workflow only once its rules are read; it says again what profile it uses.
    with contextlib.redirect_stderr(io.StringIO()):
        arguments = snakemake.cli.parse_args(sys.argv[1:])[1]
    try:
        former.refuse(arguments, plan.root, plan.study.models, known)
        refuse_unknown_paths(plan, former.chosen(arguments))
    except LorebridgeError as error:
        raise WorkflowError(str(error))


# Of a program that calls Snakemake the command line says nothing, and jobs are given what this process understood. The
# words of a workflow that has this as a module are its own.
if (
    workflow.is_main_process
    and workflow.modifier.is_main_snakefile()
    and Path(sys.argv[0]).name in ("snakemake", "__main__.py")
):
    _refuse_words_of_before()
