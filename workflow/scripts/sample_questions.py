"""Choose the questions that models are asked by how often the corpora state their facts."""

from pathlib import Path

from lorebridge.records import Task
from lorebridge.transfer.sample import sample_questions

task = Task.loads(snakemake.params.task)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    questions, occurrences = Path(snakemake.input.questions[0]), Path(snakemake.input.occurrences[0])
    out = Path(snakemake.output.questions)
    notes.update(sample_questions(**task.literals, questions=questions, occurrences=occurrences, out=out))
