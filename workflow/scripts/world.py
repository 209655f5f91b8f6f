"""Write the planted world in the formats of real sources."""

from pathlib import Path

from lorebridge.records import Task
from lorebridge.world import generate

task = Task.loads(snakemake.params.task)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    generate(**task.literals, out=Path(snakemake.output.truth).parent)
