"""Make an artifact: call the function that its stage declares."""

from lorebridge.call import make
from lorebridge.records import Task

task = Task.loads(snakemake.params.task)
inputs, outputs = dict(snakemake.input.items()), dict(snakemake.output.items())
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0], reads=inputs, writes=outputs) as notes:
    notes.update(
        make(task, inputs=inputs, outputs=outputs, work=snakemake.params.get("work", ""), threads=snakemake.threads)
    )
