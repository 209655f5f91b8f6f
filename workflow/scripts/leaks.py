"""Find the pairs whose halves state a fact outright."""

from pathlib import Path

from lorebridge.records import Task
from lorebridge.trace.leaks import leaks

task = Task.loads(snakemake.params.task)
subjects = {Path(path).stem: Path(path) for path in snakemake.input.subjects}
mentions = {Path(path).stem: Path(path) for path in snakemake.input.mentions}
pairs = {Path(path).stem: Path(path) for path in snakemake.input.pairs}
halves = [
    {
        "culture": culture,
        "lang": lang,
        "subjects": subjects[lang],
        "mentions": mentions[stream],
        "pairs": pairs[culture],
    }
    for culture, lang, stream in task.literals["halves"]
]
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    notes.update(leaks(halves=halves, out=Path(snakemake.output.leaks)))
