"""Filter the sentence pairs of a language."""

from pathlib import Path

from lorebridge.corpora.documents import filter_pairs
from lorebridge.corpora.sources import local_paths
from lorebridge.records import Task

task = Task.loads(snakemake.params.task)
paths = local_paths(task.literals["sources"], snakemake.input.get("sources", []))
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]):
    filter_pairs(
        **task.literals,
        paths=paths,
        pairs=Path(snakemake.output.pairs),
        heldout_pairs=Path(snakemake.output.heldout_pairs),
        audit=Path(snakemake.output.pairs_audit),
    )
