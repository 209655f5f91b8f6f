"""Check a culture's question files and put them in one table."""

from pathlib import Path

from lorebridge.probes.questions import build_questions
from lorebridge.records import Task

task = Task.loads(snakemake.params.task)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    files = {lang: Path(path) for lang, path in zip(task.literals["langs"], snakemake.input.questions, strict=True)}
    notes.update(build_questions(**task.literals, files=files, out=Path(snakemake.output.questions)))
