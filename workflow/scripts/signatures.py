"""Sign the documents of one shard, so that those which repeat others are found across shards."""

from pathlib import Path

from lorebridge.corpora.documents import signatures
from lorebridge.corpora.sources import local_paths
from lorebridge.records import Task

task = Task.loads(snakemake.params.task)
literals = dict(task.literals)
del literals["lang"]  # tells the recipes of two planted corpora apart
paths = local_paths(literals["sources"], snakemake.input.get("sources", []))
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]):
    signatures(**literals, paths=paths, signatures=Path(snakemake.output.signatures))
