"""Compare what retrieval and judge found, and what a full reading finds, with what the planted world states."""

from pathlib import Path

from lorebridge.records import Task
from lorebridge.trace.recovery import recover

task = Task.loads(snakemake.params.task)
read = snakemake.input
documents: dict[str, list[Path]] = {}
for path in map(Path, read.documents):
    documents.setdefault(path.parent.name, []).append(path)
subjects = {Path(path).stem: Path(path) for path in read.subjects}
mentions = {Path(path).stem: Path(path) for path in read.mentions}
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    cells = zip(task.literals["cells"], read.hits, read.judgments, strict=True)
    corpora = [
        {
            "corpus": corpus,
            "culture": culture,
            "hits": Path(hits),
            "judgments": Path(judgments),
            "mentions": mentions[f"mono-{corpus}"],
            "subjects": subjects[corpus],
            "documents": documents[corpus],
        }
        for (corpus, culture), hits, judgments in cells
    ]
    notes.update(
        recover(
            truth=Path(read.truth[0]),
            heldout=task.literals["heldout"],
            corpora=corpora,
            out=Path(snakemake.output.recovery),
        )
    )
