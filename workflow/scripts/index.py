"""Index a corpus's chunks with Lucene."""

from pathlib import Path

from lorebridge.records import Task
from lorebridge.trace.bm25 import build_index

task = Task.loads(snakemake.params.task)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    notes.update(
        build_index(
            **task.literals,
            chunks=Path(snakemake.input.chunks[0]),
            index=Path(snakemake.output.index),
            threads=snakemake.threads,
        )
    )
