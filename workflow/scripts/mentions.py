"""Find every text of a stream that names a subject or an answer."""

from pathlib import Path

from lorebridge.records import Task
from lorebridge.trace.mentions import find_mentions

task = Task.loads(snakemake.params.task)
texts = snakemake.input.get("pairs") or snakemake.input.documents
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    notes.update(
        find_mentions(
            **task.literals,
            texts=[Path(path) for path in texts],
            subjects=Path(snakemake.input.subjects[0]),
            out=Path(snakemake.output.mentions),
            workers=snakemake.threads,
        )
    )
