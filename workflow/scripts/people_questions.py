"""Write the questions on people in the base language and one other."""

from pathlib import Path

from lorebridge.probes.people import build_people_questions
from lorebridge.records import Task

task = Task.loads(snakemake.params.task)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    notes.update(
        build_people_questions(
            **task.literals,
            people=Path(snakemake.input.people[0]),
            mentions=[Path(path) for path in snakemake.input.people_mentions],
            out=Path(snakemake.output.people_questions),
        )
    )
