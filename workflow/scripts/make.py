"""Make an artifact: call the function that its stage declares."""

from lorebridge.call import make
from lorebridge.records import Task

task = Task.loads(snakemake.params.task)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    notes.update(
        make(
            task,
            inputs=dict(snakemake.input.items()),
            outputs=dict(snakemake.output.items()),
            work=snakemake.params.get("work", ""),
            threads=snakemake.threads,
        )
    )
