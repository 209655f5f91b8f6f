"""Count the mentions of every question in every text, the parallel text included."""

from pathlib import Path

from lorebridge.records import Task
from lorebridge.trace.occurrences import occurrences

task = Task.loads(snakemake.params.task)
subjects = {Path(path).stem: Path(path) for path in snakemake.input.subjects}
mentions = {Path(path).stem: Path(path) for path in snakemake.input.mentions}
stores = {Path(path).parent.name: Path(path).parent for path in snakemake.input.tokens}
texts = [
    {
        "corpus": corpus,
        "culture": culture,
        "text": text,
        "subjects": subjects[corpus],
        "mentions": mentions[stream],
        "tokens": stores[stream],
    }
    for corpus, culture, text, stream in task.literals["texts"]
]
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    notes.update(occurrences(texts=texts, out=Path(snakemake.output.occurrences)))
