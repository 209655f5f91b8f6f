"""Draw one figure, or write one table."""

from pathlib import Path

from lorebridge.figures.drawing import draw
from lorebridge.records import Task

task = Task.loads(snakemake.params.task)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]):
    draw(
        task.stage,
        files={name: list(paths) for name, paths in snakemake.input.items() if name != "stamp"},
        out=Path(snakemake.output[0]).with_suffix(""),
        **task.literals,
    )
