"""Filter one shard of a monolingual corpus."""

from pathlib import Path

from lorebridge.corpora.documents import filter_corpus
from lorebridge.records import Task

task = Task.loads(snakemake.params.task)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    filter_corpus(
        **task.literals,
        paths=snakemake.input.get("sources", []),
        documents=Path(snakemake.output.documents),
        audit=Path(snakemake.output.shard_audit),
    )
