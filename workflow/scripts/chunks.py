"""Cut a corpus into chunks."""

from pathlib import Path

from lorebridge.corpora.chunks import chunk_documents
from lorebridge.records import Task

task = Task.loads(snakemake.params.task)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    documents = [Path(path) for path in snakemake.input.documents]
    chunk_documents(**task.literals, documents=documents, chunks=Path(snakemake.output.chunks))
