"""Write the accuracies of every model at every checkpoint, with their intervals."""

from pathlib import Path

from lorebridge.records import Task
from lorebridge.transfer.accuracies import accuracies

task = Task.loads(snakemake.params.task)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    notes.update(
        accuracies(
            **task.literals,
            scores=[Path(path) for path in snakemake.input.scores],
            questions={Path(path).stem: Path(path) for path in snakemake.input.questions},
            out=Path(snakemake.output.accuracies),
        )
    )
