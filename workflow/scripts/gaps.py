"""Estimate the gaps between arms and test the asymmetry of the directions."""

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
            leaks=Path(snakemake.input.leaks[0]),
            out=Path(snakemake.output.gaps),
            asymmetry=Path(snakemake.output.asymmetry),
        )
    )
