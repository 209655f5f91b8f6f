"""Tokenize one stream of text once, into a memory-mapped store."""

from pathlib import Path

from lorebridge.records import Task
from lorebridge.tokens.store import build_store

task = Task.loads(snakemake.params.task)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    notes.update(
        build_store(
            **task.literals,
            tables=[Path(path) for path in snakemake.input.get("documents") or snakemake.input.pairs],
            tokenizer=Path(snakemake.input.tokenizer[0]).parent,
            out=Path(snakemake.output.tokens).parent,
        )
    )
