"""Draw the data order of a run."""

from pathlib import Path

from lorebridge.records import Task
from lorebridge.tokens.order import draw_order

task = Task.loads(snakemake.params.task)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    notes.update(
        draw_order(
            **task.literals,
            stores={Path(path).parent.name: Path(path).parent for path in snakemake.input.tokens},
            pairs=next((Path(path) for path in snakemake.input.get("pairs", [])), None),
            mentions=[Path(path) for path in snakemake.input.get("mentions", [])],
            tokenizer=Path(snakemake.input.tokenizer[0]).parent,
            out=Path(snakemake.output.order),
        )
    )
