"""Merge the values of a response by person, and draw the people who are asked about."""

from pathlib import Path

from lorebridge.corpora.people import merge_people
from lorebridge.records import Task

task = Task.loads(snakemake.params.task)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    notes.update(
        merge_people(
            **task.literals,
            response=Path(snakemake.input.response[0]),
            out=Path(snakemake.output.people),
            audit=Path(snakemake.output.people_audit),
        )
    )
