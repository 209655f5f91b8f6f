"""Pack what a study's tables and figures are drawn from: every file of the rule's inputs, by the name it has there."""

from pathlib import Path

from lorebridge.bundle import pack
from lorebridge.records import Task

task = Task.loads(snakemake.params.task)
reads, writes = dict(snakemake.input.items()), dict(snakemake.output.items())
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0], reads=reads, writes=writes) as notes:
    notes.update(
        pack(
            **task.literals,
            files={name: list(paths) for name, paths in reads.items() if name != "stamp"},
            records=list(task.expects),
            root=Path(snakemake.output[0]).with_name(task.literals["config"]["study"]),
            out=Path(snakemake.output[0]),
        )
    )
