"""Estimate the gaps between arms, with their intervals."""

from pathlib import Path

from lorebridge.records import Task
from lorebridge.transfer.gaps import gaps

task = Task.loads(snakemake.params.task)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    notes.update(
        gaps(
            **task.literals,
            scores=[Path(path) for path in snakemake.input.scores],
            questions={Path(path).stem: Path(path) for path in snakemake.input.questions},
            out=Path(snakemake.output.gaps),
        )
    )
