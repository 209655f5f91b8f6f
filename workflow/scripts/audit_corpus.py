"""Merge the audits of a corpus's shards; an empty corpus stops here."""

from pathlib import Path

from lorebridge.corpora.documents import merge_audits
from lorebridge.records import Task

task = Task.loads(snakemake.params.task)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    audits = [Path(path) for path in snakemake.input.shard_audit]
    merge_audits(**task.literals, audits=audits, out=Path(snakemake.output.audit))
