"""Find what names the subject of every question that is asked in a language."""

from pathlib import Path

from lorebridge.records import Task
from lorebridge.trace.mentions import find_subjects

task = Task.loads(snakemake.params.task)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    notes.update(
        find_subjects(
            **task.literals,
            documents=[Path(path) for path in snakemake.input.documents],
            questions={Path(path).stem: Path(path) for path in snakemake.input.questions},
            out=Path(snakemake.output.subjects),
            workers=snakemake.threads,
        )
    )
