"""Compare what retrieval and judge found with what the planted world states."""

from pathlib import Path

from lorebridge.records import Task
from lorebridge.trace.recovery import recover

task = Task.loads(snakemake.params.task)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    cells = zip(task.literals["cells"], snakemake.input.hits, snakemake.input.judgments, strict=True)
    corpora = [
        {"corpus": corpus, "culture": culture, "hits": Path(hits), "judgments": Path(judgments)}
        for (corpus, culture), hits, judgments in cells
    ]
    notes.update(recover(truth=Path(snakemake.input.truth[0]), corpora=corpora, out=Path(snakemake.output.recovery)))
