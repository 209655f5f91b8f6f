"""Filter one shard of a monolingual corpus."""

from pathlib import Path

from lorebridge.corpora.documents import filter_corpus
from lorebridge.corpora.sources import local_paths
from lorebridge.records import Task

task = Task.loads(snakemake.params.task)
paths = local_paths(task.literals["sources"], snakemake.input.get("sources", []))
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]):
    filter_corpus(
        **task.literals,
        paths=paths,
        duplicates=Path(snakemake.input.duplicates[0]),
        documents=Path(snakemake.output.documents),
        heldout_documents=Path(snakemake.output.heldout_documents),
        audit=Path(snakemake.output.shard_audit),
    )
