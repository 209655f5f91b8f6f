"""Filter the sentence pairs of a language."""

from pathlib import Path

from lorebridge.corpora.documents import filter_pairs
from lorebridge.records import Task

task = Task.loads(snakemake.params.task)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    filter_pairs(
        **task.literals,
        paths=snakemake.input.get("sources", []),
        pairs=Path(snakemake.output.pairs),
        audit=Path(snakemake.output.pairs_audit),
    )
