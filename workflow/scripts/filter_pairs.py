"""Filter the sentence pairs of a language."""

from pathlib import Path

from lorebridge.corpora.documents import filter_pairs
from lorebridge.records import Task

task = Task.loads(snakemake.params.task)
# Sources on a hub have no path; the rest come in their order.
local = iter(snakemake.input.get("sources", []))
paths = [next(local) if source["kind"] == "local" else None for source in task.literals["sources"]]
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]):
    filter_pairs(
        **task.literals,
        paths=paths,
        pairs=Path(snakemake.output.pairs),
        heldout_pairs=Path(snakemake.output.heldout_pairs),
        audit=Path(snakemake.output.pairs_audit),
    )
