"""Estimate how densely each corpus states the facts that a culture's questions ask for."""

from pathlib import Path

from lorebridge.records import Task
from lorebridge.trace.density import density

task = Task.loads(snakemake.params.task)
literals = dict(task.literals)
questions = {Path(path).stem: Path(path) for path in snakemake.input.questions}
chunks = {Path(path).stem: Path(path) for path in snakemake.input.chunks}
stores = {Path(path).parent.name: Path(path).parent for path in snakemake.input.tokens}
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    cells = zip(literals.pop("cells"), snakemake.input.hits, snakemake.input.judgments, strict=True)
    corpora = [
        {
            "corpus": corpus,
            "culture": culture,
            "questions": questions[culture],
            "hits": Path(hits),
            "judgments": Path(judgments),
            "chunks": chunks[corpus],
            "tokens": stores[f"mono-{corpus}"],
            "pair_tokens": stores[f"pairs-{culture}-{'xx' if corpus == culture else 'en'}"],
        }
        for (corpus, culture), hits, judgments in cells
    ]
    notes.update(
        density(
            **literals,
            corpora=corpora,
            occurrences=Path(snakemake.input.occurrences[0]),
            out=Path(snakemake.output.density),
        )
    )
