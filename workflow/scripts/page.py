"""Write the page of the report."""

import json
from pathlib import Path

from lorebridge.figures.page import Caption, page
from lorebridge.records import Task

task = Task.loads(snakemake.params.task)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]):
    page(
        **task.literals,
        **{
            kind: {Path(path).stem: Path(path) for path in snakemake.input[kind]}
            for kind in ("svg", "csv", "md", "questions")
        },
        captions={name: Caption(*said) for name, said in json.loads(snakemake.params.captions).items()},
        records=list(task.expects),
        out=Path(snakemake.output[0]),
    )
