"""Count the texts of a stream that name each person."""

from pathlib import Path

from lorebridge.records import Task
from lorebridge.trace.people import count_names

task = Task.loads(snakemake.params.task)
texts = snakemake.input.get("pairs") or snakemake.input.documents
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    notes.update(
        count_names(
            **task.literals,
            people=Path(snakemake.input.people[0]),
            texts=[Path(path) for path in texts],
            out=Path(snakemake.output.people_mentions),
            workers=snakemake.threads,
        )
    )
