"""Print, as JSON, the sbatch line of one job of each GPU rule of a study: `sbatch_lines.py CONFIG OVERRIDES`.

The jobs are those of a dry run, the line is the executor's own; only the names of a submission (its id, log, folder)
are left out.
"""

import json
import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import yaml
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings
from snakemake_executor_plugin_slurm.partitions import get_best_partition, read_partition_file
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string

ROOT = Path(__file__).parents[2]
NAMES = {"run_uuid": "NAME", "slurm_logfile": "LOG", "comment_str": "RULE", "account": "", "workdir": "."}


def main(configfile: str, overrides: str) -> None:
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text())
    settings = SimpleNamespace(requeue=profile["slurm-requeue"], no_requeue=False, qos=None, reservation=None)
    partitions = read_partition_file(ROOT / "profiles" / "slurm" / "partitions.example.yaml")
    lines = {}
    with SnakemakeApi(OutputSettings(quiet={"all"}, dryrun=True)) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(nodes=10),
            config_settings=ConfigSettings(configfiles=(Path(configfile),), config=json.loads(overrides)),
            snakefile=ROOT / "Snakefile",
        )
        dag = workflow.dag(DAGSettings())
        dag.execute_workflow(executor="dryrun")
        for job in dag.workflow_api._workflow.dag.jobs:
            if (job.resources.get("gpu") or job.resources.get("gres")) and job.rule.name not in lines:
                partition = get_best_partition(partitions, job, logging.getLogger())
                params = NAMES | {"partition": f"-p {partition}"}
                lines[job.rule.name] = get_submit_command(job, params, settings=settings) + set_gres_string(job)
    print(json.dumps(lines))


main(*sys.argv[1:])
