"""Estimate the gaps between arms on the questions on people, and compare them with those on culture."""

from pathlib import Path

from lorebridge.records import Task
from lorebridge.transfer.people import people_gaps

task = Task.loads(snakemake.params.task)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    notes.update(
        people_gaps(
            **task.literals,
            scores=[Path(path) for path in snakemake.input.scores],
            questions={Path(path).stem: Path(path) for path in snakemake.input.questions},
            people_scores=[Path(path) for path in snakemake.input.people_scores],
            people_questions={Path(path).stem: Path(path) for path in snakemake.input.people_questions},
            out=Path(snakemake.output.people_gaps),
        )
    )
