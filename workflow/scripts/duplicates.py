"""Find the documents of a corpus that repeat an earlier one."""

from pathlib import Path

from lorebridge.corpora.duplicates import duplicates
from lorebridge.records import Task

task = Task.loads(snakemake.params.task)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]):
    duplicates(
        **task.literals,
        signatures=[Path(path) for path in snakemake.input.signatures],
        duplicates=Path(snakemake.output.duplicates),
    )
